//! `raft-kv recover`: a majority is lost for ever, and one node goes on.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Cluster, Node, until};

fn kv(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raft-kv"));
    let output = command.args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn member(node: &Node) -> String {
    format!("{}={}@{}", node.id, node.peer, node.client)
}

fn beside(data: &Path) -> PathBuf {
    let mut name = data.to_path_buf().into_os_string();
    name.push("-recovered");
    name.into()
}

/// From now on it runs on other data, in another cluster.
fn set(node: &mut Node, name: &str, value: Option<&str>) {
    if let Some(at) = node.flags.iter().position(|flag| flag == name) {
        node.flags.drain(at..at + 2);
    }
    node.flags.extend(value.into_iter().flat_map(|value| [name.to_owned(), value.to_owned()]));
}

/// What `recover` says that the new cluster is called.
fn cluster_in(text: &str) -> String {
    let (_, rest) = text.split_once("--cluster-id ").unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

fn recovers(kind: &str, other: &str) {
    let mut cluster = Cluster::start_with(3, &["--journal", kind]);
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].connect();
    for number in 0..50 {
        assert_eq!(client.call(&format!("SET k{number} {number}")), "OK");
    }
    // The one that is left has everything; two are gone. (What INFO says of the leader's log may be some milliseconds old.)
    let left = (leader + 1) % 3;
    let mut stale = cluster.nodes[left].connect();
    until("it has everything", || stale.call("READONLY") == "OK" && stale.call("GET k49") == "49");
    for node in &mut cluster.nodes {
        node.kill();
    }
    let gone: Vec<usize> = (0..3).filter(|at| *at != left).collect();
    let lost = gone.iter().map(|at| cluster.nodes[*at].id.to_string()).collect::<Vec<_>>().join(",");
    let data = cluster.nodes[left].data.clone();
    let from = format!("{kind}:{}", data.display());
    let (me, wrong) = (member(&cluster.nodes[left]), member(&cluster.nodes[gone[0]]));
    let members = format!("{me},{wrong}");
    let base = ["recover", "--data", &from, "--force-members", &members];

    // Without the loss being named nothing is done, and it says what would be.
    let (code, _, said) = kv(&base);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(&format!("--lost-for-ever {lost}")) && said.contains("are LOST"), "{said}");
    let half = cluster.nodes[gone[0]].id.to_string();
    for wrong in [half.as_str(), "7", "x"] {
        let (code, _, said) = kv(&[&base[..], &["--lost-for-ever", wrong]].concat());
        assert_eq!(code, 2, "{said}");
    }
    let (_, _, said) = kv(&[&base[..], &["--lost-for-ever", &half]].concat());
    assert!(said.contains(&format!("are {lost}, and --lost-for-ever says {half}")), "{said}");
    let (code, _, said) =
        kv(&["recover", "--data", &from, "--force-members", &wrong, "--lost-for-ever", &lost]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--force-members does not list this node"), "{said}");
    let to = format!("{other}:{}", beside(&data).display());
    assert!(!beside(&data).exists(), "nothing was done");

    let sure = [&base[..], &["--to", &to, "--lost-for-ever", &lost]].concat();
    let (code, out, said) = kv(&sure);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("WARNING: data may be lost"), "{said}");
    let name = cluster_in(&out);
    // Not twice, and the old one does not start any more.
    let (code, _, said) = kv(&sure);
    assert_ne!(code, 0, "{said}");
    assert!(said.contains("must not be recovered: it was recovered into"), "{said}");
    let (code, said) = common::run(&cluster.nodes[left].flags);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("must not be opened: recovered into"), "{said}");
    // What was done can be read.
    let (code, out, _) = kv(&["journal", "dump", &to]);
    assert_eq!(code, 0);
    let note = out.lines().find(|line| line.contains(" noop recovered offline")).unwrap();
    assert!(note.contains(&format!("have lost {lost} for ever")) && note.contains(&name), "{note}");
    assert!(out.contains(&format!("membership voters {}, learners", cluster.nodes[left].id)), "{out}");
    let (_, json, _) = kv(&["journal", "dump", "--json", &to]);
    assert!(json.lines().any(|line| line.contains("\"note\":\"recovered offline")), "{json}");
    assert_eq!(kv(&["journal", "verify", &to]).0, 0);

    // It serves, alone, with all that it had.
    let before = cluster.nodes[left].log().len();
    set(&mut cluster.nodes[left], "--data", beside(&data).to_str());
    set(&mut cluster.nodes[left], "--journal", Some(other));
    set(&mut cluster.nodes[left], "--cluster-id", Some(&name));
    cluster.nodes[left].start();
    assert_eq!(cluster.leader(), left);
    let mut client = cluster.nodes[left].connect();
    assert_eq!(client.call("DBSIZE"), "50");
    assert_eq!(client.call("GET k49"), "49");
    assert_eq!(client.call("SET after 1"), "OK");
    assert_eq!(cluster.nodes[left].info("voters").unwrap(), cluster.nodes[left].id.to_string());

    // An old node comes back: refused by name, and nothing changes.
    let back = gone[1];
    cluster.nodes[back].start_doomed();
    let refused = |text: &str| text.contains("cluster") && text.contains(&name);
    until("one of them says that it is refused", || {
        refused(&cluster.nodes[back].log()) || refused(&cluster.nodes[left].log()[before..])
    });
    assert_eq!(client.call("SET after 2"), "OK");

    // The other member begins empty and catches up.
    let learner = gone[0];
    std::fs::remove_dir_all(&cluster.nodes[learner].data).unwrap();
    set(&mut cluster.nodes[learner], "--members", None);
    set(&mut cluster.nodes[learner], "--cluster-id", Some(&name));
    cluster.nodes[learner].start();
    let mut stale = cluster.nodes[learner].connect();
    until("the learner follows", || stale.call("READONLY") == "OK" && stale.call("GET after") == "2");
    let promoted = client.call(&format!("RAFT PROMOTE {} WAIT", cluster.nodes[learner].id));
    assert!(!promoted.starts_with('-'), "{promoted}");
    assert_eq!(client.call("SET after 3"), "OK");
}

#[test]
fn one_of_three_goes_on_in_files() {
    recovers("file", "file");
}

#[test]
fn one_of_three_goes_on_and_moves_from_sqlite() {
    recovers("sqlite", "file");
}

#[test]
fn what_is_not_lost_is_not_recovered() {
    let mut cluster = Cluster::start(1);
    cluster.nodes[0].kill();
    let data = cluster.nodes[0].data.to_str().unwrap();
    let me = member(&cluster.nodes[0]);
    let (code, _, said) = kv(&["recover", "--data", data, "--force-members", &me, "--lost-for-ever", "2"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("is the only voter"), "{said}");
}
