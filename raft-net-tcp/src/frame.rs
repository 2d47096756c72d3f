//! Frames: pure functions between messages and bytes.
//!
//! ```text
//! length u32 | crc32c u32 | head length u32 | kind u8 | 0 u8 | 0 u16     all little-endian
//! head: postcard, everything but payloads
//! payloads, raw, one after the other
//! ```
//! `length` counts what follows the first eight bytes; the checksum covers the same bytes. Payloads never
//! pass through serde: they leave as they are, by vectored write, and come in as slices of the read buffer.
//!
//! What wire version 2 has added has kinds of its own, which are used only where there is something to say that
//! version 1 cannot: so a frame is read without knowing the version of its connection.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{GroupId, Index, LogId, NodeId, Term};
use raft_core::message::{
    Append, AppendReply, Ballot, Envelope, Heartbeat, HeartbeatReply, Message, Notice, ReadIndex,
    ReadIndexReply, SnapshotChunk, SnapshotReply, TimeoutNow, VoteReply, VoteRequest,
};
use serde::{Deserialize, Serialize};

use crate::error::WireError;

/// Bytes before the head.
pub(crate) const HEADER_BYTES: usize = 16;
/// Room made at once for a frame that has been announced, in bytes.
const RESERVE_BYTES: usize = 1 << 20;
/// Bytes that neither the length nor the checksum covers.
const UNCOVERED_BYTES: usize = 8;

/// The kinds of frames; the numbers are the wire format.
mod kind {
    pub(super) const VOTE: u8 = 1;
    pub(super) const VOTE_REPLY: u8 = 2;
    pub(super) const HEARTBEAT: u8 = 3;
    pub(super) const HEARTBEAT_REPLY: u8 = 4;
    pub(super) const APPEND: u8 = 5;
    pub(super) const APPEND_REPLY: u8 = 6;
    pub(super) const SNAPSHOT: u8 = 7;
    pub(super) const SNAPSHOT_REPLY: u8 = 8;
    pub(super) const TIMEOUT_NOW: u8 = 9;
    pub(super) const NOTICE: u8 = 10;
    // Wire version 2.
    pub(super) const VOTE_TOLD: u8 = 11;
    pub(super) const HEARTBEAT_REPLY_MORE: u8 = 12;
    pub(super) const TIMEOUT_NOW_ROUND: u8 = 13;
    pub(super) const READ_INDEX: u8 = 14;
    pub(super) const READ_INDEX_REPLY: u8 = 15;
}

/// Group, from, to, term.
type Addresses = (u64, u64, u64, u64);
/// Term, index.
type Id = (u64, u64);

#[derive(Serialize, Deserialize)]
struct Head<B> {
    addresses: Addresses,
    body: B,
}

#[derive(Serialize, Deserialize)]
struct VoteBody {
    flags: u8,
    last: Id,
}

#[derive(Serialize, Deserialize)]
struct VoteReplyBody {
    pre: bool,
    asked: u64,
    ballot: u8,
}

#[derive(Serialize, Deserialize)]
struct HeartbeatReplyBody {
    round: u64,
    matched: u64,
    last: u64,
    probation: bool,
}

/// What version 2 says behind it.
#[derive(Serialize, Deserialize)]
struct HeartbeatReplyMore {
    slow: bool,
    promise_micros: u64,
    priority: i8,
}

#[derive(Serialize, Deserialize)]
struct AppendBody {
    prev: Id,
    commit: u64,
    /// Term, kind and payload length of each; the first has index `prev + 1`.
    entries: Vec<(u64, u8, u32)>,
}

#[derive(Serialize, Deserialize)]
struct AppendReplyBody {
    matched: bool,
    index: u64,
    hint: Id,
    last: u64,
}

#[derive(Serialize, Deserialize)]
struct SnapshotBody {
    upto: Id,
    snapshot: u128,
    membership: Vec<u8>,
    offset: u64,
    total: u64,
    checksum: u32,
}

#[derive(Serialize, Deserialize)]
struct SnapshotReplyBody {
    snapshot: u128,
    received: u64,
    installed: bool,
}

