//! The group as its users see it: collective calls, buckets, scopes, and forming the next
//! generation.

use std::marker::PhantomData;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::all_reduce::AllReduce;
use crate::broadcast::Broadcast;
use crate::buffer::{Buffer, Element, Memory};
use crate::config::{GroupConfig, Member};
use crate::core::Core;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::frame::OpKey;
use crate::gather::{Gather, MAX_GATHER};
use crate::operation::{Operation, Output};
use crate::rendezvous::{Formation, Listener};
use crate::scope::run_lent;
use crate::stats::Stats;
use crate::topology::Topology;
use crate::tree::Subtree;
use crate::wake::AbortHandle;

/// The bucket of the operations that block at once.
const BLOCKING: u32 = u32::MAX;

/// A rank's membership in a group of processes that compute collectively.
///
/// All ranks must make the same blocking calls in the same order. Buckets are matched by their
/// number, so ranks may start them in different orders. After any error but
/// [`Error::InvalidArgument`] the generation is over on all ranks: every call fails until
/// [`Group::regroup`] has formed the next one.
pub struct Group {
    listener: Listener,
    config: GroupConfig,
    topology: Arc<Topology>,
    engine: Arc<Engine>,
    background: Option<JoinHandle<()>>,
    formation: Duration,
    /// Sockets of the generation before, open until their peers have surely read everything.
    attic: Vec<Arc<TcpStream>>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What forming a generation yields.
struct Formed {
    topology: Arc<Topology>,
    engine: Arc<Engine>,
    background: JoinHandle<()>,
    took: Duration,
}

/// A bucket's all-reduce in flight that owns its data.
#[derive(Debug)]
#[must_use = "a bucket has to be waited for"]
pub struct Handle<T> {
    key: OpKey,
    generation: u64,
    element: PhantomData<T>,
}

/// A bucket's all-reduce in flight that owns memory of its owner's choice.
#[derive(Debug)]
#[must_use = "a bucket has to be waited for"]
pub struct MemoryHandle {
    key: OpKey,
    generation: u64,
}

impl Group {
    /// Forms a generation: returns once this rank is connected with all others.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`], [`Error::Formation`] if a member is missing for too long, and
    /// [`Error::Refused`], [`Error::Fingerprint`] or [`Error::StaleGeneration`] if one does not
    /// fit. The listener is lost then; [`Group::connect_or_return`] gives it back.
    pub fn connect(listener: Listener, config: GroupConfig) -> Result<Self> {
        Self::connect_or_return(listener, config).map_err(|(error, _)| error)
    }

    /// [`Group::connect`] that gives the listener back on failure, so that the next generation
    /// finds this rank at the same address.
    pub fn connect_or_return(
        listener: Listener,
        config: GroupConfig,
    ) -> Result<Self, (Error, Box<Listener>)> {
        match Self::form(&listener, &config) {
            Ok(Formed {
                topology,
                engine,
                background,
                took,
            }) => Ok(Group {
                listener,
                config,
                topology,
                engine,
                background: Some(background),
                formation: took,
                attic: Vec::new(),
            }),
            Err(error) => Err((error, Box::new(listener))),
        }
    }

    fn form(listener: &Listener, config: &GroupConfig) -> Result<Formed> {
        let began = Instant::now();
        let layout = config.check(listener.address())?;
        listener.abort.begin(config.generation);
        let streams = Formation::new(listener, config).run()?;
        let topology = Topology::new(layout, config.rank as usize, config.tuning.direct_ranks);
        let core = Core::new(config, streams);
        let engine = Engine::new(config, core, Arc::clone(&listener.abort));
        let background = engine.spawn()?;
        Ok(Formed {
            topology: Arc::new(topology),
            engine,
            background,
            took: began.elapsed(),
        })
    }

    /// Leaves the present generation, in whatever state it is, and forms the next.
    ///
    /// A healthy generation is left in good order, so that a member that is slower can finish its
    /// last operation.
    ///
    /// # Errors
    /// Those of [`Group::connect`]; the group can then try a still newer generation.
    pub fn regroup(&mut self, rank: u32, generation: u64, members: Vec<Member>) -> Result<()> {
        if generation <= self.config.generation {
            return Err(Error::InvalidArgument(format!(
                "generation {generation} does not follow {}",
                self.config.generation
            )));
        }
        let config = GroupConfig {
            rank,
            generation,
            members,
            ..self.config.clone()
        };
        config.check(self.listener.address())?;
        self.end_generation(false);
        self.config = config;
        self.attic = self.engine.sockets();
        let formed = Self::form(&self.listener, &self.config)?;
        self.background = Some(formed.background);
        (self.topology, self.engine, self.formation) =
            (formed.topology, formed.engine, formed.took);
        Ok(())
    }

