//! Acknowledgements through whole shards (XEP-0198): when a stanza counts as delivered, what a lost link leaves behind, and when the
//! stream it came by hears of its end.

#![allow(clippy::unwrap_used, reason = "a test stops where something is not as it should be")]
#![allow(clippy::disallowed_methods, reason = "a test needs one instant to count from")]

#[path = "acknowledged/rig.rs"]
mod rig;

use rig::{ANNA, BOB, Rig};

#[test]
fn delivered_is_what_the_peer_has_said() {
    let mut rig = Rig::new(1);
    rig.chain(0);
    rig.says(0, &[1, 2, 3], BOB, ANNA);
    let gateway = rig.dialed(0);
    assert_eq!(rig.heard(gateway), [1, 2, 3]);
    rig.write_all(gateway);
    assert_eq!((rig.delivered(), rig.held()), (0, 3), "that the system has taken it says nothing");
    assert_eq!(rig.ended(), 0);
    rig.acknowledge(gateway, 2);
    assert_eq!((rig.delivered(), rig.held(), rig.ended()), (2, 1, 2));
    rig.acknowledge(gateway, 1);
    assert_eq!((rig.delivered(), rig.held(), rig.ended()), (3, 0, 3));
    rig.check();
}

#[test]
fn an_acknowledgement_may_come_before_the_news_that_it_was_written() {
    let mut rig = Rig::new(1);
    rig.says(0, &[1, 2], BOB, ANNA);
    let gateway = rig.dialed(0);
    rig.acknowledge(gateway, 2);
    rig.write_all(gateway);
    assert_eq!((rig.delivered(), rig.held()), (2, 0));
    rig.acknowledge(gateway, 7);
    rig.says(0, &[3], BOB, ANNA);
    assert_eq!(rig.delivered(), 2, "what was said too much is not saved up");
    rig.check();
}

#[test]
fn what_is_not_acknowledged_goes_first_on_the_next_link() {
    let mut rig = Rig::new(1);
    rig.chain(0);
    rig.says(0, &[1, 2, 3, 4], BOB, ANNA);
    let gateway = rig.dialed(0);
    rig.write_all(gateway);
    rig.says(0, &[5], BOB, ANNA);
    rig.acknowledge(gateway, 2);
    rig.dials_wait(true);
    rig.lose(gateway);
    rig.says(0, &[6], BOB, ANNA);
    rig.dials_wait(false);
    rig.open_all();
    let next = rig.dialed(0);
    assert_ne!(next, gateway);
    assert_eq!(rig.heard(next), [3, 4, 5, 6], "in order, and each once");
    assert_eq!(rig.repeated(), 2, "3 and 4 were written, 5 was not");
    rig.acknowledge(next, 4);
    assert_eq!((rig.delivered(), rig.held(), rig.ended()), (6, 0, 6));
    rig.check();
}

#[test]
fn the_end_is_told_across_shards() {
    for shard in 0..2 {
        let mut rig = Rig::new(2);
        rig.chain(shard);
        rig.gateway_says(shard, &[1, 2], ANNA, BOB);
        let owner = rig.owner();
        let partner = rig.dialed(owner);
        assert_eq!(rig.heard(partner), [1, 2]);
        rig.write_all(partner);
        assert_eq!(rig.ended(), 0);
        rig.acknowledge(partner, 1);
        assert_eq!(rig.ended(), 1);
        rig.acknowledge(partner, 1);
        assert_eq!(rig.ended(), 2);
        rig.check();
    }
}

#[test]
fn a_bounce_is_an_end() {
    let mut rig = Rig::new(1);
    rig.chain(0);
    rig.says(0, &[1], BOB, "nobody@contoso.com");
    assert_eq!(rig.ended(), 1);
    rig.check();
}

#[test]
fn who_did_not_ask_is_not_told() {
    let mut rig = Rig::new(2);
    for shard in 0..2 {
        rig.gateway_says(shard, &[1], ANNA, BOB);
    }
    let partner = rig.dialed(rig.owner());
    rig.acknowledge(partner, 2);
    assert_eq!((rig.delivered(), rig.ended()), (2, 0));
    rig.chain(0);
    rig.forget(0);
    rig.gateway_says(0, &[2], ANNA, BOB);
    rig.acknowledge(partner, 1);
    assert_eq!((rig.delivered(), rig.ended()), (3, 0), "nor who is gone");
    rig.check();
}

