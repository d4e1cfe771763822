//! One blocking connection, plain or TLS, with everything it was sent kept until it is asked for.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use turnout::clock::now;

use super::inbox::PATIENCE;

/// How the other side ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// TLS close_notify.
    Notified,
    /// TCP FIN, without TLS.
    Eof,
    /// Anything else: reset, FIN in the midst of TLS, an alert.
    Cut(String),
}

#[derive(Debug)]
pub struct Wire {
    socket: TcpStream,
    tls: Option<Connection>,
    /// Received and not yet taken.
    pub buffer: Vec<u8>,
    pub end: Option<End>,
}

impl Wire {
    pub fn new(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { socket, tls: None, buffer: Vec::new(), end: None }
    }

    pub fn dial(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    /// Begins TLS as the client, to the end of the handshake as seen from here.
    pub fn secure_as_client(&mut self, config: Arc<ClientConfig>, name: &str) -> Result<(), String> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        self.secure(ClientConnection::new(config, name).unwrap().into())
    }

    pub fn secure_as_server(&mut self, config: Arc<ServerConfig>) -> Result<(), String> {
        self.secure(ServerConnection::new(config).unwrap().into())
    }

    fn secure(&mut self, tls: Connection) -> Result<(), String> {
        assert!(self.buffer.is_empty(), "bytes before the handshake: {:?}", self.text());
        self.tls = Some(tls);
        self.flush();
        let deadline = now() + PATIENCE;
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            if let Some(end) = &self.end {
                return Err(format!("{end:?}"));
            }
            assert!(now() < deadline, "the handshake hangs");
            self.pump(Duration::from_secs(1));
        }
        Ok(())
    }

    /// The certificate the other side showed.
    pub fn certificate(&self) -> CertificateDer<'static> {
        let chain = self.tls.as_ref().and_then(|tls| tls.peer_certificates()).unwrap();
        chain[0].clone().into_owned()
    }

    pub fn alpn(&self) -> Option<Vec<u8>> {
        self.tls.as_ref().and_then(|tls| tls.alpn_protocol()).map(<[u8]>::to_vec)
    }

    /// How long [`Self::send`] waits for a side that does not read.
    pub fn send_within(&self, patience: Duration) {
        self.socket.set_write_timeout(Some(patience)).unwrap();
    }

    /// Sends. That the other side is gone shows when reading.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        for part in bytes.as_ref().chunks(16 * 1024) {
            match &mut self.tls {
                Some(tls) => tls.writer().write_all(part).unwrap(),
                None => {
                    if let Err(error) = self.socket.write_all(part) {
                        return Self::must_be_gone(&error);
                    }
                }
            }
            self.flush();
        }
    }

    /// A part of what was to be sent would be missing, which is no more what a test means to send.
    fn must_be_gone(error: &std::io::Error) {
        let late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(!late, "the other side does not read what is sent");
    }

    /// Says that nothing more comes.
    pub fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.flush();
        // Whoever is gone already needs not be told.
        drop(self.socket.shutdown(Shutdown::Write));
    }

    fn flush(&mut self) {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                if let Err(error) = tls.write_tls(&mut self.socket) {
                    return Self::must_be_gone(&error);
                }
            }
        }
    }

    /// Reads once; false when nothing came in that time or nothing more can come.
    pub fn pump(&mut self, patience: Duration) -> bool {
        if self.end.is_some() {
            return false;
        }
        self.socket.set_read_timeout(Some(patience.max(Duration::from_millis(1)))).unwrap();
        let result = match &mut self.tls {
            None => {
                let mut chunk = [0; 16 * 1024];
                self.socket.read(&mut chunk).map(|count| {
                    self.buffer.extend_from_slice(&chunk[..count]);
                    (count == 0).then_some(End::Eof)
                })
            }
            Some(tls) => tls.read_tls(&mut self.socket).map(|count| {
                if count == 0 {
                    return Some(End::Cut("no close_notify".to_owned()));
                }
                match tls.process_new_packets() {
                    Ok(state) => {
                        let from = self.buffer.len();
                        self.buffer.resize(from + state.plaintext_bytes_to_read(), 0);
                        tls.reader().read_exact(&mut self.buffer[from..]).unwrap();
                        state.peer_has_closed().then_some(End::Notified)
                    }
                    Err(error) => Some(End::Cut(error.to_string())),
                }
            }),
        };
        match result {
            Ok(end) => self.end = end,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            Err(error) => self.end = Some(End::Cut(error.to_string())),
        }
        self.flush();
        true
    }

    /// What was received and not yet taken, for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }

    /// Reads until the other side ends the connection; what it said is in the buffer.
    pub fn until_end(&mut self) -> End {
        let deadline = now() + PATIENCE;
        loop {
            if let Some(end) = &self.end {
                return end.clone();
            }
            assert!(now() < deadline, "the connection stays open; unread: {:?}", self.text());
            self.pump(Duration::from_secs(1));
        }
    }
}
