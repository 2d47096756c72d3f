//! Files that change under real nodes: found by reading them again, and healed while they run.

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::{Cluster, until};

/// The files of a journal's log.
fn log_files(data: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let is_log = |name: &str| name.starts_with("seg-") || name.starts_with("journal.db");
    let mut all: Vec<_> =
        all.filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_log)).collect();
    all.sort();
    all
}

/// Changes a byte within the last copy of `text` that is stored.
fn damage(data: &Path, text: &[u8]) {
    for path in log_files(data).iter().rev() {
        let bytes = fs::read(path).unwrap();
        if let Some(at) = bytes.windows(text.len()).rposition(|window| window == text) {
            let file = fs::File::options().write(true).open(path).unwrap();
            let at = at + text.len() / 2;
            file.write_all_at(&[bytes[at] ^ 0x10], at as u64).unwrap();
            return;
        }
    }
    panic!("{} does not have it", data.display());
}

fn verify(cluster: &Cluster, at: usize) -> (bool, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_raft-kv"))
        .args(["journal", "verify"])
        .arg(&cluster.nodes[at].data)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), text)
}

fn heals(kind: &str, size: usize) {
    let mut cluster = Cluster::planned(size, &["--journal", kind, "--scrub-every-ms", "200"]);
    for node in &mut cluster.nodes {
        node.start();
    }
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].connect();
    for key in 0..200 {
        assert_eq!(client.call(&format!("SET key{key} the-{key}-value-{}", "x".repeat(200))), "OK");
    }
    for at in 0..size {
        until("it has all of it", || {
            let mut client = cluster.nodes[at].connect();
            client.call("READONLY") == "OK" && client.call("GET key199").starts_with("the-199-value")
        });
    }
    // A follower, if there is one, and the leader.
    let all = if size == 1 { vec![leader] } else { vec![(leader + 1) % size, leader] };
    for at in all {
        damage(&cluster.nodes[at].data, b"the-77-value");
        let told = |node: &common::Node| node.info("scrub").unwrap_or_default();
        until("it heals", || told(&cluster.nodes[at]).contains(",healed=1"));
        let told = told(&cluster.nodes[at]);
        assert!(told.contains("damages=1") && told.contains("last-damage="), "{told}");
        let mut client = cluster.nodes[at].connect();
        let found = client.call("RAFT SCRUB");
        assert!(found.contains("damages, []"), "{found}");
        assert_eq!(client.call("READONLY"), "OK");
        assert!(client.call("GET key77").starts_with("the-77-value-x"));
    }
    for key in 200..220 {
        assert_eq!(client.call(&format!("SET key{key} {key}")), "OK", "nothing else has changed");
    }
    for at in 0..size {
        cluster.nodes[at].kill();
        let (sound, text) = verify(&cluster, at);
        assert!(sound, "{text}");
    }
    for node in &mut cluster.nodes {
        let line = node.start();
        assert!(line.contains("journal clean") || line.contains("torn tail"), "{line}");
    }
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].connect();
    assert!(client.call("GET key77").starts_with("the-77-value-x"));
    assert_eq!(client.call("GET key219"), "219");
}

#[test]
fn a_byte_of_a_log_in_files_changes_while_its_node_runs() {
    heals("file", 3);
}

#[test]
fn a_byte_of_a_log_in_sqlite_changes_while_its_node_runs() {
    heals("sqlite", 3);
}

/// It would have been refused at its next start.
#[test]
fn a_byte_of_the_log_of_a_single_voter_changes_while_it_runs() {
    heals("file", 1);
}
