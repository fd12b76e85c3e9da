//! The disk keeps what it promised and loses the rest.

use storage::aligned_buffer::AlignedBuffer;
use storage::disk::{Disk, DiskError, OpenMode, Resize};

use super::{Faults, LOSSES, Loss, SimDisk};
use crate::sim::executor::Executor;

const VOLATILE: OpenMode = OpenMode {
    create: true,
    write: true,
    durable: false,
    direct: false,
};
const DURABLE: OpenMode = OpenMode {
    create: true,
    write: true,
    durable: true,
    direct: false,
};

fn buffer_of(bytes: &[u8]) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::with_capacity(bytes.len());
    buffer.extend_from_slice(bytes);
    buffer
}

/// Writes 0xAA × 2,048 and syncs when asked, then starts 0xBB × 2,048 and crashes inside it.
fn crash_inside_second_write(seed: u64, mode: OpenMode, sync_first: bool, loss: Loss) -> Vec<u8> {
    let executor = Executor::new(seed);
    let disk = SimDisk::new(seed, &executor, 512);
    let handle = disk.clone();
    executor.spawn(async move {
        let file = handle.open("a/file", mode).await.expect("opens");
        handle
            .write(&file, 0, buffer_of(&[0xAA; 2048]))
            .await
            .0
            .expect("writes");
        if sync_first {
            handle.sync(&file).await.expect("syncs");
        }
        handle.crash_at(handle.counts().operations + 1);
        let _in_doubt = handle.write(&file, 0, buffer_of(&[0xBB; 2048])).await;
    });
    executor.run_until(10_000, || false);
    assert!(executor.is_stopped());
    disk.after_crash(loss, &Executor::new(seed))
        .contents("a/file")
        .expect("the file was created")
}

#[test]
fn a_finished_durable_write_survives_every_loss() {
    for seed in 0..50 {
        for loss in LOSSES {
            let bytes = crash_inside_second_write(seed, DURABLE, false, loss);
            assert_eq!(bytes.len(), 2048, "{loss:?} {seed}");
            assert!(
                bytes.iter().all(|byte| matches!(byte, 0xAA | 0xBB)),
                "{loss:?} {seed}"
            );
        }
    }
}

#[test]
fn an_unsynced_write_is_lost_when_all_is_dropped_and_a_synced_one_is_not() {
    assert!(crash_inside_second_write(1, VOLATILE, false, Loss::DropAll).is_empty());
    assert_eq!(
        crash_inside_second_write(1, VOLATILE, true, Loss::DropAll),
        [0xAA; 2048]
    );
}

#[test]
fn tearing_shows_mixed_bytes_for_some_seed() {
    let is_mixed = |seed| {
        let bytes = crash_inside_second_write(seed, DURABLE, false, Loss::Torn);
        bytes.contains(&0xAA) && bytes.contains(&0xBB)
    };
    assert!((0..50).any(is_mixed));
}

#[test]
fn a_failed_sync_forgets_the_write_and_a_full_disk_says_full() {
    let executor = Executor::new(1);
    let disk = SimDisk::new(1, &executor, 512);
    let handle = disk.clone();
    let outcome = executor.block_on(async move {
        let file = handle.open("file", VOLATILE).await.expect("opens");
        handle.inject(Faults {
            fail_sync: Some(1),
            ..Faults::default()
        });
        handle
            .write(&file, 0, buffer_of(&[1; 512]))
            .await
            .0
            .expect("writes");
        let sync = handle.sync(&file).await;
        handle.inject(Faults {
            capacity_bytes: Some(1024),
            ..Faults::default()
        });
        let write = handle.write(&file, 0, buffer_of(&[1; 2048])).await.0;
        (sync, write)
    });
    let (sync, write) = outcome.expect("the world goes on");
    assert!(matches!(
        sync,
        Err(DiskError::Io {
            operation: "sync",
            ..
        })
    ));
    assert!(matches!(
        write,
        Err(DiskError::Full {
            operation: "write",
            ..
        })
    ));
    assert_eq!(disk.contents("file"), Some(Vec::new()));
}

#[test]
fn an_older_write_never_wins_over_a_durable_one() {
    for loss in LOSSES {
        let executor = Executor::new(1);
        let disk = SimDisk::new(1, &executor, 512);
        let handle = disk.clone();
        let script = async move {
            let plain = handle.open("file", VOLATILE).await?;
            let durable = handle.open("file", DURABLE).await?;
            handle.resize(&plain, Resize::SetLength(0)).await?;
            handle.write(&plain, 0, buffer_of(&[1; 1536])).await.0?;
            handle.write(&durable, 512, buffer_of(&[2; 512])).await.0?;
            handle.sync(&plain).await
        };
        executor.block_on(script).expect("runs").expect("works");
        let left = disk
            .after_crash(loss, &Executor::new(1))
            .contents("file")
            .expect("is there");
        assert_eq!(left, [[1; 512], [2; 512], [1; 512]].concat(), "{loss:?}");
    }
}
