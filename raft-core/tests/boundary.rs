//! The protocol's boundary: what it starts from, what a halted node still answers, and what it counts.

use std::time::Duration;

use bytes::Bytes;
use raft_core::backend::JournalState;
use raft_core::entry::{Entry, EntryKind};
use raft_core::error::{ChangeError, ProposeError, ReadError, TransferError, Violation};
use raft_core::ids::{
    ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, ReadId, StoreId, Term,
};
use raft_core::membership::{Change, Member, Membership};
use raft_core::message::{
    Append, AppendReply, Ballot, Envelope, Heartbeat, HeartbeatReply, Message, Notice, PeerEvent, ReadIndex,
    ReadIndexReply, TimeoutNow, VoteReply, VoteRequest,
};
use raft_core::raft::{ChangeOptions, Event, Restored};
use raft_core::status::RoleKind;
use raft_core::time::Time;
use raft_core::{Config, Raft, Settings};

const CLUSTER: ClusterId = ClusterId(7);

fn membership(ids: &[u64]) -> Membership {
    Membership::of_voters(ids.iter().map(|id| Member::new(NodeId(*id), format!("node-{id}")))).unwrap()
}

fn members(at: LogId, ids: &[u64]) -> Entry {
    Entry { id: at, kind: EntryKind::Membership, data: membership(ids).encode() }
}

/// The journal of node 1 of three, with the entry that names them and nothing else.
fn journal() -> JournalState {
    let mut journal = JournalState::empty(Identity {
        cluster: CLUSTER,
        group: GroupId(0),
        node: NodeId(1),
        store: StoreId(1),
        incarnation: Incarnation::default(),
    });
    journal.terms.push((Index(1), Term(0)));
    journal.last = LogId::new(0, 1);
    journal.memberships.push(members(LogId::new(0, 1), &[1, 2, 3]));
    journal
}

fn start(journal: JournalState) -> Result<Raft, raft_core::error::ConfigError> {
    let restored = Restored { journal, snapshot: None, applied: LogId::ZERO };
    Raft::new(Config::new(NodeId(1), CLUSTER), restored, Time::ZERO)
}

fn hear(raft: &mut Raft, now: Time, from: u64, term: u64, message: Message) {
    let term = Term(term);
    let envelope = Envelope { group: GroupId(0), from: NodeId(from), to: NodeId(1), term, message };
    raft.handle_message(now, envelope);
}

/// Writes what there is, and gives away all messages.
fn settle(raft: &mut Raft, now: Time) -> Vec<Envelope> {
    while let Some(write) = raft.poll_write() {
        raft.handle_written(now, write.ticket);
    }
    std::iter::from_fn(|| raft.poll_message()).map(|out| out.envelope).collect()
}

/// `RAFT CONFIG GET` asks for the settings by changing none. Whoever asked more often than elections time out kept a
/// follower without a leader from ever campaigning.
#[test]
fn who_asks_for_the_settings_puts_off_no_election() {
    let mut raft = start(journal()).unwrap();
    let due = raft.next_timeout();
    let now = Time::ZERO + Duration::from_millis(100);
    raft.reconfigure(now, &Settings::default()).unwrap();
    assert_eq!(raft.next_timeout(), due);
    let patient = Settings { election_timeout: Some(Duration::from_secs(3)), ..Settings::default() };
    raft.reconfigure(now, &patient).unwrap();
    assert!(raft.next_timeout() > due, "what is changed holds at once");
}

/// Node 1, in term 1, with its requests for votes under way.
fn candidate() -> (Raft, Time) {
    let mut raft = start(journal()).unwrap();
    let now = raft.next_timeout().unwrap();
    raft.handle_timeout(now);
    let grant = VoteReply { pre: true, asked: Term(1), ballot: Ballot::Granted };
    hear(&mut raft, now, 2, 0, Message::VoteReply(grant));
    assert_eq!(settle(&mut raft, now).len(), 2, "two votes; the pre-votes had not left and were taken back");
    assert_eq!(raft.role_kind(), RoleKind::Candidate);
    (raft, now)
}

