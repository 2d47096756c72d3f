//! One node of a model: the shipping [`Raft`], its durable journal, and the write that is under way.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::time::Duration;

use bytes::Bytes;
use raft_core::backend::{HardState, JournalState, JournalWrite};
use raft_core::config::Config as Settings;
use raft_core::entry::{Entry, EntryKind, pack};
use raft_core::ids::{
    ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, ReadId, StoreId, Term,
};
use raft_core::membership::{Change, Member, Membership};
use raft_core::message::{Ballot, Envelope, Message};
use raft_core::raft::{ChangeOptions, Event, Raft, Restored};
use raft_core::status::RoleKind;
use raft_core::time::Time;
use xxhash_rust::xxh3::Xxh3;

use super::{Bounds, Flaw, Step};

/// A round of heartbeats takes no time; an election timeout is longer than all that happens before it.
const HEARTBEAT: Duration = Duration::from_nanos(1);
const ELECTION: Duration = Duration::from_secs(1);

const CLUSTER: ClusterId = ClusterId(1);

/// What may happen to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// This message, by its number, arrives.
    Deliver(u32),
    /// A follower or candidate has waited long enough; a leader says that it leads.
    Timeout,
    /// So much time passes that no contact counts any more; a leader looks whether it has a quorum.
    Silence,
    /// The write under way is durable.
    Written,
    /// The node crashes and starts again. Of the write under way there is on the disk: nothing (0), the hard
    /// state (1), all (2).
    Crash(u8),
    /// The same, and of its log only so many entries are left.
    Damage(u8),
    /// A client proposes something.
    Propose,
    /// A client reads.
    Read,
    /// An operator asks for the next change of the list.
    Change,
    /// An operator hands leadership to this node.
    Transfer(u8),
}

/// What others may know of a node in a state of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) role: RoleKind,
    pub(crate) term: Term,
    pub(crate) commit: u64,
    /// The terms of its log, in memory.
    pub(crate) terms: Vec<Term>,
    /// The durable log: each entry's term, and what it holds.
    pub(crate) durable: Vec<(Term, u64)>,
    pub(crate) lossy: bool,
    pub(crate) writes: bool,
    pub(crate) leads: bool,
    /// The members in force here.
    pub(crate) members: Membership,
    /// Those of the durable log, each by its index.
    pub(crate) memberships: Vec<(usize, Membership)>,
    /// It follows somebody.
    pub(crate) follows: bool,
    /// The heartbeat round, on a leader.
    pub(crate) round: u64,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct NodeState {
    id: NodeId,
    raft: Raft,
    now: Time,
    hard: HardState,
    log: Vec<Entry>,
    hint: Index,
    writing: Option<JournalWrite>,
    /// It came up without something that it had acknowledged.
    lossy: bool,
    /// The last heartbeat round it has begun.
    round: u64,
}

/// What a step leaves behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Left {
    /// Messages that left.
    pub(crate) sent: Vec<Envelope>,
    /// Reads that were answered: each with its index.
    pub(crate) ready: Vec<u64>,
    /// What must not be.
    pub(crate) wrong: Option<String>,
}

fn settings(id: NodeId) -> Settings {
    let mut settings = Settings::new(id, CLUSTER);
    settings.heartbeat_interval = HEARTBEAT;
    settings.election_timeout = ELECTION;
    // A write may take as long as it likes: that it hangs is no part of this.
    settings.disk_timeout = Some(Duration::MAX);
    settings.window_messages = 4;
    settings
}

/// What an entry holds, as a number.
fn holds(entry: &Entry) -> u64 {
    let mut hasher = Xxh3::with_seed(entry.kind as u64);
    entry.data.hash(&mut hasher);
    hasher.digest()
}

fn membership(entry: &Entry) -> Option<(usize, Membership)> {
    let data = Some(&entry.data).filter(|_| entry.kind == EntryKind::Membership)?;
    Some((entry.id.index.0 as usize, Membership::decode(data).ok()?))
}

/// The change that is made when so many are left.
fn changes(bounds: &Bounds, left: u8) -> Option<Vec<Change>> {
    let step = bounds.plan.get(usize::from(bounds.changes.checked_sub(left)?))?;
    let member = |id: u8| Member::new(NodeId(id.into()), "");
    Some(match *step {
        Step::Add(id) => vec![Change::AddLearner(member(id)), Change::Promote(NodeId(id.into()))],
        Step::Remove(id) => vec![Change::Remove(NodeId(id.into()))],
        Step::Replace(old, new) => vec![Change::Replace { old: NodeId(old.into()), new: member(new) }],
    })
}

