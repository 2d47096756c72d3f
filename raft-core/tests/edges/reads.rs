//! Reads: who may answer them, and how many may wait.

use raft_core::error::ReadError;
use raft_core::ids::{Index, NodeId, ReadId};
use raft_core::message::{Message, ReadIndex, ReadIndexReply};
use raft_core::raft::Event;

use super::world::*;

/// Reads that may wait on one node.
const LIMIT: u64 = 1 << 16;

fn ask(node: &mut Node, from: NodeId, id: u64) {
    node.hear(from, 1, Message::ReadIndex(ReadIndex { id }));
}

/// What it has told this one, when A has answered the round that this takes.
fn told(node: &mut Node, to: NodeId) -> Vec<ReadIndexReply> {
    let mut sent = node.settle();
    let round = sent.iter().rev().find_map(|(_, message)| match message {
        Message::Heartbeat(beat) => Some(beat.round),
        _ => None,
    });
    if let Some(round) = round {
        let matched = node.status().commit_index.0;
        node.answer(A, round, matched);
        sent.extend(node.settle());
    }
    let mine = sent.into_iter().filter(|(of, _)| *of == to);
    mine.filter_map(|(_, message)| match message {
        Message::ReadIndexReply(reply) => Some(reply),
        _ => None,
    })
    .collect()
}

fn ready(node: &mut Node) -> bool {
    node.settle();
    node.events.drain(..).any(|event| matches!(event, Event::ReadReady { .. }))
}

/// A follower asks its leader how far it must have applied: what others say is counted, and so is an answer that comes
/// twice.
#[test]
fn only_the_leader_says_how_far_a_follower_must_have_applied() {
    let mut node = Node::follower(config(), &[ME, A, B]);
    node.raft.read_anywhere(node.now, ReadId(1)).unwrap();
    let sent = node.settle();
    let Some((_, Message::ReadIndex(ReadIndex { id }))) =
        sent.into_iter().find(|(to, message)| *to == A && matches!(message, Message::ReadIndex(_)))
    else {
        panic!("A is not asked")
    };
    let answer = || Message::ReadIndexReply(ReadIndexReply { id, index: Some(Index(1)) });
    node.hear(B, 1, answer());
    assert_eq!((ready(&mut node), node.ignored()), (false, 1));
    node.hear(A, 1, answer());
    assert_eq!((ready(&mut node), node.ignored()), (true, 1));
    node.hear(A, 1, answer());
    assert_eq!((ready(&mut node), node.ignored()), (false, 2));
}

#[test]
fn a_leader_takes_no_questions_of_strangers() {
    let mut node = Node::leader(config(), &[ME, A, B]);
    let before = node.ignored();
    ask(&mut node, C, 1);
    assert_eq!(node.ignored(), before + 1);
    assert_eq!(told(&mut node, C), []);
}

#[test]
fn a_leader_lets_so_many_reads_wait_and_no_more() {
    let mut node = Node::leader(config(), &[ME, A, B]);
    for id in 0..LIMIT {
        assert_eq!(node.raft.read(node.now, ReadId(id)), Ok(()));
    }
    assert_eq!(node.raft.read(node.now, ReadId(LIMIT)), Err(ReadError::Overloaded));
}

/// A node on probation asks until when it must catch up, and asks again while it has no answer: that is the same
/// question. After a restart it is another.
#[test]
fn a_question_for_the_end_of_the_log_stands_when_it_is_repeated() {
    let mut node = Node::leader(config(), &[ME, A, B]);
    let end = ReadIndex::END | 7;
    assert_eq!(node.propose(), 3);
    ask(&mut node, B, end);
    assert_eq!(node.propose(), 4);
    ask(&mut node, B, end);
    assert_eq!(told(&mut node, B), [], "3 is not committed");
    node.acknowledge(A, 3);
    assert_eq!(told(&mut node, B), [ReadIndexReply { id: end, index: Some(Index(3)) }]);

    ask(&mut node, B, end);
    ask(&mut node, B, end + 1);
    node.acknowledge(A, 4);
    assert_eq!(told(&mut node, B), [ReadIndexReply { id: end + 1, index: Some(Index(4)) }]);
}

/// Such a question counts among the reads that wait from when its end is committed.
#[test]
fn a_question_for_the_end_of_the_log_counts_like_a_read() {
    let mut node = Node::leader(config(), &[ME, A, B]);
    ask(&mut node, B, ReadIndex::END | 7);
    for id in 1..LIMIT {
        assert_eq!(node.raft.read(node.now, ReadId(id)), Ok(()));
    }
    assert_eq!(node.raft.read(node.now, ReadId(LIMIT)), Err(ReadError::Overloaded));
}
