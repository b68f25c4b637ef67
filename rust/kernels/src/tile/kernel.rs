//! Tile programs bound to a shape: the executor.

use std::ops::Range;
use std::sync::Arc;

use super::fuse::MAX_ARGS;
use super::instr::{InstrFn, copy_fn};
use super::layout::{self, Cut, Layout};
use super::op::ReduceAxes;
use super::program::{Code, TileProgram};
use super::reduction::{Reducer, reducer};
use crate::dtype::DType;
use crate::error::KernelError;
use crate::par;
use crate::scratch::Scratch;
use crate::simd::{copy_past_caches, fence};

/// Tiles whose length is not a multiple of this are computed in scratch memory, rounded up.
const PAD: usize = 8;

/// Inputs of an update of so many bytes are not expected in the cache.
const FAR: usize = 8 << 20;

/// A cache line, to align constants.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u8; 64]);

struct BoundReduction {
    index: usize,
    axes: ReduceAxes,
    slot: usize,
    size: usize,
    f: Reducer,
    /// Where its partial results start in the shared scratch memory.
    partial: usize,
    /// Where its running results start in a worker's scratch memory.
    running: usize,
}

/// A tile program bound to a shape and to the strides of its operands, ready to run on any memory
/// of that layout. Running it does not allocate once each thread's scratch memory has grown.
pub struct TileKernel {
    code: Arc<Code>,
    dims: Vec<usize>,
    pub(super) cut: Cut,
    inputs: Vec<(Layout, DType)>,
    outputs: Vec<(Layout, DType, InstrFn)>,
    reductions: Vec<BoundReduction>,
    consts: Vec<Line>,
    /// Bytes from one tile slot to the next.
    slot: usize,
    /// Bytes of scratch memory of a worker, and shared.
    worker_bytes: usize,
    shared_bytes: usize,
    /// Where the repeated (scalar and column) inputs start in shared memory.
    partial_bytes: usize,
    /// Whether there are no reductions and all operands are contiguous or scalars, so that tiles
    /// may be cut anywhere.
    flat: bool,
    /// How many tasks the work is worth.
    pub(super) tasks: usize,
    /// Whether it is an update whose operands are too large to be in the cache.
    pub(super) is_far: bool,
    /// Whether outputs are written past the caches.
    pub(super) streams: bool,
}

/// Pointers of one run, shared with the workers.
#[derive(Clone, Copy)]
struct Run<'a> {
    inputs: &'a [*const u8],
    outputs: &'a [*mut u8],
    reductions: &'a [*mut u8],
    shared: *mut u8,
    /// Bit `o`: output `o` is written straight to its memory where the tile allows.
    direct: u64,
}

// SAFETY: the workers read the inputs and write disjoint parts of the outputs and partial results.
unsafe impl Sync for Run<'_> {}

/// A tile: rows `row .. row + rows`, columns `column .. column + width`, `n` elements.
#[derive(Clone, Copy)]
struct Tile {
    row: usize,
    column: usize,
    rows: usize,
    n: usize,
    start: usize,
}

