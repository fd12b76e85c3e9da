//! `sluice group`: one file per command below it.

mod delete;
mod describe;
mod list;
mod lookup;
mod seek;

use clap::Subcommand;

use self::delete::DeleteArguments;
use self::describe::DescribeArguments;
use self::list::ListArguments;
use self::seek::SeekArguments;
use super::client::CommandError;

/// The commands of `sluice group`.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// List consumer groups
    List(ListArguments),
    /// Show members, committed offsets and lag of groups
    Describe(DescribeArguments),
    /// Move the committed offsets of a group that has no members
    Seek(SeekArguments),
    /// Delete groups with their committed offsets
    Delete(DeleteArguments),
}

impl GroupCommand {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        match self {
            Self::List(arguments) => arguments.run(),
            Self::Describe(arguments) => arguments.run(),
            Self::Seek(arguments) => arguments.run(),
            Self::Delete(arguments) => arguments.run(),
        }
    }
}
