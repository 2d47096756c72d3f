//! Log entries, and how many commands travel as one.
//!
//! To the protocol, to journals and to transports an entry is a log id, a kind and opaque bytes. Only
//! the core reads membership entries and only the node packs and unpacks commands, so that a new kind
//! of entry changes neither a wire nor a journal format.

use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::ids::LogId;

/// What the bytes of an entry are. The number is part of the wire and journal formats.
///
/// Each kind of entry has its own decoder:
///
/// ```
/// use raft_core::entry::{Entry, EntryKind, unpack};
/// use raft_core::ids::{LogId, NodeId};
/// use raft_core::membership::{Member, Membership};
///
/// let founders = Membership::of_voters([Member::new(NodeId(1), "10.0.0.1:7101")]).unwrap();
/// let entry =
///     Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data: founders.encode() };
/// let says = match entry.kind {
///     EntryKind::Noop => "nothing".into(),
///     EntryKind::Commands => format!("{} commands", unpack(&entry.data).unwrap().len()),
///     EntryKind::Membership => {
///         format!("{} voters", Membership::decode(&entry.data).unwrap().voters.len())
///     }
///     EntryKind::Session => "a session".into(),
/// };
/// assert_eq!(says, "1 voters");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum EntryKind {
    /// Nothing: what a new leader appends so that it can commit (§5.4.2, §8). Nodes give it no bytes, and do not
    /// read any; an offline tool may leave a note for people in it.
    Noop = 0,
    /// One or more commands of the state machine, packed by [`pack`] or, if some belong to sessions, by
    /// [`pack_marked`](crate::session::pack_marked).
    Commands = 1,
    /// A [`Membership`](crate::membership::Membership), by its `encode`. In force once appended.
    Membership = 2,
    /// Opens, keeps alive or closes a client session: a [`Stamped`](crate::session::Stamped), by its `encode`.
    Session = 3,
}

impl EntryKind {
    /// The kind with this number, if there is one.
    ///
    /// ```
    /// use raft_core::entry::EntryKind;
    ///
    /// assert_eq!(EntryKind::from_u8(1), Some(EntryKind::Commands));
    /// // Of a later version, or damage: nobody here can read such an entry.
    /// assert_eq!(EntryKind::from_u8(4), None);
    /// ```
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Noop,
            1 => Self::Commands,
            2 => Self::Membership,
            3 => Self::Session,
            _ => return None,
        })
    }

    /// Its number in wire and journal formats.
    ///
    /// ```
    /// use raft_core::entry::EntryKind;
    ///
    /// let kinds = [EntryKind::Noop, EntryKind::Commands, EntryKind::Membership, EntryKind::Session];
    /// assert_eq!(kinds.map(EntryKind::as_u8), [0, 1, 2, 3]);
    /// ```
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }
}

/// One record of the log.
///
/// ```
/// use raft_core::entry::{Entry, EntryKind, pack};
/// use raft_core::ids::LogId;
///
/// let data = pack(&["put a".into()]);
/// let entry = Entry { id: LogId::new(3, 17), kind: EntryKind::Commands, data };
/// // One goes to the journal, one to each follower: the bytes are there once.
/// let copy = entry.clone();
/// assert_eq!(copy.data.as_ptr(), entry.data.as_ptr());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Where it stands and who wrote it there.
    pub id: LogId,
    /// What its bytes are.
    pub kind: EntryKind,
    /// Its bytes. Cloning an entry copies a reference, never the bytes.
    pub data: Bytes,
}

impl Entry {
    /// What an entry costs in memory and in windows, beyond its data, in bytes.
    pub const OVERHEAD_BYTES: u64 = 64;

    /// What this entry counts for in every bound: its data and a fixed overhead, in bytes.
    ///
    /// ```
    /// use raft_core::entry::{Entry, EntryKind};
    /// use raft_core::ids::LogId;
    ///
    /// let entry = |size| Entry {
    ///     id: LogId::new(3, 17),
    ///     kind: EntryKind::Commands,
    ///     data: vec![7; size].into(),
    /// };
    /// assert_eq!(entry(1000).cost_bytes(), 1000 + Entry::OVERHEAD_BYTES);
    /// // Entries without bytes fill a window too, so that there are never too many of them.
    /// assert_eq!((1 << 20) / entry(0).cost_bytes(), 16_384);
    /// ```
    #[must_use]
    pub fn cost_bytes(&self) -> u64 {
        self.data.len() as u64 + Self::OVERHEAD_BYTES
    }
}

