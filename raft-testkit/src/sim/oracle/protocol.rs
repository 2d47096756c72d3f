//! What nodes do and say.

use std::hash::Hasher;
use std::sync::Arc;

use raft_core::backend::{HardState, JournalWrite, Vote};
use raft_core::error::Violation as Alarm;
use raft_core::ids::{Index, NodeId, Term};
use raft_core::message::{AppendReply, Ballot, Envelope, Message, PeerEvent};
use raft_core::node::{Input, Observer, Output};
use raft_core::raft::{Event, Raft, View};
use raft_core::status::{Disk, RoleKind, Why};
use raft_core::time::Time;

use super::super::coverage::Point;
use super::super::events::Tag;
use super::super::executor::Nanos;
use super::hand_over::Watch;
use super::members::{is_quorum, short};
use super::{Oracle, State, changed_its_mind, number, place};

/// Listens to one node in one of its lives.
pub(crate) struct Ear {
    /// To whom it tells.
    pub(crate) oracle: Arc<Oracle>,
    /// The node, from 0.
    pub(crate) node: usize,
}

impl Observer for Ear {
    fn started(&self, raft: &Raft, _now: Time) {
        let at = self.oracle.now();
        self.oracle.lock().started(at, self.node, raft);
    }

    fn input(&self, raft: &Raft, now: Time, input: Input<'_>) {
        let mut state = self.oracle.lock();
        state.nodes[self.node].hand_over.input(now, raft, &input);
        state.nodes[self.node].answer_of = match input {
            Input::Message(Envelope {
                term,
                message: Message::AppendReply(_) | Message::HeartbeatReply(_),
                ..
            }) => {
                // A leader that hears an answer of an earlier term must know what it knew before; of a later one,
                // that it is over.
                let other = *term != raft.view().hard.term && raft.view().role == RoleKind::Leader;
                other.then(|| (*term, digest_of(raft)))
            }
            _ => None,
        };
        match input {
            Input::Message(envelope) => state.heard(raft, envelope),
            Input::Fetched(_) => state.cover.hit(Point::Fetched),
            Input::Damaged(..) => state.cover.hit(Point::DamageFound),
            Input::NoSpace(_) => {
                state.cover.hit(Point::DiskFull);
                state.nodes[self.node].full = true;
            }
            Input::Transfer(_) => state.cover.hit(Point::TransferAsked),
            Input::Campaign => state.cover.hit(Point::CampaignAsked),
            Input::Peer(peer, event) => {
                let at = self.oracle.now();
                let numbers = [peer.0, event as u64, 0, 0];
                let text = || format!("{peer} {event:?}");
                state.events.note(at, number(Some(self.node)), Tag::Link, numbers, text);
                state.cover.hit_if(event != PeerEvent::Up, Point::ConnectionLost);
            }
            _ => {}
        }
    }

    fn output(&self, raft: &Raft, output: Output<'_>) {
        let at = self.oracle.now();
        let mut state = self.oracle.lock();
        match output {
            Output::Settled => {
                state.after_input(at, self.node, raft);
                let is_full = || matches!(raft.status(Time::ZERO).disk, Disk::Full { .. });
                if state.nodes[self.node].full && !is_full() {
                    state.nodes[self.node].full = false;
                    state.cover.hit(Point::SpaceReturns);
                }
            }
            Output::Message(envelope) => {
                // Building one may have changed what is shown.
                state.after_input(at, self.node, raft);
                state.said(at, self.node, raft, envelope);
            }
            Output::Write(write) => state.handed(raft, write),
            Output::Event(event) => state.news(self.node, event),
            _ => {}
        }
    }
}

/// What a leader knows, without times.
fn digest_of(raft: &Raft) -> u64 {
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    raft.hash_leadership(&mut hasher);
    hasher.finish()
}

impl State {
    fn started(&mut self, at: Nanos, node: usize, raft: &Raft) {
        let view = raft.view();
        let model = &mut self.nodes[node];
        model.view = Some(view);
        model.full = false;
        model.hand_over = Watch::default();
        if view.hard.term < model.shown {
            let what = format!("it comes up in term {}, after {}", view.hard.term, model.shown);
            self.violated(at, "term-went-back", Some(node), what);
        }
    }

