//! Recurrent layers as whole-sequence operations: simple RNN, GRU and LSTM, forward and backward.
//!
//! The input's projection `x W + b` of all steps is one matrix product made before; a kernel here
//! runs the recurrence over it. Gates lie side by side in Keras' order: simple `(h)`, GRU
//! `(z, r, h)`, LSTM `(i, f, c, o)`. A masked step carries output and state over. The batch is cut
//! over threads once for the whole sequence; a sample's result depends on nothing but the sample,
//! and the gradient of the recurrent kernel is one product after the loop, so the bits do not
//! depend on the number of threads.
//!
//! Sources: Keras 2 (`SimpleRNN`, `GRU`, `LSTM`); Hochreiter and Schmidhuber 1997, Gers et al. 2000
//! (LSTM); Cho et al. 2014 (GRU), with `reset_after` as in its first version, arXiv:1406.1078v1.
//!
//! May import `dtype`, `gemm`, `math`, `par`, `simd`.

mod backward;
mod cells;
mod forward;

pub use backward::{Backward, backward};
pub use forward::{Forward, forward};

use crate::dtype::Float;
use crate::math::Math;

/// The kind of recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// `h' = act(x + h U)`.
    Simple,
    /// Gated recurrent unit.
    Gru {
        /// Whether the reset gate is applied after the recurrent product, which then has a bias of
        /// its own.
        reset_after: bool,
    },
    /// Long short-term memory.
    Lstm,
}

impl Cell {
    /// Number of gates, and of column blocks of projection and recurrent kernel.
    pub const fn gates(self) -> usize {
        match self {
            Cell::Simple => 1,
            Cell::Gru { .. } => 3,
            Cell::Lstm => 4,
        }
    }

    /// Columns of what the forward pass keeps for the backward pass, in units: the gates after
    /// their activations, for the GRU with `reset_after` also its recurrent candidate.
    pub const fn kept(self) -> usize {
        match self {
            Cell::Simple => 1,
            Cell::Gru { reset_after: false } => 3,
            Cell::Gru { reset_after: true } | Cell::Lstm => 4,
        }
    }
}

/// Activations that the fused recurrences know; each has its derivative by its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x`
    Linear,
    /// `max(x, 0)`
    Relu,
    /// `tanh(x)`
    Tanh,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `clip(0.2 x + 0.5, 0, 1)`, as in Keras 2.
    HardSigmoid,
}

/// A recurrence over sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rnn {
    /// The recurrence.
    pub cell: Cell,
    /// Samples.
    pub batch: usize,
    /// Steps.
    pub steps: usize,
    /// Size of the state.
    pub units: usize,
    /// Activation of candidate and output.
    pub activation: Activation,
    /// Activation of the gates.
    pub gate_activation: Activation,
    /// Whether step s reads the input (and the mask) of time `steps - 1 - s`.
    pub reverse: bool,
}

impl Rnn {
    /// Columns of projection and recurrent kernel.
    pub fn width(&self) -> usize {
        self.cell.gates() * self.units
    }

    /// Columns of what is kept for the backward pass.
    pub fn kept(&self) -> usize {
        self.cell.kept() * self.units
    }

    /// Elements of a sequence of `columns` for each step and sample.
    pub fn sequence(&self, columns: usize) -> usize {
        self.batch * self.steps * columns
    }

    fn time(&self, step: usize) -> usize {
        if self.reverse {
            self.steps - 1 - step
        } else {
            step
        }
    }
}

/// What a recurrence reads: `[batch, steps, width]` projection, `[units, width]` kernel, initial
/// states `[batch, units]`.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a, T> {
    /// The input's projection with its bias.
    pub projection: &'a [T],
    /// The recurrent kernel.
    pub kernel: &'a [T],
    /// Recurrent bias `[width]`, for the GRU with `reset_after`; else empty.
    pub bias: &'a [T],
    /// Initial output.
    pub h0: &'a [T],
    /// Initial cell state, for the LSTM; else empty.
    pub c0: &'a [T],
    /// `[batch, steps]`, 0 where a step is masked; empty: no mask.
    pub mask: &'a [u8],
    /// Factors of the recurrent state for each gate, `[gates, batch, units]` (dropout); empty:
    /// none.
    pub dropout: &'a [T],
}

impl<T: Float + Math> Operands<'_, T> {
    fn check(&self, r: &Rnn) {
        let state = r.batch * r.units;
        let optional = |len: usize, want: usize| len == 0 || len == want;
        assert_eq!(
            self.projection.len(),
            r.sequence(r.width()),
            "projection of {r:?}"
        );
        assert_eq!(
            self.kernel.len(),
            r.units * r.width(),
            "recurrent kernel of {r:?}"
        );
        assert_eq!(self.h0.len(), state, "initial state of {r:?}");
        let c0 = if r.cell == Cell::Lstm { state } else { 0 };
        assert_eq!(self.c0.len(), c0, "initial cell state of {r:?}");
        let bias = if r.cell == (Cell::Gru { reset_after: true }) {
            r.width()
        } else {
            0
        };
        assert_eq!(self.bias.len(), bias, "recurrent bias of {r:?}");
        assert!(
            optional(self.mask.len(), r.batch * r.steps),
            "mask of {r:?}"
        );
        assert!(
            optional(self.dropout.len(), r.cell.gates() * state),
            "dropout of {r:?}"
        );
    }
}

/// A pointer that tasks share to write rows of their own.
struct Shared<T>(*mut T);
// SAFETY: every task writes other rows.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Elements from `at` on.
    ///
    /// # Safety
    /// They lie in the shared memory, and no other task uses them meanwhile.
    #[allow(clippy::mut_from_ref, reason = "tasks take disjoint parts")]
    unsafe fn part(&self, at: usize, len: usize) -> &mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(at), len) }
    }
}

#[cfg(test)]
mod tests;
