//! The `poll` driver: epoll (kqueue elsewhere), edge-triggered, on the shard's own thread. Invariant: everything here lives on one
//! thread and nothing in it waits but [`Driver::wait`]; a connection's bytes are read and written in order.
//!
//! A turn reads every socket that has something, up to [`TURN_BYTES`](super::share::TURN_BYTES) in all and in [`rounds`], so that a flood fills whole
//! batches and starves nobody; what comes alone is passed on at once, at the price of three system calls: wait, read, write.
//!
//! Back-pressure: a connection the shard has paused is not read; while hand-offs to other shards or contacts for the store do not fit,
//! none is. A connection that closes in order is given
//! [`sockets::LINGER`] to take what is queued and to close its own half.

mod bell;
mod connection;
mod rounds;
mod sockets;

use crate::driver::limits::{
    HEARTBEAT, MAIL_PER_TURN, OVERFLOW_MAX, PUBLISH_EVERY, STORE_AGAIN, UNSTORED_MAX,
};
use std::net::TcpStream as StdStream;
use std::sync::Arc;
use std::task::{Context, Poll as Polled, Waker};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use mio::Events;
use tokio::sync::mpsc::Receiver;
use turnout_core::io::{
    ClientTls, Close, Closed, Door, Input, LinkId, Outbox, Output, Side, TlsRole, earlier,
};
use turnout_core::shard::Shard;

use super::{Driver, Turn};
use crate::mail::{Admission, Mail, Overflow, Post};
use crate::outside::{Outside, Report};
use crate::spool::outlet::{Item, Outlet as SpoolOutlet};
use crate::store::outlet::Outlet;
use bell::Bell;
use sockets::{Sockets, WAKE};

/// How soon what another shard's full queue did not take is offered again.
const AGAIN: Duration = Duration::from_millis(1);

/// Sockets whose readiness one call tells.
const EVENTS: usize = 1024;

/// The driver of one shard.
pub struct Poll {
    index: u16,
    poller: mio::Poll,
    events: Events,
    sockets: Sockets,
    /// What happened outside of [`Driver::wait`].
    inputs: Vec<Input>,
    bell: Arc<Bell>,
    waker: Waker,
    mail: Receiver<Mail>,
    post: Post,
    overflow: Overflow,
    outlet: Outlet,
    spool: SpoolOutlet,
    reports: Vec<Report>,
    dials: HashMap<LinkId, ClientTls>,
    outside: Arc<Outside>,
    log: crate::log::Log,
    accepted: u64,
    published: Option<Instant>,
    /// When a turn was last made for the counters' sake.
    turned: Option<Instant>,
    dirty: bool,
    paused: bool,
    /// The last turn did not look at the sockets.
    skipped: bool,
}

impl Poll {
    /// A driver for shard `index`. Call it on the shard's own thread.
    ///
    /// # Errors
    /// The kernel gives no poller: usually the limit of open files.
    pub fn new(index: u16, mail: Receiver<Mail>, post: Post, outside: Arc<Outside>) -> std::io::Result<Self> {
        let poller = mio::Poll::new()?;
        let bell = Arc::new(Bell::new(poller.registry(), WAKE)?);
        Ok(Self {
            index,
            sockets: Sockets::new(poller.registry().try_clone()?),
            poller,
            events: Events::with_capacity(EVENTS),
            inputs: Vec::new(),
            waker: Waker::from(Arc::clone(&bell)),
            bell,
            mail,
            post,
            overflow: Overflow::default(),
            outlet: outside.outlet(index),
            spool: outside.spool_outlet(index),
            reports: Vec::new(),
            dials: HashMap::new(),
            outside,
            log: crate::log::Log::default(),
            accepted: 0,
            published: None,
            turned: None,
            dirty: false,
            paused: false,
            skipped: false,
        })
    }

