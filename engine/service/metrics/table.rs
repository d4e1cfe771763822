//! Every metric there is: name, kind, labels, help, and where its value comes from. Invariant: this table is the only place that
//! names a metric; `config/alerts.yml` and `config/dashboard.json` are held against it by a test.

use turnout_core::refusal::Condition;
use turnout_core::tally::DropRule;

use super::{Kind, Metric};
use Kind::{Counter, Gauge, Histogram};

/// Which stanzas: `passed` came from outside, `made` are answers and bounces of the router's own.
const FLOW: &[&str] = &["flow"];

/// Which side: `partners`, or the name of a home as configured.
const SIDE: &[&str] = &["side"];

/// Which shard: its number, from 0.
const SHARD: &[&str] = &["shard"];

/// The table.
pub static METRICS: &[Metric] = &[
    // What is running.
    Metric {
        name: "turnout_build_info",
        kind: Gauge,
        labels: &["version"], // as `turnout --version` prints it
        help: "Always 1; the version is in the label.",
        read: |_, out| out.put(&[env!("CARGO_PKG_VERSION")], 1),
    },
    Metric {
        name: "turnout_driver_info",
        kind: Gauge,
        labels: &["driver"], // io_uring | poll
        help: "Always 1; the driver in use is in the label.",
        read: |now, out| out.put(&[now.look.driver], 1),
    },
    Metric {
        name: "turnout_start_time_seconds",
        kind: Gauge,
        labels: &[],
        help: "When the router started, in seconds since 1970.",
        read: |now, out| out.put(&[], now.look.started_unix),
    },
    Metric {
        name: "turnout_config_generation",
        kind: Gauge,
        labels: &[],
        help: "Generation of the configuration in use: 1 at the start, one more after each reload.",
        read: |now, out| out.put(&[], now.look.world.generation),
    },
    Metric {
        name: "turnout_draining",
        kind: Gauge,
        labels: &[],
        help: "1 while the router is stopping, else 0.",
        read: |now, out| out.put(&[], u64::from(now.look.draining)),
    },
    // What became of every stanza: received + recovered = delivered + bounced + dropped + left + held + on the way between shards.
    Metric {
        name: "turnout_stanzas_received_total",
        kind: Counter,
        labels: FLOW,
        help: "Stanzas that entered the router.",
        read: |now, out| now.flows().iter().for_each(|(flow, counts)| out.put(&[flow], counts.received)),
    },
    Metric {
        name: "turnout_stanzas_recovered_total",
        kind: Counter,
        labels: FLOW,
        help: "Stanzas that waited on disk when the router started.",
        read: |now, out| now.flows().iter().for_each(|(flow, counts)| out.put(&[flow], counts.recovered)),
    },
    Metric {
        name: "turnout_stanzas_left_total",
        kind: Counter,
        labels: FLOW,
        help: "Stanzas left on disk for the next start, while the router stops.",
        read: |now, out| now.flows().iter().for_each(|(flow, counts)| out.put(&[flow], counts.left)),
    },
    Metric {
        name: "turnout_stanzas_delivered_total",
        kind: Counter,
        labels: FLOW,
        help: "Stanzas the next hop has.",
        read: |now, out| now.flows().iter().for_each(|(flow, counts)| out.put(&[flow], counts.delivered)),
    },
    Metric {
        name: "turnout_stanzas_bounced_total",
        kind: Counter,
        labels: FLOW,
        help: "Stanzas answered with an error.",
        read: |now, out| now.flows().iter().for_each(|(flow, counts)| out.put(&[flow], counts.bounced)),
    },
    Metric {
        name: "turnout_stanzas_dropped_total",
        kind: Counter,
        // rule: error_unanswered, result_unanswered, presence_unanswered, headline_unanswered, for_router, made_undeliverable,
        // contact_known, contact_unasked, home_left
        labels: &["flow", "rule"],
        help: "Stanzas dropped without a word, by the rule that demands it.",
        read: |now, out| {
            for (flow, counts) in now.flows() {
                for (rule, count) in DropRule::ALL.into_iter().zip(counts.dropped) {
                    out.put(&[flow, rule.as_str()], count);
                }
            }
        },
    },
    Metric {
        name: "turnout_stanzas_held",
        kind: Gauge,
        labels: &[],
        help: "Stanzas accepted that have found no end yet: in spools, unwritten on links, in sessions, held for a move.",
        read: |now, out| out.put(&[], now.totals.held),
    },
    Metric {
        name: "turnout_stanzas_unaccounted",
        kind: Gauge,
        labels: &[],
        help: "Stanzas the sums cannot explain. Anything but 0 is a fault of the router.",
        read: |now, out| out.put(&[], now.totals.unaccounted),
    },
    Metric {
        name: "turnout_refusals_total",
        kind: Counter,
        labels: &["condition"], // the 22 conditions of RFC 6120 §8.3.3
        help: "Stanzas refused, by the condition of the stanza error.",
        read: |now, out| {
            for (condition, count) in Condition::ALL.into_iter().zip(now.totals.refusals) {
                out.put(&[condition.as_str()], count);
            }
        },
    },
    Metric {
        name: "turnout_spool_bytes",
        kind: Gauge,
        labels: &[],
        help: "Bytes of stanzas that wait in spools.",
        read: |now, out| out.put(&[], now.totals.spooled_bytes),
    },
    Metric {
        name: "turnout_moving_users",
        kind: Gauge,
        labels: &[],
        help: "Users whose stanzas are held because they are being moved.",
        read: |now, out| out.put(&[], now.totals.moving_users),
    },
    // Who brings more than goes out.
    Metric {
        name: "turnout_links_paused",
        kind: Gauge,
        labels: &[],
        help: "Links not read now, as too much of what they brought waits for its way out.",
        read: |now, out| out.put(&[], now.totals.paused_links),
    },
    Metric {
        name: "turnout_link_pauses_total",
        kind: Counter,
        labels: &[],
        help: "Times a link was no longer read for that reason.",
        read: |now, out| out.put(&[], now.totals.pauses),
    },
    Metric {
        name: "turnout_rate_refusals_total",
        kind: Counter,
        labels: &["whose"], // partner | sender
        help: "Stanzas refused because their partner, or their sender, sent more than the rate configured in [flow].",
        read: |now, out| {
            let whose = ["partner", "sender"].iter().zip(now.totals.too_fast);
            whose.for_each(|(whose, count)| out.put(&[whose], count));
        },
    },
    // Who sees whom.
    Metric {
        name: "turnout_contacts",
        kind: Gauge,
        labels: &["subscription"], // none | to | from | both, seen from the local user
        help: "Pairs of a local and a partner's user that are remembered, by their subscription.",
        read: |now, out| {
            let states = now.totals.contacts.by_state();
            states.iter().take(4).for_each(|(state, count)| out.put(&[state], *count));
        },
    },
    Metric {
        name: "turnout_contacts_marked",
        kind: Gauge,
        labels: &["mark"], // asked | asking | vetoed
        help: "Contacts that wait for an answer, or whose partner's user is not asked again.",
        read: |now, out| {
            let states = now.totals.contacts.by_state();
            states.iter().skip(4).for_each(|(state, count)| out.put(&[state], *count));
        },
    },
    Metric {
        name: "turnout_presence_stanzas_waiting",
        kind: Gauge,
        labels: &[],
        help: "Presence stanzas that wait for the store or for their turn; they are among the held.",
        read: |now, out| out.put(&[], now.totals.presence_waiting),
    },
    Metric {
        name: "turnout_presence_wishes_waiting",
        kind: Gauge,
        labels: &[],
        help: "Questions of the router's own about presence that wait for their turn or for a home that is away.",
        read: |now, out| out.put(&[], now.totals.wishes_waiting),
    },
    Metric {
        name: "turnout_presence_watches",
        kind: Gauge,
        labels: SIDE,
        help: "Subscriptions to presence that are open towards a side.",
        read: |now, out| now.totals.sides.iter().for_each(|(side, tally)| out.put(&[side], tally.watches)),
    },
    Metric {
        name: "turnout_presence_subscriptions",
        kind: Gauge,
        labels: SIDE,
        help: "Subscriptions to presence that a side has open here.",
        read: |now, out| {
            now.totals.sides.iter().for_each(|(side, tally)| out.put(&[side], tally.subscriptions));
        },
    },
    // The sides.
    Metric {
        name: "turnout_side_stanzas_received_total",
        kind: Counter,
        labels: SIDE,
        help: "Stanzas received from a side.",
        read: |now, out| now.totals.sides.iter().for_each(|(side, tally)| out.put(&[side], tally.received)),
    },
    Metric {
        name: "turnout_side_stanzas_delivered_total",
        kind: Counter,
        labels: SIDE,
        help: "Stanzas delivered to a side.",
        read: |now, out| now.totals.sides.iter().for_each(|(side, tally)| out.put(&[side], tally.delivered)),
    },
    Metric {
        name: "turnout_side_stanzas_bounced_total",
        kind: Counter,
        labels: SIDE,
        help: "Stanzas from a side that were answered with an error.",
        read: |now, out| now.totals.sides.iter().for_each(|(side, tally)| out.put(&[side], tally.bounced)),
    },
    Metric {
        name: "turnout_links",
        kind: Gauge,
        labels: SIDE,
        help: "Links open now.",
        read: |now, out| now.totals.sides.iter().for_each(|(side, tally)| out.put(&[side], tally.links)),
    },
    Metric {
        name: "turnout_links_accepted_total",
        kind: Counter,
        labels: SIDE,
        help: "Connections accepted.",
        read: |now, out| now.totals.sides.iter().for_each(|(side, tally)| out.put(&[side], tally.accepted)),
    },
    Metric {
        name: "turnout_links_dialed_total",
        kind: Counter,
        labels: SIDE,
        help: "Connections dialed.",
        read: |now, out| now.totals.sides.iter().for_each(|(side, tally)| out.put(&[side], tally.dialed)),
    },
    Metric {
        name: "turnout_links_failed_total",
        kind: Counter,
        labels: SIDE,
        help: "Dialed connections that failed before they carried a stanza.",
        read: |now, out| now.totals.sides.iter().for_each(|(side, tally)| out.put(&[side], tally.failed)),
    },
    Metric {
        name: "turnout_stanzas_repeated_total",
        kind: Counter,
        labels: SIDE,
        help: "Stanzas sent again, as their link was gone before the peer acknowledged them: it may have them twice.",
        read: |now, out| now.totals.sides.iter().for_each(|(side, tally)| out.put(&[side], tally.repeated)),
    },
    Metric {
        name: "turnout_links_faulted_total",
        kind: Counter,
        labels: SIDE,
        help: "Links ended because the peer broke the protocol.",
        read: |now, out| now.totals.sides.iter().for_each(|(side, tally)| out.put(&[side], tally.faults)),
    },
    Metric {
        name: "turnout_links_stalled_total",
        kind: Counter,
        labels: SIDE,
        help: "Links cut because the peer took nothing of what waited for it for 90 s.",
        read: |now, out| now.totals.sides.iter().for_each(|(side, tally)| out.put(&[side], tally.stalled)),
    },
    Metric {
        name: "turnout_delivery_seconds",
        kind: Histogram,
        labels: SIDE,
        help: "Time from the arrival of a stanza until the side it is for has it.",
        read: |now, out| {
            now.totals.sides.iter().for_each(|(side, tally)| out.put_histogram(&[side], &tally.latency));
        },
    },
    Metric {
        name: "turnout_node_failures",
        kind: Gauge,
        labels: &["home", "node"], // as configured: the home's name, and host and port from its `connect`
        help: "Failures in a row of a home's node; 0 when it works.",
        read: |now, out| {
            now.look
                .nodes()
                .iter()
                .for_each(|node| out.put(&[node.home, &node.node], u64::from(node.failures)));
        },
    },
    // The directory.
    Metric {
        name: "turnout_directory_users",
        kind: Gauge,
        labels: &[],
        help: "Users in the directory as its source gave them.",
        read: |now, out| out.put(&[], now.look.directory.snapshot().len() as u64),
    },
    Metric {
        name: "turnout_directory_changed_users",
        kind: Gauge,
        labels: &[],
        help: "Users moved by hand whom the directory's source does not show in their new home yet.",
        read: |now, out| out.put(&[], now.look.directory.overlay().len() as u64),
    },
    Metric {
        name: "turnout_directory_age_seconds",
        kind: Gauge,
        labels: &[],
        help: "Time since the directory's source was known to say what is in use.",
        read: |now, out| out.put(&[], now.look.directory_age_seconds()),
    },
    Metric {
        name: "turnout_directory_class_users",
        kind: Gauge,
        labels: &["class"],
        help: "Users by class: home, cloud, unassigned, branch, unknown_pool; moving are in one of these as well.",
        read: |now, out| {
            now.look.standing.classes.by_name().iter().for_each(|(class, users)| out.put(&[class], *users));
        },
    },
    Metric {
        name: "turnout_directory_strays_total",
        kind: Counter,
        labels: &[],
        help: "Stanzas for users whom a pool did not know although the directory has them there.",
        read: |now, out| out.put(&[], now.look.shards.iter().map(|shard| shard.tally.strays).sum()),
    },
    Metric {
        name: "turnout_directory_failing",
        kind: Gauge,
        labels: &[],
        help: "1 while the last look at the directory's source failed, else 0.",
        read: |now, out| out.put(&[], u64::from(now.look.standing.failing.is_some())),
    },
    Metric {
        name: "turnout_directory_failures_total",
        kind: Counter,
        labels: &[],
        help: "Looks at the directory's source that failed.",
        read: |now, out| out.put(&[], now.look.standing.failures),
    },
    Metric {
        name: "turnout_directory_from_disk",
        kind: Gauge,
        labels: &[],
        help: "1 while the users are those of the last good load, from the disk, else 0.",
        read: |now, out| out.put(&[], u64::from(now.look.standing.from_disk)),
    },
    // The durable spool. Without one there is nothing here but turnout_spool_disk_failing.
    Metric {
        name: "turnout_spool_disk_failing",
        kind: Gauge,
        labels: &[],
        help: "1 while the spool cannot be written to its disk, else 0.",
        read: |now, out| {
            let failing = now.look.spool.as_ref().is_some_and(|spool| spool.failing.is_some());
            out.put(&[], u64::from(failing));
        },
    },
    Metric {
        name: "turnout_spool_disk_failures_total",
        kind: Counter,
        labels: &[],
        help: "Writes, syncs and other things done to the spool's disk that failed.",
        read: |now, out| now.spool(out, |spool| spool.failures),
    },
    Metric {
        name: "turnout_spool_disk_full",
        kind: Gauge,
        labels: &[],
        help: "1 while the spool is as large as spool.bytes_max allows, else 0.",
        read: |now, out| now.spool(out, |spool| u64::from(spool.gauges.full)),
    },
    Metric {
        name: "turnout_spool_disk_bytes",
        kind: Gauge,
        labels: &[],
        help: "Bytes of the spool's segments.",
        read: |now, out| now.spool(out, |spool| spool.gauges.bytes),
    },
    Metric {
        name: "turnout_spool_disk_stanzas",
        kind: Gauge,
        labels: &[],
        help: "Stanzas on disk that have found no end yet.",
        read: |now, out| now.spool(out, |spool| spool.gauges.entries),
    },
    Metric {
        name: "turnout_spool_disk_stanzas_unwritten",
        kind: Gauge,
        labels: &[],
        help: "Stanzas that wait and are not on disk yet; nobody was told that they are.",
        read: |now, out| now.spool(out, |spool| spool.gauges.queued),
    },
    Metric {
        name: "turnout_spool_disk_oldest_seconds",
        kind: Gauge,
        labels: &[],
        help: "Age of the oldest stanza of the oldest segment in use; 0 if none is.",
        read: |now, out| {
            let now_millis = now.look.now_unix.saturating_mul(1000);
            let age = |since: u64| now_millis.saturating_sub(since) / 1000;
            now.spool(out, |spool| spool.gauges.oldest_unix_millis.map_or(0, age));
        },
    },
    Metric {
        name: "turnout_spool_disk_given_total",
        kind: Counter,
        labels: &[],
        help: "Stanzas that were given to the spool's disk since the start.",
        read: |now, out| now.spool(out, |spool| spool.given),
    },
    Metric {
        name: "turnout_spool_disk_written_bytes_total",
        kind: Counter,
        labels: &[],
        help: "Bytes appended to the spool's segments since the start.",
        read: |now, out| now.spool(out, |spool| spool.appended),
    },
    Metric {
        name: "turnout_spool_disk_sync_seconds",
        kind: Histogram,
        labels: &[],
        help: "Time a sync of a segment takes.",
        read: |now, out| {
            if let Some(spool) = &now.look.spool {
                out.put_histogram(&[], &spool.syncs);
            }
        },
    },
    // The store of contacts. Without one there is nothing here but turnout_store_failing.
    Metric {
        name: "turnout_store_failing",
        kind: Gauge,
        labels: &[],
        help: "1 while the store of contacts cannot be written, else 0.",
        read: |now, out| {
            let failing = now.look.store.as_ref().is_some_and(|store| store.failing.is_some());
            out.put(&[], u64::from(failing));
        },
    },
    Metric {
        name: "turnout_store_failures_total",
        kind: Counter,
        labels: &[],
        help: "Attempts to write the store of contacts that failed.",
        read: |now, out| now.store(out, |store| store.failures),
    },
    Metric {
        name: "turnout_store_contacts",
        kind: Gauge,
        labels: &[],
        help: "Pairs of a local user and a partner's user in the store.",
        read: |now, out| now.store(out, |store| store.contacts),
    },
    Metric {
        name: "turnout_store_bytes",
        kind: Gauge,
        labels: &[],
        help: "Length of the store's file.",
        read: |now, out| now.store(out, |store| store.bytes),
    },
    Metric {
        name: "turnout_store_commits_total",
        kind: Counter,
        labels: &[],
        help: "Transactions the store has on disk since the start.",
        read: |now, out| now.store(out, |store| store.commits),
    },
    Metric {
        name: "turnout_store_changes_total",
        kind: Counter,
        labels: &[],
        help: "Changes of contacts the store took from the shards.",
        read: |now, out| now.store(out, |store| store.taken),
    },
    // Spans for a collector.
    Metric {
        name: "turnout_otlp_spans_sent_total",
        kind: Counter,
        labels: &[],
        help: "Spans of stanzas the collector has taken.",
        read: |now, out| out.put(&[], now.look.otlp.sent),
    },
    Metric {
        name: "turnout_otlp_spans_dropped_total",
        kind: Counter,
        labels: &["reason"], // unread (counts steps), crowded, queue, refused
        help: "Spans of stanzas, or steps of them, that the collector does not have, by reason.",
        read: |now, out| {
            for (reason, count) in crate::otlp::REASONS.iter().zip(now.look.otlp.dropped) {
                out.put(&[reason], count);
            }
        },
    },
    Metric {
        name: "turnout_otlp_failing",
        kind: Gauge,
        labels: &[],
        help: "1 while spans cannot be sent, else 0.",
        read: |now, out| out.put(&[], u64::from(now.look.otlp.failing)),
    },
    // The shards: how the load spreads, and whether one is stuck.
    Metric {
        name: "turnout_shard_turns_total",
        kind: Counter,
        labels: SHARD,
        help: "Turns of a shard's loop.",
        read: |now, out| now.shards(|shard, look| out.put(&[shard], look.tally.turns)),
    },
    Metric {
        name: "turnout_shard_stanzas_received_total",
        kind: Counter,
        labels: SHARD,
        help: "Stanzas that entered the router on a shard.",
        read: |now, out| {
            now.shards(|shard, look| {
                out.put(&[shard], look.tally.passed.received + look.tally.made.received)
            });
        },
    },
    Metric {
        name: "turnout_shard_stanzas_handed_out_total",
        kind: Counter,
        labels: SHARD,
        help: "Stanzas a shard handed to another.",
        read: |now, out| {
            now.shards(|shard, look| {
                out.put(&[shard], look.tally.passed.handed_out + look.tally.made.handed_out)
            });
        },
    },
    Metric {
        name: "turnout_shard_stanzas_handed_in_total",
        kind: Counter,
        labels: SHARD,
        help: "Stanzas a shard took from another.",
        read: |now, out| {
            now.shards(|shard, look| {
                out.put(&[shard], look.tally.passed.handed_in + look.tally.made.handed_in)
            });
        },
    },
    Metric {
        name: "turnout_shard_stanzas_held",
        kind: Gauge,
        labels: SHARD,
        help: "Stanzas a shard holds.",
        read: |now, out| now.shards(|shard, look| out.put(&[shard], look.tally.held)),
    },
    Metric {
        name: "turnout_shard_links",
        kind: Gauge,
        labels: SHARD,
        help: "Links open on a shard.",
        read: |now, out| now.shards(|shard, look| out.put(&[shard], look.links())),
    },
];
