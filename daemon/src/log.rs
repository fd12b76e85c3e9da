//! Log lines on standard error.
//!
//! Invariants        1. the log never ends the broker.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Starts logging for the whole process; a second call changes nothing.
pub fn start(config: &Config) {
    let filter = EnvFilter::try_new(&config.log_level).unwrap_or_default();
    // A line that cannot be written (the reader of the pipe is gone, the disk of the log is full)
    // is lost; complaining about it on the same standard error would end the process.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(io::stderr);
    let result = match config.log_format {
        LogFormat::Text => {
            let colours = io::IsTerminal::is_terminal(&io::stderr());
            builder.with_ansi(colours).try_init()
        }
        LogFormat::Json => builder.json().try_init(),
    };
    drop(result);
}
