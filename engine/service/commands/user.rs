//! `turnout user`: lists, shows and moves users of a running router, and takes back what they hold with partners. Invariant: exit 0 when it is done, 1 when the router is not there,
//! does not know the user or refuses, 2 when the request itself is wrong.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use turnout_core::directory::LIST_MAX;
use turnout_core::limits::MOVE_USERS_MAX;

use super::http::{Client, Fault, encode};
use super::{Place, place};
use crate::admin::answers::{
    ForgottenAnswer, MoveRequest, MovedAnswer, Problem, UserAnswer, UserDetail, UsersAnswer,
};
use crate::cli::table;
use crate::log::escape;

mod batches;
mod detail;
#[cfg(test)]
mod tests;

/// Said where a move does not outlive the process.
const FORGOTTEN: &str = "a restart forgets this until the directory's source says the same: presence.store is not set, or cannot be written now";

/// Users asked for in one request of a listing.
const PAGE: usize = 1000;

/// `turnout user`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Exit codes: 0 done, 1 the router is not there, does not know the user or refuses, 2 wrong usage

Examples:
  turnout user list --prefix an --config turnout.toml
  turnout user show anna@contoso.com
  turnout user move --to sfb2019 anna@contoso.com
  turnout user move --to sfb2019 --file batch1.txt
  turnout user forget anna@contoso.com bob@partner.example --veto"
)]
pub struct UserArgs {
    /// The admin address of the running router, with https:// where it speaks TLS; without it the one in the configuration.
    #[arg(long, global = true, value_name = "ADDR")]
    pub admin: Option<String>,
    /// A file with a token, where the admin listener asks for one.
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Roots for the certificate of the admin listener, in place of the system's.
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The configuration to take that address from; without it 127.0.0.1:9280.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: UserCommand,
}

/// What to do with users.
#[derive(Clone, Debug, Subcommand)]
pub enum UserCommand {
    /// List users in the order of their addresses.
    #[command(
        after_help = "Exit codes: 0 done, 1 the router is not there, does not know the user or refuses, 2 wrong usage

Examples:
  turnout user list --prefix an --config turnout.toml
  turnout user list --limit 0 --json"
    )]
    List {
        /// Only those whose address starts with this.
        #[arg(long, default_value = "")]
        prefix: String,
        /// Only those after this address.
        #[arg(long)]
        after: Option<String>,
        /// How many at most; 0 is all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show one user: his place, his contacts, and what is open for him.
    #[command(
        after_help = "Exit codes: 0 done, 1 the router is not there, does not know the user or refuses, 2 wrong usage

Examples:
  turnout user show anna@contoso.com
  turnout user show anna@contoso.com --json"
    )]
    Show {
        /// The address.
        user: String,
    },
    /// End what holds between a local user and a partner's user, on both sides.
    #[command(
        after_help = "Exit codes: 0 done, 1 the router is not there, does not know the user or refuses, 2 wrong usage

Examples:
  turnout user forget anna@contoso.com bob@partner.example
  turnout user forget anna@contoso.com bob@partner.example --veto"
    )]
    Forget {
        /// The local user's address.
        user: String,
        /// The partner's user's address.
        partner: String,
        /// Only that the partner's user has refused: he may be asked again.
        #[arg(long)]
        veto: bool,
    },
    /// Move users to another home, in order and without loss.
    #[command(
        after_help = "Those of a file are moved in batches by the router itself, which goes on when the command is interrupted: GET /api/moves tells of it and
DELETE /api/moves/ID ends it after the batch that is under way.

Exit codes: 0 done, 1 the router is not there, does not know the user or refuses, 2 wrong usage

Examples:
  turnout user move --to sfb2019 anna@contoso.com
  turnout user move --to sfb2019 --file batch1.txt --batch 50
  turnout user move --to legacy --file - --json < batch1.txt"
    )]
    Move {
        /// The addresses.
        #[arg(required_unless_present = "file")]
        users: Vec<String>,
        /// The name of the new home, as in [home.NAME].
        #[arg(long = "to", value_name = "HOME")]
        home: String,
        /// A file with one address a line, "-" for standard input.
        #[arg(long, conflicts_with = "users")]
        file: Option<String>,
        /// With --file: users moved at a time, whose stanzas are held together; 100 unless said.
        #[arg(long, value_name = "N", requires = "file", conflicts_with = "users", value_parser = clap::value_parser!(u32).range(1..=1000))]
        batch: Option<u32>,
    },
}

