//! Messages between nodes.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::ids::{ClusterId, GroupId, Identity, NodeId, StoreId};
use crate::membership::Member;
use crate::message::{Envelope, Lane, PeerEvent};

/// What became of a message that was handed to [`Transport::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// Queued. It may still be lost.
    Queued,
    /// Dropped. Not an error: Raft repairs. Counted per peer.
    Dropped(SentDropped),
}

/// Why a message was dropped at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SentDropped {
    /// No connection to the peer at the moment.
    NotConnected,
    /// Its queue is full.
    QueueFull,
    /// The message is larger than the transport's limit.
    TooLarge,
    /// The transport is not running.
    Stopped,
    /// The peer speaks a wire version that has no such message (T11).
    NotSpoken,
}

/// What an inbox did with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Delivery {
    /// Taken.
    Accepted,
    /// Not taken, for bulk only: stop reading this connection's bulk lane, await [`Inbox::ready`], and
    /// deliver it again.
    Full,
    /// The node has stopped: close.
    Closed,
}

/// Why a peer is not admitted (T6).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Another cluster.
    #[error(
        "it belongs to cluster {theirs}, this one is {ours}: all nodes of a cluster are given the same cluster id"
    )]
    WrongCluster {
        /// The refusing node's.
        ours: ClusterId,
        /// The refused node's.
        theirs: ClusterId,
    },
    /// Another group.
    #[error("it belongs to group {theirs}, this one is {ours}")]
    WrongGroup {
        /// The refusing node's.
        ours: GroupId,
        /// The refused node's.
        theirs: GroupId,
    },
    /// Not the node that was dialled, or the refusing node's own name: two nodes are given one id, or one address is another's.
    ///
    /// ```
    /// use raft_core::backend::Refusal;
    /// use raft_core::ids::NodeId;
    ///
    /// let says = |expected, claimed| Refusal::WrongNode { expected: NodeId(expected), claimed: NodeId(claimed) }.to_string();
    /// assert_eq!(says(2, 3), "it says it is node 3, expected 2: is an address wrong?");
    /// // It has the name of who refuses it.
    /// assert_eq!(says(1, 1), "it says it is node 1, as this one is: is an address wrong?");
    /// ```
    #[error("it says it is node {claimed}, {}: is an address wrong?", if claimed == expected { String::from("as this one is") } else { alloc::format!("expected {expected}") })]
    WrongNode {
        /// Who was expected.
        expected: NodeId,
        /// Who it says it is.
        claimed: NodeId,
    },
    /// The store behind this node id was replaced: a wiped or exchanged disk (J12).
    #[error(
        "node {node} was known with store {known}, now comes with {offered}: it comes back only by a membership change (remove node {node}, then add it again)"
    )]
    StoreReplaced {
        /// The node.
        node: NodeId,
        /// The store it had.
        known: StoreId,
        /// The store it has.
        offered: StoreId,
    },
    /// The store was set back to an older copy (J12).
    #[error(
        "node {node} was known in incarnation {known}, now comes with {offered}: its store was set back, and it comes back only by a membership change (remove node {node}, then add it again with an empty store)"
    )]
    RolledBack {
        /// The node.
        node: NodeId,
        /// The highest incarnation it showed.
        known: u64,
        /// The one it shows now.
        offered: u64,
    },
    /// No common wire version.
    #[error("it speaks wire versions {theirs:?}, this one {ours:?}")]
    WireVersion {
        /// Lowest and highest of the refusing node.
        ours: (u16, u16),
        /// Lowest and highest of the refused node.
        theirs: (u16, u16),
    },
    /// It has shown no certificate for the node that it speaks for.
    #[error("it has no certificate for node {claimed}")]
    NotCertified {
        /// Who it says it is.
        claimed: NodeId,
    },
    /// The node is not ready, or is stopping. May be tried again.
    #[error("it is not ready")]
    NotReady,
}

impl Refusal {
    /// Whether it says that the refused node must not go on under its identity.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::StoreReplaced { .. } | Self::RolledBack { .. })
    }
}

/// Where a transport delivers. Cheap to clone.
#[derive(Clone)]
pub struct Inbox(Arc<dyn InboxHandler>);

impl core::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Inbox")
    }
}

/// What is behind an [`Inbox`]: a node, or a test.
#[async_trait]
pub trait InboxHandler: Send + Sync + 'static {
    /// See [`Inbox::deliver`].
    fn deliver(&self, envelope: Envelope) -> Delivery;
    /// See [`Inbox::ready`].
    async fn ready(&self);
    /// See [`Inbox::admit`].
    async fn admit(&self, peer: Identity) -> Result<(), Refusal>;
    /// See [`Inbox::peer`].
    fn peer(&self, node: NodeId, event: PeerEvent);
    /// See [`Inbox::refused`].
    fn refused(&self, by: NodeId, why: Refusal);
}

impl Inbox {
    /// An inbox in front of `handler`.
    #[must_use]
    pub fn new(handler: Arc<dyn InboxHandler>) -> Self {
        Self(handler)
    }

