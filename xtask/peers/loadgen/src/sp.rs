//! The thin protocol: request = u32 LE length of key and value, u64 id, u64 key, value; answer = u64 id, u8 status
//! (0 done, 1 not the leader, 2 dropped).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::meter::Meter;
use crate::values::Values;

const ANSWER: usize = 9;

fn connect(address: SocketAddr, patience: Option<Duration>) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(patience)?;
    Ok(stream)
}

fn put(out: &mut Vec<u8>, values: &mut Values, id: u64) {
    let key = values.key();
    let value = values.value();
    out.extend_from_slice(&(value.len() as u32 + 8).to_le_bytes());
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&key.to_le_bytes());
    out.extend_from_slice(value);
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
        let done = self.try_write(values).unwrap_or(false);
        if !done {
            self.stream = None;
        }
        done
    }

    fn try_write(&mut self, values: &mut Values) -> std::io::Result<bool> {
        if self.stream.is_none() {
            self.stream = Some(connect(self.address, Some(Duration::from_millis(300)))?);
        }
        let Some(stream) = &mut self.stream else { return Ok(false) };
        let mut out = Vec::new();
        put(&mut out, values, 7);
        stream.write_all(&out)?;
        let mut answer = [0; ANSWER];
        stream.read_exact(&mut answer)?;
        Ok(answer[8] == 0)
    }
}

/// Some clients behind one connection, until the run ends.
pub fn clients(address: SocketAddr, clients: usize, mut values: Values, meter: &Meter) -> std::io::Result<()> {
    let mut stream = connect(address, Some(Duration::from_secs(10)))?;
    let mut own = meter.own();
    let mut out = Vec::new();
    for id in 0..clients as u64 {
        put(&mut out, &mut values, id);
    }
    let mut sent = vec![Instant::now(); clients];
    stream.write_all(&out)?;
    let (mut buffer, mut have) = (vec![0; 128 << 10], 0);
    while meter.goes_on() {
        let read = stream.read(&mut buffer[have..])?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        have += read;
        out.clear();
        let now = Instant::now();
        let whole = have / ANSWER * ANSWER;
        for answer in buffer[..whole].chunks(ANSWER) {
            let id = u64::from_le_bytes(answer[..8].try_into().expect("eight bytes"));
            let Some(sent) = sent.get_mut(id as usize) else { return Err(std::io::ErrorKind::InvalidData.into()) };
            if answer[8] == 0 { own.done(now - *sent) } else { own.failed() }
            *sent = now;
            put(&mut out, &mut values, id);
        }
        buffer.copy_within(whole..have, 0);
        have -= whole;
        stream.write_all(&out)?;
    }
    Ok(())
}
