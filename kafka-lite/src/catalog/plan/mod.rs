//! From requests to commands: every check and every choice.
//!
//! What it is        [`Planner`], made anew for each request: it knows what the same request has
//!                   planned before, so that its topics do not collide and its load is spread.
//! What it is not    a change of the catalog. `validate_only` means: plan and throw away.
//! Invariants        1. a planned command applies unless another one came first.
//! Source            Kafka 4.3 `ReplicationControlManager.createTopics`, `createPartitions`,
//!                   `deleteTopics`; `Topic.hasCollision`.
//! Reading order     here: topics and partitions; `placement`: on which nodes; `configs`.

mod configs;
mod placement;

use std::collections::{BTreeMap, BTreeSet};

use super::command::{Command, PartitionAssignment, Replica, TopicId};
use super::snapshot::{CatalogSnapshot, Topic};
use super::state::{Catalog, CatalogFault};
use super::topic_name::{
    MIRROR_TOPIC, MQTT_RETAINED_TOPIC, MQTT_SESSIONS_TOPIC, OFFSETS_TOPIC, check_topic_name,
    collision_key, is_internal,
};
use crate::error_code::ErrorCode;
use crate::limits;
use crate::topic_config::{
    ConfigEdit, ConfigLayers, ConfigMap, apply_edits, replace_topic_configs,
};

/// A topic that a client wants.
#[derive(Clone, Copy, Debug)]
pub struct NewTopic<'a> {
    /// Name.
    pub name: &'a str,
    /// Partitions; -1 is the broker's default.
    pub partitions_count: i32,
    /// Replicas; -1 is the broker's default.
    pub replication_factor: i16,
    /// Partition number and nodes, when the client chooses; else empty.
    pub assignments: &'a [(i32, &'a [i32])],
    /// Configs; `None` is null.
    pub configs: &'a [(&'a str, Option<&'a str>)],
}

/// Partitions that a client wants to add.
#[derive(Clone, Copy, Debug)]
pub struct NewPartitions<'a> {
    /// Name of the topic.
    pub name: &'a str,
    /// Partitions that it shall have.
    pub partitions_count: i32,
    /// Nodes of each new partition, when the client chooses.
    pub assignments: Option<&'a [&'a [i32]]>,
}

/// Plans the commands of one request.
#[derive(Debug)]
pub struct Planner<'a> {
    catalog: &'a Catalog,
    layers: ConfigLayers<'a>,
    load: BTreeMap<Replica, u64>,
    planned_names: BTreeSet<String>,
    planned_keys: BTreeMap<String, String>,
    planned_partitions: usize,
    partitions_max: usize,
}

impl<'a> Planner<'a> {
    /// Starts from the catalog as it is; `layers` as the controller's node sees them.
    #[must_use]
    pub fn new(catalog: &'a Catalog, layers: ConfigLayers<'a>) -> Self {
        Self {
            catalog,
            layers,
            load: catalog.load().clone(),
            planned_names: BTreeSet::new(),
            planned_keys: BTreeMap::new(),
            planned_partitions: 0,
            partitions_max: limits::PARTITIONS_MAX,
        }
    }

    /// Lowers the number of partitions that all topics may have, to what the memory allows.
    #[must_use]
    pub fn with_partitions_max(mut self, partitions_max: usize) -> Self {
        self.partitions_max = partitions_max.min(limits::PARTITIONS_MAX);
        self
    }

    /// Plans all topics of a CreateTopics request: one result for each, in its order.
    ///
    /// A name that stands twice is refused both times. `topic_ids` are random; one is used for
    /// each.
    pub fn create_topics(
        &mut self,
        topics: &[NewTopic<'_>],
        mut topic_ids: impl Iterator<Item = TopicId>,
    ) -> Vec<Result<Command, CatalogFault>> {
        let repeated = repeated(topics.iter().map(|topic| topic.name));
        let plan = |topic: &NewTopic<'_>| {
            if repeated.contains(topic.name) {
                let message = "Duplicate topic name.";
                return Err(CatalogFault::new(ErrorCode::InvalidRequest, message));
            }
            let topic_id = topic_ids.next().ok_or_else(|| {
                CatalogFault::new(ErrorCode::UnknownServerError, "No topic id was given.")
            })?;
            self.create_topic(topic, topic_id)
        };
        topics.iter().map(plan).collect()
    }

