//! Failing calls: at the n-th call for every n, the journal stops for good or goes on as if nothing
//! were, and what was acknowledged is there afterwards, for a reopened process and after a crash.

mod support;

use std::io::ErrorKind;

use raft_core::backend::{JournalError, JournalWrite, OpenError, Verdict};
use raft_core::ids::{Index, LogId};
use raft_log_file::Store;
use support::{
    CrashPoint, Fault, Image, MemVfs, Model, append, create, data, entry, open, options, vote, voters,
};

fn writes() -> Vec<JournalWrite> {
    let mut writes = Vec::new();
    for n in 0..9_u64 {
        let mut write = append((0..2).map(|k| entry(1 + n / 4, 2 + 2 * n + k, data(n + k, 1200))).collect());
        write.hard_state = n.is_multiple_of(3).then(|| vote(1 + n / 4, n));
        writes.push(write);
    }
    writes[4].truncate_from = Some(Index(9));
    writes[4].entries = [entry(2, 9, data(1, 9000))].into();
    for (n, write) in writes.iter_mut().enumerate().skip(5) {
        write.entries = [entry(3, 5 + n as u64, data(n as u64, 1500))].into();
    }
    writes
}

/// Runs the workload until the first error; gives what was acknowledged, what may be there, the error.
fn run(vfs: &MemVfs, store: &mut Store, model: &mut Model) -> (Model, Option<JournalError>) {
    for write in writes() {
        let mut attempted = model.clone();
        attempted.write(&write);
        if let Some(job) = store.spare_job() {
            store.install_spare(job.run());
        }
        if let Err(error) = store.write(&write) {
            return (attempted, Some(error));
        }
        *model = attempted;
        if let Err(error) = store.mark() {
            return (model.clone(), Some(error));
        }
        let _ = vfs;
    }
    (model.clone(), None)
}

/// All that is legal after a failed write: before, after its hard state, after all of it.
fn legal(model: &Model, attempted: &Model) -> [Model; 3] {
    let voted = Model { hard_state: attempted.hard_state, ..model.clone() };
    [model.clone(), voted, attempted.clone()]
}

fn durable(base: &Image, vfs: &MemVfs) -> Image {
    let mut point = CrashPoint::of(base);
    for op in vfs.ops() {
        point.advance(&op);
    }
    point.durable()
}

fn each_call_fails(kind: ErrorKind) {
    let initial = voters(3);
    let mut failures = 0;
    for n in 0.. {
        let vfs = MemVfs::default();
        let mut store = create(&vfs, Some(&initial), options()).unwrap();
        let mut model = Model::new(Some(&initial));
        vfs.set_fault(Some(Fault::Once(n, kind)));
        let (attempted, error) = run(&vfs, &mut store, &mut model);
        let reached = vfs.calls() > n;
        vfs.set_fault(None);
        if let Some(error) = error {
            failures += 1;
            assert!(matches!(error, JournalError::Poisoned { .. } | JournalError::NoSpace { .. }), "{error}");
            if !matches!(error, JournalError::NoSpace { .. }) {
                // For good (J8).
                let next = store.write(&append(Vec::new()));
                assert!(matches!(next, Err(JournalError::Poisoned { .. })), "call {n}");
                assert!(matches!(store.load(), Err(JournalError::Poisoned { .. })));
            }
            // What was acknowledged can still be read (J9).
            let (from, to) = (model.purged.index.next(), model.last().index.next());
            let cut = attempted.entries.iter().zip(&model.entries).take_while(|(a, b)| a == b).count() as u64;
            let found = store.reader().entries(from..to.min(Index(cut + 1)), u64::MAX).unwrap();
            assert_eq!(found, model.entries[..found.len()]);
        }
        drop(store);
        // The machine goes down now, or only the process.
        let legal = legal(&model, &attempted);
        let crashed = MemVfs::of(&durable(&Image::new(), &vfs));
        let store = open(&crashed, options()).unwrap();
        assert!(legal.contains(&Model::of(&store)), "call {n}: {:?} of {legal:?}", Model::of(&store));
        let store = open(&vfs, options()).unwrap();
        let found = Model::of(&store);
        assert!(legal.contains(&found), "call {n}: {found:?} of {legal:?}");
        drop(store);
        // What the reopened process found may never have reached the disk before; now it has.
        let crashed = MemVfs::of(&durable(&Image::new(), &vfs));
        let store = open(&crashed, options()).unwrap();
        assert_eq!(Model::of(&store), found, "call {n}");
        assert_eq!(store.load().unwrap().verdict, Verdict::Clean);
        if !reached {
            assert!(failures > 20, "only {failures} calls were seen to fail");
            return;
        }
    }
}

