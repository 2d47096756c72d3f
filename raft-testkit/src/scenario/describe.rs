//! Messages, events and writes in words: one line each.

use raft_core::backend::{HardState, JournalWrite, Vote};
use raft_core::entry::{Entry, EntryKind, unpack};
use raft_core::ids::{Index, LogId, NodeId, Term};
use raft_core::membership::Membership;
use raft_core::message::{
    AppendReply, Ballot, Envelope, Message, Notice, ReadIndex, ReadIndexReply, SnapshotChunk,
};
use raft_core::raft::Event;
use raft_core::status::{Disk, RoleKind, Status, Why};

/// Log ids side by side; long rows are shortened.
pub(super) fn ids(entries: &[Entry]) -> String {
    match entries {
        [first, .., last] if entries.len() > 6 => {
            format!("{} .. {} ({} entries)", first.id, last.id, entries.len())
        }
        _ => entries.iter().map(one).collect::<Vec<_>>().join(" "),
    }
}

fn one(entry: &Entry) -> String {
    match entry.kind {
        EntryKind::Commands => {
            let commands = unpack(&entry.data).unwrap_or_default();
            let short = commands.iter().map(|command| match core::str::from_utf8(command) {
                Ok(text) if text.len() <= 12 => format!("\"{text}\""),
                _ => format!("({} bytes)", command.len()),
            });
            format!("{}={}", entry.id, short.collect::<Vec<_>>().join(","))
        }
        EntryKind::Membership if entry.id.index == Index(1) => format!("{}=members", entry.id),
        EntryKind::Membership => {
            let of = Membership::decode(&entry.data).unwrap_or_default();
            format!("{}=[{}]", entry.id, membership(&of))
        }
        _ => entry.id.to_string(),
    }
}

/// Who belongs to the cluster.
pub(super) fn membership(of: &Membership) -> String {
    if of.is_empty() {
        return "no members".to_owned();
    }
    let mut text = String::new();
    let (learners, moved) = (of.learners().collect(), of.members.values());
    let moved: Vec<String> = moved
        .filter(|member| member.address != format!("node-{}", member.id))
        .map(|member| format!(", {} at {}", member.id, member.address))
        .collect();
    let sets =
        [("voters", &of.voters), ("once", &of.outgoing), ("learners", &learners), ("leaving", &of.leaving)];
    for (what, set) in sets.into_iter().filter(|(_, set)| !set.is_empty()) {
        let comma = if text.is_empty() { "" } else { ", " };
        text.push_str(&format!("{comma}{what} {}", nodes(&set.iter().copied().collect::<Vec<_>>())));
    }
    text + &moved.concat()
}

