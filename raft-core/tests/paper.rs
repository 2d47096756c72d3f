//! The Raft paper (extended version), Figure 2, rule by rule: each test names a rule, says it in our words
//! with its section, and drives one real node directly.

use std::time::Duration;

use bytes::Bytes;
use raft_core::backend::{HardState, JournalState, JournalWrite, Vote};
use raft_core::entry::{Entry, EntryKind, pack};
use raft_core::error::ProposeError;
use raft_core::ids::{
    ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, ReadId, StoreId, Term,
};
use raft_core::membership::{Member, Membership};
use raft_core::message::{
    Append, AppendReply, Ballot, Envelope, Heartbeat, HeartbeatReply, Message, TimeoutNow, VoteReply,
    VoteRequest,
};
use raft_core::raft::{Event, Restored};
use raft_core::status::{RoleKind, Status};
use raft_core::time::Time;
use raft_core::{Config, Raft};

const ME: NodeId = NodeId(1);
const A: NodeId = NodeId(2);
const B: NodeId = NodeId(3);

/// One node of three, with everything around it played by the test.
struct Node {
    raft: Raft,
    now: Time,
    applied: Vec<LogId>,
    events: Vec<Event>,
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new(term, index)
}

fn entry(of: LogId) -> Entry {
    Entry { id: of, kind: EntryKind::Noop, data: Bytes::new() }
}

fn append(prev: LogId, entries: &[LogId], commit: u64) -> Message {
    let entries = entries.iter().map(|of| entry(*of)).collect();
    Message::Append(Append { prev, commit: Index(commit), entries })
}

fn vote(last: LogId) -> Message {
    Message::Vote(VoteRequest { pre: false, transfer: false, last, told: 0 })
}

fn ballot(pre: bool, asked: u64, ballot: Ballot) -> Message {
    Message::VoteReply(VoteReply { pre, asked: Term(asked), ballot })
}

fn matched(index: u64) -> Message {
    Message::AppendReply(AppendReply::Matched { matched: Index(index) })
}

impl Node {
    /// Entry 0.1 names the members, as in every new cluster; `more` follows it.
    fn restored(hard: HardState, more: &[LogId]) -> Self {
        let members = [ME, A, B].map(|of| Member::new(of, format!("node-{of}")));
        let membership = Membership::of_voters(members).unwrap();
        let first = Entry { id: id(0, 1), kind: EntryKind::Membership, data: membership.encode() };
        let mut journal = JournalState::empty(Identity {
            cluster: ClusterId(7),
            group: GroupId(0),
            node: ME,
            store: StoreId(1),
            incarnation: Incarnation::default(),
        });
        journal.hard_state = hard;
        journal.terms.push((Index(1), Term(0)));
        journal.last = more.last().copied().unwrap_or(first.id);
        journal.memberships.push(first);
        for of in more {
            if journal.terms.last().is_none_or(|(_, term)| *term != of.term) {
                journal.terms.push((of.index, of.term));
            }
        }
        let restored = Restored { journal, snapshot: None, applied: LogId::ZERO };
        let raft = Raft::new(Config::new(ME, ClusterId(7)), restored, Time::ZERO).unwrap();
        Self { raft, now: Time::ZERO, applied: Vec::new(), events: Vec::new() }
    }

    fn new() -> Self {
        Self::restored(HardState::default(), &[])
    }

    fn with(term: u64, more: &[LogId]) -> Self {
        Self::restored(HardState { term: Term(term), ..HardState::default() }, more)
    }

    fn status(&self) -> Status {
        self.raft.status(self.now)
    }

    /// A message comes in; nothing is pulled.
    fn hear(&mut self, from: NodeId, term: u64, message: Message) {
        let envelope = Envelope { group: GroupId(0), from, to: ME, term: Term(term), message };
        self.raft.handle_message(self.now, envelope);
    }

    /// All messages that may leave now.
    fn sent(&mut self) -> Vec<Envelope> {
        core::iter::from_fn(|| self.raft.poll_message()).map(|out| out.envelope).collect()
    }

