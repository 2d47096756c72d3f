//! What applications hold.

use std::sync::Arc;

use ::tokio::sync::{mpsc, oneshot};
use bytes::Bytes;

use super::changes::ChangeRequest;
use super::durations::Timings;
use super::protocol::Request;
use super::scrub::Scrubbed;
use super::shared::Shared;
use super::waiters::{Applied, Batch, BatchReply};
use crate::backend::SnapshotMeta;
use crate::config::{Config, Settings};
use crate::entry::batch_bytes;
use crate::error::{
    ChangeError, FatalReason, Objection, ProposeError, ReadError, ReconfigureError, ScrubFailed,
    SnapshotFailed, TransferError,
};
use crate::ids::{Index, NodeId};
use crate::membership::{Change, Plan};
use crate::raft::{ChangeDone, ChangeOptions};
use crate::session::Mark;
use crate::status::{Load, Status};

/// A running node. Cloning copies a reference; all clones speak to the same node.
///
/// The node runs until [`shutdown`](Self::shutdown), until it fails, or until its runtime ends. Dropping
/// handles does not stop it: it goes on voting and storing for its cluster.
///
/// A write, and a read that sees it; what else may come of them is in the [guide](https://github.com/raft-crates/raft/blob/main/docs/guide/outcomes.md):
///
/// ```
/// # async fn example(node: raft_core::NodeHandle) -> Result<(), Box<dyn std::error::Error>> {
/// let applied = node.propose("add 4").await?;
/// println!("{}: {:?}", applied.id, applied.response);
///
/// node.read_barrier().await?;
/// // The state machine of this node now has all that was acknowledged anywhere before.
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct NodeHandle {
    id: NodeId,
    batches: mpsc::UnboundedSender<Batch>,
    pub(super) requests: mpsc::UnboundedSender<Request>,
    pub(super) shared: Arc<Shared>,
}

impl core::fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("NodeHandle").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Which nodes answer a linearizable read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReadPolicy {
    /// The leader: one heartbeat round, shared by all who wait, or nothing under a lease.
    #[default]
    Leader,
    /// Every node: one that follows asks the leader how far it must have applied, once for all who wait. That costs
    /// a round trip to the leader and what the leader pays for a read of its own, but the state machine's work, and
    /// the answer's way, are this node's. Fails as [`ReadError::NotLeader`] where no leader is known, where it changes
    /// meanwhile, or where it speaks only wire version 1 (then after an election timeout).
    Follower,
}

/// What a queued command costs beyond its bytes.
const COMMAND_OVERHEAD_BYTES: u64 = 64;

impl NodeHandle {
    pub(crate) const fn new(
        id: NodeId,
        batches: mpsc::UnboundedSender<Batch>,
        requests: mpsc::UnboundedSender<Request>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { id, batches, requests, shared }
    }

    /// This node's name.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// Executes a command on all nodes and returns this node's response.
    ///
    /// # Errors
    /// [`ProposeError`]; its `outcome` says whether the command may have been executed.
    ///
    /// # Cancellation
    /// A dropped future leaves a command that was sent on its way: it may be executed.
    ///
    /// # Example
    /// ```
    /// # async fn example(node: raft_core::NodeHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// use raft_core::error::{Outcome, ProposeError};
    ///
    /// match node.propose("add 4").await {
    ///     Ok(applied) => println!("done: {:?}", applied.response),
    ///     Err(ProposeError::NotLeader { leader: Some(leader) }) => println!("ask {}", leader.address),
    ///     Err(error) if error.outcome() == Outcome::NotApplied => println!("not done: {error}"),
    ///     Err(error) => println!("nobody can tell: {error}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Durability
    /// When it returns, the command is durable on a quorum and executed here.
    pub async fn propose(&self, command: impl Into<Bytes>) -> Result<Applied, ProposeError> {
        let mut applied = self.propose_batch(vec![command.into()]).await?;
        // One command was sent, so one answer came; without it nobody could say that it was not applied.
        applied.pop().ok_or_else(|| ProposeError::Unknown { term: self.shared.status().term })
    }

