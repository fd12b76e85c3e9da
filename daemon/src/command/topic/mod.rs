//! `sluice topic`: one file per command below it.

mod create;
mod describe;
mod list;

use clap::Subcommand;

use self::create::CreateArguments;
use self::describe::DescribeArguments;
use self::list::ListArguments;
use super::client::CommandError;

/// Kafka's number of the resource type "topic".
const RESOURCE_TOPIC: i8 = 2;

/// The commands of `sluice topic`.
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Create topics
    Create(CreateArguments),
    /// List topics
    List(ListArguments),
    /// Show settings, partitions, offsets and sizes of topics
    Describe(DescribeArguments),
}

impl TopicCommand {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        match self {
            Self::Create(arguments) => arguments.run(),
            Self::List(arguments) => arguments.run(),
            Self::Describe(arguments) => arguments.run(),
        }
    }
}
