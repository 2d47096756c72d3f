//! Data from bytes that arrive in pieces of any size.

use crc32c::crc32c_append;
use xxhash_rust::xxh3::xxh3_64;

use super::format::{END, HASH, LIST, MAGIC, SET, TEXT, VERSION};
use crate::store::{List, Object, STRING_LIMIT_BYTES, Store, Trie, Value};

/// Why bytes are no snapshot of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadSnapshot {
    #[error("not a snapshot of raft-kv")]
    Foreign,
    #[error("of version {0} of the format, this program knows {VERSION}")]
    Version(u32),
    #[error("the checksum does not match")]
    Checksum,
    #[error("it ends too early")]
    Short,
    #[error("{0}")]
    Malformed(&'static str),
}

/// What is expected next.
#[derive(Debug)]
enum Next {
    Head,
    Item,
    /// Elements of the value of a key: so many are missing.
    Element(Open, u64),
    End,
}

/// A key whose value is not complete.
#[derive(Debug)]
struct Open {
    key: Box<[u8]>,
    object: Object,
    /// The hash of the field or member before.
    last: Option<u64>,
}

/// Takes bytes and builds the data.
#[derive(Debug)]
pub(crate) struct Decoder {
    store: Store,
    /// How many keys were announced.
    keys: u64,
    next: Next,
    /// The key before.
    last: Option<(u64, Box<[u8]>)>,
    /// Bytes that are not a whole unit yet.
    waiting: Vec<u8>,
    checksum: u32,
}

/// Takes parts off the front of bytes; `None` if they do not reach.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (now, later) = self.0.split_at_checked(count)?;
        self.0 = later;
        Some(now)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }

    /// A length, and whether it is within the limit.
    fn length(&mut self, limit: usize) -> Option<Result<usize, BadSnapshot>> {
        let length = self.u32()? as usize;
        Some(if length <= limit {
            Ok(length)
        } else {
            Err(BadSnapshot::Malformed("longer than anything can be"))
        })
    }
}

impl Default for Decoder {
    fn default() -> Self {
        let (store, waiting) = (Store::default(), Vec::new());
        Self { store, keys: 0, next: Next::Head, last: None, waiting, checksum: 0 }
    }
}

