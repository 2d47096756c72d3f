//! Every single byte of a small journal with acknowledged entries, changed: it is detected at opening,
//! at reading or by the scrub, or it holds nothing. And never is anything wrong handed out.

mod support;

use raft_core::backend::{OpenError, Verdict};
use raft_core::ids::LogId;
use raft_log_file::verify;
use support::{Image, MemVfs, Model, Rng, append, create, data, entry, open, options, peer, vote, voters};

/// A journal that has been through everything: rotation, truncation, a mark, opening, purging. With it
/// what its log was after each write.
fn journal(marked: bool) -> (Image, Vec<Model>) {
    let vfs = MemVfs::default();
    let initial = voters(3);
    let mut store = create(&vfs, Some(&initial), options()).unwrap();
    let mut model = Model::new(Some(&initial));
    let mut history = Vec::new();
    let mut writes = [
        append(vec![entry(1, 2, data(2, 300)), entry(1, 3, ""), entry(1, 4, data(4, 2000))]),
        append(vec![entry(2, 3, data(5, 10)), entry(2, 4, vec![0; 700])]),
        append(vec![entry(2, 5, data(6, 100))]),
        append(vec![entry(2, 6, data(7, 1000))]),
    ];
    writes[0].hard_state = Some(vote(2, 3));
    writes[0].known_peers = Some((2..20).map(peer).collect());
    writes[1].truncate_from = Some(raft_core::ids::Index(3));
    for (n, write) in writes.iter().enumerate() {
        store.write(write).unwrap();
        model.write(write);
        history.push(model.clone());
        if n == 2 {
            drop(store);
            store = open(&vfs, options()).unwrap();
            let job = store.spare_job();
            store.install_spare(job.unwrap().run());
        }
    }
    store.purge(LogId::new(0, 1)).unwrap();
    model.purge(LogId::new(0, 1));
    if marked {
        store.close().unwrap();
    }
    drop(store);
    assert_eq!(Model::of(&open(&MemVfs::of(&vfs.image()), options()).unwrap()), model);
    history.push(model);
    (vfs.image(), history)
}

/// Whether the log of `found` is the beginning of the other's, up to what was purged of either.
fn is_prefix(found: &Model, other: &Model) -> bool {
    found.entries.iter().zip(found.purged.index.0 + 1..).all(|(entry, index)| {
        let at = |known: &&raft_core::entry::Entry| known.id.index.0 == index;
        entry.id.index.0 == index && other.entries.iter().find(at).is_none_or(|known| known == entry)
    }) && found.last() <= other.last()
}

/// The changed bytes that nothing noticed.
fn unnoticed(image: &Image, history: &[Model], only: &str, change: fn(u8) -> u8) -> Vec<(String, usize)> {
    let names = image.keys().filter(|name| name.starts_with(only));
    // Two halves at the same time.
    let (even, odd): (Vec<_>, Vec<_>) = names.zip(0..).partition(|(_, n)| n % 2 == 0);
    std::thread::scope(|scope| {
        let halves = [even, odd].map(|half| {
            scope.spawn(move || {
                let of = half.into_iter().map(|(name, _)| name);
                of.flat_map(|name| unnoticed_in(image, name, history, change)).collect::<Vec<_>>()
            })
        });
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    })
}

fn unnoticed_in(image: &Image, name: &str, history: &[Model], change: fn(u8) -> u8) -> Vec<(String, usize)> {
    let model = history.last().unwrap();
    let mut silent = Vec::new();
    let bytes = &image[name];
    let mut next = 0;
    while next < bytes.len() {
        let at = next;
        // Behind the records of a slot: that nothing is read there shows for many at once as well.
        let empty = !name.starts_with("seg-") && is_empty(bytes, at) && is_empty(bytes, at + 63);
        let width = if empty { 64 } else { 1 };
        next += width;
        let mut image = image.clone();
        let changed = &mut image.get_mut(name).unwrap()[at..at + width];
        changed.iter_mut().for_each(|byte| *byte = change(*byte));
        if changed == &bytes[at..at + width] {
            continue;
        }
        let vfs = MemVfs::of(&image);
        // Opening sees what the scrub sees; where that is nothing, a sample of openings is enough.
        if verify(&vfs).is_ok_and(|report| report.is_clean()) && at % 16 != 0 {
            silent.push((name.to_owned(), at));
            continue;
        }
        match open(&vfs, options()) {
            Err(OpenError::Corrupt(_)) => {}
            Err(error) => panic!("{name} {at}: {error}"),
            Ok(store) => {
                let (verdict, found) = (store.load().unwrap().verdict, Model::of(&store));
                match verdict {
                    // Nothing was lost: the second, if the byte is behind the end.
                    Verdict::Clean | Verdict::TornTail { .. } => assert_eq!(&found, model, "{name} {at}"),
                    // What is left is right, and the node knows that it lost something.
                    Verdict::SuspectTail { .. } | Verdict::Corrupt(_) => {
                        assert!(found.hard_state.probation, "{name} {at}");
                        let past = history.iter().any(|model| is_prefix(&found, model));
                        assert!(past, "{name} {at}: {found:?}");
                    }
                    verdict => panic!("{name} {at}: {verdict:?}"),
                }
                if verdict == Verdict::Clean && store.findings().is_empty() {
                    assert!(verify(&MemVfs::of(&image)).unwrap().is_clean());
                    silent.push((name.to_owned(), at));
                }
            }
        }
    }
    silent
}

