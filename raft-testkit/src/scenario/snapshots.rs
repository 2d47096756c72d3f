//! Snapshots in stories: taken, sent piece by piece, received and installed, with a store that can be held.

use bytes::{BufMut, Bytes, BytesMut};
use raft_core::Raft;
use raft_core::backend::{SnapshotContent, SnapshotId, SnapshotMeta};
use raft_core::entry::Entry;
use raft_core::ids::{LogId, NodeId};
use raft_core::membership::Membership;
use raft_core::raft::{Piece, ReadChunk, TakeSnapshot, Unreadable};

use super::interpreter::{Done, World};
use super::words::Words;

/// A complete snapshot, with what it is of: everything that was executed.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) meta: SnapshotMeta,
    pub(super) state: Vec<Entry>,
    data: Bytes,
}

/// A half-received one.
#[derive(Clone, Debug)]
pub(super) struct Part {
    id: SnapshotId,
    pub(super) upto: LogId,
    membership: Membership,
    pub(super) data: BytesMut,
}

/// What a store is asked to do.
pub(super) enum Task {
    Take(Stored),
    Piece(Piece),
    Read(ReadChunk),
}

impl Stored {
    fn take(id: u128, take: TakeSnapshot, state: Vec<Entry>) -> Self {
        let mut data = BytesMut::new();
        for entry in &state {
            data.put_u64_le(entry.id.term.0);
            data.put_u64_le(entry.id.index.0);
        }
        let content = SnapshotContent { total_bytes: data.len() as u64, checksum: crc32c::crc32c(&data) };
        let meta = SnapshotMeta::new(SnapshotId(id), take.upto, take.membership, content);
        Self { meta, state, data: data.freeze() }
    }
}

impl World {
    /// `snapshot N`
    pub(super) fn snapshot(&mut self, words: &mut Words) -> Done {
        let (id, now) = (words.node()?, self.now);
        self.raft(id)?.take_snapshot(now);
        self.drain(id)
    }

    /// `store N hold|one|release|fail`
    pub(super) fn store(&mut self, words: &mut Words) -> Done {
        let id = words.node()?;
        match words.next("what")?.as_str() {
            "hold" => self.node(id)?.store_held = true,
            "one" => self.work(id, false)?,
            "fail" => self.work(id, true)?,
            "release" => self.node(id)?.store_held = false,
            other => return Err(format!("store: {other}?")),
        }
        self.drain(id)
    }

    /// Pulls what concerns snapshots, as a driver does before anything is executed. Whether there was any.
    pub(super) fn pull_snapshots(&mut self, id: NodeId) -> Result<bool, String> {
        let mut moved = false;
        let next = self.snapshots.len() as u128 + 1;
        let node = self.node(id)?;
        let Some(raft) = &mut node.raft else { return Ok(false) };
        let taken = raft.poll_snapshot().map(|take| Stored::take(next, take, node.applied.clone()));
        node.tasks.extend(taken.clone().map(Task::Take));
        node.tasks.extend(core::iter::from_fn(|| raft.poll_piece()).map(Task::Piece));
        node.tasks.extend(core::iter::from_fn(|| raft.poll_chunk()).map(Task::Read));
        self.snapshots.extend(taken.map(|taken| (taken.meta.id, taken)));
        while !self.node(id)?.store_held && !self.node(id)?.tasks.is_empty() {
            self.work(id, false)?;
            moved = true;
        }
        let node = self.node(id)?;
        if !node.machine_held
            && let Some(meta) = node.raft.as_mut().and_then(Raft::poll_install)
        {
            let newest = node.disk.snapshot.clone().filter(|snapshot| snapshot.meta == meta);
            let newest = newest.ok_or("what is to be installed is not in the store")?;
            self.install(id, &newest)?;
            let now = self.now;
            self.raft(id)?.handle_installed(now, meta.upto);
            moved = true;
        }
        Ok(moved)
    }

    /// The journal forgets, or begins anew, when it is free.
    pub(super) fn pull_floor(&mut self, id: NodeId) -> Result<bool, String> {
        let now = self.now;
        let node = self.node(id)?;
        let free = node.writing.is_none() && !node.disk_held;
        let Some(raft) = node.raft.as_mut().filter(|_| free) else { return Ok(false) };
        let line = if let Some(to) = raft.poll_reset() {
            node.disk.reset(to)?;
            raft.handle_reset(now, to);
            format!("{id} begins its log anew after {to}")
        } else if let Some(upto) = raft.poll_purge() {
            node.disk.purge(upto)?;
            raft.handle_purged(now, upto);
            format!("{id} purges through {upto}")
        } else {
            return Ok(false);
        };
        self.say(line);
        Ok(true)
    }

