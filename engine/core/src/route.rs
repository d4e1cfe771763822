//! Which way a stanza goes. Invariant: [`route`] is pure: the same stanza head, configuration and directory give the same
//! answer, on the hot path, in `turnout explain` and in a test. The table as text is `docs/routing.md`.

use std::fmt;

use crate::directory::{Directory, User};
use crate::home::{HomeId, Residence};
use crate::io::Side;
use crate::jid::{Domain, Jid};
use crate::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use crate::run::{Head, Run};
use crate::stanza::{IqType, Kind, MessageType, PresenceType, Stanza};
use crate::tally::DropRule;
use crate::world::World;

/// The decision for one stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To the home of a local user.
    Home(HomeId),
    /// To a partner, on the stream from one of our domains to one of his.
    Partner {
        /// The local domain the stream speaks for.
        ours: Domain,
        /// The partner's domain.
        theirs: Domain,
    },
    /// To the router itself: a local domain without a user.
    Own,
}

/// What routing needs to know of a stanza.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The side it arrived on.
    pub side: Side,
    /// Element and type.
    pub kind: Kind,
    /// Sender.
    pub from: &'a Jid,
    /// Recipient.
    pub to: &'a Jid,
    /// The router made it: no policy is asked again.
    pub made: bool,
    /// The side on which the sender spoke until just now, if he is moving: still his for a grace time.
    pub was_home: Option<HomeId>,
}

impl<'a> Asked<'a> {
    /// The questions a stanza asks.
    pub fn of(stanza: &'a Stanza, was_home: Option<HomeId>) -> Self {
        Self {
            side: stanza.origin.side,
            kind: stanza.kind,
            from: &stanza.from,
            to: &stanza.to,
            made: stanza.made,
            was_home,
        }
    }
}

/// Everything a decision may look at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The configuration.
    pub world: &'a World,
    /// The users.
    pub directory: &'a Directory,
}

/// One step of a decision, for `turnout explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The row of `docs/routing.md` that was looked at.
    pub rule: &'static str,
    /// What it said.
    pub finding: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12} {}", self.rule, self.finding)
    }
}

/// Decides where a stanza goes. `step` is told each finding; pass `&mut |_, _| ()` where nobody reads along: the texts are only
/// made when asked for.
///
/// # Errors
/// The refusal, whose `bounce` says whether the sender is told.
pub fn route(view: View<'_>, asked: &Asked<'_>, step: &mut Steps<'_>) -> Result<Route, Refusal> {
    if asked.made {
        return route_made(view, asked, step);
    }
    match asked.side {
        Side::Partners => from_partner(view, asked, step),
        Side::Home(home) => from_home(view, home, asked, step),
    }
}

/// Where one stanza of a run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// [`Route::Home`].
    Home(HomeId),
    /// [`Route::Partner`], between the two domains of the run.
    Partner,
    /// It takes [`route`] to say, and a stanza that travels alone.
    Alone,
    /// It has gone its way.
    Gone,
}

/// Decides for all stanzas of a run, `ways` in their order. Never says anything else than [`route`] would of each, but says
/// `Alone` of any that is refused. `found` is room for the look-ups.
pub fn route_run(view: View<'_>, run: &Run, found: &mut Vec<Option<User>>, ways: &mut Vec<Way>) {
    let world = view.world;
    let local = |domain: &Domain| world.domains.contains(domain);
    ways.clear();
    let (allowed, users_domain) = match run.side {
        Side::Partners => (local(&run.to) && world.policy.find(run.from.as_str()).is_some(), &run.to),
        Side::Home(_) => {
            let allowed = local(&run.from) && !local(&run.to) && world.policy.find(run.to.as_str()).is_some();
            (allowed, &run.from)
        }
    };
    if !allowed {
        ways.resize(run.len(), Way::Alone);
        return;
    }
    let bare = |head: &Head| match run.side {
        Side::Partners => run.text(head.to.bare()),
        Side::Home(_) => run.text(head.from.bare()),
    };
    view.directory.look_up_all(users_domain.as_str(), run.left().iter().map(bare), found);
    ways.extend(found.iter().map(|user| {
        match (user.filter(User::may_federate).map(|user| user.residence), run.side) {
            (Some(Residence::Home(home)), Side::Partners) => Way::Home(home),
            (Some(Residence::Home(home)), Side::Home(from)) if home == from => Way::Partner,
            _ => Way::Alone,
        }
    }));
}

/// Receives the steps of a decision: the rule, and a closure that words the finding.
pub type Steps<'a> = dyn FnMut(&'static str, &dyn Fn() -> String) + 'a;

