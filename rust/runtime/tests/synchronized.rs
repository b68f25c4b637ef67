//! Steps with the statistics of the whole batch: the gradients of one process, whatever the shards.

use std::sync::Arc;

use hornbeam_graph::build::Builder;
use hornbeam_graph::op::{Combine, MomentsOf, OverShards, ReduceOp, UnaryOp};
use hornbeam_graph::synchronize::synchronize;
use hornbeam_graph::{DType, Literal, Node, Op, Tensor, TensorType, autodiff};
use hornbeam_runtime::buffer::exclusive;
use hornbeam_runtime::epoch::Samples;
use hornbeam_runtime::function::ArrayRef;
use hornbeam_runtime::sharded::{AllShards, Functions, ReduceResult, Reducer, ShardedEpoch};
use hornbeam_runtime::{Function, RuntimeError, Variable};

const ROWS: usize = 21;
const BATCH: usize = 8;
const FEATURES: usize = 4;
const WEIGHTS: usize = 3 * FEATURES;

fn leaf(dtype: DType, shape: Vec<Option<usize>>) -> Tensor {
    Node::leaf(Op::Placeholder, TensorType { dtype, shape }, None)
}

/// Gives the features mean 0 and variance 1 over the samples.
fn normalized(b: &Builder, x: &Tensor) -> Tensor {
    let op = Op::Moments {
        axes: vec![0],
        of: MomentsOf::Batch,
    };
    let mean = b.op(op, &[x]).unwrap();
    let variance = Tensor {
        node: mean.node.clone(),
        index: 1,
    };
    let spread = b.binary_scalar(hornbeam_graph::op::BinaryOp::Add, &variance, 1e-3);
    let scale = b.unary(UnaryOp::Rsqrt, &spread.unwrap()).unwrap();
    b.mul(&b.sub(x, &mean).unwrap(), &scale).unwrap()
}

/// The loss: two normalisations, the second of what the first one made.
fn loss(b: &Builder, x: &Tensor, w: &Tensor) -> Tensor {
    let product = b.matmul(x, w, false, false).unwrap();
    let first = b.unary(UnaryOp::Tanh, &normalized(b, &product)).unwrap();
    let bent = b.mul(&first, &b.add(&first, &product).unwrap()).unwrap();
    let second = normalized(b, &bent);
    let cubes = b.mul(&second, &b.mul(&second, &second).unwrap()).unwrap();
    let both = b.add(&cubes, &b.mul(&first, &second).unwrap()).unwrap();
    b.reduce(ReduceOp::Mean, &both, &[0, 1], false).unwrap()
}

fn function(
    inputs: &[&Tensor],
    outputs: &[&Tensor],
    updates: Vec<(Arc<Variable>, Tensor)>,
) -> Arc<Function> {
    let own = |tensors: &[&Tensor]| tensors.iter().copied().cloned().collect();
    let made = Function::new("f".into(), own(inputs), own(outputs), updates, 8);
    Arc::new(made.unwrap())
}

fn weights() -> Vec<f64> {
    (0..WEIGHTS).map(|i| (i as f64 * 1.3).cos()).collect()
}

/// `w -= gradient`; the scalar is the loss.
fn model() -> (Arc<Variable>, Functions) {
    let b = Builder::default();
    let initial = Literal::from_f64(DType::F32, vec![3, FEATURES], &weights());
    let w = Variable::new(&initial).unwrap();
    let x = leaf(DType::F32, vec![None, Some(3)]);
    let multiple = leaf(DType::F32, vec![]);
    let weight = w.tensor();
    let loss = synchronize(&[loss(&b, &x, &weight)], true).unwrap();
    let gradient = autodiff::gradients(&loss, None, &[weight]).unwrap();
    let g = leaf(DType::F32, vec![Some(3), Some(FEATURES)]);
    let s = leaf(DType::F32, vec![]);
    let new = b.sub(&w.tensor(), &g).unwrap();
    let functions = Functions {
        normalizers: None,
        gradient: function(
            &[&x, &multiple],
            &[gradient[0].as_ref().unwrap(), &loss[0]],
            vec![],
        ),
        apply: function(&[&g, &s], &[&s], vec![(w.clone(), new)]),
    };
    (w, functions)
}

