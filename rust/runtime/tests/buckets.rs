//! Sharded steps whose gradients are summed in buckets by groups of threads: the bits of one
//! process, whoever starts which bucket when, and after a death in any of them.

mod groups;

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use groups::{Threads, noise, on_group, on_members, placeholder};
use hornbeam_collective::fault::{Fault, FaultPlan};
use hornbeam_collective::{Group, GroupConfig, Listener, Member, even_ranges};
use hornbeam_graph::autodiff::gradients;
use hornbeam_graph::build::Builder;
use hornbeam_graph::op::ReduceOp;
use hornbeam_graph::{DType, Literal, Op, Tensor};
use hornbeam_runtime::epoch::Samples;
use hornbeam_runtime::sharded::{
    AllShards, Functions, Memory, Pending, ReduceResult, Reducer, ShardedEpoch,
};
use hornbeam_runtime::{Function, RuntimeError, Variable};

const SHARDS: u32 = 4;
/// Two batches that are divisible by the shards, and one that is not.
const BATCH: usize = 16;
const ROWS: usize = 2 * BATCH + 5;
const STEPS: usize = 3;
/// The layers' widths, beginning with the samples'.
const WIDTHS: [usize; 5] = [6, 12, 20, 20, 3];
/// Makes a bucket of nearly each weight.
const SMALL: usize = 256;

/// Layers without biases, trained on the mean of the squares of what they give.
fn model() -> (Vec<Arc<Variable>>, Functions) {
    model_with(|_, _, _| None)
}

/// The same with another average, of a batch, the samples and their gradients.
fn model_with(
    probe: impl Fn(&Builder, &Tensor, &Tensor) -> Option<Tensor>,
) -> (Vec<Arc<Variable>>, Functions) {
    let b = Builder::default();
    let x = placeholder(vec![None, Some(WIDTHS[0])]);
    let multiple = placeholder(vec![]);
    let shapes: Vec<[usize; 2]> = WIDTHS.windows(2).map(|w| [w[0], w[1]]).collect();
    let (mut weights, mut wrt) = (Vec::new(), Vec::new());
    let mut value = x.clone();
    for (k, shape) in shapes.iter().enumerate() {
        let start = noise(shape[0] * shape[1], k + 1);
        let weight = Variable::new(&Literal::from_f64(DType::F32, shape.to_vec(), &start));
        weights.push(weight.unwrap());
        wrt.push(weights[k].tensor());
        value = b.matmul(&value, &wrt[k], false, false).unwrap();
    }
    let mean = |t: &Tensor| b.reduce(ReduceOp::Mean, t, &[0, 1], false).unwrap();
    let loss = mean(&b.mul(&value, &value).unwrap());
    let of = [&wrt[..], std::slice::from_ref(&x)].concat();
    let mut outputs: Vec<Tensor> = gradients(std::slice::from_ref(&loss), None, &of)
        .unwrap()
        .into_iter()
        .map(Option::unwrap)
        .collect();
    let dx = outputs.pop().unwrap();
    outputs.push(loss);
    let probe = probe(&b, &x, &dx);
    outputs.extend(probe.clone());
    let mut averages: Vec<Tensor> = shapes
        .iter()
        .map(|s| placeholder(s.iter().map(|&n| Some(n)).collect()))
        .collect();
    averages.push(placeholder(vec![]));
    averages.extend(probe.map(|_| placeholder(vec![])));
    let updates = weights.iter().zip(&averages).map(|(w, g)| {
        let step = b.scale(g, 0.5).unwrap();
        (w.clone(), b.sub(&w.tensor(), &step).unwrap())
    });
    let make = |inputs: Vec<Tensor>, outputs, updates| {
        Arc::new(Function::new("f".into(), inputs, outputs, updates, 8).unwrap())
    };
    let loss = averages[shapes.len()].clone();
    let functions = Functions {
        normalizers: None,
        gradient: make(vec![x, multiple], outputs, vec![]),
        apply: make(averages.clone(), vec![loss], updates.collect()),
    };
    (weights, functions)
}

fn samples() -> Vec<f32> {
    let values = noise(ROWS * WIDTHS[0], 99);
    values.into_iter().map(|x| x as f32).collect()
}

struct Training {
    weights: Vec<Arc<Variable>>,
    epoch: ShardedEpoch,
    _data: Vec<f32>,
}

impl Training {
    fn new(reducer: Box<dyn Reducer>) -> Training {
        Training::of(model(), samples(), reducer)
    }

