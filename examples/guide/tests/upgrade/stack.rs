//! The two stacks whose folders and words are pinned.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use raft_core::backend::{Inbox, Journal, OpenError, Sent, SnapshotStore, Transport, TransportError};
use raft_core::ids::{GroupId, Identity, NodeId};
use raft_core::membership::Member;
use raft_core::message::{Envelope, Lane};
use raft_log_file::{FileJournal, FileSnapshots};
use raft_log_sqlite::{SqliteJournal, SqliteSnapshots};
use raft_net_grpc::GrpcTransport;
use raft_net_tcp::TcpTransport;

use crate::{CLUSTER, Places, founders};

const GROUP: GroupId = GroupId(0);

#[derive(Clone, Copy)]
pub(crate) enum Stack {
    FilesAndTcp,
    SqliteAndGrpc,
}

impl Stack {
    /// What a node finds in its folder. One is made where there is none: that is how the pinned ones came to be.
    pub(crate) async fn open(self, id: NodeId, data: &Path) -> (Box<dyn Journal>, Arc<dyn SnapshotStore>) {
        match self {
            Self::FilesAndTcp => {
                let options = raft_log_file::Options::default().segment_bytes(64 << 10);
                let journal = match FileJournal::open(data, CLUSTER, GROUP, id, options.clone()).await {
                    Err(OpenError::NotInitialised) => {
                        FileJournal::create(data, CLUSTER, GROUP, id, Some(&founders()), options)
                            .await
                            .unwrap()
                    }
                    opened => opened.unwrap(),
                };
                assert!(journal.findings().is_empty(), "{:?}", journal.findings());
                let snapshots = FileSnapshots::open(&data.join("snapshots")).await.unwrap();
                (Box::new(journal), Arc::new(snapshots))
            }
            Self::SqliteAndGrpc => {
                let options = raft_log_sqlite::Options::default;
                let journal = match SqliteJournal::open(data, CLUSTER, GROUP, id, options()).await {
                    Err(OpenError::NotInitialised) => {
                        SqliteJournal::create(data, CLUSTER, GROUP, id, Some(&founders()), options())
                            .await
                            .unwrap()
                    }
                    opened => opened.unwrap(),
                };
                assert!(journal.findings().is_empty(), "{:?}", journal.findings());
                let snapshots = SqliteSnapshots::open(&data.join("snapshots")).await.unwrap();
                (Box::new(journal), Arc::new(snapshots))
            }
        }
    }

    /// A transport that offers these wire versions.
    pub(crate) fn transport(self, listen: SocketAddr, versions: (u16, u16)) -> Box<dyn Transport> {
        match self {
            Self::FilesAndTcp => {
                let mut options = raft_net_tcp::Options::default();
                options.wire_versions = versions;
                Box::new(TcpTransport::new(listen, options))
            }
            Self::SqliteAndGrpc => {
                let mut options = raft_net_grpc::Options::default();
                options.wire_versions = versions;
                Box::new(GrpcTransport::new(listen, options))
            }
        }
    }
}

/// A transport whose members are somewhere else than their names say.
pub(crate) struct Placed {
    pub(crate) inner: Box<dyn Transport>,
    pub(crate) places: Places,
}

impl Placed {
    fn place(&self, member: &Member) -> Member {
        let place = self.places.get(&member.id);
        place.map_or_else(|| member.clone(), |place| Member::new(member.id, place.to_string()))
    }
}

#[async_trait]
impl Transport for Placed {
    async fn start(&self, local: Identity, inbox: Inbox) -> Result<(), TransportError> {
        self.inner.start(local, inbox).await
    }

    fn send(&self, to: &Member, lane: Lane, envelope: Envelope) -> Sent {
        self.inner.send(&self.place(to), lane, envelope)
    }

    fn members(&self, members: &[Member]) {
        let placed: Vec<Member> = members.iter().map(|member| self.place(member)).collect();
        self.inner.members(&placed);
    }

    async fn shutdown(&self) {
        self.inner.shutdown().await;
    }
}
