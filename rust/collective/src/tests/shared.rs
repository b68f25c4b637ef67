//! All-reduces in memory that the members read directly: the same bits, and the same reactions to
//! everything that goes wrong.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;

use super::sums::{expected_f32, partials_f32, ranges};
use super::*;
use crate::all_reduce::AllReduce;
use crate::core::Core;
use crate::frame::{Checksum, Header, Kind, OpKey, Reference};
use crate::link::Link;
use crate::operation::{Payload, Refusal};
use crate::shared::Remote;
use crate::topology::Topology;
use crate::tree::Layout;
use crate::work::Work;
use crate::{Element, Error, Peer, SharedSlice};

/// After so many operations in one piece of memory all members can read it.
const INTRODUCTIONS: usize = 2;

fn share_all(config: &mut GroupConfig) {
    config.tuning.one_round_bytes = 64;
    config.tuning.refer_bytes = 64;
}

fn check(ranges: &[Range<u32>], elements: usize, tune: impl Fn(&mut GroupConfig) + Sync) -> u64 {
    let expected = expected_f32(ranges, elements);
    let read = on_group_with(ranges, tune, |group| {
        let partials = partials_f32(&group, elements);
        let mut data = SharedSlice::zeroed(partials.len()).unwrap();
        for _ in 0..INTRODUCTIONS + 2 {
            data.copy_from_slice(&partials);
            group.all_reduce(&mut data).unwrap();
            let bits: Vec<_> = data[..elements].iter().map(|x| x.to_bits()).collect();
            assert_eq!(bits, expected, "rank {} of {ranges:?}", group.rank());
        }
        let peers = group.stats().peers;
        peers.iter().map(|peer| peer.bytes_read_in_place).sum()
    });
    read.iter().sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn sums_in_shared_memory_are_the_trees(
        level in 0u32..5,
        cuts in proptest::collection::vec(any::<u32>(), 0..6),
        elements in 0usize..400,
        grouped in any::<bool>(),
        piece in 64usize..400,
    ) {
        check(&ranges(1 << level, &cuts), elements, |config| {
            share_all(config);
            config.tuning.piece_bytes = piece;
            config.tuning.direct_ranks = if grouped { 1 } else { 16 };
        });
    }
}

#[test]
fn large_data_is_read_in_place() {
    let elements = 300_001;
    for ranks in [2, 3] {
        let read = check(&even_ranges(4, ranks), elements, |_| {});
        // Of the last two sums every rank reads others' partials of its chunk and all other chunks.
        let least = 2 * 4 * elements as u64 * u64::from(ranks);
        assert!(read >= least, "{read} bytes by {ranks} ranks");
    }
    assert!(check(&even_ranges(32, 20), 20_000, share_all) > 0);
}

#[test]
fn doubles_are_read_in_place() {
    on_group_with(&even_ranges(4, 2), share_all, |group| {
        let mut data = SharedSlice::<f64>::zeroed(10_001).unwrap();
        for step in 0..4 {
            data.fill(0.1 * f64::from(step));
            group.all_reduce(&mut data).unwrap();
            assert!(data.iter().all(|x| *x == 0.1 * f64::from(step) * 2.0));
        }
        assert!(group.stats().peers[0].bytes_read_in_place > 0);
    });
}

#[test]
fn who_cannot_read_is_sent_everything() {
    let shares = [0, 1].map(|willing| {
        let read = on_group_with(
            &even_ranges(4, 2),
            |config| {
                if config.rank != willing {
                    config.tuning.refer_bytes = usize::MAX;
                }
            },
            |group| {
                let mut data = SharedSlice::zeroed(100_000).unwrap();
                for _ in 0..4 {
                    data.fill(1.0f32);
                    group.all_reduce(&mut data).unwrap();
                    assert!(data.iter().all(|x| *x == 2.0));
                }
                group.stats().peers[0].bytes_read_in_place
            },
        );
        read.iter().sum::<u64>()
    });
    assert_eq!(shares, [0, 0]);
}

