//! Many clients of the Redis protocol in one thread, each on a connection of its own with one request under way.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::meter::{Meter, Own};
use crate::resp::{replies, request};
use crate::values::Values;
use crate::{Mode, Proto};

/// Connections that are looked at after one wait.
const READY: usize = 256;

struct Client {
    stream: TcpStream,
    sent: Instant,
    /// What came of a reply that is not yet whole.
    part: Vec<u8>,
}

/// What all clients of a thread share.
struct Thread<'a> {
    proto: Proto,
    mode: Mode,
    values: Values,
    own: Own<'a>,
    out: Vec<u8>,
    buffer: Vec<u8>,
}

/// Serves `count` clients until the run ends.
pub fn clients(
    address: SocketAddr,
    count: usize,
    (proto, mode): (Proto, Mode),
    values: Values,
    meter: &Meter,
) -> std::io::Result<()> {
    // Larger than any reply, so that one read takes all that has come: who waits is told of a change only.
    let buffer = vec![0; 2 * values.size() + (64 << 10)];
    let mut thread = Thread { proto, mode, values, own: meter.own(), out: Vec::new(), buffer };
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        all.push(Client { stream, sent: Instant::now(), part: Vec::new() });
    }
    if let [only] = all.as_mut_slice() {
        // Nobody else to look after: it waits in its read.
        thread.ask(only)?;
        while meter.goes_on() {
            thread.take(only)?;
        }
        return Ok(());
    }
    let ready = epoll::create(CreateFlags::CLOEXEC)?;
    for (at, client) in all.iter_mut().enumerate() {
        epoll::add(&ready, &client.stream, EventData::new_u64(at as u64), EventFlags::IN | EventFlags::ET)?;
        thread.ask(client)?;
    }
    let mut events = Vec::with_capacity(READY);
    // A server that hangs must not keep the run from ending.
    let patience = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    while meter.goes_on() {
        events.clear();
        match epoll::wait(&ready, rustix::buffer::spare_capacity(&mut events), Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let Some(client) = all.get_mut(event.data.u64() as usize) else { continue };
            thread.take(client)?;
        }
    }
    Ok(())
}

impl Thread<'_> {
    fn ask(&mut self, client: &mut Client) -> std::io::Result<()> {
        self.out.clear();
        request(&mut self.out, self.proto, self.mode, &mut self.values);
        client.sent = Instant::now();
        client.stream.write_all(&self.out)
    }

    /// Takes what has come, and asks again if that was all of a reply. Waits if nothing has come.
    fn take(&mut self, client: &mut Client) -> std::io::Result<()> {
        let read = match client.stream.read(&mut self.buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        };
        let awaited = if self.proto == Proto::Redis { 2 } else { 1 };
        let (count, good) = if client.part.is_empty() {
            replies(&self.buffer[..read])
        } else {
            client.part.extend_from_slice(&self.buffer[..read]);
            replies(&client.part)
        };
        if count < awaited && good {
            if client.part.is_empty() {
                client.part.extend_from_slice(&self.buffer[..read]);
            }
            return Ok(());
        }
        client.part.clear();
        if good { self.own.done(client.sent.elapsed()) } else { self.own.failed() }
        self.ask(client)
    }
}
