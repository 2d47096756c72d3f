//! What happened on this node: elections, leaders, members, snapshots, disks, with the time by its own clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use raft_core::NodeHandle;
use raft_core::ids::NodeId;
use raft_core::status::{Disk, RoleKind, Status};
use serde_json::{Value, json};

use super::live::{Live, unix_millis};

/// How many are kept.
const KEPT: usize = 200;

/// Kinds of news, as the page knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Role,
    Leader,
    Members,
    Snapshot,
    Disk,
    Health,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Leader => "leader",
            Self::Members => "members",
            Self::Snapshot => "snapshot",
            Self::Disk => "disk",
            Self::Health => "health",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    number: u64,
    at_ms: u64,
    term: u64,
    kind: Kind,
    text: String,
    /// Of a new leader: how long none was known here, in milliseconds.
    gap_ms: Option<u64>,
}

impl Entry {
    fn value(&self) -> Value {
        json!({
            "n": self.number,
            "at_ms": self.at_ms,
            "term": self.term,
            "kind": self.kind.name(),
            "text": self.text,
            "gap_ms": self.gap_ms,
        })
    }
}

/// The last things that happened.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    entries: VecDeque<Entry>,
    last: u64,
}

impl Timeline {
    /// Adds one.
    pub(super) fn add(&mut self, kind: Kind, term: u64, text: String, gap_ms: Option<u64>) {
        self.last += 1;
        let entry = Entry { number: self.last, at_ms: unix_millis(), term, kind, text, gap_ms };
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Those after that number, and the last number.
    pub(super) fn after(&self, seen: u64) -> (Vec<Value>, u64) {
        let new = self.entries.iter().filter(|entry| entry.number > seen);
        (new.map(Entry::value).collect(), self.last)
    }
}

/// What was seen last, to compare with.
struct Seen {
    status: Arc<Status>,
    /// Since when no leader is known.
    leaderless: Option<Instant>,
}

const fn disk(disk: Disk) -> &'static str {
    match disk {
        Disk::Prompt => "its disk is prompt again",
        Disk::Slow => "its disk is slow",
        Disk::Hangs { .. } => "its disk hangs",
        Disk::Full { .. } => "its disk is full",
        Disk::Failed => "its disk failed",
    }
}

fn leader(status: &Status) -> Option<NodeId> {
    status.leader.as_ref().map(|leader| leader.id)
}

/// What has changed between two statuses, in words.
fn compare(before: &mut Seen, now: &Status) -> Vec<(Kind, String, Option<u64>)> {
    let then = &before.status;
    let mut news = Vec::new();
    if now.role != then.role {
        news.push((Kind::Role, format!("{} to {}: {}", then.role, now.role, now.why), None));
    }
    let (old, new) = (leader(then), leader(now));
    if old != new || now.term != then.term && new.is_some() {
        match new {
            None => {
                before.leaderless.get_or_insert_with(Instant::now);
                let lost = old.map_or_else(String::new, |old| format!(", it was node {old}"));
                news.push((Kind::Leader, format!("knows no leader{lost}"), None));
            }
            Some(new) => {
                let gap = before.leaderless.take().map(|since| since.elapsed().as_millis());
                let gap = gap.and_then(|gap| u64::try_from(gap).ok());
                let text = if new == now.id { "leads".into() } else { format!("follows node {new}") };
                news.push((Kind::Leader, text, gap));
            }
        }
    }
    if now.membership_at != then.membership_at || now.membership_committed != then.membership_committed {
        let list = |ids: &mut dyn Iterator<Item = NodeId>| {
            ids.map(|id| id.to_string()).collect::<Vec<_>>().join(", ")
        };
        let voters = list(&mut now.membership.all_voters());
        let learners = list(&mut now.membership.learners());
        let learners = if learners.is_empty() { learners } else { format!("; learners {learners}") };
        let joint = if now.membership.is_joint() { " while two majorities decide" } else { "" };
        let state = if now.membership_committed { "" } else { ", not committed yet" };
        news.push((Kind::Members, format!("voters {voters}{learners}{joint}{state}"), None));
    }
    if now.removed && !then.removed {
        news.push((Kind::Members, "it is no member any more".into(), None));
    }
    let counts = [
        (then.counters.snapshots_taken, now.counters.snapshots_taken, "took a snapshot"),
        (then.counters.snapshots_failed, now.counters.snapshots_failed, "could not store a snapshot"),
        (
            then.counters.snapshots_sent,
            now.counters.snapshots_sent,
            "a follower installed a snapshot from here",
        ),
        (
            then.counters.snapshots_installed,
            now.counters.snapshots_installed,
            "installed a leader's snapshot",
        ),
        (then.counters.healed, now.counters.healed, "replaced damaged entries"),
    ];
    for (_, _, text) in counts.iter().filter(|(then, now, _)| now > then) {
        news.push((Kind::Snapshot, (*text).into(), None));
    }
    if std::mem::discriminant(&now.disk) != std::mem::discriminant(&then.disk) {
        news.push((Kind::Disk, disk(now.disk).into(), None));
    }
    news
}

/// Notes what happens until the node stops.
pub(super) async fn follow(live: Arc<Live>, node: NodeHandle) {
    let mut watch = node.watch();
    let Some(first) = watch.changed().await else { return };
    let leads = first.role == RoleKind::Leader;
    live.note(
        Kind::Role,
        &first,
        format!("serves as {}{}", first.role, if leads { ", alone" } else { "" }),
        None,
    );
    let leaderless = first.leader.is_none().then(Instant::now);
    let mut seen = Seen { status: first, leaderless };
    while let Some(now) = watch.changed().await {
        for (kind, text, gap) in compare(&mut seen, &now) {
            live.note(kind, &now, text, gap);
        }
        seen.status = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_and_nobody_sees_one_twice() {
        let mut timeline = Timeline::default();
        for number in 0..KEPT + 5 {
            timeline.add(Kind::Role, 1, number.to_string(), None);
        }
        let (all, last) = timeline.after(0);
        assert_eq!((all.len(), last), (KEPT, KEPT as u64 + 5));
        assert_eq!(all[0]["text"], "5");
        timeline.add(Kind::Leader, 2, "leads".into(), Some(7));
        let (new, last) = timeline.after(last);
        assert_eq!((new.len(), new[0]["gap_ms"].as_u64()), (1, Some(7)));
        assert!(timeline.after(last).0.is_empty());
    }
}
