//! `turnout rehearse`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;

use super::{GREEN, RED, YELLOW, fail, finish, load, painted, table};
use crate::migrate::Weight;
use crate::migrate::rehearse::{Change, Effect, Exports, Fate, Group, Rehearsal, Turn, UserRow, rehearse};

/// Users of one kind that are listed without --all.
const USERS_LISTED_MAX: usize = 20;

/// Of `turnout rehearse`.
#[derive(Debug, Args)]
#[command(
    after_help = "A dry run against copies of the exports: which home each user gets, who gains and who loses XMPP, which settings of partners
would be tighter or looser or cannot be carried over, whether the legacy gateway has room for the streams. Nothing is written and
nobody is asked over the network. Exports may be CSV, JSON or CLIXML.

Exit codes: 0 nobody loses anything and nothing is looser, 1 something is (named at the end), 2 wrong usage

Examples:
  turnout rehearse --config turnout.toml --users users.csv --policies policies.csv --partners partners.xml --gateway gateway.xml
  turnout rehearse --config turnout.toml --users users.csv --policies policies.csv --all --json"
)]
pub struct RehearseArgs {
    /// The configuration that would run
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// An export of Get-CsUser; without it the file the configuration names
    #[arg(long, value_name = "FILE")]
    pub users: Option<PathBuf>,
    /// An export of Get-CsExternalAccessPolicy, which says who may use XMPP today
    #[arg(long, value_name = "FILE")]
    pub policies: Option<PathBuf>,
    /// An export of Get-CsXmppAllowedPartner, from before turnout was put in the path
    #[arg(long, value_name = "FILE")]
    pub partners: Option<PathBuf>,
    /// An export of Get-CsXmppGatewayConfiguration
    #[arg(long, value_name = "FILE")]
    pub gateway: Option<PathBuf>,
    /// List every user and every partner, also those for whom nothing changes
    #[arg(long)]
    pub all: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `turnout rehearse`.
pub fn run_rehearse(args: &RehearseArgs, now: SystemTime) -> ExitCode {
    let loaded = match load(Some(&args.config), now) {
        Ok(loaded) => loaded,
        Err(errors) => return fail(args.json, &errors.to_string()),
    };
    let exports = Exports {
        users: args.users.clone(),
        policies: args.policies.clone(),
        partners: args.partners.clone(),
        gateway: args.gateway.clone(),
    };
    match rehearse(&loaded.config, &exports, args.all) {
        Ok(told) => {
            let page = Page { columns: table::columns(), all: args.all };
            finish(args.json, &told, |out, colour| page.print(&told, out, colour), told.good)
        }
        Err(what) => fail(args.json, &what),
    }
}

/// Tells the users of one kind.
type Kind = fn(&UserRow) -> bool;

/// How it is printed.
struct Page {
    columns: Option<u16>,
    all: bool,
}

impl Page {
    fn print(&self, told: &Rehearsal, out: &mut dyn Write, colour: bool) -> io::Result<()> {
        writeln!(out, "{} user(s), by where they live:\n", told.users.total)?;
        let groups = told.users.groups.iter().map(|Group { place, keep, gain, lose, none }| {
            let mut row = vec![place.clone()];
            row.extend([keep, gain, lose, none].map(ToString::to_string));
            row
        });
        let head = ["home", "keep XMPP", "gain it", "lose it", "have none"];
        table::write(out, self.columns, &head, groups)?;
        self.users(told, out)?;
        self.partners(told, out)?;
        if !told.gateway.is_empty() {
            writeln!(out, "\nSettings of the gateway:\n")?;
            let rows = told.gateway.iter().map(|change| cells("", change).split_off(1));
            table::write(out, self.columns, &["setting", "today", "then", "is"], rows)?;
        }
        let rows =
            told.streams.iter().map(|of| vec![of.of.clone(), of.pairs.to_string(), of.allowed.to_string()]);
        writeln!(out, "\nStreams from turnout to the legacy gateway:\n")?;
        table::write(out, self.columns, &["of", "pairs of domains", "allowed"], rows)?;
        writeln!(out)?;
        for finding in &told.findings {
            let (word, code) = match finding.weight {
                Weight::Error => ("error", RED),
                Weight::Note => ("note", YELLOW),
            };
            writeln!(out, "{}: {}", painted(word, code, colour), crate::log::escape(&finding.to_string()))?;
        }
        if told.good {
            writeln!(
                out,
                "{}: nobody loses anything, and nothing is looser than today",
                painted("good", GREEN, colour)
            )?;
        }
        Ok(())
    }

    fn users(&self, told: &Rehearsal, out: &mut dyn Write) -> io::Result<()> {
        let kinds: [(&str, Kind); 4] = [
            ("lose XMPP", |row| row.turn == Turn::Loses),
            ("gain XMPP", |row| row.turn == Turn::Gains),
            ("have no home, and no XMPP today", |row| row.turn == Turn::None && row.home.is_none()),
            ("have none today and then, or keep it", |row| {
                row.turn == Turn::Keeps || (row.turn == Turn::None && row.home.is_some())
            }),
        ];
        for (what, of_kind) in kinds {
            let count = told.users.rows.iter().filter(|row| of_kind(row)).count();
            if count == 0 {
                continue;
            }
            let most = if self.all { usize::MAX } else { USERS_LISTED_MAX };
            let more = if count > most {
                format!(", the first {most} of them (--all, --json)")
            } else {
                String::new()
            };
            writeln!(out, "\n{count} user(s) {what}{more}:\n")?;
            let rows = told.users.rows.iter().filter(|row| of_kind(row)).take(most);
            let or_has = |why: &str| if why.is_empty() { "has it".to_owned() } else { why.to_owned() };
            let rows = rows
                .map(|row| vec![row.user.clone(), row.place.clone(), or_has(&row.today), or_has(&row.then)]);
            table::write(out, self.columns, &["user", "home", "today", "then"], rows)?;
        }
        Ok(())
    }

    fn partners(&self, told: &Rehearsal, out: &mut dyn Write) -> io::Result<()> {
        let same = told.partners.iter().filter(|row| row.fate == Fate::Same).count();
        if told.partners.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n{} partner(s), {same} of them as today:\n", told.partners.len())?;
        let mut rows = Vec::new();
        for row in told.partners.iter().filter(|row| self.all || row.fate != Fate::Same) {
            rows.extend(row.changes.iter().map(|change| cells(&row.partner, change)));
            let lost = row.lost_domains.iter().map(|domain| {
                vec![row.partner.clone(), "domain".into(), domain.clone(), "refused".into(), "lost".into()]
            });
            rows.extend(lost);
            if row.changes.is_empty() && row.lost_domains.is_empty() {
                let (nothing, fate) = (String::new(), row.fate.as_str().to_owned());
                rows.push(vec![row.partner.clone(), nothing.clone(), nothing.clone(), nothing, fate]);
            }
        }
        if rows.is_empty() {
            return writeln!(out, "nothing changes for any of them");
        }
        table::write(out, self.columns, &["partner", "setting", "today", "then", "is"], rows)
    }
}

fn cells(partner: &str, change: &Change) -> Vec<String> {
    let Change { setting, today, then, effect } = change;
    let effect = match effect {
        Effect::Other => "",
        effect => effect.as_str(),
    };
    vec![partner.to_owned(), (*setting).to_owned(), today.clone(), then.clone(), effect.to_owned()]
}
