//! `sluice mqtt`

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use mqtt::limits::PASSWORD_ITERATIONS_DEFAULT;
use mqtt::password;
use serde_json::Value;

use super::admin_client::{AdminOptions, cells};
use super::client::CommandError;
use super::output::{Format, Output, Report, Table};
use super::secret;
use crate::client::ClientError;

const STATUS_EXAMPLES: &str = "\
Examples:
  sluice mqtt status
  sluice mqtt status --output json";

const PASSWORD_EXAMPLES: &str = "\
Examples:
  sluice mqtt password /etc/sluice/mqtt.passwords boiler
  sluice mqtt password /etc/sluice/mqtt.passwords boiler < secret
  sluice mqtt password /etc/sluice/mqtt.passwords boiler --delete";

/// Mode of a password file that is made: for its owner only.
const FILE_MODE: u32 = 0o600;

/// The commands of `sluice mqtt`.
#[derive(Debug, Subcommand)]
pub enum MqttCommand {
    /// Show who is connected over MQTT, how often each rule was used, the bridges, and the groups
    /// that share a subscription
    Status(StatusArguments),
    /// Set or delete the password of a user in a password file
    Password(PasswordArguments),
}

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = STATUS_EXAMPLES)]
pub struct StatusArguments {
    #[command(flatten)]
    admin: AdminOptions,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// Arguments of `password`.
#[derive(Debug, Args)]
#[command(after_help = PASSWORD_EXAMPLES)]
pub struct PasswordArguments {
    /// The file, as in mqtt.password.file; made if it is not there
    file: PathBuf,
    /// The user name
    user: String,
    /// Delete the user instead; otherwise the password is read from the terminal, or is the first
    /// line of standard input
    #[arg(long)]
    delete: bool,
    /// Rounds of PBKDF2: more make guessing slower, and connecting
    #[arg(long, value_name = "N", default_value_t = PASSWORD_ITERATIONS_DEFAULT)]
    iterations: u32,
}

impl MqttCommand {
    pub(super) fn run(&self) -> Result<(), CommandError> {
        match self {
            Self::Status(arguments) => arguments.run(),
            Self::Password(arguments) => arguments.run(),
        }
    }
}

impl StatusArguments {
    fn run(&self) -> Result<(), CommandError> {
        let status = self.admin.ask_json("/mqtt")?;
        let mut report = Report::default();
        for (title, name) in FIELDS {
            let value = status.get(name).cloned().unwrap_or(Value::Null);
            report = report.field(title, value);
        }
        let rows = |name: &str| {
            let rows = status.get(name).and_then(Value::as_array);
            rows.cloned().unwrap_or_default()
        };
        let mut rules = Table::new(&["RULE", "MESSAGES"]);
        for rule in rows("rules") {
            rules.push(cells(&rule, &["rule", "messages"]));
        }
        let mut clients = Table::new(&[
            "CLIENT-ID",
            "USER",
            "ADDRESS",
            "VERSION",
            "SHARD",
            "CONNECTED-SECONDS",
            "SESSION-EXPIRY-SECONDS",
            "SUBSCRIPTIONS",
            "WAITING-PUBLISHES",
            "UNACKNOWLEDGED",
        ]);
        for client in rows("clients") {
            clients.push(cells(
                &client,
                &[
                    "client_id",
                    "user",
                    "address",
                    "version",
                    "shard",
                    "connected_seconds",
                    "session_expiry_seconds",
                    "subscriptions",
                    "waiting_publishes",
                    "unacknowledged",
                ],
            ));
        }
        let mut report = report.table("RULES", rules);
        let bridges = rows("bridges");
        if !bridges.is_empty() {
            let mut table = Table::new(&BRIDGE_TITLES);
            for bridge in bridges {
                table.push(cells(&bridge, &BRIDGE_NAMES));
            }
            report = report.table("BRIDGES", table);
        }
        let mut shares = Table::new(&SHARE_TITLES);
        for share in rows("shared_subscriptions") {
            shares.push(cells(&share, &SHARE_NAMES));
        }
        let report = report.table("SHARED-SUBSCRIPTIONS", shares);
        let report = report.table("CLIENTS", clients);
        Ok(Output::new(self.output).report(&report)?)
    }
}

/// Titles and names of what `status` shows of each bridge.
const BRIDGE_TITLES: [&str; 9] = [
    "BRIDGE",
    "ADDRESS",
    "CLIENT-ID",
    "STATE",
    "RECEIVED",
    "ACKNOWLEDGED",
    "UNACKNOWLEDGED",
    "RECONNECTS",
    "ERROR",
];
const BRIDGE_NAMES: [&str; 9] = [
    "name",
    "address",
    "client_id",
    "state",
    "received",
    "acknowledged",
    "unacknowledged",
    "reconnects",
    "error",
];

/// Titles and names of what `status` shows of each group that shares a subscription.
const SHARE_TITLES: [&str; 6] = [
    "GROUP",
    "FILTER",
    "CONNECTED",
    "AWAY",
    "UNACKNOWLEDGED",
    "RETURNED",
];
const SHARE_NAMES: [&str; 6] = [
    "group",
    "filter",
    "connected",
    "away",
    "unacknowledged",
    "returned",
];

/// Titles and names of what `status` shows once.
const FIELDS: [(&str, &str); 13] = [
    ("CONNECTIONS", "connections"),
    ("CONNECTIONS-OPENED", "connections_opened"),
    ("LOGINS-REFUSED", "logins_refused"),
    ("SESSIONS", "sessions"),
    ("RETAINED-MESSAGES", "retained_messages"),
    ("PUBLISHES-QOS-0", "publishes_qos_0"),
    ("PUBLISHES-QOS-1", "publishes_qos_1"),
    ("PUBLISHES-QOS-2", "publishes_qos_2"),
    ("PUBLISHES-DROPPED", "publishes_dropped"),
    ("PUBLISHES-REFUSED", "publishes_refused"),
    ("DELIVERIES", "deliveries"),
    ("CLIENTS-LEFT-OUT", "clients_left_out"),
    (
        "SHARED-SUBSCRIPTIONS-LEFT-OUT",
        "shared_subscriptions_left_out",
    ),
];

impl PasswordArguments {
    fn run(&self) -> Result<(), CommandError> {
        let cannot = |error: io::Error| {
            let file = self.file.display();
            CommandError::from(ClientError::Other(format!("{file}: {error}")))
        };
        let text = match fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && !self.delete => String::new(),
            Err(error) => return Err(cannot(error)),
        };
        let line = if self.delete {
            None
        } else {
            Some(self.line()?)
        };
        let changed = password::replace_entry(&text, &self.user, line.as_deref());
        if line.is_none() && changed.len() == text.len() {
            let line = format!("{}: there is no user {}", self.file.display(), self.user);
            return Err(ClientError::Other(line).into());
        }
        replace_file(&self.file, &changed).map_err(cannot)
    }

