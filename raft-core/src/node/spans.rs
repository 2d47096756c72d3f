//! The way of an entry, as `tracing` spans: on the leader from its proposal, on followers from its arrival, until it is
//! applied. Every node has a span of its own with the same `term` and `index`, and that is what joins them.

use core::num::NonZeroU64;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::Span;

use super::trace::{Input, Observer, Output};
use super::waiters::Applied;
use crate::entry::Entry;
use crate::ids::{Index, LogId, NodeId, Term, WriteTicket};
use crate::message::{AppendReply, Message};
use crate::raft::Raft;
use crate::time::Time;

/// Spans that are open at once; while there are so many, no further one begins.
const OPEN: usize = 1024;

/// Follows every so many-th entry. Which ones follows from their index, so all nodes that are told the same number follow
/// the same entries.
///
/// Its events have the target `raft::entry` and the level `INFO`: a subscriber that is not interested costs a comparison.
#[derive(Debug)]
pub struct EntrySpans {
    every: NonZeroU64,
    /// Two entries may be under way for one place: one that is in the log, and one that a later leader wants there.
    open: Mutex<BTreeMap<(Index, Term), Way>>,
}

/// How far an entry has come here.
#[derive(Debug)]
struct Way {
    span: Span,
    ticket: Option<WriteTicket>,
    acknowledged: Vec<NodeId>,
    committed: bool,
}

/// An event in a span.
macro_rules! event {
    ($way:expr, $($what:tt)+) => {
        tracing::info!(target: "raft::entry", parent: &$way.span, $($what)+)
    };
}

impl EntrySpans {
    /// One of so many entries is followed.
    #[must_use]
    pub fn new(every: NonZeroU64) -> Self {
        Self { every, open: Mutex::default() }
    }

    /// Whether the entry at this index is followed.
    #[must_use]
    pub const fn follows(&self, index: Index) -> bool {
        index.0.is_multiple_of(self.every.get())
    }

    /// Says that a client of this node was answered, which is where an entry's way ends.
    pub fn answered(&self, applied: &Applied, client: &str) {
        let LogId { term, index } = applied.id;
        tracing::info!(target: "raft::entry", term = term.0, index = index.0, client, "answered");
    }

    /// Only the protocol's task comes here: never waited for.
    fn open(&self) -> MutexGuard<'_, BTreeMap<(Index, Term), Way>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of consecutive entries that are followed. Looks at none of the others.
    fn followed<'a>(&self, entries: &'a [Entry]) -> impl Iterator<Item = &'a Entry> {
        let first = entries.first().map_or(0, |entry| entry.id.index.0);
        let skip = first.next_multiple_of(self.every.get()) - first;
        let step = usize::try_from(self.every.get()).unwrap_or(usize::MAX);
        entries.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)).step_by(step)
    }

    /// Those of entries that have a way here; one begins where there is none.
    fn with(&self, raft: &Raft, entries: &[Entry], mut tell: impl FnMut(&mut Way)) {
        if tracing::enabled!(target: "raft::entry", tracing::Level::INFO) {
            let mut open = self.open();
            let applied = raft.applied_index();
            // What is applied here has come to its end; it is only sent to others again, or by others.
            for entry in self.followed(entries).filter(|entry| entry.id.index > applied) {
                let key = (entry.id.index, entry.id.term);
                if open.len() < OPEN || open.contains_key(&key) {
                    tell(open.entry(key).or_insert_with(|| Way::new(raft, entry)));
                }
            }
        }
    }

    /// Ways of what is in the log up to an index.
    fn upto(&self, raft: &Raft, upto: Index, mut tell: impl FnMut(Term, &mut Way)) {
        let mut open = self.open();
        let there = |(index, term): &(Index, Term)| raft.term_of(*index) == Some(*term);
        let ways = open.range_mut(..(upto.next(), Term::ZERO)).filter(|(key, _)| there(key));
        ways.for_each(|((_, term), way)| tell(*term, way));
    }
}

impl Way {
    fn new(raft: &Raft, entry: &Entry) -> Self {
        let span = tracing::info_span!(
            target: "raft::entry",
            "entry",
            node = %raft.config().id,
            role = %raft.role_kind(),
            term = entry.id.term.0,
            index = entry.id.index.0,
            bytes = entry.data.len(),
        );
        Self { span, ticket: None, acknowledged: Vec::new(), committed: false }
    }
}

impl Observer for EntrySpans {
    fn started(&self, _: &Raft, _: Time) {}

    fn input(&self, raft: &Raft, _: Time, input: Input<'_>) {
        match input {
            Input::Message(envelope) => match &envelope.message {
                // Of an earlier term it is refused.
                Message::Append(append) if envelope.term >= raft.view().hard.term => {
                    self.with(raft, &append.entries, |way| event!(way, from = %envelope.from, "received"));
                }
                Message::AppendReply(AppendReply::Matched { matched }) => {
                    self.upto(raft, *matched, |term, way| {
                        if term == envelope.term && !way.acknowledged.contains(&envelope.from) {
                            way.acknowledged.push(envelope.from);
                            event!(way, by = %envelope.from, "acknowledged");
                        }
                    })
                }
                _ => {}
            },
            Input::Written(ticket) => self.open().values_mut().for_each(|way| {
                if way.ticket.is_some_and(|written| written <= ticket) {
                    way.ticket = None;
                    event!(way, "durable");
                }
            }),
            Input::Applied(through) => {
                let mut open = self.open();
                let rest = open.split_off(&(through.next(), Term::ZERO));
                // The others were for a place that another entry has.
                for way in std::mem::replace(&mut *open, rest).into_values().filter(|way| way.committed) {
                    event!(way, "applied");
                }
            }
            // A snapshot has come in its place.
            Input::Installed(upto) => {
                let mut open = self.open();
                *open = open.split_off(&(upto.index.next(), Term::ZERO));
            }
            _ => {}
        }
    }

    fn output(&self, raft: &Raft, output: Output<'_>) {
        match output {
            Output::Message(envelope) => match &envelope.message {
                Message::Append(append) => {
                    self.with(raft, &append.entries, |way| event!(way, to = %envelope.to, "sent"));
                }
                Message::AppendReply(AppendReply::Matched { matched }) => {
                    self.upto(raft, *matched, |_, way| {
                        if way.ticket.is_none() && !way.acknowledged.contains(&envelope.to) {
                            way.acknowledged.push(envelope.to);
                            event!(way, to = %envelope.to, "acknowledges");
                        }
                    })
                }
                _ => {}
            },
            Output::Write(write) => {
                if let Some(from) = write.truncate_from {
                    let first = write.entries.first().map_or(from, |entry| entry.id.index);
                    // What is written instead may have been received before.
                    let comes = |index: Index, term: Term| {
                        let place = index.0.checked_sub(first.0).and_then(|at| usize::try_from(at).ok());
                        let entry = place.and_then(|place| write.entries.get(place));
                        entry.is_some_and(|entry| entry.id.term == term)
                    };
                    self.open().retain(|(index, term), way| {
                        let stays = *index < from || comes(*index, *term);
                        if !stays {
                            event!(way, "cut away");
                        }
                        stays
                    });
                }
                self.with(raft, &write.entries, |way| {
                    way.ticket = Some(write.ticket);
                    event!(way, "to the journal");
                });
            }
            Output::Apply(apply) => self.upto(raft, apply.through.index, |_, way| {
                if !way.committed {
                    way.committed = true;
                    event!(way, "committed");
                }
            }),
            _ => {}
        }
    }
}
