//! Records out of a stream of bytes: the grammar of `produce -f`.
//!
//! What it is        fields with text between them; the last text ends the record. Input is cut at
//!                   that text first, then at the texts between.
//! Invariants        1. a record longer than [`INPUT_RECORD_BYTES_MAX`] is an error.
//! Source            the habit of rpk, a subset: `%k`, `%v`, `%h`, `%p`.

use std::io::{self, BufRead};

use crate::client::limits::INPUT_RECORD_BYTES_MAX;
use crate::command::escape::{self, Piece};

/// A format of input records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InputFormat {
    /// Text before the first field.
    prefix: Vec<u8>,
    /// Fields, each with the text after it; the last text ends the record.
    fields: Vec<(Field, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Key,
    Value,
    Headers,
    Partition,
}

/// Name and value of a header.
type Header = (Vec<u8>, Vec<u8>);

/// A record as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct InputRecord {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<Header>,
    pub(super) partition: Option<i32>,
}

/// Reads records one after another.
#[derive(Debug)]
pub(super) struct InputReader<'f, R> {
    format: &'f InputFormat,
    source: R,
    number: u64,
    buffer: Vec<u8>,
}

impl InputFormat {
    /// Reads a format.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut format = Self {
            prefix: Vec::new(),
            fields: Vec::new(),
        };
        for piece in escape::parse(text)? {
            match piece {
                Piece::Literal(bytes) => match format.fields.last_mut() {
                    Some((_, after)) => *after = bytes,
                    None => format.prefix = bytes,
                },
                Piece::Verb(verb) => {
                    let field = match (verb.letter, &verb.modifier) {
                        ('k', None) => Field::Key,
                        ('v' | 's', None) => Field::Value,
                        ('h', None) => Field::Headers,
                        ('p', None) => Field::Partition,
                        _ => return Err(verb.unknown("%k %v %h %p")),
                    };
                    if format.fields.iter().any(|(known, _)| *known == field) {
                        return Err(format!("`{text}` has %{} twice", verb.letter));
                    }
                    format.fields.push((field, Vec::new()));
                }
            }
        }
        if format.fields.is_empty() {
            return Err(format!("`{text}` has no field; there are: %k %v %h %p"));
        }
        if format.fields.iter().any(|(_, after)| after.is_empty()) {
            return Err(format!(
                "`{text}` needs text after every field, as in '%k %v\\n'"
            ));
        }
        Ok(format)
    }

    /// Cuts one record; `text` is without the text that ends it.
    fn cut(&self, text: &[u8]) -> Result<InputRecord, String> {
        let mut rest = text
            .strip_prefix(self.prefix.as_slice())
            .ok_or_else(|| format!("it does not start with {}", quoted(&self.prefix)))?;
        let mut record = InputRecord::default();
        let last = self.fields.len().saturating_sub(1);
        for (place, (field, after)) in self.fields.iter().enumerate() {
            let bytes = if place == last {
                std::mem::take(&mut rest)
            } else {
                let end =
                    find(rest, after).ok_or_else(|| format!("{} is missing", quoted(after)))?;
                let (bytes, tail) = rest.split_at_checked(end).unwrap_or_default();
                rest = tail.get(after.len()..).unwrap_or_default();
                bytes
            };
            match field {
                Field::Key => record.key = Some(bytes.to_vec()),
                Field::Value => record.value = Some(bytes.to_vec()),
                Field::Headers => record.headers = headers(bytes)?,
                Field::Partition => record.partition = Some(number(bytes)?),
            }
        }
        Ok(record)
    }

    fn end(&self) -> &[u8] {
        self.fields.last().map_or(b"\n", |(_, after)| after)
    }
}

impl<'f, R: BufRead> InputReader<'f, R> {
    pub(super) const fn new(format: &'f InputFormat, source: R) -> Self {
        Self {
            format,
            source,
            number: 0,
            buffer: Vec::new(),
        }
    }

    /// The next record; `None` at the end of the input. What stands after the last end text is a
    /// record too if it is not empty.
    pub(super) fn read(&mut self) -> Result<Option<InputRecord>, String> {
        self.buffer.clear();
        self.number += 1;
        let failed = |number: u64, reason: &str| format!("input record {number}: {reason}");
        let end = self.format.end();
        let found = read_until(&mut self.source, end, &mut self.buffer)
            .map_err(|error| failed(self.number, &error.to_string()))?;
        if !found && self.buffer.is_empty() {
            return Ok(None);
        }
        let cut = self.format.cut(&self.buffer);
        cut.map(Some).map_err(|reason| failed(self.number, &reason))
    }
}