/// What a message says, without its receiver: `{to}` stands for it.
pub(super) fn message(envelope: &Envelope) -> String {
    let term = envelope.term;
    match &envelope.message {
        Message::Vote(request) => {
            let what = if request.pre { "whether it would win" } else { "to be elected in" };
            let how = match (request.transfer, request.told) {
                (false, _) => "",
                (true, 0) => ", by transfer",
                (true, _) => ", by transfer, told",
            };
            format!("asks {{to}} {what} term {term}{how}, last {}", request.last)
        }
        Message::VoteReply(reply) => {
            let verb = match reply.ballot {
                Ballot::Granted => "grants",
                Ballot::Denied => "denies",
                Ballot::Vetoed => "vetoes",
            };
            let what = if reply.pre { "pre-vote" } else { "vote" };
            let own = if term == reply.asked { String::new() } else { format!(", itself in term {term}") };
            format!("{verb} {{to}} the {what} of term {}{own}", reply.asked)
        }
        Message::Heartbeat(beat) => {
            format!("beats {{to}}: term {term}, round {}, commit {}", beat.round, beat.commit)
        }
        Message::HeartbeatReply(reply) => {
            let probation = if reply.probation { ", on probation" } else { "" };
            let slow = if reply.slow { ", slow" } else { "" };
            let promise = match reply.promise.as_millis() {
                0 => String::new(),
                promise => format!(", promises {promise} ms"),
            };
            let priority = match reply.priority {
                0 => String::new(),
                priority => format!(", priority {priority}"),
            };
            format!(
                "answers {{to}}: term {term}, round {}, matched {}, last {}{probation}{slow}{promise}{priority}",
                reply.round, reply.matched, reply.last
            )
        }
        Message::Append(append) => {
            let what = if append.entries.is_empty() { "nothing".to_owned() } else { ids(&append.entries) };
            format!("appends to {{to}}: term {term}, after {}: {what}, commit {}", append.prev, append.commit)
        }
        Message::AppendReply(AppendReply::Matched { matched }) => {
            format!("acks {{to}}: term {term}, through {matched}")
        }
        Message::AppendReply(AppendReply::Rejected { prev, hint, last }) => {
            format!("rejects {{to}}: term {term}, nothing after {prev}, hint {hint}, last {last}")
        }
        Message::Snapshot(chunk) => snapshot(term, chunk),
        Message::SnapshotReply(reply) if reply.installed => {
            format!("tells {{to}}: term {term}, snapshot #{} is here", reply.snapshot)
        }
        Message::SnapshotReply(reply) => {
            let (received, id) = (reply.received, reply.snapshot);
            format!("tells {{to}}: term {term}, {received} bytes of snapshot #{id} are here")
        }
        Message::TimeoutNow(_) => format!("tells {{to}} to campaign: term {term}"),
        Message::ReadIndex(ReadIndex { id }) if id & ReadIndex::END != 0 => {
            format!("asks {{to}} where its log ends: term {term}, {id}")
        }
        Message::ReadIndex(ReadIndex { id }) => format!("asks {{to}} for a read index: term {term}, {id}"),
        Message::ReadIndexReply(ReadIndexReply { id, index }) => match index {
            Some(index) if id & ReadIndex::END != 0 => {
                format!("tells {{to}} that all is committed: term {term}, {id}: {index}")
            }
            Some(index) => format!("tells {{to}} its read index: term {term}, {id}: {index}"),
            None => format!("gives {{to}} no read index: term {term}, {id}"),
        },
        Message::Notice(Notice::RolledBack { acknowledged }) => {
            format!("tells {{to}}: you were set back, you had acknowledged {acknowledged}")
        }
        Message::Notice(Notice::Removed { since }) => {
            format!("tells {{to}}: you were removed by entry {since}")
        }
        Message::Notice(notice) => format!("tells {{to}}: {notice:?}"),
        other => format!("sends {{to}}: {other:?}"),
    }
}

/// A piece of a snapshot, or the question how much of it is there.
fn snapshot(term: Term, chunk: &SnapshotChunk) -> String {
    let (id, upto, total) = (chunk.snapshot, chunk.upto, chunk.total);
    if chunk.data.is_empty() {
        return format!(
            "asks {{to}}: term {term}, how much of snapshot #{id} of {upto}, {total} bytes, is there"
        );
    }
    let (from, end) = (chunk.offset, chunk.offset + chunk.data.len() as u64);
    format!("sends {{to}}: term {term}, bytes {from} to {end} of snapshot #{id} of {upto}")
}

/// A piece of news, or nothing if it is not worth a line.
pub(super) fn event(event: &Event) -> Option<String> {
    Some(match event {
        Event::ReadReady { id, index } => format!("read {id} is ready at {index}"),
        Event::ReadFailed { id, error } => format!("read {id} fails: {error}"),
        Event::RoleChanged { role, term, leader, why } => {
            let why = reason(*why);
            match (role, leader) {
                (RoleKind::Follower, Some(leader)) => format!("follows {}, term {term} ({why})", leader.id),
                (RoleKind::Follower, None) => format!("follows nobody, term {term} ({why})"),
                _ => format!("is {role}, term {term} ({why})"),
            }
        }
        Event::MembershipChanged { left, .. } if left.is_empty() => return None,
        Event::MembershipChanged { left, .. } => format!("forgets {}", nodes(left)),
        Event::ChangeFinished { id, result: Ok(done) } => {
            format!("has finished change {id}: {}, by {}", membership(&done.membership), done.at)
        }
        Event::ChangeFinished { id, result: Err(error) } => format!("has not made change {id}: {error}"),
        Event::Removed => "knows that it was removed".to_owned(),
        Event::TransferFinished { to, result: Ok(()) } => format!("has handed over to {to}"),
        Event::TransferFinished { to, result: Err(error) } => {
            format!("has not handed over to {to}: {error}")
        }
        Event::Alarm(violation) if violation.is_fatal() => format!("ALARM, stops: {violation}"),
        Event::Alarm(violation) => format!("ALARM: {violation}"),
        Event::Healed { upto } => format!("healed up to {upto}"),
        Event::PeerRolledBack { peer, acknowledged } => {
            format!("notices: {peer} was set back, it had acknowledged {acknowledged}")
        }
        Event::Noticed { by, notice: Notice::RolledBack { .. } } => format!("is told by {by}: set back"),
        Event::Noticed { by, notice: Notice::Removed { .. } } => format!("is told by {by}: removed"),
        Event::Noticed { by, notice } => format!("is told by {by}: {notice:?}"),
    })
}