#[test]
fn what_comes_early_is_read_when_it_is_needed() {
    on_group(2, |group| {
        let mut data = SharedSlice::zeroed(50_000).unwrap();
        for step in 0..6 {
            data.fill(step as f32);
            if step % 2 == group.rank() {
                std::thread::sleep(Duration::from_millis(10));
            }
            group.all_reduce(&mut data).unwrap();
            assert!(data.iter().all(|x| *x == 2.0 * step as f32));
        }
    });
}

#[test]
fn buckets_in_shared_memory_overlap() {
    on_group(3, |group| {
        let runs = group.partials().len();
        let spans: Vec<_> = group.partials().iter().map(|s| s.span() as f32).collect();
        let mut slices: Vec<_> = (0..3)
            .map(|bucket| SharedSlice::<f32>::zeroed((40_000 << bucket) * runs).unwrap())
            .collect();
        for step in 1..6 {
            for slice in &mut slices {
                let length = slice.len() / runs;
                for (run, span) in slice.chunks_exact_mut(length).zip(&spans) {
                    run.fill(span * step as f32);
                }
            }
            group
                .scope(|scope| {
                    let handles: Vec<_> = (0..)
                        .zip(&mut slices)
                        .map(|(bucket, slice)| scope.start_all_reduce(bucket, slice).unwrap())
                        .collect();
                    for handle in handles {
                        let data = scope.wait(handle).unwrap();
                        assert!(
                            data[..data.len() / runs]
                                .iter()
                                .all(|x| *x == 8.0 * step as f32)
                        );
                    }
                })
                .unwrap();
        }
    });
}

#[test]
fn memory_goes_from_one_generation_to_the_next() {
    let all = listeners(2);
    let members = members(&all, &even_ranges(8, 2));
    std::thread::scope(|threads| {
        for (rank, listener) in all.into_iter().enumerate() {
            let members = members.clone();
            threads.spawn(move || {
                let mut group = Group::connect(listener, config(rank, members.clone())).unwrap();
                let mut data = SharedSlice::zeroed(100_000).unwrap();
                for generation in 2..6 {
                    for step in 0..4 {
                        data.fill((rank + step) as f32);
                        group.all_reduce(&mut data).unwrap();
                        assert!(data.iter().all(|x| *x == (2 * step + 1) as f32));
                    }
                    assert!(group.stats().peers[0].bytes_read_in_place > 0);
                    group
                        .regroup(rank as u32, generation, members.clone())
                        .unwrap();
                }
            });
        }
    });
}

#[test]
fn memory_that_was_taken_back_is_noticed() {
    let layout = Layout::new(even_ranges(2, 2)).unwrap();
    let topology = Arc::new(Topology::new(layout, 0, 16));
    let theirs = SharedSlice::<f32>::zeroed(100).unwrap();
    let (segment, offset) = crate::shared::locate(bytemuck::cast_slice(&theirs)).unwrap();
    let mapping = Arc::new(segment.announcement().unwrap().map().unwrap());
    for is_taken_back in [false, true] {
        let mut work = Work::new(0);
        let key = work.next_key(0).unwrap();
        let own = f32::into_buffer(vec![1.0; 100]);
        let reduce = AllReduce::new(Arc::clone(&topology), f32::DTYPE, 100, own, 64, 4096);
        work.start(key, Box::new(reduce)).unwrap();
        let length = 48 * 4;
        let header = Header {
            key,
            node: crate::cover(1..2)[0].to_wire(),
            length: length as u32,
            ..partial_header()
        };
        let remote = Remote::new(&mapping, offset, length, segment.version()).unwrap();
        if is_taken_back {
            crate::shared::revoke(bytemuck::cast_slice(&theirs));
        }
        let result = work.deliver(1, &header, Payload::Remote(remote));
        assert_eq!(result.err(), is_taken_back.then_some(Refusal::TakenBack));
    }
}

