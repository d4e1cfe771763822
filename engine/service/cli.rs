//! The command line: what can be asked, and the commands that need no running router.
//!
//! Exit codes: 0 good, 1 a finding, 2 wrong usage. `--json` on every command that prints a result gives one JSON object on standard
//! output. Colours only on a terminal.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::commands::selftest::SelftestArgs;
use crate::commands::user::UserArgs;
use crate::config::{Config, ConfigErrors};
use crate::dev_certs::{self, Trial};

mod check;
mod explain;
mod export;
mod import;
mod inside;
mod manual;
mod probe;
mod rehearse;
pub(crate) mod table;
mod token;

#[cfg(test)]
mod tests;

pub use check::{Checked, Finding, Severity, Summary, check};
pub use explain::{CannotExplain, Explained, Told, explain};
pub use export::{Export, ExportArgs, PowershellArgs, run_export};
pub use import::{FileArgs, Import, ImportArgs, UsersArgs, run_import};
pub use manual::{CompletionsArgs, ManArgs, run_completions, run_man};
pub(crate) use probe::stamp;
pub use probe::{ProbeArgs, run_probe};
pub use rehearse::{RehearseArgs, run_rehearse};
pub use token::{TokenArgs, run_token};

/// Routes federated XMPP stanzas, by user, to a legacy XMPP gateway or to a Skype for Business Server 2019 pool.
#[derive(Debug, Parser)]
#[command(name = "turnout", version, about, arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 good, 1 a finding, 2 wrong usage. Each command's --help has examples.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the router
    Run(RunArgs),
    /// Run a router with a simulated partner, legacy gateway and 2019 pool on loopback, with traffic, presence and moves
    Demo(DemoArgs),
    /// Check the configuration, the certificates and the directory
    Check(CheckArgs),
    /// Say which way a stanza would go, and why, step by step
    Explain(ExplainArgs),
    /// Make a private CA and certificates for trying things out
    DevCerts(DevCertsArgs),
    /// List, show and move users of a running router
    User(UserArgs),
    /// Make a token for the admin listener
    Token(TokenArgs),
    /// Find out why a partner cannot be reached: DNS, TCP, TLS, certificate, features, and a cure
    Probe(ProbeArgs),
    /// Send a message from a local user to a partner's user through a running router, step by step
    Selftest(SelftestArgs),
    /// Make configuration of exports: users, partners, gateway settings
    Import(ImportArgs),
    /// Compare the exports of the old estate with a configuration: what would change for each user and each partner
    Rehearse(RehearseArgs),
    /// Print what other systems need to know: the cmdlets for the Skype for Business estate
    Export(ExportArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Print or write the manual pages
    Man(ManArgs),
}

/// Of `turnout run`.
#[derive(Debug, Args)]
#[command(
    after_help = "SIGHUP reads configuration, certificates and directory anew; SIGTERM and SIGINT deliver or answer what was accepted, and end.
The log goes to standard error, one named event a line (docs/events.md); TURNOUT_LOG sets its level: warn, info, debug.
What is no level and no filter is wrong usage.

Exit codes: 0 stopped with nothing left, 1 it could not start or something was left, 2 wrong usage

Examples:
  turnout run --config /etc/turnout/turnout.toml
  turnout run --config turnout.toml --log-format json
  turnout run"
)]
pub struct RunArgs {
    /// The configuration; without it the embedded default runs on loopback with made certificates
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How the log is written: for people, or one JSON object a line
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Of `turnout demo`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 nothing was lost, overtaken or shown wrongly, 1 something was, 2 wrong usage

Examples:
  turnout demo
  turnout demo --seconds 20 --rate 5000 --json"
)]
pub struct DemoArgs {
    /// Messages a second
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub rate: u64,
    /// End after so many seconds; without it the demo runs until interrupted
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: Option<u64>,
    /// Where the dashboard and the API listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9280")]
    pub admin: SocketAddr,
    /// Obey lines on standard input: `down` cuts the partner off, `up` lets him back
    #[arg(long)]
    pub keys: bool,
    /// Print one JSON object at the end instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Of `turnout check`.
#[derive(Debug, Args)]
#[command(
    after_help = "Finds every mistake at once, with file, line, key and cure. Without --connect nobody is asked over the network.

Exit codes: 0 nothing is wrong (there may be warnings), 1 a finding, 2 wrong usage

Examples:
  turnout check --config turnout.toml
  turnout check --config turnout.toml --connect
  turnout check --config turnout.toml --json"
)]
pub struct CheckArgs {
    /// The configuration; without it the embedded default is checked with made certificates
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Look over the network too: DNS records of our domains, gateway and pool with TLS, certificates and OPTIONS, clocks
    #[arg(long, requires = "config")]
    pub connect: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Of `turnout explain`.
#[derive(Debug, Args)]
#[command(
    after_help = "Asks the function that routes, with the directory as it is in its file. Of a running router ask /api/explain.

Exit codes: 0 it would be delivered, 1 refused, 2 wrong usage

Examples:
  turnout explain --config turnout.toml bob@partner.example anna@contoso.com
  turnout explain --config turnout.toml anna@contoso.com bob@partner.example --via legacy
  turnout explain bob@partner.example carla@contoso.com --kind presence --type subscribe --json"
)]
pub struct ExplainArgs {
    /// The configuration; without it the embedded default
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The sender's address
    pub from: String,
    /// The recipient's address
    pub to: String,
    /// What is sent
    #[arg(long, value_enum, default_value_t = KindName::Message)]
    pub kind: KindName,
    /// The stanza's type, as in its `type` attribute: subscribe, groupchat, get …
    #[arg(long = "type", value_name = "TYPE")]
    pub stanza_type: Option<String>,
    /// The home a local sender speaks through; without it the one he lives on
    #[arg(long, value_name = "HOME")]
    pub via: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Stanza elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindName {
    /// `<message/>`, type chat unless said otherwise.
    Message,
    /// `<presence/>`, available unless said otherwise.
    Presence,
    /// `<iq/>`, type get unless said otherwise.
    Iq,
}

/// Of `turnout dev-certs`.
#[derive(Debug, Args)]
#[command(
    after_help = "For trying things out: nobody else trusts this authority, and its key lies beside the certificates.

Exit codes: 0 written, 1 not, 2 wrong usage

Examples:
  turnout dev-certs trial
  turnout dev-certs trial --name contoso.com --name partner.example"
)]
pub struct DevCertsArgs {
    /// Where to write; made if it is not there, and nothing in it is overwritten
    pub dir: PathBuf,
    /// A host or domain to make a certificate for; may be repeated. Without it: contoso.com, partner.example,
    /// gateway.contoso.com, turnout.contoso.com, pool2019.contoso.com, and three users
    #[arg(long = "name", value_name = "NAME")]
    pub names: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A finding.
const EXIT_FINDING: u8 = 1;

/// A configuration, with what keeps the files it names alive.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Where the embedded default's files are; hold it as long as they are needed.
    pub trial: Option<Trial>,
}

