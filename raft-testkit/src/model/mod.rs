//! Every state that a small cluster can come to: the shipping [`Raft`](raft_core::Raft), explored breadth
//! first.
//!
//! A state of the model is a few nodes, each with its protocol, its disk and what its journal is at; and the set of
//! messages on their way. Each may arrive late or never, and so many of them once more as the configuration says, or
//! all of them any number of times. Answers to what their receiver has left behind for good are not kept. What becomes
//! of a node depends on the node and on what happens to it, so each such step is computed once and looked up from then
//! on; that is what makes millions of states a minute.
//!
//! **Time.** A heartbeat round takes no time and an election timeout is longer than all else. Any timer may
//! fire at any moment, and contacts may grow old without one (`Action::Silence`): that covers every clock,
//! at any speed. What a real clock rules out is explored as well.
//!
//! A lease is made of what clocks rule out: in a configuration with `ticks` all nodes share one clock, which goes on by
//! ticks, on one node at a time more slowly if need be, by as much as is declared. Leaders do what is due by their own
//! clock, and nodes campaign when they are asked to, at any moment: only what was promised holds them back.
//!
//! **Bounds.** Terms, proposals, crashes, heartbeat rounds, reads and transfers are bounded by the
//! configuration; messages beyond `messages` are lost, and counted. Within them the exploration is complete if it ends
//! before its limit of states, and breadth first otherwise.

mod begin;
mod checks;
mod configurations;
mod disk;
mod explorer;
mod node;
mod walks;
mod world;

pub use configurations::CONFIGURATIONS;
pub use explorer::{Found, Points, Report, explore};
pub use walks::walk;

/// One change of members. It is forced: who is silent or behind may come to vote.
///
/// # Examples
/// ```
/// use raft_testkit::model::{Bounds, CONFIGURATIONS, Start, Step, explore};
///
/// let basic = CONFIGURATIONS.iter().find(|bounds| bounds.name == "basic").unwrap();
/// let calm = Bounds { terms: 1, proposals: 0, crashes: 0, silences: 0, eager: true, ..*basic };
/// // The leader of three lets the third go; no message comes twice.
/// let plan = &[Step::Remove(3)];
/// let leaves = Bounds { start: Start::Led, changes: 1, plan, copies: Some(0), ..calm };
/// let report = explore(&leaves, 20_000, |_, _| {});
/// assert!(report.exhausted && report.points.joint_left > 0, "{report:?}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A node that is no member becomes a voter, by way of a learner.
    Add(u8),
    /// A voter goes.
    Remove(u8),
    /// A voter goes and another comes.
    Replace(u8, u8),
}

/// Where a configuration begins.
///
/// # Examples
/// ```
/// use raft_testkit::model::{Bounds, CONFIGURATIONS, Start, explore};
///
/// let basic = CONFIGURATIONS.iter().find(|bounds| bounds.name == "basic").unwrap();
/// // With a leader already there, more of the states are about what it does.
/// let report = |start| explore(&Bounds { start, ..*basic }, 2_000, |_, _| {});
/// assert_eq!(report(Start::Led).points.elections, 0);
/// assert!(report(Start::Nothing).points.elections > 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// New nodes.
    Nothing,
    /// Node 1 leads term 1, its no-op committed and known everywhere.
    Led,
    /// The same, and the first change has come so far that its joint membership is in node 1's log, and nowhere else.
    Joint,
    /// The same, all but node 3 have it, the leader does not know, and the others have not heard of the leader for long.
    JointSilent,
    /// The same as `Led`, and one more entry is committed, which the last node lacks: the others have it, the leader
    /// only in a snapshot, and the connection to the last node is a new one.
    Behind,
    /// The same as `Led`, and one more entry is committed, which the last node lacks; a further one is on the same disks.
    /// On their way are the appends of the first, to one once more, to the last at last; and the acknowledgement of the
    /// second.
    Delayed,
}

/// A mistake that is made on purpose, outside of the protocol: an explorer that does not find it is wrong.
///
/// # Examples
/// ```
/// use raft_testkit::model::{Bounds, CONFIGURATIONS, Flaw, explore};
///
/// let basic = CONFIGURATIONS.iter().find(|bounds| bounds.name == "basic").unwrap();
/// let small = Bounds { nodes: 2, terms: 1, proposals: 0, silences: 0, ..*basic };
/// let report = explore(&small.with(Flaw::AcksBeforeDurable), 100_000, |_, _| {});
/// assert!(report.found.is_some(), "an explorer that does not find it is wrong: {report:?}");
/// ```
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
    /// Probation ends with the first acknowledgement. A restart comes with it.
    EndsProbationEarly,
    /// A node that lost a part of its log has lost its vote too, and its term but for what the log says.
    LosesHardState,
}

/// What is explored.
///
/// # Examples
/// ```
/// use raft_testkit::model::{Bounds, CONFIGURATIONS, explore};
///
/// let basic = CONFIGURATIONS.iter().find(|bounds| bounds.name == "basic").unwrap();
/// // So small that all there is can be seen.
/// let few = Bounds { nodes: 2, terms: 1, proposals: 1, crashes: 0, silences: 0, ..*basic };
/// let tiny = Bounds { eager: true, copies: Some(0), ..few };
/// let report = explore(&tiny, 100_000, |_, _| {});
/// assert!(report.exhausted && report.found.is_none(), "{report:?}");
/// ```
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
    /// Heartbeat rounds of one leader, after what has happened before it begins.
    pub rounds: u8,
    /// Snapshots that somebody asks for.
    pub snapshots: u8,
    /// Ticks of the clock that all share, some more slowly; 0 if any timer may fire at any moment. Then nodes have
    /// leases, and campaign when they are asked to, which may be at any moment.
    pub ticks: u8,
    /// Messages that are on their way at a time; more are lost.
    pub messages: u8,
    /// How many messages arrive once more: a message that has arrived is over, but so often it is not. `None` if none
    /// is ever over; then `messages` is how many different ones there are in all.
    pub copies: Option<u8>,
    /// Where it begins.
    pub start: Start,
    /// Writes take no time; else they are steps, and crashes come between.
    pub eager: bool,
    /// A mistake.
    pub flaw: Flaw,
}
