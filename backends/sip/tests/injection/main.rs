//! Header injection in both directions (B-50, B-51): whatever stands in any field that crosses, what comes out is as many messages as for a
//! harmless value, with the same header fields, elements and attributes, or nothing. Judged by readers that others wrote: sipx-sip and rsip
//! for SIP, rxml and expat for XML.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unreachable_pub, missing_docs, dead_code, reason = "support is shared between test files")]

mod readers;
#[path = "../presence/stage.rs"]
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod to_partners;
mod to_pools;

use proptest::prelude::*;

/// What has been tried against others, and what lies near it.
const HOSTILE: [&str; 46] = [
    "&lt;evil/&gt;",
    "<![CDATA[<evil/>]]>",
    "\r\nEvil: yes\r\n",
    "\r\n\r\nMESSAGE sip:x@y SIP/2.0\r\nEvil: yes\r\nContent-Length: 0\r\n\r\n",
    "\nEvil: yes\n",
    "\rEvil: yes\r",
    "\r\n folded",
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\u{b}",
    "\u{c}",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{202e}",
    "\u{feff}",
    "\u{fffe}",
    "\u{e000}",
    "\u{1f642}",
    "]]>",
    "<![CDATA[",
    "<!--",
    "-->",
    "<?xml?>",
    "</body>",
    "</message><message from='eve@evil.example'>",
    "<evil xmlns='urn:evil'/>",
    "' evil='yes",
    "\" evil=\"yes",
    "&",
    "&lt;",
    "&#13;&#10;Evil: yes",
    "\"",
    "'",
    "\\",
    ">;tag=evil",
    "<sip:eve@evil.example>",
    "%0d%0aEvil:%20yes",
    "%00",
    ";evil=yes",
    ",",
    ": ",
    "=?utf-8?Q?=0D=0AEvil:_yes?=",
    "\u{130}\u{df}\u{1c4}",
];

/// Arbitrary text: any characters, printable ones, and what has been tried, in any order.
pub fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => proptest::sample::select(&HOSTILE[..]).prop_map(str::to_owned),
        1 => "[a-z ]{1,8}",
        1 => "\\PC{1,12}",
        1 => proptest::collection::vec(any::<char>(), 1..6).prop_map(String::from_iter),
    ];
    proptest::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

/// Arbitrary octets, UTF-8 or not.
pub fn octets() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => text().prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 1..8),
        // Surrogates in UTF-8, an overlong "<", a sequence that is cut.
        1 => proptest::sample::select(vec![
            b"\xed\xa0\x80".to_vec(),
            b"\xed\xb0\x80".to_vec(),
            b"\xc0\xbc".to_vec(),
            b"\xe2\x82".to_vec(),
            b"\x80".to_vec(),
            b"\xff\xfe<".to_vec(),
        ]),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

/// So many cases, times `INJECTIONS` where more are to be tried by hand.
pub fn cases(many: u32) -> ProptestConfig {
    let times = std::env::var("INJECTIONS").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    ProptestConfig::with_cases(many.saturating_mul(times))
}
