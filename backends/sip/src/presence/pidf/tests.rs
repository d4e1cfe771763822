use turnout_core::presence::Show;

use super::*;

mod random;

/// Reads as a pool of dialect `simple` is read.
fn simple(text: &str) -> Result<Document, Flaw> {
    as_pidf(text.as_bytes(), Dialect::Simple)
}

fn skype(text: &str) -> Document {
    as_pidf(text.as_bytes(), Dialect::Skype).unwrap()
}

fn as_pidf(body: &[u8], dialect: Dialect) -> Result<Document, Flaw> {
    let kind = MediaType::parse(b"application/pidf+xml;charset=UTF-8").unwrap();
    read(Some(&kind), body, &PresenceRules::default(), dialect)
}

/// A document of one open tuple with this in its status, after the status and after the tuple.
fn with(status: &str, tuple: &str, after: &str) -> Presence {
    let text = format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
         xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' xmlns:ep='urn:ietf:params:xml:ns:pidf:status:rpid-status' \
         xmlns:ci='urn:ietf:params:xml:ns:pidf:cipid' xmlns:x='urn:example:x' xmlns:p='urn:ietf:params:xml:ns:pidf' \
         entity='sip:a@b.example'><tuple id='ID-r'><status><basic>open</basic>{status}</status>{tuple}</tuple>{after}</presence>"
    );
    let mut document = simple(&text).unwrap();
    assert_eq!(document.open.len(), 1);
    document.open.remove(0)
}

fn notes(presence: &Presence) -> Vec<(&str, &str)> {
    presence.statuses.iter().map(|(lang, text)| (lang.as_deref().unwrap_or(""), text.as_str())).collect()
}

/// RFC 3863 §4.3.1, other names: two tuples, notes in two languages, extensions in the status, a note of the document.
const TWO_TUPLES: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:im="urn:ietf:params:xml:ns:pidf:im"
    xmlns:own="http://id.example.net/own/" entity="pres:mercutio@example.net">
  <tuple id="k7q2">
    <status><basic>open</basic><im:im>busy</im:im><own:place>home</own:place></status>
    <contact priority="0.8">im:mercutio@mobile.example.net</contact>
    <note xml:lang="en">Leave me be</note>
    <note xml:lang="fr">Laissez-moi</note>
    <timestamp>2001-10-27T16:49:29Z</timestamp>
  </tuple>
  <tuple id="m3x9"><status><basic>open</basic></status><contact priority="1.0">im:mercutio@example.net</contact></tuple>
  <note>In Mantua next week</note>
</presence>"#;

#[test]
fn a_document_of_rfc_3863_is_read() {
    let document = simple(TWO_TUPLES).unwrap();
    assert_eq!(document.entity, "pres:mercutio@example.net");
    assert!(document.has_basic && document.closed.is_empty());
    let [first, second] = document.open.as_slice() else { panic!("{document:?}") };
    assert_eq!((&*first.resource, first.show, first.priority), ("k7q2", None, Some(102)));
    assert_eq!(notes(first), [("en", "Leave me be"), ("fr", "Laissez-moi")]);
    assert_eq!(first.since.as_deref(), Some("2001-10-27T16:49:29Z"));
    assert_eq!((&*second.resource, second.priority), ("m3x9", Some(127)));
    assert_eq!(notes(second), [("", "In Mantua next week")]);
}

#[test]
fn any_prefix_and_unknown_extensions_are_read() {
    let document = simple(
        r#"<impp:presence xmlns:impp="urn:ietf:params:xml:ns:pidf" xmlns:own="http://id.example.net/own/" entity="pres:a@b.example">
        <impp:tuple id="ck38g9"><impp:status><impp:basic> open </impp:basic></impp:status><own:more><impp:basic>closed</impp:basic></own:more>
        <impp:contact priority="0.65">tel:+1</impp:contact></impp:tuple>
        <own:more>all of it</own:more></impp:presence>"#,
    );
    let document = document.unwrap();
    assert_eq!((&*document.open[0].resource, document.open[0].priority), ("ck38g9", Some(83)));
}

