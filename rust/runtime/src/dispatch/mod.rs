//! The one table from operation to kernel.
//!
//! [`prepare`] turns an instruction into a closure over sizes, strides and geometry, made once for
//! a plan; running it only follows pointers.

mod conv;
mod ctc;
mod linalg;
mod movement;
mod over_shards;
mod print;
mod recurrent;
mod reduce;
mod rows;
mod sharded;

use hornbeam_graph::compile::Evaluator;
use hornbeam_graph::op::ReduceOp;
use hornbeam_graph::program::{Inst, Source, Value};
use hornbeam_graph::{DType, Literal, Op, Program};
use hornbeam_kernels::dtype as kernel;

use crate::error::{Result, RuntimeError};
use crate::exchange::Combiner;
use crate::fused;
use crate::memory::Needs;
use crate::plan::{Plan, op_name};

/// A piece of memory that a call reads or writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw {
    /// Where it begins; null for a result that nothing reads.
    pub(crate) ptr: *mut u8,
    /// Its size.
    pub(crate) bytes: usize,
}

// SAFETY: a Raw is a plain address; whoever follows it holds the lock on plans.
unsafe impl Send for Raw {}
// SAFETY: as above.
unsafe impl Sync for Raw {}

/// What a run depends on beside its arguments.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunContext<'a> {
    /// Number of the step.
    pub step: u64,
    /// Place of the first sample in the global batch.
    pub sample_offset: u64,
    /// The shards of other processes; without any, the shards that run are the whole batch.
    pub others: Option<&'a dyn Combiner>,
}

/// The memory of one call. Only the plan makes one: operands and results hold elements of the
/// instruction's types, and a result overlaps an operand only where the kernel said it may.
pub(crate) struct Args<'a> {
    pub(crate) inputs: &'a [Raw],
    pub(crate) outputs: &'a [Raw],
    pub(crate) scratch: Raw,
    pub(crate) context: RunContext<'a>,
}

impl Args<'_> {
    /// Operand `k` as elements of `T`.
    pub(crate) fn input<T>(&self, k: usize) -> &[T] {
        let raw = self.inputs[k];
        if raw.bytes == 0 {
            return &[];
        }
        // SAFETY: the plan put an operand of that many bytes there, aligned for its type.
        unsafe { std::slice::from_raw_parts(raw.ptr.cast(), raw.bytes / size_of::<T>()) }
    }

    /// Result `k` as elements of `T`.
    #[allow(clippy::mut_from_ref, reason = "each kernel takes each result once")]
    pub(crate) fn output<T>(&self, k: usize) -> &mut [T] {
        elements(self.outputs[k])
    }

    /// Result `k`, unless nothing reads it.
    #[allow(clippy::mut_from_ref, reason = "each kernel takes each result once")]
    pub(crate) fn wanted<T>(&self, k: usize) -> Option<&mut [T]> {
        (!self.outputs[k].ptr.is_null()).then(|| elements(self.outputs[k]))
    }

    /// The scratch memory as elements of `T`.
    #[allow(clippy::mut_from_ref, reason = "each kernel takes its scratch once")]
    pub(crate) fn scratch<T>(&self) -> &mut [T] {
        elements(self.scratch)
    }
}

fn elements<'a, T>(raw: Raw) -> &'a mut [T] {
    if raw.bytes == 0 {
        return &mut [];
    }
    // SAFETY: the plan gave the call that many bytes there, aligned to 64, for itself.
    unsafe { std::slice::from_raw_parts_mut(raw.ptr.cast(), raw.bytes / size_of::<T>()) }
}

