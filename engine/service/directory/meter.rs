//! Telling how far the loading of a directory has come. Invariant: a short load tells nothing; a long one overwrites one line of
//! a terminal a few times a second and leaves it empty, or writes a plain line now and then where there is no terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::csv::Progress;

/// A load shorter than this needs no bar.
const SILENT: Duration = Duration::from_millis(400);

/// How often the bar is drawn.
const BAR_EVERY: Duration = Duration::from_millis(100);

/// How often a line is written.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Cells of the bar.
const BAR_CELLS: usize = 30;

/// Who reads along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Somebody who gave a command: a bar on the terminal, else lines on standard error.
    Command,
    /// Somebody who starts the router: a bar on the terminal, else lines in the log.
    Start,
    /// The log alone, as the router runs.
    Log,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Bar,
    Line,
    Log,
}

/// Draws or writes progress.
#[derive(Debug)]
pub struct Meter {
    style: Style,
    begun: Instant,
    told: Option<Instant>,
    bytes_total: u64,
}

impl Meter {
    /// For a file of so many octets, 0 where nobody knows.
    pub fn new(audience: Audience, bytes_total: u64, now: Instant) -> Self {
        let style = match (audience, std::io::stderr().is_terminal()) {
            (Audience::Command | Audience::Start, true) => Style::Bar,
            (Audience::Command, false) => Style::Line,
            (Audience::Start | Audience::Log, _) => Style::Log,
        };
        Self { style, begun: now, told: None, bytes_total }
    }

    /// Tells how far it has come, if it is time to.
    pub fn tell(&mut self, now: Instant, progress: Progress) {
        let Some(text) = self.due(now, progress) else { return };
        // A terminal that is gone takes nothing from the load.
        match self.style {
            Style::Bar => drop(write!(std::io::stderr(), "\r{text}\x1b[K")),
            Style::Line => drop(writeln!(std::io::stderr(), "{text}")),
            Style::Log => tracing::info!(event = "directory.loading", "{text}"),
        }
    }

    /// Takes the bar away.
    pub fn end(&mut self) {
        if self.style == Style::Bar && self.told.take().is_some() {
            drop(write!(std::io::stderr(), "\r\x1b[K"));
        }
    }

    /// The text to be told now.
    fn due(&mut self, now: Instant, progress: Progress) -> Option<String> {
        let (first, every) = match self.style {
            Style::Bar => (SILENT, BAR_EVERY),
            Style::Line | Style::Log => (LINE_EVERY, LINE_EVERY),
        };
        let next = self.told.map_or(self.begun + first, |told| told + every);
        if now < next {
            return None;
        }
        self.told = Some(now);
        Some(self.text(now, progress))
    }

    fn text(&self, now: Instant, Progress { rows, bytes }: Progress) -> String {
        let millis = now.saturating_duration_since(self.begun).as_millis().max(1);
        let rate = u128::from(rows) * 1000 / millis;
        let rows = format!("{} rows, {} rows/s", grouped(u128::from(rows)), grouped(rate));
        if self.bytes_total == 0 {
            return format!("directory: {rows}");
        }
        // A file that grows while it is read ends at 100 all the same.
        let percent = (u128::from(bytes) * 100 / u128::from(self.bytes_total)).min(100) as usize;
        if self.style != Style::Bar {
            return format!("directory: {percent} %, {rows}");
        }
        let full = BAR_CELLS * percent / 100;
        format!("directory [{}{}] {percent:>3} %  {rows}", "#".repeat(full), ".".repeat(BAR_CELLS - full))
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.end();
    }
}

/// Digits in threes.
fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(style: Style, bytes_total: u64) -> (Meter, Instant) {
        let begun = crate::clock::now();
        (Meter { style, begun, told: None, bytes_total }, begun)
    }

    #[test]
    fn a_bar_is_drawn_after_a_while_and_not_too_often() {
        let (mut meter, begun) = meter(Style::Bar, 1000);
        let at = |millis| begun + Duration::from_millis(millis);
        let progress = Progress { rows: 1_234_567, bytes: 500 };
        assert_eq!(meter.due(at(399), progress), None);
        let text = meter.due(at(1000), progress).unwrap();
        let expected = "directory [###############...............]  50 %  1,234,567 rows, 1,234,567 rows/s";
        assert_eq!(text, expected);
        assert_eq!(meter.due(at(1099), progress), None);
        let text = meter.due(at(1100), Progress { rows: 12, bytes: 2000 }).unwrap();
        assert_eq!(text, "directory [##############################] 100 %  12 rows, 10 rows/s");
        meter.told = None; // so that nothing is drawn at the end
    }

    #[test]
    fn without_a_terminal_there_are_plain_lines_now_and_then() {
        for style in [Style::Line, Style::Log] {
            let (mut meter, begun) = meter(style, 1000);
            let at = |millis| begun + Duration::from_millis(millis);
            let progress = Progress { rows: 10_000, bytes: 250 };
            assert_eq!(meter.due(at(4999), progress), None);
            assert_eq!(meter.due(at(5000), progress).unwrap(), "directory: 25 %, 10,000 rows, 2,000 rows/s");
            assert_eq!(meter.due(at(9999), progress), None);
            meter.bytes_total = 0;
            assert_eq!(meter.due(at(10_000), progress).unwrap(), "directory: 10,000 rows, 1,000 rows/s");
        }
    }
}
