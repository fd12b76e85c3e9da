//! How a consumed record is printed: the grammar of `consume -f`.
//!
//! What it is        a format read once into parts, then written per record without allocation
//!                   where that is possible.
//! Source            verbs of rpk; `%s`, `%S` and `%T` as in kcat.

use std::io::{self, Write};

use kafka_lite::record_batch::Record;

use super::json::{write_bytes, write_text};
use crate::client::fetch::Delivery;
use crate::command::escape::{self, Verb};
use crate::command::time::rfc3339;

/// A format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RecordFormat {
    /// One JSON object per line.
    Json,
    /// What the user described.
    Parts(Vec<Part>),
}

/// One piece of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Literal(Vec<u8>),
    Topic,
    Key(Encoding),
    KeyLength,
    Value(Encoding),
    ValueLength,
    Headers,
    HeaderCount,
    Partition,
    Offset,
    LeaderEpoch,
    Milliseconds,
    Rfc3339,
    LogStart,
    HighWatermark,
    Number,
}

/// How bytes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Raw,
    Hex,
    Base64,
    Json,
}

impl RecordFormat {
    /// Reads a format.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "json" {
            return Ok(Self::Json);
        }
        let parts = escape::parse(text)?.into_iter().map(part_of);
        Ok(Self::Parts(parts.collect::<Result<_, _>>()?))
    }

    /// Writes one record; `number` counts them from 1.
    pub(super) fn write(
        &self,
        delivery: &Delivery<'_>,
        number: u64,
        out: &mut impl Write,
    ) -> io::Result<()> {
        match self {
            Self::Json => write_json(delivery, out),
            Self::Parts(parts) => parts
                .iter()
                .try_for_each(|part| part.write(delivery, number, out)),
        }
    }
}

impl Part {
    fn write(&self, from: &Delivery<'_>, number: u64, out: &mut impl Write) -> io::Result<()> {
        let record = from.record;
        match self {
            Self::Literal(bytes) => out.write_all(bytes),
            Self::Topic => out.write_all(from.source.topic.as_bytes()),
            Self::Key(encoding) => encoding.write(record.key, out),
            Self::KeyLength => write!(out, "{}", length_of(record.key)),
            Self::Value(encoding) => encoding.write(record.value, out),
            Self::ValueLength => write!(out, "{}", length_of(record.value)),
            Self::Headers => write_headers(record, out),
            Self::HeaderCount => write!(out, "{}", record.headers.count_left()),
            Self::Partition => write!(out, "{}", from.source.partition),
            Self::Offset => write!(out, "{}", record.offset),
            Self::LeaderEpoch => write!(out, "{}", from.leader_epoch),
            Self::Milliseconds => write!(out, "{}", record.timestamp),
            Self::Rfc3339 => out.write_all(rfc3339(record.timestamp).as_bytes()),
            Self::LogStart => write!(out, "{}", from.log_start_offset),
            Self::HighWatermark => write!(out, "{}", from.high_watermark),
            Self::Number => write!(out, "{number}"),
        }
    }
}

impl Encoding {
    fn write(self, bytes: Option<&[u8]>, out: &mut impl Write) -> io::Result<()> {
        let present = bytes.unwrap_or_default();
        match self {
            Self::Raw => out.write_all(present),
            Self::Hex => present
                .iter()
                .try_for_each(|byte| write!(out, "{byte:02x}")),
            Self::Base64 => out.write_all(base64(present).as_bytes()),
            Self::Json => write_text(bytes, out),
        }
    }
}

fn part_of(piece: escape::Piece) -> Result<Part, String> {
    let verb = match piece {
        escape::Piece::Literal(bytes) => return Ok(Part::Literal(bytes)),
        escape::Piece::Verb(verb) => verb,
    };
    let Verb { letter, modifier } = &verb;
    Ok(match (letter, modifier.as_deref()) {
        ('k', _) => Part::Key(encoding_of(&verb)?),
        ('v' | 's', _) => Part::Value(encoding_of(&verb)?),
        ('d', Some("rfc3339")) => Part::Rfc3339,
        ('t', None) => Part::Topic,
        ('K', None) => Part::KeyLength,
        ('V' | 'S', None) => Part::ValueLength,
        ('h', None) => Part::Headers,
        ('H', None) => Part::HeaderCount,
        ('p', None) => Part::Partition,
        ('o', None) => Part::Offset,
        ('e', None) => Part::LeaderEpoch,
        ('d' | 'T', None) => Part::Milliseconds,
        ('[', None) => Part::LogStart,
        (']', None) => Part::HighWatermark,
        ('i', None) => Part::Number,
        _ => return Err(verb.unknown("%t %k %v %h %p %o %d %e %K %V %H %i %[ %]")),
    })
}

fn encoding_of(verb: &Verb) -> Result<Encoding, String> {
    match verb.modifier.as_deref() {
        None => Ok(Encoding::Raw),
        Some("hex") => Ok(Encoding::Hex),
        Some("base64") => Ok(Encoding::Base64),
        Some("json") => Ok(Encoding::Json),
        Some(_) => Err(verb.unknown("{hex}, {base64}, {json}")),
    }
}

fn length_of(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(0, <[u8]>::len)
}

