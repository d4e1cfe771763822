//! Who has had how much: the order in which connections are read where there is more than a turn holds. Invariant: whoever says no more than
//! a word at a time, or far less than an equal share, comes before everybody who floods, and among the others it goes round.
//!
//! It is start-time fair queueing: a connection's *rank* is the number of bytes read from it, moved up to where the others are when it has been
//! silent; the lowest rank is read next. Who goes first comes before all of them, so that after a pause, his own or the machine's, what has come
//! meanwhile is read at once. A flood is silent now and then, too, and what it may have for that is little: twenty that have all been given much
//! would be read before everybody else for as long as that lasts.

/// How far below the others the rank of somebody is who goes first.
pub(crate) const CREDIT_BYTES: u64 = 1024 * 1024;

/// How far below the others the rank of anybody else may stay: by what is read at once, which is how far those that flood are apart.
const LENT_BYTES: u64 = READ_BYTES as u64;

/// A rank so far below the others is that of somebody who goes first, and not of a flood's neighbour in a round.
const LITTLE_BYTES: u64 = CREDIT_BYTES / 2;

/// Whether somebody is modest is judged anew when those that flood have each been read so much, or he himself has been read
/// [`ALLOWED_BYTES`].
const JUDGED_BYTES: u64 = 512 * 1024;

/// Who brings less than this while the others bring [`JUDGED_BYTES`] each is modest, if he was before. Whoever is wrongly taken for modest comes
/// before the others with so much.
const ALLOWED_BYTES: u64 = JUDGED_BYTES / 4;

/// How often in turn one has to bring so little to be modest.
const MODEST_TIMES: u64 = 2;

/// A few stanzas: who never has more than this at once, and no more behind it, says one thing after the other. As much as he may say while a
/// long turn lasts; streams that are as busy as each other bring more meanwhile.
const WORD_BYTES: usize = 16 * 1024;

/// How often in turn one has to have no more than a word.
const WORDS: u32 = 8;

/// Bytes that are read in one turn, unless the last read brings a little more: what passes through the shard together stays in the cache.
pub(crate) const TURN_BYTES: usize = 256 * 1024;

/// Read from one connection at once at most.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// [`TURN_BYTES`] while some say words and others have more. All of a turn is written when it is over, so this is what who says
/// little waits for: sixty stanzas or so, a twentieth of a millisecond. Smaller turns make more calls of the kernel for the same bytes.
pub(crate) const SHARED_TURN_BYTES: usize = 16 * 1024;

/// [`READ_BYTES`] while turns are shared.
pub(crate) const SHARED_READ_BYTES: usize = 8 * 1024;

/// Turns that stay short after somebody has said a word while others had more, of those in which some have more: about a quarter of a second.
pub(crate) const SHARED_TURNS: u32 = 4096;

/// What is known of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Account {
    /// Bytes read, moved up to where the others are.
    counted: u64,
    /// What had been reached when it was judged last; nobody knows it before its first read.
    since: Option<u64>,
    /// Bytes read since.
    brought: u64,
    /// How often in turn it has brought little.
    times: u64,
    /// How many reads in turn have brought no more than a word.
    words: u32,
    /// What had been reached when it was held up.
    held: Option<u64>,
}

impl Account {
    /// Whether it comes before those that flood.
    pub(crate) fn goes_first(&self) -> bool {
        self.says_words() || self.times >= MODEST_TIMES
    }

    /// Whether it has had no more than a word each time: then turns are short for its sake.
    pub(crate) fn says_words(&self) -> bool {
        self.words >= WORDS
    }

    /// So much was read at once, where `piece` would have been.
    fn said(&mut self, bytes: usize, piece: usize) {
        self.counted += bytes as u64;
        self.words = if bytes <= WORD_BYTES && bytes < piece { self.words.saturating_add(1) } else { 0 };
    }
}

#[cfg(test)]
impl Account {
    /// Of one who has brought little, and more than words.
    pub(crate) fn modest() -> Self {
        Self { times: MODEST_TIMES, ..Self::default() }
    }
}

/// Who has had how much, and whether turns are short.
#[derive(Debug)]
pub(crate) struct Share {
    /// The highest rank that was read from.
    reached: u64,
    /// Turns that stay short.
    shared: u32,
}

