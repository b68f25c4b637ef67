//! The reading half of a link: header, payload, checks, and whom the frame is handed to.

use std::io::{self, Read};
use std::time::Instant;

use super::{Incoming, Link, MAX_REASON, STAGE_LEN, TURN_BYTES, Target};
use crate::buffer::Scratch;
use crate::error::{Error, Loss, Result};
use crate::frame::{Checksum, HEADER_LEN, Header, Kind};
use crate::operation::{Landing, Payload, Refusal};
use crate::work::{Accept, Work};

impl Link {
    /// Reads and delivers what has arrived; tells whether anything had. `from` is the peer's rank.
    pub(crate) fn read(&mut self, work: &mut Work, now: Instant) -> Result<bool> {
        let (mut moved, mut referred) = (0, 0);
        self.is_held = false;
        while moved + referred < TURN_BYTES && !self.is_over {
            if self.incoming.is_none() && self.staged.len() >= HEADER_LEN {
                if !self.open_frame(work)? {
                    self.is_held = true;
                    break;
                }
                referred += self.referred_bytes();
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
        self.stats.bytes_read_in_place += referred as u64;
        if moved > 0 {
            self.last_heard = now;
            self.stats.bytes_received += moved as u64;
        }
        Ok(moved + referred > 0)
    }

    /// The bytes that the frame just opened refers to.
    fn referred_bytes(&self) -> usize {
        match &self.incoming {
            Some(incoming) => incoming.header.length as usize - incoming.header.following(),
            None => 0,
        }
    }

    /// One system call: into the stage between frames, to the payload's place within one.
    fn read_some(&mut self, work: &mut Work) -> io::Result<usize> {
        if let Some(incoming) = &mut self.incoming {
            let rest = incoming.have..incoming.header.following();
            let key = incoming.header.key;
            let place = match &mut incoming.target {
                Target::Scratch(scratch) => &mut scratch.bytes_mut()[rest],
                Target::InPlace(bytes) => match work.landing(key, bytes.clone()) {
                    Some(landing) => &mut landing[rest],
                    None => &mut [],
                },
                Target::Nowhere | Target::Remote(_) => {
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
            .min(incoming.header.following() - incoming.have);
        let bytes = &self.stage[self.staged.start..self.staged.start + count];
        let rest = incoming.have..incoming.have + count;
        match &mut incoming.target {
            Target::Scratch(scratch) => scratch.bytes_mut()[rest].copy_from_slice(bytes),
            Target::InPlace(place) => {
                if let Some(landing) = work.landing(incoming.header.key, place.clone()) {
                    landing[rest].copy_from_slice(bytes);
                }
            }
            Target::Nowhere | Target::Remote(_) => {}
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
            if header.length as usize > MAX_REASON || header.reference.is_some() {
                return Err(self.corrupt(format!(
                    "{:?} frame of {} bytes",
                    header.kind, header.length
                )));
            }
            Target::Scratch(work.pool.take(header.length as usize))
        } else if self.is_void() {
            Target::Nowhere
        } else {
            let from = self.peer.rank as usize;
            let accepted = work.accept(from, &header).map_err(|what| Error::Mismatch {
                peer: self.peer,
                what,
            })?;
            match (accepted, &header.reference) {
                (Accept::Hold, _) => return Ok(false),
                (Accept::Land(_), Some(reference)) => {
                    Target::Remote(self.resolve(&header, reference)?)
                }
                (Accept::Land(Landing::Scratch), None) => {
                    Target::Scratch(work.pool.take(header.length as usize))
                }
                (Accept::Land(Landing::InPlace(bytes)), None) => Target::InPlace(bytes),
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
            .is_some_and(|incoming| incoming.have == incoming.header.following())
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
            Target::Scratch(scratch) => Payload::Block(scratch),
            Target::InPlace(_) => Payload::InPlace,
            Target::Remote(remote) => Payload::Remote(remote),
        };
        match payload {
            Payload::Block(block) if header.kind.is_control() => {
                let heard = self.hear(header.kind, &block);
                work.pool.give(block);
                heard
            }
            payload => match work.deliver(self.peer.rank as usize, &header, payload) {
                Ok(()) => Ok(()),
                Err(Refusal::TakenBack) => {
                    self.make_void(Instant::now());
                    Ok(())
                }
                Err(Refusal::Contradiction(what)) => Err(Error::Mismatch {
                    peer: self.peer,
                    what,
                }),
            },
        }
    }

    /// Handles a frame that belongs to no operation.
    fn hear(&mut self, kind: Kind, block: &Scratch) -> Result<()> {
        match kind {
            Kind::Goodbye => self.has_left = true,
            Kind::Segment => self.hear_of_segment(block.bytes())?,
            Kind::SegmentReply => self.hear_of_mapping(block.bytes())?,
            Kind::Abort => {
                let reason = String::from_utf8_lossy(block.bytes()).into_owned();
                return Err(Error::PeerAborted {
                    peer: self.peer,
                    reason,
                });
            }
            Kind::Heartbeat
            | Kind::Partial
            | Kind::Sum
            | Kind::Gather
            | Kind::Broadcast
            | Kind::Receipt => {}
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
}
