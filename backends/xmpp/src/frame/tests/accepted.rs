//! What must be let through, byte for byte.

use super::super::{Frame, Namespace, Version};
use super::{HEADER, check_accepted, read};

#[test]
fn stanzas_come_out_as_they_went_in() {
    for inside in [
        "<message/>",
        "<message />",
        "<message></message >",
        "<message\n\tto = 'a'\r\nfrom\t=\n\"b\"/>",
        "<message a='>' b='\"' c=\"'\"/>",
        "<message a='\t\n\r'/>",
        "<message>\r\n\t</message>",
        "<message>a > b ]] ]> ]</message>",
        "<message>]]&gt;</message>",
        "<message>]&#93;></message>",
        "<message>&lt;&gt;&amp;&quot;&apos;</message>",
        "<message>&#65;&#x41;&#x0A;&#9;&#x10FFFF;&#xD7FF;&#xE000;&#xFFFD;&#0000000065;</message>",
        "<message a='&lt;&#x9;'/>",
        "<message><![CDATA[<a>&b;]] ]>]]></message>",
        "<message><![CDATA[]]></message>",
        "<message><![CDATA[]>]]></message>",
        "<message><![CDATA[]]]]></message>",
        "<message><![CDATA[a]]><![CDATA[b]]>c</message>",
        "<message><body>gr\u{fc}\u{df} \u{4f60}\u{597d} \u{1f600}</body></message>",
        "<message>\u{feff}x\u{feff}</message>",
        "<message>\u{7f}\u{80}\u{9f}\u{fffd}\u{10ffff}\u{1fffe}</message>",
        "<message><\u{e9}l\u{e9}ment \u{4f60}='1'/></message>",
        "<message><a.b-c_d1\u{b7}/></message>",
        "<message><_/></message>",
        "<message><xmlfoo/></message>",
        "<message><xml:foo/></message>",
        "<message xml:lang='de' xml:space='preserve'/>",
        "<message xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:lang='de'/>",
        "<message xmlns='jabber:server'/>",
        "<message><a xmlns=''><b/></a></message>",
        "<message><a:b xmlns:a='x'><a:b xmlns:a='y'/><a:c/></a:b></message>",
        "<message xmlns:a='x' xmlns:b='y' a:c='1' b:c='2' c='3'/>",
        "<message><x xmlns='jabber:server message' xmlns:b='}{^|'/></message>",
        "<message><stream:error/></message>",
        "<db:result from='a' to='b'>key</db:result>",
        "<x:result xmlns:x='jabber:server:dialback'/>",
        "<message a='1' A='2' aa='3'/>",
    ] {
        check_accepted(inside);
    }
}

#[test]
fn every_character_that_xml_allows_passes() {
    let all: String = (0..=0x10_FFFFu32)
        .step_by(61)
        .filter_map(char::from_u32)
        .filter(
            |&c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..),
        )
        .filter(|c| !"<>&".contains(*c))
        .collect();
    let document = format!("{HEADER}<message>{all}</message>");
    for chunk in [document.len(), 1, 7, 4096] {
        let outcome = super::feed(super::FrameLimits::default(), document.as_bytes().chunks(chunk));
        assert_eq!((outcome.frames.len(), outcome.error), (2, None));
    }
}

#[test]
fn frames_follow_each_other() {
    let outcome = read(format!("{HEADER}<message/><iq/> \n<presence></presence>\t</stream:stream > "));
    assert_eq!(outcome.error, None);
    let kinds = outcome.frames.iter().map(|frame| match frame {
        Frame::Open(_) => "open".to_owned(),
        Frame::Element(element) => element.name().local.to_owned(),
        Frame::Close => "close".to_owned(),
        Frame::KeepAlive => "-".to_owned(),
    });
    let expected = ["open", "message", "iq", "-", "presence", "-", "close", "-"];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
}

