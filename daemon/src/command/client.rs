//! The commands that speak to a running broker: which there are, and how they end.
//!
//! What it is        the tree below `topic`, `produce`, `consume`, the options that all of them
//!                   share, and the way from an error to an exit code.
//! Invariants        1. a reader that goes away (`| head`) ends a command quietly, with code 0.

use std::io;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use thiserror::Error;

use super::cluster::ClusterCommand;
use super::consume::ConsumeArguments;
use super::demo::DemoArguments;
use super::group::GroupCommand;
use super::mirror::MirrorCommand;
use super::mqtt::MqttCommand;
use super::output::{Format, Output};
use super::produce::ProduceArguments;
use super::topic::TopicCommand;
use super::{EXIT_USAGE, complain};
use crate::client::{Address, ClientError, Cluster, Topic};

/// Exit code of an operation that failed.
const EXIT_FAILED: u8 = 1;

/// What works on a running broker.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Create, list, describe, alter, delete and trim topics
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Write records to a topic, one per line of standard input
    Produce(ProduceArguments),
    /// Read records of topics
    Consume(ConsumeArguments),
    /// List, describe, seek and delete consumer groups
    #[command(subcommand)]
    Group(GroupCommand),
    /// Show the cluster
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Show, pause and resume the mirrors to the centre
    #[command(subcommand)]
    Mirror(MirrorCommand),
    /// Show a gateway, a link that is cut, and the centre, on this machine
    Demo(DemoArguments),
    /// Show MQTT clients and rules, and set passwords
    #[command(subcommand)]
    Mqtt(MqttCommand),
}

/// Where the brokers are.
#[derive(Debug, Args)]
pub struct BrokerOptions {
    /// Addresses of brokers, comma separated; one that answers is enough
    #[arg(
        short,
        long,
        value_name = "HOST:PORT",
        env = "SLUICE_BROKERS",
        default_value = "127.0.0.1:9092",
        value_delimiter = ','
    )]
    pub brokers: Vec<Address>,
}

/// Where the brokers are, and how a table is shown.
#[derive(Debug, Args)]
pub struct TableOptions {
    #[command(flatten)]
    pub(super) brokers: BrokerOptions,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) output: Format,
}

/// Why a command did not do what it was asked for.
#[derive(Debug, Error)]
pub(super) enum CommandError {
    /// A broker refused, or could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Standard output cannot be written.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
    /// The call makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Some of several things failed; each has been reported as one line.
    #[error("{} failed", .0.len())]
    Several(Vec<ClientError>),
}

/// Runs a command; says what failed on standard error.
pub fn run(command: &ClientCommand) -> ExitCode {
    let done = match command {
        ClientCommand::Topic(topic) => topic.run(),
        ClientCommand::Produce(produce) => produce.run(),
        ClientCommand::Consume(consume) => consume.run(),
        ClientCommand::Group(group) => group.run(),
        ClientCommand::Cluster(cluster) => cluster.run(),
        ClientCommand::Mirror(mirror) => mirror.run(),
        ClientCommand::Demo(demo) => demo.run(),
        ClientCommand::Mqtt(mqtt) => mqtt.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(CommandError::Several(errors)) => {
            errors.iter().for_each(complain);
            ExitCode::from(EXIT_FAILED)
        }
        Err(CommandError::Usage(line)) => {
            complain(line);
            ExitCode::from(EXIT_USAGE)
        }
        Err(error) => {
            complain(error);
            ExitCode::from(EXIT_FAILED)
        }
    }
}

impl BrokerOptions {
    pub(super) fn connect(&self) -> Result<Cluster, ClientError> {
        Cluster::connect(&self.brokers)
    }
}

impl TableOptions {
    pub(super) fn connect(&self) -> Result<Cluster, ClientError> {
        self.brokers.connect()
    }

    pub(super) fn output(&self) -> Output {
        Output::new(self.output)
    }
}

/// Ends a command that worked on several things.
pub(super) fn finish(errors: Vec<ClientError>) -> Result<(), CommandError> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(CommandError::Several(errors))
}

/// The first of these numbers that is not a partition of the topic, as the error of the call.
pub(super) fn no_partition(topic: &Topic, numbers: &[i32]) -> Option<CommandError> {
    let mut numbers = numbers.iter();
    let number = numbers.find(|number| topic.partition(**number).is_none())?;
    let (name, last) = (&topic.name, topic.partition_count() - 1);
    Some(CommandError::Usage(format!(
        "topic {name}: there is no partition {number}, only 0 to {last}"
    )))
}

/// Splits `key=value`.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
