//! How a node and its cluster are, with reasons: what `RAFT INFO`, `/health` and the page say.

use raft_core::ids::NodeId;
use raft_core::status::{Disk, PeerStatus, RoleKind, Status};
use raft_log_file::Durability;

use crate::refusal::Outside;
use crate::server::Server;

/// A replica that has so much less than the leader lags, in entries.
const LAG: u64 = 1000;

/// How it is in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// All is well.
    Green,
    /// Service, but something needs attention.
    Yellow,
    /// No service.
    Red,
}

impl Level {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
        }
    }
}

/// How it is, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) level: Level,
    /// The worst first.
    pub(crate) reasons: Vec<String>,
}

/// Whether a leader has heard a peer lately.
pub(crate) fn answers(server: &Server, peer: &PeerStatus) -> bool {
    peer.contact_age.is_some_and(|age| age < server.election_timeout() * 2)
}

/// How the disk does, for people.
pub(crate) fn disk(disk: Disk) -> String {
    match disk {
        Disk::Prompt => "prompt".into(),
        Disk::Slow => "slow".into(),
        Disk::Hangs { since } => format!("hangs for {} ms", since.as_millis()),
        Disk::Full { since } => format!("full since {} ms", since.as_millis()),
        Disk::Failed => "failed".into(),
    }
}

/// How it is, as far as this node knows: a leader knows of the others.
pub(crate) fn health(server: &Server, status: &Status) -> Health {
    let mut red = Vec::new();
    let mut yellow = Vec::new();
    match (status.role, &status.leader) {
        (RoleKind::Limbo, _) => red.push(format!("in limbo: {}", Outside::Limbo.sentence())),
        _ if status.removed => red.push(format!("removed: {}", Outside::Removed.sentence())),
        (_, None) => red.push("no leader is known: no quorum, or an election is under way".into()),
        _ => {}
    }
    if status.role == RoleKind::Leader {
        let fresh = |id: NodeId| {
            id == status.id || status.peers.iter().any(|peer| peer.id == id && answers(server, peer))
        };
        for voters in [&status.membership.voters, &status.membership.outgoing] {
            let online = voters.iter().filter(|id| fresh(**id)).count();
            let quorum = voters.len() / 2 + 1;
            if voters.len() > 1 && online == quorum {
                yellow
                    .push(format!("{online} of {} voters answer: one failure from no quorum", voters.len()));
            }
        }
        for peer in &status.peers {
            let lag = status.last.index.0.saturating_sub(peer.match_index.0);
            match peer.contact_age {
                _ if lag <= LAG => {}
                // What it has is not known.
                None => yellow.push(format!("node {} has not yet answered this leader", peer.id)),
                Some(_) => yellow.push(format!("node {} lags by {lag} entries", peer.id)),
            }
        }
    }
    if let Some(alarm) = status.alarm {
        red.push(format!("safety alarm: {alarm}"));
    }
    match status.disk {
        Disk::Prompt => {}
        Disk::Failed => red.push("its disk failed".into()),
        Disk::Full { .. } => red.push("its disk is full: it takes no writes until there is space".into()),
        slow => yellow.push(format!("its disk is not prompt: {}", disk(slow))),
    }
    for peer in status.peers.iter().filter(|peer| peer.slow) {
        yellow.push(format!("node {} says that its disk is full or hangs: see RAFT INFO there", peer.id));
    }
    if let Some(upto) = status.healing {
        yellow.push(format!(
            "its log is damaged up to entry {upto} at most: a snapshot is being taken in the place of what was damaged"
        ));
    }
    if status.probation {
        yellow.push(
            "on probation: its log is new or was damaged, it does not vote until it has caught up".into(),
        );
    }
    if status.embargo {
        yellow.push("under embargo: an election of it would lose entries".into());
    }
    if server.durability != Durability::Always {
        yellow.push("not durable at once: a power cut can lose acknowledged writes".into());
    }
    let level = if !red.is_empty() {
        Level::Red
    } else if !yellow.is_empty() {
        Level::Yellow
    } else {
        Level::Green
    };
    red.append(&mut yellow);
    Health { level, reasons: red }
}
