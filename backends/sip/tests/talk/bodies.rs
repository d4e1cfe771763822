//! What a message says, in whatever form it comes.

use turnout_core::backend::Sent;
use turnout_core::home::Dialect;
use turnout_core::refusal::Condition;

use crate::support::*;
use crate::*;

#[test]
fn invitations_to_rooms_are_refused() {
    for dialect in [Dialect::Skype, Dialect::Simple] {
        let mut rig = Rig::new(&Setup { dialect, ..Setup::default() });
        let link = rig.dial(0);
        let mediated =
            "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='bob@partner.example'/></x>";
        let direct = "<x xmlns='jabber:x:conference' jid='room@muc.partner.example'/>";
        for inside in [mediated, &format!("<body>come in</body>{mediated}"), direct] {
            let stanza = rig.stanza(&format!("<message from='{BOB}' to='{ALICE}'>{inside}</message>"));
            match rig.send(link, stanza) {
                Sent::Refused(_, refusal) => {
                    assert_eq!(refusal.condition, Condition::ServiceUnavailable, "{inside}");
                }
                sent => panic!("{inside} {sent:?}"),
            }
            assert!(rig.is_quiet(link));
        }
        // What a person writes beside his own invitation is text.
        text(&mut rig, link, "come", direct);
        assert!(!rig.is_quiet(link));
    }
}

#[test]
fn html_is_shown_as_such_where_that_is_wanted() {
    let html = "<b>bold</b> <a href='javascript:x'>l</a>";
    for (xhtml_im, expected) in [
        (false, "<body>bold l</body><thread>"),
        (
            true,
            "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>\
             <strong>bold</strong> l</body></html>",
        ),
    ] {
        let mut rig = Rig::new(&Setup { xhtml_im, ..Setup::default() });
        let link = rig.dial(0);
        let ok = opened(&mut rig, link, "");
        rig.says(link, &within(&ok, "MESSAGE", 1, "z9hG4bK1", "Content-Type: text/html\r\n", html));
        let (_, text) = rig.arrived();
        assert!(text.contains(expected) && text.contains("<body>bold l</body>"), "{text}");
        assert_eq!(text.contains("<html"), xhtml_im, "{text}");
    }
}

#[test]
fn mixed_bodies_are_refused() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    let ok = opened(&mut rig, link, "");
    let body = "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b\r\nContent-Type: image/png\r\n\r\ny\r\n--b--";
    let kind = "Content-Type: multipart/mixed;boundary=b\r\n";
    rig.says(link, &within(&ok, "MESSAGE", 1, "z9hG4bK1", kind, body));
    assert_eq!(rig.next(link).status(), Some(415));
    let kind = "Content-Type: multipart/related;boundary=b\r\n";
    rig.says(link, &within(&ok, "MESSAGE", 2, "z9hG4bK2", kind, body));
    assert!(rig.arrived().1.contains("<body>x</body>"));
    let kind = "Content-Type: text/x-msmsgsinvite; charset=UTF-8\r\n";
    rig.says(link, &within(&ok, "MESSAGE", 3, "z9hG4bK3", kind, "Application-Name: File Transfer\r\n"));
    assert_eq!(rig.next(link).status(), Some(603));
}
