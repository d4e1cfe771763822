//! `turnout probe --running`: the running router goes the way to a partner.

use std::path::Path;

use super::http::Client;
use super::place;
use crate::admin::answers::ProbeRequest;
use crate::probe::Report;

/// Asks, at an address or that of a configuration, with a file of a token and one of roots.
///
/// # Errors
/// The exit code, and what is wrong.
pub async fn ask(
    at: (Option<&str>, Option<&Path>),
    with: (Option<&Path>, Option<&Path>),
    partner: &str,
    from: Option<&str>,
) -> Result<Report, (u8, String)> {
    let client = place(at, with).and_then(|place| Client::new(&place)).map_err(|what| (1, what))?;
    let request = ProbeRequest { partner: partner.to_owned(), from: from.map(str::to_owned) };
    client.post("/api/probe", &request).await.map_err(|fault| {
        let code = if fault.status == Some(400) { 2 } else { 1 };
        (code, fault.to_string())
    })
}
