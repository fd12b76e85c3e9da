import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.InconsistentGroupProtocolException;
import org.apache.kafka.common.errors.InvalidSessionTimeoutException;
import org.apache.kafka.common.errors.OffsetMetadataTooLarge;

/** Consumer groups: joining, leaving, crashing, static members, committed offsets. */
final class GroupChecks {
    private static final String RANGE = "org.apache.kafka.clients.consumer.RangeAssignor";
    private static final String ROUND_ROBIN =
        "org.apache.kafka.clients.consumer.RoundRobinAssignor";
    private static final String COOPERATIVE =
        "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";

    private GroupChecks() {}

    static void addTo(Suite suite) {
        for (String assignor : List.of(RANGE, ROUND_ROBIN, COOPERATIVE)) {
            String name = assignor.substring(assignor.lastIndexOf('.') + 1);
            suite.add("members join, share and leave with " + name, b -> joinAndLeave(b, assignor));
        }
        suite.add("cooperative rebalance moves only what has to move", GroupChecks::cooperative);
        suite.add("partitions of a crashed member move after its session", GroupChecks::crash);
        suite.add("static member returns without a rebalance", GroupChecks::staticMember);
        suite.add("second holder of an instance id fences the first", GroupChecks::fence);
        suite.add("commits keep metadata and leader epoch", GroupChecks::commit);
        suite.add("next member continues at the committed offset", GroupChecks::resume);
        suite.add("too long commit metadata is refused", GroupChecks::longMetadata);
        suite.add("removed member cannot commit and joins again", GroupChecks::removedMember);
        suite.add("subscription by pattern finds topics made later", GroupChecks::pattern);
        suite.add("members without a common assignor do not mix", GroupChecks::inconsistent);
        suite.add("session timeout below the minimum is refused", GroupChecks::shortSession);
        suite.add("more members than partitions: one idles and takes over", GroupChecks::spare);
        suite.add("asked for rebalance gives a new generation", GroupChecks::enforceRebalance);
    }

    /** A member polled by hand; it remembers what the rebalances brought and took. */
    static final class Member implements ConsumerRebalanceListener {
        final Consumer<byte[], byte[]> consumer;
        final List<Set<Integer>> revoked = new ArrayList<>();
        final List<Set<Integer>> assigned = new ArrayList<>();
        final Set<Integer> seen = new TreeSet<>();

        Member(Broker broker, String topic, String group, String... configs) {
            String[] all = Arrays.copyOf(configs, configs.length + 2);
            all[configs.length] = "group.id";
            all[configs.length + 1] = group;
            consumer = broker.consumer(all);
            consumer.subscribe(List.of(topic), this);
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            revoked.add(numbers(partitions));
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            assigned.add(numbers(partitions));
        }

        Set<Integer> poll() {
            consumer.poll(Duration.ofMillis(20)).forEach(record ->
                seen.add(Integer.parseInt(Broker.text(record.value()))));
            return numbers(consumer.assignment());
        }

        int generation() {
            return consumer.groupMetadata().generationId();
        }

        private static Set<Integer> numbers(Collection<TopicPartition> partitions) {
            return partitions.stream().map(TopicPartition::partition)
                .collect(Collectors.toCollection(TreeSet::new));
        }
    }

    /** Polls the members until each has a part and together they have all, each partition once. */
    static void settle(int partitions, Member... members) throws Exception {
        Broker.eventually("members share the partitions", () -> {
            List<Integer> all = new ArrayList<>();
            boolean eachHasSome = true;
            for (Member member : members) {
                Set<Integer> owned = member.poll();
                eachHasSome &= !owned.isEmpty();
                all.addAll(owned);
            }
            return eachHasSome && all.size() == partitions
                && new TreeSet<>(all).size() == partitions;
        });
    }

    private static void joinAndLeave(Broker broker, String assignor) throws Exception {
        String topic = broker.topic(4);
        String group = broker.fresh("group");
        String[] configs = {"partition.assignment.strategy", assignor};
        Member first = new Member(broker, topic, group, configs);
        settle(4, first);
        Member second = new Member(broker, topic, group, configs);
        settle(4, first, second);
        Broker.equal(2, second.consumer.assignment().size(), "partitions of the second");
        for (int partition = 0; partition < 4; partition++) {
            broker.sendNumbers(topic, partition, partition * 50, partition * 50 + 50);
        }
        Broker.eventually("all records are seen", () -> {
            first.poll();
            second.poll();
            return first.seen.size() + second.seen.size() >= 200;
        });
        Set<Integer> all = new TreeSet<>(first.seen);
        all.addAll(second.seen);
        Broker.equal(200, all.size(), "different records");
        Broker.equal(100, first.seen.size(), "records of the first");
        second.consumer.close();
        settle(4, first);
    }

