//! `[admin]`. Invariant: a listener that other machines can reach has tokens, so nobody on the network moves users unasked.

use std::net::SocketAddr;
use std::path::PathBuf;

use turnout_core::trace::TraceMode;

use super::KeyPair;
use super::parts::{Listen, key_pair};
use super::read::{At, Table};

/// `[admin]`: metrics, health, API and dashboard.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Who may use it, one token a line; without it whoever reaches the listener may do everything.
    pub tokens_file: Option<PathBuf>,
    /// Certificate and key; without them it speaks HTTP in the clear.
    pub identity: Option<KeyPair>,
    /// Names it answers to, beside addresses and `localhost`; lower case.
    pub names: Vec<String>,
    /// Whether `/metrics` is told without a token.
    pub metrics_without_token: bool,
    /// What is remembered of stanzas from the start.
    pub trace: TraceMode,
}

pub(super) fn admin(table: &Table<'_, '_>) -> AdminConfig {
    let listen: Option<At<Listen>> = table.parsed("listen");
    let listen = listen.map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9280)), |at| at.value.0);
    let tokens_file = table.file("tokens_file");
    if !listen.ip().is_loopback() && !table.has("tokens_file") {
        table.book.wrong(
            &table.spot_of("listen"),
            format!("{listen} can be reached from other machines, and there are no tokens: whoever reaches it could move users"),
            "give tokens_file (`turnout token` makes tokens), or listen on 127.0.0.1",
        );
    }
    let names: Vec<At<String>> = table.list("names").unwrap_or_default();
    for At { value, spot } in &names {
        let fit = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if value.is_empty() || !value.chars().all(fit) {
            table.book.wrong(
                spot,
                format!("{value:?} is no host name"),
                "write names without port, \"turnout1.contoso.com\"",
            );
        }
    }
    let trace = table.text("trace");
    let mode = trace.as_ref().map_or(Some(TraceMode::Failures), |at| TraceMode::parse(&at.value));
    if let (None, Some(At { value, spot })) = (mode, &trace) {
        table.book.wrong(spot, format!("{value:?} is not one of: off, failures, all"), "");
    }
    let made = AdminConfig {
        listen,
        tokens_file,
        identity: key_pair(table),
        names: names.into_iter().map(|at| at.value.to_ascii_lowercase()).collect(),
        metrics_without_token: table.flag("metrics_without_token").unwrap_or(false),
        trace: mode.unwrap_or_default(),
    };
    table.finish();
    made
}
