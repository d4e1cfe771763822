//! Reading what is inside an element: for negotiation, for answers of our own, and for translation. Stanzas that are
//! only passed on never come here.
//!
//! Invariant: the input has passed [`crate::frame`], so this reader checks nothing again. It still never panics, and
//! answers [`ParseError::Unchecked`] where bytes are not what the framer lets through. A tree is flat in memory: no
//! recursion to read or to drop it, at most [`NODES_MAX`] elements, namespace names shared.

mod cursor;

use crate::error::quoted;
use crate::frame::{Element, Namespace, StreamHeader};
use cursor::Cursor;
use std::fmt;
use std::sync::Arc;

/// Elements in one tree.
pub const NODES_MAX: usize = 4096;

/// Why an element could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// More than [`NODES_MAX`] elements.
    TooManyElements,
    /// A prefix that neither the element nor the scope declares.
    UndeclaredPrefix(String),
    /// Bytes the framer would not have let through, at this offset.
    Unchecked(usize),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyElements => write!(f, "more than {NODES_MAX} elements in one stanza"),
            Self::UndeclaredPrefix(prefix) => {
                write!(f, "prefix {prefix} is not declared: read it in its stream's scope")
            }
            Self::Unchecked(at) => write!(f, "byte {at} of an element that the framer has not checked"),
        }
    }
}

impl std::error::Error for ParseError {}

/// The declarations an element inherits: those of its stream's header.
#[derive(Clone, Debug)]
pub struct Scope {
    bindings: Vec<(Box<str>, Arc<str>)>,
}

impl Scope {
    /// What a stream header with nothing special declares: default `jabber:server`, and `stream`.
    pub fn server() -> Self {
        let binding = |prefix: &str, namespace: Namespace| (prefix.into(), namespace.name().into());
        Self { bindings: vec![binding("", Namespace::Server), binding("stream", Namespace::Streams)] }
    }

    /// What this header declares.
    pub fn of(header: &StreamHeader) -> Self {
        Self { bindings: header.bindings().map(|(prefix, name)| (prefix.into(), name.into())).collect() }
    }

    /// This scope with the declarations of [`Element::declare`] added.
    ///
    /// # Errors
    ///
    /// `Unchecked` where `declare` is not a list of declarations.
    pub fn with(mut self, declare: &[u8]) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new(declare);
        while let Some((name, value)) = cursor.attribute()? {
            let prefix = declared_prefix(name).ok_or(ParseError::Unchecked(0))?;
            self.bindings.push((prefix.into(), value.as_ref().into()));
        }
        Ok(self)
    }

    fn find(&self, prefix: &str) -> Option<&Arc<str>> {
        self.bindings.iter().rev().find(|(known, _)| **known == *prefix).map(|(_, name)| name)
    }
}

/// The prefix an attribute of this name declares, empty for the default.
fn declared_prefix(name: &str) -> Option<&str> {
    match name.strip_prefix("xmlns")? {
        "" => Some(""),
        rest => rest.strip_prefix(':'),
    }
}

/// An element read into memory.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: Vec<Data>,
}

#[derive(Clone, Debug)]
struct Data {
    namespace: Arc<str>,
    local: Box<str>,
    attributes: Vec<(Arc<str>, Box<str>, Box<str>)>,
    text: String,
    first_child: Option<usize>,
    last_child: Option<usize>,
    next: Option<usize>,
}

impl Tree {
    /// Reads a framed element in the scope of the header of its stream.
    ///
    /// # Errors
    ///
    /// The element has too many children, or is of another stream.
    pub fn of(element: &Element, header: &StreamHeader) -> Result<Self, ParseError> {
        Self::read(element.bytes(), Scope::of(header))
    }

    /// Reads the bytes of a framed element in a scope.
    ///
    /// # Errors
    ///
    /// The element has too many children, uses a prefix the scope lacks, or was never checked.
    pub fn read(bytes: &[u8], scope: Scope) -> Result<Self, ParseError> {
        let mut reader = Reader { cursor: Cursor::new(bytes), scope, nodes: Vec::new(), open: Vec::new() };
        reader.run()?;
        Ok(Self { nodes: reader.nodes })
    }

    /// The element itself.
    pub fn root(&self) -> Node<'_> {
        Node { tree: self, at: 0 }
    }
}

/// One element of a tree.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    tree: &'a Tree,
    at: usize,
}

impl<'a> Node<'a> {
    /// The namespace.
    pub fn namespace(self) -> Namespace {
        Namespace::of(self.namespace_name().as_bytes())
    }

