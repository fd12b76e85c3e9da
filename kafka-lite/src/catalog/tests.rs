//! Tests of the catalog: planning, applying, sharing.

mod configs;
mod formats;
mod internal_topics;

use std::collections::BTreeMap;

use super::*;
use crate::error_code::ErrorCode;
use crate::limits;
use crate::topic_config::{ConfigChange, ConfigLayers, ConfigMap, ConfigOperation};

fn node(node_id: i32, shards: u16) -> Command {
    Command::RegisterNode(NodeRegistration {
        node_id,
        incarnation: [7; 16],
        shards,
        kafka_host: "gateway".to_owned(),
        kafka_port: 9092,
        rpc_host: "gateway".to_owned(),
        rpc_port: 33_145,
        rack: None,
    })
}

/// A catalog of one node with this many shards.
fn catalog(shards: u16) -> Catalog {
    let mut catalog = Catalog::new();
    catalog.apply(&node(1, shards));
    catalog
}

fn id(number: u32) -> TopicId {
    let mut id = [0x40; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    id
}

fn new_topic(name: &str) -> NewTopic<'_> {
    NewTopic {
        name,
        partitions_count: 1,
        replication_factor: 1,
        assignments: &[],
        configs: &[],
    }
}

/// Runs with a planner that has these static broker configs.
fn planning<T>(
    catalog: &Catalog,
    fixed: &[(&str, &str)],
    run: impl FnOnce(&mut Planner<'_>) -> T,
) -> T {
    let fixed: ConfigMap = fixed
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let view = catalog.view();
    let layers = ConfigLayers {
        dynamic_broker: view.broker_configs(Some(1)),
        dynamic_default: view.broker_configs(None),
        static_broker: &fixed,
    };
    run(&mut Planner::new(catalog, layers))
}

fn plan(catalog: &Catalog, topic: &NewTopic<'_>, number: u32) -> Result<Command, CatalogFault> {
    planning(catalog, &[], |planner| {
        planner.create_topic(topic, id(number))
    })
}

fn code(result: Result<Command, CatalogFault>) -> ErrorCode {
    result.map_or_else(|fault| fault.error_code, |_| ErrorCode::None)
}

/// Plans and applies a topic.
fn create(catalog: &mut Catalog, topic: &NewTopic<'_>, number: u32) {
    let command = plan(catalog, topic, number).unwrap();
    assert!(matches!(catalog.apply(&command), Applied::TopicCreated(_)));
    catalog.check_invariants();
}

fn shards_of(command: &Command) -> Vec<u16> {
    match command {
        Command::CreateTopic { partitions, .. } | Command::CreatePartitions { partitions, .. } => {
            partitions
                .iter()
                .map(|partition| partition.replicas[0].shard)
                .collect()
        }
        Command::RegisterNode(_)
        | Command::DeleteTopic { .. }
        | Command::AlterTopicConfigs { .. }
        | Command::AlterBrokerConfigs { .. }
        | Command::AllocateProducerIds { .. } => Vec::new(),
    }
}

#[test]
fn names_follow_kafkas_rules() {
    let catalog = catalog(1);
    let long = "x".repeat(250);
    for name in ["", ".", "..", "a b", "a/b", "ä", "a\u{0}", long.as_str()] {
        let fault = plan(&catalog, &new_topic(name), 1).unwrap_err();
        assert_eq!(
            fault.error_code,
            ErrorCode::InvalidTopicException,
            "{name:?}"
        );
    }
    for name in ["a", "...", "A-z_0.9", &"x".repeat(249), "__mine"] {
        assert!(plan(&catalog, &new_topic(name), 1).is_ok(), "{name:?}");
    }
}

#[test]
fn names_that_exist_or_collide_are_refused() {
    let mut catalog = catalog(1);
    create(&mut catalog, &new_topic("a.b"), 1);
    create(&mut catalog, &new_topic("plain"), 2);
    assert_eq!(
        code(plan(&catalog, &new_topic("a.b"), 3)),
        ErrorCode::TopicAlreadyExists
    );
    assert_eq!(
        code(plan(&catalog, &new_topic("plain"), 3)),
        ErrorCode::TopicAlreadyExists
    );
    let fault = plan(&catalog, &new_topic("a_b"), 3).unwrap_err();
    assert_eq!(fault.error_code, ErrorCode::InvalidTopicException);
    assert_eq!(
        fault.message,
        "Topic 'a_b' collides with existing topic: a.b"
    );
    assert!(plan(&catalog, &new_topic("a-b"), 3).is_ok());
    catalog.apply(&Command::DeleteTopic { topic_id: id(1) });
    catalog.check_invariants();
    assert!(plan(&catalog, &new_topic("a_b"), 3).is_ok());
}

#[test]
fn one_request_knows_its_own_topics() {
    let catalog = catalog(2);
    let names = ["x.y", "x_y", "twice", "fine", "twice", "bad name"];
    let topics: Vec<NewTopic<'_>> = names.into_iter().map(new_topic).collect();
    let results = planning(&catalog, &[], |planner| {
        planner.create_topics(&topics, (1..).map(id))
    });
    let codes: Vec<ErrorCode> = results.iter().cloned().map(code).collect();
    assert_eq!(
        codes,
        [
            ErrorCode::None,
            ErrorCode::InvalidTopicException,
            ErrorCode::InvalidRequest,
            ErrorCode::None,
            ErrorCode::InvalidRequest,
            ErrorCode::InvalidTopicException
        ]
    );
    assert_eq!(shards_of(results[0].as_ref().unwrap()), [0]);
    assert_eq!(
        shards_of(results[3].as_ref().unwrap()),
        [1],
        "load of the same request counts"
    );
}

#[test]
fn partition_counts_and_factors_have_their_codes() {
    let catalog = catalog(1);
    let counted = |partitions_count, replication_factor| {
        code(plan(
            &catalog,
            &NewTopic {
                partitions_count,
                replication_factor,
                ..new_topic("t")
            },
            1,
        ))
    };
    assert_eq!(counted(3, 1), ErrorCode::None);
    assert_eq!(counted(-1, -1), ErrorCode::None);
    assert_eq!(counted(0, 1), ErrorCode::InvalidPartitions);
    assert_eq!(counted(-2, 1), ErrorCode::InvalidPartitions);
    assert_eq!(counted(10_000, 1), ErrorCode::None);
    assert_eq!(counted(10_001, 1), ErrorCode::InvalidPartitions);
    assert_eq!(counted(i32::MAX, 1), ErrorCode::InvalidPartitions);
    assert_eq!(counted(1, 0), ErrorCode::InvalidReplicationFactor);
    assert_eq!(counted(1, 3), ErrorCode::InvalidReplicationFactor);
    assert_eq!(counted(1, i16::MIN), ErrorCode::InvalidReplicationFactor);
    let defaults = NewTopic {
        partitions_count: -1,
        replication_factor: -1,
        ..new_topic("defaults")
    };
    let command = planning(&catalog, &[("num.partitions", "4")], |planner| {
        planner.create_topic(&defaults, id(1)).unwrap()
    });
    assert_eq!(shards_of(&command).len(), 4);
}

#[test]
fn the_number_of_all_partitions_is_bounded() {
    let mut catalog = catalog(1);
    create(
        &mut catalog,
        &NewTopic {
            partitions_count: 6,
            ..new_topic("six")
        },
        1,
    );
    let more = |count| {
        let layers = ConfigLayers {
            dynamic_broker: &ConfigMap::new(),
            dynamic_default: &ConfigMap::new(),
            static_broker: &ConfigMap::new(),
        };
        let mut planner = Planner::new(&catalog, layers).with_partitions_max(10);
        let two = NewTopic {
            partitions_count: 2,
            ..new_topic("two")
        };
        assert!(planner.create_topic(&two, id(2)).is_ok());
        code(planner.create_topic(
            &NewTopic {
                partitions_count: count,
                ..new_topic("t")
            },
            id(3),
        ))
    };
    assert_eq!(
        (more(2), more(3)),
        (ErrorCode::None, ErrorCode::InvalidPartitions)
    );
}

#[test]
fn partitions_go_to_the_least_loaded_shard_and_node() {
    let mut catalog = catalog(3);
    create(
        &mut catalog,
        &NewTopic {
            partitions_count: 4,
            ..new_topic("first")
        },
        1,
    );
    let command = plan(
        &catalog,
        &NewTopic {
            partitions_count: 2,
            ..new_topic("second")
        },
        2,
    )
    .unwrap();
    assert_eq!(shards_of(&command), [1, 2]);
    catalog.apply(&node(2, 2));
    catalog.apply(&node(3, 1));
    let spread = NewTopic {
        partitions_count: 6,
        replication_factor: 2,
        ..new_topic("spread")
    };
    let Command::CreateTopic { partitions, .. } = plan(&catalog, &spread, 3).unwrap() else {
        panic!("a topic");
    };
    let mut per_node: BTreeMap<i32, u32> = BTreeMap::new();
    for partition in &partitions {
        assert_eq!(partition.replicas.len(), 2);
        assert_ne!(partition.replicas[0].node_id, partition.replicas[1].node_id);
        partition
            .replicas
            .iter()
            .for_each(|one| *per_node.entry(one.node_id).or_default() += 1);
    }
    assert_eq!(
        per_node,
        BTreeMap::from([(1, 2), (2, 5), (3, 5)]),
        "node 1 has four before: 6, 5 and 5 in the end"
    );
}

#[test]
fn manual_assignments_are_checked() {
    let mut catalog = catalog(2);
    catalog.apply(&node(2, 1));
    let assigned = |assignments: &[(i32, &[i32])]| {
        let topic = NewTopic {
            partitions_count: -1,
            replication_factor: -1,
            assignments,
            ..new_topic("t")
        };
        code(plan(&catalog, &topic, 1))
    };
    assert_eq!(assigned(&[(1, &[2, 1]), (0, &[1, 2])]), ErrorCode::None);
    assert_eq!(
        assigned(&[(0, &[1]), (2, &[1])]),
        ErrorCode::InvalidReplicaAssignment
    );
    assert_eq!(
        assigned(&[(0, &[1]), (0, &[1])]),
        ErrorCode::InvalidReplicaAssignment
    );
    assert_eq!(
        assigned(&[(0, &[1, 1])]),
        ErrorCode::InvalidReplicaAssignment
    );
    assert_eq!(assigned(&[(0, &[3])]), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(assigned(&[(0, &[])]), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(
        assigned(&[(0, &[1]), (1, &[1, 2])]),
        ErrorCode::InvalidReplicaAssignment
    );
    let counted = NewTopic {
        assignments: &[(0, &[1])],
        ..new_topic("t")
    };
    assert_eq!(code(plan(&catalog, &counted, 1)), ErrorCode::InvalidRequest);
}

#[test]
fn topics_are_deleted_by_name_and_id_and_get_new_ids() {
    let mut catalog = catalog(1);
    create(
        &mut catalog,
        &NewTopic {
            partitions_count: 3,
            ..new_topic("t")
        },
        1,
    );
    let by_name = planning(&catalog, &[], |planner| planner.delete_topic("t").unwrap());
    assert_eq!(by_name, Command::DeleteTopic { topic_id: id(1) });
    let refused = planning(&catalog, &[("delete.topic.enable", "false")], |planner| {
        code(planner.delete_topic("t"))
    });
    assert_eq!(refused, ErrorCode::TopicDeletionDisabled);
    let by_id = planning(&catalog, &[], |planner| {
        planner.delete_topic_by_id(&id(1)).unwrap()
    });
    let Applied::TopicDeleted(gone) = catalog.apply(&by_id) else {
        panic!("deleted")
    };
    assert_eq!((&*gone.name, gone.partitions.len()), ("t", 3));
    catalog.check_invariants();
    assert_eq!(catalog.view().partitions_count(), 0);
    planning(&catalog, &[], |planner| {
        assert_eq!(
            code(planner.delete_topic("t")),
            ErrorCode::UnknownTopicOrPartition
        );
        assert_eq!(
            code(planner.delete_topic_by_id(&id(1))),
            ErrorCode::UnknownTopicId
        );
    });
    assert!(matches!(catalog.apply(&by_id), Applied::Rejected(_)));
    create(&mut catalog, &new_topic("t"), 2);
    assert!(catalog.view().topic_by_id(&id(1)).is_none());
}

#[test]
fn partitions_are_added_and_never_taken() {
    let mut catalog = catalog(2);
    create(
        &mut catalog,
        &NewTopic {
            partitions_count: 2,
            ..new_topic("t")
        },
        1,
    );
    let ask = |catalog: &Catalog, partitions_count, assignments| {
        let request = NewPartitions {
            name: "t",
            partitions_count,
            assignments,
        };
        planning(catalog, &[], |planner| {
            planner.create_partitions(&[request]).remove(0)
        })
    };
    for count in [-1, 0, 1, 2, 10_001] {
        assert_eq!(
            code(ask(&catalog, count, None)),
            ErrorCode::InvalidPartitions,
            "{count}"
        );
    }
    let told: [&[i32]; 2] = [&[1], &[1]];
    assert_eq!(
        code(ask(&catalog, 3, Some(&told))),
        ErrorCode::InvalidReplicaAssignment
    );
    assert_eq!(code(ask(&catalog, 4, Some(&told))), ErrorCode::None);
    let command = ask(&catalog, 5, None).unwrap();
    let late = ask(&catalog, 3, None).unwrap();
    let Applied::PartitionsCreated {
        topic,
        first_partition,
    } = catalog.apply(&command)
    else {
        panic!("created");
    };
    assert_eq!((topic.partitions.len(), first_partition), (5, 2));
    assert!(topic.partition(4).is_some() && topic.partition(5).is_none());
    catalog.check_invariants();
    let Applied::Rejected(fault) = catalog.apply(&late) else {
        panic!("lost the race")
    };
    assert_eq!(fault.error_code, ErrorCode::InvalidPartitions);
    let unknown = NewPartitions {
        name: "absent",
        partitions_count: 2,
        assignments: None,
    };
    let codes: Vec<ErrorCode> = planning(&catalog, &[], |planner| {
        planner
            .create_partitions(&[unknown, unknown])
            .into_iter()
            .map(code)
            .collect()
    });
    assert_eq!(codes, [ErrorCode::InvalidRequest; 2]);
}

#[test]
fn topics_are_created_on_demand_unless_switched_off() {
    let catalog = catalog(1);
    let ask = |fixed: &[(&str, &str)], name| {
        planning(&catalog, fixed, |planner| {
            code(planner.auto_create_topic(name, id(1)))
        })
    };
    assert_eq!(ask(&[], "fresh"), ErrorCode::None);
    assert_eq!(ask(&[], "not good"), ErrorCode::InvalidTopicException);
    let off = [("auto.create.topics.enable", "false")];
    assert_eq!(ask(&off, "fresh"), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(ask(&off, OFFSETS_TOPIC), ErrorCode::None);
}

#[test]
fn producer_id_blocks_never_overlap() {
    let mut catalog = catalog(1);
    let mut expected = 0;
    for _ in 0..3 {
        let next = expected + limits::PRODUCER_ID_BLOCK_COUNT;
        let applied = catalog.apply(&Command::AllocateProducerIds { node_id: 1 });
        assert_eq!(
            applied,
            Applied::ProducerIds {
                node_id: 1,
                block: expected..next
            }
        );
        expected = next;
        catalog = Catalog::decode(&catalog.encode().unwrap()).unwrap();
    }
}

#[test]
fn two_planned_commands_for_one_name_end_with_one_topic() {
    let mut catalog = catalog(1);
    let first = plan(&catalog, &new_topic("a.b"), 1).unwrap();
    let second = plan(&catalog, &new_topic("a.b"), 2).unwrap();
    let third = plan(&catalog, &new_topic("a_b"), 3).unwrap();
    assert!(matches!(catalog.apply(&first), Applied::TopicCreated(_)));
    for (late, expected) in [
        (second, ErrorCode::TopicAlreadyExists),
        (third, ErrorCode::InvalidTopicException),
    ] {
        let Applied::Rejected(fault) = catalog.apply(&late) else {
            panic!("rejected")
        };
        assert_eq!(fault.error_code, expected);
    }
    catalog.check_invariants();
    assert_eq!(catalog.view().topics_count(), 1);
}

#[test]
fn a_change_shares_everything_else_with_the_picture_that_readers_hold() {
    fn readable_by_other_threads<T: Send + Sync>(_: &T) {}
    let mut catalog = catalog(4);
    for number in 0..1_000 {
        let name = format!("topic-{number}");
        create_fast(&mut catalog, &name, number);
    }
    let before = catalog.snapshot();
    readable_by_other_threads(&before);
    let command = planning(&catalog, &[], |planner| {
        let change = ConfigChange {
            name: "retention.ms",
            operation: ConfigOperation::Set,
            value: Some("1"),
        };
        planner.alter_topic_configs("topic-7", &[change]).unwrap()
    });
    catalog.apply(&command);
    let after = catalog.snapshot();
    assert!(before.topic("topic-7").unwrap().configs.is_empty());
    assert_eq!(after.topic("topic-7").unwrap().configs.len(), 1);
    assert_eq!(before.topics.maps_not_shared_with(&after.topics), 1);
    assert_eq!(before.names.maps_not_shared_with(&after.names), 0);
    assert_eq!(after.topics_by_name().len(), 1_000);
    catalog.check_invariants();
}

/// As `create`, without the check after each step.
fn create_fast(catalog: &mut Catalog, name: &str, number: u32) {
    let command = plan(catalog, &new_topic(name), number).unwrap();
    catalog.apply(&command);
}
