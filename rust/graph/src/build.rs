//! Short ways to build nodes, for gradients and for whoever composes operations.

use std::sync::Arc;

use crate::dtype::DType;
use crate::error::Result;
use crate::literal::Literal;
use crate::node::{Node, Tensor};
use crate::op::{BinaryOp, Epilogue, Op, ReduceOp, UnaryOp};
use crate::shape::{Dim, concrete};

/// Builds nodes that belong to one layer.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    scope: Option<Arc<str>>,
}

impl Builder {
    /// A builder of nodes of the layer `scope`.
    pub fn new(scope: Option<Arc<str>>) -> Builder {
        Builder { scope }
    }

    /// The first output of `op` applied to `inputs`.
    ///
    /// # Errors
    /// When the operands do not fit; as every method here.
    pub fn op(&self, op: Op, inputs: &[&Tensor]) -> Result<Tensor> {
        let inputs = inputs.iter().map(|&t| t.clone()).collect();
        Node::build(op, inputs, self.scope.clone())
    }

    /// A constant.
    ///
    /// # Errors
    /// Never: a constant fits.
    pub fn constant(&self, literal: Literal) -> Result<Tensor> {
        self.op(Op::Constant(literal), &[])
    }

    /// A scalar constant, rounded to `dtype`.
    ///
    /// # Errors
    /// Never.
    pub fn scalar(&self, dtype: DType, value: f64) -> Result<Tensor> {
        self.constant(Literal::scalar(dtype, value))
    }

    /// A function of one element.
    ///
    /// # Errors
    /// When the operand does not fit.
    pub fn unary(&self, op: UnaryOp, x: &Tensor) -> Result<Tensor> {
        self.op(Op::Unary(op), &[x])
    }

    /// A function of two elements.
    ///
    /// # Errors
    /// When the operands do not fit.
    pub fn binary(&self, op: BinaryOp, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        self.op(Op::Binary(op), &[x, y])
    }

    /// A function of an element and a constant of its type.
    ///
    /// # Errors
    /// When the operand does not fit.
    pub fn binary_scalar(&self, op: BinaryOp, x: &Tensor, y: f64) -> Result<Tensor> {
        self.binary(op, x, &self.scalar(x.dtype(), y)?)
    }

    /// `x + y`.
    ///
    /// # Errors
    /// When the operands do not fit.
    pub fn add(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        self.binary(BinaryOp::Add, x, y)
    }

    /// `x - y`.
    ///
    /// # Errors
    /// When the operands do not fit.
    pub fn sub(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        self.binary(BinaryOp::Sub, x, y)
    }

    /// `x * y`.
    ///
    /// # Errors
    /// When the operands do not fit.
    pub fn mul(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        self.binary(BinaryOp::Mul, x, y)
    }

    /// `x / y`.
    ///
    /// # Errors
    /// When the operands do not fit.
    pub fn div(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        self.binary(BinaryOp::Div, x, y)
    }

    /// `x * factor`.
    ///
    /// # Errors
    /// When the operand is bool.
    pub fn scale(&self, x: &Tensor, factor: f64) -> Result<Tensor> {
        self.binary_scalar(BinaryOp::Mul, x, factor)
    }

    /// `-x`.
    ///
    /// # Errors
    /// When the operand is bool.
    pub fn neg(&self, x: &Tensor) -> Result<Tensor> {
        self.unary(UnaryOp::Neg, x)
    }

    /// x where the condition holds, else y.
    ///
    /// # Errors
    /// When the operands do not fit.
    pub fn select(&self, condition: &Tensor, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        self.op(Op::Select, &[condition, x, y])
    }

    /// `x` converted; `x` itself where it has the type already.
    ///
    /// # Errors
    /// Never.
    pub fn cast(&self, x: &Tensor, dtype: DType) -> Result<Tensor> {
        if x.dtype() == dtype {
            return Ok(x.clone());
        }
        self.op(Op::Cast(dtype), &[x])
    }

    /// A reduction over `axes` (sorted); `x` itself where there are none.
    ///
    /// # Errors
    /// When the operand does not fit.
    pub fn reduce(
        &self,
        op: ReduceOp,
        x: &Tensor,
        axes: &[usize],
        keepdims: bool,
    ) -> Result<Tensor> {
        if axes.is_empty() {
            return Ok(x.clone());
        }
        let axes = axes.to_vec();
        self.op(Op::Reduce { op, axes, keepdims }, &[x])
    }

    /// The shape of `x` as a vector: a constant where it is known.
    ///
    /// # Errors
    /// Never.
    pub fn shape_of(&self, x: &Tensor) -> Result<Tensor> {
        match concrete(x.shape()) {
            Some(dims) => self.ints(&dims.iter().map(|&n| n as i64).collect::<Vec<_>>()),
            None => self.op(Op::ShapeOf, &[x]),
        }
    }

