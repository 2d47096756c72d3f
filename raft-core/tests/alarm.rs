//! A quorum that elects a node against a veto proves that something is lost: it is reported, and the node
//! does not lead (M6).

use raft_core::backend::JournalState;
use raft_core::entry::{Entry, EntryKind};
use raft_core::error::Violation;
use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, StoreId, Term};
use raft_core::membership::{Member, Membership};
use raft_core::message::{Ballot, Envelope, Message, VoteReply};
use raft_core::raft::{Event, Restored};
use raft_core::status::RoleKind;
use raft_core::time::Time;
use raft_core::{Config, Raft};

fn voter() -> Raft {
    let id = NodeId(1);
    let (cluster, group, store) = (ClusterId(1), GroupId(0), StoreId(1));
    let incarnation = Incarnation { number: 1, nonce: 1 };
    let mut journal = JournalState::empty(Identity { cluster, group, node: id, store, incarnation });
    let members = (1..=3).map(|id| Member::new(NodeId(id), format!("node-{id}")));
    let data = Membership::of_voters(members).unwrap().encode();
    journal.memberships.push(Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data });
    journal.terms.push((Index(1), Term(0)));
    journal.last = LogId::new(0, 1);
    Raft::new(
        Config::new(id, cluster),
        Restored { journal, snapshot: None, applied: LogId::ZERO },
        Time::ZERO,
    )
    .unwrap()
}

fn answer(raft: &mut Raft, now: Time, from: u64, pre: bool, ballot: Ballot) {
    let message = Message::VoteReply(VoteReply { pre, asked: Term(1), ballot });
    let term = Term(u64::from(!pre));
    let envelope = Envelope { group: GroupId(0), from: NodeId(from), to: NodeId(1), term, message };
    raft.handle_message(now, envelope);
}

#[test]
fn a_vetoed_election_is_reported_and_not_won() {
    let mut raft = voter();
    let now = raft.next_timeout().unwrap();
    raft.handle_timeout(now);
    answer(&mut raft, now, 2, true, Ballot::Granted);
    let vote = raft.poll_write().expect("its own vote");
    raft.handle_written(now, vote.ticket);
    assert_eq!(raft.role_kind(), RoleKind::Candidate);

    answer(&mut raft, now, 3, false, Ballot::Vetoed);
    answer(&mut raft, now, 2, false, Ballot::Granted);

    let violation = Violation::VetoedElection { term: Term(1), by: NodeId(3) };
    let events: Vec<Event> = std::iter::from_fn(|| raft.poll_event()).collect();
    let status = raft.status(now);
    assert_ne!(status.role, RoleKind::Leader);
    assert!(status.embargo);
    // Whichever answer came first: the two together are the alarm.
    assert!(events.contains(&Event::Alarm(violation)), "{events:?}");
    assert_eq!(status.alarm, Some(violation));
    assert!(!violation.is_fatal(), "the node goes on, as a follower");
}
