//! `sluice mirror`

use clap::{Args, Subcommand};
use serde_json::Value;

use super::admin_client::{AdminOptions, cells};
use super::client::CommandError;
use super::output::{Format, Output, Report, Table};

const EXAMPLES: &str = "\
Examples:
  sluice mirror status
  sluice mirror status --output json
  sluice mirror pause headquarters";

/// The commands of `sluice mirror`.
#[derive(Debug, Subcommand)]
pub enum MirrorCommand {
    /// Show what every mirror does: link, lag, counters, and each partition
    Status(TableArguments),
    /// List the mirrors
    List(TableArguments),
    /// Stop a mirror; it stays stopped over restarts
    Pause(NameArguments),
    /// Let a mirror go on
    Resume(NameArguments),
}

/// Arguments of commands that print.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TableArguments {
    #[command(flatten)]
    admin: AdminOptions,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// Arguments of commands for one mirror.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct NameArguments {
    #[command(flatten)]
    admin: AdminOptions,
    /// Name of the mirror
    name: String,
}

impl MirrorCommand {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        match self {
            Self::Status(arguments) => arguments.status(),
            Self::List(arguments) => arguments.list(),
            Self::Pause(arguments) => arguments.set("pause"),
            Self::Resume(arguments) => arguments.set("resume"),
        }
    }
}

impl TableArguments {
    fn mirrors(&self) -> Result<Vec<Value>, CommandError> {
        let value = self.admin.ask_json("/mirrors")?;
        let mirrors = value.get("mirrors").and_then(Value::as_array);
        Ok(mirrors.cloned().unwrap_or_default())
    }

    fn list(&self) -> Result<(), CommandError> {
        let mut table = Table::new(&["NAME", "LINK", "LAG-RECORDS", "RECORDS"]);
        for mirror in self.mirrors()? {
            table.push(cells(&mirror, &["name", "link", "lag_records", "records"]));
        }
        Ok(Output::new(self.output).table(&table)?)
    }

    fn status(&self) -> Result<(), CommandError> {
        let mut mirrors = Table::new(&[
            "NAME",
            "LINK",
            "LINK-FAULT",
            "LAG-RECORDS",
            "LAG-SECONDS",
            "RECORDS",
            "SENT-BYTES",
            "MONTH-BYTES",
            "RETRIES",
            "GAPS",
            "DEAD-LETTERS",
            "POSSIBLE-DUPLICATES",
        ]);
        let mut partitions = Table::new(&[
            "MIRROR",
            "TOPIC",
            "PARTITION",
            "TARGET",
            "TARGET-PARTITION",
            "CURSOR",
            "HIGH-WATERMARK",
            "LAG-RECORDS",
            "FAULT",
        ]);
        for mirror in self.mirrors()? {
            mirrors.push(cells(
                &mirror,
                &[
                    "name",
                    "link",
                    "link_fault",
                    "lag_records",
                    "oldest_unmirrored_age_seconds",
                    "records",
                    "sent_bytes",
                    "month_bytes",
                    "retries",
                    "gaps",
                    "dead_letters",
                    "possible_duplicate_batches",
                ],
            ));
            for lane in mirror
                .get("lanes")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let mut row = cells(&mirror, &["name"]);
                row.append(&mut cells(
                    lane,
                    &[
                        "topic",
                        "partition",
                        "target_topic",
                        "target_partition",
                        "cursor",
                        "high_watermark",
                        "lag_records",
                        "fault",
                    ],
                ));
                partitions.push(row);
            }
        }
        let report = Report::default()
            .table("MIRRORS", mirrors)
            .table("PARTITIONS", partitions);
        Ok(Output::new(self.output).report(&report)?)
    }
}

impl NameArguments {
    fn set(&self, verb: &str) -> Result<(), CommandError> {
        let path = format!("/mirrors/{}/{verb}", self.name);
        self.admin.ask("POST", &path).map(drop)
    }
}
