//! Keys of the process: number, memory, threads, log.

use tracing_subscriber::EnvFilter;

use super::Key;
use super::values::{boolean, number, set, size, unless};
use crate::config::LogFormat;
use crate::limits::{MEMORY_BYTES_MAX, MEMORY_BYTES_MIN, SHARDS_MAX};

/// In the order of the help.
pub(super) static KEYS: &[Key] = &[
    Key {
        name: "node.id",
        flag: None,
        default: "1",
        value: "N",
        help: "Number of this broker in its cluster",
        apply: |config, text| set(&mut config.node_id, number(text, 0, 0x7fff_ffff)),
    },
    Key {
        name: "memory",
        flag: None,
        default: "auto",
        value: "SIZE",
        help: "Memory limit of the whole process, for example 130M or 2G; auto is a quarter of the \
               machine's memory, at most four fifths of the cgroup's limit and at most 4 GiB",
        apply: |config, text| {
            let parsed = unless("auto", text, |text| {
                size(text, MEMORY_BYTES_MIN, MEMORY_BYTES_MAX)
            });
            set(&mut config.memory_bytes, parsed)
        },
    },
    Key {
        name: "shards",
        flag: None,
        default: "auto",
        value: "N",
        help: "Threads that share the work; auto is one, or one per processor from 512 MiB of memory on",
        apply: |config, text| {
            let parsed = unless("auto", text, |text| number(text, 1, SHARDS_MAX));
            set(&mut config.shards, parsed)
        },
    },
    Key {
        name: "threads.pin",
        flag: None,
        default: "true",
        value: "true|false",
        help: "Keep each shard on one processor when there are several shards",
        apply: |config, text| set(&mut config.threads_pin, boolean(text)),
    },
    Key {
        name: "memory.lock",
        flag: Some("lock-memory"),
        default: "false",
        value: "true|false",
        help: "Lock the memory of the process, so that it is never swapped out",
        apply: |config, text| set(&mut config.memory_lock, boolean(text)),
    },
    Key {
        name: "log.level",
        flag: None,
        default: "info",
        value: "LEVEL",
        help: "error, warn, info, debug or trace, or a filter such as info,daemon::connection=debug",
        apply: |config, text| {
            check_log_filter(text)?;
            text.clone_into(&mut config.log_level);
            Ok(())
        },
    },
    Key {
        name: "log.format",
        flag: None,
        default: "text",
        value: "text|json",
        help: "How log lines on standard error look",
        apply: |config, text| {
            config.log_format = match text {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err(format!("text or json is expected, not `{text}`")),
            };
            Ok(())
        },
    },
];

/// A word without `=` would be taken for the name of a module and silence all others.
fn check_log_filter(text: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in text.split(',') {
        let level = directive.rsplit('=').next().unwrap_or(directive);
        if !LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known)) {
            return Err(format!(
                "error, warn, info, debug or trace is expected, not `{level}`"
            ));
        }
    }
    let filter: Result<EnvFilter, _> = text.parse();
    filter.map(|_| ()).map_err(|error| error.to_string())
}
