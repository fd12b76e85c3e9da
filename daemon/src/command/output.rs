//! What commands print: tables and fields, for people or as JSON.
//!
//! What it is        one description of a result and its two forms.
//! Invariants        1. both forms have the same names and values: a JSON name is the column in
//!                      lower case with underscores.
//!                   2. a table without rows still prints its heading, or `[]`.

use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::{Map, Value};

/// How a result is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Columns for people
    Text,
    /// JSON for programs
    Json,
}

/// Rows under columns.
#[derive(Debug)]
pub(super) struct Table {
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

/// One thing with fields of its own and tables.
#[derive(Debug, Default)]
pub(super) struct Report {
    fields: Vec<(&'static str, Value)>,
    tables: Vec<(&'static str, Table)>,
}

/// Standard output in one of the forms.
#[derive(Debug)]
pub(super) struct Output {
    format: Format,
}

impl Table {
    pub(super) const fn new(columns: &'static [&'static str]) -> Self {
        let rows = Vec::new();
        Self { columns, rows }
    }

    /// Adds a row: as many cells as columns.
    /// Whether it has no rows.
    pub(super) const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn push(&mut self, row: Vec<Value>) {
        debug_assert_eq!(row.len(), self.columns.len(), "cells and columns");
        self.rows.push(row);
    }

    fn to_json(&self) -> Value {
        let object = |row: &Vec<Value>| {
            let names = self.columns.iter().map(|column| json_name(column));
            Value::Object(names.zip(row.iter().cloned()).collect())
        };
        Value::Array(self.rows.iter().map(object).collect())
    }

    fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let heading = self.columns.iter().map(|column| (*column).to_owned());
        let mut lines: Vec<Vec<String>> = vec![heading.collect()];
        lines.extend(self.rows.iter().map(|row| row.iter().map(cell).collect()));
        write_aligned(&lines, out)
    }
}

impl Report {
    pub(super) fn field(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    pub(super) fn table(mut self, title: &'static str, table: Table) -> Self {
        self.tables.push((title, table));
        self
    }

    fn to_json(&self) -> Value {
        let fields = self.fields.iter();
        let fields = fields.map(|(name, value)| (json_name(name), value.clone()));
        let tables = self.tables.iter();
        let tables = tables.map(|(title, table)| (json_name(title), table.to_json()));
        Value::Object(fields.chain(tables).collect::<Map<_, _>>())
    }

    fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let lines = self.fields.iter();
        let lines = lines.map(|(name, value)| vec![(*name).to_owned(), cell(value)]);
        write_aligned(&lines.collect::<Vec<_>>(), out)?;
        for (title, table) in &self.tables {
            writeln!(out, "\n{title}\n{}", "=".repeat(title.len()))?;
            table.write_text(out)?;
        }
        Ok(())
    }
}

impl Output {
    pub(super) const fn new(format: Format) -> Self {
        Self { format }
    }

    /// Prints one table.
    pub(super) fn table(&self, table: &Table) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.format {
            Format::Text => table.write_text(&mut out)?,
            Format::Json => writeln!(out, "{}", table.to_json())?,
        }
        out.flush()
    }

    /// Prints one report.
    pub(super) fn report(&self, report: &Report) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.format {
            Format::Text => report.write_text(&mut out)?,
            Format::Json => writeln!(out, "{}", report.to_json())?,
        }
        out.flush()
    }

    /// Prints several reports; as JSON an array, whatever their number.
    pub(super) fn reports(&self, reports: &[Report]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.format {
            Format::Text => {
                for (place, report) in reports.iter().enumerate() {
                    if place > 0 {
                        writeln!(out)?;
                    }
                    report.write_text(&mut out)?;
                }
            }
            Format::Json => {
                let all = reports.iter().map(Report::to_json).collect();
                writeln!(out, "{}", Value::Array(all))?;
            }
        }
        out.flush()
    }
}

fn json_name(column: &str) -> String {
    column.to_lowercase().replace(['-', ' '], "_")
}

/// A cell for people: no quotes, and a dash for what is not known or not there.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(cell).collect();
            format!("[{}]", values.join(","))
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

fn write_aligned(lines: &[Vec<String>], out: &mut impl Write) -> io::Result<()> {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for line in lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            let width = *width;
            text.push_str(&format!("{cell:<width$}  "));
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Report, Table};

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "LOG-END"]);
        table.push(vec![json!("orders"), json!(12)]);
        table.push(vec![json!("x"), Value::Null]);
        table
    }

    #[test]
    fn columns_are_aligned_and_unknown_is_a_dash() {
        let mut text = Vec::new();
        table().write_text(&mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "NAME    LOG-END\norders  12\nx       -\n"
        );
    }

    #[test]
    fn json_has_the_names_of_the_columns() {
        let expected = json!([{"name": "orders", "log_end": 12}, {"name": "x", "log_end": null}]);
        assert_eq!(table().to_json(), expected);
        assert_eq!(Table::new(&["A"]).to_json(), json!([]));
    }

    #[test]
    fn a_report_has_fields_and_titled_tables() {
        let report = Report::default()
            .field("CLUSTER-ID", "abc")
            .table("ROWS", table());
        let mut text = Vec::new();
        report.write_text(&mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "CLUSTER-ID  abc\n\nROWS\n====\nNAME    LOG-END\norders  12\nx       -\n"
        );
        assert_eq!(report.to_json()["cluster_id"], json!("abc"));
        assert_eq!(report.to_json()["rows"][0]["name"], json!("orders"));
    }
}
