//! A closed loop of clients against a replicated store, or the time that one takes to find its next leader. One line of
//! JSON a run on standard output.
//!
//! | `--proto` | what a client does |
//! | --- | --- |
//! | `sp` | the thin framing of raftrs-harness and of `raft-kv --sp`; clients share `--conns` connections |
//! | `resp` | `SET` or `GET`, a connection a client, no pipelining |
//! | `redis` | `SET` and `WAIT 1 0` behind it, a connection a client |
//! | `etcd` | `Put` or a linearizable `Range` over gRPC; clients share `--conns` connections |

mod etcd;
mod gap;
mod load;
mod many;
mod meter;
mod process;
mod resp;
mod sp;
mod values;

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};

/// How clients speak.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Proto {
    Sp,
    Resp,
    Redis,
    Etcd,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Durable writes.
    Write,
    /// Linearizable reads of keys that were written before.
    Read,
    /// From `kill -9` of the leader to the first acknowledgement of a write that was sent after it.
    Failover,
    /// The longest time without an acknowledgement while leadership is handed over.
    Transfer,
}

#[derive(Parser)]
pub struct Args {
    #[arg(long)]
    pub proto: Proto,
    #[arg(long, default_value = "write")]
    pub mode: Mode,
    /// Of all nodes, for clients.
    #[arg(long, value_delimiter = ',')]
    pub addrs: Vec<SocketAddr>,
    /// Of all nodes' processes, in the same order: whose processor time and memory counts, and who is killed.
    #[arg(long, value_delimiter = ',')]
    pub pids: Vec<i32>,
    /// Clients, each with one request under way.
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    /// Of a value, in bytes.
    #[arg(long, default_value_t = 256)]
    pub size: usize,
    #[arg(long, default_value_t = 4)]
    pub conns: usize,
    /// For a connection a client: how many threads look after them.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Seconds before anything counts.
    #[arg(long, default_value_t = 1.0)]
    pub warm: f64,
    #[arg(long, default_value_t = 3.0)]
    pub secs: f64,
}

fn main() {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let answer = match args.mode {
        Mode::Write | Mode::Read => load::run(&args, &runtime),
        Mode::Failover | Mode::Transfer => gap::run(&args, &runtime),
    };
    match answer {
        Ok(value) => println!("{value}"),
        Err(why) => {
            eprintln!("loadgen: {why}");
            std::process::exit(1);
        }
    }
}
