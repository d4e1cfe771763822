//! Every bound of `limits.rs`: the key that changes it, if one does, and the tests that go beyond it. There is no limit without.

use super::Tests;

/// Name, key of the configuration, tests.
pub type Limit = (&'static str, &'static str, Tests);

const NO_KEY: &str = "";

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
const LINKS: &str = "engine/core/tests/bounds/links.rs";
const WAITING: &str = "engine/core/tests/bounds/waiting.rs";
const PEOPLE: &str = "engine/core/tests/bounds/people.rs";
const POOLS: &str = "backends/sip/tests/bounds.rs";
const CONFIG: &str = "engine/service/config/tests.rs";
const SPOOL_FULL: &str = "one_too_many_is_given_back_and_changes_nothing";
const SPOOL: &str = "engine/core/src/spool/tests.rs";
const UNUSABLE: (&str, &[&str]) = (CONFIG, &["values_that_cannot_be_used"]);
const OUTAGE: &str = "tests/simulation/outage.rs";

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
    ("VERIFY_STREAMS_MAX", "limits.verify_streams_max", VERIFY),
    ("VERIFY_STREAMS_UNLISTED_MAX", "limits.verify_streams_max", VERIFY),
    ("VERIFY_ASKS_MAX", NO_KEY, &[(FORGED, &["one_verify_stream_is_asked_so_much_at_a_time"])]),
    ("FLUSH_BYTES", NO_KEY, &[(LINKS, &["what_waits_for_a_link_goes_in_pieces_that_others_can_wait_for"])]),
    ("LINK_CREDIT_BYTES", NO_KEY, &[(LINKS, &["no_more_bytes_are_handed_to_a_link_than_its_credit"])]),
    ("LINK_CREDIT_STANZAS", NO_KEY, &[(LINKS, &["no_more_stanzas_are_handed_to_a_link_than_its_credit"])]),
    (
        "LINK_UNACKNOWLEDGED_BYTES",
        NO_KEY,
        &[
            (LINKS, &["no_more_is_left_unacknowledged_than_may_be"]),
            ("engine/core/src/run/tests.rs", &["what_may_be_unacknowledged_is_bounded"]),
        ],
    ),
    (
        "SPOOL_STANZAS_MAX",
        "limits.waiting_stanzas_max",
        &[(SPOOL, &[SPOOL_FULL]), (WAITING, &["so_many_wait_for_one_destination_and_one_more_is_refused"])],
    ),
    (
        "SPOOL_BYTES_MAX",
        "limits.waiting_bytes_max",
        &[(SPOOL, &[SPOOL_FULL]), (WAITING, &["so_many_bytes_wait_for_one_destination"])],
    ),
    (
        "SPOOL_AGE_SECONDS",
        NO_KEY,
        &[("engine/core/src/spool/tests.rs", &["what_expires_leaves_the_rest_as_it_was"])],
    ),
    (
        "SPOOL_AGE_SIP_SECONDS",
        NO_KEY,
        &[
            (WAITING, &["what_came_over_sip_waits_less_than_its_transaction"]),
            (OUTAGE, &["a_pools_users_wait_for_a_partner_as_long_as_their_transactions_do"]),
        ],
    ),
    ("SPOOL_AGE_MADE_SECONDS", NO_KEY, &[(WAITING, &["an_error_of_the_routers_own_waits_longer_on_a_disk"])]),
    (
        "SHARE_BYTES_MAX",
        "flow.share_bytes_max",
        &[(
            "tests/simulation/pressure.rs",
            &["who_brings_for_others_too_waits_a_second_and_then_hears_what_is_too_much"],
        )],
    ),
    ("SHARE_BYTES_RESUME", NO_KEY, &[(WAITING, &["a_full_share_stops_its_link_until_little_of_it_is_left"])]),
    ("SHARE_BYTES_PRESSED", NO_KEY, &[(WAITING, &["shares_are_small_when_the_shard_is_half_full"])]),
    ("SHARE_BYTES_FLOOR", "flow.share_bytes_max", &[UNUSABLE]),
    ("SHARE_BYTES_CEILING", "flow.share_bytes_max", &[UNUSABLE]),
    ("PAUSE_SHARED_MILLIS", NO_KEY, &[(WAITING, &["who_brings_for_others_too_is_stopped_for_so_long"])]),
    ("SHARED_SECONDS", NO_KEY, &[(WAITING, &["who_brings_for_others_too_is_stopped_for_so_long"])]),
    (
        "STALL_SECONDS",
        NO_KEY,
        &[("tests/simulation/pressure.rs", &["who_takes_nothing_is_left_by_and_by_and_everybody_is_told"])],
    ),
    (
        "RATE_PER_SECOND_MAX",
        "flow.partner_per_second",
        &[(PEOPLE, &["no_rate_is_faster_than_the_fastest"]), UNUSABLE],
    ),
    (
        "SENDERS_MAX",
        NO_KEY,
        &[(PEOPLE, &["counts_are_kept_of_so_many_senders_and_the_next_is_not_held_back"])],
    ),
    (
        "PARTNER_RATES_MAX",
        NO_KEY,
        &[(PEOPLE, &["counts_are_kept_of_so_many_partners_and_the_next_is_not_held_back"])],
    ),
    (
        "SHARD_SPOOL_BYTES_MAX",
        "limits.waiting_bytes_total_max",
        &[(WAITING, &["so_many_bytes_wait_in_a_shard"])],
    ),
    (
        "DESTINATIONS_MAX",
        "limits.destinations_max",
        &[(WAITING, &["so_many_destinations_are_remembered_and_the_idle_make_room"])],
    ),
    ("CONNECT_SECONDS", NO_KEY, &[(LINKS, &["an_attempt_to_connect_has_its_time_and_no_more"])]),
    ("CLOSE_SECONDS", NO_KEY, &[(LINKS, &["a_link_that_closes_has_its_time_and_is_cut"])]),
    (
        "BACKOFF_SECONDS_MAX",
        NO_KEY,
        &[
            (LINKS, &["a_destination_that_cannot_be_reached_is_tried_again_in_bounded_time"]),
            ("engine/core/src/pool.rs", &["waits_grow_and_are_bounded"]),
            (OUTAGE, &["a_partner_out_for_longer_than_anything_waits_costs_everybody_a_bounce_in_time"]),
        ],
    ),
    ("RECONNECT_SECONDS_CEILING", "federation.reconnect_seconds", &[UNUSABLE]),
    (
        "HOLD_MILLIS_MAX",
        "engine.hold_millis",
        &[(PEOPLE, &["a_move_waits_for_quiet_and_no_longer_than_it_may"]), UNUSABLE],
    ),
    ("MOVE_SETTLE_MILLIS", NO_KEY, &[(PEOPLE, &["a_move_waits_for_quiet_and_no_longer_than_it_may"])]),
    ("MOVE_GRACE_SECONDS", NO_KEY, &[(PEOPLE, &["the_old_home_may_speak_for_who_moved_for_so_long"])]),
    (
        "MOVE_USERS_MAX",
        NO_KEY,
        &[("engine/service/admin/tests/operating.rs", &["so_many_users_are_moved_at_a_time_and_no_more"])],
    ),
    (
        "CONTACTS_MAX",
        "limits.contacts_max",
        &[(PEOPLE, &["so_many_contacts_are_remembered_and_one_more_is_refused"])],
    ),
    (
        "CONTACTS_PER_USER_MAX",
        "limits.contacts_per_user_max",
        &[
            (CONTACTS, &["a_user_has_so_many_contacts_and_no_more"]),
            (PEOPLE, &["so_many_contacts_are_remembered_and_one_more_is_refused"]),
        ],
    ),
    ("ASKING_PER_DOMAIN_MAX", NO_KEY, &[(CONTACTS, &["questions_of_one_domain_leave_room_for_others"])]),
    ("ASKING_PER_USER_MAX", NO_KEY, &[(CONTACTS, &["questions_to_one_user_leave_room_for_his_contacts"])]),
    (
        "LOOKS_PER_DOMAIN_MAX",
        NO_KEY,
        &[(EXHAUSTION, &["looks_of_one_domain_do_not_take_the_turns_of_watchers"])],
    ),
    ("TOLD_CONTACTS_MAX", NO_KEY, &[(PEOPLE, &["an_administrator_is_told_of_so_many_contacts"])]),
    (
        "PRESENCE_WAITING_MAX",
        NO_KEY,
        &[(PEOPLE, &["so_much_presence_waits_for_the_store_and_one_more_is_refused"])],
    ),
    (
        "HOME_CONNECTIONS_MAX",
        "limits.home_connections_max",
        &[("engine/service/listen.rs", &["the_servers_of_one_home_have_so_many_connections_and_no_more"])],
    ),
    (
        "SIP_STRANGER_BYTES_MAX",
        NO_KEY,
        &[(SURVIVAL, &["strangers_are_given_little_room_and_no_answers_to_keep_alives"])],
    ),
    ("SIP_HEADER_BYTES_MAX", NO_KEY, SIP_FRAME),
    ("SIP_HEADERS_MAX", NO_KEY, SIP_FRAME),
    ("SIP_BODY_BYTES_MAX", NO_KEY, SIP_FRAME),
    (
        "SIP_TRANSACTIONS_MAX",
        "limits.sip_transactions_max",
        &[(
            POOLS,
            &[
                "so_many_requests_of_ours_are_under_way_and_one_more_text_is_refused",
                "so_many_requests_of_the_pool_are_under_way_and_one_more_hears_480",
            ],
        )],
    ),
    (
        "SIP_SESSIONS_MAX",
        "limits.sip_sessions_max",
        &[(POOLS, &["so_many_pairs_converse_and_one_more_is_refused"])],
    ),
    ("SIP_DIALOGS_PER_SESSION_MAX", NO_KEY, &[(SURVIVAL, &["only_so_many_dialogs_for_a_pair"])]),
    ("SIP_QUEUE_MAX", NO_KEY, &[(SURVIVAL, &["a_full_queue_refuses_and_keeps_what_it_has"])]),
    (
        "SIP_KEPT_MAX",
        "limits.sip_messages_max",
        &[(POOLS, &["so_many_texts_are_kept_and_one_more_is_refused"])],
    ),
    (
        "SIP_TALKS_MAX",
        NO_KEY,
        &[(POOLS, &["typing_is_remembered_of_so_many_pairs_and_the_others_write_without"])],
    ),
    (
        "SIP_WATCHES_MAX",
        "limits.sip_subscriptions_max",
        &[(EXHAUSTION, &["so_many_watches_are_held_and_one_more_is_refused"])],
    ),
    (
        "SIP_SUBSCRIPTIONS_MAX",
        "limits.sip_subscriptions_max",
        &[(EXHAUSTION, &["so_many_subscriptions_are_held_and_one_more_is_refused"])],
    ),
    (
        "SIP_SUBSCRIPTIONS_PER_PAIR_MAX",
        NO_KEY,
        &[(EXHAUSTION, &["a_pool_that_subscribes_without_end_has_so_many_for_a_pair"])],
    ),
    (
        "SIP_PAIRS_PER_USER_MAX",
        NO_KEY,
        &[(EXHAUSTION, &["one_user_has_so_many_pairs_and_others_have_their_own"])],
    ),
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
    (
        "ERROR_TEXT_BYTES_MAX",
        NO_KEY,
        &[("engine/core/src/refusal.rs", &["told_text_is_bounded_at_a_character"])],
    ),
    ("ATTEMPTS_MAX", NO_KEY, &[(LINKS, &["a_stanza_that_comes_back_is_offered_so_often_and_then_refused"])]),
    ("SHARDS_MAX", "engine.shards", &[("engine/service/config/tests.rs", &["values_that_cannot_be_used"])]),
];
