//! What may be in the file of a backup: any bytes, and good backups after some edits. The sources are compiled in:
//! raft-kv is a program, not a library.
#![cfg_attr(fuzzing, no_main)]
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    reason = "parts of the program, and of the driver"
)]

#[path = "../src/backup/mod.rs"]
mod backup;
#[path = "../src/command.rs"]
mod command;
#[path = "../../../xtask/fuzz/mod.rs"]
mod fuzz;
#[path = "../src/resp/mod.rs"]
mod resp;
#[path = "../src/snapshot/mod.rs"]
mod snapshot;
#[path = "../src/store/mod.rs"]
mod store;

use std::sync::OnceLock;

use backup::{BadBackup, Head, Reader};
use command::Op;
use crc32c::{crc32c, crc32c_append};
use fuzz::{Allowance, Input, Target};
use raft_core::ids::NodeId;
use raft_core::membership::{Member, Membership};
use resp::Reply;
use snapshot::{Decoder, Encoder};
use store::Store;

fuzz::targets! {
    backup = BACKUP;
    backup_sealed = SEALED;
    backup_rot = ROT;
}

/// Room for what is announced, a chunk or a head of 1 MiB, and for the data of what is there.
const ALLOWANCE: Allowance = Allowance::new(3 << 20, 300);

/// The bytes of a file.
const BACKUP: Target = Target {
    name: "backup",
    run: |input| {
        if let Ok(taken) = take(input) {
            check(&taken, input);
        }
    },
    seeds: || bases().iter().map(Base::bytes).collect(),
    words: &[b"RKVB", b"\x01\0\0\0", b"\xff\xff\xff\xff", b"RKVS", b"\0\0\x10\0"],
    allowance: ALLOWANCE,
    longest: 1024,
    plain: 20_000,
};

/// The same with what only somebody's own file has: good checksums around a bad content. The input: the length of the
/// head and the head; then chunks, each with two bytes of length before it.
const SEALED: Target = Target {
    name: "backup-sealed",
    run: |input| {
        let mut input = Input(input);
        let length = input.byte();
        let head = input.bytes(length.into()).to_vec();
        let mut chunks = Vec::new();
        while !input.is_empty() {
            let length = usize::from(input.word()) % 600;
            chunks.push(input.bytes(length).to_vec());
        }
        // A chunk of nothing is the end.
        chunks.retain(|chunk| !chunk.is_empty());
        let bytes = write(&head, &chunks);
        match take(&bytes) {
            Ok(taken) => {
                assert_eq!(taken.chunks, chunks);
                check(&taken, &bytes);
            }
            // The head is all that could not be read.
            Err(BadBackup::Damaged { at: 0, .. }) => {}
            Err(other) => panic!("{other}"),
        }
    },
    seeds: || {
        let input = |base: &Base| {
            let chunks =
                base.chunks.iter().map(|chunk| [&(chunk.len() as u16).to_le_bytes(), &chunk[..]].concat());
            [vec![base.head.len() as u8], base.head.clone(), chunks.collect::<Vec<_>>().concat()].concat()
        };
        bases().iter().map(input).collect()
    },
    words: &[b"RKVS", b"\x01\0\0\0", b"\xff\xff\xff\xff", b"\xff"],
    allowance: ALLOWANCE,
    longest: 1024,
    plain: 10_000,
};

/// A good backup that was damaged: it is said, or it is what it was.
const ROT: Target = Target {
    name: "backup-rot",
    run: rot,
    seeds: || {
        let bases = bases().len() as u8;
        let edits = (0..8).flat_map(|what| (0..5).map(move |at| (what, at)));
        let one = |base: u8| edits.clone().map(move |(what, at)| vec![base, 1, what, at * 13, 0, at, 3]);
        (0..bases).flat_map(one).chain((0..bases).map(|base| vec![base])).collect()
    },
    words: &[],
    allowance: ALLOWANCE,
    longest: 64,
    plain: 10_000,
};

/// What was read of a file.
#[derive(Debug, PartialEq)]
struct Taken {
    head: Head,
    chunks: Vec<Vec<u8>>,
}

