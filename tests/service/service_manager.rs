//! What a service manager gives and is told: sockets it listens on itself, readiness, reloads, the watchdog.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use crate::estate::{Ground, Plan, wait};
use crate::peers::inbox::PATIENCE;
use crate::process::Process;

/// The socket that is told.
struct Manager(UnixDatagram, std::path::PathBuf);

impl Manager {
    fn new(ground: &Ground) -> Self {
        let path = ground.folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket, path)
    }

    fn next(&self) -> String {
        let mut bytes = [0; 512];
        let count = self.0.recv(&mut bytes).expect("the service manager is told");
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    /// The next that is no food for the watchdog.
    fn news(&self) -> String {
        loop {
            let said = self.next();
            if said.trim() != "WATCHDOG=1" {
                return said;
            }
        }
    }
}

#[test]
fn it_is_told_of_readiness_reloads_life_and_the_end() {
    let plan = Plan { drain_seconds: 20, ..Plan::default() };
    let ground = Ground::new(&plan);
    let manager = Manager::new(&ground);
    let mut process = Process::start_by(
        Command::new(env!("CARGO_BIN_EXE_turnout"))
            .args(["run", "--config"])
            .arg(ground.configure(&plan))
            .env("NOTIFY_SOCKET", &manager.1)
            .env("WATCHDOG_USEC", "4000000"),
    );
    assert_eq!(manager.next().trim(), "READY=1");
    // A router without traffic moves as well.
    for _ in 0..2 {
        assert_eq!(manager.next().trim(), "WATCHDOG=1");
    }
    process.signal("-HUP");
    let said = manager.news();
    assert!(said.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{said}");
    assert_eq!(manager.news().trim(), "READY=1");
    process.signal("-TERM");
    assert_eq!(manager.news().trim(), "STOPPING=1");
    assert_eq!(process.wait().code(), Some(0));
}

/// `turnout run` with this socket, as a service manager starts it: it is descriptor 3, and addressed to the process by its number.
fn activated(ground: &Ground, plan: &Plan, socket: &TcpListener) -> Command {
    let mut command = Command::new("sh");
    let script = "exec 3<&0; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" </dev/null";
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_turnout"), "run", "--config"]);
    command.arg(ground.configure(plan)).stdin(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    command
}

#[test]
fn a_socket_it_listens_on_is_taken_and_outlives_the_process() {
    let plan = Plan { drain_seconds: 20, ..Plan::default() };
    let ground = Ground::new(&plan);
    let inside = TcpListener::bind(ground.sip()).unwrap();
    let mut first = Process::start_by(&mut activated(&ground, &plan, &inside));
    assert_eq!(first.at("home.sfb2019.listen"), ground.sip());
    first.signal("-TERM");
    assert_eq!(first.wait().code(), Some(0));
    // Nobody runs, and nobody is refused.
    let waiting = TcpStream::connect(ground.sip()).unwrap();
    let mut second = Process::start_by(&mut activated(&ground, &plan, &inside));
    // Whoever has waited is let in: a word that is no TLS is answered with an end.
    std::io::Write::write_all(&mut &waiting, b"OPTIONS sip:nobody SIP/2.0\r\n\r\n").unwrap();
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    wait("an answer", || match std::io::Read::read(&mut &waiting, &mut [0; 512]) {
        Ok(0) => Ok(()),
        Ok(count) => Err(format!("{count} bytes")),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => panic!("{error}"),
    });
    second.signal("-TERM");
    assert_eq!(second.wait().code(), Some(0));
}

#[test]
fn a_socket_no_key_names_is_refused() {
    let plan = Plan::default();
    let ground = Ground::new(&plan);
    let other = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let output = activated(&ground, &plan, &other).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&other.local_addr().unwrap().to_string()) && said.contains("ListenStream="),
        "{said}"
    );
}
