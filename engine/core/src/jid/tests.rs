use proptest::prelude::*;

use super::*;

/// What `raw` prepares to; the parts are joined by blanks, `-` stands for a part that is not there.
fn check(raw: &str, expected: &str) {
    let jid = Jid::parse(raw).unwrap_or_else(|error| panic!("{raw:?}: {error}"));
    let parts = [jid.local(), Some(jid.domain()), jid.resource()].map(|part| part.unwrap_or("-"));
    assert_eq!(parts.join(" "), expected, "{raw:?}");
    let again = Jid::parse(jid.as_str()).unwrap();
    assert_eq!(again, jid, "{raw:?} is not stable");
    assert_eq!(again.view(), jid.view(), "{raw:?} is not stable");
}

fn check_refused(raw: &str, part: JidPart, problem: JidProblem) {
    let error = Jid::parse(raw).expect_err(raw);
    assert_eq!(error, JidError { part, problem }, "{raw:?}");
}

#[test]
fn addresses_are_split_and_prepared() {
    for (raw, expected) in [
        ("example.com", "- example.com -"),
        ("juliet@example.com", "juliet example.com -"),
        ("juliet@example.com/balcony", "juliet example.com balcony"),
        ("Juliet@EXAMPLE.com", "juliet example.com -"),
        ("juliet@example.com/Balcony Foo", "juliet example.com Balcony Foo"),
        ("juliet@example.com/foo@bar", "juliet example.com foo@bar"),
        ("example.com/a@b/c//d", "- example.com a@b/c//d"),
        ("foo\\20bar@example.com", "foo\\20bar example.com -"),
        ("fußball@example.com", "fußball example.com -"),
        ("π@example.com", "π example.com -"),
        ("Σ@example.com/foo", "σ example.com foo"),
        ("king@example.com/♚", "king example.com ♚"),
        ("a@b/c d", "a b c d"),
        ("ＪＵＬＩＥＴ@example.com", "juliet example.com -"),
        ("e\u{301}@example.com", "\u{e9} example.com -"),
        ("\u{130}@example.com", "i\u{307} example.com -"),
        ("ı@example.com", "ı example.com -"),
        ("!#$%()*+,-.;=?[\\]^_`{|}~@example.com", "!#$%()*+,-.;=?[\\]^_`{|}~ example.com -"),
        ("\u{5d0}\u{5d1}@example.com", "\u{5d0}\u{5d1} example.com -"),
        ("a@b/x\u{a0}y", "a b x y"),
        ("a@b/e\u{301}", "a b \u{e9}"),
        ("a@b/👨\u{200d}👩\u{200d}👧", "a b 👨\u{200d}👩\u{200d}👧"),
        ("a@b/\u{378}", "a b \u{378}"),
        ("a@b/ ", "a b  "),
    ] {
        check(raw, expected);
    }
}

#[test]
fn domains_are_prepared() {
    for (raw, expected) in [
        ("example.com.", "- example.com -"),
        ("a@example.com./r", "a example.com r"),
        ("example。com", "- example.com -"),
        ("example.com。", "- example.com -"),
        ("ＥＸＡＭＰＬＥ.com", "- example.com -"),
        ("xn--fuball-cta.example", "- fußball.example -"),
        ("XN--FUBALL-CTA.example", "- fußball.example -"),
        ("FUSSBALL.example", "- fussball.example -"),
        ("fußball.example", "- fußball.example -"),
        ("BÜCHER.example", "- bücher.example -"),
        ("xn--bcher-kva.example", "- bücher.example -"),
        ("xn--ls8h.la", "- 💩.la -"),
        ("127.0.0.1", "- 127.0.0.1 -"),
        ("user@[::1]", "user [::1] -"),
        ("[2001:DB8:0:0::1]/r", "- [2001:db8::1] r"),
        ("ad_domain.local", "- ad_domain.local -"),
        ("r3---sn.example", "- r3---sn.example -"),
        ("AB--CD.example", "- ab--cd.example -"),
    ] {
        check(raw, expected);
    }
}

