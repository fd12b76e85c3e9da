//! Target: a data directory with damaged journal, checkpoint, segments and indexes.
//!
//! Input             byte 0: which image is damaged; its high bit asks for right CRCs after the
//!                   damage. Then edits of 5 bytes and more: file, kind, place (u16), length, and
//!                   for
//!                   some kinds as many bytes.
//! Rules             no panic and no hang: the engine opens or says why not. Where nothing was
//!                   vouched for by a checkpoint, every batch that is read has a right CRC and is
//!                   the
//!                   one that was written there. What opened once takes records and opens again
//!                   with
//!                   the same ends.

use kafka_lite::record_batch::{BatchView, field};

use super::image::{self, Image, World, images, log_config, options};

/// Bytes in front of an edit's own.
const EDIT_BYTES: usize = 5;

/// Edits of one input at most.
const EDITS_MAX: usize = 8;

/// Journal and checkpoint, see docs/formats.
const COMMIT_MAGIC: &[u8] = b"SLJ1";
const COMMIT_BLOCK_BYTES: usize = 512;
const CHECKPOINT_HEADER_BYTES: usize = 24;

/// Damages, opens, reads, appends and opens again.
pub fn check(input: &[u8]) {
    let Some((choice, edits)) = input.split_first() else {
        return;
    };
    let image = &images()[usize::from(choice & 0x7f) % images().len()];
    let reseals = choice & 0x80 != 0;
    let mut files = image.files.clone();
    apply(edits, &mut files);
    if reseals {
        files
            .iter_mut()
            .for_each(|(path, bytes)| reseal(path, bytes));
    }
    let world = World::new();
    for (path, bytes) in &files {
        world.disk.plant(path, bytes);
    }
    let Ok(engine) = world.open(options(1 << 20)) else {
        return;
    };
    let mut ends = Vec::new();
    for key in engine.keys() {
        let name = image::LOGS.iter().find(|(known, _)| *known == key);
        let name = name.map_or("other", |(_, name)| name);
        let log = engine.create_log(key, name, log_config());
        check_reads(&world, &log, image, reseals);
        if log.failure().is_none() {
            let term = log.hard_state().0.saturating_add(1).max(9);
            let _refused = image::begin_term(&log, term);
            let _refused = image::append(&log, term, 77);
            world.settle(&log);
        }
        ends.push((key, log.log_start_offset(), log.log_end_offset()));
    }
    let stopped = world.run(async move { engine.shutdown().await });
    if stopped.is_err() {
        return;
    }
    let next = World::new();
    for path in world.disk.paths() {
        let bytes = world.disk.contents(&path).unwrap_or_default();
        next.disk.plant(&path, &bytes);
    }
    let again = match next.open(options(1 << 20)) {
        Ok(again) => again,
        // A forged checkpoint may lead anywhere; only panics and hangs are wrong then.
        Err(_) if reseals => return,
        Err(error) => panic!("a clean stop does not open again: {error}"),
    };
    for (key, start, end) in ends.into_iter().filter(|_| !reseals) {
        let log = again.log(key).expect("a log stays");
        let found = (log.log_start_offset(), log.log_end_offset());
        // Damage that only the second start looks at stops the log; it never shortens it silently.
        let is_halted = log.failure().is_some();
        assert!(
            is_halted || found == (start, end),
            "{key:?}: {found:?}, was {start}..{end}"
        );
    }
}

fn check_reads(world: &World, log: &image::SimLog, image: &Image, reseals: bool) {
    let Ok(batches) = image::read_all(world, log) else {
        return;
    };
    if !image.is_strict || reseals {
        return;
    }
    for batch in batches {
        let view = BatchView::new(&batch).expect("a read gives whole batches");
        assert_eq!(view.check_crc(), Ok(()), "a bad CRC was read");
        let base = view.header().base_offset;
        let written = image.batches.get(&(log.key(), base));
        assert_eq!(
            Some(batch.as_ref()),
            written.map(Vec::as_slice),
            "batch {base}"
        );
    }
}

/// Carries out the edits.
fn apply(mut edits: &[u8], files: &mut Vec<(String, Vec<u8>)>) {
    for _ in 0..EDITS_MAX {
        let Some((head, rest)) = edits.split_first_chunk::<EDIT_BYTES>() else {
            return;
        };
        let [file, kind, high, low, length] = *head;
        let (place, length) = (
            usize::from(u16::from_be_bytes([high, low])),
            usize::from(length),
        );
        if files.is_empty() {
            return;
        }
        let target = usize::from(file) % files.len();
        let other = files[usize::from(low) % files.len()].1.clone();
        let bytes = &mut files[target].1;
        let place = if bytes.is_empty() {
            0
        } else {
            place % bytes.len()
        };
        let own = rest.get(..length).unwrap_or(rest);
        edits = rest.get(own.len()..).unwrap_or_default();
        match kind % 8 {
            0 => overwrite(bytes, place, own),
            1 => bytes
                .iter_mut()
                .skip(place)
                .take(1)
                .for_each(|byte| *byte = !*byte),
            2 => bytes.truncate(place),
            3 => bytes.extend_from_slice(own),
            4 => drop(files.remove(target)),
            5 => overwrite(bytes, place, &vec![0; length]),
            6 => {
                // A block of another file, or of this one, in the wrong place.
                let from = length * COMMIT_BLOCK_BYTES;
                let block = other
                    .get(from..from + COMMIT_BLOCK_BYTES)
                    .unwrap_or_default();
                overwrite(bytes, place - place % COMMIT_BLOCK_BYTES, block);
            }
            _ => *bytes = own.to_vec(),
        }
    }
}

