//! What a downlink says of itself.

use super::{Downlink, Inlet};
use crate::output::SourceKey;
use crate::status::LinkState;

/// What a downlink counts since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DownlinkCounters {
    /// Records appended.
    pub records: u64,
    /// Gaps found.
    pub gaps: u64,
    /// Records passed over since they came from this gateway.
    pub loops: u64,
    /// Records of aborted transactions, passed over.
    pub aborted_records: u64,
    /// Fetches and appends that failed and were tried again.
    pub retries: u64,
    /// Bytes sent on connections, with TLS's own.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Connections that were opened.
    pub connects: u64,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InletStatus {
    /// The local partition.
    pub key: SourceKey,
    /// Topic at the centre.
    pub topic: String,
    /// Topic here.
    pub local_topic: String,
    /// First offset at the centre that is not here; `None` before it is known.
    pub next_offset: Option<i64>,
    /// Committed end at the centre, as it was last said.
    pub centre_end: Option<i64>,
    /// Wall clock of the last answer or append in this process, ms.
    pub last_success_ms: Option<i64>,
    /// Records appended in all.
    pub records: u64,
    /// Records that were gone at the centre before they were read.
    pub missing_records: u64,
    /// Gaps found in all.
    pub gaps: u64,
    /// Records in the dead-letter topic.
    pub dead_letters: u64,
    /// Times that the topic at the centre was another one.
    pub recreations: u64,
    /// What keeps it, if something does.
    pub fault: Option<String>,
}

/// The downlink of a mirror on one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownlinkStatus {
    /// Name of the mirror.
    pub name: String,
    /// State of the link.
    pub link: LinkState,
    /// The last failure of a connection, or of the creation of a topic.
    pub link_fault: Option<String>,
    /// Counters.
    pub counters: DownlinkCounters,
    /// Its partitions.
    pub lanes: Vec<InletStatus>,
}

impl InletStatus {
    /// Records at the centre that are not here, as far as is known.
    #[must_use]
    pub fn lag_records(&self) -> u64 {
        let lag = self.centre_end.zip(self.next_offset);
        let lag = lag.map_or(0, |(end, next)| end.saturating_sub(next));
        u64::try_from(lag).unwrap_or(0)
    }
}

impl Downlink {
    /// Everything that an operator may want to know.
    #[must_use]
    pub fn status(&self) -> DownlinkStatus {
        let mut counters = self.counters;
        counters.sent_bytes = self.link.sent_bytes;
        counters.received_bytes = self.link.received_bytes;
        counters.connects = self.link.connects;
        DownlinkStatus {
            name: self.options.name.clone(),
            link: self.link_state(),
            link_fault: self
                .last_fault
                .as_ref()
                .or(self.link.last_fault.as_ref())
                .cloned(),
            counters,
            lanes: self.inlets.values().map(inlet_status).collect(),
        }
    }

    fn link_state(&self) -> LinkState {
        match () {
            () if self.is_paused => LinkState::Paused,
            () if self.link.is_up() => LinkState::Up,
            () if self.gate.is_some() => LinkState::Waiting,
            () if self.link.is_failing() => LinkState::Down,
            () => LinkState::Connecting,
        }
    }
}

fn inlet_status(inlet: &Inlet) -> InletStatus {
    let cursor = &inlet.cursor;
    InletStatus {
        key: inlet.key,
        topic: inlet.topic.clone(),
        local_topic: inlet.local.clone(),
        next_offset: Some(cursor.next_offset).filter(|_| inlet.has_start()),
        centre_end: inlet.centre_end,
        last_success_ms: inlet.last_success_ms,
        records: cursor.records,
        missing_records: cursor.missing_records,
        gaps: cursor.gaps,
        dead_letters: cursor.dead_letters,
        recreations: cursor.recreations,
        fault: inlet.fault.clone(),
    }
}
