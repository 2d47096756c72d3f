//! What tests of a Raft node and of its backends need.
//!
//! * [`memory`]: a journal, a network and state machines in memory, with faults on demand.
//! * [`conformance`]: the contracts of the backends as tests, one for each clause.
//! * [`guide`]: how to write a backend of one's own.
//! * [`linearizability`]: what clients saw, checked against a model of the data.
//! * `sim` (feature `sim`): whole nodes with the file journal, simulated from one seed, with faults.
//! * `model` (feature `sim`): the protocol, explored state by state.
//! * [`scenario`]: stories about the protocol as text files, with the trace that each must give.
//!
//! # For the author of a backend
//!
//! Add this crate as a dev-dependency, implement
//! [`JournalBackend`](conformance::journal::JournalBackend),
//! [`SnapshotBackend`](conformance::snapshot::SnapshotBackend),
//! [`TransportBackend`](conformance::transport::TransportBackend) or
//! [`StateMachineBackend`](conformance::state_machine::StateMachineBackend) in one of your tests, and write
//! [`journal_conformance!`], [`snapshot_conformance!`], [`transport_conformance!`] or
//! [`state_machine_conformance!`] below it; each has an example that compiles.
//! `cargo test` then shows one test for each clause, named by its number in the contract
//! ([`Journal`](raft_core::backend::Journal), [`Transport`](raft_core::backend::Transport)). A failure
//! says what the contract says, what was expected and what was seen:
//!
//! ```text
//! j04_gap_is_refused: J4: a gap is refused with the index that fits, and changes nothing.
//!   expected: the answer to a write: Err(Gap { expected: Index(4), got: Index(5) })
//!       seen: Ok(())
//! ```
//!
//! The suite brings its own runtime. Some clauses need a fault that only you can provoke: a crash, a
//! flipped bit, a failing sync, a full disk. What you cannot offer you skip by name, with a reason, which
//! is printed; the list of what was skipped is part of what your backend promises.
//!
//! A backend that offers no `crash` and no `path` is not tested for power cuts and kills, and no suite sees what a real
//! file system does with a power cut. A journal needs tests of its own for that.
//!
//! # For the author of a test
//!
//! ```
//! use raft_core::backend::Journal;
//! use raft_core::ids::{ClusterId, GroupId, NodeId};
//! use raft_core::membership::{Member, Membership};
//! use raft_core::status::RoleKind;
//! use raft_core::{Config, Node};
//! use raft_testkit::memory::{MemoryDisk, MemoryJournal, MemoryNetwork, Register, RegisterCommand};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (cluster, group, id) = (ClusterId(1), GroupId(0), NodeId(1));
//! let (disk, network) = (MemoryDisk::new(), MemoryNetwork::new());
//! let alone = Membership::of_voters([Member::new(id, "anywhere")])?;
//! let node = Node::builder(Config::new(id, cluster))
//!     .journal(MemoryJournal::create(&disk, cluster, group, id, Some(&alone))?)
//!     .transport(network.transport(id))
//!     .state_machine(Register::new())
//!     .start()
//!     .await?;
//! let mut watch = node.watch();
//! while node.status().role != RoleKind::Leader {
//!     watch.changed().await;
//! }
//! let applied = node.propose(RegisterCommand::Add(5).encode()).await?;
//! assert_eq!(Register::answer(&applied.response), Some(5));
//! node.shutdown().await?;
//!
//! // The disk outlives the node.
//! let state = MemoryJournal::open(&disk, cluster, group, id)?.load().await?;
//! assert!(state.last >= applied.id);
//! # Ok(())
//! # }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod conformance;
pub mod guide;
pub mod linearizability;
pub mod memory;
#[cfg(feature = "sim")]
pub mod model;
pub mod pinned;
pub mod scenario;
#[cfg(feature = "sim")]
pub mod sim;
