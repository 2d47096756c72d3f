//! Sending a snapshot: asked first, then piece by piece within the window, gone on with after whatever was lost.

use bytes::Bytes;
use raft_core::backend::{SnapshotId, SnapshotMeta};
use raft_core::ids::Index;
use raft_core::message::{AppendReply, HeartbeatReply, Message, PeerEvent, SnapshotChunk};
use raft_core::raft::{ReadChunk, Unreadable};
use raft_core::status::PeerState;

use super::world::*;

/// What a snapshot of ten bytes is made of.
const BYTES: &[u8; 10] = b"0123456789";

/// A leader of everything up to 2.20, of which it has purged 2.16, and B, which has nothing of it.
fn behind() -> (Node, SnapshotMeta) {
    let mut node = Node::leader(config());
    node.grow(20);
    let taken = node.take(1);
    assert_eq!(node.purge(), Some(id(2, 16)));
    // It said that it lacks what the first append built on.
    let rejected = AppendReply::Rejected { prev: Index(5), hint: id(0, 1), last: Index(1) };
    node.hear(B, 2, Message::AppendReply(rejected));
    (node, taken)
}

/// The same, after B has said how much of the snapshot it has.
fn sending(received: u64) -> (Node, SnapshotMeta) {
    let (mut node, taken) = behind();
    assert_eq!(node.sent_to(B), [chunk(&taken, 0, b"")], "how much of it is there?");
    node.hear(B, 2, has(&taken, received));
    (node, taken)
}

fn read(node: &mut Node) -> Option<ReadChunk> {
    let chunk = node.raft.poll_chunk()?;
    let (start, length) = (chunk.offset as usize, chunk.max_bytes as usize);
    let data = Bytes::from_static(&BYTES[start..start + length]);
    node.raft.handle_chunk(node.now, chunk.id, data);
    Some(chunk)
}

/// Reads and sends what it may. What was sent.
fn pump(node: &mut Node) -> Vec<SnapshotChunk> {
    let mut sent = Vec::new();
    loop {
        let moved = read(node).is_some();
        let messages = node.sent_to(B);
        if !moved && messages.is_empty() {
            return sent;
        }
        sent.extend(messages.into_iter().map(|message| match message {
            Message::Snapshot(chunk) => chunk,
            other => panic!("{other:?}"),
        }));
    }
}

fn offsets(sent: &[SnapshotChunk]) -> Vec<(u64, usize)> {
    sent.iter().map(|chunk| (chunk.offset, chunk.data.len())).collect()
}

#[test]
fn a_follower_that_lacks_what_is_gone_is_asked_then_sent_a_snapshot() {
    let (mut node, taken) = sending(0);
    assert_eq!(node.peer(B).state, PeerState::Snapshot);
    assert!(node.raft.sends_snapshot(B) && !node.raft.sends_snapshot(A));
    let sent = pump(&mut node);
    assert_eq!(offsets(&sent), [(0, 4), (4, 4)], "the window is full");
    assert!(sent.iter().all(|chunk| chunk.upto == taken.upto && chunk.total == 10));
    assert_eq!(node.peer(B).in_flight_bytes, 8);
    node.hear(B, 2, has(&taken, 4));
    assert_eq!(offsets(&pump(&mut node)), [(8, 2)]);
    node.hear(B, 2, has(&taken, 10));
    assert!(pump(&mut node).is_empty());
    assert_eq!(node.peer(B).match_index, Index(0), "received is not installed");
    node.hear(B, 2, installed(&taken));
    assert!(!node.raft.sends_snapshot(B));
    assert_eq!((node.peer(B).match_index, node.peer(B).state), (Index(20), PeerState::Replicate));
    node.grow(21);
    assert_eq!(node.status().counters.snapshots_sent, 1);
}

