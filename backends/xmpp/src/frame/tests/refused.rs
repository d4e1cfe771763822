//! What is refused, and with which condition.

use super::{HEADER, check_refused, read};
use crate::error::StreamCondition::{self, *};

#[test]
fn restricted_xml_is_refused() {
    // XX-01, RFC 6120 §11.1
    for inside in [
        "<!-- c --><message/>",
        "<message><!-- c --></message>",
        "<message><!--",
        "<!DOCTYPE a>",
        "<message><!DOCTYPE a [<!ENTITY b 'c'>]></message>",
        "<?php echo ?>",
        "<?xml version='1.0'?>",
        " <?xml version='1.0'?>",
        "<message><?xml version='1.0'?></message>",
        "<message><?pi?></message>",
        "<message>&nbsp;</message>",
        "<message>&lol9;</message>",
        "<message a='&ent;'/>",
        "<message>&AMP;</message>",
        "<message>&averyveryverylongname;</message>",
    ] {
        check_refused(inside, RestrictedXml);
    }
}

#[test]
fn what_is_not_well_formed_is_refused() {
    // XX-02, XX-04, XX-05
    for inside in [
        "<message></presence>",
        "<message></messag>",
        "<message></messages>",
        "<message><body></message></body>",
        "<message><a:body xmlns:a='x'></b:body></message>",
        "<message/ >",
        "<message / >",
        "<message/a>",
        "< message/>",
        "<message>< /message>",
        "<message></ message>",
        "<message></message a='b'>",
        "<message></>",
        "<>",
        "</>",
        "</stream>",
        "</message>",
        "<1a/>",
        "<-a/>",
        "<.a/>",
        "<a\u{d7}b/>",
        "<\u{d7}/>",
        "<\u{300}a/>",
        "<a:b:c xmlns:a='x'/>",
        "<:a/>",
        "<a:/>",
        "<a:1 xmlns:a='x'/>",
        "<message a='1'b='2'/>",
        "<message a/>",
        "<message a=/>",
        "<message a=b/>",
        "<message a='b/><c/>",
        "<message a ='<'/>",
        "<message a='1' a='2'/>",
        "<message a='1' b='2' a='1'/>",
        "<message xmlns='jabber:server' xmlns='jabber:server'/>",
        "<message xmlns:a='x' xmlns:b='x' a:c='1' b:c='2'/>",
        "<message 1='2'/>",
        "<message :='2'/>",
        "<message a:='2' xmlns:a='x'/>",
        "<message a:b:c='2' xmlns:a='x'/>",
        "<message>]]></message>",
        "<message>a]]]></message>",
        "<message><![CDATA[x]]>]]></message>",
        "<message><![CDAT[x]]></message>",
        "<message><![cdata[x]]></message>",
        "<message><!x></message>",
        "<!x>",
        "<message>& </message>",
        "<message>&;</message>",
        "<message>&#;</message>",
        "<message>&#x;</message>",
        "<message>&#X41;</message>",
        "<message>&#12a;</message>",
        "<message>&#xG;</message>",
        "<message>&# 65;</message>",
        "<message>&amp</message>",
        "<message>&-a;</message>",
        "<message a='&'/>",
    ] {
        check_refused(inside, NotWellFormed);
    }
}

#[test]
fn what_is_not_namespace_well_formed_is_refused() {
    // XX-02, XX-05
    for inside in [
        "<foo:message/>",
        "<message><foo:body/></message>",
        "<message foo:a='1'/>",
        "<message><a xmlns:p='x'/><p:b/></message>",
        "<message xmlns:a=''/>",
        "<message xmlns:xml='x'/>",
        "<message xmlns:xmlns='x'/>",
        "<message xmlns:xmlns='http://www.w3.org/2000/xmlns/'/>",
        "<message xmlns:a='http://www.w3.org/XML/1998/namespace'/>",
        "<message xmlns='http://www.w3.org/XML/1998/namespace'/>",
        "<message xmlns:a='http://www.w3.org/2000/xmlns/'/>",
        "<message xmlns='http://www.w3.org/2000/xmlns/'/>",
        "<xmlns:message/>",
        "<message xmlns:='x'/>",
    ] {
        check_refused(inside, NotWellFormed);
    }
}

