//! The Raft protocol as a pure state machine, the contracts of its backends, and the driver that joins
//! them.
//!
//! Read in this order: [`ids`], [`entry`], [`message`] (what the protocol speaks of), [`membership`]
//! (who decides), [`session`] (what is executed once), [`backend`] (what others implement), [`raft`] (the protocol).
//!
//! Without default features the crate needs `alloc` only, no std and no runtime.

#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;

pub mod backend;
pub mod config;
pub mod entries;
pub mod entry;
pub mod error;
pub mod ids;
mod log;
pub mod membership;
pub mod message;
#[cfg(feature = "node")]
pub mod node;
#[cfg(feature = "peering")]
pub mod peering;
pub mod raft;
pub mod session;
#[cfg(feature = "slots")]
pub mod slots;
pub mod status;
pub mod time;
#[cfg(feature = "tls")]
pub mod tls;

pub use config::{Config, Lease, Settings};
#[cfg(feature = "typed")]
pub use node::typed::{TypedNode, TypedSession};
#[cfg(feature = "node")]
pub use node::{Applied, Node, NodeHandle, ReadPolicy, Scrubbed, Session, StatusWatch, TokioRuntime};
pub use raft::Raft;
