//! The control thread: admin HTTP, and questions to the shards.
//!
//! What it is        a tokio runtime of one thread for what is neither hot nor small. It talks to
//!                   shards through the same rings as they do among themselves.
//! Invariants        1. a shard that does not answer within [`SHARD_ANSWER_TIMEOUT`] counts as not
//!                      healthy; nobody waits for it longer.

mod listener;
mod mirrors;
mod mqtt;

use std::future::IntoFuture;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use thiserror::Error;
use tokio::sync::oneshot;
use tracing::{error, warn};

use self::listener::AdminListener;
use crate::health;
use crate::io::disk::FileDriver;
use crate::limits::SHARD_ANSWER_TIMEOUT;
use crate::metrics::{Collector, Family, Kind, Sample, prometheus};
use crate::mqtt_bridge::BridgeTask;
use crate::shard::mail::{MailSender, TooManySenders};
use crate::shard::{Message, Process, Shard, ShardId, run};

/// Pause before a message that did not fit a shard's ring is tried again.
const FULL_RING_PAUSE: Duration = Duration::from_millis(1);

/// The control thread's way to all shards.
pub struct Control {
    senders: Vec<Mutex<MailSender<Message>>>,
    driver: FileDriver,
    bridges: Vec<Arc<BridgeTask>>,
}

/// A shard did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("shard {shard} does not answer")]
pub struct NoAnswer {
    /// The shard.
    pub shard: ShardId,
}

impl Control {
    /// Rings to all shards.
    ///
    /// # Errors
    /// [`TooManySenders`].
    pub(crate) fn new(
        process: &Process,
        driver: FileDriver,
        bridges: Vec<Arc<BridgeTask>>,
    ) -> Result<Self, TooManySenders> {
        let senders = process
            .mailboxes
            .iter()
            .map(|mailbox| mailbox.connect(None).map(Mutex::new))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            senders,
            driver,
            bridges,
        })
    }

    /// The bridges to other MQTT brokers.
    pub(crate) fn bridges(&self) -> &[Arc<BridgeTask>] {
        &self.bridges
    }

    /// Numbers of all shards.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        0..ShardId::try_from(self.senders.len()).unwrap_or(ShardId::MAX)
    }

    /// Runs `question` on a shard and returns its result.
    ///
    /// # Errors
    /// [`NoAnswer`] after [`SHARD_ANSWER_TIMEOUT`].
    pub async fn ask<T: Send + 'static>(
        &self,
        shard: ShardId,
        question: impl FnOnce(&Rc<Shard>) -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        self.ask_later(shard, |shard, answer| {
            // The asker may have given up.
            let _gone: Result<(), T> = answer.send(question(shard));
        })
        .await
    }

    /// Like [`Control::ask`], for an answer that comes later.
    ///
    /// # Errors
    /// [`NoAnswer`] after [`SHARD_ANSWER_TIMEOUT`].
    pub async fn ask_later<T: Send + 'static>(
        &self,
        shard: ShardId,
        question: impl FnOnce(&Rc<Shard>, oneshot::Sender<T>) + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let asked = self.call(shard, question);
        match tokio::time::timeout(SHARD_ANSWER_TIMEOUT, asked).await {
            Ok(answered) => answered,
            Err(_elapsed) => Err(NoAnswer { shard }),
        }
    }

    /// Like [`Control::ask_later`], for work that takes as long as it takes.
    ///
    /// # Errors
    /// [`NoAnswer`] when the shard has dropped the question.
    pub async fn call<T: Send + 'static>(
        &self,
        shard: ShardId,
        question: impl FnOnce(&Rc<Shard>, oneshot::Sender<T>) + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let (answer, result) = oneshot::channel();
        self.send(shard, Box::new(move |shard| question(shard, answer)))
            .await;
        result.await.map_err(|_| NoAnswer { shard })
    }

    /// The first trouble of any shard; not to answer is one.
    async fn ask_all(&self, question: fn(&Shard) -> Option<String>) -> Option<String> {
        for shard in self.shards() {
            match self.ask(shard, move |shard| question(shard)).await {
                Ok(None) => {}
                Ok(Some(trouble)) => return Some(trouble),
                Err(no_answer) => return Some(no_answer.to_string()),
            }
        }
        None
    }

    /// Stops all shards, side by side, and returns when the last one is flushed.
    ///
    /// # Errors
    /// The first shard that did not answer.
    pub async fn stop_all(&self) -> Result<(), NoAnswer> {
        let mut stopping = Vec::new();
        for shard in self.shards() {
            let (answer, result) = oneshot::channel();
            let message: Message = Box::new(move |shard: &Rc<Shard>| {
                let shard = Rc::clone(shard);
                monoio::spawn(async move {
                    run::stop(shard).await;
                    let _gone: Result<(), ()> = answer.send(());
                });
            });
            self.send(shard, message).await;
            stopping.push((shard, result));
        }
        for (shard, result) in stopping {
            result.await.map_err(|_| NoAnswer { shard })?;
        }
        Ok(())
    }

    /// The numbers of all shards that answer.
    pub async fn samples(&self) -> Vec<Sample> {
        let mut process = Collector::new(None);
        let mut samples = Vec::new();
        let mut silent = 0;
        for shard in self.shards() {
            match self.ask(shard, |shard| shard.samples()).await {
                Ok(mut of_shard) => samples.append(&mut of_shard),
                Err(no_answer) => {
                    warn!(%no_answer, "no numbers of a shard");
                    silent += 1;
                }
            }
        }
        for bridge in &self.bridges {
            bridge.collect(&mut process);
        }
        process.number(&SILENT, &[], silent);
        process.number(&DRIVER, &[("driver", self.driver.name())], 1);
        if let Some(bytes) = resident_bytes() {
            process.number(&RESIDENT, &[], bytes);
        }
        #[cfg(feature = "count-allocations")]
        add_allocations(&mut process);
        samples.append(&mut process.into_samples());
        samples
    }

    async fn send(&self, shard: ShardId, message: Message) {
        let Some(sender) = self.senders.get(usize::from(shard)) else {
            return;
        };
        let mut message = message;
        loop {
            let sent = sender
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .try_send(message);
            match sent {
                Ok(()) => return,
                Err(returned) => message = returned,
            }
            tokio::time::sleep(FULL_RING_PAUSE).await;
        }
    }
}

