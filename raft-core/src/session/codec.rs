//! The table as bytes: it travels in the head of a snapshot.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::BufMut;

use super::op::{nanos, number, put_limits, small, take_limits};
use super::table::{Place, Record, Session, Table};
use super::{Limits, LogTime};
use crate::ids::{LogId, SessionId};

/// The bytes are not what [`Table::encode`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes of the sessions are malformed: {what}")]
pub struct MalformedTable {
    /// What does not fit.
    pub what: &'static str,
}

/// The version byte.
const VERSION: u8 = 1;

/// Bytes of a session without its commands, and of a command without its answer.
const SESSION_HEAD: usize = 8 * 4 + 4;
const RECORD_HEAD: usize = 8 * 3 + 4 + 4;

/// The length that stands for "no answer".
const NONE: u32 = u32::MAX;

impl Limits {
    /// What a table within these bounds takes at most in the head of a snapshot, in bytes.
    ///
    /// ```
    /// use raft_core::session::{Limits, Table};
    ///
    /// let mut limits = Limits::DEFAULT;
    /// assert!(limits.encoded_bytes() <= Table::ENCODED_LIMIT_BYTES);
    /// // Sessions and commands that are not acknowledged take a little each, answers what they are.
    /// let before = limits.encoded_bytes();
    /// limits.answer_bytes += 1 << 20;
    /// assert_eq!(limits.encoded_bytes(), before + (1 << 20));
    /// ```
    #[must_use]
    pub const fn encoded_bytes(&self) -> u64 {
        let sessions = self.sessions as u64 * SESSION_HEAD as u64;
        let records = self.records as u64 * RECORD_HEAD as u64;
        64_u64.saturating_add(sessions).saturating_add(records).saturating_add(self.answer_bytes)
    }
}

impl Table {
    /// The head of a snapshot has room for so much of it, in bytes.
    pub const ENCODED_LIMIT_BYTES: u64 = 64 << 20;

    /// All of it, as bytes. The same table gives the same bytes. All numbers are little-endian.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u8(VERSION);
        out.put_u64_le(self.time.as_nanos());
        put_limits(&mut out, &self.limits);
        out.put_u32_le(u32::try_from(self.sessions.len()).unwrap_or(u32::MAX));
        for (id, session) in &self.sessions {
            out.put_u64_le(id.0);
            out.put_u64_le(nanos(session.timeout));
            out.put_u64_le(session.deadline.as_nanos());
            out.put_u64_le(session.below);
            out.put_u32_le(u32::try_from(session.records.len()).unwrap_or(u32::MAX));
            for (sequence, Record { place, answer }) in &session.records {
                out.put_u64_le(*sequence);
                out.put_u64_le(place.id.term.0);
                out.put_u64_le(place.id.index.0);
                out.put_u32_le(place.position);
                let length = answer.as_ref().map(|answer| u32::try_from(answer.len()).unwrap_or(NONE));
                out.put_u32_le(length.unwrap_or(NONE));
                out.put_slice(answer.as_deref().unwrap_or_default());
            }
        }
        out
    }

    /// Undoes [`encode`](Self::encode).
    ///
    /// # Errors
    /// [`MalformedTable`] for bytes that no table gives. Never panics and allocates a small multiple of the
    /// input at most.
    pub fn decode(data: &[u8]) -> Result<Self, MalformedTable> {
        let malformed = |what| MalformedTable { what };
        let cut = malformed("cut off");
        let (version, mut rest) = data.split_first().ok_or(cut)?;
        let rest = &mut rest;
        if *version != VERSION {
            return Err(malformed("unknown version"));
        }
        let mut table = Self::new();
        table.time = LogTime::from_nanos(number(rest).ok_or(cut)?);
        table.limits = take_limits(rest).ok_or(cut)?;
        let mut last = None;
        for _ in 0..count(rest, SESSION_HEAD)? {
            let id = SessionId(number(rest).ok_or(cut)?);
            if last >= Some(id) {
                return Err(malformed("sessions are out of order"));
            }
            last = Some(id);
            let timeout = Duration::from_nanos(number(rest).ok_or(cut)?);
            let deadline = LogTime::from_nanos(number(rest).ok_or(cut)?);
            let below = number(rest).ok_or(cut)?;
            let records = records(rest, below)?;
            if !table.insert(id, Session { timeout, deadline, below, records }) {
                return Err(malformed("two answers are of one place"));
            }
        }
        if rest.is_empty() { Ok(table) } else { Err(malformed("bytes after the last session")) }
    }
}

fn count(rest: &mut &[u8], each: usize) -> Result<u32, MalformedTable> {
    let count = small(rest).ok_or(MalformedTable { what: "cut off" })?;
    if count as usize > rest.len() / each {
        return Err(MalformedTable { what: "a count exceeds the bytes" });
    }
    Ok(count)
}

fn records(rest: &mut &[u8], below: u64) -> Result<BTreeMap<u64, Record>, MalformedTable> {
    let cut = MalformedTable { what: "cut off" };
    let mut records = BTreeMap::new();
    for _ in 0..count(rest, RECORD_HEAD)? {
        let sequence = number(rest).ok_or(cut)?;
        if sequence < below || records.last_key_value().is_some_and(|(last, _)| *last >= sequence) {
            return Err(MalformedTable { what: "commands are out of order" });
        }
        let id = LogId::new(number(rest).ok_or(cut)?, number(rest).ok_or(cut)?);
        let place = Place { id, position: small(rest).ok_or(cut)? };
        let length = small(rest).ok_or(cut)?;
        let answer: Option<Box<[u8]>> = if length == NONE {
            None
        } else {
            let (answer, after) = rest.split_at_checked(length as usize).ok_or(cut)?;
            *rest = after;
            Some(answer.into())
        };
        records.insert(sequence, Record { place, answer });
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::ids::Index;
    use crate::session::{Decision, Mark, Op};

    /// These bytes stand in snapshots: never edit, only add versions.
    #[test]
    fn golden_bytes() {
        let limits =
            Limits { sessions: 2, window: 3, records: 4, answer_bytes: 64, timeout: Duration::from_nanos(6) };
        let mut table = Table::new();
        table.advance(LogTime::from_nanos(10));
        let open = Op::Open { timeout: Duration::from_nanos(20), limits };
        let session = table.execute(Index(7), open).unwrap();
        for (sequence, answer) in [(1, Some(&b"ok"[..])), (2, None)] {
            let place = Place { id: LogId::new(1, 7 + sequence), position: 0 };
            let mark = Mark { session, sequence, acknowledged_below: 1 };
            assert_eq!(table.decide(mark, place), Decision::Execute);
            if let Some(answer) = answer {
                table.answered(mark, answer);
            }
        }
        let long = |number: u64| number.to_le_bytes().to_vec();
        let short = |number: u32| number.to_le_bytes().to_vec();
        let golden = [
            vec![1],
            long(10),
            [short(2), short(3), short(4), long(64), long(6)].concat(),
            short(1),
            [long(7), long(20), long(30), long(1), short(2)].concat(),
            [long(1), long(1), long(8), short(0), short(2), b"ok".to_vec()].concat(),
            [long(2), long(1), long(9), short(0), short(NONE)].concat(),
        ]
        .concat();
        assert_eq!(table.encode(), golden);
        assert_eq!(Table::decode(&golden), Ok(table));
    }
}
