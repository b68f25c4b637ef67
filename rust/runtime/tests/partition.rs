//! Updates that a group of threads shares: the bits of one process, whoever dies when.
#![cfg(target_os = "linux")]

mod groups;

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier, Mutex};

use groups::{Threads, noise, on_group, on_members, placeholder};
use hornbeam_collective::even_ranges;
use hornbeam_collective::fault::{Fault, FaultPlan};
use hornbeam_graph::autodiff::gradients;
use hornbeam_graph::build::Builder;
use hornbeam_graph::op::{BinaryOp, ReduceOp, UnaryOp};
use hornbeam_graph::{DType, Literal, Tensor};
use hornbeam_runtime::epoch::Samples;
use hornbeam_runtime::sharded::{
    AllShards, Functions, Memory, PartitionBytes, Pending, ReduceResult, Reducer, Region,
    ShardedEpoch, Windows,
};
use hornbeam_runtime::{Function, RuntimeError, Variable};

const SHARDS: u32 = 4;
/// Two batches that are divisible by the shards, and one that is not.
const BATCH: usize = 16;
const ROWS: usize = 2 * BATCH + 5;
const STEPS: usize = 3;
/// The layers' widths. The second weight has four pages and a part, the others less than one.
const WIDTHS: [usize; 4] = [6, 50, 90, 3];
/// Less than any weight has, and less than the second alone has.
const ALL: usize = 1;
const LARGE: usize = 4 * 4500;
/// The collective operations of the first step's beginning, and of each step.
const BEGINNING: u64 = 7;
const OF_A_STEP: u64 = 2;

/// A model and its optimizer's state.
struct Model {
    variables: Vec<Arc<Variable>>,
    functions: Functions,
}

/// Layers without biases, trained on the mean of the squares of what they give. A step divides by the
/// root of a running mean, and is shorter from step to step.
fn model() -> Model {
    let b = Builder::default();
    let x = placeholder(vec![None, Some(WIDTHS[0])]);
    let shapes: Vec<[usize; 2]> = WIDTHS.windows(2).map(|w| [w[0], w[1]]).collect();
    let make = |shape: &[usize], values: &[f64]| {
        Variable::new(&Literal::from_f64(DType::F32, shape.to_vec(), values)).unwrap()
    };
    let rate = make(&[], &[0.1]);
    let (mut variables, mut wrt) = (Vec::new(), Vec::new());
    let mut value = x.clone();
    for (k, shape) in shapes.iter().enumerate() {
        variables.push(make(shape, &noise(shape[0] * shape[1], k + 1)));
        wrt.push(variables[k].tensor());
        value = b.matmul(&value, &wrt[k], false, false).unwrap();
    }
    let mean = |t: &Tensor| b.reduce(ReduceOp::Mean, t, &[0, 1], false).unwrap();
    let loss = mean(&b.mul(&value, &value).unwrap());
    let found = gradients(std::slice::from_ref(&loss), None, &wrt).unwrap();
    let mut outputs: Vec<Tensor> = found.into_iter().map(Option::unwrap).collect();
    outputs.push(loss);
    let known = |s: &[usize]| placeholder(s.iter().map(|&n| Some(n)).collect());
    let mut averages: Vec<Tensor> = shapes.iter().map(|s| known(s)).collect();
    averages.push(known(&[]));
    let mut updates = Vec::new();
    for (k, shape) in shapes.iter().enumerate() {
        let g = &averages[k];
        let squares = make(shape, &vec![0.0; shape[0] * shape[1]]);
        let new = b.scale(&b.mul(g, g).unwrap(), 0.1).unwrap();
        let new = b
            .add(&b.scale(&squares.tensor(), 0.9).unwrap(), &new)
            .unwrap();
        let root = b.unary(UnaryOp::Sqrt, &new).unwrap();
        let root = b.binary_scalar(BinaryOp::Add, &root, 1e-3).unwrap();
        let step = b.div(&b.mul(&rate.tensor(), g).unwrap(), &root).unwrap();
        let weight = variables[k].clone();
        updates.push((weight, b.sub(&wrt[k], &step).unwrap()));
        updates.push((squares.clone(), new));
        variables.push(squares);
    }
    updates.push((rate.clone(), b.scale(&rate.tensor(), 0.7).unwrap()));
    variables.push(rate);
    let make = |inputs: Vec<Tensor>, outputs, updates| {
        Arc::new(Function::new("f".into(), inputs, outputs, updates, 8).unwrap())
    };
    let loss = averages[shapes.len()].clone();
    let functions = Functions {
        normalizers: None,
        gradient: make(vec![x, placeholder(vec![])], outputs, vec![]),
        apply: make(averages, vec![loss], updates),
    };
    Model {
        variables,
        functions,
    }
}

