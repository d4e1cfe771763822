//! Pre-rendered messages, all different, with the places where numbers go. Invariant: what is patched keeps its width, so a
//! message never changes its size, and a run of messages is one slice of one buffer.

use std::ops::Range;

use crate::Outcome;

/// Stands for the eight digits of a message's number.
pub const SEQUENCE: &str = "\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}";
/// Stands for the eight digits of a random recipient.
pub const USER: &str = "\u{2}\u{2}\u{2}\u{2}\u{2}\u{2}\u{2}\u{2}";
/// Stands for the four digits of a stream.
pub const STREAM: &str = "\u{3}\u{3}\u{3}\u{3}";
/// Stands for the four digits of a partner's domain.
pub const DOMAIN: &str = "\u{4}\u{4}\u{4}\u{4}";

/// How many different messages there are.
pub const MESSAGES: usize = 1024;
/// Bytes of all messages together, at which fewer are made.
const BYTES_MAX: usize = 8 << 20;

/// What the messages say.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Bytes of a whole stanza.
    pub size: usize,
    /// The sender's domain; where there are many, `pNNNN.` goes before it.
    pub partner: String,
    /// The recipients' domain.
    pub domain: String,
    /// Streams.
    pub streams: usize,
    /// Domains of partners, which the streams are of in turn.
    pub domains: usize,
    /// Recipients. More than there are messages: a random one each time.
    pub users: usize,
}

/// The messages, one after the other.
#[derive(Clone, Debug)]
pub struct Sheet {
    bytes: Vec<u8>,
    starts: Vec<usize>,
    sequence: Vec<Vec<usize>>,
    user: Vec<Vec<usize>>,
    stream: Vec<Vec<usize>>,
    domain: Vec<Vec<usize>>,
    domains: usize,
    users: u64,
    random: u64,
}

/// Eight decimal digits.
#[must_use]
pub fn digits(mut number: u64) -> [u8; 8] {
    let mut text = [b'0'; 8];
    for digit in text.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    text
}

/// How many different messages there are of a size.
#[must_use]
pub fn count(size: usize) -> usize {
    let fit = BYTES_MAX / size.max(1);
    // A power of two, so that batches divide it.
    if fit >= MESSAGES { MESSAGES } else { 1 << (usize::BITS - 1 - fit.max(16).leading_zeros()) }
}

