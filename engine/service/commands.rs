//! Commands that talk to a running router. Invariant: they know it only through its admin API.

use std::path::Path;

use crate::config::Config;

mod http;
pub mod probe;
pub mod selftest;
pub mod user;

/// Where a router listens that was told nothing else.
const ADMIN: &str = "127.0.0.1:9280";

/// Where to ask: the address given, or that of the configuration.
///
/// # Errors
/// The configuration named cannot be read.
fn address(admin: Option<&str>, config: Option<&Path>) -> Result<String, String> {
    match (admin, config) {
        (Some(address), _) => Ok(address.to_owned()),
        (None, Some(file)) => Config::load(file)
            .map(|config| config.admin_listen.to_string())
            .map_err(|errors| errors.to_string()),
        (None, None) => Ok(ADMIN.to_owned()),
    }
}
