//! Does what the plan says to the processes and the network, and undoes it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use super::limits;
use super::load::Load;
use super::network::Network;
use super::plan::{Fault, Rank, Step};
use super::relay::Link;
use crate::guard::Signal;
use crate::servers::{PATIENCE, Servers};
use crate::util::progress::Progress;
use crate::util::random::Random;
use crate::util::resp::Client;
use crate::util::{Context, Failure};

/// A node that is asked who leads has so long to answer: others may be frozen.
const ASK: Duration = Duration::from_millis(500);

/// What was done.
#[derive(Clone, Debug, Default)]
pub(super) struct Harm {
    /// Processes that were killed.
    pub(super) kills: u64,
    /// Processes that died of a write that the system cut.
    pub(super) torn: u64,
    /// Processes that were frozen.
    pub(super) freezes: u64,
    /// Times that links were cut.
    pub(super) cuts: u64,
    /// Times that links were made slow.
    pub(super) slowed: u64,
    /// Processes that were stopped and started again.
    pub(super) restarts: u64,
    /// Times that a leader was told to hand over.
    pub(super) transfers: u64,
    /// Times that a voter became a learner, or a member left.
    pub(super) changes: u64,
    /// Nodes that came back with an empty disk.
    pub(super) wiped: u64,
    /// Backups that were taken, and were sound.
    pub(super) backups: u64,
    /// By the name of the step: how often, and how long until the next acknowledged write after it, at worst.
    pub(super) steps: BTreeMap<&'static str, (u32, Duration)>,
}

/// Whoever does the harm.
pub(super) struct Nemesis<'a> {
    pub(super) servers: &'a mut Servers,
    pub(super) network: &'a mut Network,
    pub(super) load: &'a Load,
    pub(super) progress: &'a Progress,
    pub(super) log: File,
    pub(super) start: Instant,
    /// Decides where writes are cut.
    pub(super) random: Random,
    pub(super) harm: Harm,
}

/// What must be undone.
#[derive(Default)]
struct Undo {
    start: Vec<usize>,
    /// These may be dead or not.
    doomed: Vec<usize>,
    thaw: Vec<usize>,
    /// These are learners now, or not.
    promote: Vec<usize>,
    /// These have left, or lost their disk.
    rejoin: Vec<usize>,
    heal: bool,
}

