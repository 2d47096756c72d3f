//! What must hold when the harm is over: nothing acknowledged is gone, all nodes hold the same, also after
//! all of them were killed at once; their journals are as they were written; and what clients saw has a
//! linear order.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::nemesis::Nemesis;
use super::record::{self, Operation, Record};
use crate::content::{self, Compared};
use crate::servers::Servers;
use crate::util::{Context, Failure, proc};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Acknowledged writes that are not there, and what is there that nobody wrote.
    pub(super) lost: usize,
    /// Whether all nodes held the same.
    pub(super) nodes_agree: bool,
    /// Whether each journal is as it was written.
    pub(super) journals_sound: bool,
    /// What is wrong, in words.
    pub(super) complaints: Vec<String>,
}

/// What a search for an order has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linearizable {
    Yes,
    No,
    /// It met a limit.
    Unknown,
}

impl Linearizable {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

/// Looks at the nodes twice, and kills all of them in between; then ends them and looks at their journals.
/// All run and no client writes any more. What is read is part of the history.
pub(super) fn nodes(nemesis: &mut Nemesis<'_>, record: &Record) -> Result<Found, Failure> {
    let mut found = Found { nodes_agree: true, journals_sound: true, ..Found::default() };
    look(nemesis, record, "", &mut found)?;
    for at in 0..nemesis.servers.all.len() {
        nemesis.servers.kill(at)?;
    }
    for at in 0..nemesis.servers.all.len() {
        nemesis.start_node(at)?;
    }
    look(nemesis, record, " (after all were killed)", &mut found)?;
    if !nemesis.servers.stop()? {
        found.complaints.push("a node was told to stop and did not end well".into());
    }
    journals(nemesis.servers, &mut found)?;
    logs(nemesis.servers, &mut found);
    Ok(found)
}

fn look(nemesis: &mut Nemesis<'_>, record: &Record, when: &str, found: &mut Found) -> Result<(), Failure> {
    let servers = &mut *nemesis.servers;
    let leader = servers.wait_for_leader()?;
    let keys = record.keys();
    let names: Vec<Vec<u8>> = keys.iter().map(|key| key.clone().into_bytes()).collect();
    let invoked = nemesis.load.watch().now();
    let values = content::values(&mut content::connect(servers, leader)?, &names)?;
    let completed = nemesis.load.watch().now();
    for (key, value) in keys.into_iter().zip(values) {
        let value = value.map_or(Value::Null, |value| content::text(&value).into());
        let answer = Some((completed, value));
        record.add(&Operation { client: 0, key, command: record::Command::Get, invoked, answer });
    }
    let Compared { content, differences } = content::compare(servers, leader)?;
    found.nodes_agree &= differences.is_empty();
    let lost = record.lost(&content);
    found.lost += lost.len();
    let words = differences.into_iter().chain(lost);
    found.complaints.extend(words.take(20).map(|what| format!("{what}{when}")));
    Ok(())
}

/// Each journal is read as a whole.
fn journals(servers: &Servers, found: &mut Found) -> Result<(), Failure> {
    for at in 0..servers.all.len() {
        let mut command = Command::new(servers.binary());
        command.args(["journal", "verify"]).arg(servers.data(at)).stdin(Stdio::null());
        let output = command.output().context(|| proc::shown(&command))?;
        if !output.status.success() {
            found.journals_sound = false;
            let said = String::from_utf8_lossy(&output.stderr);
            let id = servers.all[at].id;
            found.complaints.push(format!("the journal of node {id}: {}", said.trim()));
        }
    }
    Ok(())
}

/// A node that has panicked somewhere has said so.
fn logs(servers: &Servers, found: &mut Found) {
    for server in &servers.all {
        let log = servers.dir().join(format!("node-{}.log", server.id));
        let said = std::fs::read_to_string(log).unwrap_or_default();
        let panics = said.lines().filter(|line| line.contains("panicked at"));
        found.complaints.extend(panics.take(3).map(|line| format!("node {}: {line}", server.id)));
    }
}

/// Builds the program that searches for an order.
pub(super) fn build() -> Result<PathBuf, Failure> {
    let mut command = proc::cargo();
    command.args(["build", "--quiet", "--release", "--package", "raft-testkit", "--features", "tools"]);
    if !proc::run(command.args(["--bin", "raft-history"]))? {
        return Err(Failure::new("raft-history does not compile"));
    }
    let name = format!("raft-history{}", std::env::consts::EXE_SUFFIX);
    Ok(proc::target_dir()?.join("release").join(name))
}

/// Starts it. It shows a timeline if there is no order.
pub(super) fn history(program: &Path, file: &Path, seconds: u64) -> Result<Linearizable, Failure> {
    let mut command = Command::new(program);
    command.arg(file).arg("--seconds").arg(seconds.to_string());
    let (well, lines) = proc::run_keeping(&mut command, |line| line.starts_with("history: "))?;
    let word =
        lines.last().and_then(|line| line.split(' ').find_map(|word| word.strip_prefix("linearizable=")));
    match word {
        Some("yes") if well => Ok(Linearizable::Yes),
        Some("no") => Ok(Linearizable::No),
        Some("unknown") => Ok(Linearizable::Unknown),
        _ => Err(Failure::new("the checker has not said whether the history is linearizable")),
    }
}
