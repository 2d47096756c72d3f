use raft_core::ids::{GroupId, LogId};
use raft_core::message::{Append, Heartbeat, TimeoutNow, VoteReply, VoteRequest};

use super::*;
use crate::sim::{Plan, run_traced};

fn view(role: RoleKind, in_term: u64, last: u64) -> View {
    let mut view = View {
        role,
        hard: Default::default(),
        durable: true,
        leader: None,
        purged: Index(0),
        snapshot: LogId::ZERO,
        installing: None,
        membership: LogId::ZERO,
        last: LogId { term: Term(0), index: Index(last) },
        commit: Index(0),
        applied: Index(0),
        persisted: Index(last),
        embargo: false,
        alarm: None,
        round: 0,
        lease_until: None,
        handing_over_to: None,
        disk_hangs: false,
    };
    view.hard.term = Term(in_term);
    view
}

fn envelope(in_term: u64, message: Message) -> Envelope {
    Envelope { group: GroupId(0), from: NodeId(2), to: NodeId(1), term: Term(in_term), message }
}

fn names(state: &State) -> Vec<&str> {
    state.lines.iter().map(|line| line.split('"').nth(9).unwrap_or_default()).collect()
}

/// Node 1 of 3, up, with nothing written yet.
fn state(view: View) -> State {
    let mut state = Recorder::new(3).0.into_inner().unwrap();
    state.started(0, view);
    state.lines.clear();
    state
}

#[test]
fn first_life_and_later_ones() {
    let begun = view(RoleKind::Follower, 0, 1);
    let mut state = Recorder::new(3).0.into_inner().unwrap();
    state.started(0, begun);
    state.started(0, begun);
    assert_eq!(names(&state), ["ApplyConfChange", "Bootstrap", "InitState"]);
    assert_eq!(
        state.lines[1],
        "{\"tag\":\"trace\",\"event\":{\"name\":\"Bootstrap\",\"nid\":\"1\",\"state\":{\"term\":1,\
         \"vote\":\"0\",\"commit\":1},\"role\":\"StateFollower\",\"log\":1,\
         \"conf\":[[\"1\",\"2\",\"3\"],[]]}}"
    );
    // It lost what was not synced: nothing is told after that.
    state.started(0, view(RoleKind::Follower, 0, 0));
    state.after_input(0, view(RoleKind::Follower, 5, 0));
    assert_eq!(state.lines.len(), 3);
}

#[test]
fn a_receive_line_has_the_state_before() {
    let mut state = state(view(RoleKind::Follower, 1, 1));
    let last = LogId { term: Term(0), index: Index(1) };
    let request = VoteRequest { pre: false, transfer: false, last, told: 0 };
    state.nodes[0].heard = Some(envelope(4, Message::Vote(request)));
    state.after_input(0, view(RoleKind::Follower, 4, 1));
    assert_eq!(names(&state), ["ReceiveRequestVoteRequest", "BecomeFollower", "Ready"]);
    assert!(state.lines[0].contains("\"state\":{\"term\":2,"), "{}", state.lines[0]);
    assert!(state.lines[0].contains("\"type\":\"MsgVote\",\"term\":5,\"from\":\"2\",\"to\":\"1\""));
    assert!(state.lines[0].contains("\"logTerm\":1,\"index\":1,"), "{}", state.lines[0]);
    assert!(state.lines[1].contains("\"state\":{\"term\":5,"), "{}", state.lines[1]);
}

#[test]
fn an_election_is_told_with_the_messages_to_oneself() {
    let mut state = state(view(RoleKind::PreCandidate, 1, 1));
    let candidate = View { durable: false, ..view(RoleKind::Candidate, 2, 1) };
    state.after_input(0, candidate);
    state.nodes[0].timer_or_disk = true;
    state.after_input(0, View { durable: true, ..candidate });
    state.nodes[0].timer_or_disk = false;
    let reply = VoteReply { pre: false, asked: Term(2), ballot: Ballot::Granted };
    state.nodes[0].heard = Some(envelope(2, Message::VoteReply(reply)));
    let leader = View { persisted: Index(1), ..view(RoleKind::Leader, 2, 2) };
    state.after_input(0, leader);
    state.nodes[0].timer_or_disk = true;
    state.after_input(0, View { persisted: Index(2), commit: Index(2), ..leader });
    assert_eq!(
        names(&state),
        [
            "BecomeCandidate",
            "SendRequestVoteResponse",
            // Not before its vote is on its disk.
            "Ready",
            "ReceiveRequestVoteResponse",
            "Ready",
            "ReceiveRequestVoteResponse",
            "BecomeLeader",
            "Replicate",
            "SendAppendEntriesResponse",
            "Ready",
            "ReceiveAppendEntriesResponse",
            "Commit",
            "Ready",
        ]
    );
    assert!(state.lines[6].contains("\"role\":\"StateLeader\",\"log\":1,"), "{}", state.lines[6]);
}

#[test]
fn what_cannot_be_said_is_left_out() {
    let mut state = state(view(RoleKind::Follower, 3, 1));
    let last = LogId { term: Term(0), index: Index(1) };
    let vote = |pre| Message::Vote(VoteRequest { pre, transfer: false, last, told: 0 });
    let denied = Message::VoteReply(VoteReply { pre: false, asked: Term(3), ballot: Ballot::Denied });
    let unsaid =
        [(9, vote(true)), (9, vote(false)), (3, denied), (3, Message::TimeoutNow(TimeoutNow::default()))];
    for (in_term, message) in unsaid {
        state.nodes[0].heard = Some(envelope(in_term, message));
        state.after_input(0, view(RoleKind::Follower, 3, 1));
    }
    state.after_input(0, view(RoleKind::PreCandidate, 3, 1));
    state.after_input(0, view(RoleKind::Follower, 3, 1));
    assert_eq!(state.lines, Vec::<String>::new());
}

#[test]
fn an_append_names_no_commit_index_beyond_its_end() {
    let leader = View { commit: Index(7), ..view(RoleKind::Leader, 3, 9) };
    let mut state = state(leader);
    let prev = LogId { term: Term(3), index: Index(4) };
    let append = Append { prev, commit: Index(7), entries: Vec::new().into() };
    let mut sent = envelope(3, Message::Append(append));
    (sent.from, sent.to) = (NodeId(1), NodeId(2));
    state.nodes[0].commit = 7;
    state.said(0, leader, &sent);
    let end = "\"entries\":0,\"logTerm\":4,\"index\":4,\"commit\":4,";
    assert!(state.lines[0].contains(end), "{}", state.lines[0]);
    // And it arrives as it left.
    let follower = view(RoleKind::Follower, 3, 4);
    state.started(1, follower);
    state.nodes[1].heard = Some(sent);
    state.after_input(1, follower);
    assert!(state.lines[state.lines.len() - 2].contains(end), "{:?}", state.lines);
    let beat = Words::of(&Message::Heartbeat(Heartbeat { commit: Index(2), round: 5 })).unwrap();
    assert_eq!((beat.kind, beat.index, beat.log_term, beat.commit), ("MsgHeartbeat", 0, 0, 2));
}

#[test]
fn a_run_is_told_from_its_beginning_and_the_same_each_time() {
    let (outcome, lines) = run_traced(&Plan::etcd(1, Some(3)));
    assert_eq!(outcome.violation, None);
    for name in ["Bootstrap", "BecomeLeader", "Commit", "ReceiveAppendEntriesResponse"] {
        assert!(lines.iter().any(|line| line.contains(&format!("\"name\":\"{name}\""))), "{name}");
    }
    assert_eq!(lines, run_traced(&Plan::etcd(1, Some(3))).1);
}
