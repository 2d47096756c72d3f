//! What each command answers, as Redis 7 does. One line is one command; `=>` is followed by the reply.

use super::Store;
use crate::command::{COMMANDS, Kind, Op, find};
use crate::resp::{Protocol, Reply, translate};

/// Runs a script; the replies are as RESP2 writes them, their line ends as spaces.
fn check(script: &str) {
    let mut store = Store::default();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (command, expected) = line.split_once("=>").unwrap();
        let args: Vec<&[u8]> = command.split_whitespace().map(str::as_bytes).collect();
        let spec = find(args[0]).unwrap();
        assert!(spec.takes(args.len()), "{line}");
        assert_eq!(shown(&mut store, spec.op, &args[1..]), expected.trim(), "{command}");
    }
}

fn shown(store: &mut Store, op: Op, args: &[&[u8]]) -> String {
    let mut reply = Reply::default();
    store.execute(op, args, &mut reply);
    let mut out = Vec::new();
    translate(&reply.into_bytes(), Protocol::Resp2, &mut out);
    String::from_utf8(out).unwrap().replace("\r\n", " ").trim().to_string()
}

const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

/// A row of the table without an arm would answer that its arguments are too few.
#[test]
fn each_command_on_data_does_something() {
    for spec in COMMANDS.iter().filter(|spec| spec.kind != Kind::Local) {
        let fewest = usize::try_from(spec.arity.abs() - 1).unwrap();
        let answer = shown(&mut Store::default(), spec.op, &vec![&b"1"[..]; fewest]);
        assert!(!answer.contains("wrong number of arguments"), "{}: {answer}", spec.name);
    }
}

#[test]
fn strings() {
    check(
        "GET a => $-1
         SET a 1 => +OK
         GET a => $1 1
         SET a 2 NX => $-1
         SET b 2 XX => $-1
         SET a 3 XX => +OK
         SET a 4 GET => $1 3
         SET a 5 nx get => $1 4
         SET c 5 NX GET => $-1
         GET c => $1 5
         SET a 1 NX XX => -ERR syntax error
         SET a 1 EX 5 => -ERR syntax error
         GETSET a 6 => $1 4
         GETSET new 6 => $-1
         GETDEL new => $1 6
         GETDEL new => $-1
         MSET x 1 y 2 => +OK
         MSET x 1 y => -ERR wrong number of arguments for 'mset' command
         MGET x y none => *3 $1 1 $1 2 $-1
         APPEND s ab => :2
         APPEND s cd => :4
         STRLEN s => :4
         STRLEN none => :0
         SETNX s q => :0
         SETNX t q => :1
         CAS t q r => :1
         CAS t q s => :0
         CAS none q s => :0
         GET t => $1 r",
    );
}

#[test]
fn counters() {
    check(
        "INCR n => :1
         INCRBY n 41 => :42
         DECR n => :41
         DECRBY n 40 => :1
         INCRBY n x => -ERR value is not an integer or out of range
         SET n 9223372036854775807 => +OK
         INCR n => -ERR increment or decrement would overflow
         GET n => $19 9223372036854775807
         DECRBY n -9223372036854775808 => -ERR decrement would overflow
         SET t 1x => +OK
         INCR t => -ERR value is not an integer or out of range",
    );
}

#[test]
fn lists() {
    check(
        "RPUSH l a b c => :3
         LPUSH l z y => :5
         LRANGE l 0 -1 => *5 $1 y $1 z $1 a $1 b $1 c
         LRANGE l -2 100 => *2 $1 b $1 c
         LRANGE l 3 1 => *0
         LRANGE l -100 0 => *1 $1 y
         LRANGE l 0 -9223372036854775808 => *0
         LRANGE none 0 -1 => *0
         LLEN l => :5
         LPOP l => $1 y
         RPOP l 2 => *2 $1 c $1 b
         LPOP l 0 => *0
         LPOP l -1 => -ERR value is out of range, must be positive
         RPOP l 99 => *2 $1 a $1 z
         EXISTS l => :0
         LPOP l => $-1
         LPOP l 1 => *-1
         LLEN l => :0",
    );
}

#[test]
fn hashes() {
    check(
        "HSET h f 1 g 2 => :2
         HSET h f 3 i 4 => :1
         HSET h f => -ERR wrong number of arguments for 'hset' command
         HGET h f => $1 3
         HGET h none => $-1
         HGETALL h => *6 $1 i $1 4 $1 f $1 3 $1 g $1 2
         HGETALL none => *0
         HLEN h => :3
         HINCRBY h f -5 => :-2
         HINCRBY h new 5 => :5
         HINCRBY h f x => -ERR value is not an integer or out of range
         HSET h t x => :1
         HINCRBY h t 1 => -ERR hash value is not an integer
         HDEL h f g none => :2
         HDEL h i new t => :3
         TYPE h => +none
         HDEL h i => :0"
            .replace("HSET h f =>", "HSET h f 1 g =>")
            .as_str(),
    );
}

#[test]
fn sets() {
    check(
        "SADD s b a a => :2
         SADD s a => :0
         SMEMBERS s => *2 $1 b $1 a
         SMEMBERS none => *0
         SISMEMBER s a => :1
         SISMEMBER s x => :0
         SCARD s => :2
         SREM s a x => :1
         SREM s b => :1
         EXISTS s => :0
         SCARD s => :0",
    );
}

