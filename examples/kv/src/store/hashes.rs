//! Hashes.

use super::strings::sum;
use super::{Refused, Store, Trie, Value, WRONG_TYPE};
use crate::resp::Reply;

type Hash = Trie<Vec<u8>>;

impl Store {
    fn hash(&self, key: &[u8]) -> Result<Option<&Hash>, Refused> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Hash(hash)) => Ok(Some(hash)),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    fn hash_mut(&mut self, key: &[u8]) -> Option<&mut Hash> {
        match self.value_or_insert(key, || Value::Hash(Trie::default())) {
            Value::Hash(hash) => Some(hash),
            _ => None,
        }
    }

    pub(super) fn hash_set(&mut self, key: &[u8], pairs: &[&[u8]], reply: &mut Reply) -> Result<(), Refused> {
        let (pairs, odd) = pairs.as_chunks::<2>();
        if !odd.is_empty() || pairs.is_empty() {
            return Err("ERR wrong number of arguments for 'hset' command");
        }
        self.hash(key)?;
        let mut added = 0;
        if let Some(hash) = self.hash_mut(key) {
            for [field, value] in pairs {
                added += usize::from(hash.insert(field, value.to_vec()));
            }
        }
        reply.count(added);
        Ok(())
    }

    pub(super) fn hash_get(&self, key: &[u8], field: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        reply.bulk_or_null(self.hash(key)?.and_then(|hash| hash.get(field)).map(Vec::as_slice));
        Ok(())
    }

    pub(super) fn hash_all(&self, key: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        let Some(hash) = self.hash(key)? else {
            reply.map(0);
            return Ok(());
        };
        reply.map(hash.len());
        for (_, field, value) in hash.iter() {
            reply.bulk(field);
            reply.bulk(value);
        }
        Ok(())
    }

    pub(super) fn hash_length(&self, key: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        reply.count(self.hash(key)?.map_or(0, Hash::len));
        Ok(())
    }

    pub(super) fn hash_delete(
        &mut self,
        key: &[u8],
        fields: &[&[u8]],
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        let any = self.hash(key)?.is_some_and(|hash| fields.iter().any(|field| hash.contains(field)));
        let mut removed = 0;
        let mut empty = false;
        if any && let Some(hash) = self.hash_mut(key) {
            removed = fields.iter().filter(|field| hash.remove(field)).count();
            empty = hash.is_empty();
        }
        if empty {
            self.remove(key);
        }
        reply.count(removed);
        Ok(())
    }

    pub(super) fn hash_add(
        &mut self,
        key: &[u8],
        field: &[u8],
        by: &[u8],
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        let before = self.hash(key)?.and_then(|hash| hash.get(field)).map(Vec::as_slice);
        let sum = sum(before, by, "ERR hash value is not an integer")?;
        if let Some(hash) = self.hash_mut(key) {
            hash.insert(field, sum.to_string().into_bytes());
        }
        reply.integer(sum);
        Ok(())
    }
}
