//! How many users were moved today. Invariant: today is a day of UTC; at its end the count begins anew.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

const DAY_SECONDS: u64 = 86_400;

/// Users moved since midnight UTC, by their new home. Who was moved twice counts twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MovedToday {
    /// By the name of the home.
    pub by_home: BTreeMap<String, u64>,
}

/// The count.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    kept: Mutex<(u64, MovedToday)>,
}

impl Ledger {
    pub(super) fn count(&self, now_unix: u64, home: &str, users: u64) {
        if users == 0 {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        turn(&mut kept, now_unix);
        *kept.1.by_home.entry(home.to_owned()).or_default() += users;
    }

    pub(super) fn today(&self, now_unix: u64) -> MovedToday {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        turn(&mut kept, now_unix);
        kept.1.clone()
    }
}

fn turn(kept: &mut (u64, MovedToday), now_unix: u64) {
    let day = now_unix / DAY_SECONDS;
    if kept.0 != day {
        *kept = (day, MovedToday::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_day_begins_at_nothing() {
        let ledger = Ledger::default();
        ledger.count(10, "sfb2019", 3);
        ledger.count(DAY_SECONDS - 1, "sfb2019", 2);
        ledger.count(DAY_SECONDS - 1, "legacy", 0);
        assert_eq!(ledger.today(DAY_SECONDS - 1).by_home, BTreeMap::from([("sfb2019".to_owned(), 5)]));
        assert_eq!(ledger.today(DAY_SECONDS), MovedToday::default());
    }
}
