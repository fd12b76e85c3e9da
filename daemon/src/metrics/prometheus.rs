//! Prometheus's text exposition format, version 0.0.4.
//!
//! Invariants        1. all samples of a family stand together under one HELP and one TYPE line.
//! Source            <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::collections::BTreeMap;
use std::fmt::Write;

use super::histogram::HistogramSnapshot;
use super::{Kind, Sample, Value};

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders the samples, families in the order of their names.
pub fn render(samples: &[Sample]) -> String {
    let mut families: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        families.entry(sample.family.name).or_default().push(sample);
    }
    let mut text = String::new();
    for samples in families.values() {
        if let Some(first) = samples.first() {
            let kind = match first.family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            push_line(
                &mut text,
                format_args!("# HELP {} {}", first.family.name, first.family.help),
            );
            push_line(
                &mut text,
                format_args!("# TYPE {} {kind}", first.family.name),
            );
        }
        for sample in samples {
            render_sample(&mut text, sample);
        }
    }
    text
}

fn render_sample(text: &mut String, sample: &Sample) {
    let name = sample.family.name;
    match &sample.value {
        Value::Number(number) => {
            let labels = labels_of(sample, None);
            push_line(text, format_args!("{name}{labels} {number}"));
        }
        Value::Histogram(histogram) => render_histogram(text, sample, histogram),
    }
}

fn render_histogram(text: &mut String, sample: &Sample, histogram: &HistogramSnapshot) {
    let name = sample.family.name;
    for (bound, count) in histogram.cumulative() {
        let labels = labels_of(sample, Some(&bound.to_string()));
        push_line(text, format_args!("{name}_bucket{labels} {count}"));
    }
    let count = histogram.count();
    let labels = labels_of(sample, Some("+Inf"));
    push_line(text, format_args!("{name}_bucket{labels} {count}"));
    let labels = labels_of(sample, None);
    push_line(
        text,
        format_args!("{name}_sum{labels} {}", histogram.sum_seconds()),
    );
    push_line(text, format_args!("{name}_count{labels} {count}"));
}

fn labels_of(sample: &Sample, bound: Option<&str>) -> String {
    let shard = sample.shard.map(|shard| ("shard", shard.to_string()));
    let bound = bound.map(|bound| ("le", bound.to_owned()));
    let labels: Vec<String> = shard
        .iter()
        .chain(&sample.labels)
        .chain(&bound)
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    if labels.is_empty() {
        return String::new();
    }
    format!("{{{}}}", labels.join(","))
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn push_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _infallible: std::fmt::Result = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::metrics::histogram::Histogram;
    use crate::metrics::{Collector, Family, Kind};
    use std::time::Duration;

    static OPEN: Family = Family {
        name: "sluice_open",
        help: "Open things.",
        kind: Kind::Gauge,
    };
    static SECONDS: Family = Family {
        name: "sluice_wait_seconds",
        help: "Waiting.",
        kind: Kind::Histogram,
    };

    #[test]
    fn samples_of_two_shards_stand_under_one_header_and_labels_are_escaped() {
        let mut samples = Vec::new();
        for shard in 0..2 {
            let mut collector = Collector::new(Some(shard));
            collector.number(&OPEN, &[("name", "a\"b")], 7);
            samples.extend(collector.into_samples());
        }
        let expected = "# HELP sluice_open Open things.\n# TYPE sluice_open gauge\n\
             sluice_open{shard=\"0\",name=\"a\\\"b\"} 7\nsluice_open{shard=\"1\",name=\"a\\\"b\"} 7\n";
        assert_eq!(render(&samples), expected);
    }

    #[test]
    fn a_histogram_ends_with_all_values_in_the_infinite_bucket() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_secs(100_000));
        let mut collector = Collector::new(None);
        collector.histogram(&SECONDS, &[], histogram.snapshot());
        let text = render(&collector.into_samples());
        assert!(
            text.contains("sluice_wait_seconds_bucket{le=\"0.000008\"} 0\n"),
            "{text}"
        );
        assert!(
            text.contains("sluice_wait_seconds_bucket{le=\"+Inf\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("sluice_wait_seconds_count 1\n"), "{text}");
    }
}
