//! Keys of the MQTT listener.

use std::path::PathBuf;
use std::sync::Arc;

use mqtt::mapping::{Mapping, Outgoing};

use super::Key;
use super::values::{boolean, host_port, number, set, size, unless};

/// `SCHEME://HOST[:PORT]`, separated by commas.
fn origins(text: &str) -> Result<Arc<[String]>, String> {
    let origin = |text: &str| {
        let rest = text.split_once("://").filter(|(scheme, _)| {
            !scheme.is_empty() && scheme.bytes().all(|sign| sign.is_ascii_alphanumeric())
        });
        let is_origin = rest.is_some_and(|(_, host)| {
            let is_sign = |sign: u8| sign.is_ascii_graphic() && !b"/?#@*".contains(&sign);
            !host.is_empty() && host.bytes().all(is_sign)
        });
        let refused = || format!("`{text}`: an origin is SCHEME://HOST or SCHEME://HOST:PORT");
        is_origin.then(|| text.to_owned()).ok_or_else(refused)
    };
    text.split(',').map(|one| origin(one.trim())).collect()
}

/// In the order of the help.
pub(super) static KEYS: &[Key] = &[
    Key {
        name: "mqtt.listen",
        flag: None,
        default: "127.0.0.1:1883",
        value: "HOST:PORT|off",
        help: "Where MQTT clients connect",
        apply: |config, text| set(&mut config.mqtt_listen, unless("off", text, host_port)),
    },
    Key {
        name: "mqtt.websocket.listen",
        flag: None,
        default: "off",
        value: "HOST:PORT|off",
        help: "Where MQTT clients connect over WebSocket, as browsers do",
        apply: |config, text| {
            let parsed = unless("off", text, host_port);
            set(&mut config.mqtt_websocket_listen, parsed)
        },
    },
    Key {
        name: "mqtt.websocket.origins",
        flag: None,
        default: "any",
        value: "ORIGINS|any",
        help: "Whose pages may connect over WebSocket, as https://plant.example, separated by commas; \
               clients that are no browser may always",
        apply: |config, text| {
            let parsed = unless("any", text, origins);
            set(&mut config.mqtt_websocket_origins, parsed)
        },
    },
    Key {
        name: "mqtt.password.file",
        flag: None,
        default: "off",
        value: "FILE|off",
        help: "Users who may connect over MQTT, with hashes of their passwords; `sluice mqtt password` \
               and mosquitto_passwd write such files",
        apply: |config, text| {
            if text.is_empty() {
                return Err("a file is expected".to_owned());
            }
            let parsed = unless("off", text, |text| Ok(PathBuf::from(text)));
            set(&mut config.mqtt_password_file, parsed)
        },
    },
    Key {
        name: "mqtt.anonymous",
        flag: None,
        default: "auto",
        value: "auto|true|false",
        help: "Whether MQTT clients may connect without a user name; auto is yes on the loopback \
               interface when there is no mqtt.password.file",
        apply: |config, text| {
            let parsed = unless("auto", text, boolean);
            set(&mut config.mqtt_anonymous, parsed)
        },
    },
    Key {
        name: "mqtt.rules",
        flag: None,
        default: "auto",
        value: "RULES",
        help: "Which MQTT topic goes to which Kafka topic: `FILTER -> TOPIC key=TEMPLATE`, one rule per \
               line; auto sends everything to the topic mqtt",
        apply: |config, text| {
            if text.is_empty() {
                return Err("a rule `FILTER -> TOPIC` is expected".to_owned());
            }
            let rules = if text == "auto" { "" } else { text };
            config.mqtt_rules = Mapping::parse(rules).map_err(|error| error.to_string())?;
            Ok(())
        },
    },
    Key {
        name: "mqtt.publish.rules",
        flag: None,
        default: "off",
        value: "RULES|off",
        help: "Which Kafka topics MQTT subscribers get: `KAFKA-TOPIC -> MQTT-TOPIC qos=1`, one rule per \
               line; the MQTT topic may hold {topic} and {key}",
        apply: |config, text| {
            if text.is_empty() {
                return Err("a rule `KAFKA-TOPIC -> MQTT-TOPIC` is expected".to_owned());
            }
            let rules = if text == "off" { "" } else { text };
            let parsed = Outgoing::parse(rules).map_err(|error| error.to_string());
            set(&mut config.mqtt_publish_rules, parsed)
        },
    },
    Key {
        name: "mqtt.topics.max",
        flag: None,
        default: "1000",
        value: "N",
        help: "Rules make no further topic when there are so many; messages go to the topic mqtt then",
        apply: |config, text| set(&mut config.mqtt_topics_max, number(text, 0, 1_000_000)),
    },
    Key {
        name: "mqtt.packet.max.bytes",
        flag: None,
        default: "262144",
        value: "SIZE",
        help: "Largest MQTT packet; a larger one closes the connection",
        apply: |config, text| {
            let parsed = size(text, 1024, 1 << 20);
            set(
                &mut config.mqtt_packet_max_bytes,
                parsed.and_then(|bytes| u32::try_from(bytes).map_err(|error| error.to_string())),
            )
        },
    },
    Key {
        name: "mqtt.connections.max",
        flag: None,
        default: "auto",
        value: "N",
        help: "MQTT connections open at once; auto is what the memory has room for",
        apply: |config, text| {
            let parsed = unless("auto", text, |text| number(text, 1, 1_000_000));
            set(&mut config.mqtt_connections_max, parsed)
        },
    },
];
