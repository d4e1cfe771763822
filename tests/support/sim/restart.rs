//! The process dies and comes back: what was in memory is gone, what was on disk is there.

use std::sync::Arc;

use turnout_core::backend::Backend;
use turnout_core::contact::Record;
use turnout_core::io::{Input, Outbox};
use turnout_core::shard::Shard;
use turnout_core::world::World;

use super::Sim;

impl Sim {
    /// Puts contacts on disk and has the shards read it, as at a start.
    pub fn remember(&mut self, records: Vec<Record>) {
        self.store.extend(records.into_iter().map(|record| (record.pair.clone(), record)));
        self.read_store();
    }

    /// Kills the process and starts another with these backends. Only for a world of one shard at rest.
    pub fn restart(&mut self, world: &Arc<World>, backends: Vec<Box<dyn Backend>>) {
        self.settle();
        let cell = &mut self.cells[0];
        cell.shard = Shard::new(0, Arc::clone(world), self.directory.clone(), backends, 2);
        cell.out = Outbox::new(0);
        cell.io.clear();
        cell.mail.clear();
        self.links.clear();
        self.wishes.clear();
        for (number, conn) in std::mem::take(&mut self.conns) {
            self.with_peer(conn.peer, |peer, out| peer.closed(number, out));
        }
        self.read_store();
    }

    fn read_store(&mut self) {
        let records = self.store.values().cloned().collect();
        self.cells[0].mail.push_back(Input::Contacts(records));
    }
}
