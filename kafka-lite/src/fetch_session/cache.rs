//! The fetch sessions of one shard.
//!
//! What it is        decides per request: no session, a new one, or the next step of one.
//! What it is not    bound to connections: a client may go on with its session on another one.
//! Invariants        1. at most `sessions_max` sessions with `partitions_max` partitions together.
//!                   2. `partitions` is the sum over all sessions.
//!                   3. a session id is not 0 and not used twice at a time.
//! Source            Kafka 4.3 `FetchSessionCache.tryEvict`, `FetchManager.newContext`.

use std::collections::BTreeMap;

use super::context::{
    ContextKind, FetchContext, FetchPartition, FetchSessionFault, PartitionAnswer, SessionRequest,
    SessionResponse,
};
use super::session::Session;
use crate::limits;

/// Bounds of a [`FetchSessions`] and where its ids start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchSessionOptions {
    /// First session id; at random, so that a session of before a restart is not taken for a new
    /// one.
    pub first_id: i32,
    /// Step between ids: the number of shards, when each starts at its own remainder. At least 1.
    pub id_step: i32,
    /// Sessions kept; 0 turns sessions off.
    pub sessions_max: usize,
    /// Partitions in all sessions together.
    pub partitions_max: usize,
}

impl Default for FetchSessionOptions {
    fn default() -> Self {
        Self {
            first_id: 1,
            id_step: 1,
            sessions_max: limits::FETCH_SESSIONS_MAX,
            partitions_max: limits::FETCH_SESSION_PARTITIONS_MAX,
        }
    }
}

/// The sessions of one shard.
#[derive(Clone, Debug)]
pub struct FetchSessions {
    options: FetchSessionOptions,
    sessions: BTreeMap<i32, Session>,
    partitions: usize,
    next_id: i32,
}

impl FetchSessions {
    /// Starts without sessions.
    #[must_use]
    pub fn new(options: FetchSessionOptions) -> Self {
        let next_id = options.first_id.max(1);
        Self {
            options,
            sessions: BTreeMap::new(),
            partitions: 0,
            next_id,
        }
    }

    /// Decides what a Fetch reads.
    ///
    /// # Errors
    /// [`FetchSessionFault`]: answer its code with session id 0 and no partitions.
    pub fn handle_request(
        &mut self,
        now_ms: i64,
        request: SessionRequest,
    ) -> Result<FetchContext, FetchSessionFault> {
        let is_full = request.session_epoch == SessionRequest::INITIAL_EPOCH;
        if is_full || request.session_epoch == SessionRequest::FINAL_EPOCH {
            self.remove(request.session_id);
            let uses_topic_ids = request.uses_topic_ids;
            let kind = if is_full {
                ContextKind::Full { uses_topic_ids }
            } else {
                ContextKind::Sessionless
            };
            return Ok(FetchContext {
                partitions: request.partitions,
                kind,
            });
        }
        self.continue_session(now_ms, request)
    }

    /// Chooses the response to a context that `handle_request` made; `answers` in its order.
    ///
    /// An incremental response must carry a partition with an error, records, a changed high
    /// watermark, last stable offset or log start offset, or a redirection. Others are left out.
    ///
    /// # Errors
    /// [`FetchSessionFault`] when the session was closed or went on while the fetch waited.
    pub fn handle_response(
        &mut self,
        now_ms: i64,
        context: &FetchContext,
        answers: &[PartitionAnswer],
    ) -> Result<SessionResponse, FetchSessionFault> {
        let all = || vec![true; context.partitions.len()];
        match context.kind {
            ContextKind::Sessionless => Ok(SessionResponse {
                session_id: 0,
                is_included: all(),
            }),
            ContextKind::Full { uses_topic_ids } => {
                let session_id = self.create(now_ms, uses_topic_ids, &context.partitions, answers);
                Ok(SessionResponse {
                    session_id,
                    is_included: all(),
                })
            }
            ContextKind::Incremental { session_id, epoch } => {
                let session = self
                    .sessions
                    .get_mut(&session_id)
                    .ok_or(FetchSessionFault::SessionIdNotFound { session_id })?;
                if session.epoch != epoch {
                    let expected = session.epoch;
                    return Err(FetchSessionFault::InvalidSessionEpoch {
                        session_id,
                        expected,
                        got: epoch,
                    });
                }
                session.last_used_ms = now_ms;
                let pairs = context.partitions.iter().zip(answers);
                let is_included = pairs
                    .map(|(partition, answer)| session.answer(partition, answer))
                    .collect();
                Ok(SessionResponse {
                    session_id,
                    is_included,
                })
            }
        }
    }

