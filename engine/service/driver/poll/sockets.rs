//! The connections of one shard and who of them is ready. Invariant: `by_link` and `slots` name the same connections; one that is
//! closed leaves both, and the shard is told, in the same step, so it is told once.

use crate::driver::doubt::Doubted;
use crate::driver::limits::{LINGER, notice_the_dead};
use crate::mail::Admission;
use std::collections::VecDeque;
use std::net::TcpStream as StdStream;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hashbrown::HashMap;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::SockRef;
use turnout_core::io::{Closed, Input, LinkId, TlsRole};

use super::connection::{Connection, Memory, Read};
use super::rounds::Rounds;
use crate::outside::Outside;

/// Connections looked at in one [`Sockets::rest`].
const REST_AT_ONCE: usize = 256;

/// The event that is no socket's.
pub(super) const WAKE: Token = Token(usize::MAX);

/// The connections of one shard.
pub(super) struct Sockets {
    registry: Registry,
    slots: Vec<Option<Box<Connection>>>,
    free: Vec<usize>,
    by_link: HashMap<LinkId, usize>,
    /// The slot last looked up: outputs for one link come in runs.
    last: usize,
    /// Slots to be read.
    ready: Rounds,
    /// Slots to be written, each once.
    touched: Vec<usize>,
    /// Closed by us, with the time at which patience ends.
    lingering: VecDeque<(Instant, LinkId)>,
    /// Those of which it is not known whether what was written arrives.
    doubted: Doubted<LinkId>,
    memory: Memory,
    rested: usize,
}

impl Sockets {
    pub(super) fn new(registry: Registry) -> Self {
        Self {
            registry,
            slots: Vec::new(),
            free: Vec::new(),
            by_link: HashMap::new(),
            last: 0,
            ready: Rounds::default(),
            touched: Vec::new(),
            lingering: VecDeque::new(),
            doubted: Doubted::default(),
            memory: Memory::new(),
            rested: 0,
        }
    }

    /// How many connections there are.
    pub(super) fn len(&self) -> usize {
        self.by_link.len()
    }

    /// Takes a socket.
    ///
    /// # Errors
    /// The kernel does not take it into the poller.
    pub(super) fn adopt(
        &mut self,
        link: LinkId,
        stream: StdStream,
        permit: Option<Admission>,
        answers_only: bool,
    ) -> Result<(), Arc<str>> {
        notice_the_dead(SockRef::from(&stream));
        let mut stream = TcpStream::from_std(stream);
        let slot = self.free.last().copied().unwrap_or(self.slots.len());
        self.registry
            .register(&mut stream, Token(slot), Interest::READABLE | Interest::WRITABLE)
            .map_err(|error| Arc::from(error.to_string()))?;
        let connection = Some(Box::new(Connection::new(link, stream, permit, answers_only)));
        if self.free.pop().is_some() {
            self.slots[slot] = connection;
        } else {
            self.slots.push(connection);
        }
        self.by_link.insert(link, slot);
        Ok(())
    }

    /// Queues bytes; they leave with [`Sockets::flush_touched`].
    pub(super) fn queue(&mut self, link: LinkId, bytes: Bytes) {
        if let Some(slot) = self.find(link) {
            self.touch(slot, |connection| connection.queue(bytes));
        }
    }

    /// Begins TLS on a connection.
    pub(super) fn start_tls(
        &mut self,
        link: LinkId,
        role: &TlsRole,
        outside: &Outside,
        inputs: &mut Vec<Input>,
    ) {
        let Some(slot) = self.find(link) else { return };
        match outside.tls_session(role) {
            Ok(session) => self.touch(slot, |connection| connection.start_tls(session)),
            Err(text) => self.remove(slot, Closed::Broken(text), inputs),
        }
    }

    /// Ends a connection; false where there is none of that name.
    pub(super) fn close(&mut self, link: LinkId, abort: bool, inputs: &mut Vec<Input>) -> bool {
        let Some(slot) = self.find(link) else { return false };
        if abort {
            self.remove(slot, Closed::Ours, inputs);
        } else {
            self.lingering.push_back((crate::clock::now() + LINGER, link));
            self.touch(slot, |connection| connection.finishing = true);
        }
        true
    }

    /// Reads no more from a connection, or again. What the kernel holds for it meanwhile stays there, and so the peer comes to wait.
    pub(super) fn pause(&mut self, link: LinkId, paused: bool) {
        let Some(slot) = self.find(link) else { return };
        let Some(connection) = self.slots[slot].as_mut() else { return };
        let was = std::mem::replace(&mut connection.paused, paused);
        if was != paused {
            self.ready.hold(slot, paused);
        }
        if was && !paused && connection.ready {
            self.ready.push(slot);
        }
        if !was && paused && connection.ready {
            self.ready.remove(slot);
        }
    }

