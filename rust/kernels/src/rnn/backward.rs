//! The recurrence backward.

use super::cells::{GruBack, LstmBack, gru_back, lstm_back, multiply, multiply_add, slopes};
use super::forward::tasks;
use super::{Cell, Operands, Rnn, Shared};
use crate::dtype::Float;
use crate::gemm::{Epilogue, gemm};
use crate::math::Math;
use crate::par;

/// What the backward pass reads beside the forward pass's operands, and what it writes.
#[derive(Debug)]
pub struct Backward<'a, T> {
    /// The forward pass's outputs.
    pub h: &'a [T],
    /// The forward pass's cell states (LSTM; else empty), as it laid them out.
    pub c: &'a [T],
    /// What the forward pass kept.
    pub kept: &'a [T],
    /// Gradient to the outputs of all steps.
    pub dh: &'a [T],
    /// Gradient to the last cell state, `[batch, units]`; empty: zero.
    pub dc_last: &'a [T],
    /// Gradient to the projection.
    pub dprojection: &'a mut [T],
    /// Into how many equal parts the batch is cut for the sums over it, one after the other in the
    /// gradients to kernel and bias.
    pub parts: usize,
    /// Gradients to the recurrent kernel.
    pub dkernel: &'a mut [T],
    /// Gradients to the recurrent bias (GRU with `reset_after`; else empty).
    pub dbias: &'a mut [T],
    /// Gradient to the initial output.
    pub dh0: &'a mut [T],
    /// Gradient to the initial cell state (LSTM; else empty).
    pub dc0: &'a mut [T],
    /// At least [`Rnn::backward_scratch`] elements.
    pub scratch: &'a mut [T],
}

impl Rnn {
    /// How many factors of the recurrent products differ from gate to gate.
    fn factors(&self, dropout: bool) -> usize {
        match (dropout, self.cell) {
            (true, _) => self.cell.gates(),
            (false, Cell::Gru { reset_after: false }) => 2,
            (false, _) => 1,
        }
    }

    /// Elements of scratch that [`backward`] needs.
    pub fn backward_scratch(&self, dropout: bool) -> usize {
        let inner = usize::from(self.cell == Cell::Gru { reset_after: true });
        let sequences = self.factors(dropout) + inner;
        self.width() * self.units + sequences * self.sequence(self.units)
    }
}

