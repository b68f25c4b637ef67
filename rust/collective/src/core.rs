//! The state of a generation: its links, its operations, and how it fails. Everything here happens
//! under one lock and never blocks. Imports links and the table of operations.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{GroupConfig, Timeouts};
use crate::error::{Error, Loss, Peer, Result};
#[cfg(any(test, feature = "fault-injection"))]
use crate::fault::{Fault, FaultPlan};
use crate::frame::{Kind, OpKey};
use crate::link::Link;
use crate::operation::{Operation, Refusal};
use crate::stats::PeerStats;
use crate::wake::Want;
use crate::work::Work;

/// The links and operations of a generation.
pub(crate) struct Core {
    links: Vec<Link>,
    pub(crate) work: Work,
    /// The first failure; nothing moves after it.
    pub(crate) failure: Option<Error>,
    generation: u64,
    members: Vec<Peer>,
    timeouts: Timeouts,
    last_tick: Instant,
    /// Time that callers were blocked.
    pub(crate) blocked: Duration,
    /// Whether a calling thread moves the data at present, and when one last did.
    pub(crate) is_driven: bool,
    pub(crate) last_driven: Option<Instant>,
    #[cfg(any(test, feature = "fault-injection"))]
    pub(crate) plan: FaultPlan,
    #[cfg(any(test, feature = "fault-injection"))]
    frozen_until: Option<Instant>,
}

impl Core {
    /// `streams` has a connection for every rank but this one's.
    pub(crate) fn new(config: &GroupConfig, streams: Vec<Option<TcpStream>>) -> Self {
        let members: Vec<_> = (0u32..)
            .zip(&config.members)
            .map(|(rank, member)| Peer {
                rank,
                address: member.address,
            })
            .collect();
        let own = members[config.rank as usize];
        // Beginning with the next rank, so that not everybody serves the same one first.
        let mut links: Vec<_> = members
            .iter()
            .zip(streams)
            .filter_map(|(peer, stream)| {
                let is_near = peer.address.ip() == own.address.ip();
                let refer_bytes = is_near.then_some(config.tuning.refer_bytes);
                let refer_bytes = refer_bytes.unwrap_or(usize::MAX);
                Some(Link::new(*peer, stream?, config.generation, refer_bytes))
            })
            .collect();
        links.rotate_left(config.rank as usize);
        Core {
            links,
            work: Work::new(config.tuning.early_bytes),
            failure: None,
            generation: config.generation,
            members,
            timeouts: config.timeouts.clone(),
            last_tick: Instant::now(),
            blocked: Duration::ZERO,
            is_driven: false,
            last_driven: None,
            #[cfg(any(test, feature = "fault-injection"))]
            plan: FaultPlan::default(),
            #[cfg(any(test, feature = "fault-injection"))]
            frozen_until: None,
        }
    }

    /// The links' sockets, in the order that [`Self::wants`] and [`Self::progress`] use.
    pub(crate) fn sockets(&self) -> Vec<Arc<TcpStream>> {
        self.links
            .iter()
            .map(|link| Arc::clone(&link.stream))
            .collect()
    }

    /// What to wait for at each socket.
    pub(crate) fn wants(&self) -> Vec<Want> {
        if self.is_frozen(Instant::now()) {
            return vec![Want::Nothing; self.links.len()];
        }
        let is_asking = self.failure.is_none() && self.links.iter().any(Link::is_void);
        let want = |link: &Link| match (is_asking, link.is_void()) {
            (false, _) => link.want(),
            (true, true) => Want::Read,
            (true, false) => Want::Nothing,
        };
        self.links.iter().map(want).collect()
    }

    pub(crate) fn stats(&self) -> Vec<PeerStats> {
        let mut stats: Vec<_> = self.links.iter().map(|link| link.stats.clone()).collect();
        stats.sort_by_key(|stats| stats.peer.rank);
        stats
    }

    /// The error for a call on a generation that has failed.
    pub(crate) fn poisoned(&self) -> Option<Error> {
        let cause = Box::new(self.failure.clone()?);
        Some(Error::Poisoned {
            generation: self.generation,
            cause,
        })
    }

