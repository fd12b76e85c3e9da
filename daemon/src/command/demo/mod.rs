//! `sluice demo`: a gateway, a link that is cut, and the centre, on this machine.
//!
//! What it is        two brokers as child processes, a relay between them, sensors at the one and
//!                   a consumer at the other, and a table of what happens.
//! What it is not    a benchmark, nor a look at what the mirror says of itself: what is at the
//!                   centre is counted by a consumer there.
//! Invariants        1. all is on loopback and in a temporary directory, and gone at the end.
//!                   2. the exit code is 0 only if no record was missing, out of order or there
//!                   twice.
//! Reading order     [`DemoArguments::run`], then [`broker`], [`relay`], [`sensors`], [`consumer`],
//!                   [`judge`], [`table`].

mod broker;
mod consumer;
mod judge;
mod relay;
mod sensors;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use self::broker::Broker;
use self::consumer::Consumer;
use self::judge::Findings;
use self::relay::Relay;
use self::sensors::Sensors;
use self::table::{Row, Screen};
use super::admin_client::ask_admin;
use super::client::CommandError;
use super::interrupt::Interrupt;
use super::output::Format;
use crate::client::{Address, ClientError};

/// The topic of the sensors.
const TOPIC: &str = "sensors";

/// Time that the link is up, and then cut, when nothing else was asked for.
const PHASE: Duration = Duration::from_secs(10);

/// Time between two rows.
const ROW_PAUSE: Duration = Duration::from_secs(1);

/// Time between two looks for a signal.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Time for everything to arrive after the sensors have stopped: more than the longest pause of a
/// mirror between two attempts to connect.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(90);

const EXAMPLES: &str = "\
Examples:
  sluice demo
  sluice demo --seconds 30 --output json";

/// Arguments of `sluice demo`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArguments {
    /// End by itself: the sensors stop after so many seconds, the link is cut in the middle third,
    /// and everything must arrive [default: until Ctrl-C, cut every other 10 seconds]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(3..=86_400))]
    seconds: Option<u64>,
    /// Records per second of all sensors
    #[arg(long, value_name = "N", default_value_t = 200,
          value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// The parts; their order is the one in which they end.
struct Stage {
    sensors: Sensors,
    consumer: Consumer,
    relay: Relay,
    gateway: Broker,
    centre: Broker,
    directory: TemporaryDirectory,
    started: Instant,
}

/// A directory that goes away.
struct TemporaryDirectory(PathBuf);

impl DemoArguments {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        let interrupt = Interrupt::watch()?;
        let mut stage = Stage::set(self.rate)?;
        let mut screen = Screen::new(self.output, stage.gateway.kafka, stage.centre.kafka)?;
        let played = self.play(&mut stage, &mut screen, &interrupt);
        let row = stage.row()?;
        drop(stage);
        played?;
        let is_whole = self.seconds.is_some() && !interrupt.is_raised();
        let verdict = judge(&row, is_whole);
        screen.end(&row, &verdict)?;
        match verdict {
            Ok(_) => Ok(()),
            Err(line) => Err(ClientError::Other(line).into()),
        }
    }

    /// Lets it run until the time is over or a signal comes.
    fn play(
        &self,
        stage: &mut Stage,
        screen: &mut Screen,
        interrupt: &Interrupt,
    ) -> Result<(), CommandError> {
        let length = self.seconds.map(Duration::from_secs);
        let phase = length.map_or(PHASE, |length| length.div_f64(3.0));
        let mut next_row = Duration::ZERO;
        while !interrupt.is_raised() {
            let elapsed = stage.started.elapsed();
            if length.is_some_and(|length| elapsed >= length) {
                return stage.drain(screen, interrupt);
            }
            let turn = elapsed.as_millis().checked_div(phase.as_millis());
            let is_cut = turn.is_some_and(|turn| turn.rem_euclid(2) == 1);
            if is_cut != screen.is_cut() {
                stage.relay.set_cut(is_cut);
                screen.set_cut(elapsed, is_cut)?;
            }
            if elapsed >= next_row {
                next_row = elapsed + ROW_PAUSE;
                screen.row(&stage.row()?)?;
            }
            stage.check()?;
            thread::sleep(LOOK_PAUSE);
        }
        Ok(())
    }
}

impl Stage {
    fn set(rate: u32) -> Result<Self, CommandError> {
        let directory = TemporaryDirectory::make()?;
        let relay = Relay::open()?;
        let near = relay.address().to_string();
        let centre = Broker::start(&directory.0, "centre", "", &["--advertise", &near])?;
        relay.lead_to(centre.kafka);
        let mirror = format!(
            "[[mirror]]\nname = \"centre\"\nsite = \"gateway\"\nbootstrap = [\"{near}\"]\n\
             topics = [\"{TOPIC}\"]\nlinger.ms = 200\n"
        );
        let gateway = Broker::start(&directory.0, "gateway", &mirror, &["--num-partitions", "4"])?;
        let consumer = Consumer::start(address(centre.kafka))?;
        let sensors = Sensors::start(address(gateway.kafka), rate)?;
        Ok(Self {
            sensors,
            consumer,
            relay,
            gateway,
            centre,
            directory,
            started: Instant::now(),
        })
    }

