//! For authors of transports that keep connections: whom to dial, when again, what to report of a peer, and which
//! of its connections is the newest. The same for every such transport, and nothing here does I/O.
//!
//! | | |
//! |---|---|
//! | [`Roster`] | whom this node dials: members, and guests that have dialled it (T10) |
//! | [`Reach`] | one peer: its address, and what its lanes have come to (T5) |
//! | [`Backoff`] | the wait between two attempts (T4) |
//! | [`Newest`] | what comes over an older connection is not delivered (T1) |
//! | [`Counters`] | what a transport counts |

mod backoff;
mod counters;
mod newest;
mod reach;
mod roster;

pub use backoff::Backoff;
pub use counters::{Counters, Stats, count};
pub use newest::{Claim, Newest};
pub use reach::Reach;
pub use roster::Roster;