#[test]
fn what_passes_on_at_once_does_not_touch_the_disk() {
    let mut rig = Rig::new(1);
    rig.open_spool(1, Vec::new());
    rig.chain(0);
    rig.says(0, &[1], BOB, ANNA);
    // The first one waited for the link to be dialed.
    let (dialed, gateway) = (rig.spooled.len(), rig.dialed(0));
    rig.says(0, &[2, 3], BOB, ANNA);
    assert_eq!(rig.spooled.len(), dialed);
    rig.acknowledge(gateway, 3);
    assert_eq!((rig.delivered(), rig.ended(), rig.unspooled.len()), (3, 3, dialed));
    rig.check();
}

#[test]
fn what_waits_is_acknowledged_when_it_is_on_disk_and_done_at_its_end() {
    let mut rig = Rig::new(1);
    rig.open_spool(1, Vec::new());
    rig.chain(0);
    rig.dials_wait(true);
    rig.says(0, &[1, 2, 3], BOB, ANNA);
    let keys: Vec<_> = rig.spooled.iter().map(|entry| entry.key).collect();
    assert_eq!((keys.len(), rig.ended()), (3, 0), "nobody is told before the disk has it");
    rig.confirm(keys[1]);
    assert_eq!(rig.ended(), 2);
    rig.open_all();
    let gateway = rig.dialed(0);
    assert_eq!(rig.heard(gateway), [1, 2, 3]);
    assert!(rig.unspooled.is_empty(), "the next hop may still lose them");
    rig.acknowledge(gateway, 3);
    assert_eq!(rig.ended(), 3, "the third at its end, the others not twice");
    rig.confirm(keys[2]);
    assert_eq!((rig.ended(), rig.unspooled.clone()), (3, keys));
    rig.check();
}

#[test]
fn what_was_not_acknowledged_is_put_on_disk_in_its_place() {
    let mut rig = Rig::new(1);
    rig.open_spool(1, Vec::new());
    rig.says(0, &[1, 2], BOB, ANNA);
    let gateway = rig.dialed(0);
    rig.acknowledge(gateway, 1);
    rig.says(0, &[3], BOB, ANNA);
    rig.dials_wait(true);
    rig.lose(gateway);
    rig.says(0, &[4], BOB, ANNA);
    let mut entries = rig.spooled.clone();
    entries.retain(|entry| !rig.unspooled.contains(&entry.key));
    entries.reverse();
    // The process dies; another has two shards, and a partner who speaks to the other one at once.
    let mut next = Rig::new(2);
    next.open_spool(2, entries);
    for shard in 0..2 {
        next.says(shard, &[5 + u32::from(shard)], BOB, ANNA);
    }
    let links: Vec<_> =
        (0..2).filter(|shard| next.has_dialed(*shard)).map(|shard| next.dialed(shard)).collect();
    assert_eq!(links.len(), 1, "one stream for the pair of domains, where the oldest wait");
    assert_eq!(next.heard(links[0]), [2, 3, 4, 5, 6]);
    next.acknowledge(links[0], 5);
    assert_eq!((next.delivered(), next.held(), next.unspooled.len()), (5, 0, 3));
    next.check();
}

/// A link to the gateway with four stanzas written, of which two are acknowledged, and a fifth; it breaks, and a sixth comes.
fn broken(rig: &mut Rig) -> turnout_core::io::LinkId {
    rig.remember();
    rig.chain(0);
    rig.says(0, &[1, 2, 3, 4], BOB, ANNA);
    let gateway = rig.dialed(0);
    rig.write_all(gateway);
    rig.says(0, &[5], BOB, ANNA);
    rig.acknowledge(gateway, 2);
    rig.dials_wait(true);
    rig.lose(gateway);
    assert_eq!(rig.held(), 3);
    rig.says(0, &[6], BOB, ANNA);
    assert_eq!((rig.held(), rig.delivered()), (4, 2));
    rig.check();
    let next = rig.dialed(0);
    assert_ne!(next, gateway, "it is dialed at once");
    next
}

