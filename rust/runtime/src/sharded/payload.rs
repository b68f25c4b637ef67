//! What is summed over all shards: where each average lies, in buckets that are summed apart.
//!
//! Buckets depend on the averages' shapes alone, so that all processes have the same. They are cut
//! from the end: the backward pass reaches the last layers first.

use std::ops::Range;

use hornbeam_graph::DType;

use super::Functions;
use crate::error::{Result, RuntimeError};
use crate::plan::Spot;
use crate::shards::Memory;

/// More buckets than this hide nothing more, and each takes a piece of memory that the system counts.
const MOST_BUCKETS: usize = 64;

/// Where an average lies.
pub(super) struct Segment {
    bucket: usize,
    offset: usize,
    shape: Vec<usize>,
}

impl Segment {
    fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.elements()
    }

    fn spot(&self) -> Spot {
        Spot {
            block: self.bucket,
            first: self.offset,
        }
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its part of the payload's buckets.
    pub(super) fn of<'a>(&self, buckets: &'a [Memory]) -> &'a [f32] {
        &buckets[self.bucket][self.range()]
    }

    /// The same where buckets are slices.
    pub(super) fn of_mut<'a>(&self, buckets: &'a mut [&mut [f32]]) -> &'a mut [f32] {
        &mut buckets[self.bucket][self.range()]
    }

    /// Its part of each of several payloads, one behind the other in each bucket.
    pub(super) fn of_each<'a>(
        &self,
        buckets: &'a mut [Memory],
        lengths: &[usize],
    ) -> impl Iterator<Item = &'a mut [f32]> {
        let payloads = buckets[self.bucket].chunks_exact_mut(lengths[self.bucket].max(1));
        let range = self.range();
        payloads.map(move |payload| &mut payload[range.clone()])
    }
}

/// How averages lie in memory.
#[derive(Default)]
pub(super) struct Payload {
    pub(super) segments: Vec<Segment>,
    /// The elements of each bucket.
    pub(super) lengths: Vec<usize>,
    /// The segments' places.
    pub(super) spots: Vec<Spot>,
}

impl Payload {
    /// The payload for the apply function's inputs, each on a cache line of its own, in buckets of
    /// at least so many bytes, but for the first.
    pub(super) fn new(functions: &Functions, bucket_bytes: usize) -> Result<Payload> {
        Ok(Payload::of(shapes(functions)?, bucket_bytes))
    }

    /// The same with some averages in a bucket of their own, the last.
    pub(super) fn with_apart(
        functions: &Functions,
        bucket_bytes: usize,
        is_apart: impl Fn(usize) -> bool,
    ) -> Result<Payload> {
        let all = shapes(functions)?.into_iter().enumerate();
        let (apart, rest): (Vec<_>, Vec<_>) = all.partition(|(k, _)| is_apart(*k));
        let shapes_of =
            |some: &[(usize, Vec<usize>)]| some.iter().map(|(_, s)| s.clone()).collect();
        let mut payload = Payload::of(shapes_of(&rest), bucket_bytes);
        let last = Payload::of(shapes_of(&apart), usize::MAX);
        let bucket = payload.lengths.len();
        let behind = last.segments.into_iter().map(|s| Segment { bucket, ..s });
        payload.lengths.extend(last.lengths);
        payload.segments.extend(behind);
        let numbers = rest.iter().chain(&apart).map(|(k, _)| *k);
        let mut numbered: Vec<(usize, Segment)> = numbers.zip(payload.segments).collect();
        numbered.sort_by_key(|(k, _)| *k);
        payload.segments = numbered.into_iter().map(|(_, segment)| segment).collect();
        payload.spots = payload.segments.iter().map(Segment::spot).collect();
        Ok(payload)
    }

    fn of(shapes: Vec<Vec<usize>>, bucket_bytes: usize) -> Payload {
        let mut segments = Vec::with_capacity(shapes.len());
        let sizes = shapes.iter().map(|s| s.iter().product::<usize>());
        let sizes: Vec<usize> = sizes.map(padded).collect();
        let least = sizes.iter().sum::<usize>() / MOST_BUCKETS;
        let cuts = buckets(&sizes, least.max(bucket_bytes / size_of::<f32>()));
        let mut lengths = Vec::with_capacity(cuts.len());
        let mut shapes = shapes.into_iter();
        for (bucket, cut) in cuts.into_iter().enumerate() {
            let mut offset = 0;
            for shape in shapes.by_ref().take(cut.len()) {
                let segment = Segment {
                    bucket,
                    offset,
                    shape,
                };
                offset += padded(segment.elements());
                segments.push(segment);
            }
            lengths.push(offset);
        }
        Payload {
            spots: segments.iter().map(Segment::spot).collect(),
            segments,
            lengths,
        }
    }

