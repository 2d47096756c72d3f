//! Runs commands: one function each.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use raft_core::backend::{HardState, JournalWrite, SnapshotId, Vote};
use raft_core::entry::{Entry, EntryKind, pack};
use raft_core::ids::{ClusterId, GroupId, Index, LogId, NodeId, ReadId, Term};
use raft_core::membership::{Member, Membership};
use raft_core::message::{Envelope, PeerEvent};
use raft_core::raft::{Apply, Restored, plan_start};
use raft_core::status::RoleKind;
use raft_core::time::Time;
use raft_core::{Config, Lease, Raft, Settings};

use super::describe;
use super::disk::Disk;
use super::inject;
use super::network::{Lines, Network};
use super::parser::Command;
use super::snapshots::{Stored, Task};
use super::words::{self, Words};

pub(super) type Done = Result<(), String>;

const CLUSTER: ClusterId = ClusterId(7);

/// More steps than any story needs: something goes in circles.
pub(super) const ENOUGH: usize = 20_000;

/// One node: the machine, its disk, its state machine.
#[derive(Default)]
pub(super) struct Node {
    pub(super) raft: Option<Raft>,
    pub(super) disk: Disk,
    /// The write under way; the journal takes one at a time.
    pub(super) writing: Option<JournalWrite>,
    pub(super) disk_held: bool,
    pub(super) applied: Vec<Entry>,
    pub(super) applying: Option<Apply>,
    pub(super) machine_held: bool,
    /// What the store of snapshots is to do, one after the other.
    pub(super) tasks: VecDeque<Task>,
    pub(super) store_held: bool,
}

/// All nodes, what is between them, and the clock.
#[derive(Default)]
pub(super) struct World {
    nodes: BTreeMap<NodeId, Node>,
    pub(super) network: Network,
    pub(super) now: Time,
    settings: Vec<(String, u64)>,
    pub(super) trace: Vec<String>,
    pub(super) quiet: bool,
    /// Who led which term, and what was applied: the same everywhere, always.
    pub(super) leaders: BTreeMap<Term, NodeId>,
    pub(super) applied: BTreeMap<Index, Entry>,
    /// Every snapshot that was taken.
    pub(super) snapshots: BTreeMap<SnapshotId, Stored>,
}

impl World {
    /// Runs one command. An error is a mistake in the file, or a broken promise of the core.
    pub(super) fn execute(&mut self, command: &Command) -> Done {
        let mut words = command.words.clone();
        let name = words.next("a command")?;
        match name.as_str() {
            "cluster" => self.cluster(&mut words)?,
            "limbo" => self.limbo(&mut words)?,
            "lead" => self.lead(&mut words)?,
            "crash" => self.crash(&mut words)?,
            "restart" => self.restart(&mut words)?,
            "lose" | "rollback" => self.damage(&mut words, name == "lose")?,
            "forge" => self.forge(&mut words)?,
            "hard" => self.hard(&mut words)?,
            "propose" => self.propose(&mut words)?,
            "read" => self.read(&mut words)?,
            "transfer" => self.transfer(&mut words)?,
            "change" => self.change(&mut words)?,
            "plan" => self.plan(&mut words)?,
            "members" => self.members(&mut words)?,
            "campaign" => {
                let id = words.node()?;
                let now = self.now;
                self.raft(id)?.campaign(now);
                self.drain(id)?;
            }
            "deliver" => self.deliver(&mut words)?,
            "drop" => drop(self.network.take(lines(&mut words)?, false)),
            "duplicate" => self.network.duplicate(lines(&mut words)?),
            "reorder" => self.network.reorder(lines(&mut words)?),
            "show" => self.show(&mut words)?,
            "stash" | "copy" => self.stash(&mut words, name == "copy")?,
            "unstash" => self.unstash(&mut words)?,
            "isolate" => self.network.isolate(words.node()?),
            "cut" => self.network.cut(words.node()?, words.node()?),
            "heal" => {
                let node = if words.is_empty() { None } else { Some(words.node()?) };
                self.network.heal(node);
            }
            "up" | "down" | "gone" => self.connection(&name, &mut words)?,
            "elapse" => self.now = self.now + words.duration()?,
            "timeout" => self.timeout(&mut words)?,
            "run" => {
                let span = words.duration()?;
                self.run(span)?;
            }
            "disk" => self.disk(&mut words)?,
            "machine" => self.machine(&mut words)?,
            "snapshot" => self.snapshot(&mut words)?,
            "store" => self.store(&mut words)?,
            "inject" => self.inject(&mut words)?,
            "status" => {
                let id = words.node()?;
                let now = self.now;
                let lines = describe::status(&self.raft(id)?.status(now));
                self.trace.extend(lines);
            }
            "counters" => self.counters(&mut words)?,
            "set" => self.set(&mut words)?,
            "quiet" => {
                self.quiet = words.take("on");
                if !self.quiet {
                    words.expect("off")?;
                }
            }
            _ => return Err(format!("no such command: {name}")),
        }
        words.end()
    }

