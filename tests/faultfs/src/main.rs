//! A file system whose writes and flushes fail when told to: a FUSE passthrough for the fault
//! tests.
//!
//! ```text
//! faultfs BACKING-DIRECTORY MOUNT-POINT CONTROL-SOCKET
//! ```
//!
//! What it is        every operation goes to the backing directory. A failed flush answers EIO once
//!                   and drops what was written to the file since its last flush: the next flush
//!                   succeeds, and readers see the old bytes (what Linux did to PostgreSQL in
//!                   2018).
//!                   A write to a file opened O_DSYNC or O_SYNC is a write and a flush.
//! What it is not    a model of power cuts: what was not flushed is lost only by a failed flush.
//! The
//!                   backing directory itself is never flushed, and directories never fail.
//! Control           one command per line on the socket, one line back: `fail fsync|write
//!                   once|always [PART-OF-THE-PATH]`, `heal`, `stats`, `stop`. Unmounts at `stop`.
//! Source            issue "Faults"; man 2 fsync; fuse.h of Linux.

mod control;
mod faults;
mod files;
mod passthrough;

use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use fuser::MountOption;

use crate::faults::Faults;
use crate::files::Files;
use crate::passthrough::Passthrough;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _unheard = writeln!(io::stderr(), "faultfs: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [backing, mount, socket] = paths.as_slice() else {
        return Err(io::Error::other(
            "faultfs BACKING-DIRECTORY MOUNT-POINT CONTROL-SOCKET",
        ));
    };
    let faults = Arc::new(Mutex::new(Faults::default()));
    let listener = UnixListener::bind(socket)?;
    let files = Files::new(backing.canonicalize()?);
    let file_system = Passthrough::new(files, Arc::clone(&faults));
    let options = [
        MountOption::FSName("faultfs".to_owned()),
        MountOption::DefaultPermissions,
    ];
    let session = fuser::spawn_mount2(file_system, mount, &options)?;
    let served = control::serve(&listener, &faults);
    drop(session);
    served
}
