//! The handshake that opens every connection: both sides prove that they know the job's token
//! without sending it.
//!
//! ```text
//! dialer                                 acceptor
//!   hello: version, nonce          ->
//!                                  <-    challenge: version, nonce
//!   proof: identity, MAC           ->
//!                                  <-    verdict: identity with status, MAC
//! ```
//! Each MAC is HMAC-SHA-256 under the token over its sender's role and everything said before, so
//! that neither side's words can be replayed or reflected. The dialer proves itself first: a
//! stranger gets nothing to guess the token by. All messages have a fixed length. What follows the
//! handshake is not encrypted and carries checksums, not MACs: the network between workers is
//! trusted with data, not with membership. Pure: bytes in, bytes out; no sockets.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::sync::Arc;

use crate::frame::PROTOCOL_VERSION;

/// The most bytes of a kernel fingerprint.
pub(crate) const MAX_FINGERPRINT: usize = 192;

const NONCE_LEN: usize = 32;
const MAC_LEN: usize = 32;
const OPENING_LEN: usize = 8 + NONCE_LEN;
const IDENTITY_LEN: usize = 24 + 32 + 32 + MAX_FINGERPRINT;
const STATEMENT_LEN: usize = IDENTITY_LEN + MAC_LEN;

const HELLO: &[u8; 4] = b"HBhi";
const CHALLENGE: &[u8; 4] = b"HBch";

/// What the acceptor thinks of a dialer that has proved itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Welcome,
    /// The dialer's generation is older than the acceptor's.
    Stale,
    /// The dialer's generation is newer: the acceptor has not heard of it yet.
    NotYet,
    OtherJob,
    /// The members, shards or sizes differ.
    OtherLayout,
    OtherFingerprint,
    /// The dialer's rank is not one that dials this acceptor.
    UnexpectedRank,
}

impl Status {
    fn from_wire(status: u16) -> Option<Self> {
        use Status::*;
        [
            Welcome,
            Stale,
            NotYet,
            OtherJob,
            OtherLayout,
            OtherFingerprint,
            UnexpectedRank,
        ]
        .into_iter()
        .find(|known| *known as u16 == status)
    }
}

/// Who a side is, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) status: Status,
    pub(crate) rank: u32,
    pub(crate) generation: u64,
    /// The digest of the job's name.
    pub(crate) job: [u8; 32],
    /// The digest of what all members must agree on.
    pub(crate) layout: [u8; 32],
    pub(crate) fingerprint: String,
}

impl Identity {
    fn encode(&self) -> [u8; IDENTITY_LEN] {
        let mut bytes = [0; IDENTITY_LEN];
        let name = self.fingerprint.as_bytes();
        bytes[..2].copy_from_slice(&(self.status as u16).to_le_bytes());
        bytes[2..4].copy_from_slice(&(name.len() as u16).to_le_bytes());
        bytes[4..8].copy_from_slice(&self.rank.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.generation.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.job);
        bytes[56..88].copy_from_slice(&self.layout);
        bytes[88..88 + name.len()].copy_from_slice(name);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let length = u16::from_le_bytes(bytes[2..4].try_into().ok()?) as usize;
        Some(Identity {
            status: Status::from_wire(u16::from_le_bytes(bytes[..2].try_into().ok()?))?,
            rank: u32::from_le_bytes(bytes[4..8].try_into().ok()?),
            generation: u64::from_le_bytes(bytes[8..16].try_into().ok()?),
            job: bytes[24..56].try_into().ok()?,
            layout: bytes[56..88].try_into().ok()?,
            fingerprint: String::from_utf8_lossy(bytes.get(88..88 + length)?).into_owned(),
        })
    }
}

/// Why a connection did not become a member's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("it does not speak this protocol")]
    Garbage,
    #[error("it speaks version {0} of the protocol, this build speaks {PROTOCOL_VERSION}")]
    Version(u16),
    #[error("it could not prove that it knows the token")]
    Unproven,
    #[error("the system gave no random numbers: {0}")]
    NoRandomness(String),
}

/// What a message leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Send this and wait for the next message.
    Reply(Vec<u8>),
    /// Send this, if anything; the other side has proved itself and this is what both said.
    Finished {
        reply: Vec<u8>,
        peer: Identity,
        status: Status,
    },
}

/// Judges a dialer that has proved itself.
pub(crate) type Judge<'a> = &'a dyn Fn(&Identity) -> Status;

#[derive(Debug)]
enum Role {
    Dialer,
    Acceptor,
}

/// One side of a handshake.
#[derive(Debug)]
pub(crate) struct Handshake {
    role: Role,
    token: Arc<[u8]>,
    own: Identity,
    /// Everything said so far.
    transcript: Vec<u8>,
    /// Whether the opening messages have been exchanged.
    is_open: bool,
}