#[test]
fn a_failed_sum_takes_its_memory_back() {
    on_group(2, |group| {
        let mut data = SharedSlice::zeroed(100_000).unwrap();
        for _ in 0..INTRODUCTIONS {
            group.all_reduce(&mut data).unwrap();
        }
        let version = |data: &SharedSlice<f32>| {
            let (segment, _) = crate::shared::locate(bytemuck::cast_slice(data)).unwrap();
            segment.version()
        };
        let before = version(&data);
        group.all_reduce(&mut data).unwrap();
        assert_eq!(version(&data), before);
        if group.rank() == 0 {
            // Its partials are on their way when the scope is left.
            group
                .scope(|scope| drop(scope.start_all_reduce(0, &mut data).unwrap()))
                .unwrap_err();
            assert_eq!(version(&data), before + 1);
        } else {
            std::thread::sleep(Duration::from_millis(50));
            group.abort_handle().abort("no more");
        }
    });
}

/// What rank 0 makes of rank 1's memory being taken back in the middle of an all-reduce, if
/// `explain` does what rank 1 does next. With `early`, the frame comes before rank 0 starts.
fn failure_after_taking_back(early: bool, explain: impl FnOnce(&mut TcpStream)) -> Error {
    use std::io::Write;
    let listener = TcpListener::bind((LOCALHOST, 0)).unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let stream = listener.accept().unwrap().0;
    stream.set_nonblocking(true).unwrap();
    let ranges = even_ranges(2, 2);
    let members = ranges.iter().map(|shards| Member {
        address: peer.local_addr().unwrap(),
        shards: shards.clone(),
    });
    let mut config = config(0, members.collect());
    share_all(&mut config);
    config.timeouts.silence = Duration::from_millis(500);
    let mut core = Core::new(&config, vec![None, Some(stream)]);

    let memory = SharedSlice::<f32>::zeroed(100).unwrap();
    let (segment, offset) = crate::shared::locate(bytemuck::cast_slice(&memory)).unwrap();
    let announcement = segment.announcement().unwrap().encode();
    let header = |kind, counter| Header {
        kind,
        counter,
        ..partial_header()
    };
    let announced = Header {
        length: announcement.len() as u32,
        checksum: Checksum::of(&announcement),
        ..header(Kind::Segment, 0)
    };
    let referring = Header {
        node: crate::cover(1..2)[0].to_wire(),
        length: 48 * 4,
        reference: Some(Reference {
            segment: segment.number,
            offset,
            version: segment.version(),
        }),
        ..header(Kind::Partial, 1)
    };
    peer.write_all(&announced.encode()).unwrap();
    peer.write_all(&announcement).unwrap();
    let start = |core: &mut Core| {
        let layout = Layout::new(ranges.clone()).unwrap();
        let topology = Arc::new(Topology::new(layout, 0, 16));
        let own = f32::into_buffer(vec![1.0; 100]);
        let reduce = AllReduce::new(topology, f32::DTYPE, 100, own, 64, 4096);
        core.start(0, Box::new(reduce)).unwrap();
    };
    let until = |core: &mut Core, is_reached: &dyn Fn(&Core) -> bool| {
        let began = Instant::now();
        while !is_reached(core) {
            core.progress(None);
            assert!(began.elapsed() < Duration::from_secs(20));
        }
    };
    if early {
        peer.write_all(&referring.encode()).unwrap();
        until(&mut core, &|core| core.stats()[0].frames_received == 2);
        crate::shared::revoke(bytemuck::cast_slice(&memory));
        start(&mut core);
    } else {
        start(&mut core);
        crate::shared::revoke(bytemuck::cast_slice(&memory));
        peer.write_all(&referring.encode()).unwrap();
        until(&mut core, &|core| core.stats()[0].frames_received == 2);
    }
    core.progress(None);
    assert!(core.failure.is_none(), "{:?}", core.failure);
    assert!(core.wants() == [crate::wake::Want::Read]);
    explain(&mut peer);
    until(&mut core, &|core| core.failure.is_some());
    core.failure.unwrap()
}

