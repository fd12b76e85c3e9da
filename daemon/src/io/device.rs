//! What lies under the data directory: how large the disk is, and whether it is a flash card.
//!
//! What it is        facts for settings that the operator leaves to the broker.
//! What it is not    a measurement: a card that is quick when new is slow when worn.
//! Source            statvfs(3); the kernel's /sys/dev/block, where SD cards and eMMC are `mmcblk`.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::blocking;

/// Disks of at least this many bytes get [`SEGMENT_BYTES_LARGE`].
const LARGE_DISK_BYTES: u64 = 64_000_000_000;

/// Segments on a gateway's disk, in bytes: retention gives space back in small pieces.
const SEGMENT_BYTES_SMALL: u32 = 16 * 1024 * 1024;

/// Segments on a large disk, in bytes: closing one costs half a dozen flushes, which at a gigabyte
/// per second is a third of the time with the small size.
const SEGMENT_BYTES_LARGE: u32 = 128 * 1024 * 1024;

/// Least time between two commits on a card: a few records share a block, so that the card wears
/// less.
const CARD_COMMIT_INTERVAL: Duration = Duration::from_millis(5);

/// The device of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Bytes of the whole file system.
    pub total_bytes: u64,
    /// An SD card or eMMC.
    pub is_card: bool,
}

impl Device {
    /// Looks at the file system of `directory`.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let (_free, total_bytes) = blocking::space(directory)?;
        let device = rustix::fs::stat(directory)?.st_dev;
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        // No block device of its own (overlay, network): nothing is known.
        let place = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"));
        let is_card = place.is_ok_and(|place| is_card_path(&place));
        Ok(Self {
            total_bytes,
            is_card,
        })
    }

    /// `log.segment.bytes` when the operator names none.
    pub fn segment_bytes(&self) -> u32 {
        if self.total_bytes < LARGE_DISK_BYTES {
            SEGMENT_BYTES_SMALL
        } else {
            SEGMENT_BYTES_LARGE
        }
    }

    /// `storage.commit.interval.ms` when the operator names none.
    pub fn commit_interval(&self) -> Duration {
        if self.is_card {
            CARD_COMMIT_INTERVAL
        } else {
            Duration::ZERO
        }
    }
}

/// Whether a device's place in /sys is a card or a partition of one.
fn is_card_path(place: &Path) -> bool {
    place
        .components()
        .any(|part| part.as_os_str().to_string_lossy().starts_with("mmcblk"))
}

#[cfg(test)]
mod tests {
    use super::{Device, is_card_path};
    use crate::test_directory::TestDirectory;
    use std::path::Path;
    use std::time::Duration;

    #[test]
    fn cards_wait_a_little_and_large_disks_have_large_segments() {
        let card = "/sys/devices/platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block/\
                    mmcblk0/mmcblk0p2";
        assert!(is_card_path(Path::new(card)));
        assert!(!is_card_path(Path::new(
            "/sys/devices/pci0000:00/0000:00:04.0/virtio1/block/vda"
        )));
        let device = |total_bytes, is_card| Device {
            total_bytes,
            is_card,
        };
        let gateway = device(32_000_000_000, true);
        assert_eq!(gateway.segment_bytes(), 16 << 20);
        assert_eq!(gateway.commit_interval(), Duration::from_millis(5));
        let server = device(2_000_000_000_000, false);
        assert_eq!(server.segment_bytes(), 128 << 20);
        assert_eq!(server.commit_interval(), Duration::ZERO);
    }

    #[test]
    fn the_disk_of_a_directory_has_a_size() {
        let directory = TestDirectory::new("device");
        let device = Device::of(directory.path()).unwrap();
        assert!(device.total_bytes > 1_000_000, "{device:?}");
        assert!(Device::of(Path::new("/nowhere")).is_err());
    }
}
