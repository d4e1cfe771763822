//! The receiving side: one thread that accepts, reads and counts. Invariant: it writes answers only, and never waits for anybody.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use rustls::ServerConfig;

use crate::ledger::{Ledger, Shared};
use crate::sip::Pool;
use crate::wire::{ROOM, Wire};
use crate::xml::{self, Server};
use crate::{Outcome, sys};

/// Keys of connections begin here; those of listeners are below.
const CONNECTIONS: u64 = 64;

/// What is spoken on a connection.
#[derive(Clone, Debug)]
pub enum Speech {
    /// Stanzas and nothing else: behind a byte relay.
    Raw(Option<Arc<ServerConfig>>),
    /// Streams, with stanzas that count: the gateway, or the partner when it is written to.
    Stream(Server),
    /// Streams where a stanza is one that came back.
    Returns(Server),
    /// Stanzas of an authenticated stream, of a component or of one that was dialed.
    Component,
    /// Streams of components: the port of an XMPP server for them. It lets everybody in.
    Port,
    /// What the other side says on a stream that we write to.
    Listen,
    /// SIP, as a pool.
    Pool(Box<Pool>),
}

struct Connection {
    wire: Wire,
    speech: Speech,
    /// Read and not yet taken: less than one item.
    rest: Vec<u8>,
    ready: bool,
}

/// Before it runs.
pub struct Sink {
    epoll: sys::Epoll,
    listeners: Vec<(TcpListener, Speech)>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    shared: Arc<Shared>,
    ledger: Ledger,
    scratch: Vec<u8>,
    inbox: Arc<std::sync::Mutex<Vec<(Wire, Speech)>>>,
}

/// A running sink.
#[derive(Debug)]
pub struct Running {
    thread: JoinHandle<()>,
    inbox: Arc<std::sync::Mutex<Vec<(Wire, Speech)>>>,
}

impl Running {
    /// Gives it a connection to read. It is read a tenth of a second later at most.
    pub fn adopt(&self, wire: Wire, speech: Speech) {
        self.inbox.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((wire, speech));
    }

    /// Waits for its end, after `Shared::stop`.
    pub fn join(self) {
        // A panic there has been printed.
        drop(self.thread.join());
    }
}

impl Sink {
    /// One that counts by this ledger.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new(shared: Arc<Shared>, ledger: Ledger) -> Outcome<Self> {
        Ok(Self {
            epoll: sys::Epoll::new().map_err(|error| error.to_string())?,
            listeners: Vec::new(),
            connections: Vec::new(),
            free: Vec::new(),
            shared,
            ledger,
            scratch: vec![0; ROOM + (1 << 20)],
            inbox: Arc::default(),
        })
    }

    /// Listens there.
    ///
    /// # Errors
    /// When somebody else does.
    pub fn listen(&mut self, address: SocketAddr, speech: Speech) -> Outcome<()> {
        let wrong = |error: std::io::Error| format!("cannot listen on {address}: {error}");
        let listener = TcpListener::bind(address).map_err(wrong)?;
        sys::deepen(&listener);
        listener.set_nonblocking(true).map_err(wrong)?;
        self.epoll.add(&listener, self.listeners.len() as u64).map_err(wrong)?;
        self.listeners.push((listener, speech));
        Ok(())
    }

    /// Starts the thread.
    #[must_use]
    pub fn start(mut self) -> Running {
        let inbox = Arc::clone(&self.inbox);
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::spawn(move || {
            if let Err(why) = self.run() {
                shared.fail(why);
            }
        });
        Running { thread, inbox }
    }

    fn run(&mut self) -> Outcome<()> {
        let mut keys = Vec::new();
        while !self.shared.stop.load(Ordering::Acquire) {
            self.epoll.wait(100, &mut keys);
            let now = sys::now();
            for key in &keys {
                match key.checked_sub(CONNECTIONS) {
                    None => self.accept(usize::try_from(*key).unwrap_or(0))?,
                    Some(at) => self.read(usize::try_from(at).unwrap_or(usize::MAX), now)?,
                }
            }
            let adopted =
                std::mem::take(&mut *self.inbox.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
            for (wire, speech) in adopted {
                self.adopt(wire, speech)?;
            }
        }
        Ok(())
    }

    fn accept(&mut self, listener: usize) -> Outcome<()> {
        loop {
            let (listener, speech) = &self.listeners[listener];
            let Ok((socket, _)) = listener.accept() else { return Ok(()) };
            let mut speech = speech.clone();
            let mut wire = Wire::new(socket).map_err(|error| error.to_string())?;
            let tls = match &mut speech {
                Speech::Raw(tls) => tls.take(),
                Speech::Pool(pool) => pool.tls.take(),
                _ => None,
            };
            if let Some(config) = tls {
                wire.secure_as_server(&config)?;
            }
            self.adopt(wire, speech)?;
        }
    }

    /// Reads a connection from now on.
    ///
    /// # Errors
    /// When the kernel refuses, or what it has sent already is wrong.
    pub fn adopt(&mut self, wire: Wire, speech: Speech) -> Outcome<()> {
        let at = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        self.epoll.add(&wire, CONNECTIONS + at as u64).map_err(|error| error.to_string())?;
        self.connections[at] = Some(Connection { wire, speech, rest: Vec::new(), ready: false });
        self.read(at, sys::now())
    }

    fn read(&mut self, at: usize, mut now: u64) -> Outcome<()> {
        let Some(connection) = self.connections.get_mut(at).and_then(Option::as_mut) else { return Ok(()) };
        let mut gone = connection.wire.flush().is_err();
        let mut more = !gone;
        while more {
            let kept = connection.rest.len();
            if self.scratch.len() < kept + ROOM {
                self.scratch.resize(kept + ROOM, 0);
            }
            self.scratch[..kept].copy_from_slice(&connection.rest);
            // A peer that resets a connection when the run is over has done nothing wrong.
            let Ok(got) = connection.wire.receive(&mut self.scratch[kept..]) else {
                gone = true;
                break;
            };
            gone |= got.end;
            more = got.more && !got.end;
            if got.bytes > 0 {
                let bytes = &self.scratch[..kept + got.bytes];
                let took = connection.take(bytes, now, &mut self.ledger, &self.shared)?;
                connection.rest.clear();
                connection.rest.extend_from_slice(&bytes[took..]);
                now = if more { sys::now() } else { now };
            }
        }
        if gone {
            self.connections[at] = None;
            self.free.push(at);
        }
        Ok(())
    }
}

