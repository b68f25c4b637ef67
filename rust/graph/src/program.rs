//! Programs: the flat, concrete form of a function that passes rewrite and the runtime plans.

use std::sync::Arc;

use crate::dtype::DType;
use crate::literal::Literal;
use crate::op::{Op, VarId};

/// Index of a value in [`Program::values`].
pub type ValueId = usize;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Input `k` of the function.
    Input(usize),
    /// A variable's value before the updates.
    Variable(VarId),
    /// A constant.
    Constant(Literal),
    /// Output `output` of instruction `inst`.
    Inst {
        /// Index in [`Program::insts`].
        inst: usize,
        /// Which of its outputs.
        output: usize,
    },
}

/// A value with everything known about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Element type.
    pub dtype: DType,
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// Where it comes from.
    pub source: Source,
}

impl Value {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.len() * self.dtype.size()
    }
}

/// One operation on values, all shapes known.
#[derive(Clone, Debug, PartialEq)]
pub struct Inst {
    /// The operation.
    pub op: Op,
    /// Operands.
    pub inputs: Vec<ValueId>,
    /// Results. A result that nothing reads is still listed, see [`Program::uses`].
    pub outputs: Vec<ValueId>,
    /// The layer it came from.
    pub scope: Option<Arc<str>>,
}

/// A straight-line program: instructions in an order in which operands come before their use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// All values.
    pub values: Vec<Value>,
    /// All instructions, in order.
    pub insts: Vec<Inst>,
    /// The value of each input of the function.
    pub inputs: Vec<ValueId>,
    /// The value of each output of the function.
    pub outputs: Vec<ValueId>,
    /// Variables and their new values, all computed from the old ones.
    pub updates: Vec<(VarId, ValueId)>,
}

impl Program {
    /// How often each value is read by instructions, outputs and updates.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.values.len()];
        let operands = self.insts.iter().flat_map(|i| &i.inputs);
        let results = self
            .outputs
            .iter()
            .chain(self.updates.iter().map(|(_, v)| v));
        operands.chain(results).for_each(|&v| uses[v] += 1);
        uses
    }
}
