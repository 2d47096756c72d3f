//! What a seed decides before the run begins: the size of the cluster, its settings, its load, and the
//! list of faults. A plan is data, so that it can be printed, and made smaller.
//!
//! Swarm testing: each seed draws which kinds of faults it uses at all, and how often. A run with everything
//! at once hides what a run with little of it shows.

use core::fmt;
use core::time::Duration;

use raft_core::message::Lane;

use super::disk::{Call, Stray, Tear};
use super::executor::{Clock, MS, Nanos, SPEEDS, Scheduling, Speed};
use super::features::{Features, Moment, Wish};
use super::halves::Halves;
use super::rng::Rng;

/// One second.
const S: Nanos = 1000 * MS;

/// Whom a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// This one, from 0.
    Node(usize),
    /// Whoever leads at that time.
    Leader,
}

/// What happens between two polls of a node's tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PollEnd {
    /// The process is killed.
    Kill,
    /// The machine loses power.
    PowerCut(Tear),
    /// The process stands still.
    Pause,
}

/// A fault, or something that an operator does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
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
        lane: LaneOf,
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

/// [`Lane`], for plans.
pub type LaneOf = Lane;

impl Fault {
    /// Its kind, for counting.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
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

/// The network's habits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetPlan {
    /// Least and most latency.
    pub latency: (Nanos, Nanos),
    /// Messages that are late, in a million.
    pub spike_ppm: u32,
    /// How late at most.
    pub spike_most: Nanos,
    /// Messages that are lost, in a million.
    pub loss_ppm: u32,
    /// Messages that come twice, in a million.
    pub double_ppm: u32,
    /// Messages that leave the order of their lane, in a million.
    pub overtake_ppm: u32,
    /// How late these are at most.
    pub overtake_most: Nanos,
}

/// The clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadPlan {
    /// How many.
    pub clients: u64,
    /// How many registers.
    pub keys: u64,
    /// What a client waits between operations, at most.
    pub think: Nanos,
    /// Bytes beyond the request in most commands, at most.
    pub extra: u64,
    /// Bytes in a few of them, at most.
    pub big: u64,
    /// Reads, in a thousand operations.
    pub reads_per_mille: u32,
    /// Operations that go to any node, in a thousand; the others go to who led last.
    pub anywhere_per_mille: u32,
    /// When a client gives up.
    pub patience: Nanos,
    /// Now and then many operations come at once; in a thousand.
    pub burst_per_mille: u32,
}

/// All that a seed decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Voters.
    pub nodes: usize,
    /// How long faults go on.
    pub duration: Nanos,
    /// The order of tasks.
    pub scheduling: Scheduling,
    /// Wake-ups that come late, in a thousand.
    pub late_per_mille: u32,
    /// The network.
    pub net: NetPlan,
    /// The clients.
    pub load: LoadPlan,
    /// The speed of each node's clock, in millionths.
    pub clocks: Vec<u64>,
    /// How it changes while the run lasts, within what the clocks differ by; none if it does not.
    pub speeds: Vec<[Speed; SPEEDS - 1]>,
    /// Least and most time that a write takes.
    pub disk: (Nanos, Nanos),
    /// Interrupted and short calls, in a million.
    pub short_ppm: u32,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Protocol settings.
    pub heartbeat: Duration,
    /// The same.
    pub election: Duration,
    /// Bytes kept in memory.
    pub tail_bytes: u64,
    /// Bytes in one append.
    pub append_bytes: u64,
    /// Appends under way.
    pub window: usize,
    /// Bytes in one write.
    pub write_bytes: u64,
    /// Bytes that may wait.
    pub uncommitted_bytes: u64,
    /// State machines remember what they have executed.
    pub durable_machines: bool,
    /// One durable image in so many writes is read back.
    pub read_back_every: u64,
    /// What it uses beyond a log.
    pub features: Features,
    /// The faults, in order, each with its time.
    pub faults: Vec<(Nanos, Fault)>,
}

/// How many kinds of faults there are to draw from.
const KINDS: u64 = 26;

