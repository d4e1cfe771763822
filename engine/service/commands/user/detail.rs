//! One user in full, as text for a terminal. Invariant: what can be long stands last on its line, so that nothing is cut off and
//! columns stay columns; text that came from a peer is escaped.

use std::io::{self, Write};

use crate::admin::answers::{ContactAnswer, UserDetail};
use crate::log::escape;

/// Longest resource written in its column.
const SHOWN_MAX: usize = 16;

/// Everything but the first line.
pub(super) fn write(user: &UserDetail, out: &mut dyn Write) -> io::Result<()> {
    let mark = |on: bool| if on { "yes" } else { "no" };
    writeln!(out, "  account in use        {}", mark(user.user.enabled))?;
    writeln!(out, "  federation            {}", mark(user.user.federation_enabled))?;
    writeln!(out, "  XMPP partners         {}", mark(user.user.xmpp_enabled))?;
    writeln!(out, "  moved by hand         {}", mark(user.user.changed))?;
    if user.held > 0 {
        writeln!(out, "  held for a move       {}", user.held)?;
    }
    writeln!(out, "  contacts              {}", user.contacts_total)?;
    write_contacts(&user.contacts, out)?;
    let left = user.contacts_total.saturating_sub(user.contacts.len() as u64);
    if left > 0 {
        writeln!(out, "    and {left} more")?;
    }
    for (home, lines) in &user.open {
        writeln!(out, "  open on {}", escape(home))?;
        lines.iter().try_for_each(|line| writeln!(out, "    {}", escape(line)))?;
    }
    Ok(())
}

/// A table of contacts; nothing where there is none.
pub(super) fn write_contacts(contacts: &[ContactAnswer], out: &mut dyn Write) -> io::Result<()> {
    if contacts.is_empty() {
        return Ok(());
    }
    let mut rows = vec![["state", "waits", "marks", "shown as", "contact"].map(str::to_owned)];
    rows.extend(contacts.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [a, b, c, d] = [0, 1, 2, 3].map(width);
    rows.iter().try_for_each(|[state, waits, marks, shown, contact]| {
        writeln!(out, "    {state:a$}  {waits:b$}  {marks:c$}  {shown:d$}  {contact}")
    })
}

fn row(contact: &ContactAnswer) -> [String; 5] {
    let words = |pairs: &[(bool, &str)]| {
        let words: Vec<&str> = pairs.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        if words.is_empty() { "-".to_owned() } else { words.join(", ") }
    };
    [
        contact.subscription.clone(),
        words(&[(contact.asked, "asked"), (contact.asking, "asking")]),
        words(&[(contact.vetoed, "vetoed"), (contact.introduced, "introduced")]),
        shown(&contact.shown),
        escape(&contact.partner),
    ]
}

/// The first resource, and how many more.
fn shown(resources: &[String]) -> String {
    let Some((first, more)) = resources.split_first() else { return "-".to_owned() };
    let first = if first.is_empty() { "(bare)".to_owned() } else { escape(first) };
    let mut text: String = first.chars().take(SHOWN_MAX).collect();
    if text.len() < first.len() {
        text.push('\u{2026}');
    }
    if more.is_empty() { text } else { format!("{text} +{}", more.len()) }
}