/// RFC 4480 §4, other names: activities, a note and a time with the person, devices, other services, an assistant.
#[test]
fn a_document_of_rfc_4480_is_read() {
    let document = simple(
        r#"<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
        xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:lt="urn:ietf:params:xml:ns:location-type" entity="pres:a@b.example">
        <tuple id="t1"><status><basic>open</basic></status><dm:deviceID>urn:device:1</dm:deviceID>
          <rpid:relationship><rpid:self/></rpid:relationship><note xml:lang="en">tuple</note></tuple>
        <tuple id="t2"><status><basic>open</basic></status><rpid:relationship><rpid:assistant/></rpid:relationship></tuple>
        <note>document</note>
        <dm:device id="d"><rpid:user-input>idle</rpid:user-input><dm:note>device</dm:note></dm:device>
        <dm:person id="p"><rpid:activities from="2005-05-30T12:00:00+05:00"><rpid:note>Far</rpid:note><rpid:away/></rpid:activities>
          <rpid:mood><rpid:angry/><rpid:other>brooding</rpid:other></rpid:mood><rpid:place-type><lt:residence/></rpid:place-type>
          <dm:note>person</dm:note><dm:timestamp>2005-05-30T16:09:44+05:00</dm:timestamp></dm:person></presence>"#,
    );
    let document = document.unwrap();
    let [one] = document.open.as_slice() else { panic!("{document:?}") };
    assert_eq!((&*one.resource, one.show, notes(one)), ("t1", Some(Show::Away), vec![("", "person")]));
    assert_eq!(one.since.as_deref(), Some("2005-05-30T11:09:44Z"));
}

/// What a 2019 pool writes toward other clouds.
#[test]
fn a_document_of_a_pool_is_read() {
    let of = |basic: &str, more: &str| {
        skype(&format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
             xmlns:ep=\"urn:ietf:params:xml:ns:pidf:status:rpid-status\" xmlns:ci=\"urn:ietf:params:xml:ns:pidf:cipid\" \
             entity=\"sip:anna@corp.example\">\r\n<tuple id=\"0\">\r\n<status>\r\n<basic>{basic}</basic>\r\n{more}</status>\r\n</tuple>\r\n\
             <ci:display-name>Anna &amp; Co</ci:display-name>\r\n</presence>"
        ))
    };
    let busy = of("open", "<ep:activities>\r\n<ep:activity>busy</ep:activity>\r\n</ep:activities>\r\n");
    assert_eq!(busy.open[0].show, Some(Show::Dnd));
    assert_eq!((&*busy.open[0].resource, busy.open[0].nick.as_deref()), (SKYPE_RESOURCE, Some("Anna & Co")));
    let away = of("open", "<ep:activities><ep:activity>Away</ep:activity></ep:activities>");
    assert_eq!(away.open[0].show, Some(Show::Away));
    let online = of("open", "");
    assert_eq!(online.open[0].show, None);
    let offline = of("closed", "");
    assert!(offline.open.is_empty() && offline.has_basic);
    assert_eq!(*offline.closed, ["sfb".into()]);
}

#[test]
fn activities_mean_what_the_table_says_wherever_they_stand() {
    let person = |words: &str| {
        with("", "", &format!("<dm:person id='p'><r:activities>{words}</r:activities></dm:person>")).show
    };
    for (word, show) in turnout_core::presence::ACTIVITIES {
        assert_eq!(person(&format!("<r:{word}/>")), Some(show));
        let old = format!("<ep:activities><ep:activity>{word}</ep:activity></ep:activities>");
        assert_eq!(with(&old, "", "").show, Some(show));
        assert_eq!(with(&format!("<ep:activities><ep:{word}/></ep:activities>"), "", "").show, Some(show));
        assert_eq!(with("", &format!("<r:activities><r:{word}/></r:activities>"), "").show, Some(show));
    }
    assert_eq!(person("<r:unknown/>"), None);
    assert_eq!(person("<r:other>busy</r:other><x:busy/>"), None);
    assert_eq!(person("<r:away/><r:meeting/><r:vacation/>"), Some(Show::Dnd));
    let two = "<dm:person id='p'><r:activities><r:busy/></r:activities></dm:person>";
    assert_eq!(
        with("<ep:activities><ep:activity>away</ep:activity></ep:activities>", "", two).show,
        Some(Show::Away)
    );
}