/// openraft#1828, QuarkDB 0.4.2 (features.md P33).
#[test]
fn p33_when_everything_is_purged_a_snapshot_then_appends_follow() {
    let mut config = config();
    config.snapshot_keep_entries = 0;
    let mut node = Node::leader(config);
    node.grow(20);
    let taken = node.take(1);
    assert_eq!(node.purge(), Some(id(2, 20)));
    node.hear(
        B,
        2,
        Message::AppendReply(AppendReply::Rejected { prev: Index(5), hint: id(0, 0), last: Index(0) }),
    );
    assert_eq!(node.sent_to(B), [chunk(&taken, 0, b"")]);
    node.hear(B, 2, has(&taken, 10));
    node.hear(B, 2, installed(&taken));
    node.raft.propose(node.now, Bytes::new()).unwrap();
    let [Message::Append(append)] = &node.sent_to(B)[..] else { panic!("no append") };
    assert_eq!((append.prev, append.entries[0].id), (id(2, 20), id(2, 21)));
}

/// etcd-raft#31 (features.md P30): a probe whose place is compacted before its answer comes is followed by a
/// snapshot, never by an append that builds on a term that nobody knows.
#[test]
fn p30_a_probe_into_what_is_gone_becomes_a_snapshot() {
    let mut node = Node::leader(config());
    node.grow(20);
    node.raft.handle_peer(node.now, B, PeerEvent::Down);
    node.raft.handle_peer(node.now, B, PeerEvent::Up);
    let probe = node.sent_to(B);
    assert!(matches!(&probe[..], [Message::Append(append)] if append.prev.index == Index(20)), "{probe:?}");
    let taken = node.take(1);
    node.elapse_without_b(2);
    assert_eq!(node.purge(), Some(id(2, 18)));
    for (prev, hint) in [(20, id(1, 5)), (18, id(1, 5))] {
        let rejected = AppendReply::Rejected { prev: Index(prev), hint, last: Index(5) };
        node.hear(B, 2, Message::AppendReply(rejected));
        let sent = node.sent_to(B);
        assert!(!sent.iter().any(|message| matches!(message, Message::Append(_))), "{sent:?}");
    }
    assert_eq!(node.peer(B).match_index, Index(0));
    node.hear(B, 2, has(&taken, 0));
    assert_eq!(offsets(&pump(&mut node)), [(0, 4), (4, 4)]);
}

/// A follower refuses what the log begins with, with a hint that is as far as the leader can go back.
#[test]
fn p29_a_refusal_of_the_first_entry_that_is_left_ends_in_a_snapshot() {
    let mut node = Node::leader(config());
    node.grow(20);
    let taken = node.take(1);
    node.elapse_without_b(2);
    node.purge();
    let rejected =
        |prev, hint| Message::AppendReply(AppendReply::Rejected { prev: Index(prev), hint, last: Index(30) });
    node.hear(B, 2, rejected(5, id(1, 30)));
    for _ in 0..10 {
        match node.sent_to(B).pop() {
            Some(Message::Append(append)) => {
                let before = append.prev.index.0;
                node.hear(B, 2, rejected(before, id(1, before - 1)));
            }
            Some(Message::Snapshot(asks)) => return assert_eq!(asks.snapshot, taken.id.0),
            _ => {}
        }
    }
    panic!("it refuses for ever");
}

#[test]
fn what_is_there_already_is_not_sent_again() {
    let (mut node, taken) = sending(4);
    assert_eq!(offsets(&pump(&mut node)), [(4, 4), (8, 2)]);
    let (mut node, _) = sending(10);
    assert!(pump(&mut node).is_empty(), "it is making it durable");
    node.hear(B, 2, installed(&taken));
    assert_eq!(node.peer(B).match_index, Index(20));
}

#[test]
fn what_was_lost_is_sent_again_after_an_election_timeout() {
    let (mut node, taken) = sending(0);
    assert_eq!(offsets(&pump(&mut node)), [(0, 4), (4, 4)]);
    // The first one is lost: the second leaves a hole, and the follower says so.
    node.hear(B, 2, has(&taken, 0));
    assert!(pump(&mut node).is_empty(), "an answer to what came before, for all it knows");
    node.elapse(1);
    node.answer(B, 1, 0);
    assert_eq!(node.sent_to(B), [chunk(&taken, 0, b"")]);
    assert!(pump(&mut node).is_empty());
    node.hear(B, 2, has(&taken, 0));
    assert_eq!(offsets(&pump(&mut node)), [(0, 4), (4, 4)]);
    // Without a sign of life nothing is asked: nobody would hear it.
    node.elapse(5);
    assert!(pump(&mut node).is_empty());
}

