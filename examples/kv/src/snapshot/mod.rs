//! The data as a stream of bytes, and back: what a snapshot of a node holds, and a backup.
//!
//! `docs/kv-snapshot-format.md` has the bytes. Making them takes a moment of the data, which costs nothing (see
//! `store::Trie`), and then piece by piece as long as it takes, beside all other work. Reading builds new
//! data beside the old; it replaces it only when all of it was there and right.

mod decode;
mod encode;
mod format;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{SnapshotError, SnapshotReader, SnapshotSource};

use crate::store::Store;

pub(crate) use decode::{BadSnapshot, Decoder};
pub(crate) use encode::Encoder;

#[async_trait]
impl SnapshotSource for Encoder {
    async fn next(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        Ok(Self::next(self))
    }
}

/// Asked for at a time, in bytes.
const READ_BYTES: usize = 64 << 10;

/// Why a snapshot was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error(transparent)]
    Store(#[from] SnapshotError),
    #[error("the data in the snapshot: {0}")]
    Data(#[from] BadSnapshot),
}

/// Reads data to its end.
///
/// # Errors
/// [`Unreadable`]
///
/// # Cancellation
/// A dropped future has changed nothing.
pub(crate) async fn read(mut reader: Box<dyn SnapshotReader>) -> Result<Store, Unreadable> {
    let (mut decoder, mut offset) = (Decoder::default(), 0);
    loop {
        let piece = reader.read(offset, READ_BYTES).await?;
        if piece.is_empty() {
            return Ok(decoder.finish()?);
        }
        offset += piece.len() as u64;
        decoder.push(&piece)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Op;
    use crate::resp::Reply;

    fn run(store: &mut Store, op: Op, args: &[&[u8]]) {
        let mut reply = Reply::default();
        store.execute(op, args, &mut reply);
        assert!(!reply.into_bytes().starts_with(b"-"));
    }

    /// Some of everything; a value of each kind is larger than a piece.
    fn sample() -> Store {
        let mut store = Store::default();
        run(&mut store, Op::Set, &[b"", b""]);
        run(&mut store, Op::Set, &[b"long", &vec![b'x'; 300_000]]);
        run(&mut store, Op::Del, &[b"none"]);
        for number in 0..9000_u32 {
            let text = number.to_string().repeat(3).into_bytes();
            run(&mut store, Op::RPush, &[b"list", &text]);
            run(&mut store, Op::HSet, &[b"hash", &text, b"value"]);
            run(&mut store, Op::SAdd, &[b"set", &text]);
            run(&mut store, Op::Set, &[&text, &text]);
        }
        run(&mut store, Op::LPush, &[b"l", &vec![b'y'; 200_000], b"z", b""]);
        store
    }

    fn encode(store: &Store) -> Vec<Bytes> {
        let mut encoder = Encoder::new(store.clone());
        std::iter::from_fn(|| encoder.next()).collect()
    }

    fn decode(pieces: &[impl AsRef<[u8]>]) -> Result<Store, BadSnapshot> {
        let mut decoder = Decoder::default();
        pieces.iter().try_for_each(|piece| decoder.push(piece.as_ref()))?;
        decoder.finish()
    }

    #[test]
    fn everything_comes_back_whatever_the_pieces() {
        for store in [Store::default(), sample()] {
            let pieces = encode(&store);
            let whole = pieces.concat();
            assert!(pieces.iter().all(|piece| piece.len() < 300_000), "no piece takes long");
            for size in [1, 7, 64 << 10, whole.len()] {
                let cut: Vec<&[u8]> =
                    whole.chunks(size).take(if size == 1 { 1 << 30 } else { 1 << 20 }).collect();
                let read = decode(&cut).unwrap();
                assert_eq!((read.len(), read.changes), (store.len(), store.changes));
                assert!(encode(&read).concat() == whole, "in pieces of {size}");
                assert_eq!(read.version(b"list"), store.version(b"list"));
            }
        }
    }

    #[test]
    fn a_moment_stays_what_it_was() {
        let mut store = sample();
        let before = encode(&store).concat();
        let mut encoder = Encoder::new(store.clone());
        let mut read = encoder.next().unwrap().to_vec();
        run(&mut store, Op::Append, &[b"long", b"more"]);
        run(&mut store, Op::RPush, &[b"list", b"more"]);
        run(&mut store, Op::LPop, &[b"list"]);
        run(&mut store, Op::HSet, &[b"hash", b"000", b"other", b"new", b"x"]);
        run(&mut store, Op::SRem, &[b"set", b"111"]);
        run(&mut store, Op::Del, &[b"222", b""]);
        read.extend_from_slice(&encoder.next().unwrap());
        run(&mut store, Op::FlushAll, &[]);
        while let Some(piece) = encoder.next() {
            read.extend_from_slice(&piece);
        }
        assert!(read == before);
        assert_eq!((store.len(), decode(&[read]).unwrap().len()), (0, 9006));
    }

    #[test]
    fn what_is_cut_changed_or_foreign_is_refused() {
        let mut store = Store::default();
        run(&mut store, Op::Set, &[b"k", b"value"]);
        run(&mut store, Op::RPush, &[b"l", b"a", b"b"]);
        run(&mut store, Op::HSet, &[b"h", b"f", b"v", b"g", b"w"]);
        run(&mut store, Op::SAdd, &[b"s", b"m", b"n"]);
        let whole = encode(&store).concat();
        for length in 0..whole.len() {
            assert_eq!(decode(&[&whole[..length]]).err(), Some(BadSnapshot::Short), "{length}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&[flipped]).is_err(), "bit {bit}");
        }
        assert_eq!(decode(&[b"REDIS0011"]).err(), Some(BadSnapshot::Foreign));
        assert!(decode(&[&whole[..], b"x"]).is_err());
        let mut later = whole.clone();
        later[4] = 2;
        assert_eq!(decode(&[later]).err(), Some(BadSnapshot::Version(2)));
    }

    /// The bytes of version 1.
    #[test]
    fn golden_v1() {
        let mut store = Store::default();
        run(&mut store, Op::Set, &[b"k", b"value"]);
        run(&mut store, Op::RPush, &[b"l", b"a", b"bc"]);
        run(&mut store, Op::HSet, &[b"h", b"f", b"v", b"g", b"w"]);
        run(&mut store, Op::SAdd, &[b"s", b"m", b"n"]);
        run(&mut store, Op::Del, &[b"none"]);
        let hex: String = encode(&store).concat().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("golden_v1.txt").trim());
    }
}
