//! What a client may send, and what may stand in the log. The sources are compiled in: raft-kv is a program,
//! not a library.
#![cfg_attr(fuzzing, no_main)]
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    reason = "parts of the program, and of the driver"
)]

#[path = "../src/backup/mod.rs"]
mod backup;
#[path = "../src/client/mod.rs"]
mod client;
#[path = "../src/command.rs"]
mod command;
#[path = "../../../xtask/fuzz/mod.rs"]
mod fuzz;
#[path = "../src/health.rs"]
mod health;
#[path = "../src/journal.rs"]
mod journal;
#[path = "../src/log_codec.rs"]
mod log_codec;
#[path = "../src/machine.rs"]
mod machine;
#[path = "../src/password.rs"]
mod password;
#[path = "../src/refusal.rs"]
mod refusal;
#[path = "../src/reserve.rs"]
mod reserve;
#[path = "../src/resp/mod.rs"]
mod resp;
#[path = "../src/server.rs"]
mod server;
#[path = "../src/settings.rs"]
mod settings;
#[path = "../src/show.rs"]
mod show;
#[path = "../src/snapshot/mod.rs"]
mod snapshot;
#[path = "../src/store/mod.rs"]
mod store;
#[path = "../src/thin.rs"]
mod thin;
#[path = "../src/traffic.rs"]
mod traffic;
#[path = "../src/version.rs"]
mod version;
#[path = "common/words.rs"]
mod words;

use std::cell::RefCell;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use command::{COMMANDS, Op};
use fuzz::{Allowance, Input, Target};
use log_codec::{Logged, decode, put_command, put_transaction};
use raft_core::backend::Journal;
use raft_core::ids::GroupId;
use raft_core::status::RoleKind;
use raft_core::{Config, Node};
use raft_testkit::memory::{MemoryDisk, MemoryJournal, MemoryNetwork};
use resp::{Limits, Protocol, Reply, Requests, translate};
use server::{Parts, Server};
use settings::{Flags, Settings};
use snapshot::{Decoder, Encoder};
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fuzz::targets! {
    requests = REQUESTS;
    logged = LOGGED;
    commands = RUN_COMMANDS;
    snapshot = SNAPSHOT;
    connection = CONNECTION;
    thin = THIN;
    wishes = WISHES;
    numbered = NUMBERED;
}

/// Words of the protocol and of the commands.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"*1\r\n",
    b"*2\r\n",
    b"*-1\r\n",
    b"$1\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"\"",
    b"'",
    b"*3\r\n$3\r\n",
    b"hello 3\n",
    b"multi\n",
    b"exec\n",
    b"discard\n",
    b"watch k\n",
    b"set k 1\n",
    b"get k\n",
    b"append k ",
    b"incrby k 9223372036854775807\n",
    b"lpush l ",
    b"lrange l 0 -1\n",
    b"lpop l -9223372036854775808\n",
    b"hset h a 1\n",
    b"hgetall h\n",
    b"sadd s ",
    b"smembers s\n",
    b"scan 0 match * count ",
    b"keys *[^a-\\]\n",
    b"command\n",
    b"command getkeys ",
    b"client setname ",
    b"client ",
    b"cluster slots\n",
    b"cluster ",
    b"cluster keyslot {",
    b"raft scan 0 1000\n",
    b"raft scan 18446744073709551615 18446744073709551615\n",
    b"raft transfer 1\n",
    b"raft campaign\n",
    b"raft info\n",
    b"info\n",
    b"config get ",
    b"reset\n",
    b"quit\n",
    b"readonly\n",
    b"cas k ",
    b"mset ",
    b"mget ",
    b"-9223372036854775808",
    b"18446744073709551616",
    b" nx",
    b" xx",
    b" get",
    b" ex 1",
    b"flushall\n",
    b"auth default x\n",
    b"select 1\n",
    b"echo ",
    b"unwatch\n",
    b"getdel k\n",
    b"type k\n",
    b"del k\n",
    b"dbsize\n",
];