/// Decides and keeps every step.
pub fn explain(view: View<'_>, asked: &Asked<'_>) -> (Result<Route, Refusal>, Vec<Step>) {
    let mut steps = Vec::new();
    let decision = route(view, asked, &mut |rule, finding| steps.push(Step { rule, finding: finding() }));
    (decision, steps)
}

/// By which rule a stanza of this kind is dropped without a word when it cannot be delivered; `None` when its sender is told.
pub fn unanswerable(kind: Kind) -> Option<DropRule> {
    match kind {
        kind if kind.is_error() => Some(DropRule::ErrorUnanswered),
        Kind::Iq(IqType::Result) => Some(DropRule::ResultUnanswered),
        Kind::Presence(PresenceType::Subscribe) => None,
        Kind::Presence(_) => Some(DropRule::PresenceUnanswered),
        Kind::Message(MessageType::Headline) => Some(DropRule::HeadlineUnanswered),
        Kind::Message(_) | Kind::Iq(_) => None,
    }
}

/// Rows P-1 to P-6.
fn from_partner(view: View<'_>, asked: &Asked<'_>, step: &mut Steps<'_>) -> Result<Route, Refusal> {
    let world = view.world;
    if !world.domains.iter().any(|domain| domain.as_str() == asked.to.domain()) {
        step("P-1", &|| format!("{} is no local domain: nothing is relayed", asked.to.domain()));
        return Err(refused(Condition::NotAllowed, Blame::Sender, "this server does not relay"));
    }
    step("P-1", &|| format!("{} is a local domain", asked.to.domain()));
    let Some(partner) = world.policy.find(asked.from.domain()) else {
        step("P-2", &|| format!("{} is no allowed partner; add a [[partner]] for it", asked.from.domain()));
        return Err(refused(
            Condition::Forbidden,
            Blame::Sender,
            "your domain is not federated with this one",
        ));
    };
    step("P-2", &|| match partner.primary_domain {
        Some(domain) => {
            format!("{} belongs to partner {domain}, type {}", asked.from.domain(), partner.kind.as_str())
        }
        None => format!("{} is not listed and allowed by unlisted_partners", asked.from.domain()),
    });
    if asked.to.local().is_none() {
        step("P-3", &|| "no user is named: the router answers itself".to_owned());
        return Ok(Route::Own);
    }
    let user = view.directory.look_up(asked.to.bare_str());
    step("P-4", &|| describe(world, asked.to.bare_str(), user.as_ref()));
    let user = decided(gated(user, asked.to.bare_str()), "P-5", step)?;
    step("P-5", &|| "enabled, may federate, may use XMPP".to_owned());
    let home = decided(homed(&user, asked.to.bare_str()), "P-6", step)?;
    step("P-6", &|| format!("goes to home {}", world.side_name(Side::Home(home))));
    Ok(Route::Home(home))
}

/// Rows H-1 to H-4.
fn from_home(
    view: View<'_>,
    home: HomeId,
    asked: &Asked<'_>,
    step: &mut Steps<'_>,
) -> Result<Route, Refusal> {
    let world = view.world;
    if !world.domains.iter().any(|domain| domain.as_str() == asked.from.domain()) {
        step("H-1", &|| {
            format!("{} is no local domain: a home speaks for local users alone", asked.from.domain())
        });
        return Err(refused(Condition::NotAllowed, Blame::NextHop, "the sender is not a local user"));
    }
    step("H-1", &|| format!("{} is a local domain", asked.from.domain()));
    if asked.from.local().is_some() {
        let user = view.directory.look_up(asked.from.bare_str());
        step("H-2", &|| describe(world, asked.from.bare_str(), user.as_ref()));
        let user = gated(user, asked.from.bare_str()).map_err(|refusal| Refusal {
            condition: Condition::Forbidden,
            error_type: Condition::Forbidden.usual_type(),
            text: "you may not write to XMPP partners".into(),
            ..refusal
        })?;
        let lives_here = user.residence == Residence::Home(home) || asked.was_home == Some(home);
        if !lives_here {
            step("H-3", &|| {
                format!("and does not live on {}, from where this came", world.side_name(Side::Home(home)))
            });
            return Err(refused(
                Condition::NotAllowed,
                Blame::NextHop,
                "the sender does not live on this server",
            )
            .with_detail(format!(
                "{} spoke through home {} and lives elsewhere; move him in the directory or on the server",
                asked.from.bare_str(),
                world.side_name(Side::Home(home))
            )));
        }
        step("H-3", &|| format!("and lives on {}", world.side_name(Side::Home(home))));
    }
    if world.policy.find(asked.to.domain()).is_none()
        || world.domains.iter().any(|d| d.as_str() == asked.to.domain())
    {
        step("H-4", &|| format!("{} is no allowed partner; add a [[partner]] for it", asked.to.domain()));
        return Err(refused(
            Condition::RemoteServerNotFound,
            Blame::Sender,
            "this domain is not federated with yours",
        ));
    }
    step("H-4", &|| format!("goes to partner {}", asked.to.domain()));
    Ok(Route::Partner { ours: Domain::from(asked.from), theirs: Domain::from(asked.to) })
}

