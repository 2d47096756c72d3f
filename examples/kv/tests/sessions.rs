//! Exactly once over real processes: sessions, numbered commands, and a count that is exact after kills.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Client, Cluster, PATIENCE};

#[test]
fn a_numbered_command_is_done_once_and_answered_each_time() {
    let mut cluster = Cluster::start(3);
    let (leader, follower) = cluster.leader_and_follower();
    let mut client = cluster.nodes[leader].connect();
    let session: u64 = client.call("RAFT SESSION OPEN").parse().unwrap();
    let none = "-ERR no session: say SESSION id, or RAFT SESSION USE id before";
    assert_eq!(client.call("RAFT SEQ 1 INCR n"), none);
    assert_eq!(client.call(&format!("RAFT SESSION USE {session}")), "OK");

    // Pipelined, with commands without numbers between: one proposal.
    client.send("RAFT SEQ 1 INCR n\nRAFT SEQ 1 INCR n\nINCR n\nGET n\nRAFT SEQ 2 INCR n\nRAFT SEQ 1 INCR n");
    let replies: Vec<_> = (0..6).map(|_| client.reply()).collect();
    assert_eq!(replies, ["1", "1", "2", "2", "3", "1"]);

    // From another connection, which names the session in the command.
    let mut other = cluster.nodes[leader].connect();
    assert_eq!(other.call(&format!("RAFT SEQ 2 SESSION {session} INCR n")), "3");
    assert_eq!(other.call(&format!("raft seq 3 session {session} ack 3 append text abc")), "3");
    let acknowledged = other.call(&format!("RAFT SEQ 2 SESSION {session} INCR n"));
    assert!(acknowledged.starts_with("-SEQACKED not done, or not again: "), "{acknowledged}");
    // What it answered is kept whatever it was.
    assert!(client.call("RAFT SEQ 4 LPUSH n x").starts_with("-WRONGTYPE "));
    client.call("DEL n");
    assert!(client.call("RAFT SEQ 4 LPUSH n x").starts_with("-WRONGTYPE "));
    assert_eq!(client.call("EXISTS n"), "0");
    assert!(client.call("RAFT SEQ 9999 INCR n").starts_with("-SEQWINDOW not done: "));

    // A transaction: its number is that of EXEC.
    for _ in 0..2 {
        client.send("MULTI\nINCR m\nINCR m\nRAFT SEQ 5 ACK 5 EXEC");
        let replies: Vec<_> = (0..4).map(|_| client.reply()).collect();
        assert_eq!(replies, ["OK", "QUEUED", "QUEUED", "[1, 2]"]);
    }
    client.send("MULTI\nRAFT SEQ 6 INCR m\nEXEC");
    assert_eq!(client.reply(), "OK");
    assert_eq!(client.reply(), "-ERR in a transaction the number belongs to EXEC");
    assert!(client.reply().starts_with("-EXECABORT"));

    let only = "-ERR only commands that write, and EXEC, have numbers";
    for command in ["GET m", "PING", "RAFT INFO"] {
        assert_eq!(client.call(&format!("RAFT SEQ 7 {command}")), only);
    }
    assert_eq!(client.call("RAFT SEQ 7 EXEC"), "-ERR EXEC without MULTI");
    assert!(client.call("RAFT SEQ 7 NOSUCH").starts_with("-ERR unknown command 'NOSUCH'"));
    assert!(client.call("RAFT SEQ 7 SET k").starts_with("-ERR wrong number of arguments for 'set'"));
    assert_eq!(client.call("RAFT SEQ x INCR n"), "-ERR value is not an integer or out of range");

    // Elsewhere, with the slot of the key.
    let mut client = cluster.nodes[follower].connect();
    let address = cluster.nodes[leader].client;
    let moved = client.call(&format!("RAFT SEQ 7 SESSION {session} SET foo x"));
    assert_eq!(moved, format!("-MOVED 12182 {address}"));
    assert_eq!(client.call("RAFT SESSION OPEN"), format!("-MOVED 0 {address}"));
}

#[test]
fn a_session_ends_when_it_is_closed_or_not_used() {
    let mut cluster = Cluster::start(1);
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].connect();
    let short: u64 = client.call("RAFT SESSION OPEN TIMEOUT 1000").parse().unwrap();
    let long: u64 = client.call("RAFT SESSION OPEN").parse().unwrap();
    // One that is kept alive by a command, the other not; until the log's time says that it is over.
    let deadline = Instant::now() + PATIENCE;
    while client.call(&format!("RAFT SESSION KEEPALIVE {long} ACK 1")) == "OK" {
        if cluster.nodes[leader].info("sessions").as_deref() == Some("1") {
            break;
        }
        assert!(Instant::now() < deadline, "it never expires");
    }
    let gone = |session: u64| {
        format!(
            "-NOSESSION not done: session {session} is not open: it has expired, was closed, or never was; RAFT SESSION OPEN opens another one"
        )
    };
    assert_eq!(client.call(&format!("RAFT SEQ 1 SESSION {short} INCR n")), gone(short));
    assert_eq!(client.call(&format!("RAFT SESSION KEEPALIVE {short}")), gone(short));
    assert_eq!(client.call(&format!("RAFT SEQ 1 SESSION {long} INCR n")), "1");
    // It is in the log, and so there after a restart, with its answer.
    cluster.nodes[leader].kill();
    cluster.nodes[leader].start();
    cluster.leader();
    let mut client = cluster.nodes[leader].connect();
    assert_eq!(client.call(&format!("RAFT SEQ 1 SESSION {long} INCR n")), "1");
    assert_eq!(client.call(&format!("RAFT SESSION CLOSE {long}")), "OK");
    assert_eq!(client.call(&format!("RAFT SEQ 2 SESSION {long} INCR n")), gone(long));
    for wrong in
        ["RAFT SESSION USE x", "RAFT SESSION KEEPALIVE", "RAFT SESSION OPEN TIMEOUT -1", "RAFT SESSION"]
    {
        assert!(client.call(wrong).starts_with("-ERR "), "{wrong}");
    }
}

