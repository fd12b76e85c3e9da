//! Mirrors over admin HTTP: what they do, and stopping and resuming them.
//!
//! What it is        `GET /mirrors`, `POST /mirrors/NAME/pause`, `POST /mirrors/NAME/resume`; JSON.
//! Invariants        1. a pause is durable before it is answered.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use mirror::downlink::{DownlinkStatus, InletStatus};
use mirror::{LaneStatus, LinkState, MirrorStatus};
use serde_json::{Value, json};

use super::{Control, NoAnswer};
use crate::mirror_service::metrics::{lag_records, lag_seconds, last_success_seconds};
use crate::mirror_service::{MirrorReport, write_paused};

/// What one shard says of a mirror.
type Part = (MirrorReport, i64);

/// Everything about all mirrors.
pub(super) async fn status(State(control): State<Arc<Control>>) -> Response {
    match collect(&control).await {
        Ok(mirrors) => axum_json(&json!({ "mirrors": mirrors })),
        Err(no_answer) => failed(&no_answer),
    }
}

/// Stops a mirror.
pub(super) async fn pause(control: State<Arc<Control>>, name: Path<String>) -> Response {
    set_paused(control, name, true).await
}

/// Lets a mirror go on.
pub(super) async fn resume(control: State<Arc<Control>>, name: Path<String>) -> Response {
    set_paused(control, name, false).await
}

async fn set_paused(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    is_paused: bool,
) -> Response {
    let to_write = name.clone();
    let written = control.ask_later(0, move |shard, answer| {
        let shard = Rc::clone(shard);
        drop(monoio::spawn(async move {
            let is_known = shard
                .config()
                .mirrors
                .iter()
                .any(|one| one.name == to_write);
            let is_durable = is_known && write_paused(&shard, &to_write, is_paused).await;
            // The asker may have given up.
            let _gone: Result<(), _> = answer.send((is_known, is_durable));
        }));
    });
    match written.await {
        Err(no_answer) => return failed(&no_answer),
        Ok((false, _)) => {
            let line = format!("there is no mirror {name}\n");
            return (StatusCode::NOT_FOUND, line).into_response();
        }
        Ok((true, false)) => {
            let line = "the change could not be stored\n";
            return (StatusCode::SERVICE_UNAVAILABLE, line).into_response();
        }
        Ok((true, true)) => {}
    }
    for shard in control.shards() {
        let name = name.clone();
        let told = control.ask(shard, move |shard| {
            shard.state().mirrors().set_paused(&name, is_paused)
        });
        if let Err(no_answer) = told.await {
            return failed(&no_answer);
        }
    }
    axum_json(&json!({ "name": name, "paused": is_paused }))
}

async fn collect(control: &Control) -> Result<Vec<Value>, NoAnswer> {
    let mut by_name: BTreeMap<String, Vec<Part>> = BTreeMap::new();
    let mut downlinks: BTreeMap<String, Vec<DownlinkStatus>> = BTreeMap::new();
    for shard in control.shards() {
        let parts = control
            .ask(shard, |shard| {
                let mirrors = shard.state().mirrors();
                (
                    mirrors.reports(),
                    mirrors.downlink_status(),
                    shard.wall_clock_ms(),
                )
            })
            .await?;
        let (reports, of_downlinks, now_ms) = parts;
        for status in of_downlinks {
            let parts = downlinks.entry(status.name.clone()).or_default();
            parts.push(status);
        }
        for report in reports {
            let parts = by_name.entry(report.status.name.clone()).or_default();
            parts.push((report, now_ms));
        }
    }
    let all = by_name.iter().map(|(name, parts)| {
        let mut mirror = mirror_json(name, parts);
        if let (Some(parts), Some(fields)) = (downlinks.get(name), mirror.as_object_mut()) {
            fields.insert("downlink".to_owned(), downlink_json(parts));
        }
        mirror
    });
    Ok(all.collect())
}

