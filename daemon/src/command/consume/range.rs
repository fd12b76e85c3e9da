//! Where reading starts and stops: the grammar of `consume -o`.
//!
//! What it is        `START`, `START:STOP` or `:STOP`, read once and then applied to partitions.
//! Source            the habits of rpk and kcat.

use std::collections::BTreeMap;

use crate::client::fetch::Position;
use crate::client::offsets::{TopicPartition, Wanted, list_offsets, list_same};
use crate::client::{ClientError, Cluster};
use crate::command::time::{now_ms, parse_time};

/// Where reading starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartAt {
    /// The first record that is there.
    Start,
    /// The next record that comes.
    End,
    /// This offset.
    Offset(i64),
    /// So many records after the first.
    AfterStart(i64),
    /// So many records before the end.
    BeforeEnd(i64),
    /// The first record of this time or later, ms since 1970.
    Time(i64),
}

/// Where reading stops, exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopAt {
    /// Never.
    Never,
    /// The end as it is when the command starts.
    End,
    /// This offset.
    Offset(i64),
    /// The first record of this time or later, ms since 1970.
    Time(i64),
}

/// Both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OffsetRange {
    pub(super) start: StartAt,
    pub(super) stop: StopAt,
}

impl OffsetRange {
    /// Reads the option with the clock of the machine.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Self::parse_at(text, now_ms())
    }

    fn parse_at(text: &str, now: i64) -> Result<Self, String> {
        let whole = parse_start(text, now);
        if let Ok(start) = whole {
            let stop = StopAt::Never;
            return Ok(Self { start, stop });
        }
        // A time has colons of its own, so every colon may be the one between.
        for (place, _) in text.match_indices(':') {
            let (Some(before), Some(after)) = (text.get(..place), text.get(place + 1..)) else {
                continue;
            };
            let start = if before.is_empty() {
                Ok(StartAt::Start)
            } else {
                parse_start(before, now)
            };
            if let (Ok(start), Ok(stop)) = (start, parse_stop(after, now)) {
                return Self { start, stop }.in_order(text);
            }
        }
        Err(format!(
            "`{text}` is not an offset: give start, end, N, +N, -N or @TIME, \
             then if wanted :end, :N or :@TIME"
        ))
    }

    /// Refuses what can hold no record, whatever is in the topic.
    fn in_order(self, text: &str) -> Result<Self, String> {
        let is_backwards = match (self.start, self.stop) {
            (StartAt::Offset(start), StopAt::Offset(stop))
            | (StartAt::Time(start), StopAt::Time(stop)) => stop < start,
            _ => false,
        };
        if is_backwards {
            return Err(format!("`{text}` stops before it starts"));
        }
        Ok(self)
    }

    /// Turns the range into positions of partitions.
    pub(super) fn positions(
        &self,
        cluster: &mut Cluster,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Position>, ClientError> {
        let first = list_same(cluster, partitions, Wanted::Start)?;
        let end = list_same(cluster, partitions, Wanted::End)?;
        let start_time = if let StartAt::Time(time) = self.start {
            list_same(cluster, partitions, Wanted::Time(time))?
        } else {
            BTreeMap::new()
        };
        let stop_time = if let StopAt::Time(time) = self.stop {
            let wanted = partitions.iter();
            let wanted = wanted.map(|one| (one.clone(), Wanted::Time(time)));
            list_offsets(cluster, &wanted.collect())?
        } else {
            BTreeMap::new()
        };
        let positions = partitions.iter().map(|one| {
            let first = first.get(one).copied().unwrap_or(0);
            let end = end.get(one).copied().unwrap_or(first);
            let wanted = match self.start {
                StartAt::Start => first,
                StartAt::End => end,
                StartAt::Offset(offset) => offset.max(first),
                StartAt::AfterStart(count) => first.saturating_add(count),
                StartAt::BeforeEnd(count) => end.saturating_sub(count).max(first),
                StartAt::Time(_) => start_time.get(one).copied().unwrap_or(end),
            };
            let stop = match self.stop {
                StopAt::Never => None,
                StopAt::End => Some(end),
                StopAt::Offset(offset) => Some(offset),
                StopAt::Time(_) => stop_time.get(one).copied().flatten(),
            };
            let position = Position {
                next: wanted.min(end),
                first_wanted: wanted,
                end: stop,
            };
            (one.clone(), position)
        });
        Ok(positions.collect())
    }
}

