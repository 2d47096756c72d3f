//! A run in the vocabulary of etcd-io/raft's traces (its `state_trace.go`), one JSON object a line.
//!
//! A receive line has the state before the message is handled, all others the state after. What the
//! vocabulary cannot say, and what is done about it:
//!
//! | here | in the trace |
//! |---|---|
//! | pre-votes, `TimeoutNow`, notices, reads | left out; a pre-candidate is a follower |
//! | a vote blocked because the leader is known | no vote |
//! | a vote request that the voter does not enter the term of | left out, as if lost |
//! | a denied vote of the same or an earlier term | left out, as if lost |
//! | terms begin at 0, the first entry has term 0 | everything one term later |
//! | the commit index is not kept over a restart | it is shown as it was before |
//! | a candidate's own vote, a leader's own entries: counted when durable | messages to itself |
//! | an acknowledgement may cover several appends | one response; the others are as if lost |
//! | a leader's entries are lost that had left before they were synced | the trace ends before that |
//!
//! Not matched to what the published model expects: a heartbeat's answer that tells more of the log than
//! the last acknowledgement did. No model has been run on these traces by the tests here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use raft_core::backend::{HardState, Vote};
use raft_core::ids::{Index, LogId, NodeId, Term};
use raft_core::message::{AppendReply, Ballot, Envelope, Message};
use raft_core::node::{Input, Observer, Output};
use raft_core::raft::{Raft, View};
use raft_core::status::RoleKind;
use raft_core::time::Time;

use super::executor::lock;

/// Who sends to whom, in which term, the append's place, and the commit index it names.
type Key = (u64, u64, u64, u64, usize, u64);

#[derive(Clone, Debug, Default)]
struct Seen {
    view: Option<View>,
    /// The commit index shown last.
    commit: u64,
    /// What the last `Ready` said is durable, with the commit index shown then.
    ready: Option<(HardState, LogId, u64)>,
    /// What is being handled.
    heard: Option<Envelope>,
    timer_or_disk: bool,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    nodes: Vec<Seen>,
    /// The commit index that was shown for an append when it left.
    shown: BTreeMap<Key, u64>,
    over: bool,
}

/// Writes the trace of a run.
#[derive(Debug)]
pub(crate) struct Recorder(Mutex<State>);

impl Recorder {
    /// For so many nodes.
    #[must_use]
    pub(crate) fn new(nodes: usize) -> Self {
        Self(Mutex::new(State { nodes: vec![Seen::default(); nodes], ..State::default() }))
    }

    /// The lines so far.
    #[must_use]
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.0).lines)
    }
}

/// Listens to one node for a recorder, and passes everything on.
pub(crate) struct Tap<T> {
    pub(crate) recorder: Option<Arc<Recorder>>,
    pub(crate) node: usize,
    pub(crate) next: T,
}

impl<T: Observer> Observer for Tap<T> {
    fn started(&self, raft: &Raft, now: Time) {
        if let Some(recorder) = &self.recorder {
            lock(&recorder.0).started(self.node, raft.view());
        }
        self.next.started(raft, now);
    }

    fn input(&self, raft: &Raft, now: Time, input: Input<'_>) {
        if let Some(recorder) = &self.recorder {
            let mut state = lock(&recorder.0);
            let seen = &mut state.nodes[self.node];
            seen.view = Some(raft.view());
            seen.heard = if let Input::Message(envelope) = input { Some(envelope.clone()) } else { None };
            seen.timer_or_disk = matches!(input, Input::Written(_));
        }
        self.next.input(raft, now, input);
    }

    fn output(&self, raft: &Raft, output: Output<'_>) {
        if let Some(recorder) = &self.recorder {
            let mut state = lock(&recorder.0);
            match output {
                Output::Settled => state.after_input(self.node, raft.view()),
                Output::Message(envelope) => state.said(self.node, raft.view(), envelope),
                _ => {}
            }
        }
        self.next.output(raft, output);
    }
}

const fn term(term: Term) -> u64 {
    term.0 + 1
}

const fn log_term(index: Index, of: Term) -> u64 {
    if index.0 == 0 { 0 } else { term(of) }
}

/// A message in the trace's words.
struct Words {
    /// The event's name without `Send` or `Receive`.
    event: &'static str,
    kind: &'static str,
    entries: usize,
    log_term: u64,
    index: u64,
    commit: u64,
    reject: bool,
    hint: u64,
}

impl Words {
    const fn new(event: &'static str, kind: &'static str) -> Self {
        Self { event, kind, entries: 0, log_term: 0, index: 0, commit: 0, reject: false, hint: 0 }
    }

