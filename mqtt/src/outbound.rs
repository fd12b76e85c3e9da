//! Messages on their way to one subscriber: packet identifiers and the window.
//!
//! Invariants        1. an identifier stands for one message at a time. 2. at most `window`
//!                      messages are not acknowledged. 3. a message of an earlier connection gets
//!                      its identifier again, and DUP [MQTT-4.4.0-1].

use std::collections::{BTreeMap, VecDeque};

use crate::limits::SEND_WINDOW_MAX;
use crate::session::{InFlight, PartitionName};

/// The window of one subscriber.
#[derive(Clone, Debug, Default)]
pub struct Outbound {
    window: usize,
    in_flight: VecDeque<InFlight>,
    /// Messages of an earlier connection that are to be sent again.
    again: BTreeMap<(PartitionName, i64), u16>,
    last_id: u16,
}

impl Outbound {
    /// A window for a client that takes `receive_maximum` messages; `again` were not acknowledged
    /// on an earlier connection.
    #[must_use]
    pub fn new(receive_maximum: u16, again: impl IntoIterator<Item = InFlight>) -> Self {
        let again = again.into_iter();
        Self {
            window: usize::from(receive_maximum).clamp(1, SEND_WINDOW_MAX),
            again: again
                .map(|one| ((one.name, one.offset), one.packet_id))
                .collect(),
            ..Self::default()
        }
    }

    /// Whether another message may be sent.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.in_flight.len() < self.window
    }

    /// The identifier for a message, and whether it was sent before.
    pub fn handle_delivery(&mut self, name: PartitionName, offset: i64) -> (u16, bool) {
        let earlier = self.again.remove(&(name, offset));
        let packet_id = earlier.unwrap_or_else(|| self.free_id());
        self.in_flight.push_back(InFlight {
            packet_id,
            name,
            offset,
        });
        (packet_id, earlier.is_some())
    }

    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let id = self.last_id;
            let is_used = self.in_flight.iter().any(|one| one.packet_id == id)
                || self.again.values().any(|one| *one == id);
            if !is_used {
                return id;
            }
        }
    }

    /// The client has the message; false for an identifier that is not known.
    pub fn handle_acknowledged(&mut self, packet_id: u16) -> bool {
        let place = self
            .in_flight
            .iter()
            .position(|one| one.packet_id == packet_id);
        place
            .and_then(|place| self.in_flight.remove(place))
            .is_some()
    }

    /// Everything before `next` was looked at: what is still to be sent again is gone from the log.
    pub fn handle_passed(&mut self, name: PartitionName, next: i64) {
        self.again
            .retain(|(other, offset), _| *other != name || *offset >= next);
    }

    /// The first offset of a partition that is not acknowledged, if any is not.
    #[must_use]
    pub fn oldest(&self, name: PartitionName) -> Option<i64> {
        let of_partition = self.in_flight.iter().filter(|one| one.name == name);
        let again = self.again.keys().filter(|(other, _)| *other == name);
        let offsets = of_partition.map(|one| one.offset);
        offsets.chain(again.map(|(_, offset)| *offset)).min()
    }

    /// Messages that are not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> Vec<InFlight> {
        let again = self
            .again
            .iter()
            .map(|((name, offset), packet_id)| InFlight {
                packet_id: *packet_id,
                name: *name,
                offset: *offset,
            });
        self.in_flight.iter().copied().chain(again).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Outbound;
    use crate::limits::SEND_WINDOW_MAX;
    use crate::session::{InFlight, PartitionName};

    const NAME: PartitionName = PartitionName {
        topic_id: [1; 16],
        partition: 0,
    };
    const OTHER: PartitionName = PartitionName {
        topic_id: [1; 16],
        partition: 1,
    };

    #[test]
    fn the_window_is_the_smaller_of_both_sides() {
        let mut outbound = Outbound::new(2, []);
        assert_eq!(outbound.handle_delivery(NAME, 10), (1, false));
        assert_eq!(outbound.handle_delivery(OTHER, 5), (2, false));
        assert!(!outbound.has_room());
        assert_eq!(
            (outbound.oldest(NAME), outbound.oldest(OTHER)),
            (Some(10), Some(5))
        );
        assert!(outbound.handle_acknowledged(1) && !outbound.handle_acknowledged(1));
        assert!(outbound.has_room());
        assert_eq!(outbound.oldest(NAME), None);
        let mut outbound = Outbound::new(u16::MAX, []);
        for offset in 0.. {
            if !outbound.has_room() {
                assert_eq!(usize::try_from(offset).unwrap(), SEND_WINDOW_MAX);
                break;
            }
            outbound.handle_delivery(NAME, offset);
        }
    }

    #[test]
    fn a_message_of_an_earlier_connection_keeps_its_identifier() {
        let earlier = InFlight {
            packet_id: 1,
            name: NAME,
            offset: 4,
        };
        let mut outbound = Outbound::new(10, [earlier]);
        assert_eq!(outbound.unacknowledged(), [earlier]);
        assert_eq!(outbound.oldest(NAME), Some(4));
        // A new message does not take it.
        assert_eq!(outbound.handle_delivery(NAME, 3), (2, false));
        assert_eq!(outbound.handle_delivery(NAME, 4), (1, true));
        assert_eq!(outbound.handle_delivery(NAME, 5), (3, false));
        assert_eq!(outbound.unacknowledged().len(), 3);
        outbound.handle_passed(NAME, 5);
        outbound.last_id = u16::MAX;
        assert_eq!(outbound.handle_delivery(NAME, 6), (4, false));
    }
}
