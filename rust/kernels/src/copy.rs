//! Strided copies: the engine of transpose, slice, pad, concat, reverse, tile and broadcast.
//!
//! [`strided_copy`] moves elements of 1, 4 or 8 bytes between any two layouts; the safe functions
//! compute its strides.

mod engine;
#[cfg(test)]
mod tests;
mod transpose;

pub use engine::{MAX_RANK, strided_copy};

use crate::error::KernelError;

/// The strides of a contiguous array, in elements.
pub fn contiguous_strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as isize;
    }
    strides
}

fn bad(
    op: &'static str,
    what: &'static str,
    expected: String,
    got: impl std::fmt::Debug,
) -> KernelError {
    KernelError::Shape {
        op,
        what,
        expected,
        got: format!("{got:?}"),
    }
}

fn check<T>(op: &'static str, rank: usize) -> Result<(), KernelError> {
    if !matches!(size_of::<T>(), 1 | 4 | 8) {
        return Err(bad(op, "element", "1, 4 or 8 bytes".into(), size_of::<T>()));
    }
    if rank > MAX_RANK {
        return Err(bad(op, "rank", format!("at most {MAX_RANK} axes"), rank));
    }
    Ok(())
}

/// Transposes `x` of `shape`: axis `i` of the result is axis `permutation[i]` of `x`.
///
/// # Errors
/// When `permutation` is not one of the axes, or a slice's length does not fit.
pub fn transpose<T: Copy>(
    x: &[T],
    shape: &[usize],
    permutation: &[usize],
    out: &mut [T],
) -> Result<(), KernelError> {
    check::<T>("transpose", shape.len())?;
    let total = shape.iter().product();
    KernelError::check_len("transpose", "input", total, x.len())?;
    KernelError::check_len("transpose", "output", total, out.len())?;
    let mut sorted = permutation.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..shape.len()) {
        let expected = format!("a permutation of 0..{}", shape.len());
        return Err(bad("transpose", "permutation", expected, permutation));
    }
    let strides = contiguous_strides(shape);
    let new_shape: Vec<usize> = permutation.iter().map(|&p| shape[p]).collect();
    let new_strides: Vec<isize> = permutation.iter().map(|&p| strides[p]).collect();
    let out_strides = contiguous_strides(&new_shape);
    // SAFETY: the strides are those of permuted axes of `x` and of a contiguous `out`, both of
    // `total` elements; the borrows keep them apart.
    unsafe {
        let (src, dst) = (x.as_ptr().cast(), out.as_mut_ptr().cast());
        strided_copy(
            size_of::<T>(),
            &new_shape,
            src,
            &new_strides,
            dst,
            &out_strides,
        );
    }
    Ok(())
}

/// A slice of one axis: `start`, `start + step`, ..., `count` elements. The step may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AxisSlice {
    /// The first element's index.
    pub start: usize,
    /// The distance from one element to the next.
    pub step: isize,
    /// How many elements.
    pub count: usize,
}

/// The offset, shape and strides of slices of a contiguous array.
fn slice_layout(
    op: &'static str,
    shape: &[usize],
    slices: &[AxisSlice],
) -> Result<(usize, Vec<usize>, Vec<isize>), KernelError> {
    if slices.len() != shape.len() {
        let expected = format!("{} (one an axis)", shape.len());
        return Err(bad(op, "number of slices", expected, slices.len()));
    }
    let strides = contiguous_strides(shape);
    let mut offset = 0;
    for (axis, s) in slices.iter().enumerate() {
        if s.count == 0 {
            continue;
        }
        let last = s.start as isize + s.step * (s.count as isize - 1);
        let n = shape[axis] as isize;
        if s.start as isize >= n || last < 0 || last >= n {
            return Err(bad(op, "slice", format!("within an axis of {n}"), s));
        }
        offset += s.start * strides[axis] as usize;
    }
    let counts: Vec<usize> = slices.iter().map(|s| s.count).collect();
    let offset = if counts.contains(&0) { 0 } else { offset };
    let steps = slices
        .iter()
        .zip(&strides)
        .map(|(s, &stride)| s.step * stride);
    Ok((offset, counts, steps.collect()))
}

/// Copies a part of `x` of `shape`, one [`AxisSlice`] an axis, to the contiguous `out`.
///
/// # Errors
/// When a slice leaves its axis, or a length does not fit.
pub fn slice<T: Copy>(
    x: &[T],
    shape: &[usize],
    slices: &[AxisSlice],
    out: &mut [T],
) -> Result<(), KernelError> {
    check::<T>("slice", shape.len())?;
    KernelError::check_len("slice", "input", shape.iter().product(), x.len())?;
    let (offset, counts, strides) = slice_layout("slice", shape, slices)?;
    KernelError::check_len("slice", "output", counts.iter().product(), out.len())?;
    let out_strides = contiguous_strides(&counts);
    // SAFETY: `slice_layout` checked that all elements are within `x`; `out` is contiguous.
    unsafe {
        let (src, dst) = (x.as_ptr().add(offset).cast(), out.as_mut_ptr().cast());
        strided_copy(size_of::<T>(), &counts, src, &strides, dst, &out_strides);
    }
    Ok(())
}

