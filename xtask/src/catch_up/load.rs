//! A steady load: clients that write at times that were fixed beforehand, each one command at a time. A write that has to
//! wait for the one before it counts from when it should have been sent: an answer that takes long is not made to look
//! shorter by the writes that it has kept back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::util::random::Random;
use crate::util::resp::{Client, Reply};
use crate::verdict::{Verdict, verdict};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait when nobody leads.
const PAUSE: Duration = Duration::from_millis(2);

/// The load's own keys.
const KEYS: u64 = 100_000;

/// What the clients do.
#[derive(Clone)]
pub(super) struct Habits {
    pub(super) clients: usize,
    /// Writes of all clients in a second.
    pub(super) rate: u64,
    pub(super) value_bytes: usize,
}

/// One acknowledged write: when it should have been sent, and how long it took from then on.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    took: Duration,
}

/// Running clients.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Sample>>>,
}

/// All samples.
pub(super) struct Samples(Vec<Sample>);

/// Latencies of some time, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Latency {
    pub(super) writes: usize,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    pub(super) max_us: u64,
    /// When the longest should have been sent, since the begin.
    pub(super) max_at: Duration,
}

impl Load {
    pub(super) fn start(nodes: &[SocketAddr], leader: usize, habits: &Habits) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |number: usize| {
            let (nodes, stop, habits) = (nodes.to_vec(), Arc::clone(&stop), habits.clone());
            std::thread::spawn(move || run(&nodes, leader, number, &habits, &stop))
        };
        Self { clients: (0..habits.clients).map(start).collect(), stop }
    }

    /// Ends the clients; `None` if one has panicked.
    pub(super) fn stop(self) -> Option<Samples> {
        self.stop.store(true, Ordering::SeqCst);
        let mut samples = Vec::new();
        for client in self.clients {
            samples.extend(client.join().ok()?);
        }
        Some(Samples(samples))
    }
}

impl Samples {
    /// Of the writes that should have been sent between the two.
    pub(super) fn between(&self, (from, to): (Instant, Instant)) -> Latency {
        let within = || self.0.iter().filter(|sample| sample.at >= from && sample.at < to);
        let mut took: Vec<u64> = within().map(|sample| sample.took.as_micros() as u64).collect();
        let longest = within().max_by_key(|sample| sample.took);
        took.sort_unstable();
        let percentile = |percent: usize| {
            let at = (took.len() * percent / 100).min(took.len().saturating_sub(1));
            took.get(at).copied().unwrap_or(0)
        };
        Latency {
            writes: took.len(),
            p50_us: percentile(50),
            p99_us: percentile(99),
            max_us: took.last().copied().unwrap_or(0),
            max_at: longest.map_or(Duration::ZERO, |sample| sample.at - from),
        }
    }
}

fn run(
    nodes: &[SocketAddr],
    leader: usize,
    number: usize,
    habits: &Habits,
    stop: &AtomicBool,
) -> Vec<Sample> {
    let gap =
        Duration::from_secs(habits.clients as u64) / u32::try_from(habits.rate.max(1)).unwrap_or(u32::MAX);
    // The clients do not all write at the same moment.
    let mut due = Instant::now() + gap.mul_f64(number as f64 / habits.clients as f64);
    let mut random = Random::new(number as u64);
    let mut value = Vec::new();
    while value.len() < habits.value_bytes {
        value.extend_from_slice(&random.next().to_le_bytes());
    }
    value.truncate(habits.value_bytes);
    let mut samples = Vec::new();
    let (mut at, mut client) = (leader, None);
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        if due > now {
            std::thread::sleep(due - now);
        }
        // Woken late is not the servers' fault; kept by the write before is.
        let begun = if due > now { Instant::now() } else { due };
        let key = format!("load:{}", random.below(KEYS)).into_bytes();
        while !write(nodes, &mut at, &mut client, &key, &value) {
            if stop.load(Ordering::Relaxed) {
                return samples;
            }
            std::thread::sleep(PAUSE);
        }
        samples.push(Sample { at: begun, took: begun.elapsed() });
        due += gap;
    }
    samples
}

/// Tries once. To write the same again does no harm here.
fn write(
    nodes: &[SocketAddr],
    at: &mut usize,
    client: &mut Option<Client>,
    key: &[u8],
    value: &[u8],
) -> bool {
    if client.is_none() {
        *client = Client::connect(nodes[*at], PATIENCE).ok();
    }
    let verdict = match client {
        Some(client) => verdict(client.call(&[b"SET", key, value])),
        None => Verdict::Unknown,
    };
    let to = match verdict {
        Verdict::Done(Reply::Simple(_)) => return true,
        Verdict::NotDone(to) => to.and_then(|to| nodes.iter().position(|node| *node == to)),
        Verdict::Done(_) | Verdict::Unknown => None,
    };
    *client = None;
    *at = to.unwrap_or((*at + 1) % nodes.len());
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_those_of_their_time() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let samples = (0..200).map(|ms| Sample { at: at(ms), took: Duration::from_micros(ms + 1) }).collect();
        let samples = Samples(samples);
        let first = samples.between((at(0), at(100)));
        let max_at = Duration::from_millis(99);
        assert_eq!(first, Latency { writes: 100, p50_us: 51, p99_us: 100, max_us: 100, max_at });
        assert_eq!(samples.between((at(300), at(400))), Latency::default());
    }
}
