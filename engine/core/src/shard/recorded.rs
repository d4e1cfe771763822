//! Messages in the log, where the operator has switched that on as he could for the legacy gateway. Invariant: this is the only
//! place that gives what people write to the log, and it does nothing unless the switch is on.

use super::Shard;
use crate::io::{Level, Outbox};
use crate::run::Run;
use crate::stanza::{Kind, Stanza};

impl Shard {
    /// A stanza came in.
    pub(super) fn record(&self, stanza: &Stanza, out: &mut Outbox) {
        if !self.world.policy.limits().log_message_bodies || !matches!(stanza.kind, Kind::Message(_)) {
            return;
        }
        let text = String::from_utf8_lossy(&stanza.bytes);
        out.note(Level::Info, stanza.origin.side, stanza.origin.link, stanza.from.domain(), text);
    }

    /// A run came in.
    pub(super) fn record_run(&self, run: &Run, out: &mut Outbox) {
        if !self.world.policy.limits().log_message_bodies {
            return;
        }
        for stanza in run.stanzas() {
            self.record(&stanza, out);
        }
    }
}
