//! Pings as a sign of life (XI-02): when they are sent, which answers count, and what silence leads to.

use turnout_core::backend::{Backend, Sent};
use turnout_core::io::{Close, Handoff, LinkId, Side};
use turnout_core::policy::Negotiation::NotSupported as No;
use turnout_core::policy::Partner;
use turnout_core::world::World;

use crate::net::{INSIDE, partner, stanza, world};
use crate::raw::{Raw, answering, attribute, header};

const THEM: &str = "partner.example";
const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";

fn with(partners: Vec<Partner>) -> World {
    World { shards: 2, ..world(&["contoso.com"], partners, No) }
}

fn shard(index: u16) -> Raw {
    let partners = vec![partner(THEM, No, No, true), partner("second.example", No, No, true)];
    Raw::on_shard(index, Side::Partners, with(partners))
}

/// A stream out that is ready.
fn out_to(raw: &mut Raw, ours: &str, theirs: &str) -> LinkId {
    let link = raw.dial(ours, theirs);
    raw.tell(link, &(answering(theirs, ours, "s") + "<stream:features/>"));
    raw.tell(link, &format!("<db:result from='{theirs}' to='{ours}' type='valid'/>"));
    assert_eq!(raw.ready.last(), Some(&link));
    raw.said(link);
    link
}

/// A stream in that is proven.
fn in_from(raw: &mut Raw, theirs: &str) -> LinkId {
    let link = raw.accept();
    raw.tell(link, &header(theirs, "contoso.com"));
    raw.tell(link, &format!("<db:result from='{theirs}' to='contoso.com'>k</db:result>"));
    let verify = raw.connects.last().unwrap().link;
    raw.connected(verify);
    let said = raw.tell(verify, &(answering(theirs, "contoso.com", "v") + "<stream:features/>"));
    let id = attribute(&said[said.find("<db:verify").unwrap()..], "id");
    raw.tell(verify, &format!("<db:verify from='{theirs}' to='contoso.com' id='{id}' type='valid'/>"));
    assert!(raw.said(link).contains("type='valid'"));
    link
}

/// Lets a stanza of a peer take the way it takes in a shard, if it is for the domain itself.
fn take(raw: &mut Raw, link: LinkId, given: &str) {
    assert_eq!(raw.try_tell(link, given), (String::new(), None));
    for stanza in raw.arrivals() {
        raw.backend.answer(raw.now, &stanza, &mut raw.out).unwrap();
    }
    raw.collect();
    assert!(raw.arrivals().is_empty(), "an answer is never answered");
}

fn result(from: &str, to: &str, id: &str) -> String {
    format!("<iq type='result' from='{from}' to='{to}' id='{id}'/>")
}

/// Waits for the ping and gives its id.
fn pinged(raw: &mut Raw, link: LinkId) -> String {
    raw.said(link);
    raw.advance(300);
    let said = raw.said(link);
    let start = said.find("<iq ").unwrap_or_else(|| panic!("no ping in {said:?}"));
    let ping = &said[start..];
    let id = attribute(ping, "id");
    assert_eq!(ping, format!("<iq type='get' id='{id}' from='contoso.com' to='{THEM}'>{PING}</iq>"));
    id
}

/// Whether a ping of before was answered, as silence after the next one shows.
fn is_cut_for_silence(raw: &mut Raw, link: LinkId) -> bool {
    pinged(raw, link);
    raw.advance(59);
    assert!(!raw.is_closed(link));
    raw.advance(1);
    raw.is_closed(link)
}

/// A stanza, so that the stream is not idle.
fn use_it(raw: &mut Raw, link: LinkId) {
    let one = stanza(raw.now, "a@contoso.com", "b@partner.example", "1");
    assert!(matches!(raw.backend.send(raw.now, link, one, &mut raw.out), Sent::OnWrite(_)));
    raw.collect();
}

#[test]
fn silence_is_asked_about_and_white_space_goes_on() {
    let mut raw = shard(0);
    let link = out_to(&mut raw, "contoso.com", THEM);
    raw.advance(299);
    assert_eq!(raw.said(link), " ");
    raw.advance(1);
    let said = raw.said(link);
    assert!(
        said.starts_with("<iq type='get' id='ping-") && said.ends_with(&format!("{PING}</iq>")),
        "{said}"
    );
    raw.advance(149);
    assert_eq!(raw.said(link), "");
    raw.advance(1);
    assert_eq!(raw.said(link), " ");
}

