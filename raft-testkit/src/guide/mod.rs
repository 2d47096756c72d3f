//! Guides for authors of backends. The code in them is compiled, and held to what they say by the suites.

pub mod journal;
pub mod skips;
pub mod transport;
