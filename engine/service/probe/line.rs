//! One connection of a probe, plain and then TLS. Invariant: every wait ends, and no more than [`RECEIVED_MAX`] is ever read.

use std::io::ErrorKind;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::time::timeout;
use turnout_core::io::{Closed, Secured};

use super::ANSWER;
use crate::buffers::Buffers;
use crate::tls::TlsSession;

/// Bytes a peer may send in all.
const RECEIVED_MAX: usize = 1024 * 1024;

/// A connection.
pub(super) struct Line {
    stream: TcpStream,
    tls: Option<TlsSession>,
    plain: Buffers,
    received: usize,
}

impl Line {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, tls: None, plain: Buffers::new(), received: 0 }
    }

    /// Sends all of it.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        match &mut self.tls {
            None => self.write(bytes).await,
            Some(tls) => {
                tls.write(bytes).map_err(|error| error.to_string())?;
                self.flush().await
            }
        }
    }

    /// What comes next; `None` when the peer has ended in order.
    pub(super) async fn receive(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            if !self.plain.is_empty() {
                return Ok(Some(self.plain.take()));
            }
            if self.tls.as_ref().is_some_and(TlsSession::wants_close) || !self.pump().await? {
                return match self.tls.as_ref().map(TlsSession::end_of_stream) {
                    Some(Closed::Broken(why)) => Err(why.to_string()),
                    _ => Ok(None),
                };
            }
        }
    }

    /// Begins TLS, to the end of the handshake.
    pub(super) async fn secure(&mut self, session: TlsSession) -> Result<(), String> {
        self.tls = Some(session);
        self.flush().await?;
        while self.tls.as_ref().is_some_and(|tls| !tls.handshake_done()) {
            if !self.pump().await? {
                let closed = self.tls.as_ref().map(TlsSession::end_of_stream);
                return Err(match closed {
                    Some(Closed::Broken(why)) => why.to_string(),
                    _ => "the peer ended the connection".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// What the handshake showed, judged at this time, and the chain.
    pub(super) fn secured(
        &self,
        now: std::time::SystemTime,
    ) -> Option<(Secured, Vec<CertificateDer<'static>>)> {
        let tls = self.tls.as_ref()?;
        Some((tls.secured(now)?, tls.peer_chain()))
    }

    /// Says goodbye as far as the peer takes it.
    pub(super) async fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.close_notify();
            // Whoever is gone already needs not be told.
            drop(self.flush().await);
        }
    }

    /// Reads once; false at the end of the connection.
    async fn pump(&mut self) -> Result<bool, String> {
        let mut chunk = [0_u8; 16 * 1024];
        let read = async {
            loop {
                self.stream.readable().await?;
                match self.stream.try_read(&mut chunk) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    other => return other,
                }
            }
        };
        let count = timeout(ANSWER, read)
            .await
            .map_err(|_| format!("no answer within {} s", ANSWER.as_secs()))?
            .map_err(|error| error.to_string())?;
        self.received += count;
        if self.received > RECEIVED_MAX {
            return Err(format!("sent more than {} KiB and came to no end", RECEIVED_MAX / 1024));
        }
        let bytes = chunk.get(..count).unwrap_or_default();
        match &mut self.tls {
            None => self.plain.put(bytes),
            Some(tls) => {
                let fed = tls.feed(bytes, &mut self.plain);
                // An alert is to be written too.
                let flushed = self.flush().await;
                fed.map_err(|error| error.to_string())?;
                flushed?;
            }
        }
        Ok(count > 0)
    }

    async fn flush(&mut self) -> Result<(), String> {
        let mut ciphertext = Vec::new();
        if let Some(tls) = &mut self.tls {
            tls.take_ciphertext(&mut ciphertext);
        }
        self.write(&ciphertext).await
    }

    async fn write(&self, mut bytes: &[u8]) -> Result<(), String> {
        let write = async {
            while !bytes.is_empty() {
                self.stream.writable().await?;
                match self.stream.try_write(bytes) {
                    Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        timeout(ANSWER, write)
            .await
            .map_err(|_| format!("took nothing within {} s", ANSWER.as_secs()))?
            .map_err(|error| error.to_string())
    }
}
