//! One socket of the `poll` driver. Invariant: `written` counts plain text given to the kernel, never more; with TLS a mark says at
//! which byte of cipher text a count of plain text ends. Once the shard has been told that a connection is gone nothing more is
//! written to it, for by then its stanzas are on their way elsewhere.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use turnout_core::io::{Closed, Input, LinkId, TlsRole};

use super::Shared;
use crate::outside::Outside;
use crate::tls::{TlsError, TlsSession};

/// Read at most this much at once.
const READ_BYTES: usize = 64 * 1024;

/// Slices in one gathered write.
const SLICES_MAX: usize = 64;

/// Plain text in one TLS record (RFC 8446 §5.1).
const RECORD_BYTES: usize = 16 * 1024;

/// Bytes that may wait for a partner on a connection he opened. There he only gets answers, and whoever asks without reading
/// them is not to fill the memory with them.
const ANSWERS_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// The same for every other connection: far more than the credit of a link lets stanzas take.
const WAITING_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A socket with what is queued on it.
pub(super) struct Connection {
    link: LinkId,
    stream: TcpStream,
    tls: RefCell<Option<TlsSession>>,
    out: RefCell<Out>,
    /// A writing task is waiting for the socket.
    writing: Cell<bool>,
    /// No more is queued; shut down when all is written.
    finishing: Cell<bool>,
    shut: Cell<bool>,
    /// The shard knows that it is gone, or does not want it any more: not another byte is written.
    gone: Cell<bool>,
    stopped: Notify,
    waiting_max: u64,
    /// Its place under the listener's limit.
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Default)]
struct Out {
    /// Plain text not yet encrypted, with TLS.
    plain: Vec<Bytes>,
    /// Bytes for the socket.
    wire: VecDeque<Bytes>,
    /// Plain text queued in all.
    queued: u64,
    /// Bytes put in `wire` in all.
    wired: u64,
    /// Bytes of `wire` written in all.
    sent: u64,
    /// Plain text written in all, as the last mark passed says.
    written: u64,
    /// Plain text covered by marks.
    marked: u64,
    /// (bytes of wire, plain text that ends there).
    marks: VecDeque<(u64, u64)>,
}

impl Out {
    fn push_wire(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.wired += bytes.len() as u64;
            self.wire.push_back(bytes);
        }
    }

    fn mark(&mut self) {
        if self.queued > self.marked {
            self.marked = self.queued;
            self.marks.push_back((self.wired, self.queued));
        }
    }

    /// `count` bytes more were written: the plain text that is out in full, if that grew.
    fn advance(&mut self, mut count: usize) -> Option<u64> {
        self.sent += count as u64;
        while count > 0 {
            let Some(first) = self.wire.front_mut() else { break };
            if first.len() > count {
                first.advance(count);
                break;
            }
            count -= first.len();
            self.wire.pop_front();
        }
        let mut written = None;
        while self.marks.front().is_some_and(|(wire, _)| *wire <= self.sent) {
            written = self.marks.pop_front().map(|(_, plain)| plain);
        }
        self.written = written.unwrap_or(self.written);
        written
    }
}

impl Connection {
    /// `answers_only`: nothing but answers is written to it.
    pub(super) fn new(
        link: LinkId,
        stream: TcpStream,
        permit: Option<OwnedSemaphorePermit>,
        answers_only: bool,
    ) -> Self {
        Self {
            link,
            stream,
            tls: RefCell::new(None),
            out: RefCell::default(),
            writing: Cell::new(false),
            finishing: Cell::new(false),
            shut: Cell::new(false),
            gone: Cell::new(false),
            stopped: Notify::new(),
            waiting_max: if answers_only { ANSWERS_BYTES_MAX } else { WAITING_BYTES_MAX },
            _permit: permit,
        }
    }

    /// Queues plain text.
    pub(super) fn queue(&self, bytes: Bytes) {
        let mut out = self.out.borrow_mut();
        out.queued += bytes.len() as u64;
        if self.tls.borrow().is_some() {
            out.plain.push(bytes);
        } else {
            out.push_wire(bytes);
        }
    }

    /// Begins TLS; what was queued before leaves in plain text first.
    pub(super) fn start_tls(&self, role: &TlsRole, outside: &Outside) -> Result<(), Arc<str>> {
        self.out.borrow_mut().mark();
        let session = outside.tls_session(role)?;
        *self.tls.borrow_mut() = Some(session);
        Ok(())
    }

    /// Nothing more will be queued.
    pub(super) fn finish(&self) {
        self.finishing.set(true);
    }

    /// Why it has to be cut, if its peer has let too much wait.
    pub(super) fn overfull(&self) -> Option<Arc<str>> {
        let out = self.out.borrow();
        let waiting = out.queued - out.written;
        let text = || format!("the peer does not read: {waiting} bytes wait for it").into();
        (waiting > self.waiting_max).then(text)
    }

    /// Ends the tasks of the connection.
    pub(super) fn stop(&self) {
        self.gone.set(true);
        self.stopped.notify_waiters();
        self.stopped.notify_one();
    }

    /// Encrypts what is queued, in records as full as they can be, and moves cipher text to the wire.
    fn seal(&self) -> Result<(), Arc<str>> {
        let mut tls = self.tls.borrow_mut();
        let mut out = self.out.borrow_mut();
        let Some(session) = tls.as_mut() else {
            out.mark();
            return Ok(());
        };
        if session.handshake_done() {
            let mut record = BytesMut::new();
            for bytes in std::mem::take(&mut out.plain) {
                if record.is_empty() && bytes.len() >= RECORD_BYTES {
                    session.write(&bytes).map_err(told)?;
                    continue;
                }
                record.extend_from_slice(&bytes);
                if record.len() >= RECORD_BYTES {
                    session.write(&record).map_err(told)?;
                    record.clear();
                }
            }
            if !record.is_empty() {
                session.write(&record).map_err(told)?;
            }
            if self.finishing.get() && !self.shut.get() {
                session.close_notify();
            }
        }
        let mut sealed = Vec::new();
        session.take_ciphertext(&mut sealed);
        out.push_wire(Bytes::from(sealed));
        if out.plain.is_empty() {
            out.mark();
        }
        Ok(())
    }

