use super::*;

#[test]
fn conditions_become_statuses() {
    let check = |name: &str, full: u16, bare: u16, strict_bare: u16| {
        let condition = Condition::from_name(name).unwrap();
        let strict = StatusPolicy { global_failures: true, challenges: true };
        let code =
            |full_jid, policy| status_of(condition, Refused { full_jid, new_address: false }, policy).code;
        let got =
            (code(true, StatusPolicy::default()), code(false, StatusPolicy::default()), code(false, strict));
        assert_eq!(got, (full, bare, strict_bare), "{name}");
    };
    check("bad-request", 400, 400, 400);
    check("conflict", 400, 400, 400);
    check("feature-not-implemented", 405, 501, 501);
    check("forbidden", 403, 403, 603);
    check("gone", 410, 410, 410);
    check("internal-server-error", 500, 500, 500);
    check("item-not-found", 404, 404, 604);
    check("jid-malformed", 400, 400, 400);
    check("not-acceptable", 406, 406, 606);
    check("not-allowed", 403, 403, 403);
    check("not-authorized", 403, 403, 401);
    check("policy-violation", 403, 403, 403);
    check("recipient-unavailable", 480, 480, 600);
    check("redirect", 480, 480, 480);
    check("registration-required", 403, 403, 407);
    check("remote-server-not-found", 404, 404, 404);
    check("remote-server-timeout", 408, 408, 408);
    check("resource-constraint", 500, 500, 500);
    check("service-unavailable", 403, 403, 403);
    check("subscription-required", 400, 400, 400);
    check("undefined-condition", 400, 400, 400);
    check("unexpected-request", 400, 400, 400);
}

#[test]
fn no_condition_makes_a_503_or_lacks_words() {
    for condition in Condition::ALL {
        for bits in 0_u8..16 {
            let refused = Refused { full_jid: bits & 1 != 0, new_address: bits & 2 != 0 };
            let policy = StatusPolicy { global_failures: bits & 4 != 0, challenges: bits & 8 != 0 };
            let status = status_of(condition, refused, policy);
            assert_ne!(status.code, 503, "{condition:?}");
            assert_ne!(status.reason, "Error", "{condition:?}");
        }
    }
    let moved = Refused { full_jid: false, new_address: true };
    assert_eq!(status_of(Condition::Gone, moved, StatusPolicy::default()).code, 301);
    assert_eq!(status_of(Condition::Redirect, moved, StatusPolicy::default()).code, 302);
}

#[test]
fn statuses_become_conditions() {
    let check = |statuses: &[u16], condition: &str, kind: &str| {
        for status in statuses {
            let error = condition_of(*status, None, None);
            assert_eq!((error.condition.as_str(), error.kind.as_str()), (condition, kind), "{status}");
            assert_eq!(error.remedy, Remedy::None);
        }
    };
    check(&[300, 302, 305, 399], "redirect", "modify");
    check(&[301, 410], "gone", "cancel");
    check(&[380, 406, 415, 416, 421, 482, 483, 488, 505, 606], "not-acceptable", "modify");
    check(&[400, 402, 493, 499], "bad-request", "modify");
    check(&[401], "not-authorized", "auth");
    check(&[403], "forbidden", "auth");
    check(&[404, 481, 484, 485, 604], "item-not-found", "cancel");
    check(&[405, 420, 439, 501], "feature-not-implemented", "cancel");
    check(&[407], "registration-required", "auth");
    check(&[408, 504], "remote-server-timeout", "wait");
    check(&[413, 414, 440, 489, 513], "policy-violation", "modify");
    check(&[423], "resource-constraint", "wait");
    check(&[430, 480, 486, 487, 600, 603, 699], "recipient-unavailable", "wait");
    check(&[491], "unexpected-request", "wait");
    check(&[500, 555], "internal-server-error", "cancel");
    check(&[502], "remote-server-not-found", "cancel");
    check(&[503], "internal-server-error", "wait");
    check(&[0, 200, 700], "undefined-condition", "cancel");
}

#[test]
fn diagnostics_say_more_than_the_status() {
    let check = |status, code, condition: &str, kind: &str, remedy| {
        let error = condition_of(status, Some(code), None);
        assert_eq!((error.condition.as_str(), error.kind.as_str()), (condition, kind), "{status} {code}");
        assert_eq!(error.remedy, remedy, "{status} {code}");
    };
    check(404, 1003, "service-unavailable", "cancel", Remedy::None);
    check(404, 4005, "service-unavailable", "cancel", Remedy::None);
    check(404, 4006, "service-unavailable", "cancel", Remedy::RefreshHome);
    check(480, 4006, "service-unavailable", "cancel", Remedy::RefreshHome);
    check(403, 1001, "forbidden", "auth", Remedy::None);
    check(403, 1002, "forbidden", "auth", Remedy::None);
    check(403, 1012, "forbidden", "auth", Remedy::None);
    check(504, 1005, "remote-server-not-found", "cancel", Remedy::TellOperator);
    check(504, 1007, "remote-server-timeout", "wait", Remedy::TellOperator);
    check(504, 1008, "remote-server-not-found", "cancel", Remedy::TellOperator);
    check(504, 1009, "remote-server-not-found", "cancel", Remedy::TellOperator);
    check(504, 1010, "remote-server-not-found", "cancel", Remedy::TellOperator);
    check(481, 1004, "recipient-unavailable", "wait", Remedy::Reopen);
    check(480, 4141, "recipient-unavailable", "wait", Remedy::RefreshHome);
    check(486, 13004, "recipient-unavailable", "wait", Remedy::None);
}

#[test]
fn a_response_is_read_for_all_it_says() {
    let check = |text: &str, condition: &str| {
        let message = Message::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap();
        assert_eq!(condition_of_response(&message).condition.as_str(), condition, "{text}");
    };
    check(
        "SIP/2.0 606 Not Acceptable\r\nWarning: 309 pool \"URL filter\"\r\nl: 0\r\n\r\n",
        "policy-violation",
    );
    check("SIP/2.0 606 Not Acceptable\r\nl: 0\r\n\r\n", "not-acceptable");
    check(
        "SIP/2.0 403 No\r\nms-diagnostics-public: 1003;reason=\"a, b\"\r\nl: 0\r\n\r\n",
        "service-unavailable",
    );
    check("SIP/2.0 403 No\r\nms-diagnostics: 99999999999;reason=\"x\"\r\nl: 0\r\n\r\n", "forbidden");
    check("SIP/2.0 480 No\r\nMS-Diagnostics: 1002\r\nl: 0\r\n\r\n", "forbidden");
}
