//! Both ways to reach files do the same, on the file system of the temporary directory.

use std::future::Future;
use std::rc::Rc;

use storage::aligned_buffer::AlignedBuffer;
use storage::disk::{Disk, DiskError, OpenMode, Resize};

use super::disk::{FileDisk, FileDriver};
use super::helper_thread::{Completion, Helper};
use super::probe::probe;
use crate::shard::mail::mailbox;
use crate::test_directory::TestDirectory;

const PLAIN: OpenMode = OpenMode {
    create: true,
    write: true,
    durable: false,
    direct: false,
};

const JOURNAL: OpenMode = OpenMode {
    create: true,
    write: true,
    durable: true,
    direct: true,
};

/// Runs the test once per driver and per answer of the operator about direct I/O.
fn with_disks<F: Future<Output = ()>>(test: impl Fn(FileDisk, Rc<TestDirectory>) -> F) {
    for driver in [FileDriver::Ring, FileDriver::Thread] {
        for direct in [true, false] {
            run(driver, direct, &test);
        }
    }
}

fn run<F: Future<Output = ()>>(
    driver: FileDriver,
    direct: bool,
    test: impl Fn(FileDisk, Rc<TestDirectory>) -> F,
) {
    let mut runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new()
        .enable_timer()
        .build()
        .unwrap();
    runtime.block_on(async {
        let directory = Rc::new(TestDirectory::new("disk"));
        let (mut receiver, bell) = mailbox::<Completion>().unwrap();
        let helper = Helper::new("test".to_owned(), 2, &receiver.mailbox(), |job| job).unwrap();
        bell.set_nonblocking(monoio::utils::is_legacy()).unwrap();
        let mut bell = monoio::net::UnixStream::from_std(bell).unwrap();
        monoio::spawn(async move {
            loop {
                receiver.drain(|completion| completion());
                receiver.prepare_sleep();
                let (result, _) = monoio::io::AsyncReadRent::read(&mut bell, vec![0; 8]).await;
                result.unwrap();
            }
        });
        let abilities = probe(directory.path(), direct).unwrap();
        let root = directory.path().to_owned();
        let disk = FileDisk::new(root, driver, abilities, helper);
        // Kept here: a test that does not use it would drop it at once.
        test(disk, Rc::clone(&directory)).await;
    });
}

fn filled(disk: &FileDisk, byte: u8) -> AlignedBuffer {
    let block = usize::try_from(disk.alignment_bytes()).unwrap();
    let mut buffer = AlignedBuffer::with_capacity(2 * block);
    buffer.extend_from_slice(&vec![byte; 2 * block]);
    buffer
}

#[test]
fn what_is_written_is_read_and_a_read_at_the_end_is_short() {
    with_disks(|disk, _directory| async move {
        let file = disk.open("journal/shard-000/a", JOURNAL).await.unwrap();
        let block = disk.alignment_bytes();
        let (written, buffer) = disk.write(&file, u64::from(block), filled(&disk, 7)).await;
        written.unwrap();
        assert_eq!(buffer.len(), 2 * usize::try_from(block).unwrap());
        let room = AlignedBuffer::with_capacity(8 * 4096);
        let (count, buffer) = disk.read(&file, u64::from(block), room, 4 * block).await;
        assert_eq!(count, Ok(2 * block));
        assert_eq!(buffer.len(), 2 * usize::try_from(block).unwrap());
        assert!(buffer.as_slice().iter().all(|byte| *byte == 7));
        let (count, buffer) = disk.read(&file, u64::from(9 * block), buffer, block).await;
        assert_eq!(count, Ok(0));
        assert!(buffer.is_empty());
        disk.sync(&file).await.unwrap();
    });
}

#[test]
fn plain_files_take_any_length() {
    with_disks(|disk, _directory| async move {
        let file = disk.open("odd", PLAIN).await.unwrap();
        let mut buffer = AlignedBuffer::with_capacity(100);
        buffer.extend_from_slice(b"odd length");
        let (written, buffer) = disk.write(&file, 3, buffer).await;
        written.unwrap();
        disk.sync(&file).await.unwrap();
        let (count, buffer) = disk.read(&file, 7, buffer, 100).await;
        assert_eq!(count, Ok(6));
        assert_eq!(buffer.as_slice(), b"length");
    });
}

#[test]
fn names_appear_move_and_go() {
    with_disks(|disk, directory| async move {
        let missing = disk
            .open(
                "a/b",
                OpenMode {
                    create: false,
                    ..PLAIN
                },
            )
            .await;
        assert!(matches!(missing, Err(DiskError::NotFound { .. })));
        assert_eq!(disk.list("a").await, Ok(Vec::new()));
        let file = disk.open("a/b", PLAIN).await.unwrap();
        disk.resize(&file, Resize::SetLength(5000)).await.unwrap();
        disk.resize(&file, Resize::Reserve(4096)).await.unwrap();
        disk.open("a/sub/c", PLAIN).await.unwrap();
        let names: Vec<_> = disk.list("a").await.unwrap();
        let shown: Vec<_> = names
            .iter()
            .map(|entry| (entry.name.as_str(), entry.length_bytes, entry.is_directory))
            .collect();
        assert_eq!(shown, [("b", 5000, false), ("sub", 0, true)]);
        disk.rename("a/b", "d/e").await.unwrap();
        assert!(directory.path().join("d/e").exists());
        let busy = disk.remove("a").await;
        assert!(matches!(busy, Err(DiskError::Io { .. })), "{busy:?}");
        disk.remove("a/sub/c").await.unwrap();
        disk.remove("a/sub").await.unwrap();
        disk.remove("a").await.unwrap();
        let gone = disk.remove("a").await;
        assert!(matches!(gone, Err(DiskError::NotFound { .. })));
    });
}

#[test]
fn many_writes_at_once_all_arrive() {
    with_disks(|disk, _directory| async move {
        let file = disk.open("many", JOURNAL).await.unwrap();
        let step = 2 * u64::from(disk.alignment_bytes());
        let tasks: Vec<_> = (0..200_u8)
            .map(|number| {
                let (disk, file) = (disk.clone(), file.clone());
                monoio::spawn(async move {
                    let position = u64::from(number) * step;
                    disk.write(&file, position, filled(&disk, number)).await.0
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        for number in 0..200_u8 {
            let room = AlignedBuffer::with_capacity(4096);
            let position = u64::from(number) * step;
            let (count, buffer) = disk
                .read(&file, position, room, disk.alignment_bytes())
                .await;
            assert_eq!(count, Ok(disk.alignment_bytes()));
            assert_eq!(buffer.as_slice().first(), Some(&number));
        }
    });
}

#[test]
fn a_write_to_a_full_device_says_so() {
    // /dev/full answers every write with ENOSPC.
    for driver in [FileDriver::Ring, FileDriver::Thread] {
        run(driver, false, |disk, directory| async move {
            let link = directory.path().join("full");
            std::os::unix::fs::symlink("/dev/full", link).unwrap();
            let file = disk.open("full", PLAIN).await.unwrap();
            let (written, buffer) = disk.write(&file, 0, filled(&disk, 1)).await;
            assert!(
                matches!(written, Err(DiskError::Full { .. })),
                "{written:?}"
            );
            assert!(!buffer.is_empty());
        });
    }
}
