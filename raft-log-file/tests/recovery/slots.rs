//! The superblock, the hard state and the known peers: two slots each, and two copies of each slot.

use raft_core::backend::{OpenError, Verdict};
use raft_log_file::Case;

use crate::support::{
    CrashPoint, Image, MemVfs, Model, Op, append, create, entry, open, options, peer, vote,
};
use crate::{BLOCK, FIRST, cases, image, journal, recover, report};

#[test]
fn r1_not_initialised() {
    let refused = |image: &Image| open(&MemVfs::of(image), options()).err();
    assert_eq!(refused(&Image::new()), Some(OpenError::NotInitialised));
    let other = Image::from([("notes.txt".into(), vec![1].into())]);
    assert_eq!(refused(&other), Some(OpenError::NotInitialised));
    let vfs = MemVfs::of(&other);
    assert_eq!(open(&vfs, options()).err(), Some(OpenError::NotInitialised));
    assert_eq!(vfs.op_count(), 0);
}

#[test]
fn r2_a_pair_without_any_valid_copy() {
    for pair in ["super", "hs", "peers"] {
        let (mut image, _) = image(3);
        for slot in ["a", "b"] {
            image.get_mut(&format!("{pair}.{slot}")).unwrap().fill(0);
        }
        assert!(matches!(open(&MemVfs::of(&image), options()).err(), Some(OpenError::Corrupt(_))), "{pair}");
        assert!(matches!(create(&MemVfs::of(&image), None, options()).err(), Some(OpenError::AlreadyExists)));
        for slot in ["a", "b"] {
            image.remove(&format!("{pair}.{slot}"));
        }
        assert!(matches!(open(&MemVfs::of(&image), options()).err(), Some(OpenError::Corrupt(_))), "{pair}");
        assert!(matches!(create(&MemVfs::of(&image), None, options()).err(), Some(OpenError::AlreadyExists)));
    }
}

#[test]
fn r3_a_damaged_copy_with_a_valid_twin() {
    for name in ["super.a", "super.b", "hs.a", "hs.b", "peers.a", "peers.b", FIRST] {
        for second in [false, true] {
            let (mut image, model) = image(3);
            let file = image.get_mut(name).unwrap();
            let stride = if name == FIRST { 2048 } else { file.len() / 2 };
            file[usize::from(second) * stride + 40] ^= 1;
            assert!(cases(&report(&image)).contains(&Case::CopyDamaged), "{name}");
            let vfs = MemVfs::of(&image);
            let store = open(&vfs, options()).unwrap();
            assert_eq!(store.findings()[0].case, Case::CopyDamaged);
            assert_eq!(store.findings()[0].damage.place, name);
            assert_eq!(store.load().unwrap().verdict, Verdict::Clean);
            assert_eq!(Model::of(&store), model);
            drop(store);
            if name != FIRST {
                assert!(report(&vfs.image()).is_clean(), "repaired: {name}");
            }
        }
    }
}

#[test]
fn r3b_a_slot_without_a_valid_copy() {
    for name in ["super.a", "super.b", "hs.a", "hs.b"] {
        let (mut image, _) = image(3);
        let file = image.get_mut(name).unwrap();
        file[40] ^= 1;
        file[BLOCK + 40] ^= 1;
        let refused = open(&MemVfs::of(&image), options()).err();
        assert!(matches!(&refused, Some(OpenError::Corrupt(damage)) if damage.place == name), "{refused:?}");
        image.remove(name);
        assert!(matches!(open(&MemVfs::of(&image), options()).err(), Some(OpenError::Corrupt(_))));
    }
}

#[test]
fn r3b_a_hard_state_that_was_set_back() {
    let (vfs, mut store, _) = journal(3);
    let before = vfs.image();
    let mut write = append(vec![entry(2, 4, "x")]);
    write.hard_state = Some(vote(2, 3));
    store.write(&write).unwrap();
    let mut image = vfs.image();
    for name in ["hs.a", "hs.b"] {
        image.insert(name.into(), before[name].clone());
    }
    assert!(matches!(open(&MemVfs::of(&image), options()).err(), Some(OpenError::Corrupt(_))));
}

