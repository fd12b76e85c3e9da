import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.InvalidRecordException;
import org.apache.kafka.common.errors.InvalidTimestampException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;

/** Records: written by a producer, stored, and read back unchanged. */
final class RecordChecks {
    static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");

    private RecordChecks() {}

    static void addTo(Suite suite) {
        for (String codec : CODECS) {
            suite.add("records in " + codec + " come back unchanged", b -> roundTrip(b, codec));
            suite.add("large batches in " + codec + " come back unchanged", b -> large(b, codec));
        }
        suite.add("idempotent producer keeps order over many small batches", RecordChecks::order);
        suite.add("two producers on one partition lose nothing", RecordChecks::twoProducers);
        for (String acks : List.of("0", "1", "all")) {
            suite.add("records sent with acks=" + acks + " are stored", b -> acks(b, acks));
        }
        suite.add("log append time is the broker's", RecordChecks::logAppendTime);
        suite.add("too old timestamp is refused", RecordChecks::oldTimestamp);
        suite.add("too large record is refused, the next accepted", RecordChecks::tooLarge);
        suite.add("record without key on a compacted topic is refused", RecordChecks::noKey);
        suite.add("record to a missing partition is not sent", RecordChecks::missingPartition);
    }

    private static void roundTrip(Broker broker, String codec) throws Exception {
        String topic = broker.topic(1);
        Random random = new Random(7);
        List<ProducerRecord<byte[], byte[]>> sent = new ArrayList<>();
        for (int i = 0; i < 500; i++) {
            byte[] value = i % 7 == 3 ? null : new byte[random.nextInt(1_000)];
            if (value != null) {
                random.nextBytes(value);
            }
            List<Header> headers = i % 3 != 0 ? List.of() : List.of(
                new RecordHeader("trace", new byte[] {0, -1}),
                new RecordHeader("same", Broker.text("1")),
                new RecordHeader("same", Broker.text("2")),
                new RecordHeader("null", (byte[]) null));
            byte[] key = i % 5 == 4 ? null : Broker.text("key-" + i);
            sent.add(new ProducerRecord<>(topic, 0, 1_700_000_000_000L + i, key, value, headers));
        }
        List<RecordMetadata> stored = Broker.send(broker.producer("compression.type", codec), sent);
        List<ConsumerRecord<byte[], byte[]>> found = Broker.take(broker.reader(topic, 0, 0), 500);
        for (int i = 0; i < 500; i++) {
            ProducerRecord<byte[], byte[]> from = sent.get(i);
            ConsumerRecord<byte[], byte[]> to = found.get(i);
            Broker.equal((long) i, stored.get(i).offset(), "offset in the acknowledgement");
            Broker.equal((long) i, to.offset(), "offset");
            Broker.that(Arrays.equals(from.key(), to.key()), "same key");
            Broker.that(Arrays.equals(from.value(), to.value()), "same value");
            Broker.equal(from.headers(), to.headers(), "headers");
            Broker.equal(from.timestamp(), to.timestamp(), "timestamp");
            Broker.equal(TimestampType.CREATE_TIME, to.timestampType(), "timestamp type");
        }
    }

    private static void large(Broker broker, String codec) throws Exception {
        String topic = broker.topic(1);
        Random random = new Random(8);
        List<ProducerRecord<byte[], byte[]>> sent = new ArrayList<>();
        for (int i = 0; i < 201; i++) {
            byte[] value = new byte[i == 200 ? 900_000 : 9_000];
            random.nextBytes(value);
            sent.add(new ProducerRecord<>(topic, value));
        }
        Producer<byte[], byte[]> producer = broker.producer(
            "compression.type", codec, "batch.size", "950000", "linger.ms", "100");
        Broker.send(producer, sent);
        List<ConsumerRecord<byte[], byte[]>> found = Broker.take(broker.reader(topic, 0, 0), 201);
        for (int i = 0; i < 201; i++) {
            Broker.that(Arrays.equals(sent.get(i).value(), found.get(i).value()), "same value");
        }
    }

