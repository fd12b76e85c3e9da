//! One connection to one broker: a request out, its answer in.
//!
//! What it is        blocking calls with a deadline, and the versions that both sides speak.
//! What it is not    pipelined: a call ends before the next begins.
//! Invariants        1. after an error in the middle of a call the connection is not used again.
//! Source            KIP-35, KIP-511 for ApiVersions.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use kafka_lite::api::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_lite::api::{
    ApiKey, ApiTable, RequestMessage, ResponseMessage, decode_body, encode_request,
};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::frame::{FrameSplitter, FrameStatus, LENGTH_PREFIX_BYTES};
use kafka_lite::header::decode_response_header;

use super::address::Address;
use super::error::{ClientError, check, system_words};
use super::limits::{ANSWER_GRACE, CONNECT_TIMEOUT, REQUEST_TIMEOUT, RESPONSE_BYTES_MAX};

/// The name that we give ourselves.
const CLIENT_ID: &str = "sluice";

/// Version of ApiVersions that is asked first; a broker that does not know it answers in version 0.
const API_VERSIONS_VERSION: i16 = 3;

/// An open connection, its versions known.
#[derive(Debug)]
pub struct Connection {
    address: Address,
    stream: TcpStream,
    splitter: FrameSplitter,
    next_correlation_id: i32,
    versions: BTreeMap<i16, (i16, i16)>,
    is_broken: bool,
}

/// An answer as it came; [`Answer::read`] borrows the message from it.
#[derive(Debug)]
pub struct Answer {
    address: Address,
    version: i16,
    correlation_id: i32,
    frame: Vec<u8>,
}

impl Connection {
    /// Connects and asks for the versions.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when no connection can be opened; others if the first call
    /// fails.
    pub fn open(address: &Address) -> Result<Self, ClientError> {
        let stream = dial(address).map_err(|error| unreachable_at(address, &error))?;
        let mut connection = Self {
            address: address.clone(),
            stream,
            splitter: FrameSplitter::for_responses(RESPONSE_BYTES_MAX),
            next_correlation_id: 0,
            versions: BTreeMap::new(),
            is_broken: false,
        };
        connection.ask_versions()?;
        Ok(connection)
    }

    /// Where the connection goes.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Whether a call failed half way or the broker has hung up since the last one; the
    /// connection must be replaced.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.is_broken || self.is_hung_up().unwrap_or(true)
    }

    /// Between two calls nothing is to be read: what can be read is the end, or nonsense.
    fn is_hung_up(&self) -> io::Result<bool> {
        self.stream.set_nonblocking(true)?;
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false)?;
        Ok(!peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock))
    }

    /// The highest version that both sides speak and that is at most `newest`.
    ///
    /// # Errors
    /// [`ClientError::Version`].
    pub fn version_of(&self, table: &ApiTable, newest: i16) -> Result<i16, ClientError> {
        let refused = || ClientError::Version {
            address: self.address.clone(),
            api: table.key.name(),
        };
        let (first, last) = self
            .versions
            .get(&table.key.code())
            .copied()
            .ok_or_else(refused)?;
        let version = last.min(table.last).min(newest);
        if version < first || !table.is_accepted(version) {
            return Err(refused());
        }
        Ok(version)
    }

    /// Sends a request in the highest common version and waits for the answer.
    ///
    /// # Errors
    /// As the kinds of [`ClientError`] say; never [`ClientError::Refused`].
    pub fn call<'a, Q: RequestMessage<'a>>(&mut self, request: &Q) -> Result<Answer, ClientError> {
        self.call_up_to(i16::MAX, REQUEST_TIMEOUT, request)
    }

    /// As [`Connection::call`], in a version of at most `newest`; `wait` is how long the broker
    /// was told that it may take.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn call_up_to<'a, Q: RequestMessage<'a>>(
        &mut self,
        newest: i16,
        wait: Duration,
        request: &Q,
    ) -> Result<Answer, ClientError> {
        let version = self.version_of(Q::API, newest)?;
        let correlation_id = self.send(version, request)?;
        let frame = self.receive(Q::API.key, wait + ANSWER_GRACE)?;
        Ok(Answer {
            address: self.address.clone(),
            version,
            correlation_id,
            frame,
        })
    }

    /// Sends a request that has no answer: Produce with acks 0.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn tell<'a, Q: RequestMessage<'a>>(
        &mut self,
        newest: i16,
        request: &Q,
    ) -> Result<(), ClientError> {
        let version = self.version_of(Q::API, newest)?;
        self.send(version, request).map(drop)
    }

    fn send<'a, Q: RequestMessage<'a>>(
        &mut self,
        version: i16,
        request: &Q,
    ) -> Result<i32, ClientError> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        let api = Q::API.key;
        let frame =
            encode_request(correlation_id, Some(CLIENT_ID), version, request).map_err(|error| {
                ClientError::Encode {
                    api: api.name(),
                    error,
                }
            })?;
        for piece in &frame.pieces {
            self.stream.write_all(piece).map_err(|error| {
                self.is_broken = true;
                ClientError::lost(&self.address, api, &error)
            })?;
        }
        Ok(correlation_id)
    }

    fn receive(&mut self, api: ApiKey, wait: Duration) -> Result<Vec<u8>, ClientError> {
        let deadline = Instant::now() + wait;
        self.receive_frame(deadline).map_err(|error| {
            self.is_broken = true;
            ClientError::lost(&self.address, api, &error)
        })
    }

    /// Reads one frame and returns it without its length prefix.
    fn receive_frame(&mut self, deadline: Instant) -> io::Result<Vec<u8>> {
        let mut prefix = [0_u8; LENGTH_PREFIX_BYTES];
        read_exact(&mut self.stream, &mut prefix, deadline)?;
        let status = self.splitter.poll_frame(&prefix);
        // A web server, say: its first bytes read as a length that no answer has.
        let foreign = |error| io::Error::other(format!("this is no Kafka broker: {error}"));
        let frame_end = match status.map_err(foreign)? {
            FrameStatus::BodyMissing { frame_end, .. } | FrameStatus::Complete { frame_end } => {
                frame_end
            }
            FrameStatus::LengthMissing(_) => return Err(io::ErrorKind::InvalidData.into()),
        };
        let mut frame = vec![0; frame_end.saturating_sub(LENGTH_PREFIX_BYTES)];
        read_exact(&mut self.stream, &mut frame, deadline)?;
        Ok(frame)
    }

    fn ask_versions(&mut self) -> Result<(), ClientError> {
        let table = ApiKey::ApiVersions.table();
        let request = ApiVersionsRequest {
            client_software_name: CLIENT_ID.into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        let mut version = API_VERSIONS_VERSION;
        loop {
            let correlation_id = self.send(version, &request)?;
            let frame = self.receive(table.key, REQUEST_TIMEOUT)?;
            let answer = |version| Answer {
                address: self.address.clone(),
                version,
                correlation_id,
                frame: frame.clone(),
            };
            let first = answer(0);
            let is_old = first
                .read::<ApiVersionsResponse<'_>>()
                .is_ok_and(|response| response.error_code == ErrorCode::UnsupportedVersion);
            if is_old && version > 0 {
                version = 0;
                continue;
            }
            let answer = answer(version);
            let response: ApiVersionsResponse<'_> = answer.read()?;
            check(response.error_code, None, || {
                format!("ApiVersions of {}", self.address)
            })?;
            let ranges = response.api_keys.iter();
            self.versions = ranges
                .map(|range| (range.api_key, (range.min_version, range.max_version)))
                .collect();
            return Ok(());
        }
    }
}

