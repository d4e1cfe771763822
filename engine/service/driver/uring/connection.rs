//! One socket of the `uring` driver. Invariant: one message of it is under way at a time; the shard is told that it is gone when none of
//! its operations is under way, so that nothing can be written after that and everything that was written has been told.

use crate::driver::doubt::Doubt;
use crate::driver::limits::{ANSWERS_BYTES_MAX, WAITING_BYTES_MAX, notice_the_dead};
use crate::mail::Admission;
use std::io::{self, IoSlice, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use socket2::SockRef;
use turnout_core::io::{Closed, Input, LinkId, TlsRole};

use super::ring::buffers::Filled;
use super::ring::message::BYTES_MAX;
use super::ring::{Operation, Ring};
use super::table::Place;
use crate::buffers::Buffers;
use crate::driver::out::{Out, SLICES_MAX};
use crate::driver::share::Account;
use crate::outside::Outside;
use crate::tls::TlsSession;

/// With TLS and so much to write, cipher text is written from where the session made it: in the ring it would have to lie still, and so
/// to be copied first. Below that the copy costs less than a call of the kernel.
const DIRECT_BYTES: u64 = 16 * 1024;

/// A socket that is written to at once, as far as it takes what it is given, although it is one that waits.
struct Direct<'a>(&'a TcpStream);

impl Write for Direct<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SockRef::from(self.0).send_with_flags(bytes, AT_ONCE)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        SockRef::from(self.0).send_vectored_with_flags(slices, AT_ONCE)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const AT_ONCE: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// A socket with what is queued on it.
pub(super) struct Connection {
    link: LinkId,
    socket: TcpStream,
    tls: Option<Box<TlsSession>>,
    out: Out,
    /// Operations under way.
    pub(super) under_way: u32,
    sending: bool,
    /// A receive is under way.
    pub(super) receiving: bool,
    /// What it has been read: see [`Share`](crate::driver::share::Share).
    pub(super) account: Account,
    /// The rank with which the receive under way was begun, until that brings something.
    pub(super) begun: Option<u64>,
    /// No receive is to begin.
    pub(super) paused: bool,
    finishing: bool,
    shut: bool,
    /// It has sent something since it rested last.
    busy: bool,
    /// Whether what is written arrives.
    doubt: Doubt,
    /// It is among those that are to rest.
    pub(super) active: bool,
    /// It was given something to do since it was flushed last.
    pub(super) touched: bool,
    /// It is going; why, for the shard.
    ending: Option<Closed>,
    waiting_max: u64,
    /// Its place under the listener's limit.
    _permit: Option<Admission>,
}

impl Connection {
    /// `answers_only`: nothing but answers is written to it.
    pub(super) fn new(
        link: LinkId,
        socket: TcpStream,
        permit: Option<Admission>,
        answers_only: bool,
    ) -> Self {
        Self {
            link,
            socket,
            tls: None,
            out: Out::default(),
            under_way: 0,
            sending: false,
            receiving: false,
            account: Account::default(),
            begun: None,
            paused: false,
            finishing: false,
            shut: false,
            busy: false,
            doubt: Doubt::default(),
            active: false,
            touched: false,
            ending: None,
            waiting_max: if answers_only { ANSWERS_BYTES_MAX } else { WAITING_BYTES_MAX },
            _permit: permit,
        }
    }

    /// Its name.
    pub(super) fn link(&self) -> LinkId {
        self.link
    }

    /// Its descriptor.
    pub(super) fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Makes its socket ready for the ring, which waits for it in the kernel and not here.
    pub(super) fn prepare(&self) -> Result<(), Arc<str>> {
        notice_the_dead(SockRef::from(&self.socket));
        self.socket.set_nonblocking(false).map_err(|error| error.to_string().into())
    }

    /// Queues plain text, unless it is going.
    pub(super) fn queue(&mut self, bytes: Bytes) {
        if self.ending.is_none() {
            self.out.queue(bytes);
        }
    }

    /// Begins TLS; what was queued before leaves in plain text first.
    pub(super) fn start_tls(&mut self, role: &TlsRole, outside: &Outside) -> Result<(), Arc<str>> {
        let session = outside.tls_session(role)?;
        self.out.begin_tls();
        self.tls = Some(Box::new(session));
        Ok(())
    }

    /// Nothing more will be queued.
    pub(super) fn finish(&mut self) {
        self.finishing = true;
    }

    /// Nothing more is written or told of it than why.
    pub(super) fn end(&mut self, why: Closed) {
        self.ending.get_or_insert(why);
    }

    /// Whether it is going.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Ends what is under way and could not be cancelled: a write that the kernel has given to a thread of its own.
    pub(super) fn cut(&self) {
        // A peer that is gone already makes this fail; then nothing is left to wait for.
        drop(self.socket.shutdown(Shutdown::Both));
    }

    /// Why it went, once nothing is under way any more.
    pub(super) fn gone(&mut self) -> Option<Closed> {
        if self.under_way == 0 { self.ending.take() } else { None }
    }

    /// More waits than may.
    pub(super) fn is_overfull(&self) -> bool {
        self.out.weight() > self.waiting_max
    }

