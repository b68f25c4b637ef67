//! The first step of compilation: a symbolic graph becomes a program for concrete shapes.
//!
//! Leaves become values, shape operands become constants, whatever depends on constants alone is
//! computed, equal operations become one, and what nothing needs is dropped. The walk is a loop
//! with a stack of its own, so the depth of a graph does not matter.

use std::collections::HashMap;
use std::sync::Arc;

use crate::compile::{Evaluator, Request};
use crate::dtype::DType;
use crate::error::{GraphError, Result};
use crate::literal::Literal;
use crate::node::{Node, Tensor};
use crate::op::{Op, Scan, ScanBody, VarId};
use crate::ops;
use crate::program::{Inst, Program, Source, Value, ValueId};
use crate::shape;

/// Constants larger than this are computed at run time rather than kept in a plan.
const FOLD_LIMIT_BYTES: usize = 1 << 20;

/// What is done to the program of a scan's step: the passes that the whole program will go through.
pub(crate) type Finish<'a> = &'a dyn Fn(Program) -> Result<Program>;

/// The program of a function for the request's shapes, before any other pass.
///
/// # Errors
/// When an argument does not fit its placeholder, a placeholder is not among the inputs, or an
/// operation does not fit its operands' concrete shapes.
pub(crate) fn specialise(
    request: &Request<'_>,
    evaluator: &dyn Evaluator,
    finish: Finish<'_>,
) -> Result<Program> {
    specialise_with(request, &[], evaluator, finish)
}

/// The same where some inputs are known: they are constants to the program.
fn specialise_with(
    request: &Request<'_>,
    constants: &[Option<Literal>],
    evaluator: &dyn Evaluator,
    finish: Finish<'_>,
) -> Result<Program> {
    let mut walk = Specialiser::new(request, constants, evaluator, finish)?;
    let results = request
        .outputs
        .iter()
        .chain(request.updates.iter().map(|(_, t)| t));
    for tensor in results {
        walk.visit(tensor)?;
    }
    let outputs: Vec<ValueId> = request.outputs.iter().map(|t| walk.operand(t)).collect();
    let updates = request
        .updates
        .iter()
        .map(|(var, t)| (*var, walk.operand(t)))
        .collect();
    let mut program = walk.program;
    program.outputs = outputs;
    program.updates = updates;
    Ok(program.without_dead_code())
}

struct Specialiser<'a> {
    request: &'a Request<'a>,
    evaluator: &'a dyn Evaluator,
    finish: Finish<'a>,
    program: Program,
    /// Tensors given as inputs: placeholders, or intermediate results that a caller overrides.
    fed: HashMap<(u64, usize), ValueId>,
    /// The values of each visited node's outputs.
    done: HashMap<u64, Vec<ValueId>>,
    constants: HashMap<Literal, ValueId>,
    variables: HashMap<VarId, ValueId>,
    known: HashMap<(Op, Vec<ValueId>), Vec<ValueId>>,
}

impl<'a> Specialiser<'a> {
    fn new(
        request: &'a Request<'a>,
        constants: &[Option<Literal>],
        evaluator: &'a dyn Evaluator,
        finish: Finish<'a>,
    ) -> Result<Self> {
        let mut walk = Specialiser {
            request,
            evaluator,
            finish,
            program: Program::default(),
            fed: HashMap::new(),
            done: HashMap::new(),
            constants: HashMap::new(),
            variables: HashMap::new(),
            known: HashMap::new(),
        };
        for (k, (tensor, given)) in request.inputs.iter().zip(request.input_shapes).enumerate() {
            let fits = tensor.rank() == given.len()
                && tensor
                    .shape()
                    .iter()
                    .zip(given)
                    .all(|(want, &n)| want.is_none_or(|w| w == n));
            if !fits {
                return Err(GraphError::Compile(format!(
                    "argument {k} has shape {}, but its placeholder needs {}",
                    shape::show(&shape::known(given)),
                    shape::show(tensor.shape()),
                )));
            }
            let id = walk.value(tensor.dtype(), given.clone(), Source::Input(k));
            walk.program.inputs.push(id);
            let fed = match constants.get(k) {
                Some(Some(literal)) => walk.constant(literal.clone()),
                _ => id,
            };
            walk.fed.insert(tensor.key(), fed);
        }
        Ok(walk)
    }

    fn value(&mut self, dtype: DType, shape: Vec<usize>, source: Source) -> ValueId {
        self.program.values.push(Value {
            dtype,
            shape,
            source,
        });
        self.program.values.len() - 1
    }

    fn constant(&mut self, literal: Literal) -> ValueId {
        if let Some(&id) = self.constants.get(&literal) {
            return id;
        }
        let source = Source::Constant(literal.clone());
        let id = self.value(literal.dtype, literal.shape.clone(), source);
        self.constants.insert(literal, id);
        id
    }

