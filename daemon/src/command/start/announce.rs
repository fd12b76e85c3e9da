//! What the broker says when it is up.

use std::net::{SocketAddr, TcpListener};

use tracing::info;

use super::prepare::{Listeners, Sizes};
use crate::command::show;
use crate::config::Config;
use crate::io::disk::FileDriver;

/// Says on standard output where the broker listens and what to try.
pub(super) fn announce(
    config: &Config,
    kafka: SocketAddr,
    listeners: &Listeners,
    driver: FileDriver,
    sizes: &Sizes,
) {
    let driver = driver.name();
    info!(%kafka, driver, shards = sizes.shards, memory_bytes = sizes.memory_bytes, "started");
    let mut text = format!(
        "Sluice {} is up.\n  Kafka   {kafka}\n",
        env!("CARGO_PKG_VERSION")
    );
    let address = |listener: &Option<TcpListener>| {
        let listener = listener.as_ref();
        listener.and_then(|listener| listener.local_addr().ok())
    };
    let mqtt = address(&listeners.mqtt);
    if let Some(mqtt) = mqtt {
        text.push_str(&format!("  MQTT    {mqtt}\n"));
    }
    if let Some(websocket) = address(&listeners.mqtt_websocket) {
        text.push_str(&format!("  MQTT    ws://{websocket}\n"));
    }
    if let Some(admin) = address(&listeners.admin) {
        text.push_str(&format!("  Admin   http://{admin}/metrics\n"));
    }
    text.push_str(&format!(
        "  Data    {}\n  Driver  {driver}, {} shard(s), {} MB of memory\nTry:\n  \
         echo hello | kcat -b {kafka} -P -t greetings\n  kcat -b {kafka} -C -t greetings -e\n",
        config.data_dir.display(),
        sizes.shards,
        sizes.memory_bytes.div_euclid(1_000_000),
    ));
    if let Some(mqtt) = mqtt {
        let (host, port) = (mqtt.ip(), mqtt.port());
        text.push_str(&format!(
            "  mosquitto_pub -h {host} -p {port} -q 1 -t boiler/temperature -m 21.5\n  \
             kcat -b {kafka} -C -t mqtt -e -K ' '\n"
        ));
    }
    show(text);
}