    fn end_generation(&mut self, until_read: bool) {
        if let Some(background) = self.background.take() {
            self.engine.stop(background);
            self.engine.leave(until_read);
            self.engine.core().retire();
        }
    }

    /// This rank's number.
    pub fn rank(&self) -> u32 {
        self.config.rank
    }

    /// The number of ranks.
    pub fn ranks(&self) -> u32 {
        self.config.members.len() as u32
    }

    /// The number of logical shards of all ranks.
    pub fn total_shards(&self) -> u32 {
        self.config.members.last().map_or(0, |m| m.shards.end)
    }

    /// The shards this rank owns.
    pub fn shards(&self) -> std::ops::Range<u32> {
        self.config.members[self.config.rank as usize]
            .shards
            .clone()
    }

    /// The shards of all ranks.
    pub fn all_shards(&self) -> Vec<std::ops::Range<u32>> {
        let members = self.config.members.iter();
        members.map(|member| member.shards.clone()).collect()
    }

    /// Whether some member is at another address, so that data makes its way over a network.
    pub fn is_spread(&self) -> bool {
        let own = self.listener.address().ip();
        let mut members = self.config.members.iter();
        members.any(|member| member.address.ip() != own)
    }

    /// The present generation.
    pub fn generation(&self) -> u64 {
        self.config.generation
    }

    /// The subtrees whose partial sums this rank has to deliver in every all-reduce, in that order.
    pub fn partials(&self) -> &[Subtree] {
        self.topology.cover_of(self.topology.rank())
    }

    /// Frees all waiters from any thread.
    pub fn abort_handle(&self) -> AbortHandle {
        self.listener.abort_handle()
    }

    /// Counters of the present generation.
    pub fn stats(&self) -> Stats {
        let core = self.engine.core();
        Stats {
            generation: self.config.generation,
            formation: self.formation,
            operations: core.work.started,
            blocked: core.blocked,
            peers: core.stats(),
        }
    }

    /// Whether the generation has failed, and why.
    pub fn failure(&self) -> Option<Error> {
        self.engine.core().failure.clone()
    }

    /// Sums over all logical shards, in place and with the same bits for any number of ranks.
    ///
    /// `data` holds one partial sum for each of [`Group::partials`], one after the other, each as
    /// long as the result (usually there is one; a rank without shards passes room for the result).
    /// The result replaces the first.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the length is no multiple of the number of partials; else the
    /// group's failure.
    pub fn all_reduce<T: Element>(&self, data: &mut [T]) -> Result<()> {
        let length = data.len();
        let make = |buffer| self.reduction::<T>(length, buffer);
        run_lent(&self.engine, BLOCKING, data, make).map(drop)
    }

    /// Gathers a small payload (up to 64 MiB) of each rank at all ranks, in the order of the ranks.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for too large a payload; else the group's failure.
    pub fn all_gather(&self, payload: &[u8]) -> Result<Vec<Vec<u8>>> {
        if payload.len() > MAX_GATHER {
            return Err(Error::InvalidArgument(format!(
                "a payload of {} bytes is too large to gather, the most is {MAX_GATHER}",
                payload.len()
            )));
        }
        self.gather(payload.to_vec(), false)
    }

    /// Returns when all ranks have called it.
    ///
    /// # Errors
    /// The group's failure.
    pub fn barrier(&self) -> Result<()> {
        self.gather(Vec::new(), true).map(drop)
    }

    fn gather(&self, payload: Vec<u8>, is_barrier: bool) -> Result<Vec<Vec<u8>>> {
        let gather = Gather::new(Arc::clone(&self.topology), payload, is_barrier);
        let key = self.engine.start(BLOCKING, Box::new(gather), false)?;
        match self.engine.wait(key)? {
            Output::Payloads(payloads) => Ok(payloads),
            Output::Data(_) => unreachable!("a gather yields payloads"),
        }
    }

    /// Copies the root's bytes to all ranks.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an unknown root; else the group's failure.
    pub fn broadcast(&self, data: &mut [u8], root: u32) -> Result<()> {
        if root >= self.ranks() {
            return Err(Error::InvalidArgument(format!(
                "the root is rank {root}, but there are {} ranks",
                self.ranks()
            )));
        }
        let piece_bytes = self.config.tuning.piece_bytes;
        let topology = Arc::clone(&self.topology);
        let make = |buffer| -> Result<Box<dyn Operation>> {
            Ok(Box::new(Broadcast::new(
                topology,
                root as usize,
                buffer,
                piece_bytes,
            )))
        };
        run_lent(&self.engine, BLOCKING, data, make).map(drop)
    }

