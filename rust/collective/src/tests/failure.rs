//! Failures without an injector: abort, disagreement, deadlines, and what poisoning means.

use std::time::{Duration, Instant};

use super::*;
use crate::Error;

#[test]
fn abort_frees_every_waiter_of_every_rank() {
    on_group(3, |group| {
        if group.rank() != 0 {
            let error = group.barrier().unwrap_err();
            let reason = error.to_string();
            assert!(reason.contains("enough"), "{reason}");
            return;
        }
        let handle = group.abort_handle();
        let buckets: Vec<_> = (0..3)
            .map(|b| group.start_all_reduce(b, vec![1.0f32; 30]).unwrap())
            .collect();
        std::thread::scope(|threads| {
            for bucket in buckets {
                let group = &group;
                threads.spawn(move || {
                    let error = group.wait(bucket).unwrap_err();
                    assert!(
                        matches!(&error, Error::Aborted(why) if why == "enough"),
                        "{error}"
                    );
                });
            }
            std::thread::sleep(Duration::from_millis(50));
            handle.abort("enough");
        });
        let error = group.all_gather(b"again").unwrap_err();
        let Error::Poisoned {
            generation: 1,
            cause,
        } = error
        else {
            panic!("{error}")
        };
        assert!(matches!(*cause, Error::Aborted(_)));
    });
}

#[test]
fn an_idle_group_learns_of_an_abort() {
    on_group(2, |group| {
        if group.rank() == 0 {
            group.abort_handle().abort("idle and tired");
        }
        let began = Instant::now();
        while group.failure().is_none() {
            assert!(began.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(
            group
                .failure()
                .unwrap()
                .to_string()
                .contains("idle and tired")
        );
    });
}

type Call<'a> = &'a (dyn Fn(&Group) -> Result<()> + Sync);

fn disagree(calls: [Call<'_>; 2]) {
    let errors = on_group(2, |group| calls[group.rank() as usize](&group).unwrap_err());
    let named = errors.iter().any(|error| {
        matches!(error, Error::Mismatch { .. }) || error.to_string().contains("disagrees")
    });
    assert!(named, "{errors:?}");
}

#[test]
fn disagreements_are_named() {
    disagree([&|g| g.all_reduce(&mut [0.0f32; 10]), &|g| {
        g.all_reduce(&mut [0.0f32; 11])
    }]);
    disagree([&|g| g.all_reduce(&mut [0.0f32; 10]), &|g| {
        g.all_reduce(&mut [0.0f64; 10])
    }]);
    disagree([&|g| g.all_reduce(&mut [0.0f32; 100_000]), &|g| {
        g.all_reduce(&mut [0.0f32; 10])
    }]);
    disagree([&|g| g.all_reduce(&mut [0.0f32; 10]), &|g| g.barrier()]);
    disagree([&|g| g.all_gather(b"x").map(drop), &|g| g.barrier()]);
    disagree([
        &|g| g.broadcast(&mut [0; 10], 0).and_then(|()| g.barrier()),
        &|g| g.broadcast(&mut [0; 11], 0).and_then(|()| g.barrier()),
    ]);
}

#[test]
fn an_operation_deadline_names_who_is_waited_for() {
    let tune = |config: &mut GroupConfig| config.timeouts.operation = Duration::from_millis(200);
    let errors = on_group_with(&even_ranges(4, 3), tune, |group| {
        if group.rank() == 2 {
            // It lives and sends heartbeats, but does not come.
            while group.failure().is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
            return group.failure().unwrap();
        }
        group
            .all_reduce(&mut vec![1.0f32; 10 * group.partials().len()])
            .unwrap_err()
    });
    let timeout = errors.iter().find_map(|error| match error {
        Error::Timeout {
            waiting_for,
            operation,
            ..
        } => Some((waiting_for, operation)),
        _ => None,
    });
    let (waiting_for, operation) = timeout.expect("somebody waits until the deadline");
    assert!(
        waiting_for.starts_with("rank 2 (127.0.0.1:") && !waiting_for.contains(','),
        "{waiting_for}"
    );
    assert!(operation.contains("all_reduce of 10 f32"), "{operation}");
}

#[test]
fn an_idle_group_outlives_the_limit_of_silence() {
    let tune = |config: &mut GroupConfig| {
        config.timeouts.silence = Duration::from_millis(600);
        config.timeouts.heartbeat = Duration::from_millis(50);
    };
    on_group_with(&even_ranges(8, 3), tune, |group| {
        std::thread::sleep(Duration::from_millis(1500));
        check_health(&group).unwrap();
    });
}

#[test]
fn a_failed_generation_is_followed_by_a_sound_one() {
    let all = listeners(3);
    let members = members(&all, &even_ranges(8, 3));
    let is_checked = std::sync::Barrier::new(3);
    std::thread::scope(|threads| {
        for (rank, listener) in all.into_iter().enumerate() {
            let (members, is_checked) = (members.clone(), &is_checked);
            threads.spawn(move || {
                let mut group = Group::connect(listener, config(rank, members.clone())).unwrap();
                for generation in 2..6 {
                    if rank == 0 {
                        group
                            .abort_handle()
                            .abort_generation(generation - 1, "next");
                    }
                    while group.barrier().is_ok() {}
                    group
                        .regroup(rank as u32, generation, members.clone())
                        .unwrap();
                    check_health(&group).unwrap();
                    is_checked.wait();
                }
            });
        }
    });
}

#[test]
fn groups_and_handles_go_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<Group>();
    check::<crate::Listener>();
    check::<crate::AbortHandle>();
    check::<Error>();
    check::<crate::Handle<f32>>();
}
