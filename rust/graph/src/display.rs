//! Programs as text: operations, shapes, bytes and floating-point operations.

use std::fmt;

use crate::dtype::DType;
use crate::op::{BinaryOp, ConvAttrs, Epilogue, FusedOp, FusedRegion, Op, ReduceOver};
use crate::program::{Inst, Program, Source, ValueId};

impl Program {
    /// Floating-point operations of an instruction, functions such as `exp` counted as one.
    pub fn flops(&self, inst: &Inst) -> u64 {
        let len = |v: ValueId| self.values[v].len() as u64;
        let input = |k: usize| inst.inputs.get(k).map_or(0, |&v| len(v));
        let output = inst.outputs.first().map_or(0, |&v| len(v));
        let finish =
            |e: &Epilogue| output * (u64::from(e.bias) + u64::from(e.activation.is_some()));
        match &inst.op {
            Op::MatMul {
                transpose_a,
                epilogue,
                ..
            } => {
                let shape = &self.values[inst.inputs[0]].shape;
                let depth = shape[shape.len() - if *transpose_a { 2 } else { 1 }] as u64;
                2 * output * depth + finish(epilogue)
            }
            Op::Conv(attrs, e) => self.conv(attrs, inst.inputs[1], output) + finish(e),
            Op::ConvGradInput(attrs) => self.conv(attrs, inst.inputs[1], input(0)),
            Op::ConvGradFilter(attrs) => self.conv(attrs, inst.outputs[0], input(1)),
            Op::Fused(region) => {
                let constants = region.insts.iter().filter(|i| !is_constant(&i.op)).count();
                let each = (constants + region.reductions.len()) as u64;
                each * region.space.iter().map(|&n| n as u64).product::<u64>()
            }
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::SigmoidCrossEntropy => output,
            Op::Reduce { .. } | Op::SumTo | Op::Cumulative { .. } => input(0),
            Op::AvgPool(_) | Op::MaxPool(_) => input(0),
            Op::AvgPoolGrad(_) | Op::MaxPoolGrad(_) | Op::ScatterAdd { .. } => output,
            Op::Moments { .. } => 3 * input(0),
            Op::Softmax | Op::LogSoftmax => 4 * output,
            Op::SoftmaxCrossEntropy | Op::SparseSoftmaxCrossEntropy => 4 * input(0),
            // A product with the recurrent kernel for each step of each sample, twice going back.
            Op::Rnn(_) => 2 * self.values[inst.outputs[0]].len() as u64 * self.rnn_width(inst),
            Op::RnnGrad { .. } => 2 * 2 * input(0) * self.values[inst.inputs[2]].shape[1] as u64,
            Op::Scan(scan) => {
                let steps = self.values[inst.inputs[0]]
                    .shape
                    .first()
                    .map_or(0, |&n| n as u64);
                let step = |p: &std::sync::Arc<Program>| -> u64 {
                    p.insts.iter().map(|i| p.flops(i)).sum()
                };
                steps * scan.step.as_ref().map_or(0, step)
            }
            Op::Sharded(s) => {
                let one = s.of_one(self, inst);
                s.shards as u64 * one.flops(&one.insts[0])
            }
            Op::ShardSum(_) | Op::OverShards(_) => 2 * input(0),
            Op::Placeholder
            | Op::Variable(_)
            | Op::Constant(_)
            | Op::LearningPhase
            | Op::Cast(_)
            | Op::Identity
            | Op::StopGradient
            | Op::ArgReduce { .. }
            | Op::ShapeOf
            | Op::Reshape
            | Op::BroadcastTo
            | Op::Transpose { .. }
            | Op::Slice(_)
            | Op::SliceGrad(_)
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::ConcatGrad { .. }
            | Op::Reverse { .. }
            | Op::Gather { .. }
            | Op::Arange(_)
            | Op::CtcBeamSearch { .. }
            | Op::Print { .. }
            | Op::Random { .. } => 0,
        }
    }

    /// Columns of a recurrence's projection.
    fn rnn_width(&self, inst: &Inst) -> u64 {
        self.values[inst.inputs[0]].shape[2] as u64
    }

    /// The multiplications and additions of a convolution with `outputs` results.
    fn conv(&self, attrs: &ConvAttrs, kernel: ValueId, outputs: u64) -> u64 {
        let kernel = &self.values[kernel];
        let filters = kernel.shape.last().map_or(1, |&n| n.max(1));
        debug_assert!(attrs.groups > 0);
        2 * outputs * (kernel.len() / filters) as u64
    }

