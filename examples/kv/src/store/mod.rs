//! The data: keys and their values, and the commands on them, as Redis defines them.
//!
//! Deterministic: what a command does depends on the data and on its arguments only. Keys are walked in
//! the order of a hash of fixed seed, so that `SCAN` has a cursor that survives all changes.

pub(crate) mod glob;
mod hashes;
mod keys;
mod list;
mod lists;
mod numbers;
mod sets;
mod strings;
mod trie;

#[cfg(test)]
mod tests;

use raft_core::ids::LogId;

pub(crate) use self::list::List;
pub(crate) use self::trie::{Trie, WARM};
use crate::command::Op;
use crate::resp::Reply;

/// The longest string that `APPEND` makes, in bytes; Redis' `proto-max-bulk-len`.
pub(crate) const STRING_LIMIT_BYTES: usize = 512 << 20;

/// Data with more keys than this is freed on a thread of its own.
const ASIDE_KEYS: usize = 10_000;

/// Of the memory of a string that will be written over, so much is looked at beforehand: the processor sees then
/// what comes.
const LINES: usize = 4;
const LINE_BYTES: usize = 64;

/// Frees data where nobody waits for it: that takes a while for many keys.
pub(crate) fn aside(data: Store) {
    if data.len() > ASIDE_KEYS {
        // Without another thread it is freed here.
        let _ = std::thread::Builder::new().name("raft-kv-free".into()).spawn(move || drop(data));
    }
}

/// A value. Cloned for a change while a snapshot shares it: that takes little time but for long strings.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A string.
    Text(Vec<u8>),
    /// A list.
    List(List),
    /// A hash.
    Hash(Trie<Vec<u8>>),
    /// A set.
    Set(Trie<()>),
}

impl Default for Value {
    /// An empty string.
    fn default() -> Self {
        Self::Text(Vec::new())
    }
}

/// What is at a key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Object {
    /// The number of the change that last touched it; see [`Store::version`].
    pub(crate) version: u64,
    pub(crate) value: Value,
}

/// A key under a `WATCH`, and its version when it began. Version 0: there was no such key.
pub(crate) type Watched<'a> = (&'a [u8], u64);

/// An error that a command answers; the data is unchanged.
pub(crate) type Refused = &'static str;

const WRONG_TYPE: Refused = "WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_AN_INTEGER: Refused = "ERR value is not an integer or out of range";
const SYNTAX: Refused = "ERR syntax error";
const TOO_FEW: Refused = "ERR wrong number of arguments for command";

/// The keys and values of a node. A clone is a moment of it, made at once whatever there is in it: it shares
/// what does not change later.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) objects: Trie<Object>,
    /// Counts changes, the same on all nodes.
    pub(crate) changes: u64,
    /// The last entry whose effects are in it.
    pub(crate) applied: LogId,
}

impl Store {
    /// Executes a command, without its name among `args`, and writes one reply.
    pub(crate) fn execute(&mut self, op: Op, args: &[&[u8]], reply: &mut Reply) {
        let start = reply.len();
        if let Err(refused) = self.dispatch(op, args, reply) {
            reply.truncate(start);
            reply.error(refused);
        }
    }

    /// Executes commands as one, unless a watched key has changed. Writes one reply.
    pub(crate) fn transact<'a>(
        &mut self,
        watched: &[Watched<'_>],
        commands: impl ExactSizeIterator<Item = (Op, Vec<&'a [u8]>)>,
        reply: &mut Reply,
    ) {
        if watched.iter().any(|(key, version)| self.version(key) != *version) {
            reply.null_array();
            return;
        }
        reply.array(commands.len());
        for (op, args) in commands {
            self.execute(op, &args, reply);
        }
    }

    /// Looks at the memory that commands on these keys, at most [`WARM`], will need.
    pub(crate) fn warm<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        self.objects.warm(keys, |object| match &object.value {
            Value::Text(text) => {
                text.iter().step_by(LINE_BYTES).take(LINES).fold(0, |seen, byte| seen ^ byte)
            }
            _ => 0,
        });
    }

    /// Executes a command that only reads.
    pub(crate) fn read(&self, op: Op, args: &[&[u8]], reply: &mut Reply) {
        let start = reply.len();
        if let Err(refused) = self.dispatch_read(op, args, reply) {
            reply.truncate(start);
            reply.error(refused);
        }
    }

