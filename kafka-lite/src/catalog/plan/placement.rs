//! Chooses nodes and shards for new partitions: the least loaded, or as the client says.
//!
//! Source            Kafka 4.3 `StripedReplicaPlacer`; design §3: a partition lives on one shard.

use super::Planner;
use crate::catalog::command::{PartitionAssignment, Replica};
use crate::catalog::snapshot::Node;
use crate::catalog::state::CatalogFault;
use crate::error_code::ErrorCode;
use crate::limits;

impl Planner<'_> {
    pub(super) fn check_factor(&self, factor: usize) -> Result<(), CatalogFault> {
        let nodes = self.view().nodes().len();
        if factor <= nodes && factor <= limits::REPLICAS_PER_PARTITION_MAX {
            return Ok(());
        }
        let message = format!(
            "Unable to replicate the partition {factor} time(s): The target replication factor of \
             {factor} cannot be reached because only {nodes} broker(s) are registered."
        );
        Err(CatalogFault::new(
            ErrorCode::InvalidReplicationFactor,
            message,
        ))
    }

    pub(super) fn place_many(&mut self, count: usize, factor: usize) -> Vec<PartitionAssignment> {
        (0..count).map(|_| self.place(factor)).collect()
    }

    /// Takes the nodes with the fewest replicas, and on each the shard with the fewest.
    fn place(&mut self, factor: usize) -> PartitionAssignment {
        let nodes = self.view().nodes();
        let mut by_load: Vec<(u64, i32)> = nodes
            .values()
            .map(|node| (self.node_load(node), node.node_id))
            .collect();
        by_load.sort_unstable();
        let chosen = by_load.into_iter().take(factor);
        let nodes = chosen.filter_map(|(_, node_id)| nodes.get(&node_id));
        PartitionAssignment {
            replicas: nodes.map(|node| self.place_on(node)).collect(),
        }
    }

    fn place_on(&mut self, node: &Node) -> Replica {
        let replica = |shard| Replica {
            node_id: node.node_id,
            shard,
        };
        let load = |shard: &u16| self.load.get(&replica(*shard)).copied().unwrap_or(0);
        let shard = (0..node.shards.max(1)).min_by_key(load).unwrap_or(0);
        *self.load.entry(replica(shard)).or_default() += 1;
        replica(shard)
    }

    fn node_load(&self, node: &Node) -> u64 {
        let first = Replica {
            node_id: node.node_id,
            shard: 0,
        };
        let last = Replica {
            node_id: node.node_id,
            shard: u16::MAX,
        };
        self.load.range(first..=last).map(|(_, count)| *count).sum()
    }

    pub(super) fn place_as_told<'b>(
        &mut self,
        assignments: impl Iterator<Item = &'b [i32]>,
    ) -> Result<Vec<PartitionAssignment>, CatalogFault> {
        let refusal = |message| CatalogFault::new(ErrorCode::InvalidReplicaAssignment, message);
        let mut partitions = Vec::new();
        for node_ids in assignments {
            if node_ids.is_empty() || node_ids.len() > limits::REPLICAS_PER_PARTITION_MAX {
                return Err(refusal(format!(
                    "The manual partition assignment has {} replicas.",
                    node_ids.len()
                )));
            }
            let mut replicas: Vec<Replica> = Vec::with_capacity(node_ids.len());
            for node_id in node_ids {
                if replicas.iter().any(|replica| replica.node_id == *node_id) {
                    return Err(refusal(format!(
                        "The manual partition assignment includes the broker {node_id} more than once."
                    )));
                }
                let node = self.view().nodes().get(node_id).ok_or_else(|| {
                    refusal(format!(
                        "The manual partition assignment includes broker {node_id}, but no such \
                         broker is registered."
                    ))
                })?;
                replicas.push(self.place_on(node));
            }
            partitions.push(PartitionAssignment {
                replicas: replicas.into_boxed_slice(),
            });
        }
        Ok(partitions)
    }
}
