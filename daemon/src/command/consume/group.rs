//! Consuming as a member of a group.
//!
//! What it is        join, read what is ours, commit what was printed, join again when the group
//!                   changes, leave.
//! Invariants        1. an offset is committed only after the records before it were written to
//!                      standard output.

use std::collections::BTreeMap;
use std::thread;

use super::{ConsumeArguments, Printer};
use crate::client::committed::committed_offsets;
use crate::client::fetch::{Fetcher, Verdict};
use crate::client::limits::FETCH_WAIT;
use crate::client::member::{Member, Standing};
use crate::client::offsets::TopicPartition;
use crate::client::{ClientError, Cluster};
use crate::command::client::CommandError;
use crate::command::interrupt::Interrupt;

/// One member, reading.
pub(super) struct GroupReader<'a> {
    group: &'a str,
    arguments: &'a ConsumeArguments,
    interrupt: &'a Interrupt,
    member: Member,
    /// Printed and not committed yet.
    printed: BTreeMap<TopicPartition, i64>,
}

impl<'a> GroupReader<'a> {
    pub(super) fn new(
        group: &'a str,
        arguments: &'a ConsumeArguments,
        interrupt: &'a Interrupt,
    ) -> Self {
        Self {
            group,
            arguments,
            interrupt,
            member: Member::new(group, &arguments.topics),
            printed: BTreeMap::new(),
        }
    }

    /// Reads until the end, then leaves the group, whatever the end was.
    pub(super) fn run(
        &mut self,
        cluster: &mut Cluster,
        fetcher: &mut Fetcher,
        printer: &mut Printer<'_>,
    ) -> Result<(), CommandError> {
        let done = self.read(cluster, fetcher, printer);
        let committed = match done {
            Ok(()) => self.member.commit(cluster, &self.printed).map(drop),
            Err(_) => Ok(()),
        };
        let left = self.member.leave(cluster);
        done?;
        committed?;
        Ok(left?)
    }

    fn read(
        &mut self,
        cluster: &mut Cluster,
        fetcher: &mut Fetcher,
        printer: &mut Printer<'_>,
    ) -> Result<(), CommandError> {
        while !self.interrupt.is_raised() {
            let partitions = self.member.join(cluster)?;
            self.assign(cluster, fetcher, &partitions)?;
            if !self.read_generation(cluster, fetcher, printer, partitions.is_empty())? {
                break;
            }
        }
        Ok(())
    }

    /// Reads until the group changes (true) or there is nothing more to read (false).
    fn read_generation(
        &mut self,
        cluster: &mut Cluster,
        fetcher: &mut Fetcher,
        printer: &mut Printer<'_>,
        is_idle: bool,
    ) -> Result<bool, CommandError> {
        while !self.interrupt.is_raised() {
            if is_idle && !self.arguments.exit {
                thread::sleep(FETCH_WAIT);
            } else if fetcher.is_done() {
                return Ok(false);
            } else {
                let verdict = printer.print(fetcher, cluster)?;
                self.printed.extend(fetcher.take_consumed());
                if verdict == Verdict::Enough {
                    return Ok(false);
                }
            }
            match self.report(cluster)? {
                Standing::Member => {}
                Standing::Rebalancing => {
                    // The group may have gone on without us; the next join tells.
                    self.commit(cluster)?;
                    self.printed.clear();
                    return Ok(true);
                }
                Standing::Lost => {
                    self.printed.clear();
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Heartbeat and commit, when it is time for them.
    fn report(&mut self, cluster: &mut Cluster) -> Result<Standing, ClientError> {
        if !self.member.is_heartbeat_due() {
            return Ok(Standing::Member);
        }
        let standing = later_if_unreachable(self.member.heartbeat(cluster))?;
        if standing == Standing::Member {
            return self.commit(cluster);
        }
        Ok(standing)
    }

    fn commit(&mut self, cluster: &mut Cluster) -> Result<Standing, ClientError> {
        let done = self.member.commit(cluster, &self.printed);
        if done.is_ok() {
            self.printed.clear();
        }
        later_if_unreachable(done)
    }

    /// Positions of our partitions: what the group committed, else where the arguments say.
    fn assign(
        &self,
        cluster: &mut Cluster,
        fetcher: &mut Fetcher,
        partitions: &[TopicPartition],
    ) -> Result<(), ClientError> {
        let mut positions = self.arguments.offset.positions(cluster, partitions)?;
        let committed = committed_offsets(cluster, self.group)?;
        for (one, position) in &mut positions {
            if let Some(offset) = committed.get(one) {
                position.next = *offset;
                position.first_wanted = *offset;
            }
        }
        fetcher.assign(positions);
        Ok(())
    }
}

/// A broker that is away for a moment is no reason to end: fetching says so when it lasts.
fn later_if_unreachable(standing: Result<Standing, ClientError>) -> Result<Standing, ClientError> {
    match standing {
        Err(error) if error.is_connection() => Ok(Standing::Member),
        standing => standing,
    }
}
