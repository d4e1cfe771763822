//! The first words after a silence (XS-18).

use super::*;
use crate::driver::doubt::QUIET;

/// What is written after a silence to a peer that does not take it is not called written; when the peer is gone, nothing was, and it goes
/// out again elsewhere. When he takes it after all, all of it was.
pub(super) fn first_words_are_written_when_they_arrive(kind: Kind) {
    for peer_is_gone in [true, false] {
        let mut rig = Rig::new(kind, GATEWAY);
        rig.submit(Output::Transmit(rig.link, Bytes::from_static(b"hello")));
        rig.until(|input| matches!(input, Input::Written(_, 5)).then_some(()));
        // Long enough for the driver to have seen that nothing moves, and for that to be long.
        let quiet = crate::clock::now() + QUIET * 20;
        while crate::clock::now() < quiet {
            rig.turn(20);
        }
        rig.submit(Output::Transmit(rig.link, Bytes::from_static(b"are you there")));
        rig.until(|input| matches!(input, Input::Written(_, 18)).then_some(()));
        while crate::clock::now() < quiet + QUIET * 40 {
            rig.turn(20);
        }
        rig.seen.clear();
        rig.submit(Output::Transmit(rig.link, vec![b'x'; MUCH].into()));
        for _ in 0..20 {
            let inputs = rig.turn(20);
            rig.seen.extend(inputs);
        }
        assert!(rig.seen.is_empty(), "the kernel has taken some of it, and nobody has it: {:?}", rig.seen);
        if peer_is_gone {
            // With bytes unread its end is a reset.
            let (other, _) = connection();
            drop(std::mem::replace(&mut rig.peer, other));
            rig.until(|input| matches!(input, Input::Closed(..)).then_some(()));
            let written = rig.seen.iter().find(|input| matches!(input, Input::Written(..)));
            assert!(written.is_none(), "{written:?}");
            continue;
        }
        let mut peer = rig.peer.try_clone().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = vec![0; MUCH + 18];
            peer.read_exact(&mut bytes).unwrap();
        });
        let all = MUCH as u64 + 18;
        rig.until(|input| matches!(input, Input::Written(_, total) if *total == all).then_some(()));
        reader.join().unwrap();
    }
}