impl Plan {
    /// What this seed decides.
    #[must_use]
    pub fn draw(seed: u64, nodes: Option<usize>) -> Self {
        let mut rng = Rng::stream(seed, 1);
        let drawn = *rng.pick(&[1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 5, 5, 6, 7]);
        let nodes = nodes.unwrap_or(drawn);
        let heartbeat = Duration::from_millis(rng.between(20, 80));
        let election = heartbeat * rng.between(4, 10) as u32;
        let quick = rng.chance(500);
        let latency = if quick { (20_000, 300_000) } else { (100_000, rng.between(1, 15) * MS) };
        let rate = |rng: &mut Rng, most: u32| {
            if rng.chance(450) { rng.skewed(10, u64::from(most)) as u32 } else { 0 }
        };
        let net = NetPlan {
            latency,
            spike_ppm: rate(&mut rng, 20_000),
            spike_most: rng.skewed(5 * MS, 800 * MS),
            loss_ppm: rate(&mut rng, 150_000),
            double_ppm: rate(&mut rng, 50_000),
            overtake_ppm: if rng.chance(250) { rng.skewed(10, 50_000) as u32 } else { 0 },
            overtake_most: 20 * MS,
        };
        let duration = rng.between(30, 90) * S;
        // Every entry takes a block on every disk, and every start reads all of them.
        let (clients, operations) = (rng.between(1, 6), rng.skewed(100, 1600));
        let think = (2 * duration * clients / operations).max(5 * MS);
        let big = if rng.chance(300) { rng.between(5_000, 40_000) } else { 0 };
        let load = LoadPlan {
            clients,
            keys: rng.between(1, 5),
            think,
            extra: rng.skewed(1, 600),
            big,
            reads_per_mille: rng.below(600) as u32,
            anywhere_per_mille: rng.below(500) as u32,
            patience: rng.between(300, 4000) * MS,
            burst_per_mille: rng.below(30) as u32,
        };
        let drift = *rng.pick(&[0, 0, 1000, 20_000, 100_000]);
        let clocks = (0..nodes).map(|_| 1_000_000 - drift + rng.below(2 * drift + 1)).collect();
        let scheduling = if rng.chance(400) {
            Scheduling::Priority { changes_per_mille: rng.between(1, 100) as u32 }
        } else {
            Scheduling::Random
        };
        let slow_disk = rng.chance(250);
        let mut plan = Self {
            seed,
            nodes,
            duration,
            scheduling,
            late_per_mille: *rng.pick(&[0, 0, 1, 20]),
            net,
            load,
            clocks,
            speeds: Vec::new(),
            disk: if slow_disk { (MS, rng.between(2, 40) * MS) } else { (80_000, 400_000) },
            short_ppm: if rng.chance(300) { 20_000 } else { 0 },
            segment_bytes: *rng.pick(&[16 << 10, 32 << 10, 64 << 10, 128 << 10]),
            heartbeat,
            election,
            tail_bytes: *rng.pick(&[0, 2_000, 50_000, 1 << 20]),
            append_bytes: *rng.pick(&[500, 4_000, 64_000, 1 << 20]),
            window: *rng.pick(&[1, 2, 8, 256]),
            write_bytes: *rng.pick(&[1_000, 64_000, 1 << 20]),
            uncommitted_bytes: *rng.pick(&[3_000, 100_000, 64 << 20]),
            durable_machines: rng.chance(300),
            read_back_every: rng.between(40, 160),
            features: Features::default(),
            faults: Vec::new(),
        };
        plan.features = Features::draw(seed, plan.nodes, &plan.clocks);
        plan.draw_faults(seed);
        plan.draw_more_faults(seed);
        plan.narrow(seed);
        plan.besiege(seed);
        plan.draw_operations(seed);
        plan.draw_speeds(seed);
        plan
    }

    /// The clock of a node.
    pub(crate) fn clock(&self, node: usize) -> Clock {
        let ppm = self.clocks.get(node).copied().unwrap_or(1_000_000);
        let never = [(Nanos::MAX, ppm); SPEEDS - 1];
        Clock::of_node(ppm, self.speeds.get(node).copied().unwrap_or(never))
    }

    /// In some runs clocks go now faster and now slower, never beyond the fastest and the slowest: a declared drift
    /// holds.
    fn draw_speeds(&mut self, seed: u64) {
        let mut rng = Rng::stream(seed, 6);
        let (Some(least), Some(most)) = (self.clocks.iter().min(), self.clocks.iter().max()) else { return };
        let (least, most) = (*least, *most);
        if least == most || !rng.chance(500) {
            return;
        }
        let speeds = |_| {
            let mut times = [0; SPEEDS - 1].map(|_: Nanos| rng.below(self.duration));
            times.sort_unstable();
            times.map(|at| (at, rng.between(least, most)))
        };
        self.speeds = (0..self.clocks.len()).map(speeds).collect();
    }