#[derive(Serialize, Deserialize)]
struct NoticeBody {
    notice: u8,
    index: u64,
}

fn id(id: LogId) -> Id {
    (id.term.0, id.index.0)
}

fn log_id((term, index): Id) -> LogId {
    LogId::new(term, index)
}

/// Appends one message to `out` as bytes and payloads, in order. `out` collects many before one write.
pub(crate) fn encode(envelope: Envelope, out: &mut Outgoing) {
    let addresses = (envelope.group.0, envelope.from.0, envelope.to.0, envelope.term.0);
    match envelope.message {
        Message::Vote(vote) => {
            let flags = u8::from(vote.pre) | u8::from(vote.transfer) << 1;
            let body = VoteBody { flags, last: id(vote.last) };
            match vote.told {
                0 => out.frame(kind::VOTE, addresses, body, &[]),
                told => out.frame(kind::VOTE_TOLD, addresses, (body, told), &[]),
            }
        }
        Message::VoteReply(reply) => {
            let ballot = match reply.ballot {
                Ballot::Granted => 0,
                Ballot::Denied => 1,
                Ballot::Vetoed => 2,
            };
            let body = VoteReplyBody { pre: reply.pre, asked: reply.asked.0, ballot };
            out.frame(kind::VOTE_REPLY, addresses, body, &[]);
        }
        Message::Heartbeat(heartbeat) => {
            out.frame(kind::HEARTBEAT, addresses, (heartbeat.commit.0, heartbeat.round), &[]);
        }
        Message::HeartbeatReply(reply) => {
            let HeartbeatReply { round, matched, last, probation, slow, promise, priority } = reply;
            let body = HeartbeatReplyBody { round, matched: matched.0, last: last.0, probation };
            let promise_micros = u64::try_from(promise.as_micros()).unwrap_or(u64::MAX);
            let more = HeartbeatReplyMore { slow, promise_micros, priority };
            match more {
                HeartbeatReplyMore { slow: false, promise_micros: 0, priority: 0 } => {
                    out.frame(kind::HEARTBEAT_REPLY, addresses, body, &[]);
                }
                _ => out.frame(kind::HEARTBEAT_REPLY_MORE, addresses, (body, more), &[]),
            }
        }
        Message::Append(append) => {
            let length = |data: &Bytes| u32::try_from(data.len()).unwrap_or(u32::MAX);
            let entries =
                append.entries.iter().map(|e| (e.id.term.0, e.kind.as_u8(), length(&e.data))).collect();
            let body = AppendBody { prev: id(append.prev), commit: append.commit.0, entries };
            let payloads: Vec<Bytes> = append.entries.into_iter().map(|entry| entry.data).collect();
            out.frame(kind::APPEND, addresses, body, &payloads);
        }
        Message::AppendReply(reply) => {
            let body = match reply {
                AppendReply::Matched { matched } => {
                    AppendReplyBody { matched: true, index: matched.0, hint: (0, 0), last: 0 }
                }
                AppendReply::Rejected { prev, hint, last } => {
                    AppendReplyBody { matched: false, index: prev.0, hint: id(hint), last: last.0 }
                }
            };
            out.frame(kind::APPEND_REPLY, addresses, body, &[]);
        }
        Message::Snapshot(chunk) => {
            let SnapshotChunk { upto, snapshot, membership, offset, total, checksum, data } = chunk;
            let (upto, membership) = (id(upto), membership.to_vec());
            let body = SnapshotBody { upto, snapshot, membership, offset, total, checksum };
            out.frame(kind::SNAPSHOT, addresses, body, &[data]);
        }
        Message::SnapshotReply(reply) => {
            let SnapshotReply { snapshot, received, installed } = reply;
            let body = SnapshotReplyBody { snapshot, received, installed };
            out.frame(kind::SNAPSHOT_REPLY, addresses, body, &[]);
        }
        Message::TimeoutNow(TimeoutNow { round: 0 }) => out.frame(kind::TIMEOUT_NOW, addresses, (), &[]),
        Message::TimeoutNow(TimeoutNow { round }) => {
            out.frame(kind::TIMEOUT_NOW_ROUND, addresses, round, &[]);
        }
        Message::Notice(notice) => {
            let body = match notice {
                Notice::Removed { since } => NoticeBody { notice: 0, index: since.0 },
                Notice::RolledBack { acknowledged } => NoticeBody { notice: 1, index: acknowledged.0 },
                // What this wire version cannot say is not said.
                _ => return,
            };
            out.frame(kind::NOTICE, addresses, body, &[]);
        }
        Message::ReadIndex(ReadIndex { id }) => out.frame(kind::READ_INDEX, addresses, id, &[]),
        Message::ReadIndexReply(ReadIndexReply { id, index }) => {
            out.frame(kind::READ_INDEX_REPLY, addresses, (id, index.map(|index| index.0)), &[]);
        }
        // A message that this wire version has no frame for cannot be sent.
        _ => {}
    }
}

