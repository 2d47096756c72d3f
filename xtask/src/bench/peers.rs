//! The programs: what measures, and who is measured beside us.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::guard::{self, Guard};
use crate::util::{Context, Failure, ports, proc};

/// Where the programs of `xtask/peers` are, and who is there.
pub(super) struct Tools {
    dir: PathBuf,
    /// Our server.
    pub(super) server: PathBuf,
    /// Which peers can be measured.
    pub(super) there: Vec<Peer>,
    /// Who cannot, and why.
    pub(super) missing: Vec<String>,
}

/// Another system, or ours in the shape of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// The crates of this workspace behind the thin protocol, with the map of the harness of raft-rs and nothing else.
    Library,
    /// etcd, through gRPC.
    Etcd,
    /// Redis with `appendfsync always` and `WAIT 1`: replicated, no consensus.
    Redis,
    /// One Redis that keeps everything in memory and has no replicas: no peer, but what this protocol and these clients leave of
    /// the machine for anybody who does more.
    Alone,
    /// raft-rs with raft-engine, commands merged in one entry, jemalloc.
    RaftRs,
    /// openraft with its makers' own log, raft-log, its pipelined network, jemalloc.
    Openraft,
}

impl Peer {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Library => "library",
            Self::Etcd => "etcd",
            Self::Redis => "redis",
            Self::Alone => ALONE,
            Self::RaftRs => "raft-rs",
            Self::Openraft => "openraft",
        }
    }

    /// Whether it runs with another allocator than the system's.
    const fn wants_jemalloc(self) -> bool {
        matches!(self, Self::RaftRs | Self::Openraft)
    }

    /// How many processes it is.
    const fn nodes(self) -> usize {
        if matches!(self, Self::Alone) { 1 } else { 3 }
    }

    /// How the load generator speaks to it.
    pub(super) const fn proto(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Redis => "redis",
            Self::Alone => "resp",
            Self::Library | Self::RaftRs | Self::Openraft => "sp",
        }
    }
}

/// What [`Peer::Alone`] is called.
pub(super) const ALONE: &str = "redis alone, in memory";

/// Where Debian has it.
const JEMALLOC: &str = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";

impl Tools {
    /// Builds what is missing.
    pub(super) fn build(against: &[String]) -> Result<Self, Failure> {
        let server = crate::servers::build_as("dist")?;
        let peers = proc::root().join("xtask/peers");
        let dir = proc::target_dir()?.join("peers");
        let mut missing = Vec::new();
        let build = |package: &str| build(&peers.join("Cargo.toml"), &dir, Some(package));
        for tool in ["loadgen", "bench-ours", "ours-harness", "physical"] {
            if !build(tool)? {
                return Err(Failure::new(format!("xtask/peers: {tool} does not compile")));
            }
        }
        let mut there = vec![Peer::Library];
        for name in against {
            match name.as_str() {
                "etcd" if proc::works(Command::new("etcd").arg("--version")) => there.push(Peer::Etcd),
                "etcd" => missing.push(String::from("etcd: not installed (Debian: etcd-server)")),
                "redis" if proc::works(Command::new("redis-server").arg("--version")) => {
                    there.extend([Peer::Redis, Peer::Alone]);
                }
                "redis" => missing.push(String::from("redis: not installed (Debian: redis-server)")),
                "raft-rs" => {
                    if build("raftrs-harness")? && build("raftrs-micro")? && build("journal-raftengine")? {
                        there.push(Peer::RaftRs);
                    } else {
                        missing.push(String::from(
                            "raft-rs: does not compile (Debian: protobuf-compiler cmake)",
                        ));
                    }
                }
                _ if build("openraft-harness")? => there.push(Peer::Openraft),
                _ => missing.push(String::from("openraft: does not compile")),
            }
        }
        for peer in there.iter().filter(|peer| peer.wants_jemalloc() && !Path::new(JEMALLOC).exists()) {
            missing.push(format!("{} runs without jemalloc (Debian: libjemalloc2)", peer.name()));
        }
        if !self::build(&peers.join("journal-rusqlite/Cargo.toml"), &dir, None)? {
            missing.push(String::from("rusqlite: does not compile"));
        }
        Ok(Self { dir: dir.join("release"), server, there, missing })
    }