#[test]
fn r3c_known_peers_fall_back_to_the_older_slot() {
    let (vfs, mut store, mut model) = journal(2);
    let mut write = append(Vec::new());
    write.known_peers = Some((2..90).map(peer).collect());
    store.write(&write).unwrap();
    let mut image = vfs.image();
    let newer = image.get_mut("peers.b").unwrap();
    newer[600..1100].fill(0);
    newer[8192 + 600..8192 + 1100].fill(0);
    assert_eq!(cases(&report(&image)), [Case::SlotTorn]);
    model.peers = vec![peer(2)];
    let (verdict, found, _) = recover(&image);
    assert_eq!((verdict, found), (Verdict::Clean, model));
    write.known_peers = Some((2..202).map(peer).collect());
    store.write(&write).unwrap();
    write.known_peers = Some((2..302).map(peer).collect());
    assert!(store.write(&write).is_err());
    drop(store);
    assert_eq!(open(&vfs, options()).unwrap().load().unwrap().known_peers.len(), 200);
}

/// A later format is refused by name, wherever it shows.
#[test]
fn a_newer_version_is_refused() {
    let (good, _) = image(3);
    for name in ["super.a", "hs.b", "peers.a", FIRST] {
        let mut image = good.clone();
        let file = image.get_mut(name).unwrap();
        let stride = if name == FIRST { 2048 } else { file.len() / 2 };
        for copy in [0, stride] {
            let record = &mut file[copy..copy + 512];
            record[12] = 2;
            let length = 32 + u32::from_le_bytes(record[24..28].try_into().unwrap()) as usize;
            let crc = crc32c::crc32c(&record[8..length]);
            record[4..8].copy_from_slice(&crc.to_le_bytes());
        }
        let refused = open(&MemVfs::of(&image), options()).err();
        assert_eq!(refused, Some(OpenError::Version { found: 2, known: 1 }), "{name}");
    }
}

/// What opening writes again may be the only one that counts: a machine that goes down leaves one copy
/// of it alone, even where a sector that is being written turns into anything.
#[test]
fn one_copy_of_what_counts_is_left_alone() {
    let (vfs, mut store, mut model) = journal(2);
    let mut write = append(Vec::new());
    write.hard_state = Some(vote(4, 2));
    write.known_peers = Some((1..60).map(peer).collect());
    store.write(&write).unwrap();
    model.write(&write);
    drop(store);
    let good = vfs.image();
    for rotten in [None, Some(0), Some(1)] {
        let mut image = good.clone();
        for name in ["hs.a", "peers.a"] {
            let stride = image[name].len() / 2;
            if let Some(copy) = rotten {
                image.get_mut(name).unwrap()[copy * stride + 40] ^= 1;
            }
        }
        let vfs = MemVfs::of(&image);
        drop(open(&vfs, options()).unwrap());
        let mut point = CrashPoint::of(&image);
        let mut in_flight = Vec::new();
        for op in vfs.ops() {
            point.advance(&op);
            let name = |id: usize| image.keys().nth(id).map(String::as_str).unwrap_or_default();
            match op {
                Op::Write(id, at, _) if ["hs.a", "peers.a"].contains(&name(id)) => in_flight.push((id, at)),
                Op::Sync(id) => in_flight.retain(|(of, _)| *of != id),
                _ => {}
            }
            let mut broken = point.durable();
            for (id, at) in &in_flight {
                broken.get_mut(name(*id)).unwrap()[at + 40] ^= 2;
            }
            let store = open(&MemVfs::of(&broken), options()).unwrap();
            assert_eq!(Model::of(&store), model, "{in_flight:?} in flight, copy {rotten:?} rotten");
        }
    }
}