#[test]
fn show_wins_over_activities() {
    let person = "<dm:person id='p'><r:activities><r:away/></r:activities></dm:person>";
    for (word, show) in [("chat", Show::Chat), ("away", Show::Away), (" xa ", Show::Xa), ("dnd", Show::Dnd)] {
        assert_eq!(with(&format!("<show xmlns='jabber:client'>{word}</show>"), "", person).show, Some(show));
    }
    assert_eq!(with("<show xmlns='jabber:client'>dancing</show>", "", person).show, Some(Show::Away));
    assert_eq!(with("<show>dnd</show>", "", "").show, None);
}

#[test]
fn what_must_be_understood_and_is_not_takes_its_extension_with_it() {
    let activities = |mark: &str| {
        let inner = format!("<r:away/><x:until {mark}>noon</x:until>");
        with("", "", &format!("<dm:person id='p'><r:activities>{inner}</r:activities></dm:person>")).show
    };
    assert_eq!(activities(""), Some(Show::Away));
    assert_eq!(activities("p:mustUnderstand='0'"), Some(Show::Away));
    assert_eq!(activities("mustUnderstand='1'"), Some(Show::Away));
    assert_eq!(activities("p:mustUnderstand='1'"), None);
    assert_eq!(activities("p:mustUnderstand='true'"), None);
    let person = "<dm:person id='p'><dm:note>hidden</dm:note><x:y p:mustUnderstand='1'/></dm:person>";
    assert_eq!(notes(&with("", "<note>seen</note>", person)), [("", "seen")]);
    // In the status it concerns itself alone (RFC 3863 §4.2.3).
    let status = "<x:y p:mustUnderstand='1'/><show xmlns='jabber:client'>dnd</show>";
    assert_eq!(with(status, "", "").show, Some(Show::Dnd));
}

#[test]
fn notes_come_from_the_person_then_the_tuple_and_know_their_language() {
    let person = "<dm:person id='p' xml:lang='de'><dm:note>eins</dm:note><dm:note xml:lang='en'>one</dm:note></dm:person>";
    let tuple = "<note>two</note>";
    assert_eq!(
        notes(&with("", tuple, &format!("<note>three</note>{person}"))),
        [("de", "eins"), ("en", "one")]
    );
    assert_eq!(notes(&with("", tuple, "<note>three</note>")), [("", "two")]);
    assert_eq!(notes(&with("", "<note> </note>", "<note>three</note>")), [("", "three")]);
}

#[test]
fn names_come_from_the_nearest_place() {
    let name = |text: &str| format!("<ci:display-name>{text}</ci:display-name>");
    let nick = |status: &str, tuple: &str, after: &str| with(status, tuple, after).nick;
    assert_eq!(nick(&name("a"), &name("b"), &name("c")).as_deref(), Some("a"));
    assert_eq!(nick("", &name("b"), &name("c")).as_deref(), Some("b"));
    assert_eq!(
        nick("", "", &format!("{}<dm:person id='p'>{}</dm:person>", name("c"), name("d"))).as_deref(),
        Some("d")
    );
    assert_eq!(nick("", "", &name(" ")), None);
}

#[test]
fn availability_that_is_not_told_is_unknown() {
    for text in [
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@b'/>",
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@b'><tuple id='a'><status/></tuple></presence>",
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@b'><tuple id='a'/></presence>",
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@b'><tuple id='a'><status><basic>ajar</basic></status></tuple></presence>",
    ] {
        for dialect in [Dialect::Simple, Dialect::Skype] {
            let document = as_pidf(text.as_bytes(), dialect).unwrap();
            assert!(!document.has_basic && document.open.is_empty() && document.closed.is_empty(), "{text}");
        }
    }
    let nothing = read(None, b"", &PresenceRules::default(), Dialect::Skype).unwrap();
    assert_eq!(nothing, Document::default());
}

