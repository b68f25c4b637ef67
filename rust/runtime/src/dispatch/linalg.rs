//! Matrix products and pooling.

use hornbeam_graph::op::{Epilogue, EpilogueActivation, Padding, PoolAttrs};
use hornbeam_graph::ops::conv::Windows;
use hornbeam_kernels::dtype::{Element, Float};
use hornbeam_kernels::gemm::{Act, Epilogue as KernelEpilogue, gemm, gemm_batched};
use hornbeam_kernels::pool::{self, PoolShape};

use super::{Args, Kernel, Prepared, Site};
use crate::error::Result;
use crate::memory::Needs;

pub(super) fn activation(epilogue: Epilogue) -> Act {
    match epilogue.activation {
        None => Act::None,
        Some(EpilogueActivation::Relu) => Act::Relu,
        Some(EpilogueActivation::Sigmoid) => Act::Sigmoid,
        Some(EpilogueActivation::Tanh) => Act::Tanh,
    }
}

/// The kernels' epilogue; the bias is operand 2.
pub(super) fn epilogue_of<'a, T>(
    args: &'a Args<'_>,
    bias: bool,
    act: Act,
) -> KernelEpilogue<'a, T> {
    KernelEpilogue {
        bias: bias.then(|| args.input(2)),
        act,
        accumulate: false,
    }
}

/// A product of matrices, perhaps one for each of several batches.
#[derive(Clone)]
struct Product {
    m: usize,
    n: usize,
    k: usize,
    /// Row and column strides of the operands.
    a: (usize, usize),
    b: (usize, usize),
    /// For each product of a batch, the matrices' indices; none: a single product.
    batch: Option<Batch>,
    bias: bool,
    act: Act,
}

#[derive(Clone)]
enum Batch {
    /// The strides between matrices, in matrices (0: one for all).
    Regular { count: usize, a: usize, b: usize },
    /// Any broadcast: which matrices each product takes.
    Pairs(Vec<(usize, usize)>),
}

fn multiply<T: Float>(p: &Product, args: &Args<'_>) {
    let (a, b, c) = (args.input::<T>(0), args.input::<T>(1), args.output::<T>(0));
    let ep = epilogue_of(args, p.bias, p.act);
    let (asize, bsize, csize) = (p.m * p.k, p.k * p.n, p.m * p.n);
    match &p.batch {
        None => gemm(p.m, p.n, p.k, a, p.a.0, p.a.1, b, p.b.0, p.b.1, c, p.n, &ep),
        Some(Batch::Regular {
            count,
            a: sa,
            b: sb,
        }) => gemm_batched(
            *count,
            p.m,
            p.n,
            p.k,
            a,
            sa * asize,
            p.a.0,
            p.a.1,
            b,
            sb * bsize,
            p.b.0,
            p.b.1,
            c,
            csize,
            p.n,
            &ep,
        ),
        Some(Batch::Pairs(pairs)) => {
            for (i, &(x, y)) in pairs.iter().enumerate() {
                let (a, b) = (
                    &a[x * asize..(x + 1) * asize],
                    &b[y * bsize..(y + 1) * bsize],
                );
                let c = &mut c[i * csize..(i + 1) * csize];
                gemm(p.m, p.n, p.k, a, p.a.0, p.a.1, b, p.b.0, p.b.1, c, p.n, &ep);
            }
        }
    }
}