    /// Bytes written in all.
    pub(super) fn sent(&self) -> u64 {
        self.out.sent()
    }

    /// Why it has to be cut when its peer has let too much wait.
    pub(super) fn overfull(&self) -> Closed {
        Closed::Broken(format!("the peer does not read: {} bytes wait for it", self.out.waiting()).into())
    }

    /// What the end of the bytes means.
    pub(super) fn end_of_stream(&self) -> Closed {
        match &self.tls {
            Some(session) if !self.shut => session.end_of_stream(),
            _ => Closed::Eof,
        }
    }

    /// Received bytes: plain text or cipher text. True when there may be something to write.
    pub(super) fn take_in(
        &mut self,
        filled: Filled,
        ring: &mut Ring,
        plain: &mut Buffers,
        inputs: &mut Vec<Input>,
    ) -> Result<bool, Closed> {
        self.doubt.heard();
        let Some(session) = &mut self.tls else {
            inputs.push(Input::Received(self.link, ring.buffers.lend(filled)));
            return Ok(false);
        };
        let was_done = session.handshake_done();
        let result = ring.buffers.look(filled, |cipher| session.feed(cipher, plain));
        if !was_done && let Some(secured) = session.secured(crate::clock::system_time()) {
            inputs.push(Input::Secured(self.link, secured));
        }
        if !plain.is_empty() {
            inputs.push(Input::Received(self.link, plain.take()));
        }
        result.map_err(|error| Closed::Broken(error.to_string().into()))?;
        if session.wants_close() {
            return Err(session.end_of_stream());
        }
        Ok(!was_done || session.wants_write())
    }

    /// Sends what is queued, unless a message is under way: then its completion goes on. True when it is doubted, from now on, whether it
    /// arrives.
    pub(super) fn flush(
        &mut self,
        place: Place,
        ring: &mut Ring,
        sealed: &mut Buffers,
        inputs: &mut Vec<Input>,
    ) -> Result<bool, Closed> {
        self.touched = false;
        if self.sending || self.ending.is_some() {
            return Ok(false);
        }
        if self.out.wire_is_empty()
            && let Some(session) = &mut self.tls
        {
            let ending = self.finishing && !self.shut;
            let mut all_is_out = false;
            if self.out.waiting() >= DIRECT_BYTES {
                let mut written = None;
                let full = self.out.push_sealed(session, ending, &mut Direct(&self.socket), &mut written);
                if let Some(total) = written {
                    inputs.push(Input::Written(self.link, total));
                }
                all_is_out = !full.map_err(|error| Closed::Broken(error.to_string().into()))?;
                self.busy = true;
            }
            if !all_is_out {
                let result = self.out.seal(session, ending, sealed);
                result.map_err(|error| Closed::Broken(error.to_string().into()))?;
            }
        }
        if self.out.wire_is_empty() {
            if let Some(total) = self.out.passed(0).and_then(|total| self.doubt.written(total, &self.socket))
            {
                inputs.push(Input::Written(self.link, total));
            }
            if self.finishing && !std::mem::replace(&mut self.shut, true) {
                // A peer that is gone already makes this fail; the receiving side will see it.
                drop(self.socket.shutdown(Shutdown::Write));
            }
            return Ok(false);
        }
        let mut message = ring.message();
        self.out.take(SLICES_MAX, BYTES_MAX, |bytes| message.add(bytes));
        if !ring.send(self.socket.as_raw_fd(), place.token(Operation::Send), message) {
            return Err(Closed::Broken("a second message at the same time".into()));
        }
        let doubted = self.doubt.begin();
        self.busy = true;
        self.sending = true;
        self.under_way += 1;
        Ok(doubted)
    }

    /// It may be that all has arrived meanwhile. True while it has not.
    pub(super) fn look(&mut self, inputs: &mut Vec<Input>) -> bool {
        if let Some(total) = self.doubt.look(&self.socket) {
            inputs.push(Input::Written(self.link, total));
        }
        self.doubt.is_open()
    }

    /// The message under way is over: so much of it was written.
    pub(super) fn wrote(&mut self, place: Place, count: usize, ring: &mut Ring, inputs: &mut Vec<Input>) {
        self.sending = false;
        if let Some(mut message) = ring.sent(place.slot()) {
            message.empty(count, |rest| self.out.put_back(rest));
            ring.put_back(message);
        }
        if let Some(total) = self.out.passed(count).and_then(|total| self.doubt.written(total, &self.socket))
        {
            inputs.push(Input::Written(self.link, total));
        }
    }

    /// Called now and then: gives back the room a burst has taken when it has been quiet since the last call. True when it has.
    pub(super) fn rest(&mut self, now: Instant) -> bool {
        let quiet = !std::mem::take(&mut self.busy);
        self.doubt.rest(now, !quiet);
        if quiet {
            self.out.rest();
            if let Some(session) = &mut self.tls {
                session.rest();
            }
        }
        quiet
    }
}

/// A connection that failed with this error number.
pub(super) fn broken(error: i32) -> Closed {
    Closed::Broken(io::Error::from_raw_os_error(error).to_string().into())
}
