//! Members come and go, in real processes: under load, with leaders dying, with disks that were wiped.

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{Client, Cluster, Node, PATIENCE, free_addresses};

const NAME: &str = "5d0f1c2d-0000-4000-8000-00000000cafe";

/// Of `count` nodes the first ones found a cluster; the others are in limbo. Not started.
fn planned(founders: usize, count: usize, more: &[&str]) -> Cluster {
    let mut flags = vec!["--cluster-id", NAME];
    flags.extend(more);
    let mut cluster = Cluster::planned(count, &flags);
    let list: Vec<String> = cluster.nodes[..founders].iter().map(member).collect();
    let list = list.join(",");
    for (at, node) in cluster.nodes.iter_mut().enumerate() {
        if at < founders {
            let members = node.flags.iter().position(|flag| flag == "--members").unwrap();
            node.flags[members + 1].clone_from(&list);
        } else {
            forget_members(node);
        }
    }
    cluster
}

fn started(founders: usize, count: usize, more: &[&str]) -> Cluster {
    let mut cluster = planned(founders, count, more);
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.leader();
    cluster
}

/// As `--members` names it.
fn member(node: &Node) -> String {
    format!("{}={}", node.id, addresses(node))
}

/// As `RAFT ADD-LEARNER` names it.
fn addresses(node: &Node) -> String {
    format!("{}@{}", node.peer, node.client)
}

fn forget_members(node: &mut Node) {
    if let Some(members) = node.flags.iter().position(|flag| flag == "--members") {
        node.flags.drain(members..members + 2);
    }
}

