//! Whom a quorum can do without for now: entries for these followers wait for each other, for a few milliseconds.
//!
//! A commit needs a quorum and not everybody. Where some of the followers always have an entry before the others, the others
//! may have it later and in larger pieces: fewer messages, fewer writes and fewer syncs, and where nodes share a machine or the
//! leader's network is short, the quorum has more of it. Moraru, Andersen and Kaminsky ("There is more consensus in
//! egalitarian parliaments", 2013) call it thrifty; they send to a quorum only, and to others after a timeout.
//!
//! Safety does not depend on it: when an append leaves has no part in any rule of Raft. What it may cost is time, when one of those
//! that are enough is not, and wherever the fastest of many is faster than the fastest few. So a leader sends to all until it
//! has seen who makes its commits, and how long they take; it looks anew now and then; a choice with which commits take longer is taken
//! back, for longer each time; and everybody is sent everything at once as soon as one takes much longer than
//! usual, which also finds a disk of its own that is slow.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

use super::{Leader, Progress};
use crate::ids::{Index, NodeId};
use crate::membership::majority;
use crate::raft::common::Common;
use crate::raft::timers::Timer;
use crate::status::PeerState;
use crate::time::Time;

/// Commits that are counted before it is decided who is enough, and then whether that pays.
const COUNTED: usize = 32;
/// A choice stands for so many heartbeat intervals, or so many times as long as it took to make it if that is more: who is faster
/// by then is to be noticed.
const STANDS: u32 = 20;
const STANDS_TIMES: u32 = 16;
/// But not for more than so many times that.
const STANDS_MOST: u32 = 64;
/// Commits may take longer by one part in so many, for the work that is saved.
const WORTH: u32 = 16;
/// After a choice that did not pay, or with which a commit was late before that was known, none is made for as long as one
/// stands; twice as long each time that it happens again, up to so many times.
const RESTS_TIMES: u32 = 64;
/// What takes this many times as long as usual is late, but nothing that takes less than the least.
const PATIENCE: u32 = 3;
const LEAST_PATIENCE: Duration = Duration::from_millis(1);
/// So much does not wait: it is worth an append of its own.
const WORTH_BYTES: u64 = 256 << 10;
const WORTH_ENTRIES: u64 = 64;

/// What a leader knows of how its commits come about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Thrift {
    /// Not committed: the last index of what was appended at one time, and that time; oldest first.
    under_way: VecDeque<(Index, Time)>,
    /// How long a commit takes.
    usual: Duration,
    /// How long those commits took that are counted at present, and since when. None up to this index is: it was sent by
    /// another rule.
    took: Vec<Duration>,
    since: Time,
    not_up_to: Index,
    /// Those of them for which this node's own log was durable when they came about.
    made: usize,
    choice: Option<Choice>,
    /// Nothing is counted before this, and for how many times as long after the next choice that does not pay.
    rests_until: Time,
    rests: u32,
}

/// Who is enough was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Choice {
    until: Time,
    /// How long commits took when everybody was asked.
    of_all: Duration,
    /// It has shown that they take no longer now.
    pays: bool,
}

impl Default for Thrift {
    fn default() -> Self {
        Self {
            under_way: VecDeque::new(),
            usual: Duration::ZERO,
            took: Vec::new(),
            since: Time::ZERO,
            not_up_to: Index::ZERO,
            made: 0,
            choice: None,
            rests_until: Time::ZERO,
            rests: 1,
        }
    }
}

impl Thrift {
    fn patience(&self) -> Duration {
        (self.usual * PATIENCE).max(LEAST_PATIENCE)
    }

    /// When the oldest entry that is not committed will be late.
    fn late_at(&self) -> Option<Time> {
        self.under_way.front().map(|(_, at)| *at + self.patience())
    }

    /// The median of what was counted: one that took very long says nothing of the others.
    fn median(&mut self) -> Duration {
        self.took.sort_unstable();
        self.took.get(self.took.len() / 2).copied().unwrap_or_default()
    }

