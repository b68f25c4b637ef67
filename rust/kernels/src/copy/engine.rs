//! The strided copy: axes are dropped and merged, then rows are moved whole, filled, transposed in
//! blocks or walked, whichever the innermost strides allow.

use std::ops::Range;

use super::transpose;
use crate::par::SendPtr;
use crate::work;

/// The most axes of an array.
pub const MAX_RANK: usize = 32;

/// Axes with their sizes, source strides and destination strides, outermost first.
#[derive(Clone, Copy)]
struct Axes {
    rank: usize,
    sizes: [usize; MAX_RANK],
    src: [isize; MAX_RANK],
    dst: [isize; MAX_RANK],
}

impl Axes {
    fn new() -> Axes {
        Axes {
            rank: 0,
            sizes: [1; MAX_RANK],
            src: [0; MAX_RANK],
            dst: [0; MAX_RANK],
        }
    }

    fn push(&mut self, size: usize, src: isize, dst: isize) {
        let k = self.rank;
        (self.sizes[k], self.src[k], self.dst[k]) = (size, src, dst);
        self.rank += 1;
    }

    /// Drops axes of one element and merges neighbours that both sides run through evenly.
    fn collapsed(shape: &[usize], src: &[isize], dst: &[isize]) -> Axes {
        let mut axes = Axes::new();
        for a in (0..shape.len()).filter(|&a| shape[a] != 1) {
            let n = shape[a] as isize;
            if axes.rank > 0 {
                let last = axes.rank - 1;
                if axes.src[last] == src[a] * n && axes.dst[last] == dst[a] * n {
                    axes.sizes[last] *= shape[a];
                    (axes.src[last], axes.dst[last]) = (src[a], dst[a]);
                    continue;
                }
            }
            axes.push(shape[a], src[a], dst[a]);
        }
        axes
    }

    fn remove(&mut self, axis: usize) -> (usize, isize, isize) {
        let removed = (self.sizes[axis], self.src[axis], self.dst[axis]);
        for k in axis + 1..self.rank {
            (self.sizes[k - 1], self.src[k - 1], self.dst[k - 1]) =
                (self.sizes[k], self.src[k], self.dst[k]);
        }
        self.rank -= 1;
        removed
    }

    fn total(&self) -> usize {
        self.sizes[..self.rank].iter().product()
    }

    /// Calls `f` with the source and destination offsets of the positions of a range.
    #[inline]
    fn walk(&self, range: Range<usize>, mut f: impl FnMut(isize, isize)) {
        let mut index = [0usize; MAX_RANK];
        let (mut rest, mut src, mut dst) = (range.start, 0, 0);
        for a in (0..self.rank).rev() {
            index[a] = rest % self.sizes[a];
            rest /= self.sizes[a];
            src += index[a] as isize * self.src[a];
            dst += index[a] as isize * self.dst[a];
        }
        for _ in range {
            f(src, dst);
            for a in (0..self.rank).rev() {
                index[a] += 1;
                src += self.src[a];
                dst += self.dst[a];
                if index[a] < self.sizes[a] {
                    break;
                }
                src -= self.sizes[a] as isize * self.src[a];
                dst -= self.sizes[a] as isize * self.dst[a];
                index[a] = 0;
            }
        }
    }
}

