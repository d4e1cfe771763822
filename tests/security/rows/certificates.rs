//! Whose word a certificate is.

use super::{Held, Row};

const BYPASS: &str = "backends/xmpp/tests/streams/bypass.rs";
const CERTIFICATES: &str = "tests/certificates.rs";
const NAMES: &str = "backends/xmpp/src/identity/tests.rs";
const TLS: &str = "engine/service/tls/tests.rs";
const INBOUND: &str = "tests/service/inbound.rs";
const HANDSHAKES: &str = "tests/interop/cases/handshakes.py";

pub const ROWS: &[Row] = &[
    Row {
        id: "XC-01",
        attack: "a certificate of somebody else",
        tried: "each kind of name, alone and among others, in both roles",
        ends_in: "backends/xmpp/src/identity.rs",
        tests: &[
            (CERTIFICATES, &["xc01_three_kinds_of_names_count"]),
            (HANDSHAKES, &["external", "external_refuses_wrong_name"]),
        ],
        state: Held,
    },
    Row {
        id: "XC-02",
        attack: "wildcards that reach too far",
        tried: "above, below, inside and part of a label, over a top-level domain, in SRVName and xmppAddr",
        ends_in: "backends/xmpp/src/identity.rs",
        tests: &[
            (CERTIFICATES, &["xc02_wildcards_stand_for_one_label"]),
            (NAMES, &["wildcards_stand_for_one_left_most_label"]),
        ],
        state: Held,
    },
    Row {
        id: "XC-03",
        attack: "a name in the subject",
        tried: "the common name, and seven subjects that read like one",
        ends_in: "backends/xmpp/src/identity.rs",
        tests: &[
            (CERTIFICATES, &["xc03_the_subject_names_nobody"]),
            (NAMES, &["the_common_name_is_no_name_and_trust_is_by_set"]),
        ],
        state: Held,
    },
    Row {
        id: "XC-04",
        attack: "international names that are written in two ways",
        tried: "A-labels and U-labels in each kind of name, letters that resemble",
        ends_in: "backends/xmpp/src/identity.rs",
        tests: &[
            (CERTIFICATES, &["xc04_international_names_are_compared_as_a_labels"]),
            (NAMES, &["international_names_are_compared_as_a_labels"]),
        ],
        state: Held,
    },
    Row {
        id: "XC-05",
        attack: "NUL, commas and other types inside names",
        tried: "26 names that resemble one",
        ends_in: "engine/service/tls/facts.rs",
        tests: &[
            (CERTIFICATES, &["xc05_names_that_resemble_do_not_match"]),
            (TLS, &["odd_certificates_are_read_or_refused"]),
        ],
        state: Held,
    },
    Row {
        id: "XC-06",
        attack: "a certificate of the wrong purpose, time or authority",
        tried: "purposes, times, lengths of paths, no authorities and constraints at each place of a chain; forged and incomplete chains; names beside the constraints",
        ends_in: "engine/service/tls/trust.rs",
        tests: &[
            (
                CERTIFICATES,
                &[
                    "xc06_purpose_time_and_constraints_are_enforced",
                    "xc06_a_chain_that_does_not_hold_is_no_chain",
                    "xc06_a_constrained_authority_vouches_for_no_names_beside_its_constraints",
                ],
            ),
            (
                TLS,
                &[
                    "purpose_time_and_authority_decide_on_trust",
                    "a_certificate_without_its_key_is_no_certificate",
                ],
            ),
            (HANDSHAKES, &["external_server_only", "external_refuses_expired"]),
        ],
        state: Held,
    },
    Row {
        id: "XC-07",
        attack: "an authority good for others used against a partner",
        tried: "common and own roots crossed, pins with the right and another key",
        ends_in: "backends/xmpp/src/identity.rs",
        tests: &[
            (CERTIFICATES, &["xc07_partners_have_roots_and_pins_of_their_own"]),
            (NAMES, &["a_pinned_key_counts_alone"]),
            (HANDSHAKES, &["external_own_ca"]),
        ],
        state: Held,
    },
    Row {
        id: "XC-08",
        attack: "a certificate that was taken back",
        tried: "lists of the leaf's and of the intermediate's authority, of others, past their time, and forged. Stapled OCSP answers are not read, by decision (docs/decisions/0029-hostile.md)",
        ends_in: "engine/service/tls/trust.rs",
        tests: &[
            (CERTIFICATES, &["xc08_what_an_authority_took_back_is_not_believed"]),
            (TLS, &["wrong_files_are_told_by_name"]),
        ],
        state: Held,
    },
    Row {
        id: "XC-09",
        attack: "a good certificate and another name in the stream",
        tried: "every policy that has no other way than certificates closes the stream",
        ends_in: "backends/xmpp/src/inbound/opening.rs",
        tests: &[(BYPASS, &["who_gets_in"]), (INBOUND, &["a_certificate_for_another_name_is_no_proof"])],
        state: Held,
    },
];
