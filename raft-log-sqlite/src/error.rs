//! How failures of the system and of SQLite become errors of the journal.

use std::fmt;
use std::io;
use std::sync::Arc;

use raft_core::backend::{Corruption, JournalError, OpenError};
use raft_core::ids::Index;

/// Says what was attempted when the system failed.
pub(crate) trait Context<T> {
    fn during(self, what: &str) -> Result<T, OpenError>;
}

impl<T> Context<T> for io::Result<T> {
    fn during(self, what: &str) -> Result<T, OpenError> {
        self.map_err(|error| OpenError::Io { what: what.to_owned(), cause: error.to_string().into() })
    }
}

impl<T> Context<T> for Result<T, SqlError> {
    fn during(self, what: &str) -> Result<T, OpenError> {
        self.map_err(|error| match error.kind() {
            Kind::Locked => OpenError::Locked { by: None },
            _ => OpenError::Io { what: what.to_owned(), cause: error.to_string().into() },
        })
    }
}

impl<T> Context<T> for Result<T, sqlx::Error> {
    fn during(self, what: &str) -> Result<T, OpenError> {
        self.map_err(SqlError::from).during(what)
    }
}

/// What SQLite has said, to whom it was.
#[derive(Debug)]
pub(crate) enum SqlError {
    /// To sqlx.
    Sqlx(sqlx::Error),
    /// To rusqlite.
    Direct(rusqlite::Error),
    /// It was not asked, or has not said it.
    Other(Box<str>),
}

impl From<sqlx::Error> for SqlError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlx(error)
    }
}

impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Direct(error)
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlx(error) => error.fmt(f),
            Self::Direct(error) => error.fmt(f),
            Self::Other(what) => what.fmt(f),
        }
    }
}

impl SqlError {
    /// SQLite's result code, without what it adds to say where.
    fn code(&self) -> Option<u32> {
        match self {
            Self::Sqlx(error) => result_code(error),
            Self::Direct(error) => {
                error.sqlite_error().map(|error| error.extended_code.cast_unsigned() & 0xff)
            }
            Self::Other(_) => None,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Sqlx(error) => Kind::of(error),
            Self::Direct(
                rusqlite::Error::QueryReturnedNoRows
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..),
            ) => Kind::Damaged,
            Self::Direct(_) | Self::Other(_) => self.code().map_or(Kind::Other, Kind::of_code),
        }
    }
}

/// SQLite's result code, without what it adds to say where.
fn result_code(error: &sqlx::Error) -> Option<u32> {
    let sqlx::Error::Database(database) = error else { return None };
    Some(database.code()?.parse::<u32>().ok()? & 0xff)
}

/// Whether an error means that the database is damaged, where nothing is written: what SQLite would have to repair first is
/// damaged too.
pub(crate) fn is_damage_to_see(error: &SqlError) -> bool {
    /// `SQLITE_ERROR`: our statements are right, so it is their table that is missing. `SQLITE_READONLY`.
    const UNKNOWN: [u32; 2] = [1, 8];
    matches!(error, SqlError::Sqlx(sqlx::Error::Migrate(_)))
        || error.kind() == Kind::Damaged
        || error.code().is_some_and(|code| UNKNOWN.contains(&code))
}

/// What SQLite's result codes mean to a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `SQLITE_FULL`, or `ENOSPC` beneath it.
    Full,
    /// `SQLITE_BUSY`, `SQLITE_LOCKED`.
    Locked,
    /// `SQLITE_CORRUPT`, `SQLITE_NOTADB`, and a row or a column that must be there.
    Damaged,
    /// `SQLITE_IOERR` and everything else.
    Other,
}

impl Kind {
    pub(crate) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::RowNotFound => Self::Damaged,
            _ => result_code(error).map_or(Self::Other, Self::of_code),
        }
    }

    const fn of_code(code: u32) -> Self {
        match code {
            13 => Self::Full,
            5 | 6 => Self::Locked,
            11 | 26 => Self::Damaged,
            // SQLITE_ERROR (1) is a statement that SQLite does not understand, and our own fault first of all.
            _ => Self::Other,
        }
    }
}

/// The error of a write or a read.
pub(crate) fn journal_error(error: &SqlError, what: &str, needed: u64) -> JournalError {
    match error.kind() {
        Kind::Full => JournalError::NoSpace { needed },
        Kind::Damaged => JournalError::Corrupt(damage("journal.db", 0, error.to_string())),
        _ => io_error(what, error.to_string()),
    }
}

/// The system failed.
pub(crate) fn io_error(what: &str, cause: impl Into<Arc<str>>) -> JournalError {
    JournalError::Io { what: what.to_owned(), cause: cause.into() }
}

/// A file beside the database could not be written: with `needed` bytes for which there is no room (J9), or for
/// another reason.
pub(crate) fn file_error(what: &str, error: &io::Error, needed: u64) -> JournalError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => JournalError::NoSpace { needed },
        _ => io_error(what, error.to_string()),
    }
}

/// Not what the log allows.
pub(crate) fn refused(what: impl Into<String>) -> JournalError {
    JournalError::Refused { what: what.into() }
}

/// Damage at a place.
pub(crate) fn damage(place: &str, offset: u64, reason: impl Into<String>) -> Corruption {
    Corruption { range: None, place: place.to_owned(), offset, reason: reason.into() }
}

/// The same with the entries that it concerns.
pub(crate) fn damage_of(mut damage: Corruption, from: u64, to: u64) -> Corruption {
    damage.range = Some(Index(from)..Index(to.max(from)));
    damage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_code_has_its_kind() {
        use Kind::{Damaged, Full, Locked, Other};
        let table = [
            // A statement that is not understood, or a table that is missing: our own fault, when it is written.
            (1, Other),
            (5, Locked),
            (6, Locked),
            (7, Other),
            (8, Other),
            (10, Other),
            (11, Damaged),
            (13, Full),
            (14, Other),
            (26, Damaged),
        ];
        for (code, kind) in table {
            assert_eq!(Kind::of_code(code), kind, "{code}");
        }
        assert_eq!(Kind::of(&sqlx::Error::RowNotFound), Damaged);
        assert_eq!(Kind::of(&sqlx::Error::WorkerCrashed), Other);
        assert_eq!(SqlError::from(rusqlite::Error::QueryReturnedNoRows).kind(), Damaged);
        for (code, kind) in table {
            // With what SQLite adds to say where.
            let failure = rusqlite::ffi::Error::new((code | 3 << 8).cast_signed());
            assert_eq!(SqlError::from(rusqlite::Error::SqliteFailure(failure, None)).kind(), kind, "{code}");
        }
    }

    #[test]
    fn no_room_for_a_file_is_no_space() {
        let of = |kind: io::ErrorKind| file_error("write the hard state", &kind.into(), 8);
        for full in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            assert_eq!(of(full), JournalError::NoSpace { needed: 8 });
        }
        assert!(matches!(of(io::ErrorKind::PermissionDenied), JournalError::Io { .. }));
    }
}
