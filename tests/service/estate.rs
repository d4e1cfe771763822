//! An estate on loopback: certificates, users and a configuration file on disk, a partner, a legacy gateway and a 2019 pool, and the
//! router between them. Invariant: no port is fixed, and a test that ends has seen every stanza to its end.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::runtime::Runtime;
use turnout::clock::{now, system_time};
use turnout::config::Config;
use turnout::dev_certs::Authority;
use turnout::router::Router;
use turnout_core::jid::Jid;
use turnout_core::tally::Flow;

use crate::peers::cards::{Card, Roots};
use crate::peers::inbox::PATIENCE;
use crate::peers::server::{Manner, Server};
use crate::peers::sip::Pool;
use crate::peers::stream::{external, starttls};
use crate::peers::wire::Wire;

/// The router's and everybody's names.
const NAMES: [&str; 7] = [
    "contoso.com",
    "fabrikam.com",
    "partner.example",
    "other.example",
    "turnout.contoso.com",
    "pool2019.contoso.com",
    "stranger.example",
];

/// What a test wants other than usual.
#[derive(Clone)]
pub struct Plan {
    /// Lines at the end of `[federation]`.
    pub federation: String,
    /// Lines of `[[partner]]` for partner.example, beside its proxy.
    pub partner: String,
    /// Lines at the end of `[directory]`.
    pub directory: &'static str,
    /// Whole tables.
    pub more: String,
    /// Users with their pools.
    pub users: Vec<(String, &'static str)>,
    /// Shards of the router.
    pub shards: u16,
    /// The name in the pool's certificate.
    pub pool_name: &'static str,
    /// How long the router waits at its end for peers that do not answer, as scripted ones do not.
    pub drain_seconds: u64,
    /// Whether the partner's server is there.
    pub partner_is_up: bool,
}

/// A user's pool on the legacy track.
pub const LEGACY: &str = "sfb2015.contoso.com";
/// And on the other.
pub const SFB2019: &str = "pool2019.contoso.com";

impl Default for Plan {
    fn default() -> Self {
        Self {
            federation: String::new(),
            partner: "type = \"federated\"".to_owned(),
            directory: "poll_seconds = 0",
            more: String::new(),
            users: vec![
                ("anna@contoso.com".to_owned(), LEGACY),
                ("bert@contoso.com".to_owned(), LEGACY),
                ("carla@contoso.com".to_owned(), SFB2019),
                ("frida@fabrikam.com".to_owned(), LEGACY),
            ],
            shards: 2,
            pool_name: SFB2019,
            drain_seconds: 1,
            partner_is_up: true,
        }
    }
}

/// A folder that goes with its test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("turnout-service-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on the folder being gone.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Everything but the router.
pub struct Ground {
    pub folder: Folder,
    pub authority: Authority,
    pub roots: Roots,
    pub partner: Server,
    pub gateway: Server,
    pub pool: Pool,
    sip: SocketAddrV4,
    nobody: SocketAddrV4,
}

/// An address nobody listens on, to be named before it is listened on. It is on a host of its own in 127.0.0.0/8: on 127.0.0.1 any
/// connection that another test makes in the meantime could be given the port.
pub fn quiet_address() -> SocketAddrV4 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed) & 0xff;
    let host = Ipv4Addr::from(0x7f40_0000 | (std::process::id() & 0x3fff) << 8 | number);
    let port = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().port();
    SocketAddrV4::new(host, port)
}

impl Ground {
    pub fn new(plan: &Plan) -> Self {
        let folder = Folder::new();
        let authority = Authority::new(system_time()).unwrap();
        folder.write("ca.pem", authority.pem());
        for name in NAMES {
            issue(&folder, &authority, name);
        }
        let roots = Roots::new(&authority.pem());
        let card = |name: &str| Card::read(folder.path(), name);
        let partner = Server::start(Manner { tls: Some(roots.server(&card("partner.example"))) });
        let gateway = Server::start(Manner::default());
        let pool = Pool::start(roots.server(&card(plan.pool_name)));
        let ground = Self {
            folder,
            authority,
            roots,
            partner,
            gateway,
            pool,
            sip: quiet_address(),
            nobody: quiet_address(),
        };
        ground.configure(plan);
        ground
    }

    /// Writes configuration and users; gives the configuration's file.
    pub fn configure(&self, plan: &Plan) -> PathBuf {
        let mut csv = String::from("#TYPE Microsoft.Rtc.Management.ADConnect.Schema.OCSADUser\r\n");
        csv.push_str(
            "\"SipAddress\",\"RegistrarPool\",\"HostingProvider\",\"EnabledForFederation\",\"Enabled\"\r\n",
        );
        for (user, pool) in &plan.users {
            csv.push_str(&format!("\"sip:{user}\",\"{pool}\",\"SRV:\",\"True\",\"True\"\r\n"));
        }
        self.folder.write("users.csv", csv);
        let proxy = if plan.partner_is_up { self.partner.address } else { self.nobody.into() };
        let Plan { federation, partner, directory, more, shards, drain_seconds, .. } = plan;
        let text = format!(
            r#"domains = ["contoso.com", "fabrikam.com"]

[federation]
listen = ["127.0.0.1:0"]
listen_tls = ["127.0.0.1:0"]
certificate = "contoso.com.pem"
key = "contoso.com.key"
ca_file = "ca.pem"
{federation}

[[federation.identity]]
domain = "fabrikam.com"
certificate = "fabrikam.com.pem"
key = "fabrikam.com.key"

[[partner]]
domain = "partner.example"
proxy = "{proxy}"
{partner}

[home.legacy]
backend = "xmpp"
connect = ["127.0.0.1:{gateway}"]
listen = "127.0.0.1:0"
tls = "optional"
registrar_pools = ["{LEGACY}"]

[home.sfb2019]
backend = "sip"
connect = ["127.0.0.1:{pool}"]
listen = "{sip}"
certificate = "turnout.contoso.com.pem"
key = "turnout.contoso.com.key"
ca_file = "ca.pem"
trusted_names = ["pool2019.contoso.com"]
registrar_pools = ["{SFB2019}"]

[directory]
source = "csv"
file = "users.csv"
default_xmpp_access = true
{directory}

[engine]
driver = "{driver}"
shards = {shards}
drain_seconds = {drain_seconds}

[admin]
listen = "127.0.0.1:0"

{more}
"#,
            driver = crate::DRIVER,
            gateway = self.gateway.address.port(),
            pool = self.pool.address.port(),
            sip = self.sip,
        );
        self.folder.write("turnout.toml", text)
    }

