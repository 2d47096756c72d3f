//! The one connection to the database. Nothing here is pooled, and nothing reopens it.

use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use raft_core::backend::OpenError;
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Index, LogId, StoreId, Term};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqlSafeStr};

use crate::beside::VERSION;
use crate::error::{Context, Kind, result_code};
use crate::rows::{Seal, State};
use crate::statements::{self, CHUNK};

/// `RSQL`: what `PRAGMA application_id` says of our databases.
const APPLICATION: i64 = 0x5253_514c;

/// The oldest SQLite without the defect that a reset of the write-ahead log could damage a database.
pub(crate) const OLDEST: [u32; 3] = [3, 51, 3];

/// A row as stored.
pub(crate) struct Stored {
    pub(crate) id: LogId,
    pub(crate) kind: i64,
    pub(crate) data: Vec<u8>,
    pub(crate) crc: i64,
    pub(crate) chain: u64,
}

impl Stored {
    /// Its entry, if the checksum says that it is what was written.
    pub(crate) fn entry(self, store: StoreId) -> Option<(Entry, Seal)> {
        let number = u8::try_from(self.kind).ok()?;
        let kind = EntryKind::from_u8(number)?;
        let crc = crate::rows::row_crc(store, self.id, number, &self.data);
        let sound = i64::from(crc) == self.crc;
        sound.then(|| (Entry { id: self.id, kind, data: self.data.into() }, Seal { crc, chain: self.chain }))
    }
}

/// Numbers of SQLite are signed: the bits are kept.
const fn signed(number: u64) -> i64 {
    number.cast_signed()
}

/// For comparing.
fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn migrations() -> Migrator {
    let sql = include_str!("../migrations/0001_journal.sql").into_sql_str();
    Migrator::with_migrations(vec![Migration::new(1, "journal".into(), MigrationType::Simple, sql, false)])
}

/// The locking mode before the journal mode, so that no shared memory is needed.
const SETTINGS: &str = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                        PRAGMA wal_autocheckpoint = 0; PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON; \
                        PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;";

fn options(path: &Path, create: bool) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(create)
        .busy_timeout(Duration::ZERO)
        .disable_statement_logging()
}

/// The connection.
pub(crate) struct Db {
    pub(crate) connection: SqliteConnection,
    /// Which views of [`statements::append`] it has, by their powers of two.
    steps: u32,
    /// A transaction may have been left open: a statement alone would then be done and neither committed nor synced.
    pub(crate) is_open: bool,
}

/// Whether no transaction is open after this answer to `ROLLBACK`. That none was open, since SQLite had rolled back by itself or had
/// not begun, is its plain error.
pub(crate) fn is_over(rolled_back: &Result<(), sqlx::Error>) -> bool {
    match rolled_back {
        Ok(()) => true,
        Err(sqlx::Error::Database(error)) => error.code().as_deref() == Some("1"),
        Err(_) => false,
    }
}

/// Looks only. Closing a connection moves the write-ahead log into the database where it can: here it cannot
/// write there. To a file that is only read SQLite's own lock cannot be had; the folder is locked as a whole.
fn looking(path: &Path) -> SqliteConnectOptions {
    let options = options(path, false).read_only(true);
    if cfg!(unix) { options.vfs("unix-none") } else { options }
}

/// What marks a database as one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marks {
    /// Ours, of a version that is known.
    Ours,
    /// Ours, of a later version.
    Later(u32),
    /// Not ours, or not any more.
    Foreign,
}

impl Db {
    /// Opens a database to read it. It changes nothing, not even when it is closed.
    pub(crate) async fn look(dir: &Path, name: &str) -> Result<Self, sqlx::Error> {
        Self::start(&looking(&dir.join(name))).await
    }

    /// Connects, and makes the settings. Not by sqlx, which lets go of a connection that does not take them: it would be
    /// closed later, on a thread of its own, and take away a write-ahead log that has been put back meanwhile.
    async fn start(options: &SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        let mut db = Self { connection: options.connect().await?, steps: 0, is_open: false };
        match db.run(SETTINGS).await {
            Ok(()) => Ok(db),
            Err(error) => {
                let _ = db.close().await;
                Err(error)
            }
        }
    }

