//! What bridges count, for `/metrics`.

use super::BridgeTask;
use crate::metrics::{Collector, Family, Kind};

impl BridgeTask {
    /// Adds the numbers of this bridge.
    pub(crate) fn collect(&self, collector: &mut Collector) {
        let status = self.status();
        let labels = [("bridge", status.name.as_str())];
        let counts = status.counts;
        let unacknowledged = u64::try_from(status.unacknowledged).unwrap_or(u64::MAX);
        let is_up = u64::from(matches!(status.state, "running" | "paused"));
        collector.number(&UP, &labels, is_up);
        collector.number(&RECEIVED, &labels, counts.received);
        collector.number(&STORED, &labels, counts.stored);
        collector.number(&ACKNOWLEDGED, &labels, counts.acknowledged);
        collector.number(&UNACKNOWLEDGED, &labels, unacknowledged);
        collector.number(&CONNECTS, &labels, counts.connects);
        collector.number(&SESSIONS_LOST, &labels, counts.sessions_lost);
    }
}

static UP: Family = Family {
    name: "sluice_mqtt_bridge_up",
    help: "1 while the bridge is subscribed at its broker.",
    kind: Kind::Gauge,
};
static RECEIVED: Family = Family {
    name: "sluice_mqtt_bridge_received_total",
    help: "Messages that the bridged broker sent, those that came again included.",
    kind: Kind::Counter,
};
static STORED: Family = Family {
    name: "sluice_mqtt_bridge_stored_total",
    help: "Messages of the bridged broker that the log took.",
    kind: Kind::Counter,
};
static ACKNOWLEDGED: Family = Family {
    name: "sluice_mqtt_bridge_acknowledged_total",
    help: "Messages that were acknowledged to the bridged broker.",
    kind: Kind::Counter,
};
static UNACKNOWLEDGED: Family = Family {
    name: "sluice_mqtt_bridge_unacknowledged",
    help: "Messages of the bridged broker that are held until they are committed.",
    kind: Kind::Gauge,
};
static CONNECTS: Family = Family {
    name: "sluice_mqtt_bridge_connects_total",
    help: "Connections that the bridged broker accepted.",
    kind: Kind::Counter,
};
static SESSIONS_LOST: Family = Family {
    name: "sluice_mqtt_bridge_sessions_lost_total",
    help: "Connections for which the bridged broker had no session, the first one included.",
    kind: Kind::Counter,
};
