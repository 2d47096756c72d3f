//! What a disk may give back: any bytes under any names, and a valid journal after some edits.
//!
//! An input is a journal to begin with and a list of edits. Two kinds of it:
//! * Rot: the edits are all that happens. Then there is an oracle: the journal's own history. What is found
//!   was in it, nothing acknowledged is lost without being noticed, and the vote is the last one.
//! * Malice: afterwards all checksums and chains are made good again, by code of this file that follows
//!   `docs/journal-format.md` and knows nothing of the sources. Then nothing must break.
#![cfg_attr(fuzzing, no_main)]
#![allow(dead_code, reason = "parts of the driver and of the disk")]

#[path = "../../xtask/fuzz/mod.rs"]
mod fuzz;
mod support;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crc32c::{crc32c, crc32c_append};
use fuzz::edits::{Places, edit};
use fuzz::{Allowance, Input, Target};
use raft_core::backend::Verdict;
use raft_core::ids::{Index, LogId};
use raft_log_file::vfs::Vfs;
use raft_log_file::{Store, verify};
use support::{Image, MemVfs, Model, append, create, data, entry, open, options, peer, vote, voters};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const BLOCK: usize = 4096;

/// What reading and opening of the largest journal here takes, a few times; with what the disk of these
/// tests remembers.
const ALLOWANCE: Allowance = Allowance::new(12 << 20, 64);

fuzz::targets! {
    journal = JOURNAL;
    journal_sealed = JOURNAL_SEALED;
    slots = SLOTS;
    reading = READING;
}

/// Rot anywhere in a journal.
const JOURNAL: Target = Target {
    name: "journal",
    run: |input| rot(input, false),
    seeds,
    words: &[b"RSLT", b"RBAT", b"RFOT", b"SUPR", b"HARD", b"PEER", b"SEGM"],
    allowance: ALLOWANCE,
    longest: 512,
    plain: 300,
};

/// Malice anywhere in a journal.
const JOURNAL_SEALED: Target = Target {
    name: "journal-sealed",
    run: malice,
    seeds,
    words: &[b"RSLT", b"RBAT", b"RFOT", b"SUPR", b"HARD", b"PEER", b"SEGM"],
    allowance: ALLOWANCE,
    longest: 512,
    plain: 300,
};

/// Rot in the slots: superblock, hard state, known peers.
const SLOTS: Target = Target {
    name: "slots",
    run: |input| rot(input, true),
    seeds,
    words: &[b"RSLT", b"SUPR", b"HARD", b"PEER"],
    allowance: ALLOWANCE,
    longest: 256,
    plain: 300,
};

/// Rot behind the back of an open journal: what is read was written, or it is an error.
const READING: Target = Target {
    name: "reading",
    run: |input| {
        let mut input = Input(input);
        let base = &bases()[usize::from(input.byte()) % COMPLETE];
        let vfs = MemVfs::of(&base.image);
        let store = open(&vfs, options()).unwrap();
        let model = Model::of(&store);
        let segments: Vec<String> = vfs.image().into_keys().filter(|name| name.starts_with("seg-")).collect();
        for _ in 0..4 {
            let file = vfs.open(&segments[input.below(segments.len())]).unwrap();
            let at = PLACES[input.below(PLACES.len())] + usize::from(input.byte());
            let mut bytes = [0; 64];
            let count = input.below(64).min(file.pread(&mut bytes, at as u64).unwrap());
            match input.byte() % 3 {
                0 => bytes[..count].fill(0),
                1 => bytes[count / 2] ^= 1 << (input.byte() % 8),
                _ => bytes[..count].iter_mut().zip(input.bytes(count)).for_each(|(old, new)| *old = *new),
            }
            file.pwrite(&bytes[..count], at as u64).unwrap();
        }
        let (first, last) = (model.purged.index.0 + 1, model.last().index.0);
        let from = first + input.below(1 + (last + 1 - first) as usize) as u64;
        let limit = if input.byte() % 2 == 0 { u64::MAX } else { 1 + u64::from(input.word()) };
        if let Ok(entries) = store.reader().entries(Index(from)..Index(last + 1), limit) {
            let expected = model.entries.iter().filter(|entry| entry.id.index.0 >= from);
            assert!(entries.iter().zip(expected.clone()).all(|(found, written)| found == written));
            assert!(entries.len() <= expected.count() && (from > last || !entries.is_empty()));
        }
    },
    seeds: || {
        let one = |base: u8, place: u8, what: u8| vec![base, 1, 0, place, 0, 90, 40, 0, what, 3];
        let all = |what: u8| (0..6).flat_map(move |base| (5..10).map(move |place| one(base, place, what)));
        (0..3).flat_map(all).collect()
    },
    words: &[b"RBAT", b"RFOT"],
    allowance: ALLOWANCE,
    longest: 256,
    plain: 1000,
};

