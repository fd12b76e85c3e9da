//! What clients ask.

use bytes::Bytes;
use kafka_lite::group::{
    CommitPartition, CommitTopic, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    LeavingMember, OffsetCommitRequest, OffsetDeleteRequest, Protocol, SyncGroupRequest,
};

use crate::simulation::{CLIENTS, GROUPS, Random, Simulation, group_name};

impl Simulation {
    pub(crate) fn act(&mut self, index: usize) {
        if self.clients[index].waits.is_some() {
            return;
        }
        let client = self.clients[index].clone();
        match self.random.below(12) {
            0..3 if client.joined && !client.leads.is_empty() => self.sync(index),
            0..3 if client.joined => self.sync(index),
            3..5 if client.joined => self.heartbeat(index),
            5..7 => self.commit(index),
            7 if client.joined => self.leave(index),
            _ => self.join(index),
        }
    }

    pub(crate) fn join(&mut self, index: usize) {
        let token = self.token(Some(index));
        let client = self.clients[index].clone();
        let names = ["range", "sticky", "other"];
        let start = self.random.below(2) as usize;
        let protocol = |name: &&str, random: &mut Random| Protocol {
            name: (*name).to_owned(),
            metadata: Bytes::from(vec![0; random.below(200) as usize]),
        };
        let random = &mut self.random;
        let protocols = names[start..]
            .iter()
            .map(|name| protocol(name, random))
            .collect();
        let request = JoinGroupRequest {
            api_version: client.version,
            group_id: group_name(client.group),
            session_timeout_ms: 6_000 + self.random.below(10_000) as i32,
            rebalance_timeout_ms: (client.version > 0)
                .then(|| self.random.below(15_000) as i32 - 1),
            member_id: client.member_id,
            group_instance_id: client.instance_id,
            protocol_type: "consumer".to_owned(),
            protocols,
            client_id: format!("client-{index}"),
            client_host: "/127.0.0.1".to_owned(),
        };
        let uuid = (u128::from(self.random.next()) << 64) | u128::from(self.random.next());
        self.coordinator
            .handle_join_group(self.now, token, &request, uuid);
    }

    pub(crate) fn sync(&mut self, index: usize) {
        let token = self.token(Some(index));
        let client = self.clients[index].clone();
        let bytes = Bytes::from(vec![1; self.random.below(100) as usize]);
        let request = SyncGroupRequest {
            group_id: group_name(client.group),
            generation_id: client.generation_id,
            member_id: client.member_id,
            group_instance_id: client.instance_id,
            protocol_type: None,
            protocol_name: None,
            assignments: client
                .leads
                .into_iter()
                .map(|id| (id, bytes.clone()))
                .collect(),
        };
        self.coordinator
            .handle_sync_group(self.now, token, &request);
    }

    pub(crate) fn heartbeat(&mut self, index: usize) {
        let token = self.token(Some(index));
        let client = self.clients[index].clone();
        let request = HeartbeatRequest {
            group_id: group_name(client.group),
            generation_id: client.generation_id - i32::from(self.random.one_in(20)),
            member_id: client.member_id,
            group_instance_id: client.instance_id,
        };
        self.coordinator.handle_heartbeat(self.now, token, &request);
    }

    pub(crate) fn leave(&mut self, index: usize) {
        let token = self.token(Some(index));
        let client = self.clients[index].clone();
        let member = LeavingMember {
            member_id: client.member_id,
            group_instance_id: client.instance_id,
        };
        let request = LeaveGroupRequest {
            group_id: group_name(client.group),
            members: vec![member],
        };
        self.coordinator
            .handle_leave_group(self.now, token, &request);
        self.clients[index].joined = false;
        self.clients[index].member_id.clear();
    }

    pub(crate) fn commit(&mut self, index: usize) {
        let token = self.token(Some(index));
        let client = self.clients[index].clone();
        let simple = self.random.one_in(3);
        let partitions = (0..=self.random.below(3)).map(|_| CommitPartition {
            partition: self.random.below(6) as i32,
            offset: self.random.below(1_000_000) as i64,
            leader_epoch: self.random.one_in(2).then_some(3),
            metadata: "m".repeat(self.random.below(50) as usize),
        });
        let partitions = partitions.collect();
        let name = format!("topic-{}", self.random.below(3));
        let request = OffsetCommitRequest {
            api_version: 8,
            group_id: group_name(client.group),
            generation_id: if simple { -1 } else { client.generation_id },
            member_id: if simple {
                String::new()
            } else {
                client.member_id
            },
            group_instance_id: client.instance_id.filter(|_| !simple),
            retention_time_ms: self.random.one_in(10).then_some(50_000),
            topics: vec![CommitTopic { name, partitions }],
        };
        self.coordinator
            .handle_offset_commit(self.now, token, &request);
    }

    pub(crate) fn administrate(&mut self) {
        let group_id = group_name(self.random.below(GROUPS));
        match self.random.below(4) {
            0 => {
                let token = self.token(None);
                let groups: Vec<String> = (0..GROUPS).map(group_name).collect();
                self.coordinator
                    .handle_delete_groups(self.now, token, &groups);
            }
            1 => {
                let token = self.token(None);
                let topics = vec![("topic-0".to_owned(), vec![0, 1, 2])];
                let request = OffsetDeleteRequest { group_id, topics };
                self.coordinator
                    .handle_offset_delete(self.now, token, &request);
            }
            2 => self.coordinator.handle_topic_deleted(self.now, "topic-1"),
            _ => {
                let token = self.token(None);
                let instance = format!("instance-{}", 3 * self.random.below(4));
                let member = LeavingMember {
                    member_id: String::new(),
                    group_instance_id: Some(instance),
                };
                let request = LeaveGroupRequest {
                    group_id,
                    members: vec![member],
                };
                self.coordinator
                    .handle_leave_group(self.now, token, &request);
            }
        }
    }

    pub(crate) fn disconnect(&mut self) {
        let index = self.random.below(CLIENTS as u64) as usize;
        if let Some(token) = self.clients[index].waits.take() {
            self.dropped.insert(token);
            self.coordinator.handle_disconnect(self.now, token);
        }
    }
}
