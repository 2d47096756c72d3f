//! What proves that a batch was durable, and what does not; and what is done with what nothing proves.

mod support;

use raft_core::backend::{OpenError, Verdict};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Index, LogId};
use raft_core::membership::Membership;
use raft_log_file::{Case, Durability, Options, Store};
use support::small::{BLOCK, FIRST, SECOND, cases, eight, findings, recover};
use support::{
    CrashPoint, Image, MemVfs, Model, Op, append, create, data, entry, open, options, vote, voters,
};

/// What is done to a store, and to what it should hold.
struct Journal {
    vfs: MemVfs,
    store: Store,
    model: Model,
}

impl Journal {
    fn new(initial: Option<&Membership>, options: Options) -> Self {
        let vfs = MemVfs::default();
        let store = create(&vfs, initial, options).unwrap();
        Self { vfs, store, model: Model::new(initial) }
    }

    /// Of three voters, with entries up to `last`: each is a batch of one block, with the number of its index.
    fn upto(last: u64) -> Self {
        let mut journal = Self::new(Some(&voters(3)), eight());
        journal.fill(1, 2, last);
        journal
    }

    fn write(&mut self, entries: Vec<Entry>) {
        let write = append(entries);
        self.store.write(&write).unwrap();
        self.model.write(&write);
    }

    /// Entries of a term, one by one.
    fn fill(&mut self, term: u64, first: u64, last: u64) {
        for index in first..=last {
            self.write(vec![entry(term, index, data(index, 1500))]);
        }
    }

    /// Replaces what is in the log from the first of the entries on.
    fn replace(&mut self, entries: Vec<Entry>) {
        let mut write = append(entries);
        write.truncate_from = write.entries.first().map(|entry| entry.id.index);
        self.store.write(&write).unwrap();
        self.model.write(&write);
    }

    fn purge(&mut self, upto: LogId) {
        self.store.purge(upto).unwrap();
        self.model.purge(upto);
    }

    /// The process ends.
    fn end(self) -> (Image, Model) {
        drop(self.store);
        (self.vfs.image(), self.model)
    }
}

/// What is left when the entries from `from` on are lost and the node knows it.
fn on_probation(mut model: Model, from: u64) -> Model {
    model.entries.retain(|entry| entry.id.index < Index(from));
    model.hard_state.probation = true;
    model
}

/// A process opens what it reads; then the power fails, and of what was there before only what the disk has is
/// left. Gives what the process has found.
fn survives_a_power_cut(read: &Image, disk: &Image) -> (Verdict, Model) {
    let vfs = MemVfs::of(read);
    let store = open(&vfs, eight()).unwrap();
    let (verdict, found) = (store.load().unwrap().verdict, Model::of(&store));
    drop(store);
    let mut point = CrashPoint::of(disk);
    vfs.ops().iter().for_each(|op| point.advance(op));
    let store = open(&MemVfs::of(&point.durable()), eight()).unwrap();
    assert_eq!(store.load().unwrap().verdict, Verdict::Clean);
    assert_eq!(Model::of(&store), found, "after the power cut");
    (verdict, found)
}

