//! The router's end of the admin desk: answers what the admin listener asks. Invariant: a look is answered at once; a move, a reload or
//! a question to a shard runs beside, so that none of them keeps the others waiting.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::mpsc::Receiver;
use tokio_rustls::TlsAcceptor;
use turnout_core::jid::Domain;
use turnout_core::trial::Trial;

use crate::access::Access;
use crate::admin::answers::{MovedAnswer, ReloadedAnswer};
use crate::admin::{self, Ask, Listening};
use crate::control::Moved;
use crate::look::{Look, ShardLook};
use crate::probe::{Asked, Report};
use crate::router::Router;
use crate::tls::admin::AdminKey;

/// Binds the admin listener and serves it as long as the router runs. Returns the address, with the port the kernel chose.
///
/// # Errors
/// The address cannot be bound, or its certificate cannot be used.
pub async fn open(router: &Router, address: SocketAddr) -> Result<SocketAddr, String> {
    guard(&router.access(), &router.admin_key(), address)?;
    serve(router, admin::bind(address).await?)
}

/// Whether anybody may be served at that address: there are tokens where other machines can reach it. Gives what shakes hands.
///
/// # Errors
/// The address is not on loopback and there are no tokens, or the certificate cannot be used.
pub fn guard(
    access: &ArcSwap<Access>,
    key: &Arc<AdminKey>,
    address: SocketAddr,
) -> Result<Option<TlsAcceptor>, String> {
    if !address.ip().is_loopback() && !access.load().has_tokens() {
        return Err(format!(
            "admin.listen: {address} can be reached from other machines and there are no tokens"
        ));
    }
    Arc::clone(key).acceptor()
}

/// As [`open`], on a listener that is bound already.
///
/// # Errors
/// The listener has no address, or as [`guard`].
pub fn serve(router: &Router, listener: TcpListener) -> Result<SocketAddr, String> {
    let bound = listener.local_addr().map_err(|error| error.to_string())?;
    let access = router.access();
    let tls = guard(&access, &router.admin_key(), bound)?;
    if !bound.ip().is_loopback() && tls.is_none() {
        tracing::warn!(event = "admin.exposed", address = %bound, "admin.listen is not on loopback and speaks no TLS: tokens can be read on the way");
    }
    let (desk, asked) = admin::desk();
    let listening =
        Listening { listener, desk, access, feed: router.feed(), tls, words: crate::redact::key() };
    tokio::spawn(admin::serve(listening, router.stopped()));
    tokio::spawn(answer(router.clone(), asked));
    Ok(bound)
}

async fn answer(router: Router, mut asked: Receiver<Ask>) {
    while let Some(ask) = asked.recv().await {
        match ask {
            // Whoever asked may be gone; then nobody misses the answer.
            Ask::Look(done) => drop(done.send(look(&router))),
            Ask::Move(users, home, done) => {
                let router = router.clone();
                tokio::spawn(
                    async move { drop(done.send(router.move_users(&users, &home).await.map(moved))) },
                );
            }
            Ask::Tell(user, done) => {
                let router = router.clone();
                tokio::spawn(async move { drop(done.send(router.tell(&user).await)) });
            }
            Ask::Forget(pair, what, done) => {
                let router = router.clone();
                tokio::spawn(async move { drop(done.send(router.forget(pair, what).await)) });
            }
            Ask::Preview(done) => {
                let router = router.clone();
                tokio::spawn(async move { drop(done.send(router.preview().await)) });
            }
            Ask::Survey(shard, survey, done) => {
                let router = router.clone();
                tokio::spawn(async move { drop(done.send(router.survey(shard, survey).await)) });
            }
            Ask::Trace(rules, done) => {
                router.set_trace(rules).await;
                // Whoever asked may have gone.
                done.send(()).unwrap_or_default();
            }
            Ask::Stop(done) => {
                router.ask_to_stop();
                // Whoever asked may have gone.
                done.send(()).unwrap_or_default();
            }
            Ask::Try(trial, done) => {
                let router = router.clone();
                tokio::spawn(async move { drop(done.send(router.attempt(trial).await)) });
            }
            Ask::Probe { partner, from, mut done } => {
                let router = router.clone();
                tokio::spawn(async move {
                    // Nobody goes on looking for someone who has gone.
                    let probed = tokio::select! {
                        probed = probe(&router, &partner, &from) => probed,
                        () = done.closed() => return,
                    };
                    drop(done.send(probed));
                });
            }
            Ask::Reload(done) => {
                let router = router.clone();
                tokio::spawn(async move {
                    let reloaded = router.reload().await.map(|done| ReloadedAnswer {
                        generation: done.generation,
                        users: done.users as u64,
                        moved: moved(done.moved),
                        diff: done.diff,
                    });
                    drop(done.send(reloaded));
                });
            }
        }
    }
}

/// Goes the way to a partner, and where that leads to him, puts a ping on the router's own stream.
async fn probe(router: &Router, partner: &Domain, from: &Domain) -> Result<Report, String> {
    let config = router.config();
    let now = crate::clock::system_time();
    let asked = Asked { config: &config, own: true, partner, from, now };
    let mut report = crate::probe::probe(asked, &mut |_| {}).await?;
    if report.good {
        let since = crate::clock::now();
        let trial = Trial::Ping { from: from.clone(), to: partner.clone() };
        report.pinged(&router.attempt(trial).await, since);
    }
    Ok(report)
}

fn moved(moved: Moved) -> MovedAnswer {
    MovedAnswer {
        users: moved.users as u64,
        in_time: moved.in_time,
        held_millis: moved.held_millis,
        remembered: moved.remembered,
    }
}

fn look(router: &Router) -> Look {
    let shards = router.published().into_iter();
    Look {
        world: router.world(),
        directory: router.directory(),
        shards: shards.map(|shard| ShardLook { tally: shard.tally, resting: shard.resting }).collect(),
        driver: router.driver(),
        addresses: router.addresses(),
        started_unix: router.started_unix(),
        standing: router.standing(),
        store: router.store(),
        spool: router.spool(),
        certificates: router.certificates(),
        moved_today: router.moved_today(),
        trace: router.trace(),
        otlp: router.otlp_meter().look(),
        draining: router.is_draining(),
        now_unix: crate::clock::unix_seconds(),
    }
}
