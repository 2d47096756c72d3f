//! Clients that count: one thread, one session and one command at a time each. A command is sent again under its
//! number, to whichever node, until it is answered.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::failover::Watched;
use crate::servers::PATIENCE;
use crate::util::resp::{Client, Reply};
use crate::util::watch::Watch;
use crate::verdict::{Verdict, verdict};

/// What is counted.
pub(super) const KEY: &[u8] = b"count";

/// How long a client waits for one answer. A server says `UNKNOWN` or `CLUSTERDOWN` long before.
const ANSWER: Duration = Duration::from_secs(2);

/// How long to wait when nobody leads.
const PAUSE: Duration = Duration::from_millis(2);

/// A session ends when it was not used for so long. A command is never sent again after more than [`PATIENCE`].
const TIMEOUT_MS: &[u8] = b"300000";

/// Answers after which a command is not sent again: something that should not happen has happened.
const FINAL: [&str; 6] = ["ERR", "WRONGTYPE", "NOSESSION", "SEQACKED", "SEQWINDOW", "ANSWERLOST"];

/// What all clients share.
struct Shared {
    nodes: Vec<SocketAddr>,
    watch: Watch,
    stop: AtomicBool,
    /// How many commands were begun.
    begun: AtomicU64,
    /// Commands that may be begun by now.
    limit: AtomicU64,
    acked: AtomicU64,
    /// Why a client gave up.
    failed: Mutex<Option<String>>,
}

/// Running clients.
pub(super) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Totals>>,
}

/// What the clients did.
#[derive(Default)]
pub(super) struct Totals {
    /// What was answered, in the order of each client.
    pub(super) answers: Vec<u64>,
    /// Attempts whose outcome nobody told: the connection broke, there was no answer, or it was `UNKNOWN`.
    pub(super) unknown: u64,
    /// Attempts that were said not to be done.
    pub(super) not_done: u64,
    /// An answer that was not greater than the one before it to the same client.
    pub(super) backwards: u64,
    /// From the first attempt to the answer, sorted, in microseconds.
    pub(super) latencies_us: Vec<u32>,
}

impl Totals {
    /// So many thousandths of the commands took no longer, in microseconds.
    pub(super) fn latency_us(&self, thousandths: usize) -> u32 {
        let at =
            (self.latencies_us.len() * thousandths / 1000).min(self.latencies_us.len().saturating_sub(1));
        self.latencies_us.get(at).copied().unwrap_or(0)
    }
}

impl Load {
    /// Starts the clients; they wait for [`Load::allow`].
    pub(super) fn start(nodes: Vec<SocketAddr>, clients: usize) -> Self {
        let shared = Arc::new(Shared {
            nodes,
            watch: Watch::new(),
            stop: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            failed: Mutex::new(None),
        });
        let start = |number: usize| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || Counter::new(&shared, number).run())
        };
        Self { clients: (0..clients).map(start).collect(), shared }
    }

    /// So many commands may be begun by now, all clients and all the time together.
    pub(super) fn allow(&self, commands: u64) {
        self.shared.limit.store(commands, Ordering::SeqCst);
    }

    /// How many commands were answered so far.
    pub(super) fn acked(&self) -> u64 {
        self.shared.acked.load(Ordering::Relaxed)
    }

    /// Why a client gave up, if one did.
    pub(super) fn failure(&self) -> Option<String> {
        self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the clients, each after its command, and adds up; `None` if one has panicked.
    pub(super) fn stop(self) -> Option<Totals> {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut totals = Totals::default();
        for client in self.clients {
            let one = client.join().ok()?;
            totals.backwards += one.answers.windows(2).filter(|pair| pair[0] >= pair[1]).count() as u64;
            totals.answers.extend(one.answers);
            totals.unknown += one.unknown;
            totals.not_done += one.not_done;
            totals.latencies_us.extend(one.latencies_us);
        }
        totals.latencies_us.sort_unstable();
        Some(totals)
    }
}

impl Watched for Load {
    fn begin_watch(&self, _: Option<usize>) -> Instant {
        self.shared.watch.begin()
    }

