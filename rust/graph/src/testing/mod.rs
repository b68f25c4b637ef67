//! A reference interpreter for tests: every operation as plain loops in `f64`, written from the
//! operations' definitions alone, and evaluation of graphs and programs with it.

mod elementwise;
mod moving;
mod windows;

use std::collections::HashMap;

use crate::compile::{Evaluator, Options, Request, compile};
use crate::dtype::DType;
use crate::literal::Literal;
use crate::node::Tensor;
use crate::op::{Op, VarId};
use crate::ops::infer_concrete;
use crate::program::{Program, Source, Value};
use crate::shape::concrete;

/// A tensor of numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f64>,
}

impl Array {
    pub(crate) fn new(dtype: DType, shape: &[usize], data: Vec<f64>) -> Array {
        assert_eq!(data.len(), shape.iter().product::<usize>());
        let shape = shape.to_vec();
        Array { dtype, shape, data }
    }

    pub(crate) fn of(literal: &Literal) -> Array {
        Array::new(literal.dtype, &literal.shape, literal.to_f64())
    }

    pub(crate) fn literal(&self) -> Literal {
        Literal::from_f64(self.dtype, self.shape.clone(), &self.data)
    }

    /// The element at an index of a shape that this array broadcasts to.
    fn at(&self, index: &[usize]) -> f64 {
        let skip = index.len() - self.shape.len();
        let flat = self
            .shape
            .iter()
            .zip(&index[skip..])
            .fold(0, |f, (&n, &i)| f * n + if n == 1 { 0 } else { i });
        self.data[flat]
    }

    fn ints(&self) -> Vec<i64> {
        self.data.iter().map(|&v| v as i64).collect()
    }
}

/// All indices of a shape, the last axis fastest.
fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let n = shape.iter().product();
    (0..n).map(|flat| unravel(flat, shape)).collect()
}

fn unravel(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, &n) in index.iter_mut().zip(shape).rev() {
        *i = flat % n;
        flat /= n;
    }
    index
}

fn ravel(index: &[usize], shape: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |f, (&i, &n)| f * n + i)
}

/// The outputs of an operation, whose types are `outputs`.
pub(crate) fn eval(op: &Op, x: &[&Array], outputs: &[(DType, Vec<usize>)]) -> Vec<Array> {
    let results = compute(op, x, outputs);
    let arrays = results.into_iter().zip(outputs);
    arrays
        .map(|(data, (d, s))| Array::new(*d, s, data))
        .collect()
}

