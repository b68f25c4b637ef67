//! A plan: prepared kernel calls over one arena, for one set of concrete shapes.

mod direct;
mod parts;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hornbeam_graph::program::{Inst, Source, Value, ValueId};
use hornbeam_graph::{DType, Literal, Op, Program};

use crate::buffer::Buffer;
use crate::dispatch::{self, Args, Kernel, Raw, RunContext};
use crate::error::{Result, RuntimeError, panic_text};
use crate::memory::{self, Layout, Needs, Place, is_view};
use crate::schedule::schedule;
use crate::variable::{Variable, moves};
pub use direct::{Done, Spot};
pub(crate) use parts::Part;

/// Proof that the caller holds [`crate::buffer::exclusive`].
pub type Exclusive = MutexGuard<'static, ()>;

/// A compiled, planned function for concrete shapes, with its memory.
pub struct Plan {
    program: Program,
    calls: Vec<Call>,
    /// Operands, results of all calls, one call after the other.
    raws: Vec<Raw>,
    /// Where each value's bytes are.
    places: Vec<Place>,
    /// Entries of `raws` that are arguments, and which.
    patches: Vec<(usize, usize)>,
    /// Entries of `raws` that are variables, and which.
    variable_patches: Vec<(usize, usize)>,
    /// What [`moves`] said when they were right.
    moves: u64,
    /// Entries of `raws` that are results where the caller wants them, and which.
    result_patches: Vec<(usize, usize)>,
    /// Where the arena begins that `raws` point into; null before the first run.
    base: Raw,
    /// The arena of a plan that runs within another; the others share one.
    own: Option<Buffer>,
    arena_bytes: usize,
    constants: Vec<Buffer>,
    variables: Vec<Arc<Variable>>,
    copies: Vec<(ValueId, usize)>,
    /// Of a direct plan, the number of calls after which each result is final.
    final_after: Vec<usize>,
    /// Which of the variables a run writes.
    updated: Vec<usize>,
}

struct Call {
    kernel: Kernel,
    inst: usize,
    /// Ranges of `raws`: operands from `first` to `middle`, results from there to `last`.
    first: usize,
    middle: usize,
    last: usize,
    scratch: Raw,
    scratch_at: usize,
}

/// The time one call of a plan took.
#[derive(Clone, Debug)]
pub struct Timing {
    /// The operation.
    pub op: String,
    /// The layer.
    pub scope: Option<Arc<str>>,
    /// Shapes of operands and results.
    pub shapes: String,
    /// Median time of a call.
    pub time: Duration,
    /// Bytes of all operands and results.
    pub bytes: usize,
}

impl Plan {
    /// Plans a program.
    ///
    /// # Errors
    /// When an operation has no kernel for its operands, or memory is short.
    pub fn new(program: Program) -> Result<Plan> {
        Plan::make(program, false)
    }

    fn make(program: Program, direct: bool) -> Result<Plan> {
        let program = schedule(save_old_values(program)?);
        let mut kernels: Vec<Option<Kernel>> = Vec::with_capacity(program.insts.len());
        let mut needs: Vec<Needs> = Vec::with_capacity(program.insts.len());
        for inst in &program.insts {
            if is_view(&inst.op) {
                kernels.push(None);
                needs.push(Needs::default());
            } else {
                let prepared = dispatch::prepare(&program, inst)?;
                kernels.push(Some(prepared.kernel));
                needs.push(prepared.needs);
            }
        }
        let variables = variables_of(&program)?;
        let ids: Vec<u64> = variables.iter().map(|v| v.id).collect();
        let layout = memory::lay_out(&program, &needs, &ids, direct);
        Plan::assemble(program, kernels, &needs, variables, layout)
    }

