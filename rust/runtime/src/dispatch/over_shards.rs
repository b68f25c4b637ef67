//! Combinations over all shards of a batch.

use hornbeam_graph::op::OverShards;

use super::{Prepared, Site};
use crate::exchange::Exchange;
use crate::memory::Needs;
use crate::sharded::AllShards;

pub(super) fn over_shards(site: &Site<'_>, over: OverShards) -> Prepared {
    let count = site.inst.outputs.len();
    let shards = over.shards.unwrap_or(1);
    // Float64 is for gradients that are checked, of a batch that is one shard.
    let lengths: Vec<usize> = (0..count).map(|k| site.output(k).len()).collect();
    let total: usize = lengths.iter().sum();
    Prepared {
        kernel: Box::new(move |args| {
            if shards == 1 && args.context.others.is_none() {
                for k in 0..count {
                    if let Some(to) = args.wanted::<u8>(k) {
                        to.copy_from_slice(args.input(k));
                    }
                }
                return Ok(());
            }
            let mut values = Vec::with_capacity(shards * total);
            for shard in 0..shards {
                for (k, n) in lengths.iter().enumerate() {
                    values.extend_from_slice(&args.input::<f32>(k)[shard * n..(shard + 1) * n]);
                }
            }
            let combined = match args.context.others {
                Some(others) => others.combine(over.combine, &values, total)?,
                None => alone(shards, |all| all.combine(over.combine, &values, total))?,
            };
            let mut at = 0;
            for (k, n) in lengths.iter().enumerate() {
                if let Some(to) = args.wanted::<f32>(k) {
                    to.copy_from_slice(&combined[at..at + n]);
                }
                at += n;
            }
            Ok(())
        }),
        needs: Needs {
            fallible: true,
            ..Needs::default()
        },
    }
}

/// Calls `f` with a batch of so many equal shards and no others.
fn alone<R>(shards: usize, f: impl FnOnce(&dyn crate::exchange::Combiner) -> R) -> R {
    let count = shards as u32;
    let mut reducer = AllShards(count);
    f(&Exchange::new(
        &mut reducer,
        vec![1.0 / shards as f32; shards],
        0..count,
    ))
}