impl TileProgram {
    /// Binds the program to an iteration shape.
    ///
    /// Strides are in elements, one for each axis of `shape`, 0 where an input is broadcast. The
    /// first `split` axes are the rows of reductions over rows or columns, the others the columns.
    ///
    /// # Errors
    /// When the number of operands or the ranks do not fit.
    pub fn bind(
        &self,
        shape: &[usize],
        split: usize,
        inputs: &[&[isize]],
        outputs: &[&[isize]],
    ) -> Result<TileKernel, KernelError> {
        let code = &self.code;
        let counts = [
            ("inputs", code.inputs.len(), inputs.len()),
            ("outputs", code.outputs.len(), outputs.len()),
        ];
        for (what, expected, got) in counts {
            KernelError::check_len("tile program", what, expected, got)?;
        }
        if split > shape.len() {
            return Err(KernelError::Shape {
                op: "tile program",
                what: "number of row axes",
                expected: format!("at most {} (the rank of the shape)", shape.len()),
                got: split.to_string(),
            });
        }
        let operands: Vec<&[isize]> = inputs.iter().chain(outputs).copied().collect();
        let (dims, strides) = layout::collapse(shape, &operands)?;
        let by_axis = |axes| code.reductions.iter().any(|r| r.0.axes == axes);
        let (rows, columns) = if by_axis(ReduceAxes::Rows) || by_axis(ReduceAxes::Columns) {
            let product = |s: &[usize]| s.iter().product::<usize>();
            (product(&shape[..split]), product(&shape[split..]))
        } else {
            let total: usize = dims.iter().product();
            let columns = layout::choose_columns(&dims, &strides);
            (total.checked_div(columns).unwrap_or(0), columns)
        };
        let cut = Cut::new(
            rows,
            columns,
            by_axis(ReduceAxes::Rows),
            !code.reductions.is_empty(),
        );
        Ok(TileKernel::new(code.clone(), dims, &strides, cut))
    }
}

impl TileKernel {
    fn new(code: Arc<Code>, dims: Vec<usize>, strides: &[Vec<isize>], cut: Cut) -> TileKernel {
        let classify = |s: &Vec<isize>| layout::classify(&dims, s, cut.columns);
        let (ins, outs) = strides.split_at(code.inputs.len());
        let inputs: Vec<_> = ins
            .iter()
            .map(classify)
            .zip(code.inputs.iter().copied())
            .collect();
        let outputs: Vec<_> = outs
            .iter()
            .zip(&code.outputs)
            .map(|(s, &t)| match classify(s) {
                Layout::Flat => (Layout::Flat, t, copy_fn(t)),
                _ => (Layout::Strided(s.clone()), t, copy_fn(t)),
            })
            .collect();
        let tile = cut.tile().next_multiple_of(PAD);
        // The odd cache lines keep slots off each other's addresses modulo 4 KB.
        let slot = (tile * code.width).next_multiple_of(64) + 192;
        let tables = (code.slots() * size_of::<*mut u8>()).next_multiple_of(64);
        let (mut running, mut partial) = (tables + code.slots() * slot, 0);
        let mut reductions = Vec::new();
        for (index, (r, slot_of, dtype)) in code.reductions.iter().enumerate() {
            reductions.push(BoundReduction {
                index,
                axes: r.axes,
                slot: usize::from(*slot_of),
                size: dtype.size(),
                f: reducer(r.op, *dtype),
                partial,
                running,
            });
            partial += match r.axes {
                ReduceAxes::All => cut.cells * 8,
                ReduceAxes::Columns if cut.chunks > 1 => cut.rows * cut.chunks * 8,
                ReduceAxes::Columns => 0,
                ReduceAxes::Rows => cut.row_blocks() * cut.columns * dtype.size(),
            }
            .next_multiple_of(64);
            running += slot;
        }
        let flat = inputs.iter().filter(|i| i.0 == Layout::Flat);
        let bytes: usize = flat.map(|i| i.1.size()).sum::<usize>() * dims.iter().product::<usize>();
        TileKernel {
            consts: splat_constants(&code, slot, tile),
            slot,
            worker_bytes: running,
            shared_bytes: partial + inputs.len() * slot,
            partial_bytes: partial,
            tasks: tasks(&code, &cut),
            is_far: code.is_update && bytes >= FAR,
            streams: false,
            flat: reductions.is_empty()
                && outputs.iter().all(|o| o.0 == Layout::Flat)
                && inputs
                    .iter()
                    .all(|i| matches!(i.0, Layout::Flat | Layout::Scalar)),
            code,
            dims,
            cut,
            inputs,
            outputs,
            reductions,
        }
    }

    /// The same kernel, which writes its outputs past the caches: for what is not read again soon.
    #[must_use]
    pub fn streaming(self) -> TileKernel {
        TileKernel {
            streams: true,
            ..self
        }
    }

