/** Kafka's command line tools and Kafka Streams against the broker at BOOTSTRAP. */
public final class ToolSuite {
    private ToolSuite() {}

    public static void main(String[] arguments) {
        Suite.main(arguments, suite -> {
            ToolChecks.addTo(suite);
            StreamsChecks.addTo(suite);
        });
    }
}
