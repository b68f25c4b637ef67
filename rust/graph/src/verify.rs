//! The invariants of programs, checked between passes.

use crate::dtype::DType;
use crate::error::{GraphError, Result};
use crate::literal::Literal;
use crate::op::{FusedRegion, Op, ReduceOver};
use crate::ops::infer_concrete;
use crate::program::{Program, Source};

/// Checks that operands are defined before they are used, that every value is what its source
/// says and has the type that inference gives, and that fused regions can be run.
///
/// # Errors
/// [`GraphError::Verify`] with the name of the pass that broke the program.
pub fn verify(program: &Program, pass: &'static str) -> Result<()> {
    check(program).map_err(|message| GraphError::Verify { pass, message })
}

fn check(p: &Program) -> std::result::Result<(), String> {
    for (v, value) in p.values.iter().enumerate() {
        let fits = match &value.source {
            Source::Input(k) => p.inputs.get(*k) == Some(&v),
            Source::Constant(l) => (l.dtype, &l.shape) == (value.dtype, &value.shape),
            Source::Variable(_) => true,
            Source::Inst { inst, output } => {
                p.insts.get(*inst).and_then(|i| i.outputs.get(*output)) == Some(&v)
            }
        };
        if !fits {
            return Err(format!(
                "value {v} is not what its source {:?} says",
                value.source
            ));
        }
    }
    let results = p.outputs.iter().chain(p.updates.iter().map(|(_, v)| v));
    if let Some(v) = results.chain(&p.inputs).find(|&&v| v >= p.values.len()) {
        return Err(format!("there is no value {v}"));
    }
    for (var, new) in &p.updates {
        let of_variable = |v: &&crate::program::Value| v.source == Source::Variable(*var);
        if let Some(old) = p.values.iter().find(of_variable) {
            let new = &p.values[*new];
            if (old.dtype, &old.shape) != (new.dtype, &new.shape) {
                return Err(format!(
                    "variable {var} of type {} {:?} is updated with {} {:?}",
                    old.dtype, old.shape, new.dtype, new.shape
                ));
            }
        }
    }
    (0..p.insts.len()).try_for_each(|i| check_inst(p, i))
}

fn check_inst(p: &Program, i: usize) -> std::result::Result<(), String> {
    let inst = &p.insts[i];
    let name = inst.op.name();
    for &v in &inst.inputs {
        match p.values.get(v).map(|v| &v.source) {
            None => return Err(format!("{name} {i} reads value {v}, which does not exist")),
            Some(Source::Inst { inst, .. }) if *inst >= i => {
                return Err(format!(
                    "{name} {i} reads value {v}, which is defined later"
                ));
            }
            Some(_) => {}
        }
    }
    let types: Vec<(DType, &[usize])> = inst
        .inputs
        .iter()
        .map(|&v| (p.values[v].dtype, p.values[v].shape.as_slice()))
        .collect();
    let constants: Vec<Option<&Literal>> = inst.inputs.iter().map(|&v| p.literal(v)).collect();
    let inferred = infer_concrete(&inst.op, &types, &constants).map_err(|e| e.to_string())?;
    let own: Vec<(DType, Vec<usize>)> = inst
        .outputs
        .iter()
        .map(|&v| (p.values[v].dtype, p.values[v].shape.clone()))
        .collect();
    if inferred != own {
        return Err(format!(
            "{name} {i} gives {inferred:?}, its values are {own:?}"
        ));
    }
    let op = match &inst.op {
        Op::Sharded(s) => &s.op,
        op => op,
    };
    match op {
        Op::Fused(region) => check_region(region).map_err(|e| format!("fused {i}: {e}")),
        _ => Ok(()),
    }
}

/// What inference does not check: one cut of the space serves all reductions.
fn check_region(region: &FusedRegion) -> std::result::Result<(), String> {
    let cuts: Vec<usize> = region
        .reductions
        .iter()
        .filter_map(|r| match r.over {
            ReduceOver::All => None,
            ReduceOver::Inner(n) => Some(region.space.len() - n),
            ReduceOver::Outer(n) => Some(n),
        })
        .collect();
    if cuts.windows(2).all(|c| c[0] == c[1]) {
        return Ok(());
    }
    Err(format!(
        "reductions cut the space {:?} at {cuts:?}",
        region.space
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::UnaryOp;
    use crate::program::{Inst, Value};

    fn program() -> Program {
        let value = |source| Value {
            dtype: DType::F32,
            shape: vec![2],
            source,
        };
        let output = |inst| value(Source::Inst { inst, output: 0 });
        let inst = |input, output| Inst {
            op: Op::Unary(UnaryOp::Exp),
            inputs: vec![input],
            outputs: vec![output],
            scope: None,
        };
        Program {
            values: vec![value(Source::Input(0)), output(0), output(1)],
            insts: vec![inst(0, 1), inst(1, 2)],
            inputs: vec![0],
            outputs: vec![2],
            updates: vec![],
        }
    }

    fn message(p: &Program) -> String {
        verify(p, "test").unwrap_err().to_string()
    }

    #[test]
    fn broken_programs_are_found() {
        verify(&program(), "test").unwrap();
        let mut p = program();
        p.insts.swap(0, 1);
        assert!(
            message(&p).contains("is not what its source"),
            "{}",
            message(&p)
        );
        let mut p = program();
        p.insts[0].inputs[0] = 2;
        assert!(message(&p).contains("exp 0 reads value 2, which is defined later"));
        let mut p = program();
        p.values[2].shape = vec![3];
        assert!(
            message(&p).contains("its values are [(F32, [3])]"),
            "{}",
            message(&p)
        );
        let mut p = program();
        p.outputs[0] = 9;
        assert!(message(&p).contains("there is no value 9"));
    }
}