    /// Specialises a tensor's node after everything that it depends on.
    fn visit(&mut self, tensor: &Tensor) -> Result<()> {
        let mut stack = vec![(tensor.clone(), false)];
        while let Some((tensor, ready)) = stack.pop() {
            if self.done.contains_key(&tensor.node.id) || self.fed.contains_key(&tensor.key()) {
                continue;
            }
            if ready {
                let values = self.node(&tensor.node)?;
                self.done.insert(tensor.node.id, values);
            } else {
                let inputs = tensor.node.inputs.clone();
                stack.push((tensor, true));
                stack.extend(inputs.into_iter().rev().map(|t| (t, false)));
            }
        }
        Ok(())
    }

    fn operand(&self, t: &Tensor) -> ValueId {
        self.fed
            .get(&t.key())
            .copied()
            .unwrap_or_else(|| self.done[&t.node.id][t.index])
    }

    fn node(&mut self, node: &Node) -> Result<Vec<ValueId>> {
        let inputs: Vec<ValueId> = node.inputs.iter().map(|t| self.operand(t)).collect();
        match &node.op {
            Op::Placeholder => Err(GraphError::Compile(format!(
                "the result depends on a placeholder of shape {} that is not among the function's \
                 inputs: add it to the inputs, or build the result from the inputs given",
                shape::show(&node.outputs[0].shape)
            ))),
            Op::Variable(id) => Ok(vec![self.variable(*id, node)?]),
            Op::Constant(literal) => Ok(vec![self.constant(literal.clone())]),
            Op::LearningPhase => {
                let phase = f64::from(u8::from(self.request.training));
                Ok(vec![self.constant(Literal::scalar(DType::Bool, phase))])
            }
            Op::ShapeOf => {
                let dims: Vec<i64> = self.program.values[inputs[0]]
                    .shape
                    .iter()
                    .map(|&n| n as i64)
                    .collect();
                Ok(vec![self.constant(Literal::ints(&dims))])
            }
            Op::Identity | Op::StopGradient => Ok(vec![inputs[0]]),
            Op::Scan(scan) => {
                let step = Some(Arc::new(self.step(&scan.body, &inputs)?));
                let body = scan.body.clone();
                self.operation(&Op::Scan(Scan { body, step }), inputs, node)
            }
            op => self.operation(op, inputs, node),
        }
    }

    /// The program of a scan's step. What it captures of the constants is constant to it as well.
    fn step(&self, body: &ScanBody, inputs: &[ValueId]) -> Result<Program> {
        let shapes: Vec<&[usize]> = inputs
            .iter()
            .map(|&v| self.program.values[v].shape.as_slice())
            .collect();
        let shapes = ops::scan::step_shapes(body, &shapes)?;
        let operands: Vec<Tensor> = body
            .slices
            .iter()
            .chain(&body.states)
            .chain(&body.captured)
            .cloned()
            .collect();
        let fixed = body.slices.len() + body.states.len();
        let constants: Vec<Option<Literal>> = inputs
            .iter()
            .enumerate()
            .map(|(k, &v)| self.literal(v).filter(|_| k >= fixed).cloned())
            .collect();
        let outputs: Vec<Tensor> = body.outputs.iter().chain(&body.next).cloned().collect();
        let request = Request {
            inputs: &operands,
            input_shapes: &shapes,
            outputs: &outputs,
            updates: &[],
            training: self.request.training,
        };
        let program = specialise_with(&request, &constants, self.evaluator, self.finish)?;
        (self.finish)(program)
    }

    fn variable(&mut self, id: VarId, node: &Node) -> Result<ValueId> {
        if let Some(&value) = self.variables.get(&id) {
            return Ok(value);
        }
        let ty = &node.outputs[0];
        let dims = shape::concrete(&ty.shape)
            .ok_or_else(|| GraphError::Compile("a variable of unknown shape".to_string()))?;
        let value = self.value(ty.dtype, dims, Source::Variable(id));
        self.variables.insert(id, value);
        Ok(value)
    }

    fn literal(&self, id: ValueId) -> Option<&Literal> {
        match &self.program.values[id].source {
            Source::Constant(literal) => Some(literal),
            _ => None,
        }
    }

    fn operation(&mut self, op: &Op, inputs: Vec<ValueId>, node: &Node) -> Result<Vec<ValueId>> {
        let types: Vec<(DType, &[usize])> = inputs
            .iter()
            .map(|&v| {
                (
                    self.program.values[v].dtype,
                    self.program.values[v].shape.as_slice(),
                )
            })
            .collect();
        let literals: Vec<Option<&Literal>> = inputs.iter().map(|&v| self.literal(v)).collect();
        let outputs = ops::infer_concrete(op, &types, &literals)
            .map_err(|e| e.in_scope(node.scope.as_deref()))?;
        if let Some(same) = self.alias(op, &inputs, &outputs) {
            return Ok(vec![same]);
        }
        let key = (op.clone(), inputs);
        if let Some(values) = self.known.get(&key) {
            return Ok(values.clone());
        }
        let values = match self.fold(op, &key.1, &outputs, node)? {
            Some(values) => values,
            None => self.emit(op, &key.1, outputs, node),
        };
        self.known.insert(key, values.clone());
        Ok(values)
    }

