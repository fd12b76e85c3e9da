//! The bytes of a connection to the centre: as they are, or through TLS.
//!
//! What it is        halves that read and write, around one `rustls` session where there is one.
//! What it is not    a choice of what is trusted: that is `security`.
//! Invariants        1. nothing is borrowed across an await. 2. what the session has to say,
//!                   answers and alerts, leaves through the writer, never from the reader.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use monoio::io::{
    AsyncReadRent, AsyncReadRentExt, AsyncWriteRentExt, OwnedReadHalf, OwnedWriteHalf, Splitable,
};
use monoio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::shard::notify::Notify;

/// Bytes read from the socket at once: one TLS record and a little.
const RAW_BYTES: usize = 18 << 10;

/// Bytes given to the session at once: what it keeps at most.
const PLAIN_BYTES: usize = 64 << 10;

/// A TLS session and what both halves know of it.
#[derive(Debug)]
pub(super) struct Tls {
    session: RefCell<ClientConnection>,
    /// Bytes on the wire beyond those of frames since they were last asked for: sent, received.
    overhead: Cell<(u64, u64)>,
    /// The session has something to send.
    wants_write: Rc<Notify>,
}

/// The reading half.
pub(super) struct Reader {
    half: OwnedReadHalf<TcpStream>,
    tls: Option<Rc<Tls>>,
    /// What came from the socket; the session has not taken what stands in `left`.
    raw: Vec<u8>,
    left: Range<usize>,
}

/// The writing half.
pub(super) struct Writer {
    half: OwnedWriteHalf<TcpStream>,
    tls: Option<Rc<Tls>>,
}

/// Shakes hands.
///
/// Errors: what the operator has to know.
pub(super) async fn shake_hands(
    stream: &mut TcpStream,
    config: Arc<ClientConfig>,
    host: &str,
    wants_write: Rc<Notify>,
) -> io::Result<Rc<Tls>> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::other(format!("TLS: {host} cannot be the name of a server")))?;
    let session = ClientConnection::new(config, name).map_err(explain)?;
    let tls = Rc::new(Tls {
        session: RefCell::new(session),
        overhead: Cell::default(),
        wants_write,
    });
    let mut raw = vec![0; RAW_BYTES];
    loop {
        let to_send = tls.take_output()?;
        if !to_send.is_empty() {
            stream.write_all(to_send).await.0?;
        }
        if !tls.session.borrow().is_handshaking() {
            return Ok(tls);
        }
        let result;
        (result, raw) = stream.read(raw).await;
        let count = result?;
        if count == 0 {
            let line = "TLS: the broker closed the connection during the handshake; \
                        is it a listener with TLS?";
            return Err(io::Error::other(line));
        }
        let mut rest = raw.get(..count).unwrap_or_default();
        let mut taken = Ok(());
        while !rest.is_empty() && taken.is_ok() {
            taken = tls.take_input(&mut rest);
        }
        if taken.is_err() {
            // The peer hears why, if it still listens.
            let alert = tls.take_output()?;
            let _told: io::Result<usize> = stream.write_all(alert).await.0;
        }
        taken?;
    }
}

/// Both halves of a stream.
pub(super) fn split(stream: TcpStream, tls: Option<Rc<Tls>>) -> (Reader, Writer) {
    let (reader, writer) = stream.into_split();
    let raw = match tls {
        Some(_) => vec![0; RAW_BYTES],
        None => Vec::new(),
    };
    let reader = Reader {
        half: reader,
        tls: tls.clone(),
        raw,
        left: 0..0,
    };
    (reader, Writer { half: writer, tls })
}

impl Tls {
    /// Takes some of what has come, and decrypts it. To be called only when nothing decrypted is
    /// left: the session keeps little.
    fn take_input(&self, bytes: &mut &[u8]) -> io::Result<()> {
        let mut session = self.session.borrow_mut();
        let count = session.read_tls(bytes)?;
        self.count(0, count);
        session.process_new_packets().map_err(explain)?;
        Ok(())
    }

