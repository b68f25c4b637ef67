//! Operations that run once for each shard of a batch, and sums over shards.

use hornbeam_graph::op::{ShardSum, Sharded};
use hornbeam_graph::{DType, Op};
use hornbeam_kernels::gather::Index;
use hornbeam_kernels::par;
use hornbeam_kernels::tree::{self, Products};

use super::{Args, Kernel, Prepared, Raw, RunContext, Site};
use crate::error::Result;
use crate::memory::Needs;

type Outcome = std::result::Result<(), String>;

/// Bytes that a shard's operands and results may have for whole shards to be shared by the threads;
/// larger ones are worth the threads' joining for each.
const SMALL: usize = 1 << 20;

/// A kernel that is called for each shard, and how far the shards are apart in its operands and
/// results.
struct Shards {
    kernel: Kernel,
    /// Whether several threads may call it at once.
    many: bool,
    count: usize,
    rows: usize,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

impl Shards {
    /// The operands, then the results of a shard.
    fn place(&self, args: &Args<'_>, shard: usize, raws: &mut [Raw]) {
        let all = args.inputs.iter().chain(args.outputs);
        let steps = self.inputs.iter().chain(&self.outputs);
        for ((raw, from), &step) in raws.iter_mut().zip(all).zip(steps) {
            *raw = *from;
            if step > 0 && !from.ptr.is_null() {
                raw.ptr = from.ptr.wrapping_add(shard * step);
                raw.bytes = step;
            }
        }
    }

    fn call(&self, args: &Args<'_>, shard: usize, raws: &[Raw], scratch: Raw) -> Outcome {
        let (inputs, outputs) = raws.split_at(self.inputs.len());
        let samples = (shard * self.rows) as u64;
        (self.kernel)(&Args {
            inputs,
            outputs,
            scratch,
            context: RunContext {
                sample_offset: args.context.sample_offset + samples,
                ..args.context
            },
        })
    }

    /// Memory for the operands and results of a shard.
    fn raws(&self) -> Vec<Raw> {
        let nowhere = Raw {
            ptr: std::ptr::null_mut(),
            bytes: 0,
        };
        vec![nowhere; self.inputs.len() + self.outputs.len()]
    }

    fn run(&self, args: &Args<'_>) -> Outcome {
        let bytes: usize = self.inputs.iter().chain(&self.outputs).sum();
        let threads = par::num_threads();
        let even = self.count.is_multiple_of(threads) || bytes <= SMALL;
        if self.count == 1 || threads == 1 || !self.many || !even {
            let mut raws = self.raws();
            return (0..self.count).try_for_each(|shard| {
                self.place(args, shard, &mut raws);
                self.call(args, shard, &raws, args.scratch)
            });
        }
        let failed = std::sync::Mutex::new(None);
        let tasks = if bytes * self.count < 1 << 16 {
            1
        } else {
            threads.min(self.count)
        };
        par::run(tasks, &|t| {
            let mut raws = self.raws();
            for shard in par::split(self.count, tasks, t)..par::split(self.count, tasks, t + 1) {
                self.place(args, shard, &mut raws);
                if let Err(message) = self.call(args, shard, &raws, args.scratch) {
                    let mut failed = failed
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    *failed = Some(message);
                    return;
                }
            }
        });
        match failed
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
        {
            Some(message) => Err(message),
            None => Ok(()),
        }
    }

    /// Runs the shards one after the other and sums their only result along the tree.
    fn sum(&self, args: &Args<'_>, sum: &ShardSum, own_scratch: usize, part: usize) -> Outcome {
        let len = self.outputs[0];
        let mut raws = self.raws();
        let (mut first, out) = (0, args.outputs[0]);
        for (g, &group) in sum.groups.iter().enumerate() {
            let to = Raw {
                ptr: out.ptr.wrapping_add(g * len),
                bytes: len,
            };
            let mut walk = Walk {
                shards: self,
                args,
                factor: sum.factor(),
                raws: &mut raws,
                own: Raw {
                    ptr: args.scratch.ptr,
                    bytes: own_scratch,
                },
                spare: args
                    .scratch
                    .ptr
                    .wrapping_add(own_scratch.next_multiple_of(64)),
                part,
            };
            walk.subtree(first, group.trailing_zeros() as usize, to)?;
            first += group;
        }
        Ok(())
    }
}

/// A walk through the tree above a group's shards.
struct Walk<'a> {
    shards: &'a Shards,
    args: &'a Args<'a>,
    factor: f32,
    raws: &'a mut [Raw],
    /// The kernel's own scratch.
    own: Raw,
    /// Right operands, one for each height, so many bytes apart.
    spare: *mut u8,
    part: usize,
}

impl Walk<'_> {
    fn subtree(&mut self, first: usize, level: usize, to: Raw) -> Outcome {
        if level == 0 {
            self.leaf(first, to)?;
            tree::scale(super::elements(to), self.factor);
            return Ok(());
        }
        let right = Raw {
            ptr: self.spare.wrapping_add((level - 1) * self.part),
            bytes: to.bytes,
        };
        if level == 1 {
            self.leaf(first, to)?;
            self.leaf(first + 1, right)?;
            tree::add_scaled(super::elements(to), super::elements(right), self.factor);
            return Ok(());
        }
        self.subtree(first, level - 1, to)?;
        self.subtree(first + (1 << (level - 1)), level - 1, right)?;
        tree::add(super::elements(to), super::elements(right));
        Ok(())
    }

    /// Writes a shard's result.
    fn leaf(&mut self, shard: usize, to: Raw) -> Outcome {
        self.shards.place(self.args, shard, self.raws);
        if let Some(result) = self.raws.last_mut() {
            *result = to;
        }
        self.shards.call(self.args, shard, self.raws, self.own)
    }
}

