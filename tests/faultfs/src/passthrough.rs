//! The operations of FUSE, passed through to the backing directory.
//!
//! Invariants        1. nothing is cached by the kernel beyond an open file: times to live are
//! zero,
//!                      so that readers see what a failed flush took back.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    FileAttr, FileType, Filesystem, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
};
use rustix::fs::{FallocateFlags, OFlags, fallocate, statvfs};
use rustix::io::Errno;

use crate::faults::{Faults, HeldWrite, Operation};
use crate::files::Files;

/// Nothing is cached.
const TTL: Duration = Duration::ZERO;

/// The file system.
pub(crate) struct Passthrough {
    files: Files,
    faults: Arc<Mutex<Faults>>,
}

impl Passthrough {
    /// A file system over these files, under these orders.
    pub(crate) fn new(files: Files, faults: Arc<Mutex<Faults>>) -> Self {
        Self { files, faults }
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strikes(&self, operation: Operation, number: u64) -> bool {
        let path = self.files.relative(number).unwrap_or_default();
        self.faults().strikes(operation, &path.to_string_lossy())
    }

    fn child(&self, parent: u64, name: &OsStr) -> io::Result<PathBuf> {
        Ok(self.files.relative(parent)?.join(name))
    }

    fn entry(&mut self, relative: &Path) -> io::Result<FileAttr> {
        let metadata = fs::symlink_metadata(self.files.backing_of(relative))?;
        Ok(attributes(self.files.number_of(relative), &metadata))
    }

    fn attributes_of(&self, number: u64) -> io::Result<FileAttr> {
        let by_path = self.files.backing(number).and_then(fs::symlink_metadata);
        let metadata = match (by_path, self.files.open_file(number)) {
            (Ok(metadata), _) => metadata,
            (Err(_), Some(file)) => file.metadata()?,
            (Err(error), None) => return Err(error),
        };
        Ok(attributes(number, &metadata))
    }

    fn open_backing(
        &mut self,
        relative: &Path,
        flags: i32,
        create: Option<u32>,
    ) -> io::Result<u64> {
        let flags = open_flags(flags);
        let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(writes)
            .truncate(writes && flags.contains(OFlags::TRUNC));
        if let Some(mode) = create {
            options.write(true).create(true).mode(mode);
            options.create_new(flags.contains(OFlags::EXCL));
        }
        let file = options.open(self.files.backing_of(relative))?;
        let number = self.files.number_of(relative);
        Ok(self.files.add_handle(number, file))
    }

    fn write_through(&mut self, handle: u64, offset: u64, data: &[u8]) -> io::Result<u64> {
        let open = self.files.handle(handle)?;
        let (number, file) = (open.number, open.file.try_clone()?);
        if self.strikes(Operation::Write, number) {
            return Err(Errno::IO.into());
        }
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
        self.files.note_change(number, &file, offset, length)?;
        file.write_all_at(data, offset)?;
        Ok(number)
    }

    /// Keeps the write back if it was ordered; returns the reply if not.
    fn held_write(
        &self,
        handle: u64,
        offset: u64,
        data: &[u8],
        reply: ReplyWrite,
    ) -> Option<ReplyWrite> {
        let Ok(open) = self.files.handle(handle) else {
            return Some(reply);
        };
        let (number, file) = (open.number, open.file.try_clone());
        let Ok(file) = file else { return Some(reply) };
        if !self.strikes(Operation::Hold, number) {
            return Some(reply);
        }
        let data = data.to_vec();
        self.faults().hold(HeldWrite {
            file,
            offset,
            data,
            reply,
        });
        None
    }

    fn flush_number(&mut self, number: u64, handle: u64) -> io::Result<()> {
        if !self.strikes(Operation::Flush, number) {
            self.files.note_flushed(number);
            return Ok(());
        }
        let file = self.files.handle(handle)?.file.try_clone()?;
        let dropped = self.files.drop_unflushed(number, &file)?;
        self.faults().figures.dropped_bytes += dropped;
        Err(Errno::IO.into())
    }

    fn set_length(&mut self, number: u64, handle: Option<u64>, length: u64) -> io::Result<()> {
        let file = match handle.map(|handle| self.files.handle(handle)) {
            Some(Ok(open)) => open.file.try_clone()?,
            Some(Err(_)) | None => OpenOptions::new()
                .read(true)
                .write(true)
                .open(self.files.backing(number)?)?,
        };
        let cut = file.metadata()?.len().saturating_sub(length);
        self.files.note_change(number, &file, length, cut)?;
        file.set_len(length)
    }

    fn list(&mut self, number: u64) -> io::Result<Vec<(u64, FileType, std::ffi::OsString)>> {
        let relative = self.files.relative(number)?;
        let mut entries = vec![
            (number, FileType::Directory, ".".into()),
            (number, FileType::Directory, "..".into()),
        ];
        let mut names: Vec<_> =
            fs::read_dir(self.files.backing(number)?)?.collect::<Result<_, _>>()?;
        names.sort_by_key(fs::DirEntry::file_name);
        for name in names {
            let child = self.files.number_of(&relative.join(name.file_name()));
            entries.push((child, file_type(&name.metadata()?), name.file_name()));
        }
        Ok(entries)
    }
}

impl Filesystem for Passthrough {
    fn lookup(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEntry) {
        match self.child(parent, name).and_then(|path| self.entry(&path)) {
            Ok(found) => reply.entry(&TTL, &found, 0),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn getattr(&mut self, _: &Request<'_>, number: u64, _: Option<u64>, reply: ReplyAttr) {
        match self.attributes_of(number) {
            Ok(found) => reply.attr(&TTL, &found),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn setattr(
        &mut self,
        _: &Request<'_>,
        number: u64,
        mode: Option<u32>,
        _user: Option<u32>,
        _group: Option<u32>,
        size: Option<u64>,
        _accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        handle: Option<u64>,
        _created: Option<SystemTime>,
        _change_time: Option<SystemTime>,
        _backup_time: Option<SystemTime>,
        _flags: Option<u32>,
        reply: ReplyAttr,
    ) {
        let mut change = || {
            if let Some(length) = size {
                self.set_length(number, handle, length)?;
            }
            if let Some(mode) = mode {
                fs::set_permissions(self.files.backing(number)?, Permissions::from_mode(mode))?;
            }
            if let Some(modified) = modified {
                let time = match modified {
                    TimeOrNow::SpecificTime(time) => time,
                    TimeOrNow::Now => SystemTime::now(),
                };
                let file = File::open(self.files.backing(number)?)?;
                file.set_times(FileTimes::new().set_modified(time))?;
            }
            self.attributes_of(number)
        };
        match change() {
            Ok(found) => reply.attr(&TTL, &found),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn mkdir(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let mut make = || {
            let path = self.child(parent, name)?;
            let mut builder = fs::DirBuilder::new();
            builder.mode(mode & !umask);
            builder.create(self.files.backing_of(&path))?;
            self.entry(&path)
        };
        match make() {
            Ok(made) => reply.entry(&TTL, &made, 0),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn unlink(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.child(parent, name).and_then(|path| {
            fs::remove_file(self.files.backing_of(&path))?;
            self.files.forget_path(&path);
            Ok(())
        });
        answer(removed, reply);
    }

    fn rmdir(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.child(parent, name).and_then(|path| {
            fs::remove_dir(self.files.backing_of(&path))?;
            self.files.forget_path(&path);
            Ok(())
        });
        answer(removed, reply);
    }

    fn rename(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        new_parent: u64,
        new_name: &OsStr,
        flags: u32,
        reply: ReplyEmpty,
    ) {
        if flags != 0 {
            return reply.error(Errno::INVAL.raw_os_error());
        }
        let mut change = || {
            let (from, to) = (self.child(parent, name)?, self.child(new_parent, new_name)?);
            fs::rename(self.files.backing_of(&from), self.files.backing_of(&to))?;
            self.files.rename(&from, &to);
            Ok(())
        };
        answer(change(), reply);
    }

    fn open(&mut self, _: &Request<'_>, number: u64, flags: i32, reply: ReplyOpen) {
        let relative = self.files.relative(number);
        match relative.and_then(|path| self.open_backing(&path, flags, None)) {
            Ok(handle) => reply.opened(handle, 0),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn create(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let mut make = || {
            let path = self.child(parent, name)?;
            let handle = self.open_backing(&path, flags, Some(mode & !umask))?;
            Ok((self.entry(&path)?, handle))
        };
        match make() {
            Ok((made, handle)) => reply.created(&TTL, &made, 0, handle, 0),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        _number: u64,
        handle: u64,
        offset: i64,
        size: u32,
        _flags: i32,
        _owner: Option<u64>,
        reply: ReplyData,
    ) {
        let mut buffer = vec![0; usize::try_from(size).unwrap_or(0)];
        let read = self
            .files
            .handle(handle)
            .and_then(|open| read_full(&open.file, &mut buffer, position(offset)));
        match read {
            Ok(length) => reply.data(buffer.get(..length).unwrap_or_default()),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        _number: u64,
        handle: u64,
        offset: i64,
        data: &[u8],
        _write_flags: u32,
        flags: i32,
        _owner: Option<u64>,
        reply: ReplyWrite,
    ) {
        let Some(reply) = self.held_write(handle, position(offset), data, reply) else {
            return;
        };
        let written = self
            .write_through(handle, position(offset), data)
            .and_then(|number| {
                // O_SYNC contains O_DSYNC.
                if open_flags(flags).contains(OFlags::DSYNC) {
                    self.flush_number(number, handle)?;
                }
                Ok(())
            });
        match written {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn flush(&mut self, _: &Request<'_>, _: u64, _: u64, _: u64, reply: ReplyEmpty) {
        // This is close(2), which flushes nothing.
        reply.ok();
    }

    fn release(
        &mut self,
        _: &Request<'_>,
        _number: u64,
        handle: u64,
        _flags: i32,
        _owner: Option<u64>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.files.remove_handle(handle);
        reply.ok();
    }

    fn fsync(&mut self, _: &Request<'_>, number: u64, handle: u64, _: bool, reply: ReplyEmpty) {
        answer(self.flush_number(number, handle), reply);
    }

    fn fsyncdir(&mut self, _: &Request<'_>, _: u64, _: u64, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readdir(
        &mut self,
        _: &Request<'_>,
        number: u64,
        _handle: u64,
        offset: i64,
        mut reply: ReplyDirectory,
    ) {
        let entries = match self.list(number) {
            Ok(entries) => entries,
            Err(error) => return reply.error(code(&error)),
        };
        let first = usize::try_from(offset).unwrap_or(0);
        for (place, (child, kind, name)) in entries.into_iter().enumerate().skip(first) {
            let next = i64::try_from(place + 1).unwrap_or(i64::MAX);
            if reply.add(child, next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&mut self, _: &Request<'_>, _: u64, reply: ReplyStatfs) {
        match self.files.backing(1).map(|root| statvfs(&root)) {
            Ok(Ok(found)) => {
                let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
                reply.statfs(
                    found.f_blocks,
                    found.f_bfree,
                    found.f_bavail,
                    found.f_files,
                    found.f_ffree,
                    small(found.f_bsize),
                    small(found.f_namemax),
                    small(found.f_frsize),
                );
            }
            Ok(Err(error)) => reply.error(error.raw_os_error()),
            Err(error) => reply.error(code(&error)),
        }
    }

    fn fallocate(
        &mut self,
        _: &Request<'_>,
        number: u64,
        handle: u64,
        offset: i64,
        length: i64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mut reserve = || {
            let file = self.files.handle(handle)?.file.try_clone()?;
            let end = file.metadata()?.len();
            self.files.note_change(number, &file, end, 0)?;
            let mode = FallocateFlags::from_bits_retain(mode.cast_unsigned());
            fallocate(&file, mode, position(offset), position(length))?;
            Ok(())
        };
        answer(reserve(), reply);
    }
}

fn answer(result: io::Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(code(&error)),
    }
}

fn code(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or_else(|| {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        let code = if is_missing { Errno::NOENT } else { Errno::IO };
        code.raw_os_error()
    })
}

fn position(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

fn open_flags(flags: i32) -> OFlags {
    OFlags::from_bits_retain(flags.cast_unsigned())
}

fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..)
        && !rest.is_empty()
    {
        let at = offset + u64::try_from(filled).unwrap_or(0);
        match file.read_at(rest, at)? {
            0 => break,
            more => filled += more,
        }
    }
    Ok(filled)
}

fn file_type(metadata: &Metadata) -> FileType {
    if metadata.is_dir() {
        FileType::Directory
    } else if metadata.is_symlink() {
        FileType::Symlink
    } else {
        FileType::RegularFile
    }
}

fn attributes(number: u64, metadata: &Metadata) -> FileAttr {
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let changed = u64::try_from(metadata.ctime()).unwrap_or(0);
    FileAttr {
        ino: number,
        size: metadata.len(),
        blocks: metadata.blocks(),
        atime: metadata.accessed().unwrap_or(UNIX_EPOCH),
        mtime: metadata.modified().unwrap_or(UNIX_EPOCH),
        ctime: UNIX_EPOCH + Duration::from_secs(changed),
        crtime: UNIX_EPOCH,
        kind: file_type(metadata),
        perm: u16::try_from(metadata.mode() & 0o7777).unwrap_or(0),
        nlink: small(metadata.nlink()),
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}
