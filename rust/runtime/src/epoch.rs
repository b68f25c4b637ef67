//! The epoch loop: gathers batches, runs steps, adds up the results, without leaving Rust.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hornbeam_graph::{DType, Literal, Tensor};
use hornbeam_kernels::par;

use crate::buffer::{Buffer, exclusive};
use crate::error::{Result, RuntimeError};
use crate::function::{ArrayRef, Function};
use crate::plan::Plan;

/// Rows are gathered by several threads from this many bytes on.
const PARALLEL_GATHER_BYTES: usize = 1 << 19;

/// A whole array of samples, row-major, whose memory the caller keeps alive and unchanged.
#[derive(Clone, Debug)]
pub struct Samples {
    /// Element type.
    pub dtype: DType,
    /// Sizes of the axes, the first one the samples.
    pub shape: Vec<usize>,
    ptr: *const u8,
}

// SAFETY: the memory is only read, and `new` demands that nobody writes it.
unsafe impl Send for Samples {}
// SAFETY: as above.
unsafe impl Sync for Samples {}

impl Samples {
    /// Samples at `ptr`.
    ///
    /// # Safety
    /// The memory holds the elements, aligned for their type, and is neither freed nor written
    /// while the value or a clone of it lives.
    pub unsafe fn new(dtype: DType, shape: Vec<usize>, ptr: *const u8) -> Samples {
        Samples { dtype, shape, ptr }
    }

    fn row_len(&self) -> usize {
        self.shape[1..].iter().product()
    }

    fn bytes(&self) -> &[u8] {
        let len = self.shape.iter().product::<usize>() * self.dtype.size();
        // SAFETY: `new` demands that the elements are there.
        unsafe { std::slice::from_raw_parts(self.ptr, len) }
    }
}

/// One pass over arrays of samples, in batches.
pub struct Epoch {
    function: Arc<Function>,
    arrays: Vec<Samples>,
    batch: usize,
    order: Option<Vec<i64>>,
    training: bool,
    samples: usize,
    steps_done: usize,
    stages: Vec<Stage>,
    sums: Vec<f64>,
    last: Vec<f64>,
    collected: Vec<Collected>,
    /// The output that ends a run as soon as it is not finite.
    watched: Option<usize>,
}

/// Where an argument's batch is gathered.
pub(crate) struct Stage {
    dtype: DType,
    buffer: Option<Buffer>,
    shape: Vec<usize>,
}

/// An output whose batches are written one after the other.
#[derive(Clone, Debug)]
pub struct Collected {
    /// Which output.
    pub output: usize,
    /// Element type.
    pub dtype: DType,
    /// Sizes; the first one is the number of rows collected so far.
    pub shape: Vec<usize>,
    /// The elements.
    pub bytes: Vec<u8>,
}

impl Epoch {
    /// An epoch over `arrays`, which are the function's arguments in order.
    ///
    /// # Errors
    /// When the arrays differ in their number of samples, are not what the function takes, or
    /// `order` names a sample that is not there.
    pub fn new(
        function: Arc<Function>,
        arrays: Vec<Samples>,
        batch: usize,
        order: Option<Vec<i64>>,
        collect: &[usize],
        training: bool,
    ) -> Result<Epoch> {
        let inputs = function.inputs();
        let samples = check(function.name(), inputs, &arrays, batch, order.as_deref())?;
        if let Some(bad) = collect.iter().find(|&&k| k >= function.outputs()) {
            return Err(RuntimeError::Argument(format!(
                "output {bad} cannot be collected: there is no such output"
            )));
        }
        let stages = Stage::for_inputs(inputs, &arrays);
        let collected = collect
            .iter()
            .map(|&output| Collected {
                output,
                dtype: DType::F32,
                shape: Vec::new(),
                bytes: Vec::new(),
            })
            .collect();
        Ok(Epoch {
            samples,
            sums: vec![0.0; function.outputs()],
            last: vec![f64::NAN; function.outputs()],
            function,
            arrays,
            batch,
            order,
            training,
            steps_done: 0,
            stages,
            collected,
            watched: None,
        })
    }

    /// From now on a run ends behind a step whose result `output` is NaN or infinite.
    ///
    /// # Errors
    /// When there is no such output.
    pub fn watch(&mut self, output: usize) -> Result<()> {
        if output >= self.last.len() {
            return Err(RuntimeError::Argument(format!(
                "output {output} cannot be watched: there is no such output"
            )));
        }
        self.watched = Some(output);
        Ok(())
    }

    /// Number of steps of the whole epoch.
    pub fn steps(&self) -> usize {
        self.samples.div_ceil(self.batch)
    }

    /// Number of steps that have run.
    pub fn steps_done(&self) -> usize {
        self.steps_done
    }

    /// Number of samples seen.
    pub fn samples_done(&self) -> usize {
        (self.steps_done * self.batch).min(self.samples)
    }

    /// For each output, the mean over the batches so far weighted by their sizes; NaN before the
    /// first step and for outputs that are not scalars.
    pub fn means(&self) -> Vec<f64> {
        let seen = self.samples_done() as f64;
        self.sums
            .iter()
            .map(|sum| if seen > 0.0 { sum / seen } else { f64::NAN })
            .collect()
    }

