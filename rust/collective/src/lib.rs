//! Collective communication between the processes of a data-parallel job: rendezvous by address
//! list and token, deterministic all-reduce over TCP, and failures that are noticed within a second
//! or two and say who and why.
//!
//! ```no_run
//! use hornbeam_collective::{Group, GroupConfig, Listener, Member, even_ranges};
//! # fn exchange(own: std::net::SocketAddr) -> Vec<std::net::SocketAddr> { vec![own] }
//! # fn main() -> hornbeam_collective::Result<()> {
//! let listener = Listener::bind("127.0.0.1".parse().unwrap(), 0..=0, "the job's token")?;
//! // A coordinator collects the addresses and gives every rank the same list.
//! let addresses = exchange(listener.address());
//! let ranges = even_ranges(4, addresses.len() as u32);
//! let members = addresses.into_iter().zip(ranges).map(|(address, shards)| Member { address, shards });
//! let group = Group::connect(listener, GroupConfig::new("job", 0, members.collect(), 1))?;
//! // One partial sum for each maximal aligned subtree of this rank's shards.
//! let mut gradients = vec![1.0f32; 1000 * group.partials().len()];
//! group.all_reduce(&mut gradients)?;
//! # Ok(())
//! # }
//! ```
//!
//! Invariants: the result of an all-reduce depends on the values of the V logical shards and never
//! on who owns them; nothing that arrives is interpreted beyond fixed-layout headers; one error
//! ends a generation on all ranks. The crate knows no graph, no Python and no other crate of the
//! workspace.
#![deny(unsafe_code)]

mod all_reduce;
mod broadcast;
mod buffer;
mod config;
mod core;
mod engine;
mod error;
#[cfg(any(test, feature = "fault-injection"))]
pub mod fault;
mod frame;
mod gather;
mod group;
mod handshake;
mod link;
mod operation;
mod rendezvous;
mod scope;
mod share;
mod shared;
mod stats;
mod topology;
mod tree;
mod wake;
mod work;

#[cfg(test)]
mod tests;

pub use buffer::{Element, Memory};
pub use config::{GroupConfig, Member, OnMismatch, Timeouts, Tuning};
pub use error::{Error, Loss, Peer, Result};
pub use group::{Group, Handle, MemoryHandle};
pub use rendezvous::Listener;
pub use scope::{LentHandle, Scope, ScopedHandle};
pub use share::{Region, Shared};
pub use shared::{PeerSlice, RegionPiece, SharedRegion, SharedSlice};
pub use stats::{PeerStats, Stats};
pub use tree::{MAX_SHARDS, Subtree, cover, even_ranges};
pub use wake::AbortHandle;
