//! Counters of a group. Pure data.

use std::time::Duration;

use crate::error::Peer;

/// What went over one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStats {
    /// The other end.
    pub peer: Peer,
    /// Bytes written, headers included.
    pub bytes_sent: u64,
    /// Bytes read, headers included.
    pub bytes_received: u64,
    /// Bytes read directly from the peer's memory.
    pub bytes_read_in_place: u64,
    /// Frames written.
    pub frames_sent: u64,
    /// Frames read.
    pub frames_received: u64,
    /// Frames of an older generation that were dropped.
    pub stale_frames: u64,
}

impl PeerStats {
    pub(crate) fn new(peer: Peer) -> Self {
        PeerStats {
            peer,
            bytes_sent: 0,
            bytes_received: 0,
            bytes_read_in_place: 0,
            frames_sent: 0,
            frames_received: 0,
            stale_frames: 0,
        }
    }
}

/// What a group has done in its present generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// The generation.
    pub generation: u64,
    /// How long forming it took.
    pub formation: Duration,
    /// Operations started.
    pub operations: u64,
    /// The time that callers were blocked in operations, all threads together.
    pub blocked: Duration,
    /// One entry for each other rank.
    pub peers: Vec<PeerStats>,
}
