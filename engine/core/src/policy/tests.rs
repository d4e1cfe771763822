use super::Negotiation::{NotSupported, Optional, Required};
use super::*;

fn partner(domain: &str) -> Partner {
    Partner::with_defaults(Domain::parse(domain).unwrap(), &PartnerDefaults::default())
}

fn policy(partners: Vec<Partner>, unlisted: Unlisted) -> Result<Policy, PolicyError> {
    Policy::new(partners, unlisted, PartnerDefaults::default(), GatewayLimits::default())
}

/// Written out a second time, in words, so that a slip in the table is seen. `S` is SASL over TLS, `D` dialback
/// over TLS, `d` dialback over plain TCP.
#[test]
fn the_matrix_has_every_row() {
    let expected = [
        (Required, Required, true, "S"),
        (Required, Required, false, "S"),
        (Optional, Required, true, "SDd"),
        (Optional, Required, false, "S"),
        (NotSupported, Required, true, "d"),
        (NotSupported, Required, false, ""),
        (Required, Optional, true, "SD"),
        (Required, Optional, false, "S"),
        (Optional, Optional, true, "SDd"),
        (Optional, Optional, false, "S"),
        (NotSupported, Optional, true, "d"),
        (NotSupported, Optional, false, ""),
        (Required, NotSupported, true, "D"),
        (Required, NotSupported, false, ""),
        (Optional, NotSupported, true, "Dd"),
        (Optional, NotSupported, false, ""),
        (NotSupported, NotSupported, true, "d"),
        (NotSupported, NotSupported, false, ""),
    ];
    let letters = |methods: Option<Methods>| {
        methods.map_or(String::new(), |methods| {
            [(methods.sasl_over_tls, "S"), (methods.tls_dialback, "D"), (methods.tcp_dialback, "d")]
                .map(|(on, letter)| if on { letter } else { "" })
                .concat()
        })
    };
    assert_eq!(expected.len(), MATRIX.len());
    for (tls, sasl, dialback, ways) in expected {
        assert_eq!(letters(Methods::of(tls, sasl, dialback, false)), ways, "{tls:?} {sasl:?} {dialback}");
        assert_eq!(
            letters(Methods::of(tls, sasl, dialback, true)),
            ways.replace('d', ""),
            "{tls:?} {sasl:?} {dialback} with dialback in TLS only"
        );
    }
    assert_eq!(MATRIX.iter().filter(|row| row.methods.is_none()).count(), 5);
}

#[test]
fn the_rules_behind_the_matrix_hold() {
    for row in &MATRIX {
        let Some(methods) = row.methods else { continue };
        assert!(methods.any());
        if row.tls == NotSupported {
            assert!(!methods.sasl_over_tls && !methods.tls_dialback, "{row:?}");
        }
        if row.tls == Required {
            assert!(!methods.tcp_dialback, "{row:?}");
        }
        if !row.dialback || (row.tls == Required && row.sasl == Required) {
            assert!(!methods.dialback(), "{row:?}");
        }
    }
}

#[test]
fn an_invalid_row_names_partner_keys_and_cure() {
    for row in MATRIX.iter().filter(|row| row.methods.is_none()) {
        let bad = Partner { tls: row.tls, sasl: row.sasl, dialback: row.dialback, ..partner("bad.example") };
        let error = policy(vec![partner("good.example"), bad], Unlisted::Refuse).unwrap_err().to_string();
        for word in [
            "\"bad.example\"",
            row.tls.as_str(),
            row.sasl.as_str(),
            "dialback = false",
            "set dialback = true",
        ] {
            assert!(error.contains(word), "{error}");
        }
    }
    let bad = Partner { tls: NotSupported, require_tls_for_dialback: true, ..partner("bad.example") };
    let error = policy(vec![bad], Unlisted::Refuse).unwrap_err().to_string();
    assert!(error.contains("require_tls_for_dialback = false"), "{error}");

    let defaults = PartnerDefaults { tls: NotSupported, dialback: false, ..PartnerDefaults::default() };
    let error = Policy::new(vec![], Unlisted::Refuse, defaults, GatewayLimits::default()).unwrap_err();
    assert!(error.to_string().starts_with("partner_defaults: "), "{error}");
}

