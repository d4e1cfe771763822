//! Stream management (XEP-0198) between servers: rows XM-01 to XM-04, in both directions.

use turnout_core::backend::{Backend, Sent, SentRun};
use turnout_core::io::{Close, Ended, Event, LinkId, Side};
use turnout_core::policy::Negotiation::{NotSupported as No, Required};
use turnout_core::policy::{GatewayLimits, PartnerDefaults, Policy, Unlisted};
use turnout_core::run::{Load, Run};
use turnout_core::stanza::Stanza;
use turnout_core::world::World;

use crate::net::{certificate, partner, stanza, world};
use crate::raw::{Raw, answering, header};

pub const THEM: &str = "partner.example";
pub const FEATURE: &str = "<sm xmlns='urn:xmpp:sm:3'/>";
const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3'/>";
/// As we say it.
pub const ENABLE_OURS: &str = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";
pub const ENABLED: &str = "<enabled xmlns='urn:xmpp:sm:3'/>";
pub const R: &str = "<r xmlns='urn:xmpp:sm:3'/>";

pub fn a(handled: u32) -> String {
    format!("<a xmlns='urn:xmpp:sm:3' h='{handled}'/>")
}

pub fn plain() -> World {
    World { shards: 2, ..world(&["contoso.com"], vec![partner(THEM, No, No, true)], No) }
}

fn without(mut world: World) -> World {
    let limits = GatewayLimits { stream_management: false, ..GatewayLimits::default() };
    let partners = vec![partner(THEM, No, No, true)];
    world.policy = Policy::new(partners, Unlisted::Refuse, PartnerDefaults::default(), limits).unwrap();
    world
}

pub fn raw() -> Raw {
    Raw::new(Side::Partners, plain())
}

/// A stream out that is proven to a peer which offers stream management; what was said then.
pub fn dial(raw: &mut Raw) -> (LinkId, String) {
    let link = raw.dial("contoso.com", THEM);
    raw.tell(
        link,
        &(answering(THEM, "contoso.com", "s") + &format!("<stream:features>{FEATURE}</stream:features>")),
    );
    let said = raw.tell(link, &format!("<db:result from='{THEM}' to='contoso.com' type='valid'/>"));
    (link, said)
}

/// A stream out whose peer acknowledges.
fn acknowledged(raw: &mut Raw) -> LinkId {
    let (link, said) = dial(raw);
    assert_eq!(
        (said.as_str(), raw.ready.len()),
        (ENABLE_OURS, 0),
        "no stanza before the peer has agreed to count"
    );
    assert_eq!(tell(raw, link, ENABLED), (String::new(), vec![]));
    assert_eq!(raw.ready, [link]);
    link
}

/// What was written, and what the shard was told to be acknowledged.
pub fn tell(raw: &mut Raw, link: LinkId, bytes: &str) -> (String, Vec<u32>) {
    raw.backend.receive(raw.now, link, bytes.to_owned().into(), &mut raw.out).unwrap();
    let mut counts = Vec::new();
    raw.out.events.retain(|event| match event {
        Event::Acknowledged(on, count) => {
            assert_eq!(*on, link);
            counts.push(*count);
            false
        }
        Event::Acknowledging(on) => {
            assert_eq!(*on, link);
            false
        }
        _ => true,
    });
    raw.collect();
    (raw.said(link), counts)
}

/// Sends stanzas; what else was said.
pub fn send(raw: &mut Raw, link: LinkId, count: usize) -> String {
    for _ in 0..count {
        let one = stanza(raw.now, "a@contoso.com", "b@partner.example", "1");
        assert!(matches!(raw.backend.send(raw.now, link, one, &mut raw.out), Sent::OnWrite(_)));
    }
    raw.collect();
    let said = raw.said(link);
    let messages = said.matches("<message").count();
    assert_eq!(messages, count);
    said.split("</message>").map(|part| part.split("<message").next().unwrap()).collect()
}

