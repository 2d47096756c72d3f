//! Which connection of each peer and lane is the newest.

use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ::tokio::sync::Notify;

use crate::ids::{Identity, NodeId, StoreId};
use crate::message::Lane;

/// The newest connections: what comes over an older one is not delivered (T1, T2).
#[derive(Debug, Default)]
pub struct Newest(Mutex<BTreeMap<(NodeId, Lane), Arc<Latest>>>);

#[derive(Debug, Default)]
struct Latest {
    /// Counts the connections.
    connection: AtomicU64,
    /// The store that the peer came with, and its highest incarnation. It may come back with another one, by a
    /// change of the membership.
    incarnation: Mutex<(StoreId, u64)>,
    /// A newer connection has come.
    superseded: Notify,
}

/// One connection's claim to be the newest.
#[derive(Debug)]
pub struct Claim {
    latest: Arc<Latest>,
    mine: u64,
}

impl Newest {
    /// Claims that a connection is the newest of an admitted peer's lane. `None` if a later incarnation of the peer
    /// has connected already.
    #[must_use]
    pub fn claim(&self, peer: Identity, lane: Lane) -> Option<Claim> {
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
        let mine = latest.connection.fetch_add(1, Ordering::AcqRel) + 1;
        latest.superseded.notify_waiters();
        Some(Claim { latest, mine })
    }
}

impl Claim {
    /// Whether no newer connection has come.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.latest.connection.load(Ordering::Acquire) == self.mine
    }

    /// Returns once a newer connection has come. May be dropped at any time.
    pub async fn lost(&self) {
        loop {
            let mut superseded = core::pin::pin!(self.latest.superseded.notified());
            superseded.as_mut().enable();
            if !self.holds() {
                return;
            }
            superseded.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, GroupId, Incarnation};

    fn peer(store: u128, number: u64) -> Identity {
        Identity {
            cluster: ClusterId(1),
            group: GroupId(0),
            node: NodeId(2),
            store: StoreId(store),
            incarnation: Incarnation { number, nonce: 7 },
        }
    }

    #[::tokio::test]
    async fn the_later_connection_wins_unless_it_is_of_an_earlier_life() {
        let newest = Newest::default();
        let first = newest.claim(peer(5, 3), Lane::Bulk).unwrap();
        let control = newest.claim(peer(5, 3), Lane::Control).unwrap();
        let second = newest.claim(peer(5, 3), Lane::Bulk).unwrap();
        first.lost().await;
        assert!(!first.holds() && second.holds() && control.holds());
        assert!(newest.claim(peer(5, 2), Lane::Bulk).is_none(), "an earlier incarnation of the same store");
        assert!(second.holds());
        let replaced = newest.claim(peer(6, 1), Lane::Bulk).unwrap();
        assert!(replaced.holds() && !second.holds(), "openings of another store count from one");
    }
}
