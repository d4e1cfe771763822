//! One TLS connection without a socket: bytes in, bytes out.

use std::fmt;
use std::io::{BufRead, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::{Connection, ProtocolVersion};
use turnout_core::io::{Closed, Secured};

use super::facts::facts;
use super::trust::TrustTable;
use crate::buffers::{Buffers, PIECE_BYTES};

/// Length of a TLS record's header, in bytes (RFC 8446 §5.1).
const HEADER_BYTES: usize = 5;

/// Largest record on the wire, in bytes (RFC 5246 §6.2.3, the larger of the two).
const RECORD_BYTES_MAX: usize = HEADER_BYTES + 16 * 1024 + 2048;

/// Content type of handshake records.
const HANDSHAKE: u8 = 22;

/// Why a session failed. Fatal: what [`TlsSession::take_ciphertext`] still has (an alert) is to be written, then the connection is
/// to be closed without a word in the protocol above (RFC 6120 §5.4.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError(Arc<str>);

impl TlsError {
    pub(super) fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS: {}", self.0)
    }
}

impl std::error::Error for TlsError {}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self(error.to_string().into())
    }
}

/// One connection. The driver feeds what it read, takes plain text and ciphertext after each call, and asks
/// [`TlsSession::secured`] once [`TlsSession::handshake_done`] is true.
pub struct TlsSession {
    connection: Connection,
    trusts: Arc<TrustTable>,
    header: [u8; HEADER_BYTES],
    header_len: usize,
    record_left: usize,
    peer_closed: bool,
    failed: Option<TlsError>,
}

impl TlsSession {
    pub(super) fn new(mut connection: Connection, trusts: Arc<TrustTable>) -> Self {
        // What may wait is bounded above, by the credit of a link; a second bound here would lose bytes.
        connection.set_buffer_limit(None);
        Self {
            connection,
            trusts,
            header: [0; HEADER_BYTES],
            header_len: 0,
            record_left: 0,
            peer_closed: false,
            failed: None,
        }
    }