    /// What is to be sent, encrypted.
    fn take_output(&self) -> io::Result<Vec<u8>> {
        let mut session = self.session.borrow_mut();
        let mut bytes = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut bytes)?;
        }
        self.count(bytes.len(), 0);
        Ok(bytes)
    }

    /// Decrypted bytes that are there, into the buffer; `None` if more must come first.
    fn take_plain(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut session = self.session.borrow_mut();
        match session.reader().read(buffer) {
            Ok(count) => {
                self.discount(0, count);
                Ok(Some(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Bytes on the wire beyond those of frames since the last call: sent, received.
    pub(super) fn take_overhead(&self) -> (u64, u64) {
        self.overhead.take()
    }

    fn count(&self, sent: usize, received: usize) {
        let (before_sent, before_received) = self.overhead.get();
        let more =
            |before: u64, count: usize| before.wrapping_add(u64::try_from(count).unwrap_or(0));
        self.overhead
            .set((more(before_sent, sent), more(before_received, received)));
    }

    fn discount(&self, sent: usize, received: usize) {
        let (before_sent, before_received) = self.overhead.get();
        let less =
            |before: u64, count: usize| before.saturating_sub(u64::try_from(count).unwrap_or(0));
        self.overhead
            .set((less(before_sent, sent), less(before_received, received)));
    }
}

impl Reader {
    /// Fills the buffer.
    ///
    /// Errors: `UnexpectedEof` when the peer ends before.
    pub(super) async fn read_exact(&mut self, mut buffer: Vec<u8>) -> io::Result<Vec<u8>> {
        let Some(tls) = self.tls.clone() else {
            let (result, buffer) = self.half.read_exact(buffer).await;
            result?;
            return Ok(buffer);
        };
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match tls.take_plain(rest)? {
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(count) => filled += count,
                None => self.feed(&tls).await?,
            }
        }
        Ok(buffer)
    }

    /// Gives the session what has come, or waits for it.
    async fn feed(&mut self, tls: &Tls) -> io::Result<()> {
        if self.left.is_empty() {
            let (result, raw) = self.half.read(std::mem::take(&mut self.raw)).await;
            self.raw = raw;
            self.left = 0..result?;
        }
        if self.left.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = self.raw.get(self.left.clone()).unwrap_or_default();
        let taken = tls.take_input(&mut rest);
        self.left.start = self.left.end.saturating_sub(rest.len());
        if tls.session.borrow().wants_write() {
            tls.wants_write.notify();
        }
        taken
    }
}

impl Writer {
    /// Writes all of it.
    pub(super) async fn write_all(&mut self, bytes: Bytes) -> io::Result<()> {
        let Some(tls) = self.tls.clone() else {
            return self.half.write_all(bytes).await.0.map(drop);
        };
        for part in bytes.chunks(PLAIN_BYTES) {
            let mut rest = part;
            while !rest.is_empty() {
                let count = tls.session.borrow_mut().writer().write(rest)?;
                rest = rest.get(count..).unwrap_or_default();
                self.flush().await?;
            }
            tls.discount(part.len(), 0);
        }
        Ok(())
    }

    /// Sends what the session has to say.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = self.tls.clone() else {
            return Ok(());
        };
        let bytes = tls.take_output()?;
        match bytes.is_empty() {
            true => Ok(()),
            false => self.half.write_all(bytes).await.0.map(drop),
        }
    }
}

/// Words for the operator.
fn explain(error: rustls::Error) -> io::Error {
    let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
    let hint = if error == unknown {
        "; ssl.ca.location names the file with the certificate of its authority"
    } else if matches!(error, rustls::Error::InvalidMessage(_)) {
        "; is it a listener with TLS?"
    } else {
        ""
    };
    io::Error::other(format!("TLS: {error}{hint}"))
}
