//! `raft-kv journal inspect|verify|dump|copy`, on the journals of real nodes.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use common::{Cluster, Node, until};
use raft_core::backend::{HardState, Journal, JournalWrite, Vote};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Incarnation, Index, KnownPeer, LogId, NodeId, StoreId, Term};
use raft_core::membership::{Member, Membership};
use raft_log_file::{FileJournal, FileView};

/// Runs `raft-kv journal ...`: exit code, stdout, stderr.
fn journal(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raft-kv"));
    let output = command.arg("journal").args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn named(kind: &str, dir: &Path) -> String {
    format!("{kind}:{}", dir.to_str().unwrap())
}

fn copy(from: &str, to: &str) -> (i32, String, String) {
    journal(&["copy", from, to])
}

fn copied(from: &str, to: &str) {
    let (code, out, said) = copy(from, to);
    assert_eq!(code, 0, "{said}");
    assert!(out.contains("read back and the same") && out.contains(to), "{out}");
}

/// SIGTERM, and its end.
fn stop(node: &mut Node) {
    node.signal("-TERM");
    assert_eq!(node.wait().code(), Some(0), "{}", node.log());
}

/// From now on it runs on another journal.
fn set_journal(node: &mut Node, kind: &str, dir: PathBuf) {
    for (name, value) in [("--data", dir.to_str().unwrap()), ("--journal", kind)] {
        match node.flags.iter().position(|flag| flag == name) {
            Some(at) => node.flags[at + 1] = value.to_owned(),
            None => node.flags.extend([name.to_owned(), value.to_owned()]),
        }
    }
    node.data = dir;
}

/// Waits until it has applied all that the leader has.
fn catches_up(cluster: &Cluster, at: usize, leader: usize) {
    let wanted: u64 = cluster.nodes[leader].info("commit-index").unwrap().parse().unwrap();
    let applied = || cluster.nodes[at].info("last-applied").and_then(|text| text.parse::<u64>().ok());
    until("it catches up", || applied().is_some_and(|applied| applied >= wanted));
}

/// Writes keys and remembers them.
fn write(cluster: &mut Cluster, known: &mut BTreeMap<String, String>, name: &str) {
    let leader = cluster.leader();
    let mut client = cluster.nodes[leader].connect();
    for number in 0..50 {
        let (key, value) = (format!("{name}-{number}"), format!("value-{name}-{number}"));
        assert_eq!(client.call(&format!("SET {key} {value}")), "OK");
        known.insert(key, value);
    }
}

/// Everything that was acknowledged is on this node itself.
fn holds(node: &Node, known: &BTreeMap<String, String>) {
    let mut client = node.connect();
    assert_eq!(client.call("READONLY"), "OK");
    // What a node says of itself may be some milliseconds old.
    until("it has everything", || client.call("DBSIZE") == known.len().to_string());
    for (key, value) in known {
        assert_eq!(&client.call(&format!("GET {key}")), value);
    }
    assert_eq!(client.call("DBSIZE"), known.len().to_string());
}

/// Moves a node that follows, lets a quorum depend on it, and lets it lead.
fn moves(cluster: &mut Cluster, known: &mut BTreeMap<String, String>, at: usize, from: &str, to: &str) {
    let round = format!("{from}-to-{to}");
    let (old, new) =
        (cluster.nodes[at].data.clone(), cluster.dir.path().join(format!("node-{}-{round}", at + 1)));
    write(cluster, known, &format!("{round}-before"));
    stop(&mut cluster.nodes[at]);
    write(cluster, known, &format!("{round}-meanwhile"));
    copied(&named(from, &old), &named(to, &new));
    assert_eq!(journal(&["verify", new.to_str().unwrap()]).0, 0);

    set_journal(&mut cluster.nodes[at], to, new.clone());
    let line = cluster.nodes[at].start();
    assert!(line.contains("journal clean"), "{line}");
    let leader = cluster.leader();
    catches_up(cluster, at, leader);
    holds(&cluster.nodes[at], known);

    // The third one is down: without the moved node there is no quorum.
    let third = (0..3).find(|other| ![at, leader].contains(other)).unwrap();
    cluster.nodes[third].kill();
    write(cluster, known, &format!("{round}-after"));
    cluster.nodes[third].start();
    let leader = cluster.leader();
    if leader != at {
        catches_up(cluster, at, leader);
        let id = cluster.nodes[at].id;
        assert_eq!(cluster.nodes[leader].connect().call(&format!("RAFT TRANSFER {id}")), "OK");
    }
    write(cluster, known, &format!("{round}-led"));
    let leader = cluster.leader();
    for other in 0..3 {
        catches_up(cluster, other, leader);
        holds(&cluster.nodes[other], known);
    }
}

#[test]
fn a_node_moves_to_sqlite_and_back_and_nothing_is_lost() {
    let mut cluster = Cluster::start(3);
    let mut known = BTreeMap::new();
    let (_, at) = cluster.leader_and_follower();
    moves(&mut cluster, &mut known, at, "file", "sqlite");
    let moved_once = cluster.nodes[at].data.clone();
    // Back, from a journal that it has led with.
    moves(&mut cluster, &mut known, at, "sqlite", "file");
    // Nor can what it has left be started.
    let (kind, dir) = ("file", cluster.nodes[at].data.clone());
    stop(&mut cluster.nodes[at]);
    set_journal(&mut cluster.nodes[at], "sqlite", moved_once);
    let (code, said) = common::run(&cluster.nodes[at].flags);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("must not be opened: moved to file:"), "{said}");
    set_journal(&mut cluster.nodes[at], kind, dir);
    cluster.nodes[at].start();
    let leader = cluster.leader();
    catches_up(&cluster, at, leader);
    holds(&cluster.nodes[at], &known);
}