fn data() -> Vec<f32> {
    let number = |i: usize| ((i * i) as f32 * 0.37).sin() + (i % 3) as f32 * 5.0;
    (0..ROWS * 3).map(number).collect()
}

fn epoch(data: &[f32], functions: Functions, reducer: Box<dyn Reducer>) -> ShardedEpoch {
    // SAFETY: the tests keep the data until the epoch is gone.
    let x = unsafe { Samples::new(DType::F32, vec![ROWS, 3], data.as_ptr().cast()) };
    ShardedEpoch::new(functions, vec![x], BATCH, None, reducer).unwrap()
}

/// The loss of one process on rows, in float64, as a function of the weights.
struct Whole {
    function: Arc<Function>,
    rows: Vec<u8>,
    count: usize,
}

impl Whole {
    fn new(rows: &[f32]) -> Whole {
        let b = Builder::default();
        let x = leaf(DType::F64, vec![None, Some(3)]);
        let w = leaf(DType::F64, vec![Some(3), Some(FEATURES)]);
        let loss = loss(&b, &x, &w);
        let bytes = rows.iter().flat_map(|&v| f64::from(v).to_ne_bytes());
        Whole {
            function: function(&[&x, &w], &[&loss], vec![]),
            rows: bytes.collect(),
            count: rows.len() / 3,
        }
    }

    fn loss(&self, weights: &[f64]) -> f64 {
        let bytes: Vec<u8> = weights.iter().flat_map(|v| v.to_ne_bytes()).collect();
        let shape = [self.count, 3];
        let array = |shape, bytes| ArrayRef {
            dtype: DType::F64,
            shape,
            bytes,
        };
        let arguments = [
            array(&shape, &self.rows),
            array(&[3, FEATURES], bytes.as_slice()),
        ];
        let read = |plan: &hornbeam_runtime::plan::Plan, inputs: &[&[u8]]| {
            f64::from_ne_bytes(plan.result(0, inputs).try_into().unwrap())
        };
        self.function.call(&arguments, true, read).unwrap()
    }

    /// By central differences.
    fn gradient(&self, weights: &[f64]) -> Vec<f64> {
        let moved = |i: usize, by: f64| {
            let mut weights = weights.to_vec();
            weights[i] += by;
            self.loss(&weights)
        };
        (0..WEIGHTS)
            .map(|i| (moved(i, 1e-5) - moved(i, -1e-5)) / 2e-5)
            .collect()
    }
}

#[test]
fn gradients_are_those_of_the_whole_batch() {
    let data = data();
    // Batches of 8, 8 and 5: equal shards, unequal ones and, with 8 shards, empty ones.
    for shards in [1, 2, 4, 8] {
        for at_once in [true, false] {
            let (w, functions) = model();
            let mut epoch = epoch(&data, functions, Box::new(AllShards(shards)));
            epoch.set_at_once(at_once);
            for batch in data.chunks(BATCH * 3) {
                let before = w.get().to_f64();
                assert_eq!(epoch.run(Some(1), None).unwrap(), 1);
                let whole = Whole::new(batch);
                let (loss, expected) = (epoch.last()[0], whole.loss(&before));
                let near = (loss - expected).abs() < 1e-4 * (1.0 + expected.abs());
                assert!(
                    near,
                    "{shards} shards: the loss {loss} instead of {expected}"
                );
                let changes = w.get().to_f64();
                let changes = before.iter().zip(&changes).map(|(a, b)| a - b);
                for (found, exact) in changes.zip(whole.gradient(&before)) {
                    let near = (found - exact).abs() < 1e-3 * (1.0 + exact.abs());
                    assert!(
                        near,
                        "{shards} shards: the gradient {found} instead of {exact}"
                    );
                }
            }
            let expected = if !at_once {
                0
            } else if shards == 1 {
                3
            } else {
                2
            };
            assert_eq!(epoch.steps_at_once(), expected);
        }
    }
}

