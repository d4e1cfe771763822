//! Bars for long work of a command. Invariant: a bar is drawn on a terminal alone, after a while, and taken away again; where there is none
//! nothing is written, so that what a program reads is the result and no more.

use std::io::{self, IsTerminal, Read};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work shorter than this needs no bar.
const SILENT: Duration = Duration::from_millis(400);

/// How a bar looks, with what is counted and in octets.
const COUNT: &str = "{prefix} [{bar:30}] {percent:>3} %  {pos} of {len}  {msg}";
const BYTES: &str = "{prefix} [{bar:30}] {percent:>3} %  {bytes} of {total_bytes}";

/// A bar, or nothing.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    begun: Instant,
}

impl Bar {
    /// Over so many things, where it is wanted and there is a terminal.
    pub fn of_things(what: &'static str, total: u64, wanted: bool) -> Self {
        Self::new(what, total, COUNT, target(wanted))
    }

    /// Over so many octets; likewise.
    pub fn of_bytes(what: &'static str, total: u64, wanted: bool) -> Self {
        Self::new(what, total, BYTES, target(wanted))
    }

    fn new(what: &'static str, total: u64, template: &str, target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), target);
        // Were the template no good, the usual look would do.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("#."));
        bar.set_prefix(what);
        Self { bar, begun: crate::clock::now() }
    }

    /// How far it has come, and what else there is to say.
    pub fn set(&self, done: u64, more: impl FnOnce() -> String) {
        if crate::clock::now() >= self.begun + SILENT {
            self.bar.set_message(more());
            // How often it is drawn is its own business.
            self.bar.set_position(done);
        }
    }

    /// Reads through it.
    pub fn reading<R: Read>(self, source: R) -> Reading<R> {
        Reading { source, read: 0, bar: self }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn target(wanted: bool) -> ProgressDrawTarget {
    if wanted && io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    }
}

/// What is read, with its bar.
#[derive(Debug)]
pub struct Reading<R> {
    source: R,
    read: u64,
    bar: Bar,
}

impl<R: Read> Read for Reading<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.read += count as u64;
        self.bar.set(self.read, String::new);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_drawn_after_a_while_and_taken_away() {
        for template in [COUNT, BYTES] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
        let made = Bar::new("moving", 100, COUNT, ProgressDrawTarget::hidden());
        let drawn = made.bar.clone();
        made.set(10, || "x".to_owned());
        assert_eq!((drawn.position(), drawn.message().as_str()), (0, ""), "too soon");
        let made = Bar { begun: made.begun.checked_sub(SILENT).unwrap(), bar: drawn.clone() };
        made.set(20, || "x".to_owned());
        assert_eq!((drawn.position(), drawn.message().as_str()), (20, "x"));
        drop(made);
        assert!(drawn.is_finished());
    }

    #[test]
    fn what_is_read_is_what_is_there() {
        let bar = Bar::of_bytes("reading", 5, false);
        let mut text = String::new();
        bar.reading(&b"abcde"[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcde");
    }
}
