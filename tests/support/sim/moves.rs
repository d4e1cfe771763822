//! Users on the move: the coordinator, with its letters under way like everything else.

use std::sync::Arc;

use turnout_core::home::HomeId;
use turnout_core::io::{Input, Output};
use turnout_core::moves::Act;
use turnout_core::world::World;

use super::{Sim, USERS};
use crate::support::estate::{LEGACY, POOL, local};

impl Sim {
    /// Every shard takes a new configuration.
    pub fn configure(&mut self, world: &Arc<World>) {
        for cell in &mut self.cells {
            cell.mail.push_back(Input::World(Arc::clone(world)));
        }
    }

    /// A home is configured no more.
    pub fn retire(&mut self, home: HomeId) {
        for cell in &mut self.cells {
            cell.mail.push_back(Input::Retire(home));
        }
    }

    pub(super) fn begin_move(&mut self) {
        let mut users = Vec::new();
        for _ in 0..=self.random.below(2) {
            let user = local(self.pick(USERS));
            let home = if self.home_of(&user) == Some(LEGACY) { POOL } else { LEGACY };
            if !users.iter().any(|(other, _)| *other == user) {
                users.push((user, home));
            }
        }
        self.start_move(users);
    }

    pub(super) fn start_move(&mut self, users: Vec<(String, HomeId)>) {
        let names = users.iter().map(|(user, _)| Arc::from(user.as_str())).collect();
        let (id, act) = self.mover.begin(self.now, names);
        self.ledger.log(|| format!("move {id}: {users:?}"));
        self.moving.insert(id, users);
        self.act(act);
    }

    /// The coordinator reads one letter of a shard, and looks at its clock.
    pub(super) fn mover_step(&mut self) {
        let act = match self.mover_mail.pop_front() {
            Some(Output::Holding(id)) => self.mover.holding(id),
            Some(Output::Settled(id)) => self.mover.settled(id),
            _ => None,
        };
        if let Some(act) = act {
            self.act(act);
        }
        self.expire_moves();
    }

    pub(super) fn expire_moves(&mut self) {
        for act in self.mover.expire(self.now) {
            self.act(act);
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Hold(order) => self.post(|| Input::Hold(Arc::clone(&order))),
            Act::Settle(id) => self.post(|| Input::Settle(id)),
            Act::Commit { id, in_time } => {
                for (user, home) in self.moving.remove(&id).unwrap_or_default() {
                    self.set_home(&user, home);
                    self.ledger.moved(&user, home, in_time);
                }
                self.post(|| Input::Release(id));
            }
        }
    }

    fn post(&mut self, input: impl Fn() -> Input) {
        for cell in &mut self.cells {
            cell.mail.push_back(input());
        }
    }
}
