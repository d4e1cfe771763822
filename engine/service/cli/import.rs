//! `turnout import`: exports of the old estate become configuration. Invariant: no file is overwritten.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{RED, YELLOW, fail, finish, painted};
use crate::migrate::{self, Finding, Imported, UserFiles, Weight};
use crate::progress::{Bar, Reading};

/// Of `turnout import`.
#[derive(Debug, Args)]
#[command(
    after_help = "The format is found out: CSV (Export-Csv), JSON (ConvertTo-Json) or CLIXML (Export-Clixml), in UTF-8, UTF-16 or ASCII.
The configuration goes to standard output, what could not be carried over also to standard error.

Exit codes: 0 all carried over, 1 something was not (it is named in the output), 2 wrong usage

Examples:
  turnout import partners partners.xml --output partners.toml
  turnout import gateway gateway.json
  turnout import users users.xml --csv users.csv --policies policies.csv --output directory.toml"
)]
pub struct ImportArgs {
    /// What the export holds
    #[command(subcommand)]
    pub what: Import,
}

/// What an export holds.
#[derive(Debug, Subcommand)]
pub enum Import {
    /// Get-CsUser, to [directory] and the CSV file it names
    #[command(
        after_help = "Exit codes: 0 all carried over, 1 something was not (it is named in the output), 2 wrong usage

Examples:
  turnout import users users.csv --policies policies.csv --output directory.toml
  turnout import users users.xml --csv users.csv --policies policies.csv --json"
    )]
    Users(UsersArgs),
    /// Get-CsXmppAllowedPartner, to [[partner]] tables
    #[command(
        after_help = "Exit codes: 0 all carried over, 1 something was not (it is named in the output), 2 wrong usage

Examples:
  turnout import partners partners.xml --output partners.toml
  turnout import partners partners.json --json"
    )]
    Partners(FileArgs),
    /// Get-CsXmppGatewayConfiguration, to [federation] and [presence]
    #[command(
        after_help = "Exit codes: 0 all carried over, 1 something was not (it is named in the output), 2 wrong usage

Examples:
  turnout import gateway gateway.json
  turnout import gateway gateway.xml --output gateway.toml"
    )]
    Gateway(FileArgs),
}

/// An export, and where the configuration goes.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// The export
    pub file: PathBuf,
    /// Where to write the configuration, a file that is not there yet; without it standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print one JSON object: the configuration, how many objects are in it, what is not
    #[arg(long)]
    pub json: bool,
}

/// Of `turnout import users`.
#[derive(Debug, Args)]
pub struct UsersArgs {
    /// The export, and where the configuration goes
    #[command(flatten)]
    pub common: FileArgs,
    /// Where to write the users as CSV, a file that is not there yet; needed where the export is JSON or CLIXML
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// An export of Get-CsExternalAccessPolicy, which says who may use XMPP
    #[arg(long, value_name = "FILE")]
    pub policies: Option<PathBuf>,
}

/// The result, as JSON has it.
#[derive(Debug, Serialize)]
struct Told<'a> {
    good: bool,
    #[serde(flatten)]
    imported: &'a Imported,
}

/// `turnout import`.
pub fn run_import(args: &ImportArgs) -> ExitCode {
    let (common, imported) = match &args.what {
        Import::Users(args) => (&args.common, import_users(args)),
        Import::Partners(args) => (args, import(args, migrate::partners)),
        Import::Gateway(args) => (args, import(args, migrate::gateway)),
    };
    let written = imported.and_then(|imported| match &common.output {
        Some(path) => write_new(path, imported.toml.as_bytes()).map(|()| imported),
        None => Ok(imported),
    });
    match written {
        Ok(imported) => told(common, &imported),
        Err(what) => fail(common.json, &what),
    }
}

fn told(args: &FileArgs, imported: &Imported) -> ExitCode {
    let result = Told { good: imported.good(), imported };
    let print = |out: &mut dyn Write, _: bool| {
        if args.output.is_none() {
            out.write_all(imported.toml.as_bytes())?;
            out.flush()?;
        }
        summary(imported)
    };
    finish(args.json, &result, print, imported.good())
}

/// What was not carried over, on standard error: standard output is configuration.
fn summary(imported: &Imported) -> io::Result<()> {
    let mut err = io::stderr().lock();
    let colour = io::IsTerminal::is_terminal(&err) && std::env::var_os("NO_COLOR").is_none();
    for finding in &imported.findings {
        let (word, code) = match finding.weight {
            Weight::Error => ("error", RED),
            Weight::Note => ("note", YELLOW),
        };
        writeln!(err, "{}: {finding}", painted(word, code, colour))?;
    }
    let of = |weight: Weight| {
        imported.findings.iter().filter(|finding: &&Finding| finding.weight == weight).count()
    };
    writeln!(
        err,
        "{} carried over; {} error(s), {} note(s)",
        imported.taken,
        of(Weight::Error),
        of(Weight::Note)
    )
}

fn import<F>(args: &FileArgs, with: F) -> Result<Imported, String>
where
    F: FnOnce(Reading<File>, &str) -> Result<Imported, crate::exports::ExportError>,
{
    let name = args.file.display().to_string();
    with(watched(args)?, &name).map_err(|error| format!("{name}: {error}"))
}

fn import_users(args: &UsersArgs) -> Result<Imported, String> {
    let access = match &args.policies {
        Some(path) => {
            let read = migrate::access(open(path)?);
            Some(read.map_err(|error| format!("{}: {error}", path.display()))?)
        }
        None => None,
    };
    let used = args.csv.as_deref().unwrap_or(&args.common.file);
    let csv_name =
        used.to_str().ok_or_else(|| format!("{} is no UTF-8; choose another name", used.display()))?;
    let mut rows = args.csv.as_deref().map(create).transpose()?;
    let files =
        UserFiles { name: &args.common.file.display().to_string(), access: access.as_ref(), csv_name };
    let check = || File::open(used).map(|file| Box::new(file) as Box<dyn Read>);
    let source = watched(&args.common)?;
    migrate::users(source, rows.as_mut().map(|rows| rows as &mut dyn Write), &files, check)
        .map_err(|error| format!("{}: {error}", args.common.file.display()))
}

fn open(path: &Path) -> Result<File, String> {
    File::open(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The export, with a bar that tells how much of it was read.
fn watched(args: &FileArgs) -> Result<Reading<File>, String> {
    let file = open(&args.file)?;
    // What has no length, such as a pipe, has no bar.
    let length = file.metadata().map_or(0, |about| about.len());
    Ok(Bar::of_bytes("reading", length, !args.json && length > 0).reading(file))
}

fn create(path: &Path) -> Result<File, String> {
    OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| {
        let hint =
            if error.kind() == io::ErrorKind::AlreadyExists { "; remove it, or name another" } else { "" };
        format!("{}: {error}{hint}", path.display())
    })
}

/// Writes a file that is not there yet.
pub(super) fn write_new(path: &Path, content: &[u8]) -> Result<(), String> {
    create(path)?.write_all(content).map_err(|error| format!("{}: {error}", path.display()))
}
