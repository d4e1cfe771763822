use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use redb::{Database, TableDefinition};
use turnout_core::contact::{Contact, Pair};

use super::file::{Batch, Seen, move_key, row};
use super::medium::Trouble;
use super::moves::MovedTo;
use super::*;
use crate::mail::post_office;

mod power;

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("turnout-store-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("contacts.redb")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on the folder being gone.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn record(user: u32, shown: &[&str]) -> Record {
    let pair = Pair { local: format!("u{user}@contoso.com").into(), partner: "p@partner.example".into() };
    let shown = shown.iter().map(|resource| (*resource).into()).collect();
    Record { pair, contact: Contact { from: true, shown, ..Contact::default() } }
}

fn batch(records: &[Record]) -> Batch {
    records.iter().map(|record| row(record).unwrap()).collect()
}

fn all(file: &ContactFile) -> Vec<Record> {
    let mut records = Vec::new();
    let rows = file.read(&mut |record| {
        records.push(record);
        Ok(())
    });
    assert_eq!(rows.unwrap(), records.len() as u64);
    records
}

#[test]
fn who_knows_whom_is_for_nobody_else_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let file = ContactFile::open(&folder.file()).unwrap();
    let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_is_written_is_read_and_what_is_empty_goes() {
    let folder = Folder::new();
    let file = ContactFile::open(&folder.file()).unwrap();
    assert_eq!(all(&file), []);
    let (one, two) = (record(1, &["sfb", ""]), record(2, &[]));
    assert_eq!(file.write(&batch(&[one.clone(), two.clone()])).unwrap().rows, 2);
    assert_eq!(all(&file), [one.clone(), two.clone()]);
    let gone = Record { contact: Contact::default(), ..one };
    assert_eq!(file.write(&batch(&[gone.clone(), gone])).unwrap().rows, 1);
    file.close().unwrap();
    assert_eq!(all(&ContactFile::open(&folder.file()).unwrap()), [two]);
}

#[test]
fn moves_lie_beside_contacts_and_go_with_them_to_a_new_file() {
    let folder = Folder::new();
    let file = ContactFile::open(&folder.file()).unwrap();
    assert_eq!(file.moves().unwrap(), []);
    let to = |home: &str| MovedTo { home: home.to_owned(), unix: 7 };
    let row =
        |bare: &str, to: Option<MovedTo>| (move_key(bare), to.map(|to| serde_json::to_vec(&to).unwrap()));
    let mut rows = batch(&[record(1, &[])]);
    rows.extend([row("a@x", Some(to("legacy"))), row("b@x", Some(to("sfb2019")))]);
    assert_eq!(file.write(&rows).unwrap().rows, 1, "contacts are counted");
    file.write(&Batch::from([row("a@x", None)])).unwrap();
    let left = [("b@x".to_owned(), to("sfb2019"))];
    assert_eq!(file.moves().unwrap(), left);

    file.trouble().refuse_syncs.store(true, Ordering::Release);
    file.write(&Batch::from([row("c@x", Some(to("legacy")))])).unwrap_err();
    file.trouble().refuse_syncs.store(false, Ordering::Release);
    let file = ContactFile::recover(file.fail()).unwrap();
    // Of what was being written when the disk failed nobody knows.
    let moves = file.moves().unwrap();
    assert!(moves.starts_with(&left) && moves.len() <= 2, "{moves:?}");
    assert_eq!(all(&file), [record(1, &[])]);

    file.write(&Batch::from([(move_key("d@x"), Some(b"not what we write".to_vec()))])).unwrap();
    assert!(file.moves().unwrap_err().contains("the move of d@x cannot be understood"));
}

#[test]
fn a_file_is_open_once_and_can_be_looked_at() {
    let folder = Folder::new();
    assert_eq!(ContactFile::inspect(&folder.file()).unwrap(), Seen::Absent);
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0, "looking leaves nothing");
    let file = ContactFile::open(&folder.file()).unwrap();
    file.write(&batch(&[record(1, &[]), record(2, &[])])).unwrap();
    let error = ContactFile::open(&folder.file()).unwrap_err();
    assert!(error.contains("another process has it open"), "{error}");
    assert_eq!(ContactFile::inspect(&folder.file()).unwrap(), Seen::InUse);
    // As after kill -9: never closed.
    let copy = folder.0.join("copy.redb");
    std::fs::copy(folder.file(), &copy).unwrap();
    let before = std::fs::read(&copy).unwrap();
    assert_eq!(ContactFile::inspect(&copy).unwrap(), Seen::Contacts(2));
    assert!(std::fs::read(&copy).unwrap() == before, "looking changes nothing");
    let error = ContactFile::inspect(&folder.0.join("none/contacts.redb")).unwrap_err();
    assert!(error.contains("make its directory"), "{error}");
    assert!(
        ContactFile::open(&folder.0.join("none/contacts.redb")).unwrap_err().contains("make its directory")
    );
}

