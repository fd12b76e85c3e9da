//! Keys of what is stored: where, how and how much.

use std::path::PathBuf;
use std::time::Duration;

use super::Key;
use super::values::{boolean, number, set, size, unless};

/// In the order of the help.
pub(super) static KEYS: &[Key] = &[
    Key {
        name: "data.dir",
        flag: None,
        default: "./sluice-data",
        value: "DIR",
        help: "Where the broker keeps everything",
        apply: |config, text| {
            if text.is_empty() {
                return Err("a directory is expected".to_owned());
            }
            config.data_dir = PathBuf::from(text);
            Ok(())
        },
    },
    Key {
        name: "storage.direct.io",
        flag: None,
        default: "true",
        value: "true|false",
        help: "Bypass the page cache where the file system can; otherwise every write is flushed by fdatasync",
        apply: |config, text| set(&mut config.storage_direct_io, boolean(text)),
    },
    Key {
        name: "storage.commit.interval.ms",
        flag: None,
        default: "auto",
        value: "MS",
        help: "Least time between two flushes of the journal, 0 to 1000: longer wears flash less and \
               answers later; auto is 5 on SD cards and eMMC, else 0",
        apply: |config, text| {
            let parsed = unless("auto", text, |text| number(text, 0, 1000));
            let interval = parsed.map(|ms| ms.map(Duration::from_millis));
            set(&mut config.storage_commit_interval, interval)
        },
    },
    Key {
        name: "storage.bytes.max",
        flag: None,
        default: "off",
        value: "SIZE|off",
        help: "Bytes that records may take on the disk; beyond it the oldest are removed, whatever the \
               topics say",
        apply: |config, text| {
            let parsed = unless("off", text, |text| size(text, 1 << 20, u64::MAX));
            set(&mut config.storage_bytes_max, parsed)
        },
    },
    Key {
        name: "storage.reserve.bytes",
        flag: None,
        default: "auto",
        value: "SIZE",
        help: "Bytes of the disk that records leave free; auto is 2 %, at least 64 MiB, at most a quarter",
        apply: |config, text| {
            let parsed = unless("auto", text, |text| size(text, 0, u64::MAX));
            set(&mut config.storage_reserve_bytes, parsed)
        },
    },
    Key {
        name: "storage.scrub.interval.ms",
        flag: None,
        default: "604800000",
        value: "MS|off",
        help: "Time in which everything stored is read once to find damage",
        apply: |config, text| {
            let parsed = unless("off", text, |text| number(text, 1000, u64::MAX));
            let interval = parsed.map(|ms| ms.map(Duration::from_millis));
            set(&mut config.storage_scrub_interval, interval)
        },
    },
    Key {
        name: "storage.discard",
        flag: None,
        default: "false",
        value: "true|false",
        help: "For benchmarks only: acknowledge records and keep nothing",
        apply: |config, text| set(&mut config.storage_discard, boolean(text)),
    },
];
