//! Publishes of one client that are not finished: who is to be acknowledged, and in which order.
//!
//! What it is        two queues in the order of arrival (PUBACKs and PUBRECs), the identifiers
//!                   between PUBREC and PUBREL, and the last acknowledged identifiers.
//! What it is not    the log: a message is appended by the owner, who says when it is committed.
//! Invariants        1. acknowledgements of one kind leave in the order of their publishes
//!                      [MQTT-4.6.0-2, -3].
//!                   2. an identifier is in at most one of: waiting, received.
//!                   3. a publish that is sent again while its first copy waits, or whose
//!                      acknowledgement has just left on this connection, is not published twice.
//! Source            MQTT 5.0 §4.3, §4.4, §4.9; esp-mqtt resends on the same connection.

use std::collections::{BTreeMap, VecDeque};

use crate::limits::{ACKNOWLEDGED_IDS_KEPT, RECEIVED_IDS_MAX};
use crate::message::Qos;
use crate::reason::ReasonCode;

/// Names one publish that waits for its commit; unique on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishToken(pub u64);

/// What is to be done with a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Publish it; the outcome is given under this token.
    Publish(PublishToken),
    /// It waits already: its acknowledgement comes.
    Waiting,
    /// It was acknowledged: say it again.
    Again,
    /// The client sends more than it may.
    Exceeded,
}

/// Publishes that are not finished.
#[derive(Clone, Debug, Default)]
pub struct Inbound {
    at_least_once: VecDeque<Entry>,
    exactly_once: VecDeque<Entry>,
    /// Identifiers behind their PUBREC, each with whether its release is under way.
    received: BTreeMap<u16, bool>,
    acknowledged: VecDeque<Acknowledged>,
    next_token: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    token: PublishToken,
    packet_id: u16,
    digest: u32,
    outcome: Option<ReasonCode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Acknowledged {
    packet_id: u16,
    digest: u32,
}

/// An acknowledgement that is to leave now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Quality of the publish: PUBACK or PUBREC.
    pub qos: Qos,
    /// Packet identifier.
    pub packet_id: u16,
    /// What became of it.
    pub reason: ReasonCode,
}

impl Inbound {
    /// The state of a session that is continued: identifiers that wait for their PUBREL.
    #[must_use]
    pub fn with_received(ids: impl IntoIterator<Item = u16>) -> Self {
        Self {
            received: ids.into_iter().map(|id| (id, false)).collect(),
            ..Self::default()
        }
    }

    /// Takes a publish with QoS 1 or 2; `digest` is of topic and payload.
    pub fn handle_publish(
        &mut self,
        qos: Qos,
        packet_id: u16,
        dup: bool,
        digest: u32,
    ) -> Admission {
        let again = Acknowledged { packet_id, digest };
        if qos == Qos::ExactlyOnce {
            if self.received.contains_key(&packet_id) {
                return Admission::Again;
            }
            if self.received.len() + self.exactly_once.len() >= RECEIVED_IDS_MAX {
                return Admission::Exceeded;
            }
        } else if dup && self.acknowledged.contains(&again) {
            return Admission::Again;
        }
        let queue = self.queue(qos);
        if queue.iter().any(|entry| entry.packet_id == packet_id) {
            return Admission::Waiting;
        }
        let token = PublishToken(self.next_token);
        self.next_token += 1;
        let entry = Entry {
            token,
            packet_id,
            digest,
            outcome: None,
        };
        self.queue(qos).push_back(entry);
        Admission::Publish(token)
    }

    /// The publish is committed, or refused with a reason.
    pub fn handle_outcome(&mut self, token: PublishToken, outcome: ReasonCode) {
        let queues = [&mut self.at_least_once, &mut self.exactly_once];
        let mut entries = queues.into_iter().flatten();
        if let Some(entry) = entries.find(|entry| entry.token == token) {
            entry.outcome = Some(outcome);
        }
    }

    /// The next acknowledgement that may leave.
    pub fn poll_finished(&mut self) -> Option<Finished> {
        self.poll_queue(Qos::AtLeastOnce)
            .or_else(|| self.poll_queue(Qos::ExactlyOnce))
    }

    fn poll_queue(&mut self, qos: Qos) -> Option<Finished> {
        let queue = self.queue(qos);
        let reason = queue.front()?.outcome?;
        let entry = queue.pop_front()?;
        if qos == Qos::ExactlyOnce && !reason.is_error() {
            self.received.insert(entry.packet_id, false);
        } else if qos == Qos::AtLeastOnce && !reason.is_error() {
            self.remember(entry);
        }
        Some(Finished {
            qos,
            packet_id: entry.packet_id,
            reason,
        })
    }

    fn remember(&mut self, entry: Entry) {
        if self.acknowledged.len() == ACKNOWLEDGED_IDS_KEPT {
            self.acknowledged.pop_front();
        }
        self.acknowledged.push_back(Acknowledged {
            packet_id: entry.packet_id,
            digest: entry.digest,
        });
    }

    /// PUBREL came: whether the release is to be stored. `None` for an identifier that is not
    /// known; `Some(false)` when its release is under way already.
    pub fn handle_pubrel(&mut self, packet_id: u16) -> Option<bool> {
        let is_releasing = self.received.get_mut(&packet_id)?;
        Some(!std::mem::replace(is_releasing, true))
    }

    /// The release is stored; PUBCOMP may leave.
    pub fn handle_released(&mut self, packet_id: u16) {
        self.received.remove(&packet_id);
    }

