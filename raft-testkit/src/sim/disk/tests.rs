use raft_log_file::vfs::Vfs;

use super::*;

fn disk() -> (SimDisk, SimVfs) {
    let disk = SimDisk::new(Rng::new(1));
    let vfs = disk.boot();
    (disk, vfs)
}

#[test]
fn a_power_cut_takes_what_is_not_synced_and_only_that() {
    let (disk, vfs) = disk();
    let file = vfs.create("a").unwrap();
    file.pwrite(&[1; 2048], 0).unwrap();
    file.sync_data().unwrap();
    vfs.sync_dir().unwrap();
    file.pwrite(&[2; 2048], 1024).unwrap();
    vfs.create("b").unwrap();
    assert_eq!(disk.unsynced(""), ["a"]);
    assert_eq!(disk.image()["a"][1024], 2);
    assert_eq!(disk.power_cut(Tear::Lose), (0, 4));
    assert_eq!(disk.image(), Image::from([("a".into(), vec![1; 2048])]));
    assert!(file.pwrite(&[3], 0).is_err(), "of an earlier life");

    let vfs = disk.boot();
    let file = vfs.open("a").unwrap();
    file.pwrite(&[2; 2048], 0).unwrap();
    let (kept, lost) = disk.power_cut(Tear::Sectors);
    assert_eq!(kept + lost, 4);
    let bytes = &disk.image()["a"];
    assert!(bytes.chunks(SECTOR).all(|sector| sector == [1; SECTOR] || sector == [2; SECTOR]));
}

/// Two writes into one sector: no disk takes the second without the first (seed 308232).
#[test]
fn a_sector_is_torn_between_versions_only() {
    let (disk, _) = disk();
    let mut seen = [0; 3];
    for _ in 0..64 {
        let vfs = disk.boot();
        let file = vfs.create("a").unwrap();
        file.pwrite(&[0; SECTOR], 0).unwrap();
        file.sync_data().unwrap();
        vfs.sync_dir().unwrap();
        file.pwrite(&[1; 100], 0).unwrap();
        file.pwrite(&[2; SECTOR - 100], 100).unwrap();
        disk.power_cut(Tear::Sectors);
        let bytes = disk.image()["a"].clone();
        let both = [vec![1; 100], vec![2; SECTOR - 100]].concat();
        let first = [vec![1; 100], vec![0; SECTOR - 100]].concat();
        let found = [vec![0; SECTOR], first, both].iter().position(|version| *version == bytes);
        seen[found.unwrap()] += 1;
        let vfs = disk.boot();
        vfs.unlink("a").unwrap();
        vfs.sync_dir().unwrap();
    }
    assert!(seen.iter().all(|times| *times > 0), "{seen:?}");
}

#[test]
fn a_failed_sync_leaves_what_can_be_read_and_is_never_written() {
    let (disk, vfs) = disk();
    let file = vfs.create("a").unwrap();
    vfs.sync_dir().unwrap();
    disk.fail(Call::Sync, 0);
    file.pwrite(b"x", 0).unwrap();
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert_eq!(disk.image()["a"], b"x");
    assert_eq!(disk.durable_image()["a"], b"");
}

#[test]
fn a_machine_may_die_at_any_call() {
    let (disk, vfs) = disk();
    let file = vfs.create("a").unwrap();
    vfs.sync_dir().unwrap();
    disk.crash_in(1);
    file.pwrite(b"x", 0).unwrap();
    assert!(file.sync_data().is_err());
    assert!(disk.is_frozen());
    assert!(file.sync_data().is_err());
    disk.power_cut(Tear::Lose);
    assert_eq!(disk.image()["a"], b"");
}

#[test]
fn rot_and_stray_writes_change_what_is_stored() {
    let (disk, vfs) = disk();
    let file = vfs.create("a").unwrap();
    file.pwrite(&[7; 8192], 0).unwrap();
    file.sync_data().unwrap();
    vfs.sync_dir().unwrap();
    let (name, at) = disk.rot("a").unwrap();
    assert_eq!(name, "a");
    assert_ne!(disk.durable_image()["a"][at], 7);
    disk.lead_astray(Stray::Batch);
    while disk.counts().2 == 0 {
        file.pwrite(&[9; 4096], 0).unwrap();
        disk.lead_astray(Stray::Batch);
    }
    assert_eq!(disk.image()["a"][4096], 9);
    let other = vfs.create("b").unwrap();
    for byte in 10.. {
        disk.lead_astray(Stray::Small);
        other.pwrite(&[byte; 512], 0).unwrap();
        if disk.image()["a"].contains(&byte) {
            break;
        }
    }
}

