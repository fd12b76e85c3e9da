//! Bridges to other MQTT brokers: what they publish becomes records here.
//!
//! What it is        one task per bridge on the control thread: `rumqttc` speaks to the broker, a
//!                   shard appends, the core `mqtt::bridge` decides.
//! What it is not    the mapping: that is the listener's (`mqtt_server::bridged`).
//! Invariants        1. every connection has a client of its own: an acknowledgement cannot reach
//!                      another connection than the one on which its message came.
//!                   2. nothing goes through the queue of `rumqttc`: its `poll` would read on while
//!                      it sends, and lose what it had taken from the queue when it is cancelled.
//! Source            docs/decisions/2026-11-24-mqtt.md, "The bridge".
//! Reading order     [`start`], [`BridgeTask::run`], [`client`].

pub(crate) mod client;
mod metrics;

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mqtt::bridge::{Bridge, BridgeBatch, BridgeCounts, BridgeState};
use mqtt::limits::BRIDGE_RETRY_MS;
use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use self::client::Received;
use crate::admin::Control;
use crate::config::Config;
use crate::config::mqtt_bridge::BridgeConfig;
use crate::health::trouble;
use crate::mqtt_server::bridged;
use crate::shard::ShardId;

/// One bridge.
pub(crate) struct BridgeTask {
    config: BridgeConfig,
    client_id: Arc<str>,
    options: MqttOptions,
    /// The shard that appends for it.
    shard: ShardId,
    core: Mutex<Bridge>,
    started: Instant,
    /// There may be something for the broker or for the log.
    work: Notify,
}

/// What a bridge says of itself.
#[derive(Clone, Debug)]
pub(crate) struct BridgeStatus {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) client_id: String,
    pub(crate) state: &'static str,
    pub(crate) error: Option<String>,
    pub(crate) counts: BridgeCounts,
    pub(crate) unacknowledged: usize,
}

/// Makes the bridges of a configuration; nothing is dialled yet.
///
/// Errors: one line that names the key, the file and the bridge.
pub(crate) fn build(config: &Config, shards: u16) -> Result<Vec<Arc<BridgeTask>>, String> {
    let configs = config.mqtt_bridges.iter().enumerate();
    configs
        .map(|(number, bridge)| {
            let client_id = client::client_id(bridge);
            let packet_bytes = usize::try_from(config.mqtt_packet_max_bytes).unwrap_or(usize::MAX);
            let options = client::options(bridge, &client_id, packet_bytes)
                .map_err(|reason| format!("mqtt.bridge.{reason} (bridge {})", bridge.name))?;
            let (seed, _) = uuid::Uuid::new_v4().as_u64_pair();
            let number = u16::try_from(number).unwrap_or_default();
            Ok(Arc::new(BridgeTask {
                config: bridge.clone(),
                client_id: client_id.into(),
                options,
                shard: number % shards.max(1),
                core: Mutex::new(Bridge::new(bridge.filters.clone(), seed)),
                started: Instant::now(),
                work: Notify::new(),
            }))
        })
        .collect()
}

/// Starts the bridges; they end when what is returned is dropped.
pub(crate) fn start(control: &Arc<Control>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for bridge in control.bridges() {
        tasks.spawn(Arc::clone(bridge).run(Arc::clone(control)));
    }
    tasks
}

impl BridgeTask {
    /// What it is doing.
    pub(crate) fn status(&self) -> BridgeStatus {
        let core = self.core();
        BridgeStatus {
            name: self.config.name.clone(),
            address: self.config.address.to_string(),
            client_id: self.client_id.to_string(),
            state: match core.state() {
                BridgeState::Waiting => "waiting",
                BridgeState::Connecting => "connecting",
                BridgeState::Running => "running",
                BridgeState::Paused => "paused",
            },
            error: core.error().map(str::to_owned),
            counts: core.counts(),
            unacknowledged: core.held(),
        }
    }

    /// Dials, serves the connection until it is lost, and dials again, for ever.
    async fn run(self: Arc<Self>, control: Arc<Control>) {
        loop {
            self.wait_until_due().await;
            self.core().handle_dialling();
            let reason = self.serve(&control).await;
            let is_new = self.core().error() != Some(&reason);
            let (bridge, address) = (&self.config.name, &self.config.address);
            if is_new {
                warn!(%bridge, %address, reason, "the bridged broker is not connected");
            } else {
                debug!(%bridge, %address, reason, "the bridged broker is still not connected");
            }
            let now_ms = self.now_ms();
            self.core().handle_lost(now_ms, reason);
        }
    }

    /// One connection, from dialling to its end; returns why it ended.
    async fn serve(self: &Arc<Self>, control: &Arc<Control>) -> String {
        let (_client, mut events) = AsyncClient::new(self.options.clone(), 1);
        events.set_network_options(client::network_options());
        let mut first = true;
        loop {
            let ended = match std::mem::take(&mut first) {
                // Dialling is not interrupted.
                true => self.take(events.poll().await),
                false => self.turn(&mut events, control).await,
            };
            if let Err(reason) = ended {
                return reason;
            }
        }
    }

