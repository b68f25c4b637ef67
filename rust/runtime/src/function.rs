//! Functions: arguments in, results out, variables updated in place.

mod apart;

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use hornbeam_graph::compile::{Options, Request, compile};
use hornbeam_graph::op::VarId;
use hornbeam_graph::partition::Partition;
use hornbeam_graph::synchronize::is_synchronized;
use hornbeam_graph::verify::verify;
use hornbeam_graph::{DType, Program, Tensor, Widening, widen};

use crate::buffer::exclusive;
use crate::dispatch::{Constants, RunContext};
use crate::error::{Result, RuntimeError};
use crate::plan::{Done, Exclusive, Plan, Spot, Timing};
use crate::shards::Memory;
use crate::variable::Variable;
pub(crate) use apart::Shard;

/// An argument of a function: row-major bytes with type and sizes.
#[derive(Clone, Copy, Debug)]
pub struct ArrayRef<'a> {
    /// Element type.
    pub dtype: DType,
    /// Sizes of the axes.
    pub shape: &'a [usize],
    /// The elements.
    pub bytes: &'a [u8],
}

/// A function of symbolic tensors, planned anew for each set of argument shapes.
pub struct Function {
    name: String,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    updates: Vec<(Arc<Variable>, Tensor)>,
    synchronized: bool,
    state: Mutex<State>,
    /// The latest partition, and for updates of how many elements.
    partition: Mutex<Option<(usize, Arc<Partition>)>>,
    /// What a pass that has ended leaves to the next one.
    left: Mutex<Option<Box<dyn Any + Send>>>,
}

struct State {
    /// The plans, the latest used last.
    plans: Vec<(Key, Plan)>,
    capacity: usize,
    step: u64,
}

struct Key {
    shapes: Vec<Vec<usize>>,
    training: bool,
    /// How the plan runs several shards at once, if it does.
    widening: Option<Widening>,
    /// Whether the caller says where results go.
    direct: bool,
}

impl Function {
    /// A function; nothing is compiled before it is called.
    ///
    /// # Errors
    /// When an update's type is not its variable's.
    pub fn new(
        name: String,
        inputs: Vec<Tensor>,
        outputs: Vec<Tensor>,
        updates: Vec<(Arc<Variable>, Tensor)>,
        plan_cache: usize,
    ) -> Result<Function> {
        for (variable, value) in &updates {
            if value.dtype() != variable.dtype {
                return Err(RuntimeError::Argument(format!(
                    "{name}: a variable of type {} is updated with a value of type {}: cast it",
                    variable.dtype,
                    value.dtype()
                )));
            }
        }
        let state = State {
            plans: Vec::new(),
            capacity: plan_cache.max(1),
            step: 0,
        };
        Ok(Function {
            name,
            synchronized: is_synchronized(&outputs),
            inputs,
            outputs,
            updates,
            state: Mutex::new(state),
            partition: Mutex::new(None),
            left: Mutex::new(None),
        })
    }

    /// The function's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of results.
    pub fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Whether a run exchanges values with other shards of the batch.
    pub(crate) fn is_synchronized(&self) -> bool {
        self.synchronized
    }

    /// The placeholders.
    pub fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    /// How many steps have run: random numbers differ from step to step.
    pub fn step(&self) -> u64 {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .step
    }

