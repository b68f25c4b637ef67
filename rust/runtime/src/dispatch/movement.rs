//! Operations that only move elements: strided copies between contiguous tensors.

use hornbeam_graph::op::SliceAxis;
use hornbeam_kernels::copy::{contiguous_strides, strided_copy};

use super::{Prepared, Site};
use crate::error::Result;

/// A copy of a strided part of memory.
struct Part {
    /// Sizes of the part.
    shape: Vec<usize>,
    /// Byte offset of its first element in the operand and in the result.
    from: usize,
    to: usize,
    from_strides: Vec<isize>,
    to_strides: Vec<isize>,
}

impl Part {
    /// Copies the part from an operand to a result.
    ///
    /// # Safety
    /// Both reach as far as sizes, offsets and strides say.
    unsafe fn copy(&self, size: usize, from: *const u8, to: *mut u8) {
        if self.shape.contains(&0) {
            return;
        }
        // SAFETY: passed on.
        unsafe {
            let (from, to) = (from.add(self.from), to.add(self.to));
            strided_copy(
                size,
                &self.shape,
                from,
                &self.from_strides,
                to,
                &self.to_strides,
            );
        }
    }
}

/// One copy from operand 0 to result 0, which it covers, or which is zeroed before.
fn one(site: &Site<'_>, part: Part, zeroed: bool) -> Prepared {
    let size = site.output(0).dtype.size();
    Prepared::plain(move |args| {
        if zeroed {
            args.output::<u8>(0).fill(0);
        }
        // SAFETY: the part was made from the shapes of the operand and the result.
        unsafe { part.copy(size, args.inputs[0].ptr, args.outputs[0].ptr) };
    })
}

pub(super) fn broadcast(site: &Site<'_>) -> Result<Prepared> {
    let (x, y) = (site.input(0), site.output(0));
    let own = contiguous_strides(&x.shape);
    let lead = y.shape.len() - x.shape.len();
    let from_strides = (0..y.shape.len())
        .map(|i| {
            if i < lead || x.shape[i - lead] == 1 {
                0
            } else {
                own[i - lead]
            }
        })
        .collect();
    let to_strides = contiguous_strides(&y.shape);
    let part = Part {
        shape: y.shape.clone(),
        from: 0,
        to: 0,
        from_strides,
        to_strides,
    };
    Ok(one(site, part, false))
}

pub(super) fn transpose(site: &Site<'_>, perm: &[usize]) -> Result<Prepared> {
    let (x, y) = (site.input(0), site.output(0));
    let own = contiguous_strides(&x.shape);
    let from_strides = perm.iter().map(|&axis| own[axis]).collect();
    let to_strides = contiguous_strides(&y.shape);
    let part = Part {
        shape: y.shape.clone(),
        from: 0,
        to: 0,
        from_strides,
        to_strides,
    };
    Ok(one(site, part, false))
}

/// First index and step of a slice of an axis of `n` cells that is not empty.
fn resolve(axis: &SliceAxis, n: usize) -> (usize, isize) {
    let n = n as i64;
    let natural = if axis.step > 0 { 0 } else { n - 1 };
    let wrap = |i: i64| if i < 0 { i + n } else { i };
    let low = if axis.step > 0 { 0 } else { -1 };
    let first = axis.start.map_or(natural, |s| wrap(s).clamp(low, n - 1));
    (usize::try_from(first).unwrap_or(0), axis.step as isize)
}

/// Byte offset and element strides of a slice of a contiguous tensor.
fn sliced(axes: &[SliceAxis], shape: &[usize], size: usize) -> (usize, Vec<isize>) {
    let own = contiguous_strides(shape);
    let parts: Vec<(usize, isize)> = axes
        .iter()
        .zip(shape)
        .map(|(axis, &n)| resolve(axis, n))
        .collect();
    let offset: usize = parts
        .iter()
        .zip(&own)
        .map(|((first, _), &s)| first * s as usize)
        .sum();
    (
        offset * size,
        parts
            .iter()
            .zip(&own)
            .map(|((_, step), &s)| step * s)
            .collect(),
    )
}

