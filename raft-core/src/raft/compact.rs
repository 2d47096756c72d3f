//! Taking snapshots, and dropping what they cover (§7): when, and how much stays for slow followers.

use core::ops::Range;
use core::time::Duration;

use super::common::Common;
use super::output::{Event, TakeSnapshot};
use crate::backend::{SnapshotId, SnapshotMeta};
use crate::config::Config;
use crate::ids::{Index, LogId, NodeId};
use crate::time::Time;

/// How long after one that failed the next snapshot is taken or accepted, in election timeouts: a full disk is
/// not made better by trying.
pub(super) const RETRY_AFTER: u32 = 10;

/// What is under way, and what is due.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Compaction {
    /// The last entry of the snapshot that is being taken.
    pub(super) taking: Option<LogId>,
    /// Somebody asked for one.
    asked: bool,
    /// After a failure: not before this.
    retry_at: Time,
    /// Executed since the last snapshot, in bytes; since the start if there was none.
    since_bytes: u64,
    /// The same when the one that is being taken began.
    taken_bytes: u64,
    /// What is being executed, in bytes.
    applying_bytes: u64,
    /// The journal is dropping everything up to here.
    pub(super) purging: Option<LogId>,
    /// The snapshot that was found damaged when it was read: another one must take its place.
    pub(super) damaged: Option<SnapshotId>,
    /// Entries up to here are damaged in the journal, or come before one that is: a snapshot is to cover them, whose
    /// state has them, and the journal is to drop them (decision 009).
    pub(super) healing: Option<Index>,
}

impl Compaction {
    /// Entries of this size are being executed.
    pub(super) const fn applying(&mut self, bytes: u64) {
        self.applying_bytes = bytes;
    }

    /// They have been.
    pub(super) const fn applied(&mut self) {
        self.since_bytes += self.applying_bytes;
        self.applying_bytes = 0;
    }

    /// All but times and sizes.
    #[cfg(feature = "trace")]
    pub(super) fn hash_protocol<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash;
        (self.taking, self.asked, self.purging, self.damaged, self.healing).hash(state);
    }

    pub(super) const fn ask(&mut self) {
        self.asked = true;
    }
}

/// Growth puts a snapshot off at most for so many times the number of entries after which one is due.
const PATIENCE: u64 = 10;

/// How far apart sizes in the log are noted, in bytes: fine enough for the tail that is kept.
pub(super) fn grain_bytes(config: &Config) -> u64 {
    (config.snapshot_keep_bytes / 16).max(4 << 10)
}

/// The earliest entry that the journal will still have, as far as was decided.
pub(super) fn first_kept(common: &Common) -> Index {
    let purged = common.log.purged().index;
    let dropped = common.compaction.purging.map_or(purged, |upto| upto.index.max(purged));
    dropped.max(common.compaction.healing.unwrap_or_default()).next()
}

/// The snapshot that a follower is sent: sound, and nothing that follows it is gone.
pub(super) fn to_send(common: &Common) -> Option<&SnapshotMeta> {
    let first = first_kept(common);
    common.log.snapshot().filter(|snapshot| snapshot.upto.index.next() >= first && !is_damaged(common))
}

/// What the journal has of these entries is not what was written. Whether that can be lived with: all of them are
/// committed, so the state has them, or will.
pub(super) fn found_damage(common: &mut Common, range: &Range<Index>) -> bool {
    let last = Index(range.end.0.saturating_sub(1));
    if last > common.log.commit() {
        return false;
    }
    if last > common.log.purged().index {
        let healing = common.compaction.healing.unwrap_or_default();
        common.compaction.healing = Some(healing.max(last));
    }
    true
}

/// Whether the newest snapshot covers all damage, and it only has to be dropped.
fn heals(common: &Common) -> bool {
    common.compaction.healing.is_some_and(|upto| upto <= common.log.covered())
}

/// The journal begins after this entry: what was damaged before it is gone.
pub(super) fn dropped(common: &mut Common, upto: Index) {
    if common.compaction.healing.take_if(|healing| *healing <= upto).is_some() {
        common.counters.healed += 1;
        common.events.push_back(Event::Healed { upto });
    }
}

/// Whether the newest snapshot is known to be damaged.
pub(super) fn is_damaged(common: &Common) -> bool {
    let newest = common.log.snapshot().map(|snapshot| snapshot.id);
    newest.is_some() && newest == common.compaction.damaged
}

/// Begins a snapshot if one is due and nothing is being executed.
pub(super) fn take(common: &mut Common) -> Option<TakeSnapshot> {
    let compaction = &common.compaction;
    let busy = common.applying.is_some() || common.receive.is_replacing();
    if common.halted || common.failed || busy || compaction.taking.is_some() {
        return None;
    }
    let (applied, covered) = (common.log.applied(), common.log.covered());
    let damaged = is_damaged(common);
    if applied < covered || (applied == covered && !damaged) || applied == Index::ZERO {
        common.compaction.asked = false;
        return None;
    }
    let config = &common.config;
    let (entries, bytes) = (config.snapshot_every_entries, config.snapshot_every_bytes);
    let since = applied.0 - covered.0;
    let many = entries > 0 && since >= entries;
    let large =
        bytes > 0 && compaction.since_bytes >= staggered(common.id(), common.counters.snapshots_taken, bytes);
    let last_bytes = common.log.snapshot().map_or(0, |snapshot| snapshot.content.total_bytes);
    // Many small entries take much of a disk, and time at a start.
    let grown = compaction.since_bytes >= last_bytes.saturating_mul(config.snapshot_growth)
        || (entries > 0 && since >= entries.saturating_mul(PATIENCE));
    let heals = compaction.healing.is_some_and(|upto| covered < upto && upto <= applied);
    let due = ((many || large) && grown || damaged || heals) && compaction.retry_at <= common.now;
    if !due && !compaction.asked {
        return None;
    }
    let upto = LogId { term: common.log.term_of(applied)?, index: applied };
    common.compaction.asked = false;
    common.compaction.taking = Some(upto);
    common.compaction.taken_bytes = common.compaction.since_bytes;
    Some(TakeSnapshot { upto, membership: common.log.membership_at(applied) })
}

