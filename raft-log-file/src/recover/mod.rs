//! Reads a journal and judges what it finds. Changes nothing.

mod evidence;
mod pairs;
mod walk;
mod window;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use raft_core::backend::{Corruption, HardState, OpenError, Verdict};
use raft_core::entry::Entry;
use raft_core::ids::{Index, KnownPeer, Term};
use raft_core::slots::{decode_hard_state, decode_peers};

use crate::cases::{Case, Policy};
use crate::error::{Context, damage};
use crate::hard_state::{PairState, Start, Super};
use crate::index::{Change, Log};
use crate::layout::{
    BLOCK, HARD_STATE, HARD_STATE_LAYOUT, PEERS, PEERS_LAYOUT, is_temporary, segment_name, segment_seq,
};
use crate::record::{Header, Seed};
use crate::segment::{FoundHeader, decode_header};
use crate::vfs::{self, Vfs, VfsFile};

pub(crate) use pairs::read_super;
use pairs::{check_version, read_pair};
use walk::Walk;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Which row of the recovery table it is.
    pub case: Case,
    /// Where and what.
    pub damage: Corruption,
}

/// A batch that nothing proves durable yet.
pub(crate) struct Pending {
    pub(crate) header: Header,
    pub(crate) seq: u64,
    pub(crate) seed: Seed,
    pub(crate) file: Arc<dyn VfsFile>,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    chain: u64,
    terms: Vec<Term>,
    memberships: Vec<Entry>,
}

/// A position between two batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The segment.
    pub(crate) seq: u64,
    /// The offset in it.
    pub(crate) offset: u64,
    /// The number of the next batch.
    pub(crate) batch: u64,
    /// The chain value before it.
    pub(crate) chain: u64,
}

/// All that reading has found.
pub(crate) struct Scan {
    pub(crate) superblock: Super,
    pub(crate) super_pair: PairState,
    pub(crate) hard_state: HardState,
    pub(crate) hard_state_pair: PairState,
    pub(crate) peers: Vec<KnownPeer>,
    pub(crate) peers_pair: PairState,
    /// The log up to `cut`.
    pub(crate) log: Log,
    /// After everything that is proved durable.
    pub(crate) cut: Cut,
    /// The sound batches after `cut`.
    pub(crate) pending: Vec<Pending>,
    /// The segments up to `cut`, with what each starts with.
    pub(crate) live: Vec<Start>,
    /// All segments that were walked.
    pub(crate) walked: Vec<u64>,
    /// How the walk ended.
    pub(crate) end: Finding,
    /// For the verdict: the first index that was left out or is in doubt.
    pub(crate) doubt: Index,
    /// Lesser damage.
    pub(crate) findings: Vec<Finding>,
    /// An empty segment that nothing names: its number and size.
    pub(crate) spare: Option<(u64, u64)>,
    /// Names that hold nothing: unfinished files, segments before the start or never used.
    pub(crate) rubbish: Vec<String>,
    /// The highest number that any segment has.
    pub(crate) max_seq: u64,
    /// The highest commit hint.
    pub(crate) commit_hint: Index,
}

/// Segments by their numbers.
type Segments = BTreeMap<u64, SegmentFile>;

struct SegmentFile {
    file: Arc<dyn VfsFile>,
    found: FoundHeader,
    length: u64,
}

impl Scan {
    /// Reads everything.
    ///
    /// # Errors
    /// [`OpenError`] for what must be refused whatever the log is like.
    pub(crate) fn read(vfs: &dyn Vfs) -> Result<Self, OpenError> {
        let names = match vfs.list() {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(OpenError::NotInitialised),
            Err(error) => return Err(error).during(|| "list the folder".into()),
        };
        let mut findings = Vec::new();
        let (superblock, super_pair) = read_super(vfs, &names, &mut findings)?;
        let store = superblock.identity.store;

        let hard_state_pair = read_pair(vfs, HARD_STATE_LAYOUT, HARD_STATE, false, &mut findings)?;
        let hard_state = hard_state_pair.newest().and_then(|record| decode_hard_state(store, &record.body));
        let lost = |name, what| OpenError::Corrupt(damage(name, 0, what));
        let hard_state = hard_state.ok_or_else(|| lost(HARD_STATE[0], "the hard state of another store"))?;
        let peers_pair = read_pair(vfs, PEERS_LAYOUT, PEERS, true, &mut findings)?;
        let peers = peers_pair.newest().and_then(|record| decode_peers(store, &record.body));
        let peers = peers.ok_or_else(|| lost(PEERS[0], "the peers of another store"))?;

        let segments = read_headers(vfs, &names, &superblock)?;
        let mut walk = Walk::new(&superblock, &segments, findings);
        let end = walk.run()?;
        let hard_generation = hard_state_pair.newest().map_or(0, |record| record.generation);
        if walk.hard_state > hard_generation {
            return Err(lost(HARD_STATE[0], "it is older than the log: a vote may be lost"));
        }
        let mut rubbish: Vec<String> = names.iter().filter(|name| is_temporary(name)).cloned().collect();
        let spare = walk.sort_out(&mut rubbish)?;
        let doubt = walk.doubt;
        let Walk { log, cut, pending, live, walked, findings, commit_hint, .. } = walk;
        Ok(Self {
            superblock,
            super_pair,
            hard_state,
            hard_state_pair,
            peers,
            peers_pair,
            log,
            cut,
            pending,
            live,
            walked,
            end,
            doubt,
            findings,
            spare,
            rubbish,
            max_seq: segments.keys().next_back().copied().unwrap_or(0).max(superblock.start.seq),
            commit_hint,
        })
    }

    /// What opening says of it.
    pub(crate) fn verdict(&self) -> Verdict {
        match (self.end.case, self.end.case.row().policy) {
            (Case::Suspect, _) => Verdict::SuspectTail { from: self.doubt },
            (_, Policy::Discard) => Verdict::TornTail { discarded_from: self.doubt },
            (_, Policy::Quarantine) => Verdict::Corrupt(self.end.damage.clone()),
            _ => Verdict::Clean,
        }
    }

    /// Applies the pending batches where they are, for a reader that changes nothing.
    pub(crate) fn apply_pending(&mut self) {
        for pending in self.pending.drain(..) {
            pending.apply(&mut self.log);
        }
    }
}
fn read_headers(vfs: &dyn Vfs, names: &[String], superblock: &Super) -> Result<Segments, OpenError> {
    let mut segments = Segments::new();
    for seq in names.iter().filter_map(|name| segment_seq(name)) {
        let read = || -> io::Result<SegmentFile> {
            let file = vfs.open(&segment_name(seq))?;
            let length = file.len()?;
            let mut block = [0; BLOCK];
            let filled = vfs::read_full_at(&*file, &mut block, 0)?;
            let found =
                decode_header(superblock.identity.store, seq, block.get(..filled).unwrap_or_default());
            Ok(SegmentFile { file, found, length })
        };
        let segment = read().during(|| format!("read {}", segment_name(seq)))?;
        check_version(segment.found.version)?;
        segments.insert(seq, segment);
    }
    Ok(segments)
}

impl Pending {
    /// Does to the log what it says. The walk has checked that it fits.
    fn apply(&self, log: &mut Log) {
        let segment = (self.seq, self.seed, &self.file);
        let change = Change { header: &self.header, segment, offset: self.offset, bytes: self.bytes };
        log.apply(&change, self.terms.iter().copied(), self.memberships.iter().cloned());
    }

    /// Its membership entries.
    pub(crate) fn memberships(&self) -> &[Entry] {
        &self.memberships
    }
}
