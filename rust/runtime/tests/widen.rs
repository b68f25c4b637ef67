//! Every operation's samples, and their gradients, for several shards at once: the bits of one
//! shard after the other, whichever operands differ from shard to shard.

use hornbeam_graph::op::{BinaryOp, ConvAttrs, Padding, ReduceOp, ShardSum};
use hornbeam_graph::ops::{Sample, samples};
use hornbeam_graph::{DType, Literal, Node, Op, Tensor, TensorType, Widening, autodiff, shape};
use hornbeam_kernels::par;
use hornbeam_runtime::RuntimeError;
use hornbeam_runtime::buffer::exclusive;
use hornbeam_runtime::dispatch::RunContext;
use hornbeam_runtime::function::{ArrayRef, Function};
use hornbeam_runtime::plan::{Exclusive, Plan, Spot};
use hornbeam_runtime::sharded::{Memory, zeroed};

const SHARDS: usize = 4;

fn leaf(op: Op, dtype: DType, dims: &[usize]) -> Tensor {
    let shape = shape::known(dims);
    Node::leaf(op, TensorType { dtype, shape }, None)
}

fn build(op: Op, operands: &[&Tensor]) -> Tensor {
    let operands = operands.iter().copied().cloned().collect();
    Node::build(op, operands, None).unwrap()
}

/// A sample's call. Operands that are split come as one row of an input, so that their first axis
/// need not be one of samples.
struct Call {
    function: Function,
    split: Vec<bool>,
    /// For each shard, the arguments.
    shards: Vec<Vec<Literal>>,
}

impl Call {
    fn new(sample: &Sample, split: &[bool], gradients: bool) -> Option<Call> {
        let (mut inputs, mut operands, mut of_inputs) = (Vec::new(), Vec::new(), Vec::new());
        let mut shards = vec![Vec::new(); SHARDS];
        let all: Vec<Vec<Literal>> = (0..SHARDS).map(|v| sample.literals(v as u64)).collect();
        let mut split_left = split.iter().copied();
        for (k, input) in sample.inputs.iter().enumerate() {
            let first = &all[0][k];
            if input.constant {
                operands.push(leaf(Op::Constant(first.clone()), first.dtype, &first.shape));
                continue;
            }
            let own = split_left.next().unwrap();
            let dims = if own {
                [&[1], first.shape.as_slice()].concat()
            } else {
                first.shape.clone()
            };
            let placeholder = leaf(Op::Placeholder, first.dtype, &dims);
            for (arguments, values) in shards.iter_mut().zip(&all) {
                let value = if own { &values[k] } else { first };
                arguments.push(Literal::new(value.dtype, dims.clone(), value.bytes.clone()));
            }
            let operand = if own {
                let sizes: Vec<i64> = first.shape.iter().map(|&n| n as i64).collect();
                let sizes = Literal::ints(&sizes);
                let sizes = leaf(Op::Constant(sizes.clone()), DType::I64, &sizes.shape);
                build(Op::Reshape, &[&placeholder, &sizes])
            } else {
                placeholder.clone()
            };
            of_inputs.push(operand.clone());
            operands.push(operand);
            inputs.push(placeholder);
        }
        let refs: Vec<&Tensor> = operands.iter().collect();
        let first = build(sample.op.clone(), &refs);
        let mut outputs: Vec<Tensor> = (0..first.node.outputs.len())
            .map(|index| Tensor {
                node: first.node.clone(),
                index,
            })
            .collect();
        if gradients {
            outputs.extend(gradients_of(&outputs, &of_inputs)?);
        }
        let as_f32 = |t: Tensor| match t.dtype() {
            DType::F32 => t,
            _ => build(Op::Cast(DType::F32), &[&t]),
        };
        let outputs = outputs.into_iter().map(as_f32).collect();
        let function = Function::new("widen".into(), inputs, outputs, vec![], 4).unwrap();
        Some(Call {
            function,
            split: split.to_vec(),
            shards,
        })
    }

    /// The results of each shard, one after the other.
    fn apart(&self) -> Vec<Vec<Literal>> {
        let one = |(shard, arguments): (usize, &Vec<Literal>)| {
            let context = RunContext {
                step: 3,
                sample_offset: 10 + shard as u64,
                others: None,
            };
            let held = exclusive();
            let arguments: Vec<ArrayRef<'_>> = arguments.iter().map(array).collect();
            self.function
                .call_at(&arguments, true, context, &held, results)
                .unwrap()
        };
        self.shards.iter().enumerate().map(one).collect()
    }

