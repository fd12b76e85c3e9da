//! The reading half of an MQTT connection.
//!
//! What it is        one task per connection; it reads into a small buffer and hands the bytes on.
//!                   While the connection cannot take what was read, it reads a little ahead, so
//!                   that a PINGREQ is seen, and then no more.
//! Invariants        1. no read is ever cancelled: closing shuts the socket down and the read
//!                      returns.
//!                   2. a packet larger than the read buffer is read only after its memory is
//!                      reserved.

use std::os::fd::AsRawFd;
use std::rc::Rc;

use monoio::io::{AsyncReadRent, OwnedReadHalf, Splitable};
use monoio::net::TcpStream;

use super::connection::MqttConnection;
use super::open;
use super::sender::Sender;
use crate::connection::ConnectionId;
use crate::limits::{MQTT_READ_AHEAD_BYTES, MQTT_READ_BUFFER_IDLE_BYTES};
use crate::shard::Shard;

/// What stands between the bytes of a socket and those of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Nothing.
    Plain,
    /// WebSocket.
    WebSocket,
}

/// Serves one connection until it ends.
pub(crate) async fn serve(shard: Rc<Shard>, stream: TcpStream, id: ConnectionId, framing: Framing) {
    let Ok(peer) = stream.peer_addr() else {
        // The client is gone already.
        return;
    };
    let descriptor = stream.as_raw_fd();
    let (half, write_half) = stream.into_split();
    let service = Rc::clone(shard.state().mqtt());
    let connection = MqttConnection::new(
        &shard,
        id,
        (peer, framing),
        Sender::new(descriptor, write_half),
    );
    service.add(&connection);
    connection.watch_timeout(&shard);
    let half = read_all(&shard, &connection, half).await;
    // Apart, so that its state takes memory at the end of a connection only.
    Box::pin(end(&shard, &connection)).await;
    service.remove(&connection);
    drop(half);
}

/// Gives back what the connection held.
async fn end(shard: &Rc<Shard>, connection: &Rc<MqttConnection>) {
    connection.finish_held().await;
    connection.handle_lost(shard);
    open::finish(shard, connection).await;
    connection.finish_sending().await;
}

async fn read_all(
    shard: &Rc<Shard>,
    connection: &Rc<MqttConnection>,
    mut half: OwnedReadHalf<TcpStream>,
) -> OwnedReadHalf<TcpStream> {
    let mut buffer = Vec::with_capacity(MQTT_READ_BUFFER_IDLE_BYTES);
    while !connection.is_closed() {
        connection.wait_for_room(shard).await;
        shard.wait_until_not_congested().await;
        if connection.is_closed() {
            break;
        }
        let result;
        (result, buffer) = half.read(buffer).await;
        let Ok(count @ 1..) = result else { break };
        shard.metrics().count_received(count);
        if !connection.handle_bytes(shard, &buffer) {
            break;
        }
        let is_full = buffer.capacity() == count;
        buffer.clear();
        resize(&mut buffer, is_full, count);
    }
    half
}

/// A busy connection gets a larger buffer, a quiet one a small one.
fn resize(buffer: &mut Vec<u8>, is_full: bool, count: usize) {
    if is_full && buffer.capacity() < MQTT_READ_AHEAD_BYTES {
        buffer.reserve_exact((buffer.capacity() * 4).min(MQTT_READ_AHEAD_BYTES));
    } else if count < MQTT_READ_BUFFER_IDLE_BYTES && buffer.capacity() > MQTT_READ_BUFFER_IDLE_BYTES
    {
        *buffer = Vec::with_capacity(MQTT_READ_BUFFER_IDLE_BYTES);
    }
}
