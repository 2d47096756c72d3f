//! Many groups in one process, behind one port.
//!
//! What a process shares among its groups: the runtime and its threads, the port, the clock. What each group has of its
//! own: a node with its log, its elections and its heartbeats; a journal with its files, its thread and its syncs; a
//! transport with its connections to each peer; a store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use raft_core::NodeHandle;
use raft_core::error::FatalReason;
use raft_core::ids::{GroupId, NodeId};
use raft_core::membership::Membership;
use raft_net_grpc::{GrpcTransport, RaftService};
use raft_redb::Store;
use tokio::net::TcpListener;

use crate::listener::{Limits, Listener};
use crate::service::{StartError, mount, node};

/// The nodes that one process has in its groups.
#[derive(Debug)]
pub struct Groups {
    nodes: Vec<(NodeHandle, Store)>,
    listener: Listener,
}

impl Groups {
    /// Starts a node of each of so many groups, all under the same id and behind the same socket. The groups have the
    /// same founders; from then on each has its own membership.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn start(
        id: NodeId,
        groups: u64,
        data: &Path,
        founders: &Membership,
        socket: TcpListener,
    ) -> Result<Self, StartError> {
        let address = founders.member(id).map(|member| member.address.to_string());
        let mut options = raft_net_grpc::Options::default();
        options.advertise = address;
        let (mut transports, mut nodes) = (Vec::new(), Vec::new());
        for group in 0..groups {
            let transport = Arc::new(GrpcTransport::without_listener(options.clone()));
            let folder = data.join(format!("group-{group}"));
            nodes.push(node(id, GroupId(group), &folder, Some(founders), &transport).await?);
            transports.push(transport);
        }
        // Whoever dials says which group it means.
        let service = RaftService::of_groups(transports.iter().map(AsRef::as_ref));
        let listener = Listener::serve(socket, mount(Router::new(), service), Limits::default())?;
        Ok(Self { nodes, listener })
    }

    /// The node of a group, and its data.
    #[must_use]
    pub fn of(&self, group: GroupId) -> Option<&(NodeHandle, Store)> {
        self.nodes.get(usize::try_from(group.0).ok()?)
    }

    /// The group that a key belongs to: the same on all nodes, as long as their number does not change.
    #[must_use]
    pub fn group_of(&self, key: &str) -> GroupId {
        // FNV-1a. Not the hash of the standard library, which may change.
        let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        GroupId(hash % (self.nodes.len() as u64).max(1))
    }

    /// Ends all nodes, each of which hands its leadership over, then the port.
    ///
    /// # Errors
    /// Why the first of them had stopped before.
    pub async fn shutdown(self, patience: Duration) -> Result<(), Arc<FatalReason>> {
        let mut ended = Ok(());
        for (node, _) in &self.nodes {
            ended = ended.and(node.shutdown().await);
        }
        self.listener.shutdown(patience).await;
        ended
    }
}
