//! Compaction: the dirtiest log of the shard first, one round at a time.
//!
//! What it is        one task; how far each log is clean is kept in the journal as a cursor, so
//! that
//!                   a restart does not begin again.
//! Source            Kafka 4.3 `LogCleaner`; `storage::compaction`.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use storage::compaction::{
    CompactionFacts, CompactionPlan, CompactionRules, Pace, plan_compaction,
};
use storage::disk::Clock;
use storage::{CompactionRequest, LogKey};
use tracing::{info, warn};

use super::{is_kept_whole, is_sound, wall_clock};
use crate::limits::{
    COMPACTION_BYTES_PER_SECOND, COMPACTION_CHECK_INTERVAL, COMPACTION_RETRY_PAUSE,
};
use crate::partition::Partition;
use crate::shard::Shard;

/// First bytes of the names of our cursors; topic id and partition follow.
const CURSOR_PREFIX: &[u8] = b"compacted/";

/// Runs until the broker stops.
pub(super) async fn run(shard: Rc<Shard>) {
    let mut cleaner = Cleaner {
        clean_ends: recovered_ends(&shard),
        shard,
        pauses: BTreeMap::new(),
    };
    loop {
        monoio::time::sleep(COMPACTION_CHECK_INTERVAL).await;
        while let Some((partition, plan)) = cleaner.dirtiest() {
            if cleaner.shard.is_stopping() {
                return;
            }
            cleaner.compact(&partition, plan).await;
        }
        cleaner.forget_deleted().await;
        if cleaner.shard.is_stopping() {
            return;
        }
    }
}

struct Cleaner {
    shard: Rc<Shard>,
    /// Where the last round of each log ended.
    clean_ends: BTreeMap<LogKey, i64>,
    /// Logs whose round failed, and until when they wait.
    pauses: BTreeMap<LogKey, Duration>,
}

impl Cleaner {
    fn dirtiest(&self) -> Option<(Rc<Partition>, CompactionPlan)> {
        let now = self.shard.clock().now();
        let partitions = self.shard.state().partitions().all();
        let waits = |partition: &Partition| {
            let until = self.pauses.get(&partition.log().key());
            until.is_some_and(|until| *until > now)
        };
        partitions
            .into_iter()
            .filter(|partition| {
                let is_compact = partition.config().cleanup_policy.is_compact;
                is_compact && !is_kept_whole(partition) && is_sound(partition) && !waits(partition)
            })
            .filter_map(|partition| self.plan(&partition).map(|plan| (partition, plan)))
            .max_by(|(_, one), (_, other)| one.dirty_ratio.total_cmp(&other.dirty_ratio))
    }

    fn plan(&self, partition: &Partition) -> Option<CompactionPlan> {
        let segments = partition.log().segments();
        let clean_end = self.clean_ends.get(&partition.log().key()).copied();
        let facts = CompactionFacts {
            closed: &segments.closed,
            first_dirty_offset: clean_end
                .unwrap_or(0)
                .max(partition.log().log_start_offset()),
            end_offset: partition.high_watermark(),
            earliest_dirty_timestamp: None,
        };
        plan_compaction(&facts, &rules(partition), wall_clock(&self.shard))
    }

    async fn compact(&mut self, partition: &Partition, plan: CompactionPlan) {
        let map_bytes = self.shard.budgets().plan.compaction_bytes;
        let request = CompactionRequest {
            plan,
            rules: rules(partition),
            clock: wall_clock(&self.shard),
            map_bytes: usize::try_from(map_bytes).unwrap_or(usize::MAX),
            aborted: &[],
        };
        let mut pace = Pace::new(self.shard.clock(), COMPACTION_BYTES_PER_SECOND);
        let key = partition.log().key();
        let before = plan.first_dirty_offset;
        match partition.log().compact(request, &mut pace).await {
            Ok(figures) if figures.first_dirty_offset > before => {
                info!(
                    ?partition,
                    bytes_before = figures.bytes_before,
                    bytes_after = figures.bytes_after,
                    clean_end = figures.first_dirty_offset,
                    "compacted"
                );
                self.clean_ends.insert(key, figures.first_dirty_offset);
                self.keep_end(key, Some(figures.first_dirty_offset)).await;
            }
            Ok(_) => self.pause(key),
            Err(error) => {
                warn!(?partition, %error, "a round of compaction failed");
                self.pause(key);
            }
        }
    }

    fn pause(&mut self, key: LogKey) {
        let until = self.shard.clock().now() + COMPACTION_RETRY_PAUSE;
        self.pauses.insert(key, until);
    }

    async fn keep_end(&self, key: LogKey, end: Option<i64>) {
        let value = end.map(i64::to_be_bytes);
        let value = value.as_ref().map_or(&[][..], |bytes| bytes);
        let kept = self.shard.state().engine();
        if let Err(error) = kept.journal_cursor(&cursor_name(key), value).await {
            warn!(%error, "the next start compacts from the beginning");
        }
    }

    async fn forget_deleted(&mut self) {
        let engine = self.shard.state().engine();
        let is_gone = |key: &&LogKey| engine.log(**key).is_none();
        let gone: Vec<LogKey> = self.clean_ends.keys().filter(is_gone).copied().collect();
        for key in gone {
            self.keep_end(key, None).await;
            self.clean_ends.remove(&key);
            self.pauses.remove(&key);
        }
    }
}

fn rules(partition: &Partition) -> CompactionRules {
    let config = partition.config();
    let time = |ms: i64| u64::try_from(ms).unwrap_or(u64::MAX);
    CompactionRules {
        min_cleanable_dirty_ratio: config.min_cleanable_dirty_ratio,
        min_compaction_lag_ms: time(config.min_compaction_lag_ms),
        max_compaction_lag_ms: time(config.max_compaction_lag_ms),
        delete_retention_ms: time(config.delete_retention_ms),
        segment_bytes: config.segment_bytes,
    }
}

fn cursor_name(key: LogKey) -> Vec<u8> {
    let mut name = CURSOR_PREFIX.to_vec();
    name.extend_from_slice(&key.topic_id);
    name.extend_from_slice(&key.partition.to_be_bytes());
    name
}

/// The key that a cursor's name speaks of; `None` for another room's cursor.
fn key_of(name: &[u8]) -> Option<LogKey> {
    let rest = name.strip_prefix(CURSOR_PREFIX)?;
    let (topic_id, partition) = rest.split_first_chunk::<16>()?;
    Some(LogKey {
        topic_id: *topic_id,
        partition: i32::from_be_bytes(partition.try_into().ok()?),
    })
}

fn recovered_ends(shard: &Shard) -> BTreeMap<LogKey, i64> {
    let cursors = shard.state().engine().cursors();
    let ours = cursors.iter().filter_map(|(name, value)| {
        let end = i64::from_be_bytes(value.as_slice().try_into().ok()?);
        Some((key_of(name)?, end))
    });
    ours.collect()
}

#[cfg(test)]
mod tests {
    use storage::LogKey;

    use super::{cursor_name, key_of};

    #[test]
    fn a_cursor_names_its_log_and_no_other_cursor_does() {
        let key = LogKey {
            topic_id: [9; 16],
            partition: 70_000,
        };
        assert_eq!(key_of(&cursor_name(key)), Some(key));
        assert_eq!(key_of(b"mirror/0123456789abcdef0123"), None);
        assert_eq!(key_of(b"compacted/short"), None);
    }
}
