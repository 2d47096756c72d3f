//! Whatever goes wrong is said in two lines: what happened, to which flag, file or address; and what to do next. On a
//! terminal in colours, elsewhere without a byte of them.

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Cluster, free_addresses, run};

/// Words of one line.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Checks one message: its code, what it names, and the words of its next step.
#[track_caller]
fn check((code, text): (i32, String), expected: i32, names: &str, next: &str) {
    assert_eq!(code, expected, "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains("panicked"), "{text:?}");
    let (what, step) = text.split_once("\n  next: ").unwrap_or_else(|| panic!("no next step: {text}"));
    assert!(what.contains("raft-kv: ") && what.contains(names), "{names:?} is not named: {text}");
    assert!(step.contains(next) && step.trim().lines().count() == 1, "{next:?} is not advised: {text}");
}

/// Flags that are changed, what must be named, and what advised.
type Row = (&'static [(&'static str, &'static str)], &'static str, &'static str);

/// The flags of a node that is not started, with some replaced or added.
fn serve(changes: &[(&str, &str)]) -> (i32, String) {
    let cluster = Cluster::planned(1, &[]);
    let mut flags = cluster.nodes[0].flags.clone();
    for (flag, value) in changes {
        match flags.iter().position(|word| word == flag) {
            Some(at) => flags[at + 1] = (*value).into(),
            None => flags.extend([(*flag).into(), (*value).into()]),
        }
    }
    run(flags)
}

#[test]
fn wrong_use_says_what_to_give_instead() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("raft-kv.toml");
    std::fs::write(&file, "heartbeet-ms = 20\n").unwrap();
    let file = file.to_str().unwrap();
    let table: &[Row] = &[
        (&[("--id", "0")], "--id", "a number from 1"),
        (&[("--id", "7")], "--members does not list this node, 7", "mend --id"),
        (&[("--members", "1=a:1@b:1,1=c:1@d:1")], "node 1 is listed twice", "an id of its own"),
        (&[("--members", "1=a:1@b:1,2=a:1@d:1")], "nodes 1 and 2 share an address", "addresses of its own"),
        (&[("--members", "1=nonsense@b:1")], "'nonsense'", "ID=PEER-ADDRESS@CLIENT-ADDRESS"),
        (&[("--members", "1")], "'1' is not ID=", "ID=PEER-ADDRESS@CLIENT-ADDRESS"),
        (&[("--cluster-id", "x")], "--cluster-id: 'x'", "uuidgen"),
        (&[("--journal", "etched")], "'etched'", "--journal sqlite"),
        (&[("--transport", "pigeon")], "'pigeon'", "--transport grpc"),
        (&[("--fsync", "sometimes")], "--fsync", "leave it out"),
        (&[("--journal", "sqlite"), ("--fsync", "never")], "--fsync", "--journal file"),
        (&[("--clock-drift-ppm", "5")], "--clock-drift-ppm", "--lease-reads"),
        (&[("--log", "loud")], "'loud'", "warn"),
        (&[("--election-timeout-ms", "100")], "election_timeout", "--election-timeout-ms"),
        (&[("--listen", "0.0.0.0:1")], "--listen 0.0.0.0:1", "--insecure"),
        (&[("--tls-cert", "c")], "--tls-key", "all three"),
        (&[("--config", "/nonexistent.toml")], "/nonexistent.toml", "check the path"),
    ];
    for (changes, names, next) in table {
        check(serve(changes), 2, names, next);
    }
    check(serve(&[("--config", file)]), 2, file, "mend that line");
    check(run(["serve"]), 2, "--id is needed", "raft-kv serve --help");
    let joins = words("serve --id 4 --data d --listen 127.0.0.1:1 --peer-listen 127.0.0.1:2");
    check(run(joins), 2, "--cluster-id is needed", "RAFT INFO");
    // What clap says of flags that there are not, or not like this.
    for (line, names, next) in [
        ("serve --heartbeet-ms 5", "'--heartbeet-ms'", "a similar argument exists: '--heartbeat-ms'"),
        ("serve --listen here", "'here' for '--listen <IP:PORT>'", "try '--help'"),
        ("sreve", "'sreve'", "'serve'"),
        ("backup --to f", "--from <HOST:PORT>", "try '--help'"),
        ("completions tcsh", "'tcsh'", "possible values: bash"),
    ] {
        let (code, text) = run(words(line));
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(names) && text.contains(next), "{text}");
    }
}

#[test]
fn addresses_folders_and_files_say_what_is_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let (name, below) = (file.to_str().unwrap(), file.join("below"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--peer-listen", "--sp", "--http"] {
        check(serve(&[(flag, &address)]), 4, &address, "ss -ltnp");
    }
    check(serve(&[("--data", name)]), 1, name, "folder");
    check(serve(&[("--data", below.to_str().unwrap())]), 1, name, "folder");
    let certificates = [("--tls-cert", "/nonexistent.pem"), ("--tls-key", name), ("--tls-ca", name)];
    check(serve(&certificates), 2, "--tls-cert: cannot read /nonexistent.pem", "check the path");
    check(serve(&[("--tls-cert", name), ("--tls-key", name), ("--tls-ca", name)]), 2, "--tls-cert", "PEM");
    check(run(["man", "--dir", below.to_str().unwrap()]), 1, name, "folder");
}

