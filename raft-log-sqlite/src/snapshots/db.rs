//! One connection to one snapshot's database.

use std::path::Path;
use std::time::Duration;

use raft_core::backend::{SnapshotError, SnapshotId};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use super::records::{End, Head, Seal, VERSION};
use crate::error::{Kind, damage};

/// `RSQS`: what `PRAGMA application_id` says of our databases.
const APPLICATION: i64 = 0x5253_5153;

/// `SQLITE_IOERR_SHORT_READ`.
const SHORT_READ: u32 = 522;

const SCHEMA: &str = "
CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), head BLOB NOT NULL) STRICT;
CREATE TABLE chunk (number INTEGER PRIMARY KEY, data BLOB NOT NULL, crc INTEGER NOT NULL, chain INTEGER NOT NULL) STRICT;
CREATE TABLE end (one INTEGER PRIMARY KEY CHECK (one = 1), end BLOB NOT NULL) STRICT;
";

/// Says what was attempted when the system failed.
pub(super) fn failed(what: &str, error: &sqlx::Error) -> SnapshotError {
    match Kind::of(error) {
        Kind::Full => SnapshotError::NoSpace,
        Kind::Locked => SnapshotError::Locked,
        Kind::Damaged | Kind::Other => {
            SnapshotError::Io { what: what.to_owned(), cause: error.to_string().into() }
        }
    }
}

/// Why something of a complete snapshot could not be read: if the system did not fail, it is damaged.
pub(super) fn unreadable(name: &str, error: &sqlx::Error) -> SnapshotError {
    let system = match error {
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(database) => {
            let code = database.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or(0);
            // Busy, locked, out of memory, I/O, full, cannot open; but a file that ends too early is damaged.
            matches!(code & 0xff, 5 | 6 | 7 | 10 | 13 | 14) && code != SHORT_READ
        }
        _ => false,
    };
    if system {
        failed("read a snapshot", error)
    } else {
        SnapshotError::Corrupt(damage(name, 0, error.to_string()))
    }
}

/// A chunk as stored.
pub(super) struct Stored {
    pub(super) data: Vec<u8>,
    pub(super) seal: Seal,
}

/// A connection.
pub(super) struct Db {
    connection: SqliteConnection,
}

fn plain(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::ZERO)
        .pragma("mmap_size", "0")
        // 1 MiB: what a connection takes, whatever the size of the snapshot.
        .pragma("cache_size", "-1024")
        .pragma("cell_size_check", "ON")
        .pragma("trusted_schema", "OFF")
        .disable_statement_logging()
}

impl Db {
    /// Opens a database for writing; with `create` it is made.
    ///
    /// It has a rollback journal and no write-ahead log: new pages are then written once, and nothing
    /// that matters is beside the file when it is closed.
    pub(super) async fn writable(path: &Path, create: bool) -> Result<Self, sqlx::Error> {
        let options = plain(path)
            .create_if_missing(create)
            .locking_mode(SqliteLockingMode::Exclusive)
            .journal_mode(SqliteJournalMode::Truncate)
            .synchronous(SqliteSynchronous::Full);
        let mut db = Self { connection: options.connect().await? };
        match db.check_settings(path).await {
            Ok(()) => Ok(db),
            Err(error) => {
                let _ = db.close().await;
                Err(error)
            }
        }
    }

    /// Refuses a connection that does not sync at each COMMIT: that it does is SQLite's own word, which nothing
    /// here can check.
    async fn check_settings(&mut self, path: &Path) -> Result<(), sqlx::Error> {
        let connection = &mut self.connection;
        let synced: i64 = sqlx::query("PRAGMA synchronous").fetch_one(&mut *connection).await?.try_get(0)?;
        let mode: String = sqlx::query("PRAGMA journal_mode").fetch_one(connection).await?.try_get(0)?;
        // What is in memory has nothing to sync.
        if synced >= 2 && (mode == "truncate" || path == Path::new(":memory:")) {
            return Ok(());
        }
        let cause = format!("SQLite says synchronous {synced}, journal_mode {mode}: a commit may be lost");
        Err(sqlx::Error::Io(std::io::Error::other(cause)))
    }

    /// Opens a database that nobody writes any more, and touches nothing.
    pub(super) async fn immutable(path: &Path) -> Result<Self, sqlx::Error> {
        let options = plain(path).read_only(true).immutable(true);
        Ok(Self { connection: options.connect().await? })
    }

    /// The version of SQLite.
    pub(super) async fn version(&mut self) -> Result<String, sqlx::Error> {
        sqlx::query("SELECT sqlite_version()").fetch_one(&mut self.connection).await?.try_get(0)
    }