/// How many of the journals can be opened as they are.
const COMPLETE: usize = 8;

/// A journal to begin with.
struct Base {
    image: Image,
    /// What it held after each write, and holds.
    history: Vec<Model>,
    /// Its end is marked: every entry is proved durable.
    marked: bool,
}

/// The journals to begin with, made once.
fn bases() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| {
        let empty = Base { image: Image::new(), history: vec![Model::default()], marked: false };
        let many = (0..6).map(|n| base(3, n % 2 == 0, [2, 2, 9, 9, 5, 5][n]));
        many.chain([base(1, true, 4), base(0, true, 4), unfinished(), empty]).collect()
    })
}

/// A journal with the first so many of these writes, openings and purges.
fn base(members: u64, marked: bool, steps: usize) -> Base {
    let vfs = MemVfs::default();
    let initial = (members > 0).then(|| voters(members));
    let mut store = create(&vfs, initial.as_ref(), options()).unwrap();
    let mut model = Model::new(initial.as_ref());
    let mut history = vec![Model::default(), model.clone()];
    let next = model.last().index.0 + 1;
    let mut first =
        append(vec![entry(1, next, data(2, 300)), entry(1, next + 1, ""), entry(1, next + 2, data(4, 2000))]);
    first.hard_state = Some(vote(2, 3));
    first.known_peers = Some((2..20).map(peer).collect());
    let mut cut = append(vec![entry(2, next + 1, data(5, 10)), entry(2, next + 2, vec![0; 700])]);
    cut.truncate_from = Some(Index(next + 1));
    let writes = [
        first,
        cut,
        append(vec![entry(2, next + 3, data(6, 100))]),
        append(vec![entry(2, next + 4, data(7, 5000))]),
        append(vec![entry(2, next + 5, data(8, 1000))]),
        append(vec![entry(2, next + 6, data(9, 10))]),
    ];
    for (n, write) in writes.iter().enumerate().take(steps) {
        store.write(write).unwrap();
        model.write(write);
        history.push(model.clone());
        if n == 2 {
            drop(store);
            store = open(&vfs, options()).unwrap();
        }
        if n == 3 {
            let job = store.spare_job();
            store.install_spare(job.unwrap().run());
        }
    }
    if steps > 6 {
        let upto = LogId::new(2, next + 2);
        store.purge(upto).unwrap();
        model.purge(upto);
    }
    if marked {
        store.close().unwrap();
    }
    history.push(model);
    Base { image: vfs.image(), history, marked }
}

/// A creation that was cut.
fn unfinished() -> Base {
    let vfs = MemVfs::default();
    drop(create(&vfs, Some(&voters(3)), options()).unwrap());
    let mut image = vfs.image();
    let named = image.remove("super.a").unwrap();
    image.insert("super.a.tmp".into(), named);
    Base { image, history: vec![Model::default(), Model::new(Some(&voters(3)))], marked: false }
}

