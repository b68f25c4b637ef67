//! Elementwise fusion: chains over one iteration space, with the reductions at their end, become
//! regions that run tile by tile.
//!
//! 1. [`kinds`]: what each instruction is to fusion, and over which space.
//! 2. [`levels`]: every instruction gets a level. An elementwise instruction has its operand's
//!    level where both run over one space; any other step from operand to result climbs. What has
//!    one space and one level can therefore be fused in any grouping: a path that leaves the group
//!    climbs and never comes back.
//! 3. [`clusters`]: groups are cut into what belongs together, within the limits of a region.
//! 4. [`remat`]: what is cheap is computed again rather than written out and read back.
//! 5. [`region`]: clusters become instructions.

mod clusters;
mod kinds;
mod levels;
mod region;
mod remat;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::emit::Emitter;
use crate::error::Result;
use crate::program::{Program, Source, ValueId};
use clusters::Clusters;
use kinds::Kinds;
use region::Unit;

/// The most operands of a region.
pub(crate) const MAX_OPERANDS: usize = 16;
/// The most values of a region: operands, constants and instructions.
pub(crate) const MAX_VALUES: usize = 64;

/// Who reads each value.
struct Users {
    /// Instructions, ascending.
    insts: Vec<Vec<usize>>,
    /// Whether it is an output or an update of the program.
    result: Vec<bool>,
}

impl Users {
    fn new(p: &Program) -> Users {
        let mut insts = vec![Vec::new(); p.values.len()];
        for (i, inst) in p.insts.iter().enumerate() {
            for &v in &inst.inputs {
                if insts[v].last() != Some(&i) {
                    insts[v].push(i);
                }
            }
        }
        let mut result = vec![false; p.values.len()];
        let results = p.outputs.iter().chain(p.updates.iter().map(|(_, v)| v));
        results.for_each(|&v| result[v] = true);
        Users { insts, result }
    }
}

/// The instruction that computes a value.
fn producer(p: &Program, v: ValueId) -> Option<usize> {
    match p.values[v].source {
        Source::Inst { inst, .. } => Some(inst),
        Source::Input(_) | Source::Variable(_) | Source::Constant(_) => None,
    }
}

/// The program with fused regions.
///
/// # Errors
/// When a region does not fit: a fault of this library.
pub(super) fn run(old: &Program) -> Result<Program> {
    let users = Users::new(old);
    let kinds = Kinds::new(old);
    let levels = levels::assign(old, &kinds, &users);
    let clusters = Clusters::new(old, &kinds, &levels);
    let values = remat::plan(old, &kinds, &users, &clusters);
    let units = region::units(old, &kinds, &users, &clusters, &values);
    let mut e = Emitter::new(old);
    for u in order(old, &units) {
        match &units[u] {
            Unit::Inst(i) => e.copy(old, &old.insts[*i]),
            Unit::Region(draft) => draft.emit(&mut e, old, &kinds)?,
        }
    }
    Ok(e.finish(old))
}

/// The units, operands first and otherwise in the order of their last instructions.
fn order(p: &Program, units: &[Unit]) -> Vec<usize> {
    let mut source = vec![None; p.values.len()];
    for (u, unit) in units.iter().enumerate() {
        unit.results(p).iter().for_each(|&v| source[v] = Some(u));
    }
    let mut waits = vec![0; units.len()];
    let mut readers = vec![Vec::new(); units.len()];
    for (u, unit) in units.iter().enumerate() {
        for from in unit.operands(p).iter().filter_map(|&v| source[v]) {
            waits[u] += 1;
            readers[from].push(u);
        }
    }
    let entry = |u: usize| Reverse((units[u].place(), u));
    let mut ready: BinaryHeap<_> = (0..units.len())
        .filter(|&u| waits[u] == 0)
        .map(entry)
        .collect();
    let mut order = Vec::with_capacity(units.len());
    while let Some(Reverse((_, u))) = ready.pop() {
        order.push(u);
        for &r in &readers[u] {
            waits[r] -= 1;
            if waits[r] == 0 {
                ready.push(entry(r));
            }
        }
    }
    debug_assert_eq!(order.len(), units.len(), "no region depends on itself");
    order
}

#[cfg(test)]
mod tests;
