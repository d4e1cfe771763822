//! What a shard tells the administrator of what it holds. Invariant: nothing is changed by being looked at, and no answer is longer than
//! [`SURVEY_MAX`] rows.

use std::time::Instant;

use hashbrown::HashMap;

use super::deliver::{State, Waiting};
use super::{Shard, side_index};
use crate::backend::Destination;
use crate::io::{LinkId, Side};
use crate::link::Link;
use crate::survey::{LinkFact, OpenPage, PeerFact, QueueFact, SURVEY_MAX, StreamFacts, Survey, Surveyed};

/// Backends are told apart by the top bits of a place.
const PLACE_BITS: u32 = 48;

impl Shard {
    pub(super) fn survey(&self, now: Instant, survey: &Survey) -> Surveyed {
        match survey {
            Survey::Links(after, limit) => Surveyed::Links(self.link_facts(now, *after, *limit)),
            Survey::Queues(limit) => Surveyed::Queues(self.queue_facts(now, *limit)),
            Survey::Peers(limit) => Surveyed::Peers(self.peer_facts(now, *limit)),
            Survey::Open(after, limit) => Surveyed::Open(self.open_facts(now, *after, *limit)),
            Survey::Trace(query) => Surveyed::Trace(self.trace.find(query)),
            Survey::Samples(from) => Surveyed::Samples(self.trace.samples(*from)),
        }
    }

    fn link_facts(&self, now: Instant, after: u64, limit: usize) -> Vec<LinkFact> {
        let limit = limit.min(SURVEY_MAX);
        let mut links: Vec<LinkId> = self.links.keys().copied().filter(|link| link.get() > after).collect();
        links.sort_unstable();
        links.truncate(limit);
        links.into_iter().filter_map(|link| self.link_fact(now, link)).collect()
    }

    fn link_fact(&self, now: Instant, id: LinkId) -> Option<LinkFact> {
        let link = self.links.get(&id)?;
        Some(LinkFact {
            link: id,
            side: link.side(),
            stanzas: link.unwritten_len(),
            octets: link.unwritten_bytes(),
            acknowledged: link.is_acknowledging(),
            received: link.carried().0,
            delivered: link.carried().1,
            stream: self.facts(now, id, link),
        })
    }

    fn facts(&self, now: Instant, id: LinkId, link: &Link) -> StreamFacts {
        let backend = self.backends.get(side_index(link.side()));
        let mut facts = backend.and_then(|backend| backend.facts(now, id)).unwrap_or_default();
        if let Some(destination) = link.destination().filter(|_| facts.theirs.is_empty()) {
            let (ours, theirs) = self.names(destination);
            (facts.ours, facts.theirs) = (ours, vec![theirs]);
        }
        facts
    }

    /// Who we are there, and whom we reach.
    fn names(&self, destination: &Destination) -> (String, String) {
        match destination {
            Destination::Pair { ours, theirs, .. } => (ours.to_string(), theirs.to_string()),
            Destination::Node { side, node } => {
                let pool = match side {
                    Side::Home(home) => self.pools.get(usize::from(home.0)),
                    Side::Partners => None,
                };
                let host = pool.and_then(|pool| pool.node(*node)).map(|node| node.host.to_string());
                (String::new(), host.unwrap_or_else(|| format!("node {node}")))
            }
        }
    }

    fn queue_facts(&self, now: Instant, limit: usize) -> Vec<QueueFact> {
        let is_news = |waiting: &Waiting| !matches!(waiting.state, State::Idle) || !waiting.spool.is_empty();
        let mut found: Vec<(&Destination, &Waiting)> =
            self.destinations.iter().filter(|(_, waiting)| is_news(waiting)).collect();
        found.sort_by_cached_key(|(destination, waiting)| {
            (std::cmp::Reverse(waiting.spool.len()), self.names(destination))
        });
        found.truncate(limit.min(SURVEY_MAX));
        found.into_iter().map(|(destination, waiting)| self.queue_fact(now, destination, waiting)).collect()
    }

