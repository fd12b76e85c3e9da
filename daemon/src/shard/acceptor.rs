//! Accepts connections on shard 0 and gives each to the shard that has the fewest.
//!
//! What it is        one task. A socket moves before its first byte is read.
//! What it is not    SO_REUSEPORT: the kernel would spread few connections unevenly.
//! Invariants        1. `accept` is never cancelled; at the end the listening socket is shut down
//!                      and accept returns.
//!                   2. a connection beyond a limit is closed at once and counted.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use monoio::net::TcpStream;
use tracing::{debug, warn};

use super::{Process, Shard, ShardId};
use crate::connection;
use crate::limits::ACCEPT_PAUSE;
use crate::mqtt_server::{self, Framing};
use crate::sys::socket;

/// Open connections per client address; kept only where that number is limited.
pub type AddressCounts = Mutex<BTreeMap<IpAddr, u32>>;

/// What is spoken on a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The Kafka API.
    Kafka,
    /// MQTT.
    Mqtt,
    /// MQTT in WebSocket frames; counted with MQTT.
    MqttWebSocket,
}

/// The place of one connection in all counts; gives it back when dropped.
#[derive(Debug)]
pub struct ConnectionTicket {
    process: Arc<Process>,
    protocol: Protocol,
    shard: ShardId,
    counted_address: Option<IpAddr>,
}

/// Accepts connections until the broker stops.
///
/// # Errors
/// What the system says when the listener cannot be given to the runtime.
pub fn start(shard: &Rc<Shard>, listener: TcpListener, protocol: Protocol) -> io::Result<()> {
    listener.set_nonblocking(monoio::utils::is_legacy())?;
    let descriptor = listener.as_raw_fd();
    let listener = monoio::net::TcpListener::from_std(listener)?;
    shard.add_listener(descriptor);
    monoio::spawn(accept_all(Rc::clone(shard), listener, protocol));
    Ok(())
}

/// Serves a connection that was accepted on shard 0.
fn serve(shard: &Rc<Shard>, stream: TcpStream, ticket: ConnectionTicket) {
    let id = shard.next_connection_id();
    let shard = Rc::clone(shard);
    // Two tasks, not one with two branches: the smaller kind would take the memory of the larger.
    match ticket.protocol {
        Protocol::Kafka => drop(monoio::spawn(async move {
            connection::serve(shard, stream, id).await;
            drop(ticket);
        })),
        Protocol::Mqtt => drop(monoio::spawn(async move {
            mqtt_server::serve(shard, stream, id, Framing::Plain).await;
            drop(ticket);
        })),
        Protocol::MqttWebSocket => drop(monoio::spawn(async move {
            mqtt_server::serve(shard, stream, id, Framing::WebSocket).await;
            drop(ticket);
        })),
    }
}

async fn accept_all(shard: Rc<Shard>, listener: monoio::net::TcpListener, protocol: Protocol) {
    let descriptor = listener.as_raw_fd();
    while !shard.is_stopping() {
        match listener.accept().await {
            Ok((stream, peer)) => place(&shard, stream, peer.ip(), protocol),
            Err(_shut_down) if shard.is_stopping() => break,
            Err(error) => {
                // Usually no descriptor is left; one becomes free when a connection ends.
                warn!(%error, "cannot accept a connection");
                monoio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    shard.remove_listener(descriptor);
    drop(listener);
}

/// Gives an accepted socket to a shard, or closes it.
fn place(shard: &Rc<Shard>, stream: TcpStream, address: IpAddr, protocol: Protocol) {
    let Some(ticket) = ConnectionTicket::issue(shard.process(), address, protocol) else {
        debug!(%address, "connection refused: too many");
        shard.metrics().count_connection_refused();
        return;
    };
    // Answers are small and waited for; a failure only makes them slower.
    let _slower: io::Result<()> = stream.set_nodelay(true);
    if ticket.shard == shard.id() {
        serve(shard, stream, ticket);
        return;
    }
    let stream = socket::release(stream);
    shard.send(ticket.shard, move |target| {
        match TcpStream::from_std(stream) {
            Ok(stream) => serve(target, stream, ticket),
            Err(error) => warn!(%error, "a connection is lost between two shards"),
        }
    });
}

impl ConnectionTicket {
    /// Counts a connection to the least loaded shard, or refuses it.
    fn issue(process: &Arc<Process>, address: IpAddr, protocol: Protocol) -> Option<Self> {
        if process.connection_count(protocol) >= process.connection_limit(protocol) {
            return None;
        }
        let per_address_max = process.config.max_connections_per_ip;
        let counted_address = (per_address_max > 0).then_some(address);
        if counted_address.is_some() {
            let mut counts = lock(&process.address_counts);
            let count = counts.entry(address).or_insert(0);
            if *count >= per_address_max {
                return None;
            }
            *count += 1;
        }
        let shard = process.least_connected_shard(protocol);
        let counts = process.connections_of(protocol);
        if let Some(count) = counts.get(usize::from(shard)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Some(Self {
            process: Arc::clone(process),
            protocol,
            shard,
            counted_address,
        })
    }
}

impl Drop for ConnectionTicket {
    fn drop(&mut self) {
        let counts = self.process.connections_of(self.protocol);
        if let Some(count) = counts.get(usize::from(self.shard)) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        let Some(address) = self.counted_address else {
            return;
        };
        let mut counts = lock(&self.process.address_counts);
        match counts.get_mut(&address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&address)),
        }
    }
}

fn lock(counts: &AddressCounts) -> MutexGuard<'_, BTreeMap<IpAddr, u32>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}
