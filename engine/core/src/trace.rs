//! What became of single stanzas, for an administrator who looks for one. Invariant: a trace holds addresses, ids and outcomes and never
//! a body; it is a ring of [`TRACE_ENTRIES`] places that the newest takes from the oldest; recording allocates nothing but the words
//! of a refusal, and what is not asked for costs a stanza that is passed on one comparison, or one for a whole run.
//!
//! Beside it stand the steps of the stanzas that are sampled, for whoever sends them on ([`samples`]).

use std::sync::Arc;
use std::time::Instant;

use crate::io::Side;
use crate::run::{Head, Run};
use crate::stanza::{Kind, Stanza};
use crate::tally::DropRule;

mod samples;

use samples::Samples;
pub use samples::{SAMPLES_MAX, Sampling};

/// Places of one shard's ring.
pub const TRACE_ENTRIES: usize = 16_384;

/// Users and domains a trace may be limited to.
pub const TRACE_ONLY_MAX: usize = 32;

/// Octets kept of an address.
const ADDRESS_BYTES: usize = 79;

/// Octets kept of an id.
const ID_BYTES: usize = 47;

/// Most octets kept of a reason.
const WHY_BYTES_MAX: usize = 400;

/// What is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceMode {
    /// Nothing.
    #[default]
    Off,
    /// What was not delivered: bounced or dropped, and why.
    Failures,
    /// Every step of every stanza.
    All,
}

impl TraceMode {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Failures => "failures",
            Self::All => "all",
        }
    }

    /// Reads it back.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Off, Self::Failures, Self::All].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// What is remembered, and of whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceRules {
    /// How much.
    pub mode: TraceMode,
    /// Only stanzas to or from one of these: a prepared bare address, or a domain. Empty is everybody.
    pub only: Vec<Arc<str>>,
    /// Which stanzas are sampled, whatever else is remembered.
    pub sampling: Option<Sampling>,
}

impl TraceRules {
    fn concern(&self, from: &str, to: &str) -> bool {
        let is = |bare: &str, who: &str| {
            bare == who || (!who.contains('@') && bare.rsplit('@').next() == Some(who))
        };
        self.only.is_empty() || self.only.iter().any(|who| is(from, who) || is(to, who))
    }

    /// Whether a stanza between these two domains may concern them.
    fn may_concern(&self, from: &str, to: &str) -> bool {
        let domain = |who: &'_ Arc<str>| who.rsplit('@').next().is_some_and(|who| who == from || who == to);
        self.only.is_empty() || self.only.iter().any(domain)
    }
}

/// What happened to a stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It came in.
    Arrived,
    /// It waits, as one of its users is being moved.
    Held,
    /// It waits for its destination.
    Waits,
    /// It was handed to this shard.
    HandedTo(u16),
    /// It was given to the backend of its side to be sent.
    Given,
    /// The next hop has it.
    Delivered,
    /// The next hop gave it back, and it is tried again.
    GivenBack,
    /// Its sender was told that it is not delivered.
    Bounced,
    /// It was dropped by this rule.
    Dropped(DropRule),
}

impl Step {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arrived => "arrived",
            Self::Held => "held",
            Self::Waits => "waits",
            Self::HandedTo(_) => "handed over",
            Self::Given => "given",
            Self::Delivered => "delivered",
            Self::GivenBack => "given back",
            Self::Bounced => "bounced",
            Self::Dropped(_) => "dropped",
        }
    }
}

/// A text cut to what there is room for.
#[derive(Clone, Copy)]
struct Short<const N: usize> {
    len: u8,
    bytes: [u8; N],
}

