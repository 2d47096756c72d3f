//! The task that owns the protocol: one loop, one list of what can wake it, synchronous in between.
//!
//! A turn takes everything that has come, feeds it to [`Raft`](crate::raft::Raft), and pulls until nothing moves. The journal
//! travels into its write and comes back with it: there is one write at a time by construction, and what
//! comes meanwhile forms the next one (group commit).

mod finish;
mod propose;
mod writes;

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use ::tokio::sync::{mpsc, oneshot};

use super::applier::Job;
use super::changes::{ChangeRequest, Changes};
use super::gather::Gather;
use super::handle::ReadPolicy;
use super::inbox::{Inbound, Room, cost_bytes};
use super::peers::{AdmitReply, PeerMemory, Standing};
use super::scrub::{Reply as ScrubReply, Scrub};
use super::shared::{End, Shared};
use super::snapshots::{News, Read, Readers, Reply as SnapshotReply, Snapshots, Waiting};
use super::trace::Traced;
use super::waiters::{Batch, BatchReply, Proposals, ReadReply, Reads};
use crate::backend::{
    Corruption, Journal, JournalError, JournalReader, Refusal, Runtime, Timer, Transport, Verified,
};
use crate::config::{Config, Settings};
use crate::entry::Entry;
use crate::error::{ChangeError, FatalReason, ReconfigureError, TransferError};
use crate::ids::{FetchId, Identity, Index, KnownPeer, LogId, NodeId, Term, WriteTicket};
use crate::message::{Envelope, Message, Notice, PeerEvent};
use crate::raft::{Event, Piece};
use crate::session::{self, LogClock};
use crate::status::{RoleKind, Status};
use crate::time::Time;

/// How old a published status may be while things change.
const STATUS_AGE: Duration = Duration::from_millis(5);

/// What is taken from each queue in one turn, so that no source starves another.
const CONTROL_A_TURN: usize = 256;
const BULK_A_TURN: usize = 64;
const BATCHES_A_TURN: usize = 4096;

/// What handles, the inbox and the applier ask for, besides proposals.
pub(crate) enum Request {
    Read {
        policy: ReadPolicy,
        reply: ReadReply,
    },
    Reconfigure {
        settings: Box<Settings>,
        reply: oneshot::Sender<Result<Config, ReconfigureError>>,
    },
    Transfer {
        to: Option<NodeId>,
        reply: oneshot::Sender<Result<NodeId, TransferError>>,
    },
    Change(ChangeRequest),
    Campaign,
    /// Opens, keeps alive or closes a session.
    Session {
        op: session::Op,
        reply: BatchReply,
    },
    Snapshot {
        reply: SnapshotReply,
    },
    Scrub {
        reply: ScrubReply,
    },
    Shutdown,
    Admit {
        peer: Identity,
        reply: AdmitReply,
    },
    Refused {
        by: NodeId,
        why: Refusal,
    },
    Failed {
        reason: Arc<FatalReason>,
    },
}

/// The receiving ends.
pub(crate) struct Queues {
    pub(crate) batches: mpsc::UnboundedReceiver<Batch>,
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
    pub(crate) control: mpsc::UnboundedReceiver<Inbound>,
    pub(crate) bulk: mpsc::UnboundedReceiver<Envelope>,
    pub(crate) applied: mpsc::UnboundedReceiver<Index>,
    pub(crate) news: mpsc::UnboundedReceiver<News>,
    pub(crate) room: Arc<Room>,
}

/// What came since the last turn.
#[derive(Default)]
struct Turn {
    written: Option<Result<(), JournalError>>,
    fetched: Vec<(FetchId, Result<Vec<Entry>, JournalError>)>,
    scrubbed: Option<Result<Verified, JournalError>>,
    control: Vec<Inbound>,
    bulk: Vec<Envelope>,
    applied: Vec<Index>,
    news: Vec<News>,
    read: Vec<Read>,
    requests: Vec<Request>,
    readers: [Vec<ReadReply>; 2],
    batches: Vec<Batch>,
}

