//! XML and streams.

use super::{Held, Row};

const ORACLE: &str = "backends/xmpp/tests/oracle/main.rs";
const MEMORY: &str = "backends/xmpp/tests/memory.rs";
const ABUSE: &str = "backends/xmpp/tests/streams/abuse.rs";
const FORGED: &str = "backends/xmpp/tests/streams/forged.rs";
const WORK: &str = "backends/xmpp/src/frame/tests/work.rs";
const REFUSED: &str = "backends/xmpp/src/frame/tests/refused.rs";
const LIMITS: &str = "backends/xmpp/src/frame/tests/limits.rs";
const FAULTS: &str = "tests/service/faults.rs";

pub const ROWS: &[Row] = &[
    Row {
        id: "B-01",
        attack: "stanzas smuggled by octets that are no UTF-8 and that two readers take differently",
        tried: "every sequence of up to four octets of a grid, in names, values, text, namespaces and prefixes, cut at every octet; whatever is taken is read by expat and rxml to the same tree",
        ends_in: "backends/xmpp/src/frame/characters.rs",
        tests: &[
            (
                ORACLE,
                &[
                    "b01_octets_that_are_no_utf8",
                    "b01_to_b12_whatever_grows_out_of_the_families",
                    "the_list_of_differences_is_true",
                ],
            ),
            (REFUSED, &["bytes_that_are_not_utf8_are_refused_in_every_place", "other_encodings_are_refused"]),
            ("backends/xmpp/src/frame/tests/oracle.rs", &["damaged_documents", "damaged_traffic"]),
        ],
        state: Held,
    },
    Row {
        id: "B-02",
        attack: "stanzas smuggled by separators in namespaces",
        tried: "25 separators, raw, escaped and as references, at six places",
        ends_in: "backends/xmpp/src/frame/namespaces.rs",
        tests: &[
            (ORACLE, &["b02_separators_in_namespaces"]),
            (REFUSED, &["namespace_names_that_readers_could_take_differently_are_refused"]),
        ],
        state: Held,
    },
    Row {
        id: "B-03",
        attack: "elements or attributes of another namespace taken for steps or addresses",
        tried: "33 confusions beside two other readers; steps of a negotiation under wrong names in both directions",
        ends_in: "backends/xmpp/src/frame/tag.rs",
        tests: &[
            (ORACLE, &["b03_confused_namespaces"]),
            (
                FORGED,
                &[
                    "steps_in_the_wrong_namespace_are_no_steps",
                    "elements_in_the_wrong_namespace_are_not_acted_on",
                ],
            ),
            (ABUSE, &["prefixes_for_the_content_namespace_end_the_stream"]),
        ],
        state: Held,
    },
    Row {
        id: "B-04",
        attack: "entities that multiply or name files and hosts",
        tried: "document types before, at the start of and inside streams and in bodies from pools; nothing ever resolves one",
        ends_in: "backends/xmpp/src/frame/scanner.rs",
        tests: &[
            (ORACLE, &["b04_entities_and_document_types"]),
            (REFUSED, &["restricted_xml_is_refused"]),
            (
                "backends/sip/src/presence/tree/tests.rs",
                &["document_types_entities_and_instructions_are_refused_wherever_they_stand"],
            ),
        ],
        state: Held,
    },
    Row {
        id: "B-05",
        attack: "memory multiplied by many small parts before authentication",
        tried: "nine families in reads of 1, 100 and 4,096 octets on 40 streams, counted by the allocator: at most 8 bytes a byte beside 3 KiB a connection",
        ends_in: "backends/xmpp/src/frame.rs",
        tests: &[
            (
                MEMORY,
                &["what_strangers_send_is_held_in_proportion", "keys_of_strangers_are_held_in_proportion"],
            ),
            (ORACLE, &["b05_many_small_parts"]),
            (WORK, &["each_family_of_attacks_costs_what_it_weighs"]),
        ],
        state: Held,
    },
    Row {
        id: "B-06",
        attack: "unfinished stanzas and tokens that are scanned again and again, or kept for ever",
        tried: "text, values, tags and sections without end in reads of 1 and 7 octets: twice the input is less than 2.3 times the work; the time to authenticate ends it",
        ends_in: "backends/xmpp/src/frame.rs",
        tests: &[
            (
                WORK,
                &[
                    "each_family_of_attacks_costs_what_it_weighs",
                    "long_tokens_and_many_small_ones_cost_what_they_weigh",
                    "runs_cost_what_they_weigh",
                ],
            ),
            (LIMITS, &["an_unfinished_stanza_holds_no_more_than_the_limit_and_one_read"]),
            (FAULTS, &["whoever_is_slow_to_authenticate_is_cut"]),
        ],
        state: Held,
    },
    Row {
        id: "B-07",
        attack: "attributes compared with each other, thousands of them",
        tried: "one beyond the limit, thousands, and pairs that only namespaces make alike",
        ends_in: "backends/xmpp/src/frame/tag.rs",
        tests: &[
            (ORACLE, &["b07_attributes"]),
            (WORK, &["hostile_counts_are_refused_early", "each_family_of_attacks_costs_what_it_weighs"]),
            (LIMITS, &["attributes_and_declarations"]),
        ],
        state: Held,
    },
    Row {
        id: "B-08",
        attack: "declarations of namespaces without bound, read or written",
        tried: "one beyond the limit, 100,000, nested; and headers that would make each stanza grow as it goes on",
        ends_in: "backends/xmpp/src/inbound/opening.rs",
        tests: &[
            (ORACLE, &["b08_declarations"]),
            (
                WORK,
                &[
                    "hostile_counts_are_refused_early",
                    "tags_full_of_attributes_and_declarations_cost_a_bounded_amount_a_byte",
                ],
            ),
            (FORGED, &["a_stanza_grows_by_a_bounded_amount"]),
        ],
        state: Held,
    },
    Row {
        id: "B-09",
        attack: "nesting that exhausts the stack, also when the tree is dropped",
        tried: "one beyond the limit and 1,000,000; MIME parts 10,000 deep, at no more than four times their weight; trees are flat in memory",
        ends_in: "backends/xmpp/src/frame/scanner.rs",
        tests: &[
            (ORACLE, &["b09_depth"]),
            (WORK, &["hostile_counts_are_refused_early", "each_family_of_attacks_costs_what_it_weighs"]),
            (LIMITS, &["depth"]),
            ("backends/sip/src/presence/tree/tests.rs", &["a_document_is_bounded"]),
            (
                "backends/sip/src/text/tests/multiparts.rs",
                &["parts_nested_ten_thousand_deep_cost_what_they_weigh"],
            ),
        ],
        state: Held,
    },
    Row {
        id: "B-10",
        attack: "bombs of compressed data",
        tried: "XEP-0138 on open and on proven streams; what TLS knows has no compression",
        ends_in: "backends/xmpp/src/inbound.rs",
        tests: &[
            (FORGED, &["compression_is_neither_offered_nor_agreed_to"]),
            ("backends/sip/src/text/tests.rs", &["charsets_and_encodings"]),
        ],
        state: Held,
    },
    Row {
        id: "B-11",
        attack: "one odd stanza that ends a stream others share",
        tried: "odd resources, priorities, shows and characters pass or are answered; a fault ends its own stream alone; names that readers of XML 1.0 before its fifth edition refuse are answered and go no further, which is asked of expat for every character",
        ends_in: "backends/xmpp/src/arrival.rs",
        tests: &[
            (
                ABUSE,
                &[
                    "one_odd_address_does_not_end_the_stream",
                    "names_the_next_hop_may_not_know_end_no_stream",
                    "a_fault_on_one_stream_leaves_the_others_alone",
                ],
            ),
            (ORACLE, &["b11_odd_and_harmless", "b11_names_of_all_editions"]),
            (FAULTS, &["a_malformed_stanza_ends_its_own_stream"]),
            ("tests/contract.rs", &["a_fault_ends_its_own_link_and_no_other"]),
        ],
        state: Held,
    },
    Row {
        id: "B-12",
        attack: "characters XML forbids, by reference; markup that is nearly right",
        tried: "every code point that is no character, in decimal and hexadecimal; 30 near misses; escaping on the way out",
        ends_in: "backends/xmpp/src/frame/characters.rs",
        tests: &[
            (ORACLE, &["b12_references_and_markup"]),
            (REFUSED, &["characters_xml_does_not_allow_are_refused_raw_and_as_references"]),
        ],
        state: Held,
    },
];
