//! `ShardedLoop`: the epochs of data-parallel training.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut, Range};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use hornbeam_collective::{Error, Group, PeerSlice, SharedRegion, SharedSlice};
use hornbeam_graph::{DType, Tensor};
use hornbeam_runtime::sharded::{
    AllShards, Allocate, Functions, Memory, PartitionBytes, Pending, ReduceResult, Reducer, Region,
    ShardedEpoch, Window, Windows,
};
use numpy::PyUntypedArray;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::array::{Array, to_numpy};
use crate::collective::{PyGroup, Shared};
use crate::error;
use crate::function::{PyFunction, order_of, samples};
use crate::logging;
use crate::tensor::PyTensor;

/// Memory that members on this machine read directly, kept for the next pass: they know it already.
static KEPT: Mutex<Vec<SharedSlice<f32>>> = Mutex::new(Vec::new());
/// No more pieces of memory are kept than the latest pass needs: two for each bucket.
static KEPT_PIECES: AtomicUsize = AtomicUsize::new(2);

/// The bytes from which on a part of the gradients is summed on its own, while the rest is computed.
/// Where all members are on one machine there is nothing to hide: the cores that would move a part
/// are those that compute.
const BUCKET_BYTES: usize = 1 << 20;
/// So that many workers do not exchange many small frames, a bucket has this much for each shard.
const SHARD_BYTES: usize = 128 << 10;

/// What `HORNBEAM_BUCKET_BYTES` says instead.
pub(crate) static GIVEN_BUCKET_BYTES: LazyLock<Option<usize>> =
    LazyLock::new(|| bytes_given("HORNBEAM_BUCKET_BYTES"));

/// What the workers of one machine share the updates of. Weights that stay in the caches gain little,
/// and lose the time that their values take to come over where the cores are far apart.
const PARTITION_BYTES: PartitionBytes = PartitionBytes {
    each: 64 << 10,
    all: 4 << 20,
};
/// Passes of fewer steps are over before sharing memory has paid.
const PARTITION_STEPS: usize = 16;

/// The bytes of a weight that `HORNBEAM_PARTITION_BYTES` says instead, whatever all have and for passes
/// of any length.
pub(crate) static GIVEN_PARTITION_BYTES: LazyLock<Option<usize>> =
    LazyLock::new(|| bytes_given("HORNBEAM_PARTITION_BYTES"));

fn bytes_given(variable: &str) -> Option<usize> {
    let given = std::env::var(variable).ok()?;
    let parsed = given.trim().parse();
    parsed
        .inspect_err(|_| log::warn!("{variable}={given} is no number of bytes"))
        .ok()
}

/// Whether buckets start as soon as they are computed, if `HORNBEAM_OVERLAP` says so.
static OVERLAP: LazyLock<Option<bool>> = LazyLock::new(|| {
    let given = std::env::var("HORNBEAM_OVERLAP").ok()?;
    Some(given.trim() != "0")
});

/// Memory that is kept when it is no longer used.
struct Pooled(Option<SharedSlice<f32>>);

impl Deref for Pooled {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(self.0.take());
        let many = kept
            .len()
            .saturating_sub(KEPT_PIECES.load(Ordering::Relaxed));
        kept.drain(..many);
    }
}

/// Zeros in memory that members on this machine read directly; none where there is no such.
fn pooled(len: usize) -> Option<Memory> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let slice = match kept.iter().position(|slice| slice.len() == len) {
        Some(at) => {
            let mut slice = kept.remove(at);
            slice.fill(0.0);
            slice
        }
        None => SharedSlice::zeroed(len)
            .inspect_err(|error| log::debug!("sums are not in shared memory: {error}"))
            .ok()?,
    };
    Some(Box::new(Pooled(Some(slice))))
}

/// Another member's memory.
struct Peer(PeerSlice<f32>);

impl Window for Peer {
    unsafe fn get(&self, range: Range<usize>) -> &[f32] {
        // SAFETY: the caller says that the owner does not write there.
        unsafe { self.0.get(range) }
    }
}

/// Memory of all members.
struct Whole(Arc<SharedRegion<f32>>);

impl Window for Whole {
    unsafe fn get(&self, range: Range<usize>) -> &[f32] {
        // SAFETY: the caller says that nobody writes there.
        unsafe { self.0.get(range) }
    }
}

/// Sums over the shards of a group's members.
struct GroupReducer {
    group: Arc<Shared>,
    /// The generation in which the present step began.
    generation: u64,
    /// Whether to start buckets early, if somebody says so.
    overlap: Arc<Mutex<Option<bool>>>,
}

