//! The consumer at the centre, in a thread of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kafka_lite::error_code::ErrorCode;

use super::TOPIC;
use super::judge::{Findings, Judge};
use crate::client::fetch::{Fetcher, Position, Verdict};
use crate::client::offsets::TopicPartition;
use crate::client::{Address, ClientError, Cluster};

/// Pause between two looks whether the mirror has made the topic.
const TOPIC_PAUSE: Duration = Duration::from_millis(100);

/// A running consumer; it ends with the process.
#[derive(Debug)]
pub(super) struct Consumer {
    judge: Arc<Mutex<Judge>>,
    thread: Option<JoinHandle<Result<(), ClientError>>>,
}

impl Consumer {
    /// Starts it at the centre itself, on the far side of the link.
    pub(super) fn start(centre: Address) -> std::io::Result<Self> {
        let judge = Arc::new(Mutex::new(Judge::default()));
        let shared = Arc::clone(&judge);
        let thread = thread::Builder::new()
            .name("consumer".to_owned())
            .spawn(move || consume(&centre, &shared))?;
        Ok(Self {
            judge,
            thread: Some(thread),
        })
    }

    /// What it has found so far.
    pub(super) fn findings(&self) -> Findings {
        let judge = self.judge.lock().unwrap_or_else(PoisonError::into_inner);
        judge.findings()
    }

    /// Why it has ended, if it has.
    pub(super) fn failure(&mut self) -> Option<ClientError> {
        let ended = self.thread.take_if(|thread| thread.is_finished())?;
        let died = || ClientError::Other("the consumer at the centre has died".to_owned());
        Some(match ended.join() {
            Ok(Err(error)) => error,
            Ok(Ok(())) | Err(_) => died(),
        })
    }
}

fn consume(centre: &Address, judge: &Mutex<Judge>) -> Result<(), ClientError> {
    // The centre advertises the near end of the link; the consumer does not cross it.
    let mut cluster = Cluster::connect_through(centre)?;
    let names = [TOPIC.to_owned()];
    let topic = loop {
        let found = cluster.topics(Some(&names), false)?.into_iter().next();
        match found {
            Some(topic) if topic.error == ErrorCode::None && !topic.partitions.is_empty() => {
                break cluster.topic(&topic.name, false)?;
            }
            Some(_) | None => thread::sleep(TOPIC_PAUSE),
        }
    };
    let start = Position {
        next: 0,
        first_wanted: 0,
        end: None,
    };
    let partitions = topic.partitions.iter();
    let positions: BTreeMap<_, _> = partitions
        .map(|partition| (TopicPartition::new(TOPIC, partition.id), start))
        .collect();
    let mut fetcher = Fetcher::new(false);
    fetcher.assign(positions);
    loop {
        fetcher.poll::<ClientError>(&mut cluster, &mut |delivery| {
            let mut judge = judge.lock().unwrap_or_else(PoisonError::into_inner);
            judge.take(delivery.record.headers);
            Ok(Verdict::More)
        })?;
    }
}
