//! One error per operation. Each answers the caller's only question: did it happen, may I retry?

mod change;
mod config;
mod fatal;
mod request;
mod upkeep;

pub use change::{ChangeError, Objection};
pub use config::{ConfigError, ReconfigureError};
pub use fatal::{FatalReason, Violation};
pub use request::{ProposeError, ReadError, TransferError};
pub use upkeep::{ScrubFailed, SnapshotFailed};

/// What a failed request has left behind.
///
/// ```
/// use raft_core::error::Outcome;
///
/// let may_send_again = |outcome, idempotent: bool| match outcome {
///     Outcome::NotApplied => true,
///     Outcome::Unknown => idempotent,
///     Outcome::Applied => false,
/// };
/// // To add one twice is not the same as once; to set a value twice is.
/// assert!(!may_send_again(Outcome::Unknown, false));
/// assert!(may_send_again(Outcome::Unknown, true));
/// assert!(may_send_again(Outcome::NotApplied, false));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It did not happen and never will: it may be sent again.
    NotApplied,
    /// It may have happened or may yet happen: only an idempotent request, or a command of a session
    /// under the same number, may be sent again.
    Unknown,
    /// It happened, once, although the answer is not known any more: a command of a session, or one whose answer cannot be
    /// read.
    Applied,
}
