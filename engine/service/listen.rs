//! Listeners. Invariant: every configured address is bound before the router says it is up, or it does not start; a connection
//! beyond the limit is closed before anything is read from it; a new one goes to the least loaded shard and stays there.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use turnout_core::home::BackendKind;
use turnout_core::io::{Door, Side};

use crate::config::Config;
use crate::handover::Sockets;
use crate::mail::{Admission, Mail, Post};
use crate::places::{Place, Places};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Pause after an accept failed: usually the limit of open files, which waiting may cure and spinning does not.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often a listener says that it refuses connections: whoever is refused comes again at once, a thousand times a second.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// A bound address.
#[derive(Debug)]
pub struct Bound {
    /// What it is for, as errors and logs call it.
    pub name: String,
    /// How connections come in.
    pub door: Door,
    /// The address that is configured.
    wanted: SocketAddr,
    listener: TcpListener,
    limit: Arc<Places>,
    sources: Arc<Sources>,
}

impl Bound {
    /// The address, with the port the kernel chose where 0 was configured.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// The socket once more, to be given to another process.
    ///
    /// # Errors
    /// Too many open files.
    pub fn socket(&self) -> std::io::Result<(String, OwnedFd)> {
        Ok((self.name.clone(), self.listener.as_fd().try_clone_to_owned()?))
    }
}

/// How many connections there may be.
#[derive(Debug)]
pub struct Limits {
    outside: Arc<Places>,
    strangers: Arc<Sources>,
    /// Homes are counted together only: whoever reaches their listeners was let there by the operator.
    homes: Arc<Sources>,
    /// Of the servers of one home.
    of_a_home: usize,
}

impl Limits {
    /// As a configuration has them.
    pub fn of(config: &Config) -> Self {
        Self {
            outside: Arc::new(Places::new(config.policy.limits().connections_max as usize)),
            strangers: Arc::new(Sources::new(config.federation.connections_per_address_max)),
            homes: Arc::new(Sources::new(usize::MAX)),
            of_a_home: config.flow.room.home_connections,
        }
    }

    /// As another configuration has them. Connections that are open stay.
    pub fn change(&self, config: &Config) {
        self.outside.set_most(config.policy.limits().connections_max as usize);
        self.strangers.set_most(config.federation.connections_per_address_max);
    }
}

/// An address a configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    name: String,
    address: SocketAddr,
    door: Door,
}

/// All of them, but for homes that are configured no more.
fn wanted(config: &Config) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for (key, addresses, direct_tls) in
        [("listen", &config.federation.listen, false), ("listen_tls", &config.federation.listen_tls, true)]
    {
        for address in addresses {
            let door = Door { side: Side::Partners, direct_tls };
            wanted.push(Wanted { name: format!("federation.{key}"), address: *address, door });
        }
    }
    for (id, home) in config.homes_with_ids().filter(|(_, home)| !home.leaving) {
        let direct_tls =
            home.backend == BackendKind::Sip && home.tls != turnout_core::policy::Negotiation::NotSupported;
        let door = Door { side: Side::Home(id), direct_tls };
        wanted.push(Wanted { name: format!("home.{}.listen", home.name), address: home.listen, door });
    }
    wanted
}

/// Binds everything the configuration names, where no socket for it came with the process.
///
/// # Errors
/// The first address that cannot be bound: which key, why.
pub fn bind(config: &Config, limits: &Limits, sockets: &mut Sockets) -> Result<Vec<Bound>, String> {
    let wanted = wanted(config);
    let mut passed = Vec::with_capacity(wanted.len());
    for Wanted { name, address, .. } in &wanted {
        let socket = sockets.take(name, *address);
        // Alone first: sharing a port is for our own listeners, not for a second router; unless that one is about to give way.
        if socket.is_none() && !sockets.are_of_predecessor() {
            listener(*address, false).map_err(|error| cannot(name, *address, &error))?;
        }
        passed.push(socket);
    }
    wanted
        .into_iter()
        .zip(passed)
        .map(|(wanted, socket)| {
            let listener = match socket {
                Some(socket) => TcpListener::from_std(socket),
                None => listener(wanted.address, true),
            };
            let listener = listener.map_err(|error| cannot(&wanted.name, wanted.address, &error))?;
            Ok(bound(wanted, listener, limits))
        })
        .collect()
}

