//! The jobs. Invariant: each sets up both ends, measures, and ends its threads, whatever happened in between.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::args::Args;
use crate::ledger::{Ledger, Shared};
use crate::load::Sender;
use crate::partner::{self, Proof};
use crate::report::{Json, settle};
use crate::run::Course;
use crate::sheet::{Plan, count};
use crate::sink::{Running, Sink, Speech};
use crate::sip::{Caller, Pool};
use crate::tls::Certificates;
use crate::wire::Wire;
use crate::xml::Server;
use crate::{Outcome, floor, sys};

/// Runs the job that was asked for.
///
/// # Errors
/// When there is no such job, a peer refuses, or a check fails.
pub fn run(args: &mut Args) -> Outcome<Json> {
    match args.job.as_str() {
        "relay" => relay(args),
        "xmpp" => xmpp(args),
        "sip" => sip(args),
        "idle" => idle(args),
        "floor" => {
            let (spans, seconds) = (args.get("spans")?.unwrap_or(5), args.get("seconds")?.unwrap_or(1.0));
            args.end()?;
            floor::run(spans, seconds)
        }
        "byte-relay" => {
            let (listen, to) = (args.need("listen")?, args.need("to")?);
            args.end()?;
            Err(floor::byte_relay(listen, to))
        }
        other => Err(format!("no job {other:?}; there are relay, xmpp, sip, idle, floor and byte-relay")),
    }
}

/// Ends the receiving side and says what went wrong first.
fn end(shared: &Shared, running: Running, result: Outcome<Json>) -> Outcome<Json> {
    shared.stop.store(true, Ordering::Release);
    running.join();
    shared.check().and(result)
}

/// What the messages of a run are.
fn plan(args: &mut Args, course: &Course) -> Outcome<Plan> {
    let streams = args.get("streams")?.unwrap_or(1);
    Ok(Plan {
        size: course.size,
        partner: args.text("partner").unwrap_or_else(|| "partner.example".to_owned()),
        domain: args.text("domain").unwrap_or_else(|| "contoso.com".to_owned()),
        streams,
        domains: args.get("domains")?.unwrap_or(1),
        users: args.get("users")?.unwrap_or(1000),
    })
}

/// Through a byte relay: `--target` its front, `--sink` where it goes to, `--certs` for TLS on `--in` and `--out`.
fn relay(args: &mut Args) -> Outcome<Json> {
    let course = Course::read(args)?;
    let plan = plan(args, &course)?;
    let (target, back) = (args.need::<SocketAddr>("target")?, args.need::<SocketAddr>("sink")?);
    let certs = args.get::<PathBuf>("certs")?;
    let (tls_in, tls_out) = (args.get("in")?.unwrap_or(false), args.get("out")?.unwrap_or(false));
    args.end()?;
    let certs = certs.as_deref().map(Certificates);
    let missing = "--certs is missing";
    let sheet = plan.stanzas()?;
    let shared = Arc::new(Shared::default());
    let ledger = Ledger::new(sheet.len(), plan.streams, 0, Some(sheet.clone()));
    let mut sink = Sink::new(Arc::clone(&shared), ledger)?;
    let server = if tls_out { Some(certs.ok_or(missing)?.server("contoso.com")?) } else { None };
    sink.listen(back, Speech::Raw(server))?;
    let client = if tls_in { Some(certs.ok_or(missing)?.client(None, &[])?) } else { None };
    let mut wires = Vec::new();
    for _ in 0..plan.streams {
        let mut wire = Wire::dial(target)?;
        if let Some(config) = &client {
            wire.secure_as_client(config, "contoso.com")?;
        }
        sink.adopt(wire.clone(), Speech::Listen)?;
        wires.push(wire);
    }
    let running = sink.start();
    let mut sender = Sender::new(wires, sheet, course.manner, 0, Arc::clone(&shared));
    let result = course.run(&mut sender, &shared);
    end(&shared, running, result)
}

