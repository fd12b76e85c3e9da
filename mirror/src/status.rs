//! What a mirror says of itself.

use crate::progress::LaneKey;

/// State of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Nothing to send and nobody to talk to.
    Idle,
    /// A broker of the centre answers.
    Up,
    /// Nobody could be reached; the next attempt follows.
    Down,
    /// The first attempt is under way.
    Connecting,
    /// Stopped by the operator.
    Paused,
    /// A time window or the monthly cap keeps bytes from leaving.
    Waiting,
}

impl LinkState {
    /// One word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Up => "up",
            Self::Down => "down",
            Self::Connecting => "connecting",
            Self::Paused => "paused",
            Self::Waiting => "waiting",
        }
    }
}

/// What a mirror counts since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records that the centre acknowledged.
    pub records: u64,
    /// Batches that the centre acknowledged.
    pub batches: u64,
    /// Bytes of the acknowledged batches as sent.
    pub batch_bytes: u64,
    /// Bytes sent on connections, with TLS's own, without those of TCP and IP.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Connections that were opened.
    pub connects: u64,
    /// Batches sent again.
    pub retries: u64,
    /// Tail checks.
    pub tail_checks: u64,
    /// Records passed over since they were here before.
    pub loops: u64,
    /// Times that another process had sent as this gateway.
    pub conflicts: u64,
    /// Times that the watchdog opened everything anew.
    pub watchdog_resets: u64,
}

/// One lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// Which one.
    pub key: LaneKey,
    /// Source topic.
    pub topic: String,
    /// Target topic.
    pub target_topic: String,
    /// Target partition, once it is known.
    pub target_partition: Option<i32>,
    /// First offset not acknowledged.
    pub cursor: i64,
    /// First offset that is still there and not acknowledged.
    pub waits_from: i64,
    /// Committed end of the source.
    pub high_watermark: i64,
    /// Wall clock since when something waits, ms.
    pub lagging_since_ms: Option<i64>,
    /// Timestamp of the first record that waits, as far as it was read, ms.
    pub oldest_timestamp_ms: Option<i64>,
    /// Wall clock of the last acknowledgement in this process, ms.
    pub last_success_ms: Option<i64>,
    /// Records acknowledged in all.
    pub mirrored_records: u64,
    /// Records that were gone before they were mirrored, announced or not yet.
    pub missing_records: u64,
    /// Gaps announced, each with the record behind it.
    pub gaps: u64,
    /// Records in the dead-letter topic.
    pub dead_letters: u64,
    /// Batches that may stand twice at the centre.
    pub possible_duplicates: u64,
    /// What keeps it, if something does.
    pub fault: Option<String>,
}

impl LaneStatus {
    /// Records that are there and not acknowledged.
    #[must_use]
    pub fn lag_records(&self) -> u64 {
        u64::try_from(self.high_watermark.saturating_sub(self.waits_from)).unwrap_or(0)
    }
}

/// A mirror on one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorStatus {
    /// Its name.
    pub name: String,
    /// State of the link.
    pub link: LinkState,
    /// The last failure of a connection.
    pub link_fault: Option<String>,
    /// Counters.
    pub counters: Counters,
    /// Bytes of the present month.
    pub month_bytes: u64,
    /// Its lanes.
    pub lanes: Vec<LaneStatus>,
}