const fn reason(why: Why) -> &'static str {
    match why {
        Why::Started => "started",
        Why::Timeout => "timeout",
        Why::LeaderGone => "leader gone",
        Why::Transfer => "transfer",
        Why::WouldWin => "would win",
        Why::Elected => "elected",
        Why::Lost => "lost",
        Why::Vetoed => "vetoed",
        Why::HigherTerm => "higher term",
        Why::LeaderKnown => "leader known",
        Why::QuorumLost => "quorum lost",
        Why::JournalFailed => "journal failed",
        Why::HandedOver => "handed over",
        Why::Asked => "asked",
        Why::Joined => "joined",
        Why::Removed => "removed",
        Why::Behind => "behind",
        _ => "?",
    }
}

pub(super) fn hard(hard: HardState) -> String {
    let vote = match hard.vote {
        Vote::None => "no vote".to_owned(),
        Vote::For(node) => format!("vote {node}"),
        Vote::Blocked => "vote blocked".to_owned(),
    };
    let probation = if hard.probation { ", probation" } else { "" };
    format!("term {}, {vote}{probation}", hard.term)
}

/// What goes to the disk.
pub(super) fn write(write: &JournalWrite) -> String {
    let mut parts = Vec::new();
    if let Some(state) = write.hard_state {
        parts.push(hard(state));
    }
    if let Some(from) = write.truncate_from {
        parts.push(format!("cut from {from}"));
    }
    if !write.entries.is_empty() {
        parts.push(ids(&write.entries));
    }
    parts.join("; ")
}

/// What a node says of itself.
pub(super) fn status(status: &Status) -> Vec<String> {
    let id = status.id;
    let leader = status.leader.as_ref().map_or_else(|| "none".to_owned(), |leader| leader.id.to_string());
    let mut line = format!(
        "{id} {}: term {}, leader {leader}, last {}, commit {}, applied {}, durable {}",
        status.role,
        status.term,
        status.last,
        status.commit_index,
        status.applied_index,
        status.persisted_index
    );
    for (is, what) in [(status.embargo, ", embargo"), (status.probation, ", probation")] {
        if is {
            line.push_str(what);
        }
    }
    match status.disk {
        Disk::Prompt => {}
        Disk::Hangs { since } => line.push_str(&format!(", disk hangs for {} ms", since.as_millis())),
        Disk::Slow => line.push_str(", disk slow"),
        Disk::Full { since } => line.push_str(&format!(", disk full for {} ms", since.as_millis())),
        Disk::Failed => line.push_str(", disk failed"),
    }
    if let Some(why) = status.hand_over {
        line.push_str(&format!(", has handed over: {why}"));
    }
    if let Some(left) = status.lease_left {
        line.push_str(&format!(", lease for {} ms", left.as_millis()));
    }
    if status.uncommitted_bytes > 0 {
        line.push_str(&format!(", {} bytes not applied", status.uncommitted_bytes));
    }
    let mut lines = vec![line];
    for peer in &status.peers {
        let (match_index, next_index) = (peer.match_index, peer.next_index);
        let state = format!("{:?}", peer.state).to_lowercase();
        lines.push(format!(
            "{id}   {}: {state}, match {match_index}, next {next_index}, {} bytes under way",
            peer.id, peer.in_flight_bytes
        ));
    }
    lines
}

/// Several receivers as one.
pub(super) fn nodes(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}

/// A log id, or nothing.
pub(super) fn place(id: LogId) -> String {
    if id == LogId::ZERO { "nothing".to_owned() } else { id.to_string() }
}
