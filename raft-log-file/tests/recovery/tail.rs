//! The end of the log: clean, torn, or suspect.

use raft_core::backend::{OpenError, Verdict};
use raft_core::ids::{Index, LogId};
use raft_log_file::Case;

use crate::support::{
    CrashPoint, Fault, Image, MemVfs, Mode, Model, Plan, Rng, append, create, data, entry, open, options,
    vote, voters,
};
use crate::{BLOCK, FIRST, cases, image, journal, journal_of, on_probation, recover, report};

#[test]
fn r8_a_torn_batch() {
    for missing in [vec![0], vec![1], vec![2], vec![3], vec![0, 2], vec![1, 3], vec![1, 2, 3]] {
        let (mut image, mut model) = image(4);
        let batch = &mut image.get_mut(FIRST).unwrap()[4 * BLOCK..5 * BLOCK];
        for sector in &missing {
            batch[sector * 512..(sector + 1) * 512].fill(0);
        }
        assert_eq!(cases(&report(&image)), [Case::Torn], "without sectors {missing:?}");
        model.entries.pop();
        let (verdict, found, vfs) = recover(&image);
        assert_eq!(verdict, Verdict::TornTail { discarded_from: Index(4) });
        assert_eq!(found, model);
        assert_eq!(vfs.image()[FIRST], image[FIRST], "the torn bytes are kept");
    }
}

/// P46: "Protocol-aware recovery" (FAST '18), raft-engine#288, #314, canonical/raft#450, #471. The same harm, a sector of
/// zeros, to each batch there is: only in the last one, which nobody has proved to be whole, is it a torn
/// write; before that it is damage, and what is behind it is not cut away without a word.
#[test]
fn p46_raft_engine_288_a_torn_tail_is_not_damage_and_damage_no_torn_tail() {
    let last = 4;
    for index in 2..=last {
        let (mut image, mut model) = image(last);
        let at = usize::try_from(index).unwrap() * BLOCK;
        image.get_mut(FIRST).unwrap()[at + 512..at + 1024].fill(0);
        let (verdict, found, vfs) = recover(&image);
        if index == last {
            assert_eq!(verdict, Verdict::TornTail { discarded_from: Index(last) });
            model.entries.pop();
            assert_eq!(found, model);
            assert!(!found.hard_state.probation);
        } else {
            assert!(matches!(verdict, Verdict::Corrupt(_)), "batch {index}: {verdict:?}");
            assert_eq!(found, on_probation(model, index));
        }
        assert_eq!(vfs.image()[FIRST], image[FIRST], "the bytes are kept");
    }
}

#[test]
fn r9_a_suspect_tail() {
    let (good, model) = image(4);
    // Flips in header, table, payload, footer.
    for at in [8, 50, 96 + 3, 96 + 24 + 700, 96 + 24 + 1500 + 12] {
        let mut image = good.clone();
        image.get_mut(FIRST).unwrap()[4 * BLOCK + at] ^= 1;
        assert_eq!(cases(&report(&image)), [Case::Suspect], "byte {at}");
        let (verdict, found, vfs) = recover(&image);
        assert_eq!(verdict, Verdict::SuspectTail { from: Index(4) });
        assert_eq!(found, on_probation(model.clone(), 4));
        assert_eq!(vfs.image()[FIRST], image[FIRST], "the damaged bytes are kept");
    }
    // A missing sector does not excuse a flip elsewhere.
    let mut image = good;
    let batch = &mut image.get_mut(FIRST).unwrap()[4 * BLOCK..];
    batch[1024..1536].fill(0);
    let mut two = image.clone();
    two.get_mut(FIRST).unwrap()[4 * BLOCK + 600] ^= 1;
    // The only payload lacks a sector: nothing more can be told.
    assert_eq!(cases(&report(&two)), [Case::Torn]);
    two.get_mut(FIRST).unwrap()[4 * BLOCK + 96 + 24 + 1500 + 12] ^= 1;
    assert_eq!(cases(&report(&two)), [Case::Suspect]);
}

