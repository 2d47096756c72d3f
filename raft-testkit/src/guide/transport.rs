#![doc = include_str!("transport.md")]
//! ```
#![doc = include_str!("../../tests/guide/channels.rs")]
//! ```
