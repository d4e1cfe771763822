//! The `uring` driver: an io_uring a shard, made on the shard's own thread. Invariant: everything here lives on one thread; every
//! operation is named by its connection and the life of its slot, and a connection is told to be gone when none of its operations is left.
//!
//! A turn is one call of the kernel: it takes what was queued, waits for the first completion or the deadline, and leaves all
//! completions there are. Receives are multishot, but of those that flood while turns are short, on buffers that are lent to
//! the shard; a connection has one gathered write under way.
//!
//! Back-pressure: a connection the shard has paused is not received on; while hand-offs to other shards or contacts for the store do not fit, the kernel is given no more buffers to fill, and what it filled
//! before waits here. A connection that closes in order is given [`LINGER`] to take what is queued and to close its own half.

mod connection;
pub mod probe;
mod receives;
mod ring;
mod starved;
mod table;

use crate::driver::doubt::Doubted;
use crate::driver::limits::{HEARTBEAT, LINGER, MAIL_PER_TURN, PUBLISH_EVERY, STORE_AGAIN};
use std::collections::VecDeque;
use std::fs::File;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use tokio::sync::mpsc::Receiver;
use turnout_core::io::{
    ClientTls, Close, Closed, Door, Input, LinkId, Outbox, Output, Side, TlsRole, earlier,
};
use turnout_core::shard::Shard;

use super::share::Share;
use super::{Driver, Turn};
use crate::buffers::Buffers;
use crate::mail::{Admission, Alarm, Mail, Overflow, Post};
use crate::outside::{Outside, Report};
use crate::spool::outlet::{Item, Outlet as SpoolOutlet};
use crate::store::outlet::Outlet;
use connection::{Connection, broken};
use ring::{Completion, Operation, Ring};
use starved::Starved;
use table::{Place, Table};

/// How soon what did not fit another shard's queue is offered again.
const RETRY: Duration = Duration::from_millis(1);

/// Pause after the kernel refused to serve the ring, which can only mean that it has no memory.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);

/// What came in a turn.
#[derive(Clone, Copy, Debug, Default)]
struct Came {
    bytes: usize,
    /// Somebody had little to say.
    little: bool,
    /// Somebody had who says words.
    words: bool,
}

/// io_uring as a driver.
pub struct Uring {
    index: u16,
    ring: Ring,
    table: Table,
    /// Where plain text lies while the shard has it, and cipher text while it is written.
    texts: Buffers,
    mail: Receiver<Mail>,
    post: Post,
    event: RawFd,
    overflow: Overflow,
    outlet: Outlet,
    spool: SpoolOutlet,
    reports: Vec<Report>,
    dials: HashMap<LinkId, ClientTls>,
    log: crate::log::Log,
    outside: Arc<Outside>,
    accepted: u64,
    published: Option<Instant>,
    dirty: bool,
    /// What happened outside of `wait`, for the next turn.
    pending: Vec<Input>,
    completions: Vec<Completion>,
    /// No socket is to be read.
    paused: bool,
    /// What the kernel received all the same.
    parked: Vec<Completion>,
    /// Connections whose receive found no buffer.
    starved: Starved,
    /// What came in this turn.
    came: Came,
    /// Who has had how much.
    share: Share,
    /// Those that say much were kept from receiving in the turn before, so that what little there was went out first.
    brief: bool,
    /// Some wait for a buffer although there are some.
    unfed: bool,
    /// Connections that were given something to write in this turn.
    touched: Vec<Place>,
    /// Connections for which too much waits, with what they had written when that was seen.
    watched: Vec<(Place, u64)>,
    /// Connections that close in order, until when.
    lingering: VecDeque<(Instant, Place)>,
    /// Those of which it is not known whether what was written arrives.
    doubted: Doubted<Place>,
    /// Connections that were busy lately.
    active: Vec<Place>,
}

