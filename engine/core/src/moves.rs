//! Moving users from one home to another without losing or reordering a stanza. Invariant: the directory changes only while
//! every shard holds the users' stanzas back and (unless time ran out) nothing for them is under way on the old side; what was
//! held follows on the new side in the order it came.
//!
//! ```text
//! begin ── Hold to all ──▶ Holding from all ── Settle to all ──▶ Settled from all ──▶ commit: change the directory,
//!                                                                 or time is up         then Release to all
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::io::MoveOrder;
use crate::limits::HOLD_MILLIS_MAX;

/// What the owner of the shards must do next.
#[derive(Debug)]
pub enum Act {
    /// Give `Input::Hold` to every shard.
    Hold(Arc<MoveOrder>),
    /// Give `Input::Settle` to every shard.
    Settle(u64),
    /// Change the directory for this move, then give `Input::Release` to every shard. `in_time` is false when something was
    /// still under way on the old side.
    Commit {
        /// The move.
        id: u64,
        /// Whether every shard had settled.
        in_time: bool,
    },
}

#[derive(Debug)]
struct Moving {
    phase: Phase,
    missing: u16,
    deadline: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Holding,
    Settling,
}

/// Runs moves over a number of shards. Belongs to the control plane, or to the simulator.
#[derive(Debug)]
pub struct Mover {
    shards: u16,
    count: u64,
    moves: HashMap<u64, Moving>,
}

impl Mover {
    /// For so many shards.
    pub fn new(shards: u16) -> Self {
        Self { shards, count: 0, moves: HashMap::new() }
    }

    /// Begins a move of these users (bare JIDs as prepared text).
    pub fn begin(&mut self, now: Instant, users: Vec<Arc<str>>) -> (u64, Act) {
        self.count += 1;
        let id = self.count;
        let deadline = now + Duration::from_millis(HOLD_MILLIS_MAX);
        self.moves.insert(id, Moving { phase: Phase::Holding, missing: self.shards, deadline });
        (id, Act::Hold(Arc::new(MoveOrder { id, users })))
    }

    /// A shard holds.
    pub fn holding(&mut self, id: u64) -> Option<Act> {
        let moving = self.moves.get_mut(&id).filter(|moving| moving.phase == Phase::Holding)?;
        moving.missing = moving.missing.saturating_sub(1);
        if moving.missing > 0 {
            return None;
        }
        moving.phase = Phase::Settling;
        moving.missing = self.shards;
        Some(Act::Settle(id))
    }

    /// A shard has settled.
    pub fn settled(&mut self, id: u64) -> Option<Act> {
        let moving = self.moves.get_mut(&id).filter(|moving| moving.phase == Phase::Settling)?;
        moving.missing = moving.missing.saturating_sub(1);
        if moving.missing > 0 {
            return None;
        }
        self.moves.remove(&id);
        Some(Act::Commit { id, in_time: true })
    }

    /// Ends moves whose time is up: a dead gateway must not hold users for ever.
    pub fn expire(&mut self, now: Instant) -> Vec<Act> {
        let mut late: Vec<u64> =
            self.moves.iter().filter(|(_, m)| m.deadline <= now).map(|(id, _)| *id).collect();
        // The older first: of two moves of one user the younger has the last word.
        late.sort_unstable();
        for id in &late {
            self.moves.remove(id);
        }
        late.into_iter().map(|id| Act::Commit { id, in_time: false }).collect()
    }

    /// When [`Mover::expire`] is next wanted.
    pub fn deadline(&self) -> Option<Instant> {
        self.moves.values().map(|moving| moving.deadline).min()
    }

    /// Moves under way.
    pub fn len(&self) -> usize {
        self.moves.len()
    }

    /// Whether no move is under way.
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn commits_after_every_shard_or_when_time_is_up() {
        let now = Instant::now();
        let mut mover = Mover::new(2);
        let (id, act) = mover.begin(now, vec!["a@contoso.com".into()]);
        assert!(matches!(act, Act::Hold(order) if order.id == id));
        assert!(mover.settled(id).is_none(), "nobody settles before all hold");
        assert!(mover.holding(id).is_none());
        assert!(matches!(mover.holding(id), Some(Act::Settle(same)) if same == id));
        assert!(mover.settled(id).is_none());
        assert!(matches!(mover.settled(id), Some(Act::Commit { in_time: true, .. })));
        assert!(mover.is_empty());

        let (late, _) = mover.begin(now, vec!["b@contoso.com".into()]);
        assert!(mover.expire(now).is_empty());
        let acts = mover.expire(mover.deadline().unwrap());
        assert!(matches!(acts[..], [Act::Commit { id, in_time: false }] if id == late));
        assert!(mover.holding(late).is_none());
    }
}
