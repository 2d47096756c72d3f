//! Commands as they stand in the log.
//!
//! A command is its [`Op`] and its arguments without the name; a transaction is the keys it watches, with
//! their versions, and its commands. All numbers are LEB128.
//!
//! ```text
//! command     := 0x01 body          body := op u8, count, (length, bytes)*
//! transaction := 0x02 count (length, bytes, version)* count body*
//! ```

use bytes::{BufMut, BytesMut};

use crate::command::Op;

const COMMAND: u8 = 1;
const TRANSACTION: u8 = 2;

/// What stands in the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Logged<'a> {
    /// One command; its arguments are in the vector that was given.
    Command(Op),
    /// Several, as one.
    Transaction {
        /// Keys that must not have changed.
        watched: Vec<(&'a [u8], u64)>,
        /// What to do then.
        commands: Vec<(Op, Vec<&'a [u8]>)>,
    },
}

/// The bytes are no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not a command of this program")]
pub(crate) struct Malformed;

fn put_number(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.put_slice(bytes);
}

fn put_body<T: AsRef<[u8]>>(out: &mut BytesMut, op: Op, args: &[T]) {
    out.put_u8(op as u8);
    put_number(out, args.len() as u64);
    for arg in args {
        put_bytes(out, arg.as_ref());
    }
}

/// Appends a command. `args` are without the name.
pub(crate) fn put_command<T: AsRef<[u8]>>(out: &mut BytesMut, op: Op, args: &[T]) {
    out.put_u8(COMMAND);
    put_body(out, op, args);
}

/// Appends a transaction.
pub(crate) fn put_transaction<T: AsRef<[u8]>>(
    out: &mut BytesMut,
    watched: &[(T, u64)],
    commands: &[(Op, Vec<T>)],
) {
    out.put_u8(TRANSACTION);
    put_number(out, watched.len() as u64);
    for (key, version) in watched {
        put_bytes(out, key.as_ref());
        put_number(out, *version);
    }
    put_number(out, commands.len() as u64);
    for (op, args) in commands {
        put_body(out, *op, args);
    }
}

fn number(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(Malformed)?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

/// A number of things that each take a byte at least.
fn count(rest: &mut &[u8]) -> Result<usize, Malformed> {
    let count = usize::try_from(number(rest)?).map_err(|_| Malformed)?;
    if count > rest.len() { Err(Malformed) } else { Ok(count) }
}

fn bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = count(rest)?;
    let (bytes, after) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = after;
    Ok(bytes)
}

fn body<'a>(rest: &mut &'a [u8], args: &mut Vec<&'a [u8]>) -> Result<Op, Malformed> {
    let (code, after) = rest.split_first().ok_or(Malformed)?;
    *rest = after;
    let op = Op::from_code(*code).ok_or(Malformed)?;
    for _ in 0..count(rest)? {
        args.push(bytes(rest)?);
    }
    Ok(op)
}

/// The first argument of a single command, which is its key if it has one.
pub(crate) fn first_argument(data: &[u8]) -> Option<&[u8]> {
    let (kind, mut rest) = data.split_first_chunk::<2>()?;
    let rest = &mut rest;
    (kind[0] == COMMAND && count(rest).ok()? > 0).then(|| bytes(rest).ok())?
}

/// Reads what stands in the log. The arguments of a single command go into `args`, which is emptied
/// first.
///
/// # Errors
/// [`Malformed`] for anything that was not written by this module.
pub(crate) fn decode<'a>(data: &'a [u8], args: &mut Vec<&'a [u8]>) -> Result<Logged<'a>, Malformed> {
    args.clear();
    let (kind, mut rest) = data.split_first().ok_or(Malformed)?;
    let rest = &mut rest;
    let logged = match *kind {
        COMMAND => Logged::Command(body(rest, args)?),
        TRANSACTION => {
            let mut watched = Vec::new();
            for _ in 0..count(rest)? {
                watched.push((bytes(rest)?, number(rest)?));
            }
            let mut commands = Vec::new();
            for _ in 0..count(rest)? {
                let mut args = Vec::new();
                let op = body(rest, &mut args)?;
                commands.push((op, args));
            }
            Logged::Transaction { watched, commands }
        }
        _ => return Err(Malformed),
    };
    if rest.is_empty() { Ok(logged) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut out = BytesMut::new();
        let long = vec![7; 300];
        put_command(&mut out, Op::Set, &[b"key".as_slice(), &long]);
        let mut args = vec![b"left over".as_slice()];
        assert_eq!(decode(&out, &mut args), Ok(Logged::Command(Op::Set)));
        assert_eq!(args, [b"key".as_slice(), &long]);

        let mut out = BytesMut::new();
        let commands = vec![(Op::Incr, vec![b"n".as_slice()]), (Op::DbSize, vec![])];
        let watched = vec![(b"w".as_slice(), u64::MAX)];
        put_transaction(&mut out, &watched, &commands);
        assert_eq!(decode(&out, &mut Vec::new()), Ok(Logged::Transaction { watched, commands }));
    }

    #[test]
    fn other_bytes_are_refused() {
        let mut out = BytesMut::new();
        put_transaction(&mut out, &[(b"w", 9)], &[(Op::Get, vec![b"a"])]);
        for cut in 0..out.len() {
            assert_eq!(decode(&out[..cut], &mut Vec::new()), Err(Malformed), "cut at {cut}");
        }
        out.put_u8(0);
        assert_eq!(decode(&out, &mut Vec::new()), Err(Malformed));
        assert_eq!(decode(&[9], &mut Vec::new()), Err(Malformed));
        let endless = [1, Op::Get as u8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(decode(&endless, &mut Vec::new()), Err(Malformed));
    }
}