    /// Plans one topic.
    ///
    /// # Errors
    /// [`CatalogFault`] with the code and sentence of the answer.
    pub fn create_topic(
        &mut self,
        topic: &NewTopic<'_>,
        topic_id: TopicId,
    ) -> Result<Command, CatalogFault> {
        self.check_new_name(topic.name)?;
        if is_internal(topic.name) {
            let message = format!("Topic '{}' is internal: the broker makes it.", topic.name);
            return Err(CatalogFault::new(ErrorCode::InvalidTopicException, message));
        }
        let edits = replace_topic_configs(&ConfigMap::new(), topic.configs, &self.layers)?;
        let partitions = if topic.assignments.is_empty() {
            self.choose_partitions(topic)?
        } else {
            self.chosen_partitions(topic)?
        };
        Ok(self.planned(topic.name, topic_id, partitions, &edits))
    }

    /// Plans a topic that a client asked about, with the broker's defaults (Metadata).
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION when `auto.create.topics.enable` is false, else as
    /// `create_topic`.
    pub fn auto_create_topic(
        &mut self,
        name: &str,
        topic_id: TopicId,
    ) -> Result<Command, CatalogFault> {
        if is_internal(name) {
            return self.create_internal_topic(name, topic_id);
        }
        if !self.layers.broker_flag("auto.create.topics.enable") {
            return Err(CatalogFault::unknown_topic());
        }
        let defaults = NewTopic {
            name,
            partitions_count: -1,
            replication_factor: -1,
            assignments: &[],
            configs: &[],
        };
        self.create_topic(&defaults, topic_id)
    }

    /// Plans a topic of the broker itself, compacted, by the `offsets.topic.*` configs:
    /// `__consumer_offsets`, or one of the mirror's and MQTT's, which have one partition.
    ///
    /// # Errors
    /// [`CatalogFault`] when it exists, is not one of the broker's, or cannot be placed.
    pub fn create_internal_topic(
        &mut self,
        name: &str,
        topic_id: TopicId,
    ) -> Result<Command, CatalogFault> {
        self.check_new_name(name)?;
        let number = |name| self.layers.broker_number(name);
        let count = match name {
            OFFSETS_TOPIC => number("offsets.topic.num.partitions"),
            MIRROR_TOPIC | MQTT_SESSIONS_TOPIC | MQTT_RETAINED_TOPIC => 1,
            _ => return Err(CatalogFault::unknown_topic()),
        };
        let count = usize::try_from(count).unwrap_or(1);
        let factor = usize::try_from(number("offsets.topic.replication.factor")).unwrap_or(1);
        let segment_bytes = number("offsets.topic.segment.bytes").to_string();
        let configs = [
            ("cleanup.policy", Some("compact")),
            ("segment.bytes", Some(&*segment_bytes)),
        ];
        let edits = replace_topic_configs(&ConfigMap::new(), &configs, &self.layers)?;
        self.check_factor(factor)?;
        self.check_room(count)?;
        let partitions = self.place_many(count, factor);
        Ok(self.planned(name, topic_id, partitions, &edits))
    }

    /// Plans the deletion of a topic by name.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION, TOPIC_DELETION_DISABLED, INVALID_TOPIC_EXCEPTION for an internal
    /// topic.
    pub fn delete_topic(&self, name: &str) -> Result<Command, CatalogFault> {
        let topic = self
            .view()
            .topic(name)
            .ok_or_else(CatalogFault::unknown_topic)?;
        self.delete(topic)
    }

    /// Plans the deletion of a topic by id (DeleteTopics 6).
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_ID, else as [`Planner::delete_topic`].
    pub fn delete_topic_by_id(&self, topic_id: &TopicId) -> Result<Command, CatalogFault> {
        let topic = self
            .view()
            .topic_by_id(topic_id)
            .ok_or_else(CatalogFault::unknown_topic_id)?;
        self.delete(topic)
    }