fn bound(Wanted { name, address, door }: Wanted, listener: TcpListener, limits: &Limits) -> Bound {
    let (limit, sources) = match door.side {
        Side::Partners => (Arc::clone(&limits.outside), &limits.strangers),
        Side::Home(_) => (Arc::new(Places::new(limits.of_a_home)), &limits.homes),
    };
    Bound { name, door, wanted: address, listener, limit, sources: Arc::clone(sources) }
}

/// One address that is listened on.
#[derive(Debug)]
struct Open {
    wanted: Wanted,
    address: SocketAddr,
    /// The socket once more.
    socket: OwnedFd,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What is listened on. Invariant: what a change leaves as it was goes on without a gap.
#[derive(Debug)]
pub struct Listening {
    post: Post,
    limits: Limits,
    open: Vec<Open>,
}

/// Bound addresses, with all that can fail of accepting on them done.
#[derive(Debug)]
pub struct Ready(Vec<(Bound, SocketAddr, OwnedFd)>);

impl Ready {
    /// Looks at where they are, and takes their sockets once more.
    ///
    /// # Errors
    /// Too many open files.
    pub fn new(bound: Vec<Bound>) -> Result<Self, String> {
        bound.into_iter().map(with_socket).collect::<Result<_, _>>().map(Self)
    }
}

/// What a change of configuration makes of what is listened on: all that can fail of it has been done.
#[derive(Debug)]
pub struct Change {
    fresh: Vec<(Bound, SocketAddr, OwnedFd)>,
    wanted: Vec<Wanted>,
}

impl Listening {
    /// Nothing yet.
    pub fn new(post: Post, limits: Limits) -> Self {
        Self { post, limits, open: Vec::new() }
    }

    /// Begins to accept.
    pub fn open(&mut self, ready: Ready) {
        ready.0.into_iter().for_each(|ready| self.accept(ready));
    }

    fn accept(&mut self, (bound, address, socket): (Bound, SocketAddr, OwnedFd)) {
        let wanted = Wanted { name: bound.name.clone(), address: bound.wanted, door: bound.door };
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(bound, self.post.clone(), stopped));
        self.open.push(Open { wanted, address, socket, stop, task });
    }

    /// Listening addresses by configuration key, with the ports the kernel chose.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.open.iter().map(|open| (open.wanted.name.clone(), open.address)).collect()
    }

    /// The sockets once more, to be given to another process.
    ///
    /// # Errors
    /// Too many open files.
    pub fn sockets(&self) -> std::io::Result<Vec<(String, OwnedFd)>> {
        self.open.iter().map(|open| Ok((open.wanted.name.clone(), open.socket.try_clone()?))).collect()
    }

    /// Binds what a configuration names and is not listened on yet. What is the same address for another side keeps its socket.
    ///
    /// # Errors
    /// As [`bind`].
    pub fn prepare(&self, config: &Config) -> Result<Change, String> {
        let wanted = wanted(config);
        let is_open = |wanted: &&Wanted| self.open.iter().any(|open| open.wanted == **wanted);
        let mut fresh = Vec::new();
        for wanted in wanted.iter().filter(|wanted| !is_open(wanted)) {
            let fails = |error: std::io::Error| cannot(&wanted.name, wanted.address, &error);
            let same =
                |open: &&Open| open.wanted.address == wanted.address && open.wanted.name == wanted.name;
            let listener = match self.open.iter().find(same) {
                Some(open) => {
                    let socket = std::net::TcpListener::from(open.socket.try_clone().map_err(fails)?);
                    TcpListener::from_std(socket)
                }
                None => {
                    // Alone first, as at the start; but an address of ours may lie around it, or be given up for it.
                    if !self.open.iter().any(|open| open.address.port() == wanted.address.port()) {
                        listener(wanted.address, false).map_err(fails)?;
                    }
                    listener(wanted.address, true)
                }
            };
            fresh.push(with_socket(bound(wanted.clone(), listener.map_err(fails)?, &self.limits))?);
        }
        Ok(Change { fresh, wanted })
    }

    /// Listens on what a change has bound, and no more on what it does not name: those are to be waited for.
    #[must_use]
    pub fn change(&mut self, change: Change, config: &Config) -> Vec<Closing> {
        self.limits.change(config);
        let (stay, go) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|open: &Open| change.wanted.contains(&open.wanted));
        self.open = stay;
        change.fresh.into_iter().for_each(|ready| self.accept(ready));
        go.into_iter().map(Open::close).collect()
    }

    /// Listens on nothing any more.
    #[must_use]
    pub fn close(&mut self) -> Vec<Closing> {
        std::mem::take(&mut self.open).into_iter().map(Open::close).collect()
    }
}

