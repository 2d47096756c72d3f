//! T1 and T8: what arrives is what was sent.

use core::time::Duration;

use bytes::Bytes;
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Index, LogId, NodeId, Term};
use raft_core::membership::Member;
use raft_core::message::{
    Append, AppendReply, Ballot, Envelope, Heartbeat, HeartbeatReply, Lane, Message, Notice, PeerEvent,
    ReadIndex, ReadIndexReply, SnapshotChunk, SnapshotReply, TimeoutNow, VoteReply, VoteRequest,
};

use super::super::{ClauseFailure, Random, ensure, equal, fail};
use super::TransportBackend;
use super::end::{End, beat_numbers, bulk, bulk_numbers, identity};
use crate::memory::Arrival;

/// Every kind, with numbers that have a one in every byte's place somewhere.
pub(super) fn every_message() -> Vec<Message> {
    let (big, id) = (u64::MAX - 1, LogId::new(1 << 40, (1 << 50) + 3));
    let mut random = Random::new(1);
    let mut messages = vec![
        Message::TimeoutNow(TimeoutNow { round: 0 }),
        Message::TimeoutNow(TimeoutNow { round: 1 << 41 }),
    ];
    for (pre, transfer, told) in [(false, false, 0), (true, false, 0), (false, true, 0), (false, true, big)] {
        messages.push(Message::Vote(VoteRequest { pre, transfer, last: id, told }));
    }
    for (pre, ballot) in [(true, Ballot::Granted), (false, Ballot::Denied), (false, Ballot::Vetoed)] {
        messages.push(Message::VoteReply(VoteReply { pre, asked: Term(big >> 1), ballot }));
    }
    messages.push(Message::Heartbeat(Heartbeat { commit: Index(big), round: 1 << 33 }));
    for probation in [false, true] {
        let (matched, last) = (Index(300), Index(big));
        let plain = HeartbeatReply { round: 7, matched, last, probation, ..HeartbeatReply::default() };
        let promise = Duration::from_micros(1 << 42);
        for more in [
            plain,
            HeartbeatReply { slow: true, ..plain },
            HeartbeatReply { promise, ..plain },
            HeartbeatReply { priority: -128, ..plain },
            HeartbeatReply { slow: true, promise, priority: 127, ..plain },
        ] {
            messages.push(Message::HeartbeatReply(more));
        }
    }
    messages.push(Message::ReadIndex(ReadIndex { id: big }));
    for index in [None, Some(Index(0)), Some(Index(big))] {
        messages.push(Message::ReadIndexReply(ReadIndexReply { id: 1 << 44, index }));
    }
    messages.push(Message::AppendReply(AppendReply::Matched { matched: Index(1 << 20) }));
    let (prev, last) = (Index(12), Index(1 << 60));
    messages.push(Message::AppendReply(AppendReply::Rejected { prev, hint: id, last }));
    messages.push(Message::SnapshotReply(SnapshotReply {
        snapshot: u128::MAX - 5,
        received: 1 << 41,
        installed: true,
    }));
    messages.push(Message::Notice(Notice::Removed { since: Index(7) }));
    messages.push(Message::Notice(Notice::RolledBack { acknowledged: Index(99) }));
    let kinds = [EntryKind::Noop, EntryKind::Commands, EntryKind::Membership, EntryKind::Session];
    for count in [0, 1, 2, 40] {
        let entry = |(index, kind): (u64, EntryKind)| Entry {
            id: LogId::new(2 + index / 9, 13 + index),
            kind,
            data: random.bytes(if index % 3 == 0 { 0 } else { index as usize * 211 }),
        };
        let entries = (0..count).zip(kinds.into_iter().cycle()).map(entry).collect();
        messages.push(Message::Append(Append { prev: LogId::new(1, 12), commit: Index(14), entries }));
    }
    for length in [0, 1, 1 << 20] {
        messages.push(Message::Snapshot(SnapshotChunk {
            upto: id,
            snapshot: 1 << 100,
            membership: random.bytes(90),
            offset: 1 << 35,
            total: 1 << 36,
            checksum: 0xdead_beef,
            data: random.bytes(length),
        }));
    }
    messages
}

pub(super) async fn t01_every_message_comes_back_whole<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, two) = End::pair(backend).await?;
    for (from, to) in [(&one, &two), (&two, &one)] {
        exchange(from, to, every_message()).await?;
    }
    Ok(())
}

/// Sends these, the first that the receiver gets; they must be what arrives.
async fn exchange(from: &End, to: &End, messages: Vec<Message>) -> Result<(), ClauseFailure> {
    exchange_as(from, to, messages, Some).await
}

/// The same where the receiver is told something else, or nothing.
pub(super) async fn exchange_as(
    from: &End,
    to: &End,
    messages: Vec<Message>,
    said: impl Fn(Message) -> Option<Message>,
) -> Result<(), ClauseFailure> {
    let mut sent = Vec::new();
    for message in messages {
        let Some(said) = said(message.clone()) else {
            let _ = from.send(to, message);
            continue;
        };
        from.queue(to, message).await?;
        sent.push(from.envelope(to.id(), said));
    }
    let seen = to.inbox.until_messages(sent.len()).await;
    for lane in [Lane::Control, Lane::Bulk] {
        let of = |all: &[Envelope]| all.iter().filter(|one| one.lane() == lane).cloned().collect::<Vec<_>>();
        let (seen, sent) = (of(&seen), of(&sent));
        for (seen, sent) in seen.iter().zip(&sent) {
            equal(format!("a message of the {lane:?} lane"), seen, sent)?;
        }
        equal(format!("messages of the {lane:?} lane"), &seen.len(), &sent.len())?;
    }
    Ok(())
}

