use super::*;

fn read_as(kind: &str, body: &str) -> Option<Typing> {
    read(&MediaType::parse(kind.as_bytes()).unwrap(), body.as_bytes())
}

#[test]
fn keyboard_activity() {
    let check = |body: &str, expected| assert_eq!(read_as("application/xml", body), expected, "{body}");
    let types = Some(Typing::Active(Duration::from_secs(15)));
    check("<KeyboardActivity><status status=\"type\"/></KeyboardActivity>", types);
    check("<?xml version=\"1.0\"?><KeyboardActivity> <status status='type' /></KeyboardActivity>", types);
    check("<KeyboardActivity><status status='type'></status></KeyboardActivity>", types);
    check("<KeyboardActivity><status status='idle'/></KeyboardActivity>", Some(Typing::Idle));
    check("<KeyboardActivity><status status='dancing'/></KeyboardActivity>", Some(Typing::Idle));
    check("<KeyboardActivity><status/></KeyboardActivity>", None);
    check("<KeyboardActivity/>", None);
    check("<status status='type'/>", None);
    check("<!DOCTYPE a [<!ENTITY b 'c'>]><KeyboardActivity><status status='type'/></KeyboardActivity>", None);
    check("", None);
    check("<KeyboardActivity><status status='type", None);
    check(&format!("<KeyboardActivity>{}", " ".repeat(9000)), None);
    assert_eq!(read_as("text/xml", "<KeyboardActivity><status status='type'/></KeyboardActivity>"), None);
}

#[test]
fn documents() {
    let check = |inside: &str, expected| {
        let body = format!("<isComposing xmlns='{DOCUMENT_NAMESPACE}'>{inside}</isComposing>");
        assert_eq!(read_as(DOCUMENT_TYPE, &body), expected, "{body}");
    };
    let types = |seconds| Some(Typing::Active(Duration::from_secs(seconds)));
    check("<state>active</state>", types(120));
    check("<state> active </state><contenttype>text/plain</contenttype><refresh>60</refresh>", types(60));
    check("<refresh>0</refresh><state>active</state>", types(120));
    check("<refresh>99999999999</refresh><state>active</state>", types(600));
    check("<refresh>soon</refresh><state>active</state>", types(120));
    check("<state>idle</state><refresh>60</refresh>", Some(Typing::Idle));
    check("<state>paused</state>", Some(Typing::Idle));
    check("<x xmlns='urn:o'><state>active</state></x><state>idle</state>", Some(Typing::Idle));
    check("", None);
    check("<state/>", None);
    assert_eq!(read_as(DOCUMENT_TYPE, "<isComposing><state>active</state></isComposing>"), None);
    let other =
        format!("<c:isComposing xmlns:c='{DOCUMENT_NAMESPACE}'><c:state>active</c:state></c:isComposing>");
    assert_eq!(read_as(DOCUMENT_TYPE, &other), types(120));
}

#[test]
fn what_is_written_is_read() {
    for form in [Form::Keyboard, Form::Document, Form::DocumentInInfo] {
        for active in [true, false] {
            let (kind, body) = form.write(active);
            let typing = read_as(kind, body).unwrap();
            assert_eq!(matches!(typing, Typing::Active(_)), active, "{form:?}");
            if let Typing::Active(duration) = typing {
                assert!(form.again() < duration, "{form:?} is said again too late");
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived(body: Vec<u8>, markup in "[<>&;/!?a-z='\" ]{0,80}") {
        for kind in ["application/xml", DOCUMENT_TYPE] {
            let media = MediaType::parse(kind.as_bytes()).unwrap();
            let _typing = read(&media, &body);
            let _typing = read(&media, markup.as_bytes());
            let wrapped = format!("<isComposing xmlns='{DOCUMENT_NAMESPACE}'>{markup}</isComposing>");
            let _typing = read(&media, wrapped.as_bytes());
        }
    }
}