/// The bytes of each shard's part of an operand or result; 0 for what all share.
fn steps(site: &Site<'_>, s: &Sharded) -> (Vec<usize>, Vec<usize>) {
    let inputs = s.split.iter().enumerate().map(|(k, &split)| {
        if split {
            site.input(k).bytes() / s.shards
        } else {
            0
        }
    });
    let lead = s.sum.as_ref().map_or(s.shards, |sum| sum.groups.len());
    let outputs = (0..site.inst.outputs.len()).map(|k| site.output(k).bytes() / lead);
    (inputs.collect(), outputs.collect())
}

pub(super) fn sharded(site: &Site<'_>, s: &Sharded) -> Result<Prepared> {
    if let Some(sum) = &s.sum {
        if let Some(prepared) = products(site, s, sum)? {
            return Ok(prepared);
        }
        if let Some(prepared) = tables(site, s, sum) {
            return Ok(prepared);
        }
    }
    let one = s.of_one(site.program, site.inst);
    let Prepared { kernel, needs } = super::prepare(&one, &one.insts[0])?;
    let (inputs, outputs) = steps(site, s);
    let shards = Shards {
        kernel,
        // A scan's plan has one arena, and scratch is for one call at a time.
        many: needs.scratch == 0 && !matches!(s.op, Op::Scan(_)),
        count: s.shards,
        rows: s.rows,
        inputs,
        outputs,
    };
    let Some(sum) = s.sum.clone() else {
        let in_place = needs
            .in_place
            .into_iter()
            .filter(|&(k, _)| s.split[k])
            .collect();
        return Ok(Prepared {
            kernel: Box::new(move |args| shards.run(args)),
            needs: Needs { in_place, ..needs },
        });
    };
    let height = sum
        .groups
        .iter()
        .map(|g| g.trailing_zeros())
        .max()
        .unwrap_or(0) as usize;
    let (own, part) = (needs.scratch, shards.outputs[0].next_multiple_of(64));
    Ok(Prepared {
        kernel: Box::new(move |args| shards.sum(args, &sum, own, part)),
        needs: Needs {
            scratch: own.next_multiple_of(64) + height * part,
            fallible: needs.fallible,
            ..Needs::default()
        },
    })
}

/// Sums of products of matrices, block by block.
fn products(site: &Site<'_>, s: &Sharded, sum: &ShardSum) -> Result<Option<Prepared>> {
    let Op::MatMul {
        transpose_a,
        transpose_b,
        epilogue,
    } = &s.op
    else {
        return Ok(None);
    };
    let (x, y) = (&site.input(0).shape, &site.input(1).shape);
    if s.split != [true, true] || *epilogue != Default::default() || x.len() != 3 || y.len() != 3 {
        return Ok(None);
    }
    let (m, k) = if *transpose_a {
        (x[2], x[1])
    } else {
        (x[1], x[2])
    };
    let n = if *transpose_b { y[1] } else { y[2] };
    let strides = |turned: bool, columns: usize| if turned { (1, columns) } else { (columns, 1) };
    let p = Products {
        m,
        n,
        k,
        a: strides(*transpose_a, x[2]),
        b: strides(*transpose_b, y[2]),
    };
    let (groups, factor) = (sum.groups.clone(), sum.factor());
    Ok(Some(Prepared::plain(move |args| {
        tree::products(
            &p,
            args.input(0),
            args.input(1),
            &groups,
            factor,
            args.output(0),
        );
    })))
}

/// Sums of tables to which shards add rows.
fn tables(site: &Site<'_>, s: &Sharded, sum: &ShardSum) -> Option<Prepared> {
    let Op::ScatterAdd { axis: 0 } = &s.op else {
        return None;
    };
    if s.split != [true, true, false] {
        return None;
    }
    fn run<I: Index>(args: &Args<'_>, dims: [usize; 2], groups: &[usize], factor: f32) -> Outcome {
        let (indices, values) = (args.input::<I>(0), args.input(1));
        tree::scatter_add(values, indices, dims, groups, factor, args.output(0))
            .map_err(|e| e.reason())
    }
    type Run = fn(&Args<'_>, [usize; 2], &[usize], f32) -> Outcome;
    let run: Run = match site.input(0).dtype {
        DType::I32 => run::<i32>,
        DType::I64 => run::<i64>,
        _ => return None,
    };
    let table = &site.output(0).shape[1..];
    let dims = [table[0], table[1..].iter().product()];
    let (groups, factor) = (sum.groups.clone(), sum.factor());
    Some(Prepared {
        kernel: Box::new(move |args| run(args, dims, &groups, factor)),
        needs: Needs {
            fallible: true,
            ..Needs::default()
        },
    })
}

pub(super) fn sum(site: &Site<'_>, sum: &ShardSum) -> Result<Prepared> {
    debug_assert_eq!(site.input(0).dtype, DType::F32);
    let (groups, factor) = (sum.groups.clone(), sum.factor());
    Ok(Prepared::plain(move |args| {
        tree::sum(args.input(0), &groups, factor, args.output(0));
    }))
}
