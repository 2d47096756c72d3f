//! Reads a whole database and finds where it stops being what was written.

use std::collections::VecDeque;
use std::slice::from_ref;

use bytes::Bytes;
use raft_core::backend::Corruption;
use raft_core::entry::{Entry, EntryKind};
use raft_core::ids::{Index, LogId, StoreId, Term};
use raft_core::membership::Membership;

use crate::error::{SqlError, damage, damage_of, is_damage_to_see};
use crate::rows::State;
use crate::table::Table;

/// How many bytes are read at a time.
const STEP: u64 = 4 << 20;

/// The log in memory: what the writer and the readers share.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) state: State,
    /// For each run of one term: its first index.
    pub(crate) terms: Vec<(Index, Term)>,
    pub(crate) memberships: Vec<Entry>,
    /// The newest entries.
    pub(crate) tail: VecDeque<Entry>,
    tail_bytes: usize,
    tail_limit: usize,
}

impl Log {
    pub(crate) const fn new(state: State, tail_limit: usize) -> Self {
        Self {
            state,
            terms: Vec::new(),
            memberships: Vec::new(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_limit,
        }
    }

    /// The term of an entry, or of the purged one.
    pub(crate) fn term_of(&self, index: Index) -> Option<Term> {
        let State { purged, last, .. } = self.state;
        if index == purged.index {
            return Some(purged.term);
        }
        if index < purged.index || index > last.index {
            return None;
        }
        let at = self.terms.partition_point(|(first, _)| *first <= index);
        self.terms.get(at.checked_sub(1)?).map(|(_, term)| *term)
    }

    /// Forgets entries at and above an index.
    pub(crate) fn cut(&mut self, from: Index) {
        self.terms.retain(|(first, _)| *first < from);
        self.memberships.retain(|entry| entry.id.index < from);
        while self.tail.back().is_some_and(|entry| entry.id.index >= from) {
            let gone = self.tail.pop_back();
            self.tail_bytes -= gone.map_or(0, |entry| weight(&entry));
        }
    }

    /// Forgets entries up to and including one of the log.
    pub(crate) fn purge(&mut self, upto: LogId) {
        let kept = self.term_of(upto.index.next());
        self.terms.retain(|(first, _)| *first > upto.index);
        if let Some(term) = kept
            && self.terms.first().is_none_or(|(first, _)| *first > upto.index.next())
        {
            self.terms.insert(0, (upto.index.next(), term));
        }
        self.memberships.retain(|entry| entry.id.index > upto.index);
        while self.tail.front().is_some_and(|entry| entry.id.index <= upto.index) {
            self.drop_oldest();
        }
    }

    /// Takes in entries that follow the last one; of those, the newest for memory.
    pub(crate) fn push(&mut self, entries: &[Entry], newest: Newest) {
        for entry in entries {
            if self.terms.last().is_none_or(|(_, term)| *term != entry.id.term) {
                self.terms.push((entry.id.index, entry.id.term));
            }
            if entry.kind == EntryKind::Membership {
                // The log keeps these for long.
                let data = Bytes::copy_from_slice(&entry.data);
                self.memberships.push(Entry { data, ..*entry });
            }
        }
        if newest.0.len() < entries.len() {
            // What comes before those that did not fit is older.
            (self.tail, self.tail_bytes) = (VecDeque::new(), 0);
        }
        self.tail_bytes += newest.0.iter().map(weight).sum::<usize>();
        self.tail.extend(newest.0);
        while self.tail_bytes > self.tail_limit && !self.tail.is_empty() {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let gone = self.tail.pop_front();
        self.tail_bytes -= gone.map_or(0, |entry| weight(&entry));
    }

    /// The first membership in force names this node as the only voter.
    pub(crate) fn is_single_voter(&self, node: raft_core::ids::NodeId) -> bool {
        let newest = self.memberships.last().and_then(|entry| Membership::decode(&entry.data).ok());
        newest.is_some_and(|membership| membership.all_voters().eq([node]))
    }
}

/// The newest of some entries, as many as memory is to have, with data of their own: they may be slices of something big.
pub(crate) struct Newest(Vec<Entry>);

impl Newest {
    pub(crate) fn of(entries: &[Entry], limit: usize) -> Self {
        let mut left = limit;
        let fits = |entry: &&Entry| left.checked_sub(weight(entry)).inspect(|rest| left = *rest).is_some();
        let count = entries.iter().rev().take_while(fits).count();
        let newest = entries.get(entries.len() - count..).unwrap_or_default();
        // One copy for all: they come and go together, mostly.
        let mut copied = Vec::with_capacity(newest.iter().map(|entry| entry.data.len()).sum());
        newest.iter().for_each(|entry| copied.extend_from_slice(&entry.data));
        let mut copied = Bytes::from(copied);
        Self(newest.iter().map(|entry| Entry { data: copied.split_to(entry.data.len()), ..*entry }).collect())
    }
}

/// What an entry takes in memory, about.
fn weight(entry: &Entry) -> usize {
    entry.data.len() + size_of::<Entry>() + 32
}

/// What a database holds.
pub(crate) struct Scan {
    /// All of it, up to the damage if there is some.
    pub(crate) log: Log,
    /// What is wrong first.
    pub(crate) damage: Option<Corruption>,
}

/// Reads everything and checks checksums, chain, order and end. What is beyond the first damage does not
/// count. If the state is damaged, the log begins where the watermark says.
pub(crate) fn scan(
    table: &Table,
    store: StoreId,
    watermark: Option<State>,
    tail_limit: usize,
) -> Result<Scan, SqlError> {
    let found = match table.state(store) {
        Ok(found) => found,
        Err(error) if is_damage_to_see(&error) => None,
        Err(error) => return Err(error),
    };
    let mut trouble = found.is_none().then(|| damage("journal.db, table meta", 0, "the state of the log"));
    let wanted = found.or(watermark).unwrap_or_else(|| State::new(store));
    let start = State { last: wanted.purged, last_chain: wanted.purged_chain, ..wanted };
    let mut log = Log::new(start, tail_limit);
    let broken = |index: Index, reason: String| {
        let row = damage("journal.db, table log", index.0, reason);
        damage_of(row, index.0, wanted.last.index.next().0)
    };
    'rows: while trouble.is_none() {
        let last = log.state.last.index;
        let rows = match table.rows(last, 4096, STEP) {
            Ok(rows) => rows,
            Err(error) if is_damage_to_see(&error) => {
                trouble = Some(broken(last.next(), error.to_string()));
                break;
            }
            Err(error) => return Err(error),
        };
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let State { last, last_chain, .. } = log.state;
            let expected = last.index.next();
            if row.id.index != expected {
                trouble = Some(broken(expected, format!("entry {expected} is missing")));
                break 'rows;
            }
            if row.id.term < last.term {
                trouble = Some(broken(expected, String::from("a term that goes back")));
                break 'rows;
            }
            let Some((entry, seal)) = row.entry(store) else {
                trouble = Some(broken(expected, String::from("checksum mismatch")));
                break 'rows;
            };
            let chain = crate::rows::next_chain(last_chain, entry.id, entry.kind.as_u8(), seal.crc);
            if chain != seal.chain {
                trouble = Some(broken(expected, String::from("it does not follow the entry before it")));
                break 'rows;
            }
            log.state.last = entry.id;
            log.state.last_chain = chain;
            let newest = Newest::of(from_ref(&entry), tail_limit);
            log.push(from_ref(&entry), newest);
        }
    }
    let State { last, last_chain, .. } = log.state;
    if trouble.is_none() && (last, last_chain) != (wanted.last, wanted.last_chain) {
        trouble = Some(broken(last.index.next(), format!("the log should end with {}", wanted.last)));
    }
    if trouble.is_none()
        && let Some(mark) = watermark
    {
        let same = wanted.op == mark.op;
        if wanted.op < mark.op {
            let reason =
                format!("acknowledged transactions are missing: {} of {} are there", wanted.op, mark.op);
            let from = last.index.next().0.min(mark.last.index.0);
            trouble = Some(damage_of(damage("journal.db", 0, reason), from, mark.last.index.next().0));
        } else if same && (last, last_chain, wanted.purged) != (mark.last, mark.last_chain, mark.purged) {
            let reason = "it is not the log of the watermark";
            trouble = Some(damage_of(damage("journal.db", 0, reason), 1, mark.last.index.next().0));
        }
    }
    Ok(Scan { log, damage: trouble })
}
