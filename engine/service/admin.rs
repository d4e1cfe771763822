//! The admin listener: metrics, health, the JSON API, the dashboard. Invariant: it can ask and command the router only
//! through a [`Desk`], a bounded queue of [`Ask`]s; it touches no shard and holds no lock of one. Who may do what is decided at one
//! place before anything else (`guard`), and every change is written down there (`audit`). The paths are listed in
//! [`ROUTES`]; what they are asked and answer stands in the OpenAPI document at `/api/openapi.json`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router as Paths;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{MethodRouter, delete, get, post};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Semaphore, oneshot};
use turnout_core::contact::{Contact, Pair};
use turnout_core::contacts::Forget;
use turnout_core::io::Told;
use turnout_core::jid::{Domain, Jid};
use turnout_core::survey::{Survey, Surveyed};
use turnout_core::trace::TraceRules;
use turnout_core::trial::{Trial, Tried};

use crate::access::{Access, Caller, Role};
use crate::feed::Feed;
use crate::look::Look;
use crate::probe::Report;
use crate::redact;
use crate::router::ReloadDiff;
use answers::{MovedAnswer, ReloadedAnswer};
use audit::Audit;
use health::Watch;
use jobs::Jobs;
use problem::Failure;
use pulse::Pulse;
use rates::Rates;

pub mod answers;
mod audit;
mod contacts;
mod control;
mod estate;
mod explain;
mod guard;
mod health;
mod jobs;
mod openapi;
mod page;
mod problem;
mod pulse;
mod rates;
mod server;
mod status;
mod stream;
#[cfg(test)]
mod tests;
mod tracing;
mod trials;
mod users;
pub mod views;

pub use explain::parse_kind;
pub use server::{Listening, bind, serve};

/// Questions and commands that may wait.
const ASKS_MAX: usize = 64;

/// How long a copy of the router's state may take before it counts as stuck.
const LOOK_SECONDS: u64 = 5;

/// Listings that may run at a time: each looks at every user.
const LISTINGS_MAX: usize = 2;

/// What the admin listener wants of the router. Each carries the way back for the answer.
#[derive(Debug)]
pub enum Ask {
    /// A copy of its state.
    Look(oneshot::Sender<Look>),
    /// Give users, by prepared bare address, another home.
    Move(Vec<Jid>, String, oneshot::Sender<Result<MovedAnswer, String>>),
    /// What is known of this local user, and what is open for him.
    Tell(Jid, oneshot::Sender<Result<Told, String>>),
    /// Take back what holds between these two; the answer is the contact as it was, if there was something to take back.
    Forget(Pair, Forget, oneshot::Sender<Result<Option<Contact>, String>>),
    /// Send this; the answer is what became of it.
    Try(Trial, oneshot::Sender<Result<Tried, String>>),
    /// Go the way to a partner.
    Probe {
        /// The partner's domain.
        partner: Domain,
        /// In whose name.
        from: Domain,
        /// The way back.
        done: oneshot::Sender<Result<Report, String>>,
    },
    /// Read configuration and directory anew.
    Reload(oneshot::Sender<Result<ReloadedAnswer, String>>),
    /// What would that change?
    Preview(oneshot::Sender<Result<ReloadDiff, String>>),
    /// What does this shard hold?
    Survey(u16, Arc<Survey>, oneshot::Sender<Result<Surveyed, String>>),
    /// Remember other things of stanzas.
    Trace(Arc<TraceRules>, oneshot::Sender<()>),
    /// End the process in order.
    Stop(oneshot::Sender<()>),
}

/// Where [`Ask`]s are put.
#[derive(Clone, Debug)]
pub struct Desk {
    asks: Sender<Ask>,
}

/// Makes a desk, and the end at which the router answers.
pub fn desk() -> (Desk, Receiver<Ask>) {
    let (asks, asked) = channel(ASKS_MAX);
    (Desk { asks }, asked)
}

impl Desk {
    /// A copy of the router's state.
    async fn look(&self) -> Result<Look, Failure> {
        let asked = self.ask(Ask::Look);
        match tokio::time::timeout(Duration::from_secs(LOOK_SECONDS), asked).await {
            Ok(look) => look,
            Err(_) => Err(Failure::unavailable("the router does not answer", "restart it if this lasts")),
        }
    }