    /// Received bytes: plain text or cipher text.
    fn take_in(&self, bytes: Bytes, shared: &Shared) -> Result<(), Closed> {
        let mut tls = self.tls.borrow_mut();
        let Some(session) = tls.as_mut() else {
            shared.push(Input::Received(self.link, bytes));
            return Ok(());
        };
        let was_done = session.handshake_done();
        let result = session.feed(&bytes);
        if !was_done && let Some(secured) = session.secured(crate::clock::system_time()) {
            shared.push(Input::Secured(self.link, secured));
        }
        while let Some(plain) = session.take_plaintext() {
            shared.push(Input::Received(self.link, plain));
        }
        result.map_err(|error| Closed::Broken(told(error)))?;
        if session.wants_close() { Err(session.end_of_stream()) } else { Ok(()) }
    }

    /// What the end of the bytes means.
    fn end(&self) -> Closed {
        match self.tls.borrow().as_ref() {
            Some(session) if !self.shut.get() => session.end_of_stream(),
            _ => Closed::Eof,
        }
    }
}

/// Reads until the connection ends.
pub(super) async fn read(connection: Rc<Connection>, shared: Rc<Shared>) {
    tokio::select! {
        () = read_on(&connection, &shared) => (),
        () = connection.stopped.notified() => (),
    }
    // The shard has been told; a writing task that went on would write again what goes out on another connection.
    connection.stop();
}

async fn read_on(connection: &Rc<Connection>, shared: &Rc<Shared>) {
    let mut buffer = BytesMut::new();
    if flush(connection, shared) {
        tokio::task::spawn_local(write(Rc::clone(connection), Rc::clone(shared)));
    }
    loop {
        while shared.paused.get() {
            shared.resumed.notified().await;
        }
        if let Err(error) = connection.stream.readable().await {
            return shared.closed(connection.link, Closed::Broken(error.to_string().into()));
        }
        if buffer.capacity() < READ_BYTES / 4 {
            buffer = BytesMut::with_capacity(READ_BYTES);
        }
        match connection.stream.try_read_buf(&mut buffer) {
            Ok(0) => return shared.closed(connection.link, connection.end()),
            Ok(_) => {
                let taken = connection.take_in(buffer.split().freeze(), shared);
                // Handshake messages and alerts go out whatever became of the input.
                if connection.tls.borrow().is_some() && flush(connection, shared) {
                    tokio::task::spawn_local(write(Rc::clone(connection), Rc::clone(shared)));
                }
                if let Err(why) = taken {
                    return shared.closed(connection.link, why);
                }
                tokio::task::yield_now().await;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => (),
            Err(error) => return shared.closed(connection.link, Closed::Broken(error.to_string().into())),
        }
    }
}

/// Writes what is queued as far as the socket takes it. True when a writing task must be started for the rest.
pub(super) fn flush(connection: &Rc<Connection>, shared: &Rc<Shared>) -> bool {
    if connection.writing.get() {
        return false;
    }
    match push_out(connection, shared) {
        Ok(true) => {
            connection.writing.set(true);
            true
        }
        Ok(false) => false,
        Err(why) => {
            shared.closed(connection.link, why);
            connection.stop();
            false
        }
    }
}

/// Goes on writing whenever the socket takes more.
pub(super) async fn write(connection: Rc<Connection>, shared: Rc<Shared>) {
    let rest = async {
        loop {
            if let Err(error) = connection.stream.writable().await {
                return shared.closed(connection.link, Closed::Broken(error.to_string().into()));
            }
            match push_out(&connection, &shared) {
                Ok(true) => (),
                Ok(false) => return connection.writing.set(false),
                Err(why) => {
                    shared.closed(connection.link, why);
                    return connection.stop();
                }
            }
        }
    };
    tokio::select! {
        () = rest => (),
        () = connection.stopped.notified() => connection.stop(),
    }
}

/// True: the socket is full and more is queued.
fn push_out(connection: &Connection, shared: &Shared) -> Result<bool, Closed> {
    if connection.gone.get() {
        return Ok(false);
    }
    connection.seal().map_err(Closed::Broken)?;
    let mut written = None;
    let full = loop {
        let mut out = connection.out.borrow_mut();
        if out.wire.is_empty() {
            written = out.advance(0).or(written);
            break false;
        }
        let result = {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(&out.wire) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            connection.stream.try_write_vectored(&slices[..count])
        };
        match result {
            Ok(count) => written = out.advance(count).or(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
            Err(error) => return Err(Closed::Broken(error.to_string().into())),
        }
    };
    if let Some(total) = written.filter(|total| *total > 0) {
        shared.push(Input::Written(connection.link, total));
    }
    if !full && connection.finishing.get() && !connection.shut.replace(true) {
        shutdown(&connection.stream);
    }
    Ok(full)
}

/// The text of a TLS error.
fn told(error: TlsError) -> Arc<str> {
    error.to_string().into()
}

/// Tells the peer that nothing more comes; what he still sends is read.
fn shutdown(stream: &TcpStream) {
    // A peer that is gone already makes this fail; the reading side will see it.
    drop(socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write));
}
