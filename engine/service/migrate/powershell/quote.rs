//! Texts in PowerShell. Invariant: whatever the text, what is written is one value or one comment, in ASCII.

/// A text as an expression that has it as its value.
///
/// In single quotes nothing is expanded and only a quote ends the string, so it is doubled. PowerShell takes four typographic
/// quotes for single quotes too, and Windows PowerShell reads a file without a byte order mark in a legacy encoding, in which octets of
/// UTF-8 can be such quotes; that is why nothing beyond ASCII is written as itself.
pub fn literal(text: &str) -> String {
    let plain = |c: char| c == ' ' || c.is_ascii_graphic();
    if text.chars().all(plain) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut parts = Vec::new();
    let mut run = String::new();
    for c in text.chars() {
        if plain(c) {
            run.push(c);
            continue;
        }
        if !run.is_empty() {
            parts.push(format!("'{}'", std::mem::take(&mut run).replace('\'', "''")));
        }
        parts.push(match u32::from(c) {
            code @ 0..=0xFFFF => format!("[string][char]0x{code:04X}"),
            code => format!("[char]::ConvertFromUtf32(0x{code:X})"),
        });
    }
    if !run.is_empty() {
        parts.push(format!("'{}'", run.replace('\'', "''")));
    }
    format!("({})", parts.join(" + "))
}

/// A comment of one line; what is no printable ASCII shows as its number.
pub fn comment(text: &str) -> String {
    let mut line = String::from("#");
    if !text.is_empty() {
        line.push(' ');
    }
    for c in text.chars() {
        if c == ' ' || c.is_ascii_graphic() { line.push(c) } else { line.extend(c.escape_unicode()) }
    }
    line
}
