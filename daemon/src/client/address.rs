//! Where a broker listens: `HOST:PORT`, `HOST`, `[V6]:PORT`.

use std::fmt;
use std::str::FromStr;

/// Port of a broker that is given without one.
const DEFAULT_PORT: u16 = 9092;

/// Host and port of a broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Name or IP address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest
                    .split_once(']')
                    .ok_or("an IPv6 address needs a closing bracket, as in [::1]:9092")?;
                (host, after.strip_prefix(':'))
            }
            None => match text.rsplit_once(':') {
                // More than one colon: an IPv6 address without port.
                Some((host, _)) if host.contains(':') => (text, None),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() {
            return Err("the host is missing, as in 127.0.0.1:9092".to_owned());
        }
        let port = match port {
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| format!("`{port}` is not a port, as in 127.0.0.1:9092"))?,
            None => DEFAULT_PORT,
        };
        let host = host.to_owned();
        Ok(Self { host, port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn the_forms_of_an_address() {
        let rows = [
            ("127.0.0.1:9092", "127.0.0.1:9092"),
            ("gateway", "gateway:9092"),
            ("gateway:1", "gateway:1"),
            ("[::1]:19092", "[::1]:19092"),
            ("[::1]", "[::1]:9092"),
            ("fe80::1", "[fe80::1]:9092"),
        ];
        for (text, expected) in rows {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), expected, "{text}");
        }
        for text in ["", ":9092", "a:", "a:0", "a:65536", "a:x", "[::1:9"] {
            text.parse::<Address>().unwrap_err();
        }
    }
}
