//! One step's elementwise work for a row of samples, forward and backward.

use super::Activation;
use crate::dtype::Float;
use crate::math::Math;
use crate::simd::{self, Body};

#[inline(always)]
fn activate<T: Float + Math>(kind: Activation, x: T) -> T {
    match kind {
        Activation::Linear => x,
        Activation::Relu => x.max_nan(T::ZERO),
        Activation::Tanh => Math::tanh(x),
        Activation::Sigmoid => x.sigmoid(),
        Activation::HardSigmoid => {
            let line = x * T::from_f64(0.2) + T::from_f64(0.5);
            line.max_nan(T::ZERO).min_nan(T::ONE)
        }
    }
}

/// The derivative of an activation, by its result.
#[inline(always)]
fn slope<T: Float + Math>(kind: Activation, y: T) -> T {
    match kind {
        Activation::Linear => T::ONE,
        Activation::Relu => {
            if y > T::ZERO {
                T::ONE
            } else {
                T::ZERO
            }
        }
        Activation::Tanh => T::ONE - y * y,
        Activation::Sigmoid => y * (T::ONE - y),
        Activation::HardSigmoid => {
            if y > T::ZERO && y < T::ONE {
                T::from_f64(0.2)
            } else {
                T::ZERO
            }
        }
    }
}

struct Activate<'a, T>(Activation, &'a mut [T]);
impl<T: Float + Math> Body for Activate<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        // A loop for each kind: the choice stays outside of it.
        match self.0 {
            Activation::Linear => {}
            Activation::Relu => self
                .1
                .iter_mut()
                .for_each(|v| *v = activate(Activation::Relu, *v)),
            Activation::Tanh => self
                .1
                .iter_mut()
                .for_each(|v| *v = activate(Activation::Tanh, *v)),
            Activation::Sigmoid => {
                self.1
                    .iter_mut()
                    .for_each(|v| *v = activate(Activation::Sigmoid, *v));
            }
            Activation::HardSigmoid => {
                self.1
                    .iter_mut()
                    .for_each(|v| *v = activate(Activation::HardSigmoid, *v));
            }
        }
    }
}

/// Applies an activation to a row.
pub(super) fn activate_row<T: Float + Math>(kind: Activation, row: &mut [T]) {
    simd::dispatch(Activate(kind, row));
}

struct Slopes<'a, T>(Activation, &'a [T], &'a mut [T]);
impl<T: Float + Math> Body for Slopes<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Slopes(kind, y, dy) = self;
        let n = y.len();
        let dy = &mut dy[..n];
        match kind {
            Activation::Linear => {}
            Activation::Relu => (0..n).for_each(|i| dy[i] = dy[i] * slope(Activation::Relu, y[i])),
            Activation::Tanh => (0..n).for_each(|i| dy[i] = dy[i] * slope(Activation::Tanh, y[i])),
            Activation::Sigmoid => {
                (0..n).for_each(|i| dy[i] = dy[i] * slope(Activation::Sigmoid, y[i]));
            }
            Activation::HardSigmoid => {
                (0..n).for_each(|i| dy[i] = dy[i] * slope(Activation::HardSigmoid, y[i]));
            }
        }
    }
}

/// Multiplies the gradient to an activation's result `y` by its derivative.
pub(super) fn slopes<T: Float + Math>(kind: Activation, y: &[T], dy: &mut [T]) {
    simd::dispatch(Slopes(kind, y, dy));
}

/// `c' = f c + i g`, and `act(c')` into `h`, which is then multiplied by `o`.
struct LstmState<'a, T> {
    activation: Activation,
    /// i, f, g, o after their activations.
    gates: &'a [T],
    before: &'a [T],
    c: &'a mut [T],
    h: &'a mut [T],
}

impl<T: Float + Math> Body for LstmState<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let u = self.c.len();
        let (i, f) = (&self.gates[..u], &self.gates[u..2 * u]);
        let (g, o) = (&self.gates[2 * u..3 * u], &self.gates[3 * u..4 * u]);
        let (before, c, h) = (&self.before[..u], &mut self.c[..u], &mut self.h[..u]);
        for k in 0..u {
            c[k] = f[k] * before[k] + i[k] * g[k];
        }
        h.copy_from_slice(c);
        Activate(self.activation, h).run();
        for k in 0..u {
            h[k] = h[k] * o[k];
        }
    }
}

/// The new cell state and output of an LSTM's row.
pub(super) fn lstm_state<T: Float + Math>(
    activation: Activation,
    gates: &[T],
    before: &[T],
    c: &mut [T],
    h: &mut [T],
) {
    simd::dispatch(LstmState {
        activation,
        gates,
        before,
        c,
        h,
    });
}

/// `h' = z h + (1 - z) g`.
struct GruState<'a, T> {
    z: &'a [T],
    g: &'a [T],
    before: &'a [T],
    h: &'a mut [T],
}

impl<T: Float + Math> Body for GruState<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let u = self.h.len();
        let (z, g, before, h) = (
            &self.z[..u],
            &self.g[..u],
            &self.before[..u],
            &mut self.h[..u],
        );
        for k in 0..u {
            h[k] = z[k] * before[k] + (T::ONE - z[k]) * g[k];
        }
    }
}

