//! T1 and T8: what happens to messages on the way.

use bytes::Bytes;
use raft_core::backend::{Sent, SentDropped};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Index, LogId};
use raft_core::message::{Append, Envelope, Message, PeerEvent, SnapshotChunk};

use super::super::{ClauseFailure, Random, ensure, fail};
use super::TransportBackend;
use super::end::{End, NUMBERED_BYTES, bulk_number, fresh, numbered};
use super::relay::{Fault, Relay};
use crate::memory::Arrival;

/// All bulk that arrived must be as it was made.
fn all_as_sent(messages: &[Envelope]) -> Result<(), ClauseFailure> {
    for one in messages {
        let Some(number) = bulk_number(one) else { continue };
        if one.message != numbered(number) {
            let bytes = match &one.message {
                Message::Append(append) => append.entries.iter().map(|entry| entry.data.len()).sum(),
                _ => 0,
            };
            let seen = format!("a message of {bytes} bytes of payload that was never sent so");
            return Err(fail("messages that are as they were sent, or none", seen));
        }
    }
    Ok(())
}

pub(super) async fn t01_flipped_bit_is_never_delivered<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, two, relay) = Relay::between(backend).await?;
    for at in [3, 6, 12, 17, 40, 100, 5_000, 60_000] {
        relay.quiesce(&one, &two).await?;
        relay.set(Fault::Flip(at));
        one.queue(&two, numbered(fresh())).await?;
        relay.done().await;
        one.press_bulk(&two).await?;
        all_as_sent(&two.inbox.messages())?;
        // On to a connection of which all is known.
        one.is_up(&two).await;
    }
    Ok(())
}

fn chunk(offset: u64) -> Message {
    Message::Snapshot(SnapshotChunk {
        upto: LogId::new(2, 9),
        snapshot: 77,
        membership: Bytes::from_static(b"membership"),
        offset,
        total: 1 << 20,
        checksum: 5,
        data: Random::new(offset).bytes(NUMBERED_BYTES),
    })
}

pub(super) async fn t01_cut_message_is_not_delivered<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, two, relay) = Relay::between(backend).await?;
    for (offset, at) in (0..).zip([1, 20, 100, 40_000, NUMBERED_BYTES as u64 - 30]) {
        relay.quiesce(&one, &two).await?;
        relay.set(Fault::Cut(at));
        one.queue(&two, chunk(offset)).await?;
        relay.done().await;
        one.reach_bulk(&two).await?;
        let seen = two.inbox.messages();
        for message in &seen {
            if let Message::Snapshot(part) = &message.message
                && message.message != chunk(part.offset)
            {
                let seen = format!("other bytes as the chunk at {}", part.offset);
                let expected = format!("the {NUMBERED_BYTES} bytes of a chunk as they were sent, or none");
                return Err(fail(expected, seen));
            }
        }
        all_as_sent(&seen)?;
    }
    Ok(())
}

pub(super) async fn t05_broken_connection_is_reported<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, two, relay) = Relay::between(backend).await?;
    for turn in 1..=3 {
        let losses = |all: &[Arrival]| {
            let lost = |one: &&Arrival| matches!(one, Arrival::Peer(_, PeerEvent::Down | PeerEvent::Gone));
            all.iter().filter(lost).count()
        };
        let before = losses(&one.inbox.arrivals());
        relay.quiesce(&one, &two).await?;
        relay.set(Fault::Cut(0));
        one.queue(&two, numbered(fresh())).await?;
        relay.done().await;
        one.inbox.until(|all| (losses(all) > before).then_some(())).await;
        one.is_up(&two).await;
        one.reach(&two, turn).await?;
    }
    Ok(())
}

pub(super) async fn t05_half_open_connection_is_lost<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, two, relay) = Relay::between(backend).await?;
    relay.set(Fault::Stall);
    let lost = |all: &[Arrival]| super::end::last_event(all, two.id()) != Some(PeerEvent::Up);
    let message = numbered(fresh());
    // Until it is noticed, or nothing more fits: then it has to be noticed without us.
    while !lost(&one.inbox.arrivals()) && one.send(&two, message.clone()) == Sent::Queued {
        tokio::task::yield_now().await;
    }
    one.inbox.until(|all| lost(all).then_some(())).await;
    relay.set(Fault::None);
    one.is_up(&two).await;
    one.reach(&two, 1).await
}

/// More than any transport has to take at once, in pieces of the size that every one must.
fn enormous() -> Message {
    let data = Bytes::from(vec![8; 16 << 20]);
    let entry = |at| Entry { id: LogId::new(1, at), kind: EntryKind::Commands, data: data.clone() };
    let entries = (1..=5).map(entry).collect();
    Message::Append(Append { prev: LogId::ZERO, commit: Index(0), entries })
}

pub(super) async fn t08_too_large_is_said<B: TransportBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let (one, two) = End::pair(backend).await?;
    let message = enormous();
    let ups = |end: &End| {
        let up = |one: &&Arrival| matches!(one, Arrival::Peer(_, PeerEvent::Up));
        end.inbox.arrivals().iter().filter(up).count()
    };
    let before = ups(&one);
    match one.send(&two, message.clone()) {
        Sent::Queued => {
            one.reach_bulk(&two).await?;
            let arrived = two.inbox.messages().iter().any(|one| one.message == message);
            let broke = ups(&one) > before;
            ensure(arrived && !broke, "TooLarge, or a message that arrives", "Queued, and it was lost")?;
        }
        Sent::Dropped(SentDropped::TooLarge | SentDropped::QueueFull) => {}
        Sent::Dropped(why) => return Err(fail("TooLarge, or a message that arrives", format!("{why:?}"))),
    }
    one.reach(&two, 1).await
}