    fn assemble(
        program: Program,
        kernels: Vec<Option<Kernel>>,
        needs: &[Needs],
        variables: Vec<Arc<Variable>>,
        layout: Layout,
    ) -> Result<Plan> {
        let constants = program
            .values
            .iter()
            .filter_map(|v| match &v.source {
                Source::Constant(literal) => Some(Buffer::copy_of(&literal.bytes, "a constant")),
                _ => None,
            })
            .collect::<Result<Vec<_>>>()?;
        let updated = program.updates.iter();
        let updated = updated.filter_map(|(id, _)| variables.iter().position(|v| v.id == *id));
        let updated = updated.collect();
        let nowhere = Raw {
            ptr: std::ptr::null_mut(),
            bytes: 0,
        };
        let mut plan = Plan {
            program,
            calls: Vec::new(),
            raws: Vec::new(),
            places: layout.places,
            patches: Vec::new(),
            variable_patches: Vec::new(),
            moves: 0,
            result_patches: Vec::new(),
            base: nowhere,
            own: None,
            arena_bytes: layout.arena_bytes,
            constants,
            variables,
            copies: layout.copies,
            final_after: Vec::new(),
            updated,
        };
        for (i, kernel) in kernels.into_iter().enumerate() {
            if let Some(kernel) = kernel {
                plan.push_call(i, kernel, needs[i].scratch, layout.scratch[i]);
            }
        }
        Ok(plan)
    }

    fn push_call(&mut self, inst: usize, kernel: Kernel, scratch: usize, scratch_at: usize) {
        let first = self.raws.len();
        let (inputs, outputs) = (
            self.program.insts[inst].inputs.clone(),
            self.program.insts[inst].outputs.clone(),
        );
        for v in inputs.iter().chain(&outputs) {
            match self.places[*v] {
                Place::Input(k) => self.patches.push((self.raws.len(), k)),
                Place::Result(k) => self.result_patches.push((self.raws.len(), k)),
                Place::Variable(k) => self.variable_patches.push((self.raws.len(), k)),
                _ => {}
            }
            let raw = self.raw(*v);
            self.raws.push(raw);
        }
        let (middle, last) = (first + inputs.len(), self.raws.len());
        let scratch = Raw {
            ptr: std::ptr::null_mut(),
            bytes: scratch,
        };
        self.calls.push(Call {
            kernel,
            inst,
            first,
            middle,
            last,
            scratch,
            scratch_at,
        });
    }

    /// Points everything that lies in the arena to an arena that begins at `base`.
    fn rebase(&mut self, base: *mut u8) {
        if self.base.ptr == base {
            return;
        }
        self.base.ptr = base;
        for c in 0..self.calls.len() {
            let inst = &self.program.insts[self.calls[c].inst];
            let first = self.calls[c].first;
            let values: Vec<ValueId> = inst.inputs.iter().chain(&inst.outputs).copied().collect();
            for (k, v) in values.into_iter().enumerate() {
                if let Place::Arena(_) = self.places[v] {
                    self.raws[first + k] = self.raw(v);
                }
            }
            let call = &mut self.calls[c];
            // SAFETY: the layout gave the call that many bytes of the arena at that offset.
            call.scratch.ptr = unsafe { base.add(call.scratch_at) };
        }
    }

    fn raw(&self, v: ValueId) -> Raw {
        let bytes = self.program.values[v].bytes();
        let ptr = match self.places[v] {
            Place::Arena(offset) => self.base.ptr.wrapping_add(offset),
            Place::Variable(k) => self.variables[k].place(),
            Place::Constant(k) => self.constants[k].as_ptr(),
            Place::Input(_) | Place::Result(_) | Place::Unused => std::ptr::null_mut(),
        };
        Raw { ptr, bytes }
    }

    /// Bytes of the arena: the peak of a step beyond arguments, variables and constants.
    pub fn peak_bytes(&self) -> usize {
        self.arena_bytes
    }

    /// The program that the plan runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Type and sizes of result `k`.
    pub fn output(&self, k: usize) -> &Value {
        &self.program.values[self.program.outputs[k]]
    }

