//! sqlx's connection, used by whoever has it instead of by sqlx's own thread.
//!
//! sqlx hands each statement to a thread of its own and waits for its answer: two wake-ups, which take about as long as the sync
//! that a transaction waits for (`docs/performance.md`). So sqlx makes the connection, its settings and its schema, and closes it;
//! rows go through the handle that it has, by rusqlite. This file has the only unsafe code of these crates, one call.

use std::ops::Deref;

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use crate::error::SqlError;

/// A connection that sqlx has made, and nobody else uses.
pub(crate) struct Direct {
    /// Before the connection, so that its statements are gone when that is closed.
    rows: rusqlite::Connection,
    connection: SqliteConnection,
}

impl Direct {
    /// Takes it over. After an error it is closed.
    pub(crate) async fn of(mut connection: SqliteConnection) -> Result<Self, SqlError> {
        // What the lock tells is where the handle is, and that sqlx's thread has done all that it was asked.
        let handle = connection.lock_handle().await.map(|mut locked| locked.as_raw_handle());
        let handle = match handle {
            Ok(handle) => handle,
            Err(error) => {
                let _ = connection.close().await;
                return Err(error.into());
            }
        };
        // SAFETY:
        // - The handle is open, and of the same libsqlite3-sys. It is closed with `connection`, which is dropped or closed after
        //   `rows`, and `from_handle` does not close it.
        // - Nobody else uses it meanwhile: sqlx's thread does so only while it serves a request, it has served all that were made
        //   before the lock, and none is made as long as `connection` is in here. That is how sqlx 0.9.0 is made (`worker.rs`
        //   of sqlx-sqlite); it promises it for as long as the lock is held, which borrows the connection. So its version, and
        //   those of rusqlite and libsqlite3-sys, stand to the letter in Cargo.toml: read it again with each other one.
        // - It may be used by another thread than the one that opened it, one at a time: SQLite is compiled and opened for that,
        //   a `rusqlite::Connection` cannot be shared, and the lock orders what sqlx's thread did before what is done here.
        #[expect(unsafe_code, reason = "what it buys is in docs/performance.md: SQLite's journal")]
        let rows = unsafe { rusqlite::Connection::from_handle(handle.as_ptr()) };
        match rows {
            Ok(rows) => Ok(Self { rows, connection }),
            Err(error) => {
                let _ = connection.close().await;
                Err(error.into())
            }
        }
    }

    /// Gives it back to sqlx.
    pub(crate) fn into_inner(self) -> SqliteConnection {
        let Self { rows, connection } = self;
        drop(rows);
        connection
    }
}

impl Deref for Direct {
    type Target = rusqlite::Connection;

    fn deref(&self) -> &rusqlite::Connection {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use sqlx::ConnectOptions;
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;

    /// sqlx panics where a connection is closed that has statements.
    #[tokio::test]
    async fn it_goes_to_and_fro() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        for round in 0..50_i64 {
            sqlx::query("CREATE TABLE IF NOT EXISTS t (a)").execute(&mut connection).await.unwrap();
            let direct = Direct::of(connection).await.unwrap();
            direct.prepare_cached("INSERT INTO t VALUES (?)").unwrap().execute([round]).unwrap();
            assert!(direct.is_autocommit());
            connection = direct.into_inner();
            // Of its rows sqlx wants only the first: its thread may be at the next one when it answers.
            let first: i64 = sqlx::query_scalar("SELECT a FROM t ORDER BY a DESC")
                .fetch_one(&mut connection)
                .await
                .unwrap();
            assert_eq!(first, round);
        }
        let direct = Direct::of(connection).await.unwrap();
        let open = direct.prepare_cached("SELECT a FROM t").unwrap();
        drop(open);
        // Dropped as a whole, and closed as well.
        drop(direct);
        let connection = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
        Direct::of(connection).await.unwrap().into_inner().close().await.unwrap();
    }
}
