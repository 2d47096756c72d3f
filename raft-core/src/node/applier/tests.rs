//! However the log is cut into batches, the same is executed and the same is remembered.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use proptest::prelude::*;

use super::super::waiters::BatchReply;
use super::*;
use crate::backend::{Fatal, SnapshotReader, SnapshotSource};
use crate::entry::pack;
use crate::ids::SessionId;
use crate::session::{Limits, LogTime, Op, pack_marked};
use crate::time::Time;

/// Answers with how many commands it has executed by then, and writes them down.
#[derive(Clone, Default)]
struct Counter(Arc<Mutex<Vec<Bytes>>>);

#[async_trait]
impl StateMachine for Counter {
    async fn last_applied(&mut self) -> Result<LogId, Fatal> {
        Ok(LogId::ZERO)
    }

    async fn apply(&mut self, batch: &[Command], _: LogId, responses: &mut Responses) -> Result<(), Fatal> {
        let mut executed = self.0.lock().unwrap();
        for command in batch {
            executed.push(command.data.clone());
            responses.push(vec![executed.len() as u8].into());
        }
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Box<dyn SnapshotSource>, Fatal> {
        Err(Fatal("not here".into()))
    }

    async fn install(&mut self, _: Box<dyn SnapshotReader>) -> Result<(), Fatal> {
        Err(Fatal("not here".into()))
    }
}

/// What an entry is made of: its kind, and numbers to draw from.
type Drawn = (u8, u64, Vec<(u64, u64, u64)>);

fn entry(index: u64, (kind, passed, commands): &Drawn) -> Entry {
    let id = LogId::new(1, index);
    let time = LogTime::from_nanos(index * passed);
    let mut limits = Limits::DEFAULT;
    (limits.sessions, limits.window, limits.records, limits.answer_bytes) = (3, 16, 40, 16);
    let session = SessionId(passed + 1);
    let op = |op| (EntryKind::Session, Stamped { time, op }.encode());
    let (kind, data) = match kind {
        0 => (EntryKind::Noop, Bytes::new()),
        1 | 2 => op(Op::Open { timeout: Duration::from_nanos(40), limits }),
        3 => op(Op::KeepAlive { session, acknowledged_below: *passed }),
        4 => op(Op::Close { session }),
        5 | 6 => {
            let commands: Vec<_> = commands.iter().map(|(a, ..)| Bytes::from(a.to_string())).collect();
            (EntryKind::Commands, pack(&commands))
        }
        _ => {
            let marked = commands.iter().map(|(session, sequence, below)| {
                let (session, acknowledged_below) = (SessionId(*session), *below);
                let mark = Mark { session, sequence: *sequence, acknowledged_below };
                ((session.0 > 0).then_some(mark), Bytes::from(format!("{session}.{sequence}")))
            });
            (EntryKind::Commands, pack_marked(time, &marked.collect::<Vec<_>>()))
        }
    };
    Entry { id, kind, data }
}

/// The commands that were executed, what was answered to all of them, and the table, after a log that came in
/// batches of these sizes.
async fn applied(log: &[Entry], sizes: &[usize]) -> (Vec<Bytes>, Vec<MarkedAnswer>, Table) {
    let mut answers = Vec::new();
    let machine = Counter::default();
    let mut applier = Applier::new(Box::new(machine.clone()), Table::new(), None, Arc::default());
    let mut rest = log;
    for size in sizes.iter().cycle() {
        let (now, later) = rest.split_at((*size).min(rest.len()));
        let Some(last) = now.last() else { break };
        let (mut entries, mut waiting) = (Vec::new(), Vec::new());
        for entry in now {
            let (reply, answer) = ::tokio::sync::oneshot::channel();
            let is_marked = entry.kind == EntryKind::Commands && is_marked(&entry.data);
            let waiters = is_marked.then(|| {
                waiting.push(answer);
                let count = unpack_any(&entry.data).unwrap().commands.len();
                EntryWaiters {
                    term: entry.id.term,
                    since: Time::ZERO,
                    batches: vec![(count, BatchReply::Marked(reply))],
                }
            });
            entries.push((entry.clone(), waiters));
        }
        applier.execute(entries, last.id).await.unwrap();
        for answer in waiting {
            answers.extend(answer.await.unwrap().unwrap());
        }
        rest = later;
    }
    let executed = machine.0.lock().unwrap().clone();
    (executed, answers, applier.table)
}

proptest! {
    #[test]
    fn prop_batches_change_nothing(
        drawn in prop::collection::vec(
            (0_u8..14, 0_u64..8, prop::collection::vec((0_u64..8, 0_u64..16, 0_u64..3), 0..8)),
            1..60,
        ),
        sizes in prop::collection::vec(1_usize..9, 1..5),
    ) {
        let log: Vec<Entry> = (1..).zip(&drawn).map(|(index, drawn)| entry(index, drawn)).collect();
        let runtime = ::tokio::runtime::Builder::new_current_thread().build().unwrap();
        let one_by_one = runtime.block_on(applied(&log, &[1]));
        prop_assert_eq!(&runtime.block_on(applied(&log, &sizes)), &one_by_one);
        prop_assert_eq!(&runtime.block_on(applied(&log, &[log.len()])), &one_by_one);
        prop_assert_eq!(Table::decode(&one_by_one.2.encode()), Ok(one_by_one.2.clone()));

        // And who comes back with its state, and no answers, knows as well what was executed.
        let entries = Entries(log.clone());
        let mut remembered = Table::new();
        let last = Index(log.len() as u64);
        runtime.block_on(remember(&entries, Index(1), last, &mut remembered)).unwrap();
        prop_assert_eq!(remembered.ids().collect::<Vec<_>>(), one_by_one.2.ids().collect::<Vec<_>>());
        prop_assert_eq!(remembered.records(), one_by_one.2.records());
    }
}

/// A log that can be read, a few entries at a time.
struct Entries(Vec<Entry>);

#[async_trait]
impl JournalReader for Entries {
    async fn entries(&self, range: Range<Index>, _: u64) -> Result<Vec<Entry>, crate::backend::JournalError> {
        let wanted = |entry: &&Entry| range.contains(&entry.id.index);
        Ok(self.0.iter().filter(wanted).take(7).cloned().collect())
    }
}