#[test]
fn a_resumed_link_sends_what_is_missing_and_nothing_twice() {
    let mut rig = Rig::new(1);
    let next = broken(&mut rig);
    rig.resume(next, 1);
    assert_eq!(rig.heard(next), [4, 5, 6], "the peer has 3");
    assert_eq!((rig.delivered(), rig.held(), rig.ended()), (3, 3, 3));
    assert_eq!(rig.repeated(), 1, "4 was written and may have arrived, or not");
    rig.acknowledge(next, 3);
    assert_eq!((rig.delivered(), rig.held(), rig.ended()), (6, 0, 6));
    rig.check();
}

#[test]
fn a_peer_that_has_all_of_it_and_more_is_believed_as_far_as_it_was_sent() {
    for count in [3, 9] {
        let mut rig = Rig::new(1);
        let next = broken(&mut rig);
        rig.resume(next, count);
        assert_eq!(rig.heard(next), [6]);
        assert_eq!((rig.delivered(), rig.held(), rig.repeated()), (5, 1, 0));
        rig.check();
    }
}

#[test]
fn a_link_that_is_not_resumed_sends_all_again() {
    let mut rig = Rig::new(1);
    broken(&mut rig);
    rig.open_all();
    let next = rig.dialed(0);
    assert_eq!((rig.heard(next), rig.repeated()), (vec![3, 4, 5, 6], 2));
    rig.acknowledge(next, 4);
    assert_eq!((rig.delivered(), rig.held(), rig.ended()), (6, 0, 6));
    rig.check();
}

#[test]
fn a_link_that_breaks_while_it_resumes_loses_nothing() {
    let mut rig = Rig::new(1);
    let next = broken(&mut rig);
    rig.resume(next, 1);
    rig.lose(next);
    rig.check();
    let third = rig.dialed(0);
    assert_ne!(third, next);
    rig.resume(third, 2);
    assert_eq!(rig.heard(third), [6], "the second link had carried 4, 5 and 6");
    assert_eq!((rig.delivered(), rig.held()), (5, 1));
    rig.check();
}

#[test]
fn what_a_suspended_link_gives_back_is_put_on_disk_in_its_place() {
    let waiting = |rig: &Rig| {
        let mut entries = rig.spooled.clone();
        entries.retain(|entry| !rig.unspooled.contains(&entry.key));
        entries
    };
    let mut rig = Rig::new(1);
    rig.open_spool(1, Vec::new());
    let next = broken(&mut rig);
    // The first four waited for the dial, the sixth waits; what the link holds may yet be settled by what the peer says.
    let numbers = |rig: &Rig| -> Vec<_> { waiting(rig).into_iter().map(|entry| entry.bytes).collect() };
    assert_eq!(numbers(&rig), ["3", "4", "6"], "the fifth never waited");
    rig.resume(next, 1);
    assert_eq!((rig.heard(next), rig.delivered(), rig.ended()), (vec![4, 5, 6], 3, 3));
    assert_eq!(numbers(&rig), ["4", "6", "5"], "the third was there");
    // The process dies.
    let mut anew = Rig::new(1);
    anew.open_spool(2, waiting(&rig));
    let gateway = anew.dialed(0);
    assert_eq!(anew.heard(gateway), [4, 5, 6]);
    anew.acknowledge(gateway, 3);
    assert_eq!((anew.delivered(), anew.held(), anew.unspooled.len()), (3, 0, 3));
    anew.check();
    // Or it does not.
    rig.acknowledge(next, 3);
    assert_eq!((rig.delivered(), rig.held(), rig.ended()), (6, 0, 6));
    assert!(waiting(&rig).is_empty());
    rig.check();
}