/// A whole cluster on different journals, from its beginning; all of them restart.
#[test]
fn a_cluster_with_mixed_journals_works() {
    let mut cluster = Cluster::planned(3, &[]);
    for (at, kind) in ["sqlite", "file", "sqlite"].into_iter().enumerate() {
        let dir = cluster.nodes[at].data.clone();
        set_journal(&mut cluster.nodes[at], kind, dir);
        cluster.nodes[at].start();
    }
    let mut known = BTreeMap::new();
    for round in 0..3 {
        let leader = cluster.leader();
        write(&mut cluster, &mut known, &format!("round-{round}"));
        cluster.nodes[leader].kill();
        write(&mut cluster, &mut known, &format!("without-{round}"));
        cluster.nodes[leader].start();
        let now = cluster.leader();
        for at in 0..3 {
            catches_up(&cluster, at, now);
            holds(&cluster.nodes[at], &known);
        }
    }
}

/// The second line of defence: somebody takes the text away, or brings a backup of the old folder back.
#[test]
fn peers_refuse_the_old_journal_however_often_it_is_started() {
    let mut cluster = Cluster::start(3);
    let mut known = BTreeMap::new();
    let (_, at) = cluster.leader_and_follower();
    write(&mut cluster, &mut known, "before");
    stop(&mut cluster.nodes[at]);
    let (old, new) = (cluster.nodes[at].data.clone(), cluster.dir.path().join("new"));
    copied(&named("file", &old), &named("sqlite", &new));

    cluster.nodes[at].start_doomed();
    assert_eq!(cluster.nodes[at].wait().code(), Some(3));
    assert!(cluster.nodes[at].log().contains("must not be opened: moved to sqlite:"));

    set_journal(&mut cluster.nodes[at], "sqlite", new.clone());
    cluster.nodes[at].start();
    let leader = cluster.leader();
    catches_up(&cluster, at, leader);
    write(&mut cluster, &mut known, "moved");
    stop(&mut cluster.nodes[at]);

    std::fs::remove_file(old.join("CLOSED")).unwrap();
    set_journal(&mut cluster.nodes[at], "file", old);
    for times in 1..=4 {
        cluster.nodes[at].start_doomed();
        assert_eq!(cluster.nodes[at].wait().code(), Some(3), "{}", cluster.nodes[at].log());
        let sentence = format!("now comes with {}: its store was set back", times + 1);
        assert!(cluster.nodes[at].log().contains(&sentence), "{}", cluster.nodes[at].log());
    }
    set_journal(&mut cluster.nodes[at], "sqlite", new);
    cluster.nodes[at].start();
    let leader = cluster.leader();
    catches_up(&cluster, at, leader);
    holds(&cluster.nodes[at], &known);
}