    fn of(message: &Message) -> Option<Self> {
        Some(match message {
            Message::Vote(request) if !request.pre => Self {
                index: request.last.index.0,
                log_term: log_term(request.last.index, request.last.term),
                ..Self::new("RequestVoteRequest", "MsgVote")
            },
            Message::VoteReply(reply) if !reply.pre => Self {
                reject: reply.ballot != Ballot::Granted,
                ..Self::new("RequestVoteResponse", "MsgVoteResp")
            },
            Message::Heartbeat(heartbeat) => {
                Self { commit: heartbeat.commit.0, ..Self::new("AppendEntriesRequest", "MsgHeartbeat") }
            }
            Message::HeartbeatReply(_) => Self::new("AppendEntriesResponse", "MsgHeartbeatResp"),
            Message::Append(append) => Self {
                entries: append.entries.len(),
                index: append.prev.index.0,
                log_term: log_term(append.prev.index, append.prev.term),
                commit: append.commit.0,
                ..Self::new("AppendEntriesRequest", "MsgApp")
            },
            Message::AppendReply(AppendReply::Matched { matched }) => {
                Self { index: matched.0, ..Self::new("AppendEntriesResponse", "MsgAppResp") }
            }
            Message::AppendReply(AppendReply::Rejected { prev, hint, .. }) => Self {
                index: prev.0,
                reject: true,
                hint: hint.index.0,
                log_term: log_term(hint.index, hint.term),
                ..Self::new("AppendEntriesResponse", "MsgAppResp")
            },
            _ => return None,
        })
    }

    fn json(&self, term: u64, from: NodeId, to: NodeId) -> String {
        let Self { kind, entries, log_term, index, commit, reject, hint, .. } = self;
        format!(
            ",\"msg\":{{\"type\":\"{kind}\",\"term\":{term},\"from\":\"{}\",\"to\":\"{}\",\
             \"entries\":{entries},\"logTerm\":{log_term},\"index\":{index},\"commit\":{commit},\
             \"vote\":\"0\",\"reject\":{reject},\"rejectHint\":{hint}}}",
            from.0, to.0
        )
    }
}

impl State {
    fn line(&mut self, name: &str, node: usize, view: View, more: &str) {
        if self.over {
            return;
        }
        let seen = &mut self.nodes[node];
        seen.commit = seen.commit.max(view.commit.0);
        let commit = seen.commit;
        if matches!(name, "Ready" | "Bootstrap" | "InitState") {
            seen.ready = Some((view.hard, view.last, commit));
        }
        let vote = if let Vote::For(node) = view.hard.vote { node.0 } else { 0 };
        let role = match view.role {
            RoleKind::Leader => "StateLeader",
            RoleKind::Candidate => "StateCandidate",
            _ => "StateFollower",
        };
        let all: Vec<String> = (1..=self.nodes.len()).map(|id| format!("\"{id}\"")).collect();
        let all = all.join(",");
        self.lines.push(format!(
            "{{\"tag\":\"trace\",\"event\":{{\"name\":\"{name}\",\"nid\":\"{}\",\"state\":{{\"term\":{},\
             \"vote\":\"{vote}\",\"commit\":{commit}}},\"role\":\"{role}\",\"log\":{},\
             \"conf\":[[{all}],[]]{more}}}}}",
            node + 1,
            term(view.hard.term),
            view.last.index.0
        ));
    }

    fn started(&mut self, node: usize, view: View) {
        let seen = &mut self.nodes[node];
        seen.view = Some(view);
        match seen.ready {
            None => {
                // The one entry that every log begins with holds the members, and counts as committed.
                seen.commit = view.last.index.0;
                let all: Vec<String> = (1..=self.nodes.len()).map(|id| format!("\"{id}\"")).collect();
                let more = format!(",\"prop\":{{\"cc\":{{\"newconf\":[{}]}}}}", all.join(","));
                self.line("ApplyConfChange", node, view, &more);
                self.line("Bootstrap", node, view, "");
            }
            Some((hard, last, commit)) if hard == view.hard && last == view.last => {
                seen.commit = commit;
                self.line("InitState", node, view, "");
            }
            Some(_) => self.over = true,
        }
    }

