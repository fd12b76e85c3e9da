//! What clients make of the answers.

use kafka_lite::group::{GroupError, JoinGroupReply, Reply, ReplyToken};

use crate::simulation::{Simulation, group_name};

impl Simulation {
    pub(crate) fn answer(&mut self, token: ReplyToken, reply: Reply) {
        let client = self.open.remove(&token).expect("a token is answered once");
        self.answered += 1;
        if self.dropped.remove(&token) {
            return;
        }
        let Some(index) = client else { return };
        self.clients[index].waits = None;
        match reply {
            Reply::JoinGroup(reply) => self.joined(index, reply),
            Reply::SyncGroup(reply) => self.heed(index, reply.error),
            Reply::Heartbeat(error) => self.heed(index, error),
            Reply::OffsetCommit(reply) => {
                let error = reply.topics[0].1[0].1;
                self.heed(index, error);
            }
            Reply::LeaveGroup(_) | Reply::OffsetDelete(_) | Reply::DeleteGroups(_) => {}
        }
    }

    pub(crate) fn heed(&mut self, index: usize, error: Option<GroupError>) {
        let client = &mut self.clients[index];
        match error {
            Some(GroupError::UnknownMemberId | GroupError::FencedInstanceId) => {
                client.member_id.clear();
                client.joined = false;
            }
            Some(GroupError::IllegalGeneration) => client.joined = false,
            _ => {}
        }
    }

    pub(crate) fn joined(&mut self, index: usize, reply: JoinGroupReply) {
        let client = &mut self.clients[index];
        match reply.error {
            None => {
                let partition = self.coordinator.partition_of(&group_name(client.group));
                let life = self.lives[&partition];
                let removals = self.removals.get(&group_name(client.group)).copied();
                let removals = removals.unwrap_or_default();
                let exact = client.version >= 9 || client.instance_id.is_none();
                let key = (client.group, life, removals, reply.generation_id);
                let value = (reply.leader.clone(), reply.protocol_name.clone());
                // A static leader may change its id within a generation.
                if exact && !reply.leader.starts_with("instance") {
                    let known = self.generations.entry(key).or_insert_with(|| value.clone());
                    assert_eq!(*known, value, "generation {key:?}");
                }
                assert!(reply.members.is_empty() || reply.leader == reply.member_id);
                client.joined = true;
                client.generation_id = reply.generation_id;
                client.leads = reply
                    .members
                    .into_iter()
                    .map(|member| member.member_id)
                    .collect();
                client.member_id = reply.member_id;
                self.completed_joins += 1;
            }
            Some(GroupError::MemberIdRequired) => client.member_id = reply.member_id,
            error => self.heed(index, error),
        }
    }
}
