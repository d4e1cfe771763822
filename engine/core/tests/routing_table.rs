//! `docs/routing.md` held against `route()`: every row of its tables is made to happen and compared.

#![allow(clippy::unwrap_used, reason = "a test stops where something is not as it should be")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use turnout_core::directory::{Directory, Overlay, Snapshot, SnapshotBuilder, User};
use turnout_core::home::{BackendKind, Dialect, Home, HomeId, Homes, HostPort, Residence};
use turnout_core::io::{LinkId, Side};
use turnout_core::jid::{Domain, Jid};
use turnout_core::policy::{GatewayLimits, Partner, PartnerDefaults, Policy, Unlisted};
use turnout_core::refusal::Refusal;
use turnout_core::route::{Asked, Route, View, Way, explain, route, route_run, unanswerable};
use turnout_core::run::{Address, Head, Run};
use turnout_core::stanza::{IqType, Kind, MessageType, Payload, PresenceType};
use turnout_core::tally::DropRule;
use turnout_core::world::World;

const DOC: &str = include_str!("../../../docs/routing.md");
const SOURCE: &str = include_str!("../src/route.rs");

const LEGACY: HomeId = HomeId(0);
const MODERN: HomeId = HomeId(1);
const CHAT: Kind = Kind::Message(MessageType::Chat);

/// A case of the document, made to happen.
struct Situation {
    case: &'static str,
    side: Side,
    from: &'static str,
    to: &'static str,
    made: bool,
    was_home: Option<HomeId>,
    unlisted: Unlisted,
}

const fn at(side: Side, case: &'static str, from: &'static str, to: &'static str) -> Situation {
    Situation { case, side, from, to, made: false, was_home: None, unlisted: Unlisted::Refuse }
}

const fn outside(case: &'static str, from: &'static str, to: &'static str) -> Situation {
    at(Side::Partners, case, from, to)
}

const fn inside(home: HomeId, case: &'static str, from: &'static str, to: &'static str) -> Situation {
    at(Side::Home(home), case, from, to)
}

const fn made(case: &'static str, from: &'static str, to: &'static str) -> Situation {
    Situation { made: true, ..at(Side::Partners, case, from, to) }
}

const BOB: &str = "bob@partner.example";
const ANNA: &str = "anna@contoso.com";
const CARLA: &str = "carla@contoso.com";

const SITUATIONS: &[Situation] = &[
    outside("relay", BOB, "eve@elsewhere.example"),
    outside("unknown-partner", "eve@elsewhere.example", CARLA),
    outside("subdomain-of-partner", "bob@sub.partner.example", CARLA),
    outside("domain-itself", BOB, "contoso.com"),
    outside("nobody", BOB, "nobody@contoso.com"),
    outside("disabled", BOB, "disabled@contoso.com"),
    outside("no-federation", BOB, "no-federation@contoso.com"),
    outside("no-xmpp", BOB, "no-xmpp@contoso.com"),
    outside("in-the-cloud", BOB, "cloud@contoso.com"),
    outside("no-pool", BOB, "unassigned@contoso.com"),
    outside("branch-appliance", BOB, "branch@contoso.com"),
    outside("unnamed-pool", BOB, "elsewhere@contoso.com"),
    outside("legacy-user", BOB, ANNA),
    outside("modern-user", "bob@partner.example/phone", "carla@contoso.com/desk"),
    outside("additional-domain", "bob@chat.partner.example", CARLA),
    Situation { unlisted: Unlisted::Allow, ..outside("unlisted-allowed", "eve@elsewhere.example", CARLA) },
    inside(LEGACY, "foreign-sender", "eve@elsewhere.example", BOB),
    inside(LEGACY, "nobody-writes", "nobody@contoso.com", BOB),
    inside(MODERN, "disabled-writes", "disabled@contoso.com", BOB),
    inside(MODERN, "no-federation-writes", "no-federation@contoso.com", BOB),
    inside(MODERN, "no-xmpp-writes", "no-xmpp@contoso.com", BOB),
    inside(LEGACY, "wrong-home", CARLA, BOB),
    Situation { was_home: Some(LEGACY), ..inside(LEGACY, "moved-just-now", CARLA, BOB) },
    inside(MODERN, "to-unknown-partner", CARLA, "eve@elsewhere.example"),
    inside(MODERN, "to-ourselves", CARLA, ANNA),
    inside(LEGACY, "legacy-writes", ANNA, BOB),
    inside(MODERN, "modern-writes", CARLA, BOB),
    inside(LEGACY, "domain-writes", "contoso.com", BOB),
    made("made-for-partner", ANNA, BOB),
    made("made-for-user", BOB, ANNA),
    made("made-for-nobody", BOB, "nobody@contoso.com"),
];