impl Default for Share {
    fn default() -> Self {
        // There are ranks below this one from the beginning.
        Self { reached: CREDIT_BYTES, shared: 0 }
    }
}

impl Share {
    /// The rank of a connection that has something again.
    pub(crate) fn rank(&self, account: &mut Account) -> u64 {
        account.counted = account.counted.max(self.reached.saturating_sub(LENT_BYTES));
        if !account.goes_first() {
            return account.counted;
        }
        // What he has had before the others is not held against him when he is one of them again.
        account.counted = account.counted.min(self.reached);
        self.reached.saturating_sub(CREDIT_BYTES)
    }

    /// A connection is not to be read until [`Self::release`]: what others bring meanwhile says nothing of it. A flood that waits for its recipient
    /// would else be taken for modest, and come before all others when it is read again.
    pub(crate) fn hold(&self, account: &mut Account) {
        account.held = Some(self.reached);
    }

    /// It is read again.
    pub(crate) fn release(&self, account: &mut Account) {
        if let (Some(held), Some(since)) = (account.held.take(), &mut account.since) {
            *since += self.reached.saturating_sub(held);
        }
    }

    /// So much was read from a connection while nobody else had anything: that says nothing of who is modest.
    pub(crate) fn read_alone(&self, account: &mut Account, bytes: usize) {
        account.said(bytes, self.piece());
        if let Some(since) = &mut account.since {
            *since += bytes as u64;
        }
    }

    /// So much was read from a connection while others waited.
    pub(crate) fn read(&self, account: &mut Account, bytes: usize) {
        account.said(bytes, self.piece());
        account.brought += bytes as u64;
        let passed = self.reached.saturating_sub(*account.since.get_or_insert(self.reached));
        let much = account.brought >= ALLOWED_BYTES;
        if much || passed >= JUDGED_BYTES {
            // Who was silent for as long as several judgements take brought little each time.
            account.times = if much { 0 } else { account.times.saturating_add(passed / JUDGED_BYTES) };
            (account.since, account.brought) = (Some(self.reached), 0);
        }
    }

    /// It is the turn of somebody with this rank.
    pub(crate) fn reach(&mut self, rank: u64) {
        self.reached = self.reached.max(rank);
    }

    /// Whether a rank is that of somebody who goes first.
    pub(crate) fn is_little(&self, rank: u64) -> bool {
        rank + LITTLE_BYTES <= self.reached
    }

    /// A turn in which some had more than it holds is over. Others do not count: floods that all wait for a recipient are silent for long, and the
    /// first turn in which they are back is to be short.
    pub(crate) fn had_more(&mut self) {
        self.shared = self.shared.saturating_sub(1);
    }

    /// Somebody has said a word while others have more.
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
    fn who_is_modest_comes_first_and_who_floods_has_no_credit() {
        let mut share = Share::default();
        let reached = 10 * CREDIT_BYTES;
        share.reach(reached);
        let mut modest = Account { counted: 3 * reached, times: MODEST_TIMES, ..Account::default() };
        assert_eq!(share.rank(&mut modest), reached - CREDIT_BYTES);
        modest.times = 0;
        assert_eq!(share.rank(&mut modest), reached, "he floods now, and is one of the others");
        let mut paused = Account::default();
        assert_eq!(share.rank(&mut paused), reached - LENT_BYTES);
        let mut busy = Account { counted: reached + 1, ..Account::default() };
        assert_eq!(share.rank(&mut busy), reached + 1);
        assert!(share.is_little(reached - CREDIT_BYTES) && !share.is_little(reached - LENT_BYTES));
        share.reach(5);
        assert!(!share.is_little(reached) && share.is_little(0), "what was reached stays reached");
    }

