import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;

/**
 * Checks against the broker at BOOTSTRAP, all in one JVM.
 *
 * <p>Arguments are parts of check names; without any, all checks run. The last line of the output
 * is {@code N passed, N failed}; the exit code is 1 if a check failed. Each check has a deadline.
 */
public final class Suite {
    /** One check; an exception or error fails it. */
    @FunctionalInterface
    interface Check {
        void run(Broker broker) throws Exception;
    }

    private static final long DEADLINE_SECONDS = 60;

    private final Map<String, Check> checks = new LinkedHashMap<>();

    void add(String name, Check check) {
        if (checks.put(name, check) != null) {
            throw new IllegalArgumentException("two checks are called " + name);
        }
    }

    /** Runs the checks that the arguments choose, and ends the process. */
    static void main(String[] arguments, Consumer<Suite> checks) {
        String bootstrap = System.getenv("BOOTSTRAP");
        if (bootstrap == null) {
            System.err.println("set BOOTSTRAP=host:port, or use tests/with-broker");
            System.exit(2);
        }
        Suite suite = new Suite();
        checks.accept(suite);
        System.exit(suite.run(bootstrap, List.of(arguments)) ? 0 : 1);
    }

    private boolean run(String bootstrap, List<String> wanted) {
        int passed = 0;
        List<String> failed = new ArrayList<>();
        try (Broker broker = new Broker(bootstrap)) {
            for (Map.Entry<String, Check> check : checks.entrySet()) {
                String name = check.getKey();
                if (!wanted.isEmpty() && wanted.stream().noneMatch(name::contains)) {
                    continue;
                }
                long start = System.nanoTime();
                Throwable failure = runOne(check.getValue(), broker);
                long millis = (System.nanoTime() - start) / 1_000_000;
                String outcome = failure == null ? "ok" : "FAILED";
                System.out.printf("%-6s %5d ms  %s%n", outcome, millis, name);
                if (failure == null) {
                    passed++;
                } else {
                    failed.add(name);
                    failure.printStackTrace(System.out);
                }
            }
        }
        failed.forEach(name -> System.out.println("FAILED " + name));
        System.out.printf("%d passed, %d failed%n", passed, failed.size());
        return failed.isEmpty() && passed > 0;
    }

    /** The failure of a check, or null. Clients that the check left open are closed. */
    private static Throwable runOne(Check check, Broker broker) {
        ExecutorService thread = Executors.newSingleThreadExecutor();
        Future<?> result = thread.submit(() -> {
            check.run(broker);
            return null;
        });
        try {
            result.get(DEADLINE_SECONDS, TimeUnit.SECONDS);
            return null;
        } catch (ExecutionException failure) {
            return failure.getCause();
        } catch (TimeoutException | InterruptedException failure) {
            return new AssertionError("not done within " + DEADLINE_SECONDS + " s", failure);
        } finally {
            thread.shutdownNow();
            broker.closeClients();
        }
    }
}