impl Handshake {
    /// The dialer's side, and what it says first.
    pub(crate) fn dial(token: Arc<[u8]>, own: Identity) -> Result<(Self, Vec<u8>), Failure> {
        let hello = opening(HELLO)?;
        let transcript = hello.clone();
        Ok((
            Handshake {
                role: Role::Dialer,
                token,
                own,
                transcript,
                is_open: false,
            },
            hello,
        ))
    }

    /// The acceptor's side; it waits.
    pub(crate) fn accept(token: Arc<[u8]>, own: Identity) -> Self {
        Handshake {
            role: Role::Acceptor,
            token,
            own,
            transcript: Vec::new(),
            is_open: false,
        }
    }

    /// The length of the message it waits for.
    pub(crate) fn expects(&self) -> usize {
        if self.is_open {
            STATEMENT_LEN
        } else {
            OPENING_LEN
        }
    }

    /// Takes the message of the length it waits for. `judge` is asked by acceptors only.
    pub(crate) fn receive(
        &mut self,
        message: &[u8],
        judge: Judge<'_>,
    ) -> Result<Progress, Failure> {
        match (&self.role, self.is_open) {
            (Role::Acceptor, false) => {
                check_opening(message, HELLO)?;
                let challenge = opening(CHALLENGE)?;
                self.transcript.extend_from_slice(message);
                self.transcript.extend_from_slice(&challenge);
                self.is_open = true;
                Ok(Progress::Reply(challenge))
            }
            (Role::Dialer, false) => {
                check_opening(message, CHALLENGE)?;
                self.transcript.extend_from_slice(message);
                self.is_open = true;
                Ok(Progress::Reply(self.state()))
            }
            (Role::Acceptor, true) => {
                let peer = self.hear(b"dialer", message)?;
                self.own.status = judge(&peer);
                let reply = self.state();
                Ok(Progress::Finished {
                    reply,
                    peer,
                    status: self.own.status,
                })
            }
            (Role::Dialer, true) => {
                let peer = self.hear(b"acceptor", message)?;
                let status = peer.status;
                Ok(Progress::Finished {
                    reply: Vec::new(),
                    peer,
                    status,
                })
            }
        }
    }

    /// Says who this side is and proves it.
    fn state(&mut self) -> Vec<u8> {
        self.transcript.extend_from_slice(&self.own.encode());
        let role: &[u8] = if matches!(self.role, Role::Dialer) {
            b"dialer"
        } else {
            b"acceptor"
        };
        let proof = self.mac(role).finalize().into_bytes();
        let mut message = self.own.encode().to_vec();
        message.extend_from_slice(&proof);
        self.transcript.extend_from_slice(&proof);
        message
    }

    /// Hears who the other side is and checks its proof.
    fn hear(&mut self, role: &[u8], message: &[u8]) -> Result<Identity, Failure> {
        let (identity, proof) = message.split_at(IDENTITY_LEN);
        self.transcript.extend_from_slice(identity);
        // Compares in constant time.
        self.mac(role)
            .verify_slice(proof)
            .map_err(|_| Failure::Unproven)?;
        self.transcript.extend_from_slice(proof);
        Identity::decode(identity).ok_or(Failure::Garbage)
    }

    fn mac(&self, role: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.token).expect("HMAC takes keys of any length");
        mac.update(b"hornbeam collective ");
        mac.update(role);
        mac.update(&self.transcript);
        mac
    }
}

fn opening(magic: &[u8; 4]) -> Result<Vec<u8>, Failure> {
    let mut message = vec![0; OPENING_LEN];
    message[..4].copy_from_slice(magic);
    message[4..6].copy_from_slice(&PROTOCOL_VERSION.to_le_bytes());
    getrandom::fill(&mut message[8..]).map_err(|error| Failure::NoRandomness(error.to_string()))?;
    Ok(message)
}

