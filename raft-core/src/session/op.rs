//! Entries of kind `Session`: opening, keeping alive, closing.

use bytes::{BufMut, Bytes, BytesMut};
use core::time::Duration;

use super::{Limits, LogTime};
use crate::ids::SessionId;

/// What such an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Opens a session, whose name is the index of the entry.
    Open {
        /// How long it lives without being used.
        timeout: Duration,
        /// The bounds that hold from here on.
        limits: Limits,
    },
    /// The session is used, without a command.
    KeepAlive {
        /// Which.
        session: SessionId,
        /// Its client needs no answers to commands below this one.
        acknowledged_below: u64,
    },
    /// The session is not needed any more.
    Close {
        /// Which.
        session: SessionId,
    },
}

/// The data of an entry of kind `Session`: when, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamped {
    /// The leader's stamp.
    pub time: LogTime,
    /// What is done.
    pub op: Op,
}

/// The bytes are not what [`Stamped::encode`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes of a session entry are malformed")]
pub struct MalformedOp;

/// The version byte of such entries.
const VERSION: u8 = 1;

const OPEN: u8 = 1;
const KEEP_ALIVE: u8 = 2;
const CLOSE: u8 = 3;

impl Stamped {
    /// The data of the entry. Layout: a version byte, the operation's byte, the stamp, then the operation's
    /// numbers, all little-endian.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(46);
        out.put_u8(VERSION);
        match self.op {
            Op::Open { timeout, limits } => {
                out.put_u8(OPEN);
                out.put_u64_le(self.time.as_nanos());
                out.put_u64_le(nanos(timeout));
                put_limits(&mut out, &limits);
            }
            Op::KeepAlive { session, acknowledged_below } => {
                out.put_u8(KEEP_ALIVE);
                out.put_u64_le(self.time.as_nanos());
                out.put_u64_le(session.0);
                out.put_u64_le(acknowledged_below);
            }
            Op::Close { session } => {
                out.put_u8(CLOSE);
                out.put_u64_le(self.time.as_nanos());
                out.put_u64_le(session.0);
            }
        }
        out.freeze()
    }

    /// Undoes [`encode`](Self::encode).
    ///
    /// # Errors
    /// [`MalformedOp`] for any other bytes.
    pub fn decode(data: &[u8]) -> Result<Self, MalformedOp> {
        let (head, mut rest) = data.split_first_chunk::<2>().ok_or(MalformedOp)?;
        let rest = &mut rest;
        let [VERSION, op] = *head else { return Err(MalformedOp) };
        let time = LogTime::from_nanos(number(rest).ok_or(MalformedOp)?);
        let op = match op {
            OPEN => {
                let timeout = Duration::from_nanos(number(rest).ok_or(MalformedOp)?);
                Op::Open { timeout, limits: take_limits(rest).ok_or(MalformedOp)? }
            }
            KEEP_ALIVE => Op::KeepAlive {
                session: SessionId(number(rest).ok_or(MalformedOp)?),
                acknowledged_below: number(rest).ok_or(MalformedOp)?,
            },
            CLOSE => Op::Close { session: SessionId(number(rest).ok_or(MalformedOp)?) },
            _ => return Err(MalformedOp),
        };
        if rest.is_empty() { Ok(Self { time, op }) } else { Err(MalformedOp) }
    }
}

/// A span as it is written.
pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn number(rest: &mut &[u8]) -> Option<u64> {
    let (eight, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(u64::from_le_bytes(*eight))
}

pub(super) fn small(rest: &mut &[u8]) -> Option<u32> {
    let (four, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_le_bytes(*four))
}

pub(super) fn put_limits(out: &mut impl BufMut, limits: &Limits) {
    out.put_u32_le(limits.sessions);
    out.put_u32_le(limits.window);
    out.put_u32_le(limits.records);
    out.put_u64_le(limits.answer_bytes);
    out.put_u64_le(nanos(limits.timeout));
}

pub(super) fn take_limits(rest: &mut &[u8]) -> Option<Limits> {
    Some(Limits {
        sessions: small(rest)?,
        window: small(rest)?,
        records: small(rest)?,
        answer_bytes: number(rest)?,
        timeout: Duration::from_nanos(number(rest)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn all() -> [Stamped; 3] {
        let time = LogTime::from_nanos(0x0102_0304_0506_0708);
        let session = SessionId(9);
        [
            Stamped { time, op: Op::Open { timeout: Duration::from_secs(7), limits: Limits::DEFAULT } },
            Stamped { time, op: Op::KeepAlive { session, acknowledged_below: 12 } },
            Stamped { time, op: Op::Close { session } },
        ]
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        for stamped in all() {
            let data = stamped.encode();
            assert_eq!(Stamped::decode(&data), Ok(stamped));
            for cut in 0..data.len() {
                assert_eq!(Stamped::decode(&data[..cut]), Err(MalformedOp), "{stamped:?} cut at {cut}");
            }
            let mut other = data.to_vec();
            other.push(0);
            assert_eq!(Stamped::decode(&other), Err(MalformedOp));
            for (at, wrong) in [(0, 0), (0, 2), (1, 0), (1, 4)] {
                let mut other = data.to_vec();
                other[at] = wrong;
                assert_eq!(Stamped::decode(&other), Err(MalformedOp));
            }
        }
    }

    /// These bytes stand in journals.
    #[test]
    fn golden() {
        let [open, keep_alive, close] = all();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| alloc::format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&close.encode()), "010308070605040302010900000000000000");
        assert_eq!(hex(&keep_alive.encode()), "0102080706050403020109000000000000000c00000000000000");
        assert_eq!(
            hex(&open.encode()),
            "0101080706050403020100863ba101000000102700000004000000000200000000010000000000b864d945000000"
        );
    }
}