/// A prepared kernel call. The error is what was wrong with the operands' values.
pub(crate) type Kernel = Box<dyn Fn(&Args<'_>) -> std::result::Result<(), String> + Send + Sync>;

/// A kernel call and what it needs of memory.
pub(crate) struct Prepared {
    pub(crate) kernel: Kernel,
    pub(crate) needs: Needs,
}

impl Prepared {
    /// A call without scratch that cannot fail.
    pub(crate) fn plain(kernel: impl Fn(&Args<'_>) + Send + Sync + 'static) -> Prepared {
        let kernel: Kernel = Box::new(move |args| {
            kernel(args);
            Ok(())
        });
        Prepared {
            kernel,
            needs: Needs::default(),
        }
    }
}

/// An instruction within its program.
pub(crate) struct Site<'a> {
    pub(crate) program: &'a Program,
    pub(crate) inst: &'a Inst,
}

impl<'a> Site<'a> {
    /// Operand `k`.
    pub(crate) fn input(&self, k: usize) -> &'a Value {
        &self.program.values[self.inst.inputs[k]]
    }

    /// Result `k`.
    pub(crate) fn output(&self, k: usize) -> &'a Value {
        &self.program.values[self.inst.outputs[k]]
    }

    /// An error about this instruction.
    pub(crate) fn error(&self, message: impl ToString) -> RuntimeError {
        RuntimeError::Kernel {
            op: op_name(&self.inst.op),
            scope: self.inst.scope.as_deref().map(str::to_string),
            message: message.to_string(),
        }
    }

    /// One of a kernel's instances for f32 and f64.
    pub(crate) fn float<R>(&self, dtype: DType, single: R, double: R) -> Result<R> {
        match dtype {
            DType::F32 => Ok(single),
            DType::F64 => Ok(double),
            other => Err(self.error(format!("needs float32 or float64, not {other}: cast it"))),
        }
    }
}

/// The kernels' tag of an element type.
pub(crate) fn kernel_dtype(dtype: DType) -> kernel::DType {
    match dtype {
        DType::Bool => kernel::DType::Bool,
        DType::U8 => kernel::DType::U8,
        DType::I32 => kernel::DType::I32,
        DType::I64 => kernel::DType::I64,
        DType::F32 => kernel::DType::F32,
        DType::F64 => kernel::DType::F64,
    }
}

/// One of a kernel's instances for u8 (and bool), i32, i64, f32 and f64.
pub(crate) fn by_element<R>(dtype: DType, table: [R; 5]) -> R {
    let [byte, int, long, single, double] = table;
    match dtype {
        DType::Bool | DType::U8 => byte,
        DType::I32 => int,
        DType::I64 => long,
        DType::F32 => single,
        DType::F64 => double,
    }
}

/// The kernel call for an instruction.
///
/// # Errors
/// When there is no kernel for its operands.
pub(crate) fn prepare(program: &Program, inst: &Inst) -> Result<Prepared> {
    let site = &Site { program, inst };
    match &inst.op {
        Op::Placeholder
        | Op::Variable(_)
        | Op::Constant(_)
        | Op::LearningPhase
        | Op::ShapeOf
        | Op::Identity
        | Op::StopGradient
        | Op::Reshape => Err(site.error("is no instruction: specialisation resolves it")),
        Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) | Op::SigmoidCrossEntropy => {
            fused::prepare(site, &fused::single(site)?)
        }
        Op::Fused(region) => fused::prepare(site, region),
        Op::Sharded(inner) => sharded::sharded(site, inner),
        Op::ShardSum(sum) => sharded::sum(site, sum),
        Op::OverShards(over) => Ok(over_shards::over_shards(site, *over)),
        Op::Reduce { op, axes, .. } => reduce::reduce(site, *op, axes),
        Op::SumTo => reduce::sum_to(site),
        Op::ArgReduce { op, axis } => reduce::arg_reduce(site, *op, *axis),
        Op::Cumulative {
            op,
            axis,
            exclusive,
            reverse,
        } => reduce::cumulative(site, *op, *axis, *exclusive, *reverse),
        Op::Moments { axes, .. } => reduce::moments(site, axes),
        Op::BroadcastTo => movement::broadcast(site),
        Op::Transpose { perm } => movement::transpose(site, perm),
        Op::Slice(axes) => movement::slice(site, axes),
        Op::SliceGrad(axes) => movement::slice_grad(site, axes),
        Op::Pad { cells, value } => movement::pad(site, cells, *value),
        Op::Concat { axis } => movement::concat(site, *axis),
        Op::ConcatGrad { axis, index } => movement::concat_grad(site, *axis, *index),
        Op::Reverse { axes } => movement::reverse(site, axes),
        Op::Gather { axis } => rows::gather(site, *axis),
        Op::ScatterAdd { axis } => rows::scatter_add(site, *axis),
        Op::Arange(_) => rows::arange(site),
        Op::MatMul {
            transpose_a,
            transpose_b,
            epilogue,
        } => linalg::matmul(site, *transpose_a, *transpose_b, *epilogue),
        Op::Conv(attrs, epilogue) => conv::conv(site, attrs, *epilogue),
        Op::ConvGradInput(attrs) => conv::conv_grad_input(site, attrs),
        Op::ConvGradFilter(attrs) => conv::conv_grad_filter(site, attrs),
        Op::MaxPool(attrs) => linalg::max_pool(site, attrs),
        Op::MaxPoolGrad(attrs) => linalg::max_pool_grad(site, attrs),
        Op::AvgPool(attrs) => linalg::avg_pool(site, attrs),
        Op::AvgPoolGrad(attrs) => linalg::avg_pool_grad(site, attrs),
        Op::Softmax => rows::softmax(site),
        Op::LogSoftmax => rows::log_softmax(site),
        Op::SoftmaxCrossEntropy => rows::cross_entropy(site),
        Op::SparseSoftmaxCrossEntropy => rows::sparse_cross_entropy(site),
        Op::Rnn(attrs) => recurrent::rnn(site, attrs),
        Op::RnnGrad { attrs, parts } => recurrent::rnn_grad(site, attrs, *parts),
        Op::Scan(scan) => recurrent::scan(site, scan),
        Op::CtcBeamSearch {
            beam_width,
            top_paths,
        } => ctc::beam_search(site, *beam_width, *top_paths),
        Op::Print { message, .. } => Ok(print::print(site, message)),
        Op::Random { dist, dtype, key } => rows::random(site, *dist, *dtype, *key),
    }
}

