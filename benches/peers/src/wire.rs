//! One connection, plain or TLS. Invariant: the socket never blocks; whoever has to wait says so by calling one of the functions that do.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use crate::{Outcome, sys};

/// Bytes of ciphertext read at a time.
const STAGE: usize = 256 * 1024;
/// Room that `receive` needs.
pub const ROOM: usize = STAGE + 64 * 1024;
/// How long a peer may take to answer or to read, in milliseconds.
pub const PATIENCE_MILLIS: i32 = 30_000;

thread_local! {
    static CIPHERTEXT: RefCell<Vec<u8>> = RefCell::new(vec![0; STAGE]);
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Got {
    /// Bytes of plain text.
    pub bytes: usize,
    /// The kernel may have more.
    pub more: bool,
    /// The other side has ended.
    pub end: bool,
}

/// A connection. A clone is the same connection, so that one thread can read and another write.
#[derive(Clone, Debug)]
pub struct Wire {
    socket: Arc<TcpStream>,
    tls: Option<Arc<Mutex<Connection>>>,
    unsent: Vec<u8>,
}

impl AsRawFd for Wire {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Wire {
    /// Of a socket.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Arc::new(socket), tls: None, unsent: Vec::new() })
    }

    /// Connects.
    ///
    /// # Errors
    /// When nobody is there.
    pub fn dial(address: SocketAddr) -> Outcome<Self> {
        let socket =
            TcpStream::connect(address).map_err(|error| format!("cannot connect to {address}: {error}"))?;
        Self::new(socket).map_err(|error| error.to_string())
    }

    /// Begins TLS as the one who dialed; the handshake goes on by reading.
    ///
    /// # Errors
    /// When the name is none.
    pub fn secure_as_client(&mut self, config: &Arc<ClientConfig>, name: &str) -> Outcome<()> {
        let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
        let tls = ClientConnection::new(Arc::clone(config), name).map_err(|error| error.to_string())?;
        self.secure(tls.into())
    }

    /// Begins TLS as the one who was dialed.
    ///
    /// # Errors
    /// When rustls refuses the configuration.
    pub fn secure_as_server(&mut self, config: &Arc<ServerConfig>) -> Outcome<()> {
        let tls = ServerConnection::new(Arc::clone(config)).map_err(|error| error.to_string())?;
        self.secure(tls.into())
    }

    fn secure(&mut self, mut tls: Connection) -> Outcome<()> {
        tls.set_buffer_limit(None);
        self.tls = Some(Arc::new(Mutex::new(tls)));
        self.flush().map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Reads once into `into`, which has at least `ROOM` bytes.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn receive(&mut self, into: &mut [u8]) -> io::Result<Got> {
        let Some(tls) = &self.tls else {
            let room = into.len();
            return Ok(match (&*self.socket).read(into) {
                Ok(bytes) => Got { bytes, more: bytes == room, end: bytes == 0 },
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    Got { bytes: 0, more: false, end: false }
                }
                Err(error) => return Err(error),
            });
        };
        let tls = Arc::clone(tls);
        CIPHERTEXT.with_borrow_mut(|stage| {
            let read = match (&*self.socket).read(stage) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Got { bytes: 0, more: false, end: false });
                }
                Err(error) => return Err(error),
            };
            let mut left = &stage[..read];
            let (mut bytes, mut end) = (0, read == 0);
            let mut tls = tls.lock().unwrap_or_else(PoisonError::into_inner);
            while !left.is_empty() {
                tls.read_tls(&mut left)?;
                let state = tls.process_new_packets().map_err(|error| io::Error::other(error.to_string()))?;
                end |= state.peer_has_closed();
                let ready = state.plaintext_bytes_to_read();
                tls.reader().read_exact(&mut into[bytes..bytes + ready])?;
                bytes += ready;
            }
            let wants_write = tls.wants_write();
            drop(tls);
            if wants_write {
                self.flush()?;
            }
            Ok(Got { bytes, more: read == STAGE, end })
        })
    }

    /// Takes bytes to be sent; `flush` sends them.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn queue(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &self.tls {
            Some(tls) => tls.lock().unwrap_or_else(PoisonError::into_inner).writer().write_all(bytes),
            None => {
                self.unsent.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Sends what was queued, as far as the kernel takes it; whether all is gone.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn flush(&mut self) -> io::Result<bool> {
        let done = match &self.tls {
            Some(tls) => {
                let mut tls = tls.lock().unwrap_or_else(PoisonError::into_inner);
                let mut done = Ok(());
                while tls.wants_write() && done.is_ok() {
                    done = tls.write_tls(&mut &*self.socket).map(|_| ());
                }
                done
            }
            None if self.unsent.is_empty() => Ok(()),
            None => {
                let mut from = 0;
                let mut done = Ok(());
                while from < self.unsent.len() && done.is_ok() {
                    done = (&*self.socket).write(&self.unsent[from..]).map(|count| from += count);
                }
                self.unsent.drain(..from);
                done
            }
        };
        match done {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends all of it, however long the other side takes.
    ///
    /// # Errors
    /// When the connection is broken or the other side reads nothing.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.tls.is_some() {
            self.queue(bytes)?;
            while !self.flush()? {
                self.until(libc::POLLOUT)?;
            }
            return Ok(());
        }
        let mut from = 0;
        while from < bytes.len() {
            match (&*self.socket).write(&bytes[from..]) {
                Ok(count) => from += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.until(libc::POLLOUT)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says that nothing more comes.
    pub fn shut(&self) {
        // Whoever is gone already needs not be told.
        drop(self.socket.shutdown(std::net::Shutdown::Write));
    }

    /// Waits for something to read.
    ///
    /// # Errors
    /// When nothing comes.
    pub fn until_readable(&self) -> io::Result<()> {
        self.until(libc::POLLIN)
    }

    fn until(&self, what: i16) -> io::Result<()> {
        if sys::poll(&*self.socket, what, PATIENCE_MILLIS) {
            return Ok(());
        }
        Err(io::Error::new(ErrorKind::TimedOut, "the peer neither reads nor answers"))
    }
}
