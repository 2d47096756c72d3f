//! How failures of the system and of SQLite become errors of the journal.

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

impl<T> Context<T> for Result<T, sqlx::Error> {
    fn during(self, what: &str) -> Result<T, OpenError> {
        self.map_err(|error| match Kind::of(&error) {
            Kind::Locked => OpenError::Locked { by: None },
            _ => OpenError::Io { what: what.to_owned(), cause: error.to_string().into() },
        })
    }
}

/// What SQLite's result codes mean to a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `SQLITE_FULL`, or `ENOSPC` beneath it.
    Full,
    /// `SQLITE_BUSY`, `SQLITE_LOCKED`.
    Locked,
    /// `SQLITE_CORRUPT`, `SQLITE_NOTADB`, and a schema that is not ours.
    Damaged,
    /// `SQLITE_IOERR` and everything else.
    Other,
}

impl Kind {
    pub(crate) fn of(error: &sqlx::Error) -> Self {
        let sqlx::Error::Database(database) = error else {
            return match error {
                sqlx::Error::ColumnDecode { .. } | sqlx::Error::RowNotFound => Self::Damaged,
                _ => Self::Other,
            };
        };
        let code = database.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or(0);
        match code & 0xff {
            13 => Self::Full,
            5 | 6 => Self::Locked,
            // A table that is missing is reported as SQLITE_ERROR.
            1 | 11 | 26 => Self::Damaged,
            _ => Self::Other,
        }
    }
}

/// The error of a write or a read.
pub(crate) fn journal_error(error: &sqlx::Error, what: &str, needed: u64) -> JournalError {
    match Kind::of(error) {
        Kind::Full => JournalError::NoSpace { needed },
        Kind::Damaged => JournalError::Corrupt(damage("journal.db", 0, error.to_string())),
        _ => io_error(what, error.to_string()),
    }
}

/// The system failed.
pub(crate) fn io_error(what: &str, cause: impl Into<Arc<str>>) -> JournalError {
    JournalError::Io { what: what.to_owned(), cause: cause.into() }
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
