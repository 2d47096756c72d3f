//! T5: connections that come and go.

use raft_core::message::PeerEvent;

use super::super::{ClauseFailure, ensure, equal};
use super::TransportBackend;
use super::end::{End, identity, last_event};
use crate::memory::Arrival;

pub(super) async fn t05_connection_is_reported_to_both<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, two) = End::pair(backend).await?;
    one.reach(&two, 1).await?;
    two.reach(&one, 2).await?;
    for (end, other) in [(&one, &two), (&two, &one)] {
        let seen = end.inbox.arrivals();
        let first = seen.first();
        equal("the first report", &first, &Some(&Arrival::Peer(other.id(), PeerEvent::Up)))?;
        let ups = seen.iter().filter(|one| matches!(one, Arrival::Peer(_, PeerEvent::Up))).count();
        let losses = seen.iter().filter(|one| matches!(one, Arrival::Peer(..))).count() - ups;
        ensure(ups == losses + 1, "Up and loss by turns", &seen)?;
    }
    Ok(())
}

pub(super) async fn t05_dead_peer_is_gone<B: TransportBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let (one, two) = End::pair(backend).await?;
    two.transport.shutdown().await;
    one.inbox.until_peer(two.id(), PeerEvent::Gone, 1).await;
    let seen = one.inbox.arrivals();
    ensure(last_event(&seen, two.id()) == Some(PeerEvent::Gone), "nothing after Gone", seen)
}

pub(super) async fn t05_returned_peer_is_up_again<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, mut two) = End::pair(backend).await?;
    for incarnation in 2..5 {
        two.transport.shutdown().await;
        let lost =
            |all: &[Arrival]| (last_event(all, identity(2, 1).node) != Some(PeerEvent::Up)).then_some(());
        one.inbox.until(lost).await;
        two = End::start_as(backend, identity(2, incarnation), two.address.clone()).await?;
        two.transport.members(&[one.member()]);
        one.is_up(&two).await;
        one.reach(&two, incarnation).await?;
        two.reach(&one, incarnation).await?;
        let asked = one.inbox.asked();
        ensure(asked.contains(&two.identity), "a question about the new incarnation", asked)?;
    }
    Ok(())
}
