//! A map whose copies share what has not changed.
//!
//! What it is        a fixed number of ordered maps behind `Arc`, chosen by a hash of the key: a
//!                   change copies one of them and never the values.
//! What it is not    ordered as a whole: iteration goes shelf by shelf, the same way every time.
//! Invariants        1. a key is only in the map that its hash chooses.
//! Source            our decision: a change among 10,000 topics must not copy 10,000 entries.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Maps per shelf: with 10,000 entries, a change copies about 40.
const MAPS: usize = 1 << u8::BITS;

/// The map; `K` is hashed by its bytes.
#[derive(Clone, Debug)]
pub(super) struct Shelf<K, V> {
    maps: Vec<Arc<BTreeMap<K, V>>>,
    len: usize,
}

impl<K: Ord + Clone + AsRef<[u8]>, V: Clone> Shelf<K, V> {
    pub(super) fn new() -> Self {
        let empty = Arc::new(BTreeMap::new());
        Self {
            maps: (0..MAPS).map(|_| Arc::clone(&empty)).collect(),
            len: 0,
        }
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if let Some(map) = self.maps.get_mut(place(key.as_ref())) {
            let before = Arc::make_mut(map).insert(key, value);
            self.len += usize::from(before.is_none());
        }
    }

    pub(super) fn remove<Q: Ord + AsRef<[u8]> + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        let map = self.maps.get_mut(place(key.as_ref()))?;
        let value = Arc::make_mut(map).remove(key)?;
        self.len -= 1;
        Some(value)
    }

    pub(super) fn get<Q: Ord + AsRef<[u8]> + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.maps.get(place(key.as_ref()))?.get(key)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.maps.iter().flat_map(|map| map.values())
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Counts the maps that two copies do not share.
    #[cfg(test)]
    pub(super) fn maps_not_shared_with(&self, other: &Self) -> usize {
        self.maps
            .iter()
            .zip(&other.maps)
            .filter(|(own, its)| !Arc::ptr_eq(own, its))
            .count()
    }
}

fn place(key: &[u8]) -> usize {
    usize::from(crc32c::crc32c(key).to_le_bytes()[0])
}
