import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.CreateTopicsResult;
import org.apache.kafka.clients.admin.DeletedRecords;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.DescribeTopicsOptions;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.ListConfigResourcesOptions;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.MemberDescription;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ElectionNotNeededException;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.GroupSubscribedToTopicException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.OffsetOutOfRangeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** Every admin call that a broker without transactions, ACLs and quotas answers. */
final class AdminChecks {
    private AdminChecks() {}

    static void addTo(Suite suite) {
        suite.add("created topic is described by name and by id", AdminChecks::createAndDescribe);
        suite.add("topic is deleted by name and by id", AdminChecks::delete);
        suite.add("validate only creates nothing", AdminChecks::validateOnly);
        suite.add("bad new topics are refused, each with its error", AdminChecks::badTopics);
        suite.add("explicit replica assignment is accepted", AdminChecks::assignment);
        suite.add("topics are described in pages", AdminChecks::pages);
        suite.add("partitions can be added but not taken", AdminChecks::partitions);
        suite.add("topic configs are described with sources and synonyms", AdminChecks::describe);
        suite.add("topic configs are altered one by one", AdminChecks::incrementalAlter);
        suite.add("bad configs are refused and change nothing", AdminChecks::badConfigs);
        suite.add("broker configs are described and altered", AdminChecks::brokerConfigs);
        suite.add("config resources are listed", AdminChecks::configResources);
        suite.add("records are deleted up to an offset", AdminChecks::deleteRecords);
        suite.add("offsets of every spec are found", AdminChecks::offsets);
        suite.add("groups are listed, described and deleted", AdminChecks::groups);
        suite.add("group offsets are altered, listed and deleted", AdminChecks::groupOffsets);
        suite.add("cluster and its features are described", AdminChecks::cluster);
        suite.add("log dirs tell the size of a partition", AdminChecks::logDirs);
        suite.add("producers of a partition are described", AdminChecks::producers);
        suite.add("leader election is not needed", AdminChecks::elect);
    }

    private static NewTopic topic(String name, int partitions, int replicas) {
        return new NewTopic(name, partitions, (short) replicas);
    }

    private static void createAndDescribe(Broker broker) throws Exception {
        String name = broker.fresh("admin");
        CreateTopicsResult created = broker.admin.createTopics(
            List.of(topic(name, 3, 1).configs(Map.of("retention.ms", "123456"))));
        created.all().get();
        Uuid id = created.topicId(name).get();
        Broker.equal(3, created.numPartitions(name).get(), "partitions in the answer");
        Broker.equal(1, created.replicationFactor(name).get(), "replicas in the answer");
        Broker.equal("123456", created.config(name).get().get("retention.ms").value(), "config");
        Broker.that(created.config(name).get().entries().size() > 20, "all configs in the answer");
        broker.awaitTopic(name);
        TopicDescription byName =
            broker.admin.describeTopics(List.of(name)).allTopicNames().get().get(name);
        TopicDescription byId = broker.admin.describeTopics(
            TopicCollection.ofTopicIds(List.of(id))).allTopicIds().get().get(id);
        Broker.equal(byName.partitions().size(), byId.partitions().size(), "partitions by id");
        Broker.equal(name, byId.name(), "name by id");
        Broker.equal(id, byName.topicId(), "id by name");
        Broker.equal(3, byName.partitions().size(), "partitions");
        byName.partitions().forEach(partition -> {
            Broker.equal(List.of(partition.leader()), partition.replicas(), "replicas");
            Broker.equal(partition.replicas(), partition.isr(), "replicas in sync");
        });
        Broker.equal(id, broker.admin.listTopics().namesToListings().get().get(name).topicId(),
            "id in the list");
        broker.admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get();
        Broker.fails(TopicExistsException.class,
            () -> broker.admin.createTopics(List.of(topic(name, 3, 1))).all().get());
        String none = broker.fresh("none");
        Broker.fails(UnknownTopicOrPartitionException.class,
            () -> broker.admin.describeTopics(List.of(none)).allTopicNames().get());
        Broker.fails(UnknownTopicIdException.class, () -> broker.admin.describeTopics(
            TopicCollection.ofTopicIds(List.of(Uuid.randomUuid()))).allTopicIds().get());
    }