    /// Number of results.
    pub fn outputs(&self) -> usize {
        self.program.outputs.len()
    }

    /// Runs all calls, then applies the updates that could not be made in place.
    ///
    /// `inputs[k]` holds the elements of argument k, of the type and sizes the plan was made for.
    ///
    /// # Errors
    /// When a kernel refuses its operands or panics; no variable has changed then, unless a
    /// kernel that only writes variables panicked. When the plan is for [`Plan::run_into`].
    pub fn run(
        &mut self,
        inputs: &[&[u8]],
        context: RunContext<'_>,
        held: &Exclusive,
    ) -> Result<()> {
        if !self.result_patches.is_empty() {
            return Err(RuntimeError::Argument(
                "the plan has no memory for its results: use `run_into`".into(),
            ));
        }
        self.prepare(inputs, held)?;
        self.run_range(0..self.calls.len(), context)?;
        self.copy_updates(inputs);
        Ok(())
    }

    fn prepare(&mut self, inputs: &[&[u8]], held: &Exclusive) -> Result<()> {
        self.rebase(shared_arena(self.arena_bytes, held)?);
        for &slot in &self.updated {
            self.variables[slot].bring_home(held);
        }
        self.patch(inputs)
    }

    /// Runs a plan that has neither inputs nor variables, for which no lock is needed.
    pub(crate) fn run_constant(&mut self) -> Result<()> {
        self.run_nested(&[], RunContext::default())
    }

    /// Runs a plan without variables as a part of another.
    pub(crate) fn run_nested(&mut self, inputs: &[&[u8]], context: RunContext<'_>) -> Result<()> {
        assert!(
            self.variables.is_empty(),
            "a nested plan touches no variable"
        );
        if self.own.is_none() {
            self.own = Some(Buffer::zeroed(self.arena_bytes, "a nested plan's values")?);
        }
        if let Some(arena) = &self.own {
            let base = arena.as_ptr();
            self.rebase(base);
        }
        self.patch(inputs)?;
        self.run_range(0..self.calls.len(), context)
    }

