//! Processes that are killed in the middle of their writes, or whose system refuses to write: whatever they
//! have said is durable, is there.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use raft_core::backend::{HardState, Journal, JournalError, JournalWrite, Verdict, Vote};
use raft_core::entry::Entry;
use raft_core::ids::{Index, LogId, NodeId, Term};
use raft_log_sqlite::{Options, SqliteJournal};
use support::{CLUSTER, GROUP, NODE, Place, entry, payload, read_all};

/// Tells the child where to write.
const DIR: &str = "RAFT_LOG_SQLITE_KILL_DIR";

/// What write number `count` does: usually it appends, sometimes it replaces the last entries.
fn write(count: u64, last: u64) -> JournalWrite {
    let from = if count.is_multiple_of(7) { last.saturating_sub(2).max(1) } else { last + 1 };
    let mut write = JournalWrite::default();
    write.truncate_from = (from <= last).then_some(Index(from));
    write.entries = (from..from + 1 + count % 5).map(|index| marked(count, index)).collect();
    write.hard_state = Some(HardState {
        term: Term(count),
        vote: Vote::For(NodeId(count)),
        probation: false,
        ..HardState::default()
    });
    write
}

fn marked(count: u64, index: u64) -> Entry {
    let data = format!("{index} of write {count} ").repeat(1 + (count % 40) as usize);
    Entry { id: LogId::new(count, index), ..entry(index, data) }
}

/// Not a test of its own: writes until it is killed, and says after each write that it is durable.
#[tokio::test]
async fn child() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let options = Options::default().wal_bytes(40 << 10);
    let mut journal = SqliteJournal::open(&dir, CLUSTER, GROUP, NODE, options).await.unwrap();
    let state = journal.load().await.unwrap();
    let (mut last, mut count) = (state.last.index.0, state.hard_state.term.0);
    loop {
        count += 1;
        let next = write(count, last);
        last = next.entries.last().unwrap().id.index.0;
        journal.write(next).await.unwrap();
        println!("durable {count}");
        std::io::stdout().flush().unwrap();
    }
}

#[tokio::test]
async fn what_a_killed_process_has_acknowledged_is_there() {
    let place = Place::new();
    drop(place.create(None).await);
    let mut model: Vec<Entry> = Vec::new();
    let mut count = 0;
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(DIR, place.dir())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let number = |line: String| line.rsplit_once("durable ").and_then(|(_, count)| count.parse().ok());
        let wanted = 1 + round * 9;
        let mut acknowledged = 0;
        for _ in 0..wanted {
            acknowledged = lines.by_ref().map_while(Result::ok).find_map(number).unwrap();
        }
        child.kill().unwrap();
        acknowledged = lines.map_while(Result::ok).filter_map(number).last().unwrap_or(acknowledged);
        child.wait().unwrap();

        assert!(SqliteJournal::verify(&place.dir()).is_ok());
        let mut journal = place.open().await.unwrap();
        let state = journal.load().await.unwrap();
        assert!(matches!(state.verdict, Verdict::Clean | Verdict::TornTail { .. }), "{:?}", state.verdict);
        let apply = |model: &mut Vec<Entry>, count| {
            let next = write(count, model.len() as u64);
            model.truncate(next.entries[0].id.index.0 as usize - 1);
            model.extend(next.entries);
        };
        while count < acknowledged {
            count += 1;
            apply(&mut model, count);
        }
        // One more may be there: as a whole, or its vote alone.
        if state.last != model.last().unwrap().id {
            apply(&mut model, count + 1);
            assert_eq!(state.hard_state.term, Term(count + 1), "the hard state is written first");
        }
        let found = read_all(&journal, 1, state.last.index.0).await;
        assert!(found == model, "round {round}: {} found, {} written", found.len(), model.len());
        let term = state.hard_state.term.0;
        assert!(term == count || term == count + 1, "a vote of {term} after {count}");
        assert_eq!(state.hard_state.vote, Vote::For(NodeId(term)));
        drop(journal);
        // The child goes on after the vote that it finds, be its entries there or not.
        count = term;
    }
    assert!(model.len() > 50);
}

/// Not a test of its own: writes until the system refuses, then says what the journal says.
#[tokio::test]
async fn child_that_cannot_write() {
    let Some(dir) = std::env::var_os(LIMITED).map(PathBuf::from) else { return };
    let options = Options::default().wal_bytes(16 << 20);
    let mut journal = SqliteJournal::open(&dir, CLUSTER, GROUP, NODE, options).await.unwrap();
    let mut last = journal.load().await.unwrap().last.index.0;
    let refused = loop {
        let next = last + 1;
        match journal.write(support::append(vec![entry(next, payload(next))])).await {
            Ok(()) => last = next,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, JournalError::Io { .. } | JournalError::NoSpace { .. }), "{refused:?}");
    let later = journal.write(support::append(vec![entry(last + 1, "later")])).await;
    assert!(matches!(later, Err(JournalError::Poisoned { .. })), "{later:?}");
    assert_eq!(read_all(&journal, 1, last).await.len() as u64, last, "it stays readable");
    println!("durable {last}");
    std::io::stdout().flush().unwrap();
}

/// Tells the child where to write.
const LIMITED: &str = "RAFT_LOG_SQLITE_LIMITED_DIR";

/// A real error of the system: no file may grow beyond 256 KiB, and the signal that says so is ignored.
#[cfg(unix)]
#[tokio::test]
async fn a_write_that_the_system_refuses_poisons_and_loses_nothing() {
    let place = Place::new();
    drop(place.create(None).await);
    let script = "trap '' XFSZ; ulimit -f 512; exec \"$0\" --exact child_that_cannot_write --nocapture";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(LIMITED, place.dir())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let line = out.lines().find_map(|line| line.rsplit_once("durable ")).unwrap();
    let last: u64 = line.1.parse().unwrap();
    assert!(last > 10, "{last}");
    let mut journal = place.open().await.unwrap();
    let state = journal.load().await.unwrap();
    assert!(state.last.index >= Index(last), "{} of {last}: {:?}", state.last, state.verdict);
    let found = read_all(&journal, 1, last).await;
    assert!(found.iter().all(|found| found.data == payload(found.id.index.0)));
    let next = state.last.index.0 + 1;
    journal.write(support::append(vec![entry(next, "on")])).await.unwrap();
}
