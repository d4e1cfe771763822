//! `[limits]`: how much there is room for. What is fixed, and why, is in docs/decisions/0037.

use std::ops::RangeInclusive;

use turnout_core::flow::{FlowLimits, Room};

use super::read::Table;

const MIB: u64 = 1024 * 1024;

/// The table. `flow` and `stanza_bytes_max` are what it has to fit.
pub(super) fn room(table: &Table<'_, '_>, flow: &FlowLimits, stanza_bytes_max: Option<usize>) -> Room {
    let otherwise = Room::default();
    let number = |key, allowed: RangeInclusive<u64>, otherwise: usize| {
        table.number(key, allowed).and_then(|number| usize::try_from(number).ok()).unwrap_or(otherwise)
    };
    let verify_streams = number("verify_streams_max", 16..=8192, otherwise.verify_streams);
    let subscriptions = number("sip_subscriptions_max", 1024..=4_194_304, otherwise.sip_subscriptions);
    let made = Room {
        spool_stanzas: number("waiting_stanzas_max", 8192..=4_194_304, otherwise.spool_stanzas),
        spool_bytes: number("waiting_bytes_max", 16 * MIB..=1024 * MIB, otherwise.spool_bytes),
        shard_spool_bytes: number(
            "waiting_bytes_total_max",
            64 * MIB..=16 * 1024 * MIB,
            otherwise.shard_spool_bytes,
        ),
        destinations: number("destinations_max", 1024..=1_048_576, otherwise.destinations),
        contacts: number("contacts_max", 10_000..=64_000_000, otherwise.contacts),
        contacts_per_user: number("contacts_per_user_max", 2000..=100_000, otherwise.contacts_per_user),
        home_connections: number("home_connections_max", 16..=65_536, otherwise.home_connections),
        verify_streams,
        // Half of them are kept for partners who are configured.
        verify_streams_unlisted: verify_streams / 2,
        sip_transactions: number("sip_transactions_max", 4096..=4_194_304, otherwise.sip_transactions),
        sip_sessions: number("sip_sessions_max", 1024..=4_194_304, otherwise.sip_sessions),
        sip_kept: number("sip_messages_max", 4096..=4_194_304, otherwise.sip_kept),
        sip_talks: otherwise.sip_talks,
        sip_watches: subscriptions,
        sip_subscriptions: subscriptions,
    };
    let small = |key: &'static str, is: usize, least: usize, why: &str| {
        if is < least {
            table.book.wrong(
                &table.spot_of(key),
                format!("{is} is too little beside {why}"),
                format!("give {least} or more"),
            );
        }
    };
    let share = flow.share_bytes_max.saturating_mul(4);
    small("waiting_bytes_max", made.spool_bytes, share, "flow.share_bytes_max: it has to hold four shares");
    let stanzas = stanza_bytes_max.unwrap_or(0).saturating_mul(16);
    small(
        "waiting_bytes_max",
        made.spool_bytes,
        stanzas,
        "federation.stanza_bytes_max: it has to hold 16 stanzas",
    );
    small("waiting_bytes_total_max", made.shard_spool_bytes, made.spool_bytes, "waiting_bytes_max");
    small("contacts_max", made.contacts, made.contacts_per_user, "contacts_per_user_max");
    table.finish();
    made
}