impl Connection {
    /// Takes what is whole; gives the number of bytes taken.
    fn take(&mut self, bytes: &[u8], now: u64, ledger: &mut Ledger, shared: &Shared) -> Outcome<usize> {
        if let Speech::Pool(pool) = &mut self.speech {
            return pool.take(bytes, &mut self.wire, now, ledger, shared);
        }
        let counts = !matches!(self.speech, Speech::Returns(_) | Speech::Listen);
        let mut at = 0;
        while at < bytes.len() {
            if counts {
                let (count, length) = ledger.stanzas(&bytes[at..], now, shared)?;
                if count > 0 {
                    at += length;
                    shared.arrived(count, length as u64);
                    continue;
                }
            }
            let Some((text, length)) = xml::item(&bytes[at..])? else { break };
            self.item(text, shared)?;
            at += length;
        }
        Ok(at)
    }

    fn item(&mut self, text: &str, shared: &Shared) -> Outcome<()> {
        match &mut self.speech {
            Speech::Returns(_) | Speech::Listen if text.starts_with("<message") => {
                shared.bounced.fetch_add(1, Ordering::Relaxed);
                Err(format!("came back: {text}"))
            }
            Speech::Stream(server) | Speech::Returns(server) => {
                if server.answer(text, &mut self.wire)? && !self.ready {
                    self.ready = true;
                    shared.ready.fetch_add(1, Ordering::AcqRel);
                }
                Ok(())
            }
            Speech::Component | Speech::Listen => match text {
                text if text.starts_with("<stream:error") => Err(format!("the peer says {text}")),
                _ => Ok(()),
            },
            Speech::Port => {
                let reply = match text {
                    text if text.starts_with("<stream:stream") => {
                        "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
                         xmlns:stream='http://etherx.jabber.org/streams' from='partner.example' id='load1'>"
                    }
                    text if text.starts_with("<handshake") => {
                        shared.ready.fetch_add(1, Ordering::AcqRel);
                        "<handshake/>"
                    }
                    _ => return Ok(()),
                };
                let sent = self.wire.queue(reply.as_bytes()).and_then(|()| self.wire.flush());
                sent.map(|_| ()).map_err(|error| error.to_string())
            }
            Speech::Raw(_) => Err(format!("not a message: {text}")),
            Speech::Pool(_) => Ok(()),
        }
    }
}