fn take(bytes: &[u8]) -> Result<Taken, BadBackup> {
    let mut reader = Reader::new(bytes)?;
    let head = reader.head().clone();
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next()? {
        chunks.push(chunk);
    }
    assert!(matches!(reader.next(), Ok(None)), "nothing comes behind the end");
    Ok(Taken { head, chunks })
}

/// What is taken can be written again, and behind the head in one way only.
fn check(taken: &Taken, bytes: &[u8]) {
    let again = write(&head_bytes(&taken.head), &taken.chunks);
    assert_eq!(take(&again).as_ref().ok(), Some(taken));
    // A membership can be said in more than one way.
    let behind = |bytes: &[u8]| bytes[16 + head_length(bytes)..].to_vec();
    assert_eq!(behind(bytes), behind(&again));
    check_data(&taken.chunks);
}

fn head_length(bytes: &[u8]) -> usize {
    let length = bytes.get(8..12).and_then(<[u8]>::first_chunk);
    length.map_or(0, |four| u32::from_le_bytes(*four) as usize)
}

/// The rest of a head, as the document has it.
fn head_bytes(head: &Head) -> Vec<u8> {
    let numbers = [head.node.0, head.seconds, head.upto.term.0, head.upto.index.0];
    let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
    let mut out: Vec<u8> = head.cluster.0.to_le_bytes().into_iter().chain(numbers).collect();
    if head.membership != Membership::default() {
        out.extend_from_slice(&head.membership.encode());
    }
    out
}

/// A file as the document has it.
fn write(head: &[u8], chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut out = b"RKVB\x01\0\0\0".to_vec();
    out.extend((head.len() as u32).to_le_bytes());
    out.extend(crc32c(head).to_le_bytes());
    out.extend_from_slice(head);
    let (mut total, mut sum) = (0_u64, 0);
    for (number, chunk) in (0_u64..).zip(chunks) {
        out.extend((chunk.len() as u32).to_le_bytes());
        out.extend(crc32c_append(crc32c(&number.to_le_bytes()), chunk).to_le_bytes());
        out.extend_from_slice(chunk);
        total += chunk.len() as u64;
        sum = crc32c_append(sum, chunk);
    }
    let end = [&total.to_le_bytes()[..], &sum.to_le_bytes()].concat();
    out.extend([0; 4]);
    out.extend(crc32c_append(crc32c(&(chunks.len() as u64).to_le_bytes()), &end).to_le_bytes());
    out.extend(end);
    out
}

/// The data in chunks, if it is some, is written again as it was.
fn check_data(chunks: &[Vec<u8>]) {
    let mut decoder = Decoder::default();
    if chunks.iter().try_for_each(|chunk| decoder.push(chunk)).is_err() {
        return;
    }
    if let Ok(store) = decoder.finish() {
        assert_eq!(data(store), chunks.concat());
    }
}

fn data(store: Store) -> Vec<u8> {
    let mut encoder = Encoder::new(store);
    std::iter::from_fn(|| encoder.next()).flatten().collect()
}

/// A good backup.
struct Base {
    head: Vec<u8>,
    chunks: Vec<Vec<u8>>,
}

impl Base {
    fn bytes(&self) -> Vec<u8> {
        write(&self.head, &self.chunks)
    }
}

/// Backups of one cluster whose chunks are of one size, so that those of one fit in another.
fn bases() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| {
        let full = |n: u8| {
            let mut store = Store::default();
            let commands: [(Op, &[&[u8]]); 4] = [
                (Op::Set, &[b"key", &[n; 40]]),
                (Op::RPush, &[b"list", b"a", b"bc", &[n]]),
                (Op::HSet, &[b"hash", b"f", b"v", b"g", &[n]]),
                (Op::SAdd, &[b"set", b"m", b"", &[n]]),
            ];
            for (op, args) in commands {
                store.execute(op, args, &mut Reply::default());
            }
            data(store)
        };
        let head = |index: u64, members: u64| {
            let numbers = [7, 0, 1, 1_700_000_000, 3, index];
            let mut head: Vec<u8> = numbers.iter().flat_map(|number: &u64| number.to_le_bytes()).collect();
            if members > 0 {
                let members = (1..=members).map(|id| Member::new(NodeId(id), format!("host-{id}:7100")));
                head.extend_from_slice(&Membership::of_voters(members).unwrap().encode());
            }
            head
        };
        let cut = |data: Vec<u8>| data.chunks(32).map(<[u8]>::to_vec).collect();
        vec![
            Base { head: head(70, 3), chunks: cut(full(1)) },
            Base { head: head(71, 3), chunks: cut(full(2)) },
            Base { head: head(70, 0), chunks: cut(data(Store::default())) },
            Base { head: head(9, 1), chunks: vec![full(3)] },
        ]
    })
}