    /// Nothing is counted yet, and nothing will be that is in the log now.
    fn count_from(&mut self, common: &Common) {
        self.took.clear();
        (self.not_up_to, self.made) = (common.log.last(), 0);
    }

    /// All but times.
    #[cfg(feature = "trace")]
    pub(super) fn hash_protocol<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash;
        self.under_way.iter().for_each(|(index, _)| index.hash(state));
        let pays = self.choice.map(|choice| choice.pays);
        (self.took.len(), self.not_up_to, self.made, pays, self.rests).hash(state);
    }
}

/// How long entries may wait.
fn delay(common: &Common) -> Duration {
    common.config.spare_delay.min(common.config.heartbeat_interval / 2)
}

/// Whether entries for this follower wait for more.
pub(super) fn waits(progress: &Progress, common: &Common) -> bool {
    let (config, log) = (&common.config, &common.log);
    let (since, bytes) = progress.caught_up;
    progress.spare
        && common.now < since + delay(common)
        && log.appended_bytes().saturating_sub(bytes)
            < WORTH_BYTES.min(config.append_limit_bytes).min(config.tail_limit_bytes)
        && log.last().next().0.saturating_sub(progress.next_index.0) < WORTH_ENTRIES
}

/// How many do.
pub(super) fn waiting(progress: &Progress, common: &Common) -> u64 {
    let lacks = common.log.last().next().0.saturating_sub(progress.next_index.0);
    if progress.state == PeerState::Replicate && waits(progress, common) { lacks } else { 0 }
}

/// What it lacks is not to wait.
pub(super) fn hurry(progress: &mut Progress) {
    progress.caught_up.0 = Time::ZERO;
}

/// An entry is in the log.
pub(super) fn on_append(leader: &mut Leader, common: &mut Common, index: Index) {
    if delay(common).is_zero() {
        return;
    }
    match leader.thrift.under_way.back_mut() {
        Some((last, at)) if *at == common.now => *last = index,
        _ => leader.thrift.under_way.push_back((index, common.now)),
    }
    if leader.thrift.choice.is_some() {
        arm(leader, common);
    }
}

/// The commit index has risen: who made it so, and how long did it take?
pub(super) fn on_commit(leader: &mut Leader, common: &mut Common) {
    let Leader { thrift, progress, .. } = leader;
    let commit = common.log.commit();
    let done = thrift.under_way.iter().take_while(|(last, _)| *last <= commit).count();
    let Some((index, at)) = thrift.under_way.drain(..done).next() else { return };
    let took = common.now.since(at);
    thrift.usual = if thrift.usual.is_zero() { took } else { (thrift.usual * 7 + took) / 8 };
    let counts = match thrift.choice {
        None => common.now >= thrift.rests_until,
        // What went to all of them as well says nothing of the choice.
        Some(choice) => {
            let lacks = |peer: &Progress| peer.spare && is_fed(peer) && peer.next_index <= index;
            !choice.pays && progress.values().any(lacks)
        }
    };
    if !counts || index <= thrift.not_up_to {
        return;
    }
    if thrift.took.is_empty() {
        thrift.since = at;
    }
    thrift.took.push(took);
    if thrift.choice.is_none() {
        thrift.made += usize::from(common.log.persisted() >= commit);
        for peer in progress.values_mut().filter(|peer| peer.match_index >= commit) {
            peer.made += 1;
        }
    }
    if thrift.took.len() < COUNTED {
        return;
    }
    match thrift.choice {
        None => choose(leader, common),
        Some(choice) => judge(leader, common, choice),
    }
}