#[test]
fn characters_xml_does_not_allow_are_refused_raw_and_as_references() {
    // XX-04, B-12
    for code in (0..0x20).chain([0xFFFE, 0xFFFF]).filter(|code| ![0x9, 0xA, 0xD].contains(code)) {
        let raw = char::from_u32(code).unwrap();
        check_refused(format!("<message>a{raw}</message>"), NotWellFormed);
        check_refused(format!("<message a='{raw}'/>"), NotWellFormed);
        check_refused(format!("<message><![CDATA[{raw}]]></message>"), NotWellFormed);
        check_refused(format!("<message{raw}/>"), NotWellFormed);
    }
    let low = (0u64..0x20).filter(|code| ![0x9, 0xA, 0xD].contains(code));
    let high = [0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xFFFE, 0xFFFF, 0x11_0000, 0xFFFF_FFFF, 0x1_0000_0041];
    for code in low.chain(high) {
        for reference in [format!("&#{code};"), format!("&#x{code:x};"), format!("&#x{code:X};")] {
            check_refused(format!("<message>{reference}</message>"), NotWellFormed);
            check_refused(format!("<message a='{reference}'/>"), NotWellFormed);
        }
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused_in_every_place() {
    // XX-03, B-01: each sequence in a tag name, attribute name, value, text, CDATA, namespace name, prefix, end tag.
    let sequences: [&[u8]; 32] = [
        b"\x80",
        b"\xbf",
        b"\xc0\x80",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xc2",
        b"\xc2A",
        b"\xc2\xc2",
        b"\xe0\x80\x80",
        b"\xe0\x9f\xbf",
        b"\xe0\xa0",
        b"\xe0\xa0A",
        b"\xe1\x80",
        b"\xe1A",
        b"\xed\xa0\x80",
        b"\xed\xad\xbf",
        b"\xed\xae\x80",
        b"\xed\xb0\x80",
        b"\xed\xbf\xbf",
        b"\xf0\x80\x80\x80",
        b"\xf0\x8f\xbf\xbf",
        b"\xf0\x90\x80",
        b"\xf1\x80\x80A",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xfe",
        b"\xff",
        b"\xfe\xff",
        b"\xff\xfe",
        b"\xc3\xa9\xff",
    ];
    let places = [
        "<mes~sage/>",
        "<~/>",
        "<message a~b='c'/>",
        "<message ~='c'/>",
        "<message a='b~c'/>",
        "<message>b~c</message>",
        "<message><![CDATA[b~c]]></message>",
        "<message xmlns:a='b~c'/>",
        "<message xmlns:a~b='c'/>",
        "<a~b:message/>",
        "<message></mes~sage>",
    ];
    for place in places {
        let (before, after) = place.split_once('~').unwrap();
        for sequence in sequences {
            check_refused([before.as_bytes(), sequence, after.as_bytes()].concat(), UnsupportedEncoding);
        }
    }
}

#[test]
fn namespace_names_that_readers_could_take_differently_are_refused() {
    // B-02
    for value in ["jabber&#58;server", "jabber:server&#10;x", "a&amp;b", "a\tb", "a\nb", "a\rb"] {
        check_refused(format!("<message xmlns='{value}'/>"), PolicyViolation);
        check_refused(format!("<message xmlns:a='{value}'/>"), PolicyViolation);
    }
}

#[test]
fn text_between_stanzas_is_refused() {
    for inside in ["x", " x", "\u{feff}", "&amp;", "<![CDATA[ ]]>", "]", ">"] {
        check_refused(inside, BadFormat);
    }
}

#[test]
fn a_prefix_on_the_content_namespace_is_refused() {
    // RFC 6120 §4.8.5
    check_refused("<a:message xmlns:a='jabber:server'/>", BadNamespacePrefix);
}

#[test]
fn nothing_may_follow_the_end_of_a_stream() {
    for after in ["<message/>", "x", "</stream:stream>", "<!-- -->"] {
        let outcome = read(format!("{HEADER}</stream:stream>{after}"));
        assert_eq!(outcome.condition(), Some(NotWellFormed), "{after}");
    }
}

fn check_start(input: impl AsRef<[u8]>, condition: StreamCondition) {
    let outcome = read(input.as_ref());
    assert_eq!(outcome.condition(), Some(condition), "{}: {outcome:?}", input.as_ref().escape_ascii());
    assert!(outcome.frames.is_empty(), "{outcome:?}");
}

#[test]
fn a_stream_must_begin_as_one() {
    check_start("x", NotWellFormed);
    check_start("&amp;", NotWellFormed);
    check_start("</stream:stream>", NotWellFormed);
    check_start("<![CDATA[x]]>", NotWellFormed);
    check_start(format!("\u{feff}{HEADER}"), NotWellFormed);
    check_start("GET / HTTP/1.1\r\n\r\n", NotWellFormed);
    check_start("<!DOCTYPE stream>", RestrictedXml);
    check_start("<!-- -->", RestrictedXml);
    check_start("<?xml-stylesheet?>", RestrictedXml);
    check_start("<?foo?>", RestrictedXml);
    check_start("<?xml?>", RestrictedXml);
    check_start(format!(" <?xml version='1.0'?>{HEADER}"), RestrictedXml);
    check_start(format!("<?xml version='1.0'?><?xml version='1.0'?>{HEADER}"), RestrictedXml);
    check_start(b"\x16\x03\x01\x02\x00", NotWellFormed);
}

#[test]
fn other_encodings_are_refused() {
    let utf16 = |bytes: fn(u16) -> [u8; 2]| HEADER.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    check_start(utf16(u16::to_le_bytes), UnsupportedEncoding);
    check_start(utf16(u16::to_be_bytes), UnsupportedEncoding);
    check_start([b"\xff\xfe".as_slice(), &utf16(u16::to_le_bytes)].concat(), UnsupportedEncoding);
    check_start([b"\xfe\xff".as_slice(), &utf16(u16::to_be_bytes)].concat(), UnsupportedEncoding);
    check_start(b"\xff\xfe\x00\x00<\x00\x00\x00", UnsupportedEncoding);
    check_start(b"\x00\x00\xfe\xff\x00\x00\x00<", UnsupportedEncoding);
    check_start(b"<s\xe9/>", UnsupportedEncoding);
    for encoding in ["UTF-16", "ISO-8859-1", "us-ascii", "UTF8"] {
        check_start(format!("<?xml version='1.0' encoding='{encoding}'?>{HEADER}"), UnsupportedEncoding);
    }
}

#[test]
fn malformed_declarations_are_refused() {
    for inside in [
        " ",
        " encoding='UTF-8'",
        " version=1.0",
        " version='1.0",
        " version='1.0\"",
        " version='2.0'",
        " version='1.'",
        " version='1.0'encoding='UTF-8'",
        " version='1.0' encoding=''",
        " version='1.0' encoding='-8'",
        " encoding='UTF-8' version='1.0'",
        " version='1.0' standalone='maybe'",
        " version='1.0' x='y'",
        " version='1.0' version='1.0'",
        " version='1.0'\u{c}",
        " version='1.0' standalone='no' encoding='UTF-8'",
        " version='1.0' >",
        " version='\u{e9}'",
    ] {
        check_start(format!("<?xml{inside}?>{HEADER}"), NotWellFormed);
    }
    check_start(format!("<?xml version='1.1'?>{HEADER}"), RestrictedXml);
}

#[test]
fn headers_that_open_no_xmpp_stream_are_refused() {
    // XS-10, RFC 6120 §4.8.1
    let cases = [
        ("<stream:stream xmlns='jabber:server' xmlns:stream='http://wrong.example/'>", InvalidNamespace),
        ("<stream xmlns='jabber:server'>", InvalidNamespace),
        ("<stream>", InvalidNamespace),
        ("<stream:stream>", NotWellFormed),
        ("<s:strea xmlns:s='http://etherx.jabber.org/streams'>", BadFormat),
        ("<s:stream xmlns:s='http://etherx.jabber.org/streams' version='1'>", UnsupportedVersion),
        ("<s:stream xmlns:s='http://etherx.jabber.org/streams' version='one.0'>", UnsupportedVersion),
        ("<s:stream xmlns:s='http://etherx.jabber.org/streams' version='1.+1'>", UnsupportedVersion),
        ("<s:stream xmlns:s='http://etherx.jabber.org/streams' version='99999999999.0'>", UnsupportedVersion),
        ("<s:stream xmlns:s='http&#58;//etherx.jabber.org/streams'>", PolicyViolation),
    ];
    for (input, condition) in cases {
        check_start(input, condition);
    }
}
