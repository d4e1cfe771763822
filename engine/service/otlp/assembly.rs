//! Steps become spans. Invariant: a span begins with the first step that is known of a stanza and ends with its last; no more than
//! [`OPEN_MAX`] are begun at a time, none is kept open longer than [`SILENCE`] after its last step, and each knows [`STEPS_MAX`] steps
//! at most.
//!
//! Steps name a stanza by sender, recipient and id, as nothing else is kept with it. Where several bear the same, the first to have come is
//! the first to go on, which is the order in which they are passed on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use turnout_core::io::Side;
use turnout_core::trace::{Step, Traced};

/// Spans that are begun and have not ended.
pub(super) const OPEN_MAX: usize = 8_192;

/// Steps kept of one span.
pub(super) const STEPS_MAX: usize = 32;

/// After so long without a step a span ends as it is: longer than a stanza waits in any spool by default.
pub(super) const SILENCE: Duration = Duration::from_secs(1_800);

/// One step of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) at: Instant,
    pub(super) shard: u16,
    pub(super) step: Step,
    pub(super) side: Side,
    pub(super) why: Option<String>,
}

/// What became of a stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) id: String,
    /// `message`, `presence` or `iq`.
    pub(super) element: &'static str,
    /// The first steps, at least one.
    pub(super) steps: Vec<Moment>,
    /// The last of them: how it ended, where an end is known.
    pub(super) last: Moment,
    /// Steps beyond those kept.
    pub(super) left_out: u32,
}

impl Span {
    fn new(traced: &Traced, moment: Moment) -> Self {
        Self {
            from: traced.from.clone(),
            to: traced.to.clone(),
            id: traced.id.clone(),
            element: traced.kind.element(),
            steps: vec![moment.clone()],
            last: moment,
            left_out: 0,
        }
    }

    fn add(&mut self, moment: Moment) {
        if self.steps.len() < STEPS_MAX {
            self.steps.push(moment.clone());
        } else {
            self.left_out += 1;
        }
        self.last = moment;
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        is_end(self.last.step)
    }

    fn had(&self, step: Step) -> bool {
        self.steps.iter().any(|moment| moment.step == step)
    }
}

fn is_end(step: Step) -> bool {
    matches!(step, Step::Delivered | Step::Bounced | Step::Dropped(_))
}

type Key = (String, String, String);

/// Spans in the making.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    open: HashMap<Key, VecDeque<Span>>,
    count: usize,
    done: Vec<Span>,
}

impl Assembly {
    /// Takes the next step, which is no older than those before. Whether there was room for it.
    pub(super) fn take(&mut self, shard: u16, traced: &Traced) -> bool {
        let key = (traced.from.clone(), traced.to.clone(), traced.id.clone());
        let Traced { at, step, side, why, .. } = traced;
        let moment = Moment { at: *at, shard, step: *step, side: *side, why: why.clone() };
        let begins = *step == Step::Arrived || !self.open.contains_key(&key);
        if begins {
            if is_end(*step) {
                // All that is known of it is its end.
                self.done.push(Span::new(traced, moment));
                return true;
            }
            if self.count >= OPEN_MAX {
                return false;
            }
            self.count += 1;
            self.open.entry(key).or_default().push_back(Span::new(traced, moment));
            return true;
        }
        let Some(spans) = self.open.get_mut(&key) else { return false };
        let place = spans.iter().position(|span| is_end(*step) || !span.had(*step)).unwrap_or_default();
        if let Some(span) = spans.get_mut(place) {
            span.add(moment);
        }
        if is_end(*step) {
            self.done.extend(spans.pop_front());
            self.count -= 1;
            if spans.is_empty() {
                self.open.remove(&key);
            }
        }
        true
    }

    /// Ends what nothing was heard of for too long.
    pub(super) fn give_up(&mut self, now: Instant) {
        let done = &mut self.done;
        let before = done.len();
        self.open.retain(|_, spans| {
            let is_silent = |span: &Span| now.saturating_duration_since(span.last.at) > SILENCE;
            while spans.front().is_some_and(is_silent) {
                done.extend(spans.pop_front());
            }
            !spans.is_empty()
        });
        self.count -= done.len() - before;
    }

