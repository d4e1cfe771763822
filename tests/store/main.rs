//! kill -9, over and over: what the store has confirmed is there afterwards. A second process of this test writes through the real
//! queue, thread and file, and says on a pipe what it was told; the first kills it at a random moment and looks.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]
#![allow(missing_docs, unreachable_pub, reason = "nobody but this test sees these")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use turnout::clock::now;
use turnout::store::file::ContactFile;
use turnout::store::outlet::Outlet;
use turnout::store::{Store, queue};
use turnout_core::contact::{Contact, Pair, Record};

const ROUNDS: usize = 200;

/// A new file is begun after so many rounds, so that its making is killed as well.
const ROUNDS_PER_FILE: usize = 20;

const SHARDS: usize = 3;

/// Pairs of each shard. Far more than may be unconfirmed, so that of nearly every pair the last change is confirmed.
const PAIRS: u64 = 1000;

/// Numbers a shard may be ahead of what it was told.
const AHEAD_MAX: u64 = 60;

/// Set in the process that writes: the file, and the number each shard begins with.
const CHILD: &str = "TURNOUT_TEST_STORE";

fn pair(shard: usize, number: u64) -> Pair {
    Pair {
        local: format!("u{}.{shard}@contoso.com", number % PAIRS).into(),
        partner: format!("p{shard}@partner.example").into(),
    }
}

/// Whether the change of a number takes the pair away.
fn is_end(number: u64) -> bool {
    number % 7 == 3
}

fn record(shard: usize, number: u64) -> Record {
    let mut contact = Contact::default();
    if !is_end(number) {
        contact.from = true;
        contact.shown = vec![number.to_string().into(), "x".repeat((number % 90) as usize).into()];
    }
    Record { pair: pair(shard, number), contact }
}

/// The process that writes, until it is killed.
fn child(task: &str) -> ! {
    let (path, begin) = task.split_once('*').unwrap();
    let (queue, taken) = queue();
    let (tell, told) = sync_channel(1000);
    let out = Mutex::new(std::io::stdout());
    let tell = Box::new(move |shard, seq| {
        let mut out = out.lock().unwrap();
        writeln!(out, "{shard} {seq}").unwrap();
        out.flush().unwrap();
        tell.try_send((shard, seq)).is_ok()
    });
    let file = ContactFile::open(Path::new(path)).unwrap();
    let _store = Store::spawn(file, taken, tell, Arc::default()).unwrap();
    let mut shards: Vec<(Outlet, u64, u64)> = (0_u16..)
        .zip(begin.split(','))
        .map(|(shard, begin)| {
            let begin: u64 = begin.parse().unwrap();
            (Outlet::new(shard, Some(queue.clone())), begin, begin)
        })
        .collect();
    loop {
        for (shard, (outlet, next, confirmed)) in shards.iter_mut().enumerate() {
            for _ in 0..=shard * 5 {
                if *next < *confirmed + AHEAD_MAX {
                    assert_eq!(outlet.take(*next, record(shard, *next)), None);
                    *next += 1;
                }
            }
            outlet.flush();
        }
        while let Ok((shard, seq)) = told.recv_timeout(Duration::from_micros(200)) {
            shards[usize::from(shard)].2 = seq;
        }
    }
}

/// Numbers that are the same in every run; the moments are not.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What one file must hold.
#[derive(Default)]
struct Book {
    /// The last confirmed number of each pair.
    confirmed: HashMap<Pair, u64>,
    /// The first number each shard has not been told of.
    next: [u64; SHARDS],
    /// No number up to this may be used again.
    used: [u64; SHARDS],
}

impl Book {
    fn new() -> Self {
        Self { confirmed: HashMap::new(), next: [1; SHARDS], used: [0; SHARDS] }
    }

    fn confirm(&mut self, shard: usize, seq: u64) {
        assert!(
            seq <= self.used[shard],
            "shard {shard} was told {seq}, and gave {} at most",
            self.used[shard]
        );
        for number in self.next[shard]..=seq {
            self.confirmed.insert(pair(shard, number), number);
        }
        self.next[shard] = self.next[shard].max(seq + 1);
    }

