//! The progress of mirrors: `__sluice_mirror` on the shard that owns it.
//!
//! What it is        the newest value of every key, loaded at start; writes of all shards, each
//!                   durable before it is answered.
//! What it is not    a rule: `mirror::ProgressTable` decides who may write.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use kafka_lite::record_batch::{BatchBuilder, BatchOptions, BatchView, DecompressLimits};
use mirror::ProgressTable;
use tracing::warn;

use crate::controller::Committed;
use crate::limits::MIRROR_STATE_READ_BYTES;
use crate::partition::{AppendObserver, AppendRequest, Partition};
use crate::shard::Shard;
use crate::shard::notify::Notify;

/// Produce version that these batches count as.
const OWN_API_VERSION: i16 = 9;

/// Key and value of a state record.
pub(crate) type StateRecord = (Vec<u8>, Vec<u8>);

/// The state partition on its shard.
#[derive(Default)]
pub(crate) struct MirrorState {
    table: RefCell<ProgressTable>,
    partition: RefCell<Option<Rc<Partition>>>,
    is_loaded: Cell<bool>,
    loaded: Notify,
}

impl MirrorState {
    /// Takes the partition over: replays it, then answers.
    pub(crate) async fn load(shard: Rc<Shard>, partition: Rc<Partition>) {
        let state = shard.state().mirror_state();
        if let Err(reason) = state.replay(&partition).await {
            warn!(
                reason,
                "the progress of mirrors is loaded up to a record that cannot be read"
            );
        }
        *state.partition.borrow_mut() = Some(partition);
        state.is_loaded.set(true);
        state.loaded.notify();
    }

    async fn replay(&self, partition: &Rc<Partition>) -> Result<(), String> {
        let log = partition.log();
        let (mut offset, end) = (log.log_start_offset(), log.log_end_offset());
        while offset < end {
            let pieces = log
                .read(offset, end, MIRROR_STATE_READ_BYTES, true)
                .await
                .map_err(|error| error.to_string())?;
            let before = offset;
            for piece in &pieces {
                offset = self.replay_batches(piece)?.unwrap_or(offset);
            }
            if offset == before {
                break;
            }
        }
        Ok(())
    }

    /// Takes the records of whole batches; returns the offset behind them.
    fn replay_batches(&self, bytes: &[u8]) -> Result<Option<i64>, String> {
        let mut next_offset = None;
        let mut rest = bytes;
        let mut scratch = Vec::new();
        while let Some((view, after)) =
            BatchView::split_first(rest).map_err(|error| error.to_string())?
        {
            rest = after;
            next_offset = Some(view.header().next_offset());
            let records = view
                .records(&DecompressLimits::default(), &mut scratch)
                .map_err(|error| error.to_string())?;
            for record in records {
                let record = record.map_err(|error| error.to_string())?;
                if let Some(key) = record.key {
                    self.table.borrow_mut().load(key, record.value);
                }
            }
        }
        Ok(next_offset)
    }

    /// Everything that is known, once it is loaded.
    pub(crate) async fn snapshot(&self) -> Vec<StateRecord> {
        while !self.is_loaded.get() {
            self.loaded.wait().await;
        }
        // Others may wait as well: the wake-up is passed on.
        self.loaded.notify();
        let table = self.table.borrow();
        table
            .iter()
            .map(|(key, value)| (key.to_vec(), value.to_vec()))
            .collect()
    }

    /// Makes a record durable; returns whether it is.
    pub(crate) async fn write(&self, shard: &Rc<Shard>, key: Vec<u8>, value: Vec<u8>) -> bool {
        let partition = self.partition.borrow().clone();
        let may_write = self.table.borrow().may_write(&key, &value);
        let Some(partition) = partition.filter(|_| may_write) else {
            return false;
        };
        let now_ms = shard.wall_clock_ms();
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let built = builder.append(now_ms, Some(&key), Some(&value), &[]);
        let Ok(batch) = built.and_then(|()| builder.finish()) else {
            return false;
        };
        let committed = Rc::new(Committed::default());
        let request = AppendRequest {
            batch: batch.into(),
            api_version: OWN_API_VERSION,
            now_ms,
        };
        partition.append(request, Rc::clone(&committed) as Rc<dyn AppendObserver>, 0);
        if let Err(code) = committed.wait().await {
            warn!(
                error = code.name(),
                "the progress of a mirror was not stored"
            );
            return false;
        }
        self.table.borrow_mut().load(&key, Some(&value));
        true
    }
}
