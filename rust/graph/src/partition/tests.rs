//! What is apart, and that its parts compute what the whole does.

use super::*;
use crate::build::Builder;
use crate::node::{Node, Tensor, TensorType};
use crate::op::{ReduceOp, UnaryOp};
use crate::shape::known;
use crate::testing::{Array, compiled, run_program};
use crate::verify::verify;

const SHAPE: [usize; 2] = [6, 4];
const ELEMENTS: usize = 24;

fn leaf(op: Op, shape: &[usize]) -> Tensor {
    let ty = TensorType {
        dtype: DType::F32,
        shape: known(shape),
    };
    Node::leaf(op, ty, None)
}

fn variable(id: VarId, shape: &[usize]) -> Tensor {
    leaf(Op::Variable(id), shape)
}

/// Variable 1 and its running mean 2 are updated from a gradient by a rate, variable 3, which falls.
struct Momentum {
    b: Builder,
    gradient: Tensor,
    rate: Tensor,
    updates: Vec<(VarId, Tensor)>,
}

impl Momentum {
    fn new() -> Momentum {
        let b = Builder::default();
        let gradient = leaf(Op::Placeholder, &SHAPE);
        let rate = variable(3, &[]);
        let mut momentum = Momentum {
            rate: b.scale(&rate, 0.5).unwrap(),
            updates: Vec::new(),
            gradient: gradient.clone(),
            b,
        };
        momentum.update(&gradient);
        momentum
    }

    /// Updates by a gradient.
    fn update(&mut self, gradient: &Tensor) {
        let b = &self.b;
        let (w, mean) = (variable(1, &SHAPE), variable(2, &SHAPE));
        let new = b.add(
            &b.scale(&mean, 0.9).unwrap(),
            &b.scale(gradient, 0.1).unwrap(),
        );
        let new = new.unwrap();
        let root = b.unary(UnaryOp::Sqrt, &b.unary(UnaryOp::Abs, &new).unwrap());
        let step = b.mul(&b.mul(&self.rate, gradient).unwrap(), &root.unwrap());
        let new_w = b.sub(&w, &step.unwrap()).unwrap();
        self.updates = vec![(1, new_w), (2, new), (3, self.rate.clone())];
    }

    fn program(&self, outputs: &[Tensor]) -> Program {
        compiled(std::slice::from_ref(&self.gradient), outputs, &self.updates)
    }

    /// The sum of all elements.
    fn sum(&self, of: &Tensor) -> Tensor {
        self.b.reduce(ReduceOp::Sum, of, &[0, 1], false).unwrap()
    }
}

fn numbers(seed: usize) -> Vec<f64> {
    (0..ELEMENTS)
        .map(|k| ((k * 7 + seed * 13) as f64).sin())
        .collect()
}

fn values() -> HashMap<VarId, Array> {
    HashMap::from([
        (1, Array::new(DType::F32, &SHAPE, numbers(1))),
        (2, Array::new(DType::F32, &SHAPE, numbers(2))),
        (3, Array::new(DType::F32, &[], vec![0.3])),
    ])
}

/// Compares what a partition computes, range by range and from partial sums, with the whole.
fn check(program: &Program, sums: usize, joins: &Joins) -> Partition {
    let partition = Partition::of(program, 10);
    verify(&partition.rest, "partition").unwrap();
    let [part] = &partition.parts[..] else {
        panic!("{program}")
    };
    assert_eq!((part.elements, &part.averages[..]), (ELEMENTS, &[0][..]));
    assert_eq!(
        (&part.variables[..], &part.updates[..]),
        (&[1, 2][..], &[1, 2][..])
    );
    let partial: Vec<Vec<f64>> = (0..sums).map(|k| numbers(3 + k)).collect();
    let whole = (0..ELEMENTS).map(|k| partial.iter().map(|p| p[k]).sum());
    let whole = [Array::new(DType::F32, &SHAPE, whole.collect())];
    let expected = run_program(program, &whole, &values());
    let results = program.outputs.len();
    let rest = run_program(&partition.rest, &whole, &values());
    assert_eq!(rest[..results], expected[..results]);
    // The rate.
    assert_eq!(rest[results..], expected[results + 2..]);
    for range in [0..10, 10..11, 11..ELEMENTS, 5..5] {
        let own = partition.of_ranges(&[range.len()], sums, joins);
        verify(&own, "of ranges").unwrap();
        let of = |all: &[f64]| Array::new(DType::F32, &[range.len()], all[range.clone()].to_vec());
        let mut inputs: Vec<Array> = partial.iter().map(|p| of(p)).collect();
        inputs.extend([of(&numbers(1)), of(&numbers(2))]);
        let found = run_program(&own, &inputs, &values());
        for (new, expected) in found.iter().zip(&expected[results..]) {
            let pairs = new.data.iter().zip(&expected.data[range.clone()]);
            for (a, b) in pairs {
                assert!((a - b).abs() < 1e-12, "{a} {b}: {own}");
            }
            assert_eq!(new.shape, [range.len()]);
        }
        assert_eq!(found.len(), 2);
    }
    partition
}

