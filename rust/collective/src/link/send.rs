//! The writing half of a link: which frame goes next, and how much of it the socket takes.

use std::io::{self, IoSlice, Write};
use std::time::Instant;

use super::{Link, Outgoing, Payload, TURN_BYTES};
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
        self.outgoing = Some(outgoing);
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

    fn end_frame(&mut self, work: &mut Work) {
        self.stats.frames_sent += 1;
        if let Some(Outgoing {
            item: Some((key, item)),
            is_referred,
            ..
        }) = self.outgoing.take()
        {
            work.sent(self.peer.rank as usize, key, &item, is_referred);
        }
    }

    /// Forgets operations' data for a peer that has left: whatever it needed it has.
    fn drop_data(&mut self, work: &mut Work) {
        for (key, item) in self.urgent.drain(..).chain(self.ordinary.drain(..)) {
            work.sent(self.peer.rank as usize, key, &item, false);
        }
    }

    pub(super) fn discard_outgoing(&mut self) {
        self.outgoing = None;
        self.control.clear();
        self.urgent.clear();
        self.ordinary.clear();
    }
}
