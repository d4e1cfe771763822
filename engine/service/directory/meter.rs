//! Telling how far the loading of a directory has come. Invariant: a short load tells nothing; a long one overwrites one line of
//! a terminal a few times a second and leaves it empty, or writes a plain line now and then where there is no terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::csv::Progress;

/// A load shorter than this needs no bar.
const SILENT: Duration = Duration::from_millis(400);

/// How often a line is written.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How the bar looks; where nobody knows the end there is only what was done.
const BAR: &str = "directory [{bar:30}] {percent:>3} %  {msg}";
const COUNT: &str = "directory  {msg}";

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

#[derive(Debug, Clone)]
enum Style {
    Bar(ProgressBar),
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
            (Audience::Command | Audience::Start, true) => {
                Style::Bar(bar(bytes_total, ProgressDrawTarget::stderr()))
            }
            (Audience::Command, false) => Style::Line,
            (Audience::Start | Audience::Log, _) => Style::Log,
        };
        Self { style, begun: now, told: None, bytes_total }
    }

    /// Tells how far it has come, if it is time to.
    pub fn tell(&mut self, now: Instant, progress: Progress) {
        if let Style::Bar(bar) = &self.style {
            // How often it is drawn is its own business.
            if now >= self.begun + SILENT {
                bar.set_position(progress.bytes);
                bar.set_message(self.rows(now, progress));
            }
            return;
        }
        let Some(text) = self.due(now, progress) else { return };
        match self.style {
            // A terminal that is gone takes nothing from the load.
            Style::Line => drop(writeln!(std::io::stderr(), "{text}")),
            _ => tracing::info!(event = "directory.loading", "{text}"),
        }
    }

    /// Takes the bar away.
    pub fn end(&mut self) {
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
        }
    }

    /// The line to be told now.
    fn due(&mut self, now: Instant, progress: Progress) -> Option<String> {
        let next = self.told.map_or(self.begun, |told| told) + LINE_EVERY;
        if now < next {
            return None;
        }
        self.told = Some(now);
        let rows = self.rows(now, progress);
        if self.bytes_total == 0 {
            return Some(format!("directory: {rows}"));
        }
        // A file that grows while it is read ends at 100 all the same.
        let percent = (u128::from(progress.bytes) * 100 / u128::from(self.bytes_total)).min(100);
        Some(format!("directory: {percent} %, {rows}"))
    }

    fn rows(&self, now: Instant, Progress { rows, .. }: Progress) -> String {
        let millis = now.saturating_duration_since(self.begun).as_millis().max(1);
        let rate = u128::from(rows) * 1000 / millis;
        format!("{} rows, {} rows/s", grouped(u128::from(rows)), grouped(rate))
    }
}

/// A bar over so many octets.
fn bar(bytes_total: u64, target: ProgressDrawTarget) -> ProgressBar {
    let bar = ProgressBar::with_draw_target((bytes_total > 0).then_some(bytes_total), target);
    let template = if bytes_total > 0 { BAR } else { COUNT };
    // Were the template no good, the usual look would do.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("#."));
    bar
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
    fn a_bar_is_drawn_after_a_while_and_taken_away() {
        for template in [BAR, COUNT] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
        let drawn = bar(1000, ProgressDrawTarget::hidden());
        let (mut meter, begun) = meter(Style::Bar(drawn.clone()), 1000);
        let at = |millis| begun + Duration::from_millis(millis);
        let progress = Progress { rows: 1_234_567, bytes: 500 };
        meter.tell(at(399), progress);
        assert_eq!((drawn.position(), drawn.message().as_str()), (0, ""));
        meter.tell(at(1000), progress);
        assert_eq!((drawn.position(), drawn.length()), (500, Some(1000)));
        assert_eq!(drawn.message(), "1,234,567 rows, 1,234,567 rows/s");
        drop(meter);
        assert!(drawn.is_finished());
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
