//! Convolutions over channels-last tensors, and the windows that pooling shares with them.

use crate::op::{ConvAttrs, Epilogue, Op, Padding};
use crate::ops::backward::{Backward, Grads};
use crate::ops::linalg::check_bias;
use crate::ops::operands::{Inferred, Operands, merge, one};
use crate::ops::sample::{Sample, float, sizes};
use crate::shape::{Dim, Shape, show};

/// The windows along one spatial axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// How many there are.
    pub count: usize,
    /// Cells of padding before the first cell of the input.
    pub before: usize,
    /// Cells of padding that the last window reaches beyond the input.
    pub after: usize,
}

impl Padding {
    /// The windows along spatial axis `axis` of an input of `n` cells; a window spans `extent`
    /// cells (its dilation included).
    ///
    /// # Errors
    /// A message, when not even one window fits.
    pub fn windows(
        &self,
        axis: usize,
        n: usize,
        extent: usize,
        stride: usize,
    ) -> Result<Windows, String> {
        let (before, after) = match self {
            Padding::Valid => (0, 0),
            Padding::Same => {
                let count = n.div_ceil(stride);
                let total = (count.saturating_sub(1) * stride + extent).saturating_sub(n);
                let before = total / 2;
                let after = total - before;
                return Ok(Windows {
                    count,
                    before,
                    after,
                });
            }
            Padding::Explicit(cells) => cells[axis],
        };
        let padded = before + n + after;
        if padded < extent {
            return Err(format!(
                "a window of {extent} cells does not fit into {padded} cells along spatial axis \
                 {axis}; use padding='same', a smaller window or a larger input"
            ));
        }
        let count = (padded - extent) / stride + 1;
        let after = ((count - 1) * stride + extent).saturating_sub(before + n);
        Ok(Windows {
            count,
            before,
            after,
        })
    }

    /// Checks that there is padding for each of `spatial` axes.
    pub(super) fn check(&self, spatial: usize) -> Result<(), String> {
        match self {
            Padding::Explicit(cells) if cells.len() != spatial => Err(format!(
                "padding must name {spatial} pairs of cells, one for each spatial axis, got {}",
                cells.len()
            )),
            Padding::Explicit(_) | Padding::Valid | Padding::Same => Ok(()),
        }
    }
}

/// The number of cells that a dilated window of `k` cells spans.
pub fn extent(k: usize, dilation: usize) -> usize {
    k.saturating_sub(1) * dilation + 1
}

/// Checks a list of positive numbers, one for each spatial axis.
pub(super) fn check_list(name: &str, list: &[usize], spatial: usize) -> Result<(), String> {
    if list.len() == spatial && list.iter().all(|&n| n > 0) {
        return Ok(());
    }
    Err(format!(
        "{name} must be {spatial} positive numbers, one for each spatial axis, got {list:?}"
    ))
}

/// Checks that an input has a batch, `spatial` axes and channels.
fn check_ranks(attrs: &ConvAttrs, x: &[Dim], kernel: &[Dim]) -> Result<(), String> {
    if kernel.len() < 3 || x.len() != kernel.len() {
        return Err(format!(
            "an input (samples, spatial.., channels) and a kernel (spatial.., channels / groups, \
             filters) of as many axes are needed, got shapes {} and {}",
            show(x),
            show(kernel)
        ));
    }
    let spatial = kernel.len() - 2;
    check_list("strides", &attrs.strides, spatial)?;
    check_list("dilation", &attrs.dilation, spatial)?;
    attrs.padding.check(spatial)?;
    if attrs.groups == 0 {
        return Err("groups must be positive, got 0".to_string());
    }
    Ok(())
}

