//! The crate's one error type. Every failure that another process caused names its rank and
//! address, says what happened and after how long. Imports nothing of the crate.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a collective operation returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A member of the group as errors show it: `rank 2 (10.0.0.3:40011)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The peer's rank in the group.
    pub rank: u32,
    /// The address its listener is bound to.
    pub address: SocketAddr,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} ({})", self.rank, self.address)
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The peer's kernel reset the connection: its process is gone or has closed its sockets.
    Reset,
    /// The stream ended without a farewell: the process died or was killed.
    Closed,
    /// The peer left the group in good order while an operation still needed it.
    Left,
    /// Nothing came, not even a heartbeat: the process is stopped or the link is cut.
    Silent,
    /// Data that was sent stayed unacknowledged for too long: the link is cut.
    Unacknowledged,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loss::Reset => "the connection was reset",
            Loss::Closed => "the connection was closed without a farewell",
            Loss::Left => "it left the group",
            Loss::Silent => "it fell silent",
            Loss::Unacknowledged => "what was sent to it stayed unacknowledged",
        })
    }
}

/// Everything that can go wrong in a group. Cheap to clone: one failure is handed to every waiter.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration of a listener or group contradicts itself. Nothing was sent.
    #[error("invalid configuration: {0}")]
    InvalidConfig(String),
    /// An argument of a call is wrong. The group is unharmed.
    #[error("invalid argument: {0}")]
    InvalidArgument(String),
    /// A call of the operating system failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's answer.
        source: Arc<std::io::Error>,
    },
    /// The group could not be formed in time.
    #[error(
        "generation {generation} was not formed within {elapsed:?}: no connection with {peer}: {reason}"
    )]
    Formation {
        /// The first member that is missing.
        peer: Peer,
        /// The generation that was being formed.
        generation: u64,
        /// How long it was tried.
        elapsed: Duration,
        /// The last thing that went wrong with this member.
        reason: String,
    },
    /// A member proved that it knows the token, but does not fit into this group.
    #[error("{peer} does not fit into generation {generation}: {reason}")]
    Refused {
        /// The member.
        peer: Peer,
        /// The generation that was being formed.
        generation: u64,
        /// What differs.
        reason: String,
    },
    /// A member computes with other kernels, so that its results could differ in their last bits.
    #[error(
        "{peer} has the kernel fingerprint {theirs:?}, this rank has {ours:?}: results would depend on \
         who computes them; use workers of one kind or ask for a warning instead"
    )]
    Fingerprint {
        /// The member.
        peer: Peer,
        /// This rank's fingerprint.
        ours: String,
        /// The member's fingerprint.
        theirs: String,
    },
    /// A newer generation exists: this process was left out and must not go on.
    #[error("generation {ours} is stale: {peer} is already in generation {theirs}")]
    StaleGeneration {
        /// Who said so.
        peer: Peer,
        /// The generation this rank tried to form.
        ours: u64,
        /// The newer generation.
        theirs: u64,
    },
    /// The connection with a member is gone.
    #[error("lost {peer} during {during}: {loss} ({quiet:?} after its last sign of life)")]
    PeerLost {
        /// The member.
        peer: Peer,
        /// How it was lost.
        loss: Loss,
        /// The time since its last sign of life.
        quiet: Duration,
        /// The operation that was in flight, or `idle`.
        during: String,
    },
    /// A member sent bytes that are not what it meant to send.
    #[error("corrupt data from {peer}: {what}")]
    Corrupt {
        /// The member.
        peer: Peer,
        /// What is wrong with the data.
        what: String,
    },
    /// A member does something else than this rank: another operation, length, type or root.
    #[error("{peer} disagrees with this rank: {what}")]
    Mismatch {
        /// The member.
        peer: Peer,
        /// The difference.
        what: String,
    },
    /// A member gave the generation up and said why.
    #[error("{peer} gave the group up: {reason}")]
    PeerAborted {
        /// The member.
        peer: Peer,
        /// Its own error.
        reason: String,
    },
    /// An operation did not finish before its deadline although its members live.
    #[error("{operation} not finished after {elapsed:?}; still waiting for {waiting_for}")]
    Timeout {
        /// The operation.
        operation: String,
        /// How long this rank waited.
        elapsed: Duration,
        /// The members that it waits for.
        waiting_for: String,
    },
    /// [`AbortHandle::abort`](crate::AbortHandle::abort) was called on this rank.
    #[error("aborted: {0}")]
    Aborted(String),
    /// The group failed earlier; a new generation must be formed.
    #[error(
        "generation {generation} has failed and must be formed anew; it failed because: {cause}"
    )]
    Poisoned {
        /// The generation that failed.
        generation: u64,
        /// The first failure.
        cause: Box<Error>,
    },
}

impl Error {
    /// Wraps an error of the operating system.
    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Error::Io {
            what: what.into(),
            source: Arc::new(source),
        }
    }

    /// The member that this error is about, if it is about one.
    pub fn peer(&self) -> Option<Peer> {
        match self {
            Error::Formation { peer, .. }
            | Error::Refused { peer, .. }
            | Error::Fingerprint { peer, .. }
            | Error::StaleGeneration { peer, .. }
            | Error::PeerLost { peer, .. }
            | Error::Corrupt { peer, .. }
            | Error::Mismatch { peer, .. }
            | Error::PeerAborted { peer, .. } => Some(*peer),
            Error::Poisoned { cause, .. } => cause.peer(),
            Error::InvalidConfig(_)
            | Error::InvalidArgument(_)
            | Error::Io { .. }
            | Error::Timeout { .. }
            | Error::Aborted(_) => None,
        }
    }
}
