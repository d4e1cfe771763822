//! B-56: boundaries that are missing, doubled, too long, in the wrong place or never the last, and parts within parts, one by one.

use super::*;

const NONE: &str = "a multipart body has no part";
const SIZE: &str = "the boundary of a multipart body is empty or too long";
const UNFIT: &str = "the boundary of a multipart body holds what none may hold";

fn broken(kind: &str, body: &[u8], why: &'static str) {
    check(kind, None, body, &Content::Broken(why));
}

#[test]
fn a_boundary_has_to_be_named_once_and_in_its_grammar() {
    let body = b"--b\r\n\r\nx\r\n--b--";
    check("multipart/alternative;boundary=b", None, body, &text("x"));
    broken("multipart/alternative", body, "a multipart body has no boundary");
    broken("multipart/alternative;charset=utf-8", body, "a multipart body has no boundary");
    broken("multipart/alternative;boundary", body, SIZE);
    broken("multipart/alternative;boundary=\"\"", body, SIZE);
    for twice in ["boundary=b;boundary=b", "boundary=b;Boundary=c", "boundary=c;BOUNDARY=\"b\""] {
        let kind = format!("multipart/alternative;{twice}");
        broken(&kind, body, "a multipart body has two boundaries");
    }
    let long = |len: usize| {
        let boundary = "b".repeat(len);
        let body = format!("--{boundary}\r\n\r\nx\r\n--{boundary}--");
        let media = format!("multipart/related;boundary={boundary}");
        read(MediaType::parse(media.as_bytes()).ok().as_ref(), None, body.as_bytes()) == text("x")
    };
    assert!(long(70) && !long(71) && !long(100_000));
    // RFC 2046 §5.1.1: no space at the end, and none of the characters a delimiter could be mistaken with.
    for unfit in ["b ", "b;c", "b\\\"c", "b<", "b@c", "b\u{e9}", "b*"] {
        let kind = format!("multipart/alternative;boundary=\"{unfit}\"");
        broken(&kind, format!("--{unfit}\r\n\r\nx\r\n--{unfit}--").as_bytes(), UNFIT);
    }
    let odd = "0 '()+_,-./:=?9";
    let kind = format!("multipart/alternative;boundary=\"{odd}\"");
    check(&kind, None, format!("--{odd}\r\n\r\nx\r\n--{odd}--").as_bytes(), &text("x"));
}

#[test]
fn delimiters_missing_doubled_or_never_the_last() {
    let kind = "multipart/alternative;boundary=b";
    for missing in
        ["", "x", "--", "--c\r\n\r\nx\r\n--c--", "--b", "b\r\n\r\nx", " --b\r\n\r\nx", "-b\r\n\r\nx"]
    {
        let bytes = missing.as_bytes();
        let media = MediaType::parse(kind.as_bytes()).unwrap();
        assert!(!matches!(read(Some(&media), None, bytes), Content::Text(_)), "{missing:?}");
    }
    broken(kind, b"--b--\r\n\r\nx\r\n--b--", NONE);
    // Doubled: what lies between has neither headers nor a blank line, and is nothing.
    check(kind, None, b"--b\r\n--b\r\n\r\nx\r\n--b--", &text("x"));
    check(kind, None, b"--b\r\n--b\r\n--b--", &Content::Unsupported);
    // A longer line is not the delimiter, nor is one that goes on.
    check(kind, None, b"--b\r\n\r\n--bb\r\n--b-\r\n--b -\r\nx\r\n--b--", &text("--bb\r\n--b-\r\n--b -\r\nx"));
    // White space behind it is (RFC 2046 §5.1.1), whatever ends the line.
    check(kind, None, b"--b \t\r\n\r\nx\r\n--b-- \r\n", &text("x"));
    check(kind, None, b"--b\n\nx\n--b--", &text("x"));
    // No last one: it goes as far as it goes, and nothing is told that was not there.
    check(kind, None, b"--b\r\n\r\nx", &text("x"));
    check(kind, None, b"--b\r\n\r\nx\r\n--b", &text("x"));
    check(kind, None, b"--b\r\n\r\nx\r\n--b-", &text("x\r\n--b-"));
    // What comes behind the last one is nobody's.
    check(
        kind,
        None,
        b"--b\r\nContent-Type: text/rtf\r\n\r\n{}\r\n--b--\r\n--b\r\n\r\nx\r\n--b--",
        &Content::Unsupported,
    );
}

