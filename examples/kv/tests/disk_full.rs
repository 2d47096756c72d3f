//! A disk that is really full: a small file system of its own. The cluster lives on, and the node comes back when
//! there is space again. Needs to mount one: where that is not allowed the tests say so and end.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use common::{Cluster, Node, PATIENCE, until};

/// A file system in memory with a limit; unmounted when it is dropped.
struct Small(PathBuf);

impl Small {
    /// `None`, with a reason on stderr, where it cannot be had.
    fn mount(at: &Path, mebibytes: u32) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={mebibytes}m");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        match output {
            Ok(output) if output.status.success() => Some(Self(at.to_path_buf())),
            Ok(output) => {
                eprintln!(
                    "SKIPPED: no tmpfs can be mounted here: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                None
            }
            Err(error) => {
                eprintln!("SKIPPED: there is no mount: {error}");
                None
            }
        }
    }

    /// Leaves so much space, in KiB.
    fn fill_to(&self, left: u64) {
        let block = vec![7_u8; 1024];
        let mut ballast = fs::File::create(self.0.join("ballast")).unwrap();
        while std::io::Write::write_all(&mut ballast, &block).is_ok() {}
        let length = ballast.metadata().unwrap().len().saturating_sub(left << 10);
        ballast.set_len(length).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A cluster of which one node's data is on a small disk; that node leads.
fn cluster(kind: &str) -> Option<(Cluster, usize, Small)> {
    let mut cluster = Cluster::planned(3, &["--journal", kind, "--segment-bytes", "1048576"]);
    let at = 0;
    let disk = Small::mount(&cluster.dir.path().join("small"), 24)?;
    let data = disk.0.join("node");
    let node = &mut cluster.nodes[at];
    let flag = node.flags.iter().position(|flag| flag == "--data").unwrap();
    node.flags[flag + 1] = data.to_str().unwrap().to_owned();
    for node in &mut cluster.nodes {
        node.start();
    }
    let leader = cluster.leader();
    if leader != at {
        until("it leads", || {
            let now = cluster.leader();
            now == at
                || cluster.nodes[now].connect().call("RAFT TRANSFER 1") == "OK" && cluster.leader() == at
        });
    }
    Some((cluster, at, disk))
}

/// Writes to whoever leads until this node's disk is full and another one leads; the keys that were acknowledged.
fn write_until_it_is_full(cluster: &Cluster, at: usize) -> Vec<u32> {
    let value = "x".repeat(60_000);
    let mut acknowledged = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let mut key = 0;
    loop {
        assert!(Instant::now() < deadline, "it is not full: {}", cluster.nodes[at].log());
        let leads = |node: &Node| node.info("role").as_deref() == Some("leader");
        let leader = (0..3).find(|at| leads(&cluster.nodes[*at]));
        let is_full = cluster.nodes[at].info("disk").is_some_and(|disk| disk.starts_with("full"));
        if is_full && leader.is_some_and(|leader| leader != at) {
            return acknowledged;
        }
        let Some(leader) = leader else { continue };
        let Some(mut client) = cluster.nodes[leader].try_connect() else { continue };
        for _ in 0..20 {
            if client.try_send(&format!("SET k{key} {key}-{value}")).is_err() {
                break;
            }
            match client.try_reply().as_deref() {
                Some("OK") => acknowledged.push(key),
                Some(_) => {}
                None => break,
            }
            key += 1;
        }
    }
}

fn lives_on_and_comes_back(kind: &str) {
    let Some((mut cluster, at, disk)) = cluster(kind) else { return };
    let pid = cluster.nodes[at].pid();
    disk.fill_to(1500);
    let acknowledged = write_until_it_is_full(&cluster, at);
    // The others go on, and have all of it.
    let leader = (0..3).find(|at| cluster.nodes[*at].info("role").as_deref() == Some("leader")).unwrap();
    assert_ne!(leader, at);
    let mut client = cluster.nodes[leader].connect();
    for key in &acknowledged {
        assert!(client.call(&format!("GET k{key}")).starts_with(&format!("{key}-x")), "k{key}");
    }
    assert_eq!(client.call("SET meanwhile 1"), "OK");
    assert_eq!(cluster.nodes[at].info("health").as_deref(), Some("red"));
    // It votes: of the two others one goes, and the third leads with its help.
    let third = 3 - at - leader;
    cluster.nodes[leader].kill();
    until("the third leads", || cluster.nodes[third].info("role").as_deref() == Some("leader"));
    cluster.nodes[leader].start();
    let mut client = cluster.nodes[third].connect();
    until("it writes", || client.call("SET meanwhile 2") == "OK");
    // Space again: it goes on by itself, and catches up with all that it had promised.
    disk.free();
    until("it catches up", || {
        let mut client = cluster.nodes[at].connect();
        client.call("READONLY") == "OK" && client.call("GET meanwhile") == "2"
    });
    assert!(cluster.nodes[at].is_running());
    assert_eq!(cluster.nodes[at].pid(), pid, "nobody has started it again");
    until("its disk is prompt", || cluster.nodes[at].info("disk").as_deref() == Some("prompt"));
    let mut client = cluster.nodes[at].connect();
    assert_eq!(client.call("READONLY"), "OK");
    for key in &acknowledged {
        assert!(client.call(&format!("GET k{key}")).starts_with(&format!("{key}-x")), "k{key}");
    }
    drop(cluster);
}

#[test]
fn a_full_disk_under_files() {
    lives_on_and_comes_back("file");
}

#[test]
fn a_full_disk_under_sqlite() {
    lives_on_and_comes_back("sqlite");
}

/// No space for a snapshot is no reason to stop: it is taken when there is.
#[test]
fn a_snapshot_for_which_there_is_no_space() {
    for kind in ["file", "sqlite"] {
        let Some((mut cluster, at, disk)) = cluster(kind) else { return };
        let mut client = cluster.nodes[at].connect();
        let value = "y".repeat(100_000);
        for key in 0..40 {
            assert_eq!(client.call(&format!("SET k{key} {value}")), "OK");
        }
        disk.fill_to(2500);
        let refused = client.call("RAFT SNAPSHOT");
        assert!(refused.starts_with("-ERR") && refused.contains("no space"), "{refused}");
        assert_eq!(client.call("SET small 1"), "OK", "it goes on");
        assert!(cluster.nodes[at].is_running());
        disk.free();
        let taken = client.call("RAFT SNAPSHOT");
        assert!(taken.starts_with("[index, "), "{taken}");
        drop(cluster);
    }
}