impl<const N: usize> Short<N> {
    fn new(text: &[u8]) -> Self {
        let mut short = Self { len: 0, bytes: [0; N] };
        for (place, byte) in short.bytes.iter_mut().zip(text) {
            *place = *byte;
            short.len += 1;
        }
        short
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// Whether it is this text, as far as it was kept.
    fn is(&self, text: &[u8]) -> bool {
        let kept = text.len().min(N);
        self.bytes() == text.get(..kept).unwrap_or_default()
    }
}

/// One place of the ring.
#[derive(Clone)]
struct Entry {
    number: u64,
    at: Instant,
    from: Short<ADDRESS_BYTES>,
    to: Short<ADDRESS_BYTES>,
    id: Short<ID_BYTES>,
    kind: Kind,
    made: bool,
    step: Step,
    side: Side,
    why: Option<Box<str>>,
}

/// What was remembered of one step of one stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Grows with each step on this shard.
    pub number: u64,
    /// When.
    pub at: Instant,
    /// The sender, bare; the first [`ADDRESS_BYTES`] octets.
    pub from: String,
    /// The recipient, bare; likewise.
    pub to: String,
    /// The stanza's id as it was written, the first [`ID_BYTES`] octets; empty without one.
    pub id: String,
    /// Element and type.
    pub kind: Kind,
    /// The router made it.
    pub made: bool,
    /// What happened.
    pub step: Step,
    /// Where: the side it came from for what arrived and what was refused, else the side it goes to.
    pub side: Side,
    /// Why, where it was refused.
    pub why: Option<String>,
}

/// What is looked for; each part that is given has to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceQuery {
    /// The stanza's id.
    pub id: Option<String>,
    /// The bare address of sender or recipient, or a domain of one of them.
    pub who: Option<String>,
    /// Not before.
    pub since: Option<Instant>,
    /// Not after.
    pub until: Option<Instant>,
    /// Only steps that are bad news: bounced, dropped, given back.
    pub failures: bool,
    /// The newest so many, at most [`SURVEY_MAX`](crate::survey::SURVEY_MAX).
    pub limit: usize,
}

