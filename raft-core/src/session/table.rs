//! What is open, and what was executed: the same on every node after the same entries.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use super::{Limits, LogTime, Mark, Op, SessionRefusal};
use crate::ids::{Index, LogId, SessionId};

/// Where a command stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The entry.
    pub id: LogId,
    /// The command's place in it, from 0.
    pub position: u32,
}

/// What becomes of a command of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is new: execute it, then report its answer with [`Table::answered`].
    Execute,
    /// It was executed: this is its answer.
    Answer(Place, Box<[u8]>),
    /// It was, or will be if that place is in the same entry, executed there, and its answer is not here.
    Repeated(Place),
    /// It is not executed.
    Refused(SessionRefusal),
}

/// A command that was executed and is not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) place: Place,
    pub(super) answer: Option<Box<[u8]>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) timeout: Duration,
    /// When it expires if it is not used.
    pub(super) deadline: LogTime,
    /// All commands below are acknowledged.
    pub(super) below: u64,
    pub(super) records: BTreeMap<u64, Record>,
}

/// The sessions that are open, and their commands that were executed and are not acknowledged.
///
/// Changed by committed entries only, in their order: [`advance`](Self::advance) with an entry's stamp first,
/// then what the entry does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub(super) time: LogTime,
    pub(super) limits: Limits,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    /// Who expires when.
    due: BTreeSet<(LogTime, SessionId)>,
    /// Whose answers are kept, the oldest first.
    kept: BTreeMap<(Index, u32), (SessionId, u64)>,
    records: u64,
    answer_bytes: u64,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            time: LogTime::ZERO,
            limits: Limits::DEFAULT,
            sessions: BTreeMap::new(),
            due: BTreeSet::new(),
            kept: BTreeMap::new(),
            records: 0,
            answer_bytes: 0,
        }
    }
}

impl Table {
    /// What a session costs in memory, about, in bytes.
    pub const SESSION_BYTES: u64 = 200;
    /// What a command that is not acknowledged costs beyond its answer, about, in bytes.
    pub const RECORD_BYTES: u64 = 160;

    /// A table without sessions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The log's time: the latest stamp.
    #[must_use]
    pub const fn time(&self) -> LogTime {
        self.time
    }

