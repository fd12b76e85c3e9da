//! The four codecs of a batch's records, each with a bound on what comes out.
//!
//! What it is        `compress` for builders, `decompress` for the few places that must look
//!                   inside.
//! What it is not    on the produce path of ordinary topics: batches are stored as they come.
//! Invariants        1. output never exceeds [`DecompressLimits::output_bytes_max_for`] the input.
//!                   2. memory is bounded by that output plus the codec's own block (at most 4 MiB
//!                      for lz4).
//! Source            Kafka 4.3 `Compression`, `GzipCompression`, `SnappyCompression` (xerial
//!                   framing), `Lz4Compression` (LZ4 frame), `ZstdCompression`. Readers accept raw
//!                   snappy as well.

use std::io::{self, Read, Write};

use thiserror::Error;

use crate::limits;

/// Codec of the records of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, PartialOrd, Ord)]
pub enum Compression {
    /// Records as they are.
    #[default]
    None,
    /// RFC 1952, members may be concatenated.
    Gzip,
    /// Xerial framing of raw snappy blocks, or one raw block.
    Snappy,
    /// LZ4 frame.
    Lz4,
    /// Zstandard frames (Produce 7, Fetch 10).
    Zstd,
}

impl Compression {
    /// Every codec, in the order of its number.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// Returns the codec with this number in the attributes.
    #[must_use]
    pub fn from_id(id: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.id() == id)
    }

    /// Returns the number in the attributes.
    #[must_use]
    pub fn id(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Returns Kafka's name, as in `compression.type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Returns the codec with Kafka's name; `None` for an unknown one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

/// How much may come out of a decompression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecompressLimits {
    /// Bytes, whatever the input.
    pub output_bytes_max: usize,
    /// Times the input, above [`limits::DECOMPRESSION_FLOOR_BYTES`].
    pub expansion_max: usize,
}

impl Default for DecompressLimits {
    fn default() -> Self {
        Self {
            output_bytes_max: limits::DECOMPRESSED_BATCH_BYTES_MAX,
            expansion_max: limits::DECOMPRESSION_EXPANSION_MAX,
        }
    }
}

impl DecompressLimits {
    /// Returns the bytes that an input of this size may become.
    #[must_use]
    pub fn output_bytes_max_for(&self, input_bytes: usize) -> usize {
        let by_expansion = input_bytes.saturating_mul(self.expansion_max);
        self.output_bytes_max
            .min(by_expansion.max(limits::DECOMPRESSION_FLOOR_BYTES))
    }
}

/// Why bytes do not decompress.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecompressError {
    /// More would come out than allowed.
    #[error("{codec} data of {input_bytes} bytes grows beyond {output_bytes_max} bytes")]
    TooLarge {
        /// Codec name.
        codec: &'static str,
        /// Compressed size.
        input_bytes: usize,
        /// Bound that applied.
        output_bytes_max: usize,
    },
    /// The codec does not accept the bytes.
    #[error("{codec} data is damaged: {reason}")]
    Damaged {
        /// Codec name.
        codec: &'static str,
        /// The codec's words.
        reason: String,
    },
}

/// Decompresses `input` into `output`, which is emptied first.
///
/// Cost: output grows with what is really produced, never by a claimed length alone.
///
/// # Errors
/// [`DecompressError::TooLarge`] at the bound, [`DecompressError::Damaged`] otherwise.
pub fn decompress(
    codec: Compression,
    input: &[u8],
    limits: &DecompressLimits,
    output: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    output.clear();
    let output_bytes_max = limits.output_bytes_max_for(input.len());
    match codec {
        Compression::None => read_bounded(codec, input.len(), input, output_bytes_max, output),
        Compression::Gzip => {
            let reader = flate2::bufread::MultiGzDecoder::new(input);
            read_bounded(codec, input.len(), reader, output_bytes_max, output)
        }
        Compression::Snappy => decompress_snappy(input, output_bytes_max, output),
        Compression::Lz4 => {
            if !input.starts_with(&LZ4_FRAME_MAGIC) {
                return Err(damaged(codec, "no LZ4 frame magic"));
            }
            let reader = lz4_flex::frame::FrameDecoder::new(input);
            read_bounded(codec, input.len(), reader, output_bytes_max, output)
        }
        Compression::Zstd => decompress_zstd(input, output_bytes_max, output),
    }
}

/// Compresses `input` as Kafka's own clients do: gzip 6, xerial snappy, lz4 frame of 64 KiB blocks,
/// zstd 3.
///
/// # Errors
/// An I/O error of the codec; writing to memory, none is known.
pub fn compress(codec: Compression, input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    match codec {
        Compression::None => {
            output.extend_from_slice(input);
            Ok(())
        }
        Compression::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(&mut *output, flate2::Compression::default());
            encoder.write_all(input)?;
            encoder.finish().map(drop)
        }
        Compression::Snappy => compress_snappy(input, output),
        Compression::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new()
                .block_size(lz4_flex::frame::BlockSize::Max64KB)
                .block_mode(lz4_flex::frame::BlockMode::Independent);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, &mut *output);
            encoder.write_all(input)?;
            encoder.finish().map(drop).map_err(io::Error::other)
        }
        Compression::Zstd => zstd::stream::copy_encode(input, output, ZSTD_LEVEL),
    }
}

