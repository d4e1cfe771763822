//! Comparing two snapshots: who moved, and whether so much changed that a source is not to be believed.

use std::fmt;

use super::Snapshot;
use super::snapshot::join;
use crate::home::Residence;

/// A user whose residence differs between two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// The prepared bare address.
    pub bare: &'a str,
    /// Where he lived; `None` for a new user. A pool number is one of the old snapshot's.
    pub before: Option<Residence>,
    /// Where he lives now; `None` for one who is gone. A pool number is one of the new snapshot's.
    pub after: Option<Residence>,
}

/// Calls `visit` for every user who moved, came or went.
pub fn diff(old: &Snapshot, new: &Snapshot, mut visit: impl FnMut(Change<'_>)) {
    let mut bare = String::new();
    for (local, domain, user) in old.iter() {
        let after = new.find(local, domain).map(|user| user.residence);
        if after.is_none_or(|after| !same_residence((old, user.residence), (new, after))) {
            join(local, domain, &mut bare);
            visit(Change { bare: &bare, before: Some(user.residence), after });
        }
    }
    for (local, domain, user) in new.iter() {
        if old.find(local, domain).is_none() {
            join(local, domain, &mut bare);
            visit(Change { bare: &bare, before: None, after: Some(user.residence) });
        }
    }
}

/// A snapshot that differs too much from the one before it. The old one has to stay in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardRefusal {
    /// Users in the old snapshot.
    pub users: usize,
    /// Of these, how many the new one does not have.
    pub vanished: usize,
    /// Of these, how many live elsewhere in the new one, or may no longer do what they might.
    pub shifted: usize,
    /// How many of a hundred were allowed to vanish, and as many to shift.
    pub percent_max: u8,
}

impl fmt::Display for GuardRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "of {} users {} are gone and {} have moved or lost a permission, more than the {} % allowed; the old \
             directory stays in use. If the change is meant, raise the percentage for one reload",
            self.users, self.vanished, self.shifted, self.percent_max
        )
    }
}

impl std::error::Error for GuardRefusal {}

/// Refuses a new snapshot in which more than `percent_max` of a hundred users are gone, or more than that have
/// shifted: live elsewhere, or lost a permission. New users are no reason. 100 switches the guard off.
///
/// # Errors
/// [`GuardRefusal`] with the counts.
pub fn guard(old: &Snapshot, new: &Snapshot, percent_max: u8) -> Result<(), GuardRefusal> {
    let (mut vanished, mut shifted) = (0, 0);
    for (local, domain, before) in old.iter() {
        match new.find(local, domain) {
            None => vanished += 1,
            Some(after) => {
                let lost = (before.enabled && !after.enabled)
                    || (before.federation_enabled && !after.federation_enabled)
                    || (before.xmpp_enabled && !after.xmpp_enabled);
                if lost || !same_residence((old, before.residence), (new, after.residence)) {
                    shifted += 1;
                }
            }
        }
    }
    let users = old.len();
    let too_many = |count: usize| count as u128 * 100 > users as u128 * u128::from(percent_max);
    if too_many(vanished) || too_many(shifted) {
        return Err(GuardRefusal { users, vanished, shifted, percent_max });
    }
    Ok(())
}

/// Pool numbers mean something within their own snapshot only, so unknown pools are compared by name.
fn same_residence(before: (&Snapshot, Residence), after: (&Snapshot, Residence)) -> bool {
    match (before, after) {
        ((old, Residence::UnknownPool(before)), (new, Residence::UnknownPool(after))) => {
            old.pool_name(before) == new.pool_name(after)
        }
        ((_, before), (_, after)) => before == after,
    }
}
