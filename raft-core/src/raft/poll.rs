//! What comes out, pulled one at a time and built at the moment it is pulled.
//!
//! A driver asks everywhere after every input, and mostly there is nothing: to say so is kept apart from building, which is
//! not inlined, so that it costs next to nothing.

use super::common::Wanted;
use super::{Apply, Event, Fetch, Raft, Role, disk};
use crate::backend::JournalWrite;
use crate::ids::FetchId;
use crate::message::{Message, Outgoing};
use crate::time::Time;

impl Raft {
    /// The next message. It may be sent at once, always: what must wait for the disk is held back here.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = leader_of_three();
    /// raft.propose(now, pack(&["add 4".into()])).unwrap();
    /// raft.propose(now, pack(&["add 5".into()])).unwrap();
    /// // One append carries all that has come together until it is pulled.
    /// let out = core::iter::from_fn(|| raft.poll_message()).find(|out| out.to.id == NodeId(2)).unwrap();
    /// assert!(matches!(out.envelope.message, Message::Append(append) if append.entries.len() == 2));
    /// ```
    #[must_use]
    pub fn poll_message(&mut self) -> Option<Outgoing> {
        let common = &mut self.common;
        if common.halted || !common.hard_is_durable() {
            return None;
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.poll_round(common);
        }
        // Most calls end here.
        let is_silent = common.outbox.is_empty()
            && match &self.role {
                Role::Leader(leader) => !leader.may_append(common),
                Role::Follower(follower) => !follower.may_answer(common),
                Role::Candidate(_) => true,
            };
        if is_silent { None } else { self.next_message() }
    }

    #[inline(never)]
    fn next_message(&mut self) -> Option<Outgoing> {
        let common = &mut self.common;
        let envelope = common.outbox.pop().or_else(|| match &mut self.role {
            Role::Leader(leader) => leader.poll_append(common),
            Role::Follower(follower) => {
                let to = common.leader?;
                let installed = follower.poll_installed(common).map(Message::SnapshotReply);
                let message = installed.or_else(|| follower.poll_ack(common).map(Message::AppendReply))?;
                Some(common.envelope(to, message))
            }
            Role::Candidate(_) => None,
        })?;
        Some(Outgoing { to: common.shared_member(envelope.to), lane: envelope.lane(), envelope })
    }

    /// Everything that the journal has not been given yet, up to `write_limit_bytes`, as one write.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = leader_of_three();
    /// raft.propose(now, pack(&["add 4".into()])).unwrap();
    /// raft.propose(now, pack(&["add 5".into()])).unwrap();
    /// assert_eq!(raft.poll_write().unwrap().entries.len(), 2, "one sync for both");
    ///
    /// // The next write need not wait for the first to be durable.
    /// let id = raft.propose(now, pack(&["add 6".into()])).unwrap();
    /// assert_eq!(raft.poll_write().unwrap().entries[0].id, id);
    /// ```
    #[must_use]
    pub fn poll_write(&mut self) -> Option<JournalWrite> {
        // Most calls end here.
        if !self.common.hard_dirty && !self.common.log.is_write_due() {
            return None;
        }
        self.next_write()
    }

    #[inline(never)]
    fn next_write(&mut self) -> Option<JournalWrite> {
        let common = &mut self.common;
        let end = common.log.last().next();
        let replacing = common.receive.resetting();
        let spares = common.disk.spares();
        let due = common.hard_dirty || (replacing.is_none() && !spares);
        if common.halted || common.failed || !due || replacing == Some(true) || common.disk.rests() {
            return None;
        }
        if replacing.is_some() || spares {
            // The log as it is will not be needed any more; the term that says so must be durable first. Or there
            // is no space for more than that.
            let ticket = common.log.writes.hand_over_nothing();
            disk::handed_over(common, ticket);
            common.hard_dirty = false;
            common.hard_ticket = Some(ticket);
            let hard_state = Some(common.hard);
            return Some(JournalWrite { ticket, hard_state, ..JournalWrite::default() });
        }
        let limit = common.config.write_limit_bytes;
        let next = common.log.writes.next();
        let entries = common.log.tail.slice(next, end, limit).unwrap_or_default();
        let upto = entries.last().map_or(next, |entry| entry.id.index.next());
        let (ticket, truncate_from) = common.log.writes.hand_over(upto);
        disk::handed_over(common, ticket);
        if truncate_from.is_some() || !entries.is_empty() {
            disk::tries_space(common, ticket);
        }
        let hard_state = common.hard_dirty.then_some(common.hard);
        if common.hard_dirty {
            common.hard_dirty = false;
            common.hard_ticket = Some(ticket);
        }
        let commit_hint = common.log.commit();
        let alone = false;
        Some(JournalWrite {
            ticket,
            hard_state,
            known_peers: None,
            truncate_from,
            entries,
            commit_hint,
            alone,
        })
    }

