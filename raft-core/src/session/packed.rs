//! Packed commands of which some belong to sessions: format 1 of an entry of kind `Commands`.

use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};

use super::op::{number, small};
use super::{LogTime, Mark};
use crate::entry::{MalformedPack, unpack};
use crate::ids::SessionId;

/// The format byte. 0 is that of [`pack`](crate::entry::pack).
const MARKED: u8 = 1;

/// Where the count is.
pub(crate) const COUNT_AT: usize = 1 + 8;
/// Bytes of the head, and of each command's, by whether it has a mark.
const HEAD: usize = COUNT_AT + 4;
const PLAIN_HEAD: usize = 4 + 8;
const MARKED_HEAD: usize = 4 + 8 + 8 + 8;

/// Commands of one entry, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The leader's stamp; `None` if no command has a mark.
    pub time: Option<LogTime>,
    /// The commands, with their marks.
    pub commands: Vec<(Option<Mark>, Bytes)>,
}

/// Whether the data of an entry of kind `Commands` has marks. Looks at one byte.
#[must_use]
pub fn is_marked(data: &[u8]) -> bool {
    data.first() == Some(&MARKED)
}

/// The size of [`pack_marked`]'s result, in bytes, for so many commands with marks, so many without, and
/// commands of so many bytes in all.
#[must_use]
pub const fn marked_len(marked: usize, plain: usize, command_bytes: usize) -> usize {
    HEAD + MARKED_HEAD * marked + PLAIN_HEAD * plain + command_bytes
}

/// Packs commands into the data of one entry of kind `Commands`. Copies each once.
///
/// Layout: the format byte (1), the stamp, the count as `u32`; for each command its length as `u32`, its
/// session (0 if it has none) and, if it has one, sequence and acknowledged-below; then the commands. All
/// little-endian.
#[must_use]
pub fn pack_marked(time: LogTime, commands: &[(Option<Mark>, Bytes)]) -> Bytes {
    let marked = commands.iter().filter(|(mark, _)| mark.is_some()).count();
    let total = commands.iter().map(|(_, data)| data.len()).sum();
    let mut out = BytesMut::with_capacity(marked_len(marked, commands.len() - marked, total));
    out.put_u8(MARKED);
    out.put_u64_le(time.as_nanos());
    out.put_u32_le(u32::try_from(commands.len()).unwrap_or(u32::MAX));
    for (mark, data) in commands {
        out.put_u32_le(u32::try_from(data.len()).unwrap_or(u32::MAX));
        match mark {
            None => out.put_u64_le(0),
            Some(mark) => {
                out.put_u64_le(mark.session.0);
                out.put_u64_le(mark.sequence);
                out.put_u64_le(mark.acknowledged_below);
            }
        }
    }
    for (_, data) in commands {
        out.put_slice(data);
    }
    out.freeze()
}

/// Undoes [`pack_marked`], and [`pack`](crate::entry::pack). Each command is a slice of `data`.
///
/// # Errors
/// [`MalformedPack`] if the bytes are neither. Never panics and never allocates more than the input could hold.
pub fn unpack_any(data: &Bytes) -> Result<Packed, MalformedPack> {
    if !is_marked(data) {
        let commands = unpack(data)?.into_iter().map(|data| (None, data)).collect();
        return Ok(Packed { time: None, commands });
    }
    let mut rest = data.get(1..).unwrap_or_default();
    let rest = &mut rest;
    let time = LogTime::from_nanos(number(rest).ok_or(MalformedPack { what: "no stamp" })?);
    let count = small(rest).ok_or(MalformedPack { what: "no count" })? as usize;
    if count > rest.len() / PLAIN_HEAD {
        return Err(MalformedPack { what: "count exceeds the entry" });
    }
    let mut heads = Vec::with_capacity(count);
    for _ in 0..count {
        heads.push(head(rest).ok_or(MalformedPack { what: "count exceeds the entry" })?);
    }
    let mut at = data.len() - rest.len();
    let mut commands = Vec::with_capacity(count);
    for (mark, length) in heads {
        let end = at.checked_add(length).filter(|end| *end <= data.len());
        let end = end.ok_or(MalformedPack { what: "a command exceeds the entry" })?;
        commands.push((mark, data.slice(at..end)));
        at = end;
    }
    if at != data.len() {
        return Err(MalformedPack { what: "bytes after the last command" });
    }
    Ok(Packed { time: Some(time), commands })
}

/// A command's mark and length.
fn head(rest: &mut &[u8]) -> Option<(Option<Mark>, usize)> {
    let length = small(rest)? as usize;
    let session = SessionId(number(rest)?);
    if session == SessionId(0) {
        return Some((None, length));
    }
    let (sequence, acknowledged_below) = (number(rest)?, number(rest)?);
    Some((Some(Mark { session, sequence, acknowledged_below }), length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::pack;
    use alloc::string::String;
    use alloc::vec;

    fn mark(session: u64, sequence: u64) -> Option<Mark> {
        Some(Mark { session: SessionId(session), sequence, acknowledged_below: sequence / 2 })
    }

    #[test]
    fn marked_and_plain_commands_come_back() {
        let time = LogTime::from_nanos(77);
        for commands in [
            vec![],
            vec![(mark(1, 1), Bytes::new())],
            vec![(None, Bytes::from_static(b"a")), (mark(u64::MAX, u64::MAX), Bytes::from(vec![7; 70_000]))],
        ] {
            let data = pack_marked(time, &commands);
            let marked = commands.iter().filter(|(mark, _)| mark.is_some()).count();
            let bytes = commands.iter().map(|(_, data)| data.len()).sum();
            assert_eq!(data.len(), marked_len(marked, commands.len() - marked, bytes));
            assert!(is_marked(&data));
            assert_eq!(unpack_any(&data), Ok(Packed { time: Some(time), commands }));
        }
        let plain = pack(&[Bytes::from_static(b"x")]);
        assert!(!is_marked(&plain));
        let commands = vec![(None, Bytes::from_static(b"x"))];
        assert_eq!(unpack_any(&plain), Ok(Packed { time: None, commands }));
    }

    #[test]
    fn damage_is_refused() {
        let commands = [(mark(3, 4), Bytes::from_static(b"abc")), (None, Bytes::from_static(b"de"))];
        let good = pack_marked(LogTime::ZERO, &commands);
        for cut in 0..good.len() {
            assert!(unpack_any(&good.slice(..cut)).is_err(), "cut at {cut}");
        }
        let mut long = BytesMut::from(&good[..]);
        long.put_u8(0);
        assert_eq!(unpack_any(&long.freeze()), Err(MalformedPack { what: "bytes after the last command" }));
        let bomb = Bytes::from_static(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0]);
        assert_eq!(unpack_any(&bomb), Err(MalformedPack { what: "count exceeds the entry" }));
        assert_eq!(unpack_any(&Bytes::from_static(&[9])), Err(MalformedPack { what: "unknown format" }));
    }

    /// These bytes stand in journals.
    #[test]
    fn golden() {
        let commands = [(mark(2, 5), Bytes::from_static(b"a")), (None, Bytes::from_static(b"bc"))];
        let data = pack_marked(LogTime::from_nanos(0x0a0b), &commands);
        let hex: String = data.iter().map(|byte| alloc::format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "010b0a0000000000000200000001000000020000000000000005000000000000000200000000000000020000000000000000000000616263"
        );
        let read = Packed { time: Some(LogTime::from_nanos(0x0a0b)), commands: commands.into() };
        assert_eq!(unpack_any(&data), Ok(read));
    }
}
