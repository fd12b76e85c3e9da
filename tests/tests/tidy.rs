//! The rules of the house that a machine can hold.
//!
//! Each test names the rule in its failure, with the place and what to do instead.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot look at the checkout fails"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which workspace crates a crate may depend on. Packages below `tests/` may use all.
const ARROWS: [(&str, &[&str]); 6] = [
    ("kafka-lite", &[]),
    ("replication", &[]),
    ("storage", &["kafka-lite"]),
    ("mirror", &["kafka-lite"]),
    ("mqtt", &["kafka-lite"]),
    (
        "daemon",
        &["kafka-lite", "mirror", "mqtt", "replication", "storage"],
    ),
];

/// The crates that decide and do no I/O of their own.
const CORES: [&str; 5] = ["kafka-lite", "storage", "replication", "mirror", "mqtt"];

/// Names that are not used in the code of a core, each with what to use instead.
const WORDS_IN_CORES: [(&str, &str); 6] = [
    ("Instant::now(", "take `now` as an argument"),
    ("SystemTime::now(", "take `now` as an argument"),
    ("thread_rng", "take a seed as an argument"),
    ("HashMap", "BTreeMap, so that a seed replays"),
    ("HashSet", "BTreeSet, so that a seed replays"),
    ("std::fs", "the Disk trait"),
];

/// Marks of unfinished work.
const MARKS: [&str; 5] = ["FIXME", "TODO", "todo!(", "unimplemented!(", "dbg!("];

/// Abbreviations that are not names, each with the word to use.
const ABBREVIATIONS: [(&str, &str); 9] = [
    ("hw", "high_watermark"),
    ("leo", "log_end_offset"),
    ("lso", "last_stable_offset"),
    ("idx", "index"),
    ("msg", "message"),
    ("req", "request"),
    ("resp", "response"),
    ("cfg", "config"),
    ("pos", "position"),
];

/// File and folder names that say nothing.
const DRAWERS: [&str; 7] = [
    "util", "utils", "helper", "helpers", "common", "misc", "impls",
];

const LINES_MAX: usize = 900;
const COLUMNS_MAX: usize = 100;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in the root")
        .to_path_buf()
}

/// Files that git knows or would add, relative to the root.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(
        output.status.success(),
        "git ls-files works in the checkout"
    );
    let text = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let exists = |path: &&str| root().join(path).is_file();
    text.lines().filter(exists).map(str::to_owned).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

fn rust_files() -> Vec<String> {
    files()
        .into_iter()
        .filter(|path| path.ends_with(".rs"))
        .collect()
}

/// What stands before the tests of the file.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text)
}

/// The line without comment and string contents; good enough to look for names.
fn code_of(line: &str) -> String {
    let code = line.split("//").next().unwrap_or_default();
    code.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// Whether the file belongs to the product and not to its tests.
fn is_product(path: &str) -> bool {
    !path.starts_with("tests/")
        && !path.contains("/tests/")
        && !path.contains("/fuzz/")
        && !path.ends_with("/tests.rs")
}

fn is_core(path: &str) -> bool {
    CORES
        .iter()
        .any(|name| path.starts_with(&format!("{name}/src")))
}

fn check(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

fn packages() -> Vec<serde_json::Value> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let packages = packages();
    let members: BTreeSet<&str> = packages
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    let mut faults = Vec::new();
    for package in &packages {
        let name = package["name"].as_str().expect("name");
        let manifest = package["manifest_path"].as_str().expect("manifest");
        let manifest = Path::new(manifest)
            .strip_prefix(root())
            .expect("inside the checkout");
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            let is_of_tests =
                manifest.starts_with("tests") || manifest.ends_with("fuzz/Cargo.toml");
            if !is_of_tests {
                faults.push(format!("{name}: a new crate needs its row in ARROWS"));
            }
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let target = dependency["name"].as_str().expect("name");
            let is_dev = dependency["kind"].as_str() == Some("dev");
            if members.contains(target) && !allowed.contains(&target) && !is_dev {
                faults.push(format!("{name} -> {target}"));
            }
        }
    }
    check("arrows that the design does not have", &faults);
}

#[test]
fn only_the_daemon_knows_the_runtime() {
    let mut faults = Vec::new();
    for name in CORES {
        let manifest = read(&format!("{name}/Cargo.toml"));
        for word in ["monoio", "tokio", "rustix", "libc"] {
            if manifest.lines().any(|line| line.starts_with(word)) {
                faults.push(format!("{name}/Cargo.toml: {word}"));
            }
        }
        if !read(&format!("{name}/src/lib.rs")).contains("#![forbid(unsafe_code)]") {
            faults.push(format!(
                "{name}/src/lib.rs: #![forbid(unsafe_code)] is missing"
            ));
        }
    }
    check("a core knows no runtime and has no unsafe code", &faults);
}

#[test]
fn unsafe_code_is_in_one_room() {
    let mut faults = Vec::new();
    for path in rust_files() {
        if path.starts_with("daemon/src/sys") || path.starts_with("tests/") {
            continue;
        }
        for (number, line) in read(&path).lines().enumerate() {
            let code = code_of(line);
            if ["unsafe {", "unsafe fn", "unsafe impl"]
                .iter()
                .any(|word| code.contains(word))
            {
                faults.push(format!("{path}:{}", number + 1));
            }
        }
    }
    check("unsafe outside daemon/src/sys", &faults);
}

#[test]
fn every_module_says_what_it_is() {
    let missing: Vec<String> = rust_files()
        .into_iter()
        .filter(|path| !read(path).starts_with("//!"))
        .collect();
    check("a file starts with a //! header", &missing);
}