    /// Stops the sensors and waits until everything is at the centre.
    fn drain(&mut self, screen: &mut Screen, interrupt: &Interrupt) -> Result<(), CommandError> {
        self.sensors.stop()?;
        screen.note(self.started.elapsed(), "the sensors have stopped")?;
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        let mut next_row = Instant::now();
        loop {
            let row = self.row()?;
            let is_over = row.is_complete() || interrupt.is_raised() || Instant::now() >= deadline;
            if is_over {
                return Ok(());
            }
            if Instant::now() >= next_row {
                next_row = Instant::now() + ROW_PAUSE;
                screen.row(&row)?;
            }
            self.check()?;
            thread::sleep(LOOK_PAUSE);
        }
    }

    /// What is known now.
    fn row(&self) -> Result<Row, CommandError> {
        // First what is at the centre, last what went in: a record is never there before.
        let found: Findings = self.consumer.findings();
        let text = ask_admin(&self.gateway.admin.to_string(), "GET", "/mirrors")?;
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let mirror = value.pointer("/mirrors/0").cloned().unwrap_or_default();
        let number = |name: &str| mirror.get(name).and_then(Value::as_u64).unwrap_or(0);
        Ok(Row {
            elapsed: self.started.elapsed(),
            mirrored: number("records"),
            lag_records: number("lag_records"),
            oldest_seconds: number("oldest_unmirrored_age_seconds"),
            sent_bytes: number("sent_bytes"),
            found,
            records_in: self.sensors.acknowledged(),
        })
    }

    /// Whether every part still lives.
    fn check(&mut self) -> Result<(), CommandError> {
        if self.sensors.have_failed() {
            self.sensors.stop()?;
        }
        if let Some(error) = self.consumer.failure() {
            return Err(error.into());
        }
        let brokers = [("gateway", &mut self.gateway), ("centre", &mut self.centre)];
        for (name, broker) in brokers {
            if let Some(fault) = broker.fault() {
                let line = format!("the {name} has ended: {fault}");
                return Err(ClientError::Other(line).into());
            }
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Whoever reads the error of the sensors has read it before.
        let _told: Result<(), ClientError> = self.sensors.stop();
        // The brokers must be gone before their files are.
        let _unused = &self.directory;
    }
}

impl TemporaryDirectory {
    fn make() -> std::io::Result<Self> {
        let name = format!("sluice-demo-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        super::complain(format!("{}: {error}", path.display()));
    }
}

fn address(of: std::net::SocketAddr) -> Address {
    Address {
        host: of.ip().to_string(),
        port: of.port(),
    }
}

/// What to say of the result; an error if a promise was broken.
fn judge(row: &Row, is_whole: bool) -> Result<String, String> {
    let Findings {
        records,
        duplicates,
        out_of_order,
        missing,
        unmarked,
        announced,
        ..
    } = row.found;
    let broken = [
        (duplicates, "are there twice"),
        (missing, "are missing"),
        (out_of_order, "are out of order"),
        (unmarked, "do not say where they come from"),
    ];
    if let Some((count, what)) = broken.iter().find(|(count, _)| *count > 0) {
        return Err(format!("{count} records {what} at the centre"));
    }
    let left = row.records_in.saturating_sub(records + announced);
    match (left, is_whole) {
        (0, _) => Ok(format!(
            "all {records} records are at the centre, each once and in order"
        )),
        (_, true) => Err(format!(
            "{left} of {} records have not arrived",
            row.records_in
        )),
        (_, false) => Ok(format!(
            "{records} records are at the centre, each once and in order; {left} were on their way"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::judge;
    use super::judge::Findings;
    use super::table::Row;

    fn row(records_in: u64, found: Findings) -> Row {
        Row {
            records_in,
            found,
            ..Row::default()
        }
    }

    #[test]
    fn only_what_is_whole_is_praised() {
        let found = Findings {
            records: 10,
            ..Findings::default()
        };
        assert!(judge(&row(10, found), true).unwrap().contains("all 10"));
        assert!(
            judge(&row(12, found), true)
                .unwrap_err()
                .contains("2 of 12")
        );
        assert!(judge(&row(12, found), false).unwrap().contains("2 were on"));
        for bad in [
            Findings {
                duplicates: 1,
                ..found
            },
            Findings {
                missing: 1,
                ..found
            },
            Findings {
                out_of_order: 1,
                ..found
            },
            Findings {
                unmarked: 1,
                ..found
            },
        ] {
            assert!(judge(&row(10, bad), false).is_err(), "{bad:?}");
        }
    }
}
