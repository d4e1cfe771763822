use proptest::prelude::*;
use quick_xml::NsReader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;

use super::*;

fn inside(html: &str) -> Option<String> {
    let text = sanitise(html)?;
    let text = text.strip_prefix(std::str::from_utf8(START).unwrap()).unwrap();
    Some(text.strip_suffix(std::str::from_utf8(END).unwrap()).unwrap().to_owned())
}

#[test]
fn what_may_pass_passes() {
    let check = |html: &str, expected: &str| {
        assert_eq!(inside(html).as_deref(), Some(expected), "{html}");
        check_sound(html);
    };
    check("a <b>bold</b> &amp; <I>it</I>", "a <strong>bold</strong> &amp; <em>it</em>");
    check("<u>x</u>", "<span style='text-decoration: underline'>x</span>");
    check("<font color=\"#ff0000\" face='x'>r</font>", "<span style='color: #ff0000'>r</span>");
    check(
        "<span style='COLOR: red; position: fixed; font-size: 9pt'>r</span>",
        "<span style='color: red; font-size: 9pt'>r</span>",
    );
    check(
        "<a href=\"https://u.example/?a=1&amp;b='\">l</a>",
        "<a href='https://u.example/?a=1&amp;b=&#39;'>l</a>",
    );
    check("<a href=mailto:a@b>m</a>", "<a href='mailto:a@b'>m</a>");
    check("<ul><li>1<li>2</ul>3", "<ul><li>1</li><li>2</li></ul>3");
    check("<div><em>a<div>b</div>c", "<p><em>a</em></p><p>b</p>c");
    check("<em>never closed", "<em>never closed</em>");
    check("</em></b><em>x</strong></em></em>", "<em>x</em>");
    check("<em>1<br>2</em>", "<em>1<br/>2</em>");
}

#[test]
fn what_may_not_does_not() {
    let check = |html: &str, expected: Option<&str>| {
        assert_eq!(inside(html).as_deref(), expected, "{html}");
        check_sound(html);
    };
    check("only text", None);
    check("<p>one</p><p>two</p><br>", None);
    check("<script>alert('<em>')</script><em>x</em>", Some("<em>x</em>"));
    check("<em onclick='alert(1)' class=c id=i>x</em>", Some("<em>x</em>"));
    for link in [
        "javascript:alert(1)",
        "&#106;avascript:alert(1)",
        " java\nscript:x",
        "data:text/html,x",
        "//u.example",
        "file:///x",
        "vbscript:x",
        "https ://x",
        "",
    ] {
        check(&format!("<em>x</em><a href=\"{link}\">l</a>"), Some("<em>x</em>l"));
    }
    for style in [
        "background: url(javascript:x)",
        "color: expression(alert(1))",
        "color: r\\65 d",
        "color: &#x27;",
        "-moz-binding: x",
        "color",
        "color: ",
    ] {
        check(&format!("<em style=\"{style}\">x</em>"), Some("<em>x</em>"));
    }
    check(
        "<img src='https://u.example/track.gif' onerror=x><iframe src=x></iframe><em>x</em>",
        Some("<em>x</em>"),
    );
    check("<svg><em/onload=x>y</em></svg>", Some("<em>y</em>"));
    check("<li>x</li><em>y</em>", Some("x<em>y</em>"));
    check(&format!("<em>{}</em>", "x".repeat(BYTES_MAX)), None);
    check(&"<em>".repeat(10_000), Some(&["<em>".repeat(DEPTH_MAX), "</em>".repeat(DEPTH_MAX)].concat()));
}

/// Reads the result again: it is well-formed and holds nothing that is not listed.
fn check_sound(html: &str) {
    let Some(text) = sanitise(html) else { return };
    let mut reader = NsReader::from_str(&text);
    let mut depth = 0;
    loop {
        let (namespace, event) =
            reader.read_resolved_event().unwrap_or_else(|error| panic!("{error}: {text}"));
        let ns = match namespace {
            ResolveResult::Bound(bound) => bound.0.to_owned(),
            other => format!("{other:?}"),
        };
        match event {
            Event::Start(start) => {
                check_tag(&start, &ns, depth, &text);
                depth += 1;
            }
            Event::Empty(start) => {
                assert!(start.name().0 == "br" && start.attributes().count() == 0, "{text}");
            }
            Event::End(_) => depth -= 1,
            Event::Text(part) => assert!(!part.contains(['\'', '"', '>', '\u{0}']), "{text}"),
            Event::GeneralRef(_) => {}
            Event::Eof => break,
            other => panic!("{other:?}: {text}"),
        }
    }
    assert_eq!(depth, 0, "{text}");
}

fn check_tag(start: &BytesStart<'_>, namespace: &str, depth: usize, text: &str) {
    let name = start.name();
    match depth {
        0 => {
            return assert!(name.0 == "html" && namespace == "http://jabber.org/protocol/xhtml-im", "{text}");
        }
        1 => return assert!(name.0 == "body" && namespace == "http://www.w3.org/1999/xhtml", "{text}"),
        _ => assert!(ELEMENTS.contains(&name.0) && namespace == "http://www.w3.org/1999/xhtml", "{text}"),
    }
    for attribute in start.attributes() {
        let attribute = attribute.unwrap();
        let value = attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0).unwrap();
        match attribute.key.0 {
            "style" => {
                for part in value.split("; ") {
                    let (property, value) = part.split_once(": ").unwrap();
                    assert!(PROPERTIES.contains(&property), "{text}");
                    assert!(!value.contains(['(', ')', '\\', '"', '\'', ':', ';', '@', '/']), "{text}");
                }
            }
            "href" => {
                let lower = value.to_ascii_lowercase();
                assert!(name.0 == "a" && SCHEMES.iter().any(|scheme| lower.starts_with(scheme)), "{text}");
            }
            other => panic!("{other}: {text}"),
        }
    }
}

proptest! {
    #[test]
    fn any_html_is_made_sound(
        parts in proptest::collection::vec(prop_oneof![
            "</?(a|b|p|em|ul|ol|li|div|span|font|script|blockquote|x:y|p)( (href|style|onload|color|=)=?(\"|')?(https://x|javascript:x|color: red|&#?[a-z0-9]{1,4};|<|>)?(\"|')?){0,3}/?>",
            "[ -~]{0,12}",
            "\\PC{0,8}",
            "<(a|span) (href|style)=['\"]?\\PC{0,20}>",
        ], 0..12),
        any: String,
        bytes: Vec<u8>,
    ) {
        check_sound(&parts.concat());
        check_sound(&["<em>", &any, "</em>"].concat());
        check_sound(&["<a href='", &any, "'>x</a><em style='", &any, "'>y"].concat());
        check_sound(&["<b>", &String::from_utf8_lossy(&bytes)].concat());
    }
}
