//! The file with the passwords of MQTT clients.
//!
//! What it is        reading it, and when it was changed.
//! What it is not    the form of its lines: that is `mqtt::password`.
//! Invariants        1. a file that others than its owner and group can read is refused.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use mqtt::password::Passwords;

use crate::limits::PASSWORD_FILE_BYTES_MAX;

/// Tells two states of a file apart: device, inode, length, time of the last change in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u64, u64, u64, i128);

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Self(metadata.dev(), metadata.ino(), metadata.len(), ns)
    }
}

/// The state of the file now; `None` when it cannot be looked at.
pub fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata))
}

/// Reads the file.
///
/// # Errors
/// One line for the operator, which continues "mqtt.password.file: ".
pub fn read(path: &Path) -> Result<(Passwords, Stamp), String> {
    let refused = |reason: String| format!("{}: {reason}", path.display());
    let cannot = |error: std::io::Error| refused(error.to_string());
    let file = File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if metadata.mode() & 0o007 != 0 {
        return Err(refused(format!(
            "everybody on this machine can read or write it; chmod o= {}",
            path.display()
        )));
    }
    let mut text = String::new();
    let most = PASSWORD_FILE_BYTES_MAX;
    let length = file
        .take(most + 1)
        .read_to_string(&mut text)
        .map_err(cannot)?;
    if u64::try_from(length).is_ok_and(|length| length > most) {
        return Err(refused(format!("more than {most} bytes")));
    }
    let passwords = Passwords::parse(&text).map_err(|error| refused(error.to_string()))?;
    Ok((passwords, Stamp::of(&metadata)))
}

#[cfg(test)]
mod tests {
    use super::{read, stamp};
    use crate::test_directory::TestDirectory;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_read_for_its_owner_alone_and_its_changes_are_seen() {
        let directory = TestDirectory::new("passwords");
        let path = directory.path().join("passwords");
        assert!(read(&path).unwrap_err().contains("passwords: No such file"));
        let line = mqtt::password::entry("sensor", b"x", &[1; 16], 1).unwrap();
        fs::write(&path, format!("{line}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(read(&path).unwrap_err().contains("chmod o= "));
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let (passwords, before) = read(&path).unwrap();
        assert_eq!(passwords.count(), 1);
        assert_eq!(stamp(&path), Some(before));
        fs::write(&path, format!("{line}\nnobody\n")).unwrap();
        assert_ne!(stamp(&path), Some(before));
        assert!(read(&path).unwrap_err().contains("passwords: line 2: "));
    }
}
