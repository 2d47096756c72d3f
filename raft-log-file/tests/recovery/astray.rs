//! Batches and marks that a disk has written elsewhere, or has left where others belong.

use raft_core::backend::Verdict;
use raft_log_file::Case;

use crate::support::{Image, MemVfs, append, create, data, entry, options, voters};
use crate::{BLOCK, FIRST, cases, image, journal, on_probation, recover, report};

#[test]
fn r10_a_misplaced_batch() {
    let (good, model) = image(4);
    // A valid batch elsewhere in the segment: its position is part of its checksums.
    let mut image = good.clone();
    image.get_mut(FIRST).unwrap().copy_within(3 * BLOCK..4 * BLOCK, 4 * BLOCK);
    assert_eq!(cases(&report(&image)), [Case::Suspect]);
    assert_eq!(recover(&image).1, on_probation(model.clone(), 4));
    // The same segment of another time: batch 4 of a journal that went another way.
    let vfs = MemVfs::default();
    let initial = voters(3);
    let mut store = create(&vfs, Some(&initial), options().segment_bytes(8 * BLOCK as u64)).unwrap();
    for index in 2..=4 {
        store.write(&append(vec![entry(1, index, data(index + 9, 1500))])).unwrap();
    }
    let other = vfs.image()[FIRST][4 * BLOCK..5 * BLOCK].to_vec();
    let mut image = good;
    image.get_mut(FIRST).unwrap()[4 * BLOCK..5 * BLOCK].copy_from_slice(&other);
    assert_eq!(cases(&report(&image)), [Case::Misplaced]);
    let (verdict, found, _) = recover(&image);
    assert!(matches!(verdict, Verdict::Corrupt(_)));
    assert_eq!(found, on_probation(model, 4));
}

/// The batch behind a big one covers a part of it instead: it is mostly zeros, and the big one would look torn,
/// though it was acknowledged (simulator seed 1340).
#[test]
fn a_batch_that_was_covered_by_the_next_is_missed() {
    let (vfs, mut store, mut model) = journal(2);
    let big = entry(1, 3, data(9, 2 * BLOCK));
    store.write(&append(vec![big.clone()])).unwrap();
    model.entries.push(big);
    let end =
        |image: &Image| image[FIRST].len() - image[FIRST].iter().rev().take_while(|byte| **byte == 0).count();
    let at = end(&vfs.image()).next_multiple_of(BLOCK);
    store.write(&append(vec![entry(1, 4, data(9, 10))])).unwrap();
    let image = vfs.image();
    for inside in 1..3 {
        let segment = &image[FIRST];
        let small = segment[at..at + BLOCK].to_vec();
        let mut segment = segment.clone();
        segment[at - inside * BLOCK..at - (inside - 1) * BLOCK].copy_from_slice(&small);
        segment[at..at + BLOCK].fill(0);
        let mut image = image.clone();
        image.insert(FIRST.into(), segment);
        assert_eq!(cases(&report(&image)), [Case::DamageProven], "{inside} blocks from its end");
        let (verdict, found, _) = recover(&image);
        assert!(matches!(verdict, Verdict::Corrupt(_)), "{verdict:?}");
        assert_eq!(found, on_probation(model.clone(), 3));
    }
}

/// A batch that was written elsewhere in its segment was written: it may have been acknowledged. What is
/// zero where it should be was not merely torn (simulator seed 8).
#[test]
fn a_batch_that_went_astray_is_missed() {
    let (mut image, model) = image(4);
    let segment = image.get_mut(FIRST).unwrap();
    let used = segment.len() - segment.iter().rev().take_while(|byte| **byte == 0).count();
    let last = (used - 1) / BLOCK * BLOCK;
    let batch = segment[last..last + BLOCK].to_vec();
    segment[last..last + BLOCK].fill(0);
    segment[last + 2 * BLOCK..last + 3 * BLOCK].copy_from_slice(&batch);
    assert_eq!(cases(&report(&image)), [Case::Misplaced]);
    let (verdict, found, _) = recover(&image);
    assert!(matches!(verdict, Verdict::Corrupt(_)), "{verdict:?}");
    assert_eq!(found, on_probation(model, 4));
}

/// A mark that goes astray leaves zeros where it should be. It is not synced, so what is written behind it could be
/// a tear that lost the mark: the next write brings the mark again (simulator seed 311809).
#[test]
fn a_write_behind_a_mark_that_went_astray_is_kept() {
    for closes in [false, true] {
        let (vfs, mut store, mut model) = journal(2);
        let used = |image: &Image| {
            let segment = &image[FIRST];
            (segment.len() - segment.iter().rev().take_while(|byte| **byte == 0).count())
                .next_multiple_of(BLOCK)
        };
        let at = used(&vfs.image());
        store.mark().unwrap();
        let mut image = vfs.image();
        assert_eq!(used(&image), at + BLOCK);
        let mark = image[FIRST][at..at + BLOCK].to_vec();
        let segment = image.get_mut(FIRST).unwrap();
        segment[at..at + BLOCK].fill(0);
        segment[at + BLOCK..at + 2 * BLOCK].copy_from_slice(&mark);
        vfs.replace(FIRST, &image[FIRST]);
        if closes {
            // Found durable, or not: then the next one says that it was.
            store.sync().unwrap();
        }
        let next = entry(1, 3, data(3, 100));
        store.write(&append(vec![next.clone()])).unwrap();
        model.entries.push(next);
        drop(store);
        let image = vfs.image();
        let (verdict, found, _) = recover(&image);
        if closes {
            assert!(matches!(verdict, Verdict::Corrupt(_)), "{verdict:?}");
        } else {
            assert_eq!(verdict, Verdict::Clean);
            assert_eq!(found, model);
        }
    }
}
