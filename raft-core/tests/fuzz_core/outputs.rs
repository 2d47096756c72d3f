//! Takes what comes out of the node, and checks it: nothing leaves before it is durable, and nothing that it has
//! called committed is taken back.

use raft_core::backend::{SnapshotContent, SnapshotId, SnapshotMeta, Vote};
use raft_core::entry::Entry;
use raft_core::error::Violation;
use raft_core::ids::{Index, NodeId, Term};
use raft_core::message::{AppendReply, Ballot, Envelope, Message, VoteReply, VoteRequest};
use raft_core::raft::Event;
use raft_core::status::RoleKind;

use crate::ME;
use crate::disk::Job;
use crate::world::World;

impl World {
    /// Takes everything that comes out, and checks it.
    pub(crate) fn drain(&mut self) {
        for _ in 0..1000 {
            if !self.drain_once() {
                return self.check();
            }
        }
        panic!("it never rests");
    }

    fn drain_once(&mut self) -> bool {
        let mut moved = false;
        while let Some(out) = self.raft.poll_message() {
            moved = true;
            self.check_message(&out.envelope);
        }
        while let Some(to) = self.raft.poll_reset() {
            moved = true;
            let idle = self.jobs.iter().all(|job| !matches!(job, Job::Write(_)));
            assert!(idle, "reset while writes are under way");
            self.jobs.push_back(Job::Reset(to));
        }
        while let Some(upto) = self.raft.poll_purge() {
            moved = true;
            self.jobs.push_back(Job::Purge(upto));
        }
        while let Some(write) = self.raft.poll_write() {
            moved = true;
            self.jobs.push_back(Job::Write(write));
        }
        moved |= self.drain_snapshots();
        while let Some(fetch) = self.raft.poll_fetch() {
            moved = true;
            self.fetches.push_back(fetch);
        }
        while let Some(event) = self.raft.poll_event() {
            moved = true;
            if let Event::Alarm(violation) = event {
                let lied_to = !matches!(violation, Violation::Local { .. });
                assert!(lied_to, "{violation}");
                self.halted |= violation.is_fatal();
            }
        }
        while let Some(apply) = self.raft.poll_apply() {
            moved = true;
            for entry in &apply.entries {
                assert_eq!(entry.id.index, self.applied.next(), "applied in order");
                let durable = self.disk.at(entry.id.index);
                assert_eq!(Some(entry), durable, "applied before it is durable here");
                self.applied = entry.id.index;
            }
            self.applying = Some(apply.through.index);
        }
        moved
    }

    fn drain_snapshots(&mut self) -> bool {
        let mut moved = false;
        while let Some(take) = self.raft.poll_snapshot() {
            moved = true;
            assert_eq!(take.upto.index, self.applied, "of the state as it is");
            self.store.last += 1;
            let content = SnapshotContent { total_bytes: self.store.last as u64 % 13, checksum: 0 };
            let id = SnapshotId(100 + self.store.last);
            let taken = SnapshotMeta::new(id, take.upto, take.membership, content);
            assert!(self.store.taking.replace(taken).is_none(), "one at a time");
        }
        while let Some(piece) = self.raft.poll_piece() {
            moved = true;
            self.store.pieces.push_back(piece);
            assert!(self.store.pieces.len() < 4, "one at a time");
        }
        while let Some(chunk) = self.raft.poll_chunk() {
            moved = true;
            self.store.reads.push_back(chunk);
        }
        while let Some(snapshot) = self.raft.poll_install() {
            moved = true;
            assert!(self.store.installing.replace(snapshot).is_none(), "one at a time");
        }
        moved
    }

    /// Nothing may leave that a crash would take back.
    fn check_message(&self, envelope: &Envelope) {
        assert_eq!(envelope.from, ME);
        let Envelope { to, term, message, .. } = envelope;
        let pre = matches!(message, Message::Vote(VoteRequest { pre: true, .. }));
        let known = if pre { self.disk.hard.term.next() } else { self.disk.hard.term };
        assert!(*term <= known, "{envelope:?} with {:?} on disk", self.disk.hard);
        match message {
            Message::Vote(VoteRequest { pre: false, .. }) => {
                self.check_vote(*term, ME);
            }
            Message::VoteReply(VoteReply { pre: false, asked, ballot: Ballot::Granted }) => {
                self.check_vote(*asked, *to);
                assert!(!self.disk.hard.probation, "a vote on probation");
            }
            Message::AppendReply(AppendReply::Matched { matched }) => {
                assert!(*matched <= self.disk.last().index, "acknowledged too early");
            }
            Message::HeartbeatReply(reply) => {
                let durable = self.disk.last().index;
                assert!(reply.matched <= durable && reply.last <= durable, "claimed too early");
            }
            Message::Snapshot(chunk) => {
                let snapshot = self.disk.snapshot.as_ref().expect("there is one");
                assert!(chunk.upto.index <= snapshot.upto.index);
                assert!(chunk.offset + chunk.data.len() as u64 <= chunk.total);
            }
            Message::Append(append) => {
                let follows = |(entry, at): (&Entry, u64)| entry.id.index.0 == append.prev.index.0 + at;
                assert!(append.entries.iter().zip(1..).all(follows));
            }
            _ => {}
        }
    }

    /// The vote is on disk, or it is a later term there: then no other vote can be given in this one.
    fn check_vote(&self, term: Term, candidate: NodeId) {
        let hard = self.disk.hard;
        assert!(hard.term > term || hard.vote == Vote::For(candidate), "{term}, {candidate}: {hard:?}");
    }

    fn check(&mut self) {
        let status = self.raft.status(self.now);
        let ids = |entries: &[Entry]| entries.iter().map(|entry| entry.id).collect::<Vec<_>>();
        let mut log = ids(&self.disk.entries);
        for job in &self.jobs {
            match job {
                Job::Write(write) => {
                    let from = write.truncate_from.unwrap_or(Index(u64::MAX));
                    log.retain(|id| id.index < from);
                    log.extend(ids(&write.entries));
                }
                Job::Purge(upto) => log.retain(|id| id.index > upto.index),
                Job::Reset(_) => log.clear(),
            }
        }
        if !self.halted && self.raft.role_kind() != RoleKind::Limbo {
            assert!(status.commit_index <= status.last.index);
        }
        assert!(status.commit_index >= self.commit_index, "the commit index goes back");
        (self.commit_index, self.term, self.last) = (status.commit_index, status.term, status.last.index.0);
        if self.failed {
            return;
        }
        // What it has called committed stays, also over restarts as far as it was durable.
        for id in log.into_iter().filter(|id| id.index <= status.commit_index) {
            let before = *self.commit.entry(id.index).or_insert(id);
            assert_eq!(before, id, "committed and replaced");
        }
    }
}
