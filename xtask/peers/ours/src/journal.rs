//! Journals alone, one thread, each batch durable before the next.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use clap::{Subcommand, ValueEnum};
use raft_core::backend::{Journal, JournalError, JournalWrite};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, Index, LogId, NodeId};
use raft_log_file::vfs::OsVfs;
use raft_log_file::{Durability, FileJournal, Store};
use raft_log_sqlite::SqliteJournal;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const CLUSTER: ClusterId = ClusterId(1);
const GROUP: GroupId = GroupId(0);
const NODE: NodeId = NodeId(1);
const BYTES: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The file journal's store, in the calling thread.
    File,
    /// The file journal as a node has it, behind its thread.
    FileThread,
    /// The SQLite journal as a node has it.
    Sqlite,
}

#[derive(Subcommand)]
pub enum What {
    /// Durable batches of entries of 256 bytes, or of `--bytes`.
    Append {
        kind: Kind,
        dir: PathBuf,
        batch: u64,
        secs: f64,
        #[arg(long, default_value_t = BYTES)]
        bytes: usize,
    },
    /// So many entries, a thousand a batch.
    Fill { kind: Kind, dir: PathBuf, entries: u64 },
    /// Opens what `fill` has left.
    Open { kind: Kind, dir: PathBuf },
    /// Reads all of it in order.
    Read { kind: Kind, dir: PathBuf },
}

type Answer<T> = Result<T, String>;
type Read = Result<Vec<Entry>, JournalError>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn owner() -> raft_log_file::Owner {
    raft_log_file::Owner { cluster: CLUSTER, group: GROUP, node: NODE }
}

/// Incompressible.
fn payloads(bytes: usize) -> Vec<Bytes> {
    let mut seed = 88_172_645_463_325_252_u64;
    let mut one = || {
        let mut data = vec![0; bytes];
        for part in data.chunks_mut(8) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            part.copy_from_slice(&seed.to_le_bytes()[..part.len()]);
        }
        Bytes::from(data)
    };
    (0..4096).map(|_| one()).collect()
}

fn write_of(next: &mut u64, count: u64, payloads: &[Bytes]) -> JournalWrite {
    let mut write = JournalWrite::default();
    let entry = |index: u64| {
        let data = payloads[index as usize % payloads.len()].clone();
        Entry { id: LogId::new(1, index), kind: EntryKind::Commands, data }
    };
    write.entries = (*next..*next + count).map(entry).collect();
    *next += count;
    write
}

/// Whatever is written to.
enum Open {
    Store(Box<Store>),
    Journal(Box<dyn Journal>, Runtime),
}

impl Open {
    fn create(kind: Kind, dir: &Path) -> Answer<Self> {
        let _ = std::fs::remove_dir_all(dir);
        Ok(match kind {
            Kind::File => {
                std::fs::create_dir_all(dir).map_err(text)?;
                let vfs = Arc::new(OsVfs::new(dir));
                let options = raft_log_file::Options::default();
                Self::Store(Box::new(Store::create(vfs, owner(), None, options, 1).map_err(text)?))
            }
            Kind::FileThread => {
                let runtime = runtime()?;
                let made = FileJournal::create(dir, CLUSTER, GROUP, NODE, None, raft_log_file::Options::default());
                Self::Journal(Box::new(runtime.block_on(made).map_err(text)?), runtime)
            }
            Kind::Sqlite => {
                let runtime = runtime()?;
                let made = SqliteJournal::create(dir, CLUSTER, GROUP, NODE, None, raft_log_sqlite::Options::default());
                Self::Journal(Box::new(runtime.block_on(made).map_err(text)?), runtime)
            }
        })
    }

    fn again(kind: Kind, dir: &Path) -> Answer<Self> {
        Ok(match kind {
            Kind::File => {
                let options = raft_log_file::Options::default();
                Self::Store(Box::new(Store::open(Arc::new(OsVfs::new(dir)), owner(), options, 2).map_err(text)?))
            }
            Kind::FileThread => {
                let runtime = runtime()?;
                let made = FileJournal::open(dir, CLUSTER, GROUP, NODE, raft_log_file::Options::default());
                Self::Journal(Box::new(runtime.block_on(made).map_err(text)?), runtime)
            }
            Kind::Sqlite => {
                let runtime = runtime()?;
                let made = SqliteJournal::open(dir, CLUSTER, GROUP, NODE, raft_log_sqlite::Options::default());
                Self::Journal(Box::new(runtime.block_on(made).map_err(text)?), runtime)
            }
        })
    }