    /// Sets the number of the next step.
    pub fn set_step(&self, step: u64) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .step = step;
    }

    /// The program in training for its placeholders' shapes, which are all known, with its updates of
    /// `least` elements and more apart.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub(crate) fn partition(&self, shapes: &[Vec<usize>], least: usize) -> Result<Arc<Partition>> {
        let latest = &mut *self
            .partition
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((elements, partition)) = latest
            && *elements == least
        {
            return Ok(Arc::clone(partition));
        }
        let made = Arc::new(Partition::of(&self.program(shapes, true)?, least));
        *latest = Some((least, Arc::clone(&made)));
        Ok(made)
    }

    /// Leaves something to whoever asks next.
    pub(crate) fn leave(&self, what: Box<dyn Any + Send>) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    /// Takes what was left, if it is of that type.
    pub(crate) fn take_left<T: 'static>(&self) -> Option<Box<T>> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.take()?.downcast().ok()
    }

    /// Runs the function and hands its plan to `read`, which takes the results out.
    ///
    /// # Errors
    /// When arguments do not fit, or an operation fails; variables have their old values then.
    pub fn call<R>(
        &self,
        arguments: &[ArrayRef<'_>],
        training: bool,
        read: impl FnOnce(&Plan, &[&[u8]]) -> R,
    ) -> Result<R> {
        let held = exclusive();
        self.call_held(arguments, training, 0, &held, read)
    }

    /// [`Function::call`] for a caller that holds the lock; `sample_offset` is the place of the
    /// first sample in the global batch.
    ///
    /// # Errors
    /// As for [`Function::call`].
    pub fn call_held<R>(
        &self,
        arguments: &[ArrayRef<'_>],
        training: bool,
        sample_offset: u64,
        held: &Exclusive,
        read: impl FnOnce(&Plan, &[&[u8]]) -> R,
    ) -> Result<R> {
        let context = RunContext {
            step: self.step(),
            sample_offset,
            ..RunContext::default()
        };
        let result = self.call_at(arguments, training, context, held, read)?;
        self.set_step(context.step + 1);
        Ok(result)
    }

    /// [`Function::call_held`] for a given step, which does not count as one.
    ///
    /// # Errors
    /// As for [`Function::call`].
    pub fn call_at<R>(
        &self,
        arguments: &[ArrayRef<'_>],
        training: bool,
        context: RunContext<'_>,
        held: &Exclusive,
        read: impl FnOnce(&Plan, &[&[u8]]) -> R,
    ) -> Result<R> {
        self.call_plan(arguments, training, None, context, held, read)
    }

    /// [`Function::call_at`] in training, for several equal shards at once: each result is what the
    /// function returns for each shard, summed over groups of shards, which are its first axis. It
    /// has the same bits as if the function ran once for each shard.
    ///
    /// # Errors
    /// As for [`Function::call`]; when the function has updates, or returns what is not float32.
    pub fn call_widened<R>(
        &self,
        arguments: &[ArrayRef<'_>],
        widening: &Widening,
        context: RunContext<'_>,
        held: &Exclusive,
        read: impl FnOnce(&Plan, &[&[u8]]) -> R,
    ) -> Result<R> {
        self.call_plan(arguments, true, Some(widening), context, held, read)
    }

    /// [`Function::call_widened`] that puts result k to `spots[k]`, and lets `done` have each block
    /// when nothing in it changes any more (see [`Plan::run_into`]).
    ///
    /// # Errors
    /// As for [`Function::call_widened`] and [`Plan::run_into`].
    pub fn call_widened_into(
        &self,
        arguments: &[ArrayRef<'_>],
        widening: &Widening,
        blocks: &mut [Memory],
        spots: &[Spot],
        done: &mut Done<'_>,
        context: RunContext<'_>,
        held: &Exclusive,
    ) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.plan_for(&mut state, arguments, true, Some(widening), true)?;
        let bytes: Vec<&[u8]> = arguments.iter().map(|a| a.bytes).collect();
        let plan = &mut state.plans[at].1;
        plan.run_into(&bytes, blocks, spots, done, context, held)
    }

    fn call_plan<R>(
        &self,
        arguments: &[ArrayRef<'_>],
        training: bool,
        widening: Option<&Widening>,
        context: RunContext<'_>,
        held: &Exclusive,
        read: impl FnOnce(&Plan, &[&[u8]]) -> R,
    ) -> Result<R> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.plan_for(&mut state, arguments, training, widening, false)?;
        let plan = &mut state.plans[at].1;
        let bytes: Vec<&[u8]> = arguments.iter().map(|a| a.bytes).collect();
        plan.run(&bytes, context, held)?;
        Ok(read(plan, &bytes))
    }

    fn plan_for(
        &self,
        state: &mut State,
        arguments: &[ArrayRef<'_>],
        training: bool,
        widening: Option<&Widening>,
        direct: bool,
    ) -> Result<usize> {
        let matches = |key: &Key| {
            key.training == training
                && key.widening.as_ref() == widening
                && key.direct == direct
                && key.shapes.len() == arguments.len()
                && key
                    .shapes
                    .iter()
                    .zip(arguments)
                    .all(|(shape, a)| shape == a.shape)
        };
        if let Some(at) = state.plans.iter().rposition(|(key, _)| matches(key)) {
            if at + 1 < state.plans.len() && state.plans.len() == state.capacity {
                state.plans[at..].rotate_left(1);
                return Ok(state.plans.len() - 1);
            }
            return Ok(at);
        }
        self.check(arguments)?;
        let shapes: Vec<Vec<usize>> = arguments.iter().map(|a| a.shape.to_vec()).collect();
        let plan = match widening {
            None => self.plan(&shapes, training)?,
            Some(widening) if direct => Plan::direct(self.widened(&shapes, widening)?)?,
            Some(widening) => self.plan_widened(&shapes, widening)?,
        };
        let key = Key {
            shapes,
            training,
            widening: widening.cloned(),
            direct,
        };
        if state.plans.len() == state.capacity {
            state.plans.remove(0);
        }
        state.plans.push((key, plan));
        Ok(state.plans.len() - 1)
    }

    fn check(&self, arguments: &[ArrayRef<'_>]) -> Result<()> {
        if arguments.len() != self.inputs.len() {
            return Err(RuntimeError::Argument(format!(
                "{} takes {} arguments, {} were given",
                self.name,
                self.inputs.len(),
                arguments.len()
            )));
        }
        for (k, (input, argument)) in self.inputs.iter().zip(arguments).enumerate() {
            if input.dtype() != argument.dtype {
                return Err(RuntimeError::Argument(format!(
                    "{}: argument {k} has type {}, its placeholder needs {}",
                    self.name,
                    argument.dtype,
                    input.dtype()
                )));
            }
        }
        Ok(())
    }

    /// Compiles and plans the function for concrete shapes.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn plan(&self, shapes: &[Vec<usize>], training: bool) -> Result<Plan> {
        Plan::new(self.program(shapes, training)?)
    }

    /// Compiles and plans the function for the concrete shapes of several shards at once.
    ///
    /// # Errors
    /// As for [`Function::call_widened`].
    pub fn plan_widened(&self, shapes: &[Vec<usize>], widening: &Widening) -> Result<Plan> {
        Plan::new(self.widened(shapes, widening)?)
    }

    fn widened(&self, shapes: &[Vec<usize>], widening: &Widening) -> Result<Program> {
        let mut of_one = shapes.to_vec();
        for (shape, &samples) in of_one.iter_mut().zip(&widening.samples) {
            if samples {
                shape[0] = widening.rows;
            }
        }
        let program = widen(&self.program(&of_one, true)?, widening)?;
        if Options::default().verify {
            verify(&program, "widen")?;
        }
        Ok(program)
    }

    fn program(&self, shapes: &[Vec<usize>], training: bool) -> Result<Program> {
        let updates: Vec<(VarId, Tensor)> = self
            .updates
            .iter()
            .map(|(variable, value)| (variable.id, value.clone()))
            .collect();
        let request = Request {
            inputs: &self.inputs,
            input_shapes: shapes,
            outputs: &self.outputs,
            updates: &updates,
            training,
        };
        let program = compile(&request, &Constants, Options::default())?;
        for (id, value) in &program.updates {
            let variable = Variable::by_id(*id)?;
            let shape = &program.values[*value].shape;
            if *shape != variable.shape {
                return Err(RuntimeError::Argument(format!(
                    "{}: a variable of shape {:?} is updated with a value of shape {shape:?}",
                    self.name, variable.shape
                )));
            }
        }
        Ok(program)
    }

    /// Times each call of the plan for these arguments.
    ///
    /// # Errors
    /// As for [`Function::call`].
    pub fn profile(
        &self,
        arguments: &[ArrayRef<'_>],
        training: bool,
        repeats: usize,
    ) -> Result<Vec<Timing>> {
        let held = exclusive();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.plan_for(&mut state, arguments, training, None, false)?;
        let context = RunContext {
            step: state.step,
            sample_offset: 0,
            ..RunContext::default()
        };
        let bytes: Vec<&[u8]> = arguments.iter().map(|a| a.bytes).collect();
        state.plans[at].1.profile(&bytes, context, repeats, &held)
    }
}