#[test]
fn what_is_suspended_is_bounced_with_all_that_waits() {
    let mut rig = Rig::new(1);
    rig.remember();
    rig.gateway_says(0, &[1, 2], ANNA, BOB);
    let partner = rig.dialed(0);
    rig.write_all(partner);
    rig.dials_wait(true);
    rig.lose(partner);
    assert_eq!(rig.dialed(0), partner, "a partner is not dialed at once");
    rig.pass(5);
    let next = rig.dialed(0);
    assert_ne!(next, partner);
    rig.gateway_says(0, &[3], ANNA, BOB);
    rig.fail(next);
    assert_eq!((rig.bounced(), rig.held()), (0, 3), "he may come back");
    rig.pass(61);
    assert_eq!((rig.bounced(), rig.held()), (3, 0), "a partner that is not there any more");
    rig.check();

    let mut rig = Rig::new(1);
    broken(&mut rig);
    rig.stop();
    assert_eq!(rig.held(), 0, "the end of the process does not wait for a resumption");
    rig.check();
}

#[test]
fn the_ends_of_what_a_gone_link_brought_are_told_until_nobody_wants_to_hear() {
    let mut rig = Rig::new(2);
    rig.remember();
    for shard in 0..2 {
        rig.chain(shard);
    }
    rig.dials_wait(true);
    rig.says(0, &[1, 2], BOB, ANNA);
    rig.partner_is_gone(0);
    rig.open_all();
    let gateway = rig.dialed(0);
    rig.acknowledge(gateway, 1);
    assert_eq!(rig.ended(), 1);
    rig.unchain(0);
    rig.acknowledge(gateway, 1);
    assert_eq!((rig.ended(), rig.delivered()), (1, 2));
    rig.check();
}

#[test]
fn a_partners_own_stream_is_the_way_to_him() {
    let mut rig = Rig::new(1);
    let back = rig.goes_back(0);
    rig.gateway_says(0, &[1, 2], ANNA, BOB);
    assert_eq!((rig.heard(back), rig.dials()), (vec![1, 2], 0), "nobody is dialed");
    rig.write_all(back);
    rig.acknowledge(back, 1);
    assert_eq!((rig.delivered(), rig.held()), (1, 1));
    // It is gone: what is not acknowledged goes first on the link that is dialed then.
    rig.partner_is_gone(0);
    rig.gateway_says(0, &[3], ANNA, BOB);
    rig.pass(5);
    assert_eq!((rig.dials(), rig.heard(rig.dialed(0)), rig.repeated()), (1, vec![2, 3], 1));
    rig.check();
}

#[test]
fn a_way_back_is_begun_only_where_nothing_else_is_used_or_dialed() {
    let mut rig = Rig::new(1);
    rig.dials_wait(true);
    rig.gateway_says(0, &[1], ANNA, BOB);
    let back = rig.goes_back(0);
    let dialed = rig.dialed(0);
    rig.gateway_says(0, &[2], ANNA, BOB);
    rig.open_all();
    rig.gateway_says(0, &[3], ANNA, BOB);
    assert_eq!((rig.heard(dialed), rig.heard(back)), (vec![1, 2, 3], vec![]), "one link, one order");
    // When that is gone the way back takes its place.
    rig.lose(dialed);
    assert_eq!((rig.heard(back), rig.dials()), (vec![1, 2, 3], 1));
    rig.check();
}

#[test]
fn who_cannot_be_dialed_is_answered_on_his_own_stream() {
    let mut rig = Rig::new(1);
    rig.dials_wait(true);
    rig.gateway_says(0, &[1], ANNA, BOB);
    rig.fail(rig.dialed(0));
    assert_eq!(rig.bounced(), 0);
    rig.gateway_says(0, &[2], ANNA, BOB);
    assert_eq!((rig.dials(), rig.held()), (1, 2), "he rests for a while");
    let back = rig.goes_back(0);
    assert_eq!((rig.dials(), rig.heard(back)), (1, vec![1, 2]), "and needs not be waited for");
    rig.check();
}

#[test]
fn a_shard_that_does_not_send_to_a_partner_has_no_way_back_to_him() {
    let mut rig = Rig::new(2);
    let other = 1 - rig.owner();
    let back = rig.goes_back(u16::try_from(other).unwrap());
    rig.gateway_says(u16::try_from(other).unwrap(), &[1], ANNA, BOB);
    assert_eq!((rig.heard(back), rig.heard(rig.dialed(rig.owner()))), (vec![], vec![1]));
    rig.check();
}