/// Bytes on their way out: small pieces are gathered, payloads stay where they are.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Finished pieces in order.
    pieces: std::collections::VecDeque<Bytes>,
    /// The piece that is still growing.
    open: BytesMut,
    bytes: usize,
}

/// Payloads up to this are copied next to their frame: cheaper than a piece of their own.
const COPY_BYTES: usize = 512;

impl Outgoing {
    fn frame<B: Serialize>(&mut self, kind: u8, addresses: Addresses, body: B, payloads: &[Bytes]) {
        let head = postcard::to_allocvec(&Head { addresses, body }).unwrap_or_default();
        let covered =
            HEADER_BYTES - UNCOVERED_BYTES + head.len() + payloads.iter().map(Bytes::len).sum::<usize>();
        let mut fixed = [0_u8; HEADER_BYTES];
        fixed[..4].copy_from_slice(&u32::try_from(covered).unwrap_or(u32::MAX).to_le_bytes());
        fixed[8..12].copy_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes());
        fixed[12] = kind;
        let mut crc = crc32c::crc32c(&fixed[UNCOVERED_BYTES..]);
        crc = crc32c::crc32c_append(crc, &head);
        for payload in payloads {
            crc = crc32c::crc32c_append(crc, payload);
        }
        fixed[4..8].copy_from_slice(&crc.to_le_bytes());
        self.open.put_slice(&fixed);
        self.open.put_slice(&head);
        for payload in payloads {
            self.payload(payload);
        }
        self.bytes += UNCOVERED_BYTES + covered;
    }

    fn payload(&mut self, payload: &Bytes) {
        if payload.len() <= COPY_BYTES {
            self.open.put_slice(payload);
            return;
        }
        self.close();
        self.pieces.push_back(payload.clone());
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.pieces.push_back(self.open.split().freeze());
        }
    }

    /// How much is waiting, in bytes.
    pub(crate) const fn len(&self) -> usize {
        self.bytes
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The next bytes, as many pieces as fit, for one vectored write.
    pub(crate) fn slices<'a>(&'a mut self, into: &mut Vec<std::io::IoSlice<'a>>, most: usize) {
        self.close();
        into.extend(self.pieces.iter().take(most).map(|piece| std::io::IoSlice::new(piece)));
    }

    /// That many bytes have left.
    pub(crate) fn advance(&mut self, mut count: usize) {
        self.bytes -= count.min(self.bytes);
        while let Some(first) = self.pieces.front_mut() {
            if first.len() > count {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.pieces.pop_front();
        }
    }
}

