//! Tables of results. Invariant: a table is no wider than the terminal it is printed on; where there is none its lines are as long as
//! they need to be, so that a program that reads them finds one row on one line.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};

/// A line below the head and none else.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::new('-', '-', ' ', '-'));

/// Below this nothing can be read; the terminal then breaks the lines itself.
const COLUMNS_MIN: u16 = 40;

/// Columns of the terminal standard output is, `None` where it is none.
pub(crate) fn columns() -> Option<u16> {
    terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0.max(COLUMNS_MIN))
}

/// Writes rows below a head. Cells hold text of files: what would control a terminal is escaped.
pub(crate) fn write(
    out: &mut dyn Write,
    columns: Option<u16>,
    head: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(STYLE);
    match columns {
        Some(columns) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table.set_header(head.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| crate::log::escape(cell)));
    }
    table.lines().try_for_each(|line| writeln!(out, "{}", line.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(columns: Option<u16>) -> String {
        let mut out = Vec::new();
        let rows = [
            ["anna@contoso.com", "a \u{1b}[31m"],
            ["bücher@contoso.com", "his policy is not among those that allow XMPP"],
        ];
        let rows = rows.into_iter().map(|row| row.map(str::to_owned).to_vec());
        write(&mut out, columns, &["user", "why"], rows).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_fits_its_terminal() {
        let wide = text(None);
        assert_eq!(wide.lines().count(), 4, "one row, one line: {wide}");
        assert!(wide.contains("bücher@contoso.com") && wide.contains("allow XMPP"), "{wide}");
        let narrow = text(Some(40));
        assert!(
            narrow.lines().count() > 4 && narrow.lines().all(|line| line.chars().count() <= 40),
            "{narrow}"
        );
        assert!(!wide.contains('\u{1b}'), "a file cannot colour the terminal");
    }
}
