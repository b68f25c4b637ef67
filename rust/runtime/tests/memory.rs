//! Random programs: what the scheduler, the arena and updates in place make of them against one
//! operation after the other, each in memory of its own.

use std::collections::HashMap;
use std::sync::Arc;

use hornbeam_graph::compile::Evaluator;
use hornbeam_graph::op::{BinaryOp, Epilogue, ReduceOp, UnaryOp};
use hornbeam_graph::program::{Source, Value};
use hornbeam_graph::{DType, Literal, Node, Op, Tensor, TensorType, shape};
use hornbeam_runtime::dispatch::Constants;
use hornbeam_runtime::function::{ArrayRef, Function};
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
