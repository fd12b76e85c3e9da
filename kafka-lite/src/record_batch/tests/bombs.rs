//! Decompression: dialects that real clients send, bombs, and lies.

use std::io::Write;

use super::*;

fn limits(output_bytes_max: usize, expansion_max: usize) -> DecompressLimits {
    DecompressLimits {
        output_bytes_max,
        expansion_max,
    }
}

fn out_of(codec: Compression, input: &[u8]) -> Result<Vec<u8>, DecompressError> {
    let mut output = vec![1, 2, 3];
    decompress(codec, input, &DecompressLimits::default(), &mut output).map(|()| output)
}

fn text() -> Vec<u8> {
    (0..20_000)
        .flat_map(|number: u32| (number % 251).to_be_bytes())
        .collect()
}

#[test]
fn every_codec_round_trips_from_empty_to_large() {
    for codec in Compression::ALL {
        for input in [Vec::new(), b"a".to_vec(), text()] {
            let mut compressed = Vec::new();
            compress(codec, &input, &mut compressed).unwrap();
            assert_eq!(out_of(codec, &compressed).unwrap(), input, "{codec:?}");
        }
    }
}

#[test]
fn concatenated_gzip_members_are_read_to_the_end() {
    let mut compressed = Vec::new();
    compress(Compression::Gzip, b"first ", &mut compressed).unwrap();
    compress(Compression::Gzip, b"second", &mut compressed).unwrap();
    assert_eq!(
        out_of(Compression::Gzip, &compressed).unwrap(),
        b"first second"
    );
}

#[test]
fn snappy_is_read_raw_and_framed() {
    let raw = snap::raw::Encoder::new().compress_vec(&text()).unwrap();
    assert_eq!(out_of(Compression::Snappy, &raw).unwrap(), text());
    let mut framed = Vec::new();
    compress(Compression::Snappy, &text(), &mut framed).unwrap();
    assert!(framed.starts_with(b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"));
    assert_eq!(out_of(Compression::Snappy, &framed).unwrap(), text());
    assert_eq!(out_of(Compression::Snappy, &framed[..16]).unwrap(), b"");
    for cut in [9, 17, 19, 25, framed.len() - 1] {
        assert!(
            out_of(Compression::Snappy, &framed[..cut]).is_err(),
            "cut at {cut}"
        );
    }
}

#[test]
fn lz4_is_read_with_content_size_linked_blocks_and_checksums() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let size = u64::try_from(text().len()).unwrap();
    let frames = [
        FrameInfo::new().content_size(Some(size)),
        FrameInfo::new()
            .block_mode(BlockMode::Linked)
            .block_size(BlockSize::Max256KB),
        FrameInfo::new()
            .block_checksums(true)
            .content_checksum(true),
        FrameInfo::new().block_size(BlockSize::Max4MB),
    ];
    for info in frames {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&text()).unwrap();
        let compressed = encoder.finish().unwrap();
        assert_eq!(out_of(Compression::Lz4, &compressed).unwrap(), text());
    }
    assert!(out_of(Compression::Lz4, b"").is_err());
}

#[test]
fn zstd_is_read_with_and_without_content_size_and_with_huge_windows() {
    let streamed = zstd::stream::encode_all(text().as_slice(), 3).unwrap();
    assert_eq!(out_of(Compression::Zstd, &streamed).unwrap(), text());
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 19).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&text()).unwrap();
    assert_eq!(
        out_of(Compression::Zstd, &encoder.finish().unwrap()).unwrap(),
        text()
    );
    let sized = zstd::bulk::compress(&text(), 3).unwrap();
    assert_eq!(out_of(Compression::Zstd, &sized).unwrap(), text());
    // Needs several doublings: the capacity guess of a streamed frame is far too small.
    let large = vec![7; 900_000];
    let streamed = zstd::stream::encode_all(large.as_slice(), 3).unwrap();
    assert!(streamed.len() < 1_000);
    assert_eq!(out_of(Compression::Zstd, &streamed).unwrap(), large);
}

#[test]
fn bombs_stop_at_the_output_bound() {
    let zeros = vec![0; 40 << 20];
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let mut bomb = Vec::new();
        compress(codec, &zeros, &mut bomb).unwrap();
        let mut output = Vec::new();
        let result = decompress(codec, &bomb, &limits(4 << 20, usize::MAX), &mut output);
        assert!(
            matches!(result, Err(DecompressError::TooLarge { .. })),
            "{codec:?}: {result:?}"
        );
        assert!(
            output.capacity() <= 16 << 20,
            "{codec:?} took {} bytes",
            output.capacity()
        );
        let result = decompress(codec, &bomb, &limits(usize::MAX, 2), &mut Vec::new());
        assert!(
            matches!(result, Err(DecompressError::TooLarge { .. })),
            "{codec:?}: {result:?}"
        );
    }
}

#[test]
fn claimed_sizes_allocate_nothing() {
    // A raw snappy block that claims 4 GiB.
    let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let mut output = Vec::new();
    assert!(
        decompress(
            Compression::Snappy,
            &claim,
            &limits(usize::MAX, 9),
            &mut output
        )
        .is_err()
    );
    assert_eq!(output.capacity(), 0);
    // A zstd frame header with a content size of 2^62 bytes, then nothing.
    let claim = [0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x40];
    let result = decompress(
        Compression::Zstd,
        &claim,
        &DecompressLimits::default(),
        &mut output,
    );
    assert!(
        matches!(result, Err(DecompressError::Damaged { .. })),
        "{result:?}"
    );
    assert!(output.capacity() <= 64 << 10);
}

#[test]
fn damaged_input_is_an_error_of_its_codec() {
    for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let mut compressed = Vec::new();
        compress(codec, &text(), &mut compressed).unwrap();
        assert!(matches!(
            out_of(codec, b"nonsense"),
            Err(DecompressError::Damaged { .. })
        ));
        let cut = &compressed[..compressed.len() - 7];
        assert!(
            matches!(out_of(codec, cut), Err(DecompressError::Damaged { .. })),
            "{codec:?}"
        );
    }
}
