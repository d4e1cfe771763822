//! Every bound of `limits.rs`: the key that changes it, and the test that goes beyond it. None of either is said as well.

use super::Tests;

/// Name, key of the configuration, tests.
pub type Limit = (&'static str, &'static str, Tests);

const NO_KEY: &str = "";
const NO_TEST: Tests = &[];

const JID: Tests = &[("engine/core/src/jid/tests.rs", &["parts_are_bounded_after_and_before_preparation"])];
const FRAME: &str = "backends/xmpp/src/frame/tests/limits.rs";
const SIZE: Tests =
    &[(FRAME, &["stanza_bytes"]), ("tests/service/faults.rs", &["a_stanza_beyond_the_limit"])];
const NAMES_AND_TAGS: Tests = &[(FRAME, &["names_and_tags"])];
const ATTRIBUTES: Tests = &[(FRAME, &["attributes_and_declarations"])];
const CONTACTS: &str = "engine/core/src/contacts/tests.rs";
const ABUSE: &str = "backends/xmpp/tests/streams/abuse.rs";
const FORGED: &str = "backends/xmpp/tests/streams/forged.rs";
const VERIFY: Tests = &[(FORGED, &["names_without_number_leave_room_for_partners_who_are_known"])];
const HEADER: Tests = &[(FORGED, &["a_stanza_grows_by_a_bounded_amount"])];
const KEYS: Tests = &[(ABUSE, &["keys_are_bounded_in_length_and_number"])];
const SURVIVAL: &str = "backends/sip/tests/survival.rs";
const SIP_FRAME: Tests = &[("backends/sip/src/frame/tests.rs", &["limits_hold"])];
const EXHAUSTION: &str = "backends/sip/tests/presence/exhaustion.rs";
const DOCUMENT: Tests = &[("backends/sip/src/presence/tree/tests.rs", &["a_document_is_bounded"])];
const MULTIPARTS: &str = "backends/sip/src/text/tests/multiparts.rs";
const OUTAGE: &str = "tests/simulation/outage.rs";
const SPOOL: Tests =
    &[("engine/core/src/spool/tests.rs", &["one_too_many_is_given_back_and_changes_nothing"])];