/// The streams of partners to the server under load.
struct Partners {
    target: SocketAddr,
    /// Where the partner's own server listens, for dialback.
    verify: Option<SocketAddr>,
    proof: Proof,
    /// What the partner's server secures streams with.
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Partners {
    fn read(args: &mut Args) -> Outcome<(Self, Option<PathBuf>)> {
        let folder = args.get::<PathBuf>("certs")?;
        let certs = folder.as_deref().map(Certificates);
        let manner = args.text("in").unwrap_or_else(|| "plain".to_owned());
        let client =
            |alpn: &[&[u8]]| certs.ok_or("--certs is missing")?.client(Some("partner.example"), alpn);
        let proof = match manner.as_str() {
            "plain" => Proof::Dialback,
            "direct" => Proof::Direct(client(&[b"xmpp-server"])?),
            "starttls" => Proof::StartTls(client(&[])?),
            other => return Err(format!("--in cannot be {other:?}")),
        };
        let tls = match (&proof, certs) {
            (Proof::Dialback, _) | (_, None) => None,
            (_, Some(certs)) => Some(certs.server("partner.example")?),
        };
        Ok((Self { target: args.need("target")?, verify: args.get("verify")?, proof, tls }, folder))
    }

    /// The domain of a stream.
    fn domain(plan: &Plan, stream: usize) -> String {
        if plan.domains > 1 {
            format!("p{:04}.{}", stream % plan.domains, plan.partner)
        } else {
            plan.partner.clone()
        }
    }

    fn open(&self, plan: &Plan, stream: usize) -> Outcome<Wire> {
        partner::open(self.target, &Self::domain(plan, stream), &plan.domain, &self.proof)
    }
}

/// Through a stanza router: the partner's streams in, the gateway (`--gateway`) or a component (`--component`, `--secret`) at the end.
fn xmpp(args: &mut Args) -> Outcome<Json> {
    let course = Course::read(args)?;
    let plan = plan(args, &course)?;
    let (partners, folder) = Partners::read(args)?;
    let gateway = args.get::<SocketAddr>("gateway")?;
    let gateway_tls = args.get("out")?.unwrap_or(false);
    let component = args.get::<SocketAddr>("component")?;
    let secret = args.text("secret").unwrap_or_default();
    let pool = args.get::<SocketAddr>("pool")?;
    let pool_tls = args.get("pool-tls")?.unwrap_or(false);
    args.end()?;
    let sheet = plan.stanzas()?;
    let shared = Arc::new(Shared::default());
    let exact = gateway.is_some().then(|| sheet.clone());
    let ledger = Ledger::new(sheet.len(), plan.streams, 0, exact);
    let mut sink = Sink::new(Arc::clone(&shared), ledger)?;
    if let Some(address) = gateway {
        let folder = folder.as_deref().map(Certificates);
        let tls = match (gateway_tls, folder) {
            (true, Some(certs)) => Some(certs.server("contoso.com")?),
            (true, None) => return Err("--certs is missing".to_owned()),
            (false, _) => None,
        };
        sink.listen(address, Speech::Stream(Server::new(tls)))?;
    }
    if let Some(address) = partners.verify {
        sink.listen(address, Speech::Returns(Server::new(partners.tls.clone())))?;
    }
    if let Some(address) = component {
        sink.adopt(partner::component(address, &plan.domain, &secret)?, Speech::Component)?;
    }
    if let Some(address) = pool {
        let folder = folder.as_deref().map(Certificates).ok_or("--certs is missing");
        let tls = if pool_tls { Some(folder?.server("pool2019.contoso.com")?) } else { None };
        sink.listen(address, Speech::Pool(Box::new(Pool::new(tls))))?;
    }
    let running = sink.start();
    let result = (|| {
        let mut wires = Vec::new();
        for stream in 0..plan.streams {
            shared.check()?;
            let wire = partners.open(&plan, stream)?;
            running.adopt(wire.clone(), Speech::Listen);
            wires.push(wire);
        }
        let mut sender = Sender::new(wires, sheet, course.manner, 0, Arc::clone(&shared));
        course.run(&mut sender, &shared)
    })();
    end(&shared, running, result)
}

/// From SIP: the pool writes to `--target`, within sessions or not; what arrives at the partner's server (`--verify`), at an XMPP
/// server's component port (`--port`, `--secret`) or at another pool (`--pool`) is counted, and so are the answers.
fn sip(args: &mut Args) -> Outcome<Json> {
    let course = Course::read(args)?;
    let plan = plan(args, &course)?;
    let target = args.need::<SocketAddr>("target")?;
    let folder = args.get::<PathBuf>("certs")?;
    let tls = args.get("tls")?.unwrap_or(false);
    let sessions = args.get("sessions")?.unwrap_or(false);
    let ends =
        (args.get::<SocketAddr>("verify")?, args.get::<SocketAddr>("port")?, args.get::<SocketAddr>("pool")?);
    args.end()?;
    let shared = Arc::new(Shared::default());
    let first = 2;
    let ledger = Ledger::new(count(plan.size), 1, first, None);
    let mut sink = Sink::new(Arc::clone(&shared), ledger)?;
    if let Some(address) = ends.0 {
        sink.listen(address, Speech::Stream(Server::new(None)))?;
    }
    if let Some(address) = ends.1 {
        sink.listen(address, Speech::Port)?;
    }
    if let Some(address) = ends.2 {
        sink.listen(address, Speech::Pool(Box::default()))?;
    }
    let running = sink.start();
    let result = (|| {
        // A component comes when it likes, some seconds apart.
        let give_up = sys::now() + 20_000_000_000;
        while ends.1.is_some() && shared.ready.load(Ordering::Acquire) == 0 && sys::now() < give_up {
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut wire = Wire::dial(target)?;
        if tls {
            let certs = folder.as_deref().map(Certificates).ok_or("--certs is missing")?;
            wire.secure_as_client(&certs.client(Some("pool2019.contoso.com"), &[])?, "turnout.contoso.com")?;
        }
        let caller = Caller { transport: if tls { "TLS" } else { "TCP" }, sessions };
        let sheet = caller.open(&plan, &mut wire)?;
        running.adopt(wire.clone(), Speech::Pool(Box::default()));
        std::thread::sleep(Duration::from_millis(300));
        let mut sender = Sender::new(vec![wire], sheet, course.manner, u64::from(first), Arc::clone(&shared));
        let json = course.run(&mut sender, &shared)?;
        settle(&shared, &shared.answered, sender.sent)?;
        Ok(json)
    })();
    end(&shared, running, result)
}

/// Memory of idle streams that are authenticated: `--count` of them, looked at after `--seconds`.
fn idle(args: &mut Args) -> Outcome<Json> {
    let count = args.get::<usize>("count")?.unwrap_or(500);
    let seconds = args.get("seconds")?.unwrap_or(4.0);
    let pids = args.list("pids")?;
    let domain = args.text("domain").unwrap_or_else(|| "contoso.com".to_owned());
    let name = args.text("partner").unwrap_or_else(|| "partner.example".to_owned());
    let (partners, _) = Partners::read(args)?;
    let component = args.get::<SocketAddr>("component")?;
    let secret = args.text("secret").unwrap_or_default();
    args.end()?;
    let shared = Arc::new(Shared::default());
    let mut sink = Sink::new(Arc::clone(&shared), Ledger::new(1, 1, 0, None))?;
    if let Some(address) = component {
        sink.adopt(partner::component(address, &domain, &secret)?, Speech::Component)?;
    }
    if let Some(address) = partners.verify {
        sink.listen(address, Speech::Returns(Server::new(partners.tls.clone())))?;
    }
    let running = sink.start();
    let open = |wires: &mut Vec<Wire>, count: usize| -> Outcome<()> {
        for _ in 0..count {
            wires.push(partner::open(partners.target, &name, &domain, &partners.proof)?);
            shared.check()?;
        }
        std::thread::sleep(Duration::from_secs_f64(seconds));
        Ok(())
    };
    let mut wires = Vec::new();
    let result = (|| {
        // What the first streams make the peer load is not a stream's.
        open(&mut wires, 16)?;
        let before = sys::memory(&pids)?;
        open(&mut wires, count)?;
        let after = sys::memory(&pids)?;
        let each = |from: u64, to: u64| (to as f64 - from as f64) / count as f64;
        Ok(Json::default()
            .number("streams", count as f64)
            .number("rss_kib_each", each(before.rss_kib, after.rss_kib))
            .number("pss_kib_each", each(before.pss_kib, after.pss_kib))
            .number("rss_kib_before", before.rss_kib as f64))
    })();
    end(&shared, running, result)
}