/// One node that has stopped, with some data.
fn stopped(kind: &str) -> Cluster {
    let mut cluster = Cluster::start_with(1, &["--journal", kind]);
    let mut client = cluster.nodes[0].connect();
    for line in ["SET k v1", "RPUSH list a b", "SET bytes \u{1}\"\u{e9}", "SET k v2"] {
        assert!(!client.call(line).starts_with('-'), "{line}");
    }
    client.send("WATCH k\nMULTI\nSET a 1\nINCR a\nEXEC");
    let replies: Vec<_> = (0..5).map(|_| client.reply()).collect();
    assert_eq!(replies[4], "[OK, 2]");
    stop(&mut cluster.nodes[0]);
    cluster
}

#[test]
fn a_copy_is_refused_where_it_could_do_harm() {
    for (kind, other) in [("file", "sqlite"), ("sqlite", "file")] {
        let mut cluster = stopped(kind);
        let new = cluster.dir.path().join("new");
        let (old, to) = (cluster.nodes[0].data.clone(), named(other, &new));
        let from = named(kind, &old);
        let refused = |from: &str, to: &str, code: i32, sentence: &str| {
            let (found, _, said) = copy(from, to);
            assert_eq!(found, code, "{said}");
            assert!(said.contains(sentence), "{said}");
        };
        refused(&from, new.to_str().unwrap(), 2, "file:DIR or sqlite:DIR");
        refused(&named(other, &old), &to, 1, "no journal is here");
        refused(new.to_str().unwrap(), &to, 1, "no journal is here");
        assert!(!new.exists());

        // In use.
        cluster.nodes[0].start();
        refused(&from, &to, 1, "it is open elsewhere");
        for tool in ["inspect", "verify", "dump"] {
            let (code, _, said) = journal(&[tool, &from]);
            assert_eq!(code, 1, "{said}");
            assert!(said.contains("it is open elsewhere"), "{said}");
        }
        stop(&mut cluster.nodes[0]);
        assert!(!new.exists());

        // Something is there.
        std::fs::create_dir(&new).unwrap();
        std::fs::write(new.join("precious"), "data").unwrap();
        refused(&from, &to, 1, "nothing is overwritten");
        refused(&from, &from, 1, "nothing is overwritten");
        assert_eq!(std::fs::read(new.join("precious")).unwrap(), b"data");
        std::fs::remove_file(new.join("precious")).unwrap();

        // Damaged: the first write of the key.
        let path = holding(&old, b"\x01k\x02v1");
        let sound = std::fs::read(&path).unwrap();
        let mut damaged = sound.clone();
        let needle = damaged.windows(5).position(|window| window == b"\x01k\x02v1").unwrap();
        damaged[needle + 4] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        refused(&from, &to, 3, "is damaged, nothing was copied");
        assert!(std::fs::read_dir(&new).unwrap().next().is_none(), "nothing was written");
        assert_eq!(journal(&["verify", &from]).0, 3);
        assert_eq!(journal(&["dump", &from]).0, 0, "what is sound can be read");
        std::fs::write(&path, &sound).unwrap();

        // An empty folder is fine. What was moved is not moved again.
        copied(&from, &to);
        refused(&from, &to, 1, "nothing is overwritten");
        refused(&from, &named(other, &cluster.dir.path().join("third")), 3, "it was moved to");
        assert!(journal(&["inspect", &from]).1.contains("closed: moved to"));
        let (code, _, said) = copy(&to, &from);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("moved to"), "{said}");
    }
}

/// The file of a journal in which these bytes stand.
fn holding(dir: &Path, needle: &[u8]) -> PathBuf {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found = paths.filter(|path| {
        path.is_file() && std::fs::read(path).unwrap().windows(needle.len()).any(|window| window == needle)
    });
    found.next().expect("the bytes are somewhere")
}

