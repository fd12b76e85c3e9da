//! Times at which a connection may be over: keep-alive, CONNECT, a packet that does not end.
//!
//! What it is        one task per shard and an ordered set; no timer per connection. A connection
//!                   that was heard meanwhile says when it wants to be looked at again.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::now_ms;
use crate::connection::ConnectionId;
use crate::shard::Shard;
use crate::shard::notify::Notify;

/// Time in ms that a large packet may take while its memory is kept.
pub(super) const SLOW_PACKET_MS: u64 = 30_000;

/// Connections by the time at which they want to be looked at.
#[derive(Default)]
pub(super) struct Timers {
    due: RefCell<BTreeSet<(u64, ConnectionId)>>,
    earlier: Notify,
}

impl Timers {
    /// Looks at a connection at `due_ms`.
    pub(super) fn add(&self, due_ms: u64, id: ConnectionId) {
        let mut due = self.due.borrow_mut();
        let is_first = due.first().is_none_or(|(first_ms, _)| due_ms < *first_ms);
        due.insert((due_ms, id));
        drop(due);
        if is_first {
            self.earlier.notify();
        }
    }

    fn take_due(&self, now_ms: u64) -> Option<ConnectionId> {
        let mut due = self.due.borrow_mut();
        let (due_ms, _) = due.first()?;
        if *due_ms > now_ms {
            return None;
        }
        due.pop_first().map(|(_, id)| id)
    }
}

/// Looks at connections when they are due, for ever; sleeps while there are none.
pub(super) async fn run(shard: Rc<Shard>) {
    let service = Rc::clone(shard.state().mqtt());
    loop {
        while let Some(id) = service.timers.take_due(now_ms(&shard)) {
            if let Some(connection) = service.connection(id) {
                connection.handle_timeout(&shard);
            }
        }
        let first_ms = service
            .timers
            .due
            .borrow()
            .first()
            .map(|(due_ms, _)| *due_ms);
        let Some(first_ms) = first_ms else {
            service.timers.earlier.wait().await;
            continue;
        };
        let left = Duration::from_millis(first_ms.saturating_sub(now_ms(&shard)).max(1));
        monoio::select! {
            () = monoio::time::sleep(left) => {}
            () = service.timers.earlier.wait() => {}
        }
    }
}