/// Where there may be something.
const PLACES: [usize; 12] = [0, 32, 64, 512, 2048, 4096, 8192, 8288, 12_288, 16_384, 20_480, 1024];

/// All files of a journal.
const ALL: Places = Places {
    offsets: &PLACES,
    is_file: |_| true,
    others: &[
        "seg-ffffffffffffffff.log",
        "seg-0000000000000001.log",
        "seg-0000000000000004.log",
        "seg-0000000000000000.log",
        "super.a",
        "hs.b",
        "seg-0000000000000002.log.tmp",
        "LOCK",
    ],
};

/// Those with slots.
const IN_SLOTS: Places =
    Places { is_file: |name| !name.starts_with("seg-"), others: &["super.a", "hs.b"], ..ALL };

/// Whether the log of `found` is the beginning of the other's, up to what was purged of either.
fn is_prefix(found: &Model, other: &Model) -> bool {
    found.entries.iter().zip(found.purged.index.0 + 1..).all(|(entry, index)| {
        let at = |known: &&raft_core::entry::Entry| known.id.index.0 == index;
        entry.id.index.0 == index && other.entries.iter().find(at).is_none_or(|known| known == entry)
    }) && found.last() <= other.last()
}

fn rot(input: &[u8], slots_only: bool) {
    let mut input = Input(input);
    let bases = bases();
    let base = &bases[usize::from(input.byte()) % bases.len()];
    let edited = edit(&base.image, &mut input, if slots_only { &IN_SLOTS } else { &ALL });
    let vfs = MemVfs::of(&edited.image);
    let scrubbed = verify(&vfs);
    assert_eq!(vfs.op_count(), 0, "the scrub changes something");
    let opened = open(&vfs, options());
    let model = base.history.last().unwrap();
    let Ok(store) = opened else {
        assert!(edited.edits > 0 || !base.marked, "{:?}", opened.err());
        return;
    };
    let (verdict, found) = (store.load().unwrap().verdict, Model::of(&store));
    if scrubbed.is_ok_and(|report| report.is_clean()) {
        assert_eq!((&verdict, store.findings().len()), (&Verdict::Clean, 0), "the scrub saw nothing");
    }
    let past = base.history.iter().any(|model| is_prefix(&found, model));
    assert!(past, "what is found never was: {found:?}");
    let (vote, last_vote) = (found.hard_state, model.hard_state);
    assert_eq!((vote.term, vote.vote), (last_vote.term, last_vote.vote));
    assert!(base.history.iter().any(|model| model.peers == found.peers));
    let noticed = !matches!(verdict, Verdict::Clean | Verdict::TornTail { .. });
    assert_eq!(noticed, vote.probation, "{verdict:?}");
    // Where the end is not marked, missing sectors of the last batch are a torn write; one byte is not.
    let noticeable = edited.small && (base.marked || is_one_byte(&base.image, &edited.image));
    if edited.edits == 0 || edited.edits == 1 && noticeable {
        assert!(noticed || found.entries == model.entries, "lost without a word: {found:?}, {verdict:?}");
        assert!(noticed || found.purged == model.purged);
    }
    go_on(store, &vfs, &found);
}

/// Whether the images differ in one byte.
fn is_one_byte(before: &Image, after: &Image) -> bool {
    let same_names = before.keys().eq(after.keys());
    let changed = before.values().zip(after.values()).filter(|(before, after)| before != after);
    let bytes = changed.map(|(before, after)| {
        let differ = before.iter().zip(after.iter()).filter(|(before, after)| before != after).count();
        differ + before.len().abs_diff(after.len())
    });
    same_names && bytes.sum::<usize>() == 1
}