fn compute(op: &Op, x: &[&Array], outputs: &[(DType, Vec<usize>)]) -> Vec<Vec<f64>> {
    let shape = &outputs[0].1;
    let one = match op {
        Op::Placeholder | Op::Variable(_) | Op::LearningPhase => panic!("{op:?} is a leaf"),
        Op::Constant(l) => l.to_f64(),
        Op::Unary(f) => map(x, shape, |v| elementwise::unary(*f, v[0])),
        Op::Binary(f) => map(x, shape, |v| {
            elementwise::binary(*f, v[0], v[1], x[0].dtype)
        }),
        Op::Select => map(x, shape, |v| if v[0] != 0.0 { v[1] } else { v[2] }),
        Op::Cast(dtype) => map(x, shape, |v| elementwise::cast(v[0], *dtype)),
        Op::SigmoidCrossEntropy => map(x, shape, |v| {
            v[0].max(0.0) - v[0] * v[1] + (-v[0].abs()).exp().ln_1p()
        }),
        Op::Identity | Op::StopGradient | Op::Reshape | Op::Print { .. } => x[0].data.clone(),
        Op::BroadcastTo => map(&x[..1], shape, |v| v[0]),
        Op::Reduce { op, axes, .. } => moving::reduce(*op, x[0], axes),
        Op::ArgReduce { op, axis } => moving::arg_reduce(*op, x[0], *axis),
        Op::Cumulative {
            op,
            axis,
            exclusive,
            reverse,
        } => moving::cumulative(*op, x[0], *axis, *exclusive, *reverse),
        Op::Moments { axes, .. } => return moving::moments(x[0], axes),
        // Of one shard.
        Op::OverShards(_) => return x.iter().map(|x| x.data.clone()).collect(),
        Op::ShapeOf => x[0].shape.iter().map(|&n| n as f64).collect(),
        Op::SumTo => moving::sum_to(x[0], shape),
        Op::Transpose { perm } => moving::transpose(x[0], perm, shape),
        Op::Slice(ranges) => moving::slice(x[0], ranges, shape),
        Op::SliceGrad(ranges) => moving::slice_grad(x[0], ranges, shape),
        Op::Pad { cells, value } => moving::pad(x[0], cells, f64::from_bits(*value), shape),
        Op::Concat { axis } => moving::concat(x, *axis, shape),
        Op::ConcatGrad { axis, index } => moving::concat_grad(x, *axis, *index, shape),
        Op::Reverse { axes } => moving::reverse(x[0], axes),
        Op::Gather { axis } => moving::gather(x[0], x[1], *axis, shape),
        Op::ScatterAdd { axis } => moving::scatter_add(x[0], x[1], *axis, shape),
        Op::Arange(_) => (0..shape[0])
            .map(|i| x[0].data[0] + i as f64 * x[2].data[0])
            .collect(),
        Op::MatMul {
            transpose_a,
            transpose_b,
            epilogue,
        } => {
            let z = windows::matmul(x[0], x[1], *transpose_a, *transpose_b, shape);
            windows::epilogue(z, epilogue, x)
        }
        Op::Conv(a, epilogue) => {
            windows::epilogue(windows::conv(a, x[0], x[1], shape), epilogue, x)
        }
        Op::ConvGradInput(a) => windows::conv_grad_input(a, x[0], x[1], shape),
        Op::ConvGradFilter(a) => windows::conv_grad_filter(a, x[0], x[1], shape),
        Op::MaxPool(a) => return windows::max_pool(a, x[0], shape),
        Op::MaxPoolGrad(a) => windows::max_pool_grad(a, x[0], x[1], shape),
        Op::AvgPool(a) => windows::avg_pool(a, x[0], shape),
        Op::AvgPoolGrad(a) => windows::avg_pool_grad(a, x[0], shape),
        Op::Softmax => rows(x[0], |logs| logs.iter().map(|v| v.exp()).collect()),
        Op::LogSoftmax => rows(x[0], <[f64]>::to_vec),
        Op::SoftmaxCrossEntropy => {
            let classes = x[0].shape[x[0].shape.len() - 1];
            let logs = rows(x[0], <[f64]>::to_vec);
            let pairs = logs.chunks(classes).zip(x[1].data.chunks(classes));
            pairs
                .map(|(l, t)| -l.iter().zip(t).map(|(l, t)| l * t).sum::<f64>())
                .collect()
        }
        Op::SparseSoftmaxCrossEntropy => {
            let classes = x[0].shape[x[0].shape.len() - 1];
            let logs = rows(x[0], <[f64]>::to_vec);
            let pairs = logs.chunks(classes).zip(&x[1].data);
            pairs.map(|(l, &label)| -l[label as usize]).collect()
        }
        // Any numbers do, as long as they depend on the key and the element alone.
        Op::Random { key, dtype, .. } => (0..shape.iter().product::<usize>())
            .map(|i| {
                let u = (i as f64 * 0.618_034 + *key as f64 * 0.317).fract();
                elementwise::cast(if dtype.is_float() { u } else { u.round() }, *dtype)
            })
            .collect(),
        Op::Rnn(_) | Op::RnnGrad { .. } | Op::Scan(_) | Op::CtcBeamSearch { .. } => {
            panic!("{op:?} is checked by the runtime")
        }
        Op::Sharded(_) | Op::ShardSum(_) => panic!("{op:?} is checked by the runtime"),
        Op::Fused(region) => return elementwise::fused(region, x),
    };
    vec![one]
}

/// A function of the operands' elements at each index of `shape`.
fn map(x: &[&Array], shape: &[usize], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let element = |index: Vec<usize>| {
        let v: Vec<f64> = x.iter().map(|a| a.at(&index)).collect();
        f(&v)
    };
    indices(shape).into_iter().map(element).collect()
}

/// A function of the log-softmax of each row.
fn rows(x: &Array, f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let n = x.shape[x.shape.len() - 1].max(1);
    let row = |r: &[f64]| {
        let top = r.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log = r.iter().map(|v| (v - top).exp()).sum::<f64>().ln() + top;
        f(&r.iter().map(|v| v - log).collect::<Vec<_>>())
    };
    x.data.chunks(n).flat_map(row).collect()
}

/// The program of a training function whose inputs' shapes are known, through all passes.
pub(crate) fn compiled(
    inputs: &[Tensor],
    outputs: &[Tensor],
    updates: &[(VarId, Tensor)],
) -> Program {
    let shapes: Vec<Vec<usize>> = inputs
        .iter()
        .map(|t| concrete(t.shape()).unwrap())
        .collect();
    let request = Request {
        inputs,
        input_shapes: &shapes,
        outputs,
        updates,
        training: true,
    };
    let options = Options {
        fuse: true,
        verify: true,
    };
    compile(&request, &Reference, options).unwrap()
}