/// The new output of a GRU's row.
pub(super) fn gru_state<T: Float + Math>(z: &[T], g: &[T], before: &[T], h: &mut [T]) {
    simd::dispatch(GruState { z, g, before, h });
}

/// The gradients of an LSTM's row.
pub(super) struct LstmBack<'a, T> {
    /// Activation of candidate and output.
    pub(super) activation: Activation,
    /// Activation of the gates.
    pub(super) gate_activation: Activation,
    /// i, f, g, o after their activations.
    pub(super) gates: &'a [T],
    /// Cell states before and after the step.
    pub(super) before: &'a [T],
    pub(super) after: &'a [T],
    /// Gradient to the output.
    pub(super) dh: &'a [T],
    /// Gradient to the cell state after the step; becomes that to the one before.
    pub(super) dc: &'a mut [T],
    /// Gradients to the gates before their activations.
    pub(super) dgates: &'a mut [T],
}

impl<T: Float + Math> Body for LstmBack<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let u = self.dc.len();
        let (i, f) = (&self.gates[..u], &self.gates[u..2 * u]);
        let (g, o) = (&self.gates[2 * u..3 * u], &self.gates[3 * u..4 * u]);
        let (before, after, dh) = (&self.before[..u], &self.after[..u], &self.dh[..u]);
        let dc = &mut self.dc[..u];
        let (di, rest) = self.dgates.split_at_mut(u);
        let (df, rest) = rest.split_at_mut(u);
        let (dg, d_o) = rest.split_at_mut(u);
        let (dg, d_o) = (&mut dg[..u], &mut d_o[..u]);
        // di holds act(c) for a moment.
        di.copy_from_slice(after);
        Activate(self.activation, di).run();
        for k in 0..u {
            d_o[k] = dh[k] * di[k];
            df[k] = dh[k] * o[k];
        }
        Slopes(self.activation, di, df).run();
        for k in 0..u {
            let d = dc[k] + df[k];
            di[k] = d * g[k];
            dg[k] = d * i[k];
            df[k] = d * before[k];
            dc[k] = d * f[k];
        }
        Slopes(self.gate_activation, i, di).run();
        Slopes(self.gate_activation, f, df).run();
        Slopes(self.activation, g, dg).run();
        Slopes(self.gate_activation, o, d_o).run();
    }
}

/// Runs [`LstmBack`].
pub(super) fn lstm_back<T: Float + Math>(row: LstmBack<'_, T>) {
    simd::dispatch(row);
}

/// The gradients of a GRU's row to z and the candidate, before their activations, and the part of
/// the gradient to the state before that does not go through a product.
pub(super) struct GruBack<'a, T> {
    pub(super) activation: Activation,
    pub(super) gate_activation: Activation,
    pub(super) z: &'a [T],
    pub(super) g: &'a [T],
    pub(super) before: &'a [T],
    pub(super) dh: &'a [T],
    pub(super) dz: &'a mut [T],
    pub(super) dg: &'a mut [T],
    pub(super) dbefore: &'a mut [T],
}

impl<T: Float + Math> Body for GruBack<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let u = self.dh.len();
        let (z, g, before, dh) = (&self.z[..u], &self.g[..u], &self.before[..u], &self.dh[..u]);
        let (dz, dg, dbefore) = (&mut self.dz[..u], &mut self.dg[..u], &mut self.dbefore[..u]);
        for k in 0..u {
            dz[k] = dh[k] * (before[k] - g[k]);
            dg[k] = dh[k] * (T::ONE - z[k]);
            dbefore[k] = dh[k] * z[k];
        }
        Slopes(self.gate_activation, z, dz).run();
        Slopes(self.activation, g, dg).run();
    }
}

/// Runs [`GruBack`].
pub(super) fn gru_back<T: Float + Math>(row: GruBack<'_, T>) {
    simd::dispatch(row);
}

struct Multiply<'a, T>(&'a [T], &'a [T], &'a mut [T]);
impl<T: Float + Math> Body for Multiply<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let n = self.2.len();
        let (a, b, out) = (&self.0[..n], &self.1[..n], &mut self.2[..n]);
        for k in 0..n {
            out[k] = a[k] * b[k];
        }
    }
}

/// `out = a b`.
pub(super) fn multiply<T: Float + Math>(a: &[T], b: &[T], out: &mut [T]) {
    simd::dispatch(Multiply(a, b, out));
}

struct MultiplyAdd<'a, T>(&'a [T], &'a [T], &'a mut [T]);
impl<T: Float + Math> Body for MultiplyAdd<'_, T> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let n = self.2.len();
        let (a, b, out) = (&self.0[..n], &self.1[..n], &mut self.2[..n]);
        for k in 0..n {
            out[k] += a[k] * b[k];
        }
    }
}

/// `out += a b`.
pub(super) fn multiply_add<T: Float + Math>(a: &[T], b: &[T], out: &mut [T]) {
    simd::dispatch(MultiplyAdd(a, b, out));
}
