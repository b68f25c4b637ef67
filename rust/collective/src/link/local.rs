//! Sharing memory with a peer on the same machine: who has been told of which segment, and who can
//! read it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::Link;
use crate::error::Result;
use crate::frame::{Header, Kind, Reference};
use crate::operation::Label;
use crate::shared::{self, Announcement, Mapping, Remote, Segment};

/// The bytes of a reply to an announcement: the segment's number, and whether it could be mapped.
const REPLY_LEN: usize = 3;

/// What is shared over one connection.
#[derive(Debug)]
pub(super) struct Local {
    /// Payloads of so many bytes are worth it; `usize::MAX` if none is, as after a refusal.
    refer_bytes: usize,
    /// This rank's segments that the peer knows of, and whether it can read them, by number.
    own: HashMap<u16, (Weak<Segment>, bool)>,
    /// The peer's segments that this rank can read.
    theirs: HashMap<u16, Arc<Mapping>>,
}

impl Local {
    pub(super) fn new(refer_bytes: usize) -> Self {
        Local {
            refer_bytes,
            own: HashMap::new(),
            theirs: HashMap::new(),
        }
    }
}

impl Link {
    /// Refers the peer to bytes instead of sending them, if it can read them where they are.
    /// Otherwise it is told of their segment, for the next time.
    pub(super) fn refer(&mut self, label: &Label, bytes: &[u8]) -> Option<Reference> {
        if !label.may_refer || bytes.len() < self.local.refer_bytes {
            return None;
        }
        let (segment, offset) = shared::locate(bytes)?;
        let known = self.local.own.get(&segment.number);
        match known.filter(|(known, _)| known.as_ptr() == Arc::as_ptr(&segment)) {
            Some((_, is_mapped)) => is_mapped.then(|| Reference {
                segment: segment.number,
                offset,
                version: segment.version(),
            }),
            None => {
                let announcement = segment.announcement()?.encode().to_vec();
                let entry = (Arc::downgrade(&segment), false);
                self.local.own.insert(segment.number, entry);
                self.queue_control(Kind::Segment, announcement);
                None
            }
        }
    }

    /// What a frame of an operation refers to.
    pub(super) fn resolve(&self, header: &Header, reference: &Reference) -> Result<Remote> {
        let mapping =
            self.local.theirs.get(&reference.segment).ok_or_else(|| {
                self.corrupt("a frame refers to memory that this rank cannot read")
            })?;
        let length = header.length as usize;
        Remote::new(mapping, reference.offset, length, reference.version)
            .ok_or_else(|| self.corrupt("a frame refers to memory beyond its segment's end"))
    }

    /// Maps a segment of the peer, and tells it whether that worked.
    pub(crate) fn hear_of_segment(&mut self, payload: &[u8]) -> Result<()> {
        let announcement = Announcement::decode(payload)
            .ok_or_else(|| self.corrupt("an announcement of memory that is none"))?;
        let number = announcement.number;
        // Its number may have belonged to a segment that is gone.
        self.local.theirs.remove(&number);
        let mapping = match self.local.refer_bytes {
            usize::MAX => Err("this rank does not try to".into()),
            _ => announcement.map(),
        };
        let is_mapped = mapping.is_ok();
        match mapping {
            Ok(mapping) => drop(self.local.theirs.insert(number, Arc::new(mapping))),
            Err(why) => log::debug!("the memory of {} is not read directly: {why}", self.peer),
        }
        let [low, high] = number.to_le_bytes();
        self.queue_control(Kind::SegmentReply, vec![low, high, u8::from(is_mapped)]);
        Ok(())
    }

    /// Hears whether the peer could map a segment of this rank.
    pub(crate) fn hear_of_mapping(&mut self, payload: &[u8]) -> Result<()> {
        let reply: [u8; REPLY_LEN] = payload
            .try_into()
            .map_err(|_| self.corrupt("a reply about memory that is none"))?;
        let number = u16::from_le_bytes([reply[0], reply[1]]);
        let Some((_, is_mapped)) = self.local.own.get_mut(&number) else {
            return Err(self.corrupt("a reply about memory that it was not told of"));
        };
        *is_mapped = reply[2] == 1;
        if !*is_mapped {
            self.local.refer_bytes = usize::MAX;
        }
        Ok(())
    }
}
