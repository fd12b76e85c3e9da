//! The commands of the interaction scripts, and how outputs look as text.
//!
//! | command | does |
//! |---|---|
//! | `new VOTERS [learners=L] [spare=S] [in_flight=N] [entries=N]` | starts the nodes |
//! | `campaign N`, `fire N` | moves time to the node's deadline and fires it |
//! | `propose N COUNT` | proposes one batch of COUNT records |
//! | `deliver A B [COUNT]`, `drop A B` | delivers, loses what waits from A to B |
//! | `again A B` | delivers the oldest packet from A to B and keeps it |
//! | `complete N [COUNT]`, `acknowledge N [COUNT]` | the disk completes; the core is told |
//! | `persist N` | both, for everything |
//! | `stabilize`, `run MS` | everything that needs no time; MS of it |
//! | `isolate N`, `cut A B`, `heal` | loses all from and to N, all from A to B, nothing |
//! | `crash N`, `restart N` | loses what is not complete; starts from the disk |
//! | `transfer A B`, `unreachable A B`, `compact N INDEX` | as the inputs of the core |
//! | `voters N VOTERS [learners=L]` | proposes a voter set |
//! | `show`, `network` | prints the nodes; prints what waits |
//!
//! `quiet` before a command prints nothing.

use replication::{
    AppendResult, EntryRuns, Envelope, Message, NodeId, Output, Role, SideEntry, SideEntryKind,
    VoterSet,
};

use crate::network::{Cluster, set_of};

