//! One replica with its owner: the core, the log with payloads, and a disk that may lose what it
//! has not completed.

use std::collections::VecDeque;
use std::time::Duration;

use replication::{
    AppendRequest, EntryId, Envelope, HardState, InstallOrder, LogIndex, Message, MessageError,
    NodeId, Options, Output, Raft, Recovered, Role, SideEntryKind, Term, TermRun, VoterSet,
    VotersEntry,
};

use crate::oracle::Oracle;

/// An entry with what it carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) term: Term,
    pub(crate) payload: u64,
    pub(crate) side: Option<SideEntryKind>,
}

/// A log: on the disk, or as the owner sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Log {
    pub(crate) before: EntryId,
    pub(crate) base_voters: VotersEntry,
    pub(crate) entries: Vec<Entry>,
}

impl Log {
    pub(crate) fn last_index(&self) -> u64 {
        self.entries
            .last()
            .map_or(self.before.index.0, |entry| entry.last)
    }

    pub(crate) fn entry_at(&self, index: u64) -> Option<&Entry> {
        let place = self.entries.partition_point(|entry| entry.last < index);
        self.entries.get(place).filter(|entry| entry.first <= index)
    }

    pub(crate) fn term_at(&self, index: u64) -> Option<Term> {
        if index == self.before.index.0 {
            return Some(self.before.term);
        }
        self.entry_at(index).map(|entry| entry.term)
    }

    fn append(&mut self, entry: Entry) {
        assert_eq!(
            entry.first,
            self.last_index() + 1,
            "a gap or an overlap in the log"
        );
        self.entries.push(entry);
    }

    fn truncate_from(&mut self, first: u64) {
        assert!(first > self.before.index.0, "cut before the log start");
        self.entries.retain(|entry| entry.first < first);
        assert!(self.last_index() < first, "an entry was cut in two");
    }

    fn trim(&mut self, before: EntryId) {
        let voters = self.voters();
        let in_force = voters
            .into_iter()
            .rev()
            .find(|one| one.index <= before.index);
        self.base_voters = in_force.expect("a log knows its voters");
        self.entries.retain(|entry| entry.last > before.index.0);
        self.before = before;
    }

    fn install(&mut self, order: &InstallOrder) {
        self.before = order.before;
        self.base_voters = order.voters.clone();
        self.entries.clear();
    }

    pub(crate) fn voters(&self) -> Vec<VotersEntry> {
        let mut voters = vec![self.base_voters.clone()];
        for entry in &self.entries {
            if let Some(SideEntryKind::Voters(set)) = &entry.side {
                voters.push(VotersEntry {
                    index: LogIndex(entry.first),
                    set: set.clone(),
                });
            }
        }
        voters
    }

    fn runs(&self) -> Vec<TermRun> {
        let mut runs: Vec<TermRun> = Vec::new();
        for entry in &self.entries {
            if runs.last().is_none_or(|run| run.term < entry.term) {
                runs.push(TermRun {
                    first_index: LogIndex(entry.first),
                    term: entry.term,
                });
            }
        }
        runs
    }
}

/// A write that is queued for the disk.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    HardState(HardState),
    Install(InstallOrder),
    Truncate(u64),
    Trim(EntryId),
    Append(Entry),
}

/// A completion that the core has not been told yet.
#[derive(Clone, Debug)]
enum Completion {
    HardState(HardState),
    Installed(EntryId),
    Persisted(EntryId),
}

/// What the disk holds and what is on the way to it, in order.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) log: Log,
    commit_hint: LogIndex,
    pub(crate) queue: VecDeque<Write>,
    completions: VecDeque<Completion>,
}

impl Disk {
    /// Completes the oldest write.
    pub(crate) fn complete_one(&mut self) -> bool {
        let Some(write) = self.queue.pop_front() else {
            return false;
        };
        match write {
            Write::HardState(hard_state) => {
                self.hard_state = hard_state;
                self.completions
                    .push_back(Completion::HardState(hard_state));
            }
            Write::Install(order) => {
                self.log.install(&order);
                self.completions
                    .push_back(Completion::Installed(order.before));
            }
            Write::Truncate(first) => self.log.truncate_from(first),
            Write::Trim(before) => self.log.trim(before),
            Write::Append(entry) => {
                let id = EntryId {
                    index: LogIndex(entry.last),
                    term: entry.term,
                };
                self.log.append(entry);
                self.completions.push_back(Completion::Persisted(id));
            }
        }
        true
    }

