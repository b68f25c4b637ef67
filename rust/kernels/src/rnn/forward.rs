//! The recurrence forward.

use super::cells::{activate_row, gru_state, lstm_state, multiply, multiply_add};
use super::{Cell, Operands, Rnn, Shared};
use crate::dtype::Float;
use crate::gemm::{Epilogue, gemm};
use crate::math::Math;
use crate::par;

/// What the forward pass writes.
#[derive(Debug)]
pub struct Forward<'a, T> {
    /// Outputs of all steps, `[batch, steps, units]`.
    pub h: &'a mut [T],
    /// Cell states of all steps (LSTM; else empty), of the same shape.
    pub c: &'a mut [T],
    /// For the backward pass, `[batch, steps, kept]`.
    pub kept: &'a mut [T],
}

/// Work below this many multiplications is not shared.
pub(super) const SHARE: usize = 150_000;

/// Rows of the batch that a task takes: the same whatever runs them, since a row's result does not
/// depend on the others.
pub(super) fn tasks(r: &Rnn) -> usize {
    let work = r.batch * r.steps * r.units * r.width();
    if work < SHARE {
        1
    } else {
        par::num_threads().min(r.batch).max(1)
    }
}

/// Runs the recurrence.
///
/// # Panics
/// When a slice's length does not fit.
pub fn forward<T: Float + Math>(r: &Rnn, x: &Operands<'_, T>, out: Forward<'_, T>) {
    x.check(r);
    assert_eq!(out.h.len(), r.sequence(r.units), "outputs of {r:?}");
    assert_eq!(out.kept.len(), r.sequence(r.kept()), "kept gates of {r:?}");
    let c = if r.cell == Cell::Lstm {
        r.sequence(r.units)
    } else {
        0
    };
    assert_eq!(out.c.len(), c, "cell states of {r:?}");
    if r.batch == 0 || r.steps == 0 || r.units == 0 {
        return;
    }
    let shared = (
        Shared(out.h.as_mut_ptr()),
        Shared(out.c.as_mut_ptr()),
        Shared(out.kept.as_mut_ptr()),
    );
    let tasks = tasks(r);
    par::run(tasks, &|task| {
        let shared = &shared;
        let (first, last) = (r.batch * task / tasks, r.batch * (task + 1) / tasks);
        let mut rows = Rows {
            r,
            x,
            first,
            count: last - first,
            h: &shared.0,
            c: &shared.1,
            kept: &shared.2,
            mixed: vec![T::ZERO; (last - first) * r.units],
        };
        for step in 0..r.steps {
            rows.step(step);
        }
    });
}

/// Some rows of the batch, run through all steps by one task.
struct Rows<'a, T> {
    r: &'a Rnn,
    x: &'a Operands<'a, T>,
    first: usize,
    count: usize,
    h: &'a Shared<T>,
    c: &'a Shared<T>,
    kept: &'a Shared<T>,
    /// A factor of a product that is not lying in memory as such: `h` after dropout, `r h`.
    mixed: Vec<T>,
}

