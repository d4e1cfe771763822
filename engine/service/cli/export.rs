//! `turnout export`: what other systems need to know of a configuration.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::import::write_new;
use super::{fail, finish, load};
use crate::migrate::powershell::{Part, Wanted, script};

/// Of `turnout export`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 complete, 1 something is missing, 2 wrong usage

Examples:
  turnout export powershell --config turnout.toml > attach.ps1")]
pub struct ExportArgs {
    /// For whom
    #[command(subcommand)]
    pub what: Export,
}

/// For whom.
#[derive(Debug, Subcommand)]
pub enum Export {
    /// The cmdlets that attach turnout to the 2019 pool and to the legacy gateway, and the way back
    Powershell(PowershellArgs),
}

/// Of `turnout export powershell`.
#[derive(Debug, Args)]
#[command(
    after_help = "The script is plain ASCII and may be run again: what is there already is left alone. It changes nothing by being printed.

Exit codes: 0 complete, 1 something is missing (named in the script as MISSING), 2 wrong usage

Examples:
  turnout export powershell --config turnout.toml > attach.ps1
  turnout export powershell --config turnout.toml --part pool --site HQ --output pool.ps1
  turnout export powershell --config turnout.toml --rollback --output detach.ps1
  turnout export powershell --config turnout.toml --json"
)]
pub struct PowershellArgs {
    /// The configuration; without it the embedded default
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Which cmdlets
    #[arg(long, value_enum, default_value_t = Part::All)]
    pub part: Part,
    /// Only the way back, ready to be run
    #[arg(long)]
    pub rollback: bool,
    /// Name by which the legacy Edge reaches home.NAME.listen; without it turnout's name at the 2019 pool
    #[arg(long, value_name = "FQDN")]
    pub proxy: Option<String>,
    /// SiteId of the 2019 pool's site, as Get-CsSite shows it; without it the script asks the topology
    #[arg(long, value_name = "SITEID")]
    pub site: Option<String>,
    /// Where to write the script, a file that is not there yet; without it standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print one JSON object: the script, whether it is complete, what is missing
    #[arg(long)]
    pub json: bool,
}

/// The result, as JSON has it.
#[derive(Serialize)]
struct Told<'a> {
    /// Nothing is missing.
    good: bool,
    script: &'a str,
    missing: &'a [String],
}

/// `turnout export`.
pub fn run_export(args: &ExportArgs, now: SystemTime) -> ExitCode {
    let Export::Powershell(args) = &args.what;
    let loaded = match load(args.config.as_deref(), now) {
        Ok(loaded) => loaded,
        Err(errors) => return fail(args.json, &errors.to_string()),
    };
    // The script has nothing of the secret in it.
    let world = match loaded.config.world(1, Arc::from([0_u8; 32].as_slice())) {
        Ok(world) => world,
        Err(errors) => return fail(args.json, &errors.to_string()),
    };
    let wanted = Wanted {
        part: args.part,
        rollback: args.rollback,
        proxy: args.proxy.as_deref(),
        site: args.site.as_deref(),
    };
    let made = script(&loaded.config, &world, &wanted);
    if let Some(path) = &args.output
        && let Err(what) = write_new(path, made.text.as_bytes())
    {
        return fail(args.json, &what);
    }
    let print = |out: &mut dyn Write, _: bool| {
        if args.output.is_none() {
            out.write_all(made.text.as_bytes())?;
            out.flush()?;
        }
        made.findings.iter().try_for_each(|what| writeln!(io::stderr(), "missing: {what}"))
    };
    let good = made.findings.is_empty();
    finish(args.json, &Told { good, script: &made.text, missing: &made.findings }, print, good)
}
