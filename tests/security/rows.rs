//! The table: every class of attack, what is tried, where it ends, and the tests that show it.

mod advisories;
mod certificates;
mod identity;
mod limits;
mod load;
mod sip;
mod xml;

/// How far a row is shown.
pub enum State {
    /// All that the class names is tried.
    Held,
    /// This is left.
    Partly(&'static str),
}

pub use State::{Held, Partly};
pub use advisories::ADVISORIES;
pub use limits::LIMITS;

/// One class of attack.
pub struct Row {
    pub id: &'static str,
    pub attack: &'static str,
    /// What the tests try.
    pub tried: &'static str,
    /// The file, or folder, in which the attack ends.
    pub ends_in: &'static str,
    /// Files, and the names of tests in them.
    pub tests: Tests,
    pub state: State,
}

/// Files, and the names of tests in them.
pub type Tests = &'static [(&'static str, &'static [&'static str])];

/// XML and streams, identity, certificates, SIP, load.
pub const PARTS: [(&str, &[Row]); 5] = [
    ("XML and streams", xml::ROWS),
    ("Who speaks", identity::ROWS),
    ("Certificates", certificates::ROWS),
    ("SIP", sip::ROWS),
    ("Load and loss", load::ROWS),
];

/// Rules for the whole of it, each with its test.
pub const WHOLE: &[(&str, Tests)] = &[
    (
        "The process runs without privileges, in a sandbox whose exposure systemd's own tool puts at 2.0 of 10 at most.",
        &[(
            "tests/sandbox.rs",
            &[
                "the_unit_is_confined",
                "the_unit_allows_what_the_router_does_and_not_what_an_intruder_would",
                "the_unit_needs_no_privilege",
            ],
        )],
    ),
    (
        "Nobody uses the admin listener without a token, where there are tokens, or against its role; without, it is on loopback; no foreign page uses it through a browser; every change is written down, and no secret is told.",
        &[
            (
                "engine/service/admin/tests/operating.rs",
                &[
                    "without_a_token_nothing_is_told_and_with_one_no_more_than_its_role",
                    "metrics_want_a_token_unless_told_otherwise",
                    "every_change_is_written_down_with_who_what_and_what_came_of_it",
                ],
            ),
            (
                "engine/service/access.rs",
                &[
                    "a_token_is_known_by_its_sum_alone",
                    "mistakes_of_the_file_are_found_and_never_repeat_a_secret",
                ],
            ),
            (
                "engine/service/admin/guard.rs",
                &["a_foreign_page_gets_nothing", "only_addresses_are_answered"],
            ),
            ("engine/service/admin/tests.rs", &["the_page_may_load_nothing_foreign"]),
            ("engine/service/config/tests.rs", &["an_admin_listener_that_others_can_reach_has_tokens"]),
        ],
    ),
    (
        "Unsafe code is in the vector instructions of the framer and in the driver, nowhere else; what is depended on, and under which licence, is held by a test.",
        &[(
            "tests/tidy.rs",
            &[
                "what_decides_is_safe_and_backends_are_siblings",
                "banned_crates_are_absent",
                "licences_are_allowed",
                "arrows_between_crates",
            ],
        )],
    ),
    (
        "One stranger cannot take the places of partners: connections are counted by the address they come from, those of a partner once it is proven.",
        &[
            ("engine/service/listen.rs", &["one_address_does_not_take_all_places"]),
            (
                "backends/xmpp/tests/streams/abuse.rs",
                &[
                    "only_streams_that_proved_whose_they_are_take_a_partners_places",
                    "who_names_nobody_in_his_header_takes_a_place_all_the_same",
                ],
            ),
        ],
    ),
    (
        "A directory server, or whoever stands between, can send nothing that crashes or fills the router: messages, answers, pages and cookies have a size, all of them an end, and what comes in the clear behind StartTLS is not heard. A wrong password is tried on one server only.",
        &[
            (
                "engine/service/directory/ldap/tests.rs",
                &[
                    "what_is_no_answer_ends_the_session",
                    "a_server_that_is_silent_or_slow_has_its_time",
                    "a_server_that_never_ends_is_ended",
                    "words_in_the_clear_behind_starttls_are_not_heard",
                    "a_wrong_password_is_tried_once",
                ],
            ),
            (
                "engine/service/directory/ldap/message.rs",
                &["nothing_a_server_sends_is_a_surprise", "depth_is_no_danger"],
            ),
        ],
    ),
    (
        "A panic ends the process, which is started anew; no input is known that brings one about.",
        &[
            ("engine/service/router.rs", &["a_panic_of_a_shard_ends_the_process"]),
            ("backends/xmpp/tests/streams/cuts.rs", &["any_bytes_are_survived", "cuts_change_nothing"]),
            ("backends/xmpp/tests/streams/main.rs", &["partners_of_the_fuzzer_are_survived"]),
            ("backends/xmpp/tests/oracle/main.rs", &["the_corpus_of_the_fuzzer"]),
        ],
    ),
    (
        "What people write is in no line of the log unless the operator has switched that on, secrets are in none at all, and users in none where they are redacted; nor are they in what a token that may only read is told.",
        &[
            (
                "tests/service/privacy.rs",
                &[
                    "what_people_write_and_secrets_are_in_no_line_of_the_log",
                    "the_switch_of_the_legacy_gateway_writes_what_people_write",
                    "users_are_in_no_line_of_the_log_where_they_are_redacted",
                ],
            ),
            ("engine/service/redact.rs", &["no_user_is_left_in_a_line"]),
            (
                "engine/service/admin/tests/operating.rs",
                &[
                    "who_may_only_read_is_told_words_where_the_log_is",
                    "events_as_they_happen_are_told_in_words_too",
                ],
            ),
            ("tests/service/administration.rs", &["who_may_only_read_is_told_the_words_of_the_log"]),
        ],
    ),
];
