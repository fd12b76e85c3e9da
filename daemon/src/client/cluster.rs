//! The brokers behind a list of addresses: who leads what, and a connection to each.
//!
//! What it is        metadata on demand, connections by node id, and calls that look again when a
//!                   leader, coordinator or controller has moved.
//! Invariants        1. looking again ends after [`SEARCH_TIMEOUT`].
//! Source            KIP-699 (FindCoordinator 4 with many keys) is not used: version 3 is enough.

use std::collections::BTreeMap;
use std::time::Instant;

use kafka_lite::api::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_lite::api::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};
use kafka_lite::error_code::ErrorCode;

use super::address::Address;
use super::connection::Connection;
use super::error::{ClientError, check};
use super::limits::{CREATION_TIMEOUT, REQUEST_TIMEOUT, SEARCH_PAUSE, SEARCH_TIMEOUT};

/// Last version of FindCoordinator that asks for one key.
const FIND_COORDINATOR_VERSION: i16 = 3;

/// Last version of Metadata in which every topic has a name.
const METADATA_VERSION: i16 = 11;

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Node id.
    pub id: i32,
    /// Where it says that it listens.
    pub address: Address,
    /// Its rack.
    pub rack: Option<String>,
}

/// A topic as metadata tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Name.
    pub name: String,
    /// Made by the broker for itself.
    pub is_internal: bool,
    /// By rising number; empty if the topic has an error.
    pub partitions: Vec<Partition>,
    /// Why the topic cannot be used.
    pub error: ErrorCode,
}

/// A partition as metadata tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Number.
    pub id: i32,
    /// Node id of the leader.
    pub leader: Option<i32>,
    /// Epoch of the leader.
    pub leader_epoch: Option<i32>,
    /// Node ids.
    pub replicas: Vec<i32>,
    /// Node ids of replicas in sync.
    pub in_sync_replicas: Vec<i32>,
}

/// The cluster behind some addresses.
#[derive(Debug)]
pub struct Cluster {
    seeds: Vec<Address>,
    first: Connection,
    connections: BTreeMap<i32, Connection>,
    brokers: Vec<Broker>,
    controller: Option<i32>,
    cluster_id: Option<String>,
    /// Every broker is reached here, whatever it advertises.
    through: Option<Address>,
}

impl Cluster {
    /// Connects to the first of the addresses that answers.
    ///
    /// # Errors
    /// The error of the last address.
    pub fn connect(seeds: &[Address]) -> Result<Self, ClientError> {
        Ok(Self {
            seeds: seeds.to_vec(),
            first: dial_any(seeds)?,
            connections: BTreeMap::new(),
            brokers: Vec::new(),
            controller: None,
            cluster_id: None,
            through: None,
        })
    }

    /// Connects to a cluster of one broker that is reached here and nowhere else, whatever it
    /// advertises: behind a relay or an address translation.
    ///
    /// # Errors
    /// Of the connection.
    pub fn connect_through(address: &Address) -> Result<Self, ClientError> {
        let mut cluster = Self::connect(std::slice::from_ref(address))?;
        cluster.through = Some(address.clone());
        Ok(cluster)
    }

    /// Asks for topics, all if `names` is `None`; refreshes what is known of the brokers.
    ///
    /// # Errors
    /// Of the call; errors of topics are in the topics.
    pub fn topics(
        &mut self,
        names: Option<&[String]>,
        may_create: bool,
    ) -> Result<Vec<Topic>, ClientError> {
        let request = MetadataRequest {
            topics: names.map(|names| names.iter().map(|name| by_name(name)).collect()),
            allow_auto_topic_creation: may_create,
            ..MetadataRequest::default()
        };
        let first = self.any()?;
        let answer = first.call_up_to(METADATA_VERSION, REQUEST_TIMEOUT, &request)?;
        let response: MetadataResponse<'_> = answer.read()?;
        self.take_brokers(&response)?;
        let mut topics: Vec<Topic> = response.topics.iter().map(topic_of).collect();
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(topics)
    }

