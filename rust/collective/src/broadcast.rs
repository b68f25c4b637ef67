//! Broadcast of one rank's bytes to all others. The root sends small data to everybody; of large
//! data it sends each piece to one rank, who passes it on, so that the root's link carries the data
//! once whatever the number of ranks.

use std::ops::Range;
use std::sync::Arc;

use crate::buffer::Buffer;
use crate::frame::{Header, Kind};
use crate::operation::{
    BULK_BYTES, Context, Item, Label, Landing, Operation, Output, Payload, Refusal, Source, expect,
    unexpected,
};
use crate::topology::Topology;

/// Data from this size on is passed on by the receivers.
const RELAYED_BYTES: usize = 1 << 20;

/// A broadcast in flight.
pub(crate) struct Broadcast {
    topology: Arc<Topology>,
    root: usize,
    data: Buffer,
    length: usize,
    piece_bytes: usize,
    arrived: Vec<bool>,
    missing: usize,
    pending: usize,
}

impl Broadcast {
    pub(crate) fn new(
        topology: Arc<Topology>,
        root: usize,
        data: Buffer,
        piece_bytes: usize,
    ) -> Self {
        let length = data.bytes().len();
        // Even nothing takes one frame, so that a receiver knows that the root was there.
        let pieces = length.div_ceil(piece_bytes).max(1);
        let is_root = topology.rank() == root;
        Broadcast {
            topology,
            root,
            data,
            length,
            piece_bytes,
            arrived: vec![is_root; pieces],
            missing: if is_root { 0 } else { pieces },
            pending: 0,
        }
    }

    fn bytes_of(&self, piece: usize) -> Range<usize> {
        let start = piece * self.piece_bytes;
        start..self.length.min(start + self.piece_bytes)
    }

    /// The rank that passes a piece on.
    fn relay(&self, piece: usize) -> usize {
        let ranks = self.topology.ranks();
        if self.length < RELAYED_BYTES || ranks < 3 {
            return self.root;
        }
        (self.root + 1 + piece % (ranks - 1)) % ranks
    }

    fn send(&mut self, to: usize, piece: usize, context: &mut Context<'_>) {
        self.pending += 1;
        context.send(to, Source::Whole, piece);
    }
}

impl Operation for Broadcast {
    fn name(&self) -> String {
        format!("broadcast of {} bytes from rank {}", self.length, self.root)
    }

    fn is_bulk(&self) -> bool {
        self.length > BULK_BYTES
    }

    fn start(&mut self, context: &mut Context<'_>) {
        if self.topology.rank() != self.root {
            return;
        }
        for piece in 0..self.arrived.len() {
            let relay = self.relay(piece);
            if relay == self.root {
                self.topology
                    .others()
                    .for_each(|to| self.send(to, piece, context));
            } else {
                self.send(relay, piece, context);
            }
        }
    }

    fn accept(&self, from: usize, header: &Header) -> Result<Landing, String> {
        if header.kind != Kind::Broadcast {
            return Err(format!(
                "it sent {:?} data into a {}",
                header.kind,
                self.name()
            ));
        }
        expect("root", header.node, self.root as u32)?;
        expect("length in bytes", header.total, self.length as u64)?;
        let piece = header.piece as usize;
        if piece >= self.arrived.len() || self.arrived[piece] {
            return Err(format!(
                "it sent piece {piece} of a {} that is not missing",
                self.name()
            ));
        }
        expect(
            "piece length in bytes",
            header.length as usize,
            self.bytes_of(piece).len(),
        )?;
        let relay = self.relay(piece);
        let sender = if relay == self.topology.rank() {
            self.root
        } else {
            relay
        };
        if from != sender {
            return Err(format!(
                "it sent piece {piece} of a {}, which is rank {sender}'s to send",
                self.name()
            ));
        }
        Ok(Landing::InPlace(self.bytes_of(piece)))
    }

    fn landing(&mut self, bytes: Range<usize>) -> &mut [u8] {
        &mut self.data.bytes_mut()[bytes]
    }

    fn receive(
        &mut self,
        _: usize,
        header: &Header,
        payload: Payload,
        context: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        let piece = header.piece as usize;
        match payload {
            Payload::InPlace => {}
            Payload::Block(payload) => {
                let target = self.bytes_of(piece);
                self.data.bytes_mut()[target].copy_from_slice(payload.bytes());
                context.pool.give(payload);
            }
            Payload::Remote(_) => return Err(unexpected(header)),
        }
        self.arrived[piece] = true;
        self.missing -= 1;
        if self.relay(piece) == self.topology.rank() {
            let root = self.root;
            for to in self.topology.others().filter(|to| *to != root) {
                self.send(to, piece, context);
            }
        }
        Ok(())
    }

    fn outgoing(&self, item: &Item) -> (Label, &[u8]) {
        let label = Label {
            kind: Kind::Broadcast,
            dtype: 0,
            node: self.root as u32,
            total: self.length as u64,
            may_refer: false,
        };
        (
            label,
            &self.data.bytes()[self.bytes_of(item.piece as usize)],
        )
    }

    fn sent(&mut self, _: usize, _: &Item, _: bool, _: &mut Context<'_>) {
        self.pending -= 1;
    }

    fn is_complete(&self) -> bool {
        self.missing == 0 && self.pending == 0
    }

    fn waiting_for(&self) -> Vec<usize> {
        let mut ranks: Vec<_> = (0..self.arrived.len())
            .filter(|piece| !self.arrived[*piece])
            .map(|piece| self.relay(piece))
            .map(|relay| {
                if relay == self.topology.rank() {
                    self.root
                } else {
                    relay
                }
            })
            .collect();
        ranks.sort_unstable();
        ranks.dedup();
        ranks
    }

    fn into_output(self: Box<Self>) -> Output {
        Output::Data(self.data)
    }
}