    private static void order(Broker broker) throws Exception {
        String topic = broker.topic(4);
        Producer<byte[], byte[]> producer = broker.producer("batch.size", "300", "linger.ms", "0");
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < 12_000; i++) {
            records.add(new ProducerRecord<>(topic, i % 4, null, Broker.text(i)));
        }
        Broker.send(producer, records);
        for (int partition = 0; partition < 4; partition++) {
            int expected = partition;
            for (ConsumerRecord<byte[], byte[]> record
                    : Broker.take(broker.reader(topic, partition, 0), 3_000)) {
                Broker.equal(String.valueOf(expected), Broker.text(record.value()), "next record");
                expected += 4;
            }
        }
    }

    private static void twoProducers(Broker broker) throws Exception {
        String topic = broker.topic(1);
        List<Producer<byte[], byte[]>> producers =
            List.of(broker.producer("linger.ms", "0"), broker.producer("linger.ms", "0"));
        for (int i = 0; i < 1_000; i++) {
            for (int name = 0; name < 2; name++) {
                byte[] value = Broker.text(name + ":" + i);
                producers.get(name).send(new ProducerRecord<>(topic, value));
            }
        }
        producers.forEach(Producer::flush);
        int[] next = {0, 0};
        for (ConsumerRecord<byte[], byte[]> record
                : Broker.take(broker.reader(topic, 0, 0), 2_000)) {
            String[] parts = Broker.text(record.value()).split(":");
            int name = Integer.parseInt(parts[0]);
            Broker.equal(next[name]++, Integer.parseInt(parts[1]), "next of producer " + name);
        }
    }

    private static void acks(Broker broker, String acks) throws Exception {
        String topic = broker.topic(1);
        Producer<byte[], byte[]> producer =
            broker.producer("acks", acks, "enable.idempotence", "false");
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < 300; i++) {
            records.add(new ProducerRecord<>(topic, Broker.text(i)));
        }
        Broker.send(producer, records);
        List<ConsumerRecord<byte[], byte[]>> found = Broker.take(broker.reader(topic, 0, 0), 300);
        Broker.equal("299", Broker.text(found.get(299).value()), "last record");
    }

    private static void logAppendTime(Broker broker) throws Exception {
        String topic = broker.topic(1, "message.timestamp.type", "LogAppendTime");
        long before = System.currentTimeMillis();
        List<RecordMetadata> stored = Broker.send(
            broker.producer("compression.type", "zstd"),
            List.of(new ProducerRecord<>(topic, 0, 1_000L, null, Broker.text("x"))));
        ConsumerRecord<byte[], byte[]> found = Broker.take(broker.reader(topic, 0, 0), 1).get(0);
        Broker.equal(TimestampType.LOG_APPEND_TIME, found.timestampType(), "timestamp type");
        Broker.that(Math.abs(found.timestamp() - before) < 10_000, "the broker's time");
        Broker.equal(stored.get(0).timestamp(), found.timestamp(), "acknowledged timestamp");
    }

    private static void oldTimestamp(Broker broker) throws Exception {
        String topic = broker.topic(1, "message.timestamp.before.max.ms", "60000");
        Producer<byte[], byte[]> producer = broker.producer();
        long hourAgo = System.currentTimeMillis() - 3_600_000;
        ProducerRecord<byte[], byte[]> old =
            new ProducerRecord<>(topic, 0, hourAgo, null, Broker.text("old"));
        Broker.fails(InvalidTimestampException.class, () -> producer.send(old).get());
        Broker.send(producer, List.of(new ProducerRecord<>(topic, Broker.text("now"))));
    }

    private static void tooLarge(Broker broker) throws Exception {
        String topic = broker.topic(1, "max.message.bytes", "2000");
        Producer<byte[], byte[]> producer = broker.producer();
        ProducerRecord<byte[], byte[]> large = new ProducerRecord<>(topic, new byte[5_000]);
        Broker.fails(RecordTooLargeException.class, () -> producer.send(large).get());
        List<RecordMetadata> next =
            Broker.send(producer, List.of(new ProducerRecord<>(topic, Broker.text("small"))));
        Broker.equal(0L, next.get(0).offset(), "offset of the first accepted record");
    }

    private static void noKey(Broker broker) throws Exception {
        String topic = broker.topic(1, "cleanup.policy", "compact");
        Producer<byte[], byte[]> producer = broker.producer();
        Broker.fails(InvalidRecordException.class,
            () -> producer.send(new ProducerRecord<>(topic, Broker.text("no key"))).get());
        byte[] key = Broker.text("k");
        Broker.send(producer, List.of(
            new ProducerRecord<>(topic, key, key), new ProducerRecord<>(topic, key, null)));
        try (Consumer<byte[], byte[]> reader = broker.reader(topic, 0, 0)) {
            Broker.equal(null, Broker.take(reader, 2).get(1).value(), "tombstone");
        }
    }

    private static void missingPartition(Broker broker) throws Exception {
        String topic = broker.topic(2);
        Producer<byte[], byte[]> producer = broker.producer("max.block.ms", "1000");
        Broker.fails(TimeoutException.class, () -> producer
            .send(new ProducerRecord<>(topic, 7, null, Broker.text("x"))).get(5, TimeUnit.SECONDS));
    }
}