#[test]
fn data_that_must_not_be_used_says_what_brings_its_node_back() {
    let mut cluster = Cluster::start(1);
    let data = cluster.nodes[0].data.to_str().unwrap().to_owned();
    assert_eq!(cluster.nodes[0].connect().call("SET k v"), "OK");
    let addresses = free_addresses(2);
    let mut again = cluster.nodes[0].flags.clone();
    (again[6], again[8]) = (addresses[0].to_string(), addresses[1].to_string());
    check(run(&again), 1, &data, "stop the process that has it open");
    check(run(["journal", "inspect", &data]), 1, &data, "stop the process that has it open");
    cluster.nodes[0].kill();
    let flags = cluster.nodes[0].flags.clone();
    let with = |more: &[&str]| {
        let more = more.iter().map(|word| (*word).to_owned());
        run(flags.iter().cloned().chain(more).collect::<Vec<_>>())
    };
    let other = "00000000-0000-0000-0000-000000000001";
    check(with(&["--cluster-id", other]), 3, "belongs to cluster", "raft-kv journal inspect");
    check(with(&["--journal", "sqlite"]), 2, &data, "raft-kv journal copy");

    let dir = cluster.dir.path();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (empty, moved, backup, rot) = (path("empty"), path("moved"), path("backup"), path("rot"));
    let said = |words: &[&str], code: i32, names: &str, next: &str| check(run(words), code, names, next);
    said(&["journal", "inspect", &empty], 1, &empty, "in which a node has run");
    said(&["journal", "copy", &data, &moved], 2, &moved, "file:DIR or sqlite:DIR");
    let full = format!("file:{}", dir.display());
    said(&["journal", "copy", &data, &full], 1, &full, "empty or does not exist");
    let members = "1=127.0.0.1:1@127.0.0.1:2";
    said(&["recover", "--data", &data, "--force-members", members], 2, &data, "start it, as always");
    said(&["backup", "--data", &data, "--to", &data], 1, &data, "nothing is overwritten");
    // Off a terminal nothing is said of how far it is.
    assert_eq!(run(["backup", "--data", &data, "--to", &backup]), (0, String::new()));
    let restore = |from: &str, to: &str, more: &[&str]| {
        let line = format!(
            "restore --from {from} --data {to} --id 1 --listen 127.0.0.1:1 --peer-listen 127.0.0.1:2"
        );
        let more = more.iter().map(|word| (*word).to_owned());
        run(words(&line).into_iter().chain(more).collect::<Vec<_>>())
    };
    check(restore(&backup, &data, &[]), 1, &data, "empty or does not exist");
    check(restore(&backup, &empty, &["--journal", "etched"]), 2, "'etched'", "--journal sqlite");
    check(restore(&path("none"), &empty, &[]), 1, "none", "check the path");
    let whole = std::fs::read(&backup).unwrap();
    std::fs::write(&rot, &whole[..whole.len() - 1]).unwrap();
    check(restore(&rot, &empty, &[]), 3, &rot, "another copy");
    std::fs::write(&rot, "not a backup at all, but long enough to be one").unwrap();
    said(&["backup", "--check", &rot], 3, &rot, "that raft-kv backup");

    assert_eq!(run(["journal", "copy", &data, &format!("sqlite:{moved}")]), (0, String::new()));
    check(with(&[]), 3, "moved to", "never remove the file CLOSED");
    said(
        &["journal", "copy", &data, &format!("file:{empty}")],
        3,
        "must not be copied",
        "at most one may ever run",
    );
}

#[test]
fn a_backup_that_is_not_fetched_says_why() {
    let mut cluster = Cluster::planned(1, &["--requirepass", "secret"]);
    cluster.nodes[0].start();
    let (node, dir) = (cluster.nodes[0].client.to_string(), cluster.dir.path());
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (to, wrong) = (path("backup"), path("wrong"));
    std::fs::write(&wrong, "no\n").unwrap();
    let fetch = |from: &str, more: &[&str]| run([&["backup", "--from", from, "--to", &to], more].concat());
    check(fetch(&node, &[]), 1, &node, "--password-file");
    check(fetch(&node, &["--password-file", &wrong]), 1, &node, "the right password");
    check(fetch(&node, &["--password-file", &path("none")]), 2, "none", "check the path");
    let nobody = free_addresses(1)[0].to_string();
    check(fetch(&nobody, &[]), 1, &nobody, "that a node runs there");
    let tls = ["--tls-ca", &wrong, "--tls-name", "n"];
    // Nobody would be trusted, and the answer would be about something else.
    check(fetch(&node, &tls), 1, "there is no certificate in it", "as PEM");
    check(fetch(&cluster.nodes[0].peer.to_string(), &[]), 1, &cluster.nodes[0].peer.to_string(), "");
    assert!(!Path::new(&to).exists());
}

/// What it says with these variables, neither stream being a terminal.
fn said(words: &[&str], set: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raft-kv"));
    command.args(words).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").stdin(Stdio::null());
    let output = command.envs(set.iter().copied()).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn colours_are_for_terminals() {
    for words in [
        &["--help"][..],
        &["serve", "--help"],
        &["serve"],
        &["serve", "--nonsense"],
        &["backup", "--check", "/"],
    ] {
        let plain = said(words, &[]);
        assert!(!plain.contains('\u{1b}'), "{plain:?}");
        let forced = said(words, &[("CLICOLOR_FORCE", "1")]);
        assert!(forced.contains("\u{1b}["), "{forced:?}");
        assert_eq!(said(words, &[("NO_COLOR", "1")]), plain);
        assert_eq!(said(words, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "0")]), plain);
    }
}
