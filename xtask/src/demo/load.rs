//! Clients that write: one thread and one command at a time each. Every write has a key and a value of
//! its own, made from the client's number and a count, so that at the end both can be made again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::failover::Watched;
use crate::util::resp::{Client, Reply};
use crate::util::watch::Watch;
use crate::verdict::{Verdict, verdict};

/// One write: the client's number and its count.
pub(crate) type Write = (u32, u32);

/// How long a client waits for an answer. A server says `UNKNOWN` or `CLUSTERDOWN` long before.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long to wait when nobody leads.
const PAUSE: Duration = Duration::from_millis(2);

const NONE: usize = usize::MAX;

/// What all clients share.
struct Shared {
    nodes: Vec<SocketAddr>,
    value_bytes: usize,
    watch: Watch,
    stop: AtomicBool,
    acked: AtomicU64,
    /// A node that is frozen: the extra client does not try it.
    frozen: AtomicUsize,
}

/// Running clients.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Totals>>,
}

/// What the clients did.
#[derive(Default)]
pub(crate) struct Totals {
    /// Writes that were acknowledged.
    pub(crate) acked: Vec<Write>,
    /// Writes that may or may not have happened.
    pub(crate) unknown: Vec<Write>,
    /// The latency of each acknowledged write, sorted, in microseconds.
    pub(crate) latencies_us: Vec<u32>,
    /// The size of a value, in bytes.
    pub(crate) value_bytes: usize,
}

impl Totals {
    /// A percentile of the latency.
    pub(crate) fn latency_us(&self, percent: usize) -> u32 {
        let at = (self.latencies_us.len() * percent / 100).min(self.latencies_us.len().saturating_sub(1));
        self.latencies_us.get(at).copied().unwrap_or(0)
    }
}

impl Load {
    /// Starts the clients, and one more that only writes while a frozen leader is being replaced: the
    /// others may be waiting for its answer.
    pub(crate) fn start(nodes: Vec<SocketAddr>, clients: usize, value_bytes: usize) -> Self {
        let shared = Arc::new(Shared {
            nodes,
            value_bytes,
            watch: Watch::new(),
            stop: AtomicBool::new(false),
            acked: AtomicU64::new(0),
            frozen: AtomicUsize::new(NONE),
        });
        let start = |number: usize| {
            let shared = Arc::clone(&shared);
            let extra = number == clients;
            std::thread::spawn(move || {
                Writer::new(&shared, u32::try_from(number).unwrap_or(u32::MAX), extra).run()
            })
        };
        let clients = (0..=clients).map(start).collect();
        Self { shared, clients }
    }

    /// How many writes were acknowledged so far.
    pub(crate) fn acked(&self) -> u64 {
        self.shared.acked.load(Ordering::Relaxed)
    }

    /// Ends the clients and adds up.
    pub(crate) fn stop(self) -> Totals {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut totals = Totals { value_bytes: self.shared.value_bytes, ..Totals::default() };
        for client in self.clients {
            // A client that panicked has lost its record: its writes are not counted, the panic is shown.
            let Ok(one) = client.join() else { continue };
            totals.acked.extend(one.acked);
            totals.unknown.extend(one.unknown);
            totals.latencies_us.extend(one.latencies_us);
        }
        totals.latencies_us.sort_unstable();
        totals
    }
}

impl Watched for Load {
    fn begin_watch(&self, frozen: Option<usize>) -> Instant {
        let now = self.shared.watch.begin();
        self.shared.frozen.store(frozen.unwrap_or(NONE), Ordering::SeqCst);
        now
    }

    fn first_ack(&self) -> Option<Instant> {
        self.shared.watch.first()
    }

    fn end_watch(&self) {
        self.shared.watch.end();
        self.shared.frozen.store(NONE, Ordering::SeqCst);
    }
}

/// One client.
struct Writer<'a> {
    shared: &'a Shared,
    number: u32,
    extra: bool,
    /// The node that it talks to.
    at: usize,
    client: Option<Client>,
    totals: Totals,
}

impl<'a> Writer<'a> {
    fn new(shared: &'a Shared, number: u32, extra: bool) -> Self {
        Self {
            shared,
            number,
            extra,
            at: number as usize % shared.nodes.len(),
            client: None,
            totals: Totals::default(),
        }
    }

    fn run(mut self) -> Totals {
        let mut count = 0;
        while !self.shared.stop.load(Ordering::Relaxed) {
            let frozen = self.shared.frozen.load(Ordering::Relaxed);
            if self.extra && frozen == NONE {
                self.client = None;
                std::thread::sleep(PAUSE);
                continue;
            }
            if self.extra && self.at == frozen {
                self.go_on();
            }
            if self.write((self.number, count)) {
                count += 1;
            }
        }
        self.totals
    }

    /// Tries once. `true` if this write must not be sent again.
    fn write(&mut self, write: Write) -> bool {
        if self.client.is_none() {
            self.client = Client::connect(self.shared.nodes[self.at], PATIENCE).ok();
        }
        let Some(client) = &mut self.client else {
            self.go_on();
            std::thread::sleep(PAUSE);
            return false;
        };
        let (key, value) = (key(write), value(write, self.shared.value_bytes));
        let sent = self.shared.watch.now();
        let answer = client.call(&[b"SET", &key, &value]);
        let came = self.shared.watch.now();
        match verdict(answer) {
            Verdict::Done(Reply::Simple(text)) if text == "OK" => {
                self.totals.acked.push(write);
                self.totals.latencies_us.push(u32::try_from((came - sent) / 1000).unwrap_or(u32::MAX));
                self.shared.acked.fetch_add(1, Ordering::Relaxed);
                self.shared.watch.acked(sent, came);
                true
            }
            Verdict::NotDone(to) => {
                match to.and_then(|to| self.shared.nodes.iter().position(|node| *node == to)) {
                    Some(at) if at != self.at => {
                        self.at = at;
                        self.client = None;
                    }
                    _ => {
                        self.go_on();
                        std::thread::sleep(PAUSE);
                    }
                }
                false
            }
            Verdict::Unknown | Verdict::Done(_) => {
                self.totals.unknown.push(write);
                // The next answer of this connection may be the late one to this write.
                self.go_on();
                std::thread::sleep(PAUSE);
                true
            }
        }
    }

    /// To the next node.
    fn go_on(&mut self) {
        self.client = None;
        self.at = (self.at + 1) % self.shared.nodes.len();
    }
}

/// The key of a write.
pub(crate) fn key((client, count): Write) -> Vec<u8> {
    format!("demo:{client}:{count}").into_bytes()
}

/// The value of a write: not compressible, and not that of any other.
pub(crate) fn value(write: Write, bytes: usize) -> Vec<u8> {
    let mut value = format!("{}.{}.", write.0, write.1).into_bytes();
    let mut state = (u64::from(write.0) << 32) | u64::from(write.1);
    while value.len() < bytes {
        // xorshift* (Vigna 2016); the offset keeps the state from being zero.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    value.truncate(bytes.max(24));
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_can_be_made_again_and_differ() {
        assert_eq!(value((1, 2), 256), value((1, 2), 256));
        assert_ne!(value((1, 2), 256), value((2, 1), 256));
        assert_ne!(value((1, 11), 0), value((11, 1), 0));
        assert_eq!(value((1, 2), 100).len(), 100);
    }

    #[test]
    fn percentiles() {
        let totals = Totals { latencies_us: (0..100).collect(), ..Totals::default() };
        assert_eq!((totals.latency_us(50), totals.latency_us(99)), (50, 99));
        assert_eq!(Totals::default().latency_us(99), 0);
    }
}
