import java.nio.file.Files;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Predicate;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.TransactionalIdAuthorizationException;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.Stores;

/** Kafka Streams: the word count, with its repartition and changelog topics. */
final class StreamsChecks {
    /** Whether the broker serves what Sluice refuses. */
    private static final boolean IS_KAFKA = "kafka".equals(System.getenv("BROKER"));

    private StreamsChecks() {}

    static void addTo(Suite suite) {
        suite.add("Streams counts words and goes on after a restart", StreamsChecks::words);
        suite.add("Streams exactly once is refused",
            broker -> refused(broker, "processing.guarantee", "exactly_once_v2",
                cause -> cause instanceof TransactionalIdAuthorizationException));
        suite.add("Streams with the newer group protocol is refused",
            broker -> refused(broker, "group.protocol", "streams",
                cause -> cause instanceof UnsupportedVersionException));
    }

    private static Topology wordCount(String input, String output) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(input, Consumed.with(Serdes.String(), Serdes.String()))
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with("words", Serdes.String(), Serdes.String()))
            .count(Materialized.<String, Long>as(Stores.inMemoryKeyValueStore("counts"))
                .withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()))
            .toStream()
            .to(output, Produced.with(Serdes.String(), Serdes.Long()));
        return builder.build();
    }

    private static KafkaStreams streams(
            Broker broker, String application, Topology topology, String... settings)
            throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", broker.bootstrap);
        properties.put("application.id", application);
        properties.put("num.stream.threads", "2");
        // Streams does not leave its group: the next start waits for the end of the session.
        properties.put("session.timeout.ms", "6000");
        properties.put("heartbeat.interval.ms", "500");
        properties.put("commit.interval.ms", "200");
        properties.put("statestore.cache.max.bytes", "0");
        properties.put("auto.offset.reset", "earliest");
        properties.put("state.dir", Files.createTempDirectory("streams").toString());
        properties.putAll(Broker.pairs(settings));
        return new KafkaStreams(topology, properties);
    }

    private static void send(Broker broker, String topic, int count) throws Exception {
        try (Producer<byte[], byte[]> producer = broker.producer()) {
            for (int i = 0; i < count; i++) {
                producer.send(new ProducerRecord<>(
                    topic, Broker.text(i), Broker.text("the quick w" + i % 10)));
            }
        }
    }

    /** Reads on until the counts are as wanted. */
    private static void awaitCounts(
            Consumer<byte[], byte[]> consumer, Map<String, Long> counts, Map<String, Long> wanted)
            throws Exception {
        LongDeserializer number = new LongDeserializer();
        Broker.eventually("counts " + wanted, 40, () -> {
            for (ConsumerRecord<byte[], byte[]> one : consumer.poll(Duration.ofMillis(100))) {
                counts.put(Broker.text(one.key()), number.deserialize("", one.value()));
            }
            return counts.entrySet().containsAll(wanted.entrySet());
        });
    }

    private static void words(Broker broker) throws Exception {
        String input = broker.topic(3);
        String output = broker.topic(1);
        String application = broker.fresh("words");
        Consumer<byte[], byte[]> consumer = broker.reader(output, 0, 0);
        Map<String, Long> counts = new HashMap<>();
        for (int round = 1; round <= 2; round++) {
            // The second round restores its counts from the changelog.
            try (KafkaStreams running = streams(broker, application, wordCount(input, output))) {
                running.start();
                send(broker, input, 300);
                awaitCounts(consumer, counts,
                    Map.of("the", 300L * round, "quick", 300L * round, "w9", 30L * round));
            }
        }
        Set<String> topics = broker.admin.listTopics().names().get();
        Broker.that(topics.containsAll(List.of(application + "-words-repartition",
            application + "-counts-changelog")), "internal topics among " + topics);
    }

    private static void refused(
            Broker broker, String setting, String value, Predicate<Throwable> wanted)
            throws Exception {
        Topology topology = wordCount(broker.topic(1), broker.topic(1));
        AtomicReference<Throwable> failure = new AtomicReference<>();
        try (KafkaStreams running =
                streams(broker, broker.fresh("refused"), topology, setting, value)) {
            running.setUncaughtExceptionHandler(error -> {
                failure.set(error);
                return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
            });
            running.start();
            if (IS_KAFKA) {
                Broker.eventually("running",
                    () -> running.state() == KafkaStreams.State.RUNNING);
                return;
            }
            Broker.eventually("refused", () -> failure.get() != null);
        }
        Throwable cause = failure.get();
        while (!wanted.test(cause)) {
            cause = cause.getCause();
            if (cause == null) {
                throw new AssertionError("another failure", failure.get());
            }
        }
    }
}
