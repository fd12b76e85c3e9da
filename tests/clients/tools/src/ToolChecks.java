import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What people type: kafka-topics, kafka-console-producer and the like. */
final class ToolChecks {
    private static final String TOOLS = "org.apache.kafka.tools.";
    private static final String TOPICS = TOOLS + "TopicCommand";
    private static final String GROUPS = TOOLS + "consumer.group.ConsumerGroupCommand";
    private static final String CONFIGS = "kafka.admin.ConfigCommand";
    private static final String OFFSETS = TOOLS + "GetOffsetShell";
    /** Whether the broker serves what Sluice refuses. */
    private static final boolean IS_KAFKA = "kafka".equals(System.getenv("BROKER"));

    private ToolChecks() {}

    static void addTo(Suite suite) {
        suite.add("kafka-topics", ToolChecks::topics);
        suite.add("kafka-console-producer and -consumer", ToolChecks::console);
        suite.add("kafka-consumer-groups", ToolChecks::groups);
        suite.add("kafka-configs", ToolChecks::configs);
        suite.add("kafka-get-offsets", ToolChecks::offsets);
        suite.add("kafka-log-dirs", ToolChecks::logDirectories);
        suite.add("kafka-delete-records", ToolChecks::deleteRecords);
        suite.add("kafka-producer-perf-test and kafka-consumer-perf-test", ToolChecks::speed);
        suite.add("kafka-e2e-latency", ToolChecks::latency);
        suite.add("kafka-verifiable-producer and -consumer", ToolChecks::verifiable);
        suite.add("kafka-broker-api-versions", ToolChecks::versions);
        suite.add("kafka-cluster", ToolChecks::cluster);
        suite.add("kafka-leader-election", ToolChecks::election);
        suite.add("kafka-reassign-partitions --list", ToolChecks::reassignments);
        suite.add("kafka-transactions", ToolChecks::transactions);
        suite.add("kafka-streams-application-reset", ToolChecks::reset);
        suite.add("kafka-acls is told that there are none", ToolChecks::accessRules);
        suite.add("kafka-metadata-quorum is refused", ToolChecks::quorum);
    }

    private static String[] at(Broker broker, String... arguments) {
        List<String> all = new ArrayList<>(List.of("--bootstrap-server", broker.bootstrap));
        all.addAll(Arrays.asList(arguments));
        return all.toArray(String[]::new);
    }

    private static void has(String output, String... wanted) {
        for (String part : wanted) {
            if (!output.contains(part)) {
                throw new AssertionError("no \"" + part + "\" in\n" + output);
            }
        }
    }

    /** The first group of a pattern that must be in the output. */
    private static String find(String output, String pattern) {
        Matcher matcher = Pattern.compile(pattern).matcher(output);
        Broker.that(matcher.find(), pattern + " is in\n" + output);
        return matcher.group(1);
    }

    private static Path file(String text) throws Exception {
        Path path = Files.createTempFile("tool", ".json");
        path.toFile().deleteOnExit();
        return Files.writeString(path, text);
    }

    private static void topics(Broker broker) throws Exception {
        String topic = broker.fresh("tool");
        String[] create = at(broker, "--create", "--topic", topic, "--partitions", "3",
            "--config", "retention.ms=100000");
        has(Tool.run(TOPICS, create), "Created topic " + topic);
        has(Tool.run("", 1, TOPICS, create), "already exists");
        has(Tool.run(TOPICS, at(broker, "--list")), topic);
        Tool.run(TOPICS, at(broker, "--alter", "--topic", topic, "--partitions", "4"));
        String described = Tool.run(TOPICS, at(broker, "--describe", "--topic", topic));
        has(described, "PartitionCount: 4", "ReplicationFactor: 1", "retention.ms=100000",
            "Partition: 3\tLeader: 1\tReplicas: 1\tIsr: 1");
        String lacking =
            Tool.run(TOPICS, at(broker, "--describe", "--under-replicated-partitions"));
        Broker.that(!lacking.contains("Partition:"), "all replicas are there:\n" + lacking);
        Tool.run(TOPICS, at(broker, "--delete", "--topic", topic));
        Broker.eventually("deleted",
            () -> !Tool.run(TOPICS, at(broker, "--list")).contains(topic));
        has(Tool.run("", 1, TOPICS, at(broker, "--describe", "--topic", topic)), "does not exist");
    }

