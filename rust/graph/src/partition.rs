//! Updates that several processes can share: each computes a range of the elements.
//!
//! What most optimizers do to a weight is one fused region over its elements: a new value depends on
//! the same element of the gradient and of the optimizer's state alone. Such updates are taken out
//! of a program, to be run for ranges of elements; a program is left that does the rest. What looks
//! beyond its element (a norm over all gradients, a constraint over an axis) stays in the rest.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::dtype::DType;
use crate::op::{BinaryOp, FusedInst, FusedOp, FusedRegion, Op, VarId};
use crate::passes::fuse::{MAX_OPERANDS, MAX_VALUES};
use crate::program::{Inst, Program, Source, Value, ValueId};

/// Updates of so many bytes leave nothing else in the cache.
const STREAMED: usize = 16 << 20;

/// Updates of variables of one shape that depend on each other element by element.
#[derive(Clone, Debug)]
pub struct Part {
    /// Number of elements of each operand and result.
    pub elements: usize,
    /// The program's inputs among the operands.
    pub averages: Vec<usize>,
    /// The variables among the operands.
    pub variables: Vec<VarId>,
    /// The variables that are updated, in the order of the results.
    pub updates: Vec<VarId>,
    insts: Vec<usize>,
}

/// A program whose updates of many elements are apart.
#[derive(Clone, Debug)]
pub struct Partition {
    /// The updates that can be computed for ranges of elements.
    pub parts: Vec<Part>,
    /// The program without them, with all its inputs.
    pub rest: Program,
    program: Program,
}

/// How the sum of partial sums is formed: operands come first, then the results of the joins, each
/// of two values before it. The last is the sum.
pub type Joins = [(usize, usize)];

impl Partition {
    /// Takes the updates of variables of at least `least` elements out of a program that has gone
    /// through all passes.
    #[must_use]
    pub fn of(program: &Program, least: usize) -> Partition {
        let parts = Search::new(program, least).parts();
        let apart: BTreeSet<VarId> = parts.iter().flat_map(|p| p.updates.clone()).collect();
        let mut rest = program.clone();
        rest.updates.retain(|(id, _)| !apart.contains(id));
        let rest = rest.without_dead_code();
        Partition {
            parts,
            rest,
            program: program.clone(),
        }
    }

    /// The program of the parts for so many elements of each. Its inputs are, for each part, the
    /// partial sums of each average and then the variables; its outputs the new values of the
    /// variables that are updated. Other variables it reads by itself.
    ///
    /// # Panics
    /// When there are not as many lengths as parts.
    #[must_use]
    pub fn of_ranges(&self, lengths: &[usize], sums: usize, joins: &Joins) -> Program {
        assert_eq!(lengths.len(), self.parts.len(), "a length for each part");
        let mut build = Build {
            old: &self.program,
            new: Program::default(),
            map: HashMap::new(),
        };
        for (part, &length) in self.parts.iter().zip(lengths) {
            build.part(part, length, sums, joins);
        }
        build.new
    }
}

/// What a full-size operand is to a region.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Leaf {
    Average(usize),
    Variable(VarId),
    Value(ValueId),
}

/// Finds the parts of a program.
struct Search<'a> {
    program: &'a Program,
    /// For each instruction, the first of those that belong together, if it works element by element.
    group: Vec<Option<usize>>,
}

