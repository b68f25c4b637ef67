//! Groups of threads on the loopback interface, and what the tests of this folder share.

mod buckets;
mod failure;
mod faults;
mod formation;
#[cfg(target_os = "linux")]
mod share;
#[cfg(target_os = "linux")]
mod shared;
mod sums;

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::time::Duration;

use crate::{Group, GroupConfig, Listener, Member, Result, even_ranges};

pub(crate) const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(crate) const TOKEN: &str = "a token for tests";

pub(crate) fn listeners(ranks: usize) -> Vec<Listener> {
    (0..ranks)
        .map(|_| Listener::bind(LOCALHOST, 0..=0, TOKEN).unwrap())
        .collect()
}

pub(crate) fn members(listeners: &[Listener], ranges: &[Range<u32>]) -> Vec<Member> {
    let pairs = listeners.iter().zip(ranges);
    pairs
        .map(|(listener, shards)| Member {
            address: listener.address(),
            shards: shards.clone(),
        })
        .collect()
}

/// A configuration that notices failures quickly, but not so quickly that a busy machine looks like
/// one.
pub(crate) fn config(rank: usize, members: Vec<Member>) -> GroupConfig {
    let mut config = GroupConfig::new("tests", rank as u32, members, 1);
    config.timeouts.operation = Duration::from_secs(30);
    config.fingerprint = "scalar".into();
    config
}

/// Runs `body` on every rank of a group whose shards are cut as given; `tune` may change each
/// rank's configuration.
pub(crate) fn on_group_with<R: Send>(
    ranges: &[Range<u32>],
    tune: impl Fn(&mut GroupConfig) + Sync,
    body: impl Fn(Group) -> R + Sync,
) -> Vec<R> {
    let listeners = listeners(ranges.len());
    let members = members(&listeners, ranges);
    std::thread::scope(|threads| {
        let start = |(rank, listener)| {
            let mut config = config(rank, members.clone());
            tune(&mut config);
            let body = &body;
            threads.spawn(move || body(Group::connect(listener, config).unwrap()))
        };
        let running: Vec<_> = listeners.into_iter().enumerate().map(start).collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// The same with V = 8 shards cut evenly and nothing tuned.
pub(crate) fn on_group<R: Send>(ranks: u32, body: impl Fn(Group) -> R + Sync) -> Vec<R> {
    on_group_with(&even_ranges(8, ranks), |_| {}, body)
}

/// What every healthy rank of a group of `ranks` should be able to do.
pub(crate) fn check_health(group: &Group) -> Result<()> {
    let runs = group.partials().len();
    let mut data = vec![0.0f32; 5 * runs.max(1)];
    for (run, subtree) in group.partials().iter().enumerate() {
        data[5 * run..5 * (run + 1)].fill(subtree.span() as f32);
    }
    group.all_reduce(&mut data)?;
    assert_eq!(data[..5], [8.0; 5]);
    let gathered = group.all_gather(&[group.rank() as u8])?;
    assert_eq!(
        gathered,
        (0..group.ranks() as u8)
            .map(|rank| vec![rank])
            .collect::<Vec<_>>()
    );
    Ok(())
}