    /// The journal takes what there is and makes it durable.
    fn persist(&mut self) -> Vec<JournalWrite> {
        let mut writes = Vec::new();
        while let Some(write) = self.raft.poll_write() {
            self.raft.handle_written(self.now, write.ticket);
            writes.push(write);
        }
        writes
    }

    /// Everything that a driver would do, with a prompt disk and state machine. Returns what was sent.
    fn settle(&mut self) -> Vec<Envelope> {
        let mut out = Vec::new();
        loop {
            let before = (out.len(), self.events.len(), self.applied.len());
            out.extend(self.sent());
            let mut moved = !self.persist().is_empty();
            self.events.extend(core::iter::from_fn(|| self.raft.poll_event()));
            while let Some(apply) = self.raft.poll_apply() {
                self.applied.extend(apply.entries.iter().map(|entry| entry.id));
                self.raft.handle_applied(self.now, apply.through.index);
            }
            while let Some(fetch) = self.raft.poll_fetch() {
                let entries = (fetch.range.start.0..fetch.range.end.0).map(|at| entry(id(0, at))).collect();
                self.raft.handle_fetched(self.now, fetch.id, entries);
                moved = true;
            }
            if !moved && before == (out.len(), self.events.len(), self.applied.len()) {
                return out;
            }
        }
    }

    fn tell(&mut self, from: NodeId, term: u64, message: Message) -> Vec<Envelope> {
        self.hear(from, term, message);
        self.settle()
    }

    /// Its next timer fires.
    fn time_out(&mut self) -> Vec<Envelope> {
        self.now = self.now.max(self.raft.next_timeout().unwrap());
        self.raft.handle_timeout(self.now);
        self.settle()
    }

    /// Makes it lead `term`, which must be the next one: A supports it.
    fn lead(&mut self, term: u64) -> Vec<Envelope> {
        self.time_out();
        self.tell(A, term - 1, ballot(true, term, Ballot::Granted));
        let out = self.tell(A, term, ballot(false, term, Ballot::Granted));
        assert_eq!(self.status().role, RoleKind::Leader);
        out
    }
}

fn vote_replies(sent: &[Envelope]) -> Vec<Ballot> {
    sent.iter()
        .filter_map(|envelope| match &envelope.message {
            Message::VoteReply(reply) if !reply.pre => Some(reply.ballot),
            _ => None,
        })
        .collect()
}

fn append_replies(sent: &[Envelope]) -> Vec<AppendReply> {
    sent.iter()
        .filter_map(|envelope| match &envelope.message {
            Message::AppendReply(reply) => Some(*reply),
            _ => None,
        })
        .collect()
}

fn appends(sent: &[Envelope], to: NodeId) -> Vec<&Append> {
    sent.iter()
        .filter(|envelope| envelope.to == to)
        .filter_map(|envelope| match &envelope.message {
            Message::Append(append) => Some(append),
            _ => None,
        })
        .collect()
}

fn entry_ids(append: &Append) -> Vec<LogId> {
    append.entries.iter().map(|entry| entry.id).collect()
}

// ---- State ------------------------------------------------------------------------------------------

/// Figure 2, State: term, vote and log are on stable storage before an answer leaves.
#[test]
fn state_is_persistent_before_a_node_responds() {
    let mut node = Node::new();
    node.hear(A, 1, vote(id(0, 1)));
    assert!(node.sent().is_empty(), "the vote is not durable yet");
    let write = node.raft.poll_write().unwrap();
    assert_eq!(write.hard_state.map(|hard| (hard.term, hard.vote)), Some((Term(1), Vote::For(A))));
    assert!(node.sent().is_empty(), "being written is not written");
    node.raft.handle_written(node.now, write.ticket);
    assert_eq!(vote_replies(&node.sent()), [Ballot::Granted]);

    let mut node = Node::new();
    node.tell(A, 1, append(id(0, 1), &[], 0));
    node.hear(A, 1, append(id(0, 1), &[id(1, 2)], 0));
    assert_eq!(append_replies(&node.sent()), [], "the entry is not durable yet");
    node.persist();
    assert_eq!(append_replies(&node.sent()), [AppendReply::Matched { matched: Index(2) }]);
}