fn world(unlisted: Unlisted) -> World {
    let home = |name: &str, backend, pool: &str| Home {
        name: name.to_owned(),
        backend,
        dialect: Dialect::Skype,
        registrar_pools: vec![pool.to_owned()],
        connect: vec![HostPort { host: pool.to_owned(), port: 5061 }],
    };
    let homes = vec![
        home("legacy", BackendKind::Xmpp, "sfb2015.contoso.com"),
        home("sfb2019", BackendKind::Sip, "pool2019.contoso.com"),
    ];
    let domain = |text: &str| Domain::parse(text).unwrap();
    let defaults = PartnerDefaults::default();
    let mut partner = Partner::with_defaults(domain("partner.example"), &defaults);
    partner.additional_domains = vec![domain("chat.partner.example")];
    World {
        generation: 1,
        domains: vec![domain("contoso.com")],
        policy: Policy::new(vec![partner], unlisted, defaults, GatewayLimits::default()).unwrap(),
        homes: Homes::new(homes, &[]).unwrap(),
        sip: Default::default(),
        inside: Default::default(),
        dialback_secret: Arc::from([0_u8; 32].as_slice()),
        stanza_bytes_max: 262_144,
        enforce_introductions: true,
        presence: turnout_core::presence::PresenceRules::default(),
        flow: turnout_core::flow::FlowLimits::default(),
        shards: 1,
    }
}

fn directory() -> Directory {
    let mut users = SnapshotBuilder::new();
    let unknown = Residence::UnknownPool(users.pool_id("else.contoso.com"));
    let here = User::at(Residence::Home(MODERN));
    for (name, user) in [
        ("anna", User::at(Residence::Home(LEGACY))),
        ("carla", here),
        ("disabled", User { enabled: false, ..here }),
        ("no-federation", User { federation_enabled: false, ..here }),
        ("no-xmpp", User { xmpp_enabled: false, ..here }),
        ("cloud", User::at(Residence::Cloud)),
        ("unassigned", User::at(Residence::Unassigned)),
        ("branch", User::at(Residence::Branch)),
        ("elsewhere", User::at(unknown)),
    ] {
        users.add(Jid::parse(&format!("{name}@contoso.com")).unwrap().view(), user).unwrap();
    }
    Directory::new(Arc::<Snapshot>::new(users.finish()), Arc::new(Overlay::new(1)))
}

/// What the code does, in the words of the document: rule, decision, error, type, fault.
fn happens(situation: &Situation) -> [String; 5] {
    let (world, directory) = (world(situation.unlisted), directory());
    let view = View { world: &world, directory: &directory };
    let (from, to) = (Jid::parse(situation.from).unwrap(), Jid::parse(situation.to).unwrap());
    let asked = Asked {
        side: situation.side,
        kind: CHAT,
        from: &from,
        to: &to,
        made: situation.made,
        was_home: situation.was_home,
    };
    let (decision, steps) = explain(view, &asked);
    assert_eq!(decision, route(view, &asked, &mut |_, _| ()), "explain() and route() agree");
    if !situation.made && from.local().is_some() && to.local().is_some() {
        in_a_run(view, &asked, &decision);
    }
    let rule = steps.last().unwrap().rule.to_owned();
    let none = || "–".to_owned();
    match decision {
        Ok(Route::Own) => [rule, "router".to_owned(), none(), none(), none()],
        Ok(Route::Home(home)) => {
            let name = world.side_name(Side::Home(home));
            [rule, format!("home {name}"), none(), none(), none()]
        }
        Ok(Route::Partner { ours, theirs }) => {
            assert_eq!(ours.as_str(), "contoso.com");
            [rule, format!("partner {theirs}"), none(), none(), none()]
        }
        Err(refusal) => [
            rule,
            "refused".to_owned(),
            refusal.condition.as_str().to_owned(),
            refusal.error_type.as_str().to_owned(),
            refusal.blame.as_str().to_owned(),
        ],
    }
}