    async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Failure> {
        let gone = || Failure::unavailable("the router is stopping", "ask again when it has started anew");
        let (done, answer) = oneshot::channel();
        self.asks.send(make(done)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

/// What all requests share.
struct App {
    desk: Desk,
    access: Arc<ArcSwap<Access>>,
    feed: Feed,
    watch: Mutex<Watch>,
    pulse: Mutex<Pulse>,
    rates: Mutex<Rates>,
    audit: Audit,
    jobs: Jobs,
    listings: Semaphore,
    streams: Arc<Semaphore>,
    turns: trials::Turns,
    /// Users are words made with this for whoever may only read.
    words: Option<redact::Key>,
}

type Shared = State<Arc<App>>;

impl App {
    fn new(desk: Desk, access: Arc<ArcSwap<Access>>, feed: Feed) -> Self {
        Self {
            desk,
            access,
            feed,
            watch: Mutex::default(),
            pulse: Mutex::default(),
            rates: Mutex::default(),
            audit: Audit::default(),
            jobs: Jobs::default(),
            listings: Semaphore::new(LISTINGS_MAX),
            turns: trials::Turns::default(),
            words: None,
            streams: Arc::new(Semaphore::new(stream::STREAMS_MAX)),
        }
    }

    /// What users are made words with for this caller, if they are: he sees what stands in the log and no more.
    fn words_for(&self, caller: &Caller) -> Option<redact::Key> {
        self.words.filter(|_| caller.role < Role::Operate)
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes what answers at a path.
type Answers = fn() -> MethodRouter<Arc<App>>;

/// Every path, with its methods, that the document at `/api/openapi.json` has too.
const ROUTES: &[(&str, &[&str], Answers)] = &[
    ("/metrics", &["GET"], || get(status::metrics)),
    ("/healthz", &["GET"], || get(health::healthz)),
    ("/readyz", &["GET"], || get(health::readyz)),
    ("/api/openapi.json", &["GET"], || get(openapi::document)),
    ("/api/whoami", &["GET"], || get(control::whoami)),
    ("/api/live", &["GET"], || get(pulse::live)),
    ("/api/status", &["GET"], || get(status::status)),
    ("/api/partners", &["GET"], || get(estate::partners)),
    ("/api/homes", &["GET"], || get(status::homes)),
    ("/api/links", &["GET"], || get(estate::links)),
    ("/api/queues", &["GET"], || get(estate::queues)),
    ("/api/dialogs", &["GET"], || get(estate::dialogs)),
    ("/api/subscriptions", &["GET"], || get(estate::subscriptions)),
    ("/api/certificates", &["GET"], || get(estate::certificates)),
    ("/api/explain", &["GET"], || get(explain::explain)),
    ("/api/users", &["GET"], || get(users::list)),
    ("/api/users/move", &["POST"], || post(users::relocate)),
    ("/api/users/{jid}", &["GET"], || get(contacts::show)),
    ("/api/users/{jid}/contacts/{partner}", &["DELETE"], || delete(contacts::forget)),
    ("/api/users/{jid}/contacts/{partner}/veto", &["DELETE"], || delete(contacts::lift_veto)),
    ("/api/moves", &["GET", "POST"], || get(jobs::list).post(jobs::begin)),
    ("/api/moves/{id}", &["GET", "DELETE"], || get(jobs::show).delete(jobs::cancel)),
    ("/api/trace", &["GET", "PUT"], || get(tracing::find).put(tracing::set)),
    ("/api/events", &["GET"], || get(stream::list)),
    ("/api/events/stream", &["GET"], || get(stream::stream)),
    ("/api/audit", &["GET"], || get(audit::list)),
    ("/api/log", &["GET", "PUT"], || get(control::log).put(control::set_log)),
    ("/api/selftest", &["POST"], || post(trials::selftest)),
    ("/api/probe", &["POST"], || post(trials::probe)),
    ("/api/reload", &["POST"], || post(control::reload)),
    ("/api/reload/preview", &["POST"], || post(control::preview)),
    ("/api/drain", &["POST"], || post(control::drain)),
];

/// All paths.
fn paths(app: Arc<App>) -> Paths {
    let api = ROUTES.iter().fold(page::paths(), |paths, (path, _, answers)| paths.route(path, answers()));
    api.fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        // The guard limits bodies, and their time too.
        .layer(DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), guard::guard))
        .with_state(app)
}
