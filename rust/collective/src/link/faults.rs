//! Where the fault injector reaches into a link; without it these hooks are empty.

use std::time::Instant;

use super::Link;
#[cfg(any(test, feature = "fault-injection"))]
use super::Payload;
#[cfg(any(test, feature = "fault-injection"))]
use crate::fault::Fault;
#[cfg(any(test, feature = "fault-injection"))]
use crate::frame::HEADER_LEN;
use crate::frame::Header;
use crate::work::Work;

#[cfg(not(any(test, feature = "fault-injection")))]
impl Link {
    pub(super) fn is_delayed(&self, _: Instant) -> bool {
        false
    }

    pub(super) fn break_frame(&mut self, _: &Header, _: &Work, _: Instant) {}
}

#[cfg(any(test, feature = "fault-injection"))]
impl Link {
    pub(super) fn is_delayed(&self, now: Instant) -> bool {
        self.delayed_until.is_some_and(|until| now < until)
    }

    /// Applies the faults that are due to the frame that is about to be written.
    pub(super) fn break_frame(&mut self, header: &Header, work: &Work, now: Instant) {
        if header.kind.is_control() {
            return;
        }
        for fault in std::mem::take(&mut self.faults) {
            let Some(outgoing) = self.outgoing.back_mut() else {
                return;
            };
            let payload = outgoing.payload(work).to_vec();
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
