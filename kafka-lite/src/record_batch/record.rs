//! Records inside a batch: a strict iterator of borrowed slices.
//!
//! What it is        [`Records`] walks uncompressed record bytes; nothing is copied or allocated.
//! What it is not    a place that decompresses.
//! Invariants        1. a yielded record ends exactly where its length field says.
//!                   2. after an error the iterator is finished.
//! Layout            length varint, attributes i8, timestampDelta varlong, offsetDelta varint, key,
//!                   value, header count varint, headers; lengths are varints, -1 is null.
//! Source            Kafka 4.3 `DefaultRecord`. Header keys may repeat and keep their order.

use thiserror::Error;

use super::header::{BatchHeader, TimestampType};
use super::varint::{take_varint, take_varlong};

/// Why a record does not parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("record {record_number} of the batch does not parse: {field}")]
pub struct RecordError {
    /// Number of the record in the batch, from 0.
    pub record_number: i32,
    /// Which field is wrong.
    pub field: &'static str,
}

/// One record; slices borrow from the (decompressed) batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset in the partition.
    pub offset: i64,
    /// Offset minus the batch's base offset, as stored.
    pub offset_delta: i32,
    /// Timestamp, ms since 1970: the record's own, or the batch's append time.
    pub timestamp: i64,
    /// Key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is null, a tombstone on a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Headers in their order.
    pub headers: RecordHeaders<'a>,
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// Key, meant to be UTF-8; not checked.
    pub key: &'a [u8],
    /// Value; `None` is null.
    pub value: Option<&'a [u8]>,
}

/// Headers of a record, already checked: an iterator in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RecordHeaders<'a> {
    count: i32,
    bytes: &'a [u8],
}

impl RecordHeaders<'_> {
    /// Returns how many headers are left to iterate.
    #[must_use]
    pub fn count_left(&self) -> usize {
        usize::try_from(self.count).unwrap_or(0)
    }
}

impl<'a> Iterator for RecordHeaders<'a> {
    type Item = RecordHeader<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.count <= 0 {
            return None;
        }
        self.count -= 1;
        take_header(&mut self.bytes)
    }
}

/// Iterator over the records of a batch.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    base_offset: i64,
    base_timestamp: i64,
    append_time: Option<i64>,
    next_number: i32,
    records_count: i32,
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// Walks `uncompressed`, the record bytes of the batch with this header.
    #[must_use]
    pub fn new(header: &BatchHeader, uncompressed: &'a [u8]) -> Self {
        Self {
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            append_time: (header.timestamp_type() == TimestampType::LogAppendTime)
                .then_some(header.max_timestamp),
            next_number: 0,
            records_count: header.records_count,
            rest: uncompressed,
        }
    }

    /// Returns the bytes not yet walked; empty after the last record of an intact batch.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    fn take_record(&mut self) -> Result<Record<'a>, &'static str> {
        let length = take_varint(&mut self.rest).ok_or("length")?;
        let length = usize::try_from(length).map_err(|_| "length")?;
        let (mut body, after) = self.rest.split_at_checked(length).ok_or("length")?;
        self.rest = after;
        let (_attributes, after_attributes) = body.split_first().ok_or("attributes")?;
        body = after_attributes;
        let timestamp_delta = take_varlong(&mut body).ok_or("timestamp delta")?;
        let offset_delta = take_varint(&mut body).ok_or("offset delta")?;
        let key = take_nullable(&mut body).ok_or("key")?;
        let value = take_nullable(&mut body).ok_or("value")?;
        let headers = take_headers(body)?;
        Ok(Record {
            offset: self.base_offset.wrapping_add(i64::from(offset_delta)),
            offset_delta,
            timestamp: self
                .append_time
                .unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta)),
            key,
            value,
            headers,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.next_number >= self.records_count {
            return None;
        }
        let record_number = self.next_number;
        self.next_number += 1;
        let record = self.take_record();
        if record.is_err() {
            self.next_number = self.records_count;
        }
        Some(record.map_err(|field| RecordError {
            record_number,
            field,
        }))
    }
}

/// Checks that `body` is a header count and exactly that many headers.
#[inline]
fn take_headers(mut body: &[u8]) -> Result<RecordHeaders<'_>, &'static str> {
    let count = take_varint(&mut body).ok_or("header count")?;
    if count == 0 && body.is_empty() {
        return Ok(RecordHeaders::default());
    }
    if count < 0 {
        return Err("header count");
    }
    let bytes = body;
    for _ in 0..count {
        take_header(&mut body).ok_or("header")?;
    }
    if body.is_empty() {
        Ok(RecordHeaders { count, bytes })
    } else {
        Err("end of record")
    }
}

fn take_header<'a>(rest: &mut &'a [u8]) -> Option<RecordHeader<'a>> {
    let key = take_nullable(rest)??;
    let value = take_nullable(rest)?;
    Some(RecordHeader { key, value })
}

/// Splits a length-prefixed slice off; the inner `None` is null.
#[expect(
    clippy::option_option,
    reason = "outer: does it parse; inner: is it null"
)]
fn take_nullable<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = take_varint(rest)?;
    if length == -1 {
        return Some(None);
    }
    let (slice, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(Some(slice))
}