/// A piece that comes moves the patience on; an answer that says the same again does not.
#[test]
fn what_comes_further_is_given_more_time_and_what_does_not_is_asked() {
    let (mut node, taken) = sending(0);
    pump(&mut node);
    let half = config().election_timeout / 2;
    node.now = node.now + half;
    node.hear(B, 2, has(&taken, 4));
    assert_eq!(offsets(&pump(&mut node)), [(8, 2)]);
    node.now = node.now + half;
    node.answer(B, 1, 0);
    assert!(node.sent_to(B).is_empty(), "half as long ago it came further");
    node.hear(B, 2, has(&taken, 4));
    node.now = node.now + half;
    node.answer(B, 1, 0);
    assert_eq!(node.sent_to(B), [chunk(&taken, 4, b"")]);
}

#[test]
fn over_a_new_connection_it_goes_on_from_what_is_there() {
    let (mut node, taken) = sending(0);
    pump(&mut node);
    node.hear(B, 2, has(&taken, 4));
    let reading = node.raft.poll_chunk().unwrap();
    node.raft.handle_peer(node.now, B, PeerEvent::Gone);
    assert!(node.sent_to(B).is_empty());
    node.raft.handle_peer(node.now, B, PeerEvent::Up);
    assert_eq!(node.sent_to(B), [chunk(&taken, 4, b"")]);
    node.raft.handle_chunk(node.now, reading.id, Bytes::from_static(b"89"));
    assert!(node.sent_to(B).is_empty(), "what was read for the old connection is forgotten");
    // It restarted and has less than it said.
    node.hear(B, 2, has(&taken, 2));
    assert_eq!(offsets(&pump(&mut node)), [(2, 4), (6, 4)]);
}

#[test]
fn a_snapshot_that_is_gone_is_replaced_by_the_newest() {
    let (mut node, _) = sending(0);
    let reading = node.raft.poll_chunk().unwrap();
    node.grow(30);
    let newer = node.take(2);
    node.raft.handle_chunk_failed(node.now, reading.id, Unreadable::Gone);
    assert_eq!(node.sent_to(B), [chunk(&newer, 0, b"")]);
    node.hear(B, 2, has(&newer, 0));
    assert_eq!(offsets(&pump(&mut node)), [(0, 4), (4, 4)]);
}

#[test]
fn a_newer_snapshot_does_not_disturb_one_under_way() {
    let (mut node, taken) = sending(0);
    pump(&mut node);
    node.answer(B, 1, 0);
    node.grow(40);
    node.take(2);
    // What B needs after its snapshot stays, as long as it answers and comes further.
    assert_eq!(node.purge(), None, "the snapshot that it is sent ends with 20: less than half may go");
    assert_eq!(node.purge(), None);
    node.hear(B, 2, has(&taken, 8));
    assert_eq!(offsets(&pump(&mut node)), [(8, 2)]);
    node.hear(B, 2, installed(&taken));
    assert_eq!(node.peer(B).state, PeerState::Replicate);
    let [Message::Append(append)] = &node.sent_to(B)[..1] else { panic!("no append") };
    assert_eq!(append.prev, id(2, 20), "and that is where appends go on");
}

#[test]
fn what_follows_a_snapshot_is_kept_while_it_is_sent_and_given_up_for_who_does_not_answer() {
    let (mut node, taken) = sending(0);
    pump(&mut node);
    node.grow(60);
    let newer = node.take(2);
    assert_eq!(node.purge(), None);
    node.elapse_without_b(1);
    assert_eq!(node.purge(), Some(id(2, 58)));
    // It is back: the snapshot that it had begun leads nowhere now.
    node.answer(B, 1, 0);
    assert_eq!(node.sent_to(B), [chunk(&newer, 0, b"")]);
    node.hear(B, 2, has(&taken, 8));
    assert!(pump(&mut node).is_empty(), "that is an answer about another one");
}

