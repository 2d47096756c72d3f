//! The numbers of the protocol, each its own type so that no two can be confused.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// A node's name in its cluster: chosen by the operator, never reused, independent of its address.
    NodeId
}
number! {
    /// A term (§5.1): logical time. At most one leader per term.
    Term
}
number! {
    /// A position in the log. The first entry has index 1; 0 is "before the log".
    Index
}
number! {
    /// One Raft group among several that share a transport. 0 for now, in every frame and journal header.
    GroupId
}
number! {
    /// Names a waiting linearizable read. Chosen by the caller, echoed in the answer.
    ReadId
}
number! {
    /// The number of one journal write. Handed out in order, acknowledged in order.
    WriteTicket
}
number! {
    /// Names a membership change that was begun; echoed when it ends.
    ChangeId
}
number! {
    /// Names a request for entries that have left memory.
    FetchId
}
number! {
    /// A client session: the index of the entry that opened it, so it is never given twice. 0 is none.
    SessionId
}

impl Index {
    /// Before the log.
    pub const ZERO: Self = Self(0);

    /// The following index. Saturates: no log ever reaches `u64::MAX`.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The preceding index; of 0, 0.
    #[must_use]
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl Term {
    /// Before any election.
    pub const ZERO: Self = Self(0);

    /// Messages that name a later term are ignored: no cluster gets there by counting, and nothing could
    /// follow the greatest number.
    pub const LAST: Self = Self(u64::MAX >> 1);

    /// The following term.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A place in the log together with the term that wrote it.
///
/// Orders by term, then index: exactly "at least as up to date" (§5.4.1). Two entries with the same
/// log id, in the same cluster, are the same entry (Log Matching, Figure 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// The term of the leader that appended the entry.
    pub term: Term,
    /// Its position.
    pub index: Index,
}

impl LogId {
    /// Before the log: what an empty log ends with.
    pub const ZERO: Self = Self { term: Term::ZERO, index: Index::ZERO };

    /// Builds a log id from plain numbers, term first.
    #[must_use]
    pub const fn new(term: u64, index: u64) -> Self {
        Self { term: Term(term), index: Index(index) }
    }
}

impl fmt::Display for LogId {
    /// `term.index`, as in scenario files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}

macro_rules! wide {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            /// As a UUID: 8-4-4-4-12 hexadecimal digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let v = self.0;
                write!(
                    f,
                    "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                    (v >> 96) as u32,
                    (v >> 80) as u16,
                    (v >> 64) as u16,
                    (v >> 48) as u16,
                    v & 0xffff_ffff_ffff
                )
            }
        }
    };
}

wide! {
    /// A cluster's name. Two clusters with different ids never talk.
    ClusterId
}
wide! {
    /// Random, drawn when a store is created: tells a replaced disk from the one that was there before.
    StoreId
}

/// How often a store has been opened, with a random number drawn at this opening.
///
/// The number grows by one, synced, at every open. A store that was set back to an older copy comes
/// with a number that is too low, or with the same number and another nonce; either gives it away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// Counts the openings, from 1.
    pub number: u64,
    /// Drawn at this opening.
    pub nonce: u64,
}

impl Incarnation {
    /// What a copy of the store begins with when its node is moved there: a number that no opening of the
    /// old store reaches, so that peers who have met the copy refuse the old store however often it is
    /// started. The lower half of a number counts openings, the upper half moves. `None` if there were
    /// 2^31 moves.
    #[must_use]
    pub const fn moved(self, nonce: u64) -> Option<Self> {
        const OPENINGS: u64 = 1 << 32;
        let number = (self.number / OPENINGS).saturating_add(1).saturating_mul(OPENINGS);
        if number > u64::MAX / 2 { None } else { Some(Self { number, nonce }) }
    }
}

/// Who a node is: in whose cluster, under which name, on which disk, for which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// The group within it.
    pub group: GroupId,
    /// Its name.
    pub node: NodeId,
    /// The store that holds its journal.
    pub store: StoreId,
    /// Which opening of that store this is.
    pub incarnation: Incarnation,
}

/// What a node remembers durably of a peer that it has met (J12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KnownPeer {
    /// The peer's name.
    pub node: NodeId,
    /// The store it had.
    pub store: StoreId,
    /// The highest incarnation it showed.
    pub incarnation: Incarnation,
    /// The entry by which it had become a member then; zero for a founder. If it is a member by a later one now, it
    /// has been removed meanwhile, and this counts no longer.
    pub admitted: LogId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_store_is_ahead_of_every_opening_of_the_old_one() {
        let old = Incarnation { number: 7, nonce: 1 };
        let moved = old.moved(2).unwrap();
        assert_eq!(moved, Incarnation { number: 1 << 32, nonce: 2 });
        let opened = Incarnation { number: moved.number + 3, nonce: 3 };
        assert_eq!(opened.moved(4).unwrap().number, 2 << 32);
        assert_eq!(Incarnation { number: u64::MAX / 2, nonce: 1 }.moved(5), None);
        assert_eq!(Incarnation { number: u64::MAX, nonce: 1 }.moved(5), None);
    }
}