    /// Executes commands in order, in one log entry: all of them or none, with nothing in between.
    /// Answers come in the same order.
    ///
    /// # Errors
    /// As [`propose`](Self::propose), for all of them alike. [`ProposeError::TooLarge`] if together they
    /// exceed `command_limit_bytes`, each beyond the first with four bytes more.
    ///
    /// # Cancellation
    /// A dropped future leaves commands that were sent on their way.
    ///
    /// # Cost
    /// One queue slot and one wake-up for the batch.
    ///
    /// # Example
    /// ```
    /// # async fn example(node: raft_core::NodeHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// let answers = node.propose_batch(vec!["add 4".into(), "add 5".into()]).await?;
    /// assert_eq!(answers.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn propose_batch(&self, commands: Vec<Bytes>) -> Result<Vec<Applied>, ProposeError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = batch_bytes(&commands);
        let (reply, answer) = oneshot::channel();
        self.submit(commands, Vec::new(), bytes, BatchReply::Plain(reply))?;
        // The node answers every batch; it can only be lost with the whole runtime.
        answer.await.unwrap_or_else(|_| Err(ProposeError::Unknown { term: self.shared.status().term }))
    }

    /// Queues a batch of so many bytes.
    pub(super) fn submit(
        &self,
        commands: Vec<Bytes>,
        marks: Vec<Option<Mark>>,
        bytes: u64,
        reply: BatchReply,
    ) -> Result<(), ProposeError> {
        let limit_bytes = self.shared.command_limit_bytes;
        if bytes > limit_bytes {
            return Err(ProposeError::TooLarge { bytes, limit_bytes });
        }
        let cost_bytes = bytes + COMMAND_OVERHEAD_BYTES * commands.len() as u64;
        if let Err(waiting_bytes) = self.shared.reserve(cost_bytes) {
            let limit_bytes = self.shared.queue_limit_bytes();
            return Err(ProposeError::Overloaded { waiting_bytes, limit_bytes });
        }
        self.batches.send(Batch { commands, marks, cost_bytes, reply }).map_err(|_| self.gone())
    }

    /// Waits until this node's state contains everything that was acknowledged anywhere before the call: a
    /// read of the state machine after it returns is linearizable. Only the leader answers; callers share heartbeat
    /// rounds, and under a lease ([`Config::lease`](crate::Config::lease)) need none.
    ///
    /// # Errors
    /// [`ReadError`]; it may be called again.
    pub async fn read_barrier(&self) -> Result<Index, ReadError> {
        self.read_barrier_with(ReadPolicy::Leader).await
    }

    /// The same on the nodes that the policy allows.
    ///
    /// # Errors
    /// [`ReadError`]; it may be called again.
    ///
    /// # Example
    /// ```
    /// # async fn example(node: raft_core::NodeHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// // On any node, also one that follows.
    /// node.read_barrier_with(raft_core::ReadPolicy::Follower).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_barrier_with(&self, policy: ReadPolicy) -> Result<Index, ReadError> {
        let (reply, answer) = oneshot::channel();
        let ended = || match self.shared.end() {
            Some(Err(reason)) => ReadError::Fatal(reason),
            _ => ReadError::ShuttingDown,
        };
        if self.requests.send(Request::Read { policy, reply }).is_err() {
            return Err(ended());
        }
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Takes on other settings, those that may change while the node runs. They are not kept: a node that is
    /// started again has what its [`Config`] says. Returns all settings as they are now; with
    /// `Settings::default()` it changes nothing.
    ///
    /// # Errors
    /// [`ReconfigureError`]; nothing has changed.
    ///
    /// # Example
    /// ```
    /// # async fn example(node: raft_core::NodeHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// use raft_core::Settings;
    ///
    /// let settings = Settings { priority: Some(-1), ..Settings::default() };
    /// let now = node.reconfigure(settings).await?;
    /// assert_eq!(now.priority, -1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn reconfigure(&self, settings: Settings) -> Result<Config, ReconfigureError> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Reconfigure { settings: Box::new(settings), reply }).is_err() {
            return Err(ReconfigureError::Stopped);
        }
        answer.await.unwrap_or(Err(ReconfigureError::Stopped))
    }

    /// Hands leadership to `to`, or to the voter with the most complete log. Returns the new leader once it
    /// has taken over.
    ///
    /// # Errors
    /// [`TransferError`]; unless it says otherwise this node leads on.
    ///
    /// # Example
    /// ```
    /// # async fn example(node: raft_core::NodeHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// let leads = node.transfer_leadership(None).await?;
    /// println!("node {leads} leads");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Transfer { to, reply }).is_err() {
            return Err(TransferError::Stopped);
        }
        answer.await.unwrap_or(Err(TransferError::Stopped))
    }

    /// Changes who belongs to the cluster: all of `changes` as one, by joint consensus (§6) if the voters change.
    /// Returns when it is over: the last entry is committed. New voters become learners first; with
    /// [`ChangeOptions::wait`] they are waited for, without it a change whose voters have not caught up is
    /// refused. What the leader has begun, another one finishes, should it die.
    ///
    /// # Errors
    /// [`ChangeError`]; its `outcome` says whether the membership may have been changed. A change that was
    /// refused may leave behind a new member that learns.
    ///
    /// # Cancellation
    /// A dropped future leaves a change that was begun on its way.
    ///
    /// # Durability
    /// When it returns, the new membership is durable on a quorum of the old *and* of the new voters.
    ///
    /// # Example
    /// Node 4 takes the place of node 2, once it has caught up:
    ///
    /// ```
    /// # async fn example(node: raft_core::NodeHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::{Change, Member};
    /// use raft_core::raft::ChangeOptions;
    ///
    /// let change = Change::Replace { old: NodeId(2), new: Member::new(NodeId(4), "10.0.0.4:7101") };
    /// let options = ChangeOptions::default().wait(Duration::from_secs(60));
    /// let done = node.change_membership(vec![change], options).await?;
    /// assert!(done.membership.is_voter(NodeId(4)));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn change_membership(
        &self,
        changes: Vec<Change>,
        options: ChangeOptions,
    ) -> Result<ChangeDone, ChangeError> {
        let (reply, answer) = oneshot::channel();
        let request = ChangeRequest::Make { changes, options, reply };
        if self.requests.send(Request::Change(request)).is_err() {
            return Err(self.change_ended());
        }
        // The node answers every request; it can only be lost with the whole runtime.
        answer.await.unwrap_or_else(|_| Err(ChangeError::Unknown { term: self.shared.status().term }))
    }

    /// What [`change_membership`](Self::change_membership) would come to, and all that speaks against it at
    /// this moment: a dry run, on the leader.
    ///
    /// # Errors
    /// [`ChangeError`]: another node leads, the changes make no sense, or this node has stopped.
    ///
    /// # Example
    /// ```
    /// # async fn example(node: raft_core::NodeHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// use raft_core::ids::NodeId;
    /// use raft_core::membership::Change;
    ///
    /// let (plan, objections) = node.plan_membership(vec![Change::Remove(NodeId(2))]).await?;
    /// println!("{plan}");
    /// for objection in objections {
    ///     println!("but {objection}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn plan_membership(&self, changes: Vec<Change>) -> Result<(Plan, Vec<Objection>), ChangeError> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Change(ChangeRequest::Plan { changes, reply })).is_err() {
            return Err(self.change_ended());
        }
        answer.await.unwrap_or_else(|_| Err(self.change_ended()))
    }

    /// Takes a snapshot of everything that this node has executed by now, on any node, leader or not; what the
    /// policy takes by itself comes on top. Returns at once if the newest one covers that already, and else
    /// when it is durable. Neither writes nor the state machine wait for it.
    ///
    /// # Errors
    /// [`SnapshotFailed`]; the newest snapshot that was there before still is.
    ///
    /// # Cancellation
    /// A dropped future lets the snapshot be taken.
    ///
    /// # Example
    /// ```
    /// # async fn example(node: raft_core::NodeHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// let taken = node.snapshot().await?;
    /// println!("everything up to {}, {} bytes", taken.upto, taken.content.total_bytes);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn snapshot(&self) -> Result<SnapshotMeta, SnapshotFailed> {
        let (reply, answer) = oneshot::channel();
        let ended = || match self.shared.end() {
            Some(Err(reason)) => SnapshotFailed::Fatal(reason),
            _ => SnapshotFailed::ShuttingDown,
        };
        if self.requests.send(Request::Snapshot { reply }).is_err() {
            return Err(ended());
        }
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Reads all that the journal has for good and checks it against what was written, as fast as
    /// [`Config::scrub_bytes_per_second`](crate::Config::scrub_bytes_per_second) says. Returns what it has found. Damage
    /// is healed where the node has snapshots: one is taken whose state has what was damaged, and the journal drops it
    /// (the status says when). Neither writes nor the state machine wait for it.
    ///
    /// # Errors
    /// [`ScrubFailed`].
    ///
    /// # Cancellation
    /// A dropped future lets the pass go on.
    ///
    /// # Example
    /// ```
    /// # async fn example(node: raft_core::NodeHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// for damage in node.scrub().await?.damages {
    ///     println!("{damage}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn scrub(&self) -> Result<Scrubbed, ScrubFailed> {
        let (reply, answer) = oneshot::channel();
        let ended = || match self.shared.end() {
            Some(Err(reason)) => ScrubFailed::Fatal(reason),
            _ => ScrubFailed::ShuttingDown,
        };
        if self.requests.send(Request::Scrub { reply }).is_err() {
            return Err(ended());
        }
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Lets this node campaign although a leader may live: it asks first whether it would win. Returns at
    /// once; [`watch`](Self::watch) shows what becomes of it.
    pub fn campaign(&self) {
        // A node that has stopped does not campaign.
        let _ = self.requests.send(Request::Campaign);
    }

    /// What the node knows of itself: a copy, at most a few milliseconds old, for the price of a
    /// reference.
    ///
    /// ```
    /// # fn example(node: raft_core::NodeHandle) {
    /// let status = node.status();
    /// println!("{} in term {}, because {:?}", status.role, status.term, status.why);
    /// for peer in &status.peers {
    ///     println!("node {} has everything up to {}", peer.id, peer.match_index);
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.shared.status()
    }

    /// What waits for the node at this very moment.
    #[must_use]
    pub fn load(&self) -> Load {
        self.shared.load()
    }

    /// How long the node's work takes, counted since it started.
    #[must_use]
    pub fn timings(&self) -> Timings {
        self.shared.timers.timings()
    }

    /// Follows the status.
    ///
    /// ```
    /// # async fn example(node: raft_core::NodeHandle) {
    /// // Waits for a leader; `None` if the node stops first.
    /// if let Some(status) = node.watch().until(|status| status.leader.is_some()).await {
    ///     println!("{:?} leads", status.leader);
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn watch(&self) -> StatusWatch {
        StatusWatch { shared: Arc::clone(&self.shared), seen: 0 }
    }

    /// Returns when the node has stopped.
    ///
    /// # Errors
    /// Why it stopped, if not by [`shutdown`](Self::shutdown).
    pub async fn stopped(&self) -> Result<(), Arc<FatalReason>> {
        let mut seen = 0;
        loop {
            let (_, version, end) = self.shared.newer(seen).await;
            if let Some(end) = end {
                return end;
            }
            seen = version;
        }
    }

    /// Stops the node: a leader hands over first, for at most an election timeout. Proposals still under
    /// way end as unknown. Returns when all is closed: the journal, the transport and the state machine, which
    /// first finishes the batch that it is at.
    ///
    /// # Errors
    /// Why the node had stopped before, if it had failed.
    ///
    /// # Example
    /// ```
    /// # async fn example(node: raft_core::NodeHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// node.shutdown().await?;
    /// // Its journal may now be opened again.
    /// # Ok(())
    /// # }
    /// ```
    pub async fn shutdown(&self) -> Result<(), Arc<FatalReason>> {
        // A node that has stopped already needs not be told.
        let _ = self.requests.send(Request::Shutdown);
        self.stopped().await
    }

    fn change_ended(&self) -> ChangeError {
        match self.shared.end() {
            Some(Err(reason)) => ChangeError::Fatal(reason),
            _ => ChangeError::ShuttingDown,
        }
    }

    pub(super) fn gone(&self) -> ProposeError {
        match self.shared.end() {
            Some(Err(reason)) => ProposeError::Fatal(reason),
            _ => ProposeError::ShuttingDown,
        }
    }
}

/// Follows a node's status.
pub struct StatusWatch {
    shared: Arc<Shared>,
    seen: u64,
}

impl core::fmt::Debug for StatusWatch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("StatusWatch").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl StatusWatch {
    /// The next status that this watch has not shown; the first call returns at once. In between, some
    /// may be left out. `None` once the node has stopped.
    pub async fn changed(&mut self) -> Option<Arc<Status>> {
        let (status, version, end) = self.shared.newer(self.seen).await;
        if end.is_some() {
            return None;
        }
        self.seen = version;
        Some(status)
    }

    /// Waits for a status of which `is` holds. `None` if the node stops first.
    pub async fn until(&mut self, mut is: impl FnMut(&Status) -> bool) -> Option<Arc<Status>> {
        loop {
            let status = self.changed().await?;
            if is(&status) {
                return Some(status);
            }
        }
    }
}
