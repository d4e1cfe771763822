//! Listening sockets that outlive a process: given by the service manager (socket activation), or by the process that ran before,
//! so that a new binary takes over and no attempt to connect is refused. Invariant: the old process goes on as if nothing had happened
//! until the new one has said that it is ready to begin; from then on one of the two owns store, spool and traffic, never both. What connects
//! in between waits in the kernel's queue of the socket, which both of them hold.
//!
//! ```text
//! old: starts the new binary, gives it the sockets ──▶ new: reads configuration, certificates, users
//! old: stops accepting, drains, closes store and spool ◀── "ready"
//! old: "yours", ends                              ──▶ new: opens store and spool, begins, accepts
//! ```

use std::ffi::OsString;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};

/// Set for a process whose standard input is the way to its predecessor.
const VARIABLE: &str = "TURNOUT_PREDECESSOR";

/// How long a new process may take until it is ready to begin: it reads configuration, certificates and all users.
const READY_SECONDS: u64 = 120;

/// Longest message between the two.
const MESSAGE_BYTES_MAX: usize = 512;

const SOCKET: &str = "socket ";
const ALL: &str = "all";
const READY: &str = "ready";
const YOURS: &str = "yours";

/// Who gave sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Giver {
    Nobody,
    ServiceManager,
    Predecessor,
}

/// A listening socket that came with the process.
#[derive(Debug)]
struct Passed {
    /// What it was for, where a predecessor gave it.
    name: String,
    address: SocketAddr,
    listener: TcpListener,
}

/// The listening sockets that came with the process and nobody has taken yet.
#[derive(Debug)]
pub struct Sockets {
    giver: Giver,
    passed: Vec<Passed>,
}

impl Sockets {
    /// None came.
    pub fn none() -> Self {
        Self { giver: Giver::Nobody, passed: Vec::new() }
    }

    fn add(&mut self, name: String, listener: TcpListener) -> Result<(), String> {
        let address =
            listener.local_addr().map_err(|error| format!("a socket that was passed in: {error}"))?;
        listener.set_nonblocking(true).map_err(|error| format!("the socket for {address}: {error}"))?;
        self.passed.push(Passed { name, address, listener });
        Ok(())
    }

    /// What the service manager passes (`LISTEN_FDS`).
    fn of_service_manager() -> Result<Self, String> {
        let mut given = listenfd::ListenFd::from_env();
        let mut sockets = Self::none();
        for index in 0..given.len() {
            sockets.giver = Giver::ServiceManager;
            let wrong = |error: &dyn std::fmt::Display| {
                format!(
                    "socket {index} of the service manager: {error}; only ListenStream= with an IP address and a port will do"
                )
            };
            let listener = given.take_tcp_listener(index).map_err(|error| wrong(&error))?;
            let listener = listener.ok_or_else(|| wrong(&"it is not there"))?;
            if !sockopt::socket_acceptconn(&listener).map_err(|error| wrong(&error))? {
                return Err(wrong(&"it does not listen"));
            }
            sockets.add(String::new(), listener)?;
        }
        Ok(sockets)
    }

    /// The socket for a key of the configuration: that of its address; for a port the kernel chooses, the predecessor's for the same
    /// key.
    pub fn take(&mut self, name: &str, address: SocketAddr) -> Option<TcpListener> {
        let fits = |passed: &Passed| match address.port() {
            0 => passed.name == name && passed.address.ip() == address.ip(),
            _ => passed.address == address,
        };
        let at = self.passed.iter().position(fits)?;
        Some(self.passed.swap_remove(at).listener)
    }

    /// Whether addresses may be in use by a process that is about to end.
    pub fn are_of_predecessor(&self) -> bool {
        self.giver == Giver::Predecessor
    }

    /// Every key has taken its socket. A predecessor's that are left are closed: they are no longer wanted.
    ///
    /// # Errors
    /// The service manager listens where nobody would answer.
    pub fn finish(self) -> Result<(), String> {
        match self.passed.first() {
            Some(passed) if self.giver == Giver::ServiceManager => Err(format!(
                "the service manager passes a socket for {}, and no key of the configuration has this address: who connects there would \
                 never be answered. Make ListenStream= and listen the same",
                passed.address
            )),
            _ => Ok(()),
        }
    }
}

