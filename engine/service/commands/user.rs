//! `turnout user`: lists, shows and moves users of a running router, and takes back what they hold with partners. Invariant: exit 0 when it is done, 1 when the router is not there,
//! does not know the user or refuses, 2 when the request itself is wrong.

use std::io::{BufRead, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use turnout_core::directory::LIST_MAX;
use turnout_core::limits::MOVE_USERS_MAX;

use super::http::{Client, Fault, encode};
use crate::admin::answers::{
    ForgottenAnswer, MoveRequest, MovedAnswer, Problem, UserAnswer, UserDetail, UsersAnswer,
};
use crate::config::Config;
use crate::log::escape;

mod detail;
#[cfg(test)]
mod tests;

/// Users asked for in one request of a listing.
const PAGE: usize = 1000;

/// `turnout user`.
#[derive(Args, Clone, Debug)]
pub struct UserArgs {
    /// The admin address of the running router; without it the one in the configuration.
    #[arg(long, global = true, value_name = "ADDR")]
    pub admin: Option<String>,
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
    Show {
        /// The address.
        user: String,
    },
    /// End what holds between a local user and a partner's user, on both sides.
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
    },
}

/// Where a router listens that was told nothing else.
const ADMIN: &str = "127.0.0.1:9280";

impl UserArgs {
    /// Where to ask.
    ///
    /// # Errors
    /// The configuration named cannot be read.
    fn address(&self) -> Result<String, String> {
        match (&self.admin, &self.config) {
            (Some(address), _) => Ok(address.clone()),
            (None, Some(file)) => match Config::load(file) {
                Ok(config) => Ok(config.admin_listen.to_string()),
                Err(errors) => Err(errors.to_string()),
            },
            (None, None) => Ok(ADMIN.to_owned()),
        }
    }
}

/// Runs the command; returns the exit code.
pub async fn run(args: &UserArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let address = match args.address() {
        Ok(address) => address,
        Err(error) => {
            complain(&Problem { error, hint: None }, args.json, err);
            return 2;
        }
    };
    let client = Client::new(&address);
    let done = match &args.command {
        UserCommand::List { prefix, after, limit } => {
            list(&client, prefix, after.as_deref(), *limit, args.json, out).await
        }
        UserCommand::Show { user } => show(&client, user, args.json, out).await,
        UserCommand::Forget { user, partner, veto } => {
            forget(&client, user, partner, *veto, args.json, out).await
        }
        UserCommand::Move { users, home, file } => {
            relocate(&client, users, file.as_deref(), home, args.json, out).await
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
    json: bool,
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
            page.users.iter().try_for_each(|user| writeln!(out, "{}", line(user)))?;
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
    file: Option<&str>,
    home: &str,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    let users = match file {
        Some(file) => read(file).map_err(|error| Stop::Usage(format!("{file}: {error}")))?,
        None => users.to_vec(),
    };
    if users.is_empty() {
        return Err(Stop::Usage("there is nobody to move".to_owned()));
    }
    if users.len() > MOVE_USERS_MAX {
        let error = format!("{} users are too many; move at most {MOVE_USERS_MAX} at a time", users.len());
        return Err(Stop::Usage(error));
    }
    let request = MoveRequest { user: None, users: Some(users), home: home.to_owned() };
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
        writeln!(
            out,
            "a restart forgets this until the directory's source says the same: presence.store is not set, or cannot be written now"
        )?;
    }
    Ok(())
}

/// The addresses in a file; empty lines and lines that begin with # do not count.
fn read(file: &str) -> std::io::Result<Vec<String>> {
    let lines: Box<dyn BufRead> = match file {
        "-" => Box::new(std::io::stdin().lock()),
        file => Box::new(std::io::BufReader::new(std::fs::File::open(file)?)),
    };
    let mut users = Vec::new();
    // One more than can be moved is enough to say that there are too many.
    for line in lines.lines() {
        let line = line?;
        let line = line.trim_start_matches('\u{feff}').trim();
        if !line.is_empty() && !line.starts_with('#') {
            users.push(line.to_owned());
        }
        if users.len() > MOVE_USERS_MAX {
            break;
        }
    }
    Ok(users)
}

/// A user on one line.
fn line(user: &UserAnswer) -> String {
    let place = match (&user.home, &user.pool, user.residence.as_str()) {
        (Some(home), _, _) => home.clone(),
        (None, Some(pool), _) => format!("(pool {pool}, which no home names)"),
        (None, None, "cloud") => "(in the cloud)".to_owned(),
        (None, None, "branch") => "(on a branch appliance)".to_owned(),
        (None, None, _) => "(no pool)".to_owned(),
    };
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
    let marks = if marks.is_empty() { String::new() } else { format!("  [{}]", marks.join(", ")) };
    format!("{}  {place}{marks}", user.user)
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
