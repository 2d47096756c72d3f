//! Elections: who is granted a vote (all roles), and how a candidate counts (§5.2, §5.4.1; pre-vote:
//! dissertation §9.6; stickiness: §4.2.3 there; veto: M6).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Next;
use super::common::Common;
use crate::backend::{HardState, Vote};
use crate::error::Violation;
use crate::ids::{Index, LogId, NodeId, Term};
use crate::membership::VoteResult;
use crate::message::{Ballot, Message, VoteReply, VoteRequest};
use crate::status::Why;

/// A node that asks for votes or for pre-votes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Candidate {
    /// Whether it only asks whether it would win.
    pub(crate) pre: bool,
    /// The term it asks for.
    asked: Term,
    /// Voters need not wait for the old leader's silence.
    transfer: bool,
    /// The round in which the old leader has told it to campaign, or 0.
    told: u64,
    answers: BTreeMap<NodeId, Ballot>,
}

impl Candidate {
    /// Asks all voters. A real candidate has entered a new term and voted for itself before.
    pub(crate) fn start(common: &mut Common, pre: bool, transfer: bool, told: u64) -> Self {
        let asked = if pre { common.term().next() } else { common.term() };
        let candidate = Self { pre, asked, transfer, told, answers: BTreeMap::new() };
        let voters: Vec<NodeId> = common.membership().all_voters().collect();
        for voter in voters {
            candidate.ask(common, voter);
        }
        if pre {
            common.counters.pre_votes += 1;
        } else {
            common.counters.elections += 1;
        }
        candidate
    }

    /// Asks one voter, unless it has answered. Asked again when its connection comes up.
    pub(crate) fn ask(&self, common: &mut Common, voter: NodeId) {
        let asked = voter == common.id() || self.answers.contains_key(&voter);
        if asked || !common.membership().is_voter(voter) {
            return;
        }
        let last = common.log.last_id();
        let request = VoteRequest { pre: self.pre, transfer: self.transfer, last, told: self.told };
        common.send_in(voter, self.asked, Message::Vote(request));
    }

    /// Counts an answer. Answers of another round or of the other kind count for nothing.
    pub(crate) fn on_reply(&mut self, common: &mut Common, from: NodeId, reply: VoteReply) -> Next {
        if reply.pre != self.pre || reply.asked != self.asked || !common.membership().is_voter(from) {
            common.counters.ignored_messages += 1;
            return Next::Stay;
        }
        if reply.ballot == Ballot::Vetoed {
            common.counters.vetoes += 1;
            common.embargo = true;
        }
        self.answers.entry(from).or_insert(reply.ballot);
        self.tally(common)
    }

    /// How the election stands. The candidate's own vote counts once it is durable. The vote of a leader that is gone is
    /// not waited for: where the others have split theirs, they try again soon (M5). Who only asks asks again soon anyway.
    pub(crate) fn tally(&self, common: &mut Common) -> Next {
        let own = (self.pre || common.hard_is_durable()).then_some(true);
        let result = common.membership().vote_result(|voter| {
            if voter == common.config.id {
                return own;
            }
            let answer = self.answers.get(&voter).map(|ballot| *ballot == Ballot::Granted);
            answer.or_else(|| (!self.pre && common.is_gone(voter)).then_some(false))
        });
        let veto = self.answers.iter().find(|(_, ballot)| **ballot == Ballot::Vetoed).map(|(by, _)| *by);
        match (result, veto) {
            (VoteResult::Pending, _) => Next::Stay,
            (VoteResult::Lost, None) => {
                if !self.pre {
                    common.has_lost();
                }
                Next::Follow { why: Why::Lost }
            }
            (VoteResult::Lost, Some(_)) => Next::Follow { why: Why::Vetoed },
            (VoteResult::Won, Some(by)) => {
                // A quorum of real votes proves that nothing committed would be lost; a veto says that
                // something would. Pre-votes promise nothing and prove nothing.
                if !self.pre {
                    common.alarm(Violation::VetoedElection { term: self.asked, by });
                }
                Next::Follow { why: Why::Vetoed }
            }
            (VoteResult::Won, None) if self.pre => {
                Next::Campaign { transfer: self.transfer, told: 0, why: Why::WouldWin }
            }
            (VoteResult::Won, None) => Next::Lead,
        }
    }
}

/// Enters a new term and votes for oneself (§5.2). Nothing leaves until both are durable.
pub(crate) fn vote_for_self(common: &mut Common) {
    let hard = HardState { term: common.term().next(), vote: Vote::For(common.config.id), ..common.hard };
    common.set_hard(hard);
}

/// Whether a request is refused before its term counts for anything: so that a node that does not hear
/// the leader, or was removed, cannot disturb those who do (dissertation §4.2.3), and because a leader may answer reads
/// under a lease that this node has promised (§6.4.1 there; M5).
pub(crate) fn refuse_early(
    common: &Common,
    from: NodeId,
    term: Term,
    request: VoteRequest,
) -> Option<Ballot> {
    if term < common.term() {
        return Some(Ballot::Denied);
    }
    // An ex-leader may stand again (hashicorp#606).
    let heard = common.leader.filter(|leader| *leader != from).is_some_and(|leader| {
        leader == common.id()
            || (common.now.since(common.contact) < common.config.election_timeout && !common.leader_gone)
    });
    if heard && !common.membership().is_member(from) && removed_since(common, from).is_some() {
        return Some(Ballot::Vetoed);
    }
    let bound = common.is_bound(from, term, request.told);
    (bound || (heard && !request.transfer)).then_some(Ballot::Denied)
}

/// Since which entry a node is no member, by what is committed.
pub(crate) fn removed_since(common: &Common, node: NodeId) -> Option<Index> {
    let (at, membership) = common.log.committed_membership()?;
    (!membership.is_member(node)).then_some(at.index)
}

/// Decides on a request whose term is at least this node's. Does not change anything.
pub(crate) fn decide(common: &Common, from: NodeId, term: Term, request: VoteRequest) -> Ballot {
    if would_overwrite_committed(common, request.last) {
        return Ballot::Vetoed;
    }
    if common.hard.probation || common.failed || request.last < common.log.last_id() {
        return Ballot::Denied;
    }
    let free = term > common.term()
        || match common.hard.vote {
            // In this term a pre-vote would be for a term that has begun.
            Vote::None => !request.pre,
            Vote::For(candidate) => candidate == from && !request.pre,
            Vote::Blocked => false,
        };
    if free { Ballot::Granted } else { Ballot::Denied }
}

/// Whether a leader whose log ends at `last` would overwrite what this node knows to be committed: the
/// entry there differs, or its first own entry, directly after, would take a committed one's place.
fn would_overwrite_committed(common: &Common, last: LogId) -> bool {
    let commit = common.log.commit();
    last.index < commit || (last.index == commit && common.log.term_of(commit) != Some(last.term))
}

/// Answers.
pub(crate) fn reply(common: &mut Common, to: NodeId, asked: Term, pre: bool, ballot: Ballot) {
    common.send(to, Message::VoteReply(VoteReply { pre, asked, ballot }));
}