#[test]
fn what_is_no_store_is_refused_and_stays() {
    let folder = Folder::new();
    let refused = |bytes: &[u8], part: &str| {
        std::fs::write(folder.file(), bytes).unwrap();
        for error in [
            ContactFile::open(&folder.file()).unwrap_err(),
            ContactFile::inspect(&folder.file()).unwrap_err(),
        ] {
            assert!(error.contains(part) && error.contains("contacts.redb"), "{part:?} in {error}");
        }
        assert!(std::fs::read(folder.file()).unwrap() == bytes);
    };
    refused(b"", "is empty; bring back a backup");
    refused(&b"SipAddress,RegistrarPool\n".repeat(1000), "no store of contacts");
    refused(b"redb", "no store of contacts");
    std::fs::remove_file(folder.file()).unwrap();
    drop(Database::create(folder.file()).unwrap());
    let error = ContactFile::open(&folder.file()).unwrap_err();
    assert!(error.contains("is no store of contacts"), "{error}");
}

/// Changes a table of a file behind the store's back.
fn tamper<V: redb::Value + 'static>(
    path: &Path,
    table: &str,
    key: &str,
    value: impl std::borrow::Borrow<V::SelfType<'static>>,
) {
    let database = Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    if table == "about" {
        let table: TableDefinition<'_, &str, V> = TableDefinition::new(table);
        transaction.open_table(table).unwrap().insert(key, value.borrow()).unwrap();
    } else {
        let table: TableDefinition<'_, &[u8], V> = TableDefinition::new(table);
        transaction.open_table(table).unwrap().insert(key.as_bytes(), value.borrow()).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn another_format_and_an_unreadable_row_are_named() {
    let folder = Folder::new();
    ContactFile::open(&folder.file()).unwrap().close().unwrap();
    tamper::<&[u8]>(&folder.file(), "contacts", "anna@contoso.com\0bob@partner.example", &b"\x80"[..]);
    let file = ContactFile::open(&folder.file()).unwrap();
    let error = file.read(&mut |_| Ok(())).unwrap_err();
    assert!(error.contains("the row of anna@contoso.com and bob@partner.example"), "{error}");
    assert!(error.contains("bring back a backup"), "{error}");
    file.close().unwrap();
    tamper::<u64>(&folder.file(), "about", "format", 2);
    let error = ContactFile::open(&folder.file()).unwrap_err();
    assert!(error.contains("has format 2, and this turnout knows 1"), "{error}");
}

/// A store without a router: its queue, and what it confirms.
struct Bench {
    queue: SyncSender<Delivery>,
    told: Receiver<(u16, u64)>,
    store: Option<Store>,
}

impl Bench {
    fn new(file: ContactFile) -> Self {
        let ((queue, taken), (tell, told)) = (queue(), sync_channel(100));
        let tell = Box::new(move |shard, seq| tell.try_send((shard, seq)).is_ok());
        let store = Store::spawn(file, taken, tell, Arc::default()).unwrap();
        Self { queue, told, store: Some(store) }
    }

    fn give(&self, shard: u16, seq: u64, records: Vec<Record>) {
        self.queue.send(Delivery { shard, seq, records, moves: Batch::new(), told: vec![] }).unwrap();
    }

    fn told(&self) -> (u16, u64) {
        self.told.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn look(&self) -> StoreLook {
        self.store.as_ref().unwrap().look()
    }

    /// Waits until the store fails.
    fn fails(&self) -> String {
        loop {
            if let Some(why) = self.look().failing {
                return why;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn stop(&mut self) {
        self.store.take().unwrap().stop();
    }
}

#[test]
fn shards_are_told_what_is_on_disk_and_a_stop_writes_the_rest() {
    let folder = Folder::new();
    let mut bench = Bench::new(ContactFile::open(&folder.file()).unwrap());
    bench.give(0, 1, vec![record(1, &[])]);
    assert_eq!(bench.told(), (0, 1));
    bench.give(1, 5, vec![record(2, &["a"]), record(3, &[])]);
    assert_eq!(bench.told(), (1, 5));
    let look = bench.look();
    assert_eq!((look.contacts, look.taken, look.failures, look.failing), (3, 3, 0, None));
    for seq in 6..200 {
        bench.give(1, seq, vec![record(2, &[&seq.to_string()])]);
    }
    bench.stop();
    assert_eq!(bench.told.try_iter().last(), Some((1, 199)));
    let records = all(&ContactFile::open(&folder.file()).unwrap());
    assert_eq!(records, [record(1, &[]), record(2, &["199"]), record(3, &[])]);
}

#[test]
fn a_shard_that_cannot_be_told_is_told_later() {
    let folder = Folder::new();
    let (queue, taken) = queue();
    let (tell, told) = sync_channel(10);
    let mut refusals = 3;
    let tell = Box::new(move |shard, seq| {
        refusals -= 1;
        refusals < 0 && tell.send((shard, seq)).is_ok()
    });
    let file = ContactFile::open(&folder.file()).unwrap();
    let store = Store::spawn(file, taken, tell, Arc::default()).unwrap();
    queue
        .send(Delivery { shard: 2, seq: 9, records: vec![record(1, &[])], moves: Batch::new(), told: vec![] })
        .unwrap();
    assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok((2, 9)));
    drop(queue);
    store.stop();
    assert!(told.try_recv().is_err(), "once is enough");
}

/// Lets the file fail, in one way, while records come; lets it work again.
fn fails_and_heals(refuse: impl Fn(&Trouble, bool), expected: &str, is_new_file: bool) {
    use std::os::unix::fs::MetadataExt;
    let folder = Folder::new();
    let file = ContactFile::open(&folder.file()).unwrap();
    file.write(&batch(&[record(1, &["before"])])).unwrap();
    let number = std::fs::metadata(folder.file()).unwrap().ino();
    let trouble = Arc::clone(file.trouble());
    let mut bench = Bench::new(file);
    refuse(&trouble, true);
    bench.give(0, 1, vec![record(2, &[])]);
    let why = bench.fails();
    assert!(why.contains(expected) && why.contains("contacts.redb"), "{why}");
    bench.give(0, 2, vec![record(3, &[])]);
    std::thread::sleep(Duration::from_millis(300));
    assert!(bench.told.try_recv().is_err(), "nothing is confirmed");
    refuse(&trouble, false);
    while bench.told() != (0, 2) {}
    assert_eq!((bench.look().failing, bench.look().contacts), (None, 3));
    bench.give(0, 3, vec![record(4, &[])]);
    assert_eq!(bench.told(), (0, 3));
    bench.stop();
    let is_new = std::fs::metadata(folder.file()).unwrap().ino() != number;
    assert_eq!(is_new, is_new_file);
    let records = all(&ContactFile::open(&folder.file()).unwrap());
    assert_eq!(records, [record(1, &["before"]), record(2, &[]), record(3, &[]), record(4, &[])]);
}

#[test]
fn a_full_disk_is_waited_out() {
    let refuse = |trouble: &Trouble, on| trouble.refuse_writes.store(on, Ordering::Release);
    fails_and_heals(refuse, "the disk is full", false);
}

#[test]
fn after_a_failed_fsync_the_file_is_written_anew() {
    let refuse = |trouble: &Trouble, on| trouble.refuse_syncs.store(on, Ordering::Release);
    fails_and_heals(refuse, "look at the disk", true);
}

#[test]
fn a_stop_does_not_wait_for_a_disk_that_stays_full() {
    let folder = Folder::new();
    let file = ContactFile::open(&folder.file()).unwrap();
    file.write(&batch(&[record(1, &[])])).unwrap();
    file.trouble().refuse_writes.store(true, Ordering::Release);
    let mut bench = Bench::new(file);
    bench.give(0, 1, vec![record(2, &[])]);
    bench.fails();
    bench.stop();
    assert!(bench.told.try_recv().is_err());
    assert_eq!(all(&ContactFile::open(&folder.file()).unwrap()), [record(1, &[])]);
}

#[test]
fn every_shard_gets_its_own_and_nothing_comes_before() {
    let folder = Folder::new();
    let file = ContactFile::open(&folder.file()).unwrap();
    let records: Vec<Record> = (0..25_000).map(|user| record(user, &[])).collect();
    file.write(&batch(&records)).unwrap();
    let (post, mut boxes) = post_office(2);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (queue, taken) = queue();
    let store = runtime.block_on(async {
        let post = post.clone();
        tokio::task::spawn_blocking(move || Store::start(file, taken, &post)).await.unwrap().unwrap()
    });
    let mut seen = 0;
    for (shard, mail) in (0_u16..).zip(&mut boxes) {
        let mut own = 0;
        while let Ok(mail) = mail.try_recv() {
            let Mail::Control(Input::Contacts(chunk)) = mail else { panic!("{mail:?}") };
            assert!(chunk.len() <= CHUNK_RECORDS);
            assert!(chunk.iter().all(|record| owner_of_user(&record.pair.local, 2) == shard));
            own += chunk.len();
        }
        assert!(own > 10_000, "{own}");
        seen += own;
    }
    assert_eq!((seen, store.look().contacts), (25_000, 25_000));
    queue
        .send(Delivery {
            shard: 1,
            seq: 4,
            records: vec![record(1, &["x"])],
            moves: Batch::new(),
            told: vec![],
        })
        .unwrap();
    let mail = runtime.block_on(boxes[1].recv()).unwrap();
    assert!(matches!(mail, Mail::Control(Input::Persisted(4))), "{mail:?}");
    store.stop();
}
