//! The store: its file, its transactions, and when they are synced.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use raft_core::backend::Command;
use raft_core::ids::{Index, LogId, Term};
use raft_core::node::typed::{decode, encode};
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, Table, TableDefinition, WriteTransaction,
};
use redb::{ReadableTable, ReadableTableMetadata, TableError};

use crate::command::{Answer, Ask, Done, Refused};

pub(crate) const DATA: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("data");
/// One row: term and index of the last entry whose effects are in `DATA`.
const APPLIED: TableDefinition<'_, (), (u64, u64)> = TableDefinition::new("applied");

/// Settings of a [`Store`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options {
    /// After so many bytes of commands a transaction is synced: about what a crash makes the node execute again.
    /// 0 syncs each. Default 16 MiB.
    pub sync_every_bytes: u64,
    /// What redb keeps in memory, in bytes. Default 64 MiB.
    pub cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { sync_every_bytes: 16 << 20, cache_bytes: 64 << 20 }
    }
}

/// Why the store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// What redb says.
    #[error("{path}: {cause}")]
    Redb {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: Box<redb::Error>,
    },
}

/// The data of one node. Clones share it: one goes to the node, another one answers reads.
///
/// Syncs are needed for three things, none of which is that acknowledged writes survive:
///
/// * The log is not kept for ever. What is purged from it must be in the store or in a snapshot; since only a snapshot
///   allows to purge, taking one syncs first, so that a node that comes up need not install what it had.
/// * What was not synced is executed again, which takes time.
/// * redb keeps the pages of the last synced state, also those that were replaced since, and reuses them after a later
///   sync: without one its file comes to hold that state and the present one. Replaced pages that were never synced it
///   reuses at once, so that the file does not grow with every write.
///
/// A synced transaction also saves redb's list of free pages (`set_quick_repair`): else opening after a crash would
/// read the whole file.
#[derive(Clone, Debug)]
pub struct Store(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    database: Database,
    path: PathBuf,
    options: Options,
    /// Bytes of commands since the last synced transaction.
    unsynced: Mutex<u64>,
}

impl Store {
    /// Opens the store in this file, or makes a new one. Blocks.
    ///
    /// # Errors
    /// [`StoreError`], also if somebody else has it open.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        let failed = |cause| StoreError::Redb { path: path.into(), cause: Box::new(cause) };
        let database = Database::builder().set_cache_size(options.cache_bytes).create(path);
        let database = database.map_err(|error| failed(error.into()))?;
        Ok(Self(Arc::new(Shared { database, path: path.into(), options, unsynced: Mutex::new(0) })))
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What this node has under a key: wait for [`read_barrier`](raft_core::NodeHandle::read_barrier) before you ask.
    /// May read from the disk.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn value(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.failing(|| {
            let Some(table) = data(&self.0.database.begin_read()?)? else { return Ok(None) };
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        })
    }

    /// The number under a key; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn number(&self, key: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.value(key)?.as_deref().and_then(number))
    }

    /// How many keys there are on this node.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn count(&self) -> Result<u64, StoreError> {
        self.0.failing(|| match data(&self.0.database.begin_read()?)? {
            Some(table) => Ok(table.len()?),
            None => Ok(0),
        })
    }

    /// The last entry whose effects are in the data.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn applied(&self) -> Result<LogId, StoreError> {
        self.0.failing(|| match self.0.database.begin_read()?.open_table(APPLIED) {
            Ok(table) => Ok(table.get(())?.map_or(LogId::ZERO, |row| {
                let (term, index) = row.value();
                LogId { term: Term(term), index: Index(index) }
            })),
            // A new store.
            Err(TableError::TableDoesNotExist(_)) => Ok(LogId::ZERO),
            Err(error) => Err(error.into()),
        })
    }
}

/// The data as a transaction sees it; `None` in a new store.
pub(crate) fn data(
    transaction: &ReadTransaction,
) -> Result<Option<redb::ReadOnlyTable<&'static str, &'static [u8]>>, redb::Error> {
    match transaction.open_table(DATA) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn set_applied(transaction: &WriteTransaction, to: LogId) -> Result<(), redb::Error> {
    transaction.open_table(APPLIED)?.insert((), (to.term.0, to.index.0))?;
    Ok(())
}

impl Shared {
    /// Says which file it was.
    pub(crate) fn failing<T>(&self, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StoreError> {
        work().map_err(|cause| StoreError::Redb { path: self.path.clone(), cause: Box::new(cause) })
    }

    /// A transaction, synced or not when it is committed.
    pub(crate) fn begin(&self, synced: bool) -> Result<WriteTransaction, redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(if synced { Durability::Immediate } else { Durability::None })?;
        transaction.set_quick_repair(synced);
        Ok(transaction)
    }

    /// Executes commands in one transaction. Their answers are made only where somebody waits for them.
    pub(crate) fn execute(
        &self,
        batch: &[Command],
        through: LogId,
        wanted: bool,
    ) -> Result<Vec<Bytes>, StoreError> {
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = batch.iter().map(|command| command.data.len() as u64);
        let grown = bytes.fold(*unsynced, u64::saturating_add);
        let synced = grown >= self.options.sync_every_bytes;
        let answers = self.failing(|| {
            let transaction = self.begin(synced)?;
            let mut answers = Vec::with_capacity(batch.len());
            let mut table = transaction.open_table(DATA)?;
            for command in batch {
                let answer = match decode::<Ask>(&command.data) {
                    Ok(ask) => execute(&mut table, ask)?,
                    Err(_) => Err(Refused::Senseless),
                };
                // Two small enums: there is nothing in them that could fail.
                let answer = if wanted { encode(&answer).unwrap_or_default() } else { Vec::new() };
                answers.push(answer.into());
            }
            drop(table);
            set_applied(&transaction, through)?;
            transaction.commit()?;
            Ok(answers)
        })?;
        *unsynced = if synced { 0 } else { grown };
        Ok(answers)
    }

    /// Makes durable what was executed, and shows that moment.
    pub(crate) fn moment(&self) -> Result<ReadTransaction, StoreError> {
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        self.failing(|| {
            self.begin(true)?.commit()?;
            *unsynced = 0;
            Ok(self.database.begin_read()?)
        })
    }
}

fn execute(table: &mut Table<'_, &str, &[u8]>, ask: Ask) -> Result<Answer, redb::Error> {
    Ok(match ask {
        Ask::Put(key, value) => Ok(Done::Was(table.insert(&*key, &*value)?.is_some())),
        Ask::Remove(key) => Ok(Done::Was(table.remove(&*key)?.is_some())),
        Ask::Add(key, more) => {
            let before = table.get(&*key)?.map(|value| number(value.value()));
            match before.unwrap_or(Some(0)).map(|before| before.checked_add(more)) {
                Some(Some(sum)) => {
                    table.insert(&*key, &sum.to_le_bytes()[..])?;
                    Ok(Done::Sum(sum))
                }
                Some(None) => Err(Refused::TooLarge),
                None => Err(Refused::NotANumber),
            }
        }
    })
}

/// Eight bytes, little-endian.
fn number(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_le_bytes)
}
