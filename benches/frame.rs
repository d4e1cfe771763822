//! Framing and strict checking of stanzas, beside two parsers that do part of it: quick-xml (reads tags, checks little) and rxml
//! (strict, allocates), and beside the floor, a look at every byte. Invariant: every contender has to find every stanza, or the
//! bench fails: a fast wrong answer is none.

mod support;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rxml::Parse;
use turnout_xmpp::frame::{Frame, FrameLimits, Framer};

use support::{HEADER, STANZAS, chat_stream};

fn turnout(stream: &Bytes) -> usize {
    let mut framer = Framer::new(FrameLimits::default());
    framer.feed(stream.clone());
    let mut elements = 0;
    while let Ok(Some(frame)) = framer.next() {
        elements += usize::from(matches!(frame, Frame::Element(_)));
    }
    elements
}

fn quick_xml(stream: &Bytes) -> usize {
    let mut reader = quick_xml::Reader::from_reader(&stream[..]);
    let (mut depth, mut elements) = (0_usize, 0);
    loop {
        match reader.read_event() {
            Ok(quick_xml::events::Event::Start(_)) => depth += 1,
            Ok(quick_xml::events::Event::End(_)) => {
                depth -= 1;
                elements += usize::from(depth == 1);
            }
            Ok(quick_xml::events::Event::Eof) | Err(_) => return elements,
            Ok(_) => (),
        }
    }
}

fn rxml(stream: &Bytes) -> usize {
    let mut parser = rxml::Parser::new();
    let mut rest = &stream[..];
    let (mut depth, mut elements) = (0_usize, 0);
    loop {
        match parser.parse(&mut rest, false) {
            Ok(Some(rxml::Event::StartElement(..))) => depth += 1,
            Ok(Some(rxml::Event::EndElement(_))) => {
                depth -= 1;
                elements += usize::from(depth == 1);
            }
            Ok(Some(_)) => (),
            Ok(None) | Err(_) => return elements,
        }
    }
}

fn every_byte(stream: &Bytes) -> usize {
    stream.iter().filter(|byte| **byte == b'<').count()
}

/// Finds the stanzas of a stream, in its own way.
type Contender = fn(&Bytes) -> usize;

fn bench(criterion: &mut Criterion) {
    for size in [250, 2048] {
        let stream = chat_stream(size);
        let mut group = criterion.benchmark_group(format!("frame {size} B"));
        group.throughput(Throughput::Bytes((stream.len() - HEADER.len()) as u64));
        let contenders: [(&str, Contender, usize); 4] = [
            ("turnout: frame and strict check", turnout, STANZAS),
            ("quick-xml: tags only", quick_xml, STANZAS),
            ("rxml: strict", rxml, STANZAS),
            ("floor: look at every byte", every_byte, every_byte(&stream)),
        ];
        for (name, contender, expected) in contenders {
            assert_eq!(contender(&stream), expected, "{name} does not find every stanza");
            group.bench_function(name, |bencher| bencher.iter(|| contender(&stream)));
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
