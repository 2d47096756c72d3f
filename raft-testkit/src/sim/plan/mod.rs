//! What a seed decides before the run begins: the size of the cluster, its settings, its load, and the
//! list of faults. A plan is data, so that it can be printed, and made smaller.
//!
//! Swarm testing: each seed draws which kinds of faults it uses at all, and how often. A run with everything
//! at once hides what a run with little of it shows.

mod fault;
mod shapes;

use core::fmt;
use core::time::Duration;

use raft_core::message::Lane;

use super::disk::{Call, Stray, Tear};
use super::executor::{Clock, MS, Nanos, SPEEDS, Scheduling, Speed};
use super::features::Features;
use super::rng::Rng;
pub(crate) use fault::{Fault, PollEnd, Who};

/// One second.
const S: Nanos = 1000 * MS;

/// The network's habits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NetPlan {
    /// Least and most latency.
    pub(crate) latency: (Nanos, Nanos),
    /// Messages that are late, in a million.
    pub(crate) spike_ppm: u32,
    /// How late at most.
    pub(crate) spike_most: Nanos,
    /// Messages that are lost, in a million.
    pub(crate) loss_ppm: u32,
    /// Messages that come twice, in a million.
    pub(crate) double_ppm: u32,
    /// Messages that leave the order of their lane, in a million.
    pub(crate) overtake_ppm: u32,
    /// How late these are at most.
    pub(crate) overtake_most: Nanos,
}

/// The clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoadPlan {
    /// How many.
    pub(crate) clients: u64,
    /// How many registers.
    pub(crate) keys: u64,
    /// What a client waits between operations, at most.
    pub(crate) think: Nanos,
    /// Bytes beyond the request in most commands, at most.
    pub(crate) extra: u64,
    /// Bytes in a few of them, at most.
    pub(crate) big: u64,
    /// Reads, in a thousand operations.
    pub(crate) reads_per_mille: u32,
    /// Operations that go to any node, in a thousand; the others go to who led last.
    pub(crate) anywhere_per_mille: u32,
    /// When a client gives up.
    pub(crate) patience: Nanos,
    /// Now and then many operations come at once; in a thousand.
    pub(crate) burst_per_mille: u32,
}

/// All that a seed decides.
///
/// # Examples
/// ```
/// use raft_testkit::sim::Plan;
///
/// let plan = Plan::draw(7, Some(3));
/// assert_eq!((plan.seed, plan.nodes), (7, 3));
/// // It prints as what a report of a bug needs, the faults in the end.
/// let text = plan.to_string();
/// assert!(text.starts_with("plan seed 7 nodes 3 "), "{text}");
/// assert_eq!(text.matches("plan fault ").count(), plan.faults().len());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Voters.
    pub nodes: usize,
    /// How long faults go on.
    pub(crate) duration: Nanos,
    /// The order of tasks.
    pub(crate) scheduling: Scheduling,
    /// Wake-ups that come late, in a thousand.
    pub(crate) late_per_mille: u32,
    /// The network.
    pub(crate) net: NetPlan,
    /// The clients.
    pub(crate) load: LoadPlan,
    /// The speed of each node's clock, in millionths.
    pub(crate) clocks: Vec<u64>,
    /// How it changes while the run lasts, within what the clocks differ by; none if it does not.
    pub(crate) speeds: Vec<[Speed; SPEEDS - 1]>,
    /// Least and most time that a write takes.
    pub(crate) disk: (Nanos, Nanos),
    /// Interrupted and short calls, in a million.
    pub(crate) short_ppm: u32,
    /// Bytes of a segment.
    pub(crate) segment_bytes: u64,
    /// Protocol settings.
    pub(crate) heartbeat: Duration,
    /// The same.
    pub(crate) election: Duration,
    /// Bytes kept in memory.
    pub(crate) tail_bytes: u64,
    /// Of those, the ones that nobody is known to need.
    pub(crate) tail_keep_bytes: u64,
    /// How long proposals may be held for others.
    pub(crate) gather: Duration,
    /// How long entries for a follower that a quorum can do without may wait.
    pub(crate) spare: Duration,
    /// Bytes in one append.
    pub(crate) append_bytes: u64,
    /// Appends under way.
    pub(crate) window: usize,
    /// Bytes in one write.
    pub(crate) write_bytes: u64,
    /// Bytes that may wait.
    pub(crate) uncommitted_bytes: u64,
    /// State machines remember what they have executed.
    pub(crate) durable_machines: bool,
    /// One durable image in so many writes is read back.
    pub(crate) read_back_every: u64,
    /// What it uses beyond a log.
    pub(crate) features: Features,
    /// The faults, in order, each with its time.
    pub(crate) faults: Vec<(Nanos, Fault)>,
}

