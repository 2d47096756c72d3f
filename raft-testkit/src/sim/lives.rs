//! How nodes come up, and how they go.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use raft_core::backend::{OpenError, Runtime, SnapshotError, Verdict};
use raft_core::error::{ConfigError, FatalReason};
use raft_core::ids::{ClusterId, GroupId, NodeId};
use raft_core::membership::{Member, Membership};
use raft_core::{Config, Lease, Node};
use raft_log_file::{Options, SnapshotFiles, Store};

use super::agenda::What;
use super::coverage::Point;
use super::disk::{Call, Image, SimDisk, Tear};
use super::drive::{Drive, Pace};
use super::etcd::Tap;
use super::events::Tag;
use super::executor::{MS, Nanos, Owner, SimRuntime, Task, lock};
use super::journal::{Parts, SimJournal};
use super::machine::{Machine, Registers, UNREADABLE};
use super::oracle::{Ear, Oracle};
use super::plan::PollEnd;
use super::rng::Rng;
use super::snapshots::{FOLDER, SimSnapshots, newest};
use super::workload::LiveNode;
use super::world::World;

pub(crate) const CLUSTER: ClusterId = ClusterId(0x5eed);

/// What is wrong with a node's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// Nothing.
    None,
    /// Something that nobody has met yet.
    Latent,
    /// It was met; the node is on probation.
    Healing,
    /// The disk was exchanged or set back: the node has one more life, in which it must be refused.
    Doomed,
    /// The node cannot go on under its name.
    Lost,
}

/// What happens to a node between two polls of its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AtPoll {
    /// After so many of this life.
    pub(crate) polls: u64,
    /// What.
    pub(crate) end: PollEnd,
    /// For how long.
    pub(crate) for_: Nanos,
}

/// One node of the run.
pub(crate) struct Slot {
    pub(crate) disk: SimDisk,
    pub(crate) pace: Arc<Pace>,
    pub(crate) life: u64,
    /// A life is going on.
    pub(crate) up: bool,
    /// It has no journal yet.
    pub(crate) fresh: bool,
    /// When its journal is created, it is told the first members; else nothing, and waits to be contacted.
    pub(crate) founder: bool,
    pub(crate) damage: Damage,
    /// Something was done to the disk in this life that may stop the node.
    pub(crate) troubled: bool,
    /// How the power goes when it goes next, and for how long.
    pub(crate) dying: (Tear, Nanos),
    /// After so many calls the machine dies during the next recoveries.
    pub(crate) recovery_deaths: Vec<u64>,
    pub(crate) deaths_in_a_row: u64,
    /// This call to the disk fails in the next life, after so many of its kind.
    pub(crate) fails_at_boot: Option<(Call, u64)>,
    /// What happens after some polls of this life's tasks, and of those of the lives that follow.
    pub(crate) at_poll: Vec<AtPoll>,
    pub(crate) registers: Arc<Mutex<Registers>>,
    /// A copy of the disk, and of which life.
    pub(crate) copy: Option<(Image, u64)>,
    /// In which life each peer last met it.
    pub(crate) met: Vec<u64>,
    pub(crate) up_since: Nanos,
    /// Since when it stands still, if it does.
    pub(crate) paused_since: Nanos,
    /// What it heals from began as a suspect tail.
    pub(crate) suspect: bool,
    /// When it comes up again after it was stopped.
    pub(crate) back_after: Nanos,
}

/// Why a node did not come up.
struct NotOpened {
    text: String,
    /// The error says that the system has failed, and nothing of what is on the disk.
    is_io: bool,
}

impl Slot {
    pub(crate) fn new(disk: SimDisk, nodes: usize, founder: bool, takes: (Nanos, Nanos)) -> Self {
        let pace = Pace {
            least: AtomicU64::new(takes.0),
            most: AtomicU64::new(takes.1),
            hangs_until: AtomicU64::new(0),
        };
        Self {
            disk,
            pace: Arc::new(pace),
            life: 0,
            up: false,
            fresh: true,
            founder,
            damage: Damage::None,
            troubled: false,
            dying: (Tear::Lose, 0),
            recovery_deaths: Vec::new(),
            deaths_in_a_row: 0,
            fails_at_boot: None,
            at_poll: Vec::new(),
            registers: Arc::default(),
            copy: None,
            met: vec![0; nodes],
            up_since: 0,
            paused_since: 0,
            suspect: false,
            back_after: 50 * MS,
        }
    }