    /// Starts a bucket's all-reduce and returns at once; `data` as for [`Group::all_reduce`].
    ///
    /// Several buckets may be in flight; one of a number must be waited for before the next of that
    /// number starts.
    ///
    /// # Errors
    /// Those of [`Group::all_reduce`], and [`Error::InvalidArgument`] for a bucket that is still in
    /// flight.
    pub fn start_all_reduce<T: Element>(&self, bucket: u32, data: Vec<T>) -> Result<Handle<T>> {
        let operation = self.reduction::<T>(data.len(), T::into_buffer(data))?;
        let key = self.start_bucket(bucket, operation, true)?;
        Ok(Handle {
            key,
            generation: self.config.generation,
            element: PhantomData,
        })
    }

    /// Waits for a bucket and gives its data back, the result in front.
    ///
    /// # Errors
    /// The group's failure; the data is lost then.
    pub fn wait<T: Element>(&self, handle: Handle<T>) -> Result<Vec<T>> {
        self.check_generation(handle.generation)?;
        match self.engine.wait(handle.key)? {
            Output::Data(buffer) => Ok(T::from_buffer(buffer)),
            Output::Payloads(_) => unreachable!("an all-reduce yields data"),
        }
    }

    /// [`Group::start_all_reduce`] of data in memory of the caller's choice. `in_background` sees to
    /// it that the data moves before it is waited for; a bucket that is waited for at once does
    /// without, since it costs to wake another thread.
    ///
    /// # Errors
    /// Those of [`Group::start_all_reduce`]; the memory is dropped then.
    pub fn start_all_reduce_of(
        &self,
        bucket: u32,
        data: Memory,
        in_background: bool,
    ) -> Result<MemoryHandle> {
        let operation = self.reduction::<f32>(data.len(), Buffer::own(data))?;
        let key = self.start_bucket(bucket, operation, in_background)?;
        Ok(MemoryHandle {
            key,
            generation: self.config.generation,
        })
    }

    /// Waits for a bucket and gives its memory back, the result in front.
    ///
    /// # Errors
    /// The group's failure; the memory is dropped then.
    pub fn wait_memory(&self, handle: MemoryHandle) -> Result<Memory> {
        self.check_generation(handle.generation)?;
        match self.engine.wait(handle.key)? {
            Output::Data(buffer) => Ok(buffer.into_memory()),
            Output::Payloads(_) => unreachable!("an all-reduce yields data"),
        }
    }

    pub(crate) fn start_bucket(
        &self,
        bucket: u32,
        operation: Box<dyn Operation>,
        in_background: bool,
    ) -> Result<OpKey> {
        if bucket == BLOCKING {
            return Err(Error::InvalidArgument(format!(
                "the bucket {BLOCKING} is reserved"
            )));
        }
        self.engine.start(bucket, operation, in_background)
    }

    pub(crate) fn check_generation(&self, generation: u64) -> Result<()> {
        if generation == self.config.generation {
            return Ok(());
        }
        Err(Error::InvalidArgument(format!(
            "the bucket was started in generation {generation}, this is {}",
            self.config.generation
        )))
    }

    /// The elements of the result, given the length of the data.
    fn elements(&self, length: usize) -> Result<usize> {
        let runs = self.partials().len().max(1);
        if length.is_multiple_of(runs) {
            return Ok(length / runs);
        }
        Err(Error::InvalidArgument(format!(
            "{length} elements are no multiple of the {runs} partial sums that rank {} delivers",
            self.rank()
        )))
    }

    /// An all-reduce of data of that length.
    pub(crate) fn reduction<T: Element>(
        &self,
        length: usize,
        data: Buffer,
    ) -> Result<Box<dyn Operation>> {
        let tuning = &self.config.tuning;
        let sizes = (tuning.one_round_bytes, tuning.piece_bytes);
        let elements = self.elements(length)?;
        let topology = Arc::clone(&self.topology);
        Ok(Box::new(AllReduce::new(
            topology,
            T::DTYPE,
            elements,
            data,
            sizes.0,
            sizes.1,
        )))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Breaks things at planned operations of the present generation; for tests.
    #[cfg(any(test, feature = "fault-injection"))]
    pub fn inject(&self, plan: crate::fault::FaultPlan) {
        self.engine.core().plan = plan;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end_generation(true);
    }
}
