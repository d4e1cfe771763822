//! One socket of the `poll` driver. Invariant: `written` counts plain text given to the kernel, never more. Once the shard has been told that a connection is gone nothing more is
//! written to it, for by then its stanzas are on their way elsewhere.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, IoSlice, Write};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use turnout_core::io::{Closed, Input, LinkId, TlsRole};

use super::Shared;
use crate::driver::out::Out;
use crate::outside::Outside;
use crate::tls::{TlsError, TlsSession};

/// Read at most this much at once.
const READ_BYTES: usize = 64 * 1024;

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
        self.out.borrow_mut().queue(bytes);
    }

    /// Begins TLS; what was queued before leaves in plain text first.
    pub(super) fn start_tls(&self, role: &TlsRole, outside: &Outside) -> Result<(), Arc<str>> {
        let session = outside.tls_session(role)?;
        self.out.borrow_mut().begin_tls();
        *self.tls.borrow_mut() = Some(session);
        Ok(())
    }

    /// Nothing more will be queued.
    pub(super) fn finish(&self) {
        self.finishing.set(true);
    }

    /// Why it has to be cut, if its peer has let too much wait.
    pub(super) fn overfull(&self) -> Option<Arc<str>> {
        let waiting = self.out.borrow().waiting();
        let text = || format!("the peer does not read: {waiting} bytes wait for it").into();
        (waiting > self.waiting_max).then(text)
    }

    /// Ends the tasks of the connection.
    pub(super) fn stop(&self) {
        self.gone.set(true);
        self.stopped.notify_waiters();
        self.stopped.notify_one();
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
    let mut written = None;
    let full = {
        let (mut out, mut tls) = (connection.out.borrow_mut(), connection.tls.borrow_mut());
        let mut socket = Socket(&connection.stream);
        match tls.as_mut() {
            Some(session) => {
                let ending = connection.finishing.get() && !connection.shut.get();
                out.push_sealed(session, ending, &mut socket, &mut written)
            }
            None => out.push(&mut socket, &mut written),
        }
    };
    let full = full.map_err(|error| Closed::Broken(error.to_string().into()))?;
    if let Some(total) = written.filter(|total| *total > 0) {
        shared.push(Input::Written(connection.link, total));
    }
    if !full && connection.finishing.get() && !connection.shut.replace(true) {
        shutdown(&connection.stream);
    }
    Ok(full)
}

/// A socket to write to without waiting.
struct Socket<'a>(&'a TcpStream);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> std::io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
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
