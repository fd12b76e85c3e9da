//! `sluice config check FILE`: whether a file can be used.

use std::path::Path;
use std::process::ExitCode;

use super::{EXIT_USAGE, complain, show};
use crate::config::load::check_file;

/// Checks the file; exit code 2 and one line when it cannot be used.
pub fn run(file: &Path) -> ExitCode {
    match check_file(file) {
        Ok(_config) => {
            show(format_args!("{}: ok\n", file.display()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(error);
            ExitCode::from(EXIT_USAGE)
        }
    }
}