/// Runs the recurrence backward.
///
/// # Panics
/// When a slice's length does not fit.
pub fn backward<T: Float + Math>(r: &Rnn, x: &Operands<'_, T>, g: Backward<'_, T>) {
    x.check(r);
    let state = r.batch * r.units;
    assert_eq!(g.h.len(), r.sequence(r.units), "outputs of {r:?}");
    assert_eq!(g.kept.len(), r.sequence(r.kept()), "kept gates of {r:?}");
    assert_eq!(
        g.dh.len(),
        r.sequence(r.units),
        "gradient to the outputs of {r:?}"
    );
    assert_eq!(
        g.dprojection.len(),
        r.sequence(r.width()),
        "gradient to the projection of {r:?}"
    );
    assert_eq!(
        g.dkernel.len(),
        g.parts * r.units * r.width(),
        "gradients to the kernel of {r:?}"
    );
    assert_eq!(
        g.dbias.len(),
        g.parts * x.bias.len(),
        "gradients to the bias of {r:?}"
    );
    assert!(
        g.parts > 0 && r.batch.is_multiple_of(g.parts),
        "{} parts of the batch of {r:?}",
        g.parts
    );
    assert_eq!(
        (g.dh0.len(), g.dc0.len()),
        (state, x.c0.len()),
        "gradients to states of {r:?}"
    );
    let dropout = !x.dropout.is_empty();
    assert!(
        g.scratch.len() >= r.backward_scratch(dropout),
        "scratch of {r:?}"
    );
    let (transposed, rest) = g.scratch.split_at_mut(r.width() * r.units);
    transpose(x.kernel, r.units, r.width(), transposed);
    let (factors, inner) = rest.split_at_mut(r.factors(dropout) * r.sequence(r.units));
    let shared = Outputs {
        dprojection: Shared(g.dprojection.as_mut_ptr()),
        dh0: Shared(g.dh0.as_mut_ptr()),
        dc0: Shared(g.dc0.as_mut_ptr()),
        factors: Shared(factors.as_mut_ptr()),
        inner: Shared(inner.as_mut_ptr()),
    };
    if r.batch > 0 && r.units > 0 {
        let tasks = tasks(r);
        par::run(tasks, &|task| {
            let (first, last) = (r.batch * task / tasks, r.batch * (task + 1) / tasks);
            let count = last - first;
            let zeros = || vec![T::ZERO; count * r.units];
            let saved = Saved {
                h: g.h,
                c: g.c,
                kept: g.kept,
                dh: g.dh,
                transposed,
            };
            let mut rows = Rows {
                r,
                x,
                saved: &saved,
                out: &shared,
                first,
                count,
                dh: zeros(),
                dc: zeros(),
                next: zeros(),
                mixed: zeros(),
                dgates: vec![T::ZERO; count * r.width()],
                dinner: if r.cell == (Cell::Gru { reset_after: true }) {
                    zeros()
                } else {
                    Vec::new()
                },
            };
            rows.run(g.dc_last);
        });
    }
    let rows = r.batch / g.parts * r.steps;
    for part in 0..g.parts {
        let size = r.units * r.width();
        let sums = Sums {
            r,
            first: part * rows,
            rows,
            dprojection: g.dprojection,
            factors,
            inner,
        };
        sums.kernel(dropout, &mut g.dkernel[part * size..(part + 1) * size]);
        if !x.bias.is_empty() {
            let size = x.bias.len();
            sums.bias(&mut g.dbias[part * size..(part + 1) * size]);
        }
    }
}

fn transpose<T: Copy>(kernel: &[T], rows: usize, columns: usize, out: &mut [T]) {
    for i in 0..rows {
        for j in 0..columns {
            out[j * rows + i] = kernel[i * columns + j];
        }
    }
}

/// Sums over steps and samples, of some rows of sequences by sample and time.
struct Sums<'a, T> {
    r: &'a Rnn,
    first: usize,
    rows: usize,
    dprojection: &'a [T],
    factors: &'a [T],
    inner: &'a [T],
}

impl<T: Float> Sums<'_, T> {
    /// The rows of a sequence of `columns`, from a column on.
    fn of<'s>(&self, sequence: &'s [T], columns: usize, from: usize) -> &'s [T] {
        let rows = &sequence[self.first * columns..(self.first + self.rows) * columns];
        rows.get(from..).unwrap_or(&[])
    }

    /// One product for each block of columns with a factor of its own.
    fn kernel(&self, dropout: bool, dkernel: &mut [T]) {
        let (r, u, width) = (self.r, self.r.units, self.r.width());
        if u == 0 {
            return;
        }
        let size = r.sequence(u);
        let mut block = |factor: usize, b: &[T], stride: usize, to: usize, n: usize| {
            let a = self.of(&self.factors[factor * size..(factor + 1) * size], u, 0);
            let (k, c) = (self.rows, &mut dkernel[to..]);
            let plain = Epilogue::default();
            gemm(u, n, k, a, 1, u, b, stride, 1, c, width, &plain);
        };
        let blocks: Vec<(usize, usize, usize)> = match (dropout, r.cell) {
            (true, _) => (0..r.cell.gates()).map(|g| (g, g * u, u)).collect(),
            (false, Cell::Gru { reset_after: false }) => vec![(0, 0, 2 * u), (1, 2 * u, u)],
            (false, _) => vec![(0, 0, width)],
        };
        for &(factor, from, n) in &blocks {
            let b = self.of(self.dprojection, width, from);
            block(factor, b, width, from, n);
        }
        if r.cell == (Cell::Gru { reset_after: true }) {
            let factor = if dropout { 2 } else { 0 };
            block(factor, self.of(self.inner, u, 0), u, 2 * u, u);
        }
    }

    /// Sums over steps and samples, one after the other.
    fn bias(&self, dbias: &mut [T]) {
        let (u, width) = (self.r.units, self.r.width());
        dbias.fill(T::ZERO);
        let rows = self
            .of(self.dprojection, width, 0)
            .chunks_exact(width.max(1));
        let inner = self.of(self.inner, u, 0).chunks_exact(u.max(1));
        for (row, inner) in rows.zip(inner) {
            for k in 0..2 * u {
                dbias[k] += row[k];
            }
            for k in 0..u {
                dbias[2 * u + k] += inner[k];
            }
        }
    }
}

