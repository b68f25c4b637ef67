//! Fused recurrences, and scans: sub-plans that run step by step.

use std::sync::{Arc, Mutex, PoisonError};

use hornbeam_graph::op::{RnnActivation, RnnAttrs, RnnCell, Scan};
use hornbeam_kernels::dtype::Float;
use hornbeam_kernels::math::Math;
use hornbeam_kernels::rnn::{self, Activation, Backward, Cell, Forward, Operands, Rnn};

use super::{Args, Kernel, Prepared, Site};
use crate::error::Result;
use crate::memory::Needs;
use crate::plan::Plan;

fn activation(kind: RnnActivation) -> Activation {
    match kind {
        RnnActivation::Linear => Activation::Linear,
        RnnActivation::Relu => Activation::Relu,
        RnnActivation::Tanh => Activation::Tanh,
        RnnActivation::Sigmoid => Activation::Sigmoid,
        RnnActivation::HardSigmoid => Activation::HardSigmoid,
    }
}

fn geometry(site: &Site<'_>, attrs: &RnnAttrs) -> Rnn {
    let (projection, h0) = (&site.input(0).shape, &site.input(2).shape);
    Rnn {
        cell: match attrs.cell {
            RnnCell::Simple => Cell::Simple,
            RnnCell::Gru { reset_after } => Cell::Gru { reset_after },
            RnnCell::Lstm => Cell::Lstm,
        },
        batch: projection[0],
        steps: projection[1],
        units: h0[1],
        activation: activation(attrs.activation),
        gate_activation: activation(attrs.gate_activation),
        reverse: attrs.reverse,
    }
}

/// The operands in the order of [`hornbeam_graph::Op::Rnn`], and how many they are.
fn operands<'a, T>(attrs: &RnnAttrs, args: &'a Args<'_>) -> (Operands<'a, T>, usize) {
    let mut k = 3;
    let mut next = |there: bool| {
        k += usize::from(there);
        there.then(|| k - 1)
    };
    let lstm = attrs.cell == RnnCell::Lstm;
    let reset_after = attrs.cell == RnnCell::Gru { reset_after: true };
    let (c0, bias) = (next(lstm), next(reset_after));
    let (mask, dropout) = (next(attrs.mask), next(attrs.dropout));
    let or_empty = |k: Option<usize>| k.map_or(&[] as &[T], |k| args.input(k));
    let operands = Operands {
        projection: args.input(0),
        kernel: args.input(1),
        bias: or_empty(bias),
        h0: args.input(2),
        c0: or_empty(c0),
        mask: mask.map_or(&[], |k| args.input::<u8>(k)),
        dropout: or_empty(dropout),
    };
    (operands, k)
}

