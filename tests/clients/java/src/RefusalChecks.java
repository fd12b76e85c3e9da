import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListTransactionsOptions;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.errors.IllegalSaslStateException;
import org.apache.kafka.common.errors.SecurityDisabledException;
import org.apache.kafka.common.errors.TransactionalIdAuthorizationException;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** What is not served: the client says so at once instead of trying for ever. */
final class RefusalChecks {
    /** Whether the broker serves what Sluice refuses. */
    private static final boolean IS_KAFKA = "kafka".equals(System.getenv("BROKER"));

    private RefusalChecks() {}

    static void addTo(Suite suite) {
        suite.add("transactions are refused", RefusalChecks::transactions);
        suite.add("SASL is refused", RefusalChecks::sasl);
        suite.add("the newer group protocol is refused", RefusalChecks::newerGroups);
        suite.add("access rules are switched off", RefusalChecks::accessRules);
        suite.add("nothing moves and no transaction runs", RefusalChecks::nothing);
    }

    private static void transactions(Broker broker) throws Exception {
        Producer<byte[], byte[]> producer =
            broker.producer("transactional.id", broker.fresh("transaction"));
        if (IS_KAFKA) {
            producer.initTransactions();
            return;
        }
        Broker.fails(TransactionalIdAuthorizationException.class, () -> {
            producer.initTransactions();
            return "initialised";
        });
    }

    private static void sasl(Broker broker) throws Exception {
        String login = "org.apache.kafka.common.security.%s required username=\"u\" password=\"p\";";
        Map<String, String> modules =
            Map.of("PLAIN", "plain.PlainLoginModule", "SCRAM-SHA-256", "scram.ScramLoginModule");
        for (Map.Entry<String, String> module : modules.entrySet()) {
            try (Admin admin = Admin.create(Map.of(
                    "bootstrap.servers", broker.bootstrap, "security.protocol", "SASL_PLAINTEXT",
                    "sasl.mechanism", module.getKey(),
                    "sasl.jaas.config", login.formatted(module.getValue())))) {
                Broker.fails(IllegalSaslStateException.class,
                    () -> admin.listTopics().names().get(15, TimeUnit.SECONDS));
            }
        }
    }

    private static void newerGroups(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.sendNumbers(topic, 0, 0, 1);
        // Settings of the classic protocol, which the helper gives, are refused by the client.
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", broker.bootstrap, "group.id", broker.fresh("newer"),
            "group.protocol", "consumer", "auto.offset.reset", "earliest");
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        try (Consumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(settings, bytes, bytes)) {
            consumer.subscribe(List.of(topic));
            if (IS_KAFKA) {
                Broker.take(consumer, 1);
                return;
            }
            Broker.fails(UnsupportedVersionException.class, () -> Broker.take(consumer, 1));
        }
    }

    private static void accessRules(Broker broker) throws Exception {
        Broker.fails(SecurityDisabledException.class,
            () -> broker.admin.describeAcls(AclBindingFilter.ANY).values().get());
        Broker.fails(SecurityDisabledException.class,
            () -> broker.admin.deleteAcls(List.of(AclBindingFilter.ANY)).all().get());
    }

    private static void nothing(Broker broker) throws Exception {
        Broker.equal(Map.of(), broker.admin.listPartitionReassignments().reassignments().get(),
            "partitions that move");
        String id = broker.fresh("transaction");
        Broker.equal(List.of(), List.copyOf(broker.admin.listTransactions(
            new ListTransactionsOptions().filterOnTransactionalIdPattern(id)).all().get()),
            "transactions");
    }
}