    private static void delete(Broker broker) throws Exception {
        String first = broker.topic(1);
        String second = broker.topic(1);
        Uuid id = broker.admin.describeTopics(List.of(second)).allTopicNames().get()
            .get(second).topicId();
        broker.admin.deleteTopics(List.of(first)).all().get();
        broker.admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all().get();
        Broker.eventually("both are gone", () -> {
            Set<String> names = broker.admin.listTopics().names().get();
            return !names.contains(first) && !names.contains(second);
        });
        Broker.fails(UnknownTopicOrPartitionException.class,
            () -> broker.admin.deleteTopics(List.of(first)).all().get());
        Broker.fails(UnknownTopicIdException.class, () -> broker.admin.deleteTopics(
            TopicCollection.ofTopicIds(List.of(id))).all().get());
    }

    private static void validateOnly(Broker broker) throws Exception {
        String name = broker.fresh("admin");
        CreateTopicsOptions options = new CreateTopicsOptions().validateOnly(true);
        broker.admin.createTopics(List.of(topic(name, 1, 1)), options).all().get();
        Broker.fails(InvalidReplicationFactorException.class,
            () -> broker.admin.createTopics(List.of(topic(name, 1, 3)), options).all().get());
        Broker.that(!broker.admin.listTopics().names().get().contains(name), "not created");
    }

    private static void badTopics(Broker broker) throws Exception {
        String good = broker.fresh("good");
        Map<NewTopic, Class<? extends KafkaException>> bad = Map.of(
            topic(broker.fresh("bad"), 1, 3), InvalidReplicationFactorException.class,
            topic(broker.fresh("bad"), 0, 1), InvalidPartitionsException.class,
            topic("has space", 1, 1), InvalidTopicException.class,
            topic("x".repeat(250), 1, 1), InvalidTopicException.class,
            topic(broker.fresh("bad"), 1, 1).configs(Map.of("retention.ms", "soon")),
            InvalidConfigurationException.class,
            topic(broker.fresh("bad"), 1, 1).configs(Map.of("no.such", "1")),
            InvalidConfigurationException.class);
        List<NewTopic> all = new ArrayList<>(bad.keySet());
        all.add(topic(good, 1, 1));
        CreateTopicsResult result = broker.admin.createTopics(all);
        for (Map.Entry<NewTopic, Class<? extends KafkaException>> entry : bad.entrySet()) {
            Broker.fails(entry.getValue(), () -> result.values().get(entry.getKey().name()).get());
        }
        result.values().get(good).get();
    }

    private static void assignment(Broker broker) throws Exception {
        int node = broker.admin.describeCluster().nodes().get().iterator().next().id();
        String name = broker.fresh("admin");
        Map<Integer, List<Integer>> replicas = Map.of(0, List.of(node), 1, List.of(node));
        broker.admin.createTopics(List.of(new NewTopic(name, replicas))).all().get();
        broker.awaitTopic(name);
        Broker.equal(2, broker.admin.describeTopics(List.of(name)).allTopicNames().get().get(name)
            .partitions().size(), "partitions");
        Broker.fails(KafkaException.class, () -> broker.admin.createTopics(List.of(
            new NewTopic(broker.fresh("admin"), Map.of(0, List.of(node + 7))))).all().get());
    }

    private static void pages(Broker broker) throws Exception {
        List<String> names = List.of(broker.topic(5), broker.topic(1), broker.topic(4));
        Map<String, TopicDescription> found = broker.admin.describeTopics(
            names, new DescribeTopicsOptions().partitionSizeLimitPerResponse(2))
            .allTopicNames().get();
        Broker.equal(List.of(5, 1, 4),
            names.stream().map(name -> found.get(name).partitions().size()).toList(),
            "partitions over all pages");
    }

    private static void partitions(Broker broker) throws Exception {
        String name = broker.topic(1);
        broker.admin.createPartitions(Map.of(name, NewPartitions.increaseTo(4))).all().get();
        Broker.eventually("four partitions", () -> broker.admin.describeTopics(List.of(name))
            .allTopicNames().get().get(name).partitions().size() == 4);
        for (int total : new int[] {4, 2}) {
            Broker.fails(InvalidPartitionsException.class, () -> broker.admin.createPartitions(
                Map.of(name, NewPartitions.increaseTo(total))).all().get());
        }
        Broker.fails(UnknownTopicOrPartitionException.class, () -> broker.admin.createPartitions(
            Map.of(broker.fresh("none"), NewPartitions.increaseTo(2))).all().get());
    }

