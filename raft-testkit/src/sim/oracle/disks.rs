//! What disks hold, and what recovery makes of them.

use raft_core::backend::{HardState, JournalState, JournalWrite, Verdict};
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Identity, Index, LogId, Term};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::coverage::Point;
use super::super::events::Tag;
use super::{Floor, Inflight, Item, Model, Oracle, State, number, place};

/// A digest of an entry's contents.
fn digest(entry: &Entry) -> u64 {
    let kind = match entry.kind {
        EntryKind::Noop => 0,
        EntryKind::Commands => 1,
        EntryKind::Membership => 2,
        _ => 3,
    };
    xxh3_64_with_seed(&entry.data, kind)
}

fn item(entry: &Entry) -> Item {
    Item { term: entry.id.term, digest: digest(entry) }
}

impl Oracle {
    /// A node's journal is created with this.
    pub(crate) fn created(&self, node: usize, hard: HardState, entries: &[Entry]) {
        let mut state = self.lock();
        let model = &mut state.nodes[node];
        *model = Model { ppm: model.ppm, hard, ..Model::default() };
        state.members_written(0, node, entries);
        let model = &mut state.nodes[node];
        model.log = entries.iter().map(item).collect();
        state.written(0, node, Index(1), Term::ZERO, &entries.iter().map(item).collect::<Vec<_>>());
    }

    /// A journal begins a write.
    pub(crate) fn write_begins(&self, node: usize, write: &JournalWrite) {
        let at = self.now();
        let mut state = self.lock();
        let items: Vec<Item> = write.entries.iter().map(item).collect();
        let first = write.entries.first().map_or(0, |entry| entry.id.index.0);
        let last = write.entries.last().map_or(0, |entry| entry.id.index.0);
        let from = write.truncate_from.map_or(0, |index| index.0);
        let hard = write.hard_state;
        let numbers = [first, last, hard.map_or(0, |hard| hard.term.0), from];
        state.events.note(at, number(Some(node)), Tag::Write, numbers, || {
            let hard = hard.map_or_else(String::new, |hard| format!(" {hard:?}"));
            let cut = if from > 0 { format!(" cut from {from}") } else { String::new() };
            let entries = if first > 0 { format!(" entries {first}..={last}") } else { String::new() };
            format!("begins:{hard}{cut}{entries}")
        });
        let big = write.entries.iter().map(|entry| entry.data.len()).max().unwrap_or(0);
        state.cover.hit_if(big > 4096, Point::BigEntry);
        state.cover.hit_if(big > 16_384, Point::EntryOfManyBlocks);
        if let Some(from) = write.truncate_from {
            state.truncated(at, node, from);
        }
        if let Some(entry) = write.entries.first() {
            let index = entry.id.index;
            let before = index.prev();
            let prev = if before == Index::ZERO {
                Term::ZERO
            } else {
                state.nodes[node].log.get(place(before)).map_or(Term::ZERO, |item| item.term)
            };
            state.written(at, node, index, prev, &items);
            state.members_written(at, node, &write.entries);
        }
        let known = write.known_peers.clone();
        state.nodes[node].inflight =
            Some(Inflight { hard, truncate_from: write.truncate_from, items, known });
    }

    /// A node lets a peer in. Its memory of the peer must be on its disk, or the peer's disk could be
    /// exchanged without its noticing.
    pub(crate) fn admits(&self, node: usize, peer: Identity) {
        let at = self.now();
        let mut state = self.lock();
        if let Some(met) = state.nodes.get_mut(super::members::node_of(peer.node)) {
            met.store = Some(peer.store);
        }
        let model = &state.nodes[node];
        let known = model.known.iter().any(|known| {
            known.node == peer.node
                && known.store == peer.store
                && known.incarnation.number >= peer.incarnation.number
        });
        // Strangers leave no trace; nor does who becomes a member just now: it shakes hands anew.
        let members = state.memberships.of_log(&model.log).filter(|_| model.members.contains(&peer.node));
        if !known && !model.damaged && members.is_some_and(|members| members.is_member(peer.node)) {
            let what = format!("it lets {} in, whom its disk does not know: {:?}", peer.node, model.known);
            state.violated(at, "admitted-unremembered", Some(node), what);
        }
    }