    fn queue_fact(&self, now: Instant, destination: &Destination, waiting: &Waiting) -> QueueFact {
        let (ours, theirs) = self.names(destination);
        let (state, again) = match waiting.state {
            State::Idle => ("idle", None),
            State::Opening(..) => ("connecting", None),
            State::Ready(_) => ("open", None),
            State::Blocked(_) => ("blocked", None),
            State::Closing(..) => ("closing", None),
            State::Resting(until) => ("resting", Some(until.saturating_duration_since(now))),
        };
        QueueFact {
            side: destination.side(),
            ours,
            theirs,
            state,
            stanzas: waiting.spool.len(),
            bytes: waiting.spool.bytes(),
            failures: waiting.failures,
            again,
        }
    }

    fn peer_facts(&self, now: Instant, limit: usize) -> Vec<PeerFact> {
        let mut peers: HashMap<String, PeerFact> = HashMap::new();
        let known = |peers: &HashMap<String, PeerFact>, domain: &str| {
            peers.contains_key(domain) || peers.len() < SURVEY_MAX
        };
        for (destination, waiting) in &self.destinations {
            let Destination::Pair { side: Side::Partners, theirs, .. } = destination else { continue };
            if !known(&peers, theirs.as_str()) {
                continue;
            }
            let peer = peers.entry_ref(theirs.as_str()).or_default();
            match waiting.state {
                State::Opening(..) => peer.opening += 1,
                State::Ready(_) | State::Blocked(_) => peer.streams_out += 1,
                State::Idle | State::Closing(..) | State::Resting(_) => (),
            }
            peer.stanzas += waiting.spool.len();
            peer.bytes += waiting.spool.bytes();
            peer.failures = peer.failures.max(waiting.failures);
        }
        let partners = self.backends.first();
        for (id, link) in self.links.iter().filter(|(_, link)| link.side() == Side::Partners) {
            let Some(facts) = partners.and_then(|backend| backend.facts(now, *id)) else { continue };
            let (received, delivered) = link.carried();
            for (at, domain) in facts.theirs.iter().enumerate().filter(|_| !facts.proof.is_empty()) {
                if !known(&peers, domain) {
                    continue;
                }
                let peer = peers.entry_ref(domain.as_str()).or_default();
                peer.streams_in += usize::from(id.is_accepted());
                let until = peer.certificate_until_unix.into_iter().chain(facts.certificate_until_unix);
                peer.certificate_until_unix = until.min();
                // Which of several domains on a stream said what, nobody counts.
                if at == 0 {
                    peer.received += received;
                    peer.delivered += delivered;
                }
            }
        }
        let mut peers: Vec<PeerFact> =
            peers.into_iter().map(|(domain, peer)| PeerFact { domain, ..peer }).collect();
        peers.sort_unstable_by(|a, b| a.domain.cmp(&b.domain));
        peers.truncate(limit);
        peers
    }

    /// What backends have open, home by home.
    fn open_facts(&self, now: Instant, after: u64, limit: usize) -> OpenPage {
        let first = usize::try_from(after >> PLACE_BITS).unwrap_or(usize::MAX);
        let mut place = after & ((1 << PLACE_BITS) - 1);
        for (index, backend) in self.backends.iter().enumerate().skip(first.max(1)) {
            let page = backend.open(now, place, limit.min(SURVEY_MAX));
            let at = |home: usize, place: u64| (home as u64) << PLACE_BITS | place;
            let next = match page.next {
                Some(next) => Some(at(index, next)),
                None => (index + 1 < self.backends.len()).then(|| at(index + 1, 0)),
            };
            if !page.rows.is_empty() || next.is_none() {
                return OpenPage { next, ..page };
            }
            if page.next.is_some() {
                return OpenPage { rows: Vec::new(), next };
            }
            place = 0;
        }
        OpenPage::default()
    }
}
