//! What every role has.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use super::addressed::Addressed;
use super::compact::Compaction;
use super::install::Receive;
use super::members::{self, OpenChange, Reach};
use super::outbox::Outbox;
use super::promise::Promise;
use super::timers::{Jitter, Timer, Timers};
use super::{Event, Fetch, disk};
use crate::backend::{HardState, Vote};
use crate::config::Config;
use crate::entry::Entry;
use crate::error::Violation;
use crate::ids::{ChangeId, FetchId, Index, NodeId, Term, WriteTicket};
use crate::log::Log;
use crate::membership::{Member, Membership};
use crate::message::{Envelope, Message, ReadIndex};
use crate::status::{Counters, HandOver, Why};
use crate::time::Time;

/// Who wants entries that have left memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wanted {
    /// The state machine.
    Apply,
    /// A follower.
    Peer(NodeId),
}

/// So many elections are lost without waiting for the vote of a leader that is gone; then it is waited for.
const HASTY_LOSSES: u8 = 3;

/// Who led, and is gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Gone {
    leader: NodeId,
    /// Elections that were lost since.
    losses: u8,
}

/// What every role has: hard state, log, timers, messages and events on their way out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Common {
    pub(crate) config: Config,
    /// The time of the input being handled.
    pub(crate) now: Time,
    pub(crate) hard: HardState,
    /// The hard state has changed since it was last handed to the journal.
    pub(crate) hard_dirty: bool,
    /// The write under way that carries the newest hard state.
    pub(crate) hard_ticket: Option<WriteTicket>,
    pub(crate) log: Log,
    pub(crate) timers: Timers,
    pub(crate) jitter: Jitter,
    pub(crate) outbox: Outbox,
    pub(crate) events: VecDeque<Event>,
    /// The leader of this term, if known; this node itself while it leads.
    pub(crate) leader: Option<NodeId>,
    /// When the leader was last heard.
    pub(crate) contact: Time,
    /// The leader's process is gone (M5): no stickiness, no waiting.
    pub(crate) leader_gone: bool,
    /// Who that was, while no vote of it is waited for: until it is heard again.
    pub(crate) gone: Option<Gone>,
    /// A voter vetoed this node: it does not campaign until a leader contacts it (M6).
    pub(crate) embargo: bool,
    /// The journal failed: nothing can become durable here any more.
    pub(crate) failed: bool,
    /// How its writes do.
    pub(crate) disk: disk::Writes,
    /// What it has promised its leader.
    pub(crate) promise: Promise,
    /// The number of the last question for a read index.
    last_question: u64,
    /// When it may next hand over of its own accord, and why it last did.
    pub(crate) may_hand_over_at: Time,
    pub(crate) hand_over: Option<HandOver>,
    /// An invariant does not hold: this node does nothing any more.
    pub(crate) halted: bool,
    /// The last alarm.
    pub(crate) alarm: Option<Violation>,
    /// This node handed leadership to that one and has not yet learned who leads.
    pub(crate) handed_to: Option<NodeId>,
    pub(crate) why: Why,
    pub(crate) counters: Counters,
    /// Entries handed to the state machine and not yet reported as applied, up to here.
    pub(crate) applying: Option<Index>,
    /// Entries fetched for the state machine.
    pub(crate) to_apply: Option<Vec<Entry>>,
    /// Whom this node reaches.
    pub(crate) reach: Reach,
    pub(crate) last_change: ChangeId,
    /// A change of the membership that this node began in a term that it no longer leads.
    pub(crate) open_change: Option<OpenChange>,
    /// Snapshots of its own, and what they allow to drop.
    pub(crate) compaction: Compaction,
    /// Snapshots of a leader.
    pub(crate) receive: Receive,
    last_fetch: FetchId,
    fetches: VecDeque<Fetch>,
    wanted: BTreeMap<FetchId, Wanted>,
    nobody: Membership,
    addressed: Addressed,
}

impl Common {
    pub(crate) fn new(config: Config, hard: HardState, log: Log, now: Time) -> Self {
        let seed = config.seed ^ config.id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let jitter = Jitter::new(seed);
        let promise = Promise::forgotten(now, hard.promised.max(config.promise()));
        Self {
            config,
            now,
            hard,
            hard_dirty: false,
            hard_ticket: None,
            log,
            timers: Timers::default(),
            jitter,
            outbox: Outbox::default(),
            events: VecDeque::new(),
            leader: None,
            contact: now,
            leader_gone: false,
            gone: None,
            embargo: false,
            failed: false,
            disk: disk::Writes::default(),
            promise,
            // A question must not have the number of one that was asked before a restart.
            last_question: Jitter::new(seed ^ 0x7265_6164).next(),
            may_hand_over_at: Time::ZERO,
            hand_over: None,
            halted: false,
            alarm: None,
            handed_to: None,
            why: Why::Started,
            counters: Counters::default(),
            applying: None,
            to_apply: None,
            reach: Reach::default(),
            last_change: ChangeId(0),
            open_change: None,
            compaction: Compaction::default(),
            receive: Receive::default(),
            last_fetch: FetchId(0),
            fetches: VecDeque::new(),
            wanted: BTreeMap::new(),
            nobody: Membership::default(),
            addressed: Addressed::default(),
        }
    }