    /// The number of the change that last touched a key; 0 if there is no such key.
    pub(crate) fn version(&self, key: &[u8]) -> u64 {
        self.object(key).map_or(0, |object| object.version)
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    fn dispatch(&mut self, op: Op, args: &[&[u8]], reply: &mut Reply) -> Result<(), Refused> {
        match (op, args) {
            (Op::Set, [key, value, options @ ..]) => self.set(key, value, options, reply),
            (Op::GetSet, [key, value]) => self.get_set(key, value, reply),
            (Op::GetDel, [key]) => self.get_del(key, reply),
            (Op::MSet, pairs) => self.set_many(pairs, reply),
            (Op::Incr, [key]) => self.add(key, 1, reply),
            (Op::Decr, [key]) => self.add(key, -1, reply),
            (Op::IncrBy, [key, by]) => self.add(key, numbers::integer(by)?, reply),
            (Op::DecrBy, [key, by]) => self.subtract(key, by, reply),
            (Op::Append, [key, value]) => self.append(key, value, reply),
            (Op::SetNx, [key, value]) => self.set_if_absent(key, value, reply),
            (Op::Cas, [key, expected, value]) => self.compare_and_set(key, expected, value, reply),
            (Op::RPush, [key, values @ ..]) => self.push(key, values, lists::End::Right, reply),
            (Op::LPush, [key, values @ ..]) => self.push(key, values, lists::End::Left, reply),
            (Op::LPop, [key, count @ ..]) => self.pop(key, count, lists::End::Left, reply),
            (Op::RPop, [key, count @ ..]) => self.pop(key, count, lists::End::Right, reply),
            (Op::HSet, [key, pairs @ ..]) => self.hash_set(key, pairs, reply),
            (Op::HDel, [key, fields @ ..]) => self.hash_delete(key, fields, reply),
            (Op::HIncrBy, [key, field, by]) => self.hash_add(key, field, by, reply),
            (Op::SAdd, [key, members @ ..]) => self.set_add(key, members, reply),
            (Op::SRem, [key, members @ ..]) => self.set_remove(key, members, reply),
            (Op::Del, keys) => self.delete(keys, reply),
            (Op::FlushAll, options) => self.flush(options, reply),
            _ => self.dispatch_read(op, args, reply),
        }
    }

    fn dispatch_read(&self, op: Op, args: &[&[u8]], reply: &mut Reply) -> Result<(), Refused> {
        match (op, args) {
            (Op::Get, [key]) => self.get(key, reply),
            (Op::MGet, keys) => self.get_many(keys, reply),
            (Op::StrLen, [key]) => self.string_length(key, reply),
            (Op::LRange, [key, from, to]) => self.list_range(key, from, to, reply),
            (Op::LLen, [key]) => self.list_length(key, reply),
            (Op::HGet, [key, field]) => self.hash_get(key, field, reply),
            (Op::HGetAll, [key]) => self.hash_all(key, reply),
            (Op::HLen, [key]) => self.hash_length(key, reply),
            (Op::SMembers, [key]) => self.set_members(key, reply),
            (Op::SIsMember, [key, member]) => self.set_contains(key, member, reply),
            (Op::SCard, [key]) => self.set_length(key, reply),
            (Op::Exists, keys) => self.exists(keys, reply),
            (Op::Type, [key]) => self.type_of(key, reply),
            (Op::Keys, [pattern]) => self.matching(pattern, reply),
            (Op::Scan, [cursor, options @ ..]) => self.scan(cursor, options, reply),
            (Op::DbSize, []) => {
                reply.count(self.len());
                Ok(())
            }
            _ => Err(TOO_FEW),
        }
    }

    fn object(&self, key: &[u8]) -> Option<&Object> {
        self.objects.get(key)
    }

    fn value(&self, key: &[u8]) -> Option<&Value> {
        self.object(key).map(|object| &object.value)
    }

    /// For a change: touches the object.
    fn value_mut(&mut self, key: &[u8]) -> Option<&mut Value> {
        let object = self.objects.get_mut(key)?;
        self.changes += 1;
        object.version = self.changes;
        Some(&mut object.value)
    }

    /// For a change: touches the object, and makes it first if need be.
    fn value_or_insert(&mut self, key: &[u8], empty: fn() -> Value) -> &mut Value {
        self.changes += 1;
        let version = self.changes;
        let object = self.objects.get_or_insert(key, || Object { version, value: empty() });
        object.version = version;
        &mut object.value
    }

    /// Puts a string at a key, in the memory of the one that was there, if it fits well.
    fn put_text(&mut self, key: &[u8], text: &[u8]) {
        self.changes += 1;
        let version = self.changes;
        let make = |text: &[u8]| Object { version, value: Value::Text(text.to_vec()) };
        self.objects.put(key, text, make, |object, text| match &mut object.value {
            Value::Text(old) if text.len() <= old.capacity() && old.capacity() / 2 <= text.len() => {
                old.clear();
                old.extend_from_slice(text);
                object.version = version;
            }
            _ => *object = make(text),
        });
    }

    /// Whether it was there.
    fn remove(&mut self, key: &[u8]) -> bool {
        let removed = self.objects.remove(key);
        self.changes += u64::from(removed);
        removed
    }
}
