//! Forming groups: strangers, wrong tokens, misfits, latecomers, and the next generation.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::*;
use crate::handshake::{Handshake, Identity, Progress, Status};
use crate::{Error, OnMismatch};

/// Connects a group of two whose ranks are configured differently.
fn connect_two(tokens: [&str; 2], tune: [&dyn Fn(&mut GroupConfig); 2]) -> [Result<Group>; 2] {
    let bind = |token| Listener::bind(LOCALHOST, 0..=0, token).unwrap();
    let listeners = tokens.map(bind);
    let members = members(&listeners, &even_ranges(2, 2));
    let mut configs = [0, 1].map(|rank| config(rank, members.clone()));
    for (config, tune) in configs.iter_mut().zip(tune) {
        config.timeouts.formation = Duration::from_secs(2);
        tune(config);
    }
    let [first, second] = listeners;
    let [mine, theirs] = configs;
    std::thread::scope(|threads| {
        let other = threads.spawn(|| Group::connect(second, theirs));
        let own = Group::connect(first, mine);
        [own, other.join().unwrap()]
    })
}

fn nothing(_: &mut GroupConfig) {}

#[test]
fn bad_listeners_are_refused() {
    let error = Listener::bind(LOCALHOST, 0..=0, "").unwrap_err();
    assert!(matches!(&error, Error::InvalidConfig(what) if what.contains("token")));
    let error = Listener::bind("0.0.0.0".parse().unwrap(), 0..=0, TOKEN).unwrap_err();
    assert!(matches!(&error, Error::InvalidConfig(what) if what.contains("0.0.0.0")));
    let taken = TcpListener::bind((LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let holder = Listener::bind(LOCALHOST, taken..=taken, TOKEN).unwrap();
    let error = Listener::bind(LOCALHOST, taken..=taken, TOKEN).unwrap_err();
    assert!(matches!(error, Error::Io { .. }));
    let next = Listener::bind(LOCALHOST, taken..=taken.saturating_add(20), TOKEN).unwrap();
    assert_ne!(next.address(), holder.address());
}

#[test]
fn another_token_is_refused_by_both() {
    let [dialer, acceptor] = connect_two(["one", "other"], [&nothing, &nothing]);
    let error = dialer.unwrap_err();
    assert!(
        matches!(&error, Error::Refused { reason, .. } if reason.contains("token")),
        "{error}"
    );
    assert_eq!(error.peer().unwrap().rank, 1);
    assert!(matches!(acceptor.unwrap_err(), Error::Formation { .. }));
}

#[test]
fn other_kernels_are_refused_or_warned_about() {
    let other = |config: &mut GroupConfig| config.fingerprint = "avx512".into();
    for error in connect_two([TOKEN; 2], [&other, &nothing]).map(Result::unwrap_err) {
        assert!(matches!(error, Error::Fingerprint { .. }), "{error}");
    }
    let lenient = |config: &mut GroupConfig| config.on_mismatch = OnMismatch::Warn;
    let both = |config: &mut GroupConfig| {
        other(config);
        lenient(config);
    };
    let [first, second] = connect_two([TOKEN; 2], [&both, &lenient]).map(Result::unwrap);
    std::thread::scope(|threads| {
        threads.spawn(|| first.barrier().unwrap());
        second.barrier().unwrap();
    });
}

#[test]
fn what_must_agree_is_compared() {
    let sizes = |config: &mut GroupConfig| config.tuning.piece_bytes = 4096;
    for error in connect_two([TOKEN; 2], [&sizes, &nothing]).map(Result::unwrap_err) {
        assert!(
            matches!(&error, Error::Refused { reason, .. } if reason.contains("differ")),
            "{error}"
        );
    }
    let job = |config: &mut GroupConfig| config.job = "another".into();
    let [dialer, acceptor] = connect_two([TOKEN; 2], [&job, &nothing]);
    let error = dialer.unwrap_err();
    assert!(
        matches!(&error, Error::Refused { reason, .. } if reason.contains("another job")),
        "{error}"
    );
    assert!(matches!(acceptor.unwrap_err(), Error::Formation { .. }));
}

#[test]
fn a_stale_member_learns_that_it_is_stale() {
    let newer = |config: &mut GroupConfig| config.generation = 5;
    let [dialer, acceptor] = connect_two([TOKEN; 2], [&nothing, &newer]);
    assert!(matches!(
        dialer.unwrap_err(),
        Error::StaleGeneration {
            ours: 1,
            theirs: 5,
            ..
        }
    ));
    let error = acceptor.unwrap_err();
    assert!(
        matches!(&error, Error::Formation { peer, .. } if peer.rank == 0),
        "{error}"
    );
}

#[test]
fn a_member_that_never_comes_is_named() {
    let listeners = listeners(2);
    let members = members(&listeners, &even_ranges(2, 2));
    let mut listeners = listeners.into_iter();
    let mut config = config(0, members);
    config.timeouts.formation = Duration::from_millis(100);
    let own = listeners.next().unwrap();
    drop(listeners);
    let error = Group::connect(own, config).unwrap_err();
    assert!(
        matches!(&error, Error::Formation { peer, reason, .. } if peer.rank == 1 && reason.contains("dialing"))
    );
}

#[test]
fn forming_can_be_aborted_and_tried_again() {
    let listeners = listeners(2);
    let members = members(&listeners, &even_ranges(2, 2));
    let mut listeners = listeners.into_iter();
    let (own, other) = (listeners.next().unwrap(), listeners.next().unwrap());
    let handle = own.abort_handle();
    let own = std::thread::scope(|threads| {
        let forming = threads.spawn(|| Group::connect_or_return(own, config(0, members.clone())));
        std::thread::sleep(Duration::from_millis(30));
        handle.abort("no longer wanted");
        let (error, own) = forming.join().unwrap().unwrap_err();
        assert!(matches!(&error, Error::Aborted(why) if why == "no longer wanted"));
        own
    });
    let second = |rank| GroupConfig {
        generation: 2,
        ..config(rank, members.clone())
    };
    std::thread::scope(|threads| {
        threads.spawn(|| Group::connect(other, second(1)).unwrap().barrier().unwrap());
        Group::connect(*own, second(0)).unwrap().barrier().unwrap();
    });
}

/// Talks to a listener as somebody who has no business there.
fn disturb(address: SocketAddr) -> Vec<TcpStream> {
    let dial = || TcpStream::connect(address).unwrap();
    let mut strangers = Vec::new();
    for opening in [
        &b""[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 500],
        b"HBhi\x01\0\0",
    ] {
        let mut stranger = dial();
        let _ = stranger.write_all(opening);
        strangers.push(stranger);
    }
    // A dialer that knows the protocol and not the token.
    let identity = Identity {
        status: Status::Welcome,
        rank: 0,
        generation: 1,
        job: [0; 32],
        layout: [0; 32],
        fingerprint: "scalar".into(),
    };
    let (mut handshake, hello) = Handshake::dial("guess".as_bytes().into(), identity).unwrap();
    let mut guesser = dial();
    guesser.write_all(&hello).unwrap();
    let mut challenge = vec![0; handshake.expects()];
    guesser.read_exact(&mut challenge).unwrap();
    let Ok(Progress::Reply(proof)) = handshake.receive(&challenge, &|_| Status::Welcome) else {
        panic!()
    };
    guesser.write_all(&proof).unwrap();
    strangers.push(guesser);
    strangers
}

#[test]
fn strangers_disturb_nobody_and_are_hung_up_on() {
    let listeners = listeners(2);
    let members = members(&listeners, &even_ranges(2, 2));
    let address = members[1].address;
    let mut listeners = listeners.into_iter();
    let (own, other) = (listeners.next().unwrap(), listeners.next().unwrap());
    let mut patient = config(1, members.clone());
    patient.timeouts.handshake = Duration::from_millis(100);
    std::thread::scope(|threads| {
        let member = threads.spawn(|| Group::connect(other, patient).unwrap());
        for mut stranger in disturb(address) {
            stranger
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            // A challenge at most, then the end: never anything that proves knowledge of the token.
            let mut heard = Vec::new();
            let _ = stranger.read_to_end(&mut heard);
            assert!(heard.len() <= 40, "{} bytes for a stranger", heard.len());
        }
        // More who say nothing, while the group forms and works.
        let silent: Vec<_> = (0..200)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let group = Group::connect(own, config(0, members.clone())).unwrap();
        let member = member.join().unwrap();
        threads.spawn(move || (0..50).for_each(|_| member.barrier().unwrap()));
        (0..50).for_each(|_| group.barrier().unwrap());
        drop(silent);
    });
}

#[test]
fn the_next_generation_has_other_ranks_and_shards() {
    let all = listeners(4);
    let first = members(&all[..3], &even_ranges(8, 3));
    // Rank 1 leaves, the others move up, and a newcomer joins at the end.
    let addresses = [&all[0], &all[2], &all[3]].map(Listener::address);
    let ranges = [0..1, 1..6, 6..8];
    let second: Vec<_> = addresses
        .into_iter()
        .zip(ranges)
        .map(|(address, shards)| Member { address, shards })
        .collect();
    std::thread::scope(|threads| {
        for (number, listener) in all.into_iter().enumerate() {
            let (first, second) = (first.clone(), second.clone());
            threads.spawn(move || {
                let mut group = match number {
                    3 => {
                        let config = GroupConfig {
                            generation: 2,
                            ..config(2, second)
                        };
                        let group = Group::connect(listener, config).unwrap();
                        check_health(&group).unwrap();
                        return;
                    }
                    _ => Group::connect(listener, config(number, first)).unwrap(),
                };
                check_health(&group).unwrap();
                if number == 1 {
                    return;
                }
                let error = group.regroup(0, 1, second.clone()).unwrap_err();
                assert!(matches!(error, Error::InvalidArgument(_)));
                group.regroup(number as u32 / 2, 2, second).unwrap();
                assert_eq!(
                    (group.rank(), group.ranks(), group.generation()),
                    (number as u32 / 2, 3, 2)
                );
                check_health(&group).unwrap();
            });
        }
    });
}

#[test]
fn a_slower_rank_finishes_its_operation_while_others_regroup() {
    let all = listeners(3);
    let members = members(&all, &even_ranges(8, 3));
    std::thread::scope(|threads| {
        for (rank, listener) in all.into_iter().enumerate() {
            let members = members.clone();
            threads.spawn(move || {
                let mut group = Group::connect(listener, config(rank, members.clone())).unwrap();
                for generation in 2..8 {
                    if rank as u64 == generation % 3 {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    check_health(&group).unwrap();
                    group
                        .regroup(rank as u32, generation, members.clone())
                        .unwrap();
                }
            });
        }
    });
}

#[test]
fn leaving_early_does_not_hurt_those_who_are_done_with_the_leaver() {
    let have_looked = std::sync::Barrier::new(2);
    on_group(3, |group| {
        check_health(&group).unwrap();
        if group.rank() == 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
        assert!(group.failure().is_none(), "{:?}", group.failure());
        have_looked.wait();
        let began = Instant::now();
        let error = group.barrier().unwrap_err();
        assert!(
            matches!(&error, Error::PeerLost { peer, loss: crate::Loss::Left, .. } if peer.rank == 1)
                || matches!(&error, Error::PeerAborted { .. } | Error::Poisoned { .. }),
            "{error}"
        );
        assert!(began.elapsed() < Duration::from_secs(10));
    });
}
