//! Elementwise regions as tile programs.

use hornbeam_graph::op::{
    BinaryOp, FusedInst, FusedOp, FusedRegion, ReduceOp, ReduceOver, UnaryOp,
};
use hornbeam_graph::{DType, Op};
use hornbeam_kernels::copy::contiguous_strides;
use hornbeam_kernels::tile::{
    BinaryOp as TileBinary, Instr, ReduceAxes, Reduction, Reg, Scalar, TileProgram,
    UnaryOp as TileUnary,
};

use crate::dispatch::{Kernel, Prepared, Site, kernel_dtype, kernel_reduce};
use crate::error::Result;
use crate::memory::Needs;

/// The most pointers that are passed on the stack.
const MAX_POINTERS: usize = 64;

/// The region of a single elementwise operation.
///
/// # Errors
/// When the operation is not elementwise.
pub(crate) fn single(site: &Site<'_>) -> Result<FusedRegion> {
    let out = site.output(0);
    let count = site.inst.inputs.len();
    let dtype = out.dtype;
    let of = |op: FusedOp, args: Vec<usize>| FusedInst { op, args, dtype };
    let all = (0..count).collect();
    let insts = match &site.inst.op {
        Op::Unary(op) => vec![of(FusedOp::Unary(*op), all)],
        Op::Binary(op) => vec![of(FusedOp::Binary(*op), all)],
        Op::Select => vec![of(FusedOp::Select, all)],
        Op::Cast(_) => vec![of(FusedOp::Cast, all)],
        // max(x, 0) - x t + log1p(exp(-|x|)): the stable form, as TensorFlow documents it.
        Op::SigmoidCrossEntropy => vec![
            of(FusedOp::Unary(UnaryOp::Relu), vec![0]),
            of(FusedOp::Binary(BinaryOp::Mul), vec![0, 1]),
            of(FusedOp::Binary(BinaryOp::Sub), vec![2, 3]),
            of(FusedOp::Unary(UnaryOp::Abs), vec![0]),
            of(FusedOp::Unary(UnaryOp::Neg), vec![5]),
            of(FusedOp::Unary(UnaryOp::Exp), vec![6]),
            of(FusedOp::Unary(UnaryOp::Log1p), vec![7]),
            of(FusedOp::Binary(BinaryOp::Add), vec![4, 8]),
        ],
        _ => return Err(site.error("is not elementwise")),
    };
    Ok(FusedRegion {
        space: out.shape.clone(),
        inputs: count,
        outputs: vec![count + insts.len() - 1],
        insts,
        reductions: Vec::new(),
        streams: false,
    })
}

/// The kernel call of a region.
///
/// # Errors
/// When the region is not well-formed: a fault of the passes.
pub(crate) fn prepare(site: &Site<'_>, region: &FusedRegion) -> Result<Prepared> {
    let (program, divisors, split) = compile(site, region)?;
    let inputs = site.inst.inputs.len();
    if inputs + site.inst.outputs.len() > MAX_POINTERS {
        return Err(site.error("a fused region has too many operands"));
    }
    let strides: Vec<Vec<isize>> = (0..inputs)
        .map(|k| broadcast_strides(&site.input(k).shape, &region.space))
        .collect();
    let full = contiguous_strides(&region.space);
    let whole = region.outputs.len();
    let in_strides: Vec<&[isize]> = strides.iter().map(Vec::as_slice).collect();
    let out_strides: Vec<&[isize]> = (0..whole).map(|_| full.as_slice()).collect();
    let bound = program
        .bind(&region.space, split, &in_strides, &out_strides)
        .map_err(|e| site.error(e))?;
    let bound = if region.streams {
        bound.streaming()
    } else {
        bound
    };
    let in_place = (0..inputs)
        .filter(|&k| site.input(k).shape == region.space)
        .flat_map(|k| (0..whole).map(move |o| (k, o)))
        .filter(|&(k, o)| site.input(k).dtype.size() == site.output(o).dtype.size())
        .collect();
    let kernel: Kernel = Box::new(move |args| {
        let mut ins = [std::ptr::null::<u8>(); MAX_POINTERS];
        let mut outs = [std::ptr::null_mut::<u8>(); MAX_POINTERS];
        for (slot, raw) in ins.iter_mut().zip(args.inputs) {
            *slot = raw.ptr;
        }
        for (slot, raw) in outs.iter_mut().zip(args.outputs) {
            *slot = raw.ptr;
        }
        let (results, reduced) = outs[..args.outputs.len()].split_at(whole);
        // SAFETY: operands and results have the shapes that the program was bound to, are aligned
        // for their types, and overlap only where `in_place` says they may.
        unsafe { bound.run(&ins[..args.inputs.len()], results, reduced) };
        for &(output, dtype, n) in &divisors {
            match dtype {
                DType::F64 => args.output::<f64>(output).iter_mut().for_each(|v| *v /= n),
                _ => args
                    .output::<f32>(output)
                    .iter_mut()
                    .for_each(|v| *v /= n as f32),
            }
        }
        Ok(())
    });
    Ok(Prepared {
        kernel,
        needs: Needs {
            in_place,
            ..Needs::default()
        },
    })
}

type Compiled = (TileProgram, Vec<(usize, DType, f64)>, usize);