/// Reads up to the end text and takes it away; false if the input ended before.
fn read_until(source: &mut impl BufRead, end: &[u8], buffer: &mut Vec<u8>) -> io::Result<bool> {
    let last = end.last().copied().unwrap_or(b'\n');
    loop {
        let room = INPUT_RECORD_BYTES_MAX.saturating_sub(buffer.len());
        if room == 0 {
            let text = format!("longer than {INPUT_RECORD_BYTES_MAX} bytes");
            return Err(io::Error::other(text));
        }
        let mut bounded = io::Read::take(&mut *source, u64::try_from(room).unwrap_or(u64::MAX));
        if bounded.read_until(last, buffer)? == 0 {
            return Ok(false);
        }
        if buffer.ends_with(end) {
            buffer.truncate(buffer.len().saturating_sub(end.len()));
            return Ok(true);
        }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len().max(1))
        .position(|window| window == wanted)
}

/// Reads `name=value,name=value`; nothing is no header.
fn headers(bytes: &[u8]) -> Result<Vec<Header>, String> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let pair = |pair: &[u8]| {
        let at =
            find(pair, b"=").ok_or_else(|| format!("header {} is not name=value", quoted(pair)))?;
        let (name, value) = pair.split_at_checked(at).unwrap_or_default();
        Ok((name.to_vec(), value.get(1..).unwrap_or_default().to_vec()))
    };
    bytes.split(|byte| *byte == b',').map(pair).collect()
}

fn number(bytes: &[u8]) -> Result<i32, String> {
    let text = std::str::from_utf8(bytes).ok();
    let number = text
        .and_then(|text| text.parse().ok())
        .filter(|number| *number >= 0);
    number.ok_or_else(|| format!("partition {} is not a number", quoted(bytes)))
}

fn quoted(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use super::{InputFormat, InputReader, InputRecord};

    fn read_all(format: &str, input: &str) -> Result<Vec<InputRecord>, String> {
        let format = InputFormat::parse(format)?;
        let mut reader = InputReader::new(&format, input.as_bytes());
        let mut records = Vec::new();
        while let Some(record) = reader.read()? {
            records.push(record);
        }
        Ok(records)
    }

    fn pair(key: Option<&str>, value: &str) -> InputRecord {
        InputRecord {
            key: key.map(|key| key.as_bytes().to_vec()),
            value: Some(value.as_bytes().to_vec()),
            ..InputRecord::default()
        }
    }

    #[test]
    fn lines_are_values_and_the_last_needs_no_end() {
        let expected = vec![pair(None, "one"), pair(None, ""), pair(None, "two")];
        assert_eq!(read_all("%v\\n", "one\n\ntwo"), Ok(expected.clone()));
        assert_eq!(read_all("%v\\n", "one\n\ntwo\n"), Ok(expected));
        assert_eq!(read_all("%v\\n", ""), Ok(vec![]));
    }

    #[test]
    fn a_key_ends_at_the_first_separator() {
        let expected = vec![pair(Some("k"), "v w"), pair(Some(""), "x")];
        assert_eq!(read_all("%k %v\\n", "k v w\n x\n"), Ok(expected));
        let expected = vec![pair(Some("k"), "a\nb"), pair(Some("l"), "c")];
        assert_eq!(read_all("%k::%v--\\n", "k::a\nb--\nl::c--\n"), Ok(expected));
    }

    #[test]
    fn headers_partition_and_prefix() {
        let record = InputRecord {
            headers: vec![
                (b"a".to_vec(), b"1=2".to_vec()),
                (b"b".to_vec(), Vec::new()),
            ],
            partition: Some(3),
            ..pair(Some("k"), "v")
        };
        assert_eq!(
            read_all(">%p|%h|%k|%v\\n", ">3|a=1=2,b=|k|v\n"),
            Ok(vec![record])
        );
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_record() {
        let rows = [
            ("%k %v\\n", "a b\nab\n", "input record 2: \" \" is missing"),
            (
                "%p %v\\n",
                "x b\n",
                "input record 1: partition \"x\" is not a number",
            ),
            (
                "%h %v\\n",
                "x b\n",
                "input record 1: header \"x\" is not name=value",
            ),
            (
                ">%v\\n",
                "b\n",
                "input record 1: it does not start with \">\"",
            ),
        ];
        for (format, input, expected) in rows {
            assert_eq!(read_all(format, input), Err(expected.to_owned()));
        }
        for format in [
            "",
            "x",
            "%v",
            "%k%v\\n",
            "%v\\n%v\\n",
            "%o\\n",
            "%k{hex} %v\\n",
        ] {
            read_all(format, "").unwrap_err();
        }
    }
}
