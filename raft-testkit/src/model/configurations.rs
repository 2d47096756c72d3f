//! What is explored, and within which bounds.

use super::{Bounds, Flaw, Start, Step};

const BASIC: Bounds = Bounds {
    name: "basic",
    about: "elections, replication, and a crash that loses what is not synced",
    nodes: 3,
    terms: 3,
    proposals: 2,
    crashes: 1,
    damages: 0,
    reads: 0,
    anywhere: false,
    changes: 0,
    founders: 0,
    plan: &[],
    transfers: 0,
    silences: 3,
    snapshots: 0,
    ticks: 0,
    rounds: 1,
    messages: 40,
    copies: None,
    start: Start::Nothing,
    eager: false,
    flaw: Flaw::None,
};

/// The configurations of reliability §4b that concern what exists.
///
/// # Examples
/// ```
/// use raft_testkit::model::CONFIGURATIONS;
///
/// // As `cargo xtask model --list` shows them.
/// let joint = CONFIGURATIONS.iter().find(|bounds| bounds.name == "joint-elections").unwrap();
/// assert!(joint.changes > 0 && !joint.about.is_empty());
/// ```
pub const CONFIGURATIONS: &[Bounds] = &[
    BASIC,
    Bounds {
        name: "succession",
        about: "a leader with a log is replaced, and crashes lose what is not synced",
        terms: 3,
        start: Start::Led,
        ..BASIC
    },
    Bounds {
        name: "transfer",
        about: "pre-vote, check-quorum and hand-over",
        proposals: 1,
        crashes: 0,
        transfers: 1,
        silences: 4,
        rounds: 3,
        start: Start::Led,
        ..BASIC
    },
    Bounds {
        name: "probation",
        about: "a node loses the end of its log and keeps its hard state (M10)",
        terms: 3,
        proposals: 2,
        crashes: 0,
        damages: 1,
        silences: 2,
        rounds: 2,
        copies: Some(2),
        start: Start::Led,
        eager: true,
        ..BASIC
    },
    Bounds {
        name: "probation-delayed",
        about: "the same; an append and an acknowledgement from before that are still on their way (M10)",
        terms: 2,
        proposals: 2,
        crashes: 0,
        damages: 1,
        silences: 2,
        rounds: 2,
        copies: Some(0),
        start: Start::Delayed,
        eager: true,
        ..BASIC
    },
    Bounds {
        name: "read-index",
        about: "linearizable reads while leaders change",
        proposals: 1,
        crashes: 0,
        reads: 1,
        rounds: 1,
        copies: Some(2),
        start: Start::Led,
        eager: true,
        ..BASIC
    },
    Bounds {
        name: "follower-read",
        about: "a follower asks its leader for a read index while leaders change",
        proposals: 1,
        crashes: 0,
        reads: 1,
        anywhere: true,
        rounds: 1,
        copies: Some(2),
        start: Start::Led,
        eager: true,
        ..BASIC
    },
    Bounds {
        name: "lease",
        about: "reads without a round while leaders change, hand over and restart, on clocks of which one may be slow",
        terms: 2,
        proposals: 0,
        crashes: 1,
        reads: 1,
        transfers: 1,
        silences: 0,
        ticks: 4,
        rounds: 4,
        copies: Some(1),
        start: Start::Led,
        eager: true,
        ..BASIC
    },
    Bounds {
        name: "snapshot",
        about: "a node needs a snapshot, since the log before it is gone, while leaders change and crash (7)",
        terms: 2,
        proposals: 1,
        crashes: 1,
        snapshots: 1,
        silences: 1,
        rounds: 1,
        copies: Some(1),
        start: Start::Behind,
        ..BASIC
    },
    Bounds {
        name: "joint",
        about: "one voter of three is replaced by a fourth node while leaders change and crash (6)",
        nodes: 4,
        founders: 0b0111,
        terms: 3,
        proposals: 1,
        crashes: 1,
        changes: 1,
        plan: &[Step::Replace(3, 4)],
        silences: 1,
        rounds: 2,
        copies: Some(1),
        start: Start::Led,
        ..BASIC
    },
    Bounds {
        name: "joint-begun",
        about: "the same, and the joint membership is in the leader's log when it begins",
        nodes: 4,
        founders: 0b0111,
        terms: 2,
        proposals: 1,
        crashes: 1,
        changes: 1,
        plan: &[Step::Replace(3, 4)],
        silences: 1,
        rounds: 1,
        copies: Some(0),
        start: Start::Joint,
        ..BASIC
    },
    Bounds {
        name: "joint-elections",
        about: "the same, all but the one that goes have it, and stand for election",
        nodes: 4,
        founders: 0b0111,
        terms: 2,
        proposals: 0,
        crashes: 0,
        changes: 1,
        plan: &[Step::Replace(3, 4)],
        silences: 0,
        rounds: 1,
        copies: Some(0),
        start: Start::JointSilent,
        eager: true,
        ..BASIC
    },
    Bounds {
        name: "growing",
        about: "from one voter to two and to three while leaders change and crash (6)",
        founders: 0b001,
        terms: 3,
        proposals: 0,
        crashes: 1,
        changes: 2,
        plan: &[Step::Add(2), Step::Add(3)],
        silences: 1,
        rounds: 2,
        copies: Some(1),
        start: Start::Led,
        eager: true,
        ..BASIC
    },
];
