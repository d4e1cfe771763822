//! `[presence]`: what is told of users, when, and where it is remembered.

use std::path::PathBuf;
use std::time::Duration;

use turnout_core::presence::{PresenceRules, Show};

use super::read::Table;

/// Longest name of an activity, in bytes: those of the standards have 20 at most.
const ACTIVITY_BYTES_MAX: usize = 64;

/// Activities that may be configured; each is looked at for each one a client shows.
const ACTIVITIES_MAX: usize = 256;

/// The rules, and the file of the store.
pub(super) fn presence(table: &Table<'_, '_>) -> (PresenceRules, Option<PathBuf>) {
    let otherwise = PresenceRules::default();
    let seconds = |key, allowed, or: Duration| table.number(key, allowed).map_or(or, Duration::from_secs);
    let store = table.path("store");
    let made = PresenceRules {
        durable: store.is_some(),
        check: seconds("check_seconds", 5..=86_400, otherwise.check),
        subscription: seconds("subscription_seconds", 60..=604_800, otherwise.subscription),
        lease: seconds("lease_seconds", 60..=604_800, otherwise.lease),
        stale: seconds("stale_seconds", 1..=3600, otherwise.stale),
        per_second: table
            .number("requests_per_second", 1..=100_000)
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(otherwise.per_second),
        rich: table.flag("rich").unwrap_or(otherwise.rich),
        activities: otherwise.activities,
    };
    let activities = activities(&table.table("activities"), &made);
    table.finish();
    (PresenceRules { activities: activities.into(), ..made }, store)
}

/// The defaults with what the file says otherwise.
fn activities(table: &Table<'_, '_>, rules: &PresenceRules) -> Vec<(std::sync::Arc<str>, Show)> {
    let mut made = rules.activities.to_vec();
    for (word, given) in table.words() {
        if word.is_empty()
            || word.len() > ACTIVITY_BYTES_MAX
            || !word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
        {
            let what = format!("{word:?} cannot be the name of an activity");
            table.book.wrong(&given.spot, what, "write it as RFC 4480 does: on-the-phone");
            continue;
        }
        let show = match (given.value.as_str(), Show::of(&given.value)) {
            ("none", _) => None,
            (_, Some(show)) => Some(show),
            (other, None) => {
                let what = format!("{other:?} is not one of: away, xa, dnd, chat, none");
                table.book.wrong(&given.spot, what, "");
                continue;
            }
        };
        made.retain(|(known, _)| **known != *word);
        made.extend(show.map(|show| (word.into(), show)));
    }
    if made.len() > ACTIVITIES_MAX {
        let what = format!("{} activities, more than {ACTIVITIES_MAX}", made.len());
        table.book.wrong(&table.spot(), what, "leave out those that no client shows");
    }
    made
}
