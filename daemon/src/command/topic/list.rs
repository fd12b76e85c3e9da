//! `sluice topic list`

use clap::Args;
use serde_json::json;

use crate::command::client::{CommandError, TableOptions};
use crate::command::output::Table;

const EXAMPLES: &str = "\
Examples:
  sluice topic list
  sluice topic list --output json | jq -r '.[].name'";

/// Arguments of `sluice topic list`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ListArguments {
    /// Also topics that the broker keeps for itself
    #[arg(short, long)]
    internal: bool,
    #[command(flatten)]
    options: TableOptions,
}

impl ListArguments {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        let mut cluster = self.options.connect()?;
        let mut table = Table::new(&["NAME", "PARTITIONS", "REPLICAS"]);
        for topic in cluster.topics(None, false)? {
            if topic.is_internal && !self.internal {
                continue;
            }
            let replicas = topic.partitions.iter().map(|one| one.replicas.len()).max();
            table.push(vec![
                json!(topic.name),
                json!(topic.partition_count()),
                json!(replicas.unwrap_or(0)),
            ]);
        }
        Ok(self.options.output().table(&table)?)
    }
}