    fn take_mail(&mut self, mail: Mail, inputs: &mut Vec<Input>) -> Turn {
        match mail {
            Mail::Handoff(handoff) => inputs.push(Input::Handoff(handoff)),
            Mail::Control(input) => inputs.push(input),
            Mail::Accepted(stream, door, peer, permit) => {
                self.take_accepted(stream, door, peer, permit, inputs)
            }
            Mail::Connected(link, stream, direct_tls, peer) => {
                let tls = self.dials.remove(&link).filter(|_| direct_tls).map(TlsRole::Client);
                inputs.push(Input::Connected { link, direct_tls, peer });
                self.adopt(link, stream, tls, None, false, inputs);
            }
            Mail::Failed(link, why, text) => {
                self.dials.remove(&link);
                inputs.push(Input::Failed { link, why, text });
            }
            Mail::Stop => return Turn::Over,
        }
        Turn::Next
    }

    fn take_accepted(
        &mut self,
        stream: StdStream,
        door: Door,
        peer: Arc<str>,
        permit: Admission,
        inputs: &mut Vec<Input>,
    ) {
        self.accepted += 1;
        let link = LinkId::accepted(self.index, self.accepted);
        inputs.push(Input::Accepted { link, door, peer });
        let tls = door.direct_tls.then_some(TlsRole::Server(door.side));
        let answers_only = door.side == Side::Partners;
        self.adopt(link, stream, tls, Some(permit), answers_only, inputs);
    }

    /// Makes a connection of a socket.
    fn adopt(
        &mut self,
        link: LinkId,
        stream: StdStream,
        tls: Option<TlsRole>,
        permit: Option<Admission>,
        answers_only: bool,
        inputs: &mut Vec<Input>,
    ) {
        if let Err(text) = self.sockets.adopt(link, stream, permit, answers_only) {
            inputs.push(Input::Closed(link, Closed::Broken(text)));
        } else if let Some(role) = tls {
            self.sockets.start_tls(link, &role, &self.outside, inputs);
            self.sockets.flush_touched(inputs);
        }
    }

    /// All mail that is there. Called before sockets are read: what other shards handed over is older than what is read now.
    fn read_mail(&mut self, inputs: &mut Vec<Input>) -> Turn {
        let mut turn = Turn::Next;
        for _ in 0..MAIL_PER_TURN {
            let Ok(mail) = self.mail.try_recv() else { break };
            if self.take_mail(mail, inputs) == Turn::Over {
                turn = Turn::Over;
            }
        }
        turn
    }

    /// Waits for the first of: a socket, mail, the deadline.
    fn sleep(&mut self, deadline: Option<Instant>, inputs: &mut Vec<Input>) -> Turn {
        self.bell.arm();
        let mut turn = Turn::Next;
        let mail = self.mail.poll_recv(&mut Context::from_waker(&self.waker));
        let timeout = match mail {
            Polled::Ready(mail) => {
                turn = self.take_mail(mail.unwrap_or(Mail::Stop), inputs);
                Some(Duration::ZERO)
            }
            Polled::Pending => self.until(deadline),
        };
        self.look(timeout, inputs);
        self.bell.disarm();
        turn
    }

    /// How long to sleep.
    fn until(&mut self, deadline: Option<Instant>) -> Option<Duration> {
        let now = crate::clock::now();
        let pause = if self.dirty { PUBLISH_EVERY } else { HEARTBEAT };
        // The first turn comes at once: until then nobody knows that the shard is there.
        let publish = self.published.max(self.turned).map_or(now, |at| at + pause);
        if publish <= now {
            self.turned = Some(now);
        }
        let mut deadline = earlier(earlier(deadline, Some(publish)), self.sockets.deadline());
        if !self.overflow.is_empty() || !self.reports.is_empty() {
            deadline = earlier(deadline, Some(now + AGAIN));
        }
        if !self.outlet.is_empty() || !self.spool.is_empty() {
            deadline = earlier(deadline, Some(now + STORE_AGAIN));
        }
        deadline.map(|at| at.saturating_duration_since(now))
    }

    /// Takes note of which sockets are ready.
    fn look(&mut self, timeout: Option<Duration>, inputs: &mut Vec<Input>) {
        // An interrupted call tells of no event; whatever else is wrong with a poller does not go away, and shows as a shard that
        // does not turn.
        if self.poller.poll(&mut self.events, timeout).is_ok() {
            for event in &self.events {
                self.sockets.ready(event, inputs);
            }
        }
        self.sockets.end_lingering(inputs);
        self.sockets.look_at_doubted(inputs);
    }

