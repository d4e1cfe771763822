//! What administrators have changed, and wanted to change. Invariant: a change that got past the door has an entry, whatever came of it; the
//! entries are a ring of [`ENTRIES_MAX`], which strangers without a token cannot fill: they are counted.

#![expect(unused_qualifications, reason = "utoipa names the query's type with its path in what it makes")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::problem::Failure;
use super::views::{AuditAnswer, AuditEntry};
use crate::feed::Feed;

/// Entries kept.
pub(super) const ENTRIES_MAX: usize = 1_000;

/// Entries on a page.
const PAGE_MAX: usize = 200;

/// Milliseconds between two lines in the log about strangers.
const STRANGERS_EVERY_MILLIS: u64 = 10_000;

/// What a handler says of a change, for the audit. It travels with the response.
#[derive(Clone, Debug)]
pub(super) struct Said(pub(super) String);

/// The audit log.
#[derive(Debug, Default)]
pub(super) struct Audit {
    kept: Mutex<(u64, VecDeque<AuditEntry>)>,
    strangers: AtomicU64,
    told_strangers: AtomicU64,
}

impl Audit {
    /// Adds an entry, and tells log and feed.
    pub(super) fn add(&self, mut entry: AuditEntry, feed: &Feed) {
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.0 += 1;
            entry.number = kept.0;
            if kept.1.len() >= ENTRIES_MAX {
                kept.1.pop_front();
            }
            kept.1.push_back(entry.clone());
        }
        let AuditEntry { who, from, action, result, status, .. } = &entry;
        tracing::info!(
            event = "admin.changed",
            who,
            from,
            action,
            status,
            "admin: {}",
            crate::log::escape(result)
        );
        feed.add(entry.at_unix_millis, "audit", serde_json::to_value(&entry).unwrap_or_default());
    }

    /// Somebody without a known token was turned away.
    pub(super) fn stranger(&self, from: &str, now_unix_millis: u64) {
        let count = self.strangers.fetch_add(1, Ordering::Relaxed) + 1;
        let told = self.told_strangers.load(Ordering::Relaxed);
        if now_unix_millis.saturating_sub(told) >= STRANGERS_EVERY_MILLIS {
            self.told_strangers.store(now_unix_millis, Ordering::Relaxed);
            tracing::warn!(
                event = "admin.turned_away",
                from,
                count,
                "admin: turned away: no token, or one that is not known"
            );
        }
    }

    fn page(&self, before: u64, limit: usize) -> AuditAnswer {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = kept.1.iter().rev().filter(|entry| entry.number < before);
        let page: Vec<AuditEntry> = entries.by_ref().take(limit).cloned().collect();
        let has_more = entries.next().is_some();
        let next_before = page.last().filter(|_| has_more).map(|entry| entry.number);
        AuditAnswer { entries: page, next_before, strangers: self.strangers.load(Ordering::Relaxed) }
    }
}

/// What a list by numbers may be asked.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only what is older than this number.
    pub(super) before: Option<u64>,
    /// Most rows.
    #[param(minimum = 1, maximum = 200)]
    pub(super) limit: Option<usize>,
}

impl Wanted {
    /// Before which number, and how many.
    pub(super) fn page(&self) -> Result<(u64, usize), Failure> {
        let limit = self.limit.unwrap_or(50);
        if limit == 0 || limit > PAGE_MAX {
            let hint = format!("a page holds 1 to {PAGE_MAX} rows; ask again with next_before as before");
            return Err(Failure::bad_request(format!("limit is {limit}"), hint));
        }
        Ok((self.before.unwrap_or(u64::MAX), limit))
    }
}

/// Changes by administrators, the newest first.
#[utoipa::path(get, path = "/api/audit", tag = "admin", params(Wanted), responses(
    (status = 200, body = AuditAnswer), (status = 400, body = super::answers::Problem)
))]
pub(super) async fn list(
    State(app): Shared,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<AuditAnswer>, Failure> {
    let (before, limit) = wanted?.0.page()?;
    Ok(Json(app.audit.page(before, limit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_bounded_and_paged() {
        let (audit, feed) = (Audit::default(), Feed::default());
        let entry = |n: u64| AuditEntry {
            number: 0,
            at_unix_millis: n,
            who: "anna".to_owned(),
            from: "127.0.0.1".to_owned(),
            action: "POST /api/reload".to_owned(),
            result: "reloaded".to_owned(),
            status: 200,
        };
        (0..ENTRIES_MAX as u64 + 5).for_each(|n| audit.add(entry(n), &feed));
        let page = audit.page(u64::MAX, 3);
        let numbers: Vec<u64> = page.entries.iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, [1005, 1004, 1003]);
        assert_eq!(page.next_before, Some(1003));
        let last = audit.page(7, 3);
        assert_eq!((last.entries.len(), last.entries[0].number, last.next_before), (1, 6, None));
        assert_eq!(feed.newest(Some("audit"), u64::MAX, 1)[0].data["who"], "anna");
        (0..100).for_each(|n| audit.stranger("10.0.0.9", n));
        assert_eq!(audit.page(u64::MAX, 1).strangers, 100);
    }
}
