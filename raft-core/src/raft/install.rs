//! Receiving a snapshot (§7): which pieces are taken, in which order they reach the store, and how the log and the
//! state machine follow once all of it is durable.
//!
//! ```text
//!   pieces -> store, durable -> (log has its last entry: keep the log)
//!                            -> (else: reset the journal -> the state machine installs)
//! ```
//! A transfer outlives its leader: another one may send the same snapshot on. Pieces of two are never mixed.

use alloc::collections::VecDeque;

use bytes::Bytes;

use super::common::Common;
use super::compact;
use super::follower::Follower;
use super::output::Piece;
use crate::backend::{SnapshotContent, SnapshotId, SnapshotMeta};
use crate::error::Violation;
use crate::ids::{Index, LogId, NodeId, Term};
use crate::membership::Membership;
use crate::message::{Message, SnapshotChunk, SnapshotReply};
use crate::status::SnapshotTransfer;
use crate::time::Time;

/// What the store is doing with the snapshot that comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// It has not heard of it.
    New,
    /// It looks what is there.
    Opening,
    /// It takes pieces.
    Open,
    /// It makes it durable.
    Finishing,
}

/// A snapshot on its way in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Incoming {
    id: SnapshotId,
    upto: LogId,
    membership: Membership,
    content: SnapshotContent,
    /// Who sends it, and in which term.
    from: NodeId,
    term: Term,
    step: Step,
    /// What is in the store, in bytes.
    received: u64,
    /// What the store is writing, in bytes.
    writing: u64,
    /// What comes directly after, and waits.
    pieces: VecDeque<Bytes>,
    waiting: u64,
}

/// What is received, and what must follow from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Receive {
    incoming: Option<Incoming>,
    /// The store is at a piece: it gets the next one when it has answered.
    busy: bool,
    /// The store is to let go of this one.
    abandoned: Option<SnapshotId>,
    /// Durable, and the log must begin anew after it; `true` once the journal is at it.
    reset: Option<(SnapshotMeta, bool)>,
    /// The log begins after it; the state machine has yet to follow.
    install: Option<SnapshotMeta>,
    /// The state machine is at it.
    installing: Option<LogId>,
    /// After a failure of the store nothing is taken before this.
    retry_at: Time,
}

impl Receive {
    /// All but times.
    #[cfg(feature = "trace")]
    pub(super) fn hash_protocol<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash;
        (&self.incoming, self.busy, self.abandoned).hash(state);
        (&self.reset, &self.install, self.installing).hash(state);
    }

    /// Whether log or state machine are about to be replaced: nothing is executed, and nothing else begins.
    pub(super) const fn is_replacing(&self) -> bool {
        self.reset.is_some() || self.install.is_some() || self.installing.is_some()
    }

    /// Whether the log is about to be replaced. Nothing more is written then but hard state, until the journal is
    /// at it: then not even that.
    pub(super) fn resetting(&self) -> Option<bool> {
        self.reset.as_ref().map(|(_, under_way)| *under_way)
    }

    pub(super) fn installing(&self) -> Option<LogId> {
        self.installing.or_else(|| self.install.as_ref().map(|snapshot| snapshot.upto))
    }

    pub(super) fn transfer(&self) -> Option<SnapshotTransfer> {
        self.incoming.as_ref().map(|incoming| SnapshotTransfer {
            upto: incoming.upto,
            received_bytes: incoming.received,
            total_bytes: incoming.content.total_bytes,
        })
    }
}

impl Incoming {
    /// How far it is here without a hole, in the store or on the way to it.
    const fn accepted(&self) -> u64 {
        self.received + self.writing + self.waiting
    }

    fn is_same(&self, chunk: &SnapshotChunk, membership: &Membership) -> bool {
        let content = SnapshotContent { total_bytes: chunk.total, checksum: chunk.checksum };
        (self.upto, &self.membership, self.content) == (chunk.upto, membership, content)
    }

    const fn reply(&self) -> SnapshotReply {
        SnapshotReply { snapshot: self.id.0, received: self.received, installed: false }
    }
}

