//! The medium behind a [`super::SimDisk`]: what is safe, what is seen, and what is in doubt.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Counts, Faults, Loss};
use crate::sim::random::Random;

pub(super) struct World {
    pub(super) random: Random,
    pub(super) names: BTreeMap<String, u64>,
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) inode_next: u64,
    pub(super) change_next: u64,
    pub(super) names_in_doubt: Vec<NameChange>,
    pub(super) crash_at: Option<u64>,
    pub(super) counts: Counts,
    pub(super) faults: Faults,
}

#[derive(Clone, Default)]
pub(super) struct Inode {
    /// What survives for certain.
    pub(super) safe: Vec<u8>,
    /// What a reader sees.
    pub(super) seen: Vec<u8>,
    /// Changes not yet safe, oldest first.
    pub(super) in_doubt: Vec<Change>,
}

#[derive(Clone)]
pub(super) struct Change {
    pub(super) number: u64,
    pub(super) completed: bool,
    pub(super) what: What,
}

#[derive(Clone)]
pub(super) enum What {
    Write { position: usize, bytes: Vec<u8> },
    Length(usize),
    AtLeast(usize),
}

#[derive(Clone)]
pub(super) enum NameChange {
    Create { path: String, inode: u64 },
    Rename { from: String, to: String },
    Remove { path: String },
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed, 2),
            names: BTreeMap::new(),
            inodes: BTreeMap::new(),
            inode_next: 1,
            change_next: 1,
            names_in_doubt: Vec::new(),
            crash_at: None,
            counts: Counts::default(),
            faults: Faults::default(),
        }
    }

    pub(super) fn new_inode(&mut self) -> u64 {
        let number = self.inode_next;
        self.inode_next += 1;
        number
    }

    pub(super) fn begin_change(&mut self, inode: u64, what: What) -> u64 {
        let number = self.change_next;
        self.change_next += 1;
        if let Some(inode) = self.inodes.get_mut(&inode) {
            inode.in_doubt.push(Change {
                number,
                completed: false,
                what,
            });
        }
        number
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.inodes
            .values()
            .map(|inode| inode.seen.len() as u64)
            .sum()
    }

    pub(super) fn is_over_capacity(&self, inode: u64, length: usize) -> bool {
        let Some(capacity_bytes) = self.faults.capacity_bytes else {
            return false;
        };
        let now = self.inodes.get(&inode).map_or(0, |inode| inode.seen.len());
        self.used_bytes() + length.saturating_sub(now) as u64 > capacity_bytes
    }
}

impl Inode {
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self {
            safe: bytes.clone(),
            seen: bytes,
            in_doubt: Vec::new(),
        }
    }

    /// The change became visible to readers.
    pub(super) fn complete(&mut self, number: u64) {
        let Some(change) = self
            .in_doubt
            .iter_mut()
            .find(|change| change.number == number)
        else {
            return;
        };
        change.completed = true;
        let what = change.what.clone();
        apply(&mut self.seen, &what);
    }

    /// A durable write completed: it survives, and so do the changes of length before it (a flush
    /// of data carries the metadata needed to read it). An older write that is still in doubt can
    /// no longer win over it where they overlap: the medium has the newer bytes.
    pub(super) fn complete_durably(&mut self, number: u64) {
        self.complete(number);
        let written = self.in_doubt.iter().find(|change| change.number == number);
        let range = match written.map(|change| &change.what) {
            Some(What::Write { position, bytes }) => *position..position + bytes.len(),
            _ => return,
        };
        self.make_safe(|change| {
            let is_length = !matches!(change.what, What::Write { .. });
            change.number < number && change.completed && is_length
        });
        let older = std::mem::take(&mut self.in_doubt).into_iter();
        self.in_doubt = older
            .flat_map(|change| {
                let is_older = change.number < number && change.completed;
                if is_older {
                    without(&change, &range)
                } else {
                    vec![change]
                }
            })
            .collect();
        self.make_safe(|change| change.number == number);
    }

    /// All changes that `is_safe` accepts survive from now on.
    pub(super) fn make_safe(&mut self, is_safe: impl Fn(&Change) -> bool) {
        let (safe, in_doubt) = std::mem::take(&mut self.in_doubt)
            .into_iter()
            .partition(is_safe);
        self.in_doubt = in_doubt;
        let safe: Vec<Change> = safe;
        for change in safe {
            apply(&mut self.safe, &change.what);
        }
    }
}