fn parse_start(text: &str, now: i64) -> Result<StartAt, String> {
    match text {
        "start" | "oldest" | "beginning" => return Ok(StartAt::Start),
        "end" | "newest" => return Ok(StartAt::End),
        _ => {}
    }
    if let Some(time) = text.strip_prefix('@') {
        parse_time(time, now).map(StartAt::Time)
    } else if let Some(after) = text.strip_prefix('+') {
        parse_offset(after).map(StartAt::AfterStart)
    } else if let Some(before) = text.strip_prefix('-') {
        parse_offset(before).map(StartAt::BeforeEnd)
    } else {
        parse_offset(text).map(StartAt::Offset)
    }
}

fn parse_stop(text: &str, now: i64) -> Result<StopAt, String> {
    if text == "end" {
        return Ok(StopAt::End);
    }
    match text.strip_prefix('@') {
        Some(time) => parse_time(time, now).map(StopAt::Time),
        None => parse_offset(text).map(StopAt::Offset),
    }
}

fn parse_offset(text: &str) -> Result<i64, String> {
    // The standard library would take a sign as well.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let offset = text.parse().ok().filter(|_| is_number);
    offset.ok_or_else(|| format!("`{text}` is not an offset"))
}

#[cfg(test)]
mod tests {
    use super::{OffsetRange, StartAt, StopAt};

    const NOW: i64 = 1_795_428_000_000;

    #[test]
    fn the_grammar_of_offsets() {
        let rows = [
            ("start", StartAt::Start, StopAt::Never),
            ("end", StartAt::End, StopAt::Never),
            ("0", StartAt::Offset(0), StopAt::Never),
            ("17", StartAt::Offset(17), StopAt::Never),
            ("+3", StartAt::AfterStart(3), StopAt::Never),
            ("-3", StartAt::BeforeEnd(3), StopAt::Never),
            (":end", StartAt::Start, StopAt::End),
            ("start:end", StartAt::Start, StopAt::End),
            ("17:20", StartAt::Offset(17), StopAt::Offset(20)),
            (":20", StartAt::Start, StopAt::Offset(20)),
            ("-3:end", StartAt::BeforeEnd(3), StopAt::End),
            ("@1000", StartAt::Time(1_000), StopAt::Never),
            ("@1000:@2000", StartAt::Time(1_000), StopAt::Time(2_000)),
            ("@-1h:end", StartAt::Time(NOW - 3_600_000), StopAt::End),
            ("@2026-11-23T10:00:00Z", StartAt::Time(NOW), StopAt::Never),
            ("@2026-11-23T10:00:00Z:end", StartAt::Time(NOW), StopAt::End),
            (
                "@2026-11-23T10:00:00Z:@2026-11-23T10:00:01Z",
                StartAt::Time(NOW),
                StopAt::Time(NOW + 1_000),
            ),
        ];
        for (text, start, stop) in rows {
            let expected = OffsetRange { start, stop };
            assert_eq!(OffsetRange::parse_at(text, NOW), Ok(expected), "{text}");
        }
        for text in [
            "", "x", "@", "@x", "+", "-", "++1", "1:", "1:x", "end:+1", "1:2:3", "5 ",
        ] {
            OffsetRange::parse_at(text, NOW).unwrap_err();
        }
    }

    #[test]
    fn a_range_that_stops_before_it_starts_is_refused() {
        for text in ["5:3", "1:0", "@2000:@1000", "@-1h:@-2h"] {
            let reason = OffsetRange::parse_at(text, NOW).unwrap_err();
            assert_eq!(reason, format!("`{text}` stops before it starts"));
        }
        // Nothing is asked for, or only the broker knows.
        for text in ["5:5", "@1000:@1000", "-1:0", "end:3", "@1000:3"] {
            OffsetRange::parse_at(text, NOW).unwrap();
        }
    }
}
