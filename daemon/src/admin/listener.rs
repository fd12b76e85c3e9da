//! The connections of admin HTTP: few at once, none for long.
//!
//! What it is        a listener for axum, which bounds neither number nor time. What a connection
//!                   may buffer (hyper: 400 KiB of headers) times their number is all that the
//!                   control thread holds for others.
//! Invariants        1. at most [`ADMIN_CONNECTIONS_MAX`] are open; later ones wait in the backlog
//!                      of the socket.
//!                   2. none is open for longer than [`ADMIN_CONNECTION_TIMEOUT`], so that silent
//!                      ones do not keep others out.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

use crate::limits::{ADMIN_CONNECTION_TIMEOUT, ADMIN_CONNECTIONS_MAX};

/// A listener that keeps the limits.
#[derive(Debug)]
pub(super) struct AdminListener {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl AdminListener {
    pub(super) fn new(listener: TcpListener) -> Self {
        let places = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
        Self { listener, places }
    }
}

impl Listener for AdminListener {
    type Io = AdminConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (AdminConnection, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let connection = AdminConnection {
            stream,
            end: Box::pin(sleep(ADMIN_CONNECTION_TIMEOUT)),
            _place: place,
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that holds its place and has an end.
#[derive(Debug)]
pub(super) struct AdminConnection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    /// Always there: the semaphore is never closed.
    _place: Option<OwnedSemaphorePermit>,
}

impl AdminConnection {
    /// What the stream says; when it says nothing, whether the time is over.
    fn or_end<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            return polled;
        }
        ready!(self.end.as_mut().poll(context));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for AdminConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.or_end(context, polled)
    }
}

impl AsyncWrite for AdminConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.or_end(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