    /// Hands over a message that arrived whole from the node that its `from` says. Never blocks. Only
    /// messages of the bulk lane are ever answered `Full`.
    pub fn deliver(&self, envelope: Envelope) -> Delivery {
        self.0.deliver(envelope)
    }

    /// Returns when there may be room for bulk again.
    pub async fn ready(&self) {
        self.0.ready().await;
    }

    /// Whether a peer that identified itself may talk to this node. Returns only when what this says of
    /// the peer is remembered durably (J12). A transport asks at every handshake, on both sides, before
    /// it delivers any message of that connection.
    ///
    /// # Errors
    /// [`Refusal`]; the transport tells the peer, closes, logs once and counts.
    pub async fn admit(&self, peer: Identity) -> Result<(), Refusal> {
        self.0.admit(peer).await
    }

    /// Reports a connection that came or went (T5).
    pub fn peer(&self, node: NodeId, event: PeerEvent) {
        self.0.peer(node, event);
    }

    /// Reports that a peer has refused this node.
    pub fn refused(&self, by: NodeId, why: Refusal) {
        self.0.refused(by, why);
    }
}

/// Why a transport did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The address is in use.
    #[error("address {address} is in use")]
    AddressInUse {
        /// It.
        address: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// It.
        address: String,
        /// Why.
        cause: Arc<str>,
    },
    /// It runs already.
    #[error("the transport is already running")]
    AlreadyStarted,
}

/// Carries messages between nodes: best effort, at most a bounded queue per peer.
///
/// * **T1** What arrives is what was sent, whole, from the node that says so.
/// * **T2** It may drop, delay, duplicate, and reorder across lanes; within one lane of one connection,
///   order holds.
/// * **T3** Control is never delayed by bulk.
/// * **T4** A peer that is down, slow or silent costs a bounded queue and no one else anything;
///   reconnecting backs off with jitter and is unlimited.
/// * **T5** Connection up and loss are reported, promptly on reset or close; [`PeerEvent::Gone`] if an
///   immediate reconnect is refused or reset. That is a hint: something in between may refuse as well.
/// * **T6** The handshake checks magic, wire version range, cluster id, node id both ways, store id and
///   incarnation (by [`Inbox::admit`]); anything else is refused, logged once and counted.
///   Who was connected as no member and becomes one shakes hands anew: only members are remembered.
/// * **T7** A malformed, oversized or corrupted frame closes that connection only; frame size,
///   connections and handshake time are limited.
/// * **T8** Entry payloads up to 16 MiB by default pass.
/// * **T9** `shutdown` ends all tasks and frees the port; start and stop 100 times leak nothing.
/// * **T10** An address change of a member is followed.
/// * **T11** Wire versions N and N−1 interoperate.
///
/// # Examples
/// One around another, whose members are found elsewhere than their addresses say:
///
/// ```
/// use async_trait::async_trait;
/// use raft_core::backend::{Inbox, Sent, Transport, TransportError};
/// use raft_core::ids::Identity;
/// use raft_core::membership::Member;
/// use raft_core::message::{Envelope, Lane};
///
/// struct InThisRegion<T>(T);
///
/// impl<T> InThisRegion<T> {
///     fn place(&self, member: &Member) -> Member {
///         Member::new(member.id, member.address.replace(".example", ".eu.example"))
///     }
/// }
///
/// #[async_trait]
/// impl<T: Transport> Transport for InThisRegion<T> {
///     async fn start(&self, local: Identity, inbox: Inbox) -> Result<(), TransportError> {
///         self.0.start(local, inbox).await
///     }
///
///     fn send(&self, to: &Member, lane: Lane, envelope: Envelope) -> Sent {
///         self.0.send(&self.place(to), lane, envelope)
///     }
///
///     fn members(&self, members: &[Member]) {
///         let placed: Vec<Member> = members.iter().map(|member| self.place(member)).collect();
///         self.0.members(&placed);
///     }
///
///     async fn shutdown(&self) {
///         self.0.shutdown().await;
///     }
/// }
///
/// let member = Member::new(raft_core::ids::NodeId(1), "a.example:7101");
/// assert_eq!(InThisRegion(()).place(&member).address, "a.eu.example:7101");
/// ```
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Starts listening and delivering.
    ///
    /// # Errors
    /// [`TransportError`] if it cannot listen.
    async fn start(&self, local: Identity, inbox: Inbox) -> Result<(), TransportError>;

    /// Queues a message and connects to the member if need be. Never blocks.
    fn send(&self, to: &Member, lane: Lane, envelope: Envelope) -> Sent;

    /// Says whom to reach now (the members but this node, and those that leave until they know): connects to
    /// them, follows changed addresses, forgets the others. Called at start and at every change. Who dials in and
    /// is not among them is answered all the same while it is connected: a leader that has found a node in limbo,
    /// or a removed node that wants a vote.
    fn members(&self, members: &[Member]);

    /// Ends everything. Returns when the port is free.
    async fn shutdown(&self);
}