    pub fn card(&self, name: &str) -> Card {
        Card::read(self.folder.path(), name)
    }

    /// TLS of a peer with this name's certificate.
    pub fn client(&self, name: &str) -> Arc<ClientConfig> {
        self.roots.client(Some(&self.card(name)), &[])
    }

    /// Where the router's SIP listener is.
    pub fn sip(&self) -> SocketAddr {
        self.sip.into()
    }
}

/// Writes a new certificate and key.
pub fn issue(folder: &Folder, authority: &Authority, name: &str) {
    let (certificate, key) = authority.issue(name).unwrap();
    folder.write(&format!("{name}.pem"), certificate);
    folder.write(&format!("{name}.key"), key);
}

/// An estate with a running router.
pub struct Estate {
    pub ground: Ground,
    pub router: Router,
    pub runtime: Runtime,
}

impl std::ops::Deref for Estate {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.ground
    }
}

impl Estate {
    pub fn new() -> Self {
        Self::with(&Plan::default())
    }

    pub fn with(plan: &Plan) -> Self {
        let ground = Ground::new(plan);
        let config = Config::load(&ground.folder.path().join("turnout.toml")).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let router = runtime.block_on(Router::start(config)).unwrap();
        Self { ground, router, runtime }
    }

    /// Ends the router in order and starts another one on what it left.
    #[must_use]
    pub fn restarted(self) -> Self {
        let Self { ground, router, runtime } = self;
        runtime.block_on(router.drain());
        let config = Config::load(&ground.folder.path().join("turnout.toml")).unwrap();
        let router = runtime.block_on(Router::start(config)).unwrap();
        Self { ground, router, runtime }
    }

    /// A listener's address, by its configuration key.
    pub fn at(&self, key: &str) -> SocketAddr {
        let addresses = self.router.addresses();
        let found = addresses.iter().find(|(name, _)| name == key);
        found.unwrap_or_else(|| panic!("no {key} in {addresses:?}")).1
    }

    pub fn outside(&self) -> SocketAddr {
        self.at("federation.listen")
    }

    pub fn inside(&self) -> SocketAddr {
        self.at("home.legacy.listen")
    }

    /// An authenticated stream from partner.example.
    pub fn partner_stream(&self, to: &str) -> Wire {
        let (mut wire, features) =
            starttls(self.outside(), self.client("partner.example"), "partner.example", to);
        assert!(features.contains("<mechanism>EXTERNAL</mechanism>"), "{features}");
        external(&mut wire, "partner.example", to);
        wire
    }

    /// Moves users, in the calling thread.
    pub fn move_user(&self, user: &str, home: &str) -> turnout::control::Moved {
        let jid = Jid::parse(user).unwrap();
        self.runtime.block_on(self.router.move_users(&[jid], home)).unwrap()
    }

    pub fn reload(&self) -> Result<turnout::router::Reloaded, String> {
        self.runtime.block_on(self.router.reload())
    }

    /// Counters of all shards: passed, made, held.
    pub fn tallies(&self) -> (Flow, Flow, u64) {
        let (mut passed, mut made, mut held) = (Flow::default(), Flow::default(), 0);
        for shard in self.router.published() {
            passed.add(&shard.tally.passed);
            made.add(&shard.tally.made);
            held += shard.tally.held;
        }
        (passed, made, held)
    }

    /// Waits until the counters say so.
    pub fn until(&self, what: &str, holds: impl Fn(&Flow, &Flow, u64) -> bool) {
        wait(what, || {
            let (passed, made, held) = self.tallies();
            if holds(&passed, &made, held) { Ok(()) } else { Err(format!("{passed:?} {made:?} held {held}")) }
        });
    }

    /// The end of every test: nothing is on its way, and everything that came is accounted for. Gives the counters.
    pub fn finish(self, received: u64) -> Flow {
        self.until(&format!("{received} received and all at their end"), |passed, made, held| {
            let conserved = passed.expected_held() == 0 && made.expected_held() == 0;
            // Shards publish each at its own time: what one has handed over another may not have shown yet.
            let arrived = passed.handed_in == passed.handed_out && made.handed_in == made.handed_out;
            passed.received == received && conserved && arrived && held == 0
        });
        let (passed, ..) = self.tallies();
        assert_eq!(self.runtime.block_on(self.router.drain()).left, 0);
        passed
    }
}

/// Waits for a condition.
pub fn wait(what: &str, mut holds: impl FnMut() -> Result<(), String>) {
    let deadline = now() + PATIENCE;
    while let Err(why) = holds() {
        assert!(now() < deadline, "waited in vain for {what}: {why}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
