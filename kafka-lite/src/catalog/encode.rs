//! Commands and snapshots of the catalog as bytes.
//!
//! What it is        version byte and postcard for commands; magic, version, CRC and postcard for
//!                   snapshots.
//! What it is not    a store.
//! Layout            docs/formats/catalog.md (normative).
//! Invariants        1. unknown versions are refused: a node never applies what it does not know.
//! Source            our own; postcard 1 wire format.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::command::{Command, NodeRegistration, PartitionAssignment, TopicId};
use super::snapshot::{CatalogSnapshot, Topic};
use super::state::Catalog;
use crate::topic_config::ConfigMap;

const COMMAND_VERSION: u8 = 1;
const MAGIC: [u8; 4] = *b"SLCT";
const SNAPSHOT_VERSION: u16 = 1;
/// Magic, version, reserved, CRC.
const PREFIX_BYTES: usize = 12;

/// Why bytes are not a command or a snapshot that this release knows.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CatalogFormatError {
    /// Another kind of bytes.
    #[error("not a catalog snapshot: wrong magic")]
    Magic,
    /// Written by a later release.
    #[error("catalog format version {got} is newer than this release knows")]
    Version {
        /// Version found.
        got: u16,
    },
    /// Not what was written.
    #[error("catalog snapshot CRC is {got:#010x}, it says {expected:#010x}")]
    Crc {
        /// CRC stored.
        expected: u32,
        /// CRC of the bytes.
        got: u32,
    },
    /// The content does not decode.
    #[error("catalog bytes are malformed: {reason}")]
    Malformed {
        /// What the decoder says.
        reason: String,
    },
}

impl Command {
    /// Encodes the command for the controller's log.
    ///
    /// # Errors
    /// [`CatalogFormatError::Malformed`] when memory runs out; nothing else is known.
    pub fn encode(&self) -> Result<Vec<u8>, CatalogFormatError> {
        postcard::to_extend(self, vec![COMMAND_VERSION]).map_err(malformed)
    }

    /// Decodes a command of the controller's log.
    ///
    /// # Errors
    /// [`CatalogFormatError::Version`] and [`CatalogFormatError::Malformed`]: the node must stop
    /// applying.
    pub fn decode(bytes: &[u8]) -> Result<Self, CatalogFormatError> {
        let (version, body) = bytes.split_first().ok_or_else(|| malformed("no bytes"))?;
        if *version != COMMAND_VERSION {
            return Err(CatalogFormatError::Version {
                got: u16::from(*version),
            });
        }
        whole(body)
    }
}

impl Catalog {
    /// Encodes the whole catalog.
    ///
    /// # Errors
    /// [`CatalogFormatError::Malformed`] when memory runs out; nothing else is known.
    pub fn encode(&self) -> Result<Vec<u8>, CatalogFormatError> {
        let mut out = Vec::with_capacity(1 << 10);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&SNAPSHOT_VERSION.to_be_bytes());
        out.extend_from_slice(&[0; 6]);
        let mut out = postcard::to_extend(&Image::of(self.view()), out).map_err(malformed)?;
        let crc = crc32c::crc32c(out.get(PREFIX_BYTES..).unwrap_or_default());
        if let Some(target) = out.get_mut(PREFIX_BYTES - 4..PREFIX_BYTES) {
            target.copy_from_slice(&crc.to_be_bytes());
        }
        Ok(out)
    }

    /// Decodes a catalog.
    ///
    /// # Errors
    /// [`CatalogFormatError`]; nothing is taken from damaged bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CatalogFormatError> {
        let (magic, rest) = split::<4>(bytes)?;
        if magic != MAGIC {
            return Err(CatalogFormatError::Magic);
        }
        let (version, rest) = split::<2>(rest)?;
        if u16::from_be_bytes(version) != SNAPSHOT_VERSION {
            return Err(CatalogFormatError::Version {
                got: u16::from_be_bytes(version),
            });
        }
        let (_reserved, rest) = split::<2>(rest)?;
        let (expected, body) = split::<4>(rest)?;
        let (expected, got) = (u32::from_be_bytes(expected), crc32c::crc32c(body));
        if expected != got {
            return Err(CatalogFormatError::Crc { expected, got });
        }
        whole::<Image>(body)?.into_catalog()
    }
}

/// The snapshot's content; fields are only ever added with a new version.
#[derive(Serialize, Deserialize)]
struct Image {
    version: u64,
    next_producer_id: i64,
    broker_configs_changed_at: u64,
    nodes: Vec<NodeRegistration>,
    broker_configs: BTreeMap<Option<i32>, ConfigMap>,
    topics: Vec<TopicImage>,
}

#[derive(Serialize, Deserialize)]
struct TopicImage {
    topic_id: TopicId,
    name: String,
    changed_at: u64,
    configs: ConfigMap,
    partitions: Vec<PartitionAssignment>,
}

impl Image {
    fn of(view: &CatalogSnapshot) -> Self {
        let topic_image = |topic: &Arc<Topic>| TopicImage {
            topic_id: topic.topic_id,
            name: topic.name.to_string(),
            changed_at: topic.changed_at,
            configs: ConfigMap::clone(&topic.configs),
            partitions: topic.partitions.to_vec(),
        };
        Self {
            version: view.version,
            next_producer_id: view.next_producer_id,
            broker_configs_changed_at: view.broker_configs_changed_at,
            nodes: view.nodes.values().cloned().collect(),
            broker_configs: BTreeMap::clone(&view.broker_configs),
            topics: view.topics_by_name().into_iter().map(topic_image).collect(),
        }
    }

    fn into_catalog(self) -> Result<Catalog, CatalogFormatError> {
        let mut view = CatalogSnapshot::new();
        view.version = self.version;
        view.next_producer_id = self.next_producer_id;
        view.broker_configs_changed_at = self.broker_configs_changed_at;
        view.nodes = Arc::new(
            self.nodes
                .into_iter()
                .map(|node| (node.node_id, node))
                .collect(),
        );
        view.broker_configs = Arc::new(self.broker_configs);
        for topic in self.topics {
            let is_known =
                view.topic(&topic.name).is_some() || view.topic_by_id(&topic.topic_id).is_some();
            let is_empty = topic.partitions.is_empty()
                || topic
                    .partitions
                    .iter()
                    .any(|partition| partition.replicas.is_empty());
            if is_known || is_empty {
                return Err(malformed(
                    "a topic stands twice or has no partition or replica",
                ));
            }
            view.partitions_count += topic.partitions.len();
            view.names
                .insert(Box::from(topic.name.as_bytes()), topic.topic_id);
            let name = Arc::from(topic.name);
            view.topics.insert(
                topic.topic_id,
                Arc::new(Topic {
                    topic_id: topic.topic_id,
                    name,
                    partitions: Arc::from(topic.partitions),
                    configs: Arc::new(topic.configs),
                    changed_at: topic.changed_at,
                }),
            );
        }
        Ok(Catalog::restore(view))
    }
}

/// Decodes all of `body`; bytes left over are a fault.
fn whole<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, CatalogFormatError> {
    let (value, rest) = postcard::take_from_bytes(body).map_err(malformed)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(malformed("bytes are left over"))
    }
}

fn split<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), CatalogFormatError> {
    let (first, rest) = bytes
        .split_first_chunk::<N>()
        .ok_or_else(|| malformed("too short"))?;
    Ok((*first, rest))
}

fn malformed(reason: impl ToString) -> CatalogFormatError {
    CatalogFormatError::Malformed {
        reason: reason.to_string(),
    }
}
