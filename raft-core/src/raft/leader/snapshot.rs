//! Sending a snapshot to a follower that needs what is no longer in the log (§7).
//!
//! The leader first asks how much of it is there, then sends piece by piece, never more than the window without an
//! answer. When nothing has come further for an election timeout, or the connection is a new one, it asks again and
//! goes on from the answer: what was lost is sent again, what is there is not.

use alloc::boxed::Box;

use bytes::Bytes;

use super::{Leader, Progress};
use crate::backend::{SnapshotContent, SnapshotId, SnapshotMeta};
use crate::ids::{FetchId, Index, LogId, NodeId};
use crate::message::{Envelope, Message, SnapshotChunk, SnapshotReply};
use crate::raft::common::Common;
use crate::raft::compact;
use crate::raft::output::{ReadChunk, Unreadable};
use crate::status::{PeerState, SnapshotTransfer};
use crate::time::Time;

/// How long a follower that comes no further keeps the log after its snapshot from being purged, in election
/// timeouts: making a large one durable takes a while.
const PATIENCE: u32 = 100;

/// Whether the follower has said how much of the snapshot it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asking {
    /// It is to be asked.
    Due,
    /// It was asked.
    Asked,
    /// It has said so, and pieces flow.
    No,
}

/// A snapshot on its way to one follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sending {
    id: SnapshotId,
    pub(super) upto: LogId,
    membership: Bytes,
    content: SnapshotContent,
    asking: Asking,
    /// What the follower has, in bytes.
    received: u64,
    /// Where the next piece begins.
    next: u64,
    /// A piece is being read.
    reading: Option<FetchId>,
    /// A piece that begins at `next` and was read.
    ready: Option<Bytes>,
    /// When it last came further, or was asked.
    moved: Time,
    /// When it last came further.
    further: Time,
}

impl Sending {
    fn new(snapshot: &SnapshotMeta, now: Time) -> Self {
        Self {
            id: snapshot.id,
            upto: snapshot.upto,
            membership: snapshot.membership.encode(),
            content: snapshot.content,
            asking: Asking::Due,
            received: 0,
            next: 0,
            reading: None,
            ready: None,
            moved: now,
            further: now,
        }
    }

    /// What is under way may be lost.
    fn ask(&mut self, now: Time) {
        self.asking = Asking::Due;
        self.moved = now;
    }

    /// Everything from here on is to be sent.
    fn go_on_from(&mut self, offset: u64) {
        (self.received, self.next) = (offset, offset);
        (self.reading, self.ready) = (None, None);
    }

    const fn in_flight_bytes(&self) -> u64 {
        self.next.saturating_sub(self.received)
    }

    const fn chunk(&self, data: Bytes, membership: Bytes) -> SnapshotChunk {
        SnapshotChunk {
            upto: self.upto,
            snapshot: self.id.0,
            membership,
            offset: self.next,
            total: self.content.total_bytes,
            checksum: self.content.checksum,
            data,
        }
    }

    pub(super) const fn transfer(&self) -> (SnapshotTransfer, u64) {
        let (upto, received_bytes, total_bytes) = (self.upto, self.received, self.content.total_bytes);
        (SnapshotTransfer { upto, received_bytes, total_bytes }, self.in_flight_bytes())
    }

    #[cfg(feature = "trace")]
    pub(super) fn hash_protocol<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash;
        (self.id, self.asking, self.received, self.next, &self.ready).hash(state);
    }
}

/// The follower needs entries that are gone: it is to get the newest snapshot.
pub(super) fn begin(progress: &mut Progress, common: &Common) {
    let Some(snapshot) = compact::to_send(common) else { return };
    progress.send_snapshot(Box::new(Sending::new(snapshot, common.now)));
}

/// Whether it may be sent pieces at all.
fn is_waiting(progress: &Progress) -> bool {
    progress.state == PeerState::Snapshot && progress.rolled_back.is_none() && !progress.paused
}

/// The next message with a piece, or with a question, over all peers in turn.
pub(super) fn poll(leader: &mut Leader, common: &Common) -> Option<Envelope> {
    if !leader.progress.values().any(is_waiting) {
        return None;
    }
    let mut turn = leader.turn;
    for _ in 0..leader.progress.len() {
        let peer = leader.progress.after(turn)?;
        turn = peer;
        let Some(progress) = leader.progress.get_mut(&peer).filter(|progress| is_waiting(progress)) else {
            continue;
        };
        let Some(sending) = &mut progress.sending else { continue };
        let data = match sending.asking {
            Asking::Due => {
                sending.asking = Asking::Asked;
                // It is not compared with `next`: the answer says where to go on.
                let received = sending.received;
                sending.go_on_from(received);
                Bytes::new()
            }
            Asking::Asked => continue,
            Asking::No => match sending.ready.take() {
                Some(data) => data,
                None => continue,
            },
        };
        let length = data.len() as u64;
        let membership = sending.membership.clone();
        let chunk = sending.chunk(data, membership);
        sending.next += length;
        leader.turn = peer;
        return Some(common.envelope(peer, Message::Snapshot(chunk)));
    }
    None
}

/// Looks at every snapshot under way before anything is sent.
pub(super) fn refresh_all(leader: &mut Leader, common: &Common) {
    for progress in leader.progress.values_mut().filter(|progress| is_waiting(progress)) {
        refresh(progress, common);
    }
}

