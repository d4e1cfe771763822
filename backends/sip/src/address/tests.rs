use proptest::prelude::*;

use super::*;

fn local_of(uri: &str) -> Result<String, AddressError> {
    jid_of(uri).map(|(local, domain, resource)| {
        assert!(!local.contains(['@', '/', '"', '\'', '&', ':', '<', '>', ' ']), "{uri} gave {local}");
        let jid = format!("{local}@{domain}");
        resource.map_or_else(|| jid.clone(), |resource| format!("{jid}/{resource}"))
    })
}

#[test]
fn addresses_translate_both_ways() {
    let check = |uri: &str, jid: &str| {
        assert_eq!(local_of(uri).as_deref(), Ok(jid), "{uri}");
        let (bare, resource) =
            jid.split_once('/').map_or((jid, None), |(bare, resource)| (bare, Some(resource)));
        let (local, domain) = bare.split_once('@').unwrap();
        let back = match resource {
            Some(resource) => uri_with_resource(local, domain, resource),
            None => uri_of(local, domain),
        };
        assert_eq!(back.as_deref(), Ok(uri), "{jid}");
    };
    check("sip:f%C3%BC@sip.example", "fü@sip.example");
    check("sip:o'malley@sip.example", "o\\27malley@sip.example");
    check("sip:foo@sip.example;gr=bar", "foo@sip.example/bar");
    check("sip:m&m@xmpp.example", "m\\26m@xmpp.example");
    check("sip:tsch%C3%BCss@xmpp.example", "tschüss@xmpp.example");
    check("sip:baz@xmpp.example;gr=qux", "baz@xmpp.example/qux");
    check("sip:alice%40corp.example@pool.example", "alice\\40corp.example@pool.example");
    check("sip:user;par=u%40example.net@example.com", "user;par=u\\40example.net@example.com");
    check("sip:%5C20lead@x", "\\20lead@x");
    check("sip:trail%5C20@x", "trail\\20@x");
    check("sip:c%3A%5Cnet@x", "c\\3a\\net@x");
    check("sip:c%3A%5C5commas@x", "c\\3a\\5c5commas@x");
    check("sip:I%20have%20spaces@example.net", "I\\20have\\20spaces@example.net");
    check("sip:a%25b@x", "a%b@x");
    check("sip:a%23b@x", "a#b@x");
    check("sip:a@xn--bcher-kva.example", "a@bücher.example");
    check("sip:a@192.0.2.1", "a@192.0.2.1");
    check("sip:a@[2001:db8::1]", "a@[2001:db8::1]");
    check("sip:a@x;gr=%C3%BC%20%3B%40%3D", "a@x/ü ;@=");
    check("sip:%E2%98%83%F0%9F%98%80@x", "☃😀@x");
}

#[test]
fn other_spellings_of_an_address() {
    let check = |uri: &str, jid: &str| assert_eq!(local_of(uri).as_deref(), Ok(jid), "{uri}");
    check("sips:%61lice@x", "alice@x");
    check("SIP:alice@X.Example:5061;transport=tls", "alice@x.example");
    check("im:alice@x", "alice@x");
    check("pres:alice%40y@x?a=b", "alice\\40y@x");
    check("sip:alice@contoso.com;opaque=user:epid:hYnsAbc.1;gruu", "alice@contoso.com/hYnsAbc.1");
    check("sip:alice@contoso.com;opaque=user:epid:hYns", "alice@contoso.com");
    check("sip:alice@contoso.com;opaque=app:conf;gruu", "alice@contoso.com");
    check("sip:alice@contoso.com;gr", "alice@contoso.com");
    check("sip:alice@contoso.com;opaque=user:epid:A;gr=B;gruu", "alice@contoso.com/B");
}

#[test]
fn forged_and_foreign_addresses_are_refused() {
    use AddressError as E;
    let check = |uri: &str, expected: AddressError| match (local_of(uri), expected) {
        (Err(E::Malformed(_)), E::Malformed(_)) => {}
        (got, expected) => assert_eq!(got, Err(expected), "{uri}"),
    };
    let malformed = E::Malformed(Malformed(""));
    check("sip:a%00b@x", E::Control);
    check("sip:a%0d%0aVia:@x", E::Password);
    check("sip:a%0d%0aVia@x", E::Control);
    check("sip:a%C2%85b@x", E::Control);
    check("sip:a%FFb@x", E::NotUtf8);
    check("sip:a%C0%AFb@x", E::NotUtf8);
    check("sip:a%ED%A0%80@x", E::NotUtf8);
    check("sip:a%2@x", malformed);
    check("sip:a%zz@x", malformed);
    check("sip:a@b@x", malformed);
    check("sip:ü@x", malformed);
    check("sip:a@x%2fy", malformed);
    check("sip:victim.test%2f..", malformed);
    check("sip:@x", malformed);
    check("sip:x", E::NoUser);
    check("sip:%20a@x", E::Space);
    check("sip:a%20@x", E::Space);
    check("sip:a:b@x", E::Password);
    check("sip:+1-201-555;phone-context=x@h;user=phone", E::Telephone);
    check("sip:+1-201-555;phone-context=x@h", E::Telephone);
    check("sip:+1-201-555@h;user=PHONE", E::Telephone);
    check("tel:+12015550123", E::Telephone);
    check("mailto:a@x", E::Scheme);
    check("im:@x", E::NoUser);
    check("im:a@x/y", E::Domain);
    check("im:a@b@x", E::Domain);
    check("im:a@", E::Domain);
    check("sip:a@x..y", E::Domain);
    check("sip:a@x;gr=%00", E::Control);
    check("sip:a@x;gr=%FF", E::NotUtf8);
    check("sip:a@xn--zzzzzzzz--.example", E::Domain);
    check(&format!("sip:{}@x", "a".repeat(1024)), E::TooLong);
    check(&format!("sip:{}@x", "@".repeat(1024).replace('@', "%40")), E::TooLong);
    check(&format!("sip:a@x;gr={}", "a".repeat(1024)), E::TooLong);
    check("", malformed);
}