    fn first_ack(&self) -> Option<Instant> {
        self.shared.watch.first()
    }

    fn end_watch(&self) {
        self.shared.watch.end();
    }
}

/// One client.
struct Counter<'a> {
    shared: &'a Shared,
    /// The node that it talks to.
    at: usize,
    client: Option<Client>,
    totals: Totals,
}

impl<'a> Counter<'a> {
    fn new(shared: &'a Shared, number: usize) -> Self {
        Self { shared, at: number % shared.nodes.len(), client: None, totals: Totals::default() }
    }

    fn run(mut self) -> Totals {
        if let Err(why) = self.count() {
            *self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            self.shared.stop.store(true, Ordering::SeqCst);
        }
        self.totals
    }

    fn count(&mut self) -> Result<(), String> {
        let open: [&[u8]; 5] = [b"RAFT", b"SESSION", b"OPEN", b"TIMEOUT", TIMEOUT_MS];
        // Opened twice, one of the two is never used: no harm.
        let session = match self.until_answered(&open)? {
            (Reply::Integer(session), ..) => session.to_string(),
            (other, ..) => return Err(format!("SESSION OPEN was answered {other:?}")),
        };
        let mut sequence = 0_u64;
        while !self.shared.stop.load(Ordering::Relaxed) {
            if !self.may_begin() {
                std::thread::sleep(PAUSE);
                continue;
            }
            sequence += 1;
            let number = sequence.to_string();
            let number = number.as_bytes();
            let command: [&[u8]; 9] =
                [b"RAFT", b"SEQ", number, b"SESSION", session.as_bytes(), b"ACK", number, b"INCR", KEY];
            let begun = self.shared.watch.now();
            let (answer, sent, came) = self.until_answered(&command)?;
            let Reply::Integer(count) = answer else {
                return Err(format!("INCR was answered {answer:?}"));
            };
            self.totals.answers.push(u64::try_from(count).unwrap_or(0));
            self.totals.latencies_us.push(u32::try_from((came - begun) / 1000).unwrap_or(u32::MAX));
            self.shared.acked.fetch_add(1, Ordering::Relaxed);
            self.shared.watch.acked(sent, came);
        }
        Ok(())
    }

    /// Takes one of the commands that may be begun.
    fn may_begin(&self) -> bool {
        let limit = self.shared.limit.load(Ordering::SeqCst);
        let next = |begun: u64| (begun < limit).then_some(begun + 1);
        self.shared.begun.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok()
    }

    /// Sends it until it is answered: the answer, when the attempt that was answered was sent, and when the answer came.
    fn until_answered(&mut self, command: &[&[u8]]) -> Result<(Reply, u64, u64), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.client.is_none() {
                self.client = Client::connect(self.shared.nodes[self.at], ANSWER).ok();
            }
            let sent = self.shared.watch.now();
            let verdict = match &mut self.client {
                None => Verdict::NotDone(None),
                Some(client) => match client.call(command) {
                    Ok(Reply::Error(text)) if FINAL.iter().any(|is| text.starts_with(is)) => {
                        return Err(format!("{} was answered {text}", show(command)));
                    }
                    answer => verdict(answer),
                },
            };
            match verdict {
                Verdict::Done(reply) => return Ok((reply, sent, self.shared.watch.now())),
                Verdict::NotDone(to) => {
                    self.totals.not_done += 1;
                    match to.and_then(|to| self.shared.nodes.iter().position(|node| *node == to)) {
                        Some(at) if at != self.at => (self.at, self.client) = (at, None),
                        _ => self.go_on(),
                    }
                }
                Verdict::Unknown => {
                    self.totals.unknown += 1;
                    self.go_on();
                }
            }
            if Instant::now() > deadline {
                return Err(format!("{} was not answered within {PATIENCE:?}", show(command)));
            }
        }
    }

    /// To the next node, in a moment. The next answer of this connection may be a late one.
    fn go_on(&mut self) {
        self.client = None;
        self.at = (self.at + 1) % self.shared.nodes.len();
        std::thread::sleep(PAUSE);
    }
}

fn show(command: &[&[u8]]) -> String {
    command.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ")
}
