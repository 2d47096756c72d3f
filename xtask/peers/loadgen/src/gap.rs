//! What clients notice when leadership changes: each writes one value after the other, and asks the next node after a
//! failure.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::values::Values;
use crate::{Args, Mode, Proto, etcd, resp, sp};

/// How long to wait for a first leader, and for the next one.
const PATIENCE: Duration = Duration::from_secs(60);
/// After a failure, before the next node is asked.
const PAUSE: Duration = Duration::from_millis(1);

/// Who leads, as soon as somebody does.
pub fn leader(args: &Args, runtime: &Runtime) -> Option<usize> {
    let mut values = Values::new(4);
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let found = match args.proto {
            Proto::Sp => args.addrs.iter().position(|at| sp::One::new(*at).write(&mut values)),
            Proto::Resp | Proto::Redis => args.addrs.iter().position(|at| resp::One::new(*at).write(&mut values)),
            Proto::Etcd => runtime.block_on(etcd::leader(&args.addrs)),
        };
        if found.is_some() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    None
}

/// When acknowledged writes were sent and answered.
#[derive(Default)]
struct Acks(Mutex<Vec<(Instant, Instant)>>);

impl Acks {
    fn add(&self, sent: Instant) {
        self.0.lock().expect("no client panics").push((sent, Instant::now()));
    }

    /// The first answer to what was sent after this.
    fn first_after(&self, when: Instant) -> Option<Instant> {
        let all = self.0.lock().expect("no client panics");
        all.iter().filter(|(sent, _)| *sent >= when).map(|(_, answered)| *answered).min()
    }

    /// The longest time without an answer that ends between these.
    fn longest(&self, from: Instant, until: Instant) -> Duration {
        let mut all: Vec<Instant> =
            self.0.lock().expect("no client panics").iter().map(|(_, answered)| *answered).collect();
        all.sort_unstable();
        let pairs = all.windows(2).filter(|pair| pair[1] > from && pair[1] < until);
        pairs.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

fn client(args: &Args, from: usize, values: Values, stop: &AtomicBool, acks: &Acks, runtime: &Runtime) {
    let mut values = values;
    let mut at = from;
    let mut thin: Vec<sp::One> = args.addrs.iter().map(|address| sp::One::new(*address)).collect();
    let mut redis: Vec<resp::One> = args.addrs.iter().map(|address| resp::One::new(*address)).collect();
    let mut etcd: Vec<etcd::Client> = {
        let _inside = runtime.enter();
        args.addrs.iter().map(|address| etcd::connect(*address)).collect()
    };
    while !stop.load(Relaxed) {
        let sent = Instant::now();
        let done = match args.proto {
            Proto::Sp => thin[at].write(&mut values),
            Proto::Resp | Proto::Redis => redis[at].write(&mut values),
            Proto::Etcd => runtime.block_on(etcd[at].write(&mut values)),
        };
        if done {
            acks.add(sent);
        } else {
            at = (at + 1) % args.addrs.len();
            std::thread::sleep(PAUSE);
        }
    }
}

/// Hands leadership to the next node.
fn hand_over(args: &Args, from: usize, runtime: &Runtime) -> bool {
    let to = (from + 1) % args.addrs.len() + 1;
    match args.proto {
        Proto::Etcd => runtime.block_on(etcd::move_leader(&args.addrs, from)),
        Proto::Resp => {
            let words: [&[u8]; 3] = [b"RAFT", b"TRANSFER", &to.to_string().into_bytes()];
            resp::One::new(args.addrs[from]).call(&words).is_some()
        }
        Proto::Sp | Proto::Redis => false,
    }
}

pub fn run(args: &Args, runtime: &Runtime) -> Result<Value, String> {
    let first = leader(args, runtime).ok_or("nobody leads")?;
    let (values, stop, acks) = (Values::new(args.size), Arc::new(AtomicBool::new(false)), Acks::default());
    std::thread::scope(|scope| {
        for at in 0..args.clients {
            let (values, stop, acks) = (values.of(at), &stop, &acks);
            scope.spawn(move || client(args, first, values, stop, acks, runtime));
        }
        std::thread::sleep(Duration::from_secs_f64(args.warm));
        let begun = Instant::now();
        let answer = if args.mode == Mode::Failover {
            kill(args, first).and_then(|()| wait_for(&acks, Instant::now()))
        } else if hand_over(args, first, runtime) {
            wait_for(&acks, Instant::now()).map(|_| {
                std::thread::sleep(Duration::from_secs_f64(args.secs));
                acks.longest(begun, Instant::now())
            })
        } else {
            Err(String::from("leadership was not handed over"))
        };
        stop.store(true, Relaxed);
        let took = answer?;
        let mode = if args.mode == Mode::Failover { "failover" } else { "transfer" };
        Ok(json!({ "mode": mode, "leader": first, "ms": took.as_secs_f64() * 1e3 }))
    })
}

fn kill(args: &Args, leader: usize) -> Result<(), String> {
    let pid = args.pids.get(leader).copied().and_then(Pid::from_raw).ok_or("--pids: one for each node")?;
    kill_process(pid, Signal::KILL).map_err(|error| format!("kill: {error}"))
}

/// How long from then to the first acknowledgement of a write that was sent later.
fn wait_for(acks: &Acks, from: Instant) -> Result<Duration, String> {
    while from.elapsed() < PATIENCE {
        if let Some(first) = acks.first_after(from) {
            return Ok(first - from);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(String::from("no write was acknowledged any more"))
}
