//! Runs that are known to lead somewhere, as bytes.

/// What the seeds are made of: each step in its bytes.
mod bytes_of {
    /// A leader's or voter's message, in a term that lies this far above the one before, less 3.
    fn message(from: u8, term: u8, flags: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
        [&[0, 1, from, term, flags, kind], rest].concat()
    }

    pub(super) fn world(size: u8, flavour: u8) -> Vec<u8> {
        vec![size, 0, flavour]
    }

    pub(super) fn written() -> Vec<u8> {
        vec![12, 3, 0]
    }

    /// The first entry is read back from the disk.
    pub(super) fn applied() -> Vec<u8> {
        vec![19, 3, 20, 20]
    }

    pub(super) fn elected() -> Vec<u8> {
        let (pre, real) = (message(0, 3, 9, 2, &[0, 0, 4]), message(0, 3, 0, 2, &[0, 0]));
        [vec![10], pre, written(), real, written()].concat()
    }

    pub(super) fn matched(at: u8) -> Vec<u8> {
        message(0, 3, 0, 13, &[at])
    }

    /// Two entries after the log's end.
    pub(super) fn append(term: u8, commit: u8) -> Vec<u8> {
        message(0, term, 0, 9, &[3, 0, 2, 0, 4, 7, 7, 4, 8, 8, commit])
    }

    /// A whole snapshot of eight bytes, of four entries more than the log has.
    pub(super) fn chunk(term: u8) -> Vec<u8> {
        message(0, term, 0, 18, &[8, 0, 12, 7, 0, 1, 5, 5, 5, 5, 5, 5, 5, 5])
    }
}

/// A node that leads, with a snapshot of its own; one that follows; one whose log begins anew; and others.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    use bytes_of::*;
    let propose = vec![14, 1, 2, 12, 3, 0];
    let lead = [world(0, 0x10), elected(), propose, matched(3), applied(), vec![15, 24]].concat();
    let follow =
        [world(0, 2), append(4, 3), written(), append(3, 4), written(), applied(), applied(), applied()]
            .concat();
    let install = [world(0, 0x10), chunk(4), written(), vec![24], chunk(3), vec![24, 24]].concat();
    let install = [install, written(), vec![24], append(3, 5), written(), vec![20]].concat();
    let others: [&[u8]; 3] =
        [&[1, 0, 0, 10, 12, 3, 0, 14, 1, 2, 12, 3, 0, 20], &[3, 0, 0], &[4, 0, 7, 17, 12, 3]];
    [vec![lead, follow, install], others.map(<[u8]>::to_vec).to_vec()].concat()
}

/// Bytes change their meaning when a choice is added: then the seeds must follow.
#[test]
fn seeds_do_what_they_are_meant_to() {
    use raft_core::ids::Index;
    use raft_core::status::RoleKind;

    use crate::fuzz::Input;
    use crate::world::World;

    let run = |seed: &[u8]| {
        let mut input = Input(seed);
        let mut world = World::new([3, 1, 5, 0, 2][input.below(5)], input.byte());
        while !input.is_empty() {
            world.step(&mut input);
        }
        world.raft.status(world.now)
    };
    let all: Vec<_> = seeds().iter().map(|seed| run(seed)).collect();
    assert_eq!((all[0].role, all[0].applied_index), (RoleKind::Leader, Index(3)));
    assert!(all[0].counters.snapshots_taken > 0);
    assert_eq!((all[1].role, all[1].applied_index), (RoleKind::Follower, Index(4)));
    assert_eq!((all[2].counters.snapshots_installed, all[2].applied_index), (1, Index(7)));
    assert_eq!(all[3].role, RoleKind::Leader);
}
