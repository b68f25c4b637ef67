//! The deterministic all-reduce: partial sums of subtrees are joined piece by piece along the fixed
//! tree.
//!
//! A rank's data holds one partial sum for each subtree of its cover, one after the other; the
//! result replaces the first. Small data makes one round: everybody gets all partials and adds.
//! Large data makes two (four with groups): each piece's collector joins the partials, its finisher
//! sends the sum back. A sum may land where a partial lies, since nobody can have finished a piece
//! without this rank's partial; `unsent` holds a wrong peer to that.
//!
//! Members on the same machine may be referred to data instead of being sent it. That a partial has
//! been read shows by the sum that comes back; that sums have been read is confirmed by a receipt,
//! one from each rank that was referred to any.

use std::ops::Range;
use std::sync::Arc;

use crate::buffer::{Buffer, Dtype, Pool, Scratch};
use crate::frame::{Header, Kind};
use crate::operation::{
    BULK_BYTES, Context, Item, Label, Landing, Operation, Output, Payload, Refusal, Source, expect,
};
use crate::shared::{self, Remote};
use crate::topology::{Piece, Topology};
use crate::tree::Subtree;

/// Where the sum of a subtree lies.
#[derive(Debug)]
enum Place {
    /// In this rank's data, at the partial of that number.
    Local(usize),
    Scratch(Scratch),
    /// In the memory of the rank that delivers it.
    Remote(Remote),
}

/// The progress of one piece.
#[derive(Debug, Default)]
struct Progress {
    /// The disjoint subtrees whose sums are here; siblings are joined at once.
    sums: Vec<(Subtree, Place)>,
    /// How many shards they cover.
    covered: u32,
    /// How many of this rank's sums for it still have to be sent.
    unsent: usize,
    /// Whether the sum is in place.
    finished: bool,
}

/// An all-reduce in flight.
pub(crate) struct AllReduce {
    topology: Arc<Topology>,
    dtype: Dtype,
    elements: usize,
    data: Buffer,
    one_round: bool,
    pieces: Vec<Piece>,
    progress: Vec<Progress>,
    /// How many pieces lack their sum.
    remaining: usize,
    /// How many items are queued.
    pending: usize,
    /// For each rank, how many sums it still has to send.
    due: Vec<usize>,
    /// The ranks whose sums were read from their memory.
    referrers: Vec<bool>,
    /// The ranks that were referred to sums here and have not confirmed.
    unconfirmed: Vec<bool>,
    /// Whether anybody was referred to this rank's data.
    was_referred: bool,
}

impl AllReduce {
    /// `data` holds `max(partials, 1)` runs of `elements` elements.
    pub(crate) fn new(
        topology: Arc<Topology>,
        dtype: Dtype,
        elements: usize,
        data: Buffer,
        one_round_bytes: usize,
        piece_bytes: usize,
    ) -> Self {
        let one_round = topology.is_direct() && elements * dtype.size() <= one_round_bytes;
        let pieces = if one_round {
            topology.one_piece(elements)
        } else {
            topology.pieces(elements, dtype.size(), piece_bytes)
        };
        let progress: Vec<_> = pieces.iter().map(|_| Progress::default()).collect();
        let remaining = pieces.len();
        let ranks = topology.ranks();
        let mut reduce = AllReduce {
            topology,
            dtype,
            elements,
            data,
            one_round,
            pieces,
            progress,
            remaining,
            pending: 0,
            due: vec![0; ranks],
            referrers: vec![false; ranks],
            unconfirmed: vec![false; ranks],
            was_referred: false,
        };
        for piece in 0..reduce.pieces.len() {
            if !reduce.finishes(piece) {
                let source = reduce.sum_source(piece);
                reduce.due[source] += 1;
            }
        }
        reduce
    }

    /// Notes that a rank's sum is here; confirms the last one if any was only referred to.
    fn count_sum(&mut self, from: usize, context: &mut Context<'_>) {
        self.due[from] -= 1;
        if self.due[from] == 0 && self.referrers[from] {
            self.pending += 1;
            context.send(from, Source::Receipt, 0);
        }
    }