    /// A constant vector of sizes.
    ///
    /// # Errors
    /// Never.
    pub fn ints(&self, values: &[i64]) -> Result<Tensor> {
        self.constant(Literal::ints(values))
    }

    /// `x` in the shape of `like`.
    ///
    /// # Errors
    /// When the numbers of elements differ.
    pub fn reshape_like(&self, x: &Tensor, like: &Tensor) -> Result<Tensor> {
        if x.shape() == like.shape() && concrete(x.shape()).is_some() {
            return Ok(x.clone());
        }
        self.op(Op::Reshape, &[x, &self.shape_of(like)?])
    }

    /// `x` broadcast to the shape of `like`.
    ///
    /// # Errors
    /// When it does not broadcast.
    pub fn broadcast_like(&self, x: &Tensor, like: &Tensor) -> Result<Tensor> {
        if x.shape() == like.shape() && concrete(x.shape()).is_some() {
            return Ok(x.clone());
        }
        self.op(Op::BroadcastTo, &[x, &self.shape_of(like)?])
    }

    /// `x` summed over what a broadcast from the shape of `like` repeated.
    ///
    /// # Errors
    /// When `x` does not have the shape of such a broadcast.
    pub fn sum_like(&self, x: &Tensor, like: &Tensor) -> Result<Tensor> {
        if x.shape() == like.shape() && concrete(x.shape()).is_some() {
            return Ok(x.clone());
        }
        self.op(Op::SumTo, &[x, &self.shape_of(like)?])
    }

    /// A tensor of the shape and type of `like`, filled with `value`.
    ///
    /// # Errors
    /// Never.
    pub fn full_like(&self, like: &Tensor, value: f64) -> Result<Tensor> {
        self.broadcast_like(&self.scalar(like.dtype(), value)?, like)
    }

    /// `x`, a reduction of `like` over `axes`, with the reduced axes put back with size 1.
    ///
    /// # Errors
    /// When `x` is no such reduction.
    pub fn expand_reduced(&self, x: &Tensor, like: &Tensor, axes: &[usize]) -> Result<Tensor> {
        if axes.is_empty() {
            return Ok(x.clone());
        }
        self.op(Op::Reshape, &[x, &self.kept_shape(like, axes)?])
    }

    /// The shape of a reduction of `like` over `axes` that keeps them with size 1.
    fn kept_shape(&self, like: &Tensor, axes: &[usize]) -> Result<Tensor> {
        let kept = |(i, d): (usize, &Dim)| if axes.contains(&i) { Some(1) } else { *d };
        let kept: Vec<Dim> = like.shape().iter().enumerate().map(kept).collect();
        let unknown = kept.iter().filter(|d| d.is_none()).count();
        // One unknown size is what -1 is for, unless an empty axis makes it ambiguous.
        if unknown == 0 || (unknown == 1 && !kept.contains(&Some(0))) {
            let size = |d: &Dim| d.map_or(-1, |n| n as i64);
            return self.ints(&kept.iter().map(size).collect::<Vec<_>>());
        }
        let ones: Vec<i64> = (0..kept.len())
            .map(|i| i64::from(axes.contains(&i)))
            .collect();
        let mask: Vec<i64> = ones.iter().map(|&one| 1 - one).collect();
        let shape = self.mul(&self.shape_of(like)?, &self.ints(&mask)?)?;
        self.add(&shape, &self.ints(&ones)?)
    }

    /// The number of elements of `x` along `axes`, as a scalar of its type.
    ///
    /// # Errors
    /// When an axis does not exist.
    pub fn count(&self, x: &Tensor, axes: &[usize]) -> Result<Tensor> {
        let known: Option<usize> = axes
            .iter()
            .try_fold(1usize, |n, &a| x.shape()[a].map(|d| n * d));
        if let Some(n) = known {
            return self.scalar(x.dtype(), n as f64);
        }
        let indices: Vec<i64> = axes.iter().map(|&a| a as i64).collect();
        let shape = self.op(Op::ShapeOf, &[x])?;
        let sizes = self.op(Op::Gather { axis: 0 }, &[&shape, &self.ints(&indices)?])?;
        let n = self.reduce(ReduceOp::Prod, &sizes, &[0], false)?;
        self.cast(&n, x.dtype())
    }

    /// The product over the last two axes.
    ///
    /// # Errors
    /// When the operands do not fit.
    pub fn matmul(
        &self,
        x: &Tensor,
        y: &Tensor,
        transpose_a: bool,
        transpose_b: bool,
    ) -> Result<Tensor> {
        let op = Op::MatMul {
            transpose_a,
            transpose_b,
            epilogue: Epilogue::default(),
        };
        self.op(op, &[x, y])
    }
}
