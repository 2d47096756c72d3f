//! The one connection to the database, as sqlx has it: its settings, its schema, its end. Its rows are in `table`.

use std::path::Path;
use std::time::Duration;

use raft_core::backend::OpenError;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqlSafeStr};

use crate::beside::VERSION;
use crate::error::{Context, SqlError, is_damage_to_see};

/// `RSQL`: what `PRAGMA application_id` says of our databases.
const APPLICATION: i64 = 0x5253_514c;

/// The oldest SQLite without the defect that a reset of the write-ahead log could damage a database.
pub(crate) const OLDEST: [u32; 3] = [3, 51, 3];

fn migrations() -> Migrator {
    let sql = include_str!("../migrations/0001_journal.sql").into_sql_str();
    Migrator::with_migrations(vec![Migration::new(1, "journal".into(), MigrationType::Simple, sql, false)])
}

/// The locking mode before the journal mode, so that no shared memory is needed. Nothing of a transaction is in the write-ahead log
/// before its COMMIT: SQLite would write some of it twice, and a kill in between would look like damage.
const SETTINGS: &str = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                        PRAGMA wal_autocheckpoint = 0; PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON; \
                        PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; PRAGMA cache_spill = OFF;";

fn options(path: &Path, create: bool) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(create)
        .busy_timeout(Duration::ZERO)
        .disable_statement_logging()
}

/// The connection.
pub(crate) struct Db {
    connection: SqliteConnection,
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
        let mut db = Self { connection: options.connect().await? };
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
    pub(crate) async fn schema_damage(&mut self) -> Result<Option<String>, SqlError> {
        let done = match self.migrated().await.map_err(SqlError::from) {
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

    async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(sql).execute(&mut self.connection).await.map(drop)
    }

    /// For whoever uses it without sqlx meanwhile.
    pub(crate) fn into_inner(self) -> SqliteConnection {
        self.connection
    }

    /// Undoes [`into_inner`](Self::into_inner).
    pub(crate) const fn of(connection: SqliteConnection) -> Self {
        Self { connection }
    }

    /// Closes it; SQLite moves what is left of the write-ahead log into the database.
    pub(crate) async fn close(self) -> Result<(), sqlx::Error> {
        self.connection.close().await
    }
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