/// Takes a piece from the leader of this term.
pub(super) fn on_chunk(follower: &mut Follower, common: &mut Common, from: NodeId, chunk: SnapshotChunk) {
    let Some(membership) = well_formed(common, &chunk) else {
        common.counters.ignored_messages += 1;
        return;
    };
    let id = SnapshotId(chunk.snapshot);
    if common.receive.reset.is_some() {
        // Its answer comes with the reset; another one has to wait for it.
        return;
    }
    if let Some(violation) = contradicts(common, from, chunk.upto) {
        common.alarm(violation);
        return;
    }
    if is_here(common, chunk.upto) {
        // What a snapshot covers is committed, and the log has it already (§7): it needs no bytes.
        common.log.commit_to(chunk.upto.index);
        let content = SnapshotContent { total_bytes: chunk.total, checksum: chunk.checksum };
        let snapshot = SnapshotMeta::new(id, chunk.upto, membership, content);
        follower.has_snapshot(&snapshot, common.log.commit());
        drop_needless(common);
        return;
    }
    if common.receive.retry_at > common.now || !makes_way(common, from, &chunk, &membership) {
        return;
    }
    let limit = common.config.snapshot_window_bytes.max(common.config.snapshot_chunk_bytes);
    let term = common.term();
    let incoming = common.receive.incoming.get_or_insert_with(|| Incoming {
        id,
        upto: chunk.upto,
        membership,
        content: SnapshotContent { total_bytes: chunk.total, checksum: chunk.checksum },
        from,
        term,
        step: Step::New,
        received: 0,
        writing: 0,
        pieces: VecDeque::new(),
        waiting: 0,
    });
    (incoming.from, incoming.term) = (from, term);
    if incoming.step != Step::Open {
        // Answered when the store has said what is there, or has made it durable.
        return;
    }
    let accepted = incoming.accepted();
    let end = chunk.offset + chunk.data.len() as u64;
    if chunk.offset <= accepted && accepted < end && incoming.waiting < limit {
        let known = usize::try_from(accepted - chunk.offset).unwrap_or(usize::MAX);
        let data = chunk.data.slice(known.min(chunk.data.len())..);
        incoming.waiting += data.len() as u64;
        incoming.pieces.push_back(data);
    } else if incoming.writing == 0 && incoming.pieces.is_empty() {
        // A question, a hole or a double; what is being written answers by itself.
        let reply = incoming.reply();
        common.send(from, Message::SnapshotReply(reply));
    }
}

/// The membership, if nothing about the piece is senseless.
fn well_formed(common: &Common, chunk: &SnapshotChunk) -> Option<Membership> {
    let end = chunk.offset.checked_add(chunk.data.len() as u64)?;
    let sound = chunk.upto.index > Index::ZERO
        && chunk.upto.index < Index(u64::MAX)
        && chunk.upto.term <= common.term()
        && end <= chunk.total;
    if sound { Membership::decode(&chunk.membership).ok() } else { None }
}

/// Whether this node's log has, or had, the entry: then it needs no snapshot that ends with it (§7). What is
/// committed here is committed everywhere.
fn is_here(common: &Common, upto: LogId) -> bool {
    common.log.commit() >= upto.index || common.log.matches(upto)
}

/// What a snapshot covers is committed: it cannot be another entry than the one that is committed here.
fn contradicts(common: &Common, from: NodeId, upto: LogId) -> Option<Violation> {
    let mine = common.log.term_of(upto.index).filter(|_| upto.index <= common.log.commit())?;
    let committed = LogId { term: mine, index: upto.index };
    (mine != upto.term).then_some(Violation::OverwritesCommitted { from, committed, term: upto.term })
}

/// Whether this one may go on or begin. Of one leader in one term the later one is the newer one; a later term's
/// leader sends what it has.
fn makes_way(common: &mut Common, from: NodeId, chunk: &SnapshotChunk, membership: &Membership) -> bool {
    let Some(incoming) = &common.receive.incoming else { return true };
    if incoming.id == SnapshotId(chunk.snapshot) {
        if incoming.is_same(chunk, membership) {
            return true;
        }
        // One name, two snapshots.
        common.counters.ignored_messages += 1;
        return false;
    }
    let delayed = incoming.term == common.term() && chunk.upto.index < incoming.upto.index;
    if incoming.step == Step::Finishing || (delayed && incoming.from == from) {
        return false;
    }
    abandon(common);
    true
}

fn abandon(common: &mut Common) {
    if let Some(incoming) = common.receive.incoming.take()
        && incoming.step != Step::New
    {
        common.receive.abandoned = Some(incoming.id);
    }
}

/// Lets go of a snapshot that ends with what the log has by now.
pub(super) fn drop_needless(common: &mut Common) {
    let needless = |incoming: &Incoming| incoming.step != Step::Finishing && is_here(common, incoming.upto);
    if common.receive.incoming.as_ref().is_some_and(needless) {
        abandon(common);
    }
}

/// What the store is to do next. Nothing that names a term reaches it before that term is durable here, so that
/// a journal is never behind its snapshot. While the state machine is at one snapshot, no other may take its
/// place in the store.
pub(super) fn poll_piece(common: &mut Common) -> Option<Piece> {
    if common.halted || common.failed || !common.hard_is_durable() {
        return None;
    }
    let receive = &mut common.receive;
    if receive.busy {
        return None;
    }
    if let Some(id) = receive.abandoned.take() {
        return Some(Piece::Abandon { id });
    }
    if receive.is_replacing() {
        return None;
    }
    let piece = next_piece(receive.incoming.as_mut()?)?;
    receive.busy = true;
    Some(piece)
}

