// What is around the `Raft` of an example: node 1 of a cluster that was just founded, with its disk, its state
// machine and its peers played by a few lines. Hidden lines of the examples include this file; it is no module of the
// crate. Everything happens at `Time::ZERO`, and no events are left over from a set-up.

pub use core::time::Duration;

pub use bytes::Bytes;
pub use raft_core::backend::{JournalState, SnapshotContent, SnapshotId, SnapshotMeta, Vote};
pub use raft_core::entry::{Entry, EntryKind, pack, unpack};
pub use raft_core::error::{ConfigError, Objection, ProposeError};
pub use raft_core::ids::{
    ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, ReadId, SessionId, StoreId, Term,
};
pub use raft_core::membership::{Change, Member, Membership};
pub use raft_core::message::{
    Append, AppendReply, Ballot, Envelope, Heartbeat, HeartbeatReply, Message, Outgoing, PeerEvent,
    ReadIndexReply, SnapshotChunk, SnapshotReply, VoteReply, VoteRequest,
};
pub use raft_core::raft::{ChangeOptions, Event, Piece, Restored, TakeSnapshot, Unreadable};
pub use raft_core::status::{Disk, RoleKind};
pub use raft_core::time::Time;
pub use raft_core::{Config, Raft, Settings};

const NOW: Time = Time::ZERO;

pub fn config() -> Config {
    Config::new(NodeId(1), ClusterId(7))
}

fn voters(ids: &[u64]) -> Membership {
    Membership::of_voters(ids.iter().map(|id| Member::new(NodeId(*id), format!("node-{id}")))).unwrap()
}

/// What a node starts from whose journal has nothing yet.
pub fn nothing() -> Restored {
    let identity = Identity {
        cluster: ClusterId(7),
        group: GroupId(0),
        node: NodeId(1),
        store: StoreId(1),
        incarnation: Incarnation::default(),
    };
    Restored { journal: JournalState::empty(identity), snapshot: None, applied: LogId::ZERO }
}

/// What a founder starts from: entry 0.1, which names the voters.
pub fn founded(ids: &[u64]) -> Restored {
    let mut restored = nothing();
    let first = Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data: voters(ids).encode() };
    restored.journal.last = first.id;
    restored.journal.terms.push((Index(1), Term(0)));
    restored.journal.memberships.push(first);
    restored
}

fn started(restored: Restored) -> Raft {
    let mut raft = Raft::new(config(), restored, NOW).unwrap();
    settle(&mut raft);
    forget_events(&mut raft);
    raft
}

/// One of three that has heard of nobody.
pub fn voter_of_three() -> Raft {
    started(founded(&[1, 2, 3]))
}

/// Follows node 2 in term 1, and has executed the only entry, 0.1.
pub fn follower_of_two() -> Raft {
    let mut raft = voter_of_three();
    let append = Append { prev: LogId::new(0, 1), commit: Index(1), entries: Vec::new().into() };
    raft.handle_message(NOW, says(2, 1, Message::Append(append)));
    settle(&mut raft);
    forget_events(&mut raft);
    raft
}

/// Leads term 1 of three. Node 2 has all of the log, which ends with 1.2; node 3 has answered nothing.
pub fn leader_of_three() -> Raft {
    let mut raft = voter_of_three();
    elect(&mut raft);
    acknowledge(&mut raft, 2, 2);
    settle(&mut raft);
    forget_events(&mut raft);
    raft
}

/// Leads term 1 alone. The log ends with 1.2, and all of it was executed.
pub fn only_voter() -> Raft {
    let mut raft = Raft::new(config(), founded(&[1]), NOW).unwrap();
    raft.handle_timeout(NOW);
    settle(&mut raft);
    forget_events(&mut raft);
    raft
}

/// The same with a snapshot of everything, and with settings by which the journal keeps one entry before its end.
pub fn only_voter_with_snapshot() -> Raft {
    let mut raft = only_voter();
    let settings = Settings { snapshot_keep_entries: Some(1), ..Settings::default() };
    raft.reconfigure(NOW, &settings).unwrap();
    raft.take_snapshot(NOW);
    let take = raft.poll_snapshot().unwrap();
    raft.handle_snapshot_taken(NOW, stored(take));
    raft
}

/// Came up with one entry in its journal that is committed and was not executed; that entry as well.
pub fn restarted() -> (Raft, Entry) {
    let mut restored = founded(&[1, 2, 3]);
    restored.journal.commit_hint = Index(1);
    let first = restored.journal.memberships[0].clone();
    (Raft::new(config(), restored, NOW).unwrap(), first)
}

/// A snapshot of ten bytes.
pub fn snapshot() -> SnapshotMeta {
    let content = SnapshotContent { total_bytes: 10, checksum: 7 };
    SnapshotMeta::new(SnapshotId(1), LogId::new(1, 5), voters(&[1, 2, 3]), content)
}