/// At any moment at most one of the two can be started, and the same command ends what it has begun.
#[test]
fn a_copy_that_was_cut_cannot_be_started_and_is_begun_again() {
    for (kind, other) in [("file", "sqlite"), ("sqlite", "file")] {
        let mut cluster = stopped(kind);
        let new = cluster.dir.path().join("new");
        let (old, to) = (cluster.nodes[0].data.clone(), named(other, &new));
        let from = named(kind, &old);
        let is_closed = |cluster: &mut Cluster, kind: &str, dir: &Path, sentence: &str| {
            set_journal(&mut cluster.nodes[0], kind, dir.to_path_buf());
            let (code, said) = common::run(&cluster.nodes[0].flags);
            assert_eq!(code, 3, "{said}");
            assert!(said.contains("must not be opened") && said.contains(sentence), "{said}");
        };
        // Cut with the first file, in the middle, and between the last two steps.
        let unfinished = format!("an unfinished copy of {from}\n");
        std::fs::create_dir(&new).unwrap();
        std::fs::write(new.join("CLOSED"), &unfinished).unwrap();
        is_closed(&mut cluster, other, &new, "an unfinished copy");
        std::fs::write(new.join("seg-0000000000000001.log"), "half").unwrap();
        std::fs::write(new.join("identity.a"), "half").unwrap();
        std::fs::write(new.join("super.b"), "half").unwrap();
        let strange = cluster.dir.path().join("strange");
        let (code, _, said) = copy(&named(kind, &strange), &to);
        assert_eq!(code, 1, "{said}");
        copied(&from, &to);
        std::fs::write(new.join("CLOSED"), &unfinished).unwrap();
        is_closed(&mut cluster, other, &new, "an unfinished copy");
        is_closed(&mut cluster, kind, &old, "moved to");
        copied(&from, &to);
        is_closed(&mut cluster, kind, &old, "moved to");
        set_journal(&mut cluster.nodes[0], other, new);
        cluster.nodes[0].start();
        cluster.leader();
        assert_eq!(cluster.nodes[0].connect().call("GET a"), "2");
    }
}

#[test]
fn a_copy_that_is_killed_leaves_one_journal_at_most() {
    let mut cluster = Cluster::start(1);
    let mut client = cluster.nodes[0].connect();
    let lines = (0..200).map(|n| format!("SET key-{n} {}", "x".repeat(50_000))).collect::<Vec<_>>();
    for line in &lines {
        assert_eq!(client.call(line), "OK");
    }
    stop(&mut cluster.nodes[0]);
    let (old, new) = (cluster.nodes[0].data.clone(), cluster.dir.path().join("new"));
    let (from, to) = (named("file", &old), named("sqlite", &new));
    let mut command = Command::new(env!("CARGO_BIN_EXE_raft-kv"));
    let mut child = command
        .args(["journal", "copy", &from, &to])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It has begun: the new one is there, or it is over.
    while !new.join("journal.db").exists() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    let _ = child.kill();
    child.wait().unwrap();
    let closed = [&old, &new].map(|dir| dir.join("CLOSED").exists());
    assert!(closed.contains(&true), "both could be started: {closed:?}");
    if closed[1] {
        copied(&from, &to);
    }
    set_journal(&mut cluster.nodes[0], "sqlite", new);
    cluster.nodes[0].start();
    cluster.leader();
    assert_eq!(cluster.nodes[0].connect().call("DBSIZE"), "200");
}

