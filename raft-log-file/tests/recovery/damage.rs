//! Damage that something later proves to be damage: what was there had been written whole.

use raft_core::backend::Verdict;
use raft_core::ids::{Index, LogId};
use raft_log_file::Case;

use crate::support::{CrashPoint, MemVfs, Model, append, data, entry, open, options};
use crate::{BLOCK, FIRST, cases, image, journal, on_probation, recover, report};

#[test]
fn r6_damage_before_later_segments() {
    let (mut image, model) = image(20);
    image.get_mut(FIRST).unwrap()[3 * BLOCK + 700] ^= 4;
    let seen = report(&image);
    assert_eq!(cases(&seen), [Case::DamageInside]);
    let range = seen.findings.last().unwrap().damage.range.clone().unwrap();
    assert_eq!(range, Index(3)..Index(21));
    let (verdict, found, vfs) = recover(&image);
    let left = report(&vfs.image());
    assert_eq!(left.verdict, Verdict::Clean);
    let cut_off = |finding: &raft_log_file::Finding| finding.case == Case::Quarantined;
    assert!(left.findings.len() > 1 && left.findings.iter().all(cut_off), "{:?}", left.findings);
    assert!(matches!(verdict, Verdict::Corrupt(damage) if damage.offset == 3 * BLOCK as u64));
    assert_eq!(found, on_probation(model, 3));
    assert_eq!(vfs.image()[FIRST], image[FIRST], "the damaged bytes are kept");
}

#[test]
fn r6_a_damaged_seal() {
    let (mut image, model) = image(20);
    let file = image.get_mut(FIRST).unwrap();
    let seal = file.len() - BLOCK;
    file[seal..seal + 512].fill(0);
    assert_eq!(cases(&report(&image)), [Case::DamageInside]);
    let (_, found, _) = recover(&image);
    let kept = found.entries.len() as u64;
    assert_eq!(found, on_probation(model, kept + 1));
}

#[test]
fn r7_damage_that_a_later_record_proves() {
    for zero in [false, true] {
        let (mut image, model) = image(4);
        let batch = &mut image.get_mut(FIRST).unwrap()[2 * BLOCK..3 * BLOCK];
        if zero {
            batch.fill(0)
        } else {
            batch[1000] ^= 1
        }
        assert_eq!(cases(&report(&image)), [Case::DamageProven]);
        let (verdict, found, _) = recover(&image);
        assert!(matches!(verdict, Verdict::Corrupt(_)));
        assert_eq!(found, on_probation(model, 2));
    }
}

#[test]
fn r7_a_mark_is_proof_enough() {
    let (vfs, mut store, model) = journal(4);
    store.mark().unwrap();
    let mut image = vfs.image();
    // The shape of a torn write, but the mark says that it was whole.
    image.get_mut(FIRST).unwrap()[4 * BLOCK + 512..4 * BLOCK + 1024].fill(0);
    assert_eq!(cases(&report(&image)), [Case::DamageProven]);
    assert_eq!(recover(&image).1, on_probation(model, 4));
}

/// A mark found no room in a full segment and was left out until the next write, so that an acknowledged
/// entry at rest could lose a sector and count as torn (found by fuzzing).
#[test]
fn r7_a_full_segment_is_marked_too() {
    let (vfs, mut store, model) = journal(6);
    store.mark().unwrap();
    let mut image = vfs.image();
    image.get_mut(FIRST).unwrap()[6 * BLOCK + 512..6 * BLOCK + 1024].fill(0);
    // The seal says that it was whole, and the mark after it.
    assert_eq!(cases(&report(&image)), [Case::DamageInside]);
    assert_eq!(recover(&image).1, on_probation(model, 6));
}

#[test]
fn r7_the_superblock_is_proof_enough() {
    let (vfs, store, model) = journal(4);
    drop(store);
    // Opening has copied the last batch, which nothing proved, and noted that.
    drop(open(&vfs, options()).unwrap());
    let mut image = vfs.image();
    let second = image.get_mut("seg-0000000000000002.log").unwrap();
    second[BLOCK + 512..BLOCK + 1024].fill(0);
    assert_eq!(cases(&report(&image)), [Case::DamageProven]);
    assert_eq!(recover(&image).1, on_probation(model, 4));
}

/// The write that replaces entries knows that the new ones are committed. If it comes to a new segment and
/// no further, nothing on disk may say that of the old ones (simulator seed 65).
#[test]
fn a_commit_index_is_not_on_record_before_the_entries_it_speaks_of() {
    let (vfs, mut store, _) = journal(7);
    let before = vfs.op_count();
    let mut write = append(vec![entry(2, 7, data(9, 5 * BLOCK))]);
    write.truncate_from = Some(Index(7));
    write.commit_hint = Index(7);
    store.write(&write).unwrap();
    let ops = vfs.ops();
    let mut point = CrashPoint::default();
    for op in &ops[..before] {
        point.advance(op);
    }
    let mut replaced = 0;
    for op in &ops[before..] {
        point.advance(op);
        let store = open(&MemVfs::of(&point.durable()), options()).unwrap();
        let state = store.load().unwrap();
        let term = Model::of(&store).entries.iter().find(|entry| entry.id.index == Index(7)).unwrap().id.term;
        replaced += u32::from(term.0 == 2);
        assert!(state.commit_hint < Index(7) || term.0 == 2, "{state:?}");
    }
    assert!(ops.len() - before > 3, "it goes on in another segment");
    assert_eq!(replaced, 1, "by the last sync");
}

/// Damage below the floor leaves a log that ends before it. What follows continues the floor, at every opening from
/// then on (simulator seed 256).
#[test]
fn what_is_written_after_damage_below_the_floor_is_found_again_and_again() {
    let (vfs, mut store, _) = journal(7);
    store.purge(LogId::new(1, 5)).unwrap();
    drop(store);
    let mut bytes = vfs.image()[FIRST].clone();
    let lost = data(4, 1500);
    let at = bytes.windows(lost.len()).position(|window| window == &lost[..]).unwrap();
    bytes[at] ^= 1;
    vfs.replace(FIRST, &bytes);
    let mut store = open(&vfs, options()).unwrap();
    let state = store.load().unwrap();
    assert!(matches!(state.verdict, Verdict::Corrupt(_)), "{state:?}");
    assert_eq!((state.purged, state.last), (LogId::new(1, 5), LogId::new(1, 5)));
    store.write(&append(vec![entry(2, 6, data(6, 100))])).unwrap();
    for _ in 0..4 {
        drop(store);
        store = open(&vfs, options()).unwrap();
        let state = store.load().unwrap();
        assert_eq!(state.verdict, Verdict::Clean);
        assert_eq!((state.purged, state.last), (LogId::new(1, 5), LogId::new(2, 6)));
    }
}