/// A journal that was opened takes a write, and is sound when it is opened again.
fn go_on(mut store: Store, vfs: &MemVfs, found: &Model) {
    let last = found.last();
    let mut expected = found.clone();
    let write = append(vec![entry(last.term.0, last.index.0 + 1, "and so on")]);
    store.write(&write).unwrap();
    expected.write(&write);
    drop(store);
    let again = open(vfs, options()).unwrap();
    assert_eq!(Model::of(&again), expected);
    assert_eq!(again.load().unwrap().verdict, Verdict::Clean);
}

fn malice(input: &[u8]) {
    let mut input = Input(input);
    let bases = bases();
    let base = &bases[usize::from(input.byte()) % bases.len()];
    let mut edited = edit(&base.image, &mut input, &ALL);
    seal(&mut edited.image);
    let vfs = MemVfs::of(&edited.image);
    let scrubbed = verify(&vfs);
    let Ok(mut store) = open(&vfs, options()) else { return };
    assert!(scrubbed.is_ok(), "{scrubbed:?}");
    let state = store.load().unwrap();
    let (from, to) = (state.purged.index.0.saturating_add(1), state.last.index.0.saturating_add(1));
    if let Ok(entries) = store.reader().entries(Index(from)..Index(to), 1 << 20) {
        assert!(entries.iter().zip(from..).all(|(entry, index)| entry.id.index.0 == index));
    }
    // Whatever it says to these, it says something.
    let next = state.last.index.0.wrapping_add(1);
    let written = store.write(&append(vec![entry(state.last.term.0, next, "and so on")]));
    let _ = written.map(|()| store.purge(state.last));
    let _ = store.close();
    drop(store);
    let _ = open(&vfs, options());
}

/// The numbers of a batch's header.
struct Head {
    count: usize,
    extent: usize,
    first_index: u64,
}