/// Copies an array of `shape`, from `src` with `src_strides` to `dst` with `dst_strides`, in
/// elements of `size` bytes (1, 4 or 8). Strides may be negative, the source's also 0.
///
/// # Panics
/// When `size` is none of these, or the ranks differ or exceed [`MAX_RANK`].
///
/// # Safety
/// The pointers are aligned to the element size and valid for all elements that shape and strides
/// reach; source and destination do not overlap; no two destination elements coincide.
pub unsafe fn strided_copy(
    size: usize,
    shape: &[usize],
    src: *const u8,
    src_strides: &[isize],
    dst: *mut u8,
    dst_strides: &[isize],
) {
    assert_eq!(shape.len(), src_strides.len(), "rank of the source");
    assert_eq!(shape.len(), dst_strides.len(), "rank of the destination");
    assert!(shape.len() <= MAX_RANK, "{} axes", shape.len());
    if shape.contains(&0) {
        return;
    }
    let axes = Axes::collapsed(shape, src_strides, dst_strides);
    // SAFETY: the caller's promise; the elements are moved as integers of their size.
    unsafe {
        match size {
            1 => copy::<u8>(axes, src, dst),
            4 => copy::<u32>(axes, src.cast(), dst.cast()),
            8 => copy::<u64>(axes, src.cast(), dst.cast()),
            _ => panic!("elements of {size} bytes"),
        }
    }
}

unsafe fn copy<T: transpose::Word>(mut axes: Axes, src: *const T, dst: *mut T) {
    let (src, dst) = (SendPtr::from_const(src), SendPtr::new(dst));
    let (n, from, to) = match axes.rank {
        0 => (1, 1, 1),
        rank => axes.remove(rank - 1),
    };
    let across = (0..axes.rank).find(|&a| axes.src[a] == 1);
    if let (Some(axis), 1) = (across, to)
        && !matches!(from, 0 | 1)
        && n > 1
    {
        let (m, _, down) = axes.remove(axis);
        let strips = n.div_ceil(transpose::STRIP);
        let cost = m * transpose::STRIP.min(n) * size_of::<T>() * 40;
        work::ranges(axes.total() * strips, cost, &|range| {
            for t in range {
                let columns = t % strips * transpose::STRIP;
                let width = transpose::STRIP.min(n - columns);
                axes.walk(t / strips..t / strips + 1, |s, d| {
                    let (s, d) = (s + columns as isize * from, d + columns as isize);
                    // SAFETY: the caller's promise; strips are disjoint.
                    unsafe {
                        let (s, d) = (src.get().offset(s), dst.get().offset(d));
                        transpose::strip(m, width, s, from, d, down);
                    }
                });
            }
        });
        return;
    }
    // A single long row is cut, so that threads can share it.
    let rows = axes.total();
    let pieces = if rows == 1 { n.div_ceil(1 << 16) } else { 1 };
    let piece = n.div_ceil(pieces);
    work::ranges(
        rows * pieces,
        piece * size_of::<T>() * 30 + 3000,
        &|range| {
            if pieces == 1 {
                // SAFETY: the caller's promise; rows are disjoint.
                axes.walk(range, |s, d| unsafe {
                    run(n, src.get().offset(s), from, dst.get().offset(d), to);
                });
                return;
            }
            let (start, end) = (range.start * piece, (range.end * piece).min(n));
            let (s, d) = (start as isize * from, start as isize * to);
            // SAFETY: the caller's promise; pieces are disjoint.
            unsafe {
                run(
                    end.saturating_sub(start),
                    src.get().offset(s),
                    from,
                    dst.get().offset(d),
                    to,
                )
            };
        },
    );
}

/// Copies one run of elements.
#[inline]
unsafe fn run<T: Copy>(n: usize, src: *const T, from: isize, dst: *mut T, to: isize) {
    // SAFETY: the caller's promise, in every arm.
    unsafe {
        match (from, to) {
            (1, 1) if n * size_of::<T>() >= 64 => dst.copy_from_nonoverlapping(src, n),
            (1, 1) => (0..n).for_each(|i| dst.add(i).write(src.add(i).read())),
            (0, 1) => {
                let v = src.read();
                (0..n).for_each(|i| dst.add(i).write(v));
            }
            (-1, 1) => {
                let last = src.offset(1 - n as isize);
                (0..n).for_each(|i| dst.add(n - 1 - i).write(last.add(i).read()));
            }
            _ => {
                (0..n as isize).for_each(|i| dst.offset(i * to).write(src.offset(i * from).read()))
            }
        }
    }
}
