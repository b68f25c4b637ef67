//! What the engine knows of a collective operation: it says what to send, where arriving data
//! lands, and when it is done. An operation never touches a socket. Imports buffers, frames and
//! errors.

use crate::buffer::{Buffer, Pool, Scratch};
use crate::frame::{Header, Kind};
use crate::shared::Remote;
use crate::tree::Subtree;
use std::ops::Range;

/// Operations on more bytes than this are bulk.
pub(crate) const BULK_BYTES: usize = 4 << 20;

/// Data that an operation wants to have sent to one rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) source: Source,
    pub(crate) piece: u32,
}

/// Which of an operation's data it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// One of the partial sums this rank contributes.
    Partial(usize),
    /// A sum that this rank has joined for its group.
    Joined(Subtree),
    /// The finished data.
    Whole,
    /// Nothing but word that everything a peer's frames referred to has been read.
    Receipt,
}

impl Source {
    /// Whether its receiver adds it up.
    pub(crate) fn is_partial(self) -> bool {
        matches!(self, Source::Partial(_) | Source::Joined(_))
    }

    /// Finished data goes first: it is still in the cache and frees others to finish.
    pub(crate) fn is_urgent(self) -> bool {
        !matches!(self, Source::Partial(_))
    }
}

/// The fields of a frame's header that an operation fills in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Label {
    pub(crate) kind: Kind,
    pub(crate) dtype: u8,
    pub(crate) node: u32,
    pub(crate) total: u64,
    /// Whether the receiver may be referred to the bytes instead of being sent them: they then stay
    /// as they are until the operation knows that they have been read.
    pub(crate) may_refer: bool,
}

/// A payload that has arrived.
#[derive(Debug)]
pub(crate) enum Payload {
    /// Where the operation wanted it.
    InPlace,
    Block(Scratch),
    /// In the sender's memory, to be read from there.
    Remote(Remote),
}

/// Why a frame that has arrived whole was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It contradicts this rank's own call, in these words.
    Contradiction(String),
    /// Its sender has taken back the memory that it referred to, as it does when its generation has
    /// failed. What this rank has read of it may be anything.
    TakenBack,
}

impl From<String> for Refusal {
    fn from(what: String) -> Self {
        Refusal::Contradiction(what)
    }
}

/// The refusal of a peer that refers to memory where it has to send data.
pub(crate) fn unexpected(header: &Header) -> Refusal {
    Refusal::Contradiction(format!(
        "it did not send the {:?} data that it announced",
        header.kind
    ))
}

/// Where a frame's payload is to be put while it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Landing {
    /// In a block of its own, handed over when it is complete.
    Scratch,
    /// In the operation's data, at these bytes.
    InPlace(Range<usize>),
}

/// What an operation can reach while it handles an event.
pub(crate) struct Context<'a> {
    /// Takes what is to be sent to which rank.
    pub(crate) outbox: &'a mut Vec<(usize, Item)>,
    pub(crate) pool: &'a mut Pool,
}

impl Context<'_> {
    pub(crate) fn send(&mut self, to: usize, source: Source, piece: usize) {
        self.outbox.push((
            to,
            Item {
                source,
                piece: piece as u32,
            },
        ));
    }
}

/// What an operation leaves behind.
#[derive(Debug)]
pub(crate) enum Output {
    /// The data it was given, with the result in it.
    Data(Buffer),
    /// One payload for each rank.
    Payloads(Vec<Vec<u8>>),
}

/// A collective operation as a state machine. Its methods are called under the engine's lock.
pub(crate) trait Operation: Send {
    /// What it is, for errors: `all_reduce of 1000 f32`.
    fn name(&self) -> String;

    /// Whether it moves so much that waiting is a matter of milliseconds and not of wake-ups.
    fn is_bulk(&self) -> bool {
        false
    }

    /// Queues what can be sent at once.
    fn start(&mut self, context: &mut Context<'_>);

    /// Decides where a frame's payload lands, or says how the frame contradicts this rank's own
    /// call.
    fn accept(&self, from: usize, header: &Header) -> Result<Landing, String>;

    /// The bytes named by [`Landing::InPlace`].
    fn landing(&mut self, bytes: Range<usize>) -> &mut [u8];

    /// Takes a frame that has arrived whole, or says why not; nothing may be asked of the operation
    /// after a refusal.
    fn receive(
        &mut self,
        from: usize,
        header: &Header,
        payload: Payload,
        context: &mut Context<'_>,
    ) -> Result<(), Refusal>;

    /// The label and the bytes of something queued earlier.
    fn outgoing(&self, item: &Item) -> (Label, &[u8]);

    /// Something queued earlier has been handed to the kernel, or `to` has been referred to it.
    fn sent(&mut self, to: usize, item: &Item, is_referred: bool, context: &mut Context<'_>);

    /// Whether the result is in place and nothing is left to send.
    fn is_complete(&self) -> bool;

    /// The ranks that it still needs data from.
    fn waiting_for(&self) -> Vec<usize>;

    /// Takes the result out.
    fn into_output(self: Box<Self>) -> Output;
}

/// Compares a field of an arriving frame with what this rank expects.
pub(crate) fn expect<T: PartialEq + std::fmt::Display>(
    what: &str,
    got: T,
    expected: T,
) -> Result<(), String> {
    if got == expected {
        Ok(())
    } else {
        Err(format!("its {what} is {got}, here it is {expected}"))
    }
}