    /// Holds the file against it.
    fn check(&self, path: &Path, round: usize) {
        let file = ContactFile::open(path).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let mut found = HashMap::new();
        file.read(&mut |record| {
            let number: u64 = record.contact.shown[0].parse().unwrap();
            assert!(!is_end(number));
            found.insert(record.pair, number);
            Ok(())
        })
        .unwrap();
        file.close().unwrap();
        for (pair, &confirmed) in &self.confirmed {
            // Later changes may be on disk without being confirmed.
            let shard = (0..SHARDS).find(|shard| pair.partner.starts_with(&format!("p{shard}"))).unwrap();
            let later = || (confirmed..=self.used[shard]).step_by(PAIRS as usize);
            match found.remove(pair) {
                Some(number) => {
                    assert!(number >= confirmed, "round {round}: {pair}: {number} for {confirmed}");
                    assert!(later().any(|later| later == number), "round {round}: {pair}: {number}");
                }
                None => assert!(later().any(is_end), "round {round}: {pair}: {confirmed} is lost"),
            }
        }
        let known =
            |pair: &Pair| (0..SHARDS).any(|shard| *pair.partner == *format!("p{shard}@partner.example"));
        assert!(found.keys().all(known), "round {round}: {found:?}");
    }
}

/// When a process is killed: after it was told something so often, and a while.
struct Moment {
    told: usize,
    patience: Duration,
}

/// Lets a process write, and kills it. Gives how often a shard was told something.
fn round(path: &Path, book: &mut Book, moment: &Moment) -> usize {
    let begin: Vec<String> = book.used.iter().map(|used| (used + 1).to_string()).collect();
    for shard in 0..SHARDS {
        // Between the rounds numbers are left out, as a shard begins anew with its own.
        book.next[shard] = book.used[shard] + 1;
        book.used[shard] = u64::MAX;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_confirmed_is_lost_by_kill_9", "--nocapture"])
        .env(CHILD, format!("{}*{}", path.display(), begin.join(",")))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(child.stdout.take().unwrap());
    let (line, lines) = channel();
    let reader = std::thread::spawn(move || {
        for text in told.lines().map_while(Result::ok) {
            // The frame of the test prints lines of its own.
            if let Some((shard, seq)) = text.split_once(' ')
                && let (Ok(shard), Ok(seq)) = (shard.parse::<usize>(), seq.parse::<u64>())
            {
                line.send((shard, seq)).unwrap();
            }
        }
    });
    let mut told: Vec<(usize, u64)> = lines.iter().take(moment.told).collect();
    std::thread::sleep(moment.patience);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    told.extend(lines);
    for (shard, seq) in &told {
        book.confirm(*shard, *seq);
    }
    for shard in 0..SHARDS {
        book.used[shard] = book.next[shard] + AHEAD_MAX;
    }
    told.len()
}

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on the folder being gone.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn nothing_confirmed_is_lost_by_kill_9() {
    if let Ok(task) = std::env::var(CHILD) {
        child(&task);
    }
    let folder = Folder(std::env::temp_dir().join(format!("turnout-kill-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let begin = now();
    let (mut dice, mut book, mut confirmations, mut empty) =
        (Dice(std::process::id().into()), Book::new(), 0, 0);
    let mut path = folder.0.join("0.redb");
    for number in 0..ROUNDS {
        if number % ROUNDS_PER_FILE == 0 {
            path = folder.0.join(format!("{number}.redb"));
            book = Book::new();
        }
        // A quarter of them while it starts: while the file is made, opened, repaired.
        let moment = match number % 4 {
            0 => Moment { told: 0, patience: Duration::from_millis(dice.below(80)) },
            _ => Moment {
                told: 1 + dice.below(20) as usize,
                patience: Duration::from_micros(dice.below(12_000)),
            },
        };
        let told = round(&path, &mut book, &moment);
        confirmations += told;
        empty += usize::from(told == 0);
        if path.exists() {
            book.check(&path, number);
        } else {
            assert!(book.confirmed.is_empty(), "round {number}: the file is gone");
        }
    }
    let seconds = now().duration_since(begin).as_secs();
    println!(
        "{ROUNDS} rounds in {seconds} s: {confirmations} confirmations, {empty} rounds killed before the first"
    );
    assert!(confirmations > ROUNDS * 3 && empty < ROUNDS / 2, "{confirmations} confirmations, {empty} empty");
}
