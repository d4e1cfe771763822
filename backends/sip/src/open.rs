//! What is open between pairs of users, for the administrator who looks through all of it. Invariant: a page costs as many places as
//! were asked for, however much there is.

use std::time::Instant;

use turnout_core::io::LinkId;
use turnout_core::survey::{OpenFact, OpenPage, StreamFacts};

use crate::backend::SipBackend;
use crate::link::Standing;
use crate::presence::state_of;

/// Places are those of dialogs, then watches, then subscriptions; the top bits of a place say which.
const KIND_BITS: u32 = 40;

impl SipBackend {
    pub(crate) fn open_page(&self, now: Instant, after: u64, limit: usize) -> OpenPage {
        let mut kind = after >> KIND_BITS;
        let mut from = usize::try_from(after & ((1 << KIND_BITS) - 1)).unwrap_or(usize::MAX);
        let mut rows = Vec::new();
        let mut left = limit.max(1);
        while kind < 3 {
            let (more, looked_at) = match kind {
                0 => self.dialogs_page(from, left, &mut rows),
                1 => self.watches_page(now, from, left, &mut rows),
                _ => self.subscriptions_page(now, from, left, &mut rows),
            };
            if more {
                return OpenPage { rows, next: Some(kind << KIND_BITS | (from + looked_at) as u64) };
            }
            (kind, from, left) = (kind + 1, 0, limit.saturating_sub(rows.len()).max(1));
        }
        OpenPage { rows, next: None }
    }

    fn dialogs_page(&self, from: usize, places: usize, rows: &mut Vec<OpenFact>) -> (bool, usize) {
        let (page, more) = self.sessions.page(from, places);
        rows.extend(page.filter(|session| !session.is_over()).map(|session| OpenFact {
            what: "dialog",
            side: self.side,
            local: session.local.as_str().to_owned(),
            partner: session.partner.as_str().to_owned(),
            text: format!("dialogs: {}, texts waiting: {}", session.dialogs.len(), session.queue.len()),
        }));
        (more, places)
    }

    fn watches_page(
        &self,
        now: Instant,
        from: usize,
        places: usize,
        rows: &mut Vec<OpenFact>,
    ) -> (bool, usize) {
        let (page, more) = self.events.watches.page(from, places);
        rows.extend(page.map(|watch| OpenFact {
            what: "watch",
            side: self.side,
            local: watch.local.as_str().to_owned(),
            partner: watch.partner.as_str().to_owned(),
            text: format!("{}, {} s left", state_of(watch), seconds_left(now, watch.ends)),
        }));
        (more, places)
    }

    fn subscriptions_page(
        &self,
        now: Instant,
        from: usize,
        places: usize,
        rows: &mut Vec<OpenFact>,
    ) -> (bool, usize) {
        let (page, more) = self.events.audiences.page(from, places);
        let audiences = &self.events.audiences;
        rows.extend(page.filter_map(|subscription| {
            let audience = audiences.get(subscription.audience)?;
            let state = if audience.granted { "active" } else { "pending" };
            Some(OpenFact {
                what: "subscription",
                side: self.side,
                local: audience.local.as_str().to_owned(),
                partner: audience.partner.as_str().to_owned(),
                text: format!("{state}, {} s left", seconds_left(now, Some(subscription.ends))),
            })
        }));
        (more, places)
    }

    pub(crate) fn stream_facts(&self, link: LinkId) -> Option<StreamFacts> {
        let link = self.links.get(&link)?;
        let (state, proof) = match link.standing {
            Standing::Opening => ("opening", ""),
            Standing::Trusted if self.settings.tls => ("open", "certificate"),
            Standing::Trusted => ("open", ""),
            Standing::Stranger => ("refused", ""),
        };
        Some(StreamFacts {
            ours: self.settings.our_name.to_string(),
            theirs: link.host.iter().map(ToString::to_string).collect(),
            state,
            tls: if self.settings.tls { "TLS" } else { "" },
            proof,
            ..StreamFacts::default()
        })
    }
}

fn seconds_left(now: Instant, end: Option<Instant>) -> u64 {
    end.map_or(0, |end| end.saturating_duration_since(now).as_secs())
}
