//! Runs what looks for a bug, with patience: a bug may make it hang, or take all memory there is.

use std::io::BufRead;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crate::guard::{self, Guard};
use crate::util::{Context, Failure, proc};

/// Bytes of addresses that a child may have, where the system can be told. A bug that makes a loop endless may
/// push to a list in it.
#[cfg(target_os = "linux")]
const MEMORY: u64 = 6 << 30;

/// How often is looked at what a child has used.
const LOOK: Duration = Duration::from_millis(250);

/// Runs programs, as long as it has patience with each.
pub(super) struct Runner {
    /// What runs longer hangs.
    pub(super) patience: Duration,
    /// Ends what runs when this program is interrupted.
    guard: Guard,
}

/// What a child left.
pub(super) struct Output {
    /// Whether it ended by itself, and well.
    pub(super) status: bool,
    /// What it has written.
    pub(super) text: String,
}

impl Runner {
    pub(super) fn new(patience: Duration) -> Result<Self, Failure> {
        Ok(Self { patience, guard: Guard::start()? })
    }

    /// Runs it quietly, and says what it took. It is ended when it hangs, which leaves no output, and after a line
    /// for which `enough` holds.
    pub(super) fn run(
        &self,
        command: &mut Command,
        enough: fn(&str) -> bool,
    ) -> Result<(Option<Output>, Duration), Failure> {
        self.run_for(self.patience, command, enough)
    }

    /// The same with another patience.
    pub(super) fn run_for(
        &self,
        patience: Duration,
        command: &mut Command,
        enough: fn(&str) -> bool,
    ) -> Result<(Option<Output>, Duration), Failure> {
        let shown = proc::shown(command);
        let (begin, before) = (Instant::now(), children_cpu());
        guard::own_group(command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(|| shown.clone())?;
        self.guard.add_process(child.id());
        limit_memory(&child);
        let (say, said) = std::sync::mpsc::channel();
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let reader = std::thread::spawn(move || {
            let errors = std::thread::spawn(move || read_all(err));
            let text = read_lines(out, enough, &say) + &errors.join().unwrap_or_default();
            // Who waits may have lost patience.
            let _ = say.send(Said::All);
            text
        });
        let mut watch = Watch { used: Duration::ZERO, since: begin };
        let said = loop {
            match said.recv_timeout(LOOK.min(patience)) {
                Err(RecvTimeoutError::Timeout) if watch.has_hung(&child, patience) => break None,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(said) => break Some(said),
                Err(RecvTimeoutError::Disconnected) => break Some(Said::All),
            }
        };
        if said != Some(Said::All) {
            kill_group(&mut child)?;
        }
        let text = reader.join().unwrap_or_default();
        let status = child.wait().context(|| shown)?;
        self.guard.remove_process(child.id());
        let cpu = before.zip(children_cpu()).map(|(before, after)| after.saturating_sub(before));
        let output = said.map(|_| Output { status: status.success(), text });
        Ok((output, cpu.unwrap_or_else(|| begin.elapsed())))
    }
}

/// What a child has used, and since when it uses no more.
struct Watch {
    used: Duration,
    since: Instant,
}

impl Watch {
    /// Whether a child is at it for too long: by its own processor time, where the system tells that, since others
    /// may be at work on this machine, who leave it a small part only. One that waits for others uses none, and so
    /// ends by the clock.
    fn has_hung(&mut self, child: &Child, patience: Duration) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).ok();
        let Some(used) = stat.and_then(|stat| used_by(&stat)) else {
            return self.since.elapsed() >= patience;
        };
        // Of what has begun to wait a timer or two may still run.
        if used > self.used + patience / 100 {
            *self = Self { used, since: Instant::now() };
        }
        used >= patience || self.since.elapsed() >= patience * 4
    }
}

/// What is heard of a child's output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    /// More need not be known.
    Enough,
    /// It has ended.
    All,
}

#[cfg(target_os = "linux")]
fn limit_memory(child: &Child) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let limit = Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) };
    if let Some(id) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // One that has ended meanwhile takes no memory.
        let _ = prlimit(Some(id), Resource::As, limit);
    }
}

#[cfg(not(target_os = "linux"))]
const fn limit_memory(_: &Child) {}

/// Processor time of all children that have ended, where the system says so.
fn children_cpu() -> Option<Duration> {
    cpu_of(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// User and system time of waited-for children: fields 16 and 17 of proc(5).
fn cpu_of(stat: &str) -> Option<Duration> {
    two_times(stat, 13)
}

/// The same of a process itself: fields 14 and 15.
fn used_by(stat: &str) -> Option<Duration> {
    two_times(stat, 11)
}

/// Two times that follow each other, in hundredths of a second on every Linux.
fn two_times(stat: &str, skip: usize) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(skip);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 10))
}

/// Kills a child that leads a process group of its own, with all that it has started.
fn kill_group(child: &mut Child) -> Result<(), Failure> {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process_group};
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let id = id.ok_or_else(|| Failure::new("0 is no process"))?;
        kill_process_group(id, Signal::KILL).context(|| String::from("cannot stop what hangs"))?;
    }
    // One that has ended meanwhile needs no killing.
    let _ = child.kill();
    Ok(())
}

/// Reads to the end, and tells when a line is enough.
fn read_lines(from: Option<impl std::io::Read>, enough: fn(&str) -> bool, say: &Sender<Said>) -> String {
    let mut text = String::new();
    let Some(from) = from else { return text };
    let mut from = std::io::BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let said = String::from_utf8_lossy(&line);
        if enough(said.trim_end()) {
            // Who waits may have lost patience.
            let _ = say.send(Said::Enough);
        }
        text += &said;
        line.clear();
    }
    text
}

fn read_all(from: Option<impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        // What cannot be read is not missed: the exit code counts.
        let _ = from.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_children_is_read() {
        let stat = "71 (x) y) S 1 71 71 0 -1 4194560 5 6 0 0 1 2 250 50 20 0 1 0";
        assert_eq!(cpu_of(stat), Some(Duration::from_secs(3)));
        assert_eq!(used_by(stat), Some(Duration::from_millis(30)));
    }

    #[test]
    fn what_has_said_enough_is_ended() {
        let runner = Runner::new(Duration::from_secs(600)).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two; while :; do read x < /dev/zero; done"]);
        let (output, _) = runner.run(&mut command, |line| line == "two").unwrap();
        let Output { status, text } = output.unwrap();
        assert_eq!((status, &text[..]), (false, "one\ntwo\n"));
    }
}