impl UserArgs {
    /// Where to ask.
    ///
    /// # Errors
    /// The configuration named cannot be read.
    fn place(&self) -> Result<Place, String> {
        place(
            (self.admin.as_deref(), self.config.as_deref()),
            (self.token_file.as_deref(), self.ca.as_deref()),
        )
    }
}

/// Runs the command; returns the exit code. `columns` is the width of the terminal `out` is, where it is one.
pub async fn run(args: &UserArgs, columns: Option<u16>, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let client = match args.place().and_then(|place| Client::new(&place)) {
        Ok(client) => client,
        Err(error) => {
            complain(&Problem { error, hint: None }, args.json, err);
            return 2;
        }
    };
    let done = match &args.command {
        UserCommand::List { prefix, after, limit } => {
            list(&client, prefix, after.as_deref(), *limit, (args.json, columns), out).await
        }
        UserCommand::Show { user } => show(&client, user, args.json, out).await,
        UserCommand::Forget { user, partner, veto } => {
            forget(&client, user, partner, *veto, args.json, out).await
        }
        UserCommand::Move { users, home, file: None, .. } => {
            relocate(&client, users, home, args.json, out).await
        }
        UserCommand::Move { home, file: Some(file), batch, .. } => {
            batches::relocate(&client, file, home, *batch, args.json, out).await
        }
    };
    match done {
        Ok(()) => 0,
        Err(Stop::Output) => 1,
        Err(Stop::Fault(fault)) => {
            let code = if matches!(fault.status, Some(400 | 413 | 415)) { 2 } else { 1 };
            complain(&fault.problem, args.json, err);
            code
        }
        Err(Stop::Usage(error)) => {
            complain(&Problem { error, hint: None }, args.json, err);
            2
        }
    }
}