#[test]
fn what_is_not_a_presence_document_is_refused() {
    let kind = |text: &'static str| MediaType::parse(text.as_bytes()).unwrap();
    let body = TWO_TUPLES.as_bytes();
    let rules = PresenceRules::default();
    let told =
        |kind: Option<MediaType<'_>>| read(kind.as_ref(), body, &rules, Dialect::Skype).map_err(Flaw::code);
    assert!(told(Some(kind("Application/PIDF+xml"))).is_ok());
    assert_eq!(told(None), Err(415));
    assert_eq!(told(Some(kind("text/xml+msrtc.pidf"))), Err(415));
    assert_eq!(told(Some(kind("application/msrtc-event-categories+xml"))), Err(415));
    assert_eq!(told(Some(kind("application/pidf+xml;charset=utf-16"))), Err(415));
    for text in [
        "<presence entity='a'/>",
        "<p xmlns='urn:ietf:params:xml:ns:pidf' entity='a'/>",
        "<presence xmlns='urn:ietf:params:xml:ns:pidf'/>",
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='a'><tuple/></presence>",
        "<!DOCTYPE presence><presence xmlns='urn:ietf:params:xml:ns:pidf' entity='a'/>",
        "no XML",
    ] {
        assert!(matches!(simple(text), Err(Flaw::Broken(_))), "{text}");
    }
}

#[test]
fn tuples_are_bounded_and_one_resource_is_told_once() {
    let tuple =
        |id: &str, basic: &str| format!("<tuple id='{id}'><status><basic>{basic}</basic></status></tuple>");
    let document = |tuples: &str| {
        simple(&format!("<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='a'>{tuples}</presence>"))
    };
    let many = |count: usize| (0..count).map(|n| tuple(&format!("t{n}"), "open")).collect::<String>();
    assert_eq!(document(&many(read::TUPLES_MAX)).unwrap().open.len(), read::TUPLES_MAX);
    assert!(document(&many(read::TUPLES_MAX + 1)).is_err());
    let same = [
        tuple("a", "closed"),
        tuple("ID-a", "open"),
        tuple("a", "open"),
        tuple("a", "closed"),
        tuple("b", "closed"),
    ];
    let same = document(&same.concat()).unwrap();
    assert_eq!((same.open.len(), &*same.closed), (1, ["b".into()].as_slice()));
}

#[test]
fn a_pool_shows_a_user_under_one_name() {
    let document = skype(TWO_TUPLES);
    assert_eq!(document.open.len(), 1);
    assert_eq!((&*document.open[0].resource, document.open[0].priority), (SKYPE_RESOURCE, Some(127)));
}

#[test]
fn ids_of_tuples_are_resources_and_back() {
    for (resource, id) in [
        ("", "ID-"),
        ("balcony", "ID-balcony"),
        ("a b", "ID-a_20b"),
        ("_", "ID-_5f"),
        ("ß/1.2-3", "ID-_c3_9f_2f1.2-3"),
    ] {
        assert_eq!((tuple_id(resource).as_str(), &*resource_of(id)), (id, resource));
    }
    // What is not ours stands for itself.
    for (id, resource) in [
        ("x", "x"),
        ("ID-a_zz", "a_zz"),
        ("ID-_C3_9F", "_C3_9F"),
        ("ID-_61", "_61"),
        ("_", "_"),
        ("ID-_ff", "_ff"),
    ] {
        assert_eq!(&*resource_of(id), resource);
    }
    // No resource: too long, or a character no resource holds.
    for id in ["x".repeat(2000), "a\u{7}".to_owned(), tuple_id("a\u{202e}b\n")] {
        let resource = resource_of(&id);
        assert_eq!(resource.len(), 32);
        assert_eq!(resource, resource_of(&id));
    }
}

