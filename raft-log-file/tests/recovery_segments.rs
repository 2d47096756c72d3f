//! Segments that do not fit together, that the log does not begin with, or that are no part of it.

mod support;

use std::io::{self, ErrorKind};
use std::sync::Arc;

use raft_core::backend::{OpenError, Verdict};
use raft_core::ids::{Index, LogId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_log_file::vfs::{LockError, Vfs, VfsFile};
use raft_log_file::{Case, Store, verify};
use support::small::{BLOCK, FIRST, SECOND, cases, eight, recover};
use support::{Image, MemVfs, Model, OWNER, append, create, data, entry, open, options, voters};

/// A journal of three voters.
fn journal() -> (MemVfs, Store, Model) {
    let (vfs, initial) = (MemVfs::default(), voters(3));
    let store = create(&vfs, Some(&initial), eight()).unwrap();
    (vfs, store, Model::new(Some(&initial)))
}

/// Entries of a term, each a batch of one block.
fn fill(store: &mut Store, model: &mut Model, term: u64, indexes: impl Iterator<Item = u64>) {
    for index in indexes {
        let write = append(vec![entry(term, index, data(index, 1500))]);
        store.write(&write).unwrap();
        model.write(&write);
    }
}

fn segments(image: &Image) -> Vec<&str> {
    image.keys().map(String::as_str).filter(|name| name.starts_with("seg-")).collect()
}

/// A folder that cannot be listed.
struct Unlisted(MemVfs, ErrorKind);

impl Vfs for Unlisted {
    fn list(&self) -> io::Result<Vec<String>> {
        Err(self.1.into())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        self.0.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn VfsFile>> {
        self.0.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.0.unlink(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir()
    }

    fn lock(&self, name: &str) -> Result<Box<dyn Send + Sync>, LockError> {
        self.0.lock(name)
    }
}

/// A folder that is not there has no journal. One that cannot be read may have one: who is told that there is none makes
/// a new node of the same name.
#[test]
fn a_folder_that_cannot_be_read_is_not_an_empty_one() {
    let (vfs, store, _) = journal();
    drop(store);
    for kind in [ErrorKind::NotFound, ErrorKind::PermissionDenied] {
        let folder = Unlisted(vfs.clone(), kind);
        let looked_at = verify(&folder).err();
        let opened = Store::open(Arc::new(folder), OWNER, eight(), 1).err();
        for refused in [looked_at, opened] {
            match refused {
                Some(OpenError::NotInitialised) => assert_eq!(kind, ErrorKind::NotFound),
                Some(OpenError::Io { .. }) => assert_eq!(kind, ErrorKind::PermissionDenied),
                other => panic!("{kind}: {other:?}"),
            }
        }
    }
}

/// The first segment of a large cluster is larger than others: behind the membership there is room for a write, and
/// for the seal.
#[test]
fn a_new_journal_has_room_behind_a_large_membership() {
    let members = (1..=60).map(|id| Member::new(NodeId(id), format!("{id:0>100}.example:1")));
    let initial = Membership::of_voters(members).unwrap();
    let vfs = MemVfs::default();
    let mut store = create(&vfs, Some(&initial), options()).unwrap();
    let mut model = Model::new(Some(&initial));
    let membership = model.entries[0].data.len();
    let size = (membership + 96 + 24 + 32).next_multiple_of(BLOCK) + 3 * BLOCK;
    assert!(size > 4 * BLOCK);
    assert_eq!(vfs.image()[FIRST].len(), size);
    fill(&mut store, &mut model, 1, 2..=2);
    drop(store);
    assert_eq!((segments(&vfs.image()), vfs.image()[FIRST].len()), (vec![FIRST], size));
    assert_eq!(recover(&vfs.image()).1, model);
}

/// A byte that holds nothing is seen as well, and once.
#[test]
fn each_byte_of_a_segment_header_is_looked_at() {
    let (vfs, mut store, mut model) = journal();
    fill(&mut store, &mut model, 1, 2..=3);
    drop(store);
    // In a copy, in the other one, and behind them.
    for at in [40, 1500, 2048 + 40, 4000] {
        let mut image = vfs.image();
        image.get_mut(FIRST).unwrap()[at] ^= 1;
        assert_eq!(cases(&image), [Case::CopyDamaged], "byte {at}");
        assert_eq!(recover(&image).1, model);
    }
}

/// A segment that was put back from another time, when the same number of batches was written, is not what the next one
/// continues.
#[test]
fn a_segment_of_another_branch_is_not_continued() {
    let (vfs, mut store, mut model) = journal();
    fill(&mut store, &mut model, 1, 2..=2);
    drop(store);
    let base = vfs.image();
    let branch = |term: u64| {
        let vfs = MemVfs::of(&base);
        let mut store = open(&vfs, eight()).unwrap();
        store.write(&append(vec![entry(term, 3, data(term, 1500))])).unwrap();
        store.close().unwrap();
        drop(store);
        vfs
    };
    let (one, two) = (branch(4), branch(5));
    drop(open(&two, eight()).unwrap());
    let mut image = two.image();
    assert_eq!(segments(&image).len(), 3);
    assert_eq!(cases(&image), []);
    image.insert(SECOND.into(), one.image()[SECOND].clone());
    // Nothing is in the one that was to continue it.
    assert_eq!(cases(&image), [Case::SegmentUnfinished, Case::SegmentMissing]);
    assert!(matches!(recover(&image).0, Verdict::Corrupt(_)));
}

/// A superblock that was set back does not know of the floor that what follows continues.
#[test]
fn a_gap_is_never_part_of_the_log() {
    // The log begins with a membership, or with a reset; the superblock is set back to before the first floor, or to it.
    for reset in [false, true] {
        for floor_known in [false, true] {
            let vfs = MemVfs::default();
            let initial = voters(3);
            let initial = (!reset).then_some(&initial);
            let mut store = create(&vfs, initial, options().segment_bytes(16 * BLOCK as u64)).unwrap();
            let mut model = Model::new(initial);
            let start = if reset { 10 } else { 1 };
            if reset {
                store.reset(LogId::new(1, start)).unwrap();
                model.reset(LogId::new(1, start));
            }
            fill(&mut store, &mut model, 1, start + 1..=start + 6);
            let mut old = vfs.image();
            if floor_known {
                store.purge(LogId::new(1, start + 2)).unwrap();
                old = vfs.image();
            }
            store.purge(LogId::new(1, start + 4)).unwrap();
            drop(store);
            // The first entry of all, far below the floor.
            let mut image = vfs.image();
            image.get_mut(FIRST).unwrap()[2 * BLOCK + 700] ^= 1;
            let vfs = MemVfs::of(&image);
            let mut store = open(&vfs, eight()).unwrap();
            let floor = LogId::new(1, start + 4);
            let state = store.load().unwrap();
            assert_eq!((state.purged, state.last), (floor, floor));
            store.write(&append(vec![entry(2, start + 5, data(1, 100))])).unwrap();
            drop(store);
            let mut image = vfs.image();
            assert_eq!(cases(&image), []);
            for name in ["super.a", "super.b"] {
                image.insert(name.into(), old[name].clone());
            }
            assert_eq!(cases(&image), [Case::Misplaced], "after a reset: {reset}, floor: {floor_known}");
            let (verdict, found, _) = recover(&image);
            assert!(matches!(verdict, Verdict::Corrupt(_)), "{verdict:?}");
            assert!(found.last().index <= Index(start + 2), "{found:?}");
        }
    }
}

/// A journal whose first segment begins with a mark, and then with entries that were cut again: by `4` and `5` of
/// term 2, which lie in its sixth block.
fn begins_with_what_was_cut() -> (MemVfs, Store, Model) {
    let (vfs, mut store, mut model) = journal();
    fill(&mut store, &mut model, 1, 2..=6);
    store.mark().unwrap();
    fill(&mut store, &mut model, 1, 7..=9);
    let mut write = append(vec![entry(2, 4, data(4, 700)), entry(2, 5, data(5, 700))]);
    write.truncate_from = Some(Index(4));
    store.write(&write).unwrap();
    model.write(&write);
    let upto = LogId::new(2, 4);
    store.purge(upto).unwrap();
    model.purge(upto);
    assert_eq!(segments(&vfs.image()), [SECOND]);
    (vfs, store, model)
}

#[test]
fn a_log_may_begin_with_what_was_cut() {
    let (vfs, store, model) = begins_with_what_was_cut();
    drop(store);
    assert_eq!(cases(&vfs.image()), []);
    assert_eq!(recover(&vfs.image()).1, model);
}

/// Damage took what had replaced entries at the start of the first segment. They continued others that are gone: the log
/// began with them, behind the floor, and a node refused to start with it, since no snapshot came so far.
#[test]
fn what_was_cut_is_not_the_log_behind_a_gap() {
    let (vfs, store, mut model) = begins_with_what_was_cut();
    drop(store);
    let mut image = vfs.image();
    image.get_mut(SECOND).unwrap()[5 * BLOCK + 700] ^= 1;
    assert_eq!(cases(&image), [Case::DamageProven]);
    let vfs = MemVfs::of(&image);
    let mut store = open(&vfs, eight()).unwrap();
    assert!(matches!(store.load().unwrap().verdict, Verdict::Corrupt(_)));
    model.entries.clear();
    model.hard_state.probation = true;
    assert_eq!(Model::of(&store), model);
    assert_eq!(model.last(), LogId::new(2, 4));
    fill(&mut store, &mut model, 3, 5..=6);
    drop(store);
    assert_eq!(recover(&vfs.image()).1, model);
}

/// Power fails before the superblock says where the log begins after a reset: the reset itself says it, and whatever is written
/// behind it continues it. The floor that the superblock still names holds before it, not after.
#[test]
fn a_reset_holds_without_its_superblock() {
    let (vfs, mut store, mut model) = journal();
    fill(&mut store, &mut model, 1, 2..=5);
    store.purge(LogId::new(1, 3)).unwrap();
    model.purge(LogId::new(1, 3));
    let before = vfs.image();
    store.reset(LogId::new(5, 1000)).unwrap();
    model.reset(LogId::new(5, 1000));
    drop(store);
    let mut image = vfs.image();
    for slot in ["super.a", "super.b"] {
        assert!(image.insert(slot.into(), before[slot].clone()).is_some());
    }
    let vfs = MemVfs::of(&image);
    let mut store = open(&vfs, eight()).unwrap();
    assert_eq!((store.load().unwrap().verdict, Model::of(&store)), (Verdict::Clean, model.clone()));
    fill(&mut store, &mut model, 5, 1001..=1001);
    drop(store);
    let (verdict, found, _) = recover(&vfs.image());
    assert_eq!((verdict, found), (Verdict::Clean, model));
}

/// After an opening a purge knows the segments from before it.
#[test]
fn a_purge_after_an_opening_removes_old_segments() {
    let (vfs, mut store, mut model) = journal();
    fill(&mut store, &mut model, 1, 2..=16);
    drop(store);
    let mut store = open(&vfs, eight()).unwrap();
    let before = vfs.image();
    assert_eq!(segments(&before).len(), 4);
    store.purge(LogId::new(1, 13)).unwrap();
    model.purge(LogId::new(1, 13));
    assert_eq!(segments(&vfs.image()), segments(&before)[2..]);
    drop(store);
    assert_eq!(recover(&vfs.image()).1, model);
}

/// A machine that goes down before the files of a purge are removed finds them again: they are removed then. What was
/// purged ends with a segment, or in one.
#[test]
fn what_a_purge_has_left_is_removed() {
    for upto in [6, 7] {
        let (vfs, mut store, mut model) = journal();
        fill(&mut store, &mut model, 1, 2..=8);
        let old = vfs.image()[FIRST].clone();
        store.purge(LogId::new(1, upto)).unwrap();
        model.purge(LogId::new(1, upto));
        drop(store);
        let mut image = vfs.image();
        assert_eq!(segments(&image), [SECOND]);
        image.insert(FIRST.into(), old);
        assert_eq!(cases(&image), []);
        let (verdict, found, recovered) = recover(&image);
        assert_eq!((verdict, found), (Verdict::Clean, model));
        assert!(!recovered.contains_key(FIRST));
    }
}

/// The segment that the log begins with is evidence, whatever its header says.
#[test]
fn a_first_segment_without_a_header_is_kept() {
    let (vfs, mut store, mut model) = journal();
    fill(&mut store, &mut model, 1, 2..=4);
    drop(store);
    let mut image = vfs.image();
    for copy in [0, 2048] {
        image.get_mut(FIRST).unwrap()[copy + 40] ^= 1;
    }
    assert_eq!(cases(&image), [Case::Quarantined, Case::SegmentMissing]);
    let (verdict, _, recovered) = recover(&image);
    assert!(matches!(verdict, Verdict::Corrupt(_)), "{verdict:?}");
    assert_eq!(recovered[FIRST], image[FIRST]);
}

/// A segment that was made aside is used by the next opening, if it is what was made.
#[test]
fn a_spare_that_is_not_as_it_was_made_is_not_used() {
    let (vfs, mut store, mut model) = journal();
    fill(&mut store, &mut model, 1, 2..=3);
    let job = store.spare_job().unwrap();
    store.install_spare(job.run());
    drop(store);
    let good = vfs.image();
    assert_eq!(cases(&good), []);
    let (_, found, recovered) = recover(&good);
    assert_eq!((found, segments(&recovered)), (model.clone(), vec![FIRST, SECOND]));
    // Too short, too long, and with a byte changed that holds nothing.
    let changes: [fn(&mut Vec<u8>); 4] = [
        |spare| spare.truncate(2 * BLOCK),
        |spare| spare.truncate(BLOCK),
        |spare| spare.resize(9 * BLOCK, 0),
        |spare| spare[4000] = 1,
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let mut image = good.clone();
        change(image.get_mut(SECOND).unwrap());
        assert_eq!(cases(&image), [Case::SegmentUnfinished], "change {n}");
        let (verdict, found, recovered) = recover(&image);
        assert_eq!((verdict, found), (Verdict::Clean, model.clone()));
        assert!(!recovered.contains_key(SECOND), "change {n}");
    }
    // Of one that lacks a part of its header nobody knows what else is gone.
    for length in [BLOCK - 1, 100, 0] {
        let mut image = good.clone();
        image.get_mut(SECOND).unwrap().truncate(length);
        assert_eq!(cases(&image), [Case::Quarantined], "{length} bytes");
        let (verdict, found, recovered) = recover(&image);
        assert_eq!((verdict, found), (Verdict::Clean, model.clone()));
        assert_eq!(recovered[SECOND], image[SECOND]);
    }
}