#[test]
fn an_io_error_at_every_call() {
    each_call_fails(ErrorKind::Other);
}

#[test]
fn no_space_at_every_call() {
    each_call_fails(ErrorKind::StorageFull);
}

#[test]
fn interrupted_calls_are_done_again() {
    for n in 0..80 {
        let vfs = MemVfs::default();
        let initial = voters(3);
        let mut store = create(&vfs, Some(&initial), options()).unwrap();
        let mut model = Model::new(Some(&initial));
        // Only writes are repeated: an interrupted sync may have lost its error.
        vfs.set_fault(Some(Fault::Once(n, ErrorKind::Interrupted)));
        let (attempted, _) = run(&vfs, &mut store, &mut model);
        drop(store);
        vfs.set_fault(None);
        let store = open(&vfs, options()).unwrap();
        assert!(legal(&model, &attempted).contains(&Model::of(&store)));
    }
}

#[test]
fn short_writes_are_completed() {
    let vfs = MemVfs::default();
    vfs.set_fault(Some(Fault::ShortWrites));
    let initial = voters(3);
    let mut store = create(&vfs, Some(&initial), options()).unwrap();
    let mut model = Model::new(Some(&initial));
    assert_eq!(run(&vfs, &mut store, &mut model).1, None);
    assert_eq!(Model::of(&store), model);
    drop(store);
    let crashed = MemVfs::of(&durable(&Image::new(), &vfs));
    assert_eq!(Model::of(&open(&crashed, options()).unwrap()), model);
}

/// P44: cockroach#32631, etcd#14098, dqlite#309, raft-engine#344. The disk fills while a batch is written, at every call
/// of it: a typed error and no half of a batch; what is there is read, by this process and by one that starts on the full
/// disk; with space again writing goes on.
#[test]
fn p44_cockroach_32631_a_disk_that_fills_in_a_batch_and_is_freed() {
    let initial = voters(3);
    let prepared = || {
        let vfs = MemVfs::default();
        let mut store = create(&vfs, Some(&initial), options()).unwrap();
        let mut model = Model::new(Some(&initial));
        let first = append((2..5).map(|index| entry(1, index, data(index, 900))).collect());
        store.write(&first).unwrap();
        model.write(&first);
        (vfs, store, model)
    };
    // Enough for a batch that needs a new segment.
    let batch = append((5..8).map(|index| entry(1, index, data(index, 9000))).collect());
    for calls in 0.. {
        let (vfs, mut store, model) = prepared();
        vfs.set_fault(Some(Fault::Full(calls)));
        let mut after = model.clone();
        after.write(&batch);
        match store.write(&batch) {
            Ok(()) => {
                assert_eq!(Model::of(&store), after);
                assert!(calls > 0, "it never was full");
                return;
            }
            Err(JournalError::NoSpace { .. }) => {}
            Err(other) => panic!("full after {calls} calls: {other}"),
        }
        assert_eq!(Model::of(&store), model, "no half of a batch, and reading goes on");
        drop(store);
        // A process that starts on the full disk reads all of it, if it can start at all.
        if let Ok(store) = open(&vfs, options()) {
            assert_eq!(Model::of(&store), model);
        }
        vfs.set_fault(None);
        let mut store = open(&vfs, options()).unwrap();
        assert_eq!(Model::of(&store), model);
        store.write(&batch).unwrap();
        drop(store);
        assert_eq!(Model::of(&open(&vfs, options()).unwrap()), after);
    }
}

