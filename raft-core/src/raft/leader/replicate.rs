//! Sending the log (§5.3). An append is built when it is pulled, with all that is there at that moment.

use alloc::vec::Vec;

use super::{Leader, snapshot, thrift};
use crate::entries::Entries;
use crate::entry::Entry;
use crate::ids::{FetchId, Index, LogId, NodeId};
use crate::message::{Append, AppendReply, Envelope, Message};
use crate::raft::common::{Common, Wanted};
use crate::raft::compact;
use crate::status::PeerState;

/// The next append that may leave, over all peers in turn.
pub(super) fn poll(leader: &mut Leader, common: &mut Common) -> Option<Envelope> {
    let peers = leader.progress.len();
    for _ in 0..peers {
        let peer = leader.progress.after(leader.turn)?;
        leader.turn = peer;
        if let Some(append) = build(leader, common, peer) {
            return Some(common.envelope(peer, Message::Append(append)));
        }
    }
    None
}

fn build(leader: &mut Leader, common: &mut Common, peer: NodeId) -> Option<Append> {
    let progress = leader.progress.get_mut(&peer)?;
    let (messages, bytes) = (common.config.window_messages, common.config.window_bytes);
    let held = progress.rolled_back.is_some() || progress.is_unproven();
    if held || !progress.has_room(messages, bytes) {
        return None;
    }
    let next = progress.next_index;
    if next < compact::first_kept(common) {
        snapshot::begin(progress, common);
        return None;
    }
    let end = common.log.last().next();
    let probing = progress.state == PeerState::Probe;
    if !probing && (next >= end || thrift::waits(progress, common)) {
        return None;
    }
    let limit = common.config.append_limit_bytes;
    let entries = match common.log.tail.slice(next, end, limit) {
        Some(entries) => entries,
        // A probe asks only where the logs agree: no need to read what may not fit.
        None if probing => Entries::default(),
        None => match progress.fetched.take() {
            Some(entries) if entries.first().is_some_and(|entry| entry.id.index == next) => entries.into(),
            _ => {
                request(progress, common, peer, next);
                return None;
            }
        },
    };
    let term = common.log.term_of(next.prev())?;
    let prev = LogId { term, index: next.prev() };
    let last = entries.last().map_or(prev.index, |entry| entry.id.index);
    let progress = leader.progress.get_mut(&peer)?;
    progress.sent(last, entries.cost_bytes(), leader.round, common.now);
    if progress.next_index == end {
        progress.caught_up = (common.now, common.log.appended_bytes());
    }
    if progress.next_index < common.log.tail.first() && !probing {
        // The follower is far behind: read on while this is on its way.
        let next = progress.next_index;
        request(progress, common, peer, next);
    }
    Some(Append { prev, commit: common.log.commit(), entries })
}

/// Asks the journal for entries that have left memory; they are durable, or they would not have.
fn request(progress: &mut super::Progress, common: &mut Common, peer: NodeId, next: Index) {
    if progress.fetch.is_some() {
        return;
    }
    let end = common.log.tail.first();
    let limit = common.config.append_limit_bytes;
    progress.fetch = Some(common.fetch(next..end, limit, Wanted::Peer(peer)));
}

/// Entries came from the journal.
pub(super) fn on_fetched(leader: &mut Leader, peer: NodeId, id: FetchId, entries: Vec<Entry>) {
    if let Some(progress) = leader.progress.get_mut(&peer)
        && progress.fetch == Some(id)
    {
        progress.fetch = None;
        progress.fetched = Some(entries);
    }
}

/// A follower answered an append.
pub(super) fn on_reply(leader: &mut Leader, common: &mut Common, from: NodeId, reply: AppendReply) {
    let (now, round) = (common.now, leader.round);
    let Some(progress) = leader.progress.get_mut(&from) else { return };
    if progress.rolled_back.is_some() || progress.is_unproven() {
        common.counters.ignored_messages += 1;
        return;
    }
    progress.contact = now;
    progress.heard = true;
    match reply {
        AppendReply::Matched { matched } if matched > common.log.last() => {
            common.counters.ignored_messages += 1;
        }
        AppendReply::Matched { matched } => {
            progress.acked(matched, round, now);
        }
        AppendReply::Rejected { prev, hint, .. } => {
            // An answer to an append that a later acknowledgement has made obsolete says nothing.
            let obsolete = prev <= progress.match_index
                || progress.state == PeerState::Snapshot
                || (progress.state == PeerState::Probe && prev != progress.next_index.prev());
            if obsolete {
                return;
            }
            let at_best = hint.index.min(prev.prev());
            let next = if at_best < common.log.purged().index {
                // Where the logs agree is no longer known here: what follows it is gone too.
                at_best.next()
            } else {
                common.log.terms.at_most(at_best, hint.term).index.next()
            };
            progress.probe_from(next, now);
        }
    }
}
