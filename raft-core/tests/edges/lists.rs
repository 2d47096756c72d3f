//! Lists of entries that are made once.

use raft_core::entries::Entries;
use raft_core::ids::Index;
use raft_core::message::{Append, Message};

use super::world::*;

/// What a leader has sent is what the journal gets, whatever else was said meanwhile.
#[test]
fn a_journal_gets_the_list_that_came() {
    let mut node = Node::follower(config(), &[ME, A, B]);
    let list: Entries = vec![noop(1, 2), noop(1, 3)].into();
    let append = Append { prev: id(0, 1), commit: Index(0), entries: list.clone() };
    node.hear(A, 1, Message::Append(append));
    for _ in 0..2 {
        node.hear(A, 1, super::world::append(id(1, 3), vec![], 0));
    }
    let write = node.raft.poll_write().unwrap();
    assert!(core::ptr::eq(&*write.entries, &*list));
}
