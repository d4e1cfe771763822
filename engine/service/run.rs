//! `turnout run` and `turnout demo`: the life of the process, from configuration to the last signal, readable as a runbook.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

use crate::cli::{DemoArgs, LogFormat, RunArgs, fail, finish, load};
use crate::commands::selftest::SelftestArgs;
use crate::commands::user::UserArgs;
use crate::demo;
use crate::router::Router;

/// Environment variable for the log's level and filters, in the manner of `RUST_LOG`.
const LOG_VARIABLE: &str = "TURNOUT_LOG";

/// `turnout run`.
pub fn run(args: &RunArgs) -> ExitCode {
    let format = args.log_format;
    let _log = start_log("info", format);
    let loaded = match load(args.config.as_deref(), crate::clock::system_time()) {
        Ok(loaded) => loaded,
        Err(errors) => return failed(format, &errors.to_string()),
    };
    let embedded = loaded.trial.is_some();
    control_plane(async move {
        let config = loaded.config;
        let admin = config.admin_listen;
        let router = match Router::start(config).await {
            Ok(router) => router,
            Err(error) => return failed(format, &error),
        };
        if embedded {
            tracing::warn!(
                event = "router.embedded",
                "running the embedded default on loopback with made certificates; give a file with --config"
            );
        }
        for (name, address) in router.addresses() {
            tracing::info!(event = "listener.open", %address, "{name}");
        }
        let admin = match crate::desk::open(&router, admin).await {
            Ok(admin) => admin,
            Err(error) => return failed(format, &error),
        };
        tracing::info!(event = "router.up", driver = router.driver(), %admin, "turnout is up");
        let code = until_stopped(&router, args.config.as_deref(), format).await;
        drop(loaded.trial);
        code
    })
}

/// `turnout demo`.
pub fn run_demo(args: &DemoArgs) -> ExitCode {
    let _log = start_log("error", LogFormat::Text);
    let options =
        demo::Options { rate: args.rate, seconds: args.seconds, json: args.json, admin: args.admin };
    let (json, admin) = (args.json, args.admin);
    let result = control_plane(demo::run(options, async move |router: &Router| {
        let admin = crate::desk::open(router, admin).await?;
        if !json {
            println!("a partner, a legacy gateway and a 2019 pool on loopback; status: http://{admin}/");
        }
        Ok(())
    }));
    match result {
        Ok(totals) => finish(json, &totals, |_, _| Ok(()), totals.is_good()),
        Err(error) => fail(json, &error),
    }
}

/// Waits for signals: HUP reloads, TERM and INT drain.
async fn until_stopped(router: &Router, file: Option<&Path>, format: LogFormat) -> ExitCode {
    let (Ok(mut hangup), Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::hangup()), signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return failed(format, "signals cannot be caught");
    };
    loop {
        tokio::select! {
            _ = hangup.recv() => reload(router, file).await,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!(
        event = "router.draining",
        "draining: no new connections; what was accepted is delivered or bounced"
    );
    let drained = tokio::select! {
        drained = router.drain() => drained,
        _ = terminate.recv() => return stopped_at_once(format),
        _ = interrupt.recv() => return stopped_at_once(format),
    };
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

/// Whoever asks twice does not want to wait.
fn stopped_at_once(format: LogFormat) -> ExitCode {
    failed(
        format,
        "stopped at once by a second signal; what was still held is lost, its senders were not told",
    )
}

async fn reload(router: &Router, file: Option<&Path>) {
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
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new(level));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(colour && format == LogFormat::Text)
        .with_target(false);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init()
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
