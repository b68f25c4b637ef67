//! Levels: what has one space and one level may be fused.

use super::kinds::{Kind, Kinds};
use super::{Users, producer};
use crate::program::{Program, ValueId};

/// The level of each instruction: as early as operands allow, but later where that lets it join
/// its users.
pub(super) fn assign(p: &Program, kinds: &Kinds, users: &Users) -> Vec<u32> {
    let mut level = vec![0u32; p.insts.len()];
    for (i, inst) in p.insts.iter().enumerate() {
        let from = inst.inputs.iter().filter_map(|&v| producer(p, v));
        level[i] = from
            .map(|o| level[o] + climb(kinds, o, i))
            .max()
            .unwrap_or(0);
    }
    for i in (0..p.insts.len()).rev() {
        if let Some(later) = sink(p, kinds, users, &level, i) {
            level[i] = later;
        }
    }
    level
}

/// What a step from an operand's instruction to a user's adds to the level.
fn climb(kinds: &Kinds, operand: usize, user: usize) -> u32 {
    match (kinds.of[operand], kinds.of[user].space()) {
        (Kind::Element(space), Some(other)) if space == other => 0,
        _ => 1,
    }
}

/// The later level at which an instruction joins its users, if it need not be computed before and
/// no more large values have to be kept until then than its own.
fn sink(p: &Program, kinds: &Kinds, users: &Users, level: &[u32], i: usize) -> Option<u32> {
    let Kind::Element(space) = kinds.of[i] else {
        return None;
    };
    let inst = &p.insts[i];
    let result = inst.outputs[0];
    let readers = &users.insts[result];
    let bounds = readers.iter().map(|&u| level[u] - climb(kinds, i, u));
    let bound = bounds.min()?;
    let joins = |&u: &usize| climb(kinds, i, u) == 0 && level[u] == bound;
    if bound <= level[i] || !readers.iter().any(joins) {
        return None;
    }
    let ends_here = |&v: &ValueId| {
        kinds.shape[v] == Some(space)
            && producer(p, v).is_some()
            && !users.result[v]
            && users.insts[v].iter().all(|&u| level[u] + NEAR < bound)
    };
    let bytes = |v: ValueId| p.values[v].bytes();
    let mut kept: Vec<ValueId> = inst.inputs.iter().copied().filter(ends_here).collect();
    kept.sort_unstable();
    kept.dedup();
    let kept: usize = kept.into_iter().map(bytes).sum();
    // A mask of bytes is cheaper to keep than the floats it was made of, unless it is used soon.
    (kept <= bytes(result) || bound - level[i] <= NEAR).then_some(bound)
}

/// Levels within which a value may be kept longer without regard to memory: what else is done at
/// that distance is done at about the same time.
const NEAR: u32 = 3;
