//! Creating and opening, and the small files beside the segments.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use raft_core::backend::{Corruption, HardState, Mismatch, OpenError, Verdict};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Identity, Incarnation, Index, KnownPeer, LogId, StoreId};
use raft_core::membership::Membership;
use raft_testkit::conformance::journal::Owner;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::disk::{Disk, Failure};
use super::journal::{LyingJournal, View, segment_name};
use super::lies::Lie;
use super::record;

/// Replaces a small file as a whole: written aside, synced, renamed, and the name synced.
pub(crate) fn put<T: Serialize>(disk: &Disk, name: &str, value: &T, sync: bool) -> Result<(), Failure> {
    let bytes = postcard::to_allocvec(value).unwrap();
    let sum = record::checksum(&bytes).to_le_bytes();
    disk.create("aside");
    write_all(disk, "aside", &[&sum[..], &bytes].concat())?;
    if sync {
        disk.end_sync(disk.begin_sync("aside"))?;
    }
    disk.rename("aside", name);
    if sync {
        disk.sync_dir();
    }
    Ok(())
}

pub(crate) fn write_all(disk: &Disk, name: &str, mut bytes: &[u8]) -> Result<(), Failure> {
    while !bytes.is_empty() {
        let count = disk.append(name, bytes)?;
        bytes = &bytes[count..];
    }
    Ok(())
}

fn damaged(name: &str) -> Corruption {
    let reason = "the checksum does not match".into();
    Corruption { range: None, place: name.into(), offset: 0, reason }
}

fn get<T: DeserializeOwned>(disk: &Disk, name: &str) -> Result<T, OpenError> {
    let bytes = disk.read(name).unwrap_or_default();
    let (sum, body) = bytes.split_first_chunk().ok_or_else(|| OpenError::Corrupt(damaged(name)))?;
    if u64::from_le_bytes(*sum) != record::checksum(body) {
        return Err(OpenError::Corrupt(damaged(name)));
    }
    postcard::from_bytes(body).map_err(|_| OpenError::Corrupt(damaged(name)))
}

fn io(failure: Failure) -> OpenError {
    OpenError::Io { what: "write".into(), cause: format!("{failure:?}").into() }
}

fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

pub(crate) fn create(
    disk: &Disk,
    owner: Owner,
    initial: Option<&Membership>,
    lie: Option<Lie>,
) -> Result<LyingJournal, OpenError> {
    if disk.is_open() {
        return Err(OpenError::Locked { by: None });
    }
    if disk.read("id").is_some() {
        return Err(OpenError::AlreadyExists);
    }
    let Owner { cluster, group, node } = owner;
    let store = StoreId(u128::from(random()) << 64 | u128::from(random()));
    let identity = Identity { cluster, group, node, store, incarnation: Incarnation { number: 0, nonce: 0 } };
    put(disk, "hs", &(HardState::default(), Vec::<KnownPeer>::new()), true).map_err(io)?;
    put(disk, "floor", &(LogId::ZERO, 0_u64), true).map_err(io)?;
    disk.create(&segment_name(0));
    if let Some(membership) = initial {
        let (id, data) = (LogId::new(0, 1), membership.encode());
        let mut write = raft_core::backend::JournalWrite::default();
        write.entries = [Entry { id, kind: EntryKind::Membership, data }].into();
        write_all(disk, &segment_name(0), &record::encode(&write, lie)).map_err(io)?;
        disk.end_sync(disk.begin_sync(&segment_name(0))).map_err(io)?;
    }
    // The last of them: where this is there is a journal.
    put(disk, "id", &identity, true).map_err(io)?;
    open(disk, owner, lie)
}