    /// What happened since the last call.
    pub(super) fn take_trace(&mut self) -> Vec<String> {
        let trace = core::mem::take(&mut self.trace);
        if trace.is_empty() { vec!["(nothing)".to_owned()] } else { trace }
    }

    pub(super) fn say(&mut self, line: String) {
        if !self.quiet {
            self.trace.push(line);
        }
    }

    pub(super) fn node(&mut self, id: NodeId) -> Result<&mut Node, String> {
        self.nodes.get_mut(&id).ok_or_else(|| format!("there is no node {id}"))
    }

    pub(super) fn raft(&mut self, id: NodeId) -> Result<&mut Raft, String> {
        self.node(id)?.raft.as_mut().ok_or_else(|| format!("node {id} is down"))
    }

    fn crashed(&mut self, id: NodeId) -> Result<&mut Disk, String> {
        let node = self.node(id)?;
        if node.raft.is_some() { Err(format!("node {id} is up")) } else { Ok(&mut node.disk) }
    }

    fn cluster(&mut self, words: &mut Words) -> Done {
        let mut ids = Vec::new();
        while !words.is_empty() {
            let word = words.next("a node")?;
            match word.split_once('=') {
                Some((key, value)) => self.settings.push((key.to_owned(), words::number(value)?)),
                None => ids.push(NodeId(words::number(&word)?)),
            }
        }
        let members = ids.iter().map(|id| Member::new(*id, format!("node-{id}")));
        let membership = Membership::of_voters(members).map_err(|error| error.to_string())?;
        let first = Entry { id: LogId::new(0, 1), kind: EntryKind::Membership, data: membership.encode() };
        for id in ids {
            self.nodes.insert(id, Node { disk: Disk::new(Some(first.clone())), ..Node::default() });
            self.start(id)?;
        }
        Ok(())
    }

    fn limbo(&mut self, words: &mut Words) -> Done {
        let id = words.node()?;
        self.nodes.insert(id, Node::default());
        self.start(id)
    }

    fn start(&mut self, id: NodeId) -> Done {
        let mut config = Config::new(id, CLUSTER);
        config.snapshot_keep_entries = 0;
        for (key, value) in &self.settings {
            match key.as_str() {
                "tail-bytes" => config.tail_limit_bytes = *value,
                "tail-keep-bytes" => config.tail_keep_bytes = *value,
                "append-bytes" => config.append_limit_bytes = *value,
                "window-messages" => config.window_messages = usize::try_from(*value).unwrap_or(usize::MAX),
                "window-bytes" => config.window_bytes = *value,
                "write-bytes" => config.write_limit_bytes = *value,
                "uncommitted-bytes" => config.uncommitted_limit_bytes = *value,
                "apply-bytes" => config.apply_limit_bytes = *value,
                "seed" => config.seed = *value,
                "keep" => config.snapshot_keep_entries = *value,
                "chunk-bytes" => {
                    (config.snapshot_chunk_bytes, config.snapshot_window_bytes) = (*value, *value);
                }
                "promote-lag" => config.promote_lag_entries = *value,
                "lease-ppm" => {
                    let max_drift_ppm = u32::try_from(*value).unwrap_or(u32::MAX);
                    config.lease = Some(Lease { max_drift_ppm });
                }
                _ => return Err(format!("no such setting: {key}")),
            }
        }
        let applied = self.prepare(id)?;
        let now = self.now;
        let node = self.node(id)?;
        let snapshot = node.disk.snapshot.as_ref().map(|snapshot| snapshot.meta.clone());
        let restored = Restored { journal: node.disk.state(CLUSTER, id), snapshot, applied };
        let raft = Raft::new(config, restored, now).map_err(|error| error.to_string())?;
        node.raft = Some(raft);
        // Where everybody starts is no news.
        while self.raft(id)?.poll_event().is_some() {}
        self.drain(id)
    }