    /// Runs the program.
    ///
    /// An output may be the memory of an input of the same element type and strides; other overlaps
    /// are not allowed.
    ///
    /// # Panics
    /// When the number of pointers is not that of the program's operands.
    ///
    /// # Safety
    /// Every pointer is aligned and valid for the elements that the bound shape and its strides
    /// reach: reads for inputs, writes for outputs. Each reduction's pointer is valid for its
    /// results (one, one a row or one a column). Nothing else uses the written memory meanwhile.
    pub unsafe fn run(&self, inputs: &[*const u8], outputs: &[*mut u8], reductions: &[*mut u8]) {
        assert_eq!(inputs.len(), self.inputs.len(), "pointers of inputs");
        assert_eq!(outputs.len(), self.outputs.len(), "pointers of outputs");
        assert_eq!(
            reductions.len(),
            self.reductions.len(),
            "pointers of reductions"
        );
        let shared = Scratch::take(self.shared_bytes);
        let run = Run {
            inputs,
            outputs,
            reductions,
            shared: shared.ptr(),
            direct: self.direct(inputs, outputs),
        };
        let cells = self.cut.cells;
        if cells > 0 {
            // SAFETY: the caller's promise.
            unsafe { self.repeat_inputs(&run) };
        }
        if self.tasks == 1 {
            // SAFETY: the caller's promise; this is the only worker.
            unsafe { self.work(&run, 0..cells) };
        } else {
            let whole = &run;
            par::run(self.tasks, &|t| {
                let cells = t * cells / self.tasks..(t + 1) * cells / self.tasks;
                // SAFETY: the caller's promise; workers have disjoint cells.
                unsafe { self.work(whole, cells) };
            });
        }
        for (r, &out) in self.reductions.iter().zip(reductions) {
            // SAFETY: the caller's promise; the workers have filled the partial results.
            unsafe { self.finish(r, shared.ptr().add(r.partial), out) };
        }
    }

    /// Which outputs may be written straight to memory, as far as overlaps with inputs go.
    fn direct(&self, inputs: &[*const u8], outputs: &[*mut u8]) -> u64 {
        let mut direct = 0;
        if self.streams {
            // Instructions may read an output again.
            return direct;
        }
        for (o, &out) in outputs.iter().enumerate() {
            let clash = inputs
                .iter()
                .enumerate()
                .any(|(i, &input)| std::ptr::eq(input, out) && self.code.in_place[o] >> i & 1 == 0);
            let flat = self.outputs[o].0 == Layout::Flat;
            direct |= u64::from(flat && !clash) << o;
        }
        direct
    }

    /// Where input `i`, being the same for each tile, is kept in shared memory.
    fn repeated(&self, shared: *mut u8, i: usize) -> *mut u8 {
        shared.wrapping_add(self.partial_bytes + i * self.slot)
    }

    /// Fills tiles with the inputs that are the same for each tile.
    unsafe fn repeat_inputs(&self, run: &Run) {
        let n = self.cut.tile().next_multiple_of(PAD);
        for (i, (layout, dtype)) in self.inputs.iter().enumerate() {
            let (src, dst) = (run.inputs[i], self.repeated(run.shared, i));
            match layout {
                // SAFETY: a scalar input is one valid element; the slot holds `n`.
                Layout::Scalar => unsafe { splat(dtype.size(), src, n, dst) },
                Layout::Column if self.cut.chunks == 1 => {
                    let bytes = self.cut.columns * dtype.size();
                    for row in 0..self.cut.tile_rows.min(self.cut.rows) {
                        // SAFETY: the input holds a row; the slot holds `tile_rows` of them.
                        unsafe { dst.add(row * bytes).copy_from_nonoverlapping(src, bytes) };
                    }
                }
                _ => {}
            }
        }
    }