/// Requests out of a stream of bytes.
const REQUESTS: Target = Target {
    name: "requests",
    run: |input| {
        let whole = stream(input, input.len());
        let piece = 1 + input.len() % 5;
        assert_eq!(whole, stream(input, piece), "in pieces of {piece} bytes");
        for args in &whole.0 {
            assert!(!args.is_empty() && args.len() <= LIMITS.args.max(LINE_BYTES));
            // Said again, it is the same request; what was typed may be longer than what may be sent.
            let bytes: usize = args.iter().map(|arg| arg.len() + 16).sum();
            let short = args.iter().all(|arg| arg.len() <= LIMITS.bulk_bytes);
            if short && args.len() <= LIMITS.args && bytes <= LIMITS.command_bytes / 2 {
                let mut wire = format!("*{}\r\n", args.len()).into_bytes();
                for arg in args {
                    wire.extend(format!("${}\r\n", arg.len()).into_bytes());
                    wire.extend_from_slice(arg);
                    wire.extend(b"\r\n");
                }
                assert_eq!(stream(&wire, wire.len()), (vec![args.clone()], None));
            }
        }
    },
    seeds: sessions,
    words: WORDS,
    allowance: Allowance::new(32 << 10, 300),
    longest: 1024,
    plain: 10_000,
};

const LIMITS: Limits = Limits { bulk_bytes: 1024, command_bytes: 4096, args: 64 };
const LINE_BYTES: usize = 64 << 10;

/// All requests of a stream that comes in pieces, and the sentence that ends it.
fn stream(bytes: &[u8], piece: usize) -> (Vec<Vec<Bytes>>, Option<String>) {
    let mut requests = Requests::default();
    let mut found = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        requests.buffer.extend_from_slice(piece);
        loop {
            match requests.next(LIMITS) {
                Ok(Some(args)) => found.push(args),
                Ok(None) => break,
                Err(error) => return (found, Some(error.to_string())),
            }
        }
    }
    (found, None)
}