impl<T: Float + Math> Rows<'_, T> {
    /// A row of a sequence.
    ///
    /// # Safety
    /// As for [`Shared::part`]: the sequence has these columns, and the row is not in use.
    #[allow(clippy::mut_from_ref, reason = "tasks take disjoint rows")]
    unsafe fn row<'s>(
        &self,
        of: &'s Shared<T>,
        columns: usize,
        row: usize,
        step: usize,
    ) -> &'s mut [T] {
        let at = ((self.first + row) * self.r.steps + step) * columns;
        // SAFETY: the caller's promise.
        unsafe { of.part(at, columns) }
    }

    /// The state before a step: where its rows begin, and how far they lie apart.
    fn state_before<'s>(
        &'s self,
        of: &'s Shared<T>,
        start: &'s [T],
        step: usize,
    ) -> (&'s [T], usize) {
        let u = self.r.units;
        if step == 0 {
            return (&start[self.first * u..(self.first + self.count) * u], u);
        }
        let from = (self.first * self.r.steps + step - 1) * u;
        let len = (self.count - 1) * self.r.steps * u + u;
        // SAFETY: the rows' own earlier outputs, which nothing writes any more; the stretch
        // between them is only skipped over.
        (unsafe { of.part(from, len) }, self.r.steps * u)
    }

    fn before_row<'s>(
        &'s self,
        of: &'s Shared<T>,
        start: &'s [T],
        step: usize,
        row: usize,
    ) -> &'s [T] {
        let u = self.r.units;
        let (all, stride) = self.state_before(of, start, step);
        &all[row * stride..row * stride + u]
    }

    fn step(&mut self, step: usize) {
        match self.r.cell {
            Cell::Simple | Cell::Lstm => self.gates(step, 0, self.r.cell.gates(), true),
            Cell::Gru { .. } => self.gates(step, 0, 2, true),
        }
        if let Cell::Gru { reset_after } = self.r.cell {
            self.candidate(step, reset_after);
        }
        for row in 0..self.count {
            self.finish(step, row);
        }
    }

    /// `gates = projection + h U` for gates `from .. to`, and their recurrent bias, if any.
    fn gates(&mut self, step: usize, from: usize, to: usize, project: bool) {
        let (u, width, columns) = (self.r.units, self.r.width(), self.r.kept());
        let time = self.r.time(step);
        for row in 0..self.count {
            let at = ((self.first + row) * self.r.steps + time) * width;
            // SAFETY: the row belongs to this task.
            let gates = unsafe { self.row(self.kept, columns, row, step) };
            for k in from * u..to * u {
                let projected = if project {
                    self.x.projection[at + k]
                } else {
                    T::ZERO
                };
                gates[k] = projected + self.x.bias.get(k).copied().unwrap_or(T::ZERO);
            }
        }
        if self.x.dropout.is_empty() {
            let (h, stride) = self.state_before(self.h, self.x.h0, step);
            self.product(h, stride, step, from * u, from * u, (to - from) * u);
            return;
        }
        for gate in from..to {
            self.drop_state(step, gate);
            self.product(&self.mixed, u, step, gate * u, gate * u, u);
        }
    }

    /// `mixed = h * dropout[gate]`.
    fn drop_state(&mut self, step: usize, gate: usize) {
        let u = self.r.units;
        let mut mixed = std::mem::take(&mut self.mixed);
        for row in 0..self.count {
            let at = (gate * self.r.batch + self.first + row) * u;
            let before = self.before_row(self.h, self.x.h0, step, row);
            multiply(
                before,
                &self.x.dropout[at..at + u],
                &mut mixed[row * u..(row + 1) * u],
            );
        }
        self.mixed = mixed;
    }

    /// Adds `a U[:, from..from + n]` to the kept columns `to..to + n` of a step.
    fn product(&self, a: &[T], stride: usize, step: usize, from: usize, to: usize, n: usize) {
        let (u, width, columns) = (self.r.units, self.r.width(), self.r.kept());
        let at = (self.first * self.r.steps + step) * columns + to;
        let len = (self.count - 1) * self.r.steps * columns + n;
        // SAFETY: from this task's first row to its last; the product writes the n columns of
        // each of them and skips what lies between.
        let out = unsafe { self.kept.part(at, len) };
        let ep = Epilogue {
            accumulate: true,
            ..Epilogue::default()
        };
        let kernel = &self.x.kernel[from..];
        gemm(
            self.count,
            n,
            u,
            a,
            stride,
            1,
            kernel,
            width,
            1,
            out,
            self.r.steps * columns,
            &ep,
        );
    }

    /// The GRU's candidate, after its gates z and r.
    fn candidate(&mut self, step: usize, reset_after: bool) {
        let (u, columns) = (self.r.units, self.r.kept());
        for row in 0..self.count {
            // SAFETY: the row belongs to this task.
            let gates = unsafe { self.row(self.kept, columns, row, step) };
            activate_row(self.r.gate_activation, &mut gates[..2 * u]);
        }
        if reset_after {
            return self.candidate_reset_after(step);
        }
        let mut mixed = std::mem::take(&mut self.mixed);
        for row in 0..self.count {
            // SAFETY: the row belongs to this task.
            let gates = unsafe { self.row(self.kept, columns, row, step) };
            let out = &mut mixed[row * u..(row + 1) * u];
            multiply(
                self.before_row(self.h, self.x.h0, step, row),
                &gates[u..2 * u],
                out,
            );
            if !self.x.dropout.is_empty() {
                let at = (2 * self.r.batch + self.first + row) * u;
                let kept = out.to_vec();
                multiply(&kept, &self.x.dropout[at..at + u], out);
            }
            let time = self.r.time(step);
            let at = ((self.first + row) * self.r.steps + time) * self.r.width() + 2 * u;
            gates[2 * u..3 * u].copy_from_slice(&self.x.projection[at..at + u]);
        }
        self.mixed = mixed;
        self.product(&self.mixed, u, step, 2 * u, 2 * u, u);
    }

    /// `candidate = projection + r (h U + b)`; the bracket is kept in the fourth block.
    fn candidate_reset_after(&mut self, step: usize) {
        let (u, width, columns) = (self.r.units, self.r.width(), self.r.kept());
        for row in 0..self.count {
            // SAFETY: the row belongs to this task.
            let gates = unsafe { self.row(self.kept, columns, row, step) };
            gates[3 * u..].copy_from_slice(&self.x.bias[2 * u..]);
        }
        if self.x.dropout.is_empty() {
            let (h, stride) = self.state_before(self.h, self.x.h0, step);
            self.product(h, stride, step, 2 * u, 3 * u, u);
        } else {
            self.drop_state(step, 2);
            self.product(&self.mixed, u, step, 2 * u, 3 * u, u);
        }
        for row in 0..self.count {
            // SAFETY: the row belongs to this task.
            let gates = unsafe { self.row(self.kept, columns, row, step) };
            let at = ((self.first + row) * self.r.steps + self.r.time(step)) * width + 2 * u;
            let (head, inner) = gates.split_at_mut(3 * u);
            let (zr, candidate) = head.split_at_mut(2 * u);
            candidate.copy_from_slice(&self.x.projection[at..at + u]);
            multiply_add(&zr[u..], inner, candidate);
        }
    }

    /// Activations, the new state, and the mask.
    fn finish(&mut self, step: usize, row: usize) {
        let (r, u) = (self.r, self.r.units);
        // SAFETY: the rows belong to this task, and each is taken once.
        let (gates, h) = unsafe {
            (
                self.row(self.kept, r.kept(), row, step),
                self.row(self.h, u, row, step),
            )
        };
        let before = self.before_row(self.h, self.x.h0, step, row);
        let at = (self.first + row) * r.steps + r.time(step);
        let masked = self.x.mask.get(at) == Some(&0);
        match r.cell {
            Cell::Simple => {
                activate_row(r.activation, gates);
                h.copy_from_slice(gates);
            }
            Cell::Gru { .. } => {
                activate_row(r.activation, &mut gates[2 * u..3 * u]);
                gru_state(&gates[..u], &gates[2 * u..3 * u], before, h);
            }
            Cell::Lstm => {
                activate_row(r.gate_activation, &mut gates[..2 * u]);
                activate_row(r.activation, &mut gates[2 * u..3 * u]);
                activate_row(r.gate_activation, &mut gates[3 * u..]);
                // SAFETY: as above.
                let c = unsafe { self.row(self.c, u, row, step) };
                let c_before = self.before_row(self.c, self.x.c0, step, row);
                lstm_state(r.activation, gates, c_before, c, h);
                if masked {
                    c.copy_from_slice(c_before);
                }
            }
        }
        if masked {
            h.copy_from_slice(before);
        }
    }
}