    /// Each output of the last step; NaN for outputs that are not scalars.
    pub fn last(&self) -> &[f64] {
        &self.last
    }

    /// For each output, the sum over the batches so far, each counted with its size.
    pub fn sums(&self) -> &[f64] {
        &self.sums
    }

    /// Puts the epoch before a step, with the sums over the steps that lie before it and the results
    /// of the last of them (NaN where they are not known).
    ///
    /// # Errors
    /// When there are not so many steps or outputs.
    pub fn resume(&mut self, steps_done: usize, sums: &[f64], last: Option<&[f64]>) -> Result<()> {
        check_resume(steps_done, self.steps(), self.sums.len(), sums, last)?;
        self.steps_done = steps_done;
        resume_scalars(&mut self.sums, &mut self.last, sums, last);
        Ok(())
    }

    /// The outputs collected so far.
    pub fn collected(&self) -> &[Collected] {
        &self.collected
    }

    /// Runs steps until the epoch's end, `max_steps`, `max_time` or a watched output that is not
    /// finite; at least one, if one is left. Returns how many ran.
    ///
    /// # Errors
    /// When a step fails. That step has changed nothing, and is the next to run.
    pub fn run(&mut self, max_steps: Option<usize>, max_time: Option<Duration>) -> Result<usize> {
        let held = exclusive();
        let start = Instant::now();
        let left = self.steps() - self.steps_done;
        let limit = left.min(max_steps.unwrap_or(usize::MAX));
        let mut ran = 0;
        while ran < limit {
            let first = self.steps_done * self.batch;
            let rows = self.batch.min(self.samples - first);
            self.gather(first, rows)?;
            let function = self.function.clone();
            let mut arguments = Vec::with_capacity(self.stages.len());
            for (stage, array) in self.stages.iter().zip(&self.arrays) {
                arguments.push(stage.argument(array, first, rows));
            }
            let (sums, last, collected) = (&mut self.sums, &mut self.last, &mut self.collected);
            function.call_held(&arguments, self.training, 0, &held, |plan, inputs| {
                account(plan, inputs, rows, sums, last);
                collect(plan, inputs, collected);
            })?;
            self.steps_done += 1;
            ran += 1;
            if self.watched.is_some_and(|k| !self.last[k].is_finite()) {
                break;
            }
            if max_time.is_some_and(|limit| start.elapsed() >= limit) {
                break;
            }
        }
        Ok(ran)
    }

    /// Brings the rows of the next batch into the stages; whole rows in order stay where they are.
    fn gather(&mut self, first: usize, rows: usize) -> Result<()> {
        let room = self.batch.min(self.samples);
        for (stage, array) in self.stages.iter_mut().zip(&self.arrays) {
            stage.gather(array, self.order.as_deref(), first, rows, room)?;
        }
        Ok(())
    }
}

/// Checks that a pass of `steps` steps with `count` results can stand before step `steps_done`.
pub(crate) fn check_resume(
    steps_done: usize,
    steps: usize,
    count: usize,
    sums: &[f64],
    last: Option<&[f64]>,
) -> Result<()> {
    let found = last.map_or(count, <[f64]>::len);
    if steps_done > steps || sums.len() != count || found != count {
        return Err(RuntimeError::Argument(format!(
            "cannot resume at step {steps_done} of {steps} with {} sums and {found} results, \
             there are {count}",
            sums.len()
        )));
    }
    Ok(())
}

/// Takes over the sums and the latest results of the steps before the one that is next.
pub(crate) fn resume_scalars(
    own_sums: &mut [f64],
    own_last: &mut [f64],
    sums: &[f64],
    last: Option<&[f64]>,
) {
    own_sums.copy_from_slice(sums);
    match last {
        Some(last) => own_last.copy_from_slice(last),
        None => own_last.fill(f64::NAN),
    }
}

/// Checks the arrays of a pass; returns how many samples it visits.
pub(crate) fn check(
    name: &str,
    inputs: &[Tensor],
    arrays: &[Samples],
    batch: usize,
    order: Option<&[i64]>,
) -> Result<usize> {
    let fail = |message: String| Err(RuntimeError::Argument(message));
    if batch == 0 {
        return fail("batch_size must be at least 1".to_string());
    }
    if arrays.len() != inputs.len() || arrays.is_empty() {
        return fail(format!(
            "{name} takes {} arrays, {} were given",
            inputs.len(),
            arrays.len()
        ));
    }
    if let Some(scalar) = arrays.iter().position(|a| a.shape.is_empty()) {
        return fail(format!(
            "array {scalar} is a scalar; its first axis must be the samples"
        ));
    }
    let total = arrays[0].shape[0];
    if let Some(other) = arrays.iter().find(|a| a.shape[0] != total) {
        return fail(format!(
            "all arrays must have the same number of samples: {} and {total} were given",
            other.shape[0]
        ));
    }
    let Some(order) = order else {
        return Ok(total);
    };
    if let Some(bad) = order.iter().find(|&&i| i < 0 || i >= total as i64) {
        return fail(format!(
            "the order names sample {bad}, but there are {total} samples"
        ));
    }
    Ok(order.len())
}

