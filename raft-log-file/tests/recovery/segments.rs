//! Segments that are missing, unfinished, cut short, of another store, or made aside.

use raft_core::backend::Verdict;
use raft_core::ids::{Index, LogId};
use raft_log_file::{Case, Store};

use crate::support::{MemVfs, Model, OWNER, Op, append, create, data, entry, open, options, voters};
use crate::{BLOCK, FIRST, cases, image, journal, on_probation, recover, report};

/// Every count that is read is counted further at some time: the greatest ones made opening panic (found by
/// fuzzing).
#[test]
fn names_beyond_all_counting_are_no_segments() {
    let (mut image, model) = image(4);
    image.insert("seg-ffffffffffffffff.log".into(), vec![0; BLOCK].into());
    assert!(report(&image).findings.is_empty());
    assert_eq!(recover(&image).1, model);
}

#[test]
fn r4_a_missing_segment() {
    let (vfs, store, model) = journal(20);
    drop(store);
    let all = vfs.image();
    let segments: Vec<&String> = all.keys().filter(|name| name.starts_with("seg-")).collect();
    assert!(segments.len() > 3);
    for name in segments {
        let mut image = all.clone();
        image.remove(name);
        assert_eq!(cases(&report(&image)), [Case::SegmentMissing], "{name}");
        let (verdict, found, _) = recover(&image);
        assert!(matches!(verdict, Verdict::Corrupt(_)), "{verdict:?}");
        let kept = found.entries.len() as u64;
        assert_eq!(found, on_probation(model.clone(), kept + 1));
    }
    // The segment that the last opening has made.
    let vfs = MemVfs::of(&all);
    let mut store = open(&vfs, options()).unwrap();
    store.write(&append(vec![entry(1, 21, "x")])).unwrap();
    drop(store);
    let mut image = vfs.image();
    let last = image.keys().rfind(|name| name.starts_with("seg-")).unwrap().clone();
    image.remove(&last);
    assert_eq!(cases(&report(&image)), [Case::DamageProven], "the superblock has seen more");
    assert!(matches!(recover(&image).0, Verdict::Corrupt(_)));
}

#[test]
fn r5_an_unfinished_segment() {
    let (mut image, model) = image(3);
    image.insert("seg-0000000000000002.log".into(), vec![0; 8 * BLOCK].into());
    image.insert("seg-0000000000000003.log.tmp".into(), vec![7; 100].into());
    assert_eq!(cases(&report(&image)), [Case::SegmentUnfinished]);
    let (verdict, found, vfs) = recover(&image);
    assert_eq!((verdict, found), (Verdict::Clean, model));
    assert!(!vfs.image().contains_key("seg-0000000000000002.log"));
    assert!(!vfs.image().keys().any(|name| name.ends_with(".tmp")));
}

#[test]
fn r9b_a_segment_that_was_cut_short() {
    let (good, model) = image(4);
    for length in [5 * BLOCK, 5 * BLOCK - 3000, 4 * BLOCK, BLOCK, 100, 0] {
        let mut image = good.clone();
        image.get_mut(FIRST).unwrap().truncate(length);
        let (verdict, found, _) = recover(&image);
        assert!(matches!(verdict, Verdict::Corrupt(_)), "{length} bytes: {verdict:?}");
        let kept = found.entries.len() as u64;
        assert_eq!(found, on_probation(model.clone(), kept + 1));
        assert_eq!(kept, (length / BLOCK).saturating_sub(1) as u64);
    }
}

#[test]
fn r10_a_segment_of_another_store() {
    let (mut image, model) = image(20);
    let other = MemVfs::default();
    let store = Store::create(std::sync::Arc::new(other.clone()), OWNER, None, options(), 99).unwrap();
    drop(store);
    image.insert(FIRST.into(), other.image()[FIRST].clone());
    let (verdict, found, _) = recover(&image);
    assert!(matches!(verdict, Verdict::Corrupt(_)));
    assert_eq!(found, on_probation(model, 1));
}

