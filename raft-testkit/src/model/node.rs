//! One node of a model: the shipping [`Raft`], what is on its disk, and what its journal is at.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::time::Duration;

use bytes::Bytes;
use raft_core::backend::{HardState, SnapshotId, SnapshotMeta, Vote};
use raft_core::config::{Config as Settings, Lease};
use raft_core::entry::{Entry, EntryKind, pack};
use raft_core::ids::{Index, LogId, NodeId, ReadId, Term};
use raft_core::membership::{Change, Member, Membership};
use raft_core::message::{AppendReply, Ballot, Envelope, Message, Notice, PeerEvent};
use raft_core::raft::{ChangeOptions, Event, Piece, Raft, Restored, Unreadable, plan_start};
use raft_core::status::RoleKind;
use raft_core::time::Time;
use xxhash_rust::xxh3::Xxh3;

use super::disk::{self, CLUSTER, Disk, Doing, Held, Stored};
use super::{Bounds, Flaw, Step};

/// A round of heartbeats takes no time; an election timeout is longer than all that happens before it.
const HEARTBEAT: Duration = Duration::from_nanos(1);
const ELECTION: Duration = Duration::from_secs(1);

/// One tick of the shared clock: two of them are a promise.
const TICK: Duration = Duration::from_millis(500);

/// By how much a slow clock is slower, and by how much it may be, in millionths: a promise of two ticks of a good
/// clock is two ticks of a slow one.
const DRIFT_PPM: u32 = 500_000;

/// What may happen to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Action {
    /// This message, by its number, arrives.
    Deliver(u32),
    /// The same, and it will arrive once more.
    Again(u32),
    /// A follower or candidate has waited long enough; a leader says that it leads.
    Timeout,
    /// Where time is shared: an operator asks it to campaign, as it may at any moment.
    Campaign,
    /// So much time passes that no contact counts any more; a leader looks whether it has a quorum.
    Silence,
    /// Where time is shared: it passes, everywhere; on the node of this number more slowly.
    Tick(u8),
    /// What the journal is at is durable.
    Written,
    /// The node crashes and starts again. Of what its journal is at there is on the disk: nothing (0), the hard
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
    /// Somebody asks for a snapshot.
    Snapshot,
    /// The connection to this node is a new one.
    Connect(u8),
}

/// What others may know of a node in a state of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) role: RoleKind,
    pub(crate) term: Term,
    /// The term on its disk, which it never goes behind.
    pub(crate) durable_term: Term,
    pub(crate) probation: bool,
    pub(crate) commit: u64,
    /// The terms of its log, in memory.
    pub(crate) terms: Vec<Term>,
    /// The durable log: each entry's term, and what it holds.
    pub(crate) durable: Vec<Held>,
    /// What its state machine has executed.
    pub(crate) executed: Vec<Held>,
    /// How many of these are no longer in the log.
    pub(crate) purged: usize,
    pub(crate) lossy: bool,
    /// The journal is at something.
    pub(crate) writes: bool,
    pub(crate) leads: bool,
    /// It leads, and counts a quorum as bound to it.
    pub(crate) leased: bool,
    /// The members in force here.
    pub(crate) members: Membership,
    /// Those of the durable log, each by its index.
    pub(crate) memberships: Vec<(usize, Membership)>,
    /// It follows somebody.
    pub(crate) follows: bool,
    /// The heartbeat round, on a leader.
    pub(crate) round: u64,
}

/// A snapshot on its way in.
#[derive(Clone, Debug, Hash)]
struct Incoming {
    id: SnapshotId,
    upto: LogId,
    membership: Membership,
    bytes: Vec<u8>,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct NodeState {
    id: NodeId,
    raft: Raft,
    now: Time,
    disk: Disk,
    doing: Option<Doing>,
    incoming: Option<Incoming>,
    executed: Vec<Held>,
    /// It came up without something that it had acknowledged.
    lossy: bool,
    /// Time is shared.
    clocked: bool,
    /// How often it has come up.
    life: u8,
}

/// What a step leaves behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Left {
    /// Messages that left.
    pub(crate) sent: Vec<Envelope>,
    /// Reads that were answered: each with its index.
    pub(crate) ready: Vec<u64>,
    /// A snapshot of a leader took the log's place.
    pub(crate) installed: bool,
    /// What must not be.
    pub(crate) wrong: Option<String>,
}

