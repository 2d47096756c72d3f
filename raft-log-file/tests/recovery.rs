//! One test for each row of the recovery table, made by damaging a real journal.

mod support;

use raft_core::backend::{OpenError, Verdict};
use raft_core::ids::{Index, LogId};
use raft_log_file::{Case, Options, Report, Store, verify};
use support::{
    CrashPoint, Fault, Image, MemVfs, Mode, Model, Op, Plan, Rng, append, create, data, entry, open, options,
    peer, vote, voters,
};

const BLOCK: usize = 4096;
const FIRST: &str = "seg-0000000000000001.log";

/// A journal of three voters with entries up to `last`, each in a batch of its own; nothing is marked.
fn journal(last: u64) -> (MemVfs, Store, Model) {
    journal_of(3, last)
}

fn journal_of(members: u64, last: u64) -> (MemVfs, Store, Model) {
    let vfs = MemVfs::default();
    let initial = voters(members);
    let mut store = create(&vfs, Some(&initial), options().segment_bytes(8 * BLOCK as u64)).unwrap();
    let mut model = Model::new(Some(&initial));
    let mut write = append(Vec::new());
    write.hard_state = Some(vote(1, 2));
    write.known_peers = Some(vec![peer(2)]);
    store.write(&write).unwrap();
    model.write(&write);
    for index in 2..=last {
        let write = append(vec![entry(1, index, data(index, 1500))]);
        store.write(&write).unwrap();
        model.write(&write);
    }
    (vfs, store, model)
}

fn image(last: u64) -> (Image, Model) {
    let (vfs, _store, model) = journal(last);
    (vfs.image(), model)
}

/// Opens it; what it finds must come again, cleanly, at the next opening.
fn recover(image: &Image) -> (Verdict, Model, MemVfs) {
    let vfs = MemVfs::of(image);
    let store = open(&vfs, Options::default()).unwrap();
    let (verdict, found) = (store.load().unwrap().verdict, Model::of(&store));
    drop(store);
    let store = open(&vfs, Options::default()).unwrap();
    assert_eq!(store.load().unwrap().verdict, Verdict::Clean);
    assert_eq!(Model::of(&store), found);
    (verdict, found, vfs)
}

fn report(image: &Image) -> Report {
    verify(&MemVfs::of(image)).unwrap()
}

/// What was found, but for the segments behind a damage: these are no part of the log any more.
fn cases(report: &Report) -> Vec<Case> {
    report.findings.iter().map(|finding| finding.case).filter(|case| *case != Case::Quarantined).collect()
}

/// What is left when the entries from `from` on are lost and the node knows it.
fn on_probation(mut model: Model, from: u64) -> Model {
    model.entries.retain(|entry| entry.id.index < Index(from));
    model.hard_state.probation = true;
    model
}

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

#[test]
fn r10_a_segment_of_another_store() {
    let (mut image, model) = image(20);
    let other = MemVfs::default();
    let store =
        Store::create(std::sync::Arc::new(other.clone()), support::OWNER, None, options(), 99).unwrap();
    drop(store);
    image.insert(FIRST.into(), other.image()[FIRST].clone());
    let (verdict, found, _) = recover(&image);
    assert!(matches!(verdict, Verdict::Corrupt(_)));
    assert_eq!(found, on_probation(model, 1));
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