    /// A journal says that the write it began is durable; `unsynced` says which files it left unsynced. Returns how
    /// many writes the node has finished, in all its lives.
    pub(crate) fn write_done(&self, node: usize, unsynced: &[String]) -> u64 {
        let at = self.now();
        let mut state = self.lock();
        if !unsynced.is_empty() {
            let what = format!("a write is done while {unsynced:?} are not synced");
            state.violated(at, "ack-not-durable", Some(node), what);
        }
        let model = &mut state.nodes[node];
        if let Some(inflight) = model.inflight.take() {
            inflight.apply(model, usize::MAX);
        }
        let last = model.log.len() as u64;
        model.writes += 1;
        let writes = model.writes;
        state
            .events
            .note(at, number(Some(node)), Tag::Written, [last, 0, 0, 0], || format!("through {last}"));
        writes
    }

    /// A journal says that the write it began found no space: what is kept beside the log is durable, the rest is not
    /// there.
    pub(crate) fn write_found_no_space(&self, node: usize) {
        let mut state = self.lock();
        let model = &mut state.nodes[node];
        if let Some(inflight) = model.inflight.take() {
            Inflight { truncate_from: None, items: Vec::new(), ..inflight }.apply(model, usize::MAX);
        }
    }

    /// A copy of what the disk would have after a power cut was opened: it must have all that was
    /// acknowledged.
    pub(crate) fn image_read(&self, node: usize, hard: HardState, purged: LogId, entries: &[Entry]) {
        let at = self.now();
        let mut state = self.lock();
        let model = &state.nodes[node];
        if model.floor.is_some() {
            // Where it begins is being changed.
            return;
        }
        let log = model.log.get(purged.index.0 as usize..).unwrap_or_default();
        let same = model.hard == hard
            && model.purged == purged.index
            && log.len() == entries.len()
            && log.iter().zip(entries).all(|(mine, entry)| *mine == item(entry));
        if !same {
            let what = format!(
                "its disk has {hard:?} and {} entries after {purged}; acknowledged are {:?} and {} after {}",
                entries.len(),
                model.hard,
                log.len(),
                model.purged
            );
            state.violated(at, "commit-not-durable", Some(node), what);
        }
    }

    /// A journal with an old or a new disk was opened: what it has says nothing about what it acknowledged.
    pub(crate) fn replaced(&self, node: usize, restored: &JournalState, entries: &[Entry]) {
        let mut state = self.lock();
        let model = &mut state.nodes[node];
        model.remember();
        let (ppm, had) = (model.ppm, std::mem::take(&mut model.had));
        *model = Model { ppm, had, damaged: true, log_at_risk: true, ..Model::default() };
        model.hard = restored.hard_state;
        model.store = Some(restored.identity.store);
        let known = state.committed.get(..restored.purged.index.0 as usize).unwrap_or_default().to_vec();
        let model = &mut state.nodes[node];
        model.log = known;
        model.log.extend(entries.iter().map(item));
        model.purged = restored.purged.index;
        // It must not vote for anybody.
        model.lossy = true;
    }

