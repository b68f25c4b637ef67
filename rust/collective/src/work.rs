//! The table of operations in flight, and frames that came for operations this rank has not started
//! yet.
//!
//! Frames find their operation by its key; what comes early waits in scratch blocks and is replayed
//! at the start. Imports operations, frames and buffers; no sockets.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::ops::Range;

use crate::buffer::Pool;
use crate::frame::{Header, OpKey};
use crate::operation::{Context, Item, Label, Landing, Operation, Output, Payload, Refusal};

enum Entry {
    /// Frames, with their senders, for an operation that has not been started here.
    Early(Vec<(usize, Header, Payload)>),
    Active(Box<dyn Operation>),
}

/// What to do with a frame whose header has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Accept {
    Land(Landing),
    /// Too much waits already: leave it in the socket.
    Hold,
}

/// The operations of a generation.
pub(crate) struct Work {
    table: HashMap<OpKey, Entry>,
    /// How many operations of each bucket were started here.
    sequences: HashMap<u32, u64>,
    /// What operations want to have sent, not yet queued at its link.
    pub(crate) outbox: Vec<(OpKey, usize, Item)>,
    items: Vec<(usize, Item)>,
    pub(crate) pool: Pool,
    early_bytes: usize,
    early_limit: usize,
    pub(crate) started: u64,
}

impl Work {
    pub(crate) fn new(early_limit: usize) -> Self {
        Work {
            table: HashMap::new(),
            sequences: HashMap::new(),
            outbox: Vec::new(),
            items: Vec::new(),
            pool: Pool::default(),
            early_bytes: 0,
            early_limit,
            started: 0,
        }
    }

    /// The key that the bucket's next operation gets; none if its last one has not been waited for.
    pub(crate) fn next_key(&self, bucket: u32) -> Option<OpKey> {
        let sequence = self.sequences.get(&bucket).copied().unwrap_or(0);
        let last = sequence
            .checked_sub(1)
            .map(|sequence| OpKey { bucket, sequence });
        let is_free = last.is_none_or(|last| !self.table.contains_key(&last));
        is_free.then_some(OpKey { bucket, sequence })
    }

    /// Starts an operation and hands it what came early. The sender of a frame that it refuses is
    /// returned with the reason.
    pub(crate) fn start(
        &mut self,
        key: OpKey,
        operation: Box<dyn Operation>,
    ) -> Result<(), (usize, Refusal)> {
        *self.sequences.entry(key.bucket).or_default() += 1;
        self.started += 1;
        let early = match self.table.insert(key, Entry::Active(operation)) {
            Some(Entry::Early(frames)) => frames,
            Some(Entry::Active(_)) | None => Vec::new(),
        };
        self.with(key, |operation, context| operation.start(context));
        for (from, header, payload) in early {
            self.early_bytes -= header.following();
            let taken = self.with(key, |op, context| {
                op.accept(from, &header)?;
                op.receive(from, &header, payload, context)
            });
            if let Some(Err(refusal)) = taken {
                return Err((from, refusal));
            }
        }
        Ok(())
    }

    /// Calls an operation with its context and collects what it wants to send.
    fn with<R>(
        &mut self,
        key: OpKey,
        call: impl FnOnce(&mut dyn Operation, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let Some(Entry::Active(operation)) = self.table.get_mut(&key) else {
            return None;
        };
        let mut context = Context {
            outbox: &mut self.items,
            pool: &mut self.pool,
        };
        let result = call(operation.as_mut(), &mut context);
        self.outbox
            .extend(self.items.drain(..).map(|(to, item)| (key, to, item)));
        Some(result)
    }

    fn active(&self, key: OpKey) -> Option<&dyn Operation> {
        match self.table.get(&key) {
            Some(Entry::Active(operation)) => Some(operation.as_ref()),
            Some(Entry::Early(_)) | None => None,
        }
    }

    /// Decides about a frame whose header has arrived, or says how it contradicts this rank.
    pub(crate) fn accept(&self, from: usize, header: &Header) -> Result<Accept, String> {
        if let Some(operation) = self.active(header.key) {
            return operation.accept(from, header).map(Accept::Land);
        }
        if header.key.sequence < self.sequences.get(&header.key.bucket).copied().unwrap_or(0) {
            return Err(format!(
                "it sent {:?} data for an operation that is over here",
                header.kind
            ));
        }
        let has_room = self.early_bytes + header.following() <= self.early_limit;
        Ok(if has_room {
            Accept::Land(Landing::Scratch)
        } else {
            Accept::Hold
        })
    }

    /// The memory into which an operation has a frame land in place.
    pub(crate) fn landing(&mut self, key: OpKey, bytes: Range<usize>) -> Option<&mut [u8]> {
        match self.table.get_mut(&key) {
            Some(Entry::Active(operation)) => Some(operation.landing(bytes)),
            Some(Entry::Early(_)) | None => None,
        }
    }

    /// Hands over a frame that has arrived whole.
    pub(crate) fn deliver(
        &mut self,
        from: usize,
        header: &Header,
        payload: Payload,
    ) -> Result<(), Refusal> {
        if self.active(header.key).is_some() {
            let taken = self.with(header.key, |op, context| {
                // It may have been started while the frame was arriving.
                op.accept(from, header)?;
                op.receive(from, header, payload, context)
            });
            return taken.unwrap_or(Ok(()));
        }
        if matches!(payload, Payload::InPlace) {
            return Err(String::from("its operation is gone").into());
        }
        self.early_bytes += header.following();
        match self.table.entry(header.key) {
            Slot::Occupied(mut entry) => {
                if let Entry::Early(frames) = entry.get_mut() {
                    frames.push((from, *header, payload));
                }
            }
            Slot::Vacant(entry) => drop(entry.insert(Entry::Early(vec![(from, *header, payload)]))),
        }
        Ok(())
    }

    /// The label and bytes of something queued; none if its operation is gone.
    pub(crate) fn outgoing(&self, key: OpKey, item: &Item) -> Option<(Label, &[u8])> {
        self.active(key).map(|operation| operation.outgoing(item))
    }

    /// Something queued has been handed to the kernel, or the receiver has been referred to it.
    pub(crate) fn sent(&mut self, to: usize, key: OpKey, item: &Item, is_referred: bool) {
        self.with(key, |operation, context| {
            operation.sent(to, item, is_referred, context)
        });
    }

    pub(crate) fn is_complete(&self, key: OpKey) -> bool {
        self.active(key).is_some_and(Operation::is_complete)
    }

    /// Takes a complete operation's result out.
    pub(crate) fn take(&mut self, key: OpKey) -> Option<Output> {
        if !self.is_complete(key) {
            return None;
        }
        self.remove(key).map(Operation::into_output)
    }

    /// Drops an operation in whatever state it is.
    pub(crate) fn remove(&mut self, key: OpKey) -> Option<Box<dyn Operation>> {
        match self.table.remove(&key) {
            Some(Entry::Active(operation)) => Some(operation),
            Some(Entry::Early(_)) | None => None,
        }
    }

    /// The operations that are started and not complete.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = (&OpKey, &dyn Operation)> {
        self.table.iter().filter_map(|(key, entry)| match entry {
            Entry::Active(operation) if !operation.is_complete() => Some((key, operation.as_ref())),
            Entry::Active(_) | Entry::Early(_) => None,
        })
    }

    pub(crate) fn get(&self, key: OpKey) -> Option<&dyn Operation> {
        self.active(key)
    }
}
