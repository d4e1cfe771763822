//! Streams that go on where another broke off (XEP-0198 §5), in both directions, and what must not be had that way: rows XM-02, XM-04,
//! B-27, B-29.

use turnout_core::backend::Backend;
use turnout_core::io::{Closed, Handoff, LinkId, Side};
use turnout_core::policy::Negotiation::NotSupported as No;
use turnout_core::stanza::Stanza;
use turnout_core::world::World;

use crate::net::{partner, world};
use crate::raw::{Raw, answering, attribute};
use crate::smacks::{
    ENABLE_OURS, FEATURE, R, THEM, a, dial, end, in_between, in_from, message, plain, prove, raw, send, tell,
};

const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";

fn resume(id: &str, handled: u32) -> String {
    format!("<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='{handled}'/>")
}

fn resumed(id: &str, handled: u32) -> String {
    format!("<resumed xmlns='urn:xmpp:sm:3' previd='{id}' h='{handled}'/>")
}

fn is_unknown(said: &str) -> bool {
    said.starts_with("<failed ") && said.contains("<item-not-found")
}

/// A stream in that may be resumed, and its id.
fn remembered(raw: &mut Raw) -> (LinkId, String) {
    let link = in_from(raw);
    let said = raw.tell(link, ENABLE);
    assert_eq!(std::mem::take(&mut raw.out.chained), [link]);
    (link, attribute(&said, "id"))
}

/// The connection breaks; whether the shard was asked to remember it.
fn cut(raw: &mut Raw, link: LinkId) -> bool {
    let outlives = raw.backend.outlives(link);
    raw.backend.closed(raw.now, link, &Closed::Broken("cut".into()), &mut raw.out);
    raw.collect();
    outlives
}

fn bring(raw: &mut Raw, link: LinkId, ids: &[u32]) -> Vec<Stanza> {
    raw.advance(1);
    raw.tell(link, &ids.iter().map(|id| message(*id)).collect::<String>());
    raw.arrivals()
}

#[test]
fn a_stream_in_goes_on_with_its_count() {
    let mut raw = raw();
    let (old, id) = remembered(&mut raw);
    let first = bring(&mut raw, old, &[1, 2]);
    let second = bring(&mut raw, old, &[3]);
    assert!(cut(&mut raw, old));
    end(&mut raw, &first);
    let new = in_from(&mut raw);
    assert_eq!(raw.tell(new, &resume(&id, 0)), "", "one is still on its way, and would come twice");
    assert!(raw.out.unchained.is_empty());
    end(&mut raw, &second);
    assert!(!raw.backend.facts(raw.now, old).is_some_and(|facts| facts.resumed));
    assert_eq!(raw.said(new), resumed(&id, 3));
    assert!(raw.backend.facts(raw.now, new).unwrap().resumed, "as the administrator is told");
    assert_eq!(
        (std::mem::take(&mut raw.out.unchained), std::mem::take(&mut raw.out.chained)),
        (vec![old], vec![new])
    );
    assert_eq!(raw.tell(new, R), a(3));
    let third = bring(&mut raw, new, &[4]);
    end(&mut raw, &third);
    assert_eq!(raw.tell(new, R), a(4));
}

#[test]
fn an_id_is_good_for_once_and_for_a_while() {
    let mut raw = raw();
    let (old, id) = remembered(&mut raw);
    cut(&mut raw, old);
    let new = in_from(&mut raw);
    assert_eq!(raw.tell(new, &resume(&id, 0)), resumed(&id, 0));
    raw.out.unchained.clear();
    assert!(!cut(&mut raw, new), "what was resumed is not resumed again");
    let third = in_from(&mut raw);
    assert!(is_unknown(&raw.tell(third, &resume(&id, 0))));
    let said = raw.tell(third, ENABLE);
    assert!(said.starts_with("<enabled "), "and all goes on as without it: {said}");

    let (old, id) = (third, attribute(&said, "id"));
    assert!(cut(&mut raw, old));
    raw.advance(60);
    assert_eq!(raw.out.unchained, [old], "forgotten after resumption_seconds");
    let late = in_from(&mut raw);
    assert!(is_unknown(&raw.tell(late, &resume(&id, 0))));
}

