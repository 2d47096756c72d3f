//! The protocol: a value that takes facts and gives outputs. It never does I/O and never reads a clock.
//!
//! Facts come in through `handle_*`, requests through `propose`, `read` and `transfer_leadership`; outputs
//! are pulled through `poll_*`, one lane per device, and built at the moment they are pulled, so that they
//! carry all that has come together until then. After every input, pull until nothing moves.
//!
//! Here a node begins and hears from its peers and the clock; from its journal and its state machine in `devices.rs`, from
//! callers in `requests.rs`. `poll.rs` is what a driver pulls, `report.rs` what a node says of itself. `dispatch.rs` says
//! whom a message goes to, and only `turn.rs` changes the role: no rule lives in these. What belongs to snapshots comes in
//! and goes out in `snapshots.rs`.
//!
//! In the examples of [`Raft`]'s methods `example.rs` plays what is around a node: its disk, its state machine and its
//! peers. The functions that begin them, such as `leader_of_three`, are there.

mod addressed;
mod common;
mod compact;
mod devices;
mod disk;
mod dispatch;
mod election;
mod follower;
mod install;
mod invariants;
mod leader;
mod members;
mod outbox;
mod output;
mod poll;
mod probation;
mod promise;
mod read_index;
mod report;
mod requests;
mod snapshots;
mod start;
mod timers;
#[cfg(feature = "trace")]
mod trace;
mod turn;
#[cfg(feature = "trace")]
mod view;

use alloc::boxed::Box;

use crate::backend::HardState;
use crate::config::Config;
use crate::error::{ConfigError, Violation};
use crate::ids::{Index, NodeId, Term};
use crate::log::Log;
use crate::message::{Envelope, Message, PeerEvent};
use crate::status::{RoleKind, Why};
use crate::time::Time;
use common::Common;
use election::Candidate;
use follower::Follower;
use leader::Leader;
pub use output::{
    Apply, ChangeDone, ChangeOptions, Event, Fetch, Piece, ReadChunk, Restored, TakeSnapshot, Unreadable,
};
pub use start::{StartPlan, plan_start};
use timers::Timer;
#[cfg(feature = "trace")]
pub use trace::View;

/// What should become of the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing new.
    Stay,
    /// Follow, in the same term, whoever will lead.
    Follow { why: Why },
    /// Ask whether it would win.
    PreCampaign { transfer: bool, why: Why },
    /// Enter a new term and ask for votes.
    Campaign { transfer: bool, told: u64, why: Why },
    /// Lead.
    Lead,
}

/// What only this role has. With a tag of its own, not one hidden in what it holds: every input and every poll asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
enum Role {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Box<Leader>),
}

/// What was last announced: role, term, leader, the version of whom it reaches, which every membership raises, and whether
/// this node was removed.
type Announced = (RoleKind, Term, Option<NodeId>, u64, bool);

/// One node of one group. See the [module](self) for how it is driven.
///
/// The only voter of a cluster, without a disk, a network or a clock:
///
/// ```
/// use raft_core::backend::JournalState;
/// use raft_core::entry::{Entry, EntryKind, pack, unpack};
/// use raft_core::ids::{ClusterId, GroupId, Identity, Incarnation, Index, LogId, NodeId, StoreId, Term};
/// use raft_core::membership::{Member, Membership};
/// use raft_core::raft::Restored;
/// use raft_core::time::Time;
/// use raft_core::{Config, Raft};
///
/// // A journal that was just created holds the founding membership as entry 0.1.
/// let (cluster, node, now) = (ClusterId(1), NodeId(1), Time::ZERO);
/// let identity =
///     Identity { cluster, group: GroupId(0), node, store: StoreId(7), incarnation: Incarnation::default() };
/// let founders = Membership::of_voters([Member::new(node, "nowhere")]).unwrap();
/// let first =
///     Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data: founders.encode().into() };
/// let mut journal = JournalState::empty(identity);
/// journal.last = first.id;
/// journal.terms = vec![(Index(1), Term(0))];
/// journal.memberships = vec![first.clone()];
///
/// let restored = Restored { journal, snapshot: None, applied: LogId::ZERO };
/// let mut raft = Raft::new(Config::new(node, cluster), restored, now).unwrap();
/// raft.handle_timeout(now);
/// let mut proposed = None;
/// let mut executed = Vec::new();
/// loop {
///     if let Some(write) = raft.poll_write() {
///         // Here a driver makes it durable.
///         raft.handle_written(now, write.ticket);
///     } else if let Some(apply) = raft.poll_apply() {
///         for entry in &*apply.entries {
///             if entry.kind == EntryKind::Commands {
///                 executed.extend(unpack(&entry.data).unwrap());
///             }
///         }
///         raft.handle_applied(now, apply.through.index);
///     } else if let Some(fetch) = raft.poll_fetch() {
///         // What was written before this start is in the journal only.
///         assert_eq!(fetch.range, Index(1)..Index(2));
///         raft.handle_fetched(now, fetch.id, vec![first.clone()]);
///     } else if proposed.is_none() {
///         proposed = raft.propose(now, pack(&["add 4".into()])).ok();
///         assert!(proposed.is_some(), "it leads");
///     } else {
///         break;
///     }
/// }
/// assert_eq!(executed, ["add 4"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    common: Common,
    role: Role,
    announced: Announced,
}

