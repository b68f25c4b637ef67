//! What becomes of each operation when its program is widened.

use crate::error::Result;
use crate::op::{FusedRegion, Op, OverShards, ReduceOp, ReduceOver, RnnAttrs, RnnCell, SliceAxis};
use crate::ops::rnn_places;
use crate::program::{Inst, ValueId};

use super::{Form, Pass};

/// The whole of an axis.
const WHOLE: SliceAxis = SliceAxis {
    start: None,
    stop: None,
    step: 1,
};

fn behind(axes: &[usize]) -> Vec<usize> {
    axes.iter().map(|a| a + 1).collect()
}

fn led<T: Clone>(first: T, rest: &[T]) -> Vec<T> {
    std::iter::once(first).chain(rest.iter().cloned()).collect()
}

impl Pass<'_> {
    /// Emits what an operation that depends on the batch becomes. Where it returns false, nothing
    /// was emitted: it runs once for each shard.
    pub(super) fn rule(&mut self, inst: &Inst) -> Result<bool> {
        let out = inst.outputs[0];
        match &inst.op {
            // Leaves are no instructions, and a program is widened once.
            Op::Placeholder
            | Op::Variable(_)
            | Op::Constant(_)
            | Op::LearningPhase
            | Op::ShapeOf
            | Op::Arange(_)
            | Op::Sharded(_)
            | Op::ShardSum(_) => Ok(false),
            // Sums over samples of several shapes.
            Op::ConvGradFilter(_) | Op::ScatterAdd { .. } | Op::Scan(_) => Ok(false),
            // Each shard's own value is shown.
            Op::Print { .. } | Op::CtcBeamSearch { .. } => Ok(false),

            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) | Op::SigmoidCrossEntropy => {
                self.elementwise(inst, self.shape(out).to_vec(), |op, _| op)
            }
            Op::Fused(region) => self.fused(inst, region),
            Op::Identity | Op::StopGradient | Op::Reshape => self.view(inst, inst.inputs[0]),

            Op::Reduce { op, axes, keepdims } => {
                let (op, axes, keepdims) = (*op, behind(axes), *keepdims);
                let op = Op::Reduce { op, axes, keepdims };
                self.on_stacked(inst, op)
            }
            Op::SumTo => self.sum_to(inst),
            Op::ArgReduce { op, axis } => {
                let (op, axis) = (*op, axis + 1);
                self.on_stacked(inst, Op::ArgReduce { op, axis })
            }
            Op::Cumulative {
                op,
                axis,
                exclusive,
                reverse,
            } => {
                let op = Op::Cumulative {
                    op: *op,
                    axis: axis + 1,
                    exclusive: *exclusive,
                    reverse: *reverse,
                };
                self.on_stacked(inst, op)
            }
            Op::Moments { axes, of } => {
                let (axes, of) = (behind(axes), *of);
                self.on_stacked(inst, Op::Moments { axes, of })
            }
            Op::OverShards(over) => self.over_shards(inst, *over),

            Op::BroadcastTo => self.broadcast(inst),
            Op::Transpose { perm } => {
                let perm = led(0, &behind(perm));
                self.on_stacked(inst, Op::Transpose { perm })
            }
            Op::Slice(ranges) => self.on_stacked(inst, Op::Slice(led(WHOLE, ranges))),
            Op::SliceGrad(ranges) => {
                let sizes = self.e.sizes(&self.led(self.shape(out)));
                let x = self.stacked(inst.inputs[0])?;
                let op = Op::SliceGrad(led(WHOLE, ranges));
                self.emit(op, vec![x, sizes], inst, &[Form::Front])?;
                Ok(true)
            }
            Op::Pad { cells, value } => {
                let (cells, value) = (led((0, 0), cells), *value);
                self.on_stacked(inst, Op::Pad { cells, value })
            }
            Op::Concat { axis } => self.on_stacked(inst, Op::Concat { axis: axis + 1 }),
            Op::ConcatGrad { axis, index } => self.concat_grad(inst, *axis, *index),
            Op::Reverse { axes } => {
                let axes = behind(axes);
                self.on_stacked(inst, Op::Reverse { axes })
            }
            Op::Gather { axis } => self.gather(inst, *axis),
            Op::Random { .. } => self.random(inst),

            Op::MatMul { transpose_a, .. } => self.matmul(inst, *transpose_a),
            Op::Conv(..) | Op::MaxPool(_) | Op::AvgPool(_) => {
                self.on_rows(inst, 1, self.others_shared(inst, 1))
            }
            Op::ConvGradInput(_) | Op::AvgPoolGrad(_) => {
                self.on_rows_to_shape(inst, 1, self.others_shared(inst, 1))
            }
            Op::MaxPoolGrad(_) => self.on_rows_to_shape(inst, 2, true),
            Op::Softmax | Op::LogSoftmax => self.on_stacked(inst, inst.op.clone()),
            Op::SoftmaxCrossEntropy | Op::SparseSoftmaxCrossEntropy => {
                self.on_stacked(inst, inst.op.clone())
            }
            Op::Rnn(attrs) => self.rnn(inst, attrs, false),
            Op::RnnGrad { attrs, parts: 1 } => self.rnn(inst, attrs, true),
            Op::RnnGrad { .. } => Ok(false),
        }
    }

    fn others_shared(&self, inst: &Inst, from: usize) -> bool {
        inst.inputs[from..].iter().all(|&v| self.is_shared(v))
    }

    /// `op` on all operands with an axis of shards in front, one more axis than before.
    fn on_stacked(&mut self, inst: &Inst, op: Op) -> Result<bool> {
        let operands: Result<Vec<ValueId>> = inst.inputs.iter().map(|&v| self.stacked(v)).collect();
        self.emit(op, operands?, inst, &[Form::Front])?;
        Ok(true)
    }

    /// The operation on more samples: the first `count` operands are longer, the others as they are.
    fn on_rows(&mut self, inst: &Inst, count: usize, applies: bool) -> Result<bool> {
        if !applies {
            return Ok(false);
        }
        let (samples, others) = inst.inputs.split_at(count);
        let operands: Result<Vec<ValueId>> = samples.iter().map(|&v| self.rows(v)).collect();
        let mut operands = operands?;
        operands.extend(others.iter().map(|&v| self.plain(v)));
        self.emit(inst.op.clone(), operands, inst, &[Form::Front])?;
        Ok(true)
    }

    /// The same where the last operand is the result's shape.
    fn on_rows_to_shape(&mut self, inst: &Inst, count: usize, applies: bool) -> Result<bool> {
        if !applies {
            return Ok(false);
        }
        let last = inst.inputs.len() - 1;
        let samples: Result<Vec<ValueId>> =
            inst.inputs[..count].iter().map(|&v| self.rows(v)).collect();
        let mut operands = samples?;
        operands.extend(inst.inputs[count..last].iter().map(|&v| self.plain(v)));
        let longer = self.longer(self.shape(inst.outputs[0]), 0);
        operands.push(self.e.sizes(&longer));
        self.emit(inst.op.clone(), operands, inst, &[Form::Front])?;
        Ok(true)
    }

    /// The same memory under the result's shape.
    fn view(&mut self, inst: &Inst, from: ValueId) -> Result<bool> {
        let led = self.led(self.shape(inst.outputs[0]));
        let x = self.stacked(from)?;
        let x = self.reshape(x, &led)?;
        self.e.bind(&inst.outputs, &[x]);
        self.forms[inst.outputs[0]] = Form::Front;
        Ok(true)
    }

    /// An elementwise operation over `space`; `with` makes it from what it was and its new space.
    fn elementwise(
        &mut self,
        inst: &Inst,
        space: Vec<usize>,
        with: impl FnOnce(Op, Vec<usize>) -> Op,
    ) -> Result<bool> {
        let split = |&&v: &&ValueId| !self.is_shared(v);
        // Samples in front of all operands that have them: a larger batch.
        let longer = !space.is_empty()
            && inst.inputs.iter().all(|&v| {
                let shape = self.shape(v);
                let same_rank = shape.len() == space.len();
                if self.is_shared(v) {
                    !same_rank || shape[0] == 1
                } else {
                    same_rank && shape[0] == space[0]
                }
            });
        // Else an axis of shards, if nothing has to be repeated within a shard, which is slow.
        let whole = inst
            .inputs
            .iter()
            .filter(split)
            .all(|&v| self.shape(v) == space);
        if !longer && !whole {
            return Ok(false);
        }
        let mut operands = Vec::with_capacity(inst.inputs.len());
        for &v in &inst.inputs {
            operands.push(match (self.is_shared(v), longer) {
                (true, _) => self.plain(v),
                (false, true) => self.rows(v)?,
                (false, false) => self.stacked(v)?,
            });
        }
        let space = if longer {
            self.longer(&space, 0)
        } else {
            self.led(&space)
        };
        self.emit(with(inst.op.clone(), space), operands, inst, &[Form::Front])?;
        Ok(true)
    }

    fn fused(&mut self, inst: &Inst, region: &FusedRegion) -> Result<bool> {
        // Sums over samples, and over everything, have an order of their own.
        let rank = region.space.len();
        let by_row = |over: ReduceOver| match over {
            ReduceOver::Inner(n) => n < rank,
            ReduceOver::All | ReduceOver::Outer(_) => false,
        };
        if !region.reductions.iter().all(|r| by_row(r.over)) {
            return Ok(false);
        }
        let region = region.clone();
        self.elementwise(inst, region.space.clone(), |_, space| {
            Op::Fused(Box::new(FusedRegion { space, ..region }))
        })
    }

    /// A sum over what a broadcast repeated, written as one over axes.
    fn sum_to(&mut self, inst: &Inst) -> Result<bool> {
        let (x, out) = (inst.inputs[0], inst.outputs[0]);
        let (from, to) = (self.shape(x), self.shape(out));
        let lead = from.len() - to.len();
        let axes: Vec<usize> = (0..from.len())
            .filter(|&i| i < lead || (to[i - lead] == 1 && from[i] != 1))
            .collect();
        let x = self.stacked(x)?;
        let op = Op::Reduce {
            op: ReduceOp::Sum,
            axes: behind(&axes),
            keepdims: false,
        };
        let sum = self.e.one(op, vec![x], &inst.scope)?;
        let sum = self.reshape(sum, &self.led(to))?;
        self.e.bind(&inst.outputs, &[sum]);
        self.forms[out] = Form::Front;
        Ok(true)
    }

    fn broadcast(&mut self, inst: &Inst) -> Result<bool> {
        let (x, to) = (inst.inputs[0], self.shape(inst.outputs[0]));
        let from = self.shape(x);
        let mut own = vec![1; to.len() - from.len()];
        own.extend(from);
        let stacked = self.stacked(x)?;
        let stacked = self.reshape(stacked, &self.led(&own))?;
        let sizes = self.e.sizes(&self.led(to));
        self.emit(Op::BroadcastTo, vec![stacked, sizes], inst, &[Form::Front])?;
        Ok(true)
    }

    fn concat_grad(&mut self, inst: &Inst, axis: usize, index: usize) -> Result<bool> {
        let mut operands = vec![self.stacked(inst.inputs[0])?];
        for &v in &inst.inputs[1..] {
            let Some(sizes) = self.old.literal(v).and_then(|l| l.to_i64()) else {
                return Ok(false);
            };
            let sizes: Vec<usize> = sizes.iter().map(|&n| n as usize).collect();
            operands.push(self.e.sizes(&self.led(&sizes)));
        }
        let axis = axis + 1;
        self.emit(
            Op::ConcatGrad { axis, index },
            operands,
            inst,
            &[Form::Front],
        )?;
        Ok(true)
    }

    /// All shards of all processes get the same results.
    fn over_shards(&mut self, inst: &Inst, over: OverShards) -> Result<bool> {
        let mut operands = Vec::with_capacity(inst.inputs.len());
        for (k, &v) in inst.inputs.iter().enumerate() {
            let combined = k < inst.outputs.len();
            operands.push(if combined {
                self.stacked(v)?
            } else {
                self.plain(v)
            });
        }
        let shards = Some(self.shards);
        let op = Op::OverShards(OverShards { shards, ..over });
        self.emit(op, operands, inst, &[Form::Shared])?;
        Ok(true)
    }

    fn gather(&mut self, inst: &Inst, axis: usize) -> Result<bool> {
        let (x, indices) = (inst.inputs[0], inst.inputs[1]);
        if self.is_shared(indices) {
            let operands = vec![self.stacked(x)?, self.plain(indices)];
            let op = Op::Gather { axis: axis + 1 };
            self.emit(op, operands, inst, &[Form::Front])?;
            return Ok(true);
        }
        if !self.is_shared(x) || axis != 0 {
            return Ok(false);
        }
        let operands = vec![self.plain(x), self.stacked(indices)?];
        self.emit(inst.op.clone(), operands, inst, &[Form::Front])?;
        Ok(true)
    }

    /// Numbers are drawn for samples, wherever these are counted from.
    fn random(&mut self, inst: &Inst) -> Result<bool> {
        let shape = self.shape(inst.outputs[0]);
        if shape.first() != Some(&self.to.rows) {
            return Ok(false);
        }
        let sizes = self.e.sizes(&self.longer(shape, 0));
        self.emit(inst.op.clone(), vec![sizes], inst, &[Form::Front])?;
        Ok(true)
    }

    fn matmul(&mut self, inst: &Inst, transpose_a: bool) -> Result<bool> {
        let (x, y) = (inst.inputs[0], inst.inputs[1]);
        let (xs, ys) = (self.shape(x), self.shape(y));
        // More rows times one matrix.
        let one = ys[..ys.len() - 2].iter().all(|&n| n == 1);
        let rows = !transpose_a && one && ys.len() <= xs.len() && self.others_shared(inst, 1);
        if rows {
            return self.on_rows(inst, 1, true);
        }
        // A product for each sample.
        let samples = xs.len() == ys.len() && xs.len() > 2 && xs[0] == ys[0];
        let both = !self.is_shared(x) && !self.is_shared(y);
        if samples && both && self.others_shared(inst, 2) {
            return self.on_rows(inst, 2, true);
        }
        Ok(false)
    }

    /// A recurrence over more samples. What it keeps for its gradient, and the factors of dropout,
    /// have their samples behind the steps or gates.
    fn rnn(&mut self, inst: &Inst, attrs: &RnnAttrs, backward: bool) -> Result<bool> {
        let places = rnn_places(attrs);
        let whole = |k: usize| k == 1 || Some(k) == places.bias;
        if (0..places.count).any(|k| whole(k) && !self.is_shared(inst.inputs[k])) {
            return Ok(false);
        }
        let lstm = attrs.cell == RnnCell::Lstm;
        let mut operands = Vec::with_capacity(inst.inputs.len());
        for (k, &v) in inst.inputs.iter().enumerate() {
            let kept = k == places.count + 1 || (lstm && k == places.count + 2);
            operands.push(if whole(k) {
                self.plain(v)
            } else if Some(k) == places.dropout || kept {
                self.second(v)?
            } else {
                self.rows(v)?
            });
        }
        if backward {
            let (attrs, parts) = (*attrs, self.shards);
            self.emit(Op::RnnGrad { attrs, parts }, operands, inst, &[Form::Front])?;
        } else {
            let forms = [Form::Front, Form::Second, Form::Second, Form::Front];
            self.emit(inst.op.clone(), operands, inst, &forms)?;
        }
        Ok(true)
    }
}