    /// A journal was opened with this outcome. `damaged` says whether its disk was harmed in a way that
    /// may cost acknowledged entries.
    pub(crate) fn recovered(&self, node: usize, restored: &JournalState, entries: &[Entry], damaged: bool) {
        let at = self.now();
        let mut state = self.lock();
        let model = state.nodes[node].clone();
        let begins = restored.purged;
        let mut found: Vec<Item> =
            state.committed.get(..begins.index.0 as usize).unwrap_or_default().to_vec();
        found.extend(entries.iter().map(item));
        let numbers = [
            restored.identity.incarnation.number,
            restored.last.index.0,
            restored.hard_state.term.0,
            u64::from(restored.hard_state.probation),
        ];
        let text = || {
            format!(
                "incarnation {}, log to {}, {:?}, verdict {:?}",
                restored.identity.incarnation.number, restored.last, restored.hard_state, restored.verdict
            )
        };
        state.events.note(at, number(Some(node)), Tag::Up, numbers, text);
        let lossy = matches!(restored.verdict, Verdict::SuspectTail { .. } | Verdict::Corrupt(_));
        state.count_recovery(&model, restored, &found, lossy);
        if lossy && !damaged && matches!(restored.verdict, Verdict::SuspectTail { .. }) {
            // A few tears cannot be told from rot (docs/journal-format.md, limits): probation is right.
            state.events.note(at, number(Some(node)), Tag::Note, [2, 0, 0, 0], || "false alarm".into());
        } else if lossy && !damaged {
            let what = format!("{:?} although nothing was harmed", restored.verdict);
            state.violated(at, "recovery", Some(node), what);
        }
        let begun = match model.floor {
            Some(Floor::Purge(upto)) => begins.index == model.purged || begins.index == upto.index,
            Some(Floor::Reset(to)) => begins.index == model.purged || begins.index == to.index,
            None => begins.index == model.purged,
        };
        state.cover.hit_if(matches!(model.floor, Some(Floor::Purge(_))), Point::CrashInPurge);
        state.cover.hit_if(matches!(model.floor, Some(Floor::Reset(_))), Point::CrashInReset);
        if !begun && !model.damaged && !lossy {
            let what = format!("its log begins after {begins}; it began after {}", model.purged);
            state.violated(at, "recovery", Some(node), what);
        }
        if let Some(what) = state.illegal(&model, restored, &found, lossy) {
            state.violated(at, "recovery", Some(node), what);
        }
        if lossy && !restored.hard_state.probation {
            state.violated(at, "recovery", Some(node), "it lost entries and is not on probation".into());
        }
        let model = &mut state.nodes[node];
        if lossy || model.damaged {
            model.remember();
        }
        // What opening has found is durable from here on.
        model.hard = restored.hard_state;
        model.lossy |= lossy || (model.damaged && restored.hard_state.probation);
        model.log = found;
        model.inflight = None;
        model.floor = None;
        model.purged = begins.index;
        model.known.clone_from(&restored.known_peers);
        model.store = Some(restored.identity.store);
    }
}

impl State {
    /// Entries are being written: they must be what they are elsewhere.
    fn written(&mut self, at: u64, node: usize, first: Index, mut prev: Term, items: &[Item]) {
        for (item, index) in items.iter().zip(first.0..) {
            let index = Index(index);
            if self.written.len() <= place(index) {
                self.written.resize_with(place(index) + 1, Vec::new);
            }
            let known = self.written[place(index)].iter().find(|(other, _)| other.term == item.term).copied();
            match known {
                None => self.written[place(index)].push((*item, prev)),
                Some((other, before)) if other.digest != item.digest || before != prev => {
                    let what =
                        format!("two entries {index} of term {}, after {before} and {prev}", item.term);
                    self.violated(at, "log-matching", Some(node), what);
                }
                Some(_) => {}
            }
            prev = item.term;
        }
    }

    fn truncated(&mut self, at: u64, node: usize, from: Index) {
        let log = &self.nodes[node].log;
        let cut = log.len().saturating_sub(place(from));
        let harmed = (place(from)..log.len()).find(|at| self.committed.get(*at) == log.get(*at));
        if let Some(index) = harmed {
            let what = format!("it cuts from {from}; entry {} is committed", index + 1);
            self.violated(at, "commit-retracted", Some(node), what);
        }
        self.cover.hit_if(cut > 0, Point::Truncated);
        self.cover.hit_if(cut >= 5, Point::TruncatedDeep);
    }