#[test]
fn who_waits_too_long_for_what_is_on_its_way_hears_what_is_known() {
    let mut raw = raw();
    let (old, id) = remembered(&mut raw);
    let first = bring(&mut raw, old, &[1, 2]);
    bring(&mut raw, old, &[3]);
    cut(&mut raw, old);
    end(&mut raw, &first);
    let new = in_from(&mut raw);
    assert_eq!(raw.tell(new, &resume(&id, 0)), "");
    raw.advance(10);
    assert_eq!(raw.said(new), resumed(&id, 2));
}

#[test]
fn a_peer_knows_first_that_its_connection_is_gone() {
    let mut raw = raw();
    let (old, id) = remembered(&mut raw);
    let brought = bring(&mut raw, old, &[1]);
    end(&mut raw, &brought);
    let new = in_from(&mut raw);
    assert_eq!(raw.tell(new, &resume(&id, 0)), resumed(&id, 1));
    assert!(raw.said(old).contains("<conflict ") && raw.is_closed(old), "nobody may go on speaking there");
    raw.tell(old, &message(2));
    assert!(raw.arrivals().is_empty());
}

#[test]
fn b27_an_id_opens_nothing_that_was_not_proven_again() {
    let partners = || vec![partner(THEM, No, No, true), partner("evil.example", No, No, true)];
    let two = || World { shards: 2, ..world(&["contoso.com", "fabrikam.com"], partners(), No) };
    let fresh = || {
        let mut raw = Raw::new(Side::Partners, two());
        let (old, id) = remembered(&mut raw);
        cut(&mut raw, old);
        (raw, id)
    };
    // Before anything was proven; as another partner; towards another domain of ours.
    let (mut raw, id) = fresh();
    let stranger = raw.accept();
    raw.tell(stranger, &crate::raw::header(THEM, "contoso.com"));
    let said = raw.tell(stranger, &resume(&id, 0));
    assert!(said.contains("<failed") && said.contains("<unexpected-request"), "{said}");
    assert!(raw.try_tell(stranger, &message(1)).0.contains("<not-authorized"), "and is nobody still");
    for (theirs, ours) in [("evil.example", "contoso.com"), (THEM, "fabrikam.com")] {
        let link = in_between(&mut raw, theirs, ours);
        assert!(is_unknown(&raw.tell(link, &resume(&id, 0))), "{theirs} {ours}");
    }
    // A header in one name and a proof of another: only the header's own pair counts.
    let link = raw.accept();
    raw.tell(link, &crate::raw::header(THEM, "contoso.com"));
    prove(&mut raw, link, "evil.example", "contoso.com");
    assert!(is_unknown(&raw.tell(link, &resume(&id, 0))));
    assert!(raw.try_tell(link, &message(1)).0.contains("<invalid-from"), "the pair was not handed on");
    // Its owner still gets it.
    let owner = in_from(&mut raw);
    assert_eq!(raw.tell(owner, &resume(&id, 0)), resumed(&id, 0));

    // Another secret, another link, both alive and gone.
    let (mut raw, id) = fresh();
    let (place, secret) = id.split_once('-').unwrap();
    assert_eq!(secret.len(), 32, "128 bit");
    let last = if secret.ends_with('0') { "1" } else { "0" };
    let wrong = format!("{place}-{}{last}", &secret[..31]);
    let (_, alive) = remembered(&mut raw);
    let (_, other) = alive.split_once('-').unwrap();
    for forged in
        [wrong, format!("{place}-{other}"), format!("{place}-"), secret.to_owned(), "&lt;".to_owned()]
    {
        let link = in_from(&mut raw);
        assert!(is_unknown(&raw.tell(link, &resume(&forged, 0))), "{forged}");
        assert!(!raw.is_closed(link));
    }
}

#[test]
fn b29_a_stream_that_is_over_in_order_is_not_resumed() {
    let mut raw = raw();
    let (old, id) = remembered(&mut raw);
    raw.tell(old, "</stream:stream>");
    let new = in_from(&mut raw);
    assert!(is_unknown(&raw.tell(new, &resume(&id, 0))));
    // Nor one that we ended for a fault of its peer.
    let (bad, id) = remembered(&mut raw);
    raw.try_tell(bad, "<message from='x@elsewhere.example' to='a@contoso.com'/>");
    assert!(raw.is_closed(bad) && !raw.backend.outlives(bad));
    assert!(is_unknown(&raw.tell(new, &resume(&id, 0))));
    // Nor anything while the router stops.
    let (last, _) = remembered(&mut raw);
    raw.backend.drain(raw.now, &mut raw.out);
    assert!(!raw.backend.outlives(last));
}