/// A listener that was told to end.
#[derive(Debug)]
pub struct Closing(JoinHandle<()>);

impl Closing {
    /// Whoever was let in by now is known to a shard afterwards.
    pub async fn ended(self) {
        if self.0.await.is_err() {
            tracing::error!(event = "listener.lost", "a listener did not end in order");
        }
    }
}

impl Open {
    fn close(self) -> Closing {
        self.stop.send_replace(true);
        Closing(self.task)
    }
}

fn with_socket(bound: Bound) -> Result<(Bound, SocketAddr, OwnedFd), String> {
    let fails = |error: std::io::Error| cannot(&bound.name, bound.wanted, &error);
    let address = bound.listener.local_addr().map_err(fails)?;
    let (_, socket) = bound.socket().map_err(fails)?;
    Ok((bound, address, socket))
}

fn cannot(name: &str, address: SocketAddr, error: &std::io::Error) -> String {
    format!("{name}: cannot listen on {address}: {error}; free the port or change the key")
}

/// With `shared`, an address may lie within another of ours: `[::]:5269` outside and `10.0.0.5:5269` inside.
fn listener(address: SocketAddr, shared: bool) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until `stop` says so.
pub async fn accept(bound: Bound, post: Post, mut stop: watch::Receiver<bool>) {
    let (mut failed, mut refused, mut crowded) =
        (Complaint::default(), Complaint::default(), Complaint::default());
    loop {
        let accepted = tokio::select! {
            accepted = bound.listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if let Some(times) = failed.due(crate::clock::now()) {
                    tracing::warn!(
                        event = "listener.failed",
                        listener = bound.name,
                        times,
                        "cannot accept: {error}; is the limit of open files too low?"
                    );
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(of_address) = bound.sources.place(peer.ip()) else {
            if let Some(times) = crowded.due(crate::clock::now()) {
                tracing::warn!(event = "connections.address_full", listener = bound.name, %peer, times, "refused: this address has as many connections as one may have (connections_per_address_max)");
            }
            continue;
        };
        let Some(place) = bound.limit.take() else {
            if let Some(times) = refused.due(crate::clock::now()) {
                tracing::warn!(event = "connections.full", listener = bound.name, %peer, times, "refused: the limit of connections is reached");
            }
            continue;
        };
        // Small stanzas must not wait for each other's acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(event = "connection.delayed", listener = bound.name, %peer, "no TCP_NODELAY: {error}");
        }
        match stream.into_std() {
            Ok(stream) => {
                let mail = Mail::Accepted(
                    stream,
                    bound.door,
                    peer.to_string().into(),
                    Admission::new(place, of_address),
                );
                post.send(post.place(), mail).await;
            }
            Err(error) => {
                tracing::warn!(event = "connection.lost", listener = bound.name, %peer, "lost on the way to its shard: {error}")
            }
        }
    }
}

/// Connections by the address they come from, so that one stranger cannot take all places and keep partners out. Invariant: an address
/// is forgotten with its last connection, at the latest when there are too many.
#[derive(Debug)]
struct Sources {
    most: AtomicUsize,
    places: Mutex<HashMap<IpAddr, Arc<Places>>>,
}

/// Addresses remembered before those without a connection are forgotten.
const SOURCES_MAX: usize = 4096;

impl Sources {
    fn new(most: usize) -> Self {
        Self { most: AtomicUsize::new(most), places: Mutex::default() }
    }

    /// A place for one more connection from this address: `None` where it has too many, `Some(None)` where it is not counted. The
    /// machine itself is not, as a proxy on it speaks for everybody.
    fn place(&self, address: IpAddr) -> Option<Option<Place>> {
        let address = source(address);
        let most = self.most.load(Ordering::Relaxed);
        if most == usize::MAX || address.is_loopback() {
            return Some(None);
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= SOURCES_MAX && !places.contains_key(&address) {
            places.retain(|_, place| place.taken() > 0);
        }
        let place = places.entry(address).or_insert_with(|| Arc::new(Places::new(most)));
        place.set_most(most);
        place.take().map(Some)
    }

    /// From now on an address may have so many.
    fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }
}

/// What counts as one address: of IPv6 the network, as a host has all of it; IPv4 written as IPv6 is IPv4.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(long) if !long.is_loopback() => IpAddr::from((u128::from(long) >> 64 << 64).to_be_bytes()),
        short => short,
    }
}

/// Something that is said once in [`COMPLAIN_EVERY`], with how often it happened since it was said last.
#[derive(Default)]
struct Complaint {
    said: Option<Instant>,
    times: u64,
}

