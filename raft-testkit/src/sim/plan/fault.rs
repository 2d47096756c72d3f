//! What may happen to a cluster: faults, and what operators do. `faults/` makes them happen.

use raft_core::message::Lane;

use super::super::disk::{Call, Stray, Tear};
use super::super::executor::Nanos;
use super::super::features::{Moment, Wish};
use super::super::halves::Halves;

/// Whom a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// This one, from 0.
    Node(usize),
    /// Whoever leads at that time.
    Leader,
}

/// What happens between two polls of a node's tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PollEnd {
    /// The process is killed.
    Kill,
    /// The machine loses power.
    PowerCut(Tear),
    /// The process stands still.
    Pause,
}

/// A fault, or something that an operator does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// The process is killed and started again later.
    Kill {
        /// Whom.
        who: Who,
        /// For how long it is gone.
        down: Nanos,
    },
    /// The machine loses power.
    PowerCut {
        /// Whom.
        who: Who,
        /// For how long.
        down: Nanos,
        /// What becomes of what is not synced.
        tear: Tear,
    },
    /// All machines lose power at once.
    PowerCutAll {
        /// For how long.
        down: Nanos,
        /// What becomes of what is not synced.
        tear: Tear,
    },
    /// The machine dies in the middle of a disk's call, some calls from now.
    DieAtCall {
        /// Whom.
        who: Who,
        /// How many calls from now.
        calls: u64,
        /// For how long.
        down: Nanos,
        /// What becomes of what is not synced.
        tear: Tear,
    },
    /// It dies, and again during the recovery that follows, that many times.
    DieInRecovery {
        /// Whom.
        who: Who,
        /// After how many calls each time.
        calls: Vec<u64>,
        /// What becomes of what is not synced.
        tear: Tear,
    },
    /// The process stands still (SIGSTOP).
    Pause {
        /// Whom.
        who: Who,
        /// For how long.
        for_: Nanos,
    },
    /// It is killed, loses power or stands still between two polls of its tasks, however much of a moment's
    /// work is left; and, for each number after the first, so many polls into the life that follows.
    AtPoll {
        /// Whom.
        who: Who,
        /// How.
        end: PollEnd,
        /// After so many polls, of each life.
        polls: Vec<u64>,
        /// For how long.
        for_: Nanos,
    },
    /// Nodes of different sides cannot reach each other; bit `n` says on which side node `n` is.
    Partition {
        /// The sides.
        sides: u64,
        /// For how long.
        for_: Nanos,
    },
    /// Nothing gets from one node to another.
    OneWay {
        /// From whom.
        from: Who,
        /// To whom.
        to: Who,
        /// For how long.
        for_: Nanos,
    },
    /// A node hears nobody, or nobody hears it.
    Deaf {
        /// Whom.
        who: Who,
        /// Whether it is mute rather than deaf.
        mute: bool,
        /// For how long.
        for_: Nanos,
    },
    /// Whoever leads next is cut off soon after.
    Lonely {
        /// How soon.
        after: Nanos,
        /// For how long.
        for_: Nanos,
        /// Who still reaches it and is reached, by bits.
        friends: u64,
        /// So long after, one of the others is made to campaign.
        rival: Option<Nanos>,
    },
    /// A connection breaks.
    Break {
        /// One end.
        a: Who,
        /// The other.
        b: Who,
    },
    /// A lane of a connection stalls.
    Stall {
        /// From whom.
        from: Who,
        /// To whom.
        to: Who,
        /// Which.
        lane: Lane,
        /// For how long.
        for_: Nanos,
    },
    /// A disk is slow.
    Slow {
        /// Whose.
        who: Who,
        /// What a write takes at most.
        takes: Nanos,
        /// For how long.
        for_: Nanos,
    },
    /// A disk does not answer.
    Hang {
        /// Whose.
        who: Who,
        /// For how long.
        for_: Nanos,
    },
    /// A disk is full.
    Full {
        /// Whose.
        who: Who,
        /// For how long.
        for_: Nanos,
    },
    /// A call to the disk fails.
    Fail {
        /// Whose.
        who: Who,
        /// Which kind.
        call: Call,
        /// After so many of them.
        skip: u64,
        /// It is killed first, and this happens while it opens what it has, or later in that life.
        boot: bool,
    },
    /// A stored bit flips.
    Rot {
        /// Whose.
        who: Who,
        /// In a file whose name begins so.
        file: &'static str,
        /// Whether the node is killed right after, so that it is met at once.
        restart: bool,
    },
    /// A read gets what is stored elsewhere.
    Misread {
        /// Whose.
        who: Who,
        /// After so many reads.
        skip: u64,
    },
    /// A write ends elsewhere than it should.
    Astray {
        /// Whose.
        who: Who,
        /// Which.
        write: Stray,
        /// Whether the node is killed soon after.
        restart: bool,
    },
    /// A file is cut or removed while the node is down.
    LoseFile {
        /// Whose.
        who: Who,
        /// Whether all of it.
        whole: bool,
    },
    /// The disk is exchanged for an empty one.
    Wipe {
        /// Whose.
        who: Who,
    },
    /// The disk is set back to a copy of an earlier life.
    SetBack {
        /// Whose.
        who: Who,
    },
    /// The process is told to stop, and started again later.
    Stop {
        /// Whom.
        who: Who,
        /// For how long it is gone.
        down: Nanos,
    },
    /// Leadership is handed over.
    Transfer {
        /// To whom; or to the best.
        to: Option<usize>,
    },
    /// A node is told to campaign.
    Campaign {
        /// Whom.
        who: Who,
    },
    /// A leader that may have a lease is cut off, and everything is tried to elect another one meanwhile.
    Siege {
        /// It is told to hand over, so long before.
        hand_over: Option<Nanos>,
        /// For how long it is cut off.
        for_: Nanos,
        /// So long after, all others are killed, to come up again at once.
        restart: Option<Nanos>,
        /// When one of the others is told to campaign, after the cut.
        tries: Vec<Nanos>,
        /// So long after the cut, the others take its process for dead.
        dead: Option<Nanos>,
    },
    /// A connection breaks, and each end is told that the other's process is gone, which it is not.
    TakenForDead {
        /// One end.
        who: Who,
        /// The other.
        by: Who,
    },
    /// An operator changes the members, all wishes as one change.
    Change {
        /// What.
        wishes: Vec<Wish>,
        /// Through whom.
        through: Who,
        /// Although it puts the cluster at risk.
        force: bool,
        /// How long new voters are waited for.
        wait: Option<Nanos>,
        /// So long after, whoever was asked is killed.
        kill: Option<Nanos>,
        /// Who comes again comes with an empty disk.
        fresh: bool,
    },
    /// Voters are replaced, and while two memberships are in force they cannot reach each other.
    Halves(Halves),
    /// A member whose disk is lost is removed, and added again with a new one.
    Return,
    /// A running node gets other settings.
    Reconfigure {
        /// Which.
        who: Who,
        /// How much it wants to lead.
        priority: Option<i8>,
        /// Appends under way.
        window: Option<usize>,
        /// Bytes kept in memory.
        tail_bytes: Option<u64>,
        /// Of those, the ones that nobody is known to need.
        tail_keep_bytes: Option<u64>,
        /// Bytes in one append.
        append_bytes: Option<u64>,
        /// Bytes that may wait.
        uncommitted_bytes: Option<u64>,
        /// A longer election timeout.
        slower: bool,
    },
    /// A node is told to take a snapshot.
    Snapshot {
        /// Whom.
        who: Who,
    },
    /// A machine dies at a moment in the life of a snapshot, the next time it comes.
    DieDuring {
        /// Whose; or whoever is the next.
        who: Option<Who>,
        /// When.
        moment: Moment,
        /// After so many calls of the disk from there.
        calls: u64,
        /// For how long.
        down: Nanos,
        /// What becomes of what is not synced.
        tear: Tear,
    },
}

