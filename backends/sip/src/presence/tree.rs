//! A small XML document as a tree. Invariant: no document type, processing instruction or entity beyond the five is ever accepted (B-04),
//! whatever it is used for; depth, elements and attributes are bounded, so reading is linear and the tree is not larger than a
//! small multiple of its text.

use quick_xml::events::{BytesDecl, BytesStart, Event};
use quick_xml::name::{NamespaceResolver, ResolveResult};
use quick_xml::{NsReader, XmlVersion};
use turnout_core::limits::DOCUMENT_ATTRIBUTES_MAX as ATTRIBUTES_MAX;
use turnout_core::limits::DOCUMENT_BYTES_MAX;
use turnout_core::limits::DOCUMENT_DEPTH_MAX as DEPTH_MAX;
use turnout_core::limits::DOCUMENT_ELEMENTS_MAX as ELEMENTS_MAX;

use super::pidf::Flaw;
use crate::translate::{entity, xml_char};

/// The namespace of `xml:lang`.
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// An element.
#[derive(Debug, Default)]
pub(super) struct Element {
    /// Its namespace, if that is one of those asked for, else empty.
    pub(super) space: &'static str,
    /// Its local name.
    pub(super) name: String,
    /// Its own text, without that of elements within.
    pub(super) text: String,
    /// The elements within, in order.
    pub(super) children: Vec<Self>,
    /// Its language, if it names one itself.
    pub(super) lang: Option<String>,
    /// Namespace as above, local name, value.
    attributes: Vec<(&'static str, String, String)>,
}

impl Element {
    /// Whether it is called so.
    pub(super) fn is(&self, space: &str, name: &str) -> bool {
        self.space == space && self.name == name
    }

    /// The elements within that are called so.
    pub(super) fn all<'a>(&'a self, space: &'a str, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.is(space, name))
    }

    /// The first of them.
    pub(super) fn first<'a>(&'a self, space: &'a str, name: &'a str) -> Option<&'a Self> {
        self.all(space, name).next()
    }

    /// The value of an attribute; one without prefix is in no namespace.
    pub(super) fn attribute(&self, space: &str, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(of, known, _)| *of == space && known == name);
        found.map(|(.., value)| value.as_str())
    }
}

/// Reads a document. Elements and attributes of namespaces not in `known` keep their place and lose the name of it.
///
/// # Errors
/// Not UTF-8, not well-formed, something this crate never accepts, or beyond the bounds.
pub(super) fn read(bytes: &[u8], known: &[&'static str]) -> Result<Element, Flaw> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(Flaw::Broken("the document is too long"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Flaw::Broken("the document is not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !is_allowed(text) {
        return Err(Flaw::Broken("the document holds a character XML forbids"));
    }
    let mut reader = NsReader::from_str(text);
    reader.config_mut().check_comments = true;
    let mut building = Building { known, ..Building::default() };
    let mut is_first = true;
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(|_| MALFORMED)?;
        let namespace = building.space(&namespace)?;
        match event {
            Event::Start(start) => building.open(namespace, &start, reader.resolver())?,
            Event::Empty(start) => {
                building.open(namespace, &start, reader.resolver())?;
                building.close();
            }
            Event::End(_) => building.close(),
            Event::Text(text) if text.contains("]]>") => return Err(MALFORMED),
            Event::Text(text) => building.text(&text.xml10_content())?,
            Event::CData(text) if building.stack.is_empty() => {
                return building.text(&text).and(Err(MALFORMED));
            }
            Event::CData(text) => building.text(&text.xml10_content())?,
            Event::GeneralRef(reference) => {
                let char = entity(&reference).filter(|char| xml_char(*char) == *char);
                let char = char.ok_or(Flaw::Broken("a reference to no character or to an entity"))?;
                building.reference(char)?;
            }
            Event::Comment(_) => {}
            Event::Decl(declaration) if is_first => declared(&declaration)?,
            Event::Decl(_) => return Err(MALFORMED),
            Event::PI(_) => return Err(Flaw::Broken("a processing instruction")),
            Event::DocType(_) => return Err(Flaw::Broken("a document type")),
            Event::Eof => return building.finish(),
        }
        is_first = false;
    }
}

const MALFORMED: Flaw = Flaw::Broken("the document is not well-formed");

fn is_allowed(text: &str) -> bool {
    text.chars().all(|char| xml_char(char) == char)
}