    /// Makes the tables and writes the beginning, as one transaction.
    pub(super) async fn begin_with(&mut self, head: &[u8]) -> Result<(), sqlx::Error> {
        self.begin().await?;
        let marks = format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};");
        sqlx::raw_sql(AssertSqlSafe(marks)).execute(&mut self.connection).await?;
        self.run(SCHEMA).await?;
        let insert = "INSERT INTO head (one, head) VALUES (1, ?)";
        sqlx::query(insert).bind(head).execute(&mut self.connection).await?;
        self.commit().await
    }

    /// Whether it is one of ours that this program can read; otherwise why not.
    pub(super) async fn check_marks(&mut self) -> Result<Result<(), &'static str>, sqlx::Error> {
        let application: i64 =
            sqlx::query("PRAGMA application_id").fetch_one(&mut self.connection).await?.try_get(0)?;
        let version: i64 =
            sqlx::query("PRAGMA user_version").fetch_one(&mut self.connection).await?.try_get(0)?;
        Ok(if application != APPLICATION {
            Err("not a snapshot")
        } else if version.cast_unsigned() != VERSION {
            Err("of a later version of the format")
        } else {
            Ok(())
        })
    }

    /// The beginning.
    pub(super) async fn head(&mut self) -> Result<Result<Head, &'static str>, sqlx::Error> {
        let row = sqlx::query("SELECT head FROM head WHERE one = 1");
        let Some(row) = row.fetch_optional(&mut self.connection).await? else {
            return Ok(Err("its head is missing"));
        };
        Ok(Head::decode(row.try_get(0)?))
    }

    /// The end of a complete one.
    pub(super) async fn end(&mut self, id: SnapshotId) -> Result<Result<End, &'static str>, sqlx::Error> {
        let row = sqlx::query("SELECT end FROM end WHERE one = 1");
        let Some(row) = row.fetch_optional(&mut self.connection).await? else {
            return Ok(Err("its end is missing"));
        };
        Ok(End::decode(id, row.try_get(0)?))
    }

    /// A chunk, as it is stored.
    pub(super) async fn chunk(&mut self, number: u64) -> Result<Option<Stored>, sqlx::Error> {
        let row = sqlx::query("SELECT data, crc, chain FROM chunk WHERE number = ?");
        let row = row.bind(number.cast_signed()).fetch_optional(&mut self.connection).await?;
        row.map(|row| {
            let crc = u32::try_from(row.try_get::<i64, _>(1)?);
            let crc = crc.map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            let chain = row.try_get::<i64, _>(2)?.cast_unsigned();
            Ok(Stored { data: row.try_get(0)?, seal: Seal { crc, chain } })
        })
        .transpose()
    }

    pub(super) async fn put_chunk(
        &mut self,
        number: u64,
        data: &[u8],
        seal: Seal,
    ) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO chunk (number, data, crc, chain) VALUES (?, ?, ?, ?)")
            .bind(number.cast_signed())
            .bind(data)
            .bind(i64::from(seal.crc))
            .bind(seal.chain.cast_signed())
            .execute(&mut self.connection)
            .await
            .map(drop)
    }

    pub(super) async fn put_end(&mut self, end: &[u8]) -> Result<(), sqlx::Error> {
        let insert = "INSERT INTO end (one, end) VALUES (1, ?)";
        sqlx::query(insert).bind(end).execute(&mut self.connection).await.map(drop)
    }

    /// Drops what is not to be gone on with: an end, and all chunks from `number` on.
    pub(super) async fn cut(&mut self, number: u64) -> Result<(), sqlx::Error> {
        self.begin().await?;
        self.run("DELETE FROM end").await?;
        let delete = "DELETE FROM chunk WHERE number < 0 OR number >= ?";
        sqlx::query(delete).bind(number.cast_signed()).execute(&mut self.connection).await?;
        self.commit().await
    }

    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.run("BEGIN IMMEDIATE").await
    }

    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.run("COMMIT").await
    }

    /// Lets the database grow no further. For tests: SQLite then answers `SQLITE_FULL`.
    pub(super) async fn limit_size(&mut self) -> Result<(), sqlx::Error> {
        self.run("PRAGMA max_page_count = 1").await
    }

    async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(sql).execute(&mut self.connection).await.map(drop)
    }

    /// Closes it; what was not committed is gone.
    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        self.connection.close().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any of these would let a power cut take what was finished, and no test could see it.
    #[tokio::test]
    async fn a_connection_that_does_not_sync_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot.db");
        let mut db = Db::writable(&path, true).await.unwrap();
        for (set, back) in [
            ("PRAGMA synchronous = NORMAL", "PRAGMA synchronous = FULL"),
            ("PRAGMA journal_mode = OFF", "PRAGMA journal_mode = TRUNCATE"),
        ] {
            db.run(set).await.unwrap();
            let refused = db.check_settings(&path).await.unwrap_err().to_string();
            assert!(refused.contains("may be lost"), "{set}: {refused}");
            db.run(back).await.unwrap();
            db.check_settings(&path).await.unwrap();
        }
        db.close().await.unwrap();
    }
}
