//! One connection: frames queued, written, read, checked and handed to the table of operations.
//!
//! Reading goes through a small stage, so that a header and the beginning of its payload take one
//! system call; the rest of a payload is read straight to where it belongs. Writing gathers header
//! and payload. Both stop at what the socket takes now, so two ranks that send each other a lot
//! never wait for each other. A peer on this machine is only told where a large payload is.
//! Imports frames and the table.

mod faults;
mod local;
mod receive;
mod send;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::buffer::Scratch;
use crate::error::{Error, Loss, Peer};
#[cfg(any(test, feature = "fault-injection"))]
use crate::fault::Fault;
use crate::frame::{Checksum, HEADER_LEN, Header, Kind, OpKey};
use crate::operation::Item;
use crate::shared::Remote;
use crate::stats::PeerStats;
use crate::wake::Want;
use crate::work::Work;

const STAGE_LEN: usize = 16 << 10;
/// One turn moves at most about so many bytes each way, so that the other way gets its turn.
const TURN_BYTES: usize = 1 << 20;
/// So many frames at most are written by one system call.
const MOST_AT_ONCE: usize = 16;
/// What a peer's reason for giving up may take.
const MAX_REASON: usize = 1 << 10;

#[derive(Debug)]
enum Payload {
    Owned(Vec<u8>),
    Of(OpKey, Item),
}

/// A frame that is being written.
#[derive(Debug)]
struct Outgoing {
    header: [u8; HEADER_LEN],
    payload: Payload,
    total: usize,
    written: usize,
    /// What the operation is told once it is written, and whether the frame only refers to it.
    item: Option<(OpKey, Item)>,
    is_referred: bool,
}

impl Outgoing {
    /// Whether nothing follows the header.
    fn is_short(&self) -> bool {
        self.total == HEADER_LEN
    }

    /// What follows the header.
    fn payload<'a>(&'a self, work: &'a Work) -> &'a [u8] {
        match &self.payload {
            Payload::Owned(bytes) => bytes,
            Payload::Of(key, item) => work.outgoing(*key, item).map_or(&[], |(_, bytes)| bytes),
        }
    }
}

/// The frame that is being read.
#[derive(Debug)]
struct Incoming {
    header: Header,
    target: Target,
    have: usize,
    checksum: Checksum,
}

#[derive(Debug)]
enum Target {
    Scratch(Scratch),
    InPlace(Range<usize>),
    /// Nothing follows: the payload is in the peer's memory.
    Remote(Remote),
    /// Read and forget.
    Nowhere,
}

/// A connection with one peer.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: Peer,
    pub(crate) stream: Arc<TcpStream>,
    generation: u64,
    control: VecDeque<(Kind, Vec<u8>)>,
    urgent: VecDeque<(OpKey, Item)>,
    ordinary: VecDeque<(OpKey, Item)>,
    /// All but the last are short, and all but the first have not been written at all.
    outgoing: VecDeque<Outgoing>,
    /// The last bytes for a peer whose generation has failed.
    parting: Vec<u8>,
    counter_out: u32,
    counter_in: u32,
    stage: Box<[u8]>,
    staged: Range<usize>,
    incoming: Option<Incoming>,
    /// The next frame is for an operation not started here, and too much of that kind waits
    /// already.
    is_held: bool,
    local: local::Local,
    /// Since when it is known that the peer has taken back memory that it had referred to. From
    /// then on only its reason counts.
    void_since: Option<Instant>,
    pub(crate) last_sent: Instant,
    pub(crate) last_heard: Instant,
    /// The peer has said goodbye.
    pub(crate) has_left: bool,
    /// This rank has said goodbye.
    pub(crate) is_leaving: bool,
    /// The stream has ended.
    pub(crate) is_over: bool,
    pub(crate) stats: PeerStats,
    #[cfg(any(test, feature = "fault-injection"))]
    pub(crate) faults: Vec<Fault>,
    #[cfg(any(test, feature = "fault-injection"))]
    delayed_until: Option<Instant>,
}

impl Link {
    /// The peer is referred to payloads of at least `refer_bytes`; `usize::MAX` if it is elsewhere.
    pub(crate) fn new(peer: Peer, stream: TcpStream, generation: u64, refer_bytes: usize) -> Self {
        let now = Instant::now();
        Link {
            peer,
            stream: Arc::new(stream),
            generation,
            control: VecDeque::new(),
            urgent: VecDeque::new(),
            ordinary: VecDeque::new(),
            outgoing: VecDeque::new(),
            parting: Vec::new(),
            counter_out: 0,
            counter_in: 0,
            stage: vec![0; STAGE_LEN].into_boxed_slice(),
            staged: 0..0,
            incoming: None,
            is_held: false,
            local: local::Local::new(refer_bytes),
            void_since: None,
            last_sent: now,
            last_heard: now,
            has_left: false,
            is_leaving: false,
            is_over: false,
            stats: PeerStats::new(peer),
            #[cfg(any(test, feature = "fault-injection"))]
            faults: Vec::new(),
            #[cfg(any(test, feature = "fault-injection"))]
            delayed_until: None,
        }
    }

