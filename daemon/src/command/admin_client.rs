//! One question to the admin listener of a running broker.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::client::CommandError;
use crate::client::ClientError;

/// Time for the broker to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Where the broker's admin listener is.
#[derive(Debug, Args)]
pub(super) struct AdminOptions {
    /// Address of the broker's admin listener
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "SLUICE_ADMIN",
        default_value = "127.0.0.1:9644",
        value_parser = admin_address
    )]
    admin: String,
}

impl AdminOptions {
    /// One HTTP request; returns the body of a good answer.
    pub(super) fn ask(&self, method: &str, path: &str) -> Result<String, CommandError> {
        ask_admin(&self.admin, method, path)
    }

    /// The JSON that a page of the admin listener shows.
    pub(super) fn ask_json(&self, path: &str) -> Result<Value, CommandError> {
        let text = self.ask("GET", path)?;
        serde_json::from_str(&text).map_err(|error| {
            let address = &self.admin;
            ClientError::Other(format!("{address}: not an answer of Sluice: {error}")).into()
        })
    }
}

/// Reads `HOST:PORT`, or the address of a page as `sluice start` prints it.
fn admin_address(text: &str) -> Result<String, String> {
    let address = text.strip_prefix("http://").unwrap_or(text);
    let address = address.split('/').next().unwrap_or_default();
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && is_port(port) => Ok(address.to_owned()),
        _ => Err("HOST:PORT is expected, as in 127.0.0.1:9644".to_owned()),
    }
}

/// One HTTP request to an admin listener; returns the body of a good answer.
pub(super) fn ask_admin(address: &str, method: &str, path: &str) -> Result<String, CommandError> {
    let failed = |error: io::Error| {
        ClientError::Other(format!(
            "cannot reach the admin listener {address}: {error}; is the broker running?"
        ))
    };
    let answer = exchange(address, method, path).map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).unwrap_or_default();
    if code == "200" {
        return Ok(body.to_owned());
    }
    let reason = if body.trim().is_empty() { head } else { body };
    Err(ClientError::Other(reason.trim().to_owned()).into())
}

fn exchange(address: &str, method: &str, path: &str) -> io::Result<String> {
    let target = address.to_socket_addrs()?.next();
    let target = target.ok_or_else(|| io::Error::other("the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&target, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    // HTTP/1.0: the answer ends with the connection and comes in one piece.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The values of these names, in their order; null for what is not there.
pub(super) fn cells(value: &Value, names: &[&str]) -> Vec<Value> {
    let cell = |name: &&str| value.get(*name).cloned().unwrap_or(Value::Null);
    names.iter().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::admin_address;

    #[test]
    fn an_address_is_host_and_port_or_what_the_start_prints() {
        for text in [
            "gateway:9644",
            "http://gateway:9644/metrics",
            "http://gateway:9644",
        ] {
            assert_eq!(admin_address(text).as_deref(), Ok("gateway:9644"), "{text}");
        }
        assert_eq!(admin_address("[::1]:9644").as_deref(), Ok("[::1]:9644"));
        for text in [
            "",
            "gateway",
            ":9644",
            "gateway:",
            "gateway:0",
            "gateway:70000",
            "https://g:1",
        ] {
            admin_address(text).unwrap_err();
        }
    }
}