fn closed() -> Error {
    Error::InvalidArgument("the group has been closed".to_string())
}

impl GroupReducer {
    /// Calls `f` with the group, which must still be the one that the step began with.
    fn with<R>(&self, f: impl FnOnce(&Group) -> Result<R, Error>) -> ReduceResult<R> {
        let guard = self.group.read();
        let group = guard.as_ref().ok_or_else(closed)?;
        if group.generation() != self.generation {
            let reason = "the group was formed anew in the midst of a step".to_string();
            return Err(Error::Aborted(reason).into());
        }
        Ok(f(group)?)
    }
}

impl Reducer for GroupReducer {
    fn begin(&mut self) -> ReduceResult<(u32, Range<u32>)> {
        let guard = self.group.read();
        let group = guard.as_ref().ok_or_else(closed)?;
        self.generation = group.generation();
        Ok((group.total_shards(), group.shards()))
    }

    fn all_reduce(&mut self, data: &mut [f32]) -> ReduceResult<()> {
        self.with(|group| group.all_reduce(data))
    }

    fn start(&mut self, bucket: u32, data: Memory, early: bool) -> ReduceResult<Pending> {
        let handle = self.with(|group| group.start_all_reduce_of(bucket, data, early))?;
        let shared = Arc::clone(&self.group);
        Ok(Box::new(move || {
            let guard = shared.read();
            Ok(guard.as_ref().ok_or_else(closed)?.wait_memory(handle)?)
        }))
    }

    fn bucket_bytes(&self) -> usize {
        GIVEN_BUCKET_BYTES.unwrap_or_else(|| match self.group.read().as_ref() {
            Some(group) if group.is_spread() => {
                BUCKET_BYTES.max(group.total_shards() as usize * SHARD_BYTES)
            }
            _ => usize::MAX,
        })
    }

    fn overlaps(&self) -> bool {
        let said = *self.overlap.lock().unwrap_or_else(PoisonError::into_inner);
        said.or(*OVERLAP)
            .unwrap_or_else(|| self.group.read().as_ref().is_some_and(Group::is_spread))
    }

