//! Keys of the records in `__sluice_mirror`.
//!
//! Layout            `docs/formats/mirror-state.md`, big-endian.

use kafka_lite::primitive::Uuid;

use super::{ProgressError, Reader, VERSION, Writer};
use crate::output::SourceKey;

/// Kinds of keys.
pub(super) const KIND_LANE: u8 = 0;
const KIND_CONTROL: u8 = 1;
const KIND_USAGE: u8 = 2;
pub(super) const KIND_DOWNLINK: u8 = 3;
pub(super) const KIND_MARKS: u8 = 4;

/// Identity of a lane within its mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneKey {
    /// What it reads.
    pub source: SourceKey,
    /// Its number; 0 where a source partition has one lane.
    pub lane: i32,
}

/// Key of a state record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StateKey {
    /// Progress of a lane of this mirror.
    Lane(String, LaneKey),
    /// Whether this mirror is paused.
    Control(String),
    /// Bytes that a shard has sent for this mirror in a month.
    Usage(String, u16),
    /// Cursor of the downlink of this mirror in a partition of this topic of the centre.
    Downlink(String, String, i32),
    /// How far a lane of this mirror was at some moments.
    Marks(String, LaneKey),
}

impl LaneKey {
    fn encode(&self, out: &mut Writer) {
        out.number(&self.source.topic_id.0);
        out.number(&self.source.partition.to_be_bytes());
        out.number(&self.lane.to_be_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, ProgressError> {
        Ok(Self {
            source: SourceKey {
                topic_id: Uuid(reader.take("topic id")?),
                partition: i32::from_be_bytes(reader.take("partition")?),
            },
            lane: i32::from_be_bytes(reader.take("lane")?),
        })
    }
}

impl StateKey {
    /// The bytes of the key.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(vec![VERSION]);
        match self {
            Self::Lane(mirror, lane) => {
                out.number(&[KIND_LANE]);
                out.text(mirror);
                lane.encode(&mut out);
            }
            Self::Marks(mirror, lane) => {
                out.number(&[KIND_MARKS]);
                out.text(mirror);
                lane.encode(&mut out);
            }
            Self::Control(mirror) => {
                out.number(&[KIND_CONTROL]);
                out.text(mirror);
            }
            Self::Usage(mirror, shard) => {
                out.number(&[KIND_USAGE]);
                out.text(mirror);
                out.number(&shard.to_be_bytes());
            }
            Self::Downlink(mirror, topic, partition) => {
                out.number(&[KIND_DOWNLINK]);
                out.text(mirror);
                out.text(topic);
                out.number(&partition.to_be_bytes());
            }
        }
        out.0
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`ProgressError`].
    pub fn decode(key: &[u8]) -> Result<Self, ProgressError> {
        let mut reader = Reader(key);
        reader.version()?;
        let kind = reader.byte("kind")?;
        let mirror = reader.text("mirror")?;
        let key = match kind {
            KIND_LANE => Self::Lane(mirror, LaneKey::decode(&mut reader)?),
            KIND_MARKS => Self::Marks(mirror, LaneKey::decode(&mut reader)?),
            KIND_CONTROL => Self::Control(mirror),
            KIND_USAGE => Self::Usage(mirror, u16::from_be_bytes(reader.take("shard")?)),
            KIND_DOWNLINK => {
                let topic = reader.text("topic")?;
                Self::Downlink(mirror, topic, i32::from_be_bytes(reader.take("partition")?))
            }
            _ => return Err(ProgressError::Damaged { field: "kind" }),
        };
        reader.end()?;
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::{LaneKey, StateKey};
    use crate::output::SourceKey;
    use kafka_lite::primitive::Uuid;

    #[test]
    fn keys_come_back() {
        let lane = LaneKey {
            source: SourceKey {
                topic_id: Uuid([1; 16]),
                partition: 4,
            },
            lane: 2,
        };
        for key in [
            StateKey::Lane("m".to_owned(), lane),
            StateKey::Marks("m".to_owned(), lane),
            StateKey::Control("m".to_owned()),
            StateKey::Usage("m".to_owned(), 3),
        ] {
            let bytes = key.encode();
            assert_eq!(StateKey::decode(&bytes), Ok(key));
            assert!(StateKey::decode(&bytes[..bytes.len() - 1]).is_err());
        }
    }
}