    /// The results of all shards at once, summed over groups.
    fn at_once(&self, groups: &[usize], factor: f32) -> Result<Vec<Literal>, RuntimeError> {
        let joined = |k: usize| {
            let first = &self.shards[0][k];
            if !self.split[k] {
                return first.clone();
            }
            let mut shape = first.shape.clone();
            shape[0] *= SHARDS;
            let bytes: Vec<u8> = self
                .shards
                .iter()
                .flat_map(|s| s[k].bytes.to_vec())
                .collect();
            Literal::new(first.dtype, shape, bytes)
        };
        let arguments: Vec<Literal> = (0..self.split.len()).map(joined).collect();
        let arguments: Vec<ArrayRef<'_>> = arguments.iter().map(array).collect();
        let widening = Widening {
            samples: self.split.clone(),
            rows: 1,
            sum: ShardSum {
                groups: groups.to_vec(),
                factor: factor.to_bits(),
            },
        };
        let context = RunContext {
            step: 3,
            sample_offset: 10,
            others: None,
        };
        let held = exclusive();
        let found = self
            .function
            .call_widened(&arguments, &widening, context, &held, results)?;
        self.check_into(&arguments, &widening, context, &found, &held);
        Ok(found)
    }

    /// The same results put where the caller wants them.
    fn check_into(
        &self,
        arguments: &[ArrayRef<'_>],
        widening: &Widening,
        context: RunContext<'_>,
        expected: &[Literal],
        held: &Exclusive,
    ) {
        // Each in a block of its own, which is another's as soon as it is done.
        let length = |r: &Literal| r.bytes.len() / 4;
        let mut blocks: Vec<Memory> = expected
            .iter()
            .map(|r| zeroed(length(r) + 1).unwrap())
            .collect();
        let spots: Vec<Spot> = (0..expected.len())
            .map(|block| Spot { block, first: 0 })
            .collect();
        let mut taken = 0;
        let mut done = |k: usize, memory: &mut Memory| {
            let mut found = std::mem::replace(memory, Box::new(vec![]));
            let bytes: Vec<u8> = found.iter().flat_map(|x| x.to_ne_bytes()).collect();
            assert_eq!(bytes[..bytes.len() - 4], *expected[k].bytes);
            found.fill(f32::NAN);
            taken += 1;
            Ok(())
        };
        let function = &self.function;
        function
            .call_widened_into(
                arguments,
                widening,
                &mut blocks,
                &spots,
                &mut done,
                context,
                held,
            )
            .unwrap();
        assert_eq!(taken, expected.len());
        // The blocks are gone.
        if expected.iter().any(|r| !r.bytes.is_empty()) {
            function
                .call_widened_into(
                    arguments,
                    widening,
                    &mut blocks,
                    &spots,
                    &mut |_, _| Ok(()),
                    context,
                    held,
                )
                .unwrap_err();
        }
    }
}

/// Gradients of the sum of all float results.
fn gradients_of(outputs: &[Tensor], inputs: &[Tensor]) -> Option<Vec<Tensor>> {
    let floats: Vec<Tensor> = outputs
        .iter()
        .filter(|t| t.dtype().is_float())
        .cloned()
        .collect();
    let wrt: Vec<Tensor> = inputs
        .iter()
        .filter(|t| t.dtype().is_float())
        .cloned()
        .collect();
    // Weighted, so that not every row has the same gradient.
    let seeds: Vec<Tensor> = floats
        .iter()
        .map(|y| build(Op::Binary(BinaryOp::Mul), &[y, y]))
        .collect();
    let found = autodiff::gradients(&floats, Some(&seeds), &wrt).ok()?;
    Some(found.into_iter().flatten().collect())
}

fn array(literal: &Literal) -> ArrayRef<'_> {
    ArrayRef {
        dtype: literal.dtype,
        shape: &literal.shape,
        bytes: &literal.bytes,
    }
}

fn results(plan: &Plan, inputs: &[&[u8]]) -> Vec<Literal> {
    let one = |k: usize| {
        let value = plan.output(k);
        Literal::new(value.dtype, value.shape.clone(), plan.result(k, inputs))
    };
    (0..plan.outputs()).map(one).collect()
}

/// Which operands to split: all choices of a few, else some.
fn choices(n: usize) -> Vec<Vec<bool>> {
    if n <= 3 {
        return (0..1 << n)
            .map(|m| (0..n).map(|k| m >> k & 1 == 1).collect())
            .collect();
    }
    let one = |k: usize, v: bool| (0..n).map(|j| (j == k) == v).collect();
    let all = std::iter::once(vec![true; n]);
    all.chain((0..n).map(|k| one(k, true)))
        .chain((0..n).map(|k| one(k, false)))
        .collect()
}

fn floats(literal: &Literal) -> Vec<f32> {
    literal.to_f64().into_iter().map(|x| x as f32).collect()
}