impl Raft {
    /// A node as it comes up: a follower, with its hard state and log as the journal has them. What
    /// [`plan_start`] asks for has been done.
    ///
    /// # Errors
    /// [`ConfigError`] if the settings cannot work or the restored state contradicts itself.
    ///
    /// # Example
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// // A restart: it follows, in the term that its journal knows.
    /// let mut restored = founded(&[1, 2, 3]);
    /// restored.journal.hard_state.term = Term(4);
    /// let raft = Raft::new(config(), restored.clone(), now).unwrap();
    /// assert_eq!((raft.role_kind(), raft.status(now).term), (RoleKind::Follower, Term(4)));
    ///
    /// // The state machine has executed what the journal never had: one of them is somebody else's.
    /// restored.applied = LogId::new(4, 9);
    /// let refused = Raft::new(config(), restored, now);
    /// assert!(matches!(refused, Err(ConfigError::AheadOfJournal { .. })));
    /// ```
    pub fn new(config: Config, restored: Restored, now: Time) -> Result<Self, ConfigError> {
        config.validate()?;
        let Restored { journal, snapshot, applied } = restored;
        plan_start(&journal, snapshot.as_ref(), applied)?;
        let grain_bytes = compact::grain_bytes(&config);
        let log =
            Log::restore(&journal, snapshot, applied.index, grain_bytes).map_err(ConfigError::Restored)?;
        let behind_purge = applied.index < journal.purged.index;
        let foreign = applied.index > journal.purged.index && !log.matches(applied);
        if behind_purge || foreign {
            let what = "the state machine's last applied entry is not in the journal";
            return Err(ConfigError::Restored(Violation::Local { what }));
        }
        let mut common = Common::new(config, journal.hard_state, log, now);
        if common.log.last() == Index::ZERO {
            // Nothing is known here: what this log will say first may be long over, such as a time when this
            // node was the only voter (P17). It counts only once it has caught up.
            common.set_hard(HardState { probation: true, ..common.hard });
        }
        common.arm_election();
        if common.is_alone() {
            let promised = common.promise.until();
            common.timers.set(Timer::Election, promised.max(now));
        }
        let announced = (RoleKind::Limbo, Term::ZERO, None, 0, false);
        let mut raft = Self { common, role: Role::Follower(Follower::default()), announced };
        raft.advance();
        Ok(raft)
    }

    /// A message from a peer. Anything may come, in any order: what makes no sense is counted and ignored.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = voter_of_three();
    /// let beat = Message::Heartbeat(Heartbeat { commit: Index(0), round: 1 });
    /// raft.handle_message(now, says(2, 1, beat.clone()));
    /// assert_eq!(raft.status(now).leader.map(|leader| leader.id), Some(NodeId(2)));
    ///
    /// // This one is for another node.
    /// raft.handle_message(now, Envelope { to: NodeId(3), ..says(2, 1, beat) });
    /// assert_eq!(raft.status(now).counters.ignored_messages, 1);
    /// ```
    pub fn handle_message(&mut self, now: Time, envelope: Envelope) {
        let Envelope { group, from, to, term, message } = envelope;
        let config = &self.common.config;
        let for_us = group == config.group && to == config.id && from != config.id && term <= Term::LAST;
        if !self.begin(now) || !for_us {
            self.common.counters.ignored_messages += 1;
            return;
        }
        self.common.is_there(from);
        match message {
            Message::Vote(request) => self.on_vote_request(from, term, request),
            // Who grants a pre-vote does not enter its term: the answer may come from an earlier one.
            Message::VoteReply(reply) if reply.pre && term <= self.common.term() => {
                self.on_vote_reply(from, reply);
            }
            message => {
                if term > self.common.term() {
                    self.follow(term, None, Why::HigherTerm);
                }
                if term < self.common.term() {
                    self.on_old_term(from, &message);
                } else {
                    self.on_message(from, message);
                }
            }
        }
        self.advance();
    }

    /// A connection to a peer came or went (T5, M5).
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = follower_of_two();
    /// let patience = raft.next_timeout();
    /// // The leader's process is gone: no need to wait for its silence.
    /// raft.handle_peer(now, NodeId(2), PeerEvent::Gone);
    /// assert!(raft.next_timeout() < patience);
    /// ```
    pub fn handle_peer(&mut self, now: Time, peer: NodeId, event: PeerEvent) {
        if !self.begin(now) {
            return;
        }
        let up = event == PeerEvent::Up;
        let common = &mut self.common;
        if up {
            common.is_there(peer);
        }
        match &mut self.role {
            Role::Leader(leader) => leader.on_connection(common, peer, up),
            Role::Candidate(candidate) if up => candidate.ask(common, peer),
            Role::Follower(_) if event == PeerEvent::Gone && common.leader == Some(peer) => {
                common.is_left_by(peer);
            }
            _ => {}
        }
        self.advance();
    }

    /// Time has passed. Spurious calls are harmless.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = voter_of_three();
    /// raft.handle_timeout(now);
    /// assert_eq!(raft.role_kind(), RoleKind::Follower, "it is too early");
    ///
    /// let at = raft.next_timeout().unwrap();
    /// raft.handle_timeout(at);
    /// assert_eq!(raft.role_kind(), RoleKind::PreCandidate, "nobody was heard all that time");
    /// ```
    pub fn handle_timeout(&mut self, now: Time) {
        if !self.begin(now) {
            return;
        }
        let hangs = disk::on_timeout(&mut self.common);
        if self.common.timers.fired(Timer::Departure, self.common.now) {
            members::on_departure(&mut self.common);
        }
        let next = match &mut self.role {
            Role::Leader(leader) => {
                if hangs {
                    leader.on_disk_hangs();
                }
                leader.on_timeout(&mut self.common)
            }
            _ => self.on_election_timeout(),
        };
        self.turn(next);
        self.advance();
    }

    /// Takes the time of an input. Whether this node still does anything.
    fn begin(&mut self, now: Time) -> bool {
        self.common.now = self.common.now.max(now);
        !self.common.halted
    }
}