    /// It cannot go on under its name, now or soon.
    pub(crate) const fn is_lost(&self) -> bool {
        matches!(self.damage, Damage::Lost | Damage::Doomed)
    }
}

fn file_owner(node: usize) -> raft_log_file::Owner {
    raft_log_file::Owner { cluster: CLUSTER, group: GroupId(0), node: NodeId(node as u64 + 1) }
}

/// Opens a copy of what the disk would have after a power cut, and compares.
pub(crate) fn read_back(node: usize, disk: &SimDisk, oracle: &Oracle, options: Options) {
    if oracle.is_damaged(node) {
        return;
    }
    let copy = SimDisk::of(&disk.durable_folder(""), Rng::new(1));
    match Store::open(Arc::new(copy.boot()), file_owner(node), options, 7) {
        Ok(store) => match (store.load(), store.reader()) {
            (Ok(state), reader) => {
                let all = state.purged.index.next()..state.last.index.next();
                match reader.entries(all, u64::MAX) {
                    Ok(entries) => oracle.image_read(node, state.hard_state, state.purged, &entries),
                    Err(error) => oracle.violated("commit-not-durable", Some(node), error.to_string()),
                }
            }
            (Err(error), _) => oracle.violated("commit-not-durable", Some(node), error.to_string()),
        },
        Err(error) => oracle.violated("commit-not-durable", Some(node), error.to_string()),
    }
}

/// The runtime of one node; says when the protocol's task ends.
struct Watched {
    runtime: SimRuntime,
    ended: Arc<dyn Fn() + Send + Sync>,
}

impl Runtime for Watched {
    fn now(&self) -> raft_core::time::Time {
        self.runtime.now()
    }

    fn timer(&self) -> std::pin::Pin<Box<dyn raft_core::backend::Timer>> {
        self.runtime.timer()
    }

    fn spawn(&self, name: &'static str, task: Task) {
        let ended = Arc::clone(&self.ended);
        let watched = async move {
            task.await;
            if name == "raft-protocol" {
                ended();
            }
        };
        self.runtime.spawn(name, Box::pin(watched));
    }

    fn seed(&self) -> u64 {
        self.runtime.seed()
    }
}

impl World {
    fn options(&self) -> Options {
        // Half of the plans know both kinds of segments: batches are small here.
        let large = self.plan.segment_bytes >= 64 << 10;
        let reserve_from = if large { 0 } else { Options::default().reserve_from_bytes };
        Options::default().segment_bytes(self.plan.segment_bytes).reserve_from_bytes(reserve_from)
    }

    fn membership(&self) -> Membership {
        let member = |id| Member::new(NodeId(id), format!("n{id}"));
        Membership::of_voters((1..=self.plan.nodes as u64).map(member)).unwrap_or_default()
    }