impl Model {
    fn bits(&self) -> Vec<Vec<u8>> {
        let values = self.variables.iter().map(|v| v.get());
        values.map(|v| v.bytes.to_vec()).collect()
    }

    /// A pass over the same samples.
    fn epoch(&self, reducer: Box<dyn Reducer>) -> ShardedEpoch {
        static DATA: Mutex<Vec<f32>> = Mutex::new(Vec::new());
        let mut data = DATA.lock().unwrap();
        if data.is_empty() {
            data.extend(noise(ROWS * WIDTHS[0], 99).into_iter().map(|x| x as f32));
        }
        // SAFETY: the numbers are never changed again.
        let x = unsafe { Samples::new(DType::F32, vec![ROWS, WIDTHS[0]], data.as_ptr().cast()) };
        ShardedEpoch::new(self.functions.clone(), vec![x], BATCH, None, reducer).unwrap()
    }
}

type Bits = Vec<Vec<u8>>;

/// All values after each step of one process, over some passes; `between` is called before each.
fn alone(passes: usize, between: impl Fn(&Model, usize)) -> Vec<Bits> {
    let model = model();
    let mut found = vec![model.bits()];
    for pass in 0..passes {
        between(&model, pass);
        let mut epoch = model.epoch(Box::new(AllShards(SHARDS)));
        while epoch.run(Some(1), None).unwrap() == 1 {
            found.push(model.bits());
        }
        assert_eq!(epoch.partitioned_steps(), 0);
    }
    found
}

#[test]
fn shared_updates_have_the_bits_of_one_process() {
    let expected = alone(1, |_, _| {});
    let uneven = [vec![0..1, 1..4], vec![0..3, 3..4]];
    let even = (2..=4).map(|ranks| even_ranges(SHARDS, ranks));
    for ranges in even.chain(uneven) {
        for (bytes, steps) in [(ALL, STEPS), (LARGE, STEPS), (LARGE + 1, 0)] {
            on_group(&ranges, |_, group| {
                let model = model();
                let mut epoch = model.epoch(Box::new(Threads::partitioned(group, bytes)));
                for bits in &expected {
                    assert!(model.bits() == *bits, "{ranges:?}, {bytes} bytes");
                    epoch.run(Some(1), None).unwrap();
                }
                assert_eq!(epoch.partitioned_steps(), steps);
                // Behind the averages that are reduced lie those that are not.
                let averages = epoch.averages().unwrap().len();
                assert_eq!(averages < 4500, steps > 0);
            });
        }
    }
}

#[test]
fn weights_that_have_little_together_are_not_shared() {
    // The second and the first are large enough, and have so much.
    let both = 4 * (4500 + 300);
    on_group(&even_ranges(SHARDS, 2), |_, group| {
        let template = Threads::partitioned(group, 4 * 300);
        for (all, steps) in [(both, STEPS), (both + 1, 0)] {
            let model = model();
            let mut reducer = template.again();
            reducer.partition_bytes.as_mut().unwrap().all = all;
            let mut epoch = model.epoch(Box::new(reducer));
            epoch.run(None, None).unwrap();
            assert_eq!(epoch.partitioned_steps(), steps);
        }
    });
}