/// Up to a quarter more than was asked for, another part of it on each node and each time: else all would write one for
/// its log's size at once, and no majority of disks were free for the log.
fn staggered(node: NodeId, taken: u64, bytes: u64) -> u64 {
    let seed = node.0.wrapping_add(taken.rotate_left(32));
    let part = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    bytes.saturating_add(bytes / 1024 * part)
}

/// The one that was being taken is durable.
pub(super) fn taken(common: &mut Common, snapshot: SnapshotMeta) {
    let compaction = &mut common.compaction;
    compaction.taking = None;
    compaction.retry_at = Time::ZERO;
    compaction.since_bytes = compaction.since_bytes.saturating_sub(compaction.taken_bytes);
    common.counters.snapshots_taken += 1;
    common.log.adopt_snapshot(snapshot);
}

/// It could not be stored.
pub(super) fn failed(common: &mut Common) {
    common.compaction.taking = None;
    common.compaction.asked = false;
    common.compaction.retry_at = common.now + patience(common);
    common.counters.snapshots_failed += 1;
}

pub(super) fn patience(common: &Common) -> Duration {
    common.config.election_timeout.saturating_mul(RETRY_AFTER)
}

/// How far the journal may forget: the tail before the snapshot's end is kept, and as much again while somebody
/// who answers needs it.
pub(super) struct Bounds {
    /// What the snapshot and the tail allow.
    pub(super) goal: Index,
    /// What no follower that only lags can hold back.
    pub(super) floor: Index,
}

pub(super) fn bounds(common: &Common) -> Option<Bounds> {
    let compaction = &common.compaction;
    if common.halted || common.failed || compaction.purging.is_some() || common.receive.is_replacing() {
        return None;
    }
    let (log, config) = (&common.log, &common.config);
    let covered = log.covered();
    // Nothing that is still to be executed goes, and nothing that the snapshot is being replaced for.
    if covered <= log.purged().index || log.applied() < covered || is_damaged(common) {
        return None;
    }
    if heals(common) {
        // As much as possible: what stays may have to be written anew (J18).
        return Some(Bounds { goal: covered, floor: covered });
    }
    let (entries, bytes) = (config.snapshot_keep_entries, config.snapshot_keep_bytes);
    let goal = log.kept_before(covered, entries, bytes);
    let floor = log.kept_before(covered, entries.saturating_mul(2), bytes.saturating_mul(2));
    (goal > log.purged().index).then_some(Bounds { goal, floor })
}

/// Begins to purge, if enough of it may go. `held` is what somebody still needs the entries after.
pub(super) fn purge(common: &mut Common, bounds: &Bounds, held: Index) -> Option<LogId> {
    let purged = common.log.purged().index;
    let upto = bounds.goal.min(held);
    if upto <= purged {
        return None;
    }
    // A follower on its way up frees entry by entry: the journal is bothered when half of it may go.
    if upto < bounds.goal && upto.0 - purged.0 < (bounds.goal.0 - purged.0).div_ceil(2) {
        return None;
    }
    let upto = LogId { term: common.log.term_of(upto)?, index: upto };
    common.compaction.purging = Some(upto);
    Some(upto)
}

/// The journal has dropped it.
pub(super) fn purged(common: &mut Common, upto: LogId) {
    if common.compaction.purging == Some(upto) {
        common.compaction.purging = None;
        common.log.purge(upto);
        dropped(common, upto.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ClusterId;
    use alloc::vec::Vec;

    #[test]
    fn sizes_are_noted_sixteen_times_in_what_is_kept() {
        let mut config = Config::new(NodeId(1), ClusterId(1));
        config.snapshot_keep_bytes = 1 << 20;
        assert_eq!(grain_bytes(&config), 1 << 16);
        config.snapshot_keep_bytes = 1;
        assert_eq!(grain_bytes(&config), 4096);
    }
    #[test]
    fn nodes_take_their_snapshots_at_different_sizes() {
        let bytes = 1 << 30;
        let sizes = |of: fn(u64) -> u64| (0..100).map(of).collect::<Vec<u64>>();
        let (nodes, times) = (
            sizes(|node| staggered(NodeId(node), 3, 1 << 30)),
            sizes(|taken| staggered(NodeId(3), taken, 1 << 30)),
        );
        for sizes in [nodes, times] {
            assert!(sizes.iter().all(|size| (bytes..bytes / 4 * 5).contains(size)), "{sizes:?}");
            assert!(sizes.iter().any(|size| *size < bytes / 16 * 17), "{sizes:?}");
            assert!(sizes.iter().any(|size| *size > bytes / 16 * 19), "{sizes:?}");
        }
        assert_eq!(staggered(NodeId(3), 3, u64::MAX), u64::MAX);
    }
}