    /// The node has dealt with an input.
    fn after_input(&mut self, at: Nanos, node: usize, raft: &Raft) {
        let view = raft.view();
        let led = if view.role == RoleKind::Leader { at } else { self.nodes[node].seen_at.1 };
        self.nodes[node].seen_at = (at, led);
        let Some(before) = self.nodes[node].view.replace(view) else { return };
        if let Some((of, before)) = self.nodes[node].answer_of.take()
            && (view.hard.term < of || (view.hard.term > of && digest_of(raft) != before))
        {
            let what = format!("it leads {}, and counts an answer of {of}", view.hard.term);
            self.violated(at, "stale-answer", Some(node), what);
        }
        if view.role == RoleKind::Leader {
            self.check_beliefs(at, node, view, raft);
            // Somebody may lead a later term already.
            if let Some((later, other)) = self.leaders.range(view.hard.term.next()..).next() {
                self.check_lease(at, node, view, *later, *other);
            }
        }
        self.check_hand_over(at, node, before, raft);
        if view == before {
            return;
        }
        self.check_terms(at, node, before, view);
        if (view.role, view.hard.term, view.leader) != (before.role, before.hard.term, before.leader) {
            let leader = view.leader.map_or(0, |leader| leader.0);
            let numbers = [view.role as u64, view.hard.term.0, leader, view.commit.0];
            let text = || format!("{} in term {}, leader {leader}", view.role, view.hard.term);
            self.events.note(at, number(Some(node)), Tag::Role, numbers, text);
            self.on_role(at, node, before, view, raft);
        }
        if view.commit > before.commit {
            self.events.note(at, number(Some(node)), Tag::Commit, [view.commit.0, 0, 0, 0], || {
                format!("through {}", view.commit)
            });
            self.cover.hit_if(view.role != RoleKind::Leader, Point::FollowerCommits);
            for index in before.commit.0 + 1..=view.commit.0 {
                self.on_commit(at, node, Index(index), raft);
            }
            let lag = (self.committed.len() as u64).saturating_sub(view.commit.0);
            let model = &mut self.nodes[node];
            let caught = lag == 0 && model.lag >= 50;
            model.lag = if lag == 0 { 0 } else { model.lag.max(lag) };
            self.cover.hit_if(caught, Point::Caught);
        }
        if before.hard.probation && !view.hard.probation {
            self.on_probation_end(at, node);
        }
        self.cover.hit_if(view.embargo && !before.embargo, Point::Embargo);
        if let Some(alarm) = view.alarm.filter(|alarm| before.alarm != Some(*alarm)) {
            self.violated(at, "alarm", Some(node), alarm.to_string());
        }
    }

    /// While a leader counts a quorum as bound to it, by its own clock, nobody can be elected (dissertation §6.4.1).
    fn check_lease(&mut self, at: Nanos, node: usize, view: View, later: Term, other: usize) {
        let Some(until) = view.lease_until else { return };
        let until = self.clocks[node].global(until);
        if view.role == RoleKind::Leader && until > at {
            let left = (until - at) / 1000;
            let what = format!(
                "it has a lease of {} for {left} us more; node {} leads {later}",
                view.hard.term,
                other + 1
            );
            self.violated(at, "lease", Some(node), what);
        }
    }

