import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/** Reading: where it starts, how it waits, and fetch sessions over many partitions. */
final class ReadChecks {
    private static final long BASE = 1_700_000_000_000L;

    private ReadChecks() {}

    static void addTo(Suite suite) {
        suite.add("start, end and seek are where Kafka has them", ReadChecks::seek);
        for (String codec : RecordChecks.CODECS) {
            suite.add("timestamp search finds the exact record in " + codec,
                b -> timestamps(b, codec));
        }
        suite.add("reset by duration starts at the first young record", ReadChecks::duration);
        suite.add("offset out of range without a reset policy is an error", ReadChecks::outOfRange);
        suite.add("offset out of range resets to the end where told so", ReadChecks::latest);
        suite.add("read committed reads what no transaction wrote", ReadChecks::readCommitted);
        suite.add("idle consumer waits in long polls and wakes at once", ReadChecks::longPoll);
        suite.add("small fetch sizes still make progress", ReadChecks::smallFetches);
        suite.add("session of 60 partitions delivers what comes", ReadChecks::manyPartitions);
        suite.add("paused partitions wait, resumed ones go on", ReadChecks::pause);
    }

    private static void seek(Broker broker) throws Exception {
        String topic = broker.topic(1);
        TopicPartition partition = new TopicPartition(topic, 0);
        broker.sendNumbers(topic, 0, 0, 100);
        Consumer<byte[], byte[]> consumer = broker.reader(topic, 0, 0, "max.poll.records", "1");
        Broker.equal(Map.of(partition, 0L), consumer.beginningOffsets(List.of(partition)), "start");
        Broker.equal(Map.of(partition, 100L), consumer.endOffsets(List.of(partition)), "end");
        for (long target : new long[] {99, 0, 57}) {
            consumer.seek(partition, target);
            Broker.equal(target, Broker.take(consumer, 1).get(0).offset(), "offset after seek");
        }
        consumer.seekToEnd(List.of(partition));
        Broker.equal(100L, consumer.position(partition), "position at the end");
        consumer.seekToBeginning(List.of(partition));
        Broker.equal(0L, Broker.take(consumer, 1).get(0).offset(), "first offset");
        Broker.equal(99L, consumer.currentLag(partition).getAsLong(), "lag");
    }

    private static void timestamps(Broker broker, String codec) throws Exception {
        String topic = broker.topic(1);
        TopicPartition partition = new TopicPartition(topic, 0);
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (long t : new long[] {0, 100, 50, 300, 200, 400}) {
            records.add(new ProducerRecord<>(topic, 0, BASE + t, null, Broker.text("x")));
        }
        Broker.send(broker.producer("compression.type", codec, "linger.ms", "100"), records);
        Map<Long, List<Long>> expected = new HashMap<>();
        expected.put(-5L, List.of(0L, 0L));
        expected.put(0L, List.of(0L, 0L));
        expected.put(1L, List.of(1L, 100L));
        expected.put(51L, List.of(1L, 100L));
        expected.put(101L, List.of(3L, 300L));
        expected.put(301L, List.of(5L, 400L));
        Consumer<byte[], byte[]> consumer = broker.consumer();
        for (Map.Entry<Long, List<Long>> entry : expected.entrySet()) {
            OffsetAndTimestamp found =
                consumer.offsetsForTimes(Map.of(partition, BASE + entry.getKey())).get(partition);
            Broker.equal(entry.getValue(), List.of(found.offset(), found.timestamp() - BASE),
                "record at or after " + entry.getKey());
        }
        Broker.equal(null, consumer.offsetsForTimes(Map.of(partition, BASE + 401)).get(partition),
            "nothing after the last record");
    }

    private static void duration(Broker broker) throws Exception {
        String topic = broker.topic(1);
        long now = System.currentTimeMillis();
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (long age : new long[] {7_200_000, 5_000_000, 1_800_000, 0}) {
            records.add(new ProducerRecord<>(topic, 0, now - age, null, Broker.text(age)));
        }
        Broker.send(broker.producer(), records);
        Consumer<byte[], byte[]> consumer =
            broker.consumer("auto.offset.reset", "by_duration:PT1H");
        consumer.assign(List.of(new TopicPartition(topic, 0)));
        Broker.equal(2L, Broker.take(consumer, 2).get(0).offset(), "first record of the last hour");
    }

    private static void outOfRange(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.sendNumbers(topic, 0, 0, 10);
        Consumer<byte[], byte[]> consumer =
            broker.reader(topic, 0, 5_000, "auto.offset.reset", "none");
        Broker.fails(OffsetOutOfRangeException.class, () -> Broker.take(consumer, 1));
    }

    private static void latest(Broker broker) throws Exception {
        String topic = broker.topic(1);
        TopicPartition partition = new TopicPartition(topic, 0);
        broker.sendNumbers(topic, 0, 0, 10);
        Consumer<byte[], byte[]> consumer =
            broker.reader(topic, 0, 5_000, "auto.offset.reset", "latest");
        Broker.eventually("position at the end", () -> {
            Broker.that(consumer.poll(Duration.ofMillis(50)).isEmpty(), "nothing old is read");
            return consumer.position(partition) == 10;
        });
        broker.sendNumbers(topic, 0, 10, 11);
        Broker.equal(10L, Broker.take(consumer, 1).get(0).offset(), "next record");
    }

