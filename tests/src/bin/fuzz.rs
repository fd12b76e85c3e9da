//! Throws mutated bytes at the fuzz targets; the stand-in for libFuzzer on stable Rust.
//!
//! ```text
//! cargo run -p tests --bin fuzz -- --target NAME|all [--seconds N] [--seed N]
//! cargo run -p tests --bin fuzz -- --target NAME --input FILE
//! cargo run -p tests --bin fuzz -- --target NAME --write-corpus DIRECTORY
//! ```
//!
//! `--write-corpus` is for libFuzzer, which starts from files.
//!
//! The first failing input stands in `fuzz-failure-NAME` in the temporary directory when the
//! process
//! aborts; `--input` runs it again.

use std::fs;
use std::io::{self, Write};
use std::panic;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tests::fuzz::mutate::Mutator;
use tests::fuzz::{TARGETS, Target};

/// An input that takes longer than this is a failure.
const INPUT_TIME_MAX: Duration = Duration::from_secs(2);

/// The target and input that run now, for the report of a panic.
static CURRENT: Mutex<(&str, Vec<u8>)> = Mutex::new(("", Vec::new()));

struct Arguments {
    targets: Vec<Target>,
    seconds: u64,
    seed: u64,
    input: Option<String>,
    corpus_directory: Option<String>,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(complaint) => {
            say(&complaint);
            return ExitCode::from(2);
        }
    };
    report_panics();
    for target in &arguments.targets {
        let done = match (&arguments.input, &arguments.corpus_directory) {
            (Some(path), _) => fs::read(path)
                .map(|bytes| run(target, &bytes))
                .map_err(|error| format!("{path}: {error}")),
            (None, Some(directory)) => write_corpus(target, Path::new(directory))
                .map_err(|error| format!("{directory}: {error}")),
            (None, None) => {
                fuzz(target, &arguments);
                Ok(())
            }
        };
        if let Err(complaint) = done {
            say(&complaint);
            return ExitCode::from(2);
        }
    }
    say(&format!("{} passed, 0 failed", arguments.targets.len()));
    ExitCode::SUCCESS
}

fn fuzz(target: &Target, arguments: &Arguments) {
    let corpus = (target.corpus)();
    let (name, entries, seed) = (target.name, corpus.len(), arguments.seed);
    for input in &corpus {
        run(target, input);
    }
    let mut mutator = Mutator::new(seed, corpus, target.input_bytes_max);
    let started = Instant::now();
    let mut runs = 0_u64;
    let mut slowest = Duration::ZERO;
    while started.elapsed() < Duration::from_secs(arguments.seconds) {
        let input = mutator.mutate();
        let begun = Instant::now();
        run(target, input);
        slowest = slowest.max(begun.elapsed());
        assert!(slowest < INPUT_TIME_MAX, "{slowest:?} for one input");
        runs += 1;
    }
    say(&format!(
        "{name}: {runs} inputs from a corpus of {entries}, seed {seed}, slowest {slowest:?}"
    ));
}

/// One file for each input of the corpus.
fn write_corpus(target: &Target, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let corpus = (target.corpus)();
    for (number, input) in corpus.iter().enumerate() {
        fs::write(directory.join(format!("{number:04}")), input)?;
    }
    let (name, entries, longest) = (target.name, corpus.len(), target.input_bytes_max);
    say(&format!(
        "{name}: {entries} inputs, to grow to at most {longest} bytes"
    ));
    Ok(())
}

fn run(target: &Target, input: &[u8]) {
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    current.0 = target.name;
    current.1.clear();
    current.1.extend_from_slice(input);
    drop(current);
    (target.check)(input);
}

/// Leaves the input behind before the process aborts.
fn report_panics() {
    let standard = panic::take_hook();
    panic::set_hook(Box::new(move |report| {
        standard(report);
        let current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        let path = std::env::temp_dir().join(format!("fuzz-failure-{}", current.0));
        let kept = fs::write(&path, &current.1);
        say(&format!(
            "{} failed; input kept at {} ({kept:?})",
            current.0,
            path.display()
        ));
    }));
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut arguments = Arguments {
        targets: Vec::new(),
        seconds: 20,
        seed: u64::from(clock.subsec_nanos()),
        input: None,
        corpus_directory: None,
    };
    while let Some(word) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("{word} needs a value"))?;
        let number = || {
            value
                .parse()
                .map_err(|_| format!("{word} {value}: not a number"))
        };
        match word.as_str() {
            "--target" => {
                let wanted = |target: &&Target| value == "all" || value == target.name;
                arguments.targets.extend(TARGETS.iter().filter(wanted));
            }
            "--seconds" => arguments.seconds = number()?,
            "--seed" => arguments.seed = number()?,
            "--input" => arguments.input = Some(value),
            "--write-corpus" => arguments.corpus_directory = Some(value),
            other => return Err(format!("nobody understands {other}")),
        }
    }
    if arguments.targets.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        return Err(format!("--target all, or one of {}", names.join(", ")));
    }
    Ok(arguments)
}

fn say(line: &str) {
    // A report that nobody reads is no failure.
    let _unheard = writeln!(io::stdout(), "{line}");
}
