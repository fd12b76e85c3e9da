//! The names of a log: its key in memory and its directory on disk.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where all logs are, relative to the data directory.
pub(crate) const LOGS_DIRECTORY: &str = "logs";

/// Identifies a log: the topic's id (KIP-516) and the partition number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogKey {
    /// Topic id, as Kafka writes it on the wire.
    pub topic_id: [u8; 16],
    /// Partition number, 0 and up.
    pub partition: i32,
}

impl LogKey {
    /// The directory of the log, relative to the data directory: `logs/<topic>-<partition>~<8
    /// hex>`.
    ///
    /// The hex digits are the first four bytes of the topic id, so that a topic which was deleted
    /// and
    /// created again never meets its predecessor's files.
    pub fn directory(&self, topic: &str) -> String {
        let [a, b, c, d, ..] = self.topic_id;
        format!(
            "{LOGS_DIRECTORY}/{topic}-{}~{a:02x}{b:02x}{c:02x}{d:02x}",
            self.partition
        )
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.topic_id {
            write!(formatter, "{byte:02x}")?;
        }
        write!(formatter, "-{}", self.partition)
    }
}
