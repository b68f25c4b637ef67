//! The fixed-layout frame in which everything travels once two ranks have shaken hands.
//!
//! A frame is a header of [`HEADER_LEN`] bytes, little-endian, and `length` bytes of payload. The
//! header carries its own checksum, since its length must be trusted before the payload can be
//! read, and the payload's. The CRC-32 of `crc32fast` ran at 80 GB/s on the machine it was chosen
//! on (crc32c 27, XXH3 39), so that checking costs less than copying. Pure: no sockets, imports
//! nothing of the crate.

#[cfg(target_endian = "big")]
compile_error!(
    "payloads travel in native order and frames are little-endian: big-endian needs byte swaps"
);

/// The bytes of a header.
pub(crate) const HEADER_LEN: usize = 64;
/// The largest payload a frame may announce.
pub(crate) const MAX_PAYLOAD: u32 = 4 << 20;
/// Changes whenever two builds could no longer understand each other.
pub(crate) const PROTOCOL_VERSION: u16 = 2;

const MAGIC: u32 = u32::from_le_bytes(*b"HBFR");

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The sum of a subtree, for one piece of an all-reduce.
    Partial,
    /// The finished sum of one piece of an all-reduce.
    Sum,
    /// A part of a rank's contribution to an all-gather or barrier.
    Gather,
    /// A piece of a broadcast.
    Broadcast,
    /// The sender has read all that the receiver's frames referred to in this operation.
    Receipt,
    /// Nothing but a sign of life.
    Heartbeat,
    /// The sender gives the generation up; the payload says why, for people.
    Abort,
    /// The sender leaves in good order.
    Goodbye,
    /// Memory of the sender that the receiver may read directly.
    Segment,
    /// Whether the sender can read such memory of the receiver.
    SegmentReply,
}

impl Kind {
    fn from_wire(kind: u8) -> Option<Self> {
        use Kind::*;
        [
            Partial,
            Sum,
            Gather,
            Broadcast,
            Receipt,
            Heartbeat,
            Abort,
            Goodbye,
            Segment,
            SegmentReply,
        ]
        .into_iter()
        .find(|known| *known as u8 == kind)
    }

    /// Whether the frame belongs to no operation.
    pub(crate) fn is_control(self) -> bool {
        use Kind::*;
        matches!(self, Heartbeat | Abort | Goodbye | Segment | SegmentReply)
    }
}

/// The name of an operation: the bucket, and how many operations of that bucket the rank has
/// started before. Ranks may start different buckets in different orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OpKey {
    pub(crate) bucket: u32,
    pub(crate) sequence: u64,
}

/// Where a payload is that does not follow its header: in memory of the sender that the receiver
/// has mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The segment's number, never 0.
    pub(crate) segment: u16,
    /// At which word (four bytes) of the segment's data it begins.
    pub(crate) offset: u32,
    /// The segment's version at which it is valid.
    pub(crate) version: u32,
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// The element type of an all-reduce, 0 for bytes.
    pub(crate) dtype: u8,
    /// The generation in which it was sent.
    pub(crate) generation: u64,
    /// The operation that it belongs to.
    pub(crate) key: OpKey,
    /// Counts the frames of one connection, so that a lost one shows at the next.
    pub(crate) counter: u32,
    /// The piece of the operation's data.
    pub(crate) piece: u32,
    /// The name of a partial sum's subtree, or the root of a broadcast.
    pub(crate) node: u32,
    /// The length of the operation's whole data: elements, or bytes of a payload.
    pub(crate) total: u64,
    /// The bytes of payload.
    pub(crate) length: u32,
    /// The payload's checksum; 0 if it does not follow.
    pub(crate) checksum: u32,
    /// Where the payload is if it does not follow.
    pub(crate) reference: Option<Reference>,
}

