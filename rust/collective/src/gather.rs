//! All-gather of small payloads, and the barrier, which is an all-gather of nothing. Everybody
//! sends to everybody.

use std::ops::Range;
use std::sync::Arc;

use crate::frame::{Header, Kind};
use crate::operation::{
    Context, Item, Label, Landing, Operation, Output, Payload, Refusal, Source, unexpected,
};
use crate::topology::Topology;

/// A payload travels in frames of at most so many bytes.
const FRAME_BYTES: usize = 1 << 18;
/// The largest payload of one rank.
pub(crate) const MAX_GATHER: usize = 64 << 20;

/// A rank's payload as far as it has arrived.
#[derive(Debug, Default)]
struct Contribution {
    bytes: Vec<u8>,
    is_whole: bool,
}

/// An all-gather in flight.
pub(crate) struct Gather {
    topology: Arc<Topology>,
    is_barrier: bool,
    contributions: Vec<Contribution>,
    missing: usize,
    pending: usize,
}

impl Gather {
    pub(crate) fn new(topology: Arc<Topology>, payload: Vec<u8>, is_barrier: bool) -> Self {
        let missing = topology.ranks() - 1;
        let mut contributions: Vec<_> = (0..topology.ranks())
            .map(|_| Contribution::default())
            .collect();
        contributions[topology.rank()] = Contribution {
            bytes: payload,
            is_whole: true,
        };
        Gather {
            topology,
            is_barrier,
            contributions,
            missing,
            pending: 0,
        }
    }

    fn own(&self) -> &[u8] {
        &self.contributions[self.topology.rank()].bytes
    }
}

impl Operation for Gather {
    fn name(&self) -> String {
        if self.is_barrier {
            "barrier".into()
        } else {
            format!("all_gather of {} bytes", self.own().len())
        }
    }

    fn start(&mut self, context: &mut Context<'_>) {
        let frames = self.own().len().div_ceil(FRAME_BYTES).max(1);
        for piece in 0..frames {
            for to in self.topology.others() {
                self.pending += 1;
                context.send(to, Source::Whole, piece);
            }
        }
    }

    fn accept(&self, from: usize, header: &Header) -> Result<Landing, String> {
        let is_barrier = header.node == 1;
        if header.kind != Kind::Gather || is_barrier != self.is_barrier {
            let theirs = if is_barrier {
                "a barrier"
            } else {
                "another operation"
            };
            return Err(format!(
                "it is in {theirs} ({:?} data), this rank in {}",
                header.kind,
                self.name()
            ));
        }
        let known = &self.contributions[from];
        let start = header.piece as usize * FRAME_BYTES;
        let fits = header.total <= MAX_GATHER as u64
            && !known.is_whole
            && known.bytes.len() == start
            && header.length as usize
                == (header.total as usize)
                    .saturating_sub(start)
                    .min(FRAME_BYTES);
        if !fits {
            return Err(format!(
                "its part {} ({} of {} bytes) of an all_gather comes out of turn",
                header.piece, header.length, header.total
            ));
        }
        Ok(Landing::Scratch)
    }

    fn landing(&mut self, _: Range<usize>) -> &mut [u8] {
        unreachable!("nothing lands in place")
    }

    fn receive(
        &mut self,
        from: usize,
        header: &Header,
        payload: Payload,
        context: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        let known = &mut self.contributions[from];
        match payload {
            Payload::Block(payload) => {
                known.bytes.extend_from_slice(payload.bytes());
                context.pool.give(payload);
            }
            Payload::InPlace | Payload::Remote(_) => return Err(unexpected(header)),
        }
        if known.bytes.len() as u64 == header.total {
            known.is_whole = true;
            self.missing -= 1;
        }
        Ok(())
    }

    fn outgoing(&self, item: &Item) -> (Label, &[u8]) {
        let bytes = self.own();
        let start = item.piece as usize * FRAME_BYTES;
        let end = bytes.len().min(start + FRAME_BYTES);
        let node = u32::from(self.is_barrier);
        let label = Label {
            kind: Kind::Gather,
            dtype: 0,
            node,
            total: bytes.len() as u64,
            may_refer: false,
        };
        (label, &bytes[start..end])
    }

    fn sent(&mut self, _: usize, _: &Item, _: bool, _: &mut Context<'_>) {
        self.pending -= 1;
    }

    fn is_complete(&self) -> bool {
        self.missing == 0 && self.pending == 0
    }

    fn waiting_for(&self) -> Vec<usize> {
        (0..self.contributions.len())
            .filter(|rank| !self.contributions[*rank].is_whole)
            .collect()
    }

    fn into_output(self: Box<Self>) -> Output {
        Output::Payloads(
            self.contributions
                .into_iter()
                .map(|known| known.bytes)
                .collect(),
        )
    }
}
