//! Operations over shards in the order of their places.
//!
//! Other processes run the same operations over shards, of programs for other shapes, and each waits
//! for all to come to the same one. So every program has them in one order: each takes a result of
//! the one before as one more operand, which later passes and the order of a plan keep to.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::error::{GraphError, Result};
use crate::op::Op;
use crate::program::{Program, Source};

/// The program with its operations over shards in order.
///
/// # Errors
/// When their places are not in the order in which they depend on each other.
pub(super) fn run(program: &Program) -> Result<Program> {
    let mut program = program.clone();
    let place = |i: usize| match program.insts[i].op {
        Op::OverShards(over) => Some((over.place, i)),
        _ => None,
    };
    let mut places: Vec<(u32, usize)> = (0..program.insts.len()).filter_map(place).collect();
    if places.len() < 2 {
        return Ok(program);
    }
    places.sort_unstable();
    for pair in places.windows(2) {
        let (before, i) = (pair[0].1, pair[1].1);
        let token = program.insts[before].outputs[0];
        let inst = &mut program.insts[i];
        if let Op::OverShards(over) = &mut inst.op
            && !over.after
        {
            over.after = true;
            inst.inputs.push(token);
        }
    }
    sorted(program)
}

/// The program with instructions behind those that they need, in their order otherwise.
fn sorted(mut program: Program) -> Result<Program> {
    let n = program.insts.len();
    let mut users = vec![Vec::new(); n];
    let mut open = vec![0usize; n];
    for (i, inst) in program.insts.iter().enumerate() {
        for &v in &inst.inputs {
            if let Source::Inst { inst: needed, .. } = program.values[v].source {
                users[needed].push(i);
                open[i] += 1;
            }
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> = BinaryHeap::new();
    ready.extend((0..n).filter(|&i| open[i] == 0).map(Reverse));
    let mut order = Vec::with_capacity(n);
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for &user in &users[i] {
            open[user] -= 1;
            if open[user] == 0 {
                ready.push(Reverse(user));
            }
        }
    }
    if order.len() < n {
        return Err(GraphError::Compile(
            "statistics over shards wait for each other: the gradient of what depends on their \
             gradient cannot be computed over shards"
                .to_string(),
        ));
    }
    let mut place = vec![0; n];
    for (new, &old) in order.iter().enumerate() {
        place[old] = new;
    }
    for value in &mut program.values {
        if let Source::Inst { inst, .. } = &mut value.source {
            *inst = place[*inst];
        }
    }
    let mut insts: Vec<_> = program.insts.into_iter().map(Some).collect();
    let in_order = order.iter().filter_map(|&i| insts[i].take());
    program.insts = in_order.collect();
    Ok(program)
}