impl Fault {
    /// A node gets a longer election timeout, and nothing else that is new.
    pub(super) const fn slower(who: Who) -> Self {
        Self::Reconfigure {
            who,
            priority: None,
            window: None,
            tail_bytes: None,
            tail_keep_bytes: None,
            append_bytes: None,
            uncommitted_bytes: None,
            slower: true,
        }
    }

    /// Its kind, for counting.
    #[must_use]
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::PowerCut { tear: Tear::Zeros | Tear::Garbage, .. } => "power-cut-garbles",
            Self::DieAtCall { tear: Tear::Zeros | Tear::Garbage, .. } => "die-at-call-garbles",
            Self::DieInRecovery { tear: Tear::Zeros | Tear::Garbage, .. } => "die-in-recovery-garbles",
            Self::PowerCut { .. } => "power-cut",
            Self::PowerCutAll { .. } => "power-cut-all",
            Self::DieAtCall { .. } => "die-at-call",
            Self::DieInRecovery { .. } => "die-in-recovery",
            Self::Pause { .. } => "pause",
            Self::Misread { .. } => "read-astray",
            Self::Astray { write: Stray::Small, .. } => "small-write-astray",
            Self::AtPoll { end: PollEnd::Kill, .. } => "kill-at-poll",
            Self::AtPoll { end: PollEnd::PowerCut(_), .. } => "power-cut-at-poll",
            Self::AtPoll { end: PollEnd::Pause, .. } => "pause-at-poll",
            Self::Partition { .. } => "partition",
            Self::OneWay { .. } => "one-way",
            Self::Deaf { .. } => "deaf-or-mute",
            Self::Lonely { .. } => "new-leader-cut-off",
            Self::Break { .. } => "connection-broken",
            Self::TakenForDead { .. } => "taken-for-dead",
            Self::Stall { .. } => "lane-stalled",
            Self::Slow { .. } => "disk-slow",
            Self::Hang { .. } => "disk-hangs",
            Self::Full { .. } => "disk-full",
            Self::Fail { boot: true, .. } => "disk-fails-at-boot",
            Self::Fail { call: Call::Look, .. } => "look-fails",
            Self::Fail { call: Call::Sync, .. } => "sync-fails",
            Self::Fail { call: Call::Write, .. } => "write-fails",
            Self::Fail { call: Call::Read, .. } => "read-fails",
            Self::Fail { .. } => "folder-fails",
            Self::Rot { .. } => "bit-rot",
            Self::Astray { .. } => "write-astray",
            Self::LoseFile { .. } => "file-lost",
            Self::Wipe { .. } => "disk-wiped",
            Self::SetBack { .. } => "disk-set-back",
            Self::Stop { .. } => "stop",
            Self::Transfer { .. } => "transfer",
            Self::Campaign { .. } => "campaign",
            Self::Siege { .. } => "leader-besieged",
            Self::Change { kill: None, .. } => "members-change",
            Self::Change { .. } => "members-change-and-kill",
            Self::Halves(_) => "halves-apart",
            Self::Return => "lost-member-returns",
            Self::Reconfigure { .. } => "settings-change",
            Self::Snapshot { .. } => "snapshot-asked",
            Self::DieDuring { .. } => "die-at-snapshot",
        }
    }
}