    fn of(
        (weights, functions): (Vec<Arc<Variable>>, Functions),
        data: Vec<f32>,
        reducer: Box<dyn Reducer>,
    ) -> Training {
        let start = data.as_ptr().cast();
        // SAFETY: the data is kept as long as the epoch.
        let x = unsafe { Samples::new(DType::F32, vec![ROWS, WIDTHS[0]], start) };
        let epoch = ShardedEpoch::new(functions, vec![x], BATCH, None, reducer).unwrap();
        Training {
            weights,
            epoch,
            _data: data,
        }
    }

    fn bits(&self) -> Vec<Vec<u8>> {
        self.weights
            .iter()
            .map(|w| w.get().bytes.to_vec())
            .collect()
    }
}

/// The weights after each step of one process, beginning with the first.
fn undisturbed() -> Vec<Vec<Vec<u8>>> {
    let mut training = Training::new(Box::new(AllShards(SHARDS)));
    let mut found = vec![training.bits()];
    while training.epoch.run(Some(1), None).unwrap() == 1 {
        found.push(training.bits());
    }
    assert_eq!((found.len(), training.epoch.buckets()), (STEPS + 1, 1));
    found
}

/// The number of steps in which these shards are equally large.
fn equal_steps(own: &Range<u32>) -> usize {
    let sizes = [BATCH, BATCH, ROWS % BATCH];
    let is_equal = |rows: &&usize| {
        let cut = |v: u32| *rows * v as usize / SHARDS as usize;
        let mut shards = own.clone().map(|v| cut(v + 1) - cut(v));
        let first = shards.next();
        shards.all(|size| Some(size) == first)
    };
    sizes.iter().filter(is_equal).count()
}

#[test]
fn buckets_have_the_bits_of_one_process() {
    let expected = undisturbed();
    let uneven = [vec![0..1, 1..4], vec![0..3, 3..3, 3..4]];
    let even = (1..=4).map(|ranks| even_ranges(SHARDS, ranks));
    for ranges in even.chain(uneven) {
        for (bucket_bytes, buckets) in [(SMALL, 4), (2000, 2), (usize::MAX, 1)] {
            // Who overlaps and who does not are in one group.
            let counts = on_group(&ranges, |rank, group| {
                let is_one_subtree = group.partials().len() == 1;
                let reducer = Threads::new(group, bucket_bytes, rank % 2 == 0);
                let mut training = Training::new(Box::new(reducer));
                for bits in &expected {
                    assert_eq!(training.bits(), *bits, "{ranges:?}, {bucket_bytes} bytes");
                    training.epoch.run(Some(1), None).unwrap();
                }
                let epoch = &training.epoch;
                (epoch.buckets(), epoch.early_sums(), is_one_subtree)
            });
            for (rank, (found, early, is_one_subtree)) in counts.into_iter().enumerate() {
                assert_eq!(found, buckets);
                // Nothing hides the last bucket.
                let can = rank % 2 == 0 && is_one_subtree;
                let steps = if can { equal_steps(&ranges[rank]) } else { 0 };
                assert_eq!(early, steps * (buckets - 1), "{ranges:?}");
            }
        }
    }
}

#[test]
fn buckets_start_with_the_last_layers() {
    let started = on_group(&even_ranges(SHARDS, 1), |_, group| {
        let reducer = Threads::new(group, SMALL, true);
        let started = Arc::clone(&reducer.started);
        Training::new(Box::new(reducer))
            .epoch
            .run(None, None)
            .unwrap();
        Arc::into_inner(started).unwrap().into_inner().unwrap()
    });
    assert_eq!(started[0], [3, 2, 1, 0].repeat(STEPS));
}

#[test]
fn a_death_in_any_bucket_is_made_good() {
    let expected = undisturbed();
    let (ranges, buckets) = (even_ranges(SHARDS, 2), 4);
    for overlaps in [[true, true], [true, false], [false, false]] {
        for dying in 0..3 * buckets {
            on_members(&ranges, |rank, group, members| {
                if rank == 1 {
                    group.inject(FaultPlan::default().at(dying, Fault::Die));
                }
                let reducer = Threads::new(group, SMALL, overlaps[rank]);
                let group = Arc::clone(&reducer.group);
                let mut training = Training::new(Box::new(reducer));
                let error = training.epoch.run(None, None).unwrap_err();
                assert!(matches!(error, RuntimeError::Reduce(_)), "{error}");
                let done = training.epoch.steps_done();
                assert_eq!(done, (dying / buckets) as usize, "{error}");
                assert_eq!(training.bits(), expected[done]);
                let averages = training.epoch.averages();
                assert_eq!(averages.is_some(), done > 0);
                let regrouped = group.write().unwrap().regroup(rank as u32, 2, members);
                regrouped.unwrap();
                training.epoch.run(None, None).unwrap();
                assert_eq!(training.bits(), expected[STEPS], "died in {dying}");
            });
        }
    }
}

