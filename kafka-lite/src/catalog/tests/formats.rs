//! Commands and snapshots as bytes.

use super::*;

#[test]
fn commands_keep_their_bytes() {
    let delete = Command::DeleteTopic {
        topic_id: [0xaa; 16],
    };
    let mut expected = vec![1, 2];
    expected.extend_from_slice(&[0xaa; 16]);
    assert_eq!(delete.encode().unwrap(), expected);
    let create = Command::CreateTopic {
        name: "t".to_owned(),
        topic_id: [0xbb; 16],
        partitions: vec![PartitionAssignment {
            replicas: Box::new([Replica {
                node_id: 1,
                shard: 3,
            }]),
        }],
        configs: ConfigMap::from([("k".to_owned(), "v".to_owned())]),
    };
    let mut expected = vec![1, 1, 1, b't'];
    expected.extend_from_slice(&[0xbb; 16]);
    expected.extend_from_slice(&[1, 1, 2, 3, 1, 1, b'k', 1, b'v']);
    assert_eq!(create.encode().unwrap(), expected);
    assert_eq!(Command::decode(&expected).unwrap(), create);
    let allocate = Command::AllocateProducerIds { node_id: 1 };
    assert_eq!(allocate.encode().unwrap(), [1, 6, 2]);
}

#[test]
fn every_command_round_trips_and_damage_never_panics() {
    let Command::RegisterNode(mut registration) = node(3, 8) else {
        panic!("a node")
    };
    registration.rack = Some("roof".to_owned());
    let mut catalog = catalog(2);
    let topic = NewTopic {
        partitions_count: 3,
        ..new_topic("t")
    };
    let set = ConfigChange {
        name: "flush.ms",
        operation: ConfigOperation::Set,
        value: Some("1"),
    };
    create(&mut catalog, &new_topic("old"), 9);
    let commands = planning(&catalog, &[], |planner| {
        let more = NewPartitions {
            name: "old",
            partitions_count: 3,
            assignments: None,
        };
        vec![
            Command::RegisterNode(registration),
            planner.create_topic(&topic, id(1)).unwrap(),
            planner.delete_topic("old").unwrap(),
            planner.create_partitions(&[more]).remove(0).unwrap(),
            planner.alter_topic_configs("old", &[set]).unwrap(),
            Command::AlterBrokerConfigs {
                node_id: Some(1),
                edits: Vec::new(),
            },
            Command::AllocateProducerIds { node_id: -1 },
        ]
    });
    for command in commands {
        let bytes = command.encode().unwrap();
        assert_eq!(Command::decode(&bytes).unwrap(), command);
        for cut in 0..bytes.len() {
            assert!(Command::decode(&bytes[..cut]).is_err());
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            if let Ok(other) = Command::decode(&damaged) {
                assert_ne!(other, command);
                Catalog::decode(&catalog.encode().unwrap())
                    .unwrap()
                    .apply(&other);
            }
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(Command::decode(&longer).is_err());
    }
    assert_eq!(
        Command::decode(&[2, 2]),
        Err(CatalogFormatError::Version { got: 2 })
    );
}

#[test]
fn snapshots_restore_everything_and_refuse_damage() {
    let mut catalog = catalog(3);
    catalog.apply(&node(2, 1));
    create(
        &mut catalog,
        &NewTopic {
            partitions_count: 5,
            ..new_topic("a.b")
        },
        1,
    );
    create(
        &mut catalog,
        &NewTopic {
            configs: &[("retention.ms", Some("9"))],
            ..new_topic("plain")
        },
        2,
    );
    catalog.apply(&Command::AllocateProducerIds { node_id: 1 });
    let edits = vec![crate::topic_config::ConfigEdit {
        name: "log.retention.ms".to_owned(),
        value: Some("77".to_owned()),
    }];
    catalog.apply(&Command::AlterBrokerConfigs {
        node_id: None,
        edits,
    });
    let bytes = catalog.encode().unwrap();
    let restored = Catalog::decode(&bytes).unwrap();
    restored.check_invariants();
    let (old, new) = (catalog.snapshot(), restored.snapshot());
    assert_eq!(old.topics_by_name(), new.topics_by_name());
    assert_eq!((old.version(), old.nodes()), (new.version(), new.nodes()));
    assert_eq!(old.broker_configs(None), new.broker_configs(None));
    assert_eq!(restored.encode().unwrap(), bytes);
    assert_eq!(
        code(plan(&restored, &new_topic("a_b"), 4)),
        ErrorCode::InvalidTopicException
    );
    for at in (0..bytes.len()).filter(|at| !(6..8).contains(at)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(Catalog::decode(&damaged).is_err(), "byte {at}");
        assert!(Catalog::decode(&bytes[..at]).is_err());
    }
}
