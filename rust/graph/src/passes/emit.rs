//! Building a program instruction by instruction.

use std::collections::HashMap;
use std::sync::Arc;

use crate::dtype::DType;
use crate::error::Result;
use crate::literal::Literal;
use crate::op::Op;
use crate::ops::infer_concrete;
use crate::program::{Inst, Program, Source, Value, ValueId};

/// A type and a shape.
pub(super) type Type = (DType, Vec<usize>);

/// A program under construction. Equal operations become one.
pub(super) struct Emitter {
    /// What has been emitted so far.
    pub(super) program: Program,
    /// For each value of the old program, its value here.
    pub(super) map: Vec<Option<ValueId>>,
    constants: HashMap<Literal, ValueId>,
    known: HashMap<(Op, Vec<ValueId>), Vec<ValueId>>,
}

impl Emitter {
    /// An emitter that holds the leaves of `old`.
    pub(super) fn new(old: &Program) -> Emitter {
        let mut e = Emitter {
            program: Program::default(),
            map: vec![None; old.values.len()],
            constants: HashMap::new(),
            known: HashMap::new(),
        };
        for (v, value) in old.values.iter().enumerate() {
            if let Source::Inst { .. } = value.source {
                continue;
            }
            e.program.values.push(value.clone());
            let new = e.program.values.len() - 1;
            e.map[v] = Some(new);
            if let Source::Constant(l) = &value.source {
                e.constants.insert(l.clone(), new);
            }
        }
        e.program.inputs = e.mapped(&old.inputs);
        e
    }

    /// The values here of values of the old program.
    pub(super) fn mapped(&self, old: &[ValueId]) -> Vec<ValueId> {
        let new = |&v: &ValueId| self.map[v].expect("operands are emitted before their use");
        old.iter().map(new).collect()
    }

    /// The program, with the results of `old`.
    pub(super) fn finish(mut self, old: &Program) -> Program {
        self.program.outputs = self.mapped(&old.outputs);
        let new = |&(var, v): &(_, ValueId)| (var, self.mapped(&[v])[0]);
        self.program.updates = old.updates.iter().map(new).collect();
        self.program.without_dead_code()
    }

    /// A value of a constant.
    pub(super) fn constant(&mut self, literal: Literal) -> ValueId {
        if let Some(&v) = self.constants.get(&literal) {
            return v;
        }
        self.program.values.push(Value {
            dtype: literal.dtype,
            shape: literal.shape.clone(),
            source: Source::Constant(literal.clone()),
        });
        let v = self.program.values.len() - 1;
        self.constants.insert(literal, v);
        v
    }

    /// A constant vector of sizes.
    pub(super) fn sizes(&mut self, sizes: &[usize]) -> ValueId {
        let sizes: Vec<i64> = sizes.iter().map(|&n| n as i64).collect();
        self.constant(Literal::ints(&sizes))
    }

    /// The type of a value.
    pub(super) fn ty(&self, v: ValueId) -> Type {
        let value = &self.program.values[v];
        (value.dtype, value.shape.clone())
    }

    /// The shape of a value.
    pub(super) fn shape(&self, v: ValueId) -> &[usize] {
        &self.program.values[v].shape
    }

    /// The instruction whose first output a value is.
    pub(super) fn def(&self, v: ValueId) -> Option<&Inst> {
        match self.program.values[v].source {
            Source::Inst { inst, output: 0 } => Some(&self.program.insts[inst]),
            _ => None,
        }
    }

    /// The types of an operation's outputs.
    pub(super) fn infer(&self, op: &Op, inputs: &[ValueId]) -> Result<Vec<Type>> {
        let values = &self.program.values;
        let types: Vec<(DType, &[usize])> = inputs
            .iter()
            .map(|&v| (values[v].dtype, values[v].shape.as_slice()))
            .collect();
        let constants: Vec<Option<&Literal>> =
            inputs.iter().map(|&v| self.program.literal(v)).collect();
        infer_concrete(op, &types, &constants)
    }

    /// The outputs of an operation, whose types are inferred.
    pub(super) fn op(
        &mut self,
        op: Op,
        inputs: Vec<ValueId>,
        scope: &Option<Arc<str>>,
    ) -> Result<Vec<ValueId>> {
        let types = self.infer(&op, &inputs)?;
        Ok(self.typed(op, inputs, types, scope))
    }

    /// The first output of an operation.
    pub(super) fn one(
        &mut self,
        op: Op,
        inputs: Vec<ValueId>,
        scope: &Option<Arc<str>>,
    ) -> Result<ValueId> {
        Ok(self.op(op, inputs, scope)?[0])
    }

    /// The outputs of an operation, whose types are `types`.
    pub(super) fn typed(
        &mut self,
        op: Op,
        inputs: Vec<ValueId>,
        types: Vec<Type>,
        scope: &Option<Arc<str>>,
    ) -> Vec<ValueId> {
        let key = (op, inputs);
        if let Some(values) = self.known.get(&key) {
            return values.clone();
        }
        let inst = self.program.insts.len();
        let first = self.program.values.len();
        let values = types
            .into_iter()
            .enumerate()
            .map(|(output, (dtype, shape))| Value {
                dtype,
                shape,
                source: Source::Inst { inst, output },
            });
        self.program.values.extend(values);
        let outputs: Vec<ValueId> = (first..self.program.values.len()).collect();
        self.program.insts.push(Inst {
            op: key.0.clone(),
            inputs: key.1.clone(),
            outputs: outputs.clone(),
            scope: scope.clone(),
        });
        self.known.insert(key, outputs.clone());
        outputs
    }

    /// An instruction of the old program, unchanged.
    pub(super) fn copy(&mut self, old: &Program, inst: &Inst) {
        let inputs = self.mapped(&inst.inputs);
        let ty = |&v: &ValueId| (old.values[v].dtype, old.values[v].shape.clone());
        let types = inst.outputs.iter().map(ty).collect();
        let outputs = self.typed(inst.op.clone(), inputs, types, &inst.scope);
        self.bind(&inst.outputs, &outputs);
    }

    /// Says that values of the old program are these values here.
    pub(super) fn bind(&mut self, old: &[ValueId], new: &[ValueId]) {
        for (&o, &n) in old.iter().zip(new) {
            self.map[o] = Some(n);
        }
    }
}

impl Program {
    /// The constant that a value is, if it is one.
    pub fn literal(&self, v: ValueId) -> Option<&Literal> {
        match &self.values[v].source {
            Source::Constant(literal) => Some(literal),
            Source::Input(_) | Source::Variable(_) | Source::Inst { .. } => None,
        }
    }
}