/// Takes the next whole frame out of `buffer`. `None` if there is none yet; then the buffer has room for
/// the rest of it, but never more than the limit.
///
/// # Errors
/// [`WireError`]; the connection is of no further use.
pub(crate) fn decode(buffer: &mut BytesMut, limit_bytes: u64) -> Result<Option<Envelope>, WireError> {
    let Some(header) = buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (covered, crc, head_bytes, kind) = (word(0) as usize, word(4), word(8) as usize, header[12]);
    if covered as u64 > limit_bytes {
        return Err(WireError::TooLarge { bytes: covered as u64, limit: limit_bytes });
    }
    let payload_at = HEADER_BYTES - UNCOVERED_BYTES + head_bytes;
    if payload_at > covered {
        return Err(WireError::Malformed("the head is longer than the frame"));
    }
    let whole = UNCOVERED_BYTES + covered;
    if buffer.len() < whole {
        // Room grows with what really comes, not with what is announced.
        buffer.reserve((whole - buffer.len()).min(RESERVE_BYTES));
        return Ok(None);
    }
    let mut frame = buffer.split_to(whole).freeze();
    frame.advance(UNCOVERED_BYTES);
    if crc32c::crc32c(&frame) != crc {
        return Err(WireError::Checksum);
    }
    let payloads = frame.split_off(payload_at);
    let head = frame.slice(HEADER_BYTES - UNCOVERED_BYTES..);
    message(kind, &head, payloads, limit_bytes).map(Some)
}

fn parse<'a, B: Deserialize<'a>>(head: &'a [u8]) -> Result<Head<B>, WireError> {
    let (head, rest) = postcard::take_from_bytes(head).map_err(|_| WireError::Malformed("the head"))?;
    if rest.is_empty() { Ok(head) } else { Err(WireError::Malformed("bytes after the head")) }
}

fn message(number: u8, head: &[u8], mut payloads: Bytes, limit_bytes: u64) -> Result<Envelope, WireError> {
    let (addresses, message) = match number {
        kind::VOTE => {
            let Head { addresses, body } = parse::<VoteBody>(head)?;
            (addresses, vote(body, 0))
        }
        kind::VOTE_TOLD => {
            let Head { addresses, body: (body, told) } = parse::<(VoteBody, u64)>(head)?;
            (addresses, vote(body, told))
        }
        kind::VOTE_REPLY => {
            let Head { addresses, body } = parse::<VoteReplyBody>(head)?;
            let ballot = match body.ballot {
                0 => Ballot::Granted,
                1 => Ballot::Denied,
                2 => Ballot::Vetoed,
                _ => return Err(WireError::Malformed("an unknown ballot")),
            };
            (addresses, Message::VoteReply(VoteReply { pre: body.pre, asked: Term(body.asked), ballot }))
        }
        kind::HEARTBEAT => {
            let Head { addresses, body: (commit, round) } = parse::<(u64, u64)>(head)?;
            (addresses, Message::Heartbeat(Heartbeat { commit: Index(commit), round }))
        }
        kind::HEARTBEAT_REPLY => {
            let Head { addresses, body } = parse::<HeartbeatReplyBody>(head)?;
            (addresses, Message::HeartbeatReply(heartbeat_reply(&body)))
        }
        kind::HEARTBEAT_REPLY_MORE => {
            let Head { addresses, body: (body, more) } =
                parse::<(HeartbeatReplyBody, HeartbeatReplyMore)>(head)?;
            let HeartbeatReplyMore { slow, promise_micros, priority } = more;
            let promise = Duration::from_micros(promise_micros);
            let reply = HeartbeatReply { slow, promise, priority, ..heartbeat_reply(&body) };
            (addresses, Message::HeartbeatReply(reply))
        }
        kind::APPEND => {
            // The number of entries stands before them: an absurd one is refused before room is made.
            let ((_, _, _, count), _) = postcard::take_from_bytes::<(Addresses, Id, u64, u64)>(head)
                .map_err(|_| WireError::Malformed("the head"))?;
            // What a sender may send counts each with its overhead against the same limit.
            let bytes = count.saturating_mul(Entry::OVERHEAD_BYTES);
            if bytes > limit_bytes {
                return Err(WireError::TooLarge { bytes, limit: limit_bytes });
            }
            let Head { addresses, body } = parse::<AppendBody>(head)?;
            (addresses, Message::Append(append(body, &mut payloads)?))
        }
        kind::APPEND_REPLY => {
            let Head { addresses, body } = parse::<AppendReplyBody>(head)?;
            let AppendReplyBody { matched, index, hint, last } = body;
            let reply = if matched {
                AppendReply::Matched { matched: Index(index) }
            } else {
                AppendReply::Rejected { prev: Index(index), hint: log_id(hint), last: Index(last) }
            };
            (addresses, Message::AppendReply(reply))
        }
        kind::SNAPSHOT => {
            let Head { addresses, body } = parse::<SnapshotBody>(head)?;
            let SnapshotBody { upto, snapshot, membership, offset, total, checksum } = body;
            let (upto, membership) = (log_id(upto), membership.into());
            let data = std::mem::take(&mut payloads);
            let chunk = SnapshotChunk { upto, snapshot, membership, offset, total, checksum, data };
            (addresses, Message::Snapshot(chunk))
        }
        kind::SNAPSHOT_REPLY => {
            let Head { addresses, body } = parse::<SnapshotReplyBody>(head)?;
            let SnapshotReplyBody { snapshot, received, installed } = body;
            (addresses, Message::SnapshotReply(SnapshotReply { snapshot, received, installed }))
        }
        kind::TIMEOUT_NOW => (parse::<()>(head)?.addresses, Message::TimeoutNow(TimeoutNow { round: 0 })),
        kind::TIMEOUT_NOW_ROUND => {
            let Head { addresses, body: round } = parse::<u64>(head)?;
            (addresses, Message::TimeoutNow(TimeoutNow { round }))
        }
        kind::READ_INDEX => {
            let Head { addresses, body: id } = parse::<u64>(head)?;
            (addresses, Message::ReadIndex(ReadIndex { id }))
        }
        kind::READ_INDEX_REPLY => {
            let Head { addresses, body: (id, index) } = parse::<(u64, Option<u64>)>(head)?;
            (addresses, Message::ReadIndexReply(ReadIndexReply { id, index: index.map(Index) }))
        }
        kind::NOTICE => {
            let Head { addresses, body } = parse::<NoticeBody>(head)?;
            let notice = match body.notice {
                0 => Notice::Removed { since: Index(body.index) },
                1 => Notice::RolledBack { acknowledged: Index(body.index) },
                _ => return Err(WireError::Malformed("an unknown notice")),
            };
            (addresses, Message::Notice(notice))
        }
        unknown => return Err(WireError::Kind(unknown)),
    };
    if !payloads.is_empty() {
        return Err(WireError::Malformed("bytes after the payloads"));
    }
    let (group, from, to, term) = addresses;
    Ok(Envelope { group: GroupId(group), from: NodeId(from), to: NodeId(to), term: Term(term), message })
}

