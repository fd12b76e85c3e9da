//! A shared subscription: several clients of which each message goes to one.
//!
//! What it is        the cursor of a group into the partitions that it reads, who has which message
//!                   without having acknowledged it, and who is asked next.
//! What it is not    the messages: they stand in the log, and are read again for another member.
//! Invariants        1. a message is with one member at a time. 2. the cursor never passes a
//!                      message that nobody acknowledged. 3. what a member gave back, or had when
//!                      it was lost, is given away before anything newer, the oldest first.
//!                      4. members are served in the order in which they became ready.
//! Source            MQTT 5.0 §4.8.2.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::session::{Cursor, PartitionName};

/// A group; `M` names a member.
#[derive(Clone, Debug)]
pub struct ShareGroup<M> {
    partitions: BTreeMap<PartitionName, Progress<M>>,
    ready: VecDeque<M>,
}

/// How far a partition was read for the group.
#[derive(Clone, Debug)]
struct Progress<M> {
    /// First offset that was not looked at.
    next: i64,
    /// Offsets that were given away and not acknowledged.
    held: BTreeMap<i64, M>,
    /// Offsets that somebody else is to get.
    returned: BTreeSet<i64>,
}

impl<M: Copy + Eq> ShareGroup<M> {
    /// A group that goes on at these cursors.
    #[must_use]
    pub fn new(cursors: impl IntoIterator<Item = Cursor>) -> Self {
        let cursors = cursors.into_iter();
        Self {
            partitions: cursors
                .map(|cursor| (cursor.name, Progress::at(cursor.offset)))
                .collect(),
            ready: VecDeque::new(),
        }
    }

    /// A partition is read: from where the group is in it, or else from `first` on. Returns the
    /// offset.
    pub fn handle_opened(&mut self, name: PartitionName, first: i64) -> i64 {
        let progress = self.partitions.entry(name);
        progress.or_insert_with(|| Progress::at(first)).next
    }

    /// Everything before `next` was looked at.
    pub fn handle_passed(&mut self, name: PartitionName, next: i64) {
        if let Some(progress) = self.partitions.get_mut(&name) {
            progress.next = progress.next.max(next);
        }
    }

    /// A member takes a message, unless it waits already.
    pub fn handle_ready(&mut self, member: M) {
        if !self.ready.contains(&member) {
            self.ready.push_back(member);
        }
    }

    /// Whether a member waits for a message.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Gives a message to the member that has waited longest.
    pub fn give(&mut self, name: PartitionName, offset: i64) -> Option<M> {
        let progress = self.partitions.get_mut(&name)?;
        let member = self.ready.pop_front()?;
        progress.returned.remove(&offset);
        progress.held.insert(offset, member);
        progress.next = progress.next.max(offset + 1);
        Some(member)
    }

    /// The member has the message; false when it is not with that member.
    pub fn handle_acknowledged(&mut self, member: M, name: PartitionName, offset: i64) -> bool {
        self.take_back(member, name, offset).is_some()
    }

    /// The member cannot take the message after all.
    pub fn handle_returned(&mut self, member: M, name: PartitionName, offset: i64) {
        if let Some(progress) = self.take_back(member, name, offset) {
            progress.returned.insert(offset);
        }
    }

    fn take_back(
        &mut self,
        member: M,
        name: PartitionName,
        offset: i64,
    ) -> Option<&mut Progress<M>> {
        let progress = self.partitions.get_mut(&name)?;
        if progress.held.get(&offset) != Some(&member) {
            return None;
        }
        progress.held.remove(&offset);
        Some(progress)
    }

    /// The member takes no further message; what it has stays with it.
    pub fn handle_left(&mut self, member: M) {
        self.ready.retain(|other| *other != member);
    }

    /// The member is gone, and what it had is given to others.
    pub fn handle_lost(&mut self, member: M) {
        self.handle_left(member);
        for progress in self.partitions.values_mut() {
            let held = progress.held.iter();
            let lost = held.filter(|(_, holder)| **holder == member);
            let lost: Vec<i64> = lost.map(|(offset, _)| *offset).collect();
            progress.held.retain(|_, holder| *holder != member);
            progress.returned.extend(lost);
        }
    }

    /// A message that somebody else is to get, the oldest of its partition. It stays the next one
    /// until it is given, or said to be gone.
    #[must_use]
    pub fn returned(&self) -> Option<(PartitionName, i64)> {
        let partitions = self.partitions.iter();
        let mut first = partitions.filter_map(|(name, progress)| {
            let offset = progress.returned.first()?;
            Some((*name, *offset))
        });
        first.next()
    }

    /// A message that came back is not in the log any more, or nobody is to get it.
    pub fn handle_gone(&mut self, name: PartitionName, offset: i64) {
        if let Some(progress) = self.partitions.get_mut(&name) {
            progress.returned.remove(&offset);
        }
    }

    /// The partition is no more.
    pub fn handle_closed(&mut self, name: PartitionName) {
        self.partitions.remove(&name);
    }

    /// The partitions that the group knows.
    pub fn names(&self) -> impl Iterator<Item = PartitionName> {
        self.partitions.keys().copied()
    }

