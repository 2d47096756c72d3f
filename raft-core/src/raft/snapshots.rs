//! What goes in and comes out where snapshots are concerned (§7). The rules are in `compact.rs` (taking and
//! purging), `install.rs` and `leader/snapshot.rs`.

use core::ops::Range;

use bytes::Bytes;

use super::common::Wanted;
use super::output::{Piece, ReadChunk, TakeSnapshot, Unreadable};
use super::{Next, Raft, Role, compact, install};
use crate::backend::{SnapshotId, SnapshotMeta};
use crate::error::Violation;
use crate::ids::{FetchId, Index, LogId, NodeId};
use crate::status::Why;
use crate::time::Time;

impl Raft {
    /// Somebody wants a snapshot: `poll_snapshot` gives one as soon as nothing is being executed, unless the newest
    /// one covers all that was.
    pub fn take_snapshot(&mut self, now: Time) {
        if self.begin(now) {
            self.common.compaction.ask();
            self.settle();
        }
    }

    /// A snapshot to be taken now. Must be pulled before `poll_apply`: it is of the state as it is before what
    /// comes out there. Answered with `handle_snapshot_taken` or `handle_snapshot_failed`; meanwhile
    /// everything goes on.
    #[must_use]
    pub fn poll_snapshot(&mut self) -> Option<TakeSnapshot> {
        compact::take(&mut self.common)
    }

    /// The snapshot that was asked for is durable.
    pub fn handle_snapshot_taken(&mut self, now: Time, snapshot: SnapshotMeta) {
        if self.begin(now) {
            compact::taken(&mut self.common, snapshot);
            self.settle();
        }
    }

    /// The snapshot that was asked for could not be stored. It is taken again later.
    pub fn handle_snapshot_failed(&mut self, now: Time) {
        if self.begin(now) {
            compact::failed(&mut self.common);
            self.settle();
        }
    }

    /// What the journal has of these entries is not what was written. Where all of them are committed, a snapshot of the
    /// state that has them is taken, and `poll_purge` drops them, whatever the policy keeps; what a follower needs
    /// of them it gets as a snapshot. Ends with [`Event::Healed`](super::Event). Whether they are.
    pub fn handle_damage(&mut self, now: Time, range: &Range<Index>) -> bool {
        if !self.begin(now) {
            return true;
        }
        let heals = compact::found_damage(&mut self.common, range);
        self.settle();
        heals
    }

    /// Entries that were asked for by `poll_fetch` are damaged: as [`handle_damage`](Self::handle_damage). Also false
    /// if the state machine needs them, and has them from nowhere else.
    pub fn handle_fetch_damaged(&mut self, now: Time, id: FetchId, range: &Range<Index>) -> bool {
        if !self.begin(now) {
            return true;
        }
        // A follower that waits for them needs what comes before their end: it gets a snapshot.
        if self.common.fetched(id) == Some(Wanted::Apply) {
            return false;
        }
        let heals = compact::found_damage(&mut self.common, range);
        self.settle();
        heals
    }

    /// Which entries the journal has for good: they are durable and committed, and not about to be dropped.
    #[must_use]
    pub fn settled(&self) -> Range<Index> {
        let common = &self.common;
        let first = compact::first_kept(common);
        let last = if common.receive.is_replacing() { Index::ZERO } else { common.log.applicable() };
        first..last.next().max(first)
    }

    /// How far the journal may forget now: through this entry, which it has. What it is given afterwards fits the
    /// shorter log. Answered with `handle_purged`.
    #[must_use]
    pub fn poll_purge(&mut self) -> Option<LogId> {
        let common = &mut self.common;
        let bounds = compact::bounds(common)?;
        let held = match &self.role {
            Role::Leader(leader) => leader.held(common, bounds.floor),
            _ => bounds.goal,
        };
        let upto = compact::purge(common, &bounds, held)?;
        if let Role::Leader(leader) = &mut self.role {
            leader.forget_purged(upto.index.next());
        }
        Some(upto)
    }

    /// The journal has forgotten everything through `upto`, and that is durable.
    pub fn handle_purged(&mut self, now: Time, upto: LogId) {
        if self.begin(now) {
            compact::purged(&mut self.common, upto);
            self.settle();
        }
    }