    /// Tells whether the entry is on the disk and nothing queued takes it away.
    pub(crate) fn holds(&self, index: u64, term: Term) -> bool {
        let stays = self.queue.iter().all(|write| match write {
            Write::Truncate(first) => *first > index,
            Write::Install(_) => false,
            Write::HardState(_) | Write::Trim(_) | Write::Append(_) => true,
        });
        stays && (index < self.log.before.index.0 || self.log.term_at(index) == Some(term))
    }
}

/// A message on its way, with the bytes that the owner attached.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: Message,
    pub(crate) entries: Vec<Entry>,
}

/// A replica, running or crashed.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) id: NodeId,
    pub(crate) raft: Option<Raft>,
    pub(crate) disk: Disk,
    /// The log as the owner sees it: what is on the disk and what is queued.
    pub(crate) log: Log,
    /// Entries of one request at most, so that ranges get shortened.
    pub(crate) entries_per_request: usize,
    /// What the core asked for, as text, if `traces`.
    pub(crate) trace: Vec<String>,
    pub(crate) traces: bool,
}

impl Replica {
    pub(crate) fn new(id: NodeId, voters: VoterSet) -> Self {
        let base_voters = VotersEntry {
            index: LogIndex::ZERO,
            set: voters,
        };
        let log = Log {
            before: EntryId::ZERO,
            base_voters,
            entries: vec![],
        };
        Self {
            id,
            raft: None,
            disk: Disk {
                hard_state: HardState::default(),
                log: log.clone(),
                commit_hint: LogIndex::ZERO,
                queue: VecDeque::new(),
                completions: VecDeque::new(),
            },
            log,
            entries_per_request: usize::MAX,
            trace: vec![],
            traces: false,
        }
    }

    pub(crate) fn start(&mut self, now: Duration, options: Options) {
        assert!(self.raft.is_none());
        let log = &self.disk.log;
        let recovered = Recovered {
            hard_state: self.disk.hard_state,
            before: log.before,
            runs: log.runs(),
            last_index: LogIndex(log.last_index()),
            commit_index: self.disk.commit_hint,
            voters: log.voters(),
        };
        self.log = log.clone();
        self.raft = Some(Raft::new(now, options, recovered).expect("what was stored is sound"));
    }

    /// Loses what the disk has not completed. `keep_hint`: the commit index was on the disk.
    pub(crate) fn crash(&mut self, keep_hint: bool) {
        if let Some(raft) = self.raft.take() {
            let known = raft.commit_index().min(raft.log().persisted_index());
            self.disk.commit_hint = if keep_hint { known } else { LogIndex::ZERO };
        }
        self.disk.queue.clear();
        self.disk.completions.clear();
    }

    /// Tells the core of the oldest completion; false if there is none.
    pub(crate) fn acknowledge_one(&mut self, now: Duration) -> bool {
        let Some(raft) = &mut self.raft else {
            return false;
        };
        match self.disk.completions.pop_front() {
            Some(Completion::HardState(hard_state)) => {
                raft.handle_hard_state_persisted(now, hard_state);
            }
            Some(Completion::Installed(before)) => raft.handle_installed(now, before),
            Some(Completion::Persisted(id)) => raft.handle_persisted(now, id.index, id.term),
            None => return false,
        }
        true
    }

    /// Tells the core of the oldest stored term and vote, ahead of entries stored before it.
    pub(crate) fn acknowledge_hard_state(&mut self, now: Duration) {
        let completions = &mut self.disk.completions;
        let place = completions
            .iter()
            .position(|one| matches!(one, Completion::HardState(_)));
        if let (Some(raft), Some(place)) = (&mut self.raft, place)
            && let Some(Completion::HardState(hard_state)) = completions.remove(place)
        {
            raft.handle_hard_state_persisted(now, hard_state);
        }
    }

    pub(crate) fn receive(&mut self, now: Duration, packet: &Packet) -> Result<(), MessageError> {
        let Some(raft) = &mut self.raft else {
            return Ok(());
        };
        raft.handle_message(now, packet.from, packet.message.clone())
    }

    pub(crate) fn propose(&mut self, count: u32, payload: u64) -> Option<EntryId> {
        let raft = self.raft.as_mut()?;
        let proposed = raft.handle_propose(count.try_into().unwrap()).ok()?;
        let first = proposed.first_index.0;
        let last = first + u64::from(count) - 1;
        let entry = Entry {
            first,
            last,
            term: proposed.term,
            payload,
            side: None,
        };
        self.log.append(entry.clone());
        self.disk.queue.push_back(Write::Append(entry));
        Some(EntryId {
            index: LogIndex(last),
            term: proposed.term,
        })
    }

