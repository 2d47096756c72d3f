//! One node, its disk, its snapshots and its state machine, and what may happen to them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use raft_core::backend::{SnapshotContent, SnapshotMeta};
use raft_core::entry::{Entry, EntryKind, pack};
use raft_core::error::ConfigError;
use raft_core::ids::{ClusterId, Index, LogId, NodeId, ReadId, Term};
use raft_core::message::PeerEvent;
use raft_core::raft::{Fetch, Piece, ReadChunk, Restored, Unreadable, plan_start};
use raft_core::time::Time;
use raft_core::{Config, Raft};

use crate::disk::{Disk, Job};
use crate::fuzz::Input;
use crate::messages::peer;
use crate::{ME, voters};

/// What the snapshot store and an installing state machine are at.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) taking: Option<SnapshotMeta>,
    pub(crate) pieces: VecDeque<Piece>,
    /// The one that comes in, and how many bytes of it are there.
    pub(crate) part: Option<(SnapshotMeta, u64)>,
    pub(crate) reads: VecDeque<ReadChunk>,
    pub(crate) installing: Option<SnapshotMeta>,
    pub(crate) last: u128,
}

pub(crate) struct World {
    pub(crate) raft: Raft,
    pub(crate) config: Config,
    pub(crate) disk: Disk,
    pub(crate) jobs: VecDeque<Job>,
    pub(crate) store: Store,
    pub(crate) fetches: VecDeque<Fetch>,
    pub(crate) applied: Index,
    pub(crate) applying: Option<Index>,
    /// What it has called committed, by index.
    pub(crate) commit: BTreeMap<Index, LogId>,
    /// Since it came up.
    pub(crate) commit_index: Index,
    pub(crate) term: Term,
    pub(crate) last: u64,
    pub(crate) now: Time,
    pub(crate) reads: u64,
    /// The journal has failed: the log in memory is not the one of disk and writes any more.
    pub(crate) failed: bool,
    pub(crate) halted: bool,
}

impl World {
    pub(crate) fn new(size: u64, flavour: u8) -> Self {
        let mut disk = Disk::default();
        if size > 0 {
            let (id, data) = (LogId::new(0, 1), voters(size).encode());
            disk.entries.push(Entry { id, kind: EntryKind::Membership, data });
        }
        disk.hard.probation = flavour & 1 == 1;
        let mut config = Config::new(ME, ClusterId(7));
        config.seed = u64::from(flavour);
        config.tail_limit_bytes = if flavour & 2 == 2 { 200 } else { 1 << 20 };
        config.tail_keep_bytes = if flavour & 8 == 8 { 100 } else { 1 << 20 };
        config.append_limit_bytes = 300;
        config.window_messages = 3;
        config.write_limit_bytes = if flavour & 4 == 4 { 100 } else { 1 << 20 };
        config.snapshot_every_entries = [0, 1, 3, 5][usize::from(flavour >> 4 & 3)];
        config.snapshot_keep_entries = u64::from(flavour >> 6);
        (config.snapshot_chunk_bytes, config.snapshot_window_bytes) = (4, 8);
        let restored = Restored { journal: disk.state(), snapshot: None, applied: LogId::ZERO };
        let raft = Raft::new(config.clone(), restored, Time::ZERO).unwrap();
        let mut world = Self {
            raft,
            config,
            disk,
            jobs: VecDeque::new(),
            store: Store::default(),
            fetches: VecDeque::new(),
            applied: Index::ZERO,
            applying: None,
            commit: BTreeMap::new(),
            commit_index: Index::ZERO,
            term: Term::ZERO,
            last: 0,
            now: Time::ZERO,
            reads: 0,
            failed: false,
            halted: false,
        };
        world.drain();
        world
    }