#[test]
fn shards_at_once_have_the_bits_of_shards_in_turns() {
    let data = data();
    for shards in [1, 2, 4, 8] {
        let mut ends = Vec::new();
        for at_once in [true, false] {
            let (w, functions) = model();
            let mut epoch = epoch(&data, functions, Box::new(AllShards(shards)));
            epoch.set_at_once(at_once);
            epoch.run(None, None).unwrap();
            ends.push((w.get().bytes.to_vec(), epoch.sums().to_vec()));
        }
        assert_eq!(ends[0], ends[1], "{shards} shards");
    }
}

/// Has shards of which nobody else's are there; fails at one call of all.
struct Failing {
    own: std::ops::Range<u32>,
    fails_at: usize,
    calls: usize,
    abandoned: bool,
}

impl Failing {
    fn new(own: std::ops::Range<u32>, fails_at: usize) -> Failing {
        Failing {
            own,
            fails_at,
            calls: 0,
            abandoned: false,
        }
    }
}

impl Reducer for Failing {
    fn begin(&mut self) -> ReduceResult<(u32, std::ops::Range<u32>)> {
        Ok((4, self.own.clone()))
    }

    fn all_reduce(&mut self, _data: &mut [f32]) -> ReduceResult<()> {
        self.calls += 1;
        assert!(!self.abandoned, "a peer's loss is nothing to tell it");
        if self.calls == self.fails_at {
            return Err("a peer is gone".into());
        }
        Ok(())
    }

    fn abandon(&mut self, _reason: &str) {
        self.abandoned = true;
    }
}

#[test]
fn a_step_that_fails_between_exchanges_changes_nothing_and_runs_again() {
    let data = data();
    let (undisturbed, functions) = model();
    epoch(&data, functions, Box::new(AllShards(4)))
        .run(None, None)
        .unwrap();
    // Two exchanges going forward, two going back and the gradients' sum.
    for fails_at in 1..=10 {
        for at_once in [true, false] {
            let (w, functions) = model();
            let before = w.get().bytes.to_vec();
            let reducer = Box::new(Failing::new(0..4, fails_at));
            let mut epoch = epoch(&data, functions, reducer);
            epoch.set_at_once(at_once);
            let error = epoch.run(None, None).unwrap_err();
            assert!(matches!(error, RuntimeError::Reduce(_)), "{error}");
            assert_eq!(epoch.steps_done(), (fails_at - 1) / 5);
            assert_eq!(w.get().bytes.to_vec() == before, fails_at <= 5);
            epoch.run(None, None).unwrap();
            assert_eq!(w.get().bytes, undisturbed.get().bytes);
        }
    }
}

/// Tells what its peers are told, after how many calls.
struct Telling {
    calls: usize,
    told: Arc<std::sync::Mutex<Vec<(usize, String)>>>,
}

impl Reducer for Telling {
    fn begin(&mut self) -> ReduceResult<(u32, std::ops::Range<u32>)> {
        Ok((4, 0..4))
    }

    fn all_reduce(&mut self, _data: &mut [f32]) -> ReduceResult<()> {
        self.calls += 1;
        Ok(())
    }

    fn abandon(&mut self, reason: &str) {
        let told = (self.calls, reason.to_string());
        self.told.lock().unwrap().push(told);
    }
}