    fn config(&self, node: usize) -> Config {
        let plan = &self.plan;
        let mut config = Config::new(NodeId(node as u64 + 1), CLUSTER);
        config.heartbeat_interval = plan.heartbeat;
        config.election_timeout = plan.election;
        config.tail_limit_bytes = plan.tail_bytes;
        config.tail_keep_bytes = plan.tail_keep_bytes;
        config.gather_limit = plan.gather;
        config.spare_delay = plan.spare;
        config.append_limit_bytes = plan.append_bytes;
        config.window_messages = plan.window;
        // Few messages, or few bytes.
        config.window_bytes = if plan.window == 8 { 2_000 } else { config.window_bytes };
        config.write_limit_bytes = plan.write_bytes;
        config.uncommitted_limit_bytes = plan.uncommitted_bytes;
        if let Some(snapshots) = plan.features.snapshots {
            config.snapshot_every_entries = snapshots.every_entries;
            config.snapshot_every_bytes = snapshots.every_bytes;
            config.snapshot_growth = u64::from(plan.window == 8);
            config.snapshot_keep_entries = snapshots.keep_entries;
            config.snapshot_keep_bytes = snapshots.keep_bytes;
            config.snapshot_chunk_bytes = snapshots.chunk_bytes;
            config.snapshot_window_bytes = snapshots.window_bytes;
        }
        config.priority = plan.features.priorities.get(node).copied().unwrap_or(0);
        config.lease = plan.features.reads.lease_drift_ppm.map(|max_drift_ppm| Lease { max_drift_ppm });
        if let Some(members) = plan.features.members {
            config.promote_lag_entries = members.promote_lag_entries;
        }
        if let Some(sessions) = plan.features.sessions {
            config.sessions.timeout = Duration::from_nanos(sessions.timeout);
            config.sessions.sessions = sessions.sessions;
            config.sessions.window = sessions.window;
            config.sessions.answer_bytes = sessions.answer_bytes;
        }
        if let Some(scrub) = plan.features.scrub {
            config.scrub_period = Duration::from_nanos(scrub.period);
            config.scrub_bytes_per_second = scrub.bytes_per_second;
        }
        config
    }

    /// Starts a node that is down.
    pub(crate) fn boot(&mut self, node: usize) {
        let options = self.options();
        let initial = self.membership();
        let seed = u128::from(self.rng.next()) << 64 | u128::from(self.rng.next());
        let slot = &mut self.slots[node];
        if slot.up || slot.damage == Damage::Lost {
            return;
        }
        slot.life += 1;
        slot.up = true;
        slot.troubled = self.full_disks & (1 << node) != 0;
        let vfs = slot.disk.boot();
        slot.disk.set_short(self.plan.short_ppm);
        let fresh = slot.fresh;
        if !fresh && let Some(calls) = slot.recovery_deaths.pop() {
            slot.disk.crash_in(calls);
        }
        if !fresh && let Some((call, skip)) = slot.fails_at_boot.take() {
            slot.disk.fail(call, skip);
            slot.troubled = true;
        }
        let failed = slot.disk.counts().1;
        let folder = Arc::new(vfs.folder(FOLDER));
        let opened = if fresh {
            let initial = Some(&initial).filter(|_| slot.founder);
            Store::create(Arc::new(vfs), file_owner(node), initial, options, seed)
        } else {
            Store::open(Arc::new(vfs), file_owner(node), options, seed)
        };
        let opened = opened
            .map_err(|error| NotOpened {
                text: error.to_string(),
                is_io: matches!(error, OpenError::Io { .. }),
            })
            .and_then(|store| {
                let snapshots = SnapshotFiles::open(folder).map_err(|error| NotOpened {
                    text: format!("snapshots: {error}"),
                    is_io: matches!(error, SnapshotError::Io { .. }),
                })?;
                Ok((store, snapshots))
            });
        let failed = slot.disk.counts().1 > failed;
        if slot.disk.is_frozen() {
            slot.deaths_in_a_row += 1;
            self.oracle.hit(Point::CrashInRecovery);
            if slot.deaths_in_a_row > 1 {
                self.oracle.hit(Point::CrashInSecondRecovery);
            }
            slot.dying.1 = MS;
            drop(opened);
            self.power_off(node);
            return;
        }
        slot.deaths_in_a_row = 0;
        match opened {
            Ok((store, snapshots)) => self.opened(node, store, snapshots),
            Err(error) => self.not_opened(node, &error, failed),
        }
    }

    /// `failed` says that a call to the disk has failed meanwhile.
    fn not_opened(&mut self, node: usize, error: &NotOpened, failed: bool) {
        let slot = &mut self.slots[node];
        slot.up = false;
        slot.disk.end_life();
        let text = format!("cannot open: {}", error.text);
        self.oracle.down(node, &text);
        if failed && error.is_io {
            // It says what has failed, and has changed nothing that the next opening cannot do with.
            self.oracle.hit(Point::OpenFails);
            self.come_back(node, 50 * MS);
            return;
        }
        if slot.damage != Damage::None {
            self.oracle.hit(Point::HardStateLost);
            slot.damage = Damage::Lost;
            return;
        }
        if self.full_disks & (1 << node) != 0 {
            // When there is space again.
            let life = slot.life;
            self.agenda.after(100 * MS, What::Boot { node, life });
            return;
        }
        self.oracle.violated("recovery", Some(node), text);
    }

