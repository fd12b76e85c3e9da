//! `sluice consume`: records of topics on standard output.
//!
//! What it is        arguments, the loop over fetches, and the three ways to end: enough records,
//!                   the end of what was asked for, or a signal.

mod format;
mod group;
mod json;
mod range;

use std::io::{self, BufWriter, StdoutLock, Write};

use clap::Args;

use self::format::RecordFormat;
use self::group::GroupReader;
use self::range::OffsetRange;
use super::client::{BrokerOptions, CommandError, no_partition};
use super::complain;
use super::interrupt::Interrupt;
use crate::client::Cluster;
use crate::client::fetch::{Fetcher, Verdict};
use crate::client::offsets::TopicPartition;

/// Bytes of output that are collected before they are written.
const OUTPUT_BUFFER_BYTES: usize = 256 * 1024;

const HELP: &str = "\
Offsets (-o START[:STOP]):
  start, end       the first record that is there; only what comes from now on
  N                the record with offset N
  +N, -N           N records after the first; the last N records of each partition
  @TIME            the first record of that time or later: ms since 1970, 2026-11-23,
                   2026-11-23T10:00:00Z, or before now: @-1h30m
  :end :N :@TIME   stop before the present end, an offset, a time

Formats (-f):
  json             one object per line; bytes that are not UTF-8 stand in key_base64, value_base64
  %t %p %o         topic, partition, offset
  %k %v %h         key, value (also %s), headers as name=value,name=value
  %K %V %H         length of key, length of value (also %S), number of headers
  %d               timestamp in ms (also %T), %d{rfc3339}
  %e %i %[ %]      leader epoch, number of the record, first offset, high watermark
  %k{hex} %v{base64} %v{json}
  \\n \\t \\r \\0 \\\\ \\xNN %%

Examples:
  sluice consume orders
  sluice consume orders -o start:end -f '%k\\t%v\\n'
  sluice consume orders -o -10 -e
  sluice consume orders -o @-1h -n 1 -p 0
  sluice consume orders -g billing

With -g, reading goes on where the group has committed; -o says where it starts without a commit.
Without -e or a STOP, reading goes on until Ctrl-C.";

/// Arguments of `sluice consume`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ConsumeArguments {
    /// Topics to read
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// How to print a record, see below
    #[arg(short, long, default_value = "json", value_parser = RecordFormat::parse)]
    format: RecordFormat,
    /// Where to start and to stop, see below
    #[arg(
        short,
        long,
        value_name = "START[:STOP]",
        default_value = "start",
        allow_hyphen_values = true,
        value_parser = OffsetRange::parse
    )]
    offset: OffsetRange,
    /// Stop after so many records
    #[arg(short, long, value_name = "COUNT")]
    num: Option<u64>,
    /// Only these partitions, comma separated
    #[arg(short, long, value_name = "PARTITION", value_delimiter = ',')]
    partitions: Vec<i32>,
    /// Stop where nothing more is there
    #[arg(short, long)]
    exit: bool,
    /// Share the partitions with other consumers of this group, and commit what was printed
    #[arg(short, long, conflicts_with = "partitions")]
    group: Option<String>,
    #[command(flatten)]
    brokers: BrokerOptions,
}

impl ConsumeArguments {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        let interrupt = Interrupt::watch()?;
        let mut cluster = self.brokers.connect()?;
        let mut printer = Printer::new(self);
        if self.num == Some(0) {
            return Ok(());
        }
        let mut fetcher = Fetcher::new(self.exit);
        let partitions = self.wanted_partitions(&mut cluster)?;
        if let Some(group) = &self.group {
            let mut member = GroupReader::new(group, self, &interrupt);
            return member.run(&mut cluster, &mut fetcher, &mut printer);
        }
        fetcher.assign(self.offset.positions(&mut cluster, &partitions)?);
        while !fetcher.is_done() && !interrupt.is_raised() {
            let verdict = printer.print(&mut fetcher, &mut cluster)?;
            if verdict == Verdict::Enough {
                break;
            }
        }
        Ok(())
    }

    /// All partitions of the topics, or those that were named.
    fn wanted_partitions(
        &self,
        cluster: &mut Cluster,
    ) -> Result<Vec<TopicPartition>, CommandError> {
        let mut wanted = Vec::new();
        for name in &self.topics {
            let topic = cluster.topic(name, false)?;
            if let Some(missing) = no_partition(&topic, &self.partitions) {
                return Err(missing);
            }
            let ids = topic.partitions.iter().map(|partition| partition.id);
            let ids = ids.filter(|id| self.partitions.is_empty() || self.partitions.contains(id));
            wanted.extend(ids.map(|id| TopicPartition::new(name, id)));
        }
        Ok(wanted)
    }
}

/// Prints records and counts them.
struct Printer<'a> {
    format: &'a RecordFormat,
    out: BufWriter<StdoutLock<'static>>,
    printed: u64,
    wanted: Option<u64>,
}

impl<'a> Printer<'a> {
    fn new(arguments: &'a ConsumeArguments) -> Self {
        Self {
            format: &arguments.format,
            out: BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, io::stdout().lock()),
            printed: 0,
            wanted: arguments.num,
        }
    }

    /// Fetches once and prints what came.
    fn print(
        &mut self,
        fetcher: &mut Fetcher,
        cluster: &mut Cluster,
    ) -> Result<Verdict, CommandError> {
        let Self {
            format,
            out,
            printed,
            wanted,
        } = self;
        let verdict = fetcher.poll::<CommandError>(cluster, &mut |delivery| {
            *printed += 1;
            format.write(delivery, *printed, out)?;
            if wanted.is_some_and(|wanted| *printed >= wanted) {
                return Ok(Verdict::Enough);
            }
            Ok(Verdict::More)
        })?;
        self.out.flush()?;
        fetcher.take_notices().iter().for_each(complain);
        Ok(verdict)
    }
}
