//! A durable write of 1 to 256 entries of 256 bytes: bare `pwrite` + `fdatasync`, the store, and the
//! store behind its thread. The difference to the first is what the journal costs. Then: opening.
//!
//! `cargo bench -p raft-log-file --bench append`; `TMPDIR` chooses the disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use raft_core::backend::{Journal, JournalWrite};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{ClusterId, GroupId, LogId, NodeId};
use raft_log_file::vfs::OsVfs;
use raft_log_file::{Durability, FileJournal, Options, Owner, Store};

const SIZE: usize = 256;
const FILE: u64 = 16 << 20;

fn write_of(next: &mut u64, count: u64, data: &Bytes) -> JournalWrite {
    let mut write = JournalWrite::default();
    let entry = |index| Entry { id: LogId::new(1, index), kind: EntryKind::Commands, data: data.clone() };
    write.entries = (*next..*next + count).map(entry).collect();
    *next += count;
    write
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    group.sample_size(20).warm_up_time(std::time::Duration::from_millis(300));
    group.measurement_time(std::time::Duration::from_secs(2));
    let data = Bytes::from(vec![7; SIZE]);
    let owner = Owner { cluster: ClusterId(1), group: GroupId(0), node: NodeId(1) };
    for count in [1_u64, 16, 64, 256] {
        group.throughput(Throughput::Elements(count));

        group.bench_function(BenchmarkId::new("bare", count), |b| {
            let file: File = tempfile::tempfile().unwrap();
            file.write_all_at(&vec![0; FILE as usize], 0).unwrap();
            file.sync_all().unwrap();
            let buffer = vec![7; (count as usize * SIZE).next_multiple_of(4096)];
            let mut at = 0;
            b.iter(|| {
                file.write_all_at(&buffer, at).unwrap();
                file.sync_data().unwrap();
                at = (at + buffer.len() as u64) % (FILE - buffer.len() as u64 + 1) / 4096 * 4096;
            });
        });

        group.bench_function(BenchmarkId::new("store", count), |b| {
            let dir = tempfile::tempdir().unwrap();
            let vfs = Arc::new(OsVfs::new(dir.path()));
            let mut store = Store::create(vfs, owner, None, Options::default(), 1).unwrap();
            let mut next = 1;
            b.iter(|| {
                store.write(&write_of(&mut next, count, &data)).unwrap();
            });
        });

        group.bench_function(BenchmarkId::new("journal", count), |b| {
            let dir = tempfile::tempdir().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let Owner { cluster, group, node } = owner;
            let create = FileJournal::create(dir.path(), cluster, group, node, None, Options::default());
            let mut journal = runtime.block_on(create).unwrap();
            let mut next = 1;
            b.iter(|| runtime.block_on(journal.write(write_of(&mut next, count, &data))).unwrap());
        });
    }
    group.finish();
}

/// Reading and checking a whole journal at its opening, with the new segment that each opening makes.
fn open(c: &mut Criterion) {
    const LOG: u64 = 128 << 20;
    let mut group = c.benchmark_group("open");
    group
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(100))
        .throughput(Throughput::Bytes(LOG));
    let owner = Owner { cluster: ClusterId(1), group: GroupId(0), node: NodeId(1) };
    for entry_bytes in [256, 4096, 65_536_u64] {
        let dir = tempfile::tempdir().unwrap();
        let vfs = Arc::new(OsVfs::new(dir.path()));
        let options = Options::default().durability(Durability::Never);
        let mut store = Store::create(vfs.clone(), owner, None, options.clone(), 1).unwrap();
        let data = Bytes::from(vec![7; entry_bytes as usize]);
        let mut next = 1;
        while next * entry_bytes < LOG {
            store.write(&write_of(&mut next, (1 << 18) / entry_bytes, &data)).unwrap();
        }
        store.close().unwrap();
        drop(store);
        group.bench_function(BenchmarkId::from_parameter(entry_bytes), |b| {
            b.iter(|| Store::open(vfs.clone(), owner, options.clone(), 2).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, append, open);
criterion_main!(benches);
