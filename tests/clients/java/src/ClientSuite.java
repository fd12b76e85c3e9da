/** The Java client against the broker at BOOTSTRAP. */
public final class ClientSuite {
    private ClientSuite() {}

    public static void main(String[] arguments) {
        Suite.main(arguments, suite -> {
            RecordChecks.addTo(suite);
            ReadChecks.addTo(suite);
            GroupChecks.addTo(suite);
            TopicChecks.addTo(suite);
            AdminChecks.addTo(suite);
            RefusalChecks.addTo(suite);
        });
    }
}
