//! An XMPP server that is dialed: the partner's, or the legacy gateway. It takes streams by EXTERNAL or dialback, says whether a key is
//! its own, and keeps what it is sent.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;

use super::inbox::Inbox;
use super::stream::{Item, attribute, header};
use super::wire::{End, Wire};

/// How it behaves.
#[derive(Clone, Default)]
pub struct Manner {
    /// Offers STARTTLS, and EXTERNAL over it.
    pub tls: Option<Arc<ServerConfig>>,
}

/// The server.
pub struct Server {
    pub address: SocketAddr,
    /// Stanzas as they came, byte for byte.
    pub stanzas: Inbox<String>,
    /// What it was asked: `starttls`, `auth`, `result`, `verify`, and how each connection ended.
    pub steps: Inbox<String>,
    /// Keys it gave out: it says `valid` to these.
    pub keys: Arc<Mutex<HashSet<String>>>,
    /// It reads nothing for now.
    pub deaf: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
}

struct Session {
    wire: Wire,
    manner: Manner,
    secured: bool,
    authenticated: bool,
    stanzas: Inbox<String>,
    steps: Inbox<String>,
    keys: Arc<Mutex<HashSet<String>>>,
    deaf: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
}

/// Ids of streams, never twice.
static STREAMS: AtomicU64 = AtomicU64::new(1);

impl Server {
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            stanzas: Inbox::default(),
            steps: Inbox::default(),
            keys: Arc::default(),
            deaf: Arc::default(),
            stopped: Arc::default(),
        };
        let (stanzas, steps, keys) = (server.stanzas.clone(), server.steps.clone(), Arc::clone(&server.keys));
        let (deaf, stopped) = (Arc::clone(&server.deaf), Arc::clone(&server.stopped));
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let session = Session {
                    wire: Wire::new(socket),
                    manner: manner.clone(),
                    secured: false,
                    authenticated: false,
                    stanzas: stanzas.clone(),
                    steps: steps.clone(),
                    keys: Arc::clone(&keys),
                    deaf: Arc::clone(&deaf),
                    stopped: Arc::clone(&stopped),
                };
                std::thread::spawn(move || session.run());
            }
        });
        server
    }

    /// Goes away for good, without a word: what it had not read is lost, and nobody answers at its address.
    pub fn vanish(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
    }

    /// A key this server answers for.
    pub fn key(&self, text: &str) -> String {
        self.keys.lock().unwrap().insert(text.to_owned());
        text.to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.vanish();
    }
}

impl Session {
    fn run(mut self) {
        loop {
            while self.deaf.load(Ordering::Relaxed) {
                if self.stopped.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            match self.wire.poll() {
                None => drop(self.wire.pump(super::inbox::PATIENCE)),
                Some(Item::Header(text)) => self.header(&text),
                Some(Item::Element(text)) => self.element(text),
                Some(Item::Close) => {
                    self.wire.send("</stream:stream>");
                    self.wire.finish();
                    self.steps.push("closed".to_owned());
                }
                Some(Item::End(end)) => {
                    let word = if end == End::Notified { "notified" } else { "ended" };
                    return self.steps.push(word.to_owned());
                }
            }
        }
    }

    fn header(&mut self, text: &str) {
        let (from, to) = (attribute(text, "to").unwrap(), attribute(text, "from").unwrap_or_default());
        let id = STREAMS.fetch_add(1, Ordering::Relaxed);
        let features = match (&self.manner.tls, self.secured) {
            (Some(_), false) => "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            (Some(_), true) if !self.authenticated => {
                "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>"
            }
            _ => "<dialback xmlns='urn:xmpp:features:dialback'/>",
        };
        self.wire.send(header(&from, &to, &format!(" id='peer{id}'")));
        self.wire.send(format!("<stream:features>{features}</stream:features>"));
    }

    fn element(&mut self, text: String) {
        let (from, to) = (attribute(&text, "from"), attribute(&text, "to"));
        let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
        if text.starts_with("<starttls") {
            self.steps.push("starttls".to_owned());
            self.wire.send("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
            let config = Arc::clone(self.manner.tls.as_ref().unwrap());
            if let Err(why) = self.wire.secure_as_server(config) {
                self.steps.push(format!("handshake: {why}"));
            }
            self.secured = true;
        } else if text.starts_with("<auth") {
            self.steps.push("auth".to_owned());
            self.wire.send("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
            self.authenticated = true;
        } else if text.starts_with("<db:result") {
            self.steps.push("result".to_owned());
            self.wire.send(format!("<db:result from='{to}' to='{from}' type='valid'/>"));
        } else if text.starts_with("<db:verify") {
            self.steps.push("verify".to_owned());
            let key = text.split('>').nth(1).and_then(|rest| rest.split('<').next()).unwrap_or_default();
            let verdict = if self.keys.lock().unwrap().contains(key) { "valid" } else { "invalid" };
            let id = attribute(&text, "id").unwrap();
            self.wire.send(format!("<db:verify from='{to}' to='{from}' id='{id}' type='{verdict}'/>"));
        } else {
            self.stanzas.push(text);
        }
    }
}
