//! The file's octets as UTF-8 with LF for CRLF, so many for one record and no more.
//!
//! The line ends are made one because the CSV reader takes the LF of a CRLF for the start of the next record, and
//! would give the line before it.

use std::fmt;
use std::io::{self, Read};

/// Octets taken from the source at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// What is wrong with the octets of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFault {
    /// UTF-16 with no byte order mark.
    NoMark,
    /// UTF-16 that ends within a character, or has half of a surrogate pair.
    BrokenUtf16,
    /// A record above the limit, as a quote that is never closed makes one.
    RecordTooLong,
}

impl fmt::Display for TextFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMark => f.write_str(
                "this is UTF-16 without a byte order mark; export with -Encoding Unicode or -Encoding UTF8",
            ),
            Self::BrokenUtf16 => {
                f.write_str("the UTF-16 is broken; the file is damaged or was cut, export anew")
            }
            Self::RecordTooLong => write!(
                f,
                "the record that begins here is longer than {} octets; is a quote not closed?",
                super::RECORD_BYTES_MAX
            ),
        }
    }
}

impl std::error::Error for TextFault {}

#[derive(Clone, Copy)]
enum Encoding {
    /// UTF-8 or ASCII, passed on as it is.
    Utf8,
    Utf16 {
        unit: fn([u8; 2]) -> u16,
    },
}

/// A reader that yields UTF-8 whatever of the known encodings the source has.
pub(crate) struct Text<R> {
    source: R,
    encoding: Encoding,
    chunk: Box<[u8; CHUNK_BYTES]>,
    /// Octets at the start of `chunk` that are read and not yet decoded: an odd one, in UTF-16.
    kept: usize,
    /// First half of a surrogate pair whose second is in the next chunk.
    high: Option<u16>,
    decoded: Vec<u8>,
    taken: usize,
    /// The last octet decoded was a CR, which is not in `decoded` before it is known what follows.
    return_waits: bool,
    allowance: usize,
    source_bytes: u64,
}

impl<R: Read> Text<R> {
    /// Looks at the first octets to learn the encoding.
    pub(crate) fn new(source: R) -> io::Result<Self> {
        let mut text = Self {
            source,
            encoding: Encoding::Utf8,
            chunk: Box::new([0; CHUNK_BYTES]),
            kept: 0,
            high: None,
            decoded: Vec::new(),
            taken: 0,
            return_waits: false,
            allowance: 0,
            source_bytes: 0,
        };
        while text.kept < 3 && text.fill()? > 0 {}
        let (mark_bytes, encoding) = match &text.chunk[..text.kept] {
            [0xEF, 0xBB, 0xBF, ..] => (3, Encoding::Utf8),
            [0xFF, 0xFE, ..] => (2, Encoding::Utf16 { unit: u16::from_le_bytes }),
            [0xFE, 0xFF, ..] => (2, Encoding::Utf16 { unit: u16::from_be_bytes }),
            [0, _, ..] | [_, 0, ..] => return Err(io::Error::other(TextFault::NoMark)),
            _ => (0, Encoding::Utf8),
        };
        text.encoding = encoding;
        text.chunk.copy_within(mark_bytes..text.kept, 0);
        text.kept -= mark_bytes;
        text.decode()?;
        Ok(text)
    }

    /// Octets taken from the source so far.
    pub(super) fn source_bytes(&self) -> u64 {
        self.source_bytes
    }

    /// Lets this many more octets be read before the record counts as too long.
    pub(crate) fn allow(&mut self, bytes: usize) {
        self.allowance = bytes;
    }

    /// Appends to `chunk` what the source has; 0 at its end.
    fn fill(&mut self) -> io::Result<usize> {
        loop {
            match self.source.read(&mut self.chunk[self.kept..]) {
                Ok(count) => {
                    self.kept += count;
                    self.source_bytes += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Turns `chunk` into `decoded`.
    fn decode(&mut self) -> io::Result<()> {
        self.decoded.clear();
        self.taken = 0;
        match self.encoding {
            Encoding::Utf8 => {
                // In runs from one CR to the next: all but the CR itself goes over as it is.
                let mut rest = &self.chunk[..self.kept];
                while let Some(at) = memchr::memchr(b'\r', rest) {
                    push(&mut self.decoded, &mut self.return_waits, &rest[..at]);
                    push(&mut self.decoded, &mut self.return_waits, b"\r");
                    rest = &rest[at + 1..];
                }
                push(&mut self.decoded, &mut self.return_waits, rest);
                self.kept = 0;
            }
            Encoding::Utf16 { unit } => {
                let (pairs, odd) = self.chunk[..self.kept].as_chunks::<2>();
                let units = self.high.take().into_iter().chain(pairs.iter().map(|&pair| unit(pair)));
                for decoded in char::decode_utf16(units) {
                    match decoded {
                        Ok(c) => {
                            let mut bytes = [0; 4];
                            let bytes = c.encode_utf8(&mut bytes).as_bytes();
                            push(&mut self.decoded, &mut self.return_waits, bytes);
                        }
                        // The half of a pair may be followed by the other in the next chunk, and only there.
                        Err(half) if self.high.is_none() && half.unpaired_surrogate() < 0xDC00 => {
                            self.high = Some(half.unpaired_surrogate());
                            continue;
                        }
                        Err(_) => return Err(io::Error::other(TextFault::BrokenUtf16)),
                    }
                    if self.high.is_some() {
                        return Err(io::Error::other(TextFault::BrokenUtf16));
                    }
                }
                let odd = odd.first().copied();
                self.kept = usize::from(odd.is_some());
                self.chunk[0] = odd.unwrap_or_default();
            }
        }
        Ok(())
    }
}

/// Appends a CR alone or octets with no CR among them, and leaves out a CR that an LF follows.
fn push(decoded: &mut Vec<u8>, return_waits: &mut bool, bytes: &[u8]) {
    let Some(first) = bytes.first() else { return };
    if *return_waits && *first != b'\n' {
        decoded.push(b'\r');
    }
    *return_waits = bytes == b"\r";
    if !*return_waits {
        decoded.extend_from_slice(bytes);
    }
}

impl<R: Read> Read for Text<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.decoded.len() {
            if self.fill()? == 0 {
                // A CR that waits at the very end would only end the last record, and so does the end.
                return match (self.kept, self.high) {
                    (0, None) => Ok(0),
                    _ => Err(io::Error::other(TextFault::BrokenUtf16)),
                };
            }
            self.decode()?;
        }
        if self.allowance == 0 {
            return Err(io::Error::other(TextFault::RecordTooLong));
        }
        let waiting = &self.decoded[self.taken..];
        let count = waiting.len().min(out.len()).min(self.allowance);
        out[..count].copy_from_slice(&waiting[..count]);
        self.taken += count;
        self.allowance -= count;
        Ok(count)
    }
}
