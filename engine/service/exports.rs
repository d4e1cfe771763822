//! What PowerShell exports: objects with named values, from CSV (`Export-Csv`), JSON (`ConvertTo-Json`) or CLIXML (`Export-Clixml`), as
//! Windows PowerShell 5 and PowerShell 7 write them.
//!
//! Invariant: a value is given as it stands in the file or not at all. What a format has lost – a collection of which `Export-Csv` kept
//! the type's name, an enumeration that `ConvertTo-Json` made a number – is an error that names a better export, never a guess.
//! Objects are given one by one; memory grows with the largest of them, and every dimension has a limit.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use crate::directory::csv::{Text, TextFault};

mod clixml;
mod json;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use value::shown;
pub use value::{Record, Value};

/// Most octets of a JSON or CLIXML file, after decoding. A table of any length is read row by row.
pub const FILE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Most values of one object.
pub const VALUES_MAX: usize = 4096;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `Export-Csv`.
    Csv,
    /// `ConvertTo-Json`.
    Json,
    /// `Export-Clixml`.
    Clixml,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Csv => "CSV",
            Self::Json => "JSON",
            Self::Clixml => "CLIXML",
        })
    }
}

/// Why a file cannot be read: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportError(String);

impl ExportError {
    fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ExportError {}

impl From<io::Error> for ExportError {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// What is done with each object; an error ends the reading.
pub type Each<'a> = dyn FnMut(Record) -> Result<(), ExportError> + 'a;

/// Reads all objects of a file and gives them in order. UTF-8 with or without a byte order mark, UTF-16 with one, ASCII. The format
/// is told from the first character that is not blank: `<` CLIXML, `{` or `[` JSON, anything else CSV.
///
/// # Errors
/// The file is none of the three, is damaged, or exceeds a limit; or `each` said so.
pub fn read(source: impl Read, each: &mut Each<'_>) -> Result<Format, ExportError> {
    let mut text = Text::new(source)?;
    // Tables bound each row, the others the whole.
    text.allow(usize::MAX);
    let mut source = BufReader::new(text);
    let first = loop {
        let waiting = source.fill_buf()?;
        let Some(&byte) = waiting.first() else {
            return Err(ExportError::new(
                "the file is empty; did the cmdlet find anything? Export-Csv writes nothing then",
            ));
        };
        if !byte.is_ascii_whitespace() {
            break byte;
        }
        source.consume(1);
    };
    match first {
        b'<' => clixml::read(Bounded { inner: source, left: FILE_BYTES_MAX }, each).map(|()| Format::Clixml),
        b'{' | b'[' => {
            json::read(Bounded { inner: source, left: FILE_BYTES_MAX }, each).map(|()| Format::Json)
        }
        _ => table::read(source, each).map(|()| Format::Csv),
    }
}

/// A reader that gives so much and then fails.
struct Bounded<R> {
    inner: R,
    left: usize,
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let taken = self.fill_buf()?.read(into)?;
        self.consume(taken);
        Ok(taken)
    }
}

impl<R: BufRead> BufRead for Bounded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let waiting = self.inner.fill_buf()?;
        if self.left == 0 && !waiting.is_empty() {
            let what = format!("the file is larger than {} MiB; export to CSV", FILE_BYTES_MAX >> 20);
            return Err(io::Error::other(what));
        }
        Ok(&waiting[..waiting.len().min(self.left)])
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count);
        self.inner.consume(count);
    }
}

/// Whether an error of the system is one of the text.
fn is_text_fault(error: &io::Error) -> Option<TextFault> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<TextFault>()).copied()
}
