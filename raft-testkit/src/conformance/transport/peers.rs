//! T4 and T7: what one peer costs the others.

use bytes::Bytes;
use raft_core::backend::{Sent, SentDropped};
use raft_core::ids::NodeId;
use raft_core::membership::Member;
use raft_core::message::PeerEvent;

use super::super::{ClauseFailure, Random, ensure, fail, ok};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::TransportBackend;
use super::end::{End, beat, bulk, identity};
use crate::memory::Arrival;

/// A queue that holds more megabytes than this is not bounded.
const LIMIT_MIB: u64 = 2048;

pub(super) async fn t04_silent_peer_costs_a_bounded_queue<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, silent) = (End::start(backend, 1).await?, End::start(backend, 2).await?);
    let other = End::start(backend, 3).await?;
    one.transport.members(&[silent.member(), other.member()]);
    silent.transport.members(&[one.member()]);
    other.transport.members(&[one.member()]);
    one.is_up(&silent).await;
    one.is_up(&other).await;
    silent.inbox.set_bulk_full(true);
    let data = Bytes::from(vec![4; 1 << 20]);
    one.queue(&silent, bulk(0, &data)).await?;
    silent.inbox.until_full(1).await;
    let mut queued = 0;
    while one.send(&silent, bulk(queued, &data)) == Sent::Queued {
        queued += 1;
        ensure(queued < LIMIT_MIB, "a queue that is full sooner or later", format!("{queued} MiB queued"))?;
        if queued % 8 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for mark in 0..10 {
        one.reach(&other, mark).await?;
        one.queue(&other, bulk(mark, &data)).await?;
    }
    other.inbox.until_messages(20).await;
    Ok(())
}

pub(super) async fn t04_absent_peer_costs_others_nothing<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, other) = (End::start(backend, 1).await?, End::start(backend, 3).await?);
    let absent = Member::new(NodeId(2), backend.address());
    one.transport.members(&[absent.clone(), other.member()]);
    other.transport.members(&[one.member()]);
    one.is_up(&other).await;
    let data = Bytes::from(vec![4; 1 << 20]);
    for (mark, message) in [(1, beat(0)), (2, bulk(0, &data))] {
        let mut queued = 0;
        loop {
            let envelope = one.envelope(absent.id, message.clone());
            match one.transport.send(&absent, envelope.lane(), envelope) {
                Sent::Queued => queued += 1,
                Sent::Dropped(SentDropped::Stopped | SentDropped::TooLarge) => {
                    return Err(fail("NotConnected or QueueFull", "another reason"));
                }
                Sent::Dropped(_) => break,
            }
            ensure(queued < 200_000, "a queue that is full sooner or later", queued)?;
        }
        one.reach(&other, mark).await?;
    }
    let strange = |one: &&Arrival| matches!(one, Arrival::Peer(NodeId(2), PeerEvent::Up));
    let ups = one.inbox.arrivals().iter().filter(strange).count();
    ensure(ups == 0, "no Up of a peer that is not there", ups)
}

pub(super) async fn t04_peer_that_comes_later_is_reached<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let one = End::start(backend, 1).await?;
    let address = backend.address();
    let late = Member::new(NodeId(2), address.clone());
    one.transport.members(std::slice::from_ref(&late));
    for number in 0..100 {
        let envelope = one.envelope(late.id, beat(number));
        let _ = one.transport.send(&late, envelope.lane(), envelope);
        tokio::task::yield_now().await;
    }
    let two = End::start_as(backend, identity(2, 1), address).await?;
    one.is_up(&two).await;
    one.reach(&two, 1000).await
}

/// The backend's own nonsense, or what fits every format that is none.
async fn send_nonsense<B: TransportBackend>(backend: &B, address: &str) -> Result<(), ClauseFailure> {
    if backend.send_nonsense(address).await.is_ok() {
        return Ok(());
    }
    let wire = backend.wire()?;
    let random = Random::new(7).bytes(5000).to_vec();
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0; 100], vec![0xff; 100_000], random, Vec::new()] {
        let mut stream = ok("connecting", wire.dial(address).await)?;
        // It may be closed before all of it is written.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    Ok(())
}

pub(super) async fn t07_nonsense_closes_that_connection_only<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, two) = End::pair(backend).await?;
    send_nonsense(backend, &two.address).await?;
    one.reach(&two, 1).await?;
    two.reach(&one, 2).await?;
    send_nonsense(backend, &two.address).await?;
    one.reach(&two, 3).await?;
    for end in [&one, &two] {
        let lost = |one: &Arrival| matches!(one, Arrival::Peer(_, PeerEvent::Down | PeerEvent::Gone));
        let seen = end.inbox.arrivals();
        ensure(!seen.iter().any(lost), "the connection of the two stays", &seen)?;
    }
    let seen = two.inbox.messages();
    ensure(seen.iter().all(|message| message.from == one.id()), "nothing from the nonsense", &seen)
}
