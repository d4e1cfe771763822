//! The two readers that others wrote: expat, in a Python of its own, and rxml.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use rxml::error::EndOrError;
use rxml::parser::WithOptions;
use rxml::{Event, Options, Parse, Parser};

use crate::trees::{Attribute, Builder, Reading};

/// Expat's readings, in the order of the documents.
pub fn expat(documents: &[Vec<u8>]) -> Vec<Reading> {
    let mut child = Command::new("python3")
        .args(["-c", include_str!("expat.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3, which has expat, is needed for this test");
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let readings = std::thread::scope(|scope| {
        scope.spawn(move || {
            for document in documents {
                let length = u32::try_from(document.len()).unwrap();
                input.write_all(&length.to_le_bytes()).unwrap();
                input.write_all(document).unwrap();
            }
        });
        let mut answer = || {
            let mut length = [0; 4];
            output.read_exact(&mut length).unwrap();
            let mut answer = vec![0; usize::try_from(u32::from_le_bytes(length)).unwrap()];
            output.read_exact(&mut answer).unwrap();
            reading(std::str::from_utf8(&answer).unwrap())
        };
        documents.iter().map(|_| answer()).collect()
    });
    assert!(child.wait().unwrap().success());
    readings
}

fn reading(answer: &str) -> Reading {
    let (whole, rest) = (answer.starts_with('+'), &answer[1..]);
    let (restricted, tokens) = (rest.starts_with('r'), &rest[1..]);
    let mut builder = Builder::default();
    for token in tokens.split('\u{2}').filter(|token| !token.is_empty()) {
        match token.split_at(1) {
            ("S", parts) => {
                let mut parts = parts.split('\u{3}');
                let (namespace, local) = expanded(parts.next().unwrap());
                let mut attributes: Vec<Attribute> = Vec::new();
                while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                    let (namespace, local) = expanded(name);
                    attributes.push((namespace.to_owned(), local.to_owned(), value.to_owned()));
                }
                builder.start(namespace, local, attributes);
            }
            ("T", text) => builder.text(text),
            _ => builder.end(),
        }
    }
    Reading { shapes: builder.shapes, whole, restricted }
}

fn expanded(name: &str) -> (&str, &str) {
    name.split_once('\u{1f}').unwrap_or(("", name))
}

/// Rxml's reading. It knows no document types and no comments, so it never calls anything restricted: it refuses.
pub fn rxml(document: &[u8]) -> Reading {
    let options = Options { max_token_length: 1 << 20, ..Options::default() };
    let mut parser = Parser::with_options(options);
    let (mut builder, mut rest) = (Builder::default(), document);
    let whole = loop {
        match parser.parse(&mut rest, true) {
            Ok(Some(Event::StartElement(_, (namespace, local), attributes))) => {
                let attributes = attributes.iter().map(|((namespace, local), value)| {
                    (namespace.to_string(), local.to_string(), value.to_string())
                });
                builder.start(namespace.as_ref(), &local, attributes.collect());
            }
            Ok(Some(Event::Text(_, text))) => builder.text(&text),
            Ok(Some(Event::EndElement(_))) => builder.end(),
            Ok(Some(Event::XmlDeclaration(..))) => {}
            Ok(None) => break true,
            Err(EndOrError::NeedMoreData | EndOrError::Error(_)) => break false,
        }
    };
    Reading { shapes: builder.shapes, whole, restricted: false }
}