/// A client that does not give up: it sends a command again, to one node after the other, until it is answered.
struct Stubborn {
    addresses: Vec<std::net::SocketAddr>,
    at: usize,
    client: Option<Client>,
    /// Attempts that were not answered, or with "unknown".
    unknown: Arc<AtomicU64>,
}

impl Stubborn {
    fn call(&mut self, line: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "{line:?} is never answered");
            let address = self.addresses[self.at];
            let client = match &mut self.client {
                Some(client) => client,
                None => match Client::try_connect(address) {
                    Some(client) => self.client.insert(client),
                    None => {
                        self.at = (self.at + 1) % self.addresses.len();
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    }
                },
            };
            let reply = if client.try_send(line).is_ok() { client.try_reply() } else { None };
            match reply {
                Some(reply) if !reply.starts_with('-') => return reply,
                Some(error)
                    if ["-MOVED ", "-CLUSTERDOWN ", "-TRYAGAIN ", "-UNKNOWN "]
                        .iter()
                        .any(|code| error.starts_with(code)) =>
                {
                    if error.starts_with("-UNKNOWN ") {
                        self.unknown.fetch_add(1, Ordering::Relaxed);
                    }
                }
                None => drop(self.unknown.fetch_add(1, Ordering::Relaxed)),
                Some(error) => panic!("{line}: {error}"),
            }
            self.client = None;
            self.at = (self.at + 1) % self.addresses.len();
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Six clients count while the leader is killed again and again. Each of their commands is done once: the
/// answers are all the numbers there are, each given to one of them.
#[test]
fn the_count_is_exact_after_the_leader_was_killed_again_and_again() {
    const CLIENTS: u64 = 6;
    const KILLS: u64 = 4;
    let mut cluster = Cluster::start(3);
    let addresses: Vec<_> = cluster.nodes.iter().map(|node| node.client).collect();
    let (enough, unknown) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let counted = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..CLIENTS as usize)
        .map(|at| {
            let (addresses, unknown) = (addresses.clone(), Arc::clone(&unknown));
            let (enough, counted) = (Arc::clone(&enough), Arc::clone(&counted));
            std::thread::spawn(move || {
                let mut client = Stubborn { at: at % addresses.len(), addresses, client: None, unknown };
                let session = client.call("RAFT SESSION OPEN");
                let mut answers = Vec::new();
                while !enough.load(Ordering::Relaxed) {
                    let number = answers.len() + 1;
                    let line = format!("RAFT SEQ {number} SESSION {session} ACK {number} INCR count");
                    answers.push(client.call(&line).parse::<u64>().unwrap());
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                answers
            })
        })
        .collect();
    for _ in 0..KILLS {
        let before = counted.load(Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        while counted.load(Ordering::Relaxed) < before + 200 {
            assert!(Instant::now() < deadline, "nothing is counted");
            std::thread::sleep(Duration::from_millis(5));
        }
        let leader = cluster.leader();
        cluster.nodes[leader].kill();
        cluster.leader();
        cluster.nodes[leader].start();
    }
    enough.store(true, Ordering::Relaxed);
    let mut answers: Vec<u64> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    answers.sort_unstable();
    let total = answers.len() as u64;
    eprintln!("{total} counted, {} attempts without an answer", unknown.load(Ordering::Relaxed));
    assert_eq!(answers, (1..=total).collect::<Vec<_>>());
    let leader = cluster.leader();
    assert_eq!(cluster.nodes[leader].connect().call("GET count"), total.to_string());
}

/// What the README shows is what happens.
#[test]
fn the_example_in_the_readme_is_true() {
    let readme = include_str!("../README.md");
    let begin = readme.find("> RAFT SESSION OPEN").expect("the example begins so");
    let example = &readme[begin..];
    let example = &example[..example.find("```").expect("and ends")];
    let mut cluster = Cluster::start(1);
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].connect();
    let mut session = None;
    let mut lines = example.lines().peekable();
    let mut commands = 0;
    while let Some(command) = lines.next().and_then(|line| line.strip_prefix("> ")) {
        let mut expected = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("> ")) {
            expected.push(line);
        }
        // The session's name in the README stands for the one that was given here.
        let named = |text: &str| {
            session.as_ref().map_or_else(|| text.to_owned(), |name: &String| text.replace("1042", name))
        };
        let reply = client.call(&named(command));
        let expected = named(&expected.join("\n")).replace("(integer) ", "").replace("(error) ", "-");
        if session.is_none() {
            assert_eq!(expected, "1042");
            session = Some(reply);
        } else {
            assert_eq!(reply, expected, "{command}");
        }
        commands += 1;
    }
    assert!(commands >= 8, "{commands} commands");
}