/// The mean of `table[x]`, looked up behind an exchange.
fn looking_up() -> (Arc<Variable>, Functions) {
    let b = Builder::default();
    let table = Literal::from_f64(DType::F32, vec![4], &[0.5, 1.0, 2.0, 3.0]);
    let table = Variable::new(&table).unwrap();
    let x = leaf(DType::F32, vec![None, Some(3)]);
    let multiple = leaf(DType::F32, vec![]);
    let op = Op::Moments {
        axes: vec![0],
        of: MomentsOf::Batch,
    };
    let none = b.scale(&b.op(op, &[&x]).unwrap(), 0.0).unwrap();
    let rows = b.add(&x, &none).unwrap();
    let index = b.op(Op::Cast(DType::I64), &[&rows]).unwrap();
    let weight = table.tensor();
    let found = b.op(Op::Gather { axis: 0 }, &[&weight, &index]).unwrap();
    let loss = b.reduce(ReduceOp::Mean, &found, &[0, 1], false).unwrap();
    let loss = synchronize(&[loss], true).unwrap();
    let gradient = autodiff::gradients(&loss, None, &[weight]).unwrap();
    let (g, s) = (leaf(DType::F32, vec![Some(4)]), leaf(DType::F32, vec![]));
    let new = b.sub(&table.tensor(), &g).unwrap();
    let outputs = [gradient[0].as_ref().unwrap(), &loss[0]];
    let functions = Functions {
        normalizers: None,
        gradient: function(&[&x, &multiple], &outputs, vec![]),
        apply: function(&[&g, &s], &[&s], vec![(table.clone(), new)]),
    };
    (table, functions)
}

#[test]
fn what_fails_behind_an_exchange_is_told_and_changes_nothing() {
    let mut data: Vec<f32> = (0..ROWS * 3).map(|i| (i % 4) as f32).collect();
    data[(BATCH + 5) * 3] = 9.0;
    for at_once in [true, false] {
        let (table, functions) = looking_up();
        let told = Arc::<std::sync::Mutex<Vec<(usize, String)>>>::default();
        let reducer = Telling {
            calls: 0,
            told: Arc::clone(&told),
        };
        let mut epoch = epoch(&data, functions, Box::new(reducer));
        epoch.set_at_once(at_once);
        epoch.run(Some(1), None).unwrap();
        let before = table.get().bytes.to_vec();
        let error = epoch.run(None, None).unwrap_err();
        assert!(matches!(error, RuntimeError::Kernel { .. }), "{error}");
        assert_eq!(epoch.steps_done(), 1);
        assert_eq!(table.get().bytes.to_vec(), before);
        // One exchange and the sum of the first step, one exchange of the second.
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, 3);
        assert!(told[0].1.contains('9'), "{told:?}");
    }
}

/// Counts its calls and gives ones.
struct Counting {
    own: std::ops::Range<u32>,
    calls: Arc<std::sync::Mutex<Vec<usize>>>,
}

impl Reducer for Counting {
    fn begin(&mut self) -> ReduceResult<(u32, std::ops::Range<u32>)> {
        Ok((8, self.own.clone()))
    }

    fn all_reduce(&mut self, data: &mut [f32]) -> ReduceResult<()> {
        self.calls.lock().unwrap().push(data.len());
        data.fill(1.0);
        Ok(())
    }

    fn abandon(&mut self, _reason: &str) {}
}

#[test]
fn processes_without_rows_take_part() {
    let data = data();
    let mut lengths = Vec::new();
    // One shard, none, and in the last batch of 5 one without rows.
    for own in [7..8, 0..0, 0..1] {
        let (_, functions) = model();
        let calls = Arc::default();
        let reducer = Counting {
            own,
            calls: Arc::clone(&calls),
        };
        let mut epoch = epoch(&data, functions, Box::new(reducer));
        epoch.run(None, None).unwrap();
        lengths.push(calls.lock().unwrap().clone());
    }
    assert_eq!(lengths[0].len(), 15);
    assert_eq!(lengths[0][..4], [64, 64, 8, 8]);
    assert_eq!(lengths[0], lengths[1]);
    assert_eq!(lengths[0], lengths[2]);
}

