//! Who has had how much: the order in which connections are read where there is more than a turn holds. Invariant: whoever has asked for less
//! than an equal share of what is read comes before everybody who floods, and among the others it goes round.
//!
//! It is start-time fair queueing: a connection's *rank* is the number of bytes read from it, moved up to where the others are when it has been
//! silent; the lowest rank is read next. One that has used less than its share keeps [`CREDIT_BYTES`] of that, so that after a pause, its own
//! or the machine's, what has come meanwhile is read at once. One that floods never has any.

/// How far below the others a rank may stay: farther than those that flood are apart from each other, which is what one may be read in a turn.
pub(crate) const CREDIT_BYTES: u64 = 1024 * 1024;

/// A rank so far below the others is that of somebody who says little, and not of a flood's neighbour in a round.
const LITTLE_BYTES: u64 = CREDIT_BYTES / 2;

/// Whether somebody is modest is judged anew when those that flood have each been read so much.
const JUDGED_BYTES: u64 = 4 * 1024 * 1024;

/// Who brings less than this part of what each that floods brings is modest.
const MODEST_PART: u64 = 4;

/// Bytes that are read in one turn, unless the last read brings a little more: what passes through the shard together stays in the cache.
pub(crate) const TURN_BYTES: usize = 256 * 1024;

/// Read from one connection at once at most.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// [`TURN_BYTES`] while some are modest and others always have more. All of a turn is written when it is over, so this is what who says
/// little waits for: some hundred stanzas, a tenth of a millisecond. Smaller turns make more calls of the kernel for the same bytes.
pub(crate) const SHARED_TURN_BYTES: usize = 32 * 1024;

/// [`READ_BYTES`] while turns are shared.
pub(crate) const SHARED_READ_BYTES: usize = 8 * 1024;

/// Turns that stay short after somebody modest has said something beside others who always have more: about half a second.
pub(crate) const SHARED_TURNS: u32 = 4096;

/// What is known of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Account {
    /// Bytes read, moved up to where the others are.
    counted: u64,
    /// What had been reached when it was judged last.
    since: u64,
    /// Bytes read since.
    brought: u64,
    modest: bool,
}

impl Account {
    /// Whether it brings far less than those that flood. Streams that are as busy as each other are not modest, though each of them has
    /// nothing more now and then.
    pub(crate) fn is_modest(&self) -> bool {
        self.modest
    }
}

/// Who has had how much, and whether turns are short.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// The highest rank that was read from.
    reached: u64,
    /// Turns that stay short.
    shared: u32,
}

impl Share {
    /// The rank of a connection that has something again.
    pub(crate) fn rank(&self, account: &mut Account) -> u64 {
        account.counted = account.counted.max(self.reached.saturating_sub(CREDIT_BYTES));
        account.counted
    }

    /// So much was read from a connection.
    pub(crate) fn read(&self, account: &mut Account, bytes: usize) {
        account.counted += bytes as u64;
        account.brought += bytes as u64;
        let passed = self.reached.saturating_sub(account.since);
        if passed >= JUDGED_BYTES {
            account.modest = account.brought < passed / MODEST_PART;
            (account.since, account.brought) = (self.reached, 0);
        }
    }

    /// It is the turn of somebody with this rank.
    pub(crate) fn reach(&mut self, rank: u64) {
        self.reached = self.reached.max(rank);
    }

    /// Whether a rank is that of somebody who says little.
    pub(crate) fn is_little(&self, rank: u64) -> bool {
        rank + LITTLE_BYTES <= self.reached
    }

    /// A turn begins.
    pub(crate) fn begin(&mut self) {
        self.shared = self.shared.saturating_sub(1);
    }

    /// Somebody modest has said something while others have more.
    pub(crate) fn shorten(&mut self) {
        self.shared = SHARED_TURNS;
    }

    /// Whether turns are short.
    pub(crate) fn is_short(&self) -> bool {
        self.shared > 0
    }

    /// Bytes of a turn.
    pub(crate) fn turn_bytes(&self) -> usize {
        if self.is_short() { SHARED_TURN_BYTES } else { TURN_BYTES }
    }

    /// Bytes to be read at once.
    pub(crate) fn piece(&self) -> usize {
        if self.is_short() { SHARED_READ_BYTES } else { READ_BYTES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_silent_has_some_credit_and_who_floods_has_none() {
        let mut share = Share::default();
        let reached = 10 * CREDIT_BYTES;
        share.reach(reached);
        let mut silent = Account::default();
        assert_eq!(share.rank(&mut silent), reached - CREDIT_BYTES);
        let mut busy = Account { counted: reached - 1, ..Account::default() };
        assert_eq!(share.rank(&mut busy), reached - 1);
        assert!(share.is_little(reached - CREDIT_BYTES) && !share.is_little(reached - 1));
        share.reach(5);
        assert!(!share.is_little(reached) && share.is_little(0), "what was reached stays reached");
    }

    #[test]
    fn who_brings_less_than_a_quarter_is_modest() {
        let mut share = Share::default();
        let (mut modest, mut slow, mut busy) = Default::default();
        let piece = JUDGED_BYTES / 16;
        let of = |part: u64| usize::try_from(piece * part / 100).unwrap();
        for round in 1..50 {
            share.reach(round * piece);
            for (account, part) in [(&mut modest, 20), (&mut slow, 30), (&mut busy, 100)] {
                share.read(account, of(part));
            }
        }
        assert_eq!([modest, slow, busy].map(|account| account.is_modest()), [true, false, false]);
        // Whoever begins to flood is modest no more when the next judgement is due.
        for round in 50..85 {
            share.reach(round * piece);
            share.read(&mut modest, of(100));
        }
        assert!(!modest.is_modest());
    }

    #[test]
    fn turns_are_short_for_a_while() {
        let mut share = Share::default();
        assert_eq!((share.turn_bytes(), share.piece()), (TURN_BYTES, READ_BYTES));
        share.shorten();
        for _ in 1..SHARED_TURNS {
            share.begin();
            assert_eq!((share.turn_bytes(), share.piece()), (SHARED_TURN_BYTES, SHARED_READ_BYTES));
        }
        share.begin();
        assert!(!share.is_short());
    }
}
