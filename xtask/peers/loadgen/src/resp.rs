//! The Redis protocol, as much of it as a load needs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::values::Values;
use crate::{Mode, Proto};

/// A command.
fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    // Writing into a Vec cannot fail.
    let _ = write!(out, "*{}\r\n", words.len());
    for word in words {
        let _ = write!(out, "${}\r\n", word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn set(out: &mut Vec<u8>, values: &mut Values) {
    let key = format!("k{:07}", values.key());
    command(out, &[b"SET", key.as_bytes(), values.value()]);
}

/// How many whole replies of one line or one string begin these bytes, and whether all of them are good.
pub fn replies(mut bytes: &[u8]) -> (usize, bool) {
    let (mut count, mut good) = (0, true);
    while let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        let mut size = end + 2;
        match bytes.first() {
            Some(b'$') => {
                let text = std::str::from_utf8(&bytes[1..end]).unwrap_or("-1");
                let length = text.parse::<i64>().unwrap_or(-1);
                if length >= 0 {
                    size += length as usize + 2;
                }
            }
            Some(b'+' | b':') => {}
            _ => good = false,
        }
        if bytes.len() < size {
            break;
        }
        bytes = &bytes[size..];
        count += 1;
    }
    (count, good)
}

/// What a client asks for next.
pub fn request(out: &mut Vec<u8>, proto: Proto, mode: Mode, values: &mut Values) {
    if mode == Mode::Read {
        command(out, &[b"GET", format!("k{:07}", values.key()).as_bytes()]);
    } else {
        set(out, values);
    }
    if proto == Proto::Redis {
        command(out, &[b"WAIT", b"1", b"0"]);
    }
}

/// One write at a time; a new connection after a failure.
pub struct One {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl One {
    pub const fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    pub fn write(&mut self, values: &mut Values) -> bool {
        let mut out = Vec::new();
        set(&mut out, values);
        self.ask(&out).is_some()
    }

    /// The answer to a command, if it is no error.
    pub fn call(&mut self, words: &[&[u8]]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        command(&mut out, words);
        self.ask(&out)
    }

    fn ask(&mut self, out: &[u8]) -> Option<Vec<u8>> {
        let answer = self.try_ask(out).ok().filter(|answer| !answer.starts_with(b"-"));
        if answer.is_none() {
            self.stream = None;
        }
        answer
    }

    fn try_ask(&mut self, out: &[u8]) -> std::io::Result<Vec<u8>> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_millis(300)))?;
            self.stream = Some(stream);
        }
        let Some(stream) = &mut self.stream else { return Ok(Vec::new()) };
        stream.write_all(out)?;
        let (mut buffer, mut have) = (vec![0; 64 << 10], 0);
        loop {
            let read = stream.read(&mut buffer[have..])?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            have += read;
            // Anything else than a line or a string is taken as it comes.
            if replies(&buffer[..have]).0 > 0 || buffer[0] == b'*' {
                buffer.truncate(have);
                return Ok(buffer);
            }
        }
    }
}
