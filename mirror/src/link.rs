//! The link: connections to the brokers of the centre, and what is known of its topics.
//!
//! What it is        dialling with back-off, versions, requests and their answers in order,
//!                   metadata
//!                   and creation of topics.
//! What it is not    a decision what to send: lanes ask for the leader of their target partition.
//! Invariants        1. answers of a connection come in the order of its requests. 2. one
//!                   connection
//!                   per address. 3. nothing is asked while nobody wants anything: an idle mirror
//!                   sends no byte.
//! Source            KIP-35, KIP-511 (ApiVersions); Metadata 1–12; CreateTopics 2–7.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kafka_lite::api::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_lite::api::{ApiKey, RequestMessage, ResponseMessage, decode_body, encode_request};
use kafka_lite::error_code::ErrorCode;
use kafka_lite::header::decode_response_header;

use crate::backoff::Backoff;
use crate::limits::{
    ANSWER_TIMEOUT, CONNECT_TIMEOUT, RECONNECT_PAUSE, REQUESTS_PER_CONNECTION_MAX,
};
use crate::options::Login;
use crate::output::{Address, ConnectionId, Output, SourceKey};
use crate::progress::LaneKey;
use crate::random::Random;
use crate::time::Now;

mod authentication;
pub(crate) mod metadata;

use authentication::{Logins, Session};
use metadata::{Metadata, Selection};

/// The name that we give ourselves.
const CLIENT_ID: &str = "sluice-mirror";

/// Version of ApiVersions that is asked first.
const API_VERSIONS_VERSION: i16 = 3;

/// What a request was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Versions(i16),
    Handshake,
    Token,
    Metadata,
    CreateTopics,
    ProducerId(LaneKey),
    /// Lanes and the first source offsets of their batches.
    Produce(Vec<(LaneKey, i64)>),
    Describe(LaneKey),
    ListOffsets(LaneKey),
    TailFetch(LaneKey),
    Downlink(Question),
}

/// What the downlink asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Where a partition begins or ends.
    Offset(SourceKey),
    /// Records of these.
    Records(Vec<SourceKey>),
}

/// A request that is not answered.
#[derive(Debug)]
struct Pending {
    correlation_id: i32,
    api: ApiKey,
    version: i16,
    purpose: Purpose,
}

/// An answer for the lanes.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) purpose: Purpose,
    pub(crate) version: i16,
    pub(crate) frame: Bytes,
}

#[derive(Debug)]
struct Connection {
    address: Address,
    is_ready: bool,
    versions: BTreeMap<i16, (i16, i16)>,
    pending: VecDeque<Pending>,
    next_correlation_id: i32,
    deadline: Option<Duration>,
    session: Session,
}

/// One address that is or was dialled.
#[derive(Debug, Default)]
struct Dial {
    connection: Option<ConnectionId>,
    backoff: Backoff,
    not_before: Duration,
}

/// Why a request did not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendFault {
    /// The connection is not there or has too many requests.
    Busy,
    /// The broker does not know the API.
    Unsupported,
}

/// All connections of a mirror.
#[derive(Debug)]
pub(crate) struct Link {
    bootstrap: Vec<Address>,
    next_bootstrap: usize,
    connections: BTreeMap<ConnectionId, Connection>,
    dials: BTreeMap<Address, Dial>,
    next_connection: u64,
    logins: Option<Logins>,
    /// Time that a broker may take beyond [`ANSWER_TIMEOUT`]: it was asked to wait for records.
    patience: Duration,
    pub(crate) metadata: Metadata,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
    pub(crate) connects: u64,
    pub(crate) last_fault: Option<String>,
}

impl Link {
    pub(crate) fn new(bootstrap: Vec<Address>, creates_topics: bool, login: Option<Login>) -> Self {
        Self {
            bootstrap,
            next_bootstrap: 0,
            connections: BTreeMap::new(),
            dials: BTreeMap::new(),
            next_connection: 0,
            logins: login.map(Logins::new),
            patience: Duration::ZERO,
            metadata: Metadata::new(creates_topics, None),
            outputs: VecDeque::new(),
            sent_bytes: 0,
            received_bytes: 0,
            connects: 0,
            last_fault: None,
        }
    }

