//! The beginning of a snapshot's bytes: what a node keeps beside its state machine. A snapshot's checksums say that it
//! is what a leader has sent, not that the leader meant something. The source is compiled in: it is private.
#![cfg_attr(fuzzing, no_main)]
#![allow(dead_code, reason = "parts of the driver")]

#[path = "../../xtask/fuzz/mod.rs"]
mod fuzz;
#[path = "../src/node/snapshots/stream.rs"]
mod stream;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use fuzz::{Allowance, Input, Target};
use raft_core::backend::{
    SnapshotContent, SnapshotError, SnapshotId, SnapshotMeta, SnapshotReader, SnapshotStore, SnapshotWriter,
};
use raft_core::ids::LogId;
use raft_core::membership::Membership;
use raft_core::session::Table;
// Where the compiled source looks for them.
use raft_core::{backend, session};

fuzz::targets! {
    snapshot_stream = SNAPSHOT_STREAM;
}

/// A stream behind a store that gives it in pieces, and may fail. The input: the most that it gives at once, the most
/// that is asked for, which of its reads fails (0 for none), and the stream.
const SNAPSHOT_STREAM: Target = Target {
    name: "snapshot-stream",
    run,
    seeds: || {
        let table = Bytes::from(Table::new().encode());
        let whole = |state: &Bytes, body: &[u8]| [&stream::header(state).unwrap()[..], body].concat();
        let streams = [
            whole(&Bytes::new(), b""),
            whole(&Bytes::new(), b"what the state machine has"),
            whole(&Bytes::from_static(b"a node's state"), b""),
            whole(&table, b"what the state machine has"),
        ];
        let ways = [[0, 0, 0], [1, 3, 0], [7, 2, 2], [255, 255, 1]];
        streams.iter().flat_map(|all| ways.map(|way| [&way[..], all].concat())).collect()
    },
    words: &[b"\x01\0\0\0\0", b"\x01\0\0\0\x04", b"\xff\xff\xff\xff", b"\x02"],
    // Nothing is made room for because a header announces it.
    allowance: Allowance::new(8 << 10, 800),
    longest: 512,
    plain: 20_000,
};

fn run(input: &[u8]) {
    let mut input = Input(input);
    let (piece, step) = (1 + usize::from(input.byte()), 1 + usize::from(input.byte()));
    let fails_at = u64::from(input.byte()).checked_sub(1);
    let bytes = Bytes::copy_from_slice(input.0);
    let store = Store { bytes: bytes.clone(), piece, fails_at };
    match (wait(stream::open(&store, SnapshotId(1))), parts(&bytes)) {
        (Ok((state, mut body)), Some((known, rest))) => {
            assert_eq!((&state, body.meta().content.total_bytes), (&known, rest.len() as u64));
            if let Ok(read) = read(&mut *body, step, fails_at.is_some()) {
                assert_eq!(read, rest);
                // What was read is what is written.
                assert_eq!([&stream::header(&state).unwrap()[..], &read].concat(), bytes);
            }
        }
        (Err(SnapshotError::NotFound), _) => assert!(fails_at.is_some(), "the store has not failed"),
        (Err(SnapshotError::Corrupt(why)), None) => assert!(why.offset <= stream::FIXED_BYTES as u64),
        (Ok(_), None) => panic!("taken, and is none"),
        (Err(error), _) => panic!("{error:?}"),
    }
}

/// A stream taken apart anew, after `docs/snapshot-format.md`: the node's state and what follows it.
fn parts(bytes: &Bytes) -> Option<(Bytes, Bytes)> {
    let (head, rest) = bytes.split_first_chunk::<5>()?;
    let [version, length @ ..] = *head;
    let length = u32::from_le_bytes(length) as usize;
    (version == 1 && length <= rest.len()).then(|| (bytes.slice(5..5 + length), bytes.slice(5 + length..)))
}

/// All of the state machine's bytes, in steps.
fn read(body: &mut dyn SnapshotReader, step: usize, may_fail: bool) -> Result<Vec<u8>, SnapshotError> {
    let mut out = Vec::new();
    loop {
        let piece = match wait(body.read(out.len() as u64, step)) {
            Err(error) => {
                assert!(may_fail, "{error:?}");
                return Err(error);
            }
            Ok(piece) => piece,
        };
        assert!(piece.len() <= step);
        if piece.is_empty() {
            break;
        }
        out.extend_from_slice(&piece);
    }
    if !may_fail {
        assert_eq!(wait(body.read(u64::MAX, step)), Ok(Bytes::new()), "beyond the end");
    }
    Ok(out)
}

/// Nothing here waits for anybody.
fn wait<T>(what: impl Future<Output = T>) -> T {
    match pin!(what).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}

/// A store with one snapshot.
struct Store {
    bytes: Bytes,
    piece: usize,
    fails_at: Option<u64>,
}

#[async_trait]
impl SnapshotStore for Store {
    async fn latest(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        Ok(None)
    }

    async fn create(
        &self,
        _: SnapshotId,
        _: LogId,
        _: Membership,
    ) -> Result<Box<dyn SnapshotWriter>, SnapshotError> {
        Err(SnapshotError::NoSpace)
    }

    async fn open(&self, id: SnapshotId) -> Result<Box<dyn SnapshotReader>, SnapshotError> {
        let Self { bytes, piece, fails_at } = self;
        let content = SnapshotContent { total_bytes: bytes.len() as u64, checksum: 0 };
        let meta = SnapshotMeta::new(id, LogId::new(2, 9), Membership::default(), content);
        Ok(Box::new(Reading { meta, bytes: bytes.clone(), piece: *piece, fails_at: *fails_at, reads: 0 }))
    }
}

struct Reading {
    meta: SnapshotMeta,
    bytes: Bytes,
    piece: usize,
    fails_at: Option<u64>,
    reads: u64,
}

#[async_trait]
impl SnapshotReader for Reading {
    fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    async fn read(&mut self, offset: u64, max_bytes: usize) -> Result<Bytes, SnapshotError> {
        self.reads += 1;
        if self.fails_at == Some(self.reads - 1) {
            return Err(SnapshotError::NotFound);
        }
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        let upto = from.saturating_add(max_bytes.min(self.piece)).min(self.bytes.len());
        Ok(self.bytes.slice(from..upto))
    }
}