fn overwrite(bytes: &mut [u8], place: usize, with: &[u8]) {
    for (target, byte) in bytes.iter_mut().skip(place).zip(with) {
        *target = *byte;
    }
}

/// Puts CRCs right, so that the damage reaches what lies behind them.
fn reseal(path: &str, bytes: &mut [u8]) {
    if path.ends_with(".journal") {
        reseal_commits(bytes);
    } else if path.ends_with("/checkpoint") && bytes.len() >= CHECKPOINT_HEADER_BYTES {
        let crc = crc32c::crc32c(&bytes[CHECKPOINT_HEADER_BYTES..]);
        let length = bytes.len() - CHECKPOINT_HEADER_BYTES;
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&u64::try_from(length).unwrap().to_le_bytes());
    } else if path.ends_with(".log") {
        reseal_batches(bytes);
    }
}

fn reseal_commits(bytes: &mut [u8]) {
    let mut previous: Option<u32> = None;
    let mut start = 0;
    while let Some(commit) = bytes.get_mut(start..)
        && commit.len() >= COMMIT_BLOCK_BYTES
    {
        start += COMMIT_BLOCK_BYTES;
        if !commit.starts_with(COMMIT_MAGIC) {
            continue;
        }
        let length = u32::from_le_bytes(commit[8..12].try_into().unwrap());
        let length = usize::try_from(length).unwrap();
        if !(56..=commit.len()).contains(&length) {
            continue;
        }
        if let Some(crc) = previous {
            commit[40..44].copy_from_slice(&crc.to_le_bytes());
        }
        let crc = crc32c::crc32c(&commit[8..length]);
        commit[4..8].copy_from_slice(&crc.to_le_bytes());
        previous = Some(crc);
    }
}

fn reseal_batches(mut bytes: &mut [u8]) {
    while let Ok(view) = BatchView::new(bytes) {
        let size = view.bytes().len();
        let (batch, rest) = bytes.split_at_mut(size);
        let crc = crc32c::crc32c(&batch[field::CRC_START..]);
        batch[field::CRC].copy_from_slice(&crc.to_be_bytes());
        bytes = rest;
    }
}

/// Inputs that once found something.
const FOUND: [&[u8]; 6] = [
    // A segment that claims the end of the log and has nothing there.
    &[
        0x82, 0x5a, 0x0d, 0x97, 0x6f, 0x0e, 0x00, 0x04, 0x3d, 0x02, 0xff, 0x01,
    ],
    // A base offset in a closed segment that points behind its end, and an active segment that is
    // too short: the log answered reads with nothing, for ever.
    &[1, 4, 1, 0, 4, 0, 6, 2, 0, 4, 0],
    // Side entries of a resealed checkpoint, and of a resealed journal, that do not rise.
    &[0x82, 0x5a, 0x0d, 0x95, 0x6f, 0x0e, 0, 4, 0x3d, 2, 0xff, 1],
    &[
        0x81, 2, 2, 2, 0x3d, 2, 0xff, 3, 0, 0x3d, 2, 0xff, 3, 0, 0, 2, 0xba, 0x3d, 2, 0xff, 3, 0,
        0, 2, 0xba, 1,
    ],
    // A commit that a clean checkpoint has made superfluous is damaged; a later one asked for it.
    &[2, 13, 4, 13, 61, 2, 1, 7, 1, 61, 2, 255, 1],
    // A side entry of a resealed journal with a later term than the hard state.
    &[
        0x81, 3, 5, 3, 0x3d, 2, 0x0a, 0x87, 0x17, 0x29, 0, 0x8e, 0x8e, 0x8e, 0, 0, 0, 0, 0, 0, 0,
        0xff, 1,
    ],
];

/// Every kind of edit in every file of every image.
pub fn corpus() -> Vec<Vec<u8>> {
    let mut corpus = vec![vec![0], vec![1], vec![2]];
    corpus.extend(FOUND.map(<[u8]>::to_vec));
    for (choice, image) in (0_u8..).zip(images()) {
        for (file, _) in (0_u8..).zip(&image.files) {
            for kind in 0..8 {
                for reseals in [0, 0x80] {
                    let edit = [choice | reseals, file, kind, file, 61, 2, 0xff, 0x01];
                    corpus.push(edit.to_vec());
                }
            }
        }
    }
    corpus
}