    /// Makes what is on the disk fit together, as a driver does; the state machine begins empty. What it has then.
    fn prepare(&mut self, id: NodeId) -> Result<LogId, String> {
        let node = self.node(id)?;
        node.applied.clear();
        let snapshot = node.disk.snapshot.clone();
        let meta = snapshot.as_ref().map(|snapshot| &snapshot.meta);
        let plan = plan_start(&node.disk.state(CLUSTER, id), meta, LogId::ZERO);
        let plan = plan.map_err(|error| error.to_string())?;
        if let Some(to) = plan.reset {
            node.disk.reset(to)?;
            self.say(format!("{id} begins its log anew after {to}"));
        }
        let Some(snapshot) = snapshot.filter(|_| plan.install) else { return Ok(LogId::ZERO) };
        self.install(id, &snapshot)?;
        Ok(snapshot.meta.upto)
    }

    fn lead(&mut self, words: &mut Words) -> Done {
        let id = words.node()?;
        let quiet = core::mem::replace(&mut self.quiet, true);
        let result = self.make_leader(id);
        self.quiet = quiet;
        let status = result?;
        self.say(format!("{id} leads term {}, log ends at {}", status.0, status.1));
        Ok(())
    }

    fn make_leader(&mut self, id: NodeId) -> Result<(Term, LogId), String> {
        let config = self.raft(id)?.config();
        if config.lease.is_some() {
            // Who has just come up may have promised something to somebody.
            let promised = config.election_timeout;
            self.now = self.now + promised;
        }
        let now = self.now;
        self.raft(id)?.campaign(now);
        self.drain(id)?;
        self.deliver_all()?;
        if self.raft(id)?.role_kind() != RoleKind::Leader {
            return Err(format!("node {id} does not become leader"));
        }
        // One more heartbeat, and everybody knows what is committed.
        self.now = self.now + Duration::from_millis(50);
        self.fire(id)?;
        self.deliver_all()?;
        let now = self.now;
        let status = self.raft(id)?.status(now);
        Ok((status.term, status.last))
    }

    fn crash(&mut self, words: &mut Words) -> Done {
        let id = words.node()?;
        let keep = if words.take("keeping") { Some(words.number("a count")?) } else { None };
        let node = self.node(id)?;
        if let (Some(write), Some(keep)) = (node.writing.take(), keep) {
            node.disk.write(&write, usize::try_from(keep).unwrap_or(usize::MAX))?;
        }
        *node = Node { disk: core::mem::take(&mut node.disk), ..Node::default() };
        self.network.lose_for(id);
        Ok(())
    }

    fn restart(&mut self, words: &mut Words) -> Done {
        let id = words.node()?;
        let disk = self.crashed(id)?;
        let line = format!(
            "{id} restarts: {}, log ends at {}",
            describe::hard(disk.hard),
            describe::place(disk.last())
        );
        self.say(line);
        self.start(id)
    }

    fn damage(&mut self, words: &mut Words, noticed: bool) -> Done {
        let disk = self.crashed(words.node()?)?;
        if noticed {
            words.expect("from")?;
            disk.cut(Index(words.number("an index")?));
            disk.hard.probation = true;
        } else {
            words.expect("to")?;
            disk.cut(Index(words.number("an index")?).next());
        }
        Ok(())
    }

    fn forge(&mut self, words: &mut Words) -> Done {
        let disk = self.crashed(words.node()?)?;
        for id in words.log_ids() {
            if id.index != disk.last().index.next() {
                return Err(format!("{id} does not follow {}", disk.last()));
            }
            disk.entries.push(Entry { id, kind: EntryKind::Noop, data: Bytes::new() });
            if id.term > disk.hard.term {
                disk.hard = HardState { term: id.term, vote: Vote::None, ..disk.hard };
            }
        }
        Ok(())
    }

    fn hard(&mut self, words: &mut Words) -> Done {
        let disk = self.crashed(words.node()?)?;
        let term = Term(words.keyed("term", 0)?);
        let vote = if words.take("vote") { Vote::For(words.node()?) } else { Vote::None };
        disk.hard = HardState { term, vote, ..disk.hard };
        Ok(())
    }

    fn propose(&mut self, words: &mut Words) -> Done {
        let id = words.node()?;
        let text = words.next("a command's text")?;
        let command = match text.strip_prefix("bytes=") {
            Some(bytes) => {
                Bytes::from(vec![b'x'; usize::try_from(words::number(bytes)?).unwrap_or(usize::MAX)])
            }
            None => Bytes::from(text.trim_matches('"').to_owned()),
        };
        let now = self.now;
        let result = self.raft(id)?.propose(now, pack(&[command]));
        self.say(match result {
            Ok(at) => format!("{id} proposes {at}"),
            Err(error) => format!("{id} refuses: {error}"),
        });
        self.drain(id)
    }

