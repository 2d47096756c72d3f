//! A small client for the Redis protocol, version 2: enough to drive raft-kv.

use std::io::{BufReader, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// `+OK`
    Simple(String),
    /// `-MOVED 1 127.0.0.1:7001`
    Error(String),
    /// `:7`
    Integer(i64),
    /// `$3`; none is `$-1`.
    Bulk(Option<Vec<u8>>),
    /// `*2`; none (`*-1`) is empty.
    Array(Vec<Self>),
}

impl Reply {
    /// As text, whatever it is; empty for nothing and for arrays.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Simple(text) | Self::Error(text) => text.clone(),
            Self::Integer(number) => number.to_string(),
            Self::Bulk(Some(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Bulk(None) | Self::Array(_) => String::new(),
        }
    }
}

/// Larger counts and lengths than any answer to us has are taken as nonsense.
const LIMIT: i64 = 64 << 20;

/// One connection. After any error it must not be used again: answers may be out of step.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects; no answer is waited for longer than `patience`.
    pub(crate) fn connect(to: SocketAddr, patience: Duration) -> Result<Self, Error> {
        let stream = TcpStream::connect_timeout(&to, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream: BufReader::with_capacity(64 << 10, stream) })
    }

    /// Sends a command and waits for its answer.
    pub(crate) fn call(&mut self, command: &[&[u8]]) -> Result<Reply, Error> {
        self.send([command])?;
        self.receive()
    }

    /// Sends commands in one piece.
    pub(crate) fn send<'a>(
        &mut self,
        commands: impl IntoIterator<Item = &'a [&'a [u8]]>,
    ) -> Result<(), Error> {
        let mut out = Vec::new();
        for command in commands {
            encode(command, &mut out);
        }
        self.stream.get_mut().write_all(&out)
    }

    /// The next answer.
    pub(crate) fn receive(&mut self) -> Result<Reply, Error> {
        decode(&mut self.stream, 0)
    }
}

fn encode(command: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
    for word in command {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn decode(from: &mut impl Read, depth: usize) -> Result<Reply, Error> {
    let line = read_line(from)?;
    let bad = || Error::new(ErrorKind::InvalidData, format!("not an answer: {line:?}"));
    let (kind, rest) = line.split_at_checked(1).ok_or_else(bad)?;
    let number = || rest.parse::<i64>().ok().filter(|number| *number <= LIMIT).ok_or_else(bad);
    Ok(match kind {
        "+" => Reply::Simple(rest.to_string()),
        "-" => Reply::Error(rest.to_string()),
        ":" => Reply::Integer(rest.parse().map_err(|_| bad())?),
        "$" => match usize::try_from(number()?) {
            Err(_) => Reply::Bulk(None),
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                from.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Reply::Bulk(Some(bytes))
            }
        },
        "*" if depth < 8 => {
            let count = number()?.max(0);
            Reply::Array((0..count).map(|_| decode(from, depth + 1)).collect::<Result<_, _>>()?)
        }
        _ => return Err(bad()),
    })
}

fn read_line(from: &mut impl Read) -> Result<String, Error> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        if line.len() > 4096 {
            return Err(Error::new(ErrorKind::InvalidData, "a line without an end"));
        }
        from.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    line.truncate(line.len() - 2);
    String::from_utf8(line).map_err(|error| Error::new(ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_answers() {
        let mut out = Vec::new();
        encode(&[b"SET", b"k", b""], &mut out);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");

        let answer = b"*5\r\n+OK\r\n-ERR x\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n";
        let expected = Reply::Array(vec![
            Reply::Simple("OK".into()),
            Reply::Error("ERR x".into()),
            Reply::Integer(-7),
            Reply::Bulk(Some(b"a\r\n".to_vec())),
            Reply::Bulk(None),
        ]);
        assert_eq!(decode(&mut &answer[..], 0).unwrap(), expected);
        for cut in 0..answer.len() {
            assert!(decode(&mut &answer[..cut], 0).is_err(), "cut at {cut}");
        }
        assert!(decode(&mut &b"$999999999999\r\n"[..], 0).is_err());
    }
}
