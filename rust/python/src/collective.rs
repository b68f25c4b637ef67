//! `Listener` and `Group`: a process' membership in a group that computes collectively.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use hornbeam_collective::{
    AbortHandle, Error, Group, GroupConfig, Listener, Member, OnMismatch, Result as GroupResult,
    Timeouts,
};
use hornbeam_graph::DType;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};

use crate::array::{Array, to_numpy};
use crate::error;
use crate::logging;

/// Version, instruction set and switches of the kernels, and the sizes of buckets and of shared updates
/// if they were given.
pub(crate) fn fingerprint() -> String {
    let isa = format!("{:?}", hornbeam_kernels::cpu::isa()).to_lowercase();
    let winograd = hornbeam_kernels::conv::winograd();
    let version = env!("CARGO_PKG_VERSION");
    let buckets = crate::sharded::GIVEN_BUCKET_BYTES.map(|bytes| format!(" buckets={bytes}"));
    let buckets = buckets.unwrap_or_default();
    let parts = crate::sharded::GIVEN_PARTITION_BYTES.map(|bytes| format!(" partition={bytes}"));
    let parts = parts.unwrap_or_default();
    format!("hornbeam {version} {isa} winograd={winograd}{buckets}{parts}")
}

/// The place where a process is reached by others of its group.
#[pyclass(name = "Listener", module = "hornbeam._core", frozen)]
pub(crate) struct PyListener {
    /// Gone once a group has it.
    listener: Mutex<Option<Listener>>,
    address: SocketAddr,
    abort: AbortHandle,
}

#[pymethods]
impl PyListener {
    #[new]
    #[pyo3(signature = (ip, ports, token))]
    fn new(ip: &str, ports: (u16, u16), token: PyBackedBytes) -> PyResult<Self> {
        let parsed: IpAddr = ip
            .parse()
            .map_err(|_| PyValueError::new_err(format!("{ip:?} is no IP address")))?;
        let listener =
            Listener::bind(parsed, ports.0..=ports.1, token).map_err(|e| error::collective(&e))?;
        Ok(PyListener {
            address: listener.address(),
            abort: listener.abort_handle(),
            listener: Mutex::new(Some(listener)),
        })
    }

    #[getter]
    fn address(&self) -> String {
        self.address.to_string()
    }

    /// Makes the group that is being formed with this listener, or was, fail at once.
    #[pyo3(signature = (reason, generation = None))]
    fn abort(&self, reason: String, generation: Option<u64>) {
        abort(&self.abort, reason, generation);
    }
}

fn abort(handle: &AbortHandle, reason: String, generation: Option<u64>) {
    match generation {
        Some(generation) => handle.abort_generation(generation, reason),
        None => handle.abort(reason),
    }
}

/// A group as Python and the step loops share it; empty once it was closed.
#[derive(Default)]
pub(crate) struct Shared(RwLock<Option<Group>>);

