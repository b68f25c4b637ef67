//! Groups of threads that train together, each with its own model.
#![allow(dead_code, reason = "each test uses a part")]

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use hornbeam_collective::{
    Group, GroupConfig, Listener, Member, PeerSlice, SharedRegion, SharedSlice,
};
use hornbeam_graph::{DType, Node, Op, Tensor, TensorType};
use hornbeam_runtime::sharded::{
    Memory, PartitionBytes, Pending, ReduceResult, Reducer, Region, Window, Windows,
};

pub(crate) fn noise(n: usize, seed: usize) -> Vec<f64> {
    (0..n)
        .map(|i| (((i + 7 * seed) * (i + 3)) as f64 * 0.37).sin() * 0.4)
        .collect()
}

pub(crate) fn placeholder(shape: Vec<Option<usize>>) -> Tensor {
    let dtype = DType::F32;
    Node::leaf(Op::Placeholder, TensorType { dtype, shape }, None)
}

struct Peer(PeerSlice<f32>);

impl Window for Peer {
    unsafe fn get(&self, range: Range<usize>) -> &[f32] {
        // SAFETY: the caller's promise.
        unsafe { self.0.get(range) }
    }
}

struct Whole(Arc<SharedRegion<f32>>);

impl Window for Whole {
    unsafe fn get(&self, range: Range<usize>) -> &[f32] {
        // SAFETY: the caller's promise.
        unsafe { self.0.get(range) }
    }
}

/// Sums over the threads of a group.
pub(crate) struct Threads {
    pub(crate) group: Arc<RwLock<Group>>,
    pub(crate) bucket_bytes: Arc<AtomicUsize>,
    overlaps: bool,
    /// The buckets that were started, in order.
    pub(crate) started: Arc<Mutex<Vec<u32>>>,
    /// The bytes from which on updates are shared.
    pub(crate) partition_bytes: Option<PartitionBytes>,
    /// The generation in which the step began.
    generation: u64,
    /// How often memory was shared.
    pub(crate) shares: Arc<AtomicUsize>,
}

impl Threads {
    pub(crate) fn new(group: Group, bucket_bytes: usize, overlaps: bool) -> Threads {
        Threads {
            group: Arc::new(RwLock::new(group)),
            bucket_bytes: Arc::new(AtomicUsize::new(bucket_bytes)),
            overlaps,
            started: Arc::default(),
            partition_bytes: None,
            generation: 0,
            shares: Arc::default(),
        }
    }

    /// Another reducer of the same member, for another pass.
    pub(crate) fn again(&self) -> Threads {
        Threads {
            group: Arc::clone(&self.group),
            bucket_bytes: Arc::clone(&self.bucket_bytes),
            started: Arc::clone(&self.started),
            shares: Arc::clone(&self.shares),
            generation: 0,
            ..*self
        }
    }

    /// A reducer that shares updates of so many bytes.
    pub(crate) fn partitioned(group: Group, bytes: usize) -> Threads {
        Threads {
            partition_bytes: Some(PartitionBytes {
                each: bytes,
                all: 0,
            }),
            ..Threads::new(group, usize::MAX, false)
        }
    }
}

impl Reducer for Threads {
    fn begin(&mut self) -> ReduceResult<(u32, Range<u32>)> {
        let group = self.group.read().unwrap();
        self.generation = group.generation();
        Ok((group.total_shards(), group.shards()))
    }

    fn all_reduce(&mut self, data: &mut [f32]) -> ReduceResult<()> {
        Ok(self.group.read().unwrap().all_reduce(data)?)
    }

    fn start(&mut self, bucket: u32, data: Memory, early: bool) -> ReduceResult<Pending> {
        self.started.lock().unwrap().push(bucket);
        let group = self.group.read().unwrap();
        let handle = group.start_all_reduce_of(bucket, data, early)?;
        let group = Arc::clone(&self.group);
        Ok(Box::new(move || {
            Ok(group.read().unwrap().wait_memory(handle)?)
        }))
    }

    fn bucket_bytes(&self) -> usize {
        self.bucket_bytes.load(Ordering::Relaxed)
    }

    fn overlaps(&self) -> bool {
        self.overlaps
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn ranks(&self) -> Option<(usize, Vec<Range<u32>>)> {
        let group = self.group.read().unwrap();
        Some((group.rank() as usize, group.all_shards()))
    }

    fn partition_bytes(&self, _steps: usize) -> Option<PartitionBytes> {
        self.partition_bytes
    }

    fn share(&mut self, length: usize) -> ReduceResult<Option<Windows>> {
        self.shares.fetch_add(1, Ordering::Relaxed);
        let own = SharedSlice::zeroed(length)?;
        let shared = self.group.read().unwrap().share(Some(&own))?;
        let window = |peer| Arc::new(Peer(peer)) as Arc<dyn Window>;
        Ok(shared.map(|(id, others)| Windows {
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
        let shared = self.group.read().unwrap().share_region(length, ranges)?;
        Ok(shared.map(|(region, pieces)| Region {
            own: pieces.into_iter().map(|p| Box::new(p) as Memory).collect(),
            whole: Arc::new(Whole(region)),
        }))
    }

    fn is_same(&mut self, numbers: [u64; 2]) -> ReduceResult<bool> {
        let own: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        let all = self.group.read().unwrap().all_gather(&own)?;
        Ok(all.iter().all(|theirs| *theirs == own))
    }

    fn barrier(&mut self) -> ReduceResult<()> {
        Ok(self.group.read().unwrap().barrier()?)
    }

    fn abandon(&mut self, reason: &str) {
        let group = self.group.read().unwrap();
        group
            .abort_handle()
            .abort_generation(group.generation(), reason);
    }
}

/// Runs `body` on each member of a group of threads.
pub(crate) fn on_group<R: Send>(
    ranges: &[Range<u32>],
    body: impl Fn(usize, Group) -> R + Sync,
) -> Vec<R> {
    on_members(ranges, |rank, group, _| body(rank, group))
}

/// The same; `body` is told the members.
pub(crate) fn on_members<R: Send>(
    ranges: &[Range<u32>],
    body: impl Fn(usize, Group, Vec<Member>) -> R + Sync,
) -> Vec<R> {
    let local = "127.0.0.1".parse().unwrap();
    let listeners: Vec<Listener> = ranges
        .iter()
        .map(|_| Listener::bind(local, 0..=0, "a token for tests").unwrap())
        .collect();
    let pairs = listeners.iter().zip(ranges);
    let members: Vec<Member> = pairs
        .map(|(listener, shards)| Member {
            address: listener.address(),
            shards: shards.clone(),
        })
        .collect();
    std::thread::scope(|threads| {
        let start = |(rank, listener)| {
            let mut config = GroupConfig::new("tests", rank as u32, members.clone(), 1);
            // What is small goes the way of what is large.
            config.tuning.one_round_bytes = 128;
            config.tuning.piece_bytes = 512;
            let (body, members) = (&body, members.clone());
            threads.spawn(move || body(rank, Group::connect(listener, config).unwrap(), members))
        };
        let running: Vec<_> = listeners.into_iter().enumerate().map(start).collect();
        let results = running.into_iter().map(|thread| thread.join().unwrap());
        results.collect()
    })
}
