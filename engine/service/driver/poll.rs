//! The `poll` driver: tokio on the shard's own thread. Invariant: everything here lives on one thread; a connection's bytes are
//! read by its one task and written from `submit` or its one writing task, so they keep their order.
//!
//! Back-pressure: while hand-offs to other shards do not fit, no socket is read. A connection that closes in order is given
//! [`LINGER`] to take what is queued and to close its own half.

mod connection;

use std::cell::{Cell, RefCell};
use std::net::TcpStream as StdStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::Receiver;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::LocalSet;
use turnout_core::io::{ClientTls, Closed, Door, Input, LinkId, Outbox, Output, Side, TlsRole};
use turnout_core::shard::Shard;

use super::{Driver, Turn};
use crate::mail::{Mail, Overflow, Post};
use crate::outside::{Outside, Report};
use connection::Connection;

/// How long a connection that is closed in order may take to finish.
const LINGER: Duration = Duration::from_secs(5);

/// How often the outside sees new counters.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// How often a shard turns that has nothing to do, so that one that is stuck can be told from one that is idle.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Messages taken from other threads in one turn.
const MAIL_PER_TURN: usize = 4096;

/// Hand-offs that may wait for room before sockets are no longer read.
const OVERFLOW_MAX: usize = 1024;

/// What the tasks of one shard's connections share.
struct Shared {
    inputs: RefCell<Vec<Input>>,
    ready: Notify,
    connections: RefCell<HashMap<LinkId, Rc<Connection>>>,
    paused: Cell<bool>,
    resumed: Notify,
    outside: Arc<Outside>,
}

impl Shared {
    fn push(&self, input: Input) {
        self.inputs.borrow_mut().push(input);
        self.ready.notify_one();
    }

    /// The connection is gone: said once, whoever notices first.
    fn closed(&self, link: LinkId, why: Closed) {
        if self.connections.borrow_mut().remove(&link).is_some() {
            self.push(Input::Closed(link, why));
        }
    }
}

/// Tokio as a driver.
pub struct Poll {
    index: u16,
    runtime: Runtime,
    local: LocalSet,
    shared: Rc<Shared>,
    mail: Receiver<Mail>,
    post: Post,
    overflow: Overflow,
    reports: Vec<Report>,
    dials: HashMap<LinkId, ClientTls>,
    log: crate::log::Log,
    accepted: u64,
    published: Option<Instant>,
    dirty: bool,
}