/// The values of `results`, given those of some tensors.
pub(crate) fn run_graph(results: &[Tensor], fed: &[(Tensor, Array)]) -> Vec<Array> {
    let given: HashMap<_, _> = fed.iter().map(|(t, a)| (t.key(), a.clone())).collect();
    let mut done: HashMap<u64, Vec<Array>> = HashMap::new();
    let mut stack: Vec<(Tensor, bool)> = results.iter().map(|t| (t.clone(), false)).collect();
    let value = |t: &Tensor, done: &HashMap<u64, Vec<Array>>| match given.get(&t.key()) {
        Some(a) => a.clone(),
        None => done[&t.node.id][t.index].clone(),
    };
    while let Some((t, ready)) = stack.pop() {
        if done.contains_key(&t.node.id) || given.contains_key(&t.key()) {
            continue;
        }
        if !ready {
            stack.push((t.clone(), true));
            stack.extend(t.node.inputs.iter().map(|i| (i.clone(), false)));
            continue;
        }
        let inputs: Vec<Array> = t.node.inputs.iter().map(|i| value(i, &done)).collect();
        done.insert(t.node.id, apply(&t.node.op, &inputs));
    }
    results.iter().map(|t| value(t, &done)).collect()
}

fn apply(op: &Op, inputs: &[Array]) -> Vec<Array> {
    let types: Vec<_> = inputs.iter().map(|a| (a.dtype, &a.shape[..])).collect();
    let literals: Vec<Literal> = inputs.iter().map(Array::literal).collect();
    let literals: Vec<Option<&Literal>> = literals.iter().map(Some).collect();
    let types = infer_concrete(op, &types, &literals).expect("the graph is well typed");
    eval(op, &inputs.iter().collect::<Vec<_>>(), &types)
}

/// The outputs and updates of a program, given its inputs and variables.
pub(crate) fn run_program(
    p: &Program,
    inputs: &[Array],
    variables: &HashMap<VarId, Array>,
) -> Vec<Array> {
    let mut values: Vec<Option<Array>> = p
        .values
        .iter()
        .map(|v| match &v.source {
            Source::Input(k) => Some(inputs[*k].clone()),
            Source::Variable(id) => Some(variables[id].clone()),
            Source::Constant(l) => Some(Array::of(l)),
            Source::Inst { .. } => None,
        })
        .collect();
    for inst in &p.insts {
        let operand = |&v: &usize| values[v].as_ref().expect("defined before use");
        let operands: Vec<&Array> = inst.inputs.iter().map(operand).collect();
        let types: Vec<_> = inst
            .outputs
            .iter()
            .map(|&v| (p.values[v].dtype, p.values[v].shape.clone()))
            .collect();
        for (result, &v) in eval(&inst.op, &operands, &types)
            .into_iter()
            .zip(&inst.outputs)
        {
            values[v] = Some(result);
        }
    }
    let results = p.outputs.iter().chain(p.updates.iter().map(|(_, v)| v));
    results
        .map(|&v| values[v].clone().expect("results are defined"))
        .collect()
}

/// The interpreter as the evaluator of constants.
pub(crate) struct Reference;

impl Evaluator for Reference {
    fn eval(
        &self,
        op: &Op,
        inputs: &[&Literal],
        outputs: &[Value],
    ) -> Result<Vec<Literal>, String> {
        let arrays: Vec<Array> = inputs.iter().map(|l| Array::of(l)).collect();
        let types: Vec<_> = outputs.iter().map(|v| (v.dtype, v.shape.clone())).collect();
        let results = eval(op, &arrays.iter().collect::<Vec<_>>(), &types);
        Ok(results.iter().map(Array::literal).collect())
    }
}

/// Asserts that two arrays are equal up to rounding.
pub(crate) fn assert_close(a: &Array, b: &Array, tolerance: f64, what: &str) {
    assert_eq!((a.dtype, &a.shape), (b.dtype, &b.shape), "{what}");
    for (i, (x, y)) in a.data.iter().zip(&b.data).enumerate() {
        let same = x == y || (x.is_nan() && y.is_nan());
        let close = (x - y).abs() <= tolerance * (1.0 + x.abs().max(y.abs()));
        assert!(same || close, "{what}: element {i} is {x} against {y}");
    }
}

/// Asserts that the program of a graph, with and without fusion, computes what the graph does.
pub(crate) fn assert_compiles(what: &str, results: &[Tensor], fed: &[(Tensor, Array)]) {
    let want = run_graph(results, fed);
    let inputs: Vec<Tensor> = fed.iter().map(|(t, _)| t.clone()).collect();
    let shapes: Vec<Vec<usize>> = fed.iter().map(|(_, a)| a.shape.clone()).collect();
    let arrays: Vec<Array> = fed.iter().map(|(_, a)| a.clone()).collect();
    let request = Request {
        inputs: &inputs,
        input_shapes: &shapes,
        outputs: results,
        updates: &[],
        training: true,
    };
    for fuse in [false, true] {
        let options = Options { fuse, verify: true };
        let program = compile(&request, &Reference, options);
        let program = program.unwrap_or_else(|e| panic!("{what}: {e}"));
        let got = run_program(&program, &arrays, &HashMap::new());
        for (g, w) in got.iter().zip(&want) {
            assert_close(g, w, 1e-9, &format!("{what}, fuse: {fuse}"));
        }
    }
}