    pub(crate) fn queue(&mut self, key: OpKey, item: Item) {
        if item.source.is_urgent() {
            self.urgent.push_back((key, item));
        } else {
            self.ordinary.push_back((key, item));
        }
    }

    pub(crate) fn queue_control(&mut self, kind: Kind, payload: Vec<u8>) {
        self.control.push_back((kind, payload));
    }

    /// Whether anything waits to be written.
    pub(crate) fn has_outgoing(&self) -> bool {
        !(self.outgoing.is_empty()
            && self.parting.is_empty()
            && self.control.is_empty()
            && self.urgent.is_empty()
            && self.ordinary.is_empty())
    }

    /// What to wait for.
    pub(crate) fn want(&self) -> Want {
        let reads = !self.is_held && !self.is_over;
        match (
            reads,
            self.has_outgoing() && !self.is_delayed(Instant::now()),
        ) {
            (true, true) => Want::Both,
            (true, false) => Want::Read,
            (false, true) => Want::Write,
            (false, false) => Want::Nothing,
        }
    }

    /// Whether bytes have been read that no readiness of the socket will tell of.
    pub(crate) fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Whether its silence means nothing because this rank does not listen.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// The error for a connection that is gone.
    pub(crate) fn lost(&self, loss: Loss, work: &Work) -> Error {
        let during = work
            .unfinished()
            .map(|(_, operation)| operation.name())
            .next();
        Error::PeerLost {
            peer: self.peer,
            loss,
            quiet: self.last_heard.elapsed(),
            during: during.unwrap_or_else(|| "idle time".into()),
        }
    }

    fn failed(&self, error: &io::Error, work: &Work) -> Error {
        let loss = match error.kind() {
            io::ErrorKind::TimedOut => Loss::Unacknowledged,
            _ => Loss::Reset,
        };
        log::debug!("the connection with {} failed: {error}", self.peer);
        self.lost(loss, work)
    }

    fn corrupt(&self, what: impl Into<String>) -> Error {
        Error::Corrupt {
            peer: self.peer,
            what: what.into(),
        }
    }

    /// Prepares to tell the peer why the generation is given up: the rest of the frame that is
    /// being written, lest the stream break, and then the reason. [`Self::part`] sends it.
    pub(crate) fn give_up(&mut self, reason: &str, work: &Work) {
        let mut counter = self.counter_out;
        for frame in &self.outgoing {
            if frame.written == 0 {
                counter = counter.wrapping_sub(1);
            } else {
                let bytes = frame.header.iter().chain(frame.payload(work));
                self.parting.extend(bytes.skip(frame.written));
            }
        }
        let cut = (0..=reason.len().min(MAX_REASON))
            .rev()
            .find(|at| reason.is_char_boundary(*at));
        let reason = &reason.as_bytes()[..cut.unwrap_or(0)];
        let mut header = self.header(
            Kind::Abort,
            OpKey {
                bucket: 0,
                sequence: 0,
            },
        );
        (header.counter, header.length) = (counter, reason.len() as u32);
        header.checksum = Checksum::of(reason);
        self.parting.extend(header.encode());
        self.parting.extend(reason);
        self.discard_outgoing();
        self.part();
    }

    /// After the generation has failed: sends what [`Self::give_up`] prepared, and reads so that
    /// closing the socket does not reset the connection under the reason's feet. Tells whether
    /// anything moved.
    pub(crate) fn part(&mut self) -> bool {
        let mut moved = false;
        while !self.parting.is_empty() {
            match (&*self.stream).write(&self.parting) {
                Ok(count) => {
                    self.parting.drain(..count);
                    moved = true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.parting.clear(),
            }
            if self.parting.is_empty() {
                let _ = self.stream.shutdown(Shutdown::Write);
            }
        }
        while !self.is_over {
            match (&*self.stream).read(&mut self.stage) {
                Ok(count) => (self.is_over, moved) = (count == 0, true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.is_over = true,
            }
        }
        moved
    }

    /// Whether the peer has been told all there is to tell.
    pub(crate) fn has_told(&self) -> bool {
        self.parting.is_empty()
    }

    /// Whether one of the two has said goodbye, so that the connection may end in any way.
    fn is_parting(&self) -> bool {
        self.has_left || self.is_leaving
    }

    /// Notes that the peer has taken back memory that it had referred to.
    pub(crate) fn make_void(&mut self, now: Instant) {
        self.void_since.get_or_insert(now);
    }

    pub(crate) fn is_void(&self) -> bool {
        self.void_since.is_some()
    }

    /// The error for a peer that has taken back memory and does not say why within `patience`.
    pub(crate) fn unexplained(&self, now: Instant, patience: Duration) -> Option<Error> {
        let is_due = |since| self.is_over || now.saturating_duration_since(since) > patience;
        self.void_since
            .is_some_and(is_due)
            .then(|| Error::PeerAborted {
                peer: self.peer,
                reason: "it took back memory that it had referred to and did not say why".into(),
            })
    }

    /// How long it is quiet already.
    pub(crate) fn quiet(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_heard)
    }
}
