//! The data of a file through io_uring.
//!
//! What it is        reads, writes and flushes as operations of the shard's ring; buffers are owned
//!                   by the operation.
//! Invariants        1. a short write or read goes on from where it ended.
//!                   2. a flush is submitted only after the writes before it completed: the ring
//!                      orders nothing.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use storage::aligned_buffer::AlignedBuffer;

use super::blocking::{ends_inside_block, offset_of};
use crate::sys::buffer::LentBuffer;

/// An open file that the ring reads and writes.
#[derive(Debug)]
pub struct RingFile {
    file: monoio::fs::File,
}

impl RingFile {
    /// Takes over an open file.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn new(file: File) -> io::Result<Self> {
        let file = monoio::fs::File::from_std(file)?;
        Ok(Self { file })
    }

    /// A second descriptor of the same open file, for a helper thread.
    ///
    /// # Errors
    /// What the system says.
    pub fn duplicate(&self) -> io::Result<File> {
        crate::sys::file::duplicate(self.file.as_raw_fd())
    }

    /// Reads until `length` bytes are there or the file ends.
    ///
    /// # Errors
    /// What the system says; then the buffer is empty.
    pub async fn read(
        &self,
        position: u64,
        mut buffer: AlignedBuffer,
        length: usize,
        alignment: Option<usize>,
    ) -> (io::Result<usize>, AlignedBuffer) {
        let mut done = 0;
        while done < length {
            let lent = LentBuffer::new(buffer, done, length);
            let (result, lent) = self.file.read_at(lent, position + offset_of(done)).await;
            buffer = lent.into_buffer();
            match result {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    buffer.set_len(0);
                    return (Err(error), buffer);
                }
            }
            if ends_inside_block(done, alignment) {
                break;
            }
        }
        buffer.set_len(done);
        (Ok(done), buffer)
    }

    /// Writes the whole buffer.
    ///
    /// # Errors
    /// What the system says.
    pub async fn write(
        &self,
        position: u64,
        mut buffer: AlignedBuffer,
    ) -> (io::Result<()>, AlignedBuffer) {
        let length = buffer.len();
        let mut done = 0;
        while done < length {
            let lent = LentBuffer::new(buffer, done, length);
            let (result, lent) = self.file.write_at(lent, position + offset_of(done)).await;
            buffer = lent.into_buffer();
            match result {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buffer),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error), buffer),
            }
        }
        (Ok(()), buffer)
    }

    /// Flushes data and length.
    ///
    /// # Errors
    /// What the system says.
    pub async fn sync(&self) -> io::Result<()> {
        self.file.sync_data().await
    }
}
