//! How the operands of a tile program lie over its iteration space, and how that is cut up.

use crate::dtype::DType;
use crate::error::KernelError;

/// Elements of a full tile. A slot of f32 is 2 KB, so that some twenty stay in L1.
pub(super) const TILE: usize = 512;

/// Where one operand's elements are, for every flat index of the iteration space.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Layout {
    /// Contiguous: element `i` is at `i`.
    Flat,
    /// One element everywhere.
    Scalar,
    /// One element for each column, repeated for each row.
    Column,
    /// One element for each row, repeated over the columns.
    Row,
    /// Anything else: the strides of the collapsed axes.
    Strided(Vec<isize>),
}

/// Checks ranks, drops axes of size 1 and merges neighbours that all operands run through evenly.
/// Returns the sizes and each operand's strides. An empty space has one axis of size 0.
pub(super) fn collapse(
    shape: &[usize],
    operands: &[&[isize]],
) -> Result<(Vec<usize>, Vec<Vec<isize>>), KernelError> {
    for strides in operands {
        if strides.len() != shape.len() {
            return Err(KernelError::Shape {
                op: "tile program",
                what: "strides of an operand",
                expected: format!("{} (the rank of the shape)", shape.len()),
                got: strides.len().to_string(),
            });
        }
    }
    if shape.contains(&0) {
        return Ok((vec![0], vec![vec![0]; operands.len()]));
    }
    let mut dims: Vec<usize> = Vec::new();
    let mut strides: Vec<Vec<isize>> = vec![Vec::new(); operands.len()];
    for axis in (0..shape.len()).filter(|&axis| shape[axis] != 1) {
        let n = shape[axis];
        let merges = !dims.is_empty()
            && operands
                .iter()
                .zip(&strides)
                .all(|(o, s)| s[s.len() - 1] == o[axis] * n as isize);
        if merges {
            *dims.last_mut().expect("checked") *= n;
        } else {
            dims.push(n);
        }
        for (o, s) in operands.iter().zip(&mut strides) {
            if merges {
                *s.last_mut().expect("as long as dims") = o[axis];
            } else {
                s.push(o[axis]);
            }
        }
    }
    if dims.is_empty() {
        dims.push(1);
        strides.iter_mut().for_each(|s| s.push(1));
    }
    Ok((dims, strides))
}

/// The product of the trailing axes that an operand repeats (`column`), or repeats its values over
/// (`row`); `None` when it has neither form.
fn period(dims: &[usize], strides: &[isize]) -> Option<(usize, Layout)> {
    let contiguous = |range: std::ops::Range<usize>| {
        let mut step = 1;
        range.rev().all(|axis| {
            let fits = strides[axis] == step;
            step *= dims[axis] as isize;
            fits
        })
    };
    let constant = |range: std::ops::Range<usize>| strides[range].iter().all(|&s| s == 0);
    (1..dims.len()).find_map(|cut| {
        let columns = dims[cut..].iter().product();
        if constant(0..cut) && contiguous(cut..dims.len()) {
            Some((columns, Layout::Column))
        } else if contiguous(0..cut) && constant(cut..dims.len()) {
            Some((columns, Layout::Row))
        } else {
            None
        }
    })
}

/// The number of columns that makes most operands `Column` or `Row`, else the whole space.
pub(super) fn choose_columns(dims: &[usize], operands: &[Vec<isize>]) -> usize {
    let total = dims.iter().product();
    let periods: Vec<usize> = operands
        .iter()
        .filter(|s| s.iter().any(|&s| s != 0))
        .filter_map(|s| period(dims, s).map(|p| p.0))
        .collect();
    let votes = |p: usize| periods.iter().filter(|&&q| q == p).count();
    let best = periods
        .iter()
        .copied()
        .max_by_key(|&p| (votes(p), usize::MAX - p));
    best.unwrap_or(total)
}

/// The layout of an operand when rows are `columns` long.
pub(super) fn classify(dims: &[usize], strides: &[isize], columns: usize) -> Layout {
    let mut step = 1;
    let flat = (0..dims.len()).rev().all(|axis| {
        let fits = strides[axis] == step;
        step *= dims[axis] as isize;
        fits
    });
    if strides.iter().all(|&s| s == 0) {
        return Layout::Scalar;
    }
    if flat {
        return Layout::Flat;
    }
    match period(dims, strides) {
        Some((p, layout)) if p == columns => layout,
        _ => Layout::Strided(strides.to_vec()),
    }
}