/// Figure 2, State: commit index and last applied only grow.
#[test]
fn commit_index_and_applied_index_only_grow() {
    let mut node = Node::new();
    node.tell(A, 1, append(id(0, 1), &[id(1, 2), id(1, 3)], 3));
    assert_eq!(node.status().commit_index, Index(3));
    node.tell(A, 1, append(id(0, 1), &[id(1, 2)], 1));
    node.tell(A, 1, Message::Heartbeat(Heartbeat { commit: Index(0), round: 1 }));
    node.tell(B, 2, append(id(1, 2), &[], 0));
    assert_eq!((node.status().commit_index, node.status().applied_index), (Index(3), Index(3)));
}

// ---- AppendEntries, receiver ------------------------------------------------------------------------

/// Figure 2, AppendEntries 1 (§5.1): what comes in an earlier term is refused, with the later term.
#[test]
fn append_rule_1_refuses_an_earlier_term() {
    let mut node = Node::with(5, &[]);
    let sent = node.tell(A, 4, append(id(0, 1), &[id(4, 2)], 2));
    assert!(matches!(append_replies(&sent)[..], [AppendReply::Rejected { .. }]));
    assert_eq!(sent[0].term, Term(5));
    assert_eq!((node.status().last, node.status().leader), (id(0, 1), None));
}

/// Figure 2, AppendEntries 2 (§5.3): without an entry at prev that has prev's term, nothing is taken.
#[test]
fn append_rule_2_refuses_without_the_previous_entry() {
    for prev in [id(1, 3), id(2, 2)] {
        let mut node = Node::with(2, &[id(1, 2)]);
        let next = id(2, prev.index.0 + 1);
        let sent = node.tell(A, 2, append(prev, &[next], 9));
        assert!(matches!(append_replies(&sent)[..], [AppendReply::Rejected { .. }]), "prev {prev}");
        assert_eq!((node.status().last, node.status().commit_index), (id(1, 2), Index(0)));
    }
}

/// Figure 2, AppendEntries 3 (§5.3): an entry that contradicts a new one goes, with all after it.
#[test]
fn append_rule_3_deletes_a_conflicting_entry_and_all_that_follow() {
    let mut node = Node::with(2, &[id(1, 2), id(1, 3), id(1, 4)]);
    node.hear(A, 3, append(id(1, 2), &[id(3, 3)], 0));
    let writes = node.persist();
    assert_eq!(writes[0].truncate_from, Some(Index(3)));
    assert_eq!(node.status().last, id(3, 3));
}

/// Figure 2, AppendEntries 4 (§5.3): entries that are here already are not appended again, and a message that
/// came late cuts nothing.
#[test]
fn append_rule_4_appends_only_what_is_not_in_the_log() {
    let mut node = Node::with(1, &[id(1, 2), id(1, 3), id(1, 4)]);
    node.hear(A, 2, append(id(1, 2), &[id(1, 3)], 0));
    let writes = node.persist();
    assert!(writes.iter().all(|write| write.entries.is_empty() && write.truncate_from.is_none()));
    assert_eq!(node.status().last, id(1, 4));
    node.hear(A, 2, append(id(1, 3), &[id(1, 4), id(2, 5)], 0));
    let writes = node.persist();
    assert_eq!(writes[0].entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), [id(2, 5)]);
}

/// Figure 2, AppendEntries 5: commits up to the leader's commit index, but not beyond the last new entry.
#[test]
fn append_rule_5_commits_to_the_lesser_of_both() {
    let mut node = Node::with(1, &[id(1, 2), id(1, 3), id(1, 4)]);
    node.tell(A, 1, append(id(1, 2), &[id(1, 3)], 9));
    assert_eq!(node.status().commit_index, Index(3), "4 was not checked");
    node.tell(A, 1, append(id(1, 3), &[id(1, 4)], 3));
    assert_eq!(node.status().commit_index, Index(3), "the leader has not committed 4");
}