    /// Where some elements of an average lie in the last bucket, in one of several payloads there.
    pub(super) fn part_of_last(
        &self,
        average: usize,
        payload: usize,
        range: &Range<usize>,
    ) -> Range<usize> {
        let segment = &self.segments[average];
        let first = payload * self.lengths[segment.bucket] + segment.offset;
        first + range.start..first + range.end
    }
}

/// The contents of buckets of so many elements, one after the other; behind each there may be more.
pub(super) fn joined(lengths: &[usize], buckets: &[Memory]) -> Vec<f32> {
    let parts = buckets.iter().zip(lengths);
    parts
        .flat_map(|(bucket, &n)| &bucket[..n])
        .copied()
        .collect()
}

/// The opposite of [`joined`].
pub(super) fn part(mut all: &[f32], lengths: &[usize], buckets: &mut [Memory]) {
    for (bucket, &n) in buckets.iter_mut().zip(lengths) {
        let (own, rest) = all.split_at(n);
        bucket[..n].copy_from_slice(own);
        all = rest;
    }
}

fn padded(elements: usize) -> usize {
    elements.next_multiple_of(16)
}

/// Cuts sizes into ranges of at least `least` each, from the end; the first has what is left.
fn buckets(sizes: &[usize], least: usize) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let (mut end, mut own) = (sizes.len(), 0);
    for at in (1..sizes.len()).rev() {
        own += sizes[at];
        if own >= least {
            found.push(at..end);
            (end, own) = (at, 0);
        }
    }
    found.push(0..end);
    found.reverse();
    found
}

/// The shapes of the averages.
pub(super) fn shapes(functions: &Functions) -> Result<Vec<Vec<usize>>> {
    let (apply, gradient) = (&functions.apply, &functions.gradient);
    let fail = |message: String| Err(RuntimeError::Argument(message));
    if apply.inputs().len() != gradient.outputs() {
        return fail(format!(
            "{} takes {} averages, {} returns {}",
            apply.name(),
            apply.inputs().len(),
            gradient.name(),
            gradient.outputs()
        ));
    }
    let mut shapes = Vec::with_capacity(apply.inputs().len());
    for (k, input) in apply.inputs().iter().enumerate() {
        let shape: Option<Vec<usize>> = input.shape().iter().copied().collect();
        let (Some(shape), DType::F32) = (shape, input.dtype()) else {
            return fail(format!(
                "{}: average {k} must be float32 and have a known shape, not {} and {:?}",
                apply.name(),
                input.dtype(),
                input.shape()
            ));
        };
        shapes.push(shape);
    }
    Ok(shapes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_are_cut_from_the_end() {
        // The first sizes of the buckets.
        let cut = |sizes: &[usize]| -> Vec<usize> {
            buckets(sizes, 10).into_iter().map(|b| b.start).collect()
        };
        assert_eq!(cut(&[]), [0]);
        assert_eq!(cut(&[3, 4]), [0]);
        assert_eq!(cut(&[9, 30]), [0, 1]);
        assert_eq!(cut(&[30, 9]), [0]);
        assert_eq!(cut(&[10, 10]), [0, 1]);
        assert_eq!(cut(&[5, 3, 4, 3, 3, 4]), [0, 3]);
        assert_eq!(cut(&[50, 1, 50, 1, 50, 1]), [0, 2, 4]);
    }

    proptest! {
        #[test]
        fn buckets_have_everything_once(
            sizes in proptest::collection::vec(0usize..20, 0..30), least in 1usize..50,
        ) {
            let found = buckets(&sizes, least);
            let mut at = 0;
            for range in &found {
                prop_assert_eq!(range.start, at);
                at = range.end;
                let size: usize = sizes[range.clone()].iter().sum();
                prop_assert!(size >= least || range.start == 0);
            }
            prop_assert_eq!(at, sizes.len());
        }
    }
}
