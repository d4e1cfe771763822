//! Framing and strict checking of stanzas, beside two parsers that do part of it: quick-xml (reads tags, checks little) and rxml
//! (strict, allocates), and beside two floors: the ends of tags found with memchr and nothing checked, and a look at every byte. Invariant: every contender has to find every stanza, or the
//! bench fails: a fast wrong answer is none.

mod support;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rxml::Parse;
use turnout_xmpp::frame::{Frame, FrameLimits, Framer, Instructions, Shapes};

use support::{HEADER, STANZAS, TEXTS, chat_stream};

fn turnout(stream: &Bytes) -> usize {
    let mut framer = Framer::new(FrameLimits::default());
    framer.feed(stream.clone());
    let mut elements = 0;
    while let Ok(Some(frame)) = framer.next() {
        elements += usize::from(matches!(frame, Frame::Element(_)));
    }
    elements
}

/// `shapes` are those of streams before: a router has them from one stream to the next.
fn runs(stream: &Bytes, instructions: Instructions, shapes: &mut Shapes) -> usize {
    let mut framer = Framer::with(FrameLimits::default(), instructions);
    framer.feed(stream.clone());
    let (mut heads, mut elements) = (Vec::with_capacity(512), 0);
    loop {
        heads.clear();
        if framer.next_run(shapes, &mut heads).is_some() {
            elements += heads.len();
            continue;
        }
        match framer.next() {
            Ok(Some(frame)) => elements += usize::from(matches!(frame, Frame::Element(_))),
            Ok(None) | Err(_) => return elements,
        }
    }
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

/// Counts what is open by the `<` and `>` of tags. The streams here have neither in values.
fn memchr_only(stream: &Bytes) -> usize {
    let (mut depth, mut elements) = (0_usize, 0);
    for at in memchr::memchr_iter(b'<', stream) {
        let rest = stream.get(at..).unwrap_or_default();
        match rest.get(1) {
            Some(b'?') => (),
            Some(b'/') => {
                depth -= 1;
                elements += usize::from(depth == 1);
            }
            _ => {
                let end = memchr::memchr(b'>', rest).unwrap_or_default();
                depth += usize::from(rest.get(end.wrapping_sub(1)) != Some(&b'/'));
            }
        }
    }
    elements
}

fn every_byte(stream: &Bytes) -> usize {
    stream.iter().filter(|byte| **byte == b'<').count()
}

/// Finds the stanzas of a stream, in its own way.
type Contender = fn(&Bytes) -> usize;

const OTHERS: [(&str, Contender); 4] = [
    ("turnout: one by one", turnout),
    ("quick-xml: tags only", quick_xml),
    ("rxml: strict", rxml),
    ("floor: memchr to tags, nothing checked", memchr_only),
];

fn bench(criterion: &mut Criterion) {
    for (size, (kind, text)) in [250, 2048].into_iter().flat_map(|size| TEXTS.map(|text| (size, text))) {
        let stream = chat_stream(size, text);
        let mut group = criterion.benchmark_group(format!("frame {size} B{kind}"));
        group.throughput(Throughput::Bytes((stream.len() - HEADER.len()) as u64));
        for &instructions in Instructions::all() {
            assert_eq!(
                runs(&stream, instructions, &mut Shapes::default()),
                STANZAS,
                "runs, {instructions:?}: not every stanza found"
            );
            let name = format!("turnout: runs, {instructions:?}");
            group.bench_function(name, |bencher| {
                let mut shapes = Shapes::default();
                bencher.iter(|| runs(&stream, instructions, &mut shapes));
            });
        }
        for (name, contender) in OTHERS {
            assert_eq!(contender(&stream), STANZAS, "{name} does not find every stanza");
            group.bench_function(name, |bencher| bencher.iter(|| contender(&stream)));
        }
        let found = every_byte(&stream);
        assert!(found > STANZAS, "the floor sees nothing");
        group.bench_function("floor: look at every byte", |bencher| bencher.iter(|| every_byte(&stream)));
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