fn mirror_json(name: &str, parts: &[Part]) -> Value {
    let statuses = || parts.iter().map(|(report, _)| &report.status);
    let sum = |of: fn(&MirrorStatus) -> u64| -> u64 { statuses().map(of).sum() };
    let lanes = statuses().flat_map(|status| &status.lanes);
    let of_lanes = |of: fn(&LaneStatus) -> u64| -> u64 { lanes.clone().map(of).sum() };
    let link = worst(statuses().map(|status| status.link));
    let age = parts
        .iter()
        .map(|(report, now_ms)| lag_seconds(&report.status, *now_ms))
        .max();
    let last = statuses().map(last_success_seconds).max();
    let fault = statuses().find_map(|status| status.link_fault.clone());
    let kept: u64 = parts.iter().map(|(report, _)| report.kept_bytes).sum();
    let lag_bytes: u64 = parts.iter().map(|(report, _)| report.lag_bytes).sum();
    json!({
        "name": name,
        "link": link,
        "link_fault": fault,
        "lag_records": sum(lag_records),
        "lag_bytes": lag_bytes,
        "oldest_unmirrored_age_seconds": age,
        "last_success_time_seconds": last,
        "records": sum(|status| status.counters.records),
        "batches": sum(|status| status.counters.batches),
        "batch_bytes": sum(|status| status.counters.batch_bytes),
        "sent_bytes": sum(|status| status.counters.sent_bytes),
        "received_bytes": sum(|status| status.counters.received_bytes),
        "month_bytes": sum(|status| status.month_bytes),
        "retries": sum(|status| status.counters.retries),
        "conflicts": sum(|status| status.counters.conflicts),
        "tail_checks": sum(|status| status.counters.tail_checks),
        "missing_records": of_lanes(|lane| lane.missing_records),
        "gaps": of_lanes(|lane| lane.gaps),
        "dead_letters": of_lanes(|lane| lane.dead_letters),
        "possible_duplicate_batches": of_lanes(|lane| lane.possible_duplicates),
        "kept_bytes": kept,
        "lanes": lanes.clone().map(lane_json).collect::<Vec<_>>(),
    })
}

/// The shard with the worst link speaks for all.
fn worst(links: impl Iterator<Item = LinkState>) -> Option<&'static str> {
    let order = ["down", "connecting", "waiting", "paused", "up", "idle"];
    let rank = |link: &str| order.iter().position(|one| *one == link);
    links.map(LinkState::name).min_by_key(|link| rank(link))
}

fn downlink_json(parts: &[DownlinkStatus]) -> Value {
    let sum = |of: fn(&DownlinkStatus) -> u64| -> u64 { parts.iter().map(of).sum() };
    let lanes = parts.iter().flat_map(|status| &status.lanes);
    let of_lanes = |of: fn(&InletStatus) -> u64| -> u64 { lanes.clone().map(of).sum() };
    let last_ms = lanes.clone().filter_map(|lane| lane.last_success_ms).max();
    json!({
        "link": worst(parts.iter().map(|status| status.link)),
        "link_fault": parts.iter().find_map(|status| status.link_fault.clone()),
        "lag_records": of_lanes(InletStatus::lag_records),
        "last_success_time_seconds": last_ms.unwrap_or(0).div_euclid(1000),
        "records": sum(|status| status.counters.records),
        "loops": sum(|status| status.counters.loops),
        "aborted_records": sum(|status| status.counters.aborted_records),
        "retries": sum(|status| status.counters.retries),
        "missing_records": of_lanes(|lane| lane.missing_records),
        "gaps": of_lanes(|lane| lane.gaps),
        "dead_letters": of_lanes(|lane| lane.dead_letters),
        "recreations": of_lanes(|lane| lane.recreations),
        "lanes": lanes.clone().map(inlet_json).collect::<Vec<_>>(),
    })
}

fn inlet_json(lane: &InletStatus) -> Value {
    json!({
        "topic": lane.topic,
        "partition": lane.key.partition,
        "local_topic": lane.local_topic,
        "next_offset": lane.next_offset,
        "centre_end": lane.centre_end,
        "lag_records": lane.lag_records(),
        "records": lane.records,
        "missing_records": lane.missing_records,
        "gaps": lane.gaps,
        "dead_letters": lane.dead_letters,
        "recreations": lane.recreations,
        "fault": lane.fault,
    })
}

fn lane_json(lane: &LaneStatus) -> Value {
    json!({
        "topic": lane.topic,
        "partition": lane.key.source.partition,
        "lane": lane.key.lane,
        "target_topic": lane.target_topic,
        "target_partition": lane.target_partition,
        "cursor": lane.cursor,
        "high_watermark": lane.high_watermark,
        "lag_records": lane.lag_records(),
        "mirrored_records": lane.mirrored_records,
        "missing_records": lane.missing_records,
        "fault": lane.fault,
    })
}

pub(super) fn axum_json(value: &Value) -> Response {
    let kind = [(axum::http::header::CONTENT_TYPE, "application/json")];
    (kind, format!("{value}\n")).into_response()
}

pub(super) fn failed(no_answer: &NoAnswer) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{no_answer}\n")).into_response()
}