#[test]
fn who_takes_memory_back_is_asked_why() {
    use std::io::Write;
    let reason = "lost rank 7";
    let abort = |peer: &mut TcpStream| {
        // Data may come before the reason; it counts no more.
        let data = Header {
            counter: 2,
            length: 8,
            checksum: Checksum::of(&[1; 8]),
            ..partial_header()
        };
        peer.write_all(&data.encode()).unwrap();
        peer.write_all(&[1; 8]).unwrap();
        let header = Header {
            kind: Kind::Abort,
            counter: 3,
            length: reason.len() as u32,
            checksum: Checksum::of(reason.as_bytes()),
            ..partial_header()
        };
        peer.write_all(&header.encode()).unwrap();
        peer.write_all(reason.as_bytes()).unwrap();
    };
    for early in [false, true] {
        let error = failure_after_taking_back(early, abort);
        assert!(
            matches!(&error, Error::PeerAborted { reason: told, .. } if told == reason),
            "{error}"
        );
        let error = failure_after_taking_back(early, |peer| {
            peer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let lost = matches!(&error, Error::PeerLost { loss, .. } if *loss == crate::Loss::Closed);
        assert!(lost, "{error}");
        let error = failure_after_taking_back(early, |_| ());
        assert!(error.to_string().contains("did not say why"), "{error}");
    }
}

/// A link, and the other end of its connection.
fn link() -> (Link, TcpStream) {
    let listener = TcpListener::bind((LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nonblocking(true).unwrap();
    let peer = Peer { rank: 1, address };
    (Link::new(peer, stream, 1, 64), listener.accept().unwrap().0)
}

fn partial_header() -> Header {
    Header {
        kind: Kind::Partial,
        dtype: 1,
        generation: 1,
        key: OpKey {
            bucket: 0,
            sequence: 0,
        },
        counter: 0,
        piece: 0,
        node: 0,
        total: 100,
        length: 400,
        checksum: 0,
        reference: None,
    }
}

/// What a link makes of a frame that refers to memory.
fn read_reference(link: &mut Link, other: &mut TcpStream, reference: Reference) -> Error {
    use std::io::Write;
    let header = Header {
        reference: Some(reference),
        ..partial_header()
    };
    other.write_all(&header.encode()).unwrap();
    let (mut work, began) = (Work::new(1 << 20), Instant::now());
    loop {
        match link.read(&mut work, Instant::now()) {
            Err(error) => return error,
            Ok(_) => assert!(began.elapsed() < Duration::from_secs(20)),
        }
    }
}

#[test]
fn references_to_nowhere_are_refused() {
    let reference = Reference {
        segment: 7,
        offset: 0,
        version: 0,
    };
    let (mut known, mut other) = link();
    let error = read_reference(&mut known, &mut other, reference);
    assert!(
        matches!(&error, Error::Corrupt { what, .. } if what.contains("cannot read")),
        "{error}"
    );
    let (mut known, mut other) = link();
    let memory = SharedSlice::<f32>::zeroed(120).unwrap();
    let announced = crate::shared::locate(bytemuck::cast_slice(&memory))
        .and_then(|(segment, _)| segment.announcement())
        .unwrap();
    known.hear_of_segment(&announced.encode()).unwrap();
    let beyond = Reference {
        segment: announced.number,
        offset: 30,
        version: 0,
    };
    let error = read_reference(&mut known, &mut other, beyond);
    assert!(
        matches!(&error, Error::Corrupt { what, .. } if what.contains("beyond")),
        "{error}"
    );
    assert!(known.hear_of_segment(b"nonsense").is_err());
    assert!(known.hear_of_mapping(&[1, 0, 1]).is_err());
    assert!(known.hear_of_mapping(&[]).is_err());
}