/// Whether nothing is stored at a place of a slot: behind its records.
fn is_empty(slot: &[u8], at: usize) -> bool {
    let copy = slot.len() / 2;
    let start = at - at % copy;
    slot.get(start..start + copy).is_some_and(|bytes| {
        let length = u32::from_le_bytes(bytes[24..28].try_into().unwrap()) as usize;
        at % copy >= 32 + length
    })
}

/// What is not in such a place.
fn outside_of_empty(silent: Vec<(String, usize)>, image: &Image) -> Vec<(String, usize)> {
    let stored = |(name, at): &(String, usize)| name.starts_with("seg-") || !is_empty(&image[name], *at);
    silent.into_iter().filter(stored).collect()
}

#[test]
fn every_byte_with_the_end_marked() {
    let (image, history) = journal(true);
    let silent = unnoticed(&image, &history, "", |byte| byte ^ 0x01);
    assert!(image.keys().any(|name| name == "hs.a") && image.len() > 8);
    assert_eq!(outside_of_empty(silent, &image), []);
}

#[test]
fn every_byte_with_the_end_in_doubt() {
    let (image, history) = journal(false);
    let silent = unnoticed(&image, &history, "seg", |byte| if byte == 0 { 0x80 } else { 0 });
    assert!(image.keys().any(|name| name == "hs.a") && image.len() > 8);
    assert_eq!(outside_of_empty(silent, &image), []);
}

/// An open journal notices when it reads.
#[test]
fn reading_checks() {
    let vfs = MemVfs::default();
    let mut store = create(&vfs, Some(&voters(3)), options()).unwrap();
    store.write(&append((2..6).map(|index| entry(1, index, data(index, 200))).collect())).unwrap();
    let reader = store.reader();
    let range = raft_core::ids::Index(2)..raft_core::ids::Index(6);
    let good = reader.entries(range.clone(), u64::MAX).unwrap();
    let file = raft_log_file::vfs::Vfs::open(&vfs, "seg-0000000000000001.log").unwrap();
    let used = 96 + 4 * (24 + 200);
    let mut wrong = 0;
    for at in 0..used {
        let mut byte = [0];
        file.pread(&mut byte, 8192 + at).unwrap();
        file.pwrite(&[byte[0] ^ 0x20], 8192 + at).unwrap();
        match reader.entries(range.clone(), u64::MAX) {
            Ok(found) => assert_eq!(found, good, "byte {at}"),
            Err(_) => wrong += 1,
        }
        file.pwrite(&byte, 8192 + at).unwrap();
    }
    assert_eq!(wrong, used, "every byte of header, table and payloads counts");
}

/// Whatever is in the files: an answer, no panic, and nothing that was never written.
#[test]
fn arbitrary_damage() {
    let (good, history) = journal(true);
    let mut rng = Rng(11);
    for _ in 0..1500 {
        let mut image = good.clone();
        for _ in 0..rng.below(4) + 1 {
            let names: Vec<String> = image.keys().cloned().collect();
            let name = &names[rng.below(names.len() as u64) as usize];
            let bytes = image.get_mut(name).unwrap();
            let at = rng.below(bytes.len() as u64 + 1) as usize;
            let end = bytes.len().min(at + 1 + rng.below(3000) as usize);
            match rng.below(6) {
                0 => bytes[at.min(end)..end].fill(0),
                1 => bytes[at.min(end)..end].iter_mut().for_each(|byte| *byte = rng.next() as u8),
                2 => bytes.truncate(at),
                3 => {
                    let other = names[rng.below(names.len() as u64) as usize].clone();
                    let copy = good[&other].clone();
                    image.insert(name.clone(), copy);
                }
                4 => drop(image.remove(name)),
                _ => {
                    if at < bytes.len() {
                        bytes[at] ^= 1 << rng.below(8);
                    }
                }
            }
            if image.is_empty() {
                break;
            }
        }
        let vfs = MemVfs::of(&image);
        if let Ok(store) = open(&vfs, options()) {
            let found = Model::of(&store);
            for entry in &found.entries {
                assert!(history.iter().any(|model| model.entries.contains(entry)), "{entry:?}");
            }
        }
    }
}
