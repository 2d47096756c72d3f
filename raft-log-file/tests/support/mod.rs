//! A disk in memory that can fail and be crashed, a model of the journal, and short ways to say things.
#![allow(dead_code, unreachable_pub, missing_docs, unused_imports, reason = "each test uses its part")]

mod crash;
mod disk;
mod model;
pub mod noted;
pub mod small;

use std::sync::Arc;

use bytes::Bytes;
use raft_core::backend::{HardState, JournalWrite, OpenError, Vote};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Incarnation, KnownPeer, LogId, NodeId, StoreId, Term};
use raft_core::membership::{Member, Membership};
use raft_log_file::{Options, Owner, Store};

pub use crash::{CrashPoint, MODES, Mode, Plan};
pub use disk::{Content, Fault, Image, MemVfs, Op, Unsynced};
pub use model::Model;

pub const OWNER: Owner = Owner { cluster: ClusterId(7), group: GroupId(0), node: NodeId(1) };
pub const SECTOR: usize = 512;

/// Repeatable random numbers (splitmix64).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// One time in so many.
    pub fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// The smallest segments, so that a few writes fill one.
pub fn options() -> Options {
    Options::default().segment_bytes(4 * 4096)
}

pub fn voters(count: u64) -> Membership {
    Membership::of_voters((1..=count).map(|id| Member::new(NodeId(id), format!("host:{id}")))).unwrap()
}

pub fn create(vfs: &MemVfs, initial: Option<&Membership>, options: Options) -> Result<Store, OpenError> {
    Store::create(Arc::new(vfs.clone()), OWNER, initial, options, 0x1234_5678)
}

pub fn open(vfs: &MemVfs, options: Options) -> Result<Store, OpenError> {
    // The seed differs from opening to opening, as it does in life.
    open_seeded(vfs, options, vfs.op_count() as u64 + 1)
}

pub fn open_seeded(vfs: &MemVfs, options: Options, seed: u64) -> Result<Store, OpenError> {
    Store::open(Arc::new(vfs.clone()), OWNER, options, u128::from(seed) * 0x9e37_79b9_7f4a_7c15)
}

pub fn entry(term: u64, index: u64, data: impl Into<Bytes>) -> Entry {
    Entry { id: LogId::new(term, index), kind: EntryKind::Commands, data: data.into() }
}

/// Data without a zero byte, so that no sector of it looks missing.
pub fn data(seed: u64, length: usize) -> Bytes {
    (0..length as u64).map(|n| ((seed * 31 + n * 7) % 251) as u8 + 1).collect::<Vec<_>>().into()
}

pub fn append(entries: Vec<Entry>) -> JournalWrite {
    let mut write = JournalWrite::default();
    write.entries = entries.into();
    write
}

pub fn vote(term: u64, node: u64) -> HardState {
    HardState { term: Term(term), vote: Vote::For(NodeId(node)), probation: false, ..HardState::default() }
}

pub fn peer(node: u64) -> KnownPeer {
    let incarnation = Incarnation { number: node, nonce: node * 3 };
    let admitted = if matches!(node, 3 | 5 | 7) { LogId::new(node, node * 9) } else { LogId::ZERO };
    KnownPeer { node: NodeId(node), store: StoreId(node.into()), incarnation, admitted }
}