impl Answer {
    /// Decodes the answer.
    ///
    /// # Errors
    /// [`ClientError::Decode`].
    pub fn read<'a, R: ResponseMessage<'a>>(&'a self) -> Result<R, ClientError> {
        let failed = |error| ClientError::Decode {
            address: self.address.clone(),
            api: R::API.key.name(),
            error,
        };
        let (correlation_id, body) =
            decode_response_header(R::API, self.version, &self.frame).map_err(failed)?;
        if correlation_id != self.correlation_id {
            return Err(ClientError::Other(format!(
                "{} from {}: the answer belongs to request {correlation_id}, not to {}",
                R::API.key.name(),
                self.address,
                self.correlation_id
            )));
        }
        decode_body(self.version, body).map_err(failed)
    }

    /// The version that was spoken.
    #[must_use]
    pub const fn version(&self) -> i16 {
        self.version
    }
}

fn dial(address: &Address) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for target in (address.host.as_str(), address.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&target, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn unreachable_at(address: &Address, error: &io::Error) -> ClientError {
    let hint = if error.kind() == io::ErrorKind::ConnectionRefused {
        "; is the broker running? start it with `sluice start`"
    } else {
        ""
    };
    ClientError::Unreachable {
        address: address.clone(),
        reason: system_words(error),
        hint,
    }
}

/// Fills the buffer; every read gets what is left of the time.
fn read_exact(stream: &mut TcpStream, buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(rest) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use super::{Address, Connection, read_exact};
    use std::io::Write;
    use std::net::TcpStream;

    #[test]
    fn a_closed_port_is_named_with_what_to_do() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let address: Address = format!("127.0.0.1:{port}").parse().unwrap();
        assert_eq!(
            Connection::open(&address).unwrap_err().to_string(),
            format!(
                "cannot reach 127.0.0.1:{port}: connection refused; \
                 is the broker running? start it with `sluice start`"
            )
        );
    }

    #[test]
    fn a_peer_that_is_no_broker_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let peer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").unwrap();
        });
        let error = Connection::open(&address).unwrap_err().to_string();
        peer.join().unwrap();
        assert!(error.starts_with("ApiVersions to 127.0.0.1:"), "{error}");
    }

    #[test]
    fn a_silent_peer_costs_the_deadline_and_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let start = Instant::now();
        let deadline = start + Duration::from_millis(50);
        read_exact(&mut stream, &mut [0; 4], deadline).unwrap_err();
        assert!(start.elapsed() >= Duration::from_millis(50));
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