/// The configuration of a file, or the embedded default with certificates made for it.
///
/// # Errors
/// All mistakes found.
pub fn load(file: Option<&Path>, now: SystemTime) -> Result<Loaded, ConfigErrors> {
    if let Some(file) = file {
        return Ok(Loaded { config: Config::load(file)?, trial: None });
    }
    let trial = Trial::new(now).map_err(|error| {
        ConfigErrors::file(
            Path::new("(embedded default)"),
            format!("certificates cannot be made: {error}"),
            "give a configuration with --config",
        )
    })?;
    Ok(Loaded { config: Config::embedded(trial.path())?, trial: Some(trial) })
}

/// `turnout check`.
pub fn run_check(args: &CheckArgs, now: SystemTime) -> ExitCode {
    let checked = check(args.config.as_deref(), now);
    if args.connect {
        return inside::run(args, &checked, now);
    }
    let good = checked.good;
    finish(args.json, &checked, |out, colour| checked.print(out, colour), good)
}

/// `turnout explain`.
pub fn run_explain(args: &ExplainArgs, now: SystemTime) -> ExitCode {
    match explain(args, now) {
        Ok(explained) => {
            let good = explained.delivered;
            finish(args.json, &explained, |out, colour| explained.print(out, colour), good)
        }
        Err(CannotExplain::Usage(what)) => {
            eprintln!("error: {what}\n\nFor more information, try '--help'.");
            ExitCode::from(2)
        }
        Err(CannotExplain::Finding(what)) => fail(args.json, &what),
    }
}

/// `turnout dev-certs`.
pub fn run_dev_certs(args: &DevCertsArgs, now: SystemTime) -> ExitCode {
    match dev_certs::write(&args.dir, &args.names, now) {
        Ok(written) => {
            let print = |out: &mut dyn Write, _: bool| {
                written.files.iter().try_for_each(|file| writeln!(out, "{}", file.display()))
            };
            finish(args.json, &written, print, true)
        }
        Err(error) => fail(args.json, &error.to_string()),
    }
}

/// Says what went wrong and gives the exit code of a finding; with `json` as an object with one key, `error`, on standard output.
pub fn fail(json: bool, what: &str) -> ExitCode {
    let error = serde_json::json!({ "error": what });
    let print = |_: &mut dyn Write, _: bool| writeln!(io::stderr(), "error: {what}");
    finish(json, &error, print, false)
}

/// Prints a result as JSON or as text, and gives the exit code. A reader that went away is no error of ours.
pub fn finish(
    json: bool,
    result: &impl Serialize,
    print: impl FnOnce(&mut dyn Write, bool) -> io::Result<()>,
    good: bool,
) -> ExitCode {
    let mut out = io::stdout().lock();
    let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let printed = if json {
        serde_json::to_string_pretty(result)
            .map_err(io::Error::other)
            .and_then(|text| writeln!(out, "{text}"))
    } else {
        print(&mut out, colour)
    };
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: cannot write the result: {error}");
            ExitCode::from(EXIT_FINDING)
        }
        _ if good => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_FINDING),
    }
}

/// A word in a colour, where there are colours.
fn painted(word: &str, code: &str, colour: bool) -> String {
    if colour { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() }
}

const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";
