//! Several all-reduces in flight, owned, borrowed and lent, moved by the background thread or the
//! waiter.

use std::ptr::NonNull;
use std::time::Duration;

use super::*;
use crate::Error;

fn filled(group: &Group, elements: usize, value: f32) -> Vec<f32> {
    let run = |subtree: &crate::Subtree| vec![value * subtree.span() as f32; elements];
    group.partials().iter().flat_map(run).collect()
}

#[test]
fn ranks_may_start_and_await_buckets_in_any_order() {
    on_group(3, |group| {
        for step in 0..5u32 {
            let mut order: Vec<u32> = (0..4).collect();
            order.rotate_left((group.rank() + step) as usize % 4);
            let start = |bucket: &u32| {
                let data = filled(&group, 1000 << (3 * bucket), (bucket + step) as f32);
                group.start_all_reduce(*bucket, data).unwrap()
            };
            let mut handles: Vec<_> = order.iter().map(start).collect();
            if group.rank() == 1 {
                group.barrier().unwrap();
                handles.reverse();
                order.reverse();
            } else if group.rank() == 2 {
                group.barrier().unwrap();
            }
            for (bucket, handle) in order.iter().zip(handles) {
                let data = group.wait(handle).unwrap();
                assert!(
                    data[..1000 << (3 * bucket)]
                        .iter()
                        .all(|x| *x == 8.0 * (bucket + step) as f32)
                );
            }
            if group.rank() == 0 {
                group.barrier().unwrap();
            }
        }
    });
}

#[test]
fn a_rank_may_await_one_bucket_before_it_starts_another() {
    on_group(2, |group| {
        let run = |bucket| {
            group
                .start_all_reduce(bucket, filled(&group, 50_000, 1.0))
                .unwrap()
        };
        if group.rank() == 0 {
            let (first, second) = (run(1), run(2));
            group.wait(first).unwrap();
            group.wait(second).unwrap();
        } else {
            let second = run(2);
            group.wait(second).unwrap();
            let first = run(1);
            group.wait(first).unwrap();
        }
    });
}

#[test]
fn buckets_finish_without_anybody_waiting() {
    on_group(2, |group| {
        let handle = group
            .start_all_reduce(0, filled(&group, 1_000_000, 1.0))
            .unwrap();
        let began = std::time::Instant::now();
        while group.stats().peers[0].bytes_received < 4_000_000 {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "the background thread moves nothing"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(group.wait(handle).unwrap().iter().all(|x| *x == 8.0));
    });
}

#[test]
fn blocking_calls_go_on_between_buckets() {
    on_group(2, |group| {
        let handle = group
            .start_all_reduce(3, filled(&group, 2_000_000, 1.0))
            .unwrap();
        for _ in 0..20 {
            check_health(&group).unwrap();
        }
        assert_eq!(group.wait(handle).unwrap()[0], 8.0);
    });
}

#[test]
fn a_bucket_in_flight_cannot_be_started_again() {
    on_group(2, |group| {
        let handle = group.start_all_reduce(7, vec![1.0f64; 10]).unwrap();
        let error = group.start_all_reduce(7, vec![1.0f64; 10]).unwrap_err();
        assert!(matches!(&error, Error::InvalidArgument(what) if what.contains("bucket 7")));
        let error = group
            .start_all_reduce(u32::MAX, vec![1.0f64; 10])
            .unwrap_err();
        assert!(matches!(&error, Error::InvalidArgument(what) if what.contains("reserved")));
        assert_eq!(group.wait(handle).unwrap(), [2.0; 10]);
        let handle = group.start_all_reduce(7, vec![2.0f64; 10]).unwrap();
        assert_eq!(group.wait(handle).unwrap(), [4.0; 10]);
    });
}

#[test]
fn a_scope_gives_borrowed_slices_back() {
    on_group(2, |group| {
        let (mut awaited, mut left) = (vec![1.0f32; 70_000], vec![2.0f64; 10]);
        let sum = group
            .scope(|scope| {
                let first = scope.start_all_reduce(0, &mut awaited).unwrap();
                drop(scope.start_all_reduce(1, &mut left).unwrap());
                let summed = scope.wait(first).unwrap();
                summed.iter().sum::<f32>()
            })
            .unwrap();
        assert_eq!((sum, left), (140_000.0, vec![4.0; 10]));
        assert_eq!(awaited[69_999], 2.0);
    });
}

#[test]
fn a_panic_within_a_scope_ends_the_generation_and_not_the_memory() {
    on_group(2, |group| {
        let mut data = vec![1.0f32; 500_000];
        if group.rank() == 0 {
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                group.scope(|scope| {
                    drop(scope.start_all_reduce(0, &mut data).unwrap());
                    panic!("on purpose");
                })
            }));
            assert!(panicked.is_err());
            data.fill(0.0);
        } else {
            std::thread::sleep(Duration::from_millis(20));
            let error = group.all_reduce(&mut data).unwrap_err();
            assert!(matches!(
                error,
                Error::PeerAborted { .. } | Error::PeerLost { .. } | Error::Poisoned { .. }
            ));
        }
    });
}

