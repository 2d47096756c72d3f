//! The reference journal: short enough to be seen to be right. The conformance suite compares others
//! with it.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use raft_core::backend::{
    Journal, JournalError, JournalReader, JournalState, JournalWrite, Mismatch, OpenError, Verdict,
};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Identity, Index, LogId, NodeId, Term};
use raft_core::membership::Membership;

use super::disk::{Disk, MemoryDisk, Record, Stored};

/// A journal on a [`MemoryDisk`]. "Durable" means: on that disk.
///
/// A dropped future of a write has done nothing (J13): a write happens in one step, at its end.
///
/// # Examples
/// ```
/// # use raft_core::backend::{HardState, Journal, JournalError, JournalWrite, OpenError, Verdict};
/// # use raft_core::entry::{Entry, EntryKind};
/// # use raft_core::ids::{ClusterId, GroupId, Index, LogId, NodeId, Term};
/// # use raft_testkit::memory::{MemoryDisk, MemoryJournal};
/// # fn create(disk: &MemoryDisk) -> MemoryJournal {
/// #     MemoryJournal::create(disk, ClusterId(1), GroupId(0), NodeId(1), None).unwrap()
/// # }
/// # fn append(indexes: impl IntoIterator<Item = u64>) -> JournalWrite {
/// #     let (kind, data) = (EntryKind::Commands, bytes::Bytes::from("data"));
/// #     let entry = |index| Entry { id: LogId::new(1, index), kind, data: data.clone() };
/// #     let mut write = JournalWrite::default();
/// #     write.entries = indexes.into_iter().map(entry).collect();
/// #     write
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut journal = create(&MemoryDisk::new());
/// let mut write = append(1..=2);
/// write.hard_state = Some(HardState { term: Term(1), ..HardState::default() });
/// journal.write(write).await?;
/// let state = journal.load().await?;
/// assert_eq!((state.hard_state.term, state.last), (Term(1), LogId::new(1, 2)));
/// assert_eq!(journal.reader().entries(Index(1)..Index(3), 100).await?.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MemoryJournal {
    disk: MemoryDisk,
    opening: u64,
    identity: Identity,
    verdict: Verdict,
    poisoned: Option<Arc<str>>,
}

impl MemoryJournal {
    /// A new journal on an empty disk. `initial` is the membership of a new cluster, the same on every
    /// node, and becomes entry 0.1; `None` for a node that waits to be contacted (limbo).
    ///
    /// # Errors
    /// [`OpenError::Locked`] or [`OpenError::AlreadyExists`].
    ///
    /// # Examples
    /// ```
    /// use raft_core::backend::OpenError;
    /// use raft_core::ids::{ClusterId, GroupId, NodeId};
    /// use raft_testkit::memory::{MemoryDisk, MemoryJournal};
    ///
    /// let disk = MemoryDisk::new();
    /// let create = || MemoryJournal::create(&disk, ClusterId(1), GroupId(0), NodeId(1), None);
    /// let journal = create()?;
    /// assert!(matches!(create(), Err(OpenError::Locked { .. })));
    /// drop(journal);
    /// assert!(matches!(create(), Err(OpenError::AlreadyExists)));
    /// # Ok::<(), OpenError>(())
    /// ```
    pub fn create(
        disk: &MemoryDisk,
        cluster: ClusterId,
        group: GroupId,
        node: NodeId,
        initial: Option<&Membership>,
    ) -> Result<Self, OpenError> {
        let mut inner = disk.lock();
        if inner.open.is_some() {
            return Err(OpenError::Locked { by: None });
        }
        if inner.owner.is_some() {
            return Err(OpenError::AlreadyExists);
        }
        if let Some(membership) = initial {
            let (id, data) = (LogId::new(0, 1), membership.encode());
            let entry = Entry { id, kind: EntryKind::Membership, data };
            inner.stored.records.insert(id.index, Record::new(entry));
        }
        let owner = inner.new_store(cluster, group, node);
        let (opening, identity) = inner.begin(owner);
        Ok(Self { disk: disk.clone(), opening, identity, verdict: Verdict::Clean, poisoned: None })
    }

