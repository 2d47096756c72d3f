//! The bytes of a backup file. `docs/backup-format.md` has the tables.

use std::io::{self, Read};

use crc32c::{crc32c, crc32c_append};
use raft_core::ids::{ClusterId, Index, LogId, NodeId, Term};
use raft_core::membership::Membership;

const MAGIC: [u8; 4] = *b"RKVB";
/// The version that this program writes, and the newest that it reads.
const VERSION: u32 = 1;
/// What a head may take, in bytes.
const HEAD_LIMIT_BYTES: usize = 1 << 20;
/// The data of a chunk, at most, in bytes.
const CHUNK_LIMIT_BYTES: usize = 1 << 20;

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) cluster: ClusterId,
    /// The node that made it.
    pub(crate) node: NodeId,
    /// When, in seconds after 1970, as that node's clock says.
    pub(crate) seconds: u64,
    /// The last entry whose effects are in it.
    pub(crate) upto: LogId,
    /// Who the members were; for people.
    pub(crate) membership: Membership,
}

/// Why a file is no whole backup.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadBackup {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("not a backup of raft-kv")]
    Foreign,
    #[error("of version {0} of the format, this program knows {VERSION}")]
    Version(u32),
    #[error("byte {at}: {what}")]
    Damaged { at: u64, what: &'static str },
    #[error("the data in it: {0}")]
    Data(#[from] crate::snapshot::BadSnapshot),
}

impl Head {
    /// The beginning of a file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.cluster.0.to_le_bytes());
        for number in [self.node.0, self.seconds, self.upto.term.0, self.upto.index.0] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        if self.membership != Membership::default() {
            body.extend_from_slice(&self.membership.encode());
        }
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&crc32c(&body).to_le_bytes());
        out.extend_from_slice(&body);
        out
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let (cluster, rest) = body.split_first_chunk::<16>()?;
        let (numbers, membership) = rest.split_at_checked(32)?;
        let mut numbers = numbers.as_chunks::<8>().0.iter().map(|eight| u64::from_le_bytes(*eight));
        let mut next = || numbers.next();
        let (node, seconds, term, index) = (NodeId(next()?), next()?, Term(next()?), Index(next()?));
        let membership = if membership.is_empty() {
            Membership::default()
        } else {
            Membership::decode(membership).ok()?
        };
        let cluster = ClusterId(u128::from_le_bytes(*cluster));
        Some(Self { cluster, node, seconds, upto: LogId { term, index }, membership })
    }
}

/// Counts and sums what goes through, chunk by chunk.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    number: u64,
    total: u64,
    checksum: u32,
}

impl Chunks {
    fn seal(&self, data: &[u8]) -> u32 {
        crc32c_append(crc32c(&self.number.to_le_bytes()), data)
    }

    fn count(&mut self, data: &[u8]) {
        self.number += 1;
        self.total += data.len() as u64;
        self.checksum = crc32c_append(self.checksum, data);
    }

    /// A chunk as bytes; none for nothing.
    pub(super) fn encode(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len() + 16);
        for data in data.chunks(CHUNK_LIMIT_BYTES) {
            out.extend_from_slice(&(data.len() as u32).to_le_bytes());
            out.extend_from_slice(&self.seal(data).to_le_bytes());
            out.extend_from_slice(data);
            self.count(data);
        }
        out
    }

    fn end(&self) -> [u8; 12] {
        let mut end = [0; 12];
        end[..8].copy_from_slice(&self.total.to_le_bytes());
        end[8..].copy_from_slice(&self.checksum.to_le_bytes());
        end
    }

    /// The end of a file as bytes.
    pub(super) fn encode_end(&self) -> Vec<u8> {
        let end = self.end();
        let mut out = 0_u32.to_le_bytes().to_vec();
        out.extend_from_slice(&self.seal(&end).to_le_bytes());
        out.extend_from_slice(&end);
        out
    }
}

/// Reads a backup, checked chunk by chunk.
pub(crate) struct Reader<R> {
    from: R,
    at: u64,
    head: Head,
    chunks: Chunks,
    done: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the beginning.
    pub(crate) fn new(mut from: R) -> Result<Self, BadBackup> {
        let mut fixed = [0; 16];
        let read = fill(&mut from, &mut fixed)?;
        if fixed.get(..4) != Some(&MAGIC) {
            return Err(BadBackup::Foreign);
        }
        let damaged = |what| BadBackup::Damaged { at: 0, what };
        if read < fixed.len() {
            return Err(damaged("it ends in its head"));
        }
        let mut words = fixed.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)).skip(1);
        let mut next = || words.next().unwrap_or(0);
        let (version, length, crc) = (next(), next() as usize, next());
        if version != VERSION {
            return Err(BadBackup::Version(version));
        }
        if length > HEAD_LIMIT_BYTES {
            return Err(damaged("its head is longer than any"));
        }
        let mut body = vec![0; length];
        if fill(&mut from, &mut body)? < length {
            return Err(damaged("it ends in its head"));
        }
        if crc32c(&body) != crc {
            return Err(damaged("the checksum of its head does not match"));
        }
        let head = Head::decode(&body).ok_or_else(|| damaged("its head cannot be read"))?;
        let at = 16 + length as u64;
        Ok(Self { from, at, head, chunks: Chunks::default(), done: false })
    }

    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    /// The data of the next chunk; `None` at the end, where nothing must follow.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, BadBackup> {
        if self.done {
            return Ok(None);
        }
        let at = self.at;
        let damaged = |what| BadBackup::Damaged { at, what };
        let mut fixed = [0; 8];
        if fill(&mut self.from, &mut fixed)? < fixed.len() {
            return Err(damaged("it ends too early"));
        }
        let [length, crc] = [&fixed[..4], &fixed[4..]]
            .map(|four| four.first_chunk().map_or(0, |four| u32::from_le_bytes(*four)));
        if length as usize > CHUNK_LIMIT_BYTES {
            return Err(damaged("a chunk that is longer than any"));
        }
        let mut data = vec![0; if length == 0 { self.chunks.end().len() } else { length as usize }];
        if fill(&mut self.from, &mut data)? < data.len() {
            return Err(damaged("it ends too early"));
        }
        if self.chunks.seal(&data) != crc {
            return Err(damaged("the checksum of a chunk does not match"));
        }
        if length == 0 {
            if data != self.chunks.end() {
                return Err(damaged("not all of it is there"));
            }
            if fill(&mut self.from, &mut [0])? > 0 {
                return Err(damaged("something follows its end"));
            }
            self.done = true;
            return Ok(None);
        }
        self.at += 8 + data.len() as u64;
        self.chunks.count(&data);
        Ok(Some(data))
    }
}

/// Reads until a buffer is full or there is nothing more.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
