//! What a workload does, one step after the other, without saying at which index: that is decided when
//! it runs, by what the journal holds by then.

use bytes::Bytes;
use raft_core::backend::{HardState, JournalWrite, Vote};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Index, LogId, NodeId, Term};
use raft_log_file::{Durability, Options};

use crate::support::{Fault, Mode, Model, data, peer, voters};

/// A journal and what is done to it.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) name: String,
    /// How many voters its first membership has; 0 for limbo.
    pub(crate) voters: u64,
    pub(crate) options: Options,
    /// Crash its creation as well.
    pub(crate) creation: bool,
    pub(crate) steps: Vec<Step>,
}

/// One thing that a user of the journal, or fate, does.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Write(Write),
    /// Purge all but so many entries.
    Purge(u64),
    /// Reset to an index so far from the last one.
    Reset(i64),
    Mark,
    Sync,
    Spare,
    Close,
    Reopen,
    /// Reopen with another size of segments.
    Resize(u64),
    /// A call fails during the step; what a failed sync keeps is decided by the number, 0 for nothing.
    Fail(Fault, u64, Box<Self>),
    /// The machine goes down somewhere during the step.
    Crash(Mode, Box<Self>),
    /// A byte of the log changes while nobody looks; before that the end is marked, or not.
    Rot(bool),
}

/// What payloads are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fill {
    /// No byte is zero.
    #[default]
    Dense,
    /// All bytes are zero.
    Zero,
    /// Half a sector, then zeros for two.
    Mixed,
    /// One byte in a thousand is not zero.
    Sparse,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Write {
    /// How many of the last entries are cut first.
    pub(crate) back: u64,
    pub(crate) count: u64,
    pub(crate) size: usize,
    pub(crate) fill: Fill,
    pub(crate) vote: bool,
    pub(crate) peers: usize,
    pub(crate) probation: Option<bool>,
    pub(crate) members: bool,
    pub(crate) commit: bool,
}

impl Write {
    /// With a new vote, in a new term.
    pub(crate) fn vote(self) -> Self {
        Self { vote: true, ..self }
    }

    /// With so many known peers.
    pub(crate) fn peers(self, peers: usize) -> Self {
        Self { peers, ..self }
    }

    pub(crate) fn probation(self, probation: bool) -> Self {
        Self { probation: Some(probation), ..self }
    }

    /// The first entry is a membership.
    pub(crate) fn members(self) -> Self {
        Self { members: true, ..self }
    }

    pub(crate) fn commit(self) -> Self {
        Self { commit: true, ..self }
    }

    pub(crate) fn fill(self, fill: Fill) -> Self {
        Self { fill, ..self }
    }

    /// As a step.
    pub(crate) fn step(self) -> Step {
        Step::Write(self)
    }

    /// As the journal takes it.
    pub(crate) fn resolve(&self, model: &Model, term: &mut u64) -> JournalWrite {
        let mut write = JournalWrite::default();
        let cut = self.back.min(model.entries.len() as u64);
        *term += u64::from(self.vote || self.back > 0);
        let first = model.last().index.0 + 1 - cut;
        if self.back > 0 {
            write.truncate_from = Some(Index(first));
        }
        let mut entries = Vec::new();
        for index in first..first + self.count {
            let mut entry = Entry {
                id: LogId::new(*term, index),
                kind: EntryKind::Commands,
                data: payload(self.fill, index + 7 * *term, self.size),
            };
            if self.members && index == first {
                entry.kind = EntryKind::Membership;
                entry.data = voters(3 + index % 3).encode();
            }
            entries.push(entry);
        }
        write.entries = entries.into();
        let mut state = model.hard_state;
        if self.vote {
            state = HardState { term: Term(*term), vote: Vote::For(NodeId(1 + *term % 5)), ..state };
        }
        state.probation = self.probation.unwrap_or(state.probation);
        write.hard_state = (self.vote || self.probation.is_some()).then_some(state);
        write.known_peers =
            (self.peers > 0).then(|| (1..=self.peers as u64).map(|n| peer(n + *term)).collect());
        if self.commit {
            write.commit_hint = model.last().index;
        }
        write
    }
}

fn payload(fill: Fill, seed: u64, size: usize) -> Bytes {
    let dense = data(seed, size);
    let every = |keep: fn(usize) -> bool| {
        dense.iter().enumerate().map(|(n, byte)| if keep(n) { *byte } else { 0 }).collect::<Vec<_>>().into()
    };
    match fill {
        Fill::Dense => dense,
        Fill::Zero => every(|_| false),
        Fill::Mixed => every(|n| n % 1280 < 256),
        Fill::Sparse => every(|n| n % 1000 == 999),
    }
}

/// Entries at the end.
pub(crate) fn append(count: u64, size: usize) -> Write {
    Write { count, size, ..Write::default() }
}

/// Entries in place of the last ones.
pub(crate) fn cut(back: u64, count: u64, size: usize) -> Write {
    Write { back, count, size, ..Write::default() }
}

/// No entries.
pub(crate) fn meta() -> Write {
    Write::default()
}

pub(crate) fn fail(fault: Fault, step: Step) -> Step {
    Step::Fail(fault, 0, Box::new(step))
}

/// A failed sync, some of whose sectors reach the disk.
pub(crate) fn fail_sync(keep: u64, step: Step) -> Step {
    Step::Fail(Fault::NextSync, keep, Box::new(step))
}

pub(crate) fn crash(step: Step) -> Step {
    Step::Crash(Mode::Atomic, Box::new(step))
}

pub(crate) fn crash_garbage(step: Step) -> Step {
    Step::Crash(Mode::Garbage, Box::new(step))
}

/// Small segments: two batches of a block, and a seal.
pub(crate) fn options() -> Options {
    Options::default().segment_bytes(4 * 4096)
}

pub(crate) fn blocks(count: u64) -> Options {
    Options::default().segment_bytes(count * 4096).reserve_from_bytes(0)
}

pub(crate) fn weak() -> Options {
    blocks(16).durability(Durability::Never)
}
