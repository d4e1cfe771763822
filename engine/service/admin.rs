//! The admin listener: metrics, health, the JSON API, a small status page. Invariant: it can ask and command the router only
//! through a [`Desk`], a bounded queue of [`Ask`]s; it touches no shard and holds no lock of one. Whoever reaches the listener may
//! move users, so it belongs on loopback or on an inside network; what a web page in an administrator's browser could do with
//! it is fenced off in `guard`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the status page |
//! | `GET /metrics` | for Prometheus |
//! | `GET /healthz` | 200 while every shard's loop turns: restart the process when not |
//! | `GET /readyz` | 200 while it may be sent traffic |
//! | `GET /api/status`, `/api/partners`, `/api/homes` | what is running |
//! | `GET /api/users?prefix=&after=&limit=` | the directory |
//! | `GET /api/users/{jid}` | one user: his place, his contacts, what is open for him |
//! | `GET /api/explain?from=&to=&kind=` | which way a stanza would go, and why |
//! | `POST /api/users/move` | `{"user": …}` or `{"users": […]}`, and `"home"` |
//! | `DELETE /api/users/{jid}/contacts/{partner}` | ends what holds between the two, on both sides |
//! | `DELETE /api/users/{jid}/contacts/{partner}/veto` | the partner's user may be asked again |
//! | `POST /api/selftest` | `{"from": …, "to": …}`: sends a message in a local user's name |
//! | `POST /api/probe` | `{"partner": …}`: the way to a partner step by step, with a ping over the router's own stream |
//! | `POST /api/reload` | configuration and directory are read anew |

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router as Paths;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Semaphore, oneshot};
use turnout_core::contact::{Contact, Pair};
use turnout_core::contacts::Forget;
use turnout_core::io::Told;
use turnout_core::jid::{Domain, Jid};
use turnout_core::trial::{Trial, Tried};

use crate::look::Look;
use crate::probe::Report;
use answers::{MovedAnswer, ReloadedAnswer};
use health::Watch;
use problem::Failure;

pub mod answers;
mod contacts;
mod explain;
mod guard;
mod health;
mod problem;
mod server;
mod status;
#[cfg(test)]
mod tests;
mod trials;
mod users;

pub use explain::parse_kind;
pub use server::{bind, serve};

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
    watch: Mutex<Watch>,
    listings: Semaphore,
    turns: trials::Turns,
}

type Shared = State<Arc<App>>;

impl App {
    fn new(desk: Desk) -> Self {
        Self {
            desk,
            watch: Mutex::default(),
            listings: Semaphore::new(LISTINGS_MAX),
            turns: trials::Turns::default(),
        }
    }

    fn watch(&self) -> std::sync::MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All paths.
fn paths(app: Arc<App>) -> Paths {
    Paths::new()
        .route("/", get(|| page("text/html; charset=utf-8", include_str!("admin/page.html"))))
        .route("/page.css", get(|| page("text/css; charset=utf-8", include_str!("admin/page.css"))))
        .route("/page.js", get(|| page("text/javascript; charset=utf-8", include_str!("admin/page.js"))))
        .route("/metrics", get(status::metrics))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/api/status", get(status::status))
        .route("/api/partners", get(status::partners))
        .route("/api/homes", get(status::homes))
        .route("/api/users", get(users::list))
        .route("/api/users/move", post(users::relocate))
        .route("/api/users/{jid}", get(contacts::show))
        .route("/api/users/{jid}/contacts/{partner}", delete(contacts::forget))
        .route("/api/users/{jid}/contacts/{partner}/veto", delete(contacts::lift_veto))
        .route("/api/explain", get(explain::explain))
        .route("/api/selftest", post(trials::selftest))
        .route("/api/probe", post(trials::probe))
        .route("/api/reload", post(users::reload))
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        // The guard limits bodies, and their time too.
        .layer(DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn(guard::guard))
        .with_state(app)
}

async fn page(content_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], text).into_response()
}