impl Uring {
    /// A driver for shard `index`. Call it on the shard's own thread.
    ///
    /// # Errors
    /// The kernel gives no ring or no event file: usually a limit of open files or of memory.
    pub fn new(index: u16, mail: Receiver<Mail>, post: Post, outside: Arc<Outside>) -> std::io::Result<Self> {
        let mut ring = Ring::new()?;
        let event = File::from(ring::event_file()?);
        let alarm = Alarm { event, ring: ring.descriptor() };
        let event = alarm.event.as_raw_fd();
        post.install(index, alarm);
        // The alarm lives as long as the post, and so does its descriptor.
        ring.await_event(event);
        Ok(Self {
            index,
            ring,
            table: Table::default(),
            texts: Buffers::new(),
            mail,
            post,
            event,
            overflow: Overflow::default(),
            outlet: outside.outlet(index),
            spool: outside.spool_outlet(index),
            reports: Vec::new(),
            dials: HashMap::new(),
            log: crate::log::Log::default(),
            outside,
            accepted: 0,
            published: None,
            dirty: false,
            pending: Vec::new(),
            completions: Vec::new(),
            paused: false,
            parked: Vec::new(),
            starved: Starved::default(),
            came: Came::default(),
            share: Share::default(),
            brief: false,
            unfed: false,
            touched: Vec::new(),
            watched: Vec::new(),
            lingering: VecDeque::new(),
            doubted: Doubted::default(),
            active: Vec::new(),
        })
    }

    fn take_mail(&mut self, mail: Mail, inputs: &mut Vec<Input>) -> Turn {
        match mail {
            Mail::Handoff(handoff) => inputs.push(Input::Handoff(handoff)),
            Mail::Control(input) => inputs.push(input),
            Mail::Accepted(socket, door, peer, permit) => {
                self.accepted += 1;
                let link = LinkId::accepted(self.index, self.accepted);
                inputs.push(Input::Accepted { link, door, peer });
                self.take_accepted(link, socket, door, permit);
            }
            Mail::Connected(link, socket, direct_tls, peer) => {
                let tls = self.dials.remove(&link).filter(|_| direct_tls).map(TlsRole::Client);
                inputs.push(Input::Connected { link, direct_tls, peer });
                self.adopt(Connection::new(link, socket, None, false), tls);
            }
            Mail::Failed(link, why, text) => {
                self.dials.remove(&link);
                inputs.push(Input::Failed { link, why, text });
            }
            Mail::Stop => return Turn::Over,
        }
        Turn::Next
    }

    fn take_accepted(&mut self, link: LinkId, socket: TcpStream, door: Door, permit: Admission) {
        let tls = door.direct_tls.then_some(TlsRole::Server(door.side));
        let answers_only = door.side == Side::Partners;
        self.adopt(Connection::new(link, socket, Some(permit), answers_only), tls);
    }

    /// Begins to receive on a connection.
    fn adopt(&mut self, mut connection: Connection, tls: Option<TlsRole>) {
        let link = connection.link();
        let ready = connection.prepare();
        let ready =
            ready.and_then(|()| tls.map_or(Ok(()), |role| connection.start_tls(&role, &self.outside)));
        if let Err(text) = ready {
            return self.pending.push(Input::Closed(link, Closed::Broken(text)));
        }
        let Ok(place) = self.table.insert(connection) else {
            let text = "a shard has no room for more connections".into();
            return self.pending.push(Input::Closed(link, Closed::Broken(text)));
        };
        self.receive(place);
        self.flush(place);
    }

    /// Sends what is queued.
    fn flush(&mut self, place: Place) {
        let Some(connection) = self.table.get(place) else { return };
        let flushed = connection.flush(place, &mut self.ring, &mut self.texts, &mut self.pending);
        if !std::mem::replace(&mut connection.active, true) {
            self.active.push(place);
        }
        match flushed {
            Ok(true) => self.doubted.add(place),
            Ok(false) => (),
            Err(why) => self.end(place, why),
        }
    }

    /// Looks what has arrived of what is doubted.
    fn look_at_doubted(&mut self) {
        let Some(mut list) = self.doubted.take() else { return };
        list.retain(|place| {
            self.table.get(*place).is_some_and(|connection| connection.look(&mut self.pending))
        });
        self.doubted.keep(list);
    }

    /// A connection is over: its operations are ended; the shard is told when they are.
    fn end(&mut self, place: Place, why: Closed) {
        let Some(connection) = self.table.get(place).filter(|connection| !connection.is_ending()) else {
            return;
        };
        connection.end(why);
        if connection.under_way > 0 {
            connection.under_way += 1;
            self.ring.cancel(connection.descriptor(), place.token(Operation::Cancel));
        }
        self.bury(place);
    }

    /// Closes a connection that is ending, if nothing of it is under way.
    fn bury(&mut self, place: Place) {
        let Some(connection) = self.table.get(place) else { return };
        if let Some(why) = connection.gone() {
            self.pending.push(Input::Closed(connection.link(), why));
            // The socket is closed and its place under the limit is free.
            drop(self.table.remove(place));
        }
    }