fn leader() -> (Raft, Time) {
    let (mut raft, now) = candidate();
    let grant = VoteReply { pre: false, asked: Term(1), ballot: Ballot::Granted };
    hear(&mut raft, now, 2, 1, Message::VoteReply(grant));
    assert_eq!(raft.role_kind(), RoleKind::Leader);
    (raft, now)
}

#[test]
fn a_journal_that_contradicts_itself_is_refused() {
    assert!(start(journal()).is_ok());
    // Its terms grow, but do not end where it says that it ends.
    let mut elsewhere = journal();
    elsewhere.hard_state.term = Term(1);
    elsewhere.last = LogId::new(1, 1);
    assert!(start(elsewhere).is_err());
    // They end there, but do not grow.
    let mut shrinking = journal();
    shrinking.hard_state.term = Term(2);
    shrinking.terms = vec![(Index(1), Term(2)), (Index(2), Term(1))];
    shrinking.last = LogId::new(1, 2);
    assert!(start(shrinking).is_err());
    // Two runs are of one term.
    let mut twice = journal();
    twice.hard_state.term = Term(1);
    twice.terms = vec![(Index(1), Term(1)), (Index(2), Term(1))];
    twice.last = LogId::new(1, 2);
    assert!(start(twice).is_err());
}

/// Section 6: a membership is in force from when it is appended, and no longer when its entry is cut away.
#[test]
fn a_membership_is_in_force_while_its_entry_is_in_the_log() {
    let mut raft = start(journal()).unwrap();
    let append = |prev: LogId, entries: Vec<Entry>| {
        Message::Append(Append { prev, commit: Index(0), entries: entries.into() })
    };
    let first = LogId::new(0, 1);
    let noop = |term, index| Entry { id: LogId::new(term, index), kind: EntryKind::Noop, data: Bytes::new() };
    let more = vec![noop(1, 2), members(LogId::new(1, 3), &[1, 2, 3, 4])];
    hear(&mut raft, Time::ZERO, 2, 1, append(first, more));
    assert_eq!(raft.status(Time::ZERO).membership, membership(&[1, 2, 3, 4]));
    hear(&mut raft, Time::ZERO, 3, 2, append(LogId::new(1, 2), vec![noop(2, 3)]));
    assert_eq!(raft.status(Time::ZERO).last, LogId::new(2, 3));
    assert_eq!(raft.status(Time::ZERO).membership, membership(&[1, 2, 3]));
}

#[test]
fn joint_is_what_has_two_sets() {
    let mut membership = membership(&[1, 2]);
    assert!(!membership.is_joint());
    membership.outgoing.insert(NodeId(2));
    assert!(membership.is_joint());
}

#[test]
fn what_is_not_for_this_node_is_counted() {
    let mut raft = start(journal()).unwrap();
    for count in 1..=3 {
        let envelope = Envelope {
            group: GroupId(0),
            from: NodeId(2),
            to: NodeId(9),
            term: Term(1),
            message: Message::TimeoutNow(TimeoutNow::default()),
        };
        raft.handle_message(Time::ZERO, envelope);
        assert_eq!(raft.status(Time::ZERO).counters.ignored_messages, count);
    }
    assert_eq!(raft.status(Time::ZERO).term, Term(0));
}

/// Answers that a leader can do nothing with: of more than it has, of an earlier term, of a store that was set
/// back. Each is counted, and none moves what it believes.
#[test]
fn an_answer_of_no_use_is_counted() {
    let (mut raft, now) = leader();
    settle(&mut raft, now);
    let ignored = |raft: &Raft| raft.status(now).counters.ignored_messages;
    let matched = |index| Message::AppendReply(AppendReply::Matched { matched: Index(index) });
    hear(&mut raft, now, 3, 1, matched(9));
    assert_eq!(ignored(&raft), 1);
    hear(&mut raft, now, 3, 0, matched(2));
    assert_eq!(ignored(&raft), 2);
    hear(&mut raft, now, 3, 1, matched(2));
    raft.handle_timeout(raft.next_timeout().unwrap());
    let set_back = HeartbeatReply { round: 2, last: Index(1), ..HeartbeatReply::default() };
    hear(&mut raft, now, 3, 1, Message::HeartbeatReply(set_back));
    assert_eq!(ignored(&raft), 2);
    hear(&mut raft, now, 3, 1, matched(2));
    assert_eq!(ignored(&raft), 3);
}