/// The same stanza in a run: it goes the way it goes alone, or leaves the run to ask `route`.
fn in_a_run(view: View<'_>, asked: &Asked<'_>, decision: &Result<Route, Refusal>) {
    let address = |at: usize, jid: &Jid| {
        let at = at as u32;
        let (local, bare) = (jid.local().unwrap().len() as u32, jid.bare_str().len() as u32);
        Address { start: at, at: at + local, slash: at + bare, end: at + jid.as_str().len() as u32 }
    };
    let text = format!("{}{}", asked.from.as_str(), asked.to.as_str());
    let head = Head {
        start: 0,
        end: text.len() as u32,
        insert_at: 0,
        id_start: 0,
        id_end: 0,
        from: address(0, asked.from),
        to: address(asked.from.as_str().len(), asked.to),
        kind: CHAT,
        payload: Payload::None,
        has_lang: false,
    };
    let run = Run {
        bytes: text.into(),
        heads: vec![head],
        gone: 0,
        from: Domain::from(asked.from),
        to: Domain::from(asked.to),
        side: asked.side,
        link: LinkId::NONE,
        arrived: start(),
        order: 0,
        lang: None,
    };
    let mut ways = Vec::new();
    route_run(view, &run, &mut Vec::new(), &mut ways);
    let expected = match decision {
        Ok(Route::Home(home)) => Way::Home(*home),
        Ok(Route::Partner { .. }) if asked.was_home.is_none() => Way::Partner,
        _ => Way::Alone,
    };
    assert_eq!(ways, [expected], "{} to {}", asked.from, asked.to);
}

#[expect(clippy::disallowed_methods, reason = "a run needs a time, which nothing here looks at")]
fn start() -> std::time::Instant {
    std::time::Instant::now()
}

/// The rows of all tables of the document that have these columns, as cells.
fn rows(columns: &[&str]) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Option<Vec<String>> {
        let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
        Some(inner.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect())
    };
    let (mut found, mut within) = (Vec::new(), false);
    for line in DOC.lines() {
        match cells(line) {
            None => within = false,
            Some(row) if row == columns => within = true,
            Some(row) if row.iter().all(|cell| cell.chars().all(|c| c == '-')) => {}
            Some(row) if within => {
                assert_eq!(row.len(), columns.len(), "{line}");
                found.push(row);
            }
            Some(_) => {}
        }
    }
    assert!(!found.is_empty(), "the document has a table of {columns:?}");
    found
}

fn rules() -> Vec<Vec<String>> {
    rows(&["rule", "case", "when", "decision", "error", "type", "fault"])
}

#[test]
fn every_row_is_what_the_code_does() {
    let mut situations: BTreeMap<&str, &Situation> = BTreeMap::new();
    for situation in SITUATIONS {
        assert!(situations.insert(situation.case, situation).is_none(), "{} is there twice", situation.case);
    }
    for row in rules() {
        let [rule, case, _, decision, error, kind, fault] = row.as_slice() else { panic!("{row:?}") };
        let situation = situations.remove(case.as_str());
        let situation =
            situation.unwrap_or_else(|| panic!("the case {case} is not tested, or is there twice"));
        let documented = [rule, decision, error, kind, fault].map(Clone::clone);
        assert_eq!(
            happens(situation),
            documented,
            "case {case}: the code (left) and docs/routing.md (right)"
        );
    }
    assert!(situations.is_empty(), "docs/routing.md lacks {:?}", situations.keys());
}

#[test]
fn every_rule_of_the_code_is_in_the_document() {
    let is_rule = |text: &str| {
        let mut chars = text.chars();
        matches!(chars.next(), Some('A'..='Z'))
            && chars.next() == Some('-')
            && chars.as_str().parse::<u32>().is_ok()
    };
    let in_code: BTreeSet<&str> = SOURCE.split('"').filter(|text| is_rule(text)).collect();
    let in_doc: BTreeSet<&str> =
        DOC.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|word| is_rule(word)).collect();
    assert!(in_code.len() >= 11, "{in_code:?}");
    assert_eq!(in_code, in_doc, "the code (left) and docs/routing.md (right)");
    // A rule that decides has a row; one that only looks is named in the text.
    let with_row: BTreeSet<String> = rules().into_iter().map(|row| row[0].clone()).collect();
    let only_looks: Vec<&str> = in_code.into_iter().filter(|rule| !with_row.contains(*rule)).collect();
    assert_eq!(only_looks, ["P-4"]);
}

