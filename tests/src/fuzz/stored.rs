//! Target: what the state machines store: catalog, producer table, records of `__consumer_offsets`.
//!
//! Input             byte 0 modulo 6 says what the rest is. Images with a CRC are checked as they
//!                   are, then once more with the CRC put right.
//! Rules             no panic; what decodes encodes again, and decodes to the same.

use kafka_lite::catalog::{Catalog, Command, NodeRegistration, PartitionAssignment, Replica};
use kafka_lite::group::CommittedOffset;
use kafka_lite::group::records::{
    GroupMetadata, MemberMetadata, RecordKey, decode_group_value, decode_key, decode_offset_value,
    encode_group_key, encode_group_value, encode_offset_key, encode_offset_value,
};
use kafka_lite::producer::{ProducerSnapshot, ProducerTable, ProducerTableOptions};
use kafka_lite::record_batch::{BatchBuilder, BatchHeader, BatchOptions, BatchProducer};
use kafka_lite::topic_config::ConfigMap;

/// Where both images keep their CRC; it covers what follows.
const IMAGE_CRC: std::ops::Range<usize> = 8..12;

/// Decodes, and checks what came out.
pub fn check(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    match kind % 6 {
        0 => check_command(bytes),
        1 => check_image(bytes, check_catalog),
        2 => check_image(bytes, check_producers),
        3 => check_key(bytes),
        4 => {
            if let Ok(committed) = decode_offset_value(bytes) {
                let again = encode_offset_value(&committed);
                assert_eq!(decode_offset_value(&again), Ok(committed));
            }
        }
        _ => {
            if let Ok(group) = decode_group_value(bytes) {
                let again = encode_group_value(&group);
                assert_eq!(decode_group_value(&again), Ok(group));
            }
        }
    }
}

fn check_command(bytes: &[u8]) {
    if let Ok(command) = Command::decode(bytes) {
        let again = command.encode().expect("it was decoded");
        assert_eq!(Command::decode(&again), Ok(command));
    }
}

fn check_image(bytes: &[u8], check: fn(&[u8])) {
    check(bytes);
    let mut bytes = bytes.to_vec();
    let Some(body) = bytes.get(IMAGE_CRC.end..) else {
        return;
    };
    let crc = crc32c::crc32c(body);
    bytes[IMAGE_CRC].copy_from_slice(&crc.to_be_bytes());
    check(&bytes);
}

fn check_catalog(bytes: &[u8]) {
    if let Ok(catalog) = Catalog::decode(bytes) {
        catalog.check_invariants();
        let image = catalog.encode().expect("it was decoded");
        let again = Catalog::decode(&image).expect("it was encoded");
        assert_eq!(again.encode(), Ok(image));
    }
}

fn check_producers(bytes: &[u8]) {
    let options = ProducerTableOptions::default();
    if let Ok(snapshot) = ProducerSnapshot::decode(bytes, options) {
        let image = ProducerSnapshot::encode(&snapshot.table, snapshot.next_offset);
        let again = ProducerSnapshot::decode(&image, options).expect("it was encoded");
        assert_eq!(again.table, snapshot.table);
    }
}

fn check_key(bytes: &[u8]) {
    let again = match decode_key(bytes) {
        Ok(RecordKey::Offset {
            group_id,
            topic,
            partition,
        }) => encode_offset_key(&group_id, &topic, partition),
        Ok(RecordKey::Group { group_id }) => encode_group_key(&group_id),
        Ok(_) | Err(_) => return,
    };
    assert_eq!(decode_key(&again), decode_key(bytes));
}

/// One of each kind.
pub fn corpus() -> Vec<Vec<u8>> {
    let mut corpus = Vec::new();
    let mut add = |kind: u8, bytes: &[u8]| corpus.push([&[kind], bytes].concat());
    let mut catalog = Catalog::new();
    for command in commands() {
        add(0, &command.encode().unwrap());
        catalog.apply(&command);
    }
    add(1, &Catalog::new().encode().unwrap());
    add(1, &catalog.encode().unwrap());
    add(2, &ProducerSnapshot::encode(&producers(), 17));
    add(3, &encode_offset_key("group", "topic", 3));
    add(3, &encode_group_key("group"));
    add(4, &encode_offset_value(&committed()));
    add(5, &encode_group_value(&group()));
    corpus
}

fn commands() -> Vec<Command> {
    let replicas = Box::new([Replica {
        node_id: 1,
        shard: 0,
    }]);
    let partitions = vec![PartitionAssignment { replicas }; 3];
    let topic_id = [7; 16];
    vec![
        Command::RegisterNode(NodeRegistration {
            node_id: 1,
            incarnation: [1; 16],
            shards: 2,
            kafka_host: "localhost".to_owned(),
            kafka_port: 9092,
            rpc_host: "localhost".to_owned(),
            rpc_port: 0,
            rack: Some("north".to_owned()),
        }),
        Command::CreateTopic {
            name: "readings".to_owned(),
            topic_id,
            partitions: partitions.clone(),
            configs: ConfigMap::new(),
        },
        Command::CreatePartitions {
            topic_id,
            first_partition: 3,
            partitions,
        },
        Command::AllocateProducerIds { node_id: 1 },
        Command::DeleteTopic { topic_id: [8; 16] },
    ]
}

fn producers() -> ProducerTable {
    let mut table = ProducerTable::new(ProducerTableOptions::default());
    for number in 0..7 {
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: number,
            producer: Some(BatchProducer {
                id: number % 2,
                epoch: 0,
                base_sequence: i32::try_from(number.div_euclid(2)).unwrap(),
            }),
            ..BatchOptions::default()
        });
        builder.append(1000, None, Some(b"x"), &[]).unwrap();
        let header = BatchHeader::decode(&builder.finish().unwrap()).unwrap();
        table.record_stored(&header, 1000);
    }
    table
}

fn committed() -> CommittedOffset {
    CommittedOffset {
        offset: 4711,
        leader_epoch: Some(3),
        metadata: "note".to_owned(),
        commit_timestamp_ms: 1_700_000_000_000,
        expire_timestamp_ms: None,
    }
}

fn group() -> GroupMetadata {
    GroupMetadata {
        protocol_type: "consumer".to_owned(),
        generation_id: 2,
        protocol_name: Some("range".to_owned()),
        leader: Some("m-1".to_owned()),
        state_timestamp_ms: Some(1_700_000_000_000),
        members: vec![MemberMetadata {
            member_id: "m-1".to_owned(),
            group_instance_id: Some("pump".to_owned()),
            client_id: "client".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            rebalance_timeout_ms: 60_000,
            session_timeout_ms: 10_000,
            subscription: vec![0, 1, 2].into(),
            assignment: vec![3, 4].into(),
        }],
    }
}
