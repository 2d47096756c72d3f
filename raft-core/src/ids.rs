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
    ///
    /// ```
    /// use raft_core::Config;
    /// use raft_core::error::ConfigError;
    /// use raft_core::ids::{ClusterId, NodeId};
    ///
    /// let cluster = ClusterId(0x3b1f);
    /// let from_command_line = NodeId("7".parse().unwrap());
    /// assert_eq!(Config::new(from_command_line, cluster).validate(), Ok(()));
    /// // 0 is what is left where somebody forgot to say it: no node has that name.
    /// assert_eq!(Config::new(NodeId::default(), cluster).validate(), Err(ConfigError::ZeroId));
    /// ```
    NodeId
}
number! {
    /// A term (§5.1): logical time. At most one leader per term.
    ///
    /// ```
    /// use raft_core::ids::Term;
    ///
    /// // Who hears of a later term than its own takes it on (§5.1); an earlier one changes nothing.
    /// let mut mine = Term(4);
    /// for heard in [Term(6), Term(5)] {
    ///     mine = mine.max(heard);
    /// }
    /// assert_eq!(mine, Term(6));
    /// ```
    Term
}
number! {
    /// A position in the log. The first entry has index 1; 0 is "before the log".
    ///
    /// ```
    /// use raft_core::ids::Index;
    ///
    /// // Ranges are half-open: these are entries 1 and 2.
    /// let stored = Index(1)..Index(3);
    /// assert!(stored.contains(&Index(2)) && !stored.contains(&Index(3)));
    /// assert!(!stored.contains(&Index::ZERO), "no entry stands there");
    /// ```
    Index
}
number! {
    /// One Raft group among several that share a transport. 0 for now, in every frame and journal header.
    ///
    /// ```
    /// use raft_core::Config;
    /// use raft_core::ids::{ClusterId, GroupId, NodeId};
    ///
    /// // Who says nothing of groups gets the only one that there is now.
    /// let config = Config::new(NodeId(1), ClusterId(0x3b1f));
    /// assert_eq!(config.group, GroupId(0));
    /// ```
    GroupId
}
number! {
    /// Names a waiting linearizable read. Chosen by the caller, echoed in the answer.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// use raft_core::ids::ReadId;
    ///
    /// let mut waiting = BTreeMap::from([(ReadId(1), "the balance"), (ReadId(2), "the owner")]);
    /// // Reads may be answered in another order than they were asked in: the answer says which it is.
    /// assert_eq!(waiting.remove(&ReadId(2)), Some("the owner"));
    /// assert!(waiting.contains_key(&ReadId(1)));
    /// ```
    ReadId
}
number! {
    /// The number of one journal write. Handed out in order, acknowledged in order.
    ///
    /// ```
    /// use std::collections::VecDeque;
    ///
    /// use raft_core::ids::WriteTicket;
    ///
    /// let mut under_way = VecDeque::from([WriteTicket(8), WriteTicket(9)]);
    /// // The journal has done one: it is always the oldest.
    /// let done = under_way.pop_front().unwrap();
    /// assert!(under_way.iter().all(|later| *later > done));
    /// ```
    WriteTicket
}
number! {
    /// Names a membership change that was begun; echoed when it ends.
    ///
    /// ```
    /// use raft_core::ids::ChangeId;
    ///
    /// // A caller waits for its own change, and hears of the end of all.
    /// let mine = ChangeId(5);
    /// let ended = [ChangeId(4), ChangeId(5)];
    /// assert_eq!(ended.iter().position(|id| *id == mine), Some(1));
    /// ```
    ChangeId
}
number! {
    /// Names a request for entries that have left memory.
    ///
    /// ```
    /// use raft_core::ids::FetchId;
    ///
    /// let mut asked = Some(FetchId(8));
    /// // The entries of an earlier request come late: nobody waits for them any more.
    /// assert_eq!(asked.take_if(|id| *id == FetchId(7)), None);
    /// assert_eq!(asked.take_if(|id| *id == FetchId(8)), Some(FetchId(8)));
    /// ```
    FetchId
}
number! {
    /// A client session: the index of the entry that opened it, so it is never given twice. 0 is none.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use raft_core::ids::{Index, SessionId};
    /// use raft_core::session::{Limits, Op, Table};
    ///
    /// let mut table = Table::new();
    /// let open = Op::Open { timeout: Duration::from_secs(60), limits: Limits::DEFAULT };
    /// assert_eq!(table.execute(Index(12), open), Ok(SessionId(12)));
    /// ```
    SessionId
}

impl Index {
    /// Before the log.
    pub const ZERO: Self = Self(0);

