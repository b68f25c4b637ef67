//! The writing half of a link: which frame goes next, and how much of it the socket takes.

use std::io::{self, IoSlice, Write};
use std::time::Instant;

use super::{Link, MOST_AT_ONCE, Outgoing, Payload, TURN_BYTES};
use crate::error::Result;
use crate::frame::{Checksum, HEADER_LEN, Header, Kind, OpKey};
use crate::work::Work;

impl Link {
    /// Writes what the socket takes now; tells whether it took anything.
    pub(crate) fn write(&mut self, work: &mut Work, now: Instant) -> Result<bool> {
        if self.has_left {
            self.drop_data(work);
        }
        let mut moved = 0;
        while moved < TURN_BYTES && !self.is_delayed(now) {
            self.begin_frames(work, now);
            // A frame that the fault injector loses counts as written.
            self.end_frames(work);
            if self.outgoing.is_empty() || self.is_delayed(now) {
                break;
            }
            match self.write_frames(work) {
                Ok(count) => {
                    moved += count;
                    // At once: the answer may come in the very next read.
                    self.end_frames(work);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.is_parting() => {
                    let begun = self.outgoing.drain(..).filter_map(|frame| frame.item);
                    self.urgent.extend(begun);
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

    /// Takes frames from the queues as long as they are short: in one system call they cost what one
    /// does.
    fn begin_frames(&mut self, work: &Work, now: Instant) {
        while self.outgoing.len() < MOST_AT_ONCE
            && self.outgoing.back().is_none_or(Outgoing::is_short)
            && self.begin_frame(work, now)
        {}
    }

    /// One system call; returns how many bytes it took.
    fn write_frames(&mut self, work: &Work) -> io::Result<usize> {
        let mut parts = [IoSlice::new(&[]); MOST_AT_ONCE + 1];
        let mut used = 0;
        for frame in &self.outgoing {
            let header = frame.written.min(HEADER_LEN);
            parts[used] = IoSlice::new(&frame.header[header..]);
            used += 1;
        }
        if let Some(last) = self.outgoing.back()
            && !last.is_short()
        {
            let payload = last.payload(work);
            let begun = last.written.saturating_sub(HEADER_LEN);
            parts[used] = IoSlice::new(&payload[begun..]);
            used += 1;
        }
        let count = (&*self.stream).write_vectored(&parts[..used])?;
        let mut left = count;
        for frame in &mut self.outgoing {
            let own = left.min(frame.total - frame.written);
            frame.written += own;
            left -= own;
        }
        Ok(count)
    }

    /// Takes the next frame from the queues; false if there is none.
    fn begin_frame(&mut self, work: &Work, now: Instant) -> bool {
        let (mut header, payload, bytes): (Header, Payload, &[u8]);
        let mut queued = None;
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
            queued = Some((key, item));
            header.reference = self.refer(&label, data);
            payload = match header.reference {
                Some(_) => Payload::Owned(Vec::new()),
                None => Payload::Of(key, item),
            };
            bytes = data;
        } else {
            return false;
        }
        header.length = bytes.len() as u32;
        if header.reference.is_none() {
            header.checksum = Checksum::of(bytes);
        }
        self.counter_out = self.counter_out.wrapping_add(1);
        let outgoing = Outgoing {
            header: header.encode(),
            payload,
            total: HEADER_LEN + header.following(),
            written: 0,
            item: queued,
            is_referred: header.reference.is_some(),
        };
        self.outgoing.push_back(outgoing);
        self.break_frame(&header, work, now);
        true
    }

    pub(super) fn header(&self, kind: Kind, key: OpKey) -> Header {
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
            reference: None,
        }
    }

    /// Lets go of the frames that have been written.
    fn end_frames(&mut self, work: &mut Work) {
        let is_written = |frame: &Outgoing| frame.written == frame.total;
        while self.outgoing.front().is_some_and(is_written)
            && let Some(frame) = self.outgoing.pop_front()
        {
            self.stats.frames_sent += 1;
            if let Some((key, item)) = frame.item {
                work.sent(self.peer.rank as usize, key, &item, frame.is_referred);
            }
        }
    }

    /// Forgets operations' data for a peer that has left: whatever it needed it has.
    fn drop_data(&mut self, work: &mut Work) {
        for (key, item) in self.urgent.drain(..).chain(self.ordinary.drain(..)) {
            work.sent(self.peer.rank as usize, key, &item, false);
        }
    }

    pub(super) fn discard_outgoing(&mut self) {
        self.outgoing.clear();
        self.control.clear();
        self.urgent.clear();
        self.ordinary.clear();
    }
}