    private static void cooperative(Broker broker) throws Exception {
        String topic = broker.topic(6);
        String group = broker.fresh("group");
        String[] configs = {"partition.assignment.strategy", COOPERATIVE};
        Member first = new Member(broker, topic, group, configs);
        settle(6, first);
        Member second = new Member(broker, topic, group, configs);
        settle(6, first, second);
        Broker.equal(1, first.revoked.size(), "revocations of the first");
        Broker.equal(second.poll(), first.revoked.get(0), "what moved");
        Broker.equal(3, second.poll().size(), "partitions of the second");
    }

    private static void crash(Broker broker) throws Exception {
        String topic = broker.topic(4);
        String group = broker.fresh("group");
        Member first = new Member(broker, topic, group);
        settle(4, first);
        Member second = new Member(broker, topic, group);
        settle(4, first, second);
        long start = System.nanoTime();
        second.consumer.close(CloseOptions.timeout(Duration.ZERO).withGroupMembershipOperation(
            CloseOptions.GroupMembershipOperation.REMAIN_IN_GROUP));
        settle(4, first);
        long seconds = (System.nanoTime() - start) / 1_000_000_000;
        Broker.that(seconds >= 3 && seconds <= 12, "moved after " + seconds + " s");
    }

    private static void staticMember(Broker broker) throws Exception {
        String topic = broker.topic(4);
        String group = broker.fresh("group");
        Member first = new Member(broker, topic, group, "group.instance.id", "one");
        Member second = new Member(broker, topic, group, "group.instance.id", "two");
        settle(4, first, second);
        Set<Integer> owned = second.poll();
        int generation = first.generation();
        second.consumer.close();
        Member again = new Member(broker, topic, group, "group.instance.id", "two");
        settle(4, first, again);
        Broker.equal(owned, again.poll(), "partitions after the return");
        Broker.equal(generation, again.generation(), "generation");
        // The leader may go away and come back as well.
        first.consumer.close();
        Member leader = new Member(broker, topic, group, "group.instance.id", "one");
        settle(4, leader, again);
        Broker.equal(generation, leader.generation(), "generation after the leader's return");
        Broker.equal(owned, again.poll(), "partitions of the other");
    }

    private static void fence(Broker broker) throws Exception {
        String topic = broker.topic(1);
        String group = broker.fresh("group");
        Member first = new Member(broker, topic, group, "group.instance.id", "only");
        settle(1, first);
        Member second = new Member(broker, topic, group, "group.instance.id", "only");
        settle(1, second);
        Broker.fails(FencedInstanceIdException.class, () -> {
            Broker.eventually("the first is fenced", () -> {
                first.poll();
                return false;
            });
            return null;
        });
        settle(1, second);
    }

    private static void commit(Broker broker) throws Exception {
        String topic = broker.topic(2);
        String group = broker.fresh("group");
        TopicPartition zero = new TopicPartition(topic, 0);
        TopicPartition one = new TopicPartition(topic, 1);
        Member member = new Member(broker, topic, group);
        settle(2, member);
        Map<TopicPartition, OffsetAndMetadata> offsets = Map.of(
            zero, new OffsetAndMetadata(7, Optional.of(0), "état 7 ✓"),
            one, new OffsetAndMetadata(3, Optional.empty(), ""));
        member.consumer.commitSync(offsets);
        Broker.equal(offsets, member.consumer.committed(Set.of(zero, one)), "committed offsets");
        member.consumer.close();
        Consumer<byte[], byte[]> reader = broker.consumer("group.id", group);
        Broker.equal(offsets, reader.committed(Set.of(zero, one)), "offsets for a simple consumer");
        reader.assign(List.of(zero));
        reader.commitSync(Map.of(zero, new OffsetAndMetadata(8)));
        Broker.equal(8L, reader.committed(Set.of(zero)).get(zero).offset(), "non-member's offset");
    }

    private static void resume(Broker broker) throws Exception {
        String topic = broker.topic(1);
        String group = broker.fresh("group");
        broker.sendNumbers(topic, 0, 0, 30);
        Member first = new Member(broker, topic, group, "max.poll.records", "10");
        Broker.eventually("ten records", () -> first.poll() != null && first.seen.size() >= 10);
        first.consumer.commitSync(Map.of(
            new TopicPartition(topic, 0), new OffsetAndMetadata(10)));
        first.consumer.close();
        Member second = new Member(broker, topic, group, "enable.auto.commit", "true");
        Broker.eventually("the rest", () -> second.poll() != null && second.seen.size() >= 20);
        Broker.equal(10, second.seen.iterator().next(), "first record of the next member");
        second.consumer.close();
        TopicPartition partition = new TopicPartition(topic, 0);
        Consumer<byte[], byte[]> reader = broker.consumer("group.id", group);
        Broker.equal(30L, reader.committed(Set.of(partition)).get(partition).offset(),
            "offset committed on close");
    }

