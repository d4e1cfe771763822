//! `turnout run` and `turnout demo`: the life of the process, from configuration to the last signal, readable as a runbook.

use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::{DemoArgs, LogFormat, RunArgs, fail, finish, load};
use crate::commands::selftest::SelftestArgs;
use crate::commands::user::UserArgs;
use crate::config::Config;
use crate::demo;
use crate::handover::{self, Predecessor, Program, Sockets, Successor};
use crate::redact;
use crate::router::{Prepared, Router, random_bytes};
use crate::systemd;

/// Environment variable for the log's level and filters, in the manner of `RUST_LOG`.
const LOG_VARIABLE: &str = "TURNOUT_LOG";

/// The key of the admin listener.
const ADMIN: &str = "admin.listen";

/// `turnout run`.
pub fn run(args: &RunArgs) -> ExitCode {
    let format = args.log_format;
    let _log = start_log("info", format);
    let received = handover::received().and_then(|received| Ok((received, Program::this()?)));
    let ((sockets, predecessor), program) = match received {
        Ok(received) => received,
        Err(error) => return failed(format, &error),
    };
    let loaded = match load(args.config.as_deref(), crate::clock::system_time()) {
        Ok(loaded) => loaded,
        Err(errors) => return failed(format, &errors.to_string()),
    };
    let key =
        random_bytes().and_then(|random| loaded.config.log_key(random).map_err(|errors| errors.to_string()));
    match key {
        Ok(key) => redact::use_key(key),
        Err(error) => return failed(format, &error),
    }
    control_plane(async move {
        if loaded.trial.is_some() {
            tracing::warn!(
                event = "router.embedded",
                "running the embedded default on loopback with made certificates; give a file with --config"
            );
        }
        let service = match begin(loaded.config, sockets, predecessor).await {
            Ok(service) => service,
            Err(error) => return failed(format, &error),
        };
        systemd::ready();
        systemd::watch(&service.router);
        let code = until_stopped(&service, args.config.as_deref(), &program, format).await;
        drop(loaded.trial);
        code
    })
}

/// What runs.
struct Service {
    router: Router,
    /// The admin listener once more, for a process that is to go on.
    admin: OwnedFd,
}

/// Brings everything up; where another process still runs, once that has given way.
async fn begin(
    config: Config,
    mut sockets: Sockets,
    predecessor: Option<Predecessor>,
) -> Result<Service, String> {
    let admin = config.admin.listen;
    let prepared = Prepared::new(config, &mut sockets).await?;
    prepared.guard_admin(admin)?;
    let desk = match sockets.take(ADMIN, admin) {
        Some(socket) => TcpListener::from_std(socket).map_err(|error| format!("{ADMIN}: {error}"))?,
        None => crate::admin::bind(admin).await?,
    };
    let admin = desk.as_fd().try_clone_to_owned().map_err(|error| format!("{ADMIN}: {error}"))?;
    sockets.finish()?;
    if let Some(predecessor) = predecessor {
        tracing::info!(
            event = "upgrade.waiting",
            "ready to begin; waiting for the process before this one to drain"
        );
        predecessor.say_ready()?;
        tokio::task::spawn_blocking(move || predecessor.wait()).await.map_err(|error| error.to_string())?;
    }
    let router = prepared.start(&crate::router::standard_backend).await?;
    for (name, address) in &router.addresses() {
        tracing::info!(event = "listener.open", %address, "{name}");
    }
    let at = crate::desk::serve(&router, desk)?;
    tracing::info!(event = "router.up", driver = router.driver(), admin = %at, "turnout is up");
    Ok(Service { router, admin })
}

/// `turnout demo`.
pub fn run_demo(args: &DemoArgs) -> ExitCode {
    let _log = start_log("error", LogFormat::Text);
    let options = demo::Options {
        rate: args.rate,
        seconds: args.seconds,
        json: args.json,
        admin: args.admin,
        keys: args.keys,
    };
    let (json, admin) = (args.json, args.admin);
    let result = control_plane(demo::run(options, async move |router: &Router| {
        let admin = crate::desk::open(router, admin).await?;
        if !json {
            println!("a partner, a legacy gateway and a 2019 pool on loopback; dashboard: http://{admin}/");
        }
        Ok(())
    }));
    match result {
        Ok(totals) => finish(json, &totals, |_, _| Ok(()), totals.is_good()),
        Err(error) => fail(json, &error),
    }
}

/// The signals that are waited for.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    upgrade: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for what ends the process.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => (),
            _ = self.interrupt.recv() => (),
        }
    }
}

/// Waits for signals: HUP reloads, USR2 hands over to the program's file as it is now, TERM and INT drain, as does a
/// request of the admin API.
async fn until_stopped(
    service: &Service,
    file: Option<&Path>,
    program: &Program,
    format: LogFormat,
) -> ExitCode {
    let Ok(mut signals) = Signals::catch() else { return failed(format, "signals cannot be caught") };
    let mut successor = until_told(service, file, program, &mut signals).await;
    if let Some(successor) = &successor {
        let pid = successor.pid();
        tracing::info!(
            event = "upgrade.draining",
            pid,
            "another process is ready to go on; draining, new connections wait for it"
        );
    } else {
        systemd::stopping();
        tracing::info!(
            event = "router.draining",
            "draining: no new connections; what was accepted is delivered or bounced"
        );
    }
    let mut draining = std::pin::pin!(service.router.drain());
    let drained = loop {
        tokio::select! {
            drained = &mut draining => break drained,
            () = signals.stop() => (),
        }
        // The first signal of an upgrade calls that off.
        if successor.take().is_none() {
            return stopped_at_once(format);
        }
        systemd::stopping();
        tracing::info!(
            event = "upgrade.called_off",
            "no other process goes on; what was accepted is delivered or bounced"
        );
    };
    if let Some(successor) = successor {
        systemd::succeeded_by(successor.pid());
        if let Err(error) = successor.give_way() {
            return failed(format, &error);
        }
    }
    if drained.left == 0 {
        tracing::info!(event = "router.stopped", "stopped; nothing accepted is left");
        ExitCode::SUCCESS
    } else {
        failed(
            format,
            &format!(
                "stopped with {} stanzas neither delivered nor bounced: raise engine.drain_seconds",
                drained.left
            ),
        )
    }
}

