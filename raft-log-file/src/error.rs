//! How failures of the system become errors of the journal.

use std::io;
use std::sync::Arc;

use raft_core::backend::{Corruption, OpenError};
use raft_core::ids::Index;

/// Says what was attempted when the system failed.
pub(crate) trait Context<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, OpenError>;
}

impl<T> Context<T> for io::Result<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, OpenError> {
        self.map_err(|error| OpenError::Io { what: what(), cause: cause(&error) })
    }
}

/// What the system said.
pub(crate) fn cause(error: &io::Error) -> Arc<str> {
    error.to_string().into()
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