#[test]
fn what_other_shards_have_is_asked_for_in_order() {
    let b = Builder::default();
    let x = leaf(DType::F32, vec![Some(2)]);
    let over = |place: u32, x: &Tensor| {
        let combine = Combine::Mean;
        b.op(
            Op::OverShards(OverShards {
                place,
                combine,
                shards: None,
                after: false,
            }),
            &[x],
        )
        .unwrap()
    };
    let (late, early) = (over(5, &x), over(2, &x));
    let deep = (0..6).fold(x.clone(), |y, _| b.unary(UnaryOp::Tanh, &y).unwrap());
    let deep = over(1, &deep);
    let first = function(&[&x], &[&late, &early, &deep], vec![]);
    let plan = first.plan(&[vec![2]], true).unwrap();
    let shown = format!("{plan}");
    let at = |place: u32| shown.find(&format!("mean_over_shards[{place}]")).unwrap();
    assert!(at(1) < at(2) && at(2) < at(5), "{shown}");
    // What waits for itself is told.
    let circle = over(1, &b.unary(UnaryOp::Tanh, &over(3, &x)).unwrap());
    let error = function(&[&x], &[&circle], vec![]).plan(&[vec![2]], true);
    assert!(error.is_err());
}

/// Branches whose statistics do not depend on each other, in a fused graph.
#[test]
fn branches_exchange_in_one_order() {
    let b = Builder::default();
    let x = leaf(DType::F32, vec![None, Some(3)]);
    let w = leaf(DType::F32, vec![Some(3), Some(FEATURES)]);
    let product = b.matmul(&x, &w, false, false).unwrap();
    let mut sum = product.clone();
    for _ in 0..3 {
        let shortcut = normalized(&b, &b.unary(UnaryOp::Tanh, &sum).unwrap());
        let deep = normalized(&b, &b.unary(UnaryOp::Relu, &normalized(&b, &sum)).unwrap());
        sum = b.add(&shortcut, &deep).unwrap();
    }
    let cubes = b.mul(&sum, &b.mul(&sum, &sum).unwrap()).unwrap();
    let loss = b.reduce(ReduceOp::Mean, &cubes, &[0, 1], false).unwrap();
    let loss = synchronize(&[loss], true).unwrap();
    let gradient = autodiff::gradients(&loss, None, std::slice::from_ref(&w)).unwrap();
    let f = function(&[&x, &w], &[gradient[0].as_ref().unwrap()], vec![]);
    let mut orders = Vec::new();
    for rows in [1, 2, 5, 400] {
        let plan = f.plan(&[vec![rows, 3], vec![3, FEATURES]], true).unwrap();
        let shown = format!("{plan}");
        let found = |line: &str| {
            let at = line.find("_over_shards[")?;
            Some(line[at..].split(']').next()?.to_string())
        };
        orders.push(shown.lines().filter_map(found).collect::<Vec<_>>());
    }
    assert_eq!(orders[0].len(), 18);
    assert!(orders.iter().all(|order| *order == orders[0]));
}

/// Nothing is exchanged by who runs a function for itself.
#[test]
fn one_process_alone_is_the_whole_batch() {
    let (_, functions) = model();
    let data = data();
    let shape = [ROWS, 3];
    // SAFETY: any float is four bytes.
    let bytes = unsafe { std::slice::from_raw_parts(data.as_ptr().cast(), data.len() * 4) };
    let one = 1f32.to_ne_bytes();
    let array = |shape, bytes| ArrayRef {
        dtype: DType::F32,
        shape,
        bytes,
    };
    let arguments = [array(&shape, bytes), array(&[], &one)];
    let read = |plan: &hornbeam_runtime::plan::Plan, inputs: &[&[u8]]| {
        f32::from_ne_bytes(plan.result(1, inputs).try_into().unwrap())
    };
    let found = functions.gradient.call(&arguments, true, read).unwrap();
    let expected = Whole::new(&data).loss(&weights());
    assert!((f64::from(found) - expected).abs() < 1e-4);
    drop(exclusive());
}
