//! What a shard answers an administrator.

use crate::contact::Record;
use crate::home::HomeId;
use crate::trial::Tried;

/// What a shard tells the administrator of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// His contacts by name, at most [`TOLD_CONTACTS_MAX`](crate::limits::TOLD_CONTACTS_MAX).
    pub contacts: Vec<Record>,
    /// How many contacts he has.
    pub contacts_total: usize,
    /// Stanzas that wait for him because he is being moved.
    pub held: usize,
    /// What the backend of each home has open for him, in its own words: the home, and a line each.
    pub open: Vec<(HomeId, Vec<String>)>,
    /// What became of a trial, where this is its end.
    pub tried: Option<Tried>,
}