    fn read(&mut self, words: &mut Words) -> Done {
        let (id, read) = (words.node()?, ReadId(words.number("a read")?));
        let here = words.take("here");
        let now = self.now;
        let raft = self.raft(id)?;
        let result = if here { raft.read_anywhere(now, read) } else { raft.read(now, read) };
        if let Err(error) = result {
            self.say(format!("{id} refuses read {read}: {error}"));
        }
        self.drain(id)
    }

    /// Other settings for a running node.
    fn set(&mut self, words: &mut Words) -> Done {
        let id = words.node()?;
        let mut settings = Settings::default();
        while !words.is_empty() {
            let word = words.next("a setting")?;
            let (key, value) = word.split_once('=').ok_or("a setting is NAME=VALUE")?;
            let number = || words::number(value);
            match key {
                "priority" => {
                    settings.priority = Some(value.parse().map_err(|_| format!("no priority: {value}"))?);
                }
                "election-timeout-ms" => {
                    settings.election_timeout = Some(Duration::from_millis(number()?));
                }
                "heartbeat-ms" => settings.heartbeat_interval = Some(Duration::from_millis(number()?)),
                "lease-ppm" => {
                    let max_drift_ppm = u32::try_from(number()?).unwrap_or(u32::MAX);
                    settings.lease = Some((max_drift_ppm > 0).then_some(Lease { max_drift_ppm }));
                }
                _ => return Err(format!("no such setting: {key}")),
            }
        }
        let now = self.now;
        if let Err(error) = self.raft(id)?.reconfigure(now, &settings) {
            self.say(format!("{id} refuses: {error}"));
        }
        self.drain(id)
    }

    fn transfer(&mut self, words: &mut Words) -> Done {
        let id = words.node()?;
        let to = if words.is_empty() { None } else { Some(words.node()?) };
        let now = self.now;
        let result = self.raft(id)?.transfer_leadership(now, to);
        self.say(match result {
            Ok(to) => format!("{id} begins to hand over to {to}"),
            Err(error) => format!("{id} refuses to hand over: {error}"),
        });
        self.drain(id)
    }

    fn deliver(&mut self, words: &mut Words) -> Done {
        let of = lines(words)?;
        let one = words.take("one");
        if of.pair.is_none() && of.lane.is_none() && !one {
            return self.deliver_all();
        }
        for envelope in self.network.take(of, one) {
            self.arrive(envelope)?;
        }
        Ok(())
    }

    fn deliver_all(&mut self) -> Done {
        for _ in 0..ENOUGH {
            let envelopes = self.network.take(Lines::default(), false);
            if envelopes.is_empty() {
                return Ok(());
            }
            for envelope in envelopes {
                self.arrive(envelope)?;
            }
        }
        Err("messages go in circles".into())
    }

    /// A node that is down loses it.
    fn arrive(&mut self, envelope: Envelope) -> Done {
        let (to, now) = (envelope.to, self.now);
        let Some(raft) = self.nodes.get_mut(&to).and_then(|node| node.raft.as_mut()) else { return Ok(()) };
        raft.handle_message(now, envelope);
        self.drain(to)
    }

    fn show(&mut self, words: &mut Words) -> Done {
        let of = lines(words)?;
        let queued: Vec<String> = self
            .network
            .queued(of)
            .map(|envelope| {
                let text = describe::message(envelope).replace("{to}", &envelope.to.to_string());
                format!("under way: {} {text}", envelope.from)
            })
            .collect();
        self.trace.extend(queued);
        Ok(())
    }

    fn stash(&mut self, words: &mut Words, copy: bool) -> Done {
        let of = lines(words)?;
        let name = words.next("a name")?;
        let envelopes: Vec<Envelope> =
            if copy { self.network.queued(of).cloned().collect() } else { self.network.take(of, false) };
        if envelopes.is_empty() {
            return Err("nothing is queued there".into());
        }
        self.network.stash(name, envelopes);
        Ok(())
    }

    fn unstash(&mut self, words: &mut Words) -> Done {
        let name = words.next("a name")?;
        for envelope in self.network.unstash(&name).ok_or_else(|| format!("no stash {name}"))? {
            self.arrive(envelope)?;
        }
        Ok(())
    }

    fn connection(&mut self, name: &str, words: &mut Words) -> Done {
        let (id, peer) = (words.node()?, words.node()?);
        let event = match name {
            "up" => PeerEvent::Up,
            "down" => PeerEvent::Down,
            _ => PeerEvent::Gone,
        };
        let now = self.now;
        self.raft(id)?.handle_peer(now, peer, event);
        self.drain(id)
    }