/// The output's shape of the convolution of `x` with `kernel`.
fn output(attrs: &ConvAttrs, x: &[Dim], kernel: &[Dim]) -> Result<Shape, String> {
    check_ranks(attrs, x, kernel)?;
    let spatial = kernel.len() - 2;
    let (channels, per_group, filters) = (x[spatial + 1], kernel[spatial], kernel[spatial + 1]);
    let groups = attrs.groups;
    if let (Some(c), Some(p)) = (channels, per_group)
        && c != p * groups
    {
        return Err(format!(
            "the input of shape {} has {c} channels, the kernel of shape {} with {groups} \
             group(s) takes {}; is the input channels last?",
            show(x),
            show(kernel),
            p * groups
        ));
    }
    if let Some(f) = filters
        && f % groups != 0
    {
        return Err(format!("{f} filters do not divide into {groups} groups"));
    }
    let mut shape = vec![x[0]];
    for i in 0..spatial {
        let dim = match (x[i + 1], kernel[i]) {
            (Some(n), Some(k)) => {
                let span = extent(k, attrs.dilation[i]);
                let windows = attrs.padding.windows(i, n, span, attrs.strides[i]);
                Some(windows.map_err(|e| of_shapes(&e, x, kernel))?.count)
            }
            (Some(n), None) if attrs.padding == Padding::Same => Some(n.div_ceil(attrs.strides[i])),
            _ => None,
        };
        shape.push(dim);
    }
    shape.push(filters);
    Ok(shape)
}

fn of_shapes(message: &str, x: &[Dim], kernel: &[Dim]) -> String {
    format!("{message} (input {}, kernel {})", show(x), show(kernel))
}

pub(super) fn infer_conv(attrs: &ConvAttrs, epilogue: &Epilogue, o: &Operands<'_>) -> Inferred {
    o.count(2 + usize::from(epilogue.bias))?;
    o.float(0, "the input")?;
    let dtype = o.same_dtype(0, 1)?;
    let shape = output(attrs, o.shape(0), o.shape(1))?;
    if epilogue.bias {
        check_bias(o, 2, shape[shape.len() - 1])?;
    }
    one(dtype, shape)
}

/// Operands `(dy, kernel, shape of x)`.
pub(super) fn infer_conv_grad_input(attrs: &ConvAttrs, o: &Operands<'_>) -> Inferred {
    o.count(3)?;
    o.float(0, "dy")?;
    let dtype = o.same_dtype(0, 1)?;
    let (dy, kernel) = (o.shape(0), o.shape(1));
    let mut x = o.target(2)?;
    check_ranks(attrs, &x, kernel)?;
    let last = x.len() - 1;
    // What the target leaves open follows from the samples of dy and the channels of the kernel.
    x[0] = x[0].or(dy.first().copied().flatten());
    x[last] = x[last].or(kernel[last - 1].map(|p| p * attrs.groups));
    let want = output(attrs, &x, kernel)?;
    expect_dy(dy, &want, &x)?;
    one(dtype, x)
}

/// Operands `(x, dy, shape of kernel)`.
pub(super) fn infer_conv_grad_filter(attrs: &ConvAttrs, o: &Operands<'_>) -> Inferred {
    o.count(3)?;
    o.float(0, "the input")?;
    let dtype = o.same_dtype(0, 1)?;
    let (x, dy) = (o.shape(0), o.shape(1));
    let kernel = o.target(2)?;
    let want = output(attrs, x, &kernel)?;
    expect_dy(dy, &want, x)?;
    one(dtype, kernel)
}

/// Checks that `dy` can have the shape of the forward operation's result for the input `x`.
pub(super) fn expect_dy(dy: &[Dim], want: &[Dim], x: &[Dim]) -> Result<(), String> {
    let fits = dy.len() == want.len() && dy.iter().zip(want).all(|(&a, &b)| merge(a, b).is_some());
    if fits {
        return Ok(());
    }
    Err(format!(
        "an input of shape {} gives shape {}, got {}",
        show(x),
        show(want),
        show(dy)
    ))
}

/// A convolution is linear in each operand, and so are its gradients: the gradients of all three
/// are among the three.
pub(super) fn grad_conv(attrs: &ConvAttrs, g: &Backward<'_>) -> Grads {
    let (b, x, kernel, dy) = (&g.b, g.x(0), g.x(1), g.dy()?);
    let to_x = || {
        let op = Op::ConvGradInput(attrs.clone());
        b.op(op, &[dy, kernel, &b.shape_of(x)?])
    };
    let to_kernel = || {
        let op = Op::ConvGradFilter(attrs.clone());
        b.op(op, &[x, dy, &b.shape_of(kernel)?])
    };
    Ok(vec![g.to(0, to_x)?, g.to(1, to_kernel)?])
}