/// Waits until the admin API is asked for the end.
async fn asked_to_stop(asked: &mut watch::Receiver<bool>) {
    if asked.wait_for(|asked| *asked).await.is_err() {
        // The router is gone, and with it whoever could ask.
        std::future::pending::<()>().await;
    }
}

/// Does what signals say until one says to stop, or the admin API is asked to: with the process that is to go on, if that was the wish.
async fn until_told(
    service: &Service,
    file: Option<&Path>,
    program: &Program,
    signals: &mut Signals,
) -> Option<Successor> {
    let mut asked = service.router.stop_asked();
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => reload(&service.router, file).await,
            () = asked_to_stop(&mut asked) => return None,
            _ = signals.terminate.recv() => return None,
            _ = signals.interrupt.recv() => return None,
            _ = signals.upgrade.recv() => {
                let started = tokio::select! {
                    started = start_successor(service, program) => started,
                    () = asked_to_stop(&mut asked) => return None,
                    () = signals.stop() => return None,
                };
                match started {
                    Ok(successor) => return Some(successor),
                    Err(error) => tracing::error!(
                        event = "upgrade.refused",
                        "upgrade refused, everything stays as it was: {error}"
                    ),
                }
            }
        }
    }
}

/// What ends the process with a finding: a plain line for people, an event where machines read the log.
fn failed(format: LogFormat, what: &str) -> ExitCode {
    match format {
        LogFormat::Text => fail(false, what),
        LogFormat::Json => {
            tracing::error!(event = "router.failed", "{what}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the program's file, which may be another one by now, and waits until it has read everything it needs.
async fn start_successor(service: &Service, program: &Program) -> Result<Successor, String> {
    let mut sockets = service.router.sockets()?;
    sockets.push((ADMIN.to_owned(), service.admin.try_clone().map_err(|error| error.to_string())?));
    let successor = program.start(&sockets)?;
    let channel = successor.channel()?;
    tokio::task::spawn_blocking(move || handover::wait_until_ready(&channel))
        .await
        .map_err(|error| error.to_string())??;
    Ok(successor)
}

/// Whoever asks twice does not want to wait.
fn stopped_at_once(format: LogFormat) -> ExitCode {
    failed(
        format,
        "stopped at once by a second signal; what was still held is lost, its senders were not told",
    )
}

async fn reload(router: &Router, file: Option<&Path>) {
    systemd::reloading();
    let file = file.map_or_else(|| "the embedded default".to_owned(), |file| file.display().to_string());
    match router.reload().await {
        Ok(done) => tracing::info!(
            event = "router.reloaded",
            generation = done.generation,
            users = done.users,
            moved = done.moved.users,
            held_millis = done.moved.held_millis,
            "reloaded {file}"
        ),
        Err(error) => tracing::error!(
            event = "router.reload_refused",
            "reload refused, everything stays as it was: {error}"
        ),
    }
    systemd::ready();
}

/// The control plane: DNS, admin API, signals. Two threads are plenty; the shards have their own.
fn control_plane<T>(work: impl Future<Output = T>) -> T
where
    T: From<Unstartable>,
{
    match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => T::from(Unstartable(error.to_string())),
    }
}

/// The runtime could not be made.
struct Unstartable(String);

impl From<Unstartable> for ExitCode {
    fn from(error: Unstartable) -> Self {
        fail(false, &format!("no runtime: {}; is the limit of threads or open files too low?", error.0))
    }
}

impl From<Unstartable> for Result<demo::score::Totals, String> {
    fn from(error: Unstartable) -> Self {
        Err(format!("no runtime: {}", error.0))
    }
}

/// The log goes to standard error through a thread of its own: a slow terminal never holds a shard. Lines that do not fit are
/// dropped, as its documentation says, rather than waited for.
fn start_log(level: &str, format: LogFormat) -> WorkerGuard {
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let wanted = std::env::var(LOG_VARIABLE).ok();
    let wanted = wanted.and_then(|text| EnvFilter::try_new(&text).ok().map(|filter| (text, filter)));
    let (text, filter) = wanted.unwrap_or_else(|| (level.to_owned(), EnvFilter::new(level)));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(redact::Redacted(writer))
        .with_ansi(colour && format == LogFormat::Text)
        .with_target(false);
    let filtered = tracing_subscriber::registry().with(crate::log::filter_layer(&text, filter));
    match format {
        LogFormat::Text => filtered.with(lines).init(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
            filtered.with(lines).init();
        }
    }
    guard
}

/// `turnout user`.
pub fn run_user(args: &UserArgs) -> ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => ExitCode::from(runtime.block_on(crate::commands::user::run(args, &mut out, &mut err))),
        Err(error) => Unstartable(error.to_string()).into(),
    }
}

/// `turnout selftest`.
pub fn run_selftest(args: &SelftestArgs) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(crate::commands::selftest::run(args)),
        Err(error) => Unstartable(error.to_string()).into(),
    }
}
