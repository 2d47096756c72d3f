//! What goes in at the start, and what comes out: the types of the protocol's boundary.

use alloc::vec::Vec;
use core::ops::Range;

use crate::backend::JournalState;
use crate::entry::Entry;
use crate::error::{ReadError, TransferError, Violation};
use crate::ids::{FetchId, Index, LogId, NodeId, ReadId, Term};
use crate::membership::{Member, Membership};
use crate::message::Notice;
use crate::status::{RoleKind, Why};

/// What a node starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What its journal has.
    pub journal: JournalState,
    /// What its state machine has executed.
    pub applied: LogId,
}

/// Entries to execute next, in order. Of all kinds; the state machine is shown the commands only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apply {
    /// Consecutive, committed, and durable on this node.
    pub entries: Vec<Entry>,
    /// The last of them; reported back with `handle_applied`.
    pub through: LogId,
}

/// Entries that have left memory and are wanted from the journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fetch {
    /// Its number; goes back with `handle_fetched`.
    pub id: FetchId,
    /// Which, half-open. All of it is durable.
    pub range: Range<Index>,
    /// How much at once, in bytes; at least one entry.
    pub max_bytes: u64,
}

/// News and answers. Exhaustive on purpose: a driver that ignores one is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A read may be answered now: everything up to `index` is applied here.
    ReadReady {
        /// The read.
        id: ReadId,
        /// Its read index.
        index: Index,
    },
    /// A read cannot be answered here.
    ReadFailed {
        /// The read.
        id: ReadId,
        /// Why.
        error: ReadError,
    },
    /// The role, the term or the known leader changed.
    RoleChanged {
        /// The role now.
        role: RoleKind,
        /// The term now.
        term: Term,
        /// The leader, if known.
        leader: Option<Member>,
        /// Why.
        why: Why,
    },
    /// Another membership is in force: tell the transport.
    MembershipChanged {
        /// It.
        membership: Membership,
        /// The entry that brought it.
        at: LogId,
    },
    /// A hand-over ended.
    TransferFinished {
        /// Its target.
        to: NodeId,
        /// How it ended.
        result: Result<(), TransferError>,
    },
    /// An invariant does not hold. If it [is fatal](Violation::is_fatal) this `Raft` does nothing any
    /// more and its node must stop.
    Alarm(Violation),
    /// A follower has lost what it had acknowledged; it has been told. For reports.
    PeerRolledBack {
        /// The follower.
        peer: NodeId,
        /// The greatest index that it had acknowledged.
        acknowledged: Index,
    },
    /// A peer tells this node something about itself.
    Noticed {
        /// The peer.
        by: NodeId,
        /// What it says.
        notice: Notice,
    },
}
