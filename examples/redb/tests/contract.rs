//! The contract of state machines, clause by clause.

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use raft_core::node::typed::encode;
use raft_redb::{Ask, Options, Store};
use raft_testkit::conformance::Random;
use raft_testkit::conformance::state_machine::StateMachineBackend;
use tempfile::TempDir;

/// Stores, each in a folder of its own.
#[derive(Default)]
struct Stores(Mutex<Vec<TempDir>>);

/// Few transactions are synced, so that what is not is lost again and again.
fn options() -> Options {
    let mut options = Options::default();
    options.sync_every_bytes = 500;
    options.cache_bytes = 1 << 20;
    options
}

impl Stores {
    fn folder(&self) -> std::path::PathBuf {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        self.0.lock().unwrap().push(folder);
        path
    }
}

#[async_trait]
impl StateMachineBackend for Stores {
    type Machine = Store;

    fn machine(&self) -> Store {
        Store::open(&self.folder(), options()).unwrap()
    }

    fn command(&self, random: &mut Random) -> Bytes {
        let key = format!("key-{}", random.below(20));
        let ask = match random.below(10) {
            0 => Ask::Remove(key),
            1..4 => Ask::Put(key, vec![7; usize::try_from(random.below(30)).unwrap()]),
            _ => Ask::Add(key, random.below(100)),
        };
        encode(&ask).unwrap().into()
    }

    /// As after a kill: nothing is closed, and what the file has at that moment is all there is.
    async fn restart(&self, machine: Store) -> Store {
        let path = self.folder();
        std::fs::copy(machine.path(), &path).unwrap();
        drop(machine);
        Store::open(&path, options()).unwrap()
    }
}

raft_testkit::state_machine_conformance! { backend: Stores::default() }
