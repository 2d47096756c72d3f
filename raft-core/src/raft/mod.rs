//! The protocol: a value that takes facts and gives outputs. It never does I/O and never reads a clock.
//!
//! Facts come in through `handle_*`, requests through `propose`, `read` and `transfer_leadership`; outputs
//! are pulled through `poll_*`, one lane per device, and built at the moment they are pulled, so that they
//! carry all that has come together until then. After every input, pull until nothing moves.
//!
//! Here is what a driver calls to tell it something, `poll.rs` what it pulls. `dispatch.rs` says whom a message
//! goes to, and only `turn.rs` changes the role: no rule lives in these. What belongs to snapshots comes in and
//! goes out in `snapshots.rs`.
//!
//! In the examples of [`Raft`]'s methods `example.rs` plays what is around a node: its disk, its state machine and its
//! peers. The functions that begin them, such as `leader_of_three`, are there.

mod addressed;
mod common;
mod compact;
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
mod snapshots;
mod start;
mod timers;
#[cfg(feature = "trace")]
mod trace;
mod turn;
#[cfg(feature = "trace")]
mod view;

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::backend::HardState;
use crate::config::{Config, Settings};
use crate::entry::{Entry, EntryKind};
use crate::error::{ChangeError, ConfigError, Objection, ProposeError, ReadError, TransferError, Violation};
use crate::ids::{ChangeId, FetchId, Index, LogId, NodeId, ReadId, Term, WriteTicket};
use crate::log::Log;
use crate::membership::{Change, Plan};
use crate::message::{Envelope, Message, PeerEvent};
use crate::status::{RoleKind, Scrub, Status, Why};
use crate::time::Time;
use common::{Common, Wanted};
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
        raft.settle();
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
        self.settle();
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
        match &mut self.role {
            Role::Leader(leader) => leader.on_connection(common, peer, up),
            Role::Candidate(candidate) if up => candidate.ask(common, peer),
            Role::Follower(_) if event == PeerEvent::Gone && common.leader == Some(peer) => {
                common.leader_gone = true;
                common.arm_election();
            }
            _ => {}
        }
        self.settle();
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
        self.settle();
    }

    /// A write, and all before it, is durable.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = voter_of_three();
    /// let ask = VoteRequest { pre: false, transfer: false, last: LogId::new(0, 1), told: 0 };
    /// raft.handle_message(now, says(2, 1, Message::Vote(ask)));
    /// let write = raft.poll_write().unwrap();
    /// assert!(raft.poll_message().is_none(), "a crash would forget the vote");
    ///
    /// raft.handle_written(now, write.ticket);
    /// let answer = raft.poll_message().unwrap().envelope.message;
    /// assert!(matches!(answer, Message::VoteReply(reply) if reply.ballot == Ballot::Granted));
    /// ```
    pub fn handle_written(&mut self, now: Time, ticket: WriteTicket) {
        // After a failure nothing counts as durable any more, whatever the disk says later (J8).
        if !self.begin(now) || self.common.failed {
            return;
        }
        let common = &mut self.common;
        common.log.writes.written(ticket);
        disk::written(common, ticket);
        if common.hard_ticket.is_some_and(|waiting| waiting <= ticket) {
            common.hard_ticket = None;
        }
        if let Role::Candidate(candidate) = &self.role {
            let next = candidate.tally(common);
            self.turn(next);
        }
        self.settle();
    }

    /// The journal failed: nothing will become durable here any more (J8). A leader asks the best follower
    /// to take over and steps down; this node neither votes nor campaigns until it is restarted.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = leader_of_three();
    /// raft.handle_write_failed(now);
    /// assert_eq!((raft.role_kind(), raft.status(now).disk), (RoleKind::Follower, Disk::Failed));
    /// // Node 2 has everything: it is to campaign.
    /// let sent = settle(&mut raft);
    /// assert!(sent.iter().any(|out| out.to == NodeId(2) && matches!(out.message, Message::TimeoutNow(_))));
    /// ```
    pub fn handle_write_failed(&mut self, now: Time) {
        if !self.begin(now) {
            return;
        }
        self.common.failed = true;
        self.common.timers.stop(Timer::Disk);
        if let Role::Leader(leader) = &self.role {
            leader.abdicate(&mut self.common);
            self.turn(Next::Follow { why: Why::JournalFailed });
        }
        self.settle();
    }

    /// The journal has no space for this write, and nothing of its truncation and its entries is there (J9); its hard
    /// state may be. A leader asks the best follower to take over and steps down. What the write carried comes out
    /// of `poll_write` again: hard state at once, the rest after a pause, and so on until there is space. Meanwhile
    /// this node votes, but does not campaign.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = leader_of_three();
    /// raft.propose(now, pack(&["add 4".into()])).unwrap();
    /// let write = raft.poll_write().unwrap();
    /// raft.handle_no_space(now, write.ticket);
    /// assert_eq!(raft.role_kind(), RoleKind::Follower);
    /// assert!(raft.poll_write().is_none(), "trying at once does not make a full disk better");
    ///
    /// raft.handle_timeout(now + Duration::from_secs(1));
    /// assert_eq!(raft.poll_write().unwrap().entries, write.entries);
    /// ```
    pub fn handle_no_space(&mut self, now: Time, ticket: WriteTicket) {
        if !self.begin(now) || self.common.failed {
            return;
        }
        let common = &mut self.common;
        let had_entries = common.log.writes.take_back(ticket);
        if common.hard_ticket.take_if(|waiting| *waiting >= ticket).is_some() {
            common.hard_dirty = true;
        }
        disk::no_space(common, ticket, had_entries);
        if let Role::Leader(leader) = &self.role {
            leader.abdicate(common);
        }
        if !matches!(self.role, Role::Follower(_)) {
            self.turn(Next::Follow { why: Why::DiskFull });
        }
        self.settle();
    }

    /// Whether the journal is not to be asked for anything for now: it had no space, not even for hard state.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = voter_of_three();
    /// let beat = Message::Heartbeat(Heartbeat { commit: Index(0), round: 1 });
    /// raft.handle_message(now, says(2, 1, beat));
    /// // The new term is all that is to be written.
    /// let write = raft.poll_write().unwrap();
    /// raft.handle_no_space(now, write.ticket);
    /// assert!(raft.spares_journal());
    ///
    /// raft.handle_timeout(now + Duration::from_secs(1));
    /// assert!(!raft.spares_journal(), "it is time to try again");
    /// ```
    #[must_use]
    pub const fn spares_journal(&self) -> bool {
        self.common.disk.rests()
    }

    /// Entries that were asked for by `poll_fetch`.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// // The state machine lacks an entry that was written before the restart.
    /// let (mut raft, entry) = restarted();
    /// assert!(raft.poll_apply().is_none());
    /// let fetch = raft.poll_fetch().unwrap();
    /// raft.handle_fetched(now, fetch.id, vec![entry.clone()]);
    /// assert_eq!(raft.poll_apply().unwrap().entries[..], [entry]);
    /// ```
    pub fn handle_fetched(&mut self, now: Time, id: FetchId, entries: Vec<Entry>) {
        if !self.begin(now) {
            return;
        }
        match (self.common.fetched(id), &mut self.role) {
            (Some(Wanted::Apply), _) => self.common.to_apply = Some(entries),
            (Some(Wanted::Peer(peer)), Role::Leader(leader)) => leader.on_fetched(peer, id, entries),
            _ => {}
        }
        self.settle();
    }

    /// The state machine has executed an [`Apply`].
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = only_voter();
    /// raft.propose(now, pack(&["add 4".into()])).unwrap();
    /// persist(&mut raft);
    /// raft.read(now, ReadId(1)).unwrap();
    /// let apply = raft.poll_apply().unwrap();
    /// assert!(raft.poll_event().is_none(), "what the read must see is not executed yet");
    ///
    /// let index = apply.through.index;
    /// raft.handle_applied(now, index);
    /// assert_eq!(raft.poll_event(), Some(Event::ReadReady { id: ReadId(1), index }));
    /// ```
    pub fn handle_applied(&mut self, now: Time, through: Index) {
        if !self.begin(now) {
            return;
        }
        if self.common.applying == Some(through) {
            self.common.applying = None;
            self.common.log.applied_to(through);
            self.common.compaction.applied();
        }
        self.settle();
    }

    /// Appends commands, packed by [`pack`](crate::entry::pack), as one entry. What becomes of it shows
    /// when its index is applied: the same term means it was executed, another that it never will be.
    ///
    /// # Errors
    /// [`ProposeError`]; the entry was not appended.
    ///
    /// # Example
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = only_voter();
    /// let id = raft.propose(now, pack(&["add 4".into(), "add 5".into()])).unwrap();
    /// persist(&mut raft);
    /// assert_eq!(raft.poll_apply().unwrap().through, id, "the same term: they are executed");
    ///
    /// // Who follows says who leads.
    /// let refused = follower_of_two().propose(now, pack(&["add 4".into()]));
    /// assert!(matches!(refused, Err(ProposeError::NotLeader { leader: Some(to) }) if to.id == NodeId(2)));
    /// ```
    pub fn propose(&mut self, now: Time, commands: Bytes) -> Result<LogId, ProposeError> {
        self.propose_kind(now, EntryKind::Commands, commands)
    }

    /// As [`propose`](Self::propose), for an entry of kind `Session`: the data is an encoded
    /// [`Stamped`](crate::session::Stamped).
    ///
    /// # Errors
    /// [`ProposeError`]; the entry was not appended.
    ///
    /// # Example
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// use raft_core::session::{LogTime, Op, Stamped};
    ///
    /// let mut raft = only_voter();
    /// let close = Stamped { time: LogTime::from_nanos(1), op: Op::Close { session: SessionId(7) } };
    /// raft.propose_session(now, close.encode()).unwrap();
    /// persist(&mut raft);
    /// let entry = &raft.poll_apply().unwrap().entries[0];
    /// assert_eq!((entry.kind, Stamped::decode(&entry.data)), (EntryKind::Session, Ok(close)));
    /// ```
    pub fn propose_session(&mut self, now: Time, data: Bytes) -> Result<LogId, ProposeError> {
        self.propose_kind(now, EntryKind::Session, data)
    }

    fn propose_kind(&mut self, now: Time, kind: EntryKind, data: Bytes) -> Result<LogId, ProposeError> {
        let running = self.begin(now);
        let result = match &mut self.role {
            Role::Leader(role) if running => role.propose(&mut self.common, kind, data),
            _ => Err(ProposeError::NotLeader { leader: self.common.leader_member() }),
        };
        // Nothing follows from an entry until it is durable somewhere.
        if result.is_ok() {
            self.check()
        } else {
            self.settle()
        }
        result
    }

    /// Begins a linearizable read: answered by [`Event::ReadReady`] or [`Event::ReadFailed`].
    ///
    /// # Errors
    /// [`ReadError`]; no event follows.
    ///
    /// # Example
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = leader_of_three();
    /// raft.read(now, ReadId(1)).unwrap();
    /// let sent = settle(&mut raft);
    /// let Message::Heartbeat(Heartbeat { round, .. }) = sent[0].message else { panic!("{sent:?}") };
    /// assert!(raft.poll_event().is_none(), "another node may lead by now");
    ///
    /// let (matched, last) = (Index(2), Index(2));
    /// let answer = HeartbeatReply { round, matched, last, ..HeartbeatReply::default() };
    /// raft.handle_message(now, says(2, 1, Message::HeartbeatReply(answer)));
    /// assert_eq!(raft.poll_event(), Some(Event::ReadReady { id: ReadId(1), index: Index(2) }));
    /// ```
    pub fn read(&mut self, now: Time, id: ReadId) -> Result<(), ReadError> {
        let running = self.begin(now);
        let result = match &mut self.role {
            Role::Leader(role) if running => role.read(id),
            _ => Err(ReadError::NotLeader { leader: self.common.leader_member() }),
        };
        self.settle();
        result
    }

    /// Begins a linearizable read that any node can answer: a follower asks its leader how far it must have applied
    /// (dissertation §6.4). Answered as [`read`](Self::read) is. One round trip to the leader more than there, and
    /// the state machine of this node does the work.
    ///
    /// # Errors
    /// [`ReadError`]; no event follows. [`ReadError::NotLeader`] where no leader is known.
    ///
    /// # Example
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = follower_of_two();
    /// raft.read_anywhere(now, ReadId(1)).unwrap();
    /// let sent = settle(&mut raft);
    /// let Message::ReadIndex(asked) = sent[0].message else { panic!("{sent:?}") };
    ///
    /// // The leader's answer. This node has executed as much already.
    /// let answer = ReadIndexReply { id: asked.id, index: Some(Index(1)) };
    /// raft.handle_message(now, says(2, 1, Message::ReadIndexReply(answer)));
    /// assert_eq!(raft.poll_event(), Some(Event::ReadReady { id: ReadId(1), index: Index(1) }));
    /// ```
    pub fn read_anywhere(&mut self, now: Time, id: ReadId) -> Result<(), ReadError> {
        let running = self.begin(now);
        let result = match &mut self.role {
            Role::Leader(role) if running => role.read(id),
            Role::Follower(role) if running && self.common.leader.is_some() => role.read(id),
            _ => Err(ReadError::NotLeader { leader: self.common.leader_member() }),
        };
        self.settle();
        result
    }

    /// Takes on other settings, those that may change while a node runs. They hold from now on: timers are set anew.
    ///
    /// # Errors
    /// [`ConfigError`], which names the setting and what it must be; nothing has changed.
    ///
    /// # Example
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = follower_of_two();
    /// let election_timeout = Duration::from_secs(2);
    /// let patient = Settings { election_timeout: Some(election_timeout), ..Settings::default() };
    /// raft.reconfigure(now, &patient).unwrap();
    /// assert!(raft.next_timeout().unwrap() >= now + election_timeout, "it counts already");
    /// ```
    pub fn reconfigure(&mut self, now: Time, settings: &Settings) -> Result<(), ConfigError> {
        let running = self.begin(now);
        let config = self.common.config.with(settings)?;
        let common = &mut self.common;
        // Who only asks how they are must not put off an election by that.
        let changed = common.config != config;
        common.config = config;
        if running && changed {
            match &mut self.role {
                Role::Leader(leader) => leader.on_reconfigured(common),
                Role::Follower(_) => common.arm_election(),
                // Its round is under way.
                Role::Candidate(_) => {}
            }
        }
        self.settle();
        Ok(())
    }

    /// The settings in force.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = voter_of_three();
    /// let before = raft.config().clone();
    /// // Shorter than its heartbeats are apart: refused as a whole.
    /// let election_timeout = Some(Duration::from_millis(1));
    /// let hasty = Settings { priority: Some(-1), election_timeout, ..Settings::default() };
    /// assert!(raft.reconfigure(now, &hasty).is_err());
    /// assert_eq!(raft.config(), &before);
    /// ```
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.common.config
    }

    /// Begins to hand leadership to `to`, or to the voter with the most complete log. Proposals are refused
    /// meanwhile. Ends with [`Event::TransferFinished`], within an election timeout if it fails.
    ///
    /// # Errors
    /// [`TransferError`]; no event follows.
    ///
    /// # Example
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = leader_of_three();
    /// assert_eq!(raft.transfer_leadership(now, None), Ok(NodeId(2)));
    /// let sent = settle(&mut raft);
    /// assert!(sent.iter().any(|out| out.to == NodeId(2) && matches!(out.message, Message::TimeoutNow(_))));
    /// let refused = raft.propose(now, pack(&["add 4".into()]));
    /// assert!(matches!(refused, Err(ProposeError::Transferring { .. })));
    /// ```
    pub fn transfer_leadership(&mut self, now: Time, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        let running = self.begin(now);
        let result = match &mut self.role {
            Role::Leader(role) if running => role.transfer(&mut self.common, to),
            _ => Err(TransferError::NotLeader { leader: self.common.leader_member() }),
        };
        self.settle();
        result
    }

    /// Begins to change who belongs to the cluster (§6): all of `changes` as one. What it appends is in force at
    /// once; it is over, and [`Event::ChangeFinished`] follows, when its last entry is committed, or when it
    /// is known that it never will be. New voters are made learners first, and wait until they have caught
    /// up if `options` say so. Whoever leads finishes what another leader has begun.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing was changed, no event follows.
    ///
    /// # Example
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = only_voter();
    /// let change = Change::AddLearner(Member::new(NodeId(4), "10.0.0.4:7101"));
    /// let begun = raft.change_membership(now, &[change], ChangeOptions::default()).unwrap();
    /// assert!(raft.status(now).membership.is_member(NodeId(4)), "in force at once");
    ///
    /// settle(&mut raft);
    /// let mut events = core::iter::from_fn(|| raft.poll_event());
    /// let over = |event| matches!(event, Event::ChangeFinished { id, result: Ok(_) } if id == begun);
    /// assert!(events.any(over));
    /// ```
    pub fn change_membership(
        &mut self,
        now: Time,
        changes: &[Change],
        options: ChangeOptions,
    ) -> Result<ChangeId, ChangeError> {
        let running = self.begin(now);
        let result = match &mut self.role {
            Role::Leader(role) if running => role.change_membership(&mut self.common, changes, options),
            _ => Err(ChangeError::NotLeader { leader: self.common.leader_member() }),
        };
        self.settle();
        result
    }

    /// What [`change_membership`](Self::change_membership) would come to, and all that speaks against it at
    /// this moment. Changes nothing.
    ///
    /// # Errors
    /// [`ChangeError::NotLeader`], or [`ChangeError::Plan`].
    ///
    /// # Example
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let raft = leader_of_three();
    /// let replace = Change::Replace { old: NodeId(3), new: Member::new(NodeId(4), "10.0.0.4:7101") };
    /// let (plan, objections) = raft.plan_membership(&[replace]).unwrap();
    /// assert!(plan.leaving().eq([NodeId(3)]) && plan.new_voters().eq([NodeId(4)]));
    /// // Its log is to be filled before it votes.
    /// assert!(objections.contains(&Objection::NotLearned { node: NodeId(4) }));
    /// assert!(!raft.status(now).membership.is_member(NodeId(4)));
    /// ```
    pub fn plan_membership(&self, changes: &[Change]) -> Result<(Plan, Vec<Objection>), ChangeError> {
        match &self.role {
            Role::Leader(role) => role.plan_membership(&self.common, changes),
            _ => Err(ChangeError::NotLeader { leader: self.common.leader_member() }),
        }
    }

    /// An operator asks this node to campaign although a leader may live. It asks whether it would win
    /// first. Does nothing on a leader, or where it may not campaign: also not after a veto (M6), nor while this node
    /// is bound by a lease that it supports; voters that are bound by one refuse as well.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = follower_of_two();
    /// raft.campaign(now);
    /// assert_eq!(raft.role_kind(), RoleKind::PreCandidate);
    /// // Marked so that voters do not refuse it only because they hear a leader.
    /// let sent = settle(&mut raft);
    /// assert!(sent.iter().all(|out| matches!(out.message, Message::Vote(ask) if ask.pre && ask.transfer)));
    /// assert_eq!(sent.len(), 2);
    /// ```
    pub fn campaign(&mut self, now: Time) {
        let may = self.begin(now) && self.common.may_campaign() && !self.common.embargo && !self.is_bound();
        if may && !matches!(self.role, Role::Leader(_)) {
            self.turn(Next::PreCampaign { transfer: true, why: Why::Asked });
            self.settle();
        }
    }

    /// What this node knows of itself.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let status = leader_of_three().status(now);
    /// assert_eq!((status.role, status.commit_index), (RoleKind::Leader, Index(2)));
    /// // A leader knows how far the others are.
    /// let behind = status.peers.iter().filter(|peer| peer.match_index < status.commit_index);
    /// assert!(behind.map(|peer| peer.id).eq([NodeId(3)]));
    /// ```
    #[must_use]
    pub fn status(&self, now: Time) -> Status {
        let common = &self.common;
        let leader = match &self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        };
        Status {
            id: common.id(),
            role: self.role_kind(),
            term: common.term(),
            vote: common.hard.vote,
            leader: common.leader_member(),
            why: common.why,
            last: common.log.last_id(),
            first_index: common.log.purged().index.next(),
            commit_index: common.log.commit(),
            applied_index: common.log.applied(),
            persisted_index: common.log.persisted(),
            membership: common.membership().clone(),
            membership_at: common.log.membership().map(|(at, _)| *at).unwrap_or_default(),
            membership_committed: common
                .log
                .membership()
                .is_none_or(|(at, _)| at.index <= common.log.commit()),
            removed: members::is_removed(common),
            embargo: common.embargo,
            probation: common.hard.probation,
            disk: disk::status(common),
            hand_over: common.hand_over,
            priority: common.config.priority,
            lease_left: leader.and_then(|leader| leader.lease_left(common, now)),
            alarm: common.alarm,
            quorum_contact_age: leader.map(|leader| now.since(leader.quorum_contact(common))),
            peers: leader.map(|leader| leader.peers(now)).unwrap_or_default(),
            tail_bytes: common.log.tail.bytes(),
            uncommitted_bytes: leader.map_or(0, |leader| leader.uncommitted_bytes()),
            snapshot: common.log.snapshot().cloned(),
            taking: common.compaction.taking,
            healing: common.compaction.healing,
            scrub: Scrub::default(),
            receiving: common.receive.transfer(),
            installing: common.receive.installing(),
            counters: common.counters,
        }
    }

    /// Whether it did not found the cluster, or was removed and added again: the last membership with this node says so,
    /// or its log has one without it before that. A log that knows no membership with it knows of no founding either.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// assert!(!voter_of_three().was_added(), "entry 0.1 names it");
    /// let joining = Raft::new(config(), nothing(), now).unwrap();
    /// assert!(joining.was_added());
    /// ```
    #[must_use]
    pub fn was_added(&self) -> bool {
        let me = self.common.id();
        let memberships = self.common.log.memberships().iter().rev().map(|(_, membership)| membership);
        let mut from_mine = memberships.skip_while(|membership| !membership.is_member(me));
        from_mine.next().is_none_or(|last| {
            last.admitted(me) != LogId::ZERO || from_mine.any(|earlier| !earlier.is_member(me))
        })
    }

    /// The role now.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// assert_eq!(follower_of_two().role_kind(), RoleKind::Follower);
    /// // No membership says yet that it belongs to anybody.
    /// let joining = Raft::new(config(), nothing(), now).unwrap();
    /// assert_eq!(joining.role_kind(), RoleKind::Limbo);
    /// ```
    #[must_use]
    pub fn role_kind(&self) -> RoleKind {
        match &self.role {
            Role::Leader(_) => RoleKind::Leader,
            Role::Candidate(candidate) if candidate.pre => RoleKind::PreCandidate,
            Role::Candidate(_) => RoleKind::Candidate,
            Role::Follower(_) if self.common.membership().is_empty() => RoleKind::Limbo,
            Role::Follower(_) => RoleKind::Follower,
        }
    }

    /// Takes the time of an input. Whether this node still does anything.
    fn begin(&mut self, now: Time) -> bool {
        self.common.now = self.common.now.max(now);
        !self.common.halted
    }
}
