//! Requests out of a stream of bytes.
//!
//! A scanner first measures: it finds whether a whole command is there, and refuses what is announced too
//! large or nested before anything of it is kept. Only then the parser sees it, so that the parser never
//! looks at a command twice, never recurses and never allocates for what has not arrived.

use bytes::{Buf, Bytes, BytesMut};
use redis_protocol::resp2::decode::decode_bytes_mut;
use redis_protocol::resp2::types::BytesFrame;

/// What a client may send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// One argument.
    pub(crate) bulk_bytes: usize,
    /// One command with all its arguments.
    pub(crate) command_bytes: usize,
    /// Arguments of one command.
    pub(crate) args: usize,
}

impl Limits {
    /// For clients that have not shown a password.
    pub(crate) const STRANGER: Self = Self { bulk_bytes: 16 << 10, command_bytes: 32 << 10, args: 16 };
}

impl Default for Limits {
    fn default() -> Self {
        Self { bulk_bytes: 16 << 20, command_bytes: 33 << 20, args: 1 << 20 }
    }
}

/// The longest line: an inline command, or a length.
const LINE_LIMIT_BYTES: usize = 64 << 10;

/// The connection must be closed, with this sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    /// A bulk string is announced too large, or its length is no number.
    #[error("invalid bulk length")]
    BulkLength,
    /// Too many arguments are announced, or their count is no number.
    #[error("invalid multibulk length")]
    ArrayLength,
    /// All arguments together are too large.
    #[error("too big command")]
    TooBig,
    /// An argument is something else.
    #[error("expected '$', got '{0}'")]
    NotBulk(char),
    /// A line without an end.
    #[error("too big inline request")]
    LineTooLong,
    /// A quote is not closed.
    #[error("unbalanced quotes in request")]
    Quotes,
    /// The parser refuses what the scanner has let pass.
    #[error("malformed request")]
    Malformed,
}

/// What arrived and is not yet taken.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) buffer: BytesMut,
    /// How far the first command has been measured.
    scanned: usize,
    /// Arguments of the first command that are not yet measured; `None` before its head is.
    missing: Option<usize>,
}

impl Requests {
    /// The next whole command, its name first; never empty. `None` if more must arrive.
    ///
    /// # Errors
    /// [`ProtocolError`]: what follows cannot be told apart any more.
    pub(crate) fn next(&mut self, limits: Limits) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        loop {
            match self.buffer.first() {
                None => return Ok(None),
                Some(b'*') => {
                    if !self.measure(limits)? {
                        return Ok(None);
                    }
                    let args = self.take()?;
                    if !args.is_empty() {
                        return Ok(Some(args));
                    }
                }
                Some(_) => {
                    let Some((line, end)) = self.line()? else { return Ok(None) };
                    let line = self.buffer.split_to(line);
                    self.buffer.advance(end);
                    let args = inline(&line.freeze())?;
                    if !args.is_empty() {
                        return Ok(Some(args));
                    }
                }
            }
        }
    }

    /// Where the first line ends, and how many bytes its end takes: what people type may have a bare one.
    fn line(&self) -> Result<Option<(usize, usize)>, ProtocolError> {
        let window = self.buffer.get(..LINE_LIMIT_BYTES).unwrap_or(&self.buffer);
        let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
            let endless = self.buffer.len() >= LINE_LIMIT_BYTES;
            return if endless { Err(ProtocolError::LineTooLong) } else { Ok(None) };
        };
        match end.checked_sub(1) {
            Some(before) if window.get(before) == Some(&b'\r') => Ok(Some((before, 2))),
            _ => Ok(Some((end, 1))),
        }
    }

    /// The number between a first byte at `from` and the end of its line, and where the next line begins.
    fn number(&self, from: usize, malformed: ProtocolError) -> Result<Option<(i64, usize)>, ProtocolError> {
        let rest = self.buffer.get(from + 1..).unwrap_or_default();
        // No number has more digits.
        let window = rest.get(..22).unwrap_or(rest);
        let Some(end) = window.iter().position(|byte| *byte == b'\r') else {
            return if rest.len() >= 22 { Err(malformed) } else { Ok(None) };
        };
        if rest.len() < end + 2 {
            return Ok(None);
        }
        if rest.get(end + 1) != Some(&b'\n') {
            return Err(malformed);
        }
        let digits = rest.get(..end).and_then(|digits| std::str::from_utf8(digits).ok());
        let number = digits.and_then(|digits| digits.parse().ok()).ok_or(malformed)?;
        Ok(Some((number, from + 1 + end + 2)))
    }

    /// Whether a whole command is there.
    fn measure(&mut self, limits: Limits) -> Result<bool, ProtocolError> {
        if self.missing.is_none() {
            let Some((count, next)) = self.number(0, ProtocolError::ArrayLength)? else { return Ok(false) };
            let count = usize::try_from(count).unwrap_or(0);
            if count > limits.args {
                return Err(ProtocolError::ArrayLength);
            }
            (self.missing, self.scanned) = (Some(count), next);
        }
        while let Some(missing) = self.missing.filter(|missing| *missing > 0) {
            match self.buffer.get(self.scanned) {
                None => return Ok(false),
                Some(b'$') => {}
                Some(other) => return Err(ProtocolError::NotBulk(char::from(*other))),
            }
            let Some((length, next)) = self.number(self.scanned, ProtocolError::BulkLength)? else {
                return Ok(false);
            };
            let length = usize::try_from(length).map_err(|_| ProtocolError::BulkLength)?;
            if length > limits.bulk_bytes {
                return Err(ProtocolError::BulkLength);
            }
            let end = next + length + 2;
            if end > limits.command_bytes {
                return Err(ProtocolError::TooBig);
            }
            match self.buffer.get(end - 2..end) {
                None => return Ok(false),
                Some(b"\r\n") => {}
                Some(_) => return Err(ProtocolError::Malformed),
            }
            (self.missing, self.scanned) = (Some(missing - 1), end);
        }
        Ok(true)
    }

    /// Takes the command that was measured.
    fn take(&mut self) -> Result<Vec<Bytes>, ProtocolError> {
        let end = self.scanned;
        let empty = end == 0 || self.buffer.get(1) == Some(&b'-');
        (self.scanned, self.missing) = (0, None);
        if empty {
            // `*-1` asks for nothing.
            self.buffer.advance(end.min(self.buffer.len()));
            return Ok(Vec::new());
        }
        let parsed = decode_bytes_mut(&mut self.buffer).map_err(|_| ProtocolError::Malformed)?;
        let Some((BytesFrame::Array(frames), length, _)) = parsed else {
            return Err(ProtocolError::Malformed);
        };
        if length != end {
            return Err(ProtocolError::Malformed);
        }
        let args = frames.into_iter().map(|frame| match frame {
            BytesFrame::BulkString(bytes) => Ok(bytes),
            _ => Err(ProtocolError::Malformed),
        });
        args.collect()
    }
}