fn check(sample: &Sample, split: &[bool], gradients: bool) {
    let Some(call) = Call::new(sample, split, gradients) else {
        return;
    };
    let what = format!("{sample:?} {split:?}");
    let apart = call.apart();
    let own = call
        .at_once(&[1; SHARDS], 1.0)
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    let (left, right) = (
        call.at_once(&[2, 2], 0.25).unwrap(),
        call.at_once(&[4], 0.25).unwrap(),
    );
    for k in 0..own.len() {
        let bytes: Vec<u8> = apart.iter().flat_map(|r| r[k].bytes.to_vec()).collect();
        assert_eq!(own[k].bytes.as_ref(), bytes, "{what}: result {k}");
        assert_eq!(own[k].shape[1..], apart[0][k].shape, "{what}: result {k}");
        let part = |v: usize| floats(&apart[v][k]).into_iter().map(|x| x * 0.25).collect();
        let sum = |a: Vec<f32>, b: Vec<f32>| -> Vec<f32> {
            a.iter().zip(&b).map(|(a, b)| a + b).collect()
        };
        let pairs = [sum(part(0), part(1)), sum(part(2), part(3))];
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
        assert_eq!(
            bits(&floats(&left[k])),
            bits(&pairs.concat()),
            "{what}: sums {k}"
        );
        let [a, b] = pairs;
        assert_eq!(
            bits(&floats(&right[k])),
            bits(&sum(a, b)),
            "{what}: sum {k}"
        );
    }
}

#[test]
fn all_shards_at_once_have_the_bits_of_one_after_the_other() {
    let before = par::num_threads();
    for sample in samples() {
        let leaf_only = matches!(sample.op, Op::Constant(_));
        // A shard alone has other values than with others: `synchronized.rs` compares them.
        let over = matches!(sample.op, Op::OverShards(_));
        let doubles = sample.inputs.iter().any(|i| i.dtype == DType::F64);
        if leaf_only || over || doubles {
            continue;
        }
        let n = sample.inputs.iter().filter(|i| !i.constant).count();
        for split in choices(n) {
            par::set_num_threads(1 + split.len() % 3);
            check(&sample, &split, false);
            check(&sample, &split, true);
        }
    }
    par::set_num_threads(before);
}

#[test]
fn what_cannot_be_summed_is_refused() {
    let x = leaf(Op::Placeholder, DType::I32, &[1]);
    let function = Function::new("f".into(), vec![x.clone()], vec![x], vec![], 1).unwrap();
    let call = Call {
        function,
        split: vec![true],
        shards: vec![vec![Literal::from_f64(DType::I32, vec![1], &[1.0])]; SHARDS],
    };
    let error = call.at_once(&[4], 1.0).unwrap_err().to_string();
    assert!(error.contains("float32"), "{error}");
}

fn open(dims: &[usize]) -> Tensor {
    let mut shape = shape::known(dims);
    shape[0] = None;
    let dtype = DType::F32;
    Node::leaf(Op::Placeholder, TensorType { dtype, shape }, None)
}

/// The arena's bytes of a function of whole batches of 128 samples.
fn peak(inputs: &[Tensor], outputs: &[Tensor], shapes: &[Vec<usize>], shards: usize) -> usize {
    let widening = Widening {
        samples: vec![true; shapes.len()],
        rows: shapes[0][0] / shards,
        sum: ShardSum {
            groups: vec![shards],
            factor: 1f32.to_bits(),
        },
    };
    let (inputs, outputs) = (inputs.to_vec(), outputs.to_vec());
    let function = Function::new("f".into(), inputs, outputs, vec![], 8).unwrap();
    let plan = function.plan_widened(shapes, &widening).unwrap();
    plan.peak_bytes()
}

#[test]
fn memory_does_not_grow_with_the_number_of_shards() {
    // Gradients of matrices take no memory for each shard, of biases a row.
    let shapes = [vec![128, 64], vec![128, 512]];
    let inputs = [open(&shapes[0]), open(&shapes[1])];
    let product = Op::MatMul {
        transpose_a: true,
        transpose_b: false,
        epilogue: Default::default(),
    };
    let dw = build(product, &[&inputs[0], &inputs[1]]);
    let sum = Op::Reduce {
        op: ReduceOp::Sum,
        axes: vec![0],
        keepdims: false,
    };
    let db = build(sum, &[&inputs[1]]);
    let of = |shards| peak(&inputs, &[dw.clone(), db.clone()], &shapes, shards);
    assert!(of(8) <= of(1) + 8 * 512 * 4 + 256, "{} {}", of(8), of(1));
    // Those of filters take one buffer for each height of the tree.
    let shapes = [vec![64, 8, 8, 16], vec![64, 8, 8, 32]];
    let inputs = [open(&shapes[0]), open(&shapes[1])];
    let attrs = ConvAttrs {
        strides: vec![1, 1],
        padding: Padding::Same,
        dilation: vec![1, 1],
        groups: 1,
    };
    let sizes = Literal::ints(&[3, 3, 16, 32]);
    let sizes = leaf(Op::Constant(sizes.clone()), DType::I64, &sizes.shape);
    let dw = build(Op::ConvGradFilter(attrs), &[&inputs[0], &inputs[1], &sizes]);
    let of = |shards| peak(&inputs, std::slice::from_ref(&dw), &shapes, shards);
    let filter = 3 * 3 * 16 * 32 * 4;
    assert!(of(8) <= of(1) + 3 * filter + 1024, "{} {}", of(8), of(1));
}
