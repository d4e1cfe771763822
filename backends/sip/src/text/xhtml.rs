//! HTML to XHTML-IM (XEP-0071): what a partner's client may show instead of the plain text. Invariant: the result is well-formed, and
//! holds no element, attribute, property of a style or kind of address but those listed here, whatever went in; one pass.
//!
//! The lists are the recommended profile of XEP-0071 §8, without pictures: one that lies elsewhere tells its owner who reads.

use super::html::{resolve, skip_element, tag_end};
use crate::translate::escape;

/// Elements of the result.
const ELEMENTS: [&str; 10] = ["a", "blockquote", "cite", "em", "li", "ol", "p", "span", "strong", "ul"];
/// Properties of a style.
const PROPERTIES: [&str; 10] = [
    "background-color",
    "color",
    "font-family",
    "font-size",
    "font-style",
    "font-weight",
    "margin-left",
    "margin-right",
    "text-align",
    "text-decoration",
];
/// Where a link may lead.
const SCHEMES: [&str; 4] = ["https://", "http://", "mailto:", "xmpp:"];

/// How deep elements may nest; deeper ones are left out and their text is kept.
const DEPTH_MAX: usize = 32;
/// The longest address of a link.
const LINK_BYTES_MAX: usize = 2048;
/// The longest value of a property.
const VALUE_BYTES_MAX: usize = 64;
/// The longest result; beyond it the plain text has to do.
const BYTES_MAX: usize = 65_536;

const START: &[u8] =
    b"<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>";
const END: &[u8] = b"</body></html>";

/// The element to put into a message beside its plain text; `None` if there is nothing to show but that text, or too much.
pub(super) fn sanitise(html: &str) -> Option<String> {
    let mut page = Page { out: START.to_vec(), open: Vec::new(), is_rich: false };
    let mut rest = html;
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        let (text, tail) = rest.split_at(at);
        page.text(text);
        rest = page.tag(tail);
        if page.out.len() > BYTES_MAX {
            return None;
        }
    }
    page.text(rest);
    page.close_to(0);
    page.out.extend_from_slice(END);
    if !page.is_rich || page.out.len() > BYTES_MAX {
        return None;
    }
    String::from_utf8(page.out).ok()
}

/// A result in the making.
struct Page {
    out: Vec<u8>,
    /// What is open; `false`: it has no tag in the result.
    open: Vec<(&'static str, bool)>,
    /// It holds more than lines of text.
    is_rich: bool,
}

impl Page {
    fn text(&mut self, text: &str) {
        if memchr::memchr(b'&', text.as_bytes()).is_some() {
            escape(&resolve(text), &mut self.out);
        } else {
            escape(text, &mut self.out);
        }
    }

    /// Takes a tag; gives what follows it.
    fn tag<'a>(&mut self, tail: &'a str) -> &'a str {
        if let Some(comment) = tail.strip_prefix("<!--") {
            return comment.find("-->").map_or("", |end| &comment[end + 3..]);
        }
        let inner = &tail[1..];
        if !inner.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '/' | '!' | '?')) {
            self.text("<");
            return inner;
        }
        let Some(end) = tag_end(inner) else { return "" };
        let (inside, after) = (&inner[..end], &inner[end + 1..]);
        let (closing, inside) = inside.strip_prefix('/').map_or((false, inside), |inside| (true, inside));
        let at = inside.find(|char: char| char.is_ascii_whitespace() || char == '/').unwrap_or(inside.len());
        let (name, attributes) = inside.split_at(at);
        if !closing
            && ["script", "style", "head", "title"].iter().any(|known| name.eq_ignore_ascii_case(known))
        {
            return skip_element(name, after);
        }
        match (name.to_ascii_lowercase().as_str(), closing) {
            ("br", _) => self.out.extend_from_slice(b"<br/>"),
            (name, true) => self.end(element(name).0),
            (name, false) => self.start(name, attributes),
        }
        after
    }

    fn start(&mut self, name: &str, attributes: &str) {
        let (element, own_style) = element(name);
        if element.is_empty() || self.open.len() >= DEPTH_MAX {
            return;
        }
        let is_open = |wanted: &str| self.open.iter().rposition(|(name, _)| *name == wanted);
        match element {
            "p" | "blockquote" | "ul" | "ol" => {
                if let Some(at) = is_open("p") {
                    self.close_to(at);
                }
            }
            "li" => {
                let list = is_open("ul").max(is_open("ol"));
                let Some(list) = list else { return };
                self.close_to(list + 1);
            }
            _ => {}
        }
        let (mut style, mut link) = (own_style.to_owned(), None);
        for (key, value) in Attributes(attributes) {
            match &*key.to_ascii_lowercase() {
                "style" => push_style(&mut style, &resolve(value)),
                "color" if name == "font" => push_style(&mut style, &["color:", &resolve(value)].concat()),
                "href" if element == "a" && link.is_none() => link = address(&resolve(value)),
                _ => {}
            }
        }
        let is_shown = match element {
            "a" => link.is_some(),
            "span" => !style.is_empty(),
            _ => true,
        };
        self.open.push((element, is_shown));
        if !is_shown {
            return;
        }
        self.is_rich |= element != "p" || !style.is_empty();
        self.out.push(b'<');
        self.out.extend_from_slice(element.as_bytes());
        for (key, value) in [("href", link), ("style", Some(style).filter(|style| !style.is_empty()))] {
            let Some(value) = value else { continue };
            self.out.extend_from_slice(&[b" ", key.as_bytes(), b"='"].concat());
            escape(&value, &mut self.out);
            self.out.push(b'\'');
        }
        self.out.push(b'>');
    }

    fn end(&mut self, element: &str) {
        if let Some(at) = self.open.iter().rposition(|(name, _)| *name == element) {
            self.close_to(at);
        }
    }

    /// Closes all but this many.
    fn close_to(&mut self, count: usize) {
        while self.open.len() > count
            && let Some((name, is_shown)) = self.open.pop()
        {
            if is_shown {
                self.out.extend_from_slice(&[b"</", name.as_bytes(), b">"].concat());
            }
        }
    }
}

