//! Who speaks for a domain.

use super::{Held, Row};

const MEMORY: &str = "backends/xmpp/tests/memory.rs";
const ABUSE: &str = "backends/xmpp/tests/streams/abuse.rs";
const ANSWERS: &str = "backends/xmpp/tests/streams/answers.rs";
const BYPASS: &str = "backends/xmpp/tests/streams/bypass.rs";
const FORGED: &str = "backends/xmpp/tests/streams/forged.rs";
const INSIDE: &str = "backends/xmpp/tests/streams/inside.rs";
const MATRIX: &str = "backends/xmpp/tests/streams/matrix.rs";
const PINGS: &str = "backends/xmpp/tests/streams/pings.rs";
const PROOFS: &str = "backends/xmpp/tests/streams/proofs.rs";
const CERTIFICATES: &str = "tests/certificates.rs";
const NAMES: &str = "backends/xmpp/src/identity/tests.rs";
const TLS: &str = "engine/service/tls/tests.rs";
const FAULTS: &str = "tests/service/faults.rs";
const INBOUND: &str = "tests/service/inbound.rs";
const PROCESS: &str = "tests/service/process.rs";
const HANDSHAKES: &str = "tests/interop/cases/handshakes.py";
const SURVIVAL: &str = "backends/sip/tests/survival.rs";
const REFUSALS: &str = "tests/interop/cases/refusals.py";

