//! Which stream of each peer and lane is the newest: what comes over an older one is not delivered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use raft_core::ids::{Identity, NodeId, StoreId};
use raft_core::message::Lane;
use tokio::sync::Notify;

/// The newest streams.
#[derive(Debug, Default)]
pub(crate) struct Newest(Mutex<BTreeMap<(NodeId, Lane), Arc<Latest>>>);

#[derive(Debug, Default)]
struct Latest {
    /// Counts the streams.
    stream: AtomicU64,
    /// The store that the peer came with, and its highest incarnation. It may come back with another one, by a
    /// change of the membership.
    incarnation: Mutex<(StoreId, u64)>,
    /// A newer stream has come.
    superseded: Notify,
}

/// One stream's claim to be the newest.
#[derive(Debug)]
pub(crate) struct Claim {
    latest: Arc<Latest>,
    mine: u64,
}

impl Newest {
    /// `None` if a later incarnation of the peer has come already.
    pub(crate) fn claim(&self, peer: Identity, lane: Lane) -> Option<Claim> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = Arc::clone(all.entry((peer.node, lane)).or_default());
        {
            let mut incarnation = latest.incarnation.lock().unwrap_or_else(PoisonError::into_inner);
            let (store, number) = *incarnation;
            if store == peer.store && number > peer.incarnation.number {
                return None;
            }
            *incarnation = (peer.store, peer.incarnation.number);
        }
        let mine = latest.stream.fetch_add(1, Ordering::AcqRel) + 1;
        latest.superseded.notify_waiters();
        Some(Claim { latest, mine })
    }
}

impl Claim {
    pub(crate) fn holds(&self) -> bool {
        self.latest.stream.load(Ordering::Acquire) == self.mine
    }

    /// Returns once a newer stream has come.
    pub(crate) async fn lost(&self) {
        loop {
            let mut superseded = std::pin::pin!(self.latest.superseded.notified());
            superseded.as_mut().enable();
            if !self.holds() {
                return;
            }
            superseded.await;
        }
    }
}