    /// Runs the program over a range of cells.
    unsafe fn work(&self, run: &Run, cells: Range<usize>) {
        let scratch = Scratch::take(self.worker_bytes);
        let slots = self.code.slots();
        let tables = (slots * size_of::<*mut u8>()).next_multiple_of(64);
        // SAFETY: the scratch memory begins with room for this table and is aligned.
        let table =
            unsafe { std::slice::from_raw_parts_mut(scratch.ptr().cast::<*mut u8>(), slots) };
        for (s, p) in table.iter_mut().enumerate() {
            *p = scratch.ptr().wrapping_add(tables + s * self.slot);
        }
        for c in 0..self.code.consts.len() {
            let tile = self
                .consts
                .as_ptr()
                .cast::<u8>()
                .wrapping_add(c * self.slot);
            table[self.code.const_slot() + c] = tile.cast_mut();
        }
        for (i, (layout, _)) in self.inputs.iter().enumerate() {
            let column = *layout == Layout::Column && self.cut.chunks == 1;
            if *layout == Layout::Scalar || column {
                table[i] = self.repeated(run.shared, i);
            }
        }
        let buffers = scratch.ptr().wrapping_add(tables);
        for cell in cells {
            // SAFETY: the caller's promise; the table and buffers are this worker's.
            unsafe { self.cell(run, cell, table, buffers, scratch.ptr()) };
        }
        if self.streams {
            fence();
        }
    }

    unsafe fn cell(
        &self,
        run: &Run,
        cell: usize,
        table: &mut [*mut u8],
        buffers: *mut u8,
        scratch: *mut u8,
    ) {
        let cut = &self.cut;
        let (block, chunk) = (cell / cut.chunks, cell % cut.chunks);
        let first = block * cut.cell_rows;
        let last = (first + cut.cell_rows).min(cut.rows);
        let column = chunk * cut.chunk;
        let width = cut.chunk.min(cut.columns - column);
        for row in (first..last).step_by(cut.tile_rows) {
            let rows = cut.tile_rows.min(last - row);
            let mut tile = Tile {
                row,
                column,
                rows,
                n: rows * width,
                start: row * cut.columns + column,
            };
            let ragged = tile.n % PAD;
            if self.flat && ragged > 0 && tile.n > 8 * PAD {
                // The bulk goes without a detour through scratch memory, the few others follow.
                tile.n -= ragged;
                // SAFETY: the caller's promise.
                unsafe {
                    self.tile(run, &tile, table, buffers);
                    self.flush(run, &tile, table);
                }
                tile.start += tile.n;
                tile.n = ragged;
            }
            // SAFETY: the caller's promise.
            unsafe {
                self.tile(run, &tile, table, buffers);
                for r in &self.reductions {
                    let x = table[r.slot];
                    self.reduce_tile(run, r, &tile, x, scratch.add(r.running), row == first);
                }
                self.flush(run, &tile, table);
            }
        }
        for r in &self.reductions {
            let rows = cut.tile_rows.min(last - first);
            // SAFETY: the tiles have filled the running results; partial results are the cell's.
            unsafe {
                let running = scratch.add(r.running);
                let partial = run.shared.add(r.partial);
                match r.axes {
                    ReduceAxes::All => {
                        partial.add(cell * 8).copy_from_nonoverlapping(running, 8);
                    }
                    ReduceAxes::Rows => {
                        (r.f.fold)(rows, width, running);
                        let at = (block * cut.columns + column) * r.size;
                        partial
                            .add(at)
                            .copy_from_nonoverlapping(running, width * r.size);
                    }
                    ReduceAxes::Columns => {}
                }
            }
        }
    }

