//! One program for several shards of a batch, from the finished program of one shard.
//!
//! The widened program computes exactly what the given one computes for each shard, in the same
//! order of operations, so the bits are the same. A value is *shared* where it does not depend on
//! the batch; else it holds the shards' values side by side, which for values with an axis of samples
//! in front is the same memory as a larger batch. So most operations simply run on the larger
//! batch; what sums over samples keeps an axis of shards, or runs once a shard. Results are summed
//! over the shards.

mod rules;

use crate::error::{GraphError, Result};
use crate::literal::Literal;
use crate::op::{Op, ShardSum, Sharded};
use crate::program::{Inst, Program, Source, ValueId};

use super::emit::Emitter;

/// What a program is widened to.
#[derive(Clone, Debug, PartialEq)]
pub struct Widening {
    /// For each input, whether its first axis is that of samples.
    pub samples: Vec<bool>,
    /// Samples of a shard.
    pub rows: usize,
    /// How results are summed over the shards.
    pub sum: ShardSum,
}

/// The program for all shards at once. Inputs of samples hold the shards' rows one after the other;
/// results have an axis of groups of shards in front.
///
/// # Errors
/// When a result is not float32, or the program has updates.
pub fn widen(old: &Program, to: &Widening) -> Result<Program> {
    if !old.updates.is_empty() {
        let message = "a function that runs for each shard cannot update variables";
        return Err(GraphError::Compile(message.to_string()));
    }
    let mut pass = Pass::new(old, to);
    for inst in &old.insts {
        pass.inst(inst)?;
    }
    let results: Result<Vec<ValueId>> = old.outputs.iter().map(|&v| pass.summed(v)).collect();
    let mut program = pass.e.program;
    program.outputs = results?;
    Ok(program.without_dead_code())
}

/// Where the values of shards are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// There is one value for all.
    Shared,
    /// Side by side: an axis of shards in front, or the first axis longer.
    Front,
    /// The second axis is longer.
    Second,
    /// They are summed.
    Summed,
}

struct Pass<'a> {
    old: &'a Program,
    to: &'a Widening,
    shards: usize,
    e: Emitter,
    /// For each value of the old program, where its shards' values are.
    forms: Vec<Form>,
    /// Whether a value is one of the results and nothing else.
    ends: Vec<bool>,
}