    pub(crate) const fn id(&self) -> NodeId {
        self.config.id
    }

    pub(crate) const fn term(&self) -> Term {
        self.hard.term
    }

    /// The membership in force; empty in limbo.
    pub(crate) fn membership(&self) -> &Membership {
        self.log.membership().map_or(&self.nobody, |(_, membership)| membership)
    }

    /// Whether this node may stand for election at all. One whose log is about to be replaced cannot win.
    pub(crate) fn may_campaign(&self) -> bool {
        let able = !self.hard.probation && !self.failed && !self.disk.hangs && !self.disk.is_full();
        able && members::may_lead(self) && self.receive.resetting().is_none()
    }

    /// Whether its disk makes it no node to hand leadership to (M11).
    pub(crate) fn is_slow(&self) -> bool {
        self.disk.is_slow(self.now, self.config.disk_patience())
    }

    /// Whether a promise forbids this node to vote for `candidate`, also for itself. The only voter is bound as well:
    /// the leader may have had others until a moment ago, or have left the voters itself, and reads under its lease
    /// until it hears of it.
    pub(crate) fn is_bound(&self, candidate: NodeId, term: Term, told: u64) -> bool {
        self.promise.forbids(self.now, candidate, term, told)
    }

    /// A number for a question, as if never used before.
    pub(crate) const fn next_question(&mut self) -> u64 {
        self.last_question = self.last_question.wrapping_add(1) & !ReadIndex::END;
        self.last_question
    }

    /// The only voter is this node.
    pub(crate) fn is_alone(&self) -> bool {
        let membership = self.membership();
        membership.voters.len() <= 1 && membership.all_voters().eq([self.id()])
    }

    /// Whether term and vote as they are now are on disk. While they are not, nothing leaves: no answer
    /// may be given in a term that a crash would forget (Figure 2: persist before responding).
    pub(crate) const fn hard_is_durable(&self) -> bool {
        !self.hard_dirty && self.hard_ticket.is_none()
    }

    pub(crate) fn set_hard(&mut self, hard: HardState) {
        if self.hard != hard {
            self.hard = hard;
            self.hard_dirty = true;
        }
    }

    /// Enters a later term, in which nobody has this node's vote yet (§5.1).
    pub(crate) fn adopt_term(&mut self, term: Term) {
        if term > self.hard.term {
            // It is written anyway: a longer promise than those of these settings need not be remembered for ever.
            let is_free = self.now >= self.promise.until();
            let promised = if is_free { self.config.promise() } else { self.hard.promised };
            self.set_hard(HardState { term, vote: Vote::None, promised, ..self.hard });
            self.leader = None;
        }
    }

    /// Waits for a leader: a random span from one to two election timeouts (§5.2), or a short one if the
    /// leader's process is known to be gone (M5), but not before what this node has promised is over. One that would
    /// rather not lead waits longer: others come first, if there are any.
    pub(crate) fn arm_election(&mut self) {
        let (interval, timeout) = (self.config.heartbeat_interval, self.config.election_timeout);
        let reluctance = u32::from(self.config.priority.min(0).unsigned_abs());
        let promised = self.promise.until().since(self.now);
        if self.leader_gone {
            let later = interval * reluctance / 128 + promised;
            self.arm_within(interval / 50 + later, interval + later);
        } else {
            let later = timeout * reluctance / 128 + promised.saturating_sub(timeout);
            self.arm_within(timeout + later, timeout * 2 + later);
        }
    }

    /// The process of the leader that this node follows is gone.
    pub(crate) fn is_left_by(&mut self, leader: NodeId) {
        self.leader_gone = true;
        self.gone = Some(Gone { leader, losses: 0 });
        self.arm_election();
    }

    /// Another leader is being seen to, or none is missed any more.
    pub(crate) fn nobody_is_gone(&mut self) {
        self.leader_gone = false;
        self.gone = None;
    }