    /// Opens the journal that is on a disk.
    ///
    /// # Errors
    /// [`OpenError`]; only a success raises the incarnation.
    ///
    /// # Examples
    /// ```
    /// use raft_core::backend::{Mismatch, OpenError};
    /// use raft_core::ids::{ClusterId, GroupId, NodeId};
    /// use raft_testkit::memory::{MemoryDisk, MemoryJournal};
    ///
    /// let disk = MemoryDisk::new();
    /// let open = |node| MemoryJournal::open(&disk, ClusterId(1), GroupId(0), node);
    /// assert!(matches!(open(NodeId(1)), Err(OpenError::NotInitialised)));
    /// drop(MemoryJournal::create(&disk, ClusterId(1), GroupId(0), NodeId(1), None)?);
    /// let (found, expected) = (NodeId(1), NodeId(2));
    /// assert_eq!(open(NodeId(2)).unwrap_err(), Mismatch::Node { found, expected }.into());
    /// assert!(open(NodeId(1)).is_ok());
    /// # Ok::<(), OpenError>(())
    /// ```
    pub fn open(
        disk: &MemoryDisk,
        cluster: ClusterId,
        group: GroupId,
        node: NodeId,
    ) -> Result<Self, OpenError> {
        let mut inner = disk.lock();
        if inner.open.is_some() {
            return Err(OpenError::Locked { by: None });
        }
        let owner = inner.owner.ok_or(OpenError::NotInitialised)?;
        if owner.cluster != cluster {
            return Err(Mismatch::Cluster { found: owner.cluster, expected: cluster }.into());
        }
        if owner.node != node {
            return Err(Mismatch::Node { found: owner.node, expected: node }.into());
        }
        if owner.group != group {
            return Err(Mismatch::Group { found: owner.group, expected: group }.into());
        }
        if let Some(verdict) = inner.cut_damage(node)? {
            inner.verdict = Some(verdict);
        }
        let (opening, identity) = inner.begin(owner);
        let verdict = inner.verdict.clone().unwrap_or(Verdict::Clean);
        Ok(Self { disk: disk.clone(), opening, identity, verdict, poisoned: None })
    }

    /// Whose journal it is, with this opening's incarnation.
    ///
    /// # Examples
    /// ```
    /// # use raft_core::backend::{HardState, Journal, JournalError, JournalWrite, OpenError, Verdict};
    /// # use raft_core::entry::{Entry, EntryKind};
    /// # use raft_core::ids::{ClusterId, GroupId, Index, LogId, NodeId, Term};
    /// # use raft_testkit::memory::{MemoryDisk, MemoryJournal};
    /// # fn create(disk: &MemoryDisk) -> MemoryJournal {
    /// #     MemoryJournal::create(disk, ClusterId(1), GroupId(0), NodeId(1), None).unwrap()
    /// # }
    /// # fn open(disk: &MemoryDisk) -> MemoryJournal {
    /// #     MemoryJournal::open(disk, ClusterId(1), GroupId(0), NodeId(1)).unwrap()
    /// # }
    /// # fn main() {
    /// let disk = MemoryDisk::new();
    /// let first = create(&disk).identity();
    /// let second = open(&disk).identity();
    /// assert_eq!((first.store, first.incarnation.number), (second.store, 1));
    /// assert_eq!(second.incarnation.number, 2);
    /// # }
    /// ```
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    fn usable(&self, disk: &Disk) -> Result<(), JournalError> {
        if let Some(cause) = &self.poisoned {
            return Err(JournalError::Poisoned { cause: Arc::clone(cause) });
        }
        if disk.open != Some(self.opening) {
            return Err(JournalError::Poisoned { cause: "the disk has crashed".into() });
        }
        Ok(())
    }

    /// One durable change: waits at the gate, meets the faults, then happens in one step.
    async fn change(
        &mut self,
        write: JournalWrite,
        check: impl FnOnce(&Stored, &JournalWrite) -> Result<(), JournalError> + Send,
        act: impl FnOnce(&mut Stored, JournalWrite) + Send,
    ) -> Result<(), JournalError> {
        {
            let disk = self.disk.lock();
            self.usable(&disk)?;
            check(&disk.stored, &write)?;
        }
        self.disk.pass(self.opening, &write).await;
        let mut disk = self.disk.lock();
        self.usable(&disk)?;
        if let Err(error) = disk.fault(&write) {
            if !matches!(error, JournalError::NoSpace { .. }) {
                self.poisoned = Some(error.to_string().into());
            }
            return Err(error);
        }
        act(&mut disk.stored, write);
        // The node has seen it, and has written down what follows from it.
        disk.verdict = None;
        Ok(())
    }
}

