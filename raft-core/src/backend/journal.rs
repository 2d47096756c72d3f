//! The durable log and hard state of one node.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::entries::Entries;
use crate::entry::Entry;
use crate::ids::{ClusterId, GroupId, Identity, Index, KnownPeer, LogId, NodeId, Term, WriteTicket};

/// Whom a node has voted for in its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Vote {
    /// Nobody yet.
    #[default]
    None,
    /// This candidate.
    For(NodeId),
    /// Nobody, and it will not any more: it has learned of the leader of this term (QuarkDB's blocked
    /// vote, design §4).
    Blocked,
}

/// What must survive everything else (§5.1, Figure 2: persistent state), apart from the log (J17).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HardState {
    /// The latest term this node has seen.
    pub term: Term,
    /// Its vote in that term.
    pub vote: Vote,
    /// The log lost entries that may have been acknowledged: no votes, no campaigns, until it matches a
    /// leader again (M10).
    pub probation: bool,
    /// The longest that this node may have promised a leader to vote for nobody else, since it last was free of all
    /// promises; zero if it never made any. When it comes up it is bound for so long, whatever its settings are by
    /// then (dissertation §6.4.1; M5).
    pub promised: Duration,
}

/// One unit of durability: all of it, or a prefix of its entries (J2).
///
/// Applied in the order of the fields: hard state and known peers, then the truncation, then the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalWrite {
    /// Its number; for reports only.
    pub ticket: WriteTicket,
    /// The new hard state, if it changed.
    pub hard_state: Option<HardState>,
    /// All peers ever met, if that changed (J12).
    pub known_peers: Option<Vec<KnownPeer>>,
    /// Forget everything at and above this index first (J3).
    pub truncate_from: Option<Index>,
    /// Append these; consecutive, the first directly after what is left.
    pub entries: Entries,
    /// A commit index known at this time: a journal may store it as a witness of what was committed. It
    /// may be behind; it is never ahead.
    pub commit_hint: Index,
    /// As far as the node knows, nobody comes to it before this is durable, or few, except for what has to wait for this anyway:
    /// neither proposals nor reads that ask a leader. A journal may then keep its caller's thread for as long as a sync takes. A hint: to go by it or not changes nothing
    /// that a journal promises.
    pub alone: bool,
}

/// What opening a journal has found (J10).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// All is well.
    Clean,
    /// The last write was never acknowledged and is incomplete; it was left out.
    TornTail {
        /// The first index that was left out.
        discarded_from: Index,
    },
    /// Damage at the end that tearing does not explain: acknowledged entries may be missing from here.
    SuspectTail {
        /// The first index in doubt.
        from: Index,
    },
    /// Damage where acknowledged entries are.
    Corrupt(Corruption),
}

/// Damage, by place and kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} in {place} at byte {offset}{}", range.as_ref().map_or_else(String::new, |r| alloc::format!(", entries {}..{}", r.start, r.end)))]
pub struct Corruption {
    /// The entries concerned, half-open, if that can be told.
    pub range: Option<Range<Index>>,
    /// The file or table.
    pub place: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub reason: String,
}

/// All that a node needs to know of its journal to start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalState {
    /// Whose journal it is, with this opening's incarnation.
    pub identity: Identity,
    /// What opening found.
    pub verdict: Verdict,
    /// The hard state.
    pub hard_state: HardState,
    /// All peers ever met.
    pub known_peers: Vec<KnownPeer>,
    /// The last entry that was purged; zero if none. The log begins after it.
    pub purged: LogId,
    /// The last entry; equal to `purged` if there is none.
    pub last: LogId,
    /// For each run of entries of one term: its first index and the term, in order.
    pub terms: Vec<(Index, Term)>,
    /// Every membership entry in the log, in order.
    pub memberships: Vec<Entry>,
    /// The highest commit hint found.
    pub commit_hint: Index,
}