/// The tile program, the divisors of means (result, type, count), and where rows end.
fn compile(site: &Site<'_>, region: &FusedRegion) -> Result<Compiled> {
    let inputs: Vec<_> = (0..site.inst.inputs.len())
        .map(|k| kernel_dtype(site.input(k).dtype))
        .collect();
    let reg = |v: usize| v as Reg;
    let instrs: Vec<Instr> = region.insts.iter().map(instruction).collect();
    let outputs: Vec<Reg> = region.outputs.iter().map(|&v| reg(v)).collect();
    let mut divisors = Vec::new();
    let mut split = None;
    let rank = region.space.len();
    let mut reductions = Vec::new();
    for (k, r) in region.reductions.iter().enumerate() {
        let (axes, at) = match r.over {
            ReduceOver::All => (ReduceAxes::All, None),
            ReduceOver::Inner(n) => (ReduceAxes::Columns, Some(rank - n)),
            ReduceOver::Outer(n) => (ReduceAxes::Rows, Some(n)),
        };
        if at.is_some() && split.is_some() && split != at {
            return Err(site.error("a region's reductions cut its space in two ways"));
        }
        split = split.or(at);
        let result = region.outputs.len() + k;
        if r.op == ReduceOp::Mean {
            let whole: usize = region.space.iter().product();
            let kept = site.output(result).len().max(1);
            divisors.push((result, site.output(result).dtype, (whole / kept) as f64));
        }
        reductions.push(Reduction {
            op: kernel_reduce(r.op),
            reg: reg(r.value),
            axes,
        });
    }
    let program =
        TileProgram::new(&inputs, &instrs, &outputs, &reductions).map_err(|e| site.error(e))?;
    Ok((program, divisors, split.unwrap_or(rank)))
}

fn instruction(inst: &FusedInst) -> Instr {
    let arg = |k: usize| inst.args[k] as Reg;
    match inst.op {
        FusedOp::Unary(op) => Instr::Unary(unary(op), arg(0)),
        FusedOp::Binary(op) => Instr::Binary(binary(op), arg(0), arg(1)),
        FusedOp::Select => Instr::Select(arg(0), arg(1), arg(2)),
        FusedOp::Cast => Instr::Cast(kernel_dtype(inst.dtype), arg(0)),
        FusedOp::Const(bits) => Instr::Const(Scalar::from_f64(
            f64::from_bits(bits),
            kernel_dtype(inst.dtype),
        )),
    }
}

/// Strides of a contiguous operand that is broadcast to a space.
fn broadcast_strides(shape: &[usize], space: &[usize]) -> Vec<isize> {
    let own = contiguous_strides(shape);
    let lead = space.len() - shape.len();
    (0..space.len())
        .map(|i| {
            if i < lead || shape[i - lead] == 1 {
                0
            } else {
                own[i - lead]
            }
        })
        .collect()
}

fn unary(op: UnaryOp) -> TileUnary {
    match op {
        UnaryOp::Neg => TileUnary::Neg,
        UnaryOp::Abs => TileUnary::Abs,
        UnaryOp::Sign => TileUnary::Sign,
        UnaryOp::Exp => TileUnary::Exp,
        UnaryOp::Expm1 => TileUnary::Expm1,
        UnaryOp::Log => TileUnary::Log,
        UnaryOp::Log1p => TileUnary::Log1p,
        UnaryOp::Sqrt => TileUnary::Sqrt,
        UnaryOp::Rsqrt => TileUnary::Rsqrt,
        UnaryOp::Square => TileUnary::Square,
        UnaryOp::Reciprocal => TileUnary::Reciprocal,
        UnaryOp::Sin => TileUnary::Sin,
        UnaryOp::Cos => TileUnary::Cos,
        UnaryOp::Tan => TileUnary::Tan,
        UnaryOp::Tanh => TileUnary::Tanh,
        UnaryOp::Sigmoid => TileUnary::Sigmoid,
        UnaryOp::Relu => TileUnary::Relu,
        UnaryOp::Softplus => TileUnary::Softplus,
        UnaryOp::Erf => TileUnary::Erf,
        UnaryOp::Floor => TileUnary::Floor,
        UnaryOp::Ceil => TileUnary::Ceil,
        UnaryOp::Round => TileUnary::Round,
        UnaryOp::Not => TileUnary::Not,
        UnaryOp::IsNan => TileUnary::IsNan,
        UnaryOp::IsFinite => TileUnary::IsFinite,
    }
}

fn binary(op: BinaryOp) -> TileBinary {
    match op {
        BinaryOp::Add => TileBinary::Add,
        BinaryOp::Sub => TileBinary::Sub,
        BinaryOp::Mul => TileBinary::Mul,
        BinaryOp::Div => TileBinary::Div,
        BinaryOp::FloorDiv => TileBinary::FloorDiv,
        BinaryOp::Mod => TileBinary::Mod,
        BinaryOp::Pow => TileBinary::Pow,
        BinaryOp::Max => TileBinary::Max,
        BinaryOp::Min => TileBinary::Min,
        BinaryOp::Eq => TileBinary::Eq,
        BinaryOp::Ne => TileBinary::Ne,
        BinaryOp::Lt => TileBinary::Lt,
        BinaryOp::Le => TileBinary::Le,
        BinaryOp::Gt => TileBinary::Gt,
        BinaryOp::Ge => TileBinary::Ge,
        BinaryOp::And => TileBinary::And,
        BinaryOp::Or => TileBinary::Or,
    }
}
