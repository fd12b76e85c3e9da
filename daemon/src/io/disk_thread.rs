//! The data of a file through helper threads.
//!
//! What it is        the way on epoll, where the runtime would block the shard in each system call.

use std::fs::File;
use std::io;
use std::sync::Arc;

use storage::aligned_buffer::AlignedBuffer;

use super::blocking;
use super::helper_thread::Helper;

/// An open file that helper threads read and write.
#[derive(Debug)]
pub struct ThreadFile {
    file: Arc<File>,
}

impl ThreadFile {
    /// Takes over an open file.
    pub fn new(file: File) -> Self {
        Self {
            file: Arc::new(file),
        }
    }

    /// A second descriptor of the same open file.
    ///
    /// # Errors
    /// What the system says.
    pub fn duplicate(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Reads until `length` bytes are there or the file ends.
    ///
    /// # Errors
    /// What the system says; then the buffer is empty.
    pub async fn read(
        &self,
        helper: &Helper,
        position: u64,
        mut buffer: AlignedBuffer,
        length: usize,
        alignment: Option<usize>,
    ) -> (io::Result<usize>, AlignedBuffer) {
        let file = Arc::clone(&self.file);
        helper
            .run(move || {
                let result = blocking::read(&file, position, &mut buffer, length, alignment);
                (result, buffer)
            })
            .await
    }

    /// Writes the whole buffer.
    ///
    /// # Errors
    /// What the system says.
    pub async fn write(
        &self,
        helper: &Helper,
        position: u64,
        buffer: AlignedBuffer,
    ) -> (io::Result<()>, AlignedBuffer) {
        let file = Arc::clone(&self.file);
        helper
            .run(move || (blocking::write(&file, position, &buffer), buffer))
            .await
    }

    /// Flushes data and length.
    ///
    /// # Errors
    /// What the system says.
    pub async fn sync(&self, helper: &Helper) -> io::Result<()> {
        let file = Arc::clone(&self.file);
        helper.run(move || file.sync_data()).await
    }
}