#[test]
fn nothing_is_said_before_the_answer() {
    for early in [message(9), ENABLE.to_owned(), resume("x", 0), R.to_owned()] {
        let mut raw = raw();
        let (old, id) = remembered(&mut raw);
        let open = bring(&mut raw, old, &[1]);
        cut(&mut raw, old);
        let new = in_from(&mut raw);
        let (said, fault) = raw.try_tell(new, &(resume(&id, 0) + &early));
        assert!(said.contains("<policy-violation") && fault.is_some(), "{early}: {said}");
        assert!(raw.arrivals().is_empty());
        end(&mut raw, &open);
        assert_eq!(raw.said(new), "", "the answer finds nobody");
    }
    let mut raw = raw();
    let link = in_from(&mut raw);
    let (said, _) = raw.try_tell(link, &resume("0000800000000001-x", 1));
    assert!(said.contains("handled-count-too-high"), "it was never sent anything: {said}");
    for odd in ["<resume xmlns='urn:xmpp:sm:3' h='0'/>", "<resume xmlns='urn:xmpp:sm:3' previd='x'/>"] {
        let link = in_from(&mut raw);
        assert!(raw.try_tell(link, odd).0.contains("<bad-format"), "{odd}");
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut raw = raw();
    let mut first = None;
    for _ in 0..1024 {
        let (link, id) = remembered(&mut raw);
        assert!(cut(&mut raw, link));
        first.get_or_insert(id);
    }
    let (link, id) = remembered(&mut raw);
    assert!(!cut(&mut raw, link), "the 1025th is not kept, and none is lost for it");
    let new = in_from(&mut raw);
    assert!(is_unknown(&raw.tell(new, &resume(&id, 0))));
    assert_eq!(raw.tell(new, &resume(first.as_ref().unwrap(), 0)), resumed(first.as_ref().unwrap(), 0));
}

/// Takes what one shard gave another there.
fn carry(from: &mut Raw, to: &mut Raw) {
    for (shard, handoff) in std::mem::take(&mut from.handoffs) {
        let Handoff::Message { side: Side::Partners, link, bytes } = handoff else { panic!("{handoff:?}") };
        assert_eq!(shard, to.out.shard());
        to.backend.adopt(to.now, link, bytes, &mut to.out);
        to.collect();
    }
}

#[test]
fn a_stream_goes_on_on_another_shard() {
    let mut old_shard = raw();
    let mut new_shard = Raw::on_shard(1, Side::Partners, plain());
    let (old, id) = remembered(&mut old_shard);
    let brought = bring(&mut old_shard, old, &[1, 2]);
    cut(&mut old_shard, old);
    let new = in_from(&mut new_shard);
    assert_eq!(new_shard.tell(new, &resume(&id, 0)), "");
    carry(&mut new_shard, &mut old_shard);
    assert!(old_shard.handoffs.is_empty());
    end(&mut old_shard, &brought);
    carry(&mut old_shard, &mut new_shard);
    assert_eq!(new_shard.said(new), resumed(&id, 2));
    assert_eq!(old_shard.out.unchained, [old]);

    let again = in_from(&mut new_shard);
    new_shard.tell(again, &resume(&id, 0));
    carry(&mut new_shard, &mut old_shard);
    carry(&mut old_shard, &mut new_shard);
    assert!(is_unknown(&new_shard.said(again)));
    let far = in_from(&mut new_shard);
    assert!(is_unknown(&new_shard.tell(far, &resume("0007800000000001-x", 0))), "a shard that is not there");
}

/// A stream out whose peer remembers it by this id.
fn out_remembered(raw: &mut Raw, max: &str) -> LinkId {
    let (link, said) = dial(raw);
    assert_eq!(said, ENABLE_OURS);
    tell(
        raw,
        link,
        &format!("<enabled xmlns='urn:xmpp:sm:3' id='some-id' resume='true' {max} location='evil.example'/>"),
    );
    assert_eq!(raw.ready.pop(), Some(link));
    link
}

/// The next stream out of the same pair, up to where it is proven; what was said then.
fn again(raw: &mut Raw) -> (LinkId, String) {
    let link = raw.dial("contoso.com", THEM);
    raw.tell(
        link,
        &(answering(THEM, "contoso.com", "s") + &format!("<stream:features>{FEATURE}</stream:features>")),
    );
    let said = raw.tell(link, &format!("<db:result from='{THEM}' to='contoso.com' type='valid'/>"));
    (link, said)
}

#[test]
fn a_stream_out_goes_on_and_says_what_arrived() {
    let mut raw = raw();
    let old = out_remembered(&mut raw, "max='60'");
    send(&mut raw, old, 5);
    tell(&mut raw, old, &a(2));
    assert!(cut(&mut raw, old));
    let (new, said) = again(&mut raw);
    assert_eq!(said, resume("some-id", 0));
    assert!(raw.ready.is_empty(), "no stanza before the peer has said what it has");
    raw.acknowledging.clear();
    assert_eq!(raw.tell(new, &resumed("some-id", 4)), "");
    assert_eq!(
        (&raw.acknowledging[..], &raw.resumed[..], &raw.ready[..]),
        (&[new][..], &[(new, 2)][..], &[new][..])
    );
    // One of the five is sent again: the peer counts on from four.
    assert_eq!(send(&mut raw, new, 1), R);
    assert_eq!(tell(&mut raw, new, &a(5)), (String::new(), vec![1]));
    assert!(
        raw.connects.iter().all(|connect| !format!("{:?}", connect.target).contains("evil")),
        "location is not heeded"
    );
}

#[test]
fn a_peer_that_has_forgotten_is_asked_to_count_anew() {
    for (h, count) in [("", None), (" h='3'", Some(1)), (" h='99'", None)] {
        let mut raw = raw();
        let old = out_remembered(&mut raw, "");
        send(&mut raw, old, 5);
        tell(&mut raw, old, &a(2));
        cut(&mut raw, old);
        let (new, _) = again(&mut raw);
        let failed = format!(
            "<failed xmlns='urn:xmpp:sm:3'{h}><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
        );
        let (said, fault) = raw.try_tell(new, &failed);
        if h.contains("99") {
            assert!(said.contains("handled-count-too-high") && fault.is_some(), "{said}");
            continue;
        }
        assert_eq!(said, ENABLE_OURS);
        assert_eq!(raw.resumed.pop().map(|(_, count)| count), count);
        tell(&mut raw, new, "<enabled xmlns='urn:xmpp:sm:3'/>");
        assert_eq!(raw.ready, [new]);
        send(&mut raw, new, 3);
        assert_eq!(tell(&mut raw, new, &a(3)).1, [3], "counted from the beginning");
        assert!(!cut(&mut raw, new), "it promised nothing this time");
    }
}

#[test]
fn a_peer_may_not_have_more_than_it_was_sent() {
    for odd in [
        resumed("some-id", 6),
        resumed("some-id", 1),
        resumed("other-id", 4),
        "<resumed xmlns='urn:xmpp:sm:3' previd='some-id'/>".to_owned(),
    ] {
        let mut raw = raw();
        let old = out_remembered(&mut raw, "");
        send(&mut raw, old, 5);
        tell(&mut raw, old, &a(2));
        cut(&mut raw, old);
        let (new, _) = again(&mut raw);
        let (said, fault) = raw.try_tell(new, &odd);
        assert!(said.contains("handled-count-too-high") || said.contains("<bad-format"), "{odd}: {said}");
        assert!(fault.is_some() && raw.is_closed(new) && raw.resumed.is_empty() && raw.ready.is_empty());
        let (_, said) = again(&mut raw);
        assert_eq!(said, ENABLE_OURS, "it is not asked again");
    }
}

#[test]
fn nothing_is_resumed_when_it_is_too_late_or_for_another_pair() {
    let mut raw = Raw::new(
        Side::Partners,
        World { shards: 2, ..world(&["contoso.com", "fabrikam.com"], vec![partner(THEM, No, No, true)], No) },
    );
    let old = out_remembered(&mut raw, "max='30'");
    send(&mut raw, old, 1);
    cut(&mut raw, old);
    let link = raw.dial("fabrikam.com", THEM);
    raw.tell(
        link,
        &(answering(THEM, "fabrikam.com", "s") + &format!("<stream:features>{FEATURE}</stream:features>")),
    );
    let said = raw.tell(link, &format!("<db:result from='{THEM}' to='fabrikam.com' type='valid'/>"));
    assert_eq!(said, ENABLE_OURS);
    raw.now += std::time::Duration::from_secs(30);
    assert_eq!(again(&mut raw).1, ENABLE_OURS);
}