    private static void readCommitted(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.sendNumbers(topic, 0, 0, 50);
        Consumer<byte[], byte[]> consumer =
            broker.reader(topic, 0, 0, "isolation.level", "read_committed");
        Broker.take(consumer, 50);
        TopicPartition partition = new TopicPartition(topic, 0);
        Broker.equal(50L, consumer.endOffsets(List.of(partition)).get(partition), "stable end");
    }

    private static double metric(Consumer<byte[], byte[]> consumer, String name) {
        return consumer.metrics().values().stream()
            .filter(m -> m.metricName().name().equals(name) && m.metricName().tags().size() == 1)
            .mapToDouble(m -> (double) m.metricValue()).sum();
    }

    private static void longPoll(Broker broker) throws Exception {
        String topic = broker.topic(1);
        Consumer<byte[], byte[]> consumer = broker.reader(topic, 0, 0);
        consumer.poll(Duration.ofMillis(1_000));
        double before = metric(consumer, "fetch-total");
        long start = System.nanoTime();
        while (System.nanoTime() - start < 3_000_000_000L) {
            consumer.poll(Duration.ofMillis(100));
        }
        double fetches = metric(consumer, "fetch-total") - before;
        Broker.that(fetches >= 3 && fetches <= 9, fetches + " fetches in 3 s, 500 ms each");
        Producer<byte[], byte[]> producer = broker.producer("linger.ms", "0");
        long[] delays = new long[20];
        for (int i = 0; i < delays.length; i++) {
            long sent = System.nanoTime();
            producer.send(new ProducerRecord<>(topic, Broker.text(i))).get();
            Broker.take(consumer, 1);
            delays[i] = System.nanoTime() - sent;
        }
        java.util.Arrays.sort(delays);
        Broker.that(delays[10] < 150_000_000L, "median delay " + delays[10] / 1_000 + " µs");
    }

    private static void smallFetches(Broker broker) throws Exception {
        String topic = broker.topic(1);
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < 30; i++) {
            records.add(new ProducerRecord<>(topic, new byte[20_000]));
        }
        Broker.send(broker.producer("batch.size", "50000"), records);
        // The first batch comes even if it is larger than what was asked for.
        Broker.take(broker.reader(topic, 0, 0, "max.partition.fetch.bytes", "1000"), 30);
        Broker.take(broker.reader(topic, 0, 0, "fetch.max.bytes", "1000"), 30);
    }

    private static void manyPartitions(Broker broker) throws Exception {
        String topic = broker.topic(60);
        Consumer<byte[], byte[]> consumer = broker.consumer();
        List<TopicPartition> partitions = new ArrayList<>();
        for (int i = 0; i < 60; i++) {
            partitions.add(new TopicPartition(topic, i));
        }
        consumer.assign(partitions);
        consumer.seekToBeginning(partitions);
        consumer.poll(Duration.ofMillis(300));
        Producer<byte[], byte[]> producer = broker.producer();
        Set<String> missing = new HashSet<>();
        for (int round = 0; round < 10; round++) {
            List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
            for (int i = round % 3; i < 60; i += 1 + round) {
                missing.add(round + ":" + i);
                records.add(new ProducerRecord<>(topic, i, null, Broker.text(round + ":" + i)));
            }
            Broker.send(producer, records);
            for (ConsumerRecord<byte[], byte[]> record : Broker.take(consumer, records.size())) {
                Broker.that(missing.remove(Broker.text(record.value())), "expected and once");
            }
            if (round == 5) {
                // Partitions leave and enter the session.
                consumer.assign(partitions.subList(0, 30));
                consumer.poll(Duration.ofMillis(100));
                consumer.assign(partitions);
                for (TopicPartition partition : partitions.subList(30, 60)) {
                    consumer.seekToEnd(List.of(partition));
                    consumer.position(partition);
                }
            }
        }
        Broker.equal(Set.of(), missing, "records that did not come");
    }

    private static void pause(Broker broker) throws Exception {
        String topic = broker.topic(2);
        List<TopicPartition> both =
            List.of(new TopicPartition(topic, 0), new TopicPartition(topic, 1));
        Consumer<byte[], byte[]> consumer = broker.consumer();
        consumer.assign(both);
        consumer.seekToBeginning(both);
        consumer.pause(both.subList(0, 1));
        broker.sendNumbers(topic, 0, 0, 5);
        broker.sendNumbers(topic, 1, 100, 105);
        for (ConsumerRecord<byte[], byte[]> record : Broker.take(consumer, 5)) {
            Broker.equal(1, record.partition(), "partition that is not paused");
        }
        consumer.resume(both);
        Broker.equal(0, Broker.take(consumer, 5).get(0).partition(), "resumed partition");
    }
}
