//! Operations on rows: gather, softmax and cross-entropy, random numbers.

use hornbeam_graph::op::Distribution;
use hornbeam_graph::{DType, Literal};
use hornbeam_kernels::dtype::Element;
use hornbeam_kernels::gather::{self as kernel_gather, Index};
use hornbeam_kernels::math::Math;
use hornbeam_kernels::rng::{self, Real, Stream};
use hornbeam_kernels::softmax as kernel_softmax;

use super::{Args, Kernel, Prepared, Site, around, by_element};
use crate::error::Result;
use crate::memory::Needs;

type Outcome = std::result::Result<(), String>;

fn fallible(kernel: impl Fn(&Args<'_>) -> Outcome + Send + Sync + 'static) -> Prepared {
    let kernel: Kernel = Box::new(kernel);
    Prepared {
        kernel,
        needs: Needs {
            fallible: true,
            ..Needs::default()
        },
    }
}

type OnTable = fn(&Args<'_>, [usize; 3]) -> Outcome;

fn take<T: Element, I: Index>(args: &Args<'_>, dims: [usize; 3]) -> Outcome {
    kernel_gather::gather::<T, I>(args.input(0), dims, args.input(1), args.output(0))
        .map_err(|e| e.reason())
}

fn with_index<R>(site: &Site<'_>, dtype: DType, int: R, long: R) -> Result<R> {
    match dtype {
        DType::I32 => Ok(int),
        DType::I64 => Ok(long),
        other => Err(site.error(format!(
            "indices are int32 or int64, not {other}: cast them"
        ))),
    }
}

pub(super) fn gather(site: &Site<'_>, axis: usize) -> Result<Prepared> {
    let (x, indices) = (site.input(0), site.input(1));
    let dims = around(&x.shape, axis);
    let int: [OnTable; 5] = [
        take::<u8, i32>,
        take::<i32, i32>,
        take::<i64, i32>,
        take::<f32, i32>,
        take::<f64, i32>,
    ];
    let long: [OnTable; 5] = [
        take::<u8, i64>,
        take::<i32, i64>,
        take::<i64, i64>,
        take::<f32, i64>,
        take::<f64, i64>,
    ];
    let run = by_element(x.dtype, with_index(site, indices.dtype, int, long)?);
    Ok(fallible(move |args| run(args, dims)))
}

fn add<T: Element, I: Index>(args: &Args<'_>, dims: [usize; 3]) -> Outcome {
    let table = args.output::<T>(0);
    table.fill(T::NIL);
    kernel_gather::scatter_add::<T, I>(args.input(1), args.input(0), dims, table)
        .map_err(|e| e.reason())
}

pub(super) fn scatter_add(site: &Site<'_>, axis: usize) -> Result<Prepared> {
    let (indices, x) = (site.input(0), site.output(0));
    let dims = around(&x.shape, axis);
    let int: [OnTable; 5] = [
        add::<u8, i32>,
        add::<i32, i32>,
        add::<i64, i32>,
        add::<f32, i32>,
        add::<f64, i32>,
    ];
    let long: [OnTable; 5] = [
        add::<u8, i64>,
        add::<i32, i64>,
        add::<i64, i64>,
        add::<f32, i64>,
        add::<f64, i64>,
    ];
    let run = by_element(x.dtype, with_index(site, indices.dtype, int, long)?);
    Ok(fallible(move |args| run(args, dims)))
}

/// `start + i * step`; the length is the result's.
pub(super) fn arange(site: &Site<'_>) -> Result<Prepared> {
    let dtype = site.output(0).dtype;
    let n = site.output(0).len();
    Ok(Prepared::plain(move |args| {
        let scalar = |k: usize| Literal::new(dtype, Vec::new(), args.input::<u8>(k));
        let out = args.output::<u8>(0);
        let literal = match (scalar(0).to_i64(), scalar(2).to_i64()) {
            (Some(start), Some(step)) => {
                let values: Vec<i64> = (0..n as i64).map(|i| start[0] + i * step[0]).collect();
                if dtype == DType::I64 {
                    Literal::ints(&values)
                } else {
                    let values: Vec<f64> = values.iter().map(|&v| v as f64).collect();
                    Literal::from_f64(dtype, vec![n], &values)
                }
            }
            _ => {
                let (start, step) = (scalar(0).to_f64()[0], scalar(2).to_f64()[0]);
                let values: Vec<f64> = (0..n).map(|i| start + i as f64 * step).collect();
                Literal::from_f64(dtype, vec![n], &values)
            }
        };
        out.copy_from_slice(&literal.bytes);
    }))
}

type OnRows = fn(&Args<'_>, usize) -> Outcome;

fn last_axis(site: &Site<'_>) -> Result<usize> {
    site.input(0)
        .shape
        .last()
        .copied()
        .ok_or_else(|| site.error("needs at least one axis"))
}

pub(super) fn softmax(site: &Site<'_>) -> Result<Prepared> {
    fn run<T: Math>(args: &Args<'_>, columns: usize) -> Outcome {
        kernel_softmax::softmax::<T>(args.input(0), columns, args.output(0)).map_err(|e| e.reason())
    }
    rows(site, run::<f32>, run::<f64>)
}

pub(super) fn log_softmax(site: &Site<'_>) -> Result<Prepared> {
    fn run<T: Math>(args: &Args<'_>, columns: usize) -> Outcome {
        kernel_softmax::log_softmax::<T>(args.input(0), columns, args.output(0))
            .map_err(|e| e.reason())
    }
    rows(site, run::<f32>, run::<f64>)
}

pub(super) fn cross_entropy(site: &Site<'_>) -> Result<Prepared> {
    fn run<T: Math>(args: &Args<'_>, columns: usize) -> Outcome {
        let (logits, targets) = (args.input(0), args.input(1));
        kernel_softmax::softmax_cross_entropy::<T>(logits, targets, columns, args.output(0), None)
            .map_err(|e| e.reason())
    }
    rows(site, run::<f32>, run::<f64>)
}

/// A call over rows that cannot fail on values.
fn rows(site: &Site<'_>, single: OnRows, double: OnRows) -> Result<Prepared> {
    let columns = last_axis(site)?;
    let run = site.float(site.input(0).dtype, single, double)?;
    let mut prepared = fallible(move |args| run(args, columns));
    prepared.needs.fallible = false;
    Ok(prepared)
}

pub(super) fn sparse_cross_entropy(site: &Site<'_>) -> Result<Prepared> {
    fn run<T: Math, I: Index>(args: &Args<'_>, columns: usize) -> Outcome {
        let (logits, labels) = (args.input(0), args.input::<I>(1));
        kernel_softmax::sparse_softmax_cross_entropy::<T, I>(
            logits,
            labels,
            columns,
            args.output(0),
            None,
        )
        .map_err(|e| e.reason())
    }
    let columns = last_axis(site)?;
    let (x, labels) = (site.input(0).dtype, site.input(1).dtype);
    let single = with_index(site, labels, run::<f32, i32> as OnRows, run::<f32, i64>)?;
    let double = with_index(site, labels, run::<f64, i32> as OnRows, run::<f64, i64>)?;
    let run = site.float(x, single, double)?;
    Ok(fallible(move |args| run(args, columns)))
}

/// A mask of an event's occurrences in elements of any type.
fn spread<T: Copy>(
    dist: Distribution,
    stream: &Stream,
    elements: usize,
    args: &Args<'_>,
    zero: T,
    one: T,
) -> Outcome {
    let Distribution::Bernoulli(p) = dist else {
        return Err("integers are drawn as events only".to_string());
    };
    let out = args.output::<T>(0);
    let mut mask = vec![0; out.len()];
    rng::fill_bernoulli_mask(stream, elements, f64::from_bits(p), &mut mask)
        .map_err(|e| e.reason())?;
    out.iter_mut()
        .zip(&mask)
        .for_each(|(o, &m)| *o = if m == 0 { zero } else { one });
    Ok(())
}

fn draw<T: Real>(dist: Distribution, stream: &Stream, elements: usize, args: &Args<'_>) -> Outcome {
    let out = args.output::<T>(0);
    let (zero, one) = (T::from_f64(0.0), T::from_f64(1.0));
    match dist {
        Distribution::Uniform => rng::fill_uniform(stream, elements, zero, one, out),
        Distribution::Normal => rng::fill_normal(stream, elements, zero, one, out),
        Distribution::TruncatedNormal => {
            rng::fill_truncated_normal(stream, elements, zero, one, out)
        }
        // The mask is drawn as bytes and spread.
        Distribution::Bernoulli(_) => return spread(dist, stream, elements, args, zero, one),
    }
    .map_err(|e| e.reason())
}

pub(super) fn random(
    site: &Site<'_>,
    dist: Distribution,
    dtype: DType,
    key: u64,
) -> Result<Prepared> {
    let shape = &site.output(0).shape;
    let elements: usize = shape.get(1..).map_or(1, |rest| rest.iter().product());
    let stream = move |args: &Args<'_>| Stream {
        key,
        step: args.context.step,
        sample: args.context.sample_offset,
    };
    let mut prepared = match (dist, dtype) {
        (Distribution::Bernoulli(p), DType::Bool | DType::U8) => fallible(move |args| {
            let out = args.output::<u8>(0);
            rng::fill_bernoulli_mask(&stream(args), elements, f64::from_bits(p), out)
                .map_err(|e| e.reason())
        }),
        _ => {
            type Draw = fn(Distribution, &Stream, usize, &Args<'_>) -> Outcome;
            let run: Draw = match dtype {
                DType::I32 => |d, s, e, a| spread::<i32>(d, s, e, a, 0, 1),
                DType::I64 => |d, s, e, a| spread::<i64>(d, s, e, a, 0, 1),
                _ => site.float(dtype, draw::<f32> as Draw, draw::<f64>)?,
            };
            fallible(move |args| run(dist, &stream(args), elements, args))
        }
    };
    prepared.needs.fallible = false;
    Ok(prepared)
}
