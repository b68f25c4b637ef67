//! Every fault of the injector: the others notice what happened, say who, and a new generation
//! works.

use std::time::{Duration, Instant};

use super::*;
use crate::fault::{Fault, FaultPlan};
use crate::{Error, Loss};

/// Runs steps of all-reduces in a group of three whose rank 1 breaks as planned at its third
/// operation; gives each rank's first error, and checks the results until then. Large data lies in
/// shared memory, which all can read by then.
fn break_rank_one(fault: Fault, elements: usize) -> Vec<Option<Error>> {
    let tune = |config: &mut GroupConfig| {
        config.timeouts.silence = Duration::from_millis(500);
        config.timeouts.heartbeat = Duration::from_millis(50);
    };
    on_group_with(&even_ranges(8, 3), tune, |group| {
        if group.rank() == 1 {
            group.inject(FaultPlan::default().at(2, fault));
        }
        let length = elements * group.partials().len();
        let mut shared = crate::SharedSlice::<f32>::zeroed(length);
        let mut own = vec![0.0; length];
        for step in 0..6 {
            let data = match &mut shared {
                Ok(shared) if elements > 100_000 => &mut shared[..],
                _ => &mut own[..],
            };
            for (run, subtree) in data.chunks_exact_mut(elements).zip(group.partials()) {
                run.fill((subtree.span() * step) as f32);
            }
            match group.all_reduce(data) {
                Ok(()) => assert!(data[..elements].iter().all(|x| *x == (8 * step) as f32)),
                Err(error) => return Some(error),
            }
        }
        // Everybody stays until all are through, so that leaving is no error of its own.
        group.barrier().err()
    })
}

/// Whether the error, or a peer's that it passes on, is about rank 1 and of the kind asked for.
fn blames_rank_one(error: &Error, kind: fn(&Error) -> bool, words: &str) -> bool {
    let text = error.to_string();
    match error {
        // The failure came between two calls.
        Error::Poisoned { cause, .. } => blames_rank_one(cause, kind, words),
        Error::PeerAborted { .. } => text.contains("rank 1 (") && text.contains(words),
        _ => kind(error) && error.peer().is_some_and(|peer| peer.rank == 1) && text.contains(words),
    }
}

#[test]
fn a_death_is_noticed_by_all() {
    for elements in [100, 50_000, 200_000] {
        let errors = break_rank_one(Fault::Die, elements);
        assert!(matches!(errors[1], Some(Error::Aborted(_))));
        for rank in [0, 2] {
            let error = errors[rank].as_ref().unwrap();
            let lost = |error: &Error| {
                matches!(
                    error,
                    Error::PeerLost {
                        loss: Loss::Closed | Loss::Reset,
                        ..
                    }
                )
            };
            assert!(
                blames_rank_one(error, lost, "connection was"),
                "rank {rank}: {error}"
            );
        }
    }
}

#[test]
fn silence_is_noticed_and_its_length_is_told() {
    for elements in [50_000, 200_000] {
        silence_is_noticed(elements);
    }
}

fn silence_is_noticed(elements: usize) {
    let errors = break_rank_one(Fault::Stop(Duration::from_secs(3)), elements);
    for rank in [0, 2] {
        let error = errors[rank].as_ref().unwrap();
        let silent = |error: &Error| matches!(error, Error::PeerLost { loss: Loss::Silent, quiet, .. } if *quiet >= Duration::from_millis(500));
        assert!(
            blames_rank_one(error, silent, "silent"),
            "rank {rank}: {error}"
        );
    }
    assert!(errors[1].is_some());
}

#[test]
fn a_lost_frame_is_noticed_at_the_next() {
    for elements in [100, 50_000, 200_000] {
        let errors = break_rank_one(Fault::Drop { to: 2 }, elements);
        let error = errors[2].as_ref().unwrap();
        let gap = |error: &Error| matches!(error, Error::Corrupt { .. });
        assert!(blames_rank_one(error, gap, "was due"), "{error}");
    }
}

#[test]
fn a_delay_changes_nothing() {
    let delay = Fault::Delay {
        to: 0,
        time: Duration::from_millis(100),
    };
    for elements in [100, 50_000, 200_000] {
        let errors = break_rank_one(delay, elements);
        assert!(errors.iter().all(Option::is_none), "{errors:?}");
    }
}

#[test]
fn a_corrupt_byte_is_noticed_wherever_it_is() {
    for byte in [0, 5, 20, 50, 61, 64, 100, 463] {
        let errors = break_rank_one(Fault::Corrupt { to: 0, byte }, 100);
        let error = errors[0].as_ref().unwrap();
        let corrupt = |error: &Error| matches!(error, Error::Corrupt { .. });
        assert!(
            blames_rank_one(error, corrupt, "corrupt data"),
            "byte {byte}: {error}"
        );
        assert!(errors[1].is_some() && errors[2].is_some());
    }
    // Within a long payload, and in the header of a frame that refers to one.
    for elements in [50_000, 200_000] {
        let errors = break_rank_one(
            Fault::Corrupt {
                to: 2,
                byte: 70_030,
            },
            elements,
        );
        let error = errors[2].as_ref().unwrap();
        assert!(
            blames_rank_one(
                error,
                |error| matches!(error, Error::Corrupt { .. }),
                "checksum"
            ),
            "{error}"
        );
    }
}

#[test]
fn a_stale_frame_is_dropped_and_counted() {
    let counts = on_group(2, |group| {
        if group.rank() == 0 {
            group.inject(FaultPlan::default().at(1, Fault::Stale { to: 1 }));
        }
        for _ in 0..3 {
            check_health(&group).unwrap();
        }
        group.stats().peers[0].stale_frames
    });
    assert_eq!(counts, [0, 1]);
}

#[test]
fn survivors_regroup_after_a_death() {
    let all = listeners(3);
    let first = members(&all, &even_ranges(8, 3));
    let survivors: Vec<_> = [0, 2]
        .into_iter()
        .zip(even_ranges(8, 2))
        .map(|(rank, shards)| Member {
            address: first[rank].address,
            shards,
        })
        .collect();
    std::thread::scope(|threads| {
        for (rank, listener) in all.into_iter().enumerate() {
            let (first, survivors) = (first.clone(), survivors.clone());
            threads.spawn(move || {
                let mut group = Group::connect(listener, config(rank, first)).unwrap();
                check_health(&group).unwrap();
                if rank == 1 {
                    group.inject(FaultPlan::default().at(3, Fault::Die));
                }
                let began = Instant::now();
                while group.barrier().is_ok() {
                    assert!(began.elapsed() < Duration::from_secs(20));
                }
                if rank != 1 {
                    group.regroup(rank as u32 / 2, 2, survivors).unwrap();
                    check_health(&group).unwrap();
                    group.barrier().unwrap();
                }
            });
        }
    });
}
