//! The checksum of a frame: CRC-32C of what it says, in a canonical form of its own.
//!
//! gRPC has no checksum, and protobuf does not fix the bytes of a message. So both sides feed the same numbers
//! and bytes to the sum: a number as 8 bytes, little-endian; ids of 128 bits as 16; a bool as 0 or 1; bytes
//! as their length and themselves; a log id as term and index; an alternative as the number of its field. What
//! wire version 2 has added is counted only where it says something, so that one rule reads both versions.

use std::time::Duration;

use raft_core::ids::{Identity, Index, LogId, NodeId};
use raft_core::message::{
    AppendReply, Ballot, Envelope, Message, Notice, ReadIndex, ReadIndexReply, TimeoutNow,
};

/// A sum that grows.
struct Sum(u32);

impl Sum {
    fn raw(&mut self, bytes: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, bytes);
    }

    fn numbers<const N: usize>(&mut self, numbers: [u64; N]) {
        for number in numbers {
            self.raw(&number.to_le_bytes());
        }
    }

    fn wide(&mut self, number: u128) {
        self.raw(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.numbers([bytes.len() as u64]);
        self.raw(bytes);
    }

    fn log_id(&mut self, id: LogId) {
        self.numbers([id.term.0, id.index.0]);
    }

    fn identity(&mut self, identity: &Identity) {
        self.wide(identity.cluster.0);
        self.numbers([identity.group.0, identity.node.0]);
        self.wide(identity.store.0);
        self.numbers([identity.incarnation.number, identity.incarnation.nonce]);
    }
}

/// Of a hello.
pub(crate) fn of_hello(versions: (u16, u16), identity: &Identity, to: NodeId) -> u32 {
    let mut sum = Sum(0);
    sum.numbers([1, versions.0.into(), versions.1.into()]);
    sum.identity(identity);
    sum.numbers([to.0]);
    sum.0
}

/// Of a welcome.
pub(crate) fn of_welcome(version: u16, identity: &Identity) -> u32 {
    let mut sum = Sum(0);
    sum.numbers([2, version.into()]);
    sum.identity(identity);
    sum.0
}

/// The number of a ballot on the wire.
pub(crate) const fn ballot(ballot: Ballot) -> u8 {
    match ballot {
        Ballot::Granted => 1,
        Ballot::Denied => 2,
        Ballot::Vetoed => 3,
    }
}

/// As it is on the wire.
pub(crate) fn micros(promise: Duration) -> u64 {
    u64::try_from(promise.as_micros()).unwrap_or(u64::MAX)
}

/// Of the address in a hello.
pub(crate) fn of_listen(listen: &str) -> u32 {
    crc32c::crc32c(listen.as_bytes())
}

/// Of a message.
pub(crate) fn of_message(envelope: &Envelope) -> u32 {
    let mut sum = Sum(0);
    sum.numbers([5, envelope.group.0, envelope.from.0, envelope.to.0, envelope.term.0]);
    match &envelope.message {
        Message::Vote(vote) => {
            sum.numbers([5, vote.pre.into(), vote.transfer.into()]);
            sum.log_id(vote.last);
            if vote.told > 0 {
                sum.numbers([vote.told]);
            }
        }
        Message::VoteReply(reply) => {
            sum.numbers([6, reply.pre.into(), reply.asked.0, ballot(reply.ballot).into()]);
        }
        Message::Heartbeat(beat) => sum.numbers([7, beat.commit.0, beat.round]),
        Message::HeartbeatReply(reply) => {
            sum.numbers([8, reply.round, reply.matched.0, reply.last.0, reply.probation.into()]);
            let promise_micros = micros(reply.promise);
            if reply.slow || promise_micros > 0 || reply.priority != 0 {
                let priority = u64::from(reply.priority.cast_unsigned());
                sum.numbers([reply.slow.into(), promise_micros, priority]);
            }
        }
        Message::Append(append) => {
            sum.numbers([9]);
            sum.log_id(append.prev);
            sum.numbers([append.commit.0, append.entries.len() as u64]);
            for entry in &append.entries {
                sum.numbers([entry.id.term.0, entry.kind.as_u8().into()]);
                sum.bytes(&entry.data);
            }
        }
        Message::AppendReply(AppendReply::Matched { matched }) => sum.numbers([10, 1, matched.0]),
        Message::AppendReply(AppendReply::Rejected { prev, hint, last }) => {
            sum.numbers([10, 2, prev.0]);
            sum.log_id(*hint);
            sum.numbers([last.0]);
        }
        Message::Snapshot(chunk) => {
            sum.numbers([11]);
            sum.log_id(chunk.upto);
            sum.wide(chunk.snapshot);
            sum.bytes(&chunk.membership);
            sum.numbers([chunk.offset, chunk.total, chunk.checksum.into()]);
            sum.bytes(&chunk.data);
        }
        Message::SnapshotReply(reply) => {
            sum.numbers([12]);
            sum.wide(reply.snapshot);
            sum.numbers([reply.received, reply.installed.into()]);
        }
        Message::TimeoutNow(TimeoutNow { round: 0 }) => sum.numbers([13]),
        Message::TimeoutNow(TimeoutNow { round }) => sum.numbers([13, *round]),
        // As it was before it said since when: what is not said is not counted.
        Message::Notice(Notice::Removed { since: Index::ZERO }) => sum.numbers([14, 1]),
        Message::Notice(Notice::Removed { since }) => sum.numbers([14, 1, since.0]),
        Message::Notice(Notice::RolledBack { acknowledged }) => sum.numbers([14, 2, acknowledged.0]),
        Message::ReadIndex(ReadIndex { id }) => sum.numbers([15, *id]),
        Message::ReadIndexReply(ReadIndexReply { id, index: None }) => sum.numbers([16, *id, 0]),
        Message::ReadIndexReply(ReadIndexReply { id, index: Some(index) }) => {
            sum.numbers([16, *id, 1, index.0]);
        }
        // A kind that this version does not have is not sent: see `convert`.
        _ => {}
    }
    sum.0
}
