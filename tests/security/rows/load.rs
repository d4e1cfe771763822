//! Floods, unequal speeds, and what a crash, a disk and a change of the program leave behind. Ids of our own: these classes are in no list.

use super::{Held, Row};

const PRESSURE: &str = "tests/simulation/pressure.rs";
const PEOPLE: &str = "engine/core/tests/bounds/people.rs";
const WAITING: &str = "engine/core/tests/bounds/waiting.rs";
const PROCESS: &str = "tests/service/process.rs";
const ON_SOCKETS: &str = "tests/service/pressure.rs";

pub const ROWS: &[Row] = &[
    Row {
        id: "TL-01",
        attack: "a flood that takes the turns of others",
        tried: "one and twenty connections that always have more to say, with both drivers: whoever says little at a time is read in the next turn and turns are short for him, floods have the same each and are not starved by many who say little; who was held up is not taken for modest; what it comes to in time is measured in benches/fair.rs: p99 within twice in the middle of its windows, stops of the machine with them in docs/performance.md",
        ends_in: "engine/service/driver/poll/rounds.rs",
        tests: &[
            (
                "engine/service/driver/poll/rounds.rs",
                &[
                    "who_says_little_beside_a_flood_has_every_other_turn_for_himself",
                    "all_have_the_same_who_have_always_something",
                    "however_many_say_words_a_flood_has_its_part",
                    "twenty_floods_keep_nobody_waiting_for_more_than_a_short_turn",
                    "after_a_pause_what_has_come_meanwhile_is_read_at_once",
                ],
            ),
            (
                "engine/service/driver/share.rs",
                &[
                    "who_brings_less_than_a_quarter_goes_first",
                    "who_says_one_word_after_the_other_goes_first_however_much_that_is",
                    "who_is_modest_comes_first_and_who_floods_has_no_credit",
                    "who_was_held_up_was_not_modest_meanwhile",
                ],
            ),
            (
                "engine/service/driver/uring/tests.rs",
                &[
                    "floods_keep_nobody_waiting",
                    "however_many_say_words_a_flood_is_heard",
                    "who_is_taken_for_modest_has_no_more_than_others_at_once",
                ],
            ),
        ],
        state: Held,
    },
    Row {
        id: "TL-02",
        attack: "a partner, or one of his users, who sends faster than he may",
        tried: "one over the rate of a partner and of a user, from partners and pools: resource-constraint (wait), and nobody else is refused; more senders and partners than are counted; clocks that stand still or leap",
        ends_in: "engine/core/src/shard/rates.rs",
        tests: &[
            (
                PRESSURE,
                &["one_over_the_rate_of_a_partner_is_refused", "one_over_the_rate_of_a_sender_is_refused"],
            ),
            (
                PEOPLE,
                &[
                    "counts_are_kept_of_so_many_senders_and_the_next_is_not_held_back",
                    "counts_are_kept_of_so_many_partners_and_the_next_is_not_held_back",
                    "no_rate_is_faster_than_the_fastest",
                ],
            ),
            (
                "engine/core/src/shard/rates.rs",
                &[
                    "one_over_the_burst_is_refused_and_the_rate_comes_back",
                    "the_table_is_bounded_and_forgets_the_quiet",
                    "a_clock_that_stands_still_or_goes_far_does_not_overflow",
                ],
            ),
        ],
        state: Held,
    },
    Row {
        id: "TL-03",
        attack: "more brought than goes out, until memory is full or others are refused",
        tried: "one who brings for a slow recipient alone, one who brings for others too, a pool, links and recipients on other shards, a shard half full: the one who brings waits or hears of it, and nobody else",
        ends_in: "engine/core/src/shard/pressure.rs",
        tests: &[
            (
                PRESSURE,
                &[
                    "who_brings_for_one_alone_waits_as_long_as_it_takes",
                    "who_brings_for_others_too_waits_a_second_and_then_hears_what_is_too_much",
                    "a_pool_is_never_left_unread",
                    "links_and_destinations_on_different_shards_understand_each_other",
                ],
            ),
            (
                WAITING,
                &[
                    "a_full_share_stops_its_link_until_little_of_it_is_left",
                    "shares_are_small_when_the_shard_is_half_full",
                    "so_many_bytes_wait_in_a_shard",
                    "so_many_destinations_are_remembered_and_the_idle_make_room",
                ],
            ),
            (ON_SOCKETS, &["a_recipient_that_stops_reading_stalls_his_sender_and_nobody_else"]),
        ],
        state: Held,
    },
    Row {
        id: "TL-04",
        attack: "a peer that takes nothing, and holds what waits for it for ever",
        tried: "a gateway that reads no more: its link is cut after a minute and a half, and every sender is told; a recipient who never comes back",
        ends_in: "engine/core/src/shard/stalls.rs",
        tests: &[
            (PRESSURE, &["who_takes_nothing_is_left_by_and_by_and_everybody_is_told"]),
            (ON_SOCKETS, &["a_recipient_that_never_comes_back_costs_his_sender_an_error_each"]),
        ],
        state: Held,
    },
    Row {
        id: "TL-05",
        attack: "slow senders, connections begun and broken off, and memory they leave behind",
        tried: "senders of an octet a second, strangers who connect, say something and go, more connections than may be of one address and of one home; by hand 5,000 and a million (0029)",
        ends_in: "engine/service/listen.rs",
        tests: &[
            (
                PROCESS,
                &[
                    "slow_senders_are_cut_off_and_keep_nobody_out",
                    "storms_of_strangers_leave_no_memory_behind",
                ],
            ),
            (
                "engine/service/listen.rs",
                &[
                    "one_address_does_not_take_all_places",
                    "the_servers_of_one_home_have_so_many_connections_and_no_more",
                ],
            ),
        ],
        state: Held,
    },
    Row {
        id: "TL-06",
        attack: "a crash, or a disk that lies, at the moment that loses or repeats what was acknowledged",
        tried: "images of the spool torn, cut, failed and filled at every place a crash may leave them; kill -9 under load; entries of any octets",
        ends_in: "engine/service/spool/journal.rs",
        tests: &[
            ("tests/spool/images.rs", &["crashes_lose_nothing_that_was_confirmed"]),
            ("tests/service/spool.rs", &["what_is_acknowledged_survives_kill_9"]),
            ("engine/core/src/durable/codec/tests.rs", &["anything_else_is_refused_and_nothing_panics"]),
        ],
        state: Held,
    },
    Row {
        id: "TL-07",
        attack: "what waits, or who knows whom, read from the disk by another user of the host",
        tried: "the directory of the spool and its segments, the file of contacts: readable by the service alone, whatever its umask, the segments also in a directory somebody else made",
        ends_in: "engine/service/spool/folder.rs",
        tests: &[
            ("engine/service/spool/folder.rs", &["what_waits_is_for_nobody_else_to_read"]),
            ("engine/service/store/tests.rs", &["who_knows_whom_is_for_nobody_else_to_read"]),
            ("tests/sandbox.rs", &["the_unit_is_confined"]),
        ],
        state: Held,
    },
    Row {
        id: "TL-08",
        attack: "a change of the program that refuses somebody, loses something, or lets two routers speak at once",
        tried: "a new program under load; one that cannot begin, which changes nothing; sockets that no key names, or that nobody wants",
        ends_in: "engine/service/handover.rs",
        tests: &[
            (
                "tests/service/upgrade.rs",
                &[
                    "an_upgrade_refuses_nobody_and_loses_nothing",
                    "an_upgrade_to_what_cannot_begin_changes_nothing",
                ],
            ),
            (
                "engine/service/handover.rs",
                &[
                    "sockets_and_words_go_through",
                    "a_socket_of_the_service_manager_that_nobody_wants_is_a_mistake",
                ],
            ),
            ("tests/service/service_manager.rs", &["a_socket_no_key_names_is_refused"]),
        ],
        state: Held,
    },
];
