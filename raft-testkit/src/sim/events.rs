//! What happened in a run, in order: hashed always, so that two runs can be compared, and written down on
//! request.

use core::fmt;

use super::executor::Nanos;

/// What kind of thing happened.
///
/// # Examples
/// ```
/// use raft_testkit::sim::events::Tag;
/// use raft_testkit::sim::{Plan, run};
///
/// // From the numbers of an event a program reads what people read in its text.
/// let outcome = run(&Plan::draw(20, Some(1)), true);
/// let ups: Vec<u64> =
///     outcome.trace.iter().filter(|event| event.tag == Tag::Up).map(|event| event.numbers[0]).collect();
/// assert!(ups.is_sorted() && ups.len() > 1, "incarnations grow: {ups:?}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tag {
    /// A node came up: `[incarnation, last index, term, probation]`.
    Up,
    /// A node stopped or was stopped.
    Down,
    /// A node's role, term or leader changed: `[role, term, leader, commit]`.
    Role,
    /// A node's commit index moved: `[commit]`.
    Commit,
    /// A message left: `[to, number, kind, term]`.
    Sent,
    /// A message was handed to its receiver: `[from, number]`.
    Delivered,
    /// A message was lost: `[from, number]`.
    Lost,
    /// A write began: `[first, last, hard state, truncate from]`.
    Write,
    /// A write is durable: `[last]`, or failed.
    Written,
    /// A snapshot: `[what, index, ..]`.
    Snapshot,
    /// A journal drops what a snapshot covers: `[index, all of it]`.
    Purge,
    /// A connection came or went: `[peer, what]`.
    Link,
    /// A fault was injected, or ended: `[number]`.
    Fault,
    /// A client asked: `[client, operation]`.
    Asked,
    /// A client got its answer, or gave up: `[client, operation, outcome, index]`.
    Answered,
    /// What the run itself says.
    Note,
    /// What a disk is told: `[call, offset or file, length, digest of the bytes]`.
    Disk,
}

impl Tag {
    const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Role => "role",
            Self::Commit => "commit",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Lost => "lost",
            Self::Write => "write",
            Self::Written => "written",
            Self::Snapshot => "snapshot",
            Self::Purge => "purge",
            Self::Link => "link",
            Self::Fault => "fault",
            Self::Asked => "asked",
            Self::Answered => "answered",
            Self::Note => "note",
            Self::Disk => "disk",
        }
    }
}

/// One thing that happened.
///
/// # Examples
/// ```
/// use raft_testkit::sim::events::{Event, Tag};
///
/// let text = "killed".to_owned();
/// let event = Event { at: 1_500_000_000, node: 2, tag: Tag::Down, numbers: [0; 4], text };
/// assert_eq!(event.to_string(), "   1.500000000 n2  down      killed");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Nanos,
    /// The node, from 1; 0 for none.
    pub node: u64,
    /// What kind.
    pub tag: Tag,
    /// Its numbers; see [`Tag`].
    pub numbers: [u64; 4],
    /// For people.
    pub text: String,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.at / 1_000_000_000, self.at % 1_000_000_000);
        let node = if self.node == 0 { "--".to_owned() } else { format!("n{}", self.node) };
        write!(f, "{seconds:>4}.{nanos:09} {node:<3} {:<9} {}", self.tag.name(), self.text)
    }
}

/// The events of a run.
#[derive(Debug)]
pub(crate) struct EventLog {
    hash: u64,
    count: u64,
    kept: Option<Vec<Event>>,
}

impl EventLog {
    /// An empty one; `keep` says whether events are written down.
    #[must_use]
    pub(crate) const fn new(keep: bool) -> Self {
        Self { hash: 0x2545_f491_4f6c_dd1d, count: 0, kept: if keep { Some(Vec::new()) } else { None } }
    }

    /// Something happened. `text` is asked for only where it is written down.
    pub(crate) fn note(
        &mut self,
        at: Nanos,
        node: u64,
        tag: Tag,
        numbers: [u64; 4],
        text: impl FnOnce() -> String,
    ) {
        self.count += 1;
        let mut hash = self.hash;
        for word in [at, node << 8 | tag as u64, numbers[0], numbers[1], numbers[2], numbers[3]] {
            hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 29;
        }
        self.hash = hash;
        if let Some(kept) = &mut self.kept {
            kept.push(Event { at, node, tag, numbers, text: text() });
        }
    }

    /// A digest of all events: equal for equal runs.
    #[must_use]
    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many there were.
    #[must_use]
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// What was written down.
    #[must_use]
    pub(crate) fn take(&mut self) -> Vec<Event> {
        self.kept.take().unwrap_or_default()
    }
}
