use super::*;

const WRAPPED: &str = "From: <im:a@example.com>\r\nTo: <im:b@example.com>\r\nNS: imdn <urn:ietf:params:imdn>\r\n\
    imdn.Message-ID: 34jk324j\r\nDateTime: 2006-04-04T12:16:49-05:00\r\n\
    imdn.Disposition-Notification: positive-delivery, negative-delivery\r\n\r\nContent-type: text/plain\r\n\
    Content-length: 12\r\n\r\nHello World\r\n";

#[test]
fn wrappers_are_taken_off() {
    let found = unwrap(WRAPPED.as_bytes()).unwrap();
    let wish = Wish {
        message_id: "34jk324j".into(),
        date: "2006-04-04T12:16:49-05:00".into(),
        positive: true,
        negative: true,
    };
    assert_eq!(found.wish, wish);
    assert_eq!((found.kind, found.encoding), (Some(b"text/plain".as_slice()), None));
    assert_eq!(found.body, b"Hello World\r\n");
    // Another prefix, none, and one of somebody else.
    for (declared, used) in [("q <urn:ietf:params:imdn>", "q."), ("<urn:ietf:params:imdn>", "")] {
        let other = WRAPPED.replace("imdn <urn:ietf:params:imdn>", declared).replace("imdn.", used);
        assert_eq!(unwrap(other.as_bytes()).unwrap().wish, wish, "{other}");
    }
    let foreign = WRAPPED.replace("urn:ietf:params:imdn", "urn:other");
    assert_eq!(unwrap(foreign.as_bytes()).unwrap().wish.message_id.as_ref(), "");
    let odd = WRAPPED.replace("34jk324j", &"x".repeat(257)).replace("2006-", "2006 \u{e9}");
    let odd = unwrap(odd.as_bytes()).unwrap().wish;
    assert_eq!((&*odd.message_id, &*odd.date), ("", ""));
    for broken in ["", "From: x", "From: x\r\n\r\n", "From: x\r\n\r\nContent-Type: text/plain\r\nx"] {
        assert_eq!(unwrap(broken.as_bytes()), None, "{broken:?}");
    }
    assert_eq!(unwrap("a: b\r\n".repeat(100).as_bytes()), None);
    assert_eq!(unwrap(b"\r\n\r\nx").unwrap().body, b"x");
}

#[test]
fn notifications_are_read() {
    let document = |notification: &str| {
        format!(
            "<?xml version='1.0'?><imdn xmlns='{IMDN_DOCUMENT}'><message-id>34jk324j</message-id>\
             <datetime>2008-04-04T12:16:49-05:00</datetime><recipient-uri>im:b@example.com</recipient-uri>{notification}</imdn>"
        )
    };
    let check = |notification: &str, fate: Option<Fate>| {
        let expected = fate.map(|fate| ("34jk324j".to_owned(), fate));
        assert_eq!(read_notification(document(notification).as_bytes()), expected, "{notification}");
    };
    let delivery =
        |status: &str| format!("<delivery-notification><status><{status}/></status></delivery-notification>");
    check(&delivery("delivered"), Some(Fate::Delivered));
    check(&delivery("failed"), Some(Fate::Failed));
    check(
        "<display-notification><status><displayed></displayed></status></display-notification>",
        Some(Fate::Delivered),
    );
    for silent in [&delivery("forbidden"), &delivery("error"), &delivery("displayed"), "", "<delivered/>"] {
        check(silent, None);
    }
    check(&format!("<o xmlns='o'>{}</o>", delivery("delivered")), None);
    check("<delivery-notification><status><delivered xmlns='o'/></status></delivery-notification>", None);
    assert_eq!(read_notification(b"<imdn/>"), None);
    assert_eq!(read_notification(&[b' '; 9000]), None);
    // What the servers of the pool send under a similar name is another document.
    let theirs =
        "<imdn xmlns='http://schemas.microsoft.com/rtc/2005/08/imdn'><message-id>2</message-id></imdn>";
    assert_eq!(read_notification(theirs.as_bytes()), None);
}

#[test]
fn what_is_written_is_read() {
    let wish = Wish {
        message_id: "<a&b>".into(),
        date: "2006-04-04T12:16:49-05:00".into(),
        positive: true,
        negative: true,
    };
    for fate in [Fate::Delivered, Fate::Failed] {
        let wrapped = wrap_notification("sip:b@p.example", "sip:a@c.example", "n1", &wish, fate);
        let found = unwrap(wrapped.as_bytes()).unwrap();
        assert_eq!(found.kind, Some(IMDN_TYPE.as_bytes()));
        assert!(!found.wish.positive && !found.wish.negative, "a notification asks for none");
        assert!(
            std::str::from_utf8(found.body)
                .unwrap()
                .contains("<datetime>2006-04-04T12:16:49-05:00</datetime>")
        );
        let (id, read) = read_notification(found.body).unwrap();
        assert_eq!((id.as_str(), read), ("<a&b>", fate));
    }
    let wrapped = wrap_text("sip:b@p.example", "sip:a@c.example", "n2", &date(0), "two\r\n\r\nlines");
    let found = unwrap(wrapped.as_bytes()).unwrap();
    assert_eq!(found.body, b"two\r\n\r\nlines");
    assert!(found.wish.positive && found.wish.negative);
    assert_eq!((&*found.wish.message_id, &*found.wish.date), ("n2", "1970-01-01T00:00:00Z"));
}

#[test]
fn dates() {
    for (seconds, expected) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_143_188_209, "2006-03-24T08:16:49Z"),
        (1_735_689_599, "2024-12-31T23:59:59Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(date(seconds), expected);
    }
    assert!(date(u64::MAX).starts_with("9999-12-31T"));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived(body: Vec<u8>, lines in "([a-zA-Z.]{0,8}: ?[ -~]{0,12}\r?\n|\r?\n){0,12}", markup in "[<>&;/a-z='\" -]{0,60}") {
        let _found = unwrap(&body);
        let _found = unwrap(lines.as_bytes());
        let _found = read_notification(&body);
        let _found = read_notification(markup.as_bytes());
        let _found = read_notification(format!("<imdn xmlns='{IMDN_DOCUMENT}'>{markup}</imdn>").as_bytes());
    }
}
