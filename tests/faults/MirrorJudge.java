import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.Consumer;
import java.util.stream.StreamSupport;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Judges a mirror by a consumer at the centre that reads from the start.
 *
 * <p>{@code MirrorJudge GATEWAY CENTRE SOURCE-TOPIC TARGET-TOPIC SITE}. Standard input has what the
 * gateway acknowledged, a line each: {@code partition offset sha256-of-the-value}; and what the
 * test knows to be missing: {@code missing partition first-offset end-offset}.
 *
 * <p>The rules: 1. every acknowledged record, and every record that stands at the gateway, stands
 * at the centre once; 2. nothing else does; 3. per source partition in the order of the offsets
 * and in one target partition; 4. key, value, own headers and timestamp are those of the gateway,
 * a changed timestamp is kept in {@code _ots}; 5. the origin header names site, topic id,
 * partition and offset, and one incarnation; 6. offsets are missing only where a gap marker of
 * the next record says so, in the dead-letter topic or where the test says so.
 *
 * <p>The last line is {@code records N gaps N missing N dead-letters N}; otherwise the first
 * faults are printed and the exit code is 1.
 */
public final class MirrorJudge {
    private static final int FAULTS_SHOWN = 20;
    private static final Duration POLL = Duration.ofMillis(500);
    private static final long DEADLINE_NANOS = 120_000_000_000L;

    private record Place(int partition, long offset) {}

    private record Origin(String site, long incarnation, Uuid topicId, Place place) {}

    private record Gap(int partition, long first, long end) {}

    private final List<String> faults = new ArrayList<>();
    private final Map<Place, String> acknowledged = new HashMap<>();
    private final Map<Place, ConsumerRecord<byte[], byte[]>> source = new HashMap<>();
    private final TreeMap<Integer, TreeSet<Long>> setAside = new TreeMap<>();
    private final List<Gap> gaps = new ArrayList<>();
    private final List<Gap> known = new ArrayList<>();
    private final Map<Place, ConsumerRecord<byte[], byte[]>> centre = new HashMap<>();
    private final Map<Integer, Long> last = new HashMap<>();
    private final Map<Integer, Integer> targets = new HashMap<>();
    private final Set<Long> incarnations = new TreeSet<>();
    private final Set<Uuid> topicIds = new TreeSet<>();
    private String site;