pub(crate) fn open(disk: &Disk, owner: Owner, lie: Option<Lie>) -> Result<LyingJournal, OpenError> {
    if disk.read("id").is_none() {
        return match lie {
            Some(Lie::OpenCreates) => create(disk, owner, None, lie),
            _ => Err(OpenError::NotInitialised),
        };
    }
    if disk.is_open() && lie != Some(Lie::SecondOpenerIsLetIn) {
        return Err(OpenError::Locked { by: None });
    }
    let mut identity: Identity = get(disk, "id")?;
    let Owner { cluster, group, node } = owner;
    if identity.cluster != cluster {
        return Err(Mismatch::Cluster { found: identity.cluster, expected: cluster }.into());
    }
    if identity.node != node {
        return Err(Mismatch::Node { found: identity.node, expected: node }.into());
    }
    if identity.group != group {
        return Err(Mismatch::Group { found: identity.group, expected: group }.into());
    }
    let (mut hard_state, known_peers): (HardState, Vec<KnownPeer>) = get(disk, "hs")?;
    let (purged, first): (LogId, u64) = get(disk, "floor")?;
    let mut view = View::default();
    view.purged = purged;
    let mut segments: Vec<(u64, Index)> = Vec::new();
    let mut verdict = Verdict::Clean;
    for name in disk.names() {
        let Some(number) = name.strip_prefix("seg-").and_then(|number| number.parse().ok()) else { continue };
        if number < first && lie == Some(Lie::LeftOverSegmentIsDamage) {
            return Err(OpenError::Corrupt(damaged(&name)));
        }
        if number < first {
            disk.unlink(&name);
            continue;
        }
        let greatest = replay(&disk.read(&name).unwrap_or_default(), &name, &mut view, &mut verdict, lie);
        segments.push((number, greatest));
    }
    view.entries = view.entries.split_off(&purged.index.next());
    view.forget_stale();
    if let Verdict::Corrupt(damage) = &verdict {
        let newest = view.entries.values().rev().find(|entry| entry.kind == EntryKind::Membership);
        let newest = newest.and_then(|entry| Membership::decode(&entry.data).ok());
        if newest.is_some_and(|membership| membership.all_voters().eq([owner.node])) {
            return Err(OpenError::Corrupt(damage.clone()));
        }
        hard_state.probation = true;
        put(disk, "hs", &(hard_state, known_peers.clone()), true).map_err(io)?;
    }
    // What was read may not be durable: a sync that failed leaves it readable. The last segment is
    // written again.
    if let Some((number, _)) = segments.last() {
        let name = segment_name(*number);
        disk.create("aside");
        write_all(disk, "aside", &disk.read(&name).unwrap_or_default()).map_err(io)?;
        disk.end_sync(disk.begin_sync("aside")).map_err(io)?;
        disk.rename("aside", &name);
        disk.sync_dir();
    }
    identity.incarnation = Incarnation { number: identity.incarnation.number + 1, nonce: random() };
    put(disk, "id", &identity, true).map_err(io)?;
    let Some(opening) = disk.begin(lie == Some(Lie::SecondOpenerIsLetIn)) else {
        return Err(OpenError::Locked { by: None });
    };
    let poisoned = (verdict != Verdict::Clean).then(|| "damaged".into());
    let view = Arc::new(Mutex::new(view));
    Ok(LyingJournal {
        disk: disk.clone(),
        opening,
        lie,
        identity,
        verdict,
        hard_state,
        known_peers,
        view,
        segments,
        pending: None,
        late: None,
        poisoned,
    })
}

/// Does what a segment says; gives the greatest index in it. Ends at damage, and says so.
fn replay(bytes: &[u8], name: &str, view: &mut View, verdict: &mut Verdict, lie: Option<Lie>) -> Index {
    let (mut rest, mut greatest) = (bytes, Index(0));
    while !rest.is_empty() && *verdict == Verdict::Clean {
        let before = rest.len();
        match record::next(&mut rest, lie) {
            Ok(write) => {
                greatest = write.entries.iter().map(|entry| entry.id.index).fold(greatest, Index::max);
                view.apply(&write, lie);
            }
            Err(()) => match lie {
                Some(Lie::RotIsTakenAsTheEnd) => break,
                // Less than a length and a checksum: nothing comes behind it.
                Some(Lie::BadRecordIsSkipped) if rest.len() + 16 > before => break,
                Some(Lie::BadRecordIsSkipped) => {}
                _ => *verdict = Verdict::Corrupt(damaged(name)),
            },
        }
    }
    greatest
}