    /// The bytes of a piece within the partial of that number.
    fn bytes_of(&self, partial: usize, piece: usize) -> Range<usize> {
        let size = self.dtype.size();
        let start = partial * self.elements;
        let elements = &self.pieces[piece].elements;
        (start + elements.start) * size..(start + elements.end) * size
    }

    fn finishes(&self, piece: usize) -> bool {
        self.one_round || self.topology.finisher(&self.pieces[piece]) == self.topology.rank()
    }

    fn collects(&self, piece: usize) -> bool {
        self.one_round || self.topology.collector(&self.pieces[piece]) == self.topology.rank()
    }

    /// The subtrees this rank may get from another for a piece.
    fn delivered(&self, piece: usize, from: usize) -> &[Subtree] {
        if self.one_round {
            self.topology.cover_of(from)
        } else {
            self.topology.delivered(&self.pieces[piece], from)
        }
    }

    /// The rank that sends this rank a piece's sum.
    fn sum_source(&self, piece: usize) -> usize {
        let piece = &self.pieces[piece];
        let collector = self.topology.collector(piece);
        if collector == self.topology.rank() {
            self.topology.finisher(piece)
        } else {
            collector
        }
    }

    fn send(&mut self, to: usize, source: Source, piece: usize, context: &mut Context<'_>) {
        self.pending += 1;
        self.progress[piece].unsent += usize::from(source.is_partial());
        context.send(to, source, piece);
    }

    /// Adds a subtree's sum to a piece and joins siblings as long as there are any.
    fn insert(
        &mut self,
        piece: usize,
        mut subtree: Subtree,
        mut place: Place,
        pool: &mut Pool,
    ) -> Result<(), Refusal> {
        self.progress[piece].covered += subtree.span();
        while let Some(at) = self.progress[piece]
            .sums
            .iter()
            .position(|(known, _)| *known == subtree.sibling())
        {
            let (_, other) = self.progress[piece].sums.swap_remove(at);
            let (left, right) = if subtree.is_left() {
                (place, other)
            } else {
                (other, place)
            };
            place = self.join(piece, left, right, pool)?;
            subtree = subtree.parent();
        }
        self.progress[piece].sums.push((subtree, place));
        Ok(())
    }

    /// `left + right`, in the memory of one of them if that may be written.
    fn join(
        &mut self,
        piece: usize,
        left: Place,
        right: Place,
        pool: &mut Pool,
    ) -> Result<Place, Refusal> {
        // A partial that is still to be sent must not be overwritten.
        let keep = self.progress[piece].unsent > 0;
        let (mut target, other, target_is_left) = match (left, right) {
            (left @ Place::Local(_), right) if !keep => (left, right, true),
            (left, right @ Place::Local(_)) if !keep => (right, left, false),
            (left @ Place::Scratch(_), right) => (left, right, true),
            (left, right @ Place::Scratch(_)) => (right, left, false),
            (left, right) => {
                let mut copy = pool.take(self.bytes_of(0, piece).len());
                copy.bytes_mut()
                    .copy_from_slice(self.bytes_at(&left, piece));
                release(left, pool)?;
                (Place::Scratch(copy), right, true)
            }
        };
        match (&mut target, &other) {
            (Place::Local(target), Place::Local(other)) => {
                let (target, other) = (self.bytes_of(*target, piece), self.bytes_of(*other, piece));
                let (target, other) = self.data.pair(target, other);
                self.dtype.add(target, other, target_is_left);
            }
            (Place::Local(target), Place::Scratch(other)) => {
                let target = self.bytes_of(*target, piece);
                let target = &mut self.data.bytes_mut()[target];
                self.dtype.add(target, other.bytes(), target_is_left);
            }
            (Place::Local(target), Place::Remote(other)) => {
                let target = self.bytes_of(*target, piece);
                let target = &mut self.data.bytes_mut()[target];
                self.dtype.add(target, other.bytes(), target_is_left);
            }
            (Place::Scratch(target), other) => {
                let other = self.bytes_at(other, piece);
                self.dtype.add(target.bytes_mut(), other, target_is_left);
            }
            (Place::Remote(_), _) => unreachable!("others' memory is never written"),
        }
        release(other, pool)?;
        Ok(target)
    }