/// An answer to the round that was under way when a node acknowledged may have been given before that: that its
/// log was shorter then is no loss, and nobody is accused of one.
#[test]
fn an_answer_of_the_round_of_an_acknowledgement_proves_no_loss() {
    let (mut raft, now) = leader();
    settle(&mut raft, now);
    hear(&mut raft, now, 3, 1, Message::AppendReply(AppendReply::Matched { matched: Index(2) }));
    settle(&mut raft, now);
    for probation in [false, true] {
        let before = HeartbeatReply { round: 1, last: Index(1), probation, ..HeartbeatReply::default() };
        hear(&mut raft, now, 3, 1, Message::HeartbeatReply(before));
        let status = raft.status(now);
        let peer = status.peers.iter().find(|peer| peer.id == NodeId(3)).unwrap();
        assert_eq!(peer.match_index, Index(2));
        let said = settle(&mut raft, now);
        assert!(!said.iter().any(|envelope| matches!(envelope.message, Message::Notice(_))), "{said:?}");
    }
}

#[test]
fn a_candidate_asks_again_over_a_new_connection_only() {
    let (mut raft, now) = candidate();
    for event in [PeerEvent::Down, PeerEvent::Gone] {
        raft.handle_peer(now, NodeId(3), event);
        assert!(settle(&mut raft, now).is_empty(), "{event:?}");
    }
    raft.handle_peer(now, NodeId(3), PeerEvent::Up);
    assert_eq!(settle(&mut raft, now).len(), 1);
}

/// Two leaders in one term: the node halts, and neither writes nor reads go through it any more.
#[test]
fn a_halted_leader_answers_nothing() {
    let (mut raft, now) = leader();
    assert!(raft.read(now, ReadId(1)).is_ok());
    let append = Append { prev: LogId::new(0, 1), commit: Index(0), entries: Vec::new().into() };
    hear(&mut raft, now, 3, 1, Message::Append(append));
    assert!(raft.status(now).alarm.is_some_and(|alarm| alarm.is_fatal()));
    assert!(matches!(raft.read(now, ReadId(2)), Err(ReadError::NotLeader { .. })));
    assert!(matches!(raft.read_anywhere(now, ReadId(3)), Err(ReadError::NotLeader { .. })));
    assert!(matches!(raft.propose(now, Bytes::new()), Err(ProposeError::NotLeader { .. })));
    assert!(matches!(raft.transfer_leadership(now, None), Err(TransferError::NotLeader { .. })));
    let change = raft.change_membership(now, &[Change::Remove(NodeId(3))], ChangeOptions::default());
    assert!(matches!(change, Err(ChangeError::NotLeader { .. })));
    assert!(settle(&mut raft, now).is_empty());
    assert_eq!(raft.next_timeout(), None);
}

