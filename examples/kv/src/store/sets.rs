//! Sets.

use super::{Refused, Store, Trie, Value, WRONG_TYPE};
use crate::resp::Reply;

type Set = Trie<()>;

impl Store {
    fn members(&self, key: &[u8]) -> Result<Option<&Set>, Refused> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Set(set)) => Ok(Some(set)),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    fn members_mut(&mut self, key: &[u8]) -> Option<&mut Set> {
        match self.value_or_insert(key, || Value::Set(Trie::default())) {
            Value::Set(set) => Some(set),
            _ => None,
        }
    }

    pub(super) fn set_add(
        &mut self,
        key: &[u8],
        members: &[&[u8]],
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        let set = self.members(key)?;
        let new = |member: &&&[u8]| set.is_none_or(|set| !set.contains(member));
        let mut added = 0;
        if members.iter().any(|member| new(&member))
            && let Some(set) = self.members_mut(key)
        {
            added = members.iter().filter(|member| set.insert(member, ())).count();
        }
        reply.count(added);
        Ok(())
    }

    pub(super) fn set_remove(
        &mut self,
        key: &[u8],
        members: &[&[u8]],
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        let any = self.members(key)?.is_some_and(|set| members.iter().any(|member| set.contains(member)));
        let mut removed = 0;
        let mut empty = false;
        if any && let Some(set) = self.members_mut(key) {
            removed = members.iter().filter(|member| set.remove(member)).count();
            empty = set.is_empty();
        }
        if empty {
            self.remove(key);
        }
        reply.count(removed);
        Ok(())
    }

    pub(super) fn set_members(&self, key: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        let Some(set) = self.members(key)? else {
            reply.set(0);
            return Ok(());
        };
        reply.set(set.len());
        for (_, member, ()) in set.iter() {
            reply.bulk(member);
        }
        Ok(())
    }

    pub(super) fn set_contains(&self, key: &[u8], member: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        reply.count(usize::from(self.members(key)?.is_some_and(|set| set.contains(member))));
        Ok(())
    }

    pub(super) fn set_length(&self, key: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        reply.count(self.members(key)?.map_or(0, Set::len));
        Ok(())
    }
}
