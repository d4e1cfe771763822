//! The way the requests of a peer come, remembered: their lines of Via without the values of the branches, which change with each.
//! Invariant: lines that are the same but for branches that are tokens read the same, branches aside; nothing else is said to be known.

use std::ops::Range;

use super::lexer::{Items, is_token};
use super::{HeaderName, Message, Via};

/// The lines of Via of a request that was checked in full.
#[derive(Debug)]
pub(crate) struct Hops {
    /// What stands before and behind the branch of each line, one behind the other: it is read together.
    text: Vec<u8>,
    /// The lengths of both.
    lines: [(u16, u16); HOPS_MAX],
    count: usize,
    top: Top,
}

/// Where things are in the topmost line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Top {
    transport: Range<usize>,
    host: Range<usize>,
    port: Option<u16>,
    /// Where the parameters begin.
    params: usize,
    branch: Range<usize>,
}

/// Requests that came by more hops are read each time.
const HOPS_MAX: usize = 4;
/// So are those with longer lines.
const LINE_BYTES_MAX: usize = 512;
/// What a branch must be more than (RFC 3261 §8.1.1.7).
const COOKIE: &[u8] = b"z9hG4bK";

impl Hops {
    /// The way a request came that was checked in full. `None`: it is read each time.
    pub(crate) fn of(request: &Message) -> Option<Self> {
        let mut hops = Self { text: Vec::new(), lines: [(0, 0); HOPS_MAX], count: 0, top: Top::default() };
        for line in request.lines(HeaderName::Via) {
            if hops.count == HOPS_MAX || line.len() > LINE_BYTES_MAX || Items::new(line, true).count() != 1 {
                return None;
            }
            let via = Via::parse(line).ok()?;
            let place = |text: &str| {
                let start = (text.as_ptr() as usize).checked_sub(line.as_ptr() as usize)?;
                (line.get(start..start + text.len())? == text.as_bytes()).then_some(start..start + text.len())
            };
            let branch = place(via.raw_branch().filter(|branch| is_token(branch.as_bytes()))?)?;
            if hops.count == 0 {
                hops.top = Top {
                    transport: place(via.transport)?,
                    host: place(via.host)?,
                    port: via.port,
                    params: place(via.params.as_str())?.start,
                    branch: branch.clone(),
                };
                if via.version != VERSION {
                    return None;
                }
            }
            let (before, after) = (&line[..branch.start], &line[branch.end..]);
            hops.lines[hops.count] = (u16::try_from(before.len()).ok()?, u16::try_from(after.len()).ok()?);
            hops.count += 1;
            hops.text.extend_from_slice(before);
            hops.text.extend_from_slice(after);
        }
        (hops.count > 0).then_some(hops)
    }

    /// Whether a request came the same way; then where things are in its topmost line.
    pub(crate) fn top_of(&self, request: &Message) -> Option<Top> {
        let mut lines = request.lines(HeaderName::Via);
        let mut top = None;
        let mut text = &self.text[..];
        for (before, after) in self.lines.iter().take(self.count) {
            let line = lines.next()?;
            let (before, rest) = text.split_at_checked(usize::from(*before))?;
            let (after, rest) = rest.split_at_checked(usize::from(*after))?;
            text = rest;
            let branch = line.strip_prefix(before)?.strip_suffix(after)?;
            if !is_token(branch) || branch == COOKIE {
                return None;
            }
            let end = before.len() + branch.len();
            top.get_or_insert_with(|| Top { branch: before.len()..end, ..self.top.clone() });
        }
        top.filter(|_| lines.next().is_none())
    }
}

impl Default for Top {
    fn default() -> Self {
        Self { transport: 0..0, host: 0..0, port: None, params: 0, branch: 0..0 }
    }
}

/// The version of every Via that is remembered.
const VERSION: &str = "2.0";

impl Top {
    /// The topmost Via of the request this was said of.
    pub(crate) fn read<'a>(&self, request: &'a Message) -> Option<Via<'a>> {
        let line = std::str::from_utf8(request.lines(HeaderName::Via).next()?).ok()?;
        Some(Via::of_parts(
            (VERSION, line.get(self.transport.clone())?),
            (line.get(self.host.clone())?, self.port),
            (line.get(self.params..)?, line.get(self.branch.clone())?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn request(vias: &[&str]) -> Message {
        let vias: String = vias.iter().map(|via| format!("Via: {via}\r\n")).collect();
        Message::parse(Bytes::from(format!("MESSAGE sip:a@b SIP/2.0\r\n{vias}Content-Length: 0\r\n\r\n")))
            .expect("a request")
    }

    const FIRST: &str = "SIP/2.0/TLS pool.contoso.com:5061;branch=z9hG4bK01.A;branched=FALSE;ms-internal-info=\"a,b;branch=c\"";

    #[test]
    fn the_same_way_reads_as_before_but_for_its_branches() {
        let second = "SIP/2.0/TLS [2001:db8::1];received=1;Branch=z9hG4bKq";
        let hops = Hops::of(&request(&[FIRST, second])).expect("a way");
        let again = request(&[&FIRST.replace("01.A", "-~other"), &second.replace("4bKq", "4bKqq")]);
        let top = hops.top_of(&again).expect("the same way");
        assert_eq!(top.read(&again), again.via().ok());
        assert_eq!(
            again.via().map(|via| via.branch().map(|branch| branch.into_owned())),
            Ok(Some("z9hG4bK-~other".to_owned()))
        );
    }

    #[test]
    fn another_way_is_read_anew() {
        let hops = Hops::of(&request(&[FIRST])).expect("a way");
        let others: &[&[&str]] = &[
            &[],
            &[FIRST, FIRST],
            &[&FIRST.replace("5061", "5062")],
            &[&FIRST.replace("z9hG4bK01.A", "")],
            &[&FIRST.replace("z9hG4bK01.A", "z9hG4bK")],
            &[&FIRST.replace("z9hG4bK01.A", "\"z9hG4bK01.A\"")],
            &[&FIRST.replace("z9hG4bK01.A", "a;b=c")],
            &[&FIRST.replace("z9hG4bK01.A", "a, SIP/2.0/TLS x;branch=b")],
            &[&FIRST.replace("a,b", "a,")],
        ];
        for vias in others {
            assert_eq!(hops.top_of(&request(vias)), None, "{vias:?}");
        }
    }

    #[test]
    fn ways_that_are_not_plain_are_not_remembered() {
        for vias in [
            &["SIP/2.0/TLS a;branch=\"z9hG4bK1\""][..],
            &["SIP/2.0/TLS a"],
            &["SIP/3.0/TLS a;branch=z9hG4bK1"],
            &["SIP/2.0/TLS a;branch=z9hG4bK1, SIP/2.0/TLS b;branch=z9hG4bK2"],
            &[
                "SIP/2.0/TLS a;branch=1",
                "SIP/2.0/TLS a;branch=1",
                "SIP/2.0/TLS a;branch=1",
                "SIP/2.0/TLS a;branch=1",
                "SIP/2.0/TLS a;branch=1",
            ],
            &[&format!("SIP/2.0/TLS a;branch=1;x={}", "y".repeat(LINE_BYTES_MAX))],
        ] {
            assert!(Hops::of(&request(vias)).is_none(), "{vias:?}");
        }
    }
}
