//! A journal that has no space (J9): what is written meanwhile, when it is tried again, and what is said of it.

use std::time::Duration;

use bytes::Bytes;
use raft_core::backend::{JournalState, JournalWrite};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, StoreId, Term};
use raft_core::membership::{Member, Membership};
use raft_core::message::{Append, Envelope, Heartbeat, Message};
use raft_core::raft::Restored;
use raft_core::status::{Disk, RoleKind};
use raft_core::time::Time;
use raft_core::{Config, Raft};

const CLUSTER: ClusterId = ClusterId(7);

/// Node 1 of three, that follows node 2 in term 1, with what of its log is on no disk yet.
fn follower() -> Raft {
    let node = |id: u64| Member::new(NodeId(id), format!("node-{id}"));
    let members = Membership::of_voters([1, 2, 3].map(node)).unwrap().encode();
    let mut journal = JournalState::empty(Identity {
        cluster: CLUSTER,
        group: GroupId(0),
        node: NodeId(1),
        store: StoreId(1),
        incarnation: Incarnation::default(),
    });
    journal.terms.push((Index(1), Term(0)));
    journal.last = LogId::new(0, 1);
    journal.memberships.push(Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data: members });
    let restored = Restored { journal, snapshot: None, applied: LogId::ZERO };
    let mut raft = Raft::new(Config::new(NodeId(1), CLUSTER), restored, Time::ZERO).unwrap();
    hear(&mut raft, Time::ZERO, Message::Heartbeat(Heartbeat { commit: Index(0), round: 1 }));
    raft
}

fn hear(raft: &mut Raft, now: Time, message: Message) {
    let envelope = Envelope { group: GroupId(0), from: NodeId(2), to: NodeId(1), term: Term(1), message };
    raft.handle_message(now, envelope);
    while raft.poll_message().is_some() {}
}

/// The leader sends the next entry.
fn append(raft: &mut Raft, now: Time) {
    let prev = raft.status(now).last;
    let id = LogId { term: Term(1), index: prev.index.next() };
    let entries = vec![Entry { id, kind: EntryKind::Commands, data: Bytes::new() }];
    hear(raft, now, Message::Append(Append { prev, commit: Index(0), entries: entries.into() }));
}

/// Time passes until something is to be written.
fn next_write(raft: &mut Raft) -> (Time, JournalWrite) {
    let mut now = Time::ZERO;
    loop {
        if let Some(write) = raft.poll_write() {
            return (now, write);
        }
        now = raft.next_timeout().unwrap();
        raft.handle_timeout(now);
        assert_eq!(raft.role_kind(), RoleKind::Follower, "such a node does not campaign");
    }
}

fn disk(raft: &Raft, now: Time) -> Disk {
    raft.status(now).disk
}

/// Not even the term that it has heard of found space.
#[test]
fn a_journal_that_takes_no_hard_state_is_left_alone() {
    let mut raft = follower();
    let write = raft.poll_write().unwrap();
    assert!(write.hard_state.is_some() && write.entries.is_empty());
    assert!(!raft.spares_journal());
    raft.handle_no_space(Time::ZERO, write.ticket);
    assert!(raft.spares_journal());
    assert_eq!(disk(&raft, Time::ZERO), Disk::Full { since: Duration::ZERO });
    append(&mut raft, Time::ZERO);
    assert!(raft.poll_write().is_none());
    let (tried, write) = next_write(&mut raft);
    assert!(tried >= Time::ZERO + Config::new(NodeId(1), CLUSTER).election_timeout);
    assert!(!raft.spares_journal());
    assert!(write.hard_state.is_some());
    assert_eq!(write.entries.len(), 1);
}

/// Where nothing but the hard state waits, the next write shows whether there is space again.
#[test]
fn a_journal_that_nothing_waits_for_counts_as_usable_after_a_pause() {
    let mut raft = follower();
    let write = raft.poll_write().unwrap();
    raft.handle_no_space(Time::ZERO, write.ticket);
    let (tried, write) = next_write(&mut raft);
    assert_eq!(disk(&raft, tried), Disk::Slow);
    raft.handle_written(tried, write.ticket);
    assert!(raft.poll_write().is_none());
}