    fn memory(&self) -> Option<Allocate> {
        Some(Arc::new(pooled))
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn ranks(&self) -> Option<(usize, Vec<Range<u32>>)> {
        let guard = self.group.read();
        let group = guard.as_ref().filter(|group| !group.is_spread())?;
        Some((group.rank() as usize, group.all_shards()))
    }

    fn partition_bytes(&self, steps: usize) -> Option<PartitionBytes> {
        let given = GIVEN_PARTITION_BYTES.map(|each| PartitionBytes { each, all: 0 });
        given.or((steps >= PARTITION_STEPS).then_some(PARTITION_BYTES))
    }

    fn share(&mut self, length: usize) -> ReduceResult<Option<Windows>> {
        // What was shared may still be read when it is no longer used here, so it is never used again.
        let own = SharedSlice::zeroed(length)
            .inspect_err(|error| log::debug!("updates are not shared: {error}"))
            .ok();
        let shared = self.with(|group| group.share(own.as_ref()))?;
        let window = |peer: PeerSlice<f32>| Arc::new(Peer(peer)) as Arc<dyn Window>;
        Ok(own.zip(shared).map(|(own, (id, others))| Windows {
            own: Box::new(own),
            others: others.into_iter().map(|peer| peer.map(window)).collect(),
            id,
        }))
    }

    fn share_region(
        &mut self,
        length: usize,
        ranges: &[Vec<Range<usize>>],
    ) -> ReduceResult<Option<Region>> {
        let shared = self.with(|group| group.share_region(length, ranges))?;
        Ok(shared.map(|(region, pieces)| Region {
            own: pieces.into_iter().map(|p| Box::new(p) as Memory).collect(),
            whole: Arc::new(Whole(region)),
        }))
    }

    fn is_same(&mut self, numbers: [u64; 2]) -> ReduceResult<bool> {
        let own: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        let all = self.with(|group| group.all_gather(&own))?;
        Ok(all.iter().all(|theirs| *theirs == own))
    }

    fn barrier(&mut self) -> ReduceResult<()> {
        self.with(Group::barrier)
    }

    fn abandon(&mut self, reason: &str) {
        if let Some(group) = self.group.read().as_ref() {
            group
                .abort_handle()
                .abort_generation(self.generation, reason);
        }
    }
}

/// One pass over arrays in batches that are cut into shards.
#[pyclass(name = "ShardedLoop", module = "hornbeam._core", frozen)]
pub(crate) struct PyShardedLoop {
    epoch: Mutex<ShardedEpoch>,
    overlap: Arc<Mutex<Option<bool>>>,
    /// Keeps the memory of the samples alive.
    _owners: Vec<Py<PyUntypedArray>>,
}

impl PyShardedLoop {
    /// Runs `f` on the epoch without the interpreter's lock.
    fn with<R: Send>(&self, py: Python<'_>, f: impl Send + FnOnce(&mut ShardedEpoch) -> R) -> R {
        let result =
            py.detach(|| f(&mut self.epoch.lock().unwrap_or_else(PoisonError::into_inner)));
        logging::hand_over(py);
        result
    }
}

#[pymethods]
impl PyShardedLoop {
    #[new]
    #[pyo3(signature = (normalizers, gradient, apply, arrays, batch_size, order = None,
                        group = None, shards = None))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments in Python")]
    fn new(
        normalizers: Option<&Bound<'_, PyFunction>>,
        gradient: &Bound<'_, PyFunction>,
        apply: &Bound<'_, PyFunction>,
        arrays: Vec<Bound<'_, PyAny>>,
        batch_size: usize,
        order: Option<&Bound<'_, PyAny>>,
        group: Option<&Bound<'_, PyGroup>>,
        shards: Option<u32>,
    ) -> PyResult<Self> {
        let overlap = Arc::default();
        let reducer: Box<dyn Reducer> = match (group, shards) {
            (Some(group), None) => Box::new(GroupReducer {
                group: group.get().shared.clone(),
                generation: 0,
                overlap: Arc::clone(&overlap),
            }),
            (None, Some(shards)) => Box::new(AllShards(shards)),
            _ => {
                return Err(PyValueError::new_err(
                    "give either a group or the number of shards",
                ));
            }
        };
        let functions = Functions {
            normalizers: normalizers.map(|f| f.get().function.clone()),
            gradient: gradient.get().function.clone(),
            apply: apply.get().function.clone(),
        };
        let (samples, owners) = samples(&arrays)?;
        let epoch = ShardedEpoch::new(functions, samples, batch_size, order_of(order)?, reducer)
            .map_err(error::runtime)?;
        Ok(PyShardedLoop {
            epoch: Mutex::new(epoch),
            overlap,
            _owners: owners,
        })
    }

    /// Runs steps until all are done or a limit is reached; returns how many it ran.
    #[pyo3(signature = (max_steps = None, max_seconds = None))]
    fn run(
        &self,
        py: Python<'_>,
        max_steps: Option<usize>,
        max_seconds: Option<f64>,
    ) -> PyResult<usize> {
        let limit = max_seconds.map(|s| Duration::from_secs_f64(s.clamp(0.0, 1e9)));
        let run = |epoch: &mut ShardedEpoch| {
            let ran = epoch.run(max_steps, limit);
            KEPT_PIECES.store(2 * epoch.buckets(), Ordering::Relaxed);
            ran
        };
        self.with(py, run).map_err(error::runtime)
    }

    #[getter]
    fn steps(&self, py: Python<'_>) -> usize {
        self.with(py, |e| e.steps())
    }

    #[getter]
    fn steps_done(&self, py: Python<'_>) -> usize {
        self.with(py, |e| e.steps_done())
    }

    /// How many of them ran all own shards at once.
    #[getter]
    fn steps_at_once(&self, py: Python<'_>) -> usize {
        self.with(py, |e| e.steps_at_once())
    }

    /// Says whether own shards that are equally large run at once, or one after the other.
    fn set_at_once(&self, py: Python<'_>, at_once: bool) {
        self.with(py, |e| e.set_at_once(at_once));
    }

    /// In how many buckets gradients are summed over the workers.
    #[getter]
    fn buckets(&self, py: Python<'_>) -> usize {
        self.with(py, |e| e.buckets())
    }

    /// How many buckets' sums were started while the gradient function still ran.
    #[getter]
    fn early_sums(&self, py: Python<'_>) -> usize {
        self.with(py, |e| e.early_sums())
    }

    /// How many steps shared the updates of large weights among the workers.
    #[getter]
    fn partitioned_steps(&self, py: Python<'_>) -> usize {
        self.with(py, |e| e.partitioned_steps())
    }

    /// Says whether buckets are started early, or with None that it depends on where members are.
    fn set_overlap(&self, overlap: Option<bool>) {
        *self.overlap.lock().unwrap_or_else(PoisonError::into_inner) = overlap;
    }

    #[getter]
    fn samples_done(&self, py: Python<'_>) -> usize {
        self.with(py, |e| e.samples_done())
    }

    /// The number of the next step, over all epochs.
    #[getter]
    fn step_number(&self, py: Python<'_>) -> u64 {
        self.with(py, |e| e.step_number())
    }

    fn means(&self, py: Python<'_>) -> Vec<f64> {
        self.with(py, |e| e.means())
    }

    fn last(&self, py: Python<'_>) -> Vec<f64> {
        self.with(py, |e| e.last().to_vec())
    }

    fn sums(&self, py: Python<'_>) -> Vec<f64> {
        self.with(py, |e| e.sums().to_vec())
    }

    /// Seconds that steps took here: `gradient`, `reduce` (waiting included) and `apply`.
    fn times(&self, py: Python<'_>) -> HashMap<&'static str, f64> {
        let times = self.with(py, |e| e.times());
        HashMap::from([
            ("gradient", times.gradient.as_secs_f64()),
            ("reduce", times.reduce.as_secs_f64()),
            ("apply", times.apply.as_secs_f64()),
        ])
    }

    /// Puts the loop before a step, with the sums over those before it and the results of the last.
    #[pyo3(signature = (steps_done, sums, last = None))]
    fn resume(
        &self,
        py: Python<'_>,
        steps_done: usize,
        sums: Vec<f64>,
        last: Option<Vec<f64>>,
    ) -> PyResult<()> {
        self.with(py, |e| e.resume(steps_done, &sums, last.as_deref()))
            .map_err(error::runtime)
    }

    /// The averages that the latest step applied; None before the first.
    fn averages<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let copy = self.with(py, |e| {
            e.averages().map(|a| {
                let bytes: Vec<u8> = a.iter().flat_map(|x| x.to_ne_bytes()).collect();
                (a.len(), bytes)
            })
        });
        copy.map(|(n, bytes)| to_numpy(py, DType::F32, &[n], &bytes))
            .transpose()
    }

    /// Runs the next step with averages that others computed and this process missed.
    fn catch_up(&self, py: Python<'_>, averages: &Bound<'_, PyAny>) -> PyResult<()> {
        let array = Array::new(averages, Some(DType::F32))?;
        let values: Vec<f32> = array
            .bytes()
            .as_chunks()
            .0
            .iter()
            .map(|b| f32::from_ne_bytes(*b))
            .collect();
        self.with(py, |e| e.catch_up(&values))
            .map_err(error::runtime)
    }
}

