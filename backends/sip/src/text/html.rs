//! HTML to text. Invariant: no element, attribute or script of the sender reaches anybody; one pass over the text.

/// The text a reader would see: line ends for breaks and blocks, entities resolved, scripts and styles gone.
pub(super) fn strip(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        let (text, tail) = rest.split_at(at);
        push_text(&mut out, text);
        rest = if tail.starts_with('<') { tag(&mut out, tail) } else { entity(&mut out, tail) };
    }
    push_text(&mut out, rest);
    out.trim().to_owned()
}

/// Runs of white space are one space, as HTML has it.
fn push_text(out: &mut String, text: &str) {
    for char in text.chars() {
        if !char.is_ascii_whitespace() {
            out.push(char);
        } else if !out.is_empty() && !out.ends_with([' ', '\n']) {
            out.push(' ');
        }
    }
}

/// Eats a tag; gives what follows it.
fn tag<'a>(out: &mut String, tail: &'a str) -> &'a str {
    if let Some(comment) = tail.strip_prefix("<!--") {
        return comment.find("-->").map_or("", |end| &comment[end + 3..]);
    }
    let inner = &tail[1..];
    if !inner.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '/' | '!' | '?')) {
        out.push('<');
        return inner;
    }
    let Some(end) = tag_end(inner) else { return "" };
    let (name, after) = (&inner[..end], &inner[end + 1..]);
    let closing = name.starts_with('/');
    let name = name.trim_start_matches('/');
    let name = name.split(|char: char| char.is_ascii_whitespace() || char == '/').next().unwrap_or_default();
    let is = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
    if is(&["script", "style", "head", "title"]) && !closing {
        return skip_element(name, after);
    }
    if is(&["br"]) || is(&["p", "div", "li", "tr", "h1", "h2", "h3", "blockquote", "pre"]) && closing {
        while out.ends_with(' ') {
            out.pop();
        }
        out.push('\n');
    }
    after
}

/// The `>` that ends a tag, not one within a quoted attribute.
pub(super) fn tag_end(inner: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in inner.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// What follows the end tag of an element whose content is not text for people; nothing if it never ends.
pub(super) fn skip_element<'a>(name: &str, after: &'a str) -> &'a str {
    let mut rest = after;
    while let Some(at) = rest.find("</") {
        rest = &rest[at + 2..];
        if rest.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)) {
            return rest.find('>').map_or("", |end| &rest[end + 1..]);
        }
    }
    ""
}

/// Text with its entities resolved.
pub(super) fn resolve(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = entity(&mut out, &rest[at..]);
    }
    out.push_str(rest);
    out
}

/// Longest entity looked for.
const ENTITY_BYTES_MAX: usize = 10;

/// Resolves an entity; what is none stays as written.
fn entity<'a>(out: &mut String, tail: &'a str) -> &'a str {
    let window = &tail.as_bytes()[1..tail.len().min(ENTITY_BYTES_MAX + 2)];
    let Some(end) = window.iter().position(|byte| *byte == b';') else {
        out.push('&');
        return &tail[1..];
    };
    let name = &tail[1..=end];
    let found = match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        _ => name.strip_prefix('#').and_then(|number| {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            code.ok().and_then(char::from_u32)
        }),
    };
    match found {
        Some(char) => {
            out.push(char);
            &tail[end + 2..]
        }
        None => {
            out.push('&');
            &tail[1..]
        }
    }
}