    /// Asks for one topic that must exist and have leaders; waits a while for leaders.
    ///
    /// # Errors
    /// The error of the topic or of the call.
    pub fn topic(&mut self, name: &str, may_create: bool) -> Result<Topic, ClientError> {
        let names = [name.to_owned()];
        let start = Instant::now();
        self.search(|cluster| {
            let found = cluster.topics(Some(&names), may_create)?.into_iter().next();
            let topic = found.ok_or_else(|| missing_topic(name))?;
            let may_come = may_create
                && topic.error == ErrorCode::UnknownTopicOrPartition
                && start.elapsed() < CREATION_TIMEOUT;
            let code = if may_come {
                ErrorCode::LeaderNotAvailable
            } else {
                topic.error
            };
            check(code, None, || format!("topic {name}"))?;
            match topic.partitions.iter().find(|one| one.leader.is_none()) {
                Some(partition) => Err(ClientError::refused(
                    format!("topic {name}, partition {}", partition.id),
                    ErrorCode::LeaderNotAvailable,
                    None,
                )),
                None => Ok(topic),
            }
        })
    }

    /// Asks only for the brokers.
    ///
    /// # Errors
    /// Of the call.
    pub fn refresh(&mut self) -> Result<(), ClientError> {
        self.topics(Some(&[]), false).map(drop)
    }

    /// Tries until it succeeds, fails for good, or leaders cannot be found in time.
    ///
    /// # Errors
    /// The last error.
    pub fn search<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let deadline = Instant::now() + SEARCH_TIMEOUT;
        loop {
            match attempt(self) {
                Err(error) if error.is_stale_metadata() && Instant::now() < deadline => {
                    std::thread::sleep(SEARCH_PAUSE);
                    self.refresh()?;
                }
                done => return done,
            }
        }
    }

    /// A connection to any broker.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] if none answers.
    pub fn any(&mut self) -> Result<&mut Connection, ClientError> {
        if self.first.is_broken() {
            self.first = dial_any(&self.seeds)?;
        }
        Ok(&mut self.first)
    }

    /// A connection to a node, at the address that it advertises.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], or an unknown node.
    pub fn node(&mut self, id: i32) -> Result<&mut Connection, ClientError> {
        if !self.brokers.iter().any(|broker| broker.id == id) {
            self.refresh()?;
        }
        let broker = self.brokers.iter().find(|broker| broker.id == id);
        let Some(broker) = broker else {
            return Err(ClientError::Other(format!(
                "node {id} is a leader but not among the brokers"
            )));
        };
        let kept = self.connections.remove(&id);
        let is_good = |one: &Connection| !one.is_broken() && *one.address() == broker.address;
        let connection = match kept.filter(is_good) {
            Some(connection) => connection,
            None => Connection::open(&broker.address)?,
        };
        Ok(self.connections.entry(id).or_insert(connection))
    }

    /// Calls the controller, again if it has moved.
    ///
    /// # Errors
    /// Of the call, or the last of `call`.
    pub fn at_controller<T>(
        &mut self,
        mut call: impl FnMut(&mut Connection) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.refresh()?;
        self.search(|cluster| match cluster.controller {
            Some(id) => call(cluster.node(id)?),
            None => call(cluster.any()?),
        })
    }

    /// Calls the coordinator of a group, again if it has moved.
    ///
    /// # Errors
    /// Of the call, or the last of `call`.
    pub fn at_coordinator<T>(
        &mut self,
        group: &str,
        mut call: impl FnMut(&mut Connection) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.search(|cluster| {
            let id = cluster.coordinator(group)?.id;
            call(cluster.node(id)?)
        })
    }

    /// Finds the coordinator of a group.
    ///
    /// # Errors
    /// Of the call, or that there is none now.
    pub fn coordinator(&mut self, group: &str) -> Result<Broker, ClientError> {
        let request = FindCoordinatorRequest {
            key: group.into(),
            ..FindCoordinatorRequest::default()
        };
        let first = self.any()?;
        let answer = first.call_up_to(FIND_COORDINATOR_VERSION, REQUEST_TIMEOUT, &request)?;
        let response: FindCoordinatorResponse<'_> = answer.read()?;
        check(
            response.error_code,
            response.error_message.as_deref(),
            || format!("group {group}"),
        )?;
        let broker = Broker {
            id: response.node_id,
            address: address_of(&response.host, response.port)?,
            rack: None,
        };
        if !self.brokers.iter().any(|known| known.id == broker.id) {
            self.brokers.push(broker.clone());
        }
        Ok(broker)
    }

    /// Calls every broker in turn with its id.
    ///
    /// # Errors
    /// The first error.
    pub fn at_every_broker(
        &mut self,
        mut call: impl FnMut(i32, &mut Connection) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        self.refresh()?;
        for id in self
            .brokers
            .iter()
            .map(|broker| broker.id)
            .collect::<Vec<_>>()
        {
            call(id, self.node(id)?)?;
        }
        Ok(())
    }

    /// The brokers of the last metadata, by rising id.
    #[must_use]
    pub fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    /// Node id of the controller in the last metadata.
    #[must_use]
    pub const fn controller(&self) -> Option<i32> {
        self.controller
    }

    /// Id of the cluster in the last metadata.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    fn take_brokers(&mut self, response: &MetadataResponse<'_>) -> Result<(), ClientError> {
        self.brokers.clear();
        for broker in &response.brokers {
            self.brokers.push(Broker {
                id: broker.node_id,
                address: match &self.through {
                    Some(address) => address.clone(),
                    None => address_of(&broker.host, broker.port)?,
                },
                rack: broker.rack.as_deref().map(str::to_owned),
            });
        }
        self.brokers.sort_by_key(|broker| broker.id);
        self.controller = response.controller_id;
        self.cluster_id = response.cluster_id.as_deref().map(str::to_owned);
        Ok(())
    }
}

