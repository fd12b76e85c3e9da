//! The data directory: who it belongs to, and that only one broker uses it.
//!
//! What it is        the marker `sluice.meta`, the lock `sluice.lock`, and the mark of a clean stop
//!                   `sluice.clean`.
//! What it is not    the layout of the logs below it: that is the engine's.
//! Layout            docs/formats/data-directory.md
//! Invariants        1. a directory that is not empty and has no marker of ours is never touched.
//!                   2. the marker is complete or absent: it is written to another name, synced and
//!                      renamed.
//!                   3. nothing but the lock is written before the marker was read and accepted.

use std::fs::{self, DirBuilder, File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FlockOperation, accessat, flock};
use rustix::io::Errno;
use thiserror::Error;
use uuid::Uuid;

use crate::io::blocking::sync_directory;
use crate::io::probe::PROBE_FILE_NAME;

const MARKER: &str = "sluice.meta";
const MARKER_NEW: &str = "sluice.meta.new";
const LOCK: &str = "sluice.lock";
const CLEAN: &str = "sluice.clean";

/// Where the log engine keeps its journals.
const JOURNALS: &str = "journal";

/// First line of the marker.
const TITLE: &str = "sluice data directory";

/// The only format there is.
const FORMAT: u32 = 1;

/// Largest marker in bytes; a longer file is not ours.
const MARKER_BYTES_MAX: u64 = 4096;

/// What may stand in a directory that we take over: leftovers of ours, and what mkfs leaves behind.
const HARMLESS: [&str; 4] = [LOCK, MARKER_NEW, PROBE_FILE_NAME, "lost+found"];

/// Who a data directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Identifier of the cluster, as Kafka's clients see it: 22 characters.
    pub cluster_id: String,
    /// Number of the broker.
    pub node_id: u32,
    /// Tells this directory from an earlier or copied one of the same broker.
    pub incarnation: Uuid,
}

/// A data directory that this process owns until it ends.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    identity: Identity,
    was_clean: bool,
    is_new: bool,
    /// Holds the lock; the system frees it with the process.
    _lock: File,
}

/// Why a data directory cannot be used. Nothing in it was changed.
#[derive(Debug, Error)]
pub enum DataDirectoryError {
    /// Another process holds the lock.
    #[error("data directory {}: another broker uses it", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// It holds something that is not ours.
    #[error(
        "data directory {}: it is not empty and has no {MARKER} (found `{found}`); \
         choose an empty directory",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of the names in it.
        found: String,
    },
    /// Something else than a file has a name of ours: opening a FIFO would wait for ever.
    #[error("data directory {}: `{name}` is {kind} where a file of ours belongs; move it away", path.display())]
    NoFile {
        /// The directory.
        path: PathBuf,
        /// Name in the directory.
        name: &'static str,
        /// What it is.
        kind: &'static str,
    },
    /// The marker is damaged or of another format.
    #[error("data directory {}: {MARKER} {reason}", path.display())]
    Marker {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It belongs to another broker.
    #[error("data directory {}: it belongs to node {found}, but node.id is {wanted}", path.display())]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// Number in the marker.
        found: u32,
        /// Number in the configuration.
        wanted: u32,
    },
    /// The system refuses.
    #[error("data directory {}: {operation}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// The system's words.
        source: io::Error,
    },
}

impl DataDirectoryError {
    /// Whether the next start may succeed although nobody has changed anything: the disk is full or
    /// has failed.
    pub fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_of_the_disk(source))
    }
}

