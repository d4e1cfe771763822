//! The demo: a router, a partner, a legacy gateway and a 2019 pool on loopback, over real sockets with TLS, with traffic flowing and
//! users moving. Invariant: the router under demonstration is the one `turnout run` starts, from a configuration file as an
//! administrator would write it; only its peers are made of code.

pub mod clients;
pub mod pool;
pub mod presence;
pub mod score;
pub mod wire;

use std::io::IsTerminal;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

use turnout_core::backend::Backend;
use turnout_core::home::{BackendKind, HomeId};
use turnout_core::io::Side;
use turnout_core::jid::Jid;
use turnout_core::world::World;

use crate::config::Config;
use crate::dev_certs;
use crate::router::{MakeBackend, Router};
use clients::{Clients, Habit};
use pool::Pool;
use presence::PHONE;
use score::{Score, Totals, Track};
use wire::Wire;

/// Local users, half of them on each track at the start.
const LOCAL_USERS: usize = 200;

/// Users of the partner.
const PARTNER_USERS: usize = 50;

/// Users moved at a time.
const MOVED_AT_ONCE: usize = 10;

/// Time between moves.
const MOVE_EVERY: Duration = Duration::from_millis(500);

/// How long to wait at the end for what is on its way, and at the start until everybody sees whom he may see.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often what is seen is compared with what is so.
const JUDGE_EVERY: Duration = Duration::from_millis(250);

/// How long "until interrupted" is at most: years.
const YEARS_SECONDS: u64 = 1 << 30;

/// What to demonstrate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Messages a second from the partner's users; each is answered.
    pub rate: u64,
    /// How long; `None` until interrupted.
    pub seconds: Option<u64>,
    /// One JSON object at the end instead of the table.
    pub json: bool,
    /// Where the admin API listens.
    pub admin: std::net::SocketAddr,
    /// Obey lines on standard input that cut the partner off and let him back.
    pub keys: bool,
}

/// Where the estate listens: all on one host, each on a port of its own.
struct Ports {
    host: Ipv4Addr,
    federation: u16,
    inside: u16,
    sip: u16,
    partner: u16,
    gateway: u16,
    pool: u16,
    /// Where the router looks for the partner.
    to_partner: u16,
    /// Where the partner looks for the router.
    from_partner: u16,
}

/// Runs the demo. `started` is told the router once everything is up (the admin API hangs on it).
///
/// # Errors
/// What could not be started, or what went wrong: a finding, exit code 1.
pub async fn run(
    options: Options,
    started: impl AsyncFnOnce(&Router) -> Result<(), String>,
) -> Result<Totals, String> {
    let directory = Scratch::new()?;
    let ports = Ports::reserve(options.keys)?;
    let start = crate::clock::now();
    let score = Arc::new(Score::new(start, LOCAL_USERS, PARTNER_USERS));
    write_estate(directory.path(), &ports, options.admin)?;

    let load = |name: &str| Config::load(&directory.path().join(name)).map_err(|errors| errors.to_string());
    let pool = start_peer(load("pool.toml")?, pool_backend(&score, start)).await?;
    let gateway = start_peer(load("gateway.toml")?, client_backend(&score, Habit::Answer, start)).await?;
    let router = Router::start(load("turnout.toml")?).await?;
    started(&router).await?;
    let wire = match options.keys {
        true => {
            let pairs = [(ports.to_partner, ports.partner), (ports.from_partner, ports.federation)];
            Some(Wire::lay(ports.host, pairs).await?)
        }
        false => None,
    };
    let length = Duration::from_secs(options.seconds.unwrap_or(YEARS_SECONDS));
    let habit = Habit::Write { pairs: pairs()?, rate: options.rate, length };
    let partner = start_peer(load("partner.toml")?, client_backend(&score, habit, start)).await?;

    let met = meet(&score).await;
    let totals = match &met {
        Ok(()) => watch(&options, &router, &score, wire.as_ref(), crate::clock::now() + length).await,
        Err(_) => score.totals(),
    };
    for running in [&partner, &router, &gateway, &pool] {
        running.drain().await;
    }
    met.map(|()| totals)
}

