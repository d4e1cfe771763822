//! One connection to one directory server, from the first packet to the last. Invariant: everything has an end: connecting, the
//! handshake, each message and each answer have a time, a message has a size, and an answer has as many entries as were asked for.
//! Blocks: a thread of its own runs it.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};
use turnout_core::home::HostPort;

use super::ber;
use super::fault::{Doing, Fault, code, refused};
use super::message::{self, Answer, Control, Entry, Outcome, Search};
use crate::clock;
use crate::config::{LdapConfig, LdapTls};
use crate::tls::identity::read_chain;

/// Largest message taken, in bytes. One entry with the attributes that are asked for has a few hundred.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Octets read at a time.
const READ_BYTES: usize = 32 * 1024;

/// An answer of many messages may take so many times as long as one message.
const ANSWER_TIMES: u32 = 12;

/// Largest password file, in bytes.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// A session whose account is let in.
pub(super) struct Session {
    stream: Stream,
    /// The server, as messages name it.
    server: String,
    timeout: Duration,
    /// What has arrived and is not read yet, from `taken` on.
    arrived: Vec<u8>,
    taken: usize,
    id: i64,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<ClientConnection>, TcpStream),
}

impl Stream {
    /// One read, which has ended by `deadline` whatever trickles in.
    fn read(&mut self, out: &mut [u8], deadline: Instant) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => {
                limit(tcp, deadline)?;
                tcp.read(out)
            }
            Self::Tls(tls, tcp) => loop {
                match tls.reader().read(out) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => pull(tls, tcp, deadline)?,
                    read => return read,
                }
            },
        }
    }

    fn write_all(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => {
                limit(tcp, deadline)?;
                tcp.write_all(bytes)
            }
            Self::Tls(tls, tcp) => {
                tls.writer().write_all(bytes)?;
                push(tls, tcp, deadline)
            }
        }
    }
}

/// Reads what the socket has and lets TLS see it.
fn pull(tls: &mut ClientConnection, tcp: &mut TcpStream, deadline: Instant) -> io::Result<()> {
    limit(tcp, deadline)?;
    if tls.read_tls(tcp)? == 0 && tls.is_handshaking() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let seen = tls.process_new_packets().map(|_| ());
    // An alert says to the server what we think of its certificate.
    let told = push(tls, tcp, deadline);
    seen.map_err(io::Error::other).and(told)
}

/// Writes what TLS has to say.
fn push(tls: &mut ClientConnection, tcp: &mut TcpStream, deadline: Instant) -> io::Result<()> {
    while tls.wants_write() {
        limit(tcp, deadline)?;
        tls.write_tls(tcp)?;
    }
    Ok(())
}

/// What a search ended with.
pub(super) struct Ended {
    /// The values of the controls that were asked for, in that order.
    pub(super) controls: Vec<Option<Vec<u8>>>,
}

impl Session {
    /// Connects to a server and signs in.
    pub(super) fn open(config: &LdapConfig, server: &HostPort) -> Result<Self, Fault> {
        let password = password(config)?;
        let name = server.to_string();
        let stream = dial(server, &name, config.timeout)?;
        let mut session = Self {
            stream: Stream::Plain(stream),
            server: name,
            timeout: config.timeout,
            arrived: Vec::new(),
            taken: 0,
            id: 0,
        };
        match config.tls {
            LdapTls::None => {}
            LdapTls::Ldaps => session.secure(config, server)?,
            LdapTls::StartTls => {
                session.start_tls()?;
                session.secure(config, server)?;
            }
        }
        session.bind(&config.bind_dn, &password)?;
        Ok(session)
    }

    /// The server, as messages name it.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// How long the server may take for one answer, in seconds.
    pub(super) fn seconds(&self) -> u64 {
        (self.timeout * ANSWER_TIMES).as_secs()
    }

    fn start_tls(&mut self) -> Result<(), Fault> {
        let id = self.next_id();
        self.send(&message::start_tls(id))?;
        let deadline = clock::now() + self.timeout;
        let outcome = self.receive(id, deadline, |answer| match answer {
            Answer::Extended(outcome) => Some(outcome),
            _ => None,
        })?;
        if outcome.code != code::SUCCESS {
            return Err(refused(&self.server, Doing::StartTls, &outcome));
        }
        // What came in the clear behind the answer was put there by somebody else.
        if self.taken < self.arrived.len() {
            return Err(Fault::server(
                format!("{} sent more in the clear after it agreed to StartTLS", self.server),
                "somebody on the way may be putting words into its mouth: set directory.ldap.tls to \"ldaps\"",
            ));
        }
        Ok(())
    }