    private static ConfigResource resource(String topic) {
        return new ConfigResource(ConfigResource.Type.TOPIC, topic);
    }

    private static Map<String, ConfigEntry> configs(Broker broker, ConfigResource resource)
            throws Exception {
        return broker.admin.describeConfigs(
                List.of(resource),
                new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true))
            .all().get().get(resource).entries().stream()
            .collect(Collectors.toMap(ConfigEntry::name, entry -> entry));
    }

    private static void describe(Broker broker) throws Exception {
        String name = broker.topic(1, "segment.bytes", "1048576");
        Map<String, ConfigEntry> found = configs(broker, resource(name));
        Map<String, String> expected = Map.of(
            "cleanup.policy", "delete", "compression.type", "producer", "retention.bytes", "-1",
            "retention.ms", "604800000", "segment.bytes", "1048576", "min.insync.replicas", "1",
            "message.timestamp.type", "CreateTime", "delete.retention.ms", "86400000");
        expected.forEach((key, value) -> Broker.equal(value, found.get(key).value(), key));
        ConfigEntry set = found.get("segment.bytes");
        Broker.equal(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, set.source(), "source");
        Broker.equal(ConfigEntry.ConfigType.INT, set.type(), "type");
        Broker.equal("1048576", set.synonyms().get(0).value(), "first synonym");
        Broker.equal(ConfigEntry.ConfigSource.DEFAULT_CONFIG, found.get("retention.ms").source(),
            "source of a default");
        Broker.that(!set.isReadOnly() && !set.isSensitive(), "may be read and written");
        Broker.fails(UnknownTopicOrPartitionException.class,
            () -> configs(broker, resource(broker.fresh("none"))));
    }

    private static void alter(Broker broker, ConfigResource resource, AlterConfigOp... operations)
            throws Exception {
        broker.admin.incrementalAlterConfigs(Map.of(resource, List.of(operations))).all().get();
    }

    private static AlterConfigOp operation(AlterConfigOp.OpType type, String key, String value) {
        return new AlterConfigOp(new ConfigEntry(key, value), type);
    }

    private static void incrementalAlter(Broker broker) throws Exception {
        ConfigResource resource = resource(broker.topic(1, "retention.ms", "1000000"));
        alter(broker, resource,
            operation(AlterConfigOp.OpType.SET, "segment.ms", "5000000"),
            operation(AlterConfigOp.OpType.DELETE, "retention.ms", ""),
            operation(AlterConfigOp.OpType.APPEND, "cleanup.policy", "compact"));
        Broker.eventually("altered", () -> {
            Map<String, ConfigEntry> found = configs(broker, resource);
            return found.get("segment.ms").value().equals("5000000")
                && found.get("retention.ms").value().equals("604800000")
                && Set.of(found.get("cleanup.policy").value().split(","))
                    .equals(Set.of("delete", "compact"));
        });
        alter(broker, resource,
            operation(AlterConfigOp.OpType.SUBTRACT, "cleanup.policy", "delete"));
        Broker.eventually("subtracted", () ->
            configs(broker, resource).get("cleanup.policy").value().equals("compact"));
    }

    private static void badConfigs(Broker broker) throws Exception {
        ConfigResource resource = resource(broker.topic(1));
        for (AlterConfigOp bad : List.of(
                operation(AlterConfigOp.OpType.SET, "retention.ms", "soon"),
                operation(AlterConfigOp.OpType.SET, "no.such", "1"),
                operation(AlterConfigOp.OpType.SET, "cleanup.policy", "shred"),
                operation(AlterConfigOp.OpType.APPEND, "retention.ms", "5"))) {
            Broker.fails(InvalidConfigurationException.class, () -> {
                alter(broker, resource, bad,
                    operation(AlterConfigOp.OpType.SET, "segment.ms", "5000000"));
                return null;
            });
        }
        String unchanged = configs(broker, resource).get("segment.ms").value();
        Broker.equal("604800000", unchanged, "segment.ms");
        Broker.fails(UnknownTopicOrPartitionException.class, () -> {
            alter(broker, resource(broker.fresh("none")),
                operation(AlterConfigOp.OpType.SET, "segment.ms", "5000000"));
            return null;
        });
    }

    private static void brokerConfigs(Broker broker) throws Exception {
        int node = broker.admin.describeCluster().nodes().get().iterator().next().id();
        ConfigResource resource =
            new ConfigResource(ConfigResource.Type.BROKER, String.valueOf(node));
        Map<String, ConfigEntry> found = configs(broker, resource);
        Broker.equal("true", found.get("auto.create.topics.enable").value(), "auto creation");
        Broker.that(Integer.parseInt(found.get("num.partitions").value()) >= 1, "num.partitions");
        String before = found.get("message.max.bytes").value();
        alter(broker, resource,
            operation(AlterConfigOp.OpType.SET, "message.max.bytes", "2000000"));
        Broker.eventually("set", () ->
            configs(broker, resource).get("message.max.bytes").value().equals("2000000"));
        Broker.equal(ConfigEntry.ConfigSource.DYNAMIC_BROKER_CONFIG,
            configs(broker, resource).get("message.max.bytes").source(), "source");
        alter(broker, resource, operation(AlterConfigOp.OpType.DELETE, "message.max.bytes", ""));
        Broker.eventually("as before", () ->
            configs(broker, resource).get("message.max.bytes").value().equals(before));
    }

    private static void configResources(Broker broker) throws Exception {
        String name = broker.topic(1);
        Collection<ConfigResource> topics = broker.admin.listConfigResources(
            Set.of(ConfigResource.Type.TOPIC), new ListConfigResourcesOptions()).all().get();
        Broker.that(topics.contains(resource(name)), "the topic is listed");
        Broker.that(topics.stream().allMatch(r -> r.type() == ConfigResource.Type.TOPIC), "type");
        Collection<ConfigResource> all = broker.admin.listConfigResources().all().get();
        Broker.that(all.stream().anyMatch(r -> r.type() == ConfigResource.Type.BROKER), "brokers");
    }

    private static long earliest(Broker broker, TopicPartition partition) throws Exception {
        return broker.admin.listOffsets(Map.of(partition, OffsetSpec.earliest()))
            .partitionResult(partition).get().offset();
    }

    private static void deleteRecords(Broker broker) throws Exception {
        String name = broker.topic(1);
        TopicPartition partition = new TopicPartition(name, 0);
        broker.sendNumbers(name, 0, 0, 10);
        DeletedRecords deleted = broker.admin.deleteRecords(
            Map.of(partition, RecordsToDelete.beforeOffset(4)))
            .lowWatermarks().get(partition).get();
        Broker.equal(4L, deleted.lowWatermark(), "low watermark");
        Broker.equal(4L, earliest(broker, partition), "start");
        Broker.equal(4L, Broker.take(broker.reader(name, 0, 0), 6).get(0).offset(), "first record");
        Broker.fails(OffsetOutOfRangeException.class, () -> broker.admin.deleteRecords(
            Map.of(partition, RecordsToDelete.beforeOffset(11))).all().get());
        broker.admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(-1))).all().get();
        Broker.equal(10L, earliest(broker, partition), "start after deleting all");
        broker.sendNumbers(name, 0, 10, 12);
        Broker.equal(10L, Broker.take(broker.reader(name, 0, 10), 2).get(0).offset(), "goes on");
    }

    private static void offsets(Broker broker) throws Exception {
        String name = broker.topic(1);
        TopicPartition partition = new TopicPartition(name, 0);
        Producer<byte[], byte[]> producer = broker.producer("linger.ms", "0");
        // The greatest timestamp is not the last record's.
        for (long timestamp : new long[] {1_000, 2_000, 5_000, 3_000}) {
            producer.send(new ProducerRecord<>(name, 0, timestamp, null, new byte[1])).get();
        }
        Map<OffsetSpec, List<Long>> expected = Map.of(
            OffsetSpec.earliest(), List.of(0L, -1L),
            OffsetSpec.latest(), List.of(4L, -1L),
            OffsetSpec.maxTimestamp(), List.of(2L, 5_000L),
            OffsetSpec.forTimestamp(1_500), List.of(1L, 2_000L),
            OffsetSpec.forTimestamp(5_001), List.of(-1L, -1L),
            OffsetSpec.earliestLocal(), List.of(0L, -1L),
            OffsetSpec.latestTiered(), List.of(-1L, -1L));
        for (Map.Entry<OffsetSpec, List<Long>> entry : expected.entrySet()) {
            ListOffsetsResultInfo found = broker.admin.listOffsets(
                Map.of(partition, entry.getKey())).partitionResult(partition).get();
            Broker.equal(entry.getValue(), List.of(found.offset(), found.timestamp()),
                entry.getKey().getClass().getSimpleName());
        }
        // Kafka's first epoch is 0; a broker whose epochs are Raft terms begins at 1.
        Optional<Integer> epoch = broker.admin.listOffsets(
            Map.of(partition, OffsetSpec.latest())).partitionResult(partition).get().leaderEpoch();
        Broker.that(epoch.isPresent() && epoch.get() >= 0, "leader epoch " + epoch);
    }

    private static Optional<GroupListing> listed(Broker broker, String group) throws Exception {
        return broker.admin.listGroups().all().get().stream()
            .filter(listing -> listing.groupId().equals(group)).findFirst();
    }

    private static void groups(Broker broker) throws Exception {
        String name = broker.topic(2);
        String group = broker.fresh("group");
        GroupChecks.Member member = new GroupChecks.Member(
            broker, name, group, "client.id", "the-client", "group.instance.id", "the-instance");
        GroupChecks.settle(2, member);
        GroupListing listing = listed(broker, group).orElseThrow();
        Broker.equal("consumer", listing.protocol(), "protocol");
        Broker.equal(Optional.of(GroupState.STABLE), listing.groupState(), "state in the list");
        Broker.equal("Classic", listing.type().orElseThrow().toString(), "type in the list");
        Broker.that(broker.admin.listGroups(
            new ListGroupsOptions().inGroupStates(Set.of(GroupState.EMPTY))).all().get().stream()
            .noneMatch(found -> found.groupId().equals(group)), "not listed as empty");
        ConsumerGroupDescription found =
            broker.admin.describeConsumerGroups(List.of(group)).all().get().get(group);
        Broker.equal(GroupState.STABLE, found.groupState(), "state");
        Broker.equal("range", found.partitionAssignor(), "assignor");
        Broker.that(found.coordinator().id() >= 0, "coordinator");
        MemberDescription only = found.members().iterator().next();
        Broker.equal("the-client", only.clientId(), "client id");
        Broker.equal(Optional.of("the-instance"), only.groupInstanceId(), "instance id");
        Broker.equal("/127.0.0.1", only.host(), "host");
        Broker.equal(2, only.assignment().topicPartitions().size(), "assignment");
        Broker.equal(only.consumerId(), broker.admin.describeClassicGroups(List.of(group)).all()
            .get().get(group).members().iterator().next().consumerId(), "member as classic group");
        Broker.fails(GroupNotEmptyException.class,
            () -> broker.admin.deleteConsumerGroups(List.of(group)).all().get());
        member.consumer.commitSync();
        member.consumer.close();
        broker.admin.removeMembersFromConsumerGroup(group,
            new org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions()).all().get();
        broker.admin.deleteConsumerGroups(List.of(group)).all().get();
        Broker.equal(Optional.empty(), listed(broker, group), "listing after deletion");
        Broker.fails(GroupIdNotFoundException.class,
            () -> broker.admin.deleteConsumerGroups(List.of(group)).all().get());
        Broker.fails(GroupIdNotFoundException.class,
            () -> broker.admin.describeConsumerGroups(List.of(group)).all().get());
    }

    private static void groupOffsets(Broker broker) throws Exception {
        String name = broker.topic(3);
        String group = broker.fresh("group");
        TopicPartition zero = new TopicPartition(name, 0);
        TopicPartition two = new TopicPartition(name, 2);
        Map<TopicPartition, OffsetAndMetadata> wanted = Map.of(
            zero, new OffsetAndMetadata(5, Optional.of(0), "note"),
            two, new OffsetAndMetadata(9));
        broker.admin.alterConsumerGroupOffsets(group, wanted).all().get();
        Broker.equal(wanted, offsetsOf(broker, group), "offsets");
        broker.admin.deleteConsumerGroupOffsets(group, Set.of(zero)).all().get();
        Broker.equal(Set.of(two), offsetsOf(broker, group).keySet(), "remaining offsets");
        GroupChecks.Member member = new GroupChecks.Member(broker, name, group);
        GroupChecks.settle(3, member);
        Broker.fails(GroupSubscribedToTopicException.class, () -> broker.admin
            .deleteConsumerGroupOffsets(group, Set.of(two)).partitionResult(two).get());
        Broker.fails(KafkaException.class,
            () -> broker.admin.alterConsumerGroupOffsets(group, wanted).all().get());
        Broker.fails(UnknownTopicOrPartitionException.class, () -> broker.admin
            .alterConsumerGroupOffsets(broker.fresh("group"),
                Map.of(new TopicPartition(broker.fresh("none"), 0), new OffsetAndMetadata(1)))
            .all().get());
        Broker.equal(Map.of(), offsetsOf(broker, broker.fresh("none")), "offsets of no group");
    }

    private static Map<TopicPartition, OffsetAndMetadata> offsetsOf(Broker broker, String group)
            throws ExecutionException, InterruptedException {
        return broker.admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
    }

    private static void cluster(Broker broker) throws Exception {
        DescribeClusterResult cluster = broker.admin.describeCluster();
        Broker.that(!cluster.clusterId().get().isEmpty(), "cluster id");
        Broker.equal(1, cluster.nodes().get().size(), "nodes");
        Broker.equal(cluster.nodes().get().iterator().next().id(), cluster.controller().get().id(),
            "controller");
        Broker.equal(broker.bootstrap, cluster.controller().get().host() + ":"
            + cluster.controller().get().port(), "address");
        broker.admin.describeFeatures().featureMetadata().get();
    }

    private static void logDirs(Broker broker) throws Exception {
        String name = broker.topic(1);
        broker.sendNumbers(name, 0, 0, 1_000);
        int node = broker.admin.describeCluster().nodes().get().iterator().next().id();
        Map<String, LogDirDescription> found =
            broker.admin.describeLogDirs(List.of(node)).allDescriptions().get().get(node);
        long size = found.values().stream()
            .flatMap(directory -> directory.replicaInfos().entrySet().stream())
            .filter(entry -> entry.getKey().equals(new TopicPartition(name, 0)))
            .mapToLong(entry -> entry.getValue().size()).sum();
        Broker.that(size > 3_000, "bytes of 1,000 records: " + size);
        found.values().forEach(directory -> {
            Broker.equal(null, directory.error(), "error of a directory");
            Broker.that(directory.totalBytes().orElse(0) > 0, "total bytes");
            Broker.that(directory.usableBytes().orElse(0) > 0, "usable bytes");
        });
    }

    private static void producers(Broker broker) throws Exception {
        String name = broker.topic(1);
        TopicPartition partition = new TopicPartition(name, 0);
        Producer<byte[], byte[]> producer = broker.producer("linger.ms", "0");
        for (int i = 0; i < 3; i++) {
            producer.send(new ProducerRecord<>(name, 0, null, new byte[1])).get();
        }
        List<ProducerState> found = broker.admin.describeProducers(List.of(partition))
            .partitionResult(partition).get().activeProducers();
        Broker.equal(1, found.size(), "active producers");
        Broker.equal(2, found.get(0).lastSequence(), "last sequence");
        Broker.equal(0, found.get(0).producerEpoch(), "producer epoch");
        Broker.that(found.get(0).producerId() >= 0, "producer id");
    }

    private static void elect(Broker broker) throws Exception {
        TopicPartition partition = new TopicPartition(broker.topic(1), 0);
        Optional<Throwable> result = broker.admin.electLeaders(
            ElectionType.PREFERRED, Set.of(partition)).partitions().get().get(partition);
        Broker.that(result.orElseThrow() instanceof ElectionNotNeededException, "not needed");
        TopicPartition none = new TopicPartition(broker.fresh("none"), 0);
        Broker.that(broker.admin.electLeaders(ElectionType.PREFERRED, Set.of(none)).partitions()
            .get().get(none).orElseThrow() instanceof UnknownTopicOrPartitionException, "unknown");
    }
}