    /// What a leader counts must be on the disks of its followers, those that are in its term.
    fn check_beliefs(&mut self, at: Nanos, node: usize, view: View, raft: &Raft) {
        for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
            let matched = raft.matched(NodeId(peer as u64 + 1)).unwrap_or_default();
            let believed = (view.hard.term, matched);
            if self.beliefs[node][peer] == believed {
                continue;
            }
            self.beliefs[node][peer] = believed;
            let model = &self.nodes[peer];
            // Who has left counts for nothing, and may have come back with another disk before this leader hears what it said last.
            let id = NodeId(peer as u64 + 1);
            let left = self.membership_of(raft).is_some_and(|members| !members.is_member(id));
            let excused = model.damaged || model.lossy || model.hard.term > view.hard.term || left;
            if matched == Index::ZERO || excused {
                continue;
            }
            let there = model.log.get(place(matched)).map(|item| item.term);
            if there != self.term_in(raft, matched) {
                let what = format!(
                    "it counts {matched} of node {}; there are {} entries, at {matched} of term {there:?}",
                    peer + 1,
                    model.log.len()
                );
                self.violated(at, "match-not-durable", Some(node), what);
            }
        }
    }

    /// The term of an entry of a node's log; of one that is in its snapshot, what was committed there.
    fn term_in(&self, raft: &Raft, index: Index) -> Option<Term> {
        let snapshot = index < raft.view().purged;
        raft.term_of(index)
            .or_else(|| self.committed.get(place(index)).filter(|_| snapshot).map(|item| item.term))
    }

    /// Nobody who lacks what is committed now may have a log that a quorum would elect (§5.4.3).
    fn check_electable(&mut self, at: Nanos, node: usize, index: Index, term: Term) {
        let sound = |model: &super::Model| !model.damaged && !model.lossy && !model_on_probation(model);
        let end = |model: &super::Model| (model.log.last().map(|item| item.term), model.log.len());
        let elected = self.nodes.iter().enumerate().find(|(number, candidate)| {
            let has = candidate.log.get(place(index)).is_some_and(|item| item.term == term);
            if has || !sound(candidate) {
                return false;
            }
            let Some(members) = self.memberships.of_log(&candidate.log) else { return false };
            let votes = |voter: usize| {
                self.nodes.get(voter).is_some_and(|voter| sound(voter) && end(voter) <= end(candidate))
            };
            members.is_voter(NodeId(*number as u64 + 1)) && is_quorum(members, votes)
        });
        if let Some((without, _)) = elected {
            let what =
                format!("it commits {index} of term {term}; node {} could be elected without", without + 1);
            self.violated(at, "leader-completeness", Some(node), what);
        }
    }

    fn check_terms(&mut self, at: Nanos, node: usize, before: View, view: View) {
        if view.hard.term < before.hard.term {
            let what = format!("from {} to {}", before.hard.term, view.hard.term);
            self.violated(at, "term-went-back", Some(node), what);
        }
        let same_term = view.hard.term == before.hard.term;
        if same_term && changed_its_mind(before.hard.vote, view.hard.vote) {
            let what =
                format!("in term {} from {:?} to {:?}", view.hard.term, before.hard.vote, view.hard.vote);
            self.violated(at, "double-vote", Some(node), what);
        }
        if view.commit < before.commit {
            let what = format!("from {} to {}", before.commit, view.commit);
            self.violated(at, "commit-went-back", Some(node), what);
        }
        let blocked = view.hard.vote == Vote::Blocked;
        self.cover.hit_if(blocked && before.hard.vote != view.hard.vote, Point::VoteBlocked);
    }

    fn on_role(&mut self, at: Nanos, node: usize, before: View, view: View, raft: &Raft) {
        let term = view.hard.term;
        if before.role == RoleKind::Leader && view.role != RoleKind::Leader && term > before.hard.term {
            self.cover.hit(Point::SteppedDownByTerm);
        }
        if view.role == RoleKind::Candidate && before.role != RoleKind::Candidate {
            let others = self.candidates.entry(term).or_default();
            others.insert(node);
            let split = others.len() > 1;
            self.cover.hit_if(split, Point::SplitVote);
        }
        if view.role != RoleKind::Leader || (before.role == RoleKind::Leader && before.hard.term == term) {
            return;
        }
        self.elections += 1;
        self.cover.hit(Point::LeaderElected);
        // What was promised comes before what it is made of: by whose votes it leads is looked at next.
        if let Some(other) = self.leaders.insert(term, node).filter(|other| *other != node) {
            let what = format!("it leads term {term}, and so did node {}", other + 1);
            self.violated(at, "election-safety", Some(node), what);
        }
        self.check_election(at, node, before, term, raft);
        self.cover.hit_if(term >= Term(10), Point::LeaderOfLaterTerm);
        let ppm = self.nodes[node].ppm;
        self.cover.hit_if(ppm > 1_000_000, Point::FastClock);
        self.cover.hit_if(ppm < 1_000_000, Point::SlowClock);
        let others = self.nodes.iter().enumerate();
        let two = others
            .filter(|(other, _)| *other != node)
            .any(|(_, model)| model.view.is_some_and(|view| view.role == RoleKind::Leader));
        self.cover.hit_if(two, Point::TwoLeadersAtOnce);
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            if let Some(other_view) = self.nodes[other].view.filter(|view| view.hard.term < term) {
                self.check_lease(at, other, other_view, term, node);
            }
        }
        if view.hard.probation || self.nodes[node].lossy {
            self.violated(at, "probation-vote", Some(node), format!("it leads term {term}"));
        }
        // What is committed in a term is in the logs of the leaders of later ones; a leader of an earlier
        // term may be elected late and without it.
        let missing = (1..=self.committed.len() as u64)
            .filter(|index| self.committed_in[*index as usize - 1] < term)
            .find(|index| {
                self.term_in(raft, Index(*index)) != Some(self.committed[*index as usize - 1].term)
            });
        if let Some(index) = missing {
            let has = self.term_in(raft, Index(index));
            let committed = self.committed[index as usize - 1].term;
            let what = format!("it leads {term}; at {index} it has {has:?}, committed is {committed}");
            self.violated(at, "leader-completeness", Some(node), what);
        }
    }

    /// Whoever is elected has the votes of a quorum of those whom its log names, each a vote that was durable before it
    /// left; of both halves while two memberships are in force (§5.2, §6).
    fn check_election(&mut self, at: Nanos, node: usize, before: View, term: Term, raft: &Raft) {
        let me = NodeId(node as u64 + 1);
        // What it has appended since it leads has elected nobody.
        let Some(members) = self.membership_upto(raft, before.last.index).cloned() else { return };
        let own = HardState { term, vote: Vote::For(me), ..self.nodes[node].hard };
        let votes = |voter: usize| match voter == node {
            true => self.nodes[node].hard == own,
            false => self.votes.get(&(voter, term)) == Some(&me),
        };
        if !is_quorum(&members, votes) {
            let by: Vec<usize> = (0..self.nodes.len()).filter(|voter| votes(*voter)).map(|n| n + 1).collect();
            let what = format!("it leads {term} by the votes of {by:?}, members are {}", short(&members));
            self.violated(at, "election-without-quorum", Some(node), what);
        }
        self.cover.hit_if(members.is_joint(), Point::LeaderInJoint);
    }

    fn on_commit(&mut self, at: Nanos, node: usize, index: Index, raft: &Raft) {
        let Some(term) = self.term_in(raft, index) else {
            self.violated(at, "commit-not-durable", Some(node), format!("it commits {index} and lacks it"));
            return;
        };
        if let Some(known) = self.committed.get(place(index)) {
            if known.term != term {
                let what = format!("at {index} it commits term {term}; {} was committed", known.term);
                self.violated(at, "state-machine-safety", Some(node), what);
            }
            return;
        }
        let holds = |model: &super::Model| {
            model.log.get(place(index)).filter(|item| item.term == term).map(|item| item.digest)
        };
        let holders: Vec<(usize, u64)> =
            self.nodes.iter().enumerate().filter_map(|(n, model)| Some((n, holds(model)?))).collect();
        let Some(members) = self.membership_of(raft).cloned() else {
            self.violated(
                at,
                "commit-not-durable",
                Some(node),
                format!("it commits {index} without members"),
            );
            return;
        };
        // Whoever had acknowledged it and has lost it, and knows or will know when it comes up, elects nobody
        // without it.
        let knows = |model: &super::Model| {
            let had = model.had.get(place(index)).is_some_and(|item| item.term == term);
            had && (model.damaged || model_on_probation(model))
        };
        let holds_or_knows = |n: usize| {
            let held = holders.iter().any(|(holder, _)| *holder == n);
            held || self.nodes.get(n).is_some_and(knows)
        };
        // Once a joint membership is committed its new half alone may decide: the leader has appended the end of it,
        // and nothing of that need be on a disk. Whoever is elected needs a majority of that half in any case.
        let mut enough = members.clone();
        if self.leaves_joint(raft) {
            enough.outgoing.clear();
        }
        if !is_quorum(&enough, holds_or_knows) {
            let on: Vec<usize> = holders.iter().map(|(n, _)| n + 1).collect();
            let what =
                format!("{index} of term {term} is durable on {on:?} only, members are {}", short(&members));
            self.violated(at, "commit-not-durable", Some(node), what);
        }
        let Some((_, digest)) = holders.first().copied() else { return };
        let leads = self.nodes[node].view.filter(|view| view.role == RoleKind::Leader);
        if let Some(leader) = leads {
            self.cover.hit_if(term < leader.hard.term, Point::CommitOldTerm);
            self.cover.hit_if(!holders.iter().any(|(n, _)| *n == node), Point::CommitWithoutLeaderDisk);
        }
        if place(index) != self.committed.len() {
            let what = format!("it commits {index}, before it only {}", self.committed.len());
            self.violated(at, "commit-not-durable", Some(node), what);
            return;
        }
        self.committed.push(super::Item { term, digest });
        let in_term = self.nodes[node].view.map_or(term, |view| view.hard.term);
        self.committed_in.push(in_term);
        self.check_electable(at, node, index, term);
        self.member_committed(index);
        let voters = members.voters.len();
        self.cover.hit_if(voters == 1, Point::SingleVoter);
        self.cover.hit_if(voters.is_multiple_of(2), Point::EvenCluster);
        self.cover.hit_if(voters == 7, Point::SevenNodes);
    }

    fn on_probation_end(&mut self, at: Nanos, node: usize) {
        self.cover.hit(Point::ProbationEnds);
        self.nodes[node].lossy = false;
        // Whoever may vote must not be able to elect a leader without a committed entry: fewer than a
        // quorum of the voters may lack it.
        let Some(members) = self.committed_membership() else { return };
        let lacks = |model: &super::Model, item: &super::Item, index: u64| {
            !model_on_probation(model) && model.log.get(place(Index(index))) != Some(item)
        };
        let forgotten = self.committed.iter().zip(1..).find(|(item, index)| {
            let mine = &self.nodes[node];
            mine.log.get(place(Index(*index))) != Some(item)
                && is_quorum(members, |n| {
                    n == node || self.nodes.get(n).is_some_and(|model| lacks(model, item, *index))
                })
        });
        if let Some((item, index)) = forgotten {
            let what =
                format!("probation ends without {index} of term {}, which a quorum lacks now", item.term);
            self.violated(at, "probation-end", Some(node), what);
        }
        // And it has again whatever it had acknowledged and is committed: others may have counted it.
        let mine = &self.nodes[node];
        let owed = self.committed.iter().zip(&mine.had).zip(1..);
        let missing = owed
            .filter(|((item, had), _)| item == had)
            .find(|((item, _), index)| mine.log.get(place(Index(*index))) != Some(*item))
            .map(|(_, index)| index);
        if let Some(index) = missing {
            let what = format!("probation ends without {index}, which it had acknowledged and is committed");
            self.violated(at, "probation-end", Some(node), what);
        }
        self.nodes[node].had.clear();
    }

    /// A message leaves a node.
    fn said(&mut self, at: Nanos, node: usize, raft: &Raft, envelope: &Envelope) {
        let view = raft.view();
        let model = &mut self.nodes[node];
        model.shown = model.shown.max(view.hard.term);
        if model.hard != view.hard {
            let what = format!("it speaks as {:?}; on its disk is {:?}", view.hard, model.hard);
            self.violated(at, "state-not-durable", Some(node), what);
        }
        match &envelope.message {
            Message::Vote(request) if !self.may_campaign(node, raft) => {
                let what = format!("it was removed and knows, and asks for votes: pre {}", request.pre);
                self.violated(at, "removed-noise", Some(node), what);
            }
            Message::Vote(request) if self.nodes[node].hard.probation => {
                let what = format!("it asks for votes: pre {}", request.pre);
                self.violated(at, "probation-vote", Some(node), what);
            }
            Message::Vote(request) if !request.pre => {
                self.cover.hit_if(request.transfer, Point::TimeoutNow);
                self.voted(at, node, envelope.term, NodeId(node as u64 + 1));
            }
            Message::VoteReply(reply) => match reply.ballot {
                Ballot::Granted if !reply.pre => self.voted(at, node, reply.asked, envelope.to),
                Ballot::Granted if model_on_probation(&self.nodes[node]) => {
                    self.violated(at, "probation-vote", Some(node), "it grants a pre-vote".into());
                }
                Ballot::Granted => {}
                Ballot::Denied if reply.pre => self.cover.hit(Point::PreVoteDenied),
                Ballot::Denied => self.cover.hit(Point::VoteDenied),
                Ballot::Vetoed => self.cover.hit(Point::Vetoed),
            },
            Message::AppendReply(AppendReply::Matched { matched }) => {
                let durable = self.nodes[node].log.len() as u64;
                if matched.0 > durable {
                    let what = format!("it acknowledges {matched}; on its disk is {durable}");
                    self.violated(at, "ack-not-durable", Some(node), what);
                }
            }
            Message::Heartbeat(heartbeat) => {
                let asked = self.rounds.entry(envelope.term).or_default();
                *asked = heartbeat.round.max(*asked);
            }
            Message::HeartbeatReply(reply) => {
                let asked = self.rounds.get(&envelope.term).copied().unwrap_or_default();
                if reply.round > asked {
                    let (term, round) = (envelope.term, reply.round);
                    let what = format!("it answers round {round} of {term}, where {asked} were asked");
                    self.violated(at, "stale-answer", Some(node), what);
                }
            }
            Message::AppendReply(AppendReply::Rejected { .. }) => self.cover.hit(Point::RejectedAppend),
            Message::Append(append) => {
                self.cover.hit_if(append.entries.len() >= 5, Point::AppendBatch);
            }
            _ => {}
        }
    }

    /// Nobody campaigns who knows that the committed members have no vote for it.
    fn may_campaign(&self, node: usize, raft: &Raft) -> bool {
        let me = NodeId(node as u64 + 1);
        self.membership_of(raft).is_none_or(|last| last.is_voter(me))
            || self.memberships.may_count(&self.nodes[node].log, raft.view().commit, me)
    }

    /// A message is about to be handled.
    fn heard(&mut self, raft: &Raft, envelope: &Envelope) {
        let old = envelope.term < raft.view().hard.term;
        let of_leader = matches!(envelope.message, Message::Append(_) | Message::Heartbeat(_));
        self.cover.hit_if(old && of_leader, Point::OldLeaderHeard);
    }

    /// The journal is given a write.
    fn handed(&mut self, _raft: &Raft, write: &JournalWrite) {
        let both = write.hard_state.is_some() && !write.entries.is_empty();
        self.cover.hit_if(both, Point::WriteWithVoteAndEntries);
    }

    fn news(&mut self, node: usize, event: &Event) {
        match event {
            Event::RoleChanged { role, why, .. } => match why {
                Why::QuorumLost => self.cover.hit(Point::QuorumLost),
                Why::LeaderGone => self.cover.hit(Point::LeaderGone),
                Why::Lost => self.cover.hit(Point::ElectionLost),
                Why::JournalFailed if *role == RoleKind::Follower => self.cover.hit(Point::LeaderDiskFails),
                _ => {}
            },
            Event::TransferFinished { result, .. } => {
                self.cover.hit(if result.is_ok() { Point::TransferDone } else { Point::TransferFailed });
            }
            Event::Alarm(Alarm::VetoedElection { .. }) => self.cover.hit(Point::Vetoed),
            Event::Removed => self.cover.hit(Point::RemovedLearnsOfIt),
            Event::Healed { .. } => self.cover.hit(Point::DamageHealed),
            Event::MembershipChanged { membership, .. } => {
                self.nodes[node].members = membership.members.keys().copied().collect();
            }
            _ => {}
        }
    }
}

/// Whether it votes for nobody. Whoever has nothing in its log does not either, from when it comes up, before that is
/// written down (P17).
pub(super) const fn model_on_probation(model: &super::Model) -> bool {
    model.lossy || model.hard.probation || model.log.is_empty()
}
