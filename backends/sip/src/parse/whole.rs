//! Cuts and reads a message in one walk, where it lies whole in what came and is written as nearly all are. Invariant: this says what
//! [`crate::frame::Framer::next`] and [`Parts::read`] say together, or nothing: then those are asked. It never refuses.

use super::lexer::{is_token, trim};
use super::marks::{self, BLOCK};
use super::scan::{Header, Parts, span};
use super::{HeaderName, values};
use crate::frame::Limits;

impl Parts {
    /// Reads the message at the start of `bytes`; gives its length. `None`: it is not all here, has a fault or a fold, or is larger
    /// than the limits, which is for others to say.
    pub(crate) fn read_whole(&mut self, bytes: &[u8], limits: &Limits) -> Option<usize> {
        self.clear();
        let mut walk = Walk { line: 0, colon: None, length: None };
        for (block, octets) in bytes.chunks(BLOCK).enumerate() {
            let base = block * BLOCK;
            if base > limits.header_bytes_max {
                return None;
            }
            let mut stops = match octets.try_into() {
                Ok(octets) => marks::stops(octets),
                Err(_) => {
                    let mut padded = [b' '; BLOCK];
                    padded[..octets.len()].copy_from_slice(octets);
                    marks::stops(&padded)
                }
            };
            while stops != 0 {
                let at = base + stops.trailing_zeros() as usize;
                stops &= stops - 1;
                match (octets.get(at - base)?, bytes.get(at + 1)) {
                    (b':', _) if walk.colon.is_none() => walk.colon = Some(at),
                    (b':' | b'\t', _) => {}
                    (b'\r', Some(b'\n')) if at == walk.line => {
                        return self.end_head(bytes, at + 2, &walk, limits);
                    }
                    (b'\r', Some(b'\n')) => {
                        self.take_line(bytes, at, &mut walk, limits)?;
                        (walk.line, walk.colon) = (at + 2, None);
                    }
                    (b'\n', _) if at + 1 == walk.line => {}
                    _ => return None,
                }
            }
        }
        None
    }

    fn take_line(&mut self, bytes: &[u8], end: usize, walk: &mut Walk, limits: &Limits) -> Option<()> {
        let start = walk.line;
        if start == 0 {
            self.read_start(bytes, 0..end).ok()?;
            return (self.flaw.is_none() && self.version_known).then_some(());
        }
        let colon = walk.colon?;
        let label = bytes.get(start..colon)?;
        let (name, is_ours) = HeaderName::read(label);
        // Spaces in front of the colon, or of a line that goes on with the one before, are in no token.
        if name == HeaderName::Other && !is_token(label) {
            return None;
        }
        let value = bytes.get(colon + 1..end)?;
        let (value, is_usual) = match value {
            [b' ', first, .., last] if *first > b' ' && *last > b' ' => (colon + 2..end, is_ours),
            _ => {
                let skip = value.iter().take_while(|byte| b" \t".contains(byte)).count();
                (colon + 1 + skip..colon + 1 + skip + trim(value).len(), false)
            }
        };
        if name == HeaderName::ContentLength {
            let length = values::number_of(bytes.get(value.clone())?)?;
            walk.length = Some(usize::try_from(length).ok()?);
        }
        if !self.mark(name) && name.is_single() || self.headers.len() >= limits.header_count_max {
            return None;
        }
        let label = span(start..colon);
        self.headers.push(Header { name, is_unfolded: false, is_usual, label, value: span(value) });
        Some(())
    }

    fn end_head(&mut self, bytes: &[u8], head: usize, walk: &Walk, limits: &Limits) -> Option<usize> {
        let length = walk.length.filter(|length| *length <= limits.body_bytes_max)?;
        let total = head.checked_add(length)?;
        // Spans hold 32 bits.
        if walk.line == 0
            || head > limits.header_bytes_max
            || total > bytes.len()
            || u32::try_from(total).is_err()
        {
            return None;
        }
        self.body = span(head..total);
        Some(total)
    }
}

/// How far the walk is.
struct Walk {
    /// Where the line began.
    line: usize,
    /// Its first colon, once that was met.
    colon: Option<usize>,
    /// The Content-Length.
    length: Option<usize>,
}

#[cfg(test)]
mod tests;