    /// Whose database it is, and of which version of the format.
    pub(crate) async fn marks(&mut self) -> Result<Marks, sqlx::Error> {
        let application: i64 =
            sqlx::query("PRAGMA application_id").fetch_one(&mut self.connection).await?.try_get(0)?;
        let version: i64 =
            sqlx::query("PRAGMA user_version").fetch_one(&mut self.connection).await?.try_get(0)?;
        Ok(match u32::try_from(version) {
            Ok(1..=VERSION) if application == APPLICATION => Marks::Ours,
            Ok(later) if application == APPLICATION && later > VERSION => Marks::Later(later),
            _ => Marks::Foreign,
        })
    }

    /// Opens a database; with `create` it is made with its schema.
    pub(crate) async fn connect(dir: &Path, name: &str, create: bool) -> Result<Self, sqlx::Error> {
        let mut db = Self::start(&options(&dir.join(name), create)).await?;
        if create && let Err(error) = db.make_schema().await {
            // Dropping it would close it later, on a thread of its own.
            let _ = db.close().await;
            return Err(error);
        }
        Ok(db)
    }

    async fn make_schema(&mut self) -> Result<(), sqlx::Error> {
        let marks = format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};");
        sqlx::raw_sql(AssertSqlSafe(marks)).execute(&mut self.connection).await?;
        self.migrate().await
    }

    /// Brings the schema up to date.
    pub(crate) async fn migrate(&mut self) -> Result<(), sqlx::Error> {
        let done = migrations().run_direct(None, &mut self.connection, false).await;
        done.map_err(|error| match error {
            sqlx::migrate::MigrateError::Execute(error) => error,
            other => sqlx::Error::Migrate(Box::new(other)),
        })
    }

    /// What is wrong with the schema, if anything is: what [`migrate`](Self::migrate) would stumble over, found
    /// without writing.
    pub(crate) async fn schema_damage(&mut self) -> Result<Option<String>, sqlx::Error> {
        let done = match self.migrated().await {
            Ok(done) => done,
            Err(error) if is_damage_to_see(&error) => return Ok(Some(error.to_string())),
            Err(error) => return Err(error),
        };
        let known = migrations();
        let known = known.iter().map(|known| (known.version, known.checksum.to_vec(), true));
        let begins_so = !done.is_empty() && known.take(done.len()).eq(done);
        Ok((!begins_so).then(|| String::from("its list of migrations is another than this program's")))
    }

    /// Which migrations were done, with their checksums, and whether they came to their end.
    async fn migrated(&mut self) -> Result<Vec<(i64, Vec<u8>, bool)>, sqlx::Error> {
        let query = "SELECT version, checksum, success FROM _sqlx_migrations ORDER BY version";
        let rows = sqlx::query(query).fetch_all(&mut self.connection).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
    }

    /// Refuses a SQLite with a known defect, and a connection that does not sync at each COMMIT: that it does
    /// is SQLite's own word, which nothing here can check.
    pub(crate) async fn check_sqlite(&mut self) -> Result<(), OpenError> {
        for (pragma, allowed) in [
            ("PRAGMA synchronous", &["2", "3"][..]),
            ("PRAGMA journal_mode", &["wal"]),
            ("PRAGMA locking_mode", &["exclusive"]),
        ] {
            let row = sqlx::query(pragma).fetch_one(&mut self.connection).await;
            let row = row.during("ask SQLite for its settings")?;
            let number = row.try_get::<i64, _>(0).map(|number| number.to_string());
            let value = number.or_else(|_| row.try_get(0)).during("ask SQLite for its settings")?;
            if !allowed.contains(&value.as_str()) {
                return Err(OpenError::Io {
                    what: "open the database".into(),
                    cause: format!("SQLite says {value} to {pragma}: what it commits may be lost").into(),
                });
            }
        }
        self.check_version().await
    }

    async fn check_version(&mut self) -> Result<(), OpenError> {
        let row = sqlx::query("SELECT sqlite_version()").fetch_one(&mut self.connection).await;
        let version: String = row.and_then(|row| row.try_get(0)).during("ask SQLite for its version")?;
        let numbers: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
        if numbers.as_slice() < OLDEST.as_slice() {
            return Err(OpenError::Io {
                what: "open the database".into(),
                cause: format!("SQLite {version} is older than 3.51.3 and may damage it").into(),
            });
        }
        Ok(())
    }

    /// The state of the log; `None` if it is damaged.
    pub(crate) async fn state(&mut self, store: StoreId) -> Result<Option<State>, sqlx::Error> {
        let row = sqlx::query("SELECT state FROM meta WHERE id = 1").fetch_one(&mut self.connection).await?;
        let bytes: Vec<u8> = row.try_get(0)?;
        Ok(State::from_row(store, &bytes))
    }

    /// Rows after `after` in order, up to `limit` of them; at least one and otherwise as many as fit in
    /// `bytes`.
    ///
    /// sqlx reads up to fifty rows ahead, however large. So it is asked for no more than fits: lengths are found
    /// out without their bytes, for some rows at a time.
    pub(crate) async fn rows(
        &mut self,
        mut after: Index,
        limit: u64,
        bytes: u64,
    ) -> Result<Vec<Stored>, sqlx::Error> {
        let (mut rows, mut left, mut round) = (Vec::new(), bytes, 64);
        loop {
            let asked = limit.saturating_sub(rows.len() as u64).min(round);
            let fit = if asked == 0 { 0 } else { self.fitting(after, asked, left).await? };
            let fit = if rows.is_empty() { fit.max(1).min(asked) } else { fit };
            if fit == 0 {
                return Ok(rows);
            }
            let more = self.fetch(after, fit).await?;
            let size = more.iter().map(|row| row.data.len() as u64).sum();
            let is_all = (more.len() as u64) < asked || size > left;
            left = left.saturating_sub(size);
            after = more.last().map_or(after, |row| row.id.index);
            rows.extend(more);
            if is_all {
                return Ok(rows);
            }
            round = (round * 2).min(1024);
        }
    }

    /// How many of the next `limit` rows have no more than `bytes` together.
    async fn fitting(&mut self, after: Index, limit: u64, bytes: u64) -> Result<u64, sqlx::Error> {
        let query = "SELECT count(*) FROM (SELECT sum(size) OVER (ORDER BY idx) AS upto FROM \
                     (SELECT idx, length(data) AS size FROM log WHERE idx > ? ORDER BY idx LIMIT ?)) \
                     WHERE upto <= ?";
        let query = sqlx::query(query).bind(signed(after.0)).bind(clamped(limit)).bind(clamped(bytes));
        let count: i64 = query.fetch_one(&mut self.connection).await?.try_get(0)?;
        Ok(count.unsigned_abs())
    }

    async fn fetch(&mut self, after: Index, limit: u64) -> Result<Vec<Stored>, sqlx::Error> {
        let query = "SELECT idx, term, kind, data, crc, chain FROM log WHERE idx > ? ORDER BY idx LIMIT ?";
        let query = sqlx::query(query).bind(signed(after.0)).bind(clamped(limit));
        query.fetch(&mut self.connection).map(|row| stored(&row?)).try_collect().await
    }

    /// Runs one transaction: cut, append, state. After an error its outcome is not known, not even that it is over
    /// ([`is_open`](Self::is_open)).
    pub(crate) async fn transact(&mut self, change: &Change<'_>) -> Result<(), sqlx::Error> {
        let done = self.apply(change).await;
        if done.is_err() {
            let rolled_back = self.run("ROLLBACK").await;
            self.is_open |= !is_over(&rolled_back);
        }
        done
    }

    async fn apply(&mut self, change: &Change<'_>) -> Result<(), sqlx::Error> {
        let unfit = || sqlx::Error::Encode("the state does not fit its record".into());
        let state = change.state.to_row().ok_or_else(unfit)?;
        let is_plain = change.cut_from.is_none() && change.purge_upto.is_none();
        let is_one = is_plain && change.rows.len() <= CHUNK;
        if is_plain
            && !change.fail_commit
            && let Some(append) = statements::append(&change.rows, state.clone())?
        {
            if self.steps >> append.power & 1 == 0 {
                self.run(append.make).await?;
                self.steps |= 1 << append.power;
            }
            return append.query.execute(&mut self.connection).await.map(drop);
        }
        if !is_one {
            self.run("BEGIN IMMEDIATE").await?;
        }
        if let Some(from) = change.cut_from {
            sqlx::query("DELETE FROM log WHERE idx >= ?")
                .bind(signed(from.0))
                .execute(&mut self.connection)
                .await?;
        }
        if let Some(upto) = change.purge_upto {
            sqlx::query("DELETE FROM log WHERE idx <= ?")
                .bind(signed(upto.0))
                .execute(&mut self.connection)
                .await?;
        }
        let ahead = change.rows.len().saturating_sub(1) / CHUNK * CHUNK;
        let (ahead, rest) = change.rows.split_at_checked(ahead).unwrap_or_default();
        for rows in ahead.chunks(CHUNK) {
            statements::insert(rows)?.execute(&mut self.connection).await?;
        }
        let commit = !change.fail_commit;
        statements::last(is_one, rest, state, commit)?.execute(&mut self.connection).await?;
        if change.fail_commit {
            return Err(sqlx::Error::Io(std::io::Error::other("a sync that was told to fail")));
        }
        Ok(())
    }

    /// Moves the write-ahead log into the database and empties it.
    pub(crate) async fn checkpoint(&mut self) -> Result<(), sqlx::Error> {
        let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut self.connection).await?;
        let busy: i64 = row.try_get(0)?;
        if busy == 0 {
            Ok(())
        } else {
            Err(sqlx::Error::Io(std::io::Error::other("the checkpoint was blocked")))
        }
    }

    /// Lets the database grow no further, or as it likes. For tests: SQLite then answers `SQLITE_FULL`.
    pub(crate) async fn limit_size(&mut self, full: bool) -> Result<(), sqlx::Error> {
        self.run(if full { "PRAGMA max_page_count = 1" } else { "PRAGMA max_page_count = 4294967294" }).await
    }

    /// Lets go of what is kept in memory of the database's pages: what is read next comes from the disk.
    pub(crate) async fn forget_pages(&mut self) -> Result<(), sqlx::Error> {
        self.run("PRAGMA shrink_memory").await
    }

    pub(crate) async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(sql).execute(&mut self.connection).await.map(drop)
    }

    /// Closes it; SQLite moves what is left of the write-ahead log into the database.
    pub(crate) async fn close(self) -> Result<(), sqlx::Error> {
        self.connection.close().await
    }
}

