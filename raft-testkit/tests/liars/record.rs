//! What a segment is made of: a length, a checksum, and one write.

use std::hash::{DefaultHasher, Hasher};

use raft_core::backend::JournalWrite;
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Index, LogId};

use super::lies::Lie;

pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// What the checksum of a record covers.
fn covered(body: &[u8], write: &JournalWrite, lie: Option<Lie>) -> u64 {
    if lie != Some(Lie::ChecksumWithoutHeader) {
        return checksum(body);
    }
    let data: Vec<u8> = write.entries.iter().flat_map(|entry| entry.data.to_vec()).collect();
    checksum(&data)
}

pub(crate) fn encode(write: &JournalWrite, lie: Option<Lie>) -> Vec<u8> {
    let mut body = write.truncate_from.map_or(0, |from| from.0).to_le_bytes().to_vec();
    body.extend(write.commit_hint.0.to_le_bytes());
    for Entry { id, kind, data } in &write.entries {
        body.extend(id.term.0.to_le_bytes());
        body.extend(id.index.0.to_le_bytes());
        body.push(*kind as u8);
        body.extend((data.len() as u64).to_le_bytes());
        body.extend_from_slice(data);
    }
    let mut out = (body.len() as u64).to_le_bytes().to_vec();
    out.extend(covered(&body, write, lie).to_le_bytes());
    out.extend(body);
    out
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*head))
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(head)
}

fn decode_body(mut body: &[u8]) -> Option<JournalWrite> {
    let mut write = JournalWrite::default();
    write.truncate_from = Some(number(&mut body)?).filter(|from| *from > 0).map(Index);
    write.commit_hint = Index(number(&mut body)?);
    let mut entries = Vec::new();
    while !body.is_empty() {
        let id = LogId::new(number(&mut body)?, number(&mut body)?);
        let kind = EntryKind::from_u8(*take(&mut body, 1)?.first()?)?;
        let length = number(&mut body)?;
        let data = take(&mut body, length)?.to_vec().into();
        entries.push(Entry { id, kind, data });
    }
    write.entries = entries.into();
    Some(write)
}

/// The next record of a segment: `Err` if it is damaged; `bytes` are then behind it, if that can be told.
pub(crate) fn next(bytes: &mut &[u8], lie: Option<Lie>) -> Result<JournalWrite, ()> {
    let (length, sum) = (number(bytes).ok_or(())?, number(bytes).ok_or(())?);
    let body = take(bytes, length).ok_or(())?;
    let write = decode_body(body).ok_or(())?;
    let matches = covered(body, &write, lie) == sum || lie == Some(Lie::ChecksumIsNotCompared);
    if matches { Ok(write) } else { Err(()) }
}
