//! Pooling over channels-last tensors.

use crate::dtype::DType;
use crate::node::TensorType;
use crate::op::{Op, Padding, PoolAttrs};
use crate::ops::backward::{Backward, Grads};
use crate::ops::conv::{check_list, expect_dy};
use crate::ops::operands::{Inferred, Operands, one};
use crate::ops::sample::{Sample, below, distinct, float, sizes};
use crate::shape::{Dim, Shape, show};

fn output(attrs: &PoolAttrs, x: &[Dim]) -> Result<Shape, String> {
    if x.len() < 3 {
        return Err(format!(
            "the input must have axes (samples, spatial.., channels), got shape {}",
            show(x)
        ));
    }
    let spatial = x.len() - 2;
    check_list("the window's size", &attrs.size, spatial)?;
    check_list("strides", &attrs.strides, spatial)?;
    attrs.padding.check(spatial)?;
    if let Padding::Explicit(cells) = &attrs.padding {
        let wide = |(&(before, after), &k): (&(usize, usize), &usize)| before >= k || after >= k;
        if cells.iter().zip(&attrs.size).any(wide) {
            return Err(format!(
                "padding {cells:?} must be narrower than the window {:?}: a window of padding \
                 alone has no value",
                attrs.size
            ));
        }
    }
    let mut shape = vec![x[0]];
    for i in 0..spatial {
        let windows = |n| attrs.padding.windows(i, n, attrs.size[i], attrs.strides[i]);
        let dim = x[i + 1].map(windows).transpose();
        let dim = dim.map_err(|e| format!("{e} (input {})", show(x)))?;
        shape.push(dim.map(|w| w.count));
    }
    shape.push(x[spatial + 1]);
    Ok(shape)
}

pub(super) fn infer_max_pool(attrs: &PoolAttrs, o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    let dtype = o.number(0, "the input")?;
    let shape = output(attrs, o.shape(0))?;
    let place = TensorType {
        dtype: DType::I32,
        shape: shape.clone(),
    };
    Ok(vec![TensorType { dtype, shape }, place])
}

/// Operands `(dy, place, shape of x)`.
pub(super) fn infer_max_pool_grad(attrs: &PoolAttrs, o: &Operands<'_>) -> Inferred {
    o.count(3)?;
    let dtype = o.float(0, "dy")?;
    if o.dtype(1) != DType::I32 {
        return Err(format!("the places must be int32, got {}", o.dtype(1)));
    }
    let x = o.target(2)?;
    let want = output(attrs, &x)?;
    expect_dy(o.shape(0), &want, &x)?;
    expect_dy(o.shape(1), &want, &x)?;
    one(dtype, x)
}

pub(super) fn infer_avg_pool(attrs: &PoolAttrs, o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    let dtype = o.float(0, "the input")?;
    one(dtype, output(attrs, o.shape(0))?)
}

/// Operands `(dy, shape of x)`.
pub(super) fn infer_avg_pool_grad(attrs: &PoolAttrs, o: &Operands<'_>) -> Inferred {
    o.count(2)?;
    let dtype = o.float(0, "dy")?;
    let x = o.target(1)?;
    expect_dy(o.shape(0), &output(attrs, &x)?, &x)?;
    one(dtype, x)
}

pub(super) fn grad_max_pool(attrs: &PoolAttrs, g: &Backward<'_>) -> Grads {
    let (b, op) = (&g.b, Op::MaxPoolGrad(attrs.clone()));
    g.first(|| b.op(op, &[g.dy()?, &g.y(1), &b.shape_of(g.x(0))?]))
}

pub(super) fn grad_max_pool_grad(g: &Backward<'_>) -> Grads {
    Err(g.unsupported(": second derivatives of max pooling cannot be taken; use average pooling"))
}

pub(super) fn grad_avg_pool(attrs: &PoolAttrs, g: &Backward<'_>) -> Grads {
    let (b, op) = (&g.b, Op::AvgPoolGrad(attrs.clone()));
    g.first(|| b.op(op, &[g.dy()?, &b.shape_of(g.x(0))?]))
}

/// Operands `(dy, shape of x)`: linear in dy.
pub(super) fn grad_avg_pool_grad(attrs: &PoolAttrs, g: &Backward<'_>) -> Grads {
    g.first(|| g.b.op(Op::AvgPool(attrs.clone()), &[g.dy()?]))
}

pub(super) fn samples() -> Vec<Sample> {
    type Case = (&'static [usize], &'static [usize], usize, Padding);
    // Input, window, stride, padding.
    let cases: [Case; 8] = [
        (&[2, 4, 6, 3], &[2, 2], 2, Padding::Valid),
        (&[2, 5, 5, 3], &[2, 2], 2, Padding::Same),
        (&[2, 5, 5, 2], &[3, 3], 1, Padding::Same),
        (
            &[1, 5, 6, 2],
            &[3, 2],
            2,
            Padding::Explicit(vec![(1, 1), (0, 1)]),
        ),
        (&[2, 7, 3], &[3], 2, Padding::Valid),
        (&[1, 4, 4, 4, 2], &[2, 2, 2], 2, Padding::Same),
        (&[0, 4, 4, 2], &[2, 2], 2, Padding::Valid),
        (&[1, 1, 1, 1], &[1, 1], 1, Padding::Valid),
    ];
    let mut all = Vec::new();
    for (x, size, stride, padding) in cases {
        let attrs = PoolAttrs {
            size: size.to_vec(),
            strides: vec![stride; size.len()],
            padding,
        };
        let dims: Shape = x.iter().copied().map(Some).collect();
        let y = output(&attrs, &dims).expect("the sample fits");
        let y: Vec<usize> = y.into_iter().flatten().collect();
        let of_x = sizes(&x.iter().map(|&n| n as i64).collect::<Vec<_>>());
        all.push(Sample::new(Op::MaxPool(attrs.clone()), vec![distinct(x)]));
        all.push(Sample::new(Op::AvgPool(attrs.clone()), vec![float(x)]));
        let inputs = vec![float(&y), of_x.clone()];
        all.push(Sample::new(Op::AvgPoolGrad(attrs.clone()), inputs));
        if attrs.padding == Padding::Valid {
            let places = below(DType::I32, &y, size.iter().product());
            let inputs = vec![float(&y), places, of_x];
            all.push(Sample::new(Op::MaxPoolGrad(attrs), inputs).without_gradient());
        }
    }
    all
}