impl Topic {
    /// The partition of a number.
    #[must_use]
    pub fn partition(&self, id: i32) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.id == id)
    }

    /// How many partitions there are.
    #[must_use]
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }
}

/// The error of a topic that no broker has.
#[must_use]
pub fn missing_topic(name: &str) -> ClientError {
    let subject = format!("topic {name}");
    ClientError::refused(subject, ErrorCode::UnknownTopicOrPartition, None)
}

fn by_name(name: &str) -> MetadataRequestTopic<'_> {
    MetadataRequestTopic {
        name: Some(name.into()),
        ..MetadataRequestTopic::default()
    }
}

fn topic_of(topic: &MetadataResponseTopic<'_>) -> Topic {
    let partition_of = |one: &kafka_lite::api::metadata::MetadataResponsePartition| Partition {
        id: one.partition_index,
        leader: one.leader_id,
        leader_epoch: one.leader_epoch,
        replicas: one.replica_nodes.clone(),
        in_sync_replicas: one.isr_nodes.clone(),
    };
    let mut partitions: Vec<Partition> = topic.partitions.iter().map(partition_of).collect();
    partitions.sort_by_key(|partition| partition.id);
    Topic {
        name: topic.name.as_deref().unwrap_or_default().to_owned(),
        is_internal: topic.is_internal,
        partitions,
        error: topic.error_code,
    }
}

fn address_of(host: &str, port: i32) -> Result<Address, ClientError> {
    let port = u16::try_from(port);
    let port =
        port.map_err(|_| ClientError::Other(format!("a broker advertises {host}:{port:?}")))?;
    let host = host.to_owned();
    Ok(Address { host, port })
}

fn dial_any(seeds: &[Address]) -> Result<Connection, ClientError> {
    let mut last = ClientError::Other("no broker address was given".to_owned());
    for seed in seeds {
        match Connection::open(seed) {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error,
        }
    }
    Err(last)
}
