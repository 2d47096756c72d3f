//! T9 and T10: starting, stopping, moving.

use bytes::Bytes;
use raft_core::backend::{Sent, SentDropped, TransportError};
use raft_core::message::PeerEvent;

use super::super::{ClauseFailure, ensure, equal};
use super::TransportBackend;
use super::end::{End, beat, bulk, identity};
use crate::memory::{Arrival, TestInbox};

pub(super) async fn t09_address_is_free_after_shutdown<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let one = End::start(backend, 1).await?;
    let address = backend.address();
    for incarnation in 1..=100 {
        let two = End::start_as(backend, identity(2, incarnation), address.clone()).await?;
        // Now and then somebody is connected, and bulk is under way.
        if incarnation % 10 == 1 {
            one.meet(&two).await;
            two.inbox.set_bulk_full(true);
            one.queue(&two, bulk(1, &Bytes::from(vec![0; 100_000]))).await?;
            two.inbox.until_full(1).await;
        }
        two.transport.shutdown().await;
    }
    Ok(())
}

pub(super) async fn t09_shutdown_leaves_nothing_behind<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    for _ in 0..10 {
        let (one, two) = End::pair(backend).await?;
        two.inbox.set_bulk_full(true);
        for number in 0..5 {
            one.queue(&two, bulk(number, &Bytes::from_static(b"x"))).await?;
        }
        two.inbox.until_full(1).await;
        two.transport.shutdown().await;
        let before = two.inbox.messages().len();
        two.inbox.set_bulk_full(false);
        one.inbox.until_peer(two.id(), PeerEvent::Gone, 1).await;
        equal("messages after shutdown", &two.inbox.messages().len(), &before)?;
        let sent = two.send(&one, beat(1));
        equal("sending after shutdown", &sent, &Sent::Dropped(SentDropped::Stopped))?;
        // Twice is no more than once.
        two.transport.shutdown().await;
        one.transport.shutdown().await;
        for end in [one, two] {
            let End { transport, inbox, .. } = end;
            drop(transport);
            equal("holders of the inbox besides the test", &(inbox.holders() - 1), &0)?;
        }
    }
    Ok(())
}

pub(super) async fn t09_second_start_is_refused<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, two) = End::pair(backend).await?;
    let unused = TestInbox::new();
    let again = one.transport.start(one.identity, unused.inbox()).await;
    equal("starting twice", &again, &Err(TransportError::AlreadyStarted))?;
    let third = backend.transport(identity(3, 1).node, &one.address);
    let refused = third.start(identity(3, 1), unused.inbox()).await;
    let in_use = matches!(refused, Err(TransportError::AddressInUse { .. }));
    ensure(in_use, "AddressInUse where another listens", refused)?;
    // The first is not disturbed.
    two.reach(&one, 1).await?;
    equal("what the refused ones heard", &unused.arrivals(), &Vec::<Arrival>::new())
}

pub(super) async fn t10_changed_address_is_followed<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, mut two) = End::pair(backend).await?;
    for incarnation in 2..5 {
        two.transport.shutdown().await;
        one.inbox.until_peer(two.id(), PeerEvent::Gone, incarnation as usize - 1).await;
        // It knows nobody, so that nobody is connected but by who knows where it is.
        two = End::start_as(backend, identity(2, incarnation), backend.address()).await?;
        one.transport.members(&[two.member()]);
        one.is_up(&two).await;
        one.reach(&two, incarnation).await?;
    }
    Ok(())
}