    /// The name of the namespace, empty for none.
    pub fn namespace_name(self) -> &'a str {
        self.data().map_or("", |data| &data.namespace)
    }

    /// The local name.
    pub fn local(self) -> &'a str {
        self.data().map_or("", |data| &data.local)
    }

    /// Whether this is the element of that name.
    pub fn is(self, namespace: Namespace, local: &str) -> bool {
        self.namespace() == namespace && self.local() == local
    }

    /// The value of an attribute in no namespace.
    pub fn attribute(self, local: &str) -> Option<&'a str> {
        self.attribute_in("", local)
    }

    /// The value of an attribute in a namespace.
    pub fn attribute_in(self, namespace: &str, local: &str) -> Option<&'a str> {
        let named =
            |(space, name, _): &&(Arc<str>, Box<str>, Box<str>)| **space == *namespace && **name == *local;
        self.data()?.attributes.iter().find(named).map(|(_, _, value)| &**value)
    }

    /// Every attribute, in order: namespace (empty for none), local name, value. Declarations of namespaces are none.
    pub fn attributes(self) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
        let all = self.data().map(|data| data.attributes.as_slice()).unwrap_or_default();
        all.iter().map(|(namespace, local, value)| (&**namespace, &**local, &**value))
    }

    /// The element's own `xml:lang`.
    pub fn lang(self) -> Option<&'a str> {
        self.attribute_in(Namespace::Xml.name(), "lang")
    }

    /// The character data directly inside, in one piece.
    pub fn text(self) -> &'a str {
        self.data().map_or("", |data| &data.text)
    }

    /// The child elements in order.
    pub fn children(self) -> impl Iterator<Item = Self> {
        let first = self.data().and_then(|data| data.first_child);
        std::iter::successors(first, move |&at| self.tree.nodes.get(at)?.next)
            .map(move |at| Self { at, ..self })
    }

    /// The first child of that name.
    pub fn child(self, namespace: Namespace, local: &str) -> Option<Self> {
        self.children().find(|child| child.is(namespace, local))
    }

    fn data(self) -> Option<&'a Data> {
        self.tree.nodes.get(self.at)
    }
}

/// An element whose end tag has not been read.
struct Open {
    at: usize,
    outer_bindings: usize,
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    scope: Scope,
    nodes: Vec<Data>,
    open: Vec<Open>,
}

impl Reader<'_> {
    fn run(&mut self) -> Result<(), ParseError> {
        loop {
            let text = self.cursor.text();
            if let Some(data) = self.open.last().and_then(|open| self.nodes.get_mut(open.at)) {
                data.text.push_str(&text);
            }
            if let Some(section) = self.cursor.cdata()? {
                if let Some(data) = self.open.last().and_then(|open| self.nodes.get_mut(open.at)) {
                    data.text.push_str(&section);
                }
                continue;
            }
            if self.cursor.end_tag()? {
                self.close()?;
            } else {
                self.start_tag()?;
            }
            if self.open.is_empty() {
                return self.cursor.finished();
            }
        }
    }

    fn close(&mut self) -> Result<(), ParseError> {
        let open = self.open.pop().ok_or_else(|| ParseError::Unchecked(self.cursor.pos()))?;
        self.scope.bindings.truncate(open.outer_bindings);
        Ok(())
    }

    fn start_tag(&mut self) -> Result<(), ParseError> {
        if self.nodes.len() >= NODES_MAX {
            return Err(ParseError::TooManyElements);
        }
        let name = self.cursor.start_tag()?;
        let outer_bindings = self.scope.bindings.len();
        let mut raw = Vec::new();
        while let Some((name, value)) = self.cursor.attribute()? {
            match declared_prefix(name) {
                Some(prefix) => self.scope.bindings.push((prefix.into(), value.as_ref().into())),
                None => raw.push((name, value)),
            }
        }
        let mut attributes = Vec::with_capacity(raw.len());
        for (name, value) in raw {
            let (prefix, local) = name.split_once(':').unwrap_or(("", name));
            let namespace = if prefix.is_empty() { Arc::from("") } else { self.resolve(prefix)? };
            attributes.push((namespace, local.into(), value.as_ref().into()));
        }
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        let namespace = self.resolve(prefix)?;
        let (first_child, last_child, next) = (None, None, None);
        let text = String::new();
        let at = self.nodes.len();
        self.nodes.push(Data {
            namespace,
            local: local.into(),
            attributes,
            text,
            first_child,
            last_child,
            next,
        });
        self.attach(at);
        self.open.push(Open { at, outer_bindings });
        if self.cursor.tag_end()? {
            self.close()?;
        }
        Ok(())
    }

    /// Makes the newest element the last child of the one that is open.
    fn attach(&mut self, at: usize) {
        let Some(parent) = self.open.last().map(|open| open.at) else { return };
        let Some(data) = self.nodes.get_mut(parent) else { return };
        let elder = data.last_child.replace(at);
        if elder.is_none() {
            data.first_child = Some(at);
        }
        if let Some(elder) = elder.and_then(|elder| self.nodes.get_mut(elder)) {
            elder.next = Some(at);
        }
    }

    fn resolve(&self, prefix: &str) -> Result<Arc<str>, ParseError> {
        match (self.scope.find(prefix), prefix) {
            (Some(name), _) => Ok(Arc::clone(name)),
            (None, "") => Ok(Arc::from("")),
            (None, "xml") => Ok(Arc::from(Namespace::Xml.name())),
            (None, _) => Err(ParseError::UndeclaredPrefix(quoted(prefix.as_bytes()))),
        }
    }
}

#[cfg(test)]
mod tests;
