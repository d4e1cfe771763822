//! `turnout probe --running`: the running router goes the way to a partner.

use std::path::Path;

use super::address;
use super::http::Client;
use crate::admin::answers::ProbeRequest;
use crate::probe::Report;

/// Asks.
///
/// # Errors
/// The exit code, and what is wrong.
pub async fn ask(
    admin: Option<&str>,
    config: Option<&Path>,
    partner: &str,
    from: Option<&str>,
) -> Result<Report, (u8, String)> {
    let client = Client::new(&address(admin, config).map_err(|what| (1, what))?);
    let request = ProbeRequest { partner: partner.to_owned(), from: from.map(str::to_owned) };
    client.post("/api/probe", &request).await.map_err(|fault| {
        let code = if fault.status == Some(400) { 2 } else { 1 };
        (code, fault.to_string())
    })
}