#[test]
fn a_dump_says_the_same_of_both_kinds() {
    let cluster = stopped("file");
    let new = cluster.dir.path().join("new");
    let dump = |place: &str, more: &[&str]| {
        let (code, out, said) = journal(&[&["dump", place], more].concat());
        assert_eq!(code, 0, "{said}");
        out
    };
    let entries = |text: &str| {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    let plain = cluster.nodes[0].data.to_str().unwrap();
    let text = dump(plain, &[]);
    for row in ["# journal: file", "# node: 1", "# purged: 0.0", "# vote: For(NodeId(1))", "# verdict: Clean"]
    {
        assert!(text.lines().any(|line| line == row), "{row} in {text}");
    }
    let lines = entries(&text);
    assert!(lines[0].starts_with("1 0 membership voters 1"), "{text}");
    let has = |end: &str| lines.iter().any(|line| line.ends_with(end));
    assert!(has(r#" commands set "k" "v1""#) && has(r#" commands rpush "list" "a" "b""#), "{text}");
    assert!(has(r#"multi watching 1: set "a" "1"; incr "a""#), "{text}");

    let json: Vec<serde_json::Value> =
        dump(plain, &["--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json.len(), 1 + lines.len());
    assert_eq!((json[0]["journal"].as_str(), json[0]["verdict"].as_str()), (Some("file"), Some("Clean")));
    for (value, line) in json[1..].iter().zip(&lines) {
        let words =
            [value["index"].to_string(), value["term"].to_string(), value["kind"].as_str().unwrap().into()];
        assert!(line.starts_with(&words.join(" ")), "{value} {line}");
    }
    let bytes = json.iter().find(|value| value["commands"][0]["args"][0] == "bytes").unwrap();
    assert_eq!(bytes["commands"][0]["args"][1], r#"\x01\"\xc3\xa9"#);

    // A range, both ends included.
    assert_eq!(entries(&dump(plain, &["--from", "2", "--to", "4"])), lines[1..4]);
    assert_eq!(entries(&dump(plain, &["--from", "2", "--to", "1"])), [""; 0]);
    assert_eq!(entries(&dump(plain, &["--from", &u64::MAX.to_string()])), [""; 0]);
    assert_eq!(entries(&dump(plain, &["--to", &u64::MAX.to_string()])), lines);

    copied(&named("file", &cluster.nodes[0].data), &named("sqlite", &new));
    assert_eq!(entries(&dump(new.to_str().unwrap(), &[])), lines);
    assert_eq!(entries(&dump(&named("sqlite", &new), &["--from", "2", "--to", "4"])), lines[1..4]);
    let (code, out, _) = journal(&["inspect", new.to_str().unwrap()]);
    assert_eq!(code, 0);
    assert!(out.contains("journal: sqlite\n") && out.contains("verdict: Clean\n"), "{out}");
}

/// What no node of this version writes is copied as well: a log that was purged, probation, entries of any
/// size and number.
#[tokio::test]
async fn everything_in_a_journal_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let (cluster, group, node) = (ClusterId(7), GroupId(0), NodeId(3));
    let members = [1, 2, 3].map(|id| Member::new(NodeId(id), format!("a:{id}")));
    let initial = Membership::of_voters(members).unwrap();
    let (dir, options) = (place("0"), raft_log_file::Options::default());
    let mut journal = FileJournal::create(&dir, cluster, group, node, Some(&initial), options).await.unwrap();
    let mut write = JournalWrite::default();
    write.hard_state =
        Some(HardState { term: Term(9), vote: Vote::Blocked, probation: true, ..HardState::default() });
    let peer = |id: u64| KnownPeer {
        node: NodeId(id),
        store: StoreId(u128::from(id) << 100),
        incarnation: Incarnation { number: id, nonce: u64::MAX },
        admitted: LogId::new(id, 2 * id),
    };
    write.known_peers = Some(vec![peer(1), peer(2)]);
    let entry = |index: u64, term: u64, kind, data: Bytes| Entry { id: LogId::new(term, index), kind, data };
    // More empty ones than are read at once, then some that are larger than what is.
    let mut entries: Vec<Entry> =
        (2..=10_000).map(|index| entry(index, index / 4000, EntryKind::Noop, Bytes::new())).collect();
    entries.push(entry(10_001, 5, EntryKind::Membership, initial.encode()));
    for (index, bytes) in (10_002..).zip([1, 16 << 20, 4 << 20, (4 << 20) - 1, 7]) {
        entries.push(entry(index, 8, EntryKind::Commands, Bytes::from(vec![index as u8; bytes])));
    }
    write.entries = entries.into();
    write.commit_hint = Index(10_003);
    journal.write(write).await.unwrap();
    journal.purge(LogId::new(1, 4500)).await.unwrap();
    let first = journal.load().await.unwrap();
    drop(journal);

    let kinds = ["file", "sqlite", "sqlite", "file", "file"];
    for (at, (from, to)) in kinds.iter().zip(&kinds[1..]).enumerate() {
        copied(&named(from, &place(&at.to_string())), &named(to, &place(&(at + 1).to_string())));
    }
    let old = FileView::new(&place("0")).unwrap();
    let last = FileView::new(&place("4")).unwrap();
    let mut wanted = first.clone();
    wanted.identity.incarnation.number = 4 << 32;
    wanted.identity.incarnation.nonce = last.state().identity.incarnation.nonce;
    assert!(last.state() == &wanted, "{:?}", last.state().identity);
    let (mut next, end) = (Index(4501), Index(10_007));
    while next < end {
        let entries = old.entries(next..end, 1 << 20).unwrap();
        let upto = entries.last().unwrap().id.index.next();
        assert!(last.entries(next..upto, u64::MAX).unwrap() == entries, "from {next}");
        next = upto;
    }
    drop(last);
    // What was purged before everything else stays so.
    let lines = journal_lines(&place("4"));
    assert!(lines[0].starts_with("4501 1 noop"), "{}", lines[0]);
}

fn journal_lines(dir: &Path) -> Vec<String> {
    let (code, out, said) = journal(&["dump", dir.to_str().unwrap(), "--to", "4600"]);
    assert_eq!(code, 0, "{said}");
    out.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}