/// M10: damage may bring back entries that were cut long ago. What a node on probation had acknowledged says
/// nothing; its log is compared anew, from its end (simulator seed 3525).
#[test]
fn a_log_on_probation_is_compared_anew() {
    let (mut raft, now) = leader();
    for index in 3..=5 {
        assert_eq!(raft.propose(now, Bytes::new()).unwrap(), LogId::new(1, index));
    }
    settle(&mut raft, now);
    let answer = |matched, last, probation| {
        Message::HeartbeatReply(HeartbeatReply {
            round: 2,
            matched: Index(matched),
            last: Index(last),
            probation,
            ..HeartbeatReply::default()
        })
    };
    hear(&mut raft, now, 3, 1, Message::AppendReply(AppendReply::Matched { matched: Index(5) }));
    raft.handle_timeout(raft.next_timeout().unwrap());
    settle(&mut raft, now);
    // It comes up with a log that is as long, but is not known to be the same.
    hear(&mut raft, now, 3, 1, answer(0, 5, true));
    let status = raft.status(now);
    let peer = status.peers.iter().find(|peer| peer.id == NodeId(3)).unwrap();
    assert_eq!(peer.match_index, Index(0));
    settle(&mut raft, now);
    // And refuses where it differs: the leader goes back, however much was acknowledged once.
    let refused = AppendReply::Rejected { prev: Index(5), hint: LogId::new(0, 1), last: Index(5) };
    hear(&mut raft, now, 3, 1, Message::AppendReply(refused));
    let probes: Vec<Append> = settle(&mut raft, now)
        .into_iter()
        .filter(|envelope| envelope.to == NodeId(3))
        .filter_map(|envelope| match envelope.message {
            Message::Append(append) => Some(append),
            _ => None,
        })
        .collect();
    assert_eq!(probes.first().map(|append| append.prev), Some(LogId::new(0, 1)), "{probes:?}");
}

/// The node that led an earlier term may lead this one: an answer to what it said then must not pass for an
/// answer to what it says now, or a read would be confirmed by nobody.
#[test]
fn an_answer_to_an_earlier_leadership_counts_for_no_round() {
    let mut raft = start(journal()).unwrap();
    let now = Time::ZERO;
    let vote = VoteRequest { pre: false, transfer: true, last: LogId::new(0, 1), told: 0 };
    hear(&mut raft, now, 2, 5, Message::Vote(vote));
    settle(&mut raft, now);
    hear(&mut raft, now, 2, 3, Message::Heartbeat(Heartbeat { commit: Index(0), round: 25 }));
    let append = Append { prev: LogId::new(3, 9), commit: Index(0), entries: Vec::new().into() };
    hear(&mut raft, now, 2, 3, Message::Append(append));
    let answers = settle(&mut raft, now);
    let [heartbeat, append] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((heartbeat.term, append.term), (Term(5), Term(5)));
    assert!(
        matches!(heartbeat.message, Message::HeartbeatReply(HeartbeatReply { round: 0, .. })),
        "{heartbeat:?}"
    );
    let Message::AppendReply(AppendReply::Rejected { prev, .. }) = append.message else {
        panic!("{append:?}")
    };
    assert_eq!(prev, Index(0));
}

#[test]
fn an_answer_to_no_round_is_ignored() {
    let (mut raft, now) = leader();
    settle(&mut raft, now);
    let before = raft.clone();
    let reply = HeartbeatReply {
        round: 0,
        matched: Index(0),
        last: Index(0),
        probation: false,
        ..HeartbeatReply::default()
    };
    hear(&mut raft, now, 2, 1, Message::HeartbeatReply(reply));
    assert_eq!(raft.next_timeout(), before.next_timeout());
    assert!(settle(&mut raft, now).is_empty());
    assert_eq!(raft.status(now).counters.ignored_messages, before.status(now).counters.ignored_messages + 1);
}

/// An append that begins at the commit index is compared there: only below it nothing needs to be.
#[test]
fn an_append_at_the_commit_index_is_compared() {
    let mut raft = start(journal()).unwrap();
    let append = |prev| Message::Append(Append { prev, commit: Index(1), entries: Vec::new().into() });
    hear(&mut raft, Time::ZERO, 2, 1, append(LogId::new(0, 1)));
    settle(&mut raft, Time::ZERO);
    assert_eq!(raft.status(Time::ZERO).commit_index, Index(1));
    hear(&mut raft, Time::ZERO, 2, 1, append(LogId::new(1, 1)));
    let answers = settle(&mut raft, Time::ZERO);
    let rejected =
        |envelope: &Envelope| matches!(envelope.message, Message::AppendReply(AppendReply::Rejected { .. }));
    assert!(answers.iter().any(rejected), "{answers:?}");
}

