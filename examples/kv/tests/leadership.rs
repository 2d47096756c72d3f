//! Leadership that is handed over, again and again, while clients write; and how long they notice it.
//!
//! The pauses are printed. To measure them: `cargo test --release -p raft-kv --test leadership -- --nocapture`.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Client, Cluster, PATIENCE};

/// A client that follows the leader and writes one after the other, with how long it took each time.
struct Writer {
    addresses: Vec<SocketAddr>,
    at: usize,
    client: Option<Client>,
}

impl Writer {
    fn new(cluster: &Cluster) -> Self {
        Self { addresses: cluster.nodes.iter().map(|node| node.client).collect(), at: 0, client: None }
    }

    /// One attempt: `Ok` with the reply, `Err(true)` if it may have been done.
    fn attempt(&mut self, line: &str) -> Result<String, bool> {
        if self.client.is_none() {
            // Once: between two attempts the node may have gone.
            let Some(client) = Client::try_connect(self.addresses[self.at]) else {
                self.at = (self.at + 1) % self.addresses.len();
                std::thread::sleep(Duration::from_millis(1));
                return Err(false);
            };
            self.client = Some(client);
        }
        let client = self.client.as_mut().unwrap();
        let reply = client.try_send(line).ok().and_then(|()| client.try_reply());
        let Some(reply) = reply else {
            self.client = None;
            return Err(true);
        };
        if let Some(moved) = reply.strip_prefix("-MOVED ") {
            let address: SocketAddr = moved.split(' ').nth(1).unwrap().parse().unwrap();
            self.at = self.addresses.iter().position(|known| *known == address).unwrap();
            self.client = None;
            return Err(false);
        }
        if reply.starts_with("-UNKNOWN ") {
            return Err(true);
        }
        if reply.starts_with("-CLUSTERDOWN ") {
            self.at = (self.at + 1) % self.addresses.len();
            self.client = None;
        }
        if reply.starts_with('-') { Err(false) } else { Ok(reply) }
    }
}

/// What one writer has seen.
#[derive(Default)]
struct Seen {
    acked: u64,
    unknown: u64,
    /// When it had its answers.
    answers: Vec<Instant>,
}

fn write(mut writer: Writer, stop: &AtomicBool, done: &AtomicU64) -> Seen {
    let mut seen = Seen::default();
    let deadline = Instant::now() + PATIENCE * 2;
    while !stop.load(Ordering::Relaxed) {
        assert!(Instant::now() < deadline, "it writes for ever");
        match writer.attempt("INCR counter") {
            Ok(_) => {
                seen.acked += 1;
                seen.answers.push(Instant::now());
                done.fetch_add(1, Ordering::Relaxed);
            }
            Err(true) => seen.unknown += 1,
            Err(false) => {}
        }
    }
    seen
}

/// The longest that a writer waited for an answer around each of these moments, in milliseconds.
fn pauses(seen: &[Seen], moments: &[(Instant, Instant)]) -> Vec<f64> {
    let around = |(from, to): &(Instant, Instant)| {
        let longest = seen.iter().flat_map(|seen| {
            let gaps = seen.answers.windows(2);
            gaps.filter(|gap| gap[1] >= *from && gap[0] <= *to).map(|gap| gap[1] - gap[0])
        });
        longest.max().map_or(0.0, |pause| pause.as_secs_f64() * 1e3)
    };
    let mut pauses: Vec<f64> = moments.iter().map(around).collect();
    pauses.sort_by(f64::total_cmp);
    pauses
}

fn say(what: &str, pauses: &[f64], seen: &[Seen]) {
    let acked: u64 = seen.iter().map(|seen| seen.acked).sum();
    let (median, longest) = (pauses[pauses.len() / 2], pauses[pauses.len() - 1]);
    println!(
        "{what}: {} times, write pause median {median:.1} ms, longest {longest:.1} ms, {acked} writes",
        pauses.len()
    );
}

/// No write that was answered is missing, and none was done twice.
fn check(cluster: &mut Cluster, seen: &[Seen]) {
    let (acked, unknown) = seen.iter().fold((0, 0), |sum, seen| (sum.0 + seen.acked, sum.1 + seen.unknown));
    let leader = cluster.leader();
    let counter: u64 = cluster.nodes[leader].connect().call("GET counter").parse().unwrap();
    assert!(
        (acked..=acked + unknown).contains(&counter),
        "{acked} acknowledged, {unknown} unknown: {counter}"
    );
}

/// P48: redpanda#2606, openraft#1805, hashicorp/raft#581.
#[test]
fn p48_fifty_transfers_under_load_lose_and_double_nothing() {
    let mut cluster = Cluster::start(3);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (writer, stop, done) = (Writer::new(&cluster), Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || write(writer, &stop, &done))
        })
        .collect();
    let mut moments = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while moments.len() < 50 {
        assert!(Instant::now() < deadline, "transfers are stuck after {}", moments.len());
        let before = done.load(Ordering::Relaxed);
        let leader = cluster.leader();
        let to = cluster.nodes[(leader + 1) % 3].id;
        let from = Instant::now();
        // One that has just begun to lead may not have heard of the other yet, and says so.
        if cluster.nodes[leader].connect().call(&format!("RAFT TRANSFER {to}")) == "OK" {
            moments.push((from, Instant::now()));
        }
        while done.load(Ordering::Relaxed) < before + 20 {
            assert!(Instant::now() < deadline, "writes are stuck after {} transfers", moments.len());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    stop.store(true, Ordering::Relaxed);
    let seen: Vec<Seen> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    say("transfers", &pauses(&seen, &moments), &seen);
    check(&mut cluster, &seen);
}

/// A leader that is told to stop hands over first: clients wait for a transfer, not for an election timeout.
#[test]
fn leaders_that_are_told_to_stop_under_load_lose_nothing() {
    let mut cluster = Cluster::start(3);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (writer, stop, done) = (Writer::new(&cluster), Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || write(writer, &stop, &done))
        })
        .collect();
    let mut moments = Vec::new();
    for _ in 0..6 {
        let (leader, _) = cluster.leader_and_follower();
        let from = Instant::now();
        cluster.nodes[leader].signal("-TERM");
        assert_eq!(cluster.nodes[leader].wait().code(), Some(0), "{}", cluster.nodes[leader].log());
        moments.push((from, Instant::now()));
        cluster.nodes[leader].start();
        let before = done.load(Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        while done.load(Ordering::Relaxed) < before + 100 {
            assert!(Instant::now() < deadline, "writes are stuck");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    stop.store(true, Ordering::Relaxed);
    let seen: Vec<Seen> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    say("SIGTERM", &pauses(&seen, &moments), &seen);
    check(&mut cluster, &seen);
}