/// Whether an error tells of a disk that is full or has failed, not of a wrong directory.
pub fn is_of_the_disk(error: &io::Error) -> bool {
    let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
    full.contains(&error.kind()) || error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

impl DataDirectory {
    /// Opens the directory, or makes it when it is missing or empty. Takes the lock first.
    ///
    /// # Errors
    /// [`DataDirectoryError`]; then nothing was changed but a lock file of ours.
    pub fn open(path: &Path, node_id: u32) -> Result<Self, DataDirectoryError> {
        let failed = |operation| {
            move |source| DataDirectoryError::Io {
                path: path.to_owned(),
                operation,
                source,
            }
        };
        refuse_foreign(path)?;
        create(path).map_err(failed("create"))?;
        refuse_other_kinds(path)?;
        let lock = take_lock(path)?;
        let marker = read_marker(path).map_err(failed("read sluice.meta"))?;
        let (identity, is_new) = match marker {
            Some(text) => (accept_marker(path, &text, node_id)?, false),
            None => {
                // Somebody may have put something there since the first look.
                refuse_foreign(path)?;
                let identity = Identity::new(node_id);
                write_marker(path, &identity).map_err(failed("write sluice.meta"))?;
                (identity, true)
            }
        };
        let was_clean = path.join(CLEAN).exists();
        Ok(Self {
            path: path.to_owned(),
            identity,
            was_clean,
            is_new,
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who it belongs to.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether the last process stopped cleanly, or there was none.
    pub fn was_clean(&self) -> bool {
        self.was_clean || self.is_new
    }

    /// Whether it holds no journals though it is not new: somebody removed them, or the first start
    /// was interrupted.
    pub fn lacks_journals(&self) -> bool {
        !self.is_new && !self.path.join(JOURNALS).exists()
    }

    /// Something in the directory that this process may not read or write, if there is anything:
    /// a start as another user leaves such files.
    pub fn find_denied(&self) -> Option<PathBuf> {
        let mut waiting = vec![self.path.clone()];
        while let Some(path) = waiting.pop() {
            let wanted = Access::READ_OK | Access::WRITE_OK;
            if accessat(CWD, &path, wanted, AtFlags::EACCESS) == Err(Errno::ACCESS) {
                return Some(path);
            }
            if path.is_dir() {
                let entries = fs::read_dir(&path).into_iter().flatten().flatten();
                waiting.extend(entries.map(|entry| entry.path()));
            }
        }
        None
    }

    /// Takes the mark of a clean stop away, before the first change.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin_use(&self) -> io::Result<()> {
        match fs::remove_file(self.path.join(CLEAN)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Err(_missing) => Ok(()),
            Ok(()) => sync_directory(&self.path),
        }
    }

    /// Leaves the mark of a clean stop, after the last change.
    ///
    /// # Errors
    /// What the system says; then the next start recovers as after a crash.
    pub fn mark_clean(&self) -> io::Result<()> {
        new_file(&self.path.join(CLEAN))?.sync_all()?;
        sync_directory(&self.path)
    }
}

impl Identity {
    fn new(node_id: u32) -> Self {
        Self {
            cluster_id: url_safe(Uuid::new_v4().as_bytes()),
            node_id,
            incarnation: Uuid::new_v4(),
        }
    }

    fn encode(&self) -> String {
        let Self {
            cluster_id,
            node_id,
            incarnation,
        } = self;
        let body = format!(
            "{TITLE}\nformat={FORMAT}\ncluster.id={cluster_id}\nnode.id={node_id}\n\
             incarnation={incarnation}\n"
        );
        let crc = crc32c::crc32c(body.as_bytes());
        format!("{body}crc32c={crc:08x}\n")
    }

    fn decode(text: &str) -> Result<Self, String> {
        let split = text.rfind("crc32c=").ok_or("has no checksum")?;
        let (body, last) = text.split_at_checked(split).ok_or("has no checksum")?;
        let crc = crc32c::crc32c(body.as_bytes());
        if last != format!("crc32c={crc:08x}\n") {
            return Err("is damaged: its checksum is wrong".to_owned());
        }
        let mut lines = body.lines();
        if lines.next() != Some(TITLE) {
            return Err("is not of a Sluice broker".to_owned());
        }
        let mut field = |name: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(name));
            line.ok_or_else(|| format!("lacks `{name}`"))
        };
        let format = field("format=")?;
        if format != FORMAT.to_string() {
            return Err(format!(
                "has format {format}, this version reads format {FORMAT}; use the version that wrote it"
            ));
        }
        let cluster_id = field("cluster.id=")?.to_owned();
        let node_id = field("node.id=")?.parse().map_err(|_| "has no node id")?;
        let incarnation = field("incarnation=")?
            .parse()
            .map_err(|_| "has no incarnation")?;
        Ok(Self {
            cluster_id,
            node_id,
            incarnation,
        })
    }
}

/// Refuses a directory that holds something and has no marker; a missing one is fine.
fn refuse_foreign(path: &Path) -> Result<(), DataDirectoryError> {
    let failed = |source| DataDirectoryError::Io {
        path: path.to_owned(),
        operation: "list",
        source,
    };
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    let mut foreign = None;
    for entry in entries {
        let name = entry
            .map_err(failed)?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if name == MARKER {
            return Ok(());
        }
        if !HARMLESS.contains(&name.as_str()) {
            foreign = Some(name);
        }
    }
    match foreign {
        Some(found) => Err(DataDirectoryError::Foreign {
            path: path.to_owned(),
            found,
        }),
        None => Ok(()),
    }
}

/// Refuses what has the name of one of our files and is none.
fn refuse_other_kinds(path: &Path) -> Result<(), DataDirectoryError> {
    for name in [LOCK, MARKER, MARKER_NEW, CLEAN, PROBE_FILE_NAME] {
        let Ok(metadata) = fs::metadata(path.join(name)) else {
            // It is not there, or whoever opens it says why that fails.
            continue;
        };
        if !metadata.is_file() {
            return Err(DataDirectoryError::NoFile {
                path: path.to_owned(),
                name,
                kind: kind_of(metadata.file_type()),
            });
        }
    }
    Ok(())
}

fn kind_of(file_type: FileType) -> &'static str {
    if file_type.is_dir() {
        "a directory"
    } else if file_type.is_fifo() {
        "a FIFO"
    } else if file_type.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

fn create(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().mode(0o700).recursive(true).create(path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

fn take_lock(path: &Path) -> Result<File, DataDirectoryError> {
    let failed = |source| DataDirectoryError::Io {
        path: path.to_owned(),
        operation: "lock",
        source,
    };
    let lock = new_file(&path.join(LOCK)).map_err(failed)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(Errno::WOULDBLOCK) => Err(DataDirectoryError::Locked {
            path: path.to_owned(),
        }),
        Err(error) => Err(failed(error.into())),
    }
}

fn read_marker(path: &Path) -> io::Result<Option<String>> {
    let file = path.join(MARKER);
    match fs::metadata(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.len() > MARKER_BYTES_MAX => {
            return Ok(Some(String::new()));
        }
        Ok(_) => {}
    }
    let bytes = fs::read(file)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn accept_marker(path: &Path, text: &str, node_id: u32) -> Result<Identity, DataDirectoryError> {
    let identity = Identity::decode(text).map_err(|reason| DataDirectoryError::Marker {
        path: path.to_owned(),
        reason,
    })?;
    if identity.node_id != node_id {
        return Err(DataDirectoryError::OtherNode {
            path: path.to_owned(),
            found: identity.node_id,
            wanted: node_id,
        });
    }
    Ok(identity)
}

fn write_marker(path: &Path, identity: &Identity) -> io::Result<()> {
    let new = path.join(MARKER_NEW);
    let mut file = new_file(&new)?;
    file.set_len(0)?;
    file.write_all(identity.encode().as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path.join(MARKER))?;
    sync_directory(path)
}

/// Opens or makes a file for the owner only.
fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Base 64 of the URL alphabet without padding, as Kafka writes its identifiers.
fn url_safe(bytes: &[u8; 16]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let number = u128::from_be_bytes(*bytes);
    // 22 digits of six bits hold 132 bits; the last four are zero.
    (0..22_u32)
        .map(|digit| {
            let six_bits = match 122_u32.checked_sub(6 * digit) {
                Some(shift) => (number >> shift) & 63,
                None => (number << 4) & 63,
            };
            let place = usize::try_from(six_bits).unwrap_or(0);
            ALPHABET.get(place).copied().map_or('A', char::from)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{DataDirectory, DataDirectoryError, Identity, url_safe};
    use crate::test_directory::TestDirectory;
    use rustix::fs::{CWD, Mode, mkfifoat};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_directory_is_private_and_keeps_its_identity() {
        let parent = TestDirectory::new("data");
        let path = parent.path().join("a/b");
        let first = DataDirectory::open(&path, 7).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(first.was_clean());
        first.begin_use().unwrap();
        let identity = first.identity().clone();
        assert_eq!(identity.cluster_id.len(), 22);
        drop(first);
        let second = DataDirectory::open(&path, 7).unwrap();
        assert_eq!(second.identity(), &identity);
        assert!(!second.was_clean());
        second.mark_clean().unwrap();
        drop(second);
        assert!(DataDirectory::open(&path, 7).unwrap().was_clean());
    }

    #[test]
    fn a_second_owner_is_refused() {
        let parent = TestDirectory::new("data");
        let _first = DataDirectory::open(parent.path(), 1).unwrap();
        let error = DataDirectory::open(parent.path(), 1).unwrap_err();
        assert!(
            matches!(error, DataDirectoryError::Locked { .. }),
            "{error}"
        );
    }

    #[test]
    fn a_name_of_ours_that_is_no_file_is_refused_at_once() {
        for name in ["sluice.lock", "sluice.meta", "sluice.probe"] {
            let parent = TestDirectory::new("data");
            mkfifoat(CWD, parent.path().join(name), Mode::RUSR | Mode::WUSR).unwrap();
            let error = DataDirectory::open(parent.path(), 1).unwrap_err();
            let line = error.to_string();
            assert!(line.contains(name) && line.contains("a FIFO"), "{line}");
            assert!(!error.is_of_the_disk());
        }
    }

    #[test]
    fn a_directory_whose_journals_are_gone_says_so() {
        let parent = TestDirectory::new("data");
        assert!(
            !DataDirectory::open(parent.path(), 1)
                .unwrap()
                .lacks_journals()
        );
        assert!(
            DataDirectory::open(parent.path(), 1)
                .unwrap()
                .lacks_journals()
        );
        std::fs::create_dir(parent.path().join("journal")).unwrap();
        assert!(
            !DataDirectory::open(parent.path(), 1)
                .unwrap()
                .lacks_journals()
        );
    }

    #[test]
    fn a_foreign_directory_is_refused_and_not_touched() {
        let parent = TestDirectory::new("data");
        std::fs::write(parent.path().join("photo.jpg"), "x").unwrap();
        let error = DataDirectory::open(parent.path(), 1).unwrap_err();
        assert!(
            matches!(error, DataDirectoryError::Foreign { .. }),
            "{error}"
        );
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn another_node_and_a_damaged_marker_are_refused() {
        let parent = TestDirectory::new("data");
        drop(DataDirectory::open(parent.path(), 1).unwrap());
        let error = DataDirectory::open(parent.path(), 2).unwrap_err();
        assert!(
            matches!(error, DataDirectoryError::OtherNode { .. }),
            "{error}"
        );
        let marker = parent.path().join("sluice.meta");
        let text = std::fs::read_to_string(&marker).unwrap();
        std::fs::write(&marker, text.replace("node.id=1", "node.id=2")).unwrap();
        let error = DataDirectory::open(parent.path(), 2).unwrap_err();
        assert!(error.to_string().contains("checksum is wrong"), "{error}");
        std::fs::write(&marker, "").unwrap();
        let error = DataDirectory::open(parent.path(), 1).unwrap_err();
        assert!(
            matches!(error, DataDirectoryError::Marker { .. }),
            "{error}"
        );
    }

    #[test]
    fn a_marker_of_a_later_format_says_so() {
        let text = Identity::new(1).encode().replace("format=1", "format=2");
        let body = text.split("crc32c=").next().unwrap();
        let crc = crc32c::crc32c(body.as_bytes());
        let error = Identity::decode(&format!("{body}crc32c={crc:08x}\n")).unwrap_err();
        assert!(error.contains("has format 2"), "{error}");
    }

    #[test]
    fn identifiers_are_base_64_of_the_url_alphabet() {
        assert_eq!(url_safe(&[0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(url_safe(&[0xff; 16]), "_____________________w");
        let bytes = *b"0123456789abcdef";
        assert_eq!(url_safe(&bytes), "MDEyMzQ1Njc4OWFiY2RlZg");
    }
}