    fn line(&self) -> Result<String, CommandError> {
        let usage = |error: password::PasswordError| CommandError::Usage(error.to_string());
        // A name that cannot stand there is told before a password is asked for.
        password::entry(&self.user, b"", &[0; 16], 1).map_err(usage)?;
        let secret = secret::read(&format!("Password of {}: ", self.user)).map_err(|error| {
            CommandError::from(ClientError::Other(format!("standard input: {error}")))
        })?;
        if secret.is_empty() {
            return Err(CommandError::Usage("the password is empty".to_owned()));
        }
        let salt = uuid::Uuid::new_v4();
        password::entry(
            &self.user,
            secret.as_bytes(),
            salt.as_bytes(),
            self.iterations,
        )
        .map_err(usage)
    }
}

/// Writes a file beside and renames it, so that a broker that reads it never sees half of it. Mode
/// and owner of the earlier one stay.
fn replace_file(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let written = write_file(&beside, path, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What is told is the first error.
        let _left: io::Result<()> = fs::remove_file(&beside);
    }
    written
}

fn write_file(beside: &Path, earlier: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(FILE_MODE);
    let mut file = options.open(beside)?;
    if let Ok(metadata) = fs::metadata(earlier) {
        // Not everybody may give a file away; the mode is what matters then.
        let _same: io::Result<()> = chown(beside, Some(metadata.uid()), Some(metadata.gid()));
        file.set_permissions(metadata.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
