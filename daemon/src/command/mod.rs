//! The command line: what was asked for, and how errors look.
//!
//! What it is        the tree of commands, built from the key table; one module per command.
//! Invariants        1. exit code 0 for success, 1 for a failure at work, 2 for a wrong call or
//!                      configuration.
//!                   2. an error is one line on standard error.

mod admin_client;
pub mod client;
pub mod cluster;
pub mod config_check;
pub mod consume;
pub mod demo;
mod escape;
pub mod group;
mod interrupt;
pub mod mirror;
pub mod mqtt;
mod output;
pub mod produce;
mod secret;
pub mod start;
mod time;
pub mod topic;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, FromArgMatches, Subcommand};

use self::client::ClientCommand;
use crate::config::environment::CLIENT_VARIABLES;
use crate::config::keys::{self, Key};
use crate::config::load::Flags;

/// Exit code of a wrong call, configuration or data directory.
pub const EXIT_USAGE: u8 = 2;

/// What was asked for.
#[derive(Debug)]
pub enum Command {
    /// `sluice start`
    Start(Flags),
    /// `sluice config check FILE`
    ConfigCheck(PathBuf),
    /// What works on a running broker, wherever it is.
    Client(Box<ClientCommand>),
}

/// Reads the command line.
///
/// # Errors
/// The help or version that was asked for, or what is wrong with the call.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let matches = tree()
        .try_get_matches_from(&arguments)
        .map_err(|error| name_what_is_no_text(error, &arguments))?;
    match matches.subcommand() {
        Some(("config", config)) => {
            let check = config.subcommand_matches("check");
            let file = check.and_then(|check| check.get_one::<PathBuf>("FILE"));
            Ok(Command::ConfigCheck(file.cloned().unwrap_or_default()))
        }
        Some(("start", start)) => Ok(Command::Start(flags_of(start))),
        _ => Ok(Command::Client(Box::new(ClientCommand::from_arg_matches(
            &matches,
        )?))),
    }
}

/// The parser does not say which argument or variable is not UTF-8.
fn name_what_is_no_text(error: clap::Error, arguments: &[OsString]) -> clap::Error {
    if error.kind() != ErrorKind::InvalidUtf8 {
        return error;
    }
    let is_no_text = |text: &&OsString| text.to_str().is_none();
    let message = match arguments.iter().find(is_no_text) {
        Some(argument) => format!("the argument `{}` is not UTF-8", argument.display()),
        None => {
            let is_broken = |name: &str| {
                let value = std::env::var_os(name);
                value.is_some_and(|value| value.to_str().is_none())
            };
            let mut names = CLIENT_VARIABLES.into_iter();
            let name = names.find(|name| is_broken(name)).unwrap_or("SLUICE_…");
            format!("the value of the variable {name} is not UTF-8")
        }
    };
    clap::Error::raw(ErrorKind::InvalidUtf8, message)
}

/// Shows help, version or the error of a call, and says how the process ends.
pub fn explain(error: &clap::Error) -> ExitCode {
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if error.use_stderr() && !is_help {
        complain(one_line(&error.to_string()));
        return ExitCode::from(EXIT_USAGE);
    }
    // There is nobody left to tell when the terminal is gone.
    let _gone: io::Result<()> = error.print();
    if is_help {
        return ExitCode::from(EXIT_USAGE);
    }
    ExitCode::SUCCESS
}