    /// The bytes of a sum.
    fn bytes_at<'a>(&'a self, place: &'a Place, piece: usize) -> &'a [u8] {
        match place {
            Place::Local(partial) => &self.data.bytes()[self.bytes_of(*partial, piece)],
            Place::Scratch(scratch) => scratch.bytes(),
            Place::Remote(remote) => remote.bytes(),
        }
    }

    /// Hands a piece on once all that this rank joins for it is here.
    fn advance(&mut self, piece: usize, context: &mut Context<'_>) -> Result<(), Refusal> {
        let progress = &self.progress[piece];
        if progress.finished || !self.collects(piece) {
            return Ok(());
        }
        if self.finishes(piece) {
            // In one round the partials leave from the very place where the sum is to lie.
            if progress.covered == self.topology.layout().shards() && progress.unsent == 0 {
                self.put_in_place(piece, context.pool)?;
                self.spread(piece, true, context);
            }
        } else if progress.covered == self.topology.group_span() && progress.unsent == 0 {
            let finisher = self.topology.finisher(&self.pieces[piece]);
            for at in 0..self.progress[piece].sums.len() {
                let subtree = self.progress[piece].sums[at].0;
                self.send(finisher, Source::Joined(subtree), piece, context);
            }
        }
        Ok(())
    }

    /// Moves a finished piece's sum into the first run of the data.
    fn put_in_place(&mut self, piece: usize, pool: &mut Pool) -> Result<(), Refusal> {
        let (_, place) = self.progress[piece]
            .sums
            .pop()
            .expect("all shards are covered by the root");
        let target = self.bytes_of(0, piece);
        match place {
            Place::Local(0) => {}
            Place::Local(partial) => {
                let source = self.bytes_of(partial, piece);
                self.data.bytes_mut().copy_within(source, target.start);
            }
            Place::Scratch(scratch) => {
                self.data.bytes_mut()[target].copy_from_slice(scratch.bytes());
                pool.give(scratch);
            }
            Place::Remote(remote) => return self.copy_in(target, &remote),
        }
        Ok(())
    }

    /// Copies another rank's data to a place in this rank's.
    fn copy_in(&mut self, target: Range<usize>, remote: &Remote) -> Result<(), Refusal> {
        self.data.bytes_mut()[target].copy_from_slice(remote.bytes());
        remote.is_valid().then_some(()).ok_or(Refusal::TakenBack)
    }

    /// Marks a piece as finished and sends its sum to those who get it from this rank.
    fn spread(&mut self, piece: usize, is_finisher: bool, context: &mut Context<'_>) {
        self.progress[piece].finished = true;
        self.remaining -= 1;
        if self.one_round || !self.collects(piece) {
            return;
        }
        let topology = Arc::clone(&self.topology);
        if is_finisher {
            let shape = self.pieces[piece].clone();
            for rank in topology.foreign_collectors(&shape) {
                self.send(rank, Source::Whole, piece, context);
            }
        }
        let group = topology.group();
        for rank in topology.others().filter(|rank| group.contains(rank)) {
            self.send(rank, Source::Whole, piece, context);
        }
    }

    fn accept_partial(
        &self,
        from: usize,
        piece: usize,
        header: &Header,
    ) -> Result<Landing, String> {
        let subtree = Subtree::from_wire(header.node, self.topology.layout().shards())
            .filter(|subtree| self.delivered(piece, from).contains(subtree))
            .ok_or_else(|| {
                format!(
                    "it sent a partial sum ({:#x}) that is not its own",
                    header.node
                )
            })?;
        let shard = subtree.shards().start;
        if self.holds(piece, shard) {
            return Err(format!(
                "it sent the partial sum of the shards {:?} twice",
                subtree.shards()
            ));
        }
        Ok(Landing::Scratch)
    }