impl JournalState {
    /// The state of an empty, clean journal.
    #[must_use]
    pub const fn empty(identity: Identity) -> Self {
        Self {
            identity,
            verdict: Verdict::Clean,
            hard_state: HardState {
                term: Term::ZERO,
                vote: Vote::None,
                probation: false,
                promised: Duration::ZERO,
            },
            known_peers: Vec::new(),
            purged: LogId::ZERO,
            last: LogId::ZERO,
            terms: Vec::new(),
            memberships: Vec::new(),
            commit_hint: Index::ZERO,
        }
    }

    /// The state of the same journal after [`Journal::reset`].
    #[must_use]
    pub fn after_reset(self, to: LogId) -> Self {
        Self { purged: to, last: to, terms: Vec::new(), memberships: Vec::new(), ..self }
    }
}

/// Why a journal did not do what it was asked. Nothing of a refused or failed write was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// An earlier write failed; this object does nothing any more. Reopen (J8).
    #[error("the journal stopped after an earlier failure: {cause}")]
    Poisoned {
        /// That failure.
        cause: Arc<str>,
    },
    /// No space is left. Nothing of the truncation and the entries is there, what was acknowledged stays and can
    /// be read. The same write may be tried again; if that is `Poisoned`, reopen when there is space (J9).
    #[error("no space is left for {needed} bytes")]
    NoSpace {
        /// What the write needed, in bytes.
        needed: u64,
    },
    /// The write would leave a hole or overwrite without truncating. Nothing changed (J4).
    #[error("expected an entry at {expected}, got {got}")]
    Gap {
        /// The index that fits.
        expected: Index,
        /// The one that came.
        got: Index,
    },
    /// The entries were purged (J6).
    #[error("entries up to {purged} were purged")]
    Compacted {
        /// The last purged entry.
        purged: LogId,
    },
    /// The range reaches beyond the end of the log.
    #[error("entries up to {last} exist")]
    OutOfRange {
        /// The last index.
        last: Index,
    },
    /// A purge or reset that the log does not allow. Nothing changed.
    #[error("refused: {what}")]
    Refused {
        /// Why.
        what: String,
    },
    /// Stored bytes are not what was written (J16).
    #[error("damaged: {0}")]
    Corrupt(Corruption),
    /// The operating system failed.
    #[error("{what}: {cause}")]
    Io {
        /// What was attempted, on what.
        what: String,
        /// What it said.
        cause: Arc<str>,
    },
}

/// What does not fit when a journal is opened (J12).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// It belongs to another cluster.
    #[error("it belongs to cluster {found}, not {expected}")]
    Cluster {
        /// Whose it is.
        found: ClusterId,
        /// Whose it should be.
        expected: ClusterId,
    },
    /// It belongs to another node.
    #[error("it belongs to node {found}, not {expected}")]
    Node {
        /// Whose it is.
        found: NodeId,
        /// Whose it should be.
        expected: NodeId,
    },
    /// It belongs to another group.
    #[error("it belongs to group {found}, not {expected}")]
    Group {
        /// Whose it is.
        found: GroupId,
        /// Whose it should be.
        expected: GroupId,
    },
}