/// Damages a backup in up to four ways, with parts of another.
fn rot(input: &[u8]) {
    let mut input = Input(input);
    let bases = bases();
    let base = &bases[usize::from(input.byte()) % bases.len()];
    let other = bases[usize::from(input.byte()) % bases.len()].bytes();
    let whole = base.bytes();
    let mut bytes = whole.clone();
    // Heads and chunks begin here.
    let mut starts = vec![0, 16 + base.head.len()];
    for chunk in &base.chunks {
        starts.push(starts.last().unwrap() + 8 + chunk.len());
    }
    for _ in 0..4 {
        if input.is_empty() || bytes.is_empty() {
            break;
        }
        edit(&mut bytes, &other, &starts, &mut input);
    }
    match take(&bytes) {
        Err(BadBackup::Io(error)) => panic!("{error}"),
        // It is said.
        Err(error) => assert!(bytes != whole && !error.to_string().is_empty(), "{error}"),
        Ok(taken) => {
            // Nothing in a file says that its head and what is behind it belong together, but their place.
            let heads = bases.iter().filter_map(|base| take(&base.bytes()).ok()).map(|known| known.head);
            assert!(heads.into_iter().any(|known| known == taken.head), "{:?}", taken.head);
            assert!(bases.iter().any(|known| known.chunks == taken.chunks), "{:?}", taken.chunks);
        }
    }
}

fn edit(bytes: &mut Vec<u8>, other: &[u8], starts: &[usize], input: &mut Input<'_>) {
    let what = input.byte() % 8;
    let at = input.below(bytes.len());
    let part = input.below(starts.len() - 1);
    let (from, to) = (starts[part].min(bytes.len()), starts[part + 1].min(bytes.len()));
    let length = input.below(bytes.len() - at) + 1;
    match what {
        0 => bytes[at] ^= 1 << (length % 8),
        1 => bytes[at..at + length].fill(0),
        2 => bytes.truncate(at),
        3 => bytes.extend_from_slice(&other[..length.min(other.len())]),
        // A chunk, or the head, is missing, is there twice, or is that of the other file.
        4 => drop(bytes.drain(from..to)),
        5 => {
            let twice = bytes[from..to].to_vec();
            bytes.splice(to..to, twice);
        }
        6 => {
            let theirs = other.get(from..to).unwrap_or_default().to_vec();
            bytes.splice(from..to, theirs);
        }
        // Anything of the other file.
        _ => {
            let theirs = other.get(at..(at + length).min(other.len())).unwrap_or_default().to_vec();
            bytes.splice(at..at + length, theirs);
        }
    }
}

/// What this file believes of the format is what the sources write.
#[cfg(not(fuzzing))]
#[test]
fn the_sources_write_what_the_document_says() {
    let cluster = raft_core::ids::ClusterId(7);
    let mut store = Store::default();
    store.execute(Op::Set, &[b"key", b"value"], &mut Reply::default());
    let membership = Membership::of_voters([Member::new(NodeId(1), "here:1")]).unwrap();
    let mut stream = backup::Stream::new(cluster, NodeId(1), membership, store);
    let bytes: Vec<u8> = std::iter::from_fn(|| stream.next()).flatten().collect();
    let Taken { head, chunks } = take(&bytes).unwrap();
    assert_eq!(write(&head_bytes(&head), &chunks), bytes);
}
