//! What arrived. Invariant: a message is counted only when it is the next of its pair of users, or, with many streams, the next of its
//! stream; anything else ends the run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Thread;

use memchr::memmem::Finder;

use crate::Outcome;
use crate::hist::Histogram;
use crate::sheet::Sheet;

const END: &[u8] = b"</message>";
const BODY_END: &[u8] = b"</body>";
/// Every so many messages one is compared as a whole.
const SAMPLE: u64 = 64;

/// What sender, receiver and the one who measures share.
#[derive(Debug, Default)]
pub struct Shared {
    /// Messages that arrived.
    pub received: AtomicU64,
    /// Bytes that arrived, as the receiver read them.
    pub bytes: AtomicU64,
    /// Messages that came back as errors.
    pub bounced: AtomicU64,
    /// Final responses of a SIP peer.
    pub answered: AtomicU64,
    /// Connections that are authenticated at the receiving side.
    pub ready: AtomicU64,
    /// The count at which the sender wants to be woken; 0: it does not sleep.
    pub wake_at: AtomicU64,
    /// Ends all threads.
    pub stop: AtomicBool,
    /// When the first message of a paced span was due, in nanoseconds; 0: not paced.
    pub pace_start: AtomicU64,
    /// Picoseconds between messages.
    pub pace_interval: AtomicU64,
    /// The index of the first message of the span.
    pub pace_base: AtomicU64,
    /// Times from due to arrived.
    pub times: Mutex<Histogram>,
    /// What went wrong first.
    pub failed: Mutex<Option<String>>,
    /// The sender.
    pub sender: Mutex<Option<Thread>>,
}

impl Shared {
    /// Remembers the first failure.
    pub fn fail(&self, why: String) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.stop.store(true, Ordering::Release);
    }

    /// The failure, if there is one.
    ///
    /// # Errors
    /// That failure.
    pub fn check(&self) -> Outcome<()> {
        match &*self.failed.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(why) => Err(why.clone()),
            None => Ok(()),
        }
    }

    /// Counts a batch and wakes the sender if he waits for it.
    pub fn arrived(&self, messages: u64, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let total = self.received.fetch_add(messages, Ordering::AcqRel) + messages;
        let wake_at = self.wake_at.load(Ordering::Acquire);
        if wake_at != 0 && total >= wake_at {
            self.wake_at.store(0, Ordering::Release);
            if let Some(thread) = &*self.sender.lock().unwrap_or_else(PoisonError::into_inner) {
                thread.unpark();
            }
        }
    }
}

/// Checks and counts. One, in the receiving thread.
#[derive(Debug)]
pub struct Ledger {
    next: Vec<u32>,
    by_stream: bool,
    messages: u64,
    end: Finder<'static>,
    body_end: Finder<'static>,
    /// The messages, when the peer has to pass them on byte for byte.
    exact: Option<Sheet>,
    since_sample: u64,
}

/// Eight digits as a number; anything else gives a number that nobody expects.
fn number(text: [u8; 8]) -> u32 {
    let value = u64::from_le_bytes(text).wrapping_sub(0x3030_3030_3030_3030);
    if value & 0xF0F0_F0F0_F0F0_F0F0 != 0 {
        return u32::MAX;
    }
    let value = (value * 10 + (value >> 8)) & 0x00FF_00FF_00FF_00FF;
    let value = (value * 100 + (value >> 16)) & 0x0000_FFFF_0000_FFFF;
    u32::try_from((value * 10_000 + (value >> 32)) & 0xFFFF_FFFF).unwrap_or(u32::MAX)
}

impl Ledger {
    /// For so many messages on so many streams. `first` is the number of everybody's first message.
    #[must_use]
    pub fn new(messages: usize, streams: usize, first: u32, exact: Option<Sheet>) -> Self {
        let by_stream = streams > 1;
        let next = if by_stream {
            vec![first * u32::try_from(messages).unwrap_or(u32::MAX); streams]
        } else {
            vec![first; messages]
        };
        Self {
            next,
            by_stream,
            messages: messages as u64,
            end: Finder::new(END),
            body_end: Finder::new(BODY_END),
            exact: exact.filter(|sheet| !sheet.is_varied()),
            since_sample: 0,
        }
    }

