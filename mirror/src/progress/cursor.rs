//! How far a partition of the centre was brought, as it is written down.
//!
//! Layout            kind 3 of `docs/formats/mirror-state.md`.

use kafka_lite::primitive::Uuid;

use super::{ProgressError, Reader, VERSION, Writer};

/// Which partition of which centre: offsets of one mean nothing to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Cluster id of the centre; empty where it has none.
    pub cluster_id: String,
    /// Topic id there; all zero where the centre has none. A topic made anew has another one.
    pub topic_id: Uuid,
}

/// Everything that a partition of the downlink must remember. What was appended behind it tells by
/// its origin headers how far it really is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Leader epoch of the local partition under which this was written.
    pub leader_epoch: i32,
    /// Topic id of the local topic.
    pub local_topic_id: Uuid,
    /// First local offset that may hold records of the downlink that this does not know.
    pub local_offset: i64,
    /// What is read.
    pub identity: Identity,
    /// First offset at the centre that was not dealt with.
    pub next_offset: i64,
    /// Leader epoch of the last batch read there; `None` before the first.
    pub centre_epoch: Option<i32>,
    /// A gap that is not announced yet: first missing offset and the end, exclusive.
    pub gap: Option<(i64, i64)>,
    /// Records appended in all.
    pub records: u64,
    /// Records that were gone at the centre before they were read.
    pub missing_records: u64,
    /// Gaps announced.
    pub gaps: u64,
    /// Records that the local topic refused.
    pub dead_letters: u64,
    /// Times that the topic at the centre was another one.
    pub recreations: u64,
}

impl Cursor {
    /// The bytes of the value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(vec![VERSION]);
        out.number(&self.leader_epoch.to_be_bytes());
        out.number(&self.local_topic_id.0);
        out.number(&self.local_offset.to_be_bytes());
        out.text(&self.identity.cluster_id);
        out.number(&self.identity.topic_id.0);
        out.number(&self.next_offset.to_be_bytes());
        out.number(&self.centre_epoch.unwrap_or(-1).to_be_bytes());
        let (gap_start, gap_end) = self.gap.unwrap_or((-1, -1));
        out.number(&gap_start.to_be_bytes());
        out.number(&gap_end.to_be_bytes());
        for counter in [
            self.records,
            self.missing_records,
            self.gaps,
            self.dead_letters,
            self.recreations,
        ] {
            out.number(&counter.to_be_bytes());
        }
        out.0
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`ProgressError`].
    pub fn decode(value: &[u8]) -> Result<Self, ProgressError> {
        let mut reader = Reader(value);
        reader.version()?;
        let leader_epoch = i32::from_be_bytes(reader.take("leader epoch")?);
        let local_topic_id = Uuid(reader.take("local topic id")?);
        let local_offset = i64::from_be_bytes(reader.take("local offset")?);
        let identity = Identity {
            cluster_id: reader.text("cluster id")?,
            topic_id: Uuid(reader.take("topic id")?),
        };
        let next_offset = i64::from_be_bytes(reader.take("next offset")?);
        let centre_epoch = i32::from_be_bytes(reader.take("leader epoch of the centre")?);
        let gap_start = i64::from_be_bytes(reader.take("gap start")?);
        let gap_end = i64::from_be_bytes(reader.take("gap end")?);
        let mut counter = || reader.take("counter").map(u64::from_be_bytes);
        let cursor = Self {
            leader_epoch,
            local_topic_id,
            local_offset,
            identity,
            next_offset,
            centre_epoch: (centre_epoch >= 0).then_some(centre_epoch),
            gap: (gap_start >= 0).then_some((gap_start, gap_end)),
            records: counter()?,
            missing_records: counter()?,
            gaps: counter()?,
            dead_letters: counter()?,
            recreations: counter()?,
        };
        reader.end()?;
        Ok(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cursor, Identity};
    use crate::progress::{ProgressTable, StateKey};
    use kafka_lite::primitive::Uuid;

    fn cursor() -> Cursor {
        Cursor {
            leader_epoch: 3,
            local_topic_id: Uuid([7; 16]),
            local_offset: 1 << 40,
            identity: Identity {
                cluster_id: "centre".to_owned(),
                topic_id: Uuid([8; 16]),
            },
            next_offset: 99,
            centre_epoch: Some(0),
            gap: Some((90, 99)),
            records: 1,
            missing_records: 9,
            gaps: 1,
            dead_letters: 2,
            recreations: 3,
        }
    }

    #[test]
    fn a_cursor_comes_back_and_every_cut_is_an_error() {
        for cursor in [cursor(), Cursor::default()] {
            let value = cursor.encode();
            assert_eq!(Cursor::decode(&value), Ok(cursor));
            for end in 0..value.len() {
                assert!(Cursor::decode(&value[..end]).is_err(), "{end}");
            }
        }
        let key = StateKey::Downlink("hq".to_owned(), "commands".to_owned(), 4);
        let bytes = key.encode();
        assert_eq!(StateKey::decode(&bytes), Ok(key));
        for end in 0..bytes.len() {
            assert!(StateKey::decode(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn a_deposed_leader_writes_no_cursor() {
        let key = StateKey::Downlink("hq".to_owned(), "commands".to_owned(), 0).encode();
        let mut table = ProgressTable::default();
        assert!(table.may_write(&key, &cursor().encode()));
        table.load(&key, Some(&cursor().encode()));
        for (leader_epoch, may_write) in [(2, false), (3, true), (4, true)] {
            let value = Cursor {
                leader_epoch,
                ..cursor()
            };
            assert_eq!(table.may_write(&key, &value.encode()), may_write);
        }
    }
}
