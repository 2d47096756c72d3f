//! Points that a run should reach sometimes. One that a long run never reaches says that the workload or
//! the faults are too tame.

macro_rules! points {
    ($($name:ident: $text:literal,)*) => {
        /// Something worth reaching.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(usize)]
        pub(crate) enum Point {
            $(#[doc = $text] $name,)*
        }

        /// All points, with what they are.
        pub(crate) const POINTS: &[(Point, &str)] = &[$((Point::$name, $text),)*];
    };
}

points! {
    LeaderElected: "a leader is elected",
    LeaderOfLaterTerm: "a leader is elected in term 10 or later",
    ElectionLost: "an election is lost",
    SplitVote: "two candidates stand in one term",
    PreVoteDenied: "a pre-vote is denied",
    VoteDenied: "a vote is denied",
    Vetoed: "a candidate is vetoed",
    Embargo: "a vetoed node stands still",
    VoteBlocked: "a node that knows the leader of a term blocks its vote",
    TransferAsked: "an operator hands leadership over",
    TransferDone: "a hand-over ends with the new leader",
    TransferFailed: "a hand-over fails",
    TimeoutNow: "a node campaigns because the leader told it to",
    CampaignAsked: "an operator makes a node campaign",
    QuorumLost: "a leader steps down because it hears of no quorum",
    LeaderGone: "a node campaigns because the leader's process is gone",
    SteppedDownByTerm: "a leader steps down because of a higher term",
    OldLeaderHeard: "a message of a deposed leader arrives",
    TwoLeadersAtOnce: "two nodes lead at one moment, in different terms",
    CommitOldTerm: "an entry of an earlier term is committed",
    FollowerCommits: "a follower learns of a commit",
    CommitWithoutLeaderDisk: "an entry is committed before the leader's own disk has it",
    Truncated: "a follower truncates its log",
    TruncatedDeep: "a follower truncates five entries or more",
    TruncationAcrossSegments: "a truncation reaches into an earlier segment",
    RejectedAppend: "an append is rejected",
    Caught: "a follower that was fifty entries behind has caught up",
    Fetched: "a leader reads entries back from its disk",
    RefusesAll: "a member refuses all voters, which came back with new stores while it was away",
    Spared: "entries for a follower that a quorum can do without wait for each other",
    AppendBatch: "an append carries five entries or more",
    GroupCommit: "several proposals share one entry",
    WriteWithVoteAndEntries: "one write carries a vote and entries",
    BigEntry: "an entry is bigger than a block",
    EntryOfManyBlocks: "an entry is bigger than the smallest segment",
    SegmentFull: "a journal goes on in another segment",
    Marked: "an idle journal writes a mark",
    KilledWhileWriting: "a process is killed during a write",
    PowerCutWhileWriting: "the power fails during a write",
    PowerCutTears: "a power cut keeps some unsynced sectors and loses others",
    CrashAtCall: "a machine dies in the middle of a write",
    CutBetweenPolls: "a node is killed, cut off from power or paused while its tasks hand something over",
    CutWhileStarting: "a node is killed, cut off from power or paused while it starts",
    CrashInRecovery: "a machine dies during recovery",
    CrashInSecondRecovery: "a machine dies during recovery twice in a row",
    TornTail: "recovery leaves out a torn write",
    UnackedSurvives: "an entry that was never acknowledged survives a crash",
    UnackedLost: "an entry that was never acknowledged is lost in a crash",
    VoteSurvivesAlone: "a crash keeps the vote of a write and loses its entries",
    SuspectTail: "recovery finds a suspect tail",
    Corrupt: "recovery finds damage in what was acknowledged",
    ProbationBegins: "a node comes up on probation",
    ProbationEnds: "a node on probation, new or harmed, has its vote",
    DamageHeals: "a node that came up without something it had acknowledged has healed",
    SuspectTailHeals: "a suspect tail ends in probation and heals",
    ProbationSurvivesRestart: "a node restarts while it is on probation",
    DamageMetByReader: "a running node reads damaged entries and stops",
    DamageHarmless: "damage touches nothing that is needed",
    HardStateRepaired: "a damaged copy of the hard state is replaced by its twin",
    HardStateLost: "a node whose hard state is lost refuses to start",
    SyncFailed: "a sync fails and the node stops",
    WriteFailed: "a write fails and the node stops",
    DiskFull: "a disk is full: its node takes nothing",
    SpaceReturns: "a node whose disk was full goes on",
    DamageFound: "a running node finds damage in its stored log",
    DamageHealed: "a running node is rid of damage in its stored log",
    DiskHangs: "a call to a disk takes longer than an election timeout",
    OpenFails: "a node cannot open what it has because a call to its disk fails, and says so",
    LeaderDiskFails: "a leader's disk fails",
    StoreReplaced: "a node whose store was replaced is refused",
    StoreSetBack: "a node whose store was set back is refused",
    Paused: "a node is paused for longer than an election timeout",
    PausedLeader: "a leader is paused and is no leader when it wakes",
    PartitionHeals: "a partition heals",
    OneWay: "a message arrives at a node of which the sender hears nothing",
    MinorityLeader: "a leader that a partition leaves without a quorum has given up when it heals",
    WholeClusterDown: "all nodes are down at once",
    WholeClusterPowerCut: "the power fails for all voters at once, while all are up",
    KilledTwice: "a node is killed within an election timeout of coming up",
    GracefulStop: "a node is stopped in good order",
    LeaderStopsInOrder: "a leader is stopped in good order",
    Duplicated: "a message is delivered twice",
    Reordered: "a message overtakes another one of its lane",
    ConnectionLost: "a connection breaks",
    QueueFull: "a message is dropped because its queue is full",
    ReadServed: "a read is answered",
    ReadFailed: "a read is refused",
    Superseded: "a proposal is superseded",
    Unknown: "a proposal ends as unknown",
    UnknownApplied: "a proposal that ended as unknown is applied",
    NotLeader: "a proposal is refused by a node that does not lead",
    Overloaded: "a proposal is refused because too much waits",
    DurableMachine: "a state machine goes on where its last life ended",
    SingleVoter: "a cluster of one commits",
    EvenCluster: "a cluster of even size commits",
    SevenNodes: "a cluster of seven commits",
    FastClock: "a node whose clock runs fast leads",
    SlowClock: "a node whose clock runs slowly leads",
    SnapshotAsked: "an operator's snapshot is taken",
    SnapshotTaken: "a snapshot is durable",
    SnapshotFailed: "a snapshot cannot be finished",
    SnapshotResumed: "a half-written snapshot is gone on with",
    SnapshotInstalled: "a state machine takes over a snapshot",
    SnapshotInstalledOver: "a snapshot replaces a state",
    SnapshotDamageMet: "a damaged snapshot is met",
    SnapshotLost: "a node cannot start because its snapshot is damaged",
    UnackedSnapshotSurvives: "a snapshot that was not said to be durable survives a crash",
    Purged: "a journal drops what a snapshot covers",
    LogReset: "a journal begins anew after a snapshot",
    CrashInPurge: "a node dies while its journal drops entries",
    CrashInReset: "a node dies while its journal begins anew",
    CrashInSnapshot: "a node dies while a snapshot is finished",
    MembersChanged: "an operator is told that the members have changed",
    PromoteRefused: "a voter is refused because it is behind or silent",
    ChangeWithoutQuorum: "a change is refused because too few of the new voters live",
    ChangeInProgress: "a change is refused because of another one",
    ChangeNotReady: "a change is refused by a leader that is too new",
    ChangeUnknown: "a change ends as unknown",
    RemovedLearnsOfIt: "a removed node learns of it",
    OldProcessAddedAgain: "a removed node is added again as it is",
    AddedAgain: "a removed node is added again with an empty disk",
    LostComesBack: "a member whose disk was lost comes back by a change",
    HandOverOfSick: "a leader whose disk hangs hands over",
    HandOverToPreferred: "a leader hands over to a node that wants to lead more",
    Reconfigured: "a running node takes on other settings",
    ReadByFollower: "a follower answers a read",
    ReadUnderLease: "a leader with a lease answers a read",
    SessionOpened: "a session is opened",
    SessionAnswersAgain: "a command that was sent again is answered from the table",
    SessionRetried: "a command of a session is sent again",
    SessionExpired: "a session has expired",
    SessionFull: "a session or its window is refused",
    AnswerNotKept: "a command was executed and its answer is gone",
    JointWritten: "a joint membership is written",
    JointCommitted: "a joint membership is committed",
    HalvesApart: "the halves of a joint membership cannot reach each other",
    LeaderInJoint: "a leader is elected while two memberships are in force on it",
    VotesOfOneHalf: "a candidate has the votes of one half of a joint membership, and not of the other",
    VotersAdded: "a cluster has grown",
    VotersRemoved: "a cluster has shrunk",
    VoterReplaced: "a voter was replaced in one change",
    LearnerAdded: "a learner was added",
    AddressChanged: "a member's address has changed",
    ShrunkToOne: "a cluster has shrunk to one",
}

/// How often each point was reached.
///
/// # Examples
/// ```
/// use raft_testkit::sim::coverage::Coverage;
/// use raft_testkit::sim::{Plan, run};
///
/// let outcome = run(&Plan::draw(20, Some(1)), false);
/// let reached = |text: &str| outcome.coverage.iter().any(|(point, count)| point == text && count > 0);
/// assert!(reached("a leader is elected") && !reached("a cluster of seven commits"));
/// assert_ne!(outcome.coverage, Coverage::default());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage([u64; POINTS.len()]);

impl Default for Coverage {
    fn default() -> Self {
        Self([0; POINTS.len()])
    }
}

impl Coverage {
    /// It was reached.
    pub(crate) const fn hit(&mut self, point: Point) {
        self.0[point as usize] += 1;
    }

    /// It was reached, if so.
    pub(crate) const fn hit_if(&mut self, condition: bool, point: Point) {
        if condition {
            self.hit(point);
        }
    }

    /// How often.
    #[must_use]
    pub(crate) const fn count(&self, point: Point) -> u64 {
        self.0[point as usize]
    }

    /// Adds what another run has reached.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::sim::coverage::Coverage;
    /// use raft_testkit::sim::{Plan, run};
    ///
    /// let one = run(&Plan::draw(20, Some(1)), false).coverage;
    /// let mut all = Coverage::default();
    /// (0..3).for_each(|_| all.add(&one));
    /// assert!(all.iter().zip(one.iter()).all(|((_, three), (_, one))| three == 3 * one));
    /// ```
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// All points with their counts.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::sim::coverage::Coverage;
    ///
    /// // What many runs together have never reached shows where the faults are too tame.
    /// let all = Coverage::default();
    /// let never: Vec<&str> = all.iter().filter(|(_, count)| *count == 0).map(|(text, _)| text).collect();
    /// assert!(never.contains(&"a leader is elected"), "no run was added yet");
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        POINTS.iter().map(|(point, text)| (*text, self.count(*point)))
    }
}