    /// Sends what is due, gives a batch to the log, and takes a packet if there is room for one.
    async fn turn(
        self: &Arc<Self>,
        events: &mut EventLoop,
        control: &Arc<Control>,
    ) -> Result<(), String> {
        self.send(events).await?;
        let now_ms = self.now_ms();
        let batch = self.core().poll_batch(now_ms);
        if let Some(batch) = batch {
            tokio::spawn(Arc::clone(self).append(Arc::clone(control), batch));
        }
        let has_room = self.core().can_receive();
        tokio::select! {
            event = events.poll(), if has_room => self.take(event),
            () = self.wait_for_work() => Ok(()),
        }
    }

    /// Sends subscriptions and acknowledgements past the queue of `rumqttc`, whose `poll` would
    /// read on meanwhile.
    async fn send(&self, events: &mut EventLoop) -> Result<(), String> {
        let mut packets = Vec::new();
        {
            let mut core = self.core();
            packets.extend(
                core.poll_subscribe()
                    .map(|filters| client::subscribe(&filters)),
            );
            while let Some(packet_id) = core.next_acknowledgement() {
                packets.push(client::acknowledge(packet_id));
                core.handle_acknowledged();
            }
        }
        client::send(events, packets).await
    }

    fn take(&self, polled: Result<Event, ConnectionError>) -> Result<(), String> {
        let event = polled.map_err(|error| {
            let is_first = self.core().state() == BridgeState::Connecting;
            let hint = client::hint(&self.config).filter(|_| is_first);
            client::describe(&error, &self.options) + hint.unwrap_or_default()
        })?;
        match client::received(event, &self.config.topic_prefix) {
            Received::Connected { session_present } => {
                let now_ms = self.now_ms();
                self.core().handle_connected(now_ms, session_present);
                let (bridge, address) = (&self.config.name, &self.config.address);
                info!(%bridge, %address, session_present, "the bridged broker is connected");
            }
            Received::Subscribed(granted) => self.core().handle_subscribed(&granted)?,
            Received::Published(packet_id, message) => {
                self.core().handle_publish(packet_id, message);
            }
            Received::Fault(reason) => return Err(reason),
            Received::Nothing => {}
        }
        Ok(())
    }

    /// Outlives the connection: the next batch waits for this one in any case.
    async fn append(self: Arc<Self>, control: Arc<Control>, batch: BridgeBatch) {
        let BridgeBatch { number, messages } = batch;
        let client_id = Arc::clone(&self.client_id);
        let answered = control.call(self.shard, move |shard, answer| {
            let shard = std::rc::Rc::clone(shard);
            drop(monoio::spawn(async move {
                let outcomes = bridged::append_all(&shard, &client_id, &messages).await;
                // The bridge may have ended with the process.
                let _gone: Result<(), bridged::Outcomes> = answer.send(outcomes);
            }));
        });
        let mut answered = pin!(answered);
        let outcomes = loop {
            tokio::select! {
                outcomes = &mut answered => break outcomes.unwrap_or_default(),
                () = tokio::time::sleep(Duration::from_millis(BRIDGE_RETRY_MS)) => {}
            }
            // The log keeps what it has taken until a full disk has room again.
            if let Ok(Some(trouble)) = control.ask(self.shard, |shard| trouble(shard)).await {
                self.warn_of(&trouble);
                self.core().handle_delay(trouble);
            }
        };
        if let Some(reason) = outcomes.iter().find_map(|outcome| outcome.as_ref().err()) {
            self.warn_of(reason);
        }
        let now_ms = self.now_ms();
        self.core().handle_outcome(now_ms, number, &outcomes);
        self.work.notify_one();
    }

    /// Says why messages wait, once for each reason.
    fn warn_of(&self, reason: &str) {
        if self.core().error() != Some(reason) {
            warn!(bridge = %self.config.name, reason, "messages of the bridged broker wait");
        }
    }

    async fn wait_until_due(&self) {
        let due_ms = self.core().poll_timeout().unwrap_or_default();
        let left_ms = due_ms.saturating_sub(self.now_ms());
        tokio::time::sleep(Duration::from_millis(left_ms)).await;
    }

    async fn wait_for_work(&self) {
        let due_ms = self.core().poll_timeout();
        let Some(due_ms) = due_ms else {
            return self.work.notified().await;
        };
        let left_ms = due_ms.saturating_sub(self.now_ms()).max(1);
        tokio::select! {
            () = self.work.notified() => {}
            () = tokio::time::sleep(Duration::from_millis(left_ms)) => {}
        }
    }

    fn core(&self) -> MutexGuard<'_, Bridge> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