/// Whether an error means that the database is damaged.
fn is_damage(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Migrate(_)) || Kind::of(error) == Kind::Damaged
}

/// The same where nothing is written: what SQLite would have to repair first is damaged too.
pub(crate) fn is_damage_to_see(error: &sqlx::Error) -> bool {
    /// `SQLITE_ERROR`: our statements are right, so it is their table that is missing. `SQLITE_READONLY`.
    const UNKNOWN: [u32; 2] = [1, 8];
    is_damage(error) || result_code(error).is_some_and(|code| UNKNOWN.contains(&code))
}

/// What one transaction does.
pub(crate) struct Change<'a> {
    pub(crate) cut_from: Option<Index>,
    pub(crate) purge_upto: Option<Index>,
    pub(crate) rows: Vec<(&'a Entry, Seal)>,
    pub(crate) state: State,
    pub(crate) fail_commit: bool,
}

impl Change<'_> {
    /// One that changes the state only.
    pub(crate) const fn of(state: State) -> Self {
        Self { cut_from: None, purge_upto: None, rows: Vec::new(), state, fail_commit: false }
    }
}

fn stored(row: &SqliteRow) -> Result<Stored, sqlx::Error> {
    let number = |at: usize| row.try_get::<i64, _>(at);
    Ok(Stored {
        id: LogId { index: Index(number(0)?.cast_unsigned()), term: Term(number(1)?.cast_unsigned()) },
        kind: number(2)?,
        data: row.try_get(3)?,
        crc: number(4)?,
        chain: number(5)?.cast_unsigned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any of these would let a power cut take what was acknowledged, and no test could see it.
    #[tokio::test]
    async fn a_connection_that_does_not_sync_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut db = Db::connect(folder.path(), "journal.db", true).await.unwrap();
        assert_eq!(db.check_sqlite().await, Ok(()));
        for (set, back) in [
            ("PRAGMA synchronous = NORMAL", "PRAGMA synchronous = FULL"),
            ("PRAGMA synchronous = OFF", "PRAGMA synchronous = EXTRA"),
            ("PRAGMA journal_mode = DELETE", "PRAGMA journal_mode = WAL"),
        ] {
            db.run(set).await.unwrap();
            let refused = db.check_sqlite().await.unwrap_err().to_string();
            assert!(refused.contains("may be lost"), "{set}: {refused}");
            db.run(back).await.unwrap();
            assert_eq!(db.check_sqlite().await, Ok(()), "{back}");
        }
        db.close().await.unwrap();
    }
}
