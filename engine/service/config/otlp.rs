//! `[otlp]`.

use std::str::FromStr;

use super::read::Table;

/// The largest `one_in`.
const ONE_IN_MAX: u64 = 1_000_000_000;

/// `[otlp]`: spans of sampled stanzas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpConfig {
    /// Where they go.
    pub collector: Collector,
    /// One stanza in so many.
    pub one_in: u32,
}

/// A collector that takes OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path, with its slash.
    pub path: String,
}

/// The port of OTLP over HTTP.
const PORT: u16 = 4318;

/// The path for traces.
const PATH: &str = "/v1/traces";

impl Collector {
    /// Host and port as they stand in a URL.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl std::fmt::Display for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

impl FromStr for Collector {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "is no URL of a collector; write http://127.0.0.1:4318";
        if text.starts_with("https://") {
            return Err(
                "speaks TLS, which is not used here; let a collector on this machine or network pass it on",
            );
        }
        let url: hyper::Uri = text.parse().map_err(|_| FORM)?;
        let authority = url.authority().filter(|authority| !authority.as_str().contains('@')).ok_or(FORM)?;
        if url.scheme_str() != Some("http") || url.query().is_some() {
            return Err(FORM);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty()
            || (authority.port().is_some() && authority.port_u16().is_none_or(|port| port == 0))
        {
            return Err(FORM);
        }
        let path = match url.path() {
            "" | "/" => PATH,
            path => path,
        };
        Ok(Self { host: host.to_owned(), port: authority.port_u16().unwrap_or(PORT), path: path.to_owned() })
    }
}

pub(super) fn otlp(table: &Table<'_, '_>) -> Option<OtlpConfig> {
    let collector = table.parsed::<Collector>("collector");
    let one_in = table.number("one_in", 1..=ONE_IN_MAX).and_then(|number| u32::try_from(number).ok());
    if table.has("one_in") && !table.has("collector") {
        table.book.wrong(
            &table.spot_of("one_in"),
            "nothing is sent without a collector",
            "give collector = \"http://127.0.0.1:4318\", or remove it",
        );
    }
    table.finish();
    Some(OtlpConfig { collector: collector?.value, one_in: one_in.unwrap_or(1_000) })
}