/// Chat text without anything that XML or SIP would have to escape, different for each message.
#[must_use]
pub fn words(message: usize, length: usize) -> String {
    const WORDS: [&str; 16] = [
        "the", "train", "leaves", "at", "seven", "from", "platform", "two", "and", "arrives", "before",
        "noon", "with", "coffee", "on", "board",
    ];
    let mut random = (message as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
    let mut text = String::with_capacity(length + 10);
    while text.len() < length {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(WORDS[usize::try_from(random >> 60).unwrap_or(0)]);
        text.push(' ');
    }
    text.truncate(length);
    text
}

impl Plan {
    /// The address of the sender of a message.
    #[must_use]
    pub fn sender(&self, message: usize) -> String {
        let host =
            if self.domains > 1 { format!("p{DOMAIN}.{}", self.partner) } else { self.partner.clone() };
        format!("u{message:04}@{host}/x{message:04}")
    }

    /// The local part of the recipient of a message.
    #[must_use]
    pub fn recipient(&self, message: usize) -> String {
        if self.users > MESSAGES {
            format!("u{USER}")
        } else {
            format!("u{:08}", message % self.users.max(1))
        }
    }

    /// The sixteen digits that every message ends with: stream, message, number.
    #[must_use]
    pub fn token(&self, message: usize) -> String {
        let stream = if self.streams > 1 { STREAM } else { "0000" };
        format!("{stream}{message:04}{SEQUENCE}")
    }

    /// The XMPP messages.
    ///
    /// # Errors
    /// When the size is too small for the addresses.
    pub fn stanzas(&self) -> Outcome<Sheet> {
        let text = |message: usize| {
            let head = format!(
                "<message type='chat' id='c{message:04}' from='{}' to='{}@{}'><body>",
                self.sender(message),
                self.recipient(message),
                self.domain
            );
            let tail = format!("{}</body></message>", self.token(message));
            let room = self.size.checked_sub(head.len() + tail.len());
            let room = room.ok_or_else(|| format!("{} bytes are too few for a stanza", self.size))?;
            Ok(format!("{head}{}{tail}", words(message, room)).into_bytes())
        };
        let texts: Outcome<Vec<Vec<u8>>> = (0..count(self.size)).map(text).collect();
        Ok(Sheet::new(&texts?, self.users, self.domains))
    }
}

impl Sheet {
    /// Of texts that hold the stand-ins.
    #[must_use]
    pub fn new(texts: &[Vec<u8>], users: usize, domains: usize) -> Self {
        let places = |text: &[u8], base: usize, mark: &str| {
            memchr::memmem::find_iter(text, mark.as_bytes()).map(|at| base + at).collect::<Vec<usize>>()
        };
        let mut sheet = Self {
            bytes: Vec::new(),
            starts: vec![0],
            sequence: Vec::new(),
            user: Vec::new(),
            stream: Vec::new(),
            domain: Vec::new(),
            domains: domains.max(1),
            users: users as u64,
            random: 1,
        };
        for text in texts {
            let base = sheet.bytes.len();
            sheet.sequence.push(places(text, base, SEQUENCE));
            sheet.user.push(places(text, base, USER));
            sheet.stream.push(places(text, base, STREAM));
            sheet.domain.push(places(text, base, DOMAIN));
            sheet.bytes.extend_from_slice(text);
            sheet.starts.push(sheet.bytes.len());
        }
        sheet
    }

    /// How many messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of one message as they were patched last.
    #[must_use]
    pub fn message(&self, message: usize) -> &[u8] {
        &self.bytes[self.starts[message]..self.starts[message + 1]]
    }

    /// Whether messages differ in more than their number.
    #[must_use]
    pub fn is_varied(&self) -> bool {
        self.user.iter().chain(&self.stream).chain(&self.domain).any(|places| !places.is_empty())
    }

    /// Writes the numbers of some messages in and gives their bytes.
    pub fn run(&mut self, messages: Range<usize>, stream: usize, sequence: u64) -> &[u8] {
        let number = digits(sequence);
        for message in messages.clone() {
            for at in &self.sequence[message] {
                self.bytes[*at..at + 8].copy_from_slice(&number);
            }
        }
        if self.users > MESSAGES as u64 {
            self.draw_users(messages.clone());
        }
        if !self.stream[0].is_empty() {
            let (stream, domain) = (digits(stream as u64), digits((stream % self.domains) as u64));
            for message in messages.clone() {
                for at in &self.stream[message] {
                    self.bytes[*at..at + 4].copy_from_slice(&stream[4..]);
                }
                for at in &self.domain[message] {
                    self.bytes[*at..at + 4].copy_from_slice(&domain[4..]);
                }
            }
        }
        &self.bytes[self.starts[messages.start]..self.starts[messages.end]]
    }

    fn draw_users(&mut self, messages: Range<usize>) {
        for message in messages {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let user = digits(self.random % self.users);
            for at in &self.user[message] {
                self.bytes[*at..at + 8].copy_from_slice(&user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Plan;

    #[test]
    fn all_have_the_size_and_the_numbers() {
        let mut plan = Plan {
            size: 250,
            partner: "partner.example".to_owned(),
            domain: "contoso.com".to_owned(),
            streams: 1,
            domains: 1,
            users: 1000,
        };
        let mut sheet = plan.stanzas().unwrap();
        assert_eq!(sheet.len(), 1024);
        let text = String::from_utf8(sheet.run(7..9, 0, 42).to_vec()).unwrap();
        assert_eq!(text.len(), 500);
        assert!(
            text.contains("0000000700000042</body></message><message")
                && text.contains("'u00000008@contoso.com'")
        );
        plan.streams = 10;
        plan.domains = 2;
        plan.users = 1_000_000;
        plan.size = 65536;
        let mut sheet = plan.stanzas().unwrap();
        assert_eq!(sheet.len(), 128);
        let text = String::from_utf8(sheet.run(0..1, 3, 1).to_vec()).unwrap();
        assert!(
            text.contains("@p0001.partner.example/") && text.ends_with("0003000000000001</body></message>")
        );
        assert!(!text.contains(['\u{1}', '\u{2}', '\u{3}', '\u{4}']));
    }
}