fn check_opening(message: &[u8], magic: &[u8; 4]) -> Result<(), Failure> {
    if message[..4] != magic[..] {
        return Err(Failure::Garbage);
    }
    let version = u16::from_le_bytes([message[4], message[5]]);
    if version == PROTOCOL_VERSION {
        Ok(())
    } else {
        Err(Failure::Version(version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(rank: u32) -> Identity {
        Identity {
            status: Status::Welcome,
            rank,
            generation: 3,
            job: [1; 32],
            layout: [2; 32],
            fingerprint: format!("avx512 rank {rank}"),
        }
    }

    fn token(text: &str) -> Arc<[u8]> {
        Arc::from(text.as_bytes())
    }

    fn reply(progress: Progress) -> Vec<u8> {
        match progress {
            Progress::Reply(reply) => reply,
            Progress::Finished { .. } => panic!("too early"),
        }
    }

    /// Runs a handshake up to the acceptor's verdict, `spoil` changing each message on its way.
    fn run(
        tokens: [&str; 2],
        status: Status,
        spoil: &mut dyn FnMut(usize, &mut Vec<u8>),
    ) -> Result<(Progress, Progress), (usize, Failure)> {
        let judge = |_: &Identity| status;
        let (mut dialer, mut hello) = Handshake::dial(token(tokens[0]), identity(0)).unwrap();
        let mut acceptor = Handshake::accept(token(tokens[1]), identity(1));
        spoil(0, &mut hello);
        let mut challenge = reply(acceptor.receive(&hello, &judge).map_err(|e| (0, e))?);
        spoil(1, &mut challenge);
        let mut proof = reply(dialer.receive(&challenge, &judge).map_err(|e| (1, e))?);
        spoil(2, &mut proof);
        let at_acceptor = acceptor.receive(&proof, &judge).map_err(|e| (2, e))?;
        let Progress::Finished {
            reply: ref verdict, ..
        } = at_acceptor
        else {
            panic!("not finished")
        };
        let mut verdict = verdict.clone();
        spoil(3, &mut verdict);
        let at_dialer = dialer.receive(&verdict, &judge).map_err(|e| (3, e))?;
        Ok((at_dialer, at_acceptor))
    }

    #[test]
    fn the_same_token_introduces_both_sides() {
        for status in [Status::Welcome, Status::Stale, Status::OtherFingerprint] {
            let (at_dialer, at_acceptor) = run(["t", "t"], status, &mut |_, _| {}).unwrap();
            let told = Identity {
                status,
                ..identity(1)
            };
            assert_eq!(
                at_dialer,
                Progress::Finished {
                    reply: vec![],
                    peer: told,
                    status
                }
            );
            let Progress::Finished {
                peer, status: own, ..
            } = at_acceptor
            else {
                panic!()
            };
            assert_eq!((peer, own), (identity(0), status));
        }
    }

    #[test]
    fn another_token_is_found_before_the_acceptor_proves_anything() {
        let result = run(["wrong", "right"], Status::Welcome, &mut |_, _| {});
        assert_eq!(result.unwrap_err(), (2, Failure::Unproven));
    }

    #[test]
    fn any_flipped_bit_is_found() {
        for (message, length) in [OPENING_LEN, OPENING_LEN, STATEMENT_LEN, STATEMENT_LEN]
            .into_iter()
            .enumerate()
        {
            // The two bytes between version and nonce carry nothing, but the MACs cover them too.
            for at in 0..length {
                let mut spoil = |number: usize, bytes: &mut Vec<u8>| {
                    if number == message {
                        bytes[at] ^= 0x10;
                    }
                };
                assert!(
                    run(["t", "t"], Status::Welcome, &mut spoil).is_err(),
                    "message {message} byte {at}"
                );
            }
        }
    }

    #[test]
    fn a_replayed_proof_is_worthless() {
        let mut recorded = Vec::new();
        run(["t", "t"], Status::Welcome, &mut |number, bytes| {
            if number == 2 {
                recorded = bytes.clone();
            }
        })
        .unwrap();
        let mut replay = |number: usize, bytes: &mut Vec<u8>| {
            if number == 2 {
                bytes.clone_from(&recorded);
            }
        };
        let result = run(["wrong", "t"], Status::Welcome, &mut replay);
        assert_eq!(result.unwrap_err(), (2, Failure::Unproven));
    }

    #[test]
    fn a_reflected_proof_is_worthless() {
        let mut proof = Vec::new();
        let mut reflect = |number: usize, bytes: &mut Vec<u8>| match number {
            2 => proof = bytes.clone(),
            3 => bytes.clone_from(&proof),
            _ => {}
        };
        assert_eq!(
            run(["t", "t"], Status::Welcome, &mut reflect).unwrap_err(),
            (3, Failure::Unproven)
        );
    }

    #[test]
    fn other_versions_and_protocols_are_told_apart() {
        let mut version = |number: usize, bytes: &mut Vec<u8>| {
            if number == 0 {
                bytes[4] = 9;
            }
        };
        assert_eq!(
            run(["t", "t"], Status::Welcome, &mut version).unwrap_err(),
            (0, Failure::Version(9))
        );
        let mut http = |_: usize, bytes: &mut Vec<u8>| bytes[..4].copy_from_slice(b"GET ");
        assert_eq!(
            run(["t", "t"], Status::Welcome, &mut http).unwrap_err(),
            (0, Failure::Garbage)
        );
    }
}
