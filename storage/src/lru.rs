//! A map with a cost limit that forgets what was used longest ago.
//!
//! What it is        the one mechanism behind the file handle cache, the index cache and the batch
//!                   cache.
//! Invariants        1. `order` and `entries` hold the same keys. 2. `cost` is the sum of all
//!                   entries' costs.
//!                   3. after an insertion the cost is at most the limit, or exactly one entry is
//!                   left.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

#[derive(Debug)]
struct Entry<V> {
    used_at: u64,
    cost: u64,
    value: V,
}

/// Least-recently-used map; `limit` and costs in whatever unit the owner counts.
#[derive(Debug)]
pub(crate) struct Lru<K, V> {
    entries: BTreeMap<K, Entry<V>>,
    order: BTreeMap<u64, K>,
    next_use: u64,
    cost: u64,
    cost_max: u64,
    limit: u64,
}

impl<K: Ord + Clone, V> Lru<K, V> {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            next_use: 0,
            cost: 0,
            cost_max: 0,
            limit,
        }
    }

    /// Inserts or replaces and forgets the oldest until the limit holds again; the new entry itself
    /// stays.
    pub(crate) fn insert(&mut self, key: K, value: V, cost: u64) {
        self.remove(&key);
        let used_at = self.next_use;
        self.next_use += 1;
        self.order.insert(used_at, key.clone());
        let entry = Entry {
            used_at,
            cost,
            value,
        };
        self.entries.insert(key, entry);
        self.cost += cost;
        self.shrink_to(self.limit, 1);
        self.cost_max = self.cost_max.max(self.cost);
    }

    /// Finds an entry and marks it as used now.
    pub(crate) fn get(&mut self, key: &K) -> Option<&V> {
        let entry = self.entries.get_mut(key)?;
        self.order.remove(&entry.used_at);
        entry.used_at = self.next_use;
        self.next_use += 1;
        self.order.insert(entry.used_at, key.clone());
        Some(&entry.value)
    }

    /// Forgets one entry.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.used_at);
        self.cost -= entry.cost;
        Some(entry.value)
    }

    /// Forgets every entry whose key is in the range.
    pub(crate) fn remove_range(&mut self, range: impl RangeBounds<K>) {
        let keys: Vec<K> = self
            .entries
            .range(range)
            .map(|(key, _)| key.clone())
            .collect();
        for key in &keys {
            self.remove(key);
        }
    }

    /// The last entry whose key is in the range, not marked as used.
    pub(crate) fn last_in(&self, range: impl RangeBounds<K>) -> Option<(&K, &V)> {
        let (key, entry) = self.entries.range(range).next_back()?;
        Some((key, &entry.value))
    }

    /// Changes the limit and forgets what no longer fits.
    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
        self.shrink_to(limit, 0);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    pub(crate) fn cost_max(&self) -> u64 {
        self.cost_max
    }

    fn shrink_to(&mut self, limit: u64, entries_min: usize) {
        while self.cost > limit && self.entries.len() > entries_min {
            let Some((_, key)) = self.order.pop_first() else {
                return;
            };
            if let Some(entry) = self.entries.remove(&key) {
                self.cost -= entry.cost;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Lru;

    #[test]
    fn the_entry_used_longest_ago_goes_first() {
        let mut lru = Lru::new(10);
        lru.insert(1, 'a', 4);
        lru.insert(2, 'b', 4);
        assert_eq!(lru.get(&1), Some(&'a'));
        lru.insert(3, 'c', 4);
        assert_eq!(lru.get(&2), None);
        assert_eq!((lru.cost(), lru.len(), lru.cost_max()), (8, 2, 8));
        lru.insert(4, 'd', 100);
        assert_eq!((lru.cost(), lru.len()), (100, 1));
        lru.set_limit(10);
        assert_eq!((lru.cost(), lru.len()), (0, 0));
    }

    #[test]
    fn ranges_are_forgotten_and_found() {
        let mut lru = Lru::new(100);
        for key in 0..10 {
            lru.insert(key, key, 1);
        }
        lru.remove_range(3..7);
        assert_eq!(lru.last_in(..7), Some((&2, &2)));
        assert_eq!(lru.cost(), 6);
    }
}
