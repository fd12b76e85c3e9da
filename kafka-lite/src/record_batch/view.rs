//! A checked view over the bytes of one batch, and walking many.
//!
//! What it is        [`BatchView`]: header plus exactly the bytes the header claims.
//! What it is not    proof that the content is intact: call [`BatchView::check_crc`] for that.
//! Source            Kafka 4.3 `DefaultRecordBatch`, `ByteBufferLogInputStream`.

use thiserror::Error;

use super::compression::{Compression, DecompressError, DecompressLimits, decompress};
use super::field;
use super::header::{BatchHeader, size_from_length};
use super::record::{RecordError, Records};

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// Fewer bytes than the header, or than the batch that it announces.
    #[error("record batch is cut: {needed_bytes} bytes needed, {got_bytes} present")]
    Truncated {
        /// Bytes the batch or its header needs.
        needed_bytes: usize,
        /// Bytes there are.
        got_bytes: usize,
    },
    /// A format version other than 2.
    #[error("record batch has magic {got}, only 2 is supported")]
    Magic {
        /// Byte found.
        got: i8,
    },
    /// A length field below the header size.
    #[error("record batch length field {got} is smaller than a batch header")]
    BatchLength {
        /// Field found.
        got: i32,
    },
    /// A codec number that does not exist.
    #[error("record batch names compression codec {id}, known are 0 to 4")]
    Codec {
        /// Number found.
        id: i16,
    },
    /// The content is not what was written.
    #[error("record batch CRC is {got:#010x}, its header says {expected:#010x}")]
    Crc {
        /// CRC in the header.
        expected: u32,
        /// CRC of the bytes.
        got: u32,
    },
}

/// Why the records of a batch cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BatchReadError {
    /// The batch itself is wrong.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The compressed records do not decompress.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// A record does not parse.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// One batch: exactly its bytes, header decoded.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// Views `bytes`, which must start with a batch; bytes after it are ignored.
    ///
    /// # Errors
    /// As [`BatchHeader::decode`]; [`BatchError::Truncated`] also when the batch is longer than
    /// `bytes`.
    pub fn new(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let header = BatchHeader::decode(bytes)?;
        let own = bytes
            .get(..header.size_bytes)
            .ok_or(BatchError::Truncated {
                needed_bytes: header.size_bytes,
                got_bytes: bytes.len(),
            })?;
        Ok(Self { header, bytes: own })
    }

    /// Splits the first batch off `bytes`; `None` at the end.
    ///
    /// # Errors
    /// As [`BatchView::new`]; a cut batch at the end is [`BatchError::Truncated`].
    pub fn split_first(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, BatchError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let view = Self::new(bytes)?;
        let rest = bytes.get(view.header.size_bytes..).unwrap_or_default();
        Ok(Some((view, rest)))
    }

    /// Returns the decoded header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Returns all bytes of the batch.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the bytes after the header: records, compressed as the codec says.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(field::HEADER_BYTES..).unwrap_or_default()
    }

    /// Compares the CRC of the content with the header's. Cost: one pass over the bytes.
    ///
    /// # Errors
    /// [`BatchError::Crc`].
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let got = crc32c::crc32c(self.bytes.get(field::CRC_START..).unwrap_or_default());
        let expected = self.header.crc;
        if got == expected {
            Ok(())
        } else {
            Err(BatchError::Crc { expected, got })
        }
    }

    /// Iterates over the records; `scratch` receives the decompressed bytes of a compressed batch.
    ///
    /// # Errors
    /// [`BatchReadError::Decompress`] and [`BatchReadError::Batch`]; faults of single records come
    /// from the iterator.
    pub fn records<'s>(
        &self,
        limits: &DecompressLimits,
        scratch: &'s mut Vec<u8>,
    ) -> Result<Records<'s>, BatchReadError>
    where
        'a: 's,
    {
        let codec = self.header.compression()?;
        if codec == Compression::None {
            return Ok(Records::new(&self.header, self.payload()));
        }
        decompress(codec, self.payload(), limits, scratch)?;
        Ok(Records::new(&self.header, scratch))
    }
}

/// Returns the size in bytes of the batch that starts with `bytes`, of which 12 are enough.
///
/// `None` when there are fewer than 12.
///
/// # Errors
/// [`BatchError::BatchLength`] when the length field cannot be one.
pub fn size_of_batch_at(bytes: &[u8]) -> Result<Option<usize>, BatchError> {
    let length = bytes
        .get(field::BATCH_LENGTH)
        .and_then(|length| length.first_chunk());
    length
        .map(|length| size_from_length(i32::from_be_bytes(*length)))
        .transpose()
}