    /// The operand that an operation merely passes on, if it does.
    fn alias(
        &self,
        op: &Op,
        inputs: &[ValueId],
        outputs: &[(DType, Vec<usize>)],
    ) -> Option<ValueId> {
        let source = match op {
            Op::Reshape | Op::BroadcastTo | Op::SumTo | Op::Cast(_) => inputs[0],
            Op::Select => {
                let phase = self.literal(inputs[0])?.uniform()?;
                if phase != 0.0 { inputs[1] } else { inputs[2] }
            }
            _ => return None,
        };
        let value = &self.program.values[source];
        (value.dtype == outputs[0].0 && value.shape == outputs[0].1).then_some(source)
    }

    fn fold(
        &mut self,
        op: &Op,
        inputs: &[ValueId],
        outputs: &[(DType, Vec<usize>)],
        node: &Node,
    ) -> Result<Option<Vec<ValueId>>> {
        let bytes: usize = outputs
            .iter()
            .map(|(d, s)| d.size() * s.iter().product::<usize>())
            .sum();
        let stays = matches!(
            op,
            Op::Random { .. } | Op::Scan(_) | Op::Print { .. } | Op::OverShards(_)
        );
        let foldable = !stays && bytes <= FOLD_LIMIT_BYTES;
        let Some(literals) = inputs
            .iter()
            .map(|&v| self.literal(v))
            .collect::<Option<Vec<_>>>()
            .filter(|_| foldable)
        else {
            return Ok(None);
        };
        let values: Vec<Value> = outputs
            .iter()
            .enumerate()
            .map(|(output, (dtype, shape))| Value {
                dtype: *dtype,
                shape: shape.clone(),
                source: Source::Inst { inst: 0, output },
            })
            .collect();
        let folded = self
            .evaluator
            .eval(op, &literals, &values)
            .map_err(|message| GraphError::Operands {
                op: format!("{op:?}"),
                scope: node.scope.as_deref().map(str::to_string),
                message,
            })?;
        Ok(Some(folded.into_iter().map(|l| self.constant(l)).collect()))
    }

    fn emit(
        &mut self,
        op: &Op,
        inputs: &[ValueId],
        outputs: Vec<(DType, Vec<usize>)>,
        node: &Node,
    ) -> Vec<ValueId> {
        let inst = self.program.insts.len();
        let outputs: Vec<ValueId> = outputs
            .into_iter()
            .enumerate()
            .map(|(output, (dtype, shape))| self.value(dtype, shape, Source::Inst { inst, output }))
            .collect();
        self.program.insts.push(Inst {
            op: op.clone(),
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
            scope: node.scope.clone(),
        });
        outputs
    }
}

impl Program {
    /// The same program without the instructions and values that no output or update needs.
    ///
    /// Values of inputs stay, and so do all outputs of an instruction that is kept.
    pub fn without_dead_code(self) -> Program {
        let mut live = vec![false; self.values.len()];
        for &v in self.inputs.iter().chain(&self.outputs) {
            live[v] = true;
        }
        for &(_, v) in &self.updates {
            live[v] = true;
        }
        let mut keep = vec![false; self.insts.len()];
        for (i, inst) in self.insts.iter().enumerate().rev() {
            keep[i] = inst.outputs.iter().any(|&v| live[v]);
            if keep[i] {
                inst.inputs
                    .iter()
                    .chain(&inst.outputs)
                    .for_each(|&v| live[v] = true);
            }
        }
        let rank = |flags: &[bool]| -> Vec<usize> {
            flags
                .iter()
                .scan(0, |n, &f| {
                    *n += usize::from(f);
                    Some(n.wrapping_sub(1))
                })
                .collect()
        };
        let (value_at, inst_at) = (rank(&live), rank(&keep));
        let renumber = |ids: Vec<ValueId>| ids.into_iter().map(|v| value_at[v]).collect();
        let values = self
            .values
            .into_iter()
            .zip(&live)
            .filter(|(_, l)| **l)
            .map(|(mut v, _)| {
                if let Source::Inst { inst, .. } = &mut v.source {
                    *inst = inst_at[*inst];
                }
                v
            });
        let insts = self
            .insts
            .into_iter()
            .zip(&keep)
            .filter(|(_, k)| **k)
            .map(|(i, _)| Inst {
                op: i.op,
                inputs: renumber(i.inputs),
                outputs: renumber(i.outputs),
                scope: i.scope,
            });
        Program {
            values: values.collect(),
            insts: insts.collect(),
            inputs: renumber(self.inputs),
            outputs: renumber(self.outputs),
            updates: self
                .updates
                .into_iter()
                .map(|(id, v)| (id, value_at[v]))
                .collect(),
        }
    }
}
