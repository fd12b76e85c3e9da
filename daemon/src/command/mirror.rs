//! `sluice mirror`

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::CommandError;
use super::output::{Format, Output, Report, Table};
use crate::client::ClientError;

const EXAMPLES: &str = "\
Examples:
  sluice mirror status
  sluice mirror status --output json
  sluice mirror pause headquarters";

/// Time for the broker to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

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

/// Where the broker's admin listener is.
#[derive(Debug, Args)]
pub struct AdminOptions {
    /// Address of the broker's admin listener
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "SLUICE_ADMIN",
        default_value = "127.0.0.1:9644"
    )]
    admin: String,
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
        let text = self.admin.ask("GET", "/mirrors")?;
        let value: Value = serde_json::from_str(&text).map_err(|error| {
            ClientError::Other(format!(
                "{}: not an answer of Sluice: {error}",
                self.admin.admin
            ))
        })?;
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

impl AdminOptions {
    /// One HTTP request; returns the body of a good answer.
    fn ask(&self, method: &str, path: &str) -> Result<String, CommandError> {
        ask_admin(&self.admin, method, path)
    }
}

/// One HTTP request to an admin listener; returns the body of a good answer.
pub(super) fn ask_admin(address: &str, method: &str, path: &str) -> Result<String, CommandError> {
    let failed = |error: io::Error| {
        ClientError::Other(format!(
            "cannot reach the admin listener {address}: {error}; is the broker running?"
        ))
    };
    let answer = exchange(address, method, path).map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).unwrap_or_default();
    if code == "200" {
        return Ok(body.to_owned());
    }
    let reason = if body.trim().is_empty() { head } else { body };
    Err(ClientError::Other(reason.trim().to_owned()).into())
}

fn exchange(address: &str, method: &str, path: &str) -> io::Result<String> {
    let target = address.to_socket_addrs()?.next();
    let target = target.ok_or_else(|| io::Error::other("the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&target, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    // HTTP/1.0: the answer ends with the connection and comes in one piece.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn cells(value: &Value, names: &[&str]) -> Vec<Value> {
    let cell = |name: &&str| value.get(*name).cloned().unwrap_or(Value::Null);
    names.iter().map(cell).collect()
}