/// An error of one member's kernel while its last layers' sums are under way.
#[test]
fn an_error_behind_started_buckets_ends_the_step_for_all() {
    let expected = undisturbed();
    // A row of a table that the first column names, looked up when all gradients are there.
    let probe = |b: &Builder, x: &Tensor, dx: &Tensor| {
        let sum = |t: &Tensor| b.reduce(ReduceOp::Sum, t, &[1], false).unwrap();
        let first = Variable::new(&Literal::from_f64(
            DType::F32,
            vec![WIDTHS[0], 1],
            &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        ));
        let first = sum(&b.matmul(x, &first.unwrap().tensor(), false, false).unwrap());
        let late = b.add(&first, &b.scale(&sum(dx), 0.0).unwrap()).unwrap();
        let row = b.op(Op::Cast(DType::I64), &[&late]).unwrap();
        let table = Variable::new(&Literal::from_f64(DType::F32, vec![4], &noise(4, 5)));
        let op = Op::Gather { axis: 0 };
        let found = b.op(op, &[&table.unwrap().tensor(), &row]).unwrap();
        Some(b.reduce(ReduceOp::Mean, &found, &[0], false).unwrap())
    };
    let all_have_ended = Barrier::new(2);
    on_group(&even_ranges(SHARDS, 2), |rank, group| {
        let reducer = Threads::new(group, SMALL, true);
        let started = Arc::clone(&reducer.started);
        let mut data = samples();
        // One of the second member's rows of the second batch.
        data[(2 * BATCH - 1) * WIDTHS[0]] = 100.0;
        let mut training = Training::of(model_with(probe), data, Box::new(reducer));
        let error = training.epoch.run(None, None).unwrap_err();
        // Who leaves sooner may be gone before the other has heard why.
        all_have_ended.wait();
        let is_told = matches!(error, RuntimeError::Reduce(_));
        assert_eq!(is_told, rank == 0, "{error}");
        assert!(error.to_string().contains("100"), "{error}");
        assert_eq!(training.epoch.steps_done(), 1);
        assert_eq!(training.bits(), expected[1]);
        if rank == 1 {
            let started = started.lock().unwrap();
            // The bucket with what could not be looked up is the one that does not start.
            assert_eq!(started[..], [2, 1, 0, 3, 2, 1, 0]);
        }
    });
}

#[test]
fn averages_of_buckets_bring_a_laggard_up() {
    let found = on_group(&even_ranges(SHARDS, 2), |_, group| {
        let mut ahead = Training::new(Box::new(Threads::new(group, SMALL, true)));
        let alone = Threads::new(lonely(), SMALL, true);
        let mut behind = Training::new(Box::new(alone));
        let mut all = vec![];
        for _ in 0..STEPS {
            ahead.epoch.run(Some(1), None).unwrap();
            let averages = ahead.epoch.averages().unwrap();
            assert!(behind.epoch.catch_up(&averages[1..]).is_err());
            behind.epoch.catch_up(&averages).unwrap();
            assert_eq!(ahead.bits(), behind.bits());
            assert_eq!(behind.epoch.averages().unwrap(), averages);
            all.push(averages);
        }
        all
    });
    assert_eq!(found[0], found[1]);
}

#[test]
fn buckets_may_be_cut_anew_between_steps() {
    let (expected, all_are_here) = (undisturbed(), Barrier::new(2));
    on_group(&even_ranges(SHARDS, 2), |_, group| {
        let reducer = Threads::new(group, SMALL, true);
        let bucket_bytes = Arc::clone(&reducer.bucket_bytes);
        let abort = reducer.group.read().unwrap().abort_handle();
        let mut training = Training::new(Box::new(reducer));
        for (step, bytes, buckets) in [(1, SMALL, 4), (2, usize::MAX, 1)] {
            bucket_bytes.store(bytes, Ordering::Relaxed);
            training.epoch.run(Some(1), None).unwrap();
            assert_eq!(training.bits(), expected[step]);
            assert_eq!(training.epoch.buckets(), buckets);
        }
        // Whoever missed a step gets its averages, however they have been cut since.
        let averages = training.epoch.averages();
        bucket_bytes.store(SMALL, Ordering::Relaxed);
        all_are_here.wait();
        abort.abort("the last step is not to be run");
        training.epoch.run(None, None).unwrap_err();
        assert!(averages.is_some() && training.epoch.averages() == averages);
    });
}

