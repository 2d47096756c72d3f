//! Keys as such.

use super::numbers::integer;
use super::{NOT_AN_INTEGER, Refused, SYNTAX, Store, Value, aside, glob};
use crate::resp::Reply;

impl Value {
    /// As `TYPE` says it.
    const fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::List(_) => "list",
            Self::Hash(_) => "hash",
            Self::Set(_) => "set",
        }
    }
}

impl Store {
    pub(super) fn exists(&self, keys: &[&[u8]], reply: &mut Reply) -> Result<(), Refused> {
        reply.count(keys.iter().filter(|key| self.value(key).is_some()).count());
        Ok(())
    }

    pub(super) fn delete(&mut self, keys: &[&[u8]], reply: &mut Reply) -> Result<(), Refused> {
        reply.count(keys.iter().filter(|key| self.remove(key)).count());
        Ok(())
    }

    pub(super) fn flush(&mut self, options: &[&[u8]], reply: &mut Reply) -> Result<(), Refused> {
        match options {
            [] => {}
            [word] if word.eq_ignore_ascii_case(b"sync") || word.eq_ignore_ascii_case(b"async") => {}
            _ => return Err(SYNTAX),
        }
        self.changes += 1;
        aside(Self { objects: std::mem::take(&mut self.objects), ..Self::default() });
        reply.ok();
        Ok(())
    }

    pub(super) fn type_of(&self, key: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        reply.simple(self.value(key).map_or("none", Value::type_name));
        Ok(())
    }

    pub(super) fn matching(&self, pattern: &[u8], reply: &mut Reply) -> Result<(), Refused> {
        let keys = self.objects.from(0).map(|(_, key, _)| key);
        let found: Vec<&[u8]> = keys.filter(|key| glob::matches(pattern, key)).collect();
        reply.array(found.len());
        for key in found {
            reply.bulk(key);
        }
        Ok(())
    }

    /// The cursor is the hash of the first key not yet shown. Keys of one hash are shown together, so
    /// that a key that is there all the time is shown exactly once.
    pub(super) fn scan(&self, cursor: &[u8], options: &[&[u8]], reply: &mut Reply) -> Result<(), Refused> {
        let cursor: u64 = std::str::from_utf8(cursor)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or("ERR invalid cursor")?;
        let mut pattern: Option<&[u8]> = None;
        let mut type_name = None;
        let mut count = 10;
        let (options, odd) = options.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(SYNTAX);
        }
        for [name, value] in options {
            match name.to_ascii_uppercase().as_slice() {
                b"MATCH" => pattern = Some(value),
                b"TYPE" => type_name = Some(value.to_ascii_lowercase()),
                b"COUNT" => {
                    let wanted = integer(value).map_err(|_| NOT_AN_INTEGER)?;
                    count = usize::try_from(wanted).ok().filter(|count| *count > 0).ok_or(SYNTAX)?;
                }
                _ => return Err(SYNTAX),
            }
        }
        let mut found: Vec<&[u8]> = Vec::new();
        let mut next = 0;
        let mut last = None;
        for (seen, (hash, key, object)) in self.objects.from(cursor).enumerate() {
            if seen >= count && last != Some(hash) {
                next = hash;
                break;
            }
            last = Some(hash);
            let fits = pattern.is_none_or(|pattern| glob::matches(pattern, key))
                && type_name.as_ref().is_none_or(|name| object.value.type_name().as_bytes() == name);
            if fits {
                found.push(key);
            }
        }
        reply.array(2);
        reply.bulk(next.to_string().as_bytes());
        reply.array(found.len());
        for key in found {
            reply.bulk(key);
        }
        Ok(())
    }
}
