//! The rows of the log and its state: what is written and read while a journal is used. Nothing here is pooled, and nothing reopens it.

use std::slice::from_ref;
use std::sync::LazyLock;

use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Index, LogId, StoreId, Term};
use rusqlite::{Row, Statement, params};

use crate::db::Db;
use crate::direct::Direct;
use crate::error::SqlError;
use crate::rows::{Seal, State};

/// A row as stored.
pub(crate) struct Stored {
    pub(crate) id: LogId,
    pub(crate) kind: i64,
    pub(crate) data: Vec<u8>,
    pub(crate) crc: i64,
    pub(crate) chain: u64,
}

impl Stored {
    fn of(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        let number = |at: usize| row.get::<_, i64>(at);
        Ok(Self {
            id: LogId { index: Index(number(0)?.cast_unsigned()), term: Term(number(1)?.cast_unsigned()) },
            kind: number(2)?,
            crc: number(3)?,
            chain: number(4)?.cast_unsigned(),
            data: row.get(5)?,
        })
    }

    /// Its entry, if the checksum says that it is what was written.
    pub(crate) fn entry(self, store: StoreId) -> Option<(Entry, Seal)> {
        let number = u8::try_from(self.kind).ok()?;
        let kind = EntryKind::from_u8(number)?;
        let crc = crate::rows::row_crc(store, self.id, number, &self.data);
        let sound = i64::from(crc) == self.crc;
        sound.then(|| (Entry { id: self.id, kind, data: self.data.into() }, Seal { crc, chain: self.chain }))
    }
}

/// What one transaction does.
pub(crate) struct Change<'a> {
    pub(crate) cut_from: Option<Index>,
    pub(crate) purge_upto: Option<Index>,
    pub(crate) rows: Vec<(&'a Entry, Seal)>,
    pub(crate) state: State,
    pub(crate) fail: Fail,
}

/// What a test has ordered to fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fail {
    /// The COMMIT is not tried.
    pub(crate) commit: bool,
    /// A transaction stays open after an error.
    pub(crate) rollback: bool,
}

impl Change<'_> {
    /// One that changes the state only.
    pub(crate) fn of(state: State) -> Self {
        Self { cut_from: None, purge_upto: None, rows: Vec::new(), state, fail: Fail::default() }
    }
}

const INSERT: &str =
    "INSERT OR ROLLBACK INTO log (idx, term, kind, data, crc, chain) VALUES (?, ?, ?, ?, ?, ?)";
/// So many rows by one statement take less time: SQLite stays where it is in the table.
const MANY: usize = 64;
static INSERT_MANY: LazyLock<String> =
    LazyLock::new(|| format!("{INSERT}{}", ", (?, ?, ?, ?, ?, ?)".repeat(MANY - 1)));

fn put(insert: &mut Statement<'_>, rows: &[(&Entry, Seal)]) -> Result<(), rusqlite::Error> {
    for ((entry, seal), at) in rows.iter().zip((1..).step_by(6)) {
        insert.raw_bind_parameter(at, entry.id.index.0.cast_signed())?;
        insert.raw_bind_parameter(at + 1, entry.id.term.0.cast_signed())?;
        insert.raw_bind_parameter(at + 2, entry.kind.as_u8())?;
        insert.raw_bind_parameter(at + 3, &entry.data[..])?;
        insert.raw_bind_parameter(at + 4, seal.crc)?;
        insert.raw_bind_parameter(at + 5, seal.chain.cast_signed())?;
    }
    insert.raw_execute().map(drop)
}

/// For comparing.
fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The connection, once its settings are made and its schema is there.
pub(crate) struct Table(Direct);

impl Table {
    /// After an error the connection is closed.
    pub(crate) async fn of(db: Db) -> Result<Self, SqlError> {
        Direct::of(db.into_inner()).await.map(Self)
    }

    /// Gives the connection back.
    pub(crate) fn into_db(self) -> Db {
        Db::of(self.0.into_inner())
    }

    /// Closes it; SQLite moves what is left of the write-ahead log into the database.
    pub(crate) async fn close(self) -> Result<(), SqlError> {
        Ok(self.into_db().close().await?)
    }

    /// The state of the log; `None` if it is damaged.
    pub(crate) fn state(&self, store: StoreId) -> Result<Option<State>, SqlError> {
        let mut query = self.0.prepare_cached("SELECT state FROM meta WHERE id = 1")?;
        let bytes: Vec<u8> = query.query_row([], |row| row.get(0))?;
        Ok(State::from_row(store, &bytes))
    }