    private static void console(Broker broker) throws Exception {
        String topic = broker.topic(1);
        String producer = TOOLS + "ConsoleProducer";
        Tool.run("k1:v1\nk2:NULL\n", 0, producer, at(broker, "--topic", topic, "--reader-property",
            "parse.key=true", "--reader-property", "key.separator=:", "--reader-property",
            "null.marker=NULL"));
        Tool.run("h1:a,h2:b\tk3\tv3\n", 0, producer, at(broker, "--topic", topic,
            "--reader-property", "parse.key=true", "--reader-property", "parse.headers=true",
            "--compression-codec", "zstd"));
        // The tool counts its messages for the life of the JVM: it runs once here.
        String read = Tool.run(TOOLS + "consumer.ConsoleConsumer", at(broker, "--topic", topic,
            "--from-beginning", "--max-messages", "3", "--timeout-ms", "15000",
            "--formatter-property", "print.key=true", "--formatter-property", "print.headers=true",
            "--formatter-property", "print.offset=true"));
        has(read, "Offset:0\tNO_HEADERS\tk1\tv1\n", "Offset:1\tNO_HEADERS\tk2\tnull\n",
            "Offset:2\th1:a,h2:b\tk3\tv3\n", "Processed a total of 3 messages");
    }

    private static void groups(Broker broker) throws Exception {
        String topic = broker.topic(2);
        String group = broker.fresh("tool-group");
        broker.sendNumbers(topic, 0, 0, 10);
        String[] reset = at(broker, "--group", group, "--topic", topic, "--reset-offsets",
            "--to-offset", "4", "--execute");
        has(Tool.run(GROUPS, reset), group);
        has(Tool.run(GROUPS, at(broker, "--list", "--state")), group);
        String described = Tool.run(GROUPS, at(broker, "--describe", "--group", group));
        find(described, "(" + topic + " +0 +4 +10 +6 )");
        has(Tool.run(GROUPS, at(broker, "--describe", "--group", group, "--state")), "Empty");
        String moved = Tool.run(GROUPS, at(broker, "--group", group, "--topic", topic,
            "--reset-offsets", "--shift-by", "3", "--execute"));
        find(moved, "(" + topic + " +0 +7)");
        has(Tool.run(GROUPS, at(broker, "--group", group, "--topic", topic + ":0",
            "--delete-offsets")), "Successful");
        has(Tool.run(GROUPS, at(broker, "--group", group, "--delete")), "was successful");
        Broker.that(!Tool.run(GROUPS, at(broker, "--list")).contains(group), "deleted");
        has(Tool.run(GROUPS, at(broker, "--describe", "--group", group)), "not found");
    }

    private static void configs(Broker broker) throws Exception {
        String topic = broker.topic(1);
        String[] entity = at(broker, "--entity-type", "topics", "--entity-name", topic);
        has(Tool.run(CONFIGS, and(entity, "--alter", "--add-config",
            "retention.ms=5000,cleanup.policy=[compact,delete]")), "Completed");
        has(Tool.run(CONFIGS, and(entity, "--describe")), "retention.ms=5000",
            "cleanup.policy=compact,delete");
        Tool.run(CONFIGS, and(entity, "--alter", "--delete-config", "retention.ms"));
        has(Tool.run(CONFIGS, and(entity, "--describe", "--all")), "retention.ms=604800000",
            "max.message.bytes=1048588");
        has(Tool.run("", 1, CONFIGS, and(entity, "--alter", "--add-config", "retention.ms=many")),
            "retention.ms");
        has(Tool.run(CONFIGS, at(broker, "--entity-type", "brokers", "--entity-name", "1",
            "--describe", "--all")), "auto.create.topics.enable");
    }

    private static String[] and(String[] first, String... more) {
        String[] all = Arrays.copyOf(first, first.length + more.length);
        System.arraycopy(more, 0, all, first.length, more.length);
        return all;
    }

    private static void offsets(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.sendNumbers(topic, 0, 0, 10);
        for (String[] one : new String[][] {
            {"-1", ":10"}, {"-2", ":0"}, {"-3", ":"}, {"-4", ":0"}, {"0", ":0"},
        }) {
            has(Tool.run(OFFSETS, at(broker, "--topic", topic, "--time", one[0])),
                topic + ":0" + one[1]);
        }
    }

    private static void logDirectories(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.sendNumbers(topic, 0, 0, 10);
        String output = Tool.run(
            TOOLS + "LogDirsCommand", at(broker, "--describe", "--topic-list", topic));
        has(output, "\"partition\":\"" + topic + "-0\"", "\"error\":null");
    }

