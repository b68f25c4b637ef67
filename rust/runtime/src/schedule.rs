//! The order of a plan's instructions.
//!
//! Instructions run as early as their operands allow, level by level, so that a weight's gradient
//! is taken right after the gradient that it needs and activations die early. What depends on
//! leaves alone (a random mask, a transposed weight) waits until just before its first use.

use hornbeam_graph::Program;
use hornbeam_graph::program::Source;

/// The program with its instructions reordered.
pub(crate) fn schedule(mut program: Program) -> Program {
    let order = order(&program);
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
    program
}

fn order(program: &Program) -> Vec<usize> {
    let n = program.insts.len();
    let producer = |v: usize| match program.values[v].source {
        Source::Inst { inst, .. } => Some(inst),
        _ => None,
    };
    let mut level = vec![0usize; n];
    for (i, inst) in program.insts.iter().enumerate() {
        let operands = inst.inputs.iter().filter_map(|&v| producer(v));
        level[i] = operands.map(|p| level[p] + 1).max().unwrap_or(0);
    }
    // Chains from leaves alone sink to their first user; a walk from the end sees users first.
    let mut first_use = vec![usize::MAX; n];
    for (i, inst) in program.insts.iter().enumerate().rev() {
        let from_leaves = inst.inputs.iter().all(|&v| {
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
    order
}