    fn run_range(&self, range: Range<usize>, context: RunContext<'_>) -> Result<()> {
        let mut at = range.start;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for call in &self.calls[range] {
                call.run(&self.raws, context)?;
                at += 1;
            }
            Ok(())
        }));
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(message)) => Err(self.kernel_error(at, message)),
            Err(payload) => Err(self.panic_error(at, &*payload)),
        }
    }

    fn patch(&mut self, inputs: &[&[u8]]) -> Result<()> {
        for (k, (&v, given)) in self.program.inputs.iter().zip(inputs).enumerate() {
            let want = self.program.values[v].bytes();
            if given.len() != want {
                return Err(RuntimeError::Argument(format!(
                    "argument {k} has {} bytes, the plan needs {want}",
                    given.len()
                )));
            }
        }
        for &(entry, k) in &self.patches {
            self.raws[entry].ptr = inputs[k].as_ptr().cast_mut();
        }
        if self.moves != moves() {
            for &(entry, k) in &self.variable_patches {
                self.raws[entry].ptr = self.variables[k].place();
            }
            self.moves = moves();
        }
        Ok(())
    }

    fn copy_updates(&mut self, inputs: &[&[u8]]) {
        for &(value, slot) in &self.copies {
            let from = match self.places[value] {
                Place::Input(k) => Raw {
                    ptr: inputs[k].as_ptr().cast_mut(),
                    bytes: inputs[k].len(),
                },
                _ => self.raw(value),
            };
            let to = &self.variables[slot];
            debug_assert_eq!(from.bytes, to.bytes());
            // SAFETY: both have that many bytes; values live apart from the variables they are
            // copied to (a value that is an updated variable's old one was saved), and the
            // caller holds the lock on variables.
            unsafe { std::ptr::copy(from.ptr, to.place(), from.bytes) };
        }
        for &slot in &self.updated {
            self.variables[slot].touch();
        }
    }

    fn inst(&self, call: usize) -> &Inst {
        &self.program.insts[self.calls[call].inst]
    }

    fn kernel_error(&self, call: usize, message: String) -> RuntimeError {
        let inst = self.inst(call);
        let scope = inst.scope.as_deref().map(str::to_string);
        RuntimeError::Kernel {
            op: op_name(&inst.op),
            scope,
            message,
        }
    }

    fn panic_error(&self, call: usize, payload: &(dyn std::any::Any + Send)) -> RuntimeError {
        let inst = self.inst(call);
        let scope = inst.scope.as_deref().map(str::to_string);
        RuntimeError::Panic {
            op: op_name(&inst.op),
            scope,
            message: panic_text(payload),
        }
    }

    /// The bytes of result `k` after a run with these arguments, before any other plan runs: they
    /// lie in the arena that plans share.
    pub fn result<'a>(&'a self, k: usize, inputs: &[&'a [u8]]) -> &'a [u8] {
        let v = self.program.outputs[k];
        if let Place::Input(k) = self.places[v] {
            return inputs[k];
        }
        assert!(
            !matches!(self.places[v], Place::Result(_)),
            "the caller has result {k}"
        );
        let raw = self.raw(v);
        // SAFETY: the value has that many bytes there, and `&self` keeps plans from running.
        unsafe { std::slice::from_raw_parts(raw.ptr, raw.bytes) }
    }

    /// Times every call over several runs.
    ///
    /// # Errors
    /// As for [`Plan::run`].
    pub fn profile(
        &mut self,
        inputs: &[&[u8]],
        context: RunContext<'_>,
        repeats: usize,
        held: &Exclusive,
    ) -> Result<Vec<Timing>> {
        self.run(inputs, context, held)?;
        let mut times = vec![Vec::with_capacity(repeats); self.calls.len()];
        for _ in 0..repeats.max(1) {
            for (i, call) in self.calls.iter().enumerate() {
                let start = Instant::now();
                call.run(&self.raws, context)
                    .map_err(|m| self.kernel_error(i, m))?;
                times[i].push(start.elapsed());
            }
            self.copy_updates(inputs);
        }
        Ok(times
            .into_iter()
            .enumerate()
            .map(|(i, t)| self.timing(i, t))
            .collect())
    }

    fn timing(&self, call: usize, mut times: Vec<Duration>) -> Timing {
        times.sort_unstable();
        let inst = self.inst(call);
        let show = |ids: &[ValueId]| {
            let shapes: Vec<String> = ids
                .iter()
                .map(|&v| format!("{:?}", self.program.values[v].shape))
                .collect();
            shapes.join(" ")
        };
        Timing {
            op: op_name(&inst.op),
            scope: inst.scope.clone(),
            shapes: format!("{} -> {}", show(&inst.inputs), show(&inst.outputs)),
            time: times[times.len() / 2],
            bytes: inst
                .inputs
                .iter()
                .chain(&inst.outputs)
                .map(|&v| self.program.values[v].bytes())
                .sum(),
        }
    }
}

/// The arena that plans share, since one runs at a time: at least `bytes` long. It grows, and then
/// moves.
fn shared_arena(bytes: usize, _held: &Exclusive) -> Result<*mut u8> {
    static ARENA: Mutex<Option<Buffer>> = Mutex::new(None);
    let mut arena = ARENA.lock().unwrap_or_else(PoisonError::into_inner);
    if arena.as_ref().is_none_or(|a| a.bytes() < bytes) {
        // The old one goes first, so that both are never there together.
        *arena = None;
        *arena = Some(Buffer::zeroed(bytes, "a plan's values")?);
    }
    Ok(arena.as_ref().map_or(std::ptr::null_mut(), Buffer::as_ptr))
}

