//! What a caller decides about a group: its members, deadlines and tuning. Imports the tree and
//! errors.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::frame::{HEADER_LEN, MAX_PAYLOAD, PROTOCOL_VERSION};
use crate::handshake::MAX_FINGERPRINT;
use crate::tree::Layout;

/// A member of a group. Its rank is its place in the list of members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The address its listener is bound to.
    pub address: SocketAddr,
    /// The logical shards it owns; may be empty. The members' ranges follow each other from 0 to a
    /// power of two.
    pub shards: Range<u32>,
}

/// What to do with a member whose kernels are not the same as this rank's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMismatch {
    /// Form no group with it.
    #[default]
    Refuse,
    /// Log a warning and go on; results may then differ from another placement's in their last
    /// bits.
    Warn,
}

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// Forming a group, from the call to the last connection.
    pub formation: Duration,
    /// A stranger's proof that it knows the token, from its connecting.
    pub handshake: Duration,
    /// Blocking in one operation while all members show signs of life. The kernel also lets sent
    /// data stay unacknowledged for so long.
    pub operation: Duration,
    /// A member that shows no sign of life for so long is lost.
    pub silence: Duration,
    /// A connection on which nothing else is sent carries a heartbeat this often.
    pub heartbeat: Duration,
    /// How long leaving a group waits for the peers to have read everything.
    pub farewell: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            formation: Duration::from_secs(30),
            handshake: Duration::from_secs(2),
            operation: Duration::from_secs(300),
            silence: Duration::from_millis(1500),
            heartbeat: Duration::from_millis(250),
            farewell: Duration::from_millis(500),
        }
    }
}

/// Sizes and times that change the speed and never a result. All members need the same sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// An all-reduce of at most so many bytes takes one round in which everybody sends everybody
    /// its partial sums.
    pub one_round_bytes: usize,
    /// Larger data travels in pieces of so many bytes.
    pub piece_bytes: usize,
    /// With more ranks than this an all-reduce goes over two levels of groups.
    pub direct_ranks: usize,
    /// How long a waiting thread spins before it sleeps.
    pub spin: Duration,
    /// How many bytes may arrive for operations not yet started here before their senders are held
    /// up.
    pub early_bytes: usize,
    /// Members at the same address read payloads of at least so many bytes directly from this
    /// rank's memory, where that is a [`SharedSlice`](crate::SharedSlice); `usize::MAX` for never.
    pub refer_bytes: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            one_round_bytes: 64 << 10,
            piece_bytes: 512 << 10,
            direct_ranks: 16,
            spin: Duration::from_micros(50),
            early_bytes: 1 << 30,
            refer_bytes: 16 << 10,
        }
    }
}

/// Everything a rank needs to know to join a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// The job's name; members of another job are refused even if they know the token.
    pub job: String,
    /// This rank's place in `members`.
    pub rank: u32,
    /// All members, by rank.
    pub members: Vec<Member>,
    /// The number of this formation of the group; every later one has a higher number.
    pub generation: u64,
    /// Names the kernels this rank computes with: at most 192 bytes.
    pub fingerprint: String,
    /// What to do with a member of another fingerprint.
    pub on_mismatch: OnMismatch,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Sizes.
    pub tuning: Tuning,
}

impl GroupConfig {
    /// A configuration with default deadlines and tuning, no fingerprint, and mismatches refused.
    pub fn new(job: impl Into<String>, rank: u32, members: Vec<Member>, generation: u64) -> Self {
        GroupConfig {
            job: job.into(),
            rank,
            members,
            generation,
            fingerprint: String::new(),
            on_mismatch: OnMismatch::default(),
            timeouts: Timeouts::default(),
            tuning: Tuning::default(),
        }
    }

    /// Checks the configuration and gives the shards' layout.
    pub(crate) fn check(&self, own_address: SocketAddr) -> Result<Layout> {
        let invalid = |what: String| Err(Error::InvalidConfig(what));
        let layout = Layout::new(
            self.members
                .iter()
                .map(|member| member.shards.clone())
                .collect(),
        )?;
        let Some(own) = self.members.get(self.rank as usize) else {
            return invalid(format!(
                "rank {} does not exist among {} members",
                self.rank,
                self.members.len()
            ));
        };
        if own.address != own_address {
            return invalid(format!(
                "the members' list has {} for rank {}, but its listener is bound to {own_address}",
                own.address, self.rank
            ));
        }
        if self.fingerprint.len() > MAX_FINGERPRINT {
            return invalid(format!(
                "the fingerprint has {} bytes, the most is {MAX_FINGERPRINT}",
                self.fingerprint.len()
            ));
        }
        let tuning = &self.tuning;
        for (name, size) in [
            ("one_round_bytes", tuning.one_round_bytes),
            ("piece_bytes", tuning.piece_bytes),
        ] {
            if size < HEADER_LEN || size > MAX_PAYLOAD as usize {
                return invalid(format!(
                    "{name} is {size}, expected {HEADER_LEN} to {MAX_PAYLOAD}"
                ));
            }
        }
        if self.timeouts.heartbeat * 2 > self.timeouts.silence {
            return invalid(format!(
                "a heartbeat every {:?} is too rare for a silence of {:?}: it must fit in twice",
                self.timeouts.heartbeat, self.timeouts.silence
            ));
        }
        Ok(layout)
    }

    /// A digest of everything that all members must agree on.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut put = |number: u64| hash.update(number.to_le_bytes());
        put(PROTOCOL_VERSION.into());
        put(self.members.len() as u64);
        for member in &self.members {
            put(member.shards.start.into());
            put(member.shards.end.into());
        }
        put(self.tuning.one_round_bytes as u64);
        put(self.tuning.piece_bytes as u64);
        put(self.tuning.direct_ranks as u64);
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> GroupConfig {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let members = vec![
            Member {
                address: address(1),
                shards: 0..2,
            },
            Member {
                address: address(2),
                shards: 2..4,
            },
        ];
        GroupConfig::new("job", 1, members, 7)
    }

    #[test]
    fn contradictions_are_named() {
        let own = config().members[1].address;
        assert!(config().check(own).is_ok());
        type Case = (fn(&mut GroupConfig), &'static str);
        let cases: [Case; 6] = [
            (|c| c.rank = 2, "rank 2 does not exist"),
            (|c| c.members[1].address.set_port(9), "listener is bound to"),
            (|c| c.fingerprint = "x".repeat(193), "193 bytes"),
            (|c| c.tuning.piece_bytes = 5 << 20, "piece_bytes"),
            (
                |c| c.timeouts.heartbeat = Duration::from_secs(1),
                "too rare",
            ),
            (|c| c.members[1].shards = 2..5, "power of two"),
        ];
        for (spoil, message) in cases {
            let mut config = config();
            spoil(&mut config);
            let error = config.check(own).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn the_digest_covers_what_must_agree_and_nothing_else() {
        let digest = config().digest();
        let mut same = config();
        (same.rank, same.generation, same.tuning.spin) = (0, 8, Duration::ZERO);
        assert_eq!(same.digest(), digest);
        let mut other = config();
        other.members[0].shards = 0..1;
        other.members[1].shards = 1..4;
        assert_ne!(other.digest(), digest);
        let mut other = config();
        other.tuning.piece_bytes *= 2;
        assert_ne!(other.digest(), digest);
    }
}