/// A segment that was made aside, and that another one has overtaken, once came after it in the log and before it by
/// number: the next purge removed what was still needed (simulator seeds 18 and 59).
#[test]
fn a_spare_that_was_overtaken_is_not_used() {
    for upto in 2..20 {
        let vfs = MemVfs::default();
        let mut store = create(&vfs, Some(&voters(1)), options()).unwrap();
        let mut last = 1;
        let mut next = |store: &mut Store| {
            last += 1;
            store.write(&append(vec![entry(1, last, data(last, 3000))])).unwrap();
        };
        let job = loop {
            next(&mut store);
            if let Some(job) = store.spare_job() {
                break job;
            }
        };
        // Nobody waits for it: the segment is full, and another one is made at once.
        for _ in 0..3 {
            next(&mut store);
        }
        store.install_spare(job.run());
        for _ in 0..16 {
            next(&mut store);
        }
        store.purge(LogId::new(1, upto)).unwrap();
        next(&mut store);
        drop(store);
        let store = open(&vfs, options()).unwrap();
        let state = store.load().unwrap();
        assert_eq!(state.verdict, Verdict::Clean, "purged through {upto}");
        assert_eq!((state.purged, state.last), (LogId::new(1, upto), LogId::new(1, last)));
        let all = store.reader().entries(Index(upto + 1)..Index(last + 1), u64::MAX).unwrap();
        assert_eq!(all.len() as u64, last - upto);
    }
}

/// Where batches are large, the next segment is reserved and has room for many: nothing is lost between the two kinds, and
/// small batches get small segments again.
#[test]
fn large_batches_get_a_large_segment_that_is_not_written_beforehand() {
    let vfs = MemVfs::default();
    let options = options().reserve_from_bytes(8192);
    let usual = usize::try_from(options.segment_bytes).unwrap();
    let mut store = create(&vfs, Some(&voters(1)), options.clone()).unwrap();
    let (mut last, mut sizes) = (1, Vec::new());
    for length in [7000, 7000, 7000, 7000, 100, 100].into_iter().cycle().take(120) {
        last += 1;
        // Everything is durable at once: only what makes a segment extends or begins a file.
        let before = vfs.op_count();
        if let Some(job) = store.spare_job() {
            store.install_spare(job.run());
            let made = vfs.ops().split_off(before);
            sizes.extend(made.iter().find_map(|op| match op {
                Op::SetLen(_, length) => Some(*length),
                _ => None,
            }));
        }
        store.write(&append(vec![entry(1, last, data(last, length))])).unwrap();
    }
    assert!(sizes.iter().all(|size| *size == 8 * usual) && !sizes.is_empty(), "{sizes:?}");
    drop(store);
    let mut store = open(&vfs, options).unwrap();
    assert_eq!(store.load().unwrap().verdict, Verdict::Clean);
    let all = store.reader().entries(Index(2)..Index(last + 1), u64::MAX).unwrap();
    assert_eq!(all.len() as u64, last - 1);
    let files = vfs.image().len();
    while vfs.image().len() < files + 3 {
        last += 1;
        if let Some(job) = store.spare_job() {
            store.install_spare(job.run());
        }
        store.write(&append(vec![entry(1, last, data(last, 100))])).unwrap();
    }
    let image = vfs.image();
    let newest =
        image.iter().filter(|(name, _)| name.starts_with("seg-")).max_by_key(|(name, _)| (*name).clone());
    let newest = newest.unwrap();
    assert_eq!(newest.1.len(), usual, "{}", newest.0);
}

/// Openings without writes in between take no more space than one.
#[test]
fn opening_again_and_again_leaves_nothing_behind() {
    let (vfs, store, model) = journal(4);
    drop(store);
    let sizes: Vec<usize> = (0..6)
        .map(|_| {
            let store = open(&vfs, options()).unwrap();
            assert_eq!(Model::of(&store), model);
            vfs.image().values().map(|bytes| bytes.len()).sum()
        })
        .collect();
    assert_eq!(sizes[1], sizes[5], "{sizes:?}");
}