pub const LIMITS: &[Limit] = &[
    ("JID_PART_BYTES_MAX", NO_KEY, JID),
    ("STANZA_BYTES_FLOOR", NO_KEY, &[(FRAME, &["a_configured_limit_never_goes_under_the_standards_floor"])]),
    ("STANZA_BYTES_MAX", "federation.stanza_bytes_max", SIZE),
    ("STANZA_DEPTH_MAX", NO_KEY, &[(FRAME, &["depth"])]),
    ("TAG_ATTRIBUTES_MAX", NO_KEY, ATTRIBUTES),
    ("NAMESPACES_MAX", NO_KEY, ATTRIBUTES),
    ("NAME_BYTES_MAX", NO_KEY, NAMES_AND_TAGS),
    ("TAG_BYTES_MAX", NO_KEY, NAMES_AND_TAGS),
    ("STREAM_HEADER_BYTES_MAX", NO_KEY, &[(FRAME, &["header_bytes"])]),
    ("STREAM_DECLARED_BYTES_MAX", NO_KEY, HEADER),
    ("STREAM_LANG_BYTES_MAX", NO_KEY, HEADER),
    ("STREAM_PAIRS_MAX", NO_KEY, &[("backends/xmpp/src/pairs.rs", &["there_is_an_end_to_them"])]),
    ("SASL_FAILURES_MAX", NO_KEY, &[("backends/xmpp/tests/streams/proofs.rs", &["external_by_the_letter"])]),
    ("DIALBACK_KEY_BYTES_MAX", NO_KEY, KEYS),
    ("DIALBACK_FAILURES_MAX", NO_KEY, KEYS),
    ("VERIFY_STREAMS_MAX", NO_KEY, VERIFY),
    ("VERIFY_STREAMS_UNLISTED_MAX", NO_KEY, VERIFY),
    ("VERIFY_ASKS_MAX", NO_KEY, NO_TEST),
    ("LINK_CREDIT_BYTES", NO_KEY, NO_TEST),
    ("LINK_CREDIT_STANZAS", NO_KEY, NO_TEST),
    ("LINK_UNACKNOWLEDGED_BYTES", NO_KEY, NO_TEST),
    ("SPOOL_STANZAS_MAX", NO_KEY, SPOOL),
    ("SPOOL_BYTES_MAX", NO_KEY, SPOOL),
    (
        "SPOOL_AGE_SECONDS",
        NO_KEY,
        &[("engine/core/src/spool/tests.rs", &["what_expires_leaves_the_rest_as_it_was"])],
    ),
    (
        "SPOOL_AGE_SIP_SECONDS",
        NO_KEY,
        &[(OUTAGE, &["a_pools_users_wait_for_a_partner_as_long_as_their_transactions_do"])],
    ),
    ("SPOOL_AGE_MADE_SECONDS", NO_KEY, NO_TEST),
    (
        "SHARE_BYTES_MAX",
        "flow.share_bytes_max",
        &[(
            "tests/simulation/pressure.rs",
            &["who_brings_for_others_too_waits_a_second_and_then_hears_what_is_too_much"],
        )],
    ),
    ("SHARE_BYTES_RESUME", NO_KEY, NO_TEST),
    ("SHARE_BYTES_PRESSED", NO_KEY, NO_TEST),
    ("SHARE_BYTES_FLOOR", "flow.share_bytes_max", NO_TEST),
    ("SHARE_BYTES_CEILING", "flow.share_bytes_max", NO_TEST),
    ("PAUSE_SHARED_MILLIS", NO_KEY, NO_TEST),
    ("SHARED_SECONDS", NO_KEY, NO_TEST),
    (
        "STALL_SECONDS",
        NO_KEY,
        &[("tests/simulation/pressure.rs", &["who_takes_nothing_is_left_by_and_by_and_everybody_is_told"])],
    ),
    ("RATE_PER_SECOND_MAX", "flow.partner_per_second", NO_TEST),
    ("SENDERS_MAX", NO_KEY, NO_TEST),
    ("PARTNER_RATES_MAX", NO_KEY, NO_TEST),
    ("SHARD_SPOOL_BYTES_MAX", NO_KEY, NO_TEST),
    ("DESTINATIONS_MAX", NO_KEY, NO_TEST),
    ("CONNECT_SECONDS", NO_KEY, NO_TEST),
    ("CLOSE_SECONDS", NO_KEY, NO_TEST),
    (
        "BACKOFF_SECONDS_MAX",
        NO_KEY,
        &[(OUTAGE, &["a_partner_out_for_longer_than_anything_waits_costs_everybody_a_bounce_in_time"])],
    ),
    ("RECONNECT_SECONDS_CEILING", "federation.reconnect_seconds", NO_TEST),
    ("HOLD_MILLIS_MAX", "engine.hold_millis", NO_TEST),
    ("MOVE_SETTLE_MILLIS", NO_KEY, NO_TEST),
    ("MOVE_GRACE_SECONDS", NO_KEY, NO_TEST),
    ("MOVE_USERS_MAX", NO_KEY, NO_TEST),
    ("CONTACTS_MAX", NO_KEY, NO_TEST),
    ("CONTACTS_PER_USER_MAX", NO_KEY, &[(CONTACTS, &["a_user_has_so_many_contacts_and_no_more"])]),
    ("ASKING_PER_DOMAIN_MAX", NO_KEY, &[(CONTACTS, &["questions_of_one_domain_leave_room_for_others"])]),
    ("ASKING_PER_USER_MAX", NO_KEY, &[(CONTACTS, &["questions_to_one_user_leave_room_for_his_contacts"])]),
    (
        "LOOKS_PER_DOMAIN_MAX",
        NO_KEY,
        &[(EXHAUSTION, &["looks_of_one_domain_do_not_take_the_turns_of_watchers"])],
    ),
    ("TOLD_CONTACTS_MAX", NO_KEY, NO_TEST),
    ("PRESENCE_WAITING_MAX", NO_KEY, NO_TEST),
    ("HOME_CONNECTIONS_MAX", NO_KEY, NO_TEST),
    (
        "SIP_STRANGER_BYTES_MAX",
        NO_KEY,
        &[(SURVIVAL, &["strangers_are_given_little_room_and_no_answers_to_keep_alives"])],
    ),
    ("SIP_HEADER_BYTES_MAX", NO_KEY, SIP_FRAME),
    ("SIP_HEADERS_MAX", NO_KEY, SIP_FRAME),
    ("SIP_BODY_BYTES_MAX", NO_KEY, SIP_FRAME),
    ("SIP_TRANSACTIONS_MAX", NO_KEY, NO_TEST),
    ("SIP_SESSIONS_MAX", NO_KEY, NO_TEST),
    ("SIP_DIALOGS_PER_SESSION_MAX", NO_KEY, &[(SURVIVAL, &["only_so_many_dialogs_for_a_pair"])]),
    ("SIP_QUEUE_MAX", NO_KEY, &[(SURVIVAL, &["a_full_queue_refuses_and_keeps_what_it_has"])]),
    ("SIP_KEPT_MAX", NO_KEY, NO_TEST),
    ("SIP_TALKS_MAX", NO_KEY, NO_TEST),
    ("SIP_WATCHES_MAX", NO_KEY, NO_TEST),
    ("SIP_SUBSCRIPTIONS_MAX", NO_KEY, NO_TEST),
    (
        "SIP_SUBSCRIPTIONS_PER_PAIR_MAX",
        NO_KEY,
        &[(EXHAUSTION, &["a_pool_that_subscribes_without_end_has_so_many_for_a_pair"])],
    ),
    ("SIP_PAIRS_PER_USER_MAX", NO_KEY, NO_TEST),
    (
        "MULTIPART_DEPTH_MAX",
        NO_KEY,
        &[(MULTIPARTS, &["parts_nested_ten_thousand_deep_cost_what_they_weigh"])],
    ),
    ("MULTIPART_PARTS_MAX", NO_KEY, &[(MULTIPARTS, &["there_is_an_end_to_parts"])]),
    (
        "MULTIPART_BOUNDARY_BYTES_MAX",
        NO_KEY,
        &[(MULTIPARTS, &["a_boundary_has_to_be_named_once_and_in_its_grammar"])],
    ),
    ("DOCUMENT_BYTES_MAX", NO_KEY, DOCUMENT),
    ("DOCUMENT_DEPTH_MAX", NO_KEY, DOCUMENT),
    ("DOCUMENT_ELEMENTS_MAX", NO_KEY, DOCUMENT),
    ("DOCUMENT_ATTRIBUTES_MAX", NO_KEY, DOCUMENT),
    ("ERROR_TEXT_BYTES_MAX", NO_KEY, NO_TEST),
    ("ATTEMPTS_MAX", NO_KEY, NO_TEST),
    ("SHARDS_MAX", "engine.shards", &[("engine/service/config/tests.rs", &["values_that_cannot_be_used"])]),
];
