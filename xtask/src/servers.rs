//! A cluster of real `raft-kv` processes on loopback.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::guard::{self, Guard, Signal};
use crate::util::resp::{Client, Reply};
use crate::util::{Context, Failure, ports, proc};

/// Flags of all commands that start a cluster.
#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// How many nodes.
    #[arg(long, default_value_t = 3)]
    pub(crate) nodes: usize,
    /// Which journal they use.
    #[arg(long, default_value = "file")]
    pub(crate) journal: String,
    /// Which transport they use.
    #[arg(long, default_value = "tcp")]
    pub(crate) transport: String,
    /// Where their data and logs go: a new or empty folder. A temporary one otherwise.
    #[arg(long, value_name = "D")]
    pub(crate) dir: Option<PathBuf>,
    /// Leaves data and logs where they are.
    #[arg(long)]
    pub(crate) keep: bool,
    /// The `raft-kv` to run. Built in release otherwise.
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
    /// Further flags for each `raft-kv serve`.
    #[arg(last = true)]
    pub(crate) more: Vec<String>,
}

/// How long a node may take to start, to find a leader or to catch up before the command gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where a node lives.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// For clients.
    pub(crate) client: SocketAddr,
    /// Where it listens for the other nodes.
    pub(crate) peer: SocketAddr,
    /// Where the other nodes dial to reach it: elsewhere, if something lies between.
    pub(crate) dialled: SocketAddr,
    /// Where it serves the thin protocol of load generators, if it does.
    pub(crate) thin: Option<SocketAddr>,
    /// Where it shows itself, if it does.
    pub(crate) http: Option<SocketAddr>,
    /// What the command begins with: a program that starts another one, with its flags.
    pub(crate) wrapper: Vec<String>,
}

/// Places on loopback.
pub(crate) fn loopback(nodes: usize) -> Result<Vec<Place>, Failure> {
    let addresses = ports::free(2 * nodes)?;
    let place = |pair: &[SocketAddr]| Place {
        client: pair[0],
        peer: pair[1],
        dialled: pair[1],
        thin: None,
        http: None,
        wrapper: Vec::new(),
    };
    Ok(addresses.chunks(2).map(place).collect())
}

/// One node.
pub(crate) struct Server {
    /// From 1.
    pub(crate) id: usize,
    /// For clients.
    pub(crate) address: SocketAddr,
    place: Place,
    child: Option<Child>,
    /// Whether it may end by itself.
    doomed: bool,
}

/// All nodes. They are killed and their folder is removed when this is dropped, and by the guard when
/// this process ends in any other way.
pub(crate) struct Servers {
    /// In order of their ids.
    pub(crate) all: Vec<Server>,
    options: Options,
    binary: PathBuf,
    dir: PathBuf,
    guard: Guard,
    temporary: Option<tempfile::TempDir>,
}

impl Servers {
    /// Builds and starts them, and waits until one leads.
    pub(crate) fn start(options: &Options) -> Result<Self, Failure> {
        Self::start_at(options, loopback(options.nodes)?)
    }

    /// The same, and each node has a page.
    pub(crate) fn start_shown(options: &Options) -> Result<Self, Failure> {
        let mut places = loopback(options.nodes)?;
        for (place, address) in places.iter_mut().zip(ports::free(options.nodes)?) {
            place.http = Some(address);
        }
        Self::start_at(options, places)
    }

    fn start_at(options: &Options, places: Vec<Place>) -> Result<Self, Failure> {
        let mut servers = Self::prepare(options, places)?;
        for at in 0..servers.all.len() {
            servers.launch(at)?;
        }
        servers.wait_for_leader()?;
        Ok(servers)
    }