    fn after_input(&mut self, node: usize, view: View) {
        let before_lines = self.lines.len();
        let Some(before) = self.nodes[node].view.replace(view) else { return };
        if let Some(envelope) = self.nodes[node].heard.take() {
            self.heard(node, before, view, &envelope);
        }
        let me = NodeId(node as u64 + 1);
        if self.nodes[node].timer_or_disk {
            self.durable(node, before, view);
        }
        let stood = |view: View| view.role == RoleKind::Candidate || view.role == RoleKind::Leader;
        let raised = view.hard.term > before.hard.term;
        if view.role == RoleKind::Candidate && (raised || before.role != RoleKind::Candidate) {
            self.line("BecomeCandidate", node, view, "");
            let own = Words::new("RequestVoteResponse", "MsgVoteResp").json(term(view.hard.term), me, me);
            self.line("SendRequestVoteResponse", node, view, &own);
        } else if !stood(view) && (raised || stood(before)) {
            self.line("BecomeFollower", node, view, "");
        }
        if view.role == RoleKind::Leader {
            let old = View { last: before.last, commit: before.commit, ..view };
            if before.role != RoleKind::Leader || raised {
                self.line("BecomeLeader", node, old, "");
            }
            for index in before.last.index.0 + 1..=view.last.index.0 {
                let mut then = View { commit: before.commit, ..view };
                then.last.index = Index(index);
                self.line("Replicate", node, then, "");
                let own = Words { index, ..Words::new("AppendEntriesResponse", "MsgAppResp") };
                let own = own.json(term(view.hard.term), me, me);
                self.line("SendAppendEntriesResponse", node, then, &own);
            }
            if view.commit > before.commit && view.commit.0 > self.nodes[node].commit {
                self.line("Commit", node, view, "");
            }
        }
        if self.lines.len() > before_lines && is_durable(view) {
            self.line("Ready", node, view, "");
        }
    }

    /// What the node said to itself has arrived: it is on its disk.
    fn durable(&mut self, node: usize, before: View, view: View) {
        let me = NodeId(node as u64 + 1);
        let term_now = term(view.hard.term);
        let news = view.durable && !before.durable || view.persisted > before.persisted;
        if news && (is_durable(view) || before.role == RoleKind::Leader) {
            self.line("Ready", node, before, "");
        }
        if before.role == RoleKind::Candidate && view.durable && !before.durable {
            let own = Words::new("RequestVoteResponse", "MsgVoteResp").json(term_now, me, me);
            self.line("ReceiveRequestVoteResponse", node, before, &own);
        }
        if before.role == RoleKind::Leader && view.persisted > before.persisted {
            let own = Words { index: view.persisted.0, ..Words::new("AppendEntriesResponse", "MsgAppResp") };
            self.line("ReceiveAppendEntriesResponse", node, before, &own.json(term_now, me, me));
        }
    }

    fn heard(&mut self, node: usize, before: View, view: View, envelope: &Envelope) {
        let Some(mut words) = Words::of(&envelope.message) else { return };
        let ignored = match &envelope.message {
            Message::Vote(_) => view.hard.term < envelope.term,
            Message::VoteReply(_) => words.reject && envelope.term <= before.hard.term,
            _ => false,
        };
        if ignored {
            return;
        }
        if let Some(commit) = self.shown.get(&key(envelope, &words)) {
            words.commit = *commit;
        }
        let name = format!("Receive{}", words.event);
        let more = words.json(term(envelope.term), envelope.from, envelope.to);
        self.line(&name, node, before, &more);
    }

    fn said(&mut self, node: usize, view: View, envelope: &Envelope) {
        // Building a message may have changed what is shown.
        self.nodes[node].heard = None;
        self.nodes[node].timer_or_disk = false;
        self.after_input(node, view);
        let Some(mut words) = Words::of(&envelope.message) else { return };
        let key = key(envelope, &words);
        if let Message::Append(append) = &envelope.message {
            let commit = self.nodes[node].commit.max(view.commit.0);
            words.commit = commit.min(append.prev.index.0 + append.entries.len() as u64);
        }
        if words.event == "AppendEntriesRequest" {
            self.shown.insert(key, words.commit);
        }
        let name = format!("Send{}", words.event);
        let more = words.json(term(envelope.term), envelope.from, envelope.to);
        self.line(&name, node, view, &more);
        self.line("Ready", node, view, "");
    }
}

/// `Ready` comes after the journal's confirmation. A leader's messages may leave before that of its log.
fn is_durable(view: View) -> bool {
    view.durable && view.persisted == view.last.index
}

const fn key(envelope: &Envelope, words: &Words) -> Key {
    (envelope.from.0, envelope.to.0, envelope.term.0, words.index, words.entries, words.commit)
}

#[cfg(test)]
mod tests;
