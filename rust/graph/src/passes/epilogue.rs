//! Bias and activation into the products and convolutions that they follow.
//!
//! `matmul -> [reshape] -> add a bias over the last axis -> [activation]` becomes one operation,
//! where each step is the only use of the one before. Gradients read an activation's result, so
//! that training does not need what is left out.

use super::emit::Emitter;
use crate::error::Result;
use crate::op::{BinaryOp, Epilogue, EpilogueActivation, Op, UnaryOp};
use crate::program::{Inst, Program, ValueId};

/// Instructions that become one operation.
struct Chain {
    /// Their indices: the product or convolution first.
    members: Vec<usize>,
    /// What is added.
    bias: Option<ValueId>,
    /// What is applied last.
    activation: Option<EpilogueActivation>,
}

/// The program with epilogues.
///
/// # Errors
/// When a fused operation does not fit: a fault of this library.
pub(super) fn run(old: &Program) -> Result<Program> {
    let only_user = only_users(old);
    let mut chain_of: Vec<Option<usize>> = vec![None; old.insts.len()];
    let mut chains = Vec::new();
    for root in 0..old.insts.len() {
        if let Some(chain) = follow(old, &only_user, &chain_of, root) {
            for &member in &chain.members {
                chain_of[member] = Some(chains.len());
            }
            chains.push(chain);
        }
    }
    let mut e = Emitter::new(old);
    for (i, inst) in old.insts.iter().enumerate() {
        match chain_of[i].map(|c| &chains[c]) {
            None => e.copy(old, inst),
            Some(chain) if chain.members.last() == Some(&i) => emit(&mut e, old, chain)?,
            Some(_) => {}
        }
    }
    Ok(e.finish(old))
}

/// For each value the instruction that reads it, if it is read once and is no result.
fn only_users(p: &Program) -> Vec<Option<usize>> {
    let uses = p.uses();
    let mut user = vec![None; p.values.len()];
    for (i, inst) in p.insts.iter().enumerate() {
        for &v in inst.inputs.iter().filter(|&&v| uses[v] == 1) {
            user[v] = Some(i);
        }
    }
    user
}

fn has_room(op: &Op) -> bool {
    match op {
        Op::MatMul { epilogue, .. } | Op::Conv(_, epilogue) => *epilogue == Epilogue::default(),
        _ => false,
    }
}

/// The chain that starts at an instruction, if something can be taken into it.
fn follow(
    p: &Program,
    only_user: &[Option<usize>],
    taken: &[Option<usize>],
    root: usize,
) -> Option<Chain> {
    if !has_room(&p.insts[root].op) {
        return None;
    }
    let mut v = p.insts[root].outputs[0];
    let n = *p.values[v].shape.last()?;
    let mut chain = Chain {
        members: vec![root],
        bias: None,
        activation: None,
    };
    // Members up to the last that did something: a reshape alone gains nothing.
    let mut useful = 1;
    while let Some(user) = only_user[v].filter(|&u| taken[u].is_none()) {
        let inst = &p.insts[user];
        match inst.op {
            Op::Reshape if p.values[inst.outputs[0]].shape.last() == Some(&n) => {}
            Op::Binary(BinaryOp::Add) if chain.bias.is_none() => {
                match bias_of(p, inst, v, n) {
                    Some(bias) => chain.bias = Some(bias),
                    None => break,
                }
                useful = chain.members.len() + 1;
            }
            Op::Unary(op) => {
                match activation(op) {
                    Some(a) => chain.activation = Some(a),
                    None => break,
                }
                useful = chain.members.len() + 1;
            }
            _ => break,
        }
        chain.members.push(user);
        v = inst.outputs[0];
        if chain.activation.is_some() {
            break;
        }
    }
    chain.members.truncate(useful);
    (useful > 1).then_some(chain)
}

fn activation(op: UnaryOp) -> Option<EpilogueActivation> {
    match op {
        UnaryOp::Relu => Some(EpilogueActivation::Relu),
        UnaryOp::Sigmoid => Some(EpilogueActivation::Sigmoid),
        UnaryOp::Tanh => Some(EpilogueActivation::Tanh),
        _ => None,
    }
}

/// The operand that an addition adds to `v`, if it is a vector over the last axis, of size `n`.
fn bias_of(p: &Program, add: &Inst, v: ValueId, n: usize) -> Option<ValueId> {
    let bias = add.inputs[usize::from(add.inputs[0] == v)];
    let value = &p.values[bias];
    let vector = value.shape.last() == Some(&n) && value.len() == n;
    let same = p.values[add.outputs[0]].shape == p.values[v].shape;
    (vector && same).then_some(bias)
}

fn emit(e: &mut Emitter, old: &Program, chain: &Chain) -> Result<()> {
    let root = &old.insts[chain.members[0]];
    let last = &old.insts[chain.members[chain.members.len() - 1]];
    let scope = &root.scope;
    let mut inputs = e.mapped(&root.inputs);
    if let Some(bias) = chain.bias {
        let mut bias = e.mapped(&[bias])[0];
        if e.shape(bias).len() != 1 {
            let n = e.shape(bias).iter().product();
            let vector = e.sizes(&[n]);
            bias = e.one(Op::Reshape, vec![bias, vector], scope)?;
        }
        inputs.push(bias);
    }
    let epilogue = Epilogue {
        bias: chain.bias.is_some(),
        activation: chain.activation,
    };
    let op = match &root.op {
        Op::MatMul {
            transpose_a,
            transpose_b,
            ..
        } => Op::MatMul {
            transpose_a: *transpose_a,
            transpose_b: *transpose_b,
            epilogue,
        },
        Op::Conv(attrs, _) => Op::Conv(attrs.clone(), epilogue),
        other => unreachable!("{} takes no epilogue", other.name()),
    };
    let mut value = e.one(op, inputs, scope)?;
    let shape = &old.values[last.outputs[0]].shape;
    if e.shape(value) != shape {
        let shape = e.sizes(shape);
        value = e.one(Op::Reshape, vec![value, shape], scope)?;
    }
    e.bind(&last.outputs, &[value]);
    Ok(())
}