    /// Bytes that an instruction reads and writes.
    pub fn traffic(&self, inst: &Inst) -> usize {
        let values = inst.inputs.iter().chain(&inst.outputs);
        values.map(|&v| self.values[v].bytes()).sum()
    }

    fn name(&self, v: ValueId) -> String {
        match &self.values[v].source {
            Source::Input(k) => format!("input{k}"),
            Source::Variable(id) => format!("var{id}"),
            Source::Constant(l) => match (l.uniform(), l.len()) {
                (Some(n), _) if l.shape.len() != 1 => format!("{n}"),
                (_, 1..=8) if l.to_i64().is_some() => {
                    format!("{:?}", l.to_i64().unwrap_or_default())
                }
                _ => format!("const{}", shape(&l.shape)),
            },
            Source::Inst { .. } => format!("%{v}"),
        }
    }
}

fn is_constant(op: &FusedOp) -> bool {
    matches!(op, FusedOp::Const(_))
}

fn shape(dims: &[usize]) -> String {
    let dims: Vec<String> = dims.iter().map(usize::to_string).collect();
    format!("[{}]", dims.join(","))
}

fn short(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "bool",
        DType::U8 => "u8",
        DType::I32 => "i32",
        DType::I64 => "i64",
        DType::F32 => "f32",
        DType::F64 => "f64",
    }
}

/// A number with a metric prefix.
fn metric(n: u64) -> String {
    match n {
        0..1_000 => format!("{n}"),
        1_000..1_000_000 => format!("{:.1}k", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", n as f64 / 1e6),
        _ => format!("{:.1}G", n as f64 / 1e9),
    }
}

impl fmt::Display for Program {
    /// One line an instruction: results, operation, operands, traffic, work and layer; the code of
    /// a fused region follows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut bytes, mut flops) = (0, 0);
        for inst in &self.insts {
            let results: Vec<String> = inst
                .outputs
                .iter()
                .map(|&v| {
                    let value = &self.values[v];
                    format!("%{v}: {}{}", short(value.dtype), shape(&value.shape))
                })
                .collect();
            let operands: Vec<String> = inst.inputs.iter().map(|&v| self.name(v)).collect();
            write!(f, "{} = {}", results.join(", "), inst.op.name())?;
            attributes(&inst.op, f)?;
            write!(f, "({})", operands.join(", "))?;
            let (b, n) = (self.traffic(inst) as u64, self.flops(inst));
            write!(f, "  # {}B, {}FLOP", metric(b), metric(n))?;
            if let Some(scope) = &inst.scope {
                write!(f, ", {scope}")?;
            }
            writeln!(f)?;
            let op = match &inst.op {
                Op::Sharded(s) => &s.op,
                op => op,
            };
            if let Op::Fused(region) = op {
                code(region, f)?;
            }
            (bytes, flops) = (bytes + b, flops + n);
        }
        for &v in &self.outputs {
            writeln!(f, "return {}", self.name(v))?;
        }
        for &(var, v) in &self.updates {
            writeln!(f, "var{var} <- {}", self.name(v))?;
        }
        let n = self.insts.len();
        writeln!(
            f,
            "{n} operations, {}B, {}FLOP",
            metric(bytes),
            metric(flops)
        )
    }
}

