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

/// What is shown of a mirror.
const MIRROR_HEADINGS: &[&str] = &[
    "NAME",
    "LINK",
    "LINK-FAULT",
    "LAG-RECORDS",
    "LAG-BYTES",
    "LAG-SECONDS",
    "RECORDS",
    "SENT-BYTES",
    "MONTH-BYTES",
    "RETRIES",
    "MISSING-RECORDS",
    "GAPS",
    "DEAD-LETTERS",
    "POSSIBLE-DUPLICATES",
];

/// Where that stands in the answer.
const MIRROR_FIELDS: &[&str] = &[
    "name",
    "link",
    "link_fault",
    "lag_records",
    "lag_bytes",
    "oldest_unmirrored_age_seconds",
    "records",
    "sent_bytes",
    "month_bytes",
    "retries",
    "missing_records",
    "gaps",
    "dead_letters",
    "possible_duplicate_batches",
];

/// What is shown of a partition.
const PARTITION_HEADINGS: &[&str] = &[
    "MIRROR",
    "TOPIC",
    "PARTITION",
    "TARGET",
    "TARGET-PARTITION",
    "CURSOR",
    "HIGH-WATERMARK",
    "LAG-RECORDS",
    "FAULT",
];

/// Where that stands in the answer, behind the name of the mirror.
const PARTITION_FIELDS: &[&str] = &[
    "topic",
    "partition",
    "target_topic",
    "target_partition",
    "cursor",
    "high_watermark",
    "lag_records",
    "fault",
];

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
        let mut mirrors = Table::new(MIRROR_HEADINGS);
        let mut partitions = Table::new(PARTITION_HEADINGS);
        let mut downlinks = Table::new(DOWNLINK_HEADINGS);
        let mut downlink_partitions = Table::new(DOWNLINK_PARTITION_HEADINGS);
        for mirror in self.mirrors()? {
            add_downlink(&mirror, &mut downlinks, &mut downlink_partitions);
            mirrors.push(cells(&mirror, MIRROR_FIELDS));
            let lanes = mirror.get("lanes").and_then(Value::as_array);
            for lane in lanes.into_iter().flatten() {
                let mut row = cells(&mirror, &["name"]);
                row.append(&mut cells(lane, PARTITION_FIELDS));
                partitions.push(row);
            }
        }
        let mut report = Report::default()
            .table("MIRRORS", mirrors)
            .table("PARTITIONS", partitions);
        if !downlinks.is_empty() {
            report = report
                .table("DOWNLINKS", downlinks)
                .table("DOWNLINK-PARTITIONS", downlink_partitions);
        }
        Ok(Output::new(self.output).report(&report)?)
    }
}

const DOWNLINK_HEADINGS: &[&str] = &[
    "NAME",
    "LINK",
    "LINK-FAULT",
    "LAG-RECORDS",
    "RECORDS",
    "RETRIES",
    "GAPS",
    "DEAD-LETTERS",
    "RECREATIONS",
];

const DOWNLINK_PARTITION_HEADINGS: &[&str] = &[
    "MIRROR",
    "TOPIC",
    "PARTITION",
    "LOCAL-TOPIC",
    "NEXT-OFFSET",
    "CENTRE-END",
    "LAG-RECORDS",
    "FAULT",
];

/// The rows of what a mirror brings, if it brings anything.
fn add_downlink(mirror: &Value, downlinks: &mut Table, partitions: &mut Table) {
    let Some(downlink) = mirror.get("downlink") else {
        return;
    };
    let mut row = cells(mirror, &["name"]);
    row.append(&mut cells(
        downlink,
        &[
            "link",
            "link_fault",
            "lag_records",
            "records",
            "retries",
            "gaps",
            "dead_letters",
            "recreations",
        ],
    ));
    downlinks.push(row);
    let lanes = downlink.get("lanes").and_then(Value::as_array);
    for lane in lanes.into_iter().flatten() {
        let mut row = cells(mirror, &["name"]);
        row.append(&mut cells(
            lane,
            &[
                "topic",
                "partition",
                "local_topic",
                "next_offset",
                "centre_end",
                "lag_records",
                "fault",
            ],
        ));
        partitions.push(row);
    }
}

impl NameArguments {
    fn set(&self, verb: &str) -> Result<(), CommandError> {
        let path = format!("/mirrors/{}/{verb}", self.name);
        self.admin.ask("POST", &path).map(drop)
    }
}
