//! Records of a partition, on whatever shard of this node it lives.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_lite::record_batch::{BatchView, DecompressLimits, Record};
use storage::ReadError;

use super::append::Place;
use crate::limits::{MQTT_FETCH_BYTES, MQTT_UNREADABLE_PAUSE};
use crate::partition::{Partition, ReadSignal};
use crate::shard::Shard;

/// What a partition gave.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    /// Whole batches; empty when nothing came in time.
    pub(super) pieces: Vec<Bytes>,
    /// First offset that is not known to be committed.
    pub(super) high_watermark: i64,
    /// First offset that is there.
    pub(super) log_start_offset: i64,
}

/// The partition is gone, or cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Reads what is committed from `offset` on.
pub(super) async fn fetch(
    shard: &Rc<Shard>,
    place: Place,
    offset: i64,
) -> Result<Fetched, Unreadable> {
    if place.shard == shard.id() {
        return fetch_here(shard, place, offset).await;
    }
    let fetched = shard.call_with(place.shard, move |there, answer| {
        let there = Rc::clone(there);
        drop(monoio::spawn(async move {
            let fetched = fetch_here(&there, place, offset).await;
            answer.send(&there, fetched);
        }));
    });
    fetched.await
}

/// The first offset that is not known to be committed.
pub(super) async fn end_offset(shard: &Rc<Shard>, place: Place) -> Result<i64, Unreadable> {
    let fetched = fetch(shard, place, i64::MAX).await?;
    Ok(fetched.high_watermark)
}

/// Waits until there is something to read at `offset`, or the partition is gone, or for so long.
/// May be dropped at any time.
pub(super) async fn wait_for_more(shard: &Rc<Shard>, place: Place, offset: i64, wait: Duration) {
    if place.shard == shard.id() {
        return wait_here(shard, place, offset, wait).await;
    }
    let waited = shard.call_with(place.shard, move |there, answer| {
        let there = Rc::clone(there);
        drop(monoio::spawn(async move {
            wait_here(&there, place, offset, wait).await;
            answer.send(&there, ());
        }));
    });
    waited.await;
}

async fn wait_here(shard: &Rc<Shard>, place: Place, offset: i64, wait: Duration) {
    let partitions = shard.state().partitions();
    let Some(partition) = partitions.get(place.topic_id, place.index) else {
        return;
    };
    if offset < partition.high_watermark() || partition.failure().is_some() {
        return;
    }
    let signal = ReadSignal::new();
    partition.watch(&signal);
    monoio::select! {
        () = signal.raised() => {}
        () = monoio::time::sleep(wait) => {}
    }
}

/// Waits before a partition that could not be read is tried again; false when its topic is gone.
pub(super) async fn wait_until_retry(shard: &Rc<Shard>, place: Place) -> bool {
    if shard.catalog().topic_by_id(&place.topic_id.0).is_none() {
        return false;
    }
    monoio::time::sleep(MQTT_UNREADABLE_PAUSE).await;
    true
}

async fn fetch_here(shard: &Rc<Shard>, place: Place, offset: i64) -> Result<Fetched, Unreadable> {
    let partitions = shard.state().partitions();
    let partition = partitions
        .get(place.topic_id, place.index)
        .ok_or(Unreadable)?;
    partition.wait_until_ready().await;
    read(&partition, offset).await
}

async fn read(partition: &Rc<Partition>, offset: i64) -> Result<Fetched, Unreadable> {
    if partition.is_deleted() || partition.failure().is_some() {
        return Err(Unreadable);
    }
    let high_watermark = partition.high_watermark();
    let log_start_offset = partition.log().log_start_offset();
    let from = offset.max(log_start_offset);
    let mut pieces = Vec::new();
    if from < high_watermark {
        let log = partition.log();
        pieces = match log.read(from, high_watermark, MQTT_FETCH_BYTES, true).await {
            Ok(pieces) => pieces,
            // Retention was faster.
            Err(ReadError::OutOfRange { .. }) => Vec::new(),
            Err(ReadError::Disk(_) | ReadError::Corrupt(_)) => return Err(Unreadable),
        };
    }
    Ok(Fetched {
        pieces,
        high_watermark,
        log_start_offset,
    })
}

/// The batches of pieces, one after the other.
pub(super) fn batches(pieces: &[Bytes]) -> impl Iterator<Item = BatchView<'_>> {
    pieces.iter().flat_map(|piece| {
        let mut rest: &[u8] = piece;
        std::iter::from_fn(move || {
            let (view, after) = BatchView::split_first(rest).ok().flatten()?;
            rest = after;
            Some(view)
        })
    })
}

/// Calls `look` with every record of the pieces at `from` or behind it. Returns the offset behind
/// the last batch, or `from`.
pub(super) fn for_each_record(
    pieces: &[Bytes],
    from: i64,
    mut look: impl FnMut(&Record<'_>),
) -> i64 {
    let mut next = from;
    for view in batches(pieces) {
        next = next.max(view.header().next_offset());
        if view.header().is_control() {
            continue;
        }
        let mut scratch = Vec::new();
        let Ok(records) = view.records(&DecompressLimits::default(), &mut scratch) else {
            continue;
        };
        for record in records
            .map_while(Result::ok)
            .filter(|one| one.offset >= from)
        {
            look(&record);
        }
    }
    next
}
