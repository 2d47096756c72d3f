//! J10 to J12: opening, locking, identity.

use raft_core::backend::{Mismatch, OpenError, Verdict};
use raft_core::ids::{ClusterId, GroupId, Incarnation, KnownPeer, LogId, NodeId, StoreId};

use super::super::{ClauseFailure, ensure, equal, ok};
use super::pair::{OWNER, Pair, append, run_of, three};
use super::{JournalBackend, Owner};

pub(super) async fn j10_undamaged_is_clean<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, Some(&three()?)).await?;
    equal("the verdict on a new journal", &pair.loaded.verdict, &Verdict::Clean)?;
    pair.reopen().await?;
    equal("the verdict", &pair.loaded.verdict, &Verdict::Clean)?;
    pair.write_ok(append(run_of(1, 2..20))).await?;
    pair.reopen().await?;
    equal("the verdict", &pair.loaded.verdict, &Verdict::Clean)
}

/// The error of a result that must be one.
async fn error_of<B: JournalBackend>(
    backend: &B,
    place: &B::Place,
    owner: Owner,
) -> Result<OpenError, ClauseFailure> {
    match backend.open(place, owner).await {
        Err(error) => Ok(error),
        Ok(_) => Err(super::super::fail("a refusal to open", "it was opened")),
    }
}

pub(super) async fn j11_second_opener_is_locked_out<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, None).await?;
    for round in 0..2 {
        let error = error_of(backend, &pair.place, OWNER).await?;
        ensure(matches!(error, OpenError::Locked { .. }), "Locked for the second opener", error)?;
        pair.write_ok(append(run_of(1, [round + 1]))).await?;
        pair.reopen().await?;
    }
    let number = pair.loaded.identity.incarnation.number;
    equal("an opener that is locked out leaves the incarnation", &number, &3)
}

pub(super) async fn j12_foreign_journal_is_refused_by_name<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, Some(&three()?)).await?;
    pair.write_ok(append(run_of(1, 2..5))).await?;
    drop(pair.take());
    let (cluster, node, group) = (ClusterId(5), NodeId(9), GroupId(4));
    let cases = [
        (Owner { cluster, ..OWNER }, Mismatch::Cluster { found: OWNER.cluster, expected: cluster }),
        (Owner { node, ..OWNER }, Mismatch::Node { found: OWNER.node, expected: node }),
        (Owner { group, ..OWNER }, Mismatch::Group { found: OWNER.group, expected: group }),
    ];
    for (owner, mismatch) in cases {
        let error = error_of(backend, &pair.place, owner).await?;
        equal("the refusal", &error, &OpenError::Foreign(mismatch))?;
    }
    pair.reopen().await
}

pub(super) async fn j12_open_never_creates<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let place = backend.place();
    for _ in 0..2 {
        let error = error_of(backend, &place, OWNER).await?;
        equal("opening an empty place", &error, &OpenError::NotInitialised)?;
    }
    ok("creating afterwards", backend.create(&place, OWNER, None).await).map(drop)
}

pub(super) async fn j12_create_never_overwrites<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, Some(&three()?)).await?;
    pair.write_ok(append(run_of(1, 2..5))).await?;
    drop(pair.take());
    for owner in [OWNER, Owner { node: NodeId(7), ..OWNER }] {
        match backend.create(&pair.place, owner, None).await {
            Err(error) => equal("creating again", &error, &OpenError::AlreadyExists)?,
            Ok(_) => return Err(super::super::fail("AlreadyExists", "it was created again")),
        }
    }
    pair.reopen().await
}

pub(super) async fn j12_store_id_is_stable_and_its_own<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, None).await?;
    let first = pair.loaded.identity;
    equal("the cluster", &first.cluster, &OWNER.cluster)?;
    equal("the node", &first.node, &OWNER.node)?;
    equal("the group", &first.group, &OWNER.group)?;
    ensure(first.store != StoreId(0), "a random store id", first.store)?;
    pair.reopen().await?;
    equal("the store id after reopening", &pair.loaded.identity.store, &first.store)?;
    let other = Pair::create(backend, None).await?;
    ensure(other.loaded.identity.store != first.store, "another store id for another store", first.store)
}

pub(super) async fn j12_incarnation_grows<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, None).await?;
    let mut nonces = Vec::new();
    for number in 1..=8 {
        let seen = pair.loaded.identity.incarnation;
        equal("the number of this opening", &seen.number, &number)?;
        ensure(!nonces.contains(&seen.nonce), "a nonce of its own for each opening", (seen, &nonces))?;
        nonces.push(seen.nonce);
        pair.reopen().await?;
    }
    Ok(())
}

pub(super) async fn j12_known_peers_come_back<B: JournalBackend>(backend: &B) -> Result<(), ClauseFailure> {
    let mut pair = Pair::create(backend, None).await?;
    let peer = |node: u64| KnownPeer {
        node: NodeId(node),
        store: StoreId(u128::MAX - u128::from(node)),
        incarnation: Incarnation { number: node * 3, nonce: u64::MAX - node },
        admitted: if node.is_multiple_of(2) { LogId::ZERO } else { LogId::new(node, u64::MAX / 2 - node) },
    };
    for count in [1, 2, 9, 3, 0, 5] {
        let mut write = append(Vec::new());
        write.known_peers = Some((2..2 + count).map(peer).collect());
        pair.write_ok(write).await?;
        pair.reopen().await?;
    }
    // A write that says nothing of them leaves them.
    pair.write_ok(append(run_of(1, [1]))).await?;
    pair.reopen().await
}
