//! Where each value of a plan lives: liveness over the whole step, one arena, in place where an
//! operand dies.

use hornbeam_graph::Op;
use hornbeam_graph::Program;
use hornbeam_graph::program::{Source, ValueId};

use crate::buffer::ALIGN;

/// Where a value's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At an offset of the plan's arena.
    Arena(usize),
    /// Argument `k` of the call.
    Input(usize),
    /// In the plan's variable `k`.
    Variable(usize),
    /// The plan's constant `k`.
    Constant(usize),
    /// Where the caller wants result `k`.
    Result(usize),
    /// Nowhere: nothing reads it, and the kernel is told so.
    Unused,
}

/// What memory planning needs to know about an instruction's kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    /// Bytes of scratch.
    pub(crate) scratch: usize,
    /// Pairs (operand, result) that may share memory.
    pub(crate) in_place: Vec<(usize, usize)>,
    /// Results that the kernel can leave out when nothing reads them.
    pub(crate) optional: Vec<usize>,
    /// Whether it can fail on the values of its operands.
    pub(crate) fallible: bool,
}

/// The result of memory planning.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The place of each value.
    pub(crate) places: Vec<Place>,
    /// The arena offset of each instruction's scratch.
    pub(crate) scratch: Vec<usize>,
    /// Size of the arena.
    pub(crate) arena_bytes: usize,
    /// Updates that are not written in place and must be copied after the last instruction:
    /// (value, plan's variable).
    pub(crate) copies: Vec<(ValueId, usize)>,
}

/// Assigns places. `variables[k]` is the identity of the plan's variable k; `direct` results are
/// computed where the caller wants them.
pub(crate) fn lay_out(
    program: &Program,
    needs: &[Needs],
    variables: &[u64],
    direct: bool,
) -> Layout {
    let mut planner = Planner::new(program, needs, variables);
    planner.place_leaves();
    if direct {
        planner.place_results();
    }
    planner.place_updates();
    planner.share_dying_operands();
    planner.allocate()
}

struct Planner<'a> {
    program: &'a Program,
    needs: &'a [Needs],
    variables: &'a [u64],
    /// The value that another is a mere view of, or itself.
    root: Vec<ValueId>,
    /// First and last instruction at which a root's bytes matter.
    birth: Vec<usize>,
    death: Vec<usize>,
    places: Vec<Option<Place>>,
    /// A root in whose memory this root lives.
    shared: Vec<Option<ValueId>>,
    copies: Vec<(ValueId, usize)>,
}

impl<'a> Planner<'a> {
    fn new(program: &'a Program, needs: &'a [Needs], variables: &'a [u64]) -> Self {
        let count = program.values.len();
        let mut root: Vec<ValueId> = (0..count).collect();
        for inst in &program.insts {
            if is_view(&inst.op) {
                root[inst.outputs[0]] = root[inst.inputs[0]];
            }
        }
        let mut birth = vec![0; count];
        let mut death = vec![0; count];
        let mut read = vec![false; count];
        for (i, inst) in program.insts.iter().enumerate() {
            if is_view(&inst.op) {
                continue;
            }
            for &v in &inst.outputs {
                birth[v] = i;
                death[v] = death[v].max(i);
            }
            for &v in &inst.inputs {
                death[root[v]] = death[root[v]].max(i);
                read[root[v]] = true;
            }
        }
        let end = program.insts.len();
        for &v in program
            .outputs
            .iter()
            .chain(program.updates.iter().map(|(_, v)| v))
        {
            death[root[v]] = end;
            read[root[v]] = true;
        }
        let mut places = vec![None; count];
        for (inst, needs) in program.insts.iter().zip(needs) {
            for &k in &needs.optional {
                if !read[inst.outputs[k]] {
                    places[inst.outputs[k]] = Some(Place::Unused);
                }
            }
        }
        Planner {
            program,
            needs,
            variables,
            root,
            birth,
            death,
            places,
            shared: vec![None; count],
            copies: Vec::new(),
        }
    }

    fn slot(&self, id: u64) -> usize {
        self.variables
            .iter()
            .position(|&v| v == id)
            .expect("a plan lists its variables")
    }

    fn place_leaves(&mut self) {
        let mut constants = 0;
        for v in 0..self.program.values.len() {
            self.places[v] = match &self.program.values[v].source {
                Source::Input(k) => Some(Place::Input(*k)),
                Source::Variable(id) => Some(Place::Variable(self.slot(*id))),
                Source::Constant(_) => {
                    constants += 1;
                    Some(Place::Constant(constants - 1))
                }
                Source::Inst { .. } => self.places[v],
            };
        }
    }

    /// Leaves results that an instruction computes to the caller; each value once.
    fn place_results(&mut self) {
        for (k, &v) in self.program.outputs.iter().enumerate() {
            let root = self.root[v];
            if self.places[root].is_none() {
                self.places[root] = Some(Place::Result(k));
            }
        }
    }

    /// Lets an instruction write a new value straight into its variable where nothing reads the
    /// old value later and nothing can fail any more.
    fn place_updates(&mut self) {
        let last_fallible = self
            .needs
            .iter()
            .rposition(|n| n.fallible)
            .map_or(0, |position| position + 1);
        for &(id, value) in &self.program.updates {
            let slot = self.slot(id);
            if self.places[self.root[value]] == Some(Place::Variable(slot)) {
                continue;
            }
            if self.writable_in_place(id, slot, value, last_fallible) {
                self.places[value] = Some(Place::Variable(slot));
            } else {
                self.copies.push((value, slot));
            }
        }
    }