/// What stands in the log.
const LOGGED: Target = Target {
    name: "logged",
    run: |input| {
        let mut args = Vec::new();
        let Ok(logged) = decode(input, &mut args) else { return };
        // Numbers may be written longer than need be; what they say is the same.
        let mut again = BytesMut::new();
        match &logged {
            Logged::Command(op) => put_command(&mut again, *op, &args),
            Logged::Transaction { watched, commands } => put_transaction(&mut again, watched, commands),
        }
        let mut args_again = Vec::new();
        assert_eq!(decode(&again, &mut args_again), Ok(logged));
        assert_eq!(args_again, args);
        assert!(again.len() <= input.len());
    },
    seeds: logged_seeds,
    words: &[b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80\x00", b"\x01\x02", b"\x02"],
    allowance: Allowance::new(8 << 10, 200),
    longest: 1024,
    plain: 20_000,
};

/// A snapshot of the data, in two pieces: what is taken is written again as it was.
const SNAPSHOT: Target = Target {
    name: "snapshot",
    run: |input| {
        let mut input = Input(input);
        let cut = usize::from(input.byte());
        let (first, second) = input.0.split_at(cut.min(input.0.len()));
        let mut decoder = Decoder::default();
        if decoder.push(first).and_then(|()| decoder.push(second)).is_err() {
            return;
        }
        let Ok(store) = decoder.finish() else { return };
        let mut encoder = Encoder::new(store);
        let again: Vec<u8> = std::iter::from_fn(|| encoder.next()).flatten().collect();
        assert_eq!(again, input.0);
    },
    seeds: || {
        let (mut store, mut seeds) = (Store::default(), Vec::new());
        let commands: [(Op, &[&[u8]]); 5] = [
            (Op::DbSize, &[]),
            (Op::Set, &[b"key", b"value"]),
            (Op::RPush, &[b"list", b"a", b"bc", b""]),
            (Op::HSet, &[b"hash", b"f", b"v", b"g", b""]),
            (Op::SAdd, &[b"set", b"m", b"", b"n"]),
        ];
        for (op, args) in commands {
            store.execute(op, args, &mut Reply::default());
            let mut encoder = Encoder::new(store.clone());
            let bytes = std::iter::from_fn(|| encoder.next()).flatten();
            seeds.push([20].into_iter().chain(bytes).collect());
        }
        seeds
    },
    words: &[b"RKVS", b"\x01\0\0\0", b"\xff\xff\xff\xff", b"\xff"],
    allowance: Allowance::new(256 << 10, 200),
    longest: 1024,
    plain: 20_000,
};

/// What an operator wants of the members, as the words of a request.
const WISHES: Target = Target {
    name: "wishes",
    run: words::wishes,
    seeds: || {
        words::lines(&[
            "add-learner 4 127.0.0.1:7104@127.0.0.1:7004",
            "REPLACE 2 4 [::1]:7104@kv-4.example:7004 PROMOTE 5 DEMOTE 3 WAIT 500 FORCE",
            "UPDATE 18446744073709551615 a:1@b:65535 WAIT",
            "REMOVE 1 WAIT FORCE",
            "PROMOTE 0",
        ])
    },
    words: words::WISHES,
    allowance: Allowance::new(8 << 10, 600),
    longest: 512,
    plain: 20_000,
};

/// The number that a request of a session bears; the first byte says which session is used without one.
const NUMBERED: Target = Target {
    name: "numbered",
    run: words::numbered,
    seeds: || {
        words::lines(&[
            "\x00RAFT SEQ 5 SESSION 7 INCR k",
            "\x09raft seq 5 ack 4 incr k",
            "\x09raft seq 5 session 7 ack 4 set ack 1",
            "\x01RAFT SEQ 18446744073709551615 ACK 0 EXEC",
            "\x09raft seq 5 ack",
        ])
    },
    words: words::NUMBERED,
    allowance: Allowance::new(8 << 10, 300),
    longest: 512,
    plain: 20_000,
};

fn logged_seeds() -> Vec<Vec<u8>> {
    let command = |op, args: &[&str]| {
        let mut out = BytesMut::new();
        put_command(&mut out, op, args);
        out.to_vec()
    };
    let mut transaction = BytesMut::new();
    let commands = [(Op::Incr, vec!["n"]), (Op::DbSize, vec![])];
    put_transaction(&mut transaction, &[("w", u64::MAX)], &commands);
    vec![command(Op::Set, &["key", "value"]), command(Op::FlushAll, &[]), transaction.to_vec()]
}

/// Commands on the data: each leaves one whole reply, in both protocols, and two nodes stay the same.
/// The input: for each command its number, the number of arguments, and which.
const RUN_COMMANDS: Target = Target {
    name: "commands",
    run: |input| {
        let mut input = Input(input);
        let (mut leader, mut follower) = (Store::default(), Store::default());
        while !input.is_empty() {
            let (op, args) = command(&mut input);
            let spec = COMMANDS.iter().find(|spec| spec.op == op).unwrap();
            if !spec.takes(args.len() + 1) {
                // It is refused before it comes here.
                continue;
            }
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            let (mut reply, mut other) = (Reply::default(), Reply::default());
            if op.kind() == command::Kind::Read {
                leader.read(op, &args, &mut reply);
            } else {
                leader.execute(op, &args, &mut reply);
            }
            follower.execute(op, &args, &mut other);
            let reply = reply.into_bytes();
            assert_eq!(reply, other.into_bytes(), "{op:?}");
            for protocol in [Protocol::Resp2, Protocol::Resp3] {
                let mut out = Vec::new();
                translate(&reply, protocol, &mut out);
                assert_eq!(replies(&out, protocol), Some(1), "{op:?} {args:?}: {out:?}");
            }
        }
        assert_eq!(leader.len(), follower.len());
    },
    seeds: || {
        let one = |op: u8, args: &[u8]| [&[op, args.len() as u8], args].concat();
        COMMANDS
            .iter()
            .map(|spec| one(spec.op as u8, &[0, 17, 34]))
            .chain([vec![2, 2, 0, 30, 9, 1, 0]])
            .collect()
    },
    words: &[],
    allowance: Allowance::new(64 << 10, 16 << 10),
    longest: 1024,
    plain: 5_000,
};

fn command(input: &mut Input<'_>) -> (Op, Vec<Vec<u8>>) {
    const ARGS: [&[u8]; 40] = [
        b"k",
        b"l",
        b"h",
        b"s",
        b"k2",
        b"",
        b"{a}b",
        b"*",
        b"[^a-c]?",
        b"\\",
        b"[",
        b"0",
        b"1",
        b"-1",
        b"2",
        b"10",
        b"9223372036854775807",
        b"-9223372036854775808",
        b"9223372036854775808",
        b"-0",
        b"+1",
        b" 1",
        b"1.5",
        b"nx",
        b"XX",
        b"get",
        b"keepttl",
        b"match",
        b"count",
        b"type",
        b"a",
        b"b",
        b"value\r\nwith\0lines",
        b"async",
        b"sync",
        b"18446744073709551615",
        b"string",
        b"ex",
        b"a*b*c*d*e",
        b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    let op = Op::from_code(input.byte()).filter(|op| op.kind() != command::Kind::Local).unwrap_or(Op::Set);
    let count = usize::from(input.byte() % 6);
    let arg = |_| match usize::from(input.byte()) {
        known if known < 200 => ARGS[known % ARGS.len()].to_vec(),
        own => input.bytes(own % 8).to_vec(),
    };
    (op, (0..count).map(arg).collect())
}

/// How many whole replies there are; `None` if there is anything else.
fn replies(mut bytes: &[u8], protocol: Protocol) -> Option<usize> {
    let mut count = 0;
    while !bytes.is_empty() {
        let taken = match protocol {
            Protocol::Resp2 => redis_protocol::resp2::decode::decode(bytes).ok()??.1,
            Protocol::Resp3 => redis_protocol::resp3::decode::complete::decode(bytes).ok()??.1,
        };
        bytes = &bytes[taken..];
        count += 1;
    }
    Some(count)
}

/// A connection to a node that runs. It must answer or close, and go on serving others.
const CONNECTION: Target = Target {
    name: "connection",
    run: |input| {
        let said = running(input, |running| running.address);
        // Who did not ask for RESP3 gets whole replies in RESP2, whatever he said.
        if !input.to_ascii_lowercase().windows(5).any(|word| word == b"hello") {
            let shown = String::from_utf8_lossy(&said);
            assert!(replies(&said, Protocol::Resp2).is_some(), "{shown:?}");
        }
    },
    seeds: sessions,
    words: WORDS,
    allowance: Allowance::new(8 << 20, 64 << 10),
    longest: 1024,
    plain: 300,
};

/// The same for the load generator's protocol: each request that was whole is answered once, in order.
const THIN: Target = Target {
    name: "thin",
    run: |input| {
        let said = running(input, |running| running.thin);
        assert!(said.len().is_multiple_of(9), "half an answer: {said:?}");
        let (mut asked, mut rest) = (Vec::new(), input);
        while let Some((head, after)) = rest.split_first_chunk::<12>() {
            let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let Some(after) = after.get(length..).filter(|_| length >= 8) else { break };
            asked.push(&head[4..]);
            rest = after;
        }
        let answered: Vec<&[u8]> = said.chunks(9).map(|answer| &answer[..8]).collect();
        assert!(asked.starts_with(&answered), "{asked:?}, {answered:?}");
    },
    seeds: || {
        let request = |id: u8, value: &[u8]| {
            let head = [8 + value.len() as u8, 0, 0, 0, id, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
            [&head, value].concat()
        };
        vec![request(1, b"one"), [request(2, b""), request(3, b"three")].concat()]
    },
    words: &[b"\x08\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x01"],
    allowance: Allowance::new(8 << 20, 64 << 10),
    longest: 512,
    plain: 300,
};

/// What a node that runs says to this input, at one of its addresses.
fn running(input: &[u8], at: fn(&Running) -> SocketAddr) -> Vec<u8> {
    thread_local!(static NODE: RefCell<Option<Running>> = const { RefCell::new(None) });
    NODE.with(|place| {
        let mut place = place.borrow_mut();
        // The log is in memory and grows.
        if place.as_ref().is_some_and(|running| running.inputs >= 2000) {
            *place = None;
        }
        let running = place.get_or_insert_with(Running::new);
        let address = at(running);
        running.take(address, input)
    })
}

/// How many tasks have panicked. Tokio catches it: the connection would only be closed.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// A node with its server, on the thread that calls it.
struct Running {
    runtime: tokio::runtime::Runtime,
    address: SocketAddr,
    thin: SocketAddr,
    /// Another client, who was there before.
    other: TcpStream,
    inputs: u64,
}

impl Running {
    fn new() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                PANICS.fetch_add(1, Ordering::SeqCst);
                before(info);
            }));
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ([address, thin], other) = runtime.block_on(start());
        Self { runtime, address, thin, other, inputs: 0 }
    }

    fn take(&mut self, address: SocketAddr, input: &[u8]) -> Vec<u8> {
        self.inputs += 1;
        let panics = PANICS.load(Ordering::SeqCst);
        let Self { runtime, other, .. } = self;
        let said = runtime.block_on(async {
            let said = converse(address, input).await;
            serves(other).await;
            said
        });
        assert_eq!(PANICS.load(Ordering::SeqCst), panics, "a task has panicked");
        said
    }
}

