//! Convolutions as plain loops.

use super::{Conv2d, Epilogue};
use crate::dtype::Float;

/// Calls `f(x_index, w_index, y_index)`, each of channel 0, for every pair of an output position and
/// a kernel tap that falls inside the image.
fn taps(g: &Conv2d, mut f: impl FnMut(usize, usize, usize)) {
    for b in 0..g.n {
        for oy in 0..g.oh {
            for ox in 0..g.ow {
                for ky in 0..g.kh {
                    for kx in 0..g.kw {
                        let (iy, ix) = (oy * g.sh + ky * g.dh, ox * g.sw + kx * g.dw);
                        if iy < g.pad_top || ix < g.pad_left {
                            continue;
                        }
                        let (iy, ix) = (iy - g.pad_top, ix - g.pad_left);
                        if iy < g.h && ix < g.w {
                            f(
                                ((b * g.h + iy) * g.w + ix) * g.ci,
                                (ky * g.kw + kx) * g.ci * g.co,
                                ((b * g.oh + oy) * g.ow + ox) * g.co,
                            );
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn forward<T: Float>(g: &Conv2d, x: &[T], w: &[T], y: &mut [T], ep: &Epilogue<'_, T>) {
    if !ep.accumulate {
        y.fill(T::ZERO);
    }
    taps(g, |xi, wi, yi| {
        for i in 0..g.ci {
            for o in 0..g.co {
                y[yi + o] += x[xi + i] * w[wi + i * g.co + o];
            }
        }
    });
    for row in y.chunks_exact_mut(g.co.max(1)) {
        for (o, v) in row.iter_mut().enumerate() {
            let b = ep.bias.map_or(T::ZERO, |b| b[o]);
            *v = ep.act.apply(*v + b);
        }
    }
}

pub(super) fn grad_input<T: Float>(g: &Conv2d, dy: &[T], w: &[T], dx: &mut [T]) {
    dx.fill(T::ZERO);
    taps(g, |xi, wi, yi| {
        for i in 0..g.ci {
            for o in 0..g.co {
                dx[xi + i] += dy[yi + o] * w[wi + i * g.co + o];
            }
        }
    });
}

pub(super) fn grad_filter<T: Float>(g: &Conv2d, x: &[T], dy: &[T], dw: &mut [T]) {
    dw.fill(T::ZERO);
    taps(g, |xi, wi, yi| {
        for i in 0..g.ci {
            for o in 0..g.co {
                dw[wi + i * g.co + o] += x[xi + i] * dy[yi + o];
            }
        }
    });
}
