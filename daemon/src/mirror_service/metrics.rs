//! The numbers of mirrors in `/metrics`.

use std::rc::Rc;

use mirror::downlink::{DownlinkStatus, InletStatus};
use mirror::{LaneStatus, MirrorStatus};

use super::{MirrorReport, MirrorService};
use crate::metrics::{Collector, Family, Kind};
use crate::shard::Shard;

/// Shows the mirrors of a shard.
pub(super) fn register(shard: &Rc<Shard>, service: &Rc<MirrorService>) {
    let service = Rc::clone(service);
    let clock = Rc::downgrade(shard);
    shard.register_collector(move |collector| {
        let now_ms = clock.upgrade().map_or(0, |shard| shard.wall_clock_ms());
        for report in service.reports() {
            collect(collector, &report, now_ms);
        }
        for status in service.downlink_status() {
            collect_downlink(collector, &status);
        }
    });
}

fn collect(collector: &mut Collector, report: &MirrorReport, now_ms: i64) {
    let status = &report.status;
    let name = [("mirror", status.name.as_str())];
    let counters = &status.counters;
    for (family, value) in [
        (&RECORDS, counters.records),
        (&BATCHES, counters.batches),
        (&BATCH_BYTES, counters.batch_bytes),
        (&SENT, counters.sent_bytes),
        (&RECEIVED, counters.received_bytes),
        (&CONNECTS, counters.connects),
        (&RETRIES, counters.retries),
        (&TAIL_CHECKS, counters.tail_checks),
        (&CONFLICTS, counters.conflicts),
        (&LOOPS, counters.loops),
        (&RESETS, counters.watchdog_resets),
        (&KEPT, report.kept_bytes),
        (&MONTH, status.month_bytes),
        (&MISSING, sum(status, |lane| lane.missing_records)),
        (&GAPS, sum(status, |lane| lane.gaps)),
        (&DEAD_LETTERS, sum(status, |lane| lane.dead_letters)),
        (&DUPLICATES, sum(status, |lane| lane.possible_duplicates)),
        (&LAG, lag_records(status)),
        (&LAG_BYTES, report.lag_bytes),
        (&LAG_SECONDS, lag_seconds(status, now_ms)),
        (&LAST_SUCCESS, last_success_seconds(status)),
    ] {
        collector.number(family, &name, value);
    }
    let state = [
        ("mirror", status.name.as_str()),
        ("state", status.link.name()),
    ];
    collector.number(&STATE, &state, 1);
}

fn collect_downlink(collector: &mut Collector, status: &DownlinkStatus) {
    let name = [("mirror", status.name.as_str())];
    let counters = &status.counters;
    let lanes = || status.lanes.iter();
    let last_ms = lanes().filter_map(|lane| lane.last_success_ms).max();
    let last = u64::try_from(last_ms.unwrap_or(0)).unwrap_or(0);
    for (family, value) in [
        (&DOWN_RECORDS, counters.records),
        (&DOWN_LOOPS, counters.loops),
        (&DOWN_ABORTED, counters.aborted_records),
        (&DOWN_RETRIES, counters.retries),
        (&DOWN_SENT, counters.sent_bytes),
        (&DOWN_RECEIVED, counters.received_bytes),
        (&DOWN_CONNECTS, counters.connects),
        (
            &DOWN_MISSING,
            lanes().map(|lane| lane.missing_records).sum(),
        ),
        (&DOWN_GAPS, lanes().map(|lane| lane.gaps).sum()),
        (
            &DOWN_DEAD_LETTERS,
            lanes().map(|lane| lane.dead_letters).sum(),
        ),
        (
            &DOWN_RECREATIONS,
            lanes().map(|lane| lane.recreations).sum(),
        ),
        (&DOWN_LAG, lanes().map(InletStatus::lag_records).sum()),
        (&DOWN_LAST_SUCCESS, last.div_euclid(1000)),
    ] {
        collector.number(family, &name, value);
    }
    let state = [name[0], ("state", status.link.name())];
    collector.number(&DOWN_STATE, &state, 1);
}

fn sum(status: &MirrorStatus, of: impl Fn(&LaneStatus) -> u64) -> u64 {
    status.lanes.iter().map(of).sum()
}

/// Records that the centre does not have.
pub(crate) fn lag_records(status: &MirrorStatus) -> u64 {
    sum(status, LaneStatus::lag_records)
}

/// Age of the oldest record that waits, in seconds, as far as it is known.
pub(crate) fn lag_seconds(status: &MirrorStatus, now_ms: i64) -> u64 {
    let since = |lane: &LaneStatus| {
        let known = lane.oldest_timestamp_ms.filter(|at| *at > 0);
        lane.lagging_since_ms
            .map(|since| known.unwrap_or(since).min(since))
    };
    let oldest = status.lanes.iter().filter_map(since).min();
    let age_ms = oldest.map_or(0, |at| now_ms.saturating_sub(at).max(0));
    u64::try_from(age_ms).unwrap_or(0).div_euclid(1000)
}

