//! The control socket: one client at a time, one command per line.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::sync::{Mutex, PoisonError};

use crate::faults::{Faults, Operation, When};

/// Serves until somebody says `stop`.
pub(crate) fn serve(listener: &UnixListener, faults: &Mutex<Faults>) -> io::Result<()> {
    loop {
        let (connection, _address) = listener.accept()?;
        let mut answers = connection.try_clone()?;
        for line in BufReader::new(connection).lines() {
            let Ok(line) = line else { break };
            let words: Vec<&str> = line.split_whitespace().collect();
            let answer = {
                let mut faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
                obey(&words, &mut faults)
            };
            // A client that left does not hear the answer.
            let _unheard = writeln!(answers, "{answer}");
            if words == ["stop"] {
                return Ok(());
            }
        }
    }
}

fn obey(words: &[&str], faults: &mut Faults) -> String {
    match words {
        ["fail", operation, when, path @ ..] if path.len() < 2 => {
            let operation = match *operation {
                "fsync" => Operation::Flush,
                "write" => Operation::Write,
                other => return format!("error: {other} is neither fsync nor write"),
            };
            let when = match *when {
                "once" => When::Once,
                "always" => When::Always,
                other => return format!("error: {other} is neither once nor always"),
            };
            faults.arm(operation, when, path.concat());
            "ok".to_owned()
        }
        ["hold", "write", "once", path] => {
            faults.arm(Operation::Hold, When::Once, (*path).to_owned());
            "ok".to_owned()
        }
        ["release"] => {
            faults.release();
            "ok".to_owned()
        }
        ["heal"] => {
            faults.heal();
            "ok".to_owned()
        }
        ["stats"] => faults.figures.to_string(),
        ["stop"] => "ok".to_owned(),
        other => format!("error: nobody understands {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::obey;
    use crate::faults::{Faults, Operation};

    #[test]
    fn commands_arm_and_heal_and_nonsense_is_refused() {
        let mut faults = Faults::default();
        assert_eq!(obey(&["fail", "fsync", "once", "ring"], &mut faults), "ok");
        assert!(faults.strikes(Operation::Flush, "a/ring-0"));
        assert_eq!(obey(&["fail", "write", "always"], &mut faults), "ok");
        assert!(faults.strikes(Operation::Write, "x"));
        assert_eq!(obey(&["heal"], &mut faults), "ok");
        assert!(!faults.strikes(Operation::Write, "x"));
        assert_eq!(obey(&["hold", "write", "once", "ring"], &mut faults), "ok");
        assert!(!faults.strikes(Operation::Hold, "x"));
        assert!(faults.strikes(Operation::Hold, "a/ring-0"));
        assert_eq!(obey(&["release"], &mut faults), "ok");
        for wrong in [&["fail", "fsync"] as &[&str], &["fail", "x", "once"], &[]] {
            assert!(obey(wrong, &mut faults).starts_with("error"), "{wrong:?}");
        }
        assert_eq!(
            obey(&["stats"], &mut faults),
            "writes=1 flushes=0 failed_writes=1 failed_flushes=1 held_writes=1 dropped_bytes=0"
        );
    }
}