/// A full disk is found before a batch is begun; votes still can be kept; with space it goes on.
#[test]
fn p44_votes_are_kept_on_a_full_disk() {
    let vfs = MemVfs::default();
    let initial = voters(3);
    let mut store = create(&vfs, Some(&initial), options()).unwrap();
    let mut model = Model::new(Some(&initial));
    vfs.set_fault(Some(Fault::Full(0)));
    let (attempted, error) = run(&vfs, &mut store, &mut model);
    assert!(matches!(error, Some(JournalError::NoSpace { .. })), "{error:?}");
    model.hard_state = attempted.hard_state;
    let mut write = append(Vec::new());
    write.hard_state = Some(vote(9, 3));
    store.write(&write).unwrap();
    model.write(&write);
    assert_eq!(Model::of(&store), model);
    vfs.set_fault(None);
    let next = append(vec![entry(9, model.last().index.0 + 1, data(1, 5000))]);
    store.write(&next).unwrap();
    model.write(&next);
    drop(store);
    assert_eq!(Model::of(&open(&vfs, options()).unwrap()), model);
}

#[test]
fn creation_fails_at_every_call_and_is_done_again() {
    let initial = voters(3);
    for n in 0.. {
        let vfs = MemVfs::default();
        vfs.set_fault(Some(Fault::Once(n, ErrorKind::Other)));
        let created = create(&vfs, Some(&initial), options());
        let reached = vfs.calls() > n;
        vfs.set_fault(None);
        if !reached {
            assert!(created.is_ok() && n > 30);
            return;
        }
        if created.is_err() {
            match open(&vfs, options()) {
                // The last step only repeats what is complete.
                Ok(store) => assert_eq!(Model::of(&store), Model::new(Some(&initial))),
                Err(OpenError::NotInitialised) => {
                    let store = create(&vfs, Some(&initial), options()).unwrap();
                    assert_eq!(Model::of(&store), Model::new(Some(&initial)));
                }
                Err(error) => panic!("call {n}: {error}"),
            }
        }
    }
}

#[test]
fn opening_fails_at_every_call_and_is_done_again() {
    let initial = voters(3);
    let vfs = MemVfs::default();
    let mut store = create(&vfs, Some(&initial), options()).unwrap();
    let mut model = Model::new(Some(&initial));
    run(&vfs, &mut store, &mut model);
    drop(store);
    let base = vfs.image();
    for n in 0.. {
        let vfs = MemVfs::of(&base);
        vfs.set_fault(Some(Fault::Once(n, ErrorKind::Other)));
        let opened = open(&vfs, options()).is_ok();
        let reached = vfs.calls() > n;
        vfs.set_fault(None);
        assert!(opened || reached);
        for image in [vfs.image(), durable(&base, &vfs)] {
            assert_eq!(Model::of(&open(&MemVfs::of(&image), options()).unwrap()), model, "call {n}");
        }
        if !reached {
            return;
        }
    }
}

/// A purge or reset that fails leaves the log as it was, or done.
#[test]
fn purge_and_reset_fail_at_every_call() {
    let initial = voters(3);
    for reset in [false, true] {
        for n in 0.. {
            let vfs = MemVfs::default();
            let mut store = create(&vfs, Some(&initial), options()).unwrap();
            let mut model = Model::new(Some(&initial));
            run(&vfs, &mut store, &mut model);
            vfs.set_fault(Some(Fault::Once(n, ErrorKind::Other)));
            let mut after = model.clone();
            if reset {
                after.reset(LogId::new(7, 50));
                let _ = store.reset(LogId::new(7, 50));
            } else {
                after.purge(model.entries[6].id);
                let _ = store.purge(model.entries[6].id);
            }
            let reached = vfs.calls() > n;
            vfs.set_fault(None);
            drop(store);
            for image in [vfs.image(), durable(&Image::new(), &vfs)] {
                let found = Model::of(&open(&MemVfs::of(&image), options()).unwrap());
                assert!(found == model || found == after, "call {n}: {found:?}");
            }
            if !reached {
                break;
            }
        }
    }
}