#[test]
fn a_member_without_shards_keeps_all_from_sharing() {
    let expected = alone(1, |_, _| {});
    on_group(&[0..3, 3..3, 3..4], |_, group| {
        let model = model();
        let mut epoch = model.epoch(Box::new(Threads::partitioned(group, ALL)));
        epoch.run(None, None).unwrap();
        assert_eq!(epoch.partitioned_steps(), 0);
        assert!(model.bits() == expected[STEPS]);
    });
}

#[test]
fn a_death_in_any_operation_is_made_good() {
    let expected = alone(1, |_, _| {});
    let ranges = even_ranges(SHARDS, 2);
    for dying in 0..BEGINNING + STEPS as u64 * OF_A_STEP {
        on_members(&ranges, |rank, group, members| {
            if rank == 1 {
                group.inject(FaultPlan::default().at(dying, Fault::Die));
            }
            let reducer = Threads::partitioned(group, ALL);
            let group = Arc::clone(&reducer.group);
            let model = model();
            let mut epoch = model.epoch(Box::new(reducer));
            let error = epoch.run(None, None).unwrap_err();
            assert!(matches!(error, RuntimeError::Reduce(_)), "{error}");
            let done = (dying.saturating_sub(BEGINNING) / OF_A_STEP) as usize;
            assert_eq!(epoch.steps_done(), done, "{error}");
            assert!(model.bits() == expected[done], "died in {dying}");
            let regrouped = group.write().unwrap().regroup(rank as u32, 2, members);
            regrouped.unwrap();
            epoch.run(None, None).unwrap();
            assert!(model.bits() == expected[STEPS], "died in {dying}");
            // The step that failed behind the barrier of all is not counted.
            assert_eq!(epoch.partitioned_steps(), STEPS);
        });
    }
}

/// Hears nothing of a barrier that all have passed.
struct Deaf {
    inner: Threads,
    at: usize,
}

impl Reducer for Deaf {
    fn begin(&mut self) -> ReduceResult<(u32, Range<u32>)> {
        self.inner.begin()
    }

    fn all_reduce(&mut self, data: &mut [f32]) -> ReduceResult<()> {
        self.inner.all_reduce(data)
    }

    fn start(&mut self, bucket: u32, data: Memory, early: bool) -> ReduceResult<Pending> {
        self.inner.start(bucket, data, early)
    }

    fn generation(&self) -> u64 {
        self.inner.generation()
    }

    fn ranks(&self) -> Option<(usize, Vec<Range<u32>>)> {
        self.inner.ranks()
    }

    fn partition_bytes(&self, steps: usize) -> Option<PartitionBytes> {
        self.inner.partition_bytes(steps)
    }

    fn share(&mut self, length: usize) -> ReduceResult<Option<Windows>> {
        self.inner.share(length)
    }

    fn share_region(
        &mut self,
        length: usize,
        ranges: &[Vec<Range<usize>>],
    ) -> ReduceResult<Option<Region>> {
        self.inner.share_region(length, ranges)
    }

    fn is_same(&mut self, numbers: [u64; 2]) -> ReduceResult<bool> {
        self.inner.is_same(numbers)
    }

    fn barrier(&mut self) -> ReduceResult<()> {
        self.inner.barrier()?;
        self.at = self.at.wrapping_sub(1);
        if self.at == 0 {
            return Err("the answer was lost".into());
        }
        Ok(())
    }

    fn abandon(&mut self, reason: &str) {
        self.inner.abandon(reason);
    }
}