pub const ROWS: &[Row] = &[
    Row {
        id: "B-20",
        attack: "dialback answers nobody asked for",
        tried: "unasked, on another stream, of another partner, with another id, swapped, twice, and late after a denial; in all three roles",
        ends_in: "backends/xmpp/src/outbound/proof.rs",
        tests: &[
            (PROOFS, &["answers_nobody_asked_for_prove_nothing", "a_proof_ends_with_the_stream_it_was_for"]),
            (
                FORGED,
                &[
                    "a_verdict_counts_on_the_stream_that_was_asked",
                    "a_verdict_counts_once_and_for_one_stream",
                    "a_result_counts_for_the_pair_that_was_offered",
                ],
            ),
        ],
        state: Held,
    },
    Row {
        id: "B-21",
        attack: "dialback keys foreseen, or made for other names",
        tried: "other names, ids and secrets, also where names are split elsewhere; a secret of 256 bits at each start; only our own domains are answered for",
        ends_in: "backends/xmpp/src/dialback.rs",
        tests: &[
            (
                "backends/xmpp/src/dialback.rs",
                &[
                    "a_key_fits_its_own_names_only",
                    "no_other_names_make_the_same_key",
                    "the_published_vector",
                ],
            ),
            (PROOFS, &["the_authoritative_role_needs_no_authentication"]),
            (INSIDE, &["the_authoritative_role_for_partners_is_played_inside_alone"]),
            (ABUSE, &["stream_ids_are_never_the_same"]),
            ("engine/service/router.rs", &["every_start_has_a_secret_of_its_own"]),
        ],
        state: Held,
    },
    Row {
        id: "B-22",
        attack: "keys guessed by the time a comparison takes",
        tried: "wrong keys of every kind; that the time does not tell is the promise of the crate `subtle`; measured by hand (`benches/counts/keys.rs`, docs/decisions/0029-hostile.md), as a measurement is no test",
        ends_in: "backends/xmpp/src/dialback.rs",
        tests: &[("backends/xmpp/src/dialback.rs", &["a_key_fits_its_own_names_only"])],
        state: Held,
    },
    Row {
        id: "B-23",
        attack: "a stream proven for one pair of domains used for another",
        tried: "a second sender and a second recipient before, and a fourth pair after, three are proven",
        ends_in: "backends/xmpp/src/pairs.rs",
        tests: &[(PROOFS, &["each_pair_needs_its_own_proof"]), (ABUSE, &["addresses_of_stanzas"])],
        state: Held,
    },
    Row {
        id: "B-24",
        attack: "a way around what the policy asks for",
        tried: "13 policies, 5 handshakes, 3 ways to speak: 195 cells, and again where dialback needs TLS, a key is pinned, or roots are the partner's own",
        ends_in: "backends/xmpp/src/terms.rs",
        tests: &[
            (
                BYPASS,
                &[
                    "who_gets_in",
                    "who_gets_in_where_dialback_needs_tls",
                    "who_gets_in_where_a_key_is_pinned",
                    "who_gets_in_where_the_partner_has_roots_of_its_own",
                ],
            ),
            (MATRIX, &["tls_required", "tls_optional", "no_tls"]),
            (ABUSE, &["nothing_but_starttls_where_tls_is_required"]),
            (HANDSHAKES, &["clear_text_refused", "external_refuses_self_signed"]),
        ],
        state: Held,
    },
    Row {
        id: "B-25",
        attack: "certificates that resemble a name",
        tried: "26 names that resemble one and 14 subjects that read like one, in certificates really made, in both roles",
        ends_in: "engine/service/tls/facts.rs",
        tests: &[
            (
                CERTIFICATES,
                &[
                    "xc02_wildcards_stand_for_one_label",
                    "xc03_the_subject_names_nobody",
                    "xc05_names_that_resemble_do_not_match",
                ],
            ),
            (NAMES, &["names_are_whole", "service_names_and_xmpp_addresses"]),
            (TLS, &["only_names_of_the_right_type_count"]),
        ],
        state: Held,
    },
    Row {
        id: "B-26",
        attack: "the name in a partner's certificate never looked at",
        tried: "outbound to a good certificate of another name, in memory and with real servers",
        ends_in: "backends/xmpp/src/identity.rs",
        tests: &[
            (MATRIX, &["a_good_certificate_of_another_name_gets_no_stanza"]),
            (INBOUND, &["a_certificate_for_another_name_is_no_proof"]),
            (HANDSHAKES, &["external_refuses_wrong_name"]),
        ],
        state: Held,
    },
    Row {
        id: "B-27",
        attack: "an identity changed when a stream is opened anew, or asked for by another name",
        tried: "other domains after TLS and after SASL, other identities in SASL, two requests at once, one after success, one of nobody; ids of broken streams by others, forged and borrowed",
        ends_in: "backends/xmpp/src/inbound/opening.rs",
        tests: &[
            (ABUSE, &["domains_never_change_on_a_stream"]),
            (PROOFS, &["external_by_the_letter", "stanzas_count_after_success_and_a_new_header_only"]),
            (FORGED, &["an_identity_is_asked_for_once"]),
            (
                "backends/xmpp/tests/streams/resuming.rs",
                &["b27_an_id_opens_nothing_that_was_not_proven_again"],
            ),
        ],
        state: Held,
    },
    Row {
        id: "B-28",
        attack: "answers taken by their id alone",
        tried: "answers to our pings from other users, other domains, of other types, and twice",
        ends_in: "backends/xmpp/src/liveness.rs",
        tests: &[(
            PINGS,
            &["only_the_domain_that_was_asked_can_answer", "others_prove_nothing", "an_answer_counts_once"],
        )],
        state: Held,
    },
    Row {
        id: "B-29",
        attack: "a stream used in both directions without proof for the other",
        tried: "XEP-0288 asked for where it is not offered, too early, too late and twice; stanzas against the direction of a stream, and of another pair, on streams that go both ways and on others",
        ends_in: "backends/xmpp/src/backend.rs",
        tests: &[
            (FORGED, &["streams_carry_one_way_whatever_is_asked"]),
            ("backends/xmpp/tests/streams/life.rs", &["nothing_is_sent_on_the_stream_of_another_pair"]),
            (
                "backends/xmpp/tests/streams/bidi.rs",
                &[
                    "b29_a_way_back_leads_from_and_to_the_proven_pair_alone",
                    "b29_it_is_asked_for_in_time_or_not_at_all",
                    "b29_a_peer_speaks_back_from_and_to_the_pair_alone",
                    "b29_nothing_comes_back_unasked_or_early",
                ],
            ),
        ],
        state: Held,
    },
    Row {
        id: "B-30",
        attack: "STARTTLS taken out, or words slipped in before the handshake",
        tried: "words behind <starttls/> and <proceed/> in one segment, features without TLS, words before it",
        ends_in: "backends/xmpp/src/frame.rs",
        tests: &[
            (
                ABUSE,
                &[
                    "what_comes_behind_starttls_is_not_read",
                    "what_comes_behind_proceed_is_not_read",
                    "a_partner_that_offers_no_tls_gets_nothing",
                ],
            ),
            (FAULTS, &["plain_text_behind_starttls_is_not_processed", "plain_text_where_tls_is_required"]),
        ],
        state: Held,
    },
    Row {
        id: "B-31",
        attack: "renegotiation of TLS as work for the other side",
        tried: "a renegotiation on TLS 1.2 ends the session",
        ends_in: "engine/service/tls/session.rs",
        tests: &[(TLS, &["renegotiation_ends_the_session"])],
        state: Held,
    },
    Row {
        id: "B-32",
        attack: "a certificate somebody talked an authority into",
        tried: "pins and roots of a partner's own leave it outside; another authority than before is told to the operator",
        ends_in: "backends/xmpp/src/issuers.rs",
        tests: &[
            (CERTIFICATES, &["xc07_partners_have_roots_and_pins_of_their_own"]),
            (BYPASS, &["who_gets_in_where_a_key_is_pinned"]),
            (FORGED, &["another_issuer_is_told"]),
            (
                "backends/xmpp/src/issuers.rs",
                &[
                    "another_authority_is_told_once_and_another_intermediate_is_not",
                    "what_is_remembered_is_bounded",
                ],
            ),
        ],
        state: Held,
    },
    Row {
        id: "B-33",
        attack: "memory that strangers leave behind",
        tried: "20,000 connections of five kinds in memory, counted by the allocator, and 3,000 on real sockets, twice; 200 and 40 that send an octet a second: within 5 % of the start. By hand a million of each, and 5,000 slow ones (docs/decisions/0029-hostile.md)",
        ends_in: "backends/xmpp/src/backend.rs",
        tests: &[
            (MEMORY, &["storms_leave_nothing_behind", "one_octet_a_second_keeps_nobody_a_place"]),
            (
                PROCESS,
                &[
                    "storms_of_strangers_leave_no_memory_behind",
                    "slow_senders_are_cut_off_and_keep_nobody_out",
                ],
            ),
        ],
        state: Held,
    },
    Row {
        id: "B-34",
        attack: "a relay for third parties",
        tried: "stanzas to third domains from partners, the gateway and the pool, and for others from each",
        ends_in: "engine/core/src/route.rs",
        tests: &[
            (ABUSE, &["addresses_of_stanzas"]),
            (INSIDE, &["each_side_speaks_for_its_own_domains_alone", "a_certificate_opens_no_door_inside"]),
            ("tests/plays.rs", &["every_play_goes_as_written", "every_rule_has_a_play"]),
            (REFUSALS, &["gateway_may_not_speak_for_2019_users", "pool_may_not_speak_for_others"]),
        ],
        state: Held,
    },
    Row {
        id: "B-35",
        attack: "users counted, presence found out",
        tried: "one answer for every user that cannot be reached, word for word, for the same work but for one comparison, counted in findings; no order of stanzas shows a presence nobody granted. That a user who can be reached gives no such answer is how the protocol is",
        ends_in: "engine/core/src/route.rs",
        tests: &[
            (REFUSALS, &["unknown_user_looks_like_any_other"]),
            ("tests/service/errors.rs", &["an_unknown_user_is_service_unavailable"]),
            (ANSWERS, &["who_asks_to_see_a_user_that_cannot_be_reached_is_told_unsubscribed"]),
            ("engine/core/tests/routing_table.rs", &["users_that_cannot_be_reached_are_one_like_the_other"]),
            ("engine/core/src/contacts/tests.rs", &["no_order_of_stanzas_shows_what_was_not_granted"]),
        ],
        state: Held,
    },
    Row {
        id: "B-36",
        attack: "one subscription that makes traffic for ever",
        tried: "100,000 requests of one domain, of which 4,096 stay unanswered at a time and keep nobody else out; probes without a grant, of which 256 are under way; who has gone is watched no more; bursts toward a partner go out evenly",
        ends_in: "engine/core/src/contacts.rs",
        tests: &[
            (
                "engine/core/src/contacts/tests.rs",
                &[
                    "questions_of_one_domain_leave_room_for_others",
                    "questions_to_one_user_leave_room_for_his_contacts",
                    "a_user_has_so_many_contacts_and_no_more",
                ],
            ),
            (
                "backends/sip/tests/presence/exhaustion.rs",
                &["looks_of_one_domain_do_not_take_the_turns_of_watchers"],
            ),
            ("backends/sip/tests/presence/watch.rs", &["nobody_is_watched_for_one_who_has_gone"]),
            ("engine/core/tests/presence.rs", &["a_burst_toward_a_partner_goes_out_evenly"]),
        ],
        state: Held,
    },
    Row {
        id: "B-37",
        attack: "lines forged in the log, and what refusals tell of us",
        tried: "line ends, escapes and turned text in what is logged, floods of lines; reasons that go to the operator and not to the stranger",
        ends_in: "engine/service/log.rs",
        tests: &[
            (
                "engine/service/log.rs",
                &["one_event_is_one_line", "a_peer_cannot_flood_the_log_nor_drown_another"],
            ),
            (FORGED, &["what_a_stranger_is_told_says_nothing_of_us"]),
        ],
        state: Held,
    },
    Row {
        id: "B-38",
        attack: "names that grow or loop when they are prepared",
        tried: "the conformance test of UTS 46 (IdnaTestV2) and the Punycode that is none, as the crate `idna` brings them; bad A-labels, joiners, marks without end, labels and names beyond their size, characters that grow eighteenfold",
        ends_in: "engine/core/src/jid.rs",
        tests: &[
            (
                "engine/core/src/jid/tests.rs",
                &[
                    "bombs_are_refused",
                    "parts_are_bounded_after_and_before_preparation",
                    "no_text_brings_it_down",
                ],
            ),
            (
                "tests/idna.rs",
                &["domains_are_those_of_the_conformance_test", "punycode_that_is_none_is_no_domain"],
            ),
            (SURVIVAL, &["addresses_of_the_fuzzer_stand_still"]),
            (FORGED, &["names_that_are_none_or_too_long_are_refused"]),
        ],
        state: Held,
    },
];
