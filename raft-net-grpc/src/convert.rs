//! Messages of `raft_core` as messages of the `.proto` and back: pure, total, and without a copy of a payload.

use std::time::Duration;

use bytes::Bytes;
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{GroupId, Index, LogId, NodeId, Term};
use raft_core::message::{
    Append, AppendReply, Ballot, Envelope, Heartbeat, HeartbeatReply, Message, Notice, ReadIndex,
    ReadIndexReply, SnapshotChunk, SnapshotReply, TimeoutNow, VoteReply, VoteRequest,
};

use crate::checksum;
use crate::error::WireError;
use crate::proto;
use crate::proto::message::Kind;

fn id(id: LogId) -> Option<proto::LogId> {
    Some(proto::LogId { term: id.term.0, index: id.index.0 })
}

fn log_id(id: Option<proto::LogId>) -> LogId {
    id.map_or(LogId::ZERO, |id| LogId::new(id.term, id.index))
}

/// 128 bits, as a UUID is written.
pub(crate) fn wide(number: u128) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

pub(crate) fn from_wide(bytes: &Bytes) -> Result<u128, WireError> {
    let bytes: &[u8] = bytes;
    bytes.try_into().map(u128::from_be_bytes).map_err(|_| WireError::Malformed("an id of not 16 bytes"))
}

/// A message as a frame. `None` for a kind that this version does not have.
pub(crate) fn to_frame(envelope: Envelope) -> Option<proto::Frame> {
    let checksum = checksum::of_message(&envelope);
    let kind = match envelope.message {
        Message::Vote(VoteRequest { pre, transfer, last, told }) => {
            Kind::Vote(proto::VoteRequest { pre, transfer, last: id(last), told })
        }
        Message::VoteReply(VoteReply { pre, asked, ballot }) => {
            let ballot = checksum::ballot(ballot).into();
            Kind::VoteReply(proto::VoteReply { pre, asked: asked.0, ballot })
        }
        Message::Heartbeat(Heartbeat { commit, round }) => {
            Kind::Heartbeat(proto::Heartbeat { commit: commit.0, round })
        }
        Message::HeartbeatReply(reply) => {
            let HeartbeatReply { round, matched, last, probation, slow, promise, priority } = reply;
            Kind::HeartbeatReply(proto::HeartbeatReply {
                round,
                matched: matched.0,
                last: last.0,
                probation,
                slow,
                promise_micros: checksum::micros(promise),
                priority: priority.into(),
            })
        }
        Message::Append(Append { prev, commit, entries }) => {
            let entry = |entry: Entry| proto::Entry {
                term: entry.id.term.0,
                kind: entry.kind.as_u8().into(),
                data: entry.data,
            };
            let entries = entries.into_iter().map(entry).collect();
            Kind::Append(proto::Append { prev: id(prev), commit: commit.0, entries })
        }
        Message::AppendReply(reply) => {
            let kind = match reply {
                AppendReply::Matched { matched } => proto::append_reply::Kind::Matched(matched.0),
                AppendReply::Rejected { prev, hint, last } => {
                    let (prev, last) = (prev.0, last.0);
                    proto::append_reply::Kind::Rejected(proto::Rejected { prev, hint: id(hint), last })
                }
            };
            Kind::AppendReply(proto::AppendReply { kind: Some(kind) })
        }
        Message::Snapshot(SnapshotChunk { upto, snapshot, membership, offset, total, checksum, data }) => {
            let (upto, snapshot) = (id(upto), wide(snapshot));
            Kind::Snapshot(proto::SnapshotChunk { upto, snapshot, membership, offset, total, checksum, data })
        }
        Message::SnapshotReply(SnapshotReply { snapshot, received, installed }) => {
            Kind::SnapshotReply(proto::SnapshotReply { snapshot: wide(snapshot), received, installed })
        }
        Message::TimeoutNow(TimeoutNow { round }) => Kind::TimeoutNow(proto::TimeoutNow { round }),
        Message::ReadIndex(ReadIndex { id }) => Kind::ReadIndex(proto::ReadIndex { id }),
        Message::ReadIndexReply(ReadIndexReply { id, index }) => {
            Kind::ReadIndexReply(proto::ReadIndexReply { id, index: index.map(|index| index.0) })
        }
        Message::Notice(notice) => {
            let kind = match notice {
                Notice::Removed { since } => proto::notice::Kind::Removed(proto::Removed { since: since.0 }),
                Notice::RolledBack { acknowledged } => proto::notice::Kind::RolledBack(acknowledged.0),
                _ => return None,
            };
            Kind::Notice(proto::Notice { kind: Some(kind) })
        }
        _ => return None,
    };
    let message = proto::Message {
        group: envelope.group.0,
        from: envelope.from.0,
        to: envelope.to.0,
        term: envelope.term.0,
        kind: Some(kind),
    };
    Some(proto::Frame { kind: Some(proto::frame::Kind::Message(message)), checksum })
}