impl Shared {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Option<Group>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<Group>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process' membership in a group.
#[pyclass(name = "Group", module = "hornbeam._core", frozen)]
pub(crate) struct PyGroup {
    pub(crate) shared: Arc<Shared>,
    abort: AbortHandle,
}

/// Address, first shard, and the shard behind the last.
type MemberRow = (String, u32, u32);

fn members(rows: Vec<MemberRow>) -> PyResult<Vec<Member>> {
    let member = |(address, start, stop): MemberRow| {
        let parsed = address.parse().map_err(|_| {
            PyValueError::new_err(format!("{address:?} is no address like '10.0.0.1:4000'"))
        })?;
        Ok(Member {
            address: parsed,
            shards: start..stop,
        })
    };
    rows.into_iter().map(member).collect()
}

fn timeouts(given: Option<&Bound<'_, PyDict>>) -> PyResult<Timeouts> {
    let mut all = Timeouts::default();
    let Some(given) = given else { return Ok(all) };
    for (name, seconds) in given {
        let name: String = name.extract()?;
        let entry = match name.as_str() {
            "formation" => &mut all.formation,
            "handshake" => &mut all.handshake,
            "operation" => &mut all.operation,
            "silence" => &mut all.silence,
            "heartbeat" => &mut all.heartbeat,
            "farewell" => &mut all.farewell,
            _ => {
                return Err(PyValueError::new_err(format!(
                    "unknown timeout {name:?}: there are formation, handshake, operation, silence, \
                     heartbeat and farewell"
                )));
            }
        };
        *entry = Duration::try_from_secs_f64(seconds.extract()?)
            .map_err(|e| PyValueError::new_err(format!("timeout {name}: {e}")))?;
    }
    Ok(all)
}

fn closed() -> PyErr {
    PyRuntimeError::new_err("the group has been closed")
}

impl PyGroup {
    /// Runs a collective call without the interpreter's lock.
    fn call<R: Send>(
        &self,
        py: Python<'_>,
        f: impl Send + FnOnce(&Group) -> GroupResult<R>,
    ) -> PyResult<R> {
        let result = py.detach(|| self.shared.read().as_ref().map(f));
        logging::hand_over(py);
        result
            .ok_or_else(closed)?
            .map_err(|e| error::collective(&e))
    }
}

/// Length in bytes of what the root is about to send; the others give nothing.
fn root_length(group: &Group, data: Option<&[u8]>, root: u32) -> GroupResult<usize> {
    let own = data.map_or_else(Vec::new, |d| (d.len() as u64).to_le_bytes().to_vec());
    let lengths = group.all_gather(&own)?;
    let length = lengths.get(root as usize).map(Vec::as_slice);
    let Some(Ok(length)) = length.map(<[u8; 8]>::try_from) else {
        return Err(Error::InvalidArgument(format!(
            "rank {root} is the root of a broadcast and must give the bytes"
        )));
    };
    Ok(u64::from_le_bytes(length) as usize)
}

#[pymethods]
impl PyGroup {
    /// Forms a group, once all members call this with the same list.
    #[staticmethod]
    #[pyo3(signature = (listener, job, rank, members, generation = 1, fingerprint = None,
                        refuse_mismatch = true, timeouts = None))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments in Python")]
    fn connect(
        py: Python<'_>,
        listener: &Bound<'_, PyListener>,
        job: String,
        rank: u32,
        members: Vec<MemberRow>,
        generation: u64,
        fingerprint: Option<String>,
        refuse_mismatch: bool,
        timeouts: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let mut config = GroupConfig::new(job, rank, self::members(members)?, generation);
        config.fingerprint = fingerprint.unwrap_or_else(self::fingerprint);
        config.timeouts = self::timeouts(timeouts)?;
        if !refuse_mismatch {
            config.on_mismatch = OnMismatch::Warn;
        }
        let place = &listener.get().listener;
        let lock = || place.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = lock().take() else {
            return Err(PyValueError::new_err(
                "the listener belongs to another group",
            ));
        };
        let result = py.detach(|| Group::connect_or_return(own, config));
        logging::hand_over(py);
        match result {
            Ok(group) => Ok(PyGroup {
                abort: group.abort_handle(),
                shared: Arc::new(Shared(RwLock::new(Some(group)))),
            }),
            Err((error, own)) => {
                *lock() = Some(*own);
                Err(error::collective(&error))
            }
        }
    }

    /// Leaves the present generation, in whatever state it is, and forms the next.
    #[pyo3(signature = (rank, generation, members))]
    fn regroup(
        &self,
        py: Python<'_>,
        rank: u32,
        generation: u64,
        members: Vec<MemberRow>,
    ) -> PyResult<()> {
        let members = self::members(members)?;
        let result = py.detach(|| {
            let mut guard = self.shared.write();
            guard
                .as_mut()
                .map(|group| group.regroup(rank, generation, members))
        });
        logging::hand_over(py);
        result
            .ok_or_else(closed)?
            .map_err(|e| error::collective(&e))
    }

    /// Leaves for good. Calls that are under way in other threads are waited for.
    fn close(&self, py: Python<'_>) {
        py.detach(|| drop(self.shared.write().take()));
        logging::hand_over(py);
    }

    /// Makes all calls that are under way fail at once, from any thread.
    #[pyo3(signature = (reason, generation = None))]
    fn abort(&self, reason: String, generation: Option<u64>) {
        abort(&self.abort, reason, generation);
    }

    #[getter]
    fn rank(&self, py: Python<'_>) -> PyResult<u32> {
        self.call(py, |g| Ok(g.rank()))
    }

    #[getter]
    fn ranks(&self, py: Python<'_>) -> PyResult<u32> {
        self.call(py, |g| Ok(g.ranks()))
    }

    #[getter]
    fn generation(&self, py: Python<'_>) -> PyResult<u64> {
        self.call(py, |g| Ok(g.generation()))
    }

    #[getter]
    fn total_shards(&self, py: Python<'_>) -> PyResult<u32> {
        self.call(py, |g| Ok(g.total_shards()))
    }

    /// First shard, and the shard behind the last.
    #[getter]
    fn shards(&self, py: Python<'_>) -> PyResult<(u32, u32)> {
        self.call(py, |g| Ok((g.shards().start, g.shards().end)))
    }

    /// The subtrees whose sums this rank delivers.
    #[getter]
    fn partials(&self, py: Python<'_>) -> PyResult<Vec<(u32, u32)>> {
        let ends = |g: &Group| {
            let shards = g.partials().iter().map(|s| s.shards());
            Ok(shards.map(|s| (s.start, s.end)).collect())
        };
        self.call(py, ends)
    }

    /// Why the present generation has failed; None while it has not.
    #[getter]
    fn failure(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.call(py, |g| Ok(g.failure().map(|e| e.to_string())))
    }

    /// Sums over all shards: a row for each of `partials` in, one row out.
    fn all_reduce<'py>(
        &self,
        py: Python<'py>,
        array: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let array = Array::new(array, None)?;
        let wide = array.dtype == DType::F64;
        if array.shape.is_empty() || !(wide || array.dtype == DType::F32) {
            return Err(PyValueError::new_err(format!(
                "all_reduce takes a float32 or float64 array with a row for each partial sum, got \
                 {} of shape {:?}",
                array.dtype, array.shape
            )));
        }
        let shape = array.shape[1..].to_vec();
        let length = shape.iter().product::<usize>() * array.dtype.size();
        let mut bytes = array.bytes().to_vec();
        let sum = move |g: &Group| {
            if wide {
                let mut values = decode(&bytes, f64::from_ne_bytes);
                g.all_reduce(&mut values)?;
                bytes = values.iter().flat_map(|x| x.to_ne_bytes()).collect();
            } else {
                let mut values = decode(&bytes, f32::from_ne_bytes);
                g.all_reduce(&mut values)?;
                bytes = values.iter().flat_map(|x| x.to_ne_bytes()).collect();
            }
            Ok(bytes)
        };
        let dtype = array.dtype;
        let bytes = self.call(py, sum)?;
        to_numpy(py, dtype, &shape, &bytes[..length])
    }

    /// Gathers up to 64 MiB of each rank at all ranks, in the order of the ranks.
    fn all_gather<'py>(
        &self,
        py: Python<'py>,
        payload: PyBackedBytes,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let payloads = self.call(py, |g| g.all_gather(&payload))?;
        Ok(payloads.iter().map(|p| PyBytes::new(py, p)).collect())
    }

    /// Copies the root's bytes to all ranks; the others pass None.
    #[pyo3(signature = (data, root))]
    fn broadcast<'py>(
        &self,
        py: Python<'py>,
        data: Option<PyBackedBytes>,
        root: u32,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let copied = self.call(py, |g| {
            let data = data.as_deref().filter(|_| g.rank() == root);
            let length = root_length(g, data, root)?;
            let mut bytes = data.map_or_else(|| vec![0; length], <[u8]>::to_vec);
            g.broadcast(&mut bytes, root)?;
            Ok(bytes)
        })?;
        Ok(PyBytes::new(py, &copied))
    }

    /// Returns when all ranks have called it.
    fn barrier(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, Group::barrier)
    }

    /// Counters of the present generation.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.call(py, |g| Ok(g.stats()))?;
        let dict = PyDict::new(py);
        dict.set_item("generation", stats.generation)?;
        dict.set_item("formation", stats.formation.as_secs_f64())?;
        dict.set_item("operations", stats.operations)?;
        dict.set_item("blocked", stats.blocked.as_secs_f64())?;
        let sent: u64 = stats.peers.iter().map(|p| p.bytes_sent).sum();
        let received: u64 = stats.peers.iter().map(|p| p.bytes_received).sum();
        dict.set_item("bytes_sent", sent)?;
        dict.set_item("bytes_received", received)?;
        let sent: u64 = stats.peers.iter().map(|p| p.frames_sent).sum();
        let received: u64 = stats.peers.iter().map(|p| p.frames_received).sum();
        dict.set_item("frames_sent", sent)?;
        dict.set_item("frames_received", received)?;
        Ok(dict)
    }
}

fn decode<T, const N: usize>(bytes: &[u8], from: fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().copied().map(from).collect()
}
