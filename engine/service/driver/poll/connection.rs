//! One socket of the `poll` driver. Invariant: once the shard has been told that a connection is gone it no longer exists here, so
//! nothing more is written to it: by then its stanzas are on their way elsewhere.

use crate::driver::doubt::Doubt;
use crate::driver::limits::{ANSWERS_BYTES_MAX, WAITING_BYTES_MAX};
use crate::driver::share::READ_BYTES;
use crate::mail::Admission;
use std::io::{ErrorKind, Read as _};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use mio::net::TcpStream;
use socket2::SockRef;
use turnout_core::io::{Closed, Input, LinkId};

use crate::buffers::Buffers;
use crate::driver::out::Out;
use crate::tls::TlsSession;

/// What is read into.
pub(super) struct Memory {
    /// Plain text, lent to the shard.
    pub(super) plain: Buffers,
    /// Cipher text, until the session has taken it.
    cipher: Box<[u8]>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { plain: Buffers::new(), cipher: Box::default() }
    }
}

/// What a read has shown.
pub(super) enum Read {
    /// So many bytes came and there may be more.
    More(usize),
    /// Nothing more is there now.
    Drained(usize),
}

/// A socket with what is queued on it.
pub(super) struct Connection {
    pub(super) link: LinkId,
    pub(super) stream: TcpStream,
    pub(super) out: Out,
    tls: Option<Box<TlsSession>>,
    /// It stands among those to be read, or is to be put there when it is read again.
    pub(super) ready: bool,
    /// It is not read now.
    pub(super) paused: bool,
    /// It stands among those to be written.
    pub(super) touched: bool,
    /// The socket is full.
    pub(super) full: bool,
    /// The peer has ended or broken it: reading goes on until that is read.
    pub(super) ended: bool,
    /// No more is queued; shut down when all is written.
    pub(super) finishing: bool,
    shut: bool,
    /// It moved bytes since the last rest.
    active: bool,
    /// Whether what is written arrives.
    pub(super) doubt: Doubt,
    answers_only: bool,
    /// Its place under the listener's limit.
    _permit: Option<Admission>,
}

impl Connection {
    /// `answers_only`: nothing but answers is written to it.
    pub(super) fn new(
        link: LinkId,
        stream: TcpStream,
        permit: Option<Admission>,
        answers_only: bool,
    ) -> Self {
        Self {
            link,
            stream,
            out: Out::default(),
            tls: None,
            ready: false,
            paused: false,
            touched: false,
            full: false,
            ended: false,
            finishing: false,
            shut: false,
            active: true,
            doubt: Doubt::default(),
            answers_only,
            _permit: permit,
        }
    }

    /// Queues plain text.
    pub(super) fn queue(&mut self, bytes: Bytes) {
        self.out.queue(bytes);
    }

    /// Begins TLS; what was queued before leaves in plain text first.
    pub(super) fn start_tls(&mut self, session: TlsSession) {
        self.out.begin_tls();
        self.tls = Some(Box::new(session));
    }

    /// Why it has to be cut, if its peer has let too much wait.
    pub(super) fn overfull(&self) -> Option<Arc<str>> {
        let waiting = self.out.weight();
        let most = if self.answers_only { ANSWERS_BYTES_MAX } else { WAITING_BYTES_MAX };
        (waiting > most).then(|| format!("the peer does not read: {waiting} bytes wait for it").into())
    }

    /// Reads once, `bytes_max` at most, and never more than [`READ_BYTES`].
    ///
    /// # Errors
    /// The connection is over.
    pub(super) fn read(
        &mut self,
        bytes_max: usize,
        memory: &mut Memory,
        inputs: &mut Vec<Input>,
    ) -> Result<Read, Closed> {
        self.active = true;
        self.doubt.heard();
        let result = match &self.tls {
            None => memory.plain.receive(&SockRef::from(&self.stream), bytes_max),
            Some(_) => {
                if memory.cipher.is_empty() {
                    memory.cipher = vec![0; READ_BYTES].into();
                }
                let room = memory.cipher.get_mut(..bytes_max).unwrap_or_default();
                self.stream.read(room)
            }
        };
        let count = match result {
            Ok(0) => return Err(self.end()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Read::Drained(0)),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Read::More(0)),
            Err(error) => return Err(broken(&error)),
        };
        match &mut self.tls {
            None => inputs.push(Input::Received(self.link, memory.plain.take())),
            Some(session) => {
                let cipher = memory.cipher.get(..count).unwrap_or_default();
                let taken = take_in(self.link, session, cipher, &mut memory.plain, inputs);
                // Handshake messages and alerts go out whatever became of the input.
                if session.wants_write() || self.out.waiting() > 0 {
                    self.flush(inputs)?;
                }
                taken?;
            }
        }
        // Less than there was room for: the socket is empty, and what comes next makes an event of its own.
        Ok(if count < bytes_max && !self.ended { Read::Drained(count) } else { Read::More(count) })
    }

    /// Writes what is queued as far as the socket takes it.
    ///
    /// # Errors
    /// The connection is over.
    pub(super) fn flush(&mut self, inputs: &mut Vec<Input>) -> Result<(), Closed> {
        if self.full {
            return Ok(());
        }
        self.active = true;
        let mut written = None;
        let result = match &mut self.tls {
            Some(session) => {
                let ending = self.finishing && !self.shut;
                self.out.push_sealed(session, ending, &mut self.stream, &mut written)
            }
            None => self.out.push(&mut self.stream, &mut written),
        };
        if let Some(total) = written.and_then(|total| self.doubt.written(total, &self.stream)) {
            inputs.push(Input::Written(self.link, total));
        }
        self.full = result.map_err(|error| broken(&error))?;
        if !self.full && self.finishing && !std::mem::replace(&mut self.shut, true) {
            // Tells the peer that nothing more comes; what he still sends is read. One that is gone already makes this fail; reading
            // will show it.
            drop(self.stream.shutdown(std::net::Shutdown::Write));
        }
        Ok(())
    }

    /// It may be that all has arrived meanwhile. True while it has not.
    pub(super) fn look(&mut self, inputs: &mut Vec<Input>) -> bool {
        if let Some(total) = self.doubt.look(&self.stream) {
            inputs.push(Input::Written(self.link, total));
        }
        self.doubt.is_open()
    }

    /// What the end of the bytes means.
    fn end(&self) -> Closed {
        match &self.tls {
            Some(session) if !self.shut => session.end_of_stream(),
            _ => Closed::Eof,
        }
    }

    /// Gives back what a connection that was quiet since the last call does not need.
    pub(super) fn rest(&mut self, now: Instant) {
        let moved = std::mem::replace(&mut self.active, false);
        self.doubt.rest(now, moved);
        if !moved {
            self.out.rest();
            if let Some(session) = &mut self.tls {
                session.rest();
            }
        }
    }
}

/// Cipher text becomes inputs.
fn take_in(
    link: LinkId,
    session: &mut TlsSession,
    cipher: &[u8],
    plain: &mut Buffers,
    inputs: &mut Vec<Input>,
) -> Result<(), Closed> {
    let was_done = session.handshake_done();
    let result = session.feed(cipher, plain);
    if !was_done && let Some(secured) = session.secured(crate::clock::system_time()) {
        inputs.push(Input::Secured(link, secured));
    }
    if !plain.is_empty() {
        inputs.push(Input::Received(link, plain.take()));
    }
    result.map_err(|error| Closed::Broken(error.to_string().into()))?;
    if session.wants_close() { Err(session.end_of_stream()) } else { Ok(()) }
}

fn broken(error: &std::io::Error) -> Closed {
    Closed::Broken(error.to_string().into())
}