    fn opened(&mut self, node: usize, store: Store, snapshots: SnapshotFiles) {
        let slot = &mut self.slots[node];
        // What is only looked at here meets no fault.
        let (restored, entries) = slot.disk.in_peace(|| {
            let restored = store.load();
            let entries = restored.as_ref().ok().and_then(|state| {
                let all = state.purged.index.next()..state.last.index.next();
                store.reader().entries(all, u64::MAX).ok()
            });
            (restored, entries)
        });
        let (Ok(restored), Some(entries)) = (restored, entries) else {
            self.oracle.violated("recovery", Some(node), "what was opened cannot be read".into());
            return;
        };
        if slot.is_lost() {
            slot.fresh = false;
            self.oracle.replaced(node, &restored, &entries);
        } else if slot.fresh {
            slot.fresh = false;
            self.oracle.created(node, restored.hard_state, &entries);
        } else {
            let damaged = slot.damage != Damage::None;
            self.oracle.recovered(node, &restored, &entries, damaged);
            let lossy = !matches!(restored.verdict, Verdict::Clean | Verdict::TornTail { .. });
            if slot.damage != Damage::None || lossy {
                if lossy {
                    slot.damage = Damage::Healing;
                    slot.suspect = matches!(restored.verdict, Verdict::SuspectTail { .. });
                } else if slot.damage == Damage::Latent && slot.disk.in_peace(|| newest(&snapshots)).is_ok() {
                    let repaired = !store.findings().is_empty();
                    self.oracle.hit(if repaired { Point::HardStateRepaired } else { Point::DamageHarmless });
                    let healing = restored.hard_state.probation;
                    slot.damage = if healing { Damage::Healing } else { Damage::None };
                }
            }
        }
        self.oracle.snapshot_found(node, &snapshots.latest());
        self.oracle.set_damaged(node, self.slots[node].damage != Damage::None);
        self.start(node, store, snapshots);
    }

    /// The disk of the life that begins.
    fn drive(&mut self, node: usize) -> Arc<Drive> {
        let slot = &self.slots[node];
        let life = slot.life;
        Arc::new(Drive {
            core: Arc::clone(self.agenda.core()),
            owner: Owner { node, life },
            disk: slot.disk.clone(),
            pace: Arc::clone(&slot.pace),
            rng: Mutex::new(Rng::stream(self.rng.next(), 4)),
            ambush: Arc::clone(&self.ambush),
            patience: self.plan.election.as_nanos() as u64,
            oracle: Arc::clone(&self.oracle),
        })
    }

