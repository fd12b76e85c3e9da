//! `sluice produce`: standard input to a topic.
//!
//! What it is        arguments; a thread that reads records, and a loop that collects what has
//!                   been read into rounds: a line at a terminal is sent at once, a pipe in
//!                   batches.

mod input;

use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use clap::{Args, ValueEnum};
use kafka_lite::record_batch::{Compression, RecordHeader};
use serde_json::json;

use self::input::{InputFormat, InputReader, InputRecord};
use super::client::{BrokerOptions, CommandError, key_value, no_partition};
use super::output::Format;
use super::time::now_ms;
use crate::client::limits::{INPUT_QUEUE_RECORDS, LINGER, REQUEST_TIMEOUT};
use crate::client::partitioner::{Sticky, partition_of};
use crate::client::produce::{ProduceOptions, Produced, Producer, Room};
use crate::client::{ClientError, Cluster};

/// Bytes of standard input that are read at once.
const INPUT_BUFFER_BYTES: usize = 256 * 1024;

const HELP: &str = "\
Formats (-f): fields with text between them; the text after the last field ends a record.
  %v               value (also %s)
  %k               key
  %h               headers as name=value,name=value
  %p               partition
  \\n \\t \\r \\0 \\\\ \\xNN %%

Records with a key go to the partition that Kafka's own clients choose for it (murmur2); others to
one partition after another.

Examples:
  echo hello | sluice produce orders
  echo 'customer-1 paid' | sluice produce orders -f '%k %v\\n'
  sluice produce orders -k customer-1 -H source=till-3 -z zstd < lines.txt
  echo 'customer-1,' | sluice produce state -f '%k,%v\\n' --tombstone";

/// Codecs as Kafka names them.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Arguments of `sluice produce`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ProduceArguments {
    /// Topic to write to
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// How to read records, see below
    #[arg(short, long, default_value = "%v\\n", value_parser = InputFormat::parse)]
    format: InputFormat,
    /// Key of every record that brings none
    #[arg(short, long)]
    key: Option<String>,
    /// A header of every record; may be given again
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = key_value)]
    headers: Vec<(String, String)>,
    /// Partition of every record that brings none
    #[arg(short, long)]
    partition: Option<i32>,
    /// Codec of the batches
    #[arg(short = 'z', long, value_enum, default_value_t = Codec::None)]
    compression: Codec,
    /// Who must have stored a record: all replicas in sync (all, -1), the leader (1), nobody (0)
    #[arg(
        long,
        default_value = "all",
        allow_hyphen_values = true,
        value_parser = parse_acks
    )]
    acks: i16,
    /// An empty value is null: on a compacted topic it deletes the key
    #[arg(short = 'Z', long)]
    tombstone: bool,
    /// Print nothing for records that are stored
    #[arg(short, long)]
    quiet: bool,
    /// How to print where records went
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    brokers: BrokerOptions,
}

impl ProduceArguments {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        let mut cluster = self.brokers.connect()?;
        let topic = cluster.topic(&self.topic, true)?;
        let options = ProduceOptions {
            acks: self.acks,
            compression: self.compression.into(),
            timeout: REQUEST_TIMEOUT,
        };
        let mut rounds = Rounds {
            arguments: self,
            producer: Producer::new(topic, options),
            sticky: Sticky::new(u32::try_from(now_ms() & 0xffff).unwrap_or(0)),
            out: BufWriter::new(io::stdout().lock()),
            is_quiet: self.quiet,
        };
        let (sender, receiver) = sync_channel(INPUT_QUEUE_RECORDS);
        let format = self.format.clone();
        std::thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || read_input(&format, &sender))?;
        rounds.run(&receiver, &mut cluster)
    }
}

/// Sends records until the input ends; the receiver may go away first.
fn read_input(format: &InputFormat, sender: &SyncSender<Result<InputRecord, String>>) {
    let source = io::BufReader::with_capacity(INPUT_BUFFER_BYTES, io::stdin());
    let mut reader = InputReader::new(format, source);
    while let Some(record) = reader.read().transpose() {
        let is_last = record.is_err();
        if sender.send(record).is_err() || is_last {
            return;
        }
    }
}

/// Collects records into rounds and says where they went.
struct Rounds<'a> {
    arguments: &'a ProduceArguments,
    producer: Producer,
    sticky: Sticky,
    out: BufWriter<StdoutLock<'static>>,
    /// Nobody wants to know, or nobody listens any more.
    is_quiet: bool,
}

