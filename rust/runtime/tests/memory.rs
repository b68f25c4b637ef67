//! Random programs: what the scheduler, the arena and updates in place make of them against one
//! operation after the other, each in memory of its own.

use std::collections::HashMap;
use std::sync::Arc;

use hornbeam_graph::compile::Evaluator;
use hornbeam_graph::op::{BinaryOp, Epilogue, ReduceOp, UnaryOp};
use hornbeam_graph::program::{Source, Value};
use hornbeam_graph::{DType, Literal, Node, Op, Tensor, TensorType, shape};
use hornbeam_runtime::RuntimeError;
use hornbeam_runtime::buffer::exclusive;
use hornbeam_runtime::dispatch::{Constants, RunContext};
use hornbeam_runtime::function::{ArrayRef, Function};
use hornbeam_runtime::plan::{Plan, Spot};
use hornbeam_runtime::sharded::{Memory, zeroed};
use hornbeam_runtime::variable::Variable;
use proptest::prelude::*;

const N: usize = 4;

fn noise(seed: u64, n: usize) -> Vec<f64> {
    let mut state = seed | 1;
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / f64::from(1u32 << 23) - 1.0
        })
        .collect()
}

fn literal(seed: u64) -> Literal {
    Literal::from_f64(DType::F64, vec![N, N], &noise(seed, N * N))
}

fn node(op: Op, inputs: &[&Tensor]) -> Tensor {
    Node::build(op, inputs.iter().map(|&t| t.clone()).collect(), None).unwrap()
}

fn ints(values: &[i64]) -> Tensor {
    let literal = Literal::ints(values);
    let ty = TensorType {
        dtype: DType::I64,
        shape: shape::known(&literal.shape),
    };
    Node::leaf(Op::Constant(literal), ty, None)
}

/// One step of a random graph over N x N matrices: which operation, on which earlier values.
fn grow(pool: &mut Vec<Tensor>, (kind, a, b): (u8, usize, usize)) {
    let (x, y) = (&pool[a % pool.len()].clone(), &pool[b % pool.len()].clone());
    let new = match kind % 9 {
        0 => node(Op::Binary(BinaryOp::Add), &[x, y]),
        1 => node(Op::Binary(BinaryOp::Mul), &[x, y]),
        2 => node(Op::Unary(UnaryOp::Tanh), &[x]),
        3 => node(Op::Transpose { perm: vec![1, 0] }, &[x]),
        4 => {
            let op = Op::MatMul {
                transpose_a: false,
                transpose_b: true,
                epilogue: Epilogue::default(),
            };
            let product = node(op, &[x, y]);
            node(Op::Unary(UnaryOp::Sin), &[&product])
        }
        5 => {
            let sum = Op::Reduce {
                op: ReduceOp::Sum,
                axes: vec![0],
                keepdims: true,
            };
            let column = node(sum, &[x]);
            node(Op::Binary(BinaryOp::Sub), &[y, &column])
        }
        6 => {
            let flat = node(Op::Reshape, &[x, &ints(&[(N * N) as i64])]);
            node(Op::Reshape, &[&flat, &ints(&[N as i64, N as i64])])
        }
        7 => node(Op::Reverse { axes: vec![1] }, &[x]),
        _ => node(Op::Binary(BinaryOp::Max), &[x, y]),
    };
    pool.push(new);
}