    /// Counts one message by its sixteen digits.
    ///
    /// # Errors
    /// When it is not the next one.
    pub fn token(&mut self, token: &[u8], now: u64, shared: &Shared) -> Outcome<()> {
        let (Some(place), Some(sequence)) = (token.first_chunk::<8>(), token.last_chunk::<8>()) else {
            return Err("a message without its number".to_owned());
        };
        let (place, sequence) = (number(*place), number(*sequence));
        let (stream, message) = (place / 10_000, place % 10_000);
        let index = u64::from(sequence) * self.messages + u64::from(message);
        let (slot, value) = if self.by_stream {
            (stream, u32::try_from(index).unwrap_or(u32::MAX))
        } else {
            (message, sequence)
        };
        match self.next.get_mut(slot as usize) {
            Some(next) if *next == value => *next += 1,
            Some(next) => {
                return Err(format!(
                    "out of order: stream {stream}, pair {message}: {value} where {next} was due"
                ));
            }
            None => return Err(format!("a number nobody sent: {:?}", String::from_utf8_lossy(token))),
        }
        let start = shared.pace_start.load(Ordering::Acquire);
        if start != 0 {
            let since = index.saturating_sub(shared.pace_base.load(Ordering::Relaxed));
            let due = start + since * shared.pace_interval.load(Ordering::Relaxed) / 1000;
            let mut times = shared.times.lock().unwrap_or_else(PoisonError::into_inner);
            times.add(now.saturating_sub(due));
        }
        Ok(())
    }

    /// Counts the whole XMPP messages that the bytes begin with. Gives the number of messages and their length.
    ///
    /// # Errors
    /// When one is not the next, has no number or is not what was sent.
    pub fn stanzas(&mut self, bytes: &[u8], now: u64, shared: &Shared) -> Outcome<(u64, usize)> {
        let (mut count, mut at) = (0, 0);
        while bytes[at..].starts_with(b"<message ") {
            let Some(found) = self.end.find(&bytes[at..]) else { break };
            let stanza = &bytes[at..at + found];
            let text_end = if stanza.ends_with(BODY_END) {
                found - BODY_END.len()
            } else {
                self.body_end
                    .find(stanza)
                    .ok_or_else(|| format!("no body: {}", String::from_utf8_lossy(stanza)))?
            };
            let token = text_end.checked_sub(16).map(|start| &stanza[start..text_end]);
            self.token(token.unwrap_or_default(), now, shared)?;
            self.since_sample += 1;
            if self.since_sample >= SAMPLE {
                self.since_sample = 0;
                self.compare(&bytes[at..at + found + END.len()])?;
            }
            at += found + END.len();
            count += 1;
        }
        Ok((count, at))
    }

    /// Holds a stanza against what was sent, but for its number, whose place is known from its end.
    fn compare(&self, stanza: &[u8]) -> Outcome<()> {
        let Some(sheet) = &self.exact else { return Ok(()) };
        let tail = BODY_END.len() + END.len();
        let Some(text) = stanza.len().checked_sub(tail + 8) else {
            return Err("a stanza too short".to_owned());
        };
        let message = stanza[text - 4..text].iter().fold(0, |sum, digit| sum * 10 + usize::from(digit & 15));
        let sent = sheet.message(message);
        if sent.len() == stanza.len()
            && sent[..text] == stanza[..text]
            && sent[text + 8..] == stanza[text + 8..]
        {
            return Ok(());
        }
        Err(format!("changed on the way: {}", String::from_utf8_lossy(stanza)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Ledger, Shared, number};
    use crate::sheet::Plan;

    fn plan() -> Plan {
        Plan {
            size: 250,
            partner: "partner.example".to_owned(),
            domain: "contoso.com".to_owned(),
            streams: 1,
            domains: 1,
            users: 1000,
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(number(*b"00000000"), 0);
        assert_eq!(number(*b"12345678"), 12_345_678);
        assert_eq!(number(*b"1234567x"), u32::MAX);
        assert_eq!(number(*b"1234567:"), 12_345_680);
    }

    #[test]
    fn counts_in_order_and_refuses_gaps_repetitions_and_changes() {
        let mut sheet = plan().stanzas().unwrap();
        let shared = Shared::default();
        let mut ledger = Ledger::new(1024, 1, 0, Some(sheet.clone()));
        for sequence in 0..3 {
            let bytes = sheet.run(0..1024, 0, sequence).to_vec();
            assert_eq!(ledger.stanzas(&bytes, 0, &shared), Ok((1024, bytes.len())));
        }
        let bytes = sheet.run(0..2, 0, 3).to_vec();
        assert_eq!(ledger.stanzas(&bytes[..499], 0, &shared), Ok((1, 250)));
        assert!(ledger.stanzas(&bytes[..250], 0, &shared).unwrap_err().contains("out of order"));
        let bytes = sheet.run(1..2, 0, 4).to_vec();
        assert!(ledger.stanzas(&bytes, 0, &shared).unwrap_err().contains("3 was due"));
        let text = String::from_utf8(sheet.run(2..66, 0, 3).to_vec()).unwrap();
        let bytes = text.replace("type='chat'", "type=\"chat\"").into_bytes();
        assert!(ledger.stanzas(&bytes, 0, &shared).unwrap_err().contains("changed"));
    }
}