/// A heartbeat that was not answered yet is not answered any more when the next one has come.
#[test]
fn only_the_last_heartbeat_is_answered() {
    let mut raft = start(journal()).unwrap();
    hear(&mut raft, Time::ZERO, 2, 1, Message::Heartbeat(Heartbeat { commit: Index(0), round: 1 }));
    settle(&mut raft, Time::ZERO);
    for round in 2..=3 {
        hear(&mut raft, Time::ZERO, 2, 1, Message::Heartbeat(Heartbeat { commit: Index(0), round }));
    }
    let answers = settle(&mut raft, Time::ZERO);
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(matches!(answers[0].message, Message::HeartbeatReply(HeartbeatReply { round: 3, .. })));
}

/// What a node is told of its removal is older than a membership that it has at a greater index, and not than others.
#[test]
fn a_notice_of_removal_counts_unless_a_later_membership_is_known() {
    for (since, counts) in [(0, false), (1, true), (2, true)] {
        let mut raft = start(journal()).unwrap();
        hear(&mut raft, Time::ZERO, 2, 1, Message::Notice(Notice::Removed { since: Index(since) }));
        let told =
            std::iter::from_fn(|| raft.poll_event()).any(|event| matches!(event, Event::Noticed { .. }));
        assert_eq!(told, counts, "{since}");
    }
}

/// Whether a node has founded the cluster: the first membership of its log has it, and none after that has not.
#[test]
fn a_node_that_an_earlier_membership_lacks_was_added() {
    let of = |memberships: &[&[u64]]| {
        let mut journal = journal();
        let index = |at: usize| LogId::new(0, at as u64 + 1);
        journal.memberships =
            memberships.iter().enumerate().map(|(at, ids)| members(index(at), ids)).collect();
        journal.last = index(memberships.len() - 1);
        start(journal).unwrap().was_added()
    };
    assert!(!of(&[&[1, 2, 3]]));
    assert!(!of(&[&[1, 2, 3], &[1, 2, 3, 4]]));
    assert!(of(&[&[2, 3], &[1, 2, 3]]));
    assert!(of(&[&[1, 2, 3], &[2, 3], &[1, 2, 3]]));
    assert!(of(&[&[2, 3]]), "it is in none");
}

/// Followers that ask to read are bounded like everybody else.
#[test]
fn a_leader_that_is_asked_too_much_says_so() {
    let (mut raft, now) = leader();
    settle(&mut raft, now);
    for id in 1..=1 << 16 {
        hear(&mut raft, now, 3, 1, Message::ReadIndex(ReadIndex { id }));
    }
    assert!(!settle(&mut raft, now).iter().any(|of| matches!(of.message, Message::ReadIndexReply(_))));
    hear(&mut raft, now, 3, 1, Message::ReadIndex(ReadIndex { id: 1 << 20 }));
    let answers = settle(&mut raft, now);
    let refused = ReadIndexReply { id: 1 << 20, index: None };
    assert!(answers.iter().any(|of| of.message == Message::ReadIndexReply(refused)), "{answers:?}");
    assert_eq!(raft.read(now, ReadId(1)), Err(ReadError::Overloaded));
}

/// Entries that contradict what is committed here: whoever sends them is no leader of this cluster.
#[test]
fn an_append_over_what_is_committed_raises_an_alarm() {
    let mut raft = start(journal()).unwrap();
    let noop = |term, index| Entry { id: LogId::new(term, index), kind: EntryKind::Noop, data: Bytes::new() };
    let append = |prev, commit, entries| Message::Append(Append { prev, commit: Index(commit), entries });
    hear(&mut raft, Time::ZERO, 2, 1, append(LogId::new(0, 1), 2, vec![noop(1, 2)].into()));
    assert_eq!(raft.status(Time::ZERO).commit_index, Index(2));
    hear(&mut raft, Time::ZERO, 3, 2, append(LogId::new(0, 1), 2, vec![noop(2, 2)].into()));
    let alarm = raft.status(Time::ZERO).alarm;
    assert!(matches!(alarm, Some(Violation::OverwritesCommitted { .. })), "{alarm:?}");
}

