//! The router's end of the admin desk: answers what the admin listener asks. Invariant: a look is answered at once; a move, a reload or
//! a question to a shard runs beside, so that none of them keeps the others waiting.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::sync::mpsc::Receiver;
use turnout_core::jid::Domain;
use turnout_core::trial::Trial;

use crate::admin::answers::{MovedAnswer, ReloadedAnswer};
use crate::admin::{self, Ask};
use crate::control::Moved;
use crate::look::{Look, ShardLook};
use crate::probe::{Asked, Report};
use crate::router::Router;

/// Binds the admin listener and serves it as long as the router runs. Returns the address, with the port the kernel chose.
///
/// # Errors
/// The address cannot be bound.
pub async fn open(router: &Router, address: SocketAddr) -> Result<SocketAddr, String> {
    serve(router, admin::bind(address).await?)
}

/// As [`open`], on a listener that is bound already.
///
/// # Errors
/// The listener has no address.
pub fn serve(router: &Router, listener: TcpListener) -> Result<SocketAddr, String> {
    let bound = listener.local_addr().map_err(|error| error.to_string())?;
    let (desk, asked) = admin::desk();
    tokio::spawn(admin::serve(listener, desk, router.stopped()));
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
        addresses: router.addresses().to_vec(),
        started_unix: router.started_unix(),
        standing: router.standing(),
        store: router.store(),
        spool: router.spool(),
        draining: router.is_draining(),
        now_unix: crate::clock::unix_seconds(),
    }
}