const LZ4_FRAME_MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Magic, version and compatible version.
const XERIAL_HEADER_BYTES: usize = 16;
/// Uncompressed bytes per xerial block, as Java writes them.
const XERIAL_BLOCK_BYTES: usize = 32 << 10;
/// A snappy copy element yields at most 64 bytes from at least 2: no honest preamble claims more.
const SNAPPY_EXPANSION_MAX: usize = 32;
const ZSTD_LEVEL: i32 = 3;
/// Bytes by which outputs grow when nothing better is known.
const OUTPUT_STEP_BYTES: usize = 16 << 10;

/// Drains `reader` into `output` up to the bound.
fn read_bounded(
    codec: Compression,
    input_bytes: usize,
    reader: impl Read,
    output_bytes_max: usize,
    output: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let one_too_many = u64::try_from(output_bytes_max)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    reader
        .take(one_too_many)
        .read_to_end(output)
        .map_err(|error| damaged(codec, error))?;
    if output.len() > output_bytes_max {
        return Err(too_large(codec, input_bytes, output_bytes_max));
    }
    Ok(())
}

fn decompress_snappy(
    input: &[u8],
    output_bytes_max: usize,
    output: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let codec = Compression::Snappy;
    if !input.starts_with(&XERIAL_MAGIC) {
        return append_snappy_block(input, input.len(), output_bytes_max, output);
    }
    let mut rest = input
        .get(XERIAL_HEADER_BYTES..)
        .ok_or_else(|| damaged(codec, "xerial header is cut"))?;
    while !rest.is_empty() {
        let (length, after) = rest
            .split_first_chunk::<4>()
            .ok_or_else(|| damaged(codec, "xerial block length is cut"))?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (block, after) = after
            .split_at_checked(length)
            .ok_or_else(|| damaged(codec, "xerial block is cut"))?;
        append_snappy_block(block, input.len(), output_bytes_max, output)?;
        rest = after;
    }
    Ok(())
}

/// Appends one raw block after checking the length that it claims.
fn append_snappy_block(
    block: &[u8],
    input_bytes: usize,
    output_bytes_max: usize,
    output: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let codec = Compression::Snappy;
    let claimed = snap::raw::decompress_len(block).map_err(|error| damaged(codec, error))?;
    if claimed > block.len().saturating_mul(SNAPPY_EXPANSION_MAX) {
        return Err(damaged(codec, "claims more than the format can hold"));
    }
    let start = output.len();
    let end = start.saturating_add(claimed);
    if end > output_bytes_max {
        return Err(too_large(codec, input_bytes, output_bytes_max));
    }
    output.resize(end, 0);
    let target = output.get_mut(start..).unwrap_or_default();
    snap::raw::Decoder::new()
        .decompress(block, target)
        .map_err(|error| damaged(codec, error))?;
    Ok(())
}

fn compress_snappy(input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    output.extend_from_slice(&XERIAL_MAGIC);
    output.extend_from_slice(&1_u32.to_be_bytes());
    output.extend_from_slice(&1_u32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for chunk in input.chunks(XERIAL_BLOCK_BYTES) {
        let block = encoder.compress_vec(chunk).map_err(io::Error::other)?;
        let length = u32::try_from(block.len()).map_err(io::Error::other)?;
        output.extend_from_slice(&length.to_be_bytes());
        output.extend_from_slice(&block);
    }
    Ok(())
}

/// Decompresses whole frames at once: no window buffer, whatever window the frame asks for.
///
/// The output starts small and doubles while zstd says that it is too small, so that a frame
/// without content size costs at most twice its decompression and a lying content size costs
/// nothing.
fn decompress_zstd(
    input: &[u8],
    output_bytes_max: usize,
    output: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let codec = Compression::Zstd;
    let mut context = zstd::zstd_safe::DCtx::try_create()
        .ok_or_else(|| damaged(codec, "no memory for a decompression context"))?;
    let mut capacity = first_zstd_capacity(input).min(output_bytes_max);
    loop {
        output.clear();
        output.reserve_exact(capacity);
        match context.decompress(output, input) {
            Ok(_) if output.len() > output_bytes_max => {
                return Err(too_large(codec, input.len(), output_bytes_max));
            }
            Ok(_) => return Ok(()),
            Err(code) => {
                let reason = zstd::zstd_safe::get_error_name(code);
                if reason != ZSTD_OUTPUT_TOO_SMALL {
                    return Err(damaged(codec, reason));
                }
                if capacity >= output_bytes_max {
                    return Err(too_large(codec, input.len(), output_bytes_max));
                }
                capacity = capacity.saturating_mul(2).min(output_bytes_max);
            }
        }
    }
}

/// zstd's name of `ZSTD_error_dstSize_tooSmall`; a test pins it.
const ZSTD_OUTPUT_TOO_SMALL: &str = "Destination buffer is too small";

/// The content size where the frame has an honest-looking one, else a small multiple of the input.
fn first_zstd_capacity(input: &[u8]) -> usize {
    let guess = input.len().saturating_mul(4).max(OUTPUT_STEP_BYTES);
    let claimed = zstd::zstd_safe::get_frame_content_size(input)
        .ok()
        .flatten();
    match claimed.and_then(|claimed| usize::try_from(claimed).ok()) {
        Some(claimed) if claimed <= guess.saturating_mul(16) => claimed.max(1),
        Some(_) | None => guess,
    }
}

fn damaged(codec: Compression, reason: impl ToString) -> DecompressError {
    DecompressError::Damaged {
        codec: codec.name(),
        reason: reason.to_string(),
    }
}

fn too_large(codec: Compression, input_bytes: usize, output_bytes_max: usize) -> DecompressError {
    DecompressError::TooLarge {
        codec: codec.name(),
        input_bytes,
        output_bytes_max,
    }
}
