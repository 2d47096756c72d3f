//! Lists.

use super::numbers::integer;
use super::{List, Refused, Store, Value, WRONG_TYPE};
use crate::resp::Reply;

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Left,
    Right,
}

impl Store {
    fn list(&self, key: &[u8]) -> Result<Option<&List>, Refused> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::List(list)) => Ok(Some(list)),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    pub(super) fn push(
        &mut self,
        key: &[u8],
        values: &[&[u8]],
        end: End,
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        self.list(key)?;
        if let Value::List(list) = self.value_or_insert(key, || Value::List(List::default())) {
            for value in values {
                match end {
                    End::Left => list.push_front(value),
                    End::Right => list.push_back(value),
                }
            }
            reply.count(list.len());
        }
        Ok(())
    }

    pub(super) fn pop(
        &mut self,
        key: &[u8],
        count: &[&[u8]],
        end: End,
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        const NOT_POSITIVE: Refused = "ERR value is out of range, must be positive";
        let wanted = match count {
            [] => None,
            [count] => {
                let count = integer(count).map_err(|_| NOT_POSITIVE)?;
                Some(usize::try_from(count).map_err(|_| NOT_POSITIVE)?)
            }
            _ => return Err("ERR wrong number of arguments for 'pop' command"),
        };
        let Some(length) = self.list(key)?.map(List::len) else {
            if wanted.is_some() {
                reply.null_array()
            } else {
                reply.null()
            }
            return Ok(());
        };
        let take = wanted.unwrap_or(1).min(length);
        if wanted.is_some() {
            reply.array(take);
        }
        if take > 0
            && let Some(Value::List(list)) = self.value_mut(key)
        {
            for _ in 0..take {
                let value = if end == End::Left { list.pop_front() } else { list.pop_back() };
                reply.bulk_or_null(value.as_deref());
            }
        }
        if take == length {
            self.remove(key);
        }
        Ok(())
    }

    pub(super) fn list_length(&self, key: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        reply.count(self.list(key)?.map_or(0, List::len));
        Ok(())
    }

    pub(super) fn list_range(
        &self,
        key: &[u8],
        from: &[u8],
        to: &[u8],
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        let (from, to) = (integer(from)?, integer(to)?);
        let Some(list) = self.list(key)? else {
            reply.array(0);
            return Ok(());
        };
        let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
        let place = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
        let from = usize::try_from(place(from)).unwrap_or(0);
        let end = usize::try_from(place(to).saturating_add(1)).unwrap_or(0).min(list.len());
        let count = end.saturating_sub(from);
        reply.array(count);
        for value in list.from(from).take(count) {
            reply.bulk(value);
        }
        Ok(())
    }
}