fn vote(body: VoteBody, told: u64) -> Message {
    let (pre, transfer) = (body.flags & 1 != 0, body.flags & 2 != 0);
    Message::Vote(VoteRequest { pre, transfer, last: log_id(body.last), told })
}

fn heartbeat_reply(body: &HeartbeatReplyBody) -> HeartbeatReply {
    let HeartbeatReplyBody { round, matched, last, probation } = *body;
    let (matched, last) = (Index(matched), Index(last));
    HeartbeatReply { round, matched, last, probation, ..HeartbeatReply::default() }
}

fn append(body: AppendBody, payloads: &mut Bytes) -> Result<Append, WireError> {
    let mut index = Index(body.prev.1);
    let entry = |(term, kind, length): (u64, u8, u32)| {
        index = index.next();
        let kind = EntryKind::from_u8(kind).ok_or(WireError::Malformed("an unknown kind of entry"))?;
        let length = length as usize;
        if length > payloads.len() {
            return Err(WireError::Malformed("a payload is longer than the frame"));
        }
        let data = payloads.split_to(length);
        Ok(Entry { id: LogId { term: Term(term), index }, kind, data })
    };
    let entries = body.entries.into_iter().map(entry).collect::<Result<_, _>>()?;
    Ok(Append { prev: log_id(body.prev), commit: Index(body.commit), entries })
}

#[cfg(test)]
#[path = "frame/tests.rs"]
mod tests;