#[test]
fn declarations_are_accepted_at_the_very_start() {
    // XX-01
    for inside in [
        " version='1.0'",
        " version=\"1.0\" ",
        "\nversion = '1.0'\tencoding\r=\n'utf-8' ",
        " version='1.0' encoding='UTF-8'",
        " version='1.0' encoding='Utf-8' standalone='no'",
        " version='1.0' standalone='yes'",
    ] {
        for between in ["", "\n"] {
            let outcome = read(format!("<?xml{inside}?>{between}{HEADER}"));
            assert_eq!(outcome.error, None, "{inside}");
            assert!(matches!(outcome.frames.as_slice(), [Frame::Open(_)]), "{inside}");
        }
    }
}

fn header(input: &str) -> super::super::StreamHeader {
    let outcome = read(input);
    match outcome.frames.first() {
        Some(Frame::Open(header)) => (**header).clone(),
        _ => panic!("{input}: {outcome:?}"),
    }
}

#[test]
fn a_usual_header_is_read() {
    let header = header(&HEADER.replace(" to=", " id='a&amp;b' xml:lang='en' to="));
    assert_eq!(header.to().as_deref(), Some("contoso.com"));
    assert_eq!(header.from().as_deref(), Some("partner.example"));
    assert_eq!(header.id().as_deref(), Some("a&b"));
    assert_eq!(header.lang().as_deref(), Some("en"));
    assert_eq!(header.version(), Version::RFC6120);
    assert_eq!(header.prefix(), "stream");
    assert_eq!(header.content_namespace(), Some(Namespace::Server));
    assert_eq!(header.dialback_prefix(), Some("db"));
    assert_eq!(header.bindings().count(), 3);
    assert!(header.bytes().starts_with(b"<stream:stream ") && header.bytes().ends_with(b"'1.0'>"));
}

#[test]
fn odd_prefixes_and_no_prefix_are_read() {
    // XX-09, XS-11
    let odd = header(
        "<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client' xmlns:q='jabber:server:dialback'>",
    );
    assert_eq!((odd.prefix(), odd.dialback_prefix()), ("s", Some("q")));
    assert_eq!(odd.content_namespace(), Some(Namespace::Client));
    assert_eq!((odd.version(), odd.version().has_features()), (Version::MISSING, false));
    let bare = header("<stream xmlns='http://etherx.jabber.org/streams' version='1.0'>");
    assert_eq!((bare.prefix(), bare.content_namespace(), bare.dialback_prefix()), ("", None, None));
    let none = header("<s:stream xmlns:s='http://etherx.jabber.org/streams'>");
    assert_eq!(none.content_namespace(), None);
    let other =
        header("<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:component:accept'>");
    assert_eq!(other.content_namespace(), Some(Namespace::Other));
    let prefix_free =
        "<stream xmlns='http://etherx.jabber.org/streams'><message xmlns='jabber:server'/></stream>";
    let outcome = read(prefix_free);
    assert!(
        matches!(outcome.frames.as_slice(), [Frame::Open(_), Frame::Element(_), Frame::Close]),
        "{outcome:?}"
    );
}

#[test]
fn an_empty_header_opens_and_closes() {
    let outcome = read(format!("{}/> ", HEADER.strip_suffix('>').unwrap()));
    assert_eq!(outcome.error, None);
    assert!(
        matches!(outcome.frames.as_slice(), [Frame::Open(_), Frame::Close, Frame::KeepAlive]),
        "{outcome:?}"
    );
}

#[test]
fn versions_compare_number_by_number() {
    // RFC 6120 §4.7.5
    let ascending = ["0.9", "1.0", "1.1", "1.9", "1.10", "2.0", "10.0"];
    let versions: Vec<_> = ascending.iter().map(|text| Version::parse(text).unwrap()).collect();
    assert!(versions.is_sorted_by(|a, b| a < b));
    assert_eq!(Version::parse("01.000"), Some(Version::RFC6120));
    for bad in ["", "1", ".", "1.", ".1", "1.0.0", "-1.0", "1.0 ", "a.b"] {
        assert_eq!(Version::parse(bad), None, "{bad}");
    }
}
