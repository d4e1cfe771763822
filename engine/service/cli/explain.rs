//! `turnout explain`: the very function that routes, with its steps told.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use turnout_core::directory::{Directory, Overlay};
use turnout_core::home::Residence;
use turnout_core::io::Side;
use turnout_core::jid::Jid;
use turnout_core::refusal::{Bounce, Refusal};
use turnout_core::route::{self, Asked, Route, View};
use turnout_core::stanza::Kind;
use turnout_core::world::World;

use super::{ExplainArgs, GREEN, KindName, RED, load, painted};
use crate::directory::meter::Audience;
use crate::directory::source::Source;

/// One step of the decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The row of `docs/routing.md`.
    pub rule: &'static str,
    /// What it said.
    pub finding: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The sender, prepared.
    pub from: String,
    /// The recipient, prepared.
    pub to: String,
    /// The element: message, presence, iq.
    pub kind: &'static str,
    /// The side it would arrive on: `partners` or a home's name.
    pub arrives_from: String,
    /// What was looked at, in order.
    pub steps: Vec<Told>,
    /// Whether it would be passed on or answered: exit code 0.
    pub delivered: bool,
    /// `home`, `partner`, `own` or `refused`.
    pub decision: &'static str,
    /// The home's name, the partner's domain or the error condition.
    pub destination: String,
    /// The decision in words.
    pub text: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CannotExplain {
    /// The arguments are wrong.
    Usage(String),
    /// The configuration or the directory cannot be read.
    Finding(String),
}

/// Which way a stanza would go.
///
/// # Errors
/// [`CannotExplain`].
pub fn explain(args: &ExplainArgs, now: SystemTime) -> Result<Explained, CannotExplain> {
    let address = |name: &str, text: &str| {
        Jid::parse(text)
            .map_err(|error| CannotExplain::Usage(format!("{name} {text:?} is no address: {error}")))
    };
    let (from, to) = (address("FROM", &args.from)?, address("TO", &args.to)?);
    let kind = kind(args)?;
    let finding = |error: String| CannotExplain::Finding(error);
    let loaded = load(args.config.as_deref(), now).map_err(|errors| finding(errors.to_string()))?;
    let world = loaded
        .config
        .world(1, Arc::from([0_u8; 32].as_slice()))
        .map_err(|errors| finding(errors.to_string()))?;
    let (_, users) = Source::load(&loaded.config, Audience::Command).map_err(finding)?;
    let directory = Directory::new(users.snapshot, Arc::new(Overlay::new(0)));
    let side = side(args, &world, &directory, &from)?;
    let asked = Asked { side, kind, from: &from, to: &to, made: false, was_home: None };
    let (decision, steps) = route::explain(View { world: &world, directory: &directory }, &asked);
    let (name, destination, text) = worded(&world, &decision);
    Ok(Explained {
        from: from.as_str().to_owned(),
        to: to.as_str().to_owned(),
        kind: kind.element(),
        arrives_from: world.side_name(side).to_owned(),
        steps: steps.into_iter().map(|step| Told { rule: step.rule, finding: step.finding }).collect(),
        delivered: decision.is_ok(),
        decision: name,
        destination,
        text,
    })
}

impl Explained {
    pub(super) fn print(&self, out: &mut dyn Write, colour: bool) -> io::Result<()> {
        writeln!(
            out,
            "{} from {} to {}, arriving from {}",
            self.kind, self.from, self.to, self.arrives_from
        )?;
        for Told { rule, finding } in &self.steps {
            writeln!(out, "  {rule:<6} {finding}")?;
        }
        let code = if self.delivered { GREEN } else { RED };
        writeln!(out, "{}: {}", painted(self.decision, code, colour), self.text)
    }
}

fn kind(args: &ExplainArgs) -> Result<Kind, CannotExplain> {
    let given = args.stanza_type.as_deref();
    let kind = match args.kind {
        KindName::Message => Some(Kind::message(given.or(Some("chat")))),
        KindName::Presence => Kind::presence(given),
        KindName::Iq => Kind::iq(given.or(Some("get"))),
    };
    kind.ok_or_else(|| {
        CannotExplain::Usage(format!("--type {:?} is no type of that element", given.unwrap_or_default()))
    })
}

/// Where a stanza of this sender arrives.
fn side(args: &ExplainArgs, world: &World, directory: &Directory, from: &Jid) -> Result<Side, CannotExplain> {
    if let Some(name) = &args.via {
        let known = || world.homes.iter().map(|(_, home)| home.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = world.homes.by_name(name).map(|(id, _)| Side::Home(id));
        return found.ok_or_else(|| {
            CannotExplain::Usage(format!("--via {name:?} is none of the homes: {}", known()))
        });
    }
    if !world.domains.iter().any(|domain| domain.as_str() == from.domain()) {
        return Ok(Side::Partners);
    }
    let lives_on = directory.look_up(from.bare_str()).and_then(|user| match user.residence {
        Residence::Home(home) => Some(home),
        _ => None,
    });
    // A local sender without a home is refused whichever home he speaks through.
    let any = world.homes.iter().next().map(|(id, _)| id);
    lives_on.or(any).map(Side::Home).ok_or_else(|| CannotExplain::Finding("there are no homes".to_owned()))
}

fn worded(world: &World, decision: &Result<Route, Refusal>) -> (&'static str, String, String) {
    match decision {
        Ok(Route::Home(id)) => {
            let name = world.side_name(Side::Home(*id)).to_owned();
            let (backend, nodes) = world.homes.get(*id).map_or(("", String::new()), |home| {
                let nodes: Vec<String> = home.connect.iter().map(ToString::to_string).collect();
                (home.backend.as_str(), nodes.join(", "))
            });
            let text = format!("goes to home {name} over {backend}, by {nodes}");
            ("home", name, text)
        }
        Ok(Route::Partner { ours, theirs }) => {
            let proxy = world.policy.find(theirs.as_str()).and_then(|partner| partner.proxy);
            let way = proxy.map_or_else(|| "found by DNS".to_owned(), |proxy| format!("by {proxy}"));
            let text = format!("goes to partner {theirs} on the stream of {ours}, {way}");
            ("partner", theirs.as_str().to_owned(), text)
        }
        Ok(Route::Own) => ("own", "turnout".to_owned(), "is answered by the router itself".to_owned()),
        Err(refusal) => {
            let told = match refusal.bounce {
                Bounce::Yes => "the sender is told",
                Bounce::No => "the sender is not told",
            };
            ("refused", refusal.condition.as_str().to_owned(), format!("{refusal}; {told}"))
        }
    }
}