    /// The plan without faults of these kinds.
    #[must_use]
    pub fn without(mut self, kinds: &[String]) -> Self {
        self.faults.retain(|(_, fault)| !kinds.iter().any(|kind| kind == fault.kind()));
        self
    }

    /// What this seed decides, as far as the vocabulary of [`etcd`](super::etcd) can say it: no message
    /// comes twice or out of order, nothing is lost on a disk, and nodes stop only in good order.
    #[must_use]
    pub fn etcd(seed: u64, nodes: Option<usize>) -> Self {
        let mut plan = Self::draw(seed, nodes);
        plan.net.double_ppm = 0;
        plan.net.overtake_ppm = 0;
        plan.write_bytes = 1 << 20;
        plan.features = Features::default();
        plan.clocks.truncate(plan.nodes);
        plan.speeds.clear();
        plan.faults.retain(|(_, fault)| {
            use Fault::{Break, Campaign, Deaf, Lonely, OneWay, Partition, Pause, Slow, Stop, Transfer};
            matches!(
                fault,
                Break { .. }
                    | Campaign { .. }
                    | Deaf { .. }
                    | Lonely { .. }
                    | OneWay { .. }
                    | Partition { .. }
                    | Pause { .. }
                    | Slow { .. }
                    | Stop { .. }
                    | Transfer { .. }
            )
        });
        plan
    }

    fn draw_faults(&mut self, seed: u64) {
        let mut rng = Rng::stream(seed, 2);
        // The kinds that this run uses; about half of them, sometimes very few.
        let share = *rng.pick(&[150, 400, 700]);
        let kinds: Vec<u64> = (0..KINDS).filter(|_| rng.chance(share)).collect();
        if kinds.is_empty() {
            return;
        }
        let interval = rng.skewed(150 * MS, 4 * S);
        let mut at = S;
        loop {
            at += rng.between(interval / 4, interval * 2);
            if at >= self.duration {
                return;
            }
            let kind = *rng.pick(&kinds);
            let fault = self.draw_fault(kind, &mut rng);
            // A disk that is exchanged may be the last that is harmed: it comes in the last third.
            let late = matches!(fault, Fault::Wipe { .. } | Fault::SetBack { .. });
            let at = if late { self.duration * 2 / 3 + at / 3 } else { at };
            self.faults.push((at, fault));
        }
    }

    /// Kinds that came later, from a stream of their own.
    fn draw_more_faults(&mut self, seed: u64) {
        let mut rng = Rng::stream(seed, 5);
        if rng.chance(350) {
            let interval = rng.skewed(300 * MS, 6 * S);
            let mut at = S + rng.below(interval);
            while at < self.duration {
                let fault = self.at_poll(&mut rng);
                self.faults.push((at, fault));
                at += rng.between(interval / 4, interval * 2);
            }
        }
        self.draw_disk_lies(seed);
        if rng.chance(350) {
            let interval = rng.skewed(S, 8 * S);
            let mut at = S + rng.below(interval);
            while at < self.duration {
                let fault = if rng.chance(700) {
                    self.fails_at_boot(&mut rng)
                } else {
                    // While it runs: what is rare there has little to skip.
                    let call = *rng.pick(&[Call::Look, Call::Read, Call::Names]);
                    Fault::Fail { who: self.who(&mut rng), call, skip: rng.below(3), boot: false }
                };
                self.faults.push((at, fault));
                at += rng.between(interval / 4, interval * 2);
            }
        }
    }

    fn draw_disk_lies(&mut self, seed: u64) {
        let mut rng = Rng::stream(seed, 7);
        if rng.chance(300) {
            let interval = rng.skewed(S, 10 * S);
            let mut at = S + rng.below(interval);
            while at < self.duration {
                if let Some(fault) = self.disk_lies(&mut rng) {
                    self.faults.push((at, fault));
                }
                at += rng.between(interval / 4, interval * 2);
            }
        }
    }