#[test]
fn what_is_no_address_is_refused() {
    use JidPart::{Domain, Local, Resource};
    use JidProblem::{Empty, Forbidden, Invalid};
    for (raw, part, problem) in [
        ("", Domain, Empty),
        ("@b", Local, Empty),
        ("@", Local, Empty),
        ("/", Domain, Empty),
        ("a@", Domain, Empty),
        ("a@/r", Domain, Empty),
        ("a@b/", Resource, Empty),
        ("@/", Local, Empty),
        ("/r", Domain, Empty),
        ("a@.", Domain, Empty),
        ("a@b..c", Domain, Empty),
        ("a@b..", Domain, Empty),
        ("a@.b", Domain, Empty),
        ("a@b@c", Domain, Forbidden('@')),
        ("a b@c", Local, Forbidden(' ')),
        ("a\"b@c", Local, Forbidden('"')),
        ("a&b@c", Local, Forbidden('&')),
        ("a'b@c", Local, Forbidden('\'')),
        ("a:b@c", Local, Forbidden(':')),
        ("a<b@c", Local, Forbidden('<')),
        ("a>b@c", Local, Forbidden('>')),
        ("a\0b@c", Local, Forbidden('\0')),
        ("a\u{ff20}b@c", Local, Forbidden('@')),
        ("a\u{ff0f}b@c", Local, Forbidden('/')),
        ("henry\u{2163}@example.com", Local, Invalid),
        ("♚@example.com", Local, Invalid),
        ("a\u{200b}b@c", Local, Invalid),
        ("a\u{5d0}@c", Local, Invalid),
        ("\u{378}@c", Local, Invalid),
        ("a@b c", Domain, Forbidden(' ')),
        ("a@b\u{7f}", Domain, Forbidden('\u{7f}')),
        ("a@b:5269", Domain, Forbidden(':')),
        ("a@b\u{ff0f}c", Domain, Invalid),
        ("a@-b", Domain, Invalid),
        ("a@b-", Domain, Invalid),
        ("a@xn--0000h", Domain, Invalid),
        ("a@xn--", Domain, Invalid),
        ("a@xn--a", Domain, Invalid),
        ("a@xn--ASCII-.com", Domain, Invalid),
        ("a@\u{5d0}a.example", Domain, Invalid),
        ("a@b\u{200d}c", Domain, Invalid),
        ("a@[::1", Domain, Invalid),
        ("a@[::1]x", Domain, Invalid),
        ("a@[fe80::1%eth0]", Domain, Invalid),
        ("a@[127.0.0.1]", Domain, Invalid),
        ("a@::1", Domain, Forbidden(':')),
        ("a@b/\n", Resource, Forbidden('\n')),
        ("a@b/\u{7}", Resource, Forbidden('\u{7}')),
        ("a@b/x\u{202e}y", Resource, Forbidden('\u{202e}')),
        ("a@b/x\u{2028}y", Resource, Forbidden('\u{2028}')),
        ("a@b/x\u{fdd0}y", Resource, Forbidden('\u{fdd0}')),
        ("a@b/x\u{ffff}y", Resource, Forbidden('\u{ffff}')),
    ] {
        check_refused(raw, part, problem);
    }
}

