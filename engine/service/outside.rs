//! What a shard's driver asks of the rest of the process: connections made by the control plane, TLS sessions, the way to the store, a
//! place for its counters and for its answers. Invariant: nothing here blocks a shard; the mutexes guard a copy made ten times a
//! second, and the table of an administrator's questions.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;
use turnout_core::io::{Connect, Note, TlsRole, Told, Unreachable};
use turnout_core::shard::Shard;
use turnout_core::survey::Surveyed;
use turnout_core::tally::Tally;

use crate::feed::Feed;
use crate::mail::{Mail, Post};
use crate::questions::Questions;
use crate::resolve::{self, Resolver, system_random};
use crate::spool::outlet as spool;
use crate::store::outlet::{Delivery, Outlet};
use crate::tls::{TlsContext, TlsSession};

/// What a shard tells the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Step 1 of this move is done on one shard.
    Holding(u64),
    /// Step 2 of this move is done on one shard.
    Settled(u64),
    /// This shard holds nothing more and its links are closing.
    Drained(u16),
}

/// A node of a home as one shard sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct NodeHealth {
    /// The home.
    pub home: String,
    /// The node.
    pub node: String,
    /// Failed attempts since it last worked.
    pub failures: u32,
}

/// What a shard lets the outside see.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Its counters.
    pub tally: Tally,
    /// Nodes that are resting after a failure.
    pub resting: Vec<(u16, String, u32)>,
}

/// Shared by the drivers of all shards.
pub struct Outside {
    handle: Handle,
    tls: ArcSwap<TlsContext>,
    resolver: ArcSwap<Resolver>,
    /// Where drivers report.
    pub reports: Sender<Report>,
    /// What administrators have asked shards.
    pub questions: Questions<Told>,
    /// What they have asked of all that shards hold.
    pub surveys: Questions<Surveyed>,
    /// What happened.
    pub feed: Feed,
    published: Box<[Mutex<Published>]>,
    store: Option<SyncSender<Delivery>>,
    spool: Option<SyncSender<spool::Delivery>>,
}

impl Outside {
    /// `handle` is the control plane's runtime.
    pub fn new(
        handle: Handle,
        tls: Arc<TlsContext>,
        resolver: Resolver,
        reports: Sender<Report>,
        shards: u16,
    ) -> Self {
        let published = (0..shards).map(|_| Mutex::default()).collect();
        let (tls, resolver) = (ArcSwap::new(tls), ArcSwap::from_pointee(resolver));
        let (questions, surveys, feed) = (Questions::default(), Questions::default(), Feed::default());
        Self { handle, tls, resolver, reports, questions, surveys, feed, published, store: None, spool: None }
    }

    /// With a store of contacts at the other end of this queue. Without one contacts live in memory.
    #[must_use]
    pub fn with_store(mut self, queue: Option<SyncSender<Delivery>>) -> Self {
        self.store = queue;
        self
    }

    /// With a durable spool at the other end of this queue. Without one what waits is in memory alone.
    #[must_use]
    pub fn with_spool(mut self, queue: Option<SyncSender<spool::Delivery>>) -> Self {
        self.spool = queue;
        self
    }

    /// A shard's way to the spool.
    pub fn spool_outlet(&self, shard: u16) -> spool::Outlet {
        spool::Outlet::new(shard, self.spool.clone())
    }

    /// A shard's way to the store.
    pub fn outlet(&self, shard: u16) -> Outlet {
        Outlet::new(shard, self.store.clone())
    }

    /// A reload: new handshakes and connections use these.
    pub fn swap(&self, tls: Arc<TlsContext>, resolver: Resolver) {
        self.tls.store(tls);
        self.resolver.store(Arc::new(resolver));
    }

    /// Begins a TLS session.
    ///
    /// # Errors
    /// No certificate for the side, or a name that cannot be sent: text for the log.
    pub fn tls_session(&self, role: &TlsRole) -> Result<TlsSession, Arc<str>> {
        let tls = self.tls.load();
        match role {
            TlsRole::Server(side) => tls.accept(*side),
            TlsRole::Client(client) => tls.connect(client),
        }
        .map_err(|error| error.to_string().into())
    }

    /// Connects on the control plane; the result comes to the shard by mail.
    pub fn connect(&self, shard: u16, post: &Post, connect: Connect) {
        let resolver = self.resolver.load_full();
        let post = post.clone();
        self.handle.spawn(async move {
            let link = connect.link;
            let mut random = system_random();
            let mail = match resolve::connect(&resolver, &connect.target, connect.direct, &mut random).await {
                Ok(found) => match found.stream.into_std() {
                    Ok(stream) => Mail::Connected(link, stream, found.direct_tls, found.peer),
                    Err(error) => Mail::Failed(link, Unreachable::NoAnswer, error.to_string().into()),
                },
                Err((why, text)) => Mail::Failed(link, why, text.into()),
            };
            post.send(shard, mail).await;
        });
    }

    /// A shard's note that went to the log.
    pub fn noted(&self, shard: u16, note: &Note) {
        self.feed.note(crate::clock::unix_millis(), shard, note);
    }

    /// Copies a shard's counters.
    pub fn publish(&self, index: u16, shard: &mut Shard) {
        let Some(slot) = self.published.get(usize::from(index)) else { return };
        let tally = shard.tally().clone();
        let mut resting = Vec::new();
        for (home, pool) in (0_u16..).zip(shard.pools()) {
            resting.extend(
                pool.nodes()
                    .iter()
                    .filter(|node| node.failures > 0)
                    .map(|node| (home, node.host.to_string(), node.failures)),
            );
        }
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Published { tally, resting };
    }

    /// What every shard published last.
    pub fn published(&self) -> Vec<Published> {
        self.published
            .iter()
            .map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect()
    }
}
