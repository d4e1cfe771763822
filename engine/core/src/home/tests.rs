use super::*;

fn home(name: &str, pools: &[&str]) -> Home {
    Home {
        name: name.into(),
        backend: BackendKind::Sip,
        dialect: Dialect::Skype,
        registrar_pools: pools.iter().map(|&pool| pool.into()).collect(),
        connect: vec![],
    }
}

const DN: &str = "CN=Lc Services,CN=Microsoft,CN=1:1,CN=Pools,CN=RTC Service,CN=Services,DC=contoso,DC=com";

#[test]
fn pools_and_providers_lead_to_residences() {
    let homes = [home("legacy", &["Lync2013.contoso.com", DN]), home("sfb2019", &["pool2019.contoso.com."])];
    let homes = Homes::new(homes.into(), &["sba1.contoso.com".into()]).unwrap();
    let known = |residence| PoolMeaning::Known(residence);
    let (legacy, sfb2019) = (known(Residence::Home(HomeId(0))), known(Residence::Home(HomeId(1))));
    for (pool, provider, expected) in [
        ("lync2013.contoso.com", "SRV:", legacy),
        ("LYNC2013.CONTOSO.COM", "", legacy),
        (" lync2013.contoso.com. ", "srv:", legacy),
        (&DN.to_uppercase(), "SRV:", legacy),
        ("pool2019.contoso.com", "SRV:", sfb2019),
        ("sba1.contoso.com", "SRV:", known(Residence::Branch)),
        ("", "SRV:", known(Residence::Unassigned)),
        (" ", "", known(Residence::Unassigned)),
        ("", "sipfed.online.lync.com", known(Residence::Cloud)),
        ("pool2019.contoso.com", "sipfed.online.lync.com", known(Residence::Cloud)),
        ("other.contoso.com", "SRV:", PoolMeaning::Unknown),
    ] {
        assert_eq!(homes.meaning(pool, provider), expected, "{pool:?} {provider:?}");
    }
    assert_eq!(homes.by_name("sfb2019").map(|(id, _)| id), Some(HomeId(1)));
    assert_eq!(homes.get(HomeId(1)).map(|home| home.name.as_str()), Some("sfb2019"));
    assert_eq!(homes.get(HomeId(2)), None);
}

#[test]
fn a_pool_belongs_to_one_home() {
    let check = |homes: &[Home], branches: &[String], expected: &str| {
        let error = Homes::new(homes.to_vec(), branches).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    };
    let branch = ["POOL.example".to_owned()];
    check(
        &[home("a", &["pool.example"]), home("b", &["Pool.Example"])],
        &[],
        "\"pool.example\" is named by \"a\" and by \"b\"",
    );
    check(&[home("a", &["p.example", "p.example"])], &[], "named by \"a\" and by \"a\"");
    check(&[home("a", &["pool.example"])], &branch, "named by \"a\" and by \"branch_pools\"");
    check(&[home("a", &[]), home("a", &[])], &[], "two homes are called \"a\"");
    check(&[home("a", &[" "])], &[], "\"a\" names a pool that is empty");
    check(&vec![home("a", &[]); HOMES_MAX + 1], &[], "1025 homes are more than");
}

#[test]
fn hosts_and_ports_are_read() {
    for (text, default_port, expected) in [
        ("Edge.Contoso.com:5269", None, Some("edge.contoso.com:5269")),
        ("edge.contoso.com.:5269", None, Some("edge.contoso.com:5269")),
        ("edge.contoso.com", Some(5269), Some("edge.contoso.com:5269")),
        ("10.0.0.5:5061", None, Some("10.0.0.5:5061")),
        ("[2001:DB8::1]:5061", None, Some("[2001:db8::1]:5061")),
        ("[::1]", Some(5061), Some("[::1]:5061")),
        ("edge.contoso.com", None, None),
        ("[::1]", None, None),
        ("::1", Some(5061), None),
        ("[::1]5061", None, None),
        ("edge:0", None, None),
        ("edge:+1", None, None),
        ("edge:65536", None, None),
        ("edge:", Some(5061), None),
        (":5061", None, None),
        ("a..b:5061", None, None),
        ("a b:5061", None, None),
        ("sip:edge:5061", None, None),
    ] {
        let read = HostPort::parse(text, default_port).ok().map(|host| host.to_string());
        assert_eq!(read.as_deref(), expected, "{text}");
    }
    let error = "edge".parse::<HostPort>().unwrap_err();
    assert!(error.to_string().contains("host.example:5269"), "{error}");
}

#[test]
fn names_are_read() {
    for kind in [BackendKind::Xmpp, BackendKind::Sip] {
        assert_eq!(kind.as_str().parse(), Ok(kind));
    }
    for dialect in [Dialect::Skype, Dialect::Simple] {
        assert_eq!(dialect.as_str().parse(), Ok(dialect));
    }
    let error = "smtp".parse::<BackendKind>().unwrap_err();
    assert_eq!(error.to_string(), "\"smtp\" is not one of: xmpp, sip");
}
