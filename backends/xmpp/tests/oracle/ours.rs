//! What turnout makes of a document: the elements it would act on or pass on, and how it would write them to another stream.

use bytes::Bytes;
use turnout_xmpp::error::{FrameError, StreamCondition};
use turnout_xmpp::frame::{Element, Frame, FrameLimits, Framer, StreamHeader};
use turnout_xmpp::parse::{Node, Tree};

use crate::trees::Builder;

/// A header with three prefixes beside the usual ones, so that stanzas can borrow from it.
pub const HEADER: &str = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
     xmlns:db='jabber:server:dialback' xmlns:p='urn:p' xmlns:q='urn:q' to='contoso.com' from='partner.example' version='1.0'>";

/// The header under which a stanza goes on: nothing more is bound on it than RFC 6120 §4.8.5 promises.
const ONWARD: &str =
    "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

/// What came of a document.
#[derive(Debug, PartialEq)]
pub struct Taken {
    pub header: Option<Box<StreamHeader>>,
    pub elements: Vec<Element>,
    /// The stream was closed by its end tag, and nothing is left.
    pub whole: bool,
    pub error: Option<FrameError>,
}

impl Taken {
    pub fn condition(&self) -> Option<StreamCondition> {
        self.error.as_ref().map(|error| error.condition)
    }

    /// The element as our own reader sees it, to be compared flat. `None` for more elements than it is made for.
    pub fn flat(&self, element: &Element) -> Option<String> {
        let tree = Tree::of(element, self.header.as_ref()?).ok()?;
        let mut builder = Builder::inside();
        told(&mut builder, tree.root());
        Some(builder.shapes.remove(0).flat)
    }
}

/// Depth is bounded by the framer's limit, so this may recurse.
fn told(builder: &mut Builder, node: Node<'_>) {
    let attributes = node
        .attributes()
        .map(|(namespace, local, value)| (namespace.to_owned(), local.to_owned(), value.to_owned()));
    builder.start(node.namespace_name(), node.local(), attributes.collect());
    builder.text(node.text());
    for child in node.children() {
        told(builder, child);
    }
    builder.end();
}

/// Reads a document in these pieces.
pub fn take<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Taken {
    let mut framer = Framer::new(FrameLimits::default());
    let mut taken = Taken { header: None, elements: Vec::new(), whole: false, error: None };
    for piece in pieces {
        framer.feed(Bytes::copy_from_slice(piece));
        loop {
            match framer.next() {
                Ok(None) => break,
                Ok(Some(Frame::Open(header))) => taken.header = Some(header),
                Ok(Some(Frame::Element(element))) => taken.elements.push(element),
                Ok(Some(Frame::Close)) => taken.whole = true,
                Ok(Some(Frame::KeepAlive)) => {}
                Err(error) => {
                    taken.error = Some(error);
                    taken.whole = false;
                    return taken;
                }
            }
        }
    }
    taken
}

/// The same elements as they would go out on streams of our own.
pub fn onward<'a>(elements: impl IntoIterator<Item = &'a Element>) -> Vec<u8> {
    let mut out = ONWARD.as_bytes().to_vec();
    for element in elements {
        let (head, tail) = element.bytes().split_at(element.insert_at() as usize);
        out.extend_from_slice(head);
        out.extend_from_slice(element.declare().map_or(&[][..], |declared| declared));
        out.extend_from_slice(tail);
    }
    out.extend_from_slice(b"</stream:stream>");
    out
}