/// The attributes that tell operations of one name apart.
fn attributes(op: &Op, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match op {
        Op::Cast(dtype) | Op::Arange(dtype) => write!(f, "[{}]", short(*dtype)),
        Op::Reduce { axes, .. } | Op::Moments { axes, .. } | Op::Reverse { axes } => {
            write!(f, "{axes:?}")
        }
        Op::ArgReduce { axis, .. }
        | Op::Cumulative { axis, .. }
        | Op::Concat { axis }
        | Op::Gather { axis }
        | Op::ScatterAdd { axis } => write!(f, "[{axis}]"),
        Op::Transpose { perm } => write!(f, "{perm:?}"),
        Op::MatMul {
            transpose_a,
            transpose_b,
            epilogue,
        } => {
            let turned = |t: bool| if t { "T" } else { "N" };
            write!(f, "[{}{}", turned(*transpose_a), turned(*transpose_b))?;
            finish(epilogue, f)?;
            f.write_str("]")
        }
        Op::Conv(attrs, epilogue) => {
            write!(f, "[{:?} {:?}", attrs.strides, attrs.padding)?;
            finish(epilogue, f)?;
            f.write_str("]")
        }
        Op::ConvGradInput(attrs) | Op::ConvGradFilter(attrs) => {
            write!(f, "[{:?} {:?}]", attrs.strides, attrs.padding)
        }
        Op::MaxPool(attrs)
        | Op::MaxPoolGrad(attrs)
        | Op::AvgPool(attrs)
        | Op::AvgPoolGrad(attrs) => {
            write!(
                f,
                "[{:?} {:?} {:?}]",
                attrs.size, attrs.strides, attrs.padding
            )
        }
        Op::Fused(region) => f.write_str(&shape(&region.space)),
        Op::Sharded(s) => {
            attributes(&s.op, f)?;
            let sum = if s.sum.is_some() { ", summed" } else { "" };
            write!(f, "[{} shards{sum}]", s.shards)
        }
        Op::ShardSum(sum) => write!(f, "{:?}", sum.groups),
        Op::OverShards(over) => write!(f, "[{}]", over.place),
        _ => Ok(()),
    }
}

fn finish(epilogue: &Epilogue, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if epilogue.bias {
        f.write_str(" +bias")?;
    }
    match epilogue.activation {
        Some(a) => write!(f, " {}", format!("{a:?}").to_lowercase()),
        None => Ok(()),
    }
}

/// The instructions of a region: operands are `in0, in1, ..`, later values `t` and their number.
fn code(region: &FusedRegion, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let name = |v: usize| {
        if v < region.inputs {
            return format!("in{v}");
        }
        match region.insts[v - region.inputs].op {
            FusedOp::Const(bits) if region.insts[v - region.inputs].dtype == DType::F32 => {
                (f64::from_bits(bits) as f32).to_string()
            }
            FusedOp::Const(bits) => f64::from_bits(bits).to_string(),
            _ => format!("t{v}"),
        }
    };
    for (i, inst) in region.insts.iter().enumerate() {
        let args: Vec<String> = inst.args.iter().map(|&a| name(a)).collect();
        let v = name(region.inputs + i);
        match (&inst.op, args.as_slice()) {
            (FusedOp::Const(_), _) => continue,
            (FusedOp::Binary(op), [x, y]) => match symbol(*op) {
                Some(s) => writeln!(f, "    {v} = {x} {s} {y}")?,
                None => writeln!(f, "    {v} = {}({x}, {y})", op.name())?,
            },
            (FusedOp::Unary(op), _) => writeln!(f, "    {v} = {}({})", op.name(), args.join(", "))?,
            (FusedOp::Cast, _) => {
                writeln!(f, "    {v} = {}({})", short(inst.dtype), args.join(", "))?
            }
            _ => writeln!(f, "    {v} = select({})", args.join(", "))?,
        }
    }
    let mut written: Vec<String> = region.outputs.iter().map(|&v| name(v)).collect();
    written.extend(region.reductions.iter().map(|r| {
        let over = match r.over {
            ReduceOver::All => "all".to_string(),
            ReduceOver::Inner(n) => format!("last {n}"),
            ReduceOver::Outer(n) => format!("first {n}"),
        };
        format!("{}({} over {over})", r.op.name(), name(r.value))
    }));
    writeln!(f, "    -> {}", written.join(", "))
}

fn symbol(op: BinaryOp) -> Option<&'static str> {
    match op {
        BinaryOp::Add => Some("+"),
        BinaryOp::Sub => Some("-"),
        BinaryOp::Mul => Some("*"),
        BinaryOp::Div => Some("/"),
        BinaryOp::FloorDiv => Some("//"),
        BinaryOp::Mod => Some("%"),
        BinaryOp::Eq => Some("=="),
        BinaryOp::Ne => Some("!="),
        BinaryOp::Lt => Some("<"),
        BinaryOp::Le => Some("<="),
        BinaryOp::Gt => Some(">"),
        BinaryOp::Ge => Some(">="),
        BinaryOp::And => Some("&"),
        BinaryOp::Or => Some("|"),
        BinaryOp::Pow => Some("**"),
        BinaryOp::Max | BinaryOp::Min => None,
    }
}