/// What the journal is at: one thing at a time.
#[derive(Clone, Copy)]
enum Task {
    Write(WriteTicket),
    Purge(LogId),
    Reset(LogId),
}

type Writing = Pin<Box<dyn Future<Output = (Box<dyn Journal>, Result<(), JournalError>)> + Send>>;
type Fetching = Pin<Box<dyn Future<Output = (FetchId, Result<Vec<Entry>, JournalError>)> + Send>>;

pub(crate) struct Protocol {
    pub(super) raft: Traced,
    config: Config,
    peers: PeerMemory,
    members: BTreeSet<NodeId>,
    /// Here while nothing is being written.
    journal: Option<Box<dyn Journal>>,
    writing: Option<(Task, Writing)>,
    /// When that began.
    writes_since: Time,
    reader: Arc<dyn JournalReader>,
    fetching: Vec<Fetching>,
    transport: Arc<dyn Transport>,
    pub(super) runtime: Arc<dyn Runtime>,
    timer: Pin<Box<dyn Timer>>,
    shared: Arc<Shared>,
    pub(super) jobs: mpsc::UnboundedSender<Job>,
    queues: Queues,
    pub(super) proposals: Proposals,
    gather: Gather,
    held: propose::Held,
    /// Until when proposals that have come are held for others.
    held_until: Option<Time>,
    /// What works on snapshots, where there is a store.
    pub(super) snapshots: Option<Snapshots>,
    pub(super) readers: Readers,
    /// Where pieces of a leader's snapshot go, once there was one.
    pub(super) pieces: Option<mpsc::UnboundedSender<Piece>>,
    /// Who waits for a snapshot.
    pub(super) waiting: Waiting,
    pub(super) scrub: Scrub,
    reads: Reads,
    /// Somebody has asked for a read, or for what a read may wait for, since the last write.
    asked: bool,
    usual_commands: writes::UsualCommands,
    /// Stamps entries of sessions while this node leads.
    clock: LogClock,
    transfer: Option<oneshot::Sender<Result<NodeId, TransferError>>>,
    changes: Changes,
    /// The term that this node leads.
    leads: Option<Term>,
    /// When proposals of terms in which this node no longer leads end as unknown.
    unknown_at: Option<Time>,
    /// When a node that is asked to stop waits no longer for its successor.
    stop_at: Option<Time>,
    /// What the last write was told, if there was no space for it.
    no_space: Option<JournalError>,
    /// When the status is published next, if it has changed.
    publish_at: Option<Time>,
    published: Time,
}

impl Protocol {
    #[expect(clippy::too_many_arguments, reason = "called once, by the builder, with what it collected")]
    pub(crate) fn new(
        raft: Traced,
        config: Config,
        identity: Identity,
        known_peers: Vec<KnownPeer>,
        journal: Box<dyn Journal>,
        transport: Arc<dyn Transport>,
        runtime: Arc<dyn Runtime>,
        shared: Arc<Shared>,
        jobs: mpsc::UnboundedSender<Job>,
        queues: Queues,
        snapshots: Option<Snapshots>,
    ) -> Self {
        Self {
            raft,
            scrub: Scrub::new(runtime.now(), config.scrub_period),
            config,
            peers: PeerMemory::new(identity, known_peers),
            members: BTreeSet::new(),
            reader: journal.reader(),
            journal: Some(journal),
            writing: None,
            writes_since: runtime.now(),
            fetching: Vec::new(),
            transport,
            timer: runtime.timer(),
            published: runtime.now(),
            runtime,
            shared,
            jobs,
            queues,
            proposals: Proposals::default(),
            gather: Gather::default(),
            held: propose::Held::default(),
            held_until: None,
            snapshots,
            readers: Readers::default(),
            pieces: None,
            waiting: Waiting::default(),
            reads: Reads::default(),
            asked: false,
            usual_commands: writes::UsualCommands::default(),
            clock: LogClock::default(),
            transfer: None,
            changes: Changes::default(),
            leads: None,
            unknown_at: None,
            stop_at: None,
            no_space: None,
            publish_at: None,
        }
    }