    /// A piece of a snapshot that is to be read from the store, for a follower.
    #[must_use]
    pub fn poll_chunk(&mut self) -> Option<ReadChunk> {
        match &mut self.role {
            Role::Leader(leader) if !self.common.halted => leader.poll_read(&mut self.common),
            _ => None,
        }
    }

    /// Whether `peer` is being sent a snapshot: else its reader is of no use any more.
    #[must_use]
    pub fn sends_snapshot(&self, peer: NodeId) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.sends_snapshot(peer))
    }

    /// A piece that was asked for by `poll_chunk`.
    pub fn handle_chunk(&mut self, now: Time, id: FetchId, data: Bytes) {
        if self.begin(now) {
            if let Role::Leader(leader) = &mut self.role {
                leader.on_chunk(&mut self.common, id, data);
            }
            self.settle();
        }
    }

    /// It could not be read.
    pub fn handle_chunk_failed(&mut self, now: Time, id: FetchId, why: Unreadable) {
        if self.begin(now) {
            if let Role::Leader(leader) = &mut self.role {
                leader.on_chunk_failed(&mut self.common, id, why);
            }
            self.settle();
        }
    }

    /// What the store is to do next with a snapshot that comes in. `None` while the last one was not answered.
    #[must_use]
    pub fn poll_piece(&mut self) -> Option<Piece> {
        install::poll_piece(&mut self.common)
    }

    /// The store has begun the snapshot, or has written a piece: this many bytes of it are there.
    pub fn handle_piece_written(&mut self, now: Time, snapshot: SnapshotId, received: u64) {
        if self.begin(now) {
            install::written(&mut self.common, snapshot, received);
            self.settle();
        }
    }

    /// The store could not do what it was asked to, or found that the whole is not what was announced. The leader
    /// will be told what is there when it asks again.
    pub fn handle_piece_failed(&mut self, now: Time, snapshot: SnapshotId) {
        if self.begin(now) {
            install::failed(&mut self.common, snapshot);
            self.settle();
        }
    }

    /// A received snapshot is durable in the store.
    pub fn handle_snapshot_received(&mut self, now: Time, snapshot: SnapshotMeta) {
        if !self.begin(now) {
            return;
        }
        let follower = match &mut self.role {
            Role::Follower(follower) => Some(follower),
            _ => None,
        };
        let upto = snapshot.upto;
        install::received(&mut self.common, follower, snapshot);
        if self.common.receive.resetting().is_some() {
            match self.role {
                Role::Follower(_) => {}
                // It lacks what is committed: it cannot win.
                Role::Candidate(_) => self.turn(Next::Follow { why: Why::Behind }),
                Role::Leader(_) => {
                    let term = self.common.term();
                    self.common.alarm(Violation::ElectedWithout { term, committed: upto });
                }
            }
        }
        self.settle();
    }

    /// The journal must begin anew after this entry. Nothing else is on its way to it, and nothing more comes
    /// until `handle_reset`. A failure is one of the journal: `handle_write_failed`.
    #[must_use]
    pub fn poll_reset(&mut self) -> Option<LogId> {
        install::poll_reset(&mut self.common)
    }

    /// The journal is empty after `to`, durably.
    pub fn handle_reset(&mut self, now: Time, to: LogId) {
        if self.begin(now) && !self.common.failed {
            let follower = match &mut self.role {
                Role::Follower(follower) => Some(follower),
                _ => None,
            };
            install::reset(&mut self.common, follower, to);
            self.settle();
        }
    }

    /// A snapshot that must replace the state machine's state. Nothing is executed until `handle_installed`, and
    /// what waits for an entry up to its end will not learn what became of it.
    #[must_use]
    pub fn poll_install(&mut self) -> Option<SnapshotMeta> {
        install::poll_install(&mut self.common)
    }

    /// The state machine's state is that of the snapshot.
    pub fn handle_installed(&mut self, now: Time, upto: LogId) {
        if self.begin(now) {
            install::installed(&mut self.common, upto);
            self.settle();
        }
    }

    /// What the state machine has executed.
    #[must_use]
    pub const fn applied_index(&self) -> Index {
        self.common.log.applied()
    }

    /// The newest durable snapshot, and how far the log reaches back; for observers and drivers.
    #[must_use]
    pub fn compacted(&self) -> (Option<&SnapshotMeta>, Index) {
        (self.common.log.snapshot(), self.common.log.purged().index.next())
    }
}