    fn accept_sum(&self, from: usize, piece: usize) -> Result<Landing, String> {
        let progress = &self.progress[piece];
        if self.one_round || self.finishes(piece) || self.sum_source(piece) != from {
            return Err(format!(
                "it sent the sum of piece {piece}, which is not its to send"
            ));
        }
        if progress.finished || progress.unsent > 0 {
            return Err(format!(
                "it sent the sum of piece {piece} at a time when it cannot know it"
            ));
        }
        Ok(Landing::InPlace(self.bytes_of(0, piece)))
    }

    /// Whether the sum of a shard has arrived as part of some subtree.
    fn holds(&self, piece: usize, shard: u32) -> bool {
        let progress = &self.progress[piece];
        let handed_on = !self.finishes(piece) && progress.covered == self.topology.group_span();
        progress.finished
            || handed_on
            || progress
                .sums
                .iter()
                .any(|(subtree, _)| subtree.shards().contains(&shard))
    }
}

/// Lets go of a sum that has been read.
fn release(place: Place, pool: &mut Pool) -> Result<(), Refusal> {
    match place {
        Place::Local(_) => Ok(()),
        Place::Scratch(scratch) => {
            pool.give(scratch);
            Ok(())
        }
        Place::Remote(remote) => remote.is_valid().then_some(()).ok_or(Refusal::TakenBack),
    }
}

impl Drop for AllReduce {
    fn drop(&mut self) {
        // Its memory goes back to the lender although somebody may still read there.
        if self.was_referred && !self.is_complete() {
            shared::revoke(self.data.bytes());
        }
    }
}

impl Operation for AllReduce {
    fn name(&self) -> String {
        format!("all_reduce of {} {}", self.elements, self.dtype.name())
    }

    fn is_bulk(&self) -> bool {
        self.elements * self.dtype.size() > BULK_BYTES
    }

    fn start(&mut self, context: &mut Context<'_>) {
        let topology = Arc::clone(&self.topology);
        let own = topology.cover_of(topology.rank());
        for piece in 0..self.pieces.len() {
            for partial in 0..own.len() {
                if self.one_round {
                    topology
                        .others()
                        .for_each(|to| self.send(to, Source::Partial(partial), piece, context));
                } else if !self.collects(piece) {
                    let collector = topology.collector(&self.pieces[piece]);
                    self.send(collector, Source::Partial(partial), piece, context);
                }
            }
            if self.collects(piece) {
                for (partial, subtree) in own.iter().enumerate() {
                    self.insert(piece, *subtree, Place::Local(partial), context.pool)
                        .expect("nothing here is another's");
                }
            }
            self.advance(piece, context)
                .expect("nothing here is another's");
        }
    }

    fn accept(&self, from: usize, header: &Header) -> Result<Landing, String> {
        if header.kind == Kind::Receipt && self.unconfirmed[from] {
            return Ok(Landing::Scratch);
        }
        if !matches!(header.kind, Kind::Partial | Kind::Sum) {
            return Err(format!(
                "it sent {:?} data into an {}",
                header.kind,
                self.name()
            ));
        }
        expect("element type", header.dtype, self.dtype as u8)?;
        expect("number of elements", header.total, self.elements as u64)?;
        let piece = header.piece as usize;
        if piece >= self.pieces.len() {
            return Err(format!("it sent piece {piece} of {}", self.pieces.len()));
        }
        expect(
            "piece length in bytes",
            header.length as usize,
            self.bytes_of(0, piece).len(),
        )?;
        match header.kind {
            Kind::Partial => self.accept_partial(from, piece, header),
            _ => self.accept_sum(from, piece),
        }
    }

    fn landing(&mut self, bytes: Range<usize>) -> &mut [u8] {
        &mut self.data.bytes_mut()[bytes]
    }