/// Leads term 2. Of its log nothing is left before the snapshot's end. Node 3, whose log is empty, has said that it
/// has nothing of the snapshot.
pub fn leader_that_sends() -> Raft {
    let mut restored = Restored { snapshot: Some(snapshot()), applied: snapshot().upto, ..nothing() };
    restored.journal.hard_state.term = Term(1);
    (restored.journal.purged, restored.journal.last) = (snapshot().upto, snapshot().upto);
    let mut raft = started(restored);
    elect(&mut raft);
    let lacks = AppendReply::Rejected { prev: Index(5), hint: LogId::ZERO, last: Index(0) };
    raft.handle_message(NOW, says(3, 2, Message::AppendReply(lacks)));
    settle(&mut raft);
    has_received(&mut raft, 0, false);
    forget_events(&mut raft);
    raft
}

/// Node 3 says how much of the snapshot it has.
pub fn has_received(raft: &mut Raft, received: u64, installed: bool) {
    let reply = SnapshotReply { snapshot: snapshot().id.0, received, installed };
    raft.handle_message(NOW, says(3, 2, Message::SnapshotReply(reply)));
}

fn piece(data: &'static [u8]) -> Message {
    let SnapshotMeta { id, upto, membership, content, .. } = snapshot();
    Message::Snapshot(SnapshotChunk {
        upto,
        snapshot: id.0,
        membership: membership.encode(),
        offset: 0,
        total: content.total_bytes,
        checksum: content.checksum,
        data: Bytes::from_static(data),
    })
}

/// Follows node 2 in term 2, which has asked how much of the snapshot is here.
pub fn follower_that_receives() -> Raft {
    let mut raft = voter_of_three();
    raft.handle_message(NOW, says(2, 2, piece(b"")));
    settle(&mut raft);
    raft
}

/// The same, when the store has all ten bytes and makes them durable.
pub fn follower_that_received() -> Raft {
    let mut raft = follower_that_receives();
    assert!(matches!(raft.poll_piece(), Some(Piece::Begin { .. })));
    raft.handle_piece_written(NOW, snapshot().id, 0);
    raft.handle_message(NOW, says(2, 2, piece(b"0123456789")));
    assert!(matches!(raft.poll_piece(), Some(Piece::Write { .. })));
    raft.handle_piece_written(NOW, snapshot().id, 10);
    assert!(matches!(raft.poll_piece(), Some(Piece::Finish { .. })));
    settle(&mut raft);
    raft
}

/// What the store has made of a snapshot that was to be taken.
pub fn stored(take: TakeSnapshot) -> SnapshotMeta {
    let content = SnapshotContent { total_bytes: 10, checksum: 7 };
    SnapshotMeta::new(SnapshotId(2), take.upto, take.membership, content)
}

/// A message from a peer to node 1.
pub fn says(from: u64, term: u64, message: Message) -> Envelope {
    Envelope { group: GroupId(0), from: NodeId(from), to: NodeId(1), term: Term(term), message }
}

/// A peer has the leader's log up to here.
pub fn acknowledge(raft: &mut Raft, from: u64, matched: u64) {
    let reply = AppendReply::Matched { matched: Index(matched) };
    let term = raft.status(NOW).term;
    raft.handle_message(NOW, says(from, term.0, Message::AppendReply(reply)));
}

/// Makes it campaign; node 2 supports it.
fn elect(raft: &mut Raft) {
    let term = raft.status(NOW).term;
    raft.campaign(NOW);
    for (pre, of) in [(true, term), (false, term.next())] {
        settle(raft);
        let reply = VoteReply { pre, asked: term.next(), ballot: Ballot::Granted };
        raft.handle_message(NOW, says(2, of.0, Message::VoteReply(reply)));
    }
    settle(raft);
    assert_eq!(raft.role_kind(), RoleKind::Leader);
}

/// A prompt disk.
pub fn persist(raft: &mut Raft) {
    while let Some(write) = raft.poll_write() {
        raft.handle_written(NOW, write.ticket);
    }
}

/// Everything that a driver would do but with snapshots and events, with a prompt disk and state machine. Returns
/// what was sent.
pub fn settle(raft: &mut Raft) -> Vec<Envelope> {
    let mut sent = Vec::new();
    loop {
        sent.extend(core::iter::from_fn(|| raft.poll_message()).map(|out| out.envelope));
        if let Some(write) = raft.poll_write() {
            raft.handle_written(NOW, write.ticket);
        } else if let Some(apply) = raft.poll_apply() {
            raft.handle_applied(NOW, apply.through.index);
        } else if let Some(fetch) = raft.poll_fetch() {
            // No set-up executes another entry that is in the journal only.
            assert_eq!(fetch.range, Index(1)..Index(2));
            let data = raft.status(NOW).membership.encode();
            let first = Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data };
            raft.handle_fetched(NOW, fetch.id, vec![first]);
        } else if let Some(out) = raft.poll_message() {
            sent.push(out.envelope);
        } else {
            return sent;
        }
    }
}

fn forget_events(raft: &mut Raft) {
    while raft.poll_event().is_some() {}
}
