//! Every state that a small cluster can come to: the shipping [`Raft`](raft_core::Raft), explored breadth
//! first.
//!
//! A state of the model is a few nodes, each with its protocol, its durable journal and the write under
//! way; and the set of all messages ever sent. A message is never taken out of the set: it may arrive late,
//! never, or many times. What becomes of a node depends on the node and on what happens to it, so each such
//! step is computed once and looked up from then on; that is what makes millions of states a minute.
//!
//! **Time.** A heartbeat round takes no time and an election timeout is longer than all else. Any timer may
//! fire at any moment, and contacts may grow old without one ([`Action::Silence`]): that covers every clock,
//! at any speed. What a real clock rules out is explored as well.
//!
//! **Bounds.** Terms, proposals, crashes, heartbeat rounds, reads and transfers are bounded by the
//! configuration; messages beyond `messages` are lost. Within them the exploration is complete if it ends
//! before its limit of states, and breadth first otherwise.

mod explorer;
mod node;
mod walks;
mod world;

pub use explorer::{Found, Report, explore};
pub use node::Action;
pub use walks::walk;

/// One change of members. It is forced: who is silent or behind may come to vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A node that is no member becomes a voter, by way of a learner.
    Add(u8),
    /// A voter goes.
    Remove(u8),
    /// A voter goes and another comes.
    Replace(u8, u8),
}

/// A mistake that is made on purpose, outside of the protocol: an explorer that does not find it is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// None.
    None,
    /// A node forgets at a restart whom it has voted for.
    ForgetsVotes,
    /// Writes count as durable when they are handed over.
    AcksBeforeDurable,
    /// A node that lost a part of its log goes on voting.
    VotesAfterLoss,
}

/// What is explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Nodes; at most 5.
    pub nodes: u8,
    /// The highest term that somebody campaigns for.
    pub terms: u8,
    /// Proposals.
    pub proposals: u8,
    /// Crashes.
    pub crashes: u8,
    /// Nodes that lose the end of their log.
    pub damages: u8,
    /// Reads.
    pub reads: u8,
    /// Reads are asked of followers too.
    pub anywhere: bool,
    /// Changes of members, each by one step of the list.
    pub changes: u8,
    /// Who votes at first, by bits; 0 for all nodes.
    pub founders: u8,
    /// What the changes are, each node by its number, one after the other.
    pub plan: &'static [Step],
    /// Transfers.
    pub transfers: u8,
    /// Times that contacts grow old.
    pub silences: u8,
    /// Heartbeat rounds of one leader.
    pub rounds: u8,
    /// Messages at a time; more are lost.
    pub messages: u8,
    /// Begins with node 1 leading term 1, its no-op committed and known everywhere; else with nothing.
    pub led: bool,
    /// Writes take no time; else they are steps, and crashes come between.
    pub eager: bool,
    /// A mistake.
    pub flaw: Flaw,
}

const BASIC: Bounds = Bounds {
    name: "basic",
    about: "elections, replication, and a crash that loses what is not synced",
    nodes: 3,
    terms: 3,
    proposals: 2,
    crashes: 1,
    damages: 0,
    reads: 0,
    anywhere: false,
    changes: 0,
    founders: 0,
    plan: &[],
    transfers: 0,
    silences: 3,
    rounds: 1,
    messages: 40,
    led: false,
    eager: false,
    flaw: Flaw::None,
};

/// The configurations of reliability §4b that concern what exists.
pub const CONFIGURATIONS: &[Bounds] = &[
    BASIC,
    Bounds {
        name: "succession",
        about: "a leader with a log is replaced, and crashes lose what is not synced",
        terms: 3,
        led: true,
        ..BASIC
    },
    Bounds {
        name: "transfer",
        about: "pre-vote, check-quorum and hand-over",
        proposals: 1,
        crashes: 0,
        transfers: 1,
        silences: 4,
        rounds: 3,
        led: true,
        ..BASIC
    },
    Bounds {
        name: "probation",
        about: "a node loses the end of its log and keeps its hard state (M10)",
        terms: 3,
        proposals: 2,
        crashes: 0,
        damages: 1,
        silences: 2,
        rounds: 3,
        led: true,
        eager: true,
        ..BASIC
    },
    Bounds {
        name: "probation-small",
        about: "the same within bounds that can be exhausted",
        terms: 2,
        proposals: 1,
        crashes: 0,
        damages: 1,
        silences: 1,
        rounds: 2,
        messages: 14,
        led: true,
        eager: true,
        ..BASIC
    },
    Bounds {
        name: "read-index",
        about: "linearizable reads while leaders change",
        proposals: 1,
        crashes: 0,
        reads: 1,
        rounds: 3,
        led: true,
        eager: true,
        ..BASIC
    },
    Bounds {
        name: "follower-read",
        about: "a follower asks its leader for a read index while leaders change",
        proposals: 1,
        crashes: 0,
        reads: 1,
        anywhere: true,
        rounds: 3,
        led: true,
        eager: true,
        ..BASIC
    },
    Bounds {
        name: "joint",
        about: "one voter of three is replaced by a fourth node while leaders change and crash (6)",
        nodes: 4,
        founders: 0b0111,
        terms: 3,
        proposals: 0,
        crashes: 1,
        changes: 1,
        plan: &[Step::Replace(3, 4)],
        silences: 1,
        rounds: 2,
        led: true,
        eager: true,
        ..BASIC
    },
    Bounds {
        name: "growing",
        about: "from one voter to two and to three while leaders change and crash (6)",
        founders: 0b001,
        terms: 3,
        proposals: 0,
        crashes: 1,
        changes: 2,
        plan: &[Step::Add(2), Step::Add(3)],
        silences: 1,
        rounds: 2,
        led: true,
        eager: true,
        ..BASIC
    },
];