    /// One of the programs of `xtask/peers`.
    pub(super) fn program(&self, name: &str) -> Command {
        Command::new(self.dir.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
    }

    /// Whether it was built.
    pub(super) fn has(&self, name: &str) -> bool {
        Path::new(self.program(name).get_program()).exists()
    }

    pub(super) fn has_peer(&self, peer: Peer) -> bool {
        self.there.contains(&peer)
    }

    /// Runs one, and takes the JSON of its last line.
    pub(super) fn ask(&self, name: &str, arguments: &[String]) -> Result<Value, Failure> {
        let mut command = self.program(name);
        command.args(arguments);
        let text = proc::stdout(&mut command)?;
        let line = text.lines().next_back().unwrap_or_default();
        serde_json::from_str(line).context(|| format!("{} printed {line:?}", proc::shown(&command)))
    }
}

fn build(manifest: &Path, target: &Path, package: Option<&str>) -> Result<bool, Failure> {
    let mut command = proc::cargo();
    command.args(["build", "--release", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(target);
    if let Some(package) = package {
        command.args(["--package", package]);
    }
    proc::run(&mut command)
}

/// The processes of a peer, in a folder that goes with them.
pub(super) struct Running {
    children: Vec<Child>,
    commands: Vec<Command>,
    /// For clients.
    pub(super) clients: Vec<SocketAddr>,
    guard: Guard,
    _dir: tempfile::TempDir,
}

impl Running {
    pub(super) fn start(tools: &Tools, peer: Peer) -> Result<Self, Failure> {
        let dir = tempfile::Builder::new().prefix("raft-bench-").tempdir();
        let dir = dir.context(|| String::from("no temporary folder"))?;
        let guard = Guard::start()?;
        guard.add_folder(dir.path());
        let nodes = peer.nodes();
        let (clients, peers) = (ports::free(nodes)?, ports::free(nodes)?);
        let mut commands = Vec::new();
        for at in 0..nodes {
            let own = dir.path().join((at + 1).to_string());
            std::fs::create_dir_all(&own).context(|| format!("cannot create {}", own.display()))?;
            commands.push(command(tools, peer, at, &own, &clients, &peers));
        }
        let mut running = Self { children: Vec::new(), commands, clients, guard, _dir: dir };
        for at in 0..nodes {
            let child = running.spawn(at)?;
            running.children.push(child);
        }
        Ok(running)
    }

    fn spawn(&mut self, at: usize) -> Result<Child, Failure> {
        let log = self._dir.path().join(format!("{}.log", at + 1));
        let log = File::options().create(true).append(true).open(&log).context(|| String::from("no log"))?;
        let out = log.try_clone().context(|| String::from("no log"))?;
        let command = &mut self.commands[at];
        command.stdin(Stdio::null()).stdout(out).stderr(log);
        guard::own_group(command);
        let child = command.spawn().context(|| proc::shown(command))?;
        self.guard.add_process(child.id());
        Ok(child)
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    /// Starts the process again that was killed.
    pub(super) fn restart(&mut self, at: usize) -> Result<(), Failure> {
        let _ = self.children[at].kill();
        self.children[at].wait().context(|| String::from("cannot wait for a peer"))?;
        self.guard.remove_process(self.children[at].id());
        self.children[at] = self.spawn(at)?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            // Its number may belong to another as soon as it was waited for.
            if child.wait().is_ok() {
                self.guard.remove_process(child.id());
            }
        }
    }
}

fn command(
    tools: &Tools,
    peer: Peer,
    at: usize,
    dir: &Path,
    clients: &[SocketAddr],
    peers: &[SocketAddr],
) -> Command {
    let ports =
        |all: &[SocketAddr]| all.iter().map(|one| one.port().to_string()).collect::<Vec<_>>().join(",");
    match peer {
        Peer::Library | Peer::RaftRs | Peer::Openraft => {
            let mut command = tools.program(match peer {
                Peer::Library => "ours-harness",
                Peer::RaftRs => "raftrs-harness",
                _ => "openraft-harness",
            });
            command.arg((at + 1).to_string()).arg(dir).args([ports(clients), ports(peers)]);
            command.args((peer == Peer::RaftRs).then_some("merge"));
            if peer.wants_jemalloc() && Path::new(JEMALLOC).exists() {
                command.env("LD_PRELOAD", JEMALLOC);
            }
            command
        }
        Peer::Etcd => {
            let all: Vec<String> =
                peers.iter().enumerate().map(|(at, peer)| format!("e{}=http://{peer}", at + 1)).collect();
            let (client, own) = (format!("http://{}", clients[at]), format!("http://{}", peers[at]));
            let mut command = Command::new("etcd");
            command.args(["--name", &format!("e{}", at + 1)]).arg("--data-dir").arg(dir);
            command.args(["--listen-peer-urls", &own, "--initial-advertise-peer-urls", &own]);
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"]);
            command.args(["--quota-backend-bytes", "8589934592", "--log-level", "error"]);
            command
        }
        Peer::Redis | Peer::Alone => {
            let mut command = Command::new("redis-server");
            command
                .args(["--port", &clients[at].port().to_string(), "--bind", "127.0.0.1"])
                .arg("--dir")
                .arg(dir);
            command.args(["--save", "", "--daemonize", "no", "--loglevel", "warning"]);
            if peer == Peer::Redis {
                command.args(["--appendonly", "yes", "--appendfsync", "always"]);
                command.args(["--repl-diskless-sync-delay", "0"]);
            }
            if at > 0 {
                command.args(["--replicaof", "127.0.0.1", &clients[0].port().to_string()]);
            }
            command
        }
    }
}