    /// Returns how many sessions are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Returns whether no session is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Returns how many partitions all sessions hold together.
    #[must_use]
    pub fn partitions_count(&self) -> usize {
        self.partitions
    }

    fn continue_session(
        &mut self,
        now_ms: i64,
        request: SessionRequest,
    ) -> Result<FetchContext, FetchSessionFault> {
        let session_id = request.session_id;
        let not_found = FetchSessionFault::SessionIdNotFound { session_id };
        let session = self.sessions.get_mut(&session_id).ok_or(not_found)?;
        if session.epoch != request.session_epoch {
            let (expected, got) = (session.epoch, request.session_epoch);
            return Err(FetchSessionFault::InvalidSessionEpoch {
                session_id,
                expected,
                got,
            });
        }
        if session.uses_topic_ids != request.uses_topic_ids {
            return Err(FetchSessionFault::TopicIdError { session_id });
        }
        let before = session.len();
        session.update(request.partitions, &request.forgotten);
        let after = session.len();
        session.bump_epoch();
        session.last_used_ms = now_ms;
        let epoch = session.epoch;
        let partitions: Vec<FetchPartition> = session.partitions().cloned().collect();
        self.partitions = self.partitions + after - before;
        if after == 0 {
            self.remove(session_id);
            return Ok(FetchContext {
                partitions,
                kind: ContextKind::Sessionless,
            });
        }
        if self.partitions > self.options.partitions_max {
            self.remove(session_id);
            return Err(not_found);
        }
        self.check_invariants();
        Ok(FetchContext {
            partitions,
            kind: ContextKind::Incremental { session_id, epoch },
        })
    }

    /// Starts a session if there is room; returns its id, or 0.
    fn create(
        &mut self,
        now_ms: i64,
        uses_topic_ids: bool,
        partitions: &[FetchPartition],
        answers: &[PartitionAnswer],
    ) -> i32 {
        if partitions.is_empty() || !self.make_room(now_ms, partitions.len()) {
            return 0;
        }
        let mut session = Session::new(now_ms, uses_topic_ids);
        session.update(partitions.to_vec(), &[]);
        for (partition, answer) in partitions.iter().zip(answers) {
            session.answer(partition, answer);
        }
        let session_id = self.take_id();
        self.partitions += session.len();
        self.sessions.insert(session_id, session);
        self.check_invariants();
        session_id
    }

    /// Evicts until a session of this many partitions fits; false when nothing may go.
    fn make_room(&mut self, now_ms: i64, partitions: usize) -> bool {
        if self.options.sessions_max == 0 || partitions > self.options.partitions_max {
            return false;
        }
        while self.sessions.len() >= self.options.sessions_max
            || self.partitions + partitions > self.options.partitions_max
        {
            let Some(session_id) = self.evictable(now_ms, partitions) else {
                return false;
            };
            self.remove(session_id);
        }
        true
    }

    /// The least recently used session if it is idle, else the smallest old one below the new one's
    /// size.
    fn evictable(&self, now_ms: i64, partitions: usize) -> Option<i32> {
        let is_past =
            |time_ms: i64| now_ms.saturating_sub(time_ms) > limits::FETCH_SESSION_EVICTION_MS;
        let idle = self
            .sessions
            .iter()
            .min_by_key(|(_, session)| session.last_used_ms);
        if let Some((id, _)) = idle.filter(|(_, session)| is_past(session.last_used_ms)) {
            return Some(*id);
        }
        let old = self
            .sessions
            .iter()
            .filter(|(_, session)| is_past(session.created_ms));
        let smallest = old.min_by_key(|(_, session)| session.len());
        smallest
            .filter(|(_, session)| session.len() < partitions)
            .map(|(id, _)| *id)
    }

    fn remove(&mut self, session_id: i32) {
        if let Some(session) = self.sessions.remove(&session_id) {
            self.partitions -= session.len();
        }
    }

    fn take_id(&mut self) -> i32 {
        loop {
            let id = self.next_id;
            let step = self.options.id_step.max(1);
            self.next_id = id.checked_add(step).unwrap_or_else(|| {
                let remainder = self.options.first_id.max(1) % step;
                if remainder == 0 { step } else { remainder }
            });
            if !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    fn check_invariants(&self) {
        debug_assert!(
            self.sessions.len() <= self.options.sessions_max,
            "invariant 1"
        );
        debug_assert!(
            self.partitions <= self.options.partitions_max,
            "invariant 1"
        );
        debug_assert_eq!(
            self.partitions,
            self.sessions.values().map(Session::len).sum::<usize>(),
            "invariant 2"
        );
        debug_assert!(!self.sessions.contains_key(&0), "invariant 3");
    }
}
