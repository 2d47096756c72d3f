//! Replies as bytes.
//!
//! Inside the server a reply is RESP3, with one addition: `*-1` for the null that RESP2 writes as a null
//! array. [`translate`] turns it into what a connection has asked for.

use std::io::Write;

/// Writes replies one after the other into a buffer.
#[derive(Debug, Default)]
pub(crate) struct Reply(Vec<u8>);

impl Reply {
    /// More of them, after these.
    pub(crate) const fn after(replies: Vec<u8>) -> Self {
        Self(replies)
    }

    /// Its bytes.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is nothing but `+OK`.
    pub(crate) fn is_ok(&self) -> bool {
        self.0 == b"+OK\r\n"
    }

    /// Forgets what was written after the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn head(&mut self, kind: char, number: impl std::fmt::Display) {
        // Writing into a Vec cannot fail.
        let _ = write!(self.0, "{kind}{number}\r\n");
    }

    /// `+OK`.
    pub(crate) fn ok(&mut self) {
        self.0.extend_from_slice(b"+OK\r\n");
    }

    /// A short word.
    pub(crate) fn simple(&mut self, word: &str) {
        self.head('+', word);
    }

    /// An error: a code in capitals and a sentence. Line ends in it become spaces.
    pub(crate) fn error(&mut self, text: &str) {
        self.0.push(b'-');
        self.0.extend(text.bytes().map(|byte| if byte < b' ' { b' ' } else { byte }));
        self.0.extend_from_slice(b"\r\n");
    }

    /// A number.
    pub(crate) fn integer(&mut self, number: i64) {
        self.head(':', number);
    }

    /// A count.
    pub(crate) fn count(&mut self, count: usize) {
        self.head(':', count);
    }

    /// Bytes.
    pub(crate) fn bulk(&mut self, bytes: &[u8]) {
        self.head('$', bytes.len());
        self.0.extend_from_slice(bytes);
        self.0.extend_from_slice(b"\r\n");
    }

    /// Bytes, or null.
    pub(crate) fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// Null where bytes would be.
    pub(crate) fn null(&mut self) {
        self.0.extend_from_slice(b"_\r\n");
    }

    /// Null where an array would be.
    pub(crate) fn null_array(&mut self) {
        self.0.extend_from_slice(b"*-1\r\n");
    }

    /// The head of an array of so many replies.
    pub(crate) fn array(&mut self, count: usize) {
        self.head('*', count);
    }

    /// The head of a map of so many pairs.
    pub(crate) fn map(&mut self, pairs: usize) {
        self.head('%', pairs);
    }

    /// The head of a set of so many replies.
    pub(crate) fn set(&mut self, count: usize) {
        self.head('~', count);
    }

    /// Replies that were made before.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// What connections begin with.
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// Whether a reply is the same in both: most are.
const fn needs_no_translation(reply: &[u8]) -> bool {
    matches!(reply, [b'+' | b'-' | b':' | b'$', ..])
}

/// Translates a reply that stands behind others.
pub(crate) fn translate_from(replies: &mut Vec<u8>, from: usize, protocol: Protocol) {
    if !replies.get(from..).is_some_and(needs_no_translation) {
        let reply = replies.split_off(from.min(replies.len()));
        translate(&reply, protocol, replies);
    }
}

/// Appends a reply, translated.
pub(crate) fn translate(reply: &[u8], protocol: Protocol, into: &mut Vec<u8>) {
    if needs_no_translation(reply) {
        into.extend_from_slice(reply);
        return;
    }
    let mut rest = reply;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = rest.split_at(end + 1);
        rest = after;
        let number = || {
            let digits = line.get(1..line.len().saturating_sub(2))?;
            std::str::from_utf8(digits).ok()?.parse::<i64>().ok()
        };
        match (line.first(), protocol) {
            (Some(b'*'), Protocol::Resp3) if number() == Some(-1) => into.extend_from_slice(b"_\r\n"),
            (Some(b'_'), Protocol::Resp2) => into.extend_from_slice(b"$-1\r\n"),
            (Some(b'%'), Protocol::Resp2) => {
                let pairs = number().unwrap_or(0);
                // Writing into a Vec cannot fail.
                let _ = write!(into, "*{}\r\n", pairs.saturating_mul(2));
            }
            (Some(b'~'), Protocol::Resp2) => {
                into.push(b'*');
                into.extend_from_slice(line.get(1..).unwrap_or_default());
            }
            (Some(b'$'), _) => {
                into.extend_from_slice(line);
                let length = number().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
                let (body, after) = rest.split_at((length + 2).min(rest.len()));
                into.extend_from_slice(body);
                rest = after;
            }
            _ => into.extend_from_slice(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_translated() {
        let mut reply = Reply::default();
        reply.map(1);
        reply.bulk(b"_\r\n%9\r\n");
        reply.set(3);
        reply.null();
        reply.null_array();
        reply.integer(-5);
        let bytes = reply.into_bytes();
        let translated = |protocol| {
            let mut out = Vec::new();
            translate(&bytes, protocol, &mut out);
            let mut others = b"+OK\r\n".to_vec();
            others.extend_from_slice(&bytes);
            translate_from(&mut others, 5, protocol);
            assert_eq!(others, [b"+OK\r\n", &out[..]].concat());
            String::from_utf8(out).unwrap()
        };
        assert_eq!(translated(Protocol::Resp2), "*2\r\n$7\r\n_\r\n%9\r\n\r\n*3\r\n$-1\r\n*-1\r\n:-5\r\n");
        assert_eq!(translated(Protocol::Resp3), "%1\r\n$7\r\n_\r\n%9\r\n\r\n~3\r\n_\r\n_\r\n:-5\r\n");
    }

    #[test]
    fn errors_stay_on_their_line() {
        let mut reply = Reply::default();
        reply.error("ERR unknown command 'a\r\n+OK'");
        assert_eq!(reply.into_bytes(), b"-ERR unknown command 'a  +OK'\r\n");
    }
}
