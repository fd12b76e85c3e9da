//! DescribeLogDirs: the data directory, how full it is, and the size of each log.
//!
//! Source            Kafka 4.3 `ReplicaManager.describeLogDirs`; KIP-827 (total and usable bytes).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use kafka_lite::api::decode_body;
use kafka_lite::api::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};

use super::{Reply, RequestContext};
use crate::shard::Shard;

/// Partitions that are asked for, by topic; `None` is all.
type Wanted = Option<BTreeMap<String, BTreeSet<i32>>>;

/// Topic, partition and bytes of a log.
type Size = (Arc<str>, i32, u64);

/// Answers DescribeLogDirs.
pub(super) fn handle(shard: &Rc<Shard>, request: &RequestContext, reply: Reply) {
    let body: DescribeLogDirsRequest<'_> = match decode_body(request.version, request.body()) {
        Ok(body) => body,
        Err(error) => return reply.close_undecodable(&error),
    };
    let wanted: Arc<Wanted> = Arc::new(wanted(&body));
    let shard = Rc::clone(shard);
    drop(monoio::spawn(async move {
        let calls: Vec<_> = (0..shard.shard_count())
            .map(|id| {
                let wanted = Arc::clone(&wanted);
                shard.call(id, move |there| sizes_here(there, &wanted))
            })
            .collect();
        let mut topics: BTreeMap<Arc<str>, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
        for call in calls {
            for (topic, partition_index, bytes) in call.await {
                topics
                    .entry(topic)
                    .or_default()
                    .push(DescribeLogDirsPartition {
                        partition_index,
                        partition_size: i64::try_from(bytes).unwrap_or(i64::MAX),
                        offset_lag: 0,
                        is_future_key: false,
                    });
            }
        }
        let directory = &shard.config().data_dir;
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
        let volume = volume_bytes(&shard, directory.clone()).await;
        let topics = topics.iter_mut().map(|(name, partitions)| {
            partitions.sort_unstable_by_key(|partition| partition.partition_index);
            DescribeLogDirsTopic {
                name: name.as_ref().into(),
                partitions: std::mem::take(partitions),
            }
        });
        let result = DescribeLogDirsResult {
            log_dir: directory.to_string_lossy(),
            topics: topics.collect(),
            total_bytes: volume.map(|(total, _)| total),
            usable_bytes: volume.map(|(_, usable)| usable),
            ..DescribeLogDirsResult::default()
        };
        reply.send(&DescribeLogDirsResponse {
            results: vec![result],
            ..DescribeLogDirsResponse::default()
        });
    }));
}

fn wanted(body: &DescribeLogDirsRequest<'_>) -> Wanted {
    let topics = body.topics.as_ref()?;
    let mut wanted: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for topic in topics {
        let partitions = wanted.entry(topic.topic.clone().into_owned()).or_default();
        partitions.extend(topic.partitions.iter().copied());
    }
    Some(wanted)
}

/// Sizes of the wanted logs of this shard that belong to topics of the catalog.
fn sizes_here(shard: &Rc<Shard>, wanted: &Wanted) -> Vec<Size> {
    let is_wanted = |topic: &str, index: i32| match wanted {
        None => true,
        Some(wanted) => wanted
            .get(topic)
            .is_some_and(|partitions| partitions.contains(&index)),
    };
    let catalog = shard.catalog();
    let partitions = shard.state().partitions().all().into_iter();
    partitions
        .filter(|one| is_wanted(one.topic(), one.index()))
        .filter(|one| catalog.topic_by_id(&one.topic_id().0).is_some())
        .map(|one| (Arc::clone(one.topic()), one.index(), one.log().size_bytes()))
        .collect()
}

/// Bytes of the volume and how many of them this process may still use; `None` if it does not say.
async fn volume_bytes(shard: &Rc<Shard>, directory: PathBuf) -> Option<(i64, i64)> {
    let found = shard
        .helper()
        .run(move || rustix::fs::statvfs(&directory))
        .await
        .ok()?;
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(found.f_frsize)).ok();
    Some((bytes(found.f_blocks)?, bytes(found.f_bavail)?))
}