    fn writable_in_place(&self, id: u64, slot: usize, value: ValueId, from: usize) -> bool {
        let Source::Inst { inst, output } = self.program.values[value].source else {
            return false;
        };
        if inst < from || self.root[value] != value || self.places[value].is_some() {
            return false;
        }
        let old = (0..self.program.values.len())
            .find(|&v| self.program.values[v].source == Source::Variable(id));
        let Some(old) = old else { return true };
        // Another update or an output that passes the old value on reads it after the end.
        if self.death[old] > inst {
            return false;
        }
        self.program.insts[inst]
            .inputs
            .iter()
            .enumerate()
            .all(|(k, &v)| {
                self.places[self.root[v]] != Some(Place::Variable(slot))
                    || self.needs[inst].in_place.contains(&(k, output))
            })
    }

    fn share_dying_operands(&mut self) {
        for (i, inst) in self.program.insts.iter().enumerate() {
            let mut taken: Vec<ValueId> = Vec::new();
            for &(k, output) in &self.needs[i].in_place {
                let (operand, result) = (inst.inputs[k], inst.outputs[output]);
                let from = self.root[operand];
                let free = self.places[from].is_none()
                    && self.places[result].is_none()
                    && self.shared[result].is_none()
                    && self.death[from] == i
                    && !taken.contains(&from)
                    && self.program.values[operand].bytes() == self.program.values[result].bytes()
                    && inst.inputs.iter().enumerate().all(|(j, &v)| {
                        j == k
                            || self.root[v] != from
                            || self.needs[i].in_place.contains(&(j, output))
                    });
                if free {
                    taken.push(from);
                    self.shared[result] = Some(self.group(from));
                    let group = self.group(from);
                    self.death[group] = self.death[group].max(self.death[result]);
                }
            }
        }
    }

    fn group(&self, root: ValueId) -> ValueId {
        self.shared[root].unwrap_or(root)
    }

    /// Gives each group of values an offset: the largest first, each at the lowest offset where it
    /// overlaps nothing that lives at the same time.
    fn allocate(mut self) -> Layout {
        let mut blocks: Vec<Block> = Vec::new();
        for v in 0..self.program.values.len() {
            if self.root[v] == v && self.places[v].is_none() && self.shared[v].is_none() {
                let bytes = self.program.values[v].bytes();
                let (birth, death) = (self.birth[v], self.death[v]);
                blocks.push(Block {
                    owner: Owner::Value(v),
                    bytes,
                    birth,
                    death,
                });
            }
        }
        for (i, needs) in self.needs.iter().enumerate().filter(|(_, n)| n.scratch > 0) {
            let owner = Owner::Scratch(i);
            blocks.push(Block {
                owner,
                bytes: needs.scratch,
                birth: i,
                death: i,
            });
        }
        let mut scratch = vec![0; self.program.insts.len()];
        let (offsets, arena_bytes) = pack(&blocks);
        for (block, offset) in blocks.iter().zip(offsets) {
            match block.owner {
                Owner::Value(v) => self.places[v] = Some(Place::Arena(offset)),
                Owner::Scratch(i) => scratch[i] = offset,
            }
        }
        let places = (0..self.program.values.len())
            .map(|v| self.places[self.group(self.root[v])].expect("every root has a place"))
            .collect();
        Layout {
            places,
            scratch,
            arena_bytes,
            copies: self.copies,
        }
    }
}

#[derive(Clone, Copy)]
enum Owner {
    Value(ValueId),
    Scratch(usize),
}

struct Block {
    owner: Owner,
    bytes: usize,
    birth: usize,
    death: usize,
}

/// Offsets of blocks, and the size of the whole.
fn pack(blocks: &[Block]) -> (Vec<usize>, usize) {
    let mut by_size: Vec<usize> = (0..blocks.len()).collect();
    by_size.sort_by_key(|&b| (std::cmp::Reverse(blocks[b].bytes), b));
    let mut offsets = vec![0; blocks.len()];
    let mut placed: Vec<(usize, usize)> = Vec::new(); // (offset, block), by offset
    let mut total = 0;
    for &b in &by_size {
        let block = &blocks[b];
        let mut offset = 0;
        for &(at, other) in &placed {
            let other = &blocks[other];
            let together = block.birth <= other.death && other.birth <= block.death;
            if together && at < offset + rounded(block.bytes) && offset < at + rounded(other.bytes)
            {
                offset = at + rounded(other.bytes);
            }
        }
        offsets[b] = offset;
        let position = placed.partition_point(|&(at, _)| at <= offset);
        placed.insert(position, (offset, b));
        total = total.max(offset + rounded(block.bytes));
    }
    (offsets, total)
}

fn rounded(bytes: usize) -> usize {
    bytes.max(1).next_multiple_of(ALIGN)
}

/// Whether an operation's result is its first operand's bytes.
pub(crate) fn is_view(op: &Op) -> bool {
    matches!(op, Op::Reshape | Op::Identity | Op::StopGradient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_live_together_do_not_overlap() {
        let block = |bytes, birth, death| Block {
            owner: Owner::Scratch(0),
            bytes,
            birth,
            death,
        };
        let blocks = [
            block(100, 0, 2),
            block(200, 1, 3),
            block(100, 3, 4),
            block(64, 2, 2),
        ];
        let (offsets, total) = pack(&blocks);
        for (i, a) in blocks.iter().enumerate() {
            for (j, b) in blocks.iter().enumerate().skip(i + 1) {
                let together = a.birth <= b.death && b.birth <= a.death;
                let apart =
                    offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i];
                assert!(!together || apart, "blocks {i} and {j}");
            }
        }
        assert_eq!(total, 256 + 128 + 64);
    }
}