/// One running script.
pub(crate) struct Script {
    cluster: Cluster,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self {
            cluster: Cluster::new(1),
        }
    }

    /// Runs one line and returns what it prints.
    pub(crate) fn run(&mut self, line: &str) -> Vec<String> {
        let (quiet, line) = match line.strip_prefix("quiet ") {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut answers = self.execute(&words);
        let mut trace = std::mem::take(&mut self.cluster.trace);
        trace.append(&mut answers);
        let answers = trace;
        if quiet { vec![] } else { answers }
    }

    fn execute(&mut self, words: &[&str]) -> Vec<String> {
        let number = |place: usize| -> u64 {
            words
                .get(place)
                .map_or(u64::MAX, |word| word.parse().expect("a number"))
        };
        let node = |place: usize| NodeId(u32::try_from(number(place)).expect("a node"));
        let now = self.cluster.now;
        match words[0] {
            "new" => self.start(words),
            "campaign" | "fire" => self.cluster.fire(node(1)),
            "propose" => {
                let count = u32::try_from(number(2)).expect("a count");
                if self.cluster.propose(node(1), count).is_none() {
                    return vec![format!("{}: refused", words[1])];
                }
            }
            "deliver" => self.deliver(node(1), node(2), number(3)),
            "again" => {
                let packet = self
                    .cluster
                    .sent
                    .iter()
                    .find(|p| (p.from, p.to) == (node(1), node(2)));
                let packet = packet.expect("a packet").clone();
                self.cluster.deliver(&packet);
            }
            "drop" => self
                .cluster
                .sent
                .retain(|p| (p.from, p.to) != (node(1), node(2))),
            "complete" => {
                let disk = &mut self.cluster.nodes.get_mut(&node(1)).expect("a node").disk;
                (0..number(2)).take_while(|_| disk.complete_one()).count();
            }
            "acknowledge" => self.acknowledge(node(1), number(2)),
            "persist" => self.cluster.persist_all(node(1)),
            "stabilize" => self.cluster.stabilize(),
            "run" => self.cluster.run_for(number(1)),
            "isolate" => self.cluster.isolate(node(1)),
            "cut" => {
                self.cluster.cut.insert((node(1), node(2)));
            }
            "heal" => self.cluster.cut.clear(),
            "crash" => self.cluster.crash(node(1), false),
            "restart" => self.cluster.restart(node(1)),
            "transfer" => {
                let to = node(2);
                let result = self
                    .cluster
                    .with(node(1), |r| r.handle_transfer_leadership(now, to));
                return refusal(words[1], result);
            }
            "unreachable" => {
                let to = node(2);
                self.cluster
                    .with(node(1), |raft| raft.handle_unreachable(to));
            }
            "compact" => self.cluster.compact(node(1), number(2)),
            "voters" => {
                let set = set_of(&ids(words[2]), &option(words, "learners"));
                let result = self
                    .cluster
                    .with(node(1), |r| r.handle_propose_voters(now, &set));
                return refusal(words[1], result);
            }
            "show" => return self.show(),
            "network" => return self.network(),
            other => panic!("unknown command {other}"),
        }
        vec![]
    }

    fn start(&mut self, words: &[&str]) {
        let voters = ids(words[1]);
        let learners = option(words, "learners");
        if let Some(bound) = option(words, "in_flight").first() {
            self.cluster.options.in_flight_max = u16::try_from(*bound).expect("a bound");
        }
        let all = voters
            .iter()
            .chain(&learners)
            .copied()
            .chain(option(words, "spare"));
        for id in all.collect::<Vec<_>>() {
            self.cluster.add(id, set_of(&voters, &learners));
        }
        for node in self.cluster.nodes.values_mut() {
            node.traces = true;
            if let Some(bound) = option(words, "entries").first() {
                node.entries_per_request = usize::try_from(*bound).expect("a bound");
            }
        }
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, count: u64) {
        let waiting = std::mem::take(&mut self.cluster.sent);
        let (mut matching, rest): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|packet| (packet.from, packet.to) == (from, to));
        let count = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .min(matching.len());
        let later = matching.split_off(count);
        self.cluster.sent = later;
        self.cluster.sent.extend(rest);
        for packet in matching {
            self.cluster.deliver(&packet);
        }
    }

    fn acknowledge(&mut self, id: NodeId, count: u64) {
        let now = self.cluster.now;
        for _ in 0..count {
            let node = self.cluster.nodes.get_mut(&id).expect("a node");
            if !node.acknowledge_one(now) {
                break;
            }
            self.cluster.drain(id);
        }
    }

    fn show(&self) -> Vec<String> {
        let mut lines = vec![];
        for node in self.cluster.nodes.values() {
            let Some(raft) = &node.raft else {
                lines.push(format!("{}: crashed", node.id));
                continue;
            };
            let log = raft.log();
            lines.push(format!(
                "{}: {} term {} log {}..{} persisted {} commit {} voters {}",
                node.id,
                role(raft.role()),
                raft.term(),
                log.first_index(),
                log.last(),
                log.persisted_index(),
                raft.commit_index(),
                voters(&raft.voters().set),
            ));
            for peer in raft.peers() {
                let installing = if peer.installing { " installing" } else { "" };
                lines.push(format!(
                    "   {} match {}{installing}",
                    peer.node, peer.match_index
                ));
            }
        }
        lines
    }

    fn network(&self) -> Vec<String> {
        let packets = self.cluster.sent.iter();
        packets
            .map(|p| format!("{} -> {} {}", p.from, p.to, message(&p.message)))
            .collect()
    }
}

/// Writes what a core asks for as lines of text.
pub(crate) fn describe(id: NodeId, output: &Output, lines: &mut Vec<String>) {
    if let Some(hard_state) = output.hard_state {
        let vote = hard_state
            .vote
            .map_or("nobody".to_owned(), |vote| vote.to_string());
        lines.push(format!(
            "{id}: persist term {} vote {vote}",
            hard_state.term
        ));
    }
    if let Some(order) = &output.install {
        let set = voters(&order.voters.set);
        lines.push(format!(
            "{id}: start anew after {} voters {set}",
            order.before
        ));
    }
    if let Some(first) = output.truncate_from {
        lines.push(format!("{id}: cut from {first}"));
    }
    if let Some(range) = output.append {
        lines.push(format!("{id}: append {}..{}", range.first, range.last));
    }
    for SideEntry { id: entry, kind } in &output.side_entries {
        lines.push(format!("{id}: append {entry} {}", side(kind)));
    }
    for Envelope {
        to,
        message: content,
    } in &output.messages
    {
        lines.push(format!("{id}: -> {to} {}", message(content)));
    }
    if let Some(index) = output.commit_index {
        lines.push(format!("{id}: commit {index}"));
    }
    if let Some(change) = output.role {
        let leader = change
            .leader
            .map_or("nobody".to_owned(), |leader| leader.to_string());
        let role = role(change.role);
        lines.push(format!(
            "{id}: {role} in term {}, leader {leader}",
            change.term
        ));
    }
}

