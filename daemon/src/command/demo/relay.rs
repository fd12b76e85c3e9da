//! The link of the demonstration: a relay on loopback that can be cut.
//!
//! What it is        one thread that accepts, two for each connection that copy bytes.
//! What it is not    slow or lossy: TCP hides loss, and a cut is what a mirror must live through.
//! Invariants        1. while the link is cut nothing passes and every connection is gone. 2. what
//!                   was on the way when it was cut is lost.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Bytes that are copied at once.
const COPY_BYTES: usize = 64 << 10;

/// The relay; it ends with the process.
#[derive(Debug)]
pub(super) struct Relay {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    target: Mutex<Option<SocketAddr>>,
    is_cut: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// Listens on a free port of loopback; nothing passes before [`Relay::lead_to`].
    pub(super) fn open() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let accepting = Arc::clone(&state);
        thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    // A connection that cannot be served is closed; the mirror dials again.
                    let _refused: io::Result<()> = accepting.serve(&stream);
                }
            })?;
        Ok(Self { address, state })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where connections lead to from now on.
    pub(super) fn lead_to(&self, target: SocketAddr) {
        *lock(&self.state.target) = Some(target);
    }

    /// Cuts the link, or mends it.
    pub(super) fn set_cut(&self, is_cut: bool) {
        // Under the lock, so that no connection is made between the flag and the end of all.
        let mut streams = lock(&self.state.streams);
        self.state.is_cut.store(is_cut, Ordering::SeqCst);
        if is_cut {
            for stream in streams.drain(..) {
                shut_down(&stream);
            }
        }
    }
}

impl State {
    fn serve(self: &Arc<Self>, near: &TcpStream) -> io::Result<()> {
        let target = *lock(&self.target);
        let target = target.ok_or(io::ErrorKind::NotConnected)?;
        let far = TcpStream::connect(target)?;
        {
            let mut streams = lock(&self.streams);
            if self.is_cut.load(Ordering::SeqCst) {
                shut_down(&far);
                shut_down(near);
                return Ok(());
            }
            // Those that have ended are not kept: a mirror may dial for days.
            streams.retain(|stream| stream.take_error().is_ok_and(|error| error.is_none()));
            streams.push(near.try_clone()?);
            streams.push(far.try_clone()?);
        }
        self.copy(near.try_clone()?, far.try_clone()?)?;
        self.copy(far, near.try_clone()?)
    }

    /// Copies in a thread of its own until one side ends.
    fn copy(self: &Arc<Self>, mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
        let state = Arc::clone(self);
        let copying = move || {
            let mut buffer = vec![0; COPY_BYTES];
            while let Ok(count) = from.read(&mut buffer) {
                let bytes = buffer.get(..count).unwrap_or_default();
                let is_over = bytes.is_empty() || state.is_cut.load(Ordering::SeqCst);
                if is_over || to.write_all(bytes).is_err() {
                    break;
                }
            }
            shut_down(&from);
            shut_down(&to);
            let ends = [from.peer_addr().ok(), to.peer_addr().ok()];
            lock(&state.streams).retain(|stream| !ends.contains(&stream.peer_addr().ok()));
        };
        thread::Builder::new()
            .name("link".to_owned())
            .spawn(copying)
            .map(drop)
    }
}

fn shut_down(stream: &TcpStream) {
    // It may be gone already.
    let _gone: io::Result<()> = stream.shutdown(Shutdown::Both);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::Relay;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn bytes_pass_until_the_link_is_cut_and_again_when_it_is_mended() {
        let centre = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let relay = Relay::open().unwrap();
        relay.lead_to(centre.local_addr().unwrap());
        let exchange = || {
            let mut near = TcpStream::connect(relay.address()).unwrap();
            let (mut far, _) = centre.accept().unwrap();
            let mut got = [0; 4];
            near.write_all(b"ping").unwrap();
            far.read_exact(&mut got).unwrap();
            far.write_all(b"pong").unwrap();
            near.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"pong");
            (near, far)
        };
        let (mut near, mut far) = exchange();
        relay.set_cut(true);
        let mut rest = Vec::new();
        assert!(matches!(near.read_to_end(&mut rest), Ok(0) | Err(_)));
        assert!(matches!(far.read_to_end(&mut rest), Ok(0) | Err(_)));
        let mut refused = TcpStream::connect(relay.address()).unwrap();
        assert!(matches!(refused.read(&mut [0]), Ok(0) | Err(_)));
        // What was accepted while it was cut leads nowhere.
        drop(centre.accept().unwrap());
        relay.set_cut(false);
        drop(exchange());
    }
}
