//! From clusters to fused instructions.

use std::collections::{HashMap, HashSet};

use super::clusters::Clusters;
use super::kinds::{Kind, Kinds};
use super::{Users, producer};
use crate::dtype::DType;
use crate::error::Result;
use crate::op::{FusedInst, FusedOp, FusedReduction, FusedRegion, Op};
use crate::passes::emit::Emitter;
use crate::program::{Inst, Program, ValueId};

/// What is emitted at once.
pub(super) enum Unit {
    /// An instruction as it is.
    Inst(usize),
    /// A region.
    Region(Draft),
}

impl Unit {
    /// The index of its last instruction.
    pub(super) fn place(&self) -> usize {
        match self {
            Unit::Inst(i) => *i,
            Unit::Region(draft) => draft.insts[draft.insts.len() - 1],
        }
    }

    /// The values that it reads.
    pub(super) fn operands<'a>(&'a self, p: &'a Program) -> &'a [ValueId] {
        match self {
            Unit::Inst(i) => &p.insts[*i].inputs,
            Unit::Region(draft) => &draft.operands,
        }
    }

    /// The values that it writes.
    pub(super) fn results<'a>(&'a self, p: &'a Program) -> &'a [ValueId] {
        match self {
            Unit::Inst(i) => &p.insts[*i].outputs,
            Unit::Region(draft) => &draft.outputs,
        }
    }
}

/// A region in terms of the old program.
pub(super) struct Draft {
    /// Its instructions, ascending: members of the cluster and repeated ones.
    insts: Vec<usize>,
    /// Values that it reads, and that are no numbers.
    operands: Vec<ValueId>,
    /// Values that it writes: whole ones first, then reductions.
    outputs: Vec<ValueId>,
}

/// The units that all results of the program are computed by.
pub(super) fn units(
    p: &Program,
    kinds: &Kinds,
    users: &Users,
    clusters: &Clusters,
    values: &[HashSet<ValueId>],
) -> Vec<Unit> {
    let live = Live::new(p, users, clusters, values);
    let mut units: Vec<Unit> = (0..p.insts.len())
        .filter(|&i| clusters.of[i].is_none())
        .map(Unit::Inst)
        .collect();
    for (c, insts) in live.insts.into_iter().enumerate() {
        let mut insts: Vec<usize> = insts.into_iter().collect();
        insts.sort_unstable();
        match insts.as_slice() {
            [] => {}
            [i] if is_plain(p, kinds, *i) => units.push(Unit::Inst(*i)),
            _ => units.push(Unit::Region(draft(
                p,
                kinds,
                clusters,
                &live.written,
                c,
                insts,
            ))),
        }
    }
    units
}

/// Whether an instruction gains nothing from being a region of its own.
fn is_plain(p: &Program, kinds: &Kinds, i: usize) -> bool {
    let inst = &p.insts[i];
    matches!(inst.op, Op::Reduce { .. }) || !inst.inputs.iter().any(|&v| kinds.number[v].is_some())
}

/// What has to be computed, and by which cluster.
struct Live<'a> {
    p: &'a Program,
    clusters: &'a Clusters,
    values: &'a [HashSet<ValueId>],
    /// For each cluster, the instructions that it computes.
    insts: Vec<HashSet<usize>>,
    /// Whether a value is read outside the cluster that computes it.
    written: Vec<bool>,
}

impl<'a> Live<'a> {
    fn new(
        p: &'a Program,
        users: &Users,
        clusters: &'a Clusters,
        values: &'a [HashSet<ValueId>],
    ) -> Live<'a> {
        let mut live = Live {
            p,
            clusters,
            values,
            insts: vec![HashSet::new(); clusters.members.len()],
            written: vec![false; p.values.len()],
        };
        let mut pending: Vec<(usize, usize)> = Vec::new();
        for v in (0..p.values.len()).filter(|&v| users.result[v]) {
            live.write(v, &mut pending);
        }
        for (i, inst) in p.insts.iter().enumerate() {
            if clusters.of[i].is_none() {
                inst.inputs
                    .iter()
                    .for_each(|&v| live.write(v, &mut pending));
            }
        }
        while let Some((c, i)) = pending.pop() {
            if !live.insts[c].insert(i) {
                continue;
            }
            for &v in &p.insts[i].inputs {
                match producer(p, v).filter(|_| values[c].contains(&v)) {
                    Some(within) => pending.push((c, within)),
                    None => live.write(v, &mut pending),
                }
            }
        }
        live
    }

    /// Says that a value is read outside its cluster.
    fn write(&mut self, v: ValueId, pending: &mut Vec<(usize, usize)>) {
        if let Some(i) = producer(self.p, v)
            && let Some(home) = self.clusters.of[i]
            && !std::mem::replace(&mut self.written[v], true)
        {
            debug_assert!(self.values[home].contains(&v));
            pending.push((home, i));
        }
    }
}