// ---- RequestVote, receiver --------------------------------------------------------------------------

/// Figure 2, RequestVote 1 (§5.1): a request of an earlier term is denied, with the later term.
#[test]
fn vote_rule_1_denies_an_earlier_term() {
    let mut node = Node::with(5, &[]);
    let sent = node.tell(A, 4, vote(id(9, 9)));
    assert_eq!(vote_replies(&sent), [Ballot::Denied]);
    assert_eq!(sent[0].term, Term(5));
    assert_eq!(node.status().vote, Vote::None);
}

/// Figure 2, RequestVote 2 (§5.2): one vote a term, first come first served; the same candidate may ask again.
#[test]
fn vote_rule_2_one_vote_for_each_term() {
    let mut node = Node::new();
    assert_eq!(vote_replies(&node.tell(A, 1, vote(id(0, 1)))), [Ballot::Granted]);
    assert_eq!(vote_replies(&node.tell(B, 1, vote(id(0, 1)))), [Ballot::Denied]);
    assert_eq!(vote_replies(&node.tell(A, 1, vote(id(0, 1)))), [Ballot::Granted]);
    assert_eq!(vote_replies(&node.tell(B, 2, vote(id(0, 1)))), [Ballot::Granted], "another term");
}

/// The vote outlives a restart (§5.1, persistent state).
#[test]
fn vote_rule_2_holds_over_a_restart() {
    let hard = HardState { term: Term(3), vote: Vote::For(A), probation: false, ..HardState::default() };
    let mut node = Node::restored(hard, &[]);
    assert_eq!(vote_replies(&node.tell(B, 3, vote(id(9, 9)))), [Ballot::Denied]);
    assert_eq!(vote_replies(&node.tell(A, 3, vote(id(0, 1)))), [Ballot::Granted]);
}

/// Figure 2, RequestVote 2 (§5.4.1): only for a candidate whose log is at least as up to date: the later last
/// term wins, then the greater length.
#[test]
fn vote_rule_2_only_for_a_log_at_least_as_up_to_date() {
    for (last, expected) in [
        (id(2, 3), Ballot::Granted),
        (id(2, 4), Ballot::Granted),
        (id(3, 2), Ballot::Granted),
        (id(2, 2), Ballot::Denied),
        (id(1, 9), Ballot::Denied),
    ] {
        let mut node = Node::with(2, &[id(1, 2), id(2, 3)]);
        assert_eq!(vote_replies(&node.tell(A, 4, vote(last))), [expected], "candidate's last is {last}");
        assert_eq!(node.status().term, Term(4), "the term is adopted in any case");
    }
}

// ---- Rules for servers: all -------------------------------------------------------------------------

/// Figure 2, All servers 1 (§5.3): what is committed is applied, in order, each entry once.
#[test]
fn all_servers_apply_what_is_committed_in_order() {
    let mut node = Node::new();
    node.tell(A, 1, append(id(0, 1), &[id(1, 2), id(1, 3), id(1, 4)], 2));
    assert_eq!(node.applied, [id(0, 1), id(1, 2)]);
    node.tell(A, 1, append(id(1, 4), &[], 4));
    node.tell(A, 1, append(id(1, 2), &[id(1, 3)], 4));
    assert_eq!(node.applied, [id(0, 1), id(1, 2), id(1, 3), id(1, 4)]);
}