/// A stream in that is proven by dialback; whether stream management is asked for is the test's business.
pub fn in_from(raw: &mut Raw) -> LinkId {
    in_between(raw, THEM, "contoso.com")
}

/// As [`in_from`], between these two.
pub fn in_between(raw: &mut Raw, theirs: &str, ours: &str) -> LinkId {
    let link = raw.accept();
    let said = raw.tell(link, &header(theirs, ours));
    assert!(!said.contains(FEATURE), "not offered to whom nobody knows yet: {said}");
    prove(raw, link, theirs, ours);
    link
}

/// Proves a pair by dialback.
pub fn prove(raw: &mut Raw, link: LinkId, theirs: &str, ours: &str) {
    let dials = raw.connects.len();
    raw.tell(link, &format!("<db:result from='{theirs}' to='{ours}'>k</db:result>"));
    assert_eq!(raw.connects.len(), dials + 1);
    let verify = raw.connects.last().unwrap().link;
    raw.connected(verify);
    let said = raw.tell(verify, &(answering(theirs, ours, "v") + "<stream:features/>"));
    let id = crate::raw::attribute(&said[said.find("<db:verify").unwrap()..], "id");
    raw.tell(verify, &format!("<db:verify from='{theirs}' to='{ours}' id='{id}' type='valid'/>"));
    raw.tell(verify, "</stream:stream>");
    assert!(raw.said(link).contains("type='valid'"));
}

/// Such a stream with stream management.
fn counting(raw: &mut Raw) -> LinkId {
    let link = in_from(raw);
    assert_eq!(raw.tell(link, ENABLE), ENABLED);
    assert_eq!(std::mem::take(&mut raw.out.chained), [link]);
    link
}

pub fn message(id: u32) -> String {
    format!("<message from='b@{THEM}/r' to='a@contoso.com' id='m{id}'><body>x</body></message>")
}

pub fn end(raw: &mut Raw, stanzas: &[Stanza]) {
    for stanza in stanzas {
        let (side, link, arrived) = (stanza.origin.side, stanza.origin.link, stanza.arrived);
        raw.backend.ended(raw.now, &Ended { side, link, arrived, count: 1 }, &mut raw.out);
    }
    raw.collect();
}

#[test]
fn xm01_it_is_used_where_it_is_offered_and_wanted() {
    let mut one = raw();
    let (link, said) = dial(&mut one);
    assert_eq!(said, ENABLE_OURS);
    let failed = "<failed xmlns='urn:xmpp:sm:3'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";
    assert_eq!(tell(&mut one, link, failed), (String::new(), vec![]));
    assert_eq!(one.ready, [link], "a refusal is no fault");
    assert_eq!(send(&mut one, link, 2), "", "nobody is asked who does not count");

    let mut off = Raw::new(Side::Partners, without(plain()));
    let (link, said) = dial(&mut off);
    assert_eq!((said.as_str(), &off.ready[..]), ("", &[link][..]));
    let link = in_from(&mut off);
    let said = off.tell(link, ENABLE);
    assert!(said.contains("<failed") && said.contains("feature-not-implemented"), "{said}");
    assert!(off.out.chained.is_empty());
}

#[test]
fn xm01_a_peer_that_offers_and_never_answers_fails_the_attempt() {
    let mut raw = raw();
    let (link, _) = dial(&mut raw);
    raw.advance(60);
    assert!(raw.is_closed(link));
    assert!(raw.notes.iter().any(|note| note.contains("<enable/>")), "{:?}", raw.notes);
}

