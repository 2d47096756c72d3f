//! What must hold after every step.

use std::collections::BTreeSet;

use raft_core::ids::NodeId;
use raft_core::membership::Membership;
use raft_core::message::{Ballot, Message};

use super::disk::Held;
use super::explorer::{Explorer, Outcome};
use super::node::Summary;
use super::world::World;

/// Whether these nodes can decide: a majority of the voters, and while two memberships are in force of each.
fn is_quorum(members: &Membership, yes: impl Fn(usize) -> bool) -> bool {
    let most = |voters: &BTreeSet<NodeId>| {
        2 * voters.iter().filter(|id| yes(id.0 as usize - 1)).count() > voters.len()
    };
    most(&members.voters) && (members.outgoing.is_empty() || most(&members.outgoing))
}

impl Explorer {
    /// What must hold after a step of the node `at`.
    pub(super) fn check(
        &mut self,
        world: &mut World,
        at: usize,
        outcome: &Outcome,
        before: u32,
    ) -> Option<String> {
        for sent in &outcome.sent {
            if let Some(what) = self.double_vote(world, *sent) {
                return Some(what);
            }
        }
        let was = &self.nodes[before as usize].summary;
        let summary = self.summary(world, at);
        let id = at + 1;
        if summary.leads {
            let term = summary.term.0 as usize;
            let before = world.leaders.get(term).copied().unwrap_or_default();
            if before != 0 && usize::from(before) != id {
                return Some(format!("election safety: nodes {before} and {id} lead term {term}"));
            }
            if before == 0 {
                if let Some(what) = self.election(world, at, was) {
                    return Some(what);
                }
                if let Some(place) = world.leaders.get_mut(term) {
                    *place = id as u8;
                }
                let committed = &self.logs[world.committed as usize];
                // What was committed in earlier terms; a leader of an earlier term may come late.
                let lacks = committed.iter().zip(0..).find(|((entry, _), place)| {
                    *entry < summary.term && summary.terms.get(*place) != Some(entry)
                });
                let later = world.leaders.iter().skip(term + 1).any(|leader| *leader != 0);
                if let Some(((entry, _), place)) = lacks.filter(|_| !later) {
                    return Some(format!(
                        "leader completeness: node {id} leads {term} without {} of term {entry}",
                        place + 1
                    ));
                }
            }
        }
        if was.probation && !summary.probation {
            // What it had said counted until now. From here on only what it has does.
            let had = &self.logs[world.lost[at] as usize];
            let owed = self.logs[world.committed as usize].iter().zip(had);
            let missing = owed.enumerate().find(|(index, (committed, had))| {
                committed == had && summary.durable.get(*index) != Some(committed)
            });
            if let Some((index, _)) = missing {
                return Some(format!("probation ends on node {id} without {}, which it had", index + 1));
            }
            world.lost[at] = 0;
        }
        let committed = self.logs[world.committed as usize].clone();
        for (index, term) in summary.terms.iter().enumerate().take(summary.commit as usize) {
            match committed.get(index) {
                Some((known, _)) if known != term => {
                    return Some(format!(
                        "state machine safety: node {id} commits {} of term {term}, {known} was committed",
                        index + 1
                    ));
                }
                _ => {}
            }
        }
        if summary.commit as usize > committed.len()
            && let Err(what) = self.commit(world, at, &committed, before)
        {
            return Some(what);
        }
        let (executed, committed) = (&self.summary(world, at).executed, &self.logs[world.committed as usize]);
        if !committed.starts_with(executed) {
            return Some(format!(
                "state machine safety: node {id} has executed {executed:?}, not {committed:?}"
            ));
        }
        let floor = u64::from(world.floor);
        if let Some(index) = outcome.ready.iter().find(|index| **index < floor) {
            return Some(format!(
                "a read of {index} is answered; {floor} was committed before it was asked for"
            ));
        }
        self.leases(world).or_else(|| self.matching(world))
    }