/// The words of a line as people type it: separated by spaces; quotes hold words together.
fn inline(line: &Bytes) -> Result<Vec<Bytes>, ProtocolError> {
    let mut words = Vec::new();
    let mut word: Option<BytesMut> = None;
    let mut quote = None;
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (Some(open), byte) if byte == open => quote = None,
            (Some(b'"'), b'\\') => {
                let escaped = match bytes.next() {
                    Some(b'n') => b'\n',
                    Some(b'r') => b'\r',
                    Some(b't') => b'\t',
                    Some(other) => other,
                    None => return Err(ProtocolError::Quotes),
                };
                word.get_or_insert_default().extend_from_slice(&[escaped]);
            }
            (None, b'"' | b'\'') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (None, b' ' | b'\t' | b'\r' | b'\0') => words.extend(word.take()),
            _ => word.get_or_insert_default().extend_from_slice(&[byte]),
        }
    }
    if quote.is_some() {
        return Err(ProtocolError::Quotes);
    }
    words.extend(word);
    Ok(words.into_iter().map(BytesMut::freeze).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8]) -> Result<Vec<String>, ProtocolError> {
        let mut requests = Requests { buffer: BytesMut::from(input), ..Requests::default() };
        let mut found = Vec::new();
        while let Some(args) = requests.next(Limits::default())? {
            let words: Vec<_> = args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
            found.push(words.join("|"));
        }
        Ok(found)
    }

    #[test]
    fn commands_in_one_piece_and_byte_by_byte() {
        let input = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*0\r\n*-1\r\nPING\r\n\r\n*1\r\n$0\r\n\r\nset a \"b c\"\n*1\r\n$4\r\nQUIT\r\n";
        let expected = ["GET|a", "PING", "", "set|a|b c", "QUIT"];
        assert_eq!(all(input).unwrap(), expected);

        let mut requests = Requests::default();
        let mut found = Vec::new();
        for byte in input {
            requests.buffer.extend_from_slice(&[*byte]);
            while let Some(args) = requests.next(Limits::default()).unwrap() {
                let words: Vec<_> =
                    args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
                found.push(words.join("|"));
            }
        }
        assert_eq!(found, expected);
        assert!(requests.buffer.is_empty());
    }

    #[test]
    fn too_much_is_refused_when_it_is_announced() {
        assert_eq!(all(b"*1\r\n$104857600\r\n"), Err(ProtocolError::BulkLength));
        assert_eq!(all(b"*1\r\n$16777217\r\n"), Err(ProtocolError::BulkLength));
        assert_eq!(all(b"*1\r\n$16777216\r\n"), Ok(vec![]));
        assert_eq!(all(b"*2147483648\r\n"), Err(ProtocolError::ArrayLength));
        assert_eq!(all(b"*99999999999999999999999\r\n"), Err(ProtocolError::ArrayLength));
        assert_eq!(all(b"*1\r\n$-1\r\n"), Err(ProtocolError::BulkLength));
        assert_eq!(all(b"*1\r\n$x\r\n"), Err(ProtocolError::BulkLength));
        assert_eq!(all(b"*1\r\n*1\r\n*1\r\n"), Err(ProtocolError::NotBulk('*')));
        assert_eq!(all(b"*1\r\n$1\r\nabc"), Err(ProtocolError::Malformed));
        assert_eq!(all(&b"x".repeat(LINE_LIMIT_BYTES)), Err(ProtocolError::LineTooLong));
        assert_eq!(all(b"set \"a\n"), Err(ProtocolError::Quotes));

        let big = format!("*3\r\n{}", format!("${}\r\n{}\r\n", 16 << 20, "x".repeat(16 << 20)).repeat(3));
        assert_eq!(all(big.as_bytes()), Err(ProtocolError::TooBig));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let alphabet = b"*$0123-\r\n\"' xG";
        for _ in 0..20_000 {
            let length = random() % 24;
            let input: Vec<u8> =
                (0..length).map(|_| alphabet[(random() % alphabet.len() as u64) as usize]).collect();
            let _ = all(&input);
        }
    }
}