/// How the iteration space of `rows` x `columns` is cut into tiles, and these into cells.
///
/// A cell is the unit of work and of summation: partial results are one a cell, combined in the
/// cells' order. It is cut by sizes alone. Rows of at most [`TILE`] elements share tiles, longer
/// ones are cut into `chunks` tiles each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Tiles a row is cut into.
    pub(super) chunks: usize,
    /// Columns of a chunk, but for the last.
    pub(super) chunk: usize,
    /// Rows of a tile.
    pub(super) tile_rows: usize,
    /// Rows of a cell: a multiple of `tile_rows`.
    pub(super) cell_rows: usize,
    /// Cells: row blocks times chunks, chunks innermost.
    pub(super) cells: usize,
}

impl Cut {
    pub(super) fn new(rows: usize, columns: usize, reduces_rows: bool, reduces: bool) -> Cut {
        if rows == 0 || columns == 0 {
            return Cut {
                rows,
                columns,
                chunks: 1,
                chunk: columns,
                tile_rows: 1,
                cell_rows: 1,
                cells: 0,
            };
        }
        let chunks = columns.div_ceil(TILE);
        let chunk = if chunks == 1 {
            columns
        } else {
            columns.div_ceil(chunks).next_multiple_of(64)
        };
        let chunks = columns.div_ceil(chunk);
        let tile_rows = (TILE / columns).max(1);
        // Whole vectors, where rows are short enough for that.
        let even = 8 >> columns.trailing_zeros().min(3);
        let tile_rows = if tile_rows > even {
            tile_rows / even * even
        } else {
            tile_rows
        };
        let cell_rows = match (chunks, reduces_rows, reduces) {
            (1, false, false) => 4 * tile_rows,
            (1, ..) => 32 * tile_rows,
            (_, true, _) => 64,
            (_, false, _) => 1,
        };
        Cut {
            rows,
            columns,
            chunks,
            chunk,
            tile_rows,
            cell_rows,
            cells: rows.div_ceil(cell_rows) * chunks,
        }
    }

    /// Elements of the longest tile.
    pub(super) fn tile(&self) -> usize {
        if self.chunks > 1 {
            self.chunk
        } else {
            self.columns * self.tile_rows.min(self.rows)
        }
    }

    /// The number of row blocks.
    pub(super) fn row_blocks(&self) -> usize {
        self.rows.div_ceil(self.cell_rows)
    }
}

/// Copies elements `start .. start + n` (row-major order of `dims`) of a strided operand to `dst`,
/// or from `dst` back when `scatter` is set.
///
/// # Safety
/// The operand's elements are valid for the strides; `dst` holds `n` elements.
pub(super) unsafe fn gather(
    dtype: DType,
    dims: &[usize],
    strides: &[isize],
    base: *mut u8,
    start: usize,
    n: usize,
    dst: *mut u8,
    scatter: bool,
) {
    // SAFETY: the caller's promise; the element is moved as an integer of its size.
    unsafe {
        match dtype.size() {
            1 => gather_as::<u8>(dims, strides, base.cast(), start, n, dst.cast(), scatter),
            4 => gather_as::<u32>(dims, strides, base.cast(), start, n, dst.cast(), scatter),
            _ => gather_as::<u64>(dims, strides, base.cast(), start, n, dst.cast(), scatter),
        }
    }
}

unsafe fn gather_as<T: Copy>(
    dims: &[usize],
    strides: &[isize],
    base: *mut T,
    start: usize,
    n: usize,
    dst: *mut T,
    scatter: bool,
) {
    let Some(inner) = dims.len().checked_sub(1) else {
        // SAFETY: the caller's promise: a space without axes has one element.
        return unsafe { copy_run(base, 0, dst, n, scatter) };
    };
    let (size, step) = (dims[inner], strides[inner]);
    let mut done = 0;
    while done < n {
        // The axes are few: finding the position anew for each inner run is cheap enough.
        let mut rest = (start + done) / size;
        let at = (start + done) % size;
        let mut offset = at as isize * step;
        for axis in (0..inner).rev() {
            offset += (rest % dims[axis]) as isize * strides[axis];
            rest /= dims[axis];
        }
        let run = (size - at).min(n - done);
        // SAFETY: the caller's promise; `offset` is that of a valid element, as are those of the
        // `run` elements of this axis that follow, and `done + run <= n`.
        unsafe { copy_run(base.offset(offset), step, dst.add(done), run, scatter) };
        done += run;
    }
}

unsafe fn copy_run<T: Copy>(src: *mut T, step: isize, dst: *mut T, n: usize, scatter: bool) {
    // SAFETY: the caller's promise, in every arm.
    unsafe {
        if scatter {
            for i in 0..n {
                src.offset(i as isize * step).write(dst.add(i).read());
            }
        } else if step == 1 {
            std::ptr::copy_nonoverlapping(src, dst, n);
        } else if step == 0 {
            let v = src.read();
            for i in 0..n {
                dst.add(i).write(v);
            }
        } else {
            for i in 0..n {
                dst.add(i).write(src.offset(i as isize * step).read());
            }
        }
    }
}