/// What is wrong with a call, with the hint if there is one, without the usage.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let told = lines.take_while(|line| {
        !line.starts_with("Usage:") && !line.starts_with("For more information")
    });
    let told: Vec<&str> = told.filter(|line| !line.is_empty()).collect();
    let line = told.join(" ").replace(" tip: ", "; ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// One line on standard error.
pub(crate) fn complain(line: impl std::fmt::Display) {
    let _gone: io::Result<()> = writeln!(io::stderr(), "sluice: {line}");
}

/// Text on standard output.
pub(crate) fn show(text: impl std::fmt::Display) {
    let mut output = io::stdout().lock();
    let _gone: io::Result<()> = write!(output, "{text}").and_then(|()| output.flush());
}

fn tree() -> clap::Command {
    let file = Arg::new("FILE")
        .required(true)
        .value_parser(clap::value_parser!(PathBuf));
    let sluice = clap::Command::new("sluice")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(start_command())
        .subcommand(
            clap::Command::new("config")
                .about("Work with configuration files")
                .subcommand_required(true)
                .arg_required_else_help(true)
                .subcommand(
                    clap::Command::new("check")
                        .about("Check a configuration file and say what is wrong with it")
                        .arg(file),
                ),
        );
    // What is below brings a description of its own.
    ClientCommand::augment_subcommands(sluice)
        .about("A Kafka-compatible durable event broker for the edge")
}

fn start_command() -> clap::Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help(
            "Configuration file [default: /etc/sluice/sluice.toml and conf.d beside it, if there]",
        );
    let keys = keys::all().map(|key| {
        let Key {
            name,
            default,
            value,
            help,
            ..
        } = key;
        let note = format!(
            "{help} [default: {default}] [key: {name}] [env: {}]",
            key.variable()
        );
        let flag = Arg::new(*name)
            .long(key.flag())
            .value_name(*value)
            .help(note);
        if key.is_boolean() {
            // `--lock-memory` alone says true.
            return flag.num_args(0..=1).default_missing_value("true");
        }
        // Kafka's word for no limit is -1.
        flag.allow_negative_numbers(true)
    });
    clap::Command::new("start")
        .about("Run the broker")
        .arg(config)
        .args(keys)
}

fn flags_of(start: &ArgMatches) -> Flags {
    let values = keys::all().filter_map(|key| {
        let value = start.get_one::<String>(key.name)?;
        Some((key.name, value.clone()))
    });
    Flags {
        file: start.get_one::<PathBuf>("config").cloned(),
        values: values.collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::{Command, one_line, parse, tree};

    fn parsed(line: &str) -> Result<Command, String> {
        let words = line.split_whitespace().map(Into::into);
        parse(words).map_err(|error| error.to_string())
    }

    #[test]
    fn the_tree_of_commands_is_consistent() {
        tree().debug_assert();
    }

    #[test]
    fn flags_arrive_under_the_names_of_their_keys() {
        let line = "sluice start --config f --kafka-listen a:1 --advertise b:2 --memory 130M --lock-memory";
        let Ok(Command::Start(flags)) = parsed(line) else {
            panic!("start is parsed");
        };
        assert_eq!(flags.file, Some("f".into()));
        let names: Vec<&str> = flags.values.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            ["kafka.listen", "kafka.advertise", "memory", "memory.lock"]
        );
    }

    #[test]
    fn a_value_may_be_negative_and_a_switch_may_be_spelled_out() {
        let line =
            "sluice start --log-retention-bytes -1 --auto-create-topics-enable false --lock-memory";
        let Ok(Command::Start(flags)) = parsed(line) else {
            panic!("start is parsed");
        };
        let expected = [
            ("auto.create.topics.enable", "false"),
            ("log.retention.bytes", "-1"),
            ("memory.lock", "true"),
        ];
        assert_eq!(
            flags.values,
            expected.map(|(name, value)| (name, value.to_owned()))
        );
    }

    #[test]
    fn what_is_wrong_with_a_call_is_one_line() {
        let line = |call: &str| one_line(&parsed(call).unwrap_err());
        assert_eq!(
            line("sluice start --kafka-lisen x"),
            "unexpected argument '--kafka-lisen' found; a similar argument exists: '--kafka-listen'"
        );
        assert_eq!(
            line("sluice topic create"),
            "the following required arguments were not provided: <TOPIC>..."
        );
        assert_eq!(
            line("sluice topic list --output yaml"),
            "invalid value 'yaml' for '--output <OUTPUT>' [possible values: text, json]"
        );
    }

    #[test]
    fn an_argument_that_is_no_text_is_named() {
        let broken = OsString::from_vec(b"data\xff".to_vec());
        let call = ["sluice", "start", "--data-dir"].map(OsString::from);
        let error = parse(call.into_iter().chain([broken])).unwrap_err();
        let line = one_line(&error.to_string());
        assert_eq!(line, "the argument `data\u{fffd}` is not UTF-8");
    }

    #[test]
    fn a_mistyped_flag_or_command_is_an_error_with_a_hint() {
        assert!(
            parsed("sluice start --kafka-lisen x")
                .unwrap_err()
                .contains("--kafka-listen")
        );
        assert!(parsed("sluice strat").unwrap_err().contains("start"));
        parsed("sluice").unwrap_err();
    }
}