    fn submit_one(&mut self, output: Output) {
        match output {
            Output::Transmit(link, bytes) => self.sockets.queue(link, bytes),
            Output::Connect(connect) => {
                self.dials.insert(connect.link, connect.tls.clone());
                self.outside.connect(self.index, &self.post, *connect);
            }
            Output::StartTls(link, role) => {
                self.sockets.start_tls(link, &role, &self.outside, &mut self.inputs)
            }
            Output::Close(link, how) => {
                if !self.sockets.close(link, how == Close::Abort, &mut self.inputs) {
                    // Dialed and not yet there: should it come all the same, the shard no longer knows it and closes it again.
                    self.dials.remove(&link);
                    self.inputs.push(Input::Closed(link, Closed::Ours));
                }
            }
            Output::Pause(link) => self.sockets.pause(link, true),
            Output::Resume(link) => self.sockets.pause(link, false),
            Output::Handoff(shard, handoff) => self.overflow.send(&self.post, shard, handoff),
            Output::Holding(id) => self.reports.push(Report::Holding(id)),
            Output::Settled(id) => self.reports.push(Report::Settled(id)),
            Output::Persist(seq, record) => {
                self.inputs.extend(self.outlet.take(seq, *record).map(Input::Persisted));
            }
            Output::Spool(entry) => self.spool.take(Item::Entry(entry)),
            Output::Unspool(key) => self.spool.take(Item::Done(key)),
            Output::Told(number, told) => self.outside.questions.answer(number, *told),
            Output::Surveyed(number, found) => self.outside.surveys.answer(number, *found),
            Output::Drained => self.reports.push(Report::Drained(self.index)),
            Output::Note(note) => {
                if self.log.note(crate::clock::now(), self.index, &note) {
                    self.outside.noted(self.index, &note);
                }
            }
        }
    }
}

impl Driver for Poll {
    fn wait(&mut self, deadline: Option<Instant>, inputs: &mut Vec<Input>) -> Turn {
        inputs.append(&mut self.inputs);
        let mut turn = self.read_mail(inputs);
        let waiting = self.sockets.has_ready() && !self.paused;
        if inputs.is_empty() && turn == Turn::Next && !waiting {
            turn = self.sleep(deadline, inputs);
            if self.read_mail(inputs) == Turn::Over {
                turn = Turn::Over;
            }
        } else if waiting || self.skipped {
            self.look(Some(Duration::ZERO), inputs);
        } else {
            // What is known is enough for a turn: usually that the last one's bytes were written.
            self.skipped = true;
            self.dirty = true;
            return turn;
        }
        self.skipped = false;
        if !self.paused {
            self.sockets.read(inputs);
        }
        self.dirty |= !inputs.is_empty();
        turn
    }

    fn submit(&mut self, out: &mut Outbox) {
        for output in out.outputs.drain(..) {
            self.submit_one(output);
        }
        self.sockets.flush_touched(&mut self.inputs);
        self.overflow.flush(&self.post);
        self.outlet.flush();
        self.spool.flush();
        let reports = &self.outside.reports;
        // A report says that nothing older is on its way: it goes after all that was handed over before it.
        if self.overflow.is_empty() && !self.reports.is_empty() {
            let sent = self.reports.iter().take_while(|report| reports.try_send(**report).is_ok()).count();
            self.reports.drain(..sent);
        }
        let unstored = self.outlet.len() + self.spool.len();
        self.paused = self.overflow.len() > OVERFLOW_MAX || unstored > UNSTORED_MAX;
    }

    fn publish(&mut self, now: Instant, shard: &mut Shard) {
        if self.published.is_some_and(|at| now < at + PUBLISH_EVERY) {
            return;
        }
        self.published = Some(now);
        self.dirty = false;
        self.sockets.rest(now);
        self.post.set_load(self.index, self.sockets.len() as u64);
        self.outside.publish(self.index, shard);
    }
}