/// Why a journal was not opened or created. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no journal here, and opening never creates one.
    #[error("no journal is here: create one first")]
    NotInitialised,
    /// There is a journal here, and creating never overwrites one.
    #[error("a journal is here already")]
    AlreadyExists,
    /// Another process or object has it open (J11).
    #[error("it is open elsewhere{}", by.map_or_else(String::new, |pid| alloc::format!(", by process {pid}")))]
    Locked {
        /// The process, if known.
        by: Option<u32>,
    },
    /// It is another node's.
    #[error("{0}")]
    Foreign(#[from] Mismatch),
    /// It has a format that this version does not know.
    #[error("its format is version {found}, this program knows up to {known}")]
    Version {
        /// What it has.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// It was closed for good: its node was moved elsewhere, or it is a copy that is not complete. Of two
    /// copies of a node at most one may ever be opened (J12).
    #[error("it must not be opened: {why}")]
    Closed {
        /// What was said when it was closed.
        why: String,
    },
    /// Damage that leaves the hard state or the identity in doubt: this identity must not go on.
    #[error("damaged beyond use: {0}")]
    Corrupt(Corruption),
    /// The operating system failed.
    #[error("{what}: {cause}")]
    Io {
        /// What was attempted, on what.
        what: String,
        /// What it said.
        cause: Arc<str>,
    },
}

/// The durable log and hard state of one node.
///
/// `&mut self` makes one writer by type. Creating and opening are the backend's own constructors.
/// The clauses hold with full durability; a backend that offers less says so in plain words.
///
/// * **J1** A write that returned `Ok` survives a crash of the process and of the machine.
/// * **J2** A write is atomic: after a crash all of it is there, or a prefix of its entries in order;
///   never a hole, never entries without the truncation that came with them. Hard state is made durable
///   first, and nothing of a later write before the earlier one is complete.
/// * **J3** After `truncate_from(i)` nothing at or above `i` is ever seen again, also after a restart.
/// * **J4** Gaps and overwrites without truncation are refused with [`JournalError::Gap`] and change
///   nothing.
/// * **J5** Readers see what is written from the moment the write returned, and never wait for an fsync.
/// * **J6** `purge` keeps every entry above; the purged log id survives a restart; reading below is
///   [`JournalError::Compacted`].
/// * **J7** `reset` makes the log empty after that id, atomically. Below the purged log id it is
///   [`JournalError::Refused`]: the log never goes back.
/// * **J8** An fsync error poisons: this and every later write fails with
///   [`JournalError::Poisoned`] (the first one may name its cause); nothing is retried on the same file;
///   a reopened journal holds at least what was acknowledged.
/// * **J9** Out of space is [`JournalError::NoSpace`]; nothing of the write's truncation and entries is there, the
///   journal stays readable, and what was acknowledged stays. What is written next either is done, or is
///   `NoSpace` again, or is [`JournalError::Poisoned`]: then writing works again after space returns and the
///   journal is reopened.
/// * **J10** Opening gives a typed [`Verdict`]; what may have been acknowledged is never cut silently, and the
///   damaged bytes are kept as evidence. With [`Verdict::SuspectTail`] or [`Verdict::Corrupt`] and more than one
///   voter, or voters that are not known any more, [`HardState::probation`] is durable before anything is cut
///   (M10). A single voter, who has nobody to fetch from, is refused with [`OpenError::Corrupt`] and nothing is
///   changed, unless whoever opens accepts the loss.
/// * **J11** Of two openers the second gets [`OpenError::Locked`].
/// * **J12** A journal of another cluster, node, group or format version is refused by name; opening
///   never creates, creating never overwrites; each store has a random id and an incarnation, whose
///   number is raised and whose nonce is drawn anew at every open, synced before it is done.
/// * **J13** Dropping the future of a write loses or duplicates nothing: the write happens as a whole or
///   not at all. The journal may then be used again.
/// * **J14** Reading honours `max_bytes` but always returns at least one entry.
/// * **J15** Entries come back bit for bit: empty, 1 byte, 16 MiB, any bytes.
/// * **J16** Every flipped bit in what was acknowledged is detected, on open, on read or by a scrub.
/// * **J17** Hard state is kept apart from the log, so that a damaged log never puts the vote in doubt.
/// * **J18** What [`JournalReader::verify`] has passed reads back as it was written, and it says which entries are
///   damaged. Once damage was met and the entries up to it are purged, it is of no consequence to a later opening. A
///   purge that cannot be made, since more than entries is damaged, says so ([`JournalError::Corrupt`]).
///
/// # Examples
/// One around another, that counts what is written. A whole one of its own is `examples/custom-journal`.
///
/// ```
/// use std::sync::Arc;
///
/// use async_trait::async_trait;
/// use raft_core::backend::{Journal, JournalError, JournalReader, JournalState, JournalWrite};
/// use raft_core::ids::LogId;
///
/// struct Counted<J> {
///     inner: J,
///     entries: usize,
/// }
///
/// #[async_trait]
/// impl<J: Journal> Journal for Counted<J> {
///     async fn load(&mut self) -> Result<JournalState, JournalError> {
///         self.inner.load().await
///     }
///
///     async fn write(&mut self, write: JournalWrite) -> Result<(), JournalError> {
///         let entries = write.entries.len();
///         self.inner.write(write).await?;
///         // Only what is durable counts, and nothing is answered before (J1).
///         self.entries += entries;
///         Ok(())
///     }
///
///     async fn purge(&mut self, upto: LogId) -> Result<(), JournalError> {
///         self.inner.purge(upto).await
///     }
///
///     async fn reset(&mut self, to: LogId) -> Result<(), JournalError> {
///         self.inner.reset(to).await
///     }
///
///     fn reader(&self) -> Arc<dyn JournalReader> {
///         self.inner.reader()
///     }
/// }
/// ```
#[async_trait]
pub trait Journal: Send + 'static {
    /// What a node needs to start. Called once, before anything else.
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be used.
    async fn load(&mut self) -> Result<JournalState, JournalError>;

    /// Makes a write durable. Returns when it is (J1, J2).
    ///
    /// # Errors
    /// [`JournalError`]; nothing was acknowledged. After all but `Gap` and `NoSpace` the journal must be reopened.
    ///
    /// # Cancellation
    /// A dropped future leaves the write done as a whole or not at all (J13).
    async fn write(&mut self, write: JournalWrite) -> Result<(), JournalError>;

    /// Drops entries up to and including `upto`, which a durable snapshot covers. May keep some longer on
    /// disk, but not visibly (J6).
    ///
    /// # Errors
    /// [`JournalError::Refused`] if `upto` is not in the log.
    async fn purge(&mut self, upto: LogId) -> Result<(), JournalError>;

    /// Empties the log: it begins after `to`, which an installed snapshot covers (J7).
    ///
    /// # Errors
    /// [`JournalError::Refused`] if `to` is below the purged log id; nothing has changed. After any other error the log is as
    /// before or as after, and the journal must be reopened.
    async fn reset(&mut self, to: LogId) -> Result<(), JournalError>;

    /// A reader that lives on its own (J5).
    fn reader(&self) -> Arc<dyn JournalReader>;
}

