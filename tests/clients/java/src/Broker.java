import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The broker under test: clients for it, fresh names, and waiting with deadlines. */
final class Broker implements AutoCloseable {
    final String bootstrap;
    final Admin admin;
    private final AtomicInteger names = new AtomicInteger();
    private final List<AutoCloseable> clients = Collections.synchronizedList(new ArrayList<>());

    Broker(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    @Override
    public void close() {
        closeClients();
        admin.close(Duration.ofSeconds(5));
    }

    /** Closes what the last check opened; members go away without leaving their groups. */
    void closeClients() {
        for (AutoCloseable client : List.copyOf(clients)) {
            try {
                if (client instanceof Consumer<?, ?> consumer) {
                    consumer.close(CloseOptions.timeout(Duration.ZERO)
                        .withGroupMembershipOperation(
                            CloseOptions.GroupMembershipOperation.REMAIN_IN_GROUP));
                } else if (client instanceof Producer<?, ?> producer) {
                    producer.close(Duration.ZERO);
                } else {
                    client.close();
                }
            } catch (Exception alreadyClosedOrInUse) {
                // The check is over either way.
            }
        }
        clients.clear();
    }

    String fresh(String word) {
        return word + "-" + ProcessHandle.current().pid() + "-" + names.incrementAndGet();
    }

    /** A new topic; configs are name, value, name, value. It can be used when this returns. */
    String topic(int partitions, String... configs) throws Exception {
        String name = fresh("java");
        NewTopic topic = new NewTopic(name, partitions, (short) 1).configs(pairs(configs));
        admin.createTopics(List.of(topic)).all().get(15, TimeUnit.SECONDS);
        awaitTopic(name);
        return name;
    }

    void awaitTopic(String name) throws Exception {
        eventually("topic " + name + " is there", () -> {
            try {
                return admin.describeTopics(List.of(name)).allTopicNames().get() != null;
            } catch (ExecutionException failure) {
                if (failure.getCause() instanceof UnknownTopicOrPartitionException) {
                    return false;
                }
                throw failure;
            }
        });
    }

    /** Deletes a topic and makes it again under the same name. */
    void makeAgain(String name, int partitions) throws Exception {
        admin.deleteTopics(List.of(name)).all().get(15, TimeUnit.SECONDS);
        eventually("topic made again", () -> {
            try {
                admin.createTopics(List.of(new NewTopic(name, partitions, (short) 1))).all().get();
                return true;
            } catch (ExecutionException failure) {
                if (failure.getCause() instanceof TopicExistsException) {
                    return false;
                }
                throw failure;
            }
        });
        awaitTopic(name);
    }

    Producer<byte[], byte[]> producer(String... configs) {
        Map<String, Object> settings = new HashMap<>(pairs(configs));
        settings.put("bootstrap.servers", bootstrap);
        settings.putIfAbsent("linger.ms", "5");
        ByteArraySerializer bytes = new ByteArraySerializer();
        KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(settings, bytes, bytes);
        clients.add(producer);
        return producer;
    }

    Consumer<byte[], byte[]> consumer(String... configs) {
        Map<String, Object> settings = new HashMap<>(pairs(configs));
        settings.put("bootstrap.servers", bootstrap);
        settings.putIfAbsent("auto.offset.reset", "earliest");
        settings.putIfAbsent("enable.auto.commit", "false");
        settings.putIfAbsent("session.timeout.ms", "6000");
        settings.putIfAbsent("heartbeat.interval.ms", "200");
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, bytes, bytes);
        clients.add(consumer);
        return consumer;
    }

    /** A consumer assigned to one partition, reading from an offset. */
    Consumer<byte[], byte[]> reader(String topic, int partition, long offset, String... configs) {
        Consumer<byte[], byte[]> consumer = consumer(configs);
        TopicPartition place = new TopicPartition(topic, partition);
        consumer.assign(List.of(place));
        consumer.seek(place, offset);
        return consumer;
    }

    /** Sends all and waits for all; the results are in the order of the records. */
    static List<RecordMetadata> send(
            Producer<byte[], byte[]> producer, Collection<ProducerRecord<byte[], byte[]>> records)
            throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (ProducerRecord<byte[], byte[]> record : records) {
            sent.add(producer.send(record));
        }
        producer.flush();
        List<RecordMetadata> results = new ArrayList<>();
        for (Future<RecordMetadata> result : sent) {
            results.add(result.get(15, TimeUnit.SECONDS));
        }
        return results;
    }

    /** Sends the numbers from first (inclusive) to end (exclusive) as text to one partition. */
    List<RecordMetadata> sendNumbers(String topic, int partition, int first, int end)
            throws Exception {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = first; i < end; i++) {
            records.add(new ProducerRecord<>(topic, partition, null, text(i)));
        }
        try (Producer<byte[], byte[]> producer = producer()) {
            return send(producer, records);
        }
    }

    /** The next records: exactly count of them, or the check fails. */
    static List<ConsumerRecord<byte[], byte[]>> take(Consumer<byte[], byte[]> consumer, int count)
            throws Exception {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        eventually(count + " records", () -> {
            consumer.poll(Duration.ofMillis(200)).forEach(records::add);
            return records.size() >= count;
        });
        equal(count, records.size(), "number of records");
        return records;
    }

    static byte[] text(Object value) {
        return value.toString().getBytes(java.nio.charset.StandardCharsets.UTF_8);
    }

    static String text(byte[] value) {
        return value == null ? null : new String(value, java.nio.charset.StandardCharsets.UTF_8);
    }

    static Map<String, String> pairs(String... items) {
        Map<String, String> map = new HashMap<>();
        for (int i = 0; i < items.length; i += 2) {
            map.put(items[i], items[i + 1]);
        }
        return map;
    }

    static void eventually(String what, Callable<Boolean> condition) throws Exception {
        eventually(what, 20, condition);
    }

    static void eventually(String what, int seconds, Callable<Boolean> condition) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (!condition.call()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError(what + ": not within " + seconds + " s");
            }
            Thread.sleep(10);
        }
    }

    static void equal(Object expected, Object found, String what) {
        if (!Objects.equals(expected, found)) {
            throw new AssertionError(what + ": expected " + expected + ", found " + found);
        }
    }

    static void that(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError("not true: " + what);
        }
    }

    /** The error of a call that has to fail, which must be of the class. */
    static <T extends Throwable> T fails(Class<T> kind, Callable<?> call) throws Exception {
        Object result;
        try {
            result = call.call();
        } catch (Exception failure) {
            Throwable cause = failure instanceof ExecutionException ? failure.getCause() : failure;
            if (kind.isInstance(cause)) {
                return kind.cast(cause);
            }
            throw failure;
        }
        throw new AssertionError("expected " + kind.getSimpleName() + ", found " + result);
    }
}
