//! CLIXML, as `Export-Clixml` writes it (MS-PSRP, serialization of objects). The one place of the service that reads XML: a file an
//! administrator made, never anything from the network.
//!
//! Invariant: no document type and no entity beyond the five of XML; depth, nodes and values of an object are bounded.

use std::collections::HashMap;
use std::io::BufRead;

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::{Each, ExportError, Record, VALUES_MAX, Value};

/// Elements inside each other.
const DEPTH_MAX: usize = 48;

/// Elements of one object.
const NODES_MAX: usize = 100_000;

/// Objects that later ones may refer to.
const REFERENCES_MAX: usize = 1_000_000;

/// An element.
#[derive(Debug, Default)]
struct Node {
    tag: String,
    /// Attribute `N`: the value's name.
    name: Option<String>,
    /// Attribute `RefId`.
    id: Option<String>,
    text: String,
    children: Vec<Self>,
}

pub(super) fn read(source: impl BufRead, each: &mut Each<'_>) -> Result<(), ExportError> {
    let mut reader = Reader::from_reader(source);
    let mut file = File { open: Vec::new(), nodes: 0, count: 0, known: HashMap::new(), rooted: false, each };
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let event = reader.read_event_into(&mut buffer).map_err(|error| {
            ExportError::new(format!("this is no whole CLIXML: {error}; was the file cut?"))
        })?;
        match event {
            Event::Start(start) => file.begin(&start)?,
            Event::Empty(start) => {
                file.begin(&start)?;
                file.end()?;
            }
            Event::End(_) => file.end()?,
            Event::Text(text) => file.text(&text.xml10_content()),
            Event::CData(text) => file.text(&text.xml10_content()),
            Event::GeneralRef(reference) => file.text(entity(&reference)?.encode_utf8(&mut [0; 4])),
            Event::DocType(_) => return Err(ExportError::new("a document type has no place in CLIXML")),
            Event::Eof => break,
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
        }
    }
    match file {
        File { rooted: true, open, .. } if open.is_empty() => Ok(()),
        File { rooted: true, .. } => Err(ExportError::new("the CLIXML ends too early; was the file cut?")),
        _ => Err(ExportError::new("this is XML and no CLIXML; export with Export-Clixml")),
    }
}

/// A file being read.
struct File<'a, 'e> {
    /// The elements that are open, below `Objs`.
    open: Vec<Node>,
    nodes: usize,
    count: u64,
    /// Values of objects by `RefId`.
    known: HashMap<String, Value>,
    /// `Objs` was seen.
    rooted: bool,
    each: &'a mut Each<'e>,
}

impl File<'_, '_> {
    fn begin(&mut self, start: &BytesStart<'_>) -> Result<(), ExportError> {
        let tag = start.local_name().as_ref().to_owned();
        if !self.rooted {
            if tag != "Objs" {
                return Err(ExportError::new("this is XML and no CLIXML; export with Export-Clixml"));
            }
            self.rooted = true;
            return Ok(());
        }
        self.nodes += 1;
        if self.open.len() >= DEPTH_MAX || self.nodes > NODES_MAX {
            return Err(ExportError::new(format!(
                "object {} is larger or deeper than any of these exports; choose its values with Select-Object",
                self.count + 1
            )));
        }
        let attribute = |name: &str| {
            let found = start.try_get_attribute(name).ok().flatten()?;
            Some(unescaped(&found.normalized_value(XmlVersion::Implicit1_0).ok()?))
        };
        let (name, id) = (attribute("N"), attribute("RefId"));
        self.open.push(Node { tag, name, id, ..Node::default() });
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if let Some(node) = self.open.last_mut() {
            node.text.push_str(text);
        }
    }

    fn end(&mut self) -> Result<(), ExportError> {
        // Without an open element this is the end of `Objs`: the reader has matched the names.
        let Some(node) = self.open.pop() else { return Ok(()) };
        if let Some(parent) = self.open.last_mut() {
            parent.children.push(node);
            return Ok(());
        }
        self.nodes = 0;
        self.object(&node)
    }

