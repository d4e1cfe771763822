//! The families of hostile XML, one function each, named by what they attack. Each gives what stands behind a stream header.

/// What turnout has to say of a family's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Every one is refused and nothing of it comes out.
    Refused,
    /// Every one is one stanza and comes out.
    Taken,
    /// Some are one, some the other; the readers have to agree.
    Either,
}

/// Inputs of one kind.
pub struct Family {
    /// Row of the table of attacks.
    pub id: &'static str,
    pub name: &'static str,
    pub expect: Expect,
    pub inputs: Vec<Vec<u8>>,
}

fn family(id: &'static str, name: &'static str, expect: Expect, inputs: Vec<String>) -> Family {
    let inputs = inputs.into_iter().map(String::into_bytes).collect();
    Family { id, name, expect, inputs }
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|&text| text.to_owned()).collect()
}

/// All of them.
pub fn all() -> Vec<Family> {
    vec![
        Family { id: "B-01", name: "no UTF-8", expect: Expect::Refused, inputs: invalid_utf8() },
        family("B-02", "separators in namespaces", Expect::Either, separators()),
        family("B-03", "confused namespaces", Expect::Either, confused()),
        family("B-04", "entities and document types", Expect::Refused, entities()),
        family("B-05", "many small parts", Expect::Taken, small_parts()),
        family("B-07", "too many attributes", Expect::Refused, attributes()),
        family("B-08", "too many declarations", Expect::Refused, declarations()),
        family("B-09", "too deep", Expect::Refused, deep()),
        family("B-11", "odd and harmless", Expect::Taken, harmless()),
        family("B-12", "references to what is no character", Expect::Refused, references()),
        family("B-12", "markup that is nearly right", Expect::Either, nearly()),
    ]
}

/// Every sequence of up to four octets that begins with one of these and is no UTF-8, in a name, an attribute's name, a value, text,
/// a namespace and a prefix.
fn invalid_utf8() -> Vec<Vec<u8>> {
    const PLACES: [&str; 6] = [
        "<mes~sage/>",
        "<message a~='c'/>",
        "<message a='~'/>",
        "<message>~</message>",
        "<message><x xmlns='urn:~'/></message>",
        "<message xmlns:a~='c'/>",
    ];
    const NEXT: [u8; 9] = [b'<', b'\'', b'>', 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xbf];
    let mut sequences: Vec<Vec<u8>> = (0x80..=0xff).map(|octet| vec![octet]).collect();
    for first in (0xc0..=0xff).step_by(3).chain([0xe0, 0xed, 0xf0, 0xf4]) {
        for second in NEXT {
            sequences.push(vec![first, second]);
            sequences.push(vec![first, second, 0x80]);
            sequences.push(vec![first, second, 0x80, 0xbf]);
        }
    }
    sequences.extend([b"\xef\xbf\xbe".to_vec(), b"\xef\xbf\xbf".to_vec()]);
    let mut inputs = Vec::new();
    for sequence in sequences {
        // With what follows it in the place it may be valid after all; these are asked about elsewhere.
        let valid = std::str::from_utf8(&sequence).is_ok_and(|text| !text.contains(['\u{fffe}', '\u{ffff}']));
        for place in PLACES.iter().filter(|_| !valid) {
            let (before, after) = place.split_once('~').unwrap();
            inputs.push([before.as_bytes(), &sequence, after.as_bytes()].concat());
        }
    }
    inputs
}

fn separators() -> Vec<String> {
    let mut inputs = Vec::new();
    for between in [
        " ", "\t", "\n", "\r", "}", "{", "^", "|", "!", "\u{7f}", "\u{85}", "\u{a0}", "\u{2028}", "\u{feff}",
        "&#32;", "&#9;", "&#10;", "&amp;", "&gt;", "&lt;", "'", ">", "%20", "\u{1f}", "\u{c}",
    ] {
        let name = format!("jabber:server{between}message");
        inputs.push(format!("<x xmlns=\"{name}\"/>"));
        inputs.push(format!("<message><x xmlns=\"{name}\"/></message>"));
        inputs.push(format!("<message xmlns:a=\"{name}\"><a:x a:b='' b=''/></message>"));
        inputs.push(format!("<message xmlns=\"jabber:server{between}\"/>"));
        inputs.push(format!("<message xmlns=\"{between}jabber:server\"/>"));
        inputs.push(format!("<message><x xmlns:a=\"u{between}b\" xmlns:c=\"u\" a:d='' c:d=''/></message>"));
    }
    inputs
}