    /// Starts an operation.
    pub(crate) fn start(&mut self, bucket: u32, operation: Box<dyn Operation>) -> Result<OpKey> {
        if let Some(error) = self.poisoned() {
            return Err(error);
        }
        let key = self.work.next_key(bucket).ok_or_else(|| {
            Error::InvalidArgument(format!(
                "bucket {bucket} is still in flight: wait for it before starting it again"
            ))
        })?;
        self.inject_faults();
        let started = self.work.start(key, operation);
        if let Err((from, Refusal::Contradiction(what))) = started {
            self.fail(Error::Mismatch {
                peer: self.members[from],
                what,
            });
        } else if let Err((from, Refusal::TakenBack)) = started {
            let now = Instant::now();
            let mut links = self.links.iter_mut();
            if let Some(link) = links.find(|link| link.peer.rank as usize == from) {
                link.make_void(now);
            }
        } else if let Some(leaver) = self.missed_leaver() {
            self.fail(leaver);
        }
        if let Some(error) = self.failure.clone() {
            self.work.remove(key);
            return Err(error);
        }
        self.post();
        Ok(key)
    }

    /// Gives what operations want to send to the links.
    fn post(&mut self) {
        let Core { work, links, .. } = self;
        for (key, to, item) in work.outbox.drain(..) {
            if let Some(link) = links.iter_mut().find(|link| link.peer.rank as usize == to) {
                link.queue(key, item);
            }
        }
    }

    /// Moves whatever can move now; tells whether anything did. With `readable`, reads only those
    /// links.
    pub(crate) fn progress(&mut self, readable: Option<&[bool]>) -> bool {
        let now = Instant::now();
        if self.is_frozen(now) {
            return false;
        }
        if self.failure.is_some() {
            let mut moved = false;
            for link in &mut self.links {
                moved |= link.part();
            }
            return moved;
        }
        let moved = match self.links.iter().position(Link::is_void) {
            Some(at) => self.ask_why(at, now),
            None => self.move_data(readable, now),
        };
        match moved {
            Ok(moved) => moved,
            Err(error) => {
                self.fail(error);
                true
            }
        }
    }

    fn move_data(&mut self, readable: Option<&[bool]>, now: Instant) -> Result<bool> {
        let mut moved = self.write(now)?;
        let Core { links, work, .. } = self;
        for (at, link) in links.iter_mut().enumerate() {
            if readable.is_none_or(|readable| readable[at]) || link.has_staged() {
                moved |= link.read(work, now)?;
                if link.is_void() {
                    return Ok(true);
                }
            }
        }
        if !self.work.outbox.is_empty() {
            self.post();
            moved |= self.write(now)?;
        }
        self.tick(now)?;
        Ok(moved)
    }

    /// Reads the reason of a peer that has taken back memory. It has given the generation up, since
    /// another has failed it or died, and its word of that comes right behind; who would blame it
    /// for the memory would blame the wrong one. An operation here has read from that memory, so
    /// nothing else moves.
    fn ask_why(&mut self, at: usize, now: Instant) -> Result<bool> {
        let Core { links, work, .. } = self;
        let moved = links[at].read(work, now)?;
        match links[at].unexplained(now, self.timeouts.silence / 2) {
            Some(error) => Err(error),
            None => Ok(moved),
        }
    }

    fn write(&mut self, now: Instant) -> Result<bool> {
        let mut moved = false;
        let Core { links, work, .. } = self;
        for link in links.iter_mut().filter(|link| link.has_outgoing()) {
            moved |= link.write(work, now)?;
        }
        // One-round operations may have finished by having sent everything.
        self.post();
        Ok(moved)
    }

    /// Looks after idle links: heartbeats, silence, and peers that have left.
    fn tick(&mut self, now: Instant) -> Result<()> {
        let slept = now.saturating_duration_since(self.last_tick);
        if slept < self.timeouts.heartbeat / 8 {
            return Ok(());
        }
        self.last_tick = now;
        if let Some(leaver) = self.missed_leaver() {
            return Err(leaver);
        }
        for link in &mut self.links {
            if link.has_left || link.is_leaving {
                // The end of this side lets a peer that has left close its sockets early.
                if link.has_left && !link.has_outgoing() {
                    let _ = link.stream.shutdown(Shutdown::Write);
                }
                continue;
            }
            if now.saturating_duration_since(link.last_sent) >= self.timeouts.heartbeat
                && !link.has_outgoing()
            {
                link.queue_control(Kind::Heartbeat, Vec::new());
            }
            // A rank that was itself asleep has no right to call others silent.
            if link.is_held() || slept > self.timeouts.silence / 2 {
                link.last_heard = now;
            } else if link.quiet(now) > self.timeouts.silence {
                return Err(link.lost(Loss::Silent, &self.work));
            }
        }
        Ok(())
    }