/// The process that ran before and is still to give way.
#[derive(Debug)]
pub struct Predecessor {
    channel: OwnedFd,
}

impl Predecessor {
    /// Tells it that this process can begin. It stops accepting now.
    ///
    /// # Errors
    /// It is gone, or has lost patience.
    pub fn say_ready(&self) -> Result<(), String> {
        say(&self.channel, READY, None)
            .map_err(|error| format!("the process before this one is gone: {error}"))
    }

    /// Waits until it has given way, or is no more. Blocks.
    pub fn wait(self) {
        while let Ok(Some((text, _))) = hear(&self.channel) {
            if text == YOURS {
                return;
            }
        }
        tracing::warn!(
            event = "upgrade.unannounced",
            "the process before this one ended without a word; beginning all the same"
        );
    }
}

/// What came with the process: sockets, and the one who gave them if it still runs.
///
/// # Errors
/// Something that cannot be used.
pub fn received() -> Result<(Sockets, Option<Predecessor>), String> {
    if std::env::var_os(VARIABLE).is_none() {
        return Ok((Sockets::of_service_manager()?, None));
    }
    let cannot = |error: &dyn std::fmt::Display| {
        format!("{VARIABLE} is set, and standard input leads to no process that gives sockets: {error}")
    };
    let channel = std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| cannot(&error))?;
    let mut sockets = Sockets { giver: Giver::Predecessor, passed: Vec::new() };
    loop {
        match hear(&channel).map_err(|error| cannot(&error))? {
            Some((text, None)) if text == ALL => return Ok((sockets, Some(Predecessor { channel }))),
            Some((text, Some(socket))) if text.starts_with(SOCKET) => {
                sockets.add(text[SOCKET.len()..].to_owned(), TcpListener::from(socket))?;
            }
            Some(_) => return Err(cannot(&"it says what is not expected")),
            None => return Err(cannot(&"it is gone")),
        }
    }
}

/// How this program was started: its file, as it was found then, so that a file that replaces it is found in its place.
#[derive(Clone, Debug)]
pub struct Program {
    file: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// This one. To be asked early.
    ///
    /// # Errors
    /// The system does not say where the file is.
    pub fn this() -> Result<Self, String> {
        let file =
            std::env::current_exe().map_err(|error| format!("cannot find this program's file: {error}"))?;
        Ok(Self { file, arguments: std::env::args_os().skip(1).collect() })
    }

    /// Starts it anew, with these sockets.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, sockets: &[(String, OwnedFd)]) -> Result<Successor, String> {
        let cannot = |error: &dyn std::fmt::Display| format!("cannot start {}: {error}", self.file.display());
        let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (channel, theirs) = pair.map_err(|error| cannot(&error))?;
        let patience = Some(Duration::from_secs(READY_SECONDS));
        sockopt::set_socket_timeout(&channel, sockopt::Timeout::Recv, patience)
            .map_err(|error| cannot(&error))?;
        let child = Command::new(&self.file)
            .args(&self.arguments)
            .env(VARIABLE, std::process::id().to_string())
            // These are addressed to this process by its number.
            .env_remove("WATCHDOG_PID")
            .env_remove("LISTEN_PID")
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(|error| cannot(&error))?;
        let successor = Successor { child, channel };
        for (name, socket) in sockets {
            say(&successor.channel, &format!("{SOCKET}{name}"), Some(socket))
                .map_err(|error| cannot(&error))?;
        }
        say(&successor.channel, ALL, None).map_err(|error| cannot(&error))?;
        Ok(successor)
    }
}

/// The process that is to go on. Dropped before it was given everything, it is ended.
#[derive(Debug)]
pub struct Successor {
    child: Child,
    channel: OwnedFd,
}