pub(super) async fn t01_each_node_gets_its_own<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let ends = [End::start(backend, 1).await?, End::start(backend, 2).await?, End::start(backend, 3).await?];
    for end in &ends {
        let others: Vec<Member> =
            ends.iter().filter(|other| other.id() != end.id()).map(End::member).collect();
        end.transport.members(&others);
    }
    let pairs: Vec<(&End, &End)> =
        ends.iter().flat_map(|from| ends.iter().map(move |to| (from, to))).collect();
    let pairs: Vec<(&End, &End)> = pairs.into_iter().filter(|(from, to)| from.id() != to.id()).collect();
    for (from, to) in &pairs {
        from.is_up(to).await;
    }
    for number in 0..30 {
        for (from, to) in &pairs {
            let number = 1000 * from.id().0 + 100 * to.id().0 + number;
            from.queue(to, super::end::beat(number)).await?;
            from.queue(to, bulk(number, &Bytes::from_static(b"for one node"))).await?;
        }
    }
    for end in &ends {
        let seen = end.inbox.until_messages(2 * 2 * 30).await;
        for one in &seen {
            let numbers = [beat_numbers(std::slice::from_ref(one)), bulk_numbers(std::slice::from_ref(one))];
            let number = numbers.concat().first().copied().unwrap_or_default();
            let right = (one.from.0, end.id().0) == (number / 1000, number / 100 % 10) && one.to == end.id();
            let expected = format!("at node {} what is meant for it, from who has sent it", end.id());
            ensure(right, expected, one)?;
        }
    }
    Ok(())
}

pub(super) async fn t01_foreign_names_are_not_delivered<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, two) = End::pair(backend).await?;
    let foreign = [(NodeId(9), two.id()), (one.id(), NodeId(9)), (two.id(), two.id()), (two.id(), one.id())];
    for (count, (from, to)) in (0..).zip(foreign) {
        for message in [super::end::beat(1000 + count), bulk(1000 + count, &Bytes::new())] {
            let envelope = Envelope { from, to, ..one.envelope(two.id(), message) };
            // It may be refused here, turned away there, or cost the connection.
            let _ = one.transport.send(&two.member(), envelope.lane(), envelope);
        }
        one.reach(&two, count).await?;
        one.queue(&two, bulk(count, &Bytes::new())).await?;
    }
    let seen = two.inbox.messages();
    let expected = |one: &&Envelope| one.from != identity(1, 1).node || one.to != identity(2, 1).node;
    let wrong: Vec<&Envelope> = seen.iter().filter(expected).collect();
    ensure(wrong.is_empty(), "messages from node 1 to node 2 only", &wrong)?;
    let rounds = beat_numbers(&seen);
    ensure(rounds.iter().all(|round| *round < 1000), "none of the foreign ones", rounds)
}

pub(super) async fn t01_old_connection_is_silent_after_a_new_one<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, two) = End::pair(backend).await?;
    two.inbox.set_bulk_full(true);
    for number in 0..5 {
        one.queue(&two, bulk(number, &Bytes::from_static(b"old"))).await?;
    }
    two.inbox.until_full(1).await;
    one.transport.shutdown().await;
    let again = End::start_as(backend, identity(1, 2), one.address.clone()).await?;
    again.transport.members(&[two.member()]);
    again.is_up(&two).await;
    two.inbox.until_peer(one.id(), PeerEvent::Up, 2).await;
    two.inbox.set_bulk_full(false);
    for number in 100..105 {
        again.queue(&two, bulk(number, &Bytes::from_static(b"new"))).await?;
    }
    let last = |all: &[Arrival]| {
        let number = |one: &Arrival| match one {
            Arrival::Message(one) => bulk_numbers(core::slice::from_ref(one)),
            _ => Vec::new(),
        };
        all.iter().any(|one| number(one) == [104]).then_some(())
    };
    two.inbox.until(last).await;
    // Whoever still holds something old has every chance to deliver it now.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    again.reach(&two, 1).await?;
    let seen = two.inbox.arrivals();
    let ups = seen.iter().enumerate().filter(|(_, one)| **one == Arrival::Peer(NodeId(1), PeerEvent::Up));
    let up = ups.map(|(at, _)| at).nth(1).ok_or_else(|| fail("a second Up", "none"))?;
    let messages = seen.iter().skip(up).filter_map(|one| match one {
        Arrival::Message(one) => Some(one.clone()),
        _ => None,
    });
    let numbers = bulk_numbers(&messages.collect::<Vec<Envelope>>());
    ensure(numbers.iter().all(|number| *number >= 100), "only what the new incarnation sent", numbers)
}

pub(super) async fn t08_payloads_of_16_mib_pass<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, two) = End::pair(backend).await?;
    let mut random = Random::new(8);
    for (number, length) in (0..).zip([16 << 20, 0, (16 << 20) - 1]) {
        let message = bulk(number, &random.bytes(length));
        let member: Member = two.member();
        one.queue(&two, message.clone()).await?;
        let seen = two.inbox.until_messages(number as usize + 1).await;
        let seen = seen.last().map(|one| &one.message);
        if seen != Some(&message) {
            let bytes = match seen {
                Some(Message::Append(append)) => append.entries.first().map_or(0, |one| one.data.len()),
                _ => 0,
            };
            return Err(fail(
                format!("{length} bytes at {}, as sent", member.address),
                format!("{bytes} others"),
            ));
        }
    }
    Ok(())
}
