//! Producer ids, unique for ever: handed out of blocks that the controller has made durable.
//!
//! What it is        the part of a shard: uses up one block while the next is asked for.
//! What it is not    the allocation of blocks: that is a catalog command.
//! Invariants        1. an id is handed out at most once; what is left of a block at a stop is
//!                      lost.
//! Source            KIP-730; Kafka 4.3 `RPCProducerIdManager`.

use std::collections::VecDeque;
use std::ops::Range;

use thiserror::Error;

use crate::error_code::ErrorCode;
use crate::limits;

/// No id is at hand: ask for a block and answer COORDINATOR_LOAD_IN_PROGRESS or wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no producer id is at hand, the next block is on its way")]
pub struct ProducerIdsExhausted;

impl ProducerIdsExhausted {
    /// Returns the Kafka error code of the answer, which clients retry.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        ErrorCode::CoordinatorLoadInProgress
    }
}

/// The ids that a shard may hand out.
#[derive(Clone, Debug, Default)]
pub struct ProducerIds {
    blocks: VecDeque<Range<i64>>,
    is_block_requested: bool,
}

impl ProducerIds {
    /// Starts without a block.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Hands out an id that was never handed out before.
    ///
    /// # Errors
    /// [`ProducerIdsExhausted`] until [`ProducerIds::handle_block`].
    pub fn allocate(&mut self) -> Result<i64, ProducerIdsExhausted> {
        while let Some(block) = self.blocks.front_mut() {
            if let Some(id) = block.next() {
                return Ok(id);
            }
            self.blocks.pop_front();
        }
        Err(ProducerIdsExhausted)
    }

    /// Takes a block that is durable in the catalog.
    pub fn handle_block(&mut self, block: Range<i64>) {
        self.is_block_requested = false;
        self.blocks.push_back(block);
    }

    /// Notes that asking for a block failed; [`ProducerIds::poll_block_request`] asks again.
    pub fn handle_block_failed(&mut self) {
        self.is_block_requested = false;
    }

    /// Returns whether to ask the controller for a block now; then not again until it is answered.
    pub fn poll_block_request(&mut self) -> bool {
        let is_wanted = !self.is_block_requested && self.left() < limits::PRODUCER_IDS_LOW_COUNT;
        self.is_block_requested |= is_wanted;
        is_wanted
    }

    /// Returns how many ids are at hand.
    #[must_use]
    pub fn left(&self) -> i64 {
        self.blocks
            .iter()
            .map(|block| (block.end - block.start).max(0))
            .sum()
    }
}