fn without(image: &Image, name: &str, at: usize) -> Image {
    let mut image = image.clone();
    image.get_mut(name).unwrap()[at..at + BLOCK].fill(0);
    image
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// `docs/journal-format.md`, of the header of a batch.
#[test]
fn the_first_batch_says_what_the_document_says() {
    let (image, _) = Journal::upto(1).end();
    let batch = &image[FIRST][BLOCK..2 * BLOCK];
    assert_eq!(batch[..4], *b"RBAT");
    let generation = word(&image["hs.b"], 16).max(word(&image["hs.a"], 16));
    let numbers = [8, 24, 32, 40, 48, 56].map(|at| word(batch, at));
    assert_eq!(
        numbers,
        [1, 0, 0, generation, 1, 0],
        "number, witness, commit, hard state, first index, term"
    );
    assert_eq!(batch[64..72], [1, 0, 0, 0, 1, 0, 0, 0], "one entry");
    assert_eq!(generation, 1);
}

/// The header of a broken batch may be whole: it is no valid record, and proves nothing. What is before it is written
/// again.
#[test]
fn a_broken_batch_does_not_prove_the_one_before() {
    let (mut image, model) = Journal::upto(4).end();
    image.get_mut(FIRST).unwrap()[4 * BLOCK + 700] ^= 1;
    let disk = without(&image, FIRST, 3 * BLOCK);
    let (verdict, found) = survives_a_power_cut(&image, &disk);
    assert_eq!(verdict, Verdict::SuspectTail { from: Index(4) });
    assert_eq!(found, on_probation(model, 4));
}

/// What an opening has written again says of what was durable then: not of the next write, which may be torn.
#[test]
fn a_copy_does_not_prove_what_is_written_behind_it() {
    let (image, mut model) = Journal::upto(4).end();
    let vfs = MemVfs::of(&image);
    let mut store = open(&vfs, eight()).unwrap();
    store.write(&append(vec![entry(1, 5, data(5, 1500))])).unwrap();
    drop(store);
    let mut image = vfs.image();
    image.get_mut(SECOND).unwrap()[2 * BLOCK + 512..2 * BLOCK + 1024].fill(0);
    assert_eq!(cases(&image), [Case::Torn]);
    let (verdict, found, _) = recover(&image);
    assert_eq!(verdict, Verdict::TornTail { discarded_from: Index(5) });
    model.entries.truncate(4);
    assert_eq!(found, model);
}

/// Nor of itself: before the superblock says so nothing does.
#[test]
fn copies_do_not_prove_each_other() {
    let mut journal = Journal::new(Some(&voters(3)), eight().durability(Durability::Never));
    journal.fill(1, 2, 4);
    let (image, model) = journal.end();
    let vfs = MemVfs::of(&image);
    drop(open(&vfs, eight()).unwrap());
    let ops = vfs.ops();
    let named = ops.iter().position(|op| matches!(op, Op::Rename(_, to, _) if to == SECOND)).unwrap();
    let synced = named + ops[named..].iter().position(|op| matches!(op, Op::SyncDir)).unwrap();
    let mut point = CrashPoint::of(&image);
    ops[..=synced].iter().for_each(|op| point.advance(op));
    let copied = point.durable();
    assert_eq!(recover(&copied).1, model);
    for batch in 1..=3 {
        let bytes = &copied[SECOND][batch * BLOCK..];
        assert_eq!(
            (word(bytes, 8), word(bytes, 24)),
            (batch as u64 + 1, 1),
            "the number, and what was proved"
        );
    }
    let mut damaged = copied;
    damaged.get_mut(SECOND).unwrap()[BLOCK + 700] ^= 1;
    assert_eq!(cases(&damaged), [Case::Suspect]);
}

/// What nothing proves may be several batches. They are written one behind the other, and found there.
#[test]
fn all_that_nothing_proves_is_copied_and_can_be_checked() {
    let large = options().segment_bytes(32 * BLOCK as u64).durability(Durability::Never);
    let mut journal = Journal::new(Some(&voters(3)), large);
    for index in 2..4 {
        journal.write(vec![entry(1, index, data(index, 5 * BLOCK - 200))]);
    }
    let (image, mut model) = journal.end();
    let vfs = MemVfs::of(&image);
    let mut store = open(&vfs, options()).unwrap();
    assert_eq!(Model::of(&store), model);
    let mut next = Index(1);
    while next < Index(4) {
        next = store.reader().verify(&(next..Index(4)), 1).unwrap().next;
    }
    // Larger than segments are: there is room for one more, and for the seal.
    let segment = |image: &Image| image[SECOND].len();
    assert_eq!(segment(&vfs.image()), 13 * BLOCK);
    let write = append(vec![entry(1, 4, data(4, 1500))]);
    store.write(&write).unwrap();
    model.write(&write);
    drop(store);
    assert_eq!(segment(&vfs.image()), 13 * BLOCK);
    assert_eq!(vfs.image().keys().filter(|name| name.starts_with("seg-")).count(), 2);
    assert_eq!(recover(&vfs.image()).1, model);
}

/// The segment of the last opening is lost, and all that was written since. The one before it ends as if nothing had
/// been written behind it: the superblock knows better.
#[test]
fn a_segment_that_an_opening_made_is_missed() {
    let mut journal = Journal::upto(3);
    journal.store.close().unwrap();
    let (before, model) = journal.end();
    let vfs = MemVfs::of(&before);
    let mut store = open(&vfs, eight()).unwrap();
    store.write(&append(vec![entry(1, 4, "acknowledged")])).unwrap();
    drop(store);
    let mut image = vfs.image();
    image.remove(SECOND);
    // Space that is given back is not synced.
    image.insert(FIRST.into(), before[FIRST].clone());
    assert_eq!(cases(&image), [Case::SegmentMissing]);
    let (verdict, found, _) = recover(&image);
    assert!(matches!(verdict, Verdict::Corrupt(_)), "{verdict:?}");
    assert_eq!(found, on_probation(model, 4));
}

/// The same, where the opening had copied what nothing proved. The superblock has counted the copy: of what is left it
/// proves nothing, which may never have reached the disk.
#[test]
fn the_superblock_does_not_prove_what_was_copied_elsewhere() {
    for purged in [false, true] {
        let mut journal = Journal::upto(3);
        if purged {
            journal.purge(LogId::new(1, 2));
        }
        journal.fill(1, 4, 4);
        let (before, model) = journal.end();
        let vfs = MemVfs::of(&before);
        drop(open(&vfs, eight()).unwrap());
        let mut image = vfs.image();
        image.remove(SECOND);
        image.insert(FIRST.into(), before[FIRST].clone());
        assert_eq!(cases(&image), [Case::SegmentMissing]);
        let disk = without(&image, FIRST, 4 * BLOCK);
        let (verdict, found) = survives_a_power_cut(&image, &disk);
        assert!(matches!(verdict, Verdict::Corrupt(_)), "{verdict:?}");
        assert_eq!(found, on_probation(model, 5));
    }
}

/// A reset that nothing behind it proves any more is below the floor all the same: it does not set the floor back.
#[test]
fn a_reset_below_the_floor_does_not_set_it_back() {
    let mut journal = Journal::upto(1);
    let to = LogId::new(5, 50);
    journal.store.reset(to).unwrap();
    journal.model.reset(to);
    journal.fill(5, 51, 53);
    journal.purge(LogId::new(5, 52));
    let (mut image, model) = journal.end();
    image.get_mut(FIRST).unwrap().truncate(3 * BLOCK);
    assert_eq!(cases(&image), [Case::DamageProven]);
    let (_, found, _) = recover(&image);
    assert_eq!(found.purged, LogId::new(5, 52));
    assert_eq!(found, on_probation(model, 53));
}

/// Who is asked whether a loss is accepted follows from the membership in force, also where nothing proves it durable.
#[test]
fn a_membership_that_nothing_proves_counts() {
    for (before, after) in [(1, 3), (3, 1)] {
        let mut journal = Journal::new(Some(&voters(before)), eight());
        let id = LogId::new(1, 2);
        journal.write(vec![Entry { id, kind: EntryKind::Membership, data: voters(after).encode() }]);
        journal.fill(1, 3, 3);
        let (mut image, model) = journal.end();
        image.get_mut(FIRST).unwrap()[3 * BLOCK + 700] ^= 1;
        let vfs = MemVfs::of(&image);
        match open(&vfs, eight()) {
            Ok(store) => {
                assert_eq!(after, 3, "a single voter goes on");
                assert_eq!(Model::of(&store), on_probation(model, 3));
            }
            Err(error) => {
                assert_eq!(after, 1, "one of three is refused: {error}");
                assert!(matches!(error, OpenError::Corrupt(_)), "{error:?}");
            }
        }
    }
}

/// What is in doubt begins where a broken batch would have cut the log.
#[test]
fn what_is_in_doubt_begins_with_what_was_cut() {
    let mut journal = Journal::upto(5);
    journal.replace(vec![entry(2, 3, data(9, 1500)), entry(2, 4, data(8, 500))]);
    let (mut image, _) = journal.end();
    image.get_mut(FIRST).unwrap()[6 * BLOCK + 700] ^= 1;
    let seen = findings(&image);
    assert_eq!(seen[0].damage.range, Some(Index(3)..Index(5)));
    let (verdict, found, _) = recover(&image);
    assert_eq!(verdict, Verdict::SuspectTail { from: Index(3) });
    assert_eq!(found.last(), LogId::new(1, 5), "a state that the log once had");
}

/// A broken batch without entries concerns none.
#[test]
fn a_broken_cut_concerns_no_entries() {
    let mut journal = Journal::upto(4);
    let mut write = append(Vec::new());
    write.truncate_from = Some(Index(3));
    write.hard_state = Some(vote(2, 2));
    journal.store.write(&write).unwrap();
    let (mut image, _) = journal.end();
    // In the footer.
    image.get_mut(FIRST).unwrap()[5 * BLOCK + 96 + 9] ^= 1;
    let seen = findings(&image);
    assert_eq!((seen[0].case, &seen[0].damage.range), (Case::Suspect, &None));
    assert_eq!(recover(&image).0, Verdict::SuspectTail { from: Index(3) });
}
