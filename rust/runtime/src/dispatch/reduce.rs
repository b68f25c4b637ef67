//! Reductions, running sums and moments.

use hornbeam_graph::op::{CumOp, Extreme, ReduceOp};
use hornbeam_kernels::copy::{contiguous_strides, strided_copy};
use hornbeam_kernels::dtype::{Element, Float};
use hornbeam_kernels::math::Math;
use hornbeam_kernels::reduce::{ArgOp, arg_reduce as arg_kernel, reduce_axes};
use hornbeam_kernels::scan::{ScanOp, cumulative as cumulative_kernel};
use hornbeam_kernels::{moments as kernel_moments, reduce::ReduceOp as KernelOp};

use super::{Args, Kernel, Prepared, Site, around, by_element, kernel_reduce};
use crate::error::Result;
use crate::memory::Needs;

fn infallible(result: std::result::Result<(), hornbeam_kernels::error::KernelError>) {
    if let Err(error) = result {
        panic!("{error}");
    }
}

type Reduction = fn(KernelOp, &Args<'_>, &[usize], &[usize]);

fn over<T: Element>(op: KernelOp, args: &Args<'_>, shape: &[usize], axes: &[usize]) {
    infallible(reduce_axes::<T>(
        op,
        args.input(0),
        shape,
        axes,
        args.output(0),
    ));
}

fn divide<T: Float>(args: &Args<'_>, n: usize) {
    let n = T::from_f64(n as f64);
    args.output::<T>(0).iter_mut().for_each(|v| *v = *v / n);
}

pub(super) fn reduce(site: &Site<'_>, op: ReduceOp, axes: &[usize]) -> Result<Prepared> {
    let x = site.input(0);
    let (shape, axes) = (x.shape.clone(), axes.to_vec());
    let count: usize = axes.iter().map(|&a| shape[a]).product();
    let kernel = kernel_reduce(op);
    let table: [Reduction; 5] = [
        over::<u8>,
        over::<i32>,
        over::<i64>,
        over::<f32>,
        over::<f64>,
    ];
    let run = by_element(x.dtype, table);
    if op == ReduceOp::Mean {
        let divide = site.float(
            x.dtype,
            divide::<f32> as fn(&Args<'_>, usize),
            divide::<f64>,
        )?;
        return Ok(Prepared::plain(move |args| {
            run(kernel, args, &shape, &axes);
            divide(args, count);
        }));
    }
    Ok(Prepared::plain(move |args| {
        run(kernel, args, &shape, &axes)
    }))
}

pub(super) fn sum_to(site: &Site<'_>) -> Result<Prepared> {
    let (x, y) = (site.input(0), site.output(0));
    let lead = x.shape.len() - y.shape.len();
    let axes: Vec<usize> = (0..x.shape.len())
        .filter(|&i| i < lead || (y.shape[i - lead] == 1 && x.shape[i] != 1))
        .collect();
    reduce(site, ReduceOp::Sum, &axes)
}

fn arg<T: Element>(
    op: ArgOp,
    args: &Args<'_>,
    dims: [usize; 3],
) -> std::result::Result<(), String> {
    arg_kernel::<T>(op, args.input(0), dims, args.output(0)).map_err(|e| e.reason())
}

pub(super) fn arg_reduce(site: &Site<'_>, op: Extreme, axis: usize) -> Result<Prepared> {
    type Run = fn(ArgOp, &Args<'_>, [usize; 3]) -> std::result::Result<(), String>;
    let x = site.input(0);
    let dims = around(&x.shape, axis);
    let op = match op {
        Extreme::Max => ArgOp::Max,
        Extreme::Min => ArgOp::Min,
    };
    let table: [Run; 5] = [arg::<u8>, arg::<i32>, arg::<i64>, arg::<f32>, arg::<f64>];
    let run = by_element(x.dtype, table);
    let kernel: Kernel = Box::new(move |args| run(op, args, dims));
    Ok(Prepared {
        kernel,
        needs: Needs {
            fallible: true,
            ..Needs::default()
        },
    })
}

#[derive(Clone, Copy)]
struct Scan {
    op: ScanOp,
    dims: [usize; 3],
    reverse: bool,
    exclusive: bool,
}

fn scan<T: Element>(s: Scan, args: &Args<'_>) {
    infallible(cumulative_kernel::<T>(
        s.op,
        args.input(0),
        s.dims,
        s.reverse,
        s.exclusive,
        args.output(0),
    ));
}

pub(super) fn cumulative(
    site: &Site<'_>,
    op: CumOp,
    axis: usize,
    exclusive: bool,
    reverse: bool,
) -> Result<Prepared> {
    let x = site.input(0);
    let op = match op {
        CumOp::Sum => ScanOp::Sum,
        CumOp::Prod => ScanOp::Prod,
    };
    let s = Scan {
        op,
        dims: around(&x.shape, axis),
        reverse,
        exclusive,
    };
    let table: [fn(Scan, &Args<'_>); 5] = [
        scan::<u8>,
        scan::<i32>,
        scan::<i64>,
        scan::<f32>,
        scan::<f64>,
    ];
    let run = by_element(x.dtype, table);
    Ok(Prepared::plain(move |args| run(s, args)))
}

fn mean_variance<T: Math>(args: &Args<'_>, moved: bool, dims: [usize; 3]) {
    infallible(kernel_moments::moments::<T>(
        if moved { args.scratch() } else { args.input(0) },
        dims,
        args.output(0),
        args.output(1),
    ));
}

/// Axes that lie side by side are one axis to the kernel; else the others are brought to the front
/// first.
pub(super) fn moments(site: &Site<'_>, axes: &[usize]) -> Result<Prepared> {
    let x = site.input(0);
    let run = site.float(
        x.dtype,
        mean_variance::<f32> as fn(&Args<'_>, bool, [usize; 3]),
        mean_variance::<f64>,
    )?;
    let product = |part: &[usize]| part.iter().product::<usize>();
    let (first, last) = match (axes.first(), axes.last()) {
        (Some(&first), Some(&last)) => (first, last),
        _ => return Err(site.error("moments need at least one axis")),
    };
    if last - first + 1 == axes.len() {
        let after = product(&x.shape[last + 1..]);
        let dims = [
            product(&x.shape[..first]),
            product(&x.shape[first..=last]),
            after,
        ];
        return Ok(Prepared::plain(move |args| run(args, false, dims)));
    }
    let kept = (0..x.shape.len()).filter(|a| !axes.contains(a));
    let order: Vec<usize> = kept.chain(axes.iter().copied()).collect();
    let shape: Vec<usize> = order.iter().map(|&a| x.shape[a]).collect();
    let own = contiguous_strides(&x.shape);
    let from: Vec<isize> = order.iter().map(|&a| own[a]).collect();
    let to = contiguous_strides(&shape);
    let reduced: usize = axes.iter().map(|&a| x.shape[a]).product();
    let dims = [x.len() / reduced.max(1), reduced, 1];
    let size = x.dtype.size();
    let mut prepared = Prepared::plain(move |args| {
        if !shape.contains(&0) {
            // SAFETY: scratch is as large as the operand, whose axes it holds in another order.
            unsafe {
                strided_copy(
                    size,
                    &shape,
                    args.inputs[0].ptr,
                    &from,
                    args.scratch.ptr,
                    &to,
                );
            }
        }
        run(args, true, dims);
    });
    prepared.needs.scratch = x.bytes();
    Ok(prepared)
}
