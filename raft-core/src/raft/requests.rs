//! What callers ask of a node: proposals, reads, other settings, another leader, other members.

use alloc::vec::Vec;

use bytes::Bytes;

use super::{ChangeOptions, Next, Raft, Role};
use crate::config::Settings;
use crate::entry::EntryKind;
use crate::error::{ChangeError, ConfigError, Objection, ProposeError, ReadError, TransferError};
use crate::ids::{ChangeId, LogId, NodeId, ReadId};
use crate::membership::{Change, Plan};
use crate::status::Why;
use crate::time::Time;

impl Raft {
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
            self.advance()
        }
        result
    }

    /// Begins a linearizable read: answered by [`Event::ReadReady`](super::Event::ReadReady) or [`Event::ReadFailed`](super::Event::ReadFailed).
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
        self.advance();
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
        self.advance();
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
        self.advance();
        Ok(())
    }

    /// Begins to hand leadership to `to`, or to the voter with the most complete log. Proposals are refused
    /// meanwhile. Ends with [`Event::TransferFinished`](super::Event::TransferFinished), within an election timeout if it fails.
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
        self.advance();
        result
    }

    /// Begins to change who belongs to the cluster (§6): all of `changes` as one. What it appends is in force at
    /// once; it is over, and [`Event::ChangeFinished`](super::Event::ChangeFinished) follows, when its last entry is committed, or when it
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
        self.advance();
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
            self.advance();
        }
    }
}
