//! What the protocol's task does about snapshots in its turns.

use std::sync::Arc;

use super::super::applier::Job;
use super::super::protocol::Protocol;
use super::{News, Reply};
use crate::error::{FatalReason, SnapshotFailed};
use crate::ids::Index;
use crate::raft::Piece;
use crate::time::Time;

impl Protocol {
    /// Pulls what concerns snapshots and not the journal. Comes before `poll_apply`: a snapshot is of the state
    /// before what comes out there. Whether anything moved.
    pub(in super::super) fn pull_snapshots(&mut self) -> bool {
        let mut moved = false;
        while let Some(take) = self.raft.poll_snapshot() {
            moved = true;
            // An applier that has stopped has said why.
            let _ = self.jobs.send(Job::Snapshot(take));
        }
        while let Some(snapshot) = self.raft.poll_install() {
            moved = true;
            self.proposals.covered(snapshot.upto.index);
            let _ = self.jobs.send(Job::Install(snapshot));
        }
        while let Some(chunk) = self.raft.poll_chunk() {
            if let Some(snapshots) = &self.snapshots {
                self.readers.read(snapshots.store(), chunk);
            }
        }
        while let Some(piece) = self.raft.poll_piece() {
            moved = true;
            self.piece(piece);
        }
        moved
    }

    fn piece(&mut self, piece: Piece) {
        let id = match &piece {
            Piece::Begin { id, .. } | Piece::Write { id, .. } | Piece::Finish { id, .. } => *id,
            Piece::Abandon { .. } => {
                if let Some(pieces) = &self.pieces {
                    let _ = pieces.send(piece);
                }
                return;
            }
        };
        let pieces = match (&self.pieces, &self.snapshots) {
            (None, Some(snapshots)) => self.pieces.insert(snapshots.receive()),
            (Some(pieces), _) => pieces,
            // Without a store nothing can be received: the leader asks again, now and then.
            (None, None) => return self.raft.handle_piece_failed(self.runtime.now(), id),
        };
        let _ = pieces.send(piece);
    }

    /// Feeds what the tasks have done.
    pub(in super::super) fn on_snapshot_news(&mut self, now: Time, news: News) {
        match news {
            News::Taken(Ok(snapshot)) => {
                self.raft.handle_snapshot_taken(now, snapshot);
                self.answer_waiting(now);
            }
            News::Taken(Err(error)) => {
                self.raft.handle_snapshot_failed(now);
                self.waiting.fail(&SnapshotFailed::Store(error));
            }
            News::Written { id, received } => self.raft.handle_piece_written(now, id, received),
            News::Refused { id } => self.raft.handle_piece_failed(now, id),
            News::Received(snapshot) => {
                self.raft.handle_snapshot_received(now, snapshot);
                self.answer_waiting(now);
            }
            News::Installed(snapshot) => self.raft.handle_installed(now, snapshot.upto),
        }
    }

    /// Who asked for a snapshot gets it, or waits for the next one.
    fn answer_waiting(&mut self, now: Time) {
        if let Some(snapshot) = self.raft.compacted().0.cloned() {
            self.waiting.covered(&snapshot);
        }
        if !self.waiting.is_empty() {
            self.raft.take_snapshot(now);
        }
    }

    /// Somebody asks for a snapshot of what is executed by now.
    pub(in super::super) fn want_snapshot(&mut self, now: Time, reply: Reply) {
        let applied = self.raft.applied_index();
        if self.snapshots.is_none() {
            let _ = reply.send(Err(SnapshotFailed::NoStore));
        } else if applied == Index::ZERO {
            let _ = reply.send(Err(SnapshotFailed::Nothing));
        } else {
            self.waiting.add(applied, reply);
            self.answer_waiting(now);
        }
    }

    /// The node ends: who waits learns it.
    pub(in super::super) fn fail_snapshots(&mut self, error: Option<&Arc<FatalReason>>, queued: Vec<Reply>) {
        let error = match error {
            None => SnapshotFailed::ShuttingDown,
            Some(reason) => SnapshotFailed::Fatal(Arc::clone(reason)),
        };
        queued.into_iter().for_each(|reply| self.waiting.add(Index::ZERO, reply));
        self.waiting.fail(&error);
    }
}