    /// The state machine's state becomes that of a snapshot: what all have executed, and never less than before.
    pub(super) fn install(&mut self, id: NodeId, snapshot: &Stored) -> Done {
        for entry in &snapshot.state {
            let first = self.applied.entry(entry.id.index).or_insert_with(|| entry.clone());
            if first != entry {
                return Err(format!(
                    "State Machine Safety: {} was applied, {} installed",
                    first.id, entry.id
                ));
            }
        }
        let node = self.node(id)?;
        if node.applied.len() >= snapshot.state.len() {
            return Err(format!("the state of node {id} goes back"));
        }
        node.applied.clone_from(&snapshot.state);
        self.say(format!("{id} installs snapshot #{} of {}", snapshot.meta.id.0, snapshot.meta.upto));
        Ok(())
    }

    /// The store does the next thing, or fails at it.
    fn work(&mut self, id: NodeId, fails: bool) -> Done {
        let task = self.node(id)?.tasks.pop_front().ok_or("the store has nothing to do")?;
        let line = match task {
            Task::Take(stored) => self.taken(id, stored, fails)?,
            Task::Piece(piece) => self.piece(id, piece, fails)?,
            Task::Read(chunk) => {
                let now = self.now;
                let node = self.node(id)?;
                let stored = node.disk.snapshot.as_ref().filter(|stored| stored.meta.id == chunk.snapshot);
                let start = usize::try_from(chunk.offset).unwrap_or(usize::MAX);
                let length = usize::try_from(chunk.max_bytes).unwrap_or(usize::MAX);
                let data = stored.map(|stored| {
                    let data = stored.data.slice(start.min(stored.data.len())..);
                    data.slice(..length.min(data.len()))
                });
                let raft = node.raft.as_mut().ok_or("it is down")?;
                match data {
                    _ if fails => raft.handle_chunk_failed(now, chunk.id, Unreadable::Failed),
                    None => raft.handle_chunk_failed(now, chunk.id, Unreadable::Gone),
                    Some(data) => raft.handle_chunk(now, chunk.id, data),
                }
                return Ok(());
            }
        };
        self.say(line);
        Ok(())
    }

    fn taken(&mut self, id: NodeId, stored: Stored, fails: bool) -> Result<String, String> {
        let (now, meta) = (self.now, stored.meta.clone());
        let what = format!("snapshot #{} of {}, {} bytes", meta.id.0, meta.upto, meta.content.total_bytes);
        if fails {
            self.raft(id)?.handle_snapshot_failed(now);
            return Ok(format!("{id} fails to take {what}"));
        }
        self.node(id)?.disk.keep(stored);
        self.raft(id)?.handle_snapshot_taken(now, meta);
        Ok(format!("{id} takes {what}"))
    }

    /// A piece of a snapshot that comes in.
    fn piece(&mut self, id: NodeId, piece: Piece, fails: bool) -> Result<String, String> {
        let now = self.now;
        let (name, original) = match &piece {
            Piece::Begin { id, .. } | Piece::Write { id, .. } | Piece::Finish { id, .. } => {
                (*id, self.snapshots.get(id))
            }
            Piece::Abandon { id: name } => return Ok(format!("{id} lets go of snapshot #{}", name.0)),
        };
        let original = original.cloned().ok_or("nobody took this snapshot")?;
        if fails {
            self.raft(id)?.handle_piece_failed(now, name);
            return Ok(format!("{id} fails to store snapshot #{}", name.0));
        }
        let node = self.node(id)?;
        let raft = node.raft.as_mut().ok_or("it is down")?;
        let part = &mut node.disk.part;
        match piece {
            Piece::Begin { upto, membership, .. } => {
                let same = |part: &Part| (part.id, part.upto, &part.membership) == (name, upto, &membership);
                let data = part.take().filter(same).map(|part| part.data).unwrap_or_default();
                let there = data.len() as u64;
                *part = Some(Part { id: name, upto, membership, data });
                raft.handle_piece_written(now, name, there);
                Ok(format!("{id} opens snapshot #{} of {upto}: {there} bytes are there", name.0))
            }
            Piece::Write { data, .. } => {
                let part = part.as_mut().filter(|part| part.id == name).ok_or("it was not begun")?;
                part.data.extend_from_slice(&data);
                let there = part.data.len() as u64;
                raft.handle_piece_written(now, name, there);
                Ok(format!("{id} stores {} bytes of snapshot #{}: {there} are there", data.len(), name.0))
            }
            Piece::Finish { content, .. } => {
                let part = part.take().filter(|part| part.id == name).ok_or("it was not begun")?;
                let meta = SnapshotMeta::new(name, part.upto, part.membership, content);
                if (&meta, &part.data[..]) != (&original.meta, &original.data[..]) {
                    return Err("pieces were mixed up".into());
                }
                node.disk.keep(original);
                raft.handle_snapshot_received(now, meta);
                Ok(format!("{id} has all of snapshot #{}", name.0))
            }
            _ => Err("an unknown piece".into()),
        }
    }
}
