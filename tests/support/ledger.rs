//! Who said what and what became of it. Invariant: the ledger learns from the fake peers and from the edges of the backends, never
//! from the shard, so it can contradict the shard.
//!
//! What is promised, and checked here:
//! * every stanza the router took in is read by its recipient's server, or its sender is told, or its kind is one nobody is told of;
//! * between two users, what came in on one connection is read in that order (by any server: also across a move);
//! * nothing is read twice or both read and bounced, except where the router could not know: the peer had read the stanza when
//!   its connection ended, and the news of it (`Written`, an acknowledgement) had not reached the shard. Such a stanza is `doubtful`;
//! * a stanza is read at a home its recipient had between the moment it was said and the moment it was read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use turnout_core::home::HomeId;

/// One stanza, by its number.
#[derive(Clone, Debug)]
pub struct Said {
    /// `m` message, `h` headline, `p` presence, `q` iq get, `r` iq result, `e` error.
    pub kind: char,
    /// Bare sender.
    pub from: String,
    /// Bare recipient or domain.
    pub to: String,
    /// The connection it was said on, once it was.
    pub conn: Option<u64>,
    /// When it was said, among all that was.
    pub turn: u64,
    /// Homes the recipient has had since.
    pub homes: Vec<HomeId>,
    /// The router took it in.
    pub arrived: u32,
    /// Times its recipient's server read it.
    pub read: u32,
    /// Times its sender was told that it was not delivered.
    pub bounced: u32,
    /// It may be read again.
    pub doubtful: bool,
    /// A backend that kept it said that its next hop has it.
    pub done: bool,
    /// The router has acknowledged it.
    pub acknowledged: bool,
    /// Its sender's server has read that it was not delivered.
    pub told: bool,
    /// The process died while it had found no end, and nobody was told that it has it.
    pub excused: bool,
    /// It was given up when the process died, or just before: it may be read behind later ones.
    pub late: bool,
    /// When its sender was told last.
    pub bounced_at: u64,
    /// In which life of the process it was said.
    pub life: usize,
}

impl Said {
    /// Nobody is told of its kind, or it was for the router itself.
    fn may_be_nowhere(&self) -> bool {
        matches!(self.kind, 'e' | 'h' | 'p' | 'r') || !self.to.contains('@')
    }
}

/// All of it.
#[derive(Debug, Default)]
pub struct Book {
    said: Vec<Said>,
    /// Last one read and when it was said, by sender, recipient and the connection it came in on.
    order: BTreeMap<(String, String, u64), (u64, usize)>,
    turns: u64,
    /// The process starts again when it has died, with what is on disk.
    durable: bool,
    life: usize,
    /// Taken in by earlier lives.
    arrived_before: usize,
    /// Counts what happens.
    events: u64,
    /// When a way out to a domain came to nothing last: an error for somebody there may have ended with it.
    cut: BTreeMap<String, u64>,
    /// Who lives elsewhere than at first.
    movers: BTreeSet<String>,
    /// By sender and recipient: the latest life of which something was read.
    read_of: BTreeMap<(String, String), usize>,
    /// Stanzas kept by the backends of a shard that the router made.
    kept_made: BTreeMap<u16, i64>,
    /// Moves that ran out of time: order is not promised for those users any more.
    unordered: BTreeSet<String>,
    /// The last things that happened, for the report of a failure.
    log: Vec<String>,
}