    /// Where the group goes on after a crash, for each partition.
    #[must_use]
    pub fn cursors(&self) -> Vec<Cursor> {
        let cursor = |(name, progress): (&PartitionName, &Progress<M>)| Cursor {
            name: *name,
            offset: progress.oldest(),
        };
        self.partitions.iter().map(cursor).collect()
    }

    /// Messages that were given away and not acknowledged.
    #[must_use]
    pub fn held_count(&self) -> usize {
        self.partitions.values().map(|one| one.held.len()).sum()
    }

    /// Messages that came back and wait for another member.
    #[must_use]
    pub fn returned_count(&self) -> usize {
        self.partitions.values().map(|one| one.returned.len()).sum()
    }
}

impl<M> Progress<M> {
    fn at(next: i64) -> Self {
        Self {
            next,
            held: BTreeMap::new(),
            returned: BTreeSet::new(),
        }
    }

    /// First offset that nobody acknowledged.
    fn oldest(&self) -> i64 {
        let held = self.held.first_key_value().map(|(offset, _)| *offset);
        let returned = self.returned.first().copied();
        let unfinished = held.into_iter().chain(returned).min();
        unfinished.unwrap_or(self.next).min(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::ShareGroup;
    use crate::session::{Cursor, PartitionName};

    const A: PartitionName = PartitionName {
        topic_id: [1; 16],
        partition: 0,
    };
    const B: PartitionName = PartitionName {
        topic_id: [1; 16],
        partition: 1,
    };

    /// A group that reads A from 10 on, with members that are ready in this order.
    fn group(ready: &[u8]) -> ShareGroup<u8> {
        let mut group = ShareGroup::new([]);
        assert_eq!(group.handle_opened(A, 10), 10);
        for member in ready {
            group.handle_ready(*member);
        }
        group
    }

    fn cursor(group: &ShareGroup<u8>, name: PartitionName) -> i64 {
        let cursors = group.cursors();
        let found = cursors.iter().find(|cursor| cursor.name == name);
        found.map(|cursor| cursor.offset).unwrap()
    }

    #[test]
    fn members_are_served_in_turn_and_one_that_is_not_ready_gets_nothing() {
        let mut group = group(&[1, 2, 1]);
        assert_eq!(group.give(A, 10), Some(1));
        assert_eq!(group.give(A, 11), Some(2));
        assert_eq!((group.give(A, 12), group.has_ready()), (None, false));
        group.handle_ready(2);
        assert_eq!(group.give(A, 12), Some(2));
        assert_eq!(group.held_count(), 3);
    }

    #[test]
    fn the_cursor_stays_at_what_nobody_acknowledged() {
        let mut group = group(&[1, 2]);
        assert_eq!(cursor(&group, A), 10);
        group.give(A, 12);
        group.handle_passed(A, 13);
        group.give(A, 14);
        group.handle_passed(A, 20);
        assert_eq!(cursor(&group, A), 12);
        assert!(!group.handle_acknowledged(2, A, 12), "it is with 1");
        assert!(group.handle_acknowledged(1, A, 12) && !group.handle_acknowledged(1, A, 12));
        assert_eq!(cursor(&group, A), 14);
        assert!(group.handle_acknowledged(2, A, 14));
        assert_eq!(cursor(&group, A), 20);
    }

    #[test]
    fn what_a_lost_member_had_goes_to_another_one_the_oldest_first() {
        let mut group = group(&[1, 2]);
        group.give(A, 10);
        group.give(A, 11);
        group.handle_ready(1);
        group.give(A, 12);
        group.handle_ready(1);
        group.handle_lost(1);
        assert_eq!(
            (group.returned(), group.has_ready()),
            (Some((A, 10)), false)
        );
        assert_eq!((group.returned_count(), group.held_count()), (2, 1));
        group.handle_ready(2);
        assert_eq!(group.give(A, 10), Some(2));
        assert_eq!(group.returned(), Some((A, 12)));
        // An acknowledgement of the lost member comes too late.
        assert!(!group.handle_acknowledged(1, A, 10));
        group.handle_acknowledged(2, A, 10);
        group.handle_acknowledged(2, A, 11);
        assert_eq!(cursor(&group, A), 12);
        group.handle_gone(A, 12);
        assert_eq!((group.returned(), cursor(&group, A)), (None, 13));
    }

    #[test]
    fn a_member_that_leaves_keeps_what_it_has_and_one_that_cannot_gives_it_back() {
        let mut group = group(&[1]);
        group.give(A, 10);
        group.handle_ready(1);
        group.handle_left(1);
        assert!(!group.has_ready());
        assert_eq!((group.returned(), group.held_count()), (None, 1));
        group.handle_returned(2, A, 10);
        assert_eq!(group.returned(), None, "it is with 1");
        group.handle_returned(1, A, 10);
        assert_eq!(group.returned(), Some((A, 10)));
    }

    #[test]
    fn a_group_goes_on_where_it_was() {
        let kept = Cursor { name: A, offset: 7 };
        let mut group: ShareGroup<u8> = ShareGroup::new([kept]);
        assert_eq!(group.handle_opened(A, 100), 7);
        assert_eq!(group.handle_opened(B, 0), 0);
        assert_eq!(group.names().count(), 2);
        group.handle_closed(A);
        assert_eq!((group.cursors().len(), cursor(&group, B)), (1, 0));
    }
}