    fn timeout(&mut self, words: &mut Words) -> Done {
        let id = words.node()?;
        let at = self.raft(id)?.next_timeout().ok_or_else(|| format!("node {id} waits for nothing"))?;
        self.now = self.now.max(at);
        self.fire(id)
    }

    fn fire(&mut self, id: NodeId) -> Done {
        let now = self.now;
        self.raft(id)?.handle_timeout(now);
        self.drain(id)
    }

    fn run(&mut self, span: Duration) -> Done {
        let end = self.now + span;
        self.deliver_all()?;
        for _ in 0..ENOUGH {
            let next =
                self.nodes.iter().filter_map(|(id, node)| Some((node.raft.as_ref()?.next_timeout()?, *id)));
            match next.min().filter(|(at, _)| *at <= end) {
                Some((at, id)) => {
                    self.now = self.now.max(at);
                    self.fire(id)?;
                    self.deliver_all()?;
                }
                None => {
                    self.now = end;
                    return Ok(());
                }
            }
        }
        Err("timers go in circles".into())
    }

    fn disk(&mut self, words: &mut Words) -> Done {
        let id = words.node()?;
        if words.is_empty() {
            let node = self.node(id)?;
            let mut line = format!("{id} has on disk: {}", describe::hard(node.disk.hard));
            if node.disk.purged > LogId::ZERO {
                line.push_str(&format!("; begins after {}", node.disk.purged));
            }
            if node.disk.purged == LogId::ZERO || !node.disk.entries.is_empty() {
                line.push_str(&format!("; {}", describe::ids(&node.disk.entries)));
            }
            if let Some(snapshot) = &node.disk.snapshot {
                line.push_str(&format!("; snapshot {}", snapshot.meta.upto));
            }
            if let Some(part) = &node.disk.part {
                line.push_str(&format!("; {} bytes of snapshot {}", part.data.len(), part.upto));
            }
            if let Some(write) = &node.writing {
                line.push_str(&format!("; under way: {}", describe::write(write)));
            }
            self.trace.push(line);
            return Ok(());
        }
        match words.next("what")?.as_str() {
            "hold" => self.node(id)?.disk_held = true,
            "one" => {
                self.complete(id)?;
                self.drain(id)?;
            }
            "release" => {
                self.node(id)?.disk_held = false;
                self.complete(id)?;
                self.drain(id)?;
            }
            "fail" => {
                let now = self.now;
                self.raft(id)?.handle_write_failed(now);
                self.drain(id)?;
            }
            other => return Err(format!("disk: {other}?")),
        }
        Ok(())
    }

    /// The write under way becomes durable.
    pub(super) fn complete(&mut self, id: NodeId) -> Done {
        let now = self.now;
        let node = self.node(id)?;
        let Some(write) = node.writing.take() else { return Ok(()) };
        node.disk.write(&write, usize::MAX)?;
        if let Some(raft) = &mut node.raft {
            raft.handle_written(now, write.ticket);
        }
        let line = format!("{id} has written {}", describe::write(&write));
        self.say(line);
        Ok(())
    }

    fn machine(&mut self, words: &mut Words) -> Done {
        let id = words.node()?;
        if words.take("hold") {
            self.node(id)?.machine_held = true;
            return Ok(());
        }
        words.expect("release")?;
        let node = self.node(id)?;
        node.machine_held = false;
        if let Some(apply) = node.applying.take() {
            self.finish(id, apply)?;
        }
        self.drain(id)
    }

    fn inject(&mut self, words: &mut Words) -> Done {
        let (from, to) = words.pair()?.ok_or("A->B is missing")?;
        words.expect("term")?;
        let term = Term(words.number("a term")?);
        let message = inject::message(words)?;
        self.raft(to)?;
        self.arrive(Envelope { group: GroupId(0), from, to, term, message })
    }

    fn counters(&mut self, words: &mut Words) -> Done {
        let id = words.node()?;
        let now = self.now;
        let status = self.raft(id)?.status(now);
        let counts = status.counters;
        self.trace.push(format!(
            "{id} counted: {} elections, {} pre-votes, {} vetoes, {} ignored, {} overloaded; {} bytes in memory",
            counts.elections,
            counts.pre_votes,
            counts.vetoes,
            counts.ignored_messages,
            counts.overloaded,
            status.tail_bytes
        ));
        Ok(())
    }
}

fn lines(words: &mut Words) -> Result<Lines, String> {
    Ok(Lines { pair: words.pair()?, lane: words.lane() })
}
