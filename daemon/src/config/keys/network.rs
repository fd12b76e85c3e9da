//! Keys of listeners and connections.

use kafka_lite::limits::{FRAME_BYTES_MAX_BEFORE_FIRST_REQUEST, FRAME_BYTES_MAX_DEFAULT};

use super::Key;
use super::values::{host_port, number, reachable, set, size, unless};

/// In the order of the help.
pub(super) static KEYS: &[Key] = &[
    Key {
        name: "kafka.listen",
        flag: None,
        default: "127.0.0.1:9092",
        value: "HOST:PORT",
        help: "Where Kafka clients connect",
        apply: |config, text| set(&mut config.kafka_listen, host_port(text)),
    },
    Key {
        name: "kafka.advertise",
        flag: Some("advertise"),
        default: "auto",
        value: "HOST:PORT",
        help: "The address that Kafka clients are told to use; auto is kafka.listen",
        apply: |config, text| set(&mut config.kafka_advertise, unless("auto", text, reachable)),
    },
    Key {
        name: "admin.listen",
        flag: None,
        default: "127.0.0.1:9644",
        value: "HOST:PORT|off",
        help: "Where /healthz, /readyz, /metrics, /mirrors and /mqtt are served",
        apply: |config, text| set(&mut config.admin_listen, unless("off", text, host_port)),
    },
    Key {
        name: "socket.request.max.bytes",
        flag: None,
        default: "8388608",
        value: "SIZE",
        help: "Largest request; a larger one closes the connection",
        apply: |config, text| {
            let least = u64::try_from(FRAME_BYTES_MAX_BEFORE_FIRST_REQUEST).unwrap_or(0);
            let parsed = size(text, least, 1 << 30);
            set(
                &mut config.socket_request_max_bytes,
                parsed.and_then(|bytes| u32::try_from(bytes).map_err(|error| error.to_string())),
            )
        },
    },
    Key {
        name: "max.connections",
        flag: None,
        default: "auto",
        value: "N",
        help: "Connections open at once; auto is what the memory has room for",
        apply: |config, text| {
            let parsed = unless("auto", text, |text| number(text, 1, 1_000_000));
            set(&mut config.max_connections, parsed)
        },
    },
    Key {
        name: "max.connections.per.ip",
        flag: None,
        default: "0",
        value: "N",
        help: "Connections open at once from one address; 0 is no limit",
        apply: |config, text| {
            set(
                &mut config.max_connections_per_ip,
                number(text, 0, 1_000_000),
            )
        },
    },
    Key {
        name: "connections.max.idle.ms",
        flag: None,
        default: "600000",
        value: "MS",
        help: "A connection that is silent for longer is closed; 0 is never",
        apply: |config, text| {
            let parsed = number(text, 0, u64::from(u32::MAX));
            set(&mut config.connections_max_idle_ms, parsed)
        },
    },
];

const _: () = assert!(FRAME_BYTES_MAX_DEFAULT == 8_388_608);