impl Stage {
    /// A stage for each input.
    pub(crate) fn for_inputs(inputs: &[Tensor], arrays: &[Samples]) -> Vec<Stage> {
        let stage = |(t, a): (&Tensor, &Samples)| Stage {
            dtype: t.dtype(),
            buffer: None,
            shape: a.shape.clone(),
        };
        inputs.iter().zip(arrays).map(stage).collect()
    }

    /// Brings rows into the stage; whole rows in their own order stay where they are. There is
    /// `room` for so many rows at most.
    pub(crate) fn gather(
        &mut self,
        array: &Samples,
        order: Option<&[i64]>,
        first: usize,
        rows: usize,
        room: usize,
    ) -> Result<()> {
        self.shape[0] = rows;
        if order.is_none() && self.dtype == array.dtype {
            return Ok(());
        }
        let row = array.row_len();
        let buffer = match &mut self.buffer {
            Some(buffer) => buffer,
            none => none.insert(Buffer::zeroed(room * row * self.dtype.size(), "a batch")?),
        };
        let order = order.map(|o| &o[first..first + rows]);
        copy_rows(array, row, first, rows, order, self.dtype, buffer);
        Ok(())
    }

    /// The rows gathered last as an argument.
    pub(crate) fn argument<'a>(
        &'a self,
        array: &'a Samples,
        first: usize,
        rows: usize,
    ) -> ArrayRef<'a> {
        let row = array.row_len() * self.dtype.size();
        let bytes = match &self.buffer {
            // SAFETY: the stage has room for a whole batch of rows.
            Some(b) => unsafe { std::slice::from_raw_parts(b.as_ptr(), rows * row) },
            None => &array.bytes()[first * row..(first + rows) * row],
        };
        ArrayRef {
            dtype: self.dtype,
            shape: &self.shape,
            bytes,
        }
    }
}

fn copy_rows(
    array: &Samples,
    row: usize,
    first: usize,
    rows: usize,
    order: Option<&[i64]>,
    to: DType,
    buffer: &Buffer,
) {
    struct Target(*mut u8);
    // SAFETY: tasks write rows of their own.
    unsafe impl Sync for Target {}
    let target = Target(buffer.as_ptr());
    let source = array.bytes();
    let (from_bytes, to_bytes) = (row * array.dtype.size(), row * to.size());
    let copy = |r: usize| {
        let target = &target;
        let index = order.map_or(first + r, |o| o[r] as usize);
        let from = &source[index * from_bytes..(index + 1) * from_bytes];
        // SAFETY: row r of the buffer, which has room for all rows of a batch.
        let into = unsafe { std::slice::from_raw_parts_mut(target.0.add(r * to_bytes), to_bytes) };
        if array.dtype == to {
            into.copy_from_slice(from);
        } else {
            convert(from, array.dtype, into, to);
        }
    };
    let parts = if par::is_small(rows * to_bytes, PARALLEL_GATHER_BYTES) {
        1
    } else {
        par::num_threads().min(rows).max(1)
    };
    par::run(parts, &|p| {
        (rows * p / parts..rows * (p + 1) / parts).for_each(copy)
    });
}

/// Converts elements between types, as NumPy's astype does.
fn convert(from: &[u8], from_type: DType, into: &mut [u8], to: DType) {
    let exact = Literal::new(from_type, vec![from.len() / from_type.size()], from);
    let converted = match (exact.to_i64(), to) {
        (Some(ints), DType::I64) => Literal::ints(&ints),
        _ => Literal::from_f64(to, exact.shape.clone(), &exact.to_f64()),
    };
    into.copy_from_slice(&converted.bytes);
}

/// Adds a step's scalars, weighted by its rows, to the sums.
pub(crate) fn account(
    plan: &Plan,
    inputs: &[&[u8]],
    rows: usize,
    sums: &mut [f64],
    last: &mut [f64],
) {
    for k in 0..plan.outputs() {
        let value = plan.output(k);
        let scalar = if value.shape.is_empty() {
            let bytes = plan.result(k, inputs);
            match value.dtype {
                DType::F32 => bytes
                    .try_into()
                    .map_or(f64::NAN, |b| f64::from(f32::from_ne_bytes(b))),
                other => Literal::new(other, Vec::new(), bytes).to_f64()[0],
            }
        } else {
            f64::NAN
        };
        last[k] = scalar;
        sums[k] += scalar * rows as f64;
    }
}

fn collect(plan: &Plan, inputs: &[&[u8]], collected: &mut [Collected]) {
    for c in collected {
        let value = plan.output(c.output);
        c.dtype = value.dtype;
        let rows = value.shape.first().copied().unwrap_or(1);
        if c.shape.is_empty() {
            c.shape = if value.shape.is_empty() {
                vec![0]
            } else {
                value.shape.clone()
            };
            c.shape[0] = 0;
        }
        c.shape[0] += rows;
        c.bytes.extend_from_slice(plan.result(c.output, inputs));
    }
}