/// Serves admin HTTP; called inside the control runtime, and only when all shards are open.
///
/// # Errors
/// What the system says about the listener.
pub fn start(listener: TcpListener, control: Arc<Control>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = AdminListener::new(tokio::net::TcpListener::from_std(listener)?);
    let routes = Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .route("/mqtt", get(mqtt::status))
        .route("/mirrors", get(mirrors::status))
        .route("/mirrors/{name}/pause", post(mirrors::pause))
        .route("/mirrors/{name}/resume", post(mirrors::resume))
        .with_state(control);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).into_future().await {
            error!(%error, "admin HTTP ended");
        }
    });
    Ok(())
}

/// Healthy means that every shard answers.
async fn health(State(control): State<Arc<Control>>) -> Response {
    answer(control.ask_all(|_| None).await)
}

/// Ready means that every shard answers and takes records; HTTP starts after recovery.
async fn readiness(State(control): State<Arc<Control>>) -> Response {
    answer(control.ask_all(health::trouble).await)
}

fn answer(trouble: Option<String>) -> Response {
    match trouble {
        None => "ok\n".into_response(),
        Some(line) => (StatusCode::SERVICE_UNAVAILABLE, line + "\n").into_response(),
    }
}

async fn metrics(State(control): State<Arc<Control>>) -> Response {
    let text = prometheus::render(&control.samples().await);
    ([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], text).into_response()
}

/// Resident memory of this process.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(feature = "count-allocations")]
fn add_allocations(collector: &mut Collector) {
    let (count, bytes) = crate::sys::counting_allocator::counted();
    collector.number(&ALLOCATIONS, &[], count);
    collector.number(&ALLOCATED, &[], bytes);
}

#[cfg(feature = "count-allocations")]
static ALLOCATIONS: Family = Family {
    name: "sluice_allocations_total",
    help: "Allocations of the process (only in a build that counts them).",
    kind: Kind::Counter,
};
#[cfg(feature = "count-allocations")]
static ALLOCATED: Family = Family {
    name: "sluice_allocated_bytes_total",
    help: "Bytes that allocations asked for (only in a build that counts them).",
    kind: Kind::Counter,
};
static SILENT: Family = Family {
    name: "sluice_shards_silent",
    help: "Shards that did not answer when these numbers were collected.",
    kind: Kind::Gauge,
};
static RESIDENT: Family = Family {
    name: "sluice_resident_memory_bytes",
    help: "Resident memory of the process.",
    kind: Kind::Gauge,
};
static DRIVER: Family = Family {
    name: "sluice_io_driver",
    help: "1 for the driver that the shards run on.",
    kind: Kind::Gauge,
};
