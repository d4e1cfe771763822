use turnout_core::home::Dialect;

use super::*;
use crate::parse::MediaType;
use crate::presence::pidf;

/// A document of categories as a pool sends it, with these categories in it.
fn document(categories: &str) -> String {
    format!(
        "<categories xmlns='http://schemas.microsoft.com/2006/09/sip/categories' uri='sip:anna@corp.example'>{categories}</categories>"
    )
}

fn state(kind: &str, number: &str) -> String {
    format!(
        "<category name='state' instance='1' publishTime='2026-11-22T21:02:03.527' container='2' version='1' expireType='user'>\
         <state xsi:type='{kind}' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' \
         xmlns='http://schemas.microsoft.com/2006/09/sip/state'><availability>{number}</availability><device>computer</device>\
         </state></category>"
    )
}

fn note(kind: &str, text: &str) -> String {
    format!(
        "<category name='note' instance='0'><note xmlns='http://schemas.microsoft.com/2006/09/sip/note'>\
         <body type='{kind}' uri=''>{text}</body></note></category>"
    )
}

fn told(categories: &str) -> Result<Document, Flaw> {
    read(document(categories).as_bytes(), &PresenceRules::default())
}

#[test]
fn numbers_mean_what_microsoft_says() {
    for (number, show) in [
        (1, None),
        (3500, None),
        (4499, None),
        (4500, Some(Show::Away)),
        (5999, Some(Show::Away)),
        (6500, Some(Show::Dnd)),
        (8999, Some(Show::Dnd)),
        (9500, Some(Show::Dnd)),
        (11_999, Some(Show::Dnd)),
        (12_500, Some(Show::Away)),
        (15_500, Some(Show::Away)),
        (17_999, Some(Show::Away)),
    ] {
        let document = told(&state("aggregateState", &number.to_string())).unwrap();
        assert!(document.has_basic && document.closed.is_empty());
        assert_eq!(document.open[0].show, show, "{number}");
    }
    for number in ["18000", "18500", "4294967295"] {
        let document = told(&state("aggregateState", number)).unwrap();
        assert!(document.has_basic && document.open.is_empty() && document.closed.len() == 1);
    }
    for number in ["0", "", "-1", "x", "4294967296"] {
        assert!(!told(&state("aggregateState", number)).unwrap().has_basic);
    }
}

#[test]
fn the_sum_counts_and_notes_and_names_are_told() {
    let card = "<category name='contactCard'><contactCard xmlns='http://schemas.microsoft.com/2006/09/sip/contactcard'>\
                <identity><name><displayName>Anna B.</displayName></name></identity></contactCard></category>";
    let all = [
        state("machineState", "3500"),
        state("p:aggregateState", "6500"),
        note("OOF", "away till May"),
        note("personal", "in the &lt;lab&gt;"),
        card.to_owned(),
    ];
    let document = told(&all.concat()).unwrap();
    assert_eq!(document.entity, "sip:anna@corp.example");
    let one = &document.open[0];
    assert_eq!((one.show, one.nick.as_deref()), (Some(Show::Dnd), Some("Anna B.")));
    assert_eq!(one.statuses, [(None, "in the <lab>".to_owned())]);
    let away =
        told(&[state("userState", "3500"), note("personal", " "), note("OOF", "away till May")].concat())
            .unwrap();
    assert_eq!(away.open[0].statuses, [(None, "away till May".to_owned())]);
}

#[test]
fn what_a_later_document_does_not_tell_stays() {
    let first = told(&[state("aggregateState", "3500"), note("personal", "here")].concat()).unwrap();
    let later = |before: &Document, categories: &str| told(categories).unwrap().after(before, Dialect::Skype);
    let away = later(&first, &state("aggregateState", "15500"));
    assert_eq!(
        (away.open[0].show, &away.open[0].statuses),
        (Some(Show::Away), &vec![(None, "here".to_owned())])
    );
    assert_eq!(&*away.open[0].resource, pidf::SKYPE_RESOURCE);
    let noted = later(&away, &note("personal", "there"));
    assert_eq!(
        (noted.open[0].show, &noted.open[0].statuses),
        (Some(Show::Away), &vec![(None, "there".to_owned())])
    );
    let offline = later(&noted, &state("aggregateState", "18500"));
    assert_eq!((offline.open.len(), &*offline.closed), (0, ["sfb".into()].as_slice()));
    let back = later(&offline, &state("aggregateState", "3500"));
    assert_eq!(back.open[0].statuses, [(None, "there".to_owned())]);
    let silent = later(&back, "<category name='note' instance='0'/>");
    assert!(silent.open[0].statuses.is_empty());
    let unknown = later(&silent, "<category name='state' instance='1'/>");
    assert!(!unknown.has_basic && unknown.open.is_empty() && unknown.closed.is_empty());
    // PIDF tells all, whatever was told before.
    let pidf = Document { entity: "e".to_owned(), ..Document::default() };
    assert_eq!(pidf.clone().after(&first, Dialect::Skype), pidf);
}

#[test]
fn documents_are_read_where_they_are_offered_and_refused_where_broken() {
    let kind = MediaType::parse(b"application/msrtc-event-categories+xml").unwrap();
    let body = document(&state("aggregateState", "9500"));
    let rules = PresenceRules { rich: true, ..PresenceRules::default() };
    let found = pidf::read(Some(&kind), body.as_bytes(), &rules, Dialect::Skype).unwrap();
    assert_eq!((&*found.open[0].resource, found.open[0].show), (pidf::SKYPE_RESOURCE, Some(Show::Dnd)));
    let refused = pidf::read(Some(&kind), body.as_bytes(), &PresenceRules::default(), Dialect::Skype);
    assert_eq!(refused, Err(Flaw::Unsupported));
    assert!(told("").is_ok_and(|document| !document.has_basic));
    assert!(told(&state("a", "1").repeat(CATEGORIES_MAX + 1)).is_err());
    assert!(told("<category>").is_err());
    assert!(read(b"<categories/>", &rules).is_err());
    assert!(read(b"<!DOCTYPE a><categories/>", &rules).is_err());
}
