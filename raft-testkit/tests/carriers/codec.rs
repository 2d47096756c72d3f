//! Messages as bytes: length, checksum, a head without payloads, and the payloads.

use bytes::{Buf, Bytes};
use raft_core::backend::Refusal;
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{GroupId, Identity, Index, LogId, NodeId, Term};
use raft_core::message::{
    Append, AppendReply, Envelope, Heartbeat, HeartbeatReply, Message, Notice, ReadIndex, ReadIndexReply,
    SnapshotChunk, SnapshotReply, TimeoutNow, VoteReply, VoteRequest,
};
use serde::{Deserialize, Serialize};

/// The largest frame.
pub(crate) const LIMIT_BYTES: usize = 20 << 20;
/// Length and checksum.
pub(crate) const FIXED_BYTES: usize = 8;

/// What is said before the first message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Greeting {
    Hello { versions: (u16, u16), identity: Identity, to: NodeId, lane: u8 },
    Welcome { identity: Identity },
    Refused(Refusal),
    Ready,
}

#[derive(Serialize, Deserialize)]
struct Head {
    group: GroupId,
    from: NodeId,
    to: NodeId,
    term: Term,
    body: Body,
}

#[derive(Serialize, Deserialize)]
enum Body {
    Vote(VoteRequest),
    VoteReply(VoteReply),
    Heartbeat(Heartbeat),
    HeartbeatReply(HeartbeatReply),
    Append { prev: LogId, commit: Index, entries: Vec<(LogId, EntryKind, u32)> },
    AppendReply(AppendReply),
    Snapshot { upto: LogId, snapshot: u128, membership: Vec<u8>, offset: u64, total: u64, checksum: u32 },
    SnapshotReply(SnapshotReply),
    TimeoutNow(TimeoutNow),
    Notice(Notice),
    ReadIndex(ReadIndex),
    ReadIndexReply(ReadIndexReply),
}

/// The payload of a message, in bytes.
pub(crate) fn payload_bytes(message: &Message) -> usize {
    match message {
        Message::Append(append) => append.entries.iter().map(|entry| entry.data.len() + 32).sum(),
        Message::Snapshot(chunk) => chunk.data.len() + chunk.membership.len(),
        _ => 0,
    }
}

pub(crate) fn encode(envelope: Envelope) -> Vec<u8> {
    let mut payloads = Vec::new();
    let body = match envelope.message {
        Message::Vote(it) => Body::Vote(it),
        Message::VoteReply(it) => Body::VoteReply(it),
        Message::Heartbeat(it) => Body::Heartbeat(it),
        Message::HeartbeatReply(it) => Body::HeartbeatReply(it),
        Message::Append(Append { prev, commit, entries }) => {
            let lengths = entries.iter().map(|one| (one.id, one.kind, one.data.len() as u32)).collect();
            payloads.extend(entries.into_iter().map(|entry| entry.data));
            Body::Append { prev, commit, entries: lengths }
        }
        Message::AppendReply(it) => Body::AppendReply(it),
        Message::Snapshot(chunk) => {
            let SnapshotChunk { upto, snapshot, membership, offset, total, checksum, data } = chunk;
            payloads.push(data);
            Body::Snapshot { upto, snapshot, membership: membership.to_vec(), offset, total, checksum }
        }
        Message::SnapshotReply(it) => Body::SnapshotReply(it),
        Message::TimeoutNow(it) => Body::TimeoutNow(it),
        Message::ReadIndex(it) => Body::ReadIndex(it),
        Message::ReadIndexReply(it) => Body::ReadIndexReply(it),
        Message::Notice(it) => Body::Notice(it),
        other => panic!("no frame for {other:?}"),
    };
    let Envelope { group, from, to, term, .. } = envelope;
    let head = postcard::to_allocvec(&Head { group, from, to, term, body }).unwrap();
    let mut out = vec![0; FIXED_BYTES];
    out.extend_from_slice(&(head.len() as u32).to_le_bytes());
    out.extend_from_slice(&head);
    payloads.iter().for_each(|payload| out.extend_from_slice(payload));
    let (length, crc) = ((out.len() - FIXED_BYTES) as u32, crc32c::crc32c(&out[FIXED_BYTES..]));
    out[..4].copy_from_slice(&length.to_le_bytes());
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

/// What follows length and checksum.
pub(crate) fn decode(mut frame: Bytes) -> Option<Envelope> {
    let head_bytes = usize::try_from(frame.try_get_u32_le().ok()?).ok()?;
    if frame.len() < head_bytes {
        return None;
    }
    let head = frame.split_to(head_bytes);
    let Head { group, from, to, term, body } = postcard::from_bytes(&head).ok()?;
    let message = match body {
        Body::Vote(it) => Message::Vote(it),
        Body::VoteReply(it) => Message::VoteReply(it),
        Body::Heartbeat(it) => Message::Heartbeat(it),
        Body::HeartbeatReply(it) => Message::HeartbeatReply(it),
        Body::Append { prev, commit, entries: lengths } => {
            let mut entries = Vec::new();
            for (id, kind, length) in lengths {
                let length = length as usize;
                if frame.len() < length {
                    return None;
                }
                entries.push(Entry { id, kind, data: frame.split_to(length) });
            }
            Message::Append(Append { prev, commit, entries: entries.into() })
        }
        Body::AppendReply(it) => Message::AppendReply(it),
        Body::Snapshot { upto, snapshot, membership, offset, total, checksum } => {
            let membership = membership.into();
            let data = frame.split_to(frame.len());
            Message::Snapshot(SnapshotChunk { upto, snapshot, membership, offset, total, checksum, data })
        }
        Body::SnapshotReply(it) => Message::SnapshotReply(it),
        Body::TimeoutNow(it) => Message::TimeoutNow(it),
        Body::ReadIndex(it) => Message::ReadIndex(it),
        Body::ReadIndexReply(it) => Message::ReadIndexReply(it),
        Body::Notice(it) => Message::Notice(it),
    };
    frame.is_empty().then_some(Envelope { group, from, to, term, message })
}