    /// Runs until told to stop, or until the node cannot go on.
    pub(crate) async fn run(mut self) -> End {
        let mut turn = Turn::default();
        let end = loop {
            if let Err(reason) = self.drive() {
                break Err(reason);
            }
            if self.may_stop() {
                break Ok(());
            }
            self.wait(&mut turn).await;
            if let Err(reason) = self.take(&mut turn) {
                // A failed leader has asked somebody to take over: let that leave.
                let _ = self.drive();
                break Err(reason);
            }
        };
        self.finish(&end, turn);
        end
    }

    /// Waits for something to come, and takes all that is there.
    async fn wait(&mut self, turn: &mut Turn) {
        let scrub = self.scrub.next_timeout();
        let held = self.held_until;
        let deadlines =
            [self.raft.next_timeout(), self.unknown_at, self.stop_at, self.publish_at, scrub, held];
        self.timer.as_mut().set(deadlines.into_iter().flatten().min());
        poll_fn(|context| self.poll_turn(context, turn)).await;
    }

    /// In a fixed order, so that the same events give the same turns.
    fn poll_turn(&mut self, context: &mut Context<'_>, turn: &mut Turn) -> Poll<()> {
        let mut came = false;
        if let Some((_, writing)) = &mut self.writing
            && let Poll::Ready((journal, result)) = writing.as_mut().poll(context)
        {
            self.journal = Some(journal);
            turn.written = Some(result);
            came = true;
        }
        self.fetching.retain_mut(|fetching| match fetching.as_mut().poll(context) {
            Poll::Ready(fetched) => {
                turn.fetched.push(fetched);
                came = true;
                false
            }
            Poll::Pending => true,
        });
        if turn.scrubbed.is_none() {
            turn.scrubbed = self.scrub.poll(context);
            came |= turn.scrubbed.is_some();
        }
        came |= receive(&mut self.queues.control, context, &mut turn.control, CONTROL_A_TURN);
        came |= self.timer.as_mut().poll(context).is_ready();
        came |= receive(&mut self.queues.bulk, context, &mut turn.bulk, BULK_A_TURN);
        came |= receive(&mut self.queues.applied, context, &mut turn.applied, BULK_A_TURN);
        came |= receive(&mut self.queues.news, context, &mut turn.news, BULK_A_TURN);
        let raft = &self.raft;
        came |= self.readers.poll(context, &mut turn.read, |peer| raft.sends_snapshot(peer));
        came |= receive(&mut self.queues.requests, context, &mut turn.requests, BATCHES_A_TURN);
        came |= receive(&mut self.queues.batches, context, &mut turn.batches, BATCHES_A_TURN);
        if came { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Feeds a turn to the protocol.
    fn take(&mut self, turn: &mut Turn) -> Result<(), Arc<FatalReason>> {
        let now = self.runtime.now();
        if let Some(result) = turn.written.take() {
            self.written(now, result)?;
        }
        for (id, result) in turn.fetched.drain(..) {
            match result {
                Ok(entries) => self.raft.handle_fetched(now, id, entries),
                // What nobody wants any more may have been cut away or purged meanwhile.
                Err(JournalError::OutOfRange { .. } | JournalError::Compacted { .. })
                    if !self.raft.wants_fetch(id) =>
                {
                    self.raft.handle_fetched(now, id, Vec::new());
                }
                Err(JournalError::Corrupt(damage)) if self.outlives(now, id, &damage) => {}
                Err(error) => {
                    // A leader asks somebody to take over.
                    self.raft.handle_write_failed(now);
                    return Err(Arc::new(error.into()));
                }
            }
        }
        if let Some(result) = turn.scrubbed.take() {
            self.scrubbed(now, result);
        }
        self.queues.room.free_control(turn.control.len());
        for inbound in turn.control.drain(..) {
            match inbound {
                Inbound::Message(envelope) => {
                    // Somebody waits to read, here or at the leader, or may.
                    self.asked |= matches!(envelope.message, Message::Heartbeat(_) | Message::ReadIndex(_));
                    self.raft.handle_message(now, envelope);
                }
                Inbound::Peer(peer, event) => {
                    if event == PeerEvent::Up {
                        self.peers.accepted_by(peer);
                    }
                    self.raft.handle_peer(now, peer, event);
                }
            }
        }
        if self.raft.next_timeout().is_some_and(|at| at <= now) {
            self.raft.handle_timeout(now);
        }
        for envelope in turn.bulk.drain(..) {
            self.queues.room.free(cost_bytes(&envelope));
            self.raft.handle_message(now, envelope);
        }
        if !turn.applied.is_empty() {
            self.clock.observe(now, self.shared.sessions.time());
        }
        for through in turn.applied.drain(..) {
            self.gather.answered(now, through);
            self.raft.handle_applied(now, through);
        }
        for news in turn.news.drain(..) {
            self.on_snapshot_news(now, news);
        }
        for Read { id, result } in turn.read.drain(..) {
            match result {
                Ok(data) => self.raft.handle_chunk(now, id, data),
                Err(why) => self.raft.handle_chunk_failed(now, id, why),
            }
        }
        self.requests(now, turn)?;
        self.held_until = self.hold(now, &turn.batches);
        if self.held_until.is_none() {
            self.propose(now, &mut turn.batches);
        }
        if self.unknown_at.is_some_and(|at| at <= now) {
            // It may lead again since this very turn.
            self.news()?;
            self.unknown_at = None;
            self.proposals.give_up_before(self.leads.unwrap_or(Term::LAST));
            self.changes.give_up_before(self.leads.unwrap_or(Term::LAST));
        }
        Ok(())
    }

    /// Whether the node goes on although entries that were asked for are damaged: nobody wants them any more, or a
    /// follower gets a snapshot in their place.
    fn outlives(&mut self, now: Time, id: FetchId, damage: &Corruption) -> bool {
        self.scrub.damaged(now, damage);
        let range = damage.range.as_ref().filter(|_| self.snapshots.is_some());
        range.is_some_and(|range| self.raft.handle_fetch_damaged(now, id, range))
    }

    pub(super) const fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn reader(&self) -> Arc<dyn JournalReader> {
        Arc::clone(&self.reader)
    }

    fn requests(&mut self, now: Time, turn: &mut Turn) -> Result<(), Arc<FatalReason>> {
        let ends_or_marks = |request: &Request| {
            matches!(request, Request::Transfer { .. } | Request::Shutdown | Request::Session { .. })
        };
        if self.held_until.is_some() && turn.requests.iter().any(ends_or_marks) {
            // What was held came before them.
            self.propose(now, &mut turn.batches);
        }
        // One by one, so that what is left when one of them ends the node still gets its answer.
        turn.requests.reverse();
        while let Some(request) = turn.requests.pop() {
            match request {
                Request::Read { policy, reply } => turn.readers[policy as usize].push(reply),
                Request::Reconfigure { settings, reply } => {
                    let result = self.reconfigure(now, &settings);
                    let _ = reply.send(result);
                }
                Request::Transfer { to, reply } => {
                    // The one before may have ended in this very turn: its caller is answered first.
                    self.news()?;
                    match self.raft.transfer_leadership(now, to) {
                        Ok(_) => self.transfer = Some(reply),
                        Err(error) => drop(reply.send(Err(error))),
                    }
                }
                Request::Change(request) => self.change(now, request),
                Request::Campaign => self.raft.campaign(now),
                Request::Session { op, reply } => self.propose_session(now, op, reply),
                Request::Snapshot { reply } => self.want_snapshot(now, reply),
                Request::Scrub { reply } => self.scrub.ask(now, reply),
                Request::Shutdown => self.begin_to_stop(now),
                Request::Admit { peer, reply } => {
                    self.peers.admit(peer, reply);
                }
                Request::Refused { by, why } if why.is_final() => {
                    let status = self.raft.status(now);
                    let me = Standing {
                        membership: &status.membership,
                        probation: status.probation,
                        added: self.raft.was_added(),
                    };
                    if self.peers.refused_by(by, &why, me) {
                        return Err(Arc::new(FatalReason::Refused { by, why }));
                    }
                }
                // Another cluster's node on a member's address, or one that is starting: not this
                // node's fault. The transport has logged and counted it.
                Request::Refused { .. } => {}
                Request::Failed { reason } => return Err(reason),
            }
        }
        for policy in [ReadPolicy::Leader, ReadPolicy::Follower] {
            let readers = core::mem::take(&mut turn.readers[policy as usize]);
            if readers.is_empty() {
                continue;
            }
            self.asked = true;
            let id = self.reads.next_id();
            self.reads.add(id, readers);
            if let Err(error) = self.raft.read(now, id, policy) {
                self.reads.finish(id, &Err(error));
            }
        }
        Ok(())
    }

    fn reconfigure(&mut self, now: Time, settings: &Settings) -> Result<Config, ReconfigureError> {
        self.raft.reconfigure(now, settings)?;
        self.config = self.raft.config().clone();
        self.shared.set_queue_limit_bytes(self.config.uncommitted_limit_bytes);
        if settings.scrub_period.is_some() {
            self.scrub.reconfigured(now, self.config.scrub_period);
        }
        self.publish(true);
        Ok(self.config.clone())
    }

    /// Begins a membership change, or says what it would come to.
    fn change(&mut self, now: Time, request: ChangeRequest) {
        match request {
            request if self.stop_at.is_some() => request.refuse(ChangeError::ShuttingDown),
            ChangeRequest::Make { changes, options, reply } => {
                let term = self.raft.status(now).term;
                match self.raft.change_membership(now, &changes, options) {
                    Ok(id) => self.changes.add(id, term, reply),
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            ChangeRequest::Plan { changes, reply } => drop(reply.send(self.raft.plan_membership(&changes))),
        }
    }

    /// Pulls until nothing moves.
    fn drive(&mut self) -> Result<(), Arc<FatalReason>> {
        loop {
            let mut moved = false;
            while let Some(out) = self.raft.poll_message() {
                // A dropped message is repaired by the protocol and counted by the transport.
                let _ = self.transport.send(&out.to, out.lane, out.envelope);
            }
            moved |= self.work_on_journal();
            moved |= self.pull_snapshots();
            while let Some(apply) = self.raft.poll_apply() {
                moved = true;
                let now = self.runtime.now();
                let waiting = |entry: &Entry| {
                    let waiters = self.proposals.committed(entry.id);
                    if let Some(waiters) = &waiters {
                        self.shared.timers.commit.record(now.since(waiters.since));
                    }
                    (entry.clone(), waiters)
                };
                let entries = apply.entries.iter().map(waiting).collect();
                // An applier that has stopped has said why.
                let _ = self.jobs.send(Job::Apply { entries, through: apply.through });
            }
            while let Some(fetch) = self.raft.poll_fetch() {
                let reader = Arc::clone(&self.reader);
                self.fetching.push(Box::pin(async move {
                    (fetch.id, reader.entries(fetch.range, fetch.max_bytes).await)
                }));
            }
            moved |= self.work_on_scrub();
            moved |= self.news()?;
            if !moved {
                break;
            }
        }
        self.publish(false);
        Ok(())
    }

    /// Whether there was any.
    fn news(&mut self) -> Result<bool, Arc<FatalReason>> {
        let mut any = false;
        while let Some(event) = self.raft.poll_event() {
            any = true;
            self.on_event(event)?;
        }
        Ok(any)
    }

    fn on_event(&mut self, event: Event) -> Result<(), Arc<FatalReason>> {
        match event {
            Event::ReadReady { id, index } => self.reads.finish(id, &Ok(index)),
            Event::ReadFailed { id, error } => self.reads.finish(id, &Err(error)),
            Event::RoleChanged { role, term, .. } => {
                let leads = (role == RoleKind::Leader).then_some(term);
                self.gather.forget();
                if leads.is_some() && leads != self.leads {
                    self.clock.restart(self.runtime.now());
                }
                self.leads = leads;
                // Also where this node leads again: what was cut away meanwhile may lie beyond the end of
                // the log, and nothing may ever come there.
                if self.unknown_at.is_none() && !(self.proposals.is_empty() && self.changes.is_empty()) {
                    self.unknown_at = Some(self.runtime.now() + self.patience());
                }
                self.publish(true);
            }
            Event::MembershipChanged { membership, reach, left, .. } => {
                self.members = membership.members.keys().copied().collect();
                let committed = self.raft.status(self.runtime.now()).membership_committed;
                self.peers.members(&membership, committed, &left);
                self.transport.members(&reach);
                self.publish(true);
            }
            Event::ChangeFinished { id, result } => self.changes.finish(id, result),
            Event::Removed | Event::Healed { .. } => self.publish(true),
            Event::TransferFinished { to, result } => {
                if let Some(reply) = self.transfer.take() {
                    let _ = reply.send(result.map(|()| to));
                }
            }
            Event::Alarm(violation) if violation.is_fatal() => {
                return Err(Arc::new(FatalReason::Violation(violation)));
            }
            Event::Noticed { by, notice: Notice::RolledBack { acknowledged } } => {
                return Err(Arc::new(FatalReason::RolledBack { by, acknowledged }));
            }
            // An alarm that is not fatal, and who was set back, are in the status.
            Event::Alarm(_) => self.publish(true),
            Event::PeerRolledBack { .. } | Event::Noticed { .. } => {}
        }
        Ok(())
    }

    /// Publishes the status: at once, or when the last one is old enough.
    pub(super) fn publish(&mut self, at_once: bool) {
        let now = self.runtime.now();
        let due = self.published + STATUS_AGE;
        if at_once || due <= now {
            self.published = now;
            self.publish_at = None;
            self.shared.publish(Status { scrub: self.scrub.status(now), ..self.raft.status(now) });
        } else if self.publish_at.is_none() {
            self.publish_at = Some(due);
        }
    }

    /// How long proposals of a lost leadership may still learn what became of them: a little less than an
    /// election timeout, so that with the one that the loss took to notice a caller waits at most two.
    fn patience(&self) -> Duration {
        self.config.election_timeout.saturating_sub(self.config.heartbeat_interval)
    }

    fn begin_to_stop(&mut self, now: Time) {
        if self.stop_at.is_none() {
            let hands_over = match self.raft.transfer_leadership(now, None) {
                Ok(_) | Err(TransferError::InProgress { .. }) => true,
                Err(_) => false,
            };
            let patience = if hands_over { self.config.election_timeout } else { Duration::ZERO };
            self.stop_at = Some(now + patience);
        }
    }

    /// Told to stop, and nothing is left to wait for: the successor leads and has answered for what this
    /// node proposed, who asked for it knows, or it takes too long.
    fn may_stop(&self) -> bool {
        let waited_for = self.transfer.is_some() || !self.proposals.is_empty();
        let handed_over = self.raft.role_kind() != RoleKind::Leader && !waited_for;
        self.stop_at.is_some_and(|at| handed_over || at <= self.runtime.now())
    }
}

/// Takes what a queue has. Whether anything came.
fn receive<T>(
    queue: &mut mpsc::UnboundedReceiver<T>,
    context: &mut Context<'_>,
    into: &mut Vec<T>,
    limit: usize,
) -> bool {
    matches!(queue.poll_recv_many(context, into, limit), Poll::Ready(count) if count > 0)
}