    /// Publishes that are not finished, as Receive Maximum counts them.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.waiting() + self.received.len()
    }

    /// Publishes whose outcome is not acknowledged yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.at_least_once.len() + self.exactly_once.len()
    }

    /// Identifiers that wait for their PUBREL.
    pub fn received(&self) -> impl Iterator<Item = u16> {
        self.received.keys().copied()
    }

    /// Whether a publish with this identifier waits or was received.
    #[must_use]
    pub fn knows(&self, packet_id: u16) -> bool {
        let mut entries = self.at_least_once.iter().chain(&self.exactly_once);
        self.received.contains_key(&packet_id) || entries.any(|one| one.packet_id == packet_id)
    }

    fn queue(&mut self, qos: Qos) -> &mut VecDeque<Entry> {
        match qos {
            Qos::AtMostOnce | Qos::AtLeastOnce => &mut self.at_least_once,
            Qos::ExactlyOnce => &mut self.exactly_once,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Admission, Finished, Inbound, PublishToken};
    use crate::limits::{ACKNOWLEDGED_IDS_KEPT, RECEIVED_IDS_MAX};
    use crate::message::Qos;
    use crate::reason::ReasonCode;

    const Q1: Qos = Qos::AtLeastOnce;
    const Q2: Qos = Qos::ExactlyOnce;

    fn publish(inbound: &mut Inbound, qos: Qos, id: u16) -> PublishToken {
        let admission = inbound.handle_publish(qos, id, false, u32::from(id));
        let Admission::Publish(token) = admission else {
            panic!("{admission:?}");
        };
        token
    }

    fn finished(qos: Qos, packet_id: u16) -> Option<Finished> {
        let reason = ReasonCode::Success;
        Some(Finished {
            qos,
            packet_id,
            reason,
        })
    }

    #[test]
    fn acknowledgements_leave_in_the_order_of_arrival() {
        let mut inbound = Inbound::default();
        let first = publish(&mut inbound, Q1, 10);
        let exact = publish(&mut inbound, Q2, 11);
        let second = publish(&mut inbound, Q1, 12);
        inbound.handle_outcome(second, ReasonCode::Success);
        assert_eq!(inbound.poll_finished(), None);
        inbound.handle_outcome(exact, ReasonCode::Success);
        assert_eq!(inbound.poll_finished(), finished(Q2, 11));
        inbound.handle_outcome(first, ReasonCode::Success);
        assert_eq!(inbound.poll_finished(), finished(Q1, 10));
        assert_eq!(inbound.poll_finished(), finished(Q1, 12));
        assert_eq!(inbound.poll_finished(), None);
        assert_eq!((inbound.waiting(), inbound.unfinished()), (0, 1));
    }

    #[test]
    fn what_is_sent_again_is_not_published_twice() {
        let mut inbound = Inbound::default();
        let token = publish(&mut inbound, Q1, 1);
        assert_eq!(inbound.handle_publish(Q1, 1, true, 1), Admission::Waiting);
        inbound.handle_outcome(token, ReasonCode::Success);
        assert_eq!(inbound.poll_finished(), finished(Q1, 1));
        // The PUBACK crosses the repetition.
        assert_eq!(inbound.handle_publish(Q1, 1, true, 1), Admission::Again);
        // The same identifier for something new, or for the same without DUP.
        assert!(matches!(
            inbound.handle_publish(Q1, 1, true, 2),
            Admission::Publish(_)
        ));
        let mut inbound = Inbound::default();
        let token = publish(&mut inbound, Q1, 1);
        inbound.handle_outcome(token, ReasonCode::Success);
        inbound.poll_finished();
        assert!(matches!(
            inbound.handle_publish(Q1, 1, false, 1),
            Admission::Publish(_)
        ));
    }

    #[test]
    fn a_refused_publish_may_come_again() {
        let mut inbound = Inbound::default();
        for qos in [Q1, Q2] {
            let token = publish(&mut inbound, qos, 1);
            inbound.handle_outcome(token, ReasonCode::QuotaExceeded);
            let reason = ReasonCode::QuotaExceeded;
            assert_eq!(
                inbound.poll_finished(),
                Some(Finished {
                    qos,
                    packet_id: 1,
                    reason
                })
            );
            assert!(matches!(
                inbound.handle_publish(qos, 1, true, 1),
                Admission::Publish(_)
            ));
        }
    }

    #[test]
    fn an_identifier_is_received_until_its_release_is_stored() {
        let mut inbound = Inbound::with_received([5]);
        assert_eq!(inbound.handle_publish(Q2, 5, true, 0), Admission::Again);
        assert_eq!(inbound.handle_publish(Q2, 5, false, 9), Admission::Again);
        assert_eq!(inbound.handle_pubrel(6), None);
        assert_eq!(inbound.handle_pubrel(5), Some(true));
        assert_eq!(inbound.handle_pubrel(5), Some(false));
        assert!(inbound.knows(5));
        inbound.handle_released(5);
        assert_eq!(inbound.handle_pubrel(5), None);
        assert!(matches!(
            inbound.handle_publish(Q2, 5, false, 0),
            Admission::Publish(_)
        ));
    }

    #[test]
    fn memory_is_bounded() {
        let mut inbound = Inbound::default();
        for id in 1..=u16::try_from(RECEIVED_IDS_MAX).unwrap() {
            let token = publish(&mut inbound, Q2, id);
            inbound.handle_outcome(token, ReasonCode::Success);
            inbound.poll_finished();
        }
        assert_eq!(
            inbound.handle_publish(Q2, 60_000, false, 0),
            Admission::Exceeded
        );
        for id in 1..1000 {
            let token = publish(&mut inbound, Q1, id);
            inbound.handle_outcome(token, ReasonCode::Success);
            inbound.poll_finished();
        }
        assert_eq!(inbound.acknowledged.len(), ACKNOWLEDGED_IDS_KEPT);
    }
}
