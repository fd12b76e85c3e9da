//! Sending on a socket without waiting, beside the runtime that owns it.

use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, RawFd};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sendmsg, shutdown, sockopt};

/// Sends what the socket takes now and returns the count of bytes; `WouldBlock` when it takes
/// nothing.
///
/// The caller owns the socket: `descriptor` is open during the call.
///
/// # Errors
/// What the system says.
pub fn try_send(descriptor: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: the caller owns the open socket and keeps it open during this call.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let mut ancillary = SendAncillaryBuffer::default();
    Ok(sendmsg(socket, slices, &mut ancillary, flags)?)
}

/// Ends both directions of a socket, so that every pending operation on it returns.
///
/// The caller owns the socket. An error means that it is already closed, which is what was wanted.
pub fn shut_down(descriptor: RawFd) {
    shut(descriptor, Shutdown::Both);
}

/// Ends the incoming direction of a socket: a pending read returns what is there, then the end.
pub fn shut_down_reading(descriptor: RawFd) {
    shut(descriptor, Shutdown::Read);
}

fn shut(descriptor: RawFd, how: Shutdown) {
    // SAFETY: the caller owns the open socket and keeps it open during this call.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let _ignored: Result<(), rustix::io::Errno> = shutdown(socket, how);
}

/// Ends the connection when the peer has not acknowledged sent bytes for so long, and resets it
/// when it is closed: what was not sent by then is dropped.
///
/// The caller owns the socket.
///
/// # Errors
/// What the system says.
pub fn give_up_after(descriptor: RawFd, time: Duration) -> io::Result<()> {
    // SAFETY: the caller owns the open socket and keeps it open during this call.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let ms = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(socket, ms)?;
    sockopt::set_socket_keepalive(socket, true)?;
    Ok(sockopt::set_socket_linger(socket, Some(Duration::ZERO))?)
}

/// Takes a socket out of the runtime, before any operation was started on it.
pub fn release(stream: monoio::net::TcpStream) -> std::net::TcpStream {
    let descriptor = stream.into_raw_fd();
    // SAFETY: the runtime has just given the open descriptor up, so that it has no other owner.
    unsafe { std::net::TcpStream::from_raw_fd(descriptor) }
}