/// The format byte of packed commands without sessions; [`crate::session`] has the other.
const PLAIN: u8 = 0;

/// Bytes that [`pack`] adds: once, and for each command.
const PACK_HEADER: usize = 5;
const PACK_EACH: usize = 4;

/// The size of [`pack`]'s result for commands of these sizes, in bytes.
///
/// To know whether commands fit one entry, before they are copied:
///
/// ```
/// use bytes::Bytes;
/// use raft_core::entry::{pack, packed_len};
///
/// let commands: [Bytes; 2] = ["put a".into(), "del b".into()];
/// let bytes = commands.iter().map(Bytes::len).sum();
/// assert_eq!(packed_len(commands.len(), bytes), pack(&commands).len());
/// ```
#[must_use]
pub fn packed_len(count: usize, command_bytes: usize) -> usize {
    PACK_HEADER + PACK_EACH * count + command_bytes
}

/// What commands count for in `command_limit_bytes`: their bytes, and what each beyond the first costs in
/// the entry. The entry is never more than nine bytes larger.
#[cfg(feature = "node")]
#[must_use]
pub(crate) fn batch_bytes(commands: &[Bytes]) -> u64 {
    let bytes: u64 = commands.iter().map(|command| command.len() as u64).sum();
    bytes + (PACK_EACH * commands.len().saturating_sub(1)) as u64
}

/// Packs commands into the data of one entry of kind [`EntryKind::Commands`].
///
/// Layout: a format byte (0), the count as `u32`, each length as `u32`, then the commands; all
/// little-endian. Copies each command once.
///
/// ```
/// use raft_core::entry::{pack, unpack};
///
/// let packed = pack(&["a".into(), "bc".into()]);
/// assert_eq!(unpack(&packed).unwrap(), ["a", "bc"]);
/// assert!(unpack(&packed.slice(1..)).is_err());
/// ```
#[must_use]
pub fn pack(commands: &[Bytes]) -> Bytes {
    let total: usize = commands.iter().map(Bytes::len).sum();
    let mut out = BytesMut::with_capacity(packed_len(commands.len(), total));
    out.put_u8(PLAIN);
    out.put_u32_le(u32::try_from(commands.len()).unwrap_or(u32::MAX));
    for command in commands {
        out.put_u32_le(u32::try_from(command.len()).unwrap_or(u32::MAX));
    }
    for command in commands {
        out.put_slice(command);
    }
    out.freeze()
}

/// The bytes of an entry are not what [`pack`] writes.
///
/// ```
/// use raft_core::entry::{pack, unpack};
///
/// let packed = pack(&["put a".into()]);
/// let error = unpack(&packed.slice(..packed.len() - 1)).unwrap_err();
/// assert_eq!(error.to_string(), "packed commands are malformed: a command exceeds the entry");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("packed commands are malformed: {what}")]
pub struct MalformedPack {
    /// What does not fit.
    pub what: &'static str,
}

/// Undoes [`pack`]. Each command is a slice of `data`; nothing is copied.
///
/// ```
/// use raft_core::entry::{MalformedPack, pack, unpack};
///
/// let data = pack(&["put a".into(), "del b".into()]);
/// let commands = unpack(&data)?;
/// assert_eq!(commands, ["put a", "del b"]);
/// // Each is a part of the entry: it keeps all of that in memory as long as it lives.
/// assert!(data.as_ptr_range().contains(&commands[1].as_ptr()));
/// # Ok::<(), MalformedPack>(())
/// ```
///
/// # Errors
/// [`MalformedPack`] if the bytes are of another format or do not add up. Never panics and never
/// allocates more than the input could hold.
pub fn unpack(data: &Bytes) -> Result<Vec<Bytes>, MalformedPack> {
    let (&format, rest) = data.split_first().ok_or(MalformedPack { what: "empty" })?;
    if format != PLAIN {
        return Err(MalformedPack { what: "unknown format" });
    }
    let (count, lengths) = rest.split_first_chunk::<4>().ok_or(MalformedPack { what: "no count" })?;
    let count = u32::from_le_bytes(*count) as usize;
    if count > lengths.len() / PACK_EACH {
        return Err(MalformedPack { what: "count exceeds the entry" });
    }
    let mut commands = Vec::with_capacity(count);
    let mut at = PACK_HEADER + PACK_EACH * count;
    for length in lengths[..PACK_EACH * count].chunks_exact(PACK_EACH) {
        let length = length.try_into().map_or(0, u32::from_le_bytes) as usize;
        let end = at.checked_add(length).filter(|end| *end <= data.len());
        let end = end.ok_or(MalformedPack { what: "a command exceeds the entry" })?;
        commands.push(data.slice(at..end));
        at = end;
    }
    if at != data.len() {
        return Err(MalformedPack { what: "bytes after the last command" });
    }
    Ok(commands)
}

