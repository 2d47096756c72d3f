//! How this node's journal does, as far as it shows in its writes (M11).

use alloc::collections::VecDeque;
use core::time::Duration;

use super::common::Common;
use super::timers::Timer;
use crate::config::HAND_OVER_TIMEOUTS;
use crate::ids::WriteTicket;
use crate::status::Disk;
use crate::time::Time;

/// Writes under way, and what they have shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Writes {
    /// With when they were handed over, oldest first.
    under_way: VecDeque<(WriteTicket, Time)>,
    /// The oldest has been under way for too long.
    pub(crate) hangs: bool,
    /// One has hung; it counts as slow until then.
    slow_until: Time,
    /// The disk is full.
    full: Option<Full>,
}

/// What is known of a disk that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Full {
    since: Time,
    /// How long it is left alone before the next trial.
    pause: Duration,
    /// It may be tried again; with which write it is.
    due: bool,
    trial: Option<WriteTicket>,
    /// Not even hard state found space.
    whole: bool,
}

impl Writes {
    /// Whether a leader should rather have another one: it hangs now, or has lately, or may be about to. Half of the
    /// patience shows that before a leader whose disk began to hang a moment earlier looks for somebody better.
    pub(crate) fn is_slow(&self, now: Time, patience: Duration) -> bool {
        let late = self.under_way.front().is_some_and(|(_, since)| now.since(*since) >= patience / 2);
        self.hangs || late || now < self.slow_until || self.is_full()
    }

    /// Whether the journal has said that there is no space.
    pub(crate) const fn is_full(&self) -> bool {
        self.full.is_some()
    }

    /// Whether it is to be left alone for now: only hard state is written, for which there always is space.
    pub(crate) const fn spares(&self) -> bool {
        matches!(self.full, Some(full) if !full.due)
    }

    /// Whether not even that is written.
    pub(crate) const fn rests(&self) -> bool {
        matches!(self.full, Some(full) if !full.due && full.whole)
    }
}

/// A write found no space, and has changed nothing in the log: it is handed over again after a pause, which grows from
/// time to time. `had_entries`: else it was hard state alone that found none.
pub(crate) fn no_space(common: &mut Common, ticket: WriteTicket, had_entries: bool) {
    let least = common.config.election_timeout;
    let disk = &mut common.disk;
    disk.under_way.retain(|(other, _)| *other < ticket);
    let longer =
        |full: Full| if full.due { (full.pause * 2).min(least * HAND_OVER_TIMEOUTS) } else { full.pause };
    let pause = disk.full.map_or(least, longer);
    let since = disk.full.map_or(common.now, |full| full.since);
    disk.full = Some(Full { since, pause, due: false, trial: None, whole: !had_entries });
    common.timers.set(Timer::Space, common.now + pause);
    watch(common);
}

/// A write that carries entries, or cuts some, was handed over: if it ends well, there is space again.
pub(crate) const fn tries_space(common: &mut Common, ticket: WriteTicket) {
    if let Some(full) = &mut common.disk.full {
        full.trial = Some(ticket);
    }
}

/// It is time to try whether there is space again. Where nothing waits for it, the next write will tell.
fn on_pause_over(common: &mut Common) {
    if !common.timers.fired(Timer::Space, common.now) {
        return;
    }
    if common.log.is_write_due() {
        if let Some(full) = &mut common.disk.full {
            full.due = true;
        }
    } else {
        found_space(common);
    }
}

fn found_space(common: &mut Common) {
    common.disk.full = None;
    common.disk.slow_until = common.now + common.config.election_timeout * HAND_OVER_TIMEOUTS;
    common.timers.stop(Timer::Space);
}

/// A write was handed to the journal.
pub(crate) fn handed_over(common: &mut Common, ticket: WriteTicket) {
    common.disk.under_way.push_back((ticket, common.now));
    if common.disk.under_way.len() == 1 {
        watch(common);
    }
}

/// All up to this one are durable.
pub(crate) fn written(common: &mut Common, ticket: WriteTicket) {
    if common.disk.full.is_some_and(|full| full.trial.is_some_and(|trial| trial <= ticket)) {
        found_space(common);
    }
    let patience = common.config.disk_patience();
    let disk = &mut common.disk;
    // A disk that stops the whole node has hung all the same, though no timer has run meanwhile.
    let mut hung = core::mem::take(&mut disk.hangs);
    while let Some((oldest, since)) = disk.under_way.front().copied()
        && oldest <= ticket
    {
        hung |= common.now.since(since) >= patience;
        disk.under_way.pop_front();
    }
    if hung {
        // One prompt write proves nothing: a disk that hangs everywhere must not send leadership round.
        disk.slow_until = common.now + common.config.election_timeout * HAND_OVER_TIMEOUTS;
    }
    watch(common);
}

/// Time has passed. Whether the disk has begun to hang.
pub(crate) fn on_timeout(common: &mut Common) -> bool {
    on_pause_over(common);
    let hangs = common.timers.fired(Timer::Disk, common.now) && !common.disk.under_way.is_empty();
    common.disk.hangs |= hangs;
    hangs
}

fn watch(common: &mut Common) {
    match common.disk.under_way.front() {
        Some((_, since)) => common.timers.set(Timer::Disk, *since + common.config.disk_patience()),
        None => common.timers.stop(Timer::Disk),
    }
}

/// For the status.
pub(crate) fn status(common: &Common) -> Disk {
    if common.failed {
        Disk::Failed
    } else if let Some(full) = common.disk.full {
        Disk::Full { since: common.now.since(full.since) }
    } else if common.disk.hangs {
        let since = common.disk.under_way.front().map_or(common.now, |(_, since)| *since);
        Disk::Hangs { since: common.now.since(since) }
    } else if common.is_slow() {
        Disk::Slow
    } else {
        Disk::Prompt
    }
}
