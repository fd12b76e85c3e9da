//! Scrub: everything that is stored is read once in an interval, in small steps far apart.
//!
//! Invariants        1. a pass takes the interval, however much there is, as long as steps of 256
//! KiB
//!                   and 20 ms suffice. 2. damage halts its log and is told.
//! Source            design §4 "Scrub".

use std::rc::Rc;
use std::time::Duration;

use storage::ChangeError;
use storage::scrub::ScrubCursor;
use tracing::{error, info, warn};

use super::is_sound;
use crate::limits::{SCRUB_PAUSE_MAX, SCRUB_PAUSE_MIN, SCRUB_STEP_BYTES};
use crate::partition::Partition;
use crate::shard::Shard;

/// Runs until the broker stops.
pub(super) async fn run(shard: Rc<Shard>, interval: Duration) {
    let scrub = Scrub { shard, interval };
    while !scrub.shard.is_stopping() {
        scrub.pause().await;
        scrub.pass().await;
    }
}

struct Scrub {
    shard: Rc<Shard>,
    interval: Duration,
}

impl Scrub {
    /// Reads every closed segment of every partition once.
    async fn pass(&self) {
        let partitions = self.shard.state().partitions().all();
        // A broker that is restarted often begins somewhere else each time.
        let count = u64::try_from(partitions.len()).unwrap_or(0);
        let now_ms = self.shard.wall_clock_ms().unsigned_abs();
        let first = now_ms.checked_rem(count).unwrap_or(0);
        let first = usize::try_from(first).unwrap_or(0);
        let (before, behind) = partitions.split_at_checked(first).unwrap_or((&[], &[]));
        let mut bytes = 0;
        let mut unread = 0;
        for partition in behind.iter().chain(before) {
            match self.read(partition).await {
                Ok(read) => {
                    bytes += read;
                    unread += u32::from(!is_sound(partition));
                }
                Err(error) => {
                    tell(partition, &error);
                    unread += 1;
                }
            }
            if self.shard.is_stopping() {
                return;
            }
        }
        if unread > 0 {
            warn!(
                bytes,
                partitions = unread,
                "some partitions were not read whole; what was read of the others is sound"
            );
        } else if bytes > 0 {
            info!(bytes, "everything that is stored was read and is sound");
        }
    }

    async fn read(&self, partition: &Rc<Partition>) -> Result<u64, ChangeError> {
        let mut bytes = 0;
        for segment in partition.log().segments().closed {
            let mut cursor = ScrubCursor::default();
            loop {
                if self.shard.is_stopping() || !is_sound(partition) {
                    return Ok(bytes);
                }
                let log = partition.log();
                let step = log.scrub_step(segment.base_offset, cursor, SCRUB_STEP_BYTES);
                let Some(step) = step.await? else { break };
                bytes += step.bytes;
                cursor = step.cursor;
                self.pause().await;
                if step.is_finished || step.bytes == 0 {
                    break;
                }
            }
        }
        Ok(bytes)
    }

    /// Waits so that the steps of one pass fill the interval.
    async fn pause(&self) {
        let stored = self.shard.state().engine().stats().segment_bytes;
        let steps = stored.div_euclid(u64::from(SCRUB_STEP_BYTES)) + 1;
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        let pause = self.interval.checked_div(steps).unwrap_or(SCRUB_PAUSE_MAX);
        monoio::time::sleep(pause.clamp(SCRUB_PAUSE_MIN, SCRUB_PAUSE_MAX)).await;
    }
}

/// Says what is wrong with a partition.
fn tell(partition: &Rc<Partition>, error: &ChangeError) {
    match error {
        ChangeError::Corrupt(damage) => error!(?partition, %damage, "stored records are damaged"),
        ChangeError::Disk(_) | ChangeError::Closed => {
            warn!(?partition, %error, "stored records were not read");
        }
    }
}
