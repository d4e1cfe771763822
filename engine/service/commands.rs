//! Commands that talk to a running router. Invariant: they know it only through its admin API.

use std::path::{Path, PathBuf};

use crate::config::Config;

mod http;
pub mod probe;
pub mod selftest;
pub mod user;

/// Where a router listens that was told nothing else.
const ADMIN: &str = "127.0.0.1:9280";

/// Where a router is, and how to speak to it.
#[derive(Clone, Debug, Default)]
struct Place {
    /// Host and port.
    address: String,
    /// It speaks TLS.
    tls: bool,
    /// Roots for its certificate, in place of the system's.
    ca_file: Option<PathBuf>,
    /// A file with a token of it.
    token_file: Option<PathBuf>,
}

/// Where to ask: the address given, or that of the configuration; with a file that holds a token, and one that holds roots.
///
/// # Errors
/// The configuration named cannot be read.
fn place(
    (admin, config): (Option<&str>, Option<&Path>),
    (token_file, ca_file): (Option<&Path>, Option<&Path>),
) -> Result<Place, String> {
    let (address, tls) = match (admin, config) {
        (Some(address), _) => match address.strip_prefix("https://") {
            Some(address) => (address.trim_end_matches('/').to_owned(), true),
            None => (address.to_owned(), false),
        },
        (None, Some(file)) => {
            let config = Config::load(file).map_err(|errors| errors.to_string())?;
            (config.admin.listen.to_string(), config.admin.identity.is_some())
        }
        (None, None) => (ADMIN.to_owned(), false),
    };
    Ok(Place {
        address,
        tls,
        ca_file: ca_file.map(Path::to_owned),
        token_file: token_file.map(Path::to_owned),
    })
}
