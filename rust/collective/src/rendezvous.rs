//! Forming a generation: every pair of ranks gets one connection, the lower rank dialing the
//! higher.
//!
//! One thread polls the listener, its dials and its guests. A guest that does not finish its
//! handshake in time, talks nonsense or does not know the token is logged and dropped; it costs a
//! slot and never disturbs the members. Imports the handshake, sockets and errors.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use socket2::{Domain, Socket, TcpKeepalive, Type};

use crate::config::{GroupConfig, OnMismatch};
use crate::error::{Error, Peer, Result};
use crate::handshake::{Failure, Handshake, Identity, Progress, Status};
use crate::wake::{Abort, AbortHandle, Interest, Want, interest, poll};

/// More guests than this at once push the oldest out.
const MAX_GUESTS: usize = 128;
/// How many connections the system queues that nobody has accepted yet.
const BACKLOG: i32 = 1024;
/// A dial that fails is tried again after this and ever longer times.
const FIRST_RETRY: Duration = Duration::from_millis(2);
const LAST_RETRY: Duration = Duration::from_millis(100);
/// An acceptor that hangs up on so many proofs in a row most likely has another token.
const PROOFS: u32 = 5;

/// A rank's bound socket and its knowledge of the token; it outlives every generation of its group.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    token: Arc<[u8]>,
    pub(crate) abort: Arc<Abort>,
}