/// Figure 2, All servers 2 (§5.1): a later term in a request or an answer is adopted, and who led or stood in
/// an earlier one follows.
#[test]
fn all_servers_adopt_a_later_term_and_follow() {
    let answer = HeartbeatReply {
        round: 1,
        matched: Index(0),
        last: Index(1),
        probation: false,
        ..HeartbeatReply::default()
    };
    for message in [
        Message::Heartbeat(Heartbeat { commit: Index(0), round: 1 }),
        append(id(0, 1), &[], 0),
        Message::HeartbeatReply(answer),
        matched(1),
        ballot(false, 9, Ballot::Denied),
    ] {
        let mut leader = Node::new();
        leader.lead(1);
        leader.tell(B, 9, message.clone());
        assert_eq!((leader.status().role, leader.status().term), (RoleKind::Follower, Term(9)));

        let mut candidate = Node::new();
        candidate.time_out();
        candidate.tell(A, 0, ballot(true, 1, Ballot::Granted));
        assert_eq!(candidate.status().role, RoleKind::Candidate);
        candidate.tell(B, 9, message);
        assert_eq!((candidate.status().role, candidate.status().term), (RoleKind::Follower, Term(9)));
    }
}

// ---- Rules for servers: followers -------------------------------------------------------------------

/// Figure 2, Followers 2 (§5.2): without a word from a leader and without having voted for an election
/// timeout, a follower stands for election; either one puts it off. (Before it enters a new term it asks
/// whether it would win: dissertation §9.6.)
#[test]
fn followers_stand_for_election_after_a_silent_timeout() {
    let timeout = Duration::from_millis(300);
    let heartbeat = Message::Heartbeat(Heartbeat { commit: Index(0), round: 1 });
    for (term, contact) in [(0, None), (1, Some(heartbeat)), (1, Some(vote(id(0, 1))))] {
        let mut node = Node::new();
        node.now = Time::ZERO + timeout - Duration::from_millis(1);
        if let Some(contact) = contact {
            node.tell(A, term, contact);
        }
        let at = node.raft.next_timeout().unwrap();
        let since = if term == 0 { Time::ZERO } else { node.now };
        assert!(at >= since + timeout && at < since + timeout * 2, "{at:?}");
        let sent = node.time_out();
        assert_eq!((node.status().role, node.status().term), (RoleKind::PreCandidate, Term(term)));
        assert!(matches!(sent[0].message, Message::Vote(VoteRequest { pre: true, .. })));
    }
}

// ---- Rules for servers: candidates ------------------------------------------------------------------

/// Figure 2, Candidates 1 (§5.2): it enters a new term, votes for itself, resets its timer, and asks all others;
/// nothing leaves before term and vote are durable.
#[test]
fn candidates_enter_a_new_term_vote_for_themselves_and_ask_all() {
    let mut node = Node::new();
    node.time_out();
    node.hear(A, 0, ballot(true, 1, Ballot::Granted));
    assert!(node.sent().is_empty());
    let write = node.raft.poll_write().unwrap();
    assert_eq!(write.hard_state.map(|hard| (hard.term, hard.vote)), Some((Term(1), Vote::For(ME))));
    node.raft.handle_written(node.now, write.ticket);
    let sent = node.sent();
    let asked: Vec<_> = sent.iter().map(|envelope| (envelope.to, envelope.term)).collect();
    assert_eq!(asked, [(A, Term(1)), (B, Term(1))]);
    assert!(matches!(sent[0].message, Message::Vote(VoteRequest { pre: false, .. })));
    assert!(node.raft.next_timeout().unwrap() > node.now);
}

/// Figure 2, Candidates 2 (§5.2): with votes from a majority, its own durable one included, it leads.
#[test]
fn candidates_lead_with_a_majority() {
    let mut node = Node::new();
    node.time_out();
    node.hear(A, 0, ballot(true, 1, Ballot::Granted));
    node.hear(A, 1, ballot(false, 1, Ballot::Granted));
    assert_eq!(node.status().role, RoleKind::Candidate, "its own vote is not durable yet");
    node.persist();
    assert_eq!(node.status().role, RoleKind::Leader);

    let mut node = Node::new();
    node.time_out();
    node.tell(A, 0, ballot(true, 1, Ballot::Granted));
    node.tell(A, 1, ballot(false, 1, Ballot::Denied));
    node.tell(A, 1, ballot(false, 1, Ballot::Granted));
    assert_eq!(node.status().role, RoleKind::Candidate, "a voter answers once");
}

