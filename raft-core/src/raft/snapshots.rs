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
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = only_voter();
    /// assert!(raft.poll_snapshot().is_none(), "none is due");
    /// raft.take_snapshot(now);
    /// assert_eq!(raft.poll_snapshot().unwrap().upto, LogId::new(1, 2));
    /// ```
    pub fn take_snapshot(&mut self, now: Time) {
        if self.begin(now) {
            self.common.compaction.ask();
            self.advance();
        }
    }

    /// A snapshot to be taken now. Must be pulled before `poll_apply`: it is of the state as it is before what
    /// comes out there. Answered with `handle_snapshot_taken` or `handle_snapshot_failed`; meanwhile
    /// everything goes on.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = only_voter();
    /// let often = Settings { snapshot_every_entries: Some(2), ..Settings::default() };
    /// raft.reconfigure(now, &often).unwrap();
    /// let take = raft.poll_snapshot().unwrap();
    /// assert_eq!(take.upto.index, raft.applied_index());
    /// assert!(take.membership.is_voter(NodeId(1)));
    /// assert!(raft.poll_snapshot().is_none(), "one at a time");
    /// ```
    #[must_use]
    pub fn poll_snapshot(&mut self) -> Option<TakeSnapshot> {
        compact::take(&mut self.common)
    }

    /// The snapshot that was asked for is durable.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = only_voter();
    /// raft.take_snapshot(now);
    /// let take = raft.poll_snapshot().unwrap();
    /// let taken = SnapshotMeta::new(SnapshotId(9), take.upto, take.membership, SnapshotContent::default());
    /// raft.handle_snapshot_taken(now, taken.clone());
    /// assert_eq!(raft.compacted().0, Some(&taken));
    /// ```
    pub fn handle_snapshot_taken(&mut self, now: Time, snapshot: SnapshotMeta) {
        if self.begin(now) {
            compact::taken(&mut self.common, snapshot);
            self.advance();
        }
    }

    /// The snapshot that was asked for could not be stored. It is taken again later.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = only_voter();
    /// let often = Settings { snapshot_every_entries: Some(2), ..Settings::default() };
    /// raft.reconfigure(now, &often).unwrap();
    /// assert!(raft.poll_snapshot().is_some());
    /// raft.handle_snapshot_failed(now);
    /// assert!(raft.poll_snapshot().is_none(), "not at once: the disk may be full");
    ///
    /// raft.handle_timeout(now + 10 * raft.config().election_timeout);
    /// assert!(raft.poll_snapshot().is_some());
    /// ```
    pub fn handle_snapshot_failed(&mut self, now: Time) {
        if self.begin(now) {
            compact::failed(&mut self.common);
            self.advance();
        }
    }

    /// What the journal has of these entries is not what was written. Where all of them are committed, a snapshot of the
    /// state that has them is taken, and `poll_purge` drops them, whatever the policy keeps; what a follower needs
    /// of them it gets as a snapshot. Ends with [`Event::Healed`](super::Event). Whether they are.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = leader_of_three();
    /// raft.propose(now, pack(&["add 4".into()])).unwrap();
    /// assert!(raft.handle_damage(now, &(Index(1)..Index(2))));
    /// assert!(raft.poll_snapshot().is_some(), "the state has what was damaged");
    ///
    /// // Index 3 is not committed: perhaps this was the only copy.
    /// assert!(!raft.handle_damage(now, &(Index(3)..Index(4))));
    /// ```
    pub fn handle_damage(&mut self, now: Time, range: &Range<Index>) -> bool {
        if !self.begin(now) {
            return true;
        }
        let heals = compact::found_damage(&mut self.common, range);
        self.advance();
        heals
    }

    /// Entries that were asked for by `poll_fetch` are damaged: as [`handle_damage`](Self::handle_damage). Also false
    /// if the state machine needs them, and has them from nowhere else.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let (mut raft, _) = restarted();
    /// assert!(raft.poll_apply().is_none());
    /// let fetch = raft.poll_fetch().unwrap();
    /// // It is committed, but this node's state machine can have it from nowhere else.
    /// assert!(!raft.handle_fetch_damaged(now, fetch.id, &fetch.range));
    /// ```
    pub fn handle_fetch_damaged(&mut self, now: Time, id: FetchId, range: &Range<Index>) -> bool {
        if !self.begin(now) {
            return true;
        }
        // A follower that waits for them needs what comes before their end: it gets a snapshot.
        if self.common.fetched(id) == Some(Wanted::Apply) {
            return false;
        }
        let heals = compact::found_damage(&mut self.common, range);
        self.advance();
        heals
    }

    /// Which entries the journal has for good: they are durable and committed, and not about to be dropped.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = only_voter();
    /// raft.propose(now, pack(&["add 4".into()])).unwrap();
    /// assert_eq!(raft.settled(), Index(1)..Index(3), "3 is in memory only");
    /// persist(&mut raft);
    /// assert_eq!(raft.settled(), Index(1)..Index(4));
    /// ```
    #[must_use]
    pub fn settled(&self) -> Range<Index> {
        let common = &self.common;
        let first = compact::first_kept(common);
        let last = if common.receive.is_replacing() { Index::ZERO } else { common.log.applicable() };
        first..last.next().max(first)
    }

    /// How far the journal may forget now: through this entry, which it has. What it is given afterwards fits the
    /// shorter log. Answered with `handle_purged`.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// // There is a snapshot through 1.2, and one entry before its end is to be kept for slow followers.
    /// let mut raft = only_voter_with_snapshot();
    /// assert_eq!(raft.poll_purge(), Some(LogId::new(0, 1)));
    /// assert_eq!(raft.poll_purge(), None, "the journal has not answered");
    /// ```
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
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = only_voter_with_snapshot();
    /// let upto = raft.poll_purge().unwrap();
    /// assert_eq!(raft.status(now).first_index, Index(1));
    /// raft.handle_purged(now, upto);
    /// assert_eq!(raft.status(now).first_index, upto.index.next());
    /// ```
    pub fn handle_purged(&mut self, now: Time, upto: LogId) {
        if self.begin(now) {
            compact::purged(&mut self.common, upto);
            self.advance();
        }
    }

    /// A piece of a snapshot that is to be read from the store, for a follower.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = leader_that_sends();
    /// let chunk = raft.poll_chunk().unwrap();
    /// assert_eq!((chunk.peer, chunk.offset, chunk.max_bytes), (NodeId(3), 0, 10));
    /// assert!(raft.poll_chunk().is_none(), "its reader is busy");
    /// ```
    #[must_use]
    pub fn poll_chunk(&mut self) -> Option<ReadChunk> {
        match &mut self.role {
            Role::Leader(leader) if !self.common.halted => leader.poll_read(&mut self.common),
            _ => None,
        }
    }

    /// Whether `peer` is being sent a snapshot: else its reader is of no use any more.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = leader_that_sends();
    /// assert!(raft.sends_snapshot(NodeId(3)));
    /// assert!(!raft.sends_snapshot(NodeId(2)), "the log has all that it needs");
    ///
    /// has_received(&mut raft, 10, true);
    /// assert!(!raft.sends_snapshot(NodeId(3)), "it has installed it");
    /// ```
    #[must_use]
    pub fn sends_snapshot(&self, peer: NodeId) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.sends_snapshot(peer))
    }

    /// A piece that was asked for by `poll_chunk`.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = leader_that_sends();
    /// let chunk = raft.poll_chunk().unwrap();
    /// raft.handle_chunk(now, chunk.id, "0123456789".into());
    /// let out = core::iter::from_fn(|| raft.poll_message()).find(|out| out.to.id == chunk.peer).unwrap();
    /// assert!(matches!(out.envelope.message, Message::Snapshot(piece) if piece.data == "0123456789"));
    /// ```
    pub fn handle_chunk(&mut self, now: Time, id: FetchId, data: Bytes) {
        if self.begin(now) {
            if let Role::Leader(leader) = &mut self.role {
                leader.on_chunk(&mut self.common, id, data);
            }
            self.advance();
        }
    }

    /// It could not be read.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = leader_that_sends();
    /// let chunk = raft.poll_chunk().unwrap();
    /// assert!(raft.poll_snapshot().is_none());
    /// raft.handle_chunk_failed(now, chunk.id, Unreadable::Damaged);
    /// assert!(raft.poll_snapshot().is_some(), "nothing else has what it covers: another one is needed");
    /// ```
    pub fn handle_chunk_failed(&mut self, now: Time, id: FetchId, why: Unreadable) {
        if self.begin(now) {
            if let Role::Leader(leader) = &mut self.role {
                leader.on_chunk_failed(&mut self.common, id, why);
            }
            self.advance();
        }
    }

    /// What the store is to do next with a snapshot that comes in. `None` while the last one was not answered.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = follower_that_receives();
    /// let Some(Piece::Begin { upto, .. }) = raft.poll_piece() else { panic!("it is new") };
    /// assert_eq!(upto, LogId::new(1, 5));
    /// assert_eq!(raft.poll_piece(), None, "it may have some of it already, and has not said so");
    /// ```
    #[must_use]
    pub fn poll_piece(&mut self) -> Option<Piece> {
        install::poll_piece(&mut self.common)
    }

    /// The store has begun the snapshot, or has written a piece: this many bytes of it are there.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = follower_that_receives();
    /// let Some(Piece::Begin { id, .. }) = raft.poll_piece() else { panic!("it is new") };
    /// // Four bytes of ten are there from an earlier attempt: the leader need not send them.
    /// raft.handle_piece_written(now, id, 4);
    /// let sent = settle(&mut raft);
    /// assert!(matches!(sent[0].message, Message::SnapshotReply(reply) if reply.received == 4));
    /// ```
    pub fn handle_piece_written(&mut self, now: Time, snapshot: SnapshotId, received: u64) {
        if self.begin(now) {
            install::written(&mut self.common, snapshot, received);
            self.advance();
        }
    }

    /// The store could not do what it was asked to, or found that the whole is not what was announced. The leader
    /// will be told what is there when it asks again.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = follower_that_receives();
    /// let Some(Piece::Begin { id, .. }) = raft.poll_piece() else { panic!("it is new") };
    /// raft.handle_piece_failed(now, id);
    /// assert_eq!(raft.poll_piece(), Some(Piece::Abandon { id }));
    /// assert_eq!(raft.status(now).counters.snapshots_refused, 1);
    /// ```
    pub fn handle_piece_failed(&mut self, now: Time, snapshot: SnapshotId) {
        if self.begin(now) {
            install::failed(&mut self.common, snapshot);
            self.advance();
        }
    }

    /// A received snapshot is durable in the store.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = follower_that_received();
    /// raft.handle_snapshot_received(now, snapshot());
    /// assert_eq!(raft.compacted().0, Some(&snapshot()));
    /// // The log has nothing of what it covers: it begins anew after it.
    /// assert_eq!(raft.poll_reset(), Some(snapshot().upto));
    /// ```
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
        self.advance();
    }

    /// The journal must begin anew after this entry. Nothing else is on its way to it, and nothing more comes
    /// until `handle_reset`. A failure is one of the journal: `handle_write_failed`.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = follower_that_received();
    /// raft.handle_snapshot_received(now, snapshot());
    /// let beat = Message::Heartbeat(Heartbeat { commit: Index(1), round: 1 });
    /// raft.handle_message(now, says(3, 3, beat));
    /// assert_eq!(raft.poll_reset(), None, "a new term is to be written before");
    /// persist(&mut raft);
    /// assert_eq!(raft.poll_reset(), Some(LogId::new(1, 5)));
    /// ```
    #[must_use]
    pub fn poll_reset(&mut self) -> Option<LogId> {
        install::poll_reset(&mut self.common)
    }

    /// The journal is empty after `to`, durably.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = follower_that_received();
    /// raft.handle_snapshot_received(now, snapshot());
    /// let to = raft.poll_reset().unwrap();
    /// raft.handle_reset(now, to);
    /// let status = raft.status(now);
    /// assert_eq!((status.first_index, status.last, status.commit_index), (Index(6), to, Index(5)));
    /// ```
    pub fn handle_reset(&mut self, now: Time, to: LogId) {
        if self.begin(now) && !self.common.failed {
            let follower = match &mut self.role {
                Role::Follower(follower) => Some(follower),
                _ => None,
            };
            install::reset(&mut self.common, follower, to);
            self.advance();
        }
    }

    /// A snapshot that must replace the state machine's state. Nothing is executed until `handle_installed`, and
    /// what waits for an entry up to its end will not learn what became of it.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = follower_that_received();
    /// raft.handle_snapshot_received(now, snapshot());
    /// let to = raft.poll_reset().unwrap();
    /// assert_eq!(raft.poll_install(), None, "the journal comes first");
    /// raft.handle_reset(now, to);
    /// assert_eq!(raft.poll_install(), Some(snapshot()));
    /// ```
    #[must_use]
    pub fn poll_install(&mut self) -> Option<SnapshotMeta> {
        install::poll_install(&mut self.common)
    }

    /// The state machine's state is that of the snapshot.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = follower_that_received();
    /// raft.handle_snapshot_received(now, snapshot());
    /// let to = raft.poll_reset().unwrap();
    /// raft.handle_reset(now, to);
    /// assert_eq!(raft.poll_install(), Some(snapshot()));
    /// assert_eq!(raft.applied_index(), Index(0));
    /// raft.handle_installed(now, to);
    /// assert_eq!(raft.applied_index(), Index(5));
    /// ```
    pub fn handle_installed(&mut self, now: Time, upto: LogId) {
        if self.begin(now) {
            install::installed(&mut self.common, upto);
            self.advance();
        }
    }

    /// What the state machine has executed.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = only_voter();
    /// let id = raft.propose(now, pack(&["add 4".into()])).unwrap();
    /// persist(&mut raft);
    /// let apply = raft.poll_apply().unwrap();
    /// assert!(raft.applied_index() < id.index, "it was given out only");
    /// raft.handle_applied(now, apply.through.index);
    /// assert_eq!(raft.applied_index(), id.index);
    /// ```
    #[must_use]
    pub const fn applied_index(&self) -> Index {
        self.common.log.applied()
    }

    /// The newest durable snapshot, and how far the log reaches back; for observers and drivers.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// assert_eq!(only_voter().compacted(), (None, Index(1)));
    /// let mut raft = only_voter_with_snapshot();
    /// let upto = raft.poll_purge().unwrap();
    /// raft.handle_purged(now, upto);
    /// let (snapshot, first) = raft.compacted();
    /// assert_eq!((snapshot.map(|snapshot| snapshot.upto), first), (Some(LogId::new(1, 2)), Index(2)));
    /// ```
    #[must_use]
    pub fn compacted(&self) -> (Option<&SnapshotMeta>, Index) {
        (self.common.log.snapshot(), self.common.log.purged().index.next())
    }
}
