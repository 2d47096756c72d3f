//! Reads the stored log again in the background, so that damage is found while others still have what it hit.
//!
//! A pass goes from the first entry to the last that was committed when it began, a step at a time: reads are the
//! reader's, so the journal's writes never wait for one, and between two steps there is as long a pause as the rate asks
//! for. What is found is the protocol's to heal; see `raft/compact.rs`.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;

use ::tokio::sync::oneshot;

use super::protocol::Protocol;
use crate::backend::{Corruption, JournalError, JournalReader, Verified};
use crate::error::ScrubFailed;
use crate::ids::Index;
use crate::status::Scrub as Known;
use crate::time::Time;

/// So much is read in one step, in bytes: what else is to be read waits for no more.
const STEP_BYTES: u64 = 256 << 10;

/// Where the answer to a caller goes.
pub(crate) type Reply = oneshot::Sender<Result<Scrubbed, ScrubFailed>>;

/// What one pass over the stored log has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scrubbed {
    /// The first entry that it read.
    pub from: Index,
    /// The first one after the last.
    pub end: Index,
    /// What it read, in bytes.
    pub bytes: u64,
    /// All damage, in order. What can be healed is being healed.
    pub damages: Vec<Corruption>,
}

type Reading = Pin<Box<dyn Future<Output = Result<Verified, JournalError>> + Send>>;

/// A pass under way.
struct Pass {
    next: Index,
    found: Scrubbed,
    /// Who asked for it.
    callers: Vec<Reply>,
}

/// What the background reading is at, and what it knows.
pub(super) struct Scrub {
    pass: Option<Pass>,
    reading: Option<Reading>,
    /// When the next step, or the next pass, begins.
    next_at: Option<Time>,
    /// Who wants a pass that has not begun.
    callers: Vec<Reply>,
    known: Known,
    passed_at: Option<Time>,
    damaged_at: Option<Time>,
}

impl Scrub {
    pub(super) fn new(now: Time, period: Duration) -> Self {
        let mut scrub = Self {
            pass: None,
            reading: None,
            next_at: None,
            callers: Vec::new(),
            known: Known::default(),
            passed_at: None,
            damaged_at: None,
        };
        scrub.wait(now, period);
        scrub
    }

    /// When the driver is to look again.
    pub(super) const fn next_timeout(&self) -> Option<Time> {
        if self.reading.is_some() { None } else { self.next_at }
    }

    /// What has been read, if that has come to its end.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Option<Result<Verified, JournalError>> {
        let reading = self.reading.as_mut()?;
        let Poll::Ready(result) = reading.as_mut().poll(context) else { return None };
        self.reading = None;
        Some(result)
    }

    /// Other settings hold: what is under way goes on as fast as they say, from its next step on.
    pub(super) fn reconfigured(&mut self, now: Time, period: Duration) {
        if self.pass.is_none() {
            self.wait(now, period);
        }
    }

    /// Somebody wants a pass. One that is under way may have gone past what is damaged by now: another follows it.
    pub(super) fn ask(&mut self, now: Time, reply: Reply) {
        self.callers.push(reply);
        if self.pass.is_none() {
            self.next_at = Some(now);
        }
    }

    /// For the status.
    pub(super) fn status(&self, now: Time) -> Known {
        Known {
            position: self.pass.as_ref().map(|pass| pass.next),
            pass_age: self.passed_at.map(|at| now.since(at)),
            damage_age: self.damaged_at.map(|at| now.since(at)),
            ..self.known.clone()
        }
    }

    /// Damage was met, here or elsewhere.
    pub(super) fn damaged(&mut self, now: Time, damage: &Corruption) {
        self.known.damages += 1;
        self.known.damage = Some(damage.clone());
        self.damaged_at = Some(now);
    }

    /// The node ends: who waits learns it.
    pub(super) fn fail(&mut self, error: &ScrubFailed) {
        let under_way = self.pass.take().map(|pass| pass.callers).unwrap_or_default();
        for reply in self.callers.drain(..).chain(under_way) {
            let _ = reply.send(Err(error.clone()));
        }
    }

    fn wait(&mut self, now: Time, period: Duration) {
        let wanted = if self.callers.is_empty() { period } else { Duration::ZERO };
        let asleep = self.callers.is_empty() && period.is_zero();
        self.next_at = (!asleep).then(|| now + wanted);
    }

    /// The pass is over; `failure` says why, if it did not come to its end.
    fn finish(&mut self, now: Time, period: Duration, failure: Option<JournalError>) {
        if let Some(pass) = self.pass.take() {
            self.known.bytes += pass.found.bytes;
            self.known.failure = failure.as_ref().map(|error| error.to_string().into());
            if failure.is_none() {
                self.known.passes += 1;
                self.passed_at = Some(now);
            }
            let result = failure.map_or(Ok(pass.found), |error| Err(ScrubFailed::Journal(error)));
            for reply in pass.callers {
                // A caller that has gone away needs no answer.
                let _ = reply.send(result.clone());
            }
        }
        self.wait(now, period);
    }
}