#[test]
fn a_damaged_snapshot_is_never_sent_and_another_one_is_taken() {
    // It ends too early, it ends too late, or the store says so.
    for data in [Some(&b""[..]), Some(b"456789"), None] {
        let (mut node, taken) = sending(6);
        let reading = node.raft.poll_chunk().unwrap();
        match data {
            Some(data) => node.raft.handle_chunk(node.now, reading.id, Bytes::from_static(data)),
            None => node.raft.handle_chunk_failed(node.now, reading.id, Unreadable::Damaged),
        }
        assert!(node.sent_to(B).is_empty() && node.raft.poll_chunk().is_none());
        // Nothing was executed since, but this one must be replaced.
        let replaced = node.take(2);
        assert_eq!((replaced.upto, replaced.id), (taken.upto, SnapshotId(2)));
        assert_eq!(node.sent_to(B), [chunk(&replaced, 0, b"")]);
    }
}

#[test]
fn a_store_that_fails_is_tried_again_later() {
    let (mut node, taken) = sending(0);
    let reading = node.raft.poll_chunk().unwrap();
    node.raft.handle_chunk_failed(node.now, reading.id, Unreadable::Failed);
    assert!(node.raft.poll_chunk().is_none());
    node.elapse(1);
    node.answer(B, 1, 0);
    assert_eq!(node.sent_to(B), [chunk(&taken, 0, b"")]);
    node.hear(B, 2, has(&taken, 0));
    assert_eq!(offsets(&pump(&mut node)), [(0, 4), (4, 4)]);
}

#[test]
fn senseless_answers_change_nothing() {
    let (mut node, taken) = sending(0);
    pump(&mut node);
    node.hear(B, 2, has(&taken, 11));
    node.hear(B, 2, has(&snapshot(77, taken.upto, 10), 4));
    node.hear(A, 2, installed(&taken));
    assert!(pump(&mut node).is_empty());
    assert_eq!(node.peer(B).snapshot.unwrap().received_bytes, 0);
    assert_eq!(node.status().counters.ignored_messages, 3);
    // What it has from elsewhere counts: the snapshot is not needed any more.
    node.answer(B, 1, 20);
    assert_eq!(node.peer(B).match_index, Index(20));
    let _ = node.sent();
    assert_eq!(node.peer(B).snapshot, None);
}

#[test]
fn who_leads_no_more_sends_no_more() {
    let (mut node, _) = sending(0);
    let reading = node.raft.poll_chunk().unwrap();
    node.beat(A, 3);
    node.raft.handle_chunk(node.now, reading.id, Bytes::from_static(b"0123"));
    node.persist();
    assert!(node.sent_to(B).is_empty() && node.raft.poll_chunk().is_none());
    assert!(!node.raft.sends_snapshot(B));
}

/// What a leader knows of the transfer is part of what the explorer compares.
#[cfg(feature = "trace")]
#[test]
fn how_much_a_follower_has_is_compared() {
    use std::hash::{DefaultHasher, Hasher};
    let hash = |received| {
        let mut state = DefaultHasher::new();
        sending(received).0.raft.hash_protocol(&mut state);
        state.finish()
    };
    assert_eq!(hash(4), hash(4));
    assert_ne!(hash(0), hash(4));
}

/// It may have the rest from another leader.
#[test]
fn who_has_more_than_was_sent_is_sent_what_follows_that() {
    let (mut node, taken) = sending(0);
    let sent = read(&mut node).map(|_| node.sent_to(B)).unwrap();
    assert_eq!(sent.len(), 1, "{sent:?}");
    node.hear(B, 2, has(&taken, 8));
    assert_eq!(offsets(&pump(&mut node)), [(8, 2)]);
}

