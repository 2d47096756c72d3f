//! A moment of the data as bytes, piece by piece.

use bytes::Bytes;
use crc32c::crc32c_append;

use super::format::{END, HASH, LIST, MAGIC, SET, TEXT, VERSION};
use crate::store::{Object, Store, Value, aside};

/// A piece has about so many bytes: what is made at once, while nothing else runs on this thread.
const PIECE_BYTES: usize = 64 << 10;

/// A key, a field or a member after which to go on: they are walked in the order of their hashes.
type After = Option<(u64, Box<[u8]>)>;

/// Where the walk stands.
#[derive(Debug)]
enum Stage {
    Head,
    /// After this key.
    Keys(After),
    /// In the value of this key.
    Inside(u64, Box<[u8]>, Place),
    Done,
}

/// Where the walk stands in a value.
#[derive(Debug)]
enum Place {
    /// A byte of a string, an element of a list.
    At(usize),
    /// Fields and members.
    After(After),
}

/// Makes the bytes.
#[derive(Debug)]
pub(crate) struct Encoder {
    store: Store,
    stage: Stage,
    checksum: u32,
}

impl Encoder {
    /// Of data as it is now. Takes no time.
    pub(crate) fn new(store: Store) -> Self {
        Self { store, stage: Stage::Head, checksum: 0 }
    }

    /// The next piece; `None` after the last one.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 4);
        while out.len() < PIECE_BYTES {
            self.stage = match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Head => {
                    out.extend_from_slice(&MAGIC);
                    out.extend_from_slice(&VERSION.to_le_bytes());
                    put_u64(&mut out, self.store.changes);
                    put_u64(&mut out, self.store.len() as u64);
                    Stage::Keys(None)
                }
                Stage::Keys(after) => match keys(&self.store, after, &mut out) {
                    Some(stage) => stage,
                    None => {
                        out.push(END);
                        let checksum = crc32c_append(self.checksum, &out);
                        out.extend_from_slice(&checksum.to_le_bytes());
                        return Some(out.into());
                    }
                },
                Stage::Inside(hash, key, place) => {
                    // It is there: the data of this moment does not change.
                    let value = self.store.objects.get(&key).map(|object| &object.value);
                    match value.and_then(|value| put_rest(value, place, &mut out)) {
                        Some(place) => Stage::Inside(hash, key, place),
                        None => Stage::Keys(Some((hash, key))),
                    }
                }
                Stage::Done => return None,
            };
        }
        self.checksum = crc32c_append(self.checksum, &out);
        Some(out.into())
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // What has changed meanwhile is freed now.
        aside(std::mem::take(&mut self.store));
    }
}

fn put_u32(out: &mut Vec<u8>, number: usize) {
    // Nothing that a client can send or make is as long as that.
    out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// Whether a walk has been there already.
fn passed(after: &After, hash: u64, key: &[u8]) -> bool {
    after.as_ref().is_some_and(|(last, known)| (hash, key) <= (*last, &**known))
}

fn start(after: &After) -> u64 {
    after.as_ref().map_or(0, |(hash, _)| *hash)
}

/// Writes keys while there is room. `None`: there are no more.
fn keys(store: &Store, after: After, out: &mut Vec<u8>) -> Option<Stage> {
    let rest = store.objects.from(start(&after)).filter(|(hash, key, _)| !passed(&after, *hash, key));
    let mut last = None;
    for (hash, key, object) in rest {
        if out.len() >= PIECE_BYTES {
            return Some(Stage::Keys(last.or(after)));
        }
        if let Some(place) = put_object(key, object, out) {
            return Some(Stage::Inside(hash, key.into(), place));
        }
        // Only the last one of a piece is needed.
        if out.len() >= PIECE_BYTES {
            last = Some((hash, key.into()));
        }
    }
    None
}

/// Writes a key and as much of its value as there is room for; where to go on if that is not all.
fn put_object(key: &[u8], object: &Object, out: &mut Vec<u8>) -> Option<Place> {
    let Object { version, value } = object;
    let (kind, count, place) = match value {
        Value::Text(text) => (TEXT, text.len(), Place::At(0)),
        Value::List(list) => (LIST, list.len(), Place::At(0)),
        Value::Hash(hash) => (HASH, hash.len(), Place::After(None)),
        Value::Set(set) => (SET, set.len(), Place::After(None)),
    };
    out.push(kind);
    put_u64(out, *version);
    put_u32(out, key.len());
    put_u64(out, count as u64);
    out.extend_from_slice(key);
    put_rest(value, place, out)
}

/// Writes as much of a value as there is room for; where to go on if that is not all.
fn put_rest(value: &Value, place: Place, out: &mut Vec<u8>) -> Option<Place> {
    match (value, place) {
        (Value::Text(text), Place::At(from)) => {
            let rest = text.get(from..).unwrap_or_default();
            let now = rest.get(..PIECE_BYTES.saturating_sub(out.len())).unwrap_or(rest);
            out.extend_from_slice(now);
            (now.len() < rest.len()).then_some(Place::At(from + now.len()))
        }
        (Value::List(list), Place::At(from)) => {
            for (at, element) in (from..).zip(list.from(from)) {
                if out.len() >= PIECE_BYTES {
                    return Some(Place::At(at));
                }
                put_u32(out, element.len());
                out.extend_from_slice(element);
            }
            None
        }
        (Value::Hash(fields), Place::After(after)) => {
            let mut last = None;
            for (hash, field, value) in fields.from(start(&after)) {
                if passed(&after, hash, field) {
                    continue;
                }
                if out.len() >= PIECE_BYTES {
                    return Some(Place::After(last.or(after)));
                }
                put_u32(out, field.len());
                put_u32(out, value.len());
                out.extend_from_slice(field);
                out.extend_from_slice(value);
                if out.len() >= PIECE_BYTES {
                    last = Some((hash, field.into()));
                }
            }
            None
        }
        (Value::Set(members), Place::After(after)) => {
            let mut last = None;
            for (hash, member, ()) in members.from(start(&after)) {
                if passed(&after, hash, member) {
                    continue;
                }
                if out.len() >= PIECE_BYTES {
                    return Some(Place::After(last.or(after)));
                }
                put_u32(out, member.len());
                out.extend_from_slice(member);
                if out.len() >= PIECE_BYTES {
                    last = Some((hash, member.into()));
                }
            }
            None
        }
        // A place is made for its own value only.
        (_, Place::At(_) | Place::After(_)) => None,
    }
}
