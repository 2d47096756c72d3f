//! Strings.

use super::numbers::integer;
use super::{NOT_AN_INTEGER, Refused, STRING_LIMIT_BYTES, SYNTAX, Store, Value, WRONG_TYPE};
use crate::resp::Reply;

impl Store {
    fn text(&self, key: &[u8]) -> Result<Option<&[u8]>, Refused> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    pub(super) fn get(&self, key: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        reply.bulk_or_null(self.text(key)?);
        Ok(())
    }

    pub(super) fn get_many(&self, keys: &[&[u8]], reply: &mut Reply) -> Result<(), Refused> {
        reply.array(keys.len());
        for key in keys {
            // A key of another type is null here.
            reply.bulk_or_null(self.text(key).unwrap_or(None));
        }
        Ok(())
    }

    pub(super) fn string_length(&self, key: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        reply.count(self.text(key)?.map_or(0, <[u8]>::len));
        Ok(())
    }

    pub(super) fn set(
        &mut self,
        key: &[u8],
        value: &[u8],
        options: &[&[u8]],
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        let (mut if_absent, mut if_present, mut get) = (false, false, false);
        for option in options {
            match option.to_ascii_uppercase().as_slice() {
                b"NX" => if_absent = true,
                b"XX" => if_present = true,
                b"GET" => get = true,
                _ => return Err(SYNTAX),
            }
        }
        if if_absent && if_present {
            return Err(SYNTAX);
        }
        if get {
            self.get(key, reply)?;
        }
        let exists = (if_absent || if_present) && self.value(key).is_some();
        let sets = !(if_absent && exists || if_present && !exists);
        if sets {
            self.put_text(key, value);
        }
        match (get, sets) {
            (true, _) => {}
            (false, true) => reply.ok(),
            (false, false) => reply.null(),
        }
        Ok(())
    }

    pub(super) fn get_set(&mut self, key: &[u8], value: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        self.get(key, reply)?;
        self.put_text(key, value);
        Ok(())
    }

    pub(super) fn get_del(&mut self, key: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        self.get(key, reply)?;
        self.remove(key);
        Ok(())
    }

    pub(super) fn set_many(&mut self, pairs: &[&[u8]], reply: &mut Reply) -> Result<(), Refused> {
        let (pairs, odd) = pairs.as_chunks::<2>();
        if !odd.is_empty() || pairs.is_empty() {
            return Err("ERR wrong number of arguments for 'mset' command");
        }
        for [key, value] in pairs {
            self.put_text(key, value);
        }
        reply.ok();
        Ok(())
    }

    pub(super) fn set_if_absent(
        &mut self,
        key: &[u8],
        value: &[u8],
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        let absent = self.value(key).is_none();
        if absent {
            self.put_text(key, value);
        }
        reply.count(usize::from(absent));
        Ok(())
    }

    /// `CAS key expected new`: 1 if the key held exactly `expected` and now holds `new`, else 0.
    pub(super) fn compare_and_set(
        &mut self,
        key: &[u8],
        expected: &[u8],
        value: &[u8],
        reply: &mut Reply,
    ) -> Result<(), Refused> {
        let holds = self.text(key)? == Some(expected);
        if holds {
            self.put_text(key, value);
        }
        reply.count(usize::from(holds));
        Ok(())
    }

    pub(super) fn add(&mut self, key: &[u8], by: i64, reply: &mut Reply) -> Result<(), Refused> {
        let number = self.text(key)?.map_or(Ok(0), integer)?;
        let sum = number.checked_add(by).ok_or("ERR increment or decrement would overflow")?;
        self.put_text(key, sum.to_string().as_bytes());
        reply.integer(sum);
        Ok(())
    }

    pub(super) fn subtract(&mut self, key: &[u8], by: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        let by = integer(by)?.checked_neg().ok_or("ERR decrement would overflow")?;
        self.add(key, by, reply)
    }

    pub(super) fn append(&mut self, key: &[u8], more: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        let before = self.text(key)?.map_or(0, <[u8]>::len);
        if before + more.len() > STRING_LIMIT_BYTES {
            return Err("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        }
        if let Value::Text(text) = self.value_or_insert(key, || Value::Text(Vec::new())) {
            text.extend_from_slice(more);
        }
        reply.count(before + more.len());
        Ok(())
    }
}

/// The sum of a number in text, 0 if there is none, and another.
pub(super) fn sum(text: Option<&[u8]>, by: &[u8], not_a_number: Refused) -> Result<i64, Refused> {
    let number = text.map_or(Ok(0), integer).map_err(|_| not_a_number)?;
    let by = integer(by).map_err(|_| NOT_AN_INTEGER)?;
    number.checked_add(by).ok_or("ERR increment or decrement would overflow")
}