impl Rounds<'_> {
    fn run(
        &mut self,
        records: &Receiver<Result<InputRecord, String>>,
        cluster: &mut Cluster,
    ) -> Result<(), CommandError> {
        while let Ok(first) = records.recv() {
            let deadline = Instant::now() + LINGER;
            let mut next = Some(first);
            let mut bad_input = None;
            while let Some(record) = next.take() {
                match record {
                    Ok(record) => {
                        if self.append(record, cluster)? == Room::Full {
                            break;
                        }
                    }
                    Err(reason) => {
                        bad_input = Some(reason);
                        break;
                    }
                }
                next = receive_before(records, deadline);
            }
            self.send(cluster)?;
            if let Some(reason) = bad_input {
                return Err(ClientError::Other(reason).into());
            }
        }
        Ok(())
    }

    fn append(&mut self, record: InputRecord, cluster: &mut Cluster) -> Result<Room, CommandError> {
        let arguments = self.arguments;
        let fallback = arguments.key.as_deref().map(str::as_bytes);
        let key = record.key.as_deref().or(fallback);
        let value = record.value.as_deref().unwrap_or_default();
        let is_null = arguments.tombstone && value.is_empty();
        let value = (!is_null).then_some(value);
        let partition = self.partition(record.partition, key)?;
        let own = record.headers.iter();
        let own = own.map(|(name, value)| (name.as_slice(), value.as_slice()));
        let all = arguments.headers.iter();
        let all = all.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let headers = all.chain(own).map(|(key, value)| RecordHeader {
            key,
            value: Some(value),
        });
        let headers: Vec<RecordHeader<'_>> = headers.collect();
        let record_bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        if self.producer.would_overflow(partition, record_bytes) {
            self.send(cluster)?;
        }
        Ok(self
            .producer
            .append(partition, now_ms(), (key, value), &headers)?)
    }

    fn partition(&self, own: Option<i32>, key: Option<&[u8]>) -> Result<i32, CommandError> {
        let count = self.producer.topic().partition_count();
        let named = own.or(self.arguments.partition);
        if let Some(partition) = named {
            if let Some(missing) = no_partition(self.producer.topic(), &[partition]) {
                return Err(missing);
            }
            return Ok(partition);
        }
        Ok(key.map_or_else(
            || self.sticky.partition(count),
            |key| partition_of(key, count),
        ))
    }

    fn send(&mut self, cluster: &mut Cluster) -> Result<(), CommandError> {
        self.sticky.advance();
        let produced = self.producer.send(cluster)?;
        if self.is_quiet {
            return Ok(());
        }
        let mut shown = produced.iter().try_for_each(|one| self.show(one));
        shown = shown.and_then(|()| self.out.flush());
        match shown {
            // The records are the work: it is finished whoever stops listening.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.is_quiet = true,
            other => other?,
        }
        Ok(())
    }

    fn show(&mut self, produced: &Produced) -> io::Result<()> {
        let Produced {
            partition,
            offset,
            timestamp,
        } = produced;
        match (self.arguments.output, offset) {
            (Format::Json, _) => {
                let line = json!({
                    "topic": self.arguments.topic,
                    "partition": partition,
                    "offset": offset,
                    "timestamp": timestamp,
                });
                writeln!(self.out, "{line}")
            }
            (Format::Text, Some(offset)) => writeln!(
                self.out,
                "Produced to partition {partition} at offset {offset} with timestamp {timestamp}."
            ),
            (Format::Text, None) => writeln!(
                self.out,
                "Sent to partition {partition} with timestamp {timestamp}, not acknowledged."
            ),
        }
    }
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Gzip => Self::Gzip,
            Codec::Snappy => Self::Snappy,
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd => Self::Zstd,
        }
    }
}

fn parse_acks(text: &str) -> Result<i16, String> {
    match text {
        "all" | "-1" => Ok(-1),
        "1" => Ok(1),
        "0" => Ok(0),
        _ => Err("expected all, 1 or 0".to_owned()),
    }
}

/// The next record if it comes in time.
fn receive_before<T>(records: &Receiver<T>, deadline: Instant) -> Option<T> {
    let left = deadline.saturating_duration_since(Instant::now());
    records.recv_timeout(left).ok()
}
