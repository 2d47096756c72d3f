//! T4 and T7: what a stranger costs.

use std::sync::{Mutex, PoisonError};

use raft_core::ids::NodeId;
use raft_core::membership::Member;
use tokio::io::AsyncReadExt;

use super::super::{ClauseFailure, ensure, fail, ok};
use super::TransportBackend;
use super::end::{End, fresh, numbered};
use super::relay::{Fault, Relay};
use super::wire::ByteStream;

/// Returns once the other side has closed.
async fn closed(stream: &mut dyn ByteStream) {
    let mut buffer = [0; 1024];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}

pub(super) async fn t07_announced_length_takes_no_memory<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    /// What may be taken meanwhile, by this clause and by tests beside it. Far less than is announced.
    const LIMIT_BYTES: u64 = 512 << 20;
    let (one, two, relay) = Relay::between(backend).await?;
    let announcement = backend.oversized_announcement()?;
    let before = backend.peak_bytes();
    relay.set(Fault::Replace(announcement));
    one.queue(&two, numbered(fresh())).await?;
    relay.done().await;
    // No more than the announcement comes.
    relay.thrown_out().await;
    if let (Some(before), Some(after)) = (before, backend.peak_bytes()) {
        let taken = after.saturating_sub(before);
        let expected = format!("less than {LIMIT_BYTES} bytes taken for an announcement");
        ensure(taken < LIMIT_BYTES, expected, format!("{taken} bytes"))?;
    }
    one.is_up(&two).await;
    one.reach_bulk(&two).await
}

pub(super) async fn t07_silent_connection_is_closed<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let wire = backend.wire()?;
    let (one, two) = End::pair(backend).await?;
    let mut silent = ok("connecting", wire.dial(&two.address).await)?;
    closed(&mut *silent).await;
    one.reach(&two, 1).await?;
    two.reach(&one, 2).await
}

pub(super) async fn t07_connections_are_limited<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let (wire, limit) = (backend.wire()?, backend.connection_limit()?);
    let (one, two) = End::pair(backend).await?;
    let mut turned_away = None;
    // A machine that stops for as long as a handshake may take gives no answer: ask again.
    for _ in 0..5 {
        let mut held = Vec::new();
        for _ in 0..limit {
            held.push(ok("connecting", wire.dial(&two.address).await)?);
        }
        // There may be no connection at all.
        let Ok(mut last) = wire.dial(&two.address).await else {
            turned_away = Some(held);
            break;
        };
        let first = held.first_mut().ok_or_else(|| fail("a limit", "0 connections"))?;
        closed(&mut *last).await;
        let too_late = tokio::select! {
            biased;
            () = closed(&mut **first) => true,
            () = std::future::ready(()) => false,
        };
        if !too_late {
            turned_away = Some(held);
            break;
        }
    }
    let held = turned_away.ok_or_else(|| {
        let expected = format!("the last of {} connections turned away while the first is open", limit + 1);
        fail(expected, "it was taken, and closed no sooner than the first")
    })?;
    one.reach(&two, 1).await?;
    drop(held);
    let third = End::start(backend, 3).await?;
    third.meet_one_way(&two).await;
    third.reach(&two, 2).await
}

/// So many messages with their answers others exchange before there are as many attempts as [`SHORT_WAITS`].
const ROUNDS: u64 = 1000;
/// How many waits there may be until then: who does not wait makes an attempt in about the time of a round.
const SHORT_WAITS: usize = 200;

/// Waits between attempts, counted in messages with their answers that two others exchange meanwhile.
#[derive(Default)]
struct Waits {
    /// Those that came to their end before an attempt.
    ended: Vec<u64>,
    rounds: u64,
}

impl Waits {
    /// Whether they were long, taken together: on any machine, however slow it is for both.
    fn have_grown(&self) -> bool {
        self.ended.iter().sum::<u64>() + self.rounds >= ROUNDS
    }
}

/// Measured by what happens meanwhile, not by a clock.
pub(super) async fn t04_reconnecting_backs_off<B: TransportBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let wire = backend.wire()?;
    let one = End::start(backend, 1).await?;
    let (third, fourth) = (End::start(backend, 3).await?, End::start(backend, 4).await?);
    third.meet(&fourth).await;
    let address = backend.address();
    let mut listener = ok("listening", wire.listen(&address).await)?;
    one.transport.members(&[Member::new(NodeId(2), address)]);
    drop(ok("accepting", listener.accept().await)?);
    let waits = Mutex::new(Waits::default());
    let lock = || waits.lock().unwrap_or_else(PoisonError::into_inner);
    let refuse = async {
        loop {
            match listener.accept().await {
                Ok(connection) => drop(connection),
                Err(error) => return Err(fail("accepting succeeds", error)),
            }
            let mut waits = lock();
            let rounds = std::mem::take(&mut waits.rounds);
            waits.ended.push(rounds);
            if waits.ended.len() >= SHORT_WAITS {
                let first: Vec<u64> = waits.ended.iter().take(10).copied().collect();
                let expected = format!("a long wait among {SHORT_WAITS} between attempts to connect");
                return Err(fail(expected, format!("none that grows; the first, in messages: {first:?}")));
            }
        }
    };
    let talk = async {
        while !lock().have_grown() {
            third.reach(&fourth, fresh()).await?;
            fourth.reach(&third, fresh()).await?;
            lock().rounds += 1;
        }
        Ok::<(), ClauseFailure>(())
    };
    tokio::select! {
        biased;
        failed = refuse => failed,
        talked = talk => talked,
    }
}