#[test]
fn lines_and_files_have_a_readable_size() {
    let mut faults = Vec::new();
    for path in rust_files() {
        let text = read(&path);
        let lines = production(&text).lines().count();
        if lines > LINES_MAX {
            faults.push(format!(
                "{path}: {lines} lines; which noun wants its own room?"
            ));
        }
        for (number, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            let is_text = line.contains('"');
            if columns > COLUMNS_MAX && !is_text {
                faults.push(format!("{path}:{}: {columns} columns", number + 1));
            }
        }
    }
    check("sizes", &faults);
}

#[test]
fn no_mark_of_unfinished_work_is_left() {
    let mut faults = Vec::new();
    for path in rust_files().iter().filter(|path| is_product(path)) {
        for (number, line) in read(path).lines().enumerate() {
            for mark in MARKS.iter().filter(|mark| line.contains(*mark)) {
                faults.push(format!(
                    "{path}:{}: `{mark}`: do it, or open an issue",
                    number + 1
                ));
            }
        }
    }
    check("marks", &faults);
}

#[test]
fn words_are_the_words_of_the_house() {
    let mut faults = Vec::new();
    for path in rust_files().iter().filter(|path| is_product(path)) {
        let text = read(path);
        for (number, line) in production(&text).lines().enumerate() {
            let place = format!("{path}:{}", number + 1);
            let code = code_of(line);
            for (word, instead) in WORDS_IN_CORES {
                if is_core(path) && code.contains(word) {
                    faults.push(format!("{place}: `{word}`: {instead}"));
                }
            }
            // `cfg` is Rust's own word in an attribute.
            let names = code.split("#[cfg(").last().unwrap_or_default();
            for name in names.split(|sign: char| !sign.is_ascii_alphanumeric()) {
                if let Some((_, instead)) = ABBREVIATIONS.iter().find(|(word, _)| *word == name) {
                    faults.push(format!("{place}: `{name}`: write `{instead}`"));
                }
            }
        }
    }
    check("words", &faults);
}

#[test]
fn no_room_is_a_drawer() {
    let is_drawer = |path: &String| path.split(['/', '.']).any(|part| DRAWERS.contains(&part));
    let faults: Vec<String> = rust_files().into_iter().filter(is_drawer).collect();
    check("a file is named after a noun of the field", &faults);
}

#[test]
fn documents_are_linked_and_the_paths_they_name_exist() {
    let entrances = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];
    let entrance_text: String = entrances.iter().map(|path| read(path)).collect();
    let mut faults = Vec::new();
    for path in files()
        .iter()
        .filter(|path| path.starts_with("docs/") && path.ends_with(".md"))
    {
        if !entrance_text.contains(path.as_str()) {
            faults.push(format!("{path}: no entrance document names it"));
        }
    }
    for path in entrances {
        for part in read(path).split('`').skip(1).step_by(2) {
            let looks_like_path = part.contains('/')
                && !part.contains([' ', '*', '<', '{', '$', ':', '…', '\n'])
                && !part.starts_with(['/', '.', '-', '~']);
            let first = part.split('/').next().unwrap_or_default();
            let is_ours = root().join(first).exists();
            if looks_like_path && is_ours && !root().join(part).exists() {
                faults.push(format!("{path} names `{part}`, which does not exist"));
            }
        }
    }
    check("documents", &faults);
}

#[test]
fn tests_that_documents_name_exist_and_every_behaviour_of_kafka_has_one() {
    let tests: BTreeSet<String> = files()
        .iter()
        .filter(|path| path.ends_with(".rs") || path.ends_with(".py"))
        .flat_map(|path| {
            let text = read(path);
            let lines = text.lines().map(str::trim).filter_map(|line| {
                let rest = ["fn ", "def "]
                    .iter()
                    .find_map(|word| line.strip_prefix(word))?;
                rest.split('(').next().map(str::to_owned)
            });
            lines.collect::<Vec<_>>()
        })
        .collect();
    let mut faults = Vec::new();
    let mut lines_of_kafka = 0;
    let paths = [
        "docs/kafka-behaviours.md",
        "docs/mqtt-behaviours.md",
        "BUGS_OF_OTHERS.md",
    ];
    for path in paths {
        for row in read(path).lines().filter(|line| line.starts_with("| ")) {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
            let [first, .., named] = cells.as_slice() else {
                continue;
            };
            if [" line", " clause", " failure"].contains(first) {
                continue;
            }
            let names = named.split('`').skip(1).step_by(2);
            let missing = names.clone().filter(|name| !tests.contains(*name));
            faults.extend(missing.map(|name| format!("{path}: `{name}` is no test")));
            if names.count() == 0 {
                faults.push(format!("{path}: no test is named: {row}"));
            }
            lines_of_kafka += usize::from(path == "docs/kafka-behaviours.md");
        }
    }
    check("tests that documents name", &faults);
    assert_eq!(lines_of_kafka, 25, "docs/kafka-behaviours.md is complete");
}

#[test]
fn every_limit_has_a_reason() {
    let mut faults = Vec::new();
    for path in rust_files()
        .iter()
        .filter(|path| path.ends_with("/limits.rs"))
    {
        let text = read(path);
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let is_limit = line.starts_with("pub const") || line.starts_with("pub(crate) const");
            let is_documented = number > 0 && lines[number - 1].trim_start().starts_with("///");
            if is_limit && !is_documented {
                faults.push(format!("{path}:{}: {line}", number + 1));
            }
        }
    }
    check("limits without a reason", &faults);
}