    fn start(&mut self, node: usize, store: Store, files: SnapshotFiles) {
        let config = self.config(node);
        let drive = self.drive(node);
        let snapshots = SimSnapshots::new(Arc::clone(&drive), files, Arc::clone(&self.oracle));
        let slot = &mut self.slots[node];
        let (owner, life) = (drive.owner, slot.life);
        slot.up_since = self.agenda.now();
        if !self.plan.durable_machines || slot.is_lost() {
            slot.registers = Arc::default();
        } else if slot.registers.lock().is_ok_and(|registers| registers.through.index.0 > 0) {
            self.oracle.hit(Point::DurableMachine);
        }
        let registers = Arc::clone(&slot.registers);
        let machine = Machine {
            node,
            registers: Arc::clone(&registers),
            witness: Arc::clone(&self.oracle) as Arc<dyn super::machine::Witness>,
            ballast: self.plan.features.snapshots.map_or(0, |plan| plan.ballast),
        };
        let core = Arc::clone(self.agenda.core());
        let journal = SimJournal::new(Parts {
            drive: Arc::clone(&drive),
            store,
            oracle: Arc::clone(&self.oracle),
            read_back_every: self.plan.read_back_every,
            options: self.options(),
        });
        let town = Arc::clone(&self.town);
        let ended = {
            let (agenda, town) = (self.agenda.clone(), Arc::clone(&self.town));
            Arc::new(move || {
                let live = lock(&town.nodes)[node].clone().filter(|live| live.life == life);
                let end = match live {
                    Some(live) => ended_how(&live),
                    // It had no time to become known; whoever started it says why.
                    None => return,
                };
                agenda.after(0, What::Ended { node, life, end });
            })
        };
        let clock = self.plan.clock(node);
        let rng = Mutex::new(Rng::stream(self.rng.next(), 5));
        let runtime = Watched { runtime: SimRuntime { core: Arc::clone(&core), owner, clock, rng }, ended };
        let ear = Ear { oracle: Arc::clone(&self.oracle), node };
        let ear = Tap { recorder: self.recorder.clone(), node, next: ear };
        let starting = Node::builder(config)
            .journal(journal)
            .transport(self.network.transport(owner))
            .state_machine(machine)
            .runtime(Arc::new(runtime))
            .observer(Arc::new(ear));
        let starting = match self.plan.features.snapshots {
            Some(_) => starting.snapshots(Arc::new(snapshots)),
            None => starting,
        };
        let starting = starting.start();
        let agenda = self.agenda.clone();
        core.spawn(owner, async move {
            match starting.await {
                Ok(handle) => {
                    let live = LiveNode { life, handle, registers };
                    lock(&town.nodes)[node] = Some(live.clone());
                    // It may have ended before it was known.
                    if let Some(end) = ended_already(&live) {
                        agenda.after(0, What::Ended { node, life, end });
                    }
                }
                Err(reason) => {
                    agenda.after(0, What::Ended { node, life, end: Err(Arc::new(reason)) });
                }
            }
        });
    }

    /// A life is over: nothing of it goes on.
    fn end_life(&mut self, node: usize, why: &str) {
        let owner = Owner { node, life: self.slots[node].life };
        self.count_status(node);
        lock(&self.town.nodes)[node] = None;
        self.executor.pause(node, false);
        self.paused_leader[node] = None;
        self.executor.kill(owner);
        self.oracle.down(node, why);
        let slot = &mut self.slots[node];
        slot.up = false;
        if slot.damage == Damage::Doomed {
            slot.damage = Damage::Lost;
        }
    }

    /// The process is killed.
    pub(crate) fn kill(&mut self, node: usize, down: Nanos) {
        if !self.slots[node].up {
            return;
        }
        if self.oracle.is_writing(node) {
            self.oracle.hit(Point::KilledWhileWriting);
        }
        let timeout = self.plan.election.as_nanos() as u64;
        if self.agenda.now() - self.slots[node].up_since < timeout {
            self.oracle.hit(Point::KilledTwice);
        }
        self.slots[node].disk.end_life();
        self.network.process_gone(node, true);
        self.end_life(node, "killed");
        self.come_back(node, down);
    }

    /// The machine loses power.
    pub(crate) fn power_off(&mut self, node: usize) {
        if !self.slots[node].up {
            return;
        }
        if self.oracle.is_writing(node) {
            self.oracle.hit(Point::PowerCutWhileWriting);
        }
        let (mut tear, down) = self.slots[node].dying;
        if tear.harms() {
            if self.may_harm(node) {
                self.harm(node);
            } else {
                tear = Tear::Sectors;
            }
        }
        let (kept, lost) = self.slots[node].disk.power_cut(tear);
        if kept > 0 && lost > 0 {
            self.oracle.hit(Point::PowerCutTears);
        }
        self.network.process_gone(node, false);
        self.end_life(node, "power cut");
        self.come_back(node, down);
    }