/// Reads entries while the journal is being written.
#[async_trait]
pub trait JournalReader: Send + Sync + 'static {
    /// Entries of `range` in order, from its start, as many as fit in `max_bytes` of data, at least one.
    /// An empty range gives nothing.
    ///
    /// # Errors
    /// [`JournalError::Compacted`], [`JournalError::OutOfRange`] if `range` reaches beyond the end, or
    /// [`JournalError::Corrupt`] / [`JournalError::Io`].
    async fn entries(&self, range: Range<Index>, max_bytes: u64) -> Result<Vec<Entry>, JournalError>;

    /// Reads what is stored of `range`, from its start, about `max_bytes` of it and at least one entry, and checks
    /// all of it, also what only an opening would look at, as far as this reader can (J18). From the disk: what is in
    /// memory proves nothing.
    ///
    /// # Errors
    /// Those of [`entries`](Self::entries). [`JournalError::Corrupt`] names the entries that are damaged, if that
    /// can be told; those of `range` before them are not.
    async fn verify(&self, range: Range<Index>, max_bytes: u64) -> Result<Verified, JournalError> {
        let entries = self.entries(range.clone(), max_bytes).await?;
        let bytes = entries.iter().map(Entry::cost_bytes).sum();
        Ok(Verified { next: entries.last().map_or(range.end, |last| last.id.index.next()), bytes })
    }
}

/// What a reader has [verified](JournalReader::verify).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The first entry that it has not.
    pub next: Index,
    /// What it took, in bytes that were read, about.
    pub bytes: u64,
}
