//! One connection: frames queued, written, read, checked and handed to the table of operations.
//!
//! Reading goes through a small stage, so that a header and the beginning of its payload take one system call; the rest
//! of a payload is read straight to where it belongs. Writing gathers header and payload. Both stop at what the socket
//! takes now, so two ranks that send each other a lot never wait for each other. Imports frames and the table.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::buffer::Scratch;
use crate::error::{Error, Loss, Peer, Result};
#[cfg(any(test, feature = "fault-injection"))]
use crate::fault::Fault;
use crate::frame::{Checksum, HEADER_LEN, Header, Kind, OpKey};
use crate::operation::{Item, Landing};
use crate::stats::PeerStats;
use crate::wake::Want;
use crate::work::{Accept, Work};

const STAGE_LEN: usize = 16 << 10;
/// One turn moves at most about so many bytes each way, so that the other way gets its turn.
const TURN_BYTES: usize = 1 << 20;
/// What a peer's reason for giving up may take.
const MAX_REASON: usize = 1 << 10;

#[derive(Debug)]
enum Payload {
    Owned(Vec<u8>),
    Of(OpKey, Item),
}

/// The frame that is being written.
#[derive(Debug)]
struct Outgoing {
    header: [u8; HEADER_LEN],
    payload: Payload,
    total: usize,
    written: usize,
    /// What the operation is told once it is written.
    item: Option<(OpKey, Item)>,
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
    outgoing: Option<Outgoing>,
    /// The last bytes for a peer whose generation has failed.
    parting: Vec<u8>,
    counter_out: u32,
    counter_in: u32,
    stage: Box<[u8]>,
    staged: Range<usize>,
    incoming: Option<Incoming>,
    /// The next frame is for an operation not started here, and too much of that kind waits already.
    is_held: bool,
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
    pub(crate) fn new(peer: Peer, stream: TcpStream, generation: u64) -> Self {
        let now = Instant::now();
        Link {
            peer,
            stream: Arc::new(stream),
            generation,
            control: VecDeque::new(),
            urgent: VecDeque::new(),
            ordinary: VecDeque::new(),
            outgoing: None,
            parting: Vec::new(),
            counter_out: 0,
            counter_in: 0,
            stage: vec![0; STAGE_LEN].into_boxed_slice(),
            staged: 0..0,
            incoming: None,
            is_held: false,
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
        self.outgoing.is_some()
            || !(self.parting.is_empty()
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

    /// Writes what the socket takes now; tells whether it took anything.
    pub(crate) fn write(&mut self, work: &mut Work, now: Instant) -> Result<bool> {
        if self.has_left {
            self.drop_data(work);
        }
        let mut moved = 0;
        while moved < TURN_BYTES && !self.is_delayed(now) {
            if self.outgoing.is_none() && !self.begin_frame(work, now) {
                break;
            }
            let Some(outgoing) = &mut self.outgoing else {
                continue;
            };
            if outgoing.written == outgoing.total {
                // A frame that the fault injector loses.
                self.end_frame(work);
                continue;
            }
            let payload: &[u8] = match &outgoing.payload {
                Payload::Owned(bytes) => bytes,
                Payload::Of(key, item) => work.outgoing(*key, item).map_or(&[], |(_, bytes)| bytes),
            };
            let written = outgoing.written;
            let result = if written < HEADER_LEN {
                let parts = [
                    IoSlice::new(&outgoing.header[written..]),
                    IoSlice::new(payload),
                ];
                (&*self.stream).write_vectored(&parts)
            } else {
                (&*self.stream).write(&payload[written - HEADER_LEN..])
            };
            match result {
                Ok(count) => {
                    outgoing.written += count;
                    moved += count;
                    // At once: the answer may come in the very next read.
                    if outgoing.written == outgoing.total {
                        self.end_frame(work);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.is_parting() => {
                    self.end_frame(work);
                    self.drop_data(work);
                    self.discard_outgoing();
                }
                Err(error) => return Err(self.failed(&error, work)),
            }
        }
        if moved > 0 {
            self.last_sent = now;
            self.stats.bytes_sent += moved as u64;
        }
        Ok(moved > 0)
    }

    /// Takes the next frame from the queues; false if there is none.
    fn begin_frame(&mut self, work: &Work, now: Instant) -> bool {
        let (mut header, payload, bytes): (Header, Payload, &[u8]);
        if let Some((kind, owned)) = self.control.pop_front() {
            header = self.header(
                kind,
                OpKey {
                    bucket: 0,
                    sequence: 0,
                },
            );
            payload = Payload::Owned(owned);
            bytes = match &payload {
                Payload::Owned(owned) => owned,
                Payload::Of(..) => &[],
            };
        } else if let Some((key, item)) = self
            .urgent
            .pop_front()
            .or_else(|| self.ordinary.pop_front())
        {
            let Some((label, data)) = work.outgoing(key, &item) else {
                return true;
            };
            header = Header {
                kind: label.kind,
                dtype: label.dtype,
                piece: item.piece,
                node: label.node,
                total: label.total,
                ..self.header(label.kind, key)
            };
            (payload, bytes) = (Payload::Of(key, item), data);
        } else {
            return false;
        }
        header.length = bytes.len() as u32;
        header.checksum = Checksum::of(bytes);
        self.counter_out = self.counter_out.wrapping_add(1);
        let total = HEADER_LEN + bytes.len();
        let item = match payload {
            Payload::Of(key, item) => Some((key, item)),
            Payload::Owned(_) => None,
        };
        let outgoing = Outgoing {
            header: header.encode(),
            payload,
            total,
            written: 0,
            item,
        };
        self.outgoing = Some(outgoing);
        self.break_frame(&header, work, now);
        true
    }

    fn header(&self, kind: Kind, key: OpKey) -> Header {
        Header {
            kind,
            dtype: 0,
            generation: self.generation,
            key,
            counter: self.counter_out,
            piece: 0,
            node: 0,
            total: 0,
            length: 0,
            checksum: 0,
        }
    }

    fn end_frame(&mut self, work: &mut Work) {
        self.stats.frames_sent += 1;
        if let Some(Outgoing {
            item: Some((key, item)),
            ..
        }) = self.outgoing.take()
        {
            work.sent(key, &item);
        }
    }

    /// Forgets operations' data for a peer that has left: whatever it needed it has.
    fn drop_data(&mut self, work: &mut Work) {
        for (key, item) in self.urgent.drain(..).chain(self.ordinary.drain(..)) {
            work.sent(key, &item);
        }
    }

    fn discard_outgoing(&mut self) {
        self.outgoing = None;
        self.control.clear();
        self.urgent.clear();
        self.ordinary.clear();
    }

    /// Reads and delivers what has arrived; tells whether anything had. `from` is the peer's rank.
    pub(crate) fn read(&mut self, work: &mut Work, now: Instant) -> Result<bool> {
        let mut moved = 0;
        self.is_held = false;
        while moved < TURN_BYTES && !self.is_over {
            if self.incoming.is_none() && self.staged.len() >= HEADER_LEN {
                if !self.open_frame(work)? {
                    self.is_held = true;
                    break;
                }
                continue;
            }
            if self.is_frame_whole() {
                self.close_frame(work)?;
                continue;
            }
            if self.incoming.is_some() && !self.staged.is_empty() {
                self.unstage(work);
                continue;
            }
            match self.read_some(work) {
                Ok(0) => self.end(work)?,
                Ok(count) => moved += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.is_parting() => self.is_over = true,
                Err(error) => return Err(self.failed(&error, work)),
            }
        }
        if moved > 0 {
            self.last_heard = now;
            self.stats.bytes_received += moved as u64;
        }
        Ok(moved > 0)
    }

    /// One system call: into the stage between frames, to the payload's place within one.
    fn read_some(&mut self, work: &mut Work) -> io::Result<usize> {
        if let Some(incoming) = &mut self.incoming {
            let rest = incoming.have..incoming.header.length as usize;
            let key = incoming.header.key;
            let place = match &mut incoming.target {
                Target::Scratch(scratch) => &mut scratch.bytes_mut()[rest],
                Target::InPlace(bytes) => match work.landing(key, bytes.clone()) {
                    Some(landing) => &mut landing[rest],
                    None => &mut [],
                },
                Target::Nowhere => {
                    let length = rest.len().min(STAGE_LEN);
                    &mut self.stage[..length]
                }
            };
            let count = (&*self.stream).read(place)?;
            incoming.checksum.update(&place[..count]);
            incoming.have += count;
            return Ok(count);
        }
        self.stage.copy_within(self.staged.clone(), 0);
        self.staged = 0..self.staged.len();
        let count = (&*self.stream).read(&mut self.stage[self.staged.end..])?;
        self.staged.end += count;
        Ok(count)
    }

    /// Moves payload from the stage to its place.
    fn unstage(&mut self, work: &mut Work) {
        let Some(incoming) = &mut self.incoming else {
            return;
        };
        let count = self
            .staged
            .len()
            .min(incoming.header.length as usize - incoming.have);
        let bytes = &self.stage[self.staged.start..self.staged.start + count];
        let rest = incoming.have..incoming.have + count;
        match &mut incoming.target {
            Target::Scratch(scratch) => scratch.bytes_mut()[rest].copy_from_slice(bytes),
            Target::InPlace(place) => {
                if let Some(landing) = work.landing(incoming.header.key, place.clone()) {
                    landing[rest].copy_from_slice(bytes);
                }
            }
            Target::Nowhere => {}
        }
        incoming.checksum.update(bytes);
        incoming.have += count;
        self.staged.start += count;
    }

    /// Begins the frame whose header is staged; false if it has to stay where it is.
    fn open_frame(&mut self, work: &mut Work) -> Result<bool> {
        let at = self.staged.start;
        let bytes = self.stage[at..at + HEADER_LEN]
            .try_into()
            .expect("a whole header is staged");
        let header = Header::decode(bytes).map_err(|what| self.corrupt(what))?;
        if header.counter != self.counter_in {
            let what = format!(
                "frame {} came where {} was due",
                header.counter, self.counter_in
            );
            return Err(self.corrupt(what));
        }
        let target = if header.generation < self.generation {
            self.stats.stale_frames += 1;
            log::warn!(
                "dropped a frame of generation {} from {}",
                header.generation,
                self.peer
            );
            Target::Nowhere
        } else if header.generation > self.generation {
            return Err(self.corrupt(format!(
                "a frame of the future generation {}",
                header.generation
            )));
        } else if header.kind.is_control() {
            if header.length as usize > MAX_REASON {
                return Err(self.corrupt(format!(
                    "{:?} frame of {} bytes",
                    header.kind, header.length
                )));
            }
            Target::Scratch(work.pool.take(header.length as usize))
        } else {
            let from = self.peer.rank as usize;
            match work.accept(from, &header).map_err(|what| Error::Mismatch {
                peer: self.peer,
                what,
            })? {
                Accept::Hold => return Ok(false),
                Accept::Land(Landing::Scratch) => {
                    Target::Scratch(work.pool.take(header.length as usize))
                }
                Accept::Land(Landing::InPlace(bytes)) => Target::InPlace(bytes),
            }
        };
        self.counter_in = self.counter_in.wrapping_add(1);
        self.staged.start += HEADER_LEN;
        self.incoming = Some(Incoming {
            header,
            target,
            have: 0,
            checksum: Checksum::default(),
        });
        Ok(true)
    }

    fn is_frame_whole(&self) -> bool {
        self.incoming
            .as_ref()
            .is_some_and(|incoming| incoming.have == incoming.header.length as usize)
    }

    /// Checks a frame that has arrived whole and hands it over.
    fn close_frame(&mut self, work: &mut Work) -> Result<()> {
        let Some(Incoming {
            header,
            target,
            checksum,
            ..
        }) = self.incoming.take()
        else {
            return Ok(());
        };
        self.stats.frames_received += 1;
        if checksum.value() != header.checksum {
            return Err(self.corrupt(format!(
                "the checksum of a {:?} frame does not match",
                header.kind
            )));
        }
        let payload = match target {
            Target::Nowhere => return Ok(()),
            Target::Scratch(scratch) => Some(scratch),
            Target::InPlace(_) => None,
        };
        match header.kind {
            Kind::Heartbeat => {}
            Kind::Goodbye => self.has_left = true,
            Kind::Abort => {
                let bytes = payload.as_ref().map_or(&[][..], Scratch::bytes);
                let reason = String::from_utf8_lossy(bytes).into_owned();
                return Err(Error::PeerAborted {
                    peer: self.peer,
                    reason,
                });
            }
            Kind::Partial | Kind::Sum | Kind::Gather | Kind::Broadcast => {
                return work
                    .deliver(self.peer.rank as usize, &header, payload)
                    .map_err(|what| Error::Mismatch {
                        peer: self.peer,
                        what,
                    });
            }
        }
        if let Some(scratch) = payload {
            work.pool.give(scratch);
        }
        Ok(())
    }

    /// The stream has ended.
    fn end(&mut self, work: &Work) -> Result<()> {
        self.is_over = true;
        if self.has_left {
            Ok(())
        } else {
            Err(self.lost(Loss::Closed, work))
        }
    }

    /// Prepares to tell the peer why the generation is given up: the rest of the frame that is being written, lest the
    /// stream break, and then the reason. [`Self::part`] sends it.
    pub(crate) fn give_up(&mut self, reason: &str, work: &Work) {
        let mut counter = self.counter_out;
        if let Some(Outgoing {
            header,
            payload,
            written,
            ..
        }) = self.outgoing.take()
        {
            if written == 0 {
                counter = counter.wrapping_sub(1);
            } else {
                let payload = match &payload {
                    Payload::Owned(bytes) => bytes,
                    Payload::Of(key, item) => work
                        .outgoing(*key, item)
                        .map_or(&[][..], |(_, bytes)| bytes),
                };
                self.parting
                    .extend(header.iter().chain(payload).skip(written));
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

    /// After the generation has failed: sends what [`Self::give_up`] prepared, and reads so that closing the socket
    /// does not reset the connection under the reason's feet. Tells whether anything moved.
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

    /// How long it is quiet already.
    pub(crate) fn quiet(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_heard)
    }
}

#[cfg(not(any(test, feature = "fault-injection")))]
impl Link {
    fn is_delayed(&self, _: Instant) -> bool {
        false
    }

    fn break_frame(&mut self, _: &Header, _: &Work, _: Instant) {}
}

#[cfg(any(test, feature = "fault-injection"))]
impl Link {
    fn is_delayed(&self, now: Instant) -> bool {
        self.delayed_until.is_some_and(|until| now < until)
    }

    /// Applies the faults that are due to the frame that is about to be written.
    fn break_frame(&mut self, header: &Header, work: &Work, now: Instant) {
        if header.kind.is_control() {
            return;
        }
        for fault in std::mem::take(&mut self.faults) {
            let Some(outgoing) = &mut self.outgoing else {
                return;
            };
            let payload = match &outgoing.payload {
                Payload::Owned(bytes) => bytes.clone(),
                Payload::Of(key, item) => work
                    .outgoing(*key, item)
                    .map_or(vec![], |(_, bytes)| bytes.to_vec()),
            };
            match fault {
                Fault::Die | Fault::Stop(_) => {}
                Fault::Delay { time, .. } => self.delayed_until = Some(now + time),
                Fault::Drop { .. } => outgoing.written = outgoing.total,
                Fault::Corrupt { byte, .. } => {
                    let byte = byte % outgoing.total;
                    let mut frame = [&outgoing.header[..], &payload].concat();
                    frame[byte] ^= 0xff;
                    outgoing.header.copy_from_slice(&frame[..HEADER_LEN]);
                    outgoing.payload = Payload::Owned(frame[HEADER_LEN..].to_vec());
                }
                Fault::Stale { .. } => {
                    let stale = Header {
                        generation: header.generation - 1,
                        ..*header
                    };
                    let frame = [&stale.encode()[..], &payload].concat();
                    let again = Header {
                        counter: self.counter_out,
                        ..*header
                    };
                    self.counter_out = self.counter_out.wrapping_add(1);
                    let rest = [&again.encode()[..], &payload].concat();
                    outgoing.header.copy_from_slice(&frame[..HEADER_LEN]);
                    outgoing.payload = Payload::Owned([&frame[HEADER_LEN..], &rest].concat());
                    outgoing.total = frame.len() + rest.len();
                }
            }
        }
    }
}
