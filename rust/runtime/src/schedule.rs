//! The order of a plan's instructions.
//!
//! Instructions run as early as their operands allow, level by level, so that a weight's gradient
//! is taken right after the gradient that it needs and activations die early. What depends on
//! leaves alone (a random mask, a transposed weight) waits until just before its first use.
//! Operations over shards run in the order of their places, since other processes wait for them in
//! that order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hornbeam_graph::program::Source;
use hornbeam_graph::{Op, Program};

use crate::error::{Result, RuntimeError};

/// The program with its instructions reordered.
///
/// # Errors
/// When the places of operations over shards are not in the order in which they depend on each
/// other.
pub(crate) fn schedule(mut program: Program) -> Result<Program> {
    let order = order(&program)?;
    let mut place = vec![0; order.len()];
    for (new, &old) in order.iter().enumerate() {
        place[old] = new;
    }
    for value in &mut program.values {
        if let Source::Inst { inst, .. } = &mut value.source {
            *inst = place[*inst];
        }
    }
    let mut insts: Vec<_> = program.insts.into_iter().map(Some).collect();
    program.insts = order
        .iter()
        .map(|&i| insts[i].take().expect("an order names each once"))
        .collect();
    Ok(program)
}

fn order(program: &Program) -> Result<Vec<usize>> {
    let n = program.insts.len();
    let producer = |v: usize| match program.values[v].source {
        Source::Inst { inst, .. } => Some(inst),
        _ => None,
    };
    let before = over_shards(program);
    let mut level = vec![0usize; n];
    for i in topological(program, &before)? {
        let operands = program.insts[i].inputs.iter().filter_map(|&v| producer(v));
        let all = operands.chain(before[i]);
        level[i] = all.map(|p| level[p] + 1).max().unwrap_or(0);
    }
    // Chains from leaves alone sink to their first user; a walk from the end sees users first.
    let mut first_use = vec![usize::MAX; n];
    for (i, inst) in program.insts.iter().enumerate().rev() {
        let from_leaves = !matches!(inst.op, Op::OverShards(_))
            && inst.inputs.iter().all(|&v| {
                !matches!(
                    program.values[v].source,
                    Source::Inst { .. } | Source::Input(_)
                )
            });
        if from_leaves && first_use[i] != usize::MAX {
            level[i] = first_use[i].saturating_sub(1).max(level[i]);
        }
        for p in inst.inputs.iter().filter_map(|&v| producer(v)) {
            first_use[p] = first_use[p].min(level[i]);
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|&i| (level[i], i));
    Ok(order)
}

/// For each operation over shards, the one before it.
fn over_shards(program: &Program) -> Vec<Option<usize>> {
    let place = |i: &usize| match program.insts[*i].op {
        Op::OverShards(over) => Some((over.place, *i)),
        _ => None,
    };
    let mut places: Vec<(u32, usize)> =
        (0..program.insts.len()).filter_map(|i| place(&i)).collect();
    places.sort_unstable();
    let mut before = vec![None; program.insts.len()];
    for pair in places.windows(2) {
        before[pair[1].1] = Some(pair[0].1);
    }
    before
}

/// The instructions behind those that they need and the one that has to be `before`.
fn topological(program: &Program, before: &[Option<usize>]) -> Result<Vec<usize>> {
    let n = program.insts.len();
    if before.iter().all(Option::is_none) {
        return Ok((0..n).collect());
    }
    let mut users = vec![Vec::new(); n];
    let mut open = vec![0usize; n];
    for (i, inst) in program.insts.iter().enumerate() {
        let operands = inst
            .inputs
            .iter()
            .filter_map(|&v| match program.values[v].source {
                Source::Inst { inst, .. } => Some(inst),
                _ => None,
            });
        for p in operands.chain(before[i]) {
            users[p].push(i);
            open[i] += 1;
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> = BinaryHeap::new();
    ready.extend((0..n).filter(|&i| open[i] == 0).map(Reverse));
    let mut found = Vec::with_capacity(n);
    while let Some(Reverse(i)) = ready.pop() {
        found.push(i);
        for &user in &users[i] {
            open[user] -= 1;
            if open[user] == 0 {
                ready.push(Reverse(user));
            }
        }
    }
    if found.len() < n {
        return Err(RuntimeError::Argument(
            "statistics over shards wait for each other: their gradient cannot be differentiated \
             once more"
                .to_string(),
        ));
    }
    Ok(found)
}