#[test]
fn the_defaults_are_the_legacy_ones() {
    let policy = policy(vec![], Unlisted::Allow).unwrap();
    let view = policy.find("anyone.example").unwrap();
    assert_eq!(view.id, None);
    assert_eq!(view.kind, PartnerType::PublicUnverified);
    assert_eq!((view.tls, view.sasl, view.keep_alive), (Required, Required, true));
    assert!(PartnerDefaults::default().dialback);
    assert_eq!(view.connections_max, 20);
    let limits = policy.limits();
    assert_eq!((limits.connections_max, limits.connections_per_partner_max), (1000, 20));
    assert_eq!((limits.establishment_seconds, limits.idle_seconds), (60, 600));
    assert_eq!(limits.keep_alive_seconds, 300);
}

#[test]
fn domains_are_matched_exactly() {
    let listed = Partner {
        additional_domains: vec![Domain::parse("chat.partner.example").unwrap()],
        connections_max: Some(3),
        ..partner("Partner.Example")
    };
    let policy = policy(vec![partner("first.example"), listed], Unlisted::Refuse).unwrap();
    for (domain, id) in [
        ("partner.example", Some(PartnerId(1))),
        ("chat.partner.example", Some(PartnerId(1))),
        ("first.example", Some(PartnerId(0))),
        ("other.partner.example", None),
        ("example", None),
    ] {
        assert_eq!(policy.find(domain).and_then(|view| view.id), id, "{domain}");
    }
    let view = policy.find(&Domain::parse("chat.partner.example").unwrap()).unwrap();
    assert_eq!(view.connections_max, 3);
    assert_eq!(view.primary_domain.map(Domain::as_str), Some("partner.example"));
    assert_eq!(policy.get(PartnerId(2)), None);
}

#[test]
fn a_domain_belongs_to_one_partner() {
    let with = |domain: &str, more: &str| Partner {
        additional_domains: vec![Domain::parse(more).unwrap()],
        ..partner(domain)
    };
    for (partners, domain, first, second) in [
        (vec![partner("a.example"), partner("A.example.")], "a.example", "a.example", "a.example"),
        (vec![partner("a.example"), with("b.example", "a.example")], "a.example", "a.example", "b.example"),
        (
            vec![with("a.example", "c.example"), with("b.example", "c.example")],
            "c.example",
            "a.example",
            "b.example",
        ),
        (vec![with("a.example", "a.example")], "a.example", "a.example", "a.example"),
    ] {
        let error = policy(partners, Unlisted::Refuse).unwrap_err();
        let name = |name: &str| Domain::parse(name).unwrap();
        let expected =
            PolicyError::DuplicateDomain { domain: name(domain), first: name(first), second: name(second) };
        assert_eq!(error, expected);
    }
}

#[test]
fn names_are_read_as_cmdlets_and_configuration_write_them() {
    for (name, expected) in [
        ("Required", Some(Required)),
        ("required", Some(Required)),
        ("Optional", Some(Optional)),
        ("optional", Some(Optional)),
        ("NotSupported", Some(NotSupported)),
        ("notsupported", Some(NotSupported)),
        ("none", Some(NotSupported)),
        ("", None),
        ("maybe", None),
        (" required", None),
    ] {
        assert_eq!(name.parse::<Negotiation>().ok(), expected, "{name}");
    }
    for (name, expected) in [
        ("Federated", Some(PartnerType::Federated)),
        ("federated", Some(PartnerType::Federated)),
        ("PublicVerified", Some(PartnerType::PublicVerified)),
        ("public-verified", Some(PartnerType::PublicVerified)),
        ("PublicUnverified", Some(PartnerType::PublicUnverified)),
        ("public-unverified", Some(PartnerType::PublicUnverified)),
        ("public", None),
    ] {
        assert_eq!(name.parse::<PartnerType>().ok(), expected, "{name}");
    }
    for kind in [PartnerType::Federated, PartnerType::PublicVerified, PartnerType::PublicUnverified] {
        assert_eq!(kind.as_str().parse(), Ok(kind));
    }
    for negotiation in [Required, Optional, NotSupported] {
        assert_eq!(negotiation.as_str().parse(), Ok(negotiation));
    }
    assert_eq!("allow".parse(), Ok(Unlisted::Allow));
    let error = "x".parse::<Unlisted>().unwrap_err();
    assert_eq!(error.to_string(), "\"x\" is not one of: refuse, allow");
}

#[test]
fn partner_types_differ_in_what_they_allow() {
    for (kind, may_start, sees_status_text) in [
        (PartnerType::Federated, true, true),
        (PartnerType::PublicVerified, true, false),
        (PartnerType::PublicUnverified, false, false),
    ] {
        assert_eq!((kind.may_start(), kind.sees_status_text()), (may_start, sees_status_text), "{kind:?}");
    }
}