impl Protocol {
    /// Begins the next step if it is time for it. Whether anything moved.
    pub(super) fn work_on_scrub(&mut self) -> bool {
        let now = self.runtime.now();
        if self.scrub.next_timeout().is_none_or(|at| at > now) {
            return false;
        }
        let settled = self.raft.settled();
        let period = self.config().scrub_period;
        let scrub = &mut self.scrub;
        let pass = scrub.pass.get_or_insert_with(|| Pass {
            next: settled.start,
            found: Scrubbed { from: settled.start, end: settled.end, ..Scrubbed::default() },
            callers: core::mem::take(&mut scrub.callers),
        });
        pass.next = pass.next.max(settled.start);
        // A log that was replaced meanwhile ends elsewhere.
        let range = pass.next..pass.found.end.min(settled.end);
        if range.is_empty() {
            scrub.finish(now, period, None);
            self.publish(true);
            return true;
        }
        let reader: Arc<dyn JournalReader> = self.reader();
        self.scrub.reading = Some(Box::pin(async move { reader.verify(range, STEP_BYTES).await }));
        false
    }

    /// A step has come to its end.
    pub(super) fn scrubbed(&mut self, now: Time, result: Result<Verified, JournalError>) {
        let (period, rate) = (self.config().scrub_period, self.config().scrub_bytes_per_second.max(1));
        let Some(pass) = &mut self.scrub.pass else { return };
        let bytes = match result {
            Ok(verified) => {
                pass.next = verified.next.max(pass.next.next());
                pass.found.bytes += verified.bytes;
                verified.bytes
            }
            // It was purged or replaced meanwhile: from where it begins now.
            Err(JournalError::Compacted { .. } | JournalError::OutOfRange { .. }) => 0,
            Err(JournalError::Corrupt(damage)) => {
                let range = damage.range.clone();
                pass.found.damages.push(damage.clone());
                if let Some(range) = &range {
                    pass.next = range.end.max(pass.next.next());
                }
                self.met_damage(now, &damage);
                if range.is_none() {
                    // What comes after it cannot be told.
                    self.scrub.finish(now, period, None);
                    return;
                }
                STEP_BYTES
            }
            Err(error) => {
                self.scrub.finish(now, period, Some(error));
                self.publish(true);
                return;
            }
        };
        let pause = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        let pause = Duration::from_nanos(u64::try_from(pause).unwrap_or(u64::MAX));
        self.scrub.next_at = Some(now + pause);
    }

    /// Stored entries are damaged. What can be done about it begins; else it is in the status.
    pub(super) fn met_damage(&mut self, now: Time, damage: &Corruption) {
        self.scrub.damaged(now, damage);
        if let Some(range) = damage.range.as_ref().filter(|_| self.snapshots.is_some()) {
            self.raft.handle_damage(now, range);
        }
        self.publish(true);
    }
}