    /// Those that have ended since they were last asked for.
    pub(super) fn finished(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.done)
    }
}

#[cfg(test)]
mod tests {
    use turnout_core::home::HomeId;
    use turnout_core::stanza::Kind;
    use turnout_core::tally::DropRule;

    use super::*;

    const LEGACY: Side = Side::Home(HomeId(0));

    fn step(at: Instant, id: &str, step: Step, side: Side) -> Traced {
        Traced {
            number: 0,
            at,
            from: "eve@partner.example".to_owned(),
            to: "anna@contoso.com".to_owned(),
            id: id.to_owned(),
            kind: Kind::message(None),
            made: false,
            step,
            side,
            why: None,
        }
    }

    #[test]
    fn a_span_lasts_from_the_first_step_to_the_last() {
        let begin = crate::clock::now();
        let after = |millis| begin + Duration::from_millis(millis);
        let mut assembly = Assembly::default();
        for (millis, shard, what, side) in [
            (0, 0, Step::Arrived, Side::Partners),
            (1, 0, Step::HandedTo(1), Side::Partners),
            (2, 1, Step::Waits, LEGACY),
            (700, 1, Step::Given, LEGACY),
        ] {
            assert!(assembly.take(shard, &step(after(millis), "m1", what, side)));
        }
        assert_eq!(assembly.finished(), []);
        assembly.take(1, &step(after(705), "m1", Step::Delivered, LEGACY));
        let [span] = assembly.finished().try_into().unwrap();
        let steps: Vec<Step> = span.steps.iter().map(|moment| moment.step).collect();
        assert_eq!(steps, [Step::Arrived, Step::HandedTo(1), Step::Waits, Step::Given, Step::Delivered]);
        assert_eq!((span.steps[0].at, span.last.at, span.last.side), (begin, after(705), LEGACY));
        assert!(span.has_ended() && assembly.open.is_empty() && assembly.count == 0);
    }

    #[test]
    fn stanzas_that_bear_the_same_id_are_told_apart_by_their_order() {
        let begin = crate::clock::now();
        let after = |millis| begin + Duration::from_millis(millis);
        let mut assembly = Assembly::default();
        for (millis, what) in [
            (0, Step::Arrived),
            (1, Step::Arrived),
            (2, Step::Given),
            (3, Step::Given),
            (4, Step::Delivered),
            (5, Step::Dropped(DropRule::HomeLeft)),
        ] {
            assembly.take(0, &step(after(millis), "", what, LEGACY));
        }
        let spans = assembly.finished();
        let times: Vec<_> = spans.iter().map(|span| (span.steps[0].at, span.last.at)).collect();
        assert_eq!(times, [(begin, after(4)), (after(1), after(5))]);
        assert!(spans.iter().all(|span| span.steps.len() == 3), "{spans:#?}");
    }

    #[test]
    fn what_has_no_end_is_bounded_and_given_up() {
        let begin = crate::clock::now();
        let mut assembly = Assembly::default();
        for n in 0..OPEN_MAX + 5 {
            let taken = assembly.take(0, &step(begin, &n.to_string(), Step::Arrived, Side::Partners));
            assert_eq!(taken, n < OPEN_MAX);
        }
        // An end without a beginning is a span of its own, and takes no place.
        assert!(assembly.take(0, &step(begin, "late", Step::Bounced, Side::Partners)));
        assert_eq!(assembly.finished().len(), 1);
        let later = begin + Duration::from_secs(60);
        for _ in 0..2 * STEPS_MAX {
            assembly.take(0, &step(later, "0", Step::GivenBack, Side::Partners));
        }
        assembly.give_up(begin + SILENCE + Duration::from_secs(1));
        let given_up = assembly.finished();
        assert_eq!((given_up.len(), assembly.count), (OPEN_MAX - 1, 1));
        assert!(given_up.iter().all(|span| !span.has_ended()));
        assembly.give_up(later + SILENCE + Duration::from_secs(1));
        let [span] = assembly.finished().try_into().unwrap();
        assert_eq!((span.steps.len(), span.left_out as usize), (STEPS_MAX, STEPS_MAX + 1));
        assert_eq!((assembly.count, assembly.open.len()), (0, 0));
    }
}