/// Writes `name=value,name=value`.
fn write_headers(record: &Record<'_>, out: &mut impl Write) -> io::Result<()> {
    for (place, header) in record.headers.enumerate() {
        if place > 0 {
            out.write_all(b",")?;
        }
        out.write_all(header.key)?;
        out.write_all(b"=")?;
        out.write_all(header.value.unwrap_or_default())?;
    }
    Ok(())
}

/// Writes one record as one line of JSON, in the order of rpk.
fn write_json(from: &Delivery<'_>, out: &mut impl Write) -> io::Result<()> {
    let record = from.record;
    out.write_all(b"{\"topic\":")?;
    write_text(Some(from.source.topic.as_bytes()), out)?;
    write_bytes(",\"key", record.key, out)?;
    write_bytes(",\"value", record.value, out)?;
    if record.headers.count_left() > 0 {
        out.write_all(b",\"headers\":[")?;
        for (place, header) in record.headers.enumerate() {
            out.write_all(if place > 0 { b",{" } else { b"{" })?;
            write_bytes("\"key", Some(header.key), out)?;
            write_bytes(",\"value", header.value, out)?;
            out.write_all(b"}")?;
        }
        out.write_all(b"]")?;
    }
    writeln!(
        out,
        ",\"timestamp\":{},\"partition\":{},\"offset\":{}}}",
        record.timestamp, from.source.partition, record.offset
    )
}

/// RFC 4648 §4 with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let sign = |bits: u32| {
        let place = usize::try_from(bits & 0x3f).unwrap_or(0);
        ALPHABET.get(place).map_or('=', |byte| char::from(*byte))
    };
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |place: usize| chunk.get(place).copied().map_or(0, u32::from);
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        text.push(sign(bits >> 18));
        text.push(sign(bits >> 12));
        text.push(if chunk.len() > 1 {
            sign(bits >> 6)
        } else {
            '='
        });
        text.push(if chunk.len() > 2 { sign(bits) } else { '=' });
    }
    text
}

#[cfg(test)]
mod tests {
    use kafka_lite::record_batch::{
        BatchBuilder, BatchOptions, BatchView, DecompressLimits, RecordHeader,
    };

    use super::{RecordFormat, base64};
    use crate::client::fetch::Delivery;
    use crate::client::offsets::TopicPartition;

    type Pair<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

    fn printed_pair(format: &str, (key, value): Pair<'_>, headers: &[RecordHeader<'_>]) -> String {
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: 41,
            partition_leader_epoch: 5,
            ..BatchOptions::default()
        });
        builder.append(1_000, key, value, headers).unwrap();
        let bytes = builder.finish().unwrap();
        let view = BatchView::new(&bytes).unwrap();
        let mut scratch = Vec::new();
        let mut records = view
            .records(&DecompressLimits::default(), &mut scratch)
            .unwrap();
        let delivery = Delivery {
            source: &TopicPartition::new("orders", 3),
            record: &records.next().unwrap().unwrap(),
            leader_epoch: 5,
            log_start_offset: 2,
            high_watermark: 50,
        };
        let mut text = Vec::new();
        let format = RecordFormat::parse(format).unwrap();
        format.write(&delivery, 7, &mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    fn printed(format: &str) -> String {
        let headers = [
            RecordHeader {
                key: b"a",
                value: Some(b"1"),
            },
            RecordHeader {
                key: b"b",
                value: None,
            },
        ];
        printed_pair(format, (Some(b"k1"), Some(b"va\"lue")), &headers)
    }

    #[test]
    fn every_verb_prints_its_field() {
        let rows = [
            ("%t/%p@%o", "orders/3@41"),
            ("%k=%v\\n", "k1=va\"lue\n"),
            ("%s %S %T", "va\"lue 6 1000"),
            ("%K %V %H", "2 6 2"),
            ("%h", "a=1,b="),
            ("%d %d{rfc3339}", "1000 1970-01-01T00:00:01.000Z"),
            ("%e %[ %] %i", "5 2 50 7"),
            ("%k{hex} %k{base64} %v{json}", "6b31 azE= \"va\\\"lue\""),
            ("100%%\\t\\x41", "100%\tA"),
        ];
        for (format, expected) in rows {
            assert_eq!(printed(format), expected, "{format}");
        }
    }

    #[test]
    fn json_is_one_line_and_keeps_nulls_and_bytes() {
        assert_eq!(
            printed("json"),
            "{\"topic\":\"orders\",\"key\":\"k1\",\"value\":\"va\\\"lue\",\"headers\":[{\"key\":\"a\",\
             \"value\":\"1\"},{\"key\":\"b\",\"value\":null}],\"timestamp\":1000,\"partition\":3,\
             \"offset\":41}\n"
        );
        assert_eq!(
            printed_pair("json", (None, Some(b"\xff\x00")), &[]),
            "{\"topic\":\"orders\",\"key\":null,\"value_base64\":\"/wA=\",\"timestamp\":1000,\
             \"partition\":3,\"offset\":41}\n"
        );
    }

    #[test]
    fn what_is_not_a_verb_is_refused_with_the_verbs_there_are() {
        for format in ["%x", "%", "%k{octal}", "%k{hex", "\\q", "\\x4", "\\"] {
            let error = RecordFormat::parse(format).unwrap_err();
            assert!(error.contains(format), "{error}");
        }
    }

    #[test]
    fn base64_of_the_rfc() {
        let rows = [
            "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy",
        ];
        for (length, expected) in rows.into_iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..length]), expected);
        }
    }
}
