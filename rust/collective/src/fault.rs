//! The fault injector: what to break when a rank starts its k-th operation. Compiled for tests and
//! under the feature `fault-injection` only; without it the hooks in the engine and the links do
//! not exist.

use std::time::Duration;

/// Something that goes wrong on the rank that is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Close all connections without a farewell, as a killed process does.
    Die,
    /// Neither read nor write for so long, heartbeats included, as a stopped process does.
    Stop(Duration),
    /// Lose the next frame of an operation to a rank.
    Drop {
        /// The receiver.
        to: u32,
    },
    /// Hold everything for a rank back for so long.
    Delay {
        /// The receiver.
        to: u32,
        /// How long.
        time: Duration,
    },
    /// Flip the bits of one byte of the next operation frame to a rank.
    Corrupt {
        /// The receiver.
        to: u32,
        /// Which byte of header and payload, modulo their length.
        byte: usize,
    },
    /// Send a rank a frame of an older generation before the next one.
    Stale {
        /// The receiver.
        to: u32,
    },
}

impl Fault {
    /// The rank whose connection is affected, if it is one.
    pub(crate) fn target(self) -> Option<u32> {
        match self {
            Fault::Drop { to }
            | Fault::Delay { to, .. }
            | Fault::Corrupt { to, .. }
            | Fault::Stale { to } => Some(to),
            Fault::Die | Fault::Stop(_) => None,
        }
    }
}

/// Faults by the number of operations started before, in the present generation.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan(Vec<(u64, Fault)>);

impl FaultPlan {
    /// Adds a fault that happens when the operation of that number (from 0) is started.
    #[must_use]
    pub fn at(mut self, operation: u64, fault: Fault) -> Self {
        self.0.push((operation, fault));
        self
    }

    /// The faults due at an operation.
    pub(crate) fn due(&self, operation: u64) -> Vec<Fault> {
        self.0
            .iter()
            .filter(|(at, _)| *at == operation)
            .map(|(_, fault)| *fault)
            .collect()
    }
}