    private static void deleteRecords(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.sendNumbers(topic, 0, 0, 10);
        Path file = file("{\"version\":1,\"partitions\":[{\"topic\":\"" + topic
            + "\",\"partition\":0,\"offset\":6}]}");
        has(Tool.run(TOOLS + "DeleteRecordsCommand",
            at(broker, "--offset-json-file", file.toString())), "low_watermark: 6");
        has(Tool.run(OFFSETS, at(broker, "--topic", topic, "--time", "-2")), topic + ":0:6");
    }

    private static void speed(Broker broker) throws Exception {
        String topic = broker.topic(2);
        has(Tool.run(TOOLS + "ProducerPerformance", at(broker, "--topic", topic, "--num-records",
            "20000", "--record-size", "200", "--throughput", "-1")), "20000 records sent");
        String read = Tool.run(TOOLS + "ConsumerPerformance", at(broker, "--topic", topic,
            "--num-records", "20000", "--timeout", "15000"));
        Broker.that(!read.contains("WARNING"), "all records are consumed:\n" + read);
    }

    private static void latency(Broker broker) throws Exception {
        has(Tool.run(TOOLS + "EndToEndLatency", at(broker, "--topic", broker.topic(1),
            "--num-records", "100", "--producer-acks", "all", "--record-size", "100")),
            "Percentiles");
    }

    private static void verifiable(Broker broker) throws Exception {
        String topic = broker.topic(1);
        // The tool asks to exit before its last answers are there.
        Tool.run(TOOLS + "VerifiableProducer",
            at(broker, "--topic", topic, "--max-messages", "50"));
        Broker.eventually("50 records",
            () -> Tool.run(OFFSETS, at(broker, "--topic", topic)).contains(":50"));
        has(Tool.run(TOOLS + "VerifiableConsumer", at(broker, "--topic", topic, "--group-id",
            broker.fresh("verifiable"), "--max-messages", "50")), "\"maxOffset\":49",
            "\"offset\":50}],\"success\":true");
    }

    private static void versions(Broker broker) throws Exception {
        String output = Tool.run(TOOLS + "BrokerApiVersionsCommand", at(broker));
        has(output, "Produce(0): 0 to 13", "SaslHandshake(17): 0 to 1");
    }

    private static void cluster(Broker broker) throws Exception {
        find(Tool.run(TOOLS + "ClusterTool", andFirst("cluster-id", at(broker))),
            "Cluster ID: (\\S{22})");
        has(Tool.run(TOOLS + "ClusterTool", andFirst("list-endpoints", at(broker))), "unfenced");
    }

    private static String[] andFirst(String first, String... more) {
        return and(new String[] {first}, more);
    }

    private static void election(Broker broker) throws Exception {
        String topic = broker.topic(1);
        has(Tool.run(TOOLS + "LeaderElectionCommand", at(broker, "--election-type", "preferred",
            "--topic", topic, "--partition", "0")), "Valid replica already elected");
    }

    private static void reassignments(Broker broker) throws Exception {
        has(Tool.run(TOOLS + "reassign.ReassignPartitionsCommand", at(broker, "--list")),
            "No partition reassignments found.");
    }

    private static void transactions(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.sendNumbers(topic, 0, 0, 3);
        String tool = TOOLS + "TransactionsCommand";
        has(Tool.run(tool, and(at(broker), "list")), "TransactionalId");
        find(Tool.run(tool, and(at(broker), "describe-producers", "--topic", topic,
            "--partition", "0")), "(\n\\d+ +\t0 )");
    }

    private static void reset(Broker broker) throws Exception {
        String topic = broker.topic(2);
        has(Tool.run(TOOLS + "StreamsResetter", at(broker, "--application-id",
            broker.fresh("application"), "--input-topics", topic)),
            "Topic: " + topic + " Partition: 1 Offset: 0");
    }

    private static void accessRules(Broker broker) throws Exception {
        has(Tool.run("", 1, TOOLS + "AclCommand", at(broker, "--list")),
            "No Authorizer is configured on the broker");
    }

    private static void quorum(Broker broker) throws Exception {
        String[] arguments = and(at(broker), "describe", "--status");
        if (IS_KAFKA) {
            has(Tool.run(TOOLS + "MetadataQuorumCommand", arguments), "LeaderId");
            return;
        }
        has(Tool.run("", 1, TOOLS + "MetadataQuorumCommand", arguments),
            "does not support DESCRIBE_QUORUM");
    }
}