    fn count_recovery(&mut self, model: &Model, restored: &JournalState, found: &[Item], lossy: bool) {
        let cover = &mut self.cover;
        match restored.verdict {
            Verdict::TornTail { .. } => cover.hit(Point::TornTail),
            Verdict::SuspectTail { .. } => cover.hit(Point::SuspectTail),
            Verdict::Corrupt(_) => cover.hit(Point::Corrupt),
            _ => {}
        }
        cover.hit_if(lossy, Point::ProbationBegins);
        cover.hit_if(model.hard.probation && restored.hard_state.probation, Point::ProbationSurvivesRestart);
        if let Some(inflight) = &model.inflight {
            let mut after = model.clone();
            inflight.clone().apply(&mut after, usize::MAX);
            let more = found.len() > model.log.len() || after.log.len() < model.log.len();
            let entries = !inflight.items.is_empty();
            cover.hit_if(entries && found == after.log && more, Point::UnackedSurvives);
            cover.hit_if(entries && found == model.log, Point::UnackedLost);
            let voted = inflight.hard == Some(restored.hard_state) && model.hard != restored.hard_state;
            cover.hit_if(voted && entries && found == model.log, Point::VoteSurvivesAlone);
        }
    }
}

impl Inflight {
    /// As the journal does it: the hard state, the cut, and some first entries.
    fn apply(self, model: &mut Model, entries: usize) {
        model.hard = self.hard.unwrap_or(model.hard);
        if let Some(known) = self.known {
            model.known = known;
        }
        if let Some(from) = self.truncate_from {
            model.log.truncate(place(from));
        }
        model.log.extend(self.items.into_iter().take(entries));
    }
}

impl Model {
    /// What it has acknowledged is kept, before what recovery finds takes its place.
    fn remember(&mut self) {
        let mut all = self.log.clone();
        all.extend(self.had.iter().skip(self.log.len()));
        self.had = all;
    }
}

impl State {
    /// Whether this was a node's log at some time: damage may cost what came later, a cut as well.
    fn was_once(&self, found: &[Item]) -> bool {
        let mut prev = Term::ZERO;
        found.iter().zip(&self.written).all(|(item, known)| {
            let is_known = known.contains(&(*item, prev));
            prev = item.term;
            is_known
        }) && found.len() <= self.written.len()
    }

    /// What is wrong with what recovery has found, if something is (J1, J2).
    fn illegal(&self, model: &Model, restored: &JournalState, found: &[Item], lossy: bool) -> Option<String> {
        let before = (model.hard, &model.log[..]);
        let mut hard_after = model.hard;
        let mut logs = vec![model.log.clone()];
        if let Some(Floor::Reset(to)) = model.floor {
            logs.push(self.committed.get(..to.index.0 as usize).unwrap_or_default().to_vec());
        }
        if let Some(inflight) = &model.inflight {
            hard_after = inflight.hard.unwrap_or(model.hard);
            for entries in 0..=inflight.items.len() {
                let mut after = model.clone();
                inflight.clone().apply(&mut after, entries);
                logs.push(after.log);
            }
        }
        let plain = |hard: HardState| HardState { probation: false, ..hard };
        let hard = restored.hard_state;
        // A recovery that was cut off may have put it on probation already.
        let harmed = lossy || model.damaged;
        let hard_is = |of: HardState| if harmed { plain(hard) == plain(of) } else { hard == of };
        if !hard_is(before.0) && !hard_is(hard_after) {
            return Some(format!("it recovers {hard:?}; legal are {:?} and {hard_after:?}", before.0));
        }
        let whole = logs.iter().any(|log| found == log);
        if whole {
            // New entries under an older term are no legal crash state.
            let new = found != before.1;
            // But damage may cost just what the write was about to cut.
            let cost = harmed && before.1.starts_with(found);
            if new && cost {
                return None;
            }
            return (new && !hard_is(hard_after))
                .then(|| "it recovers new entries under an older state".into());
        }
        // Only harm to the entries costs entries: a tear that is taken for damage costs none.
        let harmed = model.log_at_risk && (lossy || hard.probation);
        if harmed && self.was_once(found) {
            return None;
        }
        let same = before.1.iter().zip(found).take_while(|(a, b)| a == b).count();
        Some(format!(
            "it recovers {} entries, of which {same} are as acknowledged; acknowledged were {}, verdict {:?}",
            found.len(),
            before.1.len(),
            restored.verdict
        ))
    }
}