/// Users ask each other whether they may see each other, and wait until all do.
async fn meet(score: &Arc<Score>) -> Result<(), String> {
    score.stage.meet();
    let give_up = crate::clock::now() + PATIENCE;
    while score.stage.ready() < LOCAL_USERS {
        if crate::clock::now() >= give_up {
            return Err(format!(
                "only {} of {LOCAL_USERS} pairs of users see each other after {} seconds",
                score.stage.ready(),
                PATIENCE.as_secs()
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    score.stage.run();
    Ok(())
}

/// Shows what happens and moves users until the time is up or somebody interrupts, then waits for what is on its way.
async fn watch(
    options: &Options,
    router: &Router,
    score: &Arc<Score>,
    wire: Option<&Wire>,
    until: Instant,
) -> Totals {
    let mut whole = wire.map(Wire::watch);
    if let Some(wire) = wire {
        wire.obey();
    }
    let mut moves = tokio::time::interval(MOVE_EVERY);
    let mut table = tokio::time::interval(Duration::from_secs(1));
    let mut judge = tokio::time::interval(JUDGE_EVERY);
    // One for all rounds: a signal that comes while users are being moved is not lost.
    let mut interrupts = signal(SignalKind::interrupt()).ok();
    let mut moved = 0_usize;
    let mut shown = Table::new(options.json);
    moves.tick().await;
    loop {
        tokio::select! {
            _ = moves.tick() => {
                if let Err(error) = move_some(router, score, moved).await {
                    tracing::warn!(event = "demo.move_failed", "move: {error}");
                }
                moved += MOVED_AT_ONCE;
            }
            _ = judge.tick() => {
                score.stage.judge(crate::clock::now());
            }
            _ = table.tick() => shown.row(&score.totals(), moved),
            () = cut(whole.as_mut()) => {
                score.outages.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            () = tokio::time::sleep_until(until.into()) => break,
            () = interrupted(&mut interrupts) => break,
        }
    }
    let give_up = crate::clock::now() + PATIENCE;
    score.stage.end();
    while (score.in_flight() > 0 || score.stage.judge(crate::clock::now()) > 0)
        && crate::clock::now() < give_up
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let totals = score.totals();
    shown.row(&totals, moved);
    totals
}

/// Returns when somebody has interrupted, now or since the last call.
async fn interrupted(interrupts: &mut Option<Signal>) {
    match interrupts {
        Some(interrupts) => drop(interrupts.recv().await),
        None => std::future::pending().await,
    }
}

/// Returns when the way to the partner has been cut.
async fn cut(whole: Option<&mut tokio::sync::watch::Receiver<bool>>) {
    if let Some(whole) = whole {
        while whole.changed().await.is_ok() {
            if !*whole.borrow_and_update() {
                return;
            }
        }
    }
    std::future::pending().await
}

/// Moves the next users to the other track.
async fn move_some(router: &Router, score: &Score, from: usize) -> Result<(), String> {
    let mut there = (Vec::new(), Vec::new());
    let users = || (from..from + MOVED_AT_ONCE).map(|n| n % LOCAL_USERS);
    let directory = router.directory();
    let world = router.world();
    let sip = world.homes.by_name("sfb2019").map(|(id, _)| turnout_core::home::Residence::Home(id));
    // First the servers know where a user lives, then the router: so an administrator does it.
    for user in users() {
        let jid = local_user(user)?;
        let lives = directory.look_up(jid.bare_str()).map(|user| user.residence);
        if lives == sip {
            score.stage.leave(user, Track::Legacy);
            there.0.push(jid);
        } else {
            score.stage.leave(user, Track::Sip);
            there.1.push(jid);
        }
    }
    let mut result = Ok(());
    for (users, home) in [(there.0, "legacy"), (there.1, "sfb2019")] {
        if !users.is_empty() {
            result = result.and(router.move_users(&users, home).await.map(|_| ()));
        }
    }
    let now = crate::clock::now();
    users().for_each(|user| score.stage.arrive(now, user));
    result
}

/// The live table.
struct Table {
    silent: bool,
    rows: usize,
}

impl Table {
    fn new(silent: bool) -> Self {
        Self { silent, rows: 0 }
    }

    fn row(&mut self, totals: &Totals, moved: usize) {
        if self.silent {
            return;
        }
        if self.rows.is_multiple_of(20) {
            let (on, off) = if std::io::stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
            println!(
                "{on}{:>10} {:>10} {:>10} {:>10} {:>8} {:>9} {:>9} {:>8} {:>6} {:>8} {:>9} {:>9} {:>7}{off}",
                "sent",
                "legacy",
                "2019",
                "answers",
                "bounced",
                "in flight",
                "reordered",
                "presence",
                "wrong",
                "prompts",
                "p50 us",
                "p99 us",
                "moved"
            );
        }
        self.rows += 1;
        println!(
            "{:>10} {:>10} {:>10} {:>10} {:>8} {:>9} {:>9} {:>8} {:>6} {:>8} {:>9} {:>9} {:>7}",
            totals.sent,
            totals.delivered_legacy,
            totals.delivered_sip,
            totals.replies,
            totals.bounced,
            totals.lost,
            totals.reordered,
            totals.presence_seen,
            totals.presence_wrong,
            totals.prompts,
            totals.p50_us,
            totals.p99_us,
            moved
        );
    }
}

async fn start_peer(config: Config, make: Box<MakeBackend>) -> Result<Router, String> {
    Router::start_with(config, &*make).await
}

fn client_backend(score: &Arc<Score>, habit: Habit, start: Instant) -> Box<MakeBackend> {
    let score = Arc::clone(score);
    Box::new(move |_: BackendKind, id: HomeId, _: &Arc<World>| {
        let clients = Clients::new(Side::Home(id), habit.clone(), Arc::clone(&score), start);
        Ok(Box::new(clients) as Box<dyn Backend>)
    })
}

fn pool_backend(score: &Arc<Score>, start: Instant) -> Box<MakeBackend> {
    let score = Arc::clone(score);
    Box::new(move |_: BackendKind, _: HomeId, _: &Arc<World>| {
        Ok(Box::new(Pool::new(Arc::clone(&score), start)) as Box<dyn Backend>)
    })
}

/// Who writes to whom.
fn pairs() -> Result<Arc<[(Jid, Jid)]>, String> {
    (0..LOCAL_USERS)
        .map(|n| {
            let partner = Jid::parse(&format!("{}/{PHONE}", partner_user(n % PARTNER_USERS)?));
            Ok((partner.map_err(|error| error.to_string())?, local_user(n)?))
        })
        .collect()
}

fn partner_user(n: usize) -> Result<Jid, String> {
    Jid::parse(&format!("p{n}@partner.example")).map_err(|error| error.to_string())
}

fn local_user(n: usize) -> Result<Jid, String> {
    Jid::parse(&format!("u{n}@contoso.com")).map_err(|error| error.to_string())
}

impl Ports {
    /// Ports that are free now, and stay so until they are listened on: the host is one of 127.0.0.0/8 that nobody else uses. On
    /// 127.0.0.1 any connection that is made in the meantime could be given one of them.
    fn reserve(apart: bool) -> Result<Self, String> {
        let ours = Ipv4Addr::from(0x7f80_0000 | (std::process::id() & 0x003f_ffff));
        // Elsewhere than on Linux, 127.0.0.1 may be all there is.
        let host = TcpListener::bind((ours, 0)).map_or(Ipv4Addr::LOCALHOST, |_| ours);
        let mut held = Vec::new();
        let mut free = || -> Result<u16, String> {
            let listener = TcpListener::bind((host, 0)).map_err(|error| format!("no free port: {error}"))?;
            let port = listener.local_addr().map_err(|error| error.to_string())?.port();
            held.push(listener);
            Ok(port)
        };
        let (federation, partner) = (free()?, free()?);
        let (to_partner, from_partner) = if apart { (free()?, free()?) } else { (partner, federation) };
        Ok(Self {
            host,
            federation,
            inside: free()?,
            sip: free()?,
            partner,
            gateway: free()?,
            pool: free()?,
            to_partner,
            from_partner,
        })
    }
}

/// A folder of our own that goes when the demo does.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("turnout-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on the folder being gone.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Writes certificates, users and the configuration of everybody.
fn write_estate(path: &Path, ports: &Ports, admin: std::net::SocketAddr) -> Result<(), String> {
    let names: Vec<String> = dev_certs::NAMES.iter().map(|name| (*name).to_owned()).collect();
    dev_certs::write(path, &names, crate::clock::system_time()).map_err(|error| error.to_string())?;
    let write = |name: &str, text: String| {
        std::fs::write(path.join(name), text).map_err(|error| format!("cannot write {name}: {error}"))
    };
    let pool_of = |n: usize| if n.is_multiple_of(2) { "sfb2015.contoso.com" } else { "pool2019.contoso.com" };
    write("users.csv", users(LOCAL_USERS, "u", "contoso.com", pool_of))?;
    write("gateway-users.csv", users(LOCAL_USERS, "u", "contoso.com", |_| "clients"))?;
    write("partner-users.csv", users(PARTNER_USERS, "p", "partner.example", |_| "clients"))?;
    write("turnout.toml", router_config(ports, admin))?;
    write(
        "partner.toml",
        peer_config(
            "partner.example",
            "contoso.com",
            ports.host,
            (ports.partner, ports.from_partner),
            "partner-users.csv",
        ),
    )?;
    write("gateway.toml", gateway_config(ports))?;
    write("pool.toml", pool_config(ports))
}

/// Users as `Get-CsUser | Export-Csv` writes them.
fn users(count: usize, prefix: &str, domain: &str, pool: impl Fn(usize) -> &'static str) -> String {
    let mut csv = String::from("#TYPE Microsoft.Rtc.Management.ADConnect.Schema.OCSADUser\r\n");
    csv.push_str(
        "\"SipAddress\",\"RegistrarPool\",\"HostingProvider\",\"EnabledForFederation\",\"Enabled\"\r\n",
    );
    for n in 0..count {
        csv.push_str(&format!("\"sip:{prefix}{n}@{domain}\",\"{}\",\"SRV:\",\"True\",\"True\"\r\n", pool(n)));
    }
    csv
}

fn router_config(ports: &Ports, admin: std::net::SocketAddr) -> String {
    format!(
        r#"domains = ["contoso.com"]

[federation]
listen = ["{host}:{federation}"]
certificate = "contoso.com.pem"
key = "contoso.com.key"
ca_file = "ca.pem"

[[partner]]
domain = "partner.example"
type = "federated"
proxy = "{host}:{partner}"

[home.legacy]
backend = "xmpp"
connect = ["{host}:{gateway}"]
listen = "{host}:{inside}"
tls = "optional"
registrar_pools = ["sfb2015.contoso.com"]

[home.sfb2019]
backend = "sip"
dialect = "skype"
connect = ["{host}:{pool}"]
listen = "{host}:{sip}"
certificate = "turnout.contoso.com.pem"
key = "turnout.contoso.com.key"
ca_file = "ca.pem"
trusted_names = ["pool2019.contoso.com"]
registrar_pools = ["pool2019.contoso.com"]

[directory]
source = "csv"
file = "users.csv"
default_xmpp_access = true

[presence]
store = "contacts.redb"

[admin]
listen = "{admin}"
"#,
        host = ports.host,
        federation = ports.federation,
        partner = ports.to_partner,
        gateway = ports.gateway,
        inside = ports.inside,
        pool = ports.pool,
        sip = ports.sip,
    )
}

/// A server of `domain` whose users are made of code, with one partner; both on `host`, each on a port.
fn peer_config(
    domain: &str,
    partner: &str,
    host: Ipv4Addr,
    (listen, port): (u16, u16),
    file: &str,
) -> String {
    format!(
        r#"domains = ["{domain}"]

[federation]
listen = ["{host}:{listen}"]
certificate = "{domain}.pem"
key = "{domain}.key"
ca_file = "ca.pem"

[[partner]]
domain = "{partner}"
type = "federated"
proxy = "{host}:{port}"

[home.clients]
backend = "xmpp"
connect = ["127.0.0.1:1"]
listen = "127.0.0.1:0"
registrar_pools = ["clients"]

[directory]
source = "csv"
file = "{file}"
default_xmpp_access = true

[engine]
shards = 1

[admin]
listen = "127.0.0.1:0"
"#
    )
}

/// The legacy gateway: authenticates by dialback, as nobody could give the router the partners' certificates.
fn gateway_config(ports: &Ports) -> String {
    let config = peer_config(
        "contoso.com",
        "partner.example",
        ports.host,
        (ports.gateway, ports.inside),
        "gateway-users.csv",
    );
    config.replace(
        "type = \"federated\"",
        "type = \"federated\"\ntls = \"optional\"\nsasl = \"none\"\ndialback = true",
    )
}

fn pool_config(ports: &Ports) -> String {
    format!(
        r#"domains = ["contoso.com"]

[federation]
listen = ["127.0.0.1:0"]
certificate = "contoso.com.pem"
key = "contoso.com.key"
ca_file = "ca.pem"

[home.pool]
backend = "sip"
connect = ["{host}:{sip}"]
listen = "{host}:{pool}"
certificate = "pool2019.contoso.com.pem"
key = "pool2019.contoso.com.key"
ca_file = "ca.pem"
trusted_names = ["turnout.contoso.com"]
registrar_pools = ["clients"]

[directory]
source = "csv"
file = "gateway-users.csv"
default_xmpp_access = true

[engine]
shards = 1

[admin]
listen = "127.0.0.1:0"
"#,
        host = ports.host,
        sip = ports.sip,
        pool = ports.pool,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_interrupt_that_came_while_something_else_was_done_is_not_lost() {
        let mut interrupts = signal(SignalKind::interrupt()).ok();
        let us = std::process::id().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &us]).status().unwrap().success());
        // As long as a move may take.
        tokio::time::sleep(Duration::from_millis(100)).await;
        tokio::time::timeout(PATIENCE, interrupted(&mut interrupts)).await.expect("it is remembered");
    }
}