impl Successor {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A second end of the way to it, to [wait](wait_until_ready) at.
    ///
    /// # Errors
    /// Too many open files.
    pub fn channel(&self) -> Result<OwnedFd, String> {
        self.channel.try_clone().map_err(|error| error.to_string())
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Gives it everything: this process touches nothing any more.
    ///
    /// # Errors
    /// It is gone.
    pub fn give_way(mut self) -> Result<(), String> {
        let said = say(&self.channel, YOURS, None);
        match said {
            Ok(()) if self.is_alive() => {
                std::mem::forget(self);
                Ok(())
            }
            _ => Err("the new process died while this one drained; start turnout anew".to_owned()),
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits until a successor is ready to begin. Blocks, at most [`READY_SECONDS`].
///
/// # Errors
/// It ended, or took too long; why it ended it has said in the log.
pub fn wait_until_ready(channel: &OwnedFd) -> Result<(), String> {
    match hear(channel) {
        Ok(Some((text, None))) if text == READY => Ok(()),
        Ok(Some(_)) => Err("the new process says what is not expected; is it another program?".to_owned()),
        Ok(None) => Err("the new process ended; it says above why".to_owned()),
        Err(error) => Err(format!("the new process was not ready within {READY_SECONDS} s: {error}")),
    }
}

fn say(channel: &OwnedFd, text: &str, socket: Option<&OwnedFd>) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = socket.iter().map(|socket| socket.as_fd()).collect();
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    sendmsg(channel, &[IoSlice::new(text.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL).map(|_| ())
}

/// The next message; `None` when the other side is gone.
fn hear(channel: &OwnedFd) -> rustix::io::Result<Option<(String, Option<OwnedFd>)>> {
    let mut bytes = [0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        match recvmsg(channel, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            got => break got?,
        }
    };
    let socket = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    if got.bytes == 0 {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&bytes[..got.bytes.min(MESSAGE_BYTES_MAX)]).into_owned();
    Ok(Some((text, socket)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[test]
    fn a_key_takes_the_socket_of_its_address() {
        let ((first, one), (second, two)) = (listener(), listener());
        let mut sockets = Sockets { giver: Giver::Predecessor, passed: Vec::new() };
        sockets.add("federation.listen".to_owned(), first).unwrap();
        sockets.add("home.legacy.listen".to_owned(), second).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        assert!(sockets.take("admin.listen", any).is_none(), "another key's port is not to be had");
        assert!(sockets.take("federation.listen", "127.0.0.1:1".parse().unwrap()).is_none());
        let taken = sockets.take("whatever it is called now", two).unwrap();
        assert_eq!(taken.local_addr().unwrap(), two);
        let taken = sockets.take("federation.listen", any).unwrap();
        assert_eq!(taken.local_addr().unwrap(), one);
        assert!(sockets.take("federation.listen", one).is_none(), "once");
    }

    #[test]
    fn a_socket_of_the_service_manager_that_nobody_wants_is_a_mistake() {
        let (socket, address) = listener();
        let mut sockets = Sockets { giver: Giver::ServiceManager, passed: Vec::new() };
        sockets.add(String::new(), socket).unwrap();
        let said = sockets.finish().unwrap_err();
        assert!(said.contains(&address.to_string()) && said.contains("ListenStream="), "{said}");
        let (socket, _) = listener();
        let mut sockets = Sockets { giver: Giver::Predecessor, passed: Vec::new() };
        sockets.add("federation.listen_tls".to_owned(), socket).unwrap();
        sockets.finish().unwrap();
    }

    #[test]
    fn sockets_and_words_go_through() {
        let (left, right) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let (socket, address) = listener();
        say(&left, "socket admin.listen", Some(&OwnedFd::from(socket))).unwrap();
        say(&left, YOURS, None).unwrap();
        let (text, socket) = hear(&right).unwrap().unwrap();
        assert_eq!(text, "socket admin.listen");
        assert_eq!(TcpListener::from(socket.unwrap()).local_addr().unwrap(), address);
        let (text, socket) = hear(&right).unwrap().unwrap();
        assert!(text == YOURS && socket.is_none());
        drop(left);
        assert!(hear(&right).unwrap().is_none());
        assert!(wait_until_ready(&right).unwrap_err().contains("ended"));
    }
}
