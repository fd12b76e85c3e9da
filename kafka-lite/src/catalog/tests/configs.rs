//! Settings of topics and brokers.

use super::*;

#[test]
fn configs_of_new_topics_are_checked_and_kept() {
    let mut catalog = catalog(1);
    let with = |configs| NewTopic {
        configs,
        ..new_topic("t")
    };
    assert_eq!(
        code(plan(&catalog, &with(&[("no.such.config", Some("1"))]), 1)),
        ErrorCode::InvalidConfig
    );
    assert_eq!(
        code(plan(&catalog, &with(&[("retention.ms", None)]), 1)),
        ErrorCode::InvalidConfig
    );
    create(
        &mut catalog,
        &with(&[("cleanup.policy", Some("compact"))]),
        1,
    );
    let view = catalog.snapshot();
    let topic = view.topic("t").unwrap();
    assert_eq!(
        topic.configs.get("cleanup.policy").map(String::as_str),
        Some("compact")
    );
    assert!(
        view.topic_config(topic, 1, &ConfigMap::new())
            .cleanup_policy
            .is_compact
    );
}

#[test]
fn configs_of_topics_and_brokers_change_with_a_version() {
    let mut catalog = catalog(1);
    create(&mut catalog, &new_topic("t"), 1);
    let created_at = catalog.view().topic("t").unwrap().changed_at;
    let set = |name| ConfigChange {
        name,
        operation: ConfigOperation::Set,
        value: Some("5000"),
    };
    let command = planning(&catalog, &[], |planner| {
        planner
            .alter_topic_configs("t", &[set("retention.ms")])
            .unwrap()
    });
    let Applied::TopicConfigsAltered(topic) = catalog.apply(&command) else {
        panic!("altered")
    };
    assert!(topic.changed_at > created_at);
    let fixed = ConfigMap::new();
    let retention = |catalog: &Catalog| {
        let view = catalog.snapshot();
        view.topic_config(view.topic("t").unwrap(), 1, &fixed)
            .retention_ms
    };
    assert_eq!(retention(&catalog), Some(5_000));
    let command = planning(&catalog, &[], |planner| {
        planner.replace_topic_configs("t", &[]).unwrap()
    });
    catalog.apply(&command);
    assert_eq!(retention(&catalog), Some(604_800_000));

    for (node_id, value) in [(None, 5_000), (Some(1), 5_000)] {
        let command = planning(&catalog, &[], |planner| {
            planner
                .alter_broker_configs(node_id, &[set("log.retention.ms")])
                .unwrap()
        });
        assert_eq!(catalog.apply(&command), Applied::BrokerConfigsAltered);
        assert_eq!(retention(&catalog), Some(value));
        assert_eq!(
            catalog.view().broker_configs_changed_at(),
            catalog.view().version()
        );
        let command = planning(&catalog, &[], |planner| {
            planner.replace_broker_configs(node_id, &[]).unwrap()
        });
        catalog.apply(&command);
        assert_eq!(retention(&catalog), Some(604_800_000));
    }
    planning(&catalog, &[], |planner| {
        let absent = planner.alter_broker_configs(Some(9), &[set("log.retention.ms")]);
        assert_eq!(code(absent), ErrorCode::InvalidRequest);
        let absent = planner.alter_topic_configs("absent", &[set("retention.ms")]);
        assert_eq!(code(absent), ErrorCode::UnknownTopicOrPartition);
    });
}