    /// An object below `Objs`. A list there holds the objects.
    fn object(&mut self, node: &Node) -> Result<(), ExportError> {
        let items = node.children.iter().find(|child| is_list(&child.tag));
        if let Some(items) = items.filter(|items| items.children.iter().any(|item| item.tag == "Obj")) {
            return items.children.iter().try_for_each(|item| self.record(item));
        }
        match node.tag.as_str() {
            "Nil" => Ok(()),
            _ => self.record(node),
        }
    }

    fn record(&mut self, node: &Node) -> Result<(), ExportError> {
        self.count += 1;
        let place = format!("object {}", self.count);
        if node.tag != "Obj" {
            let what =
                format!("{place} is a {:?} and has no named values; export the objects themselves", node.tag);
            return Err(ExportError::new(what));
        }
        let mut fields = Vec::new();
        for set in node.children.iter().filter(|child| child.tag == "Props" || child.tag == "MS") {
            for child in &set.children {
                let value = self.value(child);
                fields.extend(child.name.clone().map(|name| (name, value)));
            }
        }
        if fields.len() > VALUES_MAX {
            return Err(ExportError::new(format!("{place} has more than {VALUES_MAX} values")));
        }
        (self.each)(Record::new(place, fields))
    }

    /// The value of an element; remembered where others may refer to it.
    fn value(&mut self, node: &Node) -> Value {
        let value = match node.tag.as_str() {
            "Nil" => Value::Nothing,
            "B" => match node.text.trim() {
                "true" => Value::Flag(true),
                "false" => Value::Flag(false),
                other => Value::Text(other.to_owned()),
            },
            "I16" | "I32" | "I64" | "U16" | "U32" | "U64" | "By" | "SB" => {
                Value::Number(node.text.trim().to_owned())
            }
            "Ref" => {
                let known = node.id.as_ref().and_then(|id| self.known.get(id));
                known.cloned().unwrap_or(Value::Thing)
            }
            "Obj" => self.composed(node),
            _ => Value::Text(unescaped(&node.text)),
        };
        if let (Some(id), "Obj") = (&node.id, node.tag.as_str())
            && self.known.len() < REFERENCES_MAX
        {
            self.known.insert(id.clone(), value.clone());
        }
        value
    }

    /// An object inside an object: a list of its items, or what `ToString()` said of it.
    fn composed(&mut self, node: &Node) -> Value {
        if let Some(list) = node.children.iter().find(|child| is_list(&child.tag)) {
            let mut items = Vec::with_capacity(list.children.len());
            for child in &list.children {
                match self.value(child) {
                    Value::Text(text) | Value::Number(text) => items.push(text),
                    Value::Nothing => {}
                    Value::Flag(_) | Value::List(_) | Value::Thing => return Value::Thing,
                }
            }
            return Value::List(items);
        }
        let text = node.children.iter().find(|child| child.tag == "ToString");
        text.map_or(Value::Thing, |text| Value::Text(unescaped(&text.text)))
    }
}

fn is_list(tag: &str) -> bool {
    matches!(tag, "LST" | "IE" | "STK" | "QUE")
}

fn entity(reference: &BytesRef<'_>) -> Result<char, ExportError> {
    let unknown = || ExportError::new(format!("there is an entity CLIXML does not have: &{};", &**reference));
    if reference.is_char_ref() {
        return reference.resolve_char_ref().ok().flatten().ok_or_else(unknown);
    }
    match &**reference {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "apos" => Ok('\''),
        "quot" => Ok('"'),
        _ => Err(unknown()),
    }
}

/// Takes `_xHHHH_` apart, which stands for one unit of UTF-16 that XML could not hold, or for an underscore that would look so.
fn unescaped(text: &str) -> String {
    if !text.contains("_x") {
        return text.to_owned();
    }
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let code = rest.strip_prefix("_x").filter(|code| code.as_bytes().get(4) == Some(&b'_'));
        let code =
            code.and_then(|code| code.get(..4)).filter(|code| code.bytes().all(|b| b.is_ascii_hexdigit()));
        match code.and_then(|code| u16::from_str_radix(code, 16).ok()) {
            Some(unit) => {
                units.push(unit);
                rest = &rest["_x0000_".len()..];
            }
            None => {
                units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    String::from_utf16_lossy(&units)
}