    fn receive(
        &mut self,
        from: usize,
        header: &Header,
        payload: Payload,
        context: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        let piece = header.piece as usize;
        if let Payload::Remote(remote) = &payload
            && !remote.is_aligned(self.dtype.size())
        {
            return Err(String::from("it referred to memory that is not aligned").into());
        }
        if header.kind == Kind::Receipt {
            self.unconfirmed[from] = false;
            return Ok(());
        }
        let target = self.bytes_of(0, piece);
        if header.kind == Kind::Sum {
            match payload {
                Payload::InPlace => {}
                Payload::Block(payload) => {
                    self.data.bytes_mut()[target].copy_from_slice(payload.bytes());
                    context.pool.give(payload);
                }
                Payload::Remote(remote) => {
                    self.copy_in(target, &remote)?;
                    self.referrers[from] = true;
                }
            }
            self.count_sum(from, context);
            self.spread(piece, false, context);
            return Ok(());
        }
        let shards = self.topology.layout().shards();
        let subtree = Subtree::from_wire(header.node, shards).expect("checked by accept");
        let place = match payload {
            Payload::Block(payload) => Place::Scratch(payload),
            Payload::Remote(remote) => Place::Remote(remote),
            Payload::InPlace => unreachable!("partials never land in place"),
        };
        self.insert(piece, subtree, place, context.pool)?;
        self.advance(piece, context)
    }

    fn outgoing(&self, item: &Item) -> (Label, &[u8]) {
        let piece = item.piece as usize;
        let label = Label {
            kind: match item.source {
                Source::Whole => Kind::Sum,
                Source::Receipt => Kind::Receipt,
                Source::Partial(_) | Source::Joined(_) => Kind::Partial,
            },
            dtype: self.dtype as u8,
            node: 0,
            total: self.elements as u64,
            may_refer: !self.one_round,
        };
        match item.source {
            Source::Receipt => (label, &[]),
            Source::Whole => (label, &self.data.bytes()[self.bytes_of(0, piece)]),
            Source::Partial(partial) => {
                let node = self.topology.cover_of(self.topology.rank())[partial].to_wire();
                (
                    Label { node, ..label },
                    &self.data.bytes()[self.bytes_of(partial, piece)],
                )
            }
            Source::Joined(subtree) => {
                let sums = &self.progress[piece].sums;
                let (_, place) = sums
                    .iter()
                    .find(|(known, _)| *known == subtree)
                    .expect("kept until it is sent");
                let bytes = self.bytes_at(place, piece);
                (
                    Label {
                        node: subtree.to_wire(),
                        ..label
                    },
                    bytes,
                )
            }
        }
    }

    fn sent(&mut self, to: usize, item: &Item, is_referred: bool, context: &mut Context<'_>) {
        let piece = item.piece as usize;
        self.pending -= 1;
        self.was_referred |= is_referred;
        let progress = &mut self.progress[piece];
        match item.source {
            Source::Whole => self.unconfirmed[to] |= is_referred,
            Source::Receipt => {}
            Source::Partial(_) => {
                progress.unsent -= 1;
                if self.one_round {
                    self.advance(piece, context)
                        .expect("in one round nothing is referred to");
                }
            }
            Source::Joined(_) => {
                progress.unsent -= 1;
                if progress.unsent == 0 {
                    for (_, place) in progress.sums.drain(..) {
                        if let Place::Scratch(scratch) = place {
                            context.pool.give(scratch);
                        }
                    }
                }
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.remaining == 0 && self.pending == 0 && !self.unconfirmed.contains(&true)
    }

    fn waiting_for(&self) -> Vec<usize> {
        let mut ranks = self.unconfirmed.clone();
        for piece in (0..self.pieces.len()).filter(|piece| !self.progress[*piece].finished) {
            let mut missing = false;
            for from in self.topology.others().filter(|_| self.collects(piece)) {
                let subtrees = self.delivered(piece, from);
                if subtrees
                    .iter()
                    .any(|subtree| !self.holds(piece, subtree.shards().start))
                {
                    (ranks[from], missing) = (true, true);
                }
            }
            if !missing && !self.finishes(piece) {
                ranks[self.sum_source(piece)] = true;
            }
        }
        (0..ranks.len()).filter(|rank| ranks[*rank]).collect()
    }

    fn into_output(mut self: Box<Self>) -> Output {
        Output::Data(std::mem::take(&mut self.data))
    }
}
