//! Snapshots: what they cover is committed, and is what the log would have given.
//!
//! A node's [`Model`](super::Model) keeps the whole log, also where the journal has dropped it: what is dropped must
//! be covered by a snapshot on the same disk, which holds the committed log. So the other checkers need not
//! know of snapshots.

use raft_core::backend::{SnapshotError, SnapshotMeta};
use raft_core::ids::{Index, LogId};
use raft_core::membership::Membership;

use super::super::coverage::Point;
use super::super::events::Tag;
use super::super::machine::Registers;
use super::members::short;
use super::{Floor, Oracle, State, number, place};

impl Oracle {
    /// A node begins to write a snapshot, or goes on with one.
    pub(crate) fn snapshot_begins(&self, node: usize, upto: LogId, membership: &Membership, resumed: u64) {
        let at = self.now();
        let mut state = self.lock();
        state.events.note(at, number(Some(node)), Tag::Snapshot, [0, upto.index.0, resumed, 0], || {
            format!("begins, through {upto}, {resumed} bytes are there")
        });
        state.cover.hit_if(resumed > 0, Point::SnapshotResumed);
        state.check_cover(at, node, upto, "a snapshot");
        let right = state.memberships.at(&state.committed, upto.index);
        if let Some(right) = right.filter(|right| *right != membership) {
            let what = format!("its snapshot of {upto} says {}, it was {}", short(membership), short(right));
            state.violated(at, "snapshot-differs", Some(node), what);
        }
    }

    /// The last call that makes a snapshot visible begins.
    pub(crate) fn snapshot_finishes(&self, node: usize, upto: LogId) {
        self.lock().nodes[node].finishing.push(upto);
    }

    /// A snapshot could not be finished.
    pub(crate) fn snapshot_failed(&self, node: usize, error: &SnapshotError) {
        let at = self.now();
        let mut state = self.lock();
        state.events.note(at, number(Some(node)), Tag::Snapshot, [1, 0, 0, 0], || format!("fails: {error}"));
    }

    /// A snapshot is said to be durable. `image` opens what the disk would have after a power cut.
    pub(crate) fn snapshot_durable(
        &self,
        node: usize,
        meta: &SnapshotMeta,
        image: impl FnOnce() -> Result<Option<(SnapshotMeta, Vec<u8>)>, SnapshotError>,
    ) {
        let at = self.now();
        let mut state = self.lock();
        let upto = meta.upto;
        state.events.note(at, number(Some(node)), Tag::Snapshot, [2, upto.index.0, 0, 0], || {
            format!("durable, through {upto}, {} bytes", meta.content.total_bytes)
        });
        state.cover.hit(Point::SnapshotTaken);
        let model = &mut state.nodes[node];
        let before = model.snapshot;
        let newest = before.filter(|before| before.upto >= upto).unwrap_or_else(|| super::Covered::of(meta));
        if model.damaged {
            model.snapshot = Some(newest);
            return;
        }
        let finishing = model.finishing.clone();
        let wrong = match image() {
            Ok(Some((found, _))) if (found.upto, found.content) == (newest.upto, newest.content) => None,
            // One that could not be finished may have come to be complete all the same.
            Ok(Some((found, _))) if found.upto > newest.upto && finishing.contains(&found.upto) => None,
            Ok(found) => Some(format!("its disk has {:?}", found.map(|(meta, _)| meta.upto))),
            Err(error) => Some(format!("its disk gives: {error}")),
        };
        model.snapshot = Some(newest);
        model.finishing.retain(|other| *other != upto);
        if let Some(wrong) = wrong {
            let what = format!("a snapshot through {upto} is said to be durable; {wrong}");
            state.violated(at, "snapshot-not-durable", Some(node), what);
        }
    }

    /// A node comes up, and its newest snapshot is this.
    pub(crate) fn snapshot_found(&self, node: usize, found: &Result<Option<SnapshotMeta>, SnapshotError>) {
        let at = self.now();
        let mut state = self.lock();
        let model = &mut state.nodes[node];
        let finishing = std::mem::take(&mut model.finishing);
        let before = model.snapshot;
        let harmed = model.damaged || model.lossy;
        let cut = !finishing.is_empty();
        let found = match found {
            Ok(found) => found.as_ref().map(super::Covered::of),
            Err(error) => {
                if !harmed {
                    state.violated(at, "recovery", Some(node), format!("its snapshot: {error}"));
                }
                state.cover.hit(Point::SnapshotDamageMet);
                return;
            }
        };
        model.snapshot = found;
        let same = found.map(|found| found.upto) == before.map(|before| before.upto);
        let newer = found.is_some_and(|found| {
            finishing.contains(&found.upto) && before.is_none_or(|before| before.upto < found.upto)
        });
        state.cover.hit_if(cut, Point::CrashInSnapshot);
        state.cover.hit_if(newer, Point::UnackedSnapshotSurvives);
        if !same && !newer && !harmed {
            let what = format!("its snapshot covers {found:?}; it was {before:?}");
            state.violated(at, "recovery", Some(node), what);
        }
    }

