//! Who may connect.
//!
//! What it is        the check of user name and password of a CONNECT, before anything else is done
//!                   for it: a client that is not let in takes no session over.
//! Invariants        1. hashing runs on a thread of its own, one for each shard: neither the shard
//!                      nor its disk waits for it. 2. a changed file holds from the next CONNECT
//!                      on; one that cannot be read leaves the earlier entries in force.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use mqtt::packet::Connect;
use mqtt::password::{Passwords, Verifier};
use mqtt::reason::ReasonCode;
use tracing::{info, warn};

use crate::config::Config;
use crate::config::passwords::{self, Stamp};
use crate::io::helper_thread::{Completion, Helper};
use crate::shard::{Message, Shard};

/// The check of one shard.
#[derive(Debug)]
pub(super) struct Login {
    allows_anonymous: bool,
    file: Option<PathBuf>,
    loaded: Arc<Mutex<Loaded>>,
    helper: OnceCell<Helper>,
}

/// What was read of the file last.
#[derive(Debug)]
struct Loaded {
    stamp: Option<Stamp>,
    verifier: Verifier,
}

impl Login {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            allows_anonymous: config.allows_anonymous_mqtt(),
            file: config.mqtt_password_file.clone(),
            loaded: Arc::new(Mutex::new(Loaded {
                stamp: None,
                verifier: Verifier::new(Passwords::default(), random_key()),
            })),
            helper: OnceCell::new(),
        }
    }

    /// Makes the thread's way back to the shard; without a password file there is none.
    pub(super) fn start(&self, shard: &Rc<Shard>) {
        let mailboxes = &shard.process().mailboxes;
        let Some(mailbox) = mailboxes.get(usize::from(shard.id())) else {
            return;
        };
        if self.file.is_none() {
            return;
        }
        let name = format!("shard-{}-login", shard.id());
        let made = Helper::new(name, 1, mailbox, |completion: Completion| {
            let message: Message = Box::new(move |_shard| completion());
            message
        });
        match made {
            Ok(helper) => drop(self.helper.set(helper)),
            Err(error) => warn!(%error, "no MQTT client with a password can be let in"),
        }
    }

    /// Whether a client may connect.
    pub(super) async fn check(&self, connect: &Connect) -> Result<(), ReasonCode> {
        let Some(user) = &connect.user_name else {
            return if self.allows_anonymous {
                Ok(())
            } else {
                Err(ReasonCode::NotAuthorized)
            };
        };
        let Some(file) = self.file.clone() else {
            // Without a password file nobody has a password: all are anonymous.
            return Ok(());
        };
        let Some(helper) = self.helper.get() else {
            return Err(ReasonCode::ServerUnavailable);
        };
        let (loaded, user) = (Arc::clone(&self.loaded), Arc::clone(user));
        let password = connect.password.clone().unwrap_or_default();
        let verified = helper.run(move || {
            let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
            loaded.refresh(&file);
            loaded.verifier.verify(&user, &password)
        });
        if verified.await {
            Ok(())
        } else {
            Err(ReasonCode::BadUserNameOrPassword)
        }
    }
}

impl Loaded {
    fn refresh(&mut self, file: &Path) {
        let now = passwords::stamp(file);
        if now == self.stamp {
            return;
        }
        match passwords::read(file) {
            Ok((entries, stamp)) => {
                if self.stamp.is_some() {
                    info!(users = entries.count(), "the MQTT passwords have changed");
                }
                self.stamp = Some(stamp);
                self.verifier = Verifier::new(entries, random_key());
            }
            Err(reason) => {
                // Told once for each state of the file.
                self.stamp = now;
                warn!(reason, "the earlier MQTT passwords stay in force");
            }
        }
    }
}

fn random_key() -> [u8; 32] {
    let mut key = [0; 32];
    let (first, second) = key.split_at_mut(16);
    first.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    second.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    key
}