    /** See the class. */
    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 5) {
            System.err.println("MirrorJudge GATEWAY CENTRE SOURCE-TOPIC TARGET-TOPIC SITE");
            System.exit(2);
        }
        MirrorJudge judge = new MirrorJudge();
        judge.site = arguments[4];
        judge.readInput();
        judge.readGateway(arguments[0], arguments[2]);
        read(arguments[1], arguments[3], judge::takeMirrored);
        judge.judge();
        judge.faults.stream().limit(FAULTS_SHOWN).forEach(System.out::println);
        int missing = judge.expected().size() - judge.centre.size();
        int aside = judge.setAside.values().stream().mapToInt(TreeSet::size).sum();
        System.out.printf("records %d gaps %d missing %d dead-letters %d%n",
            judge.centre.size(), judge.gaps.size(), missing, aside);
        System.exit(judge.faults.isEmpty() ? 0 : 1);
    }

    private void readInput() throws Exception {
        BufferedReader input = new BufferedReader(
            new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.split(" ");
            if (words[0].equals("missing")) {
                known.add(new Gap(Integer.parseInt(words[1]), Long.parseLong(words[2]),
                    Long.parseLong(words[3])));
            } else {
                Place place = new Place(Integer.parseInt(words[0]), Long.parseLong(words[1]));
                acknowledged.put(place, words[2]);
            }
        }
    }

    private void readGateway(String bootstrap, String topic) throws Exception {
        read(bootstrap, topic, one ->
            source.put(new Place(one.partition(), one.offset()), one));
        String deadLetters = topic + ".dead-letter";
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            topicIds.add(admin.describeTopics(List.of(topic)).allTopicNames().get()
                .get(topic).topicId());
            if (admin.listTopics().names().get().contains(deadLetters)) {
                read(bootstrap, deadLetters, this::takeDeadLetter);
            }
        }
    }

    private static void read(
            String bootstrap, String topic, Consumer<ConsumerRecord<byte[], byte[]>> take) {
        Map<String, Object> options = Map.of("bootstrap.servers", bootstrap,
            "isolation.level", "read_committed", "check.crcs", true,
            "allow.auto.create.topics", false);
        long deadline = System.nanoTime() + DEADLINE_NANOS;
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(
                options, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                .map(one -> new TopicPartition(topic, one.partition())).toList();
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            while (partitions.stream().anyMatch(one -> consumer.position(one) < ends.get(one))) {
                if (System.nanoTime() > deadline) {
                    throw new IllegalStateException(topic + " was not read to its end");
                }
                consumer.poll(POLL).forEach(take);
            }
        }
    }

    private void takeDeadLetter(ConsumerRecord<byte[], byte[]> letter) {
        Origin origin = originOf(letter);
        boolean hasReason = letter.headers().lastHeader("_error") != null;
        if (origin == null || !hasReason) {
            faults.add("a dead letter without origin or reason at " + letter.offset());
            return;
        }
        setAside.computeIfAbsent(origin.place().partition(), partition -> new TreeSet<>())
            .add(origin.place().offset());
    }

    private void takeMirrored(ConsumerRecord<byte[], byte[]> record) {
        String where = "centre " + record.partition() + "/" + record.offset();
        Origin origin = originOf(record);
        if (origin == null) {
            faults.add(where + ": no origin header");
            return;
        }
        where += " from " + origin.place();
        incarnations.add(origin.incarnation());
        topicIds.add(origin.topicId());
        if (!origin.site().equals(site)) {
            faults.add(where + ": site " + origin.site());
        }
        int partition = origin.place().partition();
        long offset = origin.place().offset();
        if (centre.put(origin.place(), record) != null) {
            faults.add(where + ": a duplicate");
        } else if (last.getOrDefault(partition, -1L) > offset) {
            faults.add(where + ": out of order behind " + last.get(partition));
        }
        last.merge(partition, offset, Math::max);
        if (targets.computeIfAbsent(partition, one -> record.partition()) != record.partition()) {
            faults.add(where + ": another target partition than before");
        }
        takeGap(record, partition, offset, where);
        String expected = acknowledged.get(origin.place());
        ConsumerRecord<byte[], byte[]> original = source.get(origin.place());
        if (expected == null && original == null) {
            faults.add(where + ": nobody wrote that record");
        }
        if (expected != null && !expected.equals(digest(record.value()))) {
            faults.add(where + ": another value than was acknowledged");
        }
        if (original != null) {
            compare(record, original, where);
        }
    }

    private void takeGap(
            ConsumerRecord<byte[], byte[]> record, int partition, long offset, String where) {
        Header header = record.headers().lastHeader("_gap");
        if (header == null) {
            return;
        }
        ByteBuffer value = ByteBuffer.wrap(header.value());
        Gap gap = new Gap(partition, value.getLong(), value.getLong());
        if (gap.end() != offset || gap.first() >= gap.end()) {
            faults.add(where + ": a gap that does not end here: " + gap);
        }
        gaps.add(gap);
    }

    private void compare(
            ConsumerRecord<byte[], byte[]> record, ConsumerRecord<byte[], byte[]> original,
            String where) {
        if (!Arrays.equals(record.value(), original.value())
                || !Arrays.equals(record.key(), original.key())) {
            faults.add(where + ": key or value differ");
        }
        if (!ownHeaders(record).equals(ownHeaders(original))) {
            faults.add(where + ": headers differ");
        }
        Header kept = record.headers().lastHeader("_ots");
        long timestamp = kept == null ? record.timestamp() : ByteBuffer.wrap(kept.value()).getLong();
        if (timestamp != original.timestamp()) {
            faults.add(where + ": timestamp " + timestamp + " was " + original.timestamp());
        }
    }

    private static List<String> ownHeaders(ConsumerRecord<byte[], byte[]> record) {
        return StreamSupport.stream(record.headers().spliterator(), false)
            .filter(header -> !Set.of("_o", "_ots", "_gap").contains(header.key()))
            .map(header -> header.key() + "=" + Arrays.toString(header.value()))
            .toList();
    }

    private static Origin originOf(ConsumerRecord<byte[], byte[]> record) {
        Header header = record.headers().lastHeader("_o");
        if (header == null) {
            return null;
        }
        ByteBuffer value = ByteBuffer.wrap(header.value());
        if (value.get() != 1) {
            return null;
        }
        byte[] name = new byte[value.get()];
        value.get(name);
        long incarnation = value.getLong();
        Uuid topicId = new Uuid(value.getLong(), value.getLong());
        Place place = new Place(value.getInt(), value.getLong());
        return value.hasRemaining() ? null
            : new Origin(new String(name, StandardCharsets.UTF_8), incarnation, topicId, place);
    }

    private Set<Place> expected() {
        Set<Place> places = new java.util.HashSet<>(acknowledged.keySet());
        places.addAll(source.keySet());
        return places;
    }

    private void judge() {
        if (topicIds.size() != 1 || incarnations.size() > 1) {
            faults.add("topic ids " + topicIds + ", incarnations " + incarnations);
        }
        for (Map.Entry<Place, String> one : acknowledged.entrySet()) {
            ConsumerRecord<byte[], byte[]> original = source.get(one.getKey());
            if (original != null && !one.getValue().equals(digest(original.value()))) {
                faults.add("gateway " + one.getKey() + ": another value than was acknowledged");
            }
        }
        for (Gap gap : gaps) {
            for (long offset = gap.first(); offset < gap.end(); offset++) {
                if (centre.containsKey(new Place(gap.partition(), offset))) {
                    faults.add("announced as missing and there: " + gap + " " + offset);
                }
            }
        }
        expected().stream().filter(place -> !centre.containsKey(place)).sorted(
                java.util.Comparator.comparing(Place::partition).thenComparing(Place::offset))
            .filter(place -> !isAccountedFor(place))
            .forEach(place -> faults.add("missing: " + place));
    }

    private boolean isAccountedFor(Place place) {
        boolean isAside = setAside.getOrDefault(place.partition(), new TreeSet<>())
            .contains(place.offset());
        return isAside || isIn(gaps, place) || isIn(known, place);
    }

    private static boolean isIn(List<Gap> ranges, Place place) {
        return ranges.stream().anyMatch(gap -> gap.partition() == place.partition()
            && gap.first() <= place.offset() && place.offset() < gap.end());
    }

    private static String digest(byte[] value) {
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(value);
            return HexFormat.of().formatHex(digest);
        } catch (java.security.NoSuchAlgorithmException impossible) {
            throw new IllegalStateException(impossible);
        }
    }
}