/// Figure 2, Candidates 3 (§5.2): an append of this term makes it follow; its vote stays given.
#[test]
fn candidates_follow_a_leader_of_their_term() {
    let mut node = Node::new();
    node.time_out();
    node.tell(A, 0, ballot(true, 1, Ballot::Granted));
    node.tell(B, 1, append(id(0, 1), &[id(1, 2)], 0));
    let status = node.status();
    assert_eq!((status.role, status.term), (RoleKind::Follower, Term(1)));
    assert_eq!(status.leader.map(|leader| leader.id), Some(B));
    assert_eq!(status.vote, Vote::For(ME));
}

/// The same: what of its requests has not left, while its term was on its way to the disk, goes with its candidacy. One
/// that has learned meanwhile that it has no vote would disturb those who have (§6).
#[test]
fn who_follows_a_leader_asks_for_no_more_votes() {
    let mut node = Node::new();
    node.time_out();
    node.hear(A, 0, ballot(true, 1, Ballot::Granted));
    assert_eq!((node.status().role, node.status().term), (RoleKind::Candidate, Term(1)));
    node.hear(B, 1, append(id(0, 1), &[id(1, 2)], 0));
    let sent = node.settle();
    assert!(!sent.is_empty(), "it answers");
    assert!(!sent.iter().any(|envelope| matches!(envelope.message, Message::Vote(_))), "{sent:?}");
}

/// Figure 2, Candidates 4 (§5.2): if its time runs out it begins anew; by asking first whether it would win, so
/// that a node that cannot win does not count terms up (dissertation §9.6).
#[test]
fn candidates_begin_anew_when_their_time_runs_out() {
    let mut node = Node::new();
    node.time_out();
    node.tell(A, 0, ballot(true, 1, Ballot::Granted));
    node.time_out();
    assert_eq!((node.status().role, node.status().term), (RoleKind::PreCandidate, Term(1)));
    node.tell(A, 1, ballot(true, 2, Ballot::Granted));
    assert_eq!((node.status().role, node.status().term), (RoleKind::Candidate, Term(2)));
    for _ in 0..50 {
        node.time_out();
    }
    assert_eq!(node.status().term, Term(2), "nobody answers: the term stays");
}

// ---- Rules for servers: leaders ---------------------------------------------------------------------

/// Figure 2, Leaders 1 (§5.2): on election it tells everybody, and again while it is idle, more often than an
/// election timeout.
#[test]
fn leaders_send_heartbeats_at_once_and_while_idle() {
    let mut node = Node::new();
    let beats = |sent: &[Envelope]| -> Vec<NodeId> {
        let heartbeats = sent.iter().filter(|envelope| matches!(envelope.message, Message::Heartbeat(_)));
        heartbeats.map(|envelope| envelope.to).collect()
    };
    assert_eq!(beats(&node.lead(1)), [A, B]);
    let before = node.now;
    assert_eq!(beats(&node.time_out()), [A, B]);
    assert_eq!(node.now.since(before), Duration::from_millis(50));
}

/// Figure 2, Leaders 2 (§5.3): a command is appended here and sent; it counts as done when it is applied, which
/// is after a majority has it durably. Who does not lead refuses it.
#[test]
fn leaders_answer_a_command_after_it_is_applied() {
    let mut node = Node::new();
    let command = pack(&[Bytes::from_static(b"x")]);
    assert_eq!(node.raft.propose(node.now, command.clone()), Err(ProposeError::NotLeader { leader: None }));
    node.lead(1);
    node.tell(A, 1, matched(2));
    assert_eq!(node.raft.propose(node.now, command), Ok(id(1, 3)));
    assert_eq!(entry_ids(appends(&node.settle(), A)[0]), [id(1, 3)]);
    assert_eq!(node.applied.last(), Some(&id(1, 2)), "one copy is no majority");
    node.tell(A, 1, matched(3));
    assert_eq!(node.applied.last(), Some(&id(1, 3)));
}

