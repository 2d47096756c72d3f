//! Clients on few keys: one thread and one command at a time each. Keys are left behind every few seconds,
//! so that each has a history that can be searched; a read comes back to an old one now and then.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::record::{Command, Operation, Record};
use crate::util::random::Random;
use crate::util::resp::{Client, Reply};
use crate::util::watch::Watch;
use crate::verdict::{Verdict, verdict};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait when nobody leads.
const PAUSE: Duration = Duration::from_millis(5);

/// Keys are in use for so long, in nanoseconds.
const GENERATION: u64 = 4_000_000_000;

/// Keys of each kind at a time.
const REGISTERS: u64 = 6;
const TEXTS: u64 = 2;
const NUMBERS: u64 = 2;

/// How clients behave.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    pub(super) clients: usize,
    /// Commands of all clients together in a second, at most.
    pub(super) rate: u32,
    /// Reads go to any node, and take what it has.
    pub(super) stale_reads: bool,
    pub(super) seed: u64,
}

struct Shared {
    nodes: Vec<SocketAddr>,
    habits: Habits,
    record: Arc<Record>,
    watch: Watch,
    stop: AtomicBool,
}

/// Running clients.
pub(super) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub(super) fn start(nodes: Vec<SocketAddr>, habits: Habits, record: Arc<Record>) -> Self {
        let count = habits.clients;
        let stop = AtomicBool::new(false);
        let shared = Arc::new(Shared { nodes, habits, record, watch: Watch::new(), stop });
        let start = |number| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || Caller::new(&shared, number).run())
        };
        let clients = (1..=count).map(start).collect();
        Self { shared, clients }
    }

    /// The clients' clock.
    pub(super) fn watch(&self) -> &Watch {
        &self.shared.watch
    }

    /// Ends the clients; `false` if one has panicked.
    pub(super) fn stop(&mut self) -> bool {
        self.shared.stop.store(true, Ordering::SeqCst);
        let ended: Vec<bool> = self.clients.drain(..).map(|client| client.join().is_ok()).collect();
        ended.into_iter().all(|well| well)
    }
}

/// One client.
struct Caller<'a> {
    shared: &'a Shared,
    number: usize,
    random: Random,
    /// The node that it takes for the leader.
    at: usize,
    leader: Option<Client>,
    /// For reads that may be stale: a connection that has said so, to any node.
    stale: Option<Client>,
    /// Makes values unique.
    count: u64,
    /// What keys held when they were last read, for CAS.
    seen: BTreeMap<String, Option<String>>,
}

impl<'a> Caller<'a> {
    fn new(shared: &'a Shared, number: usize) -> Self {
        Self {
            shared,
            number,
            random: Random::new(shared.habits.seed.wrapping_mul(31).wrapping_add(number as u64)),
            at: number % shared.nodes.len(),
            leader: None,
            stale: None,
            count: 0,
            seen: BTreeMap::new(),
        }
    }

    fn run(mut self) {
        let Habits { clients, rate, .. } = self.shared.habits;
        let gap = Duration::from_secs(1) * u32::try_from(clients).unwrap_or(u32::MAX) / rate.max(1);
        while !self.shared.stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let (key, command) = self.draw();
            if command.is_read() && self.shared.habits.stale_reads {
                self.read_stale(key);
            } else {
                self.call(key, command);
            }
            std::thread::sleep(gap.saturating_sub(begun.elapsed()));
        }
    }

    /// What to do next.
    fn draw(&mut self) -> (String, Command) {
        let mut generation = self.shared.watch.now() / GENERATION;
        let old = generation > 0 && self.random.below(50) == 0;
        if old {
            generation = self.random.below(generation);
        }
        let place = self.random.below(REGISTERS + TEXTS + NUMBERS);
        let dice = self.random.below(100);
        self.count += 1;
        let value = format!("{}.{};", self.number, self.count);
        let (kind, command) = if place < REGISTERS {
            let key = format!("r{generation}.{place}");
            let command = match dice {
                _ if old => Command::Get,
                0..40 => Command::Get,
                40..72 => Command::Put(value),
                72..95 => Command::Cas(self.seen.get(&key).cloned().flatten(), value),
                _ => Command::Del,
            };
            return (key, command);
        } else if place < REGISTERS + TEXTS {
            ('t', Command::Append(value))
        } else {
            ('n', Command::Incr)
        };
        let command = if old || dice < 45 { Command::Get } else { command };
        (format!("{kind}{generation}.{place}"), command)
    }

    /// Calls the leader once, or whoever is taken for it.
    fn call(&mut self, key: String, command: Command) {
        if self.leader.is_none() {
            self.leader = Client::connect(self.shared.nodes[self.at], PATIENCE).ok();
        }
        let Some(client) = &mut self.leader else {
            // Nothing was sent.
            self.go_on();
            return;
        };
        let invoked = self.shared.watch.now();
        let answer = client.call(&command.words(&key));
        match verdict(answer) {
            Verdict::Done(reply) => self.done(key, command, invoked, &reply),
            Verdict::NotDone(to) => {
                match to.and_then(|to| self.shared.nodes.iter().position(|node| *node == to)) {
                    Some(at) if at != self.at => {
                        self.at = at;
                        self.leader = None;
                    }
                    _ => self.go_on(),
                }
            }
            Verdict::Unknown => {
                // A read without an answer says nothing.
                if !command.is_read() {
                    self.add(key, command, invoked, None);
                }
                // The next answer of this connection may be the late one to this command.
                self.go_on();
            }
        }
    }

    fn done(&mut self, key: String, command: Command, invoked: u64, reply: &Reply) {
        let completed = self.shared.watch.now();
        let Some(output) = command.output(reply) else {
            self.shared.record.complain(format!("{command:?} of {key} was answered {reply:?}"));
            self.add(key, command, invoked, None);
            return;
        };
        if command.is_read() {
            if self.seen.len() > 100 {
                self.seen.clear();
            }
            self.seen.insert(key.clone(), output.as_str().map(str::to_owned));
        } else {
            self.shared.watch.acked(invoked, completed);
        }
        self.add(key, command, invoked, Some((completed, output)));
    }

    fn add(&self, key: String, command: Command, invoked: u64, answer: Option<(u64, Value)>) {
        self.shared.record.add(&Operation { client: self.number, key, command, invoked, answer });
    }

    /// To the next node.
    fn go_on(&mut self) {
        self.leader = None;
        self.at = (self.at + 1) % self.shared.nodes.len();
        std::thread::sleep(PAUSE);
    }

    /// Reads what some node has.
    fn read_stale(&mut self, key: String) {
        let mut client = match self.stale.take() {
            Some(client) => client,
            None => {
                let Some(node) = self.random.pick(&self.shared.nodes) else { return };
                let Ok(mut client) = Client::connect(*node, PATIENCE) else { return };
                if client.call(&[b"READONLY"]).is_err() {
                    return;
                }
                client
            }
        };
        let invoked = self.shared.watch.now();
        if let Verdict::Done(reply) = verdict(client.call(&Command::Get.words(&key))) {
            self.done(key, Command::Get, invoked, &reply);
            self.stale = Some(client);
        }
    }
}