    /// The node has committed more than anybody before.
    fn commit(
        &mut self,
        world: &mut World,
        at: usize,
        committed: &[Held],
        before: u32,
    ) -> Result<(), String> {
        let summary = self.summary(world, at);
        let before = &self.nodes[before as usize].summary.members;
        let mut log = committed.to_vec();
        for index in committed.len()..summary.commit as usize {
            let Some(term) = summary.terms.get(index) else { return Err("it commits what it lacks".into()) };
            // What a node has on its disk, or had when that was damaged: it has said so, and that counts.
            let held = |node: usize| {
                let durable = &self.nodes[*world.nodes.get(node)? as usize].summary.durable;
                let lost = &self.logs[world.lost[node] as usize];
                [durable, lost].into_iter().filter_map(|log| log.get(index)).find(|(of, _)| of == term)
            };
            let holders: Vec<&Held> = (0..world.nodes.len()).filter_map(held).collect();
            // One step may commit and then change who decides: what was in force before it, or as of this entry.
            let as_of = summary.memberships.iter().rfind(|(at, _)| *at <= index + 1).map(|(_, of)| of);
            let decide = |members: &Membership| is_quorum(members, |node| held(node).is_some());
            if !(decide(before) || as_of.is_some_and(decide)) {
                return Err(format!(
                    "node {} commits {} of term {term}; it is durable on {} nodes",
                    at + 1,
                    index + 1,
                    holders.len()
                ));
            }
            let Some(entry) = holders.first() else {
                return Err(format!("node {} commits {}, which nobody has", at + 1, index + 1));
            };
            log.push(**entry);
        }
        world.committed = self.log(log);
        Ok(())
    }

    /// Whoever is elected has the votes of a quorum, of both halves while two memberships are in force on it.
    fn election(&self, world: &World, at: usize, was: &Summary) -> Option<String> {
        let summary = self.summary(world, at);
        let (id, term) = (at as u64 + 1, summary.term);
        // A single voter asks nobody; its disk has the term. What a vote says that has left before that, others check.
        let own = |voter: usize| voter == at && summary.durable_term == term;
        let votes = |voter: usize| own(voter) || world.voted(term.0, voter as u64 + 1) == Some(id);
        let by: Vec<usize> = (0..world.nodes.len()).filter(|voter| votes(*voter)).map(|n| n + 1).collect();
        (!is_quorum(&was.members, votes))
            .then(|| format!("node {id} leads term {term} by the votes of {by:?}"))
    }

    /// Two votes of one node in one term for two candidates.
    fn double_vote(&self, world: &mut World, sent: u32) -> Option<String> {
        let envelope = self.messages.get(sent);
        let (from, term, to) = match &envelope.message {
            Message::VoteReply(reply) if !reply.pre && reply.ballot == Ballot::Granted => {
                (envelope.from, reply.asked, envelope.to)
            }
            Message::Vote(request) if !request.pre => (envelope.from, envelope.term, envelope.from),
            _ => return None,
        };
        let other = world.vote(term.0, from.0, to.0)?;
        Some(format!("node {from} votes in term {term} for {to} and for {other}: {envelope:?}"))
    }

    /// While a leader counts a quorum as bound to it, nobody is elected.
    fn leases(&self, world: &World) -> Option<String> {
        (0..world.nodes.len()).find_map(|at| {
            let summary = self.summary(world, at);
            let later = world.leaders.iter().zip(0..).skip(summary.term.0 as usize + 1);
            let (leader, term) = later.filter(|_| summary.leased).find(|(leader, _)| **leader != 0)?;
            Some(format!(
                "lease: node {} counts on it in term {}, node {leader} leads term {term}",
                at + 1,
                summary.term
            ))
        })
    }

    /// Log Matching over the durable logs.
    fn matching(&self, world: &World) -> Option<String> {
        for (a, first) in world.nodes.iter().enumerate() {
            for (b, second) in world.nodes.iter().enumerate().skip(a + 1) {
                let (one, two) = (
                    &self.nodes[*first as usize].summary.durable,
                    &self.nodes[*second as usize].summary.durable,
                );
                let same = one.iter().zip(two).rposition(|(x, y)| x.0 == y.0);
                if let Some(last) = same
                    && one[..=last] != two[..=last]
                {
                    return Some(format!(
                        "log matching: nodes {} and {} differ before {}",
                        a + 1,
                        b + 1,
                        last + 1
                    ));
                }
            }
        }
        None
    }
}