/// The tensors with the statistics of the whole batch in place of shards': where layers ask for it,
/// or of every batch.
#[pyfunction]
pub(crate) fn synchronize(
    tensors: Vec<Bound<'_, PyTensor>>,
    every: bool,
) -> PyResult<Vec<PyTensor>> {
    let own: Vec<Tensor> = tensors.iter().map(|t| t.get().tensor.clone()).collect();
    let new = hornbeam_graph::synchronize::synchronize(&own, every).map_err(error::graph)?;
    Ok(new.into_iter().map(PyTensor::from).collect())
}

/// For each tensor, whether one of `sources` is among its ancestors.
#[pyfunction]
pub(crate) fn depends_on(
    tensors: Vec<Bound<'_, PyTensor>>,
    sources: Vec<Bound<'_, PyTensor>>,
) -> Vec<bool> {
    let mut known: HashMap<u64, bool> = sources
        .iter()
        .map(|s| (s.get().tensor.node.id, true))
        .collect();
    tensors
        .iter()
        .map(|t| reaches(&t.get().tensor, &mut known))
        .collect()
}

/// Whether a node that is known to be true is among the ancestors. Does not recurse, since chains
/// may be long.
fn reaches(tensor: &Tensor, known: &mut HashMap<u64, bool>) -> bool {
    let mut stack = vec![&tensor.node];
    while let Some(node) = stack.last().copied() {
        let open = node.inputs.iter().find(|x| !known.contains_key(&x.node.id));
        if let (Some(input), false) = (open, known.contains_key(&node.id)) {
            stack.push(&input.node);
            continue;
        }
        let found = node
            .inputs
            .iter()
            .any(|x| known.get(&x.node.id) == Some(&true));
        known.entry(node.id).or_insert(found);
        stack.pop();
    }
    known[&tensor.node.id]
}