pub(super) fn slice(site: &Site<'_>, axes: &[SliceAxis]) -> Result<Prepared> {
    let (x, y) = (site.input(0), site.output(0));
    let (from, from_strides) = sliced(axes, &x.shape, x.dtype.size());
    let to_strides = contiguous_strides(&y.shape);
    let part = Part {
        shape: y.shape.clone(),
        from,
        to: 0,
        from_strides,
        to_strides,
    };
    Ok(one(site, part, false))
}

pub(super) fn slice_grad(site: &Site<'_>, axes: &[SliceAxis]) -> Result<Prepared> {
    let (dy, dx) = (site.input(0), site.output(0));
    let (to, to_strides) = sliced(axes, &dx.shape, dx.dtype.size());
    let from_strides = contiguous_strides(&dy.shape);
    let part = Part {
        shape: dy.shape.clone(),
        from: 0,
        to,
        from_strides,
        to_strides,
    };
    Ok(one(site, part, true))
}

pub(super) fn pad(site: &Site<'_>, cells: &[(usize, usize)], value: u64) -> Result<Prepared> {
    let (x, y) = (site.input(0), site.output(0));
    let size = y.dtype.size();
    let to_strides = contiguous_strides(&y.shape);
    let to: usize = cells
        .iter()
        .zip(&to_strides)
        .map(|((low, _), &s)| low * s as usize)
        .sum();
    let from_strides = contiguous_strides(&x.shape);
    let part = Part {
        shape: x.shape.clone(),
        from: 0,
        to: to * size,
        from_strides,
        to_strides,
    };
    let value = f64::from_bits(value);
    if value == 0.0 {
        return Ok(one(site, part, true));
    }
    let fill = hornbeam_graph::Literal::scalar(y.dtype, value).bytes;
    Ok(Prepared::plain(move |args| {
        args.output::<u8>(0)
            .chunks_exact_mut(size)
            .for_each(|cell| cell.copy_from_slice(&fill));
        // SAFETY: the part was made from the shapes of the operand and the result.
        unsafe { part.copy(size, args.inputs[0].ptr, args.outputs[0].ptr) };
    }))
}

pub(super) fn concat(site: &Site<'_>, axis: usize) -> Result<Prepared> {
    let y = site.output(0);
    let size = y.dtype.size();
    let to_strides = contiguous_strides(&y.shape);
    let mut at = 0;
    let mut parts = Vec::new();
    for k in 0..site.inst.inputs.len() {
        let x = site.input(k);
        parts.push(Part {
            shape: x.shape.clone(),
            from: 0,
            to: at * to_strides[axis] as usize * size,
            from_strides: contiguous_strides(&x.shape),
            to_strides: to_strides.clone(),
        });
        at += x.shape[axis];
    }
    Ok(Prepared::plain(move |args| {
        for (part, operand) in parts.iter().zip(args.inputs) {
            // SAFETY: the parts were made from the shapes of the operands and the result.
            unsafe { part.copy(size, operand.ptr, args.outputs[0].ptr) };
        }
    }))
}

pub(super) fn concat_grad(site: &Site<'_>, axis: usize, index: usize) -> Result<Prepared> {
    let (dy, dx) = (site.input(0), site.output(0));
    let mut before = 0;
    for k in 0..index {
        let dims = shape_constant(site, 1 + k)?;
        before += dims[axis] as usize;
    }
    let from_strides = contiguous_strides(&dy.shape);
    let from = before * from_strides[axis] as usize * dy.dtype.size();
    let to_strides = contiguous_strides(&dx.shape);
    let part = Part {
        shape: dx.shape.clone(),
        from,
        to: 0,
        from_strides,
        to_strides,
    };
    Ok(one(site, part, false))
}

fn shape_constant(site: &Site<'_>, k: usize) -> Result<Vec<i64>> {
    match &site.input(k).source {
        hornbeam_graph::program::Source::Constant(literal) => literal
            .to_i64()
            .ok_or_else(|| site.error("a shape is not of integers")),
        _ => Err(site.error("a shape is not known when the plan is made")),
    }
}

pub(super) fn reverse(site: &Site<'_>, axes: &[usize]) -> Result<Prepared> {
    let ranges: Vec<SliceAxis> = (0..site.input(0).shape.len())
        .map(|i| SliceAxis {
            start: None,
            stop: None,
            step: if axes.contains(&i) { -1 } else { 1 },
        })
        .collect();
    slice(site, &ranges)
}