/// Writes the contiguous `x` into a part of `out` of `shape`, one [`AxisSlice`] an axis, and leaves
/// the rest of `out` as it is: the inverse of [`slice`], and the way to concatenate and to pad.
///
/// # Errors
/// When a slice leaves its axis or meets an element twice (step 0), or a length does not fit.
pub fn write_slice<T: Copy>(
    x: &[T],
    shape: &[usize],
    slices: &[AxisSlice],
    out: &mut [T],
) -> Result<(), KernelError> {
    check::<T>("write_slice", shape.len())?;
    KernelError::check_len("write_slice", "output", shape.iter().product(), out.len())?;
    let (offset, counts, strides) = slice_layout("write_slice", shape, slices)?;
    KernelError::check_len("write_slice", "input", counts.iter().product(), x.len())?;
    if let Some(s) = slices.iter().find(|s| s.step == 0 && s.count > 1) {
        return Err(bad("write_slice", "slice", "a step other than 0".into(), s));
    }
    let in_strides = contiguous_strides(&counts);
    // SAFETY: `slice_layout` checked that all elements are within `out`; steps other than 0 keep
    // them distinct; `x` is contiguous.
    unsafe {
        let (src, dst) = (x.as_ptr().cast(), out.as_mut_ptr().add(offset).cast());
        strided_copy(size_of::<T>(), &counts, src, &in_strides, dst, &strides);
    }
    Ok(())
}

/// Pads `x` of `shape` with `value`: `padding` gives the elements before and after, an axis each.
///
/// # Errors
/// When the ranks or lengths do not fit.
pub fn pad<T: Copy>(
    x: &[T],
    shape: &[usize],
    padding: &[(usize, usize)],
    value: T,
    out: &mut [T],
) -> Result<(), KernelError> {
    if padding.len() != shape.len() {
        let expected = format!("{} pairs (one an axis)", shape.len());
        return Err(bad("pad", "padding", expected, padding));
    }
    let padded = shape
        .iter()
        .zip(padding)
        .map(|(&n, &(low, high))| low + n + high);
    let padded: Vec<usize> = padded.collect();
    KernelError::check_len("pad", "output", padded.iter().product(), out.len())?;
    let slices = shape
        .iter()
        .zip(padding)
        .map(|(&count, &(start, _))| AxisSlice {
            start,
            step: 1,
            count,
        });
    out.fill(value);
    write_slice(x, &padded, &slices.collect::<Vec<_>>(), out)
}

/// Concatenates parts along an axis. Each part is contiguous, of `shape` but for its own size of
/// `axis` (`sizes`).
///
/// # Errors
/// When the parts do not add up, or a length does not fit.
pub fn concat<T: Copy>(
    parts: &[&[T]],
    sizes: &[usize],
    shape: &[usize],
    axis: usize,
    out: &mut [T],
) -> Result<(), KernelError> {
    if axis >= shape.len() {
        return Err(bad(
            "concat",
            "axis",
            format!("below {}", shape.len()),
            axis,
        ));
    }
    KernelError::check_len("concat", "number of sizes", parts.len(), sizes.len())?;
    KernelError::check_len("concat", "sum of sizes", shape[axis], sizes.iter().sum())?;
    let mut start = 0;
    for (part, &count) in parts.iter().zip(sizes) {
        let whole = |&count: &usize| AxisSlice {
            start: 0,
            step: 1,
            count,
        };
        let mut slices: Vec<AxisSlice> = shape.iter().map(whole).collect();
        slices[axis] = AxisSlice {
            start,
            step: 1,
            count,
        };
        write_slice(part, shape, &slices, out)?;
        start += count;
    }
    Ok(())
}

/// Reverses the given axes.
///
/// # Errors
/// When an axis is out of range, or a length does not fit.
pub fn reverse<T: Copy>(
    x: &[T],
    shape: &[usize],
    axes: &[usize],
    out: &mut [T],
) -> Result<(), KernelError> {
    if axes.iter().any(|&a| a >= shape.len()) {
        return Err(bad(
            "reverse",
            "axes",
            format!("below {}", shape.len()),
            axes,
        ));
    }
    let part = |(axis, &count): (usize, &usize)| {
        let back = axes.contains(&axis);
        AxisSlice {
            start: if back { count.saturating_sub(1) } else { 0 },
            step: if back { -1 } else { 1 },
            count,
        }
    };
    let slices: Vec<AxisSlice> = shape.iter().enumerate().map(part).collect();
    slice(x, shape, &slices, out)
}

/// Repeats the whole of `x` `repeats[i]` times along axis `i`, as NumPy's `tile` does.
///
/// # Errors
/// When the ranks or lengths do not fit.
pub fn tile<T: Copy>(
    x: &[T],
    shape: &[usize],
    repeats: &[usize],
    out: &mut [T],
) -> Result<(), KernelError> {
    check::<T>("tile", 2 * shape.len())?;
    if repeats.len() != shape.len() {
        let expected = format!("{} (one an axis)", shape.len());
        return Err(bad("tile", "repeats", expected, repeats));
    }
    KernelError::check_len("tile", "input", shape.iter().product(), x.len())?;
    let total = shape.iter().zip(repeats).map(|(n, r)| n * r).product();
    KernelError::check_len("tile", "output", total, out.len())?;
    // Each axis becomes two: the repetition, over which the source stands still, and the axis.
    let strides = contiguous_strides(shape);
    let (mut dims, mut steps) = (Vec::new(), Vec::new());
    for axis in 0..shape.len() {
        dims.extend([repeats[axis], shape[axis]]);
        steps.extend([0, strides[axis]]);
    }
    let out_strides = contiguous_strides(&dims);
    // SAFETY: the source's strides are those of `x` and 0; `out` is contiguous.
    unsafe {
        let (src, dst) = (x.as_ptr().cast(), out.as_mut_ptr().cast());
        strided_copy(size_of::<T>(), &dims, src, &steps, dst, &out_strides);
    }
    Ok(())
}
