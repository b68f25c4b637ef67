//! Which instructions of one space and one level become one region.

use std::collections::{HashMap, HashSet};

use super::kinds::{Kind, Kinds, Space};
use super::{MAX_OPERANDS, MAX_VALUES, producer};
use crate::program::{Program, ValueId};

/// Spaces of at most this many elements are fused whether or not their instructions have to do
/// with each other: starting a region costs more than running it.
const SMALL: usize = 1024;

/// The clusters.
pub(super) struct Clusters {
    /// The instructions of each cluster, ascending.
    pub(super) members: Vec<Vec<usize>>,
    /// The cluster of each instruction.
    pub(super) of: Vec<Option<usize>>,
}

impl Clusters {
    pub(super) fn new(p: &Program, kinds: &Kinds, levels: &[u32]) -> Clusters {
        let mut groups: HashMap<(Space, u32), Vec<usize>> = HashMap::new();
        for (i, kind) in kinds.of.iter().enumerate() {
            if let Some(space) = kind.space() {
                groups.entry((space, levels[i])).or_default().push(i);
            }
        }
        let mut keys: Vec<(Space, u32)> = groups.keys().copied().collect();
        keys.sort_unstable_by_key(|k| (k.1, k.0));
        let mut clusters = Clusters {
            members: Vec::new(),
            of: vec![None; p.insts.len()],
        };
        for key in keys {
            let group = &groups[&key];
            let mut parts = components(p, kinds, group, key.0);
            if kinds.len[key.0] <= SMALL {
                parts = pack(p, kinds, parts);
            }
            for part in parts {
                clusters.push(split(p, kinds, &part));
            }
        }
        clusters
    }

    fn push(&mut self, parts: Vec<Vec<usize>>) {
        for part in parts {
            for &i in &part {
                self.of[i] = Some(self.members.len());
            }
            self.members.push(part);
        }
    }
}

/// The parts of a group that are connected by results that are read within it, or by reading the
/// same large operand. No part depends on another.
fn components(p: &Program, kinds: &Kinds, group: &[usize], space: Space) -> Vec<Vec<usize>> {
    let place: HashMap<usize, usize> = group.iter().enumerate().map(|(k, &i)| (i, k)).collect();
    let mut root: Vec<usize> = (0..group.len()).collect();
    let mut reader: HashMap<ValueId, usize> = HashMap::new();
    for (k, &i) in group.iter().enumerate() {
        for &v in &p.insts[i].inputs {
            let within = producer(p, v).and_then(|o| place.get(&o)).copied();
            let shared = within.or_else(|| {
                let large = kinds.shape[v] == Some(space);
                large.then(|| *reader.entry(v).or_insert(k))
            });
            if let Some(other) = shared {
                let (a, b) = (find(&mut root, k), find(&mut root, other));
                root[a.max(b)] = a.min(b);
            }
        }
    }
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut part_of: HashMap<usize, usize> = HashMap::new();
    for (k, &i) in group.iter().enumerate() {
        let r = find(&mut root, k);
        let part = *part_of.entry(r).or_insert_with(|| {
            parts.push(Vec::new());
            parts.len() - 1
        });
        parts[part].push(i);
    }
    parts
}

fn find(root: &mut [usize], mut k: usize) -> usize {
    while root[k] != k {
        root[k] = root[root[k]];
        k = root[k];
    }
    k
}

/// Small parts together, as many as fit into a region.
fn pack(p: &Program, kinds: &Kinds, parts: Vec<Vec<usize>>) -> Vec<Vec<usize>> {
    let mut packed: Vec<Vec<usize>> = Vec::new();
    for part in parts {
        if let Some(last) = packed.last_mut() {
            let mut both: Vec<usize> = last.iter().chain(&part).copied().collect();
            both.sort_unstable();
            if split(p, kinds, &both).len() == 1 {
                *last = both;
                continue;
            }
        }
        packed.push(part);
    }
    packed
}

/// A part cut where it exceeds the limits of a region. Instructions come in program order, so
/// that no piece depends on a later one. Reductions that need another cut of the space than the
/// piece has are left out.
fn split(p: &Program, kinds: &Kinds, part: &[usize]) -> Vec<Vec<usize>> {
    let mut pieces = Vec::new();
    let mut alone = Vec::new();
    let mut piece = Piece::default();
    for &i in part {
        if let Kind::Reduce { cut: Some(cut), .. } = kinds.of[i]
            && piece.cut.is_some_and(|c| c != cut)
        {
            alone.push(vec![i]);
            continue;
        }
        if !piece.fits(p, kinds, i) {
            pieces.push(std::mem::take(&mut piece).members);
        }
        piece.add(p, kinds, i);
    }
    pieces.push(piece.members);
    pieces.append(&mut alone);
    pieces
}

/// A region's contents as it grows.
#[derive(Default)]
struct Piece {
    members: Vec<usize>,
    results: HashSet<ValueId>,
    operands: HashSet<ValueId>,
    constants: HashSet<ValueId>,
    cut: Option<usize>,
}

impl Piece {
    fn fits(&self, p: &Program, kinds: &Kinds, i: usize) -> bool {
        let new: HashSet<ValueId> = p.insts[i]
            .inputs
            .iter()
            .copied()
            .filter(|v| !self.results.contains(v) && !self.operands.contains(v))
            .filter(|v| !self.constants.contains(v))
            .collect();
        let constants = new.iter().filter(|&&v| kinds.number[v].is_some()).count();
        let operands = self.operands.len() + new.len() - constants;
        let constants = self.constants.len() + constants;
        operands <= MAX_OPERANDS && operands + constants + self.members.len() < MAX_VALUES
    }

    fn add(&mut self, p: &Program, kinds: &Kinds, i: usize) {
        for &v in &p.insts[i].inputs {
            if kinds.number[v].is_some() {
                self.constants.insert(v);
            } else if !self.results.contains(&v) {
                self.operands.insert(v);
            }
        }
        if let Kind::Reduce { cut, .. } = kinds.of[i] {
            self.cut = self.cut.or(cut);
        }
        self.members.push(i);
        self.results.extend(&p.insts[i].outputs);
    }
}