    /// The following index. Saturates: no log ever reaches `u64::MAX`.
    ///
    /// ```
    /// use raft_core::ids::{Index, LogId};
    ///
    /// let last = LogId::new(3, 41);
    /// // Where a leader puts what it is asked to append.
    /// assert_eq!(last.index.next(), Index(42));
    /// // The first entry of an empty log.
    /// assert_eq!(Index::ZERO.next(), Index(1));
    /// ```
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The preceding index; of 0, 0.
    ///
    /// ```
    /// use raft_core::ids::Index;
    ///
    /// // A leader that sends entries from here on names the one directly before them (§5.3).
    /// let first = Index(18);
    /// assert_eq!(first.prev(), Index(17));
    /// assert_eq!(first.prev().next(), first);
    /// assert_eq!(Index::ZERO.prev(), Index::ZERO);
    /// ```
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
    ///
    /// ```
    /// use raft_core::backend::{HardState, Vote};
    /// use raft_core::ids::{NodeId, Term};
    ///
    /// // A candidate begins a term and votes for itself in it (§5.2).
    /// let follower = HardState { term: Term(4), vote: Vote::For(NodeId(2)), ..HardState::default() };
    /// let candidate = HardState { term: follower.term.next(), vote: Vote::For(NodeId(1)), ..follower };
    /// assert_eq!(candidate.term, Term(5));
    /// ```
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A place in the log together with the term that wrote it.
///
/// Orders by term, then index: exactly "at least as up to date" (§5.4.1). Two entries with the same
/// log id, in the same cluster, are the same entry (Log Matching, Figure 3).
///
/// ```
/// use raft_core::ids::LogId;
///
/// // Whose log is behind gets no vote; a later term counts for more than a longer log.
/// let mine = LogId::new(4, 7);
/// let candidates = [LogId::new(3, 90), LogId::new(4, 6), LogId::new(4, 7), LogId::new(5, 1)];
/// assert_eq!(candidates.map(|last| last >= mine), [false, false, true, true]);
/// ```
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
    ///
    /// ```
    /// use raft_core::ids::{Index, LogId, Term};
    ///
    /// let id = LogId::new(3, 17);
    /// assert_eq!(id, LogId { term: Term(3), index: Index(17) });
    /// assert_eq!(id.to_string(), "3.17");
    /// ```
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
    ///
    /// Settings have it as text:
    ///
    /// ```
    /// use raft_core::ids::ClusterId;
    ///
    /// let text = "7d1c6a30-52b1-4f0e-9a54-0c8e0f6b2d11";
    /// let cluster = ClusterId(u128::from_str_radix(&text.replace('-', ""), 16)?);
    /// assert_eq!(cluster.to_string(), text);
    /// # Ok::<(), std::num::ParseIntError>(())
    /// ```
    ClusterId
}
wide! {
    /// Random, drawn when a store is created: tells a replaced disk from the one that was there before.
    ///
    /// What an operator reads where a node comes back under its old name with another disk:
    ///
    /// ```
    /// use raft_core::backend::Refusal;
    /// use raft_core::ids::{NodeId, StoreId};
    ///
    /// let refusal =
    ///     Refusal::StoreReplaced { node: NodeId(3), known: StoreId(0xa1), offered: StoreId(0xb2) };
    /// let text = refusal.to_string();
    /// assert!(text.contains("now comes with 00000000-0000-0000-0000-0000000000b2"), "{text}");
    /// ```
    StoreId
}

/// How often a store has been opened, with a random number drawn at this opening.
///
/// The number grows by one, synced, at every open. A store that was set back to an older copy comes
/// with a number that is too low, or with the same number and another nonce; either gives it away.
///
/// ```
/// use raft_core::ids::Incarnation;
///
/// let known = Incarnation { number: 9, nonce: 0x51 };
/// // What a peer that has met this one may see next, and what becomes of it.
/// let opened_again = Incarnation { number: 10, nonce: 0x9d };
/// assert!(opened_again > known);
/// let copy_of_yesterday = Incarnation { number: 4, nonce: 0x33 };
/// assert!(copy_of_yesterday < known);
/// let second_copy = Incarnation { number: 9, nonce: 0xc3 };
/// assert!(second_copy.number == known.number && second_copy != known);
/// ```
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
    ///
    /// ```
    /// use raft_core::ids::Incarnation;
    ///
    /// let old = Incarnation { number: 7, nonce: 0x51 };
    /// let copy = old.moved(0xc3).unwrap();
    /// // However often the old store is opened from now on, it stays behind.
    /// let old_later = Incarnation { number: old.number + 1_000_000, nonce: 0x9d };
    /// assert!(copy > old_later);
    /// // The copy may be moved on.
    /// assert!(copy.moved(0x77).unwrap() > copy);
    /// ```
    #[must_use]
    pub const fn moved(self, nonce: u64) -> Option<Self> {
        const OPENINGS: u64 = 1 << 32;
        let number = (self.number / OPENINGS).saturating_add(1).saturating_mul(OPENINGS);
        if number > u64::MAX / 2 { None } else { Some(Self { number, nonce }) }
    }
}

/// Who a node is: in whose cluster, under which name, on which disk, for which time.
///
/// ```
/// use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, NodeId, StoreId};
///
/// let before = Identity {
///     cluster: ClusterId(0x3b1f),
///     group: GroupId(0),
///     node: NodeId(2),
///     store: StoreId(0xa1),
///     incarnation: Incarnation { number: 1, nonce: 0x51 },
/// };
/// // After a restart it is the same node on the same disk, at a later time.
/// let after = Identity { incarnation: Incarnation { number: 2, nonce: 0x9d }, ..before };
/// assert!(after.store == before.store && after > before);
/// ```
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
///
/// ```
/// use raft_core::ids::{Incarnation, KnownPeer, LogId, NodeId, StoreId};
/// use raft_core::membership::{Member, Membership};
///
/// let incarnation = Incarnation { number: 9, nonce: 0x51 };
/// let known =
///     KnownPeer { node: NodeId(2), store: StoreId(0xa1), incarnation, admitted: LogId::ZERO };
/// let members = (1..=3).map(|id| Member::new(NodeId(id), format!("10.0.0.{id}:7101")));
/// let mut membership = Membership::of_voters(members).unwrap();
/// assert_eq!(membership.admitted(known.node), known.admitted);
/// // It was removed, and added again by entry 3.40: it may come with another store now.
/// membership.admitted.insert(known.node, LogId::new(3, 40));
/// assert_ne!(membership.admitted(known.node), known.admitted);
/// ```
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