#[test]
fn lent_memory_is_summed_in_place() {
    on_group(2, |group| {
        let mut data = vec![3.0f32; 40_000];
        let start = NonNull::from(&mut data[..]).cast();
        // SAFETY: `data` is not touched until `wait_lent` has returned.
        #[allow(unsafe_code)]
        let handle = unsafe { group.start_all_reduce_at::<f32>(5, start, 40_000) }.unwrap();
        group.wait_lent(&handle).unwrap();
        assert!(group.wait_lent(&handle).is_err());
        assert!(data.iter().all(|x| *x == 6.0));
    });
}

#[test]
fn memory_of_ones_own_choice_comes_back_with_the_sum() {
    on_group(3, |group| {
        let length = 60_000 * group.partials().len();
        for (is_shared, in_background) in [(false, true), (true, true), (true, false)] {
            let mut memory: crate::Memory = match crate::SharedSlice::zeroed(length) {
                Ok(shared) if is_shared => Box::new(shared),
                _ => Box::new(vec![0.0; length]),
            };
            memory.copy_from_slice(&filled(&group, 60_000, 1.5));
            let at = memory.as_ptr();
            let handle = group.start_all_reduce_of(2, memory, in_background).unwrap();
            let memory = group.wait_memory(handle).unwrap();
            assert_eq!((memory.as_ptr(), memory.len()), (at, length));
            assert!(memory[..60_000].iter().all(|x| *x == 12.0));
        }
        assert!(!group.is_spread());
    });
}

#[test]
fn many_buckets_are_under_way_at_once() {
    for ranks in [2, 3] {
        on_group(ranks, |group| {
            // Frames that refer to memory, and between them some that carry data.
            let elements = |bucket: u32| if bucket % 5 == 3 { 100 } else { 20_000 };
            for _ in 0..20 {
                let start = |bucket: u32| {
                    let values = filled(&group, elements(bucket), bucket as f32);
                    let mut memory = crate::SharedSlice::zeroed(values.len()).unwrap();
                    memory.copy_from_slice(&values);
                    let memory = Box::new(memory);
                    group.start_all_reduce_of(bucket, memory, false).unwrap()
                };
                let handles: Vec<_> = (0..40).map(start).collect();
                for (bucket, handle) in (0..).zip(handles) {
                    let memory = group.wait_memory(handle).unwrap();
                    let expected = 8.0 * bucket as f32;
                    assert!(memory[..elements(bucket)].iter().all(|x| *x == expected));
                }
            }
        });
    }
}

/// Says when it is dropped.
struct Watched(Vec<f32>, std::sync::mpsc::Sender<()>);

impl std::ops::Deref for Watched {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl std::ops::DerefMut for Watched {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.1.send(());
    }
}

#[test]
fn memory_of_a_failed_bucket_is_dropped_with_it() {
    let is_started = std::sync::Barrier::new(2);
    on_group(2, |group| {
        let (sender, dropped) = std::sync::mpsc::channel();
        let watched = Watched(vec![1.0; 300_000], sender);
        if group.rank() == 1 {
            // It leaves without having started its part.
            is_started.wait();
            return;
        }
        let handle = group
            .start_all_reduce_of(0, Box::new(watched), true)
            .unwrap();
        is_started.wait();
        assert!(group.wait_memory(handle).is_err());
        dropped.try_recv().unwrap();
    });
}

#[test]
fn early_data_beyond_the_limit_waits_in_the_socket() {
    let tune = |config: &mut GroupConfig| config.tuning.early_bytes = 100_000;
    on_group_with(&even_ranges(2, 2), tune, |group| {
        if group.rank() == 1 {
            // Rank 0's data comes long before it is asked for, and for longer than silence may
            // last.
            std::thread::sleep(Duration::from_millis(1800));
        }
        let handles: Vec<_> = (0..8)
            .map(|bucket| {
                group
                    .start_all_reduce(bucket, vec![1.0f32; 200_000])
                    .unwrap()
            })
            .collect();
        for handle in handles {
            assert!(group.wait(handle).unwrap().iter().all(|x| *x == 2.0));
        }
    });
}

#[test]
fn several_threads_of_a_rank_may_wait() {
    on_group(2, |group| {
        std::thread::scope(|threads| {
            for bucket in 0..4 {
                let group = &group;
                threads.spawn(move || {
                    for _ in 0..30 {
                        let handle = group
                            .start_all_reduce(bucket, vec![1.0f32; 30_000])
                            .unwrap();
                        assert!(group.wait(handle).unwrap().iter().all(|x| *x == 2.0));
                    }
                });
            }
        });
    });
}