    /// A call fails while a node opens what it has; any of the calls that this takes.
    fn fails_at_boot(&self, rng: &mut Rng) -> Fault {
        let (call, most) = *rng.pick(&[
            (Call::Read, 200),
            (Call::Write, 8),
            (Call::Sync, 8),
            (Call::Names, 6),
            (Call::Look, 24),
            (Call::Look, 24),
        ]);
        Fault::Fail { who: self.who(rng), call, skip: rng.skewed(1, most) - 1, boot: true }
    }

    /// Disks that do more than they may: a power cut that leaves zeros or anything at all in what was being written,
    /// small writes and reads that go astray.
    fn disk_lies(&self, rng: &mut Rng) -> Option<Fault> {
        let who = self.who(rng);
        let tear = *rng.pick(&[Tear::Zeros, Tear::Garbage]);
        let down = rng.skewed(MS, 5 * S);
        Some(match rng.below(6) {
            0 => Fault::PowerCut { who, down, tear },
            1 | 2 => Fault::DieAtCall { who, calls: rng.below(12), down, tear },
            3 => {
                let times = rng.between(1, 2);
                Fault::DieInRecovery { who, calls: (0..times).map(|_| rng.below(14)).collect(), tear }
            }
            4 => Fault::Astray { who, write: Stray::Small, restart: rng.chance(700) },
            _ => {
                // While it opens, a journal believes what it reads: see what docs/verification.md says is not checked.
                let opening = rng.chance(700);
                let skip = if opening { rng.skewed(1, 100) - 1 } else { rng.below(3) };
                return (!opening).then_some(Fault::Misread { who, skip });
            }
        })
    }

    fn at_poll(&self, rng: &mut Rng) -> Fault {
        let timeout = self.election.as_nanos() as u64;
        let tear = *rng.pick(&[Tear::Lose, Tear::Keep, Tear::Sectors, Tear::Prefix]);
        let end = *rng.pick(&[PollEnd::Kill, PollEnd::Kill, PollEnd::PowerCut(tear), PollEnd::Pause]);
        // In an instant's work or a little later; while it starts, which takes some tens of polls.
        let mut polls = vec![rng.skewed(1, 2000)];
        if end != PollEnd::Pause && rng.chance(400) {
            polls.extend((0..rng.between(1, 3)).map(|_| rng.skewed(1, 80)));
        }
        Fault::AtPoll { who: self.who(rng), end, polls, for_: rng.skewed(MS, timeout * 10) }
    }

    fn draw_fault(&self, kind: u64, rng: &mut Rng) -> Fault {
        let who = self.who(rng);
        let other = self.who(rng);
        let timeout = self.election.as_nanos() as u64;
        let for_ = rng.skewed(timeout / 10, timeout * 20);
        let down = rng.skewed(MS, timeout * 15);
        let tear = *rng.pick(&[Tear::Lose, Tear::Keep, Tear::Sectors, Tear::Sectors, Tear::Prefix]);
        match kind {
            0 => Fault::Kill { who, down },
            1 => Fault::PowerCut { who, down, tear },
            2 => Fault::PowerCutAll { down: down / 4, tear },
            3 | 4 => Fault::DieAtCall { who, calls: rng.below(12), down, tear },
            5 => {
                let times = rng.between(1, 3);
                Fault::DieInRecovery { who, calls: (0..times).map(|_| rng.below(14)).collect(), tear }
            }
            6 => Fault::Pause { who, for_ },
            7 | 8 => Fault::Partition { sides: rng.next(), for_ },
            9 => Fault::OneWay { from: who, to: other, for_ },
            10 => Fault::Deaf { who, mute: rng.chance(500), for_ },
            11 => Fault::Break { a: who, b: other },
            12 => {
                let lane = if rng.chance(500) { Lane::Bulk } else { Lane::Control };
                Fault::Stall { from: who, to: other, lane, for_: for_ / 2 }
            }
            13 => Fault::Slow { who, takes: rng.skewed(MS, timeout), for_ },
            14 => Fault::Hang { who, for_ },
            15 => Fault::Full { who, for_ },
            16 => Fault::Fail { who, call: Call::Sync, skip: rng.below(4), boot: false },
            17 => Fault::Fail { who, call: Call::Write, skip: rng.below(6), boot: false },
            18 => {
                let call = if rng.chance(500) { Call::Read } else { Call::Names };
                Fault::Fail { who, call, skip: rng.below(6), boot: false }
            }
            19 => {
                let file = *rng.pick(&["seg-", "seg-", "seg-", "hs.", "super.", "peers."]);
                Fault::Rot { who, file, restart: rng.chance(700) }
            }
            20 => Fault::Astray { who, write: Stray::Batch, restart: rng.chance(700) },
            21 => match rng.below(8) {
                0 => Fault::Wipe { who },
                1 => Fault::SetBack { who },
                _ => Fault::LoseFile { who, whole: rng.chance(400) },
            },
            22 => Fault::Stop { who, down },
            23 => {
                let to = rng.chance(600).then(|| rng.below(self.nodes as u64) as usize);
                Fault::Transfer { to }
            }
            24 => self.lonely(rng),
            _ => Fault::Campaign { who },
        }
    }

