//! Why a broker does not start: one line, and the exit code that tells a supervisor whether another
//! start may help.

use crate::command::EXIT_USAGE;

/// Why the broker did not start: one line, and the exit code.
#[derive(Debug)]
pub(super) struct NotStarted {
    pub(super) line: String,
    pub(super) code: u8,
}

/// Configuration, port or data directory: starting it again does not help.
pub(super) fn usage(line: impl std::fmt::Display) -> NotStarted {
    NotStarted {
        line: line.to_string(),
        code: EXIT_USAGE,
    }
}

/// A disk that may work at the next start, or a directory that cannot be used as it is.
pub(super) fn refused(is_of_the_disk: bool, line: impl std::fmt::Display) -> NotStarted {
    let line = line.to_string();
    let code = if is_of_the_disk { 1 } else { EXIT_USAGE };
    NotStarted { line, code }
}

/// The machine refused something that another start may get.
pub(super) fn failure(what: &str) -> impl Fn(std::io::Error) -> NotStarted {
    move |error| NotStarted {
        line: format!("{what}: {error}"),
        code: 1,
    }
}
