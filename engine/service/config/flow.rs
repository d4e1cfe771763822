//! `[flow]`: how much may wait and how fast it may come.

use turnout_core::flow::{FlowLimits, Rate};
use turnout_core::limits::{RATE_PER_SECOND_MAX, SHARE_BYTES_CEILING, SHARE_BYTES_FLOOR};

use super::read::Table;

/// The table as the shards see it.
pub(super) fn flow(table: &Table<'_, '_>) -> FlowLimits {
    let otherwise = FlowLimits::default();
    let share = table.number("share_bytes_max", SHARE_BYTES_FLOOR as u64..=SHARE_BYTES_CEILING as u64);
    let made = FlowLimits {
        share_bytes_max: share
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(otherwise.share_bytes_max),
        partner_rate: rate(table, "partner_per_second", "partner_burst"),
        sender_rate: rate(table, "sender_per_second", "sender_burst"),
        ..otherwise
    };
    table.finish();
    made
}

/// A rate and its burst: ten seconds of the rate unless given.
fn rate(table: &Table<'_, '_>, key: &'static str, burst_key: &'static str) -> Option<Rate> {
    let most = u64::from(RATE_PER_SECOND_MAX);
    let number = |key, allowed| table.number(key, allowed).and_then(|number| u32::try_from(number).ok());
    let per_second = number(key, 0..=most).unwrap_or(0);
    let burst = number(burst_key, 1..=most * 10);
    if let (Some(burst), true) = (burst, per_second > 0)
        && burst < per_second.div_ceil(10)
    {
        table.book.wrong(
            &table.spot_of(burst_key),
            format!("{burst} is less than a tenth of a second of {key} = {per_second}"),
            "what a server says in one breath would be refused: raise it, or remove it",
        );
    }
    Rate::new(per_second, burst.unwrap_or_else(|| per_second.saturating_mul(10)))
}
