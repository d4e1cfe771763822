use super::*;

mod multiparts;

fn check(kind: &str, encoding: Option<&str>, body: &[u8], expected: &Content<'_>) {
    let media = MediaType::parse(kind.as_bytes()).unwrap();
    let content = read(Some(&media), encoding.map(str::as_bytes), body);
    assert_eq!(&content, expected, "{kind} {encoding:?} {}", String::from_utf8_lossy(body));
}

fn text(text: &str) -> Content<'_> {
    Content::Text(text.into())
}

#[test]
fn charsets_and_encodings() {
    check("text/plain", None, "grüß 🙂".as_bytes(), &text("grüß 🙂"));
    check("text/plain; charset=\"UTF-8\"; msgr=WAAtAE0", None, b"\xef\xbb\xbfx", &text("x"));
    check("TEXT/Plain;charset=iso-8859-1", None, b"gr\xfc\xdf", &text("grüß"));
    check("text/plain;charset=windows-1252", None, b"\x80 \x93x\x94", &text("€ “x”"));
    check("text/plain;charset=iso-8859-15", None, b"5 \xa4 \xbe\xfc", &text("5 € Ÿü"));
    check("text/plain;charset=us-ascii", None, b"x", &text("x"));
    check("text/plain;charset=utf-16", None, b"\xff\xfeh\0i\0", &text("hi"));
    check("text/plain;charset=utf-16be", None, b"\0h\0i", &text("hi"));
    check("text/plain", Some("base64"), b"Z3LD\r\nvMOf", &text("grüß"));
    check("text/plain", Some("Quoted-Printable"), b"gr=C3=BC=\r\n=c3=9f", &text("grüß"));
    check("text/plain", Some("8bit"), b"x", &text("x"));
    for broken in [b"\xff".as_slice(), b"\xed\xa0\x80"] {
        assert!(matches!(
            read(MediaType::parse(b"text/plain").ok().as_ref(), None, broken),
            Content::Broken(_)
        ));
    }
    assert!(matches!(
        read(MediaType::parse(b"text/plain").ok().as_ref(), Some(b"base64"), b"!"),
        Content::Broken(_)
    ));
    assert!(matches!(
        read(MediaType::parse(b"text/plain").ok().as_ref(), Some(b"quoted-printable"), b"=G1"),
        Content::Broken(_)
    ));
    check("text/plain", Some("x-uuencode"), b"x", &Content::Unsupported);
    check("text/plain;charset=koi8-r", None, b"x", &Content::Unsupported);
    check("text/rtf", None, b"{\\rtf1}", &Content::Unsupported);
    assert_eq!(read(None, None, b""), text(""));
    assert_eq!(read(None, None, b"x"), Content::Unsupported);
}

#[test]
fn html_becomes_text() {
    let check = |html: &str, expected: &str| assert_eq!(html::strip(html), expected, "{html}");
    check("<DIV>a<br/>b</DIV><div>c</div>", "a\nb\nc");
    check("<p style='x>y'>1 &lt; 2 &amp;&amp; 3 &gt; 2&nbsp;&#33;&#x21;</p>", "1 < 2 && 3 > 2 !!");
    check("<head><title>t</title></head><script>alert('</b>')</script>x<style>p{}</style>", "x");
    check("a <!-- <b>hidden</b> --> b", "a b");
    check("1 < 2 & 3 &unknown; &#x110000;", "1 < 2 & 3 &unknown; &#x110000;");
    check("<a href=\"javascript:alert(1)\" onload='x'>link</a>", "link");
    check("<", "<");
    check("<b", "");
    check("<!--", "");
    check("&ü;&#;", "&ü;&#;");
}

#[test]
fn alternatives_prefer_plain() {
    let body = b"preamble\r\n--b\r\nContent-Type: text/html\r\n\r\n<b>x</b>\r\n--b\r\ncontent-type: text/plain; charset=utf-8\r\n\
        Content-Transfer-Encoding: base64\r\n\r\neA==\r\n--b--\r\nepilogue";
    check("multipart/alternative; boundary=\"b\"", None, body, &text("x"));
    let html = b"--b\r\nContent-Type: text/rtf\r\n\r\n{\\rtf1}\r\n--b\r\nContent-Type: text/html\r\n\r\n<i>y</i>\r\n--b--";
    check("multipart/alternative;boundary=b", None, html, &text("y"));
    let nested =
        b"--o\r\nContent-Type: multipart/alternative;boundary=i\r\n\r\n--i\r\n\r\nz\r\n--i--\r\n--o--";
    check("multipart/related;boundary=o", None, nested, &text("z"));
    let unclosed = b"--b\r\n\r\nx";
    check("multipart/related;boundary=b", None, unclosed, &text("x"));
    check("multipart/mixed;boundary=b", None, unclosed, &Content::Unsupported);
    check(
        "multipart/alternative;boundary=b",
        None,
        b"--b--",
        &Content::Broken("a multipart body has no part"),
    );
    check("multipart/alternative", None, b"", &Content::Broken("a multipart body has no boundary"));
    let long = format!("multipart/alternative;boundary={}", "x".repeat(71));
    check(&long, None, b"", &Content::Broken("the boundary of a multipart body is empty or too long"));
    let many = b"--b\r\n\r\nx\r\n".repeat(20);
    check(
        "multipart/related;boundary=b",
        None,
        &many,
        &Content::Broken("a multipart body has too many parts"),
    );
    // One boundary at every depth: bounded, whatever it means.
    let deep = b"--b\r\nContent-Type: multipart/related;boundary=b\r\n\r\n".repeat(10_000);
    assert!(!matches!(
        read(MediaType::parse(b"multipart/related;boundary=b").ok().as_ref(), None, &deep),
        Content::Text(_)
    ));
}

#[test]
fn html_beside_plain_is_kept_where_wanted() {
    let rich = |kind: &str, body: &[u8]| {
        let media = MediaType::parse(kind.as_bytes()).unwrap();
        let (content, html) = read_rich(Some(&media), None, body);
        assert_eq!(content, read(Some(&media), None, body), "the text is the same");
        html
    };
    let both = b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b\r\nContent-Type: text/html\r\n\r\n<b>x</b>\r\n--b--";
    let html = rich("multipart/alternative;boundary=b", both).unwrap();
    assert!(html.contains("<strong>x</strong>"), "{html}");
    assert!(rich("text/html", b"<i>y</i>").unwrap().contains("<em>y</em>"));
    assert_eq!(rich("text/html", b"just y"), None);
    assert_eq!(rich("text/plain", b"<i>y</i>"), None);
    assert_eq!(rich("multipart/mixed;boundary=b", both), None);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived(body: Vec<u8>, markup in "[<>&;/!a-z#x0-9 \"'-]{0,60}") {
        for kind in ["text/plain", "text/html", "text/plain;charset=utf-16", "multipart/related;boundary=b"] {
            let media = MediaType::parse(kind.as_bytes()).unwrap();
            for encoding in [None, Some(b"base64".as_slice()), Some(b"quoted-printable")] {
                let _content = read(Some(&media), encoding, &body);
            }
        }
        let _text = html::strip(&markup);
        let _text = html::strip(&String::from_utf8_lossy(&body));
    }
}
