//! Generators of the stanzas that streams carry, nearly all of them plain, and of damage to them.

use proptest::prelude::*;
use proptest::sample::{Index, select};

fn pick(from: &[&'static str]) -> impl Strategy<Value = &'static str> + use<> {
    select(from.to_vec())
}

fn address() -> impl Strategy<Value = String> {
    let local = prop_oneof![
        12 => "[a-z0-9._!#$%*+=?^`{|}~\\[\\]\\\\-]{1,12}",
        1 => pick(&["", "A", "a b", "a:b", "a@b", "gr\u{fc}n", "a&amp;b", "a\u{7f}", "\u{e9}"]).prop_map(str::to_owned),
        1 => (60usize..70).prop_map(|len| "x".repeat(len)),
    ];
    let resource = prop_oneof![
        6 => Just(String::new()),
        12 => "/[ -%(-;=?-~]{1,12}",
        1 => pick(&["/", "/a/b@c", "/gr\u{fc}n", "/\t", "/&lt;", "/a'b", "/a\"b", "/a>b", "/\u{7f}"]).prop_map(str::to_owned),
        1 => (20usize..80).prop_map(|len| format!("/{}", "r".repeat(len))),
        1 => (1020usize..1026).prop_map(|len| format!("/{}", "r".repeat(len))),
    ];
    let domain = prop_oneof![8 => Just("@contoso.com"), 8 => Just("@partner.example"), 1 => pick(&["", "@", "@a b", "@\u{fc}.example", "@x>", "@A.b"])];
    (local, domain, resource).prop_map(|(local, domain, resource)| format!("{local}{domain}{resource}"))
}

pub(super) fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        30 => "[a-zA-Z ,.?!]{0,40}",
        6 => pick(&["&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&#65;", "&#x1F600;", "&#10;", "&#0000000065;"]).prop_map(str::to_owned),
        6 => pick(&["it's", "\"x\"", ">", "]]", "]", "]] >", "\n", "\t", "\r\n", "="]).prop_map(str::to_owned),
        4 => "[\u{430}-\u{44f} ]{0,30}",
        4 => "[\u{3041}-\u{3096}\u{ff01}\u{fffd}]{0,20}",
        2 => pick(&["\u{1f600}", "\u{e9}", "\u{ffe5}", "\u{ff00}", "\u{feff}", "\u{85}", "\u{10ffff}"]).prop_map(str::to_owned),
    ];
    let bad = pick(&[
        "]]>", "&", "&x;", "&#0;", "\u{fffe}", "\u{ffff}", "\u{1}", "\0", "\u{b}", "\u{1f}", "&#xFFFE;",
    ]);
    let pieces = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    prop_oneof![400 => pieces.clone(), 1 => (pieces.clone(), bad, pieces).prop_map(|(a, bad, b)| format!("{a}{bad}{b}"))]
}

fn quoted(name: &str, value: &str, style: u8) -> String {
    let value = value.replace('<', "");
    match style % 12 {
        0 => format!("\t{name}=\"{}\"", value.replace('"', "")),
        1 => format!(" \n{name} = '{}'", value.replace('\'', "")),
        2 => format!(" {name}= \"{}\"", value.replace('"', "")),
        3..=6 => format!(" {name}=\"{}\"", value.replace('"', "")),
        _ => format!(" {name}='{}'", value.replace('\'', "")),
    }
}

const NAMES: [&str; 24] = [
    "hash",
    "node",
    "ver",
    "stamp",
    "from",
    "to",
    "id",
    "type",
    "xml:lang",
    "xmlns",
    "sid",
    "a",
    "A",
    "_b-c.d",
    "stanza-identity",
    "an-attribute-name",
    "an-attribute-nama",
    "xmlns:p",
    "p:q",
    "x:y",
    "\u{e9}",
    "1a",
    "-a",
    "var",
];

fn attribute() -> impl Strategy<Value = String> {
    let name = prop_oneof![30 => select(NAMES[..9].to_vec()), 10 => select(NAMES[9..17].to_vec()), 1 => select(NAMES[17..].to_vec())];
    (name, text(), any::<u8>()).prop_map(|(name, value, style)| quoted(name, &value, style))
}

fn namespace() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        40 => pick(&["http://jabber.org/protocol/caps", "urn:xmpp:ping", "jabber:server", "jabber:x:data", "", "urn:\u{e9}"]),
        1 => pick(&["http://www.w3.org/2000/xmlns/", "http://www.w3.org/XML/1998/namespace", "a&amp;b", "a\tb", "a>b"]),
    ];
    (value, any::<u8>()).prop_map(|(value, style)| quoted("xmlns", value, style))
}

