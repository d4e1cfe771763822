//! The text of a scrape, and the files that name metrics.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::look::example::look;

/// Series by name with labels, and the names that have a type line.
fn scrape(look: &Look) -> (BTreeMap<String, f64>, BTreeSet<String>) {
    let text = render(look);
    let mut series = BTreeMap::new();
    let mut typed = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(typed.insert(rest.split(' ').next().unwrap().to_owned()), "typed twice: {line}");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(series.insert(name.to_owned(), value.parse().unwrap()).is_none(), "given twice: {line}");
        }
    }
    (series, typed)
}

#[test]
fn every_row_is_in_the_text_with_its_labels() {
    let (series, typed) = scrape(&look());
    let names: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(names.len(), METRICS.len(), "a name stands in two rows");
    assert_eq!(typed, names);
    for metric in METRICS {
        assert!(metric.name.starts_with("turnout_"), "{metric:?}");
        assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{metric:?}");
        assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{metric:?}");
        let suffix = if metric.kind == Kind::Histogram { "_count" } else { "" };
        let full = format!("{}{suffix}", metric.name);
        let mine: Vec<&String> =
            series.keys().filter(|key| key.split('{').next() == Some(full.as_str())).collect();
        assert!(!mine.is_empty(), "{metric:?} has no series");
        for key in mine {
            let labels = key.matches("=\"").count();
            assert_eq!(labels, metric.labels.len(), "{key}");
            assert!(metric.labels.iter().all(|label| key.contains(&format!("{label}=\""))), "{key}");
        }
    }
}

#[test]
fn values_are_the_sums_of_the_shards() {
    let (series, _) = scrape(&look());
    let rows = [
        ("turnout_stanzas_received_total{flow=\"passed\"}", 30.0),
        ("turnout_stanzas_received_total{flow=\"made\"}", 2.0),
        ("turnout_stanzas_dropped_total{flow=\"passed\",rule=\"presence_unanswered\"}", 3.0),
        ("turnout_stanzas_held", 5.0),
        ("turnout_stanzas_unaccounted", 0.0),
        ("turnout_refusals_total{condition=\"service-unavailable\"}", 2.0),
        ("turnout_side_stanzas_delivered_total{side=\"legacy\"}", 12.0),
        ("turnout_links{side=\"partners\"}", 3.0),
        ("turnout_node_failures{home=\"sfb2019\",node=\"pool2019.contoso.com:5061\"}", 4.0),
        ("turnout_node_failures{home=\"legacy\",node=\"edge.contoso.com:5269\"}", 0.0),
        ("turnout_driver_info{driver=\"poll\"}", 1.0),
        ("turnout_directory_users", 3.0),
        ("turnout_directory_age_seconds", 40.0),
        ("turnout_shard_stanzas_handed_out_total{shard=\"0\"}", 4.0),
        ("turnout_moving_users", 1.0),
        ("turnout_links_paused", 2.0),
        ("turnout_link_pauses_total", 9.0),
        ("turnout_rate_refusals_total{whose=\"partner\"}", 1.0),
        ("turnout_rate_refusals_total{whose=\"sender\"}", 2.0),
        ("turnout_links_stalled_total{side=\"legacy\"}", 3.0),
        ("turnout_contacts{subscription=\"both\"}", 7.0),
        ("turnout_contacts{subscription=\"to\"}", 2.0),
        ("turnout_contacts_marked{mark=\"vetoed\"}", 1.0),
        ("turnout_contacts_marked{mark=\"asking\"}", 0.0),
        ("turnout_presence_stanzas_waiting", 1.0),
        ("turnout_presence_wishes_waiting", 6.0),
        ("turnout_presence_watches{side=\"sfb2019\"}", 5.0),
        ("turnout_presence_subscriptions{side=\"sfb2019\"}", 2.0),
        ("turnout_draining", 0.0),
        ("turnout_otlp_spans_sent_total", 40.0),
        ("turnout_otlp_spans_dropped_total{reason=\"queue\"}", 3.0),
        ("turnout_otlp_failing", 1.0),
        ("turnout_store_failing", 0.0),
        ("turnout_store_contacts", 12.0),
    ];
    for (name, expected) in rows {
        assert_eq!(series.get(name), Some(&expected), "{name}");
    }
}

#[test]
fn a_histogram_is_cumulative_and_in_seconds() {
    let (series, _) = scrape(&look());
    let at = |le: &str| series[&format!("turnout_delivery_seconds_bucket{{side=\"legacy\",le=\"{le}\"}}")];
    // 80 µs eleven times, 40 s once.
    assert_eq!(at("0.00005"), 0.0);
    assert_eq!(at("0.0001"), 11.0);
    assert_eq!(at("30"), 11.0);
    assert_eq!(at("+Inf"), 12.0);
    assert_eq!(series["turnout_delivery_seconds_count{side=\"legacy\"}"], 12.0);
    assert_eq!(series["turnout_delivery_seconds_sum{side=\"legacy\"}"], 40.00088);
    let les: Vec<f64> = LATENCY_BOUNDS_US.iter().map(|&bound| seconds(bound).parse().unwrap()).collect();
    assert!(les.is_sorted() && les[0] == 0.00001);
}

#[test]
fn label_values_are_escaped() {
    let mut text = String::new();
    escape("a\"b\\c\nd", &mut text);
    assert_eq!(text, r#"a\"b\\c\nd"#);
}

/// The metric names in a text: words that begin with the prefix all metrics have.
fn named(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("turnout_") && *word != "turnout_")
        .collect()
}

#[test]
fn alerts_and_dashboard_name_metrics_that_exist() {
    let mut known: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    for histogram in METRICS.iter().filter(|metric| metric.kind == Kind::Histogram) {
        known.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{}{suffix}", histogram.name)));
    }
    for (file, text) in [
        ("config/alerts.yml", include_str!("../../../config/alerts.yml")),
        ("config/alerts_test.yml", include_str!("../../../config/alerts_test.yml")),
        ("config/dashboard.json", include_str!("../../../config/dashboard.json")),
    ] {
        let named = named(text);
        assert!(named.len() >= 5, "{file} names hardly a metric: {named:?}");
        let unknown: Vec<&&str> = named.iter().filter(|name| !known.contains(**name)).collect();
        assert!(unknown.is_empty(), "{file} names metrics that do not exist: {unknown:?}");
    }
    serde_json::from_str::<serde_json::Value>(include_str!("../../../config/dashboard.json")).unwrap();
}
