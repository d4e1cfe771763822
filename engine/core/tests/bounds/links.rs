//! What may be given to one link, and how long it may take.

use std::time::Duration;

use bytes::Bytes;
use turnout_core::io::{Closed, Input, Side, Unreachable};
use turnout_core::limits::{
    ATTEMPTS_MAX, BACKOFF_SECONDS_MAX, CLOSE_SECONDS, CONNECT_SECONDS, FLUSH_BYTES, LINK_CREDIT_BYTES,
    LINK_CREDIT_STANZAS, LINK_UNACKNOWLEDGED_BYTES,
};
use turnout_core::refusal::Condition;

use crate::rig::{ANNA, BOB, CARLA, Manner, Rig, large, link_of};

#[test]
fn no_more_stanzas_are_handed_to_a_link_than_its_credit() {
    let mut rig = Rig::new();
    rig.say(Side::Partners, BOB, ANNA, LINK_CREDIT_STANZAS);
    let link = rig.dialed();
    assert_eq!(rig.given(link), LINK_CREDIT_STANZAS);
    rig.say(Side::Partners, BOB, ANNA, 1);
    assert_eq!((rig.given(link), rig.shard.held()), (LINK_CREDIT_STANZAS, LINK_CREDIT_STANZAS + 1));
    assert_eq!(rig.refused(), 0, "the one too many waits");
    rig.say(Side::Partners, BOB, CARLA, 1);
    assert_eq!(rig.given(rig.dialed()), 1, "and holds up nobody else");
    rig.write_all(link);
    assert_eq!(rig.given(link), LINK_CREDIT_STANZAS + 1);
    rig.check();
}

#[test]
fn no_more_bytes_are_handed_to_a_link_than_its_credit() {
    let mut rig = Rig::new();
    let most = LINK_CREDIT_BYTES as usize / large().len();
    rig.say_large(Side::Partners, link_of(Side::Partners, 0), BOB, ANNA, most);
    let link = rig.dialed();
    assert_eq!(rig.given(link), most);
    rig.say(Side::Partners, BOB, ANNA, 1);
    assert_eq!((rig.given(link), rig.refused()), (most, 0), "the one too many waits");
    rig.write_all(link);
    assert_eq!(rig.given(link), most + 1);
    rig.check();
}

#[test]
fn what_waits_for_a_link_goes_in_pieces_that_others_can_wait_for() {
    const BYTES: usize = 1000;
    let piece = (FLUSH_BYTES as usize).div_ceil(BYTES);
    let mut rig = Rig::new();
    rig.seen().dials_wait = true;
    for _ in 0..3 * piece {
        let stanza = rig.message(BOB, ANNA, &Bytes::from_static(&[b'x'; BYTES]));
        rig.bring(Side::Partners, link_of(Side::Partners, 0), [stanza]);
    }
    let link = rig.dialed();
    rig.event(link, "ready");
    for pieces in 1..=3 {
        let given = rig.given(link);
        assert!(given.abs_diff(pieces * piece) <= pieces, "{given} after {pieces} of {piece}");
        rig.write_all(link);
    }
    assert_eq!(
        (rig.given(link), rig.refused()),
        (3 * piece, 0),
        "each piece that is written brings the next"
    );
    rig.check();
}

#[test]
fn no_more_is_left_unacknowledged_than_may_be() {
    let mut rig = Rig::new();
    rig.seen().acknowledges = true;
    let most = LINK_UNACKNOWLEDGED_BYTES as usize / large().len();
    for _ in 0..most {
        rig.say_large(Side::Partners, link_of(Side::Partners, 0), BOB, ANNA, 1);
        let link = rig.dialed();
        rig.write_all(link);
    }
    let link = rig.dialed();
    assert_eq!(rig.given(link), most);
    rig.say(Side::Partners, BOB, ANNA, 1);
    assert_eq!(rig.given(link), most, "all is written, and nothing acknowledged: the one too many waits");
    rig.event(link, "acknowledge");
    assert_eq!((rig.given(link), rig.refused()), (most + 1, 0));
    rig.check();
}

#[test]
fn an_attempt_to_connect_has_its_time_and_no_more() {
    let mut rig = Rig::new();
    rig.seen().dials_wait = true;
    rig.say(Side::Partners, ANNA, BOB, 1);
    rig.say(Side::Partners, BOB, ANNA, 1);
    rig.pass(Duration::from_millis(CONNECT_SECONDS * 1000 - 1));
    assert_eq!((rig.closed().len(), rig.dials()), (0, 1));
    rig.millis(1);
    let first = rig.seen().dialed[0];
    assert_eq!(rig.closed(), [first], "a link without a stream is given up");
    rig.check();
}

#[test]
fn a_link_that_closes_has_its_time_and_is_cut() {
    let mut rig = Rig::new();
    rig.say(Side::Partners, BOB, ANNA, 1);
    let link = rig.dialed();
    rig.event(link, "close");
    rig.say(Side::Partners, BOB, ANNA, 1);
    rig.pass(Duration::from_millis(CLOSE_SECONDS * 1000 - 1));
    assert_eq!((rig.closed().len(), rig.dials()), (0, 1), "it may still say what it has");
    rig.millis(1);
    assert_eq!(rig.closed(), [link]);
    rig.handle(Input::Closed(link, Closed::Ours));
    assert_eq!((rig.dials(), rig.given(rig.dialed())), (2, 2), "and the rest goes on another");
    rig.check();
}

#[test]
fn a_destination_that_cannot_be_reached_is_tried_again_in_bounded_time() {
    let mut rig = Rig::new();
    rig.seen().dials_wait = true;
    for attempt in 1..20 {
        rig.say(Side::Partners, BOB, ANNA, 1);
        let mut waited = 0;
        while rig.dials() < attempt {
            assert!(waited <= BACKOFF_SECONDS_MAX, "attempt {attempt} after {waited} s");
            rig.seconds(1);
            waited += 1;
            if rig.shard.held() == 0 {
                rig.say(Side::Partners, BOB, ANNA, 1);
            }
        }
        let failed = Input::Failed { link: rig.dialed(), why: Unreachable::NoAnswer, text: "nobody".into() };
        rig.handle(failed);
    }
    rig.check();
}

#[test]
fn a_stanza_that_comes_back_is_offered_so_often_and_then_refused() {
    let mut rig = Rig::new();
    rig.seen().manner = Manner::Keeps;
    rig.say(Side::Partners, BOB, CARLA, 1);
    for attempt in 1..=usize::from(ATTEMPTS_MAX) {
        assert_eq!((rig.given(rig.dialed()), rig.refused()), (attempt, 0), "attempt {attempt}");
        rig.give_back();
    }
    assert_eq!(rig.given(rig.dialed()), usize::from(ATTEMPTS_MAX), "it is not offered once more");
    assert_eq!((rig.refused(), rig.shard.held()), (1, 0));
    assert_eq!(rig.refusal().0, Condition::RemoteServerTimeout);
    rig.say(Side::Partners, BOB, CARLA, 1);
    assert_eq!(rig.refused(), 1, "others are offered as before");
    rig.check();
}
