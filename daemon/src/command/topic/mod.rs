//! `sluice topic`: one file per command below it.

mod alter;
mod create;
mod delete;
mod describe;
mod list;
mod trim;

use clap::Subcommand;

use self::alter::AlterArguments;
use self::create::CreateArguments;
use self::delete::DeleteArguments;
use self::describe::DescribeArguments;
use self::list::ListArguments;
use self::trim::TrimArguments;
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
    /// Change settings of topics, or raise the number of their partitions
    Alter(AlterArguments),
    /// Delete topics with all their records
    Delete(DeleteArguments),
    /// Delete the records of a topic before an offset or a time
    Trim(TrimArguments),
}

impl TopicCommand {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        match self {
            Self::Create(arguments) => arguments.run(),
            Self::List(arguments) => arguments.run(),
            Self::Describe(arguments) => arguments.run(),
            Self::Alter(arguments) => arguments.run(),
            Self::Delete(arguments) => arguments.run(),
            Self::Trim(arguments) => arguments.run(),
        }
    }
}