fn message(message: &Message) -> String {
    let yes = |granted: bool| if granted { "yes" } else { "no" };
    let kind = message.kind();
    let term = message.term();
    let rest = match message {
        Message::PreVoteRequest { last, .. } => format!(" last {last}"),
        Message::VoteRequest { last, transfer, .. } => {
            format!(" last {last}{}", if *transfer { " transfer" } else { "" })
        }
        Message::PreVoteResponse { granted, .. } | Message::VoteResponse { granted, .. } => {
            format!(" {}", yes(*granted))
        }
        Message::AppendRequest(append) => {
            let set = append.voters.as_ref();
            let set = set.map_or(String::new(), |one| {
                format!(" voters {} at {}", voters(&one.set), one.index)
            });
            let entries = runs(&append.entries);
            format!(
                " after {} {entries}{set} commit {}",
                append.previous, append.commit_index
            )
        }
        Message::AppendResponse {
            result: AppendResult::Accepted { match_index },
            ..
        } => {
            format!(" match {match_index}")
        }
        Message::AppendResponse { result, .. } => {
            let AppendResult::Rejected {
                previous_index,
                hint,
            } = result
            else {
                unreachable!()
            };
            format!(" no {previous_index}, hint {hint}")
        }
        Message::Heartbeat { commit_index, .. } => format!(" commit {commit_index}"),
        Message::HeartbeatResponse { .. } | Message::TimeoutNow { .. } => String::new(),
        Message::InstallRequest(install) => {
            format!(
                " after {} voters {}",
                install.before,
                voters(&install.voters.set)
            )
        }
    };
    format!("{kind} term {term}{rest}")
}

fn runs(entries: &EntryRuns) -> String {
    let runs = entries
        .iter()
        .map(|(run, last)| format!("{}..{last}/{}", run.first_index, run.term));
    let text = runs.collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        "nothing".to_owned()
    } else {
        text
    }
}

fn side(kind: &SideEntryKind) -> String {
    match kind {
        SideEntryKind::TermStart => "term start".to_owned(),
        SideEntryKind::Voters(set) => format!("voters {}", voters(set)),
    }
}

fn voters(set: &VoterSet) -> String {
    let list = |nodes: &[NodeId]| {
        nodes
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    };
    let mut text = list(set.voters());
    if set.is_joint() {
        text = format!("{text}|{}", list(set.outgoing()));
    }
    if !set.learners().is_empty() {
        text = format!("{text}+{}", list(set.learners()));
    }
    text
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

fn refusal<T, E: ToString>(node: &str, result: Option<Result<T, E>>) -> Vec<String> {
    match result {
        Some(Err(error)) => vec![format!("{node}: refused: {}", error.to_string())],
        Some(Ok(_)) | None => vec![],
    }
}

fn ids(text: &str) -> Vec<u32> {
    text.split(',')
        .map(|word| word.parse().expect("a node"))
        .collect()
}

fn option(words: &[&str], name: &str) -> Vec<u32> {
    let prefix = format!("{name}=");
    let value = words
        .iter()
        .find_map(|word| word.strip_prefix(prefix.as_str()));
    value.map(ids).unwrap_or_default()
}