impl<'a> Pass<'a> {
    fn new(old: &'a Program, to: &'a Widening) -> Pass<'a> {
        let mut e = Emitter::new(old);
        let shards = to.sum.shards();
        let mut forms = vec![Form::Shared; old.values.len()];
        for (k, &v) in old.inputs.iter().enumerate() {
            if to.samples[k] {
                let new = e.program.inputs[k];
                e.program.values[new].shape[0] *= shards;
                forms[v] = Form::Front;
            }
        }
        let uses = old.uses();
        let mut ends = vec![false; old.values.len()];
        for &v in &old.outputs {
            ends[v] = uses[v] == 1;
        }
        Pass {
            old,
            to,
            shards,
            e,
            forms,
            ends,
        }
    }

    fn inst(&mut self, inst: &Inst) -> Result<()> {
        // What an operation draws differs from shard to shard even if its operands do not, and other
        // processes' shards may have other operands.
        let own = matches!(inst.op, Op::Random { .. } | Op::Scan(_) | Op::OverShards(_));
        if !own && inst.inputs.iter().all(|&v| self.is_shared(v)) {
            self.e.copy(self.old, inst);
            return Ok(());
        }
        if self.rule(inst)? {
            return Ok(());
        }
        self.apart(inst)
    }

    /// Runs an operation once for each shard.
    fn apart(&mut self, inst: &Inst) -> Result<()> {
        let split: Vec<bool> = inst.inputs.iter().map(|&v| !self.is_shared(v)).collect();
        let mut operands = Vec::with_capacity(split.len());
        for (&v, &split) in inst.inputs.iter().zip(&split) {
            operands.push(if split {
                self.stacked(v)?
            } else {
                self.plain(v)
            });
        }
        let end = matches!(inst.outputs.as_slice(), &[v] if self.ends[v] && self.is_f32(v));
        let op = Op::Sharded(Box::new(Sharded {
            op: inst.op.clone(),
            shards: self.shards,
            rows: self.to.rows,
            split,
            sum: end.then(|| self.to.sum.clone()),
        }));
        let form = if end { Form::Summed } else { Form::Front };
        self.emit(op, operands, inst, &[form])
    }

    /// Emits an operation in place of `inst`; `forms` tells the forms of its results, the last one
    /// that of all others.
    fn emit(&mut self, op: Op, operands: Vec<ValueId>, inst: &Inst, forms: &[Form]) -> Result<()> {
        let results = self.e.op(op, operands, &inst.scope)?;
        self.e.bind(&inst.outputs, &results);
        for (k, &v) in inst.outputs.iter().enumerate() {
            self.forms[v] = forms[k.min(forms.len() - 1)];
        }
        Ok(())
    }

    fn is_shared(&self, v: ValueId) -> bool {
        self.forms[v] == Form::Shared
    }

    fn is_f32(&self, v: ValueId) -> bool {
        self.old.values[v].dtype == crate::dtype::DType::F32
    }

    fn shape(&self, v: ValueId) -> &'a [usize] {
        &self.old.values[v].shape
    }

    /// The value in the new program, whatever its form.
    fn plain(&self, v: ValueId) -> ValueId {
        self.e.mapped(&[v])[0]
    }

    fn reshape(&mut self, mut v: ValueId, shape: &[usize]) -> Result<ValueId> {
        while self.e.shape(v) != shape
            && let Some(inst) = self.e.def(v)
            && inst.op == Op::Reshape
        {
            v = inst.inputs[0];
        }
        if self.e.shape(v) == shape {
            return Ok(v);
        }
        let sizes = self.e.sizes(shape);
        self.e.one(Op::Reshape, vec![v, sizes], &None)
    }

    /// The sizes of an axis of shards and of `shape`.
    fn led(&self, shape: &[usize]) -> Vec<usize> {
        std::iter::once(self.shards)
            .chain(shape.iter().copied())
            .collect()
    }

    /// The sizes of `shape` with an axis `times` the number of shards longer.
    fn longer(&self, shape: &[usize], axis: usize) -> Vec<usize> {
        let mut shape = shape.to_vec();
        shape[axis] *= self.shards;
        shape
    }

    /// The values of all shards with an axis of shards in front.
    fn stacked(&mut self, v: ValueId) -> Result<ValueId> {
        let (new, shape) = (self.plain(v), self.shape(v));
        let led = self.led(shape);
        match self.forms[v] {
            Form::Front => self.reshape(new, &led),
            Form::Shared => self.repeated(new, led),
            Form::Second => {
                let mut apart = self.led(shape);
                apart.swap(0, 1);
                let new = self.reshape(new, &apart)?;
                self.swapped(new)
            }
            Form::Summed => unreachable!("what is summed is a result and nothing else"),
        }
    }

    /// A shared value for each shard; constants stay constants.
    fn repeated(&mut self, new: ValueId, led: Vec<usize>) -> Result<ValueId> {
        let same = match &self.e.program.values[new].source {
            Source::Constant(literal) => literal.uniform().map(|_| literal.clone()),
            _ => None,
        };
        if let Some(literal) = same {
            let bytes = literal.bytes.repeat(self.shards);
            return Ok(self.e.constant(Literal::new(literal.dtype, led, bytes)));
        }
        let sizes = self.e.sizes(&led);
        self.e.one(Op::BroadcastTo, vec![new, sizes], &None)
    }

    /// The value with its first two axes exchanged.
    fn swapped(&mut self, new: ValueId) -> Result<ValueId> {
        let mut perm: Vec<usize> = (0..self.e.shape(new).len()).collect();
        perm.swap(0, 1);
        self.e.one(Op::Transpose { perm }, vec![new], &None)
    }

    /// The values of all shards side by side, the first axis longer.
    fn rows(&mut self, v: ValueId) -> Result<ValueId> {
        let stacked = self.stacked(v)?;
        let longer = self.longer(self.shape(v), 0);
        self.reshape(stacked, &longer)
    }

    /// The values of all shards with the second axis longer.
    fn second(&mut self, v: ValueId) -> Result<ValueId> {
        if self.forms[v] == Form::Second {
            return Ok(self.plain(v));
        }
        let stacked = self.stacked(v)?;
        let swapped = self.swapped(stacked)?;
        let longer = self.longer(self.shape(v), 1);
        self.reshape(swapped, &longer)
    }

    /// A result, summed over the shards.
    fn summed(&mut self, v: ValueId) -> Result<ValueId> {
        if self.forms[v] == Form::Summed {
            return Ok(self.plain(v));
        }
        let stacked = self.stacked(v)?;
        self.e
            .one(Op::ShardSum(self.to.sum.clone()), vec![stacked], &None)
    }
}
