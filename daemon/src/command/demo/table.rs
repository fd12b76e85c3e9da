//! What the demonstration shows: a table that stays in place on a terminal, rows elsewhere.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::judge::Findings;
use crate::command::output::Format;

/// Events that stay on the screen.
const NOTES_MAX: usize = 8;

/// Titles and widths of the columns.
const COLUMNS: [(&str, usize); 9] = [
    ("SECONDS", 7),
    ("LINK", 4),
    ("RECORDS-IN", 10),
    ("MIRRORED", 8),
    ("AT-CENTRE", 9),
    ("LAG", 8),
    ("DUPLICATES", 10),
    ("MISSING", 7),
    ("GAPS", 4),
];

/// What is known at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    /// Time since the start.
    pub(super) elapsed: Duration,
    /// Records that the gateway has acknowledged to sensors.
    pub(super) records_in: u64,
    /// Records that the centre has acknowledged to the mirror.
    pub(super) mirrored: u64,
    /// Records that the mirror has yet to send.
    pub(super) lag_records: u64,
    /// Age of the oldest of them.
    pub(super) oldest_seconds: u64,
    /// Bytes on the link.
    pub(super) sent_bytes: u64,
    /// What the consumer at the centre has found.
    pub(super) found: Findings,
}

/// Standard output.
#[derive(Debug)]
pub(super) struct Screen {
    format: Format,
    is_live: bool,
    title: String,
    is_cut: bool,
    /// Lines that the next picture replaces.
    lines: usize,
    has_heading: bool,
    notes: Vec<String>,
}

impl Row {
    /// Whether everything that went in is known to be at the centre.
    pub(super) const fn is_complete(&self) -> bool {
        self.lag_records == 0 && self.found.records + self.found.announced >= self.records_in
    }

    fn cells(&self, is_cut: bool) -> [String; 9] {
        let link = if is_cut { "cut" } else { "up" };
        [
            self.elapsed.as_secs().to_string(),
            link.to_owned(),
            self.records_in.to_string(),
            self.mirrored.to_string(),
            self.found.records.to_string(),
            self.lag_records.to_string(),
            self.found.duplicates.to_string(),
            self.found.missing.to_string(),
            self.found.gaps.to_string(),
        ]
    }

    fn json(&self, is_cut: bool) -> Value {
        json!({
            "seconds": self.elapsed.as_secs(),
            "link": if is_cut { "cut" } else { "up" },
            "records_in": self.records_in,
            "mirrored": self.mirrored,
            "at_centre": self.found.records,
            "lag_records": self.lag_records,
            "oldest_unmirrored_age_seconds": self.oldest_seconds,
            "sent_bytes": self.sent_bytes,
            "duplicates": self.found.duplicates,
            "missing": self.found.missing,
            "out_of_order": self.found.out_of_order,
            "unmarked": self.found.unmarked,
            "gaps": self.found.gaps,
            "announced_missing": self.found.announced,
        })
    }
}

impl Screen {
    pub(super) fn new(format: Format, gateway: SocketAddr, centre: SocketAddr) -> io::Result<Self> {
        let title = format!("sensors -> gateway {gateway} -> link -> centre {centre}");
        let screen = Self {
            format,
            is_live: format == Format::Text && io::stdout().is_terminal(),
            title,
            is_cut: false,
            lines: 0,
            has_heading: false,
            notes: Vec::new(),
        };
        if !screen.is_live && format == Format::Text {
            put(&format!("{}\n", screen.title))?;
        }
        Ok(screen)
    }

    pub(super) const fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub(super) fn set_cut(&mut self, elapsed: Duration, is_cut: bool) -> io::Result<()> {
        self.is_cut = is_cut;
        let what = if is_cut {
            "the link is cut"
        } else {
            "the link is back"
        };
        self.note(elapsed, what)
    }

    /// Tells an event.
    pub(super) fn note(&mut self, elapsed: Duration, what: &str) -> io::Result<()> {
        let line = format!("{:>5} s  {what}", elapsed.as_secs());
        if self.is_live {
            self.notes.push(line);
            let surplus = self.notes.len().saturating_sub(NOTES_MAX);
            self.notes.drain(..surplus);
            return Ok(());
        }
        match self.format {
            Format::Text => put(&format!("{line}\n")),
            Format::Json => {
                let event = json!({"seconds": elapsed.as_secs(), "event": what});
                put(&format!("{event}\n"))
            }
        }
    }

    /// Shows what is known now.
    pub(super) fn row(&mut self, row: &Row) -> io::Result<()> {
        if self.format == Format::Json {
            return put(&format!("{}\n", row.json(self.is_cut)));
        }
        let heading = line(COLUMNS.map(|(title, _)| title.to_owned()));
        let cells = line(row.cells(self.is_cut));
        if !self.is_live {
            let text = match self.has_heading {
                true => cells,
                false => format!("{heading}{cells}"),
            };
            self.has_heading = true;
            return put(&text);
        }
        let mut picture = format!("{}\n\n{heading}{cells}", self.title);
        if row.lag_records > 0 {
            let oldest = row.oldest_seconds;
            picture.push_str(&format!(
                "\nthe oldest record that waits is {oldest} s old\n"
            ));
        } else {
            picture.push_str("\nnothing waits\n");
        }
        picture.push_str("Ctrl-C ends it\n\n");
        for note in &self.notes {
            picture.push_str(note);
            picture.push('\n');
        }
        // Up to the first line of the last picture, and everything below away.
        let replaced = match self.lines {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        };
        self.lines = picture.lines().count();
        put(&format!("{replaced}{picture}"))
    }

    /// The last row, and what is to be said of all.
    pub(super) fn end(&mut self, row: &Row, verdict: &Result<String, String>) -> io::Result<()> {
        self.row(row)?;
        match (self.format, verdict) {
            (Format::Text, Ok(line)) => put(&format!("{line}\n")),
            // The error says it.
            (Format::Text, Err(_)) => Ok(()),
            (Format::Json, verdict) => {
                let (is_kept, line) = match verdict {
                    Ok(line) => (true, line),
                    Err(line) => (false, line),
                };
                put(&format!("{}\n", json!({"kept": is_kept, "verdict": line})))
            }
        }
    }
}

fn line(cells: [String; 9]) -> String {
    let padded = cells.iter().zip(COLUMNS);
    let padded = padded.map(|(cell, (_, width))| format!("{cell:>width$}"));
    let mut line = padded.collect::<Vec<_>>().join("  ");
    line.push('\n');
    line
}

fn put(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}
