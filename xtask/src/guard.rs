//! A child that outlives us by a moment: it reads from its standard input which processes and folders
//! are ours, and when that ends - because we are done, panicked, were interrupted or killed - it kills
//! and removes what is left. No signal handler could do that for `kill -9`.

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;

use crate::Outcome;
use crate::chaos::netns;
use crate::util::{Context, Failure};

/// Our end of the guard.
pub(crate) struct Guard {
    child: Child,
    input: Mutex<Option<ChildStdin>>,
}

impl Guard {
    /// Starts it in a process group of its own, out of the reach of ctrl-c.
    pub(crate) fn start() -> Result<Self, Failure> {
        let program = std::env::current_exe().context(|| String::from("no path of our own"))?;
        let mut command = Command::new(program);
        command.arg("guard").stdin(Stdio::piped()).stdout(Stdio::null());
        own_group(&mut command);
        let mut child = command.spawn().context(|| String::from("cannot start the guard"))?;
        let input = Mutex::new(child.stdin.take());
        Ok(Self { child, input })
    }

    /// It will be killed.
    pub(crate) fn add_process(&self, id: u32) {
        self.say(&format!("+{id}"));
    }

    /// It will be killed, and all that it has started.
    pub(crate) fn add_group(&self, leader: u32) {
        self.say(&format!("g{leader}"));
    }

    /// It has been killed: see [`remove_process`](Self::remove_process).
    pub(crate) fn remove_group(&self, leader: u32) {
        self.say(&format!("h{leader}"));
    }

    /// It has been waited for: its number may belong to another by now.
    pub(crate) fn remove_process(&self, id: u32) {
        self.say(&format!("-{id}"));
    }

    /// It will be removed with all that is in it.
    pub(crate) fn add_folder(&self, folder: &Path) {
        self.say(&folder.display().to_string());
    }

    /// A network namespace that will be removed.
    pub(crate) fn add_namespace(&self, name: &str) {
        self.say(&format!("n{name}"));
    }

    /// A network device that will be removed.
    pub(crate) fn add_device(&self, name: &str) {
        self.say(&format!("d{name}"));
    }

    /// No folder will be removed.
    pub(crate) fn keep_folders(&self) {
        self.say("keep");
    }

    fn say(&self, line: &str) {
        let mut input = self.input.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(input) = &mut *input {
            // A guard that is gone cannot be told; our own `Drop`s still clean up.
            let _ = writeln!(input, "{line}");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.input.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let _ = self.child.wait();
    }
}

/// Puts a child into a process group of its own.
pub(crate) fn own_group(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(not(unix))]
    let _ = command;
}

/// The guard's own work.
pub(crate) fn run() -> Outcome {
    let (mut processes, mut groups) = (BTreeSet::new(), BTreeSet::new());
    let mut folders = BTreeSet::new();
    let (mut namespaces, mut devices) = (BTreeSet::new(), BTreeSet::new());
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match line.split_at_checked(1) {
            Some(("+", id)) => drop(id.parse::<i32>().map(|id| processes.insert(id))),
            Some(("-", id)) => drop(id.parse::<i32>().map(|id| processes.remove(&id))),
            Some(("g", id)) => drop(id.parse::<i32>().map(|id| groups.insert(id))),
            Some(("h", id)) => drop(id.parse::<i32>().map(|id| groups.remove(&id))),
            Some(("k", "eep")) => folders.clear(),
            Some(("n", name)) => drop(namespaces.insert(name.to_owned())),
            Some(("d", name)) => drop(devices.insert(name.to_owned())),
            Some(("/", _)) => drop(folders.insert(PathBuf::from(&line[..]))),
            _ => {}
        }
    }
    for id in processes {
        let _ = signal(id, Signal::Kill);
    }
    for leader in groups {
        let _ = kill_group(leader);
    }
    namespaces.iter().for_each(|name| netns::remove_namespace(name));
    devices.iter().for_each(|name| netns::remove_device(name));
    for folder in folders.iter().filter(|folder| folder.exists()) {
        // A killed process may still be writing; the folder goes with the second attempt then.
        for _ in 0..50 {
            if std::fs::remove_dir_all(folder).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    Ok(true)
}

/// What can be done to a process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Terminate,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
}

/// Sends a signal.
#[cfg(unix)]
pub(crate) fn signal(id: i32, signal: Signal) -> Result<(), Failure> {
    use rustix::process;
    let number = match signal {
        Signal::Kill => process::Signal::KILL,
        Signal::Terminate => process::Signal::TERM,
        Signal::Stop => process::Signal::STOP,
        Signal::Continue => process::Signal::CONT,
    };
    let id = process::Pid::from_raw(id).ok_or_else(|| Failure::new("0 is no process"))?;
    process::kill_process(id, number).context(|| format!("cannot signal process {id:?}"))
}

/// Kills a process that leads a group, and the group.
#[cfg(unix)]
pub(crate) fn kill_group(leader: i32) -> Result<(), Failure> {
    use rustix::process;
    let id = process::Pid::from_raw(leader).ok_or_else(|| Failure::new("0 is no process"))?;
    let killed = process::kill_process_group(id, process::Signal::KILL);
    killed.context(|| format!("cannot kill the group of process {id:?}"))
}

/// Kills a process that leads a group, and the group.
#[cfg(not(unix))]
pub(crate) fn kill_group(_: i32) -> Result<(), Failure> {
    Err(Failure::new("signals need a Unix"))
}

/// Sends a signal.
#[cfg(not(unix))]
pub(crate) fn signal(_: i32, _: Signal) -> Result<(), Failure> {
    Err(Failure::new("signals need a Unix"))
}