#[test]
fn crafted_escapes_never_leave_the_asserted_domain() {
    let uris = [
        "sip:a%40victim.test@here",
        "sip:victim%40other.example%2Fx@here",
        "sip:a%2f%40victim.test@here",
        "sip:a;x=%40victim.test@here",
        "sip:%5C40victim.test@here",
        "sip:a%5C2fb@here",
        "sip:a%5C2Fb@here",
        "sip:a%2540victim.test@here",
    ];
    for uri in uris {
        let (local, domain, resource) = jid_of(uri).unwrap();
        assert!(!local.contains(['@', '/']), "{uri} gave {local}");
        assert_eq!((domain.as_str(), resource), ("here", None), "{uri}");
    }
    let (_, domain, _) = jid_of("sip:a;x=@victim.test").unwrap();
    assert_eq!(domain, "victim.test", "a semicolon before the at sign belongs to the user");
}

#[test]
fn local_parts_that_would_share_an_address_are_refused() {
    let check =
        |local: &str, expected: AddressError| assert_eq!(uri_of(local, "x"), Err(expected), "{local}");
    check("a\\5cb", AddressError::Escape);
    check("\\5c20lead", AddressError::Escape);
    check("trail\\5c20", AddressError::Escape);
    check("a\\5c", AddressError::Escape);
    check("a b", AddressError::Forbidden);
    check("a@b", AddressError::Forbidden);
    check("a\0", AddressError::Control);
    check("", AddressError::NoUser);
    assert_eq!(uri_of("a", "x y"), Err(AddressError::Domain));
    assert_eq!(uri_of("a", ""), Err(AddressError::Domain));
    assert_eq!(uri_of("a", "x;y"), Err(AddressError::Domain));
    assert_eq!(uri_of("a", "x\r\ny"), Err(AddressError::Domain));
    assert_eq!(uri_of("a\\2Fb", "x"), Ok("sip:a/b@x".to_owned()), "hex digits in either case");
}

/// Local parts and plain texts dense with what matters: backslashes, digits of escapes, specials.
fn dense() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\\".to_owned()),
        Just("5c".to_owned()),
        Just("20".to_owned()),
        Just("2f".to_owned()),
        Just("40".to_owned()),
        Just("\\20".to_owned()),
        Just("\\5c".to_owned()),
        Just("\\3a".to_owned()),
        "[ -~]",
        "\\PC",
    ];
    proptest::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_local_part_comes_back_as_it_was(local in dense()) {
        if let Ok(uri) = uri_of(&local, "x.example") {
            prop_assert!(uri.is_ascii());
            let (back, domain, resource) = jid_of(&uri).unwrap();
            prop_assert_eq!(lower_escapes(&back), lower_escapes(&local));
            prop_assert_eq!((domain.as_str(), resource), ("x.example", None));
        }
    }

    #[test]
    fn a_user_part_comes_back_equivalent(native in dense()) {
        let uri = format!("sip:{}@x.example", percent_encoded(&native, is_user_byte));
        match jid_of(&uri) {
            Ok((local, domain, _)) => {
                prop_assert!(!local.contains(['@', '/', '"', '\'', '&', ':', '<', '>', ' ']));
                prop_assert_eq!(uri_of(&local, &domain).unwrap(), uri);
            }
            Err(error) => {
                let refused = native.starts_with(' ') || native.ends_with(' ') || native.contains(";phone-context");
                prop_assert!(refused || native.chars().any(char::is_control), "{} for {}", error, uri);
            }
        }
    }

    #[test]
    fn two_local_parts_never_share_an_address(one in dense(), other in dense()) {
        if let (Ok(first), Ok(second)) = (uri_of(&one, "x"), uri_of(&other, "x")) {
            prop_assert_eq!(first == second, lower_escapes(&one) == lower_escapes(&other));
        }
    }

    #[test]
    fn any_text_is_translated_or_refused(uri in "(sip:|im:)?[ -~]{0,30}\\PC{0,3}", domain in "\\PC{0,20}") {
        if let Ok((local, domain, _)) = jid_of(&uri) {
            prop_assert!(!local.is_empty() && !local.contains(['@', '/']) && !domain.contains(['@', '/']));
        }
        if let Ok(uri) = uri_of("a", &domain) {
            prop_assert!(Uri::parse(&uri).is_ok());
        }
    }
}

/// The two characters behind each backslash in lower case: PRECIS folds local parts, so the digits of an escape are equal in either.
fn lower_escapes(local: &str) -> String {
    let mut behind = 0;
    let lower = |char: char| {
        let folded = if behind > 0 { char.to_ascii_lowercase() } else { char };
        behind = if char == '\\' { 2 } else { behind.max(1) - 1 };
        folded
    };
    local.chars().map(lower).collect()
}