    /// A link that looks for topics and waits for records for as long as `patience`.
    pub(crate) fn for_downlink(
        bootstrap: Vec<Address>,
        login: Option<Login>,
        selection: Selection,
        patience: Duration,
    ) -> Self {
        Self {
            patience,
            metadata: Metadata::new(false, Some(selection)),
            ..Self::new(bootstrap, false, login)
        }
    }

    /// The connection is open; asks for the versions.
    pub(crate) fn handle_connected(&mut self, now: &Now, id: ConnectionId) {
        self.ask_versions(now, id, API_VERSIONS_VERSION);
    }

    fn ask_versions(&mut self, now: &Now, id: ConnectionId, version: i16) {
        let request = ApiVersionsRequest {
            client_software_name: CLIENT_ID.into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        self.put(now, id, version, &request, Purpose::Versions(version));
    }

    /// The connection is gone; returns what was not answered.
    pub(crate) fn handle_closed(
        &mut self,
        now: &Now,
        random: &mut Random,
        id: ConnectionId,
        reason: &str,
    ) -> Vec<Purpose> {
        let Some(connection) = self.connections.remove(&id) else {
            return Vec::new();
        };
        let was_idle = connection.is_ready && connection.pending.is_empty();
        if let Some(dial) = self.dials.get_mut(&connection.address) {
            dial.connection = None;
            // A broker that closes an idle connection does nothing wrong.
            if !was_idle {
                let (first, longest) = RECONNECT_PAUSE;
                let pause = dial.backoff.fail(random, first, longest);
                dial.not_before = now.monotonic + pause;
            }
        }
        if !was_idle {
            self.last_fault = Some(format!("{}: {reason}", connection.address));
        }
        self.metadata.handle_lost_connection(now);
        let pending = connection.pending.into_iter();
        pending.map(|pending| pending.purpose).collect()
    }

    /// Closes a connection ourselves.
    pub(crate) fn close(
        &mut self,
        now: &Now,
        random: &mut Random,
        id: ConnectionId,
        reason: &str,
    ) -> Vec<Purpose> {
        self.outputs.push_back(Output::Close {
            connection: id,
            reason: reason.to_owned(),
        });
        self.handle_closed(now, random, id, reason)
    }

    /// A frame came (without its length prefix); returns the answer if it is for a lane.
    ///
    /// Errors: what is wrong with it; the connection must be closed.
    pub(crate) fn handle_frame(
        &mut self,
        now: &Now,
        random: &mut Random,
        id: ConnectionId,
        frame: Vec<u8>,
    ) -> Result<Option<Answer>, String> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Ok(None);
        };
        let pending = connection
            .pending
            .pop_front()
            .ok_or("an answer to nothing")?;
        let has_more = !connection.pending.is_empty();
        let limit = ANSWER_TIMEOUT + self.patience;
        connection.deadline = has_more.then(|| now.monotonic + limit);
        let size = u64::try_from(frame.len()).unwrap_or(0);
        self.received_bytes = self.received_bytes.saturating_add(size.saturating_add(4));
        let (correlation_id, _) =
            decode_response_header(pending.api.table(), pending.version, &frame)
                .map_err(|error| error.to_string())?;
        if correlation_id != pending.correlation_id {
            return Err(format!(
                "answer {correlation_id} came for request {}",
                pending.correlation_id
            ));
        }
        let answer = Answer {
            purpose: pending.purpose,
            version: pending.version,
            frame: frame.into(),
        };
        match answer.purpose {
            Purpose::Versions(asked) => self.handle_versions(now, id, asked, &answer)?,
            Purpose::Handshake => self.handle_handshake(now, id, &answer.read()?)?,
            Purpose::Token => self.handle_token(now, id, &answer.read()?)?,
            Purpose::Metadata => {
                let response = answer.read()?;
                self.metadata.handle_metadata(now, random, &response);
            }
            Purpose::CreateTopics => {
                let response = answer.read()?;
                self.metadata.handle_created(now, random, &response);
            }
            Purpose::ProducerId(_)
            | Purpose::Produce(_)
            | Purpose::Describe(_)
            | Purpose::ListOffsets(_)
            | Purpose::TailFetch(_)
            | Purpose::Downlink(_) => return Ok(Some(answer)),
        }
        Ok(None)
    }

    fn handle_versions(
        &mut self,
        now: &Now,
        id: ConnectionId,
        asked: i16,
        answer: &Answer,
    ) -> Result<(), String> {
        // A broker that does not know the version answers in version 0, whatever was asked.
        let old = Answer {
            purpose: Purpose::Versions(0),
            version: 0,
            frame: answer.frame.clone(),
        };
        let is_old = old
            .read::<ApiVersionsResponse<'_>>()
            .is_ok_and(|response| response.error_code == ErrorCode::UnsupportedVersion);
        if is_old && asked > 0 {
            self.ask_versions(now, id, 0);
            return Ok(());
        }
        let response: ApiVersionsResponse<'_> = answer.read()?;
        if !response.error_code.is_none() {
            return Err(format!("ApiVersions: {}", response.error_code.name()));
        }
        let ranges = response.api_keys.iter();
        let versions = ranges
            .map(|range| (range.api_key, (range.min_version, range.max_version)))
            .collect();
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.versions = versions;
        }
        self.log_in(now, id)
    }

    /// Requests may go to the broker from now on.
    fn handle_ready(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.is_ready = true;
            self.connects += 1;
            if let Some(dial) = self.dials.get_mut(&connection.address) {
                dial.backoff.reset();
            }
        }
    }

    /// Asks for metadata and missing topics as far as they are wanted.
    pub(crate) fn drive(&mut self, now: &Now, random: &mut Random) {
        self.renew_sessions(now);
        if !self.metadata.is_due(now) {
            return;
        }
        let Some(id) = self.any_ready() else {
            self.dial_bootstrap(now);
            return;
        };
        let sent = if let Some(request) = self.metadata.next_creation() {
            self.send(now, id, &request, Purpose::CreateTopics)
        } else {
            let request = self.metadata.next_question();
            self.send(now, id, &request, Purpose::Metadata)
        };
        match sent {
            Ok(()) => self.metadata.handle_asked(),
            Err(SendFault::Busy) => {}
            Err(SendFault::Unsupported) => {
                self.last_fault = Some("the centre does not speak Metadata".to_owned());
                self.metadata.handle_failed(now, random);
            }
        }
    }

    /// The ready connection to an address; starts to dial if there is none.
    pub(crate) fn connection_to(&mut self, now: &Now, address: &Address) -> Option<ConnectionId> {
        let dial = self.dials.entry(address.clone()).or_default();
        if let Some(id) = dial.connection {
            let connection = self.connections.get(&id)?;
            return connection.is_ready.then_some(id);
        }
        if dial.not_before > now.monotonic {
            return None;
        }
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        dial.connection = Some(id);
        let connection = Connection {
            address: address.clone(),
            is_ready: false,
            versions: BTreeMap::new(),
            pending: VecDeque::new(),
            next_correlation_id: 0,
            deadline: Some(now.monotonic + CONNECT_TIMEOUT),
            session: Session::default(),
        };
        self.connections.insert(id, connection);
        self.outputs.push_back(Output::Connect {
            connection: id,
            address: address.clone(),
        });
        None
    }

    /// Any connection that requests may go to.
    pub(crate) fn any_ready(&self) -> Option<ConnectionId> {
        let mut ready = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.is_ready);
        ready
            .find(|(_, connection)| connection.room() > 0)
            .map(|(id, _)| *id)
    }

    /// As [`Link::any_ready`]; dials when there is none.
    pub(crate) fn any_connection(&mut self, now: &Now) -> Option<ConnectionId> {
        let ready = self.any_ready();
        if ready.is_none() {
            self.dial_bootstrap(now);
        }
        ready
    }

    fn dial_bootstrap(&mut self, now: &Now) {
        let is_dialling = self.connections.values().any(|one| !one.is_ready);
        if is_dialling || !self.connections.is_empty() {
            return;
        }
        let known = self.metadata.addresses();
        let mut all: Vec<Address> = self.bootstrap.clone();
        all.extend(known.filter(|address| !self.bootstrap.contains(address)));
        for step in 0..all.len() {
            let place = (self.next_bootstrap + step)
                .checked_rem(all.len())
                .unwrap_or(0);
            let Some(address) = all.get(place) else {
                continue;
            };
            let waits = self.dials.get(address).map(|dial| dial.not_before);
            if waits.is_none_or(|not_before| not_before <= now.monotonic) {
                self.next_bootstrap = place + 1;
                let _not_ready = self.connection_to(now, address);
                return;
            }
        }
    }

    /// How many more requests the connection takes.
    pub(crate) fn room(&self, id: ConnectionId) -> usize {
        self.connections.get(&id).map_or(0, Connection::room)
    }

    /// The highest version of an API that both sides speak.
    pub(crate) fn version(&self, id: ConnectionId, api: ApiKey) -> Result<i16, SendFault> {
        let connection = self.connections.get(&id).ok_or(SendFault::Busy)?;
        let range = connection.versions.get(&api.code());
        let (first, last) = range.copied().ok_or(SendFault::Unsupported)?;
        let table = api.table();
        let version = last.min(table.last);
        if version < first || !table.is_accepted(version) {
            return Err(SendFault::Unsupported);
        }
        Ok(version)
    }

    /// Sends a request in the highest common version.
    pub(crate) fn send<'a, Q: RequestMessage<'a>>(
        &mut self,
        now: &Now,
        id: ConnectionId,
        request: &Q,
        purpose: Purpose,
    ) -> Result<(), SendFault> {
        if self.room(id) == 0 {
            return Err(SendFault::Busy);
        }
        let version = self.version(id, Q::API.key)?;
        self.put(now, id, version, request, purpose);
        Ok(())
    }

    fn put<'a, Q: RequestMessage<'a>>(
        &mut self,
        now: &Now,
        id: ConnectionId,
        version: i16,
        request: &Q,
        purpose: Purpose,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let correlation_id = connection.next_correlation_id;
        let frame = match encode_request(correlation_id, Some(CLIENT_ID), version, request) {
            Ok(frame) => frame,
            Err(error) => {
                // Only a text that is too long for its field can do this, and those are checked.
                self.last_fault = Some(error.to_string());
                return;
            }
        };
        connection.next_correlation_id = correlation_id.wrapping_add(1);
        connection.deadline = Some(now.monotonic + ANSWER_TIMEOUT + self.patience);
        connection.pending.push_back(Pending {
            correlation_id,
            api: Q::API.key,
            version,
            purpose,
        });
        let size = u64::try_from(frame.byte_count()).unwrap_or(0);
        self.sent_bytes = self.sent_bytes.saturating_add(size);
        self.outputs.push_back(Output::Send {
            connection: id,
            frame,
        });
    }

    /// Connections whose time is over.
    pub(crate) fn overdue(&self, now: &Now) -> Vec<ConnectionId> {
        let is_over = |connection: &Connection| {
            connection
                .deadline
                .is_some_and(|deadline| deadline <= now.monotonic)
        };
        let all = self.connections.iter();
        all.filter(|(_, connection)| is_over(connection))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Every connection.
    pub(crate) fn ids(&self) -> BTreeSet<ConnectionId> {
        self.connections.keys().copied().collect()
    }

    /// Whether a broker has said what it speaks.
    pub(crate) fn is_up(&self) -> bool {
        self.connections.values().any(|one| one.is_ready)
    }

    /// Whether nobody could be reached the last time.
    pub(crate) fn is_failing(&self) -> bool {
        !self.is_up() && self.dials.values().any(|dial| dial.backoff.failures() > 0)
    }

    /// When something behind `after` is due without an input.
    pub(crate) fn poll_timeout(&self, is_wanted: bool, after: Duration) -> Option<Duration> {
        let deadlines = self.connections.values().filter_map(|one| one.deadline);
        let dials = self.dials.values().filter(|dial| dial.connection.is_none());
        let dials = dials.map(|dial| dial.not_before).filter(|_| is_wanted);
        let metadata = self.metadata.poll_timeout().filter(|_| is_wanted);
        let renewals = self.connections.values();
        let renewals = renewals.filter_map(|one| one.session.renew_at());
        let renewals = renewals.filter(|_| is_wanted);
        let all = deadlines.chain(dials).chain(metadata).chain(renewals);
        all.filter(|at| *at > after).min()
    }
}

impl Connection {
    /// How many more requests it takes.
    fn room(&self) -> usize {
        match self.session.is_closing {
            true => 0,
            false => REQUESTS_PER_CONNECTION_MAX.saturating_sub(self.pending.len()),
        }
    }
}

impl Answer {
    /// Decodes it.
    ///
    /// Errors: a broker that does not speak Kafka's protocol.
    pub(crate) fn read<'a, R: ResponseMessage<'a>>(&'a self) -> Result<R, String> {
        let failed = |error| format!("{}: {error}", R::API.key.name());
        let (_, body) =
            decode_response_header(R::API, self.version, &self.frame).map_err(failed)?;
        decode_body(self.version, body).map_err(failed)
    }
}