#[test]
fn parts_compute_what_the_whole_does() {
    let momentum = Momentum::new();
    let loss = momentum.sum(&variable(1, &SHAPE));
    let program = momentum.program(&[loss]);
    for (sums, joins) in [
        (1, &[][..]),
        (2, &[(0, 1)]),
        (3, &[(0, 1), (3, 2)]),
        (4, &[(0, 1), (2, 3), (4, 5)]),
    ] {
        let own = check(&program, sums, joins).of_ranges(&[7], sums, joins);
        // The sum is within the region that reads it; the rate comes from another.
        assert_eq!(own.insts.len(), 2, "{own}");
    }
    // Too many operands for one region.
    let joins: Vec<(usize, usize)> = (0..15)
        .map(|k| if k == 0 { (0, 1) } else { (15 + k, k + 1) })
        .collect();
    let own = check(&program, 16, &joins).of_ranges(&[7], 16, &joins);
    assert_eq!(own.insts.len(), 3, "{own}");
}

#[test]
fn small_updates_are_not_apart() {
    let program = Momentum::new().program(&[]);
    assert!(Partition::of(&program, ELEMENTS + 1).parts.is_empty());
    assert_eq!(Partition::of(&program, ELEMENTS).parts.len(), 1);
    let rest = Partition::of(&program, ELEMENTS + 1).rest;
    assert_eq!(rest.updates.len(), 3);
}

#[test]
fn what_looks_beyond_its_element_is_not_apart() {
    let apart = |change: &dyn Fn(&mut Momentum) -> Vec<Tensor>| {
        let mut momentum = Momentum::new();
        let outputs = change(&mut momentum);
        Partition::of(&momentum.program(&outputs), 10).parts.len()
    };
    assert_eq!(apart(&|_| vec![]), 1);
    // A gradient by its norm.
    let normed = apart(&|m| {
        let norm = m.sum(&m.b.unary(UnaryOp::Square, &m.gradient).unwrap());
        let gradient = m.b.div(&m.gradient, &norm).unwrap();
        m.update(&gradient);
        vec![]
    });
    assert_eq!(normed, 0);
    // A weight by the sum of each column.
    let columns = apart(&|m| {
        let sums =
            m.b.reduce(ReduceOp::Sum, &m.updates[0].1, &[0], true)
                .unwrap();
        m.updates[0].1 = m.b.div(&m.updates[0].1, &sums).unwrap();
        vec![]
    });
    assert_eq!(columns, 0);
    // A gradient that broadcasts over rows.
    let rows = apart(&|m| {
        let row = leaf(Op::Variable(4), &[SHAPE[1]]);
        let gradient = m.b.mul(&m.gradient, &row).unwrap();
        m.update(&gradient);
        vec![]
    });
    assert_eq!(rows, 0);
    // Somebody else wants the new value, or the gradient.
    assert_eq!(apart(&|m| vec![m.updates[1].1.clone()]), 0);
    assert_eq!(apart(&|m| vec![m.sum(&m.gradient)]), 0);
    // A variable keeps the gradient itself.
    let kept = apart(&|m| {
        m.updates.push((4, m.gradient.clone()));
        vec![]
    });
    assert_eq!(kept, 0);
    // An old value may be wanted.
    assert_eq!(apart(&|m| vec![m.sum(&variable(2, &SHAPE))]), 1);
}

#[test]
fn weights_of_one_optimizer_are_parts_of_their_own() {
    let mut momentum = Momentum::new();
    let second = leaf(Op::Placeholder, &[30]);
    let b = &momentum.b;
    let step = b.mul(&momentum.rate, &second).unwrap();
    let new = b.sub(&variable(5, &[30]), &step).unwrap();
    momentum.updates.push((5, new));
    let inputs = [momentum.gradient.clone(), second];
    let program = compiled(&inputs, &[], &momentum.updates);
    let partition = Partition::of(&program, 10);
    let [first, second] = &partition.parts[..] else {
        panic!("{program}")
    };
    assert_eq!(
        (&first.updates[..], &second.updates[..]),
        (&[1, 2][..], &[5][..])
    );
    assert_eq!((&second.averages[..], second.elements), (&[1][..], 30));
    assert_eq!(partition.rest.updates.len(), 1);
    let own = partition.of_ranges(&[3, 4], 2, &[(0, 1)]);
    verify(&own, "of ranges").unwrap();
    let lengths = own.inputs.iter().map(|&v| own.values[v].len());
    assert_eq!(lengths.collect::<Vec<_>>(), [3, 3, 3, 3, 4, 4, 4]);
    let lengths = own.outputs.iter().map(|&v| own.values[v].len());
    assert_eq!(lengths.collect::<Vec<_>>(), [3, 3, 4]);
}