/// Sends all of it, and reads until the server closes.
async fn converse(address: SocketAddr, input: &[u8]) -> Vec<u8> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut said = Vec::new();
        // The server may close before it has read everything: then the system says so here or there.
        if stream.write_all(input).await.is_ok() && stream.shutdown().await.is_ok() {
            let mut buffer = [0; 16 << 10];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                said.extend_from_slice(&buffer[..count]);
            }
        }
        // No port is kept waiting: there are fewer than inputs.
        let stream = stream.into_std().unwrap();
        let _ = stream.shutdown(Shutdown::Both);
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        said
    };
    tokio::time::timeout(Duration::from_secs(20), talk).await.expect("it neither answers nor closes")
}

/// Another client writes and reads.
async fn serves(other: &mut TcpStream) {
    let talk = async {
        loop {
            other.write_all(b"flushall\r\nping\r\n").await.unwrap();
            let mut said = Vec::new();
            while !said.ends_with(b"+PONG\r\n") {
                assert!(other.read_buf(&mut said).await.unwrap() > 0, "the other client was thrown out");
            }
            if said == b"+OK\r\n+PONG\r\n" {
                return;
            }
            // It may have been told to campaign: for a moment nobody leads.
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), talk).await.expect("it serves nobody else");
}

async fn start() -> ([SocketAddr; 2], TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let flags = Flags {
        id: Some(1),
        data: Some("nowhere".into()),
        listen: Some(address),
        peer_listen: Some("127.0.0.1:1".parse().unwrap()),
        members: Some(format!("1=127.0.0.1:1@{address}")),
        ..Flags::default()
    };
    let settings = Settings::new(flags).unwrap();
    let (cluster, id) = (settings.cluster, settings.id);
    let initial = settings.initial.as_ref();
    let mut journal = MemoryJournal::create(&MemoryDisk::new(), cluster, GroupId(0), id, initial).unwrap();
    let last = journal.load().await.unwrap().last.index;
    let (data, reader) = (machine::Shared::default(), journal.reader());
    let node = Node::builder(Config::new(id, cluster))
        .journal(journal)
        .transport(MemoryNetwork::new().transport(id))
        .state_machine(machine::Machine::new(data.clone()))
        .start()
        .await
        .unwrap();
    node.watch().until(|status| status.role == RoleKind::Leader).await.unwrap();
    let server = Arc::new(Server::new(
        Parts { node, data, reader, last, connections: Box::new(Default::default), spans: None },
        &settings,
    ));
    let thin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [address, thin.local_addr().unwrap()];
    tokio::spawn(thin::listen(Arc::clone(&server), thin));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(client::serve(Arc::clone(&server), socket, None));
        }
    });
    (addresses, TcpStream::connect(address).await.unwrap())
}

/// What clients say in real life.
fn sessions() -> Vec<Vec<u8>> {
    let mut all = vec![
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".to_vec(),
        b"ping\r\n\r\nset k \"a b\"\nget k\n*0\r\n*-1\r\nquit\r\n".to_vec(),
        b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\nmulti\r\nincr n\r\nhset h a 1\r\nhgetall h\r\nexec\r\n".to_vec(),
        b"watch k\r\nmulti\r\nset k 1\r\nexec\r\nmulti\r\nnosuch\r\nexec\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"rpush l a b c\r\nlrange l 0 -1\r\nlpop l 2\r\nsadd s a b\r\nsmembers s\r\nscan 0 count 1\r\n"
            .to_vec(),
        b"raft info\r\nraft scan 1 100\r\ncluster slots\r\ncluster shards\r\ncommand\r\ninfo\r\n".to_vec(),
    ];
    let name = |spec: &command::Spec| format!("{} k 1 2\r\n{0} k\r\n{0}\r\n", spec.name).into_bytes();
    all.extend(COMMANDS.iter().map(name));
    all
}