/// How many commands an entry says that it has, of either format, read off its head and not checked: a hint, for who treats
/// few of them otherwise than many. `None` if it is of another kind, or has no such head.
///
/// ```
/// use raft_core::entry::{Entry, EntryKind, command_count, pack};
/// use raft_core::ids::LogId;
///
/// let data = pack(&["a".into(), "bc".into()]);
/// let entry = Entry { id: LogId::new(1, 1), kind: EntryKind::Commands, data };
/// assert_eq!(command_count(&entry), Some(2));
/// ```
#[must_use]
pub fn command_count(entry: &Entry) -> Option<u32> {
    let data = &entry.data[..];
    let at = match data.first()? {
        _ if entry.kind != EntryKind::Commands => return None,
        &PLAIN => 1,
        _ if crate::session::is_marked(data) => crate::session::COUNT_AT,
        _ => return None,
    };
    data.get(at..)?.first_chunk().map(|count| u32::from_le_bytes(*count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn packed_commands_come_back() {
        for commands in [
            vec![],
            vec![Bytes::new()],
            vec![Bytes::from_static(b"a"), Bytes::new(), Bytes::from(vec![7; 70_000])],
        ] {
            let packed = pack(&commands);
            assert_eq!(packed.len(), packed_len(commands.len(), commands.iter().map(Bytes::len).sum()));
            assert_eq!(unpack(&packed), Ok(commands));
        }
    }

    /// These bytes stand in journals.
    #[test]
    fn golden_bytes() {
        let commands = [Bytes::from_static(b"abc"), Bytes::new(), Bytes::from_static(b"de")];
        let bytes = [0, 3, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, b'a', b'b', b'c', b'd', b'e'];
        assert_eq!(pack(&commands)[..], bytes);
        assert_eq!(unpack(&Bytes::copy_from_slice(&bytes)).as_deref(), Ok(&commands[..]));
        let kinds = [EntryKind::Noop, EntryKind::Commands, EntryKind::Membership, EntryKind::Session];
        assert_eq!(kinds.map(EntryKind::as_u8), [0, 1, 2, 3]);
        assert_eq!([0, 1, 2, 3].map(EntryKind::from_u8), kinds.map(Some));
    }

    #[test]
    fn the_count_is_read_off_the_head() {
        let count = |kind, data: Bytes| command_count(&Entry { id: LogId::new(1, 1), kind, data });
        let commands = vec![Bytes::from_static(b"abc"); 300];
        let plain = pack(&commands);
        let marked: Vec<_> = commands.into_iter().map(|command| (None, command)).collect();
        let marked = crate::session::pack_marked(Default::default(), &marked);
        for data in [plain, marked] {
            assert_eq!(count(EntryKind::Commands, data.clone()), Some(300));
            for other in [EntryKind::Noop, EntryKind::Membership, EntryKind::Session] {
                assert_eq!(count(other, data.clone()), None, "its first byte means something else");
            }
        }
        for other in [&[][..], &[0, 1, 0, 0], &[9; 40]] {
            assert_eq!(count(EntryKind::Commands, Bytes::from_static(other)), None);
        }
    }

    #[test]
    fn damage_is_refused() {
        let good = pack(&[Bytes::from_static(b"abc"), Bytes::from_static(b"de")]);
        for cut in 0..good.len() {
            assert!(unpack(&good.slice(..cut)).is_err(), "cut at {cut}");
        }
        let mut long = BytesMut::from(&good[..]);
        long.put_u8(0);
        assert_eq!(unpack(&long.freeze()), Err(MalformedPack { what: "bytes after the last command" }));
        let bomb = Bytes::from_static(&[0, 255, 255, 255, 255, 0, 0]);
        assert_eq!(unpack(&bomb), Err(MalformedPack { what: "count exceeds the entry" }));
        assert_eq!(unpack(&Bytes::from_static(&[9])), Err(MalformedPack { what: "unknown format" }));
    }
}