/// Figure 2, Leaders 3 (§5.3): what a follower does not have is sent from its next index; after a refusal the
/// leader looks further back, after success it goes on from there.
#[test]
fn leaders_send_from_next_index_and_go_back_after_a_refusal() {
    let mut node = Node::with(3, &[id(1, 2), id(2, 3), id(3, 4)]);
    let sent = node.lead(4);
    let first = appends(&sent, A)[0];
    assert_eq!((first.prev, entry_ids(first)), (id(3, 4), vec![id(4, 5)]));
    let refusal = AppendReply::Rejected { prev: Index(4), hint: id(1, 2), last: Index(3) };
    let sent = node.tell(A, 4, Message::AppendReply(refusal));
    assert_eq!(appends(&sent, A)[0].prev, id(1, 2));
    let sent = node.tell(A, 4, Message::AppendReply(refusal));
    assert!(appends(&sent, A).is_empty(), "the answer to an older probe");
    node.tell(A, 4, matched(5));
    let peer = node.status().peers.into_iter().find(|peer| peer.id == A).unwrap();
    assert_eq!((peer.match_index, peer.next_index), (Index(5), Index(6)));
}

/// Figure 2, Leaders 3: a match index only grows; an answer that came late takes nothing back.
#[test]
fn leaders_never_lower_a_match_index() {
    let mut node = Node::new();
    node.lead(1);
    node.tell(A, 1, matched(2));
    node.tell(A, 1, matched(1));
    let refusal = AppendReply::Rejected { prev: Index(1), hint: LogId::ZERO, last: Index(0) };
    node.tell(A, 1, Message::AppendReply(refusal));
    let peer = node.status().peers.into_iter().find(|peer| peer.id == A).unwrap();
    assert_eq!((peer.match_index, peer.next_index), (Index(2), Index(3)));
}

/// Figure 2, Leaders 4 (§5.3, §5.4.2): committed is what a majority has durably and what is of the leader's own
/// term; with it everything before.
#[test]
fn leaders_commit_by_counting_only_entries_of_their_term() {
    let mut node = Node::with(2, &[id(1, 2), id(2, 3)]);
    node.lead(3);
    node.tell(A, 3, matched(3));
    assert_eq!(node.status().commit_index, Index(0), "2.3 is on a majority, but of an earlier term");
    node.tell(A, 3, matched(4));
    assert_eq!(node.status().commit_index, Index(4));
}

/// §5.3 with durability (dissertation §10.2.1): the leader's own copy counts once it is durable; two followers
/// are a majority without it.
#[test]
fn leaders_count_their_own_copy_when_it_is_durable() {
    let mut node = Node::new();
    node.lead(1);
    node.tell(A, 1, matched(2));
    node.raft.propose(node.now, pack(&[])).unwrap();
    assert_eq!(appends(&node.sent(), A).len(), 1, "sent before it is durable here");
    node.hear(A, 1, matched(3));
    assert_eq!(node.status().commit_index, Index(2));
    node.hear(B, 1, matched(3));
    assert_eq!(node.status().commit_index, Index(3));
    assert_eq!(node.status().applied_index, Index(2));
    assert!(node.raft.poll_apply().is_none(), "executed only once it is durable here");
    node.persist();
    assert!(node.raft.poll_apply().is_some());
}

// ---- §5.4, §8 and the dissertation ------------------------------------------------------------------

/// §8: a new leader appends an entry of its own term at once.
#[test]
fn leaders_begin_with_an_entry_of_their_term() {
    let mut node = Node::with(2, &[id(1, 2)]);
    let sent = node.lead(3);
    assert_eq!(entry_ids(appends(&sent, A)[0]), [id(3, 3)]);
    assert_eq!(appends(&sent, A)[0].entries[0].kind, EntryKind::Noop);
}