struct Outputs<T> {
    dprojection: Shared<T>,
    dh0: Shared<T>,
    dc0: Shared<T>,
    /// What the recurrent kernel was multiplied with, by time, one sequence a block of gates.
    factors: Shared<T>,
    /// Gradient to `h U + b` of the candidate (GRU with `reset_after`).
    inner: Shared<T>,
}

struct Saved<'a, T> {
    h: &'a [T],
    c: &'a [T],
    kept: &'a [T],
    dh: &'a [T],
    /// The recurrent kernel, transposed.
    transposed: &'a [T],
}

/// Some rows of the batch, run back through all steps by one task.
struct Rows<'a, T> {
    r: &'a Rnn,
    x: &'a Operands<'a, T>,
    saved: &'a Saved<'a, T>,
    out: &'a Outputs<T>,
    first: usize,
    count: usize,
    /// Gradients to the states after the step at hand.
    dh: Vec<T>,
    dc: Vec<T>,
    /// Gradient to the output before it.
    next: Vec<T>,
    mixed: Vec<T>,
    /// Gradients to the gates of the step at hand, `[count, width]`, and to the inner product of a
    /// GRU with `reset_after`, `[count, units]`: rows side by side share no cache sets.
    dgates: Vec<T>,
    dinner: Vec<T>,
}