#[test]
fn who_missed_the_end_of_a_step_finds_its_values_with_their_owners() {
    let expected = alone(1, |_, _| {});
    for at in 1..=STEPS {
        let (told, both_are_here) = (Mutex::new(Vec::new()), Barrier::new(2));
        on_members(&even_ranges(SHARDS, 2), |rank, group, members| {
            let inner = Threads::partitioned(group, ALL);
            let group = Arc::clone(&inner.group);
            let model = model();
            let at_most = if rank == 0 { Some(at) } else { None };
            let mut epoch = if rank == 0 {
                model.epoch(Box::new(inner))
            } else {
                model.epoch(Box::new(Deaf { inner, at }))
            };
            let ran = epoch.run(at_most, None);
            if rank == 0 {
                assert_eq!(ran.unwrap(), at);
                *told.lock().unwrap() = epoch.averages().unwrap();
                both_are_here.wait();
                // All goes on here, in memory of its own, before the other has looked.
                both_are_here.wait();
            } else {
                ran.unwrap_err();
                assert_eq!(epoch.steps_done(), at - 1);
                assert!(model.bits() == expected[at - 1]);
                both_are_here.wait();
                let averages = told.lock().unwrap().clone();
                assert!(epoch.catch_up(&averages[1..]).is_err());
                epoch.catch_up(&averages).unwrap();
                both_are_here.wait();
            }
            assert!(model.bits() == expected[at], "rank {rank}, step {at}");
            let regrouped = group.write().unwrap().regroup(rank as u32, 2, members);
            regrouped.unwrap();
            epoch.run(None, None).unwrap();
            assert!(model.bits() == expected[STEPS]);
        });
    }
}

#[test]
fn values_outlive_their_owners() {
    let expected = alone(1, |_, _| {});
    let models = on_group(&even_ranges(SHARDS, 3), |rank, group| {
        let model = model();
        let mut epoch = model.epoch(Box::new(Threads::partitioned(group, ALL)));
        epoch.run(None, None).unwrap();
        (rank == 0).then_some(model)
    });
    for model in models.into_iter().flatten() {
        assert!(model.bits() == expected[STEPS]);
    }
}

/// Writes into variables as a user may between two passes.
fn meddle(model: &Model, pass: usize) {
    if pass == 0 {
        return;
    }
    // A weight and another one's state, as a whole; and a weight by a function.
    let shape = |k: usize| model.variables[k].shape.clone();
    for k in [1, 3] {
        let values = noise(shape(k).iter().product(), 7 * pass + k);
        let values: Vec<f64> = values.iter().map(|x| x.abs() * 0.5).collect();
        let literal = Literal::from_f64(DType::F32, shape(k), &values);
        model.variables[k].set(&literal.bytes).unwrap();
    }
    let b = Builder::default();
    let weight = &model.variables[2];
    let half = b.scale(&weight.tensor(), 0.5).unwrap();
    let update = vec![(weight.clone(), half)];
    let function = Function::new("halve".into(), vec![], vec![], update, 1).unwrap();
    function.call(&[], true, |_, _| ()).unwrap();
}

#[test]
fn passes_share_memory_and_see_what_is_written_between_them() {
    const PASSES: usize = 4;
    let expected = alone(PASSES, meddle);
    let ends: Vec<&Bits> = expected[1..]
        .chunks(STEPS)
        .map(|pass| &pass[STEPS - 1])
        .collect();
    on_members(&even_ranges(SHARDS, 3), |rank, group, members| {
        let first = Threads::partitioned(group, ALL);
        let (group, shares) = (Arc::clone(&first.group), Arc::clone(&first.shares));
        let mut model = model();
        let pass = |model: &Model, number: usize| {
            meddle(model, number);
            let mut epoch = model.epoch(Box::new(first.again()));
            epoch.run(None, None).unwrap();
            assert_eq!(epoch.partitioned_steps(), STEPS);
            assert!(model.bits() == *ends[number], "pass {number}");
            // Nobody begins another pass before all have ended this one.
            group.read().unwrap().barrier().unwrap();
            shares.load(Ordering::Relaxed)
        };
        assert_eq!(pass(&model, 0), 1);
        assert_eq!(pass(&model, 1), 1);
        if rank == 1 {
            // One that begins anew has nothing of before.
            let values = model.variables.iter().map(|v| v.get());
            let values: Vec<Literal> = values.collect();
            let step = model.functions.gradient.step();
            model = self::model();
            for (variable, value) in model.variables.iter().zip(&values) {
                variable.set(&value.bytes).unwrap();
            }
            model.functions.gradient.set_step(step);
        }
        assert_eq!(pass(&model, 2), 2);
        // The same members in another generation have the same memory.
        let regrouped = group.write().unwrap().regroup(rank as u32, 2, members);
        regrouped.unwrap();
        assert_eq!(pass(&model, 3), 2);
    });
}