type Run = fn(&RnnAttrs, &Rnn, &Args<'_>);
type RunBack = fn(&RnnAttrs, &Rnn, usize, &Args<'_>);

fn forward<T: Float + Math>(attrs: &RnnAttrs, r: &Rnn, args: &Args<'_>) {
    let (x, _) = operands::<T>(attrs, args);
    let lstm = r.cell == Cell::Lstm;
    let c: &mut [T] = if lstm { args.output(2) } else { &mut [] };
    rnn::forward(
        r,
        &x,
        Forward {
            h: args.output(0),
            c,
            kept: args.output(1),
        },
    );
    let last: Option<&mut [T]> = if lstm { args.wanted(3) } else { None };
    if let Some(last) = last {
        let c = &*args.output::<T>(2);
        for (b, row) in last.chunks_exact_mut(r.units.max(1)).enumerate() {
            match r.steps {
                0 => row.copy_from_slice(&x.c0[b * r.units..(b + 1) * r.units]),
                steps => {
                    let at = ((steps - 1) * r.batch + b) * r.units;
                    row.copy_from_slice(&c[at..at + r.units]);
                }
            }
        }
    }
}

pub(super) fn rnn(site: &Site<'_>, attrs: &RnnAttrs) -> Result<Prepared> {
    let (r, attrs) = (geometry(site, attrs), *attrs);
    let run = site.float(site.input(0).dtype, forward::<f32> as Run, forward::<f64>)?;
    let mut prepared = Prepared::plain(move |args| run(&attrs, &r, args));
    if r.cell == Cell::Lstm {
        prepared.needs.optional = vec![3];
    }
    Ok(prepared)
}

fn backward<T: Float + Math>(attrs: &RnnAttrs, r: &Rnn, parts: usize, args: &Args<'_>) {
    let (x, k) = operands::<T>(attrs, args);
    let lstm = r.cell == Cell::Lstm;
    let bias = !x.bias.is_empty();
    let dh = k + if lstm { 3 } else { 2 };
    rnn::backward(
        r,
        &x,
        Backward {
            h: args.input(k),
            kept: args.input(k + 1),
            c: if lstm { args.input(k + 2) } else { &[] },
            dh: args.input(dh),
            dc_last: if lstm { args.input(dh + 1) } else { &[] },
            dprojection: args.output(0),
            parts,
            dkernel: args.output(1),
            dh0: args.output(2),
            dc0: if lstm { args.output(3) } else { &mut [] },
            dbias: if bias { args.output(3) } else { &mut [] },
            scratch: args.scratch(),
        },
    );
}

pub(super) fn rnn_grad(site: &Site<'_>, attrs: &RnnAttrs, parts: usize) -> Result<Prepared> {
    let (r, attrs) = (geometry(site, attrs), *attrs);
    let dtype = site.input(0).dtype;
    let run = site.float(dtype, backward::<f32> as RunBack, backward::<f64>)?;
    let mut prepared = Prepared::plain(move |args| run(&attrs, &r, parts, args));
    prepared.needs.scratch = r.backward_scratch(attrs.dropout) * dtype.size();
    Ok(prepared)
}

/// What a scan's loop needs to know.
struct Steps {
    plan: Mutex<Plan>,
    count: usize,
    reverse: bool,
    /// Numbers of sequences, states, captured operands and outputs.
    sequences: usize,
    states: usize,
    outputs: usize,
    /// Bytes of a step's slice of each sequence, of each state and of each output.
    slice_bytes: Vec<usize>,
    state_bytes: Vec<usize>,
    output_bytes: Vec<usize>,
}

pub(super) fn scan(site: &Site<'_>, scan: &Scan) -> Result<Prepared> {
    let Some(program) = &scan.step else {
        return Err(site.error("has no program: specialisation gives it one"));
    };
    let plan = Plan::new(Arc::unwrap_or_clone(program.clone()))?;
    let body = &scan.body;
    let (sequences, states, outputs) = (body.slices.len(), body.states.len(), body.outputs.len());
    let count = site.input(0).shape[0];
    let part = |bytes: usize| bytes.checked_div(count).unwrap_or(0);
    let steps = Steps {
        plan: Mutex::new(plan),
        count,
        reverse: body.reverse,
        sequences,
        states,
        outputs,
        slice_bytes: (0..sequences)
            .map(|k| part(site.input(k).bytes()))
            .collect(),
        state_bytes: (0..states)
            .map(|k| site.input(sequences + k).bytes())
            .collect(),
        output_bytes: (0..outputs).map(|k| part(site.output(k).bytes())).collect(),
    };
    let first = outputs + states;
    let optional = (first..first + states).collect();
    let kernel: Kernel = Box::new(move |args| steps.run(args));
    Ok(Prepared {
        kernel,
        needs: Needs {
            optional,
            fallible: true,
            ..Needs::default()
        },
    })
}

impl Steps {
    fn run(&self, args: &Args<'_>) -> std::result::Result<(), String> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let mut states: Vec<Vec<u8>> = (0..self.states)
            .map(|k| args.input::<u8>(self.sequences + k).to_vec())
            .collect();
        for step in 0..self.count {
            let t = if self.reverse {
                self.count - 1 - step
            } else {
                step
            };
            for (k, state) in states.iter().enumerate() {
                if let Some(before) = args.wanted::<u8>(self.outputs + self.states + k) {
                    let size = self.state_bytes[k];
                    before[t * size..(t + 1) * size].copy_from_slice(state);
                }
            }
            self.step(&mut plan, args, t, &mut states)?;
        }
        for (k, state) in states.iter().enumerate() {
            args.output::<u8>(self.outputs + k).copy_from_slice(state);
        }
        Ok(())
    }

    fn step(
        &self,
        plan: &mut Plan,
        args: &Args<'_>,
        t: usize,
        states: &mut [Vec<u8>],
    ) -> std::result::Result<(), String> {
        let next: Vec<Vec<u8>> = {
            let mut inputs: Vec<&[u8]> = Vec::with_capacity(args.inputs.len());
            for (k, &size) in self.slice_bytes.iter().enumerate() {
                inputs.push(&args.input::<u8>(k)[t * size..(t + 1) * size]);
            }
            inputs.extend(states.iter().map(Vec::as_slice));
            for k in self.sequences + self.states..args.inputs.len() {
                inputs.push(args.input(k));
            }
            plan.run_nested(&inputs, args.context)
                .map_err(|e| e.to_string())?;
            for (k, &size) in self.output_bytes.iter().enumerate() {
                let out = &mut args.output::<u8>(k)[t * size..(t + 1) * size];
                out.copy_from_slice(plan.result(k, &inputs));
            }
            (0..self.states)
                .map(|k| plan.result(self.outputs + k, &inputs).to_vec())
                .collect()
        };
        states.clone_from_slice(&next);
        Ok(())
    }
}
