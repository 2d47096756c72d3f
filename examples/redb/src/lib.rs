//! A state machine whose data is in [redb](https://docs.rs/redb), an embedded store: keys with values, and counters.
//!
//! * What a batch of commands does, and the entry it goes up to, are **one transaction**: after any crash the store is
//!   as it was after some entry, and says after which. The node executes what follows, and nothing twice.
//! * That transaction is **not synced**. Each entry is durable in the journal of a majority before it is executed, so
//!   a crash costs no data, only time: what the store lost is executed again. [`Options::sync_every_bytes`] bounds how
//!   much that is. See [`Store`] for what else a sync is needed for.
//! * A snapshot is a read transaction: it sees one moment, however long it is read.
//! * An installed snapshot is one transaction as well, and synced: whatever stops it leaves the old data.
//!
//! redb's calls block: the machine makes them on tokio's threads for that, and so should whoever opens or reads the
//! [`Store`].

mod command;
mod machine;
mod snapshot;
mod store;

pub use command::{Answer, Ask, Done, Refused};
pub use store::{Options, Store, StoreError};
