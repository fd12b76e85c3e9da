//! Cuts of the link and crashes of the gateway.

use std::collections::VecDeque;

use mirror::ConnectionId;

use super::{Event, World};
use crate::centre::Faults;

impl World {
    /// The wall and the link are sound from here on.
    pub(crate) fn calm(&mut self) {
        self.weather.cut_every_ms = 0;
        self.weather.crash_every_ms = 0;
        self.centre.faults = Faults::default();
        self.link_down_until = self.now_ms;
    }

    /// The rest of a connection's frames to the centre is lost.
    pub(super) fn drop_rest(&mut self, life: u64, connection: ConnectionId) {
        let way = (life, connection);
        self.events.retain(|_, event| match event {
            Event::Arrive {
                life, connection, ..
            } => (*life, *connection) != way,
            Event::Answer { .. }
            | Event::Connected { .. }
            | Event::Lost { .. }
            | Event::Written { .. }
            | Event::DeadLetter { .. }
            | Event::Read { .. }
            | Event::Append
            | Event::Cut
            | Event::Crash => true,
        });
    }

    pub(crate) fn cut(&mut self) {
        if self.weather.cut_every_ms == 0 {
            return;
        }
        self.cuts += 1;
        if self.random.below(1000) < self.centre.faults.forget_at_cut {
            // It takes longer than the last packets of the cut connections.
            self.events
                .retain(|_, event| !matches!(event, Event::Arrive { .. }));
            self.centre.forget_producers();
        }
        let open = std::mem::take(&mut self.open);
        for connection in open {
            let delay = self.random.between(0, 50);
            let life = self.life;
            self.later(delay, Event::Lost { life, connection });
        }
        self.link_down_until = self.now_ms + self.random.below(self.weather.outage_ms.max(1));
        let pause = self.random.between(1, 2 * self.weather.cut_every_ms);
        self.later(pause, Event::Cut);
    }

    pub(crate) fn crash(&mut self) {
        if self.weather.crash_every_ms == 0 {
            return;
        }
        let pause = self.random.between(1, 2 * self.weather.crash_every_ms);
        self.later(pause, Event::Crash);
        self.restart();
    }

    /// Kills the gateway and starts it again; of the writes under way a first part is durable.
    pub(crate) fn restart(&mut self) {
        self.crashes += 1;
        // The next process connects when the last packets of this one have arrived.
        self.link_down_until = self
            .link_down_until
            .max(self.now_ms + self.weather.latency_ms + 1);
        let mut pending = VecDeque::new();
        let keys: Vec<(u64, u64)> = self.events.keys().copied().collect();
        for key in keys {
            if matches!(self.events.get(&key), Some(Event::Written { .. }))
                && let Some(event) = self.events.remove(&key)
            {
                pending.push_back(event);
            }
        }
        let survive = self
            .random
            .below(u64::try_from(pending.len()).expect("few") + 1);
        for event in pending
            .into_iter()
            .take(usize::try_from(survive).expect("few"))
        {
            if let Event::Written { key, value, .. } = event {
                self.journal.insert(key, value);
            }
        }
        self.start_mirror();
    }
}
