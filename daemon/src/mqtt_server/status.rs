//! What the MQTT listener of a shard says of itself.
//!
//! What it is not    its form: that is `admin::mqtt`.

use std::rc::Rc;

use mqtt::mapping::Rule;

use super::connection::MqttConnection;
use super::metrics::Totals;
use super::shares::ShareStatus;
use super::{MqttService, now_ms};
use crate::shard::Shard;

/// One shard's part.
#[derive(Clone, Debug, Default)]
pub(crate) struct MqttStatus {
    /// Connections that are open.
    pub(crate) connections: usize,
    /// Sessions that outlive their connection, of the clients that this shard owns.
    pub(crate) sessions: usize,
    /// Retained messages, if this shard has them.
    pub(crate) retained_messages: usize,
    /// Counted since the start.
    pub(crate) totals: Totals,
    /// Each rule as it was written and the messages that it took, in their order; the catch-all is
    /// the last.
    pub(crate) rules: Vec<(String, u64)>,
    /// Groups that share a subscription, of which this shard is the owner; all of them, and those
    /// that are shown.
    pub(crate) share_count: usize,
    pub(crate) shares: Vec<ShareStatus>,
    /// Clients, at most as many as were asked for.
    pub(crate) clients: Vec<ClientStatus>,
}

/// A client that is connected.
#[derive(Clone, Debug)]
pub(crate) struct ClientStatus {
    pub(crate) client_id: String,
    pub(crate) user: Option<String>,
    pub(crate) address: String,
    pub(crate) version: &'static str,
    /// Seconds since it was accepted.
    pub(crate) connected_seconds: u64,
    /// Seconds that its session outlives the connection.
    pub(crate) session_expiry_seconds: u32,
    pub(crate) subscriptions: usize,
    /// Publishes of the client that are not acknowledged.
    pub(crate) waiting_publishes: usize,
    /// Messages to the client that it has not acknowledged.
    pub(crate) unacknowledged: usize,
}

impl MqttService {
    /// What there is now, with at most `clients_max` clients and `shares_max` groups.
    pub(crate) fn status(
        &self,
        shard: &Rc<Shard>,
        clients_max: usize,
        shares_max: usize,
    ) -> MqttStatus {
        let all = self.connections();
        let open = all.iter().filter(|one| !one.client_id().is_empty());
        let rules = self.mapping.rules().iter().map(Rule::text);
        let counts = self.metrics.rule_counts();
        MqttStatus {
            connections: all.len(),
            sessions: self.sessions.count(),
            retained_messages: self.retained.count(),
            totals: self.metrics.totals(),
            rules: rules
                .chain(["catch-all"])
                .map(str::to_owned)
                .zip(counts)
                .collect(),
            share_count: self.shares.count(),
            shares: self.shares.status(shares_max),
            clients: open
                .take(clients_max)
                .map(|one| one.status(now_ms(shard)))
                .collect(),
        }
    }
}

impl MqttConnection {
    fn status(&self, now_ms: u64) -> ClientStatus {
        let deliveries = self.deliveries_if_any();
        let (subscriptions, unacknowledged) =
            deliveries.map_or((0, 0), |deliveries| deliveries.counts());
        let core = self.core.borrow();
        ClientStatus {
            client_id: self.client_id().to_string(),
            user: self.user().map(|user| user.to_string()),
            address: self.peer().to_string(),
            version: core.version().name(),
            connected_seconds: now_ms.saturating_sub(self.accepted_ms()).div_euclid(1000),
            session_expiry_seconds: self.expiry_seconds.get(),
            subscriptions,
            waiting_publishes: core.waiting_publishes(),
            unacknowledged,
        }
    }
}