/// Row M-1: answers and bounces go back where the stanza they answer came from.
fn route_made(view: View<'_>, asked: &Asked<'_>, step: &mut Steps<'_>) -> Result<Route, Refusal> {
    if !view.world.domains.iter().any(|domain| domain.as_str() == asked.to.domain()) {
        step("M-1", &|| "made here, goes to the partner".to_owned());
        return Ok(Route::Partner { ours: Domain::from(asked.from), theirs: Domain::from(asked.to) });
    }
    step("M-1", &|| "made here, goes to the user's home".to_owned());
    match view.directory.look_up(asked.to.bare_str()).map(|user| user.residence) {
        Some(Residence::Home(home)) => Ok(Route::Home(home)),
        _ => Err(refused(Condition::ServiceUnavailable, Blame::Router, "no such user")),
    }
}

/// Tells the row by which a stanza is refused, so that the last step told is always the one that decided.
fn decided<T>(decision: Result<T, Refusal>, rule: &'static str, step: &mut Steps<'_>) -> Result<T, Refusal> {
    if let Err(refusal) = &decision {
        step(rule, &|| refusal.detail.as_deref().unwrap_or(&refusal.text).to_owned());
    }
    decision
}

/// Row P-5: requirement 34. To the sender every closed gate looks like an unknown user, so that nobody can list users.
fn gated(user: Option<User>, bare: &str) -> Result<User, Refusal> {
    let why = match &user {
        None => "is not in the directory",
        Some(user) if !user.enabled => "is disabled (Enabled is False)",
        Some(user) if !user.federation_enabled => "may not federate (EnabledForFederation is False)",
        Some(user) if !user.xmpp_enabled => {
            "may not use XMPP (EnableXmppAccess of the external access policy is False)"
        }
        Some(user) => return Ok(*user),
    };
    Err(unknown_user(format!("{bare} {why}")))
}

/// Row P-6: requirements 1 and 6.
fn homed(user: &User, bare: &str) -> Result<HomeId, Refusal> {
    let why = match user.residence {
        Residence::Home(home) => return Ok(home),
        Residence::Cloud => "is hosted in the cloud; no home reaches him",
        Residence::Unassigned => "has no registrar pool",
        Residence::Branch => "is on a survivable branch appliance, which the legacy gateway does not serve",
        Residence::UnknownPool(_) => {
            "is on a registrar pool that no [home.*] names; add it to registrar_pools"
        }
    };
    Err(unknown_user(format!("{bare} {why}")))
}

/// One answer for every user that cannot be reached, whatever the reason (requirement 30, XR-09).
pub fn unknown_user(detail: String) -> Refusal {
    refused(Condition::ServiceUnavailable, Blame::Recipient, "the user cannot be reached").with_detail(detail)
}

fn refused(condition: Condition, blame: Blame, text: &'static str) -> Refusal {
    Refusal::new(condition, blame, Retry::Never, Bounce::Yes, text)
}

fn describe(world: &World, bare: &str, user: Option<&User>) -> String {
    let Some(user) = user else { return format!("{bare} is not in the directory") };
    let place = match user.residence {
        Residence::Home(home) => format!("lives on home {}", world.side_name(Side::Home(home))),
        Residence::Cloud => "is hosted in the cloud".to_owned(),
        Residence::Unassigned => "has no pool".to_owned(),
        Residence::Branch => "is on a survivable branch appliance".to_owned(),
        Residence::UnknownPool(_) => "is on a pool no home names".to_owned(),
    };
    let mark = |on: bool| if on { "yes" } else { "no" };
    format!(
        "{bare} {place}{}; enabled {}, federation {}, XMPP {}",
        if user.moving { " and is being moved by a server" } else { "" },
        mark(user.enabled),
        mark(user.federation_enabled),
        mark(user.xmpp_enabled)
    )
}
