//! A secret from the terminal, or from standard input.
//!
//! Invariants        1. what is typed is not shown, and the terminal is as before afterwards.

use std::io::{self, BufRead, Write};

use rustix::termios::{LocalModes, OptionalActions, isatty, tcgetattr, tcsetattr};

/// Reads a line. On a terminal it is asked for twice, and both must be the same.
pub(super) fn read(prompt: &str) -> io::Result<String> {
    let input = io::stdin();
    if !isatty(&input) {
        return read_line();
    }
    let shown = tcgetattr(&input)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&input, OptionalActions::Flush, &hidden)?;
    let twice = ask(prompt).and_then(|first| Ok((first, ask("Again: ")?)));
    tcsetattr(&input, OptionalActions::Flush, &shown)?;
    let (first, second) = twice?;
    if first == second {
        Ok(first)
    } else {
        Err(io::Error::other("the two passwords are not the same"))
    }
}

fn ask(prompt: &str) -> io::Result<String> {
    let mut screen = io::stderr();
    write!(screen, "{prompt}")?;
    screen.flush()?;
    let line = read_line();
    writeln!(screen)?;
    line
}

fn read_line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let end = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(end);
    Ok(line)
}
