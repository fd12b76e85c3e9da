//! `sluice cluster`

use clap::{Args, Subcommand};
use serde_json::json;

use super::client::{CommandError, TableOptions};
use super::output::{Report, Table};

const EXAMPLES: &str = "\
Examples:
  sluice cluster info
  sluice cluster info -b gateway-1:9092,gateway-2:9092 --output json";

/// The commands of `sluice cluster`.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Show the cluster, its brokers, and how much it holds
    Info(InfoArguments),
}

/// Arguments of `sluice cluster info`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InfoArguments {
    #[command(flatten)]
    options: TableOptions,
}

impl ClusterCommand {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        match self {
            Self::Info(arguments) => arguments.run(),
        }
    }
}

impl InfoArguments {
    fn run(&self) -> Result<(), CommandError> {
        let mut cluster = self.options.connect()?;
        let topics = cluster.topics(None, false)?;
        let partitions: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
        let mut brokers = Table::new(&["ID", "HOST", "PORT", "RACK"]);
        for broker in cluster.brokers() {
            brokers.push(vec![
                json!(broker.id),
                json!(broker.address.host),
                json!(broker.address.port),
                json!(broker.rack),
            ]);
        }
        let report = Report::default()
            .field("CLUSTER-ID", json!(cluster.cluster_id()))
            .field("CONTROLLER", json!(cluster.controller()))
            .field("TOPICS", json!(topics.len()))
            .field("PARTITIONS", json!(partitions))
            .table("BROKERS", brokers);
        Ok(self.options.output().report(&report)?)
    }
}