/// What is left of a write outside `range`, in up to two pieces.
fn without(change: &Change, range: &Range<usize>) -> Vec<Change> {
    let What::Write { position, bytes } = &change.what else {
        return vec![change.clone()];
    };
    let end = position + bytes.len();
    let pieces = [
        (*position, end.min(range.start)),
        (range.end.max(*position), end),
    ];
    let piece = |(from, to): (usize, usize)| {
        let part = bytes.get(from.checked_sub(*position)?..to.checked_sub(*position)?)?;
        (!part.is_empty()).then(|| Change {
            what: What::Write {
                position: from,
                bytes: part.to_vec(),
            },
            ..change.clone()
        })
    };
    pieces.into_iter().filter_map(piece).collect()
}

pub(super) fn apply(bytes: &mut Vec<u8>, what: &What) {
    match what {
        What::Length(length) => bytes.resize(*length, 0),
        What::AtLeast(length) => bytes.resize(bytes.len().max(*length), 0),
        What::Write {
            position,
            bytes: written,
        } => {
            let end = position + written.len();
            bytes.resize(bytes.len().max(end), 0);
            if let Some(target) = bytes.get_mut(*position..end) {
                target.copy_from_slice(written);
            }
        }
    }
}

/// The bytes of a file after the crash.
pub(super) fn settle(inode: &Inode, loss: Loss, random: &mut Random) -> Vec<u8> {
    let mut bytes = inode.safe.clone();
    let prefix = random.below(inode.in_doubt.len() + 1);
    for (place, change) in inode.in_doubt.iter().enumerate() {
        let happened = match loss {
            Loss::DropAll => false,
            Loss::Prefix => place < prefix,
            Loss::RandomSubset | Loss::Torn => random.happens(60),
        };
        if !happened {
            continue;
        }
        match (&change.what, loss) {
            (
                What::Write {
                    position,
                    bytes: written,
                },
                Loss::Torn,
            ) => {
                let (from, to) = torn_range(written.len(), random);
                let part = written.get(from..to).unwrap_or_default().to_vec();
                apply(
                    &mut bytes,
                    &What::Write {
                        position: position + from,
                        bytes: part,
                    },
                );
            }
            (what, _) => apply(&mut bytes, what),
        }
    }
    bytes
}

/// The part of a write that reached the medium: bounds at 512 bytes, one time in four at any byte.
pub(super) fn torn_range(length: usize, random: &mut Random) -> (usize, usize) {
    let unit = if random.happens(25) { 1 } else { 512 };
    let units = length.div_ceil(unit);
    let from = if random.happens(50) {
        0
    } else {
        random.below(units + 1)
    };
    let to = if random.happens(30) {
        units
    } else {
        from + random.below(units - from + 1)
    };
    ((from * unit).min(length), (to * unit).min(length))
}

pub(super) fn settle_names(world: &mut World, loss: Loss, random: &mut Random) {
    for change in std::mem::take(&mut world.names_in_doubt) {
        if loss == Loss::DropAll || random.happens(50) {
            continue;
        }
        change_name(&mut world.names, &change);
    }
}

pub(super) fn change_name(names: &mut BTreeMap<String, u64>, change: &NameChange) {
    match change {
        NameChange::Create { path, inode } => {
            names.entry(path.clone()).or_insert(*inode);
        }
        NameChange::Remove { path } => {
            names.remove(path);
        }
        NameChange::Rename { from, to } => {
            let moved: Vec<String> = names
                .keys()
                .filter(|name| *name == from || name.starts_with(&format!("{from}/")))
                .cloned()
                .collect();
            for name in moved {
                if let Some(inode) = names.remove(&name) {
                    let rest = name.strip_prefix(from.as_str()).unwrap_or_default();
                    names.insert(format!("{to}{rest}"), inode);
                }
            }
        }
    }
}
