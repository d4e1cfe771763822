//! `turnout probe`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use turnout_core::jid::Domain;

use super::{GREEN, RED, YELLOW, fail, finish, load, painted};
use crate::probe::{Asked, Diagnosis, Outcome, Report, Step, probe};

/// Of `turnout probe`.
#[derive(Debug, Args)]
#[command(
    after_help = "Goes the way the router goes: policy, DNS (both SRV sets), every address, stream, TLS, certificate, EXTERNAL, dialback.
No message is sent. With --config the policy holds and our certificate is shown; without it only what anybody can see is looked at.

Exit codes: 0 nothing wrong, 1 a finding, 2 wrong usage

Examples:
  turnout probe partner.example --config turnout.toml
  turnout probe partner.example --config turnout.toml --from fabrikam.com --json
  turnout probe partner.example --running
  turnout probe jabber.org"
)]
pub struct ProbeArgs {
    /// The partner's domain
    pub partner: String,
    /// The configuration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The local domain in whose name; without it the first of the configuration
    #[arg(long, value_name = "DOMAIN")]
    pub from: Option<String>,
    /// Have the running router do it, which also sends a ping over its own stream and waits for the answer
    #[arg(long)]
    pub running: bool,
    /// The admin address of that router, with https:// where it speaks TLS; without it the one in the configuration, or 127.0.0.1:9280
    #[arg(long, value_name = "ADDR", requires = "running")]
    pub admin: Option<String>,
    /// A file with a token, where the admin listener asks for one
    #[arg(long, value_name = "FILE", requires = "running")]
    pub token_file: Option<PathBuf>,
    /// Roots for the certificate of the admin listener, in place of the system's
    #[arg(long, value_name = "FILE", requires = "running")]
    pub ca: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `turnout probe`.
pub fn run_probe(args: &ProbeArgs, now: SystemTime) -> ExitCode {
    let partner = match Domain::parse(&args.partner) {
        Ok(partner) => partner,
        Err(error) => return usage(&format!("PARTNER {:?} is no domain: {error}", args.partner)),
    };
    if args.running {
        return run_running(args);
    }
    let loaded = match load(args.config.as_deref(), now) {
        Ok(loaded) => loaded,
        Err(errors) => return fail(args.json, &errors.to_string()),
    };
    let own = args.config.is_some();
    let from = match &args.from {
        None => loaded.config.domains.first().cloned(),
        Some(name) => match Domain::parse(name) {
            Ok(from) if !own || loaded.config.domains.contains(&from) => Some(from),
            Ok(from) => return usage(&format!("--from {from} is none of the local domains")),
            Err(error) => return usage(&format!("--from {name:?} is no domain: {error}")),
        },
    };
    let Some(from) = from else { return fail(args.json, "there is no local domain") };
    if loaded.config.domains.contains(&partner) && own {
        return usage(&format!("{partner} is one of the local domains, not a partner"));
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(args.json, &format!("no runtime: {error}")),
    };
    let asked = Asked { config: &loaded.config, own, partner: &partner, from: &from, now };
    let mut tell = |step: &Step| {
        if !args.json {
            // That nobody reads any more shows again at the end.
            drop(show(step));
        }
    };
    match runtime.block_on(probe(asked, &mut tell)) {
        Ok(report) => finish(args.json, &report, |out, colour| end(&report, out, colour), report.good),
        Err(what) => fail(args.json, &what),
    }
}

/// Has the running router go the way.
fn run_running(args: &ProbeArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(args.json, &format!("no runtime: {error}")),
    };
    let asked = crate::commands::probe::ask(
        (args.admin.as_deref(), args.config.as_deref()),
        (args.token_file.as_deref(), args.ca.as_deref()),
        &args.partner,
        args.from.as_deref(),
    );
    match runtime.block_on(asked) {
        Ok(report) => {
            if !args.json {
                // That nobody reads any more shows again at the end.
                report.steps.iter().for_each(|step| drop(show(step)));
            }
            finish(args.json, &report, |out, colour| end(&report, out, colour), report.good)
        }
        Err((2, what)) => usage(&what),
        Err((_, what)) => fail(args.json, &what),
    }
}

/// A step, as soon as it is over.
pub(super) fn show(step: &Step) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let colour = io::IsTerminal::is_terminal(&out) && std::env::var_os("NO_COLOR").is_none();
    writeln!(out, "{} {step}", stamp(step.outcome, colour))?;
    out.flush()
}

/// How a step ended, as the first word of its line.
pub(crate) fn stamp(outcome: Outcome, colour: bool) -> String {
    let (word, code) = match outcome {
        Outcome::Good => ("ok  ", GREEN),
        Outcome::Note => ("note", YELLOW),
        Outcome::Bad => ("bad ", RED),
        Outcome::Skipped => ("-   ", "2"),
    };
    painted(word, code, colour)
}

fn end(report: &Report, out: &mut dyn Write, colour: bool) -> io::Result<()> {
    writeln!(out)?;
    if report.diagnosis.is_empty() {
        let word = if report.good { painted("good", GREEN, colour) } else { painted("bad", RED, colour) };
        return writeln!(out, "{word}: nothing stands between {} and {}", report.from, report.partner);
    }
    end_of(&report.diagnosis, report.good, out, colour)
}

/// Diagnoses with their cures.
pub(super) fn end_of(
    diagnosis: &[Diagnosis],
    good: bool,
    out: &mut dyn Write,
    colour: bool,
) -> io::Result<()> {
    for diagnosis in diagnosis {
        let code = if good { YELLOW } else { RED };
        writeln!(out, "{}: {}", painted("diagnosis", code, colour), diagnosis.what)?;
        writeln!(out, "     cure: {}", diagnosis.cure)?;
    }
    Ok(())
}

fn usage(what: &str) -> ExitCode {
    eprintln!("error: {what}\n\nFor more information, try '--help'.");
    ExitCode::from(2)
}