/// Shared by peers, backends and the simulator.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Book>>);

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A stanza is about to be said; its number.
    pub fn say(&self, kind: char, from: &str, to: &str, home: Option<HomeId>) -> usize {
        let mut book = self.book();
        book.said.push(Said {
            kind,
            from: from.to_owned(),
            to: to.to_owned(),
            conn: None,
            turn: 0,
            homes: home.into_iter().collect(),
            arrived: 0,
            read: 0,
            bounced: 0,
            doubtful: false,
            done: false,
            acknowledged: false,
            told: false,
            excused: false,
            bounced_at: 0,
            late: false,
            life: 0,
        });
        book.said.len() - 1
    }

    /// What was said under a number.
    pub fn get(&self, number: usize) -> Option<Said> {
        self.book().said.get(number).cloned()
    }

    /// It was said on this connection.
    pub fn said_on(&self, number: usize, conn: u64) {
        let mut book = self.book();
        book.turns += 1;
        let turn = book.turns;
        let life = book.life;
        let said = &mut book.said[number];
        (said.conn, said.turn, said.life) = (Some(conn), turn, life);
    }

    /// The router took it in.
    pub fn arrived(&self, number: usize) {
        let said = &mut self.book().said[number];
        said.arrived += 1;
        assert_eq!(said.arrived, 1, "stanza {number} was taken in twice");
    }

    /// Its recipient's server read it.
    pub fn read(&self, number: usize, home: Option<HomeId>) {
        let mut book = self.book();
        book.log.push(format!("read {number} at {home:?}"));
        let said = &mut book.said[number];
        said.read += 1;
        assert!(said.arrived > 0, "stanza {number} was read and never taken in");
        assert!(said.read == 1 || said.doubtful, "stanza {number} was read twice: {said:?}");
        assert!(said.bounced == 0 || said.doubtful, "stanza {number} was bounced and read: {said:?}");
        if let Some(home) = home {
            assert!(said.homes.contains(&home), "stanza {number} was read at {home:?}: {said:?}");
        }
        let again = said.read > 1 || said.late;
        let (from, to) = (said.from.clone(), said.to.clone());
        let life = said.life;
        let pair = (from.clone(), to.clone());
        let key = (from, to, said.conn.unwrap_or_default());
        let this = (said.turn, number);
        if again || book.unordered.contains(&key.1) {
            return;
        }
        let latest = book.read_of.entry(pair).or_default();
        assert!(life >= *latest, "stanza {number} waited while the process died, and was overtaken");
        *latest = life;
        if let Some(last) = book.order.insert(key, this) {
            assert!(
                last.0 < this.0,
                "stanza {number} was read after {}, of the same pair: {:?}",
                last.1,
                book.said[number]
            );
        }
    }

    /// Its sender was told.
    pub fn bounced(&self, number: usize) {
        let mut book = self.book();
        book.log.push(format!("bounced {number}"));
        book.events += 1;
        let event = book.events;
        let said = &mut book.said[number];
        said.bounced += 1;
        said.bounced_at = event;
        assert!(said.bounced == 1 || said.doubtful, "stanza {number} was bounced twice: {said:?}");
        assert!(said.read == 0 || said.doubtful, "stanza {number} was read and bounced: {said:?}");
    }

    /// The backend that kept it heard that it was taken.
    pub fn done(&self, number: usize) {
        self.book().said[number].done = true;
    }

    /// The connection it was read on ended; unless the answer was heard it may be read again.
    pub fn doubt_unless_done(&self, number: usize) {
        let said = &mut self.book().said[number];
        said.doubtful |= !said.done;
    }

    /// The router has acknowledged it to who said it: what becomes of it must be known by now.
    pub fn acknowledged(&self, number: usize) {
        let mut book = self.book();
        let durable = book.durable;
        let said = &mut book.said[number];
        said.acknowledged = true;
        assert!(
            said.arrived > 0 && (durable || said.read > 0 || said.bounced > 0 || said.may_be_nowhere()),
            "stanza {number} was acknowledged and is nowhere: {said:?}"
        );
    }

    /// A way out to this domain came to nothing.
    pub fn cut(&self, domain: &str) {
        let mut book = self.book();
        book.events += 1;
        let event = book.events;
        book.cut.insert(domain.to_owned(), event);
        // The same holds for an error that an earlier life left on disk, and that this one was to deliver there.
        let of_before = |said: &&mut Said| {
            said.acknowledged
                && said.bounced_at > 0
                && said.read == 0
                && said.from.split_once('@').is_some_and(|(_, at)| at == domain)
        };
        for said in book.said.iter_mut().filter(of_before) {
            said.excused |= said.bounced == 0;
        }
    }

    /// What was to tell its sender has waited for as long as it may.
    pub fn excuse(&self, number: usize) {
        self.book().said[number].excused = true;
    }

    /// There is a durable spool: what is acknowledged may wait on disk.
    pub fn is_durable(&self) {
        self.book().durable = true;
    }

    /// Its sender's server has read an error about it.
    pub fn told(&self, number: usize) {
        let mut book = self.book();
        book.log.push(format!("told of {number}"));
        // A play has stanzas of its own.
        if let Some(said) = book.said.get_mut(number) {
            said.told = true;
        }
    }

    /// The process has died. What it had acknowledged has to find its end all the same, in its next life; these were on disk, and of them
    /// it cannot know whether they were read.
    pub fn died(&self, on_disk: &[Option<usize>]) {
        let mut book = self.book();
        book.life += 1;
        book.kept_made.clear();
        book.arrived_before = book.said.iter().filter(|said| said.arrived > 0).count();
        for number in on_disk.iter().flatten() {
            let said = &mut book.said[*number];
            // One that is dropped and nobody is told of may have been given up already, as one whose sender was told.
            said.late |= said.told || said.bounced > 0 || said.may_be_nowhere();
            said.doubtful |= said.read > 0 || said.late;
        }
        let book = &mut *book;
        for said in book.said.iter_mut().filter(|said| said.arrived > 0 && said.read == 0 && !said.told) {
            said.excused |= !said.acknowledged;
            // One who has moved to the pool cannot be seen to have been told: there is no error of XMPP there. And an error that
            // cannot be delivered ends there and then.
            let domain = said.from.split_once('@').map_or(&*said.from, |(_, domain)| domain);
            let ended = book.cut.get(domain).is_some_and(|at| *at > said.bounced_at);
            if !book.movers.contains(&said.from) && !ended {
                said.bounced = 0;
            }
        }
    }

    /// How many were taken in since the process started.
    pub fn arrived_in_this_life(&self) -> usize {
        let [_, arrived, _, _] = self.totals();
        arrived - self.book().arrived_before
    }

    /// How many were acknowledged before the process died, and found their end afterwards.
    pub fn kept_promises(&self) -> usize {
        let book = self.book();
        let kept = |said: &&Said| said.acknowledged && said.life < book.life && (said.read > 0 || said.told);
        book.said.iter().filter(kept).count()
    }

    /// The router cannot know whether it was read.
    pub fn doubt(&self, number: usize) {
        self.book().said[number].doubtful = true;
    }

    /// A user lives elsewhere from now on.
    pub fn moved(&self, user: &str, home: HomeId, in_time: bool) {
        let mut book = self.book();
        book.log.push(format!("moved {user} to {home:?}, in time {in_time}"));
        book.movers.insert(user.to_owned());
        if !in_time {
            book.unordered.insert(user.to_owned());
        }
        for said in book.said.iter_mut().filter(|said| said.to == user) {
            said.homes.push(home);
        }
    }

    /// A line for the report of a failure.
    pub fn log(&self, line: impl FnOnce() -> String) {
        let mut book = self.book();
        if book.log.len() > 100_000 {
            book.log.drain(..50_000);
        }
        book.log.push(line());
    }

    /// The last lines.
    pub fn tail(&self, lines: usize) -> String {
        let book = self.book();
        book.log[book.log.len().saturating_sub(lines)..].join("\n")
    }

    /// A number that two equal runs share.
    pub fn digest(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.book().log.hash(&mut hasher);
        hasher.finish()
    }

    /// A backend keeps a stanza that the router made, or keeps it no longer.
    pub fn keep_made(&self, shard: u16, change: i64) {
        *self.book().kept_made.entry(shard).or_default() += change;
    }

    /// Stanzas the router made that backends of this shard keep.
    pub fn kept_made(&self, shard: u16) -> i64 {
        self.book().kept_made.get(&shard).copied().unwrap_or_default()
    }

    /// How many were said, taken in, read and bounced.
    pub fn totals(&self) -> [usize; 4] {
        let book = self.book();
        let count = |what: &dyn Fn(&Said) -> bool| book.said.iter().filter(|said| what(said)).count();
        [book.said.len(), count(&|s| s.arrived > 0), count(&|s| s.read > 0), count(&|s| s.bounced > 0)]
    }

    /// Everything is at rest: nothing may be missing.
    pub fn check_complete(&self) {
        for (number, said) in self.book().said.iter().enumerate().filter(|(_, said)| said.arrived > 0) {
            assert!(
                said.read > 0 || said.bounced > 0 || said.may_be_nowhere() || said.excused || said.told,
                "stanza {number} was taken in and is nowhere: {said:?}"
            );
        }
    }
}
