//! Combinations over all shards of a batch, wherever they are computed.
//!
//! A step minimises the mean over the shards, each weighted by its part of the samples. So what a
//! shard's gradient is computed from is weighted by the shard's part afterwards, which makes a mean
//! over shards its own gradient.

use crate::build::Builder;
use crate::dtype::DType;
use crate::error::Result;
use crate::node::{Node, Tensor, TensorType};
use crate::op::{Combine, Op, OverShards};

use super::backward::{Backward, Grads};
use super::operands::{Inferred, Operands};
use super::sample::{Sample, float};

pub(super) fn infer(over: &OverShards, o: &Operands<'_>) -> Inferred {
    let count = o.len() - usize::from(over.after && o.len() > 0);
    if over.combine == Combine::Moments && count != 2 {
        return Err(format!("takes means and variances, got {count} operands"));
    }
    let mut types = Vec::with_capacity(count);
    for k in 0..count {
        let dtype = o.float(k, "what is combined over shards")?;
        let mut shape = o.shape(k).to_vec();
        if let Some(shards) = over.shards {
            if shape.first() != Some(&Some(shards)) || dtype != DType::F32 {
                let got = o.show(k);
                return Err(format!(
                    "takes float32 of {shards} shards, operand {k} is {dtype} {got}"
                ));
            }
            shape.remove(0);
        }
        types.push(TensorType { dtype, shape });
    }
    let differ = |(a, b): (&Option<usize>, &Option<usize>)| a.is_some() && b.is_some() && a != b;
    if over.combine == Combine::Moments
        && (types[0].shape.len() != types[1].shape.len()
            || types[0].shape.iter().zip(&types[1].shape).any(differ))
    {
        let (mean, variance) = (o.show(0), o.show(1));
        return Err(format!(
            "takes means and variances of one shape, got {mean} and {variance}"
        ));
    }
    Ok(types)
}

/// Gradients come in the reverse order of what they belong to.
fn place(over: &OverShards) -> u32 {
    u32::MAX - over.place
}

pub(super) fn grad(over: &OverShards, g: &Backward<'_>) -> Grads {
    let given: Vec<Tensor> = (0..g.node.outputs.len())
        .filter_map(|k| g.grad(k).cloned())
        .collect();
    let mean = Op::OverShards(OverShards {
        place: place(over),
        combine: Combine::Mean,
        shards: None,
        after: false,
    });
    let node = Node::build(mean, given, g.node.scope.clone())?.node;
    let mut index = 0;
    let mut means = Vec::with_capacity(g.node.outputs.len());
    for k in 0..g.node.outputs.len() {
        means.push(g.grad(k).map(|_| {
            index += 1;
            Tensor {
                node: node.clone(),
                index: index - 1,
            }
        }));
    }
    if over.combine == Combine::Mean {
        return (0..means.len())
            .map(|k| Ok(means[k].clone().filter(|_| g.needs(k))))
            .collect();
    }
    let to_mean = match (&means[0], &means[1]) {
        _ if !g.needs(0) => None,
        (mean, Some(variance)) => Some(through_variance(&g.b, g, mean.as_ref(), variance)?),
        (mean, None) => mean.clone(),
    };
    let to_variance = means[1].clone().filter(|_| g.needs(1));
    Ok(vec![to_mean, to_variance])
}

/// The variance grows by the square of how far a shard's mean is from that of all. The mean of all
/// has no part in it: around it the squares are at their least.
fn through_variance(
    b: &Builder,
    g: &Backward<'_>,
    mean: Option<&Tensor>,
    variance: &Tensor,
) -> Result<Tensor> {
    let centred = b.scale(&b.sub(g.x(0), &g.y(0))?, 2.0)?;
    let from_variance = b.mul(&centred, variance)?;
    match mean {
        Some(mean) => b.add(&from_variance, mean),
        None => Ok(from_variance),
    }
}

pub(super) fn samples() -> Vec<Sample> {
    let over = |combine| {
        Op::OverShards(OverShards {
            place: 7,
            combine,
            shards: None,
            after: false,
        })
    };
    vec![
        Sample::new(over(Combine::Mean), vec![float(&[3])]),
        Sample::new(over(Combine::Mean), vec![float(&[0]), float(&[2, 3])]),
        Sample::new(over(Combine::Moments), vec![float(&[5]), float(&[5])]),
    ]
}