impl<T: Float + Math> Rows<'_, T> {
    fn run(&mut self, dc_last: &[T]) {
        let u = self.r.units;
        let at = self.first * u;
        if !dc_last.is_empty() {
            self.dc.copy_from_slice(&dc_last[at..at + self.count * u]);
        }
        for step in (0..self.r.steps).rev() {
            for row in 0..self.count {
                let from = ((self.first + row) * self.r.steps + step) * u;
                let dh = &mut self.dh[row * u..(row + 1) * u];
                dh.iter_mut()
                    .zip(&self.saved.dh[from..from + u])
                    .for_each(|(a, &b)| *a += b);
            }
            self.step(step);
            std::mem::swap(&mut self.dh, &mut self.next);
        }
        // SAFETY: the initial states' rows of this task.
        unsafe { self.out.dh0.part(at, self.count * u) }.copy_from_slice(&self.dh);
        if self.r.cell == Cell::Lstm {
            // SAFETY: as above.
            unsafe { self.out.dc0.part(at, self.count * u) }.copy_from_slice(&self.dc);
        }
    }

    /// Place of a step's input in sequences by time.
    fn place(&self, step: usize, row: usize) -> usize {
        (self.first + row) * self.r.steps + self.r.time(step)
    }

    fn masked(&self, step: usize, row: usize) -> bool {
        self.x.mask.get(self.place(step, row)) == Some(&0)
    }

    fn gates(&self, step: usize, row: usize) -> &[T] {
        let kept = self.r.kept();
        let at = (step * self.r.batch + self.first + row) * kept;
        &self.saved.kept[at..at + kept]
    }

    fn step(&mut self, step: usize) {
        let (u, width) = (self.r.units, self.r.width());
        for row in 0..self.count {
            self.write_factors(step, row);
            let part = row * u..(row + 1) * u;
            if self.masked(step, row) {
                self.dgates[row * width..(row + 1) * width].fill(T::ZERO);
                if !self.dinner.is_empty() {
                    self.dinner[part.clone()].fill(T::ZERO);
                }
                self.next[part.clone()].copy_from_slice(&self.dh[part]);
            } else {
                self.row(step, row);
            }
        }
        match self.r.cell {
            Cell::Simple | Cell::Lstm => self.through(0, self.r.cell.gates()),
            Cell::Gru { reset_after: false } => {
                self.reset_before(step);
                self.through(0, 2);
            }
            Cell::Gru { reset_after: true } => {
                self.through(0, 2);
                self.through_inner();
            }
        }
        for row in 0..self.count {
            let place = self.place(step, row);
            // SAFETY: the rows belong to this task.
            unsafe { self.out.dprojection.part(place * width, width) }
                .copy_from_slice(&self.dgates[row * width..(row + 1) * width]);
            if !self.dinner.is_empty() {
                // SAFETY: as above.
                unsafe { self.out.inner.part(place * u, u) }
                    .copy_from_slice(&self.dinner[row * u..(row + 1) * u]);
            }
        }
    }

    /// The gradients to the gates of a row, and the direct part of the one to the state before.
    fn row(&mut self, step: usize, row: usize) {
        let (r, u, width) = (self.r, self.r.units, self.r.width());
        let at = (step * r.batch + self.first + row) * r.kept();
        let gates = &self.saved.kept[at..at + r.kept()];
        let part = row * u..(row + 1) * u;
        let dgates = &mut self.dgates[row * width..(row + 1) * width];
        match r.cell {
            Cell::Simple => {
                dgates.copy_from_slice(&self.dh[part.clone()]);
                slopes(r.activation, gates, dgates);
                self.next[part].fill(T::ZERO);
            }
            Cell::Lstm => {
                let own = (step * r.batch + self.first + row) * u;
                let sample = self.first + row;
                let before = match step {
                    0 => &self.x.c0[sample * u..(sample + 1) * u],
                    _ => &self.saved.c[own - r.batch * u..][..u],
                };
                lstm_back(LstmBack {
                    activation: r.activation,
                    gate_activation: r.gate_activation,
                    gates,
                    before,
                    after: &self.saved.c[own..own + u],
                    dh: &self.dh[part.clone()],
                    dc: &mut self.dc[part.clone()],
                    dgates,
                });
                self.next[part].fill(T::ZERO);
            }
            Cell::Gru { reset_after } => {
                let before = state_before(r, self.saved.h, self.x.h0, step, self.first + row);
                let (zr, dg) = dgates.split_at_mut(2 * u);
                let (dz, dr) = zr.split_at_mut(u);
                gru_back(GruBack {
                    activation: r.activation,
                    gate_activation: r.gate_activation,
                    z: &gates[..u],
                    g: &gates[2 * u..3 * u],
                    before,
                    dh: &self.dh[part.clone()],
                    dz,
                    dg,
                    dbefore: &mut self.next[part.clone()],
                });
                if reset_after {
                    multiply(dg, &gates[3 * u..], dr);
                    slopes(r.gate_activation, &gates[u..2 * u], dr);
                    multiply(dg, &gates[u..2 * u], &mut self.dinner[part]);
                }
            }
        }
    }

    fn dropout(&self, gate: usize, row: usize) -> &[T] {
        let u = self.r.units;
        let at = (gate * self.r.batch + self.first + row) * u;
        &self.x.dropout[at..at + u]
    }

    /// What each block of the recurrent kernel was multiplied with in the forward pass.
    fn write_factors(&mut self, step: usize, row: usize) {
        let (r, u) = (self.r, self.r.units);
        let before = state_before(self.r, self.saved.h, self.x.h0, step, self.first + row);
        let dropout = !self.x.dropout.is_empty();
        for factor in 0..r.factors(dropout) {
            let at = factor * r.sequence(u) + self.place(step, row) * u;
            // SAFETY: the row belongs to this task.
            let out = unsafe { self.out.factors.part(at, u) };
            let candidate = r.cell == (Cell::Gru { reset_after: false })
                && factor == if dropout { 2 } else { 1 };
            if candidate {
                multiply(before, &self.gates(step, row)[u..2 * u], out);
            } else {
                out.copy_from_slice(before);
            }
            if dropout {
                let factors = self.dropout(factor, row);
                out.iter_mut().zip(factors).for_each(|(o, &d)| *o = *o * d);
            }
        }
    }

    /// `out (+)= d U^T` for the gates `from .. to`, where d lies with a stride.
    fn product(&self, d: &[T], stride: usize, from: usize, to: usize, out: &mut [T], add: bool) {
        let u = self.r.units;
        let b = &self.saved.transposed[from * u * u..to * u * u];
        let ep = Epilogue {
            accumulate: add,
            ..Epilogue::default()
        };
        gemm(
            self.count,
            u,
            (to - from) * u,
            d,
            stride,
            1,
            b,
            u,
            1,
            out,
            u,
            &ep,
        );
    }

    /// Adds what flows to the state before through the gates `from .. to`.
    fn through(&mut self, from: usize, to: usize) {
        let (u, width) = (self.r.units, self.r.width());
        let mut next = std::mem::take(&mut self.next);
        if self.x.dropout.is_empty() {
            self.product(&self.dgates[from * u..], width, from, to, &mut next, true);
        } else {
            for gate in from..to {
                let mut mixed = std::mem::take(&mut self.mixed);
                self.product(
                    &self.dgates[gate * u..],
                    width,
                    gate,
                    gate + 1,
                    &mut mixed,
                    false,
                );
                self.mixed = mixed;
                self.add_dropped(gate, &mut next);
            }
        }
        self.next = next;
    }

    /// `next += mixed * dropout[gate]`.
    fn add_dropped(&self, gate: usize, next: &mut [T]) {
        let u = self.r.units;
        for row in 0..self.count {
            let part = row * u..(row + 1) * u;
            multiply_add(
                &self.mixed[part.clone()],
                self.dropout(gate, row),
                &mut next[part],
            );
        }
    }

    /// GRU with `reset_after`: what flows through the candidate's inner product.
    fn through_inner(&mut self) {
        let u = self.r.units;
        let mut next = std::mem::take(&mut self.next);
        if self.x.dropout.is_empty() {
            self.product(&self.dinner, u, 2, 3, &mut next, true);
        } else {
            let mut mixed = std::mem::take(&mut self.mixed);
            self.product(&self.dinner, u, 2, 3, &mut mixed, false);
            self.mixed = mixed;
            self.add_dropped(2, &mut next);
        }
        self.next = next;
    }

    /// GRU: the gradient to `r h` gives those to r and to the state before.
    fn reset_before(&mut self, step: usize) {
        let (r, u, width) = (self.r, self.r.units, self.r.width());
        let mut mixed = std::mem::take(&mut self.mixed);
        self.product(&self.dgates[2 * u..], width, 2, 3, &mut mixed, false);
        for row in (0..self.count)
            .filter(|&row| !self.masked(step, row))
            .collect::<Vec<_>>()
        {
            let part = row * u..(row + 1) * u;
            let d = &mut mixed[part.clone()];
            if !self.x.dropout.is_empty() {
                d.iter_mut()
                    .zip(self.dropout(2, row))
                    .for_each(|(a, &b)| *a = *a * b);
            }
            let at = (step * r.batch + self.first + row) * r.kept() + u;
            let reset = &self.saved.kept[at..at + u];
            let before = state_before(r, self.saved.h, self.x.h0, step, self.first + row);
            let dr = &mut self.dgates[row * width + u..row * width + 2 * u];
            multiply(d, before, dr);
            slopes(r.gate_activation, reset, dr);
            multiply_add(d, reset, &mut self.next[part]);
        }
        self.mixed = mixed;
    }
}

/// A sample's output before a step.
fn state_before<'s, T>(r: &Rnn, h: &'s [T], h0: &'s [T], step: usize, sample: usize) -> &'s [T] {
    let u = r.units;
    if step == 0 {
        return &h0[sample * u..(sample + 1) * u];
    }
    let at = (sample * r.steps + step - 1) * u;
    &h[at..at + u]
}