    /// Builds them, each in its place; none runs yet.
    pub(crate) fn prepare(options: &Options, places: Vec<Place>) -> Result<Self, Failure> {
        if places.is_empty() {
            return Err(Failure::new("a cluster needs at least one node"));
        }
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => build()?,
        };
        let (dir, temporary) = folder(options)?;
        let guard = Guard::start()?;
        if temporary.is_some() {
            guard.add_folder(&dir);
        }
        let server = |(place, id): (Place, usize)| Server {
            id,
            address: place.client,
            place,
            child: None,
            doomed: false,
        };
        let all: Vec<Server> = places.into_iter().zip(1..).map(server).collect();
        Ok(Self { all, options: options.clone(), binary, dir, guard, temporary })
    }

    /// The `raft-kv` that they run.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// The folder of a node's data.
    pub(crate) fn data(&self, at: usize) -> PathBuf {
        self.dir.join(format!("node-{}", self.all[at].id))
    }

    /// The number of a node's process, if it has one.
    pub(crate) fn process(&self, at: usize) -> Option<u32> {
        self.all[at].child.as_ref().map(Child::id)
    }

    /// What cleans up after this process.
    pub(crate) const fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The folder with a folder and a log of each node.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a node is reached, as `RAFT ADD-LEARNER` takes it.
    pub(crate) fn addresses(&self, at: usize) -> String {
        let http = self.page(at).map_or_else(String::new, |http| format!("@{http}"));
        format!("{}@{}{http}", self.all[at].place.dialled, self.all[at].address)
    }

    /// Where a node shows itself, if it does.
    pub(crate) fn page(&self, at: usize) -> Option<SocketAddr> {
        self.all[at].place.http
    }

    /// Starts the process of a node that has none. Always with the same flags: the members that the cluster begins with are
    /// the first so many as were asked for.
    pub(crate) fn launch(&mut self, at: usize) -> Result<(), Failure> {
        let members: Vec<String> = (0..self.options.nodes.min(self.all.len()))
            .map(|at| format!("{}={}", self.all[at].id, self.addresses(at)))
            .collect();
        self.spawn(at, "--members", &members.join(","))
    }

    /// Starts the process of a node without data: it waits to be contacted by this cluster.
    pub(crate) fn launch_joining(&mut self, at: usize, cluster: &str) -> Result<(), Failure> {
        self.spawn(at, "--cluster-id", cluster)
    }

    fn spawn(&mut self, at: usize, flag: &str, value: &str) -> Result<(), Failure> {
        let data = self.data(at);
        let server = &mut self.all[at];
        let log = self.dir.join(format!("node-{}.log", server.id));
        let log = File::options().create(true).append(true).open(&log);
        let log = log.context(|| format!("cannot write to {}", self.dir.display()))?;
        let mut command = match server.place.wrapper.split_first() {
            Some((program, flags)) => {
                let mut command = Command::new(program);
                command.args(flags).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        command.arg("serve").arg("--id").arg(server.id.to_string());
        command.arg("--data").arg(&data);
        command.arg("--listen").arg(server.address.to_string());
        command.arg("--peer-listen").arg(server.place.peer.to_string());
        if let Some(thin) = server.place.thin {
            command.arg("--sp").arg(thin.to_string());
        }
        if let Some(http) = server.place.http {
            command.arg("--http").arg(http.to_string());
        }
        command.arg(flag).arg(value);
        command.args(["--journal", &self.options.journal, "--transport", &self.options.transport]);
        command.args(&self.options.more);
        let out = log.try_clone().context(|| String::from("cannot share a log"))?;
        command.stdin(Stdio::null()).stdout(out).stderr(log);
        guard::own_group(&mut command);
        let child = command.spawn().context(|| format!("cannot start {}", self.binary.display()))?;
        self.guard.add_process(child.id());
        server.child = Some(child);
        server.doomed = false;
        Ok(())
    }

    /// `kill -9`, and waits until the process is gone.
    pub(crate) fn kill(&mut self, at: usize) -> Result<(), Failure> {
        if let Some(mut child) = self.all[at].child.take() {
            child.kill().context(|| String::from("cannot kill a node"))?;
            child.wait().context(|| String::from("cannot wait for a node"))?;
            self.guard.remove_process(child.id());
        }
        Ok(())
    }

    /// From now on a node may end by itself.
    pub(crate) fn doom(&mut self, at: usize) {
        self.all[at].doomed = true;
    }

    /// Whether a node's process has ended by itself.
    pub(crate) fn has_ended(&mut self, at: usize) -> bool {
        self.all[at].child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, at: usize, what: Signal) -> Result<(), Failure> {
        let child = self.all[at].child.as_ref().ok_or_else(|| Failure::new("the node does not run"))?;
        let id = i32::try_from(child.id()).context(|| String::from("strange process id"))?;
        guard::signal(id, what)
    }

    /// SIGTERM to all; `false` if one did not end well within ten seconds.
    pub(crate) fn stop(&mut self) -> Result<bool, Failure> {
        let mut well = true;
        for at in 0..self.all.len() {
            if self.all[at].child.is_some() {
                self.signal(at, Signal::Terminate)?;
            }
        }
        for at in 0..self.all.len() {
            well &= self.wait_end(at)?;
        }
        Ok(well)
    }

    /// SIGTERM to one; `false` if it did not end well within ten seconds.
    pub(crate) fn terminate(&mut self, at: usize) -> Result<bool, Failure> {
        self.signal(at, Signal::Terminate)?;
        self.wait_end(at)
    }

    /// Waits for the end of a node that was told to stop, and kills it after ten seconds; `true` if it ended
    /// well, or has no process.
    fn wait_end(&mut self, at: usize) -> Result<bool, Failure> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let Some(child) = &mut self.all[at].child else { return Ok(true) };
        let well = loop {
            match child.try_wait().context(|| String::from("cannot wait for a node"))? {
                Some(status) => break status.success(),
                None if Instant::now() > deadline => break false,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        self.kill(at)?;
        Ok(well)
    }

    /// An error, with the end of its log, if a node that should run does not.
    pub(crate) fn check_alive(&mut self) -> Result<(), Failure> {
        for at in 0..self.all.len() {
            let id = self.all[at].id;
            if self.all[at].doomed {
                continue;
            }
            let Some(child) = &mut self.all[at].child else { continue };
            if let Ok(Some(status)) = child.try_wait() {
                let log = self.dir.join(format!("node-{id}.log"));
                let said = std::fs::read_to_string(log).unwrap_or_default();
                let from = said.lines().count().saturating_sub(15);
                let tail: Vec<&str> = said.lines().skip(from).collect();
                return Err(Failure::new(format!(
                    "node {id} ended with {status}; it said:\n{}",
                    tail.join("\n")
                )));
            }
        }
        Ok(())
    }

    /// What a node says of itself.
    pub(crate) fn info(&self, at: usize) -> Option<Info> {
        self.info_within(at, Duration::from_secs(2))
    }

    /// The same, from a node that answers soon.
    pub(crate) fn info_within(&self, at: usize, patience: Duration) -> Option<Info> {
        let mut client = Client::connect(self.all[at].address, patience).ok()?;
        Info::parse(&client.call(&[b"RAFT", b"INFO"]).ok()?)
    }

    /// Who says that it leads, of those who answer; the highest term counts.
    pub(crate) fn leader(&self) -> Option<usize> {
        self.leader_within(Duration::from_secs(2))
    }

    /// The same, of those who answer soon.
    pub(crate) fn leader_within(&self, patience: Duration) -> Option<usize> {
        let info = |at: &usize| self.info_within(*at, patience);
        let leads = |at: &usize| info(at).filter(Info::leads).map(|info| info.number("term"));
        (0..self.all.len()).filter_map(|at| leads(&at).map(|term| (term, at))).max().map(|(_, at)| at)
    }

    /// Waits until one leads.
    pub(crate) fn wait_for_leader(&mut self) -> Result<usize, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.leader() {
                return Ok(at);
            }
            self.check_alive()?;
            if Instant::now() > deadline {
                return Err(Failure::new(format!("no leader within {PATIENCE:?}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a leader says that all of its log is committed, and returns the end of it. Nobody may
    /// write meanwhile. What a node says of itself may be some milliseconds old, so right after an election
    /// its commit index alone says little.
    pub(crate) fn wait_settled(&mut self, leader: usize) -> Result<u64, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let number = |info: &Info, key: &str| info.number(key).unwrap_or(0);
            if let Some(info) = self.info(leader).filter(Info::leads) {
                let end = (number(&info, "log-start") + number(&info, "log-size")).saturating_sub(1);
                if end > 0 && number(&info, "commit-index") == end {
                    return Ok(end);
                }
            }
            self.check_alive()?;
            if Instant::now() > deadline {
                let id = self.all[leader].id;
                return Err(Failure::new(format!(
                    "node {id} did not commit all of its log within {PATIENCE:?}"
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a node has applied everything through `index`.
    pub(crate) fn wait_applied(&mut self, at: usize, index: u64) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while self.info(at).is_none_or(|info| info.number("last-applied") < Some(index)) {
            self.check_alive()?;
            if Instant::now() > deadline {
                let id = self.all[at].id;
                return Err(Failure::new(format!(
                    "node {id} did not reach index {index} within {PATIENCE:?}"
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Says that data and logs must stay.
    pub(crate) fn keep(&mut self) {
        self.options.keep = true;
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for at in 0..self.all.len() {
            // A frozen process dies of SIGKILL too. What cannot be killed here is the guard's.
            let _ = self.kill(at);
        }
        if self.options.keep
            && let Some(temporary) = self.temporary.take()
        {
            self.guard.keep_folders();
            eprintln!("data and logs are in {}", temporary.keep().display());
        }
    }
}

/// Builds `raft-kv` in release.
pub(crate) fn build() -> Result<PathBuf, Failure> {
    build_as("release")
}

/// Builds `raft-kv` with this profile.
pub(crate) fn build_as(profile: &str) -> Result<PathBuf, Failure> {
    eprintln!("building raft-kv, profile {profile}");
    if !proc::run(proc::cargo().args(["build", "--profile", profile, "--package", "raft-kv"]))? {
        return Err(Failure::new("raft-kv does not compile"));
    }
    Ok(proc::target_dir()?.join(profile).join(format!("raft-kv{}", std::env::consts::EXE_SUFFIX)))
}

/// Where data goes: the folder that was asked for, or a temporary one.
fn folder(options: &Options) -> Result<(PathBuf, Option<tempfile::TempDir>), Failure> {
    let Some(dir) = &options.dir else {
        let temporary = tempfile::Builder::new().prefix("raft-kv-").tempdir();
        let temporary = temporary.context(|| String::from("no temporary folder"))?;
        let dir = temporary.path().to_path_buf();
        return Ok((dir, Some(temporary)));
    };
    std::fs::create_dir_all(dir).context(|| format!("cannot create {}", dir.display()))?;
    let mut inside = std::fs::read_dir(dir).context(|| format!("cannot read {}", dir.display()))?;
    if inside.next().is_some() {
        let what = format!("{} is not empty", dir.display());
        return Err(Failure::new(what).next("name a new or an empty folder with --dir"));
    }
    Ok((dir.clone(), None))
}

/// The flat map that `RAFT INFO` answers.
#[derive(Debug)]
pub(crate) struct Info(Vec<(String, String)>);

impl Info {
    fn parse(reply: &Reply) -> Option<Self> {
        match reply {
            Reply::Array(items) => {
                let pairs = items.chunks(2).filter(|pair| pair.len() == 2);
                Some(Self(pairs.map(|pair| (pair[0].text(), pair[1].text())).collect()))
            }
            Reply::Bulk(Some(_)) => {
                let text = reply.text();
                let pairs = text.lines().filter_map(|line| line.split_once(':'));
                Some(Self(pairs.map(|(key, value)| (key.to_string(), value.trim().to_string())).collect()))
            }
            _ => None,
        }
    }

    /// The value of a key.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// A number, if it is one.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.value(key)?.parse().ok()
    }

    /// Whether the node says that it leads.
    pub(crate) fn leads(&self) -> bool {
        self.value("role") == Some("leader")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read_as_an_array_and_as_text() {
        let word = |text: &str| Reply::Bulk(Some(text.as_bytes().to_vec()));
        let array = Reply::Array(vec![word("role"), word("leader"), word("term"), Reply::Integer(7)]);
        for reply in [array, word("role:leader\r\nterm:7\r\n")] {
            let info = Info::parse(&reply).unwrap();
            assert!(info.leads());
            assert_eq!(info.number("term"), Some(7));
            assert_eq!(info.value("vote"), None);
        }
        assert!(Info::parse(&Reply::Error("ERR".into())).is_none());
    }
}
