import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.utils.Exit;

/** Runs the main method of a tool in this JVM, which costs a tenth of a JVM of its own. */
final class Tool {
    /** What a tool printed, and its exit code: the first that it asked for, or 0. */
    record Result(int code, String output) {}

    /** Thrown where the tool would end the process. */
    private static final class Ended extends Error {
        Ended() {
            super("the tool asked to exit", null, false, false);
        }
    }

    private Tool() {}

    /** The output of a tool that has to succeed. */
    static String run(String main, String... arguments) throws Exception {
        return run("", 0, main, arguments);
    }

    /** The output of a tool that reads the input and has to end with the code. */
    static String run(String input, int code, String main, String... arguments) throws Exception {
        Result result = start(input, main, arguments);
        if (result.code() != code) {
            throw new AssertionError(
                main + " ended with " + result.code() + ":\n" + result.output());
        }
        return result.output();
    }

    private static Result start(String input, String main, String[] arguments) throws Exception {
        PrintStream output = System.out;
        PrintStream errors = System.err;
        InputStream from = System.in;
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        PrintStream capture = new PrintStream(printed, true, StandardCharsets.UTF_8);
        int[] code = {-1};
        Exit.Procedure end = (status, message) -> {
            code[0] = code[0] == -1 ? status : code[0];
            throw new Ended();
        };
        Exit.setExitProcedure(end);
        Exit.setHaltProcedure(end);
        Exit.setShutdownHookAdder((name, hook) -> { });
        System.setOut(capture);
        System.setErr(capture);
        System.setIn(new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8)));
        try {
            Class.forName(main).getMethod("main", String[].class)
                .invoke(null, (Object) arguments);
        } catch (InvocationTargetException failure) {
            if (!(failure.getCause() instanceof Ended)) {
                failure.getCause().printStackTrace(capture);
                code[0] = 1;
            }
        } finally {
            System.setOut(output);
            System.setErr(errors);
            System.setIn(from);
        }
        return new Result(Math.max(code[0], 0), printed.toString(StandardCharsets.UTF_8));
    }
}