fn draft(
    p: &Program,
    kinds: &Kinds,
    clusters: &Clusters,
    written: &[bool],
    c: usize,
    insts: Vec<usize>,
) -> Draft {
    let results: HashSet<ValueId> = insts.iter().map(|&i| p.insts[i].outputs[0]).collect();
    let mut operands = Vec::new();
    for &v in insts.iter().flat_map(|&i| &p.insts[i].inputs) {
        if !results.contains(&v) && !operands.contains(&v) && kinds.number[v].is_none() {
            operands.push(v);
        }
    }
    let own = insts.iter().filter(|&&i| clusters.of[i] == Some(c));
    let own = own.map(|&i| (is_reduction(&p.insts[i]), p.insts[i].outputs[0]));
    let mut outputs: Vec<(bool, ValueId)> = own.filter(|&(_, v)| written[v]).collect();
    outputs.sort_by_key(|&(reduction, _)| reduction);
    Draft {
        insts,
        operands,
        outputs: outputs.into_iter().map(|(_, v)| v).collect(),
    }
}

fn is_reduction(inst: &Inst) -> bool {
    matches!(inst.op, Op::Reduce { .. })
}

impl Draft {
    /// Emits the region and binds what it writes.
    ///
    /// # Errors
    /// When the region does not fit: a fault of this library.
    pub(super) fn emit(&self, e: &mut Emitter, old: &Program, kinds: &Kinds) -> Result<()> {
        let region = Code::new(old, kinds, self).region(old, kinds, self);
        let inputs = e.mapped(&self.operands);
        let scopes = self.insts.iter().rev().map(|&i| &old.insts[i].scope);
        let scope = scopes.clone().find(|s| s.is_some()).cloned().flatten();
        let outputs = e.op(Op::Fused(Box::new(region)), inputs, &scope)?;
        for (&o, new) in self.outputs.iter().zip(outputs) {
            let shape = &old.values[o].shape;
            let mut value = new;
            if e.shape(new) != shape {
                // A reduction over a part of the space that had axes of size 1 beside it.
                let shape = e.sizes(shape);
                value = e.one(Op::Reshape, vec![new, shape], &scope)?;
            }
            e.bind(&[o], &[value]);
        }
        Ok(())
    }
}

/// A region's instructions while they are numbered.
struct Code {
    inputs: usize,
    insts: Vec<FusedInst>,
    /// The number of each value of the old program that the region has.
    place: HashMap<ValueId, usize>,
    constants: HashMap<(u64, DType), usize>,
}

impl Code {
    fn new(p: &Program, kinds: &Kinds, draft: &Draft) -> Code {
        let operands = draft.operands.iter().enumerate();
        let mut code = Code {
            inputs: draft.operands.len(),
            insts: Vec::new(),
            place: operands.map(|(k, &v)| (v, k)).collect(),
            constants: HashMap::new(),
        };
        let elements = draft.insts.iter().map(|&i| &p.insts[i]);
        for inst in elements.filter(|i| !is_reduction(i)) {
            let args = inst
                .inputs
                .iter()
                .map(|&v| code.value(p, kinds, v))
                .collect();
            let op = match &inst.op {
                Op::Unary(op) => FusedOp::Unary(*op),
                Op::Binary(op) => FusedOp::Binary(*op),
                Op::Select => FusedOp::Select,
                Op::Cast(_) => FusedOp::Cast,
                other => unreachable!("{} is not elementwise", other.name()),
            };
            let dtype = p.values[inst.outputs[0]].dtype;
            let number = code.push(FusedInst { op, args, dtype });
            code.place.insert(inst.outputs[0], number);
        }
        code
    }

    fn push(&mut self, inst: FusedInst) -> usize {
        self.insts.push(inst);
        self.inputs + self.insts.len() - 1
    }

    /// The number of a value; of a constant, which becomes an instruction.
    fn value(&mut self, p: &Program, kinds: &Kinds, v: ValueId) -> usize {
        if let Some(&number) = self.place.get(&v) {
            return number;
        }
        let bits = kinds.number[v].expect("operands are placed").to_bits();
        let dtype = p.values[v].dtype;
        if let Some(&number) = self.constants.get(&(bits, dtype)) {
            return number;
        }
        let op = FusedOp::Const(bits);
        let args = Vec::new();
        let number = self.push(FusedInst { op, args, dtype });
        self.constants.insert((bits, dtype), number);
        number
    }

    fn region(mut self, p: &Program, kinds: &Kinds, draft: &Draft) -> FusedRegion {
        let first = &p.insts[draft.insts[0]];
        let space = match is_reduction(first) {
            true => p.values[first.inputs[0]].shape.clone(),
            false => p.values[first.outputs[0]].shape.clone(),
        };
        let (mut outputs, mut reductions) = (Vec::new(), Vec::new());
        for &v in &draft.outputs {
            let i = producer(p, v).expect("regions compute their outputs");
            match kinds.of[i] {
                Kind::Reduce { op, over, .. } => {
                    let value = self.value(p, kinds, p.insts[i].inputs[0]);
                    reductions.push(FusedReduction { op, value, over });
                }
                Kind::Element(_) | Kind::Other => outputs.push(self.place[&v]),
            }
        }
        FusedRegion {
            space,
            inputs: self.inputs,
            insts: self.insts,
            outputs,
            reductions,
            streams: false,
        }
    }
}