#[test]
fn parts_are_bounded_after_and_before_preparation() {
    let a = |count: usize| "a".repeat(count);
    let labels = |count: usize| format!("{}a", "a.".repeat(count / 2));
    assert_eq!(labels(1022).len(), 1023);
    for (raw, fault) in [
        (format!("{}@b", a(1023)), None),
        (format!("{}@b", a(1024)), Some(JidPart::Local)),
        (format!("{}@b", "A".repeat(1023)), None),
        (format!("{}@b", "A".repeat(1024)), Some(JidPart::Local)),
        (labels(1022), None),
        (labels(1024), Some(JidPart::Domain)),
        (format!("b/{}", a(1023)), None),
        (format!("b/{}", a(1024)), Some(JidPart::Resource)),
        (format!("b/{}", "\u{e9}".repeat(511)), None),
        (format!("b/{}", "\u{e9}".repeat(512)), Some(JidPart::Resource)),
        // Three octets before, one after.
        (format!("{}@b", "ａ".repeat(1023)), None),
        (format!("{}@b", "ａ".repeat(1024)), Some(JidPart::Local)),
        (format!("a@b/{}", "x".repeat(1 << 20)), Some(JidPart::Resource)),
        ("x".repeat(1 << 20), Some(JidPart::Domain)),
    ] {
        match (Jid::parse(&raw), fault) {
            (Ok(jid), None) => assert!(jid.as_str().len() <= raw.len()),
            (Err(error), Some(part)) => assert_eq!(error, JidError { part, problem: JidProblem::TooLong }),
            (result, fault) => panic!("{} octets: {result:?}, expected a fault in {fault:?}", raw.len()),
        }
    }
}

/// B-38: what grows when mapped, and what makes decoders work hard, ends in an error and no panic.
#[test]
fn bombs_are_refused() {
    for (raw, part) in [
        (format!("{}@b", "\u{fdfa}".repeat(1000)), JidPart::Local),
        (format!("{}.example", "\u{fdfa}".repeat(1000)), JidPart::Domain),
        (format!("xn--{}", "9".repeat(1500)), JidPart::Domain),
        (format!("xn--{}h", "0".repeat(1500)), JidPart::Domain),
        (format!("XN--{}", "a-".repeat(700)), JidPart::Domain),
        (format!("{}@b", "\u{200d}".repeat(1000)), JidPart::Local),
        (format!("a\u{200c}{}", "\u{200c}".repeat(1000)), JidPart::Domain),
        // What decodes to the look of an A-label was taken once, and its prepared form was then no address.
        ("xn--xn--mnchen-3ym".to_owned(), JidPart::Domain),
        ("a.XN--xn--mnchen-3ym.example".to_owned(), JidPart::Domain),
        ("xn--m\u{fc}nchen".to_owned(), JidPart::Domain),
    ] {
        assert_eq!(Jid::parse(&raw).map_err(|error| error.part), Err(part));
    }
    // Beyond what the profiles may look at in full, a local part is refused and a resource is taken as it is.
    for (count, fits) in [(64, true), (65, false)] {
        let dots = "\u{30fb}".repeat(count);
        assert_eq!(Jid::parse(&format!("ア{dots}@b")).is_ok(), fits, "{count}");
        check(&format!("b/ア{dots}"), &format!("- b ア{dots}"));
    }
    // A resource may hold it, as OpaqueString does not decompose.
    assert!(Jid::parse(&format!("b/{}", "\u{fdfa}".repeat(341))).is_ok());
}

#[test]
fn a_prepared_ascii_address_is_borrowed() {
    let mut scratch = String::new();
    let raw = String::from("juliet@example.com/Balcony");
    let jid = prepare(&raw, &mut scratch).unwrap();
    assert!(std::ptr::eq(jid.as_str(), raw.as_str()));
    assert_eq!((jid.bare(), jid.resource()), ("juliet@example.com", Some("Balcony")));
    assert_eq!(scratch.capacity(), 0);
}

#[test]
fn the_resource_does_not_belong_to_the_bare_address() {
    let jid = Jid::parse("Juliet@example.com/balcony").unwrap();
    assert_eq!(jid.bare(), Jid::parse("juliet@example.com").unwrap());
    assert_eq!(jid.bare_str(), "juliet@example.com");
    assert_ne!(jid, Jid::parse("juliet@example.com/Balcony").unwrap());
    assert_eq!(Domain::from(&jid), Domain::parse("EXAMPLE.com.").unwrap());
}

