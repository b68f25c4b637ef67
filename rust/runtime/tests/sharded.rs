//! Sharded steps against a computation by hand, with failures in between.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use hornbeam_graph::build::Builder;
use hornbeam_graph::op::ReduceOp;
use hornbeam_graph::{DType, Literal, Node, Op, Tensor, TensorType};
use hornbeam_runtime::epoch::Samples;
use hornbeam_runtime::sharded::{AllShards, Functions, ReduceResult, Reducer, ShardedEpoch};
use hornbeam_runtime::{Function, RuntimeError, Variable};

const ROWS: usize = 13;
const BATCH: usize = 5;

fn placeholder(shape: Vec<Option<usize>>) -> Tensor {
    let ty = TensorType {
        dtype: DType::F32,
        shape,
    };
    Node::leaf(Op::Placeholder, ty, None)
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

/// `w -= mean(x) / mean(x²)`, both means over the rows of the batch; the scalar is the mean of x.
fn model(normalized: bool) -> (Arc<Variable>, Functions) {
    let b = Builder::default();
    let w = Variable::new(&Literal::from_f64(DType::F32, vec![2], &[0.5, -0.25])).unwrap();
    let x = placeholder(vec![None, Some(2)]);
    let (given, multiple) = (placeholder(vec![]), placeholder(vec![]));
    let mean = |t: &Tensor, axes: &[usize]| b.reduce(ReduceOp::Mean, t, axes, false).unwrap();
    let of_rows = mean(&x, &[0]);
    let gradient = if normalized {
        b.div(&of_rows, &given).unwrap()
    } else {
        of_rows
    };
    let scalar = mean(&x, &[0, 1]);
    let squares = mean(&b.mul(&x, &x).unwrap(), &[0, 1]);
    let (g, s) = (placeholder(vec![Some(2)]), placeholder(vec![]));
    let new = b.sub(&w.tensor(), &g).unwrap();
    let mut inputs = vec![&x, &multiple];
    if normalized {
        inputs.insert(1, &given);
    }
    let functions = Functions {
        normalizers: normalized.then(|| function(&[&x], &[&squares], vec![])),
        gradient: function(&inputs, &[&gradient, &scalar], vec![]),
        apply: function(&[&g, &s], &[&s], vec![(w.clone(), new)]),
    };
    (w, functions)
}

fn data() -> Vec<f32> {
    (0..ROWS * 2)
        .map(|i| ((i * i) as f32 * 0.37).sin())
        .collect()
}

fn epoch(data: &[f32], functions: Functions, reducer: Box<dyn Reducer>) -> ShardedEpoch {
    // SAFETY: the tests keep the data until the epoch is gone.
    let x = unsafe { Samples::new(DType::F32, vec![ROWS, 2], data.as_ptr().cast()) };
    let order = Some((0..ROWS as i64).rev().collect());
    ShardedEpoch::new(functions, vec![x], BATCH, order, reducer).unwrap()
}

fn bits(w: &Variable) -> Vec<u8> {
    w.get().bytes.to_vec()
}

/// The weights after each step, and the mean of all x.
fn by_hand(data: &[f32], normalized: bool) -> (Vec<[f64; 2]>, f64) {
    let rows: Vec<[f64; 2]> = data
        .chunks(2)
        .rev()
        .map(|r| [r[0].into(), r[1].into()])
        .collect();
    let mut w = [0.5, -0.25];
    let mut steps = Vec::new();
    for batch in rows.chunks(BATCH) {
        let n = batch.len() as f64;
        let squares: f64 = batch.iter().flatten().map(|x| x * x).sum::<f64>() / (2.0 * n);
        for (c, w) in w.iter_mut().enumerate() {
            let mean = batch.iter().map(|r| r[c]).sum::<f64>() / n;
            *w -= if normalized { mean / squares } else { mean };
        }
        steps.push(w);
    }
    let all = rows.iter().flatten().sum::<f64>() / (2 * ROWS) as f64;
    (steps, all)
}

#[test]
fn steps_compute_means_over_the_batch() {
    let data = data();
    for normalized in [false, true] {
        let (steps, all) = by_hand(&data, normalized);
        // With 8 shards a batch of 5 leaves some empty, and the last batch of 3 more.
        for shards in [1, 2, 4, 8] {
            let (w, functions) = model(normalized);
            let mut epoch = epoch(&data, functions, Box::new(AllShards(shards)));
            for expected in &steps {
                assert_eq!(epoch.run(Some(1), None).unwrap(), 1);
                for (a, b) in w.get().to_f64().iter().zip(expected) {
                    assert!((a - b).abs() < 1e-5, "{shards} shards: {a} instead of {b}");
                }
            }
            assert_eq!(epoch.run(None, None).unwrap(), 0);
            assert!((epoch.means()[0] - all).abs() < 1e-6);
        }
    }
}

/// Fails where the plan says so, and else adds what the other half of the shards gave.
struct Half {
    own: Range<u32>,
    /// One result for each call, or a failure.
    plan: Vec<Option<Vec<f32>>>,
    given: Arc<Mutex<Vec<Vec<f32>>>>,
}

impl Reducer for Half {
    fn begin(&mut self) -> ReduceResult<(u32, Range<u32>)> {
        Ok((2, self.own.clone()))
    }

    fn all_reduce(&mut self, data: &mut [f32]) -> ReduceResult<()> {
        self.given.lock().unwrap().push(data.to_vec());
        match self.plan.remove(0) {
            Some(other) => {
                data.iter_mut().zip(other).for_each(|(x, y)| *x += y);
                Ok(())
            }
            None => Err("the other half is gone".into()),
        }
    }

    fn abandon(&mut self, _reason: &str) {}
}

/// What shard 1 of 2 gives in every step.
fn other_half(data: &[f32]) -> Vec<Option<Vec<f32>>> {
    let given = Arc::new(Mutex::new(Vec::new()));
    let half = Half {
        own: 1..2,
        plan: vec![Some(vec![]); 3],
        given: given.clone(),
    };
    epoch(data, model(false).1, Box::new(half))
        .run(None, None)
        .unwrap();
    let given = given.lock().unwrap().clone();
    given.into_iter().map(Some).collect()
}

#[test]
fn a_failed_step_changes_nothing_and_runs_again() {
    let data = data();
    let (whole, functions) = model(false);
    let mut undisturbed = epoch(&data, functions, Box::new(AllShards(2)));
    undisturbed.run(None, None).unwrap();
    let mut plan = other_half(&data);
    plan.insert(1, None);
    let (w, functions) = model(false);
    let given = Arc::default();
    let half = Half {
        own: 0..1,
        plan,
        given,
    };
    let mut disturbed = epoch(&data, functions, Box::new(half));
    disturbed.run(Some(1), None).unwrap();
    let before = bits(&w);
    let averages = disturbed.averages().unwrap();
    let error = disturbed.run(None, None).unwrap_err();
    assert!(matches!(error, RuntimeError::Reduce(_)), "{error}");
    assert_eq!((bits(&w), disturbed.steps_done()), (before, 1));
    // What the step before applied is still there for whoever missed it.
    assert_eq!(disturbed.averages().unwrap(), averages);
    disturbed.run(None, None).unwrap();
    assert_eq!(bits(&w), bits(&whole));
    assert_eq!(disturbed.means(), undisturbed.means());
}

#[test]
fn a_missed_step_is_caught_up_with() {
    let data = data();
    let (ahead, functions) = model(true);
    let mut first = epoch(&data, functions, Box::new(AllShards(4)));
    let (behind, functions) = model(true);
    let mut second = epoch(&data, functions, Box::new(AllShards(4)));
    for step in 1..=3 {
        first.run(Some(1), None).unwrap();
        assert!(second.catch_up(&[0.0; 3]).is_err());
        second.catch_up(&first.averages().unwrap()).unwrap();
        assert_eq!(bits(&ahead), bits(&behind));
        assert_eq!(
            (second.steps_done(), second.step_number()),
            (step, step as u64)
        );
        assert_eq!(first.sums(), second.sums());
    }
    let averages = first.averages().unwrap();
    assert!(second.catch_up(&averages).is_err());
}

#[test]
fn a_pass_is_resumed_where_another_is() {
    let data = data();
    let (first, functions) = model(false);
    let mut one = epoch(&data, functions, Box::new(AllShards(2)));
    one.run(Some(2), None).unwrap();
    let (second, functions) = model(false);
    let mut two = epoch(&data, functions, Box::new(AllShards(2)));
    second.set(&first.get().bytes).unwrap();
    assert!(two.resume(4, one.sums(), None).is_err());
    two.resume(2, one.sums(), Some(one.last())).unwrap();
    assert_eq!((two.means(), two.last()), (one.means(), one.last()));
    one.run(None, None).unwrap();
    two.run(None, None).unwrap();
    assert_eq!(bits(&first), bits(&second));
    assert_eq!(one.means(), two.means());
}