impl Poll {
    /// A driver for shard `index`. Call it on the shard's own thread.
    ///
    /// # Errors
    /// The kernel gives no poller: usually the limit of open files.
    pub fn new(index: u16, mail: Receiver<Mail>, post: Post, outside: Arc<Outside>) -> std::io::Result<Self> {
        Ok(Self {
            index,
            runtime: Builder::new_current_thread().enable_io().enable_time().build()?,
            local: LocalSet::new(),
            shared: Rc::new(Shared {
                inputs: RefCell::default(),
                ready: Notify::new(),
                connections: RefCell::default(),
                paused: Cell::new(false),
                resumed: Notify::new(),
                outside,
            }),
            mail,
            post,
            overflow: Overflow::default(),
            reports: Vec::new(),
            dials: HashMap::new(),
            log: crate::log::Log::default(),
            accepted: 0,
            published: None,
            dirty: false,
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
                if let Err(text) = self.adopt(link, stream, tls, None, false) {
                    inputs.push(Input::Closed(link, Closed::Broken(text)));
                }
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
        permit: OwnedSemaphorePermit,
        inputs: &mut Vec<Input>,
    ) {
        self.accepted += 1;
        let link = LinkId::accepted(self.index, self.accepted);
        inputs.push(Input::Accepted { link, door, peer });
        let tls = door.direct_tls.then_some(TlsRole::Server(door.side));
        let answers_only = door.side == Side::Partners;
        if let Err(text) = self.adopt(link, stream, tls, Some(permit), answers_only) {
            inputs.push(Input::Closed(link, Closed::Broken(text)));
        }
    }

    /// Makes a connection of a socket and starts reading it.
    fn adopt(
        &mut self,
        link: LinkId,
        stream: StdStream,
        tls: Option<TlsRole>,
        permit: Option<OwnedSemaphorePermit>,
        answers_only: bool,
    ) -> Result<(), Arc<str>> {
        let stream = {
            let _inside = self.runtime.enter();
            TcpStream::from_std(stream).map_err(|error| Arc::from(error.to_string()))?
        };
        let connection = Rc::new(Connection::new(link, stream, permit, answers_only));
        if let Some(role) = tls {
            connection.start_tls(&role, &self.shared.outside)?;
        }
        self.shared.connections.borrow_mut().insert(link, Rc::clone(&connection));
        self.local.spawn_local(connection::read(connection, Rc::clone(&self.shared)));
        Ok(())
    }

    fn connection(&self, link: LinkId) -> Option<Rc<Connection>> {
        self.shared.connections.borrow().get(&link).cloned()
    }

    /// Writes what is queued on a connection; starts its writing task when the socket is full.
    fn flush(&self, connection: &Rc<Connection>) {
        if connection::flush(connection, &self.shared) {
            self.local.spawn_local(connection::write(Rc::clone(connection), Rc::clone(&self.shared)));
        }
    }

    fn submit_one(&mut self, output: Output, touched: &mut Vec<LinkId>) {
        match output {
            Output::Transmit(link, bytes) => {
                if let Some(connection) = self.connection(link) {
                    connection.queue(bytes);
                    if touched.last() != Some(&link) {
                        touched.push(link);
                    }
                }
            }
            Output::Connect(connect) => {
                self.dials.insert(connect.link, connect.tls.clone());
                self.shared.outside.connect(self.index, &self.post, *connect);
            }
            Output::StartTls(link, role) => {
                if let Some(connection) = self.connection(link)
                    && let Err(text) = connection.start_tls(&role, &self.shared.outside)
                {
                    self.shared.closed(link, Closed::Broken(text));
                    connection.stop();
                }
                touched.push(link);
            }
            Output::Close(link, how) => self.close(link, how == turnout_core::io::Close::Abort),
            Output::Handoff(shard, handoff) => self.overflow.send(&self.post, shard, handoff),
            Output::Holding(id) => self.reports.push(Report::Holding(id)),
            Output::Settled(id) => self.reports.push(Report::Settled(id)),
            Output::Drained => self.reports.push(Report::Drained(self.index)),
            Output::Note(note) => self.log.note(crate::clock::now(), self.index, &note),
        }
    }

    fn close(&mut self, link: LinkId, abort: bool) {
        let Some(connection) = self.connection(link) else {
            // Dialed and not yet there: should it come all the same, the shard no longer knows it and closes it again.
            self.dials.remove(&link);
            self.shared.push(Input::Closed(link, Closed::Ours));
            return;
        };
        if abort {
            self.shared.closed(link, Closed::Ours);
            connection.stop();
            return;
        }
        connection.finish();
        self.flush(&connection);
        // Held weakly: a peer that ends at once frees the socket and its place under the limit at once.
        let (shared, connection) = (Rc::clone(&self.shared), Rc::downgrade(&connection));
        self.local.spawn_local(async move {
            tokio::time::sleep(LINGER).await;
            if let Some(connection) = connection.upgrade() {
                shared.closed(link, Closed::Ours);
                connection.stop();
            }
        });
    }

    /// Waits for the first of: a connection's input, mail, the deadline.
    fn sleep(&mut self, deadline: Option<Instant>) -> Option<Mail> {
        let shared = Rc::clone(&self.shared);
        let mail = &mut self.mail;
        self.local.block_on(&self.runtime, async move {
            // Every connection that is readable now gets its turn before the shard does: one batch, not many.
            tokio::task::yield_now().await;
            if !shared.inputs.borrow().is_empty() {
                return mail.try_recv().ok();
            }
            let due = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                mail = mail.recv() => Some(mail.unwrap_or(Mail::Stop)),
                () = shared.ready.notified() => {
                    tokio::task::yield_now().await;
                    None
                }
                () = due => None,
            }
        })
    }
}

impl Driver for Poll {
    fn wait(&mut self, deadline: Option<Instant>, inputs: &mut Vec<Input>) -> Turn {
        let pause = if self.dirty { PUBLISH_EVERY } else { HEARTBEAT };
        // The first turn comes at once: until then nobody knows that the shard is there.
        let publish = Some(self.published.map_or_else(crate::clock::now, |at| at + pause));
        let mut deadline = turnout_core::io::earlier(deadline, publish);
        if !self.overflow.is_empty() || !self.reports.is_empty() {
            deadline =
                turnout_core::io::earlier(deadline, Some(crate::clock::now() + Duration::from_millis(1)));
        }
        let mut turn = Turn::Next;
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
        inputs.append(&mut self.shared.inputs.borrow_mut());
        self.dirty |= !inputs.is_empty();
        turn
    }

    fn submit(&mut self, out: &mut Outbox) {
        let mut touched: Vec<LinkId> = Vec::new();
        for output in out.outputs.drain(..) {
            self.submit_one(output, &mut touched);
        }
        touched.sort_unstable();
        touched.dedup();
        for link in touched {
            if let Some(connection) = self.connection(link) {
                self.flush(&connection);
                if let Some(text) = connection.overfull() {
                    self.shared.closed(link, Closed::Broken(text));
                    connection.stop();
                }
            }
        }
        self.overflow.flush(&self.post);
        let reports = &self.shared.outside.reports;
        // A report says that nothing older is on its way: it goes after all that was handed over before it.
        if self.overflow.is_empty() {
            let sent = self.reports.iter().take_while(|report| reports.try_send(**report).is_ok()).count();
            self.reports.drain(..sent);
        }
        let paused = self.overflow.len() > OVERFLOW_MAX;
        if self.shared.paused.replace(paused) && !paused {
            self.shared.resumed.notify_waiters();
        }
    }

    fn publish(&mut self, now: Instant, shard: &mut Shard) {
        if self.published.is_some_and(|at| now < at + PUBLISH_EVERY) {
            return;
        }
        self.published = Some(now);
        self.dirty = false;
        let links = self.shared.connections.borrow().len() as u64;
        self.post.set_load(self.index, links);
        self.shared.outside.publish(self.index, shard);
    }
}

#[cfg(test)]
mod tests;