    /// Plans more partitions for topics: one result for each, in its order.
    pub fn create_partitions(
        &mut self,
        requests: &[NewPartitions<'_>],
    ) -> Vec<Result<Command, CatalogFault>> {
        let repeated = repeated(requests.iter().map(|request| request.name));
        let plan = |request: &NewPartitions<'_>| {
            if repeated.contains(request.name) {
                let message = "Duplicate topic name.";
                return Err(CatalogFault::new(ErrorCode::InvalidRequest, message));
            }
            self.more_partitions(request)
        };
        requests.iter().map(plan).collect()
    }

    fn view(&self) -> &'a CatalogSnapshot {
        self.catalog.view()
    }

    fn delete(&self, topic: &Topic) -> Result<Command, CatalogFault> {
        if !self.layers.broker_flag("delete.topic.enable") {
            let message = "Topic deletion is disabled.";
            return Err(CatalogFault::new(ErrorCode::TopicDeletionDisabled, message));
        }
        refuse_internal(topic, "deleted")?;
        Ok(Command::DeleteTopic {
            topic_id: topic.topic_id,
        })
    }

    fn more_partitions(&mut self, request: &NewPartitions<'_>) -> Result<Command, CatalogFault> {
        let topic = self
            .view()
            .topic(request.name)
            .ok_or_else(CatalogFault::unknown_topic)?;
        refuse_internal(topic, "given partitions")?;
        let current = topic.partitions.len();
        let wanted = usize::try_from(request.partitions_count).unwrap_or(0);
        let refusal = |message| Err(CatalogFault::new(ErrorCode::InvalidPartitions, message));
        if request.partitions_count <= 0 {
            return refusal("Number of partitions must be larger than 0.".to_owned());
        }
        if wanted == current {
            return refusal(format!("Topic already has {current} partition(s)."));
        }
        if wanted < current {
            return refusal(format!(
                "The topic {} currently has {current} partition(s); {wanted} would not be an increase.",
                request.name
            ));
        }
        let added = wanted - current;
        self.check_topic_size(wanted)?;
        self.check_room(added)?;
        let factor = topic
            .partitions
            .first()
            .map_or(1, |partition| partition.replicas.len());
        let partitions = match request.assignments {
            Some(assignments) if assignments.len() != added => {
                let given = assignments.len();
                let message = format!(
                    "Attempted to add {added} additional partition(s), but only {given} assignment(s) \
                     were specified."
                );
                return Err(CatalogFault::new(
                    ErrorCode::InvalidReplicaAssignment,
                    message,
                ));
            }
            Some(assignments) => self.place_as_told(assignments.iter().copied())?,
            None => {
                self.check_factor(factor)?;
                self.place_many(added, factor)
            }
        };
        if partitions
            .iter()
            .any(|partition| partition.replicas.len() != factor)
        {
            let message = format!("The topic has {factor} replica(s) per partition.");
            return Err(CatalogFault::new(
                ErrorCode::InvalidReplicaAssignment,
                message,
            ));
        }
        self.planned_partitions += added;
        let first_partition = u32::try_from(current).unwrap_or(u32::MAX);
        Ok(Command::CreatePartitions {
            topic_id: topic.topic_id,
            first_partition,
            partitions,
        })
    }

    fn check_new_name(&self, name: &str) -> Result<(), CatalogFault> {
        check_topic_name(name)
            .map_err(|message| CatalogFault::new(ErrorCode::InvalidTopicException, message))?;
        if self.view().topic(name).is_some() || self.planned_names.contains(name) {
            return Err(CatalogFault::topic_exists(name));
        }
        if let Some(existing) = self.catalog.collision(name) {
            return Err(CatalogFault::collision(name, existing));
        }
        let key = collision_key(name);
        match key.and_then(|key| self.planned_keys.get(&key)) {
            Some(existing) => Err(CatalogFault::collision(name, existing)),
            None => Ok(()),
        }
    }

    /// Partitions where the client leaves the choice to us.
    fn choose_partitions(
        &mut self,
        topic: &NewTopic<'_>,
    ) -> Result<Vec<PartitionAssignment>, CatalogFault> {
        let count = match i64::from(topic.partitions_count) {
            -1 => self.layers.broker_number("num.partitions"),
            count => count,
        };
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(|| {
                let message = "Number of partitions was set to an invalid non-positive value.";
                CatalogFault::new(ErrorCode::InvalidPartitions, message)
            })?;
        let factor = match i64::from(topic.replication_factor) {
            -1 => self.layers.broker_number("default.replication.factor"),
            factor => factor,
        };
        let factor = usize::try_from(factor)
            .ok()
            .filter(|factor| *factor > 0)
            .ok_or_else(|| {
                let message =
                    "Replication factor must be larger than 0, or -1 to use the default value.";
                CatalogFault::new(ErrorCode::InvalidReplicationFactor, message)
            })?;
        self.check_topic_size(count)?;
        self.check_room(count)?;
        self.check_factor(factor)?;
        Ok(self.place_many(count, factor))
    }

    /// Partitions where the client has chosen.
    fn chosen_partitions(
        &mut self,
        topic: &NewTopic<'_>,
    ) -> Result<Vec<PartitionAssignment>, CatalogFault> {
        let given = [
            (topic.partitions_count != -1, "numPartitions"),
            (topic.replication_factor != -1, "replication factor"),
        ];
        if let Some((_, what)) = given.iter().find(|(is_given, _)| *is_given) {
            let message = format!(
                "A manual partition assignment was specified, but {what} was not set to -1."
            );
            return Err(CatalogFault::new(ErrorCode::InvalidRequest, message));
        }
        let mut sorted: Vec<&(i32, &[i32])> = topic.assignments.iter().collect();
        sorted.sort_unstable_by_key(|(partition, _)| *partition);
        if !sorted
            .iter()
            .map(|(partition, _)| *partition)
            .eq((0..).take(sorted.len()))
        {
            let message = "Partitions should be a consecutive 0-based integer sequence.";
            return Err(CatalogFault::new(
                ErrorCode::InvalidReplicaAssignment,
                message,
            ));
        }
        self.check_topic_size(sorted.len())?;
        self.check_room(sorted.len())?;
        let partitions = self.place_as_told(sorted.iter().map(|(_, nodes)| *nodes))?;
        let factor = partitions
            .first()
            .map_or(0, |partition| partition.replicas.len());
        if partitions
            .iter()
            .any(|partition| partition.replicas.len() != factor)
        {
            let message = "All partitions should have the same number of replicas.";
            return Err(CatalogFault::new(
                ErrorCode::InvalidReplicaAssignment,
                message,
            ));
        }
        Ok(partitions)
    }

    fn check_topic_size(&self, count: usize) -> Result<(), CatalogFault> {
        if count <= limits::PARTITIONS_PER_TOPIC_MAX {
            return Ok(());
        }
        let max = limits::PARTITIONS_PER_TOPIC_MAX;
        let message = format!("A topic may have {max} partitions, {count} were asked for.");
        Err(CatalogFault::new(ErrorCode::InvalidPartitions, message))
    }

    fn check_room(&self, added: usize) -> Result<(), CatalogFault> {
        let present = self.view().partitions_count() + self.planned_partitions;
        if present.saturating_add(added) <= self.partitions_max {
            return Ok(());
        }
        let message = format!(
            "The cluster may have {} partitions; it has {present}, and {added} more were asked for.",
            self.partitions_max
        );
        Err(CatalogFault::new(ErrorCode::InvalidPartitions, message))
    }

    /// Notes a planned topic and makes its command.
    fn planned(
        &mut self,
        name: &str,
        topic_id: TopicId,
        partitions: Vec<PartitionAssignment>,
        edits: &[ConfigEdit],
    ) -> Command {
        self.planned_names.insert(name.to_owned());
        if let Some(key) = collision_key(name) {
            self.planned_keys.insert(key, name.to_owned());
        }
        self.planned_partitions += partitions.len();
        let mut configs = ConfigMap::new();
        apply_edits(&mut configs, edits);
        Command::CreateTopic {
            name: name.to_owned(),
            topic_id,
            partitions,
            configs,
        }
    }
}

fn refuse_internal(topic: &Topic, what: &str) -> Result<(), CatalogFault> {
    if !topic.is_internal() {
        return Ok(());
    }
    let message = format!("Topic '{}' is internal and cannot be {what}.", topic.name);
    Err(CatalogFault::new(ErrorCode::InvalidTopicException, message))
}

/// The names that stand more than once.
fn repeated<'n>(names: impl Iterator<Item = &'n str>) -> BTreeSet<&'n str> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).collect()
}
