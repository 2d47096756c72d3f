//! One test for each row of the recovery table, made by damaging a real journal.

mod astray;
mod damage;
mod segments;
mod slots;
#[path = "../support/mod.rs"]
mod support;
mod tail;

use raft_core::backend::Verdict;
use raft_core::ids::Index;
use raft_log_file::{Case, Options, Report, Store, verify};
use support::{Image, MemVfs, Model, append, create, data, entry, open, options, peer, vote, voters};

const BLOCK: usize = 4096;
const FIRST: &str = "seg-0000000000000001.log";

/// A journal of three voters with entries up to `last`, each in a batch of its own; nothing is marked.
fn journal(last: u64) -> (MemVfs, Store, Model) {
    journal_of(3, last)
}

fn journal_of(members: u64, last: u64) -> (MemVfs, Store, Model) {
    let vfs = MemVfs::default();
    let initial = voters(members);
    let mut store = create(&vfs, Some(&initial), options().segment_bytes(8 * BLOCK as u64)).unwrap();
    let mut model = Model::new(Some(&initial));
    let mut write = append(Vec::new());
    write.hard_state = Some(vote(1, 2));
    write.known_peers = Some(vec![peer(2)]);
    store.write(&write).unwrap();
    model.write(&write);
    for index in 2..=last {
        let write = append(vec![entry(1, index, data(index, 1500))]);
        store.write(&write).unwrap();
        model.write(&write);
    }
    (vfs, store, model)
}

fn image(last: u64) -> (Image, Model) {
    let (vfs, _store, model) = journal(last);
    (vfs.image(), model)
}

/// Opens it; what it finds must come again, cleanly, at the next opening.
fn recover(image: &Image) -> (Verdict, Model, MemVfs) {
    let vfs = MemVfs::of(image);
    let store = open(&vfs, Options::default()).unwrap();
    let (verdict, found) = (store.load().unwrap().verdict, Model::of(&store));
    drop(store);
    let store = open(&vfs, Options::default()).unwrap();
    assert_eq!(store.load().unwrap().verdict, Verdict::Clean);
    assert_eq!(Model::of(&store), found);
    (verdict, found, vfs)
}

fn report(image: &Image) -> Report {
    verify(&MemVfs::of(image)).unwrap()
}

/// What was found, but for the segments behind a damage: these are no part of the log any more.
fn cases(report: &Report) -> Vec<Case> {
    report.findings.iter().map(|finding| finding.case).filter(|case| *case != Case::Quarantined).collect()
}

/// What is left when the entries from `from` on are lost and the node knows it.
fn on_probation(mut model: Model, from: u64) -> Model {
    model.entries.retain(|entry| entry.id.index < Index(from));
    model.hard_state.probation = true;
    model
}