    #[test]
    fn who_brings_less_than_a_quarter_goes_first() {
        let mut share = Share::default();
        let (mut modest, mut slow, mut busy) = Default::default();
        let piece = JUDGED_BYTES / 4;
        let of = |part: u64| usize::try_from(piece * part / 100).unwrap();
        for round in 1..200 {
            share.reach(CREDIT_BYTES + round * piece);
            for (account, part) in [(&mut modest, 20), (&mut slow, 30), (&mut busy, 100)] {
                share.read(account, of(part));
            }
            let account: &Account = &modest;
            assert_eq!(account.goes_first(), account.times >= MODEST_TIMES && round > 8, "in round {round}");
        }
        assert_eq!([&modest, &slow, &busy].map(Account::goes_first), [true, false, false]);
        // Whoever begins to flood is modest no more as soon as he has had what is allowed, though nothing is reached meanwhile.
        for _ in 0..=ALLOWED_BYTES / piece {
            share.read(&mut modest, of(100));
        }
        assert!(!modest.goes_first());
    }

    #[test]
    fn what_one_brings_alone_says_nothing_of_him() {
        let mut share = Share::default();
        let mut account = Account { times: 1, since: Some(CREDIT_BYTES), ..Account::default() };
        for _ in 0..100 {
            let rank = share.rank(&mut account);
            share.reach(rank);
            share.read_alone(&mut account, READ_BYTES);
        }
        assert!(share.reached > 10 * JUDGED_BYTES);
        share.read(&mut account, 1);
        assert_eq!((account.times, account.brought), (1, 1));
    }

    #[test]
    fn who_says_one_word_after_the_other_goes_first_however_much_that_is() {
        let mut share = Share::default();
        let mut account = Account::default();
        for word in 0..1000 {
            assert_eq!(account.says_words(), word >= WORDS);
            share.reach(u64::from(word) * 100);
            share.read(&mut account, WORD_BYTES);
        }
        assert!(account.goes_first() && account.times == 0);
        share.read(&mut account, WORD_BYTES + 1);
        assert!(!account.goes_first());
        // Where less is read at once, as much as that is no word: there may be more behind it.
        share.shorten();
        for _ in 0..2 * WORDS {
            share.read(&mut account, SHARED_READ_BYTES);
        }
        assert!(!account.says_words());
    }

    #[test]
    fn nobody_is_known_before_his_first_read() {
        let mut share = Share::default();
        share.reach(100 * JUDGED_BYTES);
        let mut fresh = Account::default();
        share.read(&mut fresh, 1);
        assert!(!fresh.goes_first());
        share.reach(102 * JUDGED_BYTES);
        share.read(&mut fresh, 1);
        assert!(fresh.goes_first());
    }

    #[test]
    fn who_was_held_up_was_not_modest_meanwhile() {
        for held in [false, true] {
            let mut share = Share::default();
            let mut flood = Account::default();
            for _ in 0..4 {
                share.read(&mut flood, READ_BYTES);
            }
            if held {
                share.hold(&mut flood);
            }
            share.reach(100 * JUDGED_BYTES);
            share.release(&mut flood);
            share.read(&mut flood, READ_BYTES);
            assert_eq!(flood.goes_first(), !held, "silence alone is modest");
        }
        // Who was modest before is so again, and what he had brought still counts.
        let mut share = Share::default();
        let mut modest = Account { times: MODEST_TIMES, since: Some(CREDIT_BYTES), ..Account::default() };
        for round in 0..4 {
            assert!(modest.goes_first(), "round {round}");
            share.read(&mut modest, READ_BYTES / 2);
            share.hold(&mut modest);
            share.reach(CREDIT_BYTES * (round + 2));
            share.release(&mut modest);
        }
        assert!(!modest.goes_first(), "a flood in pieces");
        // Who closed while he was held up leaves nothing to the next one in his place.
        let mut account = Account { since: Some(CREDIT_BYTES), ..Account::default() };
        for _ in 0..2 {
            share.hold(&mut account);
            share.reach(share.reached + 100 * JUDGED_BYTES);
        }
        share.release(&mut account);
        assert_eq!((account.since, account.held), (Some(CREDIT_BYTES + 100 * JUDGED_BYTES), None));
    }

    #[test]
    fn turns_are_short_for_a_while() {
        let mut share = Share::default();
        assert_eq!((share.turn_bytes(), share.piece()), (TURN_BYTES, READ_BYTES));
        share.shorten();
        for _ in 1..SHARED_TURNS {
            share.had_more();
            assert_eq!((share.turn_bytes(), share.piece()), (SHARED_TURN_BYTES, SHARED_READ_BYTES));
        }
        share.had_more();
        assert!(!share.is_short());
    }
}
