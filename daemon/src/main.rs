//! The process `sluice`.

use std::process::ExitCode;

use daemon::command::{self, Command};

fn main() -> ExitCode {
    match command::parse(std::env::args_os()) {
        Ok(Command::Start(flags)) => command::start::run(&flags),
        Ok(Command::ConfigCheck(file)) => command::config_check::run(&file),
        Ok(Command::Client(client)) => command::client::run(&client),
        Err(not_run) => command::explain(&not_run),
    }
}