const KINDS: [(&str, &str, Kind); 17] = [
    ("message", "normal", Kind::Message(MessageType::Normal)),
    ("message", "chat", Kind::Message(MessageType::Chat)),
    ("message", "groupchat", Kind::Message(MessageType::Groupchat)),
    ("message", "headline", Kind::Message(MessageType::Headline)),
    ("message", "error", Kind::Message(MessageType::Error)),
    ("presence", "available", Kind::Presence(PresenceType::Available)),
    ("presence", "unavailable", Kind::Presence(PresenceType::Unavailable)),
    ("presence", "subscribe", Kind::Presence(PresenceType::Subscribe)),
    ("presence", "subscribed", Kind::Presence(PresenceType::Subscribed)),
    ("presence", "unsubscribe", Kind::Presence(PresenceType::Unsubscribe)),
    ("presence", "unsubscribed", Kind::Presence(PresenceType::Unsubscribed)),
    ("presence", "probe", Kind::Presence(PresenceType::Probe)),
    ("presence", "error", Kind::Presence(PresenceType::Error)),
    ("iq", "get", Kind::Iq(IqType::Get)),
    ("iq", "set", Kind::Iq(IqType::Set)),
    ("iq", "result", Kind::Iq(IqType::Result)),
    ("iq", "error", Kind::Iq(IqType::Error)),
];

#[test]
fn what_is_told_and_what_is_dropped_is_as_documented() {
    let in_code: Vec<[String; 3]> = KINDS
        .iter()
        .map(|(element, name, kind)| {
            assert_eq!(kind.element(), *element);
            let end = unanswerable(*kind).map_or("told", DropRule::as_str);
            [(*element).to_owned(), (*name).to_owned(), end.to_owned()]
        })
        .collect();
    let in_doc: Vec<[String; 3]> =
        rows(&["element", "stanza type", "when it cannot be delivered", "standard"])
            .into_iter()
            .map(|row| [row[0].clone(), row[1].clone(), row[2].clone()])
            .collect();
    assert_eq!(in_code, in_doc, "the code (left) and docs/routing.md (right)");
}

#[test]
fn every_drop_rule_is_in_the_document() {
    let in_doc: Vec<String> = rows(&["drop rule", "means"]).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(DropRule::ALL.map(DropRule::as_str).to_vec(), in_doc);
}

/// B-35: a partner cannot tell which of the users he may not reach there are: the words are the same, and so is the work but for one
/// comparison, counted in findings.
#[test]
fn users_that_cannot_be_reached_are_one_like_the_other() {
    let (world, directory) = (world(Unlisted::Refuse), directory());
    let view = View { world: &world, directory: &directory };
    let from = Jid::parse(BOB).unwrap();
    let names =
        ["nobody", "disabled", "no-federation", "no-xmpp", "cloud", "unassigned", "branch", "elsewhere"];
    for kind in [
        CHAT,
        Kind::Presence(PresenceType::Subscribe),
        Kind::Presence(PresenceType::Probe),
        Kind::Iq(IqType::Get),
    ] {
        let (mut said, mut findings) = (Vec::new(), Vec::new());
        for name in names {
            let to = Jid::parse(&format!("{name}@contoso.com")).unwrap();
            let asked =
                Asked { side: Side::Partners, from: &from, to: &to, kind, made: false, was_home: None };
            let mut count = 0;
            let refusal = route(view, &asked, &mut |_, _| count += 1).unwrap_err();
            let Refusal { condition, error_type, text, bounce, retry, .. } = refusal;
            said.push((condition, error_type, text, bounce, retry));
            findings.push(count);
        }
        said.dedup();
        assert_eq!(said.len(), 1, "{kind:?}: {said:?}");
        let (least, most) = (findings.iter().min().unwrap(), findings.iter().max().unwrap());
        assert!(most - least <= 1, "{kind:?}: {findings:?}");
    }
}
