//! What the others say: anything, but most of the time something that is near to what they may.

use std::time::Duration;

use bytes::Bytes;
use raft_core::entry::{Entry, EntryKind, pack};
use raft_core::ids::{GroupId, Index, LogId, NodeId, Term};
use raft_core::message::{
    Append, AppendReply, Ballot, Envelope, Heartbeat, HeartbeatReply, Message, Notice, SnapshotChunk,
    SnapshotReply, TimeoutNow, VoteReply, VoteRequest,
};

use crate::fuzz::Input;
use crate::world::World;
use crate::{ME, voters};

impl World {
    /// A message that is near to what it may get, most of the time.
    pub(crate) fn envelope(&self, input: &mut Input<'_>) -> Envelope {
        let shape = input.byte();
        let from = if shape & 7 == 0 { NodeId(input.number()) } else { peer(input) };
        let to = if shape & 0x38 == 0x38 { NodeId(input.number()) } else { ME };
        let group = GroupId(u64::from(shape == 0xff));
        let term = Term(near(input, self.term.0));
        let message = self.message(input, term);
        Envelope { group, from, to, term, message }
    }

    fn message(&self, input: &mut Input<'_>, term: Term) -> Message {
        let last = self.last;
        let index = |input: &mut Input<'_>| Index(near(input, last));
        let log_id = |input: &mut Input<'_>| {
            let index = near(input, last);
            // Often one that is there.
            let known = self.disk.at(Index(index)).map(|entry| entry.id);
            match (input.byte() & 3, known) {
                (0..=2, Some(known)) => known,
                (3, _) => LogId { term: Term(near(input, term.0)), index: Index(index) },
                _ => LogId { term, index: Index(index) },
            }
        };
        let flags = input.byte();
        let flag = |bit: u8| flags >> bit & 1 == 1;
        match input.byte() % 20 {
            0 | 1 => {
                let told = if flag(2) { input.number() } else { 0 };
                Message::Vote(VoteRequest { pre: flag(0), transfer: flag(1), last: log_id(input), told })
            }
            2..=4 => {
                let ballot =
                    [Ballot::Granted, Ballot::Granted, Ballot::Denied, Ballot::Vetoed][input.below(4)];
                let asked = if flag(3) { Term(near(input, term.0)) } else { term };
                Message::VoteReply(VoteReply { pre: flag(0), asked, ballot })
            }
            5 | 6 => Message::Heartbeat(Heartbeat { commit: index(input), round: input.number() }),
            7 | 8 => {
                let (matched, last) = (index(input), index(input));
                let round = input.number();
                let (probation, slow) = (flag(0), flag(1));
                let promise = Duration::from_micros(if flag(2) { input.number() } else { 0 });
                let priority = if flag(3) { input.byte().cast_signed() } else { 0 };
                Message::HeartbeatReply(HeartbeatReply {
                    round,
                    matched,
                    last,
                    probation,
                    slow,
                    promise,
                    priority,
                })
            }
            9..=12 => {
                let prev = log_id(input);
                let mut at = prev;
                let entries = (0..input.below(4)).map(|_| {
                    at.index = if flag(7) { index(input) } else { at.index.next() };
                    at.term = if flag(6) { Term(near(input, term.0)) } else { term };
                    entry(input, at)
                });
                let entries = entries.collect();
                Message::Append(Append { prev, commit: index(input), entries })
            }
            13 | 14 => Message::AppendReply(AppendReply::Matched { matched: index(input) }),
            15 => {
                let (prev, hint, last) = (index(input), log_id(input), index(input));
                Message::AppendReply(AppendReply::Rejected { prev, hint, last })
            }
            16 => Message::TimeoutNow(TimeoutNow { round: if flag(0) { input.number() } else { 0 } }),
            17 if flag(0) => Message::Notice(Notice::Removed { since: Index(3) }),
            17 => Message::Notice(Notice::RolledBack { acknowledged: index(input) }),
            18 => {
                let total = if flag(4) { input.number() } else { u64::from(input.byte() % 13) };
                let offset = if flag(5) { input.number() } else { u64::from(input.byte()) % (total | 1) };
                let length = if flag(6) { 8 } else { total.saturating_sub(offset).min(8) as usize };
                let membership = match input.byte() {
                    0..=7 => Bytes::copy_from_slice(input.bytes(8)),
                    shape => voters(1 + u64::from(shape % 5)).encode(),
                };
                Message::Snapshot(SnapshotChunk {
                    upto: log_id(input),
                    snapshot: u128::from(input.byte() % 4),
                    membership,
                    offset,
                    total,
                    checksum: 0,
                    data: Bytes::copy_from_slice(input.bytes(length)),
                })
            }
            _ => {
                let (received, installed) = (u64::from(input.byte() % 16), flag(0));
                let received = if flag(1) { input.number() } else { received };
                let mine = self.disk.snapshot.as_ref().map_or(1, |snapshot| snapshot.id.0);
                let snapshot = if flag(2) { input.number().into() } else { mine };
                Message::SnapshotReply(SnapshotReply { snapshot, received, installed })
            }
        }
    }
}

pub(crate) fn peer(input: &mut Input<'_>) -> NodeId {
    NodeId(2 + u64::from(input.byte() % 5))
}

/// A number around another.
fn near(input: &mut Input<'_>, middle: u64) -> u64 {
    let byte = input.byte();
    match byte {
        0..=0xbf => middle.saturating_add(u64::from(byte % 8)).saturating_sub(3),
        _ => input.number(),
    }
}

fn entry(input: &mut Input<'_>, id: LogId) -> Entry {
    let what = input.byte();
    let (kind, data) = match what % 8 {
        0 => (EntryKind::Noop, Bytes::new()),
        1 => (EntryKind::Session, Bytes::copy_from_slice(input.bytes(3))),
        2 => {
            let mut membership = voters(1 + u64::from(what >> 5));
            if what & 8 != 0 {
                membership.voters.remove(&ME);
                membership.outgoing = [NodeId(2)].into();
            }
            (EntryKind::Membership, membership.encode())
        }
        3 => (EntryKind::Membership, Bytes::copy_from_slice(input.bytes(3))),
        _ => (EntryKind::Commands, pack(&[Bytes::copy_from_slice(input.bytes(2))])),
    };
    Entry { id, kind, data }
}