    fn write(&mut self, write: JournalWrite) -> Answer<()> {
        match self {
            Self::Store(store) => {
                if let Some(job) = store.spare_job() {
                    // As the journal's second thread does, beside the writes.
                    store.install_spare(job.run());
                }
                store.write(&write).map_err(text)
            }
            Self::Journal(journal, runtime) => runtime.block_on(journal.write(write)).map_err(text),
        }
    }
}

fn runtime() -> Answer<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)
}

pub fn run(what: &What) -> Answer<Value> {
    match what {
        What::Append { kind, dir, batch, secs, bytes } => append(*kind, dir, *batch, *secs, *bytes),
        What::Fill { kind, dir, entries } => fill(*kind, dir, *entries),
        What::Open { kind, dir } => {
            let begun = Instant::now();
            let open = Open::again(*kind, dir)?;
            let took = begun.elapsed().as_secs_f64();
            drop(open);
            Ok(json!({ "ms": took * 1e3 }))
        }
        What::Read { kind, dir } => read(*kind, dir),
    }
}

fn append(kind: Kind, dir: &Path, batch: u64, secs: f64, bytes: usize) -> Answer<Value> {
    let mut journal = Open::create(kind, dir)?;
    let payloads = payloads(bytes);
    let (mut next, mut took) = (1, Vec::new());
    let begun = Instant::now();
    while begun.elapsed().as_secs_f64() < secs {
        let write = write_of(&mut next, batch, &payloads);
        let sent = Instant::now();
        journal.write(write)?;
        took.push(sent.elapsed().as_nanos() as f64 / 1e3);
    }
    let all = begun.elapsed().as_secs_f64();
    took.sort_by(f64::total_cmp);
    let at = |part: f64| took.get(((took.len() as f64 - 1.0) * part) as usize).copied().unwrap_or(0.0);
    Ok(json!({ "per_s": (next - 1) as f64 / all, "p50_us": at(0.5), "p99_us": at(0.99), "syncs": took.len() }))
}

fn fill(kind: Kind, dir: &Path, entries: u64) -> Answer<Value> {
    let payloads = payloads(BYTES);
    let begun = Instant::now();
    let mut next = 1;
    if kind == Kind::Sqlite {
        let mut journal = Open::create(kind, dir)?;
        while next <= entries {
            journal.write(write_of(&mut next, 1000, &payloads))?;
        }
    } else {
        let _ = std::fs::remove_dir_all(dir);
        std::fs::create_dir_all(dir).map_err(text)?;
        let options = raft_log_file::Options::default().durability(Durability::Never);
        let mut store = Store::create(Arc::new(OsVfs::new(dir)), owner(), None, options, 1).map_err(text)?;
        while next <= entries {
            store.write(&write_of(&mut next, 1000, &payloads)).map_err(text)?;
        }
        store.close().map_err(text)?;
    }
    Ok(json!({ "seconds": begun.elapsed().as_secs_f64() }))
}

fn read(kind: Kind, dir: &Path) -> Answer<Value> {
    let (last, read): (Index, Box<dyn Fn(Range<Index>) -> Read>) = match Open::again(kind, dir)? {
        Open::Store(store) => {
            let reader = store.reader();
            (store.load().map_err(text)?.last.index, Box::new(move |range| reader.entries(range, u64::MAX)))
        }
        Open::Journal(mut journal, runtime) => {
            let last = runtime.block_on(journal.load()).map_err(text)?.last.index;
            let read = move |range| runtime.block_on(journal.reader().entries(range, u64::MAX));
            (last, Box::new(read))
        }
    };
    let begun = Instant::now();
    let (mut next, mut count, mut bytes) = (Index(1), 0_u64, 0_u64);
    while next <= last {
        let range = next..Index((next.0 + 1000).min(last.0 + 1));
        let entries = read(range).map_err(text)?;
        count += entries.len() as u64;
        bytes += entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
        next = entries.last().map(|entry| entry.id.index.next()).ok_or("a hole")?;
    }
    Ok(json!({ "entries": count, "bytes": bytes, "per_s": count as f64 / begun.elapsed().as_secs_f64() }))
}