/// Entries found no space: a term is written at once all the same, they are tried again after pauses that grow, and
/// when they are written all is well again, but not at once.
#[test]
fn entries_without_space_are_tried_again_after_pauses_that_grow() {
    let mut raft = follower();
    let timeout = Config::new(NodeId(1), CLUSTER).election_timeout;
    append(&mut raft, Time::ZERO);
    let mut write = raft.poll_write().unwrap();
    let (mut now, mut pauses) = (Time::ZERO, Vec::new());
    for _ in 0..6 {
        assert_eq!(write.entries.len(), 1);
        raft.handle_no_space(now, write.ticket);
        assert!(!raft.spares_journal(), "there was space for the term");
        if now == Time::ZERO {
            let term = raft.poll_write().unwrap();
            assert!(term.hard_state.is_some() && term.entries.is_empty());
            raft.handle_written(now, term.ticket);
            assert_eq!(disk(&raft, now), Disk::Full { since: Duration::ZERO }, "that proves nothing");
        }
        assert!(raft.poll_write().is_none());
        let (tried, again) = next_write(&mut raft);
        pauses.push(tried.since(now).as_millis() / timeout.as_millis());
        (now, write) = (tried, again);
        assert_eq!(disk(&raft, now), Disk::Full { since: now.since(Time::ZERO) });
    }
    assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
    raft.handle_written(now, write.ticket);
    assert_eq!(disk(&raft, now), Disk::Slow);
    assert_eq!(raft.status(now).persisted_index, Index(2));
    let (before, after) = (now + timeout * 10 - Duration::from_millis(1), now + timeout * 10);
    hear(&mut raft, before, Message::Heartbeat(Heartbeat { commit: Index(0), round: 2 }));
    assert_eq!(disk(&raft, before), Disk::Slow);
    hear(&mut raft, after, Message::Heartbeat(Heartbeat { commit: Index(0), round: 3 }));
    assert_eq!(disk(&raft, after), Disk::Prompt);
}

/// Two writes that were under way find no space for the same reason: that is one failure, not two.
#[test]
fn a_second_write_that_was_under_way_makes_the_pause_no_longer() {
    let mut raft = follower();
    let timeout = Config::new(NodeId(1), CLUSTER).election_timeout;
    append(&mut raft, Time::ZERO);
    let first = raft.poll_write().unwrap();
    append(&mut raft, Time::ZERO);
    let second = raft.poll_write().unwrap();
    assert_eq!(second.entries.len(), 1);
    raft.handle_no_space(Time::ZERO, second.ticket);
    raft.handle_no_space(Time::ZERO, first.ticket);
    let term = raft.poll_write().unwrap();
    assert!(term.entries.is_empty());
    raft.handle_written(Time::ZERO, term.ticket);
    let (tried, write) = next_write(&mut raft);
    assert_eq!(tried, Time::ZERO + timeout);
    assert_eq!(write.entries.len(), 2);
}

/// That a later write found no space says nothing of an earlier one: the disk hangs when that has taken too long.
#[test]
fn an_earlier_write_is_still_watched() {
    let mut raft = follower();
    let timeout = Config::new(NodeId(1), CLUSTER).election_timeout;
    assert!(raft.poll_write().is_some(), "its term");
    let later = Time::ZERO + timeout / 2;
    append(&mut raft, later);
    let write = raft.poll_write().unwrap();
    raft.handle_no_space(later, write.ticket);
    assert_eq!(raft.next_timeout(), Some(Time::ZERO + timeout));
}

/// A disk that hangs in the middle of a write that keeps the node's own thread: no timer runs meanwhile, and it is slow all the
/// same afterwards (M11).
#[test]
fn a_write_that_kept_the_node_for_long_was_a_disk_that_hung() {
    let timeout = Config::new(NodeId(1), CLUSTER).election_timeout;
    for (took, expected) in [(timeout - Duration::from_millis(1), Disk::Prompt), (timeout, Disk::Slow)] {
        let mut raft = follower();
        append(&mut raft, Time::ZERO);
        let write = raft.poll_write().unwrap();
        let now = Time::ZERO + took;
        raft.handle_written(now, write.ticket);
        assert_eq!(disk(&raft, now), expected, "{took:?}");
    }
}
