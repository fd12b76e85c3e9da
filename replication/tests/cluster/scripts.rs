//! Runs every `testdata/*.txt`: commands, a line `----`, and what they must print.
//!
//! `UPDATE_SCRIPTS=1 cargo test -p replication` writes what is printed now; read the diff.

use std::fs;
use std::path::{Path, PathBuf};

use crate::script::Script;

/// The scenarios that must have a script, so that none gets lost with its file.
const SCRIPTS_MIN: usize = 25;

fn paths() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let listing = fs::read_dir(folder).expect("testdata");
    let mut paths: Vec<PathBuf> = listing
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    paths
}

/// Runs the commands of `text` and returns it with the answers of this run.
fn rewritten(text: &str) -> String {
    let mut script = Script::new();
    let mut result = String::new();
    let mut answers = Vec::new();
    let mut in_answer = false;
    for line in text.lines() {
        if in_answer {
            in_answer = !line.is_empty();
        } else if line == "----" {
            in_answer = true;
            result.push_str("----\n");
            for answer in answers.drain(..) {
                result.push_str(&format!("{answer}\n"));
            }
        } else {
            if !line.is_empty() && !line.starts_with('#') {
                answers.extend(script.run(line));
            }
        }
        if !in_answer {
            result.push_str(&format!("{line}\n"));
        }
    }
    result
}

#[test]
fn scripts_print_what_they_say() {
    let update = std::env::var("UPDATE_SCRIPTS").is_ok();
    let paths = paths();
    for path in &paths {
        let text = fs::read_to_string(path).expect("readable");
        let now = rewritten(&text);
        if update {
            fs::write(path, now).expect("writable");
        } else if now != text {
            let differs = now
                .lines()
                .zip(text.lines())
                .position(|(one, two)| one != two);
            let number = differs.unwrap_or_else(|| now.lines().count().min(text.lines().count()));
            let line = |text: &str| text.lines().nth(number).unwrap_or("(end)").to_owned();
            panic!(
                "{}:{}\n  says   {}\n  prints {}\n{now}",
                path.display(),
                number + 1,
                line(&text),
                line(&now)
            );
        }
    }
    assert!(paths.len() >= SCRIPTS_MIN, "{} scripts", paths.len());
}