    /// The journal is told to drop what a snapshot covers.
    pub(crate) fn purge_begins(&self, node: usize, upto: LogId) {
        let at = self.now();
        let mut state = self.lock();
        state.events.note(at, number(Some(node)), Tag::Purge, [upto.index.0, 0, 0, 0], || {
            format!("drops everything through {upto}")
        });
        state.cover.hit(Point::Purged);
        state.check_floor(at, node, upto, "drops");
        state.nodes[node].floor = Some(Floor::Purge(upto));
    }

    /// It has.
    pub(crate) fn purge_done(&self, node: usize, upto: LogId) {
        let mut state = self.lock();
        let model = &mut state.nodes[node];
        model.floor = None;
        model.purged = model.purged.max(upto.index);
    }

    /// The journal is told to begin anew after what a snapshot covers.
    pub(crate) fn reset_begins(&self, node: usize, to: LogId) {
        let at = self.now();
        let mut state = self.lock();
        state.events.note(at, number(Some(node)), Tag::Purge, [to.index.0, 1, 0, 0], || {
            format!("begins anew after {to}")
        });
        state.cover.hit(Point::LogReset);
        state.check_floor(at, node, to, "begins anew after");
        let (log, committed) = (&state.nodes[node].log, &state.committed);
        let lost = (place(to.index) + 1..log.len()).find(|at| committed.get(*at) == log.get(*at));
        if let Some(index) = lost {
            let what = format!("it begins anew after {to} and loses {}, which is committed", index + 1);
            state.violated(at, "commit-retracted", Some(node), what);
        }
        state.nodes[node].floor = Some(Floor::Reset(to));
    }

    /// It has.
    pub(crate) fn reset_done(&self, node: usize, to: LogId) {
        let mut state = self.lock();
        let log = state.committed.get(..to.index.0 as usize).unwrap_or_default().to_vec();
        let model = &mut state.nodes[node];
        model.floor = None;
        model.purged = to.index;
        model.log = log;
    }

    /// A node's state machine has taken over a snapshot.
    pub(crate) fn installed(&self, node: usize, before: Index, now: &Registers) {
        let at = self.now();
        let mut state = self.lock();
        let through = now.through;
        state.events.note(at, number(Some(node)), Tag::Snapshot, [3, through.index.0, before.0, 0], || {
            format!("installed, through {through} after {before}")
        });
        state.cover.hit(Point::SnapshotInstalled);
        state.cover.hit_if(before > Index::ZERO, Point::SnapshotInstalledOver);
        state.check_cover(at, node, through, "an installed snapshot");
        if through.index < before {
            let what = format!("it installs a snapshot of {through} over {before}");
            state.violated(at, "snapshot-went-back", Some(node), what);
        }
        if let Some(what) = state.clients.differs(now) {
            state.violated(at, "snapshot-differs", Some(node), format!("at {through} {what}"));
        }
    }
}

impl State {
    /// Whether everything through this entry is committed.
    fn check_cover(&mut self, at: u64, node: usize, upto: LogId, what: &str) {
        let none = upto == LogId::ZERO;
        if !none && self.committed.get(place(upto.index)).is_none_or(|item| item.term != upto.term) {
            let what = format!("{what} covers {upto}, which is not committed");
            self.violated(at, "snapshot-differs", Some(node), what);
        }
    }

    /// What the journal drops must be in a snapshot on the same disk.
    fn check_floor(&mut self, at: u64, node: usize, upto: LogId, does: &str) {
        self.check_cover(at, node, upto, "what is dropped");
        let covered = self.nodes[node].snapshot.map_or(LogId::ZERO, |snapshot| snapshot.upto);
        if covered.index < upto.index {
            let what = format!("it {does} {upto}; its durable snapshot covers {covered}");
            self.violated(at, "dropped-uncovered", Some(node), what);
        }
    }
}