    /// When the next of those closed by us runs out of time, or it is to be looked again what has arrived.
    pub(super) fn deadline(&self) -> Option<Instant> {
        turnout_core::io::earlier(self.lingering.front().map(|(at, _)| *at), self.doubted.due())
    }

    /// Looks what has arrived of what is doubted.
    pub(super) fn look_at_doubted(&mut self, inputs: &mut Vec<Input>) {
        let Some(mut list) = self.doubted.take() else { return };
        list.retain(|link| {
            let connection = self.find(*link).and_then(|slot| self.slots[slot].as_mut());
            connection.is_some_and(|connection| connection.look(inputs))
        });
        self.doubted.keep(list);
    }

    /// Cuts those that were closed by us and have run out of time.
    pub(super) fn end_lingering(&mut self, inputs: &mut Vec<Input>) {
        if self.lingering.is_empty() {
            return;
        }
        let now = crate::clock::now();
        while let Some((_, link)) = self.lingering.front().copied().filter(|(at, _)| *at <= now) {
            self.lingering.pop_front();
            if let Some(slot) = self.find(link) {
                self.remove(slot, Closed::Ours, inputs);
            }
        }
    }

    /// Writes everything that was queued since the last call.
    pub(super) fn flush_touched(&mut self, inputs: &mut Vec<Input>) {
        while let Some(slot) = self.touched.pop() {
            let Some(connection) = self.slots[slot].as_mut() else { continue };
            connection.touched = false;
            if connection.doubt.begin() {
                self.doubted.add(connection.link);
            }
            let flushed = connection.flush(inputs);
            let overfull = connection.overfull().map(Closed::Broken);
            if let Some(why) = flushed.err().or(overfull) {
                self.remove(slot, why, inputs);
            }
        }
    }

    /// Takes note of what the kernel told of a socket.
    pub(super) fn ready(&mut self, event: &Event, inputs: &mut Vec<Input>) {
        let slot = event.token().0;
        // The bell, or a connection that was closed after this was told.
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        let over = event.is_read_closed() || event.is_error();
        connection.ended |= over;
        if (event.is_readable() || over) && !connection.ready {
            connection.ready = true;
            if !connection.paused {
                self.ready.push(slot);
            }
        }
        if connection.full && (event.is_writable() || event.is_write_closed() || event.is_error()) {
            connection.full = false;
            if let Err(why) = connection.flush(inputs) {
                self.remove(slot, why, inputs);
            }
        }
    }

    /// Whether there is something to read.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Reads from those that are ready, in rounds, until nothing is left or the turn is full.
    pub(super) fn read(&mut self, inputs: &mut Vec<Input>) {
        self.memory.plain.rewind();
        self.ready.begin();
        while let Some(slot) = self.ready.next() {
            let Some(connection) = self.slots[slot].as_mut() else { continue };
            match connection.read(self.ready.piece(), &mut self.memory, inputs) {
                Ok(Read::More(count)) => self.ready.more(slot, count),
                Ok(Read::Drained(count)) => {
                    connection.ready = false;
                    self.ready.drained(slot, count);
                }
                Err(why) => self.remove(slot, why, inputs),
            }
        }
        self.ready.end();
    }

    /// Gives memory back that quiet connections do not need. Looks at some of them each time.
    pub(super) fn rest(&mut self, now: Instant) {
        self.memory.plain.trim();
        for _ in 0..REST_AT_ONCE.min(self.slots.len()) {
            self.rested = if self.rested + 1 < self.slots.len() { self.rested + 1 } else { 0 };
            if let Some(connection) = self.slots[self.rested].as_mut() {
                connection.rest(now);
            }
        }
    }

    fn find(&mut self, link: LinkId) -> Option<usize> {
        let same = self.slots.get(self.last).and_then(Option::as_ref).is_some_and(|last| last.link == link);
        if !same {
            self.last = *self.by_link.get(&link)?;
        }
        Some(self.last)
    }

    fn touch(&mut self, slot: usize, change: impl FnOnce(&mut Connection)) {
        let Some(connection) = self.slots[slot].as_mut() else { return };
        change(connection);
        if !std::mem::replace(&mut connection.touched, true) {
            self.touched.push(slot);
        }
    }

    /// Closes a connection and tells the shard.
    fn remove(&mut self, slot: usize, why: Closed, inputs: &mut Vec<Input>) {
        let Some(connection) = self.slots[slot].take() else { return };
        self.by_link.remove(&connection.link);
        self.free.push(slot);
        inputs.push(Input::Closed(connection.link, why));
    }
}