/// Makes everything good that covers something else, as far as it can be told what it covers.
fn seal(image: &mut Image) {
    for (name, stride) in [("super", BLOCK), ("hs", BLOCK), ("peers", 2 * BLOCK)] {
        for end in [".a", ".b"] {
            if let Some(bytes) = image.get_mut(&format!("{name}{end}")) {
                seal_slot(bytes, stride);
            }
        }
    }
    // By segment: after which offset which chain.
    let mut chains: BTreeMap<u64, BTreeMap<u64, u64>> = BTreeMap::new();
    let mut before = 0;
    for (_, bytes) in image.iter_mut().filter(|(name, _)| name.starts_with("seg-")) {
        let word = |at: usize| u64_at(bytes, 32 + at);
        let (store, seq, salt) = (bytes.get(32..48).map(<[u8]>::to_vec), word(16), word(24));
        let Some(store) = store else { continue };
        let (origin, prev, valid) = (word(40), word(48), word(56));
        if origin == 1 {
            if let Some(chain) = chains.get(&prev).and_then(|chains| chains.get(&valid)) {
                put(bytes, 32 + 72, &chain.to_le_bytes());
                let half = bytes.len().min(2048);
                let (first, second) = bytes.split_at_mut(half);
                if let (Some(from), Some(to)) = (first.get(32..112), second.get_mut(32..112)) {
                    to.copy_from_slice(from);
                }
            }
            before = u64_at(bytes, 32 + 72);
        }
        seal_slot(bytes, 2048);
        let seed = crc32c_append(crc32c_append(crc32c(&store), &seq.to_le_bytes()), &salt.to_le_bytes());
        let known = chains.entry(seq).or_default();
        let mut at = BLOCK;
        while let Some(end) = seal_batch(bytes, at, seed, &mut before) {
            at = end;
            known.insert(at as u64, before);
        }
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at.saturating_add(8)).map_or(0, |word| u64::from_le_bytes(word.try_into().unwrap()))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u64_at(bytes, at) as u32
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// Both copies of a record.
fn seal_slot(bytes: &mut [u8], stride: usize) {
    for copy in bytes.chunks_mut(stride).take(2) {
        let end = 32_usize.saturating_add(u32_at(copy, 24) as usize);
        if let Some(crc) = copy.get(8..end).map(crc32c) {
            put(copy, 4, &crc.to_le_bytes());
        }
    }
}

/// A batch: the checksums of its header, entries and footer, and the chain. Says where the next one is.
fn seal_batch(bytes: &mut [u8], at: usize, seed: u32, chain: &mut u64) -> Option<usize> {
    let rest = bytes.get_mut(at..).filter(|rest| rest.starts_with(b"RBAT") && rest.len() >= 96)?;
    let seed = crc32c_append(seed, &(at as u64).to_le_bytes());
    put(rest, 16, &chain.to_le_bytes());
    let body = usize::try_from(u64_at(rest, 72)).ok()?;
    let extent = body.checked_add(128).filter(|extent| *extent <= rest.len());
    let head =
        Head { count: u32_at(rest, 68) as usize, extent: extent.unwrap_or(0), first_index: u64_at(rest, 48) };
    let crc = crc32c_append(seed, &rest[8..96]);
    put(rest, 4, &crc.to_le_bytes());
    let extent = extent?;
    seal_entries(rest, seed, &head);
    let new = xxh3_64_with_seed(&rest[..extent - 32], *chain);
    let footer_at = extent - 32;
    let (batch, length) = (u64_at(rest, 8), u64_at(rest, 72));
    put(rest, footer_at, b"RFOT");
    put(rest, footer_at + 8, &batch.to_le_bytes());
    put(rest, footer_at + 16, &length.to_le_bytes());
    put(rest, footer_at + 24, &new.to_le_bytes());
    let crc = crc32c_append(seed, &rest[footer_at + 8..extent]);
    put(rest, footer_at + 4, &crc.to_le_bytes());
    *chain = new;
    Some(at + extent.next_multiple_of(BLOCK))
}

fn seal_entries(rest: &mut [u8], seed: u32, head: &Head) {
    let mut data_at = head.count.saturating_mul(24).saturating_add(96);
    for n in 0..head.count {
        let record = 96 + n * 24;
        let length = u32_at(rest, record + 8) as usize;
        let Some(end) = data_at.checked_add(length).filter(|end| *end <= head.extent) else { return };
        let (term, kind) = (u64_at(rest, record), u64_at(rest, record + 16) & 0xff);
        let index = head.first_index.wrapping_add(n as u64);
        let words = [index, term, kind | (length as u64) << 8];
        let crc = words.iter().fold(seed, |crc, word| crc32c_append(crc, &word.to_le_bytes()));
        let crc = crc32c_append(crc, &rest[data_at..end]);
        put(rest, record + 12, &crc.to_le_bytes());
        data_at = end;
    }
}

/// Each journal as it is, and each kind of edit.
fn seeds() -> Vec<Vec<u8>> {
    let whole = (0..10).map(|base| vec![base]);
    let edits = (0..12).flat_map(|what| {
        [0, 1, 2, 4, 6, 7, 9].map(|file| vec![what % 8, what, file, 5, 16, 3, 1, 0xe0, 7, 9, 200, 1])
    });
    // A bit or a sector of each block of each segment.
    let small = (0..8).flat_map(|base| {
        let files = (4..9).flat_map(move |file| [5, 6, 8, 9].map(move |place| (file, place)));
        files.flat_map(move |(file, place)| [0, 2].map(move |what| vec![base, what, file, place, 130, 3]))
    });
    whole.chain(edits).chain(small).collect()
}

/// What this file believes of the format is what the sources write: sealing changes nothing that is good.
#[cfg(not(fuzzing))]
#[test]
fn sealing_keeps_what_is_good() {
    for base in bases() {
        let mut image = base.image.clone();
        seal(&mut image);
        for (name, bytes) in &image {
            let first = bytes.iter().zip(base.image[name].iter()).position(|(new, old)| new != old);
            assert_eq!(first, None, "{name}");
        }
    }
}
