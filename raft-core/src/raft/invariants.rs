//! Checked after every input, also in release: a node that finds its own state illegal stops rather than
//! go on.

use super::common::Common;
use super::{Raft, Role};
use crate::error::Violation;
use crate::ids::LogId;

/// The first invariant that does not hold.
pub(super) fn broken(raft: &Raft) -> Option<Violation> {
    let Raft { common, role, .. } = raft;
    let log = &common.log;
    let LogId { term, index: last } = log.last_id();
    let what = if log.commit() > last {
        "the commit index is beyond the log"
    } else if log.applied() > log.commit() {
        "more is applied than is committed"
    } else if log.persisted() > last {
        "more is durable than the log has"
    } else if log.purged().index > log.covered() {
        "more was purged than a snapshot covers"
    } else if log.applied() < log.purged().index && !common.receive.is_replacing() {
        "entries are gone that were never executed here"
    } else if log.tail.end() != last.next() {
        "the tail in memory does not end where the log ends"
    } else if term > common.term() {
        "the log is of a later term than the node"
    } else if !role_is_sound(role, common) {
        "the role does not fit the node's state"
    } else {
        return None;
    };
    Some(Violation::Local { what })
}

fn role_is_sound(role: &Role, common: &Common) -> bool {
    match role {
        Role::Follower(_) => common.leader != Some(common.id()),
        Role::Candidate(_) => common.leader.is_none(),
        Role::Leader(leader) => common.leader == Some(common.id()) && leader.is_sound(common),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use alloc::boxed::Box;
    use alloc::string::String;

    use super::super::election::Candidate;
    use super::super::leader::Leader;
    use super::*;
    use crate::backend::JournalState;
    use crate::config::Config;
    use crate::entry::{Entry, EntryKind};
    use crate::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, StoreId, Term};
    use crate::membership::{Member, Membership};
    use crate::raft::{Event, Restored};
    use crate::time::Time;

    /// Node 1 of three, that has just come up.
    fn follower() -> Raft {
        let members = [1, 2, 3].map(|id| Member::new(NodeId(id), String::new()));
        let data = Membership::of_voters(members).unwrap().encode();
        let mut journal = JournalState::empty(Identity {
            cluster: ClusterId(7),
            group: GroupId(0),
            node: NodeId(1),
            store: StoreId(1),
            incarnation: Incarnation::default(),
        });
        journal.last = LogId::new(0, 1);
        journal.terms.push((Index(1), Term(0)));
        journal.memberships.push(Entry { id: journal.last, kind: EntryKind::Membership, data });
        let restored = Restored { journal, snapshot: None, applied: LogId::ZERO };
        Raft::new(Config::new(NodeId(1), ClusterId(7)), restored, Time::ZERO).unwrap()
    }

    /// The same, and it leads.
    pub(in crate::raft) fn leader() -> Raft {
        let mut raft = follower();
        raft.common.leader = Some(raft.common.id());
        raft.role = Role::Leader(Box::new(Leader::start(&mut raft.common)));
        raft
    }

    /// Whether it stands still, and has said so.
    pub(in crate::raft) fn halts(mut raft: Raft) -> bool {
        raft.check();
        // Once is enough.
        raft.check();
        let alarms = core::iter::from_fn(|| raft.poll_event());
        let alarms = alarms.filter(|event| matches!(event, Event::Alarm(Violation::Local { .. }))).count();
        assert_eq!(alarms, usize::from(raft.common.halted));
        raft.common.halted
    }

    #[test]
    fn a_node_whose_role_contradicts_what_it_knows_halts() {
        for sound in [true, false] {
            let (me, other) = (Some(NodeId(1)), Some(NodeId(2)));
            let mut raft = follower();
            raft.common.leader = if sound { other } else { me };
            assert_eq!(halts(raft), !sound);
            let mut raft = follower();
            raft.role = Role::Candidate(Candidate::start(&mut raft.common, true, false, 0));
            raft.common.leader = if sound { None } else { other };
            assert_eq!(halts(raft), !sound);
            let mut raft = leader();
            raft.common.leader = if sound { me } else { other };
            assert_eq!(halts(raft), !sound);
        }
    }
}
