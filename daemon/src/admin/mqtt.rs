//! MQTT over admin HTTP: who is connected, and what the rules did.
//!
//! What it is        `GET /mqtt`; JSON.
//! Invariants        1. an answer shows a bounded number of clients and of groups that share a
//!                      subscription, and says how many others there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::mirrors::{axum_json, failed};
use super::{Control, NoAnswer};
use crate::limits::{MQTT_STATUS_CLIENTS_MAX, MQTT_STATUS_SHARES_MAX};
use crate::mqtt_bridge::BridgeStatus;
use crate::mqtt_server::metrics::Totals;
use crate::mqtt_server::shares::ShareStatus;
use crate::mqtt_server::status::{ClientStatus, MqttStatus};
use crate::shard::ShardId;

/// Everything about the listener.
pub(super) async fn status(State(control): State<Arc<Control>>) -> Response {
    match collect(&control).await {
        Ok(parts) => axum_json(&status_json(parts, &control)),
        Err(no_answer) => failed(&no_answer),
    }
}

async fn collect(control: &Control) -> Result<Vec<(ShardId, MqttStatus)>, NoAnswer> {
    let mut parts = Vec::new();
    let mut clients = MQTT_STATUS_CLIENTS_MAX;
    let mut shares = MQTT_STATUS_SHARES_MAX;
    for shard in control.shards() {
        let part = control
            .ask(shard, move |shard| {
                shard.state().mqtt().status(shard, clients, shares)
            })
            .await?;
        clients -= part.clients.len().min(clients);
        shares -= part.shares.len().min(shares);
        parts.push((shard, part));
    }
    Ok(parts)
}

fn status_json(parts: Vec<(ShardId, MqttStatus)>, control: &Control) -> Value {
    let all = || parts.iter().map(|(_, part)| part);
    let total = |of: fn(&Totals) -> u64| -> u64 { all().map(|part| of(&part.totals)).sum() };
    let sum = |of: fn(&MqttStatus) -> usize| -> usize { all().map(of).sum() };
    let mut rules: BTreeMap<usize, (&str, u64)> = BTreeMap::new();
    for part in all() {
        for (number, (rule, count)) in part.rules.iter().enumerate() {
            rules.entry(number).or_insert((rule, 0)).1 += count;
        }
    }
    let rules: Vec<Value> = rules
        .values()
        .map(|(rule, messages)| json!({ "rule": rule, "messages": messages }))
        .collect();
    let shown = sum(|part| part.clients.len());
    let connections = sum(|part| part.connections);
    let clients: Vec<Value> = parts
        .iter()
        .flat_map(|(shard, part)| {
            part.clients
                .iter()
                .map(|client| client_json(*shard, client))
        })
        .collect();
    let shares = all().flat_map(|part| part.shares.iter().map(share_json));
    let shares: Vec<Value> = shares.collect();
    let shares_left_out = sum(|part| part.share_count).saturating_sub(shares.len());
    let bridges = control.bridges().iter();
    let bridges: Vec<Value> = bridges.map(|one| bridge_json(&one.status())).collect();
    json!({
        "connections": connections,
        "connections_opened": total(|totals| totals.opened),
        "logins_refused": total(|totals| totals.logins_refused),
        "sessions": sum(|part| part.sessions),
        "retained_messages": sum(|part| part.retained_messages),
        "publishes_qos_0": total(|totals| totals.publishes[0]),
        "publishes_qos_1": total(|totals| totals.publishes[1]),
        "publishes_qos_2": total(|totals| totals.publishes[2]),
        "publishes_dropped": total(|totals| totals.dropped),
        "publishes_refused": total(|totals| totals.refused),
        "deliveries": total(|totals| totals.delivered),
        "rules": rules,
        "bridges": bridges,
        "shared_subscriptions": shares,
        "shared_subscriptions_left_out": shares_left_out,
        "clients": clients,
        "clients_left_out": connections.saturating_sub(shown),
    })
}

fn bridge_json(bridge: &BridgeStatus) -> Value {
    json!({
        "name": bridge.name,
        "address": bridge.address,
        "client_id": bridge.client_id,
        "state": bridge.state,
        "error": bridge.error,
        "received": bridge.counts.received,
        "stored": bridge.counts.stored,
        "acknowledged": bridge.counts.acknowledged,
        "unacknowledged": bridge.unacknowledged,
        "reconnects": bridge.counts.connects.saturating_sub(1),
        "sessions_lost": bridge.counts.sessions_lost.saturating_sub(1),
    })
}

fn share_json(share: &ShareStatus) -> Value {
    json!({
        "group": share.group,
        "filter": share.filter,
        "connected": share.connected,
        "away": share.away,
        "unacknowledged": share.unacknowledged,
        "returned": share.returned,
    })
}

fn client_json(shard: ShardId, client: &ClientStatus) -> Value {
    json!({
        "client_id": client.client_id,
        "user": client.user,
        "address": client.address,
        "version": client.version,
        "shard": shard,
        "connected_seconds": client.connected_seconds,
        "session_expiry_seconds": client.session_expiry_seconds,
        "subscriptions": client.subscriptions,
        "waiting_publishes": client.waiting_publishes,
        "unacknowledged": client.unacknowledged,
    })
}