/// `[outer, middle, inner]` sizes around an axis.
pub(crate) fn around(shape: &[usize], axis: usize) -> [usize; 3] {
    [
        shape[..axis].iter().product(),
        shape[axis],
        shape[axis + 1..].iter().product(),
    ]
}

/// The kernels' name of a reduction; a mean is a sum that is divided afterwards.
pub(crate) fn kernel_reduce(op: ReduceOp) -> hornbeam_kernels::reduce::ReduceOp {
    use hornbeam_kernels::reduce::ReduceOp as Kernel;
    match op {
        ReduceOp::Sum | ReduceOp::Mean => Kernel::Sum,
        ReduceOp::Prod => Kernel::Prod,
        ReduceOp::Max => Kernel::Max,
        ReduceOp::Min => Kernel::Min,
        ReduceOp::Any => Kernel::Any,
        ReduceOp::All => Kernel::All,
    }
}

/// Computes operations on constants by running plans of one instruction.
pub struct Constants;

impl Evaluator for Constants {
    fn eval(
        &self,
        op: &Op,
        inputs: &[&Literal],
        outputs: &[Value],
    ) -> std::result::Result<Vec<Literal>, String> {
        if let Op::Reshape = op {
            return Ok(vec![Literal::new(
                inputs[0].dtype,
                outputs[0].shape.clone(),
                inputs[0].bytes.clone(),
            )]);
        }
        let mut program = Program::default();
        for literal in inputs {
            program.values.push(Value {
                dtype: literal.dtype,
                shape: literal.shape.clone(),
                source: Source::Constant((*literal).clone()),
            });
        }
        program.values.extend(outputs.iter().cloned());
        let (first, last) = (inputs.len(), program.values.len());
        program.insts.push(Inst {
            op: op.clone(),
            inputs: (0..first).collect(),
            outputs: (first..last).collect(),
            scope: None,
        });
        program.outputs = (first..last).collect();
        let mut plan = Plan::new(program).map_err(|e| e.to_string())?;
        plan.run_constant().map_err(|e| e.to_string())?;
        Ok((0..outputs.len())
            .map(|k| {
                let Value { dtype, shape, .. } = plan.output(k);
                Literal::new(*dtype, shape.clone(), plan.result(k, &[]))
            })
            .collect())
    }
}