    /// The error for a peer that has left although an operation needs it. A peer whose part is done
    /// may leave.
    fn missed_leaver(&self) -> Option<Error> {
        let mut leavers = self.links.iter().filter(|link| link.has_left);
        let is_needed = |link: &&Link| {
            let rank = link.peer.rank as usize;
            self.work
                .unfinished()
                .any(|(_, operation)| operation.waiting_for().contains(&rank))
        };
        leavers
            .find(is_needed)
            .map(|link| link.lost(Loss::Left, &self.work))
    }

    /// Ends the generation: the first failure is kept, peers are told, nothing moves any more.
    pub(crate) fn fail(&mut self, error: Error) {
        if self.failure.is_some() {
            return;
        }
        log::warn!("generation {} has failed: {error}", self.generation);
        let reason = error.to_string();
        for link in self.links.iter_mut().filter(|link| !link.is_leaving) {
            link.give_up(&reason, &self.work);
        }
        self.failure = Some(error);
    }

    /// Ends a generation that this rank has left in good order.
    pub(crate) fn retire(&mut self) {
        self.failure
            .get_or_insert_with(|| Error::Aborted("this rank has left the generation".into()));
    }

    /// The error of an operation that takes too long.
    pub(crate) fn time_out(&mut self, key: OpKey, elapsed: Duration) {
        let Some(operation) = self.work.get(key) else {
            return;
        };
        let mut names: Vec<_> = operation
            .waiting_for()
            .into_iter()
            .map(|rank| self.members[rank].to_string())
            .collect();
        if names.is_empty() {
            let unread = self.links.iter().filter(|link| link.has_outgoing());
            names = unread
                .map(|link| format!("{} to read", link.peer))
                .collect();
        }
        let waiting_for = names.join(", ");
        let operation = operation.name();
        self.fail(Error::Timeout {
            operation,
            elapsed,
            waiting_for,
        });
    }

    /// How long nobody needs to look after the links unless something arrives.
    pub(crate) fn rest(&self) -> Duration {
        let rest = self.timeouts.heartbeat / 4;
        if self.is_broken_on_purpose() {
            rest.min(Duration::from_millis(1))
        } else {
            rest
        }
    }

    /// Says goodbye; the links still have to be flushed.
    pub(crate) fn say_goodbye(&mut self) {
        for link in &mut self.links {
            link.queue_control(Kind::Goodbye, Vec::new());
            link.is_leaving = true;
        }
    }

    /// Whether everything queued, or after a failure the reason, has been handed to the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        match self.failure {
            Some(_) => self.links.iter().all(Link::has_told),
            None => self.links.iter().all(|link| !link.has_outgoing()),
        }
    }

    /// Whether all peers have ended their streams, too.
    pub(crate) fn is_over(&self) -> bool {
        self.is_flushed() && self.links.iter().all(|link| link.is_over)
    }

    /// Ends this rank's side of all streams; what was sent still arrives.
    pub(crate) fn end_streams(&mut self) {
        for link in &self.links {
            let _ = link.stream.shutdown(Shutdown::Write);
        }
    }
}

#[cfg(not(any(test, feature = "fault-injection")))]
impl Core {
    fn inject_faults(&mut self) {}

    fn is_frozen(&self, _: Instant) -> bool {
        false
    }

    fn is_broken_on_purpose(&self) -> bool {
        false
    }
}

#[cfg(any(test, feature = "fault-injection"))]
impl Core {
    /// Applies the faults planned for the operation that is about to start.
    fn inject_faults(&mut self) {
        for fault in self.plan.due(self.work.started) {
            log::warn!("injecting {fault:?}");
            match fault {
                Fault::Die => {
                    for link in &self.links {
                        let _ = link.stream.shutdown(Shutdown::Both);
                    }
                    self.fail(Error::Aborted(
                        "the fault injector let this rank die".into(),
                    ));
                }
                Fault::Stop(time) => self.frozen_until = Some(Instant::now() + time),
                _ => {
                    for link in self
                        .links
                        .iter_mut()
                        .filter(|link| fault.target() == Some(link.peer.rank))
                    {
                        link.faults.push(fault);
                    }
                }
            }
        }
    }

    fn is_frozen(&self, now: Instant) -> bool {
        self.frozen_until.is_some_and(|until| now < until)
    }

    /// Delays end by the clock, so somebody has to look at it.
    fn is_broken_on_purpose(&self) -> bool {
        self.frozen_until.is_some()
            || self
                .links
                .iter()
                .any(|link| link.want() != Want::Both && link.has_outgoing())
    }
}
