//! The latest offset of each key, in a fixed amount of memory.
//!
//! What it is        an open-addressed table from a 128-bit hash of the key to an offset.
//! What it is not    a place that keeps keys: two keys with one hash would be one key, which at 128
//!                   bits is less likely than the memory failing.
//! Invariants        1. memory never grows. 2. at most three quarters of the slots are used.
//!                   3. an offset only ever rises.

use std::hash::{DefaultHasher, Hasher};

/// Two halves of the hash, and the offset plus one; an offset field of 0 is an empty slot.
type Slot = [u64; 3];

/// The map of one round.
#[derive(Debug)]
pub(crate) struct KeyMap {
    slots: Vec<Slot>,
    used: usize,
}

impl KeyMap {
    /// An empty map in about `memory_bytes`, for at least a few keys however small that is.
    pub(crate) fn new(memory_bytes: usize) -> Self {
        let slots = memory_bytes
            .checked_div(size_of::<Slot>())
            .unwrap_or(0)
            .max(SLOTS_MIN);
        Self {
            slots: vec![[0; 3]; slots],
            used: 0,
        }
    }

    /// Keys that fit.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.len() - (self.slots.len() >> 2)
    }

    /// Keys that still fit.
    pub(crate) fn remaining(&self) -> usize {
        self.capacity().saturating_sub(self.used)
    }

    /// Notes that `key` has a record at `offset` (not negative); false when the map is full.
    pub(crate) fn put(&mut self, key: &[u8], offset: i64) -> bool {
        let Ok(offset) = u64::try_from(offset) else {
            return true;
        };
        let hash = hash_of(key);
        let at = self.find(hash);
        let is_full = self.remaining() == 0;
        let Some(slot) = self.slots.get_mut(at) else {
            return false;
        };
        if slot[2] == 0 {
            if is_full {
                return false;
            }
            self.used += 1;
        }
        *slot = [hash[0], hash[1], slot[2].max(offset + 1)];
        true
    }

    /// The latest offset noted for `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Option<i64> {
        let slot = self.slots.get(self.find(hash_of(key)))?;
        i64::try_from(slot[2].checked_sub(1)?).ok()
    }

    /// The slot of that hash, or the empty slot where it belongs.
    fn find(&self, hash: [u64; 2]) -> usize {
        let count = self.slots.len();
        let start = hash[0] % (count as u64);
        let mut at = usize::try_from(start).unwrap_or(0);
        while let Some(slot) = self.slots.get(at) {
            if slot[2] == 0 || (slot[0] == hash[0] && slot[1] == hash[1]) {
                break;
            }
            at = if at + 1 == count { 0 } else { at + 1 };
        }
        at
    }
}

/// Slots of the smallest map.
const SLOTS_MIN: usize = 64;

/// Two keyed 64-bit hashes of the key side by side.
fn hash_of(key: &[u8]) -> [u64; 2] {
    [0x5175_6963_u64, 0x5365_6d61].map(|half| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(half);
        hasher.write(key);
        hasher.finish()
    })
}

#[cfg(test)]
mod tests {
    use super::KeyMap;

    #[test]
    fn the_latest_offset_wins_and_memory_is_fixed() {
        let mut map = KeyMap::new(24 * 100);
        assert_eq!(map.capacity(), 75);
        assert!(map.put(b"a", 5));
        assert!(map.put(b"a", 3));
        assert_eq!(map.get(b"a"), Some(5));
        assert_eq!(map.get(b"b"), None);
        let mut count = 1_i64;
        while map.put(&count.to_be_bytes(), count) {
            count += 1;
        }
        assert_eq!(count, 75);
        assert_eq!(map.remaining(), 0);
        assert!(map.put(b"a", 9));
        for number in 1..count {
            assert_eq!(map.get(&number.to_be_bytes()), Some(number));
        }
        assert_eq!(map.get(&count.to_be_bytes()), None);
    }
}
