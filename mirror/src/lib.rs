//! The mirror: store and forward to a central Kafka cluster, exactly once, over bad links.
//!
//! What it is        a state machine over `kafka-lite`: sockets, files and clocks are inputs and
//!                   outputs. One [`Mirror`] forwards the partitions of one shard to one centre;
//!                   one [`Downlink`] brings topics of the centre to the partitions of one shard.
//! What it is not    it does no I/O, keeps no threads and asks for no time.
//! Invariants        1. a batch leaves only after its intent is durable. 2. what stands behind an
//!                   intent never changes: a resend has the same sequences and records. 3. a lane's
//!                   cursor only rises. 4. memory is bounded by [`limits`].
//! Source            design §7; `docs/decisions/2026-11-24-mirror.md`; KIP-98, KIP-360, KIP-664.
//! Reading order     [`options`], [`progress`], [`batching`], then [`mirror`](mod@mirror) and
//!                   `lane`.
#![forbid(unsafe_code)]

mod backoff;
pub mod batching;
mod dead_letter;
pub mod downlink;
mod lane;
pub mod limits;
mod link;
pub mod mirror;
pub mod options;
pub mod origin;
pub mod output;
pub mod progress;
mod random;
mod schedule;
mod sequence;
mod status;
mod tail;
pub mod time;

pub use batching::{Batching, BuildFault, Built, Timestamps};
pub use dead_letter::DEAD_LETTER_SUFFIX;
pub use downlink::{Downlink, DownlinkOptions, DownlinkOutput, DownlinkStatus, DownlinkTopics};
pub use mirror::{Mirror, SourceStart};
pub use options::{Login, Options, PartitionMapping, TargetName};
pub use origin::{Origin, Site};
pub use output::{Address, ConnectionId, Output, SourceKey, WriteId};
pub use progress::{
    Cursor, Identity, Intent, LaneKey, Marks, Producer, Progress, ProgressError, ProgressTable,
    StateKey, Target,
};
pub use schedule::Usage;
pub use status::{Counters, LaneStatus, LinkState, MirrorStatus};
pub use time::Now;
