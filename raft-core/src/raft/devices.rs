//! What journal and state machine have done with what was pulled for them.

use alloc::vec::Vec;

use super::common::Wanted;
use super::timers::Timer;
use super::{Next, Raft, Role, disk};
use crate::entry::Entry;
use crate::ids::{FetchId, Index, WriteTicket};
use crate::status::Why;
use crate::time::Time;

impl Raft {
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
        self.advance();
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
        self.advance();
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
        self.advance();
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
        self.advance();
    }

    /// The state machine has executed an [`Apply`](super::Apply).
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
        self.advance();
    }
}