impl<'a> Search<'a> {
    fn new(program: &'a Program, least: usize) -> Self {
        let fits = |(i, inst): (usize, &Inst)| is_by_element(program, inst, least).then_some(i);
        let mut search = Search {
            program,
            group: program.insts.iter().enumerate().map(fits).collect(),
        };
        let mut first: BTreeMap<Leaf, usize> = BTreeMap::new();
        for i in 0..program.insts.len() {
            if search.group[i].is_none() {
                continue;
            }
            for leaf in search.leaves(i) {
                if let Leaf::Value(v) = leaf
                    && let Source::Inst { inst, .. } = program.values[v].source
                    && search.group[inst].is_some()
                {
                    search.join(inst, i);
                }
                match first.get(&leaf) {
                    Some(&other) => search.join(other, i),
                    None => drop(first.insert(leaf, i)),
                }
            }
        }
        search
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.group[a], self.group[b]);
        for group in self.group.iter_mut().filter(|g| **g == b) {
            *group = a;
        }
    }

    /// The operands of an instruction that have its elements.
    fn leaves(&self, i: usize) -> BTreeSet<Leaf> {
        let inst = &self.program.insts[i];
        let values = &self.program.values;
        let full = inst.inputs.iter().filter(|&&v| values[v].len() > 1);
        full.map(|&v| match values[v].source {
            Source::Input(k) => Leaf::Average(k),
            Source::Variable(id) => Leaf::Variable(id),
            _ => Leaf::Value(v),
        })
        .collect()
    }

    fn parts(&self) -> Vec<Part> {
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, group) in self.group.iter().enumerate() {
            if let Some(group) = group {
                groups.entry(*group).or_default().push(i);
            }
        }
        groups.into_values().filter_map(|g| self.part(g)).collect()
    }

    /// The part that instructions make, if nothing else has to do with their values.
    fn part(&self, insts: Vec<usize>) -> Option<Part> {
        let p = self.program;
        let is_own = |i: usize| insts.binary_search(&i).is_ok();
        let leaves: BTreeSet<Leaf> = insts.iter().flat_map(|&i| self.leaves(i)).collect();
        let (mut averages, mut variables) = (Vec::new(), Vec::new());
        for leaf in leaves {
            match leaf {
                Leaf::Average(k) => averages.push(k),
                Leaf::Variable(id) => variables.push(id),
                Leaf::Value(v) => match p.values[v].source {
                    Source::Inst { inst, .. } if is_own(inst) => {}
                    _ => return None,
                },
            }
        }
        let results: BTreeSet<ValueId> = insts
            .iter()
            .flat_map(|&i| p.insts[i].outputs.iter().copied())
            .collect();
        let taken = |v: &ValueId| {
            results.contains(v)
                || matches!(p.values[*v].source, Source::Input(k) if averages.contains(&k))
        };
        let others = p.insts.iter().enumerate().filter(|(i, _)| !is_own(*i));
        // A new value may be a result, but not an average itself, of which nobody has the sum.
        let new = p.updates.iter().map(|(_, v)| v);
        let mut beyond = others
            .flat_map(|(_, inst)| inst.inputs.iter())
            .chain(&p.outputs)
            .chain(new.filter(|v| !results.contains(v)));
        let scalars = insts.iter().flat_map(|&i| &p.insts[i].inputs);
        let mut scalars = scalars.filter(|&&v| p.values[v].len() == 1);
        if averages.is_empty() || beyond.any(taken) || scalars.any(|&v| self.needs_input(v)) {
            return None;
        }
        let updates = p.updates.iter().filter(|(_, v)| results.contains(v));
        Some(Part {
            elements: p.values[p.insts[insts[0]].outputs[0]].len(),
            averages,
            variables,
            updates: updates.map(|(id, _)| *id).collect(),
            insts,
        })
    }

    /// Whether a value depends on an input.
    fn needs_input(&self, v: ValueId) -> bool {
        let mut stack = vec![v];
        let mut seen = BTreeSet::new();
        while let Some(v) = stack.pop() {
            if !seen.insert(v) {
                continue;
            }
            match self.program.values[v].source {
                Source::Input(_) => return true,
                Source::Inst { inst, .. } => stack.extend(&self.program.insts[inst].inputs),
                Source::Variable(_) | Source::Constant(_) => {}
            }
        }
        false
    }
}

/// Whether a value broadcasts to any number of elements.
fn is_scalar(value: &Value) -> bool {
    value.len() == 1 && value.shape.len() <= 1
}

