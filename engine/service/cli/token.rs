//! `turnout token`: makes a token for the admin listener. Invariant: the token is shown or written once and kept nowhere else; the file of
//! the router gets its sum alone.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{fail, finish};
use crate::access::{Role, make_token};

/// Of `turnout token`.
#[derive(Debug, Args)]
#[command(
    after_help = "After a reload it is good, and used so: turnout user list --token-file ~/.turnout-token

Exit codes: 0 made, 1 a file could not be written, 2 wrong usage

Examples:
  turnout token anna --role operate --tokens /etc/turnout/admin-tokens --out ~/.turnout-token
  turnout token prometheus --json"
)]
pub struct TokenArgs {
    /// Whose it is: it stands in the audit log beside every change
    pub name: String,
    /// What it may do
    #[arg(long, value_enum, default_value_t = Role::Read)]
    pub role: Role,
    /// The file of admin.tokens_file, to which its line is added; made if it is not there. Without it the line is printed
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,
    /// A new file for the token, which only its owner can read. Without it the token is printed
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What was made.
#[derive(Debug, Serialize)]
struct Made {
    name: String,
    role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<String>,
}

/// `turnout token`.
pub fn run_token(args: &TokenArgs) -> ExitCode {
    let (token, line) = match make_token(&args.name, args.role) {
        Ok(made) => made,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let write = |path: &Path, text: &str, add: bool| {
        let mut options = OpenOptions::new();
        // A token is never written over another.
        if add {
            options.append(true).create(true)
        } else {
            options.write(true).create_new(true)
        };
        let file = options.mode(0o600).open(path);
        file.and_then(|mut file| writeln!(file, "{text}"))
            .map_err(|error| format!("{}: {error}", path.display()))
    };
    let written = args.out.as_deref().map_or(Ok(()), |path| write(path, &token, false));
    let written =
        written.and_then(|()| args.tokens.as_deref().map_or(Ok(()), |path| write(path, &line, true)));
    if let Err(error) = written {
        return fail(args.json, &error);
    }
    let made = Made {
        name: args.name.clone(),
        role: args.role,
        token: args.out.is_none().then_some(token),
        line: args.tokens.is_none().then_some(line),
    };
    let print = |out: &mut dyn Write, _: bool| {
        if let Some(token) = &made.token {
            writeln!(out, "token, shown this once: {token}")?;
        }
        match &made.line {
            Some(line) => writeln!(out, "for admin.tokens_file:  {line}"),
            None => writeln!(out, "added to the file of tokens; a reload makes it good"),
        }
    };
    finish(args.json, &made, print, true)
}