/// Why a command ends early.
enum Stop {
    /// The router.
    Fault(Fault),
    /// The arguments.
    Usage(String),
    /// Nobody reads what is printed any more.
    Output,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<std::io::Error> for Stop {
    fn from(_: std::io::Error) -> Self {
        Self::Output
    }
}

async fn list(
    client: &Client,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
    (json, columns): (bool, Option<u16>),
    out: &mut dyn Write,
) -> Result<(), Stop> {
    let mut left = if limit == 0 { usize::MAX } else { limit };
    let mut after = after.map(str::to_owned);
    let mut all = UsersAnswer { users: Vec::new(), next_after: None };
    while left > 0 {
        let mut path = format!("/api/users?prefix={}&limit={}", encode(prefix), left.min(PAGE).min(LIST_MAX));
        if let Some(after) = &after {
            path.push_str("&after=");
            path.push_str(&encode(after));
        }
        let page: UsersAnswer = client.get(&path).await?;
        left = left.saturating_sub(page.users.len());
        after.clone_from(&page.next_after);
        if json {
            all.users.extend(page.users);
        } else {
            show_page(&page.users, columns, out)?;
        }
        all.next_after = page.next_after;
        if after.is_none() {
            break;
        }
    }
    if json {
        return print(&all, out);
    }
    if let Some(after) = &all.next_after {
        writeln!(out, "there are more; go on with --after {after}")?;
    }
    Ok(())
}

async fn show(client: &Client, user: &str, json: bool, out: &mut dyn Write) -> Result<(), Stop> {
    let answer: UserDetail = client.get(&format!("/api/users/{}", encode(user))).await?;
    if json {
        return print(&answer, out);
    }
    writeln!(out, "{}", line(&answer.user))?;
    Ok(detail::write(&answer, out)?)
}

async fn forget(
    client: &Client,
    user: &str,
    partner: &str,
    veto: bool,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    let end = if veto { "/veto" } else { "" };
    let path = format!("/api/users/{}/contacts/{}{end}", encode(user), encode(partner));
    let answer: ForgottenAnswer = client.delete(&path).await?;
    if json {
        return print(&answer, out);
    }
    let (user, partner) = (escape(&answer.user), escape(&answer.was.partner));
    if veto {
        writeln!(out, "{user} may ask {partner} again")?;
    } else {
        writeln!(out, "{user} and {partner} have nothing to do with each other any more; it was:")?;
        detail::write_contacts(&[answer.was], out)?;
    }
    Ok(())
}

async fn relocate(
    client: &Client,
    users: &[String],
    home: &str,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    fit(users)?;
    let request = MoveRequest { user: None, users: Some(users.to_vec()), home: home.to_owned() };
    let moved: MovedAnswer = client.post("/api/users/move", &request).await?;
    if json {
        return print(&moved, out);
    }
    let late = if moved.in_time {
        ""
    } else {
        "; not all that was under way had arrived: is the old side slow or down?"
    };
    writeln!(out, "{} moved to {home}, their stanzas held for {} ms{late}", moved.users, moved.held_millis)?;
    if !moved.remembered {
        writeln!(out, "{FORGOTTEN}")?;
    }
    Ok(())
}

/// Whether they can be moved at once.
fn fit(users: &[String]) -> Result<(), Stop> {
    if users.is_empty() {
        return Err(Stop::Usage("there is nobody to move".to_owned()));
    }
    if users.len() > MOVE_USERS_MAX {
        let error = format!("{} users are too many; move at most {MOVE_USERS_MAX} at a time", users.len());
        return Err(Stop::Usage(error));
    }
    Ok(())
}

/// Users, in a table that fits the terminal; where there is none a line for each, for programs.
fn show_page(users: &[UserAnswer], columns: Option<u16>, out: &mut dyn Write) -> std::io::Result<()> {
    if columns.is_none() || users.is_empty() {
        return users.iter().try_for_each(|user| writeln!(out, "{}", line(user)));
    }
    let rows = users.iter().map(|user| vec![user.user.clone(), place_of(user), marks(user).join(", ")]);
    table::write(out, columns, &["user", "home", "remarks"], rows)
}

/// A user on one line.
fn line(user: &UserAnswer) -> String {
    let (place, marks) = (place_of(user), marks(user));
    let marks = if marks.is_empty() { String::new() } else { format!("  [{}]", marks.join(", ")) };
    format!("{}  {place}{marks}", user.user)
}

fn place_of(user: &UserAnswer) -> String {
    match (&user.home, &user.pool, user.residence.as_str()) {
        (Some(home), _, _) => home.clone(),
        (None, Some(pool), _) => format!("(pool {pool}, which no home names)"),
        (None, None, "cloud") => "(in the cloud)".to_owned(),
        (None, None, "branch") => "(on a branch appliance)".to_owned(),
        (None, None, _) => "(no pool)".to_owned(),
    }
}

/// What is not as usual with a user.
fn marks(user: &UserAnswer) -> Vec<String> {
    let mut marks = Vec::new();
    if user.changed {
        marks.push(match &user.source_says {
            Some(source) => format!("moved by hand, the source says {source}"),
            None => "moved by hand".to_owned(),
        });
    }
    if user.moving {
        marks.push("being moved by a server".to_owned());
    }
    for (on, mark) in [
        (user.enabled, "disabled"),
        (user.federation_enabled, "no federation"),
        (user.xmpp_enabled, "no XMPP"),
    ] {
        if !on {
            marks.push(mark.to_owned());
        }
    }
    marks
}

fn print(answer: &impl Serialize, out: &mut dyn Write) -> Result<(), Stop> {
    let text = serde_json::to_string(answer).map_err(|error| Stop::Usage(error.to_string()))?;
    Ok(writeln!(out, "{text}")?)
}

/// Tells what is wrong; where that cannot be told either, the exit code still says it.
fn complain(problem: &Problem, json: bool, err: &mut dyn Write) {
    let text = if json { serde_json::to_string(problem).unwrap_or_default() } else { text(problem) };
    drop(writeln!(err, "{text}"));
}

fn text(problem: &Problem) -> String {
    match &problem.hint {
        Some(hint) => format!("{}; {hint}", problem.error),
        None => problem.error.clone(),
    }
}