/// Leaves a snapshot that leads nowhere: the follower has come to have what it lacked, or what follows the
/// snapshot is gone too, or it was found damaged.
fn refresh(progress: &mut Progress, common: &Common) {
    let first = compact::first_kept(common);
    if progress.match_index.next() >= first {
        let next = progress.match_index.next();
        progress.probe_from(next, common.now);
        return;
    }
    let newest = compact::to_send(common);
    match &progress.sending {
        Some(sending) if common.compaction.damaged == Some(sending.id) => progress.sending = None,
        Some(sending) if sending.upto.index.next() < first => progress.sending = None,
        _ => {}
    }
    if progress.sending.is_none()
        && let Some(snapshot) = newest
    {
        progress.sending = Some(Box::new(Sending::new(snapshot, common.now)));
    }
}

/// The next piece that is to be read.
pub(super) fn poll_read(leader: &mut Leader, common: &mut Common) -> Option<ReadChunk> {
    let (chunk, window) = (common.config.snapshot_chunk_bytes, common.config.snapshot_window_bytes);
    for (peer, progress) in leader.progress.iter_mut() {
        if !is_waiting(progress) {
            continue;
        }
        let Some(sending) = &mut progress.sending else { continue };
        let left = sending.content.total_bytes - sending.next;
        let busy = sending.reading.is_some() || sending.ready.is_some();
        if sending.asking != Asking::No || busy || left == 0 || sending.in_flight_bytes() >= window {
            continue;
        }
        let id = common.next_fetch_id();
        sending.reading = Some(id);
        let (snapshot, offset, max_bytes) = (sending.id, sending.next, chunk.min(left));
        return Some(ReadChunk { id, peer: *peer, snapshot, offset, max_bytes });
    }
    None
}

fn reader(leader: &mut Leader, id: FetchId) -> Option<&mut Progress> {
    let reads = |progress: &&mut Progress| {
        progress.sending.as_ref().is_some_and(|sending| sending.reading == Some(id))
    };
    leader.progress.values_mut().find(reads)
}

/// A piece was read.
pub(super) fn on_read(leader: &mut Leader, common: &mut Common, id: FetchId, data: Bytes) {
    let Some(sending) = reader(leader, id).and_then(|progress| progress.sending.as_mut()) else { return };
    let left = sending.content.total_bytes - sending.next;
    if data.is_empty() || data.len() as u64 > left {
        // It ends too early, or too late.
        on_unreadable(leader, common, id, Unreadable::Damaged);
        return;
    }
    sending.reading = None;
    sending.ready = Some(data);
}

/// A piece could not be read.
pub(super) fn on_unreadable(leader: &mut Leader, common: &mut Common, id: FetchId, why: Unreadable) {
    let now = common.now;
    let Some(progress) = reader(leader, id) else { return };
    let Some(sending) = &mut progress.sending else { return };
    let newest = common.log.snapshot().is_some_and(|snapshot| snapshot.id == sending.id);
    sending.reading = None;
    match why {
        // The question is put again after an election timeout, and then it is read again.
        Unreadable::Failed => {
            sending.asking = Asking::Asked;
            sending.moved = now;
        }
        Unreadable::Gone | Unreadable::Damaged => {
            if newest {
                // Nothing else covers what was purged: another one must be taken.
                common.compaction.damaged = Some(sending.id);
            }
            progress.sending = None;
        }
    }
}

/// A follower says what it has.
pub(super) fn on_reply(leader: &mut Leader, common: &mut Common, from: NodeId, reply: SnapshotReply) {
    let (now, round) = (common.now, leader.round);
    let Some(progress) = leader.progress.get_mut(&from) else { return };
    if progress.rolled_back.is_some() {
        common.counters.ignored_messages += 1;
        return;
    }
    progress.contact = now;
    progress.heard = true;
    let of = SnapshotId(reply.snapshot);
    let known =
        |sending: &&mut Box<Sending>| sending.id == of && reply.received <= sending.content.total_bytes;
    let Some(sending) = progress.sending.as_mut().filter(known) else {
        common.counters.ignored_messages += 1;
        return;
    };
    if reply.installed {
        let upto = sending.upto.index;
        common.counters.snapshots_sent += 1;
        progress.probe_from(upto.next(), now);
        progress.acked(upto, round, now);
        return;
    }
    if reply.received > sending.received {
        (sending.moved, sending.further) = (now, now);
    }
    if sending.asking != Asking::No {
        sending.asking = Asking::No;
        sending.moved = now;
        sending.go_on_from(reply.received);
    } else if reply.received > sending.received {
        sending.received = reply.received;
        if sending.next < sending.received {
            sending.go_on_from(reply.received);
        }
    }
}

/// The follower answers heartbeats. If its snapshot has not come further for as long as `patience`, it is asked.
pub(super) fn on_sign_of_life(progress: &mut Progress, common: &Common) {
    let (now, patience) = (common.now, common.config.election_timeout);
    progress.paused = false;
    if let Some(sending) = &mut progress.sending
        && now.since(sending.moved) >= patience
    {
        sending.ask(now);
    }
}

/// The connection is a new one, or gone.
pub(super) fn on_connection(progress: &mut Progress, now: Time, up: bool) {
    progress.paused = !up;
    if let Some(sending) = &mut progress.sending {
        sending.ask(now);
    }
}

/// What a follower still needs the entries after, if that is to be waited for.
pub(super) fn holds(progress: &Progress, common: &Common, floor: Index) -> Option<Index> {
    let (now, timeout) = (common.now, common.config.election_timeout);
    if let Some(sending) = &progress.sending {
        // What it needs next is what follows its snapshot.
        let patient = now.since(sending.further) < timeout.saturating_mul(PATIENCE);
        let answers = now.since(progress.contact) < timeout;
        return (patient && answers).then_some(sending.upto.index);
    }
    let answers = now.since(progress.contact) < timeout && progress.rolled_back.is_none();
    answers.then_some(progress.match_index.max(floor))
}