impl std::fmt::Display for Plan {
    /// The program, how many updates need a copy, and what the plan takes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.program)?;
        let (updates, copies) = (self.program.updates.len(), self.copies.len());
        writeln!(f, "{updates} updates, {copies} of them copied")?;
        let (calls, bytes) = (self.calls.len(), self.arena_bytes);
        write!(f, "{calls} kernel calls, an arena of {bytes} bytes")
    }
}

impl Call {
    fn run(&self, raws: &[Raw], context: RunContext<'_>) -> std::result::Result<(), String> {
        (self.kernel)(&self.args(raws, context))
    }

    fn args<'a>(&self, raws: &'a [Raw], context: RunContext<'a>) -> Args<'a> {
        Args {
            inputs: &raws[self.first..self.middle],
            outputs: &raws[self.middle..self.last],
            scratch: self.scratch,
            context,
        }
    }
}

/// The name of an operation without its attributes.
pub(crate) fn op_name(op: &Op) -> String {
    let text = match op {
        Op::Unary(f) => format!("{f:?}"),
        Op::Binary(f) => format!("{f:?}"),
        Op::Reduce { op, .. } => format!("Reduce{op:?}"),
        other => format!("{other:?}"),
    };
    text.split(['(', ' ', '{'])
        .next()
        .unwrap_or("operation")
        .to_string()
}

fn variables_of(program: &Program) -> Result<Vec<Arc<Variable>>> {
    let read = program.values.iter().filter_map(|v| match v.source {
        Source::Variable(id) => Some(id),
        _ => None,
    });
    let mut ids: Vec<u64> = read
        .chain(program.updates.iter().map(|(id, _)| *id))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter().map(Variable::by_id).collect()
}

/// Copies the old value of an updated variable where it is itself a result or another's update.
fn save_old_values(mut program: Program) -> Result<Program> {
    let mut updated: Vec<u64> = program.updates.iter().map(|(id, _)| *id).collect();
    updated.sort_unstable();
    if let Some(twice) = updated.windows(2).find(|w| w[0] == w[1]) {
        let shape = Variable::by_id(twice[0])?.shape.clone();
        return Err(RuntimeError::Argument(format!(
            "a variable of shape {shape:?} has two updates; a function gives each variable one"
        )));
    }
    let mut root: Vec<ValueId> = (0..program.values.len()).collect();
    for inst in program.insts.iter().filter(|i| is_view(&i.op)) {
        root[inst.outputs[0]] = root[inst.inputs[0]];
    }
    let is_old = |program: &Program, v: ValueId| match program.values[root[v]].source {
        Source::Variable(id) => updated.binary_search(&id).is_ok(),
        _ => false,
    };
    let results: Vec<ValueId> = program.outputs.clone();
    for (k, v) in results.into_iter().enumerate() {
        if is_old(&program, v) {
            program.outputs[k] = push_copy(&mut program, v);
        }
    }
    let updates = program.updates.clone();
    for (k, (id, v)) in updates.into_iter().enumerate() {
        if is_old(&program, v) && program.values[root[v]].source != Source::Variable(id) {
            program.updates[k].1 = push_copy(&mut program, v);
        }
    }
    Ok(program)
}

fn push_copy(program: &mut Program, v: ValueId) -> ValueId {
    let Value { dtype, shape, .. } = program.values[v].clone();
    let dims: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
    let literal = Literal::ints(&dims);
    let target = Value {
        dtype: DType::I64,
        shape: literal.shape.clone(),
        source: Source::Constant(literal),
    };
    program.values.push(target);
    let inst = program.insts.len();
    program.values.push(Value {
        dtype,
        shape,
        source: Source::Inst { inst, output: 0 },
    });
    let copy = program.values.len() - 1;
    let inputs = vec![v, copy - 1];
    program.insts.push(Inst {
        op: Op::BroadcastTo,
        inputs,
        outputs: vec![copy],
        scope: None,
    });
    copy
}