    fn lonely(&self, rng: &mut Rng) -> Fault {
        let timeout = self.election.as_nanos() as u64;
        let friends = if rng.chance(500) { rng.next() & rng.next() } else { 0 };
        let after = rng.skewed(20_000, 30 * MS);
        let for_ = rng.skewed(timeout / 2, timeout * 8);
        let rival = rng.chance(500).then(|| rng.skewed(MS / 10, timeout / 2));
        Fault::Lonely { after, for_, friends, rival }
    }

    /// A few runs are made for one thing alone: leader after leader that is cut off with what it has written,
    /// which is how logs come to differ most, with one entry in an append; and for answers that arrive two
    /// leaders later.
    fn narrow(&mut self, seed: u64) {
        let mut rng = Rng::stream(seed, 4);
        if self.nodes < 3 || !rng.chance(100) {
            return;
        }
        let timeout = self.election.as_nanos() as u64;
        (self.append_bytes, self.window) = (1, *rng.pick(&[1, 1, 8]));
        let late = rng.chance(500);
        // Two nodes hand leadership to each other: what was said in one of its terms meets a leader in another.
        let swings = late && rng.chance(500);
        if late {
            self.net.overtake_ppm = rng.between(10_000, 200_000) as u32;
            self.net.overtake_most = rng.between(timeout, timeout * 20);
        }
        // Much is asked, also of those who led before.
        self.load.clients = rng.between(4, 8);
        self.load.think = 2 * self.duration * self.load.clients / rng.between(1000, 2000);
        self.load.reads_per_mille = rng.between(300, 700) as u32;
        self.faults.clear();
        let mut at = S;
        while at < self.duration {
            let fault = match rng.below(10) {
                _ if swings => Fault::Transfer { to: Some(self.faults.len() % 2) },
                0 => Fault::Kill { who: Who::Leader, down: rng.skewed(MS, timeout * 4) },
                1 if late => Fault::Transfer { to: None },
                2..=4 => Fault::Campaign { who: self.who(&mut rng) },
                _ => self.lonely(&mut rng),
            };
            self.faults.push((at, fault));
            at += if swings {
                rng.between(timeout / 4, timeout)
            } else {
                rng.between(timeout / 4, timeout * 3)
            };
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, nodes, duration, scheduling, late_per_mille, net, load, .. } = self;
        writeln!(
            f,
            "plan seed {seed} nodes {nodes} seconds {} {scheduling:?} late {late_per_mille}",
            duration / S
        )?;
        writeln!(f, "plan {net:?}")?;
        writeln!(f, "plan {load:?}")?;
        writeln!(
            f,
            "plan clocks {:?} disk {:?} short {} segment {} heartbeat {:?} election {:?}",
            self.clocks, self.disk, self.short_ppm, self.segment_bytes, self.heartbeat, self.election
        )?;
        writeln!(
            f,
            "plan tail {} append {} window {} write {} uncommitted {} durable machines {}",
            self.tail_bytes,
            self.append_bytes,
            self.window,
            self.write_bytes,
            self.uncommitted_bytes,
            self.durable_machines
        )?;
        if !self.speeds.is_empty() {
            writeln!(f, "plan speeds {:?}", self.speeds)?;
        }
        writeln!(f, "plan {:?}", self.features)?;
        for (number, (at, fault)) in self.faults.iter().enumerate() {
            writeln!(f, "plan fault {number} at {}.{:03} {fault:?}", at / S, at % S / MS)?;
        }
        Ok(())
    }
}