impl Listener {
    /// Binds the first free port of `ports` (`0..=0` for any) at the node's own address `ip`.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for an empty token or an unspecified address, [`Error::Io`] if no
    /// port is free.
    pub fn bind(ip: IpAddr, ports: RangeInclusive<u16>, token: impl AsRef<[u8]>) -> Result<Self> {
        if token.as_ref().is_empty() {
            return Err(Error::InvalidConfig(
                "the token is empty: anybody could join".into(),
            ));
        }
        if ip.is_unspecified() {
            return Err(Error::InvalidConfig(format!(
                "{ip} is no address that peers can dial: bind to the node's own"
            )));
        }
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the range of ports is empty");
        for port in ports.clone() {
            match Self::listen(SocketAddr::new(ip, port)) {
                Ok(socket) => {
                    let address = socket
                        .local_addr()
                        .map_err(|error| Error::io("asking for the bound port", error))?;
                    return Ok(Listener {
                        socket,
                        address,
                        token: Arc::from(token.as_ref()),
                        abort: Abort::new()?,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(Error::io(
            format!("binding one of the ports {ports:?} of {ip}"),
            last,
        ))
    }

    fn listen(address: SocketAddr) -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // A restarted rank wants its port back at once; the system still refuses one that somebody
        // listens on.
        socket.set_reuse_address(address.port() != 0)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    }

    /// The address to tell the other members.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Frees whoever forms a group with this listener, or waits in it, from any thread.
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle(Arc::clone(&self.abort))
    }
}

/// A non-blocking connection in its handshake.
#[derive(Debug)]
struct Talk {
    stream: TcpStream,
    handshake: Handshake,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    finished: Option<(Identity, Status)>,
    has_proved: bool,
}

/// Why a talk ended early.
enum Hitch {
    Io(io::Error),
    Failure(Failure),
}

impl Talk {
    fn new(stream: TcpStream, handshake: Handshake, outgoing: Vec<u8>) -> Self {
        Talk {
            stream,
            handshake,
            outgoing,
            incoming: Vec::new(),
            finished: None,
            has_proved: false,
        }
    }

    fn want(&self) -> Want {
        if self.outgoing.is_empty() {
            Want::Read
        } else {
            Want::Both
        }
    }

    /// Says and hears what is possible now. It never reads past the handshake: frames may follow at
    /// once.
    fn pump(&mut self, judge: &dyn Fn(&Identity) -> Status) -> Result<bool, Hitch> {
        loop {
            while !self.outgoing.is_empty() {
                match self.stream.write(&self.outgoing) {
                    Ok(count) => drop(self.outgoing.drain(..count)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(Hitch::Io(error)),
                }
            }
            if self.finished.is_some() {
                return Ok(true);
            }
            let have = self.incoming.len();
            let mut rest = vec![0; self.handshake.expects() - have];
            match self.stream.read(&mut rest) {
                Ok(0) => return Err(Hitch::Io(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => self.incoming.extend_from_slice(&rest[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Hitch::Io(error)),
            }
            if self.incoming.len() == self.handshake.expects() {
                let message = std::mem::take(&mut self.incoming);
                match self
                    .handshake
                    .receive(&message, judge)
                    .map_err(Hitch::Failure)?
                {
                    Progress::Reply(reply) => (self.outgoing, self.has_proved) = (reply, true),
                    Progress::Finished {
                        reply,
                        peer,
                        status,
                    } => {
                        self.outgoing = reply;
                        self.finished = Some((peer, status));
                    }
                }
            }
        }
    }
}

enum DialState {
    Waiting(Instant),
    Connecting(Socket),
    Talking(Box<Talk>),
    Done,
}

/// The way to a member of a higher rank.
struct Dial {
    rank: usize,
    state: DialState,
    retry: Duration,
    /// How often the acceptor hung up after this rank's proof.
    unproven: u32,
    reason: String,
}

/// A connection that somebody opened to this rank.
struct Guest {
    talk: Talk,
    address: SocketAddr,
    since: Instant,
}

/// The formation of one generation.
pub(crate) struct Formation<'a> {
    listener: &'a Listener,
    config: &'a GroupConfig,
    identity: Identity,
    dials: Vec<Dial>,
    guests: Vec<Guest>,
    streams: Vec<Option<TcpStream>>,
}

impl<'a> Formation<'a> {
    pub(crate) fn new(listener: &'a Listener, config: &'a GroupConfig) -> Self {
        let identity = Identity {
            status: Status::Welcome,
            rank: config.rank,
            generation: config.generation,
            job: Sha256::digest(config.job.as_bytes()).into(),
            layout: config.digest(),
            fingerprint: config.fingerprint.clone(),
        };
        let now = Instant::now();
        let dials = (config.rank as usize + 1..config.members.len()).map(|rank| Dial {
            rank,
            state: DialState::Waiting(now),
            retry: FIRST_RETRY,
            unproven: 0,
            reason: "it was not dialed yet".into(),
        });
        Formation {
            listener,
            config,
            identity,
            dials: dials.collect(),
            guests: Vec::new(),
            streams: config.members.iter().map(|_| None).collect(),
        }
    }

    /// Connects with all members; the result has a stream for every rank but this one.
    pub(crate) fn run(mut self) -> Result<Vec<Option<TcpStream>>> {
        let began = Instant::now();
        loop {
            if let Some(error) = self.listener.abort.check() {
                return Err(error);
            }
            self.admit()?;
            self.hear_guests()?;
            for at in 0..self.dials.len() {
                self.advance_dial(at)?;
            }
            let Some(missing) = self.missing() else {
                return Ok(self.streams);
            };
            let elapsed = began.elapsed();
            if elapsed >= self.config.timeouts.formation {
                let dial = self.dials.iter().find(|dial| dial.rank == missing);
                return Err(Error::Formation {
                    peer: self.peer(missing),
                    generation: self.config.generation,
                    elapsed,
                    reason: dial.map_or("it did not dial this rank".into(), |dial| {
                        dial.reason.clone()
                    }),
                });
            }
            self.wait(self.config.timeouts.formation - elapsed)?;
        }
    }

    fn missing(&self) -> Option<usize> {
        (0..self.streams.len())
            .find(|rank| *rank != self.config.rank as usize && self.streams[*rank].is_none())
    }

    fn peer(&self, rank: usize) -> Peer {
        Peer {
            rank: rank as u32,
            address: self.config.members[rank].address,
        }
    }

    /// Sleeps until something can go on.
    fn wait(&self, rest: Duration) -> Result<()> {
        let now = Instant::now();
        let mut until = now + rest;
        let mut interests: Vec<Interest<'_>> = vec![interest(&self.listener.socket, Want::Read)];
        for dial in &self.dials {
            match &dial.state {
                DialState::Waiting(at) => until = until.min(*at),
                DialState::Connecting(socket) => interests.push(interest(socket, Want::Write)),
                DialState::Talking(talk) => interests.push(interest(&talk.stream, talk.want())),
                DialState::Done => {}
            }
        }
        for guest in &self.guests {
            until = until.min(guest.since + self.config.timeouts.handshake);
            interests.push(interest(&guest.talk.stream, guest.talk.want()));
        }
        poll(
            &self.listener.abort.caller,
            &interests,
            until.saturating_duration_since(now),
        )?;
        Ok(())
    }

    /// Accepts whoever is at the door.
    fn admit(&mut self) -> Result<()> {
        loop {
            let (stream, address) = match self.listener.socket.accept() {
                Ok(accepted) => accepted,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => continue,
                    _ => return Err(Error::io("accepting a connection", error)),
                },
            };
            if self.guests.len() >= MAX_GUESTS {
                let oldest = self.guests.remove(0);
                log::warn!(
                    "dropped the connection from {}: too many at once",
                    oldest.address
                );
            }
            if let Err(error) = self.prepare(&stream) {
                log::warn!("dropped the connection from {address}: {error}");
                continue;
            }
            let token = Arc::clone(&self.listener.token);
            let handshake = Handshake::accept(token, self.identity.clone());
            let talk = Talk::new(stream, handshake, Vec::new());
            self.guests.push(Guest {
                talk,
                address,
                since: Instant::now(),
            });
        }
    }

    /// Sets a connection's options.
    fn prepare(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let socket = socket2::SockRef::from(stream);
        let silence = self.config.timeouts.silence;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        // Missing heartbeats end a connection much sooner. The kernel's own limit must leave room
        // for a peer that lives and reads nothing, since it counts a closed window as
        // unacknowledged.
        socket.set_tcp_user_timeout(Some(self.config.timeouts.operation))?;
        let second = Duration::from_secs(1);
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(silence.max(second))
                .with_interval(second),
        )
    }

    fn hear_guests(&mut self) -> Result<()> {
        let (identity, ranks) = (self.identity.clone(), self.config.members.len() as u32);
        let on_mismatch = self.config.on_mismatch;
        let judge = move |guest: &Identity| judge(&identity, ranks, on_mismatch, guest);
        let mut at = 0;
        while at < self.guests.len() {
            let guest = &mut self.guests[at];
            let address = guest.address;
            match guest.talk.pump(&judge) {
                Ok(true) => {
                    let guest = self.guests.remove(at);
                    self.seat(guest)?;
                }
                Ok(false) if guest.since.elapsed() > self.config.timeouts.handshake => {
                    log::warn!(
                        "dropped the connection from {address}: its handshake took too long"
                    );
                    self.guests.remove(at);
                }
                Ok(false) => at += 1,
                Err(Hitch::Io(error)) => {
                    log::debug!("the connection from {address} ended in its handshake: {error}");
                    self.guests.remove(at);
                }
                Err(Hitch::Failure(failure)) => {
                    log::warn!("refused the connection from {address}: {failure}");
                    self.guests.remove(at);
                }
            }
        }
        Ok(())
    }

    /// Gives a guest that has proved itself its place, or fails if a member cannot fit.
    fn seat(&mut self, guest: Guest) -> Result<()> {
        let (identity, status) = guest.talk.finished.expect("the handshake is finished");
        match status {
            Status::Welcome => {
                self.compare_fingerprints(&identity)?;
                // A member dials again only if it has given its first connection up.
                self.streams[identity.rank as usize] = Some(guest.talk.stream);
                Ok(())
            }
            Status::OtherLayout | Status::OtherFingerprint => Err(self.misfit(&identity, status)),
            Status::Stale | Status::NotYet | Status::OtherJob | Status::UnexpectedRank => {
                log::warn!(
                    "refused rank {} of generation {} from {}: {status:?}",
                    identity.rank,
                    identity.generation,
                    guest.address
                );
                Ok(())
            }
        }
    }

    fn compare_fingerprints(&self, peer: &Identity) -> Result<()> {
        if peer.fingerprint == self.identity.fingerprint {
            return Ok(());
        }
        let error = self.misfit(peer, Status::OtherFingerprint);
        match self.config.on_mismatch {
            OnMismatch::Refuse => Err(error),
            OnMismatch::Warn => {
                log::warn!("{error}");
                Ok(())
            }
        }
    }

    /// The error for a member that has proved itself and cannot be had.
    fn misfit(&self, member: &Identity, status: Status) -> Error {
        let peer = self.peer((member.rank as usize).min(self.config.members.len() - 1));
        let generation = self.config.generation;
        let refused = |reason: &str| Error::Refused {
            peer,
            generation,
            reason: reason.into(),
        };
        match status {
            Status::OtherFingerprint => Error::Fingerprint {
                peer,
                ours: self.identity.fingerprint.clone(),
                theirs: member.fingerprint.clone(),
            },
            Status::Stale => Error::StaleGeneration {
                peer,
                ours: generation,
                theirs: member.generation,
            },
            Status::OtherLayout => refused("its members, shards or sizes differ from this rank's"),
            Status::OtherJob => refused("it belongs to another job"),
            Status::UnexpectedRank => refused("it does not expect to be dialed by this rank"),
            Status::Welcome | Status::NotYet => refused("it is not the rank that was dialed"),
        }
    }

    fn advance_dial(&mut self, at: usize) -> Result<()> {
        let dial = &mut self.dials[at];
        let address = self.config.members[dial.rank].address;
        let state = std::mem::replace(&mut dial.state, DialState::Done);
        dial.state = match state {
            DialState::Waiting(until) if until > Instant::now() => DialState::Waiting(until),
            DialState::Waiting(_) => match connect(address) {
                Ok(socket) => DialState::Connecting(socket),
                Err(error) => dial.again(format!("dialing it failed: {error}")),
            },
            DialState::Connecting(socket) => match connected(&socket) {
                Ok(false) => DialState::Connecting(socket),
                Ok(true) => return self.begin_talk(at, socket),
                Err(error) => dial.again(format!("dialing it failed: {error}")),
            },
            DialState::Talking(mut talk) => match talk.pump(&|_| Status::Welcome) {
                Ok(false) => DialState::Talking(talk),
                Ok(true) => return self.finish_dial(at, *talk),
                // Somebody else may have got the port of a member that is gone or not yet back.
                Err(Hitch::Failure(Failure::Garbage)) => dial.again(Failure::Garbage.to_string()),
                Err(Hitch::Failure(failure)) => {
                    return Err(Error::Refused {
                        peer: self.peer(self.dials[at].rank),
                        generation: self.config.generation,
                        reason: failure.to_string(),
                    });
                }
                Err(Hitch::Io(error)) => {
                    dial.unproven += u32::from(talk.has_proved);
                    if dial.unproven >= PROOFS {
                        return Err(Error::Refused {
                            peer: self.peer(self.dials[at].rank),
                            generation: self.config.generation,
                            reason:
                                "it hung up on this rank's proof: its token is probably another"
                                    .into(),
                        });
                    }
                    dial.again(format!("it ended the handshake: {error}"))
                }
            },
            DialState::Done => DialState::Done,
        };
        Ok(())
    }

    fn begin_talk(&mut self, at: usize, socket: Socket) -> Result<()> {
        let stream = TcpStream::from(socket);
        let rank = self.dials[at].rank;
        let failed = |error: String| Error::Refused {
            peer: self.peer(rank),
            generation: self.config.generation,
            reason: error,
        };
        self.prepare(&stream)
            .map_err(|error| failed(format!("its connection takes no options: {error}")))?;
        let token = Arc::clone(&self.listener.token);
        let (handshake, hello) = Handshake::dial(token, self.identity.clone())
            .map_err(|failure| failed(failure.to_string()))?;
        self.dials[at].reason = "it did not answer".into();
        self.dials[at].state = DialState::Talking(Box::new(Talk::new(stream, handshake, hello)));
        self.advance_dial(at)
    }

    fn finish_dial(&mut self, at: usize, talk: Talk) -> Result<()> {
        let (identity, status) = talk.finished.expect("the handshake is finished");
        let rank = self.dials[at].rank;
        match status {
            Status::Welcome
                if identity.rank as usize == rank
                    && identity.generation == self.config.generation
                    && identity.job == self.identity.job =>
            {
                self.compare_fingerprints(&identity)?;
                self.streams[rank] = Some(talk.stream);
                Ok(())
            }
            Status::NotYet => {
                let reason = format!("it is still in generation {}", identity.generation);
                self.dials[at].state = self.dials[at].again(reason);
                Ok(())
            }
            _ => Err(self.misfit(&identity, status)),
        }
    }
}

impl Dial {
    /// Notes why it did not work and when to try again.
    fn again(&mut self, reason: String) -> DialState {
        self.reason = reason;
        let retry = self.retry;
        self.retry = (retry * 2).min(LAST_RETRY);
        DialState::Waiting(Instant::now() + retry)
    }
}

fn judge(own: &Identity, ranks: u32, on_mismatch: OnMismatch, guest: &Identity) -> Status {
    if guest.job != own.job {
        Status::OtherJob
    } else if guest.generation < own.generation {
        Status::Stale
    } else if guest.generation > own.generation {
        Status::NotYet
    } else if guest.layout != own.layout {
        Status::OtherLayout
    } else if guest.rank >= own.rank || guest.rank >= ranks {
        Status::UnexpectedRank
    } else if guest.fingerprint != own.fingerprint && on_mismatch == OnMismatch::Refuse {
        Status::OtherFingerprint
    } else {
        Status::Welcome
    }
}

/// Begins to connect.
fn connect(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Ok(()) => Ok(socket),
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            Ok(socket)
        }
        Err(error) => Err(error),
    }
}

/// Whether a connection that was begun is there.
fn connected(socket: &Socket) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}