impl Nemesis<'_> {
    /// One step, from the wait before it to the first write that is acknowledged after it.
    pub(super) fn step(&mut self, step: &Step) -> Result<(), Failure> {
        self.wait(Duration::from_millis(step.wait_ms))?;
        let order = self.order(step.salt);
        let mut undo = Undo::default();
        for fault in &step.faults {
            self.apply(fault, &order, &mut undo)?;
        }
        let met = self.describe(step, &order);
        self.say(&format!("{met}, for {} ms", step.hold_ms))?;
        self.wait(Duration::from_millis(step.hold_ms))?;
        self.undo(&undo, step.breaks)?;
        let took = self.progress_after(&met)?;
        self.say(&format!("{met}: over; next write acknowledged after {} ms", took.as_millis()))?;
        self.progress.line(&format!(
            "{:>7.2} s  {met}, {} ms; next write acknowledged after {} ms",
            self.start.elapsed().as_secs_f64(),
            step.hold_ms,
            took.as_millis()
        ));
        let (times, worst) = self.harm.steps.entry(step.name).or_default();
        *times += 1;
        *worst = (*worst).max(took);
        Ok(())
    }

    fn wait(&mut self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        loop {
            self.servers.check_alive()?;
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(());
            }
            std::thread::sleep(rest.min(Duration::from_millis(50)));
        }
    }

    /// The nodes by rank: who leads first; anybody if nobody is known to lead.
    fn order(&self, salt: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.servers.all.len()).collect();
        Random::new(salt).shuffle(&mut order);
        if let Some(leader) = self.servers.leader_within(ASK)
            && let Some(place) = order.iter().position(|node| *node == leader)
        {
            order.swap(0, place);
        }
        order
    }

    fn apply(&mut self, fault: &Fault, order: &[usize], undo: &mut Undo) -> Result<(), Failure> {
        let nodes = |ranks: &[Rank]| ranks.iter().filter_map(|rank| order.get(*rank).copied()).collect();
        let links = |pairs: &[(Rank, Rank)]| -> Vec<Link> {
            pairs.iter().filter_map(|(a, b)| Some((*order.get(*a)?, *order.get(*b)?))).collect()
        };
        match fault {
            Fault::Kill(ranks) => {
                let victims: Vec<usize> = nodes(ranks);
                for at in victims {
                    self.servers.kill(at)?;
                    self.network.runs(at, None);
                    undo.start.push(at);
                    self.harm.kills += 1;
                }
            }
            Fault::Freeze(ranks) => {
                let victims: Vec<usize> = nodes(ranks);
                for at in victims {
                    self.servers.signal(at, Signal::Stop)?;
                    undo.thaw.push(at);
                    self.harm.freezes += 1;
                }
            }
            Fault::Tear(ranks) => {
                let victims: Vec<usize> = nodes(ranks);
                for at in victims {
                    let end = limits::end_of_newest(&self.servers.data(at));
                    let (Some(end), Some(process)) = (end, self.servers.process(at)) else { continue };
                    self.servers.doom(at);
                    limits::end_files(process, end + self.random.between(1, 3000))?;
                    undo.doomed.push(at);
                }
            }
            Fault::Restart(rank) => {
                for at in nodes(&[*rank]) {
                    if !self.servers.terminate(at)? {
                        let id = self.servers.all[at].id;
                        return Err(Failure::new(format!("node {id} was told to stop and did not end well")));
                    }
                    self.network.runs(at, None);
                    undo.start.push(at);
                    self.harm.restarts += 1;
                }
            }
            Fault::Cut(pairs) => {
                self.network.cut(&links(pairs))?;
                undo.heal = true;
                self.harm.cuts += 1;
            }
            Fault::Slow(pairs, ms) => {
                self.network.slow(&links(pairs), Duration::from_millis(*ms));
                undo.heal = true;
                self.harm.slowed += 1;
            }
            Fault::Transfer(rank) => {
                for at in nodes(&[*rank]) {
                    let to = self.servers.all[at].id.to_string();
                    // Whether it agrees, and whether the answer comes, is its business.
                    if let Some(leader) = order.first()
                        && let Ok(mut client) = Client::connect(self.servers.all[*leader].address, ASK)
                    {
                        let _ = client.call(&[b"RAFT", b"TRANSFER", to.as_bytes()]);
                    }
                    self.harm.transfers += 1;
                }
            }
            Fault::Demote(rank) => {
                for at in nodes(&[*rank]) {
                    self.change(order, "DEMOTE", at);
                    undo.promote.push(at);
                }
            }
            Fault::Remove(rank) => {
                for at in nodes(&[*rank]) {
                    // It may end, once it knows.
                    self.servers.doom(at);
                    self.change(order, "REMOVE", at);
                    undo.rejoin.push(at);
                }
            }
            Fault::Wipe(rank) => {
                for at in nodes(&[*rank]) {
                    self.servers.kill(at)?;
                    self.network.runs(at, None);
                    self.harm.kills += 1;
                    undo.rejoin.push(at);
                }
            }
            Fault::Snapshot(rank) => {
                for at in nodes(&[*rank]) {
                    let _ = self.ask_once(at, &["RAFT", "SNAPSHOT"], ASK);
                }
            }
            Fault::Backup => {
                let number = self.random.next();
                self.backup(number)?;
                self.harm.backups += 1;
            }
        }
        Ok(())
    }

    /// Asks the leader to change the members. Whether it does, and says so in time, is its business.
    fn change(&mut self, order: &[usize], word: &str, at: usize) {
        let id = self.servers.all[at].id.to_string();
        if let Some(leader) = order.first() {
            let _ = self.ask_once(*leader, &["RAFT", word, &id], ASK);
        }
        self.harm.changes += 1;
    }

    fn undo(&mut self, undo: &Undo, breaks: bool) -> Result<(), Failure> {
        if undo.heal {
            self.network.heal(breaks)?;
        }
        for at in &undo.thaw {
            self.servers.signal(*at, Signal::Continue)?;
        }
        for at in &undo.doomed {
            self.harm.torn += u64::from(self.servers.has_ended(*at));
            self.servers.kill(*at)?;
            self.start_node(*at)?;
        }
        for at in &undo.start {
            self.start_node(*at)?;
        }
        for at in &undo.promote {
            self.promote(*at)?;
        }
        for at in &undo.rejoin {
            self.rejoin(*at)?;
            self.harm.wiped += 1;
        }
        Ok(())
    }

    /// Starts a node that has no process.
    pub(super) fn start_node(&mut self, at: usize) -> Result<(), Failure> {
        self.servers.launch(at)?;
        self.network.runs(at, self.servers.process(at));
        Ok(())
    }

    /// How long it takes until a write is acknowledged that was sent after now.
    fn progress_after(&mut self, what: &str) -> Result<Duration, Failure> {
        let begun = self.load.watch().begin();
        let deadline = begun + PATIENCE;
        let first = loop {
            if let Some(first) = self.load.watch().first() {
                break first;
            }
            self.servers.check_alive()?;
            if Instant::now() > deadline {
                return Err(Failure::new(format!(
                    "no write was acknowledged within {PATIENCE:?} after this was over: {what}"
                )));
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        self.load.watch().end();
        Ok(first.saturating_duration_since(begun))
    }

    /// What is done to whom, with the nodes' ids.
    fn describe(&self, step: &Step, order: &[usize]) -> String {
        let id = |rank: &Rank| order.get(*rank).map_or(0, |at| self.servers.all[*at].id).to_string();
        let ids = |ranks: &[Rank]| ranks.iter().map(id).collect::<Vec<_>>().join(" ");
        let links = |pairs: &[(Rank, Rank)]| {
            pairs.iter().map(|(a, b)| format!("{}>{}", id(a), id(b))).collect::<Vec<_>>().join(" ")
        };
        let of = |fault: &Fault| match fault {
            Fault::Kill(ranks) | Fault::Freeze(ranks) | Fault::Tear(ranks) => ids(ranks),
            Fault::Restart(rank) => id(rank),
            Fault::Transfer(rank) => format!("to {}", id(rank)),
            Fault::Demote(rank) | Fault::Remove(rank) | Fault::Wipe(rank) | Fault::Snapshot(rank) => id(rank),
            Fault::Backup => String::from("the leader"),
            Fault::Cut(pairs) => links(pairs),
            Fault::Slow(pairs, ms) => format!("{} by {ms} ms", links(pairs)),
        };
        let met: Vec<String> = step.faults.iter().map(of).collect();
        format!("{} ({})", step.name, met.join("; "))
    }

    /// Into a file, with the clients' clock: to be laid beside their history.
    fn say(&mut self, what: &str) -> Result<(), Failure> {
        let now = self.load.watch().now();
        writeln!(self.log, "{now} {what}").context(|| String::from("cannot write the log of the faults"))
    }
}
