//! The driver: joins the protocol with a journal, a transport and a state machine.
//!
//! ```text
//!   NodeHandle --batches, requests-->  protocol task  --jobs-->  applier task
//!   Transport  --control, bulk----->   (owns Raft,    <--done--  (owns the state machine,
//!                                       the journal)              answers who waits)
//! ```
//! Snapshots are written by tasks of their own: see `snapshots/`.
//!
//! Two tasks, no lock on the way of a write. Everything that is not a channel comes through
//! [`Runtime`](crate::backend::Runtime), so that one seed can replay a whole node.

mod applier;
mod builder;
mod changes;
mod durations;
mod gather;
mod guard;
mod handle;
mod inbox;
#[cfg(feature = "metrics")]
pub mod metrics;
mod peers;
mod protocol;
mod replay;
mod scrub;
mod session;
mod shared;
mod snapshots;
#[cfg(feature = "tracing")]
mod spans;
mod tokio;
mod trace;
#[cfg(feature = "typed")]
pub mod typed;
mod waiters;

pub use builder::{Builder, Node};
pub use durations::{DurationCounts, Durations, Timings};
pub use handle::{NodeHandle, ReadPolicy, StatusWatch};
pub use replay::Replay;
pub use scrub::Scrubbed;
pub use session::{Call, CallFailed, Session, SessionError};
pub use snapshots::seed_snapshot;
#[cfg(feature = "tracing")]
pub use spans::EntrySpans;
pub use tokio::TokioRuntime;
#[cfg(feature = "trace")]
pub use trace::{Input, Observer, Output};
pub use waiters::Applied;