    /// The bounds that hold now.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many sessions are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// How many commands were executed and are not acknowledged.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// What it holds, about, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let sessions = self.sessions.len() as u64 * Self::SESSION_BYTES;
        sessions + self.records * Self::RECORD_BYTES + self.answer_bytes
    }

    /// The sessions, in order.
    pub fn ids(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.sessions.keys().copied()
    }

    /// An entry with this stamp has come: sessions that were not used for their timeout expire. A stamp that
    /// is before another one counts as that one.
    pub fn advance(&mut self, stamp: LogTime) {
        self.time = self.time.max(stamp);
        while let Some((deadline, session)) = self.due.first().copied()
            && deadline <= self.time
        {
            self.remove(session);
        }
    }

    /// Does what an entry of kind `Session` says, at index `at`. Returns the session.
    ///
    /// # Errors
    /// [`SessionRefusal`]; then it has done nothing, but that the limits of an opening hold from here on.
    pub fn execute(&mut self, at: Index, op: Op) -> Result<SessionId, SessionRefusal> {
        match op {
            Op::Open { timeout, limits } => {
                self.limits = limits;
                let sessions = self.sessions.len() as u64;
                if sessions >= u64::from(limits.sessions) {
                    return Err(SessionRefusal::TooMany { sessions, limit: limits.sessions });
                }
                let id = SessionId(at.0);
                let deadline = self.time.after(timeout);
                self.insert(id, Session { timeout, deadline, below: 0, records: BTreeMap::new() });
                Ok(id)
            }
            Op::KeepAlive { session, acknowledged_below } => {
                self.touch(session)?;
                self.acknowledge(session, acknowledged_below);
                Ok(session)
            }
            Op::Close { session } if self.sessions.contains_key(&session) => {
                self.remove(session);
                Ok(session)
            }
            Op::Close { session } => Err(SessionRefusal::NotOpen { session }),
        }
    }

    /// What becomes of a command with this mark at this place. Does not depend on any answer.
    pub fn decide(&mut self, mark: Mark, at: Place) -> Decision {
        let Mark { session: id, sequence, acknowledged_below } = mark;
        if let Err(refusal) = self.touch(id) {
            return Decision::Refused(refusal);
        }
        self.acknowledge(id, acknowledged_below);
        let (records, limits) = (self.records, self.limits);
        let Some(session) = self.sessions.get_mut(&id) else {
            return Decision::Refused(SessionRefusal::NotOpen { session: id });
        };
        let below = session.below;
        if sequence < below {
            return Decision::Refused(SessionRefusal::Acknowledged { session: id, sequence, below });
        }
        if let Some(record) = session.records.get(&sequence) {
            return match &record.answer {
                Some(answer) => Decision::Answer(record.place, answer.clone()),
                None => Decision::Repeated(record.place),
            };
        }
        let window = limits.window;
        if sequence - below >= u64::from(window) {
            return Decision::Refused(SessionRefusal::OutsideWindow { session: id, sequence, below, window });
        }
        if records >= u64::from(limits.records) {
            return Decision::Refused(SessionRefusal::Full { records, limit: limits.records });
        }
        session.records.insert(sequence, Record { place: at, answer: None });
        self.records += 1;
        Decision::Execute
    }

    /// What a command that was to be executed has answered. The bytes are copied: an answer that is part of
    /// something larger must not keep all of that.
    pub fn answered(&mut self, mark: Mark, answer: &[u8]) {
        let bytes = answer.len() as u64;
        if bytes > self.limits.answer_bytes / 16 {
            return;
        }
        let session = self.sessions.get_mut(&mark.session);
        let Some(record) = session.and_then(|session| session.records.get_mut(&mark.sequence)) else {
            // Acknowledged, or its session closed, in the entry that executed it.
            return;
        };
        if record.answer.is_some() {
            return;
        }
        record.answer = Some(answer.into());
        self.kept.insert((record.place.id.index, record.place.position), (mark.session, mark.sequence));
        self.answer_bytes += bytes;
        while self.answer_bytes > self.limits.answer_bytes
            && let Some((_, (session, sequence))) = self.kept.pop_first()
        {
            let session = self.sessions.get_mut(&session);
            let record = session.and_then(|session| session.records.get_mut(&sequence));
            self.answer_bytes -= record.and_then(|record| record.answer.take()).map_or(0, |a| a.len() as u64);
        }
    }

    /// The session is used.
    fn touch(&mut self, id: SessionId) -> Result<(), SessionRefusal> {
        let session = self.sessions.get_mut(&id).ok_or(SessionRefusal::NotOpen { session: id })?;
        let deadline = self.time.after(session.timeout);
        if deadline != session.deadline {
            self.due.remove(&(session.deadline, id));
            session.deadline = deadline;
            self.due.insert((deadline, id));
        }
        Ok(())
    }

    fn acknowledge(&mut self, id: SessionId, below: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if below <= session.below {
            return;
        }
        session.below = below;
        let rest = session.records.split_off(&below);
        let gone = core::mem::replace(&mut session.records, rest);
        self.forget(gone);
    }

    fn remove(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.remove(&id) {
            self.due.remove(&(session.deadline, id));
            self.forget(session.records);
        }
    }

    fn forget(&mut self, gone: BTreeMap<u64, Record>) {
        self.records -= gone.len() as u64;
        for Record { place, answer } in gone.into_values() {
            if let Some(answer) = answer {
                self.kept.remove(&(place.id.index, place.position));
                self.answer_bytes -= answer.len() as u64;
            }
        }
    }

    /// Adds a session with all that it has. `false` if two answers would be of one place.
    pub(super) fn insert(&mut self, id: SessionId, session: Session) -> bool {
        self.remove(id);
        self.records += session.records.len() as u64;
        self.due.insert((session.deadline, id));
        let mut sound = true;
        for (sequence, Record { place, answer }) in &session.records {
            if let Some(answer) = answer {
                self.answer_bytes += answer.len() as u64;
                let other = self.kept.insert((place.id.index, place.position), (id, *sequence));
                sound &= other.is_none();
            }
        }
        self.sessions.insert(id, session);
        sound
    }
}