    private static void longMetadata(Broker broker) throws Exception {
        String topic = broker.topic(1);
        Member member = new Member(broker, topic, broker.fresh("group"));
        settle(1, member);
        Broker.fails(OffsetMetadataTooLarge.class, () -> {
            member.consumer.commitSync(Map.of(
                new TopicPartition(topic, 0), new OffsetAndMetadata(0, "x".repeat(5_000))));
            return null;
        });
    }

    private static void removedMember(Broker broker) throws Exception {
        String topic = broker.topic(1);
        String group = broker.fresh("group");
        // Heartbeats are rare, so that the member learns of its removal by its commit.
        Member member = new Member(broker, topic, group, "heartbeat.interval.ms", "5000");
        settle(1, member);
        broker.admin.removeMembersFromConsumerGroup(
            group, new RemoveMembersFromConsumerGroupOptions()).all().get();
        Broker.fails(CommitFailedException.class, () -> {
            member.consumer.commitSync(Map.of(
                new TopicPartition(topic, 0), new OffsetAndMetadata(0)));
            return null;
        });
        Broker.eventually("joined again", () -> {
            member.poll();
            return member.assigned.size() == 2 && member.poll().size() == 1;
        });
        Member named = new Member(broker, topic, broker.fresh("group"), "group.instance.id", "s");
        settle(1, named);
        RemoveMembersFromConsumerGroupOptions byInstance =
            new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("s")));
        broker.admin.removeMembersFromConsumerGroup(
            named.consumer.groupMetadata().groupId(), byInstance).all().get();
    }

    private static void pattern(Broker broker) throws Exception {
        String prefix = broker.fresh("pattern");
        Consumer<byte[], byte[]> consumer =
            broker.consumer("group.id", broker.fresh("group"), "metadata.max.age.ms", "200");
        consumer.subscribe(Pattern.compile(prefix + "-.*"));
        for (String name : List.of(prefix + "-a", prefix + "-b")) {
            broker.admin.createTopics(List.of(
                new org.apache.kafka.clients.admin.NewTopic(name, 1, (short) 1))).all().get();
            Broker.eventually(name + " is assigned", () -> {
                consumer.poll(Duration.ofMillis(50));
                return consumer.assignment().contains(new TopicPartition(name, 0));
            });
        }
    }

    private static void inconsistent(Broker broker) throws Exception {
        String topic = broker.topic(1);
        String group = broker.fresh("group");
        Member first =
            new Member(broker, topic, group, "partition.assignment.strategy", ROUND_ROBIN);
        settle(1, first);
        Member second = new Member(broker, topic, group, "partition.assignment.strategy", RANGE);
        Broker.fails(InconsistentGroupProtocolException.class, () -> {
            Broker.eventually("refused", () -> {
                first.poll();
                second.poll();
                return false;
            });
            return null;
        });
    }

    private static void shortSession(Broker broker) throws Exception {
        Member member = new Member(
            broker, broker.topic(1), broker.fresh("group"), "session.timeout.ms", "1000");
        Broker.fails(InvalidSessionTimeoutException.class, () -> {
            settle(1, member);
            return null;
        });
    }

    private static void spare(Broker broker) throws Exception {
        String topic = broker.topic(2);
        String group = broker.fresh("group");
        Member[] members = new Member[3];
        for (int i = 0; i < 3; i++) {
            members[i] = new Member(broker, topic, group);
        }
        Broker.eventually("two work and one idles", () -> {
            int owned = 0;
            int generations = 0;
            for (Member member : members) {
                owned += member.poll().size();
                generations += member.generation() == members[0].generation() ? 1 : 0;
            }
            return owned == 2 && generations == 3;
        });
        for (int i = 0; i < 3; i++) {
            if (!members[i].poll().isEmpty()) {
                members[i].consumer.close();
                settle(2, members[(i + 1) % 3], members[(i + 2) % 3]);
                return;
            }
        }
        throw new AssertionError("no member works");
    }

    private static void enforceRebalance(Broker broker) throws Exception {
        Member member = new Member(broker, broker.topic(2), broker.fresh("group"));
        settle(2, member);
        int generation = member.generation();
        member.consumer.enforceRebalance("because");
        Broker.eventually("a new generation", () -> {
            member.poll();
            return member.generation() == generation + 1;
        });
        settle(2, member);
    }
}
