//! Fused regions: a straight-line program over one iteration space.

use crate::dtype::DType;
use crate::node::TensorType;
use crate::op::{FusedInst, FusedOp, FusedRegion, ReduceOp, ReduceOver, UnaryOp};
use crate::ops::elementwise::binary_dtype;
use crate::ops::operands::{Inferred, Operands};
use crate::shape::{broadcast, known, show};

pub(super) fn infer_fused(region: &FusedRegion, o: &Operands<'_>) -> Inferred {
    o.count(region.inputs)?;
    let space = known(&region.space);
    let mut dtypes = Vec::with_capacity(region.inputs + region.insts.len());
    for k in 0..o.len() {
        if broadcast(o.shape(k), &space).as_deref() != Some(space.as_slice()) {
            let (from, to) = (o.show(k), show(&space));
            return Err(format!(
                "operand {k} of shape {from} does not broadcast to {to}"
            ));
        }
        dtypes.push(o.dtype(k));
    }
    for (i, inst) in region.insts.iter().enumerate() {
        check_inst(inst, &dtypes).map_err(|e| format!("instruction {i}: {e}"))?;
        dtypes.push(inst.dtype);
    }
    let mut types = Vec::new();
    for &v in &region.outputs {
        let dtype = *dtypes.get(v).ok_or("an output is no value")?;
        let shape = space.clone();
        types.push(TensorType { dtype, shape });
    }
    for r in &region.reductions {
        let dtype = *dtypes.get(r.value).ok_or("a reduction is of no value")?;
        let rank = region.space.len();
        let kept = match r.over {
            ReduceOver::All => 0..0,
            ReduceOver::Inner(n) if n <= rank => 0..rank - n,
            ReduceOver::Outer(n) if n <= rank => n..rank,
            over => return Err(format!("{over:?} exceeds the space's {rank} axes")),
        };
        if !reduces(r.op, dtype) {
            return Err(format!("{} of {dtype} cannot be fused", r.op.name()));
        }
        let shape = known(&region.space[kept]);
        types.push(TensorType { dtype, shape });
    }
    if types.is_empty() {
        return Err("a region must have an output".to_string());
    }
    Ok(types)
}

fn reduces(op: ReduceOp, dtype: DType) -> bool {
    match op {
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min => dtype != DType::Bool,
        ReduceOp::Mean => dtype.is_float(),
        ReduceOp::Any | ReduceOp::All => false,
    }
}

/// Checks an instruction whose operands' types are `dtypes`.
fn check_inst(inst: &FusedInst, dtypes: &[DType]) -> Result<(), String> {
    let args: Option<Vec<DType>> = inst.args.iter().map(|&a| dtypes.get(a).copied()).collect();
    let args = args.ok_or("reads a value that is defined later")?;
    let fits = match (&inst.op, args.as_slice()) {
        (FusedOp::Unary(UnaryOp::IsNan | UnaryOp::IsFinite), [x]) => {
            x.is_float() && inst.dtype == DType::Bool
        }
        (FusedOp::Unary(_), [x]) => *x == inst.dtype,
        (FusedOp::Binary(op), [x, y]) => x == y && binary_dtype(*op, *x) == Ok(inst.dtype),
        (FusedOp::Select, [c, x, y]) => *c == DType::Bool && x == y && *x == inst.dtype,
        (FusedOp::Cast, [_]) | (FusedOp::Const(_), []) => true,
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(format!("{:?} on {args:?} gives no {}", inst.op, inst.dtype))
}