/// Whether an instruction computes float32 values of many elements, each from the same element of
/// its operands or from scalars.
fn is_by_element(p: &Program, inst: &Inst, least: usize) -> bool {
    let Op::Fused(region) = &inst.op else {
        return false;
    };
    let value = |v: &ValueId| &p.values[*v];
    let is_full = |v: &Value| v.shape == region.space && v.dtype == DType::F32;
    let elements: usize = region.space.iter().product();
    elements >= least.max(2)
        && region.reductions.is_empty()
        && inst.outputs.iter().map(value).all(is_full)
        && inst
            .inputs
            .iter()
            .map(value)
            .all(|v| is_scalar(v) || is_full(v))
}

/// A program of parts under construction.
struct Build<'a> {
    old: &'a Program,
    new: Program,
    /// The values here of values of the old program that are not of a part alone.
    map: HashMap<ValueId, ValueId>,
}

impl Build<'_> {
    fn push(&mut self, dtype: DType, shape: Vec<usize>, source: Source) -> ValueId {
        self.new.values.push(Value {
            dtype,
            shape,
            source,
        });
        self.new.values.len() - 1
    }

    fn input(&mut self, length: usize) -> ValueId {
        let source = Source::Input(self.new.inputs.len());
        let v = self.push(DType::F32, vec![length], source);
        self.new.inputs.push(v);
        v
    }

    fn part(&mut self, part: &Part, length: usize, sums: usize, joins: &Joins) {
        let averages = part.averages.iter();
        let mut leaves: BTreeMap<usize, Vec<ValueId>> = averages
            .map(|&k| (k, (0..sums).map(|_| self.input(length)).collect()))
            .collect();
        let variables = part.variables.iter();
        let variables: HashMap<VarId, ValueId> =
            variables.map(|&id| (id, self.input(length))).collect();
        // What several regions read is summed once, in front of them.
        for (k, sums) in &mut leaves {
            if joins.is_empty() || self.is_inline(part, *k, sums.len() - 1 + joins.len()) {
                continue;
            }
            let region = FusedRegion {
                space: vec![length],
                inputs: sums.len(),
                insts: joins.iter().map(|&(a, b)| add(a, b)).collect(),
                outputs: vec![sums.len() + joins.len() - 1],
                reductions: Vec::new(),
                streams: false,
            };
            let inputs = std::mem::take(sums);
            *sums = self.inst(Op::Fused(Box::new(region)), inputs, 1, length, None);
        }
        let operands = part.insts.iter().flat_map(|&i| &self.old.insts[i].inputs);
        let is_read: BTreeSet<ValueId> = operands.copied().collect();
        let written = part.elements * part.updates.len() * size_of::<f32>();
        let streams = written >= STREAMED;
        let mut own: HashMap<ValueId, ValueId> = HashMap::new();
        for &i in &part.insts {
            let old = &self.old.insts[i];
            let Op::Fused(region) = &old.op else { continue };
            let mut region = FusedRegion {
                space: vec![length],
                streams: streams && !old.outputs.iter().any(|v| is_read.contains(v)),
                ..(**region).clone()
            };
            let mut inputs = Vec::with_capacity(old.inputs.len());
            let mut to_sum = Vec::new();
            for (place, &v) in old.inputs.iter().enumerate() {
                let value = &self.old.values[v];
                inputs.push(match value.source {
                    Source::Input(k) => {
                        let sums = &leaves[&k];
                        if sums.len() > 1 {
                            to_sum.push((place, k));
                        }
                        sums[0]
                    }
                    Source::Variable(id) if value.len() > 1 => variables[&id],
                    Source::Inst { .. } if own.contains_key(&v) => own[&v],
                    _ => self.scalar(v),
                });
            }
            for (place, k) in to_sum {
                let more = &leaves[&k][1..];
                inputs.extend(more);
                sum_in_front(&mut region, place, more.len(), joins);
            }
            let (op, scope) = (Op::Fused(Box::new(region)), old.scope.clone());
            let outputs = self.inst(op, inputs, old.outputs.len(), length, scope);
            own.extend(old.outputs.iter().copied().zip(outputs));
        }
        for id in &part.updates {
            let updates = &self.old.updates;
            let new = updates.iter().find(|(other, _)| other == id);
            self.new.outputs.extend(new.map(|(_, v)| own[v]));
        }
    }

    /// Whether a sum of partial sums fits into the one region that reads it, which then has as many
    /// values more.
    fn is_inline(&self, part: &Part, k: usize, more: usize) -> bool {
        let reads = |inst: &&Inst| {
            let average = |v: &ValueId| self.old.values[*v].source == Source::Input(k);
            inst.inputs.iter().any(average)
        };
        let insts = part.insts.iter().map(|&i| &self.old.insts[i]);
        let readers: Vec<&Inst> = insts.filter(reads).collect();
        let [inst] = readers[..] else { return false };
        let Op::Fused(region) = &inst.op else {
            return false;
        };
        let all = more * part.averages.len();
        let places = inst.inputs.len();
        let distinct: BTreeSet<&ValueId> = inst.inputs.iter().collect();
        distinct.len() == places
            && places + all <= MAX_OPERANDS
            && places + region.insts.len() + all <= MAX_VALUES
    }

    fn inst(
        &mut self,
        op: Op,
        inputs: Vec<ValueId>,
        outputs: usize,
        length: usize,
        scope: Option<std::sync::Arc<str>>,
    ) -> Vec<ValueId> {
        let inst = self.new.insts.len();
        let source = |output| Source::Inst { inst, output };
        let outputs: Vec<ValueId> = (0..outputs)
            .map(|k| self.push(DType::F32, vec![length], source(k)))
            .collect();
        self.new.insts.push(Inst {
            op,
            inputs,
            outputs: outputs.clone(),
            scope,
        });
        outputs
    }

    /// A value that needs none of the inputs, with all that it needs.
    fn scalar(&mut self, v: ValueId) -> ValueId {
        let mut stack = vec![v];
        while let Some(&v) = stack.last() {
            if self.map.contains_key(&v) {
                stack.pop();
                continue;
            }
            let value = self.old.values[v].clone();
            let Source::Inst { inst, .. } = value.source else {
                self.new.values.push(value);
                self.map.insert(v, self.new.values.len() - 1);
                continue;
            };
            let old = &self.old.insts[inst];
            let missing = old.inputs.iter().filter(|v| !self.map.contains_key(v));
            let before = stack.len();
            stack.extend(missing);
            if stack.len() > before {
                continue;
            }
            let at = self.new.insts.len();
            let mut copy = old.clone();
            for input in &mut copy.inputs {
                *input = self.map[input];
            }
            for (output, v) in copy.outputs.iter_mut().enumerate() {
                let value = &self.old.values[*v];
                let source = Source::Inst { inst: at, output };
                self.new.values.push(Value {
                    source,
                    ..value.clone()
                });
                self.map.insert(*v, self.new.values.len() - 1);
                *v = self.new.values.len() - 1;
            }
            self.new.insts.push(copy);
        }
        self.map[&v]
    }
}

fn add(a: usize, b: usize) -> FusedInst {
    FusedInst {
        op: FusedOp::Binary(BinaryOp::Add),
        args: vec![a, b],
        dtype: DType::F32,
    }
}

/// Puts a sum in the place of a region's operand: of that operand and `more` that come behind the
/// others.
fn sum_in_front(region: &mut FusedRegion, place: usize, more: usize, joins: &Joins) {
    let operands = region.inputs;
    let shift = more + joins.len();
    let sum = operands + shift - 1;
    let moved = |v: usize| match v {
        v if v == place => sum,
        v if v < operands => v,
        v => v + shift,
    };
    // The operands of joins: the partial sums, then what was joined.
    let joined = |v: usize| if v == 0 { place } else { operands + v - 1 };
    let sums = joins.iter().map(|&(a, b)| add(joined(a), joined(b)));
    let mut insts: Vec<FusedInst> = sums.collect();
    for inst in &region.insts {
        let args = inst.args.iter().map(|&v| moved(v)).collect();
        insts.push(FusedInst {
            args,
            ..inst.clone()
        });
    }
    region.insts = insts;
    region.inputs += more;
    for output in &mut region.outputs {
        *output = moved(*output);
    }
}

#[cfg(test)]
mod tests;