    /// The next entries to execute. `None` while the last ones have not been reported as applied.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = only_voter();
    /// raft.propose(now, pack(&["add 4".into()])).unwrap();
    /// persist(&mut raft);
    /// let apply = raft.poll_apply().unwrap();
    /// assert_eq!(unpack(&apply.entries[0].data).unwrap(), ["add 4"]);
    ///
    /// raft.propose(now, pack(&["add 5".into()])).unwrap();
    /// persist(&mut raft);
    /// assert!(raft.poll_apply().is_none(), "the state machine is still at the first");
    /// raft.handle_applied(now, apply.through.index);
    /// assert_eq!(raft.poll_apply().unwrap().through.index, apply.through.index.next());
    /// ```
    #[must_use]
    pub fn poll_apply(&mut self) -> Option<Apply> {
        // Most calls end here.
        if self.common.applying.is_some() || self.common.log.applied() >= self.common.log.applicable() {
            return None;
        }
        self.next_apply()
    }

    #[inline(never)]
    fn next_apply(&mut self) -> Option<Apply> {
        let common = &mut self.common;
        if common.halted || common.receive.is_replacing() {
            return None;
        }
        let (next, end) = (common.log.applied().next(), common.log.applicable().next());
        let limit = common.config.apply_limit_bytes;
        let entries = match common.log.tail.slice(next, end, limit) {
            Some(entries) => entries,
            None => match common.to_apply.take() {
                Some(entries) if entries.first().is_some_and(|entry| entry.id.index == next) => {
                    entries.into()
                }
                _ => {
                    if !common.is_fetching(Wanted::Apply) {
                        let end = end.min(common.log.tail.first());
                        common.fetch(next..end, limit, Wanted::Apply);
                    }
                    return None;
                }
            },
        };
        let through = entries.last()?.id;
        common.applying = Some(through.index);
        common.compaction.applying(entries.cost_bytes());
        Some(Apply { entries, through })
    }

    /// The next request for entries that have left memory.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let (mut raft, _) = restarted();
    /// assert!(raft.poll_fetch().is_none(), "nobody has asked yet");
    /// assert!(raft.poll_apply().is_none());
    /// assert_eq!(raft.poll_fetch().unwrap().range, Index(1)..Index(2));
    /// ```
    #[must_use]
    pub fn poll_fetch(&mut self) -> Option<Fetch> {
        self.common.next_fetch()
    }

    /// Whether somebody still waits for these entries: else it is no failure that they are gone.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let (mut raft, entry) = restarted();
    /// assert!(raft.poll_apply().is_none());
    /// let fetch = raft.poll_fetch().unwrap();
    /// assert!(raft.wants_fetch(fetch.id), "the state machine does");
    /// raft.handle_fetched(now, fetch.id, vec![entry]);
    /// assert!(!raft.wants_fetch(fetch.id));
    /// ```
    #[must_use]
    pub fn wants_fetch(&self, id: FetchId) -> bool {
        match (self.common.wanted(id), &self.role) {
            (Some(Wanted::Apply), _) => true,
            (Some(Wanted::Peer(peer)), Role::Leader(leader)) => leader.wants_fetch(peer, id),
            _ => false,
        }
    }

    /// The next piece of news.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// let mut raft = follower_of_two();
    /// let beat = Message::Heartbeat(Heartbeat { commit: Index(1), round: 1 });
    /// raft.handle_message(now, says(3, 2, beat));
    /// let Some(Event::RoleChanged { term, leader, .. }) = raft.poll_event() else { panic!("it is news") };
    /// assert_eq!((term, leader.map(|leader| leader.id)), (Term(2), Some(NodeId(3))));
    /// assert_eq!(raft.poll_event(), None);
    /// ```
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.common.events.pop_front()
    }

    /// When `handle_timeout` wants to be called.
    ///
    /// ```
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/example.rs")); }
    /// # use example::*;
    /// # let now = Time::ZERO;
    /// // A follower waits for an election timeout at least; a leader says again that it leads.
    /// let follower = follower_of_two();
    /// assert!(follower.next_timeout().unwrap() >= now + follower.config().election_timeout);
    /// let leader = leader_of_three();
    /// assert!(leader.next_timeout().unwrap() <= now + leader.config().heartbeat_interval);
    /// ```
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        if self.common.halted { None } else { self.common.timers.next() }
    }
}