/// When the centre last acknowledged something, in seconds since 1970; 0 for never.
pub(crate) fn last_success_seconds(status: &MirrorStatus) -> u64 {
    let last = status
        .lanes
        .iter()
        .filter_map(|lane| lane.last_success_ms)
        .max();
    u64::try_from(last.unwrap_or(0))
        .unwrap_or(0)
        .div_euclid(1000)
}

macro_rules! families {
    ($($name:ident $kind:ident $text:literal $help:literal;)*) => {
        $(static $name: Family = Family { name: $text, help: $help, kind: Kind::$kind };)*
    };
}

families! {
    RECORDS Counter "sluice_mirror_records_total" "Records that the centre acknowledged.";
    BATCHES Counter "sluice_mirror_batches_total" "Batches that the centre acknowledged.";
    BATCH_BYTES Counter "sluice_mirror_batch_bytes_total" "Bytes of acknowledged batches on the link.";
    SENT Counter "sluice_mirror_sent_bytes_total" "Bytes sent to the centre.";
    RECEIVED Counter "sluice_mirror_received_bytes_total" "Bytes received from the centre.";
    CONNECTS Counter "sluice_mirror_connects_total" "Connections that were opened to the centre.";
    RETRIES Counter "sluice_mirror_retries_total" "Batches that were to be sent again.";
    TAIL_CHECKS Counter "sluice_mirror_tail_checks_total" "Times that the centre was asked what it has.";
    CONFLICTS Counter "sluice_mirror_conflicts_total" "Times that another process had sent as this gateway.";
    LOOPS Counter "sluice_mirror_loops_total" "Records passed over since they were here before.";
    RESETS Counter "sluice_mirror_watchdog_resets_total" "Times that all connections were opened anew for lack of progress.";
    KEPT Gauge "sluice_mirror_kept_bytes" "Bytes of batches kept until the centre acknowledges them.";
    MONTH Gauge "sluice_mirror_month_bytes" "Bytes sent to the centre and received from it in this month.";
    MISSING Counter "sluice_mirror_missing_records_total" "Records that were removed before they were mirrored, announced to the centre or not yet.";
    GAPS Counter "sluice_mirror_gaps_total" "Gaps announced to the centre.";
    DEAD_LETTERS Counter "sluice_mirror_dead_letters_total" "Records that the centre refused for good.";
    DUPLICATES Counter "sluice_mirror_possible_duplicate_batches_total" "Batches that may stand twice at the centre.";
    LAG Gauge "sluice_mirror_lag_records" "Records that the centre does not have yet.";
    LAG_BYTES Gauge "sluice_mirror_lag_bytes" "Stored bytes of records that the centre does not have yet.";
    LAG_SECONDS Gauge "sluice_mirror_oldest_unmirrored_age_seconds" "Age of the oldest record that the centre does not have.";
    LAST_SUCCESS Gauge "sluice_mirror_last_success_time_seconds" "When the centre last acknowledged something, since 1970.";
    DOWN_RECORDS Counter "sluice_mirror_downlink_records_total" "Records of the centre that were appended here.";
    DOWN_LOOPS Counter "sluice_mirror_downlink_loops_total" "Records passed over since they came from this gateway.";
    DOWN_ABORTED Counter "sluice_mirror_downlink_aborted_records_total" "Records passed over since their transaction was aborted.";
    DOWN_RETRIES Counter "sluice_mirror_downlink_retries_total" "Fetches and appends of the downlink that failed and were tried again.";
    DOWN_SENT Counter "sluice_mirror_downlink_sent_bytes_total" "Bytes that the downlink sent to the centre.";
    DOWN_RECEIVED Counter "sluice_mirror_downlink_received_bytes_total" "Bytes that the downlink received from the centre.";
    DOWN_CONNECTS Counter "sluice_mirror_downlink_connects_total" "Connections that the downlink opened to the centre.";
    DOWN_MISSING Counter "sluice_mirror_downlink_missing_records_total" "Records that the centre removed before they were brought.";
    DOWN_GAPS Counter "sluice_mirror_downlink_gaps_total" "Gaps in what the centre had.";
    DOWN_DEAD_LETTERS Counter "sluice_mirror_downlink_dead_letters_total" "Records that a local topic refused for good.";
    DOWN_RECREATIONS Counter "sluice_mirror_downlink_recreations_total" "Times that a partition of the centre was made anew.";
    DOWN_LAG Gauge "sluice_mirror_downlink_lag_records" "Records of the centre that are not here yet, as it last said.";
    DOWN_LAST_SUCCESS Gauge "sluice_mirror_downlink_last_success_time_seconds" "When the centre last answered the downlink, since 1970.";
    DOWN_STATE Gauge "sluice_mirror_downlink_link_state" "1 for the state that the link of the downlink is in.";
    STATE Gauge "sluice_mirror_link_state" "1 for the state that the link is in.";
}
