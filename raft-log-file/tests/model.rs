//! Whatever is done to it, the journal holds what the plainest model of a journal holds.

mod support;

use proptest::prelude::*;
use raft_core::backend::{JournalError, Verdict};
use raft_core::ids::{Index, LogId};
use raft_log_file::Durability;
use support::{MemVfs, Model, append, create, data, entry, open, options, peer, vote, voters};

#[derive(Clone, Debug)]
enum Action {
    Append { count: u64, size: usize, vote: Option<u64>, peers: Option<u64> },
    Conflict { back: u64, count: u64, size: usize },
    Gap { beyond: u64 },
    Purge { part: u64 },
    Reset { ahead: u64 },
    Mark,
    Sync,
    Spare,
    Reopen { close: bool },
    Read { from: u64, length: u64, max_bytes: u64 },
}

fn actions() -> impl Strategy<Value = Action> {
    let size = prop_oneof![4 => 0..200_usize, 2 => 200..5000_usize, 1 => 5000..40_000_usize];
    prop_oneof![
        8 => (0..5_u64, size.clone(), prop::option::of(1..4_u64), prop::option::of(1..9_u64))
            .prop_map(|(count, size, vote, peers)| Action::Append { count, size, vote, peers }),
        3 => (0..6_u64, 0..3_u64, size).prop_map(|(back, count, size)| Action::Conflict { back, count, size }),
        1 => (1..3_u64).prop_map(|beyond| Action::Gap { beyond }),
        1 => (0..100_u64).prop_map(|part| Action::Purge { part }),
        1 => (0..20_u64).prop_map(|ahead| Action::Reset { ahead }),
        1 => Just(Action::Mark),
        1 => Just(Action::Sync),
        2 => Just(Action::Spare),
        2 => any::<bool>().prop_map(|close| Action::Reopen { close }),
        4 => (0..20_u64, 0..20_u64, 0..6000_u64)
            .prop_map(|(from, length, max_bytes)| Action::Read { from, length, max_bytes }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn same_as_the_model(steps in prop::collection::vec(actions(), 1..40), never in any::<bool>()) {
        let options = options().durability(if never { Durability::Never } else { Durability::Always });
        let vfs = MemVfs::default();
        let initial = voters(3);
        let mut store = create(&vfs, Some(&initial), options.clone()).unwrap();
        let mut model = Model::new(Some(&initial));
        let mut term = 1;
        for step in steps {
            match step {
                Action::Append { count, size, vote: voted, peers } => {
                    let next = model.last().index.0 + 1;
                    let mut write = append((next..next + count).map(|index| entry(term, index, data(index, size))).collect());
                    write.hard_state = voted.map(|node| vote(term, node));
                    write.known_peers = peers.map(|count| (0..count).map(peer).collect());
                    prop_assert_eq!(store.write(&write), Ok(()));
                    model.write(&write);
                }
                Action::Conflict { back, count, size } => {
                    term += 1;
                    let from = model.last().index.0.saturating_sub(back).max(model.purged.index.0 + 1);
                    let mut write = append((from..from + count).map(|index| entry(term, index, data(index, size))).collect());
                    write.truncate_from = Some(Index(from));
                    prop_assert_eq!(store.write(&write), Ok(()));
                    model.write(&write);
                }
                Action::Gap { beyond } => {
                    let expected = model.last().index.next();
                    let got = Index(expected.0 + beyond);
                    let refused = store.write(&append(vec![entry(term, got.0, "x")]));
                    prop_assert_eq!(refused, Err(JournalError::Gap { expected, got }));
                }
                Action::Purge { part } => {
                    let at = model.entries.len() * part as usize / 100;
                    if let Some(id) = model.entries.get(at).map(|entry| entry.id) {
                        let wrong = LogId { term: raft_core::ids::Term(id.term.0 + 1), ..id };
                        let refused = matches!(store.purge(wrong), Err(JournalError::Refused { .. }));
                        prop_assert!(refused);
                        prop_assert_eq!(store.purge(id), Ok(()));
                        model.purge(id);
                    }
                }
                Action::Reset { ahead } => {
                    term += 1;
                    let to = LogId::new(term, model.purged.index.0 + ahead);
                    prop_assert_eq!(store.reset(to), Ok(()));
                    model.reset(to);
                }
                Action::Mark => prop_assert_eq!(store.mark(), Ok(())),
                Action::Sync => prop_assert_eq!(store.sync(), Ok(())),
                Action::Spare => {
                    if let Some(job) = store.spare_job() {
                        store.install_spare(job.run());
                    }
                }
                Action::Reopen { close } => {
                    if close {
                        prop_assert_eq!(store.close(), Ok(()));
                    }
                    drop(store);
                    store = open(&vfs, options.clone()).unwrap();
                    prop_assert_eq!(store.load().unwrap().verdict, Verdict::Clean);
                    prop_assert!(store.findings().is_empty(), "{:?}", store.findings());
                }
                Action::Read { from, length, max_bytes } => {
                    let range = Index(from)..Index(from + length);
                    let found = store.reader().entries(range.clone(), max_bytes);
                    if length == 0 {
                        continue;
                    }
                    if range.start <= model.purged.index {
                        prop_assert_eq!(found, Err(JournalError::Compacted { purged: model.purged }));
                    } else if range.end > model.last().index.next() {
                        prop_assert_eq!(found, Err(JournalError::OutOfRange { last: model.last().index }));
                    } else {
                        let found = found.unwrap();
                        let skip = (from - model.purged.index.0 - 1) as usize;
                        let expected = &model.entries[skip..skip + length as usize];
                        prop_assert!(!found.is_empty());
                        prop_assert_eq!(&found[..], &expected[..found.len()]);
                        // All that fit, and no more.
                        let bytes = |count: usize| expected[..count].iter().map(|entry| entry.data.len() as u64).sum::<u64>();
                        prop_assert!(found.len() == 1 || bytes(found.len()) <= max_bytes);
                        let more = found.len() < expected.len() && bytes(found.len() + 1) <= max_bytes;
                        prop_assert!(!more || bytes(found.len()) == max_bytes, "{} of {}", found.len(), expected.len());
                    }
                }
            }
            let found = Model::of(&store);
            prop_assert_eq!(&found, &model);
        }
    }
}
