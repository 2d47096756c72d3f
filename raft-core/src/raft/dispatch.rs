//! What comes in from peers and from the election timer, and whom it goes to. What a rule says stands with the roles.

use super::timers::Timer;
use super::{Event, Next, Raft, Role, election, follower, install, leader, members};
use crate::backend::{HardState, Vote};
use crate::error::Violation;
use crate::ids::{Index, LogId, NodeId, Term};
use crate::message::{AppendReply, Ballot, Message, Notice, ReadIndex, TimeoutNow, VoteReply, VoteRequest};
use crate::status::Why;

impl Raft {
    pub(super) fn on_vote_request(&mut self, from: NodeId, term: Term, request: VoteRequest) {
        if let Some(ballot) = election::refuse_early(&self.common, from, term, request) {
            election::reply(&mut self.common, from, term, request.pre, ballot);
            let since = election::removed_since(&self.common, from).filter(|_| ballot == Ballot::Vetoed);
            if let Some(since) = since {
                self.common.send(from, Message::Notice(Notice::Removed { since }));
            }
            return;
        }
        if !request.pre && term > self.common.term() {
            self.follow(term, None, Why::HigherTerm);
        }
        let common = &mut self.common;
        let ballot = election::decide(common, from, term, request);
        if ballot == Ballot::Granted && !request.pre {
            common.set_hard(HardState { vote: Vote::For(from), ..common.hard });
            // A granted vote counts as contact (§5.2); a granted pre-vote does not (hashicorp#609). The old
            // leader's absence is being seen to: the candidate gets the time that its voters' disks need.
            common.nobody_is_gone();
            common.arm_election();
        }
        election::reply(common, from, term, request.pre, ballot);
    }

    /// A message of an earlier term: its sender learns of this one.
    pub(super) fn on_old_term(&mut self, from: NodeId, message: &Message) {
        let common = &mut self.common;
        let answer = match message {
            // It bears this node's term, and that is all it may say: the sender may lead that very term by
            // now, with rounds and entries of its own.
            Message::Heartbeat(_) => Message::HeartbeatReply(follower::answer(common)),
            Message::Append(_) | Message::Snapshot(_) => {
                let (prev, last) = (Index::ZERO, common.log.last());
                Message::AppendReply(AppendReply::Rejected { prev, hint: LogId::ZERO, last })
            }
            // Who was removed may be of a term that the others never had.
            Message::Notice(notice @ Notice::Removed { .. }) => return self.on_notice(from, *notice),
            _ => {
                common.counters.ignored_messages += 1;
                return;
            }
        };
        common.send(from, answer);
    }

    /// A message of this term that is not a request for a vote.
    pub(super) fn on_message(&mut self, from: NodeId, message: Message) {
        match message {
            Message::Append(append) if self.accept_leader(from) => {
                if let Role::Follower(follower) = &mut self.role {
                    follower.on_append(&mut self.common, from, append);
                }
            }
            Message::Heartbeat(heartbeat) if self.accept_leader(from) => {
                if let Role::Follower(follower) = &mut self.role {
                    follower.on_heartbeat(&mut self.common, from, heartbeat);
                }
            }
            Message::Snapshot(chunk) if self.accept_leader(from) => {
                if let Role::Follower(follower) = &mut self.role {
                    install::on_chunk(follower, &mut self.common, from, chunk);
                }
            }
            Message::SnapshotReply(reply) => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.on_snapshot_reply(&mut self.common, from, reply);
                }
            }
            Message::VoteReply(reply) => self.on_vote_reply(from, reply),
            Message::AppendReply(reply) => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.on_append_reply(&mut self.common, from, reply);
                }
            }
            Message::HeartbeatReply(reply) => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.on_heartbeat_reply(&mut self.common, from, reply);
                }
            }
            Message::TimeoutNow(TimeoutNow { round }) if self.may_take_over(from, round) => {
                self.turn(Next::Campaign { transfer: true, told: round, why: Why::Transfer });
            }
            Message::ReadIndex(ReadIndex { id }) => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.on_read_index(&mut self.common, from, id);
                }
            }
            Message::ReadIndexReply(reply) if self.common.leader == Some(from) => {
                if let Role::Follower(follower) = &mut self.role {
                    follower.on_read_index(&mut self.common, reply);
                }
            }
            Message::Notice(notice) => self.on_notice(from, notice),
            // A refused leader has raised its alarm already.
            _ => self.common.counters.ignored_messages += 1,
        }
    }

    /// Whether it may campaign as the leader tells it to.
    fn may_take_over(&self, from: NodeId, round: u64) -> bool {
        let common = &self.common;
        common.leader == Some(from)
            && common.may_campaign()
            && !common.is_bound(common.id(), common.term().next(), round)
    }

    /// Whether a promise to a leader keeps this node from campaigning.
    pub(super) fn is_bound(&self) -> bool {
        self.common.is_bound(self.common.id(), self.common.term().next(), 0)
    }

    /// Something that this node learns about itself.
    fn on_notice(&mut self, from: NodeId, notice: Notice) {
        if let Notice::Removed { since } = notice {
            let news = members::on_removed(&mut self.common, since);
            if news && matches!(self.role, Role::Candidate(_)) {
                self.turn(Next::Follow { why: Why::Removed });
            }
            if !news {
                return;
            }
        }
        self.common.events.push_back(Event::Noticed { by: from, notice });
    }

    /// The answer to a request for a vote or for a pre-vote.
    pub(super) fn on_vote_reply(&mut self, from: NodeId, reply: VoteReply) {
        if let Role::Candidate(candidate) = &mut self.role {
            let next = candidate.on_reply(&mut self.common, from, reply);
            self.turn(next);
        }
    }

    /// `from` claims to lead this term. Whether it does, as far as this node can tell (Election Safety).
    fn accept_leader(&mut self, from: NodeId) -> bool {
        let term = self.common.term();
        match self.common.leader {
            Some(first) if first != from => {
                self.common.alarm(Violation::TwoLeaders { term, first, second: from });
                return false;
            }
            Some(_) => {}
            None => self.follow(term, Some(from), Why::LeaderKnown),
        }
        let common = &mut self.common;
        common.contact = common.now;
        common.nobody_is_gone();
        common.embargo = false;
        members::on_leader(common);
        common.arm_election();
        true
    }

    /// Nobody was heard for too long.
    pub(super) fn on_election_timeout(&mut self) -> Next {
        let bound = self.is_bound();
        let common = &mut self.common;
        if !common.timers.fired(Timer::Election, common.now) {
            return Next::Stay;
        }
        if bound {
            common.arm_election();
            return Next::Stay;
        }
        let why = if common.leader_gone { Why::LeaderGone } else { Why::Timeout };
        leader::transfer_ended(common);
        if common.may_campaign() && !common.embargo {
            return Next::PreCampaign { transfer: false, why };
        }
        // Not a voter, or must stand still: wait for a leader, whoever it will be, and in no hurry.
        common.nobody_is_gone();
        if matches!(self.role, Role::Candidate(_)) {
            return Next::Follow { why };
        }
        if common.leader.take().is_some() {
            common.why = why;
        }
        common.arm_election();
        Next::Stay
    }
}
