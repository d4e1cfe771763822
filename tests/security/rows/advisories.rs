//! Advisories known for crates this program is built of, as their own threads and those of other projects tell of them: the database
//! itself could not be asked. A test holds `Cargo.lock` against the versions.

/// Id, crate, first version without the fault, what it is and what it means here.
pub type Advisory = (&'static str, &'static str, &'static str, &'static str);

pub const ADVISORIES: &[Advisory] = &[
    (
        "RUSTSEC-2026-0194",
        "quick-xml",
        "0.41.0",
        "comparing attributes with each other takes the square of their number; tags are bounded before it is called as well",
    ),
    (
        "RUSTSEC-2026-0195",
        "quick-xml",
        "0.41.0",
        "declarations of namespaces without bound; documents are bounded",
    ),
    (
        "RUSTSEC-2026-0049",
        "rustls-webpki",
        "0.103.10",
        "which list of revoked certificates counts; lists are used (XC-08)",
    ),
    ("RUSTSEC-2026-0098", "rustls-webpki", "0.103.12", "name constraints on URIs were not heeded (XC-06)"),
    (
        "RUSTSEC-2026-0099",
        "rustls-webpki",
        "0.103.12",
        "name constraints on wildcards were not heeded (XC-06)",
    ),
    (
        "RUSTSEC-2026-0104",
        "rustls-webpki",
        "0.103.13",
        "a panic while reading a list of revoked certificates; lists come from the operator",
    ),
    (
        "RUSTSEC-2026-0044",
        "aws-lc-sys",
        "0.39.0",
        "checks of certificates in the C library that rustls does not use; updated all the same",
    ),
    ("RUSTSEC-2026-0048", "aws-lc-sys", "0.39.0", "as before"),
    (
        "RUSTSEC-2026-0118",
        "hickory-proto",
        "0.26.1",
        "a loop without end in DNSSEC validation, which is not built in",
    ),
    (
        "RUSTSEC-2026-0119",
        "hickory-proto",
        "0.26.1",
        "work that grows with the square while a name is compressed",
    ),
    ("RUSTSEC-2026-0007", "bytes", "1.11.1", "an overflow while a buffer grows"),
    ("RUSTSEC-2026-0009", "time", "0.3.47", "a stack exhausted by RFC 2822 dates, which nothing here reads"),
    (
        "RUSTSEC-2026-0097",
        "rand",
        "0.9.3",
        "unsound with a logger that asks for random numbers, which there is none of; used in tests and by the resolver",
    ),
    ("RUSTSEC-2024-0421", "idna", "1.0.0", "two names for one by Punycode of ASCII letters (B-38)"),
    (
        "RUSTSEC-2025-0055",
        "tracing-subscriber",
        "0.3.20",
        "escape sequences of a terminal in the log; what is logged is escaped before as well (B-37)",
    ),
    ("RUSTSEC-2025-0024", "crossbeam-channel", "0.5.15", "memory freed twice; used by the writer of the log"),
    ("RUSTSEC-2025-0047", "slab", "0.4.11", "a read out of bounds that 0.4.10 alone had"),
    ("RUSTSEC-2024-0402", "hashbrown", "0.15.1", "in a feature that is not used; 0.14 never had it"),
    (
        "RUSTSEC-2025-0009",
        "ring",
        "0.17.12",
        "a panic in QUIC; it stands in the lock file and is not built (deny.toml)",
    ),
];