    fn secure(&mut self, config: &LdapConfig, server: &HostPort) -> Result<(), Fault> {
        let tls = tls_config(config)?;
        let name = ServerName::try_from(server.host.clone()).map_err(|_| {
            Fault::configured(
                format!("{:?} is no name a certificate could have", server.host),
                "correct directory.ldap.servers",
            )
        })?;
        let connection = ClientConnection::new(tls, name).map_err(|error| {
            Fault::server(format!("{}: TLS: {error}", self.server), "report this as a bug")
        })?;
        let Stream::Plain(tcp) = &self.stream else { return Ok(()) };
        let mut tcp = tcp.try_clone().map_err(|error| self.lost(&error))?;
        let mut tls = Box::new(connection);
        let deadline = clock::now() + self.timeout;
        while tls.is_handshaking() {
            let step = push(&mut tls, &mut tcp, deadline).and_then(|()| match tls.is_handshaking() {
                true => pull(&mut tls, &mut tcp, deadline),
                false => Ok(()),
            });
            step.map_err(|error| self.untrusted(config, &error))?;
        }
        self.stream = Stream::Tls(tls, tcp);
        Ok(())
    }

    fn bind(&mut self, dn: &str, password: &[u8]) -> Result<(), Fault> {
        let id = self.next_id();
        self.send(&message::bind(id, dn, password))?;
        let deadline = clock::now() + self.timeout;
        let outcome = self.receive(id, deadline, |answer| match answer {
            Answer::Bound(outcome) => Some(outcome),
            _ => None,
        })?;
        match outcome.code {
            code::SUCCESS => Ok(()),
            _ => Err(refused(&self.server, Doing::Bind(dn), &outcome)),
        }
    }

    /// Searches and gives every entry to `visit`; at most `entries_max` may come. `wanted` names controls of the answer.
    pub(super) fn search(
        &mut self,
        what: &Search<'_>,
        entries_max: usize,
        wanted: &[&str],
        visit: &mut dyn FnMut(Entry<'_>) -> Result<(), Fault>,
    ) -> Result<Ended, Fault> {
        let id = self.next_id();
        self.send(&message::search(id, what))?;
        let end = clock::now() + self.timeout * ANSWER_TIMES;
        let mut entries = 0;
        loop {
            let deadline = end.min(clock::now() + self.timeout);
            let mut failed = None;
            let step = self.receive(id, deadline, |answer| match answer {
                Answer::Entry(entry) => {
                    entries += 1;
                    failed = visit(entry).err();
                    Some(None)
                }
                Answer::Reference => Some(None),
                Answer::Done(outcome, controls) => {
                    let read =
                        |oid: &&str| message::control(controls, oid).map(|value| value.map(<[u8]>::to_vec));
                    Some(Some((outcome, wanted.iter().map(read).collect::<Result<Vec<_>, _>>())))
                }
                _ => None,
            })?;
            if let Some(fault) = failed {
                return Err(fault);
            }
            if entries > entries_max {
                return Err(Fault::server(
                    format!("{} sends more than the {entries_max} entries that were asked for", self.server),
                    "look at the server: it does not keep to the size of a page",
                ));
            }
            if let Some((outcome, controls)) = step {
                let controls = controls.map_err(|_| Fault::malformed(&self.server))?;
                return self.ended(what, &outcome, controls);
            }
        }
    }

    fn ended(
        &self,
        what: &Search<'_>,
        outcome: &Outcome,
        controls: Vec<Option<Vec<u8>>>,
    ) -> Result<Ended, Fault> {
        if outcome.code == code::SUCCESS {
            return Ok(Ended { controls });
        }
        let is_dirsync = what.controls.iter().any(|control: &Control| control.oid == super::search::DIRSYNC);
        let doing = if is_dirsync { Doing::Dirsync(what.base) } else { Doing::Search(what.base) };
        Err(refused(&self.server, doing, outcome))
    }

    fn next_id(&mut self) -> i64 {
        self.id += 1;
        self.id
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let deadline = clock::now() + self.timeout;
        self.stream.write_all(bytes, deadline).map_err(|error| self.lost(&error))
    }

    /// Reads one message and gives what it says to `take`, which makes nothing of an answer that does not belong here.
    fn receive<T>(
        &mut self,
        id: i64,
        deadline: Instant,
        take: impl FnOnce(Answer<'_>) -> Option<T>,
    ) -> Result<T, Fault> {
        let length = loop {
            let waiting = self.arrived.get(self.taken..).unwrap_or_default();
            match ber::header(waiting) {
                Ok(Some((ber::SEQUENCE, head, length))) if head + length <= MESSAGE_BYTES_MAX => {
                    if waiting.len() >= head + length {
                        break head + length;
                    }
                }
                Ok(None) if waiting.len() < ber::HEADER_MAX => {}
                _ => return Err(Fault::malformed(&self.server)),
            }
            self.fill(deadline)?;
        };
        let begin = self.taken;
        self.taken += length;
        let bytes = self.arrived.get(begin..self.taken).unwrap_or_default();
        let (found, answer) = message::answer(bytes).map_err(|_| Fault::malformed(&self.server))?;
        // Number 0 is a word nobody asked for: the server is about to hang up (RFC 4511 §4.4).
        if found == 0
            && let Answer::Extended(outcome) = &answer
        {
            return Err(refused(&self.server, Doing::Search(""), outcome));
        }
        let taken = if found == id { take(answer) } else { None };
        taken.ok_or_else(|| Fault::malformed(&self.server))
    }

    fn fill(&mut self, deadline: Instant) -> Result<(), Fault> {
        self.arrived.drain(..self.taken);
        self.taken = 0;
        let before = self.arrived.len();
        self.arrived.resize(before + READ_BYTES, 0);
        let read = self.stream.read(self.arrived.get_mut(before..).unwrap_or_default(), deadline);
        self.arrived.truncate(before + read.as_ref().map_or(0, |count| *count));
        match read {
            Ok(0) => Err(Fault::server(format!("{} has hung up", self.server), "look at the server's log")),
            Ok(_) => Ok(()),
            Err(error) => Err(self.lost(&error)),
        }
    }

    fn lost(&self, error: &io::Error) -> Fault {
        let server = &self.server;
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Fault::server(
                format!("{server} did not answer within {} s", self.timeout.as_secs()),
                "is it overloaded? directory.ldap.timeout_seconds says how long to wait",
            ),
            _ => Fault::server(
                format!("the connection to {server} broke: {error}"),
                "look at the server's log",
            ),
        }
    }

    fn untrusted(&self, config: &LdapConfig, error: &io::Error) -> Fault {
        let server = &self.server;
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let Some(tls) = tls else {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Fault::server(
                    format!("{server} hung up in the TLS handshake"),
                    "does it have a certificate, and does `tls` say what that port expects?",
                ),
                _ => self.lost(error),
            };
        };
        let anchors = match &config.ca_file {
            Some(file) => format!("no authority in {}", file.display()),
            None => "no authority this system trusts".to_owned(),
        };
        let (what, cure) = match tls {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => (
                format!("{server} shows a certificate that {anchors} has issued"),
                "give the root of your enterprise's authority as directory.ldap.ca_file",
            ),
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => (
                format!("{server} shows a certificate for another name ({tls})"),
                "name the server in directory.ldap.servers as its certificate does",
            ),
            rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => (format!("the certificate of {server} has expired"), "renew it on the server"),
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            ) => {
                (format!("the certificate of {server} is not valid yet"), "check the clocks of both machines")
            }
            rustls::Error::InvalidCertificate(_) => (
                format!("{server} shows a certificate that cannot be used: {tls}"),
                "replace it on the server",
            ),
            _ => (
                format!("{server}: TLS failed: {tls}"),
                "turnout speaks TLS 1.2 and 1.3; does `tls` say what that port expects?",
            ),
        };
        Fault::server(what, cure)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let id = self.next_id();
        // A farewell; a server that is gone misses nothing.
        drop(self.send(&message::unbind(id)));
    }
}

