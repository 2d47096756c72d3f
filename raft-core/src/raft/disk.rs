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
}

impl Writes {
    /// Whether a leader should rather have another one: it hangs now, or has lately, or may be about to. Half of the
    /// patience shows that before a leader whose disk began to hang a moment earlier looks for somebody better.
    pub(crate) fn is_slow(&self, now: Time, patience: Duration) -> bool {
        let late = self.under_way.front().is_some_and(|(_, since)| now.since(*since) >= patience / 2);
        self.hangs || late || now < self.slow_until
    }
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
    let disk = &mut common.disk;
    while disk.under_way.front().is_some_and(|(oldest, _)| *oldest <= ticket) {
        disk.under_way.pop_front();
    }
    if core::mem::take(&mut disk.hangs) {
        // One prompt write proves nothing: a disk that hangs everywhere must not send leadership round.
        disk.slow_until = common.now + common.config.election_timeout * HAND_OVER_TIMEOUTS;
    }
    watch(common);
}

/// Time has passed. Whether the disk has begun to hang.
pub(crate) fn on_timeout(common: &mut Common) -> bool {
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
    } else if common.disk.hangs {
        let since = common.disk.under_way.front().map_or(common.now, |(_, since)| *since);
        Disk::Hangs { since: common.now.since(since) }
    } else if common.is_slow() {
        Disk::Slow
    } else {
        Disk::Prompt
    }
}
