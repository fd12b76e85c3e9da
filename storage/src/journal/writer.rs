//! Writing commits: the next one gets its place in the ring and one durable write.
//!
//! What it is        [`Journal::run_writer`], as many of these futures as commits in flight.
//! What it is not    it tells nobody that a commit is finished (`release.rs`), nor does it make
//!                   room in the ring (`ring_keeper.rs`).
//! Invariants        commits are numbered without gaps in the order in which they take their place.

use std::time::Duration;

use super::format::{COMMIT_HEADER_BYTES, CommitHeader, seal_commit};
use super::release::{CommitSink, InFlight};
use super::{Journal, State, commit_capacity};
use crate::aligned_buffer::AlignedBuffer;
use crate::disk::{Clock, Disk};

enum Step<F> {
    Idle,
    Pause(Duration),
    RingFull,
    Stop,
    Write {
        file: F,
        position: u64,
        buffer: AlignedBuffer,
        number: u64,
    },
    Nothing {
        number: u64,
        buffer: AlignedBuffer,
    },
}

impl<D: Disk, C: Clock> Journal<D, C> {
    /// Writes commits until the journal stops or fails; as many of these futures as commits in
    /// flight.
    pub(crate) async fn run_writer(&self, sink: &impl CommitSink) {
        loop {
            let (work_seen, ring_seen) = (self.work.seen(), self.ring_changed.seen());
            match self.next_step() {
                Step::Idle => self.work.after(work_seen).await,
                Step::Pause(pause) => self.clock.sleep(pause).await,
                Step::RingFull => self.ring_changed.after(ring_seen).await,
                Step::Stop => return,
                Step::Nothing { number, buffer } => {
                    self.finish(number, buffer, Ok(()), Duration::ZERO, sink);
                }
                Step::Write {
                    file,
                    position,
                    buffer,
                    number,
                } => {
                    let started = self.clock.now();
                    let (result, buffer) = self.disk.write(&file, position, buffer).await;
                    let took = self.clock.now().saturating_sub(started);
                    self.finish(number, buffer, result, took, sink);
                }
            }
        }
    }

    fn next_step(&self) -> Step<D::File> {
        let mut state = self.state.borrow_mut();
        if state.poisoned.is_some() {
            return Step::Stop;
        }
        if state.sealed.is_empty() {
            if state.open.entries == 0 {
                return if state.stopping {
                    Step::Stop
                } else {
                    Step::Idle
                };
            }
            let is_due = state.open.is_urgent || state.stopping || self.shape.store_nothing;
            if !is_due {
                return Step::Idle;
            }
            if let Some(pause) = self.pause_before_commit(&state) {
                return Step::Pause(pause);
            }
        }
        if self.shape.store_nothing {
            return state.take_nothing();
        }
        self.take_commit(&mut state)
    }

    fn pause_before_commit(&self, state: &State<D::File>) -> Option<Duration> {
        let interval = self.shape.commit_interval;
        if interval.is_zero() || state.stopping {
            return None;
        }
        let due = state.last_start? + interval;
        let pause = due.saturating_sub(self.clock.now());
        (!pause.is_zero()).then_some(pause)
    }

    fn take_commit(&self, state: &mut State<D::File>) -> Step<D::File> {
        let number = state.next_number;
        let length = state
            .sealed
            .front()
            .map_or(state.open.buffer.len(), |commit| commit.buffer.len());
        let padded = length.next_multiple_of(self.shape.block_bytes as usize);
        let chain = (number, state.previous_crc);
        let Some(place) = state.ring.place(chain, padded as u64) else {
            return Step::RingFull;
        };
        if state.sealed.is_empty() {
            state.seal_open(commit_capacity(&self.shape));
        }
        let Some(mut commit) = state.sealed.pop_front() else {
            return Step::Idle;
        };
        let entry_bytes = commit.buffer.len() - COMMIT_HEADER_BYTES;
        let header = CommitHeader {
            number,
            acknowledged: state.acknowledged,
            incarnation: self.incarnation,
            previous_crc: state.previous_crc,
            shard: self.shape.shard,
            entry_count: commit.entries,
            block_bytes: self.shape.block_bytes,
        };
        state.previous_crc = seal_commit(&mut commit.buffer, &header);
        state.next_number += 1;
        state.stats.entry_bytes += entry_bytes as u64;
        state.last_start = Some(self.clock.now());
        state.in_flight.push_back(InFlight {
            number,
            done: false,
            releases: commit.releases,
        });
        Step::Write {
            file: place.file,
            position: place.position,
            buffer: commit.buffer,
            number,
        }
    }
}

impl<F> State<F> {
    /// The open commit is finished at once: nothing is stored.
    fn take_nothing(&mut self) -> Step<F> {
        let number = self.next_number;
        self.next_number += 1;
        self.open.entries = 0;
        self.open.is_urgent = false;
        let releases = std::mem::replace(
            &mut self.open.releases,
            self.spare_releases.pop().unwrap_or_default(),
        );
        self.in_flight.push_back(InFlight {
            number,
            done: false,
            releases,
        });
        Step::Nothing {
            number,
            buffer: AlignedBuffer::with_capacity(0),
        }
    }
}