/// J9: a leader whose journal has no space for what it leads with leads no more.
#[test]
fn a_leader_without_space_steps_down() {
    let (mut raft, now) = leader();
    let write = raft.poll_write().unwrap();
    raft.handle_no_space(now, write.ticket);
    assert_eq!(raft.role_kind(), RoleKind::Follower);
}

/// After a failure, and after an alarm that halts, nothing that the journal says changes anything (J8).
#[test]
fn a_failed_journal_is_not_full() {
    for halts in [false, true] {
        let mut raft = start(journal()).unwrap();
        let now = Time::ZERO;
        hear(&mut raft, now, 2, 1, Message::Heartbeat(Heartbeat { commit: Index(0), round: 1 }));
        let write = raft.poll_write().unwrap();
        if halts {
            hear(&mut raft, now, 3, 1, Message::Heartbeat(Heartbeat { commit: Index(0), round: 1 }));
            assert!(raft.status(now).alarm.is_some_and(|alarm| alarm.is_fatal()));
        } else {
            raft.handle_write_failed(now);
        }
        let before = raft.clone();
        raft.handle_no_space(now, write.ticket);
        assert_eq!(raft, before);
    }
}

/// Indexes that leave one out, terms that shrink: such an append is counted, and is not answered.
#[test]
fn an_append_that_is_not_well_formed_is_counted() {
    let mut raft = start(journal()).unwrap();
    let noop = |term, index| Entry { id: LogId::new(term, index), kind: EntryKind::Noop, data: Bytes::new() };
    for (count, entries) in [(1, vec![noop(1, 3)]), (2, vec![noop(1, 2), noop(0, 3)]), (3, vec![noop(2, 2)])]
    {
        let append = Append { prev: LogId::new(0, 1), commit: Index(0), entries: entries.into() };
        hear(&mut raft, Time::ZERO, 2, 1, Message::Append(append));
        let status = raft.status(Time::ZERO);
        assert_eq!((status.counters.ignored_messages, status.last), (count, LogId::new(0, 1)));
        assert_eq!(settle(&mut raft, Time::ZERO), []);
    }
}

/// What is not pulled waits, up to a bound: then the oldest goes, and is counted.
#[test]
fn messages_that_nobody_pulls_are_bounded() {
    const LIMIT: u64 = 4096;
    let mut raft = start(journal()).unwrap();
    let dropped = |raft: &Raft| raft.status(Time::ZERO).counters.dropped_messages;
    let ask = |raft: &mut Raft, term| {
        let request = VoteRequest { pre: true, transfer: false, last: LogId::new(0, 1), told: 0 };
        hear(raft, Time::ZERO, 2, term, Message::Vote(request));
    };
    for term in 1..=LIMIT {
        ask(&mut raft, term);
    }
    assert_eq!(dropped(&raft), 0);
    for more in 1..=3 {
        ask(&mut raft, LIMIT + more);
        assert_eq!(dropped(&raft), more);
    }
    let answered = settle(&mut raft, Time::ZERO).into_iter().map(|of| match of.message {
        Message::VoteReply(reply) => reply.asked.0,
        other => panic!("{other:?}"),
    });
    assert!(answered.eq(4..=LIMIT + 3));
}

/// What waits may come up to the bound, to the byte.
#[test]
fn a_proposal_that_just_fits_passes() {
    let (raft, now) = leader();
    for (room, fits) in [(9, false), (10, true)] {
        let mut raft = raft.clone();
        let uncommitted_limit_bytes = Some(raft.status(now).uncommitted_bytes + room);
        raft.reconfigure(now, &Settings { uncommitted_limit_bytes, ..Settings::default() }).unwrap();
        let result = raft.propose(now, Bytes::from_static(b"0123456789"));
        assert_eq!(result.is_ok(), fits, "{result:?}");
        assert_eq!(raft.status(now).counters.overloaded, u64::from(!fits));
    }
}