#[test]
fn priorities_are_told_in_three_decimals_and_come_back() {
    for priority in 0..=127 {
        let presence = Presence { priority: Some(priority), ..Presence::available("r") };
        let text = write("sip:a@b.example", &[presence], Layout::Tuples, true);
        assert_eq!(simple(&text).unwrap().open[0].priority, Some(priority), "{text}");
    }
    let contact = |value: &str| with("", &format!("<contact priority='{value}'>a</contact>"), "").priority;
    for (value, priority) in [("0", 0), ("1", 127), ("1.000", 127), ("0.5", 64), ("0.", 0)] {
        assert_eq!(contact(value), Some(priority), "{value}");
    }
    for value in ["", ".", ".25", "-1", "2", "1.001", "0.1234", "1e0", "0,5", "0.x", "+1", "NaN"] {
        assert_eq!(contact(value), None, "{value}");
    }
    let negative = Presence { priority: Some(-1), ..Presence::available("r") };
    assert!(!write("sip:a@b.example", &[negative], Layout::Tuples, true).contains("contact"));
}

#[test]
fn one_tuple_is_written_for_a_pool() {
    let mut away = Presence { show: Some(Show::Xa), priority: Some(9), ..Presence::available("phone") };
    away.add_status(Some("de"), "Mittag & <Schlaf>");
    let away = Presence { since: Some("2026-11-22T21:02:03Z".into()), nick: Some("Anna".into()), ..away };
    let busy = Presence { show: Some(Show::Dnd), ..Presence::available("desk") };
    let both = [busy, away];
    let text = write("sip:a@b.example", &both, Layout::Single, true);
    assert_eq!(
        text,
        "<?xml version='1.0' encoding='UTF-8'?>\n<presence xmlns='urn:ietf:params:xml:ns:pidf' \
         xmlns:ep='urn:ietf:params:xml:ns:pidf:status:rpid-status' xmlns:ci='urn:ietf:params:xml:ns:pidf:cipid' entity='sip:a@b.example'>\
         <tuple id='ID-0'><status><basic>open</basic><ep:activities><ep:activity>away</ep:activity></ep:activities>\
         <show xmlns='jabber:client'>xa</show></status><note xml:lang='de'>Mittag &amp; &lt;Schlaf&gt;</note>\
         <timestamp>2026-11-22T21:02:03Z</timestamp></tuple><ci:display-name>Anna</ci:display-name></presence>\n"
    );
    let public = write("sip:a@b.example", &both, Layout::Single, false);
    assert!(!public.contains("note") && !public.contains("Mittag"));
    let closed = write("sip:a@b.example", &[], Layout::Single, true);
    assert!(closed.contains("<tuple id='ID-0'><status><basic>closed</basic></status></tuple>"));
}

#[test]
fn tuples_are_written_for_a_server_of_the_standard() {
    let away = Presence { show: Some(Show::Away), priority: Some(5), ..Presence::available("balcony") };
    let busy = Presence { show: Some(Show::Dnd), ..Presence::available("my desk") };
    let text = write("sip:a@b.example", &[away.clone(), busy.clone()], Layout::Tuples, true);
    for part in [
        "<tuple id='ID-balcony'><status><basic>open</basic><show xmlns='jabber:client'>away</show></status>\
         <contact priority='0.039'>sip:a@b.example</contact></tuple>",
        "<tuple id='ID-my_20desk'><status><basic>open</basic><show xmlns='jabber:client'>dnd</show></status></tuple>",
        "<dm:person id='person'><rpid:activities><rpid:away/></rpid:activities></dm:person>",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let free = write("sip:a@b.example", &[away, busy, Presence::available("")], Layout::Tuples, true);
    assert!(!free.contains("person"), "{free}");
    let closed = write("sip:a@b.example", &[], Layout::Tuples, true);
    assert!(closed.contains("<tuple id='ID-'><status><basic>closed</basic></status></tuple>"), "{closed}");
}
