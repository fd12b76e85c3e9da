//! Tests of configs: the tables, the layers, the alterations.

use super::*;
use crate::error_code::ErrorCode;
use crate::record_batch::TimestampType;

fn map(pairs: &[(&str, &str)]) -> ConfigMap {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Layers with only a static part.
fn with_layers<T>(fixed: &[(&str, &str)], run: impl FnOnce(&ConfigLayers<'_>) -> T) -> T {
    let (empty, fixed) = (ConfigMap::new(), map(fixed));
    run(&ConfigLayers {
        dynamic_broker: &empty,
        dynamic_default: &empty,
        static_broker: &fixed,
    })
}

fn change<'a>(name: &'a str, operation: ConfigOperation, value: &'a str) -> ConfigChange<'a> {
    ConfigChange {
        name,
        operation,
        value: Some(value),
    }
}

/// Applies one change to `current`; the new map or the fault.
fn altered(current: &ConfigMap, change: ConfigChange<'_>) -> Result<ConfigMap, ConfigFault> {
    let edits = with_layers(&[], |layers| {
        alter_topic_configs(current, &[change], layers)
    })?;
    let mut configs = current.clone();
    apply_edits(&mut configs, &edits);
    Ok(configs)
}

fn set(name: &str, value: &str) -> Result<ConfigMap, ConfigFault> {
    altered(&ConfigMap::new(), change(name, ConfigOperation::Set, value))
}

#[test]
fn tables_are_sorted_and_every_default_passes_its_own_rule() {
    for table in [TOPIC_CONFIGS, BROKER_CONFIGS] {
        assert!(table.is_sorted_by(|first, second| first.name < second.name));
        for definition in table {
            if let Some(default) = definition.default {
                assert_eq!(definition.check(default), Ok(()), "{}", definition.name);
            }
            assert!(definition.documentation.len() > 10);
        }
    }
}

#[test]
fn every_synonym_is_a_broker_config_with_the_same_default() {
    for definition in TOPIC_CONFIGS {
        for synonym in definition.synonyms {
            let broker = broker_config(synonym.name)
                .unwrap_or_else(|| panic!("{} has no broker config", synonym.name));
            if synonym.unit == SynonymUnit::Same && broker.default.is_some() {
                assert_eq!(broker.default, definition.default, "{}", synonym.name);
            }
        }
    }
}

#[test]
fn every_topic_config_of_kafka_4_is_known() {
    let kafka = "cleanup.policy compression.gzip.level compression.lz4.level compression.type \
        compression.zstd.level delete.retention.ms file.delete.delay.ms flush.messages flush.ms \
        follower.replication.throttled.replicas index.interval.bytes \
        leader.replication.throttled.replicas local.retention.bytes local.retention.ms \
        max.compaction.lag.ms max.message.bytes message.timestamp.after.max.ms \
        message.timestamp.before.max.ms message.timestamp.type min.cleanable.dirty.ratio \
        min.compaction.lag.ms min.insync.replicas preallocate remote.log.copy.disable \
        remote.log.delete.on.disable remote.storage.enable retention.bytes retention.ms \
        segment.bytes segment.index.bytes segment.jitter.ms segment.ms \
        unclean.leader.election.enable";
    let ours: Vec<&str> = TOPIC_CONFIGS
        .iter()
        .map(|definition| definition.name)
        .collect();
    assert_eq!(ours, kafka.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn values_are_taken_or_refused_in_words() {
    for (name, value) in [
        ("retention.ms", "-1"),
        ("retention.ms", " 3600000 "),
        ("retention.bytes", "9223372036854775807"),
        ("cleanup.policy", "compact,delete"),
        ("cleanup.policy", "compact, delete"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("message.timestamp.type", "LogAppendTime"),
        ("compression.type", "producer"),
        ("remote.storage.enable", "false"),
        ("leader.replication.throttled.replicas", "0:1,1:2"),
        ("leader.replication.throttled.replicas", "*"),
        ("preallocate", "true"),
        ("preallocate", "True"),
        ("remote.storage.enable", "FALSE"),
    ] {
        assert!(set(name, value).is_ok(), "{name}={value}");
    }
    for (name, value, reason) in [
        ("retention.ms", "-2", "at least -1"),
        ("retention.ms", "soon", "64-bit integer"),
        ("retention.ms", "9223372036854775808", "64-bit integer"),
        ("segment.bytes", "1024", "at least 65536"),
        ("segment.bytes", "2147483648", "32-bit integer"),
        ("cleanup.policy", "", "list of compact, delete"),
        ("cleanup.policy", "compact,burn", "burn is not one of"),
        ("min.cleanable.dirty.ratio", "1.1", "between 0 and 1"),
        ("min.cleanable.dirty.ratio", "NaN", "number"),
        (
            "message.timestamp.type",
            "createtime",
            "one of CreateTime, LogAppendTime",
        ),
        ("compression.type", "zstd", "only producer is supported"),
        ("remote.storage.enable", "true", "no remote tier"),
        ("unclean.leader.election.enable", "true", "never leads"),
        ("unclean.leader.election.enable", "True", "never leads"),
        ("preallocate", "yes", "true or false"),
        (
            "follower.replication.throttled.replicas",
            "0:a",
            "partition:broker",
        ),
    ] {
        let fault = set(name, value).unwrap_err();
        assert_eq!(fault.error_code(), ErrorCode::InvalidConfig);
        assert!(
            fault.to_string().contains(reason),
            "{name}={value}: {fault}"
        );
    }
    let fault = set("confluent.value.schema.validation", "true").unwrap_err();
    assert_eq!(
        fault.to_string(),
        "Unknown topic config name: confluent.value.schema.validation"
    );
    let long = "0:1,".repeat(2_000);
    let fault = set("leader.replication.throttled.replicas", &long).unwrap_err();
    assert!(fault.to_string().len() < 200, "{fault}");
}

#[test]
fn lists_are_appended_to_and_subtracted_from_starting_at_the_effective_value() {
    let empty = ConfigMap::new();
    let appended = altered(
        &empty,
        change("cleanup.policy", ConfigOperation::Append, "compact"),
    )
    .unwrap();
    assert_eq!(appended, map(&[("cleanup.policy", "delete,compact")]));
    let same = altered(
        &appended,
        change("cleanup.policy", ConfigOperation::Append, "compact"),
    )
    .unwrap();
    assert_eq!(same, appended);
    let less = altered(
        &appended,
        change("cleanup.policy", ConfigOperation::Subtract, "delete"),
    )
    .unwrap();
    assert_eq!(less, map(&[("cleanup.policy", "compact")]));
    let none = altered(
        &less,
        change("cleanup.policy", ConfigOperation::Subtract, "compact"),
    );
    assert_eq!(none.unwrap_err().error_code(), ErrorCode::InvalidConfig);
    let scalar = altered(&empty, change("retention.ms", ConfigOperation::Append, "1"));
    assert!(matches!(scalar, Err(ConfigFault::NotAList { .. })));
}

#[test]
fn deletes_duplicates_nulls_and_conflicts() {
    let current = map(&[("retention.ms", "5"), ("max.compaction.lag.ms", "100")]);
    let delete = ConfigChange {
        name: "retention.ms",
        operation: ConfigOperation::Delete,
        value: None,
    };
    assert_eq!(
        altered(&current, delete).unwrap(),
        map(&[("max.compaction.lag.ms", "100")])
    );
    let null = ConfigChange {
        name: "retention.ms",
        operation: ConfigOperation::Set,
        value: None,
    };
    assert!(matches!(
        altered(&current, null),
        Err(ConfigFault::NullValue { .. })
    ));
    let twice = [change("retention.ms", ConfigOperation::Set, "1"), delete];
    let fault = with_layers(&[], |layers| alter_topic_configs(&current, &twice, layers));
    assert_eq!(fault.unwrap_err().error_code(), ErrorCode::InvalidRequest);
    let lag = altered(
        &current,
        change("min.compaction.lag.ms", ConfigOperation::Set, "101"),
    );
    assert!(matches!(lag, Err(ConfigFault::Conflict { .. })));
}

#[test]
fn a_replacement_drops_what_it_does_not_name() {
    let current = map(&[("retention.ms", "5"), ("segment.ms", "7")]);
    let edits = with_layers(&[], |layers| {
        replace_topic_configs(
            &current,
            &[("segment.ms", Some("8")), ("flush.ms", Some("9"))],
            layers,
        )
    });
    let mut configs = current;
    apply_edits(&mut configs, &edits.unwrap());
    assert_eq!(configs, map(&[("segment.ms", "8"), ("flush.ms", "9")]));
}

#[test]
fn layers_count_in_kafkas_order_and_units() {
    let definition = topic_config("retention.ms").unwrap();
    let (empty, topic) = (ConfigMap::new(), map(&[("retention.ms", "1")]));
    let dynamic_broker = map(&[("log.retention.ms", "2")]);
    let dynamic_default = map(&[("log.retention.ms", "3")]);
    let static_broker = map(&[("log.retention.minutes", "4"), ("log.retention.hours", "5")]);
    let value = |topic: &ConfigMap, broker: &ConfigMap, default: &ConfigMap, fixed: &ConfigMap| {
        let layers = ConfigLayers {
            dynamic_broker: broker,
            dynamic_default: default,
            static_broker: fixed,
        };
        layers.topic_value(definition, topic)
    };
    assert_eq!(
        value(&topic, &dynamic_broker, &dynamic_default, &static_broker),
        "1"
    );
    assert_eq!(
        value(&empty, &dynamic_broker, &dynamic_default, &static_broker),
        "2"
    );
    assert_eq!(value(&empty, &empty, &dynamic_default, &static_broker), "3");
    assert_eq!(value(&empty, &empty, &empty, &static_broker), "240000");
    assert_eq!(
        value(
            &empty,
            &empty,
            &empty,
            &map(&[("log.retention.hours", "5")])
        ),
        "18000000"
    );
    assert_eq!(
        value(
            &empty,
            &empty,
            &empty,
            &map(&[("log.retention.hours", "-1")])
        ),
        "-1"
    );
    assert_eq!(value(&empty, &empty, &empty, &empty), "604800000");
    let broken = map(&[("retention.ms", "broken")]);
    assert_eq!(value(&broken, &dynamic_broker, &empty, &empty), "2");
}

#[test]
fn descriptions_carry_source_synonyms_type_and_text() {
    let topic = map(&[("retention.ms", "1")]);
    with_layers(
        &[
            ("log.retention.hours", "5"),
            ("log.segment.bytes", "16777216"),
        ],
        |layers| {
            let all = layers.describe_topic(&topic, None);
            assert_eq!(all.len(), TOPIC_CONFIGS.len());
            let some =
                layers.describe_topic(&topic, Some(&["segment.bytes", "retention.ms", "nope"]));
            assert_eq!(
                some.iter().map(|config| config.name).collect::<Vec<_>>(),
                ["retention.ms", "segment.bytes"]
            );
            let synonyms: Vec<(&str, Option<&str>, i8)> = some[0]
                .synonyms
                .iter()
                .map(|synonym| (synonym.name, synonym.value.as_deref(), synonym.source.id()))
                .collect();
            assert_eq!(
                synonyms,
                [
                    ("retention.ms", Some("1"), 1),
                    ("log.retention.hours", Some("5"), 4),
                    ("log.retention.hours", Some("168"), 5)
                ]
            );
            assert_eq!(
                (some[0].source, some[0].kind.id()),
                (ConfigSource::Topic, 5)
            );
            assert_eq!(some[1].value.as_deref(), Some("16777216"));
            assert_eq!(some[1].source, ConfigSource::StaticBroker);
        },
    );
}

#[test]
fn broker_descriptions_have_what_tools_read() {
    with_layers(&[("num.partitions", "4")], |layers| {
        let all = layers.describe_broker(None);
        let value = |name| {
            let config = all.iter().find(|config| config.name == name).unwrap();
            (
                config.value.as_deref(),
                config.source.id(),
                config.is_read_only,
            )
        };
        assert_eq!(value("num.partitions"), (Some("4"), 4, true));
        assert_eq!(value("default.replication.factor"), (Some("1"), 5, true));
        assert_eq!(value("auto.create.topics.enable"), (Some("true"), 5, true));
        assert_eq!(value("message.max.bytes"), (Some("1048588"), 5, false));
        assert_eq!(value("log.retention.hours"), (Some("168"), 5, true));
        assert_eq!(value("log.retention.ms"), (None, 5, false));
        assert_eq!(value("offsets.retention.minutes"), (Some("10080"), 5, true));
        assert_eq!(layers.broker_number("num.partitions"), 4);
        assert_eq!(layers.broker_number("offsets.topic.num.partitions"), 4);
        assert!(layers.broker_flag("auto.create.topics.enable"));
    });
}

#[test]
fn broker_alterations_know_what_is_fixed() {
    let current = ConfigMap::new();
    let alter = |name, value| {
        with_layers(&[], |layers| {
            alter_broker_configs(
                &current,
                &[change(name, ConfigOperation::Set, value)],
                layers,
            )
        })
    };
    assert!(alter("log.retention.ms", "1000").is_ok());
    assert_eq!(
        alter("num.partitions", "9").unwrap_err().error_code(),
        ErrorCode::InvalidRequest
    );
    assert_eq!(
        alter("nonsense", "9").unwrap_err().error_code(),
        ErrorCode::InvalidConfig
    );
    assert_eq!(
        alter("log.retention.ms", "x").unwrap_err().error_code(),
        ErrorCode::InvalidConfig
    );
    let kept = map(&[("message.max.bytes", "5"), ("log.retention.ms", "6")]);
    let edits = with_layers(&[], |layers| {
        replace_broker_configs(&kept, &[("message.max.bytes", Some("7"))], layers)
    });
    let edits: Vec<(String, Option<String>)> = edits
        .unwrap()
        .into_iter()
        .map(|edit| (edit.name, edit.value))
        .collect();
    assert_eq!(
        edits,
        [
            ("message.max.bytes".to_owned(), Some("7".to_owned())),
            ("log.retention.ms".to_owned(), None)
        ]
    );
}

#[test]
fn defaults_and_overrides_become_typed_values() {
    let config = with_layers(&[], |layers| {
        TopicConfig::resolve(&ConfigMap::new(), layers)
    });
    assert!(config.cleanup_policy.is_delete && !config.cleanup_policy.is_compact);
    assert!(config.is_durable_before_acknowledge());
    assert_eq!(
        (config.retention_ms, config.retention_bytes),
        (Some(604_800_000), None)
    );
    assert_eq!(
        (config.segment_bytes, config.max_message_bytes),
        (1 << 30, 1_048_588)
    );
    assert_eq!(config.message_timestamp_type, TimestampType::CreateTime);
    assert_eq!(config.flush_ms, i64::MAX);

    let topic = map(&[
        ("cleanup.policy", "compact"),
        ("retention.ms", "-1"),
        ("retention.bytes", "0"),
        ("flush.messages", "1000"),
        ("message.timestamp.type", "LogAppendTime"),
        ("min.cleanable.dirty.ratio", "0.25"),
    ]);
    let gateway = [("log.segment.bytes", "16777216")];
    let config = with_layers(&gateway, |layers| TopicConfig::resolve(&topic, layers));
    assert!(!config.cleanup_policy.is_delete && config.cleanup_policy.is_compact);
    assert!(!config.is_durable_before_acknowledge());
    assert_eq!(
        (config.retention_ms, config.retention_bytes),
        (None, Some(0))
    );
    assert_eq!(config.segment_bytes, 16 << 20);
    assert_eq!(config.message_timestamp_type, TimestampType::LogAppendTime);
    assert!((config.min_cleanable_dirty_ratio - 0.25).abs() < f64::EPSILON);
}
