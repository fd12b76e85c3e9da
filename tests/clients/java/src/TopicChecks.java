import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** Topics that appear, disappear and come back while clients use them. */
final class TopicChecks {
    private TopicChecks() {}

    static void addTo(Suite suite) {
        suite.add("produce to a missing topic creates it", TopicChecks::autoCreate);
        suite.add("consumer of a missing topic creates it", TopicChecks::consumerCreates);
        suite.add("consumer that may not create waits for the topic", TopicChecks::waits);
        suite.add("bad topic name is refused", TopicChecks::badName);
        suite.add("producer goes on after its topic was made again", TopicChecks::producerAgain);
        suite.add("consumer goes on after its topic was made again", TopicChecks::consumerAgain);
        suite.add("group offsets are gone with the topic", TopicChecks::offsetsGone);
        suite.add("producer finds partitions added later", TopicChecks::addedPartitions);
    }

    private static void autoCreate(Broker broker) throws Exception {
        String topic = broker.fresh("auto");
        broker.sendNumbers(topic, 0, 0, 3);
        Broker.take(broker.reader(topic, 0, 0), 3);
    }

    private static void consumerCreates(Broker broker) throws Exception {
        String topic = broker.fresh("auto");
        Consumer<byte[], byte[]> consumer = broker.consumer("group.id", broker.fresh("group"),
            "metadata.max.age.ms", "200");
        consumer.subscribe(List.of(topic));
        Broker.eventually("assigned", () -> {
            consumer.poll(Duration.ofMillis(50));
            return !consumer.assignment().isEmpty();
        });
    }

    private static void waits(Broker broker) throws Exception {
        String topic = broker.fresh("later");
        Consumer<byte[], byte[]> consumer = broker.consumer("group.id", broker.fresh("group"),
            "metadata.max.age.ms", "200", "allow.auto.create.topics", "false");
        consumer.subscribe(List.of(topic));
        consumer.poll(Duration.ofMillis(500));
        Broker.fails(UnknownTopicOrPartitionException.class,
            () -> broker.admin.describeTopics(List.of(topic)).allTopicNames().get());
        broker.admin.createTopics(List.of(
            new org.apache.kafka.clients.admin.NewTopic(topic, 1, (short) 1))).all().get();
        broker.awaitTopic(topic);
        broker.sendNumbers(topic, 0, 0, 1);
        Broker.take(consumer, 1);
    }

    private static void badName(Broker broker) throws Exception {
        Producer<byte[], byte[]> producer = broker.producer("max.block.ms", "3000");
        Broker.fails(InvalidTopicException.class,
            () -> producer.send(new ProducerRecord<>("has space", new byte[1])).get());
    }

    private static void producerAgain(Broker broker) throws Exception {
        String topic = broker.topic(1);
        Producer<byte[], byte[]> producer =
            broker.producer("metadata.max.age.ms", "200", "delivery.timeout.ms", "20000",
                "request.timeout.ms", "5000");
        for (int i = 0; i < 10; i++) {
            producer.send(new ProducerRecord<>(topic, Broker.text(i))).get();
        }
        broker.makeAgain(topic, 1);
        RecordMetadata[] stored = new RecordMetadata[1];
        Broker.eventually("a record in the new topic", () -> {
            try {
                stored[0] = producer.send(new ProducerRecord<>(topic, Broker.text("new"))).get();
                return true;
            } catch (ExecutionException failure) {
                boolean transientError = failure.getCause() instanceof TimeoutException
                    || failure.getCause() instanceof UnknownTopicOrPartitionException;
                if (transientError) {
                    return false;
                }
                throw failure;
            }
        });
        Broker.equal(0L, stored[0].offset(), "first offset of the new topic");
        ConsumerRecord<byte[], byte[]> found = Broker.take(broker.reader(topic, 0, 0), 1).get(0);
        Broker.equal("new", Broker.text(found.value()), "record of the new topic");
    }

    private static void consumerAgain(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.sendNumbers(topic, 0, 0, 5);
        Consumer<byte[], byte[]> consumer =
            broker.consumer("group.id", broker.fresh("group"), "metadata.max.age.ms", "200");
        consumer.subscribe(List.of(topic));
        Broker.take(consumer, 5);
        broker.makeAgain(topic, 1);
        broker.sendNumbers(topic, 0, 100, 102);
        String first = Broker.text(Broker.take(consumer, 2).get(0).value());
        Broker.equal("100", first, "first new record");
    }

    private static void offsetsGone(Broker broker) throws Exception {
        String topic = broker.topic(1);
        String group = broker.fresh("group");
        TopicPartition partition = new TopicPartition(topic, 0);
        broker.sendNumbers(topic, 0, 0, 5);
        try (Consumer<byte[], byte[]> consumer = broker.consumer("group.id", group)) {
            consumer.subscribe(List.of(topic));
            Broker.take(consumer, 5);
            consumer.commitSync();
        }
        broker.makeAgain(topic, 1);
        Consumer<byte[], byte[]> consumer = broker.consumer("group.id", group);
        Broker.eventually("no committed offset", () ->
            consumer.committed(Set.of(partition)).get(partition) == null);
    }

    private static void addedPartitions(Broker broker) throws Exception {
        String topic = broker.topic(1);
        Producer<byte[], byte[]> producer = broker.producer("metadata.max.age.ms", "200");
        Broker.equal(1, producer.partitionsFor(topic).size(), "partitions before");
        broker.admin.createPartitions(Map.of(
            topic, org.apache.kafka.clients.admin.NewPartitions.increaseTo(3))).all().get();
        Broker.eventually("three partitions", () -> producer.partitionsFor(topic).size() == 3);
        producer.send(new ProducerRecord<>(topic, 2, null, Broker.text("x"))).get();
        Broker.take(broker.reader(topic, 2, 0), 1);
    }
}