    /// Takes ciphertext as it was read, cut anywhere; the plain text it brings is put into `plain`.
    ///
    /// # Errors
    /// [`TlsError`], now and from then on; see there. What was put into `plain` before is good.
    pub fn feed(&mut self, mut bytes: &[u8], plain: &mut Buffers) -> Result<(), TlsError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        // All of it in one piece: what comes now and what waits of a record already begun.
        plain.reserve(bytes.len() + RECORD_BYTES_MAX);
        while !bytes.is_empty() && !self.peer_closed {
            let take = self.next_piece(bytes).inspect_err(|error| self.failed = Some(error.clone()))?;
            let (piece, rest) = bytes.split_at(take);
            self.feed_piece(piece, plain).inspect_err(|error| self.failed = Some(error.clone()))?;
            bytes = rest;
        }
        Ok(())
    }

    /// How many bytes belong to the record under way. Records are given one by one, so that the type of each is known together with
    /// the state it arrives in; after a TLS 1.3 handshake, which knows no renegotiation, that no longer matters.
    fn next_piece(&mut self, bytes: &[u8]) -> Result<usize, TlsError> {
        if self.handshake_done() && !self.is_tls12() {
            return Ok(bytes.len());
        }
        if self.record_left > 0 {
            let take = self.record_left.min(bytes.len());
            self.record_left -= take;
            return Ok(take);
        }
        let take = (HEADER_BYTES - self.header_len).min(bytes.len());
        self.header[self.header_len..self.header_len + take].copy_from_slice(&bytes[..take]);
        self.header_len += take;
        if self.header_len == HEADER_BYTES {
            self.header_len = 0;
            self.record_left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
            if self.header[0] == HANDSHAKE && self.handshake_done() && self.is_tls12() {
                return Err(TlsError::new("the peer tried to renegotiate, which is not allowed"));
            }
            let body = self.record_left.min(bytes.len() - take);
            self.record_left -= body;
            return Ok(take + body);
        }
        Ok(take)
    }

    fn feed_piece(&mut self, piece: &[u8], plain: &mut Buffers) -> Result<(), TlsError> {
        let mut piece = InPieces(piece);
        while !piece.0.is_empty() {
            let read =
                self.connection.read_tls(&mut piece).map_err(|error| TlsError::new(error.to_string()))?;
            let state = self.connection.process_new_packets()?;
            self.peer_closed |= state.peer_has_closed();
            self.pull(state.plaintext_bytes_to_read(), plain)?;
            if read == 0 || self.peer_closed {
                break;
            }
        }
        Ok(())
    }

    fn pull(&mut self, mut count: usize, plain: &mut Buffers) -> Result<(), TlsError> {
        let mut reader = self.connection.reader();
        while count > 0 {
            let chunk = reader.fill_buf().map_err(|error| TlsError::new(error.to_string()))?;
            let taken = chunk.len().min(count);
            if taken == 0 {
                break;
            }
            plain.put(&chunk[..taken]);
            reader.consume(taken);
            count -= taken;
        }
        Ok(())
    }

    /// Gives back memory that a session at rest does not need.
    pub fn rest(&mut self) {
        // Asked for more while it holds no part of a record, a session makes its buffer small. The answer is that nothing is there.
        drop(self.connection.read_tls(&mut Nothing));
    }

    /// Encrypts. The one copy of the way out.
    ///
    /// # Errors
    /// [`TlsError`] when the session has failed or was closed by us.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.connection.writer().write_all(bytes).map_err(|error| TlsError::new(error.to_string()))
    }

    /// Encrypts what these slices hold, as if they were one, in records as full as they can be. The one copy of the way out.
    ///
    /// # Errors
    /// As [`TlsSession::write`].
    pub fn write_slices(&mut self, slices: &[IoSlice<'_>]) -> Result<(), TlsError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        // Without a limit to its buffer the session takes all or fails.
        let taken = self.connection.writer().write_vectored(slices);
        let taken = taken.map_err(|error| TlsError::new(error.to_string()))?;
        let given: usize = slices.iter().map(|slice| slice.len()).sum();
        if taken == given { Ok(()) } else { Err(TlsError::new("the session took only a part")) }
    }

    /// Whether there is ciphertext to write.
    pub fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Appends the ciphertext to be written to memory.
    pub fn take_ciphertext(&mut self, into: &mut impl Write) {
        while self.connection.wants_write() {
            // Writing to memory does not fail; should it, there is nothing left to send.
            if self.connection.write_tls(into).is_err() {
                break;
            }
        }
    }

    /// Writes ciphertext with one gathered write, from where it was made.
    ///
    /// # Errors
    /// Those of the socket; what it did not take stays.
    pub fn write_to(&mut self, socket: &mut impl Write) -> std::io::Result<usize> {
        self.connection.write_tls(socket)
    }

    /// Whether the handshake is over and bytes of the protocol may flow.
    pub fn handshake_done(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Facts of the finished handshake, judged at this time; `None` before.
    pub fn secured(&self, now: SystemTime) -> Option<Secured> {
        if !self.handshake_done() {
            return None;
        }
        let chain = self.connection.peer_certificates().unwrap_or_default();
        let certificate = (!chain.is_empty()).then(|| Box::new(facts(chain, &self.trusts, now)));
        Some(Secured { certificate, version: if self.is_tls12() { "TLSv1.2" } else { "TLSv1.3" } })
    }

    /// The chain the peer showed, its own certificate first; empty where it showed none, or before the handshake is over.
    pub fn peer_chain(&self) -> Vec<CertificateDer<'static>> {
        let chain = self.connection.peer_certificates().unwrap_or_default();
        chain.iter().map(|certificate| certificate.clone().into_owned()).collect()
    }

    /// The name the client asked for, on our listeners.
    pub fn server_name(&self) -> Option<&str> {
        match &self.connection {
            Connection::Server(connection) => connection.server_name(),
            Connection::Client(_) => None,
        }
    }

    /// The application protocol agreed on.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }

    /// Whether the peer has said close_notify, or the session failed: nothing more will be read.
    pub fn wants_close(&self) -> bool {
        self.peer_closed || self.failed.is_some()
    }

    /// Says close_notify; what is queued goes first.
    pub fn close_notify(&mut self) {
        self.connection.send_close_notify();
    }

    /// What an end of the TCP stream means now: in order after close_notify, else a truncation, of which no half stanza may be
    /// taken for a whole one.
    pub fn end_of_stream(&self) -> Closed {
        if let Some(error) = &self.failed {
            return Closed::Broken(error.to_string().into());
        }
        if self.peer_closed {
            Closed::Eof
        } else if self.handshake_done() {
            Closed::Broken("the peer closed the connection without close_notify: truncated".into())
        } else {
            Closed::Broken("the peer closed the connection during the TLS handshake".into())
        }
    }

    fn is_tls12(&self) -> bool {
        self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_2)
    }
}

/// Bytes copied out a piece at a time.
struct InPieces<'a>(&'a [u8]);

impl Read for InPieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let (now, later) = self.0.split_at(self.0.len().min(into.len()));
        for (to, from) in into.chunks_mut(PIECE_BYTES).zip(now.chunks(PIECE_BYTES)) {
            to[..from.len()].copy_from_slice(from);
        }
        self.0 = later;
        Ok(now.len())
    }
}

/// A source from which nothing comes just now.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession")
            .field("handshake_done", &self.handshake_done())
            .field("peer_closed", &self.peer_closed)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
