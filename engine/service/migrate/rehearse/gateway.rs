//! The settings of the legacy gateway beside `[federation]` and `[presence]`.

use std::fs::File;

use turnout_core::policy::GatewayLimits;

use super::partners::{Change, Effect};
use super::{Exports, Rehearsal, Weight};
use crate::config::Config;
use crate::migrate::gateway::{figures, gateway};

/// Compares, and gives what the gateway allows: out of the export, else the cmdlet's defaults.
pub(super) fn compare(
    config: &Config,
    exports: &Exports,
    told: &mut Rehearsal,
) -> Result<GatewayLimits, String> {
    let mut limits = GatewayLimits::default();
    let Some(path) = &exports.gateway else {
        let what = "without --gateway the legacy gateway is taken to allow its defaults: 1000 connections, 20 a partner";
        told.finding(Weight::Note, what);
        return Ok(limits);
    };
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let open = || File::open(path).map_err(|error| named(&error));
    let carried = gateway(open()?, &path.display().to_string()).map_err(|error| named(&error))?;
    told.findings.extend(carried.findings);
    for (property, key, today) in figures(open()?).map_err(|error| named(&error))? {
        let ours = config.policy.limits();
        let capped = u32::try_from(today).unwrap_or(u32::MAX);
        let (then, bounds) = match key {
            "connections_max" => {
                limits.connections_max = capped;
                (u64::from(ours.connections_max), true)
            }
            "connections_per_partner_max" => {
                limits.connections_per_partner_max = capped;
                (u64::from(ours.connections_per_partner_max), true)
            }
            "establishment_seconds" => (u64::from(ours.establishment_seconds), false),
            "idle_seconds" => (u64::from(ours.idle_seconds), false),
            "keep_alive_seconds" => (u64::from(ours.keep_alive_seconds), false),
            "subscription_seconds" => (config.presence.subscription.as_secs(), false),
            _ => continue,
        };
        if then == today {
            continue;
        }
        let effect = match (bounds, then < today) {
            (true, true) => Effect::Tighter,
            (true, false) => Effect::Looser,
            (false, _) => Effect::Other,
        };
        told.gateway.push(Change {
            setting: key,
            today: format!("{property} {today}"),
            then: then.to_string(),
            effect,
        });
    }
    Ok(limits)
}