    pub(crate) fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 27 {
            0..=8 => {
                let envelope = self.envelope(input);
                self.raft.handle_message(self.now, envelope);
            }
            9 => {
                self.now = self.now + Duration::from_millis(u64::from(input.byte()) * 8);
                self.raft.handle_timeout(self.now);
            }
            10 => {
                if let Some(at) = self.raft.next_timeout() {
                    self.now = self.now.max(at);
                    self.raft.handle_timeout(self.now);
                }
            }
            11..=13 => {
                let count = 1 + input.below(4);
                (0..count).for_each(|_| self.written());
            }
            14 => {
                let commands = pack(&[Bytes::copy_from_slice(input.bytes(2))]);
                let _ = self.raft.propose(self.now, commands);
            }
            15 => {
                self.reads += 1;
                let _ = self.raft.read(self.now, ReadId(self.reads));
            }
            16 => {
                let to = input.byte() % 8;
                let _ = self.raft.transfer_leadership(self.now, (to > 0).then_some(NodeId(to.into())));
            }
            17 => self.raft.campaign(self.now),
            18 => {
                let event = [PeerEvent::Up, PeerEvent::Down, PeerEvent::Gone][input.below(3)];
                self.raft.handle_peer(self.now, peer(input), event);
            }
            19 => self.fetch(input.byte()),
            20 | 21 => {
                if let Some(through) = self.applying.take() {
                    self.raft.handle_applied(self.now, through);
                }
            }
            22 => self.restart(),
            23 => self.store(input.byte()),
            24 => (0..8).for_each(|at| self.store(at)),
            25 => self.raft.take_snapshot(self.now),
            _ => {
                if input.byte() == 0 {
                    self.jobs.clear();
                    self.failed = true;
                    self.raft.handle_write_failed(self.now);
                }
            }
        }
        self.drain();
    }

    fn written(&mut self) {
        if let Some(job) = self.jobs.pop_front() {
            self.disk.apply(&job);
            match job {
                Job::Write(write) => self.raft.handle_written(self.now, write.ticket),
                Job::Purge(upto) => self.raft.handle_purged(self.now, upto),
                Job::Reset(to) => self.raft.handle_reset(self.now, to),
            }
            self.drain();
        }
    }

    /// The snapshot store, or the state machine that installs, does what it is at; or fails.
    fn store(&mut self, how: u8) {
        let (now, fails) = (self.now, how >= 0xe0);
        match how % 4 {
            0 => match self.store.pieces.pop_front() {
                Some(Piece::Begin { id, .. } | Piece::Write { id, .. } | Piece::Finish { id, .. })
                    if fails =>
                {
                    self.raft.handle_piece_failed(now, id);
                }
                Some(piece) => self.piece(piece),
                None => {}
            },
            1 => {
                if let Some(ReadChunk { id, max_bytes, .. }) = self.store.reads.pop_front() {
                    match how >> 2 & 7 {
                        0 => self.raft.handle_chunk_failed(now, id, Unreadable::Gone),
                        1 => self.raft.handle_chunk_failed(now, id, Unreadable::Damaged),
                        2 => self.raft.handle_chunk_failed(now, id, Unreadable::Failed),
                        _ => self.raft.handle_chunk(now, id, Bytes::from(vec![how; max_bytes as usize])),
                    }
                }
            }
            2 => {
                if let Some(taken) = self.store.taking.take() {
                    if fails {
                        self.raft.handle_snapshot_failed(now);
                    } else {
                        self.disk.keep(taken.clone());
                        self.raft.handle_snapshot_taken(now, taken);
                    }
                }
            }
            _ => {
                if let Some(snapshot) = self.store.installing.take() {
                    assert_eq!(self.disk.covered(), snapshot.upto.index, "another one took its place");
                    assert!(snapshot.upto.index > self.applied, "the state goes back");
                    self.applied = snapshot.upto.index;
                    self.raft.handle_installed(now, snapshot.upto);
                }
            }
        }
        self.drain();
    }

    fn piece(&mut self, piece: Piece) {
        match piece {
            Piece::Abandon { .. } => {}
            Piece::Begin { id, upto, membership } => {
                let content = SnapshotContent::default();
                self.store.part = Some((SnapshotMeta::new(id, upto, membership, content), 0));
                self.raft.handle_piece_written(self.now, id, 0);
            }
            Piece::Write { id, data } => {
                let (meta, received) = self.store.part.as_mut().expect("begun before");
                assert_eq!(meta.id, id, "a piece of another one");
                *received += data.len() as u64;
                self.raft.handle_piece_written(self.now, id, *received);
            }
            Piece::Finish { id, content } => {
                let (mut meta, received) = self.store.part.take().expect("begun before");
                assert_eq!((meta.id, received), (id, content.total_bytes), "not the whole of it");
                meta.content = content;
                self.disk.keep(meta.clone());
                self.raft.handle_snapshot_received(self.now, meta);
            }
        }
    }

    /// The journal answers a request, with all it asks for or less.
    fn fetch(&mut self, most: u8) {
        let Some(fetch) = self.fetches.pop_front() else { return };
        let range = fetch.range.start.0..fetch.range.end.0.min(fetch.range.start.0 + 1 + u64::from(most % 4));
        let entries: Option<Vec<Entry>> = range.map(|index| self.disk.at(Index(index)).cloned()).collect();
        // What nobody wants any more may be gone.
        let wanted = self.raft.wants_fetch(fetch.id);
        assert!(entries.is_some() || !wanted, "what is asked for is durable, and was not purged");
        self.raft.handle_fetched(self.now, fetch.id, entries.unwrap_or_default());
    }

    /// The process ends and comes up again: what was not durable is gone.
    fn restart(&mut self) {
        self.jobs.clear();
        self.fetches.clear();
        self.store = Store { last: self.store.last, ..Store::default() };
        self.applied = Index::ZERO;
        self.applying = None;
        self.commit_index = Index::ZERO;
        self.failed = false;
        let (snapshot, mut applied) = (self.disk.snapshot.clone(), LogId::ZERO);
        let plan = match plan_start(&self.disk.state(), snapshot.as_ref(), applied) {
            Ok(plan) => plan,
            // Somebody has lied about what is committed.
            Err(ConfigError::SnapshotContradicts { .. }) => {
                self.halted = true;
                return;
            }
            Err(error) => panic!("what it wrote is sound: {error}"),
        };
        if let Some(to) = plan.reset {
            self.disk.apply(&Job::Reset(to));
        }
        if plan.install {
            applied = snapshot.as_ref().expect("there is one").upto;
            self.applied = applied.index;
        }
        let restored = Restored { journal: self.disk.state(), snapshot, applied };
        self.raft = Raft::new(self.config.clone(), restored, self.now).expect("what it wrote is sound");
        // What it has called committed stays, over restarts as far as that was durable.
        let commit = self.raft.status(self.now).commit_index;
        self.commit.retain(|index, _| *index <= commit);
    }
}