#[test]
fn xm01_it_is_offered_to_whom_we_know() {
    let partners = vec![partner(THEM, Required, Required, false)];
    let mut raw = Raw::new(Side::Partners, world(&["contoso.com"], partners, No));
    let link = raw.accept();
    let open = header(THEM, "contoso.com");
    assert!(!raw.tell(link, &open).contains(FEATURE));
    raw.tell(link, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    raw.secure(link, Some(certificate(&[THEM])));
    assert!(!raw.tell(link, &open).contains(FEATURE));
    raw.tell(link, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>");
    let said = raw.tell(link, &open);
    assert!(said.contains(FEATURE), "{said}");
    assert_eq!(raw.tell(link, ENABLE), ENABLED);
}

#[test]
fn xm01_one_question_a_round_trip_whatever_the_burst() {
    let mut raw = raw();
    let link = acknowledged(&mut raw);
    assert_eq!(send(&mut raw, link, 3), R, "right behind the first");
    assert_eq!(tell(&mut raw, link, &a(1)), (R.to_owned(), vec![1]), "the rest is asked about at once");
    assert_eq!(send(&mut raw, link, 2), "");
    assert_eq!(tell(&mut raw, link, &a(3)), (R.to_owned(), vec![2]));
    assert_eq!(tell(&mut raw, link, &a(5)), (String::new(), vec![2]));
    assert_eq!(tell(&mut raw, link, &a(5)), (String::new(), vec![]), "said twice is no news");
    raw.advance(100);
    assert_eq!(raw.said(link), "", "nothing is open, so nothing is asked");
}

#[test]
fn xm01_who_keeps_stanzas_back_is_asked_again_but_not_all_the_time() {
    let mut raw = raw();
    let link = acknowledged(&mut raw);
    send(&mut raw, link, 1);
    assert_eq!(tell(&mut raw, link, &a(0)), (String::new(), vec![]));
    raw.advance(1);
    assert_eq!(raw.said(link), R);
    assert_eq!(tell(&mut raw, link, &a(0)), (String::new(), vec![]));
    assert_eq!(tell(&mut raw, link, &a(1)), (String::new(), vec![1]), "unasked is as good");
    raw.advance(100);
    assert_eq!(raw.said(link), "");
}

#[test]
fn xm01_a_run_counts_all_its_stanzas() {
    let mut raw = raw();
    let peer = in_from(&mut raw);
    raw.tell(peer, &(message(1) + &message(2) + &message(3)));
    let Some(Load::Run(run)) = raw.out.arrivals.pop_front() else { panic!("three plain stanzas are a run") };
    let link = acknowledged(&mut raw);
    let swapped = Run { from: run.to.clone(), to: run.from.clone(), ..run };
    assert!(matches!(raw.backend.send_run(raw.now, link, swapped, &mut raw.out), SentRun::OnWrite(_)));
    raw.collect();
    assert!(raw.said(link).ends_with(&("</message>".to_owned() + R)));
    assert_eq!(tell(&mut raw, link, &a(2)), (String::new(), vec![2]));
    assert_eq!(tell(&mut raw, link, &a(3)), (String::new(), vec![1]));
}

#[test]
fn xm01_claiming_more_than_was_sent_ends_the_stream() {
    let mut raw = raw();
    let link = acknowledged(&mut raw);
    send(&mut raw, link, 2);
    tell(&mut raw, link, &a(1));
    let (said, fault) = raw.try_tell(link, &a(3));
    assert_eq!(
        said,
        "<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><handled-count-too-high \
         xmlns='urn:xmpp:sm:3' h='3' send-count='2'/></stream:error></stream:stream>"
    );
    assert_eq!(fault.unwrap().condition, "undefined-condition");
    assert!(raw.is_closed(link));
    assert_eq!(raw.unready, [None], "the way was good: what is not acknowledged goes out again");
}

#[test]
fn xm01_going_back_ends_the_stream_too() {
    let mut raw = raw();
    let link = acknowledged(&mut raw);
    send(&mut raw, link, 3);
    tell(&mut raw, link, &a(2));
    assert!(raw.try_tell(link, &a(1)).0.contains("handled-count-too-high"));
}

#[test]
fn xm01_a_counter_that_is_none_ends_the_stream() {
    for odd in [
        "<a xmlns='urn:xmpp:sm:3'/>",
        "<a xmlns='urn:xmpp:sm:3' h='-1'/>",
        "<a xmlns='urn:xmpp:sm:3' h='4294967296'/>",
    ] {
        let mut raw = raw();
        let link = acknowledged(&mut raw);
        assert!(raw.try_tell(link, odd).0.contains("<bad-format"), "{odd}");
    }
}

#[test]
fn xm01_who_brings_stanzas_cannot_acknowledge_any() {
    let mut raw = raw();
    let link = counting(&mut raw);
    assert_eq!(raw.tell(link, &a(0)), "");
    let (said, fault) = raw.try_tell(link, &a(1));
    assert!(said.contains("handled-count-too-high") && said.contains("send-count='0'"), "{said}");
    assert!(fault.is_some() && raw.is_closed(link));
}

#[test]
fn xm02_a_last_question_before_our_end_of_the_stream() {
    let mut raw = raw();
    let link = acknowledged(&mut raw);
    send(&mut raw, link, 2);
    raw.backend.leave(raw.now, &mut raw.out);
    raw.collect();
    assert_eq!(raw.said(link), R.to_owned() + "</stream:stream>");
    assert_eq!(tell(&mut raw, link, &a(1)), (String::new(), vec![1]), "what the peer still says counts");
    assert_eq!(tell(&mut raw, link, &(a(2) + "</stream:stream>")).1, [1]);
    assert!(raw.is_closed(link));
}

#[test]
fn xm03_a_peer_that_does_not_answer_is_dead() {
    let mut raw = raw();
    let link = acknowledged(&mut raw);
    send(&mut raw, link, 1);
    raw.advance(19);
    send(&mut raw, link, 1);
    assert!(!raw.is_closed(link));
    raw.advance(1);
    assert_eq!(raw.closed, [(link, Close::Abort)]);
    assert_eq!(raw.unready, [None]);
    assert!(raw.notes.iter().any(|note| note.contains("2 of them are sent again")), "{:?}", raw.notes);
}

#[test]
fn xm03_silence_is_asked_about_without_a_ping() {
    let mut raw = raw();
    let link = acknowledged(&mut raw);
    raw.advance(299);
    assert_eq!(raw.said(link), " ");
    raw.advance(1);
    assert_eq!(raw.said(link), R, "a ping would be a stanza, and counted");
    assert_eq!(tell(&mut raw, link, &a(0)), (String::new(), vec![]));
    raw.advance(250);
    assert!(!raw.is_closed(link));
}

#[test]
fn xm03_a_question_is_answered_at_once_and_again_when_more_is_known() {
    let mut raw = raw();
    let link = counting(&mut raw);
    assert_eq!(raw.tell(link, R), a(0));
    assert_eq!(raw.tell(link, &(message(1) + &message(2) + R)), a(0), "nobody knows what became of them yet");
    let stanzas = raw.arrivals();
    assert_eq!(stanzas.len(), 2);
    end(&mut raw, &stanzas[..1]);
    assert_eq!(raw.said(link), "", "one of a read has not ended, and it may be the first");
    end(&mut raw, &stanzas[1..]);
    assert_eq!(raw.said(link), a(2), "the answer that was owed");
    assert_eq!(raw.tell(link, R), a(2));
}

#[test]
fn xm03_only_what_ended_in_front_is_acknowledged() {
    let mut raw = raw();
    let link = counting(&mut raw);
    let read = |raw: &mut Raw, id| {
        raw.advance(1);
        raw.tell(link, &message(id));
        raw.arrivals()
    };
    let (first, second, third) = (read(&mut raw, 1), read(&mut raw, 2), read(&mut raw, 3));
    end(&mut raw, &second);
    end(&mut raw, &third);
    assert_eq!(raw.tell(link, R), a(0));
    end(&mut raw, &first);
    assert_eq!(raw.said(link), a(3));
}

#[test]
fn xm03_what_came_before_it_was_enabled_does_not_count() {
    let mut raw = raw();
    let link = in_from(&mut raw);
    // All in one read.
    assert_eq!(raw.tell(link, &(message(1) + ENABLE + &message(2) + R)), ENABLED.to_owned() + &a(0));
    let stanzas = raw.arrivals();
    end(&mut raw, &stanzas[..1]);
    assert_eq!(raw.tell(link, R), a(0));
    end(&mut raw, &stanzas[1..]);
    assert_eq!(raw.said(link), a(1));
}

#[test]
fn xm03_what_is_refused_here_counts_at_once() {
    let mut raw = raw();
    let link = counting(&mut raw);
    let odd = format!(
        "<message from='b@{THEM}' to='a b@contoso.com' id='1'/><iq type='odd' from='b@{THEM}' to='a@contoso.com' id='2'/>"
    );
    raw.tell(link, &odd);
    assert!(raw.arrivals().iter().all(|answer| answer.made));
    assert_eq!(raw.tell(link, R), a(2));
}

#[test]
fn xm03_who_does_not_ask_is_told_now_and_then() {
    let mut raw = raw();
    let link = counting(&mut raw);
    for id in 0..256 {
        assert_eq!(raw.said(link), "");
        raw.tell(link, &message(id));
        let stanzas = raw.arrivals();
        end(&mut raw, &stanzas);
    }
    assert_eq!(raw.said(link), a(256));
}

#[test]
fn xm03_a_peer_that_leaves_hears_what_became_of_all() {
    let mut raw = raw();
    let link = counting(&mut raw);
    assert_eq!(raw.tell(link, &(message(1) + "</stream:stream>")), "", "it is not known yet");
    let stanzas = raw.arrivals();
    end(&mut raw, &stanzas);
    assert_eq!(raw.said(link), a(1) + "</stream:stream>");
    assert!(raw.is_closed(link));

    let mut raw = self::raw();
    let link = counting(&mut raw);
    raw.tell(link, &(message(1) + &message(2) + "</stream:stream>"));
    raw.advance(9);
    assert!(!raw.is_closed(link));
    raw.advance(1);
    assert_eq!(raw.said(link), "</stream:stream>", "nobody waits for ever");
    assert!(raw.is_closed(link));
}

#[test]
fn xm04_resumption_is_promised_to_who_asks_for_it() {
    let mut raw = raw();
    let link = in_from(&mut raw);
    let said = raw.tell(link, "<enable xmlns='urn:xmpp:sm:3' resume='true' max='600'/>");
    assert!(said.starts_with("<enabled ") && said.contains(" resume='true' max='60'"), "{said}");
    let said = raw.tell(link, "<resume xmlns='urn:xmpp:sm:3' h='0' previd='x'/>");
    assert!(said.contains("<failed") && said.contains("<unexpected-request"), "{said}");
    let said = raw.tell(link, ENABLE);
    assert!(said.contains("<failed") && said.contains("<unexpected-request"), "{said}");
    assert!(!raw.is_closed(link));

    let limits = GatewayLimits { resumption_seconds: 0, ..GatewayLimits::default() };
    let partners = vec![partner(THEM, No, No, true)];
    let policy = Policy::new(partners, Unlisted::Refuse, PartnerDefaults::default(), limits).unwrap();
    let mut off = Raw::new(Side::Partners, World { policy, ..plain() });
    let link = in_from(&mut off);
    assert_eq!(off.tell(link, "<enable xmlns='urn:xmpp:sm:3' resume='true' max='600'/>"), ENABLED);
    assert_eq!(dial(&mut off).1, ENABLE);
}

#[test]
fn xm04_nobody_counts_for_a_stranger() {
    let mut raw = raw();
    let link = raw.accept();
    raw.tell(link, &header(THEM, "contoso.com"));
    let said = raw.tell(link, ENABLE);
    assert!(said.contains("<failed") && said.contains("<unexpected-request"), "{said}");
    assert!(raw.out.chained.is_empty());
    assert!(raw.try_tell(link, R).0.contains("<unsupported-stanza-type"));
}
