//! Consensus alone: what one entry costs three nodes when nothing else is there.

use std::time::{Duration, Instant};

use bytes::Bytes;
use raft_core::backend::JournalState;
use raft_core::entry::{Entry, EntryKind, pack};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, LogId, NodeId, StoreId};
use raft_core::membership::{Member, Membership};
use raft_core::raft::Restored;
use raft_core::status::RoleKind;
use raft_core::time::Time;
use raft_core::{Config, Raft};
use serde_json::{Value, json};

use crate::counting;

struct Three {
    nodes: Vec<Raft>,
    applied: Vec<u64>,
    now: Time,
}

impl Three {
    fn new() -> Result<Self, String> {
        let members = (1..=3).map(|id| Member::new(NodeId(id), format!("node-{id}")));
        let membership = Membership::of_voters(members).map_err(|error| error.to_string())?;
        let first = Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data: membership.encode() };
        let now = Time::from_nanos(1);
        let node = |id: u64| {
            let identity = Identity {
                cluster: ClusterId(1),
                group: GroupId(0),
                node: NodeId(id),
                store: StoreId(id.into()),
                incarnation: Incarnation { number: 1, nonce: 1 },
            };
            let mut journal = JournalState::empty(identity);
            journal.last = first.id;
            journal.terms.push((first.id.index, first.id.term));
            journal.memberships.push(first.clone());
            let restored = Restored { journal, snapshot: None, applied: LogId::ZERO };
            let mut config = Config::new(NodeId(id), ClusterId(1));
            // To each follower one by one, as there.
            config.spare_delay = Duration::ZERO;
            Raft::new(config, restored, now).map_err(|error| error.to_string())
        };
        let nodes = (1..=3).map(node).collect::<Result<Vec<_>, _>>()?;
        let mut three = Self { nodes, applied: vec![0; 3], now };
        three.nodes[0].campaign(now);
        for _ in 0..1000 {
            three.settle()?;
            if three.nodes[0].role_kind() == RoleKind::Leader {
                return Ok(three);
            }
            three.now = three.now + Duration::from_millis(10);
            for node in &mut three.nodes {
                if node.next_timeout().is_some_and(|due| due <= three.now) {
                    node.handle_timeout(three.now);
                }
            }
        }
        Err(String::from("nobody leads"))
    }

    /// Until nobody has anything to say.
    fn settle(&mut self) -> Result<(), String> {
        loop {
            let mut moved = false;
            for at in 0..self.nodes.len() {
                moved |= self.drain(at)?;
            }
            if !moved {
                return Ok(());
            }
        }
    }

    fn drain(&mut self, at: usize) -> Result<bool, String> {
        let (now, mut moved) = (self.now, false);
        // Sent before it is written here, as the driver does.
        while let Some(out) = self.nodes[at].poll_message() {
            let to = out.envelope.to.0 as usize - 1;
            self.nodes[to].handle_message(now, out.envelope);
            moved = true;
        }
        while let Some(write) = self.nodes[at].poll_write() {
            self.nodes[at].handle_written(now, write.ticket);
            moved = true;
        }
        while let Some(apply) = self.nodes[at].poll_apply() {
            self.applied[at] = apply.through.index.0;
            self.nodes[at].handle_applied(now, apply.through.index);
            moved = true;
        }
        if let Some(fetch) = self.nodes[at].poll_fetch() {
            // The first membership is all that nobody has in memory.
            if fetch.range.start.0 > 1 {
                return Err(format!("{:?} is no longer in memory", fetch.range));
            }
            let data = self.nodes[at].status(now).membership.encode();
            let first = Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data };
            self.nodes[at].handle_fetched(now, fetch.id, vec![first]);
            moved = true;
        }
        while self.nodes[at].poll_event().is_some() {}
        Ok(moved)
    }

    fn propose(&mut self, batch: usize, data: &Bytes) -> Result<(), String> {
        for _ in 0..batch {
            self.nodes[0].propose(self.now, data.clone()).map_err(|error| error.to_string())?;
        }
        self.settle()
    }
}

pub fn run(batch: usize, entries: usize) -> Result<Value, String> {
    let mut three = Three::new()?;
    let payload = Bytes::from(vec![7; 256]);
    let data = pack(std::slice::from_ref(&payload));
    for _ in 0..(entries / 10).div_ceil(batch) {
        three.propose(batch, &data)?;
    }
    let (before, calls) = (three.applied[2], counting::so_far());
    let begun = Instant::now();
    for _ in 0..entries.div_ceil(batch) {
        three.propose(batch, &data)?;
    }
    let (took, after) = (begun.elapsed().as_secs_f64(), counting::so_far());
    let done = (three.applied[2] - before) as f64;
    Ok(json!({
        "batch": batch,
        "entries": done,
        "per_s": done / took,
        "allocations_per_entry": (after.0 - calls.0) as f64 / done,
        "bytes_per_entry": (after.1 - calls.1) as f64 / done,
    }))
}