/// The value of a tensor, its operands computed first, nothing shared.
fn plain(t: &Tensor, known: &mut HashMap<(u64, usize), Literal>) -> Literal {
    if let Some(value) = known.get(&t.key()) {
        return value.clone();
    }
    if let Op::Constant(value) = &t.node.op {
        return value.clone();
    }
    let operands: Vec<Literal> = t.node.inputs.iter().map(|i| plain(i, known)).collect();
    let outputs: Vec<Value> = t
        .node
        .outputs
        .iter()
        .enumerate()
        .map(|(output, ty)| Value {
            dtype: ty.dtype,
            shape: shape::concrete(&ty.shape).unwrap(),
            source: Source::Inst { inst: 0, output },
        })
        .collect();
    let results = Constants
        .eval(&t.node.op, &operands.iter().collect::<Vec<_>>(), &outputs)
        .unwrap();
    let value = results[t.index].clone();
    known.insert(t.key(), value.clone());
    value
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| (a - b).abs() <= 1e-9 * (1.0 + b.abs()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn planned_programs_compute_what_plain_ones_do(
        steps in prop::collection::vec((any::<u8>(), any::<usize>(), any::<usize>()), 1..24),
        outputs in prop::collection::vec(any::<usize>(), 1..4),
        updates in prop::collection::vec(any::<usize>(), 0..3),
    ) {
        let ty = TensorType { dtype: DType::F64, shape: shape::known(&[N, N]) };
        let input = Node::leaf(Op::Placeholder, ty, None);
        let variables: Vec<Arc<Variable>> =
            (0..3).map(|k| Variable::new(&literal(100 + k)).unwrap()).collect();
        let mut pool = vec![input.clone()];
        pool.extend(variables.iter().map(Variable::tensor));
        let leaves = pool.clone();
        for step in steps {
            grow(&mut pool, step);
        }
        let pick = |k: &usize| pool[k % pool.len()].clone();
        let outputs: Vec<Tensor> = outputs.iter().map(pick).collect();
        let updates: Vec<(Arc<Variable>, Tensor)> =
            variables.iter().cloned().zip(updates.iter().map(pick)).collect();
        let given = literal(7);
        let function = Function::new(
            "random".into(), vec![input], outputs.clone(), updates.clone(), 1,
        ).unwrap();
        // Twice: the second run begins with what the first left in arena and variables.
        for _ in 0..2 {
            let mut known = HashMap::new();
            known.insert(leaves[0].key(), given.clone());
            for (leaf, variable) in leaves[1..].iter().zip(&variables) {
                known.insert(leaf.key(), variable.get());
            }
            let want: Vec<Literal> = outputs.iter().map(|t| plain(t, &mut known)).collect();
            let new: Vec<Literal> = updates.iter().map(|(_, t)| plain(t, &mut known)).collect();
            let argument =
                ArrayRef { dtype: DType::F64, shape: &[N, N], bytes: &given.bytes };
            let got: Vec<Vec<f64>> = function.call(&[argument], true, |plan, bytes| {
                (0..plan.outputs())
                    .map(|k| {
                        let v = plan.output(k);
                        Literal::new(v.dtype, v.shape.clone(), plan.result(k, bytes)).to_f64()
                    })
                    .collect()
            }).unwrap();
            for (got, want) in got.iter().zip(&want) {
                prop_assert!(close(got, &want.to_f64()), "{got:?} {want:?}");
            }
            for ((variable, _), new) in updates.iter().zip(&new) {
                prop_assert!(close(&variable.get().to_f64(), &new.to_f64()));
            }
        }
    }
}

/// The bits that stand for memory that is no longer the plan's.
const TAKEN: u32 = 0x7fc0_1234;

/// A function of one N x N matrix of float32.
fn of_floats(outputs: Vec<Tensor>, input: Tensor) -> Function {
    Function::new("direct".into(), vec![input], outputs, vec![], 1).unwrap()
}

fn direct(function: &Function) -> Plan {
    let plan = function.plan(&[vec![N, N]], true).unwrap();
    Plan::direct(plan.program().clone()).unwrap()
}

fn float_input() -> Tensor {
    let ty = TensorType {
        dtype: DType::F32,
        shape: shape::known(&[N, N]),
    };
    Node::leaf(Op::Placeholder, ty, None)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn results_are_final_when_it_is_said(
        steps in prop::collection::vec((any::<u8>(), any::<usize>(), any::<usize>()), 1..24),
        outputs in prop::collection::vec((any::<usize>(), any::<bool>()), 1..8),
    ) {
        let input = float_input();
        let given = Literal::from_f64(DType::F32, vec![N, N], &noise(7, N * N));
        let constant = Variable::new(&Literal::from_f64(DType::F32, vec![N, N], &noise(8, N * N)));
        let mut pool = vec![input.clone(), constant.unwrap().tensor()];
        for step in steps {
            grow(&mut pool, step);
        }
        let results = outputs.iter().map(|(k, _)| pool[k % pool.len()].clone()).collect();
        let function = of_floats(results, input);
        let argument = ArrayRef { dtype: DType::F32, shape: &[N, N], bytes: &given.bytes };
        let want: Vec<Vec<f32>> = function.call(&[argument], true, |plan, bytes| {
            let result = |k| Literal::new(DType::F32, vec![N, N], plan.result(k, bytes)).to_f64();
            let result = |k| result(k).into_iter().map(|x| x as f32).collect();
            (0..plan.outputs()).map(result).collect()
        }).unwrap();
        let mut plan = direct(&function);
        let (mut lengths, mut spots) = (vec![], vec![]);
        for (k, &(_, fresh)) in outputs.iter().enumerate() {
            if fresh || k == 0 {
                lengths.push(0);
            }
            let block = lengths.len() - 1;
            spots.push(Spot { block, first: lengths[block] });
            lengths[block] += N * N;
        }
        let mut blocks: Vec<Memory> = lengths.iter().map(|&n| zeroed(n).unwrap()).collect();
        let held = exclusive();
        for _ in 0..2 {
            let mut taken = vec![vec![]; blocks.len()];
            let mut order = vec![];
            let mut done = |block: usize, memory: &mut Memory| {
                assert!(taken[block].is_empty(), "block {block} comes twice");
                taken[block] = memory.to_vec();
                order.push(block);
                // Whoever reads or writes it from here on is found out.
                memory.fill(f32::from_bits(TAKEN));
                Ok(())
            };
            let context = RunContext::default();
            plan.run_into(&[&given.bytes], &mut blocks, &spots, &mut done, context, &held).unwrap();
            for (k, spot) in spots.iter().enumerate() {
                let got = &taken[spot.block][spot.first..spot.first + N * N];
                let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(got), bits(&want[k]), "result {}", k);
            }
            let untouched = blocks.iter().all(|b| b.iter().all(|x| x.to_bits() == TAKEN));
            prop_assert!(untouched, "a block was written to after it was done");
            let after = |block: usize| {
                let own = spots.iter().zip(0..).filter(|(s, _)| s.block == block);
                own.map(|(_, k)| plan.final_after(k)).max()
            };
            prop_assert!(order.iter().map(|&b| after(b)).is_sorted());
        }
    }
}

