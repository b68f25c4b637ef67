//! Computing again what is cheap, rather than writing it out and reading it back.
//!
//! A value that other clusters of its space read can be computed again there from the operands of
//! the cheap operations that made it. That is worth it where the reader has these operands anyway,
//! or where they take no more memory than the value and no one needs it written out after all.

use std::collections::HashSet;

use super::clusters::Clusters;
use super::kinds::{Kind, Kinds};
use super::{MAX_OPERANDS, MAX_VALUES, Users, producer};
use crate::op::{BinaryOp, Op, UnaryOp};
use crate::program::{Program, ValueId};

/// The most operations that are repeated for one value.
const MAX_REPEATED: usize = 6;

/// Whether an operation is as cheap as reading a value.
fn is_cheap(op: &Op) -> bool {
    match op {
        Op::Unary(op) => matches!(
            op,
            UnaryOp::Neg
                | UnaryOp::Abs
                | UnaryOp::Sign
                | UnaryOp::Square
                | UnaryOp::Relu
                | UnaryOp::Not
                | UnaryOp::IsNan
                | UnaryOp::IsFinite
        ),
        Op::Binary(op) => !matches!(
            op,
            BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Mod | BinaryOp::Pow
        ),
        Op::Select | Op::Cast(_) => true,
        _ => false,
    }
}

/// What a cluster holds.
struct Contents {
    /// Results of its members and of what it repeats.
    values: HashSet<ValueId>,
    operands: HashSet<ValueId>,
    repeated: usize,
}

struct Planner<'a> {
    p: &'a Program,
    kinds: &'a Kinds,
    users: &'a Users,
    clusters: &'a Clusters,
    contents: Vec<Contents>,
    /// Values that are repeated wherever they are read.
    virtual_values: HashSet<ValueId>,
}

/// What repeating a value takes.
#[derive(Default)]
struct Closure {
    insts: Vec<usize>,
    operands: Vec<ValueId>,
}

/// Decides what is repeated: the values that each cluster computes itself, its own and others'.
pub(super) fn plan(
    p: &Program,
    kinds: &Kinds,
    users: &Users,
    clusters: &Clusters,
) -> Vec<HashSet<ValueId>> {
    let contents = clusters.members.iter().map(|members| {
        let insts = members.iter().map(|&i| &p.insts[i]);
        let values: HashSet<ValueId> = insts.clone().flat_map(|i| i.outputs.clone()).collect();
        let operands = insts.flat_map(|i| i.inputs.clone());
        let operands = operands.filter(|v| !values.contains(v) && kinds.number[*v].is_none());
        Contents {
            operands: operands.collect(),
            values,
            repeated: 0,
        }
    });
    let mut planner = Planner {
        p,
        kinds,
        users,
        clusters,
        contents: contents.collect(),
        virtual_values: HashSet::new(),
    };
    for i in 0..p.insts.len() {
        planner.consider(i);
    }
    planner.contents.into_iter().map(|c| c.values).collect()
}

impl Planner<'_> {
    /// Decides for the result of instruction `i` which clusters repeat it.
    fn consider(&mut self, i: usize) {
        let (Kind::Element(space), Some(home)) = (self.kinds.of[i], self.clusters.of[i]) else {
            return;
        };
        let v = self.p.insts[i].outputs[0];
        let mut readers: Vec<usize> = Vec::new();
        let mut written = self.users.result[v];
        for &u in &self.users.insts[v] {
            match self.clusters.of[u] {
                Some(c) if c == home => {}
                Some(c) if self.kinds.of[u].space() == Some(space) => readers.push(c),
                _ => written = true,
            }
        }
        readers.dedup();
        if readers.is_empty() || !is_cheap(&self.p.insts[i].op) {
            return;
        }
        let closures: Vec<Option<Closure>> = readers
            .iter()
            .map(|&c| self.closure(v, c).filter(|k| self.has_room(c, k)))
            .collect();
        let bytes = |v: ValueId| self.p.values[v].bytes();
        let extra = |k: &Closure| -> usize {
            let large = k
                .operands
                .iter()
                .filter(|&&o| self.kinds.shape[o] == Some(space));
            large.map(|&o| bytes(o)).sum()
        };
        let all = !written
            && closures
                .iter()
                .all(|k| k.as_ref().is_some_and(|k| extra(k) <= bytes(v)));
        for (&c, closure) in readers.iter().zip(closures) {
            if let Some(closure) = closure
                && (all || extra(&closure) == 0)
            {
                let contents = &mut self.contents[c];
                contents.operands.remove(&v);
                contents.operands.extend(closure.operands);
                let outputs = closure.insts.iter().flat_map(|&i| &self.p.insts[i].outputs);
                contents.values.extend(outputs);
                contents.repeated += closure.insts.len();
            }
        }
        if all {
            self.virtual_values.insert(v);
        }
    }

    /// What cluster `c` needs to compute `v`, if cheap operations do.
    fn closure(&self, v: ValueId, c: usize) -> Option<Closure> {
        let mut closure = Closure::default();
        let mut pending = vec![v];
        while let Some(v) = pending.pop() {
            let contents = &self.contents[c];
            let asked = closure.insts.is_empty();
            if !asked && (contents.values.contains(&v) || contents.operands.contains(&v)) {
                continue;
            }
            if self.kinds.number[v].is_some() || closure.operands.contains(&v) {
                continue;
            }
            let inst = producer(self.p, v).filter(|&i| asked || self.must_repeat(i, v));
            let Some(i) = inst else {
                closure.operands.push(v);
                continue;
            };
            if closure.insts.contains(&i) {
                continue;
            }
            if !is_cheap(&self.p.insts[i].op) || closure.insts.len() == MAX_REPEATED {
                return None;
            }
            closure.insts.push(i);
            pending.extend(&self.p.insts[i].inputs);
        }
        Some(closure)
    }

    /// Whether a value is not written out by its own cluster, and so must be repeated by others.
    fn must_repeat(&self, i: usize, v: ValueId) -> bool {
        let Some(home) = self.clusters.of[i] else {
            return false;
        };
        if let Kind::Reduce { .. } = self.kinds.of[i] {
            return false;
        }
        let outside = |&u: &usize| self.clusters.of[u] != Some(home);
        self.virtual_values.contains(&v)
            || (!self.users.result[v] && !self.users.insts[v].iter().any(outside))
    }

    fn has_room(&self, c: usize, closure: &Closure) -> bool {
        let contents = &self.contents[c];
        let operands = contents.operands.len() + closure.operands.len() - 1;
        let insts = self.clusters.members[c].len() + contents.repeated + closure.insts.len();
        // Constants are few: half as many again leaves room for them.
        operands <= MAX_OPERANDS && operands + insts + insts / 2 < MAX_VALUES
    }
}
