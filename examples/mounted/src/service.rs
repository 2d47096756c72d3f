//! A node of the group, mounted.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use raft_core::backend::{OpenError, SnapshotError};
use raft_core::error::FatalReason;
use raft_core::ids::{ClusterId, GroupId, NodeId};
use raft_core::membership::Membership;
use raft_core::{Config, Node, NodeHandle};
use raft_log_file::{FileJournal, FileSnapshots};
use raft_net_grpc::GrpcTransport;
use raft_redb::{Store, StoreError};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::{Service as TowerService, http::Request, http::Response};
use tonic::server::NamedService;

use crate::grpc;
use crate::http::{self, Keys};
use crate::listener::{Limits, Listener};
use crate::tls::Tls;

/// Drawn once, for good; replace it by your own (`uuidgen`).
pub const CLUSTER: ClusterId = ClusterId(0x9c1d_7f40_52ab_4e6b_8d3a_11f6_0c57_e2b4);

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Which node it is.
    pub id: NodeId,
    /// Its folder.
    pub data: PathBuf,
    /// Where the others reach it, and clients that are redirected: `host:port`.
    pub address: String,
    /// The membership that a new cluster begins with; `None` for a node that is to be added to one.
    pub founders: Option<Membership>,
    /// How long a client waits for an answer.
    pub patience: Duration,
    /// What the port allows.
    pub limits: Limits,
    /// With which certificates, if any: without them whoever reaches the port can vote.
    pub tls: Option<Tls>,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its journal.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// Its snapshots.
    #[error("the snapshots: {0}")]
    Snapshots(#[from] SnapshotError),
    /// Its store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread that opened it.
    #[error("opening the store: {0}")]
    Opening(#[from] tokio::task::JoinError),
    /// The node itself.
    #[error(transparent)]
    Node(#[from] FatalReason),
    /// Its port.
    #[error("the port: {0}")]
    Port(#[from] std::io::Error),
}

/// A node of a group, on files in this folder, over a transport that somebody mounts.
///
/// # Errors
/// [`StartError`]
pub(crate) async fn node(
    id: NodeId,
    group: GroupId,
    data: &Path,
    founders: Option<&Membership>,
    transport: &Arc<GrpcTransport>,
) -> Result<(NodeHandle, Store), StartError> {
    let options = raft_log_file::Options::default;
    let journal = match FileJournal::open(data, CLUSTER, group, id, options()).await {
        Err(OpenError::NotInitialised) => {
            FileJournal::create(data, CLUSTER, group, id, founders, options()).await?
        }
        opened => opened?,
    };
    let snapshots = FileSnapshots::open(&data.join("snapshots")).await?;
    let path = data.join("store.redb");
    // It reads, and after a crash writes.
    let open = move || Store::open(&path, raft_redb::Options::default());
    let store = tokio::task::spawn_blocking(open).await??;
    let mut config = Config::new(id, CLUSTER);
    config.group = group;
    let node = Node::builder(config)
        .journal(journal)
        .snapshots(Arc::new(snapshots))
        .transport(Arc::clone(transport) as Arc<dyn raft_core::backend::Transport>)
        .state_machine(store.clone())
        .start()
        .await?;
    Ok((node, store))
}

/// Routes that also have a service of tonic's, under its name. (`tonic::service::Routes` would do it too, but answers
/// as gRPC does where there is no route.)
pub(crate) fn mount<S>(router: Router, service: S) -> Router
where
    S: TowerService<Request<axum::body::Body>, Response = Response<Body>, Error = Infallible>,
    S: NamedService + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    router.route_service(&format!("/{}/{{*call}}", S::NAME), service)
}

/// One process of the service.
#[derive(Debug)]
pub struct Service {
    node: NodeHandle,
    store: Store,
    listener: Listener,
    draining: Arc<AtomicBool>,
}

impl Service {
    /// Starts a node, and serves routes, the tonic service and Raft on a socket that listens.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn start(setup: Setup, socket: TcpListener) -> Result<Self, StartError> {
        let mut options = raft_net_grpc::Options::default();
        // It has no listener that it could ask where it is.
        options.advertise = Some(setup.address.clone());
        let mut transport = GrpcTransport::without_listener(options);
        let mut raft = transport.service();
        if let Some(tls) = &setup.tls {
            transport = transport.with_tls(tls.peers().clone());
            raft = raft.authenticated_only();
        }
        let transport = Arc::new(transport);
        let (node, store) =
            node(setup.id, GroupId(0), &setup.data, setup.founders.as_ref(), &transport).await?;

        let (patience, limits, draining) = (setup.patience, setup.limits, Arc::default());
        let keys = Keys {
            node: node.clone(),
            store: store.clone(),
            patience,
            limit_bytes: 1 << 20,
            body: limits.body,
            draining: Arc::clone(&draining),
            scheme: if setup.tls.is_some() { "https" } else { "http" },
        };
        let mut router = http::routes(keys);
        router = router.merge(grpc::routes(node.clone(), store.clone(), limits.body + patience));
        router = mount(router, raft);
        let listener = match setup.tls {
            Some(tls) => Listener::serve_tls(socket, router, limits, tls)?,
            None => Listener::serve(socket, router, limits)?,
        };
        Ok(Self { node, store, listener, draining })
    }

    /// Its node.
    #[must_use]
    pub const fn node(&self) -> &NodeHandle {
        &self.node
    }

    /// Its data.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Makes `/health` say 503 from now on, while all else goes on: call it some seconds before
    /// [`shutdown`](Self::shutdown) if a balancer asks that often.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Hands leadership over, answers what is under way, closes.
    ///
    /// # Errors
    /// Why the node had stopped before.
    pub async fn shutdown(self, patience: Duration) -> Result<(), Arc<FatalReason>> {
        self.drain();
        let ended = self.node.shutdown().await;
        self.listener.shutdown(patience).await;
        ended
    }
}