/// §8, dissertation §6.4: a read without a log entry waits for the first commit of the term, for a heartbeat round
/// that began after it, and until its index is applied.
#[test]
fn reads_wait_for_the_term_the_round_and_the_state_machine() {
    let mut node = Node::new();
    node.lead(1);
    let answer = |round, matched: u64| {
        let (matched, last) = (Index(matched), Index(matched.max(1)));
        Message::HeartbeatReply(HeartbeatReply {
            round,
            matched,
            last,
            probation: false,
            ..HeartbeatReply::default()
        })
    };
    let ready = |node: &Node| node.events.iter().any(|event| matches!(event, Event::ReadReady { .. }));
    node.raft.read(node.now, ReadId(1)).unwrap();
    node.settle();
    node.tell(A, 1, answer(1, 0));
    assert!(!ready(&node), "nothing of this term is committed");
    let sent = node.tell(A, 1, matched(2));
    assert_eq!(node.status().commit_index, Index(2));
    assert!(!ready(&node), "no round has begun since");
    let round = sent.iter().find_map(|envelope| match envelope.message {
        Message::Heartbeat(heartbeat) => Some(heartbeat.round),
        _ => None,
    });
    node.tell(A, 1, answer(1, 2));
    assert!(!ready(&node), "an older round confirms nothing");
    node.tell(A, 1, answer(round.unwrap(), 2));
    assert!(ready(&node));
}

/// Dissertation §9.6: a pre-vote changes nobody's term and vote, and is refused by who hears a leader.
#[test]
fn pre_votes_change_nothing_and_respect_a_living_leader() {
    let ask = Message::Vote(VoteRequest { pre: true, transfer: false, last: id(0, 1), told: 0 });
    let answer = |sent: &[Envelope]| match sent[0].message {
        Message::VoteReply(VoteReply { pre: true, ballot, .. }) => ballot,
        _ => panic!("no answer"),
    };
    let mut node = Node::new();
    assert_eq!(answer(&node.tell(A, 1, ask.clone())), Ballot::Granted);
    assert_eq!(answer(&node.tell(B, 1, ask.clone())), Ballot::Granted, "to as many as ask");
    assert_eq!((node.status().term, node.status().vote), (Term(0), Vote::None));
    node.tell(A, 1, append(id(0, 1), &[], 0));
    assert_eq!(answer(&node.tell(B, 2, ask.clone())), Ballot::Denied);
    node.now = node.now + Duration::from_millis(300);
    assert_eq!(answer(&node.tell(B, 2, ask)), Ballot::Granted, "the leader was not heard for long");
}

/// Dissertation §4.2.3: a request for a vote does not disturb who hears a leader: not even its term counts.
#[test]
fn votes_are_refused_while_a_leader_is_heard() {
    let mut node = Node::new();
    node.tell(A, 1, append(id(0, 1), &[], 0));
    assert_eq!(vote_replies(&node.tell(B, 7, vote(id(9, 9)))), [Ballot::Denied]);
    assert_eq!(node.status().term, Term(1));
}

/// Dissertation §6.2: a leader that hears from no majority for an election timeout steps down.
#[test]
fn leaders_step_down_without_a_majority() {
    let mut node = Node::new();
    node.lead(1);
    let began = node.now;
    while node.status().role == RoleKind::Leader {
        node.time_out();
    }
    assert_eq!(node.now.since(began), Duration::from_millis(300));
}

/// Dissertation §3.10: told by its leader, a node campaigns at once, without a pre-vote; told by another, not.
#[test]
fn timeout_now_makes_the_target_campaign() {
    let mut node = Node::new();
    node.tell(A, 1, append(id(0, 1), &[], 0));
    node.tell(B, 1, Message::TimeoutNow(TimeoutNow { round: 1 }));
    assert_eq!(node.status().role, RoleKind::Follower);
    let sent = node.tell(A, 1, Message::TimeoutNow(TimeoutNow { round: 1 }));
    assert_eq!((node.status().role, node.status().term), (RoleKind::Candidate, Term(2)));
    assert!(sent.iter().all(|envelope| matches!(
        envelope.message,
        Message::Vote(VoteRequest { pre: false, transfer: true, .. })
    )));
}