/// Operands `(dy, kernel, shape of x)`.
pub(super) fn grad_conv_grad_input(attrs: &ConvAttrs, g: &Backward<'_>) -> Grads {
    let (b, dy, kernel, dx) = (&g.b, g.x(0), g.x(1), g.dy()?);
    let to_dy = || b.op(Op::Conv(attrs.clone(), Epilogue::default()), &[dx, kernel]);
    let to_kernel = || {
        let op = Op::ConvGradFilter(attrs.clone());
        b.op(op, &[dx, dy, &b.shape_of(kernel)?])
    };
    Ok(vec![g.to(0, to_dy)?, g.to(1, to_kernel)?, None])
}

/// Operands `(x, dy, shape of kernel)`.
pub(super) fn grad_conv_grad_filter(attrs: &ConvAttrs, g: &Backward<'_>) -> Grads {
    let (b, x, dy, dkernel) = (&g.b, g.x(0), g.x(1), g.dy()?);
    let to_x = || {
        let op = Op::ConvGradInput(attrs.clone());
        b.op(op, &[dy, dkernel, &b.shape_of(x)?])
    };
    let to_dy = || b.op(Op::Conv(attrs.clone(), Epilogue::default()), &[x, dkernel]);
    Ok(vec![g.to(0, to_x)?, g.to(1, to_dy)?, None])
}

pub(super) fn samples() -> Vec<Sample> {
    let explicit = |cells: &[(usize, usize)]| Padding::Explicit(cells.to_vec());
    type Case = (
        &'static [usize],
        &'static [usize],
        Padding,
        usize,
        usize,
        usize,
    );
    // Input, kernel, padding, stride, dilation, groups.
    let cases: [Case; 13] = [
        (&[2, 5, 6, 3], &[3, 3, 3, 4], Padding::Valid, 1, 1, 1),
        (&[2, 5, 6, 3], &[3, 3, 3, 4], Padding::Same, 1, 1, 1),
        (&[2, 5, 6, 3], &[3, 2, 3, 4], Padding::Same, 2, 1, 1),
        (&[1, 7, 7, 2], &[3, 3, 2, 2], Padding::Valid, 1, 2, 1),
        (&[1, 7, 7, 2], &[3, 3, 2, 2], Padding::Same, 1, 2, 1),
        (
            &[1, 5, 5, 2],
            &[3, 3, 2, 2],
            explicit(&[(1, 0), (2, 1)]),
            2,
            1,
            1,
        ),
        (&[2, 4, 4, 3], &[1, 1, 3, 2], Padding::Same, 1, 1, 1),
        (&[2, 5, 5, 3], &[3, 3, 1, 6], Padding::Same, 1, 1, 3),
        (&[2, 5, 5, 4], &[3, 3, 2, 2], Padding::Valid, 1, 1, 2),
        (&[2, 9, 3], &[4, 3, 5], Padding::Same, 2, 1, 1),
        (&[2, 9, 3], &[2, 3, 5], Padding::Valid, 1, 3, 1),
        (&[1, 4, 4, 4, 2], &[2, 3, 2, 2, 3], Padding::Same, 2, 1, 1),
        (&[0, 5, 6, 3], &[3, 3, 3, 4], Padding::Same, 1, 1, 1),
    ];
    let mut all = Vec::new();
    for (x, kernel, padding, stride, dilation, groups) in cases {
        let spatial = x.len() - 2;
        let attrs = ConvAttrs {
            strides: vec![stride; spatial],
            padding,
            dilation: vec![dilation; spatial],
            groups,
        };
        let dims = |s: &[usize]| -> Vec<Option<usize>> { s.iter().copied().map(Some).collect() };
        let y = output(&attrs, &dims(x), &dims(kernel)).expect("the sample fits");
        let y: Vec<usize> = y.into_iter().flatten().collect();
        let of = |s: &[usize]| sizes(&s.iter().map(|&n| n as i64).collect::<Vec<_>>());
        let conv = Op::Conv(attrs.clone(), Epilogue::default());
        all.push(Sample::new(conv, vec![float(x), float(kernel)]));
        let inputs = vec![float(&y), float(kernel), of(x)];
        all.push(Sample::new(Op::ConvGradInput(attrs.clone()), inputs));
        let inputs = vec![float(x), float(&y), of(kernel)];
        all.push(Sample::new(Op::ConvGradFilter(attrs), inputs));
    }
    all
}