/// What an element of HTML becomes, and the style that makes up for its name; empty: nothing.
fn element(name: &str) -> (&'static str, &'static str) {
    if let Some(same) = ELEMENTS.iter().find(|element| **element == name) {
        return (same, "");
    }
    match name {
        "b" => ("strong", ""),
        "i" => ("em", ""),
        "u" | "ins" => ("span", "text-decoration: underline"),
        "s" | "strike" | "del" => ("span", "text-decoration: line-through"),
        "code" | "tt" | "pre" => ("span", "font-family: monospace"),
        "font" => ("span", ""),
        "div" | "h1" | "h2" | "h3" => ("p", ""),
        _ => ("", ""),
    }
}

/// Adds the properties that are listed, with values that can only be words and numbers.
fn push_style(into: &mut String, style: &str) {
    for part in style.split(';') {
        let Some((name, value)) = part.split_once(':') else { continue };
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"#%., -".contains(&byte);
        let is_sound = !value.is_empty() && value.len() <= VALUE_BYTES_MAX && value.bytes().all(is_word);
        if is_sound && PROPERTIES.contains(&name.as_str()) && into.len() < 16 * VALUE_BYTES_MAX {
            if !into.is_empty() {
                into.push_str("; ");
            }
            into.push_str(&[&name, ": ", value].concat());
        }
    }
}

/// An address a link may have.
fn address(value: &str) -> Option<String> {
    let value = value.trim_matches(|char: char| char.is_ascii_whitespace());
    let is_listed =
        |scheme: &&str| value.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let is_sound = value.len() <= LINK_BYTES_MAX
        && SCHEMES.iter().any(is_listed)
        && !value.chars().any(|char| char.is_control() || char.is_whitespace());
    is_sound.then(|| value.to_owned())
}

/// Attributes of a tag, in order: names and raw values.
struct Attributes<'a>(&'a str);

impl<'a> Iterator for Attributes<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let is_gap = |char: char| char.is_ascii_whitespace() || char == '/';
        let rest = self.0.trim_start_matches(is_gap);
        if rest.is_empty() {
            return None;
        }
        // A stray equals sign is part of a name, as HTML has it; so each step goes on.
        let end =
            rest.bytes().skip(1).position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'='));
        let end = end.map_or(rest.len(), |at| at + 1);
        let (name, rest) = rest.split_at(end);
        let Some(value) = rest.trim_ascii_start().strip_prefix('=').map(str::trim_ascii_start) else {
            self.0 = rest;
            return Some((name, ""));
        };
        let quoted = |quote: char| value.strip_prefix(quote).map(|value| value.split_once(quote));
        let (value, rest) = match quoted('"').or_else(|| quoted('\'')) {
            Some(cut) => cut.unwrap_or((value, "")),
            None => {
                value.split_at(value.find(|char: char| char.is_ascii_whitespace()).unwrap_or(value.len()))
            }
        };
        self.0 = rest;
        Some((name, value))
    }
}

#[cfg(test)]
mod tests;