    /// A task of a node was polled: the node may be taken down now, before any other of its tasks goes on.
    pub(crate) fn polled(&mut self, owner: Owner) {
        let node = owner.node;
        let Some(slot) = self.slots.get_mut(node).filter(|slot| slot.up && slot.life == owner.life) else {
            return;
        };
        if slot.disk.is_frozen() {
            self.oracle.hit(Point::CrashAtCall);
            self.power_off(node);
            return;
        }
        let Some(next) = slot.at_poll.last_mut() else { return };
        if next.polls > 0 {
            next.polls -= 1;
            return;
        }
        let Some(AtPoll { end, for_, .. }) = slot.at_poll.pop() else { return };
        if self.executor.has_ready(owner) {
            self.oracle.hit(Point::CutBetweenPolls);
        }
        if self.live(node).is_none() {
            self.oracle.hit(Point::CutWhileStarting);
        }
        let what = || format!("{end:?} between two polls");
        self.oracle.note(Some(node), Tag::Fault, [node as u64, 2, 0, 0], what);
        match end {
            PollEnd::Kill => self.kill(node, for_),
            PollEnd::PowerCut(tear) => {
                self.slots[node].dying = (tear, for_);
                self.power_off(node);
            }
            PollEnd::Pause => self.pause(node, for_),
        }
    }

    /// A node cannot do without its snapshot, and cannot read it.
    fn snapshot_unusable(&mut self, node: usize) {
        let slot = &mut self.slots[node];
        if slot.damage != Damage::None {
            // Only a change of members brings it back.
            self.oracle.hit(Point::SnapshotLost);
            slot.damage = Damage::Lost;
        }
    }

    fn come_back(&self, node: usize, down: Nanos) {
        let life = self.slots[node].life;
        self.agenda.after(down.max(MS), What::Boot { node, life });
    }

    /// A node has stopped by itself.
    pub(crate) fn ended(&mut self, node: usize, end: &Result<(), Arc<FatalReason>>) {
        let text = match end {
            Ok(()) => "stopped in good order".to_owned(),
            Err(reason) => format!("stopped: {reason}"),
        };
        let slot = &mut self.slots[node];
        let excused = slot.troubled || slot.damage != Damage::None;
        let lost = slot.is_lost();
        let back = slot.back_after;
        match end {
            Ok(()) => self.oracle.hit(Point::GracefulStop),
            Err(reason) => match &**reason {
                FatalReason::Journal(_) if excused => self.oracle.count_disk_failure(&text),
                FatalReason::Refused { .. } | FatalReason::RolledBack { .. } if lost => {}
                FatalReason::Snapshot { .. } | FatalReason::Config(ConfigError::NoSnapshot { .. })
                    if excused =>
                {
                    self.snapshot_unusable(node);
                }
                FatalReason::StateMachine(what) if excused && what.contains(UNREADABLE) => {
                    self.snapshot_unusable(node);
                }
                FatalReason::Config(ConfigError::AheadOfJournal { .. } | ConfigError::Restored(_))
                    if excused && self.plan.durable_machines =>
                {
                    // It remembers more than its damaged log has: it begins anew.
                    *lock(&slot.registers) = Registers::default();
                }
                FatalReason::Panicked(_) => self.oracle.violated("panic", Some(node), text.clone()),
                FatalReason::Violation(_) => self.oracle.violated("alarm", Some(node), text.clone()),
                _ => self.oracle.violated("node-stopped", Some(node), text.clone()),
            },
        }
        self.slots[node].disk.end_life();
        self.network.process_gone(node, true);
        self.end_life(node, &text);
        self.come_back(node, back);
    }
}

fn ended_already(live: &LiveNode) -> Option<Result<(), Arc<FatalReason>>> {
    let stopped = pin!(live.handle.stopped());
    match stopped.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(end) => Some(end),
        Poll::Pending => None,
    }
}

fn ended_how(live: &LiveNode) -> Result<(), Arc<FatalReason>> {
    ended_already(live)
        .unwrap_or_else(|| Err(Arc::new(FatalReason::Panicked("its task has ended and it has not".into()))))
}

/// The time a disk takes is as the plan says.
pub(crate) fn set_pace(pace: &Pace, takes: (Nanos, Nanos), hangs_until: Nanos) {
    pace.least.store(takes.0, Ordering::Relaxed);
    pace.most.store(takes.1, Ordering::Relaxed);
    pace.hangs_until.store(hangs_until, Ordering::Relaxed);
}