/// Asks the leader, again if it says so, until it is done.
fn change(cluster: &mut Cluster, command: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let leader = cluster.leader();
        let said = cluster.nodes[leader].connect().call(command);
        if said == "OK" {
            return;
        }
        let again = said.starts_with("-TRYAGAIN") || said.starts_with("-MOVED");
        assert!(again && Instant::now() < deadline, "{command}: {said}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a row of a node's `RAFT INFO` is so.
fn until(node: &Node, row: &str, what: &str, is: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = node.info(row);
        if let Some(value) = value.as_ref().filter(|value| is(value)) {
            return value.clone();
        }
        assert!(
            Instant::now() < deadline,
            "node {}: {row} is {value:?}, not {what}: {}",
            node.id,
            node.log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn until_voters(node: &Node, voters: &str) {
    until(node, "voters", voters, |is| is == voters);
}

/// What a writer was told.
#[derive(Default)]
struct Told {
    acknowledged: u64,
    /// Answers other than OK, by their first word.
    others: BTreeMap<String, u64>,
}

/// Writes `k0`, `k1`, ... one after the other, each until it is done, wherever it is sent to.
struct Writer {
    stop: Arc<AtomicBool>,
    /// How many are acknowledged, and who is told of each.
    written: Arc<(Mutex<u64>, Condvar)>,
    thread: JoinHandle<Told>,
}

impl Writer {
    fn start(nodes: Vec<SocketAddr>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let written = Arc::new((Mutex::new(0), Condvar::new()));
        let count = Arc::clone(&written);
        let thread = std::thread::spawn(move || {
            let mut told = Told::default();
            let mut at = 0;
            let mut client: Option<Client> = None;
            while !stopped.load(Ordering::Relaxed) {
                let Some(connection) = &mut client else {
                    client = Client::try_connect(nodes[at]);
                    at = (at + usize::from(client.is_none())) % nodes.len();
                    continue;
                };
                let number = told.acknowledged;
                let said = match connection.try_send(&format!("SET k{number} {number}")) {
                    Ok(()) => connection.try_reply().unwrap_or_else(|| "-BROKEN".into()),
                    Err(_) => "-BROKEN".into(),
                };
                if said == "OK" {
                    told.acknowledged += 1;
                    *count.0.lock().unwrap() = told.acknowledged;
                    count.1.notify_all();
                    continue;
                }
                let word = said.split_whitespace().next().unwrap_or_default().to_owned();
                *told.others.entry(word.clone()).or_default() += 1;
                if word == "-MOVED" {
                    let to = said.rsplit(' ').next().and_then(|address| address.parse().ok());
                    at = nodes.iter().position(|node| Some(*node) == to).unwrap_or(at);
                    client = None;
                } else if word == "-CLUSTERDOWN" || word == "-BROKEN" {
                    at = (at + 1) % nodes.len();
                    client = None;
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            told
        });
        Self { stop, written, thread }
    }

    /// Returns when it has gone on for a while.
    fn goes_on(&self) {
        let (count, changed) = &*self.written;
        let count = count.lock().unwrap();
        let enough = *count + 30;
        let (count, _) = changed.wait_timeout_while(count, PATIENCE, |count| *count < enough).unwrap();
        assert!(*count >= enough, "writes stand still");
    }

    fn stop(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// All that was acknowledged is there.
fn check(node: &Node, told: &Told) {
    let mut client = node.connect();
    for from in (0..told.acknowledged).step_by(500) {
        let range = from..told.acknowledged.min(from + 500);
        let gets: Vec<String> = range.clone().map(|number| format!("GET k{number}")).collect();
        client.send(&gets.join("\n"));
        for number in range {
            assert_eq!(client.reply(), number.to_string(), "k{number}");
        }
    }
}

/// 1 -> 3 -> 5 -> 3 -> 1, the leader among those who leave, while a client writes: it is sent elsewhere, or told
/// that its write was not done, and never that nobody knows.
fn grow_and_shrink(more: &[&str]) {
    let mut cluster = started(1, 5, more);
    let writer = Writer::start(cluster.nodes.iter().map(|node| node.client).collect());
    let add = |cluster: &Cluster, ids: [usize; 2]| {
        ids.map(|at| format!("ADD-LEARNER {} {}", at + 1, addresses(&cluster.nodes[at]))).join(" ")
    };
    let three = add(&cluster, [1, 2]);
    writer.goes_on();
    change(&mut cluster, &format!("RAFT CHANGE {three} PROMOTE 2 PROMOTE 3 WAIT"));
    writer.goes_on();
    let five = add(&cluster, [3, 4]);
    change(&mut cluster, &format!("RAFT CHANGE {five}"));
    change(&mut cluster, "RAFT CHANGE PROMOTE 4 PROMOTE 5 WAIT");
    for node in &cluster.nodes {
        until_voters(node, "1,2,3,4,5");
    }
    writer.goes_on();
    // The leader is one of those who leave.
    let leader = cluster.leader();
    let other = (leader + 1) % 5;
    change(&mut cluster, &format!("RAFT CHANGE REMOVE {} REMOVE {}", leader + 1, other + 1));
    for at in [leader, other] {
        until(&cluster.nodes[at], "removed", "yes", |is| is == "yes");
    }
    writer.goes_on();
    let mut left: Vec<usize> = (0..5).filter(|at| ![leader, other].contains(at)).collect();
    let last = left.pop().unwrap();
    change(&mut cluster, &format!("RAFT CHANGE REMOVE {} REMOVE {}", left[0] + 1, left[1] + 1));
    until_voters(&cluster.nodes[last], &(last + 1).to_string());
    let deadline = Instant::now() + PATIENCE;
    while cluster.leader() != last {
        assert!(Instant::now() < deadline, "the last one does not lead");
    }
    writer.goes_on();
    let told = writer.stop();
    println!("{} writes, otherwise {:?}", told.acknowledged, told.others);
    let allowed = ["-MOVED", "-TRYAGAIN", "-CLUSTERDOWN"];
    let errors: Vec<_> = told.others.keys().filter(|word| !allowed.contains(&word.as_str())).collect();
    assert!(errors.is_empty(), "{:?}", told.others);
    check(&cluster.nodes[last], &told);
}

#[test]
fn one_grows_to_five_and_shrinks_to_one_under_load() {
    grow_and_shrink(&[]);
}

#[test]
fn one_grows_to_five_and_shrinks_to_one_under_load_over_grpc() {
    grow_and_shrink(&["--transport", "grpc", "--journal", "sqlite"]);
}

/// The leader is killed at some moment of a change: the next one finishes it or knows nothing of it, no write is
/// lost, and the next change is not held up.
#[test]
fn a_leader_is_killed_in_the_middle_of_a_change() {
    let mut cluster = started(3, 5, &[]);
    for at in [3, 4] {
        let learner = format!("RAFT ADD-LEARNER {} {}", at + 1, addresses(&cluster.nodes[at]));
        change(&mut cluster, &learner);
    }
    let writer = Writer::start(cluster.nodes.iter().map(|node| node.client).collect());
    for (round, pause_us) in [0, 300, 1000, 2000, 4000, 8000].into_iter().enumerate() {
        let leader = cluster.leader();
        let wish = if round % 2 == 0 { "PROMOTE 4 PROMOTE 5 WAIT" } else { "DEMOTE 4 DEMOTE 5" };
        let mut client = cluster.nodes[leader].connect();
        client.send(&format!("RAFT CHANGE {wish}"));
        std::thread::sleep(Duration::from_micros(pause_us));
        cluster.nodes[leader].kill();
        let next = cluster.leader();
        until(&cluster.nodes[next], "membership", "settled", |is| {
            !is.contains("joint") && !is.contains("not committed")
        });
        cluster.nodes[leader].start();
        // Whatever became of it, it can be made now, or is.
        let expected = if round % 2 == 0 { "1,2,3,4,5" } else { "1,2,3" };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leader = cluster.leader();
            if cluster.nodes[leader].info("voters").as_deref() == Some(expected) {
                break;
            }
            let said = cluster.nodes[leader].connect().call(&format!("RAFT CHANGE {wish}"));
            assert!(Instant::now() < deadline, "{said}");
            // A killed learner may not have been heard yet; a lost leader says that it does not know.
            assert!(
                ["OK", "-TRY", "-MOV", "-REF", "-UNK", "-CLU"].iter().any(|word| said.starts_with(word)),
                "{said}"
            );
        }
        for node in &cluster.nodes {
            until_voters(node, expected);
        }
    }
    let told = writer.stop();
    let leader = cluster.leader();
    check(&cluster.nodes[leader], &told);
}

#[test]
fn a_learner_is_made_a_voter_when_it_has_caught_up() {
    let mut cluster = planned(1, 2, &[]);
    cluster.nodes[0].start();
    cluster.leader();
    let mut client = cluster.nodes[0].connect();
    let writes: Vec<String> = (0..3000).map(|number| format!("SET k{number} {number}")).collect();
    for some in writes.chunks(100) {
        client.send(&some.join("\n"));
        some.iter().for_each(|_| assert_eq!(client.reply(), "OK"));
    }
    // Nobody is there yet.
    let learner = format!("RAFT ADD-LEARNER 2 {}", addresses(&cluster.nodes[1]));
    assert_eq!(client.call(&learner), "OK");
    let refused = client.call("RAFT PROMOTE 2");
    assert_eq!(refused, "-REFUSED node 2 has never answered this leader. WAIT waits for it");
    assert!(client.call("RAFT PROMOTE 2 FORCE").starts_with("-REFUSED "));
    let late = client.call("RAFT PROMOTE 2 WAIT 200");
    assert_eq!(late, "-REFUSED node 2 has never answered this leader. WAIT waits for it");
    assert!(
        client.call("RAFT PLAN PROMOTE 2").contains("refused now: node 2 has never answered this leader")
    );
    let line = cluster.nodes[1].start();
    let command = format!("RAFT ADD-LEARNER 2 {} on the leader", addresses(&cluster.nodes[1]));
    assert!(line.contains(&command), "{line}");
    assert_eq!(client.call("RAFT PROMOTE 2 WAIT"), "OK");
    until_voters(&cluster.nodes[1], "1,2");
    let shown = client.call("CLUSTER NODES");
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert_eq!(client.call("RAFT PROMOTE 2"), "-ERR node 2 is a voter already");
}

#[test]
fn a_member_moves_to_another_address() {
    let mut cluster = started(3, 3, &[]);
    let (leader, follower) = cluster.leader_and_follower();
    assert_eq!(cluster.nodes[leader].connect().call("SET k before"), "OK");
    cluster.nodes[follower].kill();
    let [client, peer] = free_addresses(2).try_into().unwrap();
    let node = &mut cluster.nodes[follower];
    for (flag, address) in [("--listen", client), ("--peer-listen", peer)] {
        let at = node.flags.iter().position(|is| is == flag).unwrap();
        node.flags[at + 1] = address.to_string();
    }
    (node.client, node.peer) = (client, peer);
    node.start();
    let update = format!("RAFT UPDATE {} {peer}@{client}", follower + 1);
    change(&mut cluster, &update);
    let leader = cluster.leader();
    assert_eq!(cluster.nodes[leader].connect().call("SET k after"), "OK");
    let index = cluster.nodes[leader].info("commit-index").unwrap();
    until(&cluster.nodes[follower], "last-applied", &index, |is| {
        is.parse::<u64>().unwrap() >= index.parse::<u64>().unwrap()
    });
    // It is needed, and clients are sent to where it is.
    let third = (0..3).find(|at| ![leader, follower].contains(at)).unwrap();
    cluster.nodes[third].kill();
    let leader = cluster.leader();
    let mut speaker = cluster.nodes[leader].connect();
    assert_eq!(speaker.call("SET k two"), "OK");
    assert!(speaker.call("CLUSTER SLOTS").contains(&client.port().to_string()));
}

#[test]
fn a_removed_node_is_quiet_and_says_why() {
    let mut cluster = started(3, 3, &[]);
    let (leader, follower) = cluster.leader_and_follower();
    let id = follower + 1;
    // It does not hear of it.
    cluster.nodes[follower].kill();
    change(&mut cluster, &format!("RAFT REMOVE {id}"));
    let term = cluster.nodes[leader].info("term").unwrap();
    cluster.nodes[follower].start();
    until(&cluster.nodes[follower], "removed", "yes", |is| is == "yes");
    let reasons = cluster.nodes[follower].info("health-reasons").unwrap();
    assert!(reasons.starts_with("removed: this node was removed from the cluster"), "{reasons}");
    assert_eq!(cluster.nodes[follower].info("health").as_deref(), Some("red"));
    // As long as it has just heard a leader, it sends clients there.
    until(&cluster.nodes[follower], "leader", "none", |is| is == "none");
    let said = cluster.nodes[follower].connect().call("GET k");
    assert!(said.starts_with("-CLUSTERDOWN this node was removed"), "{said}");
    assert!(cluster.nodes[follower].log().contains("removed: it serves nobody"));
    for number in 0..200 {
        assert_eq!(cluster.nodes[leader].connect().call(&format!("SET k {number}")), "OK");
    }
    assert_eq!(cluster.nodes[leader].info("term"), Some(term));
    // What it is told when it is added again, it believes.
    let learner = format!("RAFT ADD-LEARNER {id} {}", addresses(&cluster.nodes[follower]));
    change(&mut cluster, &learner);
    until(&cluster.nodes[follower], "removed", "no", |is| is == "no");
    change(&mut cluster, &format!("RAFT PROMOTE {id} WAIT"));
    for node in &cluster.nodes {
        until_voters(node, "1,2,3");
    }
}

/// J12: a wiped voter is refused under its old name, its error says what it takes, and by that it comes back.
#[test]
fn a_wiped_voter_comes_back_by_a_membership_change() {
    let mut cluster = started(3, 3, &[]);
    let (leader, follower) = cluster.leader_and_follower();
    let id = follower + 1;
    assert_eq!(cluster.nodes[leader].connect().call("SET k v"), "OK");
    cluster.nodes[follower].kill();
    std::fs::remove_dir_all(&cluster.nodes[follower].data).unwrap();
    let sentence = format!("it comes back only by a membership change (remove node {id}, then add it again)");
    cluster.nodes[follower].start_doomed();
    assert_eq!(cluster.nodes[follower].wait().code(), Some(3));
    assert!(cluster.nodes[follower].log().contains(&sentence), "{}", cluster.nodes[follower].log());
    std::fs::remove_dir_all(&cluster.nodes[follower].data).unwrap();
    // In limbo nothing is at stake: it says the same and waits.
    forget_members(&mut cluster.nodes[follower]);
    let before = cluster.nodes[follower].log().len();
    cluster.nodes[follower].start();
    common::until("somebody refuses it", || cluster.nodes[follower].log()[before..].contains(&sentence));
    let said = cluster.nodes[follower].connect().call("GET k");
    assert!(said.starts_with("-CLUSTERDOWN this node is in limbo"), "{said}");
    change(&mut cluster, &format!("RAFT REMOVE {id}"));
    let learner = format!("RAFT ADD-LEARNER {id} {}", addresses(&cluster.nodes[follower]));
    change(&mut cluster, &learner);
    change(&mut cluster, &format!("RAFT PROMOTE {id} WAIT"));
    until_voters(&cluster.nodes[follower], "1,2,3");
    // It counts: with another one dead the two go on.
    let leader = cluster.leader();
    let third = (0..3).find(|at| ![leader, follower].contains(at)).unwrap();
    cluster.nodes[third].kill();
    let leader = cluster.leader();
    assert_eq!(cluster.nodes[leader].connect().call("GET k"), "v");
    assert_eq!(cluster.nodes[leader].connect().call("SET k w"), "OK");
    // Who slept through half of it knows the new store all the same.
    cluster.nodes[third].start();
    until_voters(&cluster.nodes[third], "1,2,3");
}