    /// Forgets the log before the entry that holds `index`, or the last committed one before it.
    pub(crate) fn compact(&mut self, index: u64) {
        let Some(raft) = &mut self.raft else { return };
        let commit_index = raft.commit_index().0;
        let Some(entry) = self.log.entry_at(index) else {
            return;
        };
        let first = entry.first;
        if first - 1 > commit_index || first - 1 <= self.log.before.index.0 {
            return;
        }
        let before = EntryId {
            index: LogIndex(first - 1),
            term: self.log.term_at(first - 1).expect("inside the log"),
        };
        raft.handle_compacted(LogIndex(first), before.term);
        self.log.trim(before);
        self.disk.queue.push_back(Write::Trim(before));
    }

    /// Does everything the core asks for; `attached` came with the message just handled.
    pub(crate) fn drain(&mut self, attached: &[Entry], oracle: &mut Oracle) -> Vec<Packet> {
        let mut packets = vec![];
        loop {
            let Some(raft) = &mut self.raft else {
                return packets;
            };
            raft.check_invariants();
            let Some(output) = raft.poll_output() else {
                break;
            };
            if self.traces {
                crate::script::describe(self.id, &output, &mut self.trace);
            }
            self.store(&output, attached);
            self.observe(&output, oracle);
            for envelope in output.messages {
                packets.push(self.attach(envelope, oracle));
            }
        }
        packets
    }

    fn store(&mut self, output: &Output, attached: &[Entry]) {
        let queue = &mut self.disk.queue;
        if let Some(hard_state) = output.hard_state {
            queue.push_back(Write::HardState(hard_state));
        }
        if let Some(order) = &output.install {
            self.log.install(order);
            queue.push_back(Write::Install(order.clone()));
        }
        if let Some(first) = output.truncate_from {
            self.log.truncate_from(first.0);
            queue.push_back(Write::Truncate(first.0));
        }
        if let Some(range) = output.append {
            let wanted = attached.iter().filter(|entry| entry.last >= range.first.0);
            for entry in wanted.filter(|entry| entry.first <= range.last.0) {
                self.log.append(entry.clone());
                queue.push_back(Write::Append(entry.clone()));
            }
            assert_eq!(
                self.log.last_index(),
                range.last.0,
                "the request holds the range"
            );
        }
        for side in &output.side_entries {
            let index = side.id.index.0;
            let entry = Entry {
                first: index,
                last: index,
                term: side.id.term,
                payload: 0,
                side: Some(side.kind.clone()),
            };
            self.log.append(entry.clone());
            queue.push_back(Write::Append(entry));
        }
    }

    fn observe(&self, output: &Output, oracle: &mut Oracle) {
        let raft = self.raft.as_ref().expect("running");
        assert_eq!(
            self.log.last_index(),
            raft.log().last_index().0,
            "core and log agree"
        );
        assert_eq!(
            self.log.voters().last(),
            Some(raft.voters()),
            "core and log agree on voters"
        );
        oracle.observe_log(self);
        if let Some(order) = &output.install {
            oracle.observe_install(self, order);
        }
        if output
            .role
            .is_some_and(|change| change.role == Role::Leader)
        {
            oracle.observe_leader(self);
        }
        if let Some(commit_index) = output.commit_index {
            oracle.observe_commit(self, commit_index.0);
        }
        oracle.observe_term(self.id, raft.term());
    }

    fn attach(&mut self, envelope: Envelope, oracle: &mut Oracle) -> Packet {
        let Envelope { to, mut message } = envelope;
        let mut entries = vec![];
        if let Message::AppendRequest(append) = &mut message {
            entries = self.entries_for(to, append);
        }
        let packet = Packet {
            from: self.id,
            to,
            message,
            entries,
        };
        oracle.observe_message(self, &packet);
        packet
    }

    fn entries_for(&mut self, to: NodeId, append: &mut AppendRequest) -> Vec<Entry> {
        let (first, last) = (
            append.entries.first_index().0,
            append.entries.last_index().0,
        );
        let range = self
            .log
            .entries
            .iter()
            .filter(|one| one.last >= first && one.first <= last);
        let entries: Vec<Entry> = range.take(self.entries_per_request).cloned().collect();
        if let Some(entry) = entries.first() {
            // A probe may start inside an entry; the whole entry is sent then.
            assert!(entry.first <= first, "a range starts in an entry");
        }
        let end = entries.last().map_or(first - 1, |entry| entry.last);
        if end < last {
            append.shorten(LogIndex(end));
            self.raft
                .as_mut()
                .expect("running")
                .handle_append_shortened(to, LogIndex(end));
        }
        assert_eq!(
            append.entries.last_index().0,
            end,
            "a range ends with an entry"
        );
        entries
    }
}