fn confused() -> Vec<String> {
    texts(&[
        "<x:message xmlns:x='evil'/>",
        "<message xmlns:x='evil' x:to='a@b' x:from='c@d' to='e@f'/>",
        "<message xmlns:x='jabber:server' x:to='a@b'/>",
        "<proceed/>",
        "<message><stream:error/></message>",
        "<stream:error><x/></stream:error>",
        "<stream:features xmlns:stream='evil'/>",
        "<a xmlns:stream='jabber:server'><stream:b/></a>",
        "<message xmlns:p='urn:q'><p:x q:a='' p:b=''/></message>",
        "<message><x xmlns:p='urn:q' q:a='' p:a=''/></message>",
        "<message p:a='' q:a=''/>",
        "<message xmlns=''><body/></message>",
        "<message><x xmlns=''><body xmlns='jabber:server'/></x></message>",
        "<message><p:x xmlns:p='urn:1'><p:y/></p:x><p:z/></message>",
        "<message><p:x xmlns:p='urn:1'></q:x></message>",
        "<message><p:x xmlns:p='urn:p'></p:x></message>",
        "<message xml:to='a'/>",
        "<message xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:lang='de'/>",
        "<message xmlns:a='http://www.w3.org/XML/1998/namespace' a:lang='de'/>",
        "<message xmlns:xmlns='http://www.w3.org/2000/xmlns/'/>",
        "<message xmlns:a=''/>",
        "<message xmlns:a='u' xmlns:a='v'/>",
        "<message u:a=''/>",
        "<u:message/>",
        "<message><a:b:c xmlns:a='x'/></message>",
        "<message :a=''/>",
        "<message a:=''/>",
        "<db:result/>",
        "<db:result xmlns:db='evil'/>",
        "<d:result xmlns:d='jabber:server:dialback'/>",
        "<error xmlns='evil'/>",
        "<xmlns/>",
        "<xml:a/>",
    ])
}

fn entities() -> Vec<String> {
    let laughs: String =
        (1..10).map(|n| format!("<!ENTITY l{n} '{}'>", format!("&l{};", n - 1).repeat(10))).collect();
    let mut inputs = texts(&[
        "<!DOCTYPE a><message/>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><message>&b;</message>",
        "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><message/>",
        "<!DOCTYPE a [<!ENTITY % b SYSTEM 'http://127.0.0.1:1/'> %b;]><message/>",
        "<message><!DOCTYPE a></message>",
        "<message><!ENTITY a 'b'></message>",
        "<!ENTITY a 'b'>",
        "<message>&a;</message>",
        "<message a='&a;'/>",
        "<message>&AMP;</message>",
        "<message>&amp</message>",
        "<message>%a;<!-- --></message>",
        "<message><!-- &a; --></message>",
        "<message><?xml version='1.0'?></message>",
        "<message><![INCLUDE[x]]></message>",
    ]);
    inputs.push(format!("<!DOCTYPE a [<!ENTITY l0 'x'>{laughs}]><message>&l9;</message>"));
    inputs.push(format!("<message>{}</message>", "&l9;".repeat(100)));
    let long = "y".repeat(5_000);
    inputs.push(format!("<!DOCTYPE a [<!ENTITY b '{long}'>]><message>{}</message>", "&b;".repeat(500)));
    inputs
}

fn small_parts() -> Vec<String> {
    let attributes: String = (0..60).map(|at| format!(" a{at}='{at}'")).collect();
    let declarations: String = (0..40).map(|at| format!(" xmlns:a{at}='u{at}'")).collect();
    vec![
        format!("<message>{}</message>", "<x/>".repeat(4_000)),
        format!("<message{attributes}/>"),
        format!("<message>{}</message>", format!("<x{attributes}/>").repeat(40)),
        format!("<message{declarations}>{}</message>", "<a7:x a9:b=''/>".repeat(300)),
        format!("<message>{}{}</message>", "<x>".repeat(60), "</x>".repeat(60)),
        format!("<message>{}</message>", "a<![CDATA[b]]>&#99;".repeat(1_000)),
        format!("<message>{}</message>", "<![CDATA[]]>".repeat(1_000)),
        format!("<message>{}</message>", "&amp;&#x1F600;\u{1F600}\r\n\r".repeat(500)),
        format!("<message a=\"{}\"/>", "&quot;\t\n'>".repeat(500)),
    ]
}

fn attributes() -> Vec<String> {
    let many = |count: usize| (0..count).map(|at| format!(" a{at}=''")).collect::<String>();
    let same = |count: usize| (0..count).map(|at| format!(" xmlns:a{at}='u' a{at}:b=''")).collect::<String>();
    vec![
        format!("<message{}/>", many(65)),
        format!("<message{}/>", many(2_000)),
        format!("<message><x{}/></message>", many(65)),
        format!("<message{}/>", same(2)),
        format!("<message{}/>", same(30)),
        "<message a='' a=''/>".to_owned(),
        format!("<message{} a0=''/>", many(60)),
    ]
}