#[test]
fn domains_have_a_form_for_the_dns() {
    for (raw, expected) in [
        ("Fußball.example", Some("xn--fuball-cta.example")),
        ("example.com.", Some("example.com")),
        ("[::1]", None),
        (&format!("{}.example", "a".repeat(64)), None),
    ] {
        assert_eq!(Domain::parse(raw).unwrap().to_ascii().as_deref(), expected, "{raw}");
    }
    for raw in ["a@b", "b/r", "", "."] {
        assert!(Domain::parse(raw).is_err(), "{raw}");
    }
}

#[test]
fn errors_say_what_and_where() {
    let error = Jid::parse("a@b/\u{7}").unwrap_err();
    assert_eq!(error.to_string(), "the resource of the address holds U+0007, which is not allowed there");
    let error = Jid::parse("@b").unwrap_err();
    assert_eq!(error.to_string(), "the local part of the address is empty");
}

/// Characters that are likely to matter, in an address made of them.
fn awkward() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z0-9._-]{1,6}",
        1 => prop::sample::select(vec![
            "@", "/", ".", "-", "xn--", "xn--bcher-kva", "ß", "ẞ", "Σ", "ς", "İ", "ı", "ａ", "＠", "。", "ﾃ\u{ff9e}",
            "\u{301}", "\u{345}", "\u{1fb3}", "\u{5d0}", "\u{661}", "\u{6f1}", "\u{200d}", "\u{30fb}", "ア", "l·l",
            "\u{fdfa}", "💩", "\u{378}", " ", "\u{a0}", "\u{202e}", "[::1]", "\u{212b}", "\u{1e9e}", "ǅ",
        ]).prop_map(String::from),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn preparing_twice_is_preparing_once(raw in awkward()) {
        if let Ok(jid) = Jid::parse(&raw) {
            let again = Jid::parse(jid.as_str());
            prop_assert_eq!(again.as_ref().map(Jid::view), Ok(jid.view()));
        }
    }

    #[test]
    fn each_part_prepares_alone_as_in_an_address(raw in awkward()) {
        let mut out = String::new();
        if !raw.contains(['/', '@']) {
            let alone = parts::prepare_resource(&raw, &mut out);
            let whole = Jid::parse(&format!("a@b/{raw}"));
            prop_assert_eq!(alone.map(|()| out.as_str()), whole.as_ref().map(|jid| jid.resource().unwrap()).map_err(|e| *e));
        }
    }

    #[test]
    fn the_ascii_path_and_the_profiles_agree_on_local_parts(raw in "[\\x00-\\x7f]{1,12}") {
        let mut fast = String::new();
        let fast = parts::prepare_local(&raw, &mut fast).map(|()| fast);
        prop_assert_eq!(fast.ok(), parts::general_local(&raw).ok());
    }

    #[test]
    fn the_ascii_path_and_the_profiles_agree_on_resources(raw in "[\\x00-\\x7f]{1,12}") {
        let mut fast = String::new();
        let fast = parts::prepare_resource(&raw, &mut fast).map(|()| fast);
        prop_assert_eq!(fast, parts::general_resource(&raw));
    }

    #[test]
    fn the_ascii_path_and_the_mapping_agree_on_domains(
        raw in prop_oneof!["[\\x00-\\x7f]{1,12}", "[a-z0-9._-]{1,12}", "[A-Za-z0-9.-]{0,4}[xX][nN]--[a-z0-9.-]{0,8}"],
    ) {
        let mut fast = String::new();
        let fast = parts::prepare_domain(&raw, &mut fast).map(|()| fast);
        prop_assert_eq!(fast, parts::general_domain(&raw));
    }

    #[test]
    fn no_text_brings_it_down(raw in any::<String>()) {
        if let Ok(jid) = Jid::parse(&raw) {
            prop_assert!(jid.as_str().len() <= 3 * PART_BYTES_MAX + 2);
        }
    }
}