#[test]
fn keys() {
    check(
        "MSET a 1 => +OK
         RPUSH l 1 => :1
         HSET h f 1 => :1
         SADD s 1 => :1
         TYPE a => +string
         TYPE l => +list
         TYPE h => +hash
         TYPE s => +set
         TYPE none => +none
         DBSIZE => :4
         EXISTS a a none => :2
         DEL a none l => :2
         KEYS [h] => *1 $1 h
         SCAN x => -ERR invalid cursor
         SCAN 0 COUNT 0 => -ERR syntax error
         SCAN 0 COUNT => -ERR syntax error
         SCAN 0 TYPE set => *2 $1 0 *1 $1 s
         FLUSHALL now => -ERR syntax error
         FLUSHALL ASYNC => +OK
         DBSIZE => :0",
    );
}

#[test]
fn a_command_on_another_type_changes_nothing() {
    for (make, commands) in [
        (
            "RPUSH k 1",
            [
                "GET k",
                "INCR k",
                "APPEND k x",
                "STRLEN k",
                "HSET k f 1",
                "SADD k 1",
                "GETSET k 1",
                "GETDEL k",
                "CAS k 1 2",
                "SET k 1 GET",
            ],
        ),
        (
            "SET k 1",
            [
                "RPUSH k 1",
                "LPOP k",
                "LLEN k",
                "LRANGE k 0 1",
                "HGET k f",
                "HDEL k f",
                "HGETALL k",
                "SREM k 1",
                "SMEMBERS k",
                "SCARD k",
            ],
        ),
    ] {
        for command in commands {
            check(&format!("{make} => {}\n", if make.starts_with('S') { "+OK" } else { ":1" }));
            let script = format!(
                "{make} => {}\n{command} => {WRONG}",
                if make.starts_with('S') { "+OK" } else { ":1" }
            );
            check(&script);
        }
    }
}

#[test]
fn scan_shows_every_key_once() {
    let mut store = Store::default();
    for number in 0..1000 {
        let key = format!("key:{number}");
        shown(&mut store, Op::Set, &[key.as_bytes(), b"v"]);
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut cursor = String::from("0");
    loop {
        let reply = shown(&mut store, Op::Scan, &[cursor.as_bytes(), b"COUNT", b"7", b"MATCH", b"key:*"]);
        let words: Vec<&str> = reply.split(' ').collect();
        for key in words.iter().filter(|word| word.starts_with("key:")) {
            assert!(seen.insert((*key).to_string()), "{key} twice");
        }
        cursor = words[2].to_string();
        if cursor == "0" {
            break;
        }
        // Keys that come and go meanwhile do not disturb it.
        shown(&mut store, Op::Del, &[b"other"]);
        shown(&mut store, Op::Set, &[format!("other:{cursor}").as_bytes(), b"v"]);
    }
    assert_eq!(seen.len(), 1000);
}

#[test]
fn a_watched_key_that_changed_stops_a_transaction() {
    let commands = || vec![(Op::Incr, vec![b"n".as_slice()]), (Op::LPop, vec![b"n".as_slice()])];
    let run = |store: &mut Store, version| {
        let mut reply = Reply::default();
        store.transact(&[(b"w", version)], commands().into_iter(), &mut reply);
        String::from_utf8(reply.into_bytes()).unwrap()
    };
    let mut store = Store::default();
    // A command that fails does not undo the others, as in Redis.
    assert_eq!(run(&mut store, 0), format!("*2\r\n:1\r\n{WRONG}\r\n"));
    shown(&mut store, Op::Set, &[b"w", b"1"]);
    assert_eq!(run(&mut store, 0), "*-1\r\n");
    let version = store.version(b"w");
    assert!(run(&mut store, version).starts_with("*2\r\n:2"));
    shown(&mut store, Op::SetNx, &[b"w", b"2"]);
    assert_eq!(store.version(b"w"), version, "a command that changes nothing does not count");
    shown(&mut store, Op::Set, &[b"w", b"1"]);
    assert_eq!(run(&mut store, version), "*-1\r\n");
    shown(&mut store, Op::Del, &[b"w"]);
    assert_eq!(store.version(b"w"), 0);
}

/// A string may be written over where it is: it has changed all the same, for who watches it, and a moment of the data
/// keeps what it had.
#[test]
fn a_string_of_the_same_length_is_another_one() {
    let mut store = Store::default();
    for text in [b"first".as_slice(), b"other", b"x", b"and a much longer one than before"] {
        let (before, moment) = (store.version(b"k"), store.clone());
        let old = shown(&mut moment.clone(), Op::Get, &[b"k"]);
        store.warm([b"k".as_slice(), b"none"].into_iter());
        store.execute(Op::Set, &[b"k", text], &mut Reply::default());
        assert!(store.version(b"k") > before, "{text:?}");
        assert_eq!(shown(&mut moment.clone(), Op::Get, &[b"k"]), old);
        // Alone now, it is written over in place.
        drop(moment);
        let before = store.version(b"k");
        store.execute(Op::Set, &[b"k", text], &mut Reply::default());
        assert!(store.version(b"k") > before, "{text:?} again");
        let shows = format!("${} {}", text.len(), String::from_utf8_lossy(text));
        assert_eq!(shown(&mut store, Op::Get, &[b"k"]), shows);
    }
}
