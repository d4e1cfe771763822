//! Spans of sampled stanzas, sent to a collector as OTLP over HTTP (JSON). Invariant: stanzas never wait for it. Shards remember steps in
//! a ring ([`turnout_core::trace`]), which is read twice a second; what is not read in time, finds no room or is refused by the collector is
//! dropped and counted. A span holds addresses without resource, ids and outcomes and never a body; where the log names no users, spans
//! do not either.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::watch;
use turnout_core::survey::{SURVEY_MAX, Survey, Surveyed};
use turnout_core::trace::{SAMPLES_MAX, Sampling, Traced};

use crate::config::OtlpConfig;
use crate::router::{Router, random_bytes};

mod assembly;
mod post;
mod wire;

use assembly::Assembly;

/// How often the shards' steps are read.
const READ_EVERY: Duration = Duration::from_millis(500);

/// How old a step is before it counts: by then what another shard remembers of the time before it has been read too.
const SETTLED: Duration = Duration::from_millis(500);

/// Spans that may wait for the collector, as they will be sent.
const QUEUE_MAX: usize = 4_096;

/// Spans in one request.
const BATCH_MAX: usize = 512;

/// Longest pause between two attempts to reach the collector.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Why spans were not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// Steps that were forgotten before they were read. Counts steps.
    Unread,
    /// More are being put together than there is room for.
    Crowded,
    /// The collector takes less than there is.
    Queue,
    /// The collector does not want it.
    Refused,
}

/// Names of the reasons, in the order of the counters.
pub const REASONS: [&str; 4] = ["unread", "crowded", "queue", "refused"];

/// What was sent and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtlpLook {
    /// Spans the collector has.
    pub sent: u64,
    /// Those it has not, in the order of [`REASONS`].
    pub dropped: [u64; REASONS.len()],
    /// The last attempt to send failed.
    pub failing: bool,
}

/// The counters.
#[derive(Debug, Default)]
pub struct Meter {
    sent: AtomicU64,
    dropped: [AtomicU64; REASONS.len()],
    failing: AtomicBool,
}

impl Meter {
    /// A copy.
    pub fn look(&self) -> OtlpLook {
        OtlpLook {
            sent: self.sent.load(Ordering::Relaxed),
            dropped: std::array::from_fn(|at| self.dropped[at].load(Ordering::Relaxed)),
            failing: self.failing.load(Ordering::Relaxed),
        }
    }

    fn lost(&self, why: Lost, count: u64) {
        self.dropped[why as usize].fetch_add(count, Ordering::Relaxed);
    }
}

/// Reads the shards' samples as long as the router runs, where the configuration says so.
pub(crate) async fn follow(router: Router) {
    let mut stopped = router.stopped();
    let (spans, queue) = mpsc::channel(QUEUE_MAX);
    let (tell, told) = watch::channel(None);
    let mut reader = Reader {
        meter: router.otlp_meter(),
        from: vec![0; usize::from(router.world().shards)],
        assembly: Assembly::default(),
        read: Vec::new(),
        spans,
        router,
    };
    let sending = send(queue, told, Arc::clone(&reader.meter));
    let reading = async {
        let mut every = tokio::time::interval(READ_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            reader.turn(&tell).await;
        }
    };
    tokio::select! {
        () = sending => (),
        () = reading => (),
        _ = stopped.wait_for(|stopped| *stopped) => (),
    }
}

/// What makes spans of the shards' steps.
struct Reader {
    router: Router,
    meter: Arc<Meter>,
    /// Of each shard, the number of the first step that was not read.
    from: Vec<u64>,
    /// Steps that are not settled yet, with their shard.
    read: Vec<(u16, Traced)>,
    assembly: Assembly,
    spans: Sender<String>,
}