/// Who was set back has its answers counted, and nothing else comes of them.
#[test]
fn who_was_set_back_gets_no_snapshot() {
    let mut node = Node::leader(config());
    node.grow(20);
    node.acknowledge(B, 20);
    let taken = node.take(1);
    let _ = node.sent();
    node.now = node.raft.next_timeout().unwrap();
    node.raft.handle_timeout(node.now);
    node.answer(B, 2, 3);
    let before = node.status().counters.ignored_messages;
    node.hear(B, 2, has(&taken, 4));
    assert_eq!(node.status().counters.ignored_messages, before + 1);
}

/// A snapshot that is damaged is sent to nobody, also to who was sent it without harm until then.
#[test]
fn a_snapshot_that_is_found_damaged_is_sent_to_nobody() {
    let (mut node, taken) = sending(0);
    // A lost all that it had, and needs the same one.
    node.now = node.raft.next_timeout().unwrap();
    node.raft.handle_timeout(node.now);
    let lost = HeartbeatReply { round: 2, probation: true, ..HeartbeatReply::default() };
    node.hear(A, 2, Message::HeartbeatReply(lost));
    assert!(node.sent_to(A).contains(&chunk(&taken, 0, b"")));
    node.hear(A, 2, has(&taken, 0));
    let mut reading: Vec<ReadChunk> = std::iter::from_fn(|| node.raft.poll_chunk()).collect();
    reading.sort_by_key(|chunk| chunk.peer);
    let [for_a, for_b] = &reading[..] else { panic!("{reading:?}") };
    node.raft.handle_chunk_failed(node.now, for_a.id, Unreadable::Damaged);
    node.raft.handle_chunk(node.now, for_b.id, Bytes::from_static(b"0123"));
    assert_eq!(node.sent(), []);
    assert_eq!(node.raft.poll_chunk(), None);
    let replaced = node.take(2);
    let mut sent = node.sent();
    sent.sort_by_key(|(to, _)| *to);
    assert_eq!(sent, [A, B].map(|peer| (peer, chunk(&replaced, 0, b""))));
}

/// Who comes no further for a hundred election timeouts is waited for no longer, though it answers.
#[test]
fn what_follows_a_snapshot_is_kept_for_a_hundred_timeouts() {
    let (mut node, _) = sending(0);
    node.grow(60);
    node.take(2);
    let start = node.now;
    let moment = std::time::Duration::from_nanos(1);
    let end = start + config().election_timeout * 100;
    for (now, upto) in [(start, None), (end - moment, None), (end, Some(id(2, 58)))] {
        node.now = now;
        node.acknowledge(A, 60);
        node.answer(B, 1, 0);
        assert_eq!(node.purge(), upto);
    }
}

/// A node that has halted reads nothing for others.
#[test]
fn who_has_halted_reads_nothing() {
    let (mut node, _) = sending(0);
    assert!(node.raft.clone().poll_chunk().is_some());
    // Somebody else leads the same term.
    node.hear(A, 2, append(id(1, 5), &[], 5));
    assert_eq!(node.raft.poll_chunk(), None);
}

/// Who is being sent a snapshot needs what follows it, and holds no more of the leader's memory than that.
#[test]
fn only_what_follows_a_snapshot_is_held_for_whom_it_is_sent_to() {
    let mut config = config();
    config.tail_keep_bytes = 0;
    let mut node = Node::leader(config);
    node.grow(19);
    let before = node.status().tail_bytes;
    node.grow(20);
    let one = node.status().tail_bytes - before;
    node.take(1);
    assert_eq!(node.purge(), Some(id(2, 16)));
    assert_eq!(node.status().tail_bytes, 4 * one, "B may need the last ones");
    let rejected = AppendReply::Rejected { prev: Index(5), hint: id(0, 1), last: Index(1) };
    node.hear(B, 2, Message::AppendReply(rejected));
    let _ = node.sent();
    assert_eq!(node.peer(B).state, PeerState::Snapshot);
    node.grow(24);
    assert_eq!(node.status().tail_bytes, 4 * one, "those after 20");
}
