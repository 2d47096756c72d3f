//! T6: who may talk to whom.

use std::time::Duration;

use raft_core::backend::Refusal;
use raft_core::ids::{ClusterId, GroupId, NodeId};
use raft_core::membership::Member;
use raft_core::message::PeerEvent;

use super::super::{ClauseFailure, ensure, fail};
use super::TransportBackend;
use super::end::{End, beat, identity};
use crate::memory::Arrival;

pub(super) async fn t06_both_ends_are_asked_to_admit<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, two) = End::pair(backend).await?;
    for (end, other) in [(&one, &two), (&two, &one)] {
        let asked = end.inbox.asked();
        let right = !asked.is_empty() && asked.iter().all(|who| *who == other.identity);
        ensure(right, format!("questions about {:?}", other.identity), asked)?;
    }
    Ok(())
}

/// Lets both try until a refusal is reported at either end; then nothing may have come through.
pub(super) async fn until_refused(
    one: &End,
    to: &Member,
    two: &End,
    right: impl Fn(&Refusal) -> bool,
) -> Result<(), ClauseFailure> {
    let events = async |end: &End| {
        let look = |all: &[Arrival]| {
            all.iter().find_map(|event| match event {
                Arrival::Peer(_, PeerEvent::Up) | Arrival::Message(_) => {
                    Some(Err(fail("nothing but a refusal", format!("{event:?}"))))
                }
                Arrival::Refused(_, why) if right(why) => Some(Ok(())),
                Arrival::Refused(..) | Arrival::Peer(..) => None,
            })
        };
        end.inbox.until(look).await
    };
    let envelope = one.envelope(to.id, beat(1));
    let _ = one.transport.send(to, envelope.lane(), envelope);
    let refused = async {
        tokio::select! {
            biased;
            done = events(one) => done,
            done = events(two) => done,
        }
    };
    refused.await?;
    for number in 0..50 {
        let envelope = one.envelope(to.id, beat(number));
        let _ = one.transport.send(to, envelope.lane(), envelope);
        if to.id == two.id() {
            let _ = two.send(one, beat(number));
        }
        tokio::task::yield_now().await;
    }
    for end in [one, two] {
        let seen = end.inbox.arrivals();
        let through = |one: &&Arrival| matches!(one, Arrival::Message(_) | Arrival::Peer(_, PeerEvent::Up));
        ensure(seen.iter().find(through).is_none(), "no message and no Up", &seen)?;
    }
    Ok(())
}

pub(super) async fn t06_refused_peer_is_told_and_delivers_nothing<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    // The one that dials is refused, then the one that is dialled.
    for dials in [true, false] {
        let (one, two) = (End::start(backend, 1).await?, End::start(backend, 2).await?);
        let why = Refusal::RolledBack { node: one.id(), known: 9, offered: 1 };
        two.inbox.refuse(Some(why.clone()));
        if dials {
            one.transport.members(&[two.member()]);
        } else {
            two.transport.members(&[one.member()]);
        }
        let told = Arrival::Refused(two.id(), why.clone());
        let heard = |all: &[Arrival]| {
            let up = all.iter().find(|event| matches!(event, Arrival::Peer(_, PeerEvent::Up)));
            let failed = up.map(|event| Err(fail("no Up for who is refused", format!("{event:?}"))));
            failed.or_else(|| all.contains(&told).then_some(Ok(())))
        };
        one.inbox.until(heard).await?;
        until_refused(&one, &two.member(), &two, |seen| *seen == why).await?;
    }
    Ok(())
}

pub(super) async fn t06_refused_peer_may_be_admitted_later<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, two) = (End::start(backend, 1).await?, End::start(backend, 2).await?);
    two.inbox.refuse(Some(Refusal::NotReady));
    one.transport.members(&[two.member()]);
    two.transport.members(&[one.member()]);
    let told = Arrival::Refused(two.id(), Refusal::NotReady);
    one.inbox.until(|all| all.contains(&told).then_some(())).await;
    two.inbox.refuse(None);
    // What a node does all the time: it sends.
    let up = one.is_up(&two);
    let sending = async {
        loop {
            let _ = one.send(&two, beat(0));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        biased;
        () = up => {}
        () = sending => {}
    }
    one.reach(&two, 1).await?;
    two.reach(&one, 2).await
}

pub(super) async fn t06_who_becomes_a_member_is_asked_again<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (one, limbo) = (End::start(backend, 1).await?, End::start(backend, 2).await?);
    one.meet_one_way(&limbo).await;
    one.reach(&limbo, 1).await?;
    let before = limbo.inbox.asked().len();
    ensure(before > 0, "a question about who has dialled", before)?;
    // Whether it is asked shows in what comes of a refusal.
    limbo.inbox.refuse(Some(Refusal::NotReady));
    limbo.transport.members(&[one.member()]);
    let told = Arrival::Refused(limbo.id(), Refusal::NotReady);
    one.inbox.until(|all| all.contains(&told).then_some(())).await;
    limbo.inbox.refuse(None);
    one.reach(&limbo, 2).await?;
    limbo.reach(&one, 3).await
}

pub(super) async fn t06_foreign_cluster_is_refused<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let one = End::start(backend, 1).await?;
    let mut foreign = identity(2, 1);
    foreign.cluster = ClusterId(0xbad);
    let two = End::start_as(backend, foreign, backend.address()).await?;
    one.transport.members(&[two.member()]);
    two.transport.members(&[one.member()]);
    let is_cluster = |why: &Refusal| matches!(why, Refusal::WrongCluster { .. });
    until_refused(&one, &two.member(), &two, is_cluster).await
}

pub(super) async fn t06_foreign_group_is_refused<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let one = End::start(backend, 1).await?;
    let mut foreign = identity(2, 1);
    foreign.group = GroupId(7);
    let two = End::start_as(backend, foreign, backend.address()).await?;
    one.transport.members(&[two.member()]);
    two.transport.members(&[one.member()]);
    let is_group = |why: &Refusal| matches!(why, Refusal::WrongGroup { .. });
    until_refused(&one, &two.member(), &two, is_group).await
}

pub(super) async fn t06_wrong_node_is_refused<B: TransportBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let (one, two) = (End::start(backend, 1).await?, End::start(backend, 2).await?);
    // Where node 9 should be there is node 2.
    let nine = Member::new(NodeId(9), two.address.clone());
    one.transport.members(std::slice::from_ref(&nine));
    let is_node = |why: &Refusal| matches!(why, Refusal::WrongNode { .. });
    until_refused(&one, &nine, &two, is_node).await
}