fn settings(id: NodeId, life: u8, clocked: bool) -> Settings {
    let mut settings = Settings::new(id, CLUSTER);
    // The questions of one life are not those of another.
    settings.seed = life.into();
    settings.heartbeat_interval = HEARTBEAT;
    settings.election_timeout = ELECTION;
    // A write may take as long as it likes: that it hangs is no part of this.
    settings.disk_timeout = Some(Duration::MAX);
    settings.window_messages = 4;
    // Whom a quorum can do without is found out by times.
    settings.spare_delay = Duration::ZERO;
    settings.lease = clocked.then_some(Lease { max_drift_ppm: DRIFT_PPM });
    // Snapshots are taken when somebody asks, and nothing is kept for those who are slow.
    (settings.snapshot_every_entries, settings.snapshot_every_bytes) = (0, 0);
    (settings.snapshot_keep_entries, settings.snapshot_keep_bytes) = (0, 0);
    settings
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
    #[expect(clippy::expect_used, reason = "a new node is sound, or the model is wrong")]
    pub(crate) fn new(id: NodeId, founders: &[u64], bounds: &Bounds) -> Self {
        let member = |id: &u64| Member::new(NodeId(*id), "");
        let membership = Membership::of_voters(founders.iter().map(member)).unwrap_or_default();
        let first = Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data: membership.encode() };
        let is_founder = founders.contains(&id.0);
        let mut disk = Disk {
            // Who joins later waits in limbo.
            hard: HardState { probation: !is_founder, ..HardState::default() },
            purged: LogId::ZERO,
            log: if is_founder { vec![first] } else { Vec::new() },
            hint: Index(0),
            snapshot: None,
        };
        let clocked = bounds.ticks > 0;
        let (raft, executed) = start(id, 0, &mut disk, Time::ZERO, clocked).expect("a new node is sound");
        let (now, doing, incoming, lossy) = (Time::ZERO, None, None, false);
        let mut node = Self { id, raft, now, disk, doing, incoming, executed, lossy, clocked, life: 0 };
        node.pull(&mut Left::default(), Flaw::None);
        node
    }

    /// A digest: equal for states that behave alike.
    pub(crate) fn fingerprint(&self) -> u128 {
        let mut hasher = Xxh3::new();
        self.id.hash(&mut hasher);
        self.raft.hash_protocol(&mut hasher);
        if self.clocked {
            self.now.hash(&mut hasher);
            self.raft.hash_clocks(self.now, &mut hasher);
        }
        (&self.disk, &self.incoming, &self.executed, self.lossy, self.life).hash(&mut hasher);
        if let Some(doing) = &self.doing {
            doing.hash(&mut hasher);
        }
        hasher.digest128()
    }

    pub(crate) fn summary(&self) -> Summary {
        let view = self.raft.view();
        let covered = self.disk.snapshot.iter().flat_map(|snapshot| &snapshot.content);
        let covered = covered.take(view.purged.0 as usize).map(|(term, _)| *term);
        let kept = (view.purged.0 + 1..=view.last.index.0).filter_map(|at| self.raft.term_of(Index(at)));
        Summary {
            role: view.role,
            term: view.hard.term,
            durable_term: self.disk.hard.term,
            probation: view.hard.probation,
            commit: view.commit.0,
            terms: covered.chain(kept).collect(),
            durable: self.disk.held(),
            executed: self.executed.clone(),
            purged: view.purged.0 as usize,
            lossy: self.lossy,
            writes: self.doing.is_some(),
            leads: view.role == RoleKind::Leader,
            leased: view.lease_until.is_some_and(|until| self.now < until),
            members: self.raft.status(self.now).membership,
            memberships: self.disk.memberships(),
            follows: view.role == RoleKind::Follower && view.leader.is_some(),
            round: view.round,
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
        let leads = node.raft.role_kind() == RoleKind::Leader;
        match action {
            Action::Deliver(_) | Action::Again(_) => node.raft.handle_message(node.now, message?.clone()),
            Action::Timeout if self.clocked => {
                node.raft.next_timeout().filter(|at| leads && *at <= node.now)?;
                node.raft.handle_timeout(node.now);
            }
            Action::Timeout => {
                node.now = node.now.max(node.raft.next_timeout()?);
                node.raft.handle_timeout(node.now);
            }
            Action::Campaign => node.raft.campaign(node.now),
            Action::Silence => {
                node.now = node.now + ELECTION * 2;
                if leads {
                    node.raft.handle_timeout(node.now);
                }
            }
            Action::Tick(slow) => {
                let slow = u64::from(slow) == node.id.0;
                node.now = node.now + if slow { TICK * DRIFT_PPM / 1_000_000 } else { TICK };
            }
            Action::Written => {
                let doing = node.doing.take()?;
                node.finish(&doing, &mut left);
            }
            Action::Crash(kept) => node.crash(kept, flaw, &mut left)?,
            Action::Damage(kept) => node.damage(usize::from(kept), flaw, &mut left)?,
            Action::Propose => {
                let commands = pack(&[Bytes::copy_from_slice(&[payload])]);
                node.raft.propose(node.now, commands).ok()?;
            }
            Action::Read if bounds.anywhere => node.raft.read_anywhere(node.now, ReadId(1)).ok()?,
            Action::Read => node.raft.read(node.now, ReadId(1)).ok()?,
            Action::Change => {
                let changes = changes(bounds, payload)?;
                // It waits for new voters where force does not help, and for as long as it takes.
                let force = ChangeOptions::default().force(true).wait(ELECTION * 1_000_000);
                node.raft.change_membership(node.now, &changes, force).ok()?;
            }
            Action::Transfer(to) => {
                node.raft.transfer_leadership(node.now, Some(NodeId(to.into()))).ok()?;
            }
            Action::Snapshot => node.raft.take_snapshot(node.now),
            Action::Connect(to) => node.raft.handle_peer(node.now, NodeId(to.into()), PeerEvent::Up),
        }
        if flaw == Flaw::AcksBeforeDurable
            && let Some(Doing::Write(write)) = &node.doing
        {
            let ticket = write.ticket;
            node.raft.handle_written(node.now, ticket);
        }
        node.pull(&mut left, flaw);
        while bounds.eager
            && let Some(doing) = node.doing.take()
        {
            node.finish(&doing, &mut left);
            node.pull(&mut left, flaw);
        }
        let acks =
            |sent: &Envelope| matches!(sent.message, Message::AppendReply(AppendReply::Matched { .. }));
        if flaw == Flaw::EndsProbationEarly && node.disk.hard.probation && left.sent.iter().any(acks) {
            node.disk.hard.probation = false;
            node.up(&mut left);
            node.pull(&mut left, flaw);
        }
        Some((node, left))
    }

    /// The journal has done it.
    fn finish(&mut self, doing: &Doing, left: &mut Left) {
        self.disk.finish(doing, true);
        match doing {
            Doing::Write(write) => self.raft.handle_written(self.now, write.ticket),
            Doing::Purge(upto) => self.raft.handle_purged(self.now, *upto),
            Doing::Reset(to) => {
                left.installed = true;
                self.raft.handle_reset(self.now, *to);
            }
        }
    }

    fn crash(&mut self, kept: u8, flaw: Flaw, left: &mut Left) -> Option<()> {
        let doing = self.doing.take();
        match (kept, &doing) {
            (0, _) => {}
            (1, Some(Doing::Write(write))) if write.hard_state.is_some() && !write.entries.is_empty() => {
                self.disk.finish(&Doing::Write(write.clone()), false);
            }
            (2, Some(doing)) => self.disk.finish(doing, true),
            // As one of the others.
            _ => return None,
        }
        if flaw == Flaw::ForgetsVotes {
            self.disk.hard.vote = Vote::None;
        }
        self.up(left);
        Some(())
    }

    fn damage(&mut self, kept: usize, flaw: Flaw, left: &mut Left) -> Option<()> {
        let kept = kept.checked_sub(self.disk.purged.index.0 as usize)?;
        if self.disk.log.len() <= kept || kept == 0 {
            return None;
        }
        self.doing = None;
        self.disk.log.truncate(kept);
        let last = self.disk.log.last().map(|entry| entry.id)?;
        self.disk.hint = self.disk.hint.min(last.index);
        self.lossy = true;
        match flaw {
            Flaw::VotesAfterLoss => {}
            Flaw::LosesHardState => {
                self.disk.hard =
                    HardState { term: last.term, vote: Vote::None, probation: true, ..self.disk.hard };
            }
            _ => self.disk.hard.probation = true,
        }
        self.up(left);
        Some(())
    }

    fn up(&mut self, left: &mut Left) {
        if !self.clocked {
            self.now = Time::ZERO;
        }
        self.incoming = None;
        self.life += 1;
        match start(self.id, self.life, &mut self.disk, self.now, self.clocked) {
            Ok((raft, executed)) => (self.raft, self.executed) = (raft, executed),
            Err(what) => left.wrong = Some(format!("node {} cannot start: {what}", self.id)),
        }
    }

    /// Pulls until nothing moves; the state machine, the store of snapshots and reads from the disk take no time.
    fn pull(&mut self, left: &mut Left, flaw: Flaw) {
        loop {
            let mut moved = false;
            while let Some(out) = self.raft.poll_message() {
                moved = true;
                self.look_at(&out.envelope, left, flaw);
                left.sent.push(out.envelope);
            }
            if self.doing.is_none() {
                let reset = |raft: &mut Raft| raft.poll_reset().map(Doing::Reset);
                let purge = |raft: &mut Raft| raft.poll_purge().map(Doing::Purge);
                let raft = &mut self.raft;
                // In the driver's order: a purge may come before a write that is due.
                self.doing =
                    reset(raft).or_else(|| purge(raft)).or_else(|| raft.poll_write().map(Doing::Write));
                moved |= self.doing.is_some();
            }
            moved |= self.pull_snapshots(left);
            while let Some(apply) = self.raft.poll_apply() {
                moved = true;
                if apply
                    .entries
                    .first()
                    .is_some_and(|first| first.id.index.0 != self.executed.len() as u64 + 1)
                {
                    let at = self.executed.len();
                    left.wrong = Some(format!("node {} executes {:?} after {at}", self.id, apply.through));
                }
                self.executed.extend(apply.entries.iter().map(disk::held));
                self.raft.handle_applied(self.now, apply.through.index);
            }
            while let Some(fetch) = self.raft.poll_fetch() {
                moved = true;
                let entries = self.disk.entries(fetch.range);
                self.raft.handle_fetched(self.now, fetch.id, entries);
            }
            while let Some(event) = self.raft.poll_event() {
                moved = true;
                match event {
                    Event::ReadReady { index, .. } => left.ready.push(index.0),
                    Event::Alarm(alarm) => left.wrong = Some(format!("alarm: {alarm}")),
                    Event::Noticed { notice: notice @ Notice::RolledBack { .. }, .. } => {
                        left.wrong = Some(format!("noticed: {notice:?}"));
                    }
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

    /// All about snapshots. Whether something moved.
    fn pull_snapshots(&mut self, left: &mut Left) -> bool {
        let mut moved = false;
        let now = self.now;
        while let Some(take) = self.raft.poll_snapshot() {
            moved = true;
            if take.upto.index.0 != self.executed.len() as u64 {
                left.wrong = Some(format!("node {} takes a snapshot of what is not", self.id));
            }
            let content = disk::content(&disk::encoded(&self.executed));
            let meta = SnapshotMeta::new(disk::name(self.id, take.upto), take.upto, take.membership, content);
            self.disk.snapshot = Some(Stored { meta: meta.clone(), content: self.executed.clone() });
            self.raft.handle_snapshot_taken(now, meta);
        }
        while let Some(chunk) = self.raft.poll_chunk() {
            moved = true;
            match self.disk.snapshot.as_ref().filter(|of| of.meta.id == chunk.snapshot) {
                Some(stored) => {
                    let bytes = disk::encoded(&stored.content);
                    let start = (chunk.offset as usize).min(bytes.len());
                    let end = bytes.len().min(start + chunk.max_bytes as usize);
                    self.raft.handle_chunk(now, chunk.id, bytes.slice(start..end));
                }
                None => self.raft.handle_chunk_failed(now, chunk.id, Unreadable::Gone),
            }
        }
        while let Some(piece) = self.raft.poll_piece() {
            moved = true;
            self.take_piece(piece);
        }
        while let Some(meta) = self.raft.poll_install() {
            moved = true;
            match self.disk.snapshot.as_ref().filter(|of| of.meta == meta) {
                Some(stored) => self.executed.clone_from(&stored.content),
                None => left.wrong = Some(format!("node {} installs what it has not", self.id)),
            }
            self.raft.handle_installed(now, meta.upto);
        }
        moved
    }

    fn take_piece(&mut self, piece: Piece) {
        let now = self.now;
        let current = self.incoming.take();
        match (piece, current) {
            (Piece::Begin { id, .. }, Some(incoming)) if incoming.id == id => {
                self.raft.handle_piece_written(now, id, incoming.bytes.len() as u64);
                self.incoming = Some(incoming);
            }
            (Piece::Begin { id, upto, membership }, _) => {
                self.incoming = Some(Incoming { id, upto, membership, bytes: Vec::new() });
                self.raft.handle_piece_written(now, id, 0);
            }
            (Piece::Write { id, data }, Some(mut incoming)) if incoming.id == id => {
                incoming.bytes.extend_from_slice(&data);
                self.raft.handle_piece_written(now, id, incoming.bytes.len() as u64);
                self.incoming = Some(incoming);
            }
            (Piece::Finish { id, content }, Some(incoming))
                if incoming.id == id && disk::content(&incoming.bytes) == content =>
            {
                let meta = SnapshotMeta::new(id, incoming.upto, incoming.membership, content);
                let content = disk::decoded(&incoming.bytes);
                self.disk.snapshot = Some(Stored { meta: meta.clone(), content });
                self.raft.handle_snapshot_received(now, meta);
            }
            (Piece::Write { id, .. } | Piece::Finish { id, .. }, _) => self.raft.handle_piece_failed(now, id),
            (Piece::Abandon { id }, current) => self.incoming = current.filter(|incoming| incoming.id != id),
        }
    }

    /// A message leaves: what it says must be on the disk.
    fn look_at(&self, envelope: &Envelope, left: &mut Left, flaw: Flaw) {
        if flaw == Flaw::AcksBeforeDurable {
            return;
        }
        let (view, hard) = (self.raft.view(), self.disk.hard);
        if view.hard != hard {
            left.wrong = Some(format!("node {} speaks as {:?}, its disk has {hard:?}", self.id, view.hard));
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

/// Starts a node from its disk, as a driver does; the state machine keeps nothing.
fn start(
    id: NodeId,
    life: u8,
    disk: &mut Disk,
    now: Time,
    clocked: bool,
) -> Result<(Raft, Vec<Held>), String> {
    let mut journal = disk.journal_state(id);
    let (meta, content) = disk.snapshot.clone().map(|of| (of.meta, of.content)).unzip();
    let plan = plan_start(&journal, meta.as_ref(), LogId::ZERO).map_err(|error| error.to_string())?;
    if let Some(to) = plan.reset {
        disk.reset(to);
        journal = journal.after_reset(to);
    }
    let installed = meta.as_ref().filter(|_| plan.install).map(|meta| meta.upto);
    let executed = content.filter(|_| plan.install).unwrap_or_default();
    let restored = Restored { journal, snapshot: meta, applied: installed.unwrap_or(LogId::ZERO) };
    let raft = Raft::new(settings(id, life, clocked), restored, now).map_err(|error| error.to_string())?;
    Ok((raft, executed))
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