/// What a message of a frame says.
///
/// # Errors
/// [`WireError`] for a kind or number that does not exist, an id of a wrong length, or another checksum.
pub(crate) fn from_message(wire: proto::Message, checksum: u32) -> Result<Envelope, WireError> {
    let envelope = unchecked(wire)?;
    if checksum::of_message(&envelope) == checksum { Ok(envelope) } else { Err(WireError::Checksum) }
}

/// The same whatever the checksum.
pub(crate) fn unchecked(wire: proto::Message) -> Result<Envelope, WireError> {
    let message = match wire.kind.ok_or(WireError::Malformed("a message of no known kind"))? {
        Kind::Vote(vote) => {
            let proto::VoteRequest { pre, transfer, last, told } = vote;
            Message::Vote(VoteRequest { pre, transfer, last: log_id(last), told })
        }
        Kind::VoteReply(reply) => {
            let ballot = match proto::Ballot::try_from(reply.ballot) {
                Ok(proto::Ballot::Granted) => Ballot::Granted,
                Ok(proto::Ballot::Denied) => Ballot::Denied,
                Ok(proto::Ballot::Vetoed) => Ballot::Vetoed,
                Ok(proto::Ballot::Unspecified) | Err(_) => {
                    return Err(WireError::Malformed("an unknown ballot"));
                }
            };
            Message::VoteReply(VoteReply { pre: reply.pre, asked: Term(reply.asked), ballot })
        }
        Kind::Heartbeat(beat) => {
            Message::Heartbeat(Heartbeat { commit: Index(beat.commit), round: beat.round })
        }
        Kind::HeartbeatReply(reply) => {
            let (matched, last) = (Index(reply.matched), Index(reply.last));
            let proto::HeartbeatReply { round, probation, slow, promise_micros, priority, .. } = reply;
            let promise = Duration::from_micros(promise_micros);
            let priority =
                i8::try_from(priority).map_err(|_| WireError::Malformed("a priority out of range"))?;
            let reply = HeartbeatReply { round, matched, last, probation, slow, promise, priority };
            Message::HeartbeatReply(reply)
        }
        Kind::Append(wire) => Message::Append(append(wire)?),
        Kind::AppendReply(reply) => {
            let kind = reply.kind.ok_or(WireError::Malformed("an append's answer that says nothing"))?;
            Message::AppendReply(match kind {
                proto::append_reply::Kind::Matched(matched) => {
                    AppendReply::Matched { matched: Index(matched) }
                }
                proto::append_reply::Kind::Rejected(proto::Rejected { prev, hint, last }) => {
                    let (prev, last) = (Index(prev), Index(last));
                    AppendReply::Rejected { prev, hint: log_id(hint), last }
                }
            })
        }
        Kind::Snapshot(chunk) => {
            let (upto, snapshot) = (log_id(chunk.upto), from_wide(&chunk.snapshot)?);
            let proto::SnapshotChunk { membership, offset, total, checksum, data, .. } = chunk;
            Message::Snapshot(SnapshotChunk { upto, snapshot, membership, offset, total, checksum, data })
        }
        Kind::SnapshotReply(reply) => {
            let snapshot = from_wide(&reply.snapshot)?;
            let proto::SnapshotReply { received, installed, .. } = reply;
            Message::SnapshotReply(SnapshotReply { snapshot, received, installed })
        }
        Kind::TimeoutNow(proto::TimeoutNow { round }) => Message::TimeoutNow(TimeoutNow { round }),
        Kind::ReadIndex(proto::ReadIndex { id }) => Message::ReadIndex(ReadIndex { id }),
        Kind::ReadIndexReply(proto::ReadIndexReply { id, index }) => {
            Message::ReadIndexReply(ReadIndexReply { id, index: index.map(Index) })
        }
        Kind::Notice(notice) => {
            let kind = notice.kind.ok_or(WireError::Malformed("an unknown notice"))?;
            Message::Notice(match kind {
                proto::notice::Kind::Removed(proto::Removed { since }) => {
                    Notice::Removed { since: Index(since) }
                }
                proto::notice::Kind::RolledBack(index) => Notice::RolledBack { acknowledged: Index(index) },
            })
        }
    };
    Ok(Envelope {
        group: GroupId(wire.group),
        from: NodeId(wire.from),
        to: NodeId(wire.to),
        term: Term(wire.term),
        message,
    })
}

fn append(wire: proto::Append) -> Result<Append, WireError> {
    let prev = log_id(wire.prev);
    let mut index = prev.index;
    let entry = |wire: proto::Entry| {
        index = index.next();
        let kind = u8::try_from(wire.kind).ok().and_then(EntryKind::from_u8);
        let kind = kind.ok_or(WireError::Malformed("an unknown kind of entry"))?;
        Ok(Entry { id: LogId { term: Term(wire.term), index }, kind, data: wire.data })
    };
    let entries = wire.entries.into_iter().map(entry).collect::<Result<_, _>>()?;
    Ok(Append { prev, commit: Index(wire.commit), entries })
}
