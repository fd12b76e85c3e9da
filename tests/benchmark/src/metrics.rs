//! Sluice's own figures, from its `/metrics`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Samples by name, without labels: the sum over all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Asks the broker whose admin HTTP listens on `address`.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn scrape(address: &str) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut sums = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("sluice_")) {
            let Some((name, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let labels = name.find('{').unwrap_or(name.len());
            let (name, labels) = name.split_at(labels);
            let value: f64 = value.parse().unwrap_or(0.0);
            *sums.entry(name.to_owned()).or_default() += value;
            // The requests of one API are of interest by themselves.
            if labels.contains("api=\"Produce\"") {
                *sums.entry(format!("{name} Produce")).or_default() += value;
            }
        }
        Self(sums)
    }

    /// The sum of a family, zero when it is not there; ` Produce` behind the name of a family of
    /// requests is that API alone.
    pub(crate) fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// Bytes that were written to files.
    pub(crate) fn written_bytes(&self) -> f64 {
        self.get("sluice_disk_written_bytes_total")
    }

    /// Bytes of the journal's commits, without the zeros that its ring is filled with beforehand.
    pub(crate) fn journal_bytes(&self) -> f64 {
        self.get("sluice_storage_journal_bytes_total")
    }

    /// Writes that were flushed, and flushes.
    pub(crate) fn flushes(&self) -> f64 {
        self.get("sluice_disk_durable_write_seconds_count")
            + self.get("sluice_disk_sync_seconds_count")
    }

    /// Produce requests that were answered.
    pub(crate) fn produce_requests(&self) -> f64 {
        self.get("sluice_request_seconds_count Produce")
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn samples_of_a_family_are_added_and_one_api_is_told_apart() {
        let metrics = Metrics::parse(
            "# TYPE sluice_request_seconds histogram\n\
             sluice_request_seconds_count{shard=\"0\",api=\"Produce\"} 3\n\
             sluice_request_seconds_count{shard=\"1\",api=\"Fetch\"} 4\n",
        );
        assert!((metrics.get("sluice_request_seconds_count") - 7.0).abs() < 1e-9);
        assert!((metrics.produce_requests() - 3.0).abs() < 1e-9);
    }
}
