//! For authors of transports that keep connections: whom to dial, when again, what to check of a peer and report of
//! it, and which of its connections is the newest. The same for every such transport, and nothing here does I/O.
//!
//! | | |
//! |---|---|
//! | [`Roster`] | whom this node dials: members, and guests that have dialled it (T10) |
//! | [`Reach`] | one peer: its address, and what its lanes have come to (T5) |
//! | [`Attempts`] | when a lane is dialled again (T4), and what an attempt says of the peer's process (T5) |
//! | [`Backoff`] | the wait between two attempts (T4) |
//! | [`Side`] | what two nodes check of each other when they shake hands (T6, T11) |
//! | [`reachable()`] | where a guest can be dialled (T10) |
//! | [`Newest`] | what comes over an older connection is not delivered (T1) |
//! | [`Counters`] | what a transport counts |

mod attempts;
mod backoff;
mod counters;
mod handshake;
mod newest;
mod reach;
mod reachable;
mod roster;

pub use attempts::Attempts;
pub use backoff::Backoff;
pub use counters::{Counters, Stats, count};
pub use handshake::Side;
pub use newest::{Claim, Newest};
pub use reach::Reach;
pub use reachable::reachable;
pub use roster::Roster;