fn declarations() -> Vec<String> {
    let many = |count: usize, from: usize| {
        (from..from + count).map(|at| format!(" xmlns:a{at}='u'")).collect::<String>()
    };
    let nested: String = (0..10).map(|depth| format!("<x{}>", many(10, depth * 10))).collect();
    vec![
        format!("<message{}/>", many(65, 0)),
        format!("<message{}/>", many(2_000, 0)),
        format!("<message>{nested}{}</message>", "</x>".repeat(10)),
    ]
}

fn deep() -> Vec<String> {
    vec![
        format!("{}{}", "<message>".repeat(65), "</message>".repeat(65)),
        "<a>".repeat(10_000),
        "<a><b/>".repeat(10_000),
        "<a b='c'>d".repeat(5_000),
    ]
}

fn harmless() -> Vec<String> {
    texts(&[
        "<message from='a@b' to='c@d' type='chat' id='&lt;&#x41;'><body>it's &lt;3 \u{e9}</body><x xmlns='y' z=\"w\"/></message>",
        "<iq type='get' id='2' to='c@d' from='a@b/f'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<presence to=\"c@d\" xml:lang='de' from='a@b'><show>odd</show>\n<priority>999</priority><c xmlns='http://x' hash='sha-1' ver='='/></presence >",
        "<message xmlns='jabber:server' from='a@b' to='c@d'>]] > &#x41;<a><b xmlns=''><c/></b></a></message>",
        "<message from='a@b' to='c@d'>\u{ffe5}\u{fffd}\u{4f60}\u{1f600}<![CDATA[<x>&amp;]]></message>",
        "<message><![CDATA[a\r\nb\rc\n]]>\r\n\r\n\r</message>",
        "<message a='\r\n \t&#13;&#10;&#9;\n'/>",
        "<message>\u{feff}\u{85}\u{2028}\u{7f}\u{9f}</message>",
        "<message a='\u{feff}\u{85}\u{2028}>'/>",
        "<message a = 'b'\n\tc\r\n=\r\n\"d\" ></message\n>",
        "<message><\u{e9}l\u{e9}ment \u{4f60}='\u{597d}'/></message>",
        "<message><_ _.-='' a..b=''/></message>",
    ])
}

/// Every code point that is no Char of XML 1.0 §2.2, in decimal and in hexadecimal, and numbers that are none.
fn references() -> Vec<String> {
    let controls = (0_u32..0x20).filter(|code| ![9, 10, 13].contains(code));
    let codes = controls.chain(0xd800..=0xdfff).chain([0xfffe, 0xffff, 0x11_0000, 0x1f_ffff, 0xffff_ffff]);
    let mut inputs: Vec<String> = Vec::new();
    for code in codes {
        inputs.push(format!("<message>&#{code};</message>"));
        inputs.push(format!("<message a='&#x{code:X};'/>"));
    }
    for reference in [
        "&#;",
        "&#x;",
        "&#X41;",
        "&#-1;",
        "&#+65;",
        "&# 65;",
        "&#65 ;",
        "&#6\u{665};",
        "&#xg;",
        "&#65",
        "&;",
        "&",
    ] {
        inputs.push(format!("<message>{reference}</message>"));
        inputs.push(format!("<message a='{reference}'/>"));
    }
    inputs
}

fn nearly() -> Vec<String> {
    texts(&[
        "<message>]]></message>",
        "<message>]]&gt;</message>",
        "<message>]<![CDATA[]]]]><![CDATA[>]]></message>",
        "<message><![CDATA[]]]></message>",
        "<message><![CDATA[ ]] ></message>",
        "<message><![cdata[x]]></message>",
        "<message a='<'/>",
        "<message a='>'/>",
        "<message a=b/>",
        "<message a='b'c='d'/>",
        "<message a/>",
        "<message / >",
        "< message/>",
        "</message>",
        "<message></Message>",
        "<message></message ><message/>",
        "<message><x></message></x>",
        "<1/>",
        "<-a/>",
        "<a\u{b7}/>",
        "<\u{b7}a/>",
        "<a><b/ ></a>",
        "<a>\u{1}</a>",
        "<a>\u{fffe}</a>",
        "<a>\0</a>",
        "<>",
        "<a",
        "<a b='",
        "<message/>x",
        "<message/>&#32;",
    ])
}
