//! The nodes' snapshot stores: what they do, late, and whether it is what it should be.

use std::sync::Arc;

use raft_core::ids::LogId;
use raft_core::message::{Message, SnapshotReply};
use raft_core::raft::{Piece, Unreadable};

use super::{Node, World};
use crate::disk::{Part, Snapshot};

/// What a store and the state machine are at.
#[derive(Default)]
pub(crate) struct Store {
    /// A snapshot of this node's own, being written.
    pub(crate) taking: Option<Arc<Snapshot>>,
    pub(crate) pieces: std::collections::VecDeque<Piece>,
    pub(crate) reads: std::collections::VecDeque<raft_core::raft::ReadChunk>,
    pub(crate) installing: Option<raft_core::backend::SnapshotMeta>,
}

impl World {
    /// Pulls what concerns snapshots. Whether there was any.
    pub(crate) fn pull_snapshots(&mut self, at: usize) -> bool {
        let Node { raft: Some(raft), store, applied, .. } = &mut self.nodes[at] else { return false };
        let mut moved = false;
        if let Some(take) = raft.poll_snapshot() {
            moved = true;
            assert_eq!(take.upto.index.0, applied.len() as u64, "of the state as it is");
            self.last_snapshot += 1;
            let snapshot = Arc::new(Snapshot::take(self.last_snapshot, take, applied.clone()));
            self.snapshots.insert(snapshot.meta.id, Arc::clone(&snapshot));
            assert!(store.taking.replace(snapshot).is_none(), "one at a time");
        }
        while let Some(piece) = raft.poll_piece() {
            moved = true;
            store.pieces.push_back(piece);
        }
        while let Some(chunk) = raft.poll_chunk() {
            moved = true;
            store.reads.push_back(chunk);
        }
        if let Some(snapshot) = raft.poll_install() {
            moved = true;
            assert!(store.installing.replace(snapshot).is_none(), "one at a time");
        }
        moved
    }

    /// Completes something that a store or an installing state machine is at. Whether there was anything.
    pub(crate) fn store_step(&mut self, at: usize, which: usize) -> bool {
        let done = match which {
            0 => self.piece(at),
            1 => self.read(at),
            2 => self.taken(at),
            _ => self.install(at),
        };
        self.drain(at);
        done
    }

    /// The store does what it is asked to next.
    pub(crate) fn piece(&mut self, at: usize) -> bool {
        let failed = self.fails(40);
        let now = self.clock(at);
        let Node { raft: Some(raft), disk, store, .. } = &mut self.nodes[at] else { return false };
        let Some(piece) = store.pieces.pop_front() else { return false };
        match piece {
            Piece::Abandon { .. } => {}
            Piece::Begin { id, .. } | Piece::Write { id, .. } | Piece::Finish { id, .. } if failed => {
                self.seen.insert("store failed");
                raft.handle_piece_failed(now, id);
            }
            Piece::Begin { id, upto, membership } => {
                let kept = disk.part.take().filter(|part| part.id == id && part.upto == upto);
                let data = kept.map(|part| part.data).unwrap_or_default();
                if !data.is_empty() {
                    self.seen.insert("resumed");
                }
                let received = data.len() as u64;
                disk.part = Some(Part { id, upto, membership, data });
                raft.handle_piece_written(now, id, received);
            }
            Piece::Write { id, data } => {
                let part = disk.part.as_mut().filter(|part| part.id == id).expect("begun before");
                part.data.extend_from_slice(&data);
                raft.handle_piece_written(now, id, part.data.len() as u64);
            }
            Piece::Finish { id, content } => {
                let part = disk.part.take().filter(|part| part.id == id).expect("begun before");
                if disk.last() == LogId::ZERO {
                    self.seen.insert("a snapshot for a newcomer");
                }
                let original = &self.snapshots[&id];
                let received = (part.upto, &part.membership, content, part.data.freeze());
                let meta = &original.meta;
                let sent = (meta.upto, &meta.membership, meta.content, original.data.clone());
                assert_eq!(received, sent, "pieces were mixed up");
                disk.keep(Arc::clone(original));
                raft.handle_snapshot_received(now, original.meta.clone());
                self.seen.insert("received");
            }
        }
        true
    }

    fn read(&mut self, at: usize) -> bool {
        let (failed, damaged) = (self.fails(30), self.fails(30));
        let now = self.clock(at);
        let Node { raft: Some(raft), disk, store, .. } = &mut self.nodes[at] else { return false };
        let Some(chunk) = store.reads.pop_front() else { return false };
        let stored = disk.snapshot.as_ref().filter(|snapshot| snapshot.meta.id == chunk.snapshot);
        match stored {
            _ if failed => raft.handle_chunk_failed(now, chunk.id, Unreadable::Failed),
            _ if damaged => raft.handle_chunk_failed(now, chunk.id, Unreadable::Damaged),
            None => raft.handle_chunk_failed(now, chunk.id, Unreadable::Gone),
            Some(snapshot) => {
                let (start, length) = (chunk.offset as usize, chunk.max_bytes as usize);
                raft.handle_chunk(now, chunk.id, snapshot.data.slice(start..start + length));
            }
        }
        true
    }

    fn taken(&mut self, at: usize) -> bool {
        let failed = self.fails(10);
        let now = self.clock(at);
        let Node { raft: Some(raft), disk, store, .. } = &mut self.nodes[at] else { return false };
        let Some(snapshot) = store.taking.take() else { return false };
        if failed {
            raft.handle_snapshot_failed(now);
        } else {
            self.seen.insert("taken");
            disk.keep(Arc::clone(&snapshot));
            raft.handle_snapshot_taken(now, snapshot.meta.clone());
        }
        true
    }

    fn install(&mut self, at: usize) -> bool {
        let now = self.clock(at);
        let Node { raft: Some(_), store, .. } = &mut self.nodes[at] else { return false };
        let Some(meta) = store.installing.take() else { return false };
        let newest = self.nodes[at].disk.snapshot.as_ref().map(|snapshot| snapshot.meta.id);
        assert_eq!(newest, Some(meta.id), "another one took its place in the store meanwhile");
        self.replace_state(at, &Arc::clone(&self.snapshots[&meta.id]));
        if let Some(raft) = &mut self.nodes[at].raft {
            raft.handle_installed(now, meta.upto);
        }
        self.seen.insert("installed");
        true
    }

    /// The state machine's state is that of a snapshot: what all have executed, and never less than before.
    pub(crate) fn replace_state(&mut self, at: usize, snapshot: &Snapshot) {
        let node = &mut self.nodes[at];
        assert!(snapshot.state.len() > node.applied.len(), "the state goes back");
        for entry in &snapshot.state {
            let first = self.applied.entry(entry.id.index).or_insert_with(|| entry.clone());
            assert_eq!(first, entry, "State Machine Safety in a snapshot");
        }
        node.applied.clone_from(&snapshot.state);
    }

    /// What a message claims is on the disk.
    pub(crate) fn check_claim(&self, at: usize, message: &Message) {
        let Message::SnapshotReply(SnapshotReply { snapshot, received, installed }) = message else { return };
        let disk = &self.nodes[at].disk;
        let id = raft_core::backend::SnapshotId(*snapshot);
        if *installed {
            let upto = self.snapshots[&id].meta.upto;
            assert!(disk.has(upto) && disk.last().index >= upto.index, "{upto} is not installed");
        } else {
            let there = disk.part.as_ref().filter(|part| part.id == id).map_or(0, |part| part.data.len());
            assert!(*received <= there as u64, "{received} of {there} are there");
        }
    }
}