fn content() -> impl Strategy<Value = String> {
    let name = || {
        prop_oneof![
            30 => pick(&["body", "active", "x", "c", "query", "ping", "delay", "photo", "show", "status", "p", "_", "an-element-name"]),
            1 => pick(&["db:x", "stream:y", "u:v", "\u{e9}", "1", "xmlns", "an-element-name-that-is-quite-long-for-one"]),
        ]
    };
    let attributes = || {
        let others = prop_oneof![4 => Just(Vec::new()), 4 => prop::collection::vec(attribute(), 1..2), 1 => prop::collection::vec(attribute(), 2..4)];
        let namespace = prop::option::weighted(0.6, namespace()).prop_map(Option::unwrap_or_default);
        (namespace, others).prop_map(|(namespace, others)| format!("{namespace}{}", others.concat()))
    };
    let leaf = prop_oneof![
        10 => text(),
        10 => (name(), attributes(), pick(&["", " ", "\n"])).prop_map(|(name, attributes, gap)| format!("<{name}{attributes}{gap}/>")),
        1 => pick(&["<![CDATA[x]]>", "<!-- -->", "<?x?>", "</x>", "<x>", "<>"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 16, 3, move |inner| {
        let inner = prop::collection::vec(inner, 0..3).prop_map(|all| all.concat());
        (name(), attributes(), inner, pick(&["", "", "", " ", "\t\n"])).prop_map(
            |(name, attributes, inner, gap)| format!("<{name}{attributes}{gap}>{inner}</{name}{gap}>"),
        )
    })
}

/// A stanza, plain as a rule.
pub(super) fn stanza() -> impl Strategy<Value = String> {
    let named = prop_oneof![
        20 => (Just("message"), pick(&["", "chat", "normal", "headline", "groupchat", "error"])),
        20 => (Just("presence"), pick(&["", "unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe"])),
        20 => (Just("iq"), pick(&["get", "set", "result", "error"])),
        2 => (pick(&["message", "presence", "iq"]), pick(&["", "error", "CHAT", "chat ", "&#99;hat", "res", "chatt"])),
        1 => (pick(&["messages", "presenc", "i", "iqq", "db:result"]), Just("get")),
    ];
    let named = (named, any::<u8>()).prop_map(|((name, kind), style)| {
        (name, if kind.is_empty() { String::new() } else { quoted("type", kind, style) })
    });
    let of = |name: &'static str, weight: f64| {
        (prop::option::weighted(weight, address()), any::<u8>())
            .prop_map(move |(value, style)| value.map_or(String::new(), |value| quoted(name, &value, style)))
    };
    let id = (prop::option::weighted(0.8, text()), any::<u8>())
        .prop_map(|(id, style)| id.map_or(String::new(), |id| quoted("id", &id, style)));
    let other = prop::option::weighted(0.15, attribute()).prop_map(Option::unwrap_or_default);
    let attributes = (of("from", 0.99), of("to", 0.99), named, id, other, any::<Index>());
    let attributes = attributes.prop_map(|(from, to, (name, kind), id, other, turn)| {
        let mut attributes = [from, to, kind, id, other];
        attributes.rotate_left(turn.index(5));
        (name, attributes)
    });
    let inside = prop::option::weighted(0.9, prop::collection::vec(content(), 1..3));
    (attributes, inside).prop_map(|((name, attributes), inside)| {
        let attributes = attributes.concat();
        inside.map_or_else(
            || format!("<{name}{attributes}/>"),
            |inside| format!("<{name}{attributes}>{}</{name}>", inside.concat()),
        )
    })
}

/// Stanzas behind each other, now and then with white space between.
pub(super) fn stanzas() -> impl Strategy<Value = String> {
    let one = (stanza(), prop_oneof![12 => Just(""), 1 => pick(&[" ", "\n", "x"])]);
    prop::collection::vec(one, 1..5)
        .prop_map(|all| all.into_iter().flat_map(|(stanza, gap)| [stanza, gap.to_owned()]).collect())
}

/// A place, as a share of the length; how many octets go; what comes instead.
pub(super) fn damage() -> impl Strategy<Value = (Index, usize, &'static [u8])> {
    let all: Vec<&'static [u8]> = vec![
        b"",
        b"<",
        b">",
        b"/",
        b"&",
        b";",
        b"'",
        b"\"",
        b"=",
        b":",
        b" ",
        b"]]>",
        b"\0",
        b"\x80",
        b"\xc3",
        b"\xed\xa0\x80",
        b"xmlns",
        b"a",
        b"!",
        b"\xef\xbf\xbe",
        b"\xef\xbf",
        b"\xbe",
        b"\n",
        b"\x7f",
        b"A",
        b"@",
        b"</",
        b"/>",
        b"<a>",
        b"&#",
        b" to='a@b'",
    ];
    (any::<Index>(), 0usize..4, select(all))
}

pub(super) fn damaged(mut document: Vec<u8>, damages: Vec<(Index, usize, &'static [u8])>) -> Vec<u8> {
    for (place, gone, instead) in damages {
        let at = place.index(document.len());
        let end = (at + gone).min(document.len());
        document.splice(at..end, instead.iter().copied());
    }
    document
}