#[test]
fn a_busy_stream_asks_too() {
    let mut raw = shard(0);
    let link = out_to(&mut raw, "contoso.com", THEM);
    for _ in 0..10 {
        raw.advance(29);
        use_it(&mut raw, link);
    }
    assert!(!raw.said(link).contains("<iq "));
    raw.advance(10);
    assert!(raw.said(link).contains("<iq "), "what we write proves nothing");
}

#[test]
fn whoever_is_heard_is_not_asked() {
    let mut raw = shard(0);
    let incoming = in_from(&mut raw, THEM);
    let link = out_to(&mut raw, "contoso.com", THEM);
    for (speaker, means) in
        [(incoming, " "), (link, " "), (incoming, "<presence from='a@partner.example' to='b@contoso.com'/>")]
    {
        use_it(&mut raw, link);
        raw.advance(290);
        raw.tell(speaker, means);
    }
    raw.advance(250);
    assert!(!raw.said(link).contains("<iq "));
    raw.advance(50);
    assert!(raw.said(link).contains("<iq "));
}

#[test]
fn others_prove_nothing() {
    let mut raw = shard(0);
    let second = in_from(&mut raw, "second.example");
    let link = out_to(&mut raw, "contoso.com", THEM);
    raw.advance(250);
    let claims = raw.accept();
    raw.tell(claims, &header(THEM, "contoso.com"));
    raw.tell(second, " ");
    raw.advance(50);
    assert!(raw.said(link).contains("<iq "), "one is somebody else, one has proven nothing yet");
}