/// How many kinds of faults there are to draw from.
const KINDS: u64 = 26;

impl Plan {
    /// What this seed decides.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::sim::Plan;
    ///
    /// // A seed decides everything; the number of voters too, unless it is given.
    /// assert_eq!(Plan::draw(7, None), Plan::draw(7, None));
    /// assert_ne!(Plan::draw(7, None), Plan::draw(8, None));
    /// assert_eq!(Plan::draw(7, Some(5)).nodes, 5);
    /// ```
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
            tail_keep_bytes: *Rng::stream(seed, 33).pick(&[0, 600, 10_000, 1 << 20]),
            gather: Duration::from_millis(*Rng::stream(seed, 34).pick(&[0, 1, 30, 1_000])),
            spare: Duration::from_millis(*Rng::stream(seed, 35).pick(&[0, 1, 5, 1_000])),
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
        let narrow = plan.narrow(seed);
        let besieged = plan.besiege(seed);
        plan.draw_operations(seed);
        if besieged {
            plan.perturb(seed);
        }
        if !narrow && !besieged && !plan.leave_behind(seed) && !plan.prefer_who_lags(seed) {
            plan.draw_rumours(seed);
        }
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

    /// What happens to the cluster, in order: the time, and the fault. To be shown to people.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::sim::Plan;
    ///
    /// // Swarm testing: some runs have many faults, some have few or none.
    /// let counts: Vec<usize> = (0..50).map(|seed| Plan::draw(seed, None).faults().len()).collect();
    /// let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    /// assert!(*least < 50 && *most > 500, "{counts:?}");
    /// ```
    #[must_use]
    pub fn faults(&self) -> &[impl fmt::Debug] {
        &self.faults
    }

    /// The plan without faults of these kinds.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::sim::Plan;
    ///
    /// let kinds = ["partition".to_owned()];
    /// let partitions = |plan: &Plan| plan.to_string().matches(" Partition {").count();
    /// let plan = (0..).map(|seed| Plan::draw(seed, None)).find(|plan| partitions(plan) > 0).unwrap();
    /// let left = plan.clone().without(&kinds);
    /// assert_eq!(left.faults().len(), plan.faults().len() - partitions(&plan));
    /// ```
    #[must_use]
    pub fn without(mut self, kinds: &[String]) -> Self {
        self.faults.retain(|(_, fault)| !kinds.iter().any(|kind| kind == fault.kind()));
        self
    }

    /// What this seed decides, as far as the vocabulary of etcd-io/raft can say it: no message
    /// comes twice or out of order, nothing is lost on a disk, and nodes stop only in good order.
    ///
    /// # Examples
    /// ```
    /// use raft_testkit::sim::Plan;
    ///
    /// // The same cluster, without what the vocabulary has no words for.
    /// let (whole, plan) = (Plan::draw(7, Some(3)), Plan::etcd(7, Some(3)));
    /// assert_eq!(plan.nodes, whole.nodes);
    /// assert!(plan.faults().len() <= whole.faults().len());
    /// assert!(!plan.to_string().contains("PowerCut"));
    /// ```
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
            "plan tail {} keep {} gather {:?} spare {:?} append {} window {} write {} uncommitted {} durable machines {}",
            self.tail_bytes,
            self.tail_keep_bytes,
            self.gather,
            self.spare,
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