impl Reader {
    async fn turn(&mut self, tell: &watch::Sender<Option<OtlpConfig>>) {
        let wanted = self.router.otlp_config();
        if *tell.borrow() != wanted {
            self.sample(wanted.as_ref()).await;
            tell.send_replace(wanted.clone());
        }
        if wanted.is_none() {
            return;
        }
        let settled = crate::clock::now().checked_sub(SETTLED);
        for shard in 0..self.from.len() {
            self.read_shard(shard).await;
        }
        let Some(settled) = settled else { return };
        self.read.sort_by_key(|(_, traced)| traced.at);
        let count = self.read.partition_point(|(_, traced)| traced.at <= settled);
        for (shard, traced) in self.read.drain(..count) {
            if !self.assembly.take(shard, &traced) {
                self.meter.lost(Lost::Crowded, 1);
            }
        }
        self.assembly.give_up(settled);
        let (world, clock) = (self.router.world(), wire::Clock::new());
        for span in self.assembly.finished() {
            // Ids of nothing but zeros are none, and a collector refuses them.
            let random = random_bytes().unwrap_or_default();
            if self.spans.try_send(wire::span(&span, &world, &clock, &random)).is_err() {
                self.meter.lost(Lost::Queue, 1);
            }
        }
    }

    /// Has the shards sample by another rule, or not at all.
    async fn sample(&mut self, wanted: Option<&OtlpConfig>) {
        (self.assembly, self.read) = (Assembly::default(), Vec::new());
        self.meter.failing.fetch_and(wanted.is_some(), Ordering::Relaxed);
        // Without random numbers peers could guess which stanzas are sampled, and no more.
        let random = random_bytes().unwrap_or_default();
        let seed = random.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let sampling = wanted.map(|config| Sampling { one_in: config.one_in, seed });
        self.router.set_sampling(sampling).await;
    }

    async fn read_shard(&mut self, shard: usize) {
        let (Some(from), Ok(number)) = (self.from.get_mut(shard), u16::try_from(shard)) else { return };
        // A shard that samples as fast as it is read would keep us for ever.
        for _ in 0..=SAMPLES_MAX / SURVEY_MAX {
            // A shard that does not answer says so elsewhere.
            let Ok(Surveyed::Samples(page)) =
                self.router.survey(number, Arc::new(Survey::Samples(*from))).await
            else {
                return;
            };
            if let (Some(first), Some(last)) = (page.first(), page.last()) {
                self.meter.lost(Lost::Unread, first.number.saturating_sub(*from));
                *from = last.number + 1;
            }
            let is_last = page.len() < SURVEY_MAX;
            self.read.extend(page.into_iter().map(|traced| (number, traced)));
            if is_last {
                return;
            }
        }
    }
}

/// Sends spans to the collector, batch by batch, and again until it has each or says that it does not want it.
async fn send(mut queue: Receiver<String>, told: watch::Receiver<Option<OtlpConfig>>, meter: Arc<Meter>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let count = batch.len() as u64;
        let body = hyper::body::Bytes::from(wire::request(&batch));
        batch.clear();
        let mut pause = Duration::from_secs(1);
        loop {
            let Some(config) = told.borrow().clone() else {
                meter.lost(Lost::Refused, count);
                break;
            };
            match post::post(&config.collector, body.clone()).await {
                Ok(refused) => {
                    let refused = refused.min(count);
                    meter.sent.fetch_add(count - refused, Ordering::Relaxed);
                    meter.lost(Lost::Refused, refused);
                    if meter.failing.swap(false, Ordering::Relaxed) {
                        tracing::info!(event = "otlp.sending", "the collector takes spans again");
                    }
                    break;
                }
                Err(post::Failed { what, for_good }) => {
                    if !meter.failing.swap(true, Ordering::Relaxed) {
                        let (collector, what) = (&config.collector, crate::log::escape(&what));
                        tracing::warn!(event = "otlp.failing", %collector, "spans cannot be sent: {what}");
                    }
                    if for_good {
                        meter.lost(Lost::Refused, count);
                        break;
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