#[test]
fn r9_zeros_that_were_written_are_not_missing() {
    let vfs = MemVfs::default();
    let mut store = create(&vfs, Some(&voters(3)), options()).unwrap();
    let mut mixed = vec![0; 2000];
    mixed[1500..].fill(9);
    store.write(&append(vec![entry(1, 2, mixed)])).unwrap();
    let mut image = vfs.image();
    image.get_mut(FIRST).unwrap()[2 * BLOCK + 96 + 24 + 1700] ^= 1;
    assert_eq!(cases(&report(&image)), [Case::Suspect]);
}

#[test]
fn r9_a_single_voter_is_refused_unless_the_loss_is_accepted() {
    let (vfs, store, mut model) = journal_of(1, 4);
    drop(store);
    let mut image = vfs.image();
    image.get_mut(FIRST).unwrap()[4 * BLOCK + 100] ^= 1;
    let vfs = MemVfs::of(&image);
    assert!(matches!(open(&vfs, options()).err(), Some(OpenError::Corrupt(_))));
    assert_eq!(vfs.image(), image, "nothing was changed");
    let store = open(&vfs, options().accept_loss(true)).unwrap();
    assert_eq!(store.load().unwrap().verdict, Verdict::SuspectTail { from: Index(4) });
    model.entries.pop();
    assert_eq!(Model::of(&store), model);
    drop(store);
    assert_eq!(Model::of(&open(&vfs, options()).unwrap()), model);
}

#[test]
fn r9_probation_stays_until_it_is_taken_back() {
    let (mut image, _) = image(4);
    image.get_mut(FIRST).unwrap()[4 * BLOCK + 100] ^= 1;
    let vfs = MemVfs::of(&image);
    drop(open(&vfs, options()).unwrap());
    let mut store = open(&vfs, options()).unwrap();
    let hard_state = store.load().unwrap().hard_state;
    assert!(hard_state.probation);
    let mut write = append(vec![entry(1, 4, "again")]);
    write.hard_state = Some(vote(1, 2));
    store.write(&write).unwrap();
    drop(store);
    let store = open(&vfs, options()).unwrap();
    assert!(!store.load().unwrap().hard_state.probation);
    assert_eq!(store.load().unwrap().last, LogId::new(1, 4));
}

#[test]
fn r11_a_clean_end() {
    let (vfs, mut store, model) = journal(4);
    store.close().unwrap();
    drop(store);
    let image = vfs.image();
    assert!(report(&image).is_clean());
    let (verdict, found, _) = recover(&image);
    assert_eq!((verdict, found), (Verdict::Clean, model));
}

/// A write may be cut at any byte by the system and completed by the next call. A sector of which the first call
/// wrote a part may be found so after a crash, with later ones in place: that would not look like a tear (simulator
/// seed 308232).
#[test]
fn a_write_in_two_pieces_that_was_torn_looks_torn() {
    let mut torn = 0;
    for piece in [1, 60, 87, 88, 123, 300, 511, 513, 700, 1300] {
        let (vfs, mut store, model) = journal(2);
        let before = vfs.op_count();
        vfs.set_fault(Some(Fault::OddWrites(piece)));
        store.write(&append(vec![entry(1, 3, data(3, 900)), entry(1, 4, data(4, 700))])).unwrap();
        let ops = vfs.ops();
        let mut point = CrashPoint::of(&Image::new());
        let mut rng = Rng(piece as u64);
        for (n, op) in ops.iter().enumerate() {
            point.advance(op);
            if n < before {
                continue;
            }
            let plan = Plan { exhaustive: 8, sampled: 40, steps: 8 };
            point.crashes(Mode::Atomic, plan, &mut rng, &mut |image, _| {
                let found = report(image);
                let left_out = Verdict::TornTail { discarded_from: Index(3) };
                assert!(found.verdict == Verdict::Clean || found.verdict == left_out, "{piece}: {found:?}");
                assert!(found.last.index == Index(4) || found.last == model.last(), "{piece}: {found:?}");
                torn += u32::from(found.verdict == left_out);
            });
        }
    }
    assert!(torn > 40, "{torn}");
}