pub(super) fn matmul(
    site: &Site<'_>,
    transpose_a: bool,
    transpose_b: bool,
    epilogue: Epilogue,
) -> Result<Prepared> {
    let (x, y) = (site.input(0), site.input(1));
    let (xr, yr) = (x.shape.len(), y.shape.len());
    let (x0, x1) = (x.shape[xr - 2], x.shape[xr - 1]);
    let (y0, y1) = (y.shape[yr - 2], y.shape[yr - 1]);
    let (mut m, k) = if transpose_a { (x1, x0) } else { (x0, x1) };
    let n = if transpose_b { y0 } else { y1 };
    let a = if transpose_a { (1, x1) } else { (x1, 1) };
    let b = if transpose_b { (1, y1) } else { (y1, 1) };
    let (xs, ys) = (&x.shape[..xr - 2], &y.shape[..yr - 2]);
    let (xn, yn): (usize, usize) = (xs.iter().product(), ys.iter().product());
    let count: usize = site.output(0).shape[..site.output(0).shape.len() - 2]
        .iter()
        .product();
    let batch = if count == 1 {
        None
    } else if yn == 1 && xn == count && !transpose_a {
        // Rows of all the left matrices times one right matrix are one product.
        m *= xn;
        None
    } else if (xn == count || xn == 1) && (yn == count || yn == 1) {
        Some(Batch::Regular {
            count,
            a: usize::from(xn > 1),
            b: usize::from(yn > 1),
        })
    } else {
        Some(Batch::Pairs(pairs(xs, ys)))
    };
    let product = Product {
        m,
        n,
        k,
        a,
        b,
        batch,
        bias: epilogue.bias,
        act: activation(epilogue),
    };
    let run = site.float(
        x.dtype,
        multiply::<f32> as fn(&Product, &Args<'_>),
        multiply::<f64>,
    )?;
    Ok(Prepared::plain(move |args| run(&product, args)))
}

/// For each batch of a broadcast product, the indices of the matrices that it takes.
fn pairs(xs: &[usize], ys: &[usize]) -> Vec<(usize, usize)> {
    let rank = xs.len().max(ys.len());
    let at = |s: &[usize], i: usize| {
        if i + s.len() < rank {
            1
        } else {
            s[i + s.len() - rank]
        }
    };
    let mut all = vec![(0, 0)];
    for axis in 0..rank {
        let (p, q) = (at(xs, axis), at(ys, axis));
        all = all
            .iter()
            .flat_map(|&(i, j)| {
                (0..p.max(q)).map(move |t| {
                    (
                        i * p + if p == 1 { 0 } else { t },
                        j * q + if q == 1 { 0 } else { t },
                    )
                })
            })
            .collect();
    }
    all
}

pub(super) fn windows(
    site: &Site<'_>,
    padding: &Padding,
    axis: usize,
    n: usize,
    extent: usize,
    stride: usize,
) -> Result<Windows> {
    padding
        .windows(axis, n, extent, stride)
        .map_err(|e| site.error(e))
}

/// The geometry of a pooling from the shapes of its input and output.
fn pool_shape(site: &Site<'_>, attrs: &PoolAttrs, x: &[usize], y: &[usize]) -> Result<PoolShape> {
    let spatial = x.len() - 2;
    let lead = 3 - spatial;
    let three = |list: &[usize]| {
        let mut all = [1; 3];
        all[lead..].copy_from_slice(list);
        all
    };
    let mut pad_low = [0; 3];
    for axis in 0..spatial {
        let w = windows(
            site,
            &attrs.padding,
            axis,
            x[axis + 1],
            attrs.size[axis],
            attrs.strides[axis],
        )?;
        pad_low[lead + axis] = w.before;
    }
    Ok(PoolShape {
        batch: x[0],
        input: three(&x[1..=spatial]),
        channels: x[spatial + 1],
        output: three(&y[1..=spatial]),
        window: three(&attrs.size),
        stride: three(&attrs.strides),
        pad_low,
    })
}

fn infallible(result: std::result::Result<(), hornbeam_kernels::error::KernelError>) {
    if let Err(error) = result {
        panic!("{error}");
    }
}

type Pool = fn(&PoolShape, &Args<'_>);

pub(super) fn max_pool(site: &Site<'_>, attrs: &PoolAttrs) -> Result<Prepared> {
    let (x, y) = (site.input(0), site.output(0));
    let shape = pool_shape(site, attrs, &x.shape, &y.shape)?;
    fn run<T: Float + Element>(shape: &PoolShape, args: &Args<'_>) {
        infallible(pool::max_pool::<T, i32>(
            args.input(0),
            shape,
            args.output(0),
            args.wanted(1),
        ));
    }
    let run = site.float(x.dtype, run::<f32> as Pool, run::<f64>)?;
    let kernel: Kernel = Box::new(move |args| {
        run(&shape, args);
        Ok(())
    });
    Ok(Prepared {
        kernel,
        needs: Needs {
            optional: vec![1],
            ..Needs::default()
        },
    })
}

pub(super) fn max_pool_grad(site: &Site<'_>, attrs: &PoolAttrs) -> Result<Prepared> {
    let (dy, dx) = (site.input(0), site.output(0));
    let shape = pool_shape(site, attrs, &dx.shape, &dy.shape)?;
    fn run<T: Float + Element>(shape: &PoolShape, args: &Args<'_>) {
        infallible(pool::max_pool_backward::<T, i32>(
            args.input(0),
            args.input(1),
            shape,
            args.output(0),
        ));
    }
    let run = site.float(dy.dtype, run::<f32> as Pool, run::<f64>)?;
    Ok(Prepared::plain(move |args| run(&shape, args)))
}

pub(super) fn avg_pool(site: &Site<'_>, attrs: &PoolAttrs) -> Result<Prepared> {
    let (x, y) = (site.input(0), site.output(0));
    let shape = pool_shape(site, attrs, &x.shape, &y.shape)?;
    fn run<T: Float + Element>(shape: &PoolShape, args: &Args<'_>) {
        infallible(pool::avg_pool::<T>(args.input(0), shape, args.output(0)));
    }
    let run = site.float(x.dtype, run::<f32> as Pool, run::<f64>)?;
    Ok(Prepared::plain(move |args| run(&shape, args)))
}

pub(super) fn avg_pool_grad(site: &Site<'_>, attrs: &PoolAttrs) -> Result<Prepared> {
    let (dy, dx) = (site.input(0), site.output(0));
    let shape = pool_shape(site, attrs, &dx.shape, &dy.shape)?;
    fn run<T: Float + Element>(shape: &PoolShape, args: &Args<'_>) {
        infallible(pool::avg_pool_backward::<T>(
            args.input(0),
            shape,
            args.output(0),
        ));
    }
    let run = site.float(dy.dtype, run::<f32> as Pool, run::<f64>)?;
    Ok(Prepared::plain(move |args| run(&shape, args)))
}