impl Complaint {
    fn due(&mut self, now: Instant) -> Option<u64> {
        self.times += 1;
        if self.said.is_some_and(|said| now.saturating_duration_since(said) < COMPLAIN_EVERY) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_take_all_places() {
        let sources = Sources::new(3);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut held: Vec<_> = (0..3).map(|_| sources.place(address("192.0.2.1")).unwrap()).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(sources.place(address("192.0.2.1")).is_none(), "one too many");
        assert!(sources.place(address("::ffff:192.0.2.1")).is_none(), "the same, written otherwise");
        assert!(sources.place(address("192.0.2.2")).is_some(), "others come in");
        drop(held.pop());
        assert!(sources.place(address("192.0.2.1")).is_some(), "a place that was given back");
        let network: Vec<_> =
            (1..=3).map(|n| sources.place(address(&format!("2001:db8::{n}"))).unwrap()).collect();
        assert!(sources.place(address("2001:db8::4")).is_none(), "one network of IPv6 is one source");
        assert!(sources.place(address("2001:db8:0:1::4")).is_some());
        drop(network);
        for local in ["127.0.0.1", "::1", "127.4.5.6"] {
            assert!((0..10).all(|_| sources.place(address(local)).is_some_and(|place| place.is_none())));
        }
        for n in 0..SOURCES_MAX * 3 {
            let address = IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + u32::try_from(n).unwrap()));
            assert!(sources.place(address).is_some());
        }
        assert!(sources.places.lock().unwrap().len() <= SOURCES_MAX, "bounded");
        assert!(held.len() == 2 && sources.place(address("192.0.2.1")).is_some());
        assert!(Sources::new(usize::MAX).place(address("192.0.2.1")).unwrap().is_none());
    }

    #[tokio::test]
    async fn the_servers_of_one_home_have_so_many_connections_and_no_more() {
        let home = |name: &str| {
            format!(
                "[home.{name}]\nbackend = \"xmpp\"\nconnect = [\"{name}.contoso.com:5269\"]\nlisten = \"127.0.0.1:0\"\n\
                 registrar_pools = [\"{name}.pools.contoso.com\"]\n"
            )
        };
        let text = [
            "domains = [\"contoso.com\"]\n[federation]\nlisten = [\"127.0.0.1:0\"]\n",
            "certificate = \"c\"\nkey = \"k\"\n[limits]\nhome_connections_max = 16\n",
            &home("one"),
            &home("other"),
            "[directory]\nfile = \"users.csv\"\n",
        ]
        .concat();
        let base = std::path::Path::new("/base");
        let config = Config::parse(&text, base, base).unwrap();
        let (post, mut mail) = crate::mail::post_office(1);
        let (_stop, stopped) = watch::channel(false);
        let mut addresses = Vec::new();
        for bound in bind(&config, &Limits::of(&config), &mut Sockets::none()).unwrap() {
            if bound.door.side != Side::Partners {
                addresses.push(bound.address().unwrap());
                tokio::spawn(accept(bound, post.clone(), stopped.clone()));
            }
        }
        let [one, other] = addresses[..] else { panic!("{addresses:?}") };
        let mut held = Vec::new();
        for _ in 0..16 {
            let client = tokio::net::TcpStream::connect(one).await.unwrap();
            held.push((client, mail[0].recv().await.unwrap()));
        }
        let refused = tokio::net::TcpStream::connect(one).await.unwrap();
        let mut byte = [0];
        refused.readable().await.unwrap();
        assert!(!matches!(refused.try_read(&mut byte), Ok(1..)), "closed, and nothing was said");
        assert!(mail[0].try_recv().is_err(), "no shard hears of it");
        let client = tokio::net::TcpStream::connect(other).await.unwrap();
        held.push((client, mail[0].recv().await.unwrap()));
        // Whose place is given back may be taken.
        drop(held.remove(0));
        let client = tokio::net::TcpStream::connect(one).await.unwrap();
        held.push((client, mail[0].recv().await.unwrap()));
    }

    #[test]
    fn a_flood_is_one_line_that_counts_it() {
        let begin = crate::clock::now();
        let mut complaint = Complaint::default();
        assert_eq!(complaint.due(begin), Some(1));
        assert!((0..1000).all(|_| complaint.due(begin + Duration::from_secs(9)).is_none()));
        assert_eq!(complaint.due(begin + COMPLAIN_EVERY), Some(1001));
    }
}
