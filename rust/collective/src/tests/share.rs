//! Memory that all members read as long as they like.
#![allow(unsafe_code)]

use std::ops::Range;

use super::*;
use crate::fault::{Fault, FaultPlan};
use crate::{SharedRegion, SharedSlice};

const PAGE: usize = SharedRegion::<f32>::ALIGNED;

/// What a rank writes at a place.
fn value(rank: u32, at: usize) -> f32 {
    f32::from(rank as u16) * 1000.0 + at as f32 * 0.25
}

#[test]
fn all_read_what_each_wrote() {
    for ranks in [1, 2, 3] {
        let ids = on_group(ranks, |group| {
            let rank = group.rank();
            // Memory of different lengths.
            let length = |rank: u32| 1500 + 700 * rank as usize;
            let mut own = SharedSlice::zeroed(length(rank)).unwrap();
            let (id, others) = group.share(Some(&own)).unwrap().unwrap();
            for step in 0..3 {
                let write = |(at, x): (usize, &mut f32)| *x = value(rank, at + step);
                own.iter_mut().enumerate().for_each(write);
                group.barrier().unwrap();
                for (theirs, other) in others.iter().zip(0..) {
                    assert_eq!(theirs.is_none(), other == rank);
                    let Some(theirs) = theirs else { continue };
                    assert_eq!((theirs.len(), theirs.is_empty()), (length(other), false));
                    // SAFETY: it is written behind the next barrier.
                    let numbers = unsafe { theirs.get(3..length(other)) };
                    let right = |(k, x): (usize, &f32)| *x == value(other, 3 + k + step);
                    assert!(numbers.iter().enumerate().all(right));
                }
                group.barrier().unwrap();
            }
            id
        });
        assert!(ids.iter().all(|id| *id == ids[0] && *id != 0));
    }
}

/// The ranges of three ranks: one has two, one none.
fn ranges() -> Vec<Vec<Range<usize>>> {
    vec![
        vec![0..PAGE, 3 * PAGE..4 * PAGE],
        vec![],
        vec![PAGE..3 * PAGE],
    ]
}

#[test]
fn a_region_has_everyones_ranges_in_their_places() {
    // The last page is not full.
    let length = 4 * PAGE - 7;
    let owner = |at: usize| if (PAGE..3 * PAGE).contains(&at) { 2 } else { 0 };
    let kept = on_group(3, |group| {
        let rank = group.rank();
        let shared = group.share_region::<f32>(length, &ranges()).unwrap();
        let (region, mut pieces) = shared.unwrap();
        // SAFETY: nobody writes before the next barrier.
        assert!(unsafe { region.get(0..length) }.iter().all(|x| *x == 0.0));
        group.barrier().unwrap();
        for (piece, range) in pieces.iter_mut().zip(&ranges()[rank as usize]) {
            let write = |(at, x): (usize, &mut f32)| *x = value(rank, range.start + at);
            piece.iter_mut().enumerate().for_each(write);
            assert_eq!(piece[1], value(rank, range.start + 1));
        }
        group.barrier().unwrap();
        region
    });
    // The group is gone; what it wrote is not.
    for region in kept {
        // SAFETY: nobody writes any more.
        let numbers = unsafe { region.get(0..length) };
        let right = |(at, x): (usize, &f32)| *x == value(owner(at), at);
        assert!(numbers.iter().enumerate().all(right));
    }
}

#[test]
fn who_has_nothing_to_show_keeps_all_from_sharing() {
    let shared = on_group(3, |group| {
        let own = (group.rank() != 1).then(|| SharedSlice::<f32>::zeroed(10).unwrap());
        let slices = group.share(own.as_ref()).unwrap();
        // Ranges within a page have more than one owner.
        let torn = vec![vec![0..100], vec![100..PAGE], vec![]];
        let region = group.share_region::<f32>(PAGE, &torn).unwrap();
        // Another length than the others'.
        let odd = group.share_region::<f32>((3 + group.rank() as usize) * PAGE, &ranges());
        let odd = odd.unwrap();
        let twice = [vec![0..2 * PAGE, PAGE..3 * PAGE], vec![], vec![]];
        let twice = group.share_region::<f32>(4 * PAGE, &twice);
        assert_eq!(twice.is_err(), group.rank() == 0, "{twice:?}");
        check_health(&group).unwrap();
        slices.is_some() || region.is_some() || odd.is_some()
    });
    assert_eq!(shared, [false; 3]);
}

#[test]
fn a_member_that_dies_meanwhile_ends_the_generation() {
    for dying in 0..4 {
        let failures = on_group(2, |group| {
            if group.rank() == 1 {
                group.inject(FaultPlan::default().at(dying, Fault::Die));
            }
            let own = SharedSlice::<f32>::zeroed(10).unwrap();
            let shared = group.share(Some(&own)).map(drop);
            shared.and_then(|()| group.share_region::<f32>(4 * PAGE, &ranges()).map(drop))
        });
        assert!(failures.iter().all(Result::is_err), "{failures:?}");
    }
}
