//! A moment of the store as bytes, and back: pairs of key and value in postcard, in the order of their keys.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::backend::{Fatal, SnapshotError, SnapshotReader, SnapshotSource};
use raft_core::node::typed::encode;
use redb::ReadTransaction;

use crate::machine::blocking;
use crate::store::{self, DATA, Shared};

/// About so much is made, or read, at once.
const PIECE_BYTES: usize = 256 << 10;

type Pair<'a> = (&'a str, &'a [u8]);

/// A read transaction on its way into a snapshot. As long as it lives, redb keeps the pages that it sees.
pub(crate) struct Moment {
    shared: Arc<Shared>,
    transaction: Arc<ReadTransaction>,
    /// The last key that was written.
    after: Option<String>,
}

impl Moment {
    pub(crate) fn new(shared: &Arc<Shared>, transaction: ReadTransaction) -> Self {
        Self { shared: Arc::clone(shared), transaction: Arc::new(transaction), after: None }
    }
}

/// The pairs after a key, as bytes, and the last of their keys.
fn piece(
    transaction: &ReadTransaction,
    after: Option<&str>,
) -> Result<(Vec<u8>, Option<String>), redb::Error> {
    let (mut bytes, mut last) = (Vec::new(), None);
    let Some(table) = store::data(transaction)? else { return Ok((bytes, last)) };
    for pair in table.range::<&str>((after.map_or(Unbounded, Excluded), Unbounded))? {
        let (key, value) = pair?;
        let pair: Pair<'_> = (key.value(), value.value());
        let encoded =
            encode(&pair).map_err(|error| redb::Error::Io(std::io::Error::other(error.to_string())))?;
        bytes.extend_from_slice(&encoded);
        last = Some(pair.0.to_owned());
        if bytes.len() >= PIECE_BYTES {
            break;
        }
    }
    Ok((bytes, last))
}

#[async_trait]
impl SnapshotSource for Moment {
    async fn next(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        let (transaction, after) = (Arc::clone(&self.transaction), self.after.clone());
        let read = move |shared: &Shared| shared.failing(|| piece(&transaction, after.as_deref()));
        let (bytes, last) = blocking(&self.shared, read).await.map_err(|Fatal(error)| SnapshotError::Io {
            what: "read the store".into(),
            cause: error.into(),
        })?;
        self.after = last.or_else(|| self.after.take());
        Ok((!bytes.is_empty()).then(|| bytes.into()))
    }
}

/// Replaces everything by a snapshot, in one transaction that is synced: whatever ends this early, an error, a crash
/// or a caller that is dropped, leaves what was there before.
pub(crate) async fn read_into(
    shared: &Arc<Shared>,
    mut snapshot: Box<dyn SnapshotReader>,
) -> Result<(), Fatal> {
    let upto = snapshot.meta().upto;
    let mut transaction = blocking(shared, |shared| {
        shared.failing(|| {
            let transaction = shared.begin(true)?;
            transaction.delete_table(DATA)?;
            Ok(transaction)
        })
    })
    .await?;
    let (mut offset, mut waiting) = (0, Vec::new());
    loop {
        let piece = snapshot.read(offset, PIECE_BYTES).await.map_err(|error| Fatal(error.to_string()))?;
        if piece.is_empty() {
            break;
        }
        offset += piece.len() as u64;
        waiting.extend_from_slice(&piece);
        (transaction, waiting) = blocking(shared, move |shared| {
            let rest = shared.failing(|| insert(&mut transaction.open_table(DATA)?, waiting))?;
            Ok((transaction, rest))
        })
        .await?;
    }
    if !waiting.is_empty() {
        return Err(Fatal("the snapshot ends within a pair".into()));
    }
    blocking(shared, move |shared| {
        shared.failing(|| {
            // So that an empty snapshot leaves an empty table.
            drop(transaction.open_table(DATA)?);
            store::set_applied(&transaction, upto)?;
            transaction.commit()?;
            Ok(())
        })
    })
    .await
}

/// Inserts the pairs that are whole, and returns what is not.
fn insert(table: &mut redb::Table<'_, &str, &[u8]>, bytes: Vec<u8>) -> Result<Vec<u8>, redb::Error> {
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        match postcard::take_from_bytes::<Pair<'_>>(rest) {
            Ok(((key, value), more)) => {
                table.insert(key, value)?;
                rest = more;
            }
            Err(postcard::Error::DeserializeUnexpectedEnd) => break,
            Err(error) => {
                return Err(redb::Error::Corrupted(format!("the snapshot is no list of pairs: {error}")));
            }
        }
    }
    Ok(rest.to_vec())
}