/// Sets how long the socket may block.
fn limit(tcp: &TcpStream, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(clock::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    tcp.set_read_timeout(Some(left))?;
    tcp.set_write_timeout(Some(left))
}

fn dial(server: &HostPort, name: &str, timeout: Duration) -> Result<TcpStream, Fault> {
    let addresses = (server.host.as_str(), server.port).to_socket_addrs();
    let addresses: Vec<_> = addresses
        .map_err(|error| {
            Fault::server(
                format!("{name}: the name cannot be resolved: {error}"),
                "correct directory.ldap.servers, or the system's resolver",
            )
        })?
        .collect();
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                // Small requests want to leave at once; where that cannot be had it is only slower.
                drop(stream.set_nodelay(true));
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(Fault::server(
        format!("{name} cannot be reached: {last}"),
        "is the server up, and does a firewall let turnout through?",
    ))
}

/// The password, without the line end an editor leaves.
fn password(config: &LdapConfig) -> Result<Vec<u8>, Fault> {
    let path = &config.password_file;
    let cure = "correct directory.ldap.password_file or the file's permissions";
    let failed = |what: String| Fault::configured(what, cure);
    let file = std::fs::File::open(path)
        .map_err(|error| failed(format!("cannot read {}: {error}", path.display())))?;
    let mut password = Vec::new();
    file.take(PASSWORD_BYTES_MAX + 1)
        .read_to_end(&mut password)
        .map_err(|error| failed(format!("cannot read {}: {error}", path.display())))?;
    let end = password.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |at| at + 1);
    password.truncate(end);
    // An empty password would be an anonymous bind, which many servers let in and show nothing (RFC 4513 §5.1.2).
    if password.is_empty() || password.len() as u64 > PASSWORD_BYTES_MAX {
        return Err(failed(format!("{} holds no password", path.display())));
    }
    Ok(password)
}

fn tls_config(config: &LdapConfig) -> Result<Arc<ClientConfig>, Fault> {
    let cure = "give the PEM file of your enterprise's authority as directory.ldap.ca_file";
    let mut roots = RootCertStore::empty();
    match &config.ca_file {
        Some(file) => {
            for der in read_chain(file).map_err(|what| Fault::configured(what, cure))? {
                roots.add(der).map_err(|error| {
                    Fault::configured(
                        format!("{} holds a root that cannot be used: {error}", file.display()),
                        cure,
                    )
                })?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(Fault::configured("there are no authorities to trust", cure));
    }
    let builder = ClientConfig::builder_with_provider(crate::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| {
            Fault::configured(format!("TLS cannot be set up: {error}"), "report this as a bug")
        })?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
