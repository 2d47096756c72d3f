//! T2 and T3: two lanes.

use bytes::Bytes;
use raft_core::backend::Sent;

use super::super::{ClauseFailure, ensure, equal};
use super::TransportBackend;
use super::end::{End, beat, beat_numbers, bulk, bulk_numbers};

pub(super) async fn t02_order_holds_within_a_lane<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, two) = End::pair(backend).await?;
    let data = [Bytes::from_static(b"small"), Bytes::from(vec![1; 40_000])];
    let mut last = 0;
    for number in 0..600 {
        one.queue(&two, beat(number)).await?;
        let data = if number % 3 == 0 { &data[1] } else { &data[0] };
        one.queue(&two, bulk(number, data)).await?;
        last = number;
    }
    let done = |all: &[crate::memory::Arrival]| {
        let messages: Vec<_> = all
            .iter()
            .filter_map(|one| match one {
                crate::memory::Arrival::Message(one) => Some(one.clone()),
                _ => None,
            })
            .collect();
        let (beats, bulks) = (beat_numbers(&messages), bulk_numbers(&messages));
        let both = beats.contains(&last) && bulks.contains(&last);
        // Looking again at each of so many arrivals costs less than it says: most come in one go.
        (both || beats.len() + bulks.len() >= 1200).then_some((beats, bulks))
    };
    let (beats, bulks) = two.inbox.until(done).await;
    ensure(beats.is_sorted(), "control in the order of sending", &beats)?;
    ensure(bulks.is_sorted(), "bulk in the order of sending", &bulks)
}

pub(super) async fn t03_control_passes_waiting_bulk<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, two) = End::pair(backend).await?;
    two.inbox.set_bulk_full(true);
    let data = Bytes::from(vec![3; 64 << 10]);
    let mut number = 0;
    // Until its queue is full, or there is a hundred megabytes of it.
    while number < 1600 && matches!(one.send(&two, bulk(number, &data)), Sent::Queued) {
        number += 1;
    }
    two.inbox.until_full(1).await;
    for round in 0..20 {
        one.reach(&two, round).await?;
        // The way back is another lane as well.
        two.reach(&one, round).await?;
    }
    equal("bulk that was accepted by a full receiver", &bulk_numbers(&two.inbox.messages()).len(), &0)
}

pub(super) async fn t03_refused_bulk_is_delivered_again<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, two) = End::pair(backend).await?;
    for turn in 0..3 {
        two.inbox.set_bulk_full(true);
        let fulls = two.inbox.fulls();
        for number in 0..10 {
            one.queue(&two, bulk(turn * 10 + number, &Bytes::from_static(b"x"))).await?;
        }
        two.inbox.until_full(fulls + 1).await;
        two.inbox.set_bulk_full(false);
        let seen = two.inbox.until_messages((turn as usize + 1) * 10).await;
        let numbers = bulk_numbers(&seen);
        equal("bulk, each once and in order", &numbers, &(0..turn * 10 + 10).collect())?;
    }
    Ok(())
}
