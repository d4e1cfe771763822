//! Doubt whether anybody is there still (XS-18). A connection that nothing was heard on for a while may be gone: its peer closed it for being
//! idle just now, or a firewall has forgotten it. Then the kernel takes what is written all the same, and it is lost. Invariant: what
//! is written first after such a silence is reported as written when the peer's system has acknowledged all of it, and not when the kernel
//! has taken it; so what nobody took goes out again on a fresh connection, once. On a busy connection nothing is asked.

#![expect(unsafe_code, reason = "one call asks the kernel how much of what it took has not arrived")]

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// Silence after which a connection is doubted. Tests have less time.
pub(crate) const QUIET: Duration =
    if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(1) };

/// How soon it is looked again whether all has arrived; twice as long each time.
const LOOK_SOON: Duration = Duration::from_millis(5);

/// The longest it is waited with that.
const LOOK_LATE: Duration = Duration::from_secs(1);

/// What is thought of one connection.
#[derive(Debug, Default)]
pub(crate) enum Doubt {
    /// It moved bytes lately.
    #[default]
    None,
    /// It has been quiet since.
    Quiet(Instant),
    /// Something was written after a silence: so much, in all, that was not reported.
    Open(Option<u64>),
}

impl Doubt {
    /// Called now and then: whether bytes moved since it was called last.
    pub(crate) fn rest(&mut self, now: Instant, moved: bool) {
        match self {
            Self::None if !moved => *self = Self::Quiet(now),
            Self::Quiet(_) if moved => *self = Self::None,
            _ => (),
        }
    }

    /// Something came from the peer.
    pub(crate) fn heard(&mut self) {
        if matches!(self, Self::Quiet(_)) {
            *self = Self::None;
        }
    }

    /// Something is about to be written. True when that is doubtful, and was not before.
    pub(crate) fn begin(&mut self) -> bool {
        let Self::Quiet(since) = *self else { return false };
        let is_long = crate::clock::now().saturating_duration_since(since) >= QUIET;
        *self = if is_long { Self::Open(None) } else { Self::None };
        is_long
    }

    /// So much was written in all: what is to be reported of it now.
    pub(crate) fn written(&mut self, total: u64, socket: &impl AsFd) -> Option<u64> {
        if let Self::Open(withheld) = self {
            *withheld = Some(total);
            return self.look(socket);
        }
        Some(total)
    }

    /// What is to be reported, as all of it has arrived meanwhile.
    pub(crate) fn look(&mut self, socket: &impl AsFd) -> Option<u64> {
        let Self::Open(Some(total)) = *self else { return None };
        if unacknowledged(socket) > 0 {
            return None;
        }
        *self = Self::None;
        Some(total)
    }

    /// Whether it is still open.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }
}

/// The connections that are doubted.
#[derive(Debug)]
pub(crate) struct Doubted<T> {
    list: Vec<T>,
    every: Duration,
    due: Option<Instant>,
}

impl<T> Default for Doubted<T> {
    fn default() -> Self {
        Self { list: Vec::new(), every: LOOK_SOON, due: None }
    }
}

impl<T> Doubted<T> {
    /// One more.
    pub(crate) fn add(&mut self, connection: T) {
        self.list.push(connection);
        self.every = LOOK_SOON;
        self.due = Some(crate::clock::now() + self.every);
    }

    /// When to look at them.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Those to be looked at now. [`Self::keep`] takes back what is still doubted.
    pub(crate) fn take(&mut self) -> Option<Vec<T>> {
        let due = self.due?;
        (crate::clock::now() >= due).then(|| std::mem::take(&mut self.list))
    }

    /// Those that are still doubted.
    pub(crate) fn keep(&mut self, list: Vec<T>) {
        self.list = list;
        self.every = (self.every * 2).min(LOOK_LATE);
        self.due = (!self.list.is_empty()).then(|| crate::clock::now() + self.every);
    }
}

/// Bytes that the kernel has taken and the peer's system has not acknowledged. Nothing where it does not say.
fn unacknowledged(socket: &impl AsFd) -> u64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as it is borrowed, and the kernel writes one int.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { u64::try_from(bytes).unwrap_or(0) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_words_after_a_silence_are_doubted() {
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let long_ago = crate::clock::now() - QUIET;
        let mut doubt = Doubt::default();
        assert!(!doubt.begin(), "a new connection");
        assert_eq!(doubt.written(10, &socket), Some(10));
        doubt.rest(long_ago, true);
        assert!(!doubt.begin(), "a busy one");
        doubt.rest(crate::clock::now(), false);
        assert!(!doubt.begin(), "a short silence");
        doubt.rest(long_ago, false);
        doubt.heard();
        assert!(!doubt.begin(), "somebody is there");
        doubt.rest(long_ago, false);
        assert!(doubt.begin() && doubt.is_open() && !doubt.begin());
        assert_eq!(doubt.written(20, &socket), Some(20), "all of it has arrived");
        assert!(!doubt.is_open());
    }

    #[test]
    fn who_is_doubted_for_long_is_looked_at_less_and_less() {
        let mut doubted = Doubted::default();
        assert!(doubted.take().is_none() && doubted.due().is_none());
        doubted.add(1);
        let first = doubted.due().unwrap();
        for _ in 0..20 {
            doubted.keep(vec![1]);
        }
        assert!(doubted.due().unwrap() > first && doubted.every == LOOK_LATE);
        doubted.add(2);
        assert_eq!(doubted.every, LOOK_SOON);
        doubted.keep(Vec::new());
        assert!(doubted.due().is_none());
    }
}