impl NodeState {
    /// A node of a new cluster.
    pub(crate) fn new(id: NodeId, founders: &[u64]) -> Self {
        let member = |id: &u64| Member::new(NodeId(*id), "");
        let membership = Membership::of_voters(founders.iter().map(member)).unwrap_or_default();
        let first = Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data: membership.encode() };
        let is_founder = founders.contains(&id.0);
        // Who joins later waits in limbo.
        let hard = HardState { probation: !is_founder, ..HardState::default() };
        let (log, hint) = (if is_founder { vec![first] } else { Vec::new() }, Index(0));
        let raft = Self::restore(id, hard, &log, hint, Time::ZERO);
        let mut node =
            Self { id, raft, now: Time::ZERO, hard, log, hint, writing: None, lossy: false, round: 0 };
        node.pull(&mut Left::default(), Flaw::None);
        node
    }

    #[expect(clippy::expect_used, reason = "what the model restores is sound, or the model is wrong")]
    fn restore(id: NodeId, hard: HardState, log: &[Entry], hint: Index, now: Time) -> Raft {
        let incarnation = Incarnation { number: 1, nonce: 1 };
        let store = StoreId(id.0.into());
        let identity = Identity { cluster: CLUSTER, group: GroupId(0), node: id, store, incarnation };
        let mut state = JournalState::empty(identity);
        state.hard_state = hard;
        state.last = log.last().map_or(LogId::ZERO, |entry| entry.id);
        for entry in log {
            if state.terms.last().is_none_or(|(_, term)| *term != entry.id.term) {
                state.terms.push((entry.id.index, entry.id.term));
            }
        }
        state.memberships = log.iter().filter(|entry| entry.kind == EntryKind::Membership).cloned().collect();
        state.commit_hint = hint;
        let restored = Restored { journal: state, snapshot: None, applied: LogId::ZERO };
        Raft::new(settings(id), restored, now).expect("the model restores sound states")
    }

    /// A digest: equal for states that behave alike.
    pub(crate) fn fingerprint(&self) -> u128 {
        let mut hasher = Xxh3::new();
        self.id.hash(&mut hasher);
        self.raft.hash_protocol(&mut hasher);
        self.hard.hash(&mut hasher);
        self.log.hash(&mut hasher);
        (self.hint, self.lossy).hash(&mut hasher);
        if let Some(write) = &self.writing {
            (write.hard_state, write.truncate_from, &write.entries, write.commit_hint).hash(&mut hasher);
        }
        hasher.digest128()
    }

    pub(crate) fn summary(&self) -> Summary {
        let view = self.raft.view();
        Summary {
            role: view.role,
            term: view.hard.term,
            commit: view.commit.0,
            terms: (1..=view.last.index.0).filter_map(|index| self.raft.term_of(Index(index))).collect(),
            durable: self.log.iter().map(|entry| (entry.id.term, holds(entry))).collect(),
            lossy: self.lossy,
            writes: self.writing.is_some(),
            leads: view.role == RoleKind::Leader,
            members: self.raft.status(self.now).membership,
            memberships: self.log.iter().filter_map(membership).collect(),
            follows: view.role == RoleKind::Follower && view.leader.is_some(),
            round: self.round,
        }
    }

    /// What becomes of the node. `None` if this cannot happen to it.
    pub(crate) fn step(
        &self,
        action: Action,
        message: Option<&Envelope>,
        payload: u8,
        bounds: &Bounds,
    ) -> Option<(Self, Left)> {
        let flaw = bounds.flaw;
        let mut node = self.clone();
        let mut left = Left::default();
        match action {
            Action::Deliver(_) => node.raft.handle_message(node.now, message?.clone()),
            Action::Timeout => {
                node.now = node.now.max(node.raft.next_timeout()?);
                node.raft.handle_timeout(node.now);
            }
            Action::Silence => {
                node.now = node.now + ELECTION * 2;
                if node.raft.role_kind() == RoleKind::Leader {
                    node.raft.handle_timeout(node.now);
                }
            }
            Action::Written => {
                let write = node.writing.take()?;
                let ticket = write.ticket;
                node.apply(&write, true);
                node.raft.handle_written(node.now, ticket);
            }
            Action::Crash(kept) => node.crash(kept, flaw)?,
            Action::Damage(kept) => node.damage(usize::from(kept), flaw)?,
            Action::Propose => {
                let commands = pack(&[Bytes::copy_from_slice(&[payload])]);
                node.raft.propose(node.now, commands).ok()?;
            }
            Action::Read if bounds.anywhere => node.raft.read_anywhere(node.now, ReadId(1)).ok()?,
            Action::Read => node.raft.read(node.now, ReadId(1)).ok()?,
            Action::Change => {
                let changes = changes(bounds, payload)?;
                let force = ChangeOptions::default().force(true);
                node.raft.change_membership(node.now, &changes, force).ok()?;
            }
            Action::Transfer(to) => {
                node.raft.transfer_leadership(node.now, Some(NodeId(to.into()))).ok()?;
            }
        }
        if flaw == Flaw::AcksBeforeDurable
            && let Some(write) = &node.writing
        {
            let ticket = write.ticket;
            node.raft.handle_written(node.now, ticket);
        }
        node.pull(&mut left, flaw);
        while bounds.eager
            && let Some(write) = node.writing.take()
        {
            node.apply(&write, true);
            node.raft.handle_written(node.now, write.ticket);
            node.pull(&mut left, flaw);
        }
        Some((node, left))
    }

    fn apply(&mut self, write: &JournalWrite, entries: bool) {
        self.hard = write.hard_state.unwrap_or(self.hard);
        if !entries {
            return;
        }
        if let Some(from) = write.truncate_from {
            self.log.truncate(from.0.saturating_sub(1) as usize);
        }
        self.log.extend(write.entries.iter().cloned());
        self.hint = self.hint.max(write.commit_hint);
    }

    fn crash(&mut self, kept: u8, flaw: Flaw) -> Option<()> {
        let write = self.writing.take();
        match (kept, &write) {
            (0, _) => {}
            (1, Some(write)) if write.hard_state.is_some() && !write.entries.is_empty() => {
                self.apply(write, false);
            }
            (2, Some(write)) => self.apply(write, true),
            // As one of the others.
            _ => return None,
        }
        if flaw == Flaw::ForgetsVotes {
            self.hard.vote = raft_core::backend::Vote::None;
        }
        self.up();
        Some(())
    }

    fn damage(&mut self, kept: usize, flaw: Flaw) -> Option<()> {
        if self.log.len() <= kept || kept == 0 {
            return None;
        }
        self.writing = None;
        self.log.truncate(kept);
        self.hint = self.hint.min(Index(kept as u64));
        self.lossy = true;
        match flaw {
            Flaw::VotesAfterLoss => {}
            _ => self.hard.probation = true,
        }
        self.up();
        Some(())
    }

    fn up(&mut self) {
        self.now = Time::ZERO;
        self.round = 0;
        self.raft = Self::restore(self.id, self.hard, &self.log, self.hint, self.now);
    }

    /// Pulls until nothing moves; the state machine and reads from the disk take no time.
    fn pull(&mut self, left: &mut Left, flaw: Flaw) {
        loop {
            let mut moved = false;
            while let Some(out) = self.raft.poll_message() {
                moved = true;
                self.look_at(&out.envelope, left, flaw);
                left.sent.push(out.envelope);
            }
            if self.writing.is_none()
                && let Some(write) = self.raft.poll_write()
            {
                moved = true;
                self.writing = Some(write);
            }
            while let Some(apply) = self.raft.poll_apply() {
                moved = true;
                self.raft.handle_applied(self.now, apply.through.index);
            }
            while let Some(fetch) = self.raft.poll_fetch() {
                moved = true;
                let (start, end) = (fetch.range.start.0 as usize - 1, fetch.range.end.0 as usize - 1);
                let entries = self.log.get(start..end).unwrap_or_default().to_vec();
                self.raft.handle_fetched(self.now, fetch.id, entries);
            }
            while let Some(event) = self.raft.poll_event() {
                moved = true;
                match event {
                    Event::ReadReady { index, .. } => left.ready.push(index.0),
                    Event::Alarm(alarm) => left.wrong = Some(format!("alarm: {alarm}")),
                    Event::Noticed { notice, .. } => left.wrong = Some(format!("noticed: {notice:?}")),
                    _ => {}
                }
            }
            if !moved {
                break;
            }
        }
        let view = self.raft.view();
        self.lossy &= view.hard.probation || flaw == Flaw::VotesAfterLoss;
    }

    /// A message leaves: what it says must be on the disk.
    fn look_at(&mut self, envelope: &Envelope, left: &mut Left, flaw: Flaw) {
        if let Message::Heartbeat(heartbeat) = &envelope.message {
            self.round = heartbeat.round;
        }
        if flaw == Flaw::AcksBeforeDurable {
            return;
        }
        let view = self.raft.view();
        if view.hard != self.hard {
            left.wrong =
                Some(format!("node {} speaks as {:?}, its disk has {:?}", self.id, view.hard, self.hard));
        }
        let votes = match &envelope.message {
            Message::Vote(request) => !request.pre,
            Message::VoteReply(reply) => reply.ballot == Ballot::Granted,
            _ => false,
        };
        if votes && self.lossy && flaw == Flaw::None {
            left.wrong = Some(format!("node {} votes on probation", self.id));
        }
    }
}

/// Messages by number.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    all: Vec<(Envelope, u128)>,
    numbers: BTreeMap<u128, u32>,
}

impl Messages {
    /// The number of a message.
    pub(crate) fn number(&mut self, envelope: Envelope) -> u32 {
        let mut hasher = Xxh3::new();
        envelope.hash(&mut hasher);
        let digest = hasher.digest128();
        *self.numbers.entry(digest).or_insert_with(|| {
            self.all.push((envelope, digest));
            self.all.len() as u32 - 1
        })
    }

    pub(crate) fn get(&self, number: u32) -> &Envelope {
        &self.all[number as usize].0
    }

    pub(crate) fn count(&self) -> u64 {
        self.all.len() as u64
    }

    pub(crate) fn digest(&self, number: u32) -> u128 {
        self.all[number as usize].1
    }
}
