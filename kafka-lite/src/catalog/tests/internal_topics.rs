//! The topics that belong to the broker.

use super::super::topic_name::TRANSACTIONS_TOPIC;
use super::*;

#[test]
fn what_is_written_on_a_full_disk_is_the_brokers_and_holds_no_data_of_users() {
    for name in [
        OFFSETS_TOPIC,
        TRANSACTIONS_TOPIC,
        MIRROR_TOPIC,
        MQTT_SESSIONS_TOPIC,
    ] {
        assert!(is_bookkeeping(name) && is_internal(name), "{name}");
    }
    assert!(is_internal(MQTT_RETAINED_TOPIC) && !is_bookkeeping(MQTT_RETAINED_TOPIC));
    assert!(!is_bookkeeping("orders"));
}

#[test]
fn the_mirrors_topic_is_the_brokers_and_has_one_partition() {
    let mut catalog = catalog(1);
    let asked = plan(&catalog, &new_topic(MIRROR_TOPIC), 1);
    assert_eq!(code(asked), ErrorCode::InvalidTopicException);
    let command = planning(&catalog, &[], |planner| {
        planner.create_internal_topic(MIRROR_TOPIC, id(1)).unwrap()
    });
    catalog.apply(&command);
    let view = catalog.snapshot();
    let topic = view.topic(MIRROR_TOPIC).unwrap();
    assert!(topic.is_internal() && topic.partitions.len() == 1);
    let config = view.topic_config(topic, 1, &ConfigMap::new());
    assert!(config.cleanup_policy.is_compact && !config.cleanup_policy.is_delete);
}

#[test]
fn the_offsets_topic_is_the_brokers() {
    let mut catalog = catalog(1);
    assert_eq!(
        code(plan(&catalog, &new_topic(OFFSETS_TOPIC), 1)),
        ErrorCode::InvalidTopicException
    );
    let command = planning(
        &catalog,
        &[("offsets.topic.num.partitions", "7")],
        |planner| planner.create_internal_topic(OFFSETS_TOPIC, id(1)).unwrap(),
    );
    catalog.apply(&command);
    let view = catalog.snapshot();
    let topic = view.topic(OFFSETS_TOPIC).unwrap();
    assert!(topic.is_internal());
    assert_eq!(topic.partitions.len(), 7);
    let config = view.topic_config(topic, 1, &ConfigMap::new());
    assert!(config.cleanup_policy.is_compact && !config.cleanup_policy.is_delete);
    assert_eq!(config.segment_bytes, 16 << 20);
    planning(&catalog, &[], |planner| {
        assert_eq!(
            code(planner.delete_topic(OFFSETS_TOPIC)),
            ErrorCode::InvalidTopicException
        );
        let set = |name, value| {
            let operation = ConfigOperation::Set;
            let change = ConfigChange {
                name,
                operation,
                value: Some(value),
            };
            code(planner.alter_topic_configs(OFFSETS_TOPIC, &[change]))
        };
        assert_eq!(set("cleanup.policy", "delete"), ErrorCode::InvalidConfig);
        assert_eq!(set("segment.ms", "1000"), ErrorCode::None);
        assert_eq!(
            code(planner.replace_topic_configs(OFFSETS_TOPIC, &[])),
            ErrorCode::InvalidConfig
        );
        assert_eq!(
            code(planner.create_internal_topic("__transaction_state", id(2))),
            ErrorCode::UnknownTopicOrPartition
        );
    });
}

#[test]
fn the_topics_of_mqtt_are_the_brokers_and_have_one_partition() {
    let mut catalog = catalog(1);
    for (name, number) in [(MQTT_SESSIONS_TOPIC, 1), (MQTT_RETAINED_TOPIC, 2)] {
        let refused = code(plan(&catalog, &new_topic(name), 1));
        assert_eq!(refused, ErrorCode::InvalidTopicException);
        let command = planning(&catalog, &[], |planner| {
            planner.create_internal_topic(name, id(number)).unwrap()
        });
        catalog.apply(&command);
        let view = catalog.snapshot();
        let topic = view.topic(name).unwrap();
        assert!(topic.is_internal());
        assert_eq!(topic.partitions.len(), 1);
        let config = view.topic_config(topic, 1, &ConfigMap::new());
        assert!(config.cleanup_policy.is_compact && !config.cleanup_policy.is_delete);
    }
}
