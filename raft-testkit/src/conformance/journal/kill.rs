//! J1 and J2 on a process that is killed: the test binary starts itself again, and ends what it has started.

use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use raft_core::backend::{HardState, JournalWrite, Verdict, Vote};
use raft_core::entry::Entry;
use raft_core::ids::{Index, NodeId, Term};
use tokio::sync::mpsc;

use super::super::{ClauseFailure, Unsupported, ensure, equal, fail, ok};
use super::JournalBackend;
use super::pair::{ALL, OWNER, entry};

/// Tells the child where to write.
const KILLED_AT: &str = "RAFT_CONFORMANCE_KILLED_AT";

tokio::task_local! {
    /// The test that is the child's program.
    static CHILD: &'static str;
}

/// Runs a clause that may start a child. `child` is the path of a test that calls [`child`] with the same
/// backend, from its crate on, as `module_path!` begins.
pub async fn with_child<T>(child: &'static str, run: impl Future<Output = T>) -> T {
    CHILD.scope(child, run).await
}

/// What write number `count` does: usually it appends, sometimes it replaces the last entries.
fn write(count: u64, last: u64) -> JournalWrite {
    let from = if count.is_multiple_of(7) { last.saturating_sub(2).max(1) } else { last + 1 };
    let mut write = JournalWrite::default();
    write.truncate_from = (from <= last).then_some(Index(from));
    let data = |index| format!("{index} of write {count} ").repeat(1 + (count % 40) as usize);
    write.entries = (from..from + 1 + count % 5).map(|index| entry(count, index, data(index))).collect();
    write.hard_state = Some(HardState {
        term: Term(count),
        vote: Vote::For(NodeId(count)),
        probation: false,
        ..HardState::default()
    });
    write
}

/// The program of the child: writes until it is killed, and says after each write that it is durable. Does
/// nothing where nobody has started it for that.
///
/// # Panics
/// If the journal fails.
#[doc(hidden)]
pub fn child<B: JournalBackend>(backend: &B) {
    let Some(path) = std::env::var_os(KILLED_AT).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(write_for_ever(backend, path)),
        Err(error) => fail("a runtime", error),
    };
    panic!("{ended}");
}

async fn write_for_ever<B: JournalBackend>(backend: &B, path: PathBuf) -> ClauseFailure {
    let run = async {
        let place = backend.place_at(&path)?;
        let mut journal = ok("opening", backend.open(&place, OWNER).await)?;
        let state = ok("loading", journal.load().await)?;
        let (mut last, mut count) = (state.last.index.0, state.hard_state.term.0);
        loop {
            count += 1;
            let next = write(count, last);
            last = next.entries.last().map_or(last, |entry| entry.id.index.0);
            ok("a write", journal.write(next).await)?;
            let mut out = std::io::stdout().lock();
            ok("saying so", writeln!(out, "durable {count}").and_then(|()| out.flush()))?;
        }
    };
    let ended: Result<std::convert::Infallible, ClauseFailure> = run.await;
    match ended {
        Err(failure) => failure,
    }
}

/// A child that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the child, and passes on which writes it says are durable.
fn start(path: PathBuf) -> Result<(Running, mpsc::UnboundedReceiver<u64>), ClauseFailure> {
    let child = CHILD.try_with(|child| *child).map_err(|_| Unsupported("a test that starts processes"))?;
    // The name of a test begins behind its crate.
    let name = child.split_once("::").map_or(child, |(_, name)| name);
    let program = ok("finding this program", std::env::current_exe())?;
    let mut command = Command::new(program);
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(KILLED_AT, path);
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut running = Running(ok("starting this program", spawned)?);
    let out = running.0.stdout.take().ok_or_else(|| fail("the output of the child", "none"))?;
    let (say, said) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let count = line.rsplit_once("durable ").and_then(|(_, count)| count.parse().ok());
            if count.is_some_and(|count| say.send(count).is_err()) {
                break;
            }
        }
    });
    Ok((running, said))
}

/// What may be there after write `count + 1` was cut: nothing of it, or its vote, or that with its truncation
/// and a prefix of its entries.
fn is_cut_write(before: &[Entry], next: &JournalWrite, found: &[Entry]) -> bool {
    let from = next.entries.first().map_or(0, |entry| entry.id.index.0.saturating_sub(1));
    let kept = before.get(..usize::try_from(from).unwrap_or(usize::MAX)).unwrap_or(before);
    found.strip_prefix(kept).is_some_and(|new| next.entries.starts_with(new))
}

pub(super) async fn j01_acknowledged_survives_a_kill<B: JournalBackend>(
    backend: &B,
) -> Result<(), ClauseFailure> {
    let place = backend.place();
    let path = backend.path(&place)?;
    drop(ok("creating", backend.create(&place, OWNER, None).await)?);
    let mut model: Vec<Entry> = Vec::new();
    let mut count = 0;
    for round in 0..12 {
        let (mut running, mut said) = start(path.clone())?;
        let mut acknowledged = None;
        for _ in 0..=round * 9 {
            acknowledged = said.recv().await;
            ensure(acknowledged.is_some(), "a process that writes until it is killed", "it has ended")?;
        }
        ok("killing it", running.0.kill())?;
        while let Some(later) = said.recv().await {
            acknowledged = Some(later);
        }
        drop(running);

        let mut journal = ok("opening what a killed process left", backend.open(&place, OWNER).await)?;
        let state = ok("loading", journal.load().await)?;
        let whole = matches!(state.verdict, Verdict::Clean | Verdict::TornTail { .. });
        ensure(whole, "a verdict of an undamaged journal", &state.verdict)?;
        while acknowledged.is_some_and(|acknowledged| count < acknowledged) {
            count += 1;
            let next = write(count, model.len() as u64);
            let from = next.entries.first().map_or(0, |entry| entry.id.index.0.saturating_sub(1));
            model.truncate(usize::try_from(from).unwrap_or(usize::MAX));
            model.extend(next.entries);
        }
        let range = Index(1)..state.last.index.next();
        let found = ok("reading", journal.reader().entries(range, ALL).await)?;
        let next = write(count + 1, model.len() as u64);
        let term = state.hard_state.term.0;
        let seen = format!("term {term}, and the log ends with {}", state.last);
        let expected = format!("writes up to {count} as a whole, and {} or a beginning of it", count + 1);
        let nothing_of_it = found == model && term == count;
        let holds =
            nothing_of_it || (term == count + 1 && (found == model || is_cut_write(&model, &next, &found)));
        if !holds {
            return Err(fail(expected, seen));
        }
        equal("the vote of that term", &state.hard_state.vote, &Vote::For(NodeId(term)))?;
        // The child goes on after the vote that it finds, be its entries there or not.
        (model, count) = (found, term);
    }
    Ok(())
}