    /// Points the table at a tile's operands and runs the instructions.
    #[inline]
    unsafe fn tile(&self, run: &Run, tile: &Tile, table: &mut [*mut u8], buffers: *mut u8) {
        let whole = tile.n.is_multiple_of(PAD);
        for (i, (layout, dtype)) in self.inputs.iter().enumerate() {
            let own = buffers.wrapping_add(i * self.slot);
            let base = run.inputs[i].cast_mut();
            let size = dtype.size();
            let contiguous = match layout {
                Layout::Flat => tile.start,
                Layout::Column if self.cut.chunks > 1 => tile.column,
                Layout::Scalar | Layout::Column => continue,
                Layout::Row => {
                    let width = tile.n / tile.rows;
                    // SAFETY: the input has an element for each row; the slot holds the tile.
                    unsafe { fill_rows(size, base.add(tile.row * size), tile.rows, width, own) };
                    table[i] = own;
                    continue;
                }
                Layout::Strided(strides) => {
                    let (start, n) = (tile.start, tile.n);
                    // SAFETY: the caller's promise; the slot holds the tile.
                    unsafe {
                        layout::gather(*dtype, &self.dims, strides, base, start, n, own, false);
                    }
                    table[i] = own;
                    continue;
                }
            };
            // SAFETY: within the input.
            let at = unsafe { base.add(contiguous * size) };
            table[i] = if whole {
                at
            } else {
                // SAFETY: the tile's elements are within the input and fit the slot.
                unsafe { own.copy_from_nonoverlapping(at, tile.n * size) };
                own
            };
        }
        let first = self.code.output_slot();
        for (o, (_, dtype, _)) in self.outputs.iter().enumerate() {
            table[first + o] = if whole && run.direct >> o & 1 == 1 {
                run.outputs[o].wrapping_add(tile.start * dtype.size())
            } else {
                buffers.wrapping_add((first + o) * self.slot)
            };
        }
        let n = tile.n.next_multiple_of(PAD);
        for step in &self.code.steps {
            let args = step.args.map(|a| table[usize::from(a)].cast_const());
            let f = if self.is_far { step.far } else { step.f };
            // SAFETY: every slot holds `n` elements of its type: whole tiles of operands, or a
            // slot's capacity.
            unsafe { f(step.op, n, args, table[usize::from(step.dst)]) };
        }
        for &(from, o) in &self.code.copies {
            let (from, to) = (table[usize::from(from)], table[first + usize::from(o)]);
            // SAFETY: as above.
            unsafe { (self.outputs[usize::from(o)].2)(0, n, [from.cast_const(); MAX_ARGS], to) };
        }
    }

    /// Moves the outputs that were computed in scratch memory to where they belong.
    #[inline]
    unsafe fn flush(&self, run: &Run, tile: &Tile, table: &[*mut u8]) {
        let whole = tile.n.is_multiple_of(PAD);
        for (o, (layout, dtype, _)) in self.outputs.iter().enumerate() {
            if whole && run.direct >> o & 1 == 1 {
                continue;
            }
            let from = table[self.code.output_slot() + o];
            let (base, size) = (run.outputs[o], dtype.size());
            // SAFETY: the caller's promise; the slot holds the tile.
            unsafe {
                match layout {
                    Layout::Strided(strides) => {
                        let (start, n) = (tile.start, tile.n);
                        layout::gather(*dtype, &self.dims, strides, base, start, n, from, true);
                    }
                    _ if self.streams => {
                        copy_past_caches(from, base.add(tile.start * size), tile.n * size);
                    }
                    _ => base
                        .add(tile.start * size)
                        .copy_from_nonoverlapping(from, tile.n * size),
                }
            }
        }
    }