    /// Whether it led, and is gone, so that no vote of it is waited for.
    pub(crate) fn is_gone(&self, peer: NodeId) -> bool {
        self.gone.as_ref().is_some_and(|gone| gone.leader == peer)
    }

    /// It is there, whatever was said of it: it may answer.
    #[inline]
    pub(crate) fn is_there(&mut self, peer: NodeId) {
        if self.is_gone(peer) {
            self.gone = None;
        }
    }

    /// An election is lost. Where messages take as long as the small delay, all of them are: then the long one helps.
    pub(crate) fn has_lost(&mut self) {
        if let Some(gone) = &mut self.gone {
            gone.losses += 1;
            if gone.losses >= HASTY_LOSSES {
                self.gone = None;
            }
        }
    }

    /// Waits for answers. Nothing is lost by asking again soon whether it would win; a real election gets
    /// the time that voters need to make their votes durable.
    pub(crate) fn arm_candidate(&mut self, pre: bool) {
        let interval = self.config.heartbeat_interval;
        if pre && self.leader_gone {
            self.arm_within(interval, interval * 2);
        } else {
            self.arm_within(self.config.election_timeout, self.config.election_timeout * 2);
        }
    }

    fn arm_within(&mut self, least: Duration, below: Duration) {
        let at = self.now + self.jitter.between(least, below);
        self.timers.set(Timer::Election, at);
    }

    pub(crate) fn member_or_unknown(&self, id: NodeId) -> Member {
        let known = self.membership().member(id).or_else(|| self.reach.member(id));
        known.cloned().unwrap_or_else(|| Member::new(id, ""))
    }

    /// The same, to go with a message.
    pub(crate) fn shared_member(&mut self, id: NodeId) -> Arc<Member> {
        let Self { log, reach, addressed, .. } = self;
        addressed.share(reach.version(), id, || {
            let listed = log.membership().and_then(|(_, membership)| membership.member(id));
            listed.or_else(|| reach.member(id))
        })
    }

    pub(crate) fn leader_member(&self) -> Option<Member> {
        self.leader.map(|id| self.member_or_unknown(id))
    }

    /// An envelope in this term.
    pub(crate) const fn envelope(&self, to: NodeId, message: Message) -> Envelope {
        Envelope { group: self.config.group, from: self.config.id, to, term: self.hard.term, message }
    }

    /// Queues a message in this term.
    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        self.send_in(to, self.hard.term, message);
    }

    /// Queues a message that names another term: a request for a pre-vote.
    pub(crate) fn send_in(&mut self, to: NodeId, term: Term, message: Message) {
        let envelope = Envelope { term, ..self.envelope(to, message) };
        self.counters.dropped_messages += self.outbox.push(envelope);
    }

    /// Asks the journal for entries.
    pub(crate) fn fetch(&mut self, range: Range<Index>, max_bytes: u64, wanted: Wanted) -> FetchId {
        let id = self.next_fetch_id();
        self.fetches.push_back(Fetch { id, range, max_bytes });
        self.wanted.insert(id, wanted);
        id
    }

    pub(crate) const fn next_fetch_id(&mut self) -> FetchId {
        self.last_fetch = FetchId(self.last_fetch.0 + 1);
        self.last_fetch
    }

    pub(crate) fn next_fetch(&mut self) -> Option<Fetch> {
        self.fetches.pop_front()
    }

    /// Whom fetched entries are for; each answer counts once.
    pub(crate) fn fetched(&mut self, id: FetchId) -> Option<Wanted> {
        self.wanted.remove(&id)
    }

    /// Whom entries that are being fetched are for.
    pub(crate) fn wanted(&self, id: FetchId) -> Option<Wanted> {
        self.wanted.get(&id).copied()
    }

    pub(crate) fn is_fetching(&self, wanted: Wanted) -> bool {
        self.wanted.values().any(|of| *of == wanted)
    }

    /// Nobody leads from here any more: what was fetched for followers is of no use.
    pub(crate) fn forget_peer_fetches(&mut self) {
        self.wanted.retain(|_, wanted| *wanted == Wanted::Apply);
        let wanted = &self.wanted;
        self.fetches.retain(|fetch| wanted.contains_key(&fetch.id));
    }

    /// The log is about to be replaced: nothing that was asked of the journal is of use.
    pub(crate) fn forget_fetches(&mut self) {
        self.wanted.clear();
        self.fetches.clear();
    }

    /// Reports a violation; a fatal one stops this node.
    pub(crate) fn alarm(&mut self, violation: Violation) {
        self.halted |= violation.is_fatal();
        self.alarm = Some(violation);
        self.events.push_back(Event::Alarm(violation));
    }
}