impl Drop for MemoryJournal {
    fn drop(&mut self) {
        let mut disk = self.disk.lock();
        if disk.open == Some(self.opening) {
            disk.open = None;
        }
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn load(&mut self) -> Result<JournalState, JournalError> {
        let disk = self.disk.lock();
        self.usable(&disk)?;
        let mut state = disk.stored.state(self.identity)?;
        state.verdict = self.verdict.clone();
        Ok(state)
    }

    async fn write(&mut self, write: JournalWrite) -> Result<(), JournalError> {
        self.change(write, Stored::check, Stored::apply).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), JournalError> {
        let check = |stored: &Stored, _: &JournalWrite| {
            let entry = stored.records.get(&upto.index).map(|record| record.entry.id);
            if upto == stored.purged || entry == Some(upto) {
                return Ok(());
            }
            Err(JournalError::Refused { what: format!("purge up to {upto}: it is not in the log") })
        };
        let act = |stored: &mut Stored, _: JournalWrite| {
            stored.records = stored.records.split_off(&upto.index.next());
            stored.purged = upto;
        };
        self.change(JournalWrite::default(), check, act).await
    }

    async fn reset(&mut self, to: LogId) -> Result<(), JournalError> {
        let check = |stored: &Stored, _: &JournalWrite| {
            if to.index >= stored.purged.index {
                return Ok(());
            }
            let what = format!("reset to {to}: entries up to {} were purged", stored.purged);
            Err(JournalError::Refused { what })
        };
        let act = |stored: &mut Stored, _: JournalWrite| {
            stored.records.clear();
            stored.purged = to;
        };
        self.change(JournalWrite::default(), check, act).await
    }

    fn reader(&self) -> Arc<dyn JournalReader> {
        Arc::new(MemoryReader { disk: self.disk.clone() })
    }
}

#[derive(Debug)]
struct MemoryReader {
    disk: MemoryDisk,
}

#[async_trait]
impl JournalReader for MemoryReader {
    async fn entries(&self, range: Range<Index>, max_bytes: u64) -> Result<Vec<Entry>, JournalError> {
        self.disk.lock().stored.entries(range, max_bytes)
    }
}

impl Stored {
    /// Whether a write fits the log (J4).
    fn check(&self, write: &JournalWrite) -> Result<(), JournalError> {
        let mut expected = self.last().index.next();
        if let Some(from) = write.truncate_from.filter(|from| *from < expected) {
            if from <= self.purged.index {
                let what = format!("truncate from {from}: entries up to {} were purged", self.purged);
                return Err(JournalError::Refused { what });
            }
            expected = from;
        }
        for entry in &write.entries {
            if entry.id.index != expected {
                return Err(JournalError::Gap { expected, got: entry.id.index });
            }
            expected = expected.next();
        }
        Ok(())
    }

    /// Does a write that fits.
    pub(super) fn apply(&mut self, write: JournalWrite) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        if let Some(peers) = write.known_peers {
            self.known_peers = peers;
        }
        if let Some(from) = write.truncate_from {
            self.records.split_off(&from);
        }
        self.records.extend(write.entries.into_iter().map(|entry| (entry.id.index, Record::new(entry))));
        self.commit_hint = self.commit_hint.max(write.commit_hint);
    }

    fn state(&self, identity: Identity) -> Result<JournalState, JournalError> {
        let mut state = JournalState::empty(identity);
        state.hard_state = self.hard_state;
        state.known_peers.clone_from(&self.known_peers);
        state.purged = self.purged;
        state.last = self.last();
        state.commit_hint = self.commit_hint;
        let mut run: Option<Term> = None;
        for record in self.records.values() {
            let id = record.entry.id;
            if run != Some(id.term) {
                state.terms.push((id.index, id.term));
                run = Some(id.term);
            }
            if record.entry.kind == EntryKind::Membership {
                if !record.is_sound() {
                    return Err(JournalError::Corrupt(record.damage()));
                }
                state.memberships.push(record.entry.clone());
            }
        }
        Ok(state)
    }

    fn entries(&self, range: Range<Index>, max_bytes: u64) -> Result<Vec<Entry>, JournalError> {
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        if range.start <= self.purged.index {
            return Err(JournalError::Compacted { purged: self.purged });
        }
        let last = self.last().index;
        if range.end > last.next() {
            return Err(JournalError::OutOfRange { last });
        }
        let (mut entries, mut bytes) = (Vec::new(), 0u64);
        for record in self.records.range(range).map(|(_, record)| record) {
            bytes = bytes.saturating_add(record.entry.data.len() as u64);
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            if !record.is_sound() {
                return Err(JournalError::Corrupt(record.damage()));
            }
            entries.push(record.entry.clone());
        }
        Ok(entries)
    }
}
