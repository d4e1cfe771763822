//! SIP.

use super::{Held, Partly, Row};

const TLS: &str = "engine/service/tls/tests.rs";
const PROCESS: &str = "tests/service/process.rs";
const REFUSALS: &str = "tests/interop/cases/refusals.py";
const SURVIVAL: &str = "backends/sip/tests/survival.rs";
const RULES: &str = "backends/sip/tests/rules.rs";
const SIP_PARSE: &str = "backends/sip/src/parse/tests.rs";
const SIP_FRAME: &str = "backends/sip/src/frame/tests.rs";
const ORACLE: &str = "backends/sip/tests/oracle/main.rs";
const TORTURE: &str = "backends/sip/src/parse/torture.rs";

pub const ROWS: &[Row] = &[
    Row {
        id: "B-50",
        attack: "header fields injected from stanzas",
        tried: "any characters and any octets in every field of a message or of presence that crosses, in both dialects, as sipx-sip and rsip read what comes of it: the fields that were meant and no other, one message, a length that is true",
        ends_in: "backends/sip/src/write.rs",
        tests: &[
            (
                "backends/sip/tests/injection/to_pools.rs",
                &[
                    "what_partners_write_adds_no_header",
                    "what_partners_show_adds_no_header",
                    "words_of_a_refusal_add_no_header",
                    "harmless_words_are_heard",
                ],
            ),
            (SURVIVAL, &["stanza_text_adds_no_header"]),
            ("backends/sip/src/write/tests.rs", &["no_text_adds_a_header", "a_value_is_one_line_or_refused"]),
        ],
        state: Held,
    },
    Row {
        id: "B-51",
        attack: "XML injected from SIP",
        tried: "any characters and any octets in every field of a request, in its body, in HTML and in presence, as rxml and expat read what comes of it: one stanza, no element and no attribute more; any text in a body reads back",
        ends_in: "backends/sip/src/translate.rs",
        tests: &[
            (
                "backends/sip/tests/injection/to_partners.rs",
                &[
                    "what_a_pool_says_adds_no_element",
                    "what_a_pool_says_in_a_session_adds_no_element",
                    "what_a_pool_shows_adds_no_element",
                    "words_of_a_refusal_are_not_passed_on",
                    "harmless_words_are_told",
                ],
            ),
            ("backends/sip/src/translate/tests.rs", &["any_text_comes_back"]),
            ("backends/sip/src/text/tests.rs", &["any_bytes_are_survived"]),
        ],
        state: Held,
    },
    Row {
        id: "B-52",
        attack: "identities forged by escapes in URIs",
        tried: "escapes of every delimiter; the domain is always the one asserted",
        ends_in: "backends/sip/src/address.rs",
        tests: &[(
            "backends/sip/src/address/tests.rs",
            &[
                "crafted_escapes_never_leave_the_asserted_domain",
                "forged_and_foreign_addresses_are_refused",
                "local_parts_that_would_share_an_address_are_refused",
            ],
        )],
        state: Held,
    },
    Row {
        id: "B-53",
        attack: "header fields smuggled by odd white space",
        tried: "odd names, doubled and folded fields: refused, never merged",
        ends_in: "backends/sip/src/parse.rs",
        tests: &[(SIP_PARSE, &["headers_cannot_be_smuggled"])],
        state: Held,
    },
    Row {
        id: "B-54",
        attack: "messages that crash parsers",
        tried: "the 49 torture messages of RFC 4475 and the twelve of RFC 5118, each with its answer, cut at every place and read beside sipx-sip and rsip; what grows out of them, by seed and by coverage; damaged messages, any octets, a pool that says anything; 45 messages written after what was published of other programs",
        ends_in: "backends/sip/src/parse.rs",
        tests: &[
            (
                TORTURE,
                &[
                    "every_message_gets_its_answer",
                    "every_message_of_ipv6_gets_its_answer",
                    "the_table_names_every_file",
                ],
            ),
            (
                ORACLE,
                &[
                    "messages_of_the_rfcs_are_cut_and_read_alike_at_every_place",
                    "what_grows_out_of_them_is_read_alike",
                    "the_corpus_of_the_fuzzer",
                ],
            ),
            (
                SURVIVAL,
                &[
                    "the_torture_messages_are_survived",
                    "messages_that_crashed_others_are_survived",
                    "damaged_bytes_are_survived",
                    "pools_of_the_fuzzer_are_survived",
                ],
            ),
            (SIP_PARSE, &["a_damaged_invite_never_panics"]),
        ],
        state: Partly(
            "the collections of NIST, sofia and pjsip themselves, which no registry has as a package",
        ),
    },
    Row {
        id: "B-55",
        attack: "hostile XML in bodies",
        tried: "document types, entities, depth and size in presence documents; any octets",
        ends_in: "backends/sip/src/presence/tree.rs",
        tests: &[
            (
                "backends/sip/src/presence/tree/tests.rs",
                &[
                    "document_types_entities_and_instructions_are_refused_wherever_they_stand",
                    "a_document_is_bounded",
                ],
            ),
            ("backends/sip/src/presence/pidf/tests/random.rs", &["bytes_of_any_kind_are_read_or_refused"]),
            ("backends/sip/src/subjects.rs", &["documents_of_the_fuzzer_are_read_or_refused"]),
        ],
        state: Held,
    },
    Row {
        id: "B-56",
        attack: "multipart bodies that loop or overread",
        tried: "boundaries missing, doubled, too long, unfit, inside headers, never the last; types that stand twice or in two lines; 17 and 10,000 parts, 10,000 within each other; any octets",
        ends_in: "backends/sip/src/text.rs",
        tests: &[
            (
                "backends/sip/src/text/tests/multiparts.rs",
                &[
                    "a_boundary_has_to_be_named_once_and_in_its_grammar",
                    "delimiters_missing_doubled_or_never_the_last",
                    "delimiters_inside_headers_and_headers_that_are_none",
                    "there_is_an_end_to_parts",
                    "parts_nested_ten_thousand_deep_cost_what_they_weigh",
                ],
            ),
            ("backends/sip/src/text/tests.rs", &["alternatives_prefer_plain", "any_bytes_are_survived"]),
            ("backends/sip/src/subjects.rs", &["bodies_of_the_fuzzer_are_read_or_refused"]),
        ],
        state: Held,
    },
    Row {
        id: "B-57",
        attack: "requests of strangers, and of friends for others",
        tried: "other certificates, other addresses, other domains in From and in asserted identities",
        ends_in: "backends/sip/src/link.rs",
        tests: &[
            (
                RULES,
                &[
                    "strangers_are_turned_away",
                    "only_local_users_speak_and_only_to_partners",
                    "a_pool_without_its_certificate_is_not_used",
                ],
            ),
            (
                "tests/service/tracks.rs",
                &["a_stranger_may_not_speak_sip", "a_pool_with_the_wrong_certificate_gets_nothing"],
            ),
            (REFUSALS, &["sip_strangers_refused"]),
        ],
        state: Held,
    },
    Row {
        id: "B-58",
        attack: "connections made where a message says",
        tried: "Contact, Via and Record-Route that name others: bytes go on links only",
        ends_in: "backends/sip/src/backend.rs",
        tests: &[(RULES, &["nobody_is_called_where_a_message_says"])],
        state: Held,
    },
    Row {
        id: "B-59",
        attack: "dialogs and subscriptions without end",
        tried: "dialogs of a pair are bounded; subscriptions of a pair, and to everybody, 5,000 each time and a million by hand: 16 of a pair, 10,000 of a user, nothing when their time is over",
        ends_in: "backends/sip/src/session.rs",
        tests: &[
            (SURVIVAL, &["only_so_many_dialogs_for_a_pair", "a_full_queue_refuses_and_keeps_what_it_has"]),
            (
                "backends/sip/tests/presence/exhaustion.rs",
                &[
                    "a_pool_that_subscribes_without_end_has_so_many_for_a_pair",
                    "a_pool_that_subscribes_to_everybody_has_an_end",
                ],
            ),
        ],
        state: Held,
    },
    Row {
        id: "B-60",
        attack: "lengths that lie",
        tried: "negative, huge, doubled, missing; what is in doubt ends the connection",
        ends_in: "backends/sip/src/frame.rs",
        tests: &[
            (SIP_FRAME, &["a_length_is_one_plain_number", "limits_hold"]),
            (TORTURE, &["streams_break_where_the_length_is_in_doubt"]),
        ],
        state: Held,
    },
    Row {
        id: "B-61",
        attack: "script and markup in messages",
        tried: "HTML becomes text; RTF is never read",
        ends_in: "backends/sip/src/text.rs",
        tests: &[("backends/sip/src/text/tests.rs", &["html_becomes_text", "charsets_and_encodings"])],
        state: Held,
    },
    Row {
        id: "B-62",
        attack: "input that makes careless code slow",
        tried: "1 MiB of lists, quotes and brackets: the work is linear",
        ends_in: "backends/sip/src/parse.rs",
        tests: &[(SIP_PARSE, &["work_is_linear"]), (SIP_FRAME, &["work_is_linear_however_the_bytes_come"])],
        state: Held,
    },
    Row {
        id: "B-63",
        attack: "floods of keep-alives, messages in segments of an octet",
        tried: "every split gives the same messages; the work is linear however the bytes come; a flood of keep-alives is answered in few pieces, that of a stranger not at all, and answers nobody reads weigh what it costs to keep them",
        ends_in: "backends/sip/src/frame.rs",
        tests: &[
            (SIP_FRAME, &["any_split_gives_the_same_messages", "keep_alives_are_told_from_padding"]),
            (RULES, &["streams_are_cut_at_every_byte"]),
            (
                SURVIVAL,
                &[
                    "a_flood_of_keep_alives_is_answered_in_few_pieces",
                    "strangers_are_given_little_room_and_no_answers_to_keep_alives",
                    "strangers_who_say_nothing_do_not_stay",
                ],
            ),
            ("engine/service/driver/out/tests.rs", &["small_pieces_weigh_what_it_costs_to_keep_them"]),
        ],
        state: Held,
    },
    Row {
        id: "B-64",
        attack: "handshakes begun and broken off",
        tried: "noise, halves of handshakes and silence where TLS should begin",
        ends_in: "engine/service/tls/session.rs",
        tests: &[
            (TLS, &["garbage_ends_the_session_and_an_early_end_is_told", "noise_never_becomes_plain_text"]),
            (SURVIVAL, &["who_never_begins_tls_does_not_stay_and_the_pool_does"]),
            (PROCESS, &["storms_of_strangers_leave_no_memory_behind"]),
        ],
        state: Held,
    },
];