#[test]
fn an_answer_counts_and_silence_after_it_ends_the_stream() {
    for error in [false, true] {
        let mut raw = shard(0);
        let incoming = in_from(&mut raw, THEM);
        let link = out_to(&mut raw, "contoso.com", THEM);
        let id = pinged(&mut raw, link);
        raw.advance(59);
        let answer = match error {
            false => result(THEM, "contoso.com", &id),
            true => format!(
                "<iq type='error' from='{THEM}' to='contoso.com' id='{id}'>{PING}<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            ),
        };
        take(&mut raw, incoming, &answer);
        use_it(&mut raw, link);
        assert!(is_cut_for_silence(&mut raw, link));
        let said = raw.said(link);
        assert!(said.contains("<connection-timeout ") && said.ends_with("</stream:stream>"), "{said}");
        assert!(raw.closed.contains(&(link, Close::Flush)));
        assert!(matches!(&raw.unready[..], [None]), "to be dialed anew: {:?}", raw.unready);
        let note = raw.notes.iter().find(|note| note.contains("neither answered a ping")).unwrap();
        assert!(note.contains("can reach us at contoso.com"), "{note}");
    }
}

#[test]
fn who_never_answers_is_not_cut() {
    let mut raw = shard(0);
    let link = out_to(&mut raw, "contoso.com", THEM);
    assert!(!is_cut_for_silence(&mut raw, link));
    assert!(raw.notes.iter().any(|note| note.contains("answers no pings")), "{:?}", raw.notes);
    raw.said(link);
    for _ in 0..10 {
        use_it(&mut raw, link);
        raw.advance(300);
    }
    let said = raw.said(link);
    assert!(!said.contains("<iq ") && said.contains("</message> "), "white space only: {said}");
    assert!(!raw.is_closed(link) && raw.unready.is_empty());
}

#[test]
fn a_sign_of_life_is_as_good_as_an_answer() {
    let mut raw = shard(0);
    let incoming = in_from(&mut raw, THEM);
    let link = out_to(&mut raw, "contoso.com", THEM);
    let id = pinged(&mut raw, link);
    take(&mut raw, incoming, &result(THEM, "contoso.com", &id));
    use_it(&mut raw, link);
    pinged(&mut raw, link);
    raw.advance(30);
    raw.tell(incoming, " ");
    raw.advance(200);
    assert!(!raw.is_closed(link));
}

#[test]
fn answers_of_an_earlier_stream_are_remembered_and_used_up_by_a_cut() {
    let mut raw = shard(0);
    let incoming = in_from(&mut raw, THEM);
    let first = out_to(&mut raw, "contoso.com", THEM);
    let id = pinged(&mut raw, first);
    take(&mut raw, incoming, &result(THEM, "contoso.com", &id));
    raw.gone(first);
    let second = out_to(&mut raw, "contoso.com", THEM);
    assert!(is_cut_for_silence(&mut raw, second), "the first one's ping was answered");
    let third = out_to(&mut raw, "contoso.com", THEM);
    assert!(!is_cut_for_silence(&mut raw, third), "it gave up answering pings: cut once, not for ever");
}

#[test]
fn only_the_domain_that_was_asked_can_answer() {
    // Each of these is dropped: the second ping finds a partner that never answered, and the stream stays.
    type Forge = fn(&str) -> String;
    let forged: [(&str, Forge); 8] = [
        ("second.example", |id| result("second.example", "contoso.com", id)),
        (THEM, |id| result("a@partner.example", "contoso.com", id)),
        (THEM, |id| result("partner.example/r", "contoso.com", id)),
        (THEM, |id| result(THEM, "contoso.com/r", id)),
        (THEM, |id| {
            result(
                THEM,
                "contoso.com",
                &format!("{}{}", &id[..id.len() - 1], if id.ends_with('0') { '1' } else { '0' }),
            )
        }),
        (THEM, |id| result(THEM, "contoso.com", &id[..id.len() - 1])),
        (THEM, |_| result(THEM, "contoso.com", "ping-")),
        (THEM, |id| format!("<presence type='unavailable' from='{THEM}' to='contoso.com' id='{id}'/>")),
    ];
    for (at, (speaker, forge)) in forged.into_iter().enumerate() {
        let mut raw = shard(0);
        let incoming = in_from(&mut raw, speaker);
        let link = out_to(&mut raw, "contoso.com", THEM);
        let id = pinged(&mut raw, link);
        raw.advance(1);
        assert_eq!(raw.try_tell(incoming, &forge(&id)), (String::new(), None));
        for stanza in raw.arrivals() {
            let answered = raw.backend.answer(raw.now, &stanza, &mut raw.out);
            assert!(answered.is_ok() || stanza.kind.element() == "presence", "{at}");
        }
        raw.collect();
        assert!(raw.arrivals().is_empty() && raw.handoffs.is_empty(), "{at}");
        use_it(&mut raw, link);
        if speaker == THEM {
            // It lives, whatever it says: another ping follows. It has answered none.
            assert!(!is_cut_for_silence(&mut raw, link), "{at}");
        } else {
            raw.advance(59);
            assert!(raw.notes.iter().any(|note| note.contains("answers no pings")), "{at}");
        }
    }
}

#[test]
fn an_answer_counts_once() {
    let mut raw = shard(0);
    let incoming = in_from(&mut raw, THEM);
    let link = out_to(&mut raw, "contoso.com", THEM);
    let id = pinged(&mut raw, link);
    take(&mut raw, incoming, &result(THEM, "contoso.com", &id));
    use_it(&mut raw, link);
    let next = pinged(&mut raw, link);
    assert_ne!(id, next);
    let second = in_from(&mut raw, "second.example");
    take(&mut raw, second, &result("second.example", "contoso.com", &next));
    raw.advance(60);
    assert!(raw.is_closed(link), "the answer of another domain kept nobody alive");
}

#[test]
fn the_answer_finds_the_shard_that_asked() {
    let mut asking = shard(1);
    let mut reading = shard(0);
    let link = out_to(&mut asking, "contoso.com", THEM);
    let incoming = in_from(&mut reading, THEM);
    let carry = |asking: &mut Raw, reading: &mut Raw| {
        let (to, Handoff::Message { side, link, bytes }) = reading.handoffs.remove(0) else {
            panic!("no message")
        };
        assert_eq!((to, side), (1, Side::Partners));
        asking.backend.adopt(asking.now, link, bytes, &mut asking.out);
        asking.collect();
    };
    let id = pinged(&mut asking, link);
    // Somebody else knows the id: the shard that asked is not taken in.
    let other = in_from(&mut reading, "second.example");
    take(&mut reading, other, &result("second.example", "contoso.com", &id));
    carry(&mut asking, &mut reading);
    take(&mut reading, incoming, &result(THEM, "contoso.com", &id));
    carry(&mut asking, &mut reading);
    use_it(&mut asking, link);
    asking.advance(299);
    assert!(!asking.said(link).contains("<iq "), "heard 299 s ago");
    asking.advance(1);
    let next = attribute(&asking.said(link), "id");
    take(&mut reading, incoming, &result(THEM, "contoso.com", &id));
    carry(&mut asking, &mut reading);
    asking.advance(60);
    assert!(asking.is_closed(link), "the old id answers no new ping");
    // An answer that comes too late, and one for a shard there is not.
    take(&mut reading, incoming, &result(THEM, "contoso.com", &next));
    carry(&mut asking, &mut reading);
    take(&mut reading, incoming, &result(THEM, "contoso.com", &next.replacen("ping-0001", "ping-0002", 1)));
    assert!(reading.handoffs.is_empty());
    assert!(
        asking.arrivals().is_empty()
            && asking.notes.iter().all(|note| !note.contains("it cannot read; dropped"))
    );
    asking.backend.adopt(asking.now, link, "SIP/2.0 200 OK".into(), &mut asking.out);
    asking.collect();
    assert!(asking.notes.iter().any(|note| note.contains("it cannot read; dropped")));
}

#[test]
fn who_need_not_keep_alive_is_not_asked() {
    let mut lazy = partner(THEM, No, No, true);
    lazy.keep_alive = false;
    let mut raw = Raw::new(Side::Partners, with(vec![lazy]));
    let link = out_to(&mut raw, "contoso.com", THEM);
    raw.advance(599);
    assert_eq!(raw.said(link), "   ");
}

#[test]
fn the_gateway_is_never_asked() {
    let mut raw = Raw::new(Side::Home(INSIDE), with(vec![partner(THEM, No, No, true)]));
    let link = out_to(&mut raw, THEM, "contoso.com");
    raw.advance(599);
    assert_eq!(raw.said(link), "   ");
    raw.advance(1);
    assert_eq!(raw.said(link), "</stream:stream>", "idle");
    let back = raw.dial(THEM, "contoso.com");
    assert!(!raw.is_closed(back));
}

/// The shard stops reading a link, or goes on; what other shards are told meanwhile.
fn set_unread(raw: &mut Raw, link: LinkId, unread: bool) -> Vec<Handoff> {
    raw.backend.paused(raw.now, link, unread, &mut raw.out);
    raw.collect();
    std::mem::take(&mut raw.handoffs).into_iter().map(|(_, handoff)| handoff).collect()
}

#[test]
fn who_is_not_read_is_not_cut_for_his_silence() {
    let mut raw = shard(0);
    let inbound = in_from(&mut raw, THEM);
    let link = out_to(&mut raw, "contoso.com", THEM);
    // He has answered once, so his silence would count.
    let id = pinged(&mut raw, link);
    take(&mut raw, inbound, &result(THEM, "contoso.com", &id));
    assert_eq!(set_unread(&mut raw, inbound, true).len(), 1, "the other shard hears that he lives");
    raw.said(inbound);
    for _ in 0..90 {
        raw.advance(10);
        use_it(&mut raw, link);
        assert_eq!(raw.said(inbound), " ", "he is shown that we live");
    }
    assert!(!raw.is_closed(link) && !raw.is_closed(inbound), "fifteen minutes, and idle_seconds is ten");
    assert!(!raw.said(link).contains("<ping"), "nor is he asked what he could not answer");
    assert!(set_unread(&mut raw, inbound, false).iter().all(|told| matches!(told, Handoff::Message { .. })));
    // From now on his silence is his own.
    raw.advance(301);
    use_it(&mut raw, link);
    assert!(raw.said(link).contains("<ping"));
    raw.advance(60);
    assert!(raw.is_closed(link));
    raw.advance(600);
    assert!(raw.said(inbound).ends_with("</stream:stream>"));
}

#[test]
fn who_is_not_read_on_another_shard_is_not_cut_here() {
    let (mut one, mut two) = (shard(0), shard(1));
    let inbound = in_from(&mut one, THEM);
    let link = out_to(&mut two, "contoso.com", THEM);
    let id = pinged(&mut two, link);
    let answer = liveness_of(&mut one, inbound, &id);
    adopt(&mut two, answer);
    use_it(&mut two, link);
    let id = pinged(&mut two, link);
    // The answer lies unread from now on.
    two.advance(1);
    for told in set_unread(&mut one, inbound, true) {
        adopt(&mut two, told);
    }
    two.advance(60);
    assert!(!two.is_closed(link), "{id} cannot be answered");
    use_it(&mut two, link);
    two.said(link);
    // Nothing more is heard of him: he is asked again, and then it counts.
    two.advance(241);
    assert!(two.said(link).contains(PING) && !two.is_closed(link));
    two.advance(60);
    assert!(two.is_closed(link), "without news of the other shard that would have come before");
}

/// What the shard that reads the answer to a ping tells the one that asked.
fn liveness_of(raw: &mut Raw, link: LinkId, id: &str) -> Handoff {
    take(raw, link, &result(THEM, "contoso.com", id));
    std::mem::take(&mut raw.handoffs).pop().unwrap().1
}

fn adopt(raw: &mut Raw, told: Handoff) {
    let Handoff::Message { link, bytes, .. } = told else { panic!("{told:?}") };
    raw.backend.adopt(raw.now, link, bytes, &mut raw.out);
    raw.collect();
}