/// A chain of products, each of which is a result.
fn chain(length: usize) -> (Tensor, Vec<Tensor>) {
    let op = || Op::MatMul {
        transpose_a: false,
        transpose_b: true,
        epilogue: Epilogue::default(),
    };
    let input = float_input();
    let mut results = vec![input.clone()];
    for _ in 0..length {
        results.push(node(op(), &[results.last().unwrap(), &input]));
    }
    (input, results.split_off(1))
}

#[test]
fn blocks_are_done_between_the_calls() {
    let (input, results) = chain(5);
    let mut plan = direct(&of_floats(results, input));
    let bytes = vec![0u8; N * N * 4];
    let spots: Vec<Spot> = (0..5).map(|block| Spot { block, first: 0 }).collect();
    let blocks = || -> Vec<Memory> { (0..5).map(|_| zeroed(N * N).unwrap()).collect() };
    // Each product is read once more by the next call, but for the last.
    let after: Vec<usize> = (0..5).map(|k| plan.final_after(k)).collect();
    assert_eq!((plan.calls(), after), (5, vec![2, 3, 4, 5, 5]));
    let held = exclusive();
    let mut seen = vec![];
    let mut done = |block: usize, _: &mut Memory| match block {
        2 => Err(RuntimeError::Argument("enough".into())),
        _ => {
            seen.push(block);
            Ok(())
        }
    };
    let context = RunContext::default();
    let error = plan
        .run_into(&[&bytes], &mut blocks(), &spots, &mut done, context, &held)
        .unwrap_err();
    assert_eq!((error.to_string().as_str(), seen), ("enough", vec![0, 1]));
}

#[test]
fn places_that_do_not_fit_are_refused() {
    let (input, results) = chain(2);
    let mut plan = direct(&of_floats(results, input));
    let bytes = vec![0u8; N * N * 4];
    let held = exclusive();
    let spot = |block, first| Spot { block, first };
    let mut refusal = |spots: &[Spot]| {
        let mut blocks = vec![zeroed(32).unwrap(), zeroed(16).unwrap()];
        let mut done = |_: usize, _: &mut Memory| Ok(());
        let context = RunContext::default();
        let outcome = plan.run_into(&[&bytes], &mut blocks, spots, &mut done, context, &held);
        outcome.err().map(|error| error.to_string())
    };
    assert_eq!(refusal(&[spot(0, 0), spot(0, 16)]), None);
    assert_eq!(refusal(&[spot(0, 0), spot(1, 0)]), None);
    // In any order.
    assert_eq!(refusal(&[spot(0, 16), spot(0, 0)]), None);
    assert_eq!(refusal(&[spot(1, 0), spot(0, 0)]), None);
    for (spots, words) in [
        (vec![spot(0, 0)], "1 places for the plan's 2 results"),
        (vec![spot(0, 0), spot(0, 0)], "overlaps"),
        (vec![spot(0, 16), spot(0, 16)], "overlaps"),
        (vec![spot(0, 0), spot(1, 16)], "no room"),
        (vec![spot(0, 0), spot(2, 0)], "no room"),
        (vec![spot(0, 0), spot(0, usize::MAX)], "no room"),
        (vec![spot(0, 8), spot(1, 0)], "not aligned"),
    ] {
        let refused = refusal(&spots).unwrap();
        assert!(refused.contains(words), "{spots:?}: {refused}");
    }
    let inputs: [&[u8]; 1] = [&bytes];
    let error = plan.run(&inputs, RunContext::default(), &held).unwrap_err();
    assert!(error.to_string().contains("run_into"), "{error}");
}

#[test]
fn only_float_results_without_updates_are_put_elsewhere() {
    let input = float_input();
    let whole = node(Op::Cast(DType::I32), &[&input]);
    let mut plan = direct(&of_floats(vec![whole], input.clone()));
    let bytes = vec![0u8; N * N * 4];
    let mut blocks = vec![zeroed(N * N).unwrap()];
    let spots = [Spot { block: 0, first: 0 }];
    let mut done = |_: usize, _: &mut Memory| Ok(());
    let (context, held) = (RunContext::default(), exclusive());
    let error = plan
        .run_into(&[&bytes], &mut blocks, &spots, &mut done, context, &held)
        .unwrap_err();
    assert!(error.to_string().contains("not float32"), "{error}");
    drop(held);
    let variable = Variable::new(&Literal::from_f64(DType::F32, vec![N, N], &noise(8, N * N)));
    let updates = vec![(variable.unwrap(), input.clone())];
    let function = Function::new("f".into(), vec![input.clone()], vec![input], updates, 1).unwrap();
    let plan = function.plan(&[vec![N, N]], true).unwrap();
    let error = Plan::direct(plan.program().clone()).map(drop).unwrap_err();
    assert!(error.to_string().contains("updates"), "{error}");
}
