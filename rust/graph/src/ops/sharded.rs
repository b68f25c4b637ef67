//! Operations that run once for each shard of a batch, and sums over shards.

use crate::dtype::DType;
use crate::node::TensorType;
use crate::op::{ShardSum, Sharded};
use crate::ops::infer_types;
use crate::ops::operands::{Inferred, Operands};
use crate::program::{Inst, Program, Source, Value};
use crate::shape::Shape;

pub(super) fn infer_sharded(s: &Sharded, o: &Operands<'_>) -> Inferred {
    o.count(s.split.len())?;
    let mut types = Vec::with_capacity(o.len());
    for (k, &split) in s.split.iter().enumerate() {
        if split && o.shape(k).first() != Some(&Some(s.shards)) {
            let (shards, got) = (s.shards, o.show(k));
            return Err(format!("operand {k} is not for {shards} shards: {got}"));
        }
        types.push(TensorType {
            dtype: o.dtype(k),
            shape: o.shape(k)[usize::from(split)..].to_vec(),
        });
    }
    let values = |k: usize| if s.split[k] { None } else { o.values(k) };
    let outputs = infer_types(&s.op, &Operands::new(&types, &values, &|_| None))?;
    let lead = match &s.sum {
        None => s.shards,
        Some(sum) => {
            check_sum(sum, s.shards)?;
            let [
                TensorType {
                    dtype: DType::F32, ..
                },
            ] = outputs.as_slice()
            else {
                return Err("only a single float32 result can be summed over shards".to_string());
            };
            sum.groups.len()
        }
    };
    let whole = |t: TensorType| TensorType {
        dtype: t.dtype,
        shape: led_by(lead, &t.shape),
    };
    Ok(outputs.into_iter().map(whole).collect())
}

fn check_sum(sum: &ShardSum, shards: usize) -> Result<(), String> {
    if sum.shards() == shards && sum.groups.iter().all(|g| g.is_power_of_two()) {
        return Ok(());
    }
    let groups = &sum.groups;
    Err(format!(
        "{shards} shards have no groups {groups:?} whose sizes are powers of two"
    ))
}

pub(super) fn infer_sum(sum: &ShardSum, o: &Operands<'_>) -> Inferred {
    o.count(1)?;
    let (&[Some(shards), ..], DType::F32) = (o.shape(0), o.dtype(0)) else {
        let (dtype, got) = (o.dtype(0), o.show(0));
        return Err(format!(
            "takes float32 with an axis of shards in front, got {dtype} {got}"
        ));
    };
    check_sum(sum, shards)?;
    Ok(vec![TensorType {
        dtype: DType::F32,
        shape: led_by(sum.groups.len(), &o.shape(0)[1..]),
    }])
}

fn led_by(n: usize, shape: &[Option<usize>]) -> Shape {
    std::iter::once(Some(n))
        .chain(shape.iter().copied())
        .collect()
}

impl Sharded {
    /// The program of one shard: the operation alone. Operands that are not constants are inputs.
    pub fn of_one(&self, program: &Program, inst: &Inst) -> Program {
        let mut one = Program::default();
        for (k, (&v, &split)) in inst.inputs.iter().zip(&self.split).enumerate() {
            let value = &program.values[v];
            let source = match &value.source {
                Source::Constant(literal) if !split => Source::Constant(literal.clone()),
                _ => Source::Input(k),
            };
            one.values.push(Value {
                dtype: value.dtype,
                shape: value.shape[usize::from(split)..].to_vec(),
                source,
            });
        }
        let first = one.values.len();
        for (output, &v) in inst.outputs.iter().enumerate() {
            let value = &program.values[v];
            one.values.push(Value {
                dtype: value.dtype,
                shape: value.shape[1..].to_vec(),
                source: Source::Inst { inst: 0, output },
            });
        }
        one.inputs = (0..first).collect();
        one.outputs = (first..one.values.len()).collect();
        one.insts.push(Inst {
            op: self.op.clone(),
            inputs: one.inputs.clone(),
            outputs: one.outputs.clone(),
            scope: inst.scope.clone(),
        });
        one
    }
}
