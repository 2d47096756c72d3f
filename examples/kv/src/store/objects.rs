//! Keys and what is at them: found by a hash table, walked in the order of a hash of fixed seed.
//!
//! A change of a value touches the table only; the order changes with the keys. The table itself is
//! seeded at random and never walked, so that neither clients nor chance can order anything by it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use xxhash_rust::xxh3::xxh3_64;

use super::Object;

/// All keys of one hash; nearly always one.
#[derive(Debug)]
struct Slot {
    key: Box<[u8]>,
    object: Object,
    others: BTreeMap<Box<[u8]>, Object>,
}

/// Keys and their objects.
#[derive(Debug, Default)]
pub(super) struct Objects {
    table: HashMap<u64, Slot>,
    order: BTreeSet<u64>,
    count: usize,
}

impl Objects {
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Object> {
        let slot = self.table.get(&xxh3_64(key))?;
        if *slot.key == *key { Some(&slot.object) } else { slot.others.get(key) }
    }

    pub(super) fn get_mut(&mut self, key: &[u8]) -> Option<&mut Object> {
        let slot = self.table.get_mut(&xxh3_64(key))?;
        if *slot.key == *key { Some(&mut slot.object) } else { slot.others.get_mut(key) }
    }

    /// Puts an object at a key, in place of what was there.
    pub(super) fn insert(&mut self, key: &[u8], object: Object) {
        let mut object = Some(object);
        let place = self.get_or_insert(key, || object.take().unwrap_or_default());
        if let Some(object) = object {
            *place = object;
        }
    }

    /// What is at a key; made first if need be.
    pub(super) fn get_or_insert(&mut self, key: &[u8], make: impl FnOnce() -> Object) -> &mut Object {
        let hash = xxh3_64(key);
        match self.table.entry(hash) {
            Entry::Vacant(vacant) => {
                self.count += 1;
                self.order.insert(hash);
                let slot = Slot { key: key.into(), object: make(), others: BTreeMap::new() };
                &mut vacant.insert(slot).object
            }
            Entry::Occupied(occupied) => {
                let slot = occupied.into_mut();
                if *slot.key == *key {
                    return &mut slot.object;
                }
                let before = slot.others.len();
                if !slot.others.contains_key(key) {
                    slot.others.insert(key.into(), make());
                }
                self.count += slot.others.len() - before;
                // It is there: it was, or has just been made.
                slot.others.entry(key.into()).or_default()
            }
        }
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Object> {
        let hash = xxh3_64(key);
        let slot = self.table.get_mut(&hash)?;
        let removed = if *slot.key != *key {
            slot.others.remove(key)?
        } else if let Some((other, object)) = slot.others.pop_first() {
            slot.key = other;
            std::mem::replace(&mut slot.object, object)
        } else {
            self.order.remove(&hash);
            self.table.remove(&hash)?.object
        };
        self.count -= 1;
        Some(removed)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Hash, key and object of all keys from a hash on, in order. Keys of one hash come together.
    pub(super) fn from(&self, hash: u64) -> impl Iterator<Item = (u64, &[u8], &Object)> {
        self.order.range(hash..).filter_map(|hash| Some((*hash, self.table.get(hash)?))).flat_map(
            |(hash, slot)| {
                let others = slot.others.iter().map(move |(key, object)| (hash, &**key, object));
                std::iter::once((hash, &*slot.key, &slot.object)).chain(others)
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Value;

    fn object(version: u64) -> Object {
        Object { version, value: Value::Text(Vec::new()) }
    }

    fn keys(objects: &Objects) -> BTreeMap<Vec<u8>, u64> {
        objects.from(0).map(|(_, key, object)| (key.to_vec(), object.version)).collect()
    }

    #[test]
    fn a_thousand_changes_are_as_in_a_plain_map() {
        let (mut objects, mut plain) = (Objects::default(), BTreeMap::new());
        let mut random = 1_u64;
        for version in 0..1000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = ((random >> 33) % 60).to_string().into_bytes();
            if random >> 63 == 0 {
                objects.insert(&key, object(version));
                plain.insert(key, version);
            } else {
                assert_eq!(objects.remove(&key).map(|object| object.version), plain.remove(&key));
            }
            assert_eq!(keys(&objects), plain);
            assert_eq!(objects.len(), plain.len());
        }
        let hashes: Vec<u64> = objects.from(0).map(|(hash, ..)| hash).collect();
        assert!(hashes.is_sorted());
        objects.clear();
        assert_eq!((objects.len(), objects.from(0).count()), (0, 0));
    }

    /// Two keys of one hash, which nobody finds by chance: made by hand.
    #[test]
    fn keys_of_one_hash_live_side_by_side() {
        let mut objects = Objects::default();
        objects.insert(b"a", object(1));
        let hash = xxh3_64(b"a");
        let slot = objects.table.get_mut(&hash).unwrap();
        slot.key = b"other".as_slice().into();
        slot.others.insert(b"a".as_slice().into(), object(2));
        objects.count = 2;
        assert_eq!(objects.get(b"a").map(|object| object.version), Some(2));
        assert_eq!(objects.from(hash).count(), 2);
        assert_eq!(objects.remove(b"a").map(|object| object.version), Some(2));
        assert_eq!(objects.from(0).map(|(_, key, _)| key).collect::<Vec<_>>(), [b"other"]);
        assert!(objects.get(b"a").is_none());
    }
}