impl Decoder {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`BadSnapshot`]; it is of no more use then.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), BadSnapshot> {
        if self.waiting.is_empty() {
            let read = self.units(bytes)?;
            self.waiting.extend_from_slice(bytes.get(read..).unwrap_or_default());
        } else {
            let mut joined = std::mem::take(&mut self.waiting);
            joined.extend_from_slice(bytes);
            let read = self.units(&joined)?;
            joined.drain(..read);
            self.waiting = joined;
        }
        Ok(())
    }

    /// Reads what is whole; how many bytes that was.
    fn units(&mut self, bytes: &[u8]) -> Result<usize, BadSnapshot> {
        let mut input = Input(bytes);
        while !input.0.is_empty() {
            let mut unit = Input(input.0);
            match self.unit(&mut unit) {
                None => break,
                Some(done) => done?,
            }
            input = unit;
        }
        Ok(bytes.len() - input.0.len())
    }

    /// The data, if all of it has come.
    ///
    /// # Errors
    /// [`BadSnapshot::Short`]
    pub(crate) fn finish(self) -> Result<Store, BadSnapshot> {
        let whole = matches!(self.next, Next::End) && self.waiting.is_empty();
        if whole { Ok(self.store) } else { Err(BadSnapshot::Short) }
    }

    /// Reads one unit; `None` if it is not all there.
    fn unit(&mut self, input: &mut Input<'_>) -> Option<Result<(), BadSnapshot>> {
        let before = input.0;
        let end = match std::mem::replace(&mut self.next, Next::End) {
            Next::Head => {
                self.next = Next::Head;
                self.head(input)?.map(|()| self.next = Next::Item).map(|()| None)
            }
            Next::Item => {
                self.next = Next::Item;
                self.item(input)?
            }
            Next::Element(mut open, left) => match element(&mut open, left, input) {
                None => {
                    self.next = Next::Element(open, left);
                    return None;
                }
                Some(Ok(0)) => {
                    self.next = Next::Item;
                    self.put(open);
                    Ok(None)
                }
                Some(Ok(left)) => {
                    self.next = Next::Element(open, left);
                    Ok(None)
                }
                Some(Err(error)) => Err(error),
            },
            Next::End => Err(BadSnapshot::Malformed("something follows the end")),
        };
        let end = match end {
            Ok(end) => end,
            Err(error) => return Some(Err(error)),
        };
        let read = before.len() - input.0.len() - if end.is_some() { 4 } else { 0 };
        self.checksum = crc32c_append(self.checksum, before.get(..read).unwrap_or_default());
        match end {
            Some(checksum) if checksum != self.checksum => Some(Err(BadSnapshot::Checksum)),
            Some(_) => {
                self.next = Next::End;
                Some(Ok(()))
            }
            None => Some(Ok(())),
        }
    }

    fn head(&mut self, input: &mut Input<'_>) -> Option<Result<(), BadSnapshot>> {
        // A foreign one is told by its first bytes, however short it is.
        if !input.0.iter().zip(&MAGIC).all(|(found, wanted)| found == wanted) {
            return Some(Err(BadSnapshot::Foreign));
        }
        input.take(4)?;
        let version = input.u32()?;
        if version != VERSION {
            return Some(Err(BadSnapshot::Version(version)));
        }
        self.store.changes = input.u64()?;
        self.keys = input.u64()?;
        Some(Ok(()))
    }

    /// The beginning of an item, or the end: then its checksum.
    #[allow(clippy::type_complexity, reason = "not there, not right, not the end")]
    fn item(&mut self, input: &mut Input<'_>) -> Option<Result<Option<u32>, BadSnapshot>> {
        let malformed = |why| Some(Err(BadSnapshot::Malformed(why)));
        let kind = *input.take(1)?.first()?;
        if kind == END {
            let checksum = input.u32()?;
            if self.store.len() as u64 != self.keys {
                return malformed("not as many keys as were announced");
            }
            return Some(Ok(Some(checksum)));
        }
        let version = input.u64()?;
        let length = match input.length(STRING_LIMIT_BYTES)? {
            Ok(length) => length,
            Err(error) => return Some(Err(error)),
        };
        let count = input.u64()?;
        let value = match kind {
            TEXT => Value::Text(Vec::new()),
            LIST => Value::List(List::default()),
            HASH => Value::Hash(Trie::default()),
            SET => Value::Set(Trie::default()),
            _ => return malformed("an item of an unknown kind"),
        };
        if kind == TEXT && count > STRING_LIMIT_BYTES as u64 {
            return malformed("a string that is too long");
        }
        if kind != TEXT && count == 0 {
            return malformed("a key with nothing in it");
        }
        if version == 0 || version > self.store.changes {
            return malformed("a key of a change that there was not");
        }
        let key = input.take(length)?;
        let hash = xxh3_64(key);
        if self.last.as_ref().is_some_and(|(last, before)| (hash, key) <= (*last, &**before)) {
            return malformed("keys out of order");
        }
        self.last = Some((hash, key.into()));
        let open = Open { key: key.into(), object: Object { version, value }, last: None };
        if count == 0 {
            self.put(open);
        } else {
            self.next = Next::Element(open, count);
        }
        Some(Ok(None))
    }

    fn put(&mut self, open: Open) {
        self.store.objects.insert(&open.key, open.object);
    }
}

/// Reads an element, or some bytes of a string; how many are missing then.
fn element(open: &mut Open, left: u64, input: &mut Input<'_>) -> Option<Result<u64, BadSnapshot>> {
    macro_rules! length {
        () => {
            match input.length(STRING_LIMIT_BYTES)? {
                Ok(length) => length,
                Err(error) => return Some(Err(error)),
            }
        };
    }
    let mut in_order = |hash: u64| open.last.replace(hash).is_none_or(|last| last <= hash);
    let sound = match &mut open.object.value {
        Value::Text(text) => {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(input.0.len());
            text.extend_from_slice(input.take(most)?);
            return Some(Ok(left - most as u64));
        }
        Value::List(list) => {
            let length = length!();
            list.push_back(input.take(length)?);
            true
        }
        Value::Hash(fields) => {
            let (field, value) = (length!(), length!());
            let (field, value) = (input.take(field)?, input.take(value)?);
            fields.insert(field, value.to_vec()) && in_order(xxh3_64(field))
        }
        Value::Set(members) => {
            let length = length!();
            let member = input.take(length)?;
            members.insert(member, ()) && in_order(xxh3_64(member))
        }
    };
    Some(if sound { Ok(left - 1) } else { Err(BadSnapshot::Malformed("fields or members out of order")) })
}