    unsafe fn reduce_tile(
        &self,
        run: &Run,
        r: &BoundReduction,
        tile: &Tile,
        x: *const u8,
        running: *mut u8,
        first: bool,
    ) {
        // SAFETY: `x` holds the tile, `running` a slot; results and partial results are in range.
        unsafe {
            match r.axes {
                ReduceAxes::All => {
                    if first {
                        (r.f.start)(running);
                    }
                    (r.f.push)(tile.n, x, running);
                }
                ReduceAxes::Rows if first => {
                    running.copy_from_nonoverlapping(x, tile.n * r.size);
                }
                ReduceAxes::Rows => (r.f.join)(tile.n, x, running),
                ReduceAxes::Columns if self.cut.chunks == 1 => {
                    let out = run.reductions[r.index].add(tile.row * r.size);
                    (r.f.rows)(tile.rows, self.cut.columns, x, out);
                }
                ReduceAxes::Columns => {
                    let at = tile.row * self.cut.chunks + tile.column / self.cut.chunk;
                    let partial = run.shared.add(r.partial + at * 8);
                    (r.f.start)(partial);
                    (r.f.push)(tile.n, x, partial);
                }
            }
        }
    }

    /// Combines partial results in order.
    unsafe fn finish(&self, r: &BoundReduction, partial: *const u8, out: *mut u8) {
        let cut = &self.cut;
        // SAFETY: the caller's promise; partial results are where the workers put them. An empty
        // space has none of them, which gives the identity.
        unsafe {
            match r.axes {
                ReduceAxes::All => (r.f.finish)(1, cut.cells, cut.rows * cut.columns, partial, out),
                ReduceAxes::Columns if cut.cells == 0 => (r.f.finish)(cut.rows, 0, 0, partial, out),
                ReduceAxes::Columns if cut.chunks > 1 => {
                    (r.f.finish)(cut.rows, cut.chunks, cut.columns, partial, out);
                }
                ReduceAxes::Columns => {}
                ReduceAxes::Rows => {
                    let blocks = if cut.cells == 0 { 0 } else { cut.row_blocks() };
                    (r.f.finish_rows)(blocks, cut.columns, cut.rows, partial, out);
                }
            }
        }
    }
}

/// Work worth a task of its own, in picoseconds.
const TASK: usize = 15_000_000;

/// How many tasks a run is worth.
fn tasks(code: &Code, cut: &Cut) -> usize {
    let bytes: usize = code
        .inputs
        .iter()
        .chain(&code.outputs)
        .map(|t| t.size())
        .sum();
    // A simple vector instruction takes some 40 ps an element, a byte of memory 20 ps.
    let picoseconds = cut.rows * cut.columns * (code.cost * 40 + bytes * 20);
    let worth = if par::is_small(picoseconds, 64 * TASK) {
        picoseconds / TASK
    } else {
        64
    };
    worth.max(1).min(cut.cells.max(1))
}

fn splat_constants(code: &Code, slot: usize, n: usize) -> Vec<Line> {
    let mut lines = vec![Line([0; 64]); code.consts.len() * slot / 64];
    for (c, s) in code.consts.iter().enumerate() {
        let size = s.dtype().size();
        // SAFETY: the lines hold `slot` bytes for each constant, enough for `n` elements.
        unsafe {
            let dst = lines.as_mut_ptr().cast::<u8>().add(c * slot);
            splat(size, s.bytes().as_ptr(), n, dst);
        }
    }
    lines
}

/// Writes `n` copies of the element at `src`.
unsafe fn splat(size: usize, src: *const u8, n: usize, dst: *mut u8) {
    unsafe fn write<T: Copy>(src: *const u8, n: usize, dst: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            let v = src.cast::<T>().read_unaligned();
            for i in 0..n {
                dst.cast::<T>().add(i).write(v);
            }
        }
    }
    // SAFETY: the caller gives one element and room for `n`.
    unsafe {
        match size {
            1 => write::<u8>(src, n, dst),
            4 => write::<u32>(src, n, dst),
            _ => write::<u64>(src, n, dst),
        }
    }
}

/// Writes `width` copies of each of `rows` elements.
unsafe fn fill_rows(size: usize, src: *const u8, rows: usize, width: usize, dst: *mut u8) {
    for row in 0..rows {
        // SAFETY: the caller gives `rows` elements and room for `rows * width`.
        unsafe {
            splat(
                size,
                src.add(row * size),
                width,
                dst.add(row * width * size),
            )
        };
    }
}
