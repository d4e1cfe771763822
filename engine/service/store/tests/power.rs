//! The loss of power: what was synced is there, of what was written since any part may be, in pieces of a sector.

use std::collections::BTreeMap;

use super::super::medium::Op;
use super::*;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

const BATCHES: usize = 60;
const USERS: u32 = 40;
const CUTS: u64 = 150;

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// The batch of a number: some users change, one goes.
fn nth(number: usize) -> Vec<Record> {
    let mut dice = Dice(number as u64);
    let mut records: Vec<Record> = (0..1 + dice.below(12))
        .map(|_| {
            record(dice.below(USERS as usize) as u32, &[&number.to_string(), &"x".repeat(dice.below(900))])
        })
        .collect();
    let gone = record(dice.below(USERS as usize) as u32, &[]);
    records.push(Record { contact: Contact::default(), ..gone });
    records
}

/// What the disk holds when the power goes after `ops`.
fn remains(mut image: Vec<u8>, ops: &[Op], dice: &mut Dice) -> Vec<u8> {
    let put = |image: &mut Vec<u8>, offset: usize, data: &[u8]| {
        if image.len() < offset + data.len() {
            image.resize(offset + data.len(), 0);
        }
        image[offset..offset + data.len()].copy_from_slice(data);
    };
    let synced = ops.iter().rposition(|op| matches!(op, Op::Sync)).unwrap_or(0);
    for (at, op) in ops.iter().enumerate() {
        let (whole, luck) = (at < synced, dice.below(3));
        match op {
            Op::Write(offset, data) => {
                let mut offset = *offset as usize;
                for sector in data.chunks(SECTOR) {
                    if whole || luck == 0 || luck == 1 && dice.below(2) == 0 {
                        put(&mut image, offset, sector);
                    }
                    offset += sector.len();
                }
            }
            Op::Resize(len) if whole || luck > 0 => image.resize(*len as usize, 0),
            Op::Resize(_) | Op::Sync | Op::Confirmed(_) => (),
        }
    }
    image
}

#[test]
fn what_was_confirmed_survives_the_loss_of_power() {
    let folder = Folder::new();
    drop(ContactFile::open(&folder.file()).unwrap());
    let begin = std::fs::read(folder.file()).unwrap();
    let file = ContactFile::open(&folder.file()).unwrap();
    let mut states: Vec<BTreeMap<Pair, Contact>> = vec![BTreeMap::new()];
    for number in 0..BATCHES {
        file.write(&batch(&nth(number))).unwrap();
        file.trouble().note(Op::Confirmed(number + 1));
        let mut state = states[number].clone();
        for record in nth(number) {
            state.insert(record.pair, record.contact);
        }
        state.retain(|_, contact| !contact.is_empty());
        states.push(state);
    }
    let ops = file.trouble().log.lock().unwrap().clone();
    drop(file);
    let after = folder.0.join("after.redb");
    let (mut lost, mut ahead) = (0, 0);
    for seed in 0..CUTS {
        let mut dice = Dice(seed);
        let cut = dice.below(ops.len() + 1);
        let ops = &ops[..cut];
        let confirmed = ops.iter().rev().find_map(|op| match op {
            Op::Confirmed(number) => Some(*number),
            _ => None,
        });
        let confirmed = confirmed.unwrap_or(0);
        std::fs::write(&after, remains(begin.clone(), ops, &mut dice)).unwrap();
        let file =
            ContactFile::open(&after).unwrap_or_else(|error| panic!("seed {seed}, cut {cut}: {error}"));
        let found: BTreeMap<Pair, Contact> =
            all(&file).into_iter().map(|record| (record.pair, record.contact)).collect();
        // The batch that was under way may be there, whole.
        let at = (confirmed..=(confirmed + 1).min(BATCHES)).find(|at| states[*at] == found);
        match at {
            Some(at) if at > confirmed => ahead += 1,
            Some(_) => lost += 1,
            None => panic!("seed {seed}, cut {cut}: {confirmed} batches were confirmed; found {found:?}"),
        }
    }
    assert!(lost > CUTS / 4 && ahead > 0, "the cuts hit nothing: {lost} {ahead}");
}

/// A copy made while the file is written is torn as no disk tears it. It may be useless; it must not be taken for whole.
#[test]
fn a_torn_copy_is_whole_or_refused() {
    let folder = Folder::new();
    let bench = Bench::new(ContactFile::open(&folder.file()).unwrap());
    let copy = folder.0.join("copy.redb");
    let (mut good, mut seq) = (0, 0);
    for round in 0..20 {
        for _ in 0..40 {
            seq += 1;
            let records =
                (0..50).map(|n| record((seq as u32 * 7919 + n) % 3000, &[&seq.to_string()])).collect();
            bench.give(0, seq, records);
        }
        std::fs::copy(folder.file(), &copy).unwrap();
        match ContactFile::open(&copy) {
            Ok(file) => {
                all(&file);
                good += 1;
            }
            Err(error) => {
                assert!(error.contains("copy.redb: ") && error.contains("backup"), "{round}: {error}")
            }
        }
    }
    assert!(good > 0);
}