    fn complete(&mut self, completion: Completion) {
        let place = Place::from(completion.token);
        match completion.token.operation {
            Operation::Receive => self.received(place, completion),
            Operation::Send => self.wrote(place, completion.result),
            Operation::Cancel => {
                if let Some(connection) = self.table.get(place) {
                    connection.under_way -= 1;
                    if connection.under_way > 0 {
                        connection.cut();
                    }
                    self.bury(place);
                }
            }
            Operation::Event => self.ring.await_event(self.event),
            Operation::Wake => {
                // The other ring could not be reached: its event file can.
                if let Ok(shard) = u16::try_from(completion.token.slot) {
                    self.post.sound(shard);
                }
            }
            Operation::Woken | Operation::Nothing => (),
        }
    }

    fn wrote(&mut self, place: Place, result: i32) {
        let Some(connection) = self.table.get(place) else { return };
        connection.under_way -= 1;
        let count = usize::try_from(result).unwrap_or(0);
        connection.wrote(place, count, &mut self.ring, &mut self.pending);
        if connection.is_ending() {
            return self.bury(place);
        }
        match -result {
            libc::EINTR | libc::EAGAIN => self.flush(place),
            error @ 1.. => self.end(place, broken(error)),
            _ => self.flush(place),
        }
    }

    fn submit_one(&mut self, output: Output) {
        match output {
            Output::Transmit(link, bytes) => {
                if let Some(place) = self.table.find(link)
                    && let Some(connection) = self.table.get(place)
                {
                    connection.queue(bytes);
                    if !std::mem::replace(&mut connection.touched, true) {
                        self.touched.push(place);
                    }
                }
            }
            Output::Connect(connect) => {
                self.dials.insert(connect.link, connect.tls.clone());
                self.outside.connect(self.index, &self.post, *connect);
            }
            Output::StartTls(link, role) => {
                if let Some(place) = self.table.find(link)
                    && let Some(connection) = self.table.get(place)
                {
                    match connection.start_tls(&role, &self.outside) {
                        Ok(()) => self.touched.push(place),
                        Err(text) => self.end(place, Closed::Broken(text)),
                    }
                }
            }
            Output::Close(link, how) => self.close(link, how == Close::Abort),
            Output::Pause(link) => self.pause_one(link, true),
            Output::Resume(link) => self.pause_one(link, false),
            Output::Handoff(shard, handoff) => self.overflow.send(&self.post, shard, handoff),
            Output::Holding(id) => self.reports.push(Report::Holding(id)),
            Output::Settled(id) => self.reports.push(Report::Settled(id)),
            Output::Persist(seq, record) => {
                self.pending.extend(self.outlet.take(seq, *record).map(Input::Persisted));
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

    fn close(&mut self, link: LinkId, abort: bool) {
        let Some(place) = self.table.find(link) else {
            // Dialed and not yet there: should it come all the same, the shard no longer knows it and closes it again.
            self.dials.remove(&link);
            return self.pending.push(Input::Closed(link, Closed::Ours));
        };
        if abort {
            return self.end(place, Closed::Ours);
        }
        if let Some(connection) = self.table.get(place) {
            connection.finish();
        }
        self.flush(place);
        self.lingering.push_back((crate::clock::now() + LINGER, place));
    }

    /// How long the turn may wait.
    fn patience(&self, deadline: Option<Instant>) -> Duration {
        let now = crate::clock::now();
        let pause = if self.dirty { PUBLISH_EVERY } else { HEARTBEAT };
        // The first turn comes at once: until then nobody knows that the shard is there.
        let mut due = earlier(deadline, Some(self.published.map_or(now, |at| at + pause)));
        due = earlier(due, self.lingering.front().map(|(until, _)| *until));
        due = earlier(due, self.doubted.due());
        if !self.overflow.is_empty() || !self.reports.is_empty() {
            due = earlier(due, Some(now + RETRY));
        }
        if !self.outlet.is_empty() || !self.spool.is_empty() {
            due = earlier(due, Some(now + STORE_AGAIN));
        }
        due.map_or(HEARTBEAT, |due| due.saturating_duration_since(now))
    }

    /// One call of the kernel. Gives the mail that was there before.
    fn sleep(&mut self, deadline: Option<Instant>) -> Option<Mail> {
        let parked = !self.paused && !self.parked.is_empty();
        let mut mail = self.mail.try_recv().ok();
        let mut awake = mail.is_some() || parked || !self.pending.is_empty() || !self.watched.is_empty();
        awake |= self.unfed;
        if !awake {
            // What is sent from here on rings.
            self.post.asleep(self.index);
            mail = self.mail.try_recv().ok();
            awake = mail.is_some();
        }
        let patience = if awake { None } else { Some(self.patience(deadline)) };
        if let Err(error) = self.ring.enter(patience) {
            tracing::error!(
                event = "driver.failed",
                shard = self.index,
                "the kernel does not serve the ring: {error}"
            );
            std::thread::sleep(REFUSED_PAUSE);
        }
        self.post.awake(self.index);
        mail.or_else(|| self.mail.try_recv().ok())
    }

    /// What the kernel has completed becomes what happened.
    fn complete_all(&mut self) {
        self.came = Came::default();
        let mut completions = std::mem::take(&mut self.completions);
        if !self.paused {
            completions.append(&mut self.parked);
        }
        self.ring.drain(&mut completions);
        for completion in completions.drain(..) {
            self.complete(completion);
        }
        self.completions = completions;
        self.share();
        self.feed_starved();
        self.cut_overfull();
        self.end_lingering();
        self.look_at_doubted();
    }

    /// Ends connections for which too much waits and whose socket has taken nothing more since.
    fn cut_overfull(&mut self) {
        let mut watched = std::mem::take(&mut self.watched);
        watched.retain_mut(|(place, sent)| {
            let Some(connection) = self.table.get(*place).filter(|connection| connection.is_overfull())
            else {
                return false;
            };
            if connection.sent() > *sent {
                *sent = connection.sent();
                return true;
            }
            let why = connection.overfull();
            self.end(*place, why);
            false
        });
        self.watched = watched;
    }

    fn end_lingering(&mut self) {
        if self.lingering.is_empty() {
            return;
        }
        let now = crate::clock::now();
        while let Some((until, place)) = self.lingering.front().copied()
            && until <= now
        {
            self.lingering.pop_front();
            self.end(place, Closed::Ours);
        }
    }

    /// Wakes the shards that were sent something and sleep.
    fn wake_others(&mut self) {
        let (ring, post) = (&mut self.ring, &self.post);
        self.overflow.wake(post, |shard| {
            if let Some(alarm) = post.alarm(shard) {
                ring.wake(shard, alarm.ring);
            }
        });
    }
}

impl Driver for Uring {
    fn wait(&mut self, deadline: Option<Instant>, inputs: &mut Vec<Input>) -> Turn {
        let mut turn = Turn::Next;
        self.texts.rewind();
        let mut next = self.sleep(deadline);
        // Mail before sockets: what other shards handed over is older than what is read now.
        for _ in 0..MAIL_PER_TURN {
            let Some(mail) = next.take() else { break };
            if self.take_mail(mail, inputs) == Turn::Over {
                turn = Turn::Over;
            }
            next = self.mail.try_recv().ok();
        }
        if let Some(mail) = next
            && self.take_mail(mail, inputs) == Turn::Over
        {
            turn = Turn::Over;
        }
        self.complete_all();
        if inputs.is_empty() {
            std::mem::swap(inputs, &mut self.pending);
        } else {
            inputs.append(&mut self.pending);
        }
        self.dirty |= !inputs.is_empty();
        turn
    }

    fn submit(&mut self, out: &mut Outbox) {
        for output in out.outputs.drain(..) {
            self.submit_one(output);
        }
        let mut touched = std::mem::take(&mut self.touched);
        for place in touched.drain(..) {
            self.flush(place);
            if let Some(connection) = self.table.get(place).filter(|connection| connection.is_overfull()) {
                let sent = connection.sent();
                self.watched.push((place, sent));
            }
        }
        self.touched = touched;
        self.overflow.flush(&self.post);
        self.outlet.flush();
        self.spool.flush();
        self.wake_others();
        let reports = &self.outside.reports;
        // A report says that nothing older is on its way: it goes after all that was handed over before it.
        if self.overflow.is_empty() {
            let sent = self.reports.iter().take_while(|report| reports.try_send(**report).is_ok()).count();
            self.reports.drain(..sent);
        }
        self.pause();
    }

    fn publish(&mut self, now: Instant, shard: &mut Shard) {
        if self.published.is_some_and(|at| now < at + PUBLISH_EVERY) {
            return;
        }
        self.published = Some(now);
        self.dirty = false;
        self.ring.buffers.trim();
        self.texts.trim();
        let table = &mut self.table;
        self.active.retain(|place| {
            let Some(connection) = table.get(*place) else { return false };
            connection.active = !connection.rest(now);
            connection.active
        });
        self.post.set_load(self.index, self.table.len() as u64);
        self.outside.publish(self.index, shard);
    }
}

#[cfg(test)]
mod tests;
