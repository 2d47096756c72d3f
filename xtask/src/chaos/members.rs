//! An operator at work while harm is done: voters become learners and back, members leave and come back with
//! an empty disk, snapshots and backups are taken.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::nemesis::Nemesis;
use crate::servers::PATIENCE;
use crate::util::resp::{Client, Reply};
use crate::util::{Context, Failure, proc};

/// A change that waits for a new voter is asked for again after this.
const WAIT_MS: &str = "3000";

/// So long an answer may take: a little more than what is waited for there.
const ANSWER: Duration = Duration::from_secs(5);

impl Nemesis<'_> {
    /// Asks once, on a node that may or may not be able to. What becomes of it is its business.
    pub(super) fn ask_once(&self, at: usize, words: &[&str], patience: Duration) -> Option<Reply> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        Client::connect(self.servers.all[at].address, patience).ok()?.call(&words).ok()
    }

    /// Asks whoever leads until it is done. `done` are refusals that say that it is.
    fn insist(&mut self, words: &[&str], done: &[&str]) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = String::from("nobody leads");
        loop {
            if let Some(leader) = self.servers.leader_within(Duration::from_millis(500)) {
                match self.ask_once(leader, words, ANSWER) {
                    Some(Reply::Error(what)) if !done.iter().any(|is| what.contains(is)) => last = what,
                    Some(_) => return Ok(()),
                    None => last = String::from("no answer"),
                }
            }
            self.servers.check_alive()?;
            if Instant::now() > deadline {
                let words = words.join(" ");
                return Err(Failure::new(format!("'{words}' was not done within {PATIENCE:?}: {last}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes a learner a voter again.
    pub(super) fn promote(&mut self, at: usize) -> Result<(), Failure> {
        let id = self.servers.all[at].id.to_string();
        self.insist(&["RAFT", "PROMOTE", &id, "WAIT", WAIT_MS], &["is a voter already"])
    }

    /// A node whose disk is lost: its member is removed, and the node comes back, empty, under the same name.
    pub(super) fn rejoin(&mut self, at: usize) -> Result<(), Failure> {
        let id = self.servers.all[at].id.to_string();
        let cluster = self.cluster()?;
        self.insist(&["RAFT", "REMOVE", &id, "FORCE"], &["is not a member"])?;
        self.servers.kill(at)?;
        self.network.runs(at, None);
        let data = self.servers.data(at);
        if data.exists() {
            std::fs::remove_dir_all(&data).context(|| format!("cannot empty {}", data.display()))?;
        }
        self.servers.launch_joining(at, &cluster)?;
        self.network.runs(at, self.servers.process(at));
        let addresses = self.servers.addresses(at);
        self.insist(
            &["RAFT", "ADD-LEARNER", &id, &addresses],
            &["nothing to change", "is a member already"],
        )?;
        self.promote(at)
    }

    /// The cluster's name, from whoever answers.
    fn cluster(&mut self) -> Result<String, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let infos = (0..self.servers.all.len()).filter_map(|at| self.servers.info(at));
            if let Some(cluster) = infos.filter_map(|info| Some(info.value("cluster-id")?.to_owned())).next()
            {
                return Ok(cluster);
            }
            self.servers.check_alive()?;
            if Instant::now() > deadline {
                return Err(Failure::new("no node says which cluster it belongs to"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Takes a backup from whoever leads, and has it checked.
    pub(super) fn backup(&mut self, number: u64) -> Result<(), Failure> {
        let file = self.servers.dir().join(format!("backup-{number}"));
        let name = file.display().to_string();
        // It has its name only when it is whole: one that is there was taken, and its answer lost.
        self.insist(&["RAFT", "BACKUP", &name], &["there is a file of that name"])?;
        let mut command = Command::new(self.servers.binary());
        command.args(["backup", "--check"]).arg(&file).stdin(Stdio::null());
        let output = command.output().context(|| proc::shown(&command))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::new(format!("a backup that was taken is not sound: {}", said.trim())));
        }
        // It is of no use any more.
        let _ = std::fs::remove_file(&file);
        Ok(())
    }
}
