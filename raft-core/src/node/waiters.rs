//! Who waits for what: proposals until their index is applied, reads until they are confirmed.
//!
//! Every waiter gets exactly one answer. A truncated entry proves nothing: another node may still hold it
//! and commit it later. So a proposal is answered when its index is applied, or as unknown.

use std::collections::BTreeMap;

use ::tokio::sync::oneshot;
use bytes::Bytes;

use crate::error::{ProposeError, ReadError};
use crate::ids::{Index, LogId, ReadId, SessionId, Term};
use crate::session::{Mark, SessionRefusal};
use crate::time::Time;

/// A command that was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// The entry it travelled in.
    pub id: LogId,
    /// Its place in that entry, from 0.
    pub position: u32,
    /// What the state machine answered.
    pub response: Bytes,
}

/// What becomes of a command of a batch in which some belong to sessions.
pub(crate) type MarkedAnswer = Result<Applied, SessionRefusal>;

/// Where the answer to one batch goes.
pub(crate) enum BatchReply {
    /// Commands without sessions.
    Plain(oneshot::Sender<Result<Vec<Applied>, ProposeError>>),
    /// Commands of which some belong to sessions: each has a fate of its own.
    Marked(oneshot::Sender<Result<Vec<MarkedAnswer>, ProposeError>>),
    /// A session is opened, kept alive or closed.
    Session(oneshot::Sender<Result<Result<SessionId, SessionRefusal>, ProposeError>>),
}

impl BatchReply {
    pub(crate) fn fail(self, error: ProposeError) {
        // A caller that has gone away needs no answer.
        match self {
            Self::Plain(reply) => drop(reply.send(Err(error))),
            Self::Marked(reply) => drop(reply.send(Err(error))),
            Self::Session(reply) => drop(reply.send(Err(error))),
        }
    }
}

/// A batch of commands on its way to the protocol.
pub(crate) struct Batch {
    pub(crate) commands: Vec<Bytes>,
    /// One for each command if some belong to sessions, else none at all.
    pub(crate) marks: Vec<Option<Mark>>,
    pub(crate) cost_bytes: u64,
    pub(crate) reply: BatchReply,
}

/// The batches that were packed into one entry, in order, each with its number of commands.
pub(crate) struct EntryWaiters {
    pub(crate) term: Term,
    /// When it was proposed.
    pub(crate) since: Time,
    pub(crate) batches: Vec<(usize, BatchReply)>,
}

impl EntryWaiters {
    pub(crate) fn fail(self, error: &ProposeError) {
        for (_, reply) in self.batches {
            reply.fail(error.clone());
        }
    }

    /// Gives each batch its share of the responses.
    pub(crate) fn succeed(self, id: LogId, responses: impl Iterator<Item = Bytes>) {
        let mut responses = (0..).zip(responses);
        for (count, reply) in self.batches {
            let share = responses.by_ref().take(count);
            let applied = share.map(|(position, response)| Applied { id, position, response });
            match reply {
                BatchReply::Plain(reply) => drop(reply.send(Ok(applied.collect()))),
                BatchReply::Marked(reply) => drop(reply.send(Ok(applied.map(Ok).collect()))),
                // Not of this kind of entry. Nobody is left without an answer all the same.
                BatchReply::Session(reply) => {
                    drop(reply.send(Err(ProposeError::Unknown { term: self.term })))
                }
            }
        }
    }

    /// The same for commands of which some belong to sessions.
    pub(crate) fn resolve(self, mut answers: impl Iterator<Item = MarkedAnswer>) {
        for (count, reply) in self.batches {
            let share = answers.by_ref().take(count);
            match reply {
                BatchReply::Marked(reply) => drop(reply.send(Ok(share.collect()))),
                other => {
                    share.for_each(drop);
                    other.fail(ProposeError::Unknown { term: self.term });
                }
            }
        }
    }

    /// For who waits for an entry of kind `Session`.
    pub(crate) fn session(self, result: &Result<SessionId, SessionRefusal>) {
        for (_, reply) in self.batches {
            match reply {
                BatchReply::Session(reply) => drop(reply.send(Ok(result.clone()))),
                other => other.fail(ProposeError::Unknown { term: self.term }),
            }
        }
    }
}

/// Proposals that were appended and not yet applied.
#[derive(Default)]
pub(crate) struct Proposals(BTreeMap<Index, Vec<EntryWaiters>>);

impl Proposals {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(&mut self, id: LogId, since: Time, batches: Vec<(usize, BatchReply)>) {
        self.0.entry(id.index).or_default().push(EntryWaiters { term: id.term, since, batches });
    }

    /// `id` is committed at its index: whoever waits for it, is returned; whoever waits for another entry
    /// there learns that it never will be applied.
    pub(crate) fn committed(&mut self, id: LogId) -> Option<EntryWaiters> {
        let mut winner = None;
        for waiters in self.0.remove(&id.index)? {
            if waiters.term == id.term {
                winner = Some(waiters);
            } else {
                waiters.fail(&ProposeError::Superseded { by: id });
            }
        }
        winner
    }

    /// A snapshot replaces the state up to `index`: nobody will ever know what became of these.
    pub(crate) fn covered(&mut self, index: Index) {
        let after = self.0.split_off(&index.next());
        for waiters in core::mem::replace(&mut self.0, after).into_values().flatten() {
            let term = waiters.term;
            waiters.fail(&ProposeError::Unknown { term });
        }
    }

    /// Those of terms before `term`, in which this node may lead, will not be waited for any longer.
    pub(crate) fn give_up_before(&mut self, term: Term) {
        for all in self.0.values_mut() {
            for waiters in all.extract_if(.., |waiters| waiters.term < term) {
                let term = waiters.term;
                waiters.fail(&ProposeError::Unknown { term });
            }
        }
        self.0.retain(|_, all| !all.is_empty());
    }
}

/// Where the answer to one read goes.
pub(crate) type ReadReply = oneshot::Sender<Result<Index, ReadError>>;

/// Reads that were begun. All that came in one turn share one id.
#[derive(Default)]
pub(crate) struct Reads {
    last: ReadId,
    waiting: BTreeMap<ReadId, Vec<ReadReply>>,
}

impl Reads {
    pub(crate) fn next_id(&mut self) -> ReadId {
        self.last = ReadId(self.last.0 + 1);
        self.last
    }

    pub(crate) fn add(&mut self, id: ReadId, replies: Vec<ReadReply>) {
        self.waiting.insert(id, replies);
    }

    pub(crate) fn finish(&mut self, id: ReadId, result: &Result<Index, ReadError>) {
        for reply in self.waiting.remove(&id).into_iter().flatten() {
            let _ = reply.send(result.clone());
        }
    }

    pub(crate) fn fail_all(&mut self, error: &ReadError) {
        for reply in core::mem::take(&mut self.waiting).into_values().flatten() {
            let _ = reply.send(Err(error.clone()));
        }
    }
}