/// The encoding was taken from the protocol; a declaration that says another one is refused, not believed.
fn declared(declaration: &BytesDecl<'_>) -> Result<(), Flaw> {
    let version = declaration.version().map_err(|_| MALFORMED)?;
    let encoding = declaration.encoding().transpose().map_err(|_| MALFORMED)?;
    let is_utf8 = |name: &str| ["utf-8", "us-ascii"].iter().any(|known| name.eq_ignore_ascii_case(known));
    if version != "1.0" || encoding.is_some_and(|encoding| !is_utf8(&encoding)) {
        return Err(Flaw::Broken("the document is not XML 1.0 in UTF-8"));
    }
    Ok(())
}

/// A tree in the making.
#[derive(Default)]
struct Building<'a> {
    known: &'a [&'static str],
    /// The open elements, the outermost first.
    stack: Vec<Element>,
    root: Option<Element>,
    elements: usize,
}

impl Building<'_> {
    fn open(
        &mut self,
        space: &'static str,
        start: &BytesStart<'_>,
        names: &NamespaceResolver,
    ) -> Result<(), Flaw> {
        self.elements += 1;
        if self.stack.len() >= DEPTH_MAX || self.elements > ELEMENTS_MAX {
            return Err(Flaw::Broken("the document has too many elements or is too deep"));
        }
        if self.stack.is_empty() && self.root.is_some() {
            return Err(Flaw::Broken("the document has two roots"));
        }
        let full = start.name();
        let mut element = Element { space, name: local(full.as_ref())?.to_owned(), ..Element::default() };
        for (count, attribute) in start.attributes().enumerate() {
            let attribute = attribute.map_err(|_| MALFORMED)?;
            if count >= ATTRIBUTES_MAX {
                return Err(Flaw::Broken("an element has too many attributes"));
            }
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| MALFORMED)?;
            if attribute.value.contains('<') || !is_allowed(&value) {
                return Err(MALFORMED);
            }
            let name = local(attribute.key.as_ref())?;
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            let (namespace, _) = names.resolve_attribute(attribute.key);
            if attribute.key.prefix().is_none() {
                element.attributes.push(("", name.to_owned(), value.into_owned()));
                continue;
            }
            if name == "lang" && matches!(namespace, ResolveResult::Bound(bound) if bound.0 == XML) {
                element.lang = Some(value.into_owned());
                continue;
            }
            let space = self.space(&namespace)?;
            // One that has a prefix is not the same as one that has none, so what nobody asked for is left out.
            if !space.is_empty() {
                element.attributes.push((space, name.to_owned(), value.into_owned()));
            }
        }
        self.stack.push(element);
        Ok(())
    }

    fn close(&mut self) {
        // The reader has seen to it that there is one to close.
        let Some(element) = self.stack.pop() else { return };
        match self.stack.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Flaw> {
        match self.stack.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.bytes().all(|byte| byte.is_ascii_whitespace()) => {}
            None => return Err(Flaw::Broken("there is text outside the document")),
        }
        Ok(())
    }

    fn reference(&mut self, char: char) -> Result<(), Flaw> {
        let element = self.stack.last_mut().ok_or(Flaw::Broken("there is text outside the document"))?;
        element.text.push(char);
        Ok(())
    }

    fn finish(self) -> Result<Element, Flaw> {
        match self.root {
            Some(root) if self.stack.is_empty() => Ok(root),
            _ => Err(Flaw::Broken("the document does not end")),
        }
    }

    /// The namespace, if it is known.
    fn space(&self, namespace: &ResolveResult<'_>) -> Result<&'static str, Flaw> {
        match namespace {
            ResolveResult::Bound(bound) => {
                Ok(self.known.iter().copied().find(|known| *known == bound.0).unwrap_or_default())
            }
            ResolveResult::Unbound => Ok(""),
            ResolveResult::Unknown(_) => Err(Flaw::Broken("a prefix is not declared")),
        }
    }
}

/// The local part of a name (Namespaces in XML §4).
fn local(full: &str) -> Result<&str, Flaw> {
    let (prefix, name) = match full.split_once(':') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, full),
    };
    let is_name = |name: &str| {
        let first = name.bytes().next();
        first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80)
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte) || byte >= 0x80)
    };
    if is_name(name) && prefix.is_none_or(is_name) { Ok(name) } else { Err(MALFORMED) }
}

#[cfg(test)]
mod tests;