/// A group of one.
fn lonely() -> Group {
    let listener = Listener::bind("127.0.0.1".parse().unwrap(), 0..=0, "a token for tests");
    let listener = listener.unwrap();
    let member = Member {
        address: listener.address(),
        shards: 0..SHARDS,
    };
    Group::connect(listener, GroupConfig::new("lonely", 0, vec![member], 1)).unwrap()
}

/// Starts a bucket when the one before has arrived at the other member, and not sooner.
struct Patient {
    inner: Threads,
    starts: Sender<(u32, usize)>,
    arrived: Receiver<u32>,
}

impl Reducer for Patient {
    fn begin(&mut self) -> ReduceResult<(u32, Range<u32>)> {
        self.inner.begin()
    }

    fn all_reduce(&mut self, data: &mut [f32]) -> ReduceResult<()> {
        self.inner.all_reduce(data)
    }

    fn start(&mut self, bucket: u32, data: Memory, early: bool) -> ReduceResult<Pending> {
        self.starts.send((bucket, data.len())).unwrap();
        let pending = self.inner.start(bucket, data, early)?;
        assert_eq!(early, bucket > 0);
        if early {
            // The plan's thread is here, in the midst of the plan: others move the bucket.
            let arrived = self.arrived.recv_timeout(Duration::from_secs(20));
            assert_eq!(
                arrived,
                Ok(bucket),
                "it goes nowhere before it is waited for"
            );
        }
        Ok(pending)
    }

    fn bucket_bytes(&self) -> usize {
        SMALL
    }

    fn overlaps(&self) -> bool {
        true
    }

    fn abandon(&mut self, reason: &str) {
        self.inner.abandon(reason);
    }
}

#[test]
fn a_bucket_is_moved_while_the_plan_runs() {
    let (starts, started) = channel();
    let (arrives, arrived) = channel();
    let ends = Mutex::new((Some((starts, arrived)), Some((started, arrives))));
    on_group(&even_ranges(2, 2), |rank, group| {
        if rank == 0 {
            let (starts, arrived) = ends.lock().unwrap().0.take().unwrap();
            let inner = Threads::new(group, SMALL, true);
            let patient = Patient {
                inner,
                starts,
                arrived,
            };
            let mut training = Training::new(Box::new(patient));
            training.epoch.run(Some(2), None).unwrap();
            assert_eq!(training.epoch.early_sums(), 2 * 3);
        } else {
            let (started, arrives) = ends.lock().unwrap().1.take().unwrap();
            for (bucket, length) in started {
                let handle = group.start_all_reduce(bucket, vec![0.0f32; length]);
                group.wait(handle.unwrap()).unwrap();
                if bucket > 0 {
                    arrives.send(bucket).unwrap();
                }
            }
        }
    });
}

/// Has all shards, and fails as the bucket of some step is started.
struct Failing {
    at: usize,
    starts: usize,
}

impl Reducer for Failing {
    fn begin(&mut self) -> ReduceResult<(u32, Range<u32>)> {
        Ok((SHARDS, 0..SHARDS))
    }

    fn all_reduce(&mut self, _data: &mut [f32]) -> ReduceResult<()> {
        self.starts += 1;
        match self.starts == self.at {
            true => Err("the network is gone".into()),
            false => Ok(()),
        }
    }

    fn bucket_bytes(&self) -> usize {
        SMALL
    }

    fn overlaps(&self) -> bool {
        true
    }

    fn abandon(&mut self, reason: &str) {
        panic!("nobody gives up: {reason}");
    }
}

#[test]
fn a_bucket_that_cannot_be_started_ends_the_step() {
    let expected = undisturbed();
    for at in 1..=4 * STEPS {
        let mut training = Training::new(Box::new(Failing { at, starts: 0 }));
        let error = training.epoch.run(None, None).unwrap_err();
        assert!(matches!(error, RuntimeError::Reduce(_)), "{error}");
        let done = training.epoch.steps_done();
        assert_eq!(
            (done, training.bits()),
            ((at - 1) / 4, expected[done].clone())
        );
        // Equal shards are run at once as before.
        training.epoch.run(None, None).unwrap();
        assert_eq!(training.bits(), expected[STEPS]);
        let failed_at_once = usize::from(at <= 8 && at % 4 == 0);
        assert_eq!(training.epoch.steps_at_once(), 2 + failed_at_once);
    }
}