/// Decides who is enough: those who were mostly there when an entry was committed, this node among them.
fn choose(leader: &mut Leader, common: &mut Common) {
    let membership = common.membership();
    let needed = majority(membership.voters.len()) - 1;
    let own = membership.voters.contains(&common.config.id) && leader.thrift.made * 2 >= COUNTED;
    let mut makers: Vec<(Reverse<usize>, NodeId)> = leader
        .progress
        .iter()
        .filter(|(id, peer)| membership.voters.contains(id) && is_fit(peer, common))
        .map(|(id, peer)| (Reverse(peer.made), *id))
        .collect();
    if !own || makers.len() < needed || !is_settled(leader, common) {
        count_anew(leader, common);
        return;
    }
    makers.sort_unstable();
    makers.truncate(needed);
    for (id, peer) in leader.progress.iter_mut() {
        peer.spare = makers.iter().all(|(_, maker)| maker != id);
    }
    let thrift = &mut leader.thrift;
    let least = standing(common);
    let took = common.now.since(thrift.since).saturating_mul(STANDS_TIMES);
    let stands = took.max(least).min(least.saturating_mul(STANDS_MOST));
    let of_all = thrift.median();
    thrift.choice = Some(Choice { until: common.now + stands, of_all, pays: false });
    thrift.count_from(common);
}

/// How long a choice stands, at least.
fn standing(common: &Common) -> Duration {
    common.config.heartbeat_interval.saturating_mul(STANDS)
}

/// Whether commits take no longer with the choice that was made.
fn judge(leader: &mut Leader, common: &mut Common, choice: Choice) {
    let thrift = &mut leader.thrift;
    if thrift.median() <= choice.of_all + choice.of_all / WORTH {
        thrift.choice = Some(Choice { pays: true, ..choice });
        thrift.rests = 1;
    } else {
        rest(leader, common);
    }
}

/// The choice does not pay: all are asked again, and no other choice is made for a while.
fn rest(leader: &mut Leader, common: &mut Common) {
    let thrift = &mut leader.thrift;
    thrift.rests_until = common.now + standing(common).saturating_mul(thrift.rests);
    thrift.rests = (thrift.rests * 2).min(RESTS_TIMES);
    count_anew(leader, common);
}

/// Whether a follower is sent entries as they come.
fn is_fed(peer: &Progress) -> bool {
    peer.state == PeerState::Replicate && peer.rolled_back.is_none()
}

/// Whether a follower may be one of those that are enough.
fn is_fit(peer: &Progress, common: &Common) -> bool {
    let answers = common.now.since(peer.contact) < common.config.election_timeout;
    is_fed(peer) && answers && !peer.slow && !peer.probation
}

/// Whether who is enough can be said at all.
fn is_settled(leader: &Leader, common: &Common) -> bool {
    leader.changing.is_none()
        && leader.transfer.is_none()
        && !leader.retiring
        && !common.membership().is_joint()
        && !common.disk.hangs
        && !common.disk.is_full()
        && !delay(common).is_zero()
}

/// Nobody waits, until it is known again who is enough.
fn count_anew(leader: &mut Leader, common: &mut Common) {
    common.timers.stop(Timer::Spare);
    leader.thrift.choice = None;
    leader.thrift.count_from(common);
    for peer in leader.progress.values_mut() {
        (peer.spare, peer.made) = (false, 0);
    }
}

/// After every input: whether the choice still stands, and when somebody who waits is to be looked at again.
pub(super) fn advance(leader: &mut Leader, common: &mut Common) {
    let Some(Choice { until, pays, .. }) = leader.thrift.choice else { return };
    let is_late = leader.thrift.late_at().is_some_and(|late_at| late_at <= common.now);
    if is_late && !pays {
        rest(leader, common);
        return;
    }
    let stands = !is_late
        && common.now < until
        && is_settled(leader, common)
        && leader.progress.values().all(|peer| peer.spare || is_fit(peer, common));
    if stands {
        arm(leader, common);
    } else {
        count_anew(leader, common);
    }
}

/// Sets the timer for those who wait, and for the commit that they are not asked for.
fn arm(leader: &Leader, common: &mut Common) {
    let last = common.log.last();
    let waiting = leader.progress.values().filter(|peer| peer.next_index <= last && waits(peer, common));
    let due = waiting.map(|peer| peer.caught_up.0 + delay(common)).min();
    let at = due.map(|due| leader.thrift.late_at().map_or(due, |late_at| late_at.min(due)));
    match at {
        Some(at) => common.timers.set(Timer::Spare, at),
        None => common.timers.stop(Timer::Spare),
    }
}
