//! Names of the files of a segment: the base offset in 20 digits and what the file is.
//!
//! Source            Kafka 4.3 `LogFileUtils`; docs/formats/segment.md.

/// What a file of a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// Record batches.
    Log,
    /// Offset index.
    OffsetIndex,
    /// Time index.
    TimeIndex,
    /// Output of a compaction that is not complete; recovery removes it.
    Cleaned,
    /// Complete output of a compaction that is to replace its sources; recovery finishes that.
    Swap,
}

impl FileKind {
    const ALL: [Self; 5] = [
        Self::Log,
        Self::OffsetIndex,
        Self::TimeIndex,
        Self::Cleaned,
        Self::Swap,
    ];

    /// The file name after the 20 digits.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Log => ".log",
            Self::OffsetIndex => ".index",
            Self::TimeIndex => ".timeindex",
            Self::Cleaned => ".log.cleaned",
            Self::Swap => ".log.swap",
        }
    }
}

/// Path of a file of the segment with this base offset, relative to the data directory.
pub fn file_path(directory: &str, base_offset: i64, kind: FileKind) -> String {
    format!("{directory}/{base_offset:020}{}", kind.suffix())
}

/// Reads a file name back; `None` for a name that is not ours, which nobody touches.
pub fn parse_file_name(name: &str) -> Option<(i64, FileKind)> {
    let (digits, suffix) = name.split_at_checked(20)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kind = FileKind::ALL
        .into_iter()
        .find(|kind| kind.suffix() == suffix)?;
    Some((digits.parse().ok()?, kind))
}

#[cfg(test)]
mod tests {
    use super::{FileKind, file_path, parse_file_name};

    #[test]
    fn names_read_back() {
        for kind in FileKind::ALL {
            let path = file_path("logs/t-0", 4711, kind);
            let name = path.strip_prefix("logs/t-0/").unwrap();
            assert_eq!(parse_file_name(name), Some((4711, kind)));
        }
        for foreign in [
            "",
            "1.log",
            "00000000000000000001.log.bak",
            "+0000000000000000001.log",
            "99999999999999999999.log",
            "ééééééééééééééééééé1.log",
        ] {
            assert_eq!(parse_file_name(foreign), None, "{foreign}");
        }
    }
}
