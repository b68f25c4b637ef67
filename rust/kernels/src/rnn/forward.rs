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
    /// Cell states of all steps (LSTM; else empty), `[steps, batch, units]`.
    pub c: &'a mut [T],
    /// For the backward pass, `[steps, batch, kept]`: a step's rows lie side by side, where they
    /// share no cache sets.
    pub kept: &'a mut [T],
}

/// Work below this many multiplications is not shared.
pub(super) const SHARE: usize = 150_000;

/// Rows of the batch that a task takes: the same whatever runs them, since a row's result does not
/// depend on the others.
pub(super) fn tasks(r: &Rnn) -> usize {
    let work = r.batch * r.steps * r.units * r.width();
    if par::is_small(work, SHARE) {
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
            state: x.h0[first * r.units..last * r.units].to_vec(),
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
    /// The output of the step before, `[count, units]`.
    state: Vec<T>,
    /// A factor of a product that is not lying in memory as such: `h` after dropout, `r h`.
    mixed: Vec<T>,
}

impl<T: Float + Math> Rows<'_, T> {
    /// What is kept of a row's step.
    #[allow(clippy::mut_from_ref, reason = "tasks take disjoint rows")]
    fn gates_of(&self, step: usize, row: usize) -> &mut [T] {
        let columns = self.r.kept();
        let at = (step * self.r.batch + self.first + row) * columns;
        // SAFETY: the row belongs to this task, which takes it once at a time.
        unsafe { self.kept.part(at, columns) }
    }

    fn projected(&self, step: usize, row: usize) -> &[T] {
        let width = self.r.width();
        let at = ((self.first + row) * self.r.steps + self.r.time(step)) * width;
        &self.x.projection[at..at + width]
    }

    fn before(&self, row: usize) -> &[T] {
        &self.state[row * self.r.units..(row + 1) * self.r.units]
    }

    fn step(&mut self, step: usize) {
        match self.r.cell {
            Cell::Simple | Cell::Lstm => self.gates(step, self.r.cell.gates()),
            Cell::Gru { reset_after } => {
                self.gates(step, 2);
                self.candidate(step, reset_after);
            }
        }
        for row in 0..self.count {
            self.finish(step, row);
        }
    }

    /// `gates = projection + h U` for the first `count` gates, and their recurrent bias, if any.
    fn gates(&mut self, step: usize, count: usize) {
        let u = self.r.units;
        for row in 0..self.count {
            let gates = &mut self.gates_of(step, row)[..count * u];
            gates.copy_from_slice(&self.projected(step, row)[..count * u]);
            let bias = self.x.bias.iter();
            gates.iter_mut().zip(bias).for_each(|(g, &b)| *g += b);
        }
        if self.x.dropout.is_empty() {
            return self.product(&self.state, step, 0, 0, count * u);
        }
        for gate in 0..count {
            self.drop_state(gate);
            self.product(&self.mixed, step, gate * u, gate * u, u);
        }
    }

    /// `mixed = h * dropout[gate]`.
    fn drop_state(&mut self, gate: usize) {
        let n = self.count * self.r.units;
        let at = (gate * self.r.batch + self.first) * self.r.units;
        multiply(&self.state, &self.x.dropout[at..at + n], &mut self.mixed);
    }

    /// Adds `a U[:, from..from + n]` to the kept columns `to..to + n` of a step.
    fn product(&self, a: &[T], step: usize, from: usize, to: usize, n: usize) {
        let (u, width, columns) = (self.r.units, self.r.width(), self.r.kept());
        let at = (step * self.r.batch + self.first) * columns + to;
        let len = (self.count - 1) * columns + n;
        // SAFETY: from this task's first row to its last; the product writes the n columns of
        // each of them and skips what lies between.
        let out = unsafe { self.kept.part(at, len) };
        let ep = Epilogue {
            accumulate: true,
            ..Epilogue::default()
        };
        let kernel = &self.x.kernel[from..];
        gemm(
            self.count, n, u, a, u, 1, kernel, width, 1, out, columns, &ep,
        );
    }

    /// The GRU's candidate, after its gates z and r.
    fn candidate(&mut self, step: usize, reset_after: bool) {
        let u = self.r.units;
        for row in 0..self.count {
            activate_row(
                self.r.gate_activation,
                &mut self.gates_of(step, row)[..2 * u],
            );
        }
        if reset_after {
            return self.candidate_reset_after(step);
        }
        let mut mixed = std::mem::take(&mut self.mixed);
        for row in 0..self.count {
            let gates = self.gates_of(step, row);
            let out = &mut mixed[row * u..(row + 1) * u];
            multiply(self.before(row), &gates[u..2 * u], out);
            if !self.x.dropout.is_empty() {
                let at = (2 * self.r.batch + self.first + row) * u;
                let factors = &self.x.dropout[at..at + u];
                out.iter_mut().zip(factors).for_each(|(o, &d)| *o = *o * d);
            }
            gates[2 * u..3 * u].copy_from_slice(&self.projected(step, row)[2 * u..]);
        }
        self.mixed = mixed;
        self.product(&self.mixed, step, 2 * u, 2 * u, u);
    }

    /// `candidate = projection + r (h U + b)`; the bracket is kept in the fourth block.
    fn candidate_reset_after(&mut self, step: usize) {
        let u = self.r.units;
        for row in 0..self.count {
            self.gates_of(step, row)[3 * u..].copy_from_slice(&self.x.bias[2 * u..]);
        }
        if self.x.dropout.is_empty() {
            self.product(&self.state, step, 2 * u, 3 * u, u);
        } else {
            self.drop_state(2);
            self.product(&self.mixed, step, 2 * u, 3 * u, u);
        }
        for row in 0..self.count {
            let (head, inner) = self.gates_of(step, row).split_at_mut(3 * u);
            let (zr, candidate) = head.split_at_mut(2 * u);
            candidate.copy_from_slice(&self.projected(step, row)[2 * u..]);
            multiply_add(&zr[u..], inner, candidate);
        }
    }

    /// Activations, the new state, and the mask.
    fn finish(&mut self, step: usize, row: usize) {
        let (r, u) = (self.r, self.r.units);
        let gates = self.gates_of(step, row);
        let at = (self.first + row) * r.steps + step;
        // SAFETY: the row belongs to this task, and is taken once.
        let h = unsafe { self.h.part(at * u, u) };
        let time = (self.first + row) * r.steps + r.time(step);
        let masked = self.x.mask.get(time) == Some(&0);
        match r.cell {
            Cell::Simple => {
                activate_row(r.activation, gates);
                h.copy_from_slice(gates);
            }
            Cell::Gru { .. } => {
                activate_row(r.activation, &mut gates[2 * u..3 * u]);
                gru_state(&gates[..u], &gates[2 * u..3 * u], self.before(row), h);
            }
            Cell::Lstm => {
                activate_row(r.gate_activation, &mut gates[..2 * u]);
                activate_row(r.activation, &mut gates[2 * u..3 * u]);
                activate_row(r.gate_activation, &mut gates[3 * u..]);
                let own = (step * r.batch + self.first + row) * u;
                // SAFETY: as above.
                let c = unsafe { self.c.part(own, u) };
                let before = if step == 0 {
                    &self.x.c0[(self.first + row) * u..(self.first + row + 1) * u]
                } else {
                    // SAFETY: the row's state of the step before, which nothing writes any more.
                    unsafe { self.c.part(own - r.batch * u, u) }
                };
                lstm_state(r.activation, gates, before, c, h);
                if masked {
                    c.copy_from_slice(before);
                }
            }
        }
        if masked {
            h.copy_from_slice(self.before(row));
        } else {
            self.state[row * u..(row + 1) * u].copy_from_slice(h);
        }
    }
}