    /// Rows after `after` in order, up to `limit` of them; at least one and otherwise as many as fit in
    /// `bytes`. Where SQLite fails behind a row it is asked again for what comes next.
    pub(crate) fn rows(&self, after: Index, limit: u64, bytes: u64) -> Result<Vec<Stored>, SqlError> {
        let mut query = self.0.prepare_cached(
            "SELECT idx, term, kind, crc, chain, data FROM log WHERE idx > ? ORDER BY idx LIMIT ?",
        )?;
        let mut found = query.query(params![after.0.cast_signed(), clamped(limit)])?;
        let (mut rows, mut left) = (Vec::new(), bytes);
        loop {
            let row = match found.next() {
                Ok(Some(row)) => row,
                Ok(None) => break,
                Err(_) if !rows.is_empty() => break,
                Err(error) => return Err(error.into()),
            };
            let data = row.get_ref(5)?.as_bytes_or_null().ok().flatten();
            let fits = left.checked_sub(data.map_or(0, |data| data.len() as u64));
            if fits.is_none() && !rows.is_empty() {
                break;
            }
            match Stored::of(row) {
                Ok(row) => rows.push(row),
                Err(_) if !rows.is_empty() => break,
                Err(error) => return Err(error.into()),
            }
            match fits {
                Some(rest) => left = rest,
                None => break,
            }
        }
        Ok(rows)
    }

    /// Runs one transaction: cut, append, state. After an error its outcome is not known, not even that it is over
    /// ([`is_open`](Self::is_open)).
    pub(crate) fn transact(&self, change: &Change<'_>) -> Result<(), SqlError> {
        let done = self.apply(change);
        if done.is_err() {
            // After some errors SQLite has done it.
            let _ = if self.is_open() { self.0.execute_batch("ROLLBACK") } else { Ok(()) };
            let _ = if change.fail.rollback { self.0.execute_batch("BEGIN") } else { Ok(()) };
        }
        done
    }

    /// A transaction has been left open: whatever is done now is neither committed nor synced.
    pub(crate) fn is_open(&self) -> bool {
        !self.0.is_autocommit()
    }

    fn apply(&self, change: &Change<'_>) -> Result<(), SqlError> {
        let unfit = || SqlError::Other("the state does not fit its record".into());
        let state = change.state.to_row().ok_or_else(unfit)?;
        let run = |sql: &'static str| self.0.prepare_cached(sql)?.execute([]);
        run("BEGIN IMMEDIATE")?;
        if let Some(from) = change.cut_from {
            self.0.execute("DELETE FROM log WHERE idx >= ?", [from.0.cast_signed()])?;
        }
        if let Some(upto) = change.purge_upto {
            self.0.execute("DELETE FROM log WHERE idx <= ?", [upto.0.cast_signed()])?;
        }
        let (many, few) = change.rows.as_chunks::<MANY>();
        if !many.is_empty() {
            let mut insert = self.0.prepare_cached(&INSERT_MANY)?;
            many.iter().try_for_each(|rows| put(&mut insert, rows))?;
        }
        if !few.is_empty() {
            let mut insert = self.0.prepare_cached(INSERT)?;
            few.iter().try_for_each(|row| put(&mut insert, from_ref(row)))?;
        }
        self.0.prepare_cached("INSERT OR REPLACE INTO meta (id, state) VALUES (1, ?)")?.execute([state])?;
        if change.fail.commit {
            return Err(SqlError::Other("a sync that was told to fail".into()));
        }
        run("COMMIT")?;
        Ok(())
    }

    /// Moves the write-ahead log into the database, durably, and empties it.
    pub(crate) fn checkpoint(&self) -> Result<(), SqlError> {
        self.move_log("PRAGMA wal_checkpoint(TRUNCATE)")
    }

    /// The same, but the log stays as it is; the next transaction begins at its head.
    pub(crate) fn checkpoint_and_keep(&self) -> Result<(), SqlError> {
        self.move_log("PRAGMA wal_checkpoint(RESTART)")
    }

    fn move_log(&self, pragma: &str) -> Result<(), SqlError> {
        let (busy, frames, moved) = self.ask_log(pragma)?;
        // Without a write-ahead log they are -1.
        if busy == 0 && frames == moved && frames >= 0 {
            Ok(())
        } else {
            Err(SqlError::Other("the checkpoint was blocked".into()))
        }
    }

    /// How many frames the write-ahead log has that count.
    pub(crate) fn frames(&self) -> Result<u64, SqlError> {
        let (_, frames, _) = self.ask_log("PRAGMA wal_checkpoint(NOOP)")?;
        u64::try_from(frames).map_err(|_| SqlError::Other("there is no write-ahead log".into()))
    }

    /// Whether it was blocked, how many frames there are, how many of them are in the database.
    fn ask_log(&self, pragma: &str) -> Result<(i64, i64, i64), SqlError> {
        Ok(self.0.query_row(pragma, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
    }

    /// Lets the database grow no further, or as it likes. For tests: SQLite then answers `SQLITE_FULL`.
    pub(crate) fn limit_size(&self, full: bool) -> Result<(), SqlError> {
        self.run(if full { "PRAGMA max_page_count = 1" } else { "PRAGMA max_page_count = 4294967294" })
    }

    /// Lets go of what is kept in memory of the database's pages: what is read next comes from the disk.
    pub(crate) fn forget_pages(&self) -> Result<(), SqlError> {
        self.run("PRAGMA shrink_memory")
    }

    pub(crate) fn run(&self, sql: &'static str) -> Result<(), SqlError> {
        Ok(self.0.execute_batch(sql)?)
    }
}