impl Header {
    /// The bytes of payload that follow.
    pub(crate) fn following(&self) -> usize {
        if self.reference.is_some() {
            0
        } else {
            self.length as usize
        }
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &MAGIC.to_le_bytes());
        put(4, &[self.kind as u8, self.dtype]);
        put(8, &self.generation.to_le_bytes());
        put(16, &self.key.sequence.to_le_bytes());
        put(24, &self.key.bucket.to_le_bytes());
        put(28, &self.counter.to_le_bytes());
        put(32, &self.piece.to_le_bytes());
        put(36, &self.node.to_le_bytes());
        put(40, &self.total.to_le_bytes());
        put(48, &self.length.to_le_bytes());
        match self.reference {
            None => put(52, &self.checksum.to_le_bytes()),
            Some(reference) => {
                put(6, &reference.segment.to_le_bytes());
                put(52, &reference.version.to_le_bytes());
                put(56, &reference.offset.to_le_bytes());
            }
        }
        let own = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&own.to_le_bytes());
        bytes
    }

    /// Reads a header, or says what is wrong with it.
    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, String> {
        let u32_at =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if u32_at(0) != MAGIC {
            return Err(format!(
                "a frame begins with {:#010x}, expected {MAGIC:#010x}",
                u32_at(0)
            ));
        }
        if u32_at(60) != crc32fast::hash(&bytes[..60]) {
            return Err("a frame header's checksum does not match".into());
        }
        let kind =
            Kind::from_wire(bytes[4]).ok_or_else(|| format!("unknown frame kind {}", bytes[4]))?;
        let length = u32_at(48);
        if length > MAX_PAYLOAD {
            return Err(format!(
                "a frame announces {length} bytes, the most is {MAX_PAYLOAD}"
            ));
        }
        let segment = u16::from_le_bytes([bytes[6], bytes[7]]);
        let reference = (segment != 0).then(|| Reference {
            segment,
            version: u32_at(52),
            offset: u32_at(56),
        });
        Ok(Header {
            kind,
            dtype: bytes[5],
            generation: u64_at(8),
            key: OpKey {
                sequence: u64_at(16),
                bucket: u32_at(24),
            },
            counter: u32_at(28),
            piece: u32_at(32),
            node: u32_at(36),
            total: u64_at(40),
            length,
            checksum: if reference.is_some() { 0 } else { u32_at(52) },
            reference,
        })
    }
}

/// The checksum of a payload that arrives bit by bit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checksum(crc32fast::Hasher);

impl Checksum {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn value(&self) -> u32 {
        self.0.clone().finalize()
    }

    /// The checksum of a payload at hand.
    pub(crate) fn of(bytes: &[u8]) -> u32 {
        crc32fast::hash(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> impl Strategy<Value = Header> {
        let numbers = (
            any::<u64>(),
            any::<u64>(),
            any::<u32>(),
            any::<u32>(),
            any::<u32>(),
        );
        let rest = (
            any::<u32>(),
            any::<u64>(),
            0..=MAX_PAYLOAD,
            any::<u32>(),
            any::<Option<(u16, u32, u32)>>(),
        );
        (0u8..10, any::<u8>(), numbers, rest).prop_map(|(kind, dtype, numbers, rest)| Header {
            kind: Kind::from_wire(kind).unwrap(),
            dtype,
            generation: numbers.0,
            key: OpKey {
                sequence: numbers.1,
                bucket: numbers.2,
            },
            counter: numbers.3,
            piece: numbers.4,
            node: rest.0,
            total: rest.1,
            length: rest.2,
            checksum: if rest.4.is_some() { 0 } else { rest.3 },
            reference: rest.4.map(|(segment, offset, version)| Reference {
                segment: segment.max(1),
                offset,
                version,
            }),
        })
    }

    proptest! {
        #[test]
        fn headers_survive_the_wire(header in header()) {
            prop_assert_eq!(Header::decode(&header.encode()).unwrap(), header);
        }

        #[test]
        fn any_flipped_bit_is_found(header in header(), at in 0usize..HEADER_LEN, bit in 0u32..8) {
            let mut bytes = header.encode();
            bytes[at] ^= 1 << bit;
            prop_assert!(Header::decode(&bytes).is_err());
        }

        #[test]
        fn checksums_do_not_depend_on_how_bytes_arrive(bytes in any::<Vec<u8>>(), cut in any::<usize>()) {
            let (head, tail) = bytes.split_at(cut % (bytes.len() + 1));
            let mut checksum = Checksum::default();
            checksum.update(head);
            checksum.update(tail);
            prop_assert_eq!(checksum.value(), Checksum::of(&bytes));
        }
    }

    #[test]
    fn too_long_a_payload_is_refused() {
        let mut header = Header {
            kind: Kind::Sum,
            dtype: 1,
            generation: 1,
            key: OpKey {
                bucket: 0,
                sequence: 0,
            },
            counter: 0,
            piece: 0,
            node: 0,
            total: 0,
            length: MAX_PAYLOAD,
            checksum: 0,
            reference: None,
        };
        assert!(Header::decode(&header.encode()).is_ok());
        header.length += 1;
        assert!(
            Header::decode(&header.encode())
                .unwrap_err()
                .contains("announces")
        );
    }
}