fn next_piece(incoming: &mut Incoming) -> Option<Piece> {
    let id = incoming.id;
    match incoming.step {
        Step::New => {
            incoming.step = Step::Opening;
            let (upto, membership) = (incoming.upto, incoming.membership.clone());
            Some(Piece::Begin { id, upto, membership })
        }
        Step::Open => {
            if let Some(data) = incoming.pieces.pop_front() {
                incoming.writing = data.len() as u64;
                incoming.waiting -= incoming.writing;
                return Some(Piece::Write { id, data });
            }
            if incoming.received < incoming.content.total_bytes {
                return None;
            }
            incoming.step = Step::Finishing;
            Some(Piece::Finish { id, content: incoming.content })
        }
        Step::Opening | Step::Finishing => None,
    }
}

/// The store has this much of it.
pub(super) fn written(common: &mut Common, id: SnapshotId, received: u64) {
    common.receive.busy = false;
    // An answer to what was given up in the meantime finds it gone, or new.
    let Some(incoming) = common.receive.incoming.as_mut().filter(|incoming| incoming.id == id) else {
        return;
    };
    let fits = match incoming.step {
        Step::Opening => received <= incoming.content.total_bytes,
        Step::Open => received == incoming.received + incoming.writing,
        Step::New | Step::Finishing => return,
    };
    if !fits {
        failed(common, id);
        return;
    }
    incoming.step = Step::Open;
    incoming.received = received;
    incoming.writing = 0;
    let (from, reply) = (incoming.from, incoming.reply());
    if incoming.term == common.hard.term && common.leader == Some(from) {
        common.send(from, Message::SnapshotReply(reply));
    }
}

/// The store could not take it: the leader will ask how much of it is there, but not at once.
pub(super) fn failed(common: &mut Common, id: SnapshotId) {
    common.receive.busy = false;
    let begun = |incoming: &Incoming| incoming.id == id && incoming.step != Step::New;
    if common.receive.incoming.as_ref().is_some_and(begun) {
        abandon(common);
        common.receive.retry_at = common.now + compact::patience(common);
        common.counters.snapshots_refused += 1;
    }
}

/// All of it is durable. `follower` is this node's role, if it follows.
pub(super) fn received(common: &mut Common, follower: Option<&mut Follower>, snapshot: SnapshotMeta) {
    common.receive.busy = false;
    let known = |incoming: &mut Incoming| incoming.id == snapshot.id && incoming.step == Step::Finishing;
    let Some(incoming) = common.receive.incoming.take_if(known) else { return };
    if let Some(violation) = contradicts(common, incoming.from, snapshot.upto) {
        common.alarm(violation);
        return;
    }
    common.log.adopt_snapshot(snapshot.clone());
    if !is_here(common, snapshot.upto) {
        common.receive.reset = Some((snapshot, false));
        return;
    }
    common.log.commit_to(snapshot.upto.index);
    if let Some(follower) = follower {
        follower.has_snapshot(&snapshot, common.log.commit());
    }
}

/// Begins to reset the journal, once nothing else is on its way to it.
pub(super) fn poll_reset(common: &mut Common) -> Option<LogId> {
    if common.halted || common.failed || !common.hard_is_durable() || common.compaction.purging.is_some() {
        return None;
    }
    let idle = common.log.writes.is_idle();
    let (snapshot, under_way) = common.receive.reset.as_mut()?;
    if *under_way || !idle {
        return None;
    }
    *under_way = true;
    let upto = snapshot.upto;
    // What was asked of the journal is of no use any more.
    common.forget_fetches();
    common.to_apply = None;
    Some(upto)
}

/// The journal begins after the snapshot.
pub(super) fn reset(common: &mut Common, follower: Option<&mut Follower>, to: LogId) {
    let Some((snapshot, _)) = common.receive.reset.take_if(|(snapshot, _)| snapshot.upto == to) else {
        return;
    };
    common.log.reset(to, snapshot.membership.clone());
    compact::dropped(common, to.index);
    common.counters.snapshots_installed += 1;
    if let Some(follower) = follower {
        follower.has_snapshot(&snapshot, to.index);
    }
    common.receive.install = Some(snapshot);
}

/// The state machine is to install this.
pub(super) fn poll_install(common: &mut Common) -> Option<SnapshotMeta> {
    let idle = common.applying.is_none() && common.receive.installing.is_none();
    if common.halted || !idle {
        return None;
    }
    let snapshot = common.receive.install.take()?;
    common.receive.installing = Some(snapshot.upto);
    Some(snapshot)
}

/// It has.
pub(super) fn installed(common: &mut Common, upto: LogId) {
    if common.receive.installing == Some(upto) {
        common.receive.installing = None;
        common.log.applied_to(upto.index);
    }
}
