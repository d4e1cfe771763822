//! What other readers make of what came out.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use rxml::parser::WithOptions;
use rxml::{Event, Options, Parse, Parser};
use sipx_sip::parser::{Limits, StreamParser};

/// A SIP message: its method or code, the names of its header fields in order, its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sip {
    pub start: String,
    pub names: Vec<String>,
    pub from: String,
    pub to: String,
    pub body: Vec<u8>,
}

/// Every message of a stream, as sipx cuts it and rsip reads it. Panics where either finds fault, or where something is left behind.
#[track_caller]
pub fn sip(stream: &[u8]) -> Vec<Sip> {
    let limits = Limits { max_header_bytes: 1 << 20, ..Limits::stream() };
    let mut parser = StreamParser::new(limits);
    let shown = || stream.escape_ascii();
    let cut = parser.push(stream).unwrap_or_else(|error| panic!("sipx refuses it: {error}: {}", shown()));
    let pieces: Vec<Vec<u8>> = cut.iter().map(|message| message.to_bytes().to_vec()).collect();
    assert_eq!(pieces.concat().len(), stream.len(), "something is left behind: {}", shown());
    pieces
        .into_iter()
        .map(|piece| {
            let message = rsip::SipMessage::try_from(piece.clone());
            let message = message.unwrap_or_else(|error| panic!("rsip refuses it: {error}: {}", shown()));
            use rsip::message::{HasHeaders, HeadersExt};
            let headers: Vec<rsip::Header> = message.headers().iter().cloned().collect();
            let names = headers.iter().map(|header| {
                let text = header.to_string();
                text.split(':').next().unwrap().to_owned()
            });
            let body = message.body().clone();
            let length: usize = headers
                .iter()
                .find_map(|header| match header {
                    rsip::Header::ContentLength(length) => Some(length.to_string()),
                    _ => None,
                })
                .and_then(|text| text.split(':').nth(1)?.trim().parse().ok())
                .unwrap_or_else(|| panic!("no length: {}", shown()));
            // What rsip takes for the body, and what lies behind the empty line, are as long as is said.
            let end = piece.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            assert_eq!((length, length), (body.len(), piece.len() - end), "{}", shown());
            let start = match &message {
                rsip::SipMessage::Request(request) => request.method.to_string(),
                rsip::SipMessage::Response(response) => response.status_code.to_string(),
            };
            let value = |text: String| text.split_once(": ").unwrap_or_default().1.to_owned();
            Sip {
                start,
                names: names.collect(),
                from: value(message.from_header().unwrap().to_string()),
                to: value(message.to_header().unwrap().to_string()),
                body,
            }
        })
        .collect()
}

/// An XML document: its elements and attributes in order, without what stands in them; and the text of each element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xml {
    pub shape: Vec<String>,
    pub texts: Vec<String>,
}

/// A document as rxml and expat both read it. Panics where either refuses it, or they differ.
#[track_caller]
pub fn xml(document: &[u8]) -> Xml {
    let theirs = rxml(document).unwrap_or_else(|| panic!("rxml refuses {}", document.escape_ascii()));
    let other = expat(document).unwrap_or_else(|| panic!("expat refuses {}", document.escape_ascii()));
    assert_eq!(theirs, other, "{}", document.escape_ascii());
    theirs
}

/// A stanza, on a stream between servers.
#[track_caller]
pub fn stanza(bytes: &[u8]) -> Xml {
    xml(&[b"<stream:stream xmlns='jabber:server' xmlns:stream='s'>", bytes, b"</stream:stream>"].concat())
}

fn element(namespace: &str, local: &str, attributes: &[(String, String)]) -> String {
    let mut names: Vec<String> =
        attributes.iter().map(|(namespace, local)| format!("{{{namespace}}}{local}")).collect();
    names.sort();
    format!("{{{namespace}}}{local} {}", names.join(" "))
}

fn rxml(document: &[u8]) -> Option<Xml> {
    let mut parser = Parser::with_options(Options { max_token_length: 1 << 20, ..Options::default() });
    let (mut rest, mut read) = (document, Xml { shape: Vec::new(), texts: Vec::new() });
    let mut open = Vec::new();
    loop {
        match parser.parse(&mut rest, true) {
            Ok(Some(Event::StartElement(_, (namespace, local), attributes))) => {
                let names: Vec<(String, String)> = attributes
                    .iter()
                    .map(|((namespace, local), _)| (namespace.to_string(), local.to_string()))
                    .collect();
                read.shape.push(element(namespace.as_ref(), &local, &names));
                open.push(read.texts.len());
                read.texts.push(String::new());
            }
            Ok(Some(Event::Text(_, text))) => read.texts[*open.last()?].push_str(&text),
            Ok(Some(Event::EndElement(_))) => {
                read.shape.push("end".to_owned());
                open.pop();
            }
            Ok(Some(Event::XmlDeclaration(..))) => {}
            Ok(None) => return Some(read),
            Err(_) => return None,
        }
    }
}

/// One Python for all cases.
struct Expat {
    _child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

fn expat(document: &[u8]) -> Option<Xml> {
    static EXPAT: OnceLock<Mutex<Expat>> = OnceLock::new();
    let expat = EXPAT.get_or_init(|| {
        let program = include_str!("../../../xmpp/tests/oracle/expat.py");
        // One answer at a time is waited for.
        let program = program.replace("+ answer)\n", "+ answer)\n        sink.flush()\n");
        let mut child = Command::new("python3")
            .args(["-c", &program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3, which has expat, is needed for this test");
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Mutex::new(Expat { _child: child, input, output })
    });
    let mut expat = expat.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    expat.input.write_all(&u32::try_from(document.len()).unwrap().to_le_bytes()).unwrap();
    expat.input.write_all(document).unwrap();
    expat.input.flush().unwrap();
    let mut length = [0; 4];
    expat.output.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::try_from(u32::from_le_bytes(length)).unwrap()];
    expat.output.read_exact(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let tokens = answer.strip_prefix("+.")?;
    let (mut read, mut open) = (Xml { shape: Vec::new(), texts: Vec::new() }, Vec::new());
    let expanded = |name: &str| {
        let (namespace, local) = name.split_once('\u{1f}').unwrap_or(("", name));
        (namespace.to_owned(), local.to_owned())
    };
    for token in tokens.split('\u{2}').filter(|token| !token.is_empty()) {
        match token.split_at(1) {
            ("S", parts) => {
                let parts: Vec<&str> = parts.split('\u{3}').collect();
                let (namespace, local) = expanded(parts[0]);
                let names: Vec<(String, String)> =
                    parts[1..].iter().step_by(2).map(|name| expanded(name)).collect();
                read.shape.push(element(&namespace, &local, &names));
                open.push(read.texts.len());
                read.texts.push(String::new());
            }
            ("T", text) => read.texts[*open.last()?].push_str(text),
            _ => {
                read.shape.push("end".to_owned());
                open.pop();
            }
        }
    }
    Some(read)
}