/// The trace of one shard.
#[derive(Default)]
pub struct Trace {
    rules: Arc<TraceRules>,
    ring: Vec<Entry>,
    count: u64,
    samples: Samples,
    /// Steps of what is passed on are looked at.
    watches: bool,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace")
            .field("rules", &self.rules)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Trace {
    /// From now on by these rules. What was remembered stays, unless nothing is to be remembered any more.
    pub fn set(&mut self, rules: Arc<TraceRules>) {
        if rules.mode == TraceMode::Off {
            (self.ring, self.count) = (Vec::new(), 0);
        } else {
            self.ring.reserve_exact(TRACE_ENTRIES - self.ring.len());
        }
        self.samples.set(rules.sampling.is_some());
        self.watches = rules.mode == TraceMode::All || rules.sampling.is_some();
        self.rules = rules;
    }

    /// Whether steps of stanzas that are passed on are looked at: asked before anything is done for it.
    #[inline]
    pub fn watches(&self) -> bool {
        self.watches
    }

    /// A step of a stanza; nothing unless steps are looked at.
    #[inline]
    pub fn step(&mut self, now: Instant, stanza: &Stanza, step: Step, side: Side) {
        if self.watches {
            self.record(now, stanza, step, side, None);
        }
    }

    /// A stanza that is not delivered, and why.
    pub fn failed(&mut self, now: Instant, stanza: &Stanza, step: Step, why: &dyn Fn() -> String) {
        if self.rules.mode != TraceMode::Off || self.watches {
            self.record(now, stanza, step, stanza.origin.side, Some(why));
        }
    }

    fn record(
        &mut self,
        now: Instant,
        stanza: &Stanza,
        step: Step,
        side: Side,
        why: Option<&dyn Fn() -> String>,
    ) {
        let (from, to) = (stanza.from.bare_str(), stanza.to.bare_str());
        let id = stanza.raw(&stanza.id_span);
        let wanted = match self.rules.mode {
            TraceMode::Off => false,
            TraceMode::Failures => why.is_some(),
            TraceMode::All => true,
        };
        let is_kept = wanted && self.rules.concern(from, to);
        let sampling = self.rules.sampling.filter(|_| !stanza.made);
        let is_sampled = sampling.is_some_and(|of| of.takes(from.as_bytes(), to.as_bytes(), id));
        if !is_kept && !is_sampled {
            return;
        }
        let entry = Entry {
            number: 0,
            at: now,
            from: Short::new(from.as_bytes()),
            to: Short::new(to.as_bytes()),
            id: Short::new(id),
            kind: stanza.kind,
            made: stanza.made,
            step,
            side,
            why: why.map(|why| clip(why()).into()),
        };
        if is_sampled {
            self.samples.put(entry.clone());
        }
        if is_kept {
            self.put(entry);
        }
    }

    /// A step of stanzas of a run. To be asked for only where [`Trace::watches`].
    pub fn run(&mut self, now: Instant, run: &Run, heads: &[Head], step: Step, side: Side) {
        let all =
            self.rules.mode == TraceMode::All && self.rules.may_concern(run.from.as_str(), run.to.as_str());
        let sampling = self.rules.sampling;
        if !all && sampling.is_none() {
            return;
        }
        for head in heads {
            let (from, to) = (run.text(head.from.bare()), run.text(head.to.bare()));
            let id = run.text(head.id_start as usize..head.id_end as usize);
            let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
            let is_kept = all && self.rules.concern(text(from), text(to));
            let is_sampled = sampling.is_some_and(|of| of.takes(from, to, id));
            if !is_kept && !is_sampled {
                continue;
            }
            let entry = Entry {
                number: 0,
                at: now,
                from: Short::new(from),
                to: Short::new(to),
                id: Short::new(id),
                kind: head.kind,
                made: false,
                step,
                side,
                why: None,
            };
            if is_sampled {
                self.samples.put(entry.clone());
            }
            if is_kept {
                self.put(entry);
            }
        }
    }

    /// Steps of sampled stanzas from this number on, the oldest first, at most [`SURVEY_MAX`](crate::survey::SURVEY_MAX) of them. One whose
    /// number is higher than was asked for says that those before it are forgotten.
    pub fn samples(&self, from: u64) -> Vec<Traced> {
        self.samples.from(from)
    }

    fn put(&mut self, mut entry: Entry) {
        entry.number = self.count;
        let place = (self.count % TRACE_ENTRIES as u64) as usize;
        self.count += 1;
        match self.ring.get_mut(place) {
            Some(old) => *old = entry,
            None => self.ring.push(entry),
        }
    }

    /// What is remembered, the newest first. Looks at every place: for an administrator's question.
    pub fn find(&self, query: &TraceQuery) -> Vec<Traced> {
        let who = query.who.as_deref().map(str::as_bytes);
        let fits = |entry: &&Entry| {
            query.id.as_ref().is_none_or(|id| entry.id.is(id.as_bytes()))
                && who.is_none_or(|who| {
                    [&entry.from, &entry.to].into_iter().any(|address| {
                        address.is(who)
                            || (!who.contains(&b'@') && address.bytes().ends_with(&at_domain(who)))
                    })
                })
                && query.since.is_none_or(|since| entry.at >= since)
                && query.until.is_none_or(|until| entry.at <= until)
                && (!query.failures
                    || matches!(entry.step, Step::Bounced | Step::Dropped(_) | Step::GivenBack))
        };
        let mut found: Vec<&Entry> = self.ring.iter().filter(fits).collect();
        found.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.number));
        found.truncate(query.limit.min(crate::survey::SURVEY_MAX));
        found.into_iter().map(Entry::copy).collect()
    }
}

/// No more of a reason than a line holds.
fn clip(mut why: String) -> String {
    why.truncate(why.floor_char_boundary(WHY_BYTES_MAX));
    why
}

fn at_domain(domain: &[u8]) -> Vec<u8> {
    [b"@", domain].concat()
}

impl Entry {
    fn copy(&self) -> Traced {
        Traced {
            number: self.number,
            at: self.at,
            from: self.from.text(),
            to: self.to.text(),
            id: self.id.text(),
            kind: self.kind,
            made: self.made,
            step: self.step,
            side: self.side,
            why: self.why.as_deref().map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests;