#[test]
fn delimiters_inside_headers_and_headers_that_are_none() {
    let kind = "multipart/alternative;boundary=b";
    // It ends the part where it stands: nothing of the headers becomes text.
    check(kind, None, b"--b\r\nContent-Type: text/plain\r\n--b--\r\n\r\nx", &Content::Unsupported);
    check(kind, None, b"--b\r\nContent-Type: text/html\r\n--b\r\n\r\nx\r\n--b--", &text("x"));
    check(kind, None, b"--b\r\nX: y\r\n --b\r\n\r\nx\r\n--b--", &text("x"));
    // Headers that never end hold no text.
    check(kind, None, b"--b\r\nsecret: x\r\nmore", &Content::Unsupported);
    // A type that stands twice is none; in two lines it is one.
    let twice = b"--b\r\nContent-Type: text/plain\r\nContent-Type: text/html\r\n\r\nx\r\n--b--";
    check(kind, None, twice, &Content::Unsupported);
    let twice =
        b"--b\r\nContent-Transfer-Encoding: 8bit\r\ncontent-transfer-encoding: base64\r\n\r\neA==\r\n--b--";
    check(kind, None, twice, &Content::Unsupported);
    let folded = b"--b\r\nContent-Type: text/html;\r\n charset=\"iso-8859-1\"\r\n\r\n<b>\xfc</b>\r\n--b--";
    check(kind, None, folded, &text("\u{fc}"));
    let folded = b"--b\r\nX: y\r\n Content-Type: text/rtf\r\n\r\nx\r\n--b--";
    check(kind, None, folded, &text("x"));
    // Lines without a colon, and names of nothing.
    check(kind, None, b"--b\r\nno colon\r\n: x\r\n:\r\n\r\nx\r\n--b--", &text("x"));
}

#[test]
fn there_is_an_end_to_parts() {
    let kind = "multipart/alternative;boundary=b";
    let many = |count: usize, tail: &str| {
        let mut body = String::from("--b\r\nContent-Type: text/rtf\r\n\r\n{}\r\n").repeat(count - 1);
        body += "--b\r\n\r\nx";
        body + tail
    };
    for tail in ["", "\r\n--b--"] {
        check(kind, None, many(16, tail).as_bytes(), &text("x"));
        broken(kind, many(17, tail).as_bytes(), "a multipart body has too many parts");
        broken(kind, many(10_000, tail).as_bytes(), "a multipart body has too many parts");
    }
}

/// Parts within parts, each with a boundary of its own.
fn nested(depth: usize, closed: bool) -> String {
    let mut body = String::new();
    for level in 1..depth {
        body += &format!("--b{}\r\nContent-Type: multipart/related;boundary=b{level}\r\n\r\n", level - 1);
    }
    body += &format!("--b{}\r\n\r\nx\r\n", depth - 1);
    for level in (0..depth).rev().filter(|_| closed) {
        body += &format!("--b{level}--\r\n");
    }
    body
}

#[test]
fn parts_nested_ten_thousand_deep_cost_what_they_weigh() {
    let kind = "multipart/related;boundary=b0";
    for closed in [true, false] {
        for depth in 1..=4 {
            check(kind, None, nested(depth, closed).trim_end().as_bytes(), &text("x"));
        }
        check(kind, None, nested(5, closed).as_bytes(), &Content::Unsupported);
        let deep = nested(10_000, closed);
        multipart::WORK.set(0);
        check(kind, None, deep.as_bytes(), &Content::Unsupported);
        assert!(multipart::WORK.get() <= 4 * deep.len(), "{} of {}", multipart::WORK.get(), deep.len());
        // Six wide at each depth they are no more.
        let mut wide = String::from("--b4\r\n\r\nx\r\n").repeat(6);
        for level in (1..=4).rev() {
            let part = format!(
                "--b{}\r\nContent-Type: multipart/related;boundary=b{level}\r\n\r\n{wide}",
                level - 1
            );
            wide = part.repeat(6);
        }
        multipart::WORK.set(0);
        let media = MediaType::parse(kind.as_bytes()).unwrap();
        let _content = read(Some(&media), None, wide.as_bytes());
        assert!(multipart::WORK.get() <= 4 * wide.len(), "{} of {}", multipart::WORK.get(), wide.len());
    }
}