/// What went astray stays where it is until something that was written later is synced, since nothing else tells of it.
#[test]
fn what_went_astray_is_not_harmed_before_other_things_tell_of_it() {
    for tear in [Tear::Zeros, Tear::Garbage] {
        let (disk, vfs) = disk();
        let file = vfs.create("a").unwrap();
        file.pwrite(&[0; 32 * 4096], 0).unwrap();
        file.sync_data().unwrap();
        vfs.sync_dir().unwrap();
        disk.lead_astray(Stray::Batch);
        file.pwrite(&[9; 4096], 0).unwrap();
        file.sync_data().unwrap();
        let at = disk.image()["a"].iter().position(|byte| *byte == 9).unwrap();
        assert_ne!(at, 0, "one in 32 that it goes where it should: other numbers, then");
        for _ in 0..100 {
            assert_eq!(disk.rot("a"), None, "nothing else is stored");
        }
        file.pwrite(&[8; 4096], at as u64).unwrap();
        disk.power_cut(tear);
        let there = disk.image()["a"][at..at + 4096].to_vec();
        assert!(there.iter().all(|byte| [8, 9].contains(byte)));
        let file = disk.boot().open("a").unwrap();
        file.pwrite(&[7; 4096], 4096 * 31).unwrap();
        file.sync_data().unwrap();
        assert!((0..100).any(|_| disk.rot("a").is_some_and(|(_, rotten)| (at..at + 4096).contains(&rotten))));
    }
}

#[test]
fn a_read_may_be_of_another_place_and_a_short_one_is_legal() {
    let (disk, vfs) = disk();
    let file = vfs.create("a").unwrap();
    let stored: Vec<u8> = (0..16_u8).flat_map(|sector| [sector; SECTOR]).collect();
    file.pwrite(&stored, 0).unwrap();
    let read = |at| {
        let mut buf = [99; 8];
        file.pread(&mut buf, at).map(|count| (count, buf[0]))
    };
    disk.misread(1);
    assert_eq!(read(512).unwrap(), (8, 1));
    while disk.counts().2 == 0 {
        disk.misread(0);
        let _ = read(512);
    }
    disk.end_life();
    disk.set_short(1_000_000);
    let short: Vec<_> = (0..200).filter_map(|_| read(1024).ok()).collect();
    assert!(
        short.iter().any(|(count, _)| *count < 8)
            && short.iter().all(|(count, first)| *count > 0 && *first == 2)
    );
    disk.set_short(0);
    for call in [Call::Read, Call::Look] {
        disk.fail(call, 0);
        let failed = if call == Call::Read { read(0).is_err() } else { vfs.list().is_err() };
        assert!(failed, "{call:?}");
    }
    disk.fail(Call::Look, 0);
    assert!(disk.in_peace(|| vfs.open("a").is_ok()));
    assert!(vfs.open("a").is_err(), "it was armed all the time");
}

/// A disk that does more than it may leaves zeros or anything at all in what was being written, and only there.
#[test]
fn zeros_and_garbage_are_left_in_what_was_being_written() {
    for tear in [Tear::Zeros, Tear::Garbage] {
        let (disk, vfs) = disk();
        let file = vfs.create("a").unwrap();
        file.pwrite(&[1; 64 * SECTOR], 0).unwrap();
        file.sync_data().unwrap();
        vfs.sync_dir().unwrap();
        file.pwrite(&[2; 32 * SECTOR], 16 * SECTOR as u64).unwrap();
        disk.power_cut(tear);
        let bytes = disk.image()["a"].clone();
        let is = |sector: &[u8], byte| sector.iter().all(|other| *other == byte);
        let (mut old, mut new, mut other) = (0, 0, 0);
        for (place, sector) in bytes.chunks(SECTOR).enumerate() {
            match sector {
                sector if is(sector, 1) => old += 1,
                sector if is(sector, 2) => new += 1,
                sector => {
                    assert!((16..48).contains(&place), "{place}");
                    assert_eq!(is(sector, 0), tear == Tear::Zeros);
                    other += 1;
                }
            }
        }
        assert!(old > 32 && new > 0 && other > 0, "{old} {new} {other}");
    }
}

/// What is made durable of one folder's names says nothing of another's.
#[test]
fn folders_are_synced_one_by_one() {
    let (disk, vfs) = disk();
    let inner = vfs.folder("snap/");
    vfs.create("a").unwrap();
    inner.create("a").unwrap();
    inner.rename("a", "b").unwrap();
    assert_eq!((vfs.list().unwrap(), inner.list().unwrap()), (vec!["a".to_owned()], vec!["b".to_owned()]));
    let guard = vfs.lock("LOCK").unwrap();
    assert!(vfs.lock("LOCK").is_err());
    drop(inner.lock("LOCK").unwrap());
    drop(guard);
    inner.sync_dir().unwrap();
    assert_eq!(disk.durable_folder("").len(), 0);
    assert_eq!(disk.durable_folder("snap/").keys().collect::<Vec<_>>(), ["snap/b"]);
    disk.power_cut(Tear::Lose);
    assert_eq!(disk.image().keys().collect::<Vec<_>>(), ["snap/b"]);
}
